//! What has to be done so that the pods of an XBackend are found.

use std::sync::Arc;

use gwapi_model::NamespacedName;
use gwapi_translate::selection::EndpointSelection;
use serde_json::{Value, json};

use super::super::drift::{covers, difference};
use super::super::kind::ManagedKind;
use super::super::objects::Manifest;
use super::super::plan::{Plan, Removal, Settled, Step};
use super::live::{Made, Services};
use super::service::manifest;

/// Compares what has to be selected with the Services that are there. `made` are those of the namespace that were
/// made for XBackends, by whichever controller; all others are users'.
///
/// Each controller makes one for each XBackend, whatever was made for others with the same selector: were theirs
/// reason enough to have none, two would wait for each other.
pub(super) fn plan(
    selection: &EndpointSelection,
    made: &Services,
    settled: &Settled,
    controller_name: &str,
) -> Plan {
    let mut plan = Plan::default();
    let ours = made.iter().filter(|(_, it)| it.is_for(&selection.backend));
    // What belongs to a former XBackend of this name goes.
    let (mut ours, former): (Vec<_>, Vec<_>) =
        ours.partition(|(_, it)| it.backend_uid == selection.uid);
    plan.delete.extend(former.into_iter().map(removal));
    ours.sort_by(|one, other| (&one.1.created, one.0).cmp(&(&other.1.created, other.0)));
    let users = selection.services.iter().filter(|(name, _)| !made.contains_key(*name));
    let users: Vec<bool> = users.map(|(_, leads_to_pods)| *leads_to_pods).collect();
    // Until it does, ours leads there.
    if users.contains(&true) {
        plan.delete.extend(ours.into_iter().map(removal));
        return plan;
    }
    let mut ours = ours.into_iter();
    let manifest = manifest(selection, controller_name);
    match ours.next() {
        Some((name, oldest)) => plan.apply.extend(change(name, oldest, manifest, settled)),
        None if users.is_empty() => plan.apply.push(make(manifest)),
        None => {}
    }
    plan.delete.extend(ours.map(removal));
    plan
}

/// What has to be done where nothing has to be selected for an XBackend.
pub(super) fn plan_removal(backend: &NamespacedName, made: &Services) -> Plan {
    let ours = made.iter().filter(|(_, it)| it.is_for(backend));
    Plan { delete: ours.map(removal).collect(), ..Plan::default() }
}

/// The name of the Service that a step is about; `None` for one that is to be made.
pub(super) fn name(step: &Step) -> Option<&str> {
    step.manifest.object["metadata"]["name"].as_str()
}

fn removal((name, made): (&String, &Arc<Made>)) -> Removal {
    Removal { key: (ManagedKind::Service, name.clone()), uid: made.uid.clone() }
}

fn make(mut manifest: Manifest) -> Step {
    manifest.object["metadata"]["generateName"] = json!(manifest.name);
    Step { manifest, known: None, version: None, hand_over: None, differs: None }
}

/// Makes a Service again what it has to be, unless it is.
fn change(name: &str, made: &Made, mut manifest: Manifest, settled: &Settled) -> Option<Step> {
    manifest.object["metadata"]["name"] = json!(name);
    let key = (manifest.kind, manifest.name.clone());
    if covers(&made.object, &manifest.object) || settled.has(&key, &made.object, &manifest) {
        return None;
    }
    let version = made.object["metadata"]["resourceVersion"].as_str();
    Some(Step {
        known: Some(made.uid.clone()),
        version: version.map(str::to_owned),
        hand_over: None,
        differs: difference(&made.object, &manifest.object),
        manifest,
    })
}

/// What makes a Service what its manifest says: a merge patch of this version of it.
///
/// It is made by a request that generates its name, which server-side apply does not do. What such a request has
/// asked for, apply does not take back: a port would stay beside the one that replaces it.
pub(super) fn patch(wanted: &Value, live: &Value) -> Value {
    let mut patch = json!({
        "metadata": {
            "uid": live["metadata"]["uid"],
            "resourceVersion": live["metadata"]["resourceVersion"],
            "labels": wanted["metadata"]["labels"],
            "annotations": wanted["metadata"]["annotations"],
            "ownerReferences": owners(wanted, live),
        },
        "spec": wanted["spec"],
    });
    // A selector is one value, of which a merge patch keeps what it does not name.
    let selected = live["spec"]["selector"].as_object();
    for (label, _) in selected.into_iter().flatten() {
        if wanted["spec"]["selector"].get(label).is_none() {
            patch["spec"]["selector"][label] = Value::Null;
        }
    }
    patch
}

