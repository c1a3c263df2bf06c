//! Generated objects: every kind, few names, so that they refer to each other often.

use std::collections::BTreeMap;

use gwapi_model::{Kind, NamespacedName, Resource, RouteKind, Secret, SecretBytes};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

const CHAINS: [&str; 2] = [
    include_str!("../pem/one.crt"),
    concat!(include_str!("../pem/two.crt"), include_str!("../pem/one.crt")),
];
const KEYS: [&str; 2] = [include_str!("../pem/one.key"), include_str!("../pem/two.key")];

/// The name of an object of a kind; it may exist or not.
pub fn name(kind: Kind) -> impl Strategy<Value = NamespacedName> {
    let names: &[&str] = match kind {
        Kind::GatewayClass => &["ours", "theirs", "broken"],
        Kind::Namespace => &["a", "b"],
        Kind::Gateway => &["a/g", "a/h", "b/g"],
        Kind::ListenerSet => &["a/k", "b/k", "b/m"],
        Kind::HttpRoute => &["a/r", "a/s", "b/r", "b/s"],
        Kind::GrpcRoute => &["a/r", "a/t", "b/r"],
        Kind::TlsRoute | Kind::TcpRoute => &["a/r", "a/s", "b/r"],
        Kind::UdpRoute => &["a/r", "b/r"],
        Kind::Service => &["a/x", "a/y", "b/x"],
        Kind::EndpointSlice => &["a/e", "a/f", "b/e"],
        Kind::Endpoints => &["a/x", "a/y"],
        Kind::Secret => &["a/t", "b/t"],
        Kind::BackendTlsPolicy => &["a/u", "a/v", "b/u"],
        Kind::XBackend => &["a/x", "a/z", "b/x"],
        Kind::BackendTrafficPolicy => &["a/u", "a/w", "b/u"],
        Kind::TelemetryPolicy => &["a/u", "a/v", "b/u"],
        Kind::ReferenceGrant => &["a/p", "b/p"],
        Kind::GatewayParameters => &["a/q", "b/q"],
        Kind::ConfigMap => &["a/c", "b/c"],
        Kind::ClusterTrustBundle => &["ca", "example.com:signer:ca"],
    };
    select(names).prop_map(|text| match text.split_once('/') {
        Some((namespace, name)) => NamespacedName::new(namespace, name),
        None => NamespacedName::new("", text),
    })
}

/// An object of any kind.
pub fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        2 => object(Kind::GatewayClass, gateway_class()),
        6 => object(Kind::Gateway, gateway()),
        4 => object(Kind::ListenerSet, listener_set()),
        12 => object(Kind::HttpRoute, route(rule())),
        6 => object(Kind::GrpcRoute, route(grpc_rule())),
        3 => object(Kind::TlsRoute, route(stream_rule())),
        2 => object(Kind::TcpRoute, route(stream_rule())),
        2 => object(Kind::UdpRoute, route(stream_rule())),
        2 => object(Kind::ReferenceGrant, grant()),
        1 => object(Kind::Namespace, Just(json!({}))),
        3 => object(Kind::Service, service()),
        3 => object(Kind::EndpointSlice, slice()),
        1 => object(Kind::Endpoints, endpoints()),
        2 => secret(),
        2 => object(Kind::BackendTlsPolicy, backend_tls_policy()),
        2 => object(Kind::XBackend, x_backend()),
        2 => object(Kind::BackendTrafficPolicy, backend_traffic_policy()),
        2 => object(Kind::ClusterTrustBundle, cluster_trust_bundle()),
        2 => object(Kind::TelemetryPolicy, telemetry_policy()),
        1 => object(Kind::ConfigMap, config_map()),
        1 => object(Kind::GatewayParameters, parameters()),
    ]
}

/// A world in which all is well: two routes by one Gateway to one Service with an endpoint.
pub(super) fn world() -> impl Iterator<Item = Resource> {
    let route = |name: &str| {
        json!({
            "metadata": { "name": name, "namespace": "a" },
            "spec": {
                "parentRefs": [{ "name": "g" }],
                "rules": [{ "backendRefs": [{ "name": "x", "port": 80 }] }],
            },
        })
    };
    [
        (
            Kind::GatewayClass,
            json!({
                "metadata": { "name": "ours" },
                "spec": { "controllerName": "gwapi.dev/gateway-controller" },
            }),
        ),
        (
            Kind::Gateway,
            json!({
                "metadata": { "name": "g", "namespace": "a", "uid": "x" },
                "spec": {
                    "gatewayClassName": "ours",
                    "listeners": [{ "name": "l", "port": 80, "protocol": "HTTP" }],
                },
            }),
        ),
        (Kind::HttpRoute, route("r")),
        (Kind::HttpRoute, route("s")),
        (
            Kind::Service,
            json!({
                "metadata": { "name": "x", "namespace": "a" },
                "spec": { "ports": [{ "port": 80 }] },
            }),
        ),
        (
            Kind::EndpointSlice,
            json!({
                "metadata": { "name": "e", "namespace": "a",
                    "labels": { "kubernetes.io/service-name": "x" } },
                "addressType": "IPv4",
                "endpoints": [{ "addresses": ["10.1.0.1"] }],
                "ports": [{ "port": 8000 }],
            }),
        ),
    ]
    .into_iter()
    .map(|(kind, value)| read(kind, value))
}

