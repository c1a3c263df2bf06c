//! What a Gateway's status is told: the addresses that it has, and what is in the way of others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use gwapi_model::status::{ConditionReason, GatewayStatusAddress};
use gwapi_model::{AddressType, ServiceType};
use gwapi_translate::infrastructure::{
    AddressAssignment, GatewayInfrastructure, InfrastructurePort, InfrastructureReport,
    RequestedAddress, Routability,
};
use serde_json::Value;

use super::apply::{Cause, Failure, clash};
use super::assign::ServicePlan;
use super::existing::Existing;
use super::kind::ManagedKind;
use super::live::{Key, LiveObjects, Standing};
use super::obstacles;
use super::parameters::{self, AddressSource};
use super::plan::ready_pods;
use super::pods::PodView;
use super::succession::awaits_host_ports;

/// A Gateway's status has room for this many addresses (ST-5).
const MOST_ADDRESSES: usize = 16;

/// What a report is made from.
pub(super) struct View<'a> {
    /// What has to be there.
    pub(super) wanted: &'a GatewayInfrastructure,
    /// Which Service has which address.
    pub(super) services: &'a [ServicePlan],
    /// What is there.
    pub(super) live: &'a Standing,
    /// The Gateway's pods.
    pub(super) pods: &'a [PodView],
    /// The addresses that the Gateway has, which it keeps as long as they lead to it.
    pub(super) addresses: &'a [IpAddr],
    /// The Service of the user's, where the parameters name one.
    pub(super) existing: Option<Existing<'a>>,
    /// What could not be done.
    pub(super) failures: &'a [Failure],
    /// For how long each Service has been without the address that it is there for.
    pub(super) waiting: &'a BTreeMap<String, Duration>,
    /// Whether the pods that are counted have not been seen for too long.
    pub(super) is_missing_pods: bool,
}

/// What is found out about a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Findings {
    /// What the status is told.
    pub(super) report: InfrastructureReport,
    /// What keeps pods from running while others serve: no matter of the status, but whoever waits for a change
    /// to arrive has to know.
    pub(super) stalled: Option<String>,
}

/// What the status is told about a Gateway, and what is told beside it.
pub(super) fn findings(view: &View<'_>) -> Findings {
    let mut report = Report {
        view,
        addresses: Vec::new(),
        unmet: Vec::new(),
        assignment: AddressAssignment::default(),
        awaits_host_ports: awaits_host_ports(view.wanted, view.pods),
        stalled: None,
    };
    if view.wanted.hold {
        // Its status says why it is refused; what runs already is reached as before.
        report.addresses_in_use();
        report.name_ports_that_wait();
    } else {
        if !view.wanted.ports.is_empty() {
            report.find_addresses();
        }
        report.name_failures();
        report.name_obstacles();
    }
    let stalled = report.stalled;
    let report = InfrastructureReport {
        addresses: report.addresses,
        unmet: report.unmet,
        assignment: report.assignment,
        ready: view.pods.iter().any(|pod| pod.is_ready),
    };
    Findings { report, stalled }
}

struct Report<'a> {
    view: &'a View<'a>,
    addresses: Vec<GatewayStatusAddress>,
    unmet: Vec<(ConditionReason, String)>,
    assignment: AddressAssignment,
    /// No pod that is ready has the ports of its node at which the Gateway is to be reached.
    awaits_host_ports: bool,
    stalled: Option<String>,
}

/// Addresses of which those that are asked for are chosen.
struct Pool {
    addresses: Vec<GatewayStatusAddress>,
    /// What is told where there are none.
    nothing: (ConditionReason, String),
}

