//! External authorization, as clients, services and endpoints see it (HF-9, EA-1 to EA-4).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_translate::ir::{
    BackendKey, BackendProtocol, BackendTarget, Cors, CorsHost, CorsNames, CorsOrigin,
    ExternalAuth, ExternalAuthProtocol, HeaderNames, HttpFilter, HttpRetry, HttpRule, IrResource,
    Mirror, Redirect,
};
use http::{Request, StatusCode, Version};
use tokio::io::AsyncWriteExt;

use super::support::authorizer::{
    Authorizer, Bool, DeniedResponse, HeaderValueOption, OkResponse, Status, allowed, answer,
    checked, field, peers, status,
};
use super::support::client::{Body, Http2Client, get, raw};
use super::support::clock::{SHORT, timeouts};
use super::support::upstream::{read_head, refusing};
use super::support::*;

fn key() -> BackendTarget {
    BackendTarget::Backend(BackendKey::service("default", "auth", 80))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A filter that asks by requests, and takes over these headers; none means all.
fn http(told: &[&str], taken_over: &[&str]) -> ExternalAuth {
    let response_headers = match taken_over {
        [] => HeaderNames::All,
        some => HeaderNames::Only(names(some)),
    };
    let protocol = ExternalAuthProtocol::Http {
        path_prefix: String::new(),
        request_headers: names(told),
        response_headers,
    };
    ExternalAuth { target: key(), protocol, max_body_bytes: 0 }
}

fn grpc() -> ExternalAuth {
    let protocol = ExternalAuthProtocol::Grpc { request_headers: HeaderNames::All };
    ExternalAuth { target: key(), protocol, max_body_bytes: 0 }
}

/// A proxy whose one rule has these filters, and the service that it asks.
fn guarded(
    port: u16,
    app: SocketAddr,
    auth: SocketAddr,
    protocol: BackendProtocol,
    filters: &[HttpFilter],
) -> Vec<IrResource> {
    let mut resources = simple_with(port, app, |rule| rule.filters = filters.to_vec());
    resources.extend(backend_speaking(protocol, "auth", &[auth]));
    resources
}

fn serve_guarded(app: &Echo, auth: &Authorizer, filter: ExternalAuth) -> Proxy {
    serve(|port| asks(port, app, auth.address, &filter))
}

/// A rule that asks a service at this address.
fn asks(port: u16, app: &Echo, auth: SocketAddr, filter: &ExternalAuth) -> Vec<IrResource> {
    let protocol = match filter.protocol {
        ExternalAuthProtocol::Http { .. } => BackendProtocol::Http1,
        ExternalAuthProtocol::Grpc { .. } => BackendProtocol::H2c,
    };
    guarded(port, app.address, auth, protocol, &[HttpFilter::ExternalAuth(filter.clone())])
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("host", "a.example").body(body.into()).expect("a request")
}

fn with(mut request: Request<Body>, headers: &[(&'static str, &'static str)]) -> Request<Body> {
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    request
}

/// EA-2.
#[tokio::test]
async fn a_service_is_asked_with_what_it_always_gets_and_what_is_allowed() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::http(|_| answer(200, &[("x-user", "ann"), ("x-other", "1")])).await;
    let mut filter = http(&["cookie", "x-forwarded-for"], &["x-user", "x-role"]);
    let ExternalAuthProtocol::Http { path_prefix, .. } = &mut filter.protocol else {
        unreachable!()
    };
    "/check".clone_into(path_prefix);
    let proxy = serve_guarded(&echo, &auth, filter);
    let request = with(
        Request::put("/a/%2e/../b%20c?q=1").body("secret".into()).expect("a request"),
        &[
            ("host", "a.example:81"),
            ("authorization", "Bearer t"),
            ("cookie", "a=b"),
            ("x-secret", "1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-user", "root"),
            ("x-role", "admin"),
            ("connection", "x-gone, close"),
            ("x-gone", "1"),
        ],
    );
    let reply = proxy.client().await.send(request).await;
    assert_eq!(reply.endpoint(), "app");
    let question = auth.only_question();
    assert_eq!((&*question.method, &*question.target), ("PUT", "/check/b%20c?q=1"));
    let told: Vec<(&str, &str)> = question
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let mut expected = vec![
        ("host", "a.example:81"),
        ("authorization", "Bearer t"),
        ("content-length", "0"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "127.0.0.1"),
    ];
    let mut sorted = told.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    // What was not asked for stays away, and what a client made up is gone, though the service did not
    // say anything of the role.
    let request = echo.only_request();
    assert_eq!(request.headers("x-user"), ["ann"]);
    assert_eq!(request.headers("x-role"), [""; 0]);
    assert_eq!((request.header("x-other"), request.header("x-gone")), (None, None));
    assert_eq!((request.header("x-secret"), &*request.target), (Some("1"), "/b%20c?q=1"));
    assert_eq!(request.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.headers("host"), ["a.example:81"]);
    assert_eq!(request.body, "secret");
}

