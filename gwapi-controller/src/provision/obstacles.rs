//! Which of the problems of pods says why a Gateway does not have the pods that it is to have.
//!
//! A pod that fails is not started again: its workload makes another, and what has failed stays there to be looked
//! at, such as a pod that its node evicted. Its problem is over when the other one runs, or its template was taken
//! back.

use jiff::SignedDuration;
use serde_json::Value;

use super::live::LiveObjects;
use super::pods::PodView;

/// How soon after a pod that was refused by its node the next one is made. What is made later takes the place of
/// one that had run, and is not to be judged by it.
const NEXT: SignedDuration = SignedDuration::from_secs(60);

/// What is in the way of pods, as one of them tells. `live` has what runs them.
pub(super) fn of_pods(pods: &[PodView], live: &LiveObjects) -> Option<String> {
    let (failed, others): (Vec<_>, Vec<_>) =
        pods.iter().filter(|pod| !pod.is_leaving).partition(|pod| pod.has_failed);
    let last_failure = || {
        let failed = failed.into_iter().filter(|pod| !is_replaced(pod, pods, live));
        failed.max_by_key(|pod| pod.created)?.problem.clone()
    };
    others.into_iter().find_map(|pod| pod.problem.clone()).or_else(last_failure)
}

/// Whether what runs a pod that has failed has as many others as it is to have, or makes its pods from another
/// template by now.
fn is_replaced(failed: &PodView, pods: &[PodView], live: &LiveObjects) -> bool {
    let workload =
        live.iter().find(|(key, it)| failed.is_run_by(key, it)).map(|(_, it)| &it.object);
    let siblings = || pods.iter().filter(|pod| pod.workload == failed.workload);
    let is_of_another = |pod: &PodView| pod.template != failed.template;
    let latest = siblings().max_by_key(|pod| pod.created);
    if latest.is_some_and(is_of_another) {
        return true;
    }
    // A template that was taken back has none that were made later, and those of the one before stay.
    let mut others = siblings().filter(|pod| !pod.has_failed && !pod.is_leaving);
    if workload.is_some_and(are_all_of_its_template) && others.any(is_of_another) {
        return true;
    }
    let successors = siblings().filter(|pod| {
        let is_later = pod
            .created
            .zip(failed.created)
            .is_some_and(|(its, of_failed)| its.duration_since(of_failed) > NEXT);
        !pod.has_failed && !is_of_another(pod) && (pod.is_running || is_later)
    });
    let count = i64::try_from(successors.count()).unwrap_or(i64::MAX);
    count >= workload.map_or(0, wanted)
}

/// How many pods a workload is to have.
fn wanted(workload: &Value) -> i64 {
    let (spec, status) = (&workload["spec"], &workload["status"]);
    let counts = [&status["desiredNumberScheduled"], &spec["replicas"]];
    counts.into_iter().find_map(|count| count.as_i64()).unwrap_or(1)
}

