//! Who a client is, and what a request may say about it.

use std::net::{IpAddr, Ipv4Addr};

use gwapi_dataplane::{ProxyBuilder, TrustedProxies, UnderscoreHeaders};
use gwapi_translate::ir::{HeaderMatch, HttpMatch, IrResource, ValueMatch};

use super::support::*;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn trusting(proxies: TrustedProxies, echo: &Echo) -> Proxy {
    let builder = ProxyBuilder::new().trusted_proxies(proxies);
    serve_built(LOCALHOST, &builder, |port| simple(port, echo.address))
}

fn with_underscores(
    policy: UnderscoreHeaders,
    resources: impl Fn(u16) -> Vec<IrResource>,
) -> Proxy {
    serve_built(LOCALHOST, &ProxyBuilder::new().underscore_headers(policy), resources)
}

/// A request with these fields beside its host.
async fn ask(proxy: &Proxy, fields: &[(&str, &str)]) -> Reply {
    let request = http::Request::get("/").header("host", "a.example");
    let request = fields.iter().fold(request, |request, field| request.header(field.0, field.1));
    proxy.client().await.send(request.body(Default::default()).expect("a request")).await
}

/// What proxies in front of this one, and those who would be taken for them, say.
const CLAIMS: [(&str, &str); 6] = [
    ("x-forwarded-for", "6.6.6.6, 198.51.100.7"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "shop.example"),
    ("x-forwarded-port", "443"),
    ("x-real-ip", "6.6.6.6"),
    ("forwarded", "for=6.6.6.6"),
];

#[tokio::test]
async fn an_endpoint_sees_the_connection_of_a_client_that_nobody_trusts() {
    let elsewhere = TrustedProxies::Networks(vec!["192.0.2.0/24".parse().expect("CIDR")]);
    for proxies in [TrustedProxies::None, elsewhere, TrustedProxies::Hops(3)] {
        let echo = Echo::start("a").await;
        let proxy = trusting(proxies, &echo);
        assert_eq!(ask(&proxy, &CLAIMS).await.status, 200);
        let seen = echo.only_request();
        for (name, values) in [
            ("x-forwarded-for", &["127.0.0.1"][..]),
            ("x-real-ip", &["127.0.0.1"]),
            ("x-forwarded-proto", &["http"]),
            ("x-forwarded-host", &["a.example"]),
            ("x-forwarded-port", &[]),
            ("forwarded", &[]),
        ] {
            assert_eq!(seen.headers(name), values, "{name}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_sees_the_client_that_a_trusted_proxy_names() {
    let networks = TrustedProxies::Networks(vec!["127.0.0.0/8".parse().expect("CIDR")]);
    for proxies in [networks, TrustedProxies::Hops(1)] {
        let echo = Echo::start("a").await;
        let proxy = trusting(proxies, &echo);
        // `Connection` cannot name away what the proxy vouches for.
        let fields = [&CLAIMS[..], &[("connection", "x-forwarded-for, x-forwarded-port")]].concat();
        assert_eq!(ask(&proxy, &fields).await.status, 200);
        let seen = echo.only_request();
        for (name, values) in [
            ("x-forwarded-for", &["198.51.100.7, 127.0.0.1"][..]),
            ("x-real-ip", &["198.51.100.7"]),
            ("x-forwarded-proto", &["https"]),
            ("x-forwarded-host", &["shop.example"]),
            ("x-forwarded-port", &["443"]),
            ("forwarded", &[]),
        ] {
            assert_eq!(seen.headers(name), values, "{name}");
        }
    }
}

/// A rule that takes requests with this field alone.
fn matching(name: &str, value: &str) -> Vec<HttpMatch> {
    let value = ValueMatch::Exact(value.into());
    vec![HttpMatch {
        headers: vec![HeaderMatch { name: name.into(), value }],
        ..HttpMatch::default()
    }]
}

#[tokio::test]
async fn routes_match_what_trusted_proxies_say_and_nobody_else() {
    for (proxies, status) in [(TrustedProxies::None, 404), (TrustedProxies::Hops(1), 200)] {
        let echo = Echo::start("a").await;
        let builder = ProxyBuilder::new().trusted_proxies(proxies);
        let proxy = serve_built(LOCALHOST, &builder, |port| {
            simple_with(port, echo.address, |rule| {
                rule.matches = matching("x-forwarded-proto", "https");
            })
        });
        assert_eq!(ask(&proxy, &CLAIMS).await.status, status);
    }
}

#[tokio::test]
async fn headers_with_underscores_are_dropped_kept_or_refused() {
    for (policy, status, seen) in [
        (UnderscoreHeaders::Drop, 404, &[][..]),
        (UnderscoreHeaders::Keep, 200, &["me"]),
        (UnderscoreHeaders::Reject, 400, &[]),
    ] {
        let echo = Echo::start("a").await;
        let proxy = with_underscores(policy, |port| {
            simple_with(port, echo.address, |rule| rule.matches = matching("x_user", "me"))
        });
        let reply = ask(&proxy, &[("x_user", "me"), ("x_forwarded_for", "6.6.6.6")]).await;
        assert_eq!(reply.status, status, "{policy:?}");
        let requests = echo.requests();
        let values: Vec<_> = requests.iter().flat_map(|it| it.headers("x_user")).collect();
        assert_eq!(values, seen, "{policy:?}");
        assert!(requests.iter().all(|it| it.headers("x_forwarded_for").is_empty()), "{policy:?}");
    }
}

/// What would frame the message, if `_` were `-`, is gone wherever names with `_` are kept.
#[tokio::test]
async fn a_transfer_encoding_with_an_underscore_frames_nothing() {
    for policy in [UnderscoreHeaders::Drop, UnderscoreHeaders::Keep] {
        let echo = Echo::start("a").await;
        let proxy = with_underscores(policy, |port| simple(port, echo.address));
        let body = "0\r\n\r\nGET /evil HTTP/1.1\r\nhost: a\r\n\r\n";
        let request = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer_encoding: chunked\r\ncontent_length: 0\r\n\
             content-length: {}\r\nx_user: me\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = client::raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{policy:?}: {answer}");
        let seen = echo.only_request();
        assert_eq!((&*seen.target, &*seen.body), ("/", body.as_bytes()), "{policy:?}");
        assert_eq!(seen.headers("content-length"), [body.len().to_string()], "{policy:?}");
        let kept = seen.headers.keys().filter(|name| name.as_str().contains('_'));
        let expected = if policy == UnderscoreHeaders::Keep { &["x_user"][..] } else { &[] };
        assert_eq!(kept.collect::<Vec<_>>(), expected, "{policy:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_for_an_underscore_ends_its_connection() {
    let echo = Echo::start("a").await;
    let proxy = with_underscores(UnderscoreHeaders::Reject, |port| simple(port, echo.address));
    let request =
        b"GET / HTTP/1.1\r\nhost: a\r\nx_user: me\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = client::raw(proxy.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("the name of a header field holds `_`\n"), "{answer}");
    assert!(echo.requests().is_empty());
}
