//! Which of the problems of pods says why a Gateway does not have the pods that it is to have.
//!
//! A pod that fails is not started again: its workload makes another, and what has failed stays there to be looked
//! at, such as a pod that its node evicted. Its problem is over when the other one runs.

use jiff::SignedDuration;

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
    let siblings = || pods.iter().filter(|pod| pod.workload == failed.workload);
    let latest = siblings().max_by_key(|pod| pod.created);
    if latest.is_some_and(|latest| latest.template != failed.template) {
        return true;
    }
    let successors = siblings().filter(|pod| {
        let is_later = pod
            .created
            .zip(failed.created)
            .is_some_and(|(its, of_failed)| its.duration_since(of_failed) > NEXT);
        !pod.has_failed && pod.template == failed.template && (pod.is_running || is_later)
    });
    let count = i64::try_from(successors.count()).unwrap_or(i64::MAX);
    count >= wanted(failed, live)
}

/// How many pods what runs this one is to have.
fn wanted(pod: &PodView, live: &LiveObjects) -> i64 {
    let Some((_, workload)) = live.iter().find(|(key, it)| pod.is_run_by(key, it)) else {
        return 0;
    };
    let (spec, status) = (&workload.object["spec"], &workload.object["status"]);
    let counts = [&status["desiredNumberScheduled"], &spec["replicas"]];
    counts.into_iter().find_map(|count| count.as_i64()).unwrap_or(1)
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
        let live = Live {
            uid: "of-web".to_owned(),
            owner_uid: "ours".to_owned(),
            is_terminating: false,
            object: json!({"spec": {"replicas": replicas}}),
        };
        [((ManagedKind::Deployment, "web".to_owned()), Arc::new(live))].into()
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

    #[test]
    fn what_is_in_the_way_of_a_pod_that_is_there_comes_first() {
        let evicted = failed("a", 0, "Evicted");
        let crashes = with("CrashLoopBackOff", running("a", 5));
        assert_eq!(found(&[evicted, crashes]), problem("CrashLoopBackOff"));
    }
}
