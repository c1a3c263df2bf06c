//! XBackend.

use std::net::IpAddr;

use super::backend_tls_policy;
use super::checker::{Checker, Member};
use super::reference;
use super::session_persistence::session_persistence;
use super::syntax::{LABEL_VALUE, PRECISE_HOSTNAME, QUALIFIED_NAME};
use crate::{XBackend, XBackendProtocol, XBackendSpec, XBackendTls, XBackendTlsMode, XBackendType};

pub(super) fn x_backend(check: &mut Checker, backend: &XBackend) {
    check.field("spec", |check| spec(check, &backend.spec));
}

fn spec(check: &mut Checker, spec: &XBackendSpec) {
    let XBackendSpec { backend_type, endpoint_selector, external_hostname, .. } = spec;
    check.one_of("type", backend_type.as_str(), XBackendType::KNOWN);
    let member = |of_type, field, is_set| Member { of_type, field, is_set };
    check.union(
        backend_type.as_str(),
        &[
            member("EndpointSelector", "endpointSelector", endpoint_selector.is_some()),
            member("ExternalHostname", "externalHostname", external_hostname.is_some()),
        ],
    );
    if spec.port.number.is_none() {
        check.field("port", |check| check.report("`number` is missing: expected 1 to 65535"));
    }
    check.optional("endpointSelector", endpoint_selector.as_ref(), |check, selector| {
        if selector.match_labels.is_empty() {
            check.report("`matchLabels` is empty: expected 1 to 64 labels");
        }
        check.map("matchLabels", &selector.match_labels, 64, &QUALIFIED_NAME, &LABEL_VALUE);
    });
    check.optional("externalHostname", external_hostname.as_ref(), |check, external| {
        check.text("hostname", &external.hostname, &PRECISE_HOSTNAME);
        let hostname = &external.hostname;
        if hostname.parse::<IpAddr>().is_err() && hostname.ends_with(".cluster.local") {
            check.field("hostname", |check| {
                check.report_with_help(
                    "lies within the cluster",
                    "select the pods with type EndpointSelector, or refer to a Service",
                );
            });
        }
    });
    if let Some(protocol) = &spec.protocol {
        check.one_of("protocol", protocol.as_str(), XBackendProtocol::KNOWN);
    }
    check.optional("tls", spec.tls.as_ref(), tls);
    protocol_and_tls(check, spec);
    check.optional("sessionPersistence", spec.session_persistence.as_deref(), session_persistence);
    if spec.session_persistence.is_some() && *backend_type != XBackendType::EndpointSelector {
        check.field("sessionPersistence", |check| {
            check.report("belongs to type EndpointSelector alone");
        });
    }
}

fn tls(check: &mut Checker, tls: &XBackendTls) {
    let XBackendTls { mode, validation, client_certificate_ref } = tls;
    check.one_of("mode", mode.as_str(), XBackendTlsMode::KNOWN);
    match (mode, validation.is_some()) {
        (XBackendTlsMode::None, true) => {
            check.field("validation", |check| check.report("there is none in mode None"));
        }
        (XBackendTlsMode::ServerOnly | XBackendTlsMode::ClientAndServer, false) => {
            check.report(format!("`validation` is missing: mode {mode} needs it"));
        }
        _ => {}
    }
    match (mode, client_certificate_ref.is_some()) {
        (XBackendTlsMode::ClientAndServer, false) => {
            check.report(format!("`clientCertificateRef` is missing: mode {mode} needs it"));
        }
        (XBackendTlsMode::None | XBackendTlsMode::ServerOnly, true) => {
            check.field("clientCertificateRef", |check| {
                check.report("belongs to mode ClientAndServer alone");
            });
        }
        _ => {}
    }
    check.optional("validation", validation.as_deref(), backend_tls_policy::validation);
    check.optional("clientCertificateRef", client_certificate_ref.as_ref(), reference::secret);
}

fn protocol_and_tls(check: &mut Checker, spec: &XBackendSpec) {
    let is_over_tls = spec.tls.as_ref().is_some_and(|tls| tls.mode != XBackendTlsMode::None);
    match &spec.protocol {
        Some(XBackendProtocol::H2c) if is_over_tls => check.report_with_help(
            "protocol H2C is HTTP/2 without TLS, and `tls` asks for TLS",
            "write HTTP2 for HTTP/2 over TLS",
        ),
        Some(XBackendProtocol::Http2) if !is_over_tls => check.report_with_help(
            "protocol HTTP2 is HTTP/2 over TLS, and `tls` asks for none",
            "write H2C for HTTP/2 without TLS",
        ),
        Some(XBackendProtocol::Wss) if !is_over_tls => {
            check.report("protocol WSS is WebSocket over TLS, and `tls` asks for none");
        }
        _ => {}
    }
}
