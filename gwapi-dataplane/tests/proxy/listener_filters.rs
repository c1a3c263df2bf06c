//! Filters of listeners, which run before routes are matched (LF-2 to LF-7).

use gwapi_dataplane::Limits;
use gwapi_translate::ir::{
    BackendKey, BackendTarget, ExternalAuth, ExternalAuthProtocol, HeaderMatch, HeaderNames,
    HttpFilter, HttpMatch, HttpRule, IrResource, Listener, ListenerFilter, ValueMatch,
};
use http::{Request, StatusCode};

use super::support::authorizer::{Authorizer, OkResponse, allowed, answer, checked, field, status};
use super::support::client::{Body, get};
use super::support::clock::{SHORT, pass, with_clock};
use super::support::upstream::Held;
use super::support::*;

fn to_service(name: &str, protocol: ExternalAuthProtocol) -> ExternalAuth {
    let target = BackendTarget::Backend(BackendKey::service("default", name, 80));
    ExternalAuth { target, protocol, max_body_bytes: 0 }
}

fn http(name: &str) -> ExternalAuth {
    let protocol = ExternalAuthProtocol::Http {
        path_prefix: String::new(),
        request_headers: vec!["x-forwarded-for".to_owned(), "x-tenant".to_owned()],
        response_headers: HeaderNames::Only(vec!["x-tenant".to_owned()]),
    };
    to_service(name, protocol)
}

fn grpc(name: &str) -> ExternalAuth {
    to_service(name, ExternalAuthProtocol::Grpc { request_headers: HeaderNames::All })
}

/// A listener with these filters, and a rule for requests of the tenant `red` alone.
fn red_only(port: u16, app: &Echo, filters: &[ListenerFilter]) -> Vec<IrResource> {
    let header = HeaderMatch { name: "x-tenant".into(), value: ValueMatch::Exact("red".into()) };
    let matches = vec![HttpMatch { headers: vec![header], ..HttpMatch::default() }];
    let mut resources = backend("app", &[app.address]);
    let filters = filters.to_vec();
    resources.push(ir_listener(Listener { filters, ..listener("web", port) }));
    resources.push(ir(HttpRule { matches, backends: to("app"), ..rule("app") }));
    resources
}

fn ask(auth: ExternalAuth) -> ListenerFilter {
    ListenerFilter::ExternalAuth(auth)
}

#[tokio::test]
async fn routes_are_matched_by_what_filters_have_made_of_a_request() {
    let echo = Echo::start("app").await;
    let auth = Authorizer::http(|question| match &*question.target {
        "/red" => answer(200, &[("x-tenant", "red")]),
        "/blue" => answer(200, &[("x-tenant", "blue")]),
        _ => answer(401, &[("www-authenticate", "Basic")]),
    })
    .await;
    let proxy = serve(|port| {
        let mut resources = red_only(port, &echo, &[ask(http("auth"))]);
        resources.extend(backend("auth", &[auth.address]));
        resources
    });
    let mut client = proxy.client().await;
    let claiming = |path: &str| {
        let request = Request::post(path).header("host", "a").header("x-tenant", "red");
        request.body(Body::from("content")).expect("a request")
    };
    let reply = client.send(claiming("/red")).await;
    assert_eq!((reply.endpoint(), reply.text()), ("app", "content"));
    // LF-4: whether a route will match or not, and once.
    assert_eq!(client.send(claiming("/blue")).await.status, StatusCode::NOT_FOUND);
    let mut client = proxy.client().await;
    let reply = client.send(claiming("/nobody")).await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, Some("Basic"))
    );
    let questions = auth.questions();
    assert_eq!(questions.len(), 3);
    assert_eq!(questions[0].headers("x-forwarded-for"), ["127.0.0.1"]);
    let request = echo.only_request();
    assert_eq!(
        (request.headers("x-tenant"), request.headers("x-forwarded-for")),
        (vec!["red"], vec!["127.0.0.1"])
    );
}

