//! TLS towards endpoints: what they have to prove, and what becomes of requests where they do not
//! (BT-3, BT-4, BT-7).

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_translate::ir::{
    Backend, BackendProtocol, BackendTls, BackendTrust, Hostname, HttpFilter, HttpRule, IrResource,
    Mirror, SubjectAltName,
};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::support::authority::{Authority, Names, TlsServer};
use super::support::clock::SHORT;
use super::support::frames::{
    ACK, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame, next,
};
use super::support::upstream::read_head;
use super::support::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(crate) fn asks(hostname: &str, authority: &Authority) -> BackendTls {
    BackendTls {
        hostname: hostname.into(),
        subject_alt_names: Vec::new(),
        trust: BackendTrust::Certificates(authority.pem().into()),
        client_certificate: None,
        mutual: false,
    }
}

fn dns(name: &str) -> SubjectAltName {
    SubjectAltName::Hostname(Hostname::parse(name))
}

fn uri(uri: &str) -> SubjectAltName {
    SubjectAltName::Uri(uri.into())
}

/// The same backend inside TLS.
pub(crate) fn inside(tls: BackendTls, mut resources: Vec<IrResource>) -> Vec<IrResource> {
    let tls = Some(Arc::new(tls));
    for resource in &mut resources {
        if let IrResource::Backend(backend) = resource {
            *backend = Arc::new(Backend { tls: tls.clone(), ..(**backend).clone() });
        }
    }
    resources
}

/// One core with metrics that serves a backend `app` inside TLS.
pub(crate) fn serve_tls(tls: &BackendTls, addresses: &[SocketAddr]) -> Proxy {
    serve_tls_speaking(BackendProtocol::Http1, tls, addresses)
}

fn serve_tls_speaking(
    protocol: BackendProtocol,
    tls: &BackendTls,
    addresses: &[SocketAddr],
) -> Proxy {
    let local = IpAddr::from([127, 0, 0, 1]);
    let builder = ProxyBuilder::new().admin(SocketAddr::new(local, 0));
    serve_on_cores(1, local, &builder, |port| {
        let mut resources = simple(port, addresses[0]);
        resources.extend(inside(tls.clone(), backend_speaking(protocol, "app", addresses)));
        resources
    })
}

/// Sees 502, and the reason in the metrics.
async fn refuses(proxy: &Proxy, reason: &str) {
    let reply = proxy.get("a", "/").await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{reason}");
    assert_eq!(reply.text(), "TLS with the backend failed\n", "{reason}");
    let metric = format!(
        r#"gwapi_upstream_tls_failures_total{{backend="default/app:80",reason="{reason}"}} 1"#
    );
    proxy.until_metric(&metric).await;
}

/// An endpoint that does inside TLS what a test says.
async fn scripted<F, R>(tls: &TlsServer, script: F) -> Scripted
where
    F: Fn(tokio_rustls::server::TlsStream<TcpStream>, usize) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let tls = tls.clone();
    Scripted::start(move |stream, number| {
        let (tls, script) = (tls.clone(), script.clone());
        async move {
            // What is written is there at once, however short.
            stream.set_nodelay(true).expect("it is open");
            if let Ok(stream) = tls.accept(stream).await {
                script(stream, number).await;
            }
        }
    })
    .await
}

/// BT-3.
#[tokio::test]
async fn the_hostname_is_the_server_name_and_the_name_that_is_verified() {
    let authority = Authority::new();
    let tls = authority.server_for("app.internal");
    let echo = Echo::tls("a", false, &tls).await;
    let proxy = serve_tls(&asks("app.internal", &authority), &[echo.address]);
    let request = http::Request::post("/x").header("host", "a.example").body("body".into());
    let reply = proxy.client().await.send(request.expect("a request")).await;
    assert_eq!((reply.endpoint(), reply.text()), ("a", "body"));
    let [handshake] = &tls.handshakes()[..] else { panic!("one handshake") };
    assert_eq!(handshake.server_name.as_deref(), Some("app.internal"));
    assert_eq!(handshake.alpn.as_deref(), Some("http/1.1"));
    let seen = echo.only_request();
    assert_eq!(seen.header("host"), Some("a.example"), "TLS does not change the host");
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"), "that is how the client came");
}

