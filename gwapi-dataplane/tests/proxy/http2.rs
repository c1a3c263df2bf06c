//! HTTP/2 on either side, and what changes between the versions.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use gwapi_translate::ir::{BackendProtocol, HttpRule};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame};

use super::support::client::Http2Client;
use super::support::upstream::refusing;
use super::support::*;

/// A body whose length nobody is told, with trailers.
struct Pieces {
    pieces: Vec<&'static str>,
    trailers: Option<HeaderMap>,
}

impl Pieces {
    fn new(pieces: &[&'static str]) -> Self {
        Self { pieces: pieces.iter().rev().copied().collect(), trailers: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.pieces.pop().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())));
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }
}

fn h2c(port: u16, echo: &Echo) -> Vec<gwapi_translate::ir::IrResource> {
    let mut resources = simple(port, echo.address);
    resources.retain(|resource| !matches!(resource, gwapi_translate::ir::IrResource::Backend(_)));
    resources.push(backend_speaking(BackendProtocol::H2c, "app", &[]).remove(0));
    resources
}

#[tokio::test]
async fn http2_by_prior_knowledge_shares_the_port_with_http1() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client: Http2Client = Http2Client::connect(proxy.address).await;
    for path in ["/1", "/2"] {
        let uri = format!("http://a.example{path}");
        let request = Request::get(uri).header("cookie", "a=1").header("cookie", "b=2");
        let reply = client.send(request.body(Full::default()).expect("a request")).await;
        assert_eq!((reply.endpoint(), reply.header("x-target")), ("a", Some(path)));
    }
    assert_eq!(proxy.get("a.example", "/3").await.endpoint(), "a");
    let seen = &echo.requests()[0];
    assert_eq!(seen.version, Version::HTTP_11);
    assert_eq!(seen.headers("host"), ["a.example"]);
    assert_eq!(seen.headers("cookie"), ["a=1; b=2"]);
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
}

#[tokio::test]
async fn a_body_without_a_length_arrives_whatever_the_method() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for method in ["POST", "PUT", "GET", "DELETE"] {
        let mut client = Http2Client::connect(proxy.address).await;
        let request = Request::builder().method(method).uri("http://a.example/");
        let body = Pieces::new(&["one ", "two"]);
        let reply = client.send(request.body(body).expect("a request")).await;
        assert_eq!(reply.text(), "one two", "{method}");
        let seen = echo.requests().pop().expect("a request");
        assert_eq!(seen.header("transfer-encoding"), Some("chunked"), "{method}");
    }
}

#[tokio::test]
async fn a_request_without_a_body_gets_none_on_the_way() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client: Http2Client = Http2Client::connect(proxy.address).await;
    let request = Request::get("http://a.example/").body(Full::default());
    client.send(request.expect("a request")).await;
    let seen = echo.only_request();
    assert_eq!(seen.header("transfer-encoding"), None);
    assert_eq!(seen.header("content-length"), None);
}

#[tokio::test]
async fn backends_may_speak_http2() {
    let echo = Echo::h2c("two").await;
    let proxy = serve(|port| h2c(port, &echo));
    let mut client = proxy.client().await;
    for _ in 0..3 {
        let request = Request::post("/p?q").header("host", "A.example:81").body("body".into());
        let reply = client.send(request.expect("a request")).await;
        assert_eq!((reply.endpoint(), reply.text()), ("two", "body"));
    }
    let seen = &echo.requests()[0];
    assert_eq!(seen.version, Version::HTTP_2);
    assert_eq!(seen.target, "http://A.example:81/p?q");
    assert_eq!(seen.header("host"), None);
    assert_eq!(seen.header("x-forwarded-host"), Some("A.example:81"));
}

#[tokio::test]
async fn trailers_pass_from_http2_to_http2() {
    let echo = Echo::h2c("two").await;
    let proxy = serve(|port| h2c(port, &echo));
    let mut client = Http2Client::connect(proxy.address).await;
    let mut body = Pieces::new(&["data"]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    // They mean nothing behind a body, or would claim something of the client.
    for forbidden in ["set-cookie", "x-forwarded-for", "x_user", "authorization"] {
        trailers.insert(forbidden, HeaderValue::from_static("evil"));
    }
    body.trailers = Some(trailers);
    let request = Request::post("http://a.example/").header("te", "trailers").body(body);
    let reply = client.send(request.expect("a request")).await;
    assert_eq!(reply.text(), "data");
    assert_eq!(reply.trailers.expect("there are trailers")["x-sum"], "42");
    let seen = echo.only_request();
    assert_eq!(seen.header("te"), Some("trailers"));
    assert_eq!(seen.header("connection"), None);
    let trailers = seen.trailers.expect("there are trailers");
    assert_eq!((&trailers["x-sum"], trailers.len()), (&HeaderValue::from_static("42"), 1));
}

#[tokio::test]
async fn many_streams_share_one_connection_each_way() {
    let echo = Echo::h2c("two").await;
    let proxy = serve(|port| h2c(port, &echo));
    let client: Http2Client = Http2Client::connect(proxy.address).await;
    let requests = (0..200).map(|number| {
        let mut client = Http2Client(client.0.clone());
        tokio::spawn(async move {
            let request = Request::get(format!("http://a.example/{number}")).body(Full::default());
            let reply = client.send(request.expect("a request")).await;
            assert_eq!(reply.header("x-target"), Some(&*format!("http://a.example/{number}")));
        })
    });
    for request in requests.collect::<Vec<_>>() {
        within(request).await.expect("it got its own answer");
    }
    assert_eq!(echo.connections(), 1);
}

#[tokio::test]
async fn malformed_requests_over_http2_are_answered_and_go_nowhere() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client: Http2Client = Http2Client::connect(proxy.address).await;
    let get = || Request::get("http://a.example/");
    let many = (0..101).fold(get(), |request, n| request.header(format!("x-{n}"), "1"));
    for (request, status) in
        [(Request::get("http://a/\u{7f}"), 400), (get().method("TRACE"), 405), (many, 431)]
    {
        let Ok(request) = request.body(Full::default()) else { continue };
        assert_eq!(client.send(request).await.status.as_u16(), status);
    }
    assert!(echo.requests().is_empty());
    let request = get().body(Full::default()).expect("a request");
    assert_eq!(client.send(request).await.status, StatusCode::OK, "the connection goes on");
}

