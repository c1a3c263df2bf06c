//! TLS: what clients say first, sessions, and certificates that change.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gwapi_dataplane::Limits;
use gwapi_translate::ir::{HttpRule, IrResource, ListenerKey};
use http::StatusCode;
use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::client::{Http2Client, shown, tls, tls_config, tls_with};
use crate::support::*;

fn web(port: u16, certificate: &TestCertificate) -> Vec<IrResource> {
    vec![ir_listener(https_listener("web", port, None, &["c"])), certificate.secret("c")]
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    within(tokio::task::spawn_blocking(work)).await.expect("no panic")
}

/// A handshake whose ClientHello is cut into records of `record` bytes, sent in pieces of `piece`.
fn handshake_in_pieces(
    config: Arc<ClientConfig>,
    address: SocketAddr,
    record: usize,
    piece: usize,
) -> std::io::Result<()> {
    let name = ServerName::try_from("a.example").expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    let records: Vec<u8> = hello[5..]
        .chunks(record)
        .flat_map(|part| {
            let mut record = vec![0x16, 3, 1];
            record.extend((part.len() as u16).to_be_bytes());
            record.extend(part);
            record
        })
        .collect();
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    for piece in records.chunks(piece) {
        stream.write_all(piece)?;
    }
    client.complete_io(&mut stream).map(drop)
}

#[tokio::test]
async fn a_hello_may_come_in_any_number_of_records_and_segments() {
    let certificate = certificate_for(&["a.example"]);
    let proxy = serve(|port| web(port, &certificate));
    let config = tls_config(&[&certificate], &[]);
    for (record, piece) in [(16_000, 1), (1, 16_000), (50, 7), (7, 50)] {
        let (config, address) = (Arc::clone(&config), proxy.address);
        let shaken = blocking(move || handshake_in_pieces(config, address, record, piece)).await;
        shaken.unwrap_or_else(|error| panic!("records of {record}, pieces of {piece}: {error}"));
    }
}

/// A handshake of which nothing is left to do but to send the client's last words.
fn nearly_shaken(
    config: Arc<ClientConfig>,
    address: SocketAddr,
) -> std::io::Result<(ClientConnection, std::net::TcpStream)> {
    let name = ServerName::try_from("a.example").expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a client");
    let mut stream = std::net::TcpStream::connect(address)?;
    client.write_tls(&mut stream)?;
    while client.is_handshaking() {
        client.read_tls(&mut stream)?;
        client.process_new_packets().map_err(std::io::Error::other)?;
    }
    Ok((client, stream))
}

/// Ends such a handshake with a request: what is answered.
fn ask_late((mut client, mut stream): (ClientConnection, std::net::TcpStream)) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
    let mut stream = rustls::Stream::new(&mut client, &mut stream);
    let mut answer = Vec::new();
    if stream.write_all(request).is_ok() {
        let _ = stream.read_to_end(&mut answer);
    }
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn a_listener_that_is_gone_when_a_handshake_ends_serves_nothing_and_an_edited_one_does() {
    let echo = Echo::start("a").await;
    let certificate = certificate_for(&["a.example"]);
    let resources = |port, names: &[(&str, &str)]| {
        let mut resources = simple(port, echo.address);
        resources.retain(|it| !matches!(it, IrResource::Listener(_)));
        resources.push(certificate.secret("c"));
        let listener = |(name, host): &(&str, &str)| {
            ir_listener(https_listener(name, port, Some(host), &["c"]))
        };
        resources.extend(names.iter().map(listener));
        resources
    };
    let other = ("other", "b.example");
    let mut proxy = serve(|port| resources(port, &[("web", "a.example"), other]));
    let (config, address) = (tls_config(&[&certificate], &[]), proxy.address);
    for (now, expected) in [
        (&[("web", "*.example"), other][..], "HTTP/1.1 200 "),
        (&[("web", "a.example"), other], "HTTP/1.1 200 "),
        (&[other], ""),
    ] {
        let config = Arc::clone(&config);
        let shaken = blocking(move || nearly_shaken(config, address)).await;
        proxy.set(resources(address.port(), now));
        let answer = blocking(move || ask_late(shaken.expect("it answers"))).await;
        assert!(answer.starts_with(expected), "{now:?}: {answer}");
        assert_eq!(answer.is_empty(), expected.is_empty(), "{now:?}: {answer}");
    }
}

