//! Conversions from and to the types of `gateway-api` and `k8s-openapi`.
#![cfg(feature = "kubernetes")]

use std::error::Error;
use std::fmt::Debug;

use gateway_api::{
    backendtlspolicies, gatewayclasses, gateways, grpcroutes, httproutes, listenersets,
    referencegrants,
};
use gwapi_model::kubernetes::{ConversionError, resource_from_json};
use gwapi_model::{
    BackendTlsPolicy, ConfigMap, EndpointSlice, Endpoints, Gateway, GatewayClass, GrpcRoute,
    HttpRoute, Kind, ListenerSet, Namespace, ObjectMeta, PathMatchType, ReferenceGrant, Resource,
    Secret, SecretBytes, Service,
};
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::discovery::v1 as discovery_v1;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Reads an object of ours, checks that the way to the other type and back changes nothing, and
/// hands the other type out.
fn round_trip<Ours, Theirs>(object: Value) -> Theirs
where
    Ours: DeserializeOwned + Serialize + PartialEq + Debug,
    Theirs: for<'a> TryFrom<&'a Ours, Error = ConversionError>,
    for<'a> Ours: TryFrom<&'a Theirs, Error = ConversionError>,
{
    let ours: Ours = serde_json::from_value(object.clone()).expect("an object of ours");
    let written = serde_json::to_value(&ours).expect("ours as JSON");
    assert_eq!(written, object, "the model keeps every field of the example");
    let theirs = Theirs::try_from(&ours).expect("an object that the other type can hold");
    assert_eq!(Ours::try_from(&theirs).expect("an object that the model can hold"), ours);
    theirs
}

/// The field that a conversion out of the model says it would lose.
fn lost_field<Ours, Theirs>(object: Value) -> String
where
    Ours: DeserializeOwned,
    Theirs: for<'a> TryFrom<&'a Ours, Error = ConversionError> + Debug,
{
    let ours: Ours = serde_json::from_value(object).expect("an object of ours");
    match Theirs::try_from(&ours).expect_err("a field without a place") {
        ConversionError::Lost { field, .. } => field.to_string(),
        other => panic!("{other:?}"),
    }
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name, "namespace": "shop", "generation": 3,
        "labels": {"team": "shop"}, "annotations": {"note": "text"},
        "creationTimestamp": "2024-05-06T07:08:09Z",
    })
}

fn cluster_metadata(name: &str) -> Value {
    let mut metadata = metadata(name);
    metadata.as_object_mut().expect("fields").remove("namespace");
    metadata
}

#[test]
fn a_gateway_class_goes_both_ways() {
    let theirs: gatewayclasses::GatewayClass = round_trip::<GatewayClass, _>(json!({
        "metadata": cluster_metadata("gwapi"),
        "spec": {
            "controllerName": "gwapi.dev/gateway-controller", "description": "text",
            "parametersRef": {"group": "", "kind": "ConfigMap", "name": "c", "namespace": "n"},
        },
    }));
    assert_eq!(theirs.spec.controller_name, "gwapi.dev/gateway-controller");
    assert_eq!(theirs.metadata.generation, Some(3));
    assert_eq!(theirs.metadata.namespace, None);
}

