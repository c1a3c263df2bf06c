//! TLSRoutes: the server name chooses, and TLS ends here or there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_model::RouteKind;
use gwapi_translate::ir::{
    Backend, BackendKey, BackendProtocol, BackendTarget, BackendTls, BackendTrust, HttpRule,
    IrResource, ListenerKey, RuleOrder, StreamRule, WeightedBackend,
};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::authority::{Authority, TlsServer};
use super::support::client::{shown, tls, tls_config};
use super::support::streams::*;
use super::support::*;

fn tls_rule(name: &str, hostnames: &[&str], backends: Vec<WeightedBackend>) -> StreamRule {
    stream_rule(RouteKind::Tls, name, hostnames, backends)
}

fn on(listener: &str, rule: StreamRule) -> IrResource {
    ir_stream(StreamRule { listeners: [ListenerKey::new(listener)].into(), ..rule })
}

/// An endpoint that ends TLS with a certificate, says its name inside and sends everything back.
async fn secret_greeting(name: &'static str, certificate: &TestCertificate) -> Scripted {
    let config = Arc::new(server_config(certificate));
    Scripted::start(move |stream, _| {
        let config = Arc::clone(&config);
        async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(config);
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.write_all(name.as_bytes()).await;
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        }
    })
    .await
}

fn server_config(certificate: &TestCertificate) -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject;
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(certificate.key.as_bytes());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der.clone().into()], key.expect("it is a key"))
        .expect("the key belongs to it")
}

/// The ClientHello of a client that asks for a name, as TLS records.
pub(super) fn client_hello(name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).expect("it is a name");
    let mut client = ClientConnection::new(tls_config(&[], &[]), name).expect("it is a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("writing to memory works");
    hello
}

/// The same handshake message in records of so many bytes.
fn in_records_of(hello: &[u8], size: usize) -> Vec<u8> {
    let (header, message) = hello.split_at(5);
    let mut records = Vec::new();
    for piece in message.chunks(size) {
        records.extend(&header[..3]);
        records.extend(u16::try_from(piece.len()).expect("it is short").to_be_bytes());
        records.extend(piece);
    }
    records
}

/// A ClientHello of a client that is none of ours, for `a.example`.
fn foreign_client_hello(compressions: &[u8], extensions: &[(u16, &[u8])]) -> Vec<u8> {
    fn vector<const LENGTH: usize>(contents: &[u8]) -> Vec<u8> {
        let length = contents.len().to_be_bytes();
        [&length[length.len() - LENGTH..], contents].concat()
    }
    let name = vector::<2>(&[&[0][..], &vector::<2>(b"a.example")].concat());
    let extension =
        |(id, contents): &(u16, &[u8])| [&id.to_be_bytes()[..], &vector::<2>(contents)].concat();
    let extensions: Vec<u8> =
        [(0, &name[..])].iter().chain(extensions).flat_map(extension).collect();
    let hello = [
        &[3, 1][..],
        &[7; 32],
        &vector::<1>(&[]),
        &vector::<2>(&[0xc0, 0x13]),
        &vector::<1>(compressions),
        &vector::<2>(&extensions),
    ];
    let message = [&[1][..], &vector::<3>(&hello.concat())].concat();
    [&[22, 3, 1][..], &vector::<2>(&message)].concat()
}

/// What the server name of a connection leads to, where TLS ends at the endpoint.
async fn greeted(address: SocketAddr, name: &str, trusted: &[&TestCertificate]) -> String {
    let mut stream = tls(address, name, trusted, &[]).await.expect("a handshake");
    String::from_utf8(read(&mut stream, 1).await).expect("it is text")
}

