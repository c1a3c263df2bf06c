//! The task that drives the engine: collects what is heard of, and hands out what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gwapi_model::status::Status;
use gwapi_model::{Kind, NamespacedName, ObjectId};
use gwapi_translate::ir::{GatewayId, SessionKeys};
use gwapi_translate::{Options, TranslationDelta, Translator};
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::core::{Core, Input, Step};
use super::progress::{INSTALL_CRDS, Progress};
use crate::metrics::Metrics;
use crate::provision::{
    Bootstrap, ProvisionHandle, ProvisionReport, ProvisionSettings, Provisioner, SelectionHandle,
    SelectionReport, SelectionServices,
};
use crate::serve::{ConfigHandle, ProxyReport, Publication};
use crate::status::{Sets, StatusHandle};
use crate::watch::{Observation, Reference, Watches};

/// The first change goes at once; what follows within this time is one batch.
const WINDOW: Duration = Duration::from_millis(5);

/// Inputs in one batch.
const BATCH: usize = 4096;

/// How long a new leader waits for the first word about the infrastructure of a Gateway, and about the Service of an
/// XBackend, before it writes its status: until then it would say that there is none.
const FIRST_REPORT: Duration = Duration::from_secs(10);

/// What the engine stands between.
pub(crate) struct Surroundings {
    pub(crate) client: Client,
    pub(crate) watches: Watches,
    pub(crate) config: ConfigHandle,
    pub(crate) proxies: mpsc::Receiver<ProxyReport>,
    pub(crate) status: StatusHandle,
    pub(crate) is_leading: watch::Receiver<bool>,
    pub(crate) provision: ProvisionSettings,
    pub(crate) bootstrap: watch::Receiver<Option<Bootstrap>>,
    pub(crate) session_keys: watch::Receiver<SessionKeys>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) metrics: Metrics,
}

/// Runs the engine until nothing can be heard of any more, or `stop` changes.
pub(crate) async fn run(
    mut options: Options,
    mut surroundings: Surroundings,
    mut stop: watch::Receiver<bool>,
) {
    options.session_keys = Some(surroundings.session_keys.borrow_and_update().clone());
    let core = Core::new(options, surroundings.watches.sources.clone());
    let mut engine = Engine { core, leading: None, connected: BTreeMap::new(), surroundings };
    let mut quiet_until = Instant::now();
    loop {
        let input = tokio::select! {
            input = engine.next() => input,
            _ = stop.changed() => return,
        };
        let mut inputs = Vec::new();
        match input {
            Heard::Input(heard) => inputs.push(heard),
            Heard::Proxies(report) => inputs.push(engine.proxies(report)),
            Heard::Leading(is_leading) => engine.lead(is_leading),
            Heard::Time => {}
            Heard::Nothing => return,
        }
        if quiet_until > Instant::now() {
            sleep_until(quiet_until.into()).await;
        }
        engine.drain(&mut inputs);
        engine.step(inputs);
        quiet_until = Instant::now() + WINDOW;
    }
}

enum Heard {
    Input(Input),
    Proxies(ProxyReport),
    Leading(bool),
    Time,
    Nothing,
}

struct Engine {
    core: Core,
    leading: Option<Leading>,
    /// Proxies that are connected here, by Gateway.
    connected: BTreeMap<GatewayId, usize>,
    surroundings: Surroundings,
}

/// What only the leader has.
struct Leading {
    provisioner: ProvisionHandle,
    reports: mpsc::Receiver<ProvisionReport>,
    selections: SelectionHandle,
    selection_reports: mpsc::Receiver<SelectionReport>,
    /// Gateways whose infrastructure has not been told of since we lead, and XBackends whose Service has not.
    awaited: BTreeSet<ObjectId>,
    awaited_until: Instant,
    /// What was announced is everything.
    is_complete: bool,
    /// The provisioner knows everything.
    is_synced: bool,
    /// Who makes Services for XBackends does.
    are_selections_synced: bool,
}

impl Leading {
    /// Waits for the next report.
    async fn report(&mut self) -> Option<Input> {
        tokio::select! {
            Some(report) = self.reports.recv() => Some(Input::Infrastructure(report)),
            Some(report) = self.selection_reports.recv() => Some(Input::Selection(report)),
            else => None,
        }
    }

