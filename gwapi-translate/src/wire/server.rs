//! The server's end: what a Gateway's proxies are to have, and what each of them has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::bytes::Bytes;

use super::encoding::{Version, encode, key_of, name_of};
use super::message::{Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use super::snapshot::{ResourceVersions, Root, SnapshotMark};
use super::verdict::{Refusal, Verdict};
use super::{MAX_RESPONSE, SNAPSHOT, TYPE_URL};
use crate::ir::{ConfigDelta, IrKey, IrResource};

/// Bytes that a resource takes in a response besides its contents, name and type: version, lengths
/// and tags.
const OVERHEAD: usize = 64;

/// The state of one Gateway, as its proxies are to have it.
#[derive(Clone, Debug, Default)]
pub struct Served {
    resources: BTreeMap<IrKey, Entry>,
    root: Root,
    generation: u64,
    versions: Arc<ResourceVersions>,
}

/// A resource; its encoding is made again whenever it is sent, which is rare.
#[derive(Clone)]
struct Entry {
    resource: IrResource,
    version: Version,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.version)
    }
}

impl Served {
    /// Takes in a change, and how far the sources are with it: changed or not, every state is to know
    /// that. What comes out has to be told to the [`Server`] of every stream: [`Server::changed`].
    pub fn apply(&mut self, delta: &ConfigDelta, versions: &Arc<ResourceVersions>) -> Vec<IrKey> {
        let mut changed = Vec::new();
        for key in &delta.removals {
            if let Some(gone) = self.resources.remove(key) {
                self.root.remove(&name_of(key), &gone.version.to_string());
                changed.push(key.clone());
            }
        }
        for resource in &delta.upserts {
            let (key, version) = (resource.key(), Version::of(&encode(resource)));
            let name = name_of(&key);
            let entry = Entry { resource: resource.clone(), version };
            let before = self.resources.insert(key.clone(), entry);
            if let Some(before) = &before {
                self.root.remove(&name, &before.version.to_string());
            }
            self.root.add(&name, &version.to_string());
            if before.is_none_or(|before| before.version != version) {
                changed.push(key);
            }
        }
        if !changed.is_empty() || self.generation == 0 {
            self.generation += 1;
        }
        self.versions = Arc::clone(versions);
        changed
    }

    /// Number of the state, counted from 1; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of resources, and a hash over them.
    pub fn root(&self) -> Root {
        self.root
    }

    fn version(&self, key: &IrKey) -> Option<Version> {
        self.resources.get(key).map(|entry| entry.version)
    }

    fn mark(&self) -> SnapshotMark {
        SnapshotMark {
            generation: self.generation,
            root: self.root,
            versions: (*self.versions).clone(),
        }
    }
}

/// What a request was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The stream begins.
    Subscribed,
    /// There is news in [`Server::acknowledged`] or [`Server::verdict`].
    Answered,
    /// Nothing that anybody has to know.
    Nothing,
}

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Another type of resources is asked for.
    #[error("resources of the type {0:?} are not served here, only {TYPE_URL}")]
    Type(String),
    /// Single resources are asked for.
    #[error("single resources cannot be subscribed to: ask for `*`")]
    Names,
    /// A response is answered that was never sent.
    #[error("no response with the nonce {0:?} was sent")]
    Nonce(String),
    /// A part of a batch is refused.
    #[error("the response {nonce} was refused before its batch was complete: {message}")]
    PartRefused {
        /// The response.
        nonce: u64,
        /// What the client said.
        message: String,
    },
}

/// One stream, as the server sees it. A new one has asked for nothing yet.
#[derive(Debug)]
pub struct Server {
    max_response: usize,
    subscribed: bool,
    /// What is to be sent: a key of which the state has nothing is gone.
    queue: BTreeSet<IrKey>,
    /// Names of which this release knows nothing, to be removed.
    unknown: Vec<String>,
    batch: Option<Batch>,
    /// Whether a snapshot is to be sent even if nothing else is.
    snapshot_due: bool,
    /// Why nothing is sent although there is something.
    hold: Option<Hold>,
    nonce: u64,
    acknowledged: Option<u64>,
    verdict: Verdict,
    /// Nonce of the last snapshot that was answered.
    answered: u64,
}

/// A state was refused, and what has to happen before the next is sent.
#[derive(Debug, PartialEq, Eq)]
enum Hold {
    /// The server's sources have to come as far as those of what the client serves.
    Behind { kind: String, newest: u64 },
    /// The state has to become another one.
    Unchanged,
}

