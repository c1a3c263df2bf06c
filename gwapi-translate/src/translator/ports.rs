//! Who may bind which port: Gateways against each other.
//!
//! Gateways are never merged onto one address and port (GW-10). Where two ask for the same, the
//! older one keeps it; ties go to the first by `namespace/name`. A Gateway that loses a port takes
//! it from nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::ir::{GatewayId, TransportProtocol};

/// A port to bind: TCP and UDP have ports of their own (GW-2).
pub(super) type PortNumber = (TransportProtocol, u16);

/// Which of two Gateways keeps a port: the smaller one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seniority {
    /// Creation in seconds since 1970; 0 where it is not known.
    created: i64,
    /// Namespace and name, in the order of their text.
    gateway: GatewayId,
}

/// What a Gateway asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Who asks.
    pub(super) gateway: GatewayId,
    /// Addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// Ports to bind on each of them, with the creation of what asks for each: the Gateway, or a ListenerSet.
    pub(super) ports: BTreeMap<PortNumber, i64>,
}

impl Claim {
    fn seniority(&self, created: i64) -> Seniority {
        Seniority { created, gateway: self.gateway.clone() }
    }
}

/// All claims, and who lost what to whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    claims: BTreeMap<GatewayId, Claim>,
    by_port: BTreeMap<PortNumber, BTreeSet<Seniority>>,
    lost: BTreeMap<PortNumber, BTreeMap<GatewayId, Loss>>,
    unsettled: BTreeSet<PortNumber>,
}

/// A port that another Gateway keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// The Gateway that keeps it.
    pub(super) winner: GatewayId,
    /// The address in dispute.
    pub(super) address: IpAddr,
}

impl Ports {
    /// Replaces what a Gateway asks for.
    pub(super) fn claim(&mut self, gateway: &GatewayId, claim: Option<Claim>) {
        if self.claims.get(gateway) == claim.as_ref() {
            return;
        }
        if let Some(old) = self.claims.remove(gateway) {
            for (port, created) in &old.ports {
                if let Some(claimants) = self.by_port.get_mut(port) {
                    claimants.remove(&old.seniority(*created));
                }
                self.unsettled.insert(*port);
            }
        }
        if let Some(claim) = claim {
            for (&port, &created) in &claim.ports {
                self.by_port.entry(port).or_default().insert(claim.seniority(created));
                self.unsettled.insert(port);
            }
            self.claims.insert(gateway.clone(), claim);
        }
    }

    /// Decides every port whose claims changed; the Gateways come back for which that changed
    /// anything.
    pub(super) fn settle(&mut self) -> BTreeSet<GatewayId> {
        let mut affected = BTreeSet::new();
        for port in std::mem::take(&mut self.unsettled) {
            let losses = self.decide(port);
            let before = self.lost.remove(&port).unwrap_or_default();
            affected.extend(
                losses.iter().filter(|(id, loss)| before.get(*id) != Some(*loss)).map(first),
            );
            affected.extend(before.iter().filter(|(id, _)| !losses.contains_key(*id)).map(first));
            if !losses.is_empty() {
                self.lost.insert(port, losses);
            }
        }
        affected
    }

    /// Why a Gateway may not bind a port; `None` where it may.
    pub(super) fn loss(&self, gateway: &GatewayId, port: PortNumber) -> Option<&Loss> {
        self.lost.get(&port)?.get(gateway)
    }

    /// In order of seniority, each takes the port on its addresses unless one of them is taken.
    fn decide(&mut self, port: PortNumber) -> BTreeMap<GatewayId, Loss> {
        let mut losses = BTreeMap::new();
        let Some(claimants) = self.by_port.get(&port) else { return losses };
        if claimants.is_empty() {
            self.by_port.remove(&port);
            return losses;
        }
        let mut taken: BTreeMap<IpAddr, &GatewayId> = BTreeMap::new();
        for Seniority { gateway, .. } in claimants {
            let addresses = &self.claims[gateway].addresses;
            let clash = addresses
                .iter()
                .find_map(|address| Some((*address, overlapping(&taken, *address)?)));
            match clash {
                Some((address, winner)) => {
                    losses.insert(gateway.clone(), Loss { winner: winner.clone(), address });
                }
                None => taken.extend(addresses.iter().map(|address| (*address, gateway))),
            }
        }
        losses
    }
}

