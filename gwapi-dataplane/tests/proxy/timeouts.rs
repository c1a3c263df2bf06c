//! Timeouts: of rules, and of the proxy.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_translate::ir::HttpRule;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::clock::{SHORT, pass, timeouts, with_clock};
use super::support::upstream::{endless, read_head};
use super::support::*;

/// TO-2.
#[tokio::test]
async fn an_endpoint_that_is_too_slow_for_the_rule_is_a_504() {
    let endpoint = Scripted::silent().await;
    for timeouts in [timeouts(Some(SHORT), None), timeouts(None, Some(SHORT))] {
        let proxy = serve(|port| {
            simple_with(port, endpoint.address, |rule| rule.timeouts = timeouts.clone())
        });
        let began = Instant::now();
        let reply = proxy.get("a", "/").await;
        assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT, "{timeouts:?}");
        assert!(began.elapsed() >= SHORT, "{timeouts:?}");
    }
}

/// TO-3.
#[tokio::test]
async fn a_rule_without_timeouts_has_that_of_the_proxy() {
    let endpoint = Scripted::silent().await;
    let limits = Limits { response_head_timeout: SHORT, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn an_idle_connection_to_an_endpoint_is_closed_while_the_clients_stays_open() {
    let (closed, mut all_closed) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            while !read_head(&mut stream).await.is_empty() {
                stream.write_all(answer).await.expect("the proxy reads");
            }
            closed.send(()).expect("the test waits");
        }
    })
    .await;
    let limits = Limits { upstream_idle_timeout: SHORT, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut client = proxy.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("a", "/").await.status, StatusCode::OK);
        within(all_closed.recv()).await.expect("the endpoint sees the end of the connection");
    }
}

/// TO-1.
#[tokio::test]
async fn zero_means_no_timeout_and_a_long_one_is_not_cut_by_the_proxys() {
    let silent = Scripted::silent().await;
    let hour = Some(Duration::from_secs(3600));
    for timeouts in
        [timeouts(Some(Duration::ZERO), None), timeouts(hour, None), timeouts(None, hour)]
    {
        let (go, _) = tokio::sync::watch::channel(false);
        let gate = go.clone();
        let endpoint = Scripted::start(move |mut stream, _| {
            let mut gate = gate.subscribe();
            async move {
                read_head(&mut stream).await;
                let _ = gate.wait_for(|open| *open).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                read_head(&mut stream).await;
            }
        })
        .await;
        let limits = Limits { response_head_timeout: SHORT, ..Limits::default() };
        let proxy = serve_with(limits, |port| {
            let resources =
                simple_with(port, endpoint.address, |rule| rule.timeouts = timeouts.clone());
            with_clock(resources, &silent)
        });
        let mut client = proxy.client().await;
        let reply = tokio::spawn(async move { client.get("a", "/").await });
        for _ in 0..3 {
            pass(&proxy).await;
        }
        go.send_replace(true);
        assert_eq!(within(reply).await.expect("an answer").text(), "ok", "{timeouts:?}");
    }
}

