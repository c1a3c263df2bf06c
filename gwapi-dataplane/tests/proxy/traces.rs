//! Traces of requests, as clients, endpoints and collectors see them (X-6, X-7).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gwapi_dataplane::ProxyBuilder;
use gwapi_translate::ir::{
    AttributeSource, BackendProtocol, BackendTarget, ExportHeader, ExternalAuth,
    ExternalAuthProtocol, HeaderNames, IrResource, KnownAttribute, Listener, ListenerFilter,
    SamplingRate, SpanAttribute, Tracing,
};
use http::{Request, StatusCode};

use super::backend_tls::{asks, inside};
use super::support::authority::Authority;
use super::support::client::Body;
use super::support::collector::{Collector, Span, Verdict};
use super::support::upstream::{Held, refusing};
use super::support::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn tracing() -> Tracing {
    Tracing {
        collector: key("collector"),
        headers: Vec::new(),
        sampling: SamplingRate::ALL,
        parent_based: None,
        service_name: "shop".into(),
        span_name: None,
        attributes: Vec::new(),
    }
}

const NONE: SamplingRate = SamplingRate { numerator: 0, denominator: 1 };

/// A Gateway that leads to an endpoint, and has its requests traced.
fn traced(port: u16, app: SocketAddr, collector: SocketAddr, tracing: &Tracing) -> Vec<IrResource> {
    let mut resources = simple(port, app);
    resources.extend(backend_speaking(BackendProtocol::H2c, "collector", &[collector]));
    resources.push(IrResource::Tracing(Arc::new(tracing.clone())));
    resources
}

fn serve_traced(app: SocketAddr, collector: SocketAddr, tracing: &Tracing) -> Proxy {
    let local = IpAddr::from([127, 0, 0, 1]);
    let builder = ProxyBuilder::new().admin(SocketAddr::new(local, 0));
    serve_on_cores(1, local, &builder, |port| traced(port, app, collector, tracing))
}

fn with_parent(flags: &str) -> Request<Body> {
    let request = Request::get("/").header("host", "a");
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-{flags}"));
    request.header("tracestate", "vendor=1").body(Body::default()).expect("a request")
}

/// The parts of the `traceparent` that an endpoint got.
fn parts(request: &super::support::upstream::Recorded) -> Vec<&str> {
    request.header("traceparent").expect("there is one").split('-').collect()
}

async fn only_span(collector: &Collector) -> Span {
    let mut spans = collector.until_spans(1).await;
    assert_eq!(spans.len(), 1, "{spans:?}");
    spans.remove(0)
}

