//! What the engine does, without a runtime: observations and reports in, changes out.
//!
//! * Nothing goes out before every kind has been listed, and everything that was referred to then has been
//!   read: the first change is the whole state.
//! * An object that refers to something that has not been read yet waits for it, alone and not for
//!   long. So a new certificate never shows as one that is missing.
//! * An object that cannot be read is told of. What it was before goes on being served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use gwapi_model::status::Status;
use gwapi_model::{
    BackendTlsPolicy, Kind, NamespacedName, ObjectId, ObjectMeta, Resource, ResourceEvent,
    Resources,
};
use gwapi_translate::ir::{GatewayId, SessionKeys};
use gwapi_translate::wire::ResourceVersions;
use gwapi_translate::{Feedback, Options, TranslationDelta, Translator};

use super::progress::{Progress, SourceState};
use super::references::References;
use super::unreadable;
use crate::provision::{ProvisionReport, SelectionReport};
use crate::status::Heard;
use crate::watch::{Object, Observation, Observed, Reference, Source, Unreadable, has_status};

/// How long an object waits for what it refers to.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long what the proxies of a Gateway said counts when none of them is connected any more. A proxy that
/// lost its stream is back sooner, here or at another replica, which then hears what becomes of it.
const LAST_WORD: Duration = Duration::from_secs(20);

/// What the engine hears of.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// From the API server.
    Observation(Observation),
    /// From the proxies of a Gateway, with its uid.
    Proxies(GatewayId, String, Feedback),
    /// No proxy of a Gateway is connected that serves something.
    Unserved(GatewayId),
    /// From whoever provisions Gateways.
    Infrastructure(ProvisionReport),
    /// From whoever makes Services for XBackends.
    Selection(SelectionReport),
    /// The keys of sessions are others now.
    SessionKeys(SessionKeys),
}

/// What came of some inputs.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Changes of configuration and status, to be handed out one after the other.
    pub(crate) deltas: Vec<TranslationDelta>,
    /// Objects with a status of ours, as they are in the API server.
    pub(crate) heard: Vec<(ObjectId, Heard)>,
    /// Those of them that count from now on as they were heard of last: what is new in their status is among the
    /// changes.
    pub(crate) judged: Vec<ObjectId>,
    /// What is to be read from now on, and what no more.
    pub(crate) references: Vec<Reference>,
    /// The first whole state is in this step.
    pub(crate) went_live: bool,
}

impl Step {
    fn note_judged(&mut self, id: &ObjectId) {
        if has_status(id.kind) {
            self.judged.push(id.clone());
        }
    }
}

/// The state of the engine.
#[derive(Debug)]
pub(crate) struct Core {
    translator: Translator,
    references: References,
    /// The ground state until everything has been read.
    pending: Option<Resources>,
    /// Objects that wait for what they refer to.
    held: BTreeMap<ObjectId, Held>,
    unreadable: BTreeMap<ObjectId, Broken>,
    /// The BackendTLSPolicies of which a version could be read, which counts until they are gone.
    policies: BTreeSet<ObjectId>,
    /// ListenerSets that cannot be read and that the translation counts, by Gateway (LS-8).
    miscounts: BTreeMap<ObjectId, i32>,
    progress: Progress,
    versions: ResourceVersions,
    /// Gateways of which no proxy is connected, with when to forget what those said that were.
    unserved: BTreeMap<GatewayId, Instant>,
    /// The IP addresses in the status of each Gateway that has some.
    addresses: BTreeMap<ObjectId, Vec<IpAddr>>,
}

#[derive(Debug)]
struct Held {
    resource: Resource,
    deadline: Instant,
}

#[derive(Debug)]
struct Broken {
    problem: Unreadable,
    /// The status that was handed out for it last.
    told: Option<Status>,
}

impl Core {
    /// An engine that has to hear of every one of these sources before it says anything.
    pub(crate) fn new(options: Options, sources: Vec<Source>) -> Self {
        Self {
            references: References::new(&options.controller_name),
            translator: Translator::new(options),
            pending: Some(Resources::default()),
            held: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            policies: BTreeSet::new(),
            miscounts: BTreeMap::new(),
            progress: Progress::new(sources),
            versions: ResourceVersions::default(),
            unserved: BTreeMap::new(),
            addresses: BTreeMap::new(),
        }
    }