#[tokio::test]
async fn without_a_list_everything_is_taken_over_that_means_something_in_a_request() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::http(|_| {
        let headers = [
            ("x-user", "ann"),
            ("x-role", "a"),
            ("x-role", "b"),
            ("host", "evil.example"),
            // RFC 9110 7.6.1: what it names was for the proxy alone.
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("content-type", "text/x-auth"),
            ("date", "today"),
        ];
        answer(200, &headers).map(|_| "some body".into())
    })
    .await;
    let proxy = serve_guarded(&echo, &auth, http(&[], &[]));
    let request =
        with(post("/", "{}"), &[("content-type", "application/json"), ("x-role", "root")]);
    assert_eq!(proxy.client().await.send(request).await.endpoint(), "app");
    let request = echo.only_request();
    assert_eq!(request.headers("x-user"), ["ann"]);
    assert_eq!(request.headers("x-role"), ["a", "b"]);
    assert_eq!(request.headers("host"), ["a.example"]);
    assert_eq!(request.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.headers("content-type"), ["application/json"]);
    assert_eq!(request.headers("content-length"), ["2"]);
    assert_eq!((request.header("keep-alive"), request.header("date")), (None, None));
    assert_eq!(request.header("x-hop"), None);
    assert_eq!(request.body, "{}");
}

/// EA-2.
#[tokio::test]
async fn anything_but_200_denies_and_is_the_clients_answer() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::http(|question| {
        let status = question.target[1..].parse().expect("a status");
        let headers = [("www-authenticate", "Basic"), ("set-cookie", "a=1"), ("set-cookie", "b=2")];
        let mut answer = answer(status, &headers);
        answer.headers_mut().insert("location", "https://login.example/".parse().unwrap());
        answer.map(|_| if status == 204 { "".into() } else { "no entry".into() })
    })
    .await;
    let proxy = serve_guarded(&echo, &auth, http(&[], &[]));
    let mut client = proxy.client().await;
    for code in [201, 204, 302, 401, 403, 404, 500, 503] {
        let reply = client.get("a", &format!("/{code}")).await;
        assert_eq!(reply.status.as_u16(), code);
        assert_eq!(reply.headers("set-cookie"), ["a=1", "b=2"], "{code}");
        assert_eq!(reply.header("www-authenticate"), Some("Basic"), "{code}");
        assert_eq!(reply.header("location"), Some("https://login.example/"), "{code}");
        assert_eq!(reply.text(), if code == 204 { "" } else { "no entry" });
        assert_eq!(reply.header("x-endpoint"), None);
    }
    assert_eq!(client.get("a", "/200").await.endpoint(), "app");
    assert_eq!(echo.requests().len(), 1);
}

#[tokio::test]
async fn a_denial_does_not_wait_for_a_body_that_nobody_reads() {
    let (echo, auth) = (Echo::start("app").await, Authorizer::http(|_| answer(403, &[])).await);
    let proxy = serve_guarded(&echo, &auth, http(&[], &[]));
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    let answer = raw(proxy.address, head).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(echo.requests().len(), 0);
}

