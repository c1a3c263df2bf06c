//! Taking our part out of a status, when an object is no longer ours to judge (ST-6).
//!
//! Entries of routes carry the name of their controller. The conditions of a Gateway or a ListenerSet do not,
//! and the next controller writes the same types: there the API server's own record tells, in
//! `metadata.managedFields`, which fields we were the last to change. It outlives a restart, and what
//! another controller has written since then is no longer ours.

use std::collections::{BTreeMap, BTreeSet};

use gwapi_model::Kind;
use gwapi_model::status::ConditionType;
use serde_json::{Map, Value};

use super::merge::{OF_GATEWAYS, OF_LISTENER_SETS, OF_LISTENERS};

/// The fields of a status that a field manager was the last to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedFields {
    conditions: BTreeSet<String>,
    listeners: BTreeMap<String, BTreeSet<String>>,
    addresses: bool,
    attached_listener_sets: bool,
}

impl OwnedFields {
    /// Reads `metadata.managedFields`. What cannot be read is not ours.
    pub fn of(managed_fields: &Value, manager: &str) -> Self {
        let mut owned = Self::default();
        let entries = managed_fields.as_array().into_iter().flatten();
        for entry in entries.filter(|entry| entry["manager"] == *manager) {
            let status = &entry["fieldsV1"]["f:status"];
            owned.conditions.extend(keys(&status["f:conditions"], "type"));
            for (key, fields) in status["f:listeners"].as_object().into_iter().flatten() {
                if let Some(name) = key_of(key, "name") {
                    let conditions = owned.listeners.entry(name).or_default();
                    conditions.extend(keys(&fields["f:conditions"], "type"));
                }
            }
            owned.addresses |= status.get("f:addresses").is_some();
            owned.attached_listener_sets |= status.get("f:attachedListenerSets").is_some();
        }
        owned
    }

    /// Whether there is nothing of ours.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The status without our part; `None` where nothing of it is ours.
pub fn withdraw(
    stored: &Value,
    kind: Kind,
    owned: &OwnedFields,
    controller_name: &str,
) -> Option<Value> {
    let mut status = stored.as_object()?.clone();
    match kind {
        Kind::Gateway => withdraw_gateway(&mut status, owned),
        Kind::ListenerSet => withdraw_listeners(&mut status, owned, OF_LISTENER_SETS),
        _ => {
            let entries = status.get_mut(entries_of(kind))?.as_array_mut()?;
            entries.retain(|entry| entry["controllerName"] != *controller_name);
        }
    }
    (stored.as_object() != Some(&status)).then_some(Value::Object(status))
}

/// The field in which each controller has entries of its own.
fn entries_of(kind: Kind) -> &'static str {
    match kind {
        Kind::BackendTlsPolicy
        | Kind::BackendTrafficPolicy
        | Kind::TelemetryPolicy
        | Kind::XBackend => "ancestors",
        _ => "parents",
    }
}

fn withdraw_gateway(status: &mut Map<String, Value>, owned: &OwnedFields) {
    withdraw_listeners(status, owned, OF_GATEWAYS);
    if owned.addresses {
        status.remove("addresses");
    }
    if owned.attached_listener_sets {
        status.remove("attachedListenerSets");
    }
}

fn withdraw_listeners(
    status: &mut Map<String, Value>,
    owned: &OwnedFields,
    types: &[ConditionType],
) {
    take_conditions(status, &owned.conditions, types);
    let Some(listeners) = status.get_mut("listeners").and_then(Value::as_array_mut) else { return };
    listeners.retain_mut(|listener| {
        let name = listener["name"].as_str().unwrap_or_default();
        let (Some(owned), Some(entry)) = (owned.listeners.get(name), listener.as_object_mut())
        else {
            return true;
        };
        take_conditions(entry, owned, OF_LISTENERS);
        entry.contains_key("conditions")
    });
    if listeners.is_empty() {
        status.remove("listeners");
    }
}

/// Takes conditions of ours out; without any left, the field goes, and the API server puts the
/// CRD's default in its place.
fn take_conditions(
    holder: &mut Map<String, Value>,
    owned: &BTreeSet<String>,
    types: &[ConditionType],
) {
    let Some(conditions) = holder.get_mut("conditions").and_then(Value::as_array_mut) else {
        return;
    };
    conditions.retain(|condition| {
        let condition_type = condition["type"].as_str().unwrap_or_default();
        let is_ours = owned.contains(condition_type)
            && types.iter().any(|known| known.as_str() == condition_type);
        !is_ours || is_default(condition)
    });
    if conditions.is_empty() {
        holder.remove("conditions");
    }
}

