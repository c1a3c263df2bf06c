use gwapi_model::GrpcRoute;
use serde_json::{Value, json};

use super::{case, check, times};

fn valid() -> Value {
    json!({
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"name": "edge", "sectionName": "https"}],
            "hostnames": ["shop.example.com"],
            "rules": [{
                "name": "cart",
                "matches": [
                    {
                        "method": {"service": "shop.v1.Cart", "method": "Add_1"},
                        "headers": [{"name": "version", "value": "2"}],
                    },
                    {"method": {"type": "RegularExpression", "method": "(Get|List).*"}},
                    {"method": {"type": "Exact", "service": ".shop._v1.Cart"}},
                ],
                "filters": [
                    {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}},
                    {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "m", "port": 1}}},
                    {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "n", "port": 1}}},
                ],
                "backendRefs": [{"name": "cart", "port": 50051, "weight": 3, "filters": []}],
            }],
        },
    })
}

#[test]
fn rules_and_matches_are_counted_and_names_are_used_once() {
    // GR-4.
    let matches = times(43, |_| json!({}));
    let rules = times(3, |_| json!({"matches": matches}));
    let named = json!([{"name": "a"}, {"name": "b"}, {"name": "a"}]);
    check::<GrpcRoute>(
        &valid(),
        vec![
            case("no rule at all", "/spec/rules", json!([]), &[]),
            case(
                "17 rules",
                "/spec/rules",
                times(17, |_| json!({})),
                &["spec.rules: has 17 entries: expected at most 16"],
            ),
            case(
                "129 matches in three rules",
                "/spec/rules",
                rules,
                &["spec.rules: have 129 matches in all: expected at most 128"],
            ),
            case(
                "a name used twice",
                "/spec/rules",
                named,
                &["spec.rules[2].name: an earlier rule is named `a` too"],
            ),
        ],
    );
}

#[test]
fn services_and_methods_are_names_unless_they_are_patterns() {
    // GR-3.
    check::<GrpcRoute>(
        &valid(),
        vec![
            case(
                "neither",
                "/spec/rules/0/matches/0/method",
                json!({}),
                &["spec.rules[0].matches[0].method: `service` and `method` are missing: \
                   expected one of them at least \
                   [leave `method` out of the match to take every call]"],
            ),
            case(
                "a path",
                "/spec/rules/0/matches/0/method/service",
                json!("/shop.v1.Cart/"),
                &["spec.rules[0].matches[0].method.service: `/shop.v1.Cart/` is not a gRPC \
                   service: expected names of letters, digits and `_`, joined by dots, such as \
                   package.Service [leave slashes out; the method has a field of its own]"],
            ),
            case(
                "a method that starts with a digit",
                "/spec/rules/0/matches/0/method/method",
                json!("1"),
                &["spec.rules[0].matches[0].method.method: `1` is not a gRPC method: expected \
                   letters, digits and `_`, no digit first"],
            ),
            case(
                "an unknown type",
                "/spec/rules/0/matches/1/method/type",
                json!("Prefix"),
                &["spec.rules[0].matches[1].method.type: `Prefix` is not known here: expected \
                   Exact or RegularExpression"],
            ),
        ],
    );
}

#[test]
fn what_every_route_has_is_checked_as_everywhere() {
    check::<GrpcRoute>(
        &valid(),
        vec![
            case(
                "an address as hostname",
                "/spec/hostnames/0",
                json!("10.0.0.1"),
                &["spec.hostnames[0]: `10.0.0.1` is not a hostname: expected lower-case labels \
                   of letters, digits and `-`, joined by dots, the first one possibly `*` [leave \
                   the hostname out: a host that is an IP address cannot be matched]"],
            ),
            case(
                "a header twice",
                "/spec/rules/0/matches/0/headers/-",
                json!({"name": "version", "value": "3"}),
                &["spec.rules[0].matches[0].headers[1].name: an earlier entry is for header \
                   `version` too"],
            ),
            case(
                "a backend without a port",
                "/spec/rules/0/backendRefs/0/port",
                Value::Null,
                &["spec.rules[0].backendRefs[0]: `port` is missing: a Service is named together \
                   with a port [add the port of the Service, such as `port: 80`]"],
            ),
        ],
    );
}

#[test]
fn filters_are_those_that_grpc_routes_have() {
    // GR-7.
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {"hostname": "a.example"}});
    check::<GrpcRoute>(
        &valid(),
        vec![
            case(
                "a rewrite",
                "/spec/rules/0/filters/-",
                rewrite.clone(),
                &["spec.rules[0].filters[3].type: `URLRewrite` is not known here: expected \
                   RequestHeaderModifier, ResponseHeaderModifier, RequestMirror or ExtensionRef"],
            ),
            case(
                "a rewrite of a backend",
                "/spec/rules/0/backendRefs/0/filters/-",
                rewrite,
                &["spec.rules[0].backendRefs[0].filters[0].type: `URLRewrite` is not known here: \
                   expected RequestHeaderModifier, ResponseHeaderModifier, RequestMirror or \
                   ExtensionRef"],
            ),
            case(
                "a member of another kind's filter",
                "/spec/rules/0/filters/0/cors",
                json!({}),
                &["spec.rules[0].filters[0].cors: a route of this kind has no filter of type \
                   CORS [remove `cors`]"],
            ),
            case(
                "one type twice",
                "/spec/rules/0/filters/-",
                json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {}}),
                &["spec.rules[0].filters[3].type: an earlier filter is of type \
                   RequestHeaderModifier too"],
            ),
        ],
    );
}
