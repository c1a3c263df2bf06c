//! What clients over HTTP/2 can make the gateway keep in memory.

#[path = "../../gwapi-dataplane/tests/proxy/support/frames.rs"]
mod frames;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

use frames::*;
use support::{Gwapi, Manifests, free_port, gateway, get, local, route, service, slice, stream};

const CONNECTIONS: usize = 20;
const STREAMS: u32 = 200;

/// Kilobytes of the process, by a name in `/proc/PID/status`.
fn kilobytes(gwapi: &Gwapi, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gwapi.id()));
    let status = status.expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says it");
    let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    number.parse().expect("a number")
}

/// Opens a connection that holds a field in its table.
async fn prepared(address: SocketAddr, field: Vec<u8>) -> RawHttp2 {
    let mut client = RawHttp2::connect(address).await;
    let head = [request("GET"), field].concat();
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).await;
    client.find(|seen| seen.stream == 1).await.expect("an answer");
    client
}

/// How a client attacks.
#[derive(Clone, Copy)]
struct Attack {
    /// Of a request: to GET there is an answer, to all else none.
    method: &'static str,
    /// Whether its requests end.
    ends: bool,
    /// The path, by which the endpoint is chosen.
    path: &'static str,
    streams: u32,
}

/// Requests that never end.
const OPEN: Attack = Attack { method: "POST", ends: false, path: "/", streams: STREAMS };

/// Sends requests of which none is answered, each with these fields, and waits until all of them are
/// dealt with: a ping is answered.
async fn attack(client: &mut RawHttp2, attack: Attack, fields: &[u8]) -> usize {
    let Attack { method, ends, path, streams } = attack;
    let line = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)];
    let head = [block(&line), fields.to_vec()].concat();
    let flags = if ends { END_HEADERS | END_STREAM } else { END_HEADERS };
    let streams = (1..=streams).map(|number| number * 2 + 1);
    let bytes: Vec<u8> = streams.flat_map(|stream| frame(HEADERS, flags, stream, &head)).collect();
    client.send(&bytes).await;
    client.send(&frame(PING, 0, 0, &[7; 8])).await;
    client.find(|seen| seen.kind == PING && seen.flags == ACK).await.expect("it is alive");
    bytes.len()
}

/// An endpoint that answers GET, and waits for ever for the bodies of all else.
fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let mut get = false;
                for line in lines {
                    get |= line.starts_with("GET ");
                    if line.is_empty() && std::mem::take(&mut get) {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        let _ = (&stream).write_all(answer);
                    }
                }
            });
        }
    });
    address
}

/// An endpoint over HTTP/2 that takes any number of requests, and answers none.
fn silent_http2() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = (&stream).write_all(&frame(SETTINGS, 0, 0, &[]));
                let _ = std::io::copy(&mut &stream, &mut std::io::sink());
            });
        }
    });
    address
}

#[tokio::test]
async fn fields_that_cost_a_byte_each_cost_the_gateway_little() {
    let port = free_port();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        (
            "rest.yaml",
            &stream(&[
                route("web", "/", "web"),
                service("web"),
                slice("web", endpoint()),
                route("h2c", "/h2c", "h2c"),
                service("h2c")
                    .replace("port: 80", "port: 80\n      appProtocol: kubernetes.io/h2c"),
                slice("h2c", silent_http2()),
            ]),
        ),
    ]);
    let unanswered = Attack { method: "DELETE", ends: true, streams: 99, ..OPEN };
    // To unpack these takes a debug build so long that it would take its leave of a client which
    // answers no ping.
    let fewer = Attack { streams: 50, ..OPEN };
    let few = Attack { streams: 99, ..OPEN };
    let http2 = Attack { path: "/h2c", ..unanswered };
    for (name, how, field, count) in [
        ("fields without a value", OPEN, indexed("x", b""), 485),
        ("cookies in crumbs", OPEN, indexed("cookie", b"a"), 485),
        ("as many as a head may hold", fewer, indexed("x", b""), 1900),
        ("values of 4,000 bytes", OPEN, indexed("x", &[b'x'; 4000]), 15),
        ("as many fields as allowed, unanswered", unanswered, indexed("x", &[b'x'; 50]), 95),
        ("as many fields as allowed, open", few, indexed("x", &[b'x'; 50]), 95),
        ("as many fields as allowed, over HTTP/2", http2, indexed("x", &[b'x'; 50]), 95),
    ] {
        // One of its own, whose memory nobody has used before.
        let gwapi = Gwapi::run(&manifests, &["--demo"]);
        gwapi.event("start");
        assert_eq!(get(local(port), "/", &[]).status, 200);
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(prepared(local(port), field.clone()).await);
        }
        // From here on the kernel remembers the most that it has seen.
        let forget = std::fs::write(format!("/proc/{}/clear_refs", gwapi.id()), "5");
        forget.expect("one's own process may be asked");
        let before = kilobytes(&gwapi, "VmRSS");
        let mut sent = 0;
        for client in &mut clients {
            sent += attack(client, how, &vec![0x80 | 62; count]).await;
        }
        let grown = kilobytes(&gwapi, "VmHWM").saturating_sub(before) * 1024;
        let each = grown / CONNECTIONS as u64;
        eprintln!("{name}: {each} bytes a connection for {} sent", sent / CONNECTIONS);
        assert!(each < 1_000_000, "{name}: {each} bytes a connection");
        // A connection costs something, whatever is sent: the share is for those that send much.
        assert!(sent < 1_000_000 || grown < 20 * sent as u64, "{name}: {grown} for {sent}");
    }
}

/// The library keeps the fragments of a block that does not end, until it gives up their connection.
#[tokio::test]
async fn header_blocks_without_an_end_cost_the_gateway_little() {
    let port = free_port();
    let manifests = Manifests::new(&[("gateway.yaml", &gateway(port))]);
    for length in [0, 16_384] {
        let gwapi = Gwapi::run(&manifests, &["--demo"]);
        gwapi.event("start");
        // What a connection takes anyhow is there before.
        prepared(local(port), Vec::new()).await;
        let forget = std::fs::write(format!("/proc/{}/clear_refs", gwapi.id()), "5");
        forget.expect("one's own process may be asked");
        let before = kilobytes(&gwapi, "VmRSS");
        let payload = vec![0; length];
        for _ in 0..CONNECTIONS {
            let mut client = RawHttp2::connect(local(port)).await;
            client.send(&frame(HEADERS, END_STREAM, 1, &request("GET"))).await;
            let (code, sent) = client.flood(20_000, |_| frame(CONTINUATION, 0, 1, &payload)).await;
            assert!(
                code.is_some_and(|code| code != 0),
                "{length} bytes each: {code:?} after {sent}"
            );
        }
        let grown = kilobytes(&gwapi, "VmHWM").saturating_sub(before) * 1024;
        eprintln!("{length} bytes each: {grown} bytes");
        assert!(grown < 4_000_000, "{length} bytes each: {grown} bytes");
    }
}
