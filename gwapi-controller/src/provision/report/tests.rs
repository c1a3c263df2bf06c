use std::sync::Arc;

use gwapi_model::ServiceType;
use serde_json::json;

use super::super::assign;
use super::super::existing::existing;
use super::super::live::Live;
use super::super::testing::wanted;
use super::*;

/// A Gateway, what is there for it, and what its status is told.
struct Case {
    wanted: GatewayInfrastructure,
    live: LiveObjects,
    pods: Vec<PodView>,
    existing: Option<Option<Value>>,
    failures: Vec<Failure>,
    /// The addresses that are known of what was told before.
    told: Vec<IpAddr>,
    waited: Duration,
    is_missing_pods: bool,
}

impl Case {
    fn new() -> Self {
        Self {
            wanted: wanted(),
            live: LiveObjects::new(),
            pods: vec![PodView { is_ready: true, ..pod("10.0.0.5") }],
            existing: None,
            failures: Vec::new(),
            told: Vec::new(),
            waited: Duration::ZERO,
            is_missing_pods: false,
        }
    }

    fn of_type(service_type: ServiceType) -> Self {
        let mut case = Self::new();
        case.wanted.parameters.service.service_type = Some(service_type);
        case
    }

    fn asking_for(mut self, addresses: &[&str]) -> Self {
        self.wanted.addresses = addresses.iter().map(|ip| request(ip)).collect();
        self
    }

    fn asking(mut self, requests: &[RequestedAddress]) -> Self {
        self.wanted.addresses = requests.to_vec();
        self
    }

    /// A Service with an address of the cluster alone.
    fn in_cluster(self, name: &str, ips: &[&str]) -> Self {
        let service = json!({"spec": {"type": "ClusterIP", "clusterIPs": ips}});
        self.with(ManagedKind::Service, name, service)
    }

    fn with(mut self, kind: ManagedKind, name: &str, object: Value) -> Self {
        let live = Live {
            uid: name.to_owned(),
            owner_uid: self.wanted.uid.clone(),
            is_terminating: false,
            object,
        };
        self.live.insert((kind, name.to_owned()), Arc::new(live));
        self
    }

    /// A Service with a port of the nodes.
    fn at_nodes(self, name: &str, port: u16) -> Self {
        let port = json!({"port": port, "protocol": "TCP", "nodePort": 30080});
        let service = json!({
            "spec": {"type": "NodePort", "clusterIPs": ["10.96.0.1"], "ports": [port]},
        });
        self.with(ManagedKind::Service, name, service)
    }

    /// A Service with what a load balancer gave it.
    fn balanced(self, name: &str, ingress: &Value) -> Self {
        let service = json!({
            "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1"]},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        self.with(ManagedKind::Service, name, service)
    }

    /// The same, and everything that is there belongs to a former Gateway of the name.
    fn of_former(self) -> Self {
        self.changed(|it| it.owner_uid = "former".to_owned())
    }

    /// The same, and everything that is there is being deleted.
    fn leaving(self) -> Self {
        self.changed(|it| it.is_terminating = true)
    }

    fn changed(mut self, change: impl Fn(&mut Live)) -> Self {
        self.live.values_mut().for_each(|it| change(Arc::make_mut(it)));
        self
    }

    fn failing(mut self, kind: ManagedKind, cause: Cause) -> Self {
        self.failures.push(Failure { key: (kind, self.wanted.name.clone()), cause });
        self
    }

    fn after(mut self, seconds: u64) -> Self {
        self.waited = Duration::from_secs(seconds);
        self
    }

    fn report(&self) -> InfrastructureReport {
        self.findings().report
    }

    fn findings(&self) -> Findings {
        let services = assign(&self.wanted, &[]);
        let names = services.iter().map(|plan| plan.name.clone());
        let names = names.chain(self.wanted.parameters.service.existing_service.clone());
        let waiting = names.map(|name| (name, self.waited)).collect();
        let found = self.existing.as_ref().map(Option::as_ref);
        findings(&View {
            wanted: &self.wanted,
            services: &services,
            live: &Standing::of(&self.wanted.uid, &self.live),
            pods: &self.pods,
            addresses: &self.told,
            existing: existing(&self.wanted, &self.live, found),
            failures: &self.failures,
            waiting: &waiting,
            is_missing_pods: self.is_missing_pods,
        })
    }

    /// The addresses from now on.
    fn next_addresses(&mut self) -> Vec<String> {
        let addresses = self.report().addresses;
        self.told = known_addresses(&self.told, &addresses, &self.pods);
        addresses.into_iter().map(|it| it.value).collect()
    }

    fn addresses(&self) -> Vec<String> {
        let addresses = self.report().addresses.into_iter();
        addresses.map(|it| format!("{} {}", it.address_type, it.value)).collect()
    }

    /// Addresses with their routability, and what became of the requests.
    fn assignment(&self) -> (Vec<String>, AddressAssignment) {
        let report = self.report();
        let addresses = report.addresses.into_iter();
        let told = |it: GatewayStatusAddress| {
            format!("{} {:?}", it.value, it.routability.expect("it is told of every address"))
        };
        (addresses.map(told).collect(), report.assignment)
    }

