//! What no API server would let through: with old or altered CRDs it arrives all the same, and
//! gets a condition instead of a panic. Nothing here serves what was not asked for.

use gwapi_model::status::{Condition, ConditionReason, Status};
use gwapi_model::{Kind, ObjectId, Resource, Resources};
use gwapi_translate::ir::{
    BackendTarget, GatewayConfig, HttpRule, IrKey, Listener, ListenerFilter, ListenerProtocol,
};
use gwapi_translate::{Options, RouteTable, Translation, translate};
use serde_json::{Value, json};

/// A class, and a Gateway `default/gw` with these listeners.
fn gateway(listeners: Value) -> Vec<Resource> {
    gateway_with(json!({ "listeners": listeners }))
}

fn gateway_with(mut spec: Value) -> Vec<Resource> {
    spec["gatewayClassName"] = json!("gwapi");
    let class = json!({
        "metadata": { "name": "gwapi" },
        "spec": { "controllerName": "gwapi.dev/gateway-controller" },
    });
    let gateway = json!({ "metadata": { "name": "gw", "namespace": "default" }, "spec": spec });
    let class: gwapi_model::GatewayClass = serde_json::from_value(class).expect("a class");
    let gateway: gwapi_model::Gateway = serde_json::from_value(gateway).expect("a Gateway");
    vec![class.into(), gateway.into()]
}

/// A route on a Gateway with one listener.
fn route(mut spec: Value) -> Translation {
    spec["parentRefs"] = json!([{ "name": "gw" }]);
    let route = json!({ "metadata": { "name": "r", "namespace": "default" }, "spec": spec });
    let route: gwapi_model::HttpRoute = serde_json::from_value(route).expect("a route");
    let mut all = gateway(json!([{ "name": "l", "port": 80, "protocol": "HTTP" }]));
    all.push(route.into());
    run(all)
}

/// A GRPCRoute with these rules on the same Gateway.
fn grpc_route(rules: Value) -> Translation {
    let route = json!({
        "metadata": { "name": "r", "namespace": "default" },
        "spec": { "parentRefs": [{ "name": "gw" }], "rules": rules },
    });
    let route: gwapi_model::GrpcRoute = serde_json::from_value(route).expect("a route");
    let mut all = gateway(json!([{ "name": "l", "port": 80, "protocol": "HTTP" }]));
    all.push(route.into());
    run(all)
}

fn run(resources: Vec<Resource>) -> Translation {
    translate(&resources.into_iter().collect::<Resources>(), &Options::default())
}

fn config(translation: &Translation) -> &GatewayConfig {
    let id = gwapi_model::NamespacedName::new("default", "gw");
    translation.config.get(&id).expect("the Gateway is ours")
}

fn rules(translation: &Translation) -> Vec<&HttpRule> {
    config(translation).http_rules().map(|rule| &**rule).collect()
}

fn line(condition: &Condition) -> String {
    let Condition { condition_type, status, reason, message, .. } = condition;
    format!("{condition_type}={status} {reason}: {message}")
}

/// Conditions of each listener, one string per listener.
fn listeners(translation: &Translation) -> Vec<String> {
    match translation.status.get(&ObjectId::new(Kind::Gateway, "default", "gw")) {
        Some(Status::Gateway(status)) => status
            .listeners
            .iter()
            .map(|it| it.conditions.iter().map(line).collect::<Vec<_>>().join("\n"))
            .collect(),
        other => panic!("no status of the Gateway: {other:?}"),
    }
}

