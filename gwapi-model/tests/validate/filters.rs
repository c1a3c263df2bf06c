use gwapi_model::HttpRoute;
use serde_json::{Value, json};

use super::{case, check, times};

/// A route with these filters on its one rule, which has a backend.
fn route(filters: Value) -> Value {
    json!({
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"rules": [{
            "filters": filters,
            "backendRefs": [{"name": "web", "port": 80, "filters": []}],
        }]},
    })
}

fn every_filter() -> Value {
    json!([
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {
            "set": [{"name": "a", "value": "1"}, {"name": "A", "value": "2"}],
            "add": [{"name": "a", "value": "tab\tand space"}],
            "remove": ["b"],
        }},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["server"]}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "m", "port": 80}, "percent": 0}},
        {"type": "RequestMirror", "requestMirror": {
            "backendRef": {"name": "m", "port": 80}, "fraction": {"numerator": 100},
        }},
        {"type": "URLRewrite", "urlRewrite": {
            "hostname": "web.internal", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": ""},
        }},
        {"type": "CORS", "cors": {
            "allowOrigins": ["https://a.example.com", "http://*.example.com:8080", "https://*"],
            "allowMethods": ["GET", "PUT"], "allowHeaders": ["*"],
            "exposeHeaders": ["*", "x-id"], "maxAge": 1, "allowCredentials": true,
        }},
        {"type": "ExtensionRef", "extensionRef": {"group": "example.com", "kind": "Limit", "name": "l"}},
        {"type": "ExtensionRef", "extensionRef": {"group": "example.com", "kind": "Limit", "name": "m"}},
        {"type": "ExternalAuth", "externalAuth": {
            "protocol": "GRPC", "grpc": {}, "backendRef": {"name": "auth", "port": 9000},
            "forwardBody": {"maxSize": 0},
        }},
        {"type": "ExternalAuth", "externalAuth": {
            "protocol": "HTTP", "backendRef": {"name": "auth", "port": 80},
            "http": {"path": "/a%20b/", "allowedHeaders": ["Cookie"]},
        }},
    ])
}

#[test]
fn every_type_of_filter_has_its_own_member_and_no_other() {
    let members = [
        ("RequestHeaderModifier", "requestHeaderModifier"),
        ("ResponseHeaderModifier", "responseHeaderModifier"),
        ("RequestMirror", "requestMirror"),
        ("RequestRedirect", "requestRedirect"),
        ("URLRewrite", "urlRewrite"),
        ("CORS", "cors"),
        ("ExternalAuth", "externalAuth"),
        ("ExtensionRef", "extensionRef"),
    ];
    for (of_type, member) in members {
        let missing = route(json!([{"type": of_type}]));
        assert_eq!(
            super::violations::<HttpRoute>(missing),
            [format!("spec.rules[0].filters[0]: `{member}` is missing: type {of_type} needs it")],
        );
        let content = match member {
            "requestMirror" => json!({"backendRef": {"name": "m", "port": 80}}),
            "externalAuth" => {
                json!({"protocol": "HTTP", "http": {}, "backendRef": {"name": "a", "port": 80}})
            }
            "extensionRef" => json!({"group": "", "kind": "K", "name": "n"}),
            _ => json!({}),
        };
        let (other_type, other) = if of_type == "CORS" { members[0] } else { ("CORS", "cors") };
        let mut crossed = route(json!([{"type": other_type, other: {}, member: content}]));
        crossed["spec"]["rules"][0]["backendRefs"] = json!([]);
        assert_eq!(
            super::violations::<HttpRoute>(crossed),
            [format!(
                "spec.rules[0].filters[0].{member}: belongs to type {of_type}, but the type is \
                 {other_type} [remove `{member}` or set the type to {of_type}]"
            )],
        );
    }
}

