//! What endpoints over HTTP/2 answer that no client must see, and what they refuse that another
//! connection takes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_translate::ir::{Backend, BackendProtocol, HttpRetry, HttpRule, IrResource, RetryBudget};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::Http2Client;
use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
    RawHttp2, SETTINGS, Seen, block, frame, indexed, next, request,
};
use crate::support::*;

const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
/// SETTINGS with one stream at a time.
const ONE_STREAM: &[u8] = &[0, 3, 0, 0, 0, 1];

type Fields<'a> = &'a [(&'a str, &'a str)];

/// A response: its head, and a body where there is one.
fn response(stream: u32, fields: Fields<'_>, body: &[u8]) -> Vec<u8> {
    let end = if body.is_empty() { END_STREAM } else { 0 };
    let head = frame(HEADERS, END_HEADERS | end, stream, &block(fields));
    if body.is_empty() { head } else { [head, frame(DATA, END_STREAM, stream, body)].concat() }
}

/// An endpoint over HTTP/2 that answers each request with the frames which `answer` makes of its
/// number, over all connections and from 0, and its stream.
async fn endpoint(
    settings: &'static [u8],
    answer: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static,
) -> Scripted {
    let (answer, requests) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    Scripted::start(move |stream, _| {
        let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
        async move {
            let _ = converse(stream, settings, &*answer, &requests).await;
        }
    })
    .await
}

async fn converse(
    mut stream: TcpStream,
    settings: &[u8],
    answer: &(impl Fn(usize, u32) -> Vec<u8> + Send + Sync),
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE.len()]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await?;
    while let Some(seen) = next(&mut stream).await {
        match seen.kind {
            SETTINGS if seen.flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
            }
            HEADERS => {
                let number = requests.fetch_add(1, Ordering::Relaxed);
                stream.write_all(&answer(number, seen.stream)).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A proxy on one core, whose backend speaks HTTP/2.
fn serve_h2c(limits: Limits, endpoint: &Scripted) -> Proxy {
    serve_h2c_built(&ProxyBuilder::new().limits(limits), endpoint)
}

/// The same with usual limits, and metrics.
fn serve_h2c_with_metrics(endpoint: &Scripted) -> Proxy {
    serve_h2c_built(&ProxyBuilder::new().admin(([127, 0, 0, 1], 0).into()), endpoint)
}

fn serve_h2c_built(builder: &ProxyBuilder, endpoint: &Scripted) -> Proxy {
    serve_on_cores(1, [127, 0, 0, 1].into(), builder, |port| {
        let mut resources = vec![ir_listener(listener("web", port))];
        resources.push(ir(gwapi_translate::ir::HttpRule { backends: to("app"), ..rule("app") }));
        resources.extend(backend_speaking(BackendProtocol::H2c, "app", &[endpoint.address]));
        resources
    })
}

/// What clients get over either version, for a request with this method.
async fn replies(proxy: &Proxy, method: &str) -> [(&'static str, Reply); 2] {
    let request = |uri| {
        let request = http::Request::builder().method(method).uri(uri).header("host", "a");
        request.body(client::Body::default()).expect("it is a request")
    };
    let http1 = proxy.client().await.send(request("/")).await;
    let http2 = Http2Client::connect(proxy.address).await.send(request("http://a/")).await;
    [("HTTP/1", http1), ("HTTP/2", http2)]
}

#[tokio::test]
async fn a_body_that_cannot_be_is_dropped() {
    for (name, method, status, length) in [
        ("no content", "GET", "204", false),
        ("no content, with a length", "GET", "204", true),
        ("not modified", "GET", "304", false),
        ("the head alone", "HEAD", "200", false),
    ] {
        let endpoint = endpoint(&[], move |_, stream| {
            let mut fields = vec![(":status", status)];
            fields.extend(length.then_some(("content-length", "4")));
            response(stream, &fields, b"evil")
        })
        .await;
        let proxy = serve_h2c(Limits::default(), &endpoint);
        for (protocol, reply) in replies(&proxy, method).await {
            assert_eq!(reply.status.as_str(), status, "{name}, {protocol}");
            assert_eq!(reply.text(), "", "{name}, {protocol}");
            assert_eq!(reply.header("content-length"), None, "{name}, {protocol}");
        }
    }
}

#[tokio::test]
async fn what_is_malformed_is_a_502() {
    const HINT: Fields<'_> = &[(":status", "103"), ("link", "</a>")];
    for (name, hints, fields) in [
        ("a length with a zero before it", 0, &[("content-length", "02")][..]),
        ("two lengths", 0, &[("content-length", "2"), ("content-length", "3")]),
        ("white space around a value", 0, &[("x", " a ")]),
        ("a tab after a value", 0, &[("x", "a\t")]),
        ("more hints than allowed", 34, &[]),
        ("thousands of hints", 5_000, &[]),
    ] {
        let endpoint = endpoint(&[], move |_, stream| {
            let mut bytes = frame(HEADERS, END_HEADERS, stream, &block(HINT)).repeat(hints);
            bytes.extend(response(stream, &[&[(":status", "200")], fields].concat(), b"ab"));
            bytes
        })
        .await;
        let proxy = serve_h2c(Limits::default(), &endpoint);
        for (protocol, reply) in replies(&proxy, "GET").await {
            assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{name}, {protocol}");
        }
    }
}

#[tokio::test]
async fn a_length_that_is_said_twice_and_a_few_hints_are_fine() {
    let endpoint = endpoint(&[], |_, stream| {
        let hint = frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "103")]));
        let fields = [(":status", "200"), ("content-length", "2"), ("content-length", "2")];
        [hint.repeat(32), response(stream, &fields, b"ab")].concat()
    })
    .await;
    let proxy = serve_h2c(Limits::default(), &endpoint);
    for _ in 0..10 {
        for (protocol, reply) in replies(&proxy, "GET").await {
            assert_eq!((reply.status.as_u16(), reply.text()), (200, "ab"), "{protocol}");
            assert_eq!(reply.headers("content-length"), ["2"], "{protocol}");
        }
    }
}

