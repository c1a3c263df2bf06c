//! Certificates that are good for hosts of another listener on their port.
//!
//! Clients of HTTP/2 use a connection again for every host that its certificate is good for, where both
//! have one address (RFC 9113 9.1.1). A listener answers 421 for the hosts of another one (LI-5). Where the
//! hostnames themselves overlap, the status tells so (LI-6), and nothing is found here.

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use webpki::EndEntityCert;

use super::{Finding, Input, Lint, Related, listener_field};
use crate::ir::{
    Certificate, CertificateKey, GatewayConfig, GatewayId, Hostname, IrKey, IrResource, Listener,
    ListenerProtocol,
};

pub(super) fn find(input: &Input<'_>, findings: &mut Vec<Finding>) {
    for (gateway, config) in &input.translation.config {
        let mut ports: BTreeMap<u16, Vec<&Listener>> = BTreeMap::new();
        let https = |listener: &&Listener| {
            matches!(listener.protocol, ListenerProtocol::Https { .. })
                && listener.hostname.is_some()
        };
        for listener in config.listeners().map(|it| &**it).filter(https) {
            ports.entry(listener.port).or_default().push(listener);
        }
        for listeners in ports.values().filter(|listeners| listeners.len() > 1) {
            find_on_port(input, (gateway, config), listeners, findings);
        }
    }
}

fn find_on_port(
    input: &Input<'_>,
    (gateway, config): (&GatewayId, &GatewayConfig),
    listeners: &[&Listener],
    findings: &mut Vec<Finding>,
) {
    for listener in listeners {
        let certificates = listener.protocol.certificates().iter();
        let names: Vec<String> =
            certificates.filter_map(|key| certificate(config, key)).flat_map(names).collect();
        let overlapped: Vec<(&Listener, &str)> = listeners
            .iter()
            .filter(|other| !overlap(listener, other))
            .filter_map(|other| {
                let hostname = other.hostname.as_ref()?;
                let name = names.iter().find(|name| is_good_for(name, hostname))?;
                Some((*other, &**name))
            })
            .collect();
        let Some((first, name)) = overlapped.first() else { continue };
        let (object, field) = listener_field(input.resources, gateway, &listener.key);
        let more = match overlapped.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!(
            "the certificate of listener {} is good for `{name}`, and so for hosts of listener {}{more} on \
             the same port: clients that use a connection again for those get 421",
            listener.key.name(),
            first.key.name(),
        );
        let finding =
            Finding::new(Lint::OverlappingCertificates, object, field.field("tls"), message);
        let related = overlapped.iter().take(3).map(|(other, _)| {
            let (object, field) = listener_field(input.resources, gateway, &other.key);
            let message = "these hosts belong to this listener".to_owned();
            Related { object, field: field.field("hostname"), message }
        });
        let related = related.collect();
        let help = "give each listener a certificate for its own hostnames alone, or serve all of them by \
                    one listener";
        findings.push(Finding { related, ..finding.with_help(help) });
    }
}

/// Whether hostnames meet: a listener's own among them.
fn overlap(one: &Listener, other: &Listener) -> bool {
    match (&one.hostname, &other.hostname) {
        (Some(one), Some(other)) => one.intersects(other),
        _ => true,
    }
}

fn certificate<'c>(config: &'c GatewayConfig, key: &CertificateKey) -> Option<&'c Certificate> {
    match config.0.get(&IrKey::Certificate(key.clone()))? {
        IrResource::Certificate(certificate) => Some(certificate),
        _ => None,
    }
}

/// DNS names that a certificate is good for, in lower case. One that cannot be read has none.
fn names(certificate: &Certificate) -> Vec<String> {
    let Some(Ok(leaf)) = CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).next() else {
        return Vec::new();
    };
    let leaf = EndEntityCert::try_from(&leaf);
    let names = leaf.iter().flat_map(|leaf| leaf.valid_dns_names());
    names.map(str::to_ascii_lowercase).collect()
}

/// Whether a certificate's name is good for a host of a listener: its `*` stands for one label
/// (RFC 9525 6.3).
fn is_good_for(name: &str, hostname: &Hostname) -> bool {
    match (name.strip_prefix("*."), hostname) {
        (None, hostname) => hostname.matches(name),
        (Some(suffix), Hostname::Exact(host)) => {
            host.split_once('.').is_some_and(|(_, parent)| parent == suffix)
        }
        // `*.b.a` is good for hosts under `*.a`, and `*.a` for none under `*.b.a`: those have a label more.
        (Some(suffix), wildcard @ Hostname::Wildcard(own)) => {
            suffix == &**own || wildcard.matches(suffix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_of_a_certificate_stands_for_one_label() {
        for (name, hostname, expected) in [
            ("*.a", "b.a", true),
            ("*.a", "c.b.a", false),
            ("*.a", "a", false),
            ("*.a", "*.a", true),
            ("*.b.a", "*.a", true),
            ("*.a", "*.b.a", false),
            ("b.a", "b.a", true),
            ("c.b.a", "*.a", true),
            ("a", "*.a", false),
        ] {
            assert_eq!(
                is_good_for(name, &Hostname::parse(hostname)),
                expected,
                "{name} {hostname}"
            );
        }
    }
}
