//! Addresses that a Gateway asks for (AD-1 to AD-9).

use std::collections::BTreeMap;
use std::net::IpAddr;

use gwapi_model::status::ConditionReason;
use gwapi_model::{AddressType, Gateway, GatewaySpecAddress};

use super::Options;
use super::conditions::Problem;
use crate::infrastructure::{RequestedAddress, Routability};
use crate::ir::GatewayId;

/// What a Gateway's requests for addresses come to, before anybody has tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Nothing is asked for, and the choice is ours (AD-5).
    pub(super) is_left_open: bool,
    /// Addresses to listen on, each once, in the order of the spec.
    pub(super) usable: Vec<IpAddr>,
    /// Requests that can be met, in the order of the spec.
    pub(super) requested: Vec<Request>,
    /// Requests of a type that is not supported: the Gateway is not accepted (AD-1).
    pub(super) unsupported: Vec<Problem>,
    /// Requests that cannot be met.
    pub(super) unmet: Vec<UnmetAddress>,
}

/// A request that can be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// What is asked for.
    pub(super) address: RequestedAddress,
    /// Where it is asked for.
    place: String,
    /// The addresses that meet it; none are known where Gateways are provisioned.
    candidates: Vec<IpAddr>,
}

/// A request that is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnmetAddress {
    /// Why: the Gateway is not programmed (AD-1, AD-2).
    pub(super) problem: Problem,
    /// A routability is demanded: what else is asked for is programmed all the same (AD-8).
    pub(super) demands_routability: bool,
}

/// What Gateways that listen on addresses of this machine have of what they ask for.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    /// Addresses in use: one for each request that is met, or all where nothing is asked for (AD-7).
    pub(super) addresses: Vec<(IpAddr, Routability)>,
    /// Requests that are not met.
    pub(super) unmet: Vec<UnmetAddress>,
}

/// Resolves `spec.addresses`, or assigns by the policy where there are none (AD-5).
pub(super) fn resolve(id: &GatewayId, gateway: &Gateway, options: &Options) -> Addresses {
    let assigned = options.addresses.assign(id);
    if options.provisioned() {
        return provisioned(gateway, assigned);
    }
    let is_left_open = gateway.spec.addresses.is_empty();
    let mut addresses = Addresses { is_left_open, ..Addresses::default() };
    if is_left_open {
        addresses.take(&assigned);
        if assigned.is_empty() {
            addresses.unmet.push(UnmetAddress::new(
                ConditionReason::AddressNotAssigned,
                "no address could be assigned; name one in spec.addresses",
            ));
        }
    }
    for (index, request) in gateway.spec.addresses.iter().enumerate() {
        match judge(request, false) {
            Ok(address) => {
                let candidates = address.ip.map_or_else(|| assigned.clone(), |ip| vec![ip]);
                addresses.take(&candidates);
                addresses.requested.push(Request { address, place: place(index), candidates });
            }
            Err(refusal) => addresses.refuse(index, refusal),
        }
    }
    addresses
}

/// Resolves `spec.addresses` where each Gateway has proxies of its own: they listen on `everywhere`,
/// whatever addresses lead to them.
fn provisioned(gateway: &Gateway, everywhere: Vec<IpAddr>) -> Addresses {
    let is_left_open = gateway.spec.addresses.is_empty();
    let mut addresses = Addresses { is_left_open, usable: everywhere, ..Addresses::default() };
    for (index, request) in gateway.spec.addresses.iter().enumerate() {
        let requested = judge(request, true).and_then(|address| match address.ip {
            Some(ip) if ip.is_unspecified() => Err(Refusal::Unmet(
                UnmetAddress::new(
                    ConditionReason::AddressNotUsable,
                    format!("`{ip}` is no address that leads to a Gateway"),
                )
                .of(address.routability),
            )),
            _ => Ok(address),
        });
        match requested {
            Ok(address) if addresses.asks_for(address.ip) => {}
            Ok(address) => {
                let candidates = Vec::new();
                addresses.requested.push(Request { address, place: place(index), candidates });
            }
            Err(refusal) => addresses.refuse(index, refusal),
        }
    }
    addresses
}

