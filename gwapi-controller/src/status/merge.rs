//! Our part of a status, merged into what an object has: pure, and the same answer every time.
//!
//! Others write into the same status: conditions of their own types, entries of routes for their own
//! Gateways. Both `parents` and the conditions of an entry are lists, so whoever writes one writes
//! all of it: what is not ours is carried over as it is, in its place (ST-1, ST-12).

use gwapi_model::jiff::Timestamp;
use gwapi_model::status::{Condition, ConditionType, GatewayStatus, ListenerStatus, Status};
use gwapi_model::{Kind, ParentReference};
use serde::Serialize;
use serde_json::{Map, Value};

/// Conditions in one list (ST-5).
pub const MAX_CONDITIONS: usize = 8;

/// Entries in `status.parents` of a route (ST-5).
pub const MAX_PARENTS: usize = 32;

/// Entries in `status.ancestors` of a policy (ST-5, BT-9).
pub const MAX_ANCESTORS: usize = 16;

/// The same of an XBackend.
pub const MAX_ANCESTORS_OF_X_BACKEND: usize = 32;

/// Entries in `status.listeners` of a Gateway or a ListenerSet (ST-5).
pub const MAX_LISTENERS: usize = 64;

/// Entries in `status.addresses` of a Gateway (ST-5).
pub const MAX_ADDRESSES: usize = 16;

/// Characters of a condition's message (ST-5).
pub const MAX_MESSAGE: usize = 32_768;

/// Types of conditions that are ours, by the place where they stand. One that we no longer have
/// anything to say about goes away; every other type belongs to somebody else.
const OF_CLASSES: &[ConditionType] = &[ConditionType::Accepted, ConditionType::SupportedVersion];
pub(super) const OF_GATEWAYS: &[ConditionType] = &[
    ConditionType::Accepted,
    ConditionType::Programmed,
    ConditionType::ResolvedRefs,
    ConditionType::InsecureFrontendValidationMode,
    ConditionType::DefaultGateway,
    ConditionType::AddressesAssigned,
];
pub(super) const OF_LISTENER_SETS: &[ConditionType] =
    &[ConditionType::Accepted, ConditionType::Programmed];
pub(super) const OF_LISTENERS: &[ConditionType] = &[
    ConditionType::Accepted,
    ConditionType::Programmed,
    ConditionType::ResolvedRefs,
    ConditionType::Conflicted,
    ConditionType::OverlappingTLSConfig,
];
const OF_ANCESTORS: &[ConditionType] = &[ConditionType::Accepted, ConditionType::ResolvedRefs];
const OF_PARENTS: &[ConditionType] =
    &[ConditionType::Accepted, ConditionType::ResolvedRefs, ConditionType::PartiallyInvalid];

/// What an object has, in one version of it.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Kind of the object: it says how much room there is.
    pub kind: Kind,
    /// `status`, or null where it has none.
    pub status: &'a Value,
    /// `metadata.generation`.
    pub generation: i64,
}

/// What came of a merge.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The whole status that the object should have; `None` where it is to be left as it is.
    pub status: Option<Value>,
    /// Conditions and entries of ours that found no room beside those of others (ST-5).
    pub omitted: usize,
}

/// Puts our part into a stored status.
///
/// The answer is to leave it when nothing would change (ST-3), and when the object has a newer
/// generation than the one that was judged: then a condition may already say more than ours, and
/// our answer to the newer one follows (ST-2).
pub fn merge(stored: Stored<'_>, ours: &Status, controller_name: &str, now: Timestamp) -> Merged {
    if observed_generation(ours).is_some_and(|judged| judged < stored.generation) {
        return Merged { status: None, omitted: 0 };
    }
    let mut merge = Merge { now, omitted: 0 };
    let mut status = stored.status.as_object().cloned().unwrap_or_default();
    match ours {
        Status::GatewayClass(class) => {
            merge.conditions(&mut status, &class.conditions, OF_CLASSES);
            set(&mut status, "supportedFeatures", &class.supported_features);
        }
        Status::Gateway(gateway) => merge.gateway(&mut status, gateway),
        Status::ListenerSet(set) => {
            merge.conditions(&mut status, &set.conditions, OF_LISTENER_SETS);
            merge.listeners(&mut status, &set.listeners);
        }
        Status::Route(route) => {
            let entries = route.parents.iter().map(|parent| Entry {
                reference: &parent.parent_ref,
                conditions: &parent.conditions,
            });
            merge.entries(&mut status, &OF_ROUTES, entries.collect(), controller_name);
        }
        Status::Policy(policy) => {
            let entries = policy.ancestors.iter().map(|ancestor| Entry {
                reference: &ancestor.ancestor_ref,
                conditions: &ancestor.conditions,
            });
            let list = match stored.kind {
                Kind::XBackend => &OF_X_BACKENDS,
                _ => &OF_POLICIES,
            };
            merge.entries(&mut status, list, entries.collect(), controller_name);
        }
    }
    let is_changed = stored.status.as_object() != Some(&status);
    Merged { status: is_changed.then_some(Value::Object(status)), omitted: merge.omitted }
}

