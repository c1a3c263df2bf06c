use gwapi_model::{Gateway, GatewayClass, ListenerSet};
use serde_json::{Value, json};

use super::{case, check, times};

fn class() -> Value {
    json!({
        "metadata": {"name": "gwapi"},
        "spec": {
            "controllerName": "gwapi.dev/gateway-controller",
            "description": "for humans",
            "parametersRef": {
                "group": "", "kind": "ConfigMap", "name": "settings", "namespace": "system",
            },
        },
    })
}

#[test]
fn a_gateway_class_names_its_controller_and_parameters() {
    check::<GatewayClass>(
        &class(),
        vec![
            case(
                "GC-1: a controller without path",
                "/spec/controllerName",
                json!("gwapi.dev"),
                &["spec.controllerName: `gwapi.dev` is not a controller name: expected a domain \
                   and a path, such as example.com/gateway-controller"],
            ),
            case(
                "GC-1: a controller without name",
                "/spec/controllerName",
                json!(""),
                &["spec.controllerName: is empty: expected a domain and a path, such as \
                   example.com/gateway-controller"],
            ),
            case(
                "GC-1: a domain in upper case",
                "/spec/controllerName",
                json!("Gwapi.dev/x"),
                &[
                    "spec.controllerName: `Gwapi.dev/x` is not a controller name: expected a domain \
                   and a path, such as example.com/gateway-controller",
                ],
            ),
            case(
                "a long description",
                "/spec/description",
                json!("é".repeat(65)),
                &[
                    "spec.description: `ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé` \
                   is 65 characters long: expected a description of at most 64",
                ],
            ),
            case("64 characters, 128 bytes", "/spec/description", json!("é".repeat(64)), &[]),
            case(
                "GC-3: parameters without a name",
                "/spec/parametersRef/name",
                json!(""),
                &["spec.parametersRef.name: is empty: expected the name of an object"],
            ),
            case(
                "GC-3: parameters in an odd namespace",
                "/spec/parametersRef/namespace",
                json!("-"),
                &["spec.parametersRef.namespace: `-` is not a name: expected lower-case letters, \
                   digits and `-`, with a letter or digit at both ends"],
            ),
        ],
    );
}

fn gateway() -> Value {
    json!({
        "metadata": {"name": "edge", "namespace": "infra"},
        "spec": {
            "gatewayClassName": "gwapi",
            "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP", "hostname": "*.example.com"},
                {
                    "name": "https", "port": 443, "protocol": "HTTPS",
                    "tls": {"certificateRefs": [{"name": "certificate", "namespace": "infra"}]},
                    "allowedRoutes": {
                        "namespaces": {"from": "Selector", "selector": {
                            "matchLabels": {"example.com/team": "shop"},
                            "matchExpressions": [
                                {"key": "tier", "operator": "In", "values": ["edge", "inner"]},
                                {"key": "old", "operator": "DoesNotExist"},
                            ],
                        }},
                        "kinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}],
                    },
                },
                {"name": "tls", "port": 8443, "protocol": "TLS", "tls": {"mode": "Passthrough"}},
                {"name": "tcp", "port": 9000, "protocol": "TCP"},
            ],
            "addresses": [
                {"value": "192.0.2.1"},
                {"type": "Hostname", "value": "edge.example.com"},
                {"type": "IPAddress", "value": "2001:db8::1"},
                {"type": "example.com/any", "value": "What ever", "routability": "Cluster"},
                {"type": "IPAddress"},
                {"type": "Hostname", "value": ""},
            ],
            "infrastructure": {
                "labels": {"team": "edge"},
                "annotations": {"example.com/note": "any text at all"},
                "parametersRef": {"group": "", "kind": "ConfigMap", "name": "settings"},
            },
            "allowedListeners": {"namespaces": {"from": "None"}},
            "defaultScope": "None",
            "tls": {
                "backend": {"clientCertificateRef": {"name": "client"}},
                "frontend": {
                    "default": {"validation": {
                        "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                        "mode": "AllowValidOnly",
                    }},
                    "perPort": [{"port": 443, "tls": {}}],
                },
            },
        },
    })
}

