//! Stopping gently, and stopping at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gwapi_dataplane::{Drained, Limits};
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::client::Http2Client;
use super::support::upstream::{gated, read_head};
use super::support::*;

async fn refuses(address: SocketAddr) -> bool {
    within(TcpStream::connect(address)).await.is_err()
}

#[tokio::test]
async fn what_is_in_flight_is_finished_over_both_versions() {
    let (endpoint, go) = gated().await;
    let limits = Limits { drain_quiet: Duration::ZERO, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let address = proxy.address;
    let mut one = proxy.client().await;
    let one_response = one.begin(client::get("a", "/")).await;
    let mut two: Http2Client = Http2Client::connect(address).await;
    let request = Request::get("http://a/").body(Full::default()).expect("a request");
    let two_response = within(two.0.send_request(request)).await.expect("a head");

    let drained = proxy.drain();
    // Not before the proxy has stopped to accept is the body allowed to end.
    while !refuses(address).await {}
    assert!(!drained.is_finished());
    go.send_replace(true);
    for response in [one_response, two_response] {
        let body = within(response.into_body().collect()).await.expect("it is whole");
        assert_eq!(body.to_bytes(), "done");
    }
    let drained = within(drained).await.expect("no panic");
    assert_eq!(drained, Drained { cut_connections: 0 });
}

#[tokio::test]
async fn while_new_connections_come_they_are_served_and_told_to_go() {
    let echo = Echo::start("a").await;
    let quiet = Duration::from_secs(2);
    let limits = Limits { drain_quiet: quiet, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let address = proxy.address;
    let mut kept = proxy.client().await;
    assert_eq!(kept.get("a", "/").await.header("connection"), None);
    let began = Instant::now();
    let drained = proxy.drain();

    // The drain has begun once an answer says so.
    let mut told = 0;
    while told < 10 {
        let mut client = Client::connect(address).await;
        let reply = client.get("a", "/").await;
        assert_eq!(reply.endpoint(), "a");
        if reply.header("connection") == Some("close") {
            told += 1;
            client.closed_by_peer().await;
        }
    }
    let mut two: Http2Client = Http2Client::connect(address).await;
    let request = Request::get("http://a/").body(Full::default()).expect("a request");
    assert_eq!(two.send(request).await.endpoint(), "a");
    // A connection that was open before is told so as well, by the answer to its next request.
    let reply = kept.get("a", "/").await;
    assert_eq!((reply.endpoint(), reply.header("connection")), ("a", Some("close")));

    let drained = within(drained).await.expect("no panic");
    assert_eq!(drained, Drained { cut_connections: 0 });
    assert!(began.elapsed() >= quiet, "{:?}", began.elapsed());
    assert!(refuses(address).await);
}

#[tokio::test]
async fn what_does_not_end_is_cut_and_counted() {
    let (endpoint, _go) = gated().await;
    let limits = Limits {
        drain_quiet: Duration::ZERO,
        drain_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut client = proxy.client().await;
    let response = client.begin(client::get("a", "/")).await;
    let drained = within(proxy.drain()).await.expect("no panic");
    assert_eq!(drained, Drained { cut_connections: 1 });
    assert!(within(response.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn connections_that_wait_to_be_accepted_are_served_before_the_socket_closes() {
    let (endpoint, go) = gated().await;
    let limits =
        Limits { drain_quiet: Duration::ZERO, max_connections_per_core: 1, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut waiting = Vec::new();
    for _ in 0..20 {
        // The kernel takes the connection and the request; the proxy accepts up to its limit.
        let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it listens");
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        within(stream.write_all(request)).await.expect("it is open");
        waiting.push(stream);
    }
    let address = proxy.address;
    let drained = proxy.drain();
    while !refuses(address).await {}
    go.send_replace(true);
    for mut stream in waiting {
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.expect("nobody is sent away");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
    }
    let drained = within(drained).await.expect("no panic");
    assert_eq!(drained, Drained { cut_connections: 0 });
}

#[tokio::test]
async fn connections_that_never_said_anything_do_not_hold_up_a_drain() {
    let certificate = certificate_for(&["a.example"]);
    let limits = Limits { drain_quiet: Duration::from_millis(100), ..Limits::default() };
    let proxy = serve_with(limits, |port| {
        vec![ir_listener(https_listener("web", port, None, &["c"])), certificate.secret("c")]
    });
    let silent = client::tls(proxy.address, "a.example", &[&certificate], &[]).await;
    let drained = within(proxy.drain()).await.expect("no panic");
    assert_eq!(drained, Drained { cut_connections: 0 });
    drop(silent);
}

/// A connection with a part of a request, after so many that were answered.
async fn half_received<S>(mut stream: S, answered: usize) -> S
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let whole = "GET /whole HTTP/1.1\r\nhost: a.example\r\n\r\n".repeat(answered);
    within(stream.write_all(format!("{whole}GET /half HTTP/1.1\r\n").as_bytes()))
        .await
        .expect("it reads");
    for _ in 0..answered {
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    }
    stream
}

/// Sends the rest of it, and reads until the proxy closes.
async fn finish(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    within(stream.write_all(b"host: a.example\r\n\r\n")).await.expect("it is open");
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("it ends");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_head_of_which_a_part_is_here_is_answered() {
    let (echo, certificate) = (Echo::start("a").await, certificate_for(&["a.example"]));
    let limits = Limits { drain_quiet: Duration::ZERO, ..Limits::default() };
    let proxy = serve_with(limits.clone(), |port| simple(port, echo.address));
    let secure = serve_with(limits, |port| {
        let mut resources = simple(port, echo.address);
        resources.push(ir_listener(https_listener("web", port, None, &["c"])));
        resources.push(certificate.secret("c"));
        resources
    });
    let connect = || async { within(TcpStream::connect(proxy.address)).await.expect("it accepts") };
    let (used, unused) =
        (half_received(connect().await, 2).await, half_received(connect().await, 0).await);
    let secret = || async {
        client::tls(secure.address, "a.example", &[&certificate], &[]).await.expect("it is known")
    };
    let (used_secret, unused_secret) =
        (half_received(secret().await, 2).await, half_received(secret().await, 0).await);
    let mut silent = connect().await;
    let mut silent_secret = secret().await;
    let drained = [proxy.drain(), secure.drain()];
    // Those that say nothing have gone by then.
    assert!(within(silent.read_u8()).await.is_err());
    assert!(within(silent_secret.read_u8()).await.is_err());
    finish(used).await;
    finish(unused).await;
    finish(used_secret).await;
    finish(unused_secret).await;
    for drained in drained {
        let drained = within(drained).await.expect("no panic");
        assert_eq!(drained, Drained { cut_connections: 0 });
    }
}

#[tokio::test]
async fn dropping_the_proxy_stops_it_at_once() {
    let (endpoint, _go) = gated().await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let address = proxy.address;
    let mut client = proxy.client().await;
    let response = client.begin(client::get("a", "/")).await;
    drop(proxy);
    assert!(refuses(address).await);
    assert!(within(response.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_a_drain() {
    let echo = Echo::start("a").await;
    let limits = Limits { drain_quiet: Duration::ZERO, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let mut one = proxy.client().await;
    one.get("a", "/").await;
    let mut two: Http2Client = Http2Client::connect(proxy.address).await;
    let request = Request::get("http://a/").body(Full::default()).expect("a request");
    two.send(request).await;
    let drained = within(proxy.drain()).await.expect("no panic");
    assert_eq!(drained, Drained { cut_connections: 0 });
    one.closed_by_peer().await;
}

#[tokio::test]
async fn a_drain_that_never_gets_quiet_cuts_no_request_that_was_accepted() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let endpoint = Scripted::start(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            while !read_head(&mut stream).await.is_empty() {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(200)).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let limits = Limits {
        drain_quiet: Duration::from_secs(1),
        drain_timeout: Duration::from_secs(3),
        ..Limits::default()
    };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let address = proxy.address;
    let clients = (0..8).map(|_| {
        tokio::spawn(async move {
            let mut answered = 0;
            while let Ok(mut stream) = within(TcpStream::connect(address)).await {
                let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(request).await;
                let mut answer = String::new();
                let _ = within(stream.read_to_string(&mut answer)).await;
                answered += usize::from(answer.ends_with("ok"));
            }
            answered
        })
    });
    let clients: Vec<_> = clients.collect();
    let began = Instant::now();
    let drained = within(proxy.drain()).await.expect("no panic");
    assert_eq!(drained, Drained { cut_connections: 0 });
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let mut answered = 0;
    for client in clients {
        answered += within(client).await.expect("no panic");
    }
    assert_eq!(answered, asked.load(Ordering::Relaxed));
}
