//! gRPC through the proxy: calls with real streams, and the answers that the proxy gives calls itself.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use gwapi_dataplane::Limits;
use gwapi_translate::ir::{BackendProtocol, BackendTarget, HttpRule, IrResource, WeightedBackend};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use super::support::client::Http2Client;
use super::support::clock::{SHORT, timeouts};
use super::support::upstream::refusing;
use super::support::*;

/// Messages of a client as the test sends them; the stream ends when the sender is dropped.
struct Messages(mpsc::UnboundedReceiver<Bytes>);

impl Messages {
    fn channel() -> (mpsc::UnboundedSender<Bytes>, Self) {
        let (sender, messages) = mpsc::unbounded_channel();
        (sender, Self(messages))
    }

    fn of(messages: &[&'static str]) -> Self {
        let (sender, body) = Self::channel();
        for message in messages {
            sender.send(Bytes::from_static(message.as_bytes())).expect("the body is there");
        }
        body
    }
}

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

/// What comes, as it comes, and the trailers of gRPC behind it.
struct EchoedCall {
    messages: Incoming,
    trailers: Option<HeaderMap>,
}

impl Body for EchoedCall {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let message = ready!(Pin::new(&mut self.messages).poll_frame(cx));
        Poll::Ready(message.or_else(|| self.trailers.take().map(|it| Ok(Frame::trailers(it)))))
    }
}

/// In place of a status: resets the stream of each call.
const RESETS: &str = "resets";

/// A server of gRPC: echoes messages, tells what it was called as, and ends with this status.
async fn server(status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request| async move {
                // hyper resets the stream of what cannot be answered.
                let echoed = (status != RESETS).then(|| echoed(request, status));
                echoed.ok_or_else(|| std::io::Error::other("reset"))
            });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn echoed(request: Request<Incoming>, status: &'static str) -> Response<EchoedCall> {
    let mut response = Response::builder().header("content-type", "application/grpc+proto");
    response =
        response.header("x-called", format!("{} {}", request.method(), request.uri().path()));
    for name in ["te", "grpc-timeout", "grpc-encoding", "x-bin"] {
        if let Some(value) = request.headers().get(name) {
            response = response.header(format!("x-{name}"), value);
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().expect("a number"));
    trailers.insert("grpc-message", "because%20of".parse().expect("text"));
    trailers.insert("grpc-status-details-bin", "AAAA".parse().expect("text"));
    trailers.insert("x-own", "trailer".parse().expect("text"));
    let body = EchoedCall { messages: request.into_body(), trailers: Some(trailers) };
    response.body(body).expect("a response")
}

/// A rule for all calls to a server of gRPC.
fn calls_to(port: u16, address: SocketAddr) -> Vec<IrResource> {
    let mut resources = backend_speaking(BackendProtocol::H2c, "app", &[address]);
    resources.push(ir_listener(listener("web", port)));
    resources.push(ir(HttpRule { backends: to("app"), ..rule("app") }));
    resources
}

fn call(path: &str, messages: Messages) -> Request<Messages> {
    let request = Request::post(format!("http://a.example{path}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    request.body(messages).expect("a request")
}

/// The answer to a call with one message.
async fn answer(proxy: &Proxy, path: &str) -> Reply {
    let mut client = Http2Client::connect(proxy.address).await;
    client.send(call(path, Messages::of(&["message"]))).await
}

/// Asserts that the proxy answered by itself, with trailers alone.
fn assert_trailers_only(reply: &Reply, status: &str, message: &str, what: &str) {
    assert_eq!(reply.status, StatusCode::OK, "{what}");
    assert_eq!(reply.header("content-type"), Some("application/grpc"), "{what}");
    assert_eq!(reply.header("grpc-status"), Some(status), "{what}");
    assert_eq!(reply.header("grpc-message"), Some(message), "{what}");
    assert_eq!(reply.text(), "", "{what}");
    assert_eq!(reply.trailers, None, "{what}: the status is in the head");
}

/// Messages of ten bytes; `taken` is told once so many of them were taken.
struct ShortMessages {
    left: usize,
    tell_at: usize,
    taken: Arc<Notify>,
}

impl Body for ShortMessages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        if self.left == self.tell_at {
            self.taken.notify_one();
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"a message.")))))
    }
}

/// As many as all windows between client and server hold, and more.
#[tokio::test]
async fn many_short_messages_wait_for_a_server_that_is_slow_to_read_them() {
    const WINDOW: u32 = 65_535;
    const MESSAGES: usize = 30_000;
    let taken = Arc::new(Notify::new());
    let gate = Arc::clone(&taken);
    let server = Scripted::start(move |stream, _| {
        let gate = Arc::clone(&gate);
        let service = service_fn(move |call: Request<Incoming>| {
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                let body = call.into_body().collect().await.expect("nothing breaks it");
                let length = body.to_bytes().len().to_string();
                Ok::<_, Infallible>(Response::new(http_body_util::Full::new(Bytes::from(length))))
            }
        });
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW * 1000);
        let serving = server.serve_connection(TokioIo::new(stream), service);
        async move {
            let _ = serving.await;
        }
    })
    .await;
    let proxy = serve(|port| calls_to(port, server.address));
    // Half a window may have been read and not given back yet.
    let tell_at = MESSAGES - 3 * WINDOW as usize / 2 / 10 + 500;
    let body = ShortMessages { left: MESSAGES, tell_at, taken };
    let request = Request::post("http://a.example/chat/say").body(body).expect("a request");
    let reply = Http2Client::connect(proxy.address).await.send(request).await;
    assert_eq!(reply.text(), (MESSAGES * 10).to_string());
}

