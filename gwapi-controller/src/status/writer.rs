//! Writes status: waits a moment for the proxies, then for nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use gwapi_model::ObjectId;
use gwapi_model::jiff::Timestamp;
use gwapi_model::status::Status;
use gwapi_translate::ir::GatewayId;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use super::laggards::{Sets, annotate, gateways};
use super::ledger::{Heard, Ledger, Now, Outcome, Request};
use super::manager::field_manager;
use crate::metrics::Metrics;
use crate::serve::{ConfigHandle, Laggard, Publication};
use crate::watch::{RawObject, api_resource};

/// How long a status waits for the proxies that are connected.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long a proxy that is late is waited for before it is looked for once more.
const LATE: Duration = Duration::from_secs(30);

/// Requests to the API server at one time.
const REQUESTS: usize = 16;

/// Time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause where we are not allowed to write.
const DENIED_PAUSE: Duration = Duration::from_secs(30);

/// Time for requests under way when the writer has to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What has to be written, and when.
#[derive(Clone, Debug)]
pub(crate) struct StatusHandle {
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
enum Command {
    Heard(Vec<(ObjectId, Heard)>),
    Announced(BTreeMap<ObjectId, Option<Status>>, Sets, Publication),
    Judged(Vec<ObjectId>),
    Complete,
    Lead(bool),
}

impl StatusHandle {
    /// What objects have, as the API server told.
    pub(crate) fn heard(&self, heard: Vec<(ObjectId, Heard)>) {
        self.send(Command::Heard(heard));
    }

    /// What objects should have, as soon as proxies serve what was published by then. `sets` are the
    /// Gateways of the ListenerSets that the statuses are about.
    pub(crate) fn announce(
        &self,
        statuses: BTreeMap<ObjectId, Option<Status>>,
        sets: Sets,
        publication: Publication,
    ) {
        self.send(Command::Announced(statuses, sets, publication));
    }

    /// What these objects should have as they were heard of last was announced, as far as it is new: one that took
    /// the name of another has what that one should have, otherwise.
    pub(crate) fn judged(&self, ids: Vec<ObjectId>) {
        self.send(Command::Judged(ids));
    }

    /// Whether it is on us to write from now on. Everything has to be announced anew.
    pub(crate) fn lead(&self, is_leading: bool) {
        self.send(Command::Lead(is_leading));
    }

    /// Everything has been announced: what we once wrote and have not announced goes (ST-6, ST-7).
    pub(crate) fn complete(&self) {
        self.send(Command::Complete);
    }

