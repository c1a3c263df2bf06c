//! Listener, route, weighted backend, endpoint: who answers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gwapi_dataplane::Limits;
use gwapi_translate::ir::{
    BackendKey, BackendTarget, Endpoints, HeaderMatch, Hostname, HttpMatch, HttpRule, IrResource,
    Listener, ValueMatch, WeightedBackend,
};
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::client::Http2Client;
use super::support::*;

#[tokio::test]
async fn requests_are_routed_by_host_and_path() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let proxy = serve(|port| {
        let mut resources = vec![
            ir_listener(listener("web", port)),
            ir(HttpRule {
                hostnames: [Hostname::parse("a.example")].into(),
                backends: to("a"),
                ..rule("a")
            }),
            ir(HttpRule {
                hostnames: [Hostname::parse("*.example")].into(),
                matches: prefix("/b"),
                backends: to("b"),
                ..rule("b")
            }),
        ];
        resources.extend(backend("a", &[a.address]));
        resources.extend(backend("b", &[b.address]));
        resources
    });
    let mut client = proxy.client().await;
    for (host, path, endpoint) in [
        ("a.example", "/", Some("a")),
        ("A.EXAMPLE.:8080", "/x?q", Some("a")),
        ("b.example", "/b", Some("b")),
        ("c.b.example", "/b/c", Some("b")),
        ("b.example", "/bc", None),
        ("b.example", "/", None),
        ("example", "/b", None),
        ("other", "/b", None),
    ] {
        let reply = client.get(host, path).await;
        match endpoint {
            Some(endpoint) => assert_eq!(reply.endpoint(), endpoint, "{host} {path}"),
            // HR-6
            None => assert_eq!(reply.status, StatusCode::NOT_FOUND, "{host} {path}"),
        }
    }
}

/// A match that asks for one header alone.
fn header(name: &str, value: ValueMatch) -> HttpMatch {
    let headers = vec![HeaderMatch { name: name.into(), value }];
    HttpMatch { headers, ..HttpMatch::default() }
}

/// Two endpoints: `chosen`, for what one of these matches takes, and `other`, for all else.
async fn chosen_by(matches: Vec<HttpMatch>) -> (Proxy, [Echo; 2]) {
    let echoes = [Echo::start("chosen").await, Echo::start("other").await];
    let [chosen, other] = echoes.each_ref().map(|echo| echo.address);
    let proxy = serve(|port| {
        let mut resources = simple(port, other);
        resources.extend(backend("chosen", &[chosen]));
        let (matches, backends) = (matches.clone(), to("chosen"));
        resources.push(ir(HttpRule { matches, backends, ..rule("chosen") }));
        resources
    });
    (proxy, echoes)
}

/// HM-5: what a match on `Host` sees is what the endpoint gets (RFC 9112 3.2.2, RFC 9113 8.3.1).
#[tokio::test]
async fn a_match_on_the_host_sees_the_one_that_counts() {
    let (proxy, _echoes) = chosen_by(vec![
        header("host", ValueMatch::Exact("a.example".into())),
        header("host", ValueMatch::Regex("r[.]example(:[0-9]+)?".into())),
    ])
    .await;
    let mut http1 = proxy.client().await;
    for (target, host, endpoint) in [
        ("/", "a.example", "chosen"),
        ("/", "r.example:8080", "chosen"),
        ("/", "a.example:8080", "other"),
        ("http://public.example/", "a.example", "other"),
        ("http://public.example/", "r.example", "other"),
        ("http://a.example/", "public.example", "chosen"),
        // It is passed on without the colon.
        ("/", "a.example:", "chosen"),
    ] {
        let request = Request::get(target).header("host", host).body(Default::default());
        let reply = http1.send(request.expect("a request")).await;
        assert_eq!(reply.endpoint(), endpoint, "{target} with {host}");
    }
    let mut http2: Http2Client = Http2Client::connect(proxy.address).await;
    for (target, endpoint) in [
        ("http://a.example/", "chosen"),
        ("http://r.example:8080/", "chosen"),
        ("http://public.example/", "other"),
    ] {
        let request = Request::get(target).body(Default::default()).expect("a request");
        assert_eq!(http2.send(request).await.endpoint(), endpoint, "{target} over HTTP/2");
    }
}

/// HM-5: clients over HTTP/2 may cut their cookies into pieces (RFC 9113 8.2.3).
#[tokio::test]
async fn a_match_on_cookies_sees_them_as_the_endpoint_does() {
    let whole = ValueMatch::Exact("a=1; b=2".into());
    let (proxy, [chosen, _other]) = chosen_by(vec![header("cookie", whole)]).await;
    let mut client: Http2Client = Http2Client::connect(proxy.address).await;
    for (cookies, endpoint) in [
        (&["a=1; b=2"][..], "chosen"),
        (&["a=1", "b=2"], "chosen"),
        (&["a=1"], "other"),
        (&["b=2", "a=1"], "other"),
    ] {
        let mut request = Request::get("http://a.example/");
        for cookie in cookies {
            request = request.header("cookie", *cookie);
        }
        let reply = client.send(request.body(Default::default()).expect("a request")).await;
        assert_eq!(reply.endpoint(), endpoint, "{cookies:?}");
    }
    let seen = chosen.requests();
    assert!(seen.iter().all(|request| request.headers("cookie") == ["a=1; b=2"]), "{seen:?}");
}

