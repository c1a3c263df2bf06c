//! Objects that are read only where another one refers to them: Secrets and ConfigMaps.
//!
//! Of all of them the metadata passes by, and nothing of it is kept. When it tells that one that is
//! referred to has changed, that one is read. So the private keys of a cluster are not in the
//! memory of this process, save for those that Gateways of ours use.

mod denials;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures_util::{FutureExt, StreamExt};
use gwapi_model::ObjectId;
use kube::runtime::watcher::DefaultBackoff;
use kube::{Api, Client};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use denials::Denials;

use super::list_watch::{Pauses, Seen, WatchError, list_watch};
use super::object::{Object, RawObject, api_resource};
use super::{Observation, Source};

/// Time for one read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after failures, where nothing shorter is called for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Reads at one time.
const READS: usize = 16;

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
/// Objects that are denied, to be asked for again: which, and after how many denials.
type Pending = FuturesUnordered<BoxFuture<'static, (ObjectId, u32)>>;

/// What came of reading an object.
enum Read {
    Found(Box<RawObject<false>>),
    Missing,
    Denied(String),
}

/// The objects that are referred to.
struct Referenced {
    client: Client,
    entries: HashMap<ObjectId, Entry>,
    reads: Reads,
    turns: Arc<Semaphore>,
    denials: Denials,
    pending: Pending,
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
        let mut referenced = Referenced::new(self.client.clone());
        loop {
            let observation = tokio::select! {
                wanted = self.wanted.recv() => match wanted {
                    Some(Reference::Added(id)) => {
                        referenced.entries.entry(id.clone()).or_default();
                        referenced.read(&id);
                        None
                    }
                    Some(Reference::Removed(id)) => {
                        referenced.entries.remove(&id);
                        referenced.denials.forget(&id);
                        None
                    }
                    None => return,
                },
                Some((source, told)) = metadata.next() => match told {
                    Ok(seen) => {
                        referenced.note(source, seen);
                        None
                    }
                    Err(error) => Some(Observation::failed(source, &error)),
                },
                Some((id, read)) = referenced.reads.next() => {
                    let source = source_of(&self.sources, &id);
                    referenced.arrived(id, read, source)
                }
                Some((id, times)) = referenced.pending.next() => {
                    // A change of it may have had it read meanwhile.
                    if referenced.denials.times(&id) == times {
                        referenced.read(&id);
                    }
                    None
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
    let resource = api_resource(source.kind);
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
            Ok(seen) => {
                pauses.heard(seen);
                Duration::ZERO
            }
            Err(error) => pauses.after(error),
        };
        Some(((source.clone(), told), (seen, pauses, pause, source)))
    })
    .boxed()
}

impl Referenced {
    /// Nothing is referred to.
    fn new(client: Client) -> Self {
        Self {
            client,
            entries: HashMap::new(),
            reads: Reads::new(),
            turns: Arc::new(Semaphore::new(READS)),
            denials: Denials::default(),
            pending: Pending::new(),
            reached: HashMap::new(),
        }
    }

    /// Reads what has changed.
    fn note(&mut self, source: Source, seen: Seen<Version>) {
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
            self.read(&id);
        }
        self.reached.insert(source, reached);
    }

    /// Reads an object; one that is being read is read once more afterwards.
    fn read(&mut self, id: &ObjectId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if std::mem::replace(&mut entry.is_reading, true) {
            entry.is_stale = true;
        } else {
            let (client, turns) = (self.client.clone(), Arc::clone(&self.turns));
            self.reads.push(read(client, turns, id.clone()).boxed());
        }
    }

    /// Takes in what was read. What nobody refers to any more is forgotten as soon as it arrives.
    fn arrived(&mut self, id: ObjectId, read: Read, source: Source) -> Option<Observation> {
        let entry = self.entries.get_mut(&id)?;
        entry.is_reading = false;
        let is_stale = std::mem::take(&mut entry.is_stale);
        if !matches!(read, Read::Denied(_)) && self.denials.forget(&id) {
            tracing::info!(object = %id, "an object that is referred to can be read again");
        }
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
                let denial = self.denials.note(&id, &error);
                if denial.is_news {
                    tracing::warn!(object = %id, error, "an object that is referred to cannot be read");
                }
                let again = (id.clone(), denial.times);
                self.pending.push(sleep(denial.pause).map(move |()| again).boxed());
                // What could be read once is still the last good.
                let is_new = entry.version.is_none();
                is_new.then(|| Observation::Fetched(source, id.clone(), None))
            }
        };
        if is_stale {
            self.read(&id);
        }
        observation
    }

    /// How far everything that is referred to is known: as far as the metadata, when nothing is
    /// being read. What is denied is known no better than that.
    fn complete(&mut self) -> HashMap<Source, String> {
        if self.reads.is_empty() && self.denials.are_believed() {
            std::mem::take(&mut self.reached)
        } else {
            HashMap::new()
        }
    }
}

/// The source that an object belongs to; where its namespace is not watched, one that is of no
/// consequence.
fn source_of(sources: &[Source], id: &ObjectId) -> Source {
    let unwatched = || Source { kind: id.kind, namespace: Some(id.namespace.to_string()) };
    sources.iter().find(|source| source.holds(id)).cloned().unwrap_or_else(unwatched)
}

