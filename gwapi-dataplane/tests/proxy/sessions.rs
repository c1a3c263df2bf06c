//! Session persistence, as clients and endpoints see it (SP-1 to SP-6).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gwapi_model::SecretBytes;
use gwapi_translate::ir::{
    BackendProtocol, HttpRetry, HttpRule, IrResource, SessionCarrier, SessionKeys,
    SessionPersistence,
};
use http::Request;

use super::support::*;

fn session(carrier: SessionCarrier) -> Option<Box<SessionPersistence>> {
    let scope = "default/app/0".to_owned();
    Some(Box::new(SessionPersistence { scope, carrier, absolute_timeout: None }))
}

fn cookie(name: &str) -> SessionCarrier {
    SessionCarrier::Cookie { name: name.to_owned(), path: "/".to_owned(), permanent: false }
}

fn header() -> SessionCarrier {
    SessionCarrier::Header("x-session".to_owned())
}

fn keys(bytes: &[u8]) -> IrResource {
    let key = |byte: &u8| SecretBytes::new(vec![*byte; SessionKeys::KEY_BYTES]);
    IrResource::SessionKeys(Arc::new(SessionKeys { keys: bytes.iter().map(key).collect() }))
}

/// A rule with sessions over these backends.
fn resources(
    port: u16,
    carrier: SessionCarrier,
    backends: &[(&str, u32, &[SocketAddr])],
) -> Vec<IrResource> {
    let rule = HttpRule {
        backends: backends.iter().map(|(name, weight, _)| weighted(name, *weight)).collect(),
        session: session(carrier),
        ..rule("app")
    };
    let mut resources = vec![ir_listener(listener("web", port)), ir(rule)];
    for (name, _, addresses) in backends {
        resources.extend(backend(name, addresses));
    }
    resources
}

/// The same with sessions of each backend, and none of the rule.
fn of_backends(port: u16, backends: &[(&str, SessionCarrier, &[SocketAddr])]) -> Vec<IrResource> {
    let rule = HttpRule {
        backends: backends.iter().map(|(name, ..)| weighted(name, 1)).collect(),
        ..rule("app")
    };
    let mut resources = vec![ir_listener(listener("web", port)), ir(rule)];
    for (name, carrier, addresses) in backends {
        for mut resource in backend(name, addresses) {
            if let IrResource::Backend(backend) = &mut resource {
                let backend = Arc::make_mut(backend);
                let mut own = session(carrier.clone()).expect("a session");
                own.scope = (*name).to_owned();
                backend.session = Some(own);
            }
            resources.push(resource);
        }
    }
    resources
}

/// A client that keeps what it is handed.
#[derive(Clone, Default)]
struct Visitor {
    cookies: BTreeMap<String, String>,
    header: Option<String>,
}

impl Visitor {
    /// Sends a request over a connection of its own, which any worker may get.
    async fn ask(&mut self, proxy: &Proxy) -> Reply {
        let mut request = Request::get("/").header("host", "a");
        if !self.cookies.is_empty() {
            let pairs = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
            request = request.header("cookie", pairs.collect::<Vec<_>>().join("; "));
        }
        if let Some(header) = &self.header {
            request = request.header("x-session", header);
        }
        let request = request.body(Default::default()).expect("a request");
        let reply = proxy.client().await.send(request).await;
        for cookie in reply.headers("set-cookie") {
            let (pair, _) = cookie.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a value");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        self.header = reply.header("x-session").map(str::to_owned);
        reply
    }

    async fn endpoint(&mut self, proxy: &Proxy) -> String {
        self.ask(proxy).await.endpoint().to_owned()
    }
}

async fn three() -> [Echo; 3] {
    [Echo::start("a").await, Echo::start("b").await, Echo::start("c").await]
}

fn addresses(echoes: &[Echo]) -> Vec<SocketAddr> {
    echoes.iter().map(|echo| echo.address).collect()
}

#[tokio::test]
async fn a_client_that_brings_its_token_stays_with_its_endpoint() {
    let echoes = three().await;
    let addresses = addresses(&echoes);
    for carrier in [cookie("s"), header()] {
        let proxy = serve(|port| resources(port, carrier.clone(), &[("app", 1, &addresses)]));
        let mut all = BTreeSet::new();
        for _ in 0..6 {
            let mut visitor = Visitor::default();
            let first = visitor.endpoint(&proxy).await;
            for _ in 0..6 {
                let reply = visitor.ask(&proxy).await;
                assert_eq!(reply.endpoint(), first);
                assert!(reply.headers("set-cookie").is_empty(), "it has its cookie already");
            }
            all.insert(first);
        }
        assert!(all.len() > 1, "new clients are balanced: {all:?}");
    }
}

#[tokio::test]
async fn the_endpoint_gets_the_cookie_and_the_client_one_that_scripts_cannot_read() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| resources(port, cookie("s"), &[("app", 1, &[echo.address])]));
    let mut visitor = Visitor::default();
    let reply = visitor.ask(&proxy).await;
    let handed = reply.header("set-cookie").expect("a cookie").to_owned();
    assert!(handed.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{handed}");
    visitor.ask(&proxy).await;
    let (pair, _) = handed.split_once(';').expect("attributes");
    assert_eq!(echo.requests()[1].header("cookie"), Some(pair), "SP-6");
}

