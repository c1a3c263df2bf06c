//! Addresses of a Gateway (AD-1 to AD-6).

use std::net::IpAddr;

use gwapi_model::status::ConditionReason;
use gwapi_model::{AddressType, Gateway, GatewaySpecAddress};

use super::Options;
use super::conditions::Problem;
use crate::ir::GatewayId;

/// What became of a Gateway's requests for addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Addresses to listen on, each once, in the order of the spec.
    pub(super) usable: Vec<IpAddr>,
    /// Requests of a type that is not supported: the Gateway is not accepted (AD-1).
    pub(super) unsupported: Vec<Problem>,
    /// Requests that cannot be met: the Gateway is not programmed (AD-1, AD-2, AD-6).
    pub(super) unmet: Vec<Problem>,
}

/// Resolves `spec.addresses`, or assigns by the policy where there are none (AD-5).
pub(super) fn resolve(id: &GatewayId, gateway: &Gateway, options: &Options) -> Addresses {
    let assigned = options.addresses.assign(id);
    let mut addresses = Addresses::default();
    if gateway.spec.addresses.is_empty() {
        addresses.take(assigned, "no address could be assigned; name one in spec.addresses");
        return addresses;
    }
    for (index, request) in gateway.spec.addresses.iter().enumerate() {
        let place = format!("spec.addresses[{index}]");
        match judge(request) {
            Ok(Some(address)) => addresses.take(vec![address], ""),
            Ok(None) => addresses.take(
                assigned.clone(),
                &format!("{place}: no address could be assigned; give it a value"),
            ),
            Err(problem) if problem.reason == ConditionReason::UnsupportedAddress => {
                addresses.unsupported.push(problem.at(place));
            }
            Err(problem) => addresses.unmet.push(problem.at(place)),
        }
    }
    addresses
}

impl Addresses {
    /// Takes addresses into use; none is a problem.
    fn take(&mut self, addresses: Vec<IpAddr>, otherwise: &str) {
        if addresses.is_empty() {
            self.unmet.push(Problem::new(ConditionReason::AddressNotAssigned, otherwise));
        }
        for address in addresses {
            if !self.usable.contains(&address) {
                self.usable.push(address);
            }
        }
    }
}

/// The address that a request names; `None` where it leaves the choice to us (AD-2).
fn judge(request: &GatewaySpecAddress) -> Result<Option<IpAddr>, Problem> {
    let unusable = |message: String| Problem::new(ConditionReason::AddressNotUsable, message);
    match &request.address_type {
        None | Some(AddressType::IpAddress) => {}
        Some(other) => {
            return Err(Problem::new(
                ConditionReason::UnsupportedAddress,
                format!("type `{other}` is not supported; use an IPAddress"),
            ));
        }
    }
    // AD-6: a scope that nobody promises cannot be replaced by another one.
    if let Some(routability) = request.routability.as_deref().filter(|text| !text.is_empty()) {
        return Err(unusable(format!(
            "routability `{routability}` cannot be promised; leave it out"
        )));
    }
    let Some(value) = request.value.as_deref().filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let address: IpAddr =
        value.parse().map_err(|_| unusable(format!("`{value}` is no IP address")))?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || broadcast {
        return Err(unusable(format!("`{value}` is no address to listen on")));
    }
    Ok(Some(address))
}