impl Report<'_> {
    fn find_addresses(&mut self) {
        let services = self.view.services.iter();
        match parameters::address_source(&self.view.wanted.parameters) {
            AddressSource::LoadBalancer | AddressSource::ClusterIp => self.each_service(services),
            AddressSource::Nodes if self.awaits_host_ports => {
                self.lack(None, no_node());
                self.each_service(services.filter(|plan| plan.is_for_cluster()));
                // What was there before goes on until a pod has the ports.
                self.addresses_in_use();
            }
            AddressSource::Nodes => {
                let ports = parameters::host_ports(&self.view.wanted.parameters);
                let leads = |pod: &PodView| ports.is_empty() || !ports.is_disjoint(&pod.host_ports);
                let nodes = Pool { addresses: self.nodes_of(leads), nothing: no_node() };
                let mut of_nodes = services.clone().filter(|plan| !plan.is_for_cluster());
                let unled = of_nodes.find(|plan| ports.is_empty() && !self.has_node_ports(plan));
                if let Some(plan) = unled {
                    self.without_node_ports(plan);
                    return self.each_service(services.filter(|plan| plan.is_for_cluster()));
                }
                if self.view.wanted.addresses.is_empty() {
                    return self.take_all(nodes);
                }
                self.choose(|request| (!request.is_for_cluster()).then_some(&nodes));
                self.each_service(services.filter(|plan| plan.is_for_cluster()));
            }
            AddressSource::Existing(name) => self.existing_service(&name),
        }
    }

    /// The addresses of what is there, whatever is asked for.
    fn addresses_in_use(&mut self) {
        // Parameters that are refused may name another Service than the one in use, or none.
        let existing = match &self.view.existing {
            Some(Existing::Usable(service)) => Some(*service),
            _ => None,
        };
        for service in existing.into_iter().chain(self.view.live.services()) {
            let found = match service["spec"]["type"].as_str() {
                Some("ExternalName") => Vec::new(),
                Some("NodePort") => self.node_addresses(),
                Some("LoadBalancer") => service_addresses(service),
                _ if self.has_host_ports() => self.nodes_of(|pod| !pod.host_ports.is_empty()),
                _ => service_addresses(service),
            };
            self.add(found);
        }
    }

    /// Whether a Service has ports of the nodes that lead to ports of the Gateway.
    fn has_node_ports(&self, plan: &ServicePlan) -> bool {
        let Some(spec) = self.spec_of(plan) else { return false };
        is_at_nodes(spec)
            && self.view.wanted.ports.iter().any(|port| has_port(&spec["ports"], port))
    }

    /// Nodes do not lead to the Gateway: their Service is not there, or not as it has to be.
    fn without_node_ports(&mut self, plan: &ServicePlan) {
        if self.view.live.has_leaving_service(&plan.name) {
            self.lack(None, still_leaving(&plan.name));
        } else if self.failure_of(plan).is_some() {
            self.missing(plan, &[]);
        } else {
            let message = format!("Service {} has no ports of the nodes yet", plan.name);
            self.lack(None, (ConditionReason::Pending, message));
        }
        // One of another type is reached as before until it becomes what it has to be.
        if self.spec_of(plan).is_some_and(|spec| !is_at_nodes(spec)) {
            self.addresses_in_use();
        }
    }

    /// The spec of a Service that is there.
    fn spec_of(&self, plan: &ServicePlan) -> Option<&Value> {
        self.view.live.service(&plan.name).map(|service| &service["spec"])
    }

    /// Why a Service is not there, or not as it has to be.
    fn failure_of(&self, plan: &ServicePlan) -> Option<&Failure> {
        let is_its = |it: &&Failure| it.key.0 == ManagedKind::Service && it.key.1 == plan.name;
        self.view.failures.iter().find(is_its)
    }

    /// Whether the pods that serve have ports of their nodes, or are to, where none does.
    fn has_host_ports(&self) -> bool {
        let mut ready = self.view.pods.iter().filter(|pod| pod.is_ready).peekable();
        if ready.peek().is_some() {
            return ready.any(|pod| !pod.host_ports.is_empty());
        }
        let workloads = self.view.live.objects.iter().filter(|(key, _)| key.0.is_workload());
        let mut templates = workloads.map(|(_, it)| &it.object["spec"]["template"]["spec"]);
        templates.any(|pod| {
            let containers = pod["containers"].as_array().into_iter().flatten();
            let mut ports = containers.flat_map(|it| it["ports"].as_array().into_iter().flatten());
            ports.any(|port| port["hostPort"].is_number())
        })
    }

    /// What is in the way of ports that Services do not have, where no Service is changed now.
    fn name_ports_that_wait(&mut self) {
        let services = self.view.live.services();
        let services: Vec<&Value> = services.map(|it| &it["spec"]["ports"]).collect();
        let is_there =
            |port: &InfrastructurePort| services.iter().any(|ports| has_port(ports, port));
        let missing = self.view.wanted.ports.iter().filter(|port| !is_there(port));
        let missing: Vec<String> = missing.map(|port| port.port.to_string()).collect();
        if !services.is_empty() && !missing.is_empty() {
            let message = format!(
                "port {} is opened when the addresses that are asked for can be had",
                missing.join(", ")
            );
            self.unmet.push((ConditionReason::Pending, message));
        }
    }

    /// One address for each Service; all that it has, where nothing is asked for.
    fn each_service<'p>(&mut self, services: impl Iterator<Item = &'p ServicePlan>) {
        for plan in services {
            if self.view.live.has_leaving_service(&plan.name) {
                self.lack(plan.address, still_leaving(&plan.name));
                continue;
            }
            let service = self.view.live.service(&plan.name);
            let found = service.map(|it| addresses_for(plan, it)).unwrap_or_default();
            match plan.address {
                None if !found.is_empty() => self.take(found),
                None => self.missing(plan, &found),
                Some(request) => match self.pick(request, &found) {
                    Some(address) => self.take(vec![address]),
                    None => match found.iter().find(|it| meets(request, it)) {
                        Some(taken) => self.twice(plan, request, taken),
                        None => self.missing(plan, &found),
                    },
                },
            }
        }
    }

    /// The address of those found that a request gets: one that no other has got (AD-7), and an IP address
    /// rather than a hostname.
    fn pick(
        &self,
        request: RequestedAddress,
        found: &[GatewayStatusAddress],
    ) -> Option<GatewayStatusAddress> {
        let is_taken = |it: &GatewayStatusAddress| {
            self.addresses
                .iter()
                .any(|taken| taken.address_type == it.address_type && taken.value == it.value)
        };
        let found = found.iter().filter(|it| meets(request, it) && !is_taken(it));
        let address = found.min_by_key(|it| !is_ip_address(it))?.clone();
        let demanded = (!request.routability.is_default()).then(|| told(request.routability));
        Some(GatewayStatusAddress { routability: demanded.or(address.routability), ..address })
    }

    /// Notes that a Service got the address of another.
    fn twice(
        &mut self,
        plan: &ServicePlan,
        request: RequestedAddress,
        taken: &GatewayStatusAddress,
    ) {
        let message = format!(
            "Service {} got {}, which another entry of spec.addresses has already",
            plan.name, taken.value
        );
        self.lack(Some(request), (ConditionReason::AddressNotAssigned, message));
    }

    fn missing(&mut self, plan: &ServicePlan, found: &[GatewayStatusAddress]) {
        let request = plan.address;
        let ip = request.and_then(|request| request.ip);
        if let Some(failure) = self.failure_of(plan).cloned() {
            match (request, &failure.cause) {
                // An address outside of its range is refused at once.
                (Some(request), Cause::Invalid(message)) if ip.is_some() => {
                    let message = format!("{request} cannot be had: {message}");
                    self.lack(Some(request), (ConditionReason::AddressNotUsable, message));
                }
                // What else failed is told as such.
                (_, Cause::Transient(_)) => self.assignment.pending = true,
                (_, Cause::Clash(owner)) => {
                    let message = clash(&self.clashes_with(owner.as_deref()), owner.as_deref());
                    self.unassigned_because(message);
                }
                _ => self.unassigned_because(failure.to_string()),
            }
            return;
        }
        let name = &plan.name;
        let limit = parameters::address_timeout(&self.view.wanted.parameters);
        let is_late = self.is_late(name);
        let seconds = limit.as_secs_f64();
        let why = match (ip, found) {
            (None, _) => self.unassigned(name),
            (Some(ip), []) if is_late => (
                ConditionReason::AddressNotUsable,
                format!(
                    "Service {name} asks for {ip} and did not get it within {seconds} s: does a load \
                     balancer have it to give?"
                ),
            ),
            (Some(ip), [other, ..]) if is_late => (
                ConditionReason::AddressNotUsable,
                format!("Service {name} asks for {ip} and got {} instead", other.value),
            ),
            (Some(ip), _) => {
                (ConditionReason::Pending, format!("Service {name} waits for the address {ip}"))
            }
        };
        self.lack(request, why);
    }

    /// Notes why there is no address, in the words that are told of it anyway.
    fn unassigned_because(&mut self, message: String) {
        if !self.assignment.unmet.contains(&message) {
            self.assignment.unmet.push(message);
        }
    }

    /// What has a name that is taken by what belongs to a Gateway, or to nobody whom we know.
    fn clashes_with(&self, owner: Option<&str>) -> Vec<&Key> {
        let failures = self.view.failures.iter();
        let its =
            failures.filter(|it| matches!(&it.cause, Cause::Clash(of) if of.as_deref() == owner));
        its.map(|failure| &failure.key).collect()
    }

    /// Notes that a request is not met. Of one that demands a routability the assignment tells, and what else
    /// is asked for is programmed all the same (AD-8).
    fn lack(&mut self, request: Option<RequestedAddress>, why: (ConditionReason, String)) {
        let demands_routability = request.is_some_and(|it| !it.routability.is_default());
        if why.0 == ConditionReason::Pending {
            self.assignment.pending = true;
        } else if demands_routability {
            self.assignment.unmet_routability.push(why.1.clone());
        } else {
            self.assignment.unmet.push(why.1.clone());
        }
        if !demands_routability && !self.unmet.contains(&why) {
            self.unmet.push(why);
        }
    }

    /// Meets a request with what it gets.
    fn take(&mut self, addresses: Vec<GatewayStatusAddress>) {
        self.assignment.met += 1;
        self.add(addresses);
    }

    /// Takes all that there is, where nothing is asked for (AD-5).
    fn take_all(&mut self, pool: Pool) {
        if pool.addresses.is_empty() {
            self.lack(None, pool.nothing);
        } else {
            self.take(pool.addresses);
        }
    }

    /// What is told of a Service that has no address, whichever it may be (AD-2).
    fn unassigned(&self, name: &str) -> (ConditionReason, String) {
        if !self.is_late(name) {
            return (ConditionReason::Pending, format!("Service {name} waits for an address"));
        }
        let seconds = parameters::address_timeout(&self.view.wanted.parameters).as_secs_f64();
        let message = format!(
            "Service {name} got no address within {seconds} s: is there a load balancer for it?"
        );
        (ConditionReason::AddressNotAssigned, message)
    }

    /// Whether a Service has waited for its address too long.
    fn is_late(&self, name: &str) -> bool {
        let waited = self.view.waiting.get(name).copied().unwrap_or_default();
        waited >= parameters::address_timeout(&self.view.wanted.parameters)
    }

    /// Of addresses that are there, whichever are asked for, one for each request that has a pool (AD-7).
    fn choose<'p>(&mut self, pool: impl Fn(RequestedAddress) -> Option<&'p Pool>) {
        let mut requests = self.view.wanted.addresses.clone();
        requests.sort_by_key(|request| request.is_for_cluster());
        let (any, certain): (Vec<_>, Vec<_>) = requests.iter().partition(|it| it.ip.is_none());
        // Nobody gets by chance what another asks for.
        let first = self.addresses.len();
        self.choose_each(certain, &pool);
        let first_of_any = self.addresses.len();
        self.choose_each(any, &pool);
        // The first that is known is the first to be chosen again: it is to be theirs also when another entry gives
        // its own up (AD-5).
        self.addresses[first..].rotate_left(first_of_any - first);
    }

    fn choose_each<'p>(
        &mut self,
        requests: Vec<RequestedAddress>,
        pool: impl Fn(RequestedAddress) -> Option<&'p Pool>,
    ) {
        for request in requests {
            let Some(pool) = pool(request) else { continue };
            if pool.addresses.is_empty() {
                self.lack(Some(request), pool.nothing.clone());
                continue;
            }
            if let Some(address) = self.pick(request, &pool.addresses) {
                self.take(vec![address]);
                continue;
            }
            let values: Vec<_> = pool.addresses.iter().map(|it| it.value.as_str()).collect();
            let values = values.join(", ");
            self.lack(
                Some(request),
                match request.ip {
                    Some(_) => (
                        ConditionReason::AddressNotUsable,
                        format!("{request} is not among {values}"),
                    ),
                    None => (
                        ConditionReason::AddressNotAssigned,
                        format!("{request} more than {values} is asked for; ask for fewer"),
                    ),
                },
            );
        }
    }

    /// Addresses of the nodes on which the Gateway is served.
    fn node_addresses(&self) -> Vec<GatewayStatusAddress> {
        self.nodes_of(|_| true)
    }

    /// Addresses of the nodes of such pods, as far as they are ready: first those that the Gateway has, in their order,
    /// so that whoever has one of them keeps it, whatever comes and goes (AD-5), and then the others, IPv4 before
    /// IPv6, so that those at the beginning are of different nodes.
    fn nodes_of(&self, is_such: impl Fn(&PodView) -> bool) -> Vec<GatewayStatusAddress> {
        let pods = self.view.pods.iter().filter(|pod| pod.is_ready && is_such(pod));
        let mut others: BTreeSet<IpAddr> = host_ips(pods).collect();
        let mut ready = self.view.addresses.to_vec();
        ready.retain(|ip| others.remove(ip));
        ready.extend(others);
        ready.into_iter().map(|ip| ip_address(ip, Routability::Default)).collect()
    }

    fn existing_service(&mut self, name: &str) {
        let existing = self.view.existing.as_ref().unwrap_or(&Existing::Unknown);
        let Existing::Usable(service) = existing else {
            if let Some(why) = obstacle(name, existing) {
                self.lack(None, why);
            }
            // What was made before goes on until there is something in its place.
            return self.addresses_in_use();
        };
        let own = match existing.with_address() {
            Some(service) => {
                Pool { addresses: service_addresses(service), nothing: self.unassigned(name) }
            }
            None => Pool { addresses: self.node_addresses(), nothing: no_node() },
        };
        if self.view.wanted.addresses.is_empty() {
            return self.take_all(own);
        }
        let of_cluster = Pool {
            addresses: cluster_addresses(service),
            nothing: (
                ConditionReason::AddressNotAssigned,
                format!("Service {name} has no address of the cluster"),
            ),
        };
        self.choose(|request| Some(if request.is_for_cluster() { &of_cluster } else { &own }));
    }

    fn add(&mut self, addresses: Vec<GatewayStatusAddress>) {
        for address in addresses {
            let is_same = |it: &GatewayStatusAddress| {
                it.address_type == address.address_type && it.value == address.value
            };
            if self.addresses.len() < MOST_ADDRESSES && !self.addresses.iter().any(is_same) {
                self.addresses.push(address);
            }
        }
    }

    /// What could not be made. An address that its Service cannot have is told already.
    fn name_failures(&mut self) {
        let mut owners: BTreeSet<Option<&str>> = BTreeSet::new();
        for failure in self.view.failures {
            if let Cause::Clash(owner) = &failure.cause {
                owners.insert(owner.as_deref());
                continue;
            }
            let is_told = failure.key.0 == ManagedKind::Service
                && matches!(failure.cause, Cause::Invalid(_))
                && self.view.services.iter().any(|plan| {
                    plan.name == failure.key.1 && plan.address.is_some_and(|it| it.ip.is_some())
                });
            if !is_told {
                self.unmet.push((reason_of(&failure.cause), failure.to_string()));
            }
        }
        // What to do about them is told once.
        for owner in owners {
            let message = clash(&self.clashes_with(owner), owner);
            self.unmet.push((ConditionReason::NoResources, message));
        }
    }

    /// What is in the way of pods: why no proxy is ready, or none at whose ports the Gateway is reached, or what
    /// is to take the place of those that serve.
    fn name_obstacles(&mut self) {
        let refused = self.view.live.objects.iter().find_map(|((kind, name), live)| {
            let conditions = live.object["status"]["conditions"].as_array()?;
            let failure = conditions
                .iter()
                .find(|it| it["type"] == "ReplicaFailure" && it["status"] == "True")?;
            Some(format!("{kind} {name} cannot make pods: {}", failure["message"].as_str()?))
        });
        let stuck = || obstacles::of_pods(self.view.pods, &self.view.live.objects);
        let Some(problem) = refused.or_else(stuck).or_else(|| self.unseen_pods()) else { return };
        if self.view.pods.iter().any(|pod| pod.is_ready) && !self.awaits_host_ports {
            self.stalled = Some(format!("{problem}; other pods serve meanwhile"));
        } else {
            self.unmet.push((ConditionReason::NoResources, problem));
        }
    }

    /// What is told where a workload has pods and we see none: we look for them by more labels than it
    /// does, and may not change them.
    fn unseen_pods(&self) -> Option<String> {
        let unseen = unseen_pods(&self.view.live.objects, self.view.pods);
        let ((kind, name), count) = unseen.filter(|_| self.view.is_missing_pods)?;
        let (pods, them) = if count == 1 { ("pod", "it") } else { ("pods", "them") };
        Some(format!(
            "{kind} {name} counts {count} ready {pods}, of which none has the labels by which gwapi finds \
             {them}: if they were changed, delete the {pods}, and others take the place"
        ))
    }
}

