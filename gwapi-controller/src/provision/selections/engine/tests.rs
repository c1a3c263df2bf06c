//! The task against an API server that is made up: it keeps Services, tells watches of them, and does what is worst
//! where it is told to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::service_fn;

use super::super::plan::tests::selection;
use super::*;

/// Long enough for whatever may come; the clock stands still unless all wait.
const DAY: Duration = Duration::from_secs(86_400);

/// How a request ends that would make a Service.
#[derive(Clone, Copy, Default, PartialEq)]
enum Making {
    #[default]
    Works,
    /// It is refused for want of a quota.
    IsRefused,
    /// It is made, and the answer is lost.
    IsNotTold,
}

#[derive(Default)]
struct State {
    services: BTreeMap<String, Value>,
    version: u64,
    /// The metadata of the XBackend `shop/pods`; none where there is no such object.
    backend: Option<Value>,
    making: Making,
    /// Somebody undoes every change at once.
    is_undone: bool,
    /// Watches are told of nothing.
    is_mute: bool,
    watches: Vec<mpsc::UnboundedSender<Bytes>>,
    /// What was asked for that changes something.
    asked: Vec<String>,
    /// What the answer to the next such request waits for.
    held: Option<Arc<Notify>>,
}

#[derive(Default)]
struct Server {
    state: Mutex<State>,
    is_asked: Notify,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn answer(code: u16, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    Response::builder().status(code).body(body).expect("a response")
}

fn refusal(code: u16, name: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": message,
        "reason": "", "details": {"name": name}});
    answer(code, &status)
}

/// Lays a merge patch over an object.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, member) in members {
        match member {
            Value::Null => _ = target.as_object_mut().expect("it is one").remove(name),
            _ => merge(&mut target[name], member),
        }
    }
}

impl State {
    fn tell(&mut self, event: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": event, "object": object}));
        if !self.is_mute {
            self.watches.retain(|watch| watch.send(Bytes::from(line.clone())).is_ok());
        }
    }