    fn unmet(&self) -> Vec<String> {
        let unmet = self.report().unmet.into_iter();
        unmet.map(|(reason, message)| format!("{reason}: {message}")).collect()
    }
}

fn request(ip: &str) -> RequestedAddress {
    RequestedAddress { ip: (!ip.is_empty()).then(|| ip.parse().unwrap()), ..RequestedAddress::ANY }
}

fn pod(host_ip: &str) -> PodView {
    PodView { host_ips: vec![host_ip.to_owned()], ..PodView::default() }
}

#[test]
fn the_addresses_of_a_load_balancer_are_the_gateways() {
    let case = Case::new().balanced("web-gwapi", &json!([{"ip": "10.245.0.1"}]));
    assert_eq!(case.addresses(), ["IPAddress 10.245.0.1"]);
    assert_eq!(case.unmet(), [""; 0]);
    assert!(case.report().ready);
    let named = Case::new().balanced("web-gwapi", &json!([{"hostname": "lb.example.test"}]));
    assert_eq!(named.addresses(), ["Hostname lb.example.test"]);
}

#[test]
fn an_address_that_does_not_come_is_told_after_a_while() {
    let case = Case::new().balanced("web-gwapi", &json!([]));
    assert_eq!(case.unmet(), ["Pending: Service web-gwapi waits for an address"]);
    assert_eq!(
        case.after(10).unmet(),
        [
            "AddressNotAssigned: Service web-gwapi got no address within 10 s: is there a load balancer \
              for it?"
        ]
    );
}

/// Its load balancer takes its time, and its addresses are lost.
#[test]
fn a_service_that_goes_has_no_address_and_is_waited_for() {
    let balanced = || {
        let case = Case::new().balanced("web-gwapi", &json!([{"ip": "10.245.0.1"}]));
        case.asking_for(&["10.245.0.1"]).after(10)
    };
    let at_nodes = || Case::of_type(ServiceType::NodePort).at_nodes("web-gwapi", 80).after(10);
    let cases: [fn(Case) -> Case; 2] = [Case::of_former, Case::leaving];
    for case in cases.iter().flat_map(|goes| [goes(balanced()), goes(at_nodes())]) {
        assert_eq!(case.addresses(), [""; 0]);
        assert_eq!(case.unmet(), ["Pending: Service web-gwapi is still being deleted"]);
        let (_, assignment) = case.assignment();
        assert_eq!(assignment, AddressAssignment { pending: true, ..met(0) });
    }
    let mut held = balanced().leaving();
    held.wanted.hold = true;
    held.wanted.ports[0].port = 8080;
    assert_eq!((held.addresses(), held.unmet()), (Vec::new(), Vec::new()));
}

#[test]
fn what_is_said_of_the_pods_of_a_former_gateway_is_not_said_of_its_successor() {
    let status = json!({"status": {"readyReplicas": 2, "conditions": [
        {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}]}});
    let mut case = Case::of_type(ServiceType::ClusterIp);
    case = case.with(ManagedKind::Deployment, "web-gwapi", status).of_former();
    case = case.in_cluster("web-gwapi", &["10.96.0.7"]);
    case.pods.clear();
    case.is_missing_pods = true;
    assert_eq!(case.unmet(), [""; 0]);
}

#[test]
fn what_can_be_had_is_served_beside_what_cannot() {
    let case = Case::new()
        .asking_for(&["192.0.2.1", "10.245.0.1"])
        .balanced("web-gwapi", &json!([]))
        .balanced("web-gwapi-2", &json!([{"ip": "10.245.0.1"}]));
    assert_eq!(case.addresses(), ["IPAddress 10.245.0.1"]);
    assert_eq!(case.unmet(), ["Pending: Service web-gwapi waits for the address 192.0.2.1"]);
    assert_eq!(
        case.after(10).unmet(),
        ["AddressNotUsable: Service web-gwapi asks for 192.0.2.1 and did not get it within 10 s: \
              does a load balancer have it to give?"]
    );
}

#[test]
fn another_address_than_the_one_asked_for_is_not_used() {
    let case = Case::new()
        .asking_for(&["10.245.0.1"])
        .balanced("web-gwapi", &json!([{"ip": "10.245.0.2"}]))
        .after(10);
    assert_eq!(case.addresses(), [""; 0]);
    assert_eq!(
        case.unmet(),
        ["AddressNotUsable: Service web-gwapi asks for 10.245.0.1 and got 10.245.0.2 instead"]
    );
}

#[test]
fn a_cluster_address_is_that_of_the_service() {
    let service = json!({"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.1", "fd00::1"]}});
    let case =
        Case::of_type(ServiceType::ClusterIp).with(ManagedKind::Service, "web-gwapi", service);
    assert_eq!(case.addresses(), ["IPAddress 10.96.0.1", "IPAddress fd00::1"]);
}

#[test]
fn an_address_that_the_api_server_refuses_is_not_usable_at_once() {
    let case = Case::of_type(ServiceType::ClusterIp)
        .asking_for(&["192.0.2.1"])
        .failing(ManagedKind::Service, Cause::Invalid("not in the range".to_owned()));
    assert_eq!(case.unmet(), ["AddressNotUsable: 192.0.2.1 cannot be had: not in the range"]);
}

