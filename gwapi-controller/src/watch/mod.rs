//! What the API server has, as a stream of observations: one task per kind.
//!
//! ```text
//!  crds ────────────► which kinds there are ─┐
//!  kind (each) ──────────────────────────────┼──► Observation ──► engine
//!  referenced (Secrets, ConfigMaps) ─────────┘
//!        ▲ which ones are referred to
//!        └──────────────────────────────────────────────── engine
//! ```
//!
//! Nothing here ends a watch for good: a server that is gone, busy, restarted or compacted is asked
//! again, while everything that is known goes on being served. An object that cannot be read is
//! handed on as just that.

mod crds;
mod kind;
mod list_watch;
mod object;
mod referenced;

use std::fmt;
use std::sync::Arc;

use gwapi_model::{Kind, ObjectId};
use gwapi_translate::features::InstalledBundle;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crds::{CrdWatch, Crds};
use kind::KindWatch;
use list_watch::{Seen, WatchError};
pub(crate) use object::{Object, Observed, RawObject, Unreadable, api_resource, has_status};
pub(crate) use referenced::Reference;
use referenced::ReferencedWatch;

/// Observations that wait for the engine. A watch that is ahead of it waits.
const QUEUE: usize = 1024;

/// Kinds of which every object is followed, with the versions that may serve them besides the one that
/// we write.
const FOLLOWED: &[(Kind, &[&str])] = &[
    (Kind::GatewayClass, &[]),
    (Kind::Gateway, &[]),
    (Kind::ListenerSet, &[]),
    (Kind::HttpRoute, &[]),
    (Kind::GrpcRoute, &[]),
    (Kind::TlsRoute, &[]),
    (Kind::TcpRoute, &[]),
    (Kind::UdpRoute, &[]),
    (Kind::BackendTlsPolicy, &[]),
    (Kind::XBackend, &[]),
    (Kind::BackendTrafficPolicy, &[]),
    (Kind::TelemetryPolicy, &[]),
    (Kind::ReferenceGrant, &["v1beta1"]),
    (Kind::GatewayParameters, &[]),
    (Kind::Namespace, &[]),
    (Kind::Service, &[]),
    (Kind::EndpointSlice, &[]),
    // Not in every cluster, and at first as a beta (TL-9).
    (Kind::ClusterTrustBundle, &["v1beta1"]),
];

/// Kinds of which only those objects are read that others refer to.
const REFERENCED: &[Kind] = &[Kind::Secret, Kind::ConfigMap];

/// One stream of observations: a kind, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Source {
    /// The kind.
    pub(crate) kind: Kind,
    /// The namespace, where not all are watched.
    pub(crate) namespace: Option<String>,
}

