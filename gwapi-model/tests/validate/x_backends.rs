use gwapi_model::XBackend;
use serde_json::{Value, json};

use super::{case, check};

fn pods() -> Value {
    json!({
        "metadata": {"name": "pods", "namespace": "shop"},
        "spec": {
            "type": "EndpointSelector",
            "endpointSelector": {"matchLabels": {"app": "web", "example.com/tier": ""}},
            "port": {"number": 8080},
            "sessionPersistence": {"cookie": {"name": "s"}},
        },
    })
}

fn outside() -> Value {
    json!({
        "metadata": {"name": "outside", "namespace": "shop"},
        "spec": {
            "type": "ExternalHostname",
            "externalHostname": {"hostname": "api.example.com"},
            "port": {"number": 443},
            "protocol": "HTTP2",
            "tls": {
                "mode": "ServerOnly",
                "validation": {"hostname": "api.example.com", "wellKnownCACertificates": "System"},
            },
        },
    })
}

#[test]
fn pods_are_selected_by_one_label_at_least_and_have_a_port() {
    //
    check::<XBackend>(
        &pods(),
        vec![
            case(
                "no label",
                "/spec/endpointSelector/matchLabels",
                json!({}),
                &["spec.endpointSelector: `matchLabels` is empty: expected 1 to 64 labels"],
            ),
            case(
                "no port",
                "/spec/port",
                json!({}),
                &["spec.port: `number` is missing: expected 1 to 65535"],
            ),
            case(
                "SP-2: a permanent cookie without end",
                "/spec/sessionPersistence/cookie/lifetimeType",
                json!("Permanent"),
                &[
                    "spec.sessionPersistence: `absoluteTimeout` is missing: a permanent cookie needs \
                   it",
                ],
            ),
            case(
                "the settings of another type",
                "/spec/externalHostname",
                json!({"hostname": "a.example"}),
                &["spec.externalHostname: belongs to type ExternalHostname, but the type is \
                   EndpointSelector [remove `externalHostname` or set the type to \
                   ExternalHostname]"],
            ),
        ],
    );
}

#[test]
fn a_host_outside_has_a_precise_name_that_lies_in_no_cluster() {
    //
    check::<XBackend>(
        &outside(),
        vec![
            case(
                "a Service",
                "/spec/externalHostname/hostname",
                json!("web.shop.svc.cluster.local"),
                &["spec.externalHostname.hostname: lies within the cluster [select the pods with \
                   type EndpointSelector, or refer to a Service]"],
            ),
            case(
                "SP-3: sessions",
                "/spec/sessionPersistence",
                json!({"cookie": {}}),
                &["spec.sessionPersistence: belongs to type EndpointSelector alone"],
            ),
        ],
    );
}

#[test]
fn protocol_and_tls_fit_each_other() {
    //
    check::<XBackend>(
        &outside(),
        vec![
            case(
                "HTTP/2 without TLS, over TLS",
                "/spec/protocol",
                json!("H2C"),
                &["spec: protocol H2C is HTTP/2 without TLS, and `tls` asks for TLS [write HTTP2 \
                   for HTTP/2 over TLS]"],
            ),
            case(
                "HTTP/2 over TLS, without TLS",
                "/spec/tls",
                json!({"mode": "None"}),
                &[
                    "spec: protocol HTTP2 is HTTP/2 over TLS, and `tls` asks for none [write H2C for \
                   HTTP/2 without TLS]",
                ],
            ),
            case(
                "a certificate that is not shown",
                "/spec/tls/clientCertificateRef",
                json!({"name": "client"}),
                &["spec.tls.clientCertificateRef: belongs to mode ClientAndServer alone"],
            ),
            case(
                "no certificate to show",
                "/spec/tls/mode",
                json!("ClientAndServer"),
                &["spec.tls: `clientCertificateRef` is missing: mode ClientAndServer needs it"],
            ),
        ],
    );
}