/// The generation that a status judges; all of its conditions judge the same one.
pub fn observed_generation(status: &Status) -> Option<i64> {
    let conditions = match status {
        Status::GatewayClass(class) => &class.conditions,
        Status::Gateway(gateway) => &gateway.conditions,
        Status::ListenerSet(set) => &set.conditions,
        Status::Route(route) => &route.parents.first()?.conditions,
        Status::Policy(policy) => &policy.ancestors.first()?.conditions,
    };
    conditions.iter().map(|condition| condition.observed_generation).max()
}

/// A merge patch that leads from a stored status to a merged one. With the resource version of the
/// stored one it is refused by the API server when somebody else wrote in between.
pub fn patch(stored: &Value, merged: &Value, resource_version: &str) -> Value {
    let mut status = merged.as_object().cloned().unwrap_or_default();
    for field in stored.as_object().into_iter().flat_map(Map::keys) {
        status.entry(field.clone()).or_insert(Value::Null);
    }
    serde_json::json!({"metadata": {"resourceVersion": resource_version}, "status": status})
}

/// A list in which each controller has entries of its own.
struct EntryList {
    field: &'static str,
    /// The field of an entry that says what it is about.
    reference: &'static str,
    room: usize,
    types: &'static [ConditionType],
}

const OF_ROUTES: EntryList =
    EntryList { field: "parents", reference: "parentRef", room: MAX_PARENTS, types: OF_PARENTS };
const OF_POLICIES: EntryList = EntryList {
    field: "ancestors",
    reference: "ancestorRef",
    room: MAX_ANCESTORS,
    types: OF_ANCESTORS,
};
const OF_X_BACKENDS: EntryList = EntryList { room: MAX_ANCESTORS_OF_X_BACKEND, ..OF_POLICIES };

/// An entry of ours.
struct Entry<'a> {
    reference: &'a ParentReference,
    conditions: &'a [Condition],
}

struct Merge {
    now: Timestamp,
    omitted: usize,
}

impl Merge {
    fn gateway(&mut self, status: &mut Map<String, Value>, ours: &GatewayStatus) {
        self.conditions(status, &ours.conditions, OF_GATEWAYS);
        let addresses = self.at_most(MAX_ADDRESSES, &ours.addresses);
        set(status, "addresses", addresses);
        match ours.attached_listener_sets {
            Some(count) => status.insert("attachedListenerSets".to_owned(), json(&count)),
            None => status.remove("attachedListenerSets"),
        };
        self.listeners(status, &ours.listeners);
    }

    /// Each listener of the spec has exactly one entry, and no other listener has one.
    fn listeners(&mut self, status: &mut Map<String, Value>, ours: &[ListenerStatus]) {
        let stored = status.remove("listeners").unwrap_or_default();
        let listeners: Vec<Value> = self
            .at_most(MAX_LISTENERS, ours)
            .iter()
            .map(|listener| self.listener(&stored, listener))
            .collect();
        set(status, "listeners", &listeners);
    }

    /// ST-12: an entry is made anew by the name of its listener, and keeps what others said in it.
    fn listener(&mut self, stored: &Value, ours: &ListenerStatus) -> Value {
        let mut entry = items(stored)
            .iter()
            .find(|entry| entry["name"] == *ours.name)
            .and_then(|entry| entry.as_object().cloned())
            .unwrap_or_default();
        entry.insert("name".to_owned(), json(&ours.name));
        entry.insert("supportedKinds".to_owned(), json(&ours.supported_kinds));
        entry.insert("attachedRoutes".to_owned(), json(&ours.attached_routes));
        self.conditions(&mut entry, &ours.conditions, OF_LISTENERS);
        Value::Object(entry)
    }

