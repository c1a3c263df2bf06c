//! Sessions of many clients over backends whose endpoints come and go.

use std::collections::{BTreeMap, BTreeSet};

use gwapi_translate::ir::{Backend, BackendKey, BackendProtocol, Endpoints};
use proptest::prelude::*;

use super::*;
use crate::Limits;
use crate::proxy::core_state::CoreState;
use crate::proxy::snapshot::BackendEntry;
use crate::proxy::upstream::Pool;

const TIMEOUT: u64 = 100;

fn persistence(carrier: SessionCarrier) -> Rc<Persistence> {
    let absolute_timeout = Some(Duration::from_secs(TIMEOUT));
    let session =
        SessionPersistence { scope: "default/app/0".to_owned(), carrier, absolute_timeout };
    Persistence::new(&session).expect("a carrier with a name")
}

fn cookie(permanent: bool) -> SessionCarrier {
    SessionCarrier::Cookie { name: "s".to_owned(), path: "/shop".to_owned(), permanent }
}

/// A backend with endpoints of these ports.
fn backend(name: &str, ports: &BTreeSet<u16>) -> Rc<CoreBackend> {
    let key = BackendKey::service("default", name, 80);
    let addresses = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
    let endpoints =
        Endpoints { key: key.clone(), addresses, hostnames: Vec::new(), external: Vec::new() };
    let protocol = BackendProtocol::Http1;
    let entry = BackendEntry {
        backend: Arc::new(Backend { key, protocol, tls: None, session: None, retry_budget: None }),
        endpoints: Some(Arc::new(endpoints)),
        tls: None,
        retry_budget: None,
    };
    let pool = Pool::new(Arc::default(), Rc::new(Limits::default()));
    CoreState::default().backend(&pool, &Arc::new(entry))
}

/// One request; which port had its session, which one answered, and what the client was handed.
fn visit(
    persistence: &Rc<Persistence>,
    sealer: &Arc<Sealer>,
    backend: &CoreBackend,
    brought: &HeaderMap,
    now: u64,
) -> (Option<u16>, u16, HeaderMap) {
    let visit = Visit::begin(persistence, sealer, backend, brought, now);
    let port = |endpoint: &Rc<Endpoint>| endpoint.address().expect("it has one").port();
    let had = visit.endpoint().map(port);
    let answered = visit.endpoint().or_else(|| backend.endpoint(&[])).map(Rc::clone);
    let answered = answered.expect("there is one").address();
    let mut handed = HeaderMap::new();
    visit.end(answered, &mut handed, now);
    (had, answered.expect("it has one").port(), handed)
}

/// What a browser would send back.
fn brought(handed: &HeaderMap) -> HeaderMap {
    let cookies = handed.get_all(SET_COOKIE).iter().map(|cookie| {
        let (pair, _) = cookie.to_str().expect("text").split_once(';').expect("attributes");
        (COOKIE, HeaderValue::from_str(pair).expect("a value"))
    });
    cookies.collect()
}

#[derive(Clone, Debug)]
enum Step {
    Request { client: u8, backend: usize },
    Add { backend: usize, port: u16 },
    Remove { backend: usize, port: u16 },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, 0..2_usize).prop_map(|(client, backend)| Step::Request { client, backend }),
        1 => (0..2_usize, 1..5_u16).prop_map(|(backend, port)| Step::Add { backend, port }),
        1 => (0..2_usize, 1..5_u16).prop_map(|(backend, port)| Step::Remove { backend, port }),
        1 => (1..TIMEOUT).prop_map(Step::Wait),
    ]
}

proptest! {
    /// SP-1, SP-2, SP-4: at each backend a client finds the endpoint again that it had there, as long as
    /// that is there and the time is not over, and neither before nor after.
    #[test]
    fn the_same_token_leads_to_the_same_endpoint_while_it_lives(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let (persistence, sealer) = (persistence(cookie(false)), Arc::new(Sealer::random()));
        let mut ports = [BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3])];
        let mut jars: BTreeMap<u8, HeaderMap> = BTreeMap::new();
        let mut expected: BTreeMap<(u8, usize), (u16, u64)> = BTreeMap::new();
        let mut now = 1_000_000;
        for step in steps {
            match step {
                Step::Wait(time) => now += time,
                Step::Add { backend, port } => drop(ports[backend].insert(port)),
                Step::Remove { backend, port } => {
                    if ports[backend].len() > 1 {
                        ports[backend].remove(&port);
                    }
                }
                Step::Request { client, backend: which } => {
                    let there = &ports[which];
                    let lives = |(port, since): &(u16, u64)| {
                        there.contains(port) && now < since + TIMEOUT
                    };
                    let session = expected.get(&(client, which)).copied().filter(lives);
                    let backend = backend(["a", "b"][which], there);
                    let jar = jars.entry(client).or_default();
                    let (had, answered, handed) = visit(&persistence, &sealer, &backend, jar, now);
                    prop_assert_eq!(had, session.map(|(port, _)| port));
                    prop_assert_eq!(handed.contains_key(SET_COOKIE), session.is_none());
                    if session.is_none() {
                        *jar = brought(&handed);
                        expected.insert((client, which), (answered, now));
                    }
                }
            }
        }
    }
}