    /// Keeps a new version of a Service.
    fn put(&mut self, mut service: Value) -> Value {
        self.version += 1;
        let name = service["metadata"]["name"].as_str().expect("a name").to_owned();
        service["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let event = if self.services.contains_key(&name) { "MODIFIED" } else { "ADDED" };
        self.services.insert(name, service.clone());
        self.tell(event, &service);
        service
    }

    fn edit(&mut self, name: &str) {
        let mut service = self.services[name].clone();
        service["spec"]["selector"] = json!({"app": "another"});
        self.put(service);
    }

    fn make(&mut self, mut service: Value) -> Answer {
        self.version += 1;
        let prefix = service["metadata"]["generateName"].as_str().expect("a prefix").to_owned();
        let name = format!("{prefix}{:05}", self.version);
        if self.making == Making::IsRefused {
            let message = format!("services \"{name}\" is forbidden: exceeded quota");
            // Who refuses what others make, such as a webhook, does not name it beside its words.
            return refusal(403, if self.version.is_multiple_of(2) { &name } else { "" }, &message);
        }
        service["metadata"]["name"] = json!(name);
        service["metadata"]["uid"] = json!(format!("uid-of-{name}"));
        service["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        let service = self.put(service);
        match std::mem::take(&mut self.making) {
            Making::IsNotTold => refusal(500, "", "the connection is lost"),
            _ => answer(201, &service),
        }
    }

    fn patch(&mut self, name: &str, patch: &Value) -> Answer {
        let Some(mut service) = self.services.get(name).cloned() else {
            return refusal(404, name, "not found");
        };
        for field in ["uid", "resourceVersion"] {
            if patch["metadata"][field] != service["metadata"][field] {
                return refusal(409, name, "the object has been modified");
            }
        }
        merge(&mut service, patch);
        let service = self.put(service);
        if self.is_undone {
            self.edit(name);
        }
        answer(200, &service)
    }

    fn delete(&mut self, name: &str, options: &Value) -> Answer {
        let uid = self.services.get(name).map(|it| &it["metadata"]["uid"]);
        match uid {
            None => refusal(404, name, "not found"),
            Some(uid) if options["preconditions"]["uid"] != *uid => refusal(409, name, "another"),
            Some(_) => {
                let service = self.remove(name);
                answer(200, &service)
            }
        }
    }

    fn remove(&mut self, name: &str) -> Value {
        let service = self.services.remove(name).expect("it is there");
        self.tell("DELETED", &service);
        service
    }

    /// What has these labels, as a query asks for them.
    fn list(&self, query: &str) -> Answer {
        let query = query.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        let labels = query.split('&').find_map(|it| it.strip_prefix("labelSelector="));
        let has = |service: &Value, label: &str| {
            let labels = &service["metadata"]["labels"];
            match label.split_once('=') {
                Some((key, value)) => labels[key] == value,
                None => labels.get(label).is_some(),
            }
        };
        let asked = |service: &&Value| {
            labels.into_iter().flat_map(|it| it.split(',')).all(|label| has(service, label))
        };
        let items: Vec<&Value> = self.services.values().filter(asked).collect();
        let version = self.version.to_string();
        answer(200, &json!({"metadata": {"resourceVersion": version}, "items": items}))
    }

    fn watch(&mut self) -> Answer {
        let (sender, events) = mpsc::unbounded_channel();
        self.watches.push(sender);
        let frames = unfold(events, |mut events| async {
            events.recv().await.map(|line| (Ok::<_, Infallible>(Frame::data(line)), events))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &Value) -> Answer {
        let name = path.rsplit('/').next().unwrap_or_default();
        if method != Method::GET {
            let named = if method == Method::POST { "" } else { name };
            self.asked.push(format!("{method} {named}").trim_end().to_owned());
        }
        match (method.as_str(), path.ends_with("/services")) {
            ("GET", true) if query.contains("watch=") => self.watch(),
            ("GET", true) => self.list(query),
            ("GET", false) if path.contains("/xbackends/") => match &self.backend {
                Some(metadata) => answer(
                    200,
                    &json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                        "metadata": metadata}),
                ),
                None => refusal(404, name, "not found"),
            },
            ("GET", false) => match self.services.get(name) {
                Some(service) => answer(200, service),
                None => refusal(404, name, "not found"),
            },
            ("POST", _) => self.make(body.clone()),
            ("PATCH", _) => self.patch(name, body),
            ("DELETE", _) => self.delete(name, body),
            other => panic!("nobody asks for {other:?}"),
        }
    }
}

impl Server {
    /// One where the XBackend is there, and nothing else.
    fn new() -> Arc<Self> {
        let server = Self::default();
        server.state().backend = Some(metadata("uid-of-pods"));
        Arc::new(server)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn client(self: &Arc<Self>) -> Client {
        let server = Arc::clone(self);
        let service = service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.expect("a body");
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let query = parts.uri.query().unwrap_or_default();
                let answer = server.state().answer(&parts.method, parts.uri.path(), query, &body);
                let changes = parts.method != Method::GET;
                let held = changes.then(|| server.state().held.take()).flatten();
                server.is_asked.notify_waiters();
                if let Some(held) = held {
                    held.notified().await;
                }
                Ok::<_, Infallible>(answer)
            }
        });
        Client::new(service, "shop")
    }

    /// Waits until the state is as it should be.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        let waited = timeout(DAY, async {
            loop {
                let asked = self.is_asked.notified();
                if holds(&self.state()) {
                    return;
                }
                asked.await;
            }
        });
        assert!(waited.await.is_ok(), "it asked for {:?}", self.state().asked);
    }

    fn names(&self) -> Vec<String> {
        self.state().services.keys().cloned().collect()
    }

    fn times(&self, asked: &str) -> usize {
        self.state().asked.iter().filter(|it| it.starts_with(asked)).count()
    }
}

fn metadata(uid: &str) -> Value {
    json!({"namespace": "shop", "name": "pods", "uid": uid})
}

fn pods() -> NamespacedName {
    NamespacedName::new("shop", "pods")
}

/// A task that looks after the Services of a server.
struct Running {
    server: Arc<Server>,
    commands: mpsc::UnboundedSender<Command>,
    reports: mpsc::Receiver<SelectionReport>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(server: &Arc<Server>) -> Self {
        let (commands, orders) = mpsc::unbounded_channel();
        let (sender, reports) = mpsc::channel(1);
        let engine = Engine::run(server.client(), ProvisionSettings::default(), orders, sender);
        let (server, task) = (Arc::clone(server), tokio::spawn(engine));
        Self { server, commands, reports, task }
    }

    fn tell(&self, command: Command) {
        self.commands.send(command).expect("it runs");
    }

    /// Has it select the pods, beside these Services of users.
    fn select(&self, users: &[(&str, bool)]) {
        self.tell(Command::Set(pods(), Some(Arc::new(selection(users)))));
    }

    async fn next_report(&mut self) -> SelectionReport {
        let report = timeout(DAY, self.reports.recv()).await;
        report.expect("there comes one").expect("it runs")
    }

