//! What runs the pods: a Deployment or a DaemonSet, and what says how many there are.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::kind::ManagedKind;
use super::super::parameters;
use super::{Maker, Manifest};

/// How much of the CPU that they request autoscaled pods use, where the parameters do not say.
const CPU_PERCENT: u32 = 80;

impl Maker<'_> {
    /// The Deployment or DaemonSet.
    pub(super) fn workload(&self) -> Manifest {
        let metadata = self.metadata(&self.wanted.name);
        if parameters::is_daemon_set(&self.wanted.parameters) {
            let object = DaemonSet { metadata, ..DaemonSet::default() };
            self.with_spec(ManagedKind::DaemonSet, &object, self.daemon_set_spec())
        } else {
            let object = Deployment { metadata, ..Deployment::default() };
            self.with_spec(ManagedKind::Deployment, &object, self.deployment_spec())
        }
    }

    /// The spec is laid in as it is: its template may hold what a patch says and we have no type for.
    fn with_spec(&self, kind: ManagedKind, object: &impl Serialize, spec: Value) -> Manifest {
        let mut manifest = self.manifest(kind, &self.wanted.name, object);
        manifest.object["spec"] = spec;
        manifest
    }

    fn deployment_spec(&self) -> Value {
        let workload = &self.wanted.parameters.workload;
        let mut spec = json!({
            "revisionHistoryLimit": 2,
            "selector": { "matchLabels": self.selector() },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": self.rolling_update() },
            "template": self.pod_template(),
        });
        // Without a number of the user's it is 1, and whoever scales the Deployment is not overruled.
        if let (Some(replicas), None) = (workload.replicas, &workload.autoscaling) {
            spec["replicas"] = json!(replicas);
        }
        spec
    }

    fn daemon_set_spec(&self) -> Value {
        json!({
            "revisionHistoryLimit": 2,
            "selector": { "matchLabels": self.selector() },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": self.rolling_update() },
            "template": self.pod_template(),
        })
    }

    /// The new pod is ready before the old one goes. Not so with host ports: the old one has them.
    fn rolling_update(&self) -> Value {
        if self.wanted.parameters.workload.host_ports.is_empty() {
            json!({ "maxSurge": 1, "maxUnavailable": 0 })
        } else {
            json!({ "maxSurge": 0, "maxUnavailable": 1 })
        }
    }

    /// The autoscaler, if the parameters ask for one. Each node has one pod of a DaemonSet, whatever
    /// the load.
    pub(super) fn autoscaler(&self) -> Option<Manifest> {
        let autoscaling = self.wanted.parameters.workload.autoscaling.as_ref()?;
        if parameters::is_daemon_set(&self.wanted.parameters) {
            return None;
        }
        let percent = autoscaling.target_cpu_utilization_percentage.unwrap_or(CPU_PERCENT);
        let metric = MetricSpec {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricSource {
                name: "cpu".to_owned(),
                target: MetricTarget {
                    type_: "Utilization".to_owned(),
                    average_utilization: Some(count(percent)),
                    ..MetricTarget::default()
                },
            }),
            ..MetricSpec::default()
        };
        let autoscaler = HorizontalPodAutoscaler {
            metadata: self.metadata(&self.wanted.name),
            spec: HorizontalPodAutoscalerSpec {
                scale_target_ref: CrossVersionObjectReference {
                    api_version: Some("apps/v1".to_owned()),
                    kind: ManagedKind::Deployment.to_string(),
                    name: self.wanted.name.clone(),
                },
                min_replicas: Some(autoscaling.min_replicas.map_or(1, count)),
                max_replicas: count(autoscaling.max_replicas),
                metrics: Some(vec![metric]),
                ..HorizontalPodAutoscalerSpec::default()
            },
            ..HorizontalPodAutoscaler::default()
        };
        let kind = ManagedKind::HorizontalPodAutoscaler;
        Some(self.manifest(kind, &self.wanted.name, &autoscaler))
    }

    /// The disruption budget, if the parameters ask for one.
    pub(super) fn disruption_budget(&self) -> Option<Manifest> {
        let budget = self.wanted.parameters.workload.disruption_budget.as_ref()?;
        let object = PodDisruptionBudget {
            metadata: self.metadata(&self.wanted.name),
            spec: Some(PodDisruptionBudgetSpec {
                selector: Some(LabelSelector {
                    match_labels: Some(self.selector()),
                    ..LabelSelector::default()
                }),
                min_available: budget.min_available.as_ref().map(int_or_string),
                max_unavailable: budget.max_unavailable.as_ref().map(int_or_string),
                // A pod that is not ready protects nobody.
                unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            }),
            ..PodDisruptionBudget::default()
        };
        Some(self.manifest(ManagedKind::PodDisruptionBudget, &self.wanted.name, &object))
    }
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn int_or_string(value: &gwapi_model::IntOrString) -> IntOrString {
    match value {
        gwapi_model::IntOrString::Int(number) => {
            IntOrString::Int(i32::try_from(*number).unwrap_or(i32::MAX))
        }
        gwapi_model::IntOrString::String(text) => IntOrString::String(text.clone()),
    }
}