#[test]
fn node_ports_are_reached_at_the_nodes_of_ready_proxies() {
    let mut case = Case::of_type(ServiceType::NodePort).at_nodes("web-gwapi", 80);
    case.pods.extend([pod("10.0.0.6"), PodView { is_ready: true, ..pod("10.0.0.4") }]);
    assert_eq!(case.addresses(), ["IPAddress 10.0.0.4", "IPAddress 10.0.0.5"]);
    let case = case.asking_for(&["10.0.0.5", "10.0.0.6"]);
    assert_eq!(case.addresses(), ["IPAddress 10.0.0.5"]);
    assert_eq!(case.unmet(), ["AddressNotUsable: 10.0.0.6 is not among 10.0.0.4, 10.0.0.5"]);
}

fn ready(host_ip: &str) -> PodView {
    PodView { is_ready: true, ..pod(host_ip) }
}

/// AD-5: that there is another node is no reason to move, whatever its address.
#[test]
fn an_entry_without_a_value_stays_at_its_node_while_a_proxy_is_ready_there() {
    let mut case = Case::of_type(ServiceType::NodePort).at_nodes("web-gwapi", 80);
    case = case.asking(&[RequestedAddress::ANY]);
    assert_eq!(case.next_addresses(), ["10.0.0.5"]);
    case.pods.push(ready("10.0.0.4"));
    case.pods.push(ready("10.0.0.3"));
    assert_eq!(case.next_addresses(), ["10.0.0.5"]);
    case.pods[0].is_ready = false;
    assert_eq!(case.next_addresses(), ["10.0.0.3"]);
    case.pods[0].is_ready = true;
    assert_eq!(case.next_addresses(), ["10.0.0.3"]);
}

/// AD-5: a node on which the next proxy is ready before the former one leaves has led to the Gateway all the time.
#[test]
fn an_entry_without_a_value_stays_at_its_node_over_a_rollout() {
    let mut case = Case::of_type(ServiceType::NodePort).at_nodes("web-gwapi", 80);
    case = case.asking(&[RequestedAddress::ANY]);
    assert_eq!(case.next_addresses(), ["10.0.0.5"]);
    case.pods.push(ready("10.0.0.4"));
    for host_ip in ["10.0.0.5", "10.0.0.4"] {
        case.pods.push(ready(host_ip));
        assert_eq!(case.next_addresses(), ["10.0.0.5"]);
        case.pods.remove(0);
        assert_eq!(case.next_addresses(), ["10.0.0.5"]);
    }
}

/// AD-5: there is room for sixteen, and those that are told stay the same, in the same order.
#[test]
fn a_rollout_over_more_nodes_than_there_is_room_for_changes_no_address() {
    let mut case = Case::of_type(ServiceType::NodePort).at_nodes("web-gwapi", 80);
    case.pods = (10..27).map(|last| ready(&format!("10.0.0.{last}"))).collect();
    let told = case.next_addresses();
    assert_eq!(told.len(), 16);
    for last in 10..27 {
        case.pods.push(ready(&format!("10.0.0.{last}")));
        assert_eq!(case.next_addresses(), told, "node {last}");
        case.pods.remove(0);
        assert_eq!(case.next_addresses(), told, "node {last}");
    }
    // One that is missing is replaced, and the others stay.
    case.pods.remove(3);
    let mut without: Vec<String> = told.iter().filter(|it| *it != "10.0.0.13").cloned().collect();
    without.push("10.0.0.26".to_owned());
    assert_eq!(case.next_addresses(), without);
}

/// AD-5: what is in the way of a Service, or of every listener, is in the way of no proxy.
#[test]
fn an_entry_without_a_value_stays_at_its_node_while_nothing_leads_there() {
    let mut case = Case::of_type(ServiceType::NodePort).at_nodes("web-gwapi", 80);
    case = case.asking(&[RequestedAddress::ANY]);
    assert_eq!(case.next_addresses(), ["10.0.0.5"]);
    case.pods.push(ready("10.0.0.4"));
    let services = std::mem::take(&mut case.live);
    assert_eq!(case.next_addresses(), [""; 0], "there is no Service");
    case.live = services;
    assert_eq!(case.next_addresses(), ["10.0.0.5"]);
    let ports = std::mem::take(&mut case.wanted.ports);
    assert_eq!(case.next_addresses(), [""; 0], "there is no listener");
    case.wanted.ports = ports.clone();
    assert_eq!(case.next_addresses(), ["10.0.0.5"]);
    case.wanted.ports.clear();
    case.pods[0].is_ready = false;
    assert_eq!(case.next_addresses(), [""; 0]);
    case.pods[0].is_ready = true;
    case.wanted.ports = ports;
    assert_eq!(case.next_addresses(), ["10.0.0.4"], "no proxy was ready there in between");
}