/// The owners of a Service, with ours as it has to be.
fn owners(wanted: &Value, live: &Value) -> Value {
    let ours = &wanted["metadata"]["ownerReferences"][0];
    let owners = live["metadata"]["ownerReferences"].as_array();
    let others = owners.into_iter().flatten().filter(|owner| owner["uid"] != ours["uid"]);
    others.cloned().chain([ours.clone()]).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
    use proptest::sample::{Index, select};

    use super::*;

    const CONTROLLER: &str = "gwapi.dev/gateway-controller";

    /// The XBackend `shop/pods`, whose pods have the label `app=web`, with Services of this selector.
    pub(in super::super) fn selection(services: &[(&str, bool)]) -> EndpointSelection {
        let services = services.iter().map(|(name, leads)| ((*name).to_owned(), *leads));
        EndpointSelection {
            backend: NamespacedName::new("shop", "pods"),
            uid: "uid-of-pods".to_owned(),
            match_labels: [("app".to_owned(), "web".to_owned())].into(),
            port: 9000,
            services: services.collect(),
        }
    }

    /// A Service as it was made for the XBackend, at that time.
    fn made(name: &str, created: &str) -> (String, Made) {
        let selection = selection(&[]);
        let mut object = manifest(&selection, CONTROLLER).object;
        object["metadata"]["name"] = json!(name);
        let made = Made {
            uid: format!("uid-of-{name}"),
            backend: selection.backend,
            backend_uid: selection.uid,
            is_ours: true,
            is_terminating: false,
            created: created.to_owned(),
            object,
        };
        (name.to_owned(), made)
    }

    fn services<const N: usize>(made: [(String, Made); N]) -> Services {
        made.map(|(name, made)| (name, Arc::new(made))).into()
    }

    fn planned(selected: &[(&str, bool)], made: &Services) -> Plan {
        plan(&selection(selected), made, &Settled::default(), CONTROLLER)
    }

    fn removed(plan: &Plan) -> Vec<&str> {
        plan.delete.iter().map(|it| it.key.1.as_str()).collect()
    }

    #[test]
    fn one_is_made_where_no_service_has_the_selector() {
        let plan = planned(&[], &Services::new());
        let [step] = &plan.apply[..] else { panic!("{plan:?}") };
        assert_eq!(step.known, None);
        assert_eq!(step.manifest.object["metadata"]["generateName"], "pods-");
        assert_eq!(name(step), None);
        assert_eq!(removed(&plan), [""; 0]);
        let there = services([made("pods-a", "1")]);
        assert!(planned(&[], &there).is_empty(), "whether others have heard of it or not");
        assert!(planned(&[("pods-a", true)], &there).is_empty());
    }

    #[test]
    fn none_is_made_where_a_user_has_one_and_ours_goes_when_that_one_leads_to_pods() {
        assert!(planned(&[("web", false)], &Services::new()).is_empty());
        let there = services([made("pods-a", "1")]);
        assert!(planned(&[("pods-a", true), ("web", false)], &there).is_empty());
        let plan = planned(&[("pods-a", true), ("web", true)], &there);
        assert_eq!((removed(&plan), plan.apply.len()), (vec!["pods-a"], 0));
        assert_eq!(plan.delete[0].uid, "uid-of-pods-a");
    }

    /// Two that made room for each other would leave none.
    #[test]
    fn what_was_made_for_others_with_the_same_selector_is_no_users() {
        let (name, mut anothers) = made("other-a", "1");
        anothers.backend = NamespacedName::new("shop", "other");
        let (second, mut of_controller) = made("pods-b", "1");
        of_controller.is_ours = false;
        let there = services([(name, anothers), (second, of_controller)]);
        let plan = planned(&[("other-a", true), ("pods-b", true)], &there);
        assert_eq!((plan.apply.len(), removed(&plan).len()), (1, 0));
    }

    #[test]
    fn of_several_the_oldest_stays() {
        let there = services([made("pods-a", "2"), made("pods-b", "1"), made("pods-c", "3")]);
        let plan = planned(&[], &there);
        assert_eq!(removed(&plan), ["pods-a", "pods-c"]);
        assert!(plan.apply.is_empty());
    }

    #[test]
    fn what_goes_is_not_counted_on_and_what_was_a_former_ones_goes() {
        let (name, mut going) = made("pods-a", "1");
        going.is_terminating = true;
        let (second, mut former) = made("pods-b", "1");
        former.backend_uid = "another".to_owned();
        let plan = planned(&[("pods-a", true)], &services([(name, going), (second, former)]));
        assert_eq!((plan.apply.len(), removed(&plan)), (1, vec!["pods-b"]));
    }

    #[test]
    fn nothing_to_select_ends_what_is_ours_alone() {
        let (name, mut theirs) = made("pods-b", "1");
        theirs.is_ours = false;
        let (second, mut anothers) = made("other-a", "1");
        anothers.backend = NamespacedName::new("shop", "other");
        let there = services([made("pods-a", "1"), (name, theirs), (second, anothers)]);
        let plan = plan_removal(&NamespacedName::new("shop", "pods"), &there);
        assert_eq!(removed(&plan), ["pods-a"]);
    }

    #[test]
    fn what_is_not_as_it_has_to_be_is_changed_back() {
        let (name, mut it) = made("pods-a", "1");
        it.object["metadata"]["resourceVersion"] = json!("7");
        it.object["spec"]["selector"]["added"] = json!("by-hand");
        it.object["spec"]["ports"] = json!([{"port": 1, "targetPort": 1, "protocol": "TCP"}]);
        it.object["metadata"]["labels"]["more"] = json!("stays");
        it.object["metadata"]["ownerReferences"].as_array_mut().expect("owners").insert(
            0,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "more", "uid": "stays"}),
        );
        let live = it.object.clone();
        let plan = planned(&[], &services([(name, it)]));
        let [step] = &plan.apply[..] else { panic!("{plan:?}") };
        assert_eq!(step.known.as_deref(), Some("uid-of-pods-a"));
        assert_eq!(super::name(step), Some("pods-a"));
        assert_eq!(step.differs.as_deref(), Some("spec.ports[0].port"));
        let patch = patch(&step.manifest.object, &live);
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["spec"]["selector"], json!({"app": "web", "added": null}));
        assert_eq!(patch["spec"]["ports"][0]["port"], 9000);
        let owners = patch["metadata"]["ownerReferences"].as_array().expect("owners");
        assert_eq!((&owners[0]["uid"], owners.len()), (&json!("stays"), 2));
        assert_eq!(patch["metadata"]["labels"].get("more"), None, "a merge patch keeps it");
    }

    fn owner() -> impl Strategy<Value = (NamespacedName, String, bool)> {
        let backend =
            select(vec!["pods", "other"]).prop_map(|name| NamespacedName::new("shop", name));
        let uid = prop_oneof![4 => Just("uid-of-pods".to_owned()), 1 => Just("former".to_owned())];
        (backend, uid, any::<bool>())
    }

    /// What somebody made, when, for whom, whether it goes and whether it is as it has to be.
    fn anything() -> impl Strategy<Value = Services> {
        let one =
            (select(vec!["a", "b", "c", "d"]), "[1-3]", owner(), any::<bool>(), any::<bool>());
        proptest::collection::vec(one, 0..4).prop_map(|all| {
            let all = all.into_iter().map(|(name, created, owner, is_terminating, is_edited)| {
                let (name, mut it) = made(name, &created);
                (it.backend, it.backend_uid, it.is_ours) = owner;
                it.is_terminating = is_terminating;
                if is_edited {
                    it.object["spec"]["ports"] = json!([]);
                }
                (name, Arc::new(it))
            });
            all.collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Whatever is there: what is planned touches nothing that is not ours, and done step by step it ends with
        /// one Service of ours, or none beside a user's, without a moment in which nothing leads to the pods.
        #[test]
        fn plans_end_with_one_service_and_never_leave_the_pods_alone(
            mut there in anything(),
            users in proptest::collection::btree_map("[u-w]", any::<bool>(), 0..2),
            order in any::<Index>(),
        ) {
            let backend = NamespacedName::new("shop", "pods");
            let foreign = |there: &Services| -> BTreeSet<String> {
                let foreign = there.iter().filter(|(_, it)| !it.is_for(&backend));
                foreign.map(|(name, _)| name.clone()).collect()
            };
            let before = foreign(&there);
            let leads = |there: &Services| {
                users.values().any(|leads| *leads) || there.values().any(|it| {
                    it.is_for(&backend) && it.backend_uid == "uid-of-pods"
                })
            };
            let mut has_led = leads(&there);
            for turn in 0.. {
                assert!(turn < 10, "it never ends: {there:?}");
                let mut selected = selection(&[]);
                selected.services = users.clone();
                selected.services.extend(there.keys().map(|name| (name.clone(), true)));
                let plan = plan(&selected, &there, &Settled::default(), CONTROLLER);
                if plan.is_empty() {
                    break;
                }
                for removal in &plan.delete {
                    let it = &there[&removal.key.1];
                    assert!(it.is_for(&backend) && it.uid == removal.uid);
                }
                // Any one of its steps comes first, and what was heard of meanwhile counts for the next.
                match order.index(plan.delete.len() + plan.apply.len()) {
                    at if at < plan.delete.len() => _ = there.remove(&plan.delete[at].key.1),
                    _ => {
                        let name = super::name(&plan.apply[0]).unwrap_or("new").to_owned();
                        let (name, made) = made(&name, "9");
                        there.insert(name, Arc::new(made));
                    }
                }
                assert!(!has_led || leads(&there));
                has_led = leads(&there);
            }
            assert_eq!(foreign(&there), before);
            let ours = there.values().filter(|it| it.is_for(&backend)).count();
            let expected = match users.values().max() {
                None => [1, 1],
                Some(false) => [0, 1],
                Some(true) => [0, 0],
            };
            assert!((expected[0]..=expected[1]).contains(&ours), "{ours}: {there:?} {users:?}");
        }
    }
}