impl Source {
    /// Whether an object is one of those that the source tells of.
    pub(crate) fn holds(&self, id: &ObjectId) -> bool {
        let namespace = self.namespace.as_deref();
        self.kind == id.kind && namespace.is_none_or(|namespace| *namespace == *id.namespace)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in {namespace}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

/// One thing that was seen.
#[derive(Clone, Debug)]
pub(crate) enum Observation {
    /// These are all objects of a source, in this version.
    Listed(Source, Vec<Object>, String),
    /// An object is there, new or changed.
    Applied(Source, Object),
    /// An object is gone; it ended with this version.
    Deleted(Source, ObjectId, String),
    /// All changes of a source up to this version have been told.
    UpTo(Source, String),
    /// The API server does not have this kind.
    Absent(Source),
    /// A source could not be listed or watched, for this reason; it is tried again.
    Failed(Source, String),
    /// The API server does not allow to list or watch a source, for this reason; it is tried again. The first that
    /// is told of it then is a list.
    Denied(Source, String),
    /// Version and channel of the Gateway API's CRDs; none where there are no CRDs, or where they must not
    /// be seen.
    Bundle(Option<InstalledBundle>),
    /// An object that is referred to, as it is now; none where it does not exist, or must not be
    /// read.
    Fetched(Source, ObjectId, Option<Object>),
}

impl Observation {
    fn of(source: Source, seen: Seen<Object>) -> Self {
        match seen {
            Seen::Listed(objects, version) => Self::Listed(source, objects, version),
            Seen::Applied(object) => Self::Applied(source, object),
            Seen::Deleted(object) => Self::Deleted(source, object.id, object.resource_version),
            Seen::UpTo(version) => Self::UpTo(source, version),
        }
    }

    fn failed(source: Source, error: &WatchError) -> Self {
        match error.is_denied() {
            true => Self::Denied(source, error.to_string()),
            false => Self::Failed(source, error.to_string()),
        }
    }
}

/// The running watches; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Watches {
    /// What is seen.
    pub(crate) observations: mpsc::Receiver<Observation>,
    /// Who has to be told what is referred to.
    pub(crate) references: mpsc::UnboundedSender<Reference>,
    /// What has to be listed before the picture is complete.
    pub(crate) sources: Vec<Source>,
    _tasks: JoinSet<()>,
}

impl Watches {
    /// Starts all watches: in all namespaces, or in those that are named. `manager` is the name
    /// under which we write status.
    pub(crate) fn start(client: &Client, namespaces: &[String], manager: &str) -> Self {
        let (sender, observations) = mpsc::channel(QUEUE);
        let (crds_sender, crds) = watch::channel(Crds::default());
        let mut tasks = JoinSet::new();
        let crd_watch =
            CrdWatch { client: client.clone(), crds: crds_sender, observations: sender.clone() };
        tasks.spawn(crd_watch.run());
        let manager: Arc<str> = manager.into();
        let mut sources = Vec::new();
        for (kind, others) in FOLLOWED {
            for source in sources_of(*kind, namespaces) {
                sources.push(source.clone());
                let watch = KindWatch {
                    client: client.clone(),
                    source,
                    versions: [&[kind.version()], *others].concat(),
                    manager: manager.clone(),
                    observations: sender.clone(),
                    crds: crds.clone(),
                };
                tasks.spawn(watch.run());
            }
        }
        let (references, wanted) = mpsc::unbounded_channel();
        let referenced = ReferencedWatch {
            client: client.clone(),
            sources: REFERENCED.iter().flat_map(|kind| sources_of(*kind, namespaces)).collect(),
            wanted,
            observations: sender,
        };
        tasks.spawn(referenced.run());
        Self { observations, references, sources, _tasks: tasks }
    }