/// AD-5: beside an address of the cluster, which does not depend on nodes.
#[test]
fn an_entry_without_a_value_stays_at_its_node_beside_one_of_the_cluster() {
    let of_cluster =
        RequestedAddress { routability: Routability::Cluster, ..RequestedAddress::ANY };
    let mut case = Case::of_type(ServiceType::NodePort).at_nodes("web-gwapi", 80);
    case = case.asking(&[RequestedAddress::ANY, of_cluster]);
    for plan in assign(&case.wanted, &[]).iter().filter(|plan| plan.is_for_cluster()) {
        case = case.in_cluster(&plan.name, &["10.96.0.2"]);
    }
    assert_eq!(case.next_addresses(), ["10.0.0.5", "10.96.0.2"]);
    case.pods.push(ready("10.0.0.4"));
    let key = (ManagedKind::Service, "web-gwapi".to_owned());
    let service = case.live.remove(&key).expect("it is there");
    assert_eq!(case.next_addresses(), ["10.96.0.2"]);
    case.live.insert(key, service);
    assert_eq!(case.next_addresses(), ["10.0.0.5", "10.96.0.2"]);
}

/// AD-5: whoever asked for no address in particular is not moved to one that another entry gives up.
#[test]
fn an_entry_without_a_value_stays_at_its_node_when_one_with_a_value_goes() {
    for values in [[None, Some("10.0.0.5")], [Some("10.0.0.5"), None]] {
        let requests = values.map(|value| value.map_or(RequestedAddress::ANY, request));
        let mut case = Case::of_type(ServiceType::NodePort).at_nodes("web-gwapi", 80);
        case.pods = vec![ready("10.0.0.4"), ready("10.0.0.5")];
        case = case.asking(&requests);
        assert_eq!(case.next_addresses(), ["10.0.0.4", "10.0.0.5"]);
        case = case.asking(&[RequestedAddress::ANY]);
        assert_eq!(case.next_addresses(), ["10.0.0.4"]);
    }
}

/// Nodes of both families have two addresses each.
#[test]
fn entries_without_a_value_are_at_nodes_of_their_own_where_there_are_enough() {
    let mut case = Case::of_type(ServiceType::NodePort).at_nodes("web-gwapi", 80);
    case = case.asking(&[RequestedAddress::ANY; 2]);
    case.pods = vec![ready("10.0.0.4"), ready("10.0.0.5")];
    for (pod, second) in case.pods.iter_mut().zip(["fd00::4", "fd00::5"]) {
        pod.host_ips.push(second.to_owned());
    }
    assert_eq!(case.next_addresses(), ["10.0.0.4", "10.0.0.5"]);
}

#[test]
fn nodes_lead_nowhere_without_a_service_that_has_the_port() {
    let refused = |case: Case| {
        case.failing(ManagedKind::Service, Cause::Invalid("nodePort: not in range".to_owned()))
    };
    let case = || Case::of_type(ServiceType::NodePort);
    let why = "Service web-gwapi is refused: nodePort: not in range";
    for case in [refused(case()), refused(case().at_nodes("web-gwapi", 8080))] {
        let (addresses, assignment) = case.assignment();
        assert_eq!(addresses, [""; 0]);
        assert_eq!(assignment, AddressAssignment { unmet: vec![why.to_owned()], ..met(0) });
        assert_eq!(case.unmet(), [format!("Invalid: {why}")]);
    }
    assert_eq!(case().unmet(), ["Pending: Service web-gwapi has no ports of the nodes yet"]);
    let balanced = refused(case().balanced("web-gwapi", &json!([{"ip": "10.245.0.1"}])));
    assert_eq!(balanced.addresses(), ["IPAddress 10.245.0.1"], "it is as it was");
}

#[test]
fn host_ports_are_reached_at_the_nodes_without_a_load_balancer() {
    let mut case = Case::new();
    case.wanted.parameters.workload.host_ports = vec![gwapi_model::HostPortParameters {
        port: gwapi_model::Port::new(80).unwrap(),
        host_port: None,
    }];
    case.pods[0].host_ports.insert((80, 80));
    assert_eq!(case.addresses(), ["IPAddress 10.0.0.5"]);
    case.pods.clear();
    assert_eq!(case.unmet(), ["Pending: no proxy is ready on any node yet"]);
}

#[test]
fn pods_without_the_ports_of_their_nodes_do_not_count_and_what_was_there_goes_on() {
    let mut case = Case::new().balanced("web-gwapi", &json!([{"ip": "10.245.0.1"}]));
    case.wanted.parameters.workload.host_ports = vec![gwapi_model::HostPortParameters {
        port: gwapi_model::Port::new(80).unwrap(),
        host_port: gwapi_model::Port::new(18085),
    }];
    let refusal = json!({"status": {"conditions": [
        {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}]}});
    case = case.with(ManagedKind::Deployment, "web-gwapi", refusal);
    assert_eq!(case.addresses(), ["IPAddress 10.245.0.1"], "the load balancer's leads somewhere");
    assert_eq!(
        case.unmet(),
        [
            "Pending: no proxy is ready on any node yet",
            "NoResources: Deployment web-gwapi cannot make pods: violates PodSecurity"
        ]
    );
    assert!(case.assignment().1.pending);
    case.pods.push(PodView { is_ready: true, host_ports: [(80, 18085)].into(), ..pod("10.0.0.6") });
    assert_eq!(case.addresses(), ["IPAddress 10.0.0.6"]);
}