/// LF-3, LF-5.
#[tokio::test]
async fn filters_run_in_their_order_and_each_sees_what_the_one_before_has_done() {
    let echo = Echo::start("app").await;
    let first = Authorizer::grpc(|asked| match &*asked.path {
        "/first" => status(7),
        _ => allowed(OkResponse {
            headers: vec![field("x-tenant", "green"), field("host", "evil.example")],
            response_headers_to_add: vec![field("x-first", "1")],
            ..OkResponse::default()
        }),
    })
    .await;
    let second = Authorizer::http(|question| {
        assert_eq!(question.header("x-tenant"), Some("green"));
        assert_eq!(question.header("host"), Some("a.example"));
        answer(if question.target == "/second" { 402 } else { 200 }, &[("x-tenant", "red")])
    })
    .await;
    // On a route it is asked once more, independently (LF-4).
    let proxy = serve(|port| {
        let filters = [ask(grpc("first")), ask(http("second"))];
        let mut resources = red_only(port, &echo, &filters);
        resources.retain(|it| !matches!(it, IrResource::HttpRule(_)));
        let filters = vec![HttpFilter::ExternalAuth(grpc("first"))];
        resources.push(ir(HttpRule { filters, backends: to("app"), ..rule("app") }));
        resources.extend(backend("second", &[second.address]));
        let h2c = gwapi_translate::ir::BackendProtocol::H2c;
        resources.extend(backend_speaking(h2c, "first", &[first.address]));
        resources
    });
    let mut client = proxy.client().await;
    // LF-6.
    assert_eq!(client.get("a.example", "/first").await.status, StatusCode::FORBIDDEN);
    assert_eq!((first.questions().len(), second.questions().len()), (1, 0));
    assert_eq!(client.get("a.example", "/second").await.status.as_u16(), 402);
    assert_eq!((first.questions().len(), second.questions().len()), (2, 1));
    let reply = client.get("a.example", "/").await;
    assert_eq!((reply.endpoint(), reply.header("x-first")), ("app", Some("1")));
    let questions = first.questions();
    assert_eq!((questions.len(), second.questions().len()), (4, 2));
    assert_eq!(checked(&questions[3]).headers["x-tenant"], "red");
    let request = echo.only_request();
    assert_eq!(
        (request.header("x-tenant"), request.header("host")),
        (Some("green"), Some("a.example"))
    );
}

/// LF-2, LF-7.
#[tokio::test]
async fn nothing_passes_a_filter_that_cannot_be_had_or_asked() {
    let echo = Echo::start("app").await;
    let invalid =
        ExternalAuth { target: BackendTarget::Invalid("no grant".to_owned()), ..http("auth") };
    for filter in
        [ListenerFilter::Refuse("no such filter".to_owned()), ask(invalid), ask(http("none"))]
    {
        let filters = [filter];
        let proxy = serve(|port| red_only(port, &echo, &filters));
        let mut request = get("a", "/");
        request.headers_mut().insert("x-tenant", "red".parse().expect("a value"));
        assert_eq!(proxy.client().await.send(request).await.status.as_u16(), 500);
        // Where no route would match as well.
        assert_eq!(proxy.get("a", "/").await.status.as_u16(), 500);
    }
    assert_eq!(echo.requests().len(), 0);
}

#[tokio::test]
async fn a_filter_that_is_added_holds_for_the_next_request_of_a_connection() {
    let echo = Echo::start("app").await;
    let mut proxy = serve(|port| simple(port, echo.address));
    let mut client = proxy.client().await;
    assert_eq!(client.get("a", "/").await.endpoint(), "app");
    let mut resources = simple(proxy.address.port(), echo.address);
    resources.retain(|it| !matches!(it, IrResource::Listener(_)));
    let filters = vec![ListenerFilter::Refuse("no such filter".to_owned())];
    resources.push(ir_listener(Listener { filters, ..listener("web", proxy.address.port()) }));
    proxy.set(resources);
    assert_eq!(client.get("a", "/").await.status.as_u16(), 500);
}

