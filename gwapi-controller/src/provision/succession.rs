//! Services lead to the pods that serve until those that take their place do.
//!
//! A Gateway that moves to another class of its controller keeps its Services, and with them its addresses, and
//! gets proxies of another name. A Service that led to those at once would lead nowhere until the first of them
//! is ready, and for ever if none comes to be.

use serde_json::{Value, json};

use super::live::{Key, Live, LiveObjects};
use super::objects::{INSTANCE_LABEL, Manifest};
use super::plan::ready_pods;

/// Has the Services among the manifests lead to the pods of the workload that was there before, as long as it is
/// and the one that has to be there has no pod that is ready. `owner` is the uid of the Gateway.
pub(super) fn keep_led(manifests: &mut [Manifest], owner: &str, live: &LiveObjects) {
    let workload = manifests.iter().find(|it| it.kind.is_workload());
    let Some(successor) = workload.map(|it| (it.kind, it.name.clone())) else { return };
    let is_ours = |it: &Live| it.owner_uid == owner && !it.is_terminating;
    if live.get(&successor).is_some_and(|it| is_ours(it) && ready_pods(it) > 0) {
        return;
    }
    let former = live
        .iter()
        .filter(|((kind, name), it)| kind.is_workload() && *name != successor.1 && is_ours(it));
    let former: Vec<(&Key, bool)> = former.map(|(key, it)| (key, ready_pods(it) > 0)).collect();
    for (service, selector) in manifests.iter_mut().filter_map(with_selector) {
        let there = live.get(&service).filter(|it| is_ours(it));
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

/// What the pods are instances of that have these labels, or are selected by them.
pub(super) fn instance(labels: &Value) -> Option<&str> {
    labels[INSTANCE_LABEL].as_str()
}