#[test]
fn filters_are_sixteen_at_most_and_most_types_occur_once() {
    check::<HttpRoute>(
        &route(every_filter()),
        vec![
            case(
                "17 filters",
                "/spec/rules/0/filters",
                times(
                    17,
                    |_| json!({"type": "ExtensionRef", "extensionRef": {"group": "", "kind": "K", "name": "n"}}),
                ),
                &["spec.rules[0].filters: has 17 entries: expected at most 16"],
            ),
            case(
                "a type twice",
                "/spec/rules/0/filters/-",
                json!({"type": "CORS", "cors": {}}),
                &["spec.rules[0].filters[10].type: an earlier filter is of type CORS too"],
            ),
            case(
                "a type twice on a backend",
                "/spec/rules/0/backendRefs/0/filters",
                times(2, |_| json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {}})),
                &["spec.rules[0].backendRefs[0].filters[1].type: an earlier filter is of type \
                   RequestHeaderModifier too"],
            ),
            case(
                "a redirect beside a rewrite, on a backend",
                "/spec/rules/0/backendRefs/0/filters",
                json!([
                    {"type": "RequestRedirect", "requestRedirect": {}},
                    {"type": "URLRewrite", "urlRewrite": {}},
                ]),
                &["spec.rules[0].backendRefs[0].filters: RequestRedirect and URLRewrite exclude \
                   each other [give the redirect its own path and hostname, or keep the rewrite \
                   alone]"],
            ),
            case(
                "RT-12: an unknown type",
                "/spec/rules/0/filters/1",
                json!({"type": "UrlRewrite", "urlRewrite": {}}),
                &["spec.rules[0].filters[1].type: `UrlRewrite` is not known here: expected \
                   RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, \
                   RequestMirror, CORS, ExternalAuth or ExtensionRef [did you mean URLRewrite?]"],
            ),
            case(
                "a redirect in a rule with a backend",
                "/spec/rules/0/filters",
                json!([{"type": "RequestRedirect", "requestRedirect": {}}]),
                &["spec.rules[0].backendRefs: the rule redirects, so that no request reaches a \
                   backend [remove backendRefs or the RequestRedirect filter]"],
            ),
            case(
                "HF-10: an extension without name",
                "/spec/rules/0/filters/6/extensionRef/name",
                json!(""),
                &["spec.rules[0].filters[6].extensionRef.name: is empty: expected the name of an \
                   object"],
            ),
        ],
    );
}

#[test]
fn header_modifiers_name_each_header_once_per_action() {
    // HF-1.
    let header = |index| json!({"name": format!("h{index}"), "value": "v"});
    check::<HttpRoute>(
        &route(every_filter()),
        vec![
            case(
                "17 headers to set",
                "/spec/rules/0/filters/0/requestHeaderModifier/set",
                times(17, header),
                &["spec.rules[0].filters[0].requestHeaderModifier.set: has 17 entries: expected \
                   at most 16"],
            ),
            case(
                "17 headers to add to a response",
                "/spec/rules/0/filters/1/responseHeaderModifier/add",
                times(17, header),
                &["spec.rules[0].filters[1].responseHeaderModifier.add: has 17 entries: expected \
                   at most 16"],
            ),
            case(
                "17 headers to remove",
                "/spec/rules/0/filters/0/requestHeaderModifier/remove",
                times(17, |index| json!(format!("h{index}"))),
                &["spec.rules[0].filters[0].requestHeaderModifier.remove: has 17 entries: \
                   expected at most 16"],
            ),
            case(
                "a header removed twice",
                "/spec/rules/0/filters/0/requestHeaderModifier/remove",
                json!(["b", "c", "b"]),
                &["spec.rules[0].filters[0].requestHeaderModifier.remove[2]: `b` is listed twice"],
            ),
            case(
                "a header set twice",
                "/spec/rules/0/filters/0/requestHeaderModifier/set/1/name",
                json!("a"),
                &["spec.rules[0].filters[0].requestHeaderModifier.set[1].name: an earlier entry \
                   is for header `a` too"],
            ),
            case(
                "a header added twice",
                "/spec/rules/0/filters/0/requestHeaderModifier/add/-",
                json!({"name": "a", "value": "x"}),
                &["spec.rules[0].filters[0].requestHeaderModifier.add[1].name: an earlier entry \
                   is for header `a` too"],
            ),
            case(
                "a name with a colon",
                "/spec/rules/0/filters/0/requestHeaderModifier/set/0/name",
                json!("a:"),
                &["spec.rules[0].filters[0].requestHeaderModifier.set[0].name: `a:` is not a \
                   name: expected letters, digits and any of !#$%&'*+-.^_`|~"],
            ),
            case(
                "a value that would end the line",
                "/spec/rules/0/filters/0/requestHeaderModifier/set/0/value",
                json!("1\r\nb: 2"),
                &["spec.rules[0].filters[0].requestHeaderModifier.set[0].value: `1\\r\\nb: 2` is \
                   not a header value: expected some text without control characters"],
            ),
            case(
                "an empty value",
                "/spec/rules/0/filters/0/requestHeaderModifier/add/0/value",
                json!(""),
                &["spec.rules[0].filters[0].requestHeaderModifier.add[0].value: is empty: \
                   expected some text without control characters"],
            ),
        ],
    );
}

