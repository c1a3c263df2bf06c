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
    /// The address; none where the Gateway has whatever addresses it gets.
    pub address: Option<RequestedAddress>,
}

impl ServicePlan {
    /// Whether it is there for an address of the cluster, whatever the parameters say of Services (AD-9).
    pub(super) fn is_for_cluster(&self) -> bool {
        is_for_cluster(self.address)
    }
}

/// What is known of a Service that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownService {
    /// Name of the Service.
    pub name: String,
    /// Whether it was made for an address of the cluster that was asked for as such.
    pub is_for_cluster: bool,
    /// The address that it asks for.
    pub asks_for: Option<IpAddr>,
    /// The addresses that it has.
    pub has: Vec<IpAddr>,
    /// Its addresses in the cluster, which are for life.
    pub cluster_ips: Vec<IpAddr>,
}

/// Distributes the addresses that a Gateway asks for over Services, given those it has already.
/// Without a port to reach, and where a Service of the user's does the work, there is none.
pub fn assign(wanted: &GatewayInfrastructure, known: &[KnownService]) -> Vec<ServicePlan> {
    let source = address_source(&wanted.parameters);
    if wanted.ports.is_empty() || matches!(source, AddressSource::Existing(_)) {
        return Vec::new();
    }
    let requests = requests(wanted, &source);
    // A load balancer may be asked for another address; that of the cluster is for life.
    let is_for_life =
        |request: Request| source == AddressSource::ClusterIp || is_for_cluster(request);
    let mut assignment = Assignment { names: vec![None; requests.len()], free: known.to_vec() };
    // Who has an address keeps it, be it that it was asked for or that it came by chance.
    for (index, request) in requests.iter().enumerate() {
        let Some(ip) = request.and_then(|request| request.ip) else { continue };
        if is_for_life(*request) {
            assignment.take(index, |it| it.cluster_ips.contains(&ip));
        } else {
            assignment.take(index, |it| it.asks_for == Some(ip));
            assignment.take(index, |it| it.asks_for.is_none() && it.has.contains(&ip));
        }
    }
    let is_open = |index: &usize| requests[*index].is_none_or(|request| request.ip.is_none());
    let open: Vec<usize> = (0..requests.len()).filter(is_open).collect();
    // An address that is no longer asked for by name may stay as one of any kind. One of another kind is
    // better than none.
    let preferences: [fn(&KnownService, bool) -> bool; 3] = [
        |it, for_cluster| it.is_for_cluster == for_cluster && it.asks_for.is_none(),
        |it, for_cluster| it.is_for_cluster == for_cluster,
        |_, _| true,
    ];
    for suits in preferences {
        for index in &open {
            assignment.take(*index, |it| suits(it, is_for_cluster(requests[*index])));
        }
    }
    assignment.finish(&wanted.name, &requests, is_for_life)
}

/// What a Service is asked for; nothing in particular, if `None`.
type Request = Option<RequestedAddress>;

/// What Services are needed for. On nodes there is nothing to allocate, and one of them is enough; addresses
/// of the cluster need one each.
fn requests(wanted: &GatewayInfrastructure, source: &AddressSource) -> Vec<Request> {
    let asked = wanted.addresses.iter().map(|address| Some(*address));
    if wanted.addresses.is_empty() {
        return vec![None];
    }
    if *source != AddressSource::Nodes {
        return asked.collect();
    }
    let (of_cluster, of_nodes): (Vec<_>, Vec<_>) = asked.partition(|it| is_for_cluster(*it));
    let nodes = (!of_nodes.is_empty()).then_some(None);
    nodes.into_iter().chain(of_cluster).collect()
}

