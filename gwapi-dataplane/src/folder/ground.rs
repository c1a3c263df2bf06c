//! What all files say together: which file an object is taken from, and how the ground state
//! changes when files do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::manifest::{Position, Problem};
use gwapi_model::{
    Kind, NAMESPACE_NAME_LABEL, Namespace, ObjectId, ObjectMeta, Resource, ResourceEvent,
};

use super::file::{FileState, duplicate, place};
use super::scan::FileKey;

/// Where a file stands among those that give the same object, smaller first: what files say now
/// comes before what they said once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Precedence {
    stale: bool,
    file: FileKey,
}

#[derive(Clone, Debug)]
struct Claim {
    resource: Resource,
    position: Position,
    source: Arc<str>,
}

/// An object that is part of the ground state.
#[derive(Clone, Debug)]
struct Current {
    /// As its file has it; absent for Namespaces that no file gives.
    written: Option<Resource>,
    /// As events show it.
    shown: Resource,
}

/// The objects of all files.
#[derive(Debug, Default)]
pub(super) struct Ground {
    claims: BTreeMap<ObjectId, BTreeMap<Precedence, Claim>>,
    /// Objects that more than one file gives.
    contested: BTreeSet<ObjectId>,
    current: BTreeMap<ObjectId, Current>,
    /// Number of objects by namespace.
    namespaces: BTreeMap<String, usize>,
    /// Objects to look at in [`Ground::settle`].
    touched: BTreeSet<ObjectId>,
}

impl Ground {
    /// Replaces what a file says; `None` stands for a file that is not there.
    pub(super) fn replace(
        &mut self,
        file: &FileKey,
        before: Option<&FileState>,
        after: Option<&FileState>,
    ) {
        for (id, held) in before.iter().flat_map(|state| &state.objects) {
            let Some(claims) = self.claims.get_mut(id) else { continue };
            claims.remove(&Precedence { stale: held.stale, file: file.clone() });
            if claims.is_empty() {
                self.claims.remove(id);
            }
            self.touched.insert(id.clone());
        }
        if let Some(state) = after {
            for (id, held) in &state.objects {
                self.claims.entry(id.clone()).or_default().insert(
                    Precedence { stale: held.stale, file: file.clone() },
                    Claim {
                        resource: held.resource.clone(),
                        position: held.position,
                        source: state.source.clone(),
                    },
                );
                self.touched.insert(id.clone());
            }
        }
    }

    /// The events that lead from the state of the last call to the state now. What is the same
    /// gives none.
    pub(super) fn settle(&mut self) -> Vec<ResourceEvent> {
        let mut events = Vec::new();
        let (namespaces, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.touched)
            .into_iter()
            .partition(|id| id.kind == Kind::Namespace);
        let mut namespaces: BTreeSet<ObjectId> = namespaces.into_iter().collect();
        for id in others {
            if let Some(namespace) = self.settle_object(&id, &mut events) {
                namespaces.insert(ObjectId::new(Kind::Namespace, "", namespace));
            }
        }
        // Namespaces come last: whether one is there depends on the others.
        for id in namespaces {
            self.settle_object(&id, &mut events);
        }
        events
    }

    /// Brings one object up to date; the namespace that began or ceased to be referred to.
    fn settle_object(&mut self, id: &ObjectId, events: &mut Vec<ResourceEvent>) -> Option<String> {
        let written = self.winner(id).map(|claim| claim.resource.clone());
        let before = self.current.remove(id);
        let shown = match (&written, &before) {
            (Some(written), before) => Some(shown(written, before.as_ref())),
            (None, _) if self.is_referred_to(id) => Some(namespace(&id.name)),
            (None, _) => None,
        };
        let was_there = before.is_some();
        let Some(shown) = shown else {
            if was_there {
                events.push(ResourceEvent::Delete(id.clone()));
                return self.count(id, false);
            }
            return None;
        };
        if before.is_none_or(|before| before.shown != shown) {
            events.push(ResourceEvent::Apply(shown.clone()));
        }
        self.current.insert(id.clone(), Current { written, shown });
        if was_there { None } else { self.count(id, true) }
    }

    /// The file that an object is taken from, and its name, where that is what the file says now.
    pub(super) fn file_of(&self, id: &ObjectId) -> Option<(&FileKey, &Arc<str>)> {
        let (precedence, claim) = self.claims.get(id)?.first_key_value()?;
        (!precedence.stale).then_some((&precedence.file, &claim.source))
    }

    fn winner(&mut self, id: &ObjectId) -> Option<&Claim> {
        let claims = self.claims.get(id);
        if claims.is_some_and(|claims| claims.len() > 1) {
            self.contested.insert(id.clone());
        } else {
            self.contested.remove(id);
        }
        claims?.values().next()
    }

    fn is_referred_to(&self, id: &ObjectId) -> bool {
        id.kind == Kind::Namespace && self.namespaces.contains_key(&id.name)
    }

    /// Counts an object in or out; its namespace where that made the first or the last.
    fn count(&mut self, id: &ObjectId, is_there: bool) -> Option<String> {
        if id.namespace.is_empty() {
            return None;
        }
        let count = self.namespaces.entry(id.namespace.clone()).or_default();
        *count = if is_there { *count + 1 } else { count.saturating_sub(1) };
        let changed = *count == usize::from(is_there);
        if *count == 0 {
            self.namespaces.remove(&id.namespace);
        }
        changed.then(|| id.namespace.clone())
    }

    /// The problems of objects that several files give now.
    pub(super) fn duplicates(&self) -> Vec<(FileKey, Problem)> {
        let mut problems = Vec::new();
        for id in &self.contested {
            let mut claims = self.claims.get(id).into_iter().flatten();
            let Some((_, first)) = claims.next() else { continue };
            let first = place(&first.source, first.position);
            for (precedence, claim) in claims.filter(|(precedence, _)| !precedence.stale) {
                let problem = duplicate(&claim.source, claim.position, id.clone(), &first);
                problems.push((precedence.file.clone(), problem));
            }
        }
        problems
    }
}

/// An object as the ground state has it: with a generation that grows when the spec changes, and
/// with the label that every Namespace has.
fn shown(written: &Resource, before: Option<&Current>) -> Resource {
    let mut shown = written.clone();
    if let Some(before) = before {
        let generation = before.shown.metadata().generation;
        let generation = match &before.written {
            Some(old) if !same_but_for_metadata(old, written) => generation + 1,
            _ => generation,
        };
        if generation > written.metadata().generation {
            shown.metadata_mut().generation = generation;
        }
    }
    if written.kind() == Kind::Namespace {
        let metadata = shown.metadata_mut();
        metadata.labels.insert(NAMESPACE_NAME_LABEL.to_owned(), metadata.name.clone());
    }
    shown
}

fn same_but_for_metadata(a: &Resource, b: &Resource) -> bool {
    if a.metadata() == b.metadata() {
        return a == b;
    }
    let mut a = a.clone();
    a.metadata_mut().clone_from(b.metadata());
    a == *b
}

/// A Namespace that objects are in and that no file gives.
fn namespace(name: &str) -> Resource {
    let labels = BTreeMap::from([(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned())]);
    Namespace { metadata: ObjectMeta { labels, generation: 1, ..ObjectMeta::cluster(name) } }.into()
}