#[tokio::test]
async fn what_an_endpoint_says_it_has_not_looked_at_is_sent_again() {
    for (name, refusal) in [
        ("it goes away", frame(GOAWAY, 0, 0, &[0; 8])),
        ("it refuses the stream", frame(RST_STREAM, 0, 1, &REFUSED_STREAM)),
    ] {
        for (method, body, expected) in
            [("GET", "", 200), ("DELETE", "", 200), ("POST", "", 200), ("POST", "x", 502)]
        {
            let refusal = refusal.clone();
            let endpoint = endpoint(&[], move |number, stream| {
                if number == 0 {
                    refusal.clone()
                } else {
                    response(stream, &[(":status", "200")], b"ok")
                }
            })
            .await;
            let proxy = serve_h2c(Limits::default(), &endpoint);
            let request = http::Request::builder().method(method).uri("/").header("host", "a");
            let request = request.body(body.into()).expect("a request");
            let reply = proxy.client().await.send(request).await;
            assert_eq!(reply.status, expected, "{name}: {method} {body:?}");
        }
    }
}

#[tokio::test]
async fn one_that_refuses_for_ever_is_not_asked_for_ever() {
    let endpoint = endpoint(&[], |_, stream| frame(RST_STREAM, 0, stream, &REFUSED_STREAM)).await;
    let proxy = serve_h2c(Limits::default(), &endpoint);
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::BAD_GATEWAY);
}

/// An endpoint that turns every request away before it looks at it, and counts them.
async fn turning_away(
    refusal: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
) -> (Scripted, Counter) {
    let asked = Counter::default();
    let counted = Arc::clone(&asked);
    let endpoint = endpoint(&[], move |_, stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        refusal(stream)
    })
    .await;
    (endpoint, asked)
}

type Counter = Arc<AtomicUsize>;

fn refused(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &REFUSED_STREAM)
}

/// A head without a body, and so without a message.
fn unavailable(stream: u32) -> Vec<u8> {
    let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")];
    response(stream, &fields, b"")
}

/// A proxy whose rule leads to these endpoints over HTTP/2 and has requests sent again.
fn serve_retrying(attempts: u32, budget: Option<RetryBudget>, endpoints: &[SocketAddr]) -> Proxy {
    serve(|port| {
        let retry = HttpRetry { attempts, codes: vec![], backoff: Some(Duration::from_millis(1)) };
        let rule = HttpRule { backends: to("app"), retry: Some(Box::new(retry)), ..rule("app") };
        let mut resources = backend_speaking(BackendProtocol::H2c, "app", endpoints);
        for resource in &mut resources {
            if let IrResource::Backend(backend) = resource {
                let held = Backend { retry_budget: budget, ..(**backend).clone() };
                *backend = Arc::new(held);
            }
        }
        resources.extend([ir_listener(listener("web", port)), ir(rule)]);
        resources
    })
}

/// RY-2
#[tokio::test]
async fn what_is_turned_away_before_it_is_looked_at_is_tried_again_elsewhere() {
    for refusal in [refused, unavailable] {
        let (refusing, _) = turning_away(refusal).await;
        let good = endpoint(&[], |_, stream| response(stream, &[(":status", "200")], b"ok")).await;
        let proxy = serve_retrying(1, None, &[refusing.address, good.address]);
        for _ in 0..10 {
            let post = http::Request::post("/").header("host", "a").body("content".into());
            let reply = proxy.client().await.send(post.expect("a request")).await;
            assert_eq!((reply.status.as_u16(), reply.text()), (200, "ok"));
        }
    }
}