/// The workload that counts ready pods where none is seen, and how many.
pub(super) fn unseen_pods<'a>(live: &'a LiveObjects, pods: &[PodView]) -> Option<(&'a Key, i64)> {
    let are_unseen = pods.iter().all(|pod| pod.has_failed);
    let workloads = live.iter().filter(|(key, _)| key.0.is_workload() && are_unseen);
    workloads.map(|(key, it)| (key, ready_pods(it))).find(|(_, count)| *count > 0)
}

/// What is told of a Gateway that is reached at nodes and runs on none.
fn no_node() -> (ConditionReason, String) {
    (ConditionReason::Pending, "no proxy is ready on any node yet".to_owned())
}

/// What is told of a Service whose name that of a former one still has.
fn still_leaving(name: &str) -> (ConditionReason, String) {
    (ConditionReason::Pending, format!("Service {name} is still being deleted"))
}

/// Whether a Service has ports of the nodes, and no load balancer.
fn is_at_nodes(spec: &Value) -> bool {
    spec["type"] == ServiceType::NodePort.as_str()
}

/// Whether the ports of a Service have one of the Gateway's.
fn has_port(ports: &Value, port: &InfrastructurePort) -> bool {
    let mut ports = ports.as_array().into_iter().flatten();
    ports.any(|it| it["port"] == port.port && it["protocol"] == *port.protocol.to_string())
}