#[test]
fn a_cookie_has_the_attributes_that_its_settings_and_prudence_ask_for() {
    let backend = backend("a", &BTreeSet::from([1]));
    for (permanent, age) in [(false, ""), (true, "; Max-Age=100")] {
        let (persistence, sealer) = (persistence(cookie(permanent)), Arc::new(Sealer::random()));
        let (.., handed) = visit(&persistence, &sealer, &backend, &HeaderMap::new(), 1);
        let handed = handed[SET_COOKIE].to_str().expect("text");
        let (pair, attributes) = handed.split_once(';').expect("attributes");
        assert!(pair.starts_with("s="), "{pair}");
        assert_eq!(attributes, format!(" Path=/shop{age}; Secure; HttpOnly; SameSite=Strict"));
    }
}

#[test]
fn the_cookie_is_found_among_others_of_its_name() {
    let (persistence, sealer) = (persistence(cookie(false)), Arc::new(Sealer::random()));
    let backend = backend("a", &BTreeSet::from([1, 2, 3]));
    let (_, port, handed) = visit(&persistence, &sealer, &backend, &HeaderMap::new(), 1);
    let jar = brought(&handed);
    let ours = jar[COOKIE].to_str().expect("text");
    for (fields, finds) in [
        (vec![format!("a=b; {ours};c")], true),
        (vec!["s=forged".to_owned(), format!("x=y;  {ours}")], true),
        (vec![format!("s=; s=1;{ours}")], true),
        (vec![format!("t{ours}")], false),
        (vec![format!("{ours}x")], false),
        (vec![format!("{}{ours}", "s=1;".repeat(MAX_COOKIES))], false),
    ] {
        let mut headers = HeaderMap::new();
        for field in &fields {
            headers.append(COOKIE, HeaderValue::from_str(field).expect("a value"));
        }
        let (had, ..) = visit(&persistence, &sealer, &backend, &headers, 1);
        assert_eq!(had, finds.then_some(port), "{fields:?}");
    }
}

/// SP-6: a browser that has cookies of several paths sends all of them, and an old one may come first.
#[test]
fn a_cookie_that_leads_somewhere_counts_before_one_that_does_not() {
    let (persistence, sealer) = (persistence(cookie(false)), Arc::new(Sealer::random()));
    let handed_by = |name: &str, port: u16, now: u64| {
        let backend = backend(name, &BTreeSet::from([port]));
        let (.., handed) = visit(&persistence, &sealer, &backend, &HeaderMap::new(), now);
        brought(&handed)
    };
    let now = 1 + TIMEOUT;
    let live = handed_by("a", 2, now);
    for (what, old) in [
        ("its endpoint is gone", handed_by("a", 9, now)),
        ("its time is over", handed_by("a", 1, 1)),
        ("it is of another backend", handed_by("b", 1, now)),
    ] {
        let both: HeaderMap =
            [&old, &live].map(|jar| (COOKIE, jar[COOKIE].clone())).into_iter().collect();
        let backend = backend("a", &BTreeSet::from([1, 2, 3]));
        let (had, _, handed) = visit(&persistence, &sealer, &backend, &both, now);
        assert_eq!((had, handed.is_empty()), (Some(2), true), "{what}");
    }
    // Where none leads anywhere, what the first says of other backends is kept.
    let both: HeaderMap = ["b", "c"]
        .map(|name| (COOKIE, handed_by(name, 1, now)[COOKIE].clone()))
        .into_iter()
        .collect();
    let a = backend("a", &BTreeSet::from([1, 2, 3]));
    let (had, _, handed) = visit(&persistence, &sealer, &a, &both, now);
    assert_eq!(had, None);
    let b = backend("b", &BTreeSet::from([1, 2, 3]));
    assert_eq!(visit(&persistence, &sealer, &b, &brought(&handed), now).0, Some(1));
}

#[test]
fn a_header_is_told_with_each_response() {
    let carrier = SessionCarrier::Header("x-session".to_owned());
    let (persistence, sealer) = (persistence(carrier), Arc::new(Sealer::random()));
    let backend = backend("a", &BTreeSet::from([1, 2, 3]));
    let (_, port, handed) = visit(&persistence, &sealer, &backend, &HeaderMap::new(), 1);
    let (had, answered, again) = visit(&persistence, &sealer, &backend, &handed, 2);
    assert_eq!((had, answered), (Some(port), port));
    assert_eq!(handed, again);
    let (had, _, renewed) = visit(&persistence, &sealer, &backend, &handed, 1 + TIMEOUT);
    assert_eq!(had, None, "its time is over");
    assert_ne!(handed, renewed);
}