/// Objects among which most references resolve: a `world`, listeners of every protocol, a backend that all
/// may use, and any others besides, which come last.
pub fn worlds() -> impl Strategy<Value = Vec<Resource>> {
    let routes = prop_oneof![
        2 => open_route(Kind::HttpRoute),
        2 => open_route(Kind::GrpcRoute),
        2 => open_route(Kind::TlsRoute),
        1 => open_route(Kind::TcpRoute),
        1 => open_route(Kind::UdpRoute),
        1 => object(Kind::HttpRoute, route(rule())),
        1 => object(Kind::GrpcRoute, route(grpc_rule())),
        1 => object(Kind::TlsRoute, route(stream_rule())),
    ];
    (vec(routes, 1..12), vec(resource(), 0..12)).prop_map(|(routes, others)| {
        let open = [OPEN_GATEWAY, OPEN_SERVICE, OPEN_GRANT]
            .map(|(kind, text)| read(kind, serde_json::from_str(text).expect("it is JSON")));
        world().chain(open).chain(routes).chain(others).collect()
    })
}

/// A route to [`OPEN_SERVICE`], mostly, by [`OPEN_GATEWAY`].
fn open_route(kind: Kind) -> impl Strategy<Value = Resource> {
    let is_stream = matches!(kind, Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute);
    let matching: &[&str] = match kind {
        Kind::GrpcRoute => &[
            r#"{}"#,
            r#"{"method":{"service":"p.S","method":"M"}}"#,
            r#"{"method":{"service":"p.S"}}"#,
            r#"{"method":{"method":"M"},"headers":[{"name":"Foo","value":"1"}]}"#,
        ],
        _ => &[
            r#"{}"#,
            r#"{"path":{"value":"/a/"}}"#,
            r#"{"path":{"type":"Exact","value":"/a"},"method":"GET"}"#,
            r#"{"path":{"value":"/p.S"},"headers":[{"name":"Foo","value":"1"}]}"#,
            r#"{"queryParams":[{"name":"q","value":"1"}]}"#,
        ],
    };
    let rule = (vec(one_of(matching), 0..3), select(vec!["y", "y", "y", "x", "none"]));
    let rule = rule.prop_map(move |(matches, name)| {
        let backends = json!([{ "name": name, "namespace": "a", "port": 80 }]);
        match is_stream {
            true => json!({ "backendRefs": backends }),
            false => json!({ "matches": matches, "backendRefs": backends }),
        }
    });
    let rules = vec(rule, if is_stream { 1..2 } else { 1..3 });
    let least = usize::from(kind == Kind::TlsRoute);
    let hostnames = vec(select(vec!["*.x", "a.x", "b.y"]), least..3);
    let body = (hostnames, rules).prop_map(|(hostnames, rules)| {
        let parents = json!([{ "name": "h", "namespace": "a" }]);
        json!({ "spec": { "parentRefs": parents, "hostnames": hostnames, "rules": rules } })
    });
    object(kind, body)
}

/// A Gateway that takes all routes.
const OPEN_GATEWAY: (Kind, &str) = (
    Kind::Gateway,
    r#"{"metadata":{"name":"h","namespace":"a"},"spec":{"gatewayClassName":"ours","listeners":[
        {"name":"l","port":82,"protocol":"HTTP","allowedRoutes":{"namespaces":{"from":"All"}}},
        {"name":"m","port":443,"protocol":"TLS","tls":{"mode":"Passthrough"},"allowedRoutes":{"namespaces":{"from":"All"}}},
        {"name":"n","port":82,"protocol":"HTTP","hostname":"*.x","allowedRoutes":{"namespaces":{"from":"All"}}},
        {"name":"o","port":83,"protocol":"TCP","allowedRoutes":{"namespaces":{"from":"All"}}},
        {"name":"p","port":83,"protocol":"UDP","allowedRoutes":{"namespaces":{"from":"All"}}}]}}"#,
);

/// A Service for every protocol.
const OPEN_SERVICE: (Kind, &str) = (
    Kind::Service,
    r#"{"metadata":{"name":"y","namespace":"a"},"spec":{"ports":[
        {"port":80},{"port":80,"protocol":"UDP"},{"port":8080,"appProtocol":"kubernetes.io/h2c"}]}}"#,
);

/// A grant for all that routes of the other namespace refer to.
const OPEN_GRANT: (Kind, &str) = (
    Kind::ReferenceGrant,
    r#"{"metadata":{"name":"o","namespace":"a"},"spec":{"to":[{"group":"","kind":"Service"}],"from":[
        {"group":"gateway.networking.k8s.io","kind":"HTTPRoute","namespace":"b"},
        {"group":"gateway.networking.k8s.io","kind":"GRPCRoute","namespace":"b"},
        {"group":"gateway.networking.k8s.io","kind":"TLSRoute","namespace":"b"},
        {"group":"gateway.networking.k8s.io","kind":"TCPRoute","namespace":"b"},
        {"group":"gateway.networking.k8s.io","kind":"UDPRoute","namespace":"b"}]}}"#,
);

const SELECTS_X: &str = r#"{"spec":{"type":"EndpointSelector","port":{"number":80},"endpointSelector":{"matchLabels":{"app":"x"}}}}"#;
const TO_X_BACKEND: &str = r#"{"spec":{"parentRefs":[{"name":"g"}],"rules":[{"backendRefs":[{"group":"gateway.networking.x-k8s.io","kind":"XBackend","name":"x"}]}]}}"#;

/// An XBackend that selects pods, and a route to it in the [`world`].
pub(super) fn selected() -> impl Iterator<Item = Resource> {
    [(Kind::XBackend, "x", SELECTS_X), (Kind::HttpRoute, "r", TO_X_BACKEND)].into_iter().map(
        |(kind, name, body)| {
            let mut body: Value = serde_json::from_str(body).expect("it is JSON");
            body["metadata"] = json!({ "name": name, "namespace": "a", "uid": "x" });
            read(kind, body)
        },
    )
}

