//! What GatewayParameters say, with defaults in the place of what they leave open.

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
    match &parameters.service.service_type {
        Some(service_type) => service_type.clone(),
        None if parameters.workload.host_ports.is_empty() => ServiceType::LoadBalancer,
        None => ServiceType::ClusterIp,
    }
}

/// Whether the pods are those of a DaemonSet.
pub(super) fn is_daemon_set(parameters: &GatewayParametersSpec) -> bool {
    parameters.workload.kind == Some(WorkloadKind::DaemonSet)
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