    /// The next report that is there.
    fn try_report(&mut self) -> Option<Input> {
        let report = self.reports.try_recv().map(Input::Infrastructure);
        report.or_else(|_| self.selection_reports.try_recv().map(Input::Selection)).ok()
    }

    /// There has been word of this.
    fn note(&mut self, input: &Input) {
        match input {
            Input::Infrastructure(report) => {
                self.awaited.remove(&report.gateway.object_id(Kind::Gateway));
            }
            Input::Selection(report) => {
                self.awaited.remove(&report.backend.object_id(Kind::XBackend));
            }
            _ => {}
        }
    }

    /// Tells whoever makes things what has to be there from now on.
    fn set(&mut self, delta: &mut TranslationDelta, core: &Core) {
        for (gateway, wanted) in std::mem::take(&mut delta.infrastructure) {
            if wanted.is_none() {
                self.awaited.remove(&gateway.object_id(Kind::Gateway));
            }
            let addresses = core.addresses(&gateway);
            self.provisioner.set(gateway, wanted, addresses);
        }
        for (backend, selection) in std::mem::take(&mut delta.selections) {
            if selection.is_none() {
                self.awaited.remove(&backend.object_id(Kind::XBackend));
            }
            self.selections.set(backend, selection);
        }
    }

    /// The same of everything, of which a report follows each.
    fn set_all(&mut self, core: &Core) {
        let translation = core.translator().translation();
        let gateways = translation.infrastructure.keys().map(|it| it.object_id(Kind::Gateway));
        let backends = translation.selections.keys().map(|it| it.object_id(Kind::XBackend));
        self.awaited = gateways.chain(backends).collect();
        self.awaited_until = Instant::now() + FIRST_REPORT;
        for (gateway, wanted) in &translation.infrastructure {
            let addresses = core.addresses(gateway);
            self.provisioner.set(gateway.clone(), Some(Arc::clone(wanted)), addresses);
        }
        for (backend, selection) in &translation.selections {
            self.selections.set(backend.clone(), Some(Arc::clone(selection)));
        }
    }
}

