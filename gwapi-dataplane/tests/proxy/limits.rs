//! Limits that no other test here is about, each by its name.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_translate::ir::BackendProtocol;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::support::clock::SHORT;
use super::support::frames::{self, *};
use super::support::upstream::{long, read_head};
use super::support::*;

/// Longer than any test goes on.
const HOUR: Duration = Duration::from_secs(3600);

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// What happens at an endpoint that is [`held`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Request,
    Closed,
}

/// An endpoint that answers once it is told to.
struct Held {
    endpoint: Scripted,
    go: watch::Sender<bool>,
    events: mpsc::UnboundedReceiver<Event>,
    connections: Arc<AtomicUsize>,
}

async fn held() -> Held {
    let (go, _) = watch::channel(false);
    let (sender, events) = mpsc::unbounded_channel();
    let connections = Arc::new(AtomicUsize::new(0));
    let (gate, count) = (go.clone(), Arc::clone(&connections));
    let endpoint = Scripted::start(move |mut stream, _| {
        count.fetch_add(1, Ordering::Relaxed);
        let (mut gate, sender) = (gate.subscribe(), sender.clone());
        async move {
            while !read_head(&mut stream).await.is_empty() {
                let _ = sender.send(Event::Request);
                let _ = gate.wait_for(|open| *open).await;
                if stream.write_all(OK).await.is_err() {
                    break;
                }
            }
            let _ = sender.send(Event::Closed);
        }
    })
    .await;
    Held { endpoint, go, events, connections }
}

impl Held {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits until something happened so many times.
    async fn until(&mut self, event: Event, times: usize) {
        for _ in 0..times {
            while within(self.events.recv()).await.expect("the endpoint is there") != event {}
        }
    }
}

/// Asks on so many connections at once.
fn ask(proxy: &Proxy, clients: usize) -> JoinSet<StatusCode> {
    let address = proxy.address;
    let one = move |_| async move { Client::connect(address).await.get("a", "/").await.status };
    (0..clients).map(one).collect()
}

/// The next answer.
async fn next(asked: &mut JoinSet<StatusCode>) -> StatusCode {
    within(asked.join_next()).await.expect("an answer is missing").expect("no panic")
}

