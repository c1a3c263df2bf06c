//! `gwapi` between a client and a server that are made with tonic: its health service, which has a call
//! with one answer and a call that streams.

mod support;

use std::net::SocketAddr;

use tonic::transport::server::{Server, TcpIncoming};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answered;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::{HealthReporter, health_reporter};

use support::*;

/// The name that the certificate is for, and that the route takes.
const HOST: &str = "grpc.example.com";

/// The service whose health the server tells.
const SERVICE: &str = "shop.v1.Orders";

/// A server of its own, which says of services what the reporter was told.
async fn server() -> (SocketAddr, HealthReporter) {
    let (reporter, service) = health_reporter();
    reporter.set_service_status(SERVICE, ServingStatus::Serving).await;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let incoming = TcpIncoming::bind(address).expect("a port is free");
    let address = incoming.local_addr().expect("it is bound");
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    (address, reporter)
}

/// The gateway, with a listener for clear text and one for TLS, and the certificate of that.
fn gateway(server: SocketAddr) -> (Gwapi, Manifests, [u16; 2], Certificate) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate");
    let certificate = made.cert.pem();
    let indented = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let ports = free_ports();
    let text = MANIFESTS
        .replace("CLEAR", &ports[0].to_string())
        .replace("TLS_PORT", &ports[1].to_string())
        .replace("    CERTIFICATE\n", &indented(&certificate))
        .replace("    KEY\n", &indented(&made.signing_key.serialize_pem()));
    let manifests = Manifests::new(&[("grpc.yaml", &text)]);
    let backend = format!("default/health:50051={server}");
    let gwapi = Gwapi::run(&manifests, &["--listen", "127.0.0.1", "--backend", &backend]);
    assert_eq!(gwapi.event("start")["problems"], serde_json::json!([]));
    (gwapi, manifests, ports, Certificate::from_pem(certificate))
}

/// A client that asks for the host of the route, whatever address it connects to.
async fn client(port: u16, certificate: Option<Certificate>) -> HealthClient<Channel> {
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://127.0.0.1:{port}"))
        .expect("an address")
        .origin(format!("{scheme}://{HOST}:{port}").parse().expect("an origin"));
    if let Some(certificate) = certificate {
        let tls = ClientTlsConfig::new().ca_certificate(certificate).domain_name(HOST);
        endpoint = endpoint.tls_config(tls).expect("TLS is there");
    }
    HealthClient::new(endpoint.connect().await.expect("the gateway listens"))
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<Answered, Status> {
    Ok(client.check(about(service)).await?.into_inner().status())
}

#[tokio::test]
async fn calls_of_tonic_reach_a_server_of_tonic_in_the_clear_and_over_tls() {
    let (address, reporter) = server().await;
    let (_gwapi, _manifests, [clear, tls], certificate) = gateway(address);
    for mut client in [client(clear, None).await, client(tls, Some(certificate)).await] {
        reporter.set_service_status(SERVICE, ServingStatus::Serving).await;
        assert_eq!(check(&mut client, SERVICE).await.expect("an answer"), Answered::Serving);
        // The server's own word, which comes in trailers or in their place.
        let unknown = check(&mut client, "unheard.of").await.expect_err("nobody knows it");
        assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "service not registered"));

        // Each message comes while the call goes on: nothing waits for its end.
        let mut watch = client.watch(about(SERVICE)).await.expect("it begins").into_inner();
        for (reported, told) in [
            (ServingStatus::Serving, Answered::Serving),
            (ServingStatus::NotServing, Answered::NotServing),
            (ServingStatus::Unknown, Answered::Unknown),
        ] {
            reporter.set_service_status(SERVICE, reported).await;
            let message = watch.message().await.expect("the call goes on").expect("it is not over");
            assert_eq!(message.status(), told);
        }
    }
}

#[tokio::test]
async fn tonic_is_told_why_a_call_was_not_answered() {
    let (address, _reporter) = server().await;
    let (gwapi, manifests, [clear, _], _) = gateway(address);
    let mut client = client(clear, None).await;
    assert_eq!(check(&mut client, SERVICE).await.expect("an answer"), Answered::Serving);

    // GR-6: no rule takes the method any more.
    let text = std::fs::read_to_string(manifests.file("grpc.yaml")).expect("it was written");
    manifests.write(
        "grpc.yaml",
        &text.replace("method: {service: grpc.health.v1.Health}", "method: {service: other}"),
    );
    gwapi.event("change");
    let unimplemented = check(&mut client, SERVICE).await.expect_err("no rule takes it");
    assert_eq!(unimplemented.code(), Code::Unimplemented);

    // And now nobody is behind it.
    manifests.write("grpc.yaml", &text.replace("port: 50051}]", "port: 50052}]"));
    gwapi.event("change");
    let unavailable = check(&mut client, SERVICE).await.expect_err("there is no such port");
    assert_eq!(unavailable.code(), Code::Unavailable);
}

const MANIFESTS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gwapi}
spec: {controllerName: gwapi.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: gwapi
  listeners:
    - {name: clear, port: CLEAR, protocol: HTTP}
    - name: tls
      port: TLS_PORT
      protocol: HTTPS
      tls: {certificateRefs: [{name: web}]}
---
apiVersion: v1
kind: Secret
metadata: {name: web}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    CERTIFICATE
  tls.key: |
    KEY
---
apiVersion: v1
kind: Service
metadata: {name: health}
spec: {ports: [{port: 50051}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: health}
spec:
  parentRefs: [{name: web}]
  hostnames: [grpc.example.com]
  rules:
    - matches:
        - method: {service: grpc.health.v1.Health}
      backendRefs: [{name: health, port: 50051}]
";