/// What has to do with the pods that XBackends select: these, routes to them, Services and their EndpointSlices.
pub(super) fn selecting() -> impl Strategy<Value = Resource> {
    const SELECTS_NOBODY: &str = r#"{"spec":{"type":"EndpointSelector","port":{"number":80},"endpointSelector":{"matchLabels":{"app":"none"}}}}"#;
    const SELECTS_NOTHING: &str = r#"{"spec":{"type":"EndpointSelector","port":{"number":80},"endpointSelector":{"matchLabels":{}}}}"#;
    let x_backend = prop_oneof![
        6 => one_of(&[SELECTS_X]),
        2 => one_of(&[SELECTS_NOBODY]),
        1 => one_of(&[SELECTS_NOTHING]),
        2 => x_backend(),
    ];
    const TO_SERVICE: &str = r#"{"spec":{"parentRefs":[{"name":"g"}],"rules":[{"backendRefs":[{"name":"x","port":80}]}]}}"#;
    let service = one_of(&[
        r#"{"spec":{"selector":{"app":"x"},"ports":[{"port":80}]}}"#,
        r#"{"spec":{"selector":{"app":"x"},"ports":[{"port":80}]}}"#,
        r#"{"spec":{"selector":{"app":"y"},"ports":[{"port":80}]}}"#,
        r#"{"spec":{"selector":{"app":"x"},"type":"ExternalName","externalName":"a.example"}}"#,
        r#"{"spec":{"ports":[{"port":80}]}}"#,
    ]);
    prop_oneof![
        3 => object(Kind::XBackend, x_backend),
        3 => object(Kind::HttpRoute, one_of(&[TO_X_BACKEND, TO_SERVICE])),
        3 => object(Kind::Service, service),
        2 => object(Kind::EndpointSlice, slice()),
    ]
}

/// An object with metadata around its body.
fn object(kind: Kind, body: impl Strategy<Value = Value>) -> impl Strategy<Value = Resource> {
    let label = select(vec!["x", "y", "gone"]);
    let created = weighted(0.3, select(vec!["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]));
    (name(kind), body, 1..3_i64, created, label).prop_map(
        move |(name, mut body, generation, created, label)| {
            let mut metadata = json!({
                "name": name.name,
                "namespace": name.namespace,
                "generation": generation,
                "labels": match kind {
                    Kind::EndpointSlice => json!({ "kubernetes.io/service-name": label }),
                    Kind::Namespace => json!({ "team": label }),
                    _ => json!({}),
                },
            });
            if let Some(created) = created {
                metadata["creationTimestamp"] = json!(created);
            }
            // Not all come from an API server.
            if [Kind::Gateway, Kind::XBackend].contains(&kind) && label != "gone" {
                metadata["uid"] = json!(label);
            }
            body["metadata"] = metadata;
            read(kind, body)
        },
    )
}

fn read(kind: Kind, value: Value) -> Resource {
    fn typed<T: serde::de::DeserializeOwned + Into<Resource>>(value: Value) -> Resource {
        serde_json::from_value::<T>(value).expect("generated objects fit their type").into()
    }
    match kind {
        Kind::GatewayClass => typed::<gwapi_model::GatewayClass>(value),
        Kind::Gateway => typed::<gwapi_model::Gateway>(value),
        Kind::ListenerSet => typed::<gwapi_model::ListenerSet>(value),
        Kind::HttpRoute => typed::<gwapi_model::HttpRoute>(value),
        Kind::GrpcRoute => typed::<gwapi_model::GrpcRoute>(value),
        Kind::TlsRoute => typed::<gwapi_model::TlsRoute>(value),
        Kind::TcpRoute => typed::<gwapi_model::TcpRoute>(value),
        Kind::UdpRoute => typed::<gwapi_model::UdpRoute>(value),
        Kind::BackendTlsPolicy => typed::<gwapi_model::BackendTlsPolicy>(value),
        Kind::XBackend => typed::<gwapi_model::XBackend>(value),
        Kind::BackendTrafficPolicy => typed::<gwapi_model::BackendTrafficPolicy>(value),
        Kind::TelemetryPolicy => typed::<gwapi_model::TelemetryPolicy>(value),
        Kind::ReferenceGrant => typed::<gwapi_model::ReferenceGrant>(value),
        Kind::GatewayParameters => typed::<gwapi_model::GatewayParameters>(value),
        Kind::Namespace => typed::<gwapi_model::Namespace>(value),
        Kind::Service => typed::<gwapi_model::Service>(value),
        Kind::EndpointSlice => typed::<gwapi_model::EndpointSlice>(value),
        Kind::Endpoints => typed::<gwapi_model::Endpoints>(value),
        Kind::Secret => typed::<Secret>(value),
        Kind::ConfigMap => typed::<gwapi_model::ConfigMap>(value),
        Kind::ClusterTrustBundle => typed::<gwapi_model::ClusterTrustBundle>(value),
    }
}

/// One of some JSON texts.
fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(texts).prop_map(|text| serde_json::from_str(text).expect("it is JSON"))
}

/// An object whose members may be absent (`null`).
fn without_nulls(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}

fn gateway_class() -> impl Strategy<Value = Value> {
    let controller = prop_oneof![
        4 => Just("gwapi.dev/gateway-controller"),
        1 => Just("example.com/other"),
    ];
    let parameters = weighted(
        0.3,
        one_of(&[
            r#"{"group":"gwapi.dev","kind":"GatewayParameters","name":"q","namespace":"a"}"#,
            r#"{"group":"gwapi.dev","kind":"GatewayParameters","name":"q","namespace":"b"}"#,
            r#"{"group":"gwapi.dev","kind":"GatewayParameters","name":"q"}"#,
            r#"{"group":"gwapi.dev","kind":"Parameters","name":"p"}"#,
            r#"{"group":"example.com","kind":"Parameters","name":"p"}"#,
        ]),
    );
    (controller, parameters).prop_map(|(controller, parameters)| {
        json!({ "spec": without_nulls(json!({
            "controllerName": controller,
            "parametersRef": parameters,
        })) })
    })
}

fn gateway() -> impl Strategy<Value = Value> {
    let class = select(vec!["ours", "ours", "ours", "theirs", "broken", "none"]);
    let allowed_listeners = of(one_of(&[
        r#"{}"#,
        r#"{"namespaces":{"from":"All"}}"#,
        r#"{"namespaces":{"from":"All"}}"#,
        r#"{"namespaces":{"from":"Same"}}"#,
        r#"{"namespaces":{"from":"None"}}"#,
        r#"{"namespaces":{"from":"Selector","selector":{"matchLabels":{"team":"x"}}}}"#,
        r#"{"namespaces":{"from":"Unknown"}}"#,
    ]));
    let address = one_of(&[
        r#"{"value":"10.0.0.1"}"#,
        r#"{"value":"10.0.0.2"}"#,
        r#"{"value":"::1"}"#,
        r#"{"type":"IPAddress"}"#,
        r#"{"type":"Hostname","value":"a.example"}"#,
        r#"{"value":"224.0.0.1"}"#,
    ]);
    let extra = weighted(
        0.2,
        one_of(&[
            r#"{"infrastructure":{"parametersRef":
                {"group":"gwapi.dev","kind":"GatewayParameters","name":"q"}}}"#,
            r#"{"infrastructure":{"parametersRef":{"group":"","kind":"ConfigMap","name":"c"}}}"#,
            r#"{"tls":{"backend":{"clientCertificateRef":{"name":"t"}}}}"#,
            r#"{"tls":{"backend":{"clientCertificateRef":{"name":"t","namespace":"b"}}}}"#,
            r#"{"tls":{"frontend":{"default":{"validation":{"caCertificateRefs":[]}}}}}"#,
            r#"{"tls":{"frontend":{"default":{"validation":{"caCertificateRefs":
                [{"group":"","kind":"ConfigMap","name":"c"}]}}}}}"#,
            r#"{"tls":{"frontend":{"default":{"validation":{"mode":"AllowInsecureFallback",
                "caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"c","namespace":"b"},
                {"group":"","kind":"Secret","name":"t"}]}},"perPort":[{"port":443,"tls":{}}]}}}"#,
            r#"{"tls":{"frontend":{"default":{"validation":{"caCertificateRefs":
                [{"group":"certificates.k8s.io","kind":"ClusterTrustBundle","name":"ca"}]}}}}}"#,
            r#"{"tls":{"frontend":{"default":{},"perPort":[{"port":444,"tls":{"validation":
                {"mode":"AllowInsecureFallback","caCertificateRefs":[]}}}]}}}"#,
            r#"{"defaultScope":"All"}"#,
            r#"{"defaultScope":"All"}"#,
            r#"{"defaultScope":"Some"}"#,
        ]),
    );
    (class, listeners(), vec(address, 0..2), allowed_listeners, extra).prop_map(
        |(class, listeners, addresses, allowed_listeners, extra)| {
            let mut spec = without_nulls(json!({
                "gatewayClassName": class,
                "listeners": listeners,
                "addresses": addresses,
                "allowedListeners": allowed_listeners,
            }));
            for (key, value) in extra.iter().flat_map(|extra| extra.as_object()).flatten() {
                spec[key] = value.clone();
            }
            json!({ "spec": spec })
        },
    )
}