/// Why the Service that parameters name as one of the user's cannot be used.
fn obstacle(name: &str, existing: &Existing<'_>) -> Option<(ConditionReason, String)> {
    Some(match existing {
        Existing::Usable(_) => return None,
        Existing::Unknown => {
            (ConditionReason::Pending, format!("Service {name} is being looked up"))
        }
        Existing::Missing => (
            ConditionReason::AddressNotAssigned,
            format!("Service {name}, which the parameters name as existingService, does not exist"),
        ),
        Existing::Leaving => (
            ConditionReason::AddressNotAssigned,
            format!(
                "Service {name}, which the parameters name as existingService, is being deleted"
            ),
        ),
        Existing::Own => (
            ConditionReason::Invalid,
            format!(
                "existingService names Service {name}, which gwapi made for this Gateway: it stays as \
                 it is, but gets no changes; name a Service of your own, or leave existingService out"
            ),
        ),
        Existing::Anothers(gateway) => (
            ConditionReason::Invalid,
            format!(
                "existingService names Service {name}, which gwapi made for Gateway {gateway}: it leads \
                 to the pods of that one and goes with it; name a Service of your own, or leave \
                 existingService out"
            ),
        ),
        Existing::External => (
            ConditionReason::AddressNotAssigned,
            format!("Service {name} is of type ExternalName and leads to no pods"),
        ),
    })
}