impl Hold {
    fn is_over(&self, served: &Served) -> bool {
        match self {
            Self::Behind { kind, newest } => {
                served.versions.progress(kind).is_none_or(|ours| ours.complete >= *newest)
            }
            Self::Unchanged => false,
        }
    }
}

/// What was sent since the last snapshot that was answered.
#[derive(Debug, Default)]
struct Batch {
    keys: BTreeSet<IrKey>,
    unknown: Vec<String>,
    /// Nonce and generation of the snapshot, once it was sent.
    snapshot: Option<(u64, u64)>,
}

impl Default for Server {
    fn default() -> Self {
        Self::with_max_response(MAX_RESPONSE)
    }
}

impl Server {
    /// One whose responses are at most this large, or hold one thing.
    pub fn with_max_response(bytes: usize) -> Self {
        Self {
            max_response: bytes,
            subscribed: false,
            queue: BTreeSet::new(),
            unknown: Vec::new(),
            batch: None,
            snapshot_due: false,
            hold: None,
            nonce: 0,
            acknowledged: None,
            verdict: Verdict::default(),
            answered: 0,
        }
    }

    /// Takes in what the client says.
    pub fn receive(
        &mut self,
        request: &DeltaDiscoveryRequest,
        served: &Served,
    ) -> Result<Received, ServerError> {
        if request.type_url != TYPE_URL {
            return Err(ServerError::Type(request.type_url.clone()));
        }
        let all = |name: &String| name == "*";
        let subscribed = &request.resource_names_subscribe;
        if !subscribed.iter().all(all) || !request.resource_names_unsubscribe.is_empty() {
            return Err(ServerError::Names);
        }
        if !self.subscribed {
            self.subscribe(request, served);
            return Ok(Received::Subscribed);
        }
        if request.response_nonce.is_empty() {
            return Ok(Received::Nothing);
        }
        self.answer(request)
    }

    /// The state has changed in these resources.
    pub fn changed(&mut self, keys: &[IrKey]) {
        if !self.subscribed || keys.is_empty() {
            return;
        }
        self.queue.extend(keys.iter().cloned());
        if self.hold == Some(Hold::Unchanged) {
            self.hold = None;
        }
    }

    /// Whether there is something to say now.
    pub fn has_news(&self, served: &Served) -> bool {
        let something = !self.queue.is_empty()
            || !self.unknown.is_empty()
            || self.batch.is_some()
            || self.snapshot_due;
        let held_up = self.hold.as_ref().is_some_and(|hold| !hold.is_over(served));
        self.subscribed && something && !held_up && !self.awaits_answer()
    }