/// EA-1.
#[tokio::test]
async fn nothing_goes_on_where_the_service_cannot_be_asked() {
    let echo = Echo::start("app").await;
    let (_deaf, refusing) = refusing();
    let (silent, garbled) =
        (Scripted::silent().await, Scripted::answering(b"200 fine\r\n\r\n").await);
    let switching =
        Scripted::answering(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n")
            .await;
    let long = Authorizer::http(|_| answer(403, &[]).map(|_| vec![b'x'; 1025].into())).await;
    let limits = Limits { auth_timeout: SHORT, max_auth_answer_bytes: 1024, ..Limits::default() };
    for filter in [http(&[], &[]), grpc()] {
        for (address, status, reason) in [
            (refusing, 503, "connect"),
            (silent.address, 504, "timeout"),
            (garbled.address, 502, "endpoint"),
        ] {
            let local = IpAddr::from([127, 0, 0, 1]);
            let builder =
                ProxyBuilder::new().limits(limits.clone()).admin(SocketAddr::new(local, 0));
            let proxy = serve_built(local, &builder, |port| asks(port, &echo, address, &filter));
            let reply = proxy.get("a", "/").await;
            assert_eq!(reply.status.as_u16(), status, "{reason} {filter:?}");
            let counted = format!(
                "gwapi_authorizations_total{{backend=\"default/auth:80\",outcome=\"{reason}\"}} 1"
            );
            proxy.until_metric(&counted).await;
        }
    }
    for address in [switching.address, long.address] {
        let proxy = serve_with(limits.clone(), |port| asks(port, &echo, address, &http(&[], &[])));
        let reply = proxy.get("a", "/").await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{reply:?}");
    }
    assert_eq!(echo.requests().len(), 0);
}

#[tokio::test]
async fn a_reference_that_leads_nowhere_answers_500_and_a_service_without_endpoints_503() {
    let echo = Echo::start("app").await;
    let invalid = BackendTarget::Invalid("no grant".to_owned());
    for (target, endpoints, status) in
        [(invalid, true, 500), (key(), false, 503), (key(), true, 500)]
    {
        let filter = ExternalAuth { target, ..http(&[], &[]) };
        let proxy = serve(|port| {
            let filters = vec![HttpFilter::ExternalAuth(filter.clone())];
            let mut resources =
                simple_with(port, echo.address, |rule| rule.filters.clone_from(&filters));
            if !endpoints {
                resources.extend(backend("auth", &[]));
            }
            resources
        });
        assert_eq!(proxy.get("a", "/").await.status.as_u16(), status);
    }
    assert_eq!(echo.requests().len(), 0);
}

/// EA-4.
#[tokio::test]
async fn a_body_is_shown_up_to_its_size_and_sent_on_whole() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::http(|question| {
        answer(if question.body.starts_with(b"good") { 200 } else { 403 }, &[])
    })
    .await;
    let filter = ExternalAuth { max_body_bytes: 8, ..http(&[], &[]) };
    let proxy = serve_guarded(&echo, &auth, filter);
    let mut client = proxy.client().await;
    let reply = client.send(post("/", "good one")).await;
    assert_eq!((reply.endpoint(), reply.text()), ("app", "good one"));
    assert_eq!(auth.only_question().header("content-length"), Some("8"));
    assert_eq!(client.send(post("/", "bad one")).await.status, StatusCode::FORBIDDEN);
    // One without a body is as good as any.
    assert_eq!(client.get("a", "/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(auth.questions().len(), 3);
    // Its length says so at once, or its bytes do in time.
    let too_long = proxy.client().await.send(post("/", "good long one")).await;
    assert_eq!(
        (too_long.status, too_long.header("connection")),
        (StatusCode::PAYLOAD_TOO_LARGE, Some("close"))
    );
    let chunked = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\ngood \r\n5\r\nlong \r\n";
    let answered = raw(proxy.address, chunked).await;
    assert!(answered.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{answered}");
    assert_eq!((auth.questions().len(), echo.requests().len()), (3, 1));
    // The limit of the proxy holds whatever the filter says.
    let limits = Limits { max_auth_body_bytes: 6, ..Limits::default() };
    let filter = ExternalAuth { max_body_bytes: 1000, ..http(&[], &[]) };
    let proxy = serve_with(limits, |port| asks(port, &echo, auth.address, &filter));
    let mut client = proxy.client().await;
    assert_eq!(client.send(post("/", "good 1")).await.endpoint(), "app");
    assert_eq!(client.send(post("/", "good 12")).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_that_was_shown_is_there_for_retries_and_mirrors() {
    let (echo, mirror) = (Echo::start("app").await, Echo::start("mirror").await);
    echo.will_answer(&[503]);
    let auth = Authorizer::http(|_| answer(200, &[("x-user", "ann")])).await;
    let filter = HttpFilter::ExternalAuth(ExternalAuth { max_body_bytes: 100, ..http(&[], &[]) });
    let copies = HttpFilter::Mirror(Mirror {
        backend: BackendKey::service("default", "mirror", 80),
        numerator: 1,
        denominator: 1,
    });
    let proxy = serve(|port| {
        let filters = [filter.clone(), copies.clone()];
        let mut resources = simple_with(port, echo.address, |rule| {
            rule.filters = filters.to_vec();
            let own = request_headers(changes(&[("x-own", "1")], &[], &[]));
            rule.backends[0].filters = vec![own];
            rule.retry = Some(Box::new(HttpRetry { codes: vec![503], attempts: 1, backoff: None }));
        });
        resources.extend(backend("auth", &[auth.address]));
        resources.extend(backend("mirror", &[mirror.address]));
        resources
    });
    let request = with(post("/", "content"), &[("expect", "100-continue")]);
    assert_eq!(proxy.client().await.send(request).await.text(), "content");
    let requests = echo.requests();
    assert_eq!(requests.len(), 2);
    let copy = mirror.until_requests(1).await.remove(0);
    for request in requests.iter().chain([&copy]) {
        assert_eq!((&*request.body, request.header("x-user")), (&b"content"[..], Some("ann")));
        assert_eq!(request.headers("x-forwarded-host"), ["a.example"]);
        assert_eq!(request.header("expect"), None);
    }
    assert_eq!((requests[0].header("x-own"), copy.header("x-own")), (Some("1"), None));
    // The service is asked once, whatever becomes of the request.
    assert_eq!(auth.questions().len(), 1);
}

#[tokio::test]
async fn filters_of_headers_keep_their_place_before_and_behind_it() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::http(|_| answer(200, &[("x-user", "ann"), ("x-mark", "auth")])).await;
    let set = |name, value| request_headers(changes(&[(name, value)], &[], &[]));
    let proxy = serve(|port| {
        let filters = [
            request_headers(changes(&[("x-before", "1")], &[], &["x-user"])),
            HttpFilter::ExternalAuth(http(
                &["x-before", "x-mark", "x-user"],
                &["x-user", "x-mark"],
            )),
            set("x-mark", "rule"),
        ];
        guarded(port, echo.address, auth.address, BackendProtocol::Http1, &filters)
    });
    let request = with(get("a", "/"), &[("x-user", "root"), ("x-mark", "client")]);
    assert_eq!(proxy.client().await.send(request).await.endpoint(), "app");
    let question = auth.only_question();
    assert_eq!(question.header("x-before"), Some("1"));
    assert_eq!((question.header("x-mark"), question.header("x-user")), (Some("client"), None));
    let request = echo.only_request();
    assert_eq!((request.headers("x-user"), request.headers("x-mark")), (vec!["ann"], vec!["rule"]));
}

#[tokio::test]
async fn a_redirect_behind_it_is_for_those_who_may_and_one_before_it_for_all() {
    let auth = Authorizer::http(|question| {
        answer(if question.header("authorization").is_some() { 200 } else { 401 }, &[])
    })
    .await;
    let echo = Echo::start("app").await;
    let redirect = HttpFilter::Redirect(Redirect {
        scheme: None,
        hostname: Some("b.example".to_owned()),
        port: None,
        path: None,
        status: 302,
    });
    let ask = HttpFilter::ExternalAuth(http(&[], &[]));
    let orders = [(vec![ask.clone(), redirect.clone()], 401), (vec![redirect, ask], 302)];
    for (filters, without) in orders {
        let proxy = serve(|port| {
            let (app, auth) = (echo.address, auth.address);
            let mut resources = guarded(port, app, auth, BackendProtocol::Http1, &filters);
            resources.retain(|it| !matches!(it, IrResource::HttpRule(_)));
            resources.push(ir(HttpRule { filters: filters.clone(), ..rule("app") }));
            resources
        });
        let mut client = proxy.client().await;
        assert_eq!(client.get("a", "/").await.status.as_u16(), without);
        let reply = client.send(with(get("a", "/"), &[("authorization", "t")])).await;
        assert_eq!(reply.status, StatusCode::FOUND);
        assert!(reply.header("location").expect("a location").contains("b.example"));
    }
}

#[tokio::test]
async fn a_preflight_is_answered_without_asking_and_a_denial_can_be_read_by_scripts() {
    let (echo, auth) = (Echo::start("app").await, Authorizer::http(|_| answer(401, &[])).await);
    let cors = HttpFilter::Cors(Cors {
        allow_origins: vec![CorsOrigin::Of {
            scheme: "https".to_owned(),
            host: CorsHost::Exact("a.example".to_owned()),
            port: 443,
        }],
        allow_credentials: true,
        allow_methods: CorsNames::Only(names(&["PUT"])),
        allow_headers: CorsNames::Any,
        expose_headers: CorsNames::Only(Vec::new()),
        max_age: 5,
    });
    let proxy = serve(|port| {
        let filters = [HttpFilter::ExternalAuth(http(&[], &[])), cors.clone()];
        guarded(port, echo.address, auth.address, BackendProtocol::Http1, &filters)
    });
    let origin = ("origin", "https://a.example");
    let preflight = Request::options("/").header("host", "a").body(Body::default()).unwrap();
    let preflight = with(preflight, &[origin, ("access-control-request-method", "PUT")]);
    let mut client = proxy.client().await;
    assert_eq!(client.send(preflight).await.status, StatusCode::NO_CONTENT);
    assert_eq!(auth.questions().len(), 0);
    let reply = client.send(with(get("a", "/"), &[origin])).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(auth.questions().len(), 1);
}

#[tokio::test]
async fn a_service_of_a_backend_is_asked_for_that_backend_alone() {
    let (echo, auth) = (Echo::start("app").await, Authorizer::http(|_| answer(403, &[])).await);
    let open = Echo::start("open").await;
    let proxy = serve(|port| {
        let mut guarded = weighted("app", 1);
        guarded.filters = vec![HttpFilter::ExternalAuth(http(&[], &[]))];
        let mut resources = backend("app", &[echo.address]);
        resources.extend(backend("open", &[open.address]));
        resources.extend(backend("auth", &[auth.address]));
        resources.push(ir_listener(listener("web", port)));
        let backends = vec![guarded, weighted("open", 1)];
        resources.push(ir(HttpRule { backends, ..rule("app") }));
        resources
    });
    let mut client = proxy.client().await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(client.get("a", "/").await.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!((statuses, auth.questions().len()), (vec![200, 200, 403, 403], 2));
    assert_eq!((echo.requests().len(), open.requests().len()), (0, 2));
}

/// HB-2, HF-7: what is denied takes nothing of what others get.
#[tokio::test]
async fn denials_do_not_steer_those_who_are_let_through() {
    let (one, two) = (Echo::start("one").await, Echo::start("two").await);
    let mirror = Echo::start("mirror").await;
    let auth = Authorizer::http(|question| match question.header("authorization") {
        Some(_) => answer(200, &[]),
        None => answer(401, &[]),
    })
    .await;
    let half = HttpFilter::Mirror(Mirror {
        backend: BackendKey::service("default", "mirror", 80),
        numerator: 1,
        denominator: 2,
    });
    let filters = [HttpFilter::ExternalAuth(http(&[], &[])), half];
    let builder = ProxyBuilder::new();
    let proxy = serve_on_cores(1, IpAddr::from([127, 0, 0, 1]), &builder, |port| {
        let mut resources = backend("one", &[one.address]);
        resources.extend(backend("two", &[two.address]));
        resources.extend(backend("auth", &[auth.address]));
        resources.extend(backend("mirror", &[mirror.address]));
        let backends = vec![weighted("one", 1), weighted("two", 1)];
        resources.push(ir_listener(listener("web", port)));
        resources.push(ir(HttpRule { backends, filters: filters.to_vec(), ..rule("app") }));
        resources
    });
    let mut client = proxy.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("a", "/").await.status, StatusCode::UNAUTHORIZED);
        let known = with(get("a", "/"), &[("authorization", "Bearer t")]);
        assert_eq!(client.send(known).await.status, StatusCode::OK);
    }
    assert_eq!((one.requests().len(), two.requests().len()), (10, 10));
    assert_eq!(mirror.until_requests(10).await.len(), 10);
}

/// EA-4: what the service may not be shown does not pass it.
#[tokio::test]
async fn where_no_body_may_be_shown_a_request_with_one_is_refused() {
    let (echo, auth) = (Echo::start("app").await, Authorizer::http(|_| answer(200, &[])).await);
    let limits = Limits { max_auth_body_bytes: 0, ..Limits::default() };
    let filter = ExternalAuth { max_body_bytes: 1000, ..http(&[], &[]) };
    let proxy = serve_with(limits, |port| asks(port, &echo, auth.address, &filter));
    let reply = proxy.client().await.send(post("/", "content")).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!((auth.questions().len(), echo.requests().len()), (0, 0));
    assert_eq!(proxy.client().await.send(post("/", "")).await.endpoint(), "app");
}

#[tokio::test]
async fn trailers_of_a_body_that_was_shown_go_on() {
    let (echo, auth) = (Echo::start("app").await, Authorizer::http(|_| answer(200, &[])).await);
    let filter = ExternalAuth { max_body_bytes: 1000, ..http(&[], &[]) };
    let proxy = serve_guarded(&echo, &auth, filter);
    for (chunks, body) in [("4\r\ndata\r\n", "data"), ("", "")] {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
             trailer: x-sum\r\n\r\n{chunks}0\r\nx-sum: 42\r\n\r\n"
        );
        let answer = raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let request = echo.requests().pop().expect("a request");
        assert_eq!(request.body, body);
        let trailers = request.trailers.expect("trailers");
        assert_eq!(trailers["x-sum"], "42");
    }
    assert_eq!(auth.questions()[0].body, "data");
}

/// What is the service's to say in a header is no client's to say in a trailer.
#[tokio::test]
async fn trailers_hold_no_header_that_is_taken_over_from_the_service() {
    let echo = Echo::start("app").await;
    let by_http = Authorizer::http(|_| answer(200, &[("x-user", "ann")])).await;
    let named = http(&[], &["x-user", "x-role"]);
    let unnamed = http(&[], &[]);
    let shown = ExternalAuth { max_body_bytes: 1000, ..named.clone() };
    for (filter, left) in
        [(named, &["x-sum"][..]), (unnamed, &["x-role", "x-sum"]), (shown, &["x-sum"])]
    {
        let proxy = serve_guarded(&echo, &by_http, filter);
        let request = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                       transfer-encoding: chunked\r\n\r\n\
                       0\r\nx-user: eve\r\nx-role: admin\r\nx-sum: 42\r\n\r\n";
        let answer = raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let request = echo.requests().pop().expect("a request");
        assert_eq!(request.header("x-user"), Some("ann"));
        let trailers = request.trailers.expect("trailers");
        let mut names: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, left);
    }
}

#[tokio::test]
async fn a_denial_has_no_phrase_that_nobody_said() {
    let (echo, auth) = (Echo::start("app").await, Authorizer::http(|_| answer(440, &[])).await);
    let proxy = serve_guarded(&echo, &auth, http(&[], &[]));
    let asked = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = raw(proxy.address, asked).await;
    assert!(answer.starts_with("HTTP/1.1 440 \r\n"), "{answer}");
}

#[tokio::test]
async fn the_time_of_the_rule_counts_while_a_service_is_asked() {
    let (echo, silent) = (Echo::start("app").await, Scripted::silent().await);
    let filter = HttpFilter::ExternalAuth(http(&[], &[]));
    let limits = Limits { auth_timeout: Duration::from_secs(3600), ..Limits::default() };
    let proxy = serve_with(limits, |port| {
        let mut resources = simple_with(port, echo.address, |rule| {
            rule.filters = vec![filter.clone()];
            rule.timeouts = timeouts(Some(SHORT), None);
        });
        resources.extend(backend("auth", &[silent.address]));
        resources
    });
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(echo.requests().len(), 0);
}

#[tokio::test]
async fn services_over_http2_are_asked_alike() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::h2c(|_| answer(200, &[("x-user", "ann")])).await;
    let proxy = serve(|port| {
        let filters = [HttpFilter::ExternalAuth(http(&[], &[]))];
        guarded(port, echo.address, auth.address, BackendProtocol::H2c, &filters)
    });
    assert_eq!(proxy.get("a.example", "/b?c").await.endpoint(), "app");
    let question = auth.only_question();
    assert_eq!((question.version, &*question.target), (Version::HTTP_2, "http://a.example/b?c"));
    assert_eq!(question.header("content-length"), Some("0"));
    assert_eq!(echo.only_request().header("x-user"), Some("ann"));
}