fn reason_of(cause: &Cause) -> ConditionReason {
    match cause {
        Cause::Clash(_) | Cause::Forbidden(_) => ConditionReason::NoResources,
        Cause::Invalid(_) => ConditionReason::Invalid,
        Cause::Transient(_) => ConditionReason::Pending,
    }
}

/// The addresses that a Service has: those of its load balancer, or of the cluster.
fn service_addresses(service: &Value) -> Vec<GatewayStatusAddress> {
    if service["spec"]["type"] == "LoadBalancer" {
        let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
        return ingress.into_iter().flatten().filter_map(ingress_address).collect();
    }
    cluster_addresses(service)
}

/// The addresses that a Service has in the cluster (AD-9): none where it is headless.
fn cluster_addresses(service: &Value) -> Vec<GatewayStatusAddress> {
    let ips = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    let ips = ips.filter_map(|it| it.as_str()?.parse().ok());
    ips.map(|ip| ip_address(ip, Routability::Cluster)).collect()
}

/// Those of its addresses that a Service is there for.
fn addresses_for(plan: &ServicePlan, service: &Value) -> Vec<GatewayStatusAddress> {
    if plan.is_for_cluster() { cluster_addresses(service) } else { service_addresses(service) }
}

fn ingress_address(ingress: &Value) -> Option<GatewayStatusAddress> {
    let ip = ingress["ip"].as_str().and_then(|text| text.parse().ok());
    let ip = ip.map(|ip| ip_address(ip, Routability::Default));
    ip.or_else(|| {
        Some(GatewayStatusAddress {
            address_type: AddressType::Hostname,
            value: ingress["hostname"].as_str()?.to_owned(),
            routability: Some(told(Routability::Default)),
        })
    })
}