impl Addresses {
    /// What the Gateway has of what it asks for, where some addresses turned out to be `unusable`.
    pub(super) fn assigned(&self, unusable: &BTreeMap<IpAddr, String>) -> Assigned {
        let mut assigned = Assigned { addresses: Vec::new(), unmet: self.unmet.clone() };
        let why = |ip: &IpAddr| Some(cannot_be_used(ip, unusable.get(ip)?));
        if self.is_left_open {
            for ip in &self.usable {
                match why(ip) {
                    None => assigned.addresses.push((*ip, Routability::Default)),
                    Some(unmet) => assigned.unmet.push(unmet),
                }
            }
            return assigned;
        }
        // Who asks for a certain address comes first, so that nobody gets it by chance.
        let (certain, any): (Vec<_>, Vec<_>) =
            self.requested.iter().partition(|request| request.address.ip.is_some());
        for request in certain.into_iter().chain(any) {
            let is_taken = |ip: &IpAddr| assigned.addresses.iter().any(|(taken, _)| taken == ip);
            let free = request.candidates.iter().find(|ip| why(ip).is_none() && !is_taken(ip));
            match free {
                Some(ip) => assigned.addresses.push((*ip, request.address.routability)),
                None => assigned.unmet.push(request.unmet(why)),
            }
        }
        assigned
    }

    /// Whether a certain address is asked for already.
    fn asks_for(&self, ip: Option<IpAddr>) -> bool {
        ip.is_some() && self.requested.iter().any(|request| request.address.ip == ip)
    }

    /// Notes a request that cannot be met.
    fn refuse(&mut self, index: usize, refusal: Refusal) {
        let place = place(index);
        match refusal {
            Refusal::Unsupported(problem) => self.unsupported.push(problem.at(place)),
            Refusal::Unmet(unmet) => {
                let problem = unmet.problem.at(place);
                self.unmet.push(UnmetAddress { problem, ..unmet });
            }
        }
    }

    /// Takes addresses into use.
    fn take(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            if !self.usable.contains(address) {
                self.usable.push(*address);
            }
        }
    }
}

impl Request {
    /// Why none of its candidates is left for it.
    fn unmet(&self, why: impl Fn(&IpAddr) -> Option<UnmetAddress>) -> UnmetAddress {
        let unusable = self.candidates.iter().find_map(why);
        let unmet = unusable.unwrap_or_else(|| {
            UnmetAddress::new(
                ConditionReason::AddressNotAssigned,
                format!("{}: no address could be assigned; give it a value", self.place),
            )
        });
        unmet.of(self.address.routability)
    }
}

impl UnmetAddress {
    fn new(reason: ConditionReason, message: impl Into<String>) -> Self {
        Self { problem: Problem::new(reason, message), demands_routability: false }
    }

    /// The same of an address that has to have this routability.
    fn of(self, routability: Routability) -> Self {
        Self { demands_routability: !routability.is_default(), ..self }
    }
}

/// Why there is no address for a request.
enum Refusal {
    /// Its type is not supported (AD-1).
    Unsupported(Problem),
    /// There is none that it could get.
    Unmet(UnmetAddress),
}

fn place(index: usize) -> String {
    format!("spec.addresses[{index}]")
}

fn cannot_be_used(address: &IpAddr, why: &str) -> UnmetAddress {
    let message = format!("address `{address}` cannot be used: {why}");
    UnmetAddress::new(ConditionReason::AddressNotUsable, message)
}

/// What an entry asks for.
fn judge(request: &GatewaySpecAddress, in_cluster: bool) -> Result<RequestedAddress, Refusal> {
    match &request.address_type {
        None | Some(AddressType::IpAddress) => {}
        Some(other) => {
            return Err(Refusal::Unsupported(Problem::new(
                ConditionReason::UnsupportedAddress,
                format!("type `{other}` is not supported; use an IPAddress"),
            )));
        }
    }
    let demanded = request.routability.as_deref().unwrap_or_default();
    let unusable = |message: String| {
        let unmet = UnmetAddress::new(ConditionReason::AddressNotUsable, message);
        Refusal::Unmet(UnmetAddress { demands_routability: !demanded.is_empty(), ..unmet })
    };
    // AD-6: a scope that nobody promises cannot be replaced by another one.
    let routability = Routability::parse(demanded).ok_or_else(|| {
        unusable(format!("routability `{demanded}` cannot be promised; leave it out"))
    })?;
    if routability == Routability::Cluster && !in_cluster {
        return Err(unusable(
            "routability `Cluster` is that of a Service in a cluster; leave it out".to_owned(),
        ));
    }
    let Some(value) = request.value.as_deref().filter(|value| !value.is_empty()) else {
        return Ok(RequestedAddress { ip: None, routability });
    };
    let ip: IpAddr = value.parse().map_err(|_| unusable(format!("`{value}` is no IP address")))?;
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_multicast() || broadcast {
        return Err(unusable(format!("`{value}` is no address to listen on")));
    }
    Ok(RequestedAddress { ip: Some(ip), routability })
}
