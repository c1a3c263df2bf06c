//! TLS: the listener by server name, its certificates, its sessions.

use std::net::SocketAddr;
use std::sync::Arc;

use gwapi_translate::ir::{CertificateKey, HttpRule, ListenerKey};
use http::{Request, StatusCode};
use http_body_util::Full;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::client::{Http2Client, shown, tls, tls_config, tls_with};
use super::support::*;

/// A rule on these listeners.
fn rule_on(listeners: &[&str]) -> HttpRule {
    let listeners = listeners.iter().map(|name| ListenerKey::new(*name)).collect();
    HttpRule { listeners, backends: to("app"), ..rule("app") }
}

async fn client(address: SocketAddr, server_name: &str, trusted: &[&TestCertificate]) -> Client {
    Client::over(tls(address, server_name, trusted, &[]).await.expect("a handshake")).await
}

#[tokio::test]
async fn https_is_served_over_http1_and_http2_as_alpn_says() {
    let echo = Echo::start("a").await;
    let certificate = certificate_for(&["a.example"]);
    let proxy = serve(|port| {
        let mut resources = simple(port, echo.address);
        resources.push(ir_listener(https_listener("web", port, None, &["c"])));
        resources.push(certificate.secret("c"));
        resources
    });
    let stream = tls(proxy.address, "a.example", &[&certificate], &["http/1.1"]).await;
    let reply = Client::over(stream.expect("a handshake")).await.get("a.example", "/1").await;
    assert_eq!(reply.endpoint(), "a");

    let stream = tls(proxy.address, "a.example", &[&certificate], &["h2", "http/1.1"]).await;
    let stream = stream.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client: Http2Client = Http2Client::over(stream).await;
    let request = Request::get("https://a.example/2").body(Full::default());
    assert_eq!(client.send(request.expect("a request")).await.endpoint(), "a");

    let seen = echo.requests();
    assert_eq!(seen.iter().map(|seen| &*seen.target).collect::<Vec<_>>(), ["/1", "/2"]);
    for seen in seen {
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("host"), Some("a.example"));
    }
}

#[tokio::test]
async fn the_server_name_chooses_listener_and_certificate() {
    let exact = certificate_for(&["a.b.example"]);
    let wild = certificate_for(&["*.b.example"]);
    let any = certificate_for(&["other.test"]);
    let proxy = serve(|port| {
        vec![
            ir_listener(https_listener("exact", port, Some("a.b.example"), &["exact"])),
            ir_listener(https_listener("wild", port, Some("*.b.example"), &["wild"])),
            ir_listener(https_listener("any", port, None, &["any"])),
            exact.secret("exact"),
            wild.secret("wild"),
            any.secret("any"),
        ]
    });
    for (server_name, certificate) in [
        ("a.b.example", &exact),
        ("A.B.Example", &exact),
        ("c.b.example", &wild),
        ("other.test", &any),
    ] {
        let stream = tls(proxy.address, server_name, &[&exact, &wild, &any], &[]).await;
        assert_eq!(shown(&stream.expect(server_name)), certificate.der, "{server_name}");
    }
}

#[tokio::test]
async fn of_several_certificates_the_most_specific_is_shown() {
    let exact = certificate_for(&["a.b.example"]);
    let wild = certificate_for(&["*.b.example", "b.example"]);
    let proxy = serve(|port| {
        vec![
            ir_listener(https_listener("web", port, None, &["wild", "exact"])),
            exact.secret("exact"),
            wild.secret("wild"),
        ]
    });
    for (server_name, certificate) in
        [("a.b.example", &exact), ("c.b.example", &wild), ("b.example", &wild)]
    {
        let stream = tls(proxy.address, server_name, &[&exact, &wild], &[]).await;
        assert_eq!(shown(&stream.expect(server_name)), certificate.der, "{server_name}");
    }
}

#[tokio::test]
async fn an_unknown_server_name_gets_an_alert() {
    let certificate = certificate_for(&["a.example"]);
    let proxy = serve(|port| {
        vec![
            ir_listener(https_listener("web", port, Some("a.example"), &["c"])),
            certificate.secret("c"),
        ]
    });
    let error =
        tls(proxy.address, "b.example", &[&certificate], &[]).await.expect_err("no listener");
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
}

