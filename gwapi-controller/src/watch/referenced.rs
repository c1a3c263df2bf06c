//! Objects that are read only where another one refers to them: Secrets and ConfigMaps.
//!
//! Of all of them the metadata passes by, and nothing of it is kept. When it tells that one that is
//! referred to has changed, that one is read. So the private keys of a cluster are not in the
//! memory of this process, save for those that Gateways of ours use.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures_util::{FutureExt, StreamExt};
use gwapi_model::ObjectId;
use kube::runtime::watcher::DefaultBackoff;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::list_watch::{Pauses, Seen, WatchError, list_watch};
use super::object::{Object, RawObject, api_resource};
use super::{Observation, Source};

/// Time for one read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause before an object that must not be read is asked for again.
const DENIED_PAUSE: Duration = Duration::from_secs(30);

/// What is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// This object is referred to from now on; what it is will be observed.
    Added(ObjectId),
    /// Nothing refers to this object any more.
    Removed(ObjectId),
}

/// Follows the objects that are referred to.
pub(super) struct ReferencedWatch {
    pub(super) client: Client,
    pub(super) sources: Vec<Source>,
    pub(super) wanted: mpsc::UnboundedReceiver<Reference>,
    pub(super) observations: mpsc::Sender<Observation>,
}

/// Which object, and its version.
type Version = (ObjectId, String);
type Told = (Source, Result<Seen<Version>, WatchError>);
type Reads = FuturesUnordered<BoxFuture<'static, (ObjectId, Read)>>;

/// What came of reading an object.
enum Read {
    Found(Box<RawObject<false>>),
    Missing,
    Denied(String),
}

/// The objects that are referred to.
#[derive(Default)]
struct Referenced {
    entries: HashMap<ObjectId, Entry>,
    reads: Reads,
    /// How far the metadata of each source was told.
    reached: HashMap<Source, String>,
}

/// An object that is referred to.
#[derive(Debug, Default)]
struct Entry {
    /// The version that was read last.
    version: Option<String>,
    is_reading: bool,
    /// It has to be read once more.
    is_stale: bool,
}

