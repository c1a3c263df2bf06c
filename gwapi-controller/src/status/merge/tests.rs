//! Cases and laws of the merge.

use std::sync::Arc;

use gwapi_model::status::{
    ConditionReason, ConditionStatus, GatewayClassStatus, GatewayStatusAddress, ListenerSetStatus,
    PolicyAncestorStatus, PolicyStatus, RouteParentStatus, RouteStatus, SupportedFeature,
};
use gwapi_model::{AddressType, ParentReference, RouteGroupKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use serde_json::json;

use super::*;

const US: &str = "gwapi.dev/gateway-controller";

fn now() -> Timestamp {
    "2025-06-07T08:09:10.123Z".parse().expect("a time")
}

fn condition(condition_type: ConditionType, generation: i64) -> Condition {
    let (status, reason) = (ConditionStatus::True, ConditionReason::Accepted);
    Condition::new(condition_type, status, reason, "", generation)
}

fn class(conditions: Vec<Condition>) -> Status {
    Status::GatewayClass(Box::new(GatewayClassStatus {
        conditions,
        supported_features: Vec::new(),
    }))
}

/// What an object of a kind has that such a status is of.
fn stored<'a>(status: &'a Value, ours: &Status, generation: i64) -> Stored<'a> {
    let kind = match ours {
        Status::GatewayClass(_) => Kind::GatewayClass,
        Status::Gateway(_) => Kind::Gateway,
        Status::ListenerSet(_) => Kind::ListenerSet,
        Status::Route(_) => Kind::HttpRoute,
        Status::Policy(_) => Kind::BackendTlsPolicy,
    };
    Stored { kind, status, generation }
}

fn merged(status: &Value, ours: &Status) -> Option<Value> {
    merge(stored(status, ours, 1), ours, US, now()).status
}

/// ST-6
#[test]
fn what_a_gateway_was_said_to_let_in_goes_when_it_does_no_more() {
    // TL-6, LS-8.
    let gateway = |conditions, attached_listener_sets| {
        let status = GatewayStatus { conditions, attached_listener_sets, ..Default::default() };
        Status::Gateway(Box::new(status))
    };
    let insecure = condition(ConditionType::InsecureFrontendValidationMode, 1);
    let before = merged(&json!({}), &gateway(vec![insecure], Some(2))).expect("a change");
    assert_eq!(items(&before["conditions"]).len(), 1);
    assert_eq!(before["attachedListenerSets"], 2);
    let after = merged(&before, &gateway(Vec::new(), None)).expect("a change");
    assert_eq!(after, json!({"conditions": []}));
}

/// ST-12
#[test]
fn a_listener_set_keeps_what_others_said_of_it() {
    let stored = json!({
        "conditions": [{"type": "example.com/Seen", "status": "True"}],
        "listeners": [
            {"name": "http", "conditions": [{"type": "example.com/Seen", "status": "True"}]},
            {"name": "gone", "conditions": []},
        ],
    });
    let listener = ListenerStatus {
        name: "http".to_owned(),
        supported_kinds: Vec::new(),
        attached_routes: 3,
        conditions: Vec::new(),
    };
    let ours = Status::ListenerSet(Box::new(ListenerSetStatus {
        conditions: Vec::new(),
        listeners: vec![listener],
    }));
    let mut expected = stored.clone();
    expected["listeners"].as_array_mut().expect("a list").pop();
    expected["listeners"][0]["attachedRoutes"] = json!(3);
    expected["listeners"][0]["supportedKinds"] = json!([]);
    assert_eq!(merged(&stored, &ours), Some(expected));
}

