//! Permissions that others give and take back: what they allowed ends with them, and begins with them.

use gwapi_model::status::Status;
use gwapi_model::{Kind, NamespacedName, ObjectId, Resource, ResourceEvent};
use gwapi_translate::ir::{BackendTarget, GatewayConfig};
use gwapi_translate::{Options, Translator};
use serde_json::{Value, json};

fn object<T: serde::de::DeserializeOwned + Into<Resource>>(value: Value) -> Resource {
    serde_json::from_value::<T>(value).expect("it fits the type").into()
}

/// A Gateway `ns/gw` with a listener for HTTP and one for TCP, which take routes from namespaces of the
/// team `a`, and a Service `other/web`.
fn translator() -> Translator {
    let namespaces = json!({ "from": "Selector", "selector": { "matchLabels": { "team": "a" } } });
    let allowed = json!({ "namespaces": namespaces });
    let objects = [
        object::<gwapi_model::GatewayClass>(json!({
            "metadata": { "name": "gwapi" },
            "spec": { "controllerName": "gwapi.dev/gateway-controller" },
        })),
        object::<gwapi_model::Gateway>(json!({
            "metadata": { "name": "gw", "namespace": "ns" },
            "spec": { "gatewayClassName": "gwapi", "listeners": [
                { "name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": allowed },
                { "name": "tcp", "port": 5432, "protocol": "TCP", "allowedRoutes": allowed },
            ] },
        })),
        object::<gwapi_model::Service>(json!({
            "metadata": { "name": "web", "namespace": "other" },
            "spec": { "ports": [{ "port": 80 }] },
        })),
        namespace("a"),
    ];
    let mut translator = Translator::new(Options::default());
    let _ = translator.apply_all(objects.map(ResourceEvent::Apply));
    translator
}

/// The Namespace `ns`, of a team.
fn namespace(team: &str) -> Resource {
    object::<gwapi_model::Namespace>(json!({
        "metadata": { "name": "ns", "labels": { "team": team } },
    }))
}

/// A route `ns/r` to the Service of the other namespace.
fn route<T: serde::de::DeserializeOwned + Into<Resource>>() -> Resource {
    object::<T>(json!({
        "metadata": { "name": "r", "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw" }],
            "rules": [{ "backendRefs": [{ "name": "web", "namespace": "other", "port": 80 }] }],
        },
    }))
}

fn grant_to(kind: Kind) -> Resource {
    object::<gwapi_model::ReferenceGrant>(json!({
        "metadata": { "name": "web", "namespace": "other" },
        "spec": {
            "from": [{ "group": "gateway.networking.k8s.io", "kind": kind.as_str(),
                       "namespace": "ns" }],
            "to": [{ "group": "", "kind": "Service", "name": "web" }],
        },
    }))
}

/// `Type=Status Reason` of the one parent of the route.
fn conditions(translator: &Translator, route: &ObjectId) -> Vec<String> {
    let Some(Status::Route(status)) = translator.translation().status.get(route) else {
        panic!("{route} has no status");
    };
    let [parent] = &status.parents[..] else { panic!("{route} has one parent") };
    let conditions = parent.conditions.iter();
    conditions.map(|it| format!("{}={} {}", it.condition_type, it.status, it.reason)).collect()
}

fn config(translator: &Translator) -> &GatewayConfig {
    &translator.translation().config[&NamespacedName::new("ns", "gw")]
}

/// Where the one rule of the Gateway leads to; `None` where it has no rule.
fn target(translator: &Translator) -> Option<&BackendTarget> {
    let config = config(translator);
    let of_http = config.http_rules().flat_map(|rule| &rule.backends);
    let of_streams = config.stream_rules().flat_map(|rule| &rule.backends);
    let mut targets = of_http.chain(of_streams).map(|backend| &backend.target);
    let target = targets.next();
    assert!(targets.next().is_none(), "there is one rule, with one backend");
    target
}

/// RG-3, L4-8: what a grant allowed ends with it.
#[test]
fn a_grant_that_is_taken_back_allows_nothing_any_more() {
    for (route, kind) in [
        (route::<gwapi_model::HttpRoute>(), Kind::HttpRoute),
        (route::<gwapi_model::TcpRoute>(), Kind::TcpRoute),
    ] {
        let mut translator = translator();
        let (id, grant) = (route.id(), grant_to(kind));
        let _ = translator.apply(ResourceEvent::Apply(route));
        for (event, is_granted) in [
            (ResourceEvent::Apply(grant.clone()), true),
            (ResourceEvent::Delete(grant.id()), false),
            (ResourceEvent::Apply(grant.clone()), true),
            // It stays, for others.
            (ResourceEvent::Apply(grant_to(Kind::UdpRoute)), false),
        ] {
            let _ = translator.apply(event.clone());
            let resolved = match is_granted {
                true => "ResolvedRefs=True ResolvedRefs",
                false => "ResolvedRefs=False RefNotPermitted",
            };
            let told = conditions(&translator, &id);
            assert_eq!(told, ["Accepted=True Accepted", resolved], "{kind}: {event:?}");
            let target = target(&translator).expect("the route is attached");
            assert_eq!(
                matches!(target, BackendTarget::Backend(_)),
                is_granted,
                "{kind}: {event:?}"
            );
        }
    }
}

/// AR-5.
#[test]
fn routes_come_and_go_with_the_labels_of_their_namespace() {
    let mut translator = translator();
    let route = route::<gwapi_model::HttpRoute>();
    let id = route.id();
    let _ = translator.apply(ResourceEvent::Apply(route));
    let team = |team: &str| ResourceEvent::Apply(namespace(team));
    let gone = ResourceEvent::Delete(namespace("a").id());
    let events = [
        (team("a"), true),
        (team("b"), false),
        (team("a"), true),
        (gone, false),
        (team("a"), true),
    ];
    for (event, is_admitted) in events {
        let _ = translator.apply(event.clone());
        let accepted = match is_admitted {
            true => "Accepted=True Accepted",
            false => "Accepted=False NotAllowedByListeners",
        };
        assert_eq!(conditions(&translator, &id)[0], accepted, "{event:?}");
        assert_eq!(target(&translator).is_some(), is_admitted, "{event:?}");
    }
}
