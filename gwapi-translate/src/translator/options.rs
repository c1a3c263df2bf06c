//! What translation depends on besides the resources.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gwapi_model::CONTROLLER_NAME;

use crate::ir::{CertificateKey, GatewayId, ListenerKey};

/// What translation depends on besides the resources.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The controller's name: written into route status, and compared with
    /// `spec.controllerName` of GatewayClasses (GC-1).
    pub controller_name: String,
    /// Serve every GatewayClass, whatever its controller: for a folder of manifests written for
    /// another implementation.
    ///
    /// Such folders differ from a cluster in two more ways. A class that is only referred to is
    /// taken as accepted, because the other implementation's installation would have brought it;
    /// and a `parametersRef` to another group is a note instead of a refusal (GC-3).
    pub any_controller: bool,
    /// Added to the port of every listener; sums over 65535 are conditions.
    pub port_offset: u16,
    /// Addresses of Gateways that ask for none (AD-5).
    pub addresses: AddressPolicy,
    /// Route to Services of type ExternalName (HB-7).
    pub allow_external_name: bool,
    /// The data plane keeps header fields with `_` in their names. Where it does not, a match on one
    /// takes no request, and the route's status says so.
    pub underscore_headers: bool,
}

/// Which addresses a Gateway without `spec.addresses` gets.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressPolicy {
    /// All the same ones.
    Shared(Vec<IpAddr>),
    /// One of its own, by the table; a Gateway that is not in it has no address
    /// (`AddressNotAssigned`).
    Assigned(BTreeMap<GatewayId, IpAddr>),
}

impl AddressPolicy {
    /// The addresses that the policy gives a Gateway.
    pub(super) fn assign(&self, gateway: &GatewayId) -> Vec<IpAddr> {
        match self {
            Self::Shared(addresses) => addresses.clone(),
            Self::Assigned(table) => table.get(gateway).copied().into_iter().collect(),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_name: CONTROLLER_NAME.to_owned(),
            any_controller: false,
            port_offset: 0,
            addresses: AddressPolicy::Shared(vec![IpAddr::from([0, 0, 0, 0])]),
            allow_external_name: false,
            underscore_headers: false,
        }
    }
}

/// What the data plane said about a Gateway's configuration.
///
/// Feedback changes status alone, never configuration: the data plane keeps what it could not use
/// and tries again, so that its next word does not depend on its last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Listeners whose port could not be bound, with the reason (GW-9). An address that is not
    /// there is no reason: it is no fault of the port.
    pub unbound: BTreeMap<ListenerKey, String>,
    /// Addresses that nothing can be bound on, because the host does not have them, with the
    /// reason (AD-1).
    pub unusable_addresses: BTreeMap<IpAddr, String>,
    /// Certificates that could not be used, with the reason (TL-1).
    pub rejected_certificates: BTreeMap<CertificateKey, String>,
}