#[tokio::test]
async fn an_upgrade_is_authorized_like_any_request() {
    let upgraded = Scripted::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let user = head.lines().filter(|line| line.starts_with("x-user: ")).collect::<Vec<_>>();
        assert_eq!(user, ["x-user: ann"], "{head}");
        let _ = stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello")
            .await;
    })
    .await;
    let auth = Authorizer::http(|question| {
        assert_eq!((question.header("upgrade"), question.header("connection")), (None, None));
        answer(if question.target == "/in" { 200 } else { 403 }, &[("x-user", "ann")])
    })
    .await;
    let proxy = serve(|port| {
        let filters = [HttpFilter::ExternalAuth(http(&[], &[]))];
        guarded(port, upgraded.address, auth.address, BackendProtocol::Http1, &filters)
    });
    let upgrade = |path| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        )
    };
    let answer = raw(proxy.address, upgrade("/in").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("hello"), "{answer}");
    let asks = with(get("a", "/out"), &[("upgrade", "websocket"), ("connection", "upgrade")]);
    let denied = proxy.client().await.send(asks).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
}

/// EA-3.
#[tokio::test]
async fn ext_authz_is_told_of_the_request_and_its_client() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::grpc(|_| status(0)).await;
    let filter = ExternalAuth { max_body_bytes: 100, ..grpc() };
    let proxy = serve_guarded(&echo, &auth, filter);
    let request = with(
        post("/a//b?c=d", "content"),
        &[("cookie", "a=1"), ("cookie", "b=2"), ("x-two", "1"), ("x-two", "2"), ("te", "gzip")],
    );
    assert_eq!(proxy.client().await.send(request).await.text(), "content");
    let question = auth.only_question();
    assert!(question.target.ends_with("/envoy.service.auth.v3.Authorization/Check"));
    assert_eq!(question.header("content-type"), Some("application/grpc"));
    assert_eq!(question.header("te"), Some("trailers"));
    let timeout = question.header("grpc-timeout").expect("a deadline");
    let left: u64 = timeout.strip_suffix('m').expect("milliseconds").parse().expect("a number");
    assert!((1..=5000).contains(&left), "{timeout}");
    let [source, destination] = peers(&question);
    assert_eq!(source.0, "127.0.0.1");
    assert!(source.1 > 0);
    assert_eq!(destination, ("127.0.0.1".to_owned(), proxy.address.port().into()));
    let asked = checked(&question);
    assert_eq!((&*asked.method, &*asked.path, &*asked.host), ("POST", "/a/b?c=d", "a.example"));
    assert_eq!((&*asked.scheme, &*asked.protocol, asked.size), ("http", "HTTP/1.1", 7));
    assert_eq!((&*asked.body, &*asked.raw_body), ("content", &b""[..]));
    let told: Vec<(&str, &str)> =
        asked.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(
        told,
        [
            (":authority", "a.example"),
            (":method", "POST"),
            (":path", "/a/b?c=d"),
            (":scheme", "http"),
            ("content-length", "7"),
            ("cookie", "a=1; b=2"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "127.0.0.1"),
            ("x-two", "1,2"),
        ]
    );
}

