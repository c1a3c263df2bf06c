//! Which of several TLSRoutes, TCPRoutes or UDPRoutes a listener serves, from manifests to the table.

use gwapi_model::status::{ConditionStatus, ConditionType, Status};
use gwapi_model::{Kind, NamespacedName, Resource, Resources, RouteKind};
use gwapi_translate::ir::{BackendTarget, GatewayConfig, IrKey, Listener};
use gwapi_translate::{Options, RouteTable, Translation, translate};
use serde_json::{Value, json};

fn object<T: serde::de::DeserializeOwned + Into<Resource>>(value: Value) -> Resource {
    serde_json::from_value::<T>(value).expect("it fits the type").into()
}

/// Namespace and name, in the order in which they count: that of the text `namespace/name`, which is not that
/// of namespaces and then of names.
const IN_ORDER: [(&str, &str); 4] =
    [("team-a", "b"), ("team-a", "z"), ("team", "a"), ("team", "z")];

fn base() -> Vec<Resource> {
    let all = json!({ "namespaces": { "from": "All" } });
    let listener = |name: &str, port: u16, protocol: &str| {
        let mut listener =
            json!({ "name": name, "port": port, "protocol": protocol, "allowedRoutes": all });
        if protocol == "TLS" {
            listener["tls"] = json!({ "mode": "Passthrough" });
        }
        listener
    };
    vec![
        object::<gwapi_model::GatewayClass>(json!({
            "metadata": { "name": "gwapi" },
            "spec": { "controllerName": "gwapi.dev/gateway-controller" },
        })),
        object::<gwapi_model::Gateway>(json!({
            "metadata": { "name": "gw", "namespace": "ns" },
            "spec": { "gatewayClassName": "gwapi", "listeners": [
                listener("tls", 443, "TLS"), listener("tcp", 53, "TCP"), listener("udp", 53, "UDP"),
            ] },
        })),
    ]
}

fn route(
    kind: RouteKind,
    (namespace, name): (&str, &str),
    created: Option<&str>,
    hostnames: &[&str],
) -> Resource {
    let mut route = json!({
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "parentRefs": [{ "name": "gw", "namespace": "ns" }],
            "rules": [{ "backendRefs": [{ "name": "x", "port": 80 }] }],
        },
    });
    if let Some(created) = created {
        route["metadata"]["creationTimestamp"] = json!(created);
    }
    match kind {
        RouteKind::Tls => {
            route["spec"]["hostnames"] = json!(hostnames);
            object::<gwapi_model::TlsRoute>(route)
        }
        RouteKind::Tcp => object::<gwapi_model::TcpRoute>(route),
        _ => object::<gwapi_model::UdpRoute>(route),
    }
}

fn translation(routes: impl IntoIterator<Item = Resource>) -> Translation {
    let resources: Resources = base().into_iter().chain(routes).collect();
    translate(&resources, &Options::default())
}

fn config(translation: &Translation) -> &GatewayConfig {
    &translation.config[&NamespacedName::new("ns", "gw")]
}

fn listener<'c>(config: &'c GatewayConfig, name: &str) -> &'c Listener {
    config.listeners().find(|it| it.key.as_str() == name).expect("it is served")
}

/// The route that a listener serves.
fn served(translation: &Translation, name: &str, server_name: Option<&str>) -> String {
    let config = config(translation);
    let table = RouteTable::compile(config);
    let rule = table.stream(listener(config, name), server_name).expect("one is served");
    rule.route.to_string()
}