    /// The IP addresses that the status of a Gateway has, whoever wrote it, in their order.
    pub(crate) fn addresses(&self, gateway: &GatewayId) -> Vec<IpAddr> {
        self.addresses.get(&gateway.object_id(Kind::Gateway)).cloned().unwrap_or_default()
    }

    /// How far the picture is complete.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// How far the sources are.
    pub(crate) fn versions(&self) -> &ResourceVersions {
        &self.versions
    }

    /// The current translation.
    pub(crate) fn translator(&self) -> &Translator {
        &self.translator
    }

    /// Whether everything that may have proxies is known: what no Gateway asks for has no use then.
    /// Nobody can tell what a Gateway asks for that cannot be read, unless it is of another controller's class.
    pub(crate) fn knows_all_gateways(&self) -> bool {
        let controller_name = &self.translator.options().controller_name;
        let is_anothers = |broken: &Broken| {
            let class = NamespacedName::new("", broken.problem.claim.name.as_str());
            let class = self.resources().gateway_classes.get(&class);
            class.is_some_and(|class| class.spec.controller_name != *controller_name)
        };
        let gateways = self.unreadable.iter().filter(|(id, _)| id.kind == Kind::Gateway);
        self.progress.obstacles().is_empty() && gateways.map(|(_, broken)| broken).all(is_anothers)
    }

    /// Whether everything that may send to an XBackend is known as well: what is made for one that nobody sends to
    /// has no use then.
    pub(crate) fn knows_all_senders(&self) -> bool {
        let may_send = |id: &ObjectId| {
            let kinds =
                [Kind::GatewayClass, Kind::ListenerSet, Kind::XBackend, Kind::TelemetryPolicy];
            id.kind.route_kind().is_some() || kinds.contains(&id.kind)
        };
        self.knows_all_gateways() && !self.unreadable.keys().any(may_send)
    }

    /// The status of every object that we have something to say about.
    pub(crate) fn statuses(&self) -> BTreeMap<ObjectId, Option<Status>> {
        let known = self.translator.translation().status.iter();
        let mut statuses: BTreeMap<ObjectId, Option<Status>> =
            known.map(|(id, status)| (id.clone(), Some(status.clone()))).collect();
        for (id, miscount) in &self.miscounts {
            if let Some(Some(status)) = statuses.get_mut(id) {
                unreadable::correct(status, *miscount);
            }
        }
        for (id, broken) in &self.unreadable {
            if broken.told.is_some() {
                statuses.insert(id.clone(), broken.told.clone());
            }
        }
        statuses
    }