#[tokio::test]
async fn ext_authz_is_told_no_more_headers_than_are_allowed_and_bytes_as_they_are() {
    let (echo, auth) = (Echo::start("app").await, Authorizer::grpc(|_| status(0)).await);
    let protocol = ExternalAuthProtocol::Grpc {
        request_headers: HeaderNames::Only(names(&["authorization", "x-absent"])),
    };
    let filter = ExternalAuth { protocol, max_body_bytes: 100, ..grpc() };
    let proxy = serve_guarded(&echo, &auth, filter);
    let request = with(post("/", &b"\xff\xfe"[..]), &[("authorization", "t"), ("x-secret", "1")]);
    assert_eq!(proxy.client().await.send(request).await.status, StatusCode::OK);
    let asked = checked(&auth.only_question());
    let told: Vec<(&str, &str)> =
        asked.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(told, [("authorization", "t")]);
    assert_eq!((&*asked.body, &*asked.raw_body), ("", &b"\xff\xfe"[..]));
}

/// EA-3.
#[tokio::test]
async fn ext_authz_that_consents_changes_fields_of_request_and_response() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::grpc(|_| {
        let append =
            HeaderValueOption { append: Some(Bool { value: true }), ..field("x-role", "b") };
        allowed(OkResponse {
            headers: vec![
                field("X-User", "ann"),
                append,
                field("host", "evil.example"),
                field(":path", "/evil"),
                field("content-length", "0"),
                field("x-forwarded-for", "6.6.6.6"),
            ],
            headers_to_remove: vec!["authorization".to_owned(), "Host".to_owned()],
            response_headers_to_add: vec![field("x-session", "1"), field("connection", "close")],
            ..OkResponse::default()
        })
    })
    .await;
    let proxy = serve_guarded(&echo, &auth, grpc());
    let request = with(
        post("/", "content"),
        &[("authorization", "t"), ("x-user", "root"), ("x-user", "admin"), ("x-role", "a")],
    );
    let reply = proxy.client().await.send(request).await;
    assert_eq!((reply.text(), reply.header("x-session")), ("content", Some("1")));
    assert_eq!(reply.header("connection"), None);
    let request = echo.only_request();
    assert_eq!(
        (request.headers("x-user"), request.headers("x-role")),
        (vec!["ann"], vec!["a", "b"])
    );
    assert_eq!((request.headers("host"), &*request.target), (vec!["a.example"], "/"));
    assert_eq!(
        (request.header("authorization"), request.headers("content-length")),
        (None, vec!["7"])
    );
    assert_eq!(request.headers("x-forwarded-for"), ["127.0.0.1"]);
}