#[test]
fn listeners_are_one_to_sixty_four_and_told_apart() {
    // GW-7.
    let listener =
        |index| json!({"name": format!("l{index}"), "port": index + 1, "protocol": "TCP"});
    check::<Gateway>(
        &gateway(),
        vec![
            case(
                "a class without name",
                "/spec/gatewayClassName",
                json!(""),
                &["spec.gatewayClassName: is empty: expected the name of an object"],
            ),
            case(
                "no listener",
                "/spec/listeners",
                json!([]),
                &["spec.listeners: is empty: expected at least 1"],
            ),
            case("64 listeners", "/spec/listeners", times(64, listener), &[]),
            case(
                "65 listeners",
                "/spec/listeners",
                times(65, listener),
                &[
                    "spec.listeners: has 65 entries: expected at most 64 [move 1 of them to another Gateway]",
                ],
            ),
            case(
                "a name twice",
                "/spec/listeners/1/name",
                json!("http"),
                &["spec.listeners[1].name: an earlier listener is named `http` too"],
            ),
            case(
                "the same port, protocol and hostname",
                "/spec/listeners/-",
                json!({"name": "again", "port": 80, "protocol": "HTTP", "hostname": "*.example.com"}),
                &[
                    "spec.listeners[4]: an earlier listener has port 80, protocol HTTP and hostname \
                   *.example.com too",
                ],
            ),
            case(
                "the same port and protocol without hostname",
                "/spec/listeners/-",
                json!({"name": "again", "port": 9000, "protocol": "TCP"}),
                &["spec.listeners[4]: an earlier listener has port 9000, protocol TCP and no \
                   hostname too"],
            ),
            case(
                "another hostname",
                "/spec/listeners/-",
                json!({"name": "again", "port": 80, "protocol": "HTTP", "hostname": "example.com"}),
                &[],
            ),
            case(
                "a name in upper case",
                "/spec/listeners/0/name",
                json!("HTTP"),
                &["spec.listeners[0].name: `HTTP` is not a name: expected lower-case letters, \
                   digits, `-` and `.`, with a letter or digit at both ends of every label \
                   [write it in lower case: http]"],
            ),
        ],
    );
}