/// BT-7.
#[tokio::test]
async fn an_endpoint_that_does_not_prove_who_it_is_gets_no_request() {
    let (authority, other) = (Authority::new(), Authority::new());
    let names = |dns| Names { dns, ..Names::default() };
    let good = asks("app.internal", &authority);
    let with_names =
        |names: &[SubjectAltName]| BackendTls { subject_alt_names: names.to_vec(), ..good.clone() };
    for (what, signer, names, asked, reason) in [
        ("another name", &authority, names(&["b.internal"]), good.clone(), "name"),
        ("a name below", &authority, names(&["x.app.internal"]), good.clone(), "name"),
        ("another authority", &other, names(&["app.internal"]), good.clone(), "issuer"),
        (
            "expired",
            &authority,
            Names { expired: true, ..names(&["app.internal"]) },
            good.clone(),
            "expired",
        ),
        (
            "with names the hostname proves nothing",
            &authority,
            names(&["app.internal"]),
            with_names(&[dns("b.internal"), uri("spiffe://x/app")]),
            "name",
        ),
        (
            "a wildcard for one label",
            &authority,
            names(&["internal", "a.b.internal"]),
            with_names(&[dns("*.internal")]),
            "name",
        ),
        (
            "another URI",
            &authority,
            Names { uris: &["spiffe://x/app/"], ..names(&["app.internal"]) },
            with_names(&[uri("spiffe://x/app")]),
            "name",
        ),
        (
            "names, and another authority",
            &other,
            names(&["b.internal"]),
            with_names(&[dns("b.internal")]),
            "issuer",
        ),
        (
            "names, and expired",
            &authority,
            Names { expired: true, ..names(&["b.internal"]) },
            with_names(&[dns("b.internal")]),
            "expired",
        ),
    ] {
        let echo = Echo::tls("a", false, &signer.server(names, &[])).await;
        let proxy = serve_tls(&asked, &[echo.address]);
        refuses(&proxy, reason).await;
        assert!(echo.requests().is_empty(), "{what}");
    }
}

/// BT-3.
#[tokio::test]
async fn one_of_the_subject_alternative_names_is_enough() {
    let authority = Authority::new();
    for (dns_names, uris, asked) in [
        (&["b.internal"][..], &[][..], dns("b.internal")),
        (&["*.a.internal"], &[], dns("b.a.internal")),
        (&["b.internal"], &[], dns("*.internal")),
        (&["*.a.internal"], &[], dns("*.a.internal")),
        (&["other.internal"], &["spiffe://x/app"], uri("spiffe://x/app")),
        (&[], &["spiffe://x/app"], uri("spiffe://x/app")),
    ] {
        let names = Names { dns: dns_names, uris, expired: false };
        let tls = authority.server(names, &[]);
        let echo = Echo::tls("a", false, &tls).await;
        let subject_alt_names = vec![dns("nobody.internal"), asked.clone()];
        let asked_for = BackendTls { subject_alt_names, ..asks("sni.internal", &authority) };
        let proxy = serve_tls(&asked_for, &[echo.address]);
        let reply = proxy.get("a", "/").await;
        assert_eq!(reply.status, StatusCode::OK, "{names:?}, {asked:?}");
        let handshakes = tls.handshakes();
        assert_eq!(handshakes[0].server_name.as_deref(), Some("sni.internal"));
    }
}

#[tokio::test]
async fn an_endpoint_in_the_clear_sees_no_byte_of_a_request() {
    let authority = Authority::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let endpoint = Scripted::start(move |mut stream, _| {
        let log = Arc::clone(&log);
        async move {
            let mut bytes = vec![0; 16 * 1024];
            let length = stream.read(&mut bytes).await.unwrap_or(0);
            log.lock().expect("no test panicked").extend_from_slice(&bytes[..length]);
            let _ = stream.write_all(OK).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            log.lock().expect("no test panicked").extend(rest);
        }
    })
    .await;
    let proxy = serve_tls(&asks("app.internal", &authority), &[endpoint.address]);
    refuses(&proxy, "protocol").await;
    let seen = seen.lock().expect("no test panicked").clone();
    assert_eq!(seen.first(), Some(&0x16), "a handshake");
    assert!(!seen.windows(3).any(|bytes| bytes == b"GET"));
}