/// EA-3.
#[tokio::test]
async fn ext_authz_that_denies_says_what_the_client_gets() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::grpc(|asked| match &*asked.path {
        "/plain" => status(7),
        // What it says besides speaks against its consent.
        "/both" => super::support::authorizer::CheckResponse {
            denied: Some(DeniedResponse::default()),
            ..status(0)
        },
        "/odd" => super::support::authorizer::CheckResponse {
            denied: Some(DeniedResponse {
                status: Some(Status { code: 101 }),
                ..Default::default()
            }),
            ..status(16)
        },
        _ => super::support::authorizer::CheckResponse {
            denied: Some(DeniedResponse {
                status: Some(Status { code: 401 }),
                headers: vec![field("www-authenticate", "Basic"), field("transfer-encoding", "x")],
                body: "who are you".to_owned(),
            }),
            ..status(16)
        },
    })
    .await;
    let proxy = serve_guarded(&echo, &auth, grpc());
    let mut client = proxy.client().await;
    for path in ["/plain", "/both", "/odd"] {
        let reply = client.get("a", path).await;
        assert_eq!((reply.status, reply.text()), (StatusCode::FORBIDDEN, ""), "{path}");
    }
    let reply = client.get("a", "/full").await;
    assert_eq!((reply.status, reply.text()), (StatusCode::UNAUTHORIZED, "who are you"));
    assert_eq!(reply.header("www-authenticate"), Some("Basic"));
    assert_eq!(reply.header("transfer-encoding"), None);
    assert_eq!(echo.requests().len(), 0);
}

