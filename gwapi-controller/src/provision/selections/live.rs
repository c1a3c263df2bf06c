//! What is there: Services that were made for XBackends, as the watch has seen them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::{Kind, NamespacedName};
use kube::core::DynamicObject;
use serde_json::Value;

use super::super::live::{Seen, Stream, is_outdated, owner_of_kind};
use super::service::is_of_controller;

/// A Service that was made for an XBackend.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// Which of all Services of this name it is.
    pub(super) uid: String,
    /// The XBackend, and which of all of its name it is.
    pub(super) backend: NamespacedName,
    pub(super) backend_uid: String,
    /// Whether this controller made it, and not another one.
    pub(super) is_ours: bool,
    /// Whether it is going away.
    pub(super) is_terminating: bool,
    /// When it was made, as a text that sorts.
    pub(super) created: String,
    /// All of it, without the managed fields.
    pub(super) object: Value,
}

impl Made {
    /// What an object is to a controller; `None` where it belongs to no XBackend.
    pub(super) fn of(mut object: DynamicObject, controller_name: &str) -> Option<Self> {
        let metadata = &mut object.metadata;
        metadata.managed_fields = None;
        let owner = owner_of_kind(Kind::XBackend, metadata)?;
        let backend = NamespacedName::new(metadata.namespace.as_deref()?, owner.name.as_str());
        let backend_uid = owner.uid.clone();
        let is_ours = is_of_controller(metadata.labels.as_ref(), controller_name);
        let created = metadata.creation_timestamp.as_ref().map(|it| it.0.to_string());
        Some(Self {
            uid: metadata.uid.clone()?,
            backend,
            backend_uid,
            is_ours,
            is_terminating: metadata.deletion_timestamp.is_some(),
            created: created.unwrap_or_default(),
            object: serde_json::to_value(object).ok()?,
        })
    }

    /// Whether this controller made it for an XBackend of this name, and it stays.
    pub(super) fn is_for(&self, backend: &NamespacedName) -> bool {
        self.is_ours && self.backend == *backend && !self.is_terminating
    }
}

/// Namespace and name of a Service.
pub(super) type Place = (String, String);

/// Whom something that was seen concerns.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Concerned {
    /// Those for which the Services were made.
    pub(super) backends: BTreeSet<NamespacedName>,
    /// Whoever has taken these Services for users', or would now.
    pub(super) services: BTreeSet<Place>,
}

/// What was made in one namespace, by name.
pub(super) type Services = BTreeMap<String, Arc<Made>>;

/// Everything that is there.
#[derive(Debug, Default)]
pub(super) struct Store {
    controller_name: String,
    /// By namespace.
    made: BTreeMap<String, Services>,
    /// What a list has named so far.
    listed: BTreeMap<Stream, BTreeSet<Place>>,
    /// Streams that have listed once, or cannot be listed.
    synced: BTreeSet<Stream>,
}

impl Store {
    /// A store that knows nothing yet.
    pub(super) fn new(controller_name: String) -> Self {
        Self { controller_name, ..Self::default() }
    }

    /// What was made in a namespace.
    pub(super) fn services(&self, namespace: &str) -> &Services {
        static NONE: Services = Services::new();
        self.made.get(namespace).unwrap_or(&NONE)
    }

    /// The XBackends for which this controller has made something, gone or not.
    pub(super) fn backends(&self) -> impl Iterator<Item = &NamespacedName> {
        let made = self.made.values().flat_map(BTreeMap::values);
        made.filter(|it| it.is_ours).map(|it| &it.backend)
    }

    /// Whether a stream has listed once, or cannot be listed.
    pub(super) fn is_synced(&self, stream: &Stream) -> bool {
        self.synced.contains(stream)
    }

    /// A stream cannot be listed: nobody waits for it.
    pub(super) fn give_up(&mut self, stream: &Stream) {
        self.synced.insert(stream.clone());
    }

    /// Takes in what the watch tells.
    pub(super) fn see(&mut self, stream: &Stream, seen: Seen) -> Concerned {
        let mut concerned = Concerned::default();
        match seen {
            Seen::Init => _ = self.listed.insert(stream.clone(), BTreeSet::new()),
            Seen::Apply(object) => match self.listed.get_mut(stream) {
                // A list says what is there, whatever was there before.
                Some(listed) => {
                    listed.insert(place(&object));
                    self.put(*object, &mut concerned);
                }
                None => self.learn(*object, &mut concerned),
            },
            Seen::Delete(object) => self.remove(place(&object), &mut concerned),
            Seen::InitDone => {
                self.synced.insert(stream.clone());
                self.forget_unlisted(stream, &mut concerned);
            }
        }
        concerned
    }

    /// Takes in an object, unless a later version of it is known: the answer to a request of ours and what the
    /// watch tells come in any order.
    pub(super) fn learn(&mut self, object: DynamicObject, concerned: &mut Concerned) {
        let (namespace, name) = place(&object);
        let known = self.services(&namespace).get(&name);
        if !known.is_some_and(|known| is_outdated(&object, &known.object)) {
            self.put(object, concerned);
        }
    }

    /// A Service is gone.
    pub(super) fn forget(&mut self, service: Place, uid: &str, concerned: &mut Concerned) {
        let known = self.services(&service.0).get(&service.1);
        if known.is_some_and(|known| known.uid == uid) {
            self.remove(service, concerned);
        }
    }

