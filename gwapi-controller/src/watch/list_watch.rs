//! List, then watch: everything of a kind as one endless stream.
//!
//! kube's own watcher does the same, and keeps to itself which version a list or a bookmark reached.
//! Here that is part of what is told: proxies have to know whether a replica that started later has
//! seen what their configuration was made from.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;
use tokio::time::{Instant, timeout};

use super::object::RawObject;

/// Objects per page of a list.
const PAGE: u32 = 500;

/// Seconds after which the server ends a watch, to go on with the next one.
const WATCH_SECONDS: u32 = 60;

/// A watch that stays silent for so long has lost its connection without noticing.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);

/// Time for one page of a list, and for the start of a watch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A watch that ends sooner, and told nothing until then, has failed.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One thing that a list or watch told.
#[derive(Debug)]
pub(super) enum Seen<K> {
    /// These are all objects, and everything up to the version is in them.
    Listed(Vec<K>, String),
    /// An object is there, new or changed.
    Applied(K),
    /// An object is gone; this is what it was at last, with the version of its end.
    Deleted(K),
    /// Everything up to this version has been told.
    UpTo(String),
}

/// Why a list or watch could not go on. The stream does: it takes up where it stopped, or lists anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The API server answered with an error, or not at all.
    #[error(transparent)]
    Client(#[from] kube::Error),
    /// The API server ended the watch with an error.
    #[error("{0}")]
    Ended(Box<kube::core::Status>),
    /// What came of the watch is no event, but a page for people.
    #[error(
        "the API server ended the watch with something that is no event, as it does when the kind is \
         not served any more: {0}"
    )]
    NoEvent(serde_json::Error),
    /// The API server said nothing.
    #[error("the API server gave no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent,
    /// The watch was over before it told anything.
    #[error("the API server ended the watch at once, and told nothing")]
    Brief,
    /// A list or object had no version, which cannot be watched from.
    #[error("the API server sent no resourceVersion")]
    NoVersion,
}

impl WatchError {
    /// The answer of the API server, where it gave one.
    pub(super) fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Client(kube::Error::Api(status)) | Self::Ended(status) => Some(status),
            _ => None,
        }
    }

    /// Whether the API server does not allow what was asked for. What comes next is a list.
    pub(super) fn is_denied(&self) -> bool {
        self.status().is_some_and(|status| status.code == 403)
    }

    /// Whether the API server does not know what was asked for.
    pub(super) fn is_not_served(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }
}

/// How long to wait after failures.
#[derive(Default)]
pub(super) struct Pauses {
    backoff: DefaultBackoff,
    failures: u32,
}

impl Pauses {
    /// Something was told. Only what came of a watch shows that it goes well: where each watch fails, a
    /// list before it does not, and all objects would be listed over and over.
    pub(super) fn heard<K>(&mut self, seen: &Seen<K>) {
        if self.failures > 0 && !matches!(seen, Seen::Listed(..)) {
            self.failures = 0;
            self.backoff.reset();
        }
    }

    /// The pause after one more failure. A version that the server has forgotten (410) is no sign of
    /// trouble: everything is listed anew at once, but not over and over. A server that says how
    /// long to wait (429) is believed.
    pub(super) fn after(&mut self, error: &WatchError) -> Duration {
        self.failures += 1;
        let status = error.status();
        if self.failures == 1 && status.is_some_and(|status| status.code == 410) {
            return Duration::ZERO;
        }
        let details = status.and_then(|status| status.details.as_ref());
        let asked_for = details.map_or(0, |details| u64::from(details.retry_after_seconds));
        let pause = self.backoff.next().unwrap_or(LONGEST_PAUSE);
        pause.max(Duration::from_secs(asked_for))
    }
}

/// An API, and what is kept of each of its objects.
struct Followed<F, const METADATA_ONLY: bool> {
    api: Api<RawObject<METADATA_ONLY>>,
    keep: F,
}