/// GR-9.
#[tokio::test]
async fn a_call_streams_both_ways_before_either_side_is_done() {
    let address = server("0").await;
    let proxy = serve(|port| calls_to(port, address));
    let mut client = Http2Client::connect(proxy.address).await;
    let (sender, messages) = Messages::channel();
    let sent = client.0.send_request(call("/shop.Cart/Watch", messages));
    let mut response = within(sent).await.expect("the head comes before the first message");
    for message in ["one", "two", "three"] {
        sender.send(Bytes::from_static(message.as_bytes())).expect("the call goes on");
        let frame = within(response.frame()).await.expect("an echo").expect("no error");
        assert_eq!(frame.into_data().expect("data"), message);
    }
    drop(sender);
    let end = within(response.frame()).await.expect("trailers").expect("no error");
    let trailers = end.into_trailers().expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
}

/// GR-9.
#[tokio::test]
async fn the_status_and_trailers_of_a_server_pass_untouched() {
    let address = server("5").await;
    let proxy = serve(|port| calls_to(port, address));
    let reply = answer(&proxy, "/shop.Cart/Get").await;
    let trailers = reply.trailers.as_ref().expect("trailers");
    for (name, value) in [
        ("grpc-status", "5"),
        ("grpc-message", "because%20of"),
        ("grpc-status-details-bin", "AAAA"),
        ("x-own", "trailer"),
    ] {
        assert_eq!(trailers[name], value, "{name}");
    }
    assert_eq!((reply.status, reply.text()), (StatusCode::OK, "message"));
    assert_eq!(reply.header("content-type"), Some("application/grpc+proto"));
    assert_eq!(reply.header("grpc-status"), None, "it is in the trailers alone");
}