#[tokio::test]
async fn a_session_ends_with_its_endpoint_and_no_earlier() {
    let echoes = three().await;
    let all = addresses(&echoes);
    let mut proxy = serve(|port| resources(port, cookie("s"), &[("app", 1, &all)]));
    let mut visitor = Visitor::default();
    let first = visitor.endpoint(&proxy).await;
    let of = |name: &str| ["a", "b", "c"].iter().position(|it| *it == name).expect("one of them");
    let mut left = all.clone();
    let other = (of(&first) + 1) % 3;
    left.remove(other);
    let port = proxy.address.port();
    proxy.set(resources(port, cookie("s"), &[("app", 1, &left)]));
    assert_eq!(visitor.endpoint(&proxy).await, first, "another one went");
    let rest: Vec<_> = all.iter().copied().filter(|it| *it != all[of(&first)]).collect();
    proxy.set(resources(port, cookie("s"), &[("app", 1, &rest)]));
    let reply = visitor.ask(&proxy).await;
    assert_ne!(reply.endpoint(), first);
    assert_eq!(reply.headers("set-cookie").len(), 1, "a new session");
    let second = reply.endpoint().to_owned();
    proxy.set(resources(port, cookie("s"), &[("app", 1, &all)]));
    for _ in 0..6 {
        assert_eq!(visitor.endpoint(&proxy).await, second, "the first one is back, and forgotten");
    }
}

#[tokio::test]
async fn a_session_goes_on_with_the_endpoint_that_a_retry_went_to() {
    let echoes = three().await;
    let addresses = addresses(&echoes);
    let proxy = serve(|port| {
        let mut all = resources(port, cookie("s"), &[("app", 1, &addresses)]);
        if let IrResource::HttpRule(rule) = &mut all[1] {
            let retry = HttpRetry { codes: vec![503], attempts: 1, backoff: None };
            Arc::make_mut(rule).retry = Some(Box::new(retry));
        }
        all
    });
    let mut visitor = Visitor::default();
    let first = visitor.endpoint(&proxy).await;
    let position = ["a", "b", "c"].iter().position(|it| *it == first).expect("one of them");
    echoes[position].will_answer(&[503]);
    let reply = visitor.ask(&proxy).await;
    let second = reply.endpoint().to_owned();
    assert_ne!(second, first);
    assert_eq!(reply.headers("set-cookie").len(), 1);
    for _ in 0..6 {
        assert_eq!(visitor.endpoint(&proxy).await, second);
    }
}

/// SP-4.
#[tokio::test]
async fn weights_hold_whatever_a_client_brings_and_each_backend_has_its_own_session() {
    let (a, b) = (three().await, [Echo::start("d").await, Echo::start("e").await]);
    let (of_a, of_b) = (addresses(&a), addresses(&b));
    for carrier in [cookie("s"), header()] {
        let backends = [("a", 3, &*of_a), ("b", 1, &*of_b)];
        let proxy = serve(|port| resources(port, carrier.clone(), &backends));
        let (mut visitor, mut counts) = (Visitor::default(), BTreeMap::<String, usize>::new());
        for _ in 0..80 {
            *counts.entry(visitor.endpoint(&proxy).await).or_default() += 1;
        }
        assert_eq!(counts.len(), 2, "one endpoint of each: {counts:?}");
        let of_b = ["d", "e"].iter().find_map(|name| counts.get(*name)).expect("one of b");
        assert!(of_b.abs_diff(20) <= 4, "a quarter, but for the workers' first turns: {counts:?}");
    }
}

/// SP-4: up to 1.6 a session beat even a weight of 0.
#[tokio::test]
async fn a_backend_that_gets_nothing_any_more_keeps_no_client() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let (of_a, of_b) = ([a.address], [b.address]);
    let backends = |weights: [u32; 2]| [("a", weights[0], &of_a[..]), ("b", weights[1], &of_b[..])];
    let mut proxy = serve(|port| resources(port, cookie("s"), &backends([1, 0])));
    let mut visitor = Visitor::default();
    assert_eq!(visitor.endpoint(&proxy).await, "a");
    let port = proxy.address.port();
    proxy.set(resources(port, cookie("s"), &backends([0, 1])));
    assert_eq!(visitor.endpoint(&proxy).await, "b");
    proxy.set(resources(port, cookie("s"), &backends([1, 0])));
    let reply = visitor.ask(&proxy).await;
    assert_eq!((reply.endpoint(), reply.headers("set-cookie").len()), ("a", 0));
}