enum State<const METADATA_ONLY: bool> {
    List,
    Watch(String),
    Watching(String, Events<METADATA_ONLY>, Told),
}

/// Whether a watch has told anything.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    Something,
    NothingSince(Instant),
}

impl Told {
    fn is_brief(self) -> bool {
        matches!(self, Self::NothingSince(start) if start.elapsed() < SHORTEST_WATCH)
    }
}

type Events<const METADATA_ONLY: bool> =
    BoxStream<'static, kube::Result<WatchEvent<RawObject<METADATA_ONLY>>>>;

type Next<T> = Option<Result<Seen<T>, WatchError>>;

/// Everything that an API tells; of each object that of it which `keep` makes. After an error, poll
/// again when a pause has passed.
pub(super) fn list_watch<T: Send, F, const METADATA_ONLY: bool>(
    api: Api<RawObject<METADATA_ONLY>>,
    keep: F,
) -> impl Stream<Item = Result<Seen<T>, WatchError>> + Send
where
    F: Fn(RawObject<METADATA_ONLY>) -> T + Send + Sync,
{
    let followed = Followed { api, keep };
    futures_util::stream::unfold((followed, State::List), |(followed, mut state)| async {
        loop {
            let (told, next) = followed.step(state).await;
            state = next;
            if let Some(told) = told {
                return Some((told, (followed, state)));
            }
        }
    })
}

impl<T, F, const METADATA_ONLY: bool> Followed<F, METADATA_ONLY>
where
    F: Fn(RawObject<METADATA_ONLY>) -> T,
{
    async fn step(&self, state: State<METADATA_ONLY>) -> (Next<T>, State<METADATA_ONLY>) {
        match state {
            State::List => match self.list().await {
                Ok((objects, version)) => {
                    (Some(Ok(Seen::Listed(objects, version.clone()))), State::Watch(version))
                }
                Err(error) => (Some(Err(error)), State::List),
            },
            State::Watch(version) => {
                let parameters = WatchParams::default().timeout(WATCH_SECONDS);
                match timeout(ANSWER_TIMEOUT, self.api.watch(&parameters, &version)).await {
                    Ok(Ok(events)) => {
                        let told = Told::NothingSince(Instant::now());
                        (None, State::Watching(version, events.boxed(), told))
                    }
                    Ok(Err(error)) => failed(error.into(), version),
                    Err(_) => failed(WatchError::Silent, version),
                }
            }
            State::Watching(version, mut events, told) => {
                match timeout(SILENCE, events.next()).await {
                    Ok(Some(Ok(event))) => self.happened(event, version, events),
                    // A list tells what became of the kind.
                    Ok(Some(Err(kube::Error::SerdeError(error)))) => {
                        (Some(Err(WatchError::NoEvent(error))), State::List)
                    }
                    Ok(Some(Err(error))) => failed(error.into(), version),
                    Ok(None) if told.is_brief() => failed(WatchError::Brief, version),
                    // The server's own time is over, or the connection is dead.
                    Ok(None) | Err(_) => (None, State::Watch(version)),
                }
            }
        }
    }

    async fn list(&self) -> Result<(Vec<T>, String), WatchError> {
        let mut parameters = ListParams::default().limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let page = timeout(ANSWER_TIMEOUT, self.api.list(&parameters)).await;
            let page = page.map_err(|_| WatchError::Silent)??;
            objects.extend(page.items.into_iter().map(&self.keep));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => {
                    let version = page.metadata.resource_version.filter(|it| !it.is_empty());
                    return Ok((objects, version.ok_or(WatchError::NoVersion)?));
                }
            }
        }
    }

    fn happened(
        &self,
        event: WatchEvent<RawObject<METADATA_ONLY>>,
        version: String,
        events: Events<METADATA_ONLY>,
    ) -> (Next<T>, State<METADATA_ONLY>) {
        let reached = match &event {
            WatchEvent::Added(object)
            | WatchEvent::Modified(object)
            | WatchEvent::Deleted(object) => object.resource_version().to_owned(),
            WatchEvent::Bookmark(bookmark) => bookmark.metadata.resource_version.clone(),
            WatchEvent::Error(status) => return failed(WatchError::Ended(status.clone()), version),
        };
        if reached.is_empty() {
            return (Some(Err(WatchError::NoVersion)), State::List);
        }
        let seen = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                Seen::Applied((self.keep)(object))
            }
            WatchEvent::Deleted(object) => Seen::Deleted((self.keep)(object)),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => Seen::UpTo(reached.clone()),
        };
        (Some(Ok(seen)), State::Watching(reached, events, Told::Something))
    }
}

