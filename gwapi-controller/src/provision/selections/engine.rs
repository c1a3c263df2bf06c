//! The task that has the Services of all XBackends made, looked after and removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gwapi_model::NamespacedName;
use gwapi_translate::selection::EndpointSelection;
use kube::Client;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::super::agenda::{Agenda, pause};
use super::super::drift::seal;
use super::super::kind::ManagedKind;
use super::super::live::Stream;
use super::super::plan::{Plan, Removal, Settled};
use super::super::repairs::Repairs;
use super::super::settings::ProvisionSettings;
use super::super::watch::{Sighting, namespaces, watch};
use super::SelectionReport;
use super::carry_out::{Outcome, Site};
use super::live::{Concerned, Store};
use super::plan::{name, plan, plan_removal};
use super::service::selector;

/// XBackends that are worked on at once.
const CONCURRENCY: usize = 8;

/// Sightings that wait to be looked at.
const SIGHTINGS: usize = 256;

/// How long a Service stays that nobody needs any more. Who sends to an XBackend may be gone for a moment only: a
/// route that is replaced, a class that was deleted by mistake.
const GRACE: Duration = Duration::from_secs(20);

/// What the engine is told.
#[derive(Debug)]
pub(super) enum Command {
    /// This has to be selected for an XBackend; nothing, if `None`.
    Set(NamespacedName, Option<Arc<EndpointSelection>>),
    /// All XBackends have been told: what is not needed has to go.
    Synced,
}

/// An XBackend.
#[derive(Default)]
struct Entry {
    wanted: Option<Arc<EndpointSelection>>,
    /// Until when its Service stays although it is not wanted.
    kept_until: Option<Instant>,
    /// It is being worked on.
    is_busy: bool,
    /// What could not be done the last time.
    failure: Option<String>,
    /// How many times in a row something failed.
    attempts: u32,
    /// Not to be tried again before.
    retry_at: Option<Instant>,
    /// What was applied last, and which version of the Service came of it.
    settled: Settled,
    /// The uid of the XBackend, if it was found to be on its way out, or another to have its name: there is no way
    /// back from there.
    leaving: Option<String>,
    repairs: Repairs,
    reported: Option<Option<String>>,
}

impl Entry {
    /// The uid of the XBackend that something has to be selected for; empty where nothing has to be.
    fn uid(&self) -> &str {
        self.wanted.as_ref().map_or("", |wanted| &wanted.uid)
    }

    /// Takes in what has to be selected from now on. It is tried at once, and answered whatever comes of it; what
    /// was found out about another XBackend of the name says nothing of this one.
    fn set(&mut self, wanted: Option<Arc<EndpointSelection>>) {
        let next = Self { wanted, is_busy: self.is_busy, ..Self::default() };
        if next.uid() == self.uid() {
            self.wanted = next.wanted;
            self.attempts = 0;
            self.retry_at = None;
            self.reported = None;
        } else {
            *self = next;
        }
        self.kept_until = self.wanted.is_none().then(|| Instant::now() + GRACE);
    }

    /// Takes in what came of work, as far as it does not concern what is there. Tells what goes on being wrong for
    /// the first time.
    fn take(&mut self, outcome: &Outcome, now: Instant) -> Option<String> {
        if let Some((manifest, object)) = &outcome.applied {
            self.settled.record(manifest, object);
            self.repairs.note((manifest.kind, manifest.name.clone()), seal(manifest).clone(), now);
        } else if !outcome.deleted.is_empty() {
            // What comes in the place of what was removed by ourselves repairs nothing.
            self.repairs = Repairs::default();
        }
        if outcome.leaving.is_some() {
            self.leaving.clone_from(&outcome.leaving);
        }
        let known = std::mem::replace(&mut self.failure, outcome.failure.clone());
        // Whatever did not go as it was planned is tried again after a pause.
        let is_as_planned = outcome.found.is_empty() && outcome.gone.is_empty();
        if self.failure.is_none() && is_as_planned {
            self.attempts = 0;
            self.retry_at = None;
        } else {
            self.retry_at = Some(now + pause(self.attempts));
            self.attempts = self.attempts.saturating_add(1);
        }
        self.failure.clone().filter(|failure| known.as_ref() != Some(failure))
    }
}

