//! Requests over HTTP/2 that mean nothing, or something else, over HTTP/1.

use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PROTOCOL_ERROR, RST_STREAM, RawHttp2, Seen,
    block, frame,
};
use crate::support::*;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// A request for `/` of the host `a`, with more.
fn get<'a>(more: Fields<'a>) -> Vec<(&'a str, &'a str)> {
    let mut fields =
        vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    fields.extend(more);
    fields
}

/// Sends a request on a connection of its own; the frame that it is answered with.
async fn answer(proxy: &Proxy, fields: Fields<'_>) -> Seen {
    let mut client = RawHttp2::connect(proxy.address).await;
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))).await;
    let answer = client.find(|seen| seen.stream == 1 || seen.kind == frames::GOAWAY).await;
    answer.unwrap_or_else(|| panic!("no answer to {fields:?}"))
}

/// The status where HPACK writes it as it mostly does: by index, or as a literal of an indexed name.
fn status(seen: &Seen) -> Option<String> {
    if seen.kind != HEADERS {
        return None;
    }
    let known = [(0x88, "200"), (0x89, "204"), (0x8c, "400"), (0x8d, "404")];
    if let Some((_, status)) = known.iter().find(|(byte, _)| seen.payload.first() == Some(byte)) {
        return Some((*status).to_owned());
    }
    // A literal with the name `:status` and a value of three digits, in Huffman code or without.
    let [first, length, digits @ ..] = &*seen.payload else { return None };
    assert!([0x48, 0x08].contains(first), "{:x?}", seen.payload);
    let digits = &digits[..usize::from(length & 0x7f)];
    Some(if length & 0x80 == 0 {
        String::from_utf8_lossy(digits).into_owned()
    } else {
        huffman(digits)
    })
}

/// Digits in the Huffman code of HPACK (RFC 7541 Appendix B).
fn huffman(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut rest = &*bits;
    let mut text = String::new();
    while text.len() < 3 {
        let (length, digit) = match &rest[..5] {
            "00000" => (5, '0'),
            "00001" => (5, '1'),
            "00010" => (5, '2'),
            _ => {
                (6, char::from(b'3' + u8::from_str_radix(&rest[..6], 2).expect("bits") - 0b01_1001))
            }
        };
        text.push(digit);
        rest = &rest[length..];
    }
    text
}

#[tokio::test]
async fn a_malformed_request_resets_its_stream() {
    let echo = Echo::start("a").await;
    let proxy = serve_with_metrics(|port| simple(port, echo.address));
    for (name, fields) in [
        ("a host that differs", get(&[("host", "evil")])),
        ("a second host that differs", get(&[("host", "a"), ("host", "evil")])),
        ("a space before a value", get(&[("x", " 1")])),
        ("a space after a value", get(&[("x", "1 ")])),
        ("a tab before a value", get(&[("x", "\t1")])),
        ("a tab after a value", get(&[("x", "1\t")])),
        ("a tunnel to nowhere", vec![(":method", "CONNECT")]),
    ] {
        let seen = answer(&proxy, &fields).await;
        assert_eq!(
            (seen.kind, seen.error()),
            (RST_STREAM, Some(PROTOCOL_ERROR)),
            "{name}: {seen:?}"
        );
        assert!(echo.requests().is_empty(), "{name}: {:?}", echo.requests());
    }
    let labels = r#"gateway="default/web",reason="protocol_error""#;
    proxy.until_metric(&format!("gwapi_http_rejected_requests_total{{{labels}}} 7")).await;
}

#[tokio::test]
async fn what_the_http2_library_refuses_ends_the_stream_or_the_connection() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for (name, fields) in [
        ("CR in a value", get(&[("x", "1\r2")])),
        ("LF in a value", get(&[("x", "1\n2")])),
        ("NUL in a value", get(&[("x", "1\x002")])),
        ("a name in upper case", get(&[("X", "1")])),
        ("a field of the connection", get(&[("connection", "x")])),
        ("the time that the connection is kept", get(&[("keep-alive", "timeout=5")])),
        ("a field of the connection to a proxy", get(&[("proxy-connection", "keep-alive")])),
        ("an upgrade", get(&[("upgrade", "websocket")])),
        ("a transfer encoding", get(&[("transfer-encoding", "chunked")])),
        ("TE other than trailers", get(&[("te", "gzip")])),
        ("a pseudo-header after a field", get(&[("x", "1"), (":path", "/evil")])),
        ("an unknown pseudo-header", get(&[(":evil", "1")])),
        ("two methods", get(&[(":method", "POST")])),
        ("no path", vec![(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
        (
            "an empty path",
            vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")],
        ),
        ("no scheme", vec![(":method", "GET"), (":authority", "a"), (":path", "/")]),
        (
            "a tunnel with a path",
            vec![(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")],
        ),
        ("a length without a body", get(&[("content-length", "5")])),
    ] {
        let seen = answer(&proxy, &fields).await;
        assert!([RST_STREAM, frames::GOAWAY].contains(&seen.kind), "{name}: {seen:?}");
        assert_eq!(seen.error(), Some(PROTOCOL_ERROR), "{name}: {seen:?}");
        assert!(echo.requests().is_empty(), "{name}: {:?}", echo.requests());
    }
}

#[tokio::test]
async fn a_request_that_no_gateway_serves_is_answered() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let line = |method, authority, path| {
        vec![(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
    };
    for (name, fields, expected) in [
        ("no host at all", vec![(":method", "GET"), (":scheme", "http"), (":path", "/")], "400"),
        ("userinfo", line("GET", "u@a", "/"), "400"),
        ("an asterisk for GET", line("GET", "a", "*"), "400"),
        ("an asterisk for OPTIONS", line("OPTIONS", "a", "*"), "204"),
        ("a query alone", line("GET", "a", "?x=1"), "400"),
        ("a query that looks like a path", line("GET", "a", "?/../admin"), "400"),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "a:443")], "405"),
        ("TRACE", line("TRACE", "a", "/"), "405"),
    ] {
        let seen = answer(&proxy, &fields).await;
        assert_eq!(status(&seen).as_deref(), Some(expected), "{name}: {seen:x?}");
        assert!(echo.requests().is_empty(), "{name}: {:?}", echo.requests());
    }
}

/// What a client sends as if there were a tunnel ends at the proxy.
#[tokio::test]
async fn nothing_that_follows_a_connect_reaches_an_endpoint() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let target = echo.address.to_string();
    for authority in ["a:443", &target] {
        let mut client = RawHttp2::connect(proxy.address).await;
        let fields = block(&[(":method", "CONNECT"), (":authority", authority)]);
        client.send(&frame(HEADERS, END_HEADERS, 1, &fields)).await;
        let smuggled = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        client.send(&frame(DATA, 0, 1, smuggled)).await;
        let seen = client.find(|seen| seen.stream == 1).await.expect("an answer");
        assert_eq!(status(&seen).as_deref(), Some("405"), "{authority}: {seen:x?}");
        client.send(&frame(DATA, END_STREAM, 1, smuggled)).await;
        // All of it is read by the time that this is answered.
        client.send(&frame(PING, 0, 0, &[7; 8])).await;
        client.find(|seen| seen.kind == PING && seen.flags == ACK).await.expect("it goes on");
    }
    assert_eq!((echo.connections(), echo.requests().len()), (0, 0));
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    assert_eq!(echo.only_request().target, "/");
}

#[tokio::test]
async fn extended_connect_is_not_offered() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut fields = get(&[(":protocol", "websocket")]);
    fields[0].1 = "CONNECT";
    let seen = answer(&proxy, &fields).await;
    assert_eq!((seen.kind, seen.error()), (RST_STREAM, Some(PROTOCOL_ERROR)), "{seen:?}");
    assert!(echo.requests().is_empty());
}

