//! Law: what becomes of one request under timeouts, retries and mirrors is what a naive reading of the rules
//! allows (TO-2, RY-1, RY-2, RY-4 to RY-6, HF-7): its status, how often an endpoint sees it, how long it takes,
//! and that each mirror sees it once, however often it is sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gwapi_dataplane::Limits;
use gwapi_translate::ir::{HttpFilter, HttpRetry, HttpRule, HttpTimeouts, IrResource, Mirror};
use http::{Method, Request};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::support::clock::timeouts;
use super::support::upstream::{read_head, refusing};
use super::support::*;

/// `timeouts.backendRequest`, where there is one.
const EACH: Duration = Duration::from_millis(800);

/// `timeouts.request`, where there is one: the second silent attempt is cut short by it.
const WHOLE: Duration = Duration::from_millis(1400);

/// What the proxy waits for a response's head where the rule sets no timeout.
const HEAD: Duration = Duration::from_secs(1);

/// An answer may come so much later than it has to on a loaded machine.
const SLACK: Duration = Duration::from_secs(20);

/// Bodies that are longer are sent once.
const KEPT: usize = 1024;

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer(u16),
    /// Ends the connection.
    BreakOff,
    /// Never answers.
    Silence,
}

/// A request, the rule that takes it, and what it meets.
#[derive(Clone, Debug)]
struct Case {
    is_post: bool,
    body: usize,
    /// Attempts and codes.
    retry: Option<(u32, Vec<u16>)>,
    has_each: bool,
    has_whole: bool,
    /// What becomes of it the first time, the second and so on; then it is answered with 200.
    acts: Vec<Act>,
    /// Whether each backend has another endpoint, which takes no connections.
    has_deaf_endpoint: bool,
    /// Backends, of which each has an equal share of the traffic.
    backends: usize,
    /// The percentage of each mirror.
    mirrors: Vec<u32>,
}

/// What may become of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outcome {
    status: u16,
    /// How often the endpoint sees it.
    seen: usize,
    /// The time that it takes at least.
    took: Duration,
}

/// The naive reading. Which endpoint is asked first is left to chance, so there may be several outcomes.
fn oracle(case: &Case) -> Vec<Outcome> {
    let left = case.retry.as_ref().map_or(0, |(attempts, _)| *attempts);
    let mut outcomes = Vec::new();
    let start = State { left, seen: 0, took: Duration::ZERO, listens: true, deaf: true };
    attempt(case, start, &mut outcomes);
    outcomes
}

/// Before an attempt.
#[derive(Clone, Copy)]
struct State {
    /// Retries that are left (RY-1).
    left: u32,
    seen: usize,
    took: Duration,
    /// Which of the endpoints may be asked: those that did not fail, or all again (RY-5).
    listens: bool,
    deaf: bool,
}

fn attempt(case: &Case, mut state: State, outcomes: &mut Vec<Outcome>) {
    let has_deaf = case.has_deaf_endpoint;
    let may_be_asked = state.listens || has_deaf && state.deaf;
    if !may_be_asked {
        (state.listens, state.deaf) = (true, true);
    }
    if has_deaf && state.deaf {
        match (&case.retry, state.left) {
            // Without retries another endpoint is asked in its place.
            (None, _) => ask(case, State { deaf: false, ..state }, outcomes),
            (_, 0) => outcomes.push(Outcome { status: 503, seen: state.seen, took: state.took }),
            // RY-2: nothing was sent.
            (_, left) => {
                attempt(case, State { left: left - 1, deaf: false, ..state }, outcomes);
            }
        }
    }
    if state.listens {
        ask(case, state, outcomes);
    }
}

/// The endpoint that listens is asked.
fn ask(case: &Case, before: State, outcomes: &mut Vec<Outcome>) {
    let act = case.acts.get(before.seen).copied().unwrap_or(Act::Answer(200));
    let mut state = State { seen: before.seen + 1, listens: false, ..before };
    let (attempts, codes) = case.retry.clone().unwrap_or_default();
    let (status, wants_retry) = match act {
        Act::Answer(status) => (status, codes.contains(&status)),
        // RY-2: it may have been processed.
        Act::BreakOff => (502, false),
        Act::Silence => {
            // TO-2, RY-4: whichever is over first.
            let each = case.has_each.then(|| state.took + EACH);
            let whole = case.has_whole.then_some(WHOLE);
            let is_whole = whole.is_some_and(|whole| each.is_none_or(|each| whole <= each));
            state.took = match (each, whole) {
                (Some(each), Some(whole)) => each.min(whole),
                (each, whole) => each.or(whole).unwrap_or(state.took + HEAD),
            };
            // RY-6
            let may_repeat = !case.is_post || codes.contains(&504);
            (504, case.has_each && !is_whole && may_repeat)
        }
    };
    if attempts > 0 && wants_retry && state.left > 0 && case.body <= KEPT {
        state.left -= 1;
        attempt(case, state, outcomes);
    } else {
        outcomes.push(Outcome { status, seen: state.seen, took: state.took });
    }
}