fn gateway() -> Value {
    json!({
        "metadata": metadata("edge"),
        "spec": {
            "gatewayClassName": "gwapi",
            "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP", "hostname": "*.example.com"},
                {
                    "name": "https", "port": 65535, "protocol": "HTTPS",
                    "tls": {
                        "mode": "Terminate", "options": {"example.com/o": "v"},
                        "certificateRefs": [
                            {"group": "", "kind": "Secret", "name": "c", "namespace": "n"},
                        ],
                    },
                    "allowedRoutes": {
                        "namespaces": {"from": "Selector", "selector": {
                            "matchLabels": {"a": "b"},
                            "matchExpressions": [
                                {"key": "k", "operator": "In", "values": ["v"]},
                                {"key": "l", "operator": "Exists"},
                            ],
                        }},
                        "kinds": [{"group": "g", "kind": "HTTPRoute"}],
                    },
                },
                {"name": "own", "port": 1, "protocol": "example.com/own"},
            ],
            "addresses": [
                {"type": "IPAddress", "value": "192.0.2.1"}, {"type": "example.com/t"}, {},
            ],
            "infrastructure": {
                "labels": {"a": "b"}, "annotations": {"c": "d"},
                "parametersRef": {"group": "", "kind": "ConfigMap", "name": "c"},
            },
            "allowedListeners": {"namespaces": {"from": "None", "selector": {}}},
            "tls": {
                "backend": {"clientCertificateRef": {"name": "client"}},
                "frontend": {
                    "default": {},
                    "perPort": [{"port": 443, "tls": {"validation": {
                        "caCertificateRefs": [
                            {"group": "", "kind": "ConfigMap", "name": "ca", "namespace": "n"},
                        ],
                        "mode": "AllowInsecureFallback",
                    }}}],
                },
            },
        },
    })
}

#[test]
fn a_gateway_goes_both_ways() {
    let theirs: gateways::Gateway = round_trip::<Gateway, _>(gateway());
    assert_eq!(theirs.spec.listeners.len(), 3);
    assert_eq!(theirs.spec.listeners[1].port, 65535);
    let tls = theirs.spec.listeners[1].tls.as_ref().expect("TLS settings");
    assert_eq!(tls.mode, Some(gateways::GatewayListenersTlsMode::Terminate));
}

#[test]
fn listener_sets_have_a_counterpart_and_take_none_that_they_would_lose() {
    let set = json!({
        "metadata": metadata("more"),
        "spec": {
            "parentRef": {
                "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra",
                "name": "edge",
            },
            "listeners": gateway()["spec"]["listeners"],
        },
    });
    let theirs: listenersets::ListenerSet = round_trip::<ListenerSet, _>(set.clone());
    assert_eq!(theirs.spec.parent_ref.name, "edge");
    assert_eq!(theirs.spec.listeners.len(), 3);
    let mut lossy = set;
    lossy["spec"]["listeners"][0]["filters"] = json!({"requests": [{"type": "ExtensionRef"}]});
    let field = lost_field::<ListenerSet, listenersets::ListenerSet>(lossy);
    assert_eq!(field, "spec.listeners[0].filters");
}

#[test]
fn what_a_gateway_would_lose_is_named() {
    for (pointer, value, field) in [
        ("/spec/defaultScope", json!("All"), "spec.defaultScope"),
        ("/spec/addresses/1/routability", json!("Cluster"), "spec.addresses[1].routability"),
        (
            "/spec/listeners/0/filters",
            json!({"requests": [{"type": "ExtensionRef"}]}),
            "spec.listeners[0].filters",
        ),
    ] {
        let mut object = gateway();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("the parent")[name] = value;
        assert_eq!(lost_field::<Gateway, gateways::Gateway>(object), field);
    }
}

