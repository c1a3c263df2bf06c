//! Whether an object still is as it was made.

use gwapi_model::Quantity;
use serde_json::Value;

use super::objects::Manifest;
use crate::fingerprint::fingerprint;

/// Annotation with the fingerprint of what was applied last.
///
/// It tells what a look at the object cannot: that something which is there was asked for once and
/// no longer is.
pub const APPLIED_ANNOTATION: &str = "gwapi.dev/applied";

/// Members whose texts and numbers are amounts, which an API server writes in a form of its own.
const AMOUNTS: [&str; 3] = ["requests", "limits", "sizeLimit"];

/// Members that Kubernetes keeps as one value: what somebody adds to a selector changes what all of
/// it selects.
const ATOMIC: [&str; 4] = ["selector", "labelSelector", "nodeSelector", "matchLabels"];

/// The manifest with its own fingerprint.
pub(super) fn sealed(mut manifest: Manifest) -> Manifest {
    let print = fingerprint(&manifest.object.to_string());
    manifest.object["metadata"]["annotations"][APPLIED_ANNOTATION] = Value::String(print);
    manifest
}

/// The fingerprint in a manifest that has it.
pub(super) fn seal(manifest: &Manifest) -> &Value {
    &manifest.object["metadata"]["annotations"][APPLIED_ANNOTATION]
}

/// Whether `live` has all that `wanted` says. What others added, and what the API server fills in, is
/// no drift, except in a member that is one value.
pub(super) fn covers(live: &Value, wanted: &Value) -> bool {
    differs(live, wanted, false).is_none()
}

/// The first field of `wanted` that `live` does not have, such as `spec.ports[0].port`.
pub(super) fn difference(live: &Value, wanted: &Value) -> Option<String> {
    differs(live, wanted, false).map(|path| path.trim_start_matches('.').to_owned())
}

/// What an API server keeps of `wanted`, as its answer shows: an empty text, `false` and 0 are to many fields what
/// they are without them, and are left out there. Which fields those are only the API server knows.
pub(super) fn kept(answer: &Value, wanted: &Value) -> Value {
    match (answer, wanted) {
        (Value::Object(answer), Value::Object(wanted)) => {
            let kept = wanted.iter().filter_map(|(name, member)| {
                let member = match answer.get(name) {
                    _ if ATOMIC.contains(&name.as_str()) => member.clone(),
                    Some(answer) => kept(answer, member),
                    None if is_zero(member) => return None,
                    None => member.clone(),
                };
                Some((name.clone(), member))
            });
            Value::Object(kept.collect())
        }
        (Value::Array(answer), Value::Array(wanted)) if wanted.iter().all(Value::is_object) => {
            let kept = wanted.iter().map(|item| {
                let mut found = answer.iter().map(|answer| (answer, kept(answer, item)));
                let found = found.find(|(answer, kept)| covers(answer, kept));
                found.map_or_else(|| item.clone(), |(_, kept)| kept)
            });
            Value::Array(kept.collect())
        }
        _ => wanted.clone(),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

fn differs(live: &Value, wanted: &Value, is_amount: bool) -> Option<String> {
    let is_same = match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            return wanted.iter().find_map(|(name, member)| {
                let is_amount = is_amount || AMOUNTS.contains(&name.as_str());
                let rest = match live.get(name) {
                    Some(live) if ATOMIC.contains(&name.as_str()) => {
                        (live != member).then(String::new)
                    }
                    Some(live) => differs(live, member, is_amount),
                    None => (!is_nothing(member)).then(String::new),
                }?;
                let is_plain = !name.contains(['.', '/']);
                Some(if is_plain { format!(".{name}{rest}") } else { format!("[{name}]{rest}") })
            });
        }
        // Lists of objects are sets to Kubernetes, others are sequences.
        (Value::Array(live), Value::Array(wanted)) if wanted.iter().all(Value::is_object) => {
            let is_there = |item: &Value| live.iter().any(|live| covers(live, item));
            let at = wanted.iter().position(|item| !is_there(item))?;
            let rest = live.get(at).and_then(|live| differs(live, &wanted[at], false));
            return Some(format!("[{at}]{}", rest.unwrap_or_default()));
        }
        (Value::String(live), Value::String(wanted)) if is_amount => same_amount(live, wanted),
        // What a user writes as a number, an API server keeps as a text.
        (Value::String(live), Value::Number(wanted)) if is_amount => {
            same_amount(live, &wanted.to_string())
        }
        (live, wanted) => live == wanted,
    };
    (!is_same).then(String::new)
}

