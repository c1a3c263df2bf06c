//! Services lead to a Gateway's first pod before kubelet calls it ready.
//!
//! A proxy has its configuration, and its ports open, about a tenth of a second after it starts. kubelet may find
//! that out a second later: it probes when the container runs, sometimes before it has noted that it does, and
//! then waits for the next second. Until a Gateway has been served once nobody is led astray by that: the first
//! connections are refused by the pod, where they would be refused for want of one.
//!
//! From its first ready pod on a Service leads to ready pods alone, for good. A Gateway of more pods than one
//! leads to ready pods from the start, as connections would fail for as long as only some of them run.

use gwapi_model::GatewayParametersSpec;
use serde_json::{Value, json};

use super::kind::ManagedKind;
use super::live::LiveObjects;
use super::objects::Manifest;
use super::parameters;
use super::plan::ready_pods;
use super::pods::PodView;
use super::succession::instance;

/// The field of a Service that has it lead to pods whether they are ready or not.
const FIELD: &str = "publishNotReadyAddresses";

/// Lets the Services among the manifests lead to pods that are not ready, as far as there was no ready one among
/// those that they lead to since they are there.
pub(super) fn publish(
    manifests: &mut [Manifest],
    parameters: &GatewayParametersSpec,
    live: &LiveObjects,
    pods: &[PodView],
) {
    if !parameters::has_one_pod(parameters) {
        return;
    }
    for manifest in manifests.iter_mut().filter(|it| it.kind == ManagedKind::Service) {
        let led = instance(&manifest.object["spec"]["selector"]);
        if led.is_none_or(|led| is_served(led, live, pods)) {
            continue;
        }
        let there = live.get(&(manifest.kind, manifest.name.clone()));
        if there.is_none_or(|it| it.object["spec"][FIELD] == Value::Bool(true)) {
            manifest.object["spec"][FIELD] = json!(true);
        }
    }
}

/// Whether a pod of this instance is ready, as we see it or as what runs it counts it.
fn is_served(instance: &str, live: &LiveObjects, pods: &[PodView]) -> bool {
    let workloads = live.iter().filter(|(key, _)| key.0.is_workload() && key.1 == instance);
    let mut workloads = workloads.map(|(key, it)| (ready_pods(it) > 0, key, it));
    workloads.any(|(is_counted, key, it)| {
        is_counted || pods.iter().any(|pod| pod.is_ready && pod.is_run_by(key, it))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gwapi_model::{AutoscalingParameters, WorkloadKind};

    use super::super::live::Live;
    use super::super::objects::INSTANCE_LABEL;
    use super::super::pods::Workload;
    use super::*;

    fn service(mut spec: Value) -> Manifest {
        spec["selector"] = json!({INSTANCE_LABEL: "web-gwapi"});
        let object = json!({"metadata": {"name": "web-gwapi"}, "spec": spec});
        Manifest { kind: ManagedKind::Service, name: "web-gwapi".to_owned(), object }
    }

    fn live(kind: ManagedKind, object: Value) -> LiveObjects {
        let live = Live {
            uid: "its own".to_owned(),
            owner_uid: "the Gateway's".to_owned(),
            is_terminating: false,
            object,
        };
        [((kind, "web-gwapi".to_owned()), Arc::new(live))].into()
    }

    /// Whether the Service leads to pods that are not ready.
    fn publishes(parameters: &GatewayParametersSpec, live: &LiveObjects, pods: &[PodView]) -> bool {
        let mut manifests = [service(json!({"type": "LoadBalancer"}))];
        publish(&mut manifests, parameters, live, pods);
        let [made] = manifests;
        assert!(
            made == service(json!({"type": "LoadBalancer"})) || made.object["spec"][FIELD] == true
        );
        made.object["spec"][FIELD] == true
    }

    #[test]
    fn a_service_leads_to_the_first_pod_at_once_and_later_to_ready_ones_alone() {
        let defaults = GatewayParametersSpec::default();
        let workload = || Some(Workload::Deployment("web-gwapi".to_owned()));
        let ready = PodView { is_ready: true, workload: workload(), ..PodView::default() };
        let unready = PodView { workload: workload(), ..PodView::default() };
        let nothing = live(ManagedKind::Deployment, json!({}));
        assert!(publishes(&defaults, &nothing, &[]), "it is made");
        assert!(!publishes(&defaults, &nothing, std::slice::from_ref(&ready)), "another address");
        let former = Some(Workload::Deployment("web-former".to_owned()));
        let former = PodView { workload: former, ..ready.clone() };
        assert!(publishes(&defaults, &nothing, &[former]), "it leads to others");

        let awaiting = live(ManagedKind::Service, json!({"spec": {FIELD: true}}));
        let awaiting = awaiting.into_iter().chain(nothing.clone()).collect();
        assert!(publishes(&defaults, &awaiting, std::slice::from_ref(&unready)));
        assert!(!publishes(&defaults, &awaiting, &[unready.clone(), ready]), "it is served");
        let served = live(ManagedKind::Service, json!({"spec": {"type": "LoadBalancer"}}));
        assert!(!publishes(&defaults, &served, &[unready]), "its pod is not ready any more");
    }

    #[test]
    fn ready_pods_that_are_counted_and_not_seen_are_believed() {
        let counted = live(ManagedKind::Deployment, json!({"status": {"readyReplicas": 1}}));
        assert!(!publishes(&GatewayParametersSpec::default(), &counted, &[]));
    }

    #[test]
    fn a_gateway_of_several_pods_leads_to_ready_ones_from_the_start() {
        let nothing = LiveObjects::new();
        let with = |change: fn(&mut GatewayParametersSpec)| {
            let mut parameters = GatewayParametersSpec::default();
            change(&mut parameters);
            publishes(&parameters, &nothing, &[])
        };
        let autoscaled = |min_replicas| {
            let target_cpu_utilization_percentage = None;
            Some(AutoscalingParameters {
                min_replicas,
                max_replicas: 5,
                target_cpu_utilization_percentage,
            })
        };
        assert!(with(|it| it.workload.replicas = Some(1)));
        assert!(!with(|it| it.workload.replicas = Some(2)));
        assert!(!with(|it| it.workload.kind = Some(WorkloadKind::DaemonSet)));
        let mut parameters = GatewayParametersSpec::default();
        parameters.workload.autoscaling = autoscaled(None);
        assert!(publishes(&parameters, &nothing, &[]));
        parameters.workload.autoscaling = autoscaled(Some(2));
        assert!(!publishes(&parameters, &nothing, &[]));
    }
}
