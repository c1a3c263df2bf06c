//! WebSocket, and the upgrades that are not passed on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gwapi_dataplane::{Drained, Limits, ProxyBuilder, Upgrades};
use gwapi_translate::ir::IrResource;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::support::clock::{pass, with_clock};
use super::support::upstream::read_head;
use super::support::*;

const ASK: &[u8] = b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\n\
                     upgrade: WebSocket\r\nsec-websocket-key: x\r\n\r\n";

/// Agrees to WebSocket, says hello in the same breath, and sends everything back.
async fn websocket() -> Scripted {
    Scripted::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        if !(head.contains("upgrade: websocket") && head.contains("connection: upgrade")) {
            let _ =
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            return;
        }
        let agree = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-accept: y\r\n\r\nhello";
        let _ = stream.write_all(agree).await;
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.write_all(b"bye").await;
    })
    .await
}

async fn open(proxy: &Proxy, ask: &[u8]) -> (TcpStream, String) {
    let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    within(stream.write_all(ask)).await.expect("it reads");
    let head = within(read_head(&mut stream)).await;
    (stream, head)
}

async fn expect(stream: &mut TcpStream, text: &str) {
    let mut buffer = vec![0; text.len()];
    within(stream.read_exact(&mut buffer)).await.expect("it comes");
    assert_eq!(String::from_utf8_lossy(&buffer), text);
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_until_either_side_closes() {
    let endpoint = websocket().await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let (mut stream, head) = open(&proxy, ASK).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let head = head.to_ascii_lowercase();
    for field in
        ["upgrade: websocket\r\n", "connection: upgrade\r\n", "sec-websocket-accept: y\r\n"]
    {
        assert!(head.contains(field), "{head}");
    }
    expect(&mut stream, "hello").await;
    for text in ["one", "two"] {
        within(stream.write_all(text.as_bytes())).await.expect("it reads");
        expect(&mut stream, text).await;
    }
    stream.shutdown().await.expect("it is open");
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.expect("it is text");
    assert_eq!(rest, "bye", "what is on its way is still delivered");
}

/// The end of one way is passed on, and the other goes on.
#[tokio::test]
async fn a_tunnel_whose_endpoint_has_said_all_still_carries_what_its_client_sends() {
    const LENGTH: usize = 64 << 20;
    let (end, ends) = watch::channel(false);
    let (go, goes) = watch::channel(false);
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let (mut ends, mut goes, sender) = (ends.clone(), goes.clone(), sender.clone());
        async move {
            read_head(&mut stream).await;
            let agree = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: websocket\r\n\r\n";
            let _ = stream.write_all(agree).await;
            let _ = ends.wait_for(|end| *end).await;
            let _ = stream.shutdown().await;
            let _ = goes.wait_for(|go| *go).await;
            let _ = sender.send(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok());
        }
    })
    .await;
    let silent = Scripted::silent().await;
    let proxy = serve(|port| with_clock(simple(port, endpoint.address), &silent));
    let (stream, head) = open(&proxy, ASK).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (mut read, mut write) = stream.into_split();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let piece = [b'x'; 64 * 1024];
        for _ in 0..LENGTH / piece.len() {
            write.write_all(&piece).await.expect("it reads");
            count.fetch_add(piece.len(), Ordering::Relaxed);
        }
        write.shutdown().await.expect("it is open");
    });
    // Until nothing moves any more, since the endpoint reads nothing.
    let (mut before, mut same) = (0, 0);
    while same < 3 {
        pass(&proxy).await;
        let now = sent.load(Ordering::Relaxed);
        same = if now == before && now > 0 { same + 1 } else { 0 };
        before = now;
    }
    end.send_replace(true);
    assert_eq!(within(read.read(&mut [0; 1])).await.expect("it ends"), 0);
    go.send_replace(true);
    assert_eq!(within(received.recv()).await, Some(Some(LENGTH as u64)));
    within(sending).await.expect("all is sent");
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_is_a_request_of_its_own() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut bytes = ASK.to_vec();
    bytes.extend(b"GET /second HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n");
    let answer = client::raw(proxy.address, &bytes).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    let seen = echo.requests();
    assert_eq!(seen.iter().map(|seen| &*seen.target).collect::<Vec<_>>(), ["/chat", "/second"]);
    assert_eq!(seen[0].header("upgrade"), Some("websocket"));
    assert_eq!(seen[1].header("upgrade"), None);
}