/// What an API server does not keep.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn same_amount(one: &str, other: &str) -> bool {
    one == other
        || match (amount(one), amount(other)) {
            // Both come from short decimal texts, so that rounding is alike or far smaller.
            (Some(one), Some(other)) => (one - other).abs() <= one.abs() * 1e-9,
            _ => false,
        }
}

fn amount(text: &str) -> Option<f64> {
    const FACTORS: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    if !Quantity::new(text).is_valid() {
        return None;
    }
    let suffix = FACTORS
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, *factor)));
    let (number, factor) = suffix.unwrap_or((text, 1.0));
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kind::ManagedKind;
    use super::*;

    #[test]
    fn what_others_add_is_no_drift() {
        let wanted = json!({"spec": {"ports": [{"port": 80}], "args": ["a"], "emptyDir": {}}});
        let live = json!({
            "spec": {"ports": [{"port": 443}, {"port": 80, "nodePort": 30000}], "args": ["a"]},
            "status": {},
        });
        assert!(covers(&live, &wanted));
    }

    #[test]
    fn what_is_changed_or_gone_is_drift() {
        let wanted = json!({"spec": {"ports": [{"port": 80}], "args": ["a", "b"], "type": "X"}});
        for live in [
            json!({"spec": {"ports": [{"port": 81}], "args": ["a", "b"], "type": "X"}}),
            json!({"spec": {"ports": [{"port": 80}], "args": ["b", "a"], "type": "X"}}),
            json!({"spec": {"ports": [{"port": 80}], "args": ["a", "b"], "type": "Y"}}),
            json!({"spec": {"ports": [{"port": 80}], "args": ["a", "b"]}}),
            json!({}),
        ] {
            assert!(!covers(&live, &wanted), "{live}");
        }
    }

    #[test]
    fn what_is_added_to_a_selector_is_drift() {
        let service = |selector: Value| json!({"spec": {"selector": selector}});
        let wanted = service(json!({"app": "web"}));
        assert!(covers(&service(json!({"app": "web"})), &wanted));
        assert!(!covers(&service(json!({"app": "web", "added": "by hand"})), &wanted));
        let pods = |nodes: Value| {
            json!({"spec": {"template": {"spec": {
                "nodeSelector": nodes,
                "topologySpreadConstraints": [{"labelSelector": {"matchLabels": {"app": "web"}}}],
            }}}})
        };
        let wanted = pods(json!({"disk": "fast"}));
        assert!(covers(&pods(json!({"disk": "fast"})), &wanted));
        assert!(!covers(&pods(json!({"disk": "fast", "zone": "a"})), &wanted));
        let spread = json!({"spec": {"template": {"spec": {
            "nodeSelector": {"disk": "fast"},
            "topologySpreadConstraints": [
                {"labelSelector": {"matchLabels": {"app": "web", "added": "by hand"}}},
            ],
        }}}});
        assert!(!covers(&spread, &wanted));
    }

    #[test]
    fn the_field_that_differs_is_named() {
        let wanted = json!({"metadata": {"annotations": {"example.test/a": "1"}}, "spec": {
            "ports": [{"port": 80}, {"port": 81}], "selector": {"app": "web"}}});
        let differing = |pointer: &str, value: Value| {
            let mut live = wanted.clone();
            *live.pointer_mut(pointer).expect("it is there") = value;
            difference(&live, &wanted)
        };
        assert_eq!(difference(&wanted, &wanted), None);
        let found = differing("/metadata/annotations/example.test~1a", json!("2"));
        assert_eq!(found.as_deref(), Some("metadata.annotations[example.test/a]"));
        let found = differing("/spec/ports/1/port", json!(82));
        assert_eq!(found.as_deref(), Some("spec.ports[1].port"));
        let found = differing("/spec/selector", json!({"app": "web", "added": "x"}));
        assert_eq!(found.as_deref(), Some("spec.selector"));
    }

    #[test]
    fn an_amount_is_the_same_in_another_form() {
        let limits = |cpu: &str| json!({"resources": {"limits": {"cpu": cpu}}});
        for (live, wanted) in [("500m", "0.5"), ("1", "1000m"), ("1Gi", "1024Mi"), ("1k", "1e3")] {
            assert!(covers(&limits(live), &limits(wanted)), "{live} is {wanted}");
        }
        assert!(!covers(&limits("500m"), &limits("0.6")));
        assert!(!covers(&json!({"a": "500m"}), &json!({"a": "0.5"})), "only where amounts are");
    }

    /// YAML has numbers where nobody quotes them, and an API server keeps texts.
    #[test]
    fn an_amount_is_the_same_as_a_number() {
        let limits = |cpu: Value| json!({"resources": {"limits": {"cpu": cpu}}});
        for (live, wanted) in [("2", json!(2)), ("500m", json!(0.5)), ("1k", json!(1000))] {
            assert!(covers(&limits(json!(live)), &limits(wanted.clone())), "{live} is {wanted}");
        }
        assert!(!covers(&limits(json!("2")), &limits(json!(3))));
        assert!(!covers(&json!({"a": "2"}), &json!({"a": 2})), "only where amounts are");
    }

    /// What is empty, false or 0 is left out of an answer where that says the same. Elsewhere it is kept, and missed.
    #[test]
    fn what_an_api_server_keeps_of_a_manifest_is_what_its_answer_shows() {
        let container = |env: Value, context: Value| {
            json!({"name": "proxy", "env": [{"name": "A", "value": "1"}, env],
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp", "readOnly": false}],
                "readinessProbe": {"periodSeconds": 1, "initialDelaySeconds": 0},
                "securityContext": context})
        };
        let wanted = json!({"metadata": {"labels": {"empty": ""}}, "spec": {"containers": [
            container(json!({"name": "B", "value": ""}), json!({"allowPrivilegeEscalation": false})),
        ]}});
        let mut answer = wanted.clone();
        let container = &mut answer["spec"]["containers"][0];
        container["env"] = json!([{"name": "A", "value": "1"}, {"name": "B"}]);
        container["volumeMounts"] = json!([{"name": "tmp", "mountPath": "/tmp"}]);
        container["readinessProbe"] = json!({"periodSeconds": 1, "timeoutSeconds": 1});
        assert!(!covers(&answer, &wanted));
        let kept = kept(&answer, &wanted);
        assert!(covers(&answer, &kept));
        for gone in [
            "/metadata/labels/empty",
            "/spec/containers/0/securityContext/allowPrivilegeEscalation",
            "/spec/containers/0/readinessProbe/periodSeconds",
            "/spec/containers/0/env/0/value",
        ] {
            let (parent, name) = gone.rsplit_once('/').expect("a path");
            let mut live = answer.clone();
            let parent = live.pointer_mut(parent).and_then(Value::as_object_mut);
            parent.expect("it is there").remove(name).expect("it is there");
            assert!(!covers(&live, &kept), "{gone}");
        }
    }

    #[test]
    fn a_member_that_is_no_longer_asked_for_changes_the_seal() {
        let manifest = |object: Value| {
            sealed(Manifest { kind: ManagedKind::Service, name: "web".to_owned(), object })
        };
        let before = manifest(json!({"metadata": {}, "spec": {"a": 1, "b": 2}}));
        let after = manifest(json!({"metadata": {}, "spec": {"a": 1}}));
        assert!(!covers(&before.object, &after.object));
        assert!(covers(&after.object, &after.object));
    }
}
