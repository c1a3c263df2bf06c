//! Who refers to which Secrets and ConfigMaps, so that only those are read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gwapi_model::{Gateway, Kind, Namespace, NamespacedName, ObjectId, Resource};
use gwapi_translate::{lets_listener_sets_in, references};

use crate::watch::Reference;

/// References of all objects of ours, and how many there are to each object.
///
/// What a Gateway of another controller refers to is none of our business, and neither is what a ListenerSet
/// refers to that its Gateway does not let in (LS-1): these references count from the moment when the class
/// is one of ours, and the Gateway lets the set in.
#[derive(Debug)]
pub(super) struct References {
    controller_name: String,
    classes: BTreeSet<Arc<str>>,
    /// Gateways as they count, and as they will count.
    gateways: HashMap<NamespacedName, Vec<Arc<Gateway>>>,
    namespaces: HashMap<Arc<str>, Arc<Namespace>>,
    /// By kind, namespace and name.
    owners: BTreeMap<ObjectId, Owner>,
    sets_of_gateway: HashMap<NamespacedName, BTreeSet<ObjectId>>,
    users: HashMap<ObjectId, usize>,
    /// Objects that are known as they are, were it only that they do not exist.
    loaded: BTreeSet<ObjectId>,
    /// What others refer to that counts because of an object, for as long as the object does not count itself.
    stirred: HashMap<ObjectId, BTreeSet<ObjectId>>,
    /// What was referred to when the start was first asked for and is not known yet.
    start: Option<BTreeSet<ObjectId>>,
}

#[derive(Debug)]
struct Owner {
    depends_on: DependsOn,
    /// What it refers to.
    targets: Vec<ObjectId>,
    /// Whether that counts.
    counts: bool,
}

impl Owner {
    /// The Gateway that a ListenerSet names.
    fn gateway(&self) -> Option<&NamespacedName> {
        match &self.depends_on {
            DependsOn::Gateway(gateway) => gateway.as_ref(),
            DependsOn::Nothing | DependsOn::Class(_) => None,
        }
    }
}

/// What decides whether what an object refers to counts.
#[derive(Debug)]
enum DependsOn {
    /// It always does.
    Nothing,
    /// Its class.
    Class(Arc<str>),
    /// The Gateway that it names, if it names one.
    Gateway(Option<NamespacedName>),
}

impl References {
    /// Nothing refers to anything.
    pub(super) fn new(controller_name: &str) -> Self {
        Self {
            controller_name: controller_name.to_owned(),
            classes: BTreeSet::new(),
            gateways: HashMap::new(),
            namespaces: HashMap::new(),
            owners: BTreeMap::new(),
            sets_of_gateway: HashMap::new(),
            users: HashMap::new(),
            loaded: BTreeSet::new(),
            stirred: HashMap::new(),
            start: None,
        }
    }

    /// Takes in what an object refers to, in addition to what it referred to before.
    pub(super) fn add(&mut self, resource: &Resource) -> Vec<Reference> {
        let mut before: Vec<ObjectId> = Vec::new();
        if let Some(owner) = self.owners.get(&resource.id()) {
            before.clone_from(&owner.targets);
        }
        if let Resource::Gateway(gateway) = resource {
            let versions = self.gateways.entry(resource.id().namespaced_name()).or_default();
            versions.truncate(1);
            versions.push(gateway.clone());
        }
        self.note(resource, before)
    }

    /// Takes in what an object refers to, in place of what it referred to before: it counts now.
    pub(super) fn set(&mut self, resource: &Resource) -> Vec<Reference> {
        let id = resource.id();
        if let Resource::Gateway(gateway) = resource {
            self.gateways.insert(id.namespaced_name(), vec![gateway.clone()]);
        }
        let changes = self.note(resource, Vec::new());
        self.stirred.remove(&id);
        changes
    }