/// RY-1: N retries are N + 1 requests, and none are one.
#[tokio::test]
async fn what_is_turned_away_is_sent_as_often_as_the_rule_says() {
    for (refusal, status) in [(refused as fn(u32) -> Vec<u8>, 502), (unavailable, 200)] {
        for attempts in [0, 1, 4] {
            let (endpoint, asked) = turning_away(refusal).await;
            let proxy = serve_retrying(attempts, None, &[endpoint.address]);
            assert_eq!(proxy.get("a", "/").await.status, status);
            assert_eq!(asked.load(Ordering::Relaxed), attempts as usize + 1, "{status}");
        }
    }
}

/// X-1
#[tokio::test]
async fn what_is_turned_away_counts_where_retries_have_a_budget() {
    const HOUR: Duration = Duration::from_secs(3600);
    let budget = RetryBudget { percent: 0, interval: HOUR, min_count: 3, min_interval: HOUR };
    let (endpoint, asked) = turning_away(refused).await;
    let proxy = serve_retrying(100, Some(budget), &[endpoint.address]);
    for _ in 0..5 {
        assert_eq!(proxy.get("a", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 5 + 3);
}

#[tokio::test]
async fn one_that_says_nothing_and_answers_no_ping_is_given_up() {
    let endpoint = endpoint(&[], |_, _| Vec::new()).await;
    let limits = Limits {
        upstream_http2_ping_interval: clock::SHORT,
        upstream_http2_ping_timeout: clock::SHORT,
        response_head_timeout: Duration::from_secs(3600),
        ..Limits::default()
    };
    let proxy = serve_h2c(limits, &endpoint);
    // By default it is given 40 s.
    let reply = tokio::time::timeout(Duration::from_secs(30), proxy.get("a", "/")).await;
    assert_eq!(reply.expect("it is given up").status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn requests_beyond_the_streams_of_an_endpoint_wait_and_those_beyond_that_are_refused() {
    let endpoint = endpoint(ONE_STREAM, |_, _| Vec::new()).await;
    let limits = Limits {
        max_connections_per_endpoint_per_core: 1,
        max_pending_per_endpoint: 5,
        pending_timeout: clock::SHORT,
        ..Limits::default()
    };
    let proxy = serve_h2c(limits, &endpoint);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let address = proxy.address;
        asked.spawn(async move { Client::connect(address).await.get("a", "/").await.status });
    }
    // All but the one that the endpoint has, and never answers.
    for _ in 0..49 {
        let status = within(asked.join_next()).await.expect("there is one").expect("no panic");
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn requests_that_wait_for_a_stream_have_their_turn() {
    let endpoint =
        endpoint(ONE_STREAM, |_, stream| response(stream, &[(":status", "200")], b"ok")).await;
    let limits = Limits {
        max_connections_per_endpoint_per_core: 1,
        // The last of them waits for all others, on a machine that may have little time for them.
        pending_timeout: Duration::from_secs(3600),
        ..Limits::default()
    };
    let proxy = serve_h2c(limits, &endpoint);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let address = proxy.address;
        asked.spawn(async move { Client::connect(address).await.get("a", "/").await.status });
    }
    while let Some(status) = within(asked.join_next()).await {
        assert_eq!(status.expect("no panic"), StatusCode::OK);
    }
}

/// A body without an end, in pieces of so many bytes.
struct Endless(usize);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = Bytes::from_static(&[b'x'; 16 * 1024]).slice(..self.0);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

/// An endpoint over HTTP/2 that takes so many streams at once on a connection. `/endless` has no end, nor
/// have `/messages` and `/words`, which come in short pieces, and everything else is short. It tells of its
/// connections.
async fn endless_over_http2(streams: u32) -> (Scripted, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let endpoint = Scripted::start(move |stream, _| {
        count.fetch_add(1, Ordering::Relaxed);
        let service = hyper::service::service_fn(|request: http::Request<_>| async move {
            let _: &http::Request<hyper::body::Incoming> = &request;
            let body = match request.uri().path() {
                "/endless" => Endless(16 * 1024).boxed(),
                "/messages" => Endless(10).boxed(),
                "/words" => Endless(4).boxed(),
                _ => http_body_util::Full::from("ok").boxed(),
            };
            Ok::<_, Infallible>(http::Response::new(body))
        });
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.max_concurrent_streams(streams);
        let serving = server.serve_connection(TokioIo::new(stream), service);
        async move {
            let _ = serving.await;
        }
    })
    .await;
    (endpoint, connections)
}

/// Responses that a client asks for and takes nothing of, each one on its own stream.
async fn untaken(
    proxy: &Proxy,
    path: &str,
    count: usize,
) -> Vec<http::Response<hyper::body::Incoming>> {
    let mut held = Vec::new();
    while held.len() < count {
        let stream = TcpStream::connect(proxy.address).await.expect("it accepts");
        let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        client.initial_stream_window_size(1);
        let (mut sender, connection) =
            within(client.handshake(TokioIo::new(stream))).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        // As many as a client may have at once.
        for _ in 0..(count - held.len()).min(100) {
            let request =
                http::Request::get(format!("http://a{path}")).body(client::Body::default());
            let response = sender.send_request(request.expect("it is a request"));
            held.push(within(response).await.expect("the head of a response"));
        }
    }
    held
}

#[tokio::test]
async fn clients_that_take_nothing_of_their_responses_hold_up_nobody_else() {
    let (endpoint, connections) = endless_over_http2(1000).await;
    let proxy = serve_h2c(Limits::default(), &endpoint);
    let held = untaken(&proxy, "/endless", 90).await;
    for _ in 0..3 {
        assert_eq!(proxy.get("a", "/").await.text(), "ok");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    drop(held);
}

#[tokio::test]
async fn clients_that_take_none_of_many_short_messages_hold_up_nobody_else() {
    for (path, count) in [("/messages", 40), ("/words", 20)] {
        let (endpoint, connections) = endless_over_http2(1000).await;
        let proxy = serve_h2c(Limits::default(), &endpoint);
        let held = untaken(&proxy, path, count).await;
        for _ in 0..3 {
            assert_eq!(proxy.get("a", "/").await.text(), "ok");
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1, "{path}");
        drop(held);
    }
}

#[tokio::test]
async fn frames_with_nothing_in_them_break_no_connection_that_others_share() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let endpoint = Scripted::start(move |stream, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let answer = |_, stream| {
                let head = frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")]));
                let nothing = frame(DATA, 0, stream, b"").repeat(3);
                [head, nothing, frame(DATA, END_STREAM, stream, b"ok")].concat()
            };
            let _ = converse(stream, &[], &answer, &AtomicUsize::new(0)).await;
        }
    })
    .await;
    let proxy = serve_h2c(Limits::default(), &endpoint);
    // More of them than the HTTP/2 library takes.
    for _ in 0..50 {
        assert_eq!(proxy.get("a", "/").await.text(), "ok");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn streams_that_are_all_taken_make_room_on_another_connection_within_the_limits() {
    let (endpoint, connections) = endless_over_http2(10).await;
    let limits = Limits {
        max_connections_per_endpoint_per_core: 3,
        pending_timeout: clock::SHORT,
        ..Limits::default()
    };
    let proxy = serve_h2c(limits, &endpoint);
    let mut held = untaken(&proxy, "/endless", 25).await;
    assert_eq!(proxy.get("a", "/").await.text(), "ok");
    assert_eq!(connections.load(Ordering::Relaxed), 3);
    held.extend(untaken(&proxy, "/endless", 5).await);
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

/// A frame of a body: what it is, its flags, and what is in it.
type Piece = (u8, u8, &'static [u8]);

/// Sends the rest of the first response with the second one, when the client has what came before.
async fn in_two_parts(length: &'static str, pieces: [Option<Piece>; 2]) -> Scripted {
    let first = std::sync::atomic::AtomicU32::new(0);
    endpoint(&[], move |number, stream| {
        let ok = response(stream, &[(":status", "200")], b"ok");
        let [before, after] = pieces;
        if number > 0 {
            let (kind, flags, payload) = after.expect("nobody asks again");
            return [frame(kind, flags, first.load(Ordering::Relaxed), payload), ok].concat();
        }
        first.store(stream, Ordering::Relaxed);
        let fields = [(":status", "200"), ("content-length", length)];
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &block(&fields));
        if let Some((kind, flags, payload)) = before {
            bytes.extend(frame(kind, flags, stream, payload));
        }
        bytes
    })
    .await
}

/// What a client gets: whether it is whole. It asks once more when the first part is there, if more is to
/// come.
async fn is_whole(
    response: hyper::Result<http::Response<hyper::body::Incoming>>,
    [before, after]: [Option<Piece>; 2],
    proxy: &Proxy,
) -> bool {
    let Ok(response) = response else { return false };
    let mut body = response.into_body();
    if before.is_some() && !body.is_end_stream() && within(body.frame()).await.is_none() {
        return false;
    }
    if after.is_some() {
        assert_eq!(proxy.get("a", "/").await.text(), "ok");
    }
    within(body.collect()).await.is_ok()
}

#[tokio::test]
async fn a_response_whose_length_is_wrong_is_the_fault_of_its_endpoint_and_no_client_has_gone() {
    const TRAILERS: Piece = (HEADERS, END_HEADERS | END_STREAM, b"\0\x01a\x01b");
    let data = |text: &'static [u8]| Some((DATA, 0, text));
    let last = |text: &'static [u8]| Some((DATA, END_STREAM, text));
    // Over HTTP/1 a client has all of it with the last byte of its length, whatever comes then.
    for (name, length, pieces, is_whole_over) in [
        ("too short, at once", "4", [last(b"ab"), None], [false, false]),
        ("too short, in two", "4", [data(b"ab"), last(b"c")], [false, false]),
        ("too short, with an end by itself", "4", [data(b"ab"), last(b"")], [false, false]),
        ("too short, with trailers", "4", [data(b"ab"), Some(TRAILERS)], [false, false]),
        ("none at all", "2", [last(b""), None], [false, false]),
        ("none at all, late", "2", [None, last(b"")], [false, false]),
        ("too long, at once", "2", [last(b"abc"), None], [false, false]),
        ("too long, from the middle on", "3", [data(b"ab"), last(b"cd")], [false, false]),
        ("too long, in two", "2", [data(b"ab"), last(b"c")], [true, false]),
        ("too long, without an end", "2", [data(b"ab"), data(b"c")], [true, false]),
        ("one that is not to be", "0", [last(b"ab"), None], [true, false]),
        ("one that is not to be, late", "0", [None, last(b"ab")], [true, false]),
        ("right, at once", "2", [last(b"ab"), None], [true, true]),
        ("right, in two", "4", [data(b"ab"), last(b"cd")], [true, true]),
        ("right, with an end by itself", "2", [data(b"ab"), last(b"")], [true, true]),
        ("right, with trailers", "2", [data(b"ab"), Some(TRAILERS)], [true, true]),
        ("none, with an end by itself", "0", [None, last(b"")], [true, true]),
    ] {
        for (http2, expected) in [false, true].into_iter().zip(is_whole_over) {
            let endpoint = in_two_parts(length, pieces).await;
            let proxy = serve_h2c_with_metrics(&endpoint);
            let request = |uri: &str| {
                let request = http::Request::get(uri).header("host", "a");
                request.body(client::Body::default()).expect("a request")
            };
            let (mut over1, mut over2) =
                (proxy.client().await, Http2Client::connect(proxy.address).await);
            let response = if http2 {
                within(over2.0.send_request(request("http://a/"))).await
            } else {
                over1.try_begin(request("/")).await
            };
            let case = format!("{name}, HTTP/2: {http2}");
            assert_eq!(is_whole(response, pieces, &proxy).await, expected, "{case}");
            let labels = r#"gateway="default/web",listener="web",route="default/app""#;
            let count = 1 + pieces[1].iter().count();
            let all = format!("gwapi_http_requests_total{{{labels},code=\"200\"}} {count}");
            proxy.until_metric(&all).await;
            let fault = r#"reason="upstream_error"} 1"#;
            let metrics = proxy.metrics().await;
            let incomplete =
                |line: &&str| line.starts_with("gwapi_http_requests_incomplete_total{");
            let incomplete = metrics.lines().filter(incomplete).collect::<Vec<_>>();
            assert_eq!(incomplete.len(), usize::from(!expected), "{case}: {incomplete:?}");
            assert!(incomplete.iter().all(|line| line.ends_with(fault)), "{case}: {incomplete:?}");
        }
    }
}

#[tokio::test]
async fn a_response_with_too_many_trailers_is_cut() {
    for (fields, is_whole) in [(32, true), (33, false)] {
        let endpoint = endpoint(&[], move |_, stream| {
            let head = frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")]));
            let trailers = block(&[("x", "1")]).repeat(fields);
            let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
            [head, frame(DATA, 0, stream, b"data"), trailers].concat()
        })
        .await;
        let proxy = serve_h2c(Limits::default(), &endpoint);
        let mut client: Http2Client = Http2Client::connect(proxy.address).await;
        let request = http::Request::get("http://a/").body(client::Body::default());
        let response = client.0.send_request(request.expect("it is a request"));
        // Where it is cut at once its head may not come either.
        let whole = async { response.await?.into_body().collect().await };
        assert_eq!(within(whole).await.is_ok(), is_whole, "{fields} fields");
    }
}

/// The HTTP/2 library drops what is beyond 64 KiB: a client would take the rest for all of them.
#[tokio::test]
async fn a_response_whose_trailers_unpack_to_more_than_a_head_is_cut_and_others_are_not() {
    let long = |bytes: usize| block(&[("a", "1"), ("b", &"x".repeat(bytes))]);
    let table = |entries: usize| [indexed("x", &[b'x'; 4000]), vec![0x80 | 62; entries]].concat();
    let malformed = [long(66_000), block(&[("connection", "x")])].concat();
    let first_is_long = |bytes: usize| block(&[("b", &"x".repeat(bytes))]);
    // As long as so many frames, of which the last has no room.
    let full = |frames: usize| {
        let length = frames * 16_384;
        let others = first_is_long(length).len() - length;
        first_is_long(length - others)
    };
    let pieces =
        |fields: Vec<u8>, size| -> Frames { fields.chunks(size).map(<[u8]>::to_vec).collect() };
    let of = |fields| pieces(fields, 16_000);
    let with_nothing_last = [of(first_is_long(66_000)), vec![Vec::new()]].concat();
    let cases: [(&str, Frames, Option<usize>); 8] = [
        ("as long as they may be", of(long(65_000)), Some(2)),
        ("longer", of(long(66_000)), None),
        ("in as many frames as the library takes", of(long(100_000)), None),
        ("longer, and malformed", of(malformed), None),
        ("longer, with nothing in the last frame", with_nothing_last, None),
        ("longer, with a last frame that has no room", pieces(full(5), 16_384), None),
        ("out of the table", of(table(15)), Some(16)),
        ("more of it", of(table(16)), None),
    ];
    for (name, frames, fields) in cases {
        let endpoint = endpoint(&[], move |number, stream| {
            let head = frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")]));
            if number == 0 {
                return head;
            }
            let last = frames.len() - 1;
            let of_block = |(at, piece): (usize, &Vec<u8>)| {
                let end = if at == last { END_HEADERS } else { 0 };
                match at {
                    0 => frame(HEADERS, END_STREAM | end, stream, piece),
                    _ => frame(CONTINUATION, end, stream, piece),
                }
            };
            let bytes = frames.iter().enumerate().flat_map(of_block).collect::<Vec<_>>();
            // And the end of another response behind it.
            let other = frame(DATA, END_STREAM, stream - 2, b"whole");
            [head, frame(DATA, 0, stream, b"data"), bytes, other].concat()
        })
        .await;
        let limits = Limits { max_connections_per_endpoint_per_core: 1, ..Limits::default() };
        let proxy = serve_h2c(limits, &endpoint);
        let mut client: Http2Client = Http2Client::connect(proxy.address).await;
        let mut ask = async || {
            let request = http::Request::get("http://a/").body(client::Body::default());
            client.0.send_request(request.expect("it is a request")).await
        };
        let other = within(ask()).await.expect("its head comes").into_body();
        // Where it is cut at once its head may not come either.
        let whole = async { ask().await?.into_body().collect().await };
        let whole = within(whole).await.ok();
        let passed = whole.map(|whole| whole.trailers().map_or(0, http::HeaderMap::len));
        assert_eq!(passed, fields, "{name}");
        let other = within(other.collect()).await.expect("it is none of its business");
        assert_eq!(other.to_bytes(), "whole", "{name}");
    }
}

/// The payloads of the frames of a block.
type Frames = Vec<Vec<u8>>;

/// What an endpoint answers before a request is over, in frames for its stream.
type Early = fn(u32) -> Vec<u8>;

/// An endpoint over HTTP/2 with these settings, which answers GETs with `ok` and whatever else comes as it is told.
/// It tells of the streams that are reset, with the codes.
async fn telling_of_resets(
    settings: &'static [u8],
    answer: impl Fn(&Seen) -> Vec<u8> + Copy + Send + Sync + 'static,
) -> (Scripted, tokio::sync::mpsc::UnboundedReceiver<Option<u32>>) {
    let (resets, reset) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let resets = resets.clone();
        async move {
            stream.read_exact(&mut [0; PREFACE.len()]).await.expect("it speaks HTTP/2");
            let mut bytes = frame(SETTINGS, 0, 0, settings);
            loop {
                let sent = stream.write_all(&bytes).await;
                let (Ok(()), Some(seen)) = (sent, next(&mut stream).await) else { return };
                bytes = match seen.kind {
                    SETTINGS if seen.flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
                    HEADERS if seen.flags & END_STREAM != 0 => {
                        response(seen.stream, &[(":status", "200")], b"ok")
                    }
                    RST_STREAM => {
                        let _ = resets.send(seen.error());
                        Vec::new()
                    }
                    _ => answer(&seen),
                };
            }
        }
    })
    .await;
    (endpoint, reset)
}

#[tokio::test]
async fn a_client_that_sends_on_after_its_answer_holds_up_nobody_else() {
    /// The same, and no room for bodies before a window says so.
    const NO_ROOM: &[u8] = &[0, 3, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0];
    const CANCEL: u32 = 8;
    let early: [(&str, Early); 4] = [
        ("a head alone", |stream| response(stream, &[(":status", "200")], b"")),
        ("a body", |stream| response(stream, &[(":status", "200")], b"early")),
        ("one that cannot have a body", |stream| {
            frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "204")]))
        }),
        ("what is malformed", |stream| response(stream, &[(":status", "200"), ("x", " a")], b"a")),
    ];
    for (name, early) in early {
        for settings in [ONE_STREAM, NO_ROOM] {
            let at_once = move |seen: &Seen| match seen.kind {
                HEADERS => early(seen.stream),
                _ => Vec::new(),
            };
            let (endpoint, mut resets) = telling_of_resets(settings, at_once).await;
            let limits = Limits { max_connections_per_endpoint_per_core: 1, ..Limits::default() };
            let proxy = serve_h2c(limits, &endpoint);
            let mut client = RawHttp2::connect(proxy.address).await;
            for stream in [1, 3, 5] {
                client.send(&frame(HEADERS, END_HEADERS, stream, &request("POST"))).await;
                client.send(&frame(DATA, 0, stream, b"to be continued")).await;
                let answer = client.find(|it| it.kind == HEADERS && it.stream == stream).await;
                assert!(answer.is_some(), "{name}");
                assert_eq!(proxy.get("a", "/").await.text(), "ok", "{name}");
                assert_eq!(within(resets.recv()).await, Some(Some(CANCEL)), "{name}");
            }
        }
    }
}

