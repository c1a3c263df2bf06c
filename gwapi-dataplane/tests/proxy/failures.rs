//! Endpoints that refuse, break off, or talk nonsense.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use tokio::io::AsyncWriteExt;

use super::support::upstream::{read_head, refusing};
use super::support::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_refused_connection_tries_another_endpoint() {
    let echo = Echo::start("a").await;
    let (_one, one) = refusing();
    let (_two, two) = refusing();
    let proxy = serve(|port| {
        let mut resources = simple(port, echo.address);
        resources.extend(backend("app", &[one, echo.address, two]));
        resources
    });
    for _ in 0..20 {
        let request = http::Request::post("/").header("host", "a").body("body".into());
        let reply = proxy.client().await.send(request.expect("a request")).await;
        assert_eq!((reply.endpoint(), reply.text()), ("a", "body"));
    }
}

#[tokio::test]
async fn a_backend_that_refuses_everywhere_answers_503() {
    let (_socket, address) = refusing();
    let proxy = serve(|port| simple(port, address));
    let reply = proxy.get("a", "/").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.text(), "no endpoint of the backend accepts connections\n");
}

#[tokio::test]
async fn answers_that_are_not_http_become_502() {
    for answer in [
        &b"nonsense\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
    ] {
        let endpoint = Scripted::start(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer).await;
        })
        .await;
        let proxy = serve(|port| simple(port, endpoint.address));
        let reply = proxy.get("a", "/").await;
        assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_up_before_it_answers_is_a_502_and_is_asked_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let endpoint = Scripted::start(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            read_head(&mut stream).await;
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_kept_connection_that_the_endpoint_closes_is_replaced() {
    // Each connection answers one request and then, kept open by its own word, closes on the next.
    let endpoint = Scripted::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(OK).await;
        read_head(&mut stream).await;
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client = proxy.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("a", "/").await.text(), "ok");
    }
}

#[tokio::test]
async fn a_request_that_may_not_be_sent_twice_is_not() {
    let heads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heads);
    let endpoint = Scripted::start(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            for number in 0.. {
                if read_head(&mut stream).await.is_empty() {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
                if number == 1 {
                    return;
                }
                let _ = stream.write_all(OK).await;
            }
        }
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client = proxy.client().await;
    assert_eq!(client.get("a", "/").await.text(), "ok");
    let request = http::Request::post("/").header("host", "a").body(Default::default());
    let reply = client.send(request.expect("a request")).await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
    assert_eq!(heads.load(Ordering::Relaxed), 2, "the POST was seen once");
}

#[tokio::test]
async fn bytes_after_a_response_are_never_taken_for_the_next_one() {
    let endpoint = Scripted::answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    )
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client = proxy.client().await;
    for _ in 0..20 {
        let reply = client.get("a", "/").await;
        assert_eq!(reply.text(), "ok");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_look_whole() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let endpoint = Scripted::start(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(answer).await;
        })
        .await;
        let proxy = serve(|port| simple(port, endpoint.address));
        let mut client = proxy.client().await;
        let response = client.begin(client::get("a", "/")).await;
        let body = within(http_body_util::BodyExt::collect(response.into_body())).await;
        assert!(body.is_err(), "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn fields_of_an_endpoints_connection_stay_on_it() {
    let endpoint = Scripted::answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive, x-int\r\nx-int: 1\r\n\
          keep-alive: timeout=5\r\nproxy-authenticate: Basic\r\nx-ext: 1\r\n\r\nok",
    )
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let reply = proxy.get("a", "/").await;
    for absent in ["x-int", "keep-alive", "proxy-authenticate", "connection"] {
        assert_eq!(reply.header(absent), None, "{absent}");
    }
    assert_eq!(reply.header("x-ext"), Some("1"));
}

#[tokio::test]
async fn a_head_request_learns_the_length_and_gets_no_body() {
    let endpoint = Scripted::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n").await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client = proxy.client().await;
    for _ in 0..3 {
        let request = http::Request::head("/").header("host", "a").body(Default::default());
        let reply = client.send(request.expect("a request")).await;
        assert_eq!(reply.header("content-length"), Some("1234"));
        assert!(reply.body.is_empty());
    }
}

#[tokio::test]
async fn an_endpoint_of_http_1_0_is_served_as_http_1_1() {
    let endpoint = Scripted::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nto the end").await;
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("a", "/").await.text(), "to the end");
    }
}