#[test]
fn a_listener_has_what_its_protocol_needs() {
    check::<Gateway>(
        &gateway(),
        vec![
            case(
                "GW-7: TLS settings for HTTP",
                "/spec/listeners/0/tls",
                json!({"mode": "Passthrough"}),
                &["spec.listeners[0].tls: protocol HTTP takes no TLS settings \
                   [remove `tls` or set the protocol to HTTPS or TLS]"],
            ),
            case(
                "GW-7: HTTPS that is passed through",
                "/spec/listeners/1/tls",
                json!({"mode": "Passthrough"}),
                &["spec.listeners[1].tls.mode: protocol HTTPS cannot pass TLS through: expected \
                   Terminate [set the protocol to TLS to pass it through]"],
            ),
            case(
                "GW-7: HTTPS without settings is for a status",
                "/spec/listeners/1/tls",
                Value::Null,
                &[],
            ),
            case(
                "GW-7: TLS without settings",
                "/spec/listeners/2/tls",
                Value::Null,
                &["spec.listeners[2]: `tls` is missing: protocol TLS needs a mode [add `tls: \
                   {mode: Passthrough}`, or mode Terminate with certificateRefs]"],
            ),
            case(
                "GW-7: a hostname for TCP",
                "/spec/listeners/3/hostname",
                json!("example.com"),
                &["spec.listeners[3].hostname: protocol TCP knows no hostnames"],
            ),
            case(
                "GW-7: no certificate",
                "/spec/listeners/1/tls",
                json!({}),
                &["spec.listeners[1].tls: `certificateRefs` is missing: mode Terminate needs a \
                   certificate [name a Secret of type kubernetes.io/tls in certificateRefs]"],
            ),
            case(
                "GW-7: options instead of a certificate",
                "/spec/listeners/1/tls",
                json!({"options": {"example.com/certificate": "shop"}}),
                &[],
            ),
            case(
                "an unknown mode",
                "/spec/listeners/2/tls/mode",
                json!("PassThru"),
                &["spec.listeners[2].tls.mode: `PassThru` is not known here: expected Terminate \
                   or Passthrough"],
            ),
            case(
                "a mode in lower case",
                "/spec/listeners/2/tls/mode",
                json!("passthrough"),
                &["spec.listeners[2].tls.mode: `passthrough` is not known here: expected \
                   Terminate or Passthrough [did you mean Passthrough?]"],
            ),
            case(
                "TL-2: 65 certificates",
                "/spec/listeners/1/tls/certificateRefs",
                times(65, |_| json!({"name": "c"})),
                &["spec.listeners[1].tls.certificateRefs: has 65 entries: expected at most 64"],
            ),
            case(
                "TL-1: a certificate of an odd kind",
                "/spec/listeners/1/tls/certificateRefs/0/kind",
                json!("9"),
                &["spec.listeners[1].tls.certificateRefs[0].kind: `9` is not a kind: expected \
                   letters, digits and `-`, a letter first"],
            ),
            case(
                "TL-8: an option without name",
                "/spec/listeners/1/tls/options",
                json!({"example.com/": "x"}),
                &["spec.listeners[1].tls.options.example.com/: `example.com/` is not a key: \
                   expected letters, digits, `-`, `_` and `.`, at most 63, possibly after a \
                   domain and `/`"],
            ),
            case(
                "TL-8: too many options",
                "/spec/listeners/1/tls/options",
                (0..17)
                    .map(|i| (format!("o{i}"), json!("")))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
                &["spec.listeners[1].tls.options: has 17 entries: expected at most 16"],
            ),
            case(
                "GW-8: a protocol of an implementation",
                "/spec/listeners/3/protocol",
                json!("example.com/mqtt"),
                &[],
            ),
            case("GW-8: an unknown protocol", "/spec/listeners/3/protocol", json!("invalid"), &[]),
            case(
                "GW-8: a domain without name",
                "/spec/listeners/3/protocol",
                json!("example.com"),
                &["spec.listeners[3].protocol: `example.com` is not a protocol: expected HTTP, \
                   HTTPS, TLS, TCP, UDP or a domain and a name, such as example.com/protocol"],
            ),
            case(
                "GW-8: a name with a dash",
                "/spec/listeners/3/protocol",
                json!("example.com/my-own"),
                &["spec.listeners[3].protocol: `example.com/my-own` is not a protocol: expected \
                   HTTP, HTTPS, TLS, TCP, UDP or a domain and a name, such as \
                   example.com/protocol"],
            ),
            case(
                "GW-8: more before a domain and a name, which the pattern of the CRDs lets through",
                "/spec/listeners/3/protocol",
                json!("example.com/aexample.com/b"),
                &["spec.listeners[3].protocol: `example.com/aexample.com/b` is not a protocol: \
                   expected HTTP, HTTPS, TLS, TCP, UDP or a domain and a name, such as \
                   example.com/protocol"],
            ),
        ],
    );
}

#[test]
fn a_hostname_of_a_listener_is_a_dns_name() {
    const EXPECTED: &str = "expected lower-case labels of letters, digits and `-`, joined by \
                            dots, the first one possibly `*`";
    // RT-14 and the CRD's pattern.
    for (hostname, help) in [
        ("example.com:80", Some("leave the port out; it belongs to the listener")),
        ("*", Some("leave the hostname out to match every host")),
        ("a.*.com", Some("the wildcard is the whole first label, as in *.example.com")),
        ("*a.com", Some("the wildcard is the whole first label, as in *.example.com")),
        ("https://example.com", Some("write the host alone, without scheme and path")),
        ("Example.com", Some("write it in lower case: example.com")),
        ("example.com.", Some("leave out the final dot")),
        (
            "192.0.2.1",
            Some("leave the hostname out: a host that is an IP address cannot be matched"),
        ),
        (
            "2001:db8::1",
            Some("leave the hostname out: a host that is an IP address cannot be matched"),
        ),
        ("under_score.com", None),
        ("-a.com", None),
        ("a..com", None),
    ] {
        let mut object = gateway();
        object["spec"]["listeners"][0]["hostname"] = json!(hostname);
        let help = help.map(|help| format!(" [{help}]")).unwrap_or_default();
        assert_eq!(
            super::violations::<Gateway>(object),
            [format!(
                "spec.listeners[0].hostname: `{hostname}` is not a hostname: {EXPECTED}{help}"
            )],
        );
    }
    check::<Gateway>(
        &gateway(),
        vec![
            case(
                "an empty hostname",
                "/spec/listeners/0/hostname",
                json!(""),
                &["spec.listeners[0].hostname: is empty: expected lower-case labels of letters, \
                   digits and `-`, joined by dots, the first one possibly `*`"],
            ),
            case(
                "254 characters",
                "/spec/listeners/0/hostname",
                json!("a".repeat(254)),
                &["spec.listeners[0].hostname: \
                   `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` \
                   is 254 characters long: expected a hostname of at most 253"],
            ),
            case("253 characters", "/spec/listeners/0/hostname", json!("a".repeat(253)), &[]),
            case("one label", "/spec/listeners/0/hostname", json!("localhost"), &[]),
            case("a deep wildcard", "/spec/listeners/0/hostname", json!("*.a.b-c.9"), &[]),
        ],
    );
}

