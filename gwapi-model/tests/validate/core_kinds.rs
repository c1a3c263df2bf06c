use gwapi_model::{
    ConfigMap, EndpointSlice, Endpoints, Namespace, ObjectMeta, Secret, SecretBytes, Service,
    validate::validate,
};
use serde_json::{Value, json};

use super::{case, check, times};

#[test]
fn metadata_has_names_labels_and_annotations_of_their_grammars() {
    let valid = json!({
        "metadata": {
            "name": "settings.v1", "namespace": "infra",
            "labels": {"example.com/team": "Shop_1", "empty": ""},
            "annotations": {"example.com/note": "any text\nat all"},
        },
    });
    check::<ConfigMap>(
        &valid,
        vec![
            case(
                "no name",
                "/metadata/name",
                json!(""),
                &["metadata.name: is empty: expected lower-case letters, digits, `-` and `.`, \
                   with a letter or digit at both ends of every label"],
            ),
            case("GC-8: a name of 253 characters", "/metadata/name", json!("n".repeat(253)), &[]),
            case(
                "a name of 254 characters",
                "/metadata/name",
                json!("n".repeat(254)),
                &["metadata.name: \
                   `nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…` \
                   is 254 characters long: expected a name of at most 253"],
            ),
            case(
                "a namespace with a dot",
                "/metadata/namespace",
                json!("a.b"),
                &["metadata.namespace: `a.b` is not a name: expected lower-case letters, digits \
                   and `-`, with a letter or digit at both ends"],
            ),
            case(
                "a label's key with two slashes",
                "/metadata/labels",
                json!({"a/b/c": "x"}),
                &["metadata.labels.a/b/c: `a/b/c` is not a key: expected letters, digits, `-`, \
                   `_` and `.`, at most 63, possibly after a domain and `/`"],
            ),
            case(
                "a label's long value",
                "/metadata/labels",
                json!({"a": "x".repeat(64)}),
                &["metadata.labels.a: \
                   `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` is 64 \
                   characters long: expected a label value of at most 63"],
            ),
            case(
                "an annotation's key of 64 characters",
                "/metadata/annotations",
                json!({"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": ""}),
                &["metadata.annotations.\
                   aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: \
                   `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is not a \
                   key: expected letters, digits, `-`, `_` and `.`, at most 63, possibly after a \
                   domain and `/`"],
            ),
            case(
                "annotations of more than 256 KiB",
                "/metadata/annotations",
                json!({"a": "x".repeat(262_144)}),
                &["metadata.annotations: holds 262145 bytes in all: expected at most 262144"],
            ),
        ],
    );
    check::<Namespace>(
        &json!({"metadata": {"name": "shop"}}),
        vec![case(
            "the name of a namespace is one label",
            "/metadata/name",
            json!("a.b"),
            &["metadata.name: `a.b` is not a name: expected lower-case letters, digits and `-`, \
               with a letter or digit at both ends"],
        )],
    );
}

#[test]
fn a_service_has_ports_that_can_be_told_apart() {
    let valid = json!({
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.0.0.1", "selector": {"app": "shop"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http-web", "protocol": "TCP"},
                {"name": "dns", "port": 80, "targetPort": 5353, "protocol": "UDP"},
                {"name": "h2c", "port": 81, "appProtocol": "kubernetes.io/h2c"},
            ],
        },
    });
    check::<Service>(
        &valid,
        vec![
            case(
                "no ports",
                "/spec/ports",
                json!([]),
                &["spec.ports: is empty: expected at least 1"],
            ),
            case(
                "an alias and a headless Service need no ports",
                "/spec",
                json!({"type": "ExternalName", "externalName": "example.com."}),
                &[],
            ),
            case("HB-7: headless", "/spec", json!({"clusterIP": "None"}), &[]),
            case(
                "HB-7: an alias of nothing",
                "/spec",
                json!({"type": "ExternalName"}),
                &["spec.externalName: is empty: expected lower-case letters, digits, `-` and \
                   `.`, with a letter or digit at both ends of every label"],
            ),
            case(
                "an unknown type",
                "/spec/type",
                json!("LoadBalancr"),
                &["spec.type: `LoadBalancr` is not known here: expected ClusterIP, NodePort, \
                   LoadBalancer or ExternalName [did you mean LoadBalancer?]"],
            ),
            case(
                "an address that is none",
                "/spec/clusterIP",
                json!("none"),
                &["spec.clusterIP: `none` is not an IP address: expected an IPv4 or IPv6 \
                   address, without port and prefix length"],
            ),
            case(
                "a name missing",
                "/spec/ports/0/name",
                Value::Null,
                &["spec.ports[0]: `name` is missing: several ports are told apart by name"],
            ),
            case(
                "a name twice",
                "/spec/ports/1/name",
                json!("http"),
                &["spec.ports[1].name: an earlier port is named `http` too"],
            ),
            case(
                "a name with a dot",
                "/spec/ports/1/name",
                json!("d.ns"),
                &["spec.ports[1].name: `d.ns` is not a name: expected lower-case letters, digits \
                   and `-`, with a letter or digit at both ends"],
            ),
            case(
                "a port twice",
                "/spec/ports/2/port",
                json!(80),
                &["spec.ports[2].port: an earlier entry has port 80 of TCP too"],
            ),
            case(
                "an unknown transport",
                "/spec/ports/0/protocol",
                json!("tcp"),
                &["spec.ports[0].protocol: `tcp` is not known here: expected TCP, UDP or SCTP \
                   [did you mean TCP?]"],
            ),
            case(
                "a target out of range",
                "/spec/ports/1/targetPort",
                json!(0),
                &["spec.ports[1].targetPort: 0 is out of range: expected 1 to 65535"],
            ),
            case(
                "a target without letters",
                "/spec/ports/0/targetPort",
                json!("80"),
                &["spec.ports[0].targetPort: `80` is not a port name: expected lower-case \
                   letters, digits and single `-`, at least one letter, `-` at neither end"],
            ),
            case(
                "HB-8: an odd application protocol",
                "/spec/ports/2/appProtocol",
                json!("h2c!"),
                &["spec.ports[2].appProtocol: `h2c!` is not a key: expected letters, digits, \
                   `-`, `_` and `.`, at most 63, possibly after a domain and `/`"],
            ),
            case(
                "an odd selector",
                "/spec/selector",
                json!({"app": "-"}),
                &["spec.selector.app: `-` is not a label value: expected letters, digits, `-`, \
                   `_` and `.`, with a letter or digit at both ends, or nothing"],
            ),
        ],
    );
}

