//! Retries, as clients and endpoints see them (RY-1 to RY-6).

use std::time::{Duration, Instant};

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_translate::ir::{BackendProtocol, HttpRetry, HttpRule};
use http::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::client::Body;
use super::support::clock::{SHORT, timeouts};
use super::support::upstream::{read_head, refusing};
use super::support::*;

fn retry(attempts: u32, codes: &[u16]) -> Option<Box<HttpRetry>> {
    let backoff = Some(Duration::from_millis(1));
    Some(Box::new(HttpRetry { attempts, codes: codes.to_vec(), backoff }))
}

fn request(method: Method, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("/")
        .header("host", "a")
        .body(body.into())
        .expect("a request")
}

/// A proxy whose only rule leads to these endpoints.
fn balanced(addresses: &[std::net::SocketAddr], change: impl Fn(&mut HttpRule)) -> Proxy {
    serve(|port| {
        let mut rule = HttpRule { backends: to("app"), ..rule("app") };
        change(&mut rule);
        let mut resources = backend("app", addresses);
        resources.extend([ir_listener(listener("web", port)), ir(rule)]);
        resources
    })
}

#[tokio::test]
async fn a_listed_code_is_tried_again_as_often_as_the_rule_says() {
    for (protocol, echo) in [
        (BackendProtocol::Http1, Echo::start("echo").await),
        (BackendProtocol::H2c, Echo::h2c("echo").await),
    ] {
        let proxy = serve(|port| {
            let rule =
                HttpRule { backends: to("app"), retry: retry(3, &[500, 503]), ..rule("app") };
            let mut resources = backend_speaking(protocol, "app", &[echo.address]);
            resources.extend([ir_listener(listener("web", port)), ir(rule)]);
            resources
        });
        // Failures before the answer, what the client sees, attempts in all.
        for (failures, status, attempts) in [
            (&[503, 500][..], 200, 3),
            (&[503, 503, 503, 500], 500, 4),
            // RY-2: a code that is not listed is passed through at once.
            (&[502, 503], 502, 1),
            (&[404], 404, 1),
        ] {
            let before = echo.requests().len();
            echo.will_answer(failures);
            let reply = proxy.client().await.send(request(Method::POST, "content")).await;
            assert_eq!(reply.status, status, "{failures:?} {protocol:?}");
            let seen = echo.requests().split_off(before);
            assert_eq!(seen.len(), attempts, "{failures:?} {protocol:?}");
            assert!(seen.iter().all(|it| it.body == "content" && it.method == "POST"));
            // Of the next line's plan nothing is left from this one.
            for _ in attempts..failures.len() {
                proxy.get("a", "/").await;
            }
        }
    }
}

#[tokio::test]
async fn no_attempts_switch_every_retry_off() {
    let echo = Echo::start("echo").await;
    let proxy = balanced(&[echo.address], |rule| rule.retry = retry(0, &[503]));
    echo.will_answer(&[503]);
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(echo.requests().len(), 1);
}