#[test]
fn allowed_routes_name_namespaces_and_kinds_that_can_be() {
    check::<Gateway>(
        &gateway(),
        vec![
            case(
                "AR-1: None is for listeners",
                "/spec/listeners/1/allowedRoutes/namespaces/from",
                json!("None"),
                &["spec.listeners[1].allowedRoutes.namespaces.from: `None` is not known here: \
                   expected All, Selector or Same"],
            ),
            case(
                "AR-1: a misspelt source",
                "/spec/listeners/1/allowedRoutes/namespaces/from",
                json!("Slector"),
                &["spec.listeners[1].allowedRoutes.namespaces.from: `Slector` is not known here: \
                   expected All, Selector or Same [did you mean Selector?]"],
            ),
            case(
                "LS-1: an unknown source",
                "/spec/allowedListeners/namespaces/from",
                json!("Any"),
                &["spec.allowedListeners.namespaces.from: `Any` is not known here: expected All, \
                   Selector, Same or None"],
            ),
            case(
                "AR-2: nine kinds",
                "/spec/listeners/1/allowedRoutes/kinds",
                times(9, |_| json!({"kind": "HTTPRoute"})),
                &["spec.listeners[1].allowedRoutes.kinds: has 9 entries: expected at most 8"],
            ),
            case(
                "an odd group of a kind",
                "/spec/listeners/1/allowedRoutes/kinds/0/group",
                json!("A"),
                &["spec.listeners[1].allowedRoutes.kinds[0].group: `A` is not an API group: \
                   expected lower-case labels joined by dots, or nothing for the core group"],
            ),
            case(
                "an odd kind",
                "/spec/listeners/1/allowedRoutes/kinds/0/kind",
                json!("HTTPRoute/v1"),
                &["spec.listeners[1].allowedRoutes.kinds[0].kind: `HTTPRoute/v1` is not a kind: \
                   expected letters, digits and `-`, a letter first"],
            ),
            case(
                "AR-5: an odd label",
                "/spec/listeners/1/allowedRoutes/namespaces/selector/matchLabels",
                json!({"a b": "ok", "team": "not ok"}),
                &[
                    "spec.listeners[1].allowedRoutes.namespaces.selector.matchLabels.a b: `a b` \
                     is not a key: expected letters, digits, `-`, `_` and `.`, at most 63, \
                     possibly after a domain and `/`",
                    "spec.listeners[1].allowedRoutes.namespaces.selector.matchLabels.team: `not \
                     ok` is not a label value: expected letters, digits, `-`, `_` and `.`, with \
                     a letter or digit at both ends, or nothing",
                ],
            ),
            case(
                "AR-5: an unknown operator",
                "/spec/listeners/1/allowedRoutes/namespaces/selector/matchExpressions/0/operator",
                json!("in"),
                &["spec.listeners[1].allowedRoutes.namespaces.selector.matchExpressions[0].\
                   operator: `in` is not known here: expected In, NotIn, Exists or DoesNotExist \
                   [did you mean In?]"],
            ),
            case(
                "AR-5: nothing to compare with",
                "/spec/listeners/1/allowedRoutes/namespaces/selector/matchExpressions/0/values",
                json!([]),
                &["spec.listeners[1].allowedRoutes.namespaces.selector.matchExpressions[0]: \
                   `values` is missing: operator In compares with values"],
            ),
            case(
                "AR-5: values that are not compared",
                "/spec/listeners/1/allowedRoutes/namespaces/selector/matchExpressions/1/values",
                json!(["x"]),
                &["spec.listeners[1].allowedRoutes.namespaces.selector.matchExpressions[1].\
                   values: operator DoesNotExist takes no values"],
            ),
            case(
                "AR-5: an odd key",
                "/spec/listeners/1/allowedRoutes/namespaces/selector/matchExpressions/0/key",
                json!(""),
                &["spec.listeners[1].allowedRoutes.namespaces.selector.matchExpressions[0].key: \
                   is empty: expected letters, digits, `-`, `_` and `.`, at most 63, possibly \
                   after a domain and `/`"],
            ),
            case(
                "AR-5: an odd value",
                "/spec/listeners/1/allowedRoutes/namespaces/selector/matchExpressions/0/values",
                json!(["_"]),
                &["spec.listeners[1].allowedRoutes.namespaces.selector.matchExpressions[0].\
                   values[0]: `_` is not a label value: expected letters, digits, `-`, `_` and \
                   `.`, with a letter or digit at both ends, or nothing"],
            ),
        ],
    );
}