#[test]
fn endpoint_slices_hold_addresses_of_their_family() {
    // HB-7.
    let valid = json!({
        "metadata": {"name": "shop-1", "namespace": "shop"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1", "127.0.0.1"]}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"port": 81}],
    });
    check::<EndpointSlice>(
        &valid,
        vec![
            case(
                "an unknown family",
                "/addressType",
                json!("ipv4"),
                &["addressType: `ipv4` is not known here: expected IPv4, IPv6 or FQDN [did you \
                   mean IPv4?]"],
            ),
            case(
                "the other family",
                "/endpoints/0/addresses",
                json!(["2001:db8::1"]),
                &["endpoints[0].addresses[0]: `2001:db8::1` is not an IPv4 address: expected an \
                   address such as 192.0.2.1"],
            ),
            case(
                "IPv4 among IPv6",
                "/addressType",
                json!("IPv6"),
                &[
                    "endpoints[0].addresses[0]: `192.0.2.1` is not an IPv6 address: expected an \
                     address such as 2001:db8::1",
                    "endpoints[0].addresses[1]: `127.0.0.1` is not an IPv6 address: expected an \
                     address such as 2001:db8::1",
                ],
            ),
            case("names", "/addressType", json!("FQDN"), &[]),
            case(
                "no address",
                "/endpoints/0/addresses",
                json!([]),
                &["endpoints[0].addresses: is empty: expected at least 1"],
            ),
            case(
                "101 addresses",
                "/endpoints/0/addresses",
                times(101, |index| json!(format!("10.0.0.{index}"))),
                &["endpoints[0].addresses: has 101 entries: expected at most 100"],
            ),
            case(
                "1001 endpoints",
                "/endpoints",
                times(1001, |_| json!({"addresses": ["10.0.0.1"]})),
                &["endpoints: has 1001 entries: expected at most 1000"],
            ),
            case(
                "a port's name twice",
                "/ports/1/name",
                json!("http"),
                &["ports[1].name: an earlier port is named `http` too"],
            ),
            case(
                "a port's odd name",
                "/ports/0/name",
                json!("a_b"),
                &["ports[0].name: `a_b` is not a name: expected lower-case letters, digits and \
                   `-`, with a letter or digit at both ends"],
            ),
            case(
                "two ports without name",
                "/ports/0/name",
                json!(""),
                &["ports[1].name: an earlier port has no name either"],
            ),
            case(
                "an unknown transport",
                "/ports/0/protocol",
                json!("QUIC"),
                &["ports[0].protocol: `QUIC` is not known here: expected TCP, UDP or SCTP"],
            ),
        ],
    );
}

#[test]
fn endpoints_have_addresses_and_numbered_ports() {
    let valid = json!({
        "metadata": {"name": "shop", "namespace": "shop"},
        "subsets": [{
            "addresses": [{"ip": "192.0.2.1"}],
            "notReadyAddresses": [{"ip": "2001:db8::1"}],
            "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}],
        }],
    });
    check::<Endpoints>(
        &valid,
        vec![
            case(
                "an address that is none",
                "/subsets/0/addresses/0/ip",
                json!("localhost"),
                &["subsets[0].addresses[0].ip: `localhost` is not an IP address: expected an \
                   IPv4 or IPv6 address, without port and prefix length"],
            ),
            case(
                "an address that is not ready and none",
                "/subsets/0/notReadyAddresses/0/ip",
                json!(""),
                &["subsets[0].notReadyAddresses[0].ip: is empty: expected an IPv4 or IPv6 \
                   address, without port and prefix length"],
            ),
            case(
                "no addresses",
                "/subsets/0",
                json!({"ports": [{"port": 80}]}),
                &["subsets[0]: has no addresses: expected `addresses` or `notReadyAddresses`"],
            ),
            case(
                "no number",
                "/subsets/0/ports",
                json!([{"name": "a"}]),
                &["subsets[0].ports[0]: `port` is missing: expected 1 to 65535"],
            ),
            case(
                "an unknown transport",
                "/subsets/0/ports/0/protocol",
                json!("udp"),
                &["subsets[0].ports[0].protocol: `udp` is not known here: expected TCP, UDP or \
                   SCTP [did you mean UDP?]"],
            ),
            case(
                "no name among several",
                "/subsets/0/ports/1/name",
                Value::Null,
                &["subsets[0].ports[1]: `name` is missing: several ports are told apart by name"],
            ),
            case(
                "a name twice",
                "/subsets/0/ports/1/name",
                json!("a"),
                &["subsets[0].ports[1].name: an earlier port is named `a` too"],
            ),
        ],
    );
}

#[test]
fn secrets_and_config_maps_have_keys_of_files_and_a_size() {
    let valid = json!({
        "metadata": {"name": "certificate", "namespace": "infra"},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": "hidden", "tls.key": "hidden", "ca.crt": "hidden"},
    });
    check::<Secret>(
        &valid,
        vec![
            case(
                "TL-1: half a certificate",
                "/stringData/tls.key",
                Value::Null,
                &["data: `tls.key` is missing: type kubernetes.io/tls needs it"],
            ),
            case("any other type", "/type", json!("Opaque"), &[]),
            case(
                "a key that is no file name",
                "/stringData/a b",
                json!("hidden"),
                &["data.a b: `a b` is not a key: expected letters, digits, `-`, `_` and `.`"],
            ),
        ],
    );
    check::<ConfigMap>(
        &json!({"metadata": {"name": "ca", "namespace": "infra"}, "data": {"ca.crt": "text"}}),
        vec![
            case(
                "a key that leads upwards",
                "/data",
                json!({"..": ""}),
                &["data...: `..` is not a key: expected letters, digits, `-`, `_` and `.`"],
            ),
            case(
                "more than a mebibyte",
                "/data",
                json!({"a": "x".repeat(1_048_577)}),
                &["data: holds 1048577 bytes in all: expected at most 1048576"],
            ),
        ],
    );
}

#[test]
fn a_large_secret_is_refused_without_showing_it() {
    let secret = Secret {
        metadata: ObjectMeta::namespaced("infra", "large"),
        secret_type: None,
        data: [("key".to_owned(), SecretBytes::new(vec![b'x'; 1_048_577]))].into(),
    };
    let violations = validate(&secret.into());
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].path.to_string(), "data");
    assert_eq!(violations[0].message, "holds 1048577 bytes in all: expected at most 1048576");
}

