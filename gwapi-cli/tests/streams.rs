//! `gwapi` with routes that carry bytes and datagrams.

mod support;

use std::io::{Read, Write};
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

/// The next line of the access log with this event.
fn logged(gwapi: &Gwapi, event: &str) -> serde_json::Value {
    let mut line = gwapi.event(event);
    let fields = line.as_object_mut().expect("an object");
    for unpredictable in ["time", "peer", "duration_ms"] {
        fields.remove(unpredictable).expect("it is there");
    }
    line
}

#[test]
fn connections_and_flows_are_in_the_access_log_once_they_are_over() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let backend = tcp.local_addr().expect("it is bound");
    let udp = UdpSocket::bind(backend).expect("UDP has ports of its own");
    let port = free_port();
    let manifests = dns(port);
    let option = format!("default/dns:53={backend}");
    let gwapi = Gwapi::run(
        &manifests,
        &["--listen", "127.0.0.1", "--backend", &option, "--access-log", "json"],
    );
    gwapi.event("start");
    let line = |event: &str, kind: &str, received: u64, sent: u64, ended: &str| {
        serde_json::json!({
            "event": event, "client": "127.0.0.1", "host": null, "protocol": kind.to_uppercase(),
            "bytes_received": received, "bytes_sent": sent, "gateway": "default/web",
            "listener": kind, "route": format!("default/{kind}"),
            "rule": format!("default/{kind}/~{kind}"), "backend": format!("default/dns:53/{kind}"),
            "endpoint": backend.to_string(), "ended": ended,
        })
    };

    let mut client = TcpStream::connect(local(port)).expect("it accepts");
    client.write_all(b"hello").expect("it reads");
    let (mut accepted, _) = tcp.accept().expect("it comes");
    accepted.read_exact(&mut [0; 5]).expect("it comes");
    accepted.write_all(b"hi!").expect("it reads");
    drop(accepted);
    client.read_to_end(&mut Vec::new()).expect("it ends");
    drop(client);
    assert_eq!(logged(&gwapi, "connection"), line("connection", "tcp", 5, 3, "complete"));

    let mut client = TcpStream::connect(local(port)).expect("it accepts");
    client.write_all(b"x").expect("it reads");
    let (accepted, _) = tcp.accept().expect("it comes");
    accepted.peek(&mut [0]).expect("it comes");
    // Closed with something unread it is reset.
    drop(accepted);
    assert_eq!(logged(&gwapi, "connection"), line("connection", "tcp", 1, 0, "upstream_error"));
    drop(client);

    let client = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    client.send_to(b"question", local(port)).expect("it is sent");
    let (_, from) = udp.recv_from(&mut [0; 16]).expect("it comes");
    udp.send_to(b"answer", from).expect("it is sent");
    client.recv(&mut [0; 16]).expect("it comes");
    gwapi.terminate();
    assert_eq!(logged(&gwapi, "flow"), line("flow", "udp", 8, 6, "cut"));
}

/// A ClientHello for `a.example`, and nothing that is not needed for one.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x43\x01\x00\x00\x3f\x03\x03\
    ................................\
    \x00\x00\x02\xc0\x13\x01\x00\x00\x14\x00\x00\x00\x10\x00\x0e\x00\x00\x0ba.b.example";

#[test]
fn what_leads_nowhere_is_in_the_access_log_with_the_reason() {
    let port = free_port();
    let manifests = dns(port);
    let tls = dns_over_tls(&manifests);
    let gwapi = Gwapi::run(&manifests, &["--listen", "127.0.0.1", "--access-log", "json"]);
    gwapi.event("start");
    drop(TcpStream::connect(local(port)).expect("it accepts"));
    let line = logged(&gwapi, "connection");
    assert_eq!((&line["route"], &line["ended"]), (&"default/tcp".into(), &"no_endpoint".into()));

    let mut client = TcpStream::connect(local(tls)).expect("it accepts");
    client.write_all(CLIENT_HELLO).expect("it reads");
    let line = logged(&gwapi, "connection");
    assert_eq!((&line["protocol"], &line["host"]), (&"TLS".into(), &"a.b.example".into()));
    assert_eq!((&line["route"], &line["ended"]), (&"default/tls".into(), &"no_endpoint".into()));
}

/// Adds a Gateway that passes TLS through to the same Service; its port.
fn dns_over_tls(manifests: &Manifests) -> u16 {
    let port = free_port();
    let text = format!(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: tls}}
spec:
  gatewayClassName: gwapi
  listeners: [{{name: tls, port: {port}, protocol: TLS, tls: {{mode: Passthrough}}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {{name: tls}}
spec:
  parentRefs: [{{name: tls}}]
  hostnames: ["*.example"]
  rules: [{{backendRefs: [{{name: dns, port: 53}}]}}]
"#
    );
    manifests.write("tls.yaml", &text);
    port
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
fn ports_without_names_show_no_hostnames() {
    let manifests = dns(53);
    let text = stdout(&gwapi(&["status", manifests.path().to_str().expect("text")]));
    for row in ["tcp://", "udp://"] {
        let row = text.lines().find(|line| line.contains(row)).expect("a row");
        let cells: Vec<_> = row.split_whitespace().skip(2).take(2).collect();
        assert_eq!(cells, ["1", "Accepted,"], "{text}");
    }
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
