//! What is there: the objects and pods that the controller made, as its watches have seen them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::Kind;
use gwapi_translate::ir::GatewayId;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::DynamicObject;
use serde_json::Value;

use super::kind::ManagedKind;
use super::objects::INSTANCE_LABEL;
use super::pods::PodView;

/// An object that is there.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// Which of all objects of this name it is.
    pub(super) uid: String,
    /// The Gateway that owns it, by its uid.
    pub(super) owner_uid: String,
    /// Whether it is going away.
    pub(super) is_terminating: bool,
    /// All of it, without the managed fields.
    pub(super) object: Value,
}

impl Live {
    /// Whether it is there to stay, and belongs to the Gateway with this uid.
    pub(super) fn is_of(&self, owner: &str) -> bool {
        self.owner_uid == owner && !self.is_terminating
    }
}

/// The Gateway that an object belongs to.
pub(crate) fn owner(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    owner_of_kind(Kind::Gateway, metadata)
}

/// The object of a kind that an object belongs to.
pub(super) fn owner_of_kind(kind: Kind, metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| {
        let group = owner.api_version.split_once('/').map(|(group, _)| group);
        owner.kind == kind.as_str() && group == Some(kind.group()) && owner.controller == Some(true)
    })
}

/// The Gateway that an object belongs to, and the object; `None` where no Gateway owns it.
pub(super) fn owned(mut object: DynamicObject) -> Option<(GatewayId, Live)> {
    let owner = owner(&object.metadata)?;
    let gateway = GatewayId::new(object.metadata.namespace.clone()?, owner.name.clone());
    let owner_uid = owner.uid.clone();
    object.metadata.managed_fields = None;
    let live = Live {
        uid: object.metadata.uid.clone()?,
        owner_uid,
        is_terminating: object.metadata.deletion_timestamp.is_some(),
        object: serde_json::to_value(object).ok()?,
    };
    Some((gateway, live))
}

/// Kind and name of an object.
pub(super) type Key = (ManagedKind, String);

/// What is there for one Gateway.
pub(super) type LiveObjects = BTreeMap<Key, Arc<Live>>;

/// What is there for one Gateway, with what goes told apart: that serves nobody any more, and keeps its name until
/// it is gone, which for a Service takes as long as its load balancer is taken down.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What is there to stay, and belongs to the Gateway.
    pub(super) objects: LiveObjects,
    /// What is being deleted, or belongs to a former Gateway of the name.
    leaving: BTreeSet<Key>,
}

impl Standing {
    /// What there is to the Gateway with the uid `owner`.
    pub(super) fn of(owner: &str, live: &LiveObjects) -> Self {
        let mut standing = Self::default();
        for (key, it) in live {
            if it.is_of(owner) {
                standing.objects.insert(key.clone(), Arc::clone(it));
            } else {
                standing.leaving.insert(key.clone());
            }
        }
        standing
    }

    /// The Services that are there to stay.
    pub(super) fn services(&self) -> impl Iterator<Item = &Value> {
        let services = self.objects.iter().filter(|(key, _)| key.0 == ManagedKind::Service);
        services.map(|(_, it)| &it.object)
    }

    /// The Service of this name, if it is there to stay.
    pub(super) fn service(&self, name: &str) -> Option<&Value> {
        let service = self.objects.get(&(ManagedKind::Service, name.to_owned()));
        service.map(|it| &it.object)
    }

    /// Whether a Service has this name that goes.
    pub(super) fn has_leaving_service(&self, name: &str) -> bool {
        self.leaving.contains(&(ManagedKind::Service, name.to_owned()))
    }
}

/// Which stream of a watch an object came by: a kind in a namespace, or in all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stream {
    /// The kind; `None` for pods.
    pub(super) kind: Option<ManagedKind>,
    /// The namespace; empty for all.
    pub(super) namespace: String,
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Seen {
    /// A list begins.
    Init,
    /// An object is there.
    Apply(Box<DynamicObject>),
    /// An object is gone.
    Delete(Box<DynamicObject>),
    /// The list ends: what it had not is gone.
    InitDone,
}

/// Whom something that was seen concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Concerns {
    /// A Gateway.
    Gateway(GatewayId),
    /// Whose pods bear this name, in this namespace.
    Instance(String, String),
}

/// Kind, namespace and name; no kind stands for pods.
type Place = (Option<ManagedKind>, String, String);

/// Everything that is there.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<GatewayId, LiveObjects>,
    /// By namespace and the name of what they are instances of.
    pods: BTreeMap<(String, String), BTreeMap<String, PodView>>,
    /// To whom each object and pod belongs.
    index: BTreeMap<Place, Concerns>,
    /// What a list has named so far.
    listed: BTreeMap<Stream, BTreeSet<Place>>,
    /// Streams that have listed once, or cannot be listed.
    synced: BTreeSet<Stream>,
}