/// See the module.
pub(super) struct Engine {
    client: Client,
    controller_name: String,
    backends: BTreeMap<NamespacedName, Entry>,
    store: Store,
    streams: Vec<Stream>,
    /// All XBackends have been told.
    is_complete: bool,
    agenda: Agenda<NamespacedName>,
    /// Dropped with the engine, which ends them.
    watches: JoinSet<()>,
    works: JoinSet<(Site, Outcome)>,
    permits: Arc<Semaphore>,
    unsent: BTreeMap<NamespacedName, SelectionReport>,
}

impl Engine {
    /// Starts to watch, and runs until nobody commands any more. Dropped, it stops at once; requests under way may
    /// or may not take effect.
    pub(super) async fn run(
        client: Client,
        settings: ProvisionSettings,
        mut commands: mpsc::UnboundedReceiver<Command>,
        reports: mpsc::Sender<SelectionReport>,
    ) {
        let (sender, mut sightings) = mpsc::channel(SIGHTINGS);
        let mut engine = Self {
            client,
            store: Store::new(settings.controller_name.clone()),
            controller_name: settings.controller_name,
            backends: BTreeMap::new(),
            streams: streams(&settings.namespaces),
            is_complete: false,
            agenda: Agenda::new(),
            watches: JoinSet::new(),
            works: JoinSet::new(),
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            unsent: BTreeMap::new(),
        };
        engine.watch(&sender);
        loop {
            let alarm = engine.agenda.next_alarm();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => engine.obey(command),
                    None => return,
                },
                Some(sighting) = sightings.recv() => {
                    engine.see(sighting);
                    while let Ok(sighting) = sightings.try_recv() {
                        engine.see(sighting);
                    }
                }
                Some(done) = engine.works.join_next() => match done {
                    Ok((site, outcome)) => engine.take(site, outcome),
                    Err(error) => warn!(%error, "work on an XBackend ended early"),
                },
                permit = reports.reserve(), if !engine.unsent.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some((_, report)) = engine.unsent.pop_first() {
                        permit.send(report);
                    }
                }
                () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => {
                    engine.agenda.ring();
                }
            }
            engine.work();
        }
    }

    fn watch(&mut self, sender: &mpsc::Sender<Sighting>) {
        for stream in &self.streams {
            let watch = watch(self.client.clone(), stream.clone(), selector(), sender.clone());
            self.watches.spawn(watch);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Set(backend, wanted) => {
                self.backends.entry(backend.clone()).or_default().set(wanted);
                self.agenda.add(backend);
            }
            Command::Synced => {
                self.is_complete = true;
                self.agenda.extend(self.backends.keys().cloned());
                self.agenda.extend(self.store.backends().cloned());
            }
        }
    }

    fn see(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Ours(stream, seen) => {
                let concerned = self.store.see(&stream, seen);
                self.look_at(concerned);
            }
            Sighting::Unlisted(stream) => self.store.give_up(&stream),
            Sighting::Service(..) => {}
        }
    }

    fn look_at(&mut self, concerned: Concerned) {
        for (namespace, service) in concerned.services {
            let first = NamespacedName::new(namespace.as_str(), "");
            let backends = self.backends.range(first..);
            let backends = backends.take_while(|(name, _)| *name.namespace == *namespace);
            let selected = |entry: &Entry| {
                entry.wanted.as_ref().is_some_and(|it| it.services.contains_key(&service))
            };
            let selecting = backends.filter(|(_, entry)| selected(entry));
            self.agenda.extend(selecting.map(|(name, _)| name.clone()));
        }
        self.agenda.extend(concerned.backends);
    }

    /// Takes in what came of work on an XBackend. Where something else is worked for by now, as it is for another
    /// one that got the name, what is there counts alone.
    fn take(&mut self, site: Site, outcome: Outcome) {
        let Site { backend, uid, .. } = site;
        if let Some(entry) = self.backends.get_mut(&backend) {
            entry.is_busy = false;
            let is_meant = entry.uid() == uid;
            if let Some(news) = is_meant.then(|| entry.take(&outcome, Instant::now())).flatten() {
                warn!(%backend, "{news}; trying again");
            }
            if let Some(at) = entry.retry_at {
                self.agenda.add_at(at, backend.clone());
            }
        }
        let mut concerned = Concerned::default();
        for Removal { key: (_, name), uid } in outcome.gone {
            self.store.forget((backend.namespace.to_string(), name), &uid, &mut concerned);
        }
        for Removal { key: (_, name), uid } in outcome.deleted {
            self.store.leave(&backend.namespace, &name, &uid);
        }
        let applied = outcome.applied.map(|(_, object)| object);
        for object in outcome.found.into_iter().chain(applied) {
            self.store.learn(object, &mut concerned);
        }
        concerned.backends.insert(backend);
        self.look_at(concerned);
    }

    /// Looks at every XBackend that something happened to.
    fn work(&mut self) {
        let are_listed = || self.streams.iter().all(|stream| self.store.is_synced(stream));
        for backend in self.agenda.take(are_listed) {
            self.work_on(&backend);
        }
    }

    fn work_on(&mut self, backend: &NamespacedName) {
        let made = self.store.services(&backend.namespace);
        let Some(entry) = self.backends.get(backend) else {
            // Nobody told us of it, and by now everybody would have.
            if self.is_complete && made.values().any(|it| it.is_for(backend)) {
                let kept_until = Some(Instant::now() + GRACE);
                self.backends.insert(backend.clone(), Entry { kept_until, ..Entry::default() });
                self.work_on(backend);
            }
            return;
        };
        if entry.is_busy {
            // It is looked at again when that is done.
            return;
        }
        let (uid, mut plan) = match &entry.wanted {
            Some(wanted) => {
                (wanted.uid.clone(), plan(wanted, made, &entry.settled, &self.controller_name))
            }
            None => (String::new(), plan_removal(backend, made)),
        };
        if entry.wanted.is_none() && plan.is_empty() {
            self.backends.remove(backend);
            return;
        }
        if let Some(until) = entry.kept_until.filter(|until| *until > Instant::now()) {
            self.agenda.add_at(until, backend.clone());
            return;
        }
        if !self.is_complete {
            plan.delete.clear();
        }
        if !self.start(backend, uid, plan) {
            self.report(backend);
        }
    }

    /// Starts to carry a plan out, unless it is empty or its time has not come.
    fn start(&mut self, backend: &NamespacedName, uid: String, mut plan: Plan) -> bool {
        let Some(entry) = self.backends.get_mut(backend) else { return false };
        if entry.leaving.as_ref() == Some(&uid) {
            plan.apply.clear();
        }
        if let Some(later) = entry.repairs.hold_back(&mut plan, Instant::now()) {
            self.agenda.add_at(later, backend.clone());
        }
        if plan.is_empty() {
            entry.failure = None;
            return false;
        }
        if entry.retry_at.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        entry.is_busy = true;
        for step in &plan.apply {
            let name = name(step).unwrap_or(&step.manifest.name);
            if let Some(complaint) = entry.repairs.complaint_of(step, name) {
                warn!(%backend, "{complaint}");
            }
        }
        let site = Site { client: self.client.clone(), backend: backend.clone(), uid };
        let permits = self.permits.clone();
        self.works.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let outcome = site.carry_out_or_say(plan).await;
            (site, outcome)
        });
        true
    }

    /// Tells the status about an XBackend, if there is anything new.
    fn report(&mut self, backend: &NamespacedName) {
        let Some(entry) = self.backends.get_mut(backend) else { return };
        let Some(wanted) = &entry.wanted else { return };
        if entry.reported.as_ref() != Some(&entry.failure) {
            entry.reported = Some(entry.failure.clone());
            let report = SelectionReport {
                backend: backend.clone(),
                uid: wanted.uid.clone(),
                problem: entry.failure.clone(),
            };
            self.unsent.insert(backend.clone(), report);
        }
    }
}

/// The streams of Services that have to be watched.
fn streams(namespaces_watched: &[String]) -> Vec<Stream> {
    let kind = Some(ManagedKind::Service);
    namespaces(namespaces_watched)
        .iter()
        .map(|namespace| Stream { kind, namespace: namespace.clone() })
        .collect()
}

#[cfg(test)]
mod tests;