    fn note(&mut self, resource: &Resource, mut targets: Vec<ObjectId>) -> Vec<Reference> {
        let id = resource.id();
        match resource {
            Resource::GatewayClass(class) => {
                let is_ours = class.spec.controller_name == self.controller_name;
                return self.set_class(&id, is_ours);
            }
            Resource::Namespace(namespace) => {
                self.namespaces.insert(id.name.clone(), namespace.clone());
                return self.recount(&id, self.sets_of_namespace(&id.name));
            }
            _ => {}
        }
        targets.extend(references(resource));
        targets.sort();
        targets.dedup();
        let mut changes = Vec::new();
        let depends_on = match resource {
            Resource::Gateway(gateway) => {
                changes = self.recount(&id, self.sets_of_gateway(&id));
                DependsOn::Class(gateway.spec.gateway_class_name.as_str().into())
            }
            Resource::ListenerSet(set) => DependsOn::Gateway(set.gateway()),
            _ => DependsOn::Nothing,
        };
        let owner = (!targets.is_empty()).then(|| {
            let counts = self.counts(&id, &depends_on);
            Owner { depends_on, targets, counts }
        });
        changes.extend(self.replace(id, owner));
        changes
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, id: &ObjectId) -> Vec<Reference> {
        let mut changes = match id.kind {
            Kind::GatewayClass => self.set_class(id, false),
            Kind::Namespace => {
                self.namespaces.remove(&id.name);
                self.recount(id, self.sets_of_namespace(&id.name))
            }
            Kind::Gateway => {
                self.gateways.remove(&id.namespaced_name());
                self.recount(id, self.sets_of_gateway(id))
            }
            _ => Vec::new(),
        };
        changes.extend(self.replace(id.clone(), None));
        self.stirred.remove(id);
        changes
    }

    /// An object that is referred to is known now; tells whether anything refers to it.
    pub(super) fn load(&mut self, id: &ObjectId) -> bool {
        let is_used = self.users.contains_key(id);
        if is_used {
            self.loaded.insert(id.clone());
        }
        is_used
    }

    /// Whether everything is known that an object refers to, and that others refer to for whom it makes that
    /// count: ListenerSets that a Gateway or a Namespace has let in, and Gateways of a class. What they refer
    /// to already, or from then on, is for them to wait for.
    pub(super) fn is_loaded(&self, id: &ObjectId) -> bool {
        let is_known = |target: &ObjectId| self.loaded.contains(target);
        let is_settled = |target: &ObjectId| is_known(target) || !self.users.contains_key(target);
        self.owners.get(id).is_none_or(|it| !it.counts || it.targets.iter().all(is_known))
            && self.stirred.get(id).is_none_or(|targets| targets.iter().all(is_settled))
    }

    /// Whether everything is known that was referred to when this was asked for the first time. It has no
    /// deadline; so what is referred to later is for those to wait for that do.
    pub(super) fn is_start_loaded(&mut self) -> bool {
        let Self { users, loaded, start, .. } = self;
        let missing = start.get_or_insert_with(|| users.keys().cloned().collect());
        missing.retain(|target| users.contains_key(target) && !loaded.contains(target));
        missing.is_empty()
    }