/// ST-9
#[test]
fn defaults_of_the_crd_are_replaced_and_the_time_of_1970_with_them() {
    let defaults = json!({"conditions": [{
        "type": "Accepted", "status": "Unknown", "reason": "Pending",
        "message": "Waiting for controller", "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]});
    let mut pending = condition(ConditionType::Accepted, 1);
    (pending.status, pending.reason) = (ConditionStatus::Unknown, ConditionReason::Pending);
    let written = merged(&defaults, &class(vec![pending])).expect("a change");
    assert_eq!(
        written,
        json!({"conditions": [{
            "type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2025-06-07T08:09:10Z",
        }]})
    );
}

/// ST-5, X-2: the CRD of XBackends lets twice as many Gateways be told as those of policies.
#[test]
fn every_gateway_is_told_for_which_the_kind_has_room() {
    let gateways = (0..40).map(|n| PolicyAncestorStatus {
        ancestor_ref: parent_ref(&format!("g{n}")),
        controller_name: US.to_owned(),
        conditions: vec![condition(ConditionType::Accepted, 1)],
    });
    let ours = Status::Policy(PolicyStatus { ancestors: gateways.collect() });
    for (kind, room) in [(Kind::XBackend, 32), (Kind::BackendTlsPolicy, 16)] {
        let stored = Stored { kind, status: &Value::Null, generation: 1 };
        let merged = merge(stored, &ours, US, now());
        let written = merged.status.expect("a change");
        assert_eq!((items(&written["ancestors"]).len(), merged.omitted), (room, 40 - room));
    }
}

/// ST-3
#[test]
fn the_time_moves_with_the_status_and_with_nothing_else() {
    let stored = json!({"conditions": [{
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "old",
        "observedGeneration": 0, "lastTransitionTime": "2024-01-01T00:00:00Z",
    }]});
    let mut ours = condition(ConditionType::Accepted, 1);
    let time = |ours: &Condition| {
        let written = merged(&stored, &class(vec![ours.clone()])).expect("a change");
        written["conditions"][0]["lastTransitionTime"].clone()
    };
    assert_eq!(time(&ours), "2024-01-01T00:00:00Z");
    ours.status = ConditionStatus::False;
    assert_eq!(time(&ours), "2025-06-07T08:09:10Z");
}

#[test]
fn a_condition_that_only_holds_while_something_is_bad_goes_away_and_foreign_ones_stay_in_place() {
    let foreign = json!({"type": "example.com/Audited", "status": "True", "x": [1, null]});
    let stored = json!({
        "other": {"kept": true},
        "conditions": [
            {"type": "SupportedVersion", "status": "True"}, foreign,
            {"type": "Accepted", "status": "False"},
        ],
    });
    let written = merged(&stored, &class(vec![condition(ConditionType::Accepted, 1)]));
    let written = written.expect("a change");
    assert_eq!(written["other"], stored["other"]);
    assert_eq!(written["conditions"][0], foreign);
    assert_eq!(written["conditions"][1]["status"], "True");
    assert_eq!(written["conditions"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_object_of_a_newer_generation_is_left_to_the_newer_answer() {
    let ours = class(vec![condition(ConditionType::Accepted, 4)]);
    let write =
        |generation| merge(stored(&Value::Null, &ours, generation), &ours, US, now()).status;
    assert_eq!(write(5), None);
    assert!(write(4).is_some());
    // Whoever deletes an object and makes it anew starts its generations anew.
    assert!(write(1).is_some());
}

/// ST-5
#[test]
fn a_full_list_leaves_ours_out_and_says_so() {
    let foreign: Vec<Value> = (0..7).map(|n| json!({"type": format!("example.com/{n}")})).collect();
    let stored = json!({"conditions": foreign});
    let ours = [ConditionType::Accepted, ConditionType::SupportedVersion];
    let ours = class(ours.map(|it| condition(it, 1)).to_vec());
    let merged = merge(self::stored(&stored, &ours, 1), &ours, US, now());
    assert_eq!(merged.omitted, 1);
    let conditions = merged.status.expect("a change")["conditions"].clone();
    assert_eq!(conditions.as_array().map(Vec::len), Some(MAX_CONDITIONS));
    assert_eq!(conditions[7]["type"], "Accepted");
}

/// ST-5
#[test]
fn a_message_ends_where_the_api_lets_none_go_on() {
    let mut ours = condition(ConditionType::Accepted, 1);
    ours.message = "\u{e9}".repeat(MAX_MESSAGE + 1);
    let written = merged(&Value::Null, &class(vec![ours])).expect("a change");
    let message = written["conditions"][0]["message"].as_str().expect("a text");
    assert_eq!(message.chars().count(), MAX_MESSAGE);
}

#[test]
fn a_patch_takes_out_what_the_merge_left_out_and_names_the_version() {
    let old = json!({"addresses": [1], "conditions": [1], "foreign": 1});
    let new = json!({"conditions": [2], "foreign": 1});
    assert_eq!(
        patch(&old, &new, "77"),
        json!({
            "metadata": {"resourceVersion": "77"},
            "status": {"addresses": null, "conditions": [2], "foreign": 1},
        })
    );
}

/// Applies a merge patch as an API server does (RFC 7386).
fn patched(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = match target {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    for (field, value) in patch {
        match value {
            Value::Null => drop(target.remove(field)),
            value => {
                let old = target.remove(field).unwrap_or_default();
                target.insert(field.clone(), patched(old, value));
            }
        }
    }
    Value::Object(target)
}

fn foreign_condition() -> impl Strategy<Value = Value> {
    ("[a-z]{1,3}", 0..3i64).prop_map(|(name, generation)| {
        json!({
            "type": format!("example.com/{name}"), "status": "True", "reason": "Theirs",
            "message": "theirs", "observedGeneration": generation,
            "lastTransitionTime": "2020-02-02T02:02:02Z",
        })
    })
}

/// Conditions of ours as an earlier version of us, or another controller, left them.
fn old_condition(types: &'static [ConditionType]) -> impl Strategy<Value = Value> {
    (any::<Index>(), any::<bool>(), 0..3i64).prop_map(move |(index, holds, generation)| {
        json!({
            "type": index.get(types).as_str(), "status": if holds { "True" } else { "False" },
            "reason": "Accepted", "message": "", "observedGeneration": generation,
            "lastTransitionTime": "2021-03-03T03:03:03Z",
        })
    })
}

/// Lists as an API server admits them: each type once, at most eight.
fn stored_conditions(types: &'static [ConditionType]) -> impl Strategy<Value = Value> {
    vec(prop_oneof![foreign_condition(), old_condition(types)], 0..=MAX_CONDITIONS).prop_map(
        |mut list| {
            let mut seen = std::collections::BTreeSet::new();
            list.retain(|condition| seen.insert(condition["type"].to_string()));
            Value::Array(list)
        },
    )
}

fn our_conditions(types: &'static [ConditionType]) -> impl Strategy<Value = Vec<Condition>> {
    (subsequence(types, 0..=types.len()), vec(any::<bool>(), types.len())).prop_map(
        |(types, holds)| {
            types
                .into_iter()
                .zip(holds)
                .map(|(condition_type, holds)| {
                    let mut ours = condition(condition_type, 2);
                    if !holds {
                        ours.status = ConditionStatus::False;
                        ours.message = "something is wrong".to_owned();
                    }
                    ours
                })
                .collect()
        },
    )
}

fn name() -> impl Strategy<Value = String> {
    "[a-d]"
}

fn stored_gateway() -> impl Strategy<Value = Value> {
    let listener = (name(), stored_conditions(OF_LISTENERS)).prop_map(|(name, conditions)| {
        json!({"name": name, "supportedKinds": [], "attachedRoutes": 0, "conditions": conditions,
            "theirs": 1})
    });
    (stored_conditions(OF_GATEWAYS), vec(listener, 0..4), any::<bool>()).prop_map(
        |(conditions, mut listeners, has_address)| {
            let mut seen = std::collections::BTreeSet::new();
            listeners.retain(|listener| seen.insert(listener["name"].to_string()));
            let mut status =
                json!({"conditions": conditions, "listeners": listeners, "theirs": {"a": 1}});
            if has_address {
                status["addresses"] = json!([{"type": "IPAddress", "value": "192.0.2.7"}]);
            }
            status
        },
    )
}

fn our_gateway() -> impl Strategy<Value = Status> {
    let listener = (name(), our_conditions(OF_LISTENERS)).prop_map(|(name, conditions)| {
        let kind = RouteGroupKind { group: None, kind: "HTTPRoute".to_owned() };
        ListenerStatus { name, supported_kinds: vec![kind], attached_routes: 1, conditions }
    });
    let sets = prop::option::of(0..3);
    (our_conditions(OF_GATEWAYS), vec(listener, 0..4), 0..20u8, sets).prop_map(
        |(conditions, mut listeners, addresses, attached_listener_sets)| {
            let mut seen = std::collections::BTreeSet::new();
            listeners.retain(|listener| seen.insert(listener.name.clone()));
            let addresses = (0..addresses).map(|n| GatewayStatusAddress {
                address_type: AddressType::IpAddress,
                value: format!("192.0.2.{n}"),
                routability: None,
            });
            Status::Gateway(Box::new(GatewayStatus {
                addresses: addresses.collect(),
                conditions,
                listeners,
                attached_listener_sets,
            }))
        },
    )
}

fn parent_ref(name: &str) -> ParentReference {
    ParentReference {
        group: Some("gateway.networking.k8s.io".to_owned()),
        kind: Some("Gateway".to_owned()),
        namespace: None,
        name: name.to_owned(),
        section_name: None,
        port: None,
    }
}

/// The status of a route or of a policy.
fn stored_entries(list: &'static EntryList) -> impl Strategy<Value = Value> {
    let entry = (name(), any::<bool>(), stored_conditions(list.types)).prop_map(
        move |(name, ours, conditions)| {
            let controller = if ours { US } else { "example.com/other" };
            let reference = json(&parent_ref(&name));
            json!({
                list.reference: reference, "controllerName": controller, "conditions": conditions,
            })
        },
    );
    vec(entry, 0..=list.room).prop_map(move |entries| json!({list.field: entries}))
}

fn our_policy() -> impl Strategy<Value = Status> {
    vec((name(), our_conditions(OF_ANCESTORS)), 0..=MAX_ANCESTORS).prop_map(|ancestors| {
        let ancestors = ancestors.into_iter().map(|(name, conditions)| PolicyAncestorStatus {
            ancestor_ref: parent_ref(&name),
            controller_name: US.to_owned(),
            conditions,
        });
        Status::Policy(PolicyStatus { ancestors: ancestors.collect() })
    })
}

fn our_route() -> impl Strategy<Value = Status> {
    vec((name(), our_conditions(OF_PARENTS)), 0..=MAX_PARENTS).prop_map(|parents| {
        let parents: Arc<[RouteParentStatus]> = parents
            .into_iter()
            .map(|(name, conditions)| RouteParentStatus {
                parent_ref: parent_ref(&name),
                controller_name: US.to_owned(),
                conditions,
            })
            .collect();
        Status::Route(RouteStatus { parents })
    })
}

fn our_class() -> impl Strategy<Value = Status> {
    (our_conditions(OF_CLASSES), 0..3usize).prop_map(|(conditions, features)| {
        let supported_features =
            (0..features).map(|n| SupportedFeature { name: format!("F{n}") }).collect();
        Status::GatewayClass(Box::new(GatewayClassStatus { conditions, supported_features }))
    })
}

fn a_case() -> impl Strategy<Value = (Value, Status)> {
    let class = stored_conditions(OF_CLASSES).prop_map(|list| json!({"conditions": list}));
    prop_oneof![
        (prop_oneof![Just(Value::Null), class], our_class()),
        (prop_oneof![Just(Value::Null), stored_gateway()], our_gateway()),
        (prop_oneof![Just(Value::Null), stored_entries(&OF_ROUTES)], our_route()),
        (prop_oneof![Just(Value::Null), stored_entries(&OF_POLICIES)], our_policy()),
    ]
}

/// Everything in a status that is not ours, in its order, with the list that it stands in.
fn foreign(status: &Value) -> Vec<Value> {
    let types = [OF_CLASSES, OF_GATEWAYS, OF_LISTENERS, OF_PARENTS, OF_ANCESTORS].concat();
    let conditions = |place: &str, holder: &Value| -> Vec<Value> {
        let list = items(&holder["conditions"]).iter();
        list.filter(|entry| !types.iter().any(|known| entry["type"] == *known.as_str()))
            .map(|entry| json!([place, entry]))
            .collect()
    };
    let mut found = conditions("top", status);
    found.push(status["theirs"].clone());
    for entry in items(&status["parents"]).iter().chain(items(&status["ancestors"])) {
        if entry["controllerName"] != US {
            found.push(entry.clone());
        }
    }
    found
}

/// The lengths of all lists with a limit.
fn within_limits(status: &Value) -> bool {
    let short = |list: &Value, limit: usize| items(list).len() <= limit;
    let holders = [status].into_iter().chain(items(&status["listeners"]));
    let entries = items(&status["parents"]).iter().chain(items(&status["ancestors"]));
    let mut holders = holders.chain(entries);
    short(&status["listeners"], MAX_LISTENERS)
        && short(&status["parents"], MAX_PARENTS)
        && short(&status["ancestors"], MAX_ANCESTORS)
        && short(&status["addresses"], MAX_ADDRESSES)
        && holders.all(|holder| {
            short(&holder["conditions"], MAX_CONDITIONS)
                && items(&holder["conditions"]).iter().all(|condition| {
                    condition["message"].as_str().unwrap_or_default().chars().count() <= MAX_MESSAGE
                })
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// ST-1
    #[test]
    fn what_is_foreign_stays_as_it_is_and_limits_are_kept((before, ours) in a_case()) {
        let Some(after) = merged_at_2(&before, &ours) else { return Ok(()) };
        prop_assert_eq!(foreign(&before), foreign(&after));
        prop_assert!(within_limits(&after));
        for listener in items(&after["listeners"]) {
            let same = |it: &&Value| it["name"] == listener["name"];
            if let Some(before) = items(&before["listeners"]).iter().find(same) {
                prop_assert_eq!(foreign(before), foreign(listener));
            }
        }
    }

    #[test]
    fn a_second_merge_changes_nothing((before, ours) in a_case()) {
        let Some(after) = merged_at_2(&before, &ours) else { return Ok(()) };
        prop_assert_eq!(merged_at_2(&after, &ours), None);
    }

    #[test]
    fn what_is_ours_is_there_afterwards((before, ours) in a_case()) {
        let after = merged_at_2(&before, &ours).unwrap_or(before);
        let has = |holder: &Value, ours: &[Condition]| {
            items(&holder["conditions"]).len() == MAX_CONDITIONS || ours.iter().all(|ours| {
                items(&holder["conditions"]).iter().any(|entry| {
                    entry["type"] == *ours.condition_type.as_str()
                        && entry["status"] == *ours.status.as_str()
                        && entry["observedGeneration"] == ours.observed_generation
                })
            })
        };
        match &ours {
            Status::GatewayClass(class) => prop_assert!(has(&after, &class.conditions)),
            Status::Gateway(gateway) => {
                prop_assert!(has(&after, &gateway.conditions));
                prop_assert_eq!(items(&after["listeners"]).len(), gateway.listeners.len());
                for (ours, entry) in gateway.listeners.iter().zip(items(&after["listeners"])) {
                    prop_assert!(has(entry, &ours.conditions));
                }
            }
            Status::ListenerSet(set) => prop_assert!(has(&after, &set.conditions)),
            Status::Route(route) => {
                let entries = items(&after["parents"]).iter();
                let found = entries.filter(|entry| entry["controllerName"] == US).count();
                let room = MAX_PARENTS - (items(&after["parents"]).len() - found);
                prop_assert_eq!(found, route.parents.len().min(room));
            }
            Status::Policy(policy) => {
                let entries = items(&after["ancestors"]).iter();
                let found = entries.filter(|entry| entry["controllerName"] == US).count();
                let room = MAX_ANCESTORS - (items(&after["ancestors"]).len() - found);
                prop_assert_eq!(found, policy.ancestors.len().min(room));
            }
        }
    }

    #[test]
    fn the_patch_leads_from_the_stored_status_to_the_merged_one((before, ours) in a_case()) {
        let Some(after) = merged_at_2(&before, &ours) else { return Ok(()) };
        let patch = patch(&before, &after, "1");
        prop_assert_eq!(patched(json!({"status": before}), &patch)["status"].clone(), after);
    }
}

fn merged_at_2(before: &Value, ours: &Status) -> Option<Value> {
    merge(stored(before, ours, 2), ours, US, now()).status
}