#[tokio::test]
async fn a_new_trace_has_a_span_of_the_server_and_goes_on_to_the_endpoint() {
    let (app, collector) = (Echo::start("app").await, Collector::start().await);
    let proxy = serve_traced(app.address, collector.address, &tracing());
    let request = Request::get("/cart?item=1&sig=secret").header("host", "shop.example:8080");
    let request = request.header("user-agent", "test/1").header("tracestate", "lost=1");
    let mut client = proxy.client().await;
    client.send(request.body(Body::default()).expect("a request")).await;

    let span = only_span(&collector).await;
    let forwarded = app.only_request();
    assert_eq!(parts(&forwarded), ["00", &*span.trace_id, &*span.span_id, "01"]);
    assert_eq!(forwarded.header("tracestate"), None, "nobody's parent has a state");
    assert_eq!((&*span.name, span.kind, &*span.service), ("GET", 2, "shop"));
    assert_eq!((&*span.parent, span.status, span.flags), ("", 0, 0x101));
    assert!(span.nanos > 0);
    let port = proxy.address.port().to_string();
    for (key, value) in [
        ("http.request.method", Some("GET")),
        ("http.request.method_original", None),
        ("http.response.status_code", Some("200")),
        ("error.type", None),
        ("url.scheme", Some("http")),
        ("url.path", Some("/cart")),
        ("url.query", Some("item=1&sig=REDACTED")),
        ("server.address", Some("shop.example")),
        ("server.port", Some("8080")),
        ("client.address", Some("127.0.0.1")),
        ("network.peer.address", Some("127.0.0.1")),
        ("network.protocol.version", Some("1.1")),
        ("user_agent.original", Some("test/1")),
        ("gwapi.gateway", Some("default/web")),
        ("gwapi.backend", Some("default/app:80")),
    ] {
        assert_eq!(span.get(key), value, "{key}");
    }
    assert_ne!(span.get("client.port"), Some(&*port));
    assert_eq!(span.get("client.port"), span.get("network.peer.port"));
    assert!(span.get("client.port").is_some());
    proxy.until_metric(r#"gwapi_exported_spans_total{gateway="default/web"} 1"#).await;
}

#[tokio::test]
async fn a_caller_is_followed_as_far_as_the_policy_says() {
    let believed = |share| Tracing { sampling: NONE, parent_based: Some(share), ..tracing() };
    let asked_alone = Tracing { sampling: NONE, ..tracing() };
    for (tracing, flags, sampled) in [
        (believed(SamplingRate::ALL), "01", true),
        (believed(SamplingRate::ALL), "00", false),
        (believed(NONE), "01", false),
        (tracing(), "00", true),
        (asked_alone, "01", false),
    ] {
        let (app, collector) = (Echo::start("app").await, Collector::start().await);
        let proxy = serve_traced(app.address, collector.address, &tracing);
        proxy.client().await.send(with_parent(flags)).await;
        let forwarded = app.only_request();
        let told = parts(&forwarded);
        let flag = if sampled { "01" } else { "00" };
        assert_eq!((told[1], told[3]), (TRACE, flag), "{tracing:?}");
        assert_ne!(told[2], CALLER, "the parent is this hop");
        assert_eq!(forwarded.header("tracestate"), Some("vendor=1"));
        if sampled {
            let span = only_span(&collector).await;
            assert_eq!((&*span.trace_id, &*span.parent), (TRACE, CALLER));
            assert_eq!((&*span.span_id, &*span.state), (told[2], "vendor=1"));
            assert_eq!(span.flags, 0x301);
        } else {
            // What there is goes out before the proxy ends.
            proxy.drain().await.expect("it drains");
            assert!(collector.heads().is_empty(), "{tracing:?}");
        }
    }
}

#[tokio::test]
async fn a_gateway_that_nobody_traces_passes_on_what_it_gets() {
    let app = Echo::start("app").await;
    let proxy = serve(|port| simple(port, app.address));
    proxy.client().await.send(with_parent("01")).await;
    assert_eq!(parts(&app.only_request()), ["00", TRACE, CALLER, "01"]);
}

#[tokio::test]
async fn attributes_are_those_of_the_policy() {
    let (app, collector) = (Echo::start("app").await, Collector::start().await);
    let attribute = |name: &str, source| SpanAttribute { name: name.into(), source };
    let header = |name: &str| AttributeSource::Header(name.into());
    let tracing = Tracing {
        span_name: Some("ingress".into()),
        attributes: vec![
            attribute("user", header("x-user")),
            attribute("answered.by", header("x-endpoint")),
            attribute("missing", header("x-missing")),
            attribute("not.of.request", AttributeSource::RequestHeader("x-endpoint".into())),
            attribute("env", AttributeSource::Literal("test".into())),
            attribute("url.path", AttributeSource::Literal("hidden".into())),
            attribute("url", AttributeSource::Known(KnownAttribute::UrlFull)),
            attribute("transport", AttributeSource::Known(KnownAttribute::Transport)),
            attribute("original", AttributeSource::Known(KnownAttribute::RequestMethodOriginal)),
        ],
        headers: vec![ExportHeader { name: "authorization".into(), value: "Bearer 1".into() }],
        ..tracing()
    };
    let proxy = serve_traced(app.address, collector.address, &tracing);
    let request = Request::builder().method("BREW").uri("/pot?a").header("host", "a");
    let request = request.header("x-user", "me").body(Body::default()).expect("a request");
    let reply = proxy.client().await.send(request).await;
    let span = only_span(&collector).await;
    for (key, value) in [
        ("user", Some("me")),
        ("answered.by", reply.header("x-endpoint")),
        ("missing", None),
        ("not.of.request", None),
        ("env", Some("test")),
        ("url.path", Some("hidden")),
        ("url", Some("http://a/pot?a")),
        ("transport", Some("tcp")),
        ("original", Some("BREW")),
        ("http.request.method", Some("_OTHER")),
    ] {
        assert_eq!(span.get(key), value, "{key}");
    }
    assert_eq!(span.name, "ingress");
    let head = collector.heads().remove(0);
    assert_eq!(head["authorization"], "Bearer 1");
    assert_eq!(head["content-type"], "application/grpc");
}

#[tokio::test]
async fn what_fails_is_told_as_an_error_of_its_kind() {
    let ((_deaf, refusing), collector) = (refusing(), Collector::start().await);
    let proxy = serve_traced(refusing, collector.address, &tracing());
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let span = only_span(&collector).await;
    assert_eq!(span.status, 2);
    assert_eq!(span.get("http.response.status_code"), Some("503"));
    assert_eq!(span.get("error.type"), Some("connect_failed"));
}

#[tokio::test]
async fn a_collector_in_trouble_is_asked_again_and_what_it_refuses_is_counted() {
    let (app, collector) = (Echo::start("app").await, Collector::start().await);
    // UNAVAILABLE and a status of a proxy in between pass; INVALID_ARGUMENT does not.
    let verdicts = [Verdict::Fails(14), Verdict::Http(503), Verdict::Rejects(1), Verdict::Fails(3)];
    collector.will(&verdicts);
    let proxy = serve_traced(app.address, collector.address, &tracing());
    proxy.get("a", "/").await;
    proxy.until_metric(&dropped("refused", 1)).await;
    assert_eq!(collector.heads().len(), 3, "twice it did not work");
    proxy.get("a", "/").await;
    proxy.until_metric(&dropped("export", 1)).await;
    assert_eq!(collector.heads().len(), 4, "there is no use in asking again");
    proxy.get("a", "/").await;
    proxy.until_metric(r#"gwapi_exported_spans_total{gateway="default/web"} 1"#).await;
}

#[tokio::test]
async fn a_collector_in_trouble_is_left_for_one_that_works() {
    for trouble in [Verdict::Fails(14), Verdict::Http(503)] {
        let app = Echo::start("app").await;
        let mut collectors = [Collector::start().await, Collector::start().await];
        // They take turns in this order.
        collectors.sort_by_key(|collector| collector.address);
        let [troubled, well] = &collectors;
        troubled.will(&[trouble; 2]);
        let proxy = serve_with_metrics(|port| {
            let addresses = [troubled.address, well.address];
            let mut resources = simple(port, app.address);
            resources.extend(backend_speaking(BackendProtocol::H2c, "collector", &addresses));
            resources.push(IrResource::Tracing(Arc::new(tracing())));
            resources
        });
        proxy.get("a", "/").await;
        proxy.until_metric(r#"gwapi_exported_spans_total{gateway="default/web"} 1"#).await;
        assert_eq!((troubled.heads().len(), well.heads().len()), (1, 1), "{trouble:?}");
    }
}

fn dropped(reason: &str, count: u32) -> String {
    format!(r#"gwapi_dropped_spans_total{{gateway="default/web",reason="{reason}"}} {count}"#)
}

#[tokio::test]
async fn a_collector_proves_who_it_is_where_its_service_has_a_policy() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let app = Echo::start("app").await;
    let collector = Collector::tls(&authority.server_for("collector.example")).await;
    let serve = |trusted: &Authority| {
        serve(|port| {
            let mut resources = traced(port, app.address, collector.address, &tracing());
            let addresses = [collector.address];
            let speaking = backend_speaking(BackendProtocol::H2c, "collector", &addresses);
            resources.extend(inside(asks("collector.example", trusted), speaking));
            resources
        })
    };
    let proxy = serve(&stranger);
    proxy.get("a", "/").await;
    proxy.drain().await.expect("it drains");
    assert!(collector.heads().is_empty(), "nobody whom it trusts vouches for the collector");
    let proxy = serve(&authority);
    proxy.get("a", "/").await;
    assert_eq!(only_span(&collector).await.service, "shop");
}

#[tokio::test]
async fn many_spans_go_in_few_calls_and_the_last_ones_before_the_proxy_ends() {
    let (app, collector) = (Echo::start("app").await, Collector::start().await);
    let proxy = serve_traced(app.address, collector.address, &tracing());
    let mut client = proxy.client().await;
    for _ in 0..100 {
        client.get("a", "/").await;
    }
    drop(client);
    proxy.drain().await.expect("it drains");
    assert_eq!(collector.until_spans(100).await.len(), 100);
    assert!(collector.heads().len() < 50, "{}", collector.heads().len());
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_no_request_and_no_end() {
    let (app, collector) = (Echo::start("app").await, Collector::start().await);
    collector.will(&[Verdict::Hangs; 100]);
    let proxy = serve_traced(app.address, collector.address, &tracing());
    let mut client = proxy.client().await;
    for _ in 0..50 {
        assert_eq!(client.get("a", "/").await.status, StatusCode::OK);
    }
    drop(client);
    within(proxy.drain()).await.expect("it drains");
}

#[tokio::test]
async fn edits_change_what_is_traced_from_the_next_request_on() {
    let (app, collector) = (Echo::start("app").await, Collector::start().await);
    let mut proxy = serve_traced(app.address, collector.address, &tracing());
    let port = proxy.address.port();
    let mut client = proxy.client().await;
    client.get("a", "/").await;
    let renamed = Tracing { service_name: "store".into(), ..tracing() };
    proxy.set(traced(port, app.address, collector.address, &renamed));
    client.get("a", "/").await;
    proxy.set(simple(port, app.address));
    client.get("a", "/").await;
    let spans = collector.until_spans(2).await;
    let mut services: Vec<_> = spans.iter().map(|span| &*span.service).collect();
    services.sort_unstable();
    assert_eq!(services, ["shop", "store"]);
    let last = app.requests().pop().expect("there were three");
    assert_eq!(last.header("traceparent"), None);
}

/// A Gateway of which a policy begins to hold while a request waits for its listener's service.
#[tokio::test]
async fn an_endpoint_learns_of_a_span_that_begins_late() {
    let (app, collector, auth) =
        (Echo::start("app").await, Collector::start().await, Held::start().await);
    let protocol = ExternalAuthProtocol::Http {
        path_prefix: String::new(),
        request_headers: Vec::new(),
        response_headers: HeaderNames::Only(Vec::new()),
    };
    let target = BackendTarget::Backend(key("auth"));
    let filter = ListenerFilter::ExternalAuth(ExternalAuth { target, protocol, max_body_bytes: 0 });
    let asking = |port, mut resources: Vec<IrResource>| {
        resources.retain(|it| !matches!(it, IrResource::Listener(_)));
        resources.extend(backend("auth", &[auth.address()]));
        let filters = vec![filter.clone()];
        resources.push(ir_listener(Listener { filters, ..listener("web", port) }));
        resources
    };
    let mut proxy = serve(|port| asking(port, simple(port, app.address)));
    let port = proxy.address.port();
    let mut client = proxy.client().await;
    let reply = tokio::spawn(async move { client.send(with_parent("01")).await });
    auth.asked().await;
    proxy.set(asking(port, traced(port, app.address, collector.address, &tracing())));
    auth.go();
    assert_eq!(within(reply).await.expect("no panic").endpoint(), "app");
    let span = only_span(&collector).await;
    assert_eq!((&*span.trace_id, &*span.parent), (TRACE, CALLER));
    assert_eq!(parts(&app.only_request()), ["00", TRACE, &*span.span_id, "01"]);
}
