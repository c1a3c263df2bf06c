//! Addresses of a Gateway (AD-1 to AD-6).

use std::net::IpAddr;

use gwapi_model::status::ConditionReason;
use gwapi_model::{AddressType, Gateway, GatewaySpecAddress};

use super::Options;
use super::conditions::Problem;
use crate::infrastructure::RequestedAddress;
use crate::ir::GatewayId;

/// What became of a Gateway's requests for addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Addresses to listen on, each once, in the order of the spec.
    pub(super) usable: Vec<IpAddr>,
    /// Addresses that whoever provisions the Gateway is to ask for.
    pub(super) requested: Vec<RequestedAddress>,
    /// Requests of a type that is not supported: the Gateway is not accepted (AD-1).
    pub(super) unsupported: Vec<Problem>,
    /// Requests that cannot be met: the Gateway is not programmed (AD-1, AD-2, AD-6).
    pub(super) unmet: Vec<Problem>,
}

/// Resolves `spec.addresses`, or assigns by the policy where there are none (AD-5).
pub(super) fn resolve(id: &GatewayId, gateway: &Gateway, options: &Options) -> Addresses {
    let assigned = options.addresses.assign(id);
    if options.provisioned() {
        return provisioned(gateway, assigned);
    }
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
            Err(problem) => addresses.refuse(index, problem),
        }
    }
    addresses
}

/// Resolves `spec.addresses` where each Gateway has proxies of its own: they listen on `everywhere`,
/// whatever addresses lead to them.
fn provisioned(gateway: &Gateway, everywhere: Vec<IpAddr>) -> Addresses {
    let mut addresses = Addresses { usable: everywhere, ..Addresses::default() };
    for (index, request) in gateway.spec.addresses.iter().enumerate() {
        let requested = match judge(request) {
            Ok(Some(address)) if address.is_unspecified() => Err(Problem::new(
                ConditionReason::AddressNotUsable,
                format!("`{address}` is no address that leads to a Gateway"),
            )),
            Ok(Some(address)) => Ok(RequestedAddress::Ip(address)),
            Ok(None) => Ok(RequestedAddress::Any),
            Err(problem) => Err(problem),
        };
        match requested {
            Ok(again @ RequestedAddress::Ip(_)) if addresses.requested.contains(&again) => {}
            Ok(requested) => addresses.requested.push(requested),
            Err(problem) => addresses.refuse(index, problem),
        }
    }
    addresses
}

impl Addresses {
    /// Notes a request that cannot be met.
    fn refuse(&mut self, index: usize, problem: Problem) {
        let unsupported = problem.reason == ConditionReason::UnsupportedAddress;
        let problem = problem.at(format_args!("spec.addresses[{index}]"));
        if unsupported { &mut self.unsupported } else { &mut self.unmet }.push(problem);
    }

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