/// GR-9.
#[tokio::test]
async fn what_a_call_says_of_itself_passes_untouched() {
    let address = server("0").await;
    let proxy = serve(|port| calls_to(port, address));
    let mut request = call("/shop.v1.Cart/Get_All", Messages::of(&[]));
    for (name, value) in [("grpc-timeout", "1S"), ("grpc-encoding", "gzip"), ("x-bin", "AA==")] {
        request.headers_mut().insert(name, value.parse().expect("text"));
    }
    let reply = Http2Client::connect(proxy.address).await.send(request).await;
    assert_eq!(reply.header("x-called"), Some("POST /shop.v1.Cart/Get_All"));
    for (name, value) in [
        ("x-grpc-timeout", "1S"),
        ("x-grpc-encoding", "gzip"),
        ("x-x-bin", "AA=="),
        ("x-te", "trailers"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
}

/// GR-1.
#[tokio::test]
async fn calls_over_tls_negotiate_http2() {
    let certificate = certificate_for(&["a.example"]);
    let address = server("0").await;
    let proxy = serve(|port| {
        let mut resources = calls_to(port, address);
        let listener = https_listener("web", port, None, &["cert"]);
        resources.extend([ir_listener(listener), certificate.secret("cert")]);
        resources
    });
    let tls = client::tls(proxy.address, "a.example", &[&certificate], &["h2"]).await;
    let stream = tls.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Http2Client::over(stream).await;
    let mut request = call("/shop.Cart/Get", Messages::of(&["message"]));
    *request.uri_mut() = "https://a.example/shop.Cart/Get".parse().expect("a URI");
    let reply = client.send(request).await;
    assert_eq!(reply.text(), "message");
    assert_eq!(reply.trailers.expect("trailers")["grpc-status"], "0");
}

#[tokio::test]
async fn an_authority_with_capitals_and_underscores_is_as_good_as_any() {
    let address = server("0").await;
    let proxy = serve(|port| calls_to(port, address));
    let mut request = call("/shop.Cart/Get", Messages::of(&["message"]));
    *request.uri_mut() = "http://Shop_Cart.Example/shop.Cart/Get".parse().expect("a URI");
    let reply = Http2Client::connect(proxy.address).await.send(request).await;
    assert_eq!((reply.status, reply.text()), (StatusCode::OK, "message"));
}

/// LI-3, GR-6
#[tokio::test]
async fn a_call_that_no_route_takes_is_unimplemented() {
    let address = server("0").await;
    let proxy = serve(|port| {
        let mut resources = backend_speaking(BackendProtocol::H2c, "app", &[address]);
        resources.push(ir_listener(listener("web", port)));
        let matches = prefix("/shop.Cart");
        resources.push(ir(HttpRule { matches, backends: to("app"), ..rule("app") }));
        resources
    });
    let reply = answer(&proxy, "/shop.Other/Get").await;
    assert_trailers_only(&reply, "12", "no route matches the request", "no route");
    assert_eq!(answer(&proxy, "/shop.Cart/Get").await.text(), "message", "others are served");
}

/// GR-5.
#[tokio::test]
async fn a_call_that_no_endpoint_can_answer_is_unavailable() {
    let (_socket, refusing) = refusing();
    let broken = server(RESETS).await;
    let proxy = serve(|port| {
        let mut resources = vec![ir_listener(listener("web", port))];
        resources.extend(backend_speaking(BackendProtocol::H2c, "empty", &[]));
        resources.extend(backend_speaking(BackendProtocol::H2c, "refusing", &[refusing]));
        resources.extend(backend_speaking(BackendProtocol::H2c, "broken", &[broken]));
        let invalid = BackendTarget::Invalid("it is refused".to_owned());
        let invalid = WeightedBackend { weight: 1, target: invalid, filters: Vec::new() };
        for (name, backends) in [
            ("empty", to("empty")),
            ("refusing", to("refusing")),
            ("broken", to("broken")),
            ("missing", to("missing")),
            ("invalid", vec![invalid]),
            ("none", Vec::new()),
        ] {
            let matches = prefix(&format!("/{name}"));
            resources.push(ir(HttpRule { matches, backends, ..rule(name) }));
        }
        resources
    });
    for (service, message) in [
        ("empty", "the backend has no endpoints"),
        ("refusing", "no endpoint of the backend accepts connections"),
        ("broken", "the backend did not answer properly"),
        ("missing", "the backend of the route is invalid"),
        ("invalid", "the backend of the route is invalid"),
        ("none", "the route has no backend"),
    ] {
        let reply = answer(&proxy, &format!("/{service}/Get")).await;
        assert_trailers_only(&reply, "14", message, service);
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_exceeds_its_deadline() {
    let silent = Scripted::silent().await;
    let slow = |timeouts: Option<Box<gwapi_translate::ir::HttpTimeouts>>, limits: Limits| {
        let address = silent.address;
        serve_with(limits, move |port| {
            let mut resources = calls_to(port, address);
            resources.pop();
            let timeouts = timeouts.clone();
            resources.push(ir(HttpRule { backends: to("app"), timeouts, ..rule("app") }));
            resources
        })
    };
    let of_proxy = Limits { response_head_timeout: SHORT, ..Limits::default() };
    for proxy in [
        slow(timeouts(Some(SHORT), None), Limits::default()),
        slow(timeouts(None, Some(SHORT)), Limits::default()),
        slow(timeouts(None, None), of_proxy),
    ] {
        let reply = answer(&proxy, "/shop.Cart/Get").await;
        let message = "the backend took too long to answer";
        assert_trailers_only(&reply, "4", message, "a slow server");
    }
}

#[tokio::test]
async fn a_call_whose_client_stalls_exceeds_its_deadline() {
    let silent = Scripted::silent().await;
    let limits = Limits { body_idle_timeout: Duration::from_millis(50), ..Limits::default() };
    let proxy = serve_with(limits, |port| calls_to(port, silent.address));
    let (sender, messages) = Messages::channel();
    let mut client = Http2Client::connect(proxy.address).await;
    let reply = client.send(call("/shop.Cart/Watch", messages)).await;
    let message = "the request took too long to arrive";
    assert_trailers_only(&reply, "4", message, "a client that sends nothing");
    drop(sender);
}

#[tokio::test]
async fn calls_that_break_rules_of_http_get_the_status_that_stands_for_theirs() {
    let address = server("0").await;
    let proxy = serve(|port| calls_to(port, address));
    let mut traced = call("/shop.Cart/Get", Messages::of(&[]));
    *traced.method_mut() = Method::TRACE;
    let mut expecting = call("/shop.Cart/Get", Messages::of(&[]));
    expecting.headers_mut().insert("expect", "a-miracle".parse().expect("text"));
    for (request, status, message) in [
        (traced, "2", "method not allowed"),
        (expecting, "2", "unknown expectation"),
        (call("/%zz/Get", Messages::of(&[])), "13", "malformed path"),
    ] {
        let reply = Http2Client::connect(proxy.address).await.send(request).await;
        assert_trailers_only(&reply, status, message, message);
    }
}

#[tokio::test]
async fn requests_that_are_no_calls_get_answers_of_http() {
    let proxy = serve(|port| vec![ir_listener(listener("web", port))]);
    for content_type in ["application/json", "application/grpc-web"] {
        let mut request = call("/shop.Cart/Get", Messages::of(&[]));
        request.headers_mut().insert("content-type", content_type.parse().expect("text"));
        let reply = Http2Client::connect(proxy.address).await.send(request).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{content_type}");
        assert_eq!(reply.header("grpc-status"), None, "{content_type}");
    }
    // Nothing speaks gRPC over HTTP/1.1.
    let request = Request::post("/shop.Cart/Get").version(Version::HTTP_11);
    let request = request.header("host", "a").header("content-type", "application/grpc");
    let reply = proxy.client().await.send(request.body("m".into()).expect("a request")).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.header("grpc-status"), None);
}