/// `Connection` names fields of the client's own: not what a service says, nor what routes are matched by.
#[tokio::test]
async fn a_client_neither_takes_back_what_a_service_says_nor_hides_a_field_from_it() {
    let echo = Echo::start("app").await;
    let says_red = Authorizer::http(|_| answer(200, &[("x-tenant", "red")])).await;
    let denies_red = Authorizer::http(|question| match question.headers("x-tenant")[..] {
        ["red"] => answer(403, &[]),
        _ => answer(200, &[]),
    })
    .await;
    let silent = ExternalAuthProtocol::Http {
        path_prefix: String::new(),
        request_headers: vec!["x-tenant".to_owned()],
        response_headers: HeaderNames::Only(Vec::new()),
    };
    let hidden = Request::get("/").header("host", "a").header("connection", "close, X-Tenant");
    let hidden = hidden.header("x-tenant", "red").body(Body::default()).expect("a request");
    for (auth, filter, status) in [
        (&says_red, http("auth"), StatusCode::OK),
        (&denies_red, to_service("auth", silent), StatusCode::NOT_FOUND),
    ] {
        let proxy = serve(|port| {
            let mut resources = red_only(port, &echo, &[ask(filter.clone())]);
            resources.extend(backend("auth", &[auth.address]));
            resources
        });
        let reply = proxy.client().await.send(hidden.clone()).await;
        assert_eq!(reply.status, status);
    }
    assert_eq!(echo.only_request().headers("x-tenant"), ["red"]);
}

#[tokio::test]
async fn a_request_goes_by_what_is_served_when_a_service_has_consented() {
    let (before, after) = (Echo::start("before").await, Echo::start("after").await);
    let auth = Held::start().await;
    let resources = |port, app: &Echo, filters: Vec<ListenerFilter>| {
        let mut resources = backend("app", &[app.address]);
        resources.extend(backend("auth", &[auth.address()]));
        resources.push(ir_listener(Listener { filters, ..listener("web", port) }));
        resources.push(ir(HttpRule { backends: to("app"), ..rule("app") }));
        resources
    };
    let mut proxy = serve(|port| resources(port, &before, vec![ask(http("auth"))]));
    let port = proxy.address.port();
    // The listener stays as it is, and then it asks somebody who is not there.
    for (filter, endpoint) in [(http("auth"), Some("after")), (grpc("none"), None)] {
        let mut client = proxy.client().await;
        let reply = tokio::spawn(async move { client.get("a", "/").await });
        auth.asked().await;
        proxy.set(resources(port, &after, vec![ask(filter)]));
        auth.go();
        let reply = within(reply).await.expect("no panic");
        match endpoint {
            Some(endpoint) => assert_eq!(reply.endpoint(), endpoint),
            None => assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
    assert!(before.requests().is_empty());
}

#[tokio::test]
async fn the_time_that_a_service_takes_is_not_the_endpoints() {
    let (echo, silent, auth) =
        (Echo::start("app").await, Scripted::silent().await, Held::start().await);
    // At the proxy itself the clock would have to ask as well.
    let clock = serve(|port| with_clock(simple(port, echo.address), &silent));
    let limits = Limits { response_head_timeout: SHORT * 10, ..Limits::default() };
    let proxy = serve_with(limits, |port| {
        let filters = vec![ask(http("auth"))];
        let mut resources = backend("app", &[echo.address]);
        resources.extend(backend("auth", &[auth.address()]));
        resources.push(ir_listener(Listener { filters, ..listener("web", port) }));
        resources.push(ir(HttpRule { backends: to("app"), ..rule("app") }));
        resources
    });
    let mut client = proxy.client().await;
    let reply = tokio::spawn(async move { client.get("a", "/").await });
    auth.asked().await;
    for _ in 0..11 {
        pass(&clock).await;
    }
    auth.go();
    assert_eq!(within(reply).await.expect("no panic").endpoint(), "app");
}
