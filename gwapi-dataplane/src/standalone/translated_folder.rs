//! Files in, translation out, nothing served.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gwapi_model::manifest::Problem;
use gwapi_model::{ObjectId, Resource, ResourceEvent, Resources};
use gwapi_translate::ir::{ConfigDelta, GatewayId, IrResource};
use gwapi_translate::{Feedback, Options, Translation, TranslationDelta, Translator};

use super::{ChangeKind, ObjectChange, Overlay};
use crate::check_certificate;
use crate::folder::{Folder, FolderChange};

/// Events after which it is worth going over all objects.
const MANY: usize = 1_000;

/// What came of a change of files.
#[derive(Clone, Debug, Default)]
pub struct SourceChange {
    /// Files that were added, edited or removed.
    pub files: Vec<PathBuf>,
    /// Objects of files that changed, by kind and name.
    pub objects: Vec<ObjectChange>,
    /// What that does to the translation.
    pub delta: TranslationDelta,
    /// Time that the translation took.
    pub took: Duration,
}

/// A [`Folder`] with an [`Overlay`] and a [`Translator`] behind it.
#[derive(Debug)]
pub struct TranslatedFolder<O = ()> {
    folder: Folder,
    overlay: O,
    files: Resources,
    wanted: BTreeMap<ObjectId, Resource>,
    added: BTreeMap<ObjectId, Resource>,
    translator: Translator,
    problems: Vec<Problem>,
    foreign: Vec<(String, usize)>,
}

impl<O: Overlay> TranslatedFolder<O> {
    /// Reads files and folders and translates them. Missing paths are problems, not errors.
    pub fn open(paths: Vec<PathBuf>, options: Options, overlay: O) -> Self {
        let (folder, first) = Folder::open(paths);
        let mut source = Self {
            folder,
            overlay,
            files: Resources::default(),
            wanted: BTreeMap::new(),
            added: BTreeMap::new(),
            translator: Translator::new(options),
            problems: Vec::new(),
            foreign: Vec::new(),
        };
        source.take(first);
        source
    }

    /// Starts to watch the files. Call it before the first [`TranslatedFolder::wait`].
    pub fn watch(&mut self) -> std::io::Result<()> {
        self.folder.watch()
    }