fn listener_set() -> impl Strategy<Value = Value> {
    let gateway = (
        select(vec!["g", "g", "h"]),
        weighted(0.6, select(vec!["a", "b"])),
        weighted(0.05, Just("Service")),
    );
    (gateway, listeners()).prop_map(|((name, namespace, kind), listeners)| {
        let parent = json!({ "name": name, "namespace": namespace, "kind": kind });
        json!({ "spec": { "parentRef": without_nulls(parent), "listeners": listeners } })
    })
}

fn listeners() -> impl Strategy<Value = Vec<Value>> {
    vec(listener(), 1..4).prop_map(|mut listeners| {
        for (index, listener) in listeners.iter_mut().enumerate() {
            // The fourth name repeats the first: such objects get past no API server.
            listener["name"] = json!(["l", "m", "n", "l"][index]);
        }
        listeners
    })
}

fn listener() -> impl Strategy<Value = Value> {
    let secret = one_of(&[
        r#"{"name":"t"}"#,
        r#"{"name":"t"}"#,
        r#"{"name":"t","namespace":"b"}"#,
        r#"{"name":"missing"}"#,
        r#"{"kind":"ConfigMap","name":"c"}"#,
    ]);
    let protocol = prop_oneof![
        12 => Just(("HTTP", Value::Null)).boxed(),
        10 => vec(secret, 0..3).prop_map(|refs| ("HTTPS", json!({ "certificateRefs": refs }))).boxed(),
        2 => select(vec!["Passthrough", "Terminate", "Other"])
            .prop_map(|mode| ("TLS", json!({ "mode": mode, "certificateRefs": [{ "name": "t" }] })))
            .boxed(),
        3 => select(vec!["TLS", "TCP", "TCP", "UDP", "UDP", "example.com/own"])
            .prop_map(|protocol| (protocol, Value::Null)).boxed(),
    ];
    let namespaces = of(one_of(&[
        r#"{"from":"All"}"#,
        r#"{"from":"All"}"#,
        r#"{"from":"Same"}"#,
        r#"{"from":"Selector","selector":{"matchLabels":{"team":"x"}}}"#,
        r#"{"from":"Selector","selector":{"matchExpressions":[{"key":"team","operator":"NotIn","values":["y"]}]}}"#,
        r#"{"from":"Selector"}"#,
        r#"{"from":"Unknown"}"#,
    ]));
    let kinds = weighted(
        0.15,
        one_of(&[
            r#"[{"kind":"HTTPRoute"},{"kind":"TLSRoute"}]"#,
            r#"[{"kind":"GRPCRoute"}]"#,
            r#"[{"kind":"TCPRoute"},{"kind":"UDPRoute"}]"#,
        ]),
    );
    let filters = weighted(
        0.25,
        one_of(&[
            r#"{"requests":[{"type":"ExternalAuth","externalAuth":{"protocol":"HTTP","http":{},"backendRef":{"name":"x","port":80}}}]}"#,
            r#"{"requests":[{"type":"ExternalAuth","externalAuth":{"protocol":"GRPC","grpc":{},"backendRef":{"name":"y","namespace":"b","port":80}}}]}"#,
            r#"{"requests":[{"type":"ExternalAuth","externalAuth":{"protocol":"GRPC","grpc":{},"backendRef":{"name":"x","port":80}}},{"type":"ExtensionRef","extensionRef":{"group":"e","kind":"K","name":"n"}}]}"#,
            r#"{"requests":[{"type":"Other"}]}"#,
        ]),
    );
    (select(vec![80, 81, 443]), protocol, hostname(), namespaces, kinds, filters).prop_map(
        |(port, (protocol, tls), hostname, namespaces, kinds, filters)| {
            let allowed = without_nulls(json!({ "namespaces": namespaces, "kinds": kinds }));
            without_nulls(json!({
                "name": "",
                "port": port,
                "protocol": protocol,
                "tls": tls,
                "hostname": hostname,
                "allowedRoutes": allowed,
                "filters": filters,
            }))
        },
    )
}