fn http_route() -> Value {
    let backend =
        json!({"group": "", "kind": "Service", "name": "b", "namespace": "n", "port": 80});
    let headers = json!({
        "set": [{"name": "a", "value": "1"}], "add": [{"name": "b", "value": "2"}], "remove": ["c"],
    });
    let filters = json!([
        {"type": "RequestHeaderModifier", "requestHeaderModifier": headers},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": headers},
        {"type": "RequestMirror", "requestMirror": {
            "backendRef": backend, "fraction": {"numerator": 1, "denominator": 3},
        }},
        {"type": "RequestMirror", "requestMirror": {"backendRef": backend, "percent": 7}},
        {"type": "RequestRedirect", "requestRedirect": {
            "scheme": "https", "hostname": "h", "port": 8443, "statusCode": 308,
            "path": {"type": "ReplaceFullPath", "replaceFullPath": "/"},
        }},
        {"type": "URLRewrite", "urlRewrite": {
            "hostname": "h", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": ""},
        }},
        {"type": "CORS", "cors": {
            "allowOrigins": ["*"], "allowCredentials": false, "allowMethods": ["*"],
            "allowHeaders": ["a"], "exposeHeaders": ["b"], "maxAge": 7,
        }},
        {"type": "ExtensionRef", "extensionRef": {"group": "g", "kind": "K", "name": "n"}},
    ]);
    let mut weighted = backend.clone();
    weighted["weight"] = json!(0);
    weighted["filters"] = filters.clone();
    json!({
        "metadata": metadata("shop"),
        "spec": {
            "parentRefs": [
                {"group": "g", "kind": "K", "namespace": "n", "name": "p", "sectionName": "s", "port": 80},
                {"name": "q"},
            ],
            "hostnames": ["shop.example.com"],
            "rules": [
                {
                    "name": "first",
                    "matches": [
                        {
                            "path": {"type": "PathPrefix", "value": "/a"},
                            "headers": [{"type": "RegularExpression", "name": "a", "value": ".*"}],
                            "queryParams": [{"name": "q", "value": "x"}],
                            "method": "PATCH",
                        },
                        {"path": {}},
                    ],
                    "filters": filters,
                    "backendRefs": [weighted, {"name": "plain"}],
                    "timeouts": {"request": "1h30m", "backendRequest": "0s"},
                },
                {},
            ],
        },
    })
}

#[test]
fn an_http_route_goes_both_ways() {
    let theirs: httproutes::HttpRoute = round_trip::<HttpRoute, _>(http_route());
    let rules = theirs.spec.rules.expect("rules");
    assert_eq!(rules[0].filters.as_ref().map(Vec::len), Some(8));
    let timeouts = rules[0].timeouts.as_ref().expect("timeouts");
    assert_eq!(timeouts.request.as_deref(), Some("1h30m"));
    assert_eq!(rules[1], httproutes::HttpRouteRules::default());
}

#[test]
fn a_grpc_route_goes_both_ways_and_names_what_it_would_lose() {
    let mut object = json!({
        "metadata": {"name": "r", "namespace": "n"},
        "spec": {
            "parentRefs": [{"name": "g", "sectionName": "https"}],
            "hostnames": ["a.example.com"],
            "rules": [{
                "name": "named",
                "matches": [{
                    "method": {"type": "RegularExpression", "service": "a.*", "method": "Get.*"},
                    "headers": [{"name": "v", "value": "1", "type": "Exact"}],
                }],
                "filters": [
                    {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}},
                    {"type": "RequestMirror",
                     "requestMirror": {"backendRef": {"name": "m", "port": 1}}},
                ],
                "backendRefs": [{"name": "b", "port": 1, "weight": 2}],
            }],
        },
    });
    let theirs: grpcroutes::GrpcRoute = round_trip::<GrpcRoute, _>(object.clone());
    let rules = theirs.spec.rules.expect("rules");
    assert_eq!(rules[0].filters.as_ref().map(Vec::len), Some(2));

    object["spec"]["rules"][0]["sessionPersistence"] = json!({"cookie": {}});
    let lost = lost_field::<GrpcRoute, grpcroutes::GrpcRoute>(object);
    assert_eq!(lost, "spec.rules[0].sessionPersistence");
}

#[test]
fn rules_that_are_absent_and_rules_that_are_none_stay_apart() {
    for spec in [json!({}), json!({"rules": []})] {
        let theirs: httproutes::HttpRoute =
            round_trip::<HttpRoute, _>(json!({"metadata": {"name": "r"}, "spec": spec}));
        assert_eq!(theirs.spec.rules.is_some(), spec.get("rules").is_some());
    }
}

#[test]
fn what_an_http_route_would_lose_is_named() {
    for (pointer, value, field) in [
        ("/spec/useDefaultGateways", json!("All"), "spec.useDefaultGateways"),
        ("/spec/rules/1/retry", json!({"attempts": 2}), "spec.rules[1].retry"),
        (
            "/spec/rules/0/sessionPersistence",
            json!({"cookie": {}}),
            "spec.rules[0].sessionPersistence",
        ),
        (
            "/spec/rules/0/filters/0/externalAuth",
            json!({"protocol": "HTTP", "backendRef": {"name": "a", "port": 80}}),
            "spec.rules[0].filters[0].externalAuth",
        ),
    ] {
        let mut object = http_route();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("the parent")[name] = value;
        assert_eq!(lost_field::<HttpRoute, httproutes::HttpRoute>(object), field);
    }
}

