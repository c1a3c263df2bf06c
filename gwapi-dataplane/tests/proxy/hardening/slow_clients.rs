//! Clients that take their time: each is let go, by the one limit that is meant for it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gwapi_dataplane::Limits;
use gwapi_translate::ir::IrResource;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::brim::Brim;
use crate::support::clock::{SHORT, pass, with_clock};
use crate::support::frames::*;
use crate::support::upstream::{endless, long, read_head};
use crate::support::*;

/// Nothing that is about clients ends within an hour.
fn patient() -> Limits {
    let hour = Duration::from_secs(3600);
    Limits {
        first_byte_timeout: hour,
        handshake_timeout: hour,
        head_timeout: hour,
        idle_timeout: hour,
        body_idle_timeout: hour,
        http2_ping_interval: hour,
        write_stall_timeout: hour,
        min_rate: 0,
        ..Limits::default()
    }
}

/// A rate that no test keeps up with.
fn fast() -> Limits {
    Limits { min_rate: 1_000_000_000, min_rate_grace: SHORT, ..patient() }
}

/// A request with its body, and the beginning of the next one in the same piece.
const HALF_BEHIND_BODY: &[u8] =
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhiGET / HTTP/1.1\r\nhost:";

#[tokio::test]
async fn silent_clients_are_let_go() {
    let echo = Echo::start("a").await;
    let certificate = certificate_for(&["a.example"]);
    let tls = |port| -> Vec<IrResource> {
        vec![ir_listener(https_listener("web", port, None, &["c"])), certificate.secret("c")]
    };
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let block = frame(HEADERS, END_STREAM, 1, &request("GET"));
    let unfinished = [&hello, &block].into_iter().flatten().copied().collect::<Vec<_>>();
    let asked = [&hello[..], &get(1)].concat();
    let first_byte = || Limits { first_byte_timeout: SHORT, ..patient() };
    let head = || Limits { head_timeout: SHORT, ..patient() };
    let idle = || Limits { idle_timeout: SHORT, first_byte_timeout: SHORT, ..patient() };
    let body = || Limits { body_idle_timeout: SHORT, ..patient() };
    for (name, limits, bytes) in [
        ("nothing", first_byte(), &b""[..]),
        ("half a preface", first_byte(), b"PRI * HT"),
        ("a preface and nothing else", first_byte(), &hello),
        ("half a head", head(), b"GET / HTTP/1.1\r\nhost:"),
        ("half a head behind a request", head(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /"),
        ("half a head behind a body", head(), HALF_BEHIND_BODY),
        ("a header block without an end", head(), &unfinished),
        ("a request and nothing else", idle(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("a request over HTTP/2 and nothing else", idle(), &asked),
        ("no body", body(), b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n"),
        ("no chunks", body(), b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("half a body", body(), b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nabc"),
    ] {
        let proxy = serve_with(limits, |port| simple(port, echo.address));
        println!("{name}");
        // It returns when the proxy has closed.
        client::raw(proxy.address, bytes).await;
    }
    let handshake = Limits { handshake_timeout: SHORT, ..patient() };
    for (name, bytes) in [("no handshake", &b""[..]), ("half a handshake", b"\x16\x03\x01")] {
        let proxy = serve_with(handshake.clone(), tls);
        println!("{name}");
        client::raw(proxy.address, bytes).await;
    }
}

/// Sends a byte each time that the clock ticks, until the connection is over; what came.
async fn drip(proxy: &Proxy, head: &[u8], piece: &[u8]) -> Vec<u8> {
    let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    stream.write_all(head).await.expect("it reads");
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let dripping = async {
        for _ in 0..200 {
            let _ = write.write_all(piece).await;
            pass(proxy).await;
        }
    };
    tokio::select! {
        () = dripping => panic!("nobody minds"),
        _ = read.read_to_end(&mut answer) => {}
    }
    answer
}

#[tokio::test]
async fn a_body_that_drips_is_a_408() {
    let (echo, silent) = (Echo::start("a").await, Scripted::silent().await);
    let proxy = serve_with(fast(), |port| with_clock(simple(port, echo.address), &silent));
    for (head, piece) in [
        (&b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n"[..], &b"x"[..]),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ] {
        let answer = drip(&proxy, head, piece).await;
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(echo.requests().is_empty());
}

#[tokio::test]
async fn a_stream_that_drips_is_answered_and_its_connection_goes_on() {
    let (echo, silent) = (Echo::start("a").await, Scripted::silent().await);
    let proxy = serve_with(fast(), |port| with_clock(simple(port, echo.address), &silent));
    let mut client = RawHttp2::connect(proxy.address).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &request("POST"))).await;
    let mut answer = None;
    for _ in 0..200 {
        client.send(&frame(DATA, 0, 1, b"x")).await;
        pass(&proxy).await;
        let next = client.find(|seen| seen.stream == 1);
        if let Ok(seen) = tokio::time::timeout(Duration::ZERO, next).await {
            answer = seen;
            break;
        }
    }
    let answer = answer.expect("an answer");
    assert_eq!(answer.kind, HEADERS);
    assert_ne!(answer.payload[0], 0x88, "not 200");
    client.send(&get(3)).await;
    let answer = client.find(|seen| seen.stream == 3).await.expect("an answer");
    assert_eq!(answer.payload[0], 0x88, "200");
}

#[tokio::test]
async fn a_client_that_reads_drop_by_drop_loses_its_connection() {
    let ((endpoint, mut ended), silent) = (endless().await, Scripted::silent().await);
    let proxy = serve_with(fast(), |port| with_clock(simple(port, endpoint.address), &silent));
    let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("it reads");
    let mut drop = vec![0; 1024 * 1024];
    let dripping = async {
        for _ in 0..200 {
            let _ = stream.read(&mut drop).await;
            pass(&proxy).await;
        }
    };
    tokio::select! {
        () = dripping => panic!("nobody minds"),
        ended = ended.recv() => ended.expect("the endpoint is let go"),
    }
}

#[tokio::test]
async fn a_stream_that_is_read_drop_by_drop_is_reset() {
    let ((endpoint, mut ended), silent) = (endless().await, Scripted::silent().await);
    let proxy = serve_with(fast(), |port| with_clock(simple(port, endpoint.address), &silent));
    let mut client = RawHttp2::connect(proxy.address).await;
    client.send(&get(1)).await;
    let dripping = async {
        for _ in 0..200 {
            let by = 20_000_u32.to_be_bytes();
            let _ = client.0.write_all(&frame(WINDOW_UPDATE, 0, 1, &by)).await;
            let _ = client.0.write_all(&frame(WINDOW_UPDATE, 0, 0, &by)).await;
            pass(&proxy).await;
        }
    };
    tokio::select! {
        () = dripping => panic!("nobody minds"),
        ended = ended.recv() => ended.expect("the endpoint is let go"),
    }
    assert!(client.find(|seen| seen.kind == RST_STREAM).await.is_some());
}

/// An endpoint that answers with a first piece at once, and goes on once it has read `late` or the
/// gate is opened.
async fn talking() -> (Scripted, Arc<Notify>) {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let endpoint = Scripted::start(move |mut stream, _| {
        let gate = Arc::clone(&opened);
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst").await;
            let mut seen = Vec::new();
            let late = async {
                while !seen.windows(4).any(|bytes| bytes == b"late") {
                    if stream.read_buf(&mut seen).await.is_ok_and(|read| read == 0) {
                        std::future::pending::<()>().await;
                    }
                }
            };
            tokio::select! {
                () = late => {}
                () = gate.notified() => {}
            }
            let _ = stream.write_all(b" second").await;
        }
    })
    .await;
    (endpoint, gate)
}

/// The body that a client gets over HTTP/1 and over HTTP/2; `late` is called after the first piece.
async fn bodies(proxy: &Proxy, request_body: bool, late: impl AsyncFn(&Proxy)) {
    let head = if request_body {
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked"
    } else {
        "GET / HTTP/1.1"
    };
    let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    let head = format!("{head}\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut seen = Vec::new();
    while !seen.windows(5).any(|bytes| bytes == b"first") {
        assert_ne!(within(stream.read_buf(&mut seen)).await.expect("it goes on"), 0);
    }
    late(proxy).await;
    if request_body {
        stream.write_all(b"4\r\nlate\r\n").await.expect("it reads");
    }
    while !seen.windows(6).any(|bytes| bytes == b"second") {
        assert_ne!(within(stream.read_buf(&mut seen)).await.expect("it goes on"), 0);
    }

    let mut client = RawHttp2::connect(proxy.address).await;
    let open = if request_body { END_HEADERS } else { END_HEADERS | END_STREAM };
    client
        .send(&frame(HEADERS, open, 1, &request(if request_body { "POST" } else { "GET" })))
        .await;
    let data = |seen: &Seen| seen.stream == 1 && [DATA, RST_STREAM].contains(&seen.kind);
    assert_eq!(client.find(data).await.expect("a piece").payload, b"first");
    late(proxy).await;
    if request_body {
        client.send(&frame(DATA, 0, 1, b"late")).await;
    }
    assert_eq!(client.find(data).await.expect("a piece").payload, b" second");
}

fn strict() -> Limits {
    Limits { body_idle_timeout: SHORT, write_stall_timeout: SHORT, ..fast() }
}

/// Time that a client has until its answer begins, and its endpoint to begin it: a loaded machine may take a
/// while for that.
const UNHURRIED: Duration = SHORT.saturating_mul(20);

#[tokio::test]
async fn a_quiet_response_is_not_taken_for_a_client_that_does_not_read() {
    let ((endpoint, gate), silent) = (talking().await, Scripted::silent().await);
    let proxy = serve_with(strict(), |port| with_clock(simple(port, endpoint.address), &silent));
    bodies(&proxy, false, async |proxy: &Proxy| {
        for _ in 0..4 {
            pass(proxy).await;
        }
        gate.notify_one();
    })
    .await;
}

#[tokio::test]
async fn a_client_may_be_silent_while_it_is_answered() {
    let ((endpoint, _gate), silent) = (talking().await, Scripted::silent().await);
    let limits = Limits {
        body_idle_timeout: UNHURRIED,
        write_stall_timeout: UNHURRIED,
        min_rate_grace: UNHURRIED,
        ..fast()
    };
    let proxy = serve_with(limits, |port| with_clock(simple(port, endpoint.address), &silent));
    bodies(&proxy, true, async |proxy: &Proxy| {
        let began = Instant::now();
        while began.elapsed() < UNHURRIED * 3 / 2 {
            pass(proxy).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_waits_for_any_more_has_to_end_in_time() {
    let endpoint = Scripted::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let limits = Limits { body_idle_timeout: UNHURRIED, ..patient() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf";
    let answer = client::raw(proxy.address, head).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
}

/// Reads a response that has stopped because nobody read it, to its end; how long it is.
async fn read_late<S>(mut stream: S, proxy: &Proxy, sent: &AtomicUsize) -> usize
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
    within(stream.write_all(request)).await.expect("it reads");
    within(stream.flush()).await.expect("it reads");
    // Many looks at what has left the endpoint, with a moment in between.
    let (mut before, mut same) = (0, 0);
    while same < 3 {
        pass(proxy).await;
        let now = sent.load(Ordering::Relaxed);
        same = if now == before && now > 0 { same + 1 } else { 0 };
        before = now;
    }
    let mut answer = Vec::new();
    // The end of TLS is none of what this is about.
    let _ = within(stream.read_to_end(&mut answer)).await;
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
    answer.len() - head - 4
}

#[tokio::test]
async fn a_response_goes_on_when_its_client_reads_again() {
    const LENGTH: usize = 24 << 20;
    let silent = Scripted::silent().await;
    let (endpoint, sent) = long(LENGTH).await;
    let proxy = serve_with(patient(), |port| with_clock(simple(port, endpoint.address), &silent));
    let stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    assert_eq!(read_late(stream, &proxy, &sent).await, LENGTH);

    let (endpoint, sent) = long(LENGTH).await;
    let certificate = certificate_for(&["a.example"]);
    let tls = serve_with(patient(), |port| {
        let mut resources = simple(port, endpoint.address);
        resources.push(ir_listener(https_listener("web", port, None, &["c"])));
        resources.push(certificate.secret("c"));
        resources
    });
    let stream = client::tls(tls.address, "a.example", &[&certificate], &[]).await;
    assert_eq!(read_late(stream.expect("it shakes hands"), &proxy, &sent).await, LENGTH);
}

#[tokio::test]
async fn while_many_are_slow_others_are_served() {
    let echo = Echo::start("a").await;
    let proxy = serve_with(patient(), |port| simple(port, echo.address));
    let connect = async |address: SocketAddr, bytes: &[u8]| {
        let mut stream = within(TcpStream::connect(address)).await.expect("it accepts");
        stream.write_all(bytes).await.expect("it reads");
        stream
    };
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(connect(proxy.address, b"GET / HTTP/1.1\r\nhost").await);
        slow.push(
            connect(proxy.address, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")
                .await,
        );
    }
    for _ in 0..20 {
        assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    }
}

/// A client that reads slowly, and does read, is not one that stands still, however much the kernel
/// would hold for it.
#[tokio::test]
async fn a_client_that_reads_steadily_is_kept() {
    const PIECE: usize = 16 * 1024;
    let (endpoint, _) = endless().await;
    let limits = Limits { write_stall_timeout: Duration::from_secs(1), ..patient() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(128 * 1024).expect("small");
    let mut client = socket.connect(proxy.address).await.expect("it accepts");
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("it reads");
    let mut buffer = vec![0; PIECE];
    // 256 KB a second, for three times as long as it may stand still.
    let mut pace = tokio::time::interval(Duration::from_millis(60));
    for _ in 0..50 {
        pace.tick().await;
        client.read_exact(&mut buffer).await.expect("more");
    }
    // More than could be on its way.
    for _ in 0..32 * 1024 * 1024 / PIECE {
        within(client.read_exact(&mut buffer)).await.expect("more");
    }
}

/// A client with little room in its socket, and windows that never close.
async fn small_reader(proxy: &Proxy) -> RawHttp2 {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(128 * 1024).expect("small");
    let mut client = RawHttp2(socket.connect(proxy.address).await.expect("it accepts"));
    let window = 0x7fff_0000_u32.to_be_bytes();
    let settings = frame(SETTINGS, 0, 0, &[&[0, 4], &window[..]].concat());
    client.send(&[PREFACE, &settings, &frame(WINDOW_UPDATE, 0, 0, &window)].concat()).await;
    client
}

/// What waits to be read comes before a PING: whoever reads it in time answers in time.
#[tokio::test]
async fn a_client_that_reads_steadily_over_http2_is_kept() {
    const DOWNLOAD: usize = 768 * 1024;
    let (endpoint, _) = endless().await;
    let limits = Limits {
        http2_ping_interval: SHORT,
        http2_ping_timeout: SHORT,
        write_stall_timeout: Duration::from_secs(30),
        min_rate: 240,
        ..patient()
    };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut client = small_reader(&proxy).await;
    client.send(&get(1)).await;
    // 256 KB a second: what is on its way takes longer than the answer to a PING may.
    let mut pace = tokio::time::interval(Duration::from_millis(60));
    let (mut read, mut pings) = (0, 0);
    while read < DOWNLOAD || pings == 0 {
        let seen = client.next().await.expect("it goes on");
        match seen.kind {
            PING => {
                pings += 1;
                client.send(&frame(PING, ACK, 0, &seen.payload)).await;
            }
            DATA => {
                read += seen.payload.len();
                pace.tick().await;
            }
            kind => assert!([SETTINGS, HEADERS, WINDOW_UPDATE].contains(&kind), "{seen:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_over_http2_that_says_nothing_is_asked_and_let_go() {
    let silent = Scripted::silent().await;
    let limits = Limits {
        http2_ping_interval: SHORT,
        http2_ping_timeout: SHORT,
        min_rate: 240,
        ..patient()
    };
    let proxy = serve_with(limits, |port| simple(port, silent.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    client.send(&get(1)).await;
    // As long as it answers it is there.
    for _ in 0..3 {
        let ping = client.find(|seen| seen.kind == PING && seen.flags & ACK == 0).await;
        let ping = ping.expect("it is asked");
        client.send(&frame(PING, ACK, 0, &ping.payload)).await;
    }
    assert!(client.find(|seen| seen.kind == GOAWAY).await.is_some());
}

#[tokio::test]
async fn a_response_whose_end_its_client_does_not_take_does_not_look_whole() {
    let limits = Limits { write_stall_timeout: SHORT * 10, ..patient() };
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let brim = Brim::serve(limits.clone()).await;
        let clients = brim.fill(&format!("{version}\r\nconnection: close")).await;
        for _ in 0..12 {
            pass(&brim.proxy).await;
        }
        for client in clients {
            let length = client.length;
            match client.read().await {
                Ok(read) => assert_eq!(read, length, "{version}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{version}"),
            }
        }
    }
}
