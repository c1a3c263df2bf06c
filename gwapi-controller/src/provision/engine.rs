//! The task that has every Gateway's infrastructure made, looked after and removed.
//!
//! ```text
//!  set, synced ──┐                                ┌─► Site::carry_out, one at a time per Gateway
//!  watches ──────┼─► Engine: what is wanted, ─────┤
//!  outcomes ─────┤   what is there, what failed   └─► reports, the last one of each Gateway
//!  the clock ────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use gwapi_translate::infrastructure::GatewayInfrastructure;
use gwapi_translate::ir::GatewayId;
use kube::Client;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::ProvisionReport;
use super::agenda::{Agenda, pause};
use super::apply::{Applied, Failure, Outcome, Site};
use super::assign::{ServicePlan, assign};
use super::drift::seal;
use super::events::Announcer;
use super::existing::{Existing, existing};
use super::first_pod;
use super::live::{Concerns, LiveObjects, Standing, Store, Stream};
use super::objects::{config_map, objects, selector_of_controller};
use super::parameters::{self, AddressSource};
use super::plan::{Plan, Settled, account_uid, known_services, plan};
use super::pods::PodView;
use super::repairs::Repairs;
use super::report::{Findings, View, findings, known_addresses, unseen_pods};
use super::settings::{Bootstrap, ProvisionSettings};
use super::succession::{awaits_host_ports, keep_led, keep_types};
use super::waiting::Waiting;
use super::watch::{ServiceName, Sighting, streams, watch_service};

/// Gateways that are worked on at once.
const CONCURRENCY: usize = 16;

/// Sightings that wait to be looked at.
const SIGHTINGS: usize = 1024;

/// What the engine is told.
#[derive(Debug)]
pub(super) enum Command {
    /// This has to run for a Gateway; nothing, if `None`. Its status has these addresses.
    Set(GatewayId, Option<Arc<GatewayInfrastructure>>, Vec<IpAddr>),
    /// All Gateways have been told: what belongs to others has to go.
    Synced,
}

/// Services of users with the watch of each, and what it is; nothing until it was looked up.
type WatchedServices = BTreeMap<ServiceName, (AbortHandle, Option<Option<Value>>)>;

/// A Gateway.
#[derive(Default)]
struct Entry {
    wanted: Option<Arc<GatewayInfrastructure>>,
    /// It is being worked on.
    is_busy: bool,
    /// What could not be done the last time.
    failures: Vec<Failure>,
    /// How many times in a row something failed.
    attempts: u32,
    /// Not to be tried again before.
    retry_at: Option<Instant>,
    /// What was applied last, and which versions of the objects came of it.
    settled: Settled,
    /// The uid of the Gateway, if it was found to be on its way out, or another to have its name: whatever
    /// becomes of what it owns, nothing is made, changed or repaired any more. There is no way back from
    /// there.
    leaving: Option<String>,
    repairs: Repairs,
    waiting: Waiting,
    reported: Option<Findings>,
    /// The addresses that the Gateway has: those that were reported last, or of which its status told before
    /// anything was, and after them former ones of nodes on which it has been ready ever since.
    addresses: Vec<IpAddr>,
}

impl Entry {
    /// The uid of the Gateway that something has to run for; empty where nothing has to.
    fn uid(&self) -> &str {
        self.wanted.as_ref().map_or("", |wanted| &wanted.uid)
    }

    /// Takes in what has to run from now on. It is tried at once, and answered whatever comes of it; what was found
    /// out about another Gateway of the name says nothing of this one, of which there are the addresses in its status.
    fn set(&mut self, wanted: Option<Arc<GatewayInfrastructure>>, addresses: Vec<IpAddr>) {
        let next = Self { wanted, is_busy: self.is_busy, addresses, ..Self::default() };
        if next.uid() == self.uid() {
            self.wanted = next.wanted;
            self.attempts = 0;
            self.retry_at = None;
            self.reported = None;
        } else {
            *self = next;
        }
    }