#[tokio::test]
async fn a_denial_has_no_content_where_there_can_be_none() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::grpc(|asked| super::support::authorizer::CheckResponse {
        denied: Some(DeniedResponse {
            status: Some(Status { code: asked.path[1..].parse().expect("a status") }),
            headers: Vec::new(),
            body: "no entry".to_owned(),
        }),
        ..status(7)
    })
    .await;
    let proxy = serve_guarded(&echo, &auth, grpc());
    let mut http2 = Http2Client::connect(proxy.address).await;
    for (method, code, length, text) in [
        ("GET", 401, Some("8"), "no entry"),
        ("HEAD", 401, Some("8"), ""),
        ("GET", 204, None, ""),
        ("HEAD", 204, None, ""),
        ("GET", 304, None, ""),
    ] {
        let request = || Request::builder().method(method);
        let over_http2 = request().uri(format!("http://a/{code}")).body(Body::default());
        let over_http2 = http2.send(over_http2.expect("a request")).await;
        let over_http1 = request().uri(format!("/{code}")).header("host", "a");
        let over_http1 = over_http1.body(Body::default()).expect("a request");
        let over_http1 = proxy.client().await.send(over_http1).await;
        for (version, reply) in [(2, over_http2), (1, over_http1)] {
            let what = format!("{method} {code} over HTTP/{version}");
            assert_eq!((reply.status.as_u16(), reply.text()), (code, text), "{what}");
            assert_eq!(reply.header("content-length"), length, "{what}");
        }
    }
}

#[tokio::test]
async fn ext_authz_that_denies_may_say_a_field_more_than_once() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::grpc(|_| super::support::authorizer::CheckResponse {
        denied: Some(DeniedResponse {
            status: Some(Status { code: 302 }),
            headers: vec![
                field("set-cookie", "a=1"),
                field("location", "https://login.example/"),
                HeaderValueOption {
                    append: Some(Bool { value: false }),
                    ..field("set-cookie", "b=2")
                },
                HeaderValueOption { append_action: 2, ..field("set-cookie", "c=3") },
            ],
            body: String::new(),
        }),
        ..status(16)
    })
    .await;
    let reply = serve_guarded(&echo, &auth, grpc()).get("a", "/").await;
    assert_eq!(reply.status, StatusCode::FOUND);
    assert_eq!(reply.headers("set-cookie"), ["a=1", "b=2", "c=3"]);
    assert_eq!(reply.headers("location"), ["https://login.example/"]);
}

