//! Services lead to the pods that serve until those that take their place do.
//!
//! A Gateway that moves to another class of its controller keeps its Services, and with them its addresses, and
//! gets proxies of another name. A Service that led to those at once would lead nowhere until the first of them
//! is ready, and for ever if none comes to be. Likewise one that is to be reached at ports of nodes is reached as
//! before until a pod has these ports: to have them, all its pods are replaced.

use gwapi_translate::infrastructure::GatewayInfrastructure;
use serde_json::{Value, json};

use super::kind::ManagedKind;
use super::live::{Key, LiveObjects};
use super::objects::{INSTANCE_LABEL, Manifest};
use super::parameters::{AddressSource, address_source, host_ports};
use super::plan::{ready_pods, serves};
use super::pods::PodView;

/// Has the Services among the manifests lead to the pods of the workload that was there before, as long as it is
/// and the one that has to be there has no pod that is ready. `owner` is the uid of the Gateway.
pub(super) fn keep_led(manifests: &mut [Manifest], owner: &str, live: &LiveObjects) {
    let workload = manifests.iter().find(|it| it.kind.is_workload());
    let Some(successor) = workload.map(|it| (it.kind, it.name.clone())) else { return };
    if serves(&successor, owner, live) {
        return;
    }
    let former = live
        .iter()
        .filter(|((kind, name), it)| kind.is_workload() && *name != successor.1 && it.is_of(owner));
    let former: Vec<(&Key, bool)> = former.map(|(key, it)| (key, ready_pods(it) > 0)).collect();
    for (service, selector) in manifests.iter_mut().filter_map(with_selector) {
        let there = live.get(&service).filter(|it| it.is_of(owner));
        let led = there.and_then(|it| instance(&it.object["spec"]["selector"]));
        // One that is made meanwhile has nothing to lose, and leads to what serves.
        let stays = |(key, serves): &&(&Key, bool)| led.map_or(*serves, |led| key.1 == led);
        if let Some(((_, name), _)) = former.iter().find(stays) {
            selector[INSTANCE_LABEL] = json!(name);
        }
    }
}

/// The key of a Service, and its selector.
fn with_selector(manifest: &mut Manifest) -> Option<(Key, &mut Value)> {
    let key = (manifest.kind, manifest.name.clone());
    Some((
        key,
        manifest
            .object
            .pointer_mut("/spec/selector")
            .filter(|it| it.get(INSTANCE_LABEL).is_some())?,
    ))
}

/// Whether a Gateway is to be reached at ports of the nodes, and no pod that is ready has all of them.
pub(super) fn awaits_host_ports(wanted: &GatewayInfrastructure, pods: &[PodView]) -> bool {
    let ports = host_ports(&wanted.parameters);
    let is_reached = |pod: &PodView| pod.is_ready && ports.is_subset(&pod.host_ports);
    address_source(&wanted.parameters) == AddressSource::Nodes
        && !wanted.ports.is_empty()
        && !ports.is_empty()
        && !pods.iter().any(is_reached)
}

/// Has the Services among the manifests stay of the type that they are of, as far as they are reached at more
/// places by it.
pub(super) fn keep_types(manifests: &mut [Manifest], owner: &str, live: &LiveObjects) {
    for manifest in manifests.iter_mut().filter(|it| it.kind == ManagedKind::Service) {
        let there = live.get(&(manifest.kind, manifest.name.clone()));
        let Some(there) = there.filter(|it| it.owner_uid == owner) else { continue };
        let (before, after) = (&there.object["spec"], &mut manifest.object["spec"]);
        if reach(before) > reach(after) {
            let fields = OF_TYPE.iter().filter_map(|field| Some((field, before.get(field)?)));
            for (field, value) in fields {
                after[*field] = value.clone();
            }
        }
    }
}

/// The fields of a Service that go with its type.
const OF_TYPE: [&str; 4] = ["type", "externalTrafficPolicy", "loadBalancerClass", "loadBalancerIP"];

/// Each type of Service is reached as the one before is, and at more places.
fn reach(spec: &Value) -> u8 {
    match spec["type"].as_str() {
        Some("LoadBalancer") => 2,
        Some("NodePort") => 1,
        _ => 0,
    }
}

/// What the pods are instances of that have these labels, or are selected by them.
pub(super) fn instance(labels: &Value) -> Option<&str> {
    labels[INSTANCE_LABEL].as_str()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gwapi_model::{HostPortParameters, Port, ServiceType};

    use super::super::live::Live;
    use super::super::testing::wanted;
    use super::*;

    fn with_host_ports(ports: &[u16]) -> GatewayInfrastructure {
        let mut wanted = wanted();
        let ports = ports.iter().map(|port| HostPortParameters {
            port: Port::new(80).expect("a port"),
            host_port: Port::new(*port),
        });
        wanted.parameters.workload.host_ports = ports.collect();
        wanted
    }

    fn ready(ports: &[(u16, u16)]) -> PodView {
        PodView {
            is_ready: true,
            host_ports: ports.iter().copied().collect(),
            ..PodView::default()
        }
    }

    #[test]
    fn ports_of_nodes_are_awaited_until_a_ready_pod_has_them() {
        let wanted = with_host_ports(&[18085]);
        assert!(awaits_host_ports(&wanted, &[]));
        assert!(awaits_host_ports(&wanted, &[ready(&[]), ready(&[(80, 80)])]), "former pods");
        let starting = PodView { is_ready: false, ..ready(&[(80, 18085)]) };
        assert!(awaits_host_ports(&wanted, &[starting]));
        assert!(!awaits_host_ports(&wanted, &[ready(&[]), ready(&[(80, 18085)])]));
        assert!(!awaits_host_ports(&with_host_ports(&[]), &[]), "none are asked for");
        let mut balanced = wanted.clone();
        balanced.parameters.service.service_type = Some(ServiceType::LoadBalancer);
        assert!(!awaits_host_ports(&balanced, &[]), "it is reached by a load balancer");
        assert!(!awaits_host_ports(&GatewayInfrastructure { ports: Vec::new(), ..wanted }, &[]));
    }

    #[test]
    fn a_service_keeps_a_type_by_which_it_is_reached_at_more_places() {
        let kept = |before: Value, after: Value| {
            let owner = wanted().uid;
            let live = Live {
                uid: "its own".to_owned(),
                owner_uid: owner.clone(),
                is_terminating: false,
                object: json!({"spec": before}),
            };
            let (kind, name) = (ManagedKind::Service, "web-gwapi".to_owned());
            let live = LiveObjects::from([((kind, name.clone()), Arc::new(live))]);
            let mut manifests = [Manifest { kind, name, object: json!({"spec": after}) }];
            keep_types(&mut manifests, &owner, &live);
            let [manifest] = manifests;
            manifest.object["spec"].clone()
        };
        let of_type = |it: &str| json!({"type": it});
        let balanced = json!({"type": "LoadBalancer", "loadBalancerClass": "example.test/fast",
            "externalTrafficPolicy": "Local", "clusterIP": "10.96.0.7"});
        assert_eq!(
            kept(balanced.clone(), json!({"type": "ClusterIP", "ports": []})),
            json!({"type": "LoadBalancer", "loadBalancerClass": "example.test/fast",
                "externalTrafficPolicy": "Local", "ports": []})
        );
        assert_eq!(kept(balanced, of_type("NodePort"))["type"], "LoadBalancer");
        assert_eq!(kept(of_type("NodePort"), of_type("ClusterIP")), of_type("NodePort"));
        assert_eq!(kept(of_type("ClusterIP"), of_type("NodePort")), of_type("NodePort"));
    }
}