/// Whether an object may have this name. Whoever refers to an object may write any: one that is no name
/// makes no request, or another one.
fn is_name(name: &str) -> bool {
    let is_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(is_end)
            && bytes.last().is_some_and(is_end)
            && bytes.iter().all(|byte| is_end(byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Reads an object, as often as it takes to get an answer.
async fn read(client: Client, turns: Arc<Semaphore>, id: ObjectId) -> (ObjectId, Read) {
    if !is_name(&id.name) || !is_name(&id.namespace) {
        return (id, Read::Missing);
    }
    let resource = api_resource(id.kind);
    let api: Api<RawObject<false>> = Api::namespaced_with(client, &id.namespace, &resource);
    let mut backoff = DefaultBackoff::default();
    loop {
        let turn = turns.acquire().await.expect("nobody closes the semaphore");
        let answer = timeout(READ_TIMEOUT, api.get_opt(&id.name)).await;
        drop(turn);
        let error = match answer {
            Ok(Ok(Some(object))) => return (id, Read::Found(Box::new(object))),
            Ok(Ok(None)) => return (id, Read::Missing),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return (id, Read::Denied(status.message.clone()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::debug!(object = %id, error, "cannot read an object that is referred to");
        sleep(backoff.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use gwapi_model::Kind;
    use kube::client::Body;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;

    /// What an API server was asked for that takes a second to deny everything.
    #[derive(Default)]
    struct Asked {
        at_once: AtomicUsize,
        most_at_once: AtomicUsize,
        /// When, in seconds, by path.
        times: Mutex<BTreeMap<String, Vec<u64>>>,
    }

    impl Asked {
        fn client(self: &Arc<Self>) -> Client {
            let (asked, start) = (Arc::clone(self), Instant::now());
            let service = service_fn(move |request: hyper::Request<Body>| {
                let asked = Arc::clone(&asked);
                async move {
                    let at_once = asked.at_once.fetch_add(1, Ordering::Relaxed) + 1;
                    asked.most_at_once.fetch_max(at_once, Ordering::Relaxed);
                    let path = request.uri().path().to_owned();
                    let second = start.elapsed().as_secs();
                    asked.times.lock().expect("no panic").entry(path).or_default().push(second);
                    sleep(Duration::from_secs(1)).await;
                    asked.at_once.fetch_sub(1, Ordering::Relaxed);
                    let denied = serde_json::json!({"kind": "Status", "status": "Failure",
                        "message": "forbidden", "reason": "Forbidden", "code": 403});
                    let response = hyper::Response::builder().status(403);
                    let body = Body::from(denied.to_string().into_bytes());
                    Ok::<_, Infallible>(response.body(body).expect("a response"))
                }
            });
            Client::new(service, "default")
        }
    }

    /// As long as it is not known, nothing is given out after a restart.
    #[tokio::test(start_paused = true)]
    async fn what_has_a_name_that_no_object_can_have_is_missing_and_not_asked_for() {
        let asked = Arc::new(Asked::default());
        let (references, wanted) = mpsc::unbounded_channel();
        let (observations, mut observed) = mpsc::channel(10);
        let watch =
            ReferencedWatch { client: asked.client(), sources: Vec::new(), wanted, observations };
        let running = tokio::spawn(watch.run());
        let names = ["a b", "x?watch=true", "../y", "UPPER", ".", "a..b", "-a"];
        for name in names {
            let id = ObjectId::new(Kind::Secret, "shop", name);
            references.send(Reference::Added(id.clone())).expect("it listens");
            let told = observed.recv().await.expect("it runs");
            assert!(
                matches!(&told, Observation::Fetched(_, known, None) if *known == id),
                "{told:?}"
            );
        }
        assert!(asked.times.lock().expect("no panic").is_empty());
        assert!(is_name("a-1.example") && is_name("x"));
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_denied_is_asked_for_less_and_less_and_few_at_a_time() {
        let asked = Arc::new(Asked::default());
        let (references, wanted) = mpsc::unbounded_channel();
        let (observations, mut observed) = mpsc::channel(1000);
        let watch =
            ReferencedWatch { client: asked.client(), sources: Vec::new(), wanted, observations };
        let running = tokio::spawn(watch.run());
        for number in 0..40 {
            let id = ObjectId::new(Kind::Secret, "shop", format!("cert-{number}"));
            references.send(Reference::Added(id)).expect("it listens");
        }
        for _ in 0..40 {
            let told = observed.recv().await.expect("it runs");
            assert!(matches!(told, Observation::Fetched(_, _, None)));
        }
        sleep(Duration::from_secs(600)).await;
        assert_eq!(asked.most_at_once.load(Ordering::Relaxed), 16);
        let times = asked.times.lock().expect("no panic").clone();
        assert_eq!(times.len(), 40);
        for (path, times) in times {
            let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            // Each pause, the second that an answer takes, and the wait for a turn.
            let expected = [30, 60, 120, 240];
            assert_eq!(pauses.len(), expected.len(), "{path}: {times:?}");
            for (pause, expected) in pauses.iter().zip(expected) {
                assert!((expected..expected + 5).contains(pause), "{path}: {times:?}");
            }
        }
        running.abort();
    }
}
