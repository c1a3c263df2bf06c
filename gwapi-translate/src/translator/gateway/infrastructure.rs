//! What has to run for a Gateway in a cluster.

use std::collections::BTreeMap;

use gwapi_model::{Gateway, GatewayParametersSpec};

use super::super::addresses::Addresses;
use super::super::ports::PortNumber;
use crate::infrastructure::{
    GatewayInfrastructure, InfrastructurePort, name as infrastructure_name,
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
    let no_address = !addresses.is_left_open && addresses.requested.is_empty();
    GatewayInfrastructure {
        gateway: id.clone(),
        uid: gateway.metadata.uid.as_ref().map(|uid| uid.to_string()).unwrap_or_default(),
        generation: gateway.metadata.generation,
        class: class.clone(),
        name: infrastructure_name(id, class),
        hold: refused || no_address,
        labels: asked.map(|it| harmless(&it.labels)).unwrap_or_default(),
        annotations: asked.map(|it| harmless(&it.annotations)).unwrap_or_default(),
        service_annotations: service_annotations(gateway, &parameters),
        ports: Vec::new(),
        addresses: addresses.requested.iter().map(|request| request.address).collect(),
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

/// Domains, with all below them, of labels and annotations that say what a pod may do on its node, which
/// networks it is in, what is put into it on its way there, and what its ServiceAccount may do in a cloud.
/// They are for whoever may write pods and accounts, which is more than whoever may write Gateways. Those
/// that load balancers look for at Services are not among them.
const POWERFUL: [&str; 31] = [
    // Profiles, sysctls, devices and classes of resources.
    "security.alpha.kubernetes.io",
    "security.beta.kubernetes.io",
    "resources.beta.kubernetes.io",
    "cdi.k8s.io",
    "containerd.io",
    "crio.io",
    "nri.io",
    // Networks and addresses of pods.
    "cni.cncf.io",
    "multus-cni.io",
    "cni.projectcalico.org",
    "ipam.cilium.io",
    "ovn.org",
    "ovn.kubernetes.io",
    // Images that are let in for once, and containers and volumes that others put into a pod.
    "image-policy.k8s.io",
    "inject.istio.io",
    "proxy.istio.io",
    "sidecar.istio.io",
    "linkerd.io",
    "dapr.io",
    "consul.hashicorp.com",
    "vault.hashicorp.com",
    "security.banzaicloud.io",
    "security.bank-vaults.io",
    "admission.datadoghq.com",
    "opentelemetry.io",
    "kuma.io",
    // What accounts and pods may do in clouds.
    "eks.amazonaws.com",
    "iam.amazonaws.com",
    "vpc.amazonaws.com",
    "iam.gke.io",
    "azure.workload.identity",
];

/// Keys of these domains that ask for a sidecar as it is, or for none.
const HARMLESS: [&str; 4] = [
    "sidecar.istio.io/inject",
    "linkerd.io/inject",
    "consul.hashicorp.com/connect-inject",
    "kuma.io/sidecar-injection",
];

/// The beginnings of such keys that are not told by their domain: runtimes write theirs in reverse, a node marks
/// so the pods that it makes of its own files, and a revision of Istio chooses who puts a sidecar in.
const POWERFUL_BEGIN: [&str; 10] = [
    "com.github.containers.",
    "dev.gvisor.",
    "io.containerd.",
    "io.katacontainers.",
    "io.kubernetes.",
    "io.podman.",
    "istio.io/rev",
    "kubernetes.io/config.",
    "org.systemd.property.",
    "run.oci.",
];

/// Whether a label or annotation gives a pod or a ServiceAccount more than its Gateway may.
fn is_powerful(key: &str) -> bool {
    let is_below = |prefix: &str, domain: &str| {
        prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let prefix = key.split_once('/').map(|(prefix, _)| prefix);
    let is_of_domain =
        prefix.is_some_and(|prefix| POWERFUL.iter().any(|domain| is_below(prefix, domain)));
    is_of_domain && !HARMLESS.contains(&key)
        || POWERFUL_BEGIN.iter().any(|begin| key.starts_with(begin))
}

/// The labels or annotations that are set on what is made, pods and ServiceAccounts included.
fn harmless(asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let set = asked.iter().filter(|(key, _)| !is_owned(key) && !is_powerful(key));
    set.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What of the labels and annotations in `spec.infrastructure` is not set.
pub(super) fn note(gateway: &Gateway) -> Option<String> {
    let asked = gateway.spec.infrastructure.as_ref()?;
    let keys = || asked.labels.keys().chain(asked.annotations.keys()).map(String::as_str);
    let owned: Vec<&str> = keys().filter(|key| is_owned(key)).collect();
    let powerful: Vec<&str> = keys().filter(|key| !is_owned(key) && is_powerful(key)).collect();
    let reasons = [
        (owned, "controllers of Kubernetes write it themselves"),
        (
            powerful,
            "it says what pods may do on nodes, in networks or in a cloud; `workload.podTemplatePatch` of \
             GatewayParameters is for that",
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
    ports: impl Iterator<Item = PortNumber>,
) -> GatewayInfrastructure {
    let mut ports: Vec<InfrastructurePort> =
        ports.map(|(protocol, port)| InfrastructurePort { port, protocol }).collect();
    ports.sort_unstable();
    ports.dedup();
    GatewayInfrastructure { ports, ..plan.clone() }
}