fn is_for_cluster(request: Request) -> bool {
    request.is_some_and(RequestedAddress::is_for_cluster)
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
        requests: &[Request],
        is_for_life: impl Fn(Request) -> bool,
    ) -> Vec<ServicePlan> {
        let mut taken: Vec<String> = self.names.iter().flatten().cloned().collect();
        let is_free = |name: &String| self.free.iter().any(|it| it.name == *name);
        let mut plans = Vec::with_capacity(requests.len());
        for (name, address) in self.names.iter().cloned().zip(requests) {
            let is_taken = |name: &String, taken: &[String]| {
                taken.contains(name) || is_for_life(*address) && is_free(name)
            };
            let name = name.unwrap_or_else(|| {
                let name = (1..)
                    .map(|number| numbered(base, number))
                    .find(|name| !is_taken(name, &taken))
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
    use gwapi_translate::infrastructure::Routability;

    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const C: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    const ANY: RequestedAddress = RequestedAddress::ANY;
    const CLUSTER: RequestedAddress = ANY.with(Routability::Cluster);

    fn ip(ip: IpAddr) -> RequestedAddress {
        RequestedAddress::ip(ip)
    }

    fn assigned(requests: &[RequestedAddress], known: &[KnownService]) -> Vec<String> {
        let mut wanted = wanted();
        wanted.addresses = requests.to_vec();
        assign(&wanted, known).into_iter().map(|plan| plan.name).collect()
    }

    /// One of a load balancer.
    fn known(name: &str, asks_for: Option<IpAddr>, has: &[IpAddr]) -> KnownService {
        KnownService {
            name: name.to_owned(),
            is_for_cluster: false,
            asks_for,
            has: has.to_vec(),
            cluster_ips: Vec::new(),
        }
    }

    /// One that was made for an address of the cluster.
    fn of_cluster(name: &str, has: IpAddr) -> KnownService {
        KnownService { is_for_cluster: true, cluster_ips: vec![has], ..known(name, None, &[has]) }
    }

    #[test]
    fn the_first_address_has_the_plain_name_and_others_are_numbered() {
        assert_eq!(assigned(&[], &[]), ["web-gwapi"]);
        assert_eq!(
            assigned(&[ip(A), ANY, ip(B)], &[]),
            ["web-gwapi", "web-gwapi-2", "web-gwapi-3"]
        );
    }

    #[test]
    fn an_address_stays_with_its_service_when_others_go() {
        let two = [known("web-gwapi", Some(A), &[A]), known("web-gwapi-2", Some(B), &[B])];
        assert_eq!(assigned(&[ip(B)], &two), ["web-gwapi-2"]);
        assert_eq!(assigned(&[ip(B), ip(A)], &two), ["web-gwapi-2", "web-gwapi"]);
        assert_eq!(assigned(&[ip(C), ip(B)], &two), ["web-gwapi", "web-gwapi-2"]);
        assert_eq!(assigned(&[ANY], &two[1..]), ["web-gwapi-2"]);
    }

    #[test]
    fn an_address_that_was_given_can_be_asked_for_in_place() {
        let given = [known("web-gwapi", None, &[A])];
        assert_eq!(assigned(&[ip(A)], &given), ["web-gwapi"]);
        assert_eq!(assigned(&[ip(A), ANY], &given), ["web-gwapi", "web-gwapi-2"]);
        assert_eq!(assigned(&[ANY, ip(A)], &given), ["web-gwapi-2", "web-gwapi"]);
    }

    #[test]
    fn a_cluster_address_is_never_changed_in_place() {
        let mut wanted = wanted();
        wanted.parameters.service.service_type = Some(gwapi_model::ServiceType::ClusterIp);
        wanted.addresses = vec![ip(B)];
        let given = KnownService { cluster_ips: vec![A], ..known("web-gwapi", None, &[A]) };
        let plans = assign(&wanted, &[given]);
        assert_eq!(plans[0].name, "web-gwapi-2");
    }

    /// AD-9, AD-5
    #[test]
    fn an_address_of_the_cluster_stays_beside_those_of_load_balancers() {
        let both = [known("web-gwapi", None, &[A]), of_cluster("web-gwapi-2", B)];
        assert_eq!(assigned(&[ANY, CLUSTER], &[]), ["web-gwapi", "web-gwapi-2"]);
        assert_eq!(assigned(&[ANY, CLUSTER], &both), ["web-gwapi", "web-gwapi-2"]);
        assert_eq!(assigned(&[CLUSTER, ANY], &both), ["web-gwapi-2", "web-gwapi"]);
        assert_eq!(assigned(&[CLUSTER], &both), ["web-gwapi-2"]);
        assert_eq!(assigned(&[ANY], &both), ["web-gwapi"]);
        let certain = ip(B).with(Routability::Cluster);
        assert_eq!(assigned(&[certain, ANY], &both), ["web-gwapi-2", "web-gwapi"]);
        assert_eq!(
            assigned(&[CLUSTER], &both[..1]),
            ["web-gwapi"],
            "it becomes one of the cluster"
        );
        assert_eq!(
            assigned(&[certain], &both[..1]),
            ["web-gwapi-2"],
            "what it has in the cluster is for life"
        );
        let other = ip(C).with(Routability::Cluster);
        assert_eq!(assigned(&[ANY, other], &both), ["web-gwapi", "web-gwapi-3"]);
    }

    /// AD-9
    #[test]
    fn addresses_of_the_cluster_have_services_of_their_own_beside_that_of_nodes() {
        let mut wanted = wanted();
        wanted.parameters.service.service_type = Some(gwapi_model::ServiceType::NodePort);
        wanted.addresses = vec![CLUSTER, ANY, ANY, CLUSTER];
        let plans = assign(&wanted, &[of_cluster("web-gwapi", A)]);
        let plans: Vec<_> = plans.iter().map(|it| (&*it.name, it.address)).collect();
        let (of_nodes, cluster) = (None, Some(CLUSTER));
        let names = ["web-gwapi-2", "web-gwapi", "web-gwapi-3"];
        assert_eq!(plans, [(names[0], of_nodes), (names[1], cluster), (names[2], cluster)]);
        wanted.addresses = vec![CLUSTER];
        let plans = assign(&wanted, &[of_cluster("web-gwapi", A)]);
        assert_eq!(plans, [ServicePlan { name: "web-gwapi".to_owned(), address: cluster }]);
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
        wanted.addresses = vec![ip(A), ip(B)];
        let plans = assign(&wanted, &[]);
        assert_eq!(plans.len(), 1);
        assert_eq!(plans[0].address, None);
    }
}