/// Whether a workload says that it has all its pods, and no others, and that they are of the template that it has.
/// A Deployment does not count those that have failed.
fn are_all_of_its_template(workload: &Value) -> bool {
    let status = &workload["status"];
    let is_seen = status["observedGeneration"] == workload["metadata"]["generation"];
    let is_wanted = |count: &Value| count.as_i64() == Some(wanted(workload));
    let are_there = match status["desiredNumberScheduled"].is_null() {
        true => is_wanted(&status["updatedReplicas"]) && is_wanted(&status["replicas"]),
        false => is_wanted(&status["updatedNumberScheduled"]),
    };
    is_seen && are_there
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::json;

    use super::super::kind::ManagedKind;
    use super::super::live::Live;
    use super::super::pods::Workload;
    use super::*;

    const DAY: i64 = 86_400;

    /// A Deployment that is to have so many pods.
    fn live(replicas: i64) -> LiveObjects {
        with_status(ManagedKind::Deployment, json!({"spec": {"replicas": replicas}}))
    }

    /// What has this spec and status.
    fn with_status(kind: ManagedKind, object: Value) -> LiveObjects {
        let live = Live {
            uid: "of-web".to_owned(),
            owner_uid: "ours".to_owned(),
            is_terminating: false,
            object,
        };
        [((kind, "web".to_owned()), Arc::new(live))].into()
    }

    /// A Deployment of two pods, of which so many are of the latest template, among so many; its controller has
    /// seen this generation of the third.
    fn rolled_out(seen: i64, updated: i64, replicas: i64) -> LiveObjects {
        let status =
            json!({"observedGeneration": seen, "updatedReplicas": updated, "replicas": replicas});
        let object =
            json!({"metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": status});
        with_status(ManagedKind::Deployment, object)
    }

    /// A pod of it that was made after so many seconds from this template, and starts.
    fn pod(template: &str, made: i64) -> PodView {
        PodView {
            workload: Some(Workload::Deployment("web".to_owned())),
            template: Some(template.to_owned()),
            created: Timestamp::from_second(made).ok(),
            ..PodView::default()
        }
    }

    fn running(template: &str, made: i64) -> PodView {
        PodView { is_running: true, ..pod(template, made) }
    }

    fn failed(template: &str, made: i64, problem: &str) -> PodView {
        PodView { has_failed: true, ..with(problem, pod(template, made)) }
    }

    fn with(problem: &str, pod: PodView) -> PodView {
        PodView { problem: Some(problem.to_owned()), ..pod }
    }

    fn found(pods: &[PodView]) -> Option<String> {
        of_pods(pods, &live(1))
    }

    fn problem(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_pod_that_was_evicted_and_replaced_is_no_obstacle() {
        let evicted = || failed("a", 0, "Evicted");
        assert_eq!(found(&[evicted()]), problem("Evicted"), "nothing has its place");
        assert_eq!(found(&[evicted(), running("a", 5)]), None);
        let leaving = PodView { is_leaving: true, ..running("a", 5) };
        assert_eq!(found(&[evicted(), leaving]), None, "something had its place");
        assert_eq!(
            found(&[evicted(), pod("a", DAY)]),
            None,
            "the node of its successor is drained"
        );
        assert_eq!(found(&[evicted(), pod("b", 5)]), None, "others are made by now");
        assert_eq!(of_pods(&[evicted(), running("a", 5)], &live(2)), problem("Evicted"));
        assert_eq!(of_pods(&[evicted()], &LiveObjects::new()), None, "what ran it goes");
    }

    #[test]
    fn pods_that_their_node_refuses_one_after_the_other_are_an_obstacle() {
        let refused = |made| failed("a", made, "SysctlForbidden");
        assert_eq!(found(&[refused(0), refused(1)]), problem("SysctlForbidden"));
        let next = [refused(0), refused(DAY), pod("a", DAY + 1)];
        assert_eq!(found(&next), problem("SysctlForbidden"), "the next one will not run either");
        let rollout = [running("a", 0), failed("b", DAY, "SysctlForbidden"), pod("b", DAY + 1)];
        assert_eq!(found(&rollout), problem("SysctlForbidden"), "another one serves meanwhile");
    }

    /// Nothing deletes pods that have failed, also of a template that was taken back.
    #[test]
    fn a_pod_that_its_node_refused_is_no_obstacle_once_its_template_is_none_of_the_latest() {
        let refused = problem("SysctlForbidden");
        let of_b = || failed("b", DAY, "SysctlForbidden");
        let pods = [running("a", 0), running("a", 1), of_b()];
        assert_eq!(of_pods(&pods, &rolled_out(3, 2, 2)), None, "all are of the one before");
        assert_eq!(of_pods(&pods, &rolled_out(2, 2, 2)), refused, "nobody has seen the edit");
        assert_eq!(of_pods(&pods, &rolled_out(3, 0, 2)), refused, "the others make place");
        let next = [running("a", 0), running("a", 1), of_b(), pod("b", DAY + 1)];
        assert_eq!(of_pods(&next, &rolled_out(3, 1, 3)), refused, "the next one will not run");
        let others = [of_b(), running("b", 0)];
        assert_eq!(of_pods(&others, &rolled_out(3, 2, 2)), refused, "it is of the latest");
        // That one of the others starts anew is no news of the one that failed.
        let restarted = [pod("a", 0), running("a", 1), of_b()];
        assert_eq!(of_pods(&restarted, &rolled_out(3, 2, 2)), None);
    }

    #[test]
    fn a_node_of_a_daemon_set_that_was_taken_back_is_no_obstacle_either() {
        let of = |pod: PodView| PodView {
            workload: Some(Workload::DaemonSet("of-web".to_owned())),
            ..pod
        };
        let pods = [of(running("a", 0)), of(failed("b", DAY, "SysctlForbidden"))];
        let found = |updated: i64| {
            let status = json!({"observedGeneration": 1, "desiredNumberScheduled": 2,
                "updatedNumberScheduled": updated});
            let object = json!({"metadata": {"generation": 1}, "spec": {}, "status": status});
            of_pods(&pods, &with_status(ManagedKind::DaemonSet, object))
        };
        assert_eq!(found(2), None);
        assert_eq!(found(1), problem("SysctlForbidden"));
    }

    #[test]
    fn what_is_in_the_way_of_a_pod_that_is_there_comes_first() {
        let evicted = failed("a", 0, "Evicted");
        let crashes = with("CrashLoopBackOff", running("a", 5));
        assert_eq!(found(&[evicted, crashes]), problem("CrashLoopBackOff"));
    }
}