#[test]
fn addresses_are_at_most_sixteen_and_fit_their_types() {
    check::<Gateway>(
        &gateway(),
        vec![
            case(
                "AD-1: seventeen addresses",
                "/spec/addresses",
                times(17, |_| json!({})),
                &["spec.addresses: has 17 entries: expected at most 16"],
            ),
            case(
                "AD-1: a prefix",
                "/spec/addresses/0/value",
                json!("192.0.2.0/24"),
                &["spec.addresses[0].value: `192.0.2.0/24` is not an IP address: expected an \
                   IPv4 or IPv6 address, without port and prefix length"],
            ),
            case(
                "AD-1: an odd hostname",
                "/spec/addresses/1/value",
                json!("edge_1"),
                &["spec.addresses[1].value: `edge_1` is not a hostname: expected lower-case \
                   labels of letters, digits and `-`, joined by dots, the first one possibly `*`"],
            ),
            case(
                "AD-1: an unknown type",
                "/spec/addresses/1",
                json!({"type": "IpAddress", "value": "192.0.2.7"}),
                &["spec.addresses[1].type: `IpAddress` is not an address type: expected \
                   IPAddress, Hostname or a domain and a name, such as example.com/type [did you \
                   mean IPAddress?]"],
            ),
            case(
                "AD-1: an address twice, once by default of the type",
                "/spec/addresses/2/value",
                json!("192.0.2.1"),
                &["spec.addresses[2].value: 192.0.2.1 is requested twice"],
            ),
            case(
                "AD-1: a hostname twice",
                "/spec/addresses/5/value",
                json!("edge.example.com"),
                &["spec.addresses[5].value: edge.example.com is requested twice"],
            ),
            case(
                "a long value",
                "/spec/addresses/3/value",
                json!("x".repeat(254)),
                &["spec.addresses[3].value: \
                   `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` \
                   is 254 characters long: expected an address of at most 253"],
            ),
            case(
                "AD-6: a scope of ours",
                "/spec/addresses/3/routability",
                json!("testing.x-k8s.io/sentinel"),
                &[],
            ),
            case("AD-6: no scope", "/spec/addresses/3/routability", json!(""), &[]),
            case(
                "AD-6: any path",
                "/spec/addresses/3/routability",
                json!("example.com/Corp WAN/\u{e9}?"),
                &[],
            ),
            case(
                "AD-6: a scope of the API that is not known",
                "/spec/addresses/3/routability",
                json!("Private"),
                &["spec.addresses[3].routability: `Private` is not a routability: \
                   expected Cluster or a domain and a path outside of k8s.io, such as \
                   example.com/scope"],
            ),
            case(
                "AD-6: a domain alone",
                "/spec/addresses/3/routability",
                json!("example.com/"),
                &["spec.addresses[3].routability: `example.com/` is not a routability: \
                   expected Cluster or a domain and a path outside of k8s.io, such as \
                   example.com/scope"],
            ),
            case(
                "AD-6: a reserved domain",
                "/spec/addresses/3/routability",
                json!("net.k8s.io/public"),
                &["spec.addresses[3].routability: `net.k8s.io/public` is not a routability: \
                   expected Cluster or a domain and a path outside of k8s.io, such as \
                   example.com/scope"],
            ),
        ],
    );
}

