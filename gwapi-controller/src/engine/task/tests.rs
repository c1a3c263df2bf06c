//! The engine with the writer of status and a server of configuration, between an API server and proxies that do
//! what a test says.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard};

use gwapi_translate::infrastructure::GatewayInfrastructure;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::service_fn;

use super::*;
use crate::ControllerSettings;
use crate::provision::testing::wanted;
use crate::serve::testing::{Proxy, server};
use crate::watch::{Object, RawObject, Source};

/// What the API server has of the objects of a test, which all have names of their own.
#[derive(Default)]
struct Stored {
    version: u64,
    statuses: BTreeMap<String, Value>,
}

type Shared = Arc<Mutex<Stored>>;

fn lock(stored: &Shared) -> MutexGuard<'_, Stored> {
    stored.lock().expect("no panic")
}

/// An API server that takes every status, tells of it with the name of its object, and has nothing else.
fn api_server(stored: Shared, written: mpsc::UnboundedSender<(String, Value)>) -> Client {
    let service = service_fn(move |request: hyper::Request<Body>| {
        let (stored, written) = (Arc::clone(&stored), written.clone());
        async move {
            let (path, method) = (request.uri().path().to_owned(), request.method().clone());
            if request.uri().query().unwrap_or_default().contains("watch=") {
                std::future::pending().await
            }
            let body = request.into_body().collect_bytes().await.expect("a body");
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let answer = match path.strip_suffix("/status") {
                Some(object) => {
                    let name = object.rsplit('/').next().unwrap_or_default().to_owned();
                    let mut stored = lock(&stored);
                    stored.version += 1;
                    let version = stored.version.to_string();
                    stored.statuses.insert(name.clone(), body["status"].clone());
                    _ = written.send((name.clone(), body["status"].clone()));
                    json!({"metadata": {"name": name, "resourceVersion": version},
                        "status": body["status"]})
                }
                None if method == "GET" => {
                    json!({"metadata": {"resourceVersion": "1"}, "items": []})
                }
                None => body,
            };
            let body = Body::from(answer.to_string().into_bytes());
            let response = hyper::Response::builder().status(200).body(body);
            Ok::<_, Infallible>(response.expect("a response"))
        }
    });
    Client::new(service, "default")
}

/// A controller that leads, and has been told of a class and of the Gateway `shop/web`.
struct World {
    stored: Shared,
    written: mpsc::UnboundedReceiver<(String, Value)>,
    observations: mpsc::Sender<Observation>,
    config: ConfigHandle,
    is_leading: watch::Sender<bool>,
    running: JoinSet<()>,
    _proxies: mpsc::Sender<ProxyReport>,
    _bootstrap: watch::Sender<Option<Bootstrap>>,
    _session_keys: watch::Sender<SessionKeys>,
    _progress: watch::Receiver<Progress>,
    _stop: watch::Sender<bool>,
}

impl World {
    async fn start() -> Self {
        Self::with_routes_of(Kind::HttpRoute).await
    }

    async fn with_routes_of(kind: Kind) -> Self {
        let (stored, settings) = (Shared::default(), ControllerSettings::default());
        let (sender, written) = mpsc::unbounded_channel();
        let client = api_server(Arc::clone(&stored), sender);
        let sources = [Kind::GatewayClass, Kind::Gateway, kind].map(source);
        let (observations, observed) = mpsc::channel(16);
        let (config, metrics) = (server(), Metrics::new());
        let name = &settings.controller_name;
        let (status, _) =
            crate::status::start(client.clone(), name, config.clone(), metrics.clone());
        let (leader, is_leading) = watch::channel(false);
        let (proxies, reports) = mpsc::channel(1);
        let (bootstrap_sender, bootstrap) = watch::channel(None);
        let (keys, session_keys) = watch::channel(SessionKeys { keys: Vec::new() });
        let (progress, seen) = watch::channel(Progress::starting());
        let (stop, stopped) = watch::channel(false);
        let surroundings = Surroundings {
            client,
            watches: Watches::told(sources.to_vec(), observed),
            config: config.clone(),
            proxies: reports,
            status,
            is_leading,
            provision: ProvisionSettings::default(),
            bootstrap,
            session_keys,
            progress,
            metrics,
        };
        let mut running = JoinSet::new();
        running.spawn(run(settings.options(), surroundings, stopped));
        let world = Self {
            stored,
            written,
            observations,
            config,
            is_leading: leader,
            running,
            _proxies: proxies,
            _bootstrap: bootstrap_sender,
            _session_keys: keys,
            _progress: seen,
            _stop: stop,
        };
        world.lead(true).await;
        world.see(Observation::Bundle(None)).await;
        let class = json!({"metadata": {"name": "gwapi", "generation": 1},
            "spec": {"controllerName": settings.controller_name}});
        world.list(Kind::GatewayClass, vec![class]).await;
        world.list(Kind::Gateway, vec![gateway()]).await;
        world
    }