#[tokio::test]
async fn one_connection_carries_many_requests_and_endpoints_are_reused() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = proxy.client().await;
    for number in 0..50 {
        let path = format!("/{number}");
        let reply = client.get("a.example", &path).await;
        assert_eq!(reply.header("x-target"), Some(&*path));
    }
    assert_eq!(echo.requests().len(), 50);
    assert_eq!(echo.connections(), 1);
}

#[tokio::test]
async fn endpoints_are_reused_however_many_requests_come_at_a_time() {
    const CLIENTS: usize = 160;
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let connected = within(TcpStream::connect(proxy.address)).await;
        clients.push(connected.expect("it accepts"));
    }
    for _ in 0..2 {
        for client in &mut clients {
            let head =
                b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
            within(client.write_all(head)).await.expect("it reads");
            // The endpoint waits for the body: the request has a connection of its own.
            until(client, b"100 Continue\r\n\r\n").await;
        }
        for client in &mut clients {
            within(client.write_all(b"!")).await.expect("it reads");
            until(client, b"\r\n\r\n!").await;
        }
    }
    assert_eq!(echo.requests().len(), 2 * CLIENTS);
    let extra = echo.connections() - CLIENTS;
    // One that has just answered may not be ready for the next request yet.
    assert!(extra <= CLIENTS / 10, "{extra} connections were made anew");
}

/// Reads until what came ends so.
async fn until(client: &mut TcpStream, end: &[u8]) {
    let mut came = Vec::new();
    while !came.ends_with(end) {
        let count = within(client.read_buf(&mut came)).await.expect("it answers");
        assert!(count > 0, "it closed after {:?}", String::from_utf8_lossy(&came));
    }
}

#[tokio::test]
async fn what_a_client_claims_about_itself_is_overwritten() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let request = http::Request::get("/p?q=1")
        .header("host", "A.example:8080")
        .header("x-forwarded-for", "6.6.6.6")
        .header("forwarded", "for=6.6.6.6")
        .header("x_forwarded_for", "6.6.6.6")
        .header("connection", "x-foo, x-real-ip")
        .header("x-foo", "1")
        .header("x-request-id", "42")
        .body(Default::default());
    proxy.client().await.send(request.expect("a request")).await;
    let seen = echo.only_request();
    assert_eq!(seen.target, "/p?q=1");
    assert_eq!(seen.version, http::Version::HTTP_11);
    assert_eq!(seen.headers("host"), ["A.example:8080"], "the host is passed on as it came");
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.headers("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.headers("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.headers("x-forwarded-host"), ["A.example:8080"]);
    assert_eq!(seen.headers("x-request-id"), ["42"]);
    for absent in ["forwarded", "x_forwarded_for", "x-foo", "connection"] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn shares_follow_the_weights_give_or_take_one_per_worker() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let proxy = serve(|port| {
        let mut resources = simple_with(port, a.address, |rule| {
            rule.backends = vec![weighted("app", 9), weighted("b", 1), weighted("none", 0)];
        });
        resources.extend(backend("b", &[b.address]));
        resources
    });
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..20 {
        let mut client = proxy.client().await;
        for _ in 0..10 {
            let reply = client.get("a.example", "/").await;
            *shares.entry(reply.endpoint().to_owned()).or_default() += 1;
        }
    }
    let share = shares["b"];
    assert!((18..=22).contains(&share), "20 of 200 are due, {share} came");
}