#[test]
fn a_service_of_ours_that_is_named_as_the_users_is_refused_and_goes_on_serving() {
    let mut case = Case::new().balanced("web-gwapi", &json!([{"ip": "192.0.2.1"}]));
    case.wanted.parameters.service.existing_service = Some("web-gwapi".to_owned());
    let service = &case.live[&(ManagedKind::Service, "web-gwapi".to_owned())];
    case.existing = Some(Some(service.object.clone()));
    assert_eq!(case.addresses(), ["IPAddress 192.0.2.1"]);
    let unmet = case.report().unmet;
    assert_eq!(unmet.len(), 1);
    assert_eq!(unmet[0].0, ConditionReason::Invalid);
    assert!(unmet[0].1.contains("name a Service of your own"), "{}", unmet[0].1);
}

#[test]
fn a_service_that_was_made_for_another_gateway_is_refused_with_the_name_of_that_one() {
    let mut case = Case::new();
    case.wanted.parameters.service.existing_service = Some("other-gwapi".to_owned());
    let mut service = json!({
        "metadata": {
            "name": "other-gwapi",
            "labels": {"app.kubernetes.io/managed-by": "gwapi", "gwapi.dev/controller": "any"},
            "ownerReferences": [{
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "other",
                "uid": "of-other", "controller": true,
            }],
        },
        "spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.9"]},
    });
    case.existing = Some(Some(service.clone()));
    assert_eq!(case.addresses(), [""; 0]);
    let unmet = case.unmet();
    assert_eq!(unmet.len(), 1);
    assert!(
        unmet[0].starts_with(
            "Invalid: existingService names Service other-gwapi, which gwapi made for Gateway other:"
        ),
        "{unmet:?}"
    );
    case.wanted.hold = true;
    assert_eq!(case.addresses(), [""; 0]);
    case.wanted.hold = false;
    // A Service of the user's may go with a Gateway, too.
    service["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    case.existing = Some(Some(service));
    assert_eq!(case.addresses(), ["IPAddress 10.96.0.9"]);
}

#[test]
fn a_service_of_the_users_has_the_addresses() {
    let mut case = Case::new();
    case.wanted.parameters.service.existing_service = Some("front".to_owned());
    assert_eq!(case.unmet(), ["Pending: Service front is being looked up"]);
    case.existing = Some(None);
    assert_eq!(
        case.unmet(),
        [
            "AddressNotAssigned: Service front, which the parameters name as existingService, does not \
              exist"
        ]
    );
    case.existing = Some(Some(json!({"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.9"]}})));
    assert_eq!(case.addresses(), ["IPAddress 10.96.0.9"]);
    case.existing = Some(Some(json!({"spec": {"type": "NodePort", "clusterIPs": ["10.96.0.9"]}})));
    assert_eq!(case.addresses(), ["IPAddress 10.0.0.5"]);
    case.existing = Some(Some(json!({
        "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.9"]},
    })));
    assert_eq!(case.addresses(), [""; 0]);
    assert_eq!(
        case.unmet(),
        [
            "AddressNotAssigned: Service front, which the parameters name as existingService, is being \
              deleted"
        ]
    );
}

/// AD-2: whoever made it.
#[test]
fn an_address_that_a_service_of_the_users_does_not_get_is_told_after_a_while() {
    let mut case = Case::new();
    case.wanted.parameters.service.existing_service = Some("front".to_owned());
    case.existing = Some(Some(json!({"spec": {"type": "LoadBalancer"}})));
    assert_eq!(case.unmet(), ["Pending: Service front waits for an address"]);
    assert_eq!(
        case.after(10).unmet(),
        [
            "AddressNotAssigned: Service front got no address within 10 s: is there a load balancer for it?"
        ]
    );
}

#[test]
fn what_was_made_before_has_the_addresses_until_the_users_service_can_be_used() {
    let mut case = Case::new().balanced("web-gwapi", &json!([{"ip": "192.0.2.1"}]));
    case.wanted.parameters.service.existing_service = Some("front".to_owned());
    let external = json!({"spec": {"type": "ExternalName", "externalName": "front.test"}});
    for unusable in [None, Some(None), Some(Some(external))] {
        case.existing = unusable;
        assert_eq!(case.addresses(), ["IPAddress 192.0.2.1"]);
        assert_eq!(case.unmet().len(), 1);
    }
    case.existing = Some(Some(json!({"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.9"]}})));
    assert_eq!(case.addresses(), ["IPAddress 10.96.0.9"]);
    assert_eq!(case.unmet(), [""; 0]);
}

#[test]
fn what_cannot_be_made_is_told() {
    let clash = Cause::Clash(None);
    for (cause, reason) in [
        (clash, "NoResources"),
        (Cause::Forbidden("quota".to_owned()), "NoResources"),
        (Cause::Invalid("unknown field".to_owned()), "Invalid"),
        (Cause::Transient("connection refused".to_owned()), "Pending"),
    ] {
        let case = Case::new()
            .balanced("web-gwapi", &json!([{"ip": "10.245.0.1"}]))
            .failing(ManagedKind::Deployment, cause);
        let unmet = case.unmet();
        assert!(unmet[0].starts_with(&format!("{reason}: Deployment web-gwapi")), "{unmet:?}");
    }
}

