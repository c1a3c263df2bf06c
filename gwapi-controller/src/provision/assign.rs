//! Which Service has which of a Gateway's addresses.
//!
//! A load balancer gives a Service one address, so each requested address has a Service of its own.
//! An address stays with the Service that has it, whatever is added or removed beside it (AD-5).

use std::net::IpAddr;

use gwapi_translate::infrastructure::{GatewayInfrastructure, RequestedAddress, label_value};

use super::parameters::{AddressSource, address_source};

/// A Service with the address that it is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePlan {
    /// Name of the Service.
    pub name: String,
    /// The address.
    pub address: RequestedAddress,
}

/// What is known of a Service that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownService {
    /// Name of the Service.
    pub name: String,
    /// The address that it asks for.
    pub asks_for: Option<IpAddr>,
    /// The addresses that it has.
    pub has: Vec<IpAddr>,
}

/// Distributes the addresses that a Gateway asks for over Services, given those it has already.
/// Without a port to reach, and where a Service of the user's does the work, there is none.
pub fn assign(wanted: &GatewayInfrastructure, known: &[KnownService]) -> Vec<ServicePlan> {
    let source = address_source(&wanted.parameters);
    if wanted.ports.is_empty() || matches!(source, AddressSource::Existing(_)) {
        return Vec::new();
    }
    let requests = match wanted.addresses.as_slice() {
        [] => vec![RequestedAddress::Any],
        _ if source == AddressSource::Nodes => vec![RequestedAddress::Any],
        some => some.to_vec(),
    };
    let mut assignment = Assignment { names: vec![None; requests.len()], free: known.to_vec() };
    // Who has an address keeps it, be it that it was asked for or that it came by chance.
    for (index, request) in requests.iter().enumerate() {
        if let RequestedAddress::Ip(ip) = request {
            assignment.take(index, |it| it.asks_for == Some(*ip));
            assignment.take(index, |it| it.asks_for.is_none() && it.has.contains(ip));
        }
    }
    let any = |index: &usize| requests[*index] == RequestedAddress::Any;
    for index in (0..requests.len()).filter(any) {
        assignment.take(index, |it| it.asks_for.is_none());
    }
    // An address that is no longer asked for by name may stay as one of any kind.
    for index in (0..requests.len()).filter(any) {
        assignment.take(index, |_| true);
    }
    // A load balancer may be asked for another address; that of the cluster is for life.
    let is_for_life = source == AddressSource::ClusterIp;
    assignment.finish(&wanted.name, &requests, is_for_life)
}

struct Assignment {
    names: Vec<Option<String>>,
    free: Vec<KnownService>,
}

impl Assignment {
    /// Gives a request the first free Service that suits, unless it has one.
    fn take(&mut self, index: usize, suits: impl Fn(&KnownService) -> bool) {
        if self.names[index].is_none()
            && let Some(place) = self.free.iter().position(suits)
        {
            self.names[index] = Some(self.free.remove(place).name);
        }
    }

    /// Gives every other request a Service by a free name, of which the first is the plain one.
    fn finish(
        self,
        base: &str,
        requests: &[RequestedAddress],
        is_for_life: bool,
    ) -> Vec<ServicePlan> {
        let mut taken: Vec<String> = self.names.iter().flatten().cloned().collect();
        if is_for_life {
            taken.extend(self.free.into_iter().map(|it| it.name));
        }
        let mut plans = Vec::with_capacity(requests.len());
        for (name, address) in self.names.into_iter().zip(requests) {
            let name = name.unwrap_or_else(|| {
                let name = (1..)
                    .map(|number| numbered(base, number))
                    .find(|name| !taken.contains(name))
                    .expect("numbers do not end");
                taken.push(name.clone());
                name
            });
            plans.push(ServicePlan { name, address: *address });
        }
        plans
    }
}

fn numbered(base: &str, number: usize) -> String {
    if number == 1 { base.to_owned() } else { label_value(&format!("{base}-{number}")) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::wanted;
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const C: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    fn assigned(requests: &[RequestedAddress], known: &[KnownService]) -> Vec<String> {
        let mut wanted = wanted();
        wanted.addresses = requests.to_vec();
        assign(&wanted, known).into_iter().map(|plan| plan.name).collect()
    }

    fn known(name: &str, asks_for: Option<IpAddr>, has: &[IpAddr]) -> KnownService {
        KnownService { name: name.to_owned(), asks_for, has: has.to_vec() }
    }

    #[test]
    fn the_first_address_has_the_plain_name_and_others_are_numbered() {
        use RequestedAddress::{Any, Ip};
        assert_eq!(assigned(&[], &[]), ["web-gwapi"]);
        assert_eq!(
            assigned(&[Ip(A), Any, Ip(B)], &[]),
            ["web-gwapi", "web-gwapi-2", "web-gwapi-3"]
        );
    }

    #[test]
    fn an_address_stays_with_its_service_when_others_go() {
        use RequestedAddress::{Any, Ip};
        let two = [known("web-gwapi", Some(A), &[A]), known("web-gwapi-2", Some(B), &[B])];
        assert_eq!(assigned(&[Ip(B)], &two), ["web-gwapi-2"]);
        assert_eq!(assigned(&[Ip(B), Ip(A)], &two), ["web-gwapi-2", "web-gwapi"]);
        assert_eq!(assigned(&[Ip(C), Ip(B)], &two), ["web-gwapi", "web-gwapi-2"]);
        assert_eq!(assigned(&[Any], &two[1..]), ["web-gwapi-2"]);
    }

    #[test]
    fn an_address_that_was_given_can_be_asked_for_in_place() {
        use RequestedAddress::{Any, Ip};
        let given = [known("web-gwapi", None, &[A])];
        assert_eq!(assigned(&[Ip(A)], &given), ["web-gwapi"]);
        assert_eq!(assigned(&[Ip(A), Any], &given), ["web-gwapi", "web-gwapi-2"]);
        assert_eq!(assigned(&[Any, Ip(A)], &given), ["web-gwapi-2", "web-gwapi"]);
    }

    #[test]
    fn a_cluster_address_is_never_changed_in_place() {
        let mut wanted = wanted();
        wanted.parameters.service.service_type = Some(gwapi_model::ServiceType::ClusterIp);
        wanted.addresses = vec![RequestedAddress::Ip(B)];
        let plans = assign(&wanted, &[known("web-gwapi", None, &[A])]);
        assert_eq!(plans[0].name, "web-gwapi-2");
    }

    #[test]
    fn without_a_port_there_is_no_service() {
        let mut wanted = wanted();
        wanted.ports.clear();
        assert_eq!(assign(&wanted, &[known("web-gwapi", None, &[A])]), []);
    }

    #[test]
    fn addresses_of_nodes_need_one_service() {
        let mut wanted = wanted();
        wanted.parameters.service.service_type = Some(gwapi_model::ServiceType::NodePort);
        wanted.addresses = vec![RequestedAddress::Ip(A), RequestedAddress::Ip(B)];
        let plans = assign(&wanted, &[]);
        assert_eq!(plans.len(), 1);
        assert_eq!(plans[0].address, RequestedAddress::Any);
    }
}