#[tokio::test]
async fn a_connection_carries_what_its_listener_serves_best_and_nothing_else() {
    let echo = Echo::start("a").await;
    let certificate = certificate_for(&["a.example", "b.example", "*.wild.example"]);
    let proxy = serve(|port| {
        let mut resources = backend("app", &[echo.address]);
        for (name, hostname) in [
            ("a", "a.example"),
            ("b", "b.example"),
            ("wild", "*.wild.example"),
            ("c", "c.wild.example"),
        ] {
            resources.push(ir_listener(https_listener(name, port, Some(hostname), &["c"])));
        }
        resources.extend([certificate.secret("c"), ir(rule_on(&["a", "b", "wild", "c"]))]);
        resources
    });
    let a = client(proxy.address, "a.example", &[&certificate]).await;
    let wild = client(proxy.address, "x.wild.example", &[&certificate]).await;
    let mut clients = [a, wild];
    for (client, host, status) in [
        (0, "a.example", StatusCode::OK),
        (0, "b.example", StatusCode::MISDIRECTED_REQUEST), // LI-5 (b)
        (0, "nobody.test", StatusCode::NOT_FOUND),         // LI-5 (d)
        (1, "y.wild.example", StatusCode::OK),
        (1, "c.wild.example", StatusCode::MISDIRECTED_REQUEST), // LI-5 (a)
    ] {
        assert_eq!(clients[client].get(host, "/").await.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_broken_certificate_is_reported_and_keeps_the_last_good_one() {
    let (first, second) = (certificate_for(&["a.example"]), certificate_for(&["a.example"]));
    let broken = TestCertificate { key: second.key.clone(), ..first.clone() };
    let port_of = |port, certificate: &TestCertificate| {
        vec![ir_listener(https_listener("web", port, None, &["c"])), certificate.secret("c")]
    };
    let mut proxy = serve(|port| port_of(port, &first));
    let port = proxy.address.port();
    let both = [&first, &second];
    let now =
        async |address| shown(&tls(address, "a.example", &both, &[]).await.expect("a handshake"));

    let report = proxy.set(port_of(port, &broken));
    let rejected = &report.feedback[&gateway()].rejected_certificates;
    let reason = rejected[&CertificateKey::secret("default", "c")].as_str();
    assert_eq!(reason, "the private key does not belong to the certificate");
    assert_eq!(now(proxy.address).await, first.der);

    let report = proxy.set(port_of(port, &second));
    assert!(report.feedback[&gateway()].rejected_certificates.is_empty());
    assert_eq!(now(proxy.address).await, second.der);
}

#[tokio::test]
async fn a_listener_whose_certificate_never_worked_fails_alone() {
    let good = certificate_for(&["a.example"]);
    let broken = TestCertificate { chain: "no certificate".to_owned(), ..good.clone() };
    let proxy = serve(|port| {
        vec![
            ir_listener(https_listener("good", port, Some("a.example"), &["good"])),
            ir_listener(https_listener("bad", port, Some("b.example"), &["bad"])),
            good.secret("good"),
            broken.secret("bad"),
        ]
    });
    assert!(tls(proxy.address, "b.example", &[&good], &[]).await.is_err());
    assert!(tls(proxy.address, "a.example", &[&good], &[]).await.is_ok());
}

/// TL-3: what is shown is the new one at once.
#[tokio::test]
async fn a_certificate_is_exchanged_without_touching_open_connections() {
    let echo = Echo::start("a").await;
    let (first, second) = (certificate_for(&["a.example"]), certificate_for(&["a.example"]));
    let resources = |port, certificate: &TestCertificate| {
        let mut resources = backend("app", &[echo.address]);
        resources.push(ir_listener(https_listener("web", port, None, &["c"])));
        resources.extend([certificate.secret("c"), ir(rule_on(&["web"]))]);
        resources
    };
    let mut proxy = serve(|port| resources(port, &first));
    let mut open = client(proxy.address, "a.example", &[&first]).await;
    assert_eq!(open.get("a.example", "/").await.endpoint(), "a");
    for certificate in [&second, &first, &second] {
        proxy.set(resources(proxy.address.port(), certificate));
        let stream = tls(proxy.address, "a.example", &[certificate], &[]).await;
        assert_eq!(shown(&stream.expect("a handshake")), certificate.der);
        assert_eq!(open.get("a.example", "/").await.endpoint(), "a");
    }
}

#[tokio::test]
async fn a_session_is_resumed_with_the_listener_that_it_was_made_with_and_no_other() {
    let echo = Echo::start("a").await;
    let certificate = certificate_for(&["a.example"]);
    let other = free_port();
    let proxy = serve(|port| {
        let mut resources = backend("app", &[echo.address]);
        resources.push(ir_listener(https_listener("web", port, None, &["c"])));
        resources.push(ir_listener(https_listener("other", other, None, &["c"])));
        resources.extend([certificate.secret("c"), ir(rule_on(&["web", "other"]))]);
        resources
    });
    let other = SocketAddr::new(proxy.address.ip(), other);
    let config = tls_config(&[&certificate], &[]);
    let handshake = async |address| {
        let stream = tls_with(Arc::clone(&config), address, "a.example").await;
        let mut stream = stream.expect("a handshake");
        let kind = stream.get_ref().1.handshake_kind().expect("it is over");
        // Tickets come with the first answer; those of a server come in pairs.
        let request = b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
        within(stream.write_all(request)).await.expect("it reads");
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.expect("it ends");
        kind
    };
    assert_eq!(handshake(proxy.address).await, HandshakeKind::Full);
    assert_eq!(handshake(proxy.address).await, HandshakeKind::Resumed);
    assert_eq!(handshake(other).await, HandshakeKind::Full);
}

#[tokio::test]
async fn clear_text_on_a_tls_port_ends_the_connection_alone() {
    let certificate = certificate_for(&["a.example"]);
    let proxy = serve(|port| {
        vec![ir_listener(https_listener("web", port, None, &["c"])), certificate.secret("c")]
    });
    let answer = client::raw(proxy.address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    assert!(tls(proxy.address, "a.example", &[&certificate], &[]).await.is_ok());
}

/// TL-3: a certificate that comes later is shown from then on, and one that goes no more.
#[tokio::test]
async fn a_listener_without_certificate_keeps_its_host_from_the_others() {
    let echo = Echo::start("a").await;
    let (own, any) = (certificate_for(&["a.example"]), certificate_for(&["b.example"]));
    let resources = |port, certificates: &[&str]| {
        let mut resources = backend("app", &[echo.address]);
        resources.push(ir_listener(https_listener("a", port, Some("a.example"), certificates)));
        resources.push(ir_listener(https_listener("any", port, None, &["any"])));
        resources.extend([any.secret("any"), ir(rule_on(&["a", "any"]))]);
        if !certificates.is_empty() {
            resources.push(own.secret("own"));
        }
        resources
    };
    let mut proxy = serve(|port| resources(port, &[]));
    let both = [&own, &any];
    let error = tls(proxy.address, "a.example", &both, &[]).await.expect_err("no certificate");
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    let mut other = client(proxy.address, "b.example", &both).await;
    assert_eq!(other.get("b.example", "/").await.endpoint(), "a");
    // LI-2, LI-5: nor does a connection of another listener reach it.
    assert_eq!(other.get("a.example", "/").await.status, StatusCode::MISDIRECTED_REQUEST);

    let port = proxy.address.port();
    proxy.set(resources(port, &["own"]));
    let mut served = client(proxy.address, "a.example", &both).await;
    assert_eq!(served.get("a.example", "/").await.endpoint(), "a");

    proxy.set(resources(port, &[]));
    assert!(tls(proxy.address, "a.example", &both, &[]).await.is_err());
    assert!(tls(proxy.address, "b.example", &both, &[]).await.is_ok());
}

/// What is meant for TLS does not go in the clear, nor the other way round.
#[tokio::test]
async fn a_connection_of_before_its_listener_changed_to_tls_or_from_it_is_not_served() {
    let echo = Echo::start("a").await;
    let certificate = certificate_for(&["a.example"]);
    let clear = |port| simple(port, echo.address);
    let encrypted = |port| {
        let mut resources = simple(port, echo.address);
        resources.push(ir_listener(https_listener("web", port, None, &["c"])));
        resources.push(certificate.secret("c"));
        resources
    };
    let mut proxy = serve(clear);
    let port = proxy.address.port();
    let mut before = proxy.client().await;
    assert_eq!(before.get("a.example", "/").await.endpoint(), "a");
    proxy.set(encrypted(port));
    let reply = before.get("a.example", "/").await;
    assert_eq!(reply.status, StatusCode::MISDIRECTED_REQUEST);
    before.closed_by_peer().await;

    let mut before = client(proxy.address, "a.example", &[&certificate]).await;
    assert_eq!(before.get("a.example", "/").await.endpoint(), "a");
    proxy.set(clear(port));
    let reply = before.get("a.example", "/").await;
    assert_eq!(reply.status, StatusCode::MISDIRECTED_REQUEST);
    before.closed_by_peer().await;
    assert_eq!(proxy.get("a.example", "/").await.endpoint(), "a");
}