#[tokio::test]
async fn what_is_no_hello_ends_the_connection_at_once() {
    let certificate = certificate_for(&["a.example"]);
    let hour = Duration::from_secs(3600);
    let limits = Limits { handshake_timeout: hour, ..Limits::default() };
    let proxy = serve_with(limits, |port| web(port, &certificate));
    // A handshake message that says it has 16 MiB, in records that are full.
    let mut endless = Vec::new();
    for number in 0..8 {
        endless.extend([0x16, 3, 1, 0x40, 0]);
        let start = [1, 0xff, 0xff, 0xff];
        let part: Vec<u8> = start.into_iter().filter(|_| number == 0).collect();
        endless.resize(endless.len() + 0x4000 - part.len(), 0);
        endless
            .splice(endless.len() + part.len() - 0x4000..endless.len() + part.len() - 0x4000, part);
    }
    let alert = [0x15, 3, 1, 0, 2, 2, 0];
    for (name, bytes) in [
        ("clear text", &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..]),
        ("zeros", &[0; 100]),
        ("a record that is too long", b"\x16\x03\x01\xff\xff\x01"),
        ("another message than a hello", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"),
        ("a hello that is too long", &endless),
        ("an alert", &alert),
    ] {
        println!("{name}");
        client::raw(proxy.address, bytes).await;
    }
    assert!(tls(proxy.address, "a.example", &[&certificate], &[]).await.is_ok());
}

