//! Copies of requests, as clients, endpoints and mirrors see them (HF-7).

use std::net::{IpAddr, SocketAddr};

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_translate::ir::{BackendKey, BackendProtocol, HttpFilter, Mirror};
use http::{Request, StatusCode};

use super::support::client::Body;
use super::support::upstream::refusing;
use super::support::*;

fn share_to(name: &str, numerator: u32, denominator: u32) -> HttpFilter {
    let backend = BackendKey::service("default", name, 80);
    HttpFilter::Mirror(Mirror { backend, numerator, denominator })
}

fn mirror_to(name: &str) -> HttpFilter {
    share_to(name, 1, 1)
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("host", "a").header("x-kind", "test");
    request.body(body.into()).expect("a request")
}

#[tokio::test]
async fn a_copy_is_the_request_as_its_backend_gets_it() {
    let (echo, mirror) = (Echo::start("echo").await, Echo::start("mirror").await);
    let proxy = serve(|port| {
        let mut resources = simple_with(port, echo.address, |rule| {
            let set = request_headers(changes(&[("x-set", "by-rule")], &[], &[]));
            rule.filters = vec![set, mirror_to("mirror")];
            rule.backends[0].filters =
                vec![request_headers(changes(&[("x-own", "of-backend")], &[], &[]))];
        });
        resources.extend(backend("mirror", &[mirror.address]));
        resources
    });
    let reply = proxy.client().await.send(post("/a?b", "content")).await;
    assert_eq!((reply.status, reply.endpoint()), (StatusCode::OK, "echo"));
    let copy = mirror.until_requests(1).await.remove(0);
    let original = echo.only_request();
    assert_eq!((&*copy.method, &*copy.target), ("POST", "/a?b"));
    assert_eq!(copy.body, "content");
    for name in ["host", "x-kind", "x-set", "content-length", "x-forwarded-for"] {
        assert_eq!(copy.headers(name), original.headers(name), "{name}");
    }
    // What is done for one backend is done for it alone.
    assert_eq!((original.header("x-own"), copy.header("x-own")), (Some("of-backend"), None));
}

#[tokio::test]
async fn every_mirror_gets_its_share() {
    let echo = Echo::start("echo").await;
    let (all, some) = (Echo::start("all").await, Echo::h2c("some").await);
    let proxy = serve(|port| {
        let mut resources = simple_with(port, echo.address, |rule| {
            rule.filters = vec![mirror_to("all"), share_to("some", 1, 4), mirror_to("none")];
        });
        resources.extend(backend("all", &[all.address]));
        resources.extend(backend_speaking(BackendProtocol::H2c, "some", &[some.address]));
        resources
    });
    let mut client = proxy.client().await;
    for _ in 0..40 {
        assert_eq!(client.get("a", "/").await.endpoint(), "echo");
    }
    assert_eq!(all.until_requests(40).await.len(), 40);
    assert_eq!(some.until_requests(10).await.len(), 10);
}

#[tokio::test]
async fn a_mirror_in_trouble_is_none_of_the_clients() {
    let echo = Echo::start("echo").await;
    let (silent, (_deaf, refusing)) = (Scripted::silent().await, refusing());
    let proxy = serve(|port| {
        let mut resources = simple_with(port, echo.address, |rule| {
            rule.filters = vec![mirror_to("silent"), mirror_to("refusing")];
        });
        resources.extend(backend("silent", &[silent.address]));
        resources.extend(backend("refusing", &[refusing]));
        resources
    });
    // More than a copy may be behind, and than a socket takes that nobody reads from.
    let large = vec![b'x'; 16 * 1024 * 1024];
    let mut client = proxy.client().await;
    for _ in 0..2 {
        let reply = client.send(post("/", large.clone())).await;
        assert_eq!((reply.status, reply.text().len()), (StatusCode::OK, large.len()));
    }
}

#[tokio::test]
async fn a_long_body_is_copied_whole() {
    let (echo, mirror) = (Echo::start("echo").await, Echo::start("mirror").await);
    let proxy = serve(|port| {
        let mut resources = simple_with(port, echo.address, |rule| {
            rule.filters = vec![mirror_to("mirror")];
        });
        resources.extend(backend("mirror", &[mirror.address]));
        resources
    });
    // It is read faster than the mirror is connected to, and as long as a copy may be behind.
    let long: Vec<u8> = (0..1024 * 1024u32).map(|number| (number % 251) as u8).collect();
    proxy.client().await.send(post("/", long.clone())).await;
    assert_eq!(mirror.until_requests(1).await[0].body, long);
}

#[tokio::test]
async fn a_copy_that_is_too_far_behind_is_given_up_and_counted() {
    let (echo, mirror) = (Echo::start("echo").await, Echo::start("mirror").await);
    let limits = Limits { max_mirror_behind_bytes: 1000, ..Limits::default() };
    let local = IpAddr::from([127, 0, 0, 1]);
    let builder = ProxyBuilder::new().limits(limits).admin(SocketAddr::new(local, 0));
    let proxy = serve_built(local, &builder, |port| {
        let mut resources = simple_with(port, echo.address, |rule| {
            rule.filters = vec![mirror_to("mirror")];
        });
        resources.extend(backend("mirror", &[mirror.address]));
        resources
    });
    let response = proxy.client().await.send(post("/", vec![7; 100_000])).await;
    assert_eq!(response.status, StatusCode::OK);
    let counted =
        "gwapi_mirror_failures_total{backend=\"default/mirror:80\",reason=\"incomplete\"} 1";
    proxy.until_metric(counted).await;
}
