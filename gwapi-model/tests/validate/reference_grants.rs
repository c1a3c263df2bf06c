use gwapi_model::ReferenceGrant;
use serde_json::{Value, json};

use super::{case, check, times};

fn valid() -> Value {
    json!({
        "metadata": {"name": "routes", "namespace": "backends"},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}],
            "to": [{"group": "", "kind": "Service"}, {"group": "", "kind": "Secret", "name": "one"}],
        },
    })
}

#[test]
fn a_reference_grant_lists_one_to_sixteen_of_each_and_writes_them_well() {
    // RG-1.
    let from = |_| json!({"group": "g", "kind": "K", "namespace": "n"});
    let to = |_| json!({"group": "g", "kind": "K"});
    check::<ReferenceGrant>(
        &valid(),
        vec![
            case("no from", "/spec/from", json!([]), &["spec.from: is empty: expected at least 1"]),
            case(
                "too many from",
                "/spec/from",
                times(17, from),
                &["spec.from: has 17 entries: expected at most 16"],
            ),
            case("sixteen from", "/spec/from", times(16, from), &[]),
            case("no to", "/spec/to", json!([]), &["spec.to: is empty: expected at least 1"]),
            case(
                "too many to",
                "/spec/to",
                times(17, to),
                &["spec.to: has 17 entries: expected at most 16"],
            ),
            case(
                "a group with a version",
                "/spec/from/0/group",
                json!("gateway.networking.k8s.io/v1"),
                &["spec.from[0].group: `gateway.networking.k8s.io/v1` is not an API group: \
                   expected lower-case labels joined by dots, or nothing for the core group \
                   [leave the version out; a group is what stands before the `/`]"],
            ),
            case(
                "a kind with a space",
                "/spec/from/0/kind",
                json!("HTTP Route"),
                &["spec.from[0].kind: `HTTP Route` is not a kind: expected letters, digits and \
                   `-`, a letter first"],
            ),
            case(
                "a namespace with a dot",
                "/spec/from/0/namespace",
                json!("shop.example"),
                &["spec.from[0].namespace: `shop.example` is not a name: expected lower-case \
                   letters, digits and `-`, with a letter or digit at both ends"],
            ),
            case(
                "a target group that is none",
                "/spec/to/0/group",
                json!("-"),
                &["spec.to[0].group: `-` is not an API group: expected lower-case labels joined \
                   by dots, or nothing for the core group"],
            ),
            case(
                "no target kind",
                "/spec/to/0/kind",
                json!(""),
                &["spec.to[0].kind: is empty: expected letters, digits and `-`, a letter first"],
            ),
            case(
                "an empty target name",
                "/spec/to/1/name",
                json!(""),
                &["spec.to[1].name: is empty: expected the name of an object"],
            ),
        ],
    );
}