#[test]
fn names_that_another_gateway_has_are_told_together() {
    let clash = || Cause::Clash(Some("we".to_owned()));
    let case = Case::new()
        .balanced("web-gwapi", &json!([{"ip": "10.245.0.1"}]))
        .failing(ManagedKind::ServiceAccount, clash())
        .failing(ManagedKind::Deployment, clash())
        .failing(ManagedKind::PodDisruptionBudget, Cause::Clash(None));
    let unmet = case.unmet();
    assert_eq!(unmet.len(), 2, "{unmet:?}");
    assert!(unmet[0].contains("does not belong to this Gateway"), "{unmet:?}");
    assert!(unmet[1].contains("ServiceAccount web-gwapi, Deployment web-gwapi are"), "{unmet:?}");
}

#[test]
fn a_name_that_is_taken_is_in_the_way_of_an_address_in_the_same_words() {
    let clash = || Cause::Clash(None);
    let case = Case::new()
        .failing(ManagedKind::ServiceAccount, clash())
        .failing(ManagedKind::Service, clash());
    let unmet = case.report().unmet;
    let [(ConditionReason::NoResources, message)] = &unmet[..] else { panic!("{unmet:?}") };
    assert!(message.contains("ServiceAccount web-gwapi, Service web-gwapi are there already"));
    assert_eq!(case.assignment().1.unmet, std::slice::from_ref(message));
}

#[test]
fn what_keeps_pods_from_running_is_told_while_none_does() {
    let refusal = json!({"status": {"conditions": [
        {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}]}});
    let mut case = Case::new().balanced("web-gwapi", &json!([{"ip": "10.245.0.1"}])).with(
        ManagedKind::Deployment,
        "web-gwapi",
        refusal,
    );
    assert_eq!(case.unmet(), [""; 0], "an old pod serves");
    let why = "Deployment web-gwapi cannot make pods: violates PodSecurity";
    let stalled = case.findings().stalled;
    assert_eq!(stalled, Some(format!("{why}; other pods serve meanwhile")));
    case.pods.clear();
    assert_eq!(case.findings().stalled, None);
    assert!(!case.report().ready);
    assert_eq!(case.unmet(), [format!("NoResources: {why}")]);
    case.live.remove(&(ManagedKind::Deployment, "web-gwapi".to_owned()));
    case.pods = vec![PodView { problem: Some("pod a: Unschedulable".to_owned()), ..pod("") }];
    assert_eq!(case.unmet(), ["NoResources: pod a: Unschedulable"]);
    case.pods.push(PodView { is_ready: true, ..pod("10.0.0.5") });
    assert_eq!(case.unmet(), [""; 0]);
    let stalled = case.findings().stalled;
    assert_eq!(stalled.as_deref(), Some("pod a: Unschedulable; other pods serve meanwhile"));
}

/// What has failed stays there, as a pod that its node evicted.
#[test]
fn a_pod_that_was_evicted_and_replaced_stalls_nothing_and_hides_nothing() {
    let of = |name: &str, status: Value| {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-gwapi-5d4f",
            "uid": "of-replica-set", "controller": true});
        let pod = json!({"metadata": {"name": name, "labels": {"pod-template-hash": "5d4f"},
            "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [owner]},
            "status": status});
        PodView::of(&serde_json::from_value(pod).expect("a pod"))
    };
    let running = |ready: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
    let deployment = json!({"spec": {"replicas": 1}});
    let mut case = Case::new().balanced("web-gwapi", &json!([{"ip": "10.245.0.1"}]));
    case = case.with(ManagedKind::Deployment, "web-gwapi", deployment);
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory",
        "conditions": [{"type": "Ready", "status": "True"}]});
    case.pods = vec![of("a", evicted.clone())];
    assert_eq!(case.unmet(), ["NoResources: pod a: Evicted: low on memory"]);
    assert!(!case.report().ready);
    case.pods.push(of("b", running("True")));
    assert_eq!((case.findings().stalled, case.unmet()), (None, Vec::new()));
    case.pods[1] = of("b", running("False"));
    assert_eq!(case.unmet(), [""; 0], "it is about to be ready");
    let unscheduled = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled",
        "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]});
    case.pods.push(of("c", unscheduled));
    assert_eq!(case.unmet(), ["NoResources: pod c: Unschedulable: 0/1 nodes are available"]);
}

#[test]
fn without_a_listener_there_is_no_address_to_wait_for() {
    let mut case = Case::new();
    case.wanted.ports.clear();
    assert_eq!(case.addresses(), [""; 0]);
    assert_eq!(case.unmet(), [""; 0]);
}

const CLUSTER: RequestedAddress = RequestedAddress::ANY.with(Routability::Cluster);

fn met(met: usize) -> AddressAssignment {
    AddressAssignment { met, ..AddressAssignment::default() }
}

/// AD-7, AD-9: a request has one address, and one of the cluster is told as such.
#[test]
fn an_address_of_the_cluster_is_told_beside_that_of_a_load_balancer() {
    let case = Case::new()
        .asking(&[CLUSTER, RequestedAddress::ANY])
        .in_cluster("web-gwapi", &["10.96.0.7", "fd00::7"])
        .balanced("web-gwapi-2", &json!([{"ip": "10.245.0.1"}, {"ip": "10.245.0.2"}]));
    let told = ["10.96.0.7 \"Cluster\"", "10.245.0.1 \"\""];
    assert_eq!(case.assignment(), (told.map(str::to_owned).to_vec(), met(2)));
    assert_eq!(case.unmet(), [""; 0]);
}