    /// Takes in what failed, if anything, and when to try again. What goes on being wrong is told once.
    fn fail(&mut self, failures: Vec<Failure>, now: Instant) -> Vec<&Failure> {
        let known = std::mem::replace(&mut self.failures, failures);
        if self.failures.is_empty() {
            self.attempts = 0;
            self.retry_at = None;
        } else {
            self.retry_at = Some(now + pause(self.attempts));
            self.attempts = self.attempts.saturating_add(1);
        }
        self.failures.iter().filter(|failure| !known.contains(failure)).collect()
    }

    /// Notes what came of a manifest. What changed nothing repaired nothing.
    fn note(&mut self, applied: &Applied, now: Instant) {
        let Applied { manifest, object, is_changed } = applied;
        self.settled.record(manifest, object);
        if *is_changed {
            let key = (manifest.kind, manifest.name.clone());
            self.repairs.note(key, seal(manifest).clone(), now);
        }
    }
}

/// See the module.
pub(super) struct Engine {
    client: Client,
    settings: ProvisionSettings,
    bootstrap: watch::Receiver<Option<Bootstrap>>,
    gateways: BTreeMap<GatewayId, Entry>,
    store: Store,
    streams: Vec<Stream>,
    /// All Gateways have been told.
    is_complete: bool,
    agenda: Agenda<GatewayId>,
    existing: WatchedServices,
    watches: JoinSet<()>,
    sightings: mpsc::Sender<Sighting>,
    works: JoinSet<(Site, Outcome)>,
    permits: Arc<Semaphore>,
    unsent: BTreeMap<GatewayId, ProvisionReport>,
    announcer: Announcer,
}