fn hostname() -> impl Strategy<Value = Option<&'static str>> {
    of(select(vec!["*.x", "a.x", "*.a.x", "b.y", "A.x"]))
}

fn route(rule: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let named = prop_oneof![
        12 => select(vec!["g", "g", "h"]).prop_map(|name| (name, None)),
        4 => select(vec!["k", "k", "m"]).prop_map(|name| (name, Some("ListenerSet"))),
        1 => Just(("g", Some("Service"))),
    ];
    let parent = (
        named,
        weighted(0.4, select(vec!["a", "b"])),
        weighted(0.3, select(vec!["l", "m", "none"])),
        weighted(0.2, select(vec![80, 443])),
    )
        .prop_map(|((name, kind), namespace, section, port)| {
            without_nulls(json!({
                "name": name,
                "namespace": namespace,
                "sectionName": section,
                "port": port,
                "kind": kind,
            }))
        });
    let hostnames = vec(select(vec!["*.x", "a.x", "b.y", "q.z", "10.0.0.1"]), 0..3);
    let default_gateways = weighted(0.2, select(vec!["All", "All", "None", "Some"]));
    (vec(parent, 0..3), hostnames, vec(rule, 0..3), default_gateways).prop_map(
        |(parents, hostnames, rules, default_gateways)| {
            json!({ "spec": without_nulls(json!({
                "parentRefs": parents,
                "hostnames": hostnames,
                "rules": rules,
                "useDefaultGateways": default_gateways,
            })) })
        },
    )
}