/// AD-7, AD-9: also where none of the cluster was asked for as such.
#[test]
fn an_address_that_happens_to_be_one_of_the_cluster_is_told_as_one() {
    let case =
        || Case::of_type(ServiceType::ClusterIp).in_cluster("web-gwapi", &["10.96.0.7", "fd00::7"]);
    let both = ["10.96.0.7 \"Cluster\"", "fd00::7 \"Cluster\""];
    assert_eq!(case().assignment(), (both.map(str::to_owned).to_vec(), met(1)));
    let one = case().asking(&[RequestedAddress::ANY]).assignment();
    assert_eq!(one, (vec![both[0].to_owned()], met(1)));
    let sentinel = RequestedAddress::ANY.with(Routability::Sentinel);
    let echoed = vec!["10.96.0.7 \"testing.x-k8s.io/sentinel\"".to_owned()];
    assert_eq!(case().asking(&[sentinel]).assignment(), (echoed, met(1)));
}

/// AD-8, AD-9: the address of a load balancer does not stand in, and the Gateway is programmed on it.
#[test]
fn an_address_of_the_cluster_that_is_refused_leaves_the_rest_as_it_is() {
    let outside = CLUSTER_OUTSIDE.parse().map(RequestedAddress::ip).expect("an address");
    let case = Case::new()
        .asking(&[outside.with(Routability::Cluster), RequestedAddress::ANY])
        .balanced("web-gwapi-2", &json!([{"ip": "10.245.0.1"}]))
        .failing(ManagedKind::Service, Cause::Invalid("not in the range".to_owned()));
    let (addresses, assignment) = case.assignment();
    assert_eq!(addresses, ["10.245.0.1 \"\""]);
    let why = "192.0.2.1 of routability Cluster cannot be had: not in the range";
    assert_eq!(assignment, AddressAssignment { unmet_routability: vec![why.to_owned()], ..met(1) });
    assert_eq!(case.unmet(), [""; 0]);
}

const CLUSTER_OUTSIDE: &str = "192.0.2.1";

/// AD-8
#[test]
fn nothing_is_said_of_the_assignment_while_an_address_is_waited_for() {
    let case = || Case::new().balanced("web-gwapi", &json!([]));
    assert!(case().assignment().1.pending);
    let (_, late) = case().after(10).assignment();
    assert!(!late.pending && late.unmet.len() == 1 && late.met == 0, "{late:?}");
    let failing = Cause::Transient("connection refused".to_owned());
    assert!(Case::new().failing(ManagedKind::Service, failing).assignment().1.pending);
    let forbidden = Case::new().failing(ManagedKind::Service, Cause::Forbidden("quota".to_owned()));
    assert_eq!(forbidden.assignment().1.unmet.len(), 1);
    assert_eq!(forbidden.unmet(), ["NoResources: Service web-gwapi is forbidden: quota"]);
}

/// AD-2, AD-3: what a load balancer gives is in use, be it a hostname; who names an address has no other.
#[test]
fn a_request_without_a_value_is_met_by_a_hostname_where_there_is_no_ip_address() {
    let named = json!([{"hostname": "lb.example.test"}]);
    let both = json!([{"hostname": "lb.example.test"}, {"ip": "10.245.0.1"}]);
    for (asked, given, expected) in [
        ("", &named, "Hostname lb.example.test"),
        ("", &both, "IPAddress 10.245.0.1"),
        ("10.245.0.1", &both, "IPAddress 10.245.0.1"),
    ] {
        let case = Case::new().asking_for(&[asked]).balanced("web-gwapi", given).after(10);
        assert_eq!(case.addresses(), [expected], "{asked}");
        assert_eq!(case.unmet(), [""; 0], "{asked}");
    }
    let other = Case::new().asking_for(&["10.245.0.1"]).balanced("web-gwapi", &named).after(10);
    assert_eq!(other.addresses(), [""; 0]);
}

/// AD-7
#[test]
fn two_requests_have_two_addresses() {
    let one = json!([{"ip": "10.245.0.1"}]);
    let twice =
        Case::new().asking_for(&["", ""]).balanced("web-gwapi", &one).balanced("web-gwapi-2", &one);
    assert_eq!(twice.addresses(), ["IPAddress 10.245.0.1"]);
    assert_eq!(
        twice.unmet(),
        [
            "AddressNotAssigned: Service web-gwapi-2 got 10.245.0.1, which another entry of spec.addresses \
             has already"
        ]
    );
}

/// AD-9: nodes have no address of the cluster; a Service beside them has one.
#[test]
fn nodes_do_not_count_as_addresses_of_the_cluster() {
    let case = Case::of_type(ServiceType::NodePort)
        .asking(&[RequestedAddress::ANY, CLUSTER, RequestedAddress::ANY])
        .at_nodes("web-gwapi", 80)
        .in_cluster("web-gwapi-2", &["10.96.0.7"]);
    let (addresses, assignment) = case.assignment();
    assert_eq!(addresses, ["10.0.0.5 \"\"", "10.96.0.7 \"Cluster\""]);
    let why = "an address more than 10.0.0.5 is asked for; ask for fewer";
    assert_eq!(assignment, AddressAssignment { unmet: vec![why.to_owned()], ..met(2) });
    assert_eq!(case.unmet(), [format!("AddressNotAssigned: {why}")]);
}