    /// The controller leads, or does so no more.
    async fn lead(&self, is_leading: bool) {
        self.is_leading.send_replace(is_leading);
        self.settle().await;
    }

    /// Lets everything happen that waits for nothing but patience with proxies.
    async fn settle(&self) {
        sleep(Duration::from_secs(1)).await;
    }

    async fn see(&self, observation: Observation) {
        self.observations.send(observation).await.expect("it runs");
    }

    async fn list(&self, kind: Kind, objects: Vec<Value>) {
        let objects = objects.into_iter().map(|it| self.object(kind, it)).collect();
        self.see(Observation::Listed(source(kind), objects, "1".to_owned())).await;
    }

    async fn apply(&self, kind: Kind, object: Value) {
        let object = self.object(kind, object);
        self.see(Observation::Applied(source(kind), object)).await;
    }

    /// An object in a new version, with the status that it has.
    fn object(&self, kind: Kind, mut object: Value) -> Object {
        let mut stored = lock(&self.stored);
        stored.version += 1;
        object["metadata"]["resourceVersion"] = json!(stored.version.to_string());
        let name = object["metadata"]["name"].as_str().expect("a name");
        if let Some(status) = stored.statuses.get(name) {
            object["status"] = status.clone();
        }
        let raw: RawObject<false> = serde_json::from_value(object).expect("an object");
        Object::read(kind, raw, "us")
    }

    async fn connect(&self, name: &str) -> Proxy {
        Proxy::connect(&self.config, &infrastructure(), name).await
    }

    /// What the route `shop` is said to be accepted with, when that is written next.
    async fn next_word(&mut self) -> String {
        word(&self.next_status().await)
    }

    /// The status of the route `shop` that is written next.
    async fn next_status(&mut self) -> Value {
        loop {
            let next = timeout(Duration::from_secs(60), self.written.recv()).await;
            let (name, status) = next.expect("nothing is written").expect("it runs");
            if name == "shop" {
                return status;
            }
        }
    }

    /// What it was said to be accepted with since.
    fn words_meanwhile(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Ok((name, status)) = self.written.try_recv() {
            if name == "shop" {
                words.push(word(&status));
            }
        }
        words
    }
}

fn word(route: &Value) -> String {
    let conditions = route["parents"][0]["conditions"].as_array().into_iter().flatten();
    let accepted = conditions.into_iter().find(|it| it["type"] == "Accepted");
    accepted.expect("it is said")["message"].as_str().expect("a text").to_owned()
}

fn source(kind: Kind) -> Source {
    Source { kind, namespace: None }
}

fn infrastructure() -> GatewayInfrastructure {
    wanted()
}

fn gateway() -> Value {
    let wanted = infrastructure();
    json!({
        "metadata": {"name": &*wanted.gateway.name, "namespace": &*wanted.gateway.namespace,
            "uid": wanted.uid, "generation": 1},
        "spec": {"gatewayClassName": "gwapi",
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"},
                {"name": "dns", "port": 53, "protocol": "UDP"}]},
    })
}

fn route(generation: i64, hostname: &str) -> Value {
    json!({
        "metadata": {"name": "shop", "namespace": "shop", "generation": generation},
        "spec": {"parentRefs": [{"name": "web"}], "hostnames": [hostname]},
    })
}