    /// RT-6, BT-9: entries of other controllers stay; ours are those of `ours` and no others (ST-6).
    fn entries(
        &mut self,
        status: &mut Map<String, Value>,
        list: &EntryList,
        ours: Vec<Entry<'_>>,
        controller_name: &str,
    ) {
        let stored = status.remove(list.field).unwrap_or_default();
        let is_ours = |entry: &Value| entry["controllerName"] == *controller_name;
        let foreign = items(&stored).iter().filter(|entry| !is_ours(entry)).count();
        let room = list.room.saturating_sub(foreign);
        let mut pending: Vec<&Entry<'_>> = self.at_most(room, &ours).iter().collect();
        let mut merged = Vec::with_capacity(foreign + pending.len());
        for entry in items(&stored) {
            if !is_ours(entry) {
                merged.push(entry.clone());
                continue;
            }
            let same = |ours: &&Entry<'_>| json(ours.reference) == entry[list.reference];
            if let Some(position) = pending.iter().position(same) {
                let ours = pending.remove(position);
                merged.push(self.entry(entry.as_object(), list, ours, controller_name));
            }
        }
        let new = pending.into_iter().map(|ours| self.entry(None, list, ours, controller_name));
        merged.extend(new);
        // It is a required field: a list without entries is a list.
        status.insert(list.field.to_owned(), Value::Array(merged));
    }

    fn entry(
        &mut self,
        stored: Option<&Map<String, Value>>,
        list: &EntryList,
        ours: &Entry<'_>,
        controller_name: &str,
    ) -> Value {
        let mut entry = stored.cloned().unwrap_or_default();
        entry.insert(list.reference.to_owned(), json(ours.reference));
        entry.insert("controllerName".to_owned(), json(controller_name));
        self.conditions(&mut entry, ours.conditions, list.types);
        Value::Object(entry)
    }

    /// Conditions are a map by type: ours replace those of their types, the defaults of the CRDs
    /// among them (ST-9); the others keep their places, and their room within the limit.
    fn conditions(
        &mut self,
        holder: &mut Map<String, Value>,
        ours: &[Condition],
        types: &[ConditionType],
    ) {
        let stored = holder.remove("conditions").unwrap_or_default();
        let is_ours = |entry: &Value| {
            let mut types = types.iter().chain(ours.iter().map(|ours| &ours.condition_type));
            types.any(|known| entry["type"] == *known.as_str())
        };
        let foreign = items(&stored).iter().filter(|entry| !is_ours(entry)).count();
        let mut pending: Vec<&Condition> =
            self.at_most(MAX_CONDITIONS.saturating_sub(foreign), ours).iter().collect();
        let mut merged = Vec::with_capacity(foreign + pending.len());
        for entry in items(&stored) {
            if !is_ours(entry) {
                merged.push(entry.clone());
                continue;
            }
            let same = |ours: &&Condition| entry["type"] == *ours.condition_type.as_str();
            if let Some(position) = pending.iter().position(same) {
                merged.push(self.condition(entry, pending.remove(position)));
            }
        }
        merged.extend(pending.into_iter().map(|ours| self.condition(&Value::Null, ours)));
        holder.insert("conditions".to_owned(), Value::Array(merged));
    }

    /// ST-3: the time moves with the status, and with nothing else.
    fn condition(&self, stored: &Value, ours: &Condition) -> Value {
        let mut written = Condition { last_transition_time: None, ..ours.clone() };
        if let Some((end, _)) = written.message.char_indices().nth(MAX_MESSAGE) {
            written.message.truncate(end);
        }
        let mut written = json(&written);
        let fields = written.as_object_mut().expect("a condition is an object");
        if fields.iter().all(|(name, value)| stored.get(name) == Some(value)) {
            return stored.clone();
        }
        let kept = (stored["status"] == fields["status"])
            .then(|| stored["lastTransitionTime"].as_str()?.parse::<Timestamp>().ok())
            .flatten()
            // The CRDs' defaults say 1970.
            .filter(|time| *time > Timestamp::UNIX_EPOCH);
        let time = Timestamp::from_second(kept.unwrap_or(self.now).as_second())
            .expect("the seconds of a time are a time");
        fields.insert("lastTransitionTime".to_owned(), json(&time));
        written
    }

    /// The first ones, as many as there is room for.
    fn at_most<'a, T>(&mut self, room: usize, ours: &'a [T]) -> &'a [T] {
        let taken = ours.len().min(room);
        self.omitted += ours.len() - taken;
        &ours[..taken]
    }
}

/// Sets a list, or takes the field out where there is nothing to list.
fn set<T: Serialize>(holder: &mut Map<String, Value>, field: &str, list: &[T]) {
    if list.is_empty() {
        holder.remove(field);
    } else {
        holder.insert(field.to_owned(), json(list));
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn json<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).expect("parts of a status have nothing that JSON cannot hold")
}

#[cfg(test)]
mod tests;