/// TS-5.
#[tokio::test]
async fn a_client_hello_goes_on_as_it_came_over_segments_and_records() {
    let (sender, mut got) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(rest(&mut stream).await);
        }
    })
    .await;
    let proxy = serve(|port| {
        let mut resources = tcp_backend("app", &[endpoint.address]);
        resources.push(ir_listener(passthrough_listener("web", port, None)));
        resources.push(ir_stream(tls_rule("app", &["a.example"], to("app"))));
        resources
    });
    let hello = client_hello("A.Example");
    for (record, segment) in [(hello.len(), hello.len()), (hello.len(), 1), (7, 1), (50, 400)] {
        let mut sent = in_records_of(&hello, record);
        sent.extend(b"\x17\x03\x03\x00\x05early and what follows, whatever it is");
        let mut client = connect(proxy.address).await;
        client.set_nodelay(true).expect("it is a socket");
        for piece in sent.chunks(segment) {
            within(client.write_all(piece)).await.expect("it reads");
        }
        client.shutdown().await.expect("it is open");
        let got = within(got.recv()).await.expect("it comes");
        assert!(got == sent, "records of {record}, segments of {segment}");
    }
}

#[tokio::test]
async fn what_is_passed_through_need_not_be_what_the_proxy_would_serve() {
    let endpoint = greeting("a").await;
    let proxy = serve(|port| {
        let mut resources = tcp_backend("app", &[endpoint.address]);
        resources.push(ir_listener(passthrough_listener("web", port, None)));
        resources.push(ir_stream(tls_rule("app", &["a.example"], to("app"))));
        resources
    });
    for (what, hello) in [
        ("TLS 1.0, which knows no signature_algorithms", foreign_client_hello(&[0], &[])),
        ("nothing but a compression", foreign_client_hello(&[1], &[])),
        ("an extension twice", foreign_client_hello(&[0], &[(0xfafa, b""), (0xfafa, b"")])),
        ("another form of ECH", foreign_client_hello(&[0], &[(0xfe0d, &[0; 50])])),
        ("groups that cannot be read", foreign_client_hello(&[0], &[(10, b"?")])),
    ] {
        let mut client = connect(proxy.address).await;
        within(client.write_all(&hello)).await.expect("it reads");
        assert_eq!(read(&mut client, 1).await, b"a", "{what}");
        assert!(read(&mut client, hello.len()).await == hello, "{what}");
    }
}

/// TS-3.
#[tokio::test]
async fn the_most_specific_name_wins_and_then_the_oldest_route() {
    let certificate = certificate_for(&["a.b.example", "c.b.example", "d.c.b.example", "e.test"]);
    let endpoints = [
        secret_greeting("x", &certificate).await,
        secret_greeting("w", &certificate).await,
        secret_greeting("y", &certificate).await,
    ];
    let proxy = serve(|port| {
        let mut resources = Vec::new();
        for (name, endpoint) in ["exact", "wild", "young"].into_iter().zip(&endpoints) {
            resources.extend(tcp_backend(name, &[endpoint.address]));
        }
        let rule = |name: &str, created, hostnames: &[&str], backend: &str| {
            let rule = tls_rule(name, hostnames, to(backend));
            ir_stream(StreamRule { order: RuleOrder { created, ..rule.order.clone() }, ..rule })
        };
        resources.extend([
            ir_listener(passthrough_listener("web", port, Some("*.example"))),
            rule("a-young", 3, &["a.b.example", "*.b.example"], "young"),
            rule("exact", 2, &["a.b.example"], "exact"),
            rule("wild", 1, &["*.b.example"], "wild"),
        ]);
        resources
    });
    for (name, expected) in
        [("a.b.example", "x"), ("c.b.example", "w"), ("d.c.b.example", "w"), ("C.B.Example", "w")]
    {
        assert_eq!(greeted(proxy.address, name, &[&certificate]).await, expected, "{name}");
    }
}