impl Store {
    /// What is there for a Gateway.
    pub(super) fn objects(&self, gateway: &GatewayId) -> LiveObjects {
        self.objects.get(gateway).cloned().unwrap_or_default()
    }

    /// Gateways for which something is there.
    pub(super) fn gateways(&self) -> impl Iterator<Item = &GatewayId> {
        self.objects.keys()
    }

    /// The pods of an instance, and of whatever else runs pods for a Gateway: what it had in another class serves
    /// until its successor does.
    pub(super) fn pods(&self, gateway: &GatewayId, instance: &str) -> Vec<PodView> {
        let workloads = self.objects.get(gateway).into_iter().flat_map(BTreeMap::keys);
        let workloads = workloads.filter(|key| key.0.is_workload()).map(|key| key.1.as_str());
        let instances: BTreeSet<&str> = workloads.chain([instance]).collect();
        let pods = instances.into_iter().filter_map(|instance| {
            self.pods.get(&(gateway.namespace.to_string(), instance.to_owned()))
        });
        pods.flat_map(BTreeMap::values).cloned().collect()
    }

    /// Whether a Gateway has a Deployment or DaemonSet of this name.
    pub(super) fn has_workload(&self, gateway: &GatewayId, name: &str) -> bool {
        let mut keys = self.objects.get(gateway).into_iter().flat_map(BTreeMap::keys);
        keys.any(|key| key.0.is_workload() && key.1 == name)
    }

    /// Whether a stream has listed once, or cannot be listed.
    pub(super) fn is_synced(&self, stream: &Stream) -> bool {
        self.synced.contains(stream)
    }

    /// A stream cannot be listed: what it has is found out object by object, and nobody waits for it.
    pub(super) fn give_up(&mut self, stream: &Stream) {
        self.synced.insert(stream.clone());
    }

    /// Takes in what a watch tells.
    pub(super) fn see(&mut self, stream: &Stream, seen: Seen) -> BTreeSet<Concerns> {
        match seen {
            Seen::Init => {
                self.listed.insert(stream.clone(), BTreeSet::new());
                BTreeSet::new()
            }
            Seen::Apply(object) => {
                let place = place(stream.kind, &object);
                match self.listed.get_mut(stream) {
                    // A list says what is there, whatever was there before.
                    Some(listed) => {
                        listed.insert(place);
                        self.put(stream.kind, *object)
                    }
                    None => self.learn(stream.kind, *object),
                }
            }
            Seen::Delete(object) => self.remove(&place(stream.kind, &object)).into_iter().collect(),
            Seen::InitDone => {
                self.synced.insert(stream.clone());
                self.forget_unlisted(stream)
            }
        }
    }

    /// Takes in an object, unless a later version of it is known: the answer to a request of ours and
    /// what the watch tells come in any order. No kind stands for pods.
    pub(super) fn learn(
        &mut self,
        kind: Option<ManagedKind>,
        object: DynamicObject,
    ) -> BTreeSet<Concerns> {
        if self.is_outdated(&place(kind, &object), &object) {
            return BTreeSet::new();
        }
        self.put(kind, object)
    }

    fn put(&mut self, kind: Option<ManagedKind>, object: DynamicObject) -> BTreeSet<Concerns> {
        // It may have changed hands.
        let place = place(kind, &object);
        let mut concerned: BTreeSet<Concerns> = self.remove(&place).into_iter().collect();
        let concerns = match kind {
            Some(kind) => owned(object).map(|(gateway, live)| {
                let objects = self.objects.entry(gateway.clone()).or_default();
                objects.insert((kind, place.2.clone()), Arc::new(live));
                Concerns::Gateway(gateway)
            }),
            None => instance(object).map(|(instance, pod)| {
                let pods = self.pods.entry((place.1.clone(), instance.clone())).or_default();
                pods.insert(place.2.clone(), pod);
                Concerns::Instance(place.1.clone(), instance)
            }),
        };
        if let Some(concerns) = concerns {
            self.index.insert(place, concerns.clone());
            concerned.insert(concerns);
        }
        concerned
    }

    /// An object was deleted, and is gone or will be: the watch tells when.
    pub(super) fn leave(&mut self, gateway: &GatewayId, key: &Key, uid: &str) {
        let objects = self.objects.get_mut(gateway);
        if let Some(live) = objects.and_then(|objects| objects.get_mut(key))
            && live.uid == uid
        {
            *live = Arc::new(Live { is_terminating: true, ..(**live).clone() });
        }
    }

