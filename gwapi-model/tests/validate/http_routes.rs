use gwapi_model::HttpRoute;
use serde_json::{Value, json};

use super::{case, check, times};

fn valid() -> Value {
    json!({
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "parentRefs": [
                {"name": "edge", "namespace": "infra", "sectionName": "http", "port": 80},
                {"name": "edge", "namespace": "infra", "sectionName": "https", "port": 443},
                {"group": "", "kind": "Service", "name": "shop"},
            ],
            "hostnames": ["shop.example.com", "*.shop.example.com"],
            "rules": [
                {
                    "name": "api",
                    "matches": [
                        {
                            "path": {"type": "PathPrefix", "value": "/api/v1.0/%41~(x)"},
                            "headers": [
                                {"name": "version", "value": "2"},
                                {"name": "Version", "value": "3", "type": "RegularExpression"},
                            ],
                            "queryParams": [{"name": "q", "value": "x", "type": "Exact"}],
                            "method": "GET",
                        },
                        {"path": {"type": "RegularExpression", "value": "//?.*#"}},
                    ],
                    "backendRefs": [
                        {"name": "api", "port": 8080, "weight": 0},
                        {"name": "other", "port": 8080, "weight": 1_000_000, "namespace": "api"},
                        {"group": "example.com", "kind": "Bucket", "name": "files"},
                    ],
                    "timeouts": {"request": "10s", "backendRequest": "2s"},
                    "retry": {"attempts": 0, "codes": [400, 503, 599], "backoff": "100ms"},
                },
                {"backendRefs": [{"name": "web", "port": 80}]},
            ],
            "useDefaultGateways": "All",
        },
    })
}

#[test]
fn parents_are_at_most_thirty_two_and_distinct() {
    // RT-1.
    check::<HttpRoute>(
        &valid(),
        vec![
            case(
                "33 parents",
                "/spec/parentRefs",
                times(33, |index| json!({"name": format!("p{index}")})),
                &["spec.parentRefs: has 33 entries: expected at most 32"],
            ),
            case(
                "the same section and port twice",
                "/spec/parentRefs/1",
                json!({
                    "group": "gateway.networking.k8s.io", "kind": "Gateway",
                    "name": "edge", "namespace": "infra", "sectionName": "http", "port": 80,
                }),
                &["spec.parentRefs[1]: names the same parent as an earlier entry [give every \
                   reference to the parent its own sectionName or port, or keep one]"],
            ),
            case(
                "references that fit neither channel as a whole",
                "/spec/parentRefs",
                json!([
                    {"name": "edge", "sectionName": "one", "port": 80},
                    {"name": "edge", "sectionName": "one", "port": 81},
                    {"name": "edge", "sectionName": "two"},
                ]),
                &["spec.parentRefs[2]: names a parent of an earlier entry, but not by the same \
                   fields: expected sectionName and port to be set in all of them or in none \
                   [give every reference to the parent its own sectionName or port, or keep one]"],
            ),
            case(
                "a section for one reference alone",
                "/spec/parentRefs/1",
                json!({"name": "edge", "namespace": "infra", "port": 443}),
                &["spec.parentRefs[1]: names a parent of an earlier entry, but not by the same \
                   fields: expected sectionName and port to be set in all of them or in none \
                   [give every reference to the parent its own sectionName or port, or keep one]"],
            ),
            case(
                "the same name in the route's namespace is another parent",
                "/spec/parentRefs/1",
                json!({"name": "edge", "sectionName": "http", "port": 80}),
                &[],
            ),
            case(
                "another section, one of them with a port",
                "/spec/parentRefs/1",
                json!({"name": "edge", "namespace": "infra", "sectionName": "https"}),
                &[],
            ),
            case(
                "the same section, one of them with a port",
                "/spec/parentRefs/1",
                json!({"name": "edge", "namespace": "infra", "sectionName": "http"}),
                &["spec.parentRefs[1]: names a parent of an earlier entry, but not by the same \
                   fields: expected sectionName and port to be set in all of them or in none \
                   [give every reference to the parent its own sectionName or port, or keep one]"],
            ),
            case(
                "the same section by another port",
                "/spec/parentRefs/1/sectionName",
                json!("http"),
                &[],
            ),
            case(
                "a section with a slash",
                "/spec/parentRefs/0/sectionName",
                json!("a/b"),
                &["spec.parentRefs[0].sectionName: `a/b` is not a name: expected lower-case \
                   letters, digits, `-` and `.`, with a letter or digit at both ends of every label"],
            ),
            case(
                "a parent without name",
                "/spec/parentRefs/2/name",
                json!(""),
                &["spec.parentRefs[2].name: is empty: expected the name of an object"],
            ),
            case(
                "an unknown scope",
                "/spec/useDefaultGateways",
                json!("Some"),
                &["spec.useDefaultGateways: `Some` is not known here: expected All or None"],
            ),
        ],
    );
}