/// TS-4.
#[tokio::test]
async fn what_no_route_takes_is_closed_without_a_byte() {
    let certificate = certificate_for(&["a.example"]);
    let endpoint = greeting("a").await;
    let proxy = serve(|port| {
        let mut resources = tcp_backend("app", &[endpoint.address]);
        resources.extend(tcp_backend("empty", &[]));
        let ungranted = BackendTarget::Invalid("no ReferenceGrant".to_owned());
        let ungranted = WeightedBackend { weight: 1, target: ungranted, filters: Vec::new() };
        resources.extend([
            ir_listener(passthrough_listener("web", port, Some("*.example"))),
            ir_listener(terminate_listener("here", port, Some("here.test"), "c")),
            ir_stream(tls_rule("app", &["a.example"], to("app"))),
            ir_stream(tls_rule("missing", &["missing.example"], to("missing"))),
            ir_stream(tls_rule("empty", &["empty.example"], to("empty"))),
            ir_stream(tls_rule("ungranted", &["ungranted.example"], vec![ungranted])),
            on("here", tls_rule("here", &["other.test"], to("app"))),
            certificate.secret("c"),
        ]);
        resources
    });
    let plain_http = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n".to_vec();
    let mut no_name = client_hello("a.example");
    // The type of the extension is made one that nobody knows: there is no server name then.
    let place = no_name.windows(9).position(|it| it == b"a.example").expect("it is there");
    no_name[place - 9..place - 7].copy_from_slice(&[0xfa, 0xfa]);
    for (what, bytes) in [
        ("no server name", no_name),
        ("a name that no listener has", client_hello("b.test")),
        ("a name that no route has", client_hello("b.example")),
        ("a backend that is missing", client_hello("missing.example")),
        ("a backend without an endpoint", client_hello("empty.example")),
        ("a backend that nobody granted", client_hello("ungranted.example")),
        ("a listener that ends TLS, and has no route", client_hello("here.test")),
        ("an address instead of a name", client_hello("127.0.0.1")),
        ("two names", {
            let two = b"\x00\x18\x00\x00\x09a.example\x00\x00\x09b.example";
            foreign_client_hello(&[0], &[(0, two)])
        }),
        ("no TLS", plain_http),
        ("a ClientHello that is too long", {
            let mut long = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
            long.resize(5 + 0x4000, 0);
            long
        }),
    ] {
        assert_eq!(client::raw(proxy.address, &bytes).await, "", "{what}");
    }
    let mut taken = connect(proxy.address).await;
    within(taken.write_all(&client_hello("a.example"))).await.expect("it reads");
    assert_eq!(read(&mut taken, 1).await, b"a", "the others were refused for what they asked");
}

#[tokio::test]
async fn a_client_hello_that_does_not_come_is_not_waited_for() {
    let limits =
        Limits { handshake_timeout: std::time::Duration::from_millis(100), ..Limits::default() };
    let proxy =
        serve_with(limits, |port| vec![ir_listener(passthrough_listener("web", port, None))]);
    let hello = client_hello("a.example");
    for part in [0, 1, 5, hello.len() - 1] {
        let mut client = connect(proxy.address).await;
        within(client.write_all(&hello[..part])).await.expect("it reads");
        assert_eq!(rest(&mut client).await, b"", "{part} bytes");
    }
}

/// GW-4, TS-2.
#[tokio::test]
async fn https_and_both_modes_of_tls_share_a_port_by_server_name() {
    let certificate = certificate_for(&["through.example", "ends.example", "web.example"]);
    let own = certificate_for(&["through.example"]);
    let through = secret_greeting("t", &own).await;
    let ends = greeting("e").await;
    let echo = Echo::start("w").await;
    let proxy = serve(|port| {
        let mut resources = tcp_backend("through", &[through.address]);
        resources.extend(tcp_backend("ends", &[ends.address]));
        resources.extend(backend("app", &[echo.address]));
        resources.extend([
            ir_listener(passthrough_listener("through", port, Some("through.example"))),
            ir_listener(terminate_listener("ends", port, Some("ends.example"), "c")),
            ir_listener(https_listener("web", port, Some("web.example"), &["c"])),
            on("through", tls_rule("through", &["through.example"], to("through"))),
            on("ends", tls_rule("ends", &["ends.example"], to("ends"))),
            ir(HttpRule { backends: to("app"), ..rule("app") }),
            certificate.secret("c"),
        ]);
        resources
    });
    for _ in 0..3 {
        let mut stream = tls(proxy.address, "through.example", &[&own], &[]).await.expect("TLS");
        assert_eq!(shown(&stream), own.der, "the certificate is the endpoint's");
        assert_eq!(read(&mut stream, 1).await, b"t");

        // Whatever the client offers, nothing is agreed on.
        let alpn = &["h2", "http/1.1"];
        let stream = tls(proxy.address, "ends.example", &[&certificate], alpn).await;
        let mut stream = stream.expect("TLS");
        assert_eq!(shown(&stream), certificate.der);
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        assert_eq!(read(&mut stream, 1).await, b"e");
        within(stream.write_all(b"more")).await.expect("it reads");
        assert_eq!(read(&mut stream, 4).await, b"more");
        within(stream.shutdown()).await.expect("it is open");
        let mut end = Vec::new();
        within(stream.read_to_end(&mut end)).await.expect("the end is said in TLS");
        assert_eq!(end, b"");

        let stream = tls(proxy.address, "web.example", &[&certificate], &["http/1.1"]).await;
        let mut client = Client::over(stream.expect("TLS")).await;
        assert_eq!(client.get("web.example", "/").await.endpoint(), "w");
    }
}

