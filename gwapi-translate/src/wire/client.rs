//! The client's end: what a proxy has, and what it is being sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::encoding::{decode, key_of, name_of};
use super::message::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource};
use super::snapshot::{Root, SnapshotMark};
use super::verdict::{Refusal, Verdict};
use super::{SNAPSHOT, TYPE_URL};
use crate::Feedback;
use crate::ir::{ConfigDelta, GatewayConfig, IrKey, IrResource};

/// What a proxy has of its Gateway. It outlives streams, and by way of a file the process.
///
/// It keeps the last good version of each resource: of one that cannot be read, and of a
/// certificate that the proxy says it cannot use, that is the version before.
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub(super) held: BTreeMap<Arc<str>, Held>,
    pub(super) mark: Option<SnapshotMark>,
    /// What the server thinks that we have.
    root: Root,
    feedback: Feedback,
    staged: BTreeMap<Arc<str>, Staged>,
    /// Number of the stream.
    stream: u64,
    /// Nonce of the last snapshot that was answered on this stream.
    answered: Option<String>,
}

/// A resource under its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// Version that was sent last, on this stream or before; none after one that was rejected, so
    /// that a new stream sends it once more.
    pub(super) sent: Option<String>,
    /// The last good version.
    pub(super) good: Option<(String, IrResource)>,
    /// Why the version that was sent last cannot be read.
    pub(super) unreadable: Option<String>,
}

impl Held {
    /// The version that is both good and current.
    fn current(&self) -> Option<&str> {
        let (version, _) = self.good.as_ref()?;
        (self.sent.as_ref() == Some(version)).then_some(version)
    }
}

/// A change that waits for its snapshot.
#[derive(Clone, Debug)]
enum Staged {
    Set { version: String, resource: Result<IrResource, String> },
    Removed,
}

/// What a response asks for.
#[derive(Debug)]
pub enum Step {
    /// Send this answer.
    Answer(DeltaDiscoveryRequest),
    /// Send this answer, which refuses the state: the server has not seen yet what is served here.
    /// Another server may have.
    Refuse(DeltaDiscoveryRequest),
    /// A state is complete: apply it, then call [`Client::applied`] and send what that returns.
    Apply(Batch),
}

/// A complete state, as what changes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// What changes.
    pub delta: ConfigDelta,
    /// Number of the state at the server.
    pub generation: u64,
    versions: Vec<(IrKey, String)>,
    stream: u64,
    nonce: String,
}

/// Why a stream cannot go on. A new one helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Another type of resources was sent.
    #[error("the server sent resources of the type {0:?} instead of {TYPE_URL}")]
    Type(String),
    /// The end of a batch cannot be read.
    #[error("the end of a snapshot cannot be read: {0}")]
    Mark(String),
    /// What came is not what the server says that it sent.
    #[error("the server sent {expected}, and {found} came of it")]
    Mismatch {
        /// As the server says.
        expected: Root,
        /// As it is here.
        found: Root,
    },
}

impl Client {
    /// Begins a stream: the first request. What was staged on the stream before is forgotten.
    pub fn connect(&mut self, node: Node) -> DeltaDiscoveryRequest {
        self.staged.clear();
        self.stream += 1;
        self.answered = None;
        self.root = Root::default();
        let mut versions = BTreeMap::new();
        for (name, held) in &mut self.held {
            // No version at all for what was rejected: whatever the server has, it has to say it
            // again, and be it that there is none.
            let version = held.current().unwrap_or_default().to_owned();
            held.sent = held.current().map(str::to_owned);
            held.unreadable = None;
            if held.sent.is_some() {
                self.root.add(name, &version);
            }
            versions.insert(name.to_string(), version);
        }
        DeltaDiscoveryRequest {
            node: Some(node),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: versions,
            ..request()
        }
    }

    /// Takes in a response.
    pub fn receive(&mut self, response: DeltaDiscoveryResponse) -> Result<Step, ClientError> {
        if response.type_url != TYPE_URL {
            return Err(ClientError::Type(response.type_url));
        }
        let mut mark = None;
        for name in response.removed_resources {
            self.staged.insert(name.into(), Staged::Removed);
        }
        for resource in response.resources {
            let contents = value(&resource);
            if resource.name == SNAPSHOT {
                let read = serde_json::from_slice::<SnapshotMark>(contents);
                mark = Some(read.map_err(|error| ClientError::Mark(error.to_string()))?);
            } else {
                let contents = decode(&resource.name, contents);
                let staged = Staged::Set { version: resource.version, resource: contents };
                self.staged.insert(resource.name.into(), staged);
            }
        }
        match mark {
            None => Ok(Step::Answer(answer(response.nonce, &Verdict::default()))),
            Some(mark) => self.complete(mark, response.nonce),
        }
    }