    /// When something has to happen even if nothing is heard of.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let held = self.held.values().map(|held| held.deadline);
        held.chain(self.unserved.values().copied()).min()
    }

    /// Takes inputs in, as one change.
    pub(crate) fn step(&mut self, inputs: Vec<Input>, now: Instant) -> Step {
        let mut step = Step::default();
        let mut events = Vec::new();
        let mut said = Said::default();
        let mut readable = Vec::new();
        for input in inputs {
            let mut noted = Noted { events: &mut events, step: &mut step, readable: &mut readable };
            match input {
                Input::Observation(observation) => self.observe(observation, now, &mut noted),
                Input::Proxies(gateway, uid, feedback) => {
                    self.unserved.remove(&gateway);
                    said.by_proxies.insert(gateway, (Some(uid), feedback));
                }
                Input::Unserved(gateway) => {
                    self.unserved.entry(gateway).or_insert(now + LAST_WORD);
                }
                Input::Infrastructure(report) => {
                    said.by_provisioner.insert(report.gateway.clone(), report);
                }
                Input::Selection(report) => {
                    said.of_selections.insert(report.backend.clone(), report);
                }
                Input::SessionKeys(keys) => {
                    let delta = self.translator.set_session_keys(Some(keys));
                    if !delta.is_empty() {
                        step.deltas.push(delta);
                    }
                }
            }
        }
        for (gateway, _) in self.unserved.extract_if(.., |_, at| *at <= now) {
            said.by_proxies.insert(gateway, (None, Feedback::default()));
        }
        let mut noted = Noted { events: &mut events, step: &mut step, readable: &mut readable };
        self.release(now, &mut noted);
        self.translate(events, &mut step);
        let selections = std::mem::take(&mut said.of_selections);
        self.take_in(said, &mut step);
        for SelectionReport { backend, uid, problem } in selections.into_values() {
            let delta = self.translator.set_selection_problem(&backend, &uid, problem);
            if !delta.is_empty() {
                step.deltas.push(delta);
            }
        }
        self.tell_of_unreadable(readable, &mut step);
        self.progress.unreadable = self.unreadable.len();
        step
    }

    /// TL-9: not every cluster has ClusterTrustBundles, and whoever refers to one is told.
    fn note_served(&mut self, source: &Source, is_served: bool, noted: &mut Noted<'_>) {
        if source.kind == Kind::ClusterTrustBundle {
            let delta = self.translator.set_cluster_trust_bundles(is_served);
            if !delta.is_empty() {
                noted.step.deltas.push(delta);
            }
        }
    }

    fn observe(&mut self, observation: Observation, now: Instant, noted: &mut Noted<'_>) {
        let is_about_namespaces = tells_of_namespaces(&observation);
        match observation {
            Observation::Listed(source, objects, version) => {
                self.note_served(&source, true, noted);
                self.list(&source, objects, now, noted);
                self.versions.complete(&source.to_string(), &version);
                self.progress.set(source, SourceState::Listed);
            }
            Observation::Applied(source, object) => {
                self.versions.changed(&source.to_string(), &object.resource_version);
                self.progress.set(source, SourceState::Listed);
                self.apply(object, Heard::Changed, now, noted);
            }
            Observation::Deleted(source, id, version) => {
                self.versions.changed(&source.to_string(), &version);
                self.delete(id, noted);
            }
            Observation::UpTo(source, version) => {
                self.versions.complete(&source.to_string(), &version);
                self.progress.set(source, SourceState::Listed);
            }
            Observation::Absent(source) => {
                self.note_served(&source, false, noted);
                self.list(&source, Vec::new(), now, noted);
                self.progress.set(source, SourceState::Absent);
            }
            Observation::Failed(source, error) => self.progress.failed(source, error),
            Observation::Denied(source, error) => self.progress.denied(source, error),
            Observation::Bundle(bundle) => {
                self.progress.knows_crds = true;
                let delta = self.translator.set_installed_bundle(bundle);
                if !delta.is_empty() {
                    noted.step.deltas.push(delta);
                }
            }
            Observation::Fetched(source, id, object) => self.fetch(&source, id, object, now, noted),
        }
        if is_about_namespaces {
            self.drop_what_is_nowhere(now, noted);
        }
    }

    /// Lets sources count as listed that are denied because their namespace does not exist. What was in it is gone:
    /// who must not watch is not told of its end.
    fn drop_what_is_nowhere(&mut self, now: Instant, noted: &mut Noted<'_>) {
        let Self { progress, references, unreadable, .. } = self;
        let homeless = progress.excuse(|name| {
            references.has_namespace(name)
                || unreadable.contains_key(&ObjectId::new(Kind::Namespace, "", name))
        });
        for source in homeless {
            self.list(&source, Vec::new(), now, noted);
        }
    }

    /// What is not listed is gone.
    fn list(&mut self, source: &Source, objects: Vec<Object>, now: Instant, noted: &mut Noted<'_>) {
        let listed: BTreeSet<ObjectId> = objects.iter().map(|object| object.id.clone()).collect();
        let mut known: BTreeSet<ObjectId> = self.resources().ids(source.kind).into_iter().collect();
        known.extend(self.held.keys().cloned());
        known.extend(self.unreadable.keys().cloned());
        // So is what the same batch has brought.
        known.extend(noted.events.iter().filter_map(|event| match event {
            ResourceEvent::Apply(resource) if resource.kind() == source.kind => Some(resource.id()),
            _ => None,
        }));
        for id in known {
            if source.holds(&id) && !listed.contains(&id) {
                self.delete(id, noted);
            }
        }
        for object in objects {
            self.versions.changed(&source.to_string(), &object.resource_version);
            self.apply(object, Heard::Listed, now, noted);
        }
    }

    fn apply(
        &mut self,
        object: Object,
        heard: fn(Observed) -> Heard,
        now: Instant,
        noted: &mut Noted<'_>,
    ) {
        if let Some(observed) = object.observed {
            self.note_addresses(&object.id, &observed);
            noted.step.heard.push((object.id.clone(), heard(observed)));
        }
        match object.content {
            Ok(resource) => {
                if self.unreadable.remove(&object.id).is_some() {
                    noted.readable.push(object.id);
                }
                self.admit(resource, now, noted);
            }
            Err(problem) => {
                noted.step.note_judged(&object.id);
                noted.events.extend(self.stand_in(&object.id, &problem));
                self.refuse(object.id, problem);
            }
        }
    }

    fn note_addresses(&mut self, id: &ObjectId, observed: &Observed) {
        if id.kind != Kind::Gateway {
            return;
        }
        match observed.addresses() {
            none if none.is_empty() => self.addresses.remove(id),
            some => self.addresses.insert(id.clone(), some),
        };
    }

    /// What stands in for a policy that nobody could read yet: without one its Services would be spoken to
    /// in the clear (BT-5).
    fn stand_in(&self, id: &ObjectId, problem: &Unreadable) -> Option<ResourceEvent> {
        if !has_stand_in(id, &self.policies) {
            return None;
        }
        Some(match stand_in(id, problem) {
            Some(policy) => ResourceEvent::Apply(policy.into()),
            // This version is for no Service, as far as it can be read.
            None => ResourceEvent::Delete(id.clone()),
        })
    }

    fn refuse(&mut self, id: ObjectId, problem: Unreadable) {
        let known = self.unreadable.get(&id);
        if known.is_none_or(|known| known.problem != problem) {
            let outcome = match has_stand_in(&id, &self.policies) {
                true => "a policy could never be read; requests of its Services fail",
                false => {
                    "an object cannot be read; its last version that could be, if any, is served"
                }
            };
            tracing::warn!(
                object = %id,
                generation = problem.generation,
                problem = problem.message,
                "{outcome}"
            );
        }
        // What was said of its last good version may not be ours to say in the very step that breaks it
        // (ST-6).
        let told = match known {
            Some(known) => known.told.clone(),
            None => self.translator.translation().status.get(&id).cloned(),
        };
        self.unreadable.insert(id, Broken { problem, told });
    }

    /// Takes an object in, as soon as everything is known that it refers to.
    fn admit(&mut self, resource: Resource, now: Instant, noted: &mut Noted<'_>) {
        let id = resource.id();
        if id.kind == Kind::BackendTlsPolicy {
            self.policies.insert(id.clone());
        }
        let changes = self.references.add(&resource);
        self.refer(changes, noted);
        if !self.references.is_starting() || self.references.is_loaded(&id) {
            self.held.remove(&id);
            let changes = self.references.set(&resource);
            self.refer(changes, noted);
            noted.step.note_judged(&id);
            noted.events.push(ResourceEvent::Apply(resource));
        } else {
            let deadline = self.held.get(&id).map_or(now + PATIENCE, |held| held.deadline);
            self.held.insert(id, Held { resource, deadline });
        }
    }

    fn delete(&mut self, id: ObjectId, noted: &mut Noted<'_>) {
        self.held.remove(&id);
        if self.unreadable.remove(&id).is_some() {
            // Translation, which may never have known it, takes nothing back.
            noted.readable.push(id.clone());
        }
        self.policies.remove(&id);
        self.addresses.remove(&id);
        let changes = self.references.remove(&id);
        self.refer(changes, noted);
        if has_status(id.kind) {
            noted.step.heard.push((id.clone(), Heard::Gone));
        }
        noted.events.push(ResourceEvent::Delete(id));
    }

    /// Takes in what is to be read from now on, and what no more. What nothing refers to is not kept; it may be
    /// referred to again, and arrive, in the same batch.
    fn refer(&mut self, changes: Vec<Reference>, noted: &mut Noted<'_>) {
        for change in &changes {
            if let Reference::Removed(id) = change {
                self.unreadable.remove(id);
                noted.events.push(ResourceEvent::Delete(id.clone()));
            }
        }
        noted.step.references.extend(changes);
    }

    fn fetch(
        &mut self,
        source: &Source,
        id: ObjectId,
        object: Option<Object>,
        now: Instant,
        noted: &mut Noted<'_>,
    ) {
        if !self.references.load(&id) {
            return;
        }
        match object {
            Some(object) => {
                self.versions.changed(&source.to_string(), &object.resource_version);
                self.apply(object, Heard::Changed, now, noted);
            }
            None => noted.events.push(ResourceEvent::Delete(id)),
        }
    }

    /// Lets objects go on whose references are known, or that have waited long enough.
    fn release(&mut self, now: Instant, noted: &mut Noted<'_>) {
        let is_due =
            |id: &ObjectId, held: &Held| held.deadline <= now || self.references.is_loaded(id);
        let due: Vec<ObjectId> = self
            .held
            .iter()
            .filter(|(id, held)| is_due(id, held))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let Some(held) = self.held.remove(&id) else { continue };
            let changes = self.references.set(&held.resource);
            self.refer(changes, noted);
            noted.step.note_judged(&id);
            noted.events.push(ResourceEvent::Apply(held.resource));
        }
    }

    fn translate(&mut self, events: Vec<ResourceEvent>, step: &mut Step) {
        let Some(pending) = &mut self.pending else {
            let delta = self.translator.apply_all(events);
            for gateway in &delta.removed_gateways {
                self.unserved.remove(gateway);
            }
            if !delta.is_empty() {
                step.deltas.push(delta);
            }
            return;
        };
        events.into_iter().for_each(|event| pending.apply(event));
        if self.progress.is_complete() && self.references.is_start_loaded() {
            let events: Vec<ResourceEvent> = pending.iter().map(ResourceEvent::Apply).collect();
            self.pending = None;
            self.progress.is_live = true;
            step.went_live = true;
            step.deltas.push(self.translator.apply_all(events));
        }
    }

    /// Takes in what was said of Gateways, beside what is known from others. Nobody speaks about a Gateway before it
    /// is handed out, so that what is said about others is about one that is gone, as is what is said with the uid
    /// of another one.
    fn take_in(&mut self, mut said: Said, step: &mut Step) {
        let gateways = said.by_proxies.keys().chain(said.by_provisioner.keys());
        for gateway in gateways.cloned().collect::<BTreeSet<GatewayId>>() {
            let translation = self.translator.translation();
            if !translation.config.contains_key(&gateway) {
                continue;
            }
            let wanted = translation.infrastructure.get(&gateway);
            let is_meant = |uid: &str| wanted.is_none_or(|wanted| wanted.uid == uid);
            let by_proxies = said.by_proxies.remove(&gateway);
            let by_proxies =
                by_proxies.filter(|(uid, _)| uid.as_deref().is_none_or(is_meant)).map(|(_, it)| it);
            let by_provisioner = said.by_provisioner.remove(&gateway);
            let by_provisioner = by_provisioner.filter(|report| is_meant(&report.uid));
            if by_proxies.is_none() && by_provisioner.is_none() {
                continue;
            }
            let known = self.report(&gateway);
            let infrastructure =
                by_provisioner.map_or_else(|| known.infrastructure.clone(), |it| it.infrastructure);
            let feedback = Feedback { infrastructure, ..by_proxies.unwrap_or(known) };
            let delta = self.translator.set_feedback(&gateway, feedback);
            if !delta.is_empty() {
                step.deltas.push(delta);
            }
        }
    }

    /// What was said about a Gateway so far.
    fn report(&self, gateway: &GatewayId) -> Feedback {
        self.translator.feedback(gateway).cloned().unwrap_or_default()
    }

    /// Puts the status of objects that cannot be read in the place of what translation says about
    /// their last good version, and the latter back where an object can be read again. Gateways count no
    /// ListenerSet that cannot be read (LS-8).
    fn tell_of_unreadable(&mut self, readable: Vec<ObjectId>, step: &mut Step) {
        if self.pending.is_some() {
            return;
        }
        let miscounts = unreadable::miscounts(self.unreadable.keys(), &self.translator);
        let correct = |id: &ObjectId, status: &mut Option<Status>| {
            if let (Some(status), Some(miscount)) = (status, miscounts.get(id)) {
                unreadable::correct(status, *miscount);
            }
        };
        for (id, status) in step.deltas.iter_mut().flat_map(|delta| &mut delta.status) {
            correct(id, status);
        }
        let gateways = self.miscounts.keys().chain(miscounts.keys());
        let recounted = gateways.filter(|id| self.miscounts.get(*id) != miscounts.get(*id));
        let mut told = BTreeMap::new();
        for id in recounted.cloned().chain(readable) {
            let mut status = self.translator.translation().status.get(&id).cloned();
            correct(&id, &mut status);
            told.insert(id, status);
        }
        for (id, broken) in &mut self.unreadable {
            for delta in &mut step.deltas {
                delta.status.remove(id);
            }
            told.remove(id);
            let has_stand_in = has_stand_in(id, &self.policies);
            let mut status =
                unreadable::status(id, &broken.problem, has_stand_in, &self.translator);
            correct(id, &mut status);
            if status != broken.told {
                broken.told.clone_from(&status);
                told.insert(id.clone(), status);
            }
        }
        self.miscounts = miscounts;
        if !told.is_empty() {
            step.deltas.push(TranslationDelta { status: told, ..TranslationDelta::default() });
        }
    }

    fn resources(&self) -> &Resources {
        self.pending.as_ref().unwrap_or_else(|| self.translator.resources())
    }
}