    /// Waits until something changed, translates it, and says what it was; `None` after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Option<SourceChange> {
        let change = self.folder.wait(Some(timeout))?;
        Some(self.take(change))
    }

    /// Takes in what a data plane said about a Gateway.
    pub fn set_feedback(&mut self, gateway: &GatewayId, feedback: Feedback) -> TranslationDelta {
        self.translator.set_feedback(gateway, feedback)
    }

    /// Judges every certificate as a data plane would (TL-1), without one.
    pub fn check_certificates(&mut self) {
        let mut all = Vec::new();
        for (gateway, config) in &self.translator.translation().config {
            let mut feedback = Feedback::default();
            for resource in config.0.values() {
                if let IrResource::Certificate(certificate) = resource
                    && let Err(reason) = check_certificate(certificate)
                {
                    feedback.rejected_certificates.insert(certificate.key.clone(), reason);
                }
            }
            all.push((gateway.clone(), feedback));
        }
        for (gateway, feedback) in all {
            self.translator.set_feedback(&gateway, feedback);
        }
    }

    /// The overlay.
    pub fn overlay(&self) -> &O {
        &self.overlay
    }

    /// The overlay, to tell it what became of what it gave.
    pub(super) fn overlay_mut(&mut self) -> &mut O {
        &mut self.overlay
    }

    /// What files hold, as the overlay admitted it.
    pub fn files(&self) -> &Resources {
        &self.files
    }

    /// What is translated: files and what the overlay added.
    pub fn resources(&self) -> &Resources {
        self.translator.resources()
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        self.translator.options()
    }

    /// What it was translated to.
    pub fn translation(&self) -> &Translation {
        self.translator.translation()
    }

    /// Everything that is wrong with the files now.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Kinds that gwapi does not read, `apiVersion/kind` with the number of objects.
    pub fn foreign(&self) -> &[(String, usize)] {
        &self.foreign
    }

    /// The text of a file as it was last read: for snippets.
    pub fn text(&self, source: &str) -> Option<&str> {
        self.folder.text(source)
    }

    /// The file that an object is taken from, see [`Folder::source_of`].
    pub fn source_of(&self, object: &ObjectId) -> Option<&str> {
        self.folder.source_of(object)
    }

    /// The text of the file that an object is taken from, see [`Folder::text_of`].
    pub fn text_of(&self, object: &ObjectId) -> Option<String> {
        self.folder.text_of(object)
    }

    /// Whether a file is served as it was when it was last good, see [`Folder::keeps_last_good`].
    pub fn keeps_last_good(&self, source: &str) -> bool {
        self.folder.keeps_last_good(source)
    }

    fn take(&mut self, change: FolderChange) -> SourceChange {
        let began = Instant::now();
        self.problems = change.problems;
        self.foreign = change.foreign;
        let mut events: Vec<_> =
            change.events.into_iter().map(|event| admit(&mut self.overlay, event)).collect();
        let objects = self.follow_files(&events);

        let mut options = self.translator.options().clone();
        let wanted = self.overlay.follow(&self.files, &objects, &mut options);
        let mut stale = objects.iter().any(|object| self.wanted.contains_key(&object.id));
        if let Some(wanted) = wanted {
            self.wanted = wanted.into_iter().map(|object| (object.id(), object)).collect();
            stale = true;
        }
        if stale {
            events.extend(self.add_what_is_wanted());
        }
        let mut delta = if options == *self.translator.options() {
            TranslationDelta::default()
        } else {
            self.translator.set_options(options)
        };
        merge(&mut delta, self.translator.apply_all(events));
        SourceChange { files: change.files, objects, delta, took: began.elapsed() }
    }

    /// Brings `files` up to date, and says what changed.
    fn follow_files(&mut self, events: &[ResourceEvent]) -> Vec<ObjectChange> {
        let mut touched: BTreeMap<ObjectId, Option<Resource>> = BTreeMap::new();
        for event in events {
            for id in ids_of(event, &self.files) {
                let before = self.files.get(&id);
                touched.entry(id).or_insert(before);
            }
            self.files.apply(event.clone());
        }
        if events.len() >= MANY {
            self.files.pack();
        }
        touched
            .into_iter()
            .filter_map(|(id, before)| {
                let kind = match (before, self.files.get(&id)) {
                    (None, Some(_)) => ChangeKind::Added,
                    (Some(_), None) => ChangeKind::Removed,
                    (Some(before), Some(after)) if before != after => ChangeKind::Changed,
                    _ => return None,
                };
                Some(ObjectChange { id, kind })
            })
            .collect()
    }

    /// The events by which what the overlay wants, and no file holds, is added.
    fn add_what_is_wanted(&mut self) -> Vec<ResourceEvent> {
        let mut added = self.wanted.clone();
        added.retain(|id, _| self.files.get(id).is_none());
        let gone =
            self.added.keys().filter(|id| !added.contains_key(*id) && self.files.get(id).is_none());
        let mut events: Vec<_> = gone.cloned().map(ResourceEvent::Delete).collect();
        let new = added.iter().filter(|(id, object)| self.added.get(*id) != Some(*object));
        events.extend(new.map(|(_, object)| ResourceEvent::Apply(object.clone())));
        self.added = added;
        events
    }
}