    /// The proxy serves a state, apart from what `feedback` says. Returns the answer for the server,
    /// unless the stream that the state came by is gone.
    pub fn applied(&mut self, batch: Batch, feedback: &Feedback) -> Option<DeltaDiscoveryRequest> {
        self.feedback = feedback.clone();
        for (resource, (key, version)) in batch.delta.upserts.into_iter().zip(batch.versions) {
            let rejected = match &key {
                IrKey::Certificate(key) => feedback.rejected_certificates.contains_key(key),
                _ => false,
            };
            if let Some(held) = self.held.get_mut(name_of(&key).as_str()).filter(|_| !rejected) {
                held.good = Some((version, resource));
            }
        }
        if batch.stream != self.stream {
            return None;
        }
        self.answered = Some(batch.nonce.clone());
        Some(answer(batch.nonce, &self.verdict()))
    }

    /// The proxy has found out more about the state that it serves. Returns what the server is to be
    /// told, if that is new to it.
    pub fn reconsidered(&mut self, feedback: &Feedback) -> Option<DeltaDiscoveryRequest> {
        if *feedback == self.feedback {
            return None;
        }
        self.feedback = feedback.clone();
        let nonce = self.answered.clone()?;
        Some(answer(nonce, &self.verdict()))
    }

    /// Forgets which versions it has, so that the next stream sends everything. What is served stays
    /// what it is.
    pub fn mistrust(&mut self) {
        for held in self.held.values_mut() {
            held.sent = None;
        }
    }

    /// The state that was complete last, if there was one.
    pub fn mark(&self) -> Option<&SnapshotMark> {
        self.mark.as_ref()
    }

    /// The last good version of everything.
    pub fn config(&self) -> GatewayConfig {
        let good = self.held.values().filter_map(|held| held.good.as_ref());
        GatewayConfig(good.map(|(_, resource)| (resource.key(), resource.clone())).collect())
    }

    /// What is not served as it was sent.
    pub fn verdict(&self) -> Verdict {
        let unreadable = self
            .held
            .iter()
            .filter_map(|(name, held)| Some((name.to_string(), held.unreadable.clone()?)));
        Verdict::new(unreadable, &self.feedback)
    }

    /// One that has this already.
    pub(super) fn holding(held: BTreeMap<Arc<str>, Held>, mark: SnapshotMark) -> Self {
        Self { held, mark: Some(mark), ..Self::default() }
    }

    fn complete(&mut self, mark: SnapshotMark, nonce: String) -> Result<Step, ClientError> {
        let behind = self.mark.as_ref().and_then(|held| mark.versions.behind(&held.versions));
        if let Some((kind, newest)) = behind {
            let refused = Some(Refusal::Behind { kind: kind.to_owned(), newest });
            self.staged.clear();
            let verdict = Verdict { refused, ..self.verdict() };
            return Ok(Step::Refuse(answer(nonce, &verdict)));
        }
        let staged = std::mem::take(&mut self.staged);
        let root = self.root_after(&staged);
        if root != mark.root {
            return Err(ClientError::Mismatch { expected: mark.root, found: root });
        }
        let mut batch = Batch {
            delta: ConfigDelta::default(),
            generation: mark.generation,
            versions: Vec::new(),
            stream: self.stream,
            nonce,
        };
        for (name, staged) in staged {
            self.take_in(name, staged, &mut batch);
        }
        self.root = root;
        self.mark = Some(mark);
        Ok(Step::Apply(batch))
    }

    /// What the server would think that we have.
    fn root_after(&self, staged: &BTreeMap<Arc<str>, Staged>) -> Root {
        let mut root = self.root;
        for (name, staged) in staged {
            let sent = self.held.get(name).and_then(|held| held.sent.as_ref());
            if let Some(version) = sent {
                root.remove(name, version);
            }
            if let Staged::Set { version, .. } = staged {
                root.add(name, version);
            }
        }
        root
    }

    fn take_in(&mut self, name: Arc<str>, staged: Staged, batch: &mut Batch) {
        let (version, resource) = match staged {
            Staged::Removed => {
                self.held.remove(&name);
                batch.delta.removals.extend(key_of(&name));
                return;
            }
            Staged::Set { version, resource } => (version, resource),
        };
        let held = self.held.entry(name).or_default();
        let known = held.current() == Some(&version);
        held.sent = Some(version.clone());
        match resource {
            Ok(_) if known => {}
            Ok(resource) => {
                held.unreadable = None;
                batch.versions.push((resource.key(), version));
                batch.delta.upserts.push(resource);
            }
            Err(why) => held.unreadable = Some(why),
        }
    }
}

fn value(resource: &Resource) -> &[u8] {
    resource.resource.as_ref().map(|any| &*any.value).unwrap_or_default()
}

fn request() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: TYPE_URL.to_owned(), ..Default::default() }
}

fn answer(nonce: String, verdict: &Verdict) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { response_nonce: nonce, error_detail: verdict.to_status(), ..request() }
}
