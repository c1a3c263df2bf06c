//! Which addresses Gateways listen on: `--listen` and `--address-pool`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

use gwapi_translate::AddressPolicy;
use gwapi_translate::ir::GatewayId;
use ipnet::IpNet;

/// The addresses that Gateways share: those asked for; else all of this machine, or with `demo`
/// its loopback addresses, each family that the machine has.
pub(crate) fn shared(listen: &[IpAddr], demo: bool) -> Vec<IpAddr> {
    if !listen.is_empty() {
        return listen.to_vec();
    }
    let (v4, v6) = if demo {
        (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    } else {
        (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
    };
    let candidates = [IpAddr::from(v4), IpAddr::from(v6)];
    let usable = candidates.into_iter().filter(|address| TcpListener::bind((*address, 0)).is_ok());
    match usable.collect::<Vec<_>>() {
        none if none.is_empty() => vec![v4.into()],
        usable => usable,
    }
}

/// Gives each Gateway an address of its own.
///
/// Gateways of the first reading are served by namespace and name, later ones as they come; an
/// address stays with its Gateway while the process runs, even while the Gateway is gone, unless
/// the pool runs dry (AD-5).
#[derive(Debug)]
pub(crate) struct AddressPool {
    network: IpNet,
    assigned: BTreeMap<GatewayId, IpAddr>,
}

impl AddressPool {
    pub(crate) fn new(network: IpNet) -> Self {
        Self { network, assigned: BTreeMap::new() }
    }

    /// Sees to it that each of these Gateways has an address, as far as the pool goes.
    pub(crate) fn follow<'a>(
        &mut self,
        gateways: impl Iterator<Item = &'a GatewayId> + Clone,
    ) -> AddressPolicy {
        let new: Vec<_> =
            gateways.clone().filter(|id| !self.assigned.contains_key(*id)).cloned().collect();
        for gateway in new {
            let address = self.free().or_else(|| {
                let unused = self.assigned.keys().find(|id| !gateways.clone().any(|g| g == *id));
                unused.cloned().and_then(|id| self.assigned.remove(&id))
            });
            let Some(address) = address else { break };
            self.assigned.insert(gateway, address);
        }
        AddressPolicy::Assigned(self.assigned.clone())
    }

    fn free(&self) -> Option<IpAddr> {
        let taken: std::collections::BTreeSet<_> = self.assigned.values().collect();
        // One more than is taken is enough to find a free one: a large network is never walked.
        self.network.hosts().take(taken.len() + 1).find(|address| !taken.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(policy: AddressPolicy) -> Vec<(String, String)> {
        match policy {
            AddressPolicy::Assigned(table) => {
                table.into_iter().map(|(id, ip)| (id.name.to_string(), ip.to_string())).collect()
            }
            other => panic!("a table, not {other:?}"),
        }
    }

    fn follow(pool: &mut AddressPool, names: &[&str]) -> Vec<(String, String)> {
        let ids: Vec<_> = names.iter().map(|name| GatewayId::new("default", *name)).collect();
        addresses(pool.follow(ids.iter()))
    }

    fn pair(name: &str, ip: &str) -> (String, String) {
        (name.to_owned(), ip.to_owned())
    }

    #[test]
    fn a_gateway_keeps_its_address_whoever_comes_and_goes() {
        let mut pool = AddressPool::new("127.1.0.0/16".parse().expect("a network"));
        follow(&mut pool, &["b", "d"]);
        follow(&mut pool, &["a", "d"]);
        assert_eq!(
            follow(&mut pool, &["a", "b", "d"]),
            [pair("a", "127.1.0.3"), pair("b", "127.1.0.1"), pair("d", "127.1.0.2")]
        );
    }

    #[test]
    fn a_dry_pool_takes_back_what_is_not_used() {
        let mut pool = AddressPool::new("127.1.0.0/30".parse().expect("a network"));
        follow(&mut pool, &["a", "b"]);
        assert_eq!(follow(&mut pool, &["a", "b", "c"]).len(), 2);
        assert_eq!(
            follow(&mut pool, &["b", "c"]),
            [pair("b", "127.1.0.2"), pair("c", "127.1.0.1")]
        );
    }

    #[test]
    fn what_is_asked_for_is_taken_as_it_is() {
        let wanted = [IpAddr::from([127, 0, 0, 9])];
        assert_eq!(shared(&wanted, true), wanted);
        assert!(shared(&[], true).iter().all(IpAddr::is_loopback));
        assert!(shared(&[], false).iter().all(IpAddr::is_unspecified));
    }
}
