//! The program `gwapi-proxy`, from outside: with what it had saved, and no controller.
#![cfg(feature = "stream")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gwapi_model::NamespacedName;
use gwapi_translate::Feedback;
use gwapi_translate::ir::{
    Backend, BackendKey, BackendProtocol, BackendTarget, BackendTls, BackendTrust, ConfigDelta,
    Endpoints, GatewayId, HttpFilter, HttpMatch, HttpRule, IrResource, Listener, ListenerKey,
    ListenerProtocol, Redirect, RuleKey, RuleOrder, WeightedBackend,
};
use gwapi_translate::wire::{Client, Node, Served, Server, Step};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn gateway() -> GatewayId {
    NamespacedName::new("shop", "web")
}

/// A listener, and a rule that redirects everything to `www.example.com`.
fn resources(port: u16) -> Vec<IrResource> {
    let web = ListenerKey::new("web");
    let listener = Listener {
        key: web.clone(),
        addresses: vec![IpAddr::from([127, 0, 0, 1])],
        port,
        protocol: ListenerProtocol::Http,
        hostname: None,
        filters: Vec::new(),
    };
    let redirect = Redirect {
        scheme: None,
        hostname: Some("www.example.com".to_owned()),
        port: Some(80),
        path: None,
        status: 302,
    };
    let rule = HttpRule {
        key: RuleKey::new("shop/away/0"),
        route: NamespacedName::new("shop", "away"),
        route_kind: gwapi_model::RouteKind::Http,
        name: None,
        order: RuleOrder { created: 0, route: "shop/away".into(), rule_index: 0 },
        listeners: [web].into(),
        hostnames: Arc::default(),
        matches: vec![HttpMatch::default()],
        filters: vec![HttpFilter::Redirect(redirect)],
        backends: Vec::new(),
        timeouts: None,
        retry: None,
        session: None,
    };
    vec![IrResource::Listener(Arc::new(listener)), IrResource::HttpRule(Arc::new(rule))]
}

/// What a proxy saves that was sent these resources.
fn saved(resources: Vec<IrResource>) -> Vec<u8> {
    let (mut served, mut server, mut client) =
        (Served::default(), Server::default(), Client::default());
    let delta = ConfigDelta { upserts: resources, removals: Vec::new() };
    served.apply(&delta, &Arc::default());
    server.receive(&client.connect(Node::default()), &served).expect("a right request");
    let response = server.next_response(&served).expect("a response");
    let Ok(Step::Apply(batch)) = client.receive(response) else { panic!("a complete state") };
    client.applied(batch, &Feedback::default());
    client.save(&gateway()).expect("a complete state")
}

/// The same listener, and a rule that leads to an endpoint which has to prove that it is `app.internal` to
/// authorities of the system.
fn resources_with_backend(port: u16, endpoint: SocketAddr) -> Vec<IrResource> {
    let key = BackendKey::service("shop", "app", 443);
    let tls = BackendTls {
        hostname: "app.internal".into(),
        subject_alt_names: Vec::new(),
        trust: BackendTrust::System,
        client_certificate: None,
        mutual: false,
    };
    let backend = Backend {
        key: key.clone(),
        protocol: BackendProtocol::Http1,
        tls: Some(Arc::new(tls)),
        session: None,
        retry_budget: None,
    };
    let addresses = vec![endpoint];
    let endpoints =
        Endpoints { key: key.clone(), addresses, hostnames: Vec::new(), external: Vec::new() };
    let mut resources = resources(port);
    for resource in &mut resources {
        if let IrResource::HttpRule(rule) = resource {
            let target = BackendTarget::Backend(key.clone());
            let backends = vec![WeightedBackend { weight: 1, target, filters: Vec::new() }];
            *rule = Arc::new(HttpRule { filters: Vec::new(), backends, ..(**rule).clone() });
        }
    }
    resources.extend([
        IrResource::Backend(Arc::new(backend)),
        IrResource::Endpoints(Arc::new(endpoints)),
    ]);
    resources
}

/// An endpoint inside TLS that answers 200 for as long as the test runs, and its certificate.
fn tls_endpoint() -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["app.internal".to_owned()]).expect("valid");
    let chain = vec![made.cert.der().clone()];
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
            let mut stream = StreamOwned::new(session, stream);
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nproved");
            }
        }
    });
    (address, made.cert.pem())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("bound").port()
}

/// A running proxy, which is killed when it is dropped.
struct Proxy {
    process: Child,
    log: BufReader<ChildStderr>,
    admin: u16,
    _folder: TempDir,
}

impl Proxy {
    /// Starts one that knows no controller; `snapshot` is what it finds.
    fn start(snapshot: Option<Vec<u8>>, drain_quiet: &str) -> Self {
        Self::trusting(None, snapshot, drain_quiet)
    }

