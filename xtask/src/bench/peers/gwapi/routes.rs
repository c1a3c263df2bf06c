//! Routes as objects of their kinds.

use crate::bench::grpc;
use crate::bench::site::{Protocol, Route, Site};

/// A document for each route.
pub(super) fn manifests(site: &Site) -> impl Iterator<Item = String> {
    site.routes().enumerate().map(|(index, (route, backend))| match site.protocol {
        Protocol::Http1 | Protocol::Http1Tls | Protocol::Http2 | Protocol::Http2Tls => {
            http_route(index, &route, backend)
        }
        Protocol::Grpc => grpc_route(index, &route, backend),
        Protocol::Passthrough => tls_route(index, &route, backend),
        Protocol::Tcp => tcp_route(index, backend),
    })
}

fn http_route(index: usize, route: &Route, backend: &str) -> String {
    let matches = format!("path:\n        type: PathPrefix\n        value: {}", route.prefix);
    manifest("HTTPRoute", index, Some(&route.host), Some(&matches), backend)
}

fn grpc_route(index: usize, route: &Route, backend: &str) -> String {
    let matches = format!("method:\n        service: {}", grpc::SERVICE);
    manifest("GRPCRoute", index, Some(&route.host), Some(&matches), backend)
}

fn tls_route(index: usize, route: &Route, backend: &str) -> String {
    manifest("TLSRoute", index, Some(&route.host), None, backend)
}

fn tcp_route(index: usize, backend: &str) -> String {
    manifest("TCPRoute", index, None, None, backend)
}

/// A route of a kind with one rule, which leads what matches to a backend.
fn manifest(
    kind: &str,
    index: usize,
    host: Option<&str>,
    matches: Option<&str>,
    backend: &str,
) -> String {
    let hostnames = host.map(|host| format!("  hostnames:\n  - {host}\n")).unwrap_or_default();
    let matches = matches.map(|it| format!("matches:\n    - {it}\n    ")).unwrap_or_default();
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata:
  name: r{index}
spec:
  parentRefs:
  - name: bench
{hostnames}  rules:
  - {matches}backendRefs:
    - name: {backend}
      port: 80
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::site::Routes;
    use crate::bench::site::tests::site;

    #[test]
    fn each_route_is_an_object_and_the_last_one_can_lead_elsewhere() {
        let mut site = site(Protocol::Http1, Routes::Prefixes(2));
        site.edited = true;
        let routes: Vec<String> = manifests(&site).collect();
        assert_eq!(routes.len(), 2);
        let expected = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: r1
spec:
  parentRefs:
  - name: bench
  hostnames:
  - bench.example
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: /p1
    backendRefs:
    - name: beta
      port: 80
";
        assert_eq!(routes[1], expected);
    }

    #[test]
    fn a_protocol_has_its_kind_of_route() {
        let route = |protocol| manifests(&site(protocol, Routes::One)).next().unwrap();
        let calls = route(Protocol::Grpc);
        assert!(calls.contains("kind: GRPCRoute"), "{calls}");
        assert!(calls.contains("    - method:\n        service: bench.Bench\n"), "{calls}");
        let through = route(Protocol::Passthrough);
        assert!(through.contains("kind: TLSRoute"), "{through}");
        assert!(through.contains("  hostnames:\n  - localhost\n"), "{through}");
        assert!(route(Protocol::Tcp).contains("kind: TCPRoute"));
    }
}