/// BT-5.
#[tokio::test]
async fn what_cannot_be_verified_is_not_even_connected_to() {
    let authority = Authority::new();
    let echo = Echo::tls("a", false, &authority.server_for("app.internal")).await;
    let trust = BackendTrust::Certificates("-----BEGIN CERTIFICATE-----\nAAAA\n".into());
    let proxy =
        serve_tls(&BackendTls { trust, ..asks("app.internal", &authority) }, &[echo.address]);
    refuses(&proxy, "configuration").await;
    assert_eq!(echo.connections(), 0);
}

#[tokio::test]
async fn authorities_of_the_system_do_not_vouch_for_one_that_they_do_not_know() {
    let authority = Authority::new();
    let echo = Echo::tls("a", false, &authority.server_for("app.internal")).await;
    let trust = BackendTrust::System;
    let proxy =
        serve_tls(&BackendTls { trust, ..asks("app.internal", &authority) }, &[echo.address]);
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::BAD_GATEWAY);
    assert!(echo.requests().is_empty());
}

#[tokio::test]
async fn another_endpoint_is_asked_where_one_does_not_prove_who_it_is() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = Echo::tls("good", false, &authority.server_for("app.internal")).await;
    let bad = Echo::tls("bad", false, &other.server_for("app.internal")).await;
    let proxy = serve_tls(&asks("app.internal", &authority), &[good.address, bad.address]);
    for _ in 0..4 {
        let request = http::Request::post("/").header("host", "a").body("body".into());
        let reply = proxy.client().await.send(request.expect("a request")).await;
        assert_eq!((reply.endpoint(), reply.text()), ("good", "body"));
    }
    assert!(bad.requests().is_empty());
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let authority = Authority::new();
    let tls = authority.server_for("app.internal");
    let echo = Echo::tls("a", false, &tls).await;
    let proxy = serve_tls(&asks("app.internal", &authority), &[echo.address]);
    for _ in 0..5 {
        assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    }
    assert_eq!(tls.handshakes().len(), 1);
}

#[tokio::test]
async fn long_bodies_go_both_ways() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let authority = Authority::new();
    for http2 in [false, true] {
        let echo = Echo::tls("a", http2, &authority.server_for("app.internal")).await;
        let protocol = if http2 { BackendProtocol::H2c } else { BackendProtocol::Http1 };
        let asked = asks("app.internal", &authority);
        let proxy = serve_tls_speaking(protocol, &asked, &[echo.address]);
        let body: Vec<u8> = (0..LENGTH).map(|index| (index % 251) as u8).collect();
        let request = http::Request::post("/").header("host", "a").body(body.clone().into());
        let reply = proxy.client().await.send(request.expect("a request")).await;
        assert_eq!(reply.endpoint(), "a");
        assert!(reply.body == body, "http2: {http2}");
    }
}

#[tokio::test]
async fn http2_is_agreed_on_in_the_handshake_and_one_connection_takes_many_requests() {
    let authority = Authority::new();
    let tls = authority.server_for("app.internal");
    let echo = Echo::tls("a", true, &tls).await;
    let asked = asks("app.internal", &authority);
    let proxy = serve_tls_speaking(BackendProtocol::H2c, &asked, &[echo.address]);
    // The first one learns how many streams there may be.
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        let mut client = proxy.client().await;
        requests.spawn(async move { client.get("a", "/many").await.status });
    }
    while let Some(status) = within(requests.join_next()).await {
        assert_eq!(status.expect("no panic"), StatusCode::OK);
    }
    let [handshake] = &tls.handshakes()[..] else { panic!("one handshake") };
    assert_eq!(handshake.alpn.as_deref(), Some("h2"));
    let requests = echo.requests();
    assert!(requests.iter().all(|request| request.version == http::Version::HTTP_2));
    assert_eq!(requests[0].target, "https://a/", "the scheme is that of the connection");
}

#[tokio::test]
async fn an_endpoint_that_does_not_agree_on_http2_gets_no_request() {
    let authority = Authority::new();
    for alpn in [&[][..], &["http/1.1"]] {
        let names = Names { dns: &["app.internal"], ..Names::default() };
        let echo = Echo::tls("a", true, &authority.server(names, alpn)).await;
        let asked = asks("app.internal", &authority);
        let proxy = serve_tls_speaking(BackendProtocol::H2c, &asked, &[echo.address]);
        refuses(&proxy, "alpn").await;
        assert!(echo.requests().is_empty());
    }
}

