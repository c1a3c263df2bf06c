use gwapi_model::{TcpRoute, TlsRoute, UdpRoute};
use serde_json::{Value, json};

use super::{case, check, times};

fn stream_route() -> Value {
    json!({
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"name": "edge", "sectionName": "db"}],
            "rules": [{"name": "all", "backendRefs": [
                {"name": "db", "port": 5432, "weight": 3},
                {"name": "db", "namespace": "spare", "port": 5432, "weight": 0},
            ]}],
        },
    })
}

fn tls_route() -> Value {
    let mut route = stream_route();
    route["spec"]["hostnames"] = json!(["db.example.com", "*.db.example.com"]);
    route
}

#[test]
fn a_stream_route_has_one_rule_with_one_to_sixteen_backends() {
    // L4-1, and TS-1 of those by server name.
    let cases = || {
        let backend = |index| json!({"name": format!("b{index}"), "port": 1});
        vec![
            case(
                "no rule",
                "/spec/rules",
                json!([]),
                &["spec.rules: is empty: expected at least 1"],
            ),
            case(
                "two rules",
                "/spec/rules/-",
                json!({"backendRefs": [backend(0)]}),
                &["spec.rules: has 2 entries: expected at most 1"],
            ),
            case(
                "no backend",
                "/spec/rules/0/backendRefs",
                json!([]),
                &["spec.rules[0].backendRefs: is empty: expected at least 1"],
            ),
            case("16 backends", "/spec/rules/0/backendRefs", times(16, backend), &[]),
            case(
                "17 backends",
                "/spec/rules/0/backendRefs",
                times(17, backend),
                &["spec.rules[0].backendRefs: has 17 entries: expected at most 16"],
            ),
        ]
    };
    check::<TcpRoute>(&stream_route(), cases());
    check::<UdpRoute>(&stream_route(), cases());
    check::<TlsRoute>(&tls_route(), cases());
}

#[test]
fn a_tls_route_has_a_server_name_which_is_no_address() {
    // TS-1.
    check::<TlsRoute>(
        &tls_route(),
        vec![
            case(
                "no name",
                "/spec/hostnames",
                json!([]),
                &["spec.hostnames: is empty: expected at least 1"],
            ),
            case(
                "more than sixteen names",
                "/spec/hostnames",
                times(1024, |index| json!(format!("h{index}.example.com"))),
                &[],
            ),
            case(
                "too many names",
                "/spec/hostnames",
                times(1025, |index| json!(format!("h{index}.example.com"))),
                &["spec.hostnames: has 1025 entries: expected at most 1024"],
            ),
            case(
                "an IP address",
                "/spec/hostnames/0",
                json!("192.0.2.1"),
                &["spec.hostnames[0]: `192.0.2.1` is not a hostname: expected lower-case labels \
                   of letters, digits and `-`, joined by dots, the first one possibly `*` [leave \
                   the hostname out: a host that is an IP address cannot be matched]"],
            ),
        ],
    );
}