#[test]
fn hostnames_are_at_most_sixteen_dns_names() {
    // RT-14.
    check::<HttpRoute>(
        &valid(),
        vec![
            case(
                "17 hostnames",
                "/spec/hostnames",
                times(17, |index| json!(format!("h{index}.example.com"))),
                &["spec.hostnames: has 17 entries: expected at most 16"],
            ),
            case(
                "a port",
                "/spec/hostnames/1",
                json!("shop.example.com:80"),
                &["spec.hostnames[1]: `shop.example.com:80` is not a hostname: expected \
                   lower-case labels of letters, digits and `-`, joined by dots, the first one \
                   possibly `*` [leave the port out; it belongs to the listener]"],
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

#[test]
fn rules_are_one_to_sixteen_with_at_most_128_matches() {
    // HR-5.
    let prefix = |index| json!({"path": {"value": format!("/{index}")}});
    check::<HttpRoute>(
        &valid(),
        vec![
            case(
                "no rules",
                "/spec/rules",
                json!([]),
                &["spec.rules: is empty: expected at least 1"],
            ),
            case("rules left out", "/spec/rules", Value::Null, &[]),
            case(
                "17 rules",
                "/spec/rules",
                times(17, |_| json!({})),
                &["spec.rules: has 17 entries: expected at most 16"],
            ),
            case("64 matches", "/spec/rules/0/matches", times(64, prefix), &[]),
            case(
                "65 matches",
                "/spec/rules/0/matches",
                times(65, prefix),
                &["spec.rules[0].matches: has 65 entries: expected at most 64"],
            ),
            case(
                "128 matches",
                "/spec/rules",
                times(2, |_| json!({"matches": times(64, prefix)})),
                &[],
            ),
            case(
                "128 matches and the one of a rule without any",
                "/spec/rules",
                times(3, |rule| json!({"matches": times(if rule < 2 { 64 } else { 0 }, prefix)})),
                &["spec.rules: have 129 matches in all: expected at most 128"],
            ),
            case(
                "a name twice",
                "/spec/rules/1/name",
                json!("api"),
                &["spec.rules[1].name: an earlier rule is named `api` too"],
            ),
            case(
                "a name with a space",
                "/spec/rules/0/name",
                json!("the api"),
                &["spec.rules[0].name: `the api` is not a name: expected lower-case letters, \
                   digits, `-` and `.`, with a letter or digit at both ends of every label"],
            ),
        ],
    );
}

#[test]
fn paths_to_match_are_plain_and_absolute() {
    // HM-3.
    check::<HttpRoute>(
        &valid(),
        vec![
            case(
                "relative",
                "/spec/rules/0/matches/0/path/value",
                json!("api"),
                &[
                    "spec.rules[0].matches[0].path.value: `api` does not start with `/` [write `/api`]",
                ],
            ),
            case(
                "empty",
                "/spec/rules/0/matches/0/path/value",
                json!(""),
                &["spec.rules[0].matches[0].path.value: `` does not start with `/` [write `/`]"],
            ),
            case(
                "an empty element",
                "/spec/rules/0/matches/0/path/value",
                json!("/a//b"),
                &["spec.rules[0].matches[0].path.value: `/a//b` contains `//`, which no path to \
                   match has"],
            ),
            case(
                "a dot element",
                "/spec/rules/0/matches/0/path/value",
                json!("/a/./b"),
                &["spec.rules[0].matches[0].path.value: `/a/./b` contains `/./`, which no path \
                   to match has"],
            ),
            case(
                "a parent element",
                "/spec/rules/0/matches/0/path/value",
                json!("/a/../b"),
                &["spec.rules[0].matches[0].path.value: `/a/../b` contains `/../`, which no path \
                   to match has"],
            ),
            case(
                "an escaped slash",
                "/spec/rules/0/matches/0/path/value",
                json!("/a%2fb"),
                &["spec.rules[0].matches[0].path.value: `/a%2fb` contains `%2f`, which no path \
                   to match has"],
            ),
            case(
                "an escaped slash in upper case",
                "/spec/rules/0/matches/0/path/value",
                json!("/a%2Fb"),
                &["spec.rules[0].matches[0].path.value: `/a%2Fb` contains `%2F`, which no path \
                   to match has"],
            ),
            case(
                "a fragment",
                "/spec/rules/0/matches/0/path/value",
                json!("/a#b"),
                &["spec.rules[0].matches[0].path.value: `/a#b` contains `#`, which no path to \
                   match has"],
            ),
            case(
                "a parent element in the end",
                "/spec/rules/0/matches/0/path/value",
                json!("/a/.."),
                &["spec.rules[0].matches[0].path.value: `/a/..` ends in `/..`, which no path to \
                   match does"],
            ),
            case(
                "a dot element in the end",
                "/spec/rules/0/matches/0/path/value",
                json!("/a/."),
                &["spec.rules[0].matches[0].path.value: `/a/.` ends in `/.`, which no path to \
                   match does"],
            ),
            case(
                "dots in an element",
                "/spec/rules/0/matches/0/path/value",
                json!("/..a/b.."),
                &[],
            ),
            case(
                "a query",
                "/spec/rules/0/matches/0/path/value",
                json!("/a?b=c"),
                &[
                    "spec.rules[0].matches[0].path.value: `/a?b=c` has `?` in it, which no path has \
                   [match the query with queryParams]",
                ],
            ),
            case(
                "a space",
                "/spec/rules/0/matches/0/path/value",
                json!("/a b"),
                &["spec.rules[0].matches[0].path.value: `/a b` has ` ` in it, which no path has \
                   [percent-encode it]"],
            ),
            case(
                "half an escape",
                "/spec/rules/0/matches/0/path/value",
                json!("/a%4"),
                &["spec.rules[0].matches[0].path.value: `/a%4` has `%` in it, which no path has"],
            ),
            case(
                "1025 characters",
                "/spec/rules/0/matches/1/path/value",
                json!("a".repeat(1025)),
                &["spec.rules[0].matches[1].path.value: \
                   `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` \
                   is 1025 characters long: expected a path of at most 1024"],
            ),
            case(
                "an exact path is held to the same",
                "/spec/rules/0/matches/0/path",
                json!({"type": "Exact", "value": "x"}),
                &["spec.rules[0].matches[0].path.value: `x` does not start with `/` [write `/x`]"],
            ),
            case("only a type", "/spec/rules/0/matches/0/path", json!({"type": "Exact"}), &[]),
            case(
                "RT-12: an unknown type",
                "/spec/rules/0/matches/0/path/type",
                json!("Prefix"),
                &["spec.rules[0].matches[0].path.type: `Prefix` is not known here: expected \
                   Exact, PathPrefix or RegularExpression [did you mean PathPrefix?]"],
            ),
        ],
    );
}

#[test]
fn headers_parameters_and_methods_to_match_are_well_formed() {
    check::<HttpRoute>(
        &valid(),
        vec![
            case(
                "HM-5: 17 headers",
                "/spec/rules/0/matches/0/headers",
                times(17, |index| json!({"name": format!("h{index}"), "value": "v"})),
                &["spec.rules[0].matches[0].headers: has 17 entries: expected at most 16"],
            ),
            case(
                "HM-5: a header twice",
                "/spec/rules/0/matches/0/headers/1/name",
                json!("version"),
                &["spec.rules[0].matches[0].headers[1].name: an earlier entry is for header \
                   `version` too"],
            ),
            case(
                "HM-5: a pseudo-header",
                "/spec/rules/0/matches/0/headers/0/name",
                json!(":path"),
                &["spec.rules[0].matches[0].headers[0].name: `:path` is not a name: expected \
                   letters, digits and any of !#$%&'*+-.^_`|~ [pseudo-headers cannot be named; \
                   use the fields for path, method and hostname]"],
            ),
            case(
                "HM-5: a long name",
                "/spec/rules/0/matches/0/headers/0/name",
                json!("n".repeat(257)),
                &["spec.rules[0].matches[0].headers[0].name: \
                   `nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…` \
                   is 257 characters long: expected a name of at most 256"],
            ),
            case(
                "HM-5: no value",
                "/spec/rules/0/matches/0/headers/0/value",
                json!(""),
                &["spec.rules[0].matches[0].headers[0].value: is empty: expected some text"],
            ),
            case(
                "HM-5: 4096 characters",
                "/spec/rules/0/matches/0/headers/0/value",
                json!("v".repeat(4096)),
                &[],
            ),
            case(
                "HM-5: 4097 characters",
                "/spec/rules/0/matches/0/headers/0/value",
                json!("v".repeat(4097)),
                &["spec.rules[0].matches[0].headers[0].value: \
                   `vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv…` \
                   is 4097 characters long: expected a header value of at most 4096"],
            ),
            case(
                "HM-5: an unknown type",
                "/spec/rules/0/matches/0/headers/1/type",
                json!("Regex"),
                &["spec.rules[0].matches[0].headers[1].type: `Regex` is not known here: expected \
                   Exact or RegularExpression"],
            ),
            case(
                "HM-6: 17 parameters",
                "/spec/rules/0/matches/0/queryParams",
                times(17, |index| json!({"name": format!("p{index}"), "value": "v"})),
                &["spec.rules[0].matches[0].queryParams: has 17 entries: expected at most 16"],
            ),
            case(
                "HM-6: a parameter twice",
                "/spec/rules/0/matches/0/queryParams/-",
                json!({"name": "q", "value": "y"}),
                &["spec.rules[0].matches[0].queryParams[1].name: an earlier entry is for \
                   parameter `q` too"],
            ),
            case(
                "HM-6: a name with a space",
                "/spec/rules/0/matches/0/queryParams/0/name",
                json!("a b"),
                &["spec.rules[0].matches[0].queryParams[0].name: `a b` is not a name: expected \
                   letters, digits and any of !#$%&'*+-.^_`|~"],
            ),
            case(
                "HM-6: 1025 characters",
                "/spec/rules/0/matches/0/queryParams/0/value",
                json!("v".repeat(1025)),
                &["spec.rules[0].matches[0].queryParams[0].value: \
                   `vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv…` \
                   is 1025 characters long: expected a parameter value of at most 1024"],
            ),
            case(
                "HM-6: an unknown type",
                "/spec/rules/0/matches/0/queryParams/0/type",
                json!("exact"),
                &["spec.rules[0].matches[0].queryParams[0].type: `exact` is not known here: \
                   expected Exact or RegularExpression [did you mean Exact?]"],
            ),
            case(
                "HM-7: an unknown method",
                "/spec/rules/0/matches/0/method",
                json!("get"),
                &["spec.rules[0].matches[0].method: `get` is not known here: expected GET, HEAD, \
                   POST, PUT, DELETE, CONNECT, OPTIONS, TRACE or PATCH [did you mean GET?]"],
            ),
        ],
    );
}

#[test]
fn backends_have_ports_and_weights_within_reason() {
    check::<HttpRoute>(
        &valid(),
        vec![
            case(
                "HB-1: 17 backends",
                "/spec/rules/0/backendRefs",
                times(17, |_| json!({"name": "b", "port": 80})),
                &["spec.rules[0].backendRefs: has 17 entries: expected at most 16"],
            ),
            case(
                "HB-1: a Service without port",
                "/spec/rules/0/backendRefs/0/port",
                Value::Null,
                &["spec.rules[0].backendRefs[0]: `port` is missing: a Service is named together \
                   with a port [add the port of the Service, such as `port: 80`]"],
            ),
            case(
                "X-2: an XBackend with port",
                "/spec/rules/0/backendRefs/2",
                json!({"group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": "b", "port": 80}),
                &["spec.rules[0].backendRefs[2].port: an XBackend is named without a port"],
            ),
            case(
                "HB-2: a negative weight",
                "/spec/rules/0/backendRefs/0/weight",
                json!(-1),
                &["spec.rules[0].backendRefs[0].weight: -1 is out of range: expected 0 to 1000000"],
            ),
            case(
                "HB-2: a weight of more than a million",
                "/spec/rules/0/backendRefs/0/weight",
                json!(1_000_001),
                &[
                    "spec.rules[0].backendRefs[0].weight: 1000001 is out of range: expected 0 to 1000000",
                ],
            ),
            case(
                "an odd group",
                "/spec/rules/0/backendRefs/2/group",
                json!("example_com"),
                &["spec.rules[0].backendRefs[2].group: `example_com` is not an API group: \
                   expected lower-case labels joined by dots, or nothing for the core group"],
            ),
            case(
                "an odd namespace",
                "/spec/rules/0/backendRefs/1/namespace",
                json!("API"),
                &["spec.rules[0].backendRefs[1].namespace: `API` is not a name: expected \
                   lower-case letters, digits and `-`, with a letter or digit at both ends \
                   [write it in lower case: api]"],
            ),
        ],
    );
}

#[test]
fn timeouts_retries_and_sessions_hold_together() {
    check::<HttpRoute>(
        &valid(),
        vec![
            case(
                "TO-2: an attempt that outlasts the request",
                "/spec/rules/0/timeouts/backendRequest",
                json!("11s"),
                &[
                    "spec.rules[0].timeouts.backendRequest: 11s is longer than the request timeout of 10s",
                ],
            ),
            case("TO-2: as long", "/spec/rules/0/timeouts/backendRequest", json!("10000ms"), &[]),
            case("TO-1: zero limits nothing", "/spec/rules/0/timeouts/request", json!("0ms"), &[]),
            case(
                "RY-2: a code that is no error",
                "/spec/rules/0/retry/codes",
                json!([399, 600]),
                &[
                    "spec.rules[0].retry.codes[0]: 399 is out of range: expected 400 to 599",
                    "spec.rules[0].retry.codes[1]: 600 is out of range: expected 400 to 599",
                ],
            ),
            case(
                "RY-2: a code twice",
                "/spec/rules/0/retry/codes",
                json!([500, 503, 500]),
                &["spec.rules[0].retry.codes[2]: `500` is listed twice"],
            ),
            case(
                "RY-1: fewer than no retries",
                "/spec/rules/0/retry/attempts",
                json!(-1),
                &["spec.rules[0].retry.attempts: -1 is too small: expected 0 or more"],
            ),
            case("SP-1: a cookie", "/spec/rules/0/sessionPersistence", json!({"cookie": {}}), &[]),
            case(
                "SP-1: no cookie",
                "/spec/rules/0/sessionPersistence",
                json!({}),
                &["spec.rules[0].sessionPersistence: `cookie` is missing: type Cookie needs it"],
            ),
            case(
                "SP-1: a header of type Cookie",
                "/spec/rules/0/sessionPersistence",
                json!({"cookie": {}, "header": {"name": "session"}}),
                &["spec.rules[0].sessionPersistence.header: belongs to type Header, but the type \
                   is Cookie [remove `header` or set the type to Header]"],
            ),
            case(
                "SP-2: a permanent cookie without end",
                "/spec/rules/0/sessionPersistence",
                json!({"type": "Cookie", "cookie": {"lifetimeType": "Permanent"}}),
                &["spec.rules[0].sessionPersistence: `absoluteTimeout` is missing: a permanent \
                   cookie needs it"],
            ),
        ],
    );
}
