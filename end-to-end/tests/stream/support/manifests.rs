//! Manifests in a few words.

use std::net::TcpListener;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// The class of all Gateways here.
pub(crate) const CLASS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gwapi}
spec: {controllerName: gwapi.dev/gateway-controller}
";

/// The Gateway `default/web` with a listener.
pub(crate) fn gateway(port: u16) -> String {
    format!(
        "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  gatewayClassName: gwapi
  listeners: [{{name: http, protocol: HTTP, port: {port}}}]
"
    )
}

/// The same with TLS, by the Secret `default/tls`.
pub(crate) fn https_gateway(port: u16) -> String {
    format!(
        "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  gatewayClassName: gwapi
  listeners:
    - {{name: https, protocol: HTTPS, port: {port}, tls: {{certificateRefs: [{{name: tls}}]}}}}
"
    )
}

/// A route of the Gateway that redirects requests for a path to a host.
pub(crate) fn redirect(name: &str, path: &str, host: &str) -> String {
    format!(
        "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: default}}
spec:
  parentRefs: [{{name: web}}]
  rules:
    - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]
      filters: [{{type: RequestRedirect, requestRedirect: {{hostname: {host}, port: 80}}}}]
"
    )
}

/// The Secret `default/tls`.
pub(crate) fn secret(chain: &str, key: &str) -> String {
    let indented = |text: &str| text.trim_end().replace('\n', "\n    ");
    format!(
        "\
---
apiVersion: v1
kind: Secret
metadata: {{name: tls, namespace: default}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    {}
  tls.key: |
    {}
",
        indented(chain),
        indented(key)
    )
}

/// A certificate for `localhost` and its key.
pub(crate) fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A port that nobody has, on all addresses. It is not of those that the system hands out by itself, for the
/// proxy takes it a while later.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = 10_000 + (next % 20_000) as u16;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}
