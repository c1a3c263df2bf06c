//! Requests over HTTP/1: what is refused, what is put right, what goes through as it is.

use gwapi_translate::ir::Hostname;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

/// A request that would be smuggled, if anything before it were misread.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// Sends each request, with another right behind it: the first is answered with its status, the
/// connection is closed, and neither reaches the endpoint.
async fn refused(rows: &[(&str, &[u8], u16)]) {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for (name, request, status) in rows {
        let bytes = [request, SMUGGLED.as_bytes()].concat();
        let answer = client::raw(proxy.address, &bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{name}: {answer}");
        assert!(echo.requests().is_empty(), "{name}: {:?}", echo.requests());
    }
}

/// As [`refused`], for fields of a request that is fine without them.
async fn refused_fields(rows: &[(&str, &str, u16)]) {
    let request = |fields: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").into_bytes();
    let requests: Vec<_> = rows.iter().map(|(_, fields, _)| request(fields)).collect();
    let rows = rows.iter().zip(&requests);
    let rows: Vec<_> = rows.map(|((name, _, status), it)| (*name, &**it, *status)).collect();
    refused(&rows).await;
}

#[tokio::test]
async fn a_length_that_could_be_read_in_two_ways_is_refused() {
    refused_fields(&[
        ("two that differ", "content-length: 1\r\ncontent-length: 2\r\n", 400),
        ("a list", "content-length: 1, 1\r\n", 400),
        ("a sign", "content-length: +1\r\n", 400),
        ("a negative one", "content-length: -1\r\n", 400),
        ("a hexadecimal one", "content-length: 0x1\r\n", 400),
        ("a zero in front", "content-length: 01\r\n", 400),
        ("none", "content-length:\r\n", 400),
        ("two numbers", "content-length: 1 0\r\n", 400),
        ("more than any number holds", "content-length: 99999999999999999999\r\n", 400),
        ("all that a number holds", "content-length: 18446744073709551614\r\n", 431),
    ])
    .await;
}

#[tokio::test]
async fn a_transfer_encoding_other_than_chunked_is_refused() {
    refused_fields(&[
        ("an unknown one", "transfer-encoding: xchunked\r\n", 400),
        ("identity", "transfer-encoding: identity\r\n", 400),
        ("chunked not last", "transfer-encoding: chunked, gzip\r\n", 400),
        ("another one before", "transfer-encoding: gzip, chunked\r\n", 400),
        ("chunked twice", "transfer-encoding: chunked, chunked\r\n", 400),
        ("in quotes", "transfer-encoding: \"chunked\"\r\n", 400),
        ("with a parameter", "transfer-encoding: chunked;q=1\r\n", 400),
        ("with a vertical tab", "transfer-encoding: \x0bchunked\r\n", 400),
        ("folded", "transfer-encoding:\r\n chunked\r\n", 400),
        (
            "on two lines, identity last",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
            400,
        ),
        (
            "on two lines, identity first",
            "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
            400,
        ),
        (
            "on two lines, chunked both",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            400,
        ),
    ])
    .await;
    refused(&[(
        "over HTTP/1.0",
        b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        400,
    )])
    .await;
}

#[tokio::test]
async fn a_malformed_field_is_refused() {
    refused_fields(&[
        ("a space before the colon", "x : 1\r\n", 400),
        ("a folded one", "x: 1\r\n folded\r\n", 400),
        ("no colon", "x\r\n", 400),
        ("no name", ": 1\r\n", 400),
        ("a space in the name", "x y: 1\r\n", 400),
        ("a parenthesis in the name", "x(: 1\r\n", 400),
        ("a control character in the name", "x\x7f: 1\r\n", 400),
        ("NUL in the name", "x\0: 1\r\n", 400),
        ("NUL in the value", "x: a\0b\r\n", 400),
        ("a bare CR in the value", "x: a\rb\r\n", 400),
        ("a bare CR for its end", "x: a\ry: b\r\n", 400),
        ("an expectation that nobody knows", "expect: 200-ok\r\n", 417),
    ])
    .await;
    refused(&[
        ("white space before the first", b"GET / HTTP/1.1\r\n host: a\r\n\r\n", 400),
        ("a space before the colon of the host", b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
    ])
    .await;
}

#[tokio::test]
async fn a_malformed_request_line_is_refused() {
    refused(&[
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nhost: a\r\n\r\n", 400),
        ("HTTP/2.0 as text", b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 400),
        ("HTTP/0.9", b"GET /\r\n", 400),
        ("a version in lower case", b"GET / http/1.1\r\nhost: a\r\n\r\n", 400),
        ("two spaces before the target", b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("two spaces before the version", b"GET /  HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("a tab in the target", b"GET /\tx HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("bare CR for its end", b"GET / HTTP/1.1\rhost: a\r\r", 400),
        ("another scheme", b"GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("userinfo in the target", b"GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("authority form", b"GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("an asterisk for GET", b"GET * HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("no slash at the start", b"GET x HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("a query alone", b"GET ?x HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("a broken escape", b"GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("NUL, escaped", b"GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n", 405),
        ("TRACE", b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", 405),
    ])
    .await;
}

#[tokio::test]
async fn a_request_without_exactly_one_proper_host_is_refused() {
    refused(&[
        ("none", b"GET / HTTP/1.1\r\n\r\n", 400),
        ("none beside a target with one", b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
        ("two", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("the same twice", b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
        ("an empty one", b"GET / HTTP/1.1\r\nhost:\r\n\r\n", 400),
        ("a path in it", b"GET / HTTP/1.1\r\nhost: a/evil\r\n\r\n", 400),
        ("userinfo in it", b"GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", 400),
        ("a list", b"GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", 400),
        ("a port that is none", b"GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n", 400),
        ("a path in it beside a target", b"GET http://a/ HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
        ("an empty one beside a target", b"GET http://a/ HTTP/1.1\r\nhost:\r\n\r\n", 400),
    ])
    .await;
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_refused() {
    let uri = |length| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(length));
    let field = |length| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(length));
    let fields: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    refused(&[
        ("a target over 16 KiB", uri(20_000).as_bytes(), 414),
        ("the longest target that the parser takes", uri(64_000).as_bytes(), 414),
        ("a target over the whole head", uri(66_000).as_bytes(), 431),
        ("more than 100 fields", many.as_bytes(), 431),
        ("a field over 64 KiB", field(100_000).as_bytes(), 431),
        ("a field over 400 KiB", field(430_000).as_bytes(), 431),
    ])
    .await;
}

#[tokio::test]
async fn a_broken_chunked_body_is_the_clients_fault_and_ends_the_connection() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let extension = format!("1;{}\r\na\r\n", "x".repeat(20_000));
    for (name, chunk) in [
        ("a hexadecimal prefix", "0x1\r\na\r\n"),
        ("a sign", "+1\r\na\r\n"),
        ("a size beyond any number", "fffffffffffffffff\r\n"),
        ("no size", "\r\na\r\n"),
        ("LF after the size", "1\na\r\n"),
        ("LF after the data", "1\r\na\n"),
        ("more data than said", "2\r\nabc\r\n"),
        ("LF in an extension", "1;a\nb\r\na\r\n"),
        ("an extension over 16 KiB", &extension),
    ] {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let request = format!("{head}{chunk}0\r\n\r\n{SMUGGLED}");
        let answer = client::raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{name}: {answer}");
        // The endpoint may have seen the POST, which never became whole.
        assert!(echo.requests().is_empty(), "{name}: {:?}", echo.requests());
    }
}

/// Sends a request to an endpoint that records it; the answer is 200.
async fn passed(request: &[u8]) -> (upstream::Recorded, String) {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let answer = client::raw(proxy.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    (echo.only_request(), answer)
}

#[tokio::test]
async fn extensions_of_chunks_end_here() {
    let (sender, mut written) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            upstream::read_head(&mut stream).await;
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n0\r\n\r\n") {
                body.push(stream.read_u8().await.expect("the body goes on to its last chunk"));
            }
            let _ = sender.send(String::from_utf8(body).expect("it is text"));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let answer = client::raw(
        proxy.address,
        b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
          5;name=value\r\nhello\r\n3 ;a;b=\"c\"\r\nyou\r\n0;last\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let written = within(written.recv()).await.expect("a body");
    let mut lines: Vec<&str> = written.split("\r\n").collect();
    // Where chunks begin and end is the proxy's to choose: beside their sizes there is the body alone.
    lines.retain(|line| usize::from_str_radix(line, 16).is_err());
    assert_eq!(lines.concat(), "helloyou", "{written:?}");
}

#[tokio::test]
async fn bytes_beyond_ascii_pass_in_values_as_they_are() {
    let (seen, _) =
        passed(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: \x80\xff\xc3\xa4\r\n\r\n")
            .await;
    assert_eq!(seen.headers["x"].as_bytes(), b"\x80\xff\xc3\xa4");
}

#[tokio::test]
async fn bare_lf_ends_a_line_and_is_not_passed_on() {
    let (seen, _) = passed(b"GET /x HTTP/1.1\nhost: a\nconnection: close\nx: 1\n\n").await;
    assert_eq!((&*seen.target, seen.headers("x")), ("/x", vec!["1"]));
}

#[tokio::test]
async fn a_fragment_ends_here() {
    let (seen, _) = passed(b"GET /x#f HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(seen.target, "/x");
}

/// What endpoints see of the paths that two servers could read differently.
const PATHS: [(&str, &str); 8] = [
    ("/\u{e4}", "/%C3%A4"),
    ("/a\\b", "/a%5Cb"),
    ("/a\\..\\b", "/a%5C..%5Cb"),
    ("/a%5cb", "/a%5Cb"),
    ("/a%2fb", "/a%2Fb"),
    ("/a%2f..%2fb", "/a%2F..%2Fb"),
    ("/a;b=c/d", "/a;b=c/d"),
    ("/a/..;/b", "/a/..;/b"),
];

#[tokio::test]
async fn an_endpoint_sees_a_path_in_its_one_form() {
    for (path, expected) in PATHS {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let (seen, _) = passed(request.as_bytes()).await;
        assert_eq!(seen.target, expected, "{path}");
    }
}

/// Over HTTP/2 nobody but the proxy looks at it.
#[tokio::test]
async fn an_endpoint_sees_a_path_in_its_one_form_whichever_version_it_came_over() {
    use frames::{END_HEADERS, END_STREAM, HEADERS, RawHttp2, block, frame};
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    for (number, (path, expected)) in (0..).zip(PATHS) {
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
        let stream = number * 2 + 1;
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))).await;
        client.find(|seen| seen.stream == stream).await.expect("an answer");
        assert_eq!(echo.requests().pop().expect("a request").target, expected, "{path}");
    }
}

#[tokio::test]
async fn a_target_without_a_path_gets_one() {
    for (target, expected) in [
        ("http://a", "/"),
        ("http://a?x=1", "/?x=1"),
        ("http://a?/../admin", "/?/../admin"),
        ("http://a/?x=1", "/?x=1"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let (seen, _) = passed(request.as_bytes()).await;
        assert_eq!(seen.target, expected, "{target}");
    }
}

#[tokio::test]
async fn names_with_an_underscore_are_dropped() {
    let (seen, _) = passed(
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx_forwarded_for: 1\r\n\
          content_length: 1\r\ntransfer_encoding: chunked\r\n\r\n",
    )
    .await;
    assert!(!seen.headers.keys().any(|name| name.as_str().contains('_')), "{:?}", seen.headers);
}

#[tokio::test]
async fn empty_lines_before_a_request_and_requests_in_a_row_are_fine() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let request = b"\r\n\r\nGET /1 HTTP/1.1\r\nhost: a\r\n\r\n\
        POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi\
        GET /3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = client::raw(proxy.address, request).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3, "{answer}");
    let seen = echo.requests();
    assert_eq!(seen.iter().map(|seen| &*seen.target).collect::<Vec<_>>(), ["/1", "/2", "/3"]);
}

#[tokio::test]
async fn a_host_is_routed_whatever_its_case_and_dot() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| {
        simple_with(port, echo.address, |rule| {
            rule.hostnames = [Hostname::parse("a.example")].into()
        })
    });
    for host in ["a.example", "A.EXAMPLE.", "a.example:80", "A.Example.:8080"] {
        assert_eq!(proxy.get(host, "/").await.endpoint(), "a", "{host}");
    }
}

#[tokio::test]
async fn options_of_the_server_itself_are_answered_by_the_proxy() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let request = b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = client::raw(proxy.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(echo.requests().is_empty());
}

#[tokio::test]
async fn transfer_encoding_wins_over_content_length_and_the_length_is_not_passed_on() {
    for fields in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
    ] {
        let echo = Echo::start("a").await;
        let proxy = serve(|port| simple(port, echo.address));
        let request =
            format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n5\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
        let answer = client::raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{fields}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{fields}: {answer}");
        let seen = echo.only_request();
        assert_eq!(seen.body, "hello", "{fields}");
        assert_eq!(seen.headers("transfer-encoding"), ["chunked"], "{fields}");
        assert_eq!(seen.header("content-length"), None, "{fields}");
    }
}

#[tokio::test]
async fn a_length_that_is_said_twice_is_passed_on_once() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let request = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1\r\n\
        content-length: 1\r\n\r\nx";
    let answer = client::raw(proxy.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(echo.only_request().headers("content-length"), ["1"]);
}

#[tokio::test]
async fn no_field_for_proxies_passes_in_either_direction() {
    let endpoint = Scripted::start(|mut stream, _| async move {
        let head = upstream::read_head(&mut stream).await.to_ascii_lowercase();
        let seen = head.lines().filter(|line| line.starts_with("proxy")).collect::<String>();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nproxy-authentication-info: a\r\nproxy-x: b\r\n\
             proxyx: c\r\ncontent-length: {}\r\n\r\n{seen}",
            seen.len()
        );
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let request = http::Request::get("/").header("host", "a").header("proxy-x", "1");
    let request = request.header("proxy-authorization", "2").header("proxyx", "3");
    let request = request.body(Default::default()).expect("a request");
    let reply = proxy.client().await.send(request).await;
    assert_eq!(reply.text(), "proxyx: 3");
    let names = reply.headers.keys().map(http::HeaderName::as_str);
    assert_eq!(names.filter(|name| name.starts_with("proxy")).collect::<Vec<_>>(), ["proxyx"]);
}

#[tokio::test]
async fn an_absolute_target_is_routed_and_forwarded_by_its_own_host() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| {
        simple_with(port, echo.address, |rule| {
            rule.hostnames = [Hostname::parse("good.example")].into();
        })
    });
    let request = b"GET http://good.example/x HTTP/1.1\r\nhost: evil\r\nconnection: close\r\n\r\n";
    let answer = client::raw(proxy.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = echo.only_request();
    assert_eq!((&*seen.target, seen.headers("host")), ("/x", vec!["good.example"]));
}

#[tokio::test]
async fn http_1_0_is_spoken_downstream_alone() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let answer = client::raw(proxy.address, b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(echo.only_request().version, http::Version::HTTP_11);
}

#[tokio::test]
async fn a_client_that_waits_for_continue_gets_it_once_and_only_if_its_body_is_wanted() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple_with(port, echo.address, |rule| rule.matches = prefix("/ok")));
    let ask = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\n\
             content-length: 2\r\n\r\nhi"
        )
    };
    let answer = client::raw(proxy.address, ask("/ok").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 100 ").count(), 1, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 1, "{answer}");
    assert_eq!(echo.only_request().headers("expect"), ["100-continue"]);
    let answer = client::raw(proxy.address, ask("/elsewhere").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

/// What a client that holds its body back sees of an endpoint, which is told how to answer.
async fn held_back(answer: &'static str, wants_body: bool) -> String {
    let endpoint = Scripted::start(move |mut stream, _| async move {
        let head = upstream::read_head(&mut stream).await;
        assert!(head.contains("expect: 100-continue\r\n"), "{head}");
        if wants_body {
            let mut body = [0; 2];
            let _ = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body).await;
        }
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        upstream::read_head(&mut stream).await;
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.expect("open");
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    within(tokio::io::AsyncWriteExt::write_all(&mut stream, head)).await.expect("it reads");
    let mut seen = within(upstream::read_head(&mut stream)).await;
    if seen.starts_with("HTTP/1.1 100 ") {
        within(tokio::io::AsyncWriteExt::write_all(&mut stream, b"hi")).await.expect("it reads");
        seen += &within(upstream::read_head(&mut stream)).await;
    }
    seen
}

#[tokio::test]
async fn a_body_that_the_endpoint_does_not_want_is_not_asked_for() {
    let seen = held_back("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", false).await;
    assert!(seen.starts_with("HTTP/1.1 400 "), "{seen}");
    assert!(seen.contains("connection: close\r\n"), "{seen}");
}

#[tokio::test]
async fn a_body_is_asked_for_where_the_endpoint_does_not_say_that_it_wants_it() {
    let seen = held_back("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true).await;
    assert!(seen.starts_with("HTTP/1.1 100 "), "{seen}");
    assert!(seen.contains("HTTP/1.1 200 "), "{seen}");
}

#[tokio::test]
async fn a_target_that_is_no_uri_is_refused_by_the_parser() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for target in ["/<", "/>", "/`", "/?<", "/?>", "/?\""] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = client::raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{target}: no body in {answer}");
    }
    assert!(echo.requests().is_empty());
}

#[tokio::test]
async fn bytes_that_are_no_text_do_not_hide_the_fields_that_connection_names() {
    for connection in [&b"x-hop, \xff"[..], b"\xe4,X-Hop"] {
        let request = [
            b"GET / HTTP/1.1\r\nhost: a\r\nx-hop: 1\r\nx-end: 2\r\nconnection: ",
            connection,
            b"\r\nconnection: close\r\n\r\n",
        ]
        .concat();
        let (seen, _) = passed(&request).await;
        assert_eq!((seen.header("x-hop"), seen.header("x-end")), (None, Some("2")));
    }
}

/// Names that mean nothing, or something else, behind a body.
const NOT_IN_TRAILERS: [&str; 24] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "keep-alive",
    "max-forwards",
    "proxy-authorization",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-server",
    "x-real-ip",
    "x_forwarded_for",
];

#[tokio::test]
async fn trailers_pass_but_for_those_that_belong_before_a_body() {
    let forbidden: String =
        NOT_IN_TRAILERS.iter().map(|name| format!("{name}: evil\r\n")).collect();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\n{forbidden}x-sum: 42\r\ncontent-digest: x\r\n\r\n"
    );
    let (seen, _) = passed(request.as_bytes()).await;
    assert_eq!(seen.body, "ok");
    let trailers = seen.trailers.expect("there are trailers");
    let mut names: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-digest", "x-sum"]);
}

#[tokio::test]
async fn trailers_beyond_what_they_may_have_are_refused() {
    for (trailers, status) in [
        ("x: 1\r\n".repeat(32), 200),
        ("x: 1\r\n".repeat(33), 431),
        (format!("x: {}\r\n", "v".repeat(8191)), 200),
        (format!("x: {}\r\n", "v".repeat(8192)), 431),
    ] {
        let echo = Echo::start("a").await;
        let proxy = serve(|port| simple(port, echo.address));
        let request = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
             0\r\n{trailers}\r\n"
        );
        let answer = client::raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert_eq!(echo.requests().len(), usize::from(status == 200));
    }
}

#[tokio::test]
async fn a_port_is_passed_on_as_everybody_writes_it() {
    for (host, expected) in [
        ("a.example:00080", "a.example:80"),
        ("a.example:", "a.example"),
        ("[::1]:080", "[::1]:80"),
        ("A.example.:81", "A.example.:81"),
    ] {
        for target in ["/".to_owned(), format!("http://{host}/")] {
            let request =
                format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let (seen, _) = passed(request.as_bytes()).await;
            assert_eq!(seen.headers("host"), [expected], "{target}");
            assert_eq!(seen.headers("x-forwarded-host"), [expected], "{target}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_an_answer_ends_is_said_to_end() {
    let early = Scripted::start(|mut stream, _| async move {
        upstream::read_head(&mut stream).await;
        let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        upstream::read_head(&mut stream).await;
    })
    .await;
    let switching = Scripted::start(|mut stream, _| async move {
        upstream::read_head(&mut stream).await;
        let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        upstream::read_head(&mut stream).await;
    })
    .await;
    let open = Scripted::start(|mut stream, _| async move {
        upstream::read_head(&mut stream).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\nx").await;
    })
    .await;
    let post =
        |path: &str| format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n");
    let old = "GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n".to_owned();
    for (name, endpoint, request, status) in [
        ("no route", &early, post("/elsewhere"), 404),
        ("an early answer", &early, post("/"), 400),
        ("an early answer that nobody asked for", &switching, post("/"), 502),
        ("a response whose end is that of the connection", &open, old, 200),
    ] {
        let proxy = serve(|port| {
            simple_with(port, endpoint.address, |rule| {
                if name == "no route" {
                    rule.matches = prefix("/here");
                }
            })
        });
        let answer = client::raw(proxy.address, request.as_bytes()).await.to_ascii_lowercase();
        assert!(answer.contains(&format!(" {status} ")), "{name}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{name}: {answer}");
        assert!(!answer.contains("keep-alive"), "{name}: {answer}");
    }
}

/// RFC 9112 9.6: a socket that is closed with bytes unread resets the connection, and the answer is lost.
#[tokio::test]
async fn an_answer_reaches_a_client_that_sends_a_long_body_before_it_reads() {
    let echo = Echo::start("a").await;
    let proxy =
        serve(|port| simple_with(port, echo.address, |rule| rule.matches = prefix("/here")));
    let body = vec![b'x'; 16 * 1024 * 1024];
    for (name, head, status) in [
        (
            "no route",
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len()),
            404,
        ),
        ("not HTTP", "POST / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), 400),
    ] {
        let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
        within(stream.write_all(head.as_bytes())).await.expect(name);
        within(stream.write_all(&body)).await.expect(name);
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.expect(name);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
    }
}

#[tokio::test]
async fn what_no_parser_takes_is_answered_while_the_rest_is_on_its_way() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let long = "x".repeat(1024 * 1024);
    for (head, status) in [
        ("POST / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), 400),
        (format!("POST / HTTP/1.1\r\nhost: a\r\nx: {long}"), 431),
        (format!("POST /{long}"), 431),
    ] {
        let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
        within(stream.write_all(head.as_bytes())).await.expect("it reads");
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.expect("no reset");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        // One that comes too late for the proxy to have seen it.
        for _ in 0..64 {
            within(stream.write_all(&[b'x'; 64 * 1024])).await.expect("no reset");
        }
    }
}

/// RFC 9110 10.1.4: TE is for the next hop alone, and says so.
#[tokio::test]
async fn te_goes_on_as_a_field_of_the_connection() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let request =
        "GET / HTTP/1.1\r\nhost: a\r\nte: trailers, gzip\r\nconnection: te, close\r\n\r\n";
    client::raw(proxy.address, request.as_bytes()).await;
    let seen = echo.only_request();
    assert_eq!((seen.headers("te"), seen.headers("connection")), (vec!["trailers"], vec!["te"]));
}