fn rule() -> impl Strategy<Value = Value> {
    let matching = one_of(&[
        r#"{}"#,
        r#"{"path":{"value":"/a/"}}"#,
        r#"{"path":{"type":"Exact","value":"/a"},"method":"GET"}"#,
        r#"{"path":{"type":"RegularExpression","value":"/v[0-9]+"}}"#,
        r#"{"path":{"type":"RegularExpression","value":"("}}"#,
        r#"{"headers":[{"name":"Foo","value":"1"},{"name":"foo","value":"2"}]}"#,
        r#"{"queryParams":[{"name":"q","value":"1"}]}"#,
    ]);
    let filter = one_of(&[
        r#"{"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"A","value":"1"}]}}"#,
        r#"{"type":"RequestRedirect","requestRedirect":{"scheme":"https"}}"#,
        r#"{"type":"RequestRedirect","requestRedirect":{"port":80}}"#,
        r#"{"type":"URLRewrite","urlRewrite":{"path":{"type":"ReplacePrefixMatch","replacePrefixMatch":"/b/"}}}"#,
        r#"{"type":"CORS","cors":{}}"#,
        r#"{"type":"RequestMirror","requestMirror":{"backendRef":{"name":"x","port":80}}}"#,
        r#"{"type":"RequestMirror","requestMirror":{"backendRef":{"name":"y","namespace":"b","port":80},"percent":10}}"#,
        r#"{"type":"ExternalAuth","externalAuth":{"protocol":"HTTP","http":{"path":"/a"},"backendRef":{"name":"x","port":80}}}"#,
        r#"{"type":"ExternalAuth","externalAuth":{"protocol":"GRPC","grpc":{},"backendRef":{"name":"y","namespace":"b","port":80}}}"#,
        r#"{"type":"ExtensionRef","extensionRef":{"group":"e","kind":"K","name":"n"}}"#,
    ]);
    // Two that exclude each other meet too seldom by chance.
    let clashing = ["RequestRedirect", "URLRewrite"].map(|of_type| json!({ "type": of_type }));
    let timeouts = weighted(0.2, one_of(&[r#"{"request":"1s"}"#, r#"{"backendRequest":"0s"}"#]));
    (
        weighted(0.3, select(vec!["one", "two"])),
        vec(matching, 0..3),
        prop_oneof![
            30 => Just(Vec::new()),
            10 => vec(filter, 1..3),
            1 => Just(clashing.to_vec()),
        ],
        vec(backend_ref(), 0..3),
        timeouts,
        weighted(0.2, one_of(&[r#"{"attempts":0}"#, r#"{"codes":[503,500],"backoff":"1s"}"#])),
    )
        .prop_map(|(name, matches, filters, backends, timeouts, retry)| {
            without_nulls(json!({
                "name": name,
                "matches": matches,
                "filters": filters,
                "backendRefs": backends,
                "timeouts": timeouts,
                "retry": retry,
            }))
        })
}

fn grpc_rule() -> impl Strategy<Value = Value> {
    let matching = one_of(&[
        r#"{}"#,
        r#"{"method":{"service":"p.S","method":"M"}}"#,
        r#"{"method":{"service":"p.S"}}"#,
        r#"{"method":{"method":"M"},"headers":[{"name":"Foo","value":"1"}]}"#,
        r#"{"method":{"type":"RegularExpression","service":"p[.].*"}}"#,
        r#"{"method":{"type":"RegularExpression","method":"("}}"#,
        r#"{"method":{"service":"/p.S/"}}"#,
        r#"{"method":{}}"#,
    ]);
    let filter = one_of(&[
        r#"{"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"A","value":"1"}]}}"#,
        r#"{"type":"RequestMirror","requestMirror":{"backendRef":{"name":"y","namespace":"b","port":80},"percent":10}}"#,
        r#"{"type":"URLRewrite","urlRewrite":{"hostname":"a.example"}}"#,
        r#"{"type":"ExtensionRef","extensionRef":{"group":"e","kind":"K","name":"n"}}"#,
    ]);
    (
        weighted(0.3, select(vec!["one", "two"])),
        vec(matching, 0..3),
        prop_oneof![3 => Just(Vec::new()), 1 => vec(filter, 1..3)],
        vec(backend_ref(), 0..3),
        weighted(0.2, session_persistence()),
    )
        .prop_map(|(name, matches, filters, backends, persistence)| {
            without_nulls(json!({
                "name": name,
                "matches": matches,
                "filters": filters,
                "backendRefs": backends,
                "sessionPersistence": persistence,
            }))
        })
}

/// Some of it can be honoured.
fn session_persistence() -> impl Strategy<Value = Value> {
    one_of(&[
        r#"{"type":"Cookie"}"#,
        r#"{"cookie":{"name":"s","lifetimeType":"Permanent"},"absoluteTimeout":"1h"}"#,
        r#"{"cookie":{"path":"/a"}}"#,
        r#"{"type":"Header","header":{"name":"X-Session"}}"#,
    ])
}

fn stream_rule() -> impl Strategy<Value = Value> {
    vec(backend_ref(), 0..3).prop_map(|backends| json!({ "backendRefs": backends }))
}

fn backend_ref() -> impl Strategy<Value = Value> {
    (
        select(vec!["x", "x", "y", "none"]),
        weighted(0.4, select(vec!["a", "b"])),
        weighted(0.95, select(vec![80, 80, 8080])),
        weighted(0.2, select(vec![0, 5])),
        weighted(0.25, select(vec!["Bucket", "XBackend", "XBackend", "XBackend", "XBackend"])),
    )
        .prop_map(|(name, namespace, port, weight, kind)| {
            let is_x_backend = kind == Some("XBackend");
            without_nulls(json!({
                "name": name,
                "namespace": namespace,
                "port": port.filter(|port| !is_x_backend || *port == 8080),
                "weight": weight,
                "kind": kind,
                "group": is_x_backend.then_some("gateway.networking.x-k8s.io"),
            }))
        })
}

fn x_backend() -> impl Strategy<Value = Value> {
    let target = one_of(&[
        r#"{"type":"EndpointSelector","endpointSelector":{"matchLabels":{"app":"x"}}}"#,
        r#"{"type":"EndpointSelector","endpointSelector":{"matchLabels":{"app":"x"}},"sessionPersistence":{"cookie":{}}}"#,
        r#"{"type":"EndpointSelector","endpointSelector":{"matchLabels":{"app":"none"}}}"#,
        r#"{"type":"ExternalHostname","externalHostname":{"hostname":"api.example.com"}}"#,
        r#"{"type":"ExternalHostname","externalHostname":{"hostname":"localhost"}}"#,
        r#"{"type":"ExternalHostname"}"#,
    ]);
    let tls = one_of(&[
        r#"{"mode":"None"}"#,
        r#"{"mode":"ServerOnly","validation":{"hostname":"a.example","wellKnownCACertificates":"System"}}"#,
        r#"{"mode":"ServerOnly","validation":{"hostname":"a.example","caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"c"}]}}"#,
        r#"{"mode":"ServerOnly","validation":{"hostname":"a.example","caCertificateRefs":[{"group":"certificates.k8s.io","kind":"ClusterTrustBundle","name":"ca"}]}}"#,
        r#"{"mode":"ServerOnly","validation":{"hostname":"a.example","caCertificateRefs":[{"group":"","kind":"Secret","name":"t"}]}}"#,
        r#"{"mode":"ClientAndServer","clientCertificateRef":{"name":"t"},"validation":{"hostname":"a.example","wellKnownCACertificates":"System"}}"#,
        r#"{"mode":"ClientAndServer","clientCertificateRef":{"name":"t"},"validation":{"hostname":"a.example","wellKnownCACertificates":"System"}}"#,
        r#"{"mode":"ClientAndServer","clientCertificateRef":{"name":"t"},"validation":{"hostname":"a.example","wellKnownCACertificates":"System"}}"#,
        r#"{"mode":"ClientAndServer","clientCertificateRef":{"name":"t","namespace":"b"},"validation":{"hostname":"a.example","wellKnownCACertificates":"System"}}"#,
        r#"{"mode":"ClientAndServer","clientCertificateRef":{"name":"t","namespace":"b"},"validation":{"hostname":"a.example","wellKnownCACertificates":"System"}}"#,
        r#"{"mode":"ClientAndServer"}"#,
    ]);
    let protocol = select(vec!["TCP", "HTTP", "HTTP2", "H2C", "GRPC", "WSS"]);
    (target, weighted(0.6, tls), weighted(0.3, protocol)).prop_map(|(mut spec, tls, protocol)| {
        spec["port"] = json!({ "number": 80 });
        spec["tls"] = json!(tls);
        spec["protocol"] = json!(protocol);
        json!({ "spec": without_nulls(spec) })
    })
}

fn grant() -> impl Strategy<Value = Value> {
    let kinds = RouteKind::ALL.into_iter().map(RouteKind::kind);
    let kinds =
        kinds.chain([Kind::Gateway, Kind::ListenerSet, Kind::TelemetryPolicy, Kind::XBackend]);
    let from = (select(kinds.collect::<Vec<_>>()), select(vec!["a", "b"])).prop_map(
        |(kind, namespace)| json!({ "group": kind.group(), "kind": kind.as_str(), "namespace": namespace }),
    );
    let to = one_of(&[
        r#"{"group":"","kind":"Service"}"#,
        r#"{"group":"","kind":"Service","name":"x"}"#,
        r#"{"group":"","kind":"Secret"}"#,
        r#"{"group":"","kind":"ConfigMap"}"#,
    ]);
    (vec(from, 1..3), vec(to, 1..3))
        .prop_map(|(from, to)| json!({ "spec": { "from": from, "to": to } }))
}

fn service() -> impl Strategy<Value = Value> {
    one_of(&[
        r#"{"spec":{"ports":[{"port":80}]}}"#,
        r#"{"spec":{"ports":[{"port":80,"name":"http"},{"port":8080,"name":"h2","appProtocol":"kubernetes.io/h2c"}]}}"#,
        r#"{"spec":{"ports":[{"port":80,"appProtocol":"example.com/own"}]}}"#,
        r#"{"spec":{"ports":[{"port":80,"protocol":"UDP"}]}}"#,
        r#"{"spec":{"selector":{"app":"x"},"ports":[{"port":80}]}}"#,
        r#"{"spec":{"type":"ExternalName","externalName":"a.example","ports":[{"port":80}]}}"#,
        r#"{"spec":{"type":"ExternalName","externalName":"169.254.169.254","ports":[{"port":80}]}}"#,
    ])
}

fn slice() -> impl Strategy<Value = Value> {
    let endpoint = one_of(&[
        r#"{"addresses":["10.1.0.1"]}"#,
        r#"{"addresses":["10.1.0.2"],"conditions":{"ready":true}}"#,
        r#"{"addresses":["10.1.0.3"],"conditions":{"ready":false}}"#,
        r#"{"addresses":["10.1.0.4"],"conditions":{"ready":false,"serving":true,"terminating":true}}"#,
        r#"{"addresses":["169.254.169.254"]}"#,
        r#"{"addresses":["::1"]}"#,
    ]);
    let ports = one_of(&[
        r#"[{"port":8000}]"#,
        r#"[{"name":"http","port":8000},{"name":"h2","port":8001}]"#,
    ]);
    (select(vec!["IPv4", "IPv6", "FQDN"]), vec(endpoint, 0..3), ports).prop_map(
        |(family, endpoints, ports)| {
            json!({ "addressType": family, "endpoints": endpoints, "ports": ports })
        },
    )
}

fn endpoints() -> impl Strategy<Value = Value> {
    one_of(&[
        r#"{"subsets":[{"addresses":[{"ip":"10.2.0.1"}],"ports":[{"port":9000}]}]}"#,
        r#"{"subsets":[{"notReadyAddresses":[{"ip":"10.2.0.1"}],"ports":[{"port":9000}]}]}"#,
    ])
}

fn parameters() -> impl Strategy<Value = Value> {
    one_of(&[
        r#"{"spec":{}}"#,
        r#"{"spec":{"service":{"type":"NodePort"},"workload":{"replicas":2}}}"#,
        r#"{"spec":{"service":{"type":"ClusterIP"}}}"#,
        r#"{"spec":{"service":{"nodePorts":[{"port":80,"nodePort":30080}]}}}"#,
        r#"{"spec":{"workload":{"autoscaling":{"minReplicas":3,"maxReplicas":1}}}}"#,
    ])
}

fn telemetry_policy() -> impl Strategy<Value = Value> {
    let target = prop_oneof![
        6 => select(vec!["g", "g", "h", "none"]).prop_map(
            |name| json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name })
        ),
        1 => Just(json!({ "group": "", "kind": "Service", "name": "x" })),
    ];
    let tracing = one_of(&[
        r#"{"mode":"Disabled"}"#,
        r#"{"mode":"Enabled","provider":{"backendRef":{"name":"x","port":80}}}"#,
        r#"{"mode":"Enabled","provider":{"backendRef":{"name":"x","port":80,"namespace":"b"}}}"#,
        r#"{"mode":"Enabled","provider":{"backendRef":{"name":"y","port":81},
            "headers":[{"name":"Authorization","value":"Bearer 1"}]},"serviceName":"web",
            "samplingRate":{"numerator":1},"parentBasedSampling":{"mode":"Enabled"},
            "attributes":[{"name":"a","sourceType":"Header","headerName":"X-User"},
                {"name":"b","sourceType":"Attribute","attributeKey":"db.system"}]}"#,
        r#"{"mode":"Enabled","provider":{"backendRef":{"name":"none","port":80}}}"#,
        r#"{"mode":"Enabled","provider":{"backendRef":{"name":"x"}}}"#,
        r#"{"mode":"Enabled","provider":{"backendRef":{"group":"example.com","kind":"Sink","name":"x"}}}"#,
        r#"{"mode":"Enabled","samplingRate":{"numerator":3,"denominator":2},
            "provider":{"backendRef":{"name":"x","port":80}}}"#,
        r#"{"mode":"Enabled","parentBasedSampling":{"mode":"Sometimes"},
            "provider":{"backendRef":{"name":"x","port":80}}}"#,
        r#"{"mode":"Enabled"}"#,
        r#"{"mode":"Sometimes"}"#,
    ]);
    (vec(target, 1..3), weighted(0.95, tracing)).prop_map(|(targets, tracing)| {
        json!({ "spec": without_nulls(json!({ "targetRefs": targets, "tracing": tracing })) })
    })
}

