//! Who refers to which Secrets and ConfigMaps, so that only those are read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use gwapi_model::{Kind, NamespacedName, ObjectId, Resource};
use gwapi_translate::references;

use crate::watch::Reference;

/// References of all objects of ours, and how many there are to each object.
///
/// What a Gateway of another controller refers to is none of our business: its references, and those of
/// ListenerSets that name it, count from the moment when its class is one of ours.
#[derive(Debug)]
pub(super) struct References {
    controller_name: String,
    classes: BTreeSet<Arc<str>>,
    /// The class of each Gateway.
    gateways: HashMap<NamespacedName, Arc<str>>,
    owners: HashMap<ObjectId, Owner>,
    users: HashMap<ObjectId, usize>,
    /// Objects that are known as they are, were it only that they do not exist.
    loaded: BTreeSet<ObjectId>,
}

#[derive(Debug)]
struct Owner {
    depends_on: DependsOn,
    /// What it refers to.
    targets: Vec<ObjectId>,
}

/// What decides whether an object is ours.
#[derive(Debug, PartialEq, Eq)]
enum DependsOn {
    /// It always is.
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
            owners: HashMap::new(),
            users: HashMap::new(),
            loaded: BTreeSet::new(),
        }
    }

    /// Takes in what an object refers to, in addition to what it referred to before.
    pub(super) fn add(&mut self, resource: &Resource) -> Vec<Reference> {
        let mut before: Vec<ObjectId> = Vec::new();
        if let Some(owner) = self.owners.get(&resource.id()) {
            before.clone_from(&owner.targets);
        }
        self.note(resource, before)
    }

    /// Takes in what an object refers to, in place of what it referred to before.
    pub(super) fn set(&mut self, resource: &Resource) -> Vec<Reference> {
        self.note(resource, Vec::new())
    }

    fn note(&mut self, resource: &Resource, mut targets: Vec<ObjectId>) -> Vec<Reference> {
        let id = resource.id();
        if let Resource::GatewayClass(class) = resource {
            let is_ours = class.spec.controller_name == self.controller_name;
            return self.set_class(&id.name, is_ours);
        }
        targets.extend(references(resource));
        targets.sort();
        targets.dedup();
        let depends_on = match resource {
            Resource::Gateway(gateway) => {
                DependsOn::Class(gateway.spec.gateway_class_name.as_str().into())
            }
            Resource::ListenerSet(set) => DependsOn::Gateway(set.gateway()),
            _ => DependsOn::Nothing,
        };
        let mut changes = Vec::new();
        if let DependsOn::Class(class) = &depends_on {
            changes = self.set_gateway(id.namespaced_name(), Some(class.clone()));
        }
        let owner = (!targets.is_empty()).then_some(Owner { depends_on, targets });
        changes.extend(self.replace(id, owner));
        changes
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, id: &ObjectId) -> Vec<Reference> {
        match id.kind {
            Kind::GatewayClass => self.set_class(&id.name, false),
            Kind::Gateway => {
                let mut changes = self.set_gateway(id.namespaced_name(), None);
                changes.extend(self.replace(id.clone(), None));
                changes
            }
            _ => self.replace(id.clone(), None),
        }
    }

    /// An object that is referred to is known now; tells whether anything refers to it.
    pub(super) fn load(&mut self, id: &ObjectId) -> bool {
        let is_used = self.users.contains_key(id);
        if is_used {
            self.loaded.insert(id.clone());
        }
        is_used
    }

    /// Whether everything is known that an object refers to; for a Gateway, with its ListenerSets, and for a
    /// class, with all of its Gateways.
    pub(super) fn is_loaded(&self, id: &ObjectId) -> bool {
        let is_known = |owner: &Owner| {
            !self.is_ours(owner) || owner.targets.iter().all(|target| self.loaded.contains(target))
        };
        match id.kind {
            Kind::GatewayClass => self
                .owners
                .values()
                .filter(|owner| self.class(owner) == Some(&id.name))
                .all(is_known),
            Kind::Gateway => {
                let gateway = DependsOn::Gateway(Some(id.namespaced_name()));
                let mut sets = self.owners.values().filter(|owner| owner.depends_on == gateway);
                self.owners.get(id).is_none_or(is_known) && sets.all(is_known)
            }
            _ => self.owners.get(id).is_none_or(is_known),
        }
    }

    /// Whether everything that is referred to is known.
    pub(super) fn are_all_loaded(&self) -> bool {
        self.users.len() == self.loaded.len()
    }

    /// The class on which it depends whether an object is ours, as far as it is known.
    fn class<'a>(&'a self, owner: &'a Owner) -> Option<&'a Arc<str>> {
        match &owner.depends_on {
            DependsOn::Nothing => None,
            DependsOn::Class(class) => Some(class),
            DependsOn::Gateway(gateway) => self.gateways.get(gateway.as_ref()?),
        }
    }

    fn is_ours(&self, owner: &Owner) -> bool {
        owner.depends_on == DependsOn::Nothing
            || self.class(owner).is_some_and(|class| self.classes.contains(class))
    }

    /// A Gateway has this class now; none where it is gone.
    fn set_gateway(&mut self, id: NamespacedName, class: Option<Arc<str>>) -> Vec<Reference> {
        let is_one_of_ours =
            |class: Option<&Arc<str>>| class.is_some_and(|class| self.classes.contains(class));
        let before = is_one_of_ours(self.gateways.get(&id));
        let now = is_one_of_ours(class.as_ref());
        match class {
            Some(class) => self.gateways.insert(id.clone(), class),
            None => self.gateways.remove(&id),
        };
        if before == now {
            return Vec::new();
        }
        let gateway = DependsOn::Gateway(Some(id));
        let sets = self.owners.values().filter(|owner| owner.depends_on == gateway);
        let targets = sets.flat_map(|owner| owner.targets.iter().cloned()).collect();
        if now { self.acquire(targets) } else { self.release(targets) }
    }

    fn set_class(&mut self, class: &Arc<str>, is_ours: bool) -> Vec<Reference> {
        if self.classes.contains(class) == is_ours {
            return Vec::new();
        }
        let owners = self.owners.values().filter(|owner| self.class(owner) == Some(class));
        let targets: Vec<ObjectId> =
            owners.flat_map(|owner| owner.targets.iter().cloned()).collect();
        if is_ours {
            self.classes.insert(class.clone());
            self.acquire(targets)
        } else {
            self.classes.remove(class);
            self.release(targets)
        }
    }

    fn replace(&mut self, id: ObjectId, owner: Option<Owner>) -> Vec<Reference> {
        let targets = |owner: Option<&Owner>, references: &Self| {
            let owner = owner.filter(|owner| references.is_ours(owner));
            owner.map(|owner| owner.targets.clone()).unwrap_or_default()
        };
        let new = targets(owner.as_ref(), self);
        let old = match owner {
            Some(owner) => self.owners.insert(id, owner),
            None => self.owners.remove(&id),
        };
        let old = targets(old.as_ref(), self);
        // What is needed from now on comes first, so that nothing is let go that is still needed.
        let mut changes = self.acquire(new);
        changes.extend(self.release(old));
        changes
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
        assert_eq!(references.set(&ours), [Reference::Added(secret("a"))]);
        assert!(!references.is_loaded(&ours.id()));
        assert!(references.load(&secret("a")));
        assert!(references.is_loaded(&ours.id()));
        assert_eq!(references.set(&gateway("theirs", &["a"])), [Reference::Removed(secret("a"))]);
        assert!(!references.load(&secret("a")), "it was forgotten");
    }

    #[test]
    fn what_listener_sets_refer_to_is_wanted_while_their_gateway_is_ours() {
        let set = |parent: &str| {
            let text = format!(
                "{{apiVersion: gateway.networking.k8s.io/v1, kind: ListenerSet, \
                 metadata: {{name: more}}, spec: {{parentRef: {{name: {parent}}}, listeners: \
                 [{{name: https, port: 443, protocol: HTTPS, \
                 tls: {{certificateRefs: [{{name: b}}]}}}}]}}}}"
            );
            objects(&text).remove(0)
        };
        let mut references = References::new(CONTROLLER_NAME);
        let ours = class("gwapi", CONTROLLER_NAME);
        assert_eq!(references.set(&set("web")), []);
        assert_eq!(references.set(&ours), []);
        let web = gateway("gwapi", &["a"]);
        let added = ["b", "a"].map(|name| Reference::Added(secret(name)));
        assert_eq!(references.set(&web), added);
        references.load(&secret("a"));
        assert!(!references.is_loaded(&web.id()), "it is not known what its set refers to");
        references.load(&secret("b"));
        assert!(references.is_loaded(&web.id()) && references.is_loaded(&ours.id()));
        assert_eq!(references.set(&set("other")), [Reference::Removed(secret("b"))]);
        assert_eq!(references.set(&set("web")), [Reference::Added(secret("b"))]);
        let removed = ["b", "a"].map(|name| Reference::Removed(secret(name)));
        assert_eq!(references.remove(&web.id()), removed);
        assert!(references.are_all_loaded());
        references.set(&web);
        assert_eq!(references.remove(&ours.id()).len(), 2);
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
        assert!(references.are_all_loaded());
    }
}