#[test]
fn a_value_that_the_other_type_does_not_know_is_an_error() {
    for (pointer, value) in [
        ("/spec/rules/0/matches/0/path/type", "Glob"),
        ("/spec/rules/0/matches/0/method", "FETCH"),
        ("/spec/rules/0/filters/0/type", "ExternalAuth"),
        ("/spec/rules/0/filters/4/requestRedirect/scheme", "ftp"),
    ] {
        let mut object = http_route();
        *object.pointer_mut(pointer).expect("a value to change") = json!(value);
        let ours: HttpRoute = serde_json::from_value(object).expect("the model keeps any value");
        let error = httproutes::HttpRoute::try_from(&ours).expect_err("a closed enumeration");
        assert_eq!(error.to_string(), "HTTPRoute holds what the other type cannot");
        let cause = error.source().expect("a cause").to_string();
        assert!(cause.contains(value), "{cause}");
    }
}

#[test]
fn a_value_that_the_other_type_does_not_know_is_read_from_json() {
    // RT-12: an object as an API server of a later version sends it.
    let object = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "n", "uid": "u", "labels": null},
        "spec": {
            "hostnames": null, "later": {"field": 1},
            "rules": [{"matches": [{"path": {"type": "Glob", "value": "/*"}}]}],
        },
        "status": {"parents": []},
    });
    let resource = resource_from_json(Kind::HttpRoute, object).expect("an HTTPRoute");
    let Resource::HttpRoute(route) = &resource else { panic!("{resource:?}") };
    let rules = route.spec.rules.as_ref().expect("rules");
    let path = rules[0].matches[0].path.as_ref().expect("a path");
    assert_eq!(path.match_type, Some(PathMatchType::from("Glob")));
}

#[test]
fn every_kind_is_read_from_json_with_nulls_as_absent() {
    let spec = |kind| match kind {
        Kind::GatewayClass => json!({"spec": {"controllerName": "c", "description": null}}),
        Kind::Gateway => json!({"spec": {"gatewayClassName": "c", "listeners": [], "tls": null}}),
        Kind::ListenerSet => {
            json!({"spec": {"parentRef": {"name": "n", "kind": null}, "listeners": []}})
        }
        Kind::BackendTlsPolicy => {
            json!({"spec": {"targetRefs": [], "validation": {"hostname": "h", "caCertificateRefs": null}}})
        }
        Kind::BackendTrafficPolicy => {
            json!({"spec": {"targetRefs": [], "retryConstraint": {"budget": null}}})
        }
        Kind::TelemetryPolicy => {
            json!({"spec": {"targetRefs": [], "tracing": {"mode": null, "attributes": null}}})
        }
        Kind::XBackend => {
            json!({"spec": {"type": "EndpointSelector", "port": {"number": 80}, "tls": null}})
        }
        Kind::ReferenceGrant => json!({"spec": {"from": [], "to": []}}),
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => {
            json!({"spec": {"parentRefs": null}})
        }
        Kind::ClusterTrustBundle => json!({"spec": {"trustBundle": null}}),
        Kind::EndpointSlice => json!({"addressType": "IPv4", "endpoints": null, "ports": null}),
        Kind::Endpoints => json!({"subsets": null}),
        _ => json!({"spec": null, "data": null}),
    };
    for &kind in Kind::ALL {
        let mut object = spec(kind);
        object["metadata"] = json!({"name": "n", "creationTimestamp": null});
        let resource = resource_from_json(kind, object).expect("an object");
        assert_eq!(resource.kind(), kind);
        let error = resource_from_json(kind, json!({})).expect_err("no metadata");
        assert!(matches!(error, ConversionError::Unreadable { kind: of, .. } if of == kind));
    }
}

