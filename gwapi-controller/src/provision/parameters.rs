//! What GatewayParameters say, with defaults in the place of what they leave open.

use std::collections::BTreeSet;
use std::time::Duration;

use gwapi_model::{GatewayDuration, GatewayParametersSpec, ServiceType, WorkloadKind};

use super::settings::ADDRESS_TIMEOUT;

/// How long a proxy that is told to end may take, where the parameters do not say.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// What a pod gets on top, to close its files and end.
const MARGIN: Duration = Duration::from_secs(5);

/// Where a Gateway's addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AddressSource {
    /// Load balancers, one for each Service.
    LoadBalancer,
    /// The cluster, one for each Service.
    ClusterIp,
    /// The nodes that the proxies run on, the same for every Service.
    Nodes,
    /// A Service that the user made, with this name.
    Existing(String),
}

/// Where the addresses come from.
pub(super) fn address_source(parameters: &GatewayParametersSpec) -> AddressSource {
    if let Some(name) = &parameters.service.existing_service {
        return AddressSource::Existing(name.clone());
    }
    match service_type(parameters) {
        ServiceType::LoadBalancer => AddressSource::LoadBalancer,
        ServiceType::NodePort => AddressSource::Nodes,
        _ if !parameters.workload.host_ports.is_empty() => AddressSource::Nodes,
        _ => AddressSource::ClusterIp,
    }
}

/// Type of the Service. Who asks for ports of the nodes asks for no load balancer, unless by name.
pub(super) fn service_type(parameters: &GatewayParametersSpec) -> ServiceType {
    let service = &parameters.service;
    match &service.service_type {
        Some(service_type) => service_type.clone(),
        None if parameters.workload.host_ports.is_empty() => ServiceType::LoadBalancer,
        None if service.load_balancer_class.is_some() => ServiceType::LoadBalancer,
        None if !service.node_ports.is_empty() || service.external_traffic_policy.is_some() => {
            ServiceType::NodePort
        }
        None => ServiceType::ClusterIp,
    }
}

/// The ports of pods that ports of their nodes lead to, each with that one.
pub(super) fn host_ports(parameters: &GatewayParametersSpec) -> BTreeSet<(u16, u16)> {
    let ports = parameters.workload.host_ports.iter();
    ports.map(|it| (it.port.get(), it.host_port.unwrap_or(it.port).get())).collect()
}

/// Whether the pods are those of a DaemonSet.
pub(super) fn is_daemon_set(parameters: &GatewayParametersSpec) -> bool {
    parameters.workload.kind == Some(WorkloadKind::DaemonSet)
}

/// Whether a Gateway starts with one pod, however many it may get.
pub(super) fn has_one_pod(parameters: &GatewayParametersSpec) -> bool {
    let workload = &parameters.workload;
    let least = match &workload.autoscaling {
        Some(autoscaling) => autoscaling.min_replicas,
        None => workload.replicas,
    };
    !is_daemon_set(parameters) && least.is_none_or(|number| number <= 1)
}

/// How long a Service may go without an address.
pub(super) fn address_timeout(parameters: &GatewayParametersSpec) -> Duration {
    parameters.service.address_timeout.as_ref().map_or(ADDRESS_TIMEOUT, GatewayDuration::get)
}

/// Seconds between the signal that asks a pod to end and the one that makes it.
pub(super) fn grace_period(parameters: &GatewayParametersSpec) -> i64 {
    let drain = parameters.proxy.drain.as_ref();
    let timeout = drain.and_then(|drain| drain.timeout.as_ref());
    let total = timeout.map_or(DRAIN_TIMEOUT, GatewayDuration::get) + MARGIN;
    let whole = total.as_secs() + u64::from(total.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use gwapi_model::{HostPortParameters, NodePortParameters, Port};

    use super::*;

    #[test]
    fn without_a_type_the_service_is_what_its_other_fields_need() {
        let port = Port::new(80).expect("a port");
        let mut parameters = GatewayParametersSpec::default();
        assert_eq!(service_type(&parameters), ServiceType::LoadBalancer);
        parameters.workload.host_ports = vec![HostPortParameters { port, host_port: None }];
        assert_eq!(service_type(&parameters), ServiceType::ClusterIp);
        assert_eq!(address_source(&parameters), AddressSource::Nodes);
        let node_port = NodePortParameters { port, node_port: Port::new(30080).expect("a port") };
        parameters.service.node_ports = vec![node_port];
        assert_eq!(service_type(&parameters), ServiceType::NodePort);
        parameters.service.load_balancer_class = Some("example.test/fast".to_owned());
        assert_eq!(address_source(&parameters), AddressSource::LoadBalancer);
    }
}