#[test]
fn a_listener_set_names_a_gateway_and_adds_one_to_sixty_four_listeners() {
    // LS-1, LS-4: an entry is held to what a listener of a Gateway is held to.
    let set = json!({
        "metadata": {"name": "more", "namespace": "team"},
        "spec": {
            "parentRef": {"name": "edge", "namespace": "infra"},
            "listeners": gateway()["spec"]["listeners"],
        },
    });
    let listener =
        |index| json!({"name": format!("l{index}"), "port": index + 1, "protocol": "TCP"});
    check::<ListenerSet>(
        &set,
        vec![
            case(
                "a Gateway without name",
                "/spec/parentRef/name",
                json!(""),
                &["spec.parentRef.name: is empty: expected the name of an object"],
            ),
            case(
                "no listener",
                "/spec/listeners",
                json!([]),
                &["spec.listeners: is empty: expected at least 1"],
            ),
            case(
                "65 listeners",
                "/spec/listeners",
                times(65, listener),
                &[
                    "spec.listeners: has 65 entries: expected at most 64 [move 1 of them to another \
                   ListenerSet]",
                ],
            ),
            case(
                "a name twice",
                "/spec/listeners/1/name",
                json!("http"),
                &["spec.listeners[1].name: an earlier listener is named `http` too"],
            ),
            case(
                "a listener that lacks what its protocol needs",
                "/spec/listeners/2/tls",
                Value::Null,
                &[
                    "spec.listeners[2]: `tls` is missing: protocol TLS needs a mode [add `tls: {mode: \
                   Passthrough}`, or mode Terminate with certificateRefs]",
                ],
            ),
        ],
    );
}