#[test]
fn mirrors_take_a_share_in_one_way() {
    // HF-7.
    check::<HttpRoute>(
        &route(every_filter()),
        vec![
            case(
                "more than everything",
                "/spec/rules/0/filters/2/requestMirror/percent",
                json!(101),
                &["spec.rules[0].filters[2].requestMirror.percent: 101 is out of range: expected \
                   0 to 100"],
            ),
            case(
                "both ways",
                "/spec/rules/0/filters/3/requestMirror/percent",
                json!(1),
                &["spec.rules[0].filters[3].requestMirror: `percent` and `fraction` exclude each \
                   other"],
            ),
            case(
                "more than everything, as a fraction",
                "/spec/rules/0/filters/3/requestMirror/fraction",
                json!({"numerator": 101}),
                &["spec.rules[0].filters[3].requestMirror.fraction: 101 of 100 is more than \
                   everything"],
            ),
            case(
                "less than nothing",
                "/spec/rules/0/filters/3/requestMirror/fraction",
                json!({"numerator": -1}),
                &["spec.rules[0].filters[3].requestMirror.fraction.numerator: -1 is too small: \
                   expected 0 or more"],
            ),
            case(
                "parts of nothing",
                "/spec/rules/0/filters/3/requestMirror/fraction",
                json!({"numerator": 0, "denominator": 0}),
                &["spec.rules[0].filters[3].requestMirror.fraction.denominator: 0 is too small: \
                   expected 1 or more"],
            ),
            case(
                "a Service without port",
                "/spec/rules/0/filters/2/requestMirror/backendRef",
                json!({"name": "m"}),
                &["spec.rules[0].filters[2].requestMirror.backendRef: `port` is missing: a \
                   Service is named together with a port [add the port of the Service, such as \
                   `port: 80`]"],
            ),
        ],
    );
}

fn redirect() -> Value {
    json!({
        "metadata": {"name": "moved", "namespace": "shop"},
        "spec": {"rules": [{
            "matches": [{"path": {"value": "/old"}}],
            "filters": [{"type": "RequestRedirect", "requestRedirect": {
                "scheme": "https", "hostname": "new.example.com", "port": 8443, "statusCode": 308,
                "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
            }}],
        }]},
    })
}

#[test]
fn rewrites_have_plain_hostnames_and_short_paths() {
    // HF-5, HF-6.
    check::<HttpRoute>(
        &route(every_filter()),
        vec![
            case(
                "a wildcard",
                "/spec/rules/0/filters/4/urlRewrite/hostname",
                json!("*.internal"),
                &["spec.rules[0].filters[4].urlRewrite.hostname: `*.internal` is not a hostname: \
                   expected lower-case labels of letters, digits and `-`, joined by dots, without \
                   wildcard"],
            ),
            case(
                "a long prefix",
                "/spec/rules/0/filters/4/urlRewrite/path/replacePrefixMatch",
                json!("/".repeat(1025)),
                &["spec.rules[0].filters[4].urlRewrite.path.replacePrefixMatch: \
                   `////////////////////////////////////////////////////////////////////////////////…` \
                   is 1025 characters long: expected a path of at most 1024"],
            ),
        ],
    );
}

