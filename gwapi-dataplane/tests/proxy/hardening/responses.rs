//! What endpoints answer that no client must see.

use std::io::ErrorKind;
use std::time::Duration;

use gwapi_dataplane::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::Http2Client;
use crate::support::frames::{
    ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, RawHttp2, Seen, frame, get,
};
use crate::support::*;

/// An endpoint that answers one request per connection with these bytes, and closes.
async fn once(answer: Vec<u8>) -> Scripted {
    Scripted::start(move |mut stream, _| {
        let answer = answer.clone();
        async move {
            upstream::read_head(&mut stream).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            // Closing with something unread would reset, and take the answer back.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await
}

/// What a client gets of the answer.
async fn answer_to(answer: &[u8]) -> String {
    let endpoint = once(answer.to_vec()).await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client::raw(proxy.address, request).await
}

#[tokio::test]
async fn what_is_not_http_as_it_should_be_is_a_502() {
    let many: String = (0..129).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
    let hints = format!("{hints}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    for (name, answer) in [
        ("a thousand hints", hints.as_bytes()),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        ),
        ("a length with zeros before it", b"HTTP/1.1 200 OK\r\ncontent-length: 0002\r\n\r\nab"),
        ("a length with a sign", b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab"),
        (
            "a transfer encoding over HTTP/1.0",
            b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ),
        (
            "a length and a transfer encoding",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n\
              1\r\na\r\n0\r\n\r\n",
        ),
        ("a transfer encoding that is none", b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\na"),
        ("a transfer encoding that is not chunked", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\na"),
        ("a folded field", b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n"),
        ("a bare CR", b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n"),
        ("NUL", b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n"),
        ("a space before a colon", b"HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 0\r\n\r\n"),
        ("HTTP/0.9", b"hello"),
        ("the status 099", b"HTTP/1.1 099 X\r\ncontent-length: 0\r\n\r\n"),
        ("a control character in the reason", b"HTTP/1.1 200 O\x01K\r\ncontent-length: 0\r\n\r\n"),
        ("more fields than allowed", many.as_bytes()),
        ("a switch that nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
        ("nothing", b""),
    ] {
        let seen = answer_to(answer).await;
        assert!(seen.starts_with("HTTP/1.1 502 "), "{name}: {seen}");
    }
}

#[tokio::test]
async fn what_is_unusual_and_clear_goes_through() {
    for (name, answer, status) in [
        ("the status 999", &b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"[..], "999"),
        ("the status 600", b"HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n", "600"),
        ("204 with a body", b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nab", "204"),
        ("304 with a body", b"HTTP/1.1 304 Not Modified\r\n\r\nab", "304"),
    ] {
        let seen = answer_to(answer).await;
        assert!(seen.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {seen}");
        assert!(seen.ends_with("\r\n\r\n"), "{name}: no body in {seen}");
        assert!(!seen.contains("Odd") && !seen.contains("none"), "{name}: {seen}");
    }
}

/// The response to a request with this method, over a connection of HTTP/2 and one of HTTP/1.
async fn replies(method: &str, answer: &[u8]) -> [(&'static str, Reply); 2] {
    let endpoint = once(answer.to_vec()).await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let request = |uri| {
        let request = http::Request::builder().method(method).uri(uri).header("host", "a");
        request.body(client::Body::default()).expect("it is a request")
    };
    let http1 = proxy.client().await.send(request("/")).await;
    let http2 = Http2Client::connect(proxy.address).await.send(request("http://a/")).await;
    [("HTTP/1", http1), ("HTTP/2", http2)]
}

#[tokio::test]
async fn a_length_without_a_body_stays_where_it_means_something() {
    for (name, method, status, lengths) in [
        ("no content", "GET", 204, [None, None]),
        // hyper leaves it out over HTTP/1, as it may.
        ("not modified", "GET", 304, [None, Some("5")]),
        ("the head alone", "HEAD", 200, [Some("5"), Some("5")]),
    ] {
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 5\r\n\r\n");
        let replies = replies(method, answer.as_bytes()).await;
        for ((protocol, reply), length) in replies.into_iter().zip(lengths) {
            assert_eq!(reply.status, status, "{name}, {protocol}");
            assert_eq!(reply.header("content-length"), length, "{name}, {protocol}");
            assert_eq!(reply.text(), "", "{name}, {protocol}");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_never_ends_cleanly() {
    for (name, answer) in [
        ("by length", &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..]),
        ("in chunks", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    ] {
        let endpoint = once(answer.to_vec()).await;
        let proxy = serve(|port| simple(port, endpoint.address));
        let response = proxy.client().await.begin(client::get("a", "/")).await;
        let whole = within(http_body_util::BodyExt::collect(response.into_body())).await;
        assert!(whole.is_err(), "{name}, over HTTP/1");
        // Over HTTP/2 it is the stream that is reset: others of the connection go on.
        let mut client = RawHttp2::connect(proxy.address).await;
        client.send(&get(1)).await;
        let end = |seen: &Seen| {
            let ended = matches!(seen.kind, HEADERS | DATA) && seen.flags & END_STREAM != 0;
            ended || matches!(seen.kind, RST_STREAM | GOAWAY)
        };
        let end = client.find(end).await.unwrap_or_else(|| panic!("{name}: the connection ended"));
        assert_eq!((end.kind, end.stream), (RST_STREAM, 1), "{name}: {end:?}");
        assert_ne!(end.error(), Some(0), "{name}: {end:?}");
        client.send(&frame(PING, 0, 0, &[7; 8])).await;
        client.find(|seen| seen.kind == PING && seen.flags == ACK).await.expect(name);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_resets_the_connection_of_an_http10_client() {
    // Such a client takes the end of the connection for that of the body.
    for (name, rest, whole) in [("whole", "0\r\n\r\n", true), ("broken off", "", false)] {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        let endpoint = once([answer, rest].concat().into_bytes()).await;
        let proxy = serve(|port| simple(port, endpoint.address));
        let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
        within(stream.write_all(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n")).await.expect("it reads");
        let mut seen = Vec::new();
        let ended = within(stream.read_to_end(&mut seen)).await.map_err(|error| error.kind());
        match ended {
            Ok(_) => assert!(whole && seen.ends_with(b"\r\n\r\nhalf"), "{name}: {seen:?}"),
            Err(error) => assert!(!whole && error == ErrorKind::ConnectionReset, "{name}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_connection_with_bytes_after_the_body_is_closed() {
    let (sender, mut after) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, number| {
        let sender = sender.clone();
        async move {
            // What comes too much on the first connection looks like the next answer.
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
            upstream::read_head(&mut stream).await;
            let bytes = if number == 0 { format!("{answer}{evil}") } else { answer.to_owned() };
            let _ = stream.write_all(bytes.as_bytes()).await;
            let mut more = Vec::new();
            // It may be reset: there is something that the proxy does not read.
            let _ = stream.read_to_end(&mut more).await;
            let _ = sender.send((number, String::from_utf8_lossy(&more).into_owned()));
        }
    })
    .await;
    // No time closes it instead.
    let limits = Limits { upstream_idle_timeout: Duration::from_secs(3600), ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut client = proxy.client().await;
    assert_eq!(client.get("a", "/").await.text(), "ok");
    assert_eq!(within(after.recv()).await, Some((0, String::new())));
    assert_eq!(client.get("a", "/").await.text(), "ok");
}

#[tokio::test]
async fn hop_by_hop_fields_of_an_endpoint_end_here() {
    let seen = answer_to(
        b"HTTP/1.1 200 OK\r\nconnection: close, x-internal\r\nx-internal: secret\r\n\
          keep-alive: timeout=5\r\nproxy-connection: close\r\nproxy-status: x\r\n\
          upgrade: h2c\r\ncontent-length: 2\r\n\r\nok",
    )
    .await
    .to_ascii_lowercase();
    assert!(seen.starts_with("http/1.1 200 "), "{seen}");
    for absent in ["x-internal", "keep-alive", "proxy-", "upgrade", "secret"] {
        assert!(!seen.contains(absent), "{absent}: {seen}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_of_an_endpoint_end_here_for_a_client_over_http2_as_well() {
    let endpoint = once(
        b"HTTP/1.1 200 OK\r\nconnection: close, x-internal\r\nx-internal: secret\r\n\
          keep-alive: timeout=5\r\nproxy-connection: close\r\nproxy-status: x\r\nte: trailers\r\n\
          upgrade: h2c\r\ntransfer-encoding: chunked\r\nx-end: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            .to_vec(),
    )
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client: Http2Client = Http2Client::connect(proxy.address).await;
    let request = http::Request::get("http://a/").body(Default::default());
    let reply = client.send(request.expect("a request")).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, "ok"));
    let mut names: Vec<_> = reply.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["date", "x-end"]);
}

#[tokio::test]
async fn bytes_that_are_no_text_do_not_hide_the_fields_that_connection_names() {
    for connection in [&b"x-internal, \xff"[..], b"\xe4,X-Internal"] {
        let answer = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-internal: secret\r\nconnection: ",
            connection,
            b"\r\n\r\n",
        ]
        .concat();
        let seen = answer_to(&answer).await;
        assert!(seen.starts_with("HTTP/1.1 200 ") && !seen.contains("secret"), "{seen}");
    }
}

#[tokio::test]
async fn informational_responses_end_here() {
    let seen = answer_to(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
          HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    assert!(seen.starts_with("HTTP/1.1 200 ") && seen.ends_with("ok"), "{seen}");
}

#[tokio::test]
async fn trailers_of_an_endpoint_pass_but_for_those_that_belong_before_a_body() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
        set-cookie: a=b\r\ncontent-type: text/html\r\ncache-control: public\r\n\
        www-authenticate: Basic\r\nlocation: /evil\r\nx-forwarded-for: 1\r\nproxy-status: x\r\n\
        age: 1\r\nvary: x\r\nx-sum: 42\r\netag: \"x\"\r\ngrpc-status: 0\r\n\r\n";
    let [_, (_, reply)] = replies("GET", answer).await;
    assert_eq!(reply.text(), "ok");
    let trailers = reply.trailers.expect("there are trailers");
    let mut names: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["etag", "grpc-status", "x-sum"]);
}

#[tokio::test]
async fn trailers_pass_over_http1_where_the_client_takes_them_and_they_are_announced() {
    for (te, trailer, passes) in [
        ("te: trailers\r\n", "trailer: x-sum\r\n", true),
        ("te: trailers\r\n", "", false),
        ("", "trailer: x-sum\r\n", false),
    ] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{trailer}\r\n\
             2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n"
        );
        let endpoint = once(answer.into_bytes()).await;
        let proxy = serve(|port| simple(port, endpoint.address));
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{te}\r\n");
        let seen = client::raw(proxy.address, request.as_bytes()).await;
        assert_eq!(seen.contains("x-sum: 42"), passes, "{te}{trailer}: {seen}");
    }
}

#[tokio::test]
async fn a_client_that_closes_its_half_after_the_request_counts_as_gone() {
    let endpoint = Scripted::silent().await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    within(stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")).await.expect("it reads");
    within(stream.shutdown()).await.expect("it is open");
    let mut seen = Vec::new();
    let _ = within(stream.read_to_end(&mut seen)).await;
    assert_eq!(String::from_utf8_lossy(&seen), "");
}