    /// The same on a system that trusts these CA certificates, where that matters.
    fn trusting(system: Option<&str>, snapshot: Option<Vec<u8>>, drain_quiet: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        if let Some(snapshot) = snapshot {
            fs::write(Path::new(&at("gateway.snapshot")), snapshot).expect("written");
        }
        fs::write(Path::new(&at("system.pem")), system.unwrap_or_default()).expect("written");
        let mut process = Command::new(env!("CARGO_BIN_EXE_gwapi-proxy"))
            .args(["--gateway=shop/web", "--config-server=https://127.0.0.1:1"])
            .arg("--config-server-name=gwapi-controller.gwapi-system.svc")
            .arg(format!("--config-ca={}", at("ca.crt")))
            .arg(format!("--token={}", at("token")))
            .arg(format!("--snapshot-dir={}", folder.path().display()))
            .args(["--admin=127.0.0.1:0", "--workers=1", "--drain-timeout=10m"])
            .arg(format!("--drain-quiet={drain_quiet}"))
            .env_remove("RUST_LOG")
            .env_remove("SSL_CERT_DIR")
            .env("SSL_CERT_FILE", at("system.pem"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = BufReader::new(process.stderr.take().expect("piped"));
        let mut proxy = Self { process, log, admin: 0, _folder: folder };
        let line = proxy.wait_for("health and metrics are served here");
        let port = line.trim_end().rsplit(':').next().expect("an address at its end");
        proxy.admin = port.parse().expect("a port");
        proxy
    }

    /// Reads the log up to a line with this text.
    fn wait_for(&mut self, text: &str) -> String {
        let mut passed = String::new();
        loop {
            let mut line = String::new();
            let length = self.log.read_line(&mut line).expect("readable");
            assert_ne!(length, 0, "no line has {text:?}:\n{passed}");
            if line.contains(text) {
                return line;
            }
            passed += &line;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("it runs");
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().expect("its end").code()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(port: u16) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// The answer of a port, head and all.
fn get(port: u16, path: &str) -> String {
    let mut stream = connect(port);
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The head of the answer on a connection that stays open.
fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("more");
        answer.extend(byte);
    }
    String::from_utf8(answer).expect("text")
}

#[test]
fn it_serves_what_it_had_and_drains_when_it_is_told_to_end() {
    let port = free_port();
    let mut proxy = Proxy::start(Some(saved(resources(port))), "100ms");
    let line = proxy.wait_for("serving the configuration that was saved");
    assert!(line.contains("resources=2"), "{line}");
    assert!(get(proxy.admin, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(port, "/a").contains("location: http://www.example.com/a\r\n"));
    proxy.wait_for("no configuration from the controller");

    // A client that is connected is answered, and told to come back elsewhere as soon as that is so.
    let mut client = connect(port);
    proxy.signal(Signal::TERM);
    proxy.wait_for("draining");
    let mut told = false;
    while !told {
        let answer = ask(&mut client);
        assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
        told = answer.contains("connection: close\r\n");
    }
    assert_eq!(client.read(&mut [0]).expect("the end"), 0);
    let line = proxy.wait_for("drained");
    assert!(line.contains("cut_connections=0"), "{line}");
    assert_eq!(proxy.exit_code(), Some(0));
}

#[test]
fn it_is_alive_and_not_ready_when_there_is_nothing_to_serve() {
    for snapshot in [None, Some(b"no snapshot".to_vec())] {
        let damaged = snapshot.is_some();
        let mut proxy = Proxy::start(snapshot, "0s");
        if damaged {
            let line = proxy.wait_for("the saved configuration is of no use");
            assert!(line.contains("the snapshot is not whole"), "{line}");
        }
        let line = proxy.wait_for("no configuration from the controller");
        assert!(line.contains("cannot read") && line.contains("ca.crt"), "{line}");
        assert!(get(proxy.admin, "/livez").starts_with("HTTP/1.1 200"));
        assert!(get(proxy.admin, "/readyz").starts_with("HTTP/1.1 503"));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut proxy = Proxy::start(None, "5m");
    proxy.wait_for("no configuration from the controller");
    proxy.signal(Signal::TERM);
    proxy.wait_for("draining");
    proxy.signal(Signal::INT);
    assert_eq!(proxy.exit_code(), Some(130));
}

#[test]
fn endpoints_may_prove_who_they_are_to_authorities_of_the_system() {
    let (endpoint, certificate) = tls_endpoint();
    let port = free_port();
    let snapshot = saved(resources_with_backend(port, endpoint));
    let mut proxy = Proxy::trusting(Some(&certificate), Some(snapshot), "0s");
    let line = proxy.wait_for("CA certificates of the system are loaded");
    assert!(line.contains("usable=1"), "{line}");
    proxy.wait_for("serving the configuration that was saved");
    let answer = get(port, "/");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("proved"), "{answer}");
}

#[test]
fn a_system_without_authorities_is_told_of_and_nothing_is_trusted() {
    let (endpoint, _) = tls_endpoint();
    let port = free_port();
    let snapshot = saved(resources_with_backend(port, endpoint));
    let mut proxy = Proxy::trusting(Some(""), Some(snapshot), "0s");
    let line = proxy.wait_for("the system has no CA certificates");
    assert!(line.contains("SSL_CERT_FILE") && line.contains("app.internal"), "{line}");
    proxy.wait_for("serving the configuration that was saved");
    assert!(get(port, "/").starts_with("HTTP/1.1 502"));
}