    /// Watches of these sources, which tell what a test says.
    #[cfg(test)]
    pub(crate) fn told(sources: Vec<Source>, observations: mpsc::Receiver<Observation>) -> Self {
        let (references, _) = mpsc::unbounded_channel();
        Self { observations, references, sources, _tasks: JoinSet::new() }
    }
}

fn sources_of(kind: Kind, namespaces: &[String]) -> Vec<Source> {
    if namespaces.is_empty() || !kind.is_namespaced() {
        return vec![Source { kind, namespace: None }];
    }
    let source = |namespace: &String| Source { kind, namespace: Some(namespace.clone()) };
    namespaces.iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::sync::Notify;
    use tokio::time::sleep;
    use tower::service_fn;

    use super::*;

    /// Requests of one kind in an hour, where each has failed: 30 seconds lie between them, save for the
    /// first few.
    const AT_MOST: u32 = 150;

    /// What an API server is asked for, by method of the watch and path.
    #[derive(Default)]
    struct Asked {
        requests: Mutex<BTreeMap<(bool, String), u32>>,
        too_often: Notify,
    }

    impl Asked {
        /// Answers like an API server without any object, which ends each watch at once: by this answer.
        fn answer(&self, request: &hyper::Request<Body>, ended: u16) -> hyper::Response<Body> {
            let is_watch = request.uri().query().is_some_and(|it| it.contains("watch=true"));
            let request = (is_watch, request.uri().path().to_owned());
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            let times = requests.entry(request).or_default();
            *times += 1;
            if *times > AT_MOST {
                self.too_often.notify_one();
            }
            let (code, body) = match (is_watch, ended) {
                (false, _) => (200, json!({"metadata": {"resourceVersion": "1"}, "items": []})),
                (true, 200) => (200, Value::Null),
                (true, code) => {
                    (code, json!({"kind": "Status", "status": "Failure", "code": code}))
                }
            };
            let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
            let response = hyper::Response::builder().status(code).body(Body::from(body));
            response.expect("a response")
        }
    }

    /// Lists are what costs an API server most, and all replicas ask for them.
    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_ends_each_watch_at_once_is_not_asked_over_and_over() {
        for ended in [410, 403, 200] {
            let asked = Arc::new(Asked::default());
            let server = Arc::clone(&asked);
            let client = Client::new(
                service_fn(move |request| {
                    let response = server.answer(&request, ended);
                    async { Ok::<_, Infallible>(response) }
                }),
                "default",
            );
            let mut watches = Watches::start(&client, &[], "gwapi.dev/tests");
            let mut hour = std::pin::pin!(sleep(Duration::from_secs(3600)));
            loop {
                tokio::select! {
                    () = &mut hour => break,
                    () = asked.too_often.notified() => break,
                    observation = watches.observations.recv() => {
                        assert!(observation.is_some(), "they run");
                    }
                }
            }
            let requests = asked.requests.lock().unwrap_or_else(PoisonError::into_inner);
            let kinds = requests.keys().filter(|(is_watch, _)| *is_watch).count();
            assert_eq!(kinds, FOLLOWED.len() + REFERENCED.len() + 1, "{ended}: {requests:?}");
            for (request, times) in requests.iter() {
                assert!(*times <= AT_MOST, "{ended}: {request:?} {times} times");
            }
        }
    }

    /// Kinds of which labels, annotations or versions are all that is looked at. The data of Secrets would be
    /// the private keys of a whole cluster, and that of ConfigMaps much of its memory.
    const METADATA_IS_ENOUGH: [&str; 4] =
        ["configmaps", "customresourcedefinitions", "namespaces", "secrets"];

    #[tokio::test(start_paused = true)]
    async fn of_kinds_whose_metadata_is_enough_nothing_else_is_asked_for() {
        let (requests, mut asked) = mpsc::unbounded_channel();
        let server = service_fn(move |request: hyper::Request<Body>| {
            let is_watch = request.uri().query().is_some_and(|it| it.contains("watch=true"));
            let plural = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let accepted = request.headers().get("accept").map_or(&b""[..], |it| it.as_bytes());
            let accepted = String::from_utf8_lossy(accepted).into_owned();
            requests.send(((is_watch, plural), accepted)).expect("the test listens");
            async move {
                if is_watch {
                    std::future::pending::<()>().await;
                }
                let list = json!({"metadata": {"resourceVersion": "1"}, "items": []});
                let body = Body::from(list.to_string().into_bytes());
                Ok::<_, Infallible>(hyper::Response::new(body))
            }
        });
        let mut watches = Watches::start(&Client::new(server, "default"), &[], "gwapi.dev/tests");
        let mut accepted: BTreeMap<(bool, String), String> = BTreeMap::new();
        let kinds = FOLLOWED.len() + REFERENCED.len() + 1;
        let mut hour = std::pin::pin!(sleep(Duration::from_secs(3600)));
        while accepted.len() < 2 * kinds {
            tokio::select! {
                () = &mut hour => panic!("not each kind is listed and watched: {accepted:?}"),
                request = asked.recv() => accepted.extend([request.expect("the server runs")]),
                observation = watches.observations.recv() => assert!(observation.is_some()),
            }
        }
        for ((is_watch, plural), accepted) in accepted {
            let form = accepted.split(';').find_map(|part| part.strip_prefix("as="));
            let metadata = match is_watch {
                true => "PartialObjectMetadata",
                false => "PartialObjectMetadataList",
            };
            let expected = METADATA_IS_ENOUGH.contains(&plural.as_str()).then_some(metadata);
            assert_eq!(form, expected, "{plural}, watched: {is_watch}");
        }
    }

    #[test]
    fn namespaces_limit_the_kinds_that_live_in_one() {
        let namespaces = ["a".to_owned(), "b".to_owned()];
        let names = |kind| -> Vec<String> {
            sources_of(kind, &namespaces).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(Kind::Gateway), ["Gateway in a", "Gateway in b"]);
        assert_eq!(names(Kind::GatewayClass), ["GatewayClass"]);
        assert_eq!(sources_of(Kind::Gateway, &[])[0].to_string(), "Gateway");
    }
}
