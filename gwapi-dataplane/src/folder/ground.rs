//! What all files say together: which file an object is taken from, and how the ground state
//! changes when files do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::manifest::Problem;
use gwapi_model::{
    Kind, NAMESPACE_NAME_LABEL, Namespace, ObjectId, ObjectMeta, Resource, ResourceEvent,
};

use super::file::{FileState, Held, duplicate, place};
use super::scan::FileKey;

/// Objects after which it is worth going over all of them.
const MANY: usize = 1_000;

/// All files, by their keys: where a claim leads.
pub(super) type Files = BTreeMap<Arc<FileKey>, FileState>;

/// Where a file stands among those that give the same object, smaller first: what files say now
/// comes before what they said once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    stale: bool,
    file: Arc<FileKey>,
}

/// An object that some file gives, or that is part of the ground state.
#[derive(Clone, Debug, Default)]
struct Object {
    claims: Claims,
    /// Set once it is part of the ground state.
    current: Option<Current>,
}

/// The claims of an object, sorted. Nearly all objects have one, which takes no room of its own.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "many claims take no more room here than one")]
enum Claims {
    #[default]
    None,
    One(Claim),
    Many(Box<Vec<Claim>>),
}

impl Claims {
    fn as_slice(&self) -> &[Claim] {
        match self {
            Self::None => &[],
            Self::One(claim) => std::slice::from_ref(claim),
            Self::Many(claims) => claims,
        }
    }

    fn add(&mut self, claim: Claim) {
        if let Err(at) = self.as_slice().binary_search(&claim) {
            let mut claims = self.as_slice().to_vec();
            claims.insert(at, claim);
            *self = Self::of(claims);
        }
    }

    fn remove(&mut self, claim: &Claim) {
        *self = Self::of(self.as_slice().iter().filter(|other| *other != claim).cloned().collect());
    }

    fn of(mut claims: Vec<Claim>) -> Self {
        match claims.len() {
            0 => Self::None,
            1 => claims.pop().map_or(Self::None, Self::One),
            _ => Self::Many(Box::new(claims)),
        }
    }
}

/// An object that is part of the ground state.
#[derive(Clone, Debug)]
struct Current {
    written: Written,
    /// As events show it.
    shown: Resource,
}

/// An object that is part of the ground state, as its file has it.
#[derive(Clone, Debug)]
enum Written {
    /// No file gives it: it is a Namespace.
    Nowhere,
    /// As events show it, like nearly all.
    AsShown,
    Otherwise(Box<Resource>),
}

impl Current {
    fn new(written: Option<Resource>, shown: Resource) -> Self {
        let written = match written {
            None => Written::Nowhere,
            Some(written) if written.is_same_object(&shown) => Written::AsShown,
            Some(written) => Written::Otherwise(Box::new(written)),
        };
        Self { written, shown }
    }

    /// As its file has it; absent for Namespaces that no file gives.
    fn written(&self) -> Option<&Resource> {
        match &self.written {
            Written::Nowhere => None,
            Written::AsShown => Some(&self.shown),
            Written::Otherwise(written) => Some(written),
        }
    }
}

/// The objects of all files.
#[derive(Debug, Default)]
pub(super) struct Ground {
    objects: BTreeMap<ObjectId, Object>,
    /// Objects that more than one file gives.
    contested: BTreeSet<ObjectId>,
    /// Number of objects by namespace.
    namespaces: BTreeMap<Arc<str>, usize>,
    /// Objects to look at in [`Ground::settle`].
    touched: Vec<ObjectId>,
}

impl Ground {
    /// Replaces what a file says; `None` stands for a file that is not there.
    pub(super) fn replace(
        &mut self,
        file: &Arc<FileKey>,
        before: Option<&FileState>,
        after: Option<&FileState>,
    ) {
        // What an edit left alone is claimed as before.
        let is_kept = |id: &ObjectId, held: &Held, other: Option<&FileState>| {
            other.and_then(|state| state.objects.get(id)).is_some_and(|other| {
                other.stale == held.stale && other.resource.is_same_object(&held.resource)
            })
        };
        for (id, held) in before.iter().flat_map(|state| &state.objects) {
            if is_kept(id, held, after) {
                continue;
            }
            let claim = Claim { stale: held.stale, file: Arc::clone(file) };
            if let Some(object) = self.objects.get_mut(id) {
                object.claims.remove(&claim);
            }
            self.touched.push(id.clone());
        }
        for (id, held) in after.iter().flat_map(|state| &state.objects) {
            if is_kept(id, held, before) {
                continue;
            }
            let claim = Claim { stale: held.stale, file: Arc::clone(file) };
            self.objects.entry(id.clone()).or_default().claims.add(claim);
            self.touched.push(id.clone());
        }
    }