/// AD-9: those of a Service of the user's, whichever type it has, unless it is headless.
#[test]
fn a_service_of_the_users_has_addresses_of_the_cluster_unless_it_is_headless() {
    let mut case = Case::new().asking(&[CLUSTER, RequestedAddress::ANY]);
    case.wanted.parameters.service.existing_service = Some("front".to_owned());
    let ingress = json!([{"ip": "10.245.0.9"}]);
    case.existing = Some(Some(json!({
        "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.9"]},
        "status": {"loadBalancer": {"ingress": ingress}},
    })));
    let told = ["10.245.0.9 \"\"", "10.96.0.9 \"Cluster\""];
    assert_eq!(case.assignment(), (told.map(str::to_owned).to_vec(), met(2)));
    case.existing = Some(Some(json!({"spec": {"type": "ClusterIP", "clusterIPs": ["None"]}})));
    case.wanted.addresses = vec![CLUSTER];
    let (addresses, assignment) = case.assignment();
    assert_eq!(addresses, [""; 0]);
    assert_eq!(assignment.unmet_routability, ["Service front has no address of the cluster"]);
}

/// AD-7: what stays in use because there is nothing to take its place meets no request.
#[test]
fn addresses_that_are_kept_meet_no_request_and_new_ports_are_not_reached_by_them() {
    let mut case = Case::new();
    let service = json!({
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.245.0.1"}]}},
    });
    case = case.with(ManagedKind::Service, "web-gwapi", service);
    case.wanted.hold = true;
    assert_eq!(case.assignment(), (vec!["10.245.0.1 \"\"".to_owned()], met(0)));
    assert_eq!(case.unmet(), [""; 0]);
    let protocol = gwapi_translate::infrastructure::TransportProtocol::Tcp;
    case.wanted.ports.push(InfrastructurePort { port: 8080, protocol });
    assert_eq!(
        case.unmet(),
        ["Pending: port 8080 is opened when the addresses that are asked for can be had"]
    );
}

#[test]
fn a_refused_gateway_keeps_its_addresses() {
    let mut case = Case::new()
        .asking_for(&["", "192.0.2.1"])
        .balanced("web-gwapi", &json!([{"ip": "10.245.0.1"}]));
    case.wanted.hold = true;
    case.wanted.ports.clear();
    assert_eq!(case.addresses(), ["IPAddress 10.245.0.1"]);
    assert_eq!(case.unmet(), [""; 0]);
}

#[test]
fn a_refused_gateway_with_host_ports_keeps_the_addresses_of_its_nodes() {
    let service = json!({"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.1"]}});
    let pods = |port: Value| {
        json!({"spec": {"template": {"spec": {"containers": [{"ports": [
            {"containerPort": 19000}, port]}]}}}})
    };
    let held =
        |port: Value| {
            let mut case = Case::new()
                .with(ManagedKind::Service, "web-gwapi", service.clone())
                .with(ManagedKind::DaemonSet, "web-gwapi", pods(port.clone()));
            case.wanted.hold = true;
            let host_port = port["hostPort"].as_u64().map(|it| (80, it.try_into().unwrap()));
            case.pods[0].host_ports.extend(host_port);
            case.addresses()
        };
    assert_eq!(held(json!({"containerPort": 80, "hostPort": 80})), ["IPAddress 10.0.0.5"]);
    assert_eq!(held(json!({"containerPort": 80})), ["IPAddress 10.96.0.1"]);
}

#[test]
fn a_refused_gateway_keeps_the_addresses_of_a_service_of_the_users() {
    let mut case = Case::new();
    case.wanted.parameters.service.existing_service = Some("front".to_owned());
    case.wanted.hold = true;
    let ingress = json!([{"ip": "10.245.0.9"}]);
    case.existing = Some(Some(json!({
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": ingress}},
    })));
    assert_eq!(case.addresses(), ["IPAddress 10.245.0.9"]);
    case.existing = Some(Some(json!({"spec": {"type": "NodePort"}})));
    assert_eq!(case.addresses(), ["IPAddress 10.0.0.5"]);
}

#[test]
fn pods_that_lost_their_labels_are_counted_by_what_runs_them() {
    let status = json!({"status": {"readyReplicas": 2}});
    let mut case = Case::of_type(ServiceType::ClusterIp);
    case = case.with(ManagedKind::Deployment, "web-gwapi", status);
    let is_told = |case: &Case| {
        case.unmet().iter().any(|it| {
            it.starts_with(
            "NoResources: Deployment web-gwapi counts 2 ready pods, of which none has the labels",
        )
        })
    };
    assert!(!is_told(&case), "one is seen");
    case.pods[0].is_ready = false;
    assert!(!is_told(&case), "it is on its way");
    case.pods.clear();
    assert!(!is_told(&case), "it was deleted a moment ago");
    case.is_missing_pods = true;
    assert!(is_told(&case), "{:?}", case.unmet());
    case.pods.push(PodView { has_failed: true, ..pod("10.0.0.5") });
    assert!(is_told(&case), "it is none of those that are counted");
    case.pods.push(pod("10.0.0.5"));
    assert!(!is_told(&case), "one is seen");
}