impl Engine {
    /// Starts to watch, and runs until nobody commands any more. Dropped, it stops at once; requests
    /// under way may or may not take effect.
    pub(super) async fn run(
        client: Client,
        settings: ProvisionSettings,
        bootstrap: watch::Receiver<Option<Bootstrap>>,
        mut commands: mpsc::UnboundedReceiver<Command>,
        reports: mpsc::Sender<ProvisionReport>,
    ) {
        let (sender, mut sightings) = mpsc::channel(SIGHTINGS);
        let streams = streams(&settings.namespaces);
        let selector = selector_of_controller(&settings.controller_name);
        let mut watches = JoinSet::new();
        for stream in &streams {
            let watch = super::watch::watch(
                client.clone(),
                stream.clone(),
                selector.clone(),
                sender.clone(),
            );
            watches.spawn(watch);
        }
        let announcer = Announcer::new(client.clone(), &settings.controller_name);
        let mut engine = Self {
            client,
            settings,
            bootstrap,
            gateways: BTreeMap::new(),
            store: Store::default(),
            streams,
            is_complete: false,
            agenda: Agenda::new(),
            existing: BTreeMap::new(),
            watches,
            sightings: sender,
            works: JoinSet::new(),
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            unsent: BTreeMap::new(),
            announcer,
        };
        loop {
            let alarm = engine.agenda.next_alarm();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => engine.obey(command),
                    None => return,
                },
                // The engine holds a sender, so that there is always one.
                Some(sighting) = sightings.recv() => {
                    engine.see(sighting);
                    while let Ok(sighting) = sightings.try_recv() {
                        engine.see(sighting);
                    }
                }
                Some(done) = engine.works.join_next() => match done {
                    Ok((site, outcome)) => engine.take(site, outcome),
                    Err(error) => warn!(%error, "work on a Gateway ended early"),
                },
                Ok(()) = engine.bootstrap.changed() => engine.look_at_all(),
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

    fn obey(&mut self, command: Command) {
        match command {
            Command::Set(gateway, wanted, addresses) => {
                let entry = self.gateways.entry(gateway.clone()).or_default();
                let before = existing_service(entry.wanted.as_deref());
                let after = existing_service(wanted.as_deref());
                entry.set(wanted, addresses);
                self.agenda.add(gateway);
                if before != after {
                    self.watch_existing();
                }
            }
            Command::Synced => {
                self.is_complete = true;
                self.agenda.extend(self.store.gateways().cloned());
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
            Sighting::Service(name, service) => {
                if let Some((_, known)) = self.existing.get_mut(&name) {
                    *known = Some(service);
                    let gateways = self.gateways.keys().filter(|it| *it.namespace == *name.0);
                    self.agenda.extend(gateways.cloned());
                }
            }
        }
    }

    fn look_at(&mut self, concerned: BTreeSet<Concerns>) {
        for concerns in concerned {
            match concerns {
                Concerns::Gateway(gateway) => {
                    self.agenda.add(gateway);
                }
                Concerns::Instance(namespace, instance) => {
                    let is_wanted =
                        |entry: &Entry| entry.wanted.as_ref().is_some_and(|it| it.name == instance);
                    let is_meant = |(id, entry): &(&GatewayId, &Entry)| {
                        *id.namespace == *namespace
                            && (is_wanted(entry) || self.store.has_workload(id, &instance))
                    };
                    // More than one may want the name; whose the pod is tells what owns it.
                    let found = self.gateways.iter().filter(is_meant).map(|(id, _)| id.clone());
                    self.agenda.extend(found);
                }
            }
        }
    }

    fn look_at_all(&mut self) {
        self.agenda.extend(self.gateways.keys().cloned());
    }

    /// Takes in what came of work on a Gateway. Where something else is worked for by now, as it is for another
    /// one that got the name, what is there counts alone.
    fn take(&mut self, site: Site, outcome: Outcome) {
        let Site { gateway, owner, .. } = site;
        for removal in outcome.deleted {
            self.store.leave(&gateway, &removal.key, &removal.uid);
        }
        let Some(entry) = self.gateways.get_mut(&gateway) else { return };
        entry.is_busy = false;
        let is_meant = entry.uid() == owner;
        let mut concerned = BTreeSet::new();
        for applied in outcome.applied {
            if is_meant {
                entry.note(&applied, Instant::now());
            }
            concerned.extend(self.store.learn(Some(applied.manifest.kind), applied.object));
        }
        if is_meant {
            if outcome.leaving.is_some() {
                entry.leaving = outcome.leaving;
            }
            for failure in entry.fail(outcome.failures, Instant::now()) {
                warn!(%gateway, "{failure}; trying again");
            }
        }
        if let Some(at) = entry.retry_at {
            self.agenda.add_at(at, gateway.clone());
        }
        self.agenda.add(gateway);
        self.look_at(concerned);
    }

    /// Looks at every Gateway that something happened to.
    fn work(&mut self) {
        let are_listed = || self.streams.iter().all(|stream| self.store.is_synced(stream));
        for gateway in self.agenda.take(are_listed) {
            self.work_on(&gateway);
        }
    }

    fn work_on(&mut self, gateway: &GatewayId) {
        let live = self.store.objects(gateway);
        if !self.gateways.contains_key(gateway) {
            // Nobody told us of it, and by now everybody would have.
            if !self.is_complete || live.is_empty() {
                return;
            }
            self.gateways.insert(gateway.clone(), Entry::default());
        }
        let entry = &self.gateways[gateway];
        if entry.is_busy {
            // It is looked at again when that is done.
            return;
        }
        match entry.wanted.clone() {
            None if live.is_empty() => {
                self.gateways.remove(gateway);
                self.announcer.forget(gateway);
            }
            None => {
                let plan = plan(Vec::new(), "", &live, &Settled::default());
                self.start(gateway, String::new(), plan);
            }
            Some(wanted) => self.provide(gateway, &wanted, &live),
        }
    }

    fn provide(
        &mut self,
        gateway: &GatewayId,
        wanted: &Arc<GatewayInfrastructure>,
        live: &LiveObjects,
    ) {
        let services = assign(wanted, &known_services(&wanted.uid, live));
        let pods = self.pods(gateway, wanted, live);
        let bootstrap = self.bootstrap.borrow().clone();
        let plan = bootstrap.map(|bootstrap| match wanted.hold {
            true => self.plan_of_refused(wanted, live, &bootstrap),
            false => self.plan(wanted, &services, live, &pods, &bootstrap),
        });
        // What it waits for is only known when everything was made.
        let is_told = plan.is_some_and(|plan| self.start(gateway, wanted.uid.clone(), plan));
        if !is_told {
            self.report(gateway, wanted, &services, live, &pods);
        }
    }

    fn plan(
        &self,
        wanted: &GatewayInfrastructure,
        services: &[ServicePlan],
        live: &LiveObjects,
        pods: &[PodView],
        bootstrap: &Bootstrap,
    ) -> Plan {
        let account = account_uid(&wanted.name, &wanted.uid, live);
        let mut manifests = objects(wanted, services, &self.settings, bootstrap, account);
        keep_led(&mut manifests, &wanted.uid, live);
        let awaits_host_ports = awaits_host_ports(wanted, pods);
        if awaits_host_ports {
            keep_types(&mut manifests, &wanted.uid, live);
        }
        first_pod::publish(&mut manifests, &wanted.parameters, live, pods);
        let mut plan = plan(manifests, &wanted.uid, live, self.settled(&wanted.gateway));
        // What leads to the proxies goes when something else does.
        let existing = existing(wanted, live, found(&self.existing, wanted));
        if awaits_host_ports || !matches!(existing, None | Some(Existing::Usable(_))) {
            plan.spare_services();
        }
        plan
    }

    /// What is changed for a Gateway that is refused: how its proxies know us, where they have that. Without it
    /// they would be left alone a day after our authority becomes another.
    fn plan_of_refused(
        &self,
        wanted: &GatewayInfrastructure,
        live: &LiveObjects,
        bootstrap: &Bootstrap,
    ) -> Plan {
        let manifest = config_map(wanted, &self.settings, bootstrap);
        let there = live.get(&(manifest.kind, manifest.name.clone()));
        if !there.is_some_and(|it| it.is_of(&wanted.uid)) {
            return Plan::default();
        }
        let mut plan = plan(vec![manifest], &wanted.uid, live, self.settled(&wanted.gateway));
        plan.delete.clear();
        plan
    }

    /// What was applied for a Gateway last, and what came of it.
    fn settled(&self, gateway: &GatewayId) -> &Settled {
        const NOTHING: &Settled = &Settled::new();
        self.gateways.get(gateway).map_or(NOTHING, |entry| &entry.settled)
    }

    /// The pods of a Gateway.
    fn pods(
        &self,
        gateway: &GatewayId,
        wanted: &GatewayInfrastructure,
        live: &LiveObjects,
    ) -> Vec<PodView> {
        let mut pods = self.store.pods(gateway, &wanted.name);
        pods.retain(|pod| pod.is_of(&wanted.uid, live));
        pods
    }

    /// Starts to carry a plan out, unless it is empty or its time has not come.
    fn start(&mut self, gateway: &GatewayId, owner: String, mut plan: Plan) -> bool {
        let Some(entry) = self.gateways.get_mut(gateway) else { return false };
        if entry.leaving.as_ref() == Some(&owner) {
            return false;
        }
        if let Some(later) = entry.repairs.hold_back(&mut plan, Instant::now()) {
            self.agenda.add_at(later, gateway.clone());
        }
        if plan.is_empty() {
            entry.failures.clear();
            return false;
        }
        if entry.retry_at.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        entry.is_busy = true;
        for complaint in plan.apply.iter().filter_map(|step| entry.repairs.complaint(step)) {
            warn!(%gateway, "{complaint}");
            self.announcer.complain(gateway, &owner, &complaint);
        }
        let site = Site { client: self.client.clone(), gateway: gateway.clone(), owner };
        let permits = self.permits.clone();
        self.works.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let outcome = site.carry_out_or_say(plan).await;
            (site, outcome)
        });
        true
    }