/// The library has the last piece of the request, and would keep it, and the stream, for ever.
#[tokio::test]
async fn an_endpoint_that_reads_no_last_piece_keeps_no_stream_for_it() {
    /// One request at a time, with room for a byte of each.
    const ROOM_FOR_A_BYTE: &[u8] = &[0, 3, 0, 0, 0, 1, 0, 4, 0, 0, 0, 1];
    const CANCEL: u32 = 8;
    let trailers = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x", "1")]));
    for answers in [true, false] {
        // It reads no more of a POST than its first byte, where it may answer it, and resets none.
        let at_first_byte = move |seen: &Seen| match seen.kind {
            DATA if answers => response(seen.stream, &[(":status", "200")], b"early"),
            _ => Vec::new(),
        };
        let (endpoint, mut resets) = telling_of_resets(ROOM_FOR_A_BYTE, at_first_byte).await;
        let limits = Limits { max_connections_per_endpoint_per_core: 1, ..Limits::default() };
        let proxy = serve_h2c(limits, &endpoint);
        let mut client = RawHttp2::connect(proxy.address).await;
        for (stream, flags, end) in [
            (1, END_STREAM, Vec::new()),
            (3, 0, frame(DATA, END_STREAM, 3, b"")),
            (5, 0, trailers(5)),
            (7, END_STREAM, Vec::new()),
        ] {
            // It has said what it has room for.
            assert_eq!(proxy.get("a", "/").await.text(), "ok", "before {stream}");
            let post = frame(HEADERS, END_HEADERS, stream, &request("POST"));
            client.send(&[post, frame(DATA, flags, stream, b"all of it"), end].concat()).await;
            if answers {
                let answer = client.find(|it| it.kind == HEADERS && it.stream == stream).await;
                assert!(answer.is_some(), "{stream}");
            } else {
                // Once the proxy has all of it.
                client.send(&frame(PING, 0, 0, &[0; 8])).await;
                client.find(|it| it.kind == PING && it.flags & ACK != 0).await.expect("a pong");
                assert!(proxy.get("a", "/%zz").await.status.is_client_error());
                client.send(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())).await;
            }
            assert_eq!(within(resets.recv()).await, Some(Some(CANCEL)), "{stream}");
        }
    }
}