#[tokio::test]
async fn connections_that_fail_are_tried_again_without_any_code() {
    let echo = Echo::start("echo").await;
    let (_deaf, refused) = refusing();
    let proxy = balanced(&[refused, echo.address], |rule| rule.retry = retry(100, &[]));
    for _ in 0..10 {
        assert_eq!(proxy.get("a", "/").await.endpoint(), "echo");
    }
    // Its 503 is not listed.
    echo.will_answer(&[503]);
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// A rule may ask for more than anyone can wait for, without a pause between.
#[tokio::test]
async fn the_retries_of_one_request_are_bounded_whatever_the_rule_says() {
    let endless = |codes: &[u16]| {
        let backoff = Some(Duration::ZERO);
        retry(u32::MAX, codes).map(|retry| Box::new(HttpRetry { backoff, ..*retry }))
    };
    let proxy = |address| {
        let limits = Limits { max_retries: 6, ..Limits::default() };
        serve_with(limits, |port| simple_with(port, address, |rule| rule.retry = endless(&[503])))
    };
    let echo = Echo::start("echo").await;
    let answering = proxy(echo.address);
    // The last attempt that there is counts.
    for (failures, status) in [(6, 200), (7, 503)] {
        let before = echo.requests().len();
        echo.will_answer(&vec![503; failures]);
        assert_eq!(answering.get("a", "/").await.status, status);
        assert_eq!(echo.requests().len() - before, 7);
    }
    let (_deaf, refused) = refusing();
    assert_eq!(proxy(refused).get("a", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn another_endpoint_is_asked_than_the_one_that_failed() {
    let good = Echo::start("good").await;
    let bad = Scripted::answering(b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let proxy = balanced(&[bad.address, good.address], |rule| rule.retry = retry(1, &[503]));
    for _ in 0..10 {
        assert_eq!(proxy.get("a", "/").await.endpoint(), "good");
    }
}

/// RY-4
#[tokio::test]
async fn the_timeout_of_the_request_bounds_all_attempts() {
    let bad = Scripted::answering(b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let proxy = balanced(&[bad.address], |rule| {
        rule.retry = retry(1_000_000, &[503]);
        rule.timeouts = timeouts(Some(SHORT), None);
    });
    let began = Instant::now();
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(began.elapsed() >= SHORT);
}

/// RY-6: what may have been processed is repeated where that does no harm, or the rule wants it.
#[tokio::test]
async fn an_attempt_that_takes_too_long_is_tried_again_where_that_is_safe() {
    for (method, codes, status) in [
        (Method::GET, &[][..], 200),
        (Method::PUT, &[], 200),
        (Method::POST, &[], 504),
        (Method::POST, &[504], 200),
    ] {
        let endpoint = Scripted::start(|mut stream, number| async move {
            while !read_head(&mut stream).await.is_empty() {
                if number > 0 {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            }
        })
        .await;
        let proxy = balanced(&[endpoint.address], |rule| {
            rule.retry = retry(1, codes);
            rule.timeouts = timeouts(None, Some(SHORT));
        });
        let reply = proxy.client().await.send(request(method.clone(), "")).await;
        assert_eq!(reply.status, status, "{method} {codes:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_kept_is_sent_once() {
    let echo = Echo::start("echo").await;
    let limits = Limits { max_retry_body_bytes: 100, ..Limits::default() };
    let proxy = serve_with(limits, |port| {
        simple_with(port, echo.address, |rule| rule.retry = retry(3, &[503]))
    });
    for (length, status, attempts) in [(100, 200, 2), (101, 503, 1)] {
        echo.will_answer(&[503]);
        let before = echo.requests().len();
        let body = vec![b'x'; length];
        let reply = proxy.client().await.send(request(Method::POST, body)).await;
        assert_eq!(reply.status, status, "{length}");
        assert_eq!(echo.requests().len() - before, attempts, "{length}");
    }
}

/// RY-5: an answer that comes while the body is still on its way takes nothing of it from the next
/// attempt.
#[tokio::test]
async fn a_body_that_the_first_attempt_did_not_take_is_whole_in_the_second() {
    const LENGTH: usize = 60_000;
    let (sender, mut second) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, number| {
        let sender = sender.clone();
        async move {
            read_head(&mut stream).await;
            if number == 0 {
                let _ = stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
                // Open, and not read from.
                std::future::pending::<()>().await;
            }
            sender.send(()).expect("the test waits");
            let mut body = vec![0; LENGTH];
            stream.read_exact(&mut body).await.expect("all of it");
            assert!(body.iter().all(|byte| *byte == b'x'));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let proxy = balanced(&[endpoint.address], |rule| rule.retry = retry(1, &[503]));
    let mut client = tokio::net::TcpStream::connect(proxy.address).await.expect("it listens");
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("it reads");
    client.write_all(&[b'x'; 1000]).await.expect("it reads");
    // The second attempt is there before the rest of the body.
    within(second.recv()).await.expect("another attempt");
    client.write_all(&[b'x'; LENGTH - 1000]).await.expect("it reads");
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
}

/// An endpoint that answers early may go on to read, and more of the body than is kept goes there.
#[tokio::test]
async fn a_second_attempt_has_the_body_from_its_beginning() {
    const HEAD: &[u8] = b"POST /here HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let (answered, mut early) = tokio::sync::mpsc::unbounded_channel();
    let (sender, mut second) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, number| {
        let (answered, sender) = (answered.clone(), sender.clone());
        async move {
            read_head(&mut stream).await;
            let mut body = vec![0; b"4\r\none,".len()];
            stream.read_exact(&mut body).await.expect("the first piece");
            if number == 0 {
                let _ = stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\n").await;
                answered.send(()).expect("the test waits");
                // The end of its answer does not come.
                let _ = stream.read_to_end(&mut body).await;
                return;
            }
            while !body.ends_with(b"0\r\n\r\n") {
                body.push(stream.read_u8().await.expect("all of it"));
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            sender.send(body).expect("the test waits");
        }
    })
    .await;
    let limits = Limits { max_retry_body_bytes: 10, ..Limits::default() };
    let builder = ProxyBuilder::new().limits(limits);
    let local = std::net::IpAddr::from([127, 0, 0, 1]);
    let proxy = serve_on_cores(1, local, &builder, |port| {
        simple_with(port, endpoint.address, |rule| {
            rule.matches = prefix("/here");
            let backoff = Some(Duration::from_secs(1));
            rule.retry = retry(1, &[503]).map(|retry| Box::new(HttpRetry { backoff, ..*retry }));
        })
    });
    let mut client = tokio::net::TcpStream::connect(proxy.address).await.expect("it listens");
    client.write_all(HEAD).await.expect("it reads");
    client.write_all(b"4\r\none,\r\n").await.expect("it reads");
    within(early.recv()).await.expect("an answer");
    // The core has seen that answer when it gives the next one, and waits before the second attempt.
    assert_eq!(proxy.get("a", "/elsewhere").await.status, StatusCode::NOT_FOUND);
    client.write_all(b"f\r\ntwo,three,four,\r\n0\r\n\r\n").await.expect("it reads");
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
    let body = within(second.recv()).await.expect("another attempt");
    let body = String::from_utf8(body).expect("it is text");
    let content: String = body.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(content, "one,two,three,four,");
}
