//! What has to run for a Gateway in a cluster.

use gwapi_model::{Gateway, GatewayParametersSpec};

use super::super::addresses::Addresses;
use crate::infrastructure::{
    GatewayInfrastructure, InfrastructurePort, TransportProtocol, name as infrastructure_name,
};
use crate::ir::GatewayId;

/// What has to run, its ports left open.
pub(super) fn plan(
    id: &GatewayId,
    gateway: &Gateway,
    addresses: &Addresses,
    hold: bool,
) -> GatewayInfrastructure {
    let class = &gateway.spec.gateway_class_name;
    let asked = gateway.spec.infrastructure.as_ref();
    GatewayInfrastructure {
        gateway: id.clone(),
        uid: gateway.metadata.uid.as_deref().unwrap_or_default().to_owned(),
        generation: gateway.metadata.generation,
        class: class.clone(),
        name: infrastructure_name(id, class),
        hold,
        labels: asked.map(|it| it.labels.clone()).unwrap_or_default(),
        annotations: asked.map(|it| it.annotations.clone()).unwrap_or_default(),
        service_annotations: Default::default(),
        ports: Vec::new(),
        addresses: addresses.requested.clone(),
        parameters: GatewayParametersSpec::default(),
    }
}

/// The same with the ports of listeners that have a place.
pub(super) fn with_ports(
    plan: &GatewayInfrastructure,
    ports: impl Iterator<Item = u16>,
) -> GatewayInfrastructure {
    let mut ports: Vec<InfrastructurePort> =
        ports.map(|port| InfrastructurePort { port, protocol: TransportProtocol::Tcp }).collect();
    ports.sort_unstable();
    ports.dedup();
    GatewayInfrastructure { ports, ..plan.clone() }
}