#[test]
fn infrastructure_and_tls_of_a_gateway_stay_within_their_limits() {
    let map = |count: usize| -> Value {
        (0..count).map(|i| (format!("k{i}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
    };
    check::<Gateway>(
        &gateway(),
        vec![
            case(
                "IN-1: nine labels",
                "/spec/infrastructure/labels",
                map(9),
                &["spec.infrastructure.labels: has 9 entries: expected at most 8"],
            ),
            case(
                "IN-1: seventeen annotations",
                "/spec/infrastructure/annotations",
                map(17),
                &["spec.infrastructure.annotations: has 17 entries: expected at most 16"],
            ),
            case(
                "IN-1: an odd label",
                "/spec/infrastructure/labels",
                json!({"Example.com/team": "edge"}),
                &["spec.infrastructure.labels.Example.com/team: `Example.com/team` is not a key: \
                   expected letters, digits, `-`, `_` and `.`, at most 63, possibly after a \
                   domain and `/`"],
            ),
            case(
                "IN-3: parameters without kind",
                "/spec/infrastructure/parametersRef/kind",
                json!(""),
                &["spec.infrastructure.parametersRef.kind: is empty: expected letters, digits \
                   and `-`, a letter first"],
            ),
            case(
                "TL-7: a certificate without name",
                "/spec/tls/backend/clientCertificateRef/name",
                json!(""),
                &["spec.tls.backend.clientCertificateRef.name: is empty: expected the name of an \
                   object"],
            ),
            case(
                "TL-5: no CA certificate",
                "/spec/tls/frontend/default/validation/caCertificateRefs",
                json!([]),
                &["spec.tls.frontend.default.validation.caCertificateRefs: is empty: expected at \
                   least 1"],
            ),
            case(
                "TL-5: seventeen CA certificates, of a port",
                "/spec/tls/frontend/perPort/0/tls/validation",
                json!({"caCertificateRefs": times(17, |_| json!({"group": "", "kind": "K", "name": "n"}))}),
                &[
                    "spec.tls.frontend.perPort[0].tls.validation.caCertificateRefs: has 17 entries: \
                   expected at most 16",
                ],
            ),
            case(
                "TL-5: a CA certificate without kind",
                "/spec/tls/frontend/default/validation/caCertificateRefs/0/kind",
                json!(""),
                &["spec.tls.frontend.default.validation.caCertificateRefs[0].kind: is empty: \
                   expected letters, digits and `-`, a letter first"],
            ),
            case(
                "TL-9: a bundle with namespace",
                "/spec/tls/frontend/default/validation/caCertificateRefs/0",
                json!({"group": "certificates.k8s.io", "kind": "ClusterTrustBundle", "name": "b", "namespace": "n"}),
                &["spec.tls.frontend.default.validation.caCertificateRefs[0].namespace: a \
                   ClusterTrustBundle is named without a namespace"],
            ),
            case(
                "TL-6: an unknown mode",
                "/spec/tls/frontend/default/validation/mode",
                json!("AllowInvalidOnly"),
                &["spec.tls.frontend.default.validation.mode: `AllowInvalidOnly` is not known \
                   here: expected AllowValidOnly or AllowInsecureFallback [did you mean \
                   AllowValidOnly?]"],
            ),
            case(
                "TL-4: a port twice",
                "/spec/tls/frontend/perPort/-",
                json!({"port": 443, "tls": {}}),
                &["spec.tls.frontend.perPort[1].port: an earlier entry is for port 443 too"],
            ),
            case(
                "TL-4: 65 ports",
                "/spec/tls/frontend/perPort",
                times(65, |index| json!({"port": index + 1, "tls": {}})),
                &["spec.tls.frontend.perPort: has 65 entries: expected at most 64"],
            ),
            case(
                "RT-16: an unknown scope",
                "/spec/defaultScope",
                json!("all"),
                &["spec.defaultScope: `all` is not known here: expected All or None [did you \
                   mean All?]"],
            ),
        ],
    );
}

#[test]
fn filters_of_a_listener_fit_protocol_and_type() {
    let auth = json!({"type": "ExternalAuth", "externalAuth": {
        "protocol": "HTTP", "http": {}, "backendRef": {"name": "auth", "port": 80},
    }});
    let mut valid = gateway();
    valid["spec"]["listeners"][0]["filters"] = json!({"requests": [auth]});
    check::<Gateway>(
        &valid,
        vec![
            case(
                "LF-1: a filter on TCP",
                "/spec/listeners/3/filters",
                json!({"requests": []}),
                &[
                    "spec.listeners[3].filters: protocol TCP takes no filters: expected HTTP or HTTPS",
                ],
            ),
            case(
                "LF-1: seventeen filters",
                "/spec/listeners/0/filters/requests",
                times(17, |_| {
                    json!({"type": "ExtensionRef", "extensionRef": {
                        "group": "example.com", "kind": "K", "name": "n",
                    }})
                }),
                &["spec.listeners[0].filters.requests: has 17 entries: expected at most 16"],
            ),
            case(
                "LF-2: a type of routes",
                "/spec/listeners/0/filters/requests/0/type",
                json!("CORS"),
                &[
                    "spec.listeners[0].filters.requests[0].type: `CORS` is not known here: expected \
                   ExternalAuth or ExtensionRef",
                ],
            ),
            case(
                "LF-2: no member",
                "/spec/listeners/0/filters/requests/0",
                json!({"type": "ExtensionRef"}),
                &["spec.listeners[0].filters.requests[0]: `extensionRef` is missing: type \
                   ExtensionRef needs it"],
            ),
            case(
                "EA-2: settings of the other protocol",
                "/spec/listeners/0/filters/requests/0/externalAuth/grpc",
                json!({}),
                &[
                    "spec.listeners[0].filters.requests[0].externalAuth.grpc: belongs to type GRPC, \
                   but the type is HTTP [remove `grpc` or set the type to GRPC]",
                ],
            ),
        ],
    );
}
