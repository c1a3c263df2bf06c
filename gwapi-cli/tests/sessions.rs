//! Sessions that are asked for beside routes.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use support::*;

/// A policy that asks for a session at a Service, by a cookie that it names.
const POLICY: &str = "\
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata:
  name: web
spec:
  targetRefs:
    - {group: \"\", kind: Service, name: web}
  sessionPersistence:
    type: Cookie
    cookie: {name: stay}
";

/// A Service with two endpoints.
fn pods(endpoints: [SocketAddr; 2]) -> String {
    let slices = ["web-1", "web-2"].into_iter().zip(endpoints);
    let slices =
        slices.map(|(name, at)| slice("web", at).replace("name: web-1", &format!("name: {name}")));
    stream(&[service("web")].into_iter().chain(slices).collect::<Vec<_>>())
}

/// A route whose rule asks for sessions itself.
fn own_sessions() -> String {
    route("own", "/own", "web").replace(
        "      backendRefs:",
        "      sessionPersistence: {type: Header, header: {name: x-stay}}\n      backendRefs:",
    )
}

/// The value of a header of an answer.
fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
}

/// SP-3, SP-4: a policy binds clients to endpoints of its Service, for all rules but those that do so themselves.
#[test]
fn a_traffic_policy_keeps_clients_at_an_endpoint_unless_the_rule_does_so_itself() {
    let servers = ["one", "two"].map(Named::start);
    let port = free_port();
    let text = stream(&[
        gateway(port),
        pods(servers.each_ref().map(|server| server.address)),
        route("plain", "/", "web"),
        own_sessions(),
    ]);
    let manifests = Manifests::new(&[("all.yaml", &text), ("policy.yaml", POLICY)]);
    let gwapi = Gwapi::run(&manifests, &["--listen", "127.0.0.1"]);
    assert_eq!(gwapi.event("start")["problems"], serde_json::json!([]));
    let ask = |path: &str, headers: &[(&str, &str)]| get(local(port), path, headers);

    let first = ask("/", &[]);
    let cookie = header(&first, "set-cookie").expect("a session begins");
    let (token, attributes) = cookie.split_once("; ").expect("it has attributes");
    assert!(token.starts_with("stay="), "{cookie}");
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Strict");
    for _ in 0..8 {
        let again = ask("/elsewhere", &[("cookie", token)]);
        assert_eq!((again.status, &again.body), (200, &first.body));
    }

    let own = ask("/own", &[("cookie", token)]);
    assert_eq!(header(&own, "set-cookie"), None, "the rule has its say first");
    let stay = header(&own, "x-stay").expect("a session of the rule").to_owned();
    for _ in 0..8 {
        assert_eq!(ask("/own", &[("x-stay", &stay)]).body, own.body);
    }

    manifests.remove("policy.yaml");
    gwapi.event("change");
    let bodies: BTreeSet<_> = (0..8).map(|_| ask("/", &[("cookie", token)]).body).collect();
    assert_eq!(bodies.len(), 2, "the Service is balanced again");
    assert_eq!(header(&ask("/", &[]), "set-cookie"), None);
}