/// A UDPRoute `shop` to a port of a Service.
fn udp_route(generation: i64, port: u16) -> Value {
    json!({
        "metadata": {"name": "shop", "namespace": "shop", "generation": generation},
        "spec": {"parentRefs": [{"name": "web"}],
            "rules": [{"backendRefs": [{"name": "dns", "port": port}]}]},
    })
}

/// ST-8: where no proxy has to be waited for, and the API server takes no time.
#[tokio::test(start_paused = true)]
async fn a_status_is_written_within_a_tenth_of_a_second_and_all_of_it_at_once() {
    let mut world = World::start().await;
    world.list(Kind::HttpRoute, vec![route(1, "one.example")]).await;
    world.next_word().await;
    world.settle().await;
    for generation in 2..5 {
        let began = tokio::time::Instant::now();
        let hostname = format!("host-{generation}.example");
        world.apply(Kind::HttpRoute, route(generation, &hostname)).await;
        let status = world.next_status().await;
        assert!(began.elapsed() <= Duration::from_millis(100), "{:?}", began.elapsed());
        let conditions = status["parents"][0]["conditions"].as_array().expect("a list");
        let seen =
            conditions.iter().map(|it| (it["type"].as_str(), it["observedGeneration"].as_i64()));
        let expected = ["Accepted", "ResolvedRefs"].map(|it| (Some(it), Some(generation)));
        assert_eq!(seen.collect::<Vec<_>>(), expected);
        world.settle().await;
        assert_eq!(world.words_meanwhile(), [""; 0], "one write says all");
    }
}

/// L4-9: it is not told that a UDPRoute is accepted before the proxies carry its datagrams, unless that takes
/// longer than anybody waits: then it is told who does not.
#[tokio::test(start_paused = true)]
async fn a_udp_route_is_accepted_once_the_proxies_serve_it() {
    let mut world = World::with_routes_of(Kind::UdpRoute).await;
    world.list(Kind::UdpRoute, vec![udp_route(1, 53)]).await;
    assert_eq!(world.next_word().await, "");
    let mut proxy = world.connect("slow").await;
    proxy.serve();
    world.settle().await;
    assert_eq!(world.words_meanwhile(), [""; 0]);

    world.apply(Kind::UdpRoute, udp_route(2, 54)).await;
    // Somewhat less than a proxy is waited for.
    sleep(Duration::from_millis(200)).await;
    assert_eq!(world.words_meanwhile(), [""; 0], "no datagram goes where it says yet");
    proxy.serve();
    assert_eq!(world.next_word().await, "");

    world.apply(Kind::UdpRoute, udp_route(3, 55)).await;
    assert_eq!(world.next_word().await, "proxies that do not serve this yet: `slow`");
    proxy.serve();
    assert_eq!(world.next_word().await, "");
}

/// Of two proxies one is stuck: edits of the configuration, of what does not change it, and whoever leads from then on
/// say so until it goes on.
#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_late_is_named_until_it_serves_what_was_published() {
    let late = "proxies that do not serve this yet: `stuck`";
    let mut world = World::start().await;
    world.list(Kind::HttpRoute, vec![route(1, "one.example")]).await;
    assert_eq!(world.next_word().await, "");
    let (lively, mut stuck) = (world.connect("lively").await, world.connect("stuck").await);
    stuck.serve();
    world.running.spawn(lively.serve_all());
    world.settle().await;
    assert_eq!(world.words_meanwhile(), [""; 0]);

    world.apply(Kind::HttpRoute, route(2, "two.example")).await;
    assert_eq!(world.next_word().await, late);
    world.apply(Kind::HttpRoute, route(3, "two.example")).await;
    assert_eq!(world.next_word().await, late);

    world.lead(false).await;
    world.lead(true).await;
    assert_eq!(world.words_meanwhile(), [""; 0], "all is said as it is");
    stuck.serve();
    assert_eq!(world.next_word().await, "");
    world.settle().await;
    assert_eq!(world.words_meanwhile(), [""; 0]);
}