/// TS-3, L4-3: of routes of one age the first by `namespace/name` is served, in whatever order they came, and all are
/// accepted and counted.
#[test]
fn of_routes_of_one_age_the_first_by_name_is_served() {
    let same = Some("2026-01-01T00:00:00Z");
    for (kind, name) in [(RouteKind::Tls, "tls"), (RouteKind::Tcp, "tcp"), (RouteKind::Udp, "udp")]
    {
        let server_name = (kind == RouteKind::Tls).then_some("a.example");
        for first in 0..IN_ORDER.len() {
            let left = &IN_ORDER[first..];
            let routes = left.iter().rev().map(|it| route(kind, *it, same, &["a.example"]));
            let translation = translation(routes);
            let (namespace, first) = left[0];
            assert_eq!(
                served(&translation, name, server_name),
                format!("{namespace}/{first}"),
                "{kind:?}"
            );

            let gateway = NamespacedName::new("ns", "gw").object_id(Kind::Gateway);
            let Some(Status::Gateway(status)) = translation.status.get(&gateway) else {
                panic!("a Gateway")
            };
            let of_listener =
                status.listeners.iter().find(|it| it.name == name).expect("it has one");
            assert_eq!(usize::try_from(of_listener.attached_routes), Ok(left.len()), "{kind:?}");
            for (namespace, name) in left {
                let id = NamespacedName::new(*namespace, *name).object_id(kind.kind());
                let Some(Status::Route(status)) = translation.status.get(&id) else {
                    panic!("{id}")
                };
                let accepted = status.parents[0].conditions.iter().find(|it| {
                    (it.condition_type, it.status)
                        == (ConditionType::Accepted, ConditionStatus::True)
                });
                assert!(accepted.is_some(), "{id}");
            }
        }
    }
}

/// TS-3, L4-3: age comes before the name, and a more specific server name before both.
#[test]
fn age_comes_before_the_name_and_the_server_name_before_both() {
    let (old, young) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-02T00:00:00Z"));
    for (kind, name) in [(RouteKind::Tls, "tls"), (RouteKind::Tcp, "tcp"), (RouteKind::Udp, "udp")]
    {
        let server_name = (kind == RouteKind::Tls).then_some("a.example");
        let names = &["*.example", "b.example"][..];
        let routes = [route(kind, IN_ORDER[0], young, names), route(kind, IN_ORDER[3], old, names)];
        let found = translation(routes.clone());
        assert_eq!(served(&found, name, server_name), "team/z", "{kind:?}");
        if kind == RouteKind::Tls {
            let exact = route(kind, IN_ORDER[1], young, &["a.example"]);
            let found = translation(routes.into_iter().chain([exact]));
            assert_eq!(served(&found, name, Some("a.example")), "team-a/z");
            assert_eq!(served(&found, name, Some("b.example")), "team/z");
            assert_eq!(served(&found, name, Some("c.example")), "team/z");
        }
    }
}

/// TS-4: what a TLSRoute has no grant for is a share that leads nowhere, and the route is accepted all the same.
#[test]
fn a_tls_route_without_a_grant_leads_nowhere() {
    let route = json!({
        "metadata": { "name": "r", "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw" }],
            "hostnames": ["a.example"],
            "rules": [{ "backendRefs": [{ "name": "web", "namespace": "other", "port": 80 }] }],
        },
    });
    let service = json!({
        "metadata": { "name": "web", "namespace": "other" },
        "spec": { "ports": [{ "port": 80 }] },
    });
    for (of_namespace, permitted) in [("other", false), ("ns", true)] {
        let grant = object::<gwapi_model::ReferenceGrant>(json!({
            "metadata": { "name": "g", "namespace": "other" },
            "spec": {
                "from": [{ "group": "gateway.networking.k8s.io", "kind": "TLSRoute", "namespace": of_namespace }],
                "to": [{ "group": "", "kind": "Service" }],
            },
        }));
        let route = object::<gwapi_model::TlsRoute>(route.clone());
        let service = object::<gwapi_model::Service>(service.clone());
        let found = translation([route, service, grant]);
        let rule = config(&found).stream_rules().next().expect("it has a rule");
        let leads = match &rule.backends[0].target {
            BackendTarget::Backend(key) => {
                config(&found).0.contains_key(&IrKey::Backend(key.clone()))
            }
            BackendTarget::Invalid(_) => false,
        };
        assert_eq!(leads, permitted);
        let id = NamespacedName::new("ns", "r").object_id(Kind::TlsRoute);
        let Some(Status::Route(status)) = found.status.get(&id) else { panic!("{id}") };
        let said: Vec<String> = status.parents[0]
            .conditions
            .iter()
            .map(|it| format!("{}={} {}", it.condition_type, it.status, it.reason))
            .collect();
        let resolved = if permitted {
            "ResolvedRefs=True ResolvedRefs"
        } else {
            "ResolvedRefs=False RefNotPermitted"
        };
        assert_eq!(said, ["Accepted=True Accepted", resolved]);
    }
}
