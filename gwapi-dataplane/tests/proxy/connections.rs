//! How many connections there may be, and how old they get.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gwapi_dataplane::Limits;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::brim::Brim;
use super::support::client::Http2Client;
use super::support::clock::pass;
use super::support::upstream::gated;
use super::support::*;

const AGE: Duration = Duration::from_millis(100);

/// Limits by which nothing but its age ends a connection within a test.
fn ageing() -> Limits {
    let long = Duration::from_secs(600);
    Limits { max_connection_age: AGE, idle_timeout: long, ..Limits::default() }
}

/// Waits until connections that are open now are old: one that is newer has ended by its age.
async fn grow_old(proxy: &Proxy) {
    let mut newer = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    let request = b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n";
    within(newer.write_all(request)).await.expect("it reads");
    let mut answer = String::new();
    within(newer.read_to_string(&mut answer)).await.expect("it ends");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}

/// Time that a connection gets at the end for what is on its way.
const LAST_CALL: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_connection_that_is_old_and_silent_has_time_for_a_request_that_is_on_its_way() {
    let echo = Echo::start("a").await;
    // Old enough to be silent for longer than that.
    let limits = Limits { max_connection_age: 2 * LAST_CALL, ..ageing() };
    let youngest = limits.max_connection_age * 9 / 10;
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let began = Instant::now();
    grow_old(&proxy).await;
    assert!(began.elapsed() >= youngest + LAST_CALL, "{:?}", began.elapsed());
}

/// Sends a request and a part of the next one.
async fn half_received(address: SocketAddr) -> TcpStream {
    let mut stream = within(TcpStream::connect(address)).await.expect("it accepts");
    let requests = b"GET /first HTTP/1.1\r\nhost: a\r\n\r\nGET /second HTTP/1.1\r\n";
    within(stream.write_all(requests)).await.expect("it reads");
    stream
}

#[tokio::test]
async fn a_head_of_which_a_part_is_here_when_a_connection_is_old_is_answered() {
    let echo = Echo::start("a").await;
    // Old enough for the first request to be over before.
    let limits = Limits { max_connection_age: 2 * LAST_CALL, ..ageing() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let mut stream = half_received(proxy.address).await;
    // Others, that are silent, end meanwhile.
    for _ in 0..2 {
        grow_old(&proxy).await;
    }
    within(stream.write_all(b"host: a\r\n\r\n")).await.expect("it is open");
    let mut answers = String::new();
    within(stream.read_to_string(&mut answers)).await.expect("it ends");
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
    assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
    let targets: Vec<_> = echo.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/first", "/second"]);
}

#[tokio::test]
async fn a_head_that_is_never_whole_does_not_keep_an_old_connection() {
    let echo = Echo::start("a").await;
    let limits = Limits { head_timeout: Duration::from_secs(1), ..ageing() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let mut stream = half_received(proxy.address).await;
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("it ends");
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn connections_of_all_cores_have_one_limit() {
    let echo = Echo::start("a").await;
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let (mut one, mut two) = (proxy.client().await, proxy.client().await);
    assert_eq!(one.get("a", "/").await.status, 200);
    assert_eq!(two.get("a", "/").await.status, 200);
    let mut third = within(TcpStream::connect(proxy.address)).await.expect("the kernel takes it");
    let request = b"GET /third HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    within(third.write_all(request)).await.expect("the kernel takes it");
    for _ in 0..50 {
        assert_eq!(one.get("a", "/").await.status, 200);
        assert_eq!(two.get("a", "/").await.status, 200);
    }
    assert!(echo.requests().iter().all(|request| request.target == "/"), "the third one waits");
    drop(one);
    let mut answer = String::new();
    within(third.read_to_string(&mut answer)).await.expect("it is served");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_place_that_gets_free_is_taken_on_any_core() {
    let echo = Echo::start("a").await;
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let requests = (0..40).map(|_| {
        let address = proxy.address;
        tokio::spawn(async move { Client::connect(address).await.get("a", "/").await.status })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(within(request).await.expect("an answer"), 200);
    }
}

#[tokio::test]
async fn a_connection_that_is_old_ends_with_its_next_answer() {
    let echo = Echo::start("a").await;
    let proxy = serve_with(ageing(), |port| simple(port, echo.address));
    let began = Instant::now();
    let mut client = proxy.client().await;
    while client.get("a", "/").await.header("connection") != Some("close") {}
    assert!(began.elapsed() >= AGE * 9 / 10, "{:?}", began.elapsed());
    client.closed_by_peer().await;
}

#[tokio::test]
async fn a_connection_that_is_old_and_idle_is_closed() {
    let echo = Echo::start("a").await;
    let proxy = serve_with(ageing(), |port| simple(port, echo.address));
    let mut client = proxy.client().await;
    assert_eq!(client.get("a", "/").await.status, 200);
    client.closed_by_peer().await;
}

#[tokio::test]
async fn what_is_in_flight_on_an_old_connection_is_finished_over_both_versions() {
    let (endpoint, go) = gated().await;
    let proxy = serve_with(ageing(), |port| simple(port, endpoint.address));
    let mut one = proxy.client().await;
    let one_response = one.begin(client::get("a", "/")).await;
    let mut two: Http2Client = Http2Client::connect(proxy.address).await;
    let request = Request::get("http://a/").body(Full::default()).expect("a request");
    let two_response = within(two.0.send_request(request)).await.expect("a head");
    grow_old(&proxy).await;
    go.send_replace(true);
    for response in [one_response, two_response] {
        let body = within(response.into_body().collect()).await.expect("it is whole");
        assert_eq!(body.to_bytes(), "done");
    }
    one.closed_by_peer().await;
    within(async {
        while !two.0.is_closed() {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test]
async fn an_old_connection_ends_when_its_client_has_taken_the_last_answer() {
    let brim = Brim::serve(ageing()).await;
    let clients = brim.fill("HTTP/1.1").await;
    // Longer than an old connection waits for another request.
    for _ in 0..10 {
        pass(&brim.proxy).await;
    }
    for client in clients {
        let length = client.length;
        assert_eq!(client.read().await.expect("it ends"), length);
    }
}