#[tokio::test]
async fn other_upgrades_are_not_passed_on() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for upgrade in ["h2c", "h2c, websocket", "foo", "TLS/1.0"] {
        let request = http::Request::get("/")
            .header("host", "a")
            .header("connection", "upgrade, http2-settings")
            .header("upgrade", upgrade)
            .header("http2-settings", "AAMAAABkAAQAAP__")
            .body(Default::default());
        let reply = proxy.client().await.send(request.expect("a request")).await;
        assert_eq!(reply.endpoint(), "a");
        let seen = echo.requests().pop().expect("a request");
        for absent in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(seen.header(absent), None, "{upgrade}");
        }
    }
}

#[tokio::test]
async fn only_get_asks_for_an_upgrade() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for method in ["POST", "HEAD", "OPTIONS"] {
        let request = http::Request::builder().method(method).uri("/").header("host", "a");
        let request = request.header("connection", "upgrade").header("upgrade", "websocket");
        let reply = proxy.client().await.send(request.body(Default::default()).expect("one")).await;
        assert_eq!(reply.endpoint(), "a");
        let seen = echo.requests().pop().expect("a request");
        assert_eq!((&*seen.method, seen.header("upgrade")), (method, None));
    }
}

#[tokio::test]
async fn an_endpoint_cannot_switch_to_what_nobody_asked_for() {
    let endpoint = Scripted::answering(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n",
    )
    .await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let (_stream, head) = open(&proxy, ASK).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let endpoint = websocket().await;
    let limits = Limits { response_idle_timeout: Duration::from_millis(100), ..Default::default() };
    let resources = |port| -> Vec<IrResource> { simple(port, endpoint.address) };
    let proxy = serve_with(limits, resources);
    let (mut stream, head) = open(&proxy, ASK).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.expect("it ends");
    assert_eq!(rest, b"hello");
}

/// The value of a metric of requests, over all routes.
async fn requests(proxy: &Proxy, name: &str, label: &str) -> u64 {
    let metrics = proxy.metrics().await;
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn what_a_tunnel_carried_both_ways_is_counted_and_who_broke_it_off() {
    let (endpoint, silent) = (websocket().await, websocket().await);
    let broken = Scripted::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let agree = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                      upgrade: websocket\r\n\r\nhello";
        let _ = stream.write_all(agree).await;
        let _ = stream.read_exact(&mut [0; 10]).await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    })
    .await;
    for (endpoint, closes, ended) in [
        (&endpoint, true, "complete"),
        (&silent, false, "timeout"),
        (&broken, false, "upstream_error"),
    ] {
        let limits = Limits { response_idle_timeout: Duration::from_secs(1), ..Default::default() };
        let admin = SocketAddr::from(([127, 0, 0, 1], 0));
        let builder = ProxyBuilder::new().limits(limits).admin(admin);
        let proxy = serve_built(admin.ip(), &builder, |port| simple(port, endpoint.address));
        let (mut tunnel, head) = open(&proxy, ASK).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        expect(&mut tunnel, "hello").await;
        within(tunnel.write_all(b"ten bytes.")).await.expect("it reads");
        if closes {
            within(tunnel.shutdown()).await.expect("it is open");
        }
        let _ = within(tunnel.read_to_end(&mut Vec::new())).await;
        within(async { while requests(&proxy, "gwapi_http_requests_total{", "101").await == 0 {} })
            .await;
        let received = requests(&proxy, "gwapi_http_received_bytes_total{", "").await;
        assert_eq!(received, 10, "{ended}");
        let incomplete = "gwapi_http_requests_incomplete_total{";
        let all = requests(&proxy, incomplete, "").await;
        let reason = requests(&proxy, incomplete, &format!("reason=\"{ended}\"")).await;
        let expected = u64::from(ended != "complete");
        assert_eq!((all, reason), (expected, expected), "{ended}");
    }
}