#[tokio::test]
async fn ext_authz_that_consents_adds_to_what_the_backend_says() {
    let app = Scripted::answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nset-cookie: cart=1\r\nx-over: app\r\n\
          x-off: app\r\nx-absent: app\r\n\r\n",
    )
    .await;
    let auth = Authorizer::grpc(|_| {
        let never =
            HeaderValueOption { append: Some(Bool { value: false }), ..field("x-off", "auth") };
        allowed(OkResponse {
            response_headers_to_add: vec![
                field("set-cookie", "session=2"),
                field("set-cookie", "seen=3"),
                never,
                HeaderValueOption { append_action: 1, ..field("x-absent", "auth") },
                HeaderValueOption { append_action: 2, ..field("x-over", "auth") },
            ],
            ..OkResponse::default()
        })
    })
    .await;
    let filters = [HttpFilter::ExternalAuth(grpc())];
    let proxy =
        serve(|port| guarded(port, app.address, auth.address, BackendProtocol::H2c, &filters));
    let reply = proxy.get("a", "/").await;
    assert_eq!(reply.headers("set-cookie"), ["cart=1", "session=2", "seen=3"]);
    assert_eq!(reply.headers("x-off"), ["auth"]);
    assert_eq!(reply.headers("x-absent"), ["app"]);
    assert_eq!(reply.headers("x-over"), ["auth"]);
}

#[tokio::test]
async fn what_is_no_answer_of_ext_authz_is_no_consent() {
    let echo = Echo::start("app").await;
    let unable = Authorizer::grpc(|_| {
        allowed(OkResponse {
            query_parameters_to_remove: vec!["token".to_owned()],
            ..OkResponse::default()
        })
    })
    .await;
    let malformed = Authorizer::grpc(|_| {
        allowed(OkResponse { headers: vec![field("x-user", "a\r\nb")], ..OkResponse::default() })
    })
    .await;
    let services = [
        // Nothing at all, which some would read as a status of 0.
        Authorizer::grpc_answering(b"", "0").await,
        Authorizer::grpc_answering(b"\x0a\x00", "14").await,
        Authorizer::grpc_answering(b"\xff\xff\xff", "0").await,
        unable,
        malformed,
        // The status is that of HTTP; the call is none.
        Authorizer::h2c(|_| answer(200, &[])).await,
        Authorizer::h2c(|_| {
            answer(200, &[("content-type", "application/grpc"), ("grpc-status", "0")])
        })
        .await,
    ];
    for (number, auth) in services.iter().enumerate() {
        let proxy = serve_guarded(&echo, auth, grpc());
        let reply = proxy.get("a", "/").await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{number}");
    }
    assert_eq!(echo.requests().len(), 0);
    // A status of 0 that is there is all that it takes.
    let auth = Authorizer::grpc_answering(b"\x0a\x00", "0").await;
    assert_eq!(serve_guarded(&echo, &auth, grpc()).get("a", "/").await.endpoint(), "app");
}

#[tokio::test]
async fn a_call_that_is_denied_gets_a_status_of_grpc() {
    let (echo, auth) = (
        Echo::h2c("app").await,
        Authorizer::http(|question| {
            let status = question.target[1..].parse().expect("a status");
            answer(status, &[("x-why", "because")]).map(|_| "some html".into())
        })
        .await,
    );
    let proxy = serve_guarded(&echo, &auth, http(&[], &[]));
    let mut client = Http2Client::connect(proxy.address).await;
    for (path, code) in
        [("/401", "16"), ("/403", "7"), ("/404", "12"), ("/302", "2"), ("/503", "14")]
    {
        let request =
            Request::post(format!("http://a{path}")).header("content-type", "application/grpc");
        let reply = client.send(request.body(Body::default()).expect("a call")).await;
        assert_eq!(
            (reply.status, reply.header("grpc-status")),
            (StatusCode::OK, Some(code)),
            "{path}"
        );
        assert_eq!((reply.header("x-why"), reply.text()), (Some("because"), ""));
    }
}

#[tokio::test]
async fn what_came_of_it_is_counted() {
    let echo = Echo::start("app").await;
    let auth =
        Authorizer::http(|question| answer(if question.target == "/in" { 200 } else { 403 }, &[]))
            .await;
    let filter = http(&[], &[]);
    let proxy = serve_with_metrics(|port| asks(port, &echo, auth.address, &filter));
    for path in ["/in", "/out", "/in"] {
        proxy.get("a", path).await;
    }
    for (outcome, count) in [("allowed", 2), ("denied", 1)] {
        let line = format!(
            "gwapi_authorizations_total{{backend=\"default/auth:80\",outcome=\"{outcome}\"}} {count}"
        );
        proxy.until_metric(&line).await;
    }
}