    /// Whether there is a namespace of this name.
    pub(super) fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains_key(name)
    }

    /// Whether the start has been asked for.
    pub(super) fn is_starting(&self) -> bool {
        self.start.is_some()
    }

    /// Whether what an object refers to counts.
    fn counts(&self, id: &ObjectId, depends_on: &DependsOn) -> bool {
        match depends_on {
            DependsOn::Nothing => true,
            DependsOn::Class(class) => self.classes.contains(class),
            DependsOn::Gateway(gateway) => {
                let versions = gateway.as_ref().and_then(|gateway| self.gateways.get(gateway));
                let namespace = self.namespaces.get(&id.namespace).map(Arc::as_ref);
                versions.into_iter().flatten().any(|gateway| {
                    self.classes.contains(gateway.spec.gateway_class_name.as_str())
                        && lets_listener_sets_in(gateway, &id.namespace, namespace)
                })
            }
        }
    }

    fn sets_of_gateway(&self, gateway: &ObjectId) -> Vec<ObjectId> {
        let sets = self.sets_of_gateway.get(&gateway.namespaced_name());
        sets.into_iter().flatten().cloned().collect()
    }

    fn sets_of_namespace(&self, namespace: &Arc<str>) -> Vec<ObjectId> {
        let first = ObjectId::new(Kind::ListenerSet, namespace.clone(), "");
        let owners = self.owners.range(first..).map(|(id, _)| id);
        let is_there = |id: &&ObjectId| id.kind == Kind::ListenerSet && id.namespace == *namespace;
        owners.take_while(is_there).cloned().collect()
    }

    fn set_class(&mut self, class: &ObjectId, is_ours: bool) -> Vec<Reference> {
        let is_new = match is_ours {
            true => self.classes.insert(class.name.clone()),
            false => self.classes.remove(&class.name),
        };
        match is_new {
            true => self.recount(class, self.owners.keys().cloned().collect()),
            false => Vec::new(),
        }
    }

    /// Looks anew whether what some objects refer to counts, because of another object.
    fn recount(&mut self, cause: &ObjectId, owners: Vec<ObjectId>) -> Vec<Reference> {
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for id in owners {
            let Some(owner) = self.owners.get(&id) else { continue };
            let counts = self.counts(&id, &owner.depends_on);
            if counts == owner.counts {
                continue;
            }
            let targets = owner.targets.iter().cloned();
            if counts {
                wanted.extend(targets)
            } else {
                unwanted.extend(targets)
            }
            self.owners.entry(id).and_modify(|owner| owner.counts = counts);
        }
        if !wanted.is_empty() {
            self.stirred.entry(cause.clone()).or_default().extend(wanted.iter().cloned());
        }
        let mut changes = self.acquire(wanted);
        changes.extend(self.release(unwanted));
        changes
    }

    fn replace(&mut self, id: ObjectId, owner: Option<Owner>) -> Vec<Reference> {
        let targets = |owner: &Option<Owner>| {
            let owner = owner.as_ref().filter(|owner| owner.counts);
            owner.map(|owner| owner.targets.clone()).unwrap_or_default()
        };
        let new = targets(&owner);
        let gateway_now = owner.as_ref().and_then(Owner::gateway).cloned();
        if let Some(gateway) = &gateway_now {
            self.sets_of_gateway.entry(gateway.clone()).or_default().insert(id.clone());
        }
        let old = match owner {
            Some(owner) => self.owners.insert(id.clone(), owner),
            None => self.owners.remove(&id),
        };
        let gateway_before = old.as_ref().and_then(Owner::gateway);
        if let Some(gateway) = gateway_before.filter(|it| Some(*it) != gateway_now.as_ref()) {
            self.forget_set(gateway, &id);
        }
        // What is needed from now on comes first, so that nothing is let go that is still needed.
        let mut changes = self.acquire(new);
        changes.extend(self.release(targets(&old)));
        changes
    }

    fn forget_set(&mut self, gateway: &NamespacedName, set: &ObjectId) {
        let Some(sets) = self.sets_of_gateway.get_mut(gateway) else { return };
        sets.remove(set);
        if sets.is_empty() {
            self.sets_of_gateway.remove(gateway);
        }
    }

    fn acquire(&mut self, targets: Vec<ObjectId>) -> Vec<Reference> {
        let mut added = Vec::new();
        for target in targets {
            let users = self.users.entry(target.clone()).or_default();
            *users += 1;
            if *users == 1 {
                added.push(Reference::Added(target));
            }
        }
        added
    }

    fn release(&mut self, targets: Vec<ObjectId>) -> Vec<Reference> {
        let mut removed = Vec::new();
        for target in targets {
            let Some(users) = self.users.get_mut(&target) else { continue };
            *users -= 1;
            if *users == 0 {
                self.users.remove(&target);
                self.loaded.remove(&target);
                removed.push(Reference::Removed(target));
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use gwapi_model::{CONTROLLER_NAME, manifest};

    use super::*;

    fn objects(text: &str) -> Vec<Resource> {
        let manifest = manifest::parse("test", text);
        assert_eq!(manifest.problems, [], "the manifest is fine");
        manifest.objects.into_iter().map(|object| object.resource).collect()
    }

    fn gateway(class: &str, secrets: &[&str]) -> Resource {
        let secrets: Vec<String> =
            secrets.iter().map(|secret| format!("{{name: {secret}}}")).collect();
        let text = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: web}}, \
             spec: {{gatewayClassName: {class}, listeners: [{{name: https, port: 443, \
             protocol: HTTPS, tls: {{certificateRefs: [{}]}}}}]}}}}",
            secrets.join(", ")
        );
        objects(&text).remove(0)
    }

    fn class(name: &str, controller: &str) -> Resource {
        let text = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, \
             metadata: {{name: {name}}}, spec: {{controllerName: {controller}}}}}"
        );
        objects(&text).remove(0)
    }

    fn secret(name: &str) -> ObjectId {
        ObjectId::new(Kind::Secret, "default", name)
    }

    #[test]
    fn only_what_gateways_of_ours_refer_to_is_wanted() {
        let mut references = References::new(CONTROLLER_NAME);
        assert_eq!(references.set(&gateway("gwapi", &["a"])), []);
        assert_eq!(references.set(&class("theirs", "example.com/other")), []);
        let ours = class("gwapi", CONTROLLER_NAME);
        assert_eq!(references.add(&ours), [Reference::Added(secret("a"))]);
        assert!(!references.is_loaded(&ours.id()));
        assert!(references.load(&secret("a")));
        assert!(references.is_loaded(&ours.id()));
        assert_eq!(references.set(&gateway("theirs", &["a"])), [Reference::Removed(secret("a"))]);
        assert!(!references.load(&secret("a")), "it was forgotten");
    }

    fn set(parent: &str, secret: &str) -> Resource {
        let text = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: ListenerSet, \
             metadata: {{name: more}}, spec: {{parentRef: {{name: {parent}}}, listeners: \
             [{{name: https, port: 443, protocol: HTTPS, \
             tls: {{certificateRefs: [{{name: {secret}}}]}}}}]}}}}"
        );
        objects(&text).remove(0)
    }

    /// A Gateway that lets ListenerSets in.
    fn open_gateway(class: &str, secrets: &[&str], allowed: &str) -> Resource {
        let Resource::Gateway(gateway) = gateway(class, secrets) else { unreachable!() };
        let mut gateway = Gateway::clone(&gateway);
        let allowed = format!("{{\"namespaces\": {allowed}}}");
        gateway.spec.allowed_listeners = serde_json::from_str(&allowed).expect("allowed listeners");
        gateway.into()
    }

    const SAME: &str = r#"{"from": "Same"}"#;

    #[test]
    fn what_listener_sets_refer_to_is_wanted_while_their_gateway_is_ours_and_lets_them_in() {
        let mut references = References::new(CONTROLLER_NAME);
        let ours = class("gwapi", CONTROLLER_NAME);
        assert_eq!(references.set(&set("web", "b")), []);
        assert_eq!(references.set(&ours), []);
        let web = open_gateway("gwapi", &["a"], SAME);
        let added = ["b", "a"].map(|name| Reference::Added(secret(name)));
        assert_eq!(references.add(&web), added);
        references.load(&secret("a"));
        assert!(!references.is_loaded(&web.id()), "it is not known what its set refers to");
        references.load(&secret("b"));
        assert!(references.is_loaded(&web.id()) && references.is_loaded(&ours.id()));
        assert_eq!(references.set(&web), []);
        assert_eq!(references.set(&set("other", "b")), [Reference::Removed(secret("b"))]);
        assert_eq!(references.set(&set("web", "b")), [Reference::Added(secret("b"))]);
        // What is let in no more is kept until the Gateway counts that says so.
        let closed = gateway("gwapi", &["a"]);
        assert_eq!(references.add(&closed), []);
        assert_eq!(references.set(&closed), [Reference::Removed(secret("b"))]);
        assert_eq!(references.set(&web), [Reference::Added(secret("b"))]);
        let removed = ["b", "a"].map(|name| Reference::Removed(secret(name)));
        assert_eq!(references.remove(&web.id()), removed);
        assert!(references.users.is_empty() && references.stirred.is_empty());
        references.set(&web);
        assert_eq!(references.remove(&ours.id()).len(), 2);
    }

    #[test]
    fn a_gateway_waits_for_nothing_that_its_listener_sets_refer_to_of_themselves() {
        let mut references = References::new(CONTROLLER_NAME);
        references.set(&class("gwapi", CONTROLLER_NAME));
        // One that lets no set in reads nothing for their sake.
        let closed = gateway("gwapi", &["a"]);
        references.set(&closed);
        references.load(&secret("a"));
        assert_eq!(references.add(&set("web", "b")), []);
        assert!(references.is_loaded(&closed.id()));
        assert!(references.is_loaded(&set("web", "b").id()));

        let open = open_gateway("gwapi", &["a"], SAME);
        assert_eq!(references.add(&open), [Reference::Added(secret("b"))]);
        assert!(!references.is_loaded(&open.id()), "it lets the set in");
        references.load(&secret("b"));
        assert!(references.is_loaded(&open.id()));
        references.set(&open);
        for name in ["c", "d"] {
            references.add(&set("web", name));
            assert!(!references.is_loaded(&set("web", name).id()), "it waits for itself");
            references.add(&open);
            assert!(references.is_loaded(&open.id()), "and an edit of the Gateway does not");
        }
    }

    #[test]
    fn a_namespace_whose_labels_let_listener_sets_in_waits_for_what_they_refer_to() {
        let namespace = |labels: &str| {
            let text = format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: default, labels: {labels}}}}}"
            );
            objects(&text).remove(0)
        };
        let mut references = References::new(CONTROLLER_NAME);
        references.set(&class("gwapi", CONTROLLER_NAME));
        let allowed = r#"{"from": "Selector", "selector": {"matchLabels": {"team": "web"}}}"#;
        references.set(&open_gateway("gwapi", &["a"], allowed));
        references.set(&set("web", "b"));
        assert_eq!(references.add(&namespace("{team: other}")), []);
        let (chosen, added) = (namespace("{team: web}"), [Reference::Added(secret("b"))]);
        assert_eq!(references.add(&chosen), added);
        assert!(!references.is_loaded(&chosen.id()));
        references.load(&secret("b"));
        assert!(references.is_loaded(&chosen.id()));
        references.set(&chosen);
        assert_eq!(references.remove(&chosen.id()), [Reference::Removed(secret("b"))]);
    }

    #[test]
    fn what_two_versions_refer_to_is_kept_until_the_newer_one_counts() {
        let mut references = References::new(CONTROLLER_NAME);
        references.set(&class("gwapi", CONTROLLER_NAME));
        references.set(&gateway("gwapi", &["a"]));
        references.load(&secret("a"));
        let new = gateway("gwapi", &["b"]);
        assert_eq!(references.add(&new), [Reference::Added(secret("b"))]);
        assert!(!references.is_loaded(&new.id()));
        references.load(&secret("b"));
        assert!(references.is_loaded(&new.id()));
        assert_eq!(references.set(&new), [Reference::Removed(secret("a"))]);
        assert_eq!(references.remove(&new.id()), [Reference::Removed(secret("b"))]);
        assert!(references.users.is_empty() && references.loaded.is_empty());
    }
}
