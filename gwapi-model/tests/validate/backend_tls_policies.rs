use gwapi_model::BackendTlsPolicy;
use serde_json::{Value, json};

use super::{case, check, times};

fn valid() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "targetRefs": [
                {"group": "", "kind": "Service", "name": "web", "sectionName": "https"},
                {"group": "", "kind": "Service", "name": "web", "sectionName": "grpc"},
                {"group": "", "kind": "Service", "name": "cart"},
            ],
            "validation": {
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                "hostname": "web.example.com",
                "subjectAltNames": [
                    {"type": "Hostname", "hostname": "*.example.com"},
                    {"type": "URI", "uri": "spiffe://example.com/web"},
                ],
            },
            "options": {"example.com/cipher": "any"},
        },
    })
}

#[test]
fn a_policy_names_one_to_sixteen_targets_and_none_twice() {
    // BT-1.
    let service = |index| json!({"group": "", "kind": "Service", "name": format!("s{index}")});
    const TWICE: &[&str] =
        &["spec.targetRefs[1]: names the same target as an earlier entry [give every \
                 reference to the target a sectionName of its own, or keep one]"];
    check::<BackendTlsPolicy>(
        &valid(),
        vec![
            case(
                "no target",
                "/spec/targetRefs",
                json!([]),
                &["spec.targetRefs: is empty: expected at least 1"],
            ),
            case("sixteen targets", "/spec/targetRefs", times(16, service), &[]),
            case(
                "too many targets",
                "/spec/targetRefs",
                times(17, service),
                &["spec.targetRefs: has 17 entries: expected at most 16"],
            ),
            case("the same section", "/spec/targetRefs/1/sectionName", json!("https"), TWICE),
            case(
                "no section beside one",
                "/spec/targetRefs/1",
                json!({"group": "", "kind": "Service", "name": "web"}),
                TWICE,
            ),
        ],
    );
}

#[test]
fn a_policy_trusts_certificates_or_a_known_set_and_not_both() {
    // BT-4.
    let set = "/spec/validation/wellKnownCACertificates";
    check::<BackendTlsPolicy>(
        &valid(),
        vec![
            case(
                "both",
                set,
                json!("System"),
                &["spec.validation: has both `caCertificateRefs` and `wellKnownCACertificates`: \
                   expected one of them [remove one of the two]"],
            ),
            case(
                "neither",
                "/spec/validation/caCertificateRefs",
                json!([]),
                &[
                    "spec.validation: `caCertificateRefs` and `wellKnownCACertificates` are missing: \
                   expected one of them [refer to a ConfigMap with the key `ca.crt`, or write \
                   `wellKnownCACertificates: System`]",
                ],
            ),
            case(
                "too many",
                "/spec/validation/caCertificateRefs",
                times(
                    9,
                    |index| json!({"group": "", "kind": "ConfigMap", "name": format!("c{index}")}),
                ),
                &["spec.validation.caCertificateRefs: has 9 entries: expected at most 8"],
            ),
        ],
    );
    let mut known = valid();
    let validation = known["spec"]["validation"].as_object_mut().expect("an object");
    validation.remove("caCertificateRefs");
    validation.insert("wellKnownCACertificates".to_owned(), json!("System"));
    check::<BackendTlsPolicy>(
        &known,
        vec![
            case("a set with a domain", set, json!("example.com/own"), &[]),
            case(
                "a set without a domain",
                set,
                json!("Own"),
                &[
                    "spec.validation.wellKnownCACertificates: `Own` is not a set of CA certificates: \
                   expected `System`, or a name with a domain in front, as in example.com/internal",
                ],
            ),
        ],
    );
}

#[test]
fn a_policy_names_what_endpoints_prove() {
    // BT-3.
    check::<BackendTlsPolicy>(
        &valid(),
        vec![
            case(
                "a wildcard as hostname",
                "/spec/validation/hostname",
                json!("*.example.com"),
                &[
                    "spec.validation.hostname: `*.example.com` is not a hostname: expected lower-case \
                   labels of letters, digits and `-`, joined by dots, without wildcard",
                ],
            ),
            case(
                "a URI without its value",
                "/spec/validation/subjectAltNames/1/uri",
                json!(""),
                &["spec.validation.subjectAltNames[1]: `uri` is missing: type URI needs it"],
            ),
            case(
                "no scheme",
                "/spec/validation/subjectAltNames/1/uri",
                json!("example.com/web"),
                &[
                    "spec.validation.subjectAltNames[1].uri: `example.com/web` is not a URI: expected \
                   a scheme, `://` and what it leads to, as in spiffe://example.com/workload",
                ],
            ),
            case(
                "a name of the other type",
                "/spec/validation/subjectAltNames/0/type",
                json!("URI"),
                &[
                    "spec.validation.subjectAltNames[0].hostname: belongs to type Hostname, but the \
                     type is URI [remove `hostname` or set the type to Hostname]",
                    "spec.validation.subjectAltNames[0]: `uri` is missing: type URI needs it",
                ],
            ),
        ],
    );
}