fn ip_address(ip: IpAddr, routability: Routability) -> GatewayStatusAddress {
    GatewayStatusAddress {
        address_type: AddressType::IpAddress,
        value: ip.to_string(),
        routability: Some(told(routability)),
    }
}

/// A routability as a status has it: nothing is said of an address of which nothing is promised.
fn told(routability: Routability) -> String {
    routability.as_str().to_owned()
}

/// Whether an address is the one that is asked for. Whoever lets it be chosen has what a load balancer gives,
/// which for some is a hostname (AD-2, AD-3).
fn meets(request: RequestedAddress, address: &GatewayStatusAddress) -> bool {
    match request.ip {
        Some(ip) => is_ip_address(address) && address.value == ip.to_string(),
        None => is_ip_address(address) || !request.is_for_cluster(),
    }
}

/// The IP addresses that a Gateway has once its status is told of these, in their order, and then as many of those
/// that were known before as there is room for, as long as a proxy is ready on their nodes: what keeps nodes from
/// leading to it for a while is no reason to move (AD-5).
pub(super) fn known_addresses(
    known: &[IpAddr],
    told: &[GatewayStatusAddress],
    pods: &[PodView],
) -> Vec<IpAddr> {
    let told = told.iter().filter(|it| is_ip_address(it));
    let mut ips: Vec<IpAddr> = told.filter_map(|it| it.value.parse().ok()).collect();
    let pods = pods.iter().filter(|pod| pod.is_ready);
    let ready: BTreeSet<IpAddr> = host_ips(pods).collect();
    for ip in known {
        if ips.len() < MOST_ADDRESSES && ready.contains(ip) && !ips.contains(ip) {
            ips.push(*ip);
        }
    }
    ips
}

/// The addresses of the nodes of pods.
fn host_ips<'a>(pods: impl Iterator<Item = &'a PodView>) -> impl Iterator<Item = IpAddr> {
    pods.flat_map(|pod| &pod.host_ips).filter_map(|text| text.parse().ok())
}

fn is_ip_address(address: &GatewayStatusAddress) -> bool {
    address.address_type == AddressType::IpAddress
}

/// Whether a Service has the address that it is there for.
pub(super) fn has_address(plan: &ServicePlan, service: &Value) -> bool {
    let found = addresses_for(plan, service);
    match plan.address {
        None => !found.is_empty(),
        Some(request) => found.iter().any(|address| meets(request, address)),
    }
}

#[cfg(test)]
mod tests;