fn backend_traffic_policy() -> impl Strategy<Value = Value> {
    let target = prop_oneof![
        6 => select(vec!["x", "x", "y", "z"])
            .prop_map(|name| json!({ "group": "", "kind": "Service", "name": name })),
        1 => Just(json!({ "group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": "x" })),
    ];
    let constraint = of(one_of(&[
        r#"{}"#,
        r#"{"budget":{"percent":0},"minRetryRate":{"count":1,"interval":"5s"}}"#,
        r#"{"budget":{"percent":50,"interval":"1m"}}"#,
        r#"{"budget":{"percent":101}}"#,
        r#"{"budget":{"interval":"10ms"}}"#,
        r#"{"minRetryRate":{"count":0}}"#,
    ]));
    let persistence = weighted(0.2, one_of(&[r#"{"type":"Cookie","cookie":{}}"#]));
    (vec(target, 1..3), constraint, persistence).prop_map(|(targets, constraint, persistence)| {
        json!({ "spec": without_nulls(json!({
            "targetRefs": targets,
            "retryConstraint": constraint,
            "sessionPersistence": persistence,
        })) })
    })
}

fn backend_tls_policy() -> impl Strategy<Value = Value> {
    let target = one_of(&[
        r#"{"group":"","kind":"Service","name":"x"}"#,
        r#"{"group":"","kind":"Service","name":"x","sectionName":"http"}"#,
        r#"{"group":"","kind":"Service","name":"x","sectionName":"none"}"#,
        r#"{"group":"","kind":"Service","name":"y"}"#,
        r#"{"group":"","kind":"Service","name":"none"}"#,
        r#"{"group":"gateway.networking.x-k8s.io","kind":"XBackend","name":"x"}"#,
        r#"{"group":"example.com","kind":"Backend","name":"x"}"#,
    ]);
    let validation = one_of(&[
        r#"{"hostname":"a.example","wellKnownCACertificates":"System"}"#,
        r#"{"hostname":"a.example","wellKnownCACertificates":"example.com/own"}"#,
        r#"{"hostname":"a.example","caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"c"}]}"#,
        r#"{"hostname":"b.example","caCertificateRefs":[{"group":"","kind":"Secret","name":"t"},
            {"group":"","kind":"ConfigMap","name":"c"}]}"#,
        r#"{"hostname":"a.example","caCertificateRefs":[{"group":"","kind":"ConfigMap","name":"d"}],
            "subjectAltNames":[{"type":"URI","uri":"spiffe://a/b"}]}"#,
        r#"{"hostname":"a.example","wellKnownCACertificates":"System",
            "subjectAltNames":[{"type":"Hostname","hostname":"*.b.example"},{"type":"Email"}]}"#,
        r#"{"hostname":"no name","wellKnownCACertificates":"System"}"#,
        r#"{"hostname":"a.example","caCertificateRefs":
            [{"group":"certificates.k8s.io","kind":"ClusterTrustBundle","name":"ca"}]}"#,
    ]);
    (vec(target, 1..3), validation).prop_map(|(targets, validation)| {
        json!({ "spec": { "targetRefs": targets, "validation": validation } })
    })
}