#[tokio::test]
async fn a_tunnel_outlives_the_age_of_connections() {
    let endpoint = websocket().await;
    let limits = Limits {
        max_connection_age: Duration::from_millis(100),
        idle_timeout: Duration::from_secs(600),
        ..Default::default()
    };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let (mut tunnel, head) = open(&proxy, ASK).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    expect(&mut tunnel, "hello").await;
    // What is newer, and no tunnel, has ended by its age.
    let (mut newer, head) = open(&proxy, b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    within(newer.read_to_end(&mut Vec::new())).await.expect("it ends");
    within(tunnel.write_all(b"still here")).await.expect("it reads");
    expect(&mut tunnel, "still here").await;
}

#[tokio::test]
async fn a_tunnel_ends_by_its_age_however_busy_it_is() {
    let endpoint = websocket().await;
    let limits = Limits { max_tunnel_age: Duration::from_millis(200), ..Default::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let (mut tunnel, head) = open(&proxy, ASK).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let busy = async {
        let mut buffer = [0; 64];
        while tunnel.write_all(b"busy").await.is_ok() {
            if !matches!(tunnel.read(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
    };
    within(busy).await;
}

/// A drain waits for tunnels, which carry on meanwhile.
#[tokio::test]
async fn a_tunnel_goes_on_in_a_drain_until_its_sides_close_it() {
    let endpoint = websocket().await;
    let limits = Limits { drain_quiet: Duration::ZERO, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let address = proxy.address;
    let (mut tunnel, head) = open(&proxy, ASK).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    expect(&mut tunnel, "hello").await;
    let drained = proxy.drain();
    while within(TcpStream::connect(address)).await.is_ok() {}
    for text in ["one", "two"] {
        within(tunnel.write_all(text.as_bytes())).await.expect("it reads");
        expect(&mut tunnel, text).await;
    }
    assert!(!drained.is_finished());
    tunnel.shutdown().await.expect("it is open");
    let mut rest = String::new();
    within(tunnel.read_to_string(&mut rest)).await.expect("it is text");
    assert_eq!(rest, "bye");
    assert_eq!(within(drained).await.expect("no panic"), Drained { cut_connections: 0 });
}

#[tokio::test]
async fn the_end_of_a_drain_cuts_a_tunnel_on_both_sides() {
    let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            read_head(&mut stream).await;
            let agree = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: websocket\r\n\r\nhello";
            let _ = stream.write_all(agree).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let _ = sender.send(());
        }
    })
    .await;
    let timeout = Duration::from_millis(300);
    let limits =
        Limits { drain_quiet: Duration::ZERO, drain_timeout: timeout, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let (mut tunnel, head) = open(&proxy, ASK).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    expect(&mut tunnel, "hello").await;
    let began = Instant::now();
    let drained = within(proxy.drain()).await.expect("no panic");
    assert_eq!(drained, Drained { cut_connections: 1 });
    assert!(began.elapsed() >= timeout, "{:?}", began.elapsed());
    let mut rest = Vec::new();
    let _ = within(tunnel.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
    within(ended.recv()).await.expect("the endpoint is let go");
}

/// Agrees to the protocol that it is asked to switch to, and sends everything back.
async fn switching() -> Scripted {
    Scripted::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
            Some(line[name.len()..].trim().to_owned())
        };
        let (Some(protocol), Some("upgrade")) =
            (field("upgrade:"), field("connection:").as_deref())
        else {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            return;
        };
        let agree = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n\r\n"
        );
        let _ = stream.write_all(agree.as_bytes()).await;
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

#[tokio::test]
async fn upgrades_that_are_named_pass_and_no_others() {
    let endpoint = switching().await;
    let upgrades = Upgrades::parse("IRC/6.9,foo").expect("protocols");
    let builder = ProxyBuilder::new().upgrades(upgrades);
    let local = SocketAddr::from(([127, 0, 0, 1], 0)).ip();
    let proxy = serve_built(local, &builder, |port| simple(port, endpoint.address));
    for (method, upgrade, agreed) in [
        ("GET", "foo", Some("foo")),
        ("POST", "foo", Some("foo")),
        ("GET", "irc/6.9", Some("IRC/6.9")),
        ("HEAD", "foo", None),
        ("GET", "foo, IRC/6.9", None),
        ("GET", "IRC/6.10", None),
        ("GET", "websocket", None),
        ("GET", "h2c", None),
    ] {
        let ask = format!(
            "{method} / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {upgrade}\r\n\
             content-length: 0\r\n\r\n"
        );
        let (mut stream, head) = open(&proxy, ask.as_bytes()).await;
        let Some(agreed) = agreed else {
            assert!(head.starts_with("HTTP/1.1 200 "), "{method} {upgrade}: {head}");
            continue;
        };
        assert!(head.starts_with("HTTP/1.1 101 "), "{method} {upgrade}: {head}");
        assert!(head.contains(&format!("upgrade: {agreed}\r\n")), "{head}");
        within(stream.write_all(b"something")).await.expect("it reads");
        expect(&mut stream, "something").await;
    }
    let body = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo\r\n\
                content-length: 2\r\n\r\nhi";
    let answer = client::raw(proxy.address, body.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