/// What came to an endpoint: first lines of requests, and the lengths of their bodies.
#[derive(Clone, Default)]
struct Log {
    requests: Arc<Mutex<Vec<(String, usize)>>>,
    came: Arc<Notify>,
}

impl Log {
    fn seen(&self) -> Vec<(String, usize)> {
        self.requests.lock().expect("no test panicked").clone()
    }

    /// Waits until something came.
    async fn asked(&self) {
        within(async {
            loop {
                let came = self.came.notified();
                if !self.seen().is_empty() {
                    return;
                }
                came.await;
            }
        })
        .await;
    }

    /// Notes a request; its number.
    fn note(&self, line: String, body: usize) -> usize {
        let mut requests = self.requests.lock().expect("no test panicked");
        requests.push((line, body));
        self.came.notify_waiters();
        requests.len() - 1
    }
}

/// An endpoint that does these things, one with each request, on a connection of its own.
async fn endpoint(acts: &[Act]) -> (Scripted, Log) {
    let (log, acts): (_, Arc<[Act]>) = (Log::default(), acts.into());
    let noted = log.clone();
    let endpoint = Scripted::start(move |stream, _| {
        let (log, acts) = (noted.clone(), Arc::clone(&acts));
        async move {
            // An end of the connection is what the other side may want.
            let _ = act(stream, &log, &acts).await;
        }
    })
    .await;
    (endpoint, log)
}

async fn act(mut stream: TcpStream, log: &Log, acts: &[Act]) -> std::io::Result<()> {
    let head = read_head(&mut stream).await;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let line = head.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Ok(());
    }
    let number = log.note(line.to_owned(), length);
    match acts.get(number).copied().unwrap_or(Act::Answer(200)) {
        Act::Answer(status) => {
            let answer =
                format!("HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await
        }
        Act::BreakOff => Ok(()),
        Act::Silence => stream.read_u8().await.map(drop),
    }
}

/// A case with its endpoints, beside others on one proxy.
struct Scene {
    case: Case,
    path: String,
    resources: Vec<IrResource>,
    backends: Vec<(Scripted, Log)>,
    mirrors: Vec<(Scripted, Log)>,
    _deaf: socket2::Socket,
}

impl Scene {
    async fn new(number: usize, case: Case) -> Self {
        let (deaf, deaf_address) = refusing();
        let mut resources = Vec::new();
        let mut backends = Vec::new();
        let mut targets = Vec::new();
        for backend_number in 0..case.backends {
            let (listening, log) = endpoint(&case.acts).await;
            let mut addresses: Vec<SocketAddr> = vec![listening.address];
            addresses.extend(case.has_deaf_endpoint.then_some(deaf_address));
            let name = format!("case-{number}-{backend_number}");
            resources.extend(backend(&name, &addresses));
            targets.push(weighted(&name, 1));
            backends.push((listening, log));
        }
        let mut mirrors = Vec::new();
        let mut filters = Vec::new();
        for (mirror_number, percent) in case.mirrors.iter().enumerate() {
            // What a mirror does is nobody's matter.
            let act = [Act::Silence, Act::BreakOff, Act::Answer(503)][mirror_number % 3];
            let (mirror, log) = endpoint(&[act]).await;
            let name = format!("mirror-{number}-{mirror_number}");
            resources.extend(backend(&name, &[mirror.address]));
            filters.push(HttpFilter::Mirror(Mirror {
                backend: key(&name),
                numerator: *percent,
                denominator: 100,
            }));
            mirrors.push((mirror, log));
        }
        let path = format!("/case-{number}");
        let retry = case.retry.clone().map(|(attempts, codes)| {
            let backoff = Some(Duration::from_millis(1));
            Box::new(HttpRetry { attempts, codes, backoff })
        });
        resources.push(ir(HttpRule {
            matches: prefix(&path),
            filters,
            backends: targets,
            timeouts: case.timeouts(),
            retry,
            ..rule(&format!("case-{number}"))
        }));
        Self { case, path, resources, backends, mirrors, _deaf: deaf }
    }

    /// Sends the request; the status, and how long it took.
    async fn play(&self, proxy: &Proxy) -> (u16, Duration) {
        let method = if self.case.is_post { Method::POST } else { Method::GET };
        let body = vec![b'x'; self.case.body];
        let request = Request::builder().method(method).uri(&self.path).header("host", "a");
        let mut client = proxy.client().await;
        let began = Instant::now();
        let reply = client.send(request.body(body.into()).expect("a request")).await;
        (reply.status.as_u16(), began.elapsed())
    }

    /// Waits for the copies, which nobody else waits for.
    async fn until_copies(&self) {
        let mirrors = self.case.mirrors.iter().zip(&self.mirrors);
        for (_, (_, log)) in mirrors.filter(|(percent, _)| self.is_copied(**percent)) {
            log.asked().await;
        }
    }

