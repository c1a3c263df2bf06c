//! Connections to endpoints that go from one request to the next: none may carry anything along.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gwapi_dataplane::{Limits, ProxyBuilder};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore, watch};
use tokio::task::JoinSet;

use crate::support::upstream::read_head;
use crate::support::*;

/// More connections than the runtime lets one task ask about in one turn.
const MANY: usize = 300;

#[tokio::test]
async fn a_broken_body_is_not_sent_again_as_an_empty_one() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for chunk in ["zz\r\n", "2\n", "-2\r\n", "0x2\r\n", "ffffffffffffffffff\r\n", "2;a\n"] {
        let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
        // The connection to the endpoint is kept, and could be tried once more.
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        within(stream.write_all(get.as_bytes())).await.expect("it reads");
        let first = within(upstream::read_head(&mut stream)).await;
        assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
        let post =
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
        within(stream.write_all(post.as_bytes())).await.expect("it reads");
        let mut answer = String::new();
        let _ = within(stream.read_to_string(&mut answer)).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunk:?}: {answer}");
    }
    assert!(echo.requests().iter().all(|request| request.method == "GET"), "{:?}", echo.requests());
}

#[tokio::test]
async fn a_connection_whose_answer_promised_a_body_that_it_cannot_have_is_not_used_again() {
    const POISON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for (name, promise) in [
        ("204", "HTTP/1.1 204 No Content\r\ncontent-length: 44\r\n\r\n"),
        ("204 in chunks", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            "103",
            "HTTP/1.1 103 Early Hints\r\ncontent-length: 44\r\n\r\n\
             HTTP/1.1 204 No Content\r\n\r\n",
        ),
    ] {
        let endpoint = Scripted::start(move |mut stream, number| async move {
            const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
            let first = if number == 0 { promise.as_bytes() } else { GOOD };
            upstream::read_head(&mut stream).await;
            let _ = stream.write_all(first).await;
            // What was promised comes when the next request is there, which must not be its own.
            while !upstream::read_head(&mut stream).await.is_empty() {
                let next = if number == 0 { POISON } else { GOOD };
                let _ = stream.write_all(next).await;
            }
        })
        .await;
        let local = std::net::IpAddr::from([127, 0, 0, 1]);
        let proxy = serve_on_cores(1, local, &gwapi_dataplane::ProxyBuilder::new(), |port| {
            simple(port, endpoint.address)
        });
        let mut client = proxy.client().await;
        assert_eq!(client.get("a", "/").await.status, 204, "{name}");
        assert_eq!(client.get("a", "/").await.text(), "good", "{name}");
    }
}

/// An endpoint that answers once all of `MANY` requests are there, and later does to all of its
/// connections what `then` says.
async fn crowd(then: &'static [u8]) -> (Scripted, watch::Sender<bool>, Arc<Semaphore>) {
    let all = Arc::new(Barrier::new(MANY));
    let (go, _) = watch::channel(false);
    let done = Arc::new(Semaphore::new(0));
    let (gate, did) = (go.clone(), Arc::clone(&done));
    let endpoint = Scripted::start(move |mut stream, number| {
        let (all, mut gate, did) = (Arc::clone(&all), gate.subscribe(), Arc::clone(&did));
        async move {
            const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
            if number < MANY {
                upstream::read_head(&mut stream).await;
                all.wait().await;
                let _ = stream.write_all(GOOD).await;
                let _ = gate.wait_for(|go| *go).await;
                let _ = stream.write_all(then).await;
                let _ = stream.shutdown().await;
                did.add_permits(1);
            }
            while !upstream::read_head(&mut stream).await.is_empty() {
                let _ = stream.write_all(GOOD).await;
            }
        }
    })
    .await;
    (endpoint, go, done)
}

/// After many connections to an endpoint have gone bad while idle, each request has its own answer.
async fn survives(then: &'static [u8]) {
    gwapi_dataplane::raise_open_files_limit().expect("it can be raised");
    let (endpoint, go, done) = crowd(then).await;
    let limits = Limits { upstream_idle_timeout: Duration::from_secs(3600), ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let requests = (0..MANY).map(|_| {
        let address = proxy.address;
        tokio::spawn(async move { Client::connect(address).await.get("a", "/").await.status })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(within(request).await.expect("an answer"), 200);
    }
    go.send_replace(true);
    let permits = within(done.acquire_many(MANY as u32)).await.expect("all have done it");
    permits.forget();
    for _ in 0..8 {
        let mut client = proxy.client().await;
        let request = http::Request::post("/").header("host", "a").body("x".into());
        let reply = client.send(request.expect("a request")).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (200, "good"));
    }
}

#[tokio::test]
async fn many_idle_connections_that_an_endpoint_has_closed_are_not_used() {
    survives(b"").await;
}

#[tokio::test]
async fn many_idle_connections_on_which_something_came_unasked_are_not_used() {
    survives(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison").await;
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_is_served_though_the_response_has_begun() {
    const SENT: usize = 32 * 1024 * 1024;
    const ANSWERED: usize = 12 * 1024 * 1024;
    let endpoint = Scripted::start(|mut stream, _| async move {
        upstream::read_head(&mut stream).await;
        let (mut read, mut write) = stream.split();
        let answer = async {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ANSWERED}\r\n\r\n");
            write.write_all(head.as_bytes()).await.expect("it reads");
            let piece = vec![b'y'; 64 * 1024];
            for _ in 0..ANSWERED / piece.len() {
                write.write_all(&piece).await.expect("it reads");
            }
        };
        let request = async {
            let mut buffer = vec![0; 64 * 1024];
            let mut came = 0;
            while came < SENT {
                came += read.read(&mut buffer).await.expect("it sends");
            }
        };
        tokio::join!(answer, request);
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {SENT}\r\n\r\n"
    );
    within(stream.write_all(head.as_bytes())).await.expect("it reads");
    within(stream.write_all(&vec![b'x'; SENT])).await.expect("it reads all of it");
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.expect("all of the answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    assert!(answer.len() > ANSWERED);
}

/// One request on which an endpoint breaks is not tried on every connection that there is.
#[tokio::test]
async fn a_request_that_an_endpoint_closes_on_is_sent_again_once() {
    const KEPT: usize = 10;
    let (poisoned, everyone) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(KEPT)));
    let count = Arc::clone(&poisoned);
    let endpoint = Scripted::start(move |mut stream, _| {
        let (count, everyone) = (Arc::clone(&count), Arc::clone(&everyone));
        async move {
            loop {
                let head = read_head(&mut stream).await;
                if head.starts_with("GET /poison") {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                if !head.starts_with("GET /kept") {
                    return;
                }
                // So that there are as many connections as requests.
                everyone.wait().await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let local = IpAddr::from([127, 0, 0, 1]);
    let proxy =
        serve_on_cores(1, local, &ProxyBuilder::new(), |port| simple(port, endpoint.address));
    let mut kept = JoinSet::new();
    for _ in 0..KEPT {
        let mut client = proxy.client().await;
        kept.spawn(async move { client.get("a", "/kept").await.status });
    }
    while let Some(status) = within(kept.join_next()).await {
        assert_eq!(status.expect("no panic"), StatusCode::OK);
    }
    assert_eq!(proxy.get("a", "/poison").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(poisoned.load(Ordering::Relaxed), 2);
}