#[tokio::test]
async fn a_request_is_rebuilt_for_http1() {
    for (name, fields) in [
        ("a host beside the authority", get(&[("host", "A")])),
        (
            "a host alone",
            vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a")],
        ),
        ("another scheme than that of the port", {
            let mut fields = get(&[]);
            fields[1].1 = "https";
            fields
        }),
    ] {
        let echo = Echo::start("a").await;
        let proxy = serve(|port| simple(port, echo.address));
        let seen = answer(&proxy, &fields).await;
        assert_eq!(status(&seen).as_deref(), Some("200"), "{name}");
        let seen = echo.only_request();
        assert_eq!(seen.version, http::Version::HTTP_11, "{name}");
        assert_eq!((&*seen.target, seen.headers("host")), ("/", vec!["a"]), "{name}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"), "{name}");
    }
}

/// Those that HTTP/2 lets pass: the others are none of its requests.
#[tokio::test]
async fn hop_by_hop_fields_of_a_client_end_here() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let fields = get(&[
        ("te", "trailers"),
        ("proxy-authorization", "Basic x"),
        ("proxy-x", "1"),
        ("http2-settings", "AAMAAABk"),
        ("x-end", "2"),
    ]);
    let seen = answer(&proxy, &fields).await;
    assert_eq!(status(&seen).as_deref(), Some("200"), "{seen:?}");
    let seen = echo.only_request();
    for absent in ["proxy-authorization", "proxy-x", "http2-settings"] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
    assert_eq!((seen.headers("te"), seen.headers("connection")), (vec!["trailers"], vec!["te"]));
    assert_eq!(seen.header("x-end"), Some("2"));
}

#[tokio::test]
async fn a_body_of_another_length_than_said_resets_the_stream() {
    let echo = Echo::start("a").await;
    let proxy = serve_with_metrics(|port| simple(port, echo.address));
    for body in ["1234", "123456"] {
        let mut client = RawHttp2::connect(proxy.address).await;
        let mut fields = get(&[("content-length", "5")]);
        fields[0].1 = "POST";
        client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
        client.send(&frame(frames::DATA, END_STREAM, 1, body.as_bytes())).await;
        let seen = client.find(|seen| seen.stream == 1 && seen.kind == RST_STREAM).await;
        assert_eq!(seen.expect("a reset").error(), Some(PROTOCOL_ERROR), "{body}");
        assert!(echo.requests().is_empty(), "{body}: {:?}", echo.requests());
    }
    let requests = within(async {
        loop {
            let metrics = proxy.metrics().await;
            let counts = metrics.lines().filter(|it| it.starts_with("gwapi_http_requests_total{"));
            let counts: Vec<_> = counts.map(str::to_owned).collect();
            if counts.iter().map(|count| number(count)).sum::<u64>() == 2 {
                return counts;
            }
        }
    })
    .await;
    assert!(requests.iter().all(|it| it.contains("code=\"400\"")), "{requests:?}");
}

/// The number at the end of a line of the metrics.
fn number(line: &str) -> u64 {
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[tokio::test]
async fn an_expectation_over_http2_is_not_passed_on_and_the_body_is() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    let mut fields = get(&[("expect", "100-continue"), ("content-length", "2")]);
    fields[0].1 = "POST";
    client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
    client.send(&frame(frames::DATA, END_STREAM, 1, b"hi")).await;
    let seen = client.find(|seen| seen.stream == 1 && seen.kind == HEADERS).await;
    let seen = seen.expect("an answer");
    assert_eq!(status(&seen).as_deref(), Some("200"), "{seen:?}");
    let seen = echo.only_request();
    assert_eq!((seen.header("expect"), &*seen.body), (None, &b"hi"[..]));
}