    /// Tells the status about a Gateway, if there is anything new.
    fn report(
        &mut self,
        gateway: &GatewayId,
        wanted: &GatewayInfrastructure,
        services: &[ServicePlan],
        live: &LiveObjects,
        pods: &[PodView],
    ) {
        let Some(entry) = self.gateways.get_mut(gateway) else { return };
        let now = Instant::now();
        let limit = parameters::address_timeout(&wanted.parameters);
        let existing = existing(wanted, live, found(&self.existing, wanted));
        let users = existing_service(Some(wanted));
        let users = users.as_ref().zip(existing.as_ref().and_then(Existing::with_address));
        let users = users.map(|((_, name), service)| (name.as_str(), service));
        let standing = Standing::of(&wanted.uid, live);
        entry.waiting.update(services, &standing, users, now);
        entry.waiting.note_pods(unseen_pods(&standing.objects, pods).is_some(), now);
        let deadlines = entry.waiting.deadlines(limit).filter(|at| *at > now);
        deadlines.for_each(|at| self.agenda.add_at(at, gateway.clone()));
        let findings = findings(&View {
            wanted,
            services,
            live: &standing,
            pods,
            addresses: &entry.addresses,
            existing,
            failures: &entry.failures,
            waiting: &entry.waiting.durations(now),
            is_missing_pods: entry.waiting.is_missing_pods(now),
        });
        entry.addresses = known_addresses(&entry.addresses, &findings.report.addresses, pods);
        if entry.reported.as_ref() != Some(&findings) {
            self.announcer.announce(gateway, &wanted.uid, &findings);
            let report = ProvisionReport {
                gateway: gateway.clone(),
                uid: wanted.uid.clone(),
                infrastructure: findings.report.clone(),
            };
            self.unsent.insert(gateway.clone(), report);
            entry.reported = Some(findings);
        }
    }

