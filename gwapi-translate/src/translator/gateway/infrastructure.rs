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
        labels: asked.map(|it| without_owned(&it.labels)).unwrap_or_default(),
        annotations: asked.map(|it| harmless(&it.annotations)).unwrap_or_default(),
        service_annotations: service_annotations(gateway, &parameters),
        ports: Vec::new(),
        addresses: addresses.requested.clone(),
        parameters,
    }
}

/// Labels and annotations that controllers of Kubernetes write on what they look after. Whoever sets them
/// as well is in an endless dispute with those.
const OWNED: [&str; 5] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "deprecated.daemonset.template.generation",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// The same by their prefixes.
const OWNED_PREFIXES: [&str; 4] = [
    "deployment.kubernetes.io",
    "batch.kubernetes.io",
    "autoscaling.alpha.kubernetes.io",
    "control-plane.alpha.kubernetes.io",
];

fn is_owned(key: &str) -> bool {
    let prefix = key.split_once('/').map(|(prefix, _)| prefix);
    OWNED.contains(&key) || prefix.is_some_and(|prefix| OWNED_PREFIXES.contains(&prefix))
}

/// Prefixes of annotations of pods by which a node decides what a pod may do. They are for whoever may
/// write pods, which is more than whoever may write Gateways.
const OF_NODES: [&str; 4] = [
    "container.apparmor.security.beta.kubernetes.io",
    "container.seccomp.security.alpha.kubernetes.io",
    "seccomp.security.alpha.kubernetes.io",
    "security.alpha.kubernetes.io",
];

/// What such annotations of container runtimes begin with, and those of pods that a node makes of its
/// own files.
const OF_NODES_BEGIN: [&str; 2] = ["io.kubernetes.cri", "kubernetes.io/config."];

/// Whether an annotation of a pod is one that a node acts on.
fn is_of_nodes(key: &str) -> bool {
    let prefix = key.split_once('/').map(|(prefix, _)| prefix);
    prefix.is_some_and(|prefix| OF_NODES.contains(&prefix))
        || OF_NODES_BEGIN.iter().any(|begin| key.starts_with(begin))
}

/// The annotations that are set on what is made, pods included.
fn harmless(asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut annotations = without_owned(asked);
    annotations.retain(|key, _| !is_of_nodes(key));
    annotations
}

fn without_owned(asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = asked.iter().filter(|(key, _)| !is_owned(key));
    ours.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What of the labels and annotations in `spec.infrastructure` is not set.
pub(super) fn note(gateway: &Gateway) -> Option<String> {
    let asked = gateway.spec.infrastructure.as_ref()?;
    let keys = asked.labels.keys().chain(asked.annotations.keys());
    let owned: Vec<&str> = keys.map(String::as_str).filter(|key| is_owned(key)).collect();
    let annotations = asked.annotations.keys().map(String::as_str);
    let of_nodes: Vec<&str> = annotations.filter(|key| is_of_nodes(key)).collect();
    let reasons = [
        (owned, "controllers of Kubernetes write it themselves"),
        (
            of_nodes,
            "nodes decide by it what a pod may do; `workload.podTemplatePatch` of GatewayParameters is \
             for that",
        ),
    ];
    let told = reasons.iter().filter(|(keys, _)| !keys.is_empty());
    let told: Vec<String> =
        told.map(|(keys, why)| format!("{} not set, because {why}", keys.join(", "))).collect();
    (!told.is_empty()).then(|| format!("spec.infrastructure: {}", told.join("; ")))
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
    annotations.retain(|key, _| !is_owned(key));
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