#[test]
fn redirects_lead_somewhere() {
    check::<HttpRoute>(
        &redirect(),
        vec![
            case(
                "HF-3: an unknown scheme",
                "/spec/rules/0/filters/0/requestRedirect/scheme",
                json!("HTTPS"),
                &["spec.rules[0].filters[0].requestRedirect.scheme: `HTTPS` is not known here: \
                   expected http or https [did you mean https?]"],
            ),
            case(
                "HF-2: an unknown status",
                "/spec/rules/0/filters/0/requestRedirect/statusCode",
                json!(304),
                &["spec.rules[0].filters[0].requestRedirect.statusCode: `304` is not known here: \
                   expected 301, 302, 303, 307 or 308"],
            ),
            case(
                "HF-3: a wildcard",
                "/spec/rules/0/filters/0/requestRedirect/hostname",
                json!("*.example.com"),
                &["spec.rules[0].filters[0].requestRedirect.hostname: `*.example.com` is not a \
                   hostname: expected lower-case labels of letters, digits and `-`, joined by \
                   dots, without wildcard"],
            ),
            case(
                "HF-3: a port in the hostname",
                "/spec/rules/0/filters/0/requestRedirect/hostname",
                json!("new.example.com:8443"),
                &["spec.rules[0].filters[0].requestRedirect.hostname: `new.example.com:8443` is \
                   not a hostname: expected lower-case labels of letters, digits and `-`, joined \
                   by dots, without wildcard [leave the port out]"],
            ),
            case(
                "HF-4: no replacement",
                "/spec/rules/0/filters/0/requestRedirect/path",
                json!({"type": "ReplaceFullPath"}),
                &["spec.rules[0].filters[0].requestRedirect.path: `replaceFullPath` is missing: \
                   type ReplaceFullPath needs it"],
            ),
            case(
                "HF-4: the other replacement",
                "/spec/rules/0/filters/0/requestRedirect/path",
                json!({"type": "ReplaceFullPath", "replaceFullPath": "/", "replacePrefixMatch": "/"}),
                &["spec.rules[0].filters[0].requestRedirect.path.replacePrefixMatch: belongs to \
                   type ReplacePrefixMatch, but the type is ReplaceFullPath [remove \
                   `replacePrefixMatch` or set the type to ReplacePrefixMatch]"],
            ),
            case(
                "RT-12: an unknown type",
                "/spec/rules/0/filters/0/requestRedirect/path/type",
                json!("ReplacePrefix"),
                &["spec.rules[0].filters[0].requestRedirect.path.type: `ReplacePrefix` is not \
                   known here: expected ReplaceFullPath or ReplacePrefixMatch [did you mean \
                   ReplacePrefixMatch?]"],
            ),
            case(
                "HF-4: a long path",
                "/spec/rules/0/filters/0/requestRedirect/path",
                json!({"type": "ReplaceFullPath", "replaceFullPath": "/".repeat(1025)}),
                &["spec.rules[0].filters[0].requestRedirect.path.replaceFullPath: \
                   `////////////////////////////////////////////////////////////////////////////////…` \
                   is 1025 characters long: expected a path of at most 1024"],
            ),
        ],
    );
}

#[test]
fn a_prefix_is_replaced_only_where_there_is_exactly_one() {
    // HF-6.
    const EXPECTED: &str = "ReplacePrefixMatch replaces the prefix of exactly one match of type \
                            PathPrefix, which the rule does not have [give every prefix a rule of \
                            its own]";
    let rewrite = json!([{"type": "URLRewrite", "urlRewrite": {
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
    }}]);
    for (matches, possible) in [
        (json!([]), true),
        (json!([{"method": "GET"}]), true),
        (json!([{"path": {"value": "/a"}}]), true),
        (json!([{"path": {"type": "Exact", "value": "/a"}}]), false),
        (json!([{"path": {"value": "/a"}}, {"path": {"value": "/b"}}]), false),
    ] {
        let rule = json!({
            "matches": matches,
            "filters": rewrite,
            "backendRefs": [{"name": "web", "port": 80, "filters": rewrite}],
        });
        let object = json!({
            "metadata": {"name": "r", "namespace": "n"},
            "spec": {"rules": [rule]},
        });
        let expected = if possible {
            vec![]
        } else {
            vec![
                format!("spec.rules[0].filters[0].urlRewrite.path: {EXPECTED}"),
                format!("spec.rules[0].backendRefs[0].filters[0].urlRewrite.path: {EXPECTED}"),
            ]
        };
        assert_eq!(super::violations::<HttpRoute>(object), expected, "{matches}");
    }
}