    /// Starts and ends watches of Services that parameters name.
    fn watch_existing(&mut self) {
        let named = self.gateways.values();
        let named: BTreeSet<ServiceName> =
            named.filter_map(|entry| existing_service(entry.wanted.as_deref())).collect();
        self.existing.retain(|name, (watch, _)| {
            let is_named = named.contains(name);
            if !is_named {
                watch.abort();
            }
            is_named
        });
        for name in named {
            if !self.existing.contains_key(&name) {
                let watch =
                    watch_service(self.client.clone(), name.clone(), self.sightings.clone());
                self.existing.insert(name, (self.watches.spawn(watch), None));
            }
        }
    }
}

/// The Service that the parameters of a Gateway name.
fn existing_service(wanted: Option<&GatewayInfrastructure>) -> Option<ServiceName> {
    let wanted = wanted?;
    match parameters::address_source(&wanted.parameters) {
        AddressSource::Existing(name) => Some((wanted.gateway.namespace.to_string(), name)),
        _ => None,
    }
}

/// What is known of the Service that the parameters of a Gateway name.
fn found<'a>(
    services: &'a WatchedServices,
    wanted: &GatewayInfrastructure,
) -> Option<Option<&'a Value>> {
    let (_, known) = services.get(&existing_service(Some(wanted))?)?;
    known.as_ref().map(Option::as_ref)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::Mutex;
    use std::time::Duration;

    use gwapi_model::ServiceType;
    use gwapi_model::status::ConditionReason;
    use gwapi_translate::infrastructure::{InfrastructureReport, RequestedAddress};
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::super::drift::sealed;
    use super::super::kind::ManagedKind;
    use super::super::objects::{INSTANCE_LABEL, Manifest};
    use super::super::plan::Step;
    use super::super::testing::{bootstrap, wanted};
    use super::*;

    /// An API server with one Gateway and these objects, by the plural of their kind. It gives these answers of
    /// its own when it is asked for the Gateway, the last of them from then on, and tells what is applied. One
    /// with the code 0 never comes.
    fn client(
        of_gateway: Vec<(u16, Value)>,
        listed: BTreeMap<&'static str, Value>,
        made: mpsc::UnboundedSender<String>,
    ) -> Client {
        let of_gateway = Arc::new(Mutex::new(VecDeque::from(of_gateway)));
        let service = service_fn(move |request: hyper::Request<Body>| {
            let (of_gateway, listed, made) =
                (Arc::clone(&of_gateway), listed.clone(), made.clone());
            async move {
                let (path, method) = (request.uri().path().to_owned(), request.method().clone());
                let watches = request.uri().query().unwrap_or_default().contains("watch=");
                let (code, body) = if watches {
                    std::future::pending().await
                } else if path.ends_with("/gateways/web") {
                    let mut answers = of_gateway.lock().expect("no panic");
                    let answer = answers.front().cloned().expect("there is always one");
                    if answers.len() > 1 {
                        answers.pop_front();
                    }
                    answer
                } else if method == "GET" {
                    let items = path.rsplit('/').next().and_then(|plural| listed.get(plural));
                    let items = match items {
                        Some(Value::Array(several)) => several.iter().collect(),
                        one => Vec::from_iter(one),
                    };
                    (200, json!({"metadata": {"resourceVersion": "1"}, "items": items}))
                } else {
                    let bytes = request.into_body().collect_bytes().await.expect("a body");
                    let mut object: Value = serde_json::from_slice(&bytes).expect("JSON");
                    if method == "PATCH" {
                        _ = made.send(path.rsplit('/').nth(1).unwrap_or_default().to_owned());
                        object["metadata"]["uid"] = json!(path);
                        object["metadata"]["resourceVersion"] = json!("2");
                    }
                    (200, object)
                };
                if code == 0 {
                    std::future::pending::<()>().await;
                }
                let body = Body::from(body.to_string().into_bytes());
                let response = hyper::Response::builder().status(code).body(body);
                Ok::<_, Infallible>(response.expect("a response"))
            }
        });
        Client::new(service, "default")
    }

    fn gateway(uid: &str, deleted: Option<&str>) -> (u16, Value) {
        let metadata = json!({"name": "web", "namespace": "shop", "uid": uid,
            "deletionTimestamp": deleted});
        (
            200,
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": metadata}),
        )
    }

    /// An engine that looks after one Gateway.
    struct Running {
        made: mpsc::UnboundedReceiver<String>,
        reports: mpsc::Receiver<ProvisionReport>,
        commands: mpsc::UnboundedSender<Command>,
        _engine: JoinSet<()>,
        _bootstrap: watch::Sender<Option<Bootstrap>>,
    }

    impl Running {
        fn start(
            wanted: GatewayInfrastructure,
            of_gateway: Vec<(u16, Value)>,
            listed: BTreeMap<&'static str, Value>,
        ) -> Self {
            Self::start_with(wanted, Vec::new(), of_gateway, listed)
        }

        /// The same with a Gateway that has these addresses in its status.
        fn start_with(
            wanted: GatewayInfrastructure,
            addresses: Vec<IpAddr>,
            of_gateway: Vec<(u16, Value)>,
            listed: BTreeMap<&'static str, Value>,
        ) -> Self {
            let (sender, made) = mpsc::unbounded_channel();
            let (commands, obeyed) = mpsc::unbounded_channel();
            let (reporter, reports) = mpsc::channel(1);
            let (known, bootstrap) = watch::channel(Some(bootstrap()));
            let client = client(of_gateway, listed, sender);
            let settings = ProvisionSettings::default();
            let mut engine = JoinSet::new();
            engine.spawn(Engine::run(client, settings, bootstrap, obeyed, reporter));
            let running = Self { made, reports, commands, _engine: engine, _bootstrap: known };
            running.provide_with(wanted, addresses);
            running
        }

        fn provide(&self, wanted: GatewayInfrastructure) {
            self.provide_with(wanted, Vec::new());
        }

        /// The same of a Gateway that has these addresses in its status.
        fn provide_with(&self, wanted: GatewayInfrastructure, addresses: Vec<IpAddr>) {
            let command = Command::Set(wanted.gateway.clone(), Some(Arc::new(wanted)), addresses);
            self.commands.send(command).expect("it runs");
        }

        async fn next_report(&mut self) -> InfrastructureReport {
            self.reports.recv().await.expect("it runs").infrastructure
        }

        /// The addresses in the next report that has some.
        async fn next_addresses(&mut self) -> Vec<String> {
            loop {
                let report = self.next_report().await;
                if !report.addresses.is_empty() {
                    return report.addresses.into_iter().map(|it| it.value).collect();
                }
            }
        }

        /// The next that is made or changed for the Gateway within a day; `None` where nothing is.
        async fn next_made(&mut self) -> Option<String> {
            tokio::time::timeout(Duration::from_secs(86_400), self.made.recv()).await.ok().flatten()
        }
    }

    /// The first that is made for the Gateway within a day; `None` where nothing is.
    async fn first_made(of_gateway: Vec<(u16, Value)>) -> Option<String> {
        Running::start(wanted(), of_gateway, BTreeMap::new()).next_made().await
    }

    /// What was made for a Gateway with this uid.
    fn made_for(owner: &str, name: &str) -> Value {
        json!({"metadata": {
            "name": name, "namespace": "shop", "uid": format!("of-{name}"), "resourceVersion": "1",
            "ownerReferences": [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "name": "web", "uid": owner, "controller": true}],
        }})
    }

    /// Its load balancer is still being taken down.
    #[tokio::test(start_paused = true)]
    async fn the_service_of_a_former_gateway_does_not_count_for_its_successor() {
        let mut service = made_for("of-former", "web-gwapi");
        service["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        service["spec"] = json!({"type": "LoadBalancer"});
        service["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        let there = vec![gateway(&wanted().uid, None)];
        let mut running = Running::start(wanted(), there, [("services", service)].into());
        let report = running.reports.recv().await.expect("it runs").infrastructure;
        assert_eq!(report.addresses, []);
        let why = "Service web-gwapi is still being deleted".to_owned();
        assert_eq!(report.unmet, [(ConditionReason::Pending, why)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_is_not_found_for_a_moment_is_looked_after_as_soon_as_it_is() {
        let uid = &wanted().uid;
        let unserved = (404, json!({"kind": "Status", "reason": "NotFound", "code": 404}));
        let there = gateway(uid, None);
        let made = first_made(vec![unserved.clone(), unserved, there]).await;
        assert_eq!(made.as_deref(), Some("serviceaccounts"));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_made_for_a_gateway_that_is_being_deleted_or_has_a_successor() {
        let uid = &wanted().uid;
        let (leaving, there) = (gateway(uid, Some("2026-01-01T00:00:00Z")), gateway(uid, None));
        assert_eq!(first_made(vec![leaving, there.clone()]).await, None);
        assert_eq!(first_made(vec![gateway("of-another", None), there]).await, None);
    }

    /// A request for the former one is under way when the next one is told of.
    #[tokio::test(start_paused = true)]
    async fn what_failed_for_a_former_gateway_is_not_told_of_its_successor() {
        let successor = GatewayInfrastructure { uid: "of-successor".to_owned(), ..wanted() };
        let there = vec![(0, json!(null)), gateway(&successor.uid, None)];
        let mut running = Running::start(wanted(), there, BTreeMap::new());
        sleep_until(Instant::now() + Duration::from_secs(1)).await;
        running.provide(successor.clone());
        let report = running.reports.recv().await.expect("it runs");
        assert_eq!(report.uid, successor.uid);
        let why = "Service web-gwapi waits for an address".to_owned();
        assert_eq!(report.infrastructure.unmet, [(ConditionReason::Pending, why)]);
    }

    /// The authority that signs our certificates becomes another with time.
    #[tokio::test(start_paused = true)]
    async fn proxies_of_a_gateway_that_is_refused_are_told_how_they_know_the_controller() {
        let refused = GatewayInfrastructure { hold: true, ..wanted() };
        let started = |listed: Value| {
            let there = vec![gateway(&refused.uid, None)];
            Running::start(refused.clone(), there, [("configmaps", listed)].into())
        };
        let mut config_map = made_for(&refused.uid, "web-gwapi-config-ca");
        config_map["data"] = json!({"ca.crt": "that of before"});
        let mut running = started(config_map.clone());
        assert_eq!(running.next_made().await.as_deref(), Some("configmaps"));
        assert_eq!(running.next_made().await, None, "all else stays as it is");
        config_map["metadata"]["ownerReferences"][0]["uid"] = json!("of-former");
        assert_eq!(started(config_map).next_made().await, None);
        assert_eq!(started(made_for(&refused.uid, "another")).next_made().await, None);
    }

    /// A Gateway that is reached at a node, whichever it may be.
    fn wanted_at_a_node() -> GatewayInfrastructure {
        let mut wanted =
            GatewayInfrastructure { addresses: vec![RequestedAddress::ANY], ..wanted() };
        wanted.parameters.service.service_type = Some(ServiceType::NodePort);
        wanted
    }

    /// Its proxies, which are ready on two nodes.
    fn pods_on_two_nodes() -> Value {
        let pod = |name: &str, node: &str| {
            json!({
                "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1",
                    "labels": {INSTANCE_LABEL: "web-gwapi", "pod-template-hash": "a"},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                        "name": "web-gwapi-a", "uid": "a", "controller": true}]},
                "status": {"phase": "Running", "hostIP": node,
                    "conditions": [{"type": "Ready", "status": "True"}]},
            })
        };
        json!([pod("a", "10.0.0.4"), pod("b", "10.0.0.5")])
    }

    /// AD-5: a controller that starts knows of the addresses from the status alone, and then from what it reported,
    /// whatever the status was when it is told of an edit.
    #[tokio::test(start_paused = true)]
    async fn an_address_of_a_node_stays_over_restarts_and_edits() {
        let mut wanted = wanted_at_a_node();
        let there = vec![gateway(&wanted.uid, None)];
        let had = vec!["10.0.0.5".parse().expect("an address")];
        let listed = [("pods", pods_on_two_nodes())].into();
        let mut running = Running::start_with(wanted.clone(), had, there, listed);
        assert_eq!(running.next_addresses().await, ["10.0.0.5"]);
        wanted.generation += 1;
        running.provide(wanted);
        assert_eq!(running.next_addresses().await, ["10.0.0.5"]);
    }

    #[test]
    fn what_is_applied_and_changes_nothing_is_no_repair() {
        let object = json!({"metadata": {}, "spec": {"replicas": 1}});
        let (kind, name) = (ManagedKind::Deployment, "web-gwapi".to_owned());
        let manifest = sealed(Manifest { kind, name, object });
        let step = || Step {
            manifest: manifest.clone(),
            known: Some("uid".to_owned()),
            version: None,
            hand_over: None,
            differs: None,
        };
        let mut entry = Entry::default();
        let now = Instant::now();
        let mut apply = |version: u64, is_changed: bool| {
            let object = json!({"metadata": {"resourceVersion": version.to_string()}});
            let object = serde_json::from_value(object).expect("an object");
            entry.note(&Applied { manifest: manifest.clone(), object, is_changed }, now);
            let mut plan = Plan { apply: vec![step()], ..Plan::default() };
            entry.repairs.hold_back(&mut plan, now).is_some()
        };
        assert!(!apply(1, true), "it was made");
        for version in 2..10 {
            assert!(!apply(version, false), "others have changed it, and not what we ask for");
        }
        assert!(apply(10, true), "a repair is followed by a pause");
    }
}