    /// Whether a complete state was sent that the client has not answered yet.
    pub fn awaits_answer(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.snapshot.is_some())
    }

    /// The next response, if there is something to say now. Call it until it has nothing more.
    ///
    /// A batch is complete when nothing is left to be sent, whatever was added meanwhile: with its
    /// snapshot the client has `served` as it is then.
    pub fn next_response(&mut self, served: &Served) -> Option<DeltaDiscoveryResponse> {
        if !self.has_news(served) {
            return None;
        }
        self.hold = None;
        self.nonce += 1;
        let mut response = Response::up_to(self.max_response);
        let batch = self.batch.get_or_insert_default();
        while let Some(name) = self.unknown.last() {
            if !response.remove(name.clone()) {
                break;
            }
            batch.unknown.extend(self.unknown.pop());
        }
        while let Some(key) = self.queue.first() {
            let fits = match served.resources.get(key) {
                Some(entry) => response.add(&name_of(key), entry),
                None => response.remove(name_of(key)),
            };
            if !fits {
                break;
            }
            batch.keys.extend(self.queue.pop_first());
        }
        let complete = self.queue.is_empty() && self.unknown.is_empty();
        if complete && response.add_mark(&served.mark()) {
            batch.snapshot = Some((self.nonce, served.generation));
            self.snapshot_due = false;
        }
        Some(response.finish(self.nonce, served.generation))
    }

    /// The generation of the last state that the client serves, apart from what it rejects.
    pub fn acknowledged(&self) -> Option<u64> {
        self.acknowledged
    }

    /// What the client last said.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    fn subscribe(&mut self, request: &DeltaDiscoveryRequest, served: &Served) {
        let mut same = BTreeSet::new();
        for (name, version) in &request.initial_resource_versions {
            match key_of(name) {
                Some(key) if served.version(&key).is_some_and(|v| v.to_string() == *version) => {
                    same.insert(key);
                }
                Some(key) => drop(self.queue.insert(key)),
                None => self.unknown.push(name.clone()),
            }
        }
        let missing = served.resources.keys().filter(|key| !same.contains(*key));
        self.queue.extend(missing.cloned());
        self.subscribed = true;
        // It tells the client where it stands, and its answer tells us.
        self.snapshot_due = true;
    }

    fn answer(&mut self, request: &DeltaDiscoveryRequest) -> Result<Received, ServerError> {
        let nonce = request.response_nonce.parse().ok().filter(|nonce| *nonce <= self.nonce);
        let Some(nonce) = nonce else {
            return Err(ServerError::Nonce(request.response_nonce.clone()));
        };
        let snapshot = self.batch.as_ref().and_then(|batch| batch.snapshot);
        if let Some((_, generation)) = snapshot.filter(|(last, _)| *last == nonce) {
            let batch = self.batch.take().unwrap_or_default();
            self.answered = nonce;
            self.verdict = Verdict::from_status(request.error_detail.as_ref());
            match self.verdict.refused.clone() {
                None => self.acknowledged = Some(generation),
                Some(refusal) => self.take_back(batch, refusal),
            }
            return Ok(Received::Answered);
        }
        if nonce == self.answered && nonce != 0 {
            // Something has changed at the client without a word from here, say a port was freed.
            let verdict = Verdict::from_status(request.error_detail.as_ref());
            if verdict == self.verdict || verdict.refused.is_some() {
                return Ok(Received::Nothing);
            }
            self.verdict.rejected = verdict.rejected;
            return Ok(Received::Answered);
        }
        match &request.error_detail {
            Some(status) => {
                Err(ServerError::PartRefused { nonce, message: status.message.clone() })
            }
            None => Ok(Received::Nothing),
        }
    }

    /// The client goes on with what it had before the batch.
    fn take_back(&mut self, batch: Batch, refusal: Refusal) {
        self.queue.extend(batch.keys);
        self.unknown.extend(batch.unknown);
        self.snapshot_due = true;
        self.hold = Some(match refusal {
            Refusal::Behind { kind, newest } => Hold::Behind { kind, newest },
            Refusal::Other(_) => Hold::Unchanged,
        });
    }
}

/// A response that is being filled.
struct Response {
    max: usize,
    resources: Vec<Resource>,
    removed: Vec<String>,
    size: usize,
}

impl Response {
    fn up_to(max: usize) -> Self {
        // The response itself takes about as much as a resource does.
        let max = max.saturating_sub(OVERHEAD + TYPE_URL.len());
        Self { max, resources: Vec::new(), removed: Vec::new(), size: 0 }
    }

    /// Adds a resource, unless the response is full.
    fn add(&mut self, name: &str, entry: &Entry) -> bool {
        self.push(name, entry.version.to_string(), encode(&entry.resource))
    }

    fn add_mark(&mut self, mark: &SnapshotMark) -> bool {
        let json = serde_json::to_vec(mark)
            .expect("a mark has text as keys of maps, and writing to memory does not fail");
        let version = Version::of(&json).to_string();
        self.push(SNAPSHOT, version, json.into())
    }

    fn remove(&mut self, name: String) -> bool {
        let size = name.len() + OVERHEAD;
        let fits = self.fits(size);
        if fits {
            self.size += size;
            self.removed.push(name);
        }
        fits
    }

    fn push(&mut self, name: &str, version: String, value: Bytes) -> bool {
        let size = value.len() + name.len() + TYPE_URL.len() + OVERHEAD;
        let fits = self.fits(size);
        if fits {
            self.size += size;
            let resource = Some(Any { type_url: TYPE_URL.to_owned(), value });
            self.resources.push(Resource { version, resource, name: name.to_owned() });
        }
        fits
    }

    fn fits(&self, size: usize) -> bool {
        self.size == 0 || self.size + size <= self.max
    }

    fn finish(self, nonce: u64, generation: u64) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            system_version_info: generation.to_string(),
            resources: self.resources,
            type_url: TYPE_URL.to_owned(),
            nonce: nonce.to_string(),
            removed_resources: self.removed,
            control_plane: None,
        }
    }
}