#[tokio::test]
async fn an_endpoint_that_knows_no_alpn_is_spoken_to_over_http1() {
    let authority = Authority::new();
    let names = Names { dns: &["app.internal"], ..Names::default() };
    let echo = Echo::tls("a", false, &authority.server(names, &[])).await;
    let proxy = serve_tls(&asks("app.internal", &authority), &[echo.address]);
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
}

/// Answers each connection's first request, and closes properly.
async fn closing(tls: &TlsServer) -> Scripted {
    scripted(tls, |mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
            .await;
        let _ = stream.shutdown().await;
    })
    .await
}

#[tokio::test]
async fn every_connection_begins_with_a_proof() {
    let authority = Authority::new();
    let tls = authority.server_for("app.internal");
    let endpoint = closing(&tls).await;
    let asked = asks("app.internal", &authority);
    let mut proxy = serve_tls(&asked, &[endpoint.address]);
    let with = |tls: BackendTls, port| {
        let mut resources = simple(port, endpoint.address);
        resources.extend(inside(tls, backend("app", &[endpoint.address])));
        resources
    };
    for _ in 0..3 {
        assert_eq!(proxy.get("a", "/").await.status, StatusCode::OK);
    }
    let more = BackendTls { subject_alt_names: vec![dns("app.internal")], ..asked.clone() };
    proxy.set(with(more, proxy.address.port()));
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::OK);
    assert!(tls.handshakes().iter().all(|it| !it.resumed));
    assert_eq!(tls.handshakes().len(), 4);

    let stranger = asks("app.internal", &Authority::new());
    proxy.set(with(stranger, proxy.address.port()));
    refuses(&proxy, "issuer").await;
    assert_eq!(tls.handshakes().len(), 4);
}

#[tokio::test]
async fn a_connection_that_is_kept_is_not_used_under_another_policy() {
    let authority = Authority::new();
    for protocol in [BackendProtocol::Http1, BackendProtocol::H2c] {
        let tls = authority.server_for("app.internal");
        let echo = Echo::tls("a", protocol == BackendProtocol::H2c, &tls).await;
        let asked = asks("app.internal", &authority);
        let mut proxy = serve_tls_speaking(protocol, &asked, &[echo.address]);
        assert_eq!(proxy.get("a", "/").await.endpoint(), "a");

        let strict = BackendTls { subject_alt_names: vec![dns("b.internal")], ..asked };
        let mut resources = simple(proxy.address.port(), echo.address);
        resources.extend(inside(strict, backend_speaking(protocol, "app", &[echo.address])));
        proxy.set(resources);
        refuses(&proxy, "name").await;
        assert_eq!(echo.requests().len(), 1);
    }
}

