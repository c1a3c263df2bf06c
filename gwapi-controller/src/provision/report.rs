//! What a Gateway's status is told: the addresses that it has, and what is in the way of others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use gwapi_model::AddressType;
use gwapi_model::status::{ConditionReason, GatewayStatusAddress};
use gwapi_translate::infrastructure::{
    GatewayInfrastructure, InfrastructureReport, RequestedAddress,
};
use serde_json::Value;

use super::apply::{Cause, Failure, clash};
use super::assign::ServicePlan;
use super::existing::Existing;
use super::kind::ManagedKind;
use super::live::{Key, LiveObjects};
use super::parameters::{self, AddressSource};
use super::plan::ready_pods;
use super::pods::PodView;

/// A Gateway's status has room for this many addresses (ST-5).
const MOST_ADDRESSES: usize = 16;

/// What a report is made from.
pub(super) struct View<'a> {
    /// What has to be there.
    pub(super) wanted: &'a GatewayInfrastructure,
    /// Which Service has which address.
    pub(super) services: &'a [ServicePlan],
    /// What is there.
    pub(super) live: &'a LiveObjects,
    /// The Gateway's pods.
    pub(super) pods: &'a [PodView],
    /// The Service of the user's, where the parameters name one.
    pub(super) existing: Option<Existing<'a>>,
    /// What could not be done.
    pub(super) failures: &'a [Failure],
    /// For how long each Service has been without the address that it is there for.
    pub(super) waiting: &'a BTreeMap<String, Duration>,
    /// Whether the pods that are counted have not been seen for too long.
    pub(super) is_missing_pods: bool,
}

/// What the status is told about a Gateway.
pub(super) fn report(view: &View<'_>) -> InfrastructureReport {
    let mut report = Report { view, addresses: Vec::new(), unmet: Vec::new() };
    if view.wanted.hold {
        // Its status says why it is refused; what runs already is reached as before.
        report.addresses_in_use();
    } else {
        if !view.wanted.ports.is_empty() {
            report.find_addresses();
        }
        report.name_failures();
        report.name_obstacles();
    }
    InfrastructureReport {
        addresses: report.addresses,
        unmet: report.unmet,
        ready: view.pods.iter().any(|pod| pod.is_ready),
    }
}

struct Report<'a> {
    view: &'a View<'a>,
    addresses: Vec<GatewayStatusAddress>,
    unmet: Vec<(ConditionReason, String)>,
}