/// The event as the overlay wants it.
fn admit(overlay: &mut impl Overlay, event: ResourceEvent) -> ResourceEvent {
    match event {
        ResourceEvent::Apply(resource) => {
            let id = resource.id();
            match overlay.admit(resource) {
                Some(resource) => ResourceEvent::Apply(resource),
                None => ResourceEvent::Delete(id),
            }
        }
        ResourceEvent::Relist(kind, list) => ResourceEvent::Relist(
            kind,
            list.into_iter().filter_map(|resource| overlay.admit(resource)).collect(),
        ),
        delete @ ResourceEvent::Delete(_) => delete,
    }
}

/// Every object that an event may change.
fn ids_of(event: &ResourceEvent, before: &Resources) -> BTreeSet<ObjectId> {
    match event {
        ResourceEvent::Apply(resource) => BTreeSet::from([resource.id()]),
        ResourceEvent::Delete(id) => BTreeSet::from([id.clone()]),
        ResourceEvent::Relist(kind, list) => {
            before.ids(*kind).into_iter().chain(list.iter().map(Resource::id)).collect()
        }
    }
}

/// Adds `next` to `total`, so that applying the sum is applying both in turn.
fn merge(total: &mut TranslationDelta, next: TranslationDelta) {
    if total.is_empty() {
        *total = next;
        return;
    }
    for gateway in next.removed_gateways {
        total.config.remove(&gateway);
        if !total.removed_gateways.contains(&gateway) {
            total.removed_gateways.push(gateway);
        }
    }
    for (gateway, delta) in next.config {
        merge_config(total.config.entry(gateway).or_default(), delta);
    }
    total.status.extend(next.status);
    total.infrastructure.extend(next.infrastructure);
    total.selections.extend(next.selections);
    total.references.extend(next.references);
}

fn merge_config(total: &mut ConfigDelta, next: ConfigDelta) {
    let removed: BTreeSet<_> = next.removals.iter().cloned().collect();
    let upserted: BTreeSet<_> = next.upserts.iter().map(IrResource::key).collect();
    total.upserts.retain(|resource| {
        let key = resource.key();
        !removed.contains(&key) && !upserted.contains(&key)
    });
    total.removals.retain(|key| !removed.contains(key) && !upserted.contains(key));
    total.upserts.extend(next.upserts);
    total.removals.extend(next.removals);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gwapi_translate::ir::{Backend, BackendKey, BackendProtocol, IrKey};

    use super::*;

    fn backend(name: &str, protocol: BackendProtocol) -> IrResource {
        IrResource::Backend(Arc::new(Backend {
            key: BackendKey::new(name),
            protocol,
            tls: None,
            session: None,
            retry_budget: None,
        }))
    }

    fn delta(upserts: Vec<IrResource>, removals: &[&str]) -> TranslationDelta {
        let removals = removals.iter().map(|name| IrKey::Backend(BackendKey::new(*name))).collect();
        let gateway = GatewayId::new("default", "web");
        TranslationDelta {
            config: BTreeMap::from([(gateway, ConfigDelta { upserts, removals })]),
            ..TranslationDelta::default()
        }
    }

    #[test]
    fn a_merged_delta_does_what_both_do_in_turn() {
        use BackendProtocol::{H2c, Http1};
        let gone = TranslationDelta {
            removed_gateways: vec![GatewayId::new("default", "web")],
            ..TranslationDelta::default()
        };
        let deltas = [
            delta(vec![backend("a", Http1), backend("b", Http1)], &[]),
            delta(vec![backend("a", H2c)], &["b"]),
            delta(vec![backend("b", H2c), backend("c", Http1)], &["a"]),
            gone,
        ];
        let mut start = Translation::default();
        start.apply(&delta(vec![backend("a", Http1), backend("z", Http1)], &[]));
        for first in &deltas {
            for second in &deltas {
                let mut expected = start.clone();
                expected.apply(first);
                expected.apply(second);
                let mut sum = first.clone();
                merge(&mut sum, second.clone());
                let mut merged = start.clone();
                merged.apply(&sum);
                assert_eq!(merged, expected, "{first:?} and {second:?}");
            }
        }
    }
}