    fn send(&self, command: Command) {
        // The writer ends before its handles only when it panicked, which its task tells.
        let _ = self.commands.send(command);
    }
}

/// Starts the writer. It ends when its last handle is dropped.
pub(crate) fn start(
    client: Client,
    controller_name: &str,
    config: ConfigHandle,
    metrics: Metrics,
) -> (StatusHandle, JoinHandle<()>) {
    let (commands, received) = mpsc::unbounded_channel();
    let writer = Writer {
        client,
        manager: field_manager(controller_name).into(),
        config,
        ledger: Ledger::new(controller_name),
        batches: 0,
        acknowledgements: FuturesUnordered::new(),
        requests: FuturesUnordered::new(),
        metrics,
    };
    let task = tokio::spawn(writer.run(received));
    (StatusHandle { commands }, task)
}

/// Statuses that depend on the same Gateways and were announced together.
#[derive(Debug)]
struct Group {
    batch: u64,
    statuses: Vec<(ObjectId, Option<Status>)>,
    sets: Arc<Sets>,
    publication: Publication,
}

/// The group, the proxies that are late, and who was named in its status before.
type Acknowledged = (Arc<Group>, Vec<Laggard>, Option<Vec<Laggard>>);

struct Writer {
    client: Client,
    /// The name under which we write.
    manager: Arc<str>,
    config: ConfigHandle,
    ledger: Ledger,
    batches: u64,
    acknowledgements: FuturesUnordered<BoxFuture<'static, Acknowledged>>,
    requests: FuturesUnordered<BoxFuture<'static, (ObjectId, Outcome)>>,
    metrics: Metrics,
}

impl Writer {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            while let Ok(command) = commands.try_recv() {
                self.take(command);
            }
            self.ask();
            let deadline = self.ledger.deadline().map(tokio::time::Instant::from_std);
            let later = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => break,
                },
                Some(acknowledged) = self.acknowledgements.next() => self.release(acknowledged),
                Some((id, outcome)) = self.requests.next() => self.answered(id, outcome),
                () = later => {}
            }
        }
        let rest = async { while self.requests.next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, rest).await;
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Heard(heard) => {
                heard.into_iter().for_each(|(id, it)| self.ledger.observe(id, it));
            }
            Command::Announced(statuses, sets, publication) => {
                self.announce(statuses, &Arc::new(sets), &publication);
            }
            Command::Judged(ids) => self.ledger.judged(ids),
            Command::Complete => self.ledger.complete(),
            Command::Lead(is_leading) => {
                self.ledger.lead(is_leading);
                self.acknowledgements.clear();
            }
        }
    }

    /// Nobody waits for the proxies of a Gateway that is not his; for those of his own also where this changes
    /// nothing for them: what was published before, and is part of what the status says, may be on its way still.
    fn announce(
        &mut self,
        statuses: BTreeMap<ObjectId, Option<Status>>,
        sets: &Arc<Sets>,
        publication: &Publication,
    ) {
        self.batches += 1;
        let mut groups: BTreeMap<Vec<GatewayId>, Vec<(ObjectId, Option<Status>)>> = BTreeMap::new();
        for (id, status) in statuses {
            self.ledger.announce(&id, self.batches);
            let mut depends_on: Vec<GatewayId> =
                status.iter().flat_map(|status| gateways(&id, status, sets)).collect();
            depends_on.retain(|gateway| publication.has(gateway));
            groups.entry(depends_on).or_default().push((id, status));
        }
        for (gateways, statuses) in groups {
            let publication = publication.of(&gateways);
            let group = Arc::new(Group {
                batch: self.batches,
                statuses,
                sets: Arc::clone(sets),
                publication,
            });
            let laggards = self.config.laggards(&group.publication);
            if laggards.is_empty() {
                self.release((group, laggards, None));
            } else {
                self.wait(group, PATIENCE, None);
            }
        }
    }

    fn wait(&mut self, group: Arc<Group>, within: Duration, named: Option<Vec<Laggard>>) {
        let config = self.config.clone();
        let acknowledged = async move {
            let laggards = config.acknowledged(&group.publication, within).await;
            (group, laggards, named)
        };
        self.acknowledgements.push(acknowledged.boxed());
    }

    /// Lets statuses be written; those of slow proxies with their names, until they have caught up.
    fn release(&mut self, (group, laggards, named): Acknowledged) {
        let is_current =
            group.statuses.iter().any(|(id, _)| self.ledger.batch_of(id) == group.batch);
        if named.as_ref() != Some(&laggards) {
            for (id, status) in &group.statuses {
                let status = status.as_ref().map(|it| annotate(id, it, &laggards, &group.sets));
                self.ledger.want(id.clone(), group.batch, status);
            }
        }
        if !laggards.is_empty() && is_current {
            self.wait(group, LATE, Some(laggards));
        }
    }

    /// Sends requests, as many as may be under way.
    fn ask(&mut self) {
        while self.requests.len() < REQUESTS {
            let Some(request) = self.ledger.next(now()) else { break };
            let (client, manager) = (self.client.clone(), self.manager.clone());
            self.requests.push(send(client, manager, request).boxed());
        }
        self.metrics.status_unchanged(std::mem::take(&mut self.ledger.unchanged));
    }

    fn answered(&mut self, id: ObjectId, outcome: Outcome) {
        let (name, problem) = match &outcome {
            Outcome::Written(_) => ("written", None),
            Outcome::Read(_) => ("read", None),
            Outcome::Conflict => ("conflict", None),
            Outcome::Gone => ("gone", None),
            Outcome::Refused(error) => ("refused", Some(error)),
            Outcome::Failed(error, _) => ("failed", Some(error)),
        };
        self.metrics.status_request(id.kind, name);
        if let Some(error) = problem {
            tracing::warn!(object = %id, error, "cannot write a status");
        }
        self.ledger.done(id, outcome, now());
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), time: Timestamp::now() }
}

async fn send(client: Client, manager: Arc<str>, request: Request) -> (ObjectId, Outcome) {
    let (Request::Write(id, _) | Request::Read(id)) = &request;
    let id = id.clone();
    let resource = api_resource(id.kind);
    let api: Api<RawObject<false>> = if id.kind.is_namespaced() {
        Api::namespaced_with(client, &id.namespace, &resource)
    } else {
        Api::all_with(client, &resource)
    };
    let answer = async {
        match &request {
            Request::Write(_, patch) => {
                let parameters = PatchParams {
                    field_manager: Some(manager.to_string()),
                    ..PatchParams::default()
                };
                api.patch_status(&id.name, &parameters, &Patch::Merge(patch)).await
            }
            Request::Read(_) => api.get(&id.name).await,
        }
    };
    let outcome = match timeout(REQUEST_TIMEOUT, answer).await {
        Ok(Ok(raw)) => {
            let observed = raw.observed(id.kind, &manager);
            match request {
                Request::Write(..) => Outcome::Written(observed),
                Request::Read(_) => Outcome::Read(observed),
            }
        }
        Ok(Err(kube::Error::Api(status))) => refused(&status),
        Ok(Err(error)) => Outcome::Failed(error.to_string(), Duration::ZERO),
        Err(_) => Outcome::Failed("the API server gave no answer".to_owned(), Duration::ZERO),
    };
    (id, outcome)
}

fn refused(status: &kube::core::Status) -> Outcome {
    let asked_for = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    match status.code {
        409 => Outcome::Conflict,
        404 => Outcome::Gone,
        400 | 422 => Outcome::Refused(status.message.clone()),
        403 => Outcome::Failed(status.message.clone(), DENIED_PAUSE),
        _ => Outcome::Failed(status.message.clone(), Duration::from_secs(u64::from(asked_for))),
    }
}