/// Where there is sure to be room for the last piece of a request, its end comes with it.
#[tokio::test]
async fn what_was_not_sent_of_a_request_takes_no_room_from_those_after_it() {
    /// One request at a time, with room for a hundred bytes of each.
    const LITTLE_ROOM: &[u8] = &[0, 3, 0, 0, 0, 1, 0, 4, 0, 0, 0, 100];
    let at_first_piece = |seen: &Seen| match seen.kind {
        DATA if seen.payload.is_empty() => Vec::new(),
        DATA if seen.flags & END_STREAM != 0 => {
            response(seen.stream, &[(":status", "200")], b"with its end")
        }
        DATA => response(seen.stream, &[(":status", "200")], b"without"),
        _ => Vec::new(),
    };
    let (endpoint, mut resets) = telling_of_resets(LITTLE_ROOM, at_first_piece).await;
    let limits = Limits { max_connections_per_endpoint_per_core: 1, ..Limits::default() };
    let proxy = serve_h2c(limits, &endpoint);
    assert_eq!(proxy.get("a", "/").await.text(), "ok", "it has said what it has room for");
    let mut client = RawHttp2::connect(proxy.address).await;
    // In all more than a connection has room for.
    for number in 0..=10 {
        let (stream, last) = (number * 2 + 1, number == 10);
        let body = if last { &b"short"[..] } else { &[b'x'; 16_000] };
        let post = frame(HEADERS, END_HEADERS, stream, &request("POST"));
        client.send(&[post, frame(DATA, END_STREAM, stream, body)].concat()).await;
        let answer = client.find(|it| it.kind == DATA && it.stream == stream).await;
        let answer = answer.expect("an answer").payload;
        if last {
            assert_eq!(answer, b"with its end");
        } else {
            assert_eq!(answer, b"without");
            assert!(within(resets.recv()).await.is_some());
        }
    }
}