/// Goes on from the last version, unless the server has forgotten it (410), or forbids or misses the
/// kind as a whole: what happened meanwhile is then told by a list.
fn failed<T, const METADATA_ONLY: bool>(
    error: WatchError,
    version: String,
) -> (Next<T>, State<METADATA_ONLY>) {
    let is_over = error.status().is_some_and(|status| matches!(status.code, 400 | 403 | 404 | 410));
    (Some(Err(error)), if is_over { State::List } else { State::Watch(version) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::pin::pin;

    use gwapi_model::Kind;
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;
    use tokio::sync::mpsc;
    use tower::service_fn;

    use super::super::object::api_resource;
    use super::*;

    /// The parameters of a request.
    type Query = BTreeMap<String, String>;

    /// An API server with nothing but a version, 5, which a bookmark moves to 9 before the first watch ends. It
    /// passes on what each watch asks for.
    fn with_a_bookmark(watches: mpsc::UnboundedSender<Query>) -> Client {
        let service = service_fn(move |request: hyper::Request<Body>| {
            let query = request.uri().query().unwrap_or_default().split('&');
            let query = query.filter_map(|part| part.split_once('='));
            let query: Query =
                query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let is_watch = query.contains_key("watch");
            let from = query.get("resourceVersion").cloned().unwrap_or_default();
            if is_watch {
                watches.send(query).expect("the test listens");
            }
            async move {
                let body = match (is_watch, from.as_str()) {
                    (false, _) => json!({"metadata": {"resourceVersion": "5"}, "items": []}),
                    (true, "5") => json!({"type": "BOOKMARK", "object": {
                        "kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "9"},
                    }}),
                    (true, _) => std::future::pending().await,
                };
                let body = Body::from(format!("{body}\n").into_bytes());
                Ok::<_, Infallible>(hyper::Response::new(body))
            }
        });
        Client::new(service, "default")
    }

    /// Without bookmarks, a kind that does not change falls behind what an API server remembers, and is listed
    /// anew.
    #[tokio::test(start_paused = true)]
    async fn bookmarks_are_asked_for_and_the_next_watch_goes_on_from_the_last() {
        let (watches, mut asked) = mpsc::unbounded_channel();
        let resource = api_resource(Kind::Service);
        let api: Api<RawObject<false>> = Api::all_with(with_a_bookmark(watches), &resource);
        let mut seen = pin!(list_watch(api, |raw| raw.name().to_owned()));
        let listed = seen.next().await.expect("it goes on").expect("a list");
        assert!(
            matches!(&listed, Seen::Listed(objects, version) if objects.is_empty() && version == "5")
        );
        let told = seen.next().await.expect("it goes on").expect("a bookmark");
        assert!(matches!(&told, Seen::UpTo(version) if version == "9"), "{told:?}");
        let first = asked.recv().await.expect("a watch");
        let second = tokio::select! {
            _ = seen.next() => panic!("nothing more is told"),
            second = asked.recv() => second.expect("a watch"),
        };
        assert_eq!((&*first["resourceVersion"], &*second["resourceVersion"]), ("5", "9"));
        for watch in [first, second] {
            assert_eq!(watch["allowWatchBookmarks"], "true");
        }
    }
}