    /// A Service was deleted, and is gone or will be: the watch tells when.
    pub(super) fn leave(&mut self, namespace: &str, name: &str, uid: &str) {
        let made = self.made.get_mut(namespace).and_then(|made| made.get_mut(name));
        if let Some(made) = made.filter(|made| made.uid == uid) {
            Arc::make_mut(made).is_terminating = true;
        }
    }

    fn put(&mut self, object: DynamicObject, concerned: &mut Concerned) {
        let place = place(&object);
        let Some(made) = Made::of(object, &self.controller_name) else {
            // It may have been an XBackend's until now.
            return self.remove(place, concerned);
        };
        concerned.backends.insert(made.backend.clone());
        let known = self.made.entry(place.0.clone()).or_default();
        match known.insert(place.1.clone(), Arc::new(made)) {
            Some(before) => _ = concerned.backends.insert(before.backend.clone()),
            None => _ = concerned.services.insert(place),
        }
    }

    fn remove(&mut self, place: Place, concerned: &mut Concerned) {
        let Some(made) = self.made.get_mut(&place.0) else { return };
        if let Some(before) = made.remove(&place.1) {
            concerned.backends.insert(before.backend.clone());
            if made.is_empty() {
                self.made.remove(&place.0);
            }
            concerned.services.insert(place);
        }
    }

    fn forget_unlisted(&mut self, stream: &Stream, concerned: &mut Concerned) {
        let listed = self.listed.remove(stream).unwrap_or_default();
        let made = self.made.iter();
        let made = made.filter(|(it, _)| stream.namespace.is_empty() || **it == stream.namespace);
        let places = made.flat_map(|(it, made)| made.keys().map(|name| (it.clone(), name.clone())));
        let gone: Vec<Place> = places.filter(|place| !listed.contains(place)).collect();
        gone.into_iter().for_each(|place| self.remove(place, concerned));
    }
}

fn place(object: &DynamicObject) -> Place {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (text(&object.metadata.namespace), text(&object.metadata.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::kind::ManagedKind;
    use super::*;

    const CONTROLLER: &str = "gwapi.dev/gateway-controller";

    fn stream() -> Stream {
        Stream { kind: Some(ManagedKind::Service), namespace: String::new() }
    }

    fn service(name: &str, owner: &str, version: u32) -> Box<DynamicObject> {
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "namespace": "shop", "name": name, "uid": format!("uid-of-{name}"),
                "resourceVersion": version.to_string(),
                "labels": {"gwapi.dev/controller": "gwapi.dev_gateway-controller"},
                "ownerReferences": [{
                    "apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": owner,
                    "name": "pods", "uid": "uid-of-pods", "controller": true}],
            },
        });
        Box::new(serde_json::from_value(object).expect("an object"))
    }

    fn names(store: &Store) -> Vec<&str> {
        store.services("shop").keys().map(String::as_str).collect()
    }

    fn see(store: &mut Store, seen: Seen) -> (bool, usize) {
        let concerned = store.see(&stream(), seen);
        let is_of_pods = concerned.backends.contains(&NamespacedName::new("shop", "pods"));
        (is_of_pods, concerned.services.len())
    }

    #[test]
    fn a_service_counts_as_long_as_an_x_backend_owns_it() {
        let mut store = Store::new(CONTROLLER.to_owned());
        assert_eq!(see(&mut store, Seen::Apply(service("a", "XBackend", 1))), (true, 1));
        assert_eq!(names(&store), ["a"]);
        assert!(store.services("shop")["a"].is_for(&NamespacedName::new("shop", "pods")));
        assert_eq!(see(&mut store, Seen::Apply(service("a", "XBackend", 2))), (true, 0));
        assert_eq!(see(&mut store, Seen::Apply(service("b", "Gateway", 3))), (false, 0));
        assert_eq!(names(&store), ["a"], "the label alone says nothing");
        assert_eq!(see(&mut store, Seen::Apply(service("a", "Example", 4))), (true, 1));
        assert_eq!(names(&store), [""; 0]);
    }

    #[test]
    fn what_another_controller_made_is_not_ours_and_nobody_elses() {
        let mut store = Store::new("example.com/other".to_owned());
        store.see(&stream(), Seen::Apply(service("a", "XBackend", 1)));
        assert_eq!(names(&store), ["a"]);
        assert!(!store.services("shop")["a"].is_ours);
        assert_eq!(store.backends().count(), 0);
    }

    #[test]
    fn a_list_ends_what_it_does_not_name_and_answers_come_in_any_order() {
        let mut store = Store::new(CONTROLLER.to_owned());
        let mut concerned = Concerned::default();
        store.learn(*service("a", "XBackend", 7), &mut concerned);
        store.learn(*service("a", "Example", 6), &mut concerned);
        assert_eq!(names(&store), ["a"], "the later version counts");
        store.leave("shop", "a", "another");
        assert!(!store.services("shop")["a"].is_terminating);
        store.leave("shop", "a", "uid-of-a");
        assert!(store.services("shop")["a"].is_terminating);
        store.see(&stream(), Seen::Init);
        store.see(&stream(), Seen::Apply(service("b", "XBackend", 8)));
        assert_eq!(see(&mut store, Seen::InitDone), (true, 1));
        assert_eq!(names(&store), ["b"]);
        assert!(store.is_synced(&stream()));
        let mut forget = |uid: &str| {
            store.forget(("shop".to_owned(), "b".to_owned()), uid, &mut concerned);
            names(&store).len()
        };
        assert_eq!((forget("another"), forget("uid-of-b")), (1, 0));
    }
}