impl ReferencedWatch {
    /// Watches until nobody listens.
    pub(super) async fn run(mut self) {
        let mut metadata: SelectAll<BoxStream<'static, Told>> =
            self.sources.iter().map(|source| follow(self.client.clone(), source.clone())).collect();
        let mut referenced = Referenced::default();
        loop {
            let observation = tokio::select! {
                wanted = self.wanted.recv() => match wanted {
                    Some(Reference::Added(id)) => {
                        referenced.entries.entry(id.clone()).or_default();
                        referenced.read(&self.client, &id);
                        None
                    }
                    Some(Reference::Removed(id)) => {
                        referenced.entries.remove(&id);
                        None
                    }
                    None => return,
                },
                Some((source, told)) = metadata.next() => match told {
                    Ok(seen) => {
                        referenced.note(&self.client, source, seen);
                        None
                    }
                    Err(error) => Some(Observation::Failed(source, error.to_string())),
                },
                Some((id, read)) = referenced.reads.next() => {
                    let source = source_of(&self.sources, &id);
                    referenced.arrived(&self.client, id, read, source)
                }
            };
            let complete = referenced.complete().into_iter();
            let complete = complete.map(|(source, version)| Observation::UpTo(source, version));
            for observation in observation.into_iter().chain(complete) {
                if self.observations.send(observation).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The versions of all objects of a source; a failure is followed by a pause.
fn follow(client: Client, source: Source) -> BoxStream<'static, Told> {
    let resource = api_resource(source.kind, "v1");
    let api: Api<RawObject<true>> = match &source.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let kind = source.kind;
    let version = move |raw: RawObject<true>| (raw.id(kind), raw.resource_version().to_owned());
    let state = (Box::pin(list_watch(api, version)), Pauses::default(), Duration::ZERO, source);
    futures_util::stream::unfold(state, |(mut seen, mut pauses, pause, source)| async move {
        sleep(pause).await;
        let told = seen.next().await?;
        let pause = match &told {
            Ok(_) => {
                pauses.reset();
                Duration::ZERO
            }
            Err(error) => pauses.after(error),
        };
        Some(((source.clone(), told), (seen, pauses, pause, source)))
    })
    .boxed()
}

impl Referenced {
    /// Reads what has changed.
    fn note(&mut self, client: &Client, source: Source, seen: Seen<Version>) {
        let (changed, reached): (Vec<ObjectId>, String) = match seen {
            Seen::Listed(listed, version) => {
                let listed: HashSet<Version> =
                    listed.into_iter().filter(|(id, _)| self.entries.contains_key(id)).collect();
                let is_as_read = |id: &ObjectId, entry: &Entry| match &entry.version {
                    Some(version) => listed.contains(&(id.clone(), version.clone())),
                    None => !listed.iter().any(|(listed, _)| listed == id),
                };
                let changed = self.entries.iter().filter(|(id, entry)| {
                    source.holds(id) && (entry.is_reading || !is_as_read(id, entry))
                });
                (changed.map(|(id, _)| id.clone()).collect(), version)
            }
            Seen::Applied((id, version)) => {
                let entry = self.entries.get(&id);
                let is_news = entry.is_some_and(|it| it.version.as_ref() != Some(&version));
                (is_news.then_some(id).into_iter().collect(), version)
            }
            Seen::Deleted((id, version)) => {
                let is_wanted = self.entries.contains_key(&id);
                (is_wanted.then_some(id).into_iter().collect(), version)
            }
            Seen::UpTo(version) => (Vec::new(), version),
        };
        for id in changed {
            self.read(client, &id);
        }
        self.reached.insert(source, reached);
    }

    /// Reads an object; one that is being read is read once more afterwards.
    fn read(&mut self, client: &Client, id: &ObjectId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if std::mem::replace(&mut entry.is_reading, true) {
            entry.is_stale = true;
        } else {
            self.reads.push(read(client.clone(), id.clone(), Duration::ZERO).boxed());
        }
    }

    /// Takes in what was read. What nobody refers to any more is forgotten as soon as it arrives.
    fn arrived(
        &mut self,
        client: &Client,
        id: ObjectId,
        read: Read,
        source: Source,
    ) -> Option<Observation> {
        let entry = self.entries.get_mut(&id)?;
        entry.is_reading = false;
        let is_stale = std::mem::take(&mut entry.is_stale);
        let observation = match read {
            Read::Found(raw) => {
                entry.version = Some(raw.resource_version().to_owned());
                let object = Object::read(id.kind, *raw, "");
                Some(Observation::Fetched(source, id.clone(), Some(object)))
            }
            Read::Missing => {
                entry.version = None;
                Some(Observation::Fetched(source, id.clone(), None))
            }
            Read::Denied(error) => {
                tracing::warn!(object = %id, error, "an object that is referred to cannot be read");
                entry.is_reading = true;
                self.reads.push(self::read(client.clone(), id.clone(), DENIED_PAUSE).boxed());
                // What could be read once is still the last good.
                let is_new = entry.version.is_none();
                is_new.then(|| Observation::Fetched(source, id.clone(), None))
            }
        };
        if is_stale {
            self.read(client, &id);
        }
        observation
    }

    /// How far everything that is referred to is known: as far as the metadata, when nothing is
    /// being read.
    fn complete(&mut self) -> HashMap<Source, String> {
        if self.reads.is_empty() { std::mem::take(&mut self.reached) } else { HashMap::new() }
    }
}

/// The source that an object belongs to; where its namespace is not watched, one that is of no
/// consequence.
fn source_of(sources: &[Source], id: &ObjectId) -> Source {
    let unwatched = || Source { kind: id.kind, namespace: Some(id.namespace.to_string()) };
    sources.iter().find(|source| source.holds(id)).cloned().unwrap_or_else(unwatched)
}

/// Reads an object, as often as it takes to get an answer.
async fn read(client: Client, id: ObjectId, pause: Duration) -> (ObjectId, Read) {
    sleep(pause).await;
    let resource = api_resource(id.kind, "v1");
    let api: Api<RawObject<false>> = Api::namespaced_with(client, &id.namespace, &resource);
    let mut backoff = DefaultBackoff::default();
    loop {
        let error = match timeout(READ_TIMEOUT, api.get_opt(&id.name)).await {
            Ok(Ok(Some(object))) => return (id, Read::Found(Box::new(object))),
            Ok(Ok(None)) => return (id, Read::Missing),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return (id, Read::Denied(status.message.clone()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::debug!(object = %id, error, "cannot read an object that is referred to");
        sleep(backoff.next().unwrap_or(DENIED_PAUSE)).await;
    }
}