#[tokio::test]
async fn a_connection_that_waits_is_not_taken_for_http_once_its_name_is_a_tls_routes() {
    let certificate = certificate_for(&["a.example"]);
    let endpoint = greeting("a").await;
    let resources = |listener| {
        let mut resources = tcp_backend("app", &[endpoint.address]);
        resources.push(ir_listener(listener));
        resources.push(ir_stream(tls_rule("app", &["a.example"], to("app"))));
        resources.push(certificate.secret("c"));
        resources
    };
    let https = |port| https_listener("web", port, Some("a.example"), &["c"]);
    let (ip, builder) = (IpAddr::from([127, 0, 0, 1]), ProxyBuilder::new());
    let mut proxy = serve_on_cores(1, ip, &builder, |port| resources(https(port)));
    let stream = connect(proxy.address).await;
    // The one that came before it has been accepted by then.
    tls(proxy.address, "a.example", &[&certificate], &[]).await.expect("a handshake");
    let ends = terminate_listener("web", proxy.address.port(), Some("a.example"), "c");
    proxy.set(resources(ends));
    let connector = tokio_rustls::TlsConnector::from(tls_config(&[&certificate], &[]));
    let name = ServerName::try_from("a.example").expect("it is a name");
    within(connector.connect(name, stream)).await.expect_err("it ends before there is a session");
    assert_eq!(greeted(proxy.address, "a.example", &[&certificate]).await, "a");
}

/// A backend whose endpoint has to prove that it is `inner.example`.
fn proving(name: &str, address: SocketAddr, authority: &Authority) -> Vec<IrResource> {
    let mut resources = tcp_backend(name, &[address]);
    let tls = BackendTls {
        hostname: "inner.example".into(),
        subject_alt_names: Vec::new(),
        trust: BackendTrust::Certificates(authority.pem().into()),
        client_certificate: None,
        mutual: false,
    };
    resources[0] = IrResource::Backend(Arc::new(Backend {
        key: BackendKey::service("default", name, 80),
        protocol: BackendProtocol::Tcp,
        tls: Some(Arc::new(tls)),
        session: None,
        retry_budget: None,
    }));
    resources
}

async fn tls_endpoint(server: &TlsServer) -> Scripted {
    let server = server.clone();
    Scripted::start(move |stream, _| {
        let server = server.clone();
        async move {
            let Ok(mut stream) = server.accept(stream).await else { return };
            let _ = stream.write_all(b"s").await;
            let _ = stream.read_u8().await;
        }
    })
    .await
}

/// TS-5.
#[tokio::test]
async fn what_ended_here_is_encrypted_anew_where_the_backend_asks_for_it() {
    let certificate = certificate_for(&["outer.example"]);
    let authority = Authority::new();
    let (server, other) = (authority.server_for("inner.example"), authority.server_for("other"));
    let (endpoint, stranger) = (tls_endpoint(&server).await, tls_endpoint(&other).await);
    let resources = |port: u16, address| {
        let mut resources = proving("app", address, &authority);
        resources.extend([
            ir_listener(terminate_listener("web", port, None, "c")),
            ir_stream(tls_rule("app", &["outer.example"], to("app"))),
            certificate.secret("c"),
        ]);
        resources
    };
    let mut proxy = serve(|port| resources(port, endpoint.address));
    assert_eq!(greeted(proxy.address, "outer.example", &[&certificate]).await, "s");
    let seen = server.handshakes().remove(0);
    assert_eq!(seen.server_name.as_deref(), Some("inner.example"));
    assert_eq!(seen.alpn, None);

    proxy.set(resources(proxy.address.port(), stranger.address));
    let stream = tls(proxy.address, "outer.example", &[&certificate], &[]).await;
    assert_eq!(rest(&mut stream.expect("the client's own handshake")).await, b"");
}