fn first<V>((id, _): (&GatewayId, V)) -> GatewayId {
    id.clone()
}

/// Who took an address, or one that includes it: the unspecified address means all of its family.
fn overlapping<'a>(
    taken: &BTreeMap<IpAddr, &'a GatewayId>,
    address: IpAddr,
) -> Option<&'a GatewayId> {
    let whole_family: IpAddr = match address {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    let direct = taken.get(&address).or_else(|| taken.get(&whole_family)).copied();
    direct.or_else(|| {
        let mut family = taken.iter().filter(|(other, _)| other.is_ipv4() == address.is_ipv4());
        if address.is_unspecified() { family.next().map(|(_, gateway)| *gateway) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(created: i64, name: &str, addresses: &[&str], ports: &[u16]) -> (GatewayId, Claim) {
        let gateway = GatewayId::new("ns", name);
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let ports = ports.iter().map(|port| ((TransportProtocol::Tcp, *port), created)).collect();
        (gateway.clone(), Claim { gateway, addresses, ports })
    }

    fn settled(claims: &[(GatewayId, Claim)]) -> Ports {
        let mut ports = Ports::default();
        for (id, claim) in claims {
            ports.claim(id, Some(claim.clone()));
        }
        ports.settle();
        ports
    }

    #[test]
    fn the_older_gateway_keeps_a_port_and_the_unspecified_address_overlaps_all_of_its_family() {
        let claims = [
            claim(2, "young", &["10.0.0.1"], &[80, 81]),
            claim(1, "old", &["0.0.0.0"], &[80]),
            claim(3, "six", &["::1"], &[80]),
        ];
        let ports = settled(&claims);
        let winner = |name: &str, port| {
            ports
                .loss(&GatewayId::new("ns", name), (TransportProtocol::Tcp, port))
                .map(|loss| loss.winner.name.clone())
        };
        assert_eq!(winner("young", 80).as_deref(), Some("old"));
        assert_eq!(winner("young", 81), None);
        assert_eq!(winner("old", 80), None);
        assert_eq!(winner("six", 80), None);
    }

    #[test]
    fn of_two_gateways_of_one_age_the_first_by_the_text_of_its_name_keeps_a_port() {
        let claim = |namespace, name| {
            let (_, claim) = claim(1, name, &["10.0.0.1"], &[80]);
            let gateway = GatewayId::new(namespace, name);
            (gateway.clone(), Claim { gateway, ..claim })
        };
        let claims = [claim("team", "a"), claim("team-a", "b")];
        let ports = settled(&claims);
        let lost = |id| ports.loss(id, (TransportProtocol::Tcp, 80)).map(|loss| &loss.winner);
        assert_eq!(lost(&claims[0].0), Some(&claims[1].0));
        assert_eq!(lost(&claims[1].0), None);
    }

    #[test]
    fn a_gateway_that_lost_takes_the_port_from_nobody() {
        let claims = [
            claim(1, "a", &["10.0.0.1"], &[80]),
            claim(2, "b", &["10.0.0.1", "10.0.0.2"], &[80]),
            claim(3, "c", &["10.0.0.2"], &[80]),
        ];
        let mut ports = settled(&claims);
        assert!(ports.loss(&claims[1].0, (TransportProtocol::Tcp, 80)).is_some());
        assert!(ports.loss(&claims[2].0, (TransportProtocol::Tcp, 80)).is_none());
        // With the first one gone, the second one takes both addresses.
        ports.claim(&claims[0].0, None);
        let affected = ports.settle();
        assert_eq!(affected, [claims[1].0.clone(), claims[2].0.clone()].into());
        assert!(ports.loss(&claims[1].0, (TransportProtocol::Tcp, 80)).is_none());
        assert!(ports.loss(&claims[2].0, (TransportProtocol::Tcp, 80)).is_some());
    }
}