#[tokio::test]
async fn an_invalid_backend_keeps_its_share_and_answers_500() {
    let echo = Echo::start("a").await;
    let invalid = BackendTarget::Invalid("not granted".to_owned());
    let proxy = serve(|port| {
        simple_with(port, echo.address, |rule| {
            rule.backends.push(WeightedBackend {
                weight: 1,
                target: invalid.clone(),
                filters: Vec::new(),
            });
        })
    });
    let mut client = proxy.client().await;
    let mut failed = 0;
    for _ in 0..20 {
        let reply = client.get("a.example", "/").await;
        failed += usize::from(reply.status == StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert!((9..=11).contains(&failed), "10 of 20 are due, {failed} failed");
}

#[tokio::test]
async fn rules_that_lead_nowhere_say_so_and_leak_nothing() {
    let echo = Echo::start("a").await;
    let rule_at = |path: &str, backends: Vec<WeightedBackend>| {
        ir(HttpRule { matches: prefix(path), backends, ..rule(&path[1..]) })
    };
    let proxy = serve(|port| {
        let mut resources = simple_with(port, echo.address, |rule| rule.matches = prefix("/ok"));
        resources.extend([
            rule_at("/none", Vec::new()),
            rule_at("/zero", vec![weighted("app", 0)]),
            rule_at("/zeros", vec![weighted("app", 0), weighted("app", 0)]),
            rule_at("/missing", to("missing")),
            rule_at("/empty", to("empty")),
        ]);
        resources.extend(backend("empty", &[]));
        resources.push(backend("unknown", &[]).remove(0));
        resources.push(rule_at("/unknown", to("unknown")));
        resources
    });
    let mut client = proxy.client().await;
    for (path, status) in [
        ("/ok", 200),
        ("/none", 500),    // HB-5
        ("/zero", 500),    // HB-2
        ("/zeros", 500),   // HB-2
        ("/missing", 500), // HB-3
        ("/empty", 503),   // HB-4
        ("/unknown", 503), // HB-4
        ("/elsewhere", 404),
    ] {
        let reply = client.get("a.example", path).await;
        assert_eq!(reply.status.as_u16(), status, "{path}");
        if status != 200 {
            assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(reply.text().lines().count(), 1, "{path}: {}", reply.text());
            for secret in ["default", "missing\"", "127.0.0.1"] {
                assert!(!reply.text().contains(secret), "{path}: {}", reply.text());
            }
        }
    }
}

#[tokio::test]
async fn all_endpoints_of_a_backend_take_part() {
    let echoes = [Echo::start("a").await, Echo::start("b").await, Echo::start("c").await];
    let addresses = echoes.each_ref().map(|echo| echo.address);
    let proxy = serve(|port| {
        let mut resources = simple(port, addresses[0]);
        resources.extend(backend("app", &addresses));
        resources
    });
    let mut client = proxy.client().await;
    for _ in 0..30 {
        client.get("a.example", "/").await.endpoint();
    }
    for echo in &echoes {
        assert_eq!(echo.requests().len(), 10, "in turn, where none is busy");
    }
}

#[tokio::test]
async fn listeners_and_endpoints_have_ipv6_addresses() {
    let Ok(address) = "[::1]:0".parse() else { unreachable!("it is an address") };
    let echo = Echo::on(address, "six", false).await;
    let loopback = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
    let proxy = serve_on(loopback, Limits::default(), |port| {
        let mut resources = simple(port, echo.address);
        resources.retain(|resource| !matches!(resource, IrResource::Listener(_)));
        let web = Listener { addresses: vec![loopback], ..listener("web", port) };
        resources.push(ir_listener(web));
        resources
    });
    let reply = proxy.get(&format!("[::1]:{}", proxy.address.port()), "/").await;
    assert_eq!(reply.endpoint(), "six");
    assert_eq!(echo.only_request().header("x-forwarded-for"), Some("::1"));
}

#[tokio::test]
async fn an_endpoint_may_be_a_name() {
    let echo = Echo::start("named").await;
    let proxy = serve(|port| {
        let mut resources = simple(port, echo.address);
        let key = BackendKey::service("default", "app", 80);
        let hostnames = vec![("localhost".to_owned(), echo.address.port())];
        let named = Endpoints { key, addresses: Vec::new(), hostnames, external: Vec::new() };
        resources.retain(|resource| !matches!(resource, IrResource::Endpoints(_)));
        resources.push(IrResource::Endpoints(named.into()));
        resources
    });
    let mut client = proxy.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("a.example", "/").await.endpoint(), "named");
    }
}

#[tokio::test]
async fn a_request_is_served_by_the_most_specific_listener_alone() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| {
        let mut resources = simple(port, echo.address);
        let hostname = Some(Hostname::parse("own.example"));
        resources.push(ir_listener(Listener { hostname, ..listener("own", port) }));
        resources
    });
    // LI-2: no fall-through to the listener without hostname.
    assert_eq!(proxy.get("own.example", "/").await.status, StatusCode::NOT_FOUND);
    assert_eq!(proxy.get("other.example", "/").await.endpoint(), "a");
    assert_eq!(echo.requests().len(), 1);
}

#[tokio::test]
async fn bodies_pass_both_ways() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let body = bytes_of(3_000_000);
    let request = http::Request::post("/").header("host", "a").body(body.clone().into());
    let reply = proxy.client().await.send(request.expect("a request")).await;
    assert_eq!(reply.body, body);
    let seen = echo.only_request();
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.header("content-length"), Some("3000000"));
    assert_eq!(seen.body, body);
    assert!(seen.trailers.is_none());
}

fn bytes_of(length: usize) -> hyper::body::Bytes {
    (0..length).map(|position| position as u8).collect()
}