/// Every byte of a hello, each in two other ways, and every beginning of it.
#[tokio::test]
async fn a_hello_that_is_nearly_one_harms_nobody() {
    let certificate = certificate_for(&["a.example"]);
    let proxy = serve(|port| web(port, &certificate));
    let name = ServerName::try_from("a.example").expect("a name");
    let config = tls_config(&[&certificate], &["h2", "http/1.1"]);
    let mut hello = Vec::new();
    let mut connection = ClientConnection::new(config, name).expect("a client");
    connection.write_tls(&mut hello).expect("into memory");
    let changed = (0..hello.len()).flat_map(|position| {
        [0xff, 0x01].map(|mask| {
            let mut changed = hello.clone();
            changed[position] ^= mask;
            changed
        })
    });
    let cut = (0..hello.len()).map(|length| hello[..length].to_vec());
    for bytes in changed.chain(cut) {
        let mut stream = TcpStream::connect(proxy.address).await.expect("it accepts");
        // It may have been closed already, at the first wrong byte.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    }
    assert!(tls(proxy.address, "a.example", &[&certificate], &[]).await.is_ok());
}

fn with_versions(
    certificate: &TestCertificate,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der.clone().into()).expect("a certificate");
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .expect("the provider has it")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A request on a connection of its own; how the handshake went, and whether it offered early data.
fn request(config: Arc<ClientConfig>, address: SocketAddr) -> (HandshakeKind, bool) {
    let name = ServerName::try_from("a.example").expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a client");
    let early = client.early_data().is_some();
    let mut socket = std::net::TcpStream::connect(address).expect("it accepts");
    let mut stream = rustls::Stream::new(&mut client, &mut socket);
    let request = b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("it reads");
    let _ = stream.read_to_end(&mut Vec::new());
    (client.handshake_kind().expect("it is over"), early)
}

#[tokio::test]
async fn no_way_to_resume_leads_from_one_listener_to_another() {
    let certificate = certificate_for(&["a.example"]);
    let other = free_port();
    let proxy = serve(|port| {
        let mut resources = web(port, &certificate);
        resources.push(ir_listener(https_listener("other", other, None, &["c"])));
        resources
    });
    let (first, other) = (proxy.address, SocketAddr::new(proxy.address.ip(), other));
    for (name, version, tls12) in [
        ("TLS 1.3", &TLS13, Tls12Resumption::Disabled),
        ("TLS 1.2, tickets", &TLS12, Tls12Resumption::SessionIdOrTickets),
        ("TLS 1.2, identifiers", &TLS12, Tls12Resumption::SessionIdOnly),
    ] {
        let mut config = with_versions(&certificate, version);
        config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(tls12);
        config.enable_early_data = true;
        let config = Arc::new(config);
        let kinds = blocking(move || {
            [first, first, other].map(|address| request(Arc::clone(&config), address))
        })
        .await;
        let full = HandshakeKind::Full;
        assert_eq!(kinds.map(|(kind, _)| kind), [full, HandshakeKind::Resumed, full], "{name}");
        assert!(kinds.iter().all(|(_, early)| !early), "{name}: early data is not offered");
    }
}

#[tokio::test]
async fn a_client_without_a_server_name_gets_an_alert_unless_a_listener_takes_any() {
    let certificate = certificate_for(&["a.example"]);
    let mut config = with_versions(&certificate, &TLS13);
    config.enable_sni = false;
    let config = Arc::new(config);
    let named = serve(|port| {
        vec![
            ir_listener(https_listener("web", port, Some("a.example"), &["c"])),
            certificate.secret("c"),
        ]
    });
    let error = tls_with(Arc::clone(&config), named.address, "a.example").await;
    let error = error.expect_err("no listener");
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    let any = serve(|port| web(port, &certificate));
    assert!(tls_with(config, any.address, "a.example").await.is_ok());
}

/// Listeners for two hosts that share a certificate, as browsers take them for one.
fn two_hosts(port: u16, echo: &Echo, certificate: &TestCertificate) -> Vec<IrResource> {
    let mut resources = backend("app", &[echo.address]);
    for (name, hostname) in [("a", "a.example"), ("b", "b.example")] {
        resources.push(ir_listener(https_listener(name, port, Some(hostname), &["c"])));
    }
    let listeners = ["a", "b"].map(ListenerKey::new).to_vec();
    resources.push(ir(HttpRule {
        listeners: listeners.into(),
        backends: to("app"),
        ..rule("app")
    }));
    resources.push(certificate.secret("c"));
    resources
}

#[tokio::test]
async fn a_connection_that_http2_clients_share_between_hosts_answers_421() {
    let echo = Echo::start("a").await;
    let certificate = certificate_for(&["a.example", "b.example"]);
    let proxy = serve(|port| two_hosts(port, &echo, &certificate));
    let stream = tls(proxy.address, "a.example", &[&certificate], &["h2"]).await;
    let mut client: Http2Client = Http2Client::over(stream.expect("a handshake")).await;
    for (host, status) in [
        ("a.example", StatusCode::OK),
        ("b.example", StatusCode::MISDIRECTED_REQUEST),
        ("c.example", StatusCode::NOT_FOUND),
        ("a.example", StatusCode::OK),
    ] {
        let request = http::Request::get(format!("https://{host}/")).body(Default::default());
        let reply = client.send(request.expect("a request")).await;
        assert_eq!(reply.status, status, "{host}");
    }
}

/// TL-3
#[tokio::test]
async fn certificates_rotate_under_load_without_a_failure() {
    const HANDSHAKES: usize = 2000;
    const ROTATIONS: usize = 50;
    const CLIENTS: usize = 4;
    let echo = Echo::start("a").await;
    let certificates: Vec<_> = (0..5).map(|_| certificate_for(&["a.example"])).collect();
    let mut resources = Vec::new();
    // However long the machine takes for the handshakes, the connection that is kept does not end by itself.
    let limits = Limits { idle_timeout: Duration::from_secs(3600), ..Limits::default() };
    let mut proxy = serve_with(limits, |port| {
        let mut resources = simple(port, echo.address);
        resources.push(ir_listener(https_listener("web", port, None, &["c"])));
        resources.push(certificates[0].secret("c"));
        resources
    });
    let (address, port) = (proxy.address, proxy.address.port());
    for certificate in &certificates {
        let mut all = simple(port, echo.address);
        all.push(ir_listener(https_listener("web", port, None, &["c"])));
        all.push(certificate.secret("c"));
        resources.push(all);
    }
    let trusted: Vec<_> = certificates.iter().collect();
    let config = tls_config(&trusted, &[]);
    let mut kept =
        Client::over(tls_with(Arc::clone(&config), address, "a.example").await.expect("one")).await;
    // The first request of a connection has a time of its own.
    assert_eq!(kept.get("a.example", "/").await.endpoint(), "a");
    // The rotations that have begun and those that are applied: what is shown is that of one between them.
    let (begun, applied) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let done = Arc::new(AtomicBool::new(false));
    let rotating = {
        let (begun, applied, done) = (Arc::clone(&begun), Arc::clone(&applied), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut took = Vec::new();
            while took.len() < ROTATIONS || !done.load(Ordering::SeqCst) {
                let next = resources[took.len() % resources.len()].clone();
                begun.store(took.len(), Ordering::SeqCst);
                let began = Instant::now();
                let report = proxy.set(next);
                applied.store(took.len(), Ordering::SeqCst);
                took.push(began.elapsed());
                assert!(report.feedback[&gateway()].rejected_certificates.is_empty());
            }
            took
        })
    };
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        // Sessions are not resumed: each is a handshake with the certificate of its moment.
        let certificates = certificates.clone();
        let (begun, applied) = (Arc::clone(&begun), Arc::clone(&applied));
        clients.spawn(async move {
            let trusted: Vec<_> = certificates.iter().collect();
            let mut seen = HashSet::new();
            for number in 0..HANDSHAKES / CLIENTS {
                let config = tls_config(&trusted, &[]);
                let before = applied.load(Ordering::SeqCst);
                let stream = tls_with(config, address, "a.example").await.expect("a handshake");
                let mut since = before..=begun.load(Ordering::SeqCst);
                let der = shown(&stream);
                assert!(since.any(|number| certificates[number % 5].der == der), "an old one");
                seen.insert(der);
                if number % 10 == 0 {
                    let mut client = Client::over(stream).await;
                    assert_eq!(client.get("a.example", "/").await.endpoint(), "a");
                }
            }
            seen.len()
        });
    }
    while let Some(seen) = clients.join_next().await {
        assert!(seen.expect("no handshake fails") > 1, "certificates change meanwhile");
        assert_eq!(kept.get("a.example", "/").await.endpoint(), "a");
    }
    done.store(true, Ordering::SeqCst);
    let mut took = rotating.join().expect("each rotation is applied");
    // What it takes until each core shows the new one; of a loaded machine the usual time counts.
    took.sort_unstable();
    let usual = took[took.len() / 2];
    assert!(took.len() >= ROTATIONS, "{} rotations", took.len());
    assert!(usual < Duration::from_millis(100), "a rotation takes {usual:?}");
}
