//! The Gateway with its listener, the Secret of its certificate, and the Services.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;

use crate::bench::site::{Backend, Protocol, Site};

/// All objects but the routes.
pub(super) fn manifest(site: &Site) -> anyhow::Result<String> {
    let Site { protocol, port, .. } = *site;
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: bench
spec:
  gatewayClassName: bench
  listeners:
  - name: bench
    port: {port}
    protocol: {}
",
        listener_protocol(protocol)
    );
    text.push_str(tls(protocol));
    if protocol.ends_tls() {
        text.push_str(&secret(site)?);
    }
    text.extend(site.backends.iter().map(|backend| service(backend, protocol)));
    Ok(text)
}

fn listener_protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => "HTTP",
        Protocol::Http1Tls | Protocol::Http2Tls => "HTTPS",
        Protocol::Passthrough => "TLS",
        Protocol::Tcp => "TCP",
    }
}

/// The listener's `tls`, where it has one.
fn tls(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1Tls | Protocol::Http2Tls => {
            "    tls:
      certificateRefs:
      - name: bench
"
        }
        Protocol::Passthrough => {
            "    tls:
      mode: Passthrough
"
        }
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc | Protocol::Tcp => "",
    }
}

fn secret(site: &Site) -> anyhow::Result<String> {
    let mut text = "---
apiVersion: v1
kind: Secret
metadata:
  name: bench
type: kubernetes.io/tls
stringData:
"
    .to_owned();
    for (field, path) in [("tls.crt", &site.certificate.chain), ("tls.key", &site.certificate.key)]
    {
        let pem =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        writeln!(text, "  {field}: |").expect("a string takes every write");
        for line in pem.lines() {
            writeln!(text, "    {line}").expect("a string takes every write");
        }
    }
    Ok(text)
}

fn service(backend: &Backend, protocol: Protocol) -> String {
    let spoken =
        if protocol == Protocol::Grpc { "    appProtocol: kubernetes.io/h2c\n" } else { "" };
    format!(
        "---
apiVersion: v1
kind: Service
metadata:
  name: {}
spec:
  ports:
  - port: 80
{spoken}",
        backend.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::site::Routes;
    use crate::bench::site::tests::site;

    #[test]
    fn a_listener_that_decrypts_nothing_says_so() {
        let text = manifest(&site(Protocol::Passthrough, Routes::One)).unwrap();
        assert!(
            text.contains("    protocol: TLS\n    tls:\n      mode: Passthrough\n---\n"),
            "{text}"
        );
        let text = manifest(&site(Protocol::Tcp, Routes::One)).unwrap();
        assert!(text.contains("    protocol: TCP\n---\n"), "{text}");
    }

    #[test]
    fn the_services_of_calls_speak_http_2() {
        let text = manifest(&site(Protocol::Grpc, Routes::One)).unwrap();
        let ports = "  ports:\n  - port: 80\n    appProtocol: kubernetes.io/h2c\n";
        assert_eq!(text.matches(ports).count(), 2, "{text}");
    }
}
