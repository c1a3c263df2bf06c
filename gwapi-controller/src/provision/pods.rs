//! What pods say about a Gateway: whether it is served, from which nodes, and what is in the way.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

use super::kind::ManagedKind;
use super::live::{Key, Live, LiveObjects};

/// States of a container that do not pass by themselves.
const STUCK: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// What is looked at of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PodView {
    /// What runs it.
    pub(super) workload: Option<Workload>,
    /// Which of the templates of its workload it was made from.
    pub(super) template: Option<String>,
    /// When it was made.
    pub(super) created: Option<Timestamp>,
    /// Its containers have started.
    pub(super) is_running: bool,
    /// It is ready, and not about to end.
    pub(super) is_ready: bool,
    /// It is about to end, or has done what it was there for.
    pub(super) is_leaving: bool,
    /// It has ended, or never began, and will not run any more: another one takes its place, and it stays until
    /// somebody deletes it.
    pub(super) has_failed: bool,
    /// Addresses of its node.
    pub(super) host_ips: Vec<String>,
    /// Its own ports, each with the one of its node that leads there.
    pub(super) host_ports: BTreeSet<(u16, u16)>,
    /// Why it does not run.
    pub(super) problem: Option<String>,
}

/// The Deployment or DaemonSet of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    /// The Deployment with this name, by its ReplicaSet.
    Deployment(String),
    /// The DaemonSet with this uid.
    DaemonSet(String),
}

impl Workload {
    fn of(pod: &Pod) -> Option<Self> {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
        match owner.kind.as_str() {
            "DaemonSet" => Some(Self::DaemonSet(owner.uid.clone())),
            "ReplicaSet" => {
                let hash = label(pod, TEMPLATE_HASH)?;
                let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
                Some(Self::Deployment(name.to_owned()))
            }
            _ => None,
        }
    }
}

impl PodView {
    /// Whether what runs it is among the objects that the Gateway with this uid owns. Its labels are no
    /// proof: what is made for two Gateways may have to have the same name.
    pub(super) fn is_of(&self, owner: &str, live: &LiveObjects) -> bool {
        live.iter().any(|(key, it)| it.owner_uid == owner && self.is_run_by(key, it))
    }

    /// Whether this object runs it.
    pub(super) fn is_run_by(&self, (kind, name): &Key, it: &Live) -> bool {
        match &self.workload {
            Some(Workload::Deployment(of)) => *kind == ManagedKind::Deployment && of == name,
            Some(Workload::DaemonSet(uid)) => *kind == ManagedKind::DaemonSet && *uid == it.uid,
            None => false,
        }
    }

    /// Looks at a pod.
    pub(super) fn of(pod: &Pod) -> Self {
        let made = Self {
            workload: Workload::of(pod),
            template: label(pod, TEMPLATE_HASH).or_else(|| label(pod, REVISION_HASH)).cloned(),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            host_ports: host_ports(pod),
            ..Self::default()
        };
        let Some(status) = &pod.status else { return made };
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let condition = |name: &str| conditions.iter().find(|it| it.type_ == name);
        let phase = status.phase.as_deref();
        let is_leaving = pod.metadata.deletion_timestamp.is_some() || phase == Some("Succeeded");
        let has_failed = phase == Some("Failed");
        let is_ready = condition("Ready").is_some_and(|condition| condition.status == "True");
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let unscheduled = condition("PodScheduled").filter(|it| it.status == "False");
        // Until those that prepare a pod have ended, its others only wait for them.
        let containers = status.init_container_statuses.iter().flatten();
        let containers = containers.chain(status.container_statuses.iter().flatten());
        let problem = unscheduled
            .map(unscheduled_problem)
            .or_else(|| containers.into_iter().find_map(container_problem))
            .or_else(|| has_failed.then(|| failure(pod)));
        let several = status.host_ips.iter().flatten().map(|it| it.ip.clone());
        let one = status.host_ip.iter().cloned();
        let mut host_ips: Vec<String> = several.collect();
        if host_ips.is_empty() {
            host_ips = one.collect();
        }
        Self {
            is_running: phase == Some("Running"),
            is_ready: is_ready && !is_leaving && !has_failed,
            is_leaving,
            has_failed,
            host_ips,
            problem: problem.map(|problem| format!("pod {name}: {problem}")),
            ..made
        }
    }
}

/// Label of the pods of a Deployment with the version of its template.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The same of a DaemonSet.
const REVISION_HASH: &str = "controller-revision-hash";

fn label<'a>(pod: &'a Pod, name: &str) -> Option<&'a String> {
    pod.metadata.labels.as_ref()?.get(name)
}

fn host_ports(pod: &Pod) -> BTreeSet<(u16, u16)> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|it| it.ports.iter().flatten());
    let number = |port: i32| u16::try_from(port).ok();
    ports.filter_map(|it| Some((number(it.container_port)?, number(it.host_port?)?))).collect()
}

fn unscheduled_problem(condition: &PodCondition) -> String {
    let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
    described(reason, condition.message.as_deref())
}

fn container_problem(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| STUCK.contains(reason))?;
    // Why it crashed is what it said last.
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let said = last.and_then(|last| last.message.as_deref()).map(str::trim);
    let message = said.filter(|said| !said.is_empty()).or(waiting.message.as_deref());
    Some(failed_pull(reason, message).unwrap_or_else(|| described(reason, message)))
}

/// Why an image could not be pulled, of a container that waits for the next attempt: it is the same as
/// what the attempts say in between, and told once.
fn failed_pull(reason: &str, message: Option<&str>) -> Option<String> {
    let (_, cause) = message?.split_once("\": ")?;
    (reason == "ImagePullBackOff").then(|| cause.to_owned())
}

