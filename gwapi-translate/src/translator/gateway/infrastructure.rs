//! What has to run for a Gateway in a cluster.

use std::collections::BTreeMap;

use gwapi_model::{Gateway, GatewayParametersSpec};

use super::super::addresses::Addresses;
use crate::infrastructure::{
    GatewayInfrastructure, InfrastructurePort, TransportProtocol, name as infrastructure_name,
};
use crate::ir::GatewayId;

/// What has to run, its ports left open. A Gateway that is `refused`, or asks for addresses of which none
/// can be had, keeps what it has (AD-7).
pub(super) fn plan(
    id: &GatewayId,
    gateway: &Gateway,
    addresses: &Addresses,
    parameters: GatewayParametersSpec,
    refused: bool,
) -> GatewayInfrastructure {
    let class = &gateway.spec.gateway_class_name;
    let asked = gateway.spec.infrastructure.as_ref();
    let no_address = !gateway.spec.addresses.is_empty() && addresses.requested.is_empty();
    GatewayInfrastructure {
        gateway: id.clone(),
        uid: gateway.metadata.uid.as_deref().unwrap_or_default().to_owned(),
        generation: gateway.metadata.generation,
        class: class.clone(),
        name: infrastructure_name(id, class),
        hold: refused || no_address,
        labels: asked.map(|it| it.labels.clone()).unwrap_or_default(),
        annotations: asked.map(|it| it.annotations.clone()).unwrap_or_default(),
        service_annotations: service_annotations(gateway, &parameters),
        ports: Vec::new(),
        addresses: addresses.requested.clone(),
        parameters,
    }
}

/// Annotations for Services alone. What the Gateway says of itself counts more than what all Gateways
/// with these parameters have.
fn service_annotations(
    gateway: &Gateway,
    parameters: &GatewayParametersSpec,
) -> BTreeMap<String, String> {
    let is_copied = |key: &str| {
        parameters.service.copy_annotations.iter().any(|wanted| match wanted.strip_suffix("/*") {
            Some(domain) => key.split_once('/').is_some_and(|(prefix, _)| prefix == domain),
            None => wanted == key,
        })
    };
    let mut annotations = parameters.service.annotations.clone();
    let copied = gateway.metadata.annotations.iter().filter(|(key, _)| is_copied(key));
    annotations.extend(copied.map(|(key, value)| (key.clone(), value.clone())));
    annotations
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
