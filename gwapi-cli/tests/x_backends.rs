//! XBackends between a client and servers that are made with tonic, which take nobody without a certificate.

mod support;

use std::net::SocketAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::transport::{Certificate, Endpoint, Identity, ServerTlsConfig};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

use support::*;

/// Signs certificates of servers and clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is randomness");
        Self(CertifiedIssuer::self_signed(params, key).expect("the parameters are valid"))
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> [String; 2] {
        let mut params = CertificateParams::new([name.to_owned()]).expect("it is a name");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("there is randomness");
        let signed = params.signed_by(&key, &self.0).expect("the parameters are valid");
        [signed.pem(), key.serialize_pem()]
    }

    /// A Secret with a certificate that proves who a client is.
    fn client(&self, name: &str) -> String {
        let [certificate, key] = self.sign("gateway.internal", ExtendedKeyUsagePurpose::ClientAuth);
        secret(name, &certificate, &key)
    }

    /// A server that takes those alone whom this authority vouches for.
    async fn server(&self) -> SocketAddr {
        let [certificate, key] = self.sign("health.internal", ExtendedKeyUsagePurpose::ServerAuth);
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(self.0.pem()));
        let (_, service) = health_reporter();
        let mut server = Server::builder().tls_config(tls).expect("the certificate is one");
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let incoming = incoming.expect("a port is free");
        let address = incoming.local_addr().expect("it is bound");
        tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
        address
    }
}

fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("    {line}\n")).collect()
}

fn secret(name: &str, certificate: &str, key: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Secret
metadata:
  name: {name}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{}  tls.key: |
{}",
        indented(certificate),
        indented(key)
    )
}

fn authorities(authority: &Authority) -> String {
    format!(
        "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: ca
data:
  ca.crt: |
{}",
        indented(&authority.0.pem())
    )
}

/// A GRPCRoute for a host of its own to an XBackend of the same name, which shows a certificate to the pods of
/// the Service `health`.
fn shown(name: &str, secret: &str, port: u16) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata:
  name: {name}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [{name}.example.com]
  rules:
    - backendRefs: [{{group: gateway.networking.x-k8s.io, kind: XBackend, name: {name}}}]
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata:
  name: {name}
spec:
  type: EndpointSelector
  endpointSelector: {{matchLabels: {{app: health}}}}
  port: {{number: {port}}}
  protocol: GRPC
  tls:
    mode: ClientAndServer
    clientCertificateRef: {{name: {secret}}}
    validation:
      hostname: health.internal
      caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: ca}}]
"
    )
}

/// A Service that has the pods, which live at an address.
fn pods(address: SocketAddr) -> String {
    let service = service("health").replace("spec:\n", "spec:\n  selector: {app: health}\n");
    stream(&[service, slice("health", address)])
}

/// What a call says that is for the host of a name.
async fn check(port: u16, name: &str) -> Result<(), Status> {
    let origin = format!("http://{name}.example.com").parse().expect("an origin");
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    let channel = endpoint.origin(origin).connect().await.expect("the gateway listens");
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel).check(request).await.map(|_| ())
}

/// `ClientAndServer`.
#[tokio::test]
async fn a_server_that_asks_for_certificates_sees_that_of_the_x_backend_and_no_other() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let server = ours.server().await;
    let port = free_port();
    let text = stream(&[
        gateway(port),
        authorities(&ours),
        pods(server),
        ours.client("good"),
        foreign.client("foreign"),
        shown("good", "good", server.port()),
        shown("bad", "foreign", server.port()),
        shown("later", "later", server.port()),
    ]);
    let manifests = Manifests::new(&[("all.yaml", &text)]);
    let gwapi = Gwapi::run(&manifests, &["--listen", "127.0.0.1"]);
    let problems = gwapi.event("start")["problems"].to_string();
    assert!(problems.contains("Secret `default/later` does not exist"), "{problems}");

    assert_eq!(check(port, "good").await.map_err(|it| it.to_string()), Ok(()));
    let code = |result: Result<(), Status>| result.map_err(|status| status.code());
    // The same endpoint, a moment after a connection to it was made that it took.
    assert_eq!(code(check(port, "bad").await), Err(Code::Unavailable));
    assert_eq!(code(check(port, "later").await), Err(Code::Unavailable));
    assert_eq!(check(port, "good").await.map_err(|it| it.to_string()), Ok(()));

    manifests.write("later.yaml", &ours.client("later"));
    gwapi.event("change");
    assert_eq!(check(port, "later").await.map_err(|it| it.to_string()), Ok(()));
    assert_eq!(code(check(port, "bad").await), Err(Code::Unavailable));
}