#[tokio::test]
async fn lengths_that_differ_as_text_go_nowhere_and_equal_ones_are_passed_on_as_one() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client: Http2Client = Http2Client::connect(proxy.address).await;
    let post = |lengths: &[&str]| {
        let request = Request::post("http://a.example/");
        let request = lengths.iter().fold(request, |it, text| it.header("content-length", *text));
        request.body(Full::from("hello")).expect("a request")
    };
    for lengths in [&["5", "05"][..], &["05"], &["05", "05"]] {
        let reply = client.send(post(lengths)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{lengths:?}");
    }
    assert!(echo.requests().is_empty(), "{:?}", echo.requests());
    assert_eq!(client.send(post(&["5", "5"])).await.text(), "hello");
    assert_eq!(echo.only_request().headers("content-length"), ["5"]);
}

#[tokio::test]
async fn a_slow_reader_does_not_make_the_proxy_buffer_the_response() {
    // An endless response: the proxy may only take as much of it as the client's window allows.
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let endpoint = Scripted::start(move |mut stream, _| {
        let count = std::sync::Arc::clone(&count);
        async move {
            use tokio::io::AsyncWriteExt;
            upstream::read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let piece = [b'x'; 64 * 1024];
            while stream.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), std::sync::atomic::Ordering::Relaxed);
            }
        }
    })
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut slow: Http2Client = Http2Client::connect(proxy.address).await;
    let request = Request::get("http://a.example/").body(Full::default());
    let response = within(slow.0.send_request(request.expect("a request"))).await;
    let mut body = response.expect("a head").into_body();
    within(body.frame()).await.expect("a piece").expect("it is whole");
    // Once it has stopped, it has stopped: two looks, with other traffic in between.
    let mut before = usize::MAX;
    loop {
        let now = sent.load(std::sync::atomic::Ordering::Relaxed);
        if now == before {
            break;
        }
        before = now;
        for _ in 0..20 {
            let mut other: Http2Client = Http2Client::connect(proxy.address).await;
            let request = Request::get("http://nowhere.example:1/").method("TRACE");
            other.send(request.body(Full::default()).expect("a request")).await;
        }
    }
    assert!(before < 32 * 1024 * 1024, "{before} bytes left the endpoint");
    drop(body);
}

/// RFC 9110 9.3.2: whoever answers. A client of HTTP/2 resets a stream that has content all the same.
#[tokio::test]
async fn a_head_request_gets_no_content_of_the_proxy_itself() {
    let (echo, (_deaf, refusing)) = (Echo::start("a").await, refusing());
    let proxy = serve(|port| {
        let mut resources = simple_with(port, echo.address, |rule| rule.matches = prefix("/app"));
        resources.extend(backend("deaf", &[refusing]));
        let deaf = HttpRule { matches: prefix("/deaf"), backends: to("deaf"), ..rule("deaf") };
        resources.extend([ir(deaf), ir(HttpRule { matches: prefix("/no"), ..rule("no") })]);
        resources
    });
    let mut http2 = Http2Client::connect(proxy.address).await;
    for (path, status) in [("/", 404), ("/no", 500), ("/deaf", 503)] {
        let whole = proxy.get("a", path).await;
        assert_eq!((whole.status.as_u16(), whole.body.is_empty()), (status, false));
        let request = Request::head(format!("http://a{path}")).body(Full::default());
        let over_http2 = http2.send(request.expect("a request")).await;
        let request = Request::head(path).header("host", "a").body(Full::default());
        let over_http1 = proxy.client().await.send(request.expect("a request")).await;
        for (version, reply) in [(2, over_http2), (1, over_http1)] {
            assert_eq!(
                (reply.status.as_u16(), reply.text()),
                (status, ""),
                "HTTP/{version} {path}"
            );
            let lengths = [&reply, &whole].map(|it| it.header("content-length"));
            assert_eq!(lengths[0], lengths[1], "HTTP/{version} {path}");
        }
    }
}