#[test]
fn a_trust_bundle_holds_certificates_and_bears_the_name_of_its_signer() {
    // TL-9.
    let valid = json!({
        "metadata": {"name": "example.com:clients:all"},
        "spec": {
            "signerName": "example.com/clients",
            "trustBundle": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n",
        },
    });
    check::<gwapi_model::ClusterTrustBundle>(
        &valid,
        vec![
            case(
                "nothing in it",
                "/spec/trustBundle",
                json!(""),
                &["spec.trustBundle: holds no certificate: expected at least one, as PEM"],
            ),
            case(
                "another signer",
                "/spec/signerName",
                json!("example.com/servers"),
                &[
                    "metadata.name: is example.com:clients:all: expected that of its signer in front, \
                   `example.com:servers:`",
                ],
            ),
            case(
                "no name behind the signer's",
                "/metadata/name",
                json!("example.com:clients:a_b"),
                &[
                    "metadata.name: `a_b` is not a name: expected lower-case letters, digits, `-` and \
                   `.`, with a letter or digit at both ends of every label",
                ],
            ),
            case(
                "no signer",
                "/spec/signerName",
                Value::Null,
                &["metadata.name: `example.com:clients:all` is not a name: expected lower-case \
                   letters, digits, `-` and `.`, with a letter or digit at both ends of every label"],
            ),
        ],
    );
}
