//! The echo backend, asked over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use gwapi_dataplane::echo::{Echo, EchoIdentity};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(20);

fn echo_on(address: &str) -> Echo {
    let identity = EchoIdentity {
        namespace: "shop".to_owned(),
        service: "cart".to_owned(),
        pod: "cart-0".to_owned(),
    };
    Echo::start(identity, address.parse().unwrap()).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, WAIT).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream
}

/// Sends a request that closes its connection; the head and the body of the answer.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let host = "shop.example.com";
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n"),
    )
}

#[test]
fn the_answer_is_json_with_the_fields_of_the_conformance_suite() {
    let echo = echo_on("127.0.0.1:0");
    let (head, body) = get(echo.address(), "/cart//x?a=b&c=%20", "X-team: a\r\nx-Team: b\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        answer,
        json!({
            "path": "/cart//x?a=b&c=%20",
            "host": "shop.example.com",
            "method": "GET",
            "proto": "HTTP/1.1",
            "headers": { "Connection": ["close"], "X-Team": ["a", "b"] },
            "namespace": "shop",
            "ingress": "",
            "service": "cart",
            "pod": "cart-0",
        })
    );
}

#[test]
fn plain_text_starts_with_the_pod_and_holds_the_request() {
    let echo = echo_on("127.0.0.1:0");
    let (head, body) = get(echo.address(), "/cart", "Accept: text/plain\r\nX-Team: a\r\n");
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(body.starts_with("Hostname: cart-0\n"), "{body}");
    for line in ["Service: cart", "GET /cart HTTP/1.1", "Host: shop.example.com", "X-Team: a"] {
        assert!(body.lines().any(|found| found == line), "{line} in {body}");
    }
}

#[test]
fn http2_by_prior_knowledge_is_answered_on_the_same_port() {
    let echo = echo_on("[::1]:0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(echo.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::post("http://shop.example.com/cart?a=b")
            .header("x-team", "a")
            .body(Full::new(Bytes::from_static(b"ignored")))
            .unwrap();
        let response = tokio::time::timeout(WAIT, sender.send_request(request)).await;
        let body = response.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
        connection.abort();
        serde_json::from_slice::<Value>(&body).unwrap()
    });
    assert_eq!(answer["proto"], "HTTP/2.0");
    assert_eq!(answer["host"], "shop.example.com");
    assert_eq!(answer["path"], "/cart?a=b");
    assert_eq!(answer["method"], "POST");
    assert_eq!(answer["headers"]["X-Team"], json!(["a"]));
}

#[test]
fn a_body_is_read_and_the_connection_stays_usable() {
    let echo = echo_on("127.0.0.1:0");
    let body = "x".repeat(1_000_000);
    let (_, answers) = ask(
        echo.address(),
        &format!(
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}\
             GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            body.len()
        ),
    );
    assert!(answers.contains("\"path\": \"/1\""), "{answers}");
    assert!(answers.contains("\"path\": \"/2\""), "{answers}");
}

#[test]
fn a_delay_is_waited_for_and_a_broken_one_refused() {
    let echo = echo_on("127.0.0.1:0");
    let start = Instant::now();
    let (head, _) = get(echo.address(), "/?x=y&delay=20ms", "");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(start.elapsed() >= Duration::from_millis(20));
    let (head, body) = get(echo.address(), "/?delay=soon", "");
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    assert!(body.contains("invalid delay"), "{body}");
}

#[test]
fn headers_that_a_request_asks_for_are_sent() {
    let echo = echo_on("127.0.0.1:0");
    let (head, _) = get(echo.address(), "/", "X-Echo-Set-Header: X-A:1,X-B:2\r\n");
    assert!(head.contains("x-a: 1\r\n") && head.contains("x-b: 2\r\n"), "{head}");
}

#[test]
fn many_backends_answer_for_themselves_and_a_dropped_one_frees_its_port() {
    let first = echo_on("127.0.0.1:0");
    let others: Vec<Echo> = (0..20).map(|_| echo_on("127.0.0.1:0")).collect();
    let address = first.address();
    drop(first);
    assert!(TcpStream::connect_timeout(&address, WAIT).is_err(), "{address} still listens");
    for echo in &others {
        assert!(get(echo.address(), "/", "").0.starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn a_request_in_flight_is_answered_after_the_backend_was_dropped() {
    let echo = echo_on("127.0.0.1:0");
    let mut stream = connect(echo.address());
    // The first answer proves that the connection is served; the second request is then begun.
    stream.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream.write_all(b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1").unwrap();
    let mut second = connect(echo.address());
    second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    second.read_to_end(&mut Vec::new()).unwrap();
    drop(echo);
    stream.write_all(b"2").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"path\": \"/2\""), "{rest}");
}

#[test]
fn an_address_in_use_is_an_error() {
    let echo = echo_on("127.0.0.1:0");
    let identity = EchoIdentity {
        namespace: "default".to_owned(),
        service: "other".to_owned(),
        pod: "other-0".to_owned(),
    };
    let error = Echo::start(identity, echo.address()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