impl Report<'_> {
    fn find_addresses(&mut self) {
        match parameters::address_source(&self.view.wanted.parameters) {
            AddressSource::LoadBalancer | AddressSource::ClusterIp => self.each_service(),
            AddressSource::Nodes => {
                let found = self.node_addresses();
                self.choose(found, no_node());
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
        let ours = self.view.live.iter().filter(|(key, _)| key.0 == ManagedKind::Service);
        let ours = ours.map(|(_, service)| &service.object);
        for service in existing.into_iter().chain(ours) {
            let found = match service["spec"]["type"].as_str() {
                Some("ExternalName") => Vec::new(),
                Some("NodePort") => self.node_addresses(),
                Some("LoadBalancer") => service_addresses(service),
                _ if self.has_host_ports() => self.node_addresses(),
                _ => service_addresses(service),
            };
            self.add(found);
        }
    }

    /// Whether the pods that run take ports of their nodes.
    fn has_host_ports(&self) -> bool {
        let workloads = self.view.live.iter().filter(|(key, _)| key.0.is_workload());
        let mut templates = workloads.map(|(_, it)| &it.object["spec"]["template"]["spec"]);
        templates.any(|pod| {
            let containers = pod["containers"].as_array().into_iter().flatten();
            let mut ports = containers.flat_map(|it| it["ports"].as_array().into_iter().flatten());
            ports.any(|port| port["hostPort"].is_number())
        })
    }

    /// One address for each Service.
    fn each_service(&mut self) {
        for plan in self.view.services {
            let service = self.view.live.get(&(ManagedKind::Service, plan.name.clone()));
            let found = service.map(|it| service_addresses(&it.object)).unwrap_or_default();
            match plan.address {
                RequestedAddress::Any if !found.is_empty() => self.add(found),
                RequestedAddress::Ip(ip) if contains(&found, ip) => self.add(vec![ip_address(ip)]),
                address => self.missing(plan, address, &found),
            }
        }
    }

    fn missing(
        &mut self,
        plan: &ServicePlan,
        address: RequestedAddress,
        found: &[GatewayStatusAddress],
    ) {
        let is_ours = |it: &&Failure| it.key.0 == ManagedKind::Service && it.key.1 == plan.name;
        if let Some(failure) = self.view.failures.iter().find(is_ours) {
            // An address outside of its range is refused at once.
            if let (RequestedAddress::Ip(ip), Cause::Invalid(message)) = (address, &failure.cause) {
                let message = format!("{ip} cannot be had: {message}");
                self.unmet.push((ConditionReason::AddressNotUsable, message));
            }
            return;
        }
        let name = &plan.name;
        let limit = parameters::address_timeout(&self.view.wanted.parameters);
        let is_late = self.is_late(name);
        let seconds = limit.as_secs_f64();
        self.unmet.push(match (address, found) {
            (RequestedAddress::Any, _) => self.unassigned(name),
            (RequestedAddress::Ip(ip), []) if is_late => (
                ConditionReason::AddressNotUsable,
                format!(
                    "Service {name} asks for {ip} and did not get it within {seconds} s: does a load \
                     balancer have it to give?"
                ),
            ),
            (RequestedAddress::Ip(ip), [other, ..]) if is_late => (
                ConditionReason::AddressNotUsable,
                format!("Service {name} asks for {ip} and got {} instead", other.value),
            ),
            (RequestedAddress::Ip(ip), _) => {
                (ConditionReason::Pending, format!("Service {name} waits for the address {ip}"))
            }
        });
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

    /// Addresses that are there, whichever are asked for: those that are, or all.
    fn choose(&mut self, found: Vec<GatewayStatusAddress>, nothing: (ConditionReason, String)) {
        if found.is_empty() {
            self.unmet.push(nothing);
            return;
        }
        let requests = &self.view.wanted.addresses;
        let mut takes_all = requests.is_empty();
        let mut chosen = Vec::new();
        for request in requests {
            match request {
                RequestedAddress::Any => takes_all = true,
                RequestedAddress::Ip(ip) if contains(&found, *ip) => chosen.push(ip_address(*ip)),
                RequestedAddress::Ip(ip) => {
                    let values: Vec<_> = found.iter().map(|it| it.value.as_str()).collect();
                    let message = format!("{ip} is not among {}", values.join(", "));
                    self.unmet.push((ConditionReason::AddressNotUsable, message));
                }
            }
        }
        self.add(if takes_all { found } else { chosen });
    }

    /// Addresses of the nodes on which the Gateway is served.
    fn node_addresses(&self) -> Vec<GatewayStatusAddress> {
        let ready = self.view.pods.iter().filter(|pod| pod.is_ready);
        let ips: BTreeSet<IpAddr> =
            ready.flat_map(|pod| &pod.host_ips).filter_map(|text| text.parse().ok()).collect();
        ips.into_iter().map(ip_address).collect()
    }

    fn existing_service(&mut self, name: &str) {
        let existing = self.view.existing.as_ref().unwrap_or(&Existing::Unknown);
        if let Some(service) = existing.with_address() {
            return self.choose(service_addresses(service), self.unassigned(name));
        }
        if let Existing::Usable(_) = existing {
            return self.choose(self.node_addresses(), no_node());
        }
        self.unmet.extend(obstacle(name, existing));
        // What was made before goes on until there is something in its place.
        self.addresses_in_use();
    }

    fn add(&mut self, addresses: Vec<GatewayStatusAddress>) {
        for address in addresses {
            if self.addresses.len() < MOST_ADDRESSES && !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }

    /// What could not be made. An address that its Service cannot have is told already.
    fn name_failures(&mut self) {
        let mut clashes: BTreeMap<Option<&str>, Vec<&Key>> = BTreeMap::new();
        for failure in self.view.failures {
            if let Cause::Clash(owner) = &failure.cause {
                clashes.entry(owner.as_deref()).or_default().push(&failure.key);
                continue;
            }
            let is_told = failure.key.0 == ManagedKind::Service
                && matches!(failure.cause, Cause::Invalid(_))
                && self.view.services.iter().any(|plan| {
                    plan.name == failure.key.1 && matches!(plan.address, RequestedAddress::Ip(_))
                });
            if !is_told {
                self.unmet.push((reason_of(&failure.cause), failure.to_string()));
            }
        }
        // What to do about them is told once.
        let told = clashes.into_iter().map(|(owner, keys)| clash(&keys, owner));
        self.unmet.extend(told.map(|message| (ConditionReason::NoResources, message)));
    }

    /// Why no proxy is ready, where something is in its way.
    fn name_obstacles(&mut self) {
        if self.view.pods.iter().any(|pod| pod.is_ready) {
            return;
        }
        let refused = self.view.live.iter().find_map(|((kind, name), live)| {
            let conditions = live.object["status"]["conditions"].as_array()?;
            let failure = conditions
                .iter()
                .find(|it| it["type"] == "ReplicaFailure" && it["status"] == "True")?;
            Some(format!("{kind} {name} cannot make pods: {}", failure["message"].as_str()?))
        });
        let mut pods = self.view.pods.iter().filter(|pod| !pod.is_leaving);
        let stuck = || pods.find_map(|pod| pod.problem.clone());
        if let Some(problem) = refused.or_else(stuck).or_else(|| self.unseen_pods()) {
            self.unmet.push((ConditionReason::NoResources, problem));
        }
    }

    /// What is told where a workload has pods and we see none: we look for them by more labels than it
    /// does, and may not change them.
    fn unseen_pods(&self) -> Option<String> {
        let unseen = unseen_pods(self.view.live, self.view.pods);
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
    let workloads = live.iter().filter(|(key, _)| key.0.is_workload() && pods.is_empty());
    workloads.map(|(key, it)| (key, ready_pods(it))).find(|(_, count)| *count > 0)
}

/// What is told of a Gateway that is reached at nodes and runs on none.
fn no_node() -> (ConditionReason, String) {
    (ConditionReason::Pending, "no proxy is ready on any node yet".to_owned())
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
    let ips = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    ips.filter_map(|it| it.as_str()?.parse().ok()).map(ip_address).collect()
}

fn ingress_address(ingress: &Value) -> Option<GatewayStatusAddress> {
    let ip = ingress["ip"].as_str().and_then(|text| text.parse().ok()).map(ip_address);
    ip.or_else(|| {
        Some(GatewayStatusAddress {
            address_type: AddressType::Hostname,
            value: ingress["hostname"].as_str()?.to_owned(),
        })
    })
}

fn ip_address(ip: IpAddr) -> GatewayStatusAddress {
    GatewayStatusAddress { address_type: AddressType::IpAddress, value: ip.to_string() }
}

fn contains(addresses: &[GatewayStatusAddress], ip: IpAddr) -> bool {
    addresses.contains(&ip_address(ip))
}

/// Whether a Service has the address that it is there for.
pub(super) fn has_address(plan: &ServicePlan, service: &Value) -> bool {
    let found = service_addresses(service);
    match plan.address {
        RequestedAddress::Any => !found.is_empty(),
        RequestedAddress::Ip(ip) => contains(&found, ip),
    }
}

#[cfg(test)]
mod tests;