#[test]
fn cors_lists_are_sets_in_which_a_star_stands_alone() {
    check::<HttpRoute>(
        &route(every_filter()),
        vec![
            case(
                "CO-1: 65 origins",
                "/spec/rules/0/filters/5/cors/allowOrigins",
                times(65, |index| json!(format!("https://o{index}"))),
                &[
                    "spec.rules[0].filters[5].cors.allowOrigins: has 65 entries: expected at most 64",
                ],
            ),
            case(
                "CO-1: all origins and one",
                "/spec/rules/0/filters/5/cors/allowOrigins",
                json!(["https://a.example.com", "*"]),
                &["spec.rules[0].filters[5].cors.allowOrigins: `*` stands for everything, so it \
                   stands alone"],
            ),
            case(
                "CO-1: all origins",
                "/spec/rules/0/filters/5/cors/allowOrigins",
                json!(["*"]),
                &[],
            ),
            case(
                "CO-1: an origin twice",
                "/spec/rules/0/filters/5/cors/allowOrigins",
                json!(["https://a", "https://a"]),
                &["spec.rules[0].filters[5].cors.allowOrigins[1]: `https://a` is listed twice"],
            ),
            case(
                "CO-1: no scheme",
                "/spec/rules/0/filters/5/cors/allowOrigins",
                json!(["a.example.com"]),
                &["spec.rules[0].filters[5].cors.allowOrigins[0]: `a.example.com` is not an \
                   origin: expected `*`, or http:// or https:// with a host, whose first label \
                   may be `*`, and perhaps a port [write the scheme too, as in \
                   https://a.example.com]"],
            ),
            case(
                "CO-1: a path",
                "/spec/rules/0/filters/5/cors/allowOrigins",
                json!(["https://a.example.com/"]),
                &["spec.rules[0].filters[5].cors.allowOrigins[0]: `https://a.example.com/` is \
                   not an origin: expected `*`, or http:// or https:// with a host, whose first \
                   label may be `*`, and perhaps a port [leave the path out]"],
            ),
            case(
                "CO-1: another scheme, and a port that is none",
                "/spec/rules/0/filters/5/cors/allowOrigins",
                json!(["ftp://a", "http://a:http", "http://a.*.b"]),
                &[
                    "spec.rules[0].filters[5].cors.allowOrigins[0]: `ftp://a` is not an origin: \
                     expected `*`, or http:// or https:// with a host, whose first label may be \
                     `*`, and perhaps a port",
                    "spec.rules[0].filters[5].cors.allowOrigins[1]: `http://a:http` is not an \
                     origin: expected `*`, or http:// or https:// with a host, whose first label \
                     may be `*`, and perhaps a port",
                    "spec.rules[0].filters[5].cors.allowOrigins[2]: `http://a.*.b` is not an \
                     origin: expected `*`, or http:// or https:// with a host, whose first label \
                     may be `*`, and perhaps a port",
                ],
            ),
            case(
                "CO-5: an unknown method",
                "/spec/rules/0/filters/5/cors/allowMethods",
                json!(["FETCH"]),
                &["spec.rules[0].filters[5].cors.allowMethods[0]: `FETCH` is not known here: \
                   expected GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH or *"],
            ),
            case(
                "CO-5: all methods and one",
                "/spec/rules/0/filters/5/cors/allowMethods",
                json!(["*", "GET"]),
                &["spec.rules[0].filters[5].cors.allowMethods: `*` stands for everything, so it \
                   stands alone"],
            ),
            case(
                "CO-5: ten methods, one of them twice",
                "/spec/rules/0/filters/5/cors/allowMethods",
                json!([
                    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
                    "GET",
                ]),
                &[
                    "spec.rules[0].filters[5].cors.allowMethods: has 10 entries: expected at most 9",
                    "spec.rules[0].filters[5].cors.allowMethods[9]: `GET` is listed twice",
                ],
            ),
            case(
                "CO-6: all headers and one",
                "/spec/rules/0/filters/5/cors/allowHeaders",
                json!(["x-a", "*"]),
                &["spec.rules[0].filters[5].cors.allowHeaders: `*` stands for everything, so it \
                   stands alone"],
            ),
            case(
                "CO-6: 65 headers",
                "/spec/rules/0/filters/5/cors/allowHeaders",
                times(65, |index| json!(format!("h{index}"))),
                &[
                    "spec.rules[0].filters[5].cors.allowHeaders: has 65 entries: expected at most 64",
                ],
            ),
            case(
                "CO-6: a header twice",
                "/spec/rules/0/filters/5/cors/allowHeaders",
                json!(["x-a", "x-a"]),
                &["spec.rules[0].filters[5].cors.allowHeaders[1]: `x-a` is listed twice"],
            ),
            case(
                "a header to expose with a space",
                "/spec/rules/0/filters/5/cors/exposeHeaders",
                json!(["x a"]),
                &["spec.rules[0].filters[5].cors.exposeHeaders[0]: `x a` is not a name: expected \
                   letters, digits and any of !#$%&'*+-.^_`|~"],
            ),
            case(
                "CO-7: no time to cache",
                "/spec/rules/0/filters/5/cors/maxAge",
                json!(0),
                &["spec.rules[0].filters[5].cors.maxAge: 0 is too small: expected 1 or more"],
            ),
        ],
    );
}