fn failure(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or("Failed");
    described(reason, status.and_then(|status| status.message.as_deref()))
}

fn described(reason: &str, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn view(metadata: &Value, status: &Value) -> PodView {
        let pod = json!({"metadata": metadata, "status": status});
        PodView::of(&serde_json::from_value(pod).expect("a pod"))
    }

    #[test]
    fn a_pod_that_is_ready_serves_until_it_is_deleted() {
        let status = json!({
            "conditions": [{"type": "Ready", "status": "True"}],
            "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
        });
        let ready = view(&json!({"name": "a"}), &status);
        assert!(ready.is_ready && !ready.is_leaving);
        assert_eq!(ready.host_ips, ["10.0.0.1", "fd00::1"]);
        let metadata = json!({"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let leaving = view(&metadata, &status);
        assert!(!leaving.is_ready && leaving.is_leaving);
    }

    #[test]
    fn the_ports_of_its_node_are_those_that_the_pod_itself_has() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [
            {"name": "proxy", "ports": [{"containerPort": 19000},
                {"containerPort": 80, "hostPort": 8080}]},
            {"name": "beside", "ports": [{"containerPort": 81, "hostPort": 81}]},
        ]}});
        let view = PodView::of(&serde_json::from_value(pod).expect("a pod"));
        assert_eq!(view.host_ports, [(80, 8080), (81, 81)].into());
    }

    /// What a Gateway with the uid `ours` has, and beside it what was made for a former one.
    fn live() -> LiveObjects {
        let live = |kind, name: &str, owner: &str| {
            let live = Live {
                uid: format!("uid of {name}"),
                owner_uid: owner.to_owned(),
                is_terminating: false,
                object: Value::Null,
            };
            ((kind, name.to_owned()), Arc::new(live))
        };
        [
            live(ManagedKind::Service, "other", "ours"),
            live(ManagedKind::Deployment, "web-gwapi", "ours"),
            live(ManagedKind::DaemonSet, "nodes", "ours"),
            live(ManagedKind::Deployment, "old", "former"),
        ]
        .into()
    }

    #[test]
    fn a_pod_belongs_to_the_gateway_that_owns_what_runs_it_whatever_its_labels() {
        let is_ours = |kind: &str, name: &str, uid: &str| {
            let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid,
                "controller": true});
            let labels = json!({"app.kubernetes.io/instance": "web-gwapi",
                "pod-template-hash": "5d4f"});
            let metadata = json!({"name": "a", "labels": labels, "ownerReferences": [owner]});
            view(&metadata, &json!({})).is_of("ours", &live())
        };
        assert!(is_ours("ReplicaSet", "web-gwapi-5d4f", "any"));
        assert!(is_ours("DaemonSet", "nodes", "uid of nodes"));
        assert!(!is_ours("DaemonSet", "nodes", "another"));
        assert!(!is_ours("ReplicaSet", "web-gwapi-6a6a", "any"), "a ReplicaSet made by hand");
        assert!(!is_ours("ReplicaSet", "web-gwapi-2-5d4f", "any"));
        assert!(!is_ours("ReplicaSet", "old-5d4f", "any"), "that of a former Gateway");
        assert!(!is_ours("ReplicaSet", "other-5d4f", "any"), "that of another Gateway");
        assert!(!view(&json!({"name": "a"}), &json!({})).is_of("ours", &live()), "made by hand");
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let metadata = json!({"name": "a"});
        for (status, problem) in [
            (
                json!({"conditions": [{"type": "PodScheduled", "status": "False",
                    "reason": "Unschedulable", "message": "0/1 nodes are available"}]}),
                "pod a: Unschedulable: 0/1 nodes are available",
            ),
            (
                json!({"containerStatuses": [{"name": "proxy", "image": "", "imageID": "",
                    "ready": false, "restartCount": 3,
                    "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                    "lastState": {"terminated": {"exitCode": 1, "message": "error: no token\n"}}}]}),
                "pod a: CrashLoopBackOff: error: no token",
            ),
            (
                json!({
                    "initContainerStatuses": [{"name": "mesh", "image": "", "imageID": "",
                        "ready": false, "restartCount": 0,
                        "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}],
                    "containerStatuses": [{"name": "proxy", "image": "", "imageID": "",
                        "ready": false, "restartCount": 0,
                        "state": {"waiting": {"reason": "PodInitializing"}}}],
                }),
                "pod a: ErrImagePull: not found",
            ),
            (
                json!({"phase": "Failed", "reason": "SysctlForbidden", "message": "forbidden"}),
                "pod a: SysctlForbidden: forbidden",
            ),
        ] {
            assert_eq!(view(&metadata, &status).problem.as_deref(), Some(problem));
        }
        let waiting = |reason: &str, message: &str| {
            let state = json!({"waiting": {"reason": reason, "message": message}});
            let status = json!({"containerStatuses": [{"name": "proxy", "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "state": state}]});
            view(&metadata, &status).problem
        };
        let pulling = waiting("ErrImagePull", "failed to pull: not found");
        assert_eq!(pulling.as_deref(), Some("pod a: ErrImagePull: failed to pull: not found"));
        let between = "Back-off pulling image \"x:1\": ErrImagePull: failed to pull: not found";
        assert_eq!(waiting("ImagePullBackOff", between), pulling);
        let older = waiting("ImagePullBackOff", "Back-off pulling image \"x:1\"");
        assert!(older.is_some_and(|it| it.contains("ImagePullBackOff: Back-off")));
        let starting = json!({"containerStatuses": [{"name": "proxy", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}]});
        assert_eq!(view(&metadata, &starting).problem, None);
    }
}