fn gateway_conditions(translation: &Translation) -> String {
    match translation.status.get(&ObjectId::new(Kind::Gateway, "default", "gw")) {
        Some(Status::Gateway(status)) => {
            status.conditions.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        other => panic!("no status of the Gateway: {other:?}"),
    }
}

fn route_conditions(translation: &Translation) -> String {
    conditions_of(Kind::HttpRoute, translation)
}

fn conditions_of(kind: Kind, translation: &Translation) -> String {
    match translation.status.get(&ObjectId::new(kind, "default", "r")) {
        Some(Status::Route(status)) => {
            status.parents[0].conditions.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        other => panic!("no status of the route: {other:?}"),
    }
}

#[test]
fn listeners_with_the_same_port_and_hostname_are_all_refused() {
    let translation = run(gateway(json!([
        { "name": "a", "port": 80, "protocol": "HTTP", "hostname": "www.example" },
        { "name": "b", "port": 80, "protocol": "HTTP", "hostname": "WWW.example." },
        { "name": "c", "port": 80, "protocol": "HTTP", "hostname": "*.example" },
    ])));
    let found = listeners(&translation);
    for conflicting in &found[..2] {
        assert!(conflicting.contains("Accepted=False HostnameConflict"), "{conflicting}");
        assert!(conflicting.contains("Conflicted=True HostnameConflict"), "{conflicting}");
        assert!(conflicting.contains("Programmed=False Invalid"), "{conflicting}");
    }
    assert!(found[2].contains("Programmed=True"), "{}", found[2]);
    assert_eq!(config(&translation).listeners().count(), 1);
}

#[test]
fn a_gateway_lets_no_listener_set_in_by_what_nobody_knows() {
    let mut all = gateway(json!([{ "name": "l", "port": 80, "protocol": "HTTP" }]));
    let Resource::Gateway(gateway) = &mut all[1] else { panic!("the Gateway comes second") };
    let allowed = json!({ "namespaces": { "from": "Friends" } });
    let spec = &mut std::sync::Arc::make_mut(gateway).spec;
    spec.allowed_listeners = Some(serde_json::from_value(allowed).expect("allowedListeners"));
    let set = json!({
        "metadata": { "name": "s", "namespace": "default" },
        "spec": {
            "parentRef": { "name": "gw" },
            "listeners": [{ "name": "l", "port": 81, "protocol": "HTTP" }],
        },
    });
    let set: gwapi_model::ListenerSet = serde_json::from_value(set).expect("a ListenerSet");
    all.push(set.into());
    let translation = run(all);
    assert_eq!(config(&translation).listeners().count(), 1);
    let found = gateway_conditions(&translation);
    let expected = "Accepted=True Accepted: spec.allowedListeners.namespaces: from `Friends` is not \
                    supported; use None, Same, All or Selector";
    assert!(found.contains(expected), "{found}");
    let id = ObjectId::new(Kind::ListenerSet, "default", "s");
    let Some(Status::ListenerSet(status)) = translation.status.get(&id) else { panic!("{id}") };
    assert_eq!(status.conditions[0].reason, ConditionReason::NotAllowed);
    assert!(status.listeners.is_empty(), "{:?}", status.listeners);
}

#[test]
fn listeners_with_the_same_name_are_all_refused() {
    let translation = run(gateway(json!([
        { "name": "a", "port": 80, "protocol": "HTTP" },
        { "name": "a", "port": 81, "protocol": "HTTP" },
    ])));
    let found = listeners(&translation);
    assert_eq!(found.len(), 2, "each listener has its entry");
    assert!(found.iter().all(|it| it.contains("Accepted=False UnsupportedValue")), "{found:?}");
    assert_eq!(config(&translation).0.len(), 0);
}

/// GW-9.
#[test]
fn a_listener_never_serves_less_than_it_asks_for() {
    let cases = [
        (json!({ "protocol": "HTTP", "tls": {} }), "clear text"),
        (
            json!({ "protocol": "HTTPS", "tls": { "mode": "Passthrough" } }),
            "tls.mode `Passthrough`",
        ),
        (json!({ "protocol": "HTTPS", "tls": { "mode": "Mixed" } }), "tls.mode `Mixed`"),
        (json!({ "protocol": "HTTP", "hostname": "10.0.0.1" }), "is no DNS name"),
        (
            json!({ "protocol": "HTTP", "allowedRoutes": { "namespaces": { "from": "None" } } }),
            "from `None`",
        ),
        (
            json!({ "protocol": "HTTP", "allowedRoutes": { "namespaces": { "from": "Selector",
            "selector": { "matchExpressions": [{ "key": "a", "operator": "Gt", "values": ["1"] }] } } } }),
            "unknown operator `Gt`",
        ),
    ];
    for (mut listener, expected) in cases {
        listener["name"] = json!("l");
        listener["port"] = json!(80);
        let translation = run(gateway(json!([listener])));
        let found = listeners(&translation).remove(0);
        assert!(found.contains("Accepted=False UnsupportedValue"), "{listener}: {found}");
        assert!(found.contains(expected), "{listener}: {found}");
        let kept: Vec<_> = config(&translation).listeners().collect();
        match (listener["protocol"].as_str(), kept.as_slice()) {
            (Some("HTTPS"), [kept]) => assert_eq!(kept.protocol, WITHOUT_CERTIFICATES),
            // For which hosts it is nobody knows.
            (_, kept) if expected == "is no DNS name" => assert!(kept.is_empty(), "{kept:?}"),
            (_, [kept]) => assert_refuses(kept),
            (_, kept) => panic!("{listener}: {kept:?}"),
        }
    }
}

/// An HTTPS listener that keeps its hosts, and can end no handshake.
const WITHOUT_CERTIFICATES: ListenerProtocol =
    ListenerProtocol::Https { certificates: Vec::new(), client_validation: None };

fn assert_refuses(listener: &Listener) {
    assert!(matches!(listener.filters[..], [ListenerFilter::Refuse(_)]), "{listener:?}");
}

/// LI-2, LI-4: what is refused keeps its requests and connections from what is broader.
#[test]
fn a_refused_listener_keeps_its_hosts_from_a_broader_one() {
    let typo = json!({ "namespaces": { "from": "Selector", "selector": {
        "matchExpressions": [{ "key": "a", "operator": "in", "values": ["b"] }] } } });
    let auth = json!({ "requests": [{ "type": "ExternalAuth", "externalAuth": {
        "protocol": "HTTP", "backendRef": { "name": "auth", "port": 80 } } }] });
    let passthrough = json!({ "mode": "Passthrough" });
    let option =
        json!({ "mode": "Passthrough", "options": { "example.com/minimum-version": "1.3" } });
    let ends_handshakes = ListenerProtocol::TlsTerminate { certificates: Vec::new() };
    let cases = [
        (json!({ "protocol": "TLS", "tls": option }), "HTTPS", Some(&ends_handshakes)),
        (json!({ "protocol": "TLS", "tls": option }), "TLS", Some(&ends_handshakes)),
        (
            json!({ "protocol": "TLS", "tls": passthrough, "allowedRoutes": typo }),
            "HTTPS",
            Some(&ends_handshakes),
        ),
        (
            json!({ "protocol": "TLS", "tls": passthrough, "filters": auth }),
            "HTTPS",
            Some(&ends_handshakes),
        ),
        (json!({ "protocol": "HTTPS", "allowedRoutes": typo, "filters": auth }), "HTTPS", None),
        (json!({ "protocol": "HTTP", "allowedRoutes": typo, "filters": auth }), "HTTP", None),
        (json!({ "protocol": "HTTP", "tls": {} }), "HTTP", None),
    ];
    for (mut refused, broader, protocol) in cases {
        refused["name"] = json!("refused");
        refused["hostname"] = json!("secret.x.example");
        let mut broader =
            json!({ "name": "broader", "protocol": broader, "hostname": "*.x.example" });
        refused["port"] = json!(8443);
        broader["port"] = json!(8443);
        let translation = run(gateway(json!([refused, broader])));
        let found = listeners(&translation);
        assert!(found[0].contains("Accepted=False"), "{refused}: {}", found[0]);
        assert!(found[0].contains("Programmed=False Invalid"), "{refused}: {}", found[0]);
        assert!(found[1].contains("Accepted=True"), "{refused}: {}", found[1]);

        let table = RouteTable::compile(config(&translation));
        let name = |host| table.listener_for_sni(8443, Some(host)).map(|it| it.key.name());
        assert_eq!(name("other.x.example"), Some("broader"), "{refused}");
        assert_eq!(name("secret.x.example"), Some("refused"), "{refused}");
        let kept = table.listener_for_sni(8443, Some("secret.x.example")).expect("it is kept");
        match protocol {
            Some(protocol) => assert_eq!(kept.protocol, *protocol, "{refused}"),
            None => assert_refuses(kept),
        }
    }
}

#[test]
fn a_listener_whose_filters_cannot_be_had_refuses_every_request() {
    let refused = "Accepted=False UnsupportedValue";
    let cases = [
        ("HTTP", json!({ "type": "ExternalAuth" }), refused, "[0]: externalAuth is not set"),
        ("HTTP", json!({ "type": "CORS" }), refused, "[0]: type `CORS` is not supported"),
        // LF-7.
        (
            "HTTP",
            json!({ "type": "ExtensionRef" }),
            "ResolvedRefs=False InvalidListenerFilterRef",
            "[0]: extensionRef is not set",
        ),
        // LF-1, LS-14: it is told, and the listener has no place.
        ("TCP", json!({ "type": "ExtensionRef" }), "Accepted=False InvalidListenerFilter", "TCP"),
    ];
    for (protocol, filter, condition, expected) in cases {
        let filters = json!({ "requests": [filter] });
        let listener = json!({ "name": "l", "port": 80, "protocol": protocol, "filters": filters });
        let translation = run(gateway(json!([listener])));
        let found = listeners(&translation).remove(0);
        assert!(found.contains(condition) && found.contains(expected), "{listener}: {found}");
        let kept: Vec<_> = config(&translation).listeners().map(|it| &it.filters[..]).collect();
        match protocol {
            "TCP" => assert!(kept.is_empty(), "{kept:?}"),
            _ => assert!(matches!(kept[..], [[ListenerFilter::Refuse(_)]]), "{kept:?}"),
        }
    }
}

#[test]
fn addresses_that_cannot_be_used_are_told_and_not_used() {
    let cases = [
        (json!({ "value": "not-an-address" }), "Programmed=False AddressNotAssigned"),
        (
            json!({ "value": "10.0.0.1", "routability": "Cluster" }),
            "Programmed=False AddressNotAssigned",
        ),
        (
            json!({ "value": "10.0.0.1", "routability": "no\nscope" }),
            "Programmed=False AddressNotAssigned",
        ),
        (json!({ "value": "255.255.255.255" }), "Programmed=False AddressNotAssigned"),
        (json!({ "type": "example.com/zone", "value": "a" }), "Accepted=False UnsupportedAddress"),
    ];
    for (address, expected) in cases {
        let translation = run(gateway_with(json!({
            "addresses": [address],
            "listeners": [{ "name": "l", "port": 80, "protocol": "HTTP" }],
        })));
        let found = gateway_conditions(&translation);
        assert!(found.contains(expected), "{address}: {found}");
        assert_eq!(config(&translation).0.len(), 0, "{address} is served");
    }
}

#[test]
fn a_gateway_without_listeners_is_not_accepted() {
    let found = gateway_conditions(&run(gateway(json!([]))));
    assert!(found.contains("Accepted=False ListenersNotValid: spec.listeners is empty"), "{found}");
}

#[test]
fn a_rule_that_cannot_be_read_is_left_out() {
    let cases = [
        (json!({ "path": { "type": "Glob", "value": "/a*" } }), "type `Glob` is not supported"),
        (json!({ "path": { "value": "no-slash" } }), "is no path"),
        (json!({ "path": { "type": "Exact", "value": "/a?b" } }), "holds `?` or `#`"),
        (json!({ "path": { "value": "/a%zz" } }), "is no path"),
        (json!({ "method": "PURGE" }), "method `PURGE` is not known"),
        (json!({ "headers": [{ "name": "a b", "value": "1" }] }), "is no header name"),
        (json!({ "headers": [{ "name": "a", "value": "1", "type": "Prefix" }] }), "type `Prefix`"),
        (
            json!({ "queryParams": [{ "name": "a", "value": "[", "type": "RegularExpression" }] }),
            "is no valid regular expression",
        ),
    ];
    for (matching, expected) in cases {
        let translation = route(json!({ "rules": [{ "matches": [matching] }] }));
        let found = route_conditions(&translation);
        assert!(found.contains("Accepted=False UnsupportedValue"), "{matching}: {found}");
        assert!(found.contains(expected), "{matching}: {found}");
        assert!(rules(&translation).is_empty(), "{matching} is served");
    }
}

#[test]
fn a_rule_whose_filters_cannot_be_honoured_answers_500() {
    let redirect = json!({ "type": "RequestRedirect", "requestRedirect": {} });
    let rewrite = |value: Value| json!({ "type": "URLRewrite", "urlRewrite": value });
    let prefix = json!({ "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/b" } });
    let headers =
        |value: Value| json!({ "type": "RequestHeaderModifier", "requestHeaderModifier": value });
    let exact = json!([{ "path": { "type": "Exact", "value": "/a" } }]);
    let auth = |mut value: Value| {
        value["backendRef"] = json!({ "name": "auth", "port": 80 });
        json!({ "filters": [{ "type": "ExternalAuth", "externalAuth": value }] })
    };
    let cases = [
        (
            json!({ "filters": [redirect, rewrite(json!({}))] }),
            "IncompatibleFilters",
            "cannot be combined",
        ),
        (json!({ "filters": [redirect, redirect] }), "IncompatibleFilters", "more than once"),
        (
            json!({ "filters": [redirect], "backendRefs": [{ "name": "x", "port": 80 }] }),
            "UnsupportedValue",
            "backendRefs",
        ),
        (
            json!({ "filters": [rewrite(prefix.clone())], "matches": exact }),
            "UnsupportedValue",
            "exactly one match",
        ),
        (json!({ "filters": [{ "type": "Teleport" }] }), "UnsupportedValue", "type `Teleport`"),
        (
            json!({ "filters": [{ "type": "URLRewrite" }] }),
            "UnsupportedValue",
            "urlRewrite is not set",
        ),
        (
            json!({ "filters": [{ "type": "ExternalAuth" }] }),
            "UnsupportedValue",
            "externalAuth is not set",
        ),
        (auth(json!({ "protocol": "HTTP" })), "UnsupportedValue", "externalAuth.http is not set"),
        (
            auth(json!({ "protocol": "GRPC", "http": {} })),
            "UnsupportedValue",
            "externalAuth.grpc is not set",
        ),
        (auth(json!({ "protocol": "SPOE" })), "UnsupportedValue", "protocol `SPOE`"),
        // EA-2: an API server would have let none of them through.
        (
            auth(json!({ "protocol": "HTTP", "http": { "path": "/a?b" } })),
            "UnsupportedValue",
            "no path that a request can begin with",
        ),
        (
            auth(json!({ "protocol": "HTTP", "http": { "path": "/%zz" } })),
            "UnsupportedValue",
            "no path that a request can begin with",
        ),
        (
            auth(json!({ "protocol": "HTTP", "http": { "path": "/a\r\nx: y" } })),
            "UnsupportedValue",
            "no path that a request can begin with",
        ),
        (
            auth(json!({ "protocol": "HTTP", "http": { "allowedHeaders": ["a b"] } })),
            "UnsupportedValue",
            "externalAuth.http.allowedHeaders: `a b` is no header name",
        ),
        (
            auth(json!({ "protocol": "GRPC", "grpc": { "allowedHeaders": ["Connection"] } })),
            "UnsupportedValue",
            "externalAuth.grpc.allowedHeaders: header `connection`",
        ),
        (
            auth(json!({ "protocol": "HTTP", "http": { "allowedResponseHeaders": ["Host"] } })),
            "UnsupportedValue",
            "externalAuth.http.allowedResponseHeaders: header `host`",
        ),
        (
            auth(json!({ "protocol": "HTTP",
                "http": { "allowedResponseHeaders": ["X-Forwarded-For"] } })),
            "UnsupportedValue",
            "header `x-forwarded-for` is the proxy's own",
        ),
        (
            auth(json!({ "protocol": "HTTP", "http": {}, "forwardBody": { "maxSize": -1 } })),
            "UnsupportedValue",
            "maxSize -1 is negative",
        ),
        (
            json!({ "filters": [{ "type": "RequestRedirect", "requestRedirect": { "scheme": "ftp" } }] }),
            "UnsupportedValue",
            "scheme `ftp`",
        ),
        (
            json!({ "filters": [{ "type": "RequestRedirect", "requestRedirect": { "statusCode": 305 } }] }),
            "UnsupportedValue",
            "statusCode 305",
        ),
        (
            json!({ "filters": [rewrite(json!({ "hostname": "a b" }))] }),
            "UnsupportedValue",
            "is no DNS name",
        ),
        (
            json!({ "filters": [rewrite(json!({ "path": { "type": "ReplaceFullPath", "replaceFullPath": "/a\r\nb" } }))] }),
            "UnsupportedValue",
            "percent-encoded",
        ),
        (
            json!({ "filters": [rewrite(json!({ "path": { "type": "Regex" } }))] }),
            "UnsupportedValue",
            "path.type `Regex`",
        ),
        (
            json!({ "filters": [headers(json!({ "set": [{ "name": "a", "value": "x\r\nb: y" }] }))] }),
            "UnsupportedValue",
            "no header may hold",
        ),
        (
            json!({ "filters": [headers(json!({ "remove": ["a:b"] }))] }),
            "UnsupportedValue",
            "is no header name",
        ),
        (
            json!({ "sessionPersistence": {} }),
            "UnsupportedValue",
            "sessionPersistence: type Cookie needs `cookie`, which CRDs have from v1.7 on, and no other",
        ),
        (
            json!({ "sessionPersistence": { "type": "Magic", "cookie": {} } }),
            "UnsupportedValue",
            "type `Magic` is not known",
        ),
        (
            json!({ "sessionPersistence": { "cookie": {}, "header": { "name": "a" } } }),
            "UnsupportedValue",
            "both cookie and header are set",
        ),
        (
            json!({ "sessionPersistence": { "cookie": { "lifetimeType": "Permanent" } } }),
            "UnsupportedValue",
            "a permanent cookie needs an absoluteTimeout",
        ),
        (
            json!({ "sessionPersistence": { "cookie": {}, "absoluteTimeout": "999ms" } }),
            "UnsupportedValue",
            "shorter than a second",
        ),
        (
            json!({ "sessionPersistence": { "cookie": { "name": "a;b" } } }),
            "UnsupportedValue",
            "is no name of a cookie",
        ),
        (
            json!({ "sessionPersistence": { "cookie": { "path": "/; Domain=example.com" } } }),
            "UnsupportedValue",
            "is no path that a cookie can have",
        ),
        (
            json!({ "sessionPersistence": { "cookie": { "name": "__Host-s", "path": "/a" } } }),
            "UnsupportedValue",
            "has the path `/`",
        ),
        (
            json!({ "sessionPersistence": { "type": "Header", "header": { "name": "Content-Length" } } }),
            "UnsupportedValue",
            "has another meaning already",
        ),
        (
            json!({ "sessionPersistence": { "type": "Header", "header": { "name": "X-Real-IP" } } }),
            "UnsupportedValue",
            "has another meaning already",
        ),
        (
            json!({ "sessionPersistence": { "type": "Header", "header": { "name": "content-type" } } }),
            "UnsupportedValue",
            "has another meaning already",
        ),
        (
            json!({ "sessionPersistence": { "type": "Header", "header": { "name": "x_s" } } }),
            "UnsupportedValue",
            "headers with `_` in their name do not get as far",
        ),
    ];
    for (rule, reason, expected) in cases {
        let translation = route(json!({ "rules": [rule] }));
        let found = route_conditions(&translation);
        assert!(found.contains(&format!("Accepted=False {reason}")), "{rule}: {found}");
        assert!(found.contains(expected), "{rule}: {found}");
        let rules = rules(&translation);
        assert_eq!(rules.len(), 1, "{rule} left its requests to other rules");
        assert!(rules[0].filters.is_empty(), "{rule}");
        let targets: Vec<_> = rules[0].backends.iter().map(|it| (&it.target, it.weight)).collect();
        assert!(matches!(targets[..], [(BackendTarget::Invalid(_), 1)]), "{rule}: {targets:?}");
    }
}

#[test]
fn a_route_with_an_unreadable_hostname_serves_nobody() {
    for hostname in ["10.0.0.1", "a..b", "*", "a:80"] {
        let translation = route(json!({ "hostnames": ["good.example", hostname] }));
        let found = route_conditions(&translation);
        assert!(found.contains("Accepted=False UnsupportedValue"), "{hostname}: {found}");
        assert!(rules(&translation).is_empty(), "{hostname} is served");
    }
}

#[test]
fn a_negative_weight_gets_nothing() {
    let translation =
        route(json!({ "rules": [{ "backendRefs": [{ "name": "x", "port": 80, "weight": -5 }] }] }));
    assert_eq!(rules(&translation)[0].backends[0].weight, 0);
}

#[test]
fn half_a_secret_breaks_its_listener_only_and_no_key_is_told() {
    let mut all = gateway(json!([
        { "name": "half", "port": 443, "protocol": "HTTPS", "tls": { "certificateRefs": [{ "name": "s" }] } },
        { "name": "clear", "port": 80, "protocol": "HTTP" },
    ]));
    let secret = json!({
        "metadata": { "name": "s", "namespace": "default" },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.key": "SESAME" },
    });
    let secret: gwapi_model::Secret = serde_json::from_value(secret).expect("a Secret");
    all.push(secret.into());
    let translation = run(all);
    let found = listeners(&translation);
    assert!(found[0].contains("ResolvedRefs=False InvalidCertificateRef"), "{}", found[0]);
    assert!(found[0].contains("Secret `default/s` has no key `tls.crt`"), "{}", found[0]);
    assert!(found[0].contains("Accepted=True"), "{}", found[0]);
    assert!(found[1].contains("Programmed=True"), "{}", found[1]);
    assert!(!format!("{translation:?}").contains("SESAME"));
}

#[test]
fn a_secret_without_a_key_is_told_by_what_it_lacks() {
    let listener = json!([
        { "name": "half", "port": 443, "protocol": "HTTPS", "tls": { "certificateRefs": [{ "name": "web-cert" }] } },
    ]);
    let mut all = gateway(listener);
    let secret = json!({
        "metadata": { "name": "web-cert", "namespace": "default" },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": include_str!("../src/testing/pem/one.crt") },
    });
    let secret: gwapi_model::Secret = serde_json::from_value(secret).expect("a Secret");
    all.push(secret.into());
    let found = listeners(&run(all)).remove(0);
    assert!(found.contains("ResolvedRefs=False InvalidCertificateRef"), "{found}");
    assert!(found.contains("Secret `default/web-cert` has no key `tls.key`"), "{found}");
}

#[test]
fn filters_of_http_routes_are_refused_on_grpc_routes_and_let_no_call_through() {
    // GR-7.
    for filter in [
        json!({ "type": "URLRewrite", "urlRewrite": { "hostname": "a.example" } }),
        json!({ "type": "RequestRedirect", "requestRedirect": { "port": 80 } }),
        json!({ "type": "CORS", "cors": {} }),
        json!({ "type": "New" }),
    ] {
        let translation = grpc_route(json!([{ "filters": [filter] }]));
        let conditions = conditions_of(Kind::GrpcRoute, &translation);
        assert!(conditions.contains("Accepted=False UnsupportedValue"), "{conditions}");
        assert!(conditions.contains("is not supported on a GRPCRoute"), "{conditions}");
        let rules = rules(&translation);
        let target = &rules[0].backends[0].target;
        assert!(matches!(target, BackendTarget::Invalid(_)), "{filter}: {target:?}");
    }
}

#[test]
fn calls_that_nobody_can_make_out_leave_their_rule_out() {
    // GR-3.
    for (method, why) in [
        (json!({}), "neither service nor method is set"),
        (json!({ "service": "", "method": "" }), "neither service nor method is set"),
        (json!({ "service": "/a.B/" }), "`/a.B/` is no gRPC service"),
        (json!({ "service": "a..B" }), "`a..B` is no gRPC service"),
        (json!({ "method": "a/b" }), "`a/b` is no gRPC method"),
        (json!({ "type": "Prefix", "service": "a" }), "type `Prefix` is not supported"),
        (
            json!({ "type": "RegularExpression", "service": "a)|(b" }),
            "`a)|(b` is no valid regular expression",
        ),
    ] {
        let translation = grpc_route(json!([{ "matches": [{ "method": method }] }]));
        let conditions = conditions_of(Kind::GrpcRoute, &translation);
        assert!(conditions.contains("Accepted=False UnsupportedValue"), "{method}: {conditions}");
        assert!(conditions.contains(why), "{method}: {conditions}");
        assert!(rules(&translation).is_empty(), "{method}");
    }
}

/// X-6: whoever asks for what nobody knows is told, and gets nothing that was not asked for.
#[test]
fn modes_of_tracing_that_nobody_knows_are_refused() {
    let traced = |tracing: Value| {
        let mut all = gateway(json!([{ "name": "l", "port": 80, "protocol": "HTTP" }]));
        let service = json!({
            "metadata": { "name": "collector", "namespace": "default" },
            "spec": { "ports": [{ "port": 4317 }] },
        });
        let policy = json!({
            "metadata": { "name": "traces", "namespace": "default" },
            "spec": {
                "targetRefs": [
                    { "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw" },
                ],
                "tracing": tracing,
            },
        });
        let service: gwapi_model::Service = serde_json::from_value(service).expect("a Service");
        let policy: gwapi_model::TelemetryPolicy =
            serde_json::from_value(policy).expect("a policy");
        all.extend([Resource::from(service), policy.into()]);
        let translation = run(all);
        let id = ObjectId::new(Kind::TelemetryPolicy, "default", "traces");
        let Some(Status::Policy(status)) = translation.status.get(&id) else { panic!("no status") };
        let is_traced = config(&translation).0.contains_key(&IrKey::Tracing);
        (line(&status.ancestors[0].conditions[0]), is_traced)
    };
    let provider = json!({ "backendRef": { "name": "collector", "port": 4317 } });
    let (accepted, is_traced) = traced(json!({ "mode": "Enabled", "provider": provider }));
    assert_eq!((accepted.as_str(), is_traced), ("Accepted=True Accepted: ", true));
    for (tracing, message) in [
        (json!({ "mode": "Sometimes" }), "tracing.mode `Sometimes` is not known"),
        (
            json!({
                "mode": "Enabled",
                "provider": provider,
                "parentBasedSampling": { "mode": "Sometimes" },
            }),
            "tracing.parentBasedSampling.mode `Sometimes` is not known",
        ),
    ] {
        let (accepted, is_traced) = traced(tracing);
        assert_eq!(accepted, format!("Accepted=False Invalid: {message}"));
        assert!(!is_traced, "{message}");
    }
}