    /// Whether we know a later version of an object.
    fn is_outdated(&self, place: &Place, object: &DynamicObject) -> bool {
        let Some(Concerns::Gateway(gateway)) = self.index.get(place) else { return false };
        let Some(kind) = place.0 else { return false };
        let known = self.objects.get(gateway).and_then(|it| it.get(&(kind, place.2.clone())));
        known.is_some_and(|known| is_outdated(object, &known.object))
    }

    fn remove(&mut self, place: &Place) -> Option<Concerns> {
        let concerns = self.index.remove(place)?;
        match (&concerns, place.0) {
            (Concerns::Gateway(gateway), Some(kind)) => {
                if let Some(objects) = self.objects.get_mut(gateway) {
                    objects.remove(&(kind, place.2.clone()));
                    if objects.is_empty() {
                        self.objects.remove(gateway);
                    }
                }
            }
            (Concerns::Instance(namespace, instance), _) => {
                let key = (namespace.clone(), instance.clone());
                if let Some(pods) = self.pods.get_mut(&key) {
                    pods.remove(&place.2);
                    if pods.is_empty() {
                        self.pods.remove(&key);
                    }
                }
            }
            (Concerns::Gateway(_), None) => {}
        }
        Some(concerns)
    }

    fn forget_unlisted(&mut self, stream: &Stream) -> BTreeSet<Concerns> {
        let listed = self.listed.remove(stream).unwrap_or_default();
        let first = (stream.kind, stream.namespace.clone(), String::new());
        let gone: Vec<Place> = self
            .index
            .range(first..)
            .map(|(place, _)| place)
            .take_while(|place| place.0 == stream.kind)
            .take_while(|place| stream.namespace.is_empty() || place.1 == stream.namespace)
            .filter(|place| !listed.contains(place))
            .cloned()
            .collect();
        gone.iter().filter_map(|place| self.remove(place)).collect()
    }
}

/// Whether an object is an earlier version of one that is known. Versions of one object are numbers that grow.
pub(super) fn is_outdated(object: &DynamicObject, known: &Value) -> bool {
    let version = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let ours = version(known["metadata"]["resourceVersion"].as_str());
    let theirs = version(object.metadata.resource_version.as_deref());
    let is_same = known["metadata"]["uid"].as_str() == object.metadata.uid.as_deref();
    is_same && matches!((ours, theirs), (Some(ours), Some(theirs)) if theirs < ours)
}

fn place(kind: Option<ManagedKind>, object: &DynamicObject) -> Place {
    let metadata = &object.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    (kind, text(&metadata.namespace), text(&metadata.name))
}

