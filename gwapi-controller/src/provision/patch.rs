//! What parameters lay over a pod template: a strategic merge patch.
//!
//! Objects are merged member by member and null takes a member out, as in RFC 7396. Lists whose
//! items Kubernetes tells apart by a key are merged item by item; all others are replaced. Directives
//! such as `$patch` are not understood, and the API server refuses them as members that it does not
//! know.

use serde_json::{Map, Value};

/// Lists that are merged item by item, by the name of the member that holds them, with the key. Ports
/// have their protocol for a second one.
const KEYS: [(&str, &str); 12] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("resourceClaims", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("ports", "containerPort"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
];

/// Lays `patch` over `target`.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(target), Value::Object(patch)) = (&mut *target, patch) else {
        *target = without_nulls(patch);
        return;
    };
    merge_members(target, patch);
}

fn merge_members(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, change) in patch {
        if change.is_null() {
            target.remove(name);
            continue;
        }
        let key = KEYS.iter().find(|(list, _)| list == name).map(|(_, key)| *key);
        match (target.get_mut(name), change, key) {
            (Some(Value::Array(items)), Value::Array(changes), Some(key)) => {
                merge_items(items, changes, key);
            }
            (Some(old), _, _) => merge(old, change),
            (None, _, _) => {
                target.insert(name.clone(), without_nulls(change));
            }
        }
    }
}

fn merge_items(items: &mut Vec<Value>, changes: &[Value], key: &str) {
    for change in changes {
        let same = |item: &&mut Value| is_same(item, change, key);
        match items.iter_mut().find(same) {
            Some(item) => merge(item, change),
            None => items.push(without_nulls(change)),
        }
    }
}

fn is_same(item: &Value, change: &Value, key: &str) -> bool {
    let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
    item.get(key).is_some()
        && item.get(key) == change.get(key)
        && (key != "containerPort" || protocol(item) == protocol(change))
}

/// A value as it is where nothing was: what a null would take out is not there.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(name, member)| (name.clone(), without_nulls(member)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: &Value) -> Value {
        merge(&mut target, patch);
        target
    }

    #[test]
    fn objects_are_merged_and_null_takes_out() {
        let target = json!({"spec": {"a": 1, "b": {"c": 2, "d": 3}}});
        let patch = json!({"spec": {"a": null, "b": {"c": 4}, "e": {"f": null, "g": 5}}});
        assert_eq!(merged(target, &patch), json!({"spec": {"b": {"c": 4, "d": 3}, "e": {"g": 5}}}));
    }

    #[test]
    fn containers_are_merged_by_name_and_others_are_added() {
        let target = json!({"containers": [{"name": "proxy", "image": "a", "env": [
            {"name": "X", "value": "1"}]}]});
        let patch = json!({"containers": [
            {"name": "proxy", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}]},
            {"name": "sidecar"},
        ]});
        let expected = json!({"containers": [
            {"name": "proxy", "image": "a", "env": [
                {"name": "X", "value": "3"}, {"name": "Y", "value": "2"}]},
            {"name": "sidecar"},
        ]});
        assert_eq!(merged(target, &patch), expected);
    }

    #[test]
    fn ports_are_told_apart_by_their_protocol_as_well() {
        let target = json!({"ports": [{"containerPort": 53, "protocol": "TCP", "name": "a"}]});
        let patch = json!({"ports": [
            {"containerPort": 53, "protocol": "UDP"},
            {"containerPort": 53, "name": "b"},
        ]});
        let expected = json!({"ports": [
            {"containerPort": 53, "protocol": "TCP", "name": "b"},
            {"containerPort": 53, "protocol": "UDP"},
        ]});
        assert_eq!(merged(target, &patch), expected);
    }

    #[test]
    fn other_lists_are_replaced() {
        let target = json!({"args": ["a", "b"], "tolerations": [{"key": "a"}]});
        let patch = json!({"args": ["c"], "tolerations": [{"key": "b"}]});
        assert_eq!(merged(target, &patch), patch);
    }
}
