//! What must never reach an endpoint, and what must not harm anybody else.

use gwapi_dataplane::Limits;

use super::support::*;

/// A request that would be smuggled, if anything before it were misread.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn bytes_after_a_bad_request_never_reach_an_endpoint() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(20_000));
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    let big = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost:\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a/evil\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n", "400"),
        ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        ("GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        ("GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n", "417"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 01\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\n x: folded\r\n\r\n", "400"),
        (&*long, "414"),
        (&*many, "431"),
        (&*big, "431"),
    ] {
        let answer = client::raw(proxy.address, format!("{request}{SMUGGLED}").as_bytes()).await;
        let start = &request[..request.len().min(60)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{start:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{start:?}: {answer}");
        assert!(echo.requests().is_empty(), "{start:?}: {:?}", echo.requests());
    }
}

#[tokio::test]
async fn a_broken_chunked_body_is_the_clients_fault_and_ends_the_connection() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for chunk in ["0x1\r\na\r\n", "+1\r\na\r\n", "fffffffffffffffff\r\n", "2\r\nabc\r\n"] {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let request = format!("{head}{chunk}0\r\n\r\n{SMUGGLED}");
        let answer = client::raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunk:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{chunk:?}: {answer}");
        // The endpoint may have seen the POST, which never became whole.
        assert!(echo.requests().is_empty(), "{chunk:?}: {:?}", echo.requests());
    }
}

#[tokio::test]
async fn transfer_encoding_wins_over_content_length_and_the_length_is_not_passed_on() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let request = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n{SMUGGLED}"
    );
    let answer = client::raw(proxy.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = echo.only_request();
    assert_eq!(seen.body, "hello");
    assert_eq!(seen.headers("transfer-encoding"), ["chunked"]);
    assert_eq!(seen.header("content-length"), None);
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
            rule.hostnames = vec![gwapi_translate::ir::Hostname::parse("good.example")];
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
    assert_eq!(echo.only_request().header("expect"), None);
    let answer = client::raw(proxy.address, ask("/elsewhere").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
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
async fn connections_beyond_the_limit_wait_and_are_served_then() {
    let echo = Echo::start("a").await;
    let limits = Limits { max_connections_per_core: 2, ..Limits::default() };
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
async fn a_client_that_goes_away_takes_its_request_along() {
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            upstream::read_head(&mut stream).await;
            let _ = sender.send("request");
            // Nothing is answered: what ends this is the end of the connection.
            upstream::read_head(&mut stream).await;
            let _ = sender.send("end");
        }
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.expect("open");
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    within(tokio::io::AsyncWriteExt::write_all(&mut stream, request)).await.expect("it reads");
    assert_eq!(within(events.recv()).await, Some("request"));
    drop(stream);
    assert_eq!(within(events.recv()).await, Some("end"));
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
async fn a_response_with_too_many_fields_is_a_502() {
    let endpoint = Scripted::start(|mut stream, _| async move {
        upstream::read_head(&mut stream).await;
        let fields: String = (0..129).map(|n| format!("x-{n}: 1\r\n")).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    assert_eq!(proxy.get("a", "/").await.status, 502);
}

#[tokio::test]
async fn informational_responses_end_here() {
    let endpoint = Scripted::answering(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = client::raw(proxy.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
}