#[tokio::test]
async fn a_timeout_after_the_head_resets_the_response() {
    let endpoint = Scripted::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
        let _ = stream.write_all(head).await;
        read_head(&mut stream).await;
    })
    .await;
    // TO-2: a second is enough for the head on a loaded machine, and short enough to wait for.
    let limit = Some(Duration::from_secs(1));
    let proxy = serve(|port| {
        simple_with(port, endpoint.address, |rule| rule.timeouts = timeouts(limit, None))
    });
    let mut client = proxy.client().await;
    let response = client.begin(client::get("a", "/")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(within(response.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn a_response_that_stops_is_reset() {
    let endpoint = Scripted::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        read_head(&mut stream).await;
    })
    .await;
    let limits = Limits { response_idle_timeout: SHORT, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut client = proxy.client().await;
    let response = client.begin(client::get("a", "/")).await;
    assert!(within(response.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn a_request_body_that_stops_is_a_408() {
    let echo = Echo::start("a").await;
    let limits = Limits { body_idle_timeout: SHORT, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let half = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf";
    let answer = client::raw(proxy.address, half).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn an_upload_that_goes_on_is_not_taken_for_a_slow_endpoint() {
    let echo = Echo::start("a").await;
    let silent = Scripted::silent().await;
    let limits = Limits { response_head_timeout: SHORT * 5, ..Limits::default() };
    let proxy = serve_with(limits, |port| with_clock(simple(port, echo.address), &silent));
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.expect("open");
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 10\r\n\r\n";
    within(stream.write_all(head)).await.expect("it reads");
    for _ in 0..10 {
        pass(&proxy).await;
        within(stream.write_all(b"x")).await.expect("it reads");
    }
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("it is text");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("xxxxxxxxxx"), "{answer}");
}

#[tokio::test]
async fn after_a_handshake_the_first_byte_has_less_time_than_the_next_request() {
    let limits = Limits { first_byte_timeout: SHORT, ..Limits::default() };
    let certificate = certificate_for(&["a.example"]);
    let proxy = serve_with(limits.clone(), |port| {
        vec![ir_listener(https_listener("web", port, None, &["c"])), certificate.secret("c")]
    });
    let connected = client::tls(proxy.address, "a.example", &[&certificate], &[]).await;
    let mut silent = connected.expect("it shakes hands");
    let mut nothing = Vec::new();
    let closed = silent.read_to_end(&mut nothing);
    // An end without a TLS alert is an error to the client, and an end all the same.
    let _ = tokio::time::timeout(limits.idle_timeout / 4, closed).await.expect("it is closed");
}

#[tokio::test]
async fn over_http2_the_first_byte_has_no_more_time_than_over_http1() {
    let (echo, silent) = (Echo::start("a").await, Scripted::silent().await);
    let clock = serve(|port| with_clock(simple(port, echo.address), &silent));
    let limits = Limits { first_byte_timeout: 4 * SHORT, ..Limits::default() };
    let certificate = certificate_for(&["a.example"]);
    let (local, builder) = (IpAddr::from([127, 0, 0, 1]), ProxyBuilder::new().limits(limits));
    let proxy = serve_on_cores(1, local, &builder, |port| {
        vec![ir_listener(https_listener("web", port, None, &["c"])), certificate.secret("c")]
    });
    let connect = async |protocol| {
        let (trusted, protocols) = ([&certificate], [protocol]);
        let connected = client::tls(proxy.address, "a.example", &trusted, &protocols).await;
        connected.expect("it shakes hands")
    };
    let mut earlier = connect("h2").await;
    pass(&clock).await;
    let mut later = connect("http/1.1").await;
    let (mut farewell, mut nothing) = (Vec::new(), Vec::new());
    // Each ends with the connection.
    tokio::select! {
        biased;
        _ = within(earlier.read_to_end(&mut farewell)) => {}
        _ = within(later.read_to_end(&mut nothing)) => panic!("it came later"),
    }
}

#[tokio::test]
async fn a_head_that_drips_is_cut_before_a_connection_that_idles() {
    let (echo, silent) = (Echo::start("a").await, Scripted::silent().await);
    let limits = Limits { head_timeout: SHORT, ..Limits::default() };
    let proxy = serve_with(limits, |port| with_clock(simple(port, echo.address), &silent));
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.expect("open");
    let whole = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    within(stream.write_all(whole)).await.expect("it reads");
    for _ in 0..3 {
        pass(&proxy).await;
    }
    // It was idle for longer than a head may take; now a head begins and does not end.
    within(stream.write_all(&whole[..10])).await.expect("it reads");
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(echo.requests().len(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection() {
    let (endpoint, mut ended) = endless().await;
    let limits = Limits { write_stall_timeout: SHORT, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.expect("open");
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    within(stream.write_all(request)).await.expect("it reads");
    within(ended.recv()).await.expect("the endpoint is let go");
    drop(stream);
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_its_connection_goes_on() {
    let (endpoint, mut ended) = endless().await;
    let limits = Limits { write_stall_timeout: SHORT, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut client: client::Http2Client = client::Http2Client::connect(proxy.address).await;
    let request = |method| Request::builder().method(method).uri("http://a/");
    let endless = request("GET").body(Default::default()).expect("a request");
    let response = within(client.0.send_request(endless)).await.expect("a head");
    within(ended.recv()).await.expect("the endpoint is let go");
    assert!(within(response.into_body().collect()).await.is_err(), "the stream was reset");
    let other = request("TRACE").body(Default::default()).expect("a request");
    assert_eq!(client.send(other).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_request_to_a_slow_endpoint_does_not_hold_up_others() {
    let (silent, echo) = (Scripted::silent().await, Echo::start("a").await);
    let proxy = serve(|port| {
        let mut resources = simple(port, echo.address);
        resources.extend(backend("silent", &[silent.address]));
        resources.push(ir(HttpRule {
            matches: prefix("/silent"),
            backends: to("silent"),
            ..rule("silent")
        }));
        resources
    });
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut client = proxy.client().await;
        waiting.push(tokio::spawn(async move {
            let request = Request::get("/silent").header("host", "a").body(Default::default());
            client.try_send(request.expect("a request")).await
        }));
    }
    for _ in 0..20 {
        assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    }
    for request in waiting {
        assert!(!request.is_finished());
        request.abort();
    }
}