#[tokio::test]
async fn max_connections_per_core_leaves_the_rest_in_the_queue() {
    let echo = Echo::start("a").await;
    let limits = Limits { max_connections_per_core: 1, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let (served, mut answers) = mpsc::unbounded_channel();
    let mut clients = Vec::new();
    for number in 0..40 {
        let (served, address) = (served.clone(), proxy.address);
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            while client.get("a", &format!("/{number}")).await.status == StatusCode::OK {
                let _ = served.send(number);
            }
        }));
    }
    // The kernel spreads the clients over both cores, which then have one each.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..400 {
        seen.insert(within(answers.recv()).await.expect("clients go on"));
    }
    assert!(seen.len() <= 2, "{seen:?} are served at a time");
    // Those that go make room.
    for number in seen.clone() {
        clients[number].abort();
    }
    while seen.contains(&within(answers.recv()).await.expect("clients go on")) {}
    clients.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn max_concurrent_streams_refuses_the_next_one() {
    const REFUSED_STREAM: u32 = 7;
    let mut held = held().await;
    let limits = Limits { max_concurrent_streams: 2, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, held.endpoint.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    client.send(&[get(1), get(3)].concat()).await;
    held.until(Event::Request, 2).await;
    client.send(&get(5)).await;
    let refused = client.find(|seen| seen.stream != 0).await.expect("an answer");
    assert_eq!((refused.stream, refused.error()), (5, Some(REFUSED_STREAM)));
    held.go.send_replace(true);
    for _ in 0..2 {
        client.find(|seen| seen.kind == HEADERS).await.expect("the others are answered");
    }
}

#[tokio::test]
async fn max_send_buffer_bytes_is_what_a_stream_may_have_waiting_for_its_client() {
    // More than the kernel takes on both ways.
    const LENGTH: usize = 48 << 20;
    for (limit, whole) in [(64 << 20, true), (64 << 10, false)] {
        let (endpoint, sent) = long(LENGTH).await;
        let limits = Limits { max_send_buffer_bytes: limit, ..Limits::default() };
        let proxy = serve_with(limits, |port| simple(port, endpoint.address));
        // Windows without an end, and nobody who reads.
        let window = 0x7fff_0000_u32.to_be_bytes();
        let mut client =
            RawHttp2::with_settings(proxy.address, &[&[0, 4], &window[..]].concat()).await;
        client.send(&frame(WINDOW_UPDATE, 0, 0, &window)).await;
        client.send(&get(1)).await;
        let left = || sent.load(Ordering::Relaxed);
        if whole {
            within(async {
                while left() < LENGTH {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            continue;
        }
        // Once nothing more has left, nothing more will: many looks, with other traffic in between.
        let (mut before, mut same) = (0, 0);
        while same < 50 {
            assert_eq!(proxy.get("a", "/%zz").await.status, StatusCode::BAD_REQUEST);
            same = if left() == before && before > 0 { same + 1 } else { 0 };
            before = left();
        }
        assert!(before < LENGTH, "{before} bytes");
    }
}

/// A socket that takes one connection before it is asked for any.
fn queue_of_one() -> Socket {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("a port is free");
    listener.listen(0).expect("bound");
    listener
}

/// Fills such a queue: those that find room are connected at once, the others never.
fn fill(address: SocketAddr) -> Vec<Socket> {
    let fill = |_| {
        let waiting = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        waiting.set_nonblocking(true).expect("a socket");
        let _ = waiting.connect(&address.into());
        waiting
    };
    (0..8).map(fill).collect()
}

/// An address at which connections are neither taken nor refused: its queue is full.
fn deaf() -> (Vec<Socket>, SocketAddr) {
    let listener = queue_of_one();
    let address = listener.local_addr().expect("bound").as_socket().expect("an IP address");
    let mut sockets = fill(address);
    sockets.push(listener);
    (sockets, address)
}

#[tokio::test]
async fn connect_timeout_ends_in_another_endpoint_or_in_a_503() {
    let (_full, address) = deaf();
    let limits = Limits { connect_timeout: SHORT, ..Limits::default() };
    for protocol in [BackendProtocol::Http1, BackendProtocol::H2c] {
        let h2c = protocol == BackendProtocol::H2c;
        let echo = if h2c { Echo::h2c("b").await } else { Echo::start("a").await };
        let with = |port, addresses: &[SocketAddr]| {
            let mut resources = simple(port, address);
            resources.extend(backend_speaking(protocol, "app", addresses));
            resources
        };
        let proxy = serve_with(limits.clone(), |port| with(port, &[address]));
        let began = Instant::now();
        assert_eq!(proxy.get("a", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
        let proxy = serve_with(limits.clone(), |port| with(port, &[address, echo.address]));
        for _ in 0..4 {
            assert_eq!(proxy.get("a", "/").await.status, StatusCode::OK, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn connect_timeout_passes_once_for_all_who_wait_for_a_connection_over_http2() {
    let (_full, address) = deaf();
    let limits = Limits { connect_timeout: SHORT * 5, ..Limits::default() };
    let (builder, local) = (ProxyBuilder::new().limits(limits), "127.0.0.1".parse().expect("one"));
    let proxy = serve_on_cores(1, local, &builder, |port| {
        let mut resources = simple(port, address);
        resources.extend(backend_speaking(BackendProtocol::H2c, "app", &[address]));
        resources
    });
    let began = Instant::now();
    let mut asked = ask(&proxy, 20);
    while !asked.is_empty() {
        assert_eq!(next(&mut asked).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(began.elapsed() < SHORT * 5 * 10, "{:?}", began.elapsed());
}

/// A proxy on one core, which waits for a connection or a stream for as long as a test goes on.
fn serve_patiently(address: SocketAddr) -> Proxy {
    let limits = Limits { connect_timeout: HOUR, pending_timeout: HOUR, ..Limits::default() };
    let (builder, local) = (ProxyBuilder::new().limits(limits), "127.0.0.1".parse().expect("one"));
    serve_on_cores(1, local, &builder, |port| {
        let mut resources = simple(port, address);
        resources.extend(backend_speaking(BackendProtocol::H2c, "app", &[address]));
        resources
    })
}

/// A client that has asked so many times, once the proxy has done what it can for each.
async fn asking(proxy: &Proxy, requests: u32) -> RawHttp2 {
    let mut client = RawHttp2::connect(proxy.address).await;
    let requests: Vec<u8> = (0..requests).flat_map(|number| get(number * 2 + 1)).collect();
    client.send(&requests).await;
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.find(|seen| seen.kind == PING).await.expect("it has read all of them");
    turn(proxy).await;
    client
}

/// Waits until the only core has done what it had to do: who comes now has its turn after that.
async fn turn(proxy: &Proxy) {
    assert_eq!(proxy.get("a", "/%zz").await.status, StatusCode::BAD_REQUEST);
}

/// Says hello as an endpoint over HTTP/2, with one stream at a time. The stream of the first request, once
/// the proxy knows of that.
async fn take_one_stream(stream: &mut TcpStream) -> Option<u32> {
    let one_stream = [0, 3, 0, 0, 0, 1];
    stream.read_exact(&mut [0; PREFACE.len()]).await.ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, &one_stream)).await.ok()?;
    let (mut settled, mut first) = (false, None);
    while !settled || first.is_none() {
        let seen = frames::next(stream).await?;
        settled |= seen.kind == SETTINGS && seen.flags & ACK != 0;
        first = first.or((seen.kind == HEADERS).then_some(seen.stream));
    }
    first
}

/// Answers a request, and those that come after it.
async fn answer_all(stream: &mut TcpStream, first: u32) {
    let mut next = Some(first);
    while let Some(asked) = next {
        let answer = frame(HEADERS, END_HEADERS | END_STREAM, asked, &[0x88]);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
        next = loop {
            match frames::next(stream).await {
                Some(seen) if seen.kind == HEADERS => break Some(seen.stream),
                Some(_) => {}
                None => return,
            }
        };
    }
}

fn listening(socket: Socket) -> TcpListener {
    socket.set_nonblocking(true).expect("a socket");
    TcpListener::from_std(socket.into()).expect("a socket")
}

#[tokio::test]
async fn who_waits_for_another_connection_over_http2_gets_a_stream_that_is_free_before() {
    let listener = queue_of_one();
    let address = listener.local_addr().expect("bound").as_socket().expect("an IP address");
    let listener = listening(listener);
    let (full, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (is_full, may_go) = (Arc::clone(&full), Arc::clone(&go));
    let endpoint = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("one comes");
        // Further ones are neither taken nor refused.
        let _full = fill(address);
        let first = take_one_stream(&mut stream).await.expect("it speaks HTTP/2");
        is_full.notify_one();
        may_go.notified().await;
        answer_all(&mut stream, first).await;
    });
    let proxy = serve_patiently(address);
    let mut client = asking(&proxy, 10).await;
    within(full.notified()).await;
    // Those who wait have looked again by then, and another connection is being made.
    turn(&proxy).await;
    go.notify_one();
    for _ in 0..10 {
        client.find(|seen| seen.kind == HEADERS).await.expect("an answer");
    }
    endpoint.abort();
}

#[tokio::test]
async fn who_waits_for_a_connection_over_http2_makes_one_when_who_was_making_it_has_gone() {
    const CANCEL: u32 = 8;
    let (mut sockets, address) = deaf();
    let listener = sockets.pop().expect("the one that listens");
    let proxy = serve_patiently(address);
    let mut client = asking(&proxy, 5).await;
    client.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())).await;
    client.send(&frame(PING, 0, 0, &[1; 8])).await;
    client.find(|seen| seen.payload == [1; 8]).await.expect("it has read that");
    turn(&proxy).await;
    drop(sockets);
    let listener = listening(listener);
    let endpoint = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Some(first) = take_one_stream(&mut stream).await {
                    answer_all(&mut stream, first).await;
                }
            });
        }
    });
    for _ in 1..5 {
        client.find(|seen| seen.kind == HEADERS).await.expect("an answer");
    }
    endpoint.abort();
}

#[tokio::test]
async fn max_connections_per_endpoint_per_core_and_max_pending_per_endpoint_bound_a_backend() {
    let held = held().await;
    let limits = Limits {
        max_connections_per_endpoint_per_core: 1,
        max_pending_per_endpoint: 1,
        pending_timeout: HOUR,
        response_head_timeout: HOUR,
        ..Limits::default()
    };
    let proxy = serve_with(limits, |port| simple(port, held.endpoint.address));
    let mut asked = ask(&proxy, 24);
    // Each of the two cores has one under way and one that waits.
    for _ in 0..20 {
        assert_eq!(next(&mut asked).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    held.go.send_replace(true);
    let mut answered = 0;
    while !asked.is_empty() {
        answered += usize::from(next(&mut asked).await == StatusCode::OK);
    }
    assert!((2..=4).contains(&answered), "{answered} are answered");
    assert!(held.connections() <= 2, "{} connections", held.connections());
}

#[tokio::test]
async fn max_connections_per_endpoint_holds_for_all_cores_and_each_has_its_turn() {
    let mut held = held().await;
    let limits = Limits {
        max_connections_per_endpoint: 1,
        pending_timeout: HOUR,
        upstream_idle_timeout: HOUR,
        ..Limits::default()
    };
    let proxy = serve_with(limits, |port| simple(port, held.endpoint.address));
    let mut asked = ask(&proxy, 24);
    held.until(Event::Request, 1).await;
    assert_eq!(held.connections(), 1);
    held.go.send_replace(true);
    while !asked.is_empty() {
        assert_eq!(next(&mut asked).await, StatusCode::OK);
    }
    // One that is idle on a core is no reason for another to wait until it is too old.
    for _ in 0..12 {
        assert_eq!(proxy.get("a", "/").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn pending_timeout_ends_the_wait_for_a_connection() {
    let mut held = held().await;
    let limits =
        Limits { max_connections_per_endpoint: 1, pending_timeout: SHORT, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, held.endpoint.address));
    let mut first = ask(&proxy, 1);
    held.until(Event::Request, 1).await;
    let began = Instant::now();
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
    held.go.send_replace(true);
    assert_eq!(next(&mut first).await, StatusCode::OK);
}

#[tokio::test]
async fn max_upstream_connection_age_makes_a_new_connection() {
    for (echo, protocol) in [
        (Echo::start("a").await, BackendProtocol::Http1),
        (Echo::h2c("a").await, BackendProtocol::H2c),
    ] {
        let limits = Limits { max_upstream_connection_age: SHORT, ..Limits::default() };
        let proxy = serve_with(limits, |port| {
            let mut resources = simple(port, echo.address);
            resources.extend(backend_speaking(protocol, "app", &[echo.address]));
            resources
        });
        let mut client = proxy.client().await;
        let began = Instant::now();
        within(async {
            while echo.connections() < 2 {
                assert_eq!(client.get("a", "/").await.endpoint(), "a");
            }
        })
        .await;
        assert!(began.elapsed() >= SHORT, "{protocol:?}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn max_idle_per_endpoint_closes_the_connections_beyond() {
    let mut held = held().await;
    let limits =
        Limits { max_idle_per_endpoint: 1, upstream_idle_timeout: HOUR, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, held.endpoint.address));
    let mut asked = ask(&proxy, 6);
    held.until(Event::Request, 6).await;
    assert_eq!(held.connections(), 6);
    held.go.send_replace(true);
    while !asked.is_empty() {
        assert_eq!(next(&mut asked).await, StatusCode::OK);
    }
    // Each of the two cores keeps one.
    held.until(Event::Closed, 4).await;
}

/// An endpoint that answers with so many fields as the path says, and one that long.
async fn fields(http2: bool) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let answer = |request: Request<hyper::body::Incoming>| async move {
        let path = request.uri().path().trim_start_matches('/');
        let (count, length) = path.split_once('/').expect("two numbers");
        let value = "x".repeat(length.parse().expect("a number"));
        let mut response = Response::builder().header("content-length", 0);
        // `date` is one of them.
        for number in 2..count.parse().expect("a number") {
            response = response.header(format!("x-{number}"), &value);
        }
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).expect("it is a response"))
    };
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let io = TokioIo::new(stream);
            let serving: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = if http2 {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let serving = builder.serve_connection(io, service_fn(answer));
                Box::pin(async { drop(serving.await) })
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                let serving = builder.serve_connection(io, service_fn(answer));
                Box::pin(async { drop(serving.await) })
            };
            tokio::spawn(serving);
        }
    });
    (address, task)
}

#[tokio::test]
async fn max_response_headers_and_max_response_head_bytes_are_a_502_beyond() {
    for protocol in [BackendProtocol::Http1, BackendProtocol::H2c] {
        let (address, task) = fields(protocol == BackendProtocol::H2c).await;
        let limits =
            Limits { max_response_headers: 8, max_response_head_bytes: 4096, ..Limits::default() };
        let proxy = serve_with(limits, |port| {
            let mut resources = simple(port, address);
            resources.extend(backend_speaking(protocol, "app", &[address]));
            resources
        });
        for (path, status) in [
            ("/8/1", StatusCode::OK),
            ("/9/1", StatusCode::BAD_GATEWAY),
            ("/3/3000", StatusCode::OK),
            ("/3/5000", StatusCode::BAD_GATEWAY),
            ("/5/1500", StatusCode::BAD_GATEWAY),
            ("/8/1", StatusCode::OK),
        ] {
            assert_eq!(proxy.get("a", path).await.status, status, "{protocol:?} {path}");
        }
        task.abort();
    }
}

#[tokio::test]
async fn max_response_head_bytes_holds_for_trailers() {
    for (length, whole) in [(3000, true), (5000, false)] {
        let endpoint = Scripted::start(move |mut stream, _| async move {
            while !read_head(&mut stream).await.is_empty() {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
                let answer = format!("{head}x: {}\r\n\r\n", "x".repeat(length));
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
        .await;
        let limits = Limits { max_response_head_bytes: 4096, ..Limits::default() };
        let proxy = serve_with(limits, |port| simple(port, endpoint.address));
        let mut client = proxy.client().await;
        let response = client.begin(client::get("a", "/")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(within(response.into_body().collect()).await.is_ok(), whole, "{length}");
    }
}

#[tokio::test]
async fn max_headers_and_max_head_bytes_and_max_uri_bytes_are_what_they_are_set_to() {
    let echo = Echo::start("a").await;
    let limits =
        Limits { max_headers: 5, max_head_bytes: 16_384, max_uri_bytes: 100, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let fields = |count| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let ask = async |path: usize, fields: String| {
        let head = format!("GET /{} HTTP/1.1\r\nhost: a\r\n", "x".repeat(path));
        let request = format!("{head}connection: close\r\n{fields}\r\n");
        let answer = client::raw(proxy.address, request.as_bytes()).await;
        answer[9..12].to_owned()
    };
    assert_eq!(ask(99, fields(3)).await, "200");
    assert_eq!(ask(100, fields(3)).await, "414");
    assert_eq!(ask(0, fields(4)).await, "431");
    assert_eq!(ask(0, format!("x: {}\r\n", "x".repeat(16_000))).await, "200");
    assert_eq!(ask(0, format!("x: {}\r\n", "x".repeat(17_000))).await, "431");
}

#[tokio::test]
async fn max_upstream_connection_age_does_not_count_for_a_tunnel() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let endpoint = Scripted::start(move |mut stream, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            loop {
                let head = read_head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                if head.contains("websocket") {
                    break;
                }
                let _ = stream.write_all(OK).await;
            }
            let agree = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: websocket\r\n\r\n";
            let _ = stream.write_all(agree).await;
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    })
    .await;
    let limits = Limits { max_upstream_connection_age: SHORT, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut tunnel = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    let asking = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    within(tunnel.write_all(asking)).await.expect("it reads");
    assert!(within(read_head(&mut tunnel)).await.starts_with("HTTP/1.1 101 "));
    // What is newer than the tunnel has grown too old meanwhile.
    let mut client = proxy.client().await;
    within(async {
        while connections.load(Ordering::Relaxed) < 3 {
            assert_eq!(client.get("a", "/").await.status, StatusCode::OK);
        }
    })
    .await;
    within(tunnel.write_all(b"hello")).await.expect("it reads");
    let mut echoed = [0; 5];
    within(tunnel.read_exact(&mut echoed)).await.expect("it lives on");
    assert_eq!(&echoed, b"hello");
}
