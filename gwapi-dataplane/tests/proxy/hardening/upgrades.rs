//! Upgrades as a way around the gateway.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::upstream::read_head;
use crate::support::*;

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n";

/// An endpoint that tells what it sees of each request, to the end of the head and right behind it,
/// and answers with these bytes.
async fn watching(
    answer: &'static str,
) -> (Scripted, tokio::sync::mpsc::UnboundedReceiver<(String, bool)>) {
    let (sender, seen) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            loop {
                let head = read_head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                let more = stream.try_read(&mut [0; 1]);
                let early = !more.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                let _ = sender.send((head, early));
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (endpoint, seen)
}

#[tokio::test]
async fn nothing_is_forwarded_before_the_endpoint_agrees() {
    let (endpoint, mut seen) = watching(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    )
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.expect("open");
    let early = format!("{ASK}\r\nhello, early bird\r\n\r\n");
    stream.write_all(early.as_bytes()).await.expect("it reads");
    let (_, early) = within(seen.recv()).await.expect("a request");
    assert!(!early, "bytes came before the endpoint had agreed");
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    let (tunnelled, _) = within(seen.recv()).await.expect("what was sent early");
    assert_eq!(tunnelled, "hello, early bird\r\n\r\n");
}

#[tokio::test]
async fn what_follows_an_upgrade_that_is_refused_is_read_as_a_request() {
    for answer in [
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (endpoint, mut seen) = watching(answer).await;
        let proxy = serve(|port| {
            simple_with(port, endpoint.address, |rule| rule.matches = prefix("/chat"))
        });
        let smuggled =
            format!("{ASK}\r\nGET /admin HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answers = client::raw(proxy.address, smuggled.as_bytes()).await;
        assert_eq!(answers.matches("HTTP/1.1 404 ").count(), 1, "{answers}");
        assert!(!answers.contains(" 101 "), "{answers}");
        let (head, _) = within(seen.recv()).await.expect("a request");
        assert!(head.starts_with("GET /chat "), "{head}");
        assert!(seen.try_recv().is_err(), "no route leads there");
    }
}

/// An upgrade that is not passed on is none: its client has not left HTTP, whatever it believes.
#[tokio::test]
async fn what_follows_an_upgrade_that_nobody_knows_is_read_as_a_request() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple_with(port, echo.address, |rule| rule.matches = prefix("/x")));
    let ask = "GET /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n";
    let next = "GET /admin HTTP/1.1\r\nhost: a\r\n\r\n\
                GET /x/2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answers = client::raw(proxy.address, format!("{ask}{next}").as_bytes()).await;
    let statuses = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]);
    assert_eq!(statuses.collect::<Vec<_>>(), ["200", "404", "200"], "{answers}");
    let seen = echo.requests();
    assert_eq!(seen.iter().map(|seen| &*seen.target).collect::<Vec<_>>(), ["/x", "/x/2"]);
    assert_eq!((seen[0].header("upgrade"), seen[0].header("connection")), (None, None));
}

#[tokio::test]
async fn an_endpoint_that_switches_to_something_else_is_a_502() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let (endpoint, _seen) = watching(answer).await;
        let proxy = serve(|port| simple(port, endpoint.address));
        let ask = format!("{ASK}connection: close\r\n\r\n");
        let answer = client::raw(proxy.address, ask.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    }
}

#[tokio::test]
async fn an_upgrade_with_a_body_is_refused() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for body in ["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let answer = client::raw(proxy.address, format!("{ASK}{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(echo.requests().is_empty(), "{:?}", echo.requests());
    }
    let none = format!("{ASK}connection: close\r\ncontent-length: 0\r\n\r\n");
    let answer = client::raw(proxy.address, none.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_tunnel_ends_with_the_endpoint() {
    let endpoint = Scripted::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let agree =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let _ = stream.write_all(agree.as_bytes()).await;
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.expect("open");
    stream.write_all(format!("{ASK}\r\n").as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
}