    /// The events that lead from the state of the last call to the state now. What is the same
    /// gives none.
    pub(super) fn settle(&mut self, files: &Files) -> Vec<ResourceEvent> {
        let mut events = Vec::new();
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        if touched.len() >= MANY {
            // They came one by one, which leaves a map with a third of its room to spare.
            self.objects = std::mem::take(&mut self.objects).into_iter().collect();
        }
        let (namespaces, others): (Vec<_>, Vec<_>) =
            touched.into_iter().partition(|id| id.kind == Kind::Namespace);
        let mut namespaces: BTreeSet<ObjectId> = namespaces.into_iter().collect();
        for id in others {
            if let Some(namespace) = self.settle_object(&id, files, &mut events) {
                namespaces.insert(ObjectId::new(Kind::Namespace, "", namespace));
            }
        }
        // Namespaces come last: whether one is there depends on the others.
        for id in namespaces {
            self.settle_object(&id, files, &mut events);
        }
        events
    }

    /// Brings one object up to date; the namespace that began or ceased to be referred to.
    fn settle_object(
        &mut self,
        id: &ObjectId,
        files: &Files,
        events: &mut Vec<ResourceEvent>,
    ) -> Option<Arc<str>> {
        let written = self.winner(id, files).map(|held| held.resource.clone());
        let before = self.objects.get_mut(id).and_then(|object| object.current.take());
        let shown = match (&written, &before) {
            (Some(written), before) => Some(shown(written, before.as_ref())),
            (None, _) if self.is_referred_to(id) => Some(namespace(&id.name)),
            (None, _) => None,
        };
        let was_there = before.is_some();
        let Some(shown) = shown else {
            self.objects.remove(id);
            if was_there {
                events.push(ResourceEvent::Delete(id.clone()));
                return self.count(id, false);
            }
            return None;
        };
        if before.is_none_or(|before| before.shown != shown) {
            events.push(ResourceEvent::Apply(shown.clone()));
        }
        let object = self.objects.entry(id.clone()).or_default();
        object.current = Some(Current::new(written, shown));
        if was_there { None } else { self.count(id, true) }
    }

    /// The file that an object is taken from, where that is what the file says now.
    pub(super) fn file_of(&self, id: &ObjectId) -> Option<&Arc<FileKey>> {
        let first = self.objects.get(id)?.claims.as_slice().first()?;
        (!first.stale).then_some(&first.file)
    }

    fn winner<'f>(&mut self, id: &ObjectId, files: &'f Files) -> Option<&'f Held> {
        let claims = self.objects.get(id).map_or(&[][..], |object| object.claims.as_slice());
        if claims.len() > 1 {
            self.contested.insert(id.clone());
        } else {
            self.contested.remove(id);
        }
        held(claims.first()?, id, files).map(|(_, held)| held)
    }

    fn is_referred_to(&self, id: &ObjectId) -> bool {
        id.kind == Kind::Namespace && self.namespaces.contains_key(&id.name)
    }

    /// Counts an object in or out; its namespace where that made the first or the last.
    fn count(&mut self, id: &ObjectId, is_there: bool) -> Option<Arc<str>> {
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
    pub(super) fn duplicates(&self, files: &Files) -> Vec<(Arc<FileKey>, Problem)> {
        let mut problems = Vec::new();
        for id in &self.contested {
            let claims =
                self.objects.get(id).into_iter().flat_map(|object| object.claims.as_slice());
            let mut given = claims.filter_map(|claim| {
                held(claim, id, files).map(|(state, held)| (claim, state, held))
            });
            let Some((_, state, first)) = given.next() else { continue };
            let first = place(&state.source, first.position);
            for (claim, state, held) in given.filter(|(claim, ..)| !claim.stale) {
                let problem = duplicate(&state.source, held.position, id.clone(), &first);
                problems.push((Arc::clone(&claim.file), problem));
            }
        }
        problems
    }
}

/// The object that a claim is about, with its file.
fn held<'f>(claim: &Claim, id: &ObjectId, files: &'f Files) -> Option<(&'f FileState, &'f Held)> {
    let state = files.get(&claim.file)?;
    Some((state, state.objects.get(id)?))
}

/// An object as the ground state has it: with a generation that grows when the spec changes, and
/// with the label that every Namespace has.
fn shown(written: &Resource, before: Option<&Current>) -> Resource {
    let mut shown = written.clone();
    if let Some(before) = before {
        let generation = before.shown.metadata().generation;
        let generation = match before.written() {
            Some(old) if !same_but_for_metadata(old, written) => generation + 1,
            _ => generation,
        };
        if generation > written.metadata().generation {
            shown.metadata_mut().generation = generation;
        }
    }
    if written.kind() == Kind::Namespace {
        let metadata = shown.metadata_mut();
        metadata.labels.insert(NAMESPACE_NAME_LABEL.to_owned(), metadata.name.to_string());
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
    let labels = [(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned())].into();
    Namespace { metadata: ObjectMeta { labels, generation: 1, ..ObjectMeta::cluster(name) } }.into()
}