#[tokio::test]
async fn a_request_goes_on_while_its_answer_does() {
    let endpoint = Scripted::start(|mut stream, _| async move {
        stream.read_exact(&mut [0; PREFACE.len()]).await.expect("it speaks HTTP/2");
        let mut bytes = frame(SETTINGS, 0, 0, &[]);
        loop {
            let sent = stream.write_all(&bytes).await;
            let (Ok(()), Some(seen)) = (sent, next(&mut stream).await) else { return };
            let head = block(&[(":status", "200")]);
            bytes = match seen.kind {
                SETTINGS if seen.flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
                HEADERS => frame(HEADERS, END_HEADERS, seen.stream, &head),
                DATA => frame(DATA, seen.flags, seen.stream, &seen.payload),
                _ => Vec::new(),
            };
        }
    })
    .await;
    let proxy = serve_h2c(Limits::default(), &endpoint);
    let mut client = RawHttp2::connect(proxy.address).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &request("POST"))).await;
    for (piece, flags) in [(&b"one"[..], 0), (b"two", 0), (b"three", END_STREAM)] {
        client.send(&frame(DATA, flags, 1, piece)).await;
        let echo = client.find(|it| it.kind == DATA && !it.payload.is_empty()).await;
        assert_eq!(echo.expect("an echo").payload, piece);
    }
}