#[tokio::test]
async fn backends_in_the_clear_and_inside_tls_share_an_address_but_no_connection() {
    let authority = Authority::new();
    let tls = authority.server_for("app.internal");
    let endpoint = Scripted::start(move |mut stream, _| {
        let tls = tls.clone();
        async move {
            let mut first = [0];
            if !matches!(stream.peek(&mut first).await, Ok(1)) {
                return;
            }
            if first == [0x16] {
                let Ok(mut stream) = tls.accept(stream).await else { return };
                while !read_head(&mut stream).await.is_empty() {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntls";
                    let _ = stream.write_all(answer).await;
                }
            } else {
                while !read_head(&mut stream).await.is_empty() {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nclear";
                    let _ = stream.write_all(answer).await;
                }
            }
        }
    })
    .await;
    let local = IpAddr::from([127, 0, 0, 1]);
    let proxy = serve_on_cores(1, local, &ProxyBuilder::new(), |port| {
        let mut resources = simple(port, endpoint.address);
        let asked = asks("app.internal", &authority);
        resources.extend(inside(asked, backend("secret", &[endpoint.address])));
        let matches = prefix("/secret");
        resources.push(ir(HttpRule { matches, backends: to("secret"), ..rule("secret") }));
        resources
    });
    for _ in 0..3 {
        assert_eq!(proxy.get("a", "/").await.text(), "clear");
        assert_eq!(proxy.get("a", "/secret").await.text(), "tls");
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_given_up() {
    let authority = Authority::new();
    let endpoint = Scripted::start(|mut stream, _| async move {
        let mut nothing = Vec::new();
        let _ = stream.read_to_end(&mut nothing).await;
    })
    .await;
    let local = IpAddr::from([127, 0, 0, 1]);
    let limits = Limits { connect_timeout: SHORT, ..Limits::default() };
    let builder = ProxyBuilder::new().limits(limits).admin(SocketAddr::new(local, 0));
    let proxy = serve_built(local, &builder, |port| {
        inside(asks("app.internal", &authority), simple(port, endpoint.address))
    });
    refuses(&proxy, "timeout").await;
}

/// After its first answer it does what `then` says, and tells of it.
async fn turning(
    tls: &TlsServer,
    then: &'static [u8],
    close: bool,
) -> (Scripted, Arc<Semaphore>, Arc<Semaphore>) {
    let (go, done) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (gate, did) = (Arc::clone(&go), Arc::clone(&done));
    let endpoint = scripted(tls, move |mut stream, number| {
        let (gate, did) = (Arc::clone(&gate), Arc::clone(&did));
        async move {
            while !read_head(&mut stream).await.is_empty() {
                let _ = stream.write_all(OK).await;
                if number == 0 {
                    let _ = gate.acquire().await;
                    let _ = stream.write_all(then).await;
                    let _ = stream.flush().await;
                    if close {
                        // The end of the session, and not of the connection below it.
                        let (_, session) = stream.get_mut();
                        session.send_close_notify();
                        let _ = stream.flush().await;
                    }
                    did.add_permits(1);
                }
            }
        }
    })
    .await;
    (endpoint, go, done)
}

#[tokio::test]
async fn a_kept_connection_that_has_ended_or_spoken_unasked_is_not_used() {
    let authority = Authority::new();
    for (then, close) in
        [(&b""[..], true), (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", false)]
    {
        let tls = authority.server_for("app.internal");
        let (endpoint, go, done) = turning(&tls, then, close).await;
        let proxy = serve_tls(&asks("app.internal", &authority), &[endpoint.address]);
        assert_eq!(proxy.get("a", "/").await.text(), "ok");
        go.add_permits(1);
        let _ = within(done.acquire()).await.expect("it is open");
        // One that must not be sent twice.
        let request = http::Request::post("/").header("host", "a").body("x".into());
        let reply = proxy.client().await.send(request.expect("a request")).await;
        assert_eq!((reply.status, reply.text()), (StatusCode::OK, "ok"), "close: {close}");
        assert_eq!(tls.handshakes().len(), 2);
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_to_the_endpoint() {
    let authority = Authority::new();
    let (sender, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = scripted(&authority.server_for("app.internal"), move |mut stream, _| {
        let sender = sender.clone();
        async move {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
            let _ = stream.write_all(answer).await;
            let _ = sender.send(stream.read_to_end(&mut Vec::new()).await);
        }
    })
    .await;
    let proxy = serve_tls(&asks("app.internal", &authority), &[endpoint.address]);
    assert_eq!(proxy.get("a", "/").await.text(), "ok");
    let end = within(ends.recv()).await.expect("there was a connection");
    assert_eq!(end.expect("the session has ended, and not only the connection"), 0);
}

#[tokio::test]
async fn a_request_on_a_kept_connection_of_http2_that_is_cut_off_is_sent_again() {
    let authority = Authority::new();
    let tls = authority.server_for("app.internal");
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let endpoint = scripted(&tls, move |stream, number| {
        let count = Arc::clone(&count);
        async move {
            let _ = cut_off_second(stream, number, &count).await;
        }
    })
    .await;
    let asked = asks("app.internal", &authority);
    let proxy = serve_tls_speaking(BackendProtocol::H2c, &asked, &[endpoint.address]);
    for _ in 0..2 {
        assert_eq!(proxy.get("a", "/").await.status, StatusCode::OK);
    }
    assert_eq!(requests.load(Ordering::Relaxed), 3);
}

/// Answers requests over HTTP/2 but for the second one of the first connection, which it ends without the
/// session.
async fn cut_off_second(
    mut stream: tokio_rustls::server::TlsStream<TcpStream>,
    number: usize,
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE.len()]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let mut here = 0;
    while let Some(seen) = next(&mut stream).await {
        match seen.kind {
            SETTINGS if seen.flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
            }
            HEADERS => {
                requests.fetch_add(1, Ordering::Relaxed);
                here += 1;
                if (number, here) == (0, 2) {
                    return stream.get_mut().0.shutdown().await;
                }
                let head = block(&[(":status", "200")]);
                let flags = END_HEADERS | END_STREAM;
                stream.write_all(&frame(HEADERS, flags, seen.stream, &head)).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_body_until_the_end_is_whole_only_where_the_session_ended() {
    let authority = Authority::new();
    let tls = authority.server_for("app.internal");
    let endpoint = scripted(&tls, |mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nbody").await;
        let _ = stream.flush().await;
        if head.starts_with("GET /whole") {
            let _ = stream.shutdown().await;
        } else {
            // The end of the connection alone, which anybody on the way can bring about.
            let _ = stream.get_mut().0.shutdown().await;
        }
        let _ = stream.get_mut().0.read(&mut [0; 64]).await;
    })
    .await;
    let proxy = serve_tls(&asks("app.internal", &authority), &[endpoint.address]);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let whole = client::raw(proxy.address, get("/whole").as_bytes()).await;
    assert!(whole.ends_with("\r\n4\r\nbody\r\n0\r\n\r\n"), "{whole}");
    let cut = client::raw(proxy.address, get("/cut").as_bytes()).await;
    assert!(cut.starts_with("HTTP/1.1 200 "), "{cut}");
    assert!(!cut.ends_with("0\r\n\r\n"), "{cut}");
}

#[tokio::test]
async fn a_websocket_goes_through_until_either_side_closes() {
    let authority = Authority::new();
    let tls = authority.server_for("app.internal");
    let endpoint = scripted(&tls, |mut stream, _| async move {
        read_head(&mut stream).await;
        let agree = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-accept: y\r\n\r\nhello";
        let _ = stream.write_all(agree).await;
        let _ = stream.flush().await;
        let (mut read, mut write) = tokio::io::split(stream);
        // Its end is that of the session: the proxy has to say that it sends no more.
        let copied = tokio::io::copy(&mut read, &mut write).await;
        let bye: &[u8] = if copied.is_ok() { b"bye" } else { b"cut off" };
        let _ = write.write_all(bye).await;
        let _ = write.shutdown().await;
    })
    .await;
    let proxy = serve_tls(&asks("app.internal", &authority), &[endpoint.address]);
    let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    let ask = b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-key: x\r\n\r\n";
    within(stream.write_all(ask)).await.expect("it reads");
    let head = within(read_head(&mut stream)).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for text in ["hello", "one", "two"] {
        if text != "hello" {
            within(stream.write_all(text.as_bytes())).await.expect("it reads");
        }
        let mut came = vec![0; text.len()];
        within(stream.read_exact(&mut came)).await.expect("it comes");
        assert_eq!(String::from_utf8_lossy(&came), text);
    }
    stream.shutdown().await.expect("it is open");
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.expect("it is text");
    assert_eq!(rest, "bye");
}

/// BT-8.
#[tokio::test]
async fn copies_of_requests_go_inside_tls_too() {
    let authority = Authority::new();
    let tls = authority.server_for("copy.internal");
    let copies = Echo::tls("copies", false, &tls).await;
    let echo = Echo::start("a").await;
    let proxy = serve(|port| {
        let mut resources = simple_with(port, echo.address, |rule| {
            let backend = gwapi_translate::ir::BackendKey::service("default", "copies", 80);
            let mirror = Mirror { backend, numerator: 1, denominator: 1 };
            rule.filters = vec![HttpFilter::Mirror(mirror)];
        });
        let asked = asks("copy.internal", &authority);
        resources.extend(inside(asked, backend("copies", &[copies.address])));
        resources
    });
    assert_eq!(proxy.get("a", "/x").await.endpoint(), "a");
    let copied = copies.until_requests(1).await;
    assert_eq!(copied[0].target, "/x");
    assert_eq!(tls.handshakes()[0].server_name.as_deref(), Some("copy.internal"));
}