#[test]
fn a_backend_tls_policy_goes_both_ways() {
    let theirs: backendtlspolicies::BackendTlsPolicy = round_trip::<BackendTlsPolicy, _>(json!({
        "metadata": metadata("policy"),
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "s", "sectionName": "https"}],
            "validation": {
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                "hostname": "h.example.com",
                "subjectAltNames": [
                    {"type": "Hostname", "hostname": "a.example.com"},
                    {"type": "URI", "uri": "spiffe://a/b"},
                ],
            },
            "options": {"example.com/a": "b"},
        },
    }));
    assert_eq!(theirs.spec.target_refs[0].section_name.as_deref(), Some("https"));
}

#[test]
fn a_reference_grant_goes_both_ways() {
    let theirs: referencegrants::ReferenceGrant = round_trip::<ReferenceGrant, _>(json!({
        "metadata": metadata("grant"),
        "spec": {
            "from": [{"group": "g", "kind": "K", "namespace": "n"}],
            "to": [{"group": "", "kind": "Secret", "name": "s"}, {"group": "", "kind": "Service"}],
        },
    }));
    assert_eq!(theirs.spec.to[0].name.as_deref(), Some("s"));
}

#[test]
fn core_kinds_go_both_ways() {
    let namespace: core_v1::Namespace =
        round_trip::<Namespace, _>(json!({"metadata": cluster_metadata("shop")}));
    assert_eq!(namespace.metadata.name.as_deref(), Some("shop"));

    let service: core_v1::Service = round_trip::<Service, _>(json!({
        "metadata": metadata("web"),
        "spec": {
            "type": "ClusterIP", "clusterIP": "None", "externalName": "e", "selector": {"a": "b"},
            "ports": [
                {"name": "a", "port": 80, "targetPort": "web", "protocol": "TCP", "appProtocol": "p"},
                {"port": 81, "targetPort": 8081},
                {"port": 82},
            ],
        },
    }));
    assert_eq!(service.spec.and_then(|spec| spec.ports).map(|ports| ports.len()), Some(3));

    let slice: discovery_v1::EndpointSlice = round_trip::<EndpointSlice, _>(json!({
        "metadata": metadata("web-1"),
        "addressType": "IPv6",
        "endpoints": [
            {
                "addresses": ["2001:db8::1"], "targetRef": {"name": "pod"},
                "conditions": {"ready": false, "serving": true, "terminating": true},
            },
            {"addresses": ["2001:db8::2"]},
        ],
        "ports": [{"name": "a", "port": 80, "protocol": "TCP"}, {}],
    }));
    assert_eq!(slice.address_type, "IPv6");

    let endpoints: core_v1::Endpoints = round_trip::<Endpoints, _>(json!({
        "metadata": metadata("web"),
        "subsets": [{
            "addresses": [{"ip": "192.0.2.1", "targetRef": {"name": "pod"}}],
            "notReadyAddresses": [{"ip": "192.0.2.2"}],
            "ports": [{"name": "a", "port": 80, "protocol": "TCP"}],
        }],
    }));
    assert_eq!(endpoints.subsets.map(|subsets| subsets.len()), Some(1));

    let config_map: core_v1::ConfigMap = round_trip::<ConfigMap, _>(json!({
        "metadata": metadata("ca"), "data": {"ca.crt": "text"},
    }));
    assert_eq!(config_map.data.map(|data| data.len()), Some(1));
}

#[test]
fn what_the_model_does_not_keep_is_forgotten_on_the_way_in() {
    let theirs: core_v1::Service = serde_json::from_value(json!({
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1",
            "finalizers": ["f"], "managedFields": [{"manager": "m"}],
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u"}],
        },
        "spec": {"ports": [{"port": 80, "nodePort": 30080}], "sessionAffinity": "None"},
        "status": {"loadBalancer": {}},
    }))
    .expect("a Service of theirs");
    let ours = Service::try_from(theirs).expect("a Service");
    assert_eq!(
        serde_json::to_value(&ours).expect("ours as JSON"),
        json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"ports": [{"port": 80}]},
        }),
    );
}

