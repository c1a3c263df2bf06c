//! What translation depends on besides the resources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gwapi_model::CONTROLLER_NAME;

use crate::features::{self, InstalledBundle};
use crate::infrastructure::InfrastructureReport;
use crate::ir::{CertificateKey, GatewayId, ListenerKey, SessionKeys};

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
    /// and a `parametersRef` to another group is a note instead of a refusal (GC-3). It has no effect
    /// with [`AddressPolicy::Provisioned`].
    pub any_controller: bool,
    /// Added to the port of every listener; sums over 65535 are conditions.
    pub port_offset: u16,
    /// Ports that the data plane keeps to itself: a listener cannot have one (GW-9), and no parameters
    /// can open one on nodes.
    pub reserved_ports: BTreeSet<u16>,
    /// Addresses of Gateways that ask for none (AD-5).
    pub addresses: AddressPolicy,
    /// Route to Services of type ExternalName (HB-7).
    pub allow_external_name: bool,
    /// The data plane keeps header fields with `_` in their names. Where it does not, a match on one
    /// takes no request, and the route's status says so.
    pub underscore_headers: bool,
    /// The Gateway API's CRDs that are installed: GatewayClasses say whether their version is supported
    /// (GC-4), and claim the features that they know (GC-10). Gateways are told of the routability of their
    /// addresses where they have the field (AD-7). Without CRDs there is none; without a cluster Gateways
    /// have every field then.
    pub installed_bundle: Option<InstalledBundle>,
    /// Keys of sessions, of which each Gateway gets its own. Without them every proxy makes up one, and no
    /// session outlives it.
    pub session_keys: Option<SessionKeys>,
    /// There are ClusterTrustBundles to refer to (TL-9): not every cluster has that kind.
    pub cluster_trust_bundles: bool,
}

/// Which addresses Gateways get.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressPolicy {
    /// Those of `spec.addresses`; where there are none, all Gateways the same ones.
    Shared(Vec<IpAddr>),
    /// Those of `spec.addresses`; where there are none, one of its own, by the table. A Gateway that is
    /// not in it has no address (`AddressNotAssigned`).
    Assigned(BTreeMap<GatewayId, IpAddr>),
    /// Whatever its infrastructure gets, as in a cluster: each Gateway has proxies of its own, which
    /// listen on the unspecified addresses, so that Gateways never compete for ports. Its addresses
    /// are those that [`Feedback::infrastructure`] tells of, and [`Translation::infrastructure`] says
    /// what has to run.
    ///
    /// [`Translation::infrastructure`]: super::Translation::infrastructure
    Provisioned,
}

impl AddressPolicy {
    /// The addresses that the policy gives a Gateway.
    pub(super) fn assign(&self, gateway: &GatewayId) -> Vec<IpAddr> {
        match self {
            Self::Shared(addresses) => addresses.clone(),
            Self::Assigned(table) => table.get(gateway).copied().into_iter().collect(),
            Self::Provisioned => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        }
    }
}

impl Options {
    /// Whether each Gateway has proxies of its own.
    pub(super) fn provisioned(&self) -> bool {
        self.addresses == AddressPolicy::Provisioned
    }

    /// Whether the status of Gateways has room for what the experimental channel adds to it.
    pub(super) fn has_experimental_fields(&self) -> bool {
        features::has_experimental_fields(self.installed_bundle.as_ref(), self.provisioned())
    }

    /// Whether classes of every controller are served. Never where Gateways are provisioned: there,
    /// other controllers serve theirs (GC-1, GC-7).
    pub(super) fn serves_any_controller(&self) -> bool {
        self.any_controller && !self.provisioned()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_name: CONTROLLER_NAME.to_owned(),
            any_controller: false,
            port_offset: 0,
            reserved_ports: BTreeSet::new(),
            addresses: AddressPolicy::Shared(vec![IpAddr::from([0, 0, 0, 0])]),
            allow_external_name: false,
            underscore_headers: false,
            installed_bundle: None,
            session_keys: None,
            cluster_trust_bundles: true,
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
    /// Resources that could not be read, by name, with the reason: the data plane is of another
    /// release. Of each it serves the last version that it could read.
    pub unreadable: BTreeMap<String, String>,
    /// What became of the Gateway's infrastructure; of meaning with
    /// [`AddressPolicy::Provisioned`] alone.
    pub infrastructure: InfrastructureReport,
}