/// What is said of Gateways and XBackends, the last word of each.
#[derive(Default)]
struct Said {
    /// By their proxies, with the uid of the Gateway; without one, nobody says anything any more.
    by_proxies: BTreeMap<GatewayId, (Option<String>, Feedback)>,
    /// By whoever provisions them.
    by_provisioner: BTreeMap<GatewayId, ProvisionReport>,
    /// By whoever makes Services for XBackends.
    of_selections: BTreeMap<NamespacedName, SelectionReport>,
}

/// What comes up while inputs are looked at.
struct Noted<'a> {
    events: &'a mut Vec<ResourceEvent>,
    step: &'a mut Step,
    /// Objects that could not be read and now can, or are gone.
    readable: &'a mut Vec<ObjectId>,
}

/// Whether it may show that a namespace does not exist of which a source is denied.
fn tells_of_namespaces(observation: &Observation) -> bool {
    match observation {
        Observation::Denied(..) => true,
        Observation::Listed(source, ..)
        | Observation::Applied(source, _)
        | Observation::Deleted(source, ..)
        | Observation::UpTo(source, _) => source.kind == Kind::Namespace,
        _ => false,
    }
}

/// Whether what cannot be read is a policy of which no version could be read either; `policies` are those of
/// which one could be.
fn has_stand_in(id: &ObjectId, policies: &BTreeSet<ObjectId>) -> bool {
    id.kind == Kind::BackendTlsPolicy && !policies.contains(id)
}

/// A policy that nobody can satisfy, for the Services that one names that cannot be read; `None` where it names
/// none.
fn stand_in(id: &ObjectId, problem: &Unreadable) -> Option<BackendTlsPolicy> {
    let NamespacedName { namespace, name } = id.namespaced_name();
    let metadata = ObjectMeta {
        name,
        namespace,
        creation_timestamp: problem.created,
        generation: problem.generation,
        ..ObjectMeta::default()
    };
    let targets = problem.claim.targets.iter().cloned();
    BackendTlsPolicy::unsatisfiable(metadata, targets)
}

#[cfg(test)]
mod tests;