impl Engine {
    /// Waits for the first thing to happen.
    async fn next(&mut self) -> Heard {
        let awaited = self.leading.as_ref().filter(|leading| !leading.is_complete);
        let awaited = awaited.filter(|_| self.core.progress().is_live);
        let deadlines = [awaited.map(|leading| leading.awaited_until), self.core.deadline()];
        let later = async {
            match deadlines.into_iter().flatten().min() {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        let report = async {
            match &mut self.leading {
                Some(leading) => leading.report().await,
                None => std::future::pending().await,
            }
        };
        let surroundings = &mut self.surroundings;
        tokio::select! {
            observation = surroundings.watches.observations.recv() => match observation {
                Some(observation) => Heard::Input(Input::Observation(observation)),
                None => Heard::Nothing,
            },
            Some(report) = surroundings.proxies.recv() => Heard::Proxies(report),
            Some(report) = report => Heard::Input(report),
            Ok(()) = surroundings.is_leading.changed() => {
                Heard::Leading(*surroundings.is_leading.borrow_and_update())
            }
            Ok(()) = surroundings.session_keys.changed() => {
                let keys = surroundings.session_keys.borrow_and_update().clone();
                Heard::Input(Input::SessionKeys(keys))
            }
            () = later => Heard::Time,
        }
    }

    /// Adds everything that has been heard of meanwhile.
    fn drain(&mut self, inputs: &mut Vec<Input>) {
        while inputs.len() < BATCH
            && let Ok(observation) = self.surroundings.watches.observations.try_recv()
        {
            inputs.push(Input::Observation(observation));
        }
        while let Ok(report) = self.surroundings.proxies.try_recv() {
            inputs.push(self.proxies(report));
        }
        if let Some(leading) = &mut self.leading {
            while let Some(report) = leading.try_report() {
                inputs.push(report);
            }
        }
        for input in inputs {
            self.count(input);
        }
    }

    /// What the proxies of a Gateway say. Where none is connected that serves something, what is known
    /// stays for a while: they come back in a moment, and say it again.
    fn proxies(&mut self, report: ProxyReport) -> Input {
        match report.connected {
            0 => self.connected.remove(&report.gateway),
            connected => self.connected.insert(report.gateway.clone(), connected),
        };
        self.surroundings.metrics.proxies(self.connected.values().sum());
        match report.serving {
            0 => Input::Unserved(report.gateway),
            _ => Input::Proxies(report.gateway, report.uid, report.feedback),
        }
    }

    fn count(&self, input: &Input) {
        let Input::Observation(observation) = input else { return };
        let (source, event) = match observation {
            Observation::Listed(source, ..) => (source, "listed"),
            Observation::Applied(source, _) => (source, "applied"),
            Observation::Deleted(source, ..) => (source, "deleted"),
            Observation::UpTo(source, _) => (source, "bookmark"),
            Observation::Absent(source) => (source, "absent"),
            Observation::Fetched(source, ..) => (source, "fetched"),
            Observation::Bundle(_) => return,
            Observation::Failed(source, _) | Observation::Denied(source, _) => {
                return self.surroundings.metrics.watch_failure(source.kind);
            }
        };
        self.surroundings.metrics.watch_event(source.kind, event);
    }

    fn step(&mut self, inputs: Vec<Input>) {
        let started = Instant::now();
        let before = self.core.progress().clone();
        if let Some(leading) = &mut self.leading {
            inputs.iter().for_each(|input| leading.note(input));
        }
        let step = self.core.step(inputs, started);
        self.hand_out(step);
        self.complete();
        self.surroundings.metrics.step(started.elapsed());
        self.tell_progress(&before);
    }

    fn hand_out(&mut self, step: Step) {
        let Step { deltas, heard, judged, references, went_live } = step;
        let surroundings = &self.surroundings;
        for reference in references {
            // The watches end before the engine only when they panicked, which ends everything.
            let _: Result<(), mpsc::error::SendError<Reference>> =
                surroundings.watches.references.send(reference);
        }
        surroundings.status.heard(heard);
        let versions = self.core.versions();
        if deltas.is_empty() && self.core.progress().is_live {
            surroundings.config.publish(&TranslationDelta::default(), versions);
        }
        for mut delta in deltas {
            let publication = surroundings.config.publish(&delta, versions);
            if went_live {
                surroundings.config.ready();
            }
            tell_change(&delta);
            if let Some(leading) = &mut self.leading {
                leading.set(&mut delta, &self.core);
                if !went_live {
                    let translator = self.core.translator();
                    let status = &surroundings.status;
                    announce(status, leading, translator, delta.status, publication);
                }
            }
        }
        if went_live {
            self.announce_all();
        }
        if !judged.is_empty() {
            self.surroundings.status.judged(judged);
        }
    }

    /// It is on us to write and to provision from now on, or no more.
    fn lead(&mut self, is_leading: bool) {
        let surroundings = &self.surroundings;
        surroundings.metrics.leader(is_leading);
        if is_leading == self.leading.is_some() {
            return;
        }
        surroundings.status.lead(is_leading);
        self.leading = None;
        if !is_leading {
            return;
        }
        let (provisioner, reports) = Provisioner::start(
            surroundings.client.clone(),
            surroundings.provision.clone(),
            surroundings.bootstrap.clone(),
        );
        let (selections, selection_reports) =
            SelectionServices::start(surroundings.client.clone(), &surroundings.provision);
        self.leading = Some(Leading {
            provisioner,
            reports,
            selections,
            selection_reports,
            awaited: BTreeSet::new(),
            awaited_until: Instant::now(),
            is_complete: false,
            is_synced: false,
            are_selections_synced: false,
        });
        if self.core.progress().is_live {
            self.announce_all();
        }
    }

    /// Says everything that a new leader has to say; of Gateways, as soon as there is word of what
    /// runs for them, and of XBackends, of their Services.
    fn announce_all(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        leading.set_all(&self.core);
        let Surroundings { status, config, .. } = &self.surroundings;
        let (translator, statuses) = (self.core.translator(), self.core.statuses());
        announce(status, leading, translator, statuses, config.published());
    }

    /// Says the rest, when there has been word of every Gateway, or time is up.
    fn complete(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        if !self.core.progress().is_live {
            return;
        }
        if !leading.is_complete
            && (leading.awaited.is_empty() || leading.awaited_until <= Instant::now())
        {
            leading.is_complete = true;
            leading.awaited.clear();
            let Surroundings { status, config, .. } = &self.surroundings;
            let (translator, statuses) = (self.core.translator(), self.core.statuses());
            announce(status, leading, translator, statuses, config.published());
            status.complete();
        }
        // A cluster whose Gateways cannot be seen is no reason to take down what runs for them.
        if !leading.is_synced && self.core.knows_all_gateways() {
            leading.is_synced = true;
            leading.provisioner.synced();
        }
        if !leading.are_selections_synced && self.core.knows_all_senders() {
            leading.are_selections_synced = true;
            leading.selections.synced();
        }
    }

    fn tell_progress(&self, before: &Progress) {
        let now = self.core.progress();
        if now == before {
            return;
        }
        for (source, error) in now.failing() {
            if !before.failing().contains_key(source) {
                tracing::warn!(%source, error, "cannot be listed or watched; trying again");
            }
        }
        for source in before.failing().keys() {
            if !now.failing().contains_key(source) {
                tracing::info!(%source, "is watched again");
            }
        }
        for namespace in now.missing_namespaces().difference(&before.missing_namespaces()) {
            tracing::warn!(
                namespace,
                "is to be watched and does not exist; nothing in it is served until it does and its \
                 Roles are there"
            );
        }
        for namespace in before.missing_namespaces().difference(&now.missing_namespaces()) {
            tracing::info!(namespace, "is watched now");
        }
        for kind in now.absent().difference(&before.absent()) {
            match kind.group() {
                gwapi_model::GATEWAY_GROUP => {
                    tracing::warn!(%kind, "the cluster has no such kind; `{INSTALL_CRDS}` brings it");
                }
                _ => tracing::info!(%kind, "the cluster has no such kind"),
            }
        }
        for kind in before.absent().difference(&now.absent()) {
            tracing::info!(%kind, "the cluster has this kind now");
        }
        if now.is_live && !before.is_live {
            tracing::info!("everything has been read; proxies are served");
        }
        self.surroundings.metrics.unreadable(now.unreadable);
        self.surroundings.metrics.ready(now.obstacles().is_empty());
        self.surroundings.progress.send_replace(now.clone());
    }
}

/// Hands statuses to the writer, save for those of Gateways whose infrastructure is awaited and of their
/// ListenerSets, and of XBackends whose Service is.
fn announce(
    status: &StatusHandle,
    leading: &Leading,
    translator: &Translator,
    mut statuses: BTreeMap<ObjectId, Option<Status>>,
    publication: Publication,
) {
    if !leading.awaited.is_empty() {
        statuses.retain(|id, status| {
            let is_awaited = match id.kind {
                Kind::ListenerSet => {
                    let gateway = translator.gateway_of_listener_set(&id.namespaced_name());
                    let gateway = gateway.map(|gateway| gateway.object_id(Kind::Gateway));
                    gateway.is_some_and(|gateway| leading.awaited.contains(&gateway))
                }
                _ => leading.awaited.contains(id),
            };
            status.is_none() || !is_awaited
        });
    }
    if !statuses.is_empty() {
        let sets = sets(&statuses, translator);
        status.announce(statuses, sets, publication);
    }
}

/// The Gateways of the ListenerSets that statuses are about.
fn sets(statuses: &BTreeMap<ObjectId, Option<Status>>, translator: &Translator) -> Sets {
    let mut sets = Sets::new();
    let mut note = |set: NamespacedName| {
        if let Some(gateway) = translator.gateway_of_listener_set(&set) {
            sets.insert(set, gateway.clone());
        }
    };
    for (id, status) in statuses {
        match status {
            Some(Status::ListenerSet(_)) => note(id.namespaced_name()),
            Some(Status::Route(route)) => {
                for reference in route.parents.iter().map(|parent| &parent.parent_ref) {
                    if reference.kind.as_deref() == Some(Kind::ListenerSet.as_str()) {
                        let namespace = reference.namespace.as_deref().unwrap_or(&id.namespace);
                        note(NamespacedName::new(namespace, &*reference.name));
                    }
                }
            }
            _ => {}
        }
    }
    sets
}

/// One line per change of what is served.
fn tell_change(delta: &TranslationDelta) {
    if delta.config.is_empty() && delta.removed_gateways.is_empty() {
        return;
    }
    let upserts: usize = delta.config.values().map(|change| change.upserts.len()).sum();
    let removals: usize = delta.config.values().map(|change| change.removals.len()).sum();
    tracing::info!(
        gateways = delta.config.len(),
        removed_gateways = delta.removed_gateways.len(),
        upserts,
        removals,
        statuses = delta.status.len(),
        "configuration changed"
    );
}

#[cfg(test)]
mod tests;