/// Whether a condition is the CRD's default: it counts as changed by whoever left its place empty.
fn is_default(condition: &Value) -> bool {
    condition["status"] == "Unknown"
        && condition["reason"] == "Pending"
        && condition["lastTransitionTime"].as_str().is_some_and(|time| time.starts_with("1970-"))
}

/// The names in keys such as `k:{"type":"Accepted"}`.
fn keys<'a>(fields: &'a Value, name: &'a str) -> impl Iterator<Item = String> + 'a {
    fields.as_object().into_iter().flat_map(Map::keys).filter_map(move |key| key_of(key, name))
}

fn key_of(key: &str, name: &str) -> Option<String> {
    let key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
    key[name].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const US: &str = "gwapi.dev/gateway-controller";

    fn owned() -> OwnedFields {
        let fields = json!([
            {"manager": "kubectl", "fieldsV1": {"f:spec": {}}},
            {"manager": "other", "subresource": "status", "fieldsV1": {
                "f:status": {"f:conditions": {"k:{\"type\":\"Programmed\"}": {}}},
            }},
            {"manager": US, "subresource": "status", "fieldsV1": {"f:status": {
                "f:addresses": {},
                "f:conditions": {".": {}, "k:{\"type\":\"Accepted\"}": {"f:reason": {}}},
                "f:listeners": {"k:{\"name\":\"http\"}": {
                    "f:conditions": {"k:{\"type\":\"Accepted\"}": {}},
                }},
            }}},
        ]);
        OwnedFields::of(&fields, US)
    }

    #[test]
    fn of_a_gateway_goes_what_we_changed_last_and_stays_what_another_controller_wrote() {
        let stored = json!({
            "addresses": [{"type": "IPAddress", "value": "192.0.2.1"}],
            "conditions": [
                {"type": "Accepted", "status": "True"},
                {"type": "Programmed", "status": "True", "reason": "Programmed"},
                {"type": "example.com/Audited", "status": "True"},
            ],
            "listeners": [
                {"name": "http", "conditions": [{"type": "Accepted", "status": "True"}]},
                {"name": "https", "conditions": [{"type": "Accepted", "status": "True"}]},
            ],
        });
        let left = withdraw(&stored, Kind::Gateway, &owned(), US).expect("something was ours");
        assert_eq!(
            left,
            json!({
                "conditions": [stored["conditions"][1], stored["conditions"][2]],
                "listeners": [stored["listeners"][1]],
            })
        );
        assert_eq!(withdraw(&left, Kind::Gateway, &owned(), US), None);
    }

    #[test]
    fn defaults_that_took_the_place_of_ours_are_not_taken_out_again() {
        let stored = json!({"conditions": [{
            "type": "Accepted", "status": "Unknown", "reason": "Pending",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }]});
        assert_eq!(withdraw(&stored, Kind::Gateway, &owned(), US), None);
    }

    /// ST-6
    #[test]
    fn of_a_route_go_the_entries_with_our_name() {
        let stored = json!({"parents": [
            {"controllerName": "example.com/other", "parentRef": {"name": "a"}},
            {"controllerName": US, "parentRef": {"name": "b"}},
        ]});
        let left = withdraw(&stored, Kind::HttpRoute, &OwnedFields::default(), US);
        assert_eq!(left, Some(json!({"parents": [stored["parents"][0]]})));
        let left = left.expect("just compared");
        assert_eq!(withdraw(&left, Kind::HttpRoute, &OwnedFields::default(), US), None);
    }

    #[test]
    fn managed_fields_that_cannot_be_read_own_nothing() {
        for broken in [json!(null), json!([{"manager": US, "fieldsV1": {"f:status": 1}}])] {
            assert!(OwnedFields::of(&broken, US).is_empty(), "{broken}");
        }
        let odd = json!([{"manager": US, "fieldsV1": {"f:status": {"f:conditions": {"v:1": {}}}}}]);
        assert!(OwnedFields::of(&odd, US).is_empty());
    }
}
