//! Standalone as an embedder uses it: a folder, an overlay, a proxy, and a loop.
#![cfg(feature = "folder")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use gwapi_dataplane::{
    ChangeKind, ObjectChange, Overlay, ProxyBuilder, Standalone, TranslatedFolder,
};
use gwapi_model::{
    GatewayClass, GatewayClassSpec, Kind, ObjectId, ObjectMeta, Resource, Resources,
};
use gwapi_translate::{AddressPolicy, Options};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options {
        any_controller: true,
        addresses: AddressPolicy::Shared(vec![IpAddr::from([127, 0, 0, 1])]),
        ..Options::default()
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("bound").port()
}

const CLASS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: example.com/ours}
";

fn gateway(port: u16) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: ours
  listeners: [{{name: http, protocol: HTTP, port: {port}}}]
"
    )
}

const REDIRECT: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: away}
spec:
  parentRefs: [{name: web}]
  rules:
    - filters: [{type: RequestRedirect, requestRedirect: {hostname: example.com}}]
";

fn write(folder: &Path, name: &str, text: &str) {
    let draft = folder.join(format!(".{name}"));
    std::fs::write(&draft, text).expect("written");
    std::fs::rename(draft, folder.join(name)).expect("renamed");
}

fn status_of(port: u16) -> u16 {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

fn object(kind: Kind, name: &str, change: ChangeKind) -> ObjectChange {
    let namespace = if kind.is_namespaced() { "default" } else { "" };
    ObjectChange { id: ObjectId::new(kind, namespace, name), kind: change }
}

#[test]
fn a_folder_and_its_edits_are_served() {
    let port = free_port();
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "gateway.yaml", &format!("{CLASS}---\n{}", gateway(port)));

    let proxy = ProxyBuilder::new().workers(1).start().expect("started");
    let source = TranslatedFolder::open(vec![folder.path().to_owned()], options(), ());
    let mut standalone = Standalone::start(source, proxy);
    standalone.watch().expect("watching");
    assert_eq!(status_of(port), 404);

    write(folder.path(), "route.yaml", REDIRECT);
    let change = standalone.wait(PATIENCE).expect("an edit");
    assert_eq!(change.files, [folder.path().join("route.yaml")]);
    assert_eq!(change.objects, [object(Kind::HttpRoute, "away", ChangeKind::Added)]);
    assert_eq!(status_of(port), 302);

    std::fs::remove_file(folder.path().join("route.yaml")).expect("removed");
    let change = standalone.wait(PATIENCE).expect("an edit");
    assert_eq!(change.objects, [object(Kind::HttpRoute, "away", ChangeKind::Removed)]);
    assert_eq!(status_of(port), 404);
}

/// What the first byte of the answer to a client is that asks for a name by TLS; none where it is closed
/// without one.
fn first_byte(name: &str, port: u16) -> Option<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
    let client = rustls::ClientConnection::new(config.into(), name);
    let mut hello = Vec::new();
    client.expect("a client").write_tls(&mut hello).expect("written");
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(&hello).expect("sent");
    let mut first = [0];
    (stream.read(&mut first).expect("an answer, or the end") > 0).then_some(first[0])
}

/// LI-4: a listener that cannot have what it asks for keeps its hostname from those that ask for less.
#[test]
fn the_hosts_of_a_refused_listener_are_not_decrypted_by_a_broader_one() {
    let port = free_port();
    let made = rcgen::generate_simple_self_signed(["*.x.example".to_owned()]).expect("a name");
    let indented = |pem: String| pem.lines().collect::<Vec<_>>().join("\n    ");
    let (chain, key) = (indented(made.cert.pem()), indented(made.signing_key.serialize_pem()));
    let manifests = format!(
        "\
{CLASS}---
apiVersion: v1
kind: Secret
metadata: {{name: cert}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    {chain}
  tls.key: |
    {key}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: ours
  listeners:
    - name: broad
      protocol: HTTPS
      port: {port}
      hostname: '*.x.example'
      tls: {{certificateRefs: [{{name: cert}}]}}
    - name: secret
      protocol: TLS
      port: {port}
      hostname: secret.x.example
      tls: {{mode: Passthrough, options: {{example.com/minimum-version: '1.3'}}}}
"
    );
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "all.yaml", &manifests);
    let proxy = ProxyBuilder::new().workers(1).start().expect("started");
    let source = TranslatedFolder::open(vec![folder.path().to_owned()], options(), ());
    let _standalone = Standalone::start(source, proxy);
    const HANDSHAKE: u8 = 22;
    assert_eq!(first_byte("public.x.example", port), Some(HANDSHAKE));
    assert_eq!(first_byte("secret.x.example", port), None);
}

#[test]
fn a_port_in_use_is_taken_over_when_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("bound").port();
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "gateway.yaml", &format!("{CLASS}---\n{}", gateway(port)));
    let proxy = ProxyBuilder::new().workers(1).start().expect("started");
    let source = TranslatedFolder::open(vec![folder.path().to_owned()], options(), ());
    let mut standalone = Standalone::start(source, proxy);
    standalone.watch().expect("watching");
    assert!(standalone.proxy().bound().is_empty());
    // Long enough for a second attempt, which is no new configuration.
    assert!(standalone.wait(Duration::from_millis(1_100)).is_none());
    assert_eq!(standalone.generation(), 1);

    drop(taken);
    let change = standalone.wait(PATIENCE).expect("a freed port");
    assert!(change.files.is_empty(), "{change:?}");
    assert_eq!(standalone.proxy().bound().len(), 1);
    assert_eq!(status_of(port), 404);
}

/// Adds the class that Gateways of the test name.
struct AddsClass;

impl Overlay for AddsClass {
    fn follow(
        &mut self,
        files: &Resources,
        _: &[ObjectChange],
        _: &mut Options,
    ) -> Option<Vec<Resource>> {
        let class = GatewayClass {
            metadata: ObjectMeta::cluster("ours"),
            spec: GatewayClassSpec {
                controller_name: "example.com/added".to_owned(),
                parameters_ref: None,
                description: None,
            },
        };
        (!files.gateways.is_empty()).then(|| vec![class.into()])
    }
}

#[test]
fn an_object_of_a_file_counts_more_than_an_added_one() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "gateway.yaml", &gateway(free_port()));
    let paths = vec![folder.path().to_owned()];
    let mut source = TranslatedFolder::open(paths, options(), AddsClass);
    source.watch().expect("watching");
    let controller = |source: &TranslatedFolder<AddsClass>| {
        let class = source.resources().gateway_classes.values().next().expect("a class");
        class.spec.controller_name.clone()
    };
    assert_eq!(controller(&source), "example.com/added");

    write(folder.path(), "class.yaml", CLASS);
    source.wait(PATIENCE).expect("an edit");
    assert_eq!(controller(&source), "example.com/ours");

    std::fs::remove_file(folder.path().join("class.yaml")).expect("removed");
    source.wait(PATIENCE).expect("an edit");
    assert_eq!(controller(&source), "example.com/added");
    assert!(source.files().gateway_classes.is_empty());
}
