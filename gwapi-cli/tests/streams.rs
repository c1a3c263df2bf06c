//! `gwapi` with routes that carry bytes and datagrams.

mod support;

use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use support::*;

/// A Gateway with TCP and UDP on one port, and routes of both to ports of a Service that share a number, as
/// those of DNS do.
fn dns(port: u16) -> Manifests {
    let text = format!(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: gwapi}}
spec: {{controllerName: gwapi.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: gwapi
  listeners:
    - {{name: tcp, port: {port}, protocol: TCP}}
    - {{name: udp, port: {port}, protocol: UDP}}
---
apiVersion: v1
kind: Service
metadata: {{name: dns}}
spec: {{ports: [{{name: tcp, port: 53}}, {{name: udp, port: 53, protocol: UDP}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{name: tcp}}
spec: {{parentRefs: [{{name: web}}], rules: [{{backendRefs: [{{name: dns, port: 53}}]}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {{name: udp}}
spec: {{parentRefs: [{{name: web}}], rules: [{{backendRefs: [{{name: dns, port: 53}}]}}]}}
"#
    );
    Manifests::new(&[("dns.yaml", &text)])
}

#[test]
fn a_backend_on_the_command_line_is_for_tcp_and_udp() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let backend = tcp.local_addr().expect("it is bound");
    let udp = UdpSocket::bind(backend).expect("UDP has ports of its own");
    let port = free_port();
    let manifests = dns(port);
    let option = format!("default/dns:53={backend}");
    let gwapi = Gwapi::run(&manifests, &["--listen", "127.0.0.1", "--backend", &option]);
    assert_eq!(gwapi.event("start")["problems"], serde_json::json!([]));

    let client = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    client.send_to(b"x", local(port)).expect("it is sent");
    udp.set_read_timeout(Some(Duration::from_secs(10))).expect("it is a socket");
    assert_eq!(udp.recv(&mut [0; 16]).expect("it comes"), 1);

    let client = TcpStream::connect(local(port)).expect("it accepts");
    let (mut accepted, _) = tcp.accept().expect("it comes");
    drop(client);
    assert_eq!(accepted.read(&mut [0; 16]).expect("it ends"), 0);
}

#[test]
fn a_demo_is_not_advised_where_it_answers_nothing() {
    let manifests = dns(53);
    let text = stdout(&gwapi(&["status", manifests.path().to_str().expect("text")]));
    let of = |kind: &str| {
        let mut lines = text.lines().skip_while(|line| !line.contains(kind));
        lines.find(|line| line.contains("help:")).unwrap_or_else(|| panic!("{kind}: {text}"))
    };
    assert!(of("TCPRoute default/tcp closes").contains("--demo"), "{text}");
    assert!(!of("UDPRoute default/udp drops").contains("--demo"), "{text}");
}

#[test]
fn a_demo_answers_for_tcp_beside_udp_and_tells_of_the_rest() {
    let port = free_port();
    let manifests = dns(port);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let problems = gwapi.event("start")["problems"].to_string();
    assert!(problems.contains("UDPRoute default/udp drops its datagrams"), "{problems}");
    assert!(!problems.contains("TCPRoute"), "{problems}");
    assert_eq!(get(local(port), "/", &[]).json()["service"], "dns");
}

#[test]
fn a_service_without_endpoints_is_told_once() {
    let manifests = Manifests::new(&[(
        "tls.yaml",
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: gwapi
  listeners:
    - {name: through, port: 443, protocol: TLS, hostname: a.example, tls: {mode: Passthrough}}
    - {name: ends, port: 443, protocol: TLS, hostname: b.example, tls: {certificateRefs: [{name: c}]}}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{port: 443}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: app}
spec:
  parentRefs: [{name: web}]
  hostnames: [a.example, b.example]
  rules: [{backendRefs: [{name: app, port: 443}]}]
"#,
    )]);
    let text = stdout(&gwapi(&["status", manifests.path().to_str().expect("text")]));
    assert_eq!(text.matches("no endpoints for port 443").count(), 1, "{text}");
}