#[tokio::test]
async fn proxies_with_the_same_keys_go_on_with_each_others_sessions() {
    let echoes = three().await;
    let addresses = addresses(&echoes);
    let with = |more: Option<IrResource>| {
        serve(|port| {
            let mut all = resources(port, cookie("s"), &[("app", 1, &addresses)]);
            all.extend(more.clone());
            all
        })
    };
    let first = with(Some(keys(&[1])));
    let (same, rotated) = (with(Some(keys(&[1]))), with(Some(keys(&[2, 1]))));
    let (other, none) = (with(Some(keys(&[2]))), with(None));
    let mut visitor = Visitor::default();
    let endpoint = visitor.endpoint(&first).await;
    for proxy in [&same, &rotated] {
        let reply = visitor.ask(proxy).await;
        assert_eq!((reply.endpoint(), reply.headers("set-cookie").len()), (&*endpoint, 0));
    }
    for proxy in [&other, &none] {
        let reply = visitor.clone().ask(proxy).await;
        assert_eq!(reply.headers("set-cookie").len(), 1, "what cannot be read is no session");
    }
}

#[tokio::test]
async fn sessions_of_two_rules_know_nothing_of_each_other() {
    let echoes = three().await;
    let addresses = addresses(&echoes);
    let proxy = |scope: &str| {
        serve(|port| {
            let mut all = resources(port, cookie("s"), &[("app", 1, &addresses)]);
            all.push(keys(&[1]));
            for resource in &mut all {
                if let IrResource::HttpRule(rule) = resource {
                    let session = Arc::make_mut(rule).session.as_mut().expect("a session");
                    session.scope = scope.to_owned();
                }
            }
            all
        })
    };
    let (one, two) = (proxy("default/app/one"), proxy("default/app/two"));
    let mut visitor = Visitor::default();
    visitor.ask(&one).await;
    assert_eq!(visitor.ask(&one).await.headers("set-cookie").len(), 0);
    assert_eq!(visitor.ask(&two).await.headers("set-cookie").len(), 1);
}

#[tokio::test]
async fn backends_have_sessions_of_their_own_and_the_first_of_a_name_has_it() {
    let (a, b) = (three().await, [Echo::start("d").await, Echo::start("e").await]);
    let (of_a, of_b) = (addresses(&a), addresses(&b));
    for (name_of_b, sticky) in [("t", true), ("s", false)] {
        let backends = [("a", cookie("s"), &*of_a), ("b", cookie(name_of_b), &*of_b)];
        let proxy = serve(|port| of_backends(port, &backends));
        let (mut visitor, mut seen) = (Visitor::default(), BTreeSet::new());
        for _ in 0..40 {
            seen.insert(visitor.endpoint(&proxy).await);
        }
        let of = |names: &[&str]| names.iter().filter(|name| seen.contains(**name)).count();
        assert_eq!(of(&["a", "b", "c"]), 1, "{seen:?}");
        // SP-5.
        assert_eq!(of(&["d", "e"]), if sticky { 1 } else { 2 }, "{seen:?}");
        assert_eq!(visitor.cookies.len(), if sticky { 2 } else { 1 });
    }
}

#[tokio::test]
async fn sessions_hold_over_http2_to_endpoints() {
    let echoes = [Echo::h2c("a").await, Echo::h2c("b").await, Echo::h2c("c").await];
    let addresses = addresses(&echoes);
    let proxy = serve(|port| {
        let mut all = resources(port, header(), &[]);
        if let IrResource::HttpRule(rule) = &mut all[1] {
            Arc::make_mut(rule).backends = to("app");
        }
        all.extend(backend_speaking(BackendProtocol::H2c, "app", &addresses));
        all
    });
    let mut visitor = Visitor::default();
    let first = visitor.endpoint(&proxy).await;
    for _ in 0..8 {
        assert_eq!(visitor.endpoint(&proxy).await, first);
    }
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        seen.insert(Visitor::default().endpoint(&proxy).await);
    }
    assert!(seen.len() > 1, "{seen:?}");
}

#[tokio::test]
async fn a_session_that_has_time_ends_with_it() {
    let echo = Echo::start("a").await;
    let with = |seconds: u64| {
        serve(|port| {
            let mut all = resources(port, cookie("s"), &[("app", 1, &[echo.address])]);
            all.push(keys(&[1]));
            if let IrResource::HttpRule(rule) = &mut all[1] {
                let session = Arc::make_mut(rule).session.as_mut().expect("a session");
                session.absolute_timeout = Some(Duration::from_secs(seconds));
            }
            all
        })
    };
    // A rule whose sessions have no time left by any clock, and one whose sessions have plenty.
    let (over, plenty) = (with(0), with(3_600));
    let mut visitor = Visitor::default();
    visitor.ask(&plenty).await;
    assert_eq!(visitor.ask(&plenty).await.headers("set-cookie").len(), 0);
    assert_eq!(visitor.ask(&over).await.headers("set-cookie").len(), 1);
}