#[tokio::test]
async fn what_breaks_off_does_not_look_whole_inside_tls_either() {
    let certificate = certificate_for(&["outer.example"]);
    let authority = Authority::new();
    let server = authority.server_for("inner.example");
    let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |stream, _| {
        let (server, sender) = (server.clone(), sender.clone());
        async move {
            let Ok(mut stream) = server.accept(stream).await else { return };
            let _ = stream.write_all(b"s").await;
            let mut rest = [0; 16];
            let _ = sender.send(stream.read(&mut rest).await.is_err());
        }
    })
    .await;
    let proxy = serve(|port| {
        let mut resources = proving("app", endpoint.address, &authority);
        resources.extend([
            ir_listener(terminate_listener("web", port, None, "c")),
            ir_stream(tls_rule("app", &["outer.example"], to("app"))),
            certificate.secret("c"),
        ]);
        resources
    });
    let mut client = tls(proxy.address, "outer.example", &[&certificate], &[]).await.expect("TLS");
    assert_eq!(read(&mut client, 1).await, b"s");
    client.get_ref().0.set_zero_linger().expect("it is a socket");
    drop(client);
    assert_eq!(within(ended.recv()).await, Some(true), "the endpoint learns that it broke off");
}

/// TS-5.
#[tokio::test]
async fn what_is_passed_through_is_never_encrypted_once_more() {
    let own = certificate_for(&["a.example"]);
    let endpoint = secret_greeting("t", &own).await;
    let authority = Authority::new();
    let proxy = serve(|port| {
        let mut resources = proving("app", endpoint.address, &authority);
        resources.extend([
            ir_listener(passthrough_listener("web", port, None)),
            ir_stream(tls_rule("app", &["a.example"], to("app"))),
        ]);
        resources
    });
    assert_eq!(greeted(proxy.address, "a.example", &[&own]).await, "t");
}

#[tokio::test]
async fn a_listener_whose_certificate_is_missing_closes_and_keeps_its_name() {
    let proxy = serve(|port| {
        let mut resources = tcp_backend("app", &[]);
        resources.extend([
            ir_listener(terminate_listener("web", port, Some("a.example"), "missing")),
            ir_listener(passthrough_listener("any", port, None)),
            ir_stream(tls_rule("app", &["a.example"], to("app"))),
        ]);
        resources
    });
    assert_eq!(client::raw(proxy.address, &client_hello("a.example")).await, "");
}

#[tokio::test]
async fn a_handshake_of_many_clients_at_once_is_cut_nowhere() {
    let own = certificate_for(&["a.example"]);
    let endpoint = secret_greeting("t", &own).await;
    let proxy = serve(|port| {
        let mut resources = tcp_backend("app", &[endpoint.address]);
        resources.extend([
            ir_listener(passthrough_listener("web", port, None)),
            ir_stream(tls_rule("app", &["a.example"], to("app"))),
        ]);
        resources
    });
    let clients = (0..50u8).map(|number| {
        let (address, own) = (proxy.address, own.clone());
        tokio::spawn(async move {
            let mut stream = tls(address, "a.example", &[&own], &[]).await.expect("a handshake");
            read(&mut stream, 1).await;
            let sent = vec![number; 300_000];
            let (mut from, mut to) = tokio::io::split(stream);
            let writing = async {
                to.write_all(&sent).await.expect("it reads");
                to.shutdown().await.expect("it is open");
            };
            let mut got = Vec::new();
            let reading = async { from.read_to_end(&mut got).await.expect("it ends as it should") };
            within(async { tokio::join!(writing, reading) }).await;
            assert!(got == sent, "client {number}");
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no panic");
    }
}