fn cluster_trust_bundle() -> impl Strategy<Value = Value> {
    let pem = prop_oneof![4 => select(&CHAINS[..]), 1 => Just("no PEM at all"), 1 => Just("")];
    pem.prop_map(|pem| json!({ "spec": { "trustBundle": pem } }))
}

fn config_map() -> impl Strategy<Value = Value> {
    let pem = prop_oneof![
        4 => select(&CHAINS[..]).prop_map(Some),
        1 => Just(Some("no PEM at all")),
        1 => Just(None),
    ];
    pem.prop_map(|pem| match pem {
        Some(pem) => json!({ "data": { "ca.crt": pem } }),
        None => json!({}),
    })
}

fn secret() -> impl Strategy<Value = Resource> {
    let part = |good: &'static [&'static str]| {
        prop_oneof![
            6 => select(good).prop_map(Some),
            1 => Just(Some("no PEM at all")),
            1 => Just(None),
        ]
    };
    let secret_type = weighted(0.9, Just("kubernetes.io/tls".to_owned()));
    (name(Kind::Secret), secret_type, part(&CHAINS), part(&KEYS)).prop_map(
        |(name, secret_type, chain, key)| {
            let mut data = BTreeMap::new();
            for (file, text) in [("tls.crt", chain), ("tls.key", key)] {
                if let Some(text) = text {
                    data.insert(file.to_owned(), SecretBytes::new(text.into()));
                }
            }
            let metadata = gwapi_model::ObjectMeta::namespaced(&name.namespace, &name.name);
            Resource::from(Secret { metadata, secret_type, data })
        },
    )
}