/// Takes no more requests than that on this stream.
fn goes_away(stream: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[stream.to_be_bytes(), [0; 4]].concat())
}

/// An endpoint over HTTP/2 that begins an answer to each request, and sends these frames behind. It tells of
/// its connections.
async fn beginning(behind: fn(u32) -> Vec<u8>) -> (Scripted, Counter) {
    let connections = Counter::default();
    let count = Arc::clone(&connections);
    let endpoint = Scripted::start(move |stream, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let answer = |_, stream| {
                let head = frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")]));
                [head, frame(DATA, 0, stream, b"begun"), behind(stream)].concat()
            };
            let _ = converse(stream, &[], &answer, &AtomicUsize::new(0)).await;
        }
    })
    .await;
    (endpoint, connections)
}

#[tokio::test]
async fn connections_that_take_no_more_requests_count_while_they_answer() {
    type Case = (&'static str, fn(u32) -> Vec<u8>, Duration);
    let usual = Limits::default().max_upstream_connection_age;
    let cases: [Case; 2] = [
        ("it goes away", goes_away, usual),
        ("it is old", |_| Vec::new(), Duration::from_millis(1)),
    ];
    for (name, behind, age) in cases {
        let (endpoint, connections) = beginning(behind).await;
        let limits = Limits {
            max_connections_per_endpoint: 2,
            max_connections_per_endpoint_per_core: 2,
            max_upstream_connection_age: age,
            pending_timeout: clock::SHORT,
            ..Limits::default()
        };
        let proxy = serve_h2c(limits, &endpoint);
        let mut held = Vec::new();
        // A connection takes several of them where they come before it is old.
        while held.len() < 100 {
            let mut client = proxy.client().await;
            let mut response = client.begin(client::get("a", "/")).await;
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                break;
            }
            let piece = within(response.frame()).await.expect("a piece").expect("it is open");
            assert_eq!(piece.into_data().expect("data"), "begun", "{name}");
            held.push((client, response));
        }
        assert_eq!(connections.load(Ordering::Relaxed), 2, "{name}");
        let refused = proxy.get("a", "/").await.status;
        assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE, "{name}");
        drop(held);
    }
}

#[tokio::test]
async fn a_request_waits_for_the_end_of_a_connection_that_takes_no_more() {
    let (endpoint, _) = beginning(goes_away).await;
    let limits = Limits {
        max_connections_per_endpoint: 1,
        max_connections_per_endpoint_per_core: 1,
        pending_timeout: Duration::from_secs(3600),
        ..Limits::default()
    };
    let proxy = serve_h2c(limits, &endpoint);
    for _ in 0..5 {
        let mut client = proxy.client().await;
        let response = client.begin(client::get("a", "/")).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut next = proxy.client().await;
        let waiting = next.begin(client::get("a", "/"));
        let release = async {
            drop(response);
            drop(client);
        };
        let (answer, ()) = tokio::join!(waiting, release);
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