    /// The problem of the next report.
    async fn report(&mut self) -> Option<String> {
        let report = self.next_report().await;
        assert_eq!((report.backend, &*report.uid), (pods(), "uid-of-pods"));
        report.problem
    }

    /// Has it select the pods, and waits for the Service that it makes.
    async fn made(&mut self) -> String {
        self.select(&[]);
        assert_eq!(self.report().await, None);
        let [name] = &self.server.names()[..] else { panic!("{:?}", self.server.names()) };
        name.clone()
    }

    /// Lets so much time pass, with whatever happens in it.
    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn one_service_is_made_and_stays_one_over_a_change_of_leader() {
    let server = Server::new();
    let name = Running::start(&server).made().await;
    let service = server.state().services[&name].clone();
    assert!(name.starts_with("pods-"), "{name}");
    assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], "uid-of-pods");
    assert_eq!(service["spec"]["clusterIP"], "None");

    let mut next = Running::start(&server);
    next.tell(Command::Synced);
    assert_eq!(next.made().await, name);
    next.select(&[(&*name, true)]);
    assert_eq!(next.report().await, None);
    next.wait(DAY).await;
    assert_eq!(server.state().asked, ["POST"]);
}

/// Nothing but a look at what is there tells that it was made.
#[tokio::test(start_paused = true)]
async fn a_service_whose_making_was_not_told_of_is_not_made_twice() {
    let server = Server::new();
    server.state().making = Making::IsNotTold;
    server.state().is_mute = true;
    let mut running = Running::start(&server);
    running.select(&[]);
    assert_eq!(running.report().await.as_deref(), Some("the connection is lost"));
    assert_eq!(running.report().await, None);
    running.wait(DAY).await;
    assert_eq!((server.names().len(), server.times("POST")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_for_an_x_backend_that_is_being_deleted_or_has_a_successor() {
    let mut leaving = metadata("uid-of-pods");
    leaving["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for backend in [leaving, metadata("of-another")] {
        let server = Server::new();
        server.state().backend = Some(backend);
        let mut running = Running::start(&server);
        running.select(&[]);
        assert_eq!(running.report().await, None);
        server.state().backend = Some(metadata("uid-of-pods"));
        running.wait(DAY).await;
        assert_eq!(server.state().asked, [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_keeps_it_from_being_made_is_told_once_and_tried_again_less_and_less() {
    let server = Server::new();
    server.state().making = Making::IsRefused;
    let mut running = Running::start(&server);
    running.select(&[]);
    let told = running.report().await;
    assert_eq!(told.as_deref(), Some("services \"pods-\" is forbidden: exceeded quota"));
    running.wait(Duration::from_secs(3600)).await;
    assert!(running.reports.try_recv().is_err(), "it is the same, whatever the name would be");
    let times = server.times("POST");
    assert!((100..200).contains(&times), "{times} times in an hour");

    server.state().making = Making::Works;
    assert_eq!(running.report().await, None);
    assert_eq!(server.names().len(), 1);
}

/// A request for the former one is under way when the next one is told of.
#[tokio::test(start_paused = true)]
async fn what_failed_for_a_former_x_backend_is_not_told_of_its_successor() {
    let server = Server::new();
    let answered = Arc::new(Notify::new());
    server.state().making = Making::IsRefused;
    server.state().held = Some(Arc::clone(&answered));
    let mut running = Running::start(&server);
    running.select(&[]);
    server.until(|state| state.asked == ["POST"]).await;
    server.state().making = Making::Works;
    server.state().backend = Some(metadata("uid-of-successor"));
    let uid = "uid-of-successor".to_owned();
    let successor = EndpointSelection { uid: uid.clone(), ..selection(&[]) };
    running.tell(Command::Set(pods(), Some(Arc::new(successor))));
    running.wait(Duration::from_secs(1)).await;
    let told_at = Instant::now();
    answered.notify_one();
    let report = running.next_report().await;
    assert_eq!(report, SelectionReport { backend: pods(), uid, problem: None });
    assert_eq!(Instant::now(), told_at, "it need not wait because of the former one");
    assert_eq!(server.names().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_edited_or_deleted_is_as_it_was_again() {
    let server = Server::new();
    let mut running = Running::start(&server);
    let name = running.made().await;
    let spec = server.state().services[&name]["spec"].clone();
    server.state().edit(&name);
    server.until(|state| state.services[&name]["spec"] == spec).await;

    server.state().remove(&name);
    server.until(|state| !state.services.is_empty()).await;
    let [other] = &server.names()[..] else { panic!("{:?}", server.names()) };
    assert_ne!(*other, name);
    running.wait(DAY).await;
    assert_eq!(server.state().asked, ["POST", &format!("PATCH {name}"), "POST"]);
}

#[tokio::test(start_paused = true)]
async fn what_an_x_backend_selects_now_takes_the_place_of_what_it_did() {
    let server = Server::new();
    let mut running = Running::start(&server);
    let name = running.made().await;
    let labels = [("tier".to_owned(), "front".to_owned())].into();
    let other = EndpointSelection { match_labels: labels, port: 9001, ..selection(&[]) };
    running.tell(Command::Set(pods(), Some(Arc::new(other))));
    let ports = json!([{"port": 9001, "targetPort": 9001, "protocol": "TCP"}]);
    server.until(|state| state.services[&name]["spec"]["ports"] == ports).await;
    assert_eq!(server.state().services[&name]["spec"]["selector"], json!({"tier": "front"}));
    assert_eq!(running.report().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_fight_over_a_service_slows_down() {
    let server = Server::new();
    let mut running = Running::start(&server);
    let name = running.made().await;
    server.state().is_undone = true;
    server.state().edit(&name);
    running.wait(Duration::from_secs(3600)).await;
    let times = server.times("PATCH");
    assert!((50..100).contains(&times), "{times} times in an hour");
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_before_everything_has_been_told() {
    let server = Server::new();
    let name = Running::start(&server).made().await;
    // Of a second one nobody will tell.
    let mut forgotten = server.state().services[&name].clone();
    forgotten["metadata"]["name"] = json!("other-1");
    forgotten["metadata"]["uid"] = json!("uid-of-other-1");
    forgotten["metadata"]["ownerReferences"][0]["name"] = json!("other");
    // And this one only looks like ours.
    let mut anybodys = forgotten.clone();
    anybodys["metadata"]["name"] = json!("anybodys");
    anybodys["metadata"]["ownerReferences"] = json!([]);
    for service in [forgotten, anybodys] {
        server.state().put(service);
    }

    let mut running = Running::start(&server);
    running.select(&[(&*name, true)]);
    assert_eq!(running.report().await, None);
    running.tell(Command::Set(pods(), None));
    running.wait(DAY).await;
    assert_eq!(server.state().asked, ["POST"]);
    running.tell(Command::Synced);
    running.wait(DAY).await;
    assert_eq!(server.names(), ["anybodys"]);
    assert_eq!(server.times("DELETE"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_stays_while_nobody_sends_for_a_moment() {
    let server = Server::new();
    let mut running = Running::start(&server);
    running.tell(Command::Synced);
    let name = running.made().await;
    running.tell(Command::Set(pods(), None));
    running.wait(GRACE - Duration::from_secs(1)).await;
    running.select(&[(&*name, true)]);
    assert_eq!(running.report().await, None);
    running.wait(DAY).await;
    assert_eq!(server.state().asked, ["POST"]);
    running.tell(Command::Set(pods(), None));
    running.wait(GRACE + Duration::from_secs(1)).await;
    assert_eq!(server.names(), [""; 0]);
}

/// Whoever led before may have waited for the same.
#[tokio::test(start_paused = true)]
async fn a_service_stays_for_a_while_also_when_another_leads_and_finds_that_nobody_sends() {
    let server = Server::new();
    let name = Running::start(&server).made().await;
    let mut running = Running::start(&server);
    running.tell(Command::Synced);
    running.wait(GRACE - Duration::from_secs(1)).await;
    running.select(&[(&*name, true)]);
    assert_eq!(running.report().await, None);
    running.wait(DAY).await;
    assert_eq!(server.state().asked, ["POST"]);

    let running = Running::start(&server);
    running.tell(Command::Synced);
    running.wait(GRACE + Duration::from_secs(1)).await;
    assert_eq!(server.names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_service_goes_when_a_users_leads_to_the_pods_and_is_made_again_without() {
    let server = Server::new();
    let mut running = Running::start(&server);
    running.tell(Command::Synced);
    let name = running.made().await;
    running.select(&[(&*name, true), ("web", false)]);
    assert_eq!(running.report().await, None);
    assert_eq!(server.names(), [&*name], "it leads nowhere yet");
    running.select(&[(&*name, true), ("web", true)]);
    server.until(|state| state.services.is_empty()).await;
    running.select(&[("web", true)]);
    running.wait(DAY).await;
    assert_eq!(server.times("POST"), 1);
    running.select(&[]);
    server.until(|state| !state.services.is_empty()).await;
}