/// What a pod is an instance of, and the pod.
fn instance(object: DynamicObject) -> Option<(String, PodView)> {
    let pod = object.try_parse::<Pod>().ok()?;
    let instance = pod.metadata.labels.as_ref()?.get(INSTANCE_LABEL)?.clone();
    Some((instance, PodView::of(&pod)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream(kind: Option<ManagedKind>) -> Stream {
        Stream { kind, namespace: String::new() }
    }

    fn service(name: &str, gateway: &str) -> Box<DynamicObject> {
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": "shop", "name": name, "uid": name, "ownerReferences": [{
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "name": gateway, "uid": "of-gateway", "controller": true}]},
        });
        Box::new(serde_json::from_value(object).expect("an object"))
    }

    fn concerns(gateway: &str) -> BTreeSet<Concerns> {
        [Concerns::Gateway(GatewayId::new("shop", gateway))].into()
    }

    fn names(store: &Store, gateway: &str) -> Vec<String> {
        let objects = store.objects(&GatewayId::new("shop", gateway));
        objects.into_keys().map(|(_, name)| name).collect()
    }

    #[test]
    fn an_object_belongs_to_the_gateway_that_owns_it() {
        let mut store = Store::default();
        let services = stream(Some(ManagedKind::Service));
        assert_eq!(store.see(&services, Seen::Apply(service("a", "web"))), concerns("web"));
        assert_eq!(names(&store, "web"), ["a"]);
        let both = &concerns("web") | &concerns("other");
        assert_eq!(store.see(&services, Seen::Apply(service("a", "other"))), both);
        assert_eq!(names(&store, "web"), [""; 0]);
        assert_eq!(store.see(&services, Seen::Delete(service("a", "other"))), concerns("other"));
        assert_eq!(store.gateways().count(), 0);
    }

    #[test]
    fn a_gateway_has_the_pods_of_what_it_had_in_another_class() {
        let mut store = Store::default();
        let pod = |instance: &str| {
            let object = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "shop", "name": instance, "uid": instance,
                    "labels": {INSTANCE_LABEL: instance}},
            });
            Box::new(serde_json::from_value(object).expect("a pod"))
        };
        for instance in ["web-a", "web-b", "other"] {
            store.see(&stream(None), Seen::Apply(pod(instance)));
        }
        let web = GatewayId::new("shop", "web");
        assert_eq!(store.pods(&web, "web-b").len(), 1);
        store.see(&stream(Some(ManagedKind::Deployment)), Seen::Apply(service("web-a", "web")));
        assert_eq!(store.pods(&web, "web-b").len(), 2);
        assert!(store.has_workload(&web, "web-a") && !store.has_workload(&web, "other"));
    }

    #[test]
    fn an_object_without_an_owner_is_nobodys() {
        let mut store = Store::default();
        let mut orphan = service("a", "web");
        orphan.metadata.owner_references = None;
        let services = stream(Some(ManagedKind::Service));
        assert_eq!(store.see(&services, Seen::Apply(orphan)), BTreeSet::new());
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone() {
        let mut store = Store::default();
        let services = stream(Some(ManagedKind::Service));
        let accounts = stream(Some(ManagedKind::ServiceAccount));
        store.see(&accounts, Seen::Apply(service("account", "web")));
        for name in ["a", "b"] {
            store.see(&services, Seen::Apply(service(name, "web")));
        }
        assert!(!store.is_synced(&services));
        store.see(&services, Seen::Init);
        store.see(&services, Seen::Apply(service("b", "web")));
        assert_eq!(names(&store, "web"), ["account", "a", "b"], "until the list is complete");
        assert_eq!(store.see(&services, Seen::InitDone), concerns("web"));
        assert_eq!(names(&store, "web"), ["account", "b"]);
        assert!(store.is_synced(&services));
    }

    #[test]
    fn nobody_waits_for_what_cannot_be_listed_and_it_may_come_later() {
        let mut store = Store::default();
        let services = stream(Some(ManagedKind::Service));
        store.see(&services, Seen::Init);
        assert!(!store.is_synced(&services));
        store.give_up(&services);
        assert!(store.is_synced(&services));
        store.see(&services, Seen::Init);
        store.see(&services, Seen::Apply(service("a", "web")));
        store.see(&services, Seen::InitDone);
        assert_eq!(names(&store, "web"), ["a"]);
    }

    #[test]
    fn what_comes_late_does_not_undo_what_is_known() {
        let mut store = Store::default();
        let services = stream(Some(ManagedKind::Service));
        let version = |version: &str, label: &str| {
            let mut service = service("a", "web");
            service.metadata.resource_version = Some(version.to_owned());
            service.metadata.labels = Some([("is".to_owned(), label.to_owned())].into());
            service
        };
        let label = |store: &Store| {
            let live = store.objects(&GatewayId::new("shop", "web"));
            let service = &live[&(ManagedKind::Service, "a".to_owned())].object;
            service["metadata"]["labels"]["is"].clone()
        };
        store.learn(services.kind, *version("100", "ours"));
        assert_eq!(store.see(&services, Seen::Apply(version("99", "old"))), BTreeSet::new());
        assert_eq!(label(&store), "ours");
        store.see(&services, Seen::Apply(version("101", "new")));
        assert_eq!(label(&store), "new");
        // The answer to a request, after the watch has told what became of the object since.
        assert_eq!(store.learn(services.kind, *version("100", "ours")), BTreeSet::new());
        assert_eq!(label(&store), "new");
        // A list says what is there, whatever was there before.
        store.see(&services, Seen::Init);
        store.see(&services, Seen::Apply(version("5", "restored")));
        store.see(&services, Seen::InitDone);
        assert_eq!(label(&store), "restored");
    }

    #[test]
    fn what_was_deleted_is_on_its_way_out() {
        let mut store = Store::default();
        let services = stream(Some(ManagedKind::Service));
        store.see(&services, Seen::Apply(service("a", "web")));
        let gateway = GatewayId::new("shop", "web");
        let key = (ManagedKind::Service, "a".to_owned());
        store.leave(&gateway, &key, "another");
        assert!(!store.objects(&gateway)[&key].is_terminating);
        store.leave(&gateway, &key, "a");
        assert!(store.objects(&gateway)[&key].is_terminating);
    }

    #[test]
    fn a_pod_belongs_to_what_it_is_an_instance_of() {
        let mut store = Store::default();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": "web-1", "labels": {INSTANCE_LABEL: "web"}},
        });
        let pod = Box::new(serde_json::from_value(pod).expect("a pod"));
        let concerned = store.see(&stream(None), Seen::Apply(pod));
        let instance = Concerns::Instance("shop".to_owned(), "web".to_owned());
        assert_eq!(concerned, [instance].into());
        assert_eq!(store.pods(&GatewayId::new("shop", "any"), "web").len(), 1);
    }
}