    /// Whether a mirror with this percentage sees the request as a whole. The proxy reads a body as an endpoint
    /// takes it: where none took anything, there is none to copy.
    fn is_copied(&self, percent: u32) -> bool {
        let was_taken = self.backends.iter().any(|(_, log)| !log.seen().is_empty());
        percent > 0 && (self.case.body == 0 || was_taken)
    }

    fn judge(&self, status: u16, took: Duration) -> Result<(), TestCaseError> {
        let case = &self.case;
        let asked: Vec<_> = self.backends.iter().map(|(_, log)| log.seen()).collect();
        let asked: Vec<_> = asked.into_iter().filter(|seen| !seen.is_empty()).collect();
        prop_assert!(asked.len() <= 1, "one backend is chosen, and kept: {asked:?} {case:?}");
        let seen = asked.concat();
        let line = format!("{} {} HTTP/1.1", if case.is_post { "POST" } else { "GET" }, self.path);
        let whole = (line, case.body);
        prop_assert!(seen.iter().all(|it| *it == whole), "not {whole:?}: {seen:?} {case:?}");

        let allowed = oracle(case);
        let is_allowed = |it: &Outcome| {
            it.status == status
                && it.seen == seen.len()
                && (it.took..it.took + SLACK).contains(&took)
        };
        let seen = seen.len();
        let what = format!("{:?}", Outcome { status, seen, took });
        prop_assert!(allowed.iter().any(is_allowed), "{what} is none of {allowed:?} {case:?}");

        for (percent, (_, log)) in case.mirrors.iter().zip(&self.mirrors) {
            let copies = log.seen();
            let expected = Vec::from_iter(self.is_copied(*percent).then(|| whole.clone()));
            prop_assert_eq!(copies, expected, "{}% of one request: {:?}", percent, case);
        }
        Ok(())
    }
}

impl Case {
    fn timeouts(&self) -> Option<Box<HttpTimeouts>> {
        timeouts(self.has_whole.then_some(WHOLE), self.has_each.then_some(EACH))
    }
}

/// Plays cases beside each other, as most of their time is spent waiting.
async fn play(cases: Vec<Case>) -> Result<(), TestCaseError> {
    let scenes = join_all(cases.into_iter().enumerate().map(|(n, case)| Scene::new(n, case))).await;
    let limits =
        Limits { response_head_timeout: HEAD, max_retry_body_bytes: KEPT, ..Limits::default() };
    let proxy = serve_with(limits, |port| {
        let mut resources = vec![ir_listener(listener("web", port))];
        resources.extend(scenes.iter().flat_map(|scene| scene.resources.clone()));
        resources
    });
    let played = join_all(scenes.iter().map(|scene| scene.play(&proxy))).await;
    join_all(scenes.iter().map(Scene::until_copies)).await;
    let mut judged = scenes.iter().zip(played);
    judged.try_for_each(|(scene, (status, took))| scene.judge(status, took))
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let status = prop::sample::select(vec![200, 404, 500, 503, 504]);
    let act = prop_oneof![
        4 => status.prop_map(Act::Answer),
        1 => Just(Act::BreakOff),
        2 => Just(Act::Silence),
    ];
    prop::collection::vec(act, 0..4)
}

fn cases() -> impl Strategy<Value = Vec<Case>> {
    let codes = prop::sample::subsequence(vec![404_u16, 500, 503, 504], 0..=4);
    let retry = prop::option::weighted(0.8, (0..4_u32, codes));
    let body = prop::sample::select(vec![0, 100, KEPT, KEPT + 1, 16 * KEPT]);
    let mirrors = prop::collection::vec(prop::sample::select(vec![0, 100]), 0..4);
    let request = (any::<bool>(), body, retry);
    let rule = (any::<bool>(), any::<bool>(), 1..3_usize, mirrors);
    let case = (request, rule, acts(), any::<bool>()).prop_map(|(request, rule, acts, deaf)| {
        let (is_post, body, retry) = request;
        let (has_each, has_whole, backends, mirrors) = rule;
        Case {
            is_post,
            body: if is_post { body } else { 0 },
            retry,
            has_each,
            has_whole,
            acts,
            has_deaf_endpoint: deaf,
            backends,
            mirrors,
        }
    });
    prop::collection::vec(case, 1..32)
}

#[test]
fn what_becomes_of_a_request_is_what_the_rules_allow() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let failure_persistence = None;
    let config =
        Config { cases: 6, max_shrink_iters: 40, failure_persistence, ..Config::default() };
    let found = TestRunner::new(config).run(&cases(), |cases| runtime.block_on(play(cases)));
    if let Err(TestError::Fail(reason, _)) = &found {
        panic!("{reason}");
    }
    found.expect("cases are generated");
}