#[test]
fn the_uid_is_kept_of_what_something_is_made_for() {
    let object = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "4d2a"},
        "spec": {"gatewayClassName": "gwapi", "listeners": []},
    });
    let read = resource_from_json(Kind::Gateway, object.clone()).expect("a Gateway");
    assert_eq!(read.metadata().uid.as_ref().map(|uid| &***uid), Some("4d2a"));
    let theirs: gateways::Gateway = serde_json::from_value(object.clone()).expect("a Gateway");
    let ours = Gateway::try_from(theirs).expect("a Gateway");
    assert_eq!(ours.metadata.uid.as_ref().map(|uid| &***uid), Some("4d2a"));
    let config_map = resource_from_json(Kind::ConfigMap, object).expect("a ConfigMap");
    assert_eq!(config_map.metadata().uid, None);
    let object = json!({
        "metadata": {"name": "pods", "namespace": "shop", "uid": "5e3b"},
        "spec": {"type": "EndpointSelector", "port": {"number": 80}},
    });
    let backend = resource_from_json(Kind::XBackend, object).expect("an XBackend");
    assert_eq!(backend.metadata().uid.as_ref().map(|uid| &***uid), Some("5e3b"));
}

#[test]
fn an_object_without_name_is_an_error() {
    let nameless = gateways::Gateway::default();
    let error = Gateway::try_from(nameless).expect_err("no name");
    assert!(matches!(error, ConversionError::Nameless { kind: Kind::Gateway }), "{error:?}");
    let error = Secret::try_from(core_v1::Secret::default()).expect_err("no name");
    assert_eq!(error.to_string(), "Secret has no name");
}

#[test]
fn a_port_that_is_none_is_an_error() {
    let listener = gateways::GatewayListeners { port: 70_000, ..Default::default() };
    let spec = gateways::GatewaySpec { listeners: vec![listener], ..Default::default() };
    let error = Gateway::try_from(gateways::Gateway::new("edge", spec)).expect_err("no port");
    let cause = error.source().expect("a cause").to_string();
    assert!(cause.contains("a port from 1 to 65535"), "{cause}");
}

#[test]
fn times_are_kept_to_the_second() {
    let mut ours: Namespace =
        serde_json::from_value(json!({"metadata": cluster_metadata("shop")})).expect("a Namespace");
    ours.metadata.creation_timestamp = "2024-05-06T07:08:09.75Z".parse().ok();
    let theirs = core_v1::Namespace::try_from(&ours).expect("a Namespace of theirs");
    let back = Namespace::try_from(&theirs).expect("a Namespace");
    assert_eq!(back.metadata.creation_timestamp, "2024-05-06T07:08:09Z".parse().ok());
}

#[test]
fn a_secret_goes_both_ways_and_its_clear_text_wins() {
    let ours = Secret {
        metadata: ObjectMeta::namespaced("shop", "certificate"),
        secret_type: Some("kubernetes.io/tls".to_owned()),
        data: [("tls.key".to_owned(), SecretBytes::new(vec![0, 255, 10]))].into(),
    };
    let mut theirs = core_v1::Secret::from(&ours);
    assert_eq!(theirs.data.as_ref().map(|data| data["tls.key"].0.clone()), Some(vec![0, 255, 10]));
    assert_eq!(Secret::try_from(&theirs).expect("a Secret"), ours);

    theirs.string_data = Some([("tls.key".to_owned(), "clear".to_owned())].into());
    let clear = Secret::try_from(theirs).expect("a Secret");
    assert_eq!(clear.data["tls.key"].expose(), b"clear");
}

#[test]
fn no_error_shows_a_secret() {
    for data in [json!({"key": "hunter2!"}), json!({"key": ["hunter2!"]}), json!("hunter2!")] {
        let object = json!({"metadata": {"name": "s"}, "data": data});
        let error = resource_from_json(Kind::Secret, object).expect_err("no base64");
        let shown = format!("{error:?} {error} {:?}", error.source());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