#[test]
fn external_authorization_names_a_backend_and_settings_of_its_protocol() {
    check::<HttpRoute>(
        &route(every_filter()),
        vec![
            case(
                "EA-3: no settings",
                "/spec/rules/0/filters/8/externalAuth/grpc",
                Value::Null,
                &["spec.rules[0].filters[8].externalAuth: `grpc` is missing: type GRPC needs it"],
            ),
            case(
                "EA-2: an unknown protocol",
                "/spec/rules/0/filters/8/externalAuth/protocol",
                json!("http"),
                &["spec.rules[0].filters[8].externalAuth.protocol: `http` is not known here: \
                   expected HTTP or GRPC [did you mean HTTP?]"],
            ),
            case(
                "EA-1: a Service without a port",
                "/spec/rules/0/filters/8/externalAuth/backendRef/port",
                Value::Null,
                &[
                    "spec.rules[0].filters[8].externalAuth.backendRef: `port` is missing: a Service \
                   is named together with a port [add the port of the Service, such as `port: 80`]",
                ],
            ),
            case(
                "EA-3: one header twice",
                "/spec/rules/0/filters/8/externalAuth/grpc/allowedHeaders",
                json!(["a", "a"]),
                &["spec.rules[0].filters[8].externalAuth.grpc.allowedHeaders[1]: `a` is listed \
                   twice"],
            ),
            case(
                "EA-3: sixty-five headers",
                "/spec/rules/0/filters/8/externalAuth/grpc/allowedHeaders",
                times(65, |n| json!(format!("h{n}"))),
                &["spec.rules[0].filters[8].externalAuth.grpc.allowedHeaders: has 65 entries: \
                   expected at most 64"],
            ),
            case(
                "EA-2: a path with a query",
                "/spec/rules/0/filters/9/externalAuth/http/path",
                json!("/check?a"),
                &["spec.rules[0].filters[9].externalAuth.http.path: `/check?a` is not a path: \
                   expected the characters of a path, others escaped as in %20"],
            ),
            case(
                "EA-2: half an escape",
                "/spec/rules/0/filters/9/externalAuth/http/path",
                json!("/a%2"),
                &["spec.rules[0].filters[9].externalAuth.http.path: `/a%2` is not a path: \
                   expected the characters of a path, others escaped as in %20"],
            ),
            case(
                "EA-4: a negative size",
                "/spec/rules/0/filters/8/externalAuth/forwardBody/maxSize",
                json!(-1),
                &["spec.rules[0].filters[8].externalAuth.forwardBody.maxSize: -1 is too small: \
                   expected 0 or more"],
            ),
        ],
    );
}
