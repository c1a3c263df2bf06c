//! What one event costs, and what feedback does.

use std::net::IpAddr;

use gwapi_model::status::{
    ConditionReason, ConditionStatus, ConditionType, GatewayStatusAddress, Status,
};
use gwapi_model::{
    AddressType, Kind, NamespacedName, ObjectId, Resource, ResourceEvent, RouteKind, SecretBytes,
};
use gwapi_translate::features::InstalledBundle;
use gwapi_translate::infrastructure::InfrastructureReport;
use gwapi_translate::ir::{
    BackendKey, BackendTrust, CertificateKey, GatewayId, HttpFilter, IrKey, IrResource,
    ListenerKey, ListenerProtocol, SessionKeys,
};
use gwapi_translate::{
    AddressPolicy, Feedback, Options, TranslationDelta, Translator, Work, translate,
};
use serde_json::{Value, json};

fn object<T: serde::de::DeserializeOwned + Into<Resource>>(value: Value) -> Resource {
    serde_json::from_value::<T>(value).expect("it fits the type").into()
}

fn base() -> Vec<Resource> {
    vec![
        object::<gwapi_model::GatewayClass>(json!({
            "metadata": { "name": "gwapi" },
            "spec": { "controllerName": "gwapi.dev/gateway-controller" },
        })),
        object::<gwapi_model::Gateway>(json!({
            "metadata": { "name": "gw", "namespace": "ns" },
            "spec": { "gatewayClassName": "gwapi", "listeners": [
                { "name": "http", "port": 80, "protocol": "HTTP" },
                { "name": "https", "port": 443, "protocol": "HTTPS",
                  "tls": { "certificateRefs": [{ "name": "cert" }] } },
            ] },
        })),
        object::<gwapi_model::Service>(json!({
            "metadata": { "name": "web", "namespace": "ns" },
            "spec": { "ports": [{ "port": 80 }] },
        })),
        secret(),
    ]
}

fn secret() -> Resource {
    object::<gwapi_model::Secret>(json!({
        "metadata": { "name": "cert", "namespace": "ns" },
        "type": "kubernetes.io/tls",
        "stringData": {
            "tls.crt": include_str!("../src/testing/pem/one.crt"),
            "tls.key": include_str!("../src/testing/pem/one.key"),
        },
    }))
}

fn route(index: usize, path: &str) -> Resource {
    object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": format!("r{index}"), "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw", "sectionName": "http" }],
            "rules": [{
                "name": "one",
                "matches": [{ "path": { "value": path } }],
                "backendRefs": [{ "name": "web", "port": 80 }],
            }],
        },
    }))
}

fn slice(address: &str) -> Resource {
    object::<gwapi_model::EndpointSlice>(json!({
        "metadata": { "name": "web-1", "namespace": "ns",
            "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
        "ports": [{ "port": 8080 }],
        "endpoints": [{ "addresses": [address] }],
    }))
}

fn translator(routes: usize) -> Translator {
    let mut translator = Translator::new(Options::default());
    let routes = (0..routes).map(|index| route(index, &format!("/{index}")));
    let _ = translator.apply_all(base().into_iter().chain(routes).map(ResourceEvent::Apply));
    translator
}

fn id() -> GatewayId {
    GatewayId::new("ns", "gw")
}

/// What an event derived and changed.
fn cost(translator: &mut Translator, event: ResourceEvent) -> (Work, TranslationDelta) {
    let before = translator.work();
    let delta = translator.apply(event);
    let after = translator.work();
    let work = Work {
        gateways: after.gateways - before.gateways,
        backends: after.backends - before.backends,
        routes: after.routes - before.routes,
    };
    (work, delta)
}

fn keys(delta: &TranslationDelta) -> Vec<String> {
    let changes = delta.config.values();
    changes
        .flat_map(|change| {
            let upserts = change.upserts.iter().map(|it| format!("+ {}", it.key()));
            upserts.chain(change.removals.iter().map(|key| format!("- {key}"))).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn an_event_derives_what_it_touches_among_thousands_of_routes() {
    let mut translator = translator(3_000);
    let nothing = Work::default();

    let (work, delta) = cost(&mut translator, ResourceEvent::Apply(route(7, "/edited")));
    assert_eq!(work, Work { routes: 1, ..nothing });
    assert_eq!(keys(&delta), ["+ HttpRule ns/r7/one"]);
    assert!(delta.status.is_empty(), "{:?}", delta.status);

    let (work, delta) = cost(&mut translator, ResourceEvent::Apply(route(9_999, "/new")));
    assert_eq!(work, Work { routes: 1, ..nothing });
    assert_eq!(delta.status.len(), 2, "the route's own status, and the count of its listener");

    let gone = ObjectId::new(Kind::HttpRoute, "ns", "r9999");
    let (work, delta) = cost(&mut translator, ResourceEvent::Delete(gone));
    assert_eq!(work, nothing);
    assert_eq!(keys(&delta), ["- HttpRule ns/r9999/one"]);

    // Endpoints come and go without a look at the routes.
    let (work, delta) = cost(&mut translator, ResourceEvent::Apply(slice("10.0.0.1")));
    assert_eq!(work, Work { backends: 1, ..nothing });
    assert_eq!(keys(&delta), ["+ Endpoints ns/web:80"]);

    // A listener whose certificate is gone keeps its place, and no route is looked at.
    let gone = ObjectId::new(Kind::Secret, "ns", "cert");
    let (work, delta) = cost(&mut translator, ResourceEvent::Delete(gone));
    assert_eq!(work, Work { gateways: 1, ..nothing });
    assert_eq!(keys(&delta), ["+ Listener https", "- Certificate ns/cert"]);

    // What concerns nobody costs nothing.
    let namespace = json!({ "metadata": { "name": "other", "labels": { "a": "b" } } });
    let event = ResourceEvent::Apply(object::<gwapi_model::Namespace>(namespace));
    let (work, delta) = cost(&mut translator, event);
    assert_eq!((work, delta.is_empty()), (nothing, true));
}

/// A Gateway that lets ListenerSets of its namespace in.
fn open_gateway(name: &str, port: u16) -> Resource {
    object::<gwapi_model::Gateway>(json!({
        "metadata": { "name": name, "namespace": "ns" },
        "spec": {
            "gatewayClassName": "gwapi",
            "allowedListeners": { "namespaces": { "from": "Same" } },
            "listeners": [{ "name": "http", "port": port, "protocol": "HTTP" }],
        },
    }))
}

fn listener_set(name: &str, parent: &str, port: u16) -> Resource {
    object::<gwapi_model::ListenerSet>(json!({
        "metadata": { "name": name, "namespace": "ns" },
        "spec": {
            "parentRef": { "name": parent },
            "listeners": [{ "name": "l", "port": port, "protocol": "HTTP", "hostname": "a.example" }],
        },
    }))
}

/// The routes of the other listeners are not looked at, and none of them stops being served.
/// RT-16: among thousands of routes, those that ask for default Gateways are the ones that follow them.
#[test]
fn a_gateway_that_becomes_a_default_one_touches_the_routes_that_ask_for_one() {
    let mut translator = translator(1000);
    let asking = object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": "asking", "namespace": "ns" },
        "spec": { "useDefaultGateways": "All", "rules": [{}] },
    }));
    let id = asking.id();
    cost(&mut translator, ResourceEvent::Apply(asking));
    assert_eq!(translator.translation().status.get(&id), None, "there is no default Gateway");

    let gateway = |scope: &str| {
        let listeners = json!([{ "name": "http", "port": 8080, "protocol": "HTTP" }]);
        ResourceEvent::Apply(object::<gwapi_model::Gateway>(json!({
            "metadata": { "name": "other", "namespace": "ns" },
            "spec": { "gatewayClassName": "gwapi", "defaultScope": scope, "listeners": listeners },
        })))
    };
    for (scope, parents) in [("All", 1), ("None", 0), ("All", 1)] {
        let (work, _) = cost(&mut translator, gateway(scope));
        assert_eq!((work.gateways, work.routes), (1, 1), "{scope}");
        let status = translator.translation().status.get(&id);
        let count = status.map_or(0, |status| match status {
            Status::Route(status) => status.parents.len(),
            _ => 0,
        });
        assert_eq!(count, parents, "{scope}");
    }
    let gone = NamespacedName::new("ns", "other").object_id(Kind::Gateway);
    let (_, delta) = cost(&mut translator, ResourceEvent::Delete(gone));
    assert_eq!(delta.status.get(&id), Some(&None), "nothing is left to say of the route");
}

/// GC-9: whatever the edit is about, and whether or not the class is accepted before and after it.
#[test]
fn gc_9_every_condition_of_a_class_reaches_its_new_generation() {
    let mut translator = translator(0);
    let id = NamespacedName::new("", "gwapi").object_id(Kind::GatewayClass);
    let bundle = InstalledBundle::new("v1.7.0");
    let _ = translator.set_installed_bundle(Some(bundle));
    let refers = |kind: &str| json!({ "group": "gwapi.dev", "kind": kind, "name": "none", "namespace": "ns" });
    let edits = [
        json!({ "description": "one" }),
        json!({ "description": "two" }),
        json!({ "parametersRef": refers("GatewayParameters") }),
        json!({ "parametersRef": refers("Other") }),
        json!({}),
    ];
    for (generation, spec) in (7..).zip(edits) {
        let mut class = json!({
            "metadata": { "name": "gwapi", "generation": generation },
            "spec": { "controllerName": "gwapi.dev/gateway-controller" },
        });
        for (name, value) in spec.as_object().expect("it is an object") {
            class["spec"][name] = value.clone();
        }
        let class = object::<gwapi_model::GatewayClass>(class);
        let delta = translator.apply(ResourceEvent::Apply(class));
        let Some(Some(Status::GatewayClass(status))) = delta.status.get(&id) else {
            panic!("an edit to {spec} is not told of: {delta:?}")
        };
        let types: Vec<_> = status.conditions.iter().map(|it| it.condition_type).collect();
        assert_eq!(types, [ConditionType::Accepted, ConditionType::SupportedVersion], "{spec}");
        let reached = status.conditions.iter().all(|it| it.observed_generation == generation);
        assert!(reached, "{spec}: {:?}", status.conditions);
    }
}

/// LS-7
#[test]
fn a_listener_that_lost_its_place_takes_over_in_the_change_that_ends_the_winner() {
    let mut translator = translator(3_000);
    for (name, port) in [("gw", 80), ("other", 81)] {
        translator.apply(ResourceEvent::Apply(open_gateway(name, port)));
    }
    for name in ["a", "b"] {
        translator.apply(ResourceEvent::Apply(listener_set(name, "gw", 80)));
    }
    let mut route = json!({
        "metadata": { "name": "waiting", "namespace": "ns" },
        "spec": { "parentRefs": [{ "kind": "ListenerSet", "name": "b" }], "rules": [{ "name": "one" }] },
    });
    let waiting = object::<gwapi_model::HttpRoute>(route.clone());
    let delta = translator.apply(ResourceEvent::Apply(waiting));
    assert_eq!(keys(&delta), ["+ HttpRule ns/waiting/one"]);
    let told = delta.status.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told, ["ListenerSet ns/b", "HTTPRoute ns/waiting"], "and not the Gateway");

    let winner = ObjectId::new(Kind::ListenerSet, "ns", "a");
    let (work, delta) = cost(&mut translator, ResourceEvent::Delete(winner));
    assert_eq!(work, Work { gateways: 1, ..Work::default() });
    assert_eq!(keys(&delta), ["+ Listener ns/b/l", "- Listener ns/a/l"]);

    // A set that goes to another Gateway takes its routes along.
    let moved = listener_set("b", "other", 82);
    let (work, delta) = cost(&mut translator, ResourceEvent::Apply(moved));
    assert_eq!((work.gateways, work.routes), (2, 1));
    assert_eq!(
        keys(&delta),
        [
            "- Listener ns/b/l",
            "- HttpRule ns/waiting/one",
            "+ Listener ns/b/l",
            "+ HttpRule ns/waiting/one",
        ]
    );
    route["spec"]["parentRefs"][0]["kind"] = json!("Gateway");
    route["spec"]["parentRefs"][0]["name"] = json!("gone");
    translator.apply(ResourceEvent::Apply(object::<gwapi_model::HttpRoute>(route)));
    let all: Vec<Resource> = translator.resources().iter().collect();
    let resources = all.into_iter().collect();
    assert_eq!(*translator.translation(), translate(&resources, &Options::default()));
}

#[test]
fn redirects_follow_what_a_listener_set_offers_where_ports_are_shifted() {
    let options = Options { port_offset: 8_000, ..Options::default() };
    let mut translator = Translator::new(options.clone());
    let gateway = open_gateway("gw", 80);
    let redirect = object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": "r", "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw" }],
            "rules": [{ "filters": [
                { "type": "RequestRedirect", "requestRedirect": { "port": 81 } },
            ] }],
        },
    }));
    let class = base().remove(0);
    translator.apply_all([class, gateway, redirect].map(ResourceEvent::Apply));
    let check = |translator: &Translator| {
        let resources = translator.resources().iter().collect();
        assert_eq!(*translator.translation(), translate(&resources, &options));
    };
    let delta = translator.apply(ResourceEvent::Apply(listener_set("a", "gw", 81)));
    assert_eq!(keys(&delta).len(), 2, "the listener, and the redirect to it");
    check(&translator);
    let gone = ObjectId::new(Kind::ListenerSet, "ns", "a");
    assert_eq!(keys(&translator.apply(ResourceEvent::Delete(gone))).len(), 2);
    check(&translator);
}

/// A redirect of a route of the Gateway `gw` to a port, where ports are shifted by 8000.
fn redirected(port: u16, resources: impl IntoIterator<Item = Resource>) -> u16 {
    let redirect = object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": "r", "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw" }],
            "rules": [{ "filters": [
                { "type": "RequestRedirect", "requestRedirect": { "port": port } },
            ] }],
        },
    }));
    let options = Options { port_offset: 8_000, ..Options::default() };
    let resources = [base().remove(0), redirect].into_iter().chain(resources).collect();
    let translation = translate(&resources, &options);
    let rule = translation.config[&id()].http_rules().next().expect("the rule");
    let [HttpFilter::Redirect(redirect)] = &rule.filters[..] else { panic!("no redirect") };
    redirect.port.expect("a port")
}

#[test]
fn redirects_do_not_follow_what_has_no_place_where_ports_are_shifted() {
    let refused = |mut set: Value| {
        set["spec"]["listeners"][0]["protocol"] = json!("example.com/other");
        object::<gwapi_model::ListenerSet>(set)
    };
    let set = json!({
        "metadata": { "name": "a", "namespace": "ns" },
        "spec": {
            "parentRef": { "name": "gw" },
            "listeners": [{ "name": "l", "port": 81, "protocol": "HTTP" }],
        },
    });
    let sound = object::<gwapi_model::ListenerSet>(set.clone());
    assert_eq!(redirected(81, [open_gateway("gw", 80), sound.clone()]), 8_081);
    assert_eq!(redirected(81, [open_gateway("gw", 80), refused(set)]), 81);
    // No set is served of a Gateway that has no sound listener of its own (LS-2).
    let unsound = object::<gwapi_model::Gateway>(json!({
        "metadata": { "name": "gw", "namespace": "ns" },
        "spec": {
            "gatewayClassName": "gwapi",
            "allowedListeners": { "namespaces": { "from": "Same" } },
            "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP",
                "filters": { "requests": [{ "type": "Example" }] } }],
        },
    }));
    assert_eq!(redirected(81, [unsound, sound]), 81);
    assert_eq!(redirected(80, [open_gateway("gw", 80)]), 8_080);
}

/// What has no place shows on nobody else (LI-6).
#[test]
fn a_listener_of_a_set_that_has_no_place_overlaps_none_of_the_gateway() {
    let listener = |hostname: &str, more: &Value| {
        let mut listener = json!({ "name": "l", "port": 443, "protocol": "HTTPS",
            "hostname": hostname, "tls": { "certificateRefs": [{ "name": "cert" }] } });
        let more = more.as_object().expect("fields").clone();
        listener.as_object_mut().expect("a listener").extend(more);
        listener
    };
    let shows_overlap = |own: &Value, entries: &[&Value]| {
        let entries = entries.iter().map(|entry| listener("a.example", entry));
        let entries: Vec<Value> = entries.collect();
        let mut translator = translator(0);
        let gateway = object::<gwapi_model::Gateway>(json!({
            "metadata": { "name": "gw", "namespace": "ns" },
            "spec": {
                "gatewayClassName": "gwapi",
                "allowedListeners": { "namespaces": { "from": "Same" } },
                "listeners": [listener("*.example", own)],
            },
        }));
        let set = object::<gwapi_model::ListenerSet>(json!({
            "metadata": { "name": "a", "namespace": "ns" },
            "spec": { "parentRef": { "name": "gw" }, "listeners": entries },
        }));
        let _ = translator.apply_all([gateway, set].map(ResourceEvent::Apply));
        let id = ObjectId::new(Kind::Gateway, "ns", "gw");
        let Some(Status::Gateway(status)) = translator.translation().status.get(&id) else {
            panic!("the Gateway has no status");
        };
        let overlap = ConditionType::OverlappingTLSConfig;
        status.listeners[0].conditions.iter().any(|it| it.condition_type == overlap)
    };
    let refused = json!({ "allowedRoutes": { "namespaces": { "from": "Example" } } });
    let plain = json!({});
    assert!(shows_overlap(&plain, &[&plain]));
    // It keeps its hostname: the other listener's connections are told so.
    assert!(shows_overlap(&plain, &[&refused]));
    let of_the_same_name = json!({ "hostname": "b.example" });
    assert!(!shows_overlap(&plain, &[&plain, &of_the_same_name]));
    assert!(!shows_overlap(&refused, &[&plain]), "no set is served then (LS-2)");
}

#[test]
fn an_equal_object_changes_nothing() {
    let mut translator = translator(3);
    for resource in base().into_iter().chain([route(1, "/1")]) {
        let (work, delta) = cost(&mut translator, ResourceEvent::Apply(resource));
        assert_eq!((work, delta.is_empty()), (Work::default(), true));
    }
}

fn condition(
    translator: &Translator,
    listener: usize,
    wanted: ConditionType,
) -> (ConditionStatus, ConditionReason, String) {
    let id = ObjectId::new(Kind::Gateway, "ns", "gw");
    let Some(Status::Gateway(status)) = translator.translation().status.get(&id) else {
        panic!("the Gateway has no status");
    };
    let conditions = &status.listeners[listener].conditions;
    let found = conditions.iter().find(|it| it.condition_type == wanted).expect("it is there");
    (found.status, found.reason, found.message.clone())
}

#[test]
fn a_gateway_whose_proxies_cannot_read_something_is_not_programmed() {
    let mut translator = translator(1);
    let unreadable = [("HttpRule/a".to_owned(), "unknown filter".to_owned())].into();
    let feedback = Feedback { unreadable, ..Feedback::default() };
    let delta = translator.set_feedback(&id(), feedback);
    assert!(delta.config.is_empty(), "{delta:?}");
    let object = ObjectId::new(Kind::Gateway, "ns", "gw");
    let Some(Status::Gateway(status)) = translator.translation().status.get(&object) else {
        panic!("the Gateway has no status");
    };
    let programmed = status
        .conditions
        .iter()
        .find(|it| it.condition_type == ConditionType::Programmed)
        .expect("it is there");
    let expected = (ConditionStatus::False, ConditionReason::Invalid);
    assert_eq!((programmed.status, programmed.reason), expected);
    assert!(programmed.message.contains("`HttpRule/a`"), "{}", programmed.message);
}

#[test]
fn feedback_changes_status_and_never_the_configuration() {
    let mut translator = translator(1);
    let before = translator.translation().config.clone();
    let feedback = Feedback {
        unbound: [(ListenerKey::new("http"), "address already in use".to_owned())].into(),
        rejected_certificates: [(
            CertificateKey::secret("ns", "cert"),
            "key does not match".to_owned(),
        )]
        .into(),
        ..Feedback::default()
    };
    let delta = translator.set_feedback(&id(), feedback);
    assert!(delta.config.is_empty(), "{delta:?}");
    assert_eq!(translator.translation().config, before);
    let (status, reason, message) = condition(&translator, 0, ConditionType::Accepted);
    assert_eq!((status, reason), (ConditionStatus::False, ConditionReason::PortUnavailable));
    assert_eq!(message, "port 80 cannot be bound: address already in use");
    let (status, reason, message) = condition(&translator, 1, ConditionType::ResolvedRefs);
    assert_eq!((status, reason), (ConditionStatus::False, ConditionReason::InvalidCertificateRef));
    assert!(message.contains("Secret `ns/cert` cannot be used: key does not match"), "{message}");
    let (status, _, _) = condition(&translator, 1, ConditionType::Programmed);
    assert_eq!(status, ConditionStatus::False);

    let delta = translator.set_feedback(&id(), Feedback::default());
    assert_eq!(delta.status.len(), 1);
    let (status, _, _) = condition(&translator, 0, ConditionType::Accepted);
    assert_eq!(status, ConditionStatus::True);
}

#[test]
fn a_certificate_for_backends_that_cannot_be_used_is_told() {
    let mut translator = translator(0);
    let gateway = object::<gwapi_model::Gateway>(json!({
        "metadata": { "name": "gw", "namespace": "ns" },
        "spec": {
            "gatewayClassName": "gwapi",
            "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
            "tls": { "backend": { "clientCertificateRef": { "name": "cert" } } },
        },
    }));
    let _ = translator.apply(ResourceEvent::Apply(gateway));
    let rejected = [(CertificateKey::secret("ns", "cert"), "key does not match".to_owned())];
    let feedback = Feedback { rejected_certificates: rejected.into(), ..Feedback::default() };
    let delta = translator.set_feedback(&id(), feedback);
    let status = &delta.status[&id().object_id(Kind::Gateway)];
    let Some(Status::Gateway(status)) = status else { panic!("a status of a Gateway: {status:?}") };
    let resolved =
        |it: &&gwapi_model::status::Condition| it.condition_type == ConditionType::ResolvedRefs;
    let resolved = status.conditions.iter().find(resolved).expect("it is there");
    assert_eq!(resolved.reason, ConditionReason::InvalidClientCertificateRef);
    assert!(resolved.message.contains("Secret `ns/cert` cannot be used"), "{}", resolved.message);
}

#[test]
fn an_address_that_the_host_does_not_have_is_the_gateways_problem_and_not_that_of_its_listeners() {
    let mut translator = translator(0);
    let gateway = json!({
        "metadata": { "namespace": "ns", "name": "gw" },
        "spec": {
            "gatewayClassName": "gwapi",
            "addresses": [{ "value": "10.9.0.1" }, { "value": "10.9.0.2" }],
            "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
        },
    });
    let gateway = object::<gwapi_model::Gateway>(gateway);
    let _ = translator.apply(ResourceEvent::Apply(gateway));
    let missing = |addresses: &[[u8; 4]]| Feedback {
        unusable_addresses: addresses
            .iter()
            .map(|address| (IpAddr::from(*address), "no address of this host".to_owned()))
            .collect(),
        ..Feedback::default()
    };
    let told = |translator: &Translator| {
        let object = ObjectId::new(Kind::Gateway, "ns", "gw");
        let Some(Status::Gateway(status)) = translator.translation().status.get(&object) else {
            panic!("the Gateway has no status");
        };
        let conditions = status.conditions.iter().chain(&status.listeners[0].conditions);
        let told = conditions
            .filter(|it| it.condition_type != ConditionType::ResolvedRefs)
            .map(|it| format!("{}={} {}: {}", it.condition_type, it.status, it.reason, it.message));
        let addresses: Vec<String> = status.addresses.iter().map(|it| it.value.clone()).collect();
        (told.collect::<Vec<_>>(), addresses)
    };

    // AD-1, AD-3: the rest is served, and only the rest is listed.
    let delta = translator.set_feedback(&id(), missing(&[[10, 9, 0, 2]]));
    assert!(delta.config.is_empty(), "{delta:?}");
    let (conditions, addresses) = told(&translator);
    assert_eq!(
        conditions,
        [
            "Accepted=True Accepted: ",
            "Programmed=False AddressNotUsable: address `10.9.0.2` cannot be used: no address of \
             this host",
            "AddressesAssigned=False PartiallyAssigned: address `10.9.0.2` cannot be used: no address \
             of this host",
            "Accepted=True Accepted: ",
            "Programmed=True Programmed: ",
        ]
    );
    assert_eq!(addresses, ["10.9.0.1"]);

    let _ = translator.set_feedback(&id(), missing(&[[10, 9, 0, 1], [10, 9, 0, 2]]));
    let (conditions, addresses) = told(&translator);
    assert_eq!(conditions[0], "Accepted=True Accepted: ");
    // AD-8: none of those that are asked for is left.
    assert!(conditions[1].starts_with("Programmed=False AddressNotAssigned: address `10.9.0.1`"));
    assert!(conditions[2].starts_with("AddressesAssigned=False NotAssigned: address `10.9.0.1`"));
    assert_eq!(conditions[3], "Accepted=True Accepted: ");
    assert_eq!(conditions[4], "Programmed=False Pending: the Gateway has no address");
    assert!(addresses.is_empty(), "{addresses:?}");
}

#[test]
fn what_the_data_plane_cannot_read_is_the_gateways_problem() {
    let mut translator = translator(0);
    let why = "resources of the kind UdpRule are not known to this version".to_owned();
    let unreadable = [("UdpRule/ns/dns/0".to_owned(), why)].into();
    let delta = translator.set_feedback(&id(), Feedback { unreadable, ..Feedback::default() });
    assert!(delta.config.is_empty(), "{delta:?}");
    let id = ObjectId::new(Kind::Gateway, "ns", "gw");
    let Some(Status::Gateway(status)) = &delta.status[&id] else { panic!("a Gateway's status") };
    let programmed = status.conditions.iter();
    let programmed = programmed.filter(|it| it.condition_type == ConditionType::Programmed);
    let told: Vec<_> = programmed.map(|it| (it.status, it.reason, it.message.as_str())).collect();
    let message = "`UdpRule/ns/dns/0` of the configuration cannot be used by the proxies, which are \
                   of another release than the controller: resources of the kind UdpRule are not \
                   known to this version; the rest is served";
    assert_eq!(told, [(ConditionStatus::False, ConditionReason::Invalid, message)]);
}

#[test]
fn feedback_is_forgotten_with_its_gateway() {
    let mut translator = translator(0);
    let unbound = [(ListenerKey::new("http"), "in use".to_owned())].into();
    let _ = translator.set_feedback(&id(), Feedback { unbound, ..Feedback::default() });
    let _ = translator.apply(ResourceEvent::Delete(ObjectId::new(Kind::Gateway, "ns", "gw")));
    let _ = translator.apply_all(base().into_iter().map(ResourceEvent::Apply));
    let (status, _, _) = condition(&translator, 0, ConditionType::Accepted);
    assert_eq!(status, ConditionStatus::True);
}

/// It may end and be made anew between two looks at it, with the same spec.
#[test]
fn feedback_is_forgotten_when_another_gateway_gets_the_name() {
    let gateway = |uid: &str| {
        let gateway = object::<gwapi_model::Gateway>(json!({
            "metadata": { "name": "gw", "namespace": "ns", "uid": uid },
            "spec": { "gatewayClassName": "gwapi",
                "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }] },
        }));
        ResourceEvent::Apply(gateway)
    };
    let addresses = AddressPolicy::Provisioned;
    let mut translator = Translator::new(Options { addresses, ..Options::default() });
    let _ = translator.apply_all(base().into_iter().map(ResourceEvent::Apply));
    let _ = translator.apply(gateway("a"));
    let infrastructure = InfrastructureReport {
        addresses: vec![GatewayStatusAddress {
            address_type: AddressType::IpAddress,
            value: "192.0.2.1".to_owned(),
            routability: None,
        }],
        ready: true,
        ..InfrastructureReport::default()
    };
    let unbound = [(ListenerKey::new("http"), "in use".to_owned())].into();
    let said = Feedback { infrastructure, unbound, ..Feedback::default() };
    let _ = translator.set_feedback(&id(), said.clone());
    let _ = translator.apply(gateway("a"));
    assert_eq!(translator.feedback(&id()), Some(&said));
    let delta = translator.apply(gateway("b"));
    assert!(delta.config.is_empty(), "{delta:?}");
    assert_eq!(translator.feedback(&id()), None);
    let status = &delta.status[&id().object_id(Kind::Gateway)];
    let Some(Status::Gateway(status)) = status else { panic!("a status of a Gateway: {status:?}") };
    assert_eq!(status.addresses, []);
    let (status, _, _) = condition(&translator, 0, ConditionType::Accepted);
    assert_eq!(status, ConditionStatus::True);
}

/// X-2: an XBackend may end and be made anew between two looks at it, with the same spec; and what keeps its
/// Service from being made may be told when there is another one already.
#[test]
fn why_there_is_no_service_is_forgotten_when_another_x_backend_gets_the_name() {
    let group = "gateway.networking.x-k8s.io";
    let pods = |uid: &str| {
        ResourceEvent::Apply(object::<gwapi_model::XBackend>(json!({
            "metadata": { "name": "pods", "namespace": "ns", "uid": uid },
            "spec": {
                "type": "EndpointSelector",
                "port": { "number": 9000 },
                "endpointSelector": { "matchLabels": { "app": "web" } },
            },
        })))
    };
    let route = object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": "pods", "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw", "sectionName": "http" }],
            "rules": [{ "backendRefs": [{ "group": group, "kind": "XBackend", "name": "pods" }] }],
        },
    }));
    let addresses = AddressPolicy::Provisioned;
    let mut translator = Translator::new(Options { addresses, ..Options::default() });
    let _ = translator.apply_all(base().into_iter().map(ResourceEvent::Apply));
    let _ = translator.apply_all([pods("a"), ResourceEvent::Apply(route)]);
    let name = NamespacedName::new("ns", "pods");
    let is_told = |translator: &Translator| {
        let status = &translator.translation().status[&name.object_id(Kind::XBackend)];
        let Status::Policy(status) = status else { panic!("{status:?}") };
        status.ancestors[0].conditions[0].message.ends_with("none can be made for it: quota")
    };
    let say = |translator: &mut Translator, uid: &str| {
        let _ = translator.set_selection_problem(&name, uid, Some("quota".to_owned()));
    };
    say(&mut translator, "a");
    assert!(is_told(&translator));
    let _ = translator.apply(pods("a"));
    assert!(is_told(&translator));
    let _ = translator.apply(pods("b"));
    assert!(!is_told(&translator), "it was said of the former one");
    say(&mut translator, "a");
    assert!(!is_told(&translator), "nobody asks for that one any more");
    say(&mut translator, "b");
    assert!(is_told(&translator));
}

#[test]
fn another_version_of_the_installed_crds_changes_the_status_of_classes_alone() {
    let mut translator = translator(3);
    let _ = translator.set_installed_bundle(Some(InstalledBundle::new("v1.7.0")));
    let before = translator.work();
    let bundle = Some(InstalledBundle::new("v1.6.1"));
    let delta = translator.set_installed_bundle(bundle.clone());
    assert_eq!(translator.work(), before);
    let class = ObjectId::new(Kind::GatewayClass, "", "gwapi");
    assert_eq!(delta.status.keys().collect::<Vec<_>>(), [&class]);
    assert!(delta.config.is_empty(), "{delta:?}");
    let options = Options { installed_bundle: bundle.clone(), ..Options::default() };
    assert_eq!(*translator.translation(), translate(translator.resources(), &options));
    assert!(translator.set_installed_bundle(bundle).is_empty());
}

/// AD-7, AD-8: what is told of addresses follows the fields that Gateways have.
#[test]
fn crds_of_another_channel_change_the_status_of_gateways_and_no_route() {
    let mut translator = translator(3);
    let standard = InstalledBundle::new("v1.7.0");
    let experimental = standard.clone().with_gateways_of("v1.7.0", "experimental");
    let gateway = ObjectId::new(Kind::Gateway, "ns", "gw");
    for (bundle, has_it) in [(standard.clone(), false), (experimental, true), (standard, false)] {
        let before = translator.work();
        let delta = translator.set_installed_bundle(Some(bundle.clone()));
        assert_eq!(translator.work().routes, before.routes);
        assert!(delta.config.is_empty(), "{delta:?}");
        let Some(Some(Status::Gateway(status))) = delta.status.get(&gateway) else {
            panic!("a status of the Gateway: {delta:?}")
        };
        assert_eq!(status.addresses[0].routability.as_deref(), has_it.then_some(""));
        let mut types = status.conditions.iter().map(|it| it.condition_type);
        assert_eq!(types.any(|it| it == ConditionType::AddressesAssigned), has_it);
        let options = Options { installed_bundle: Some(bundle), ..Options::default() };
        assert_eq!(*translator.translation(), translate(translator.resources(), &options));
    }
}

#[test]
fn other_keys_of_sessions_change_what_each_gateway_has_and_no_route() {
    let mut translator = translator(3);
    let before = translator.work();
    let keys = |byte| Some(SessionKeys { keys: vec![SecretBytes::new(vec![byte; 32])] });
    for byte in [1, 2] {
        let delta = translator.set_session_keys(keys(byte));
        assert!(
            delta
                .config
                .values()
                .all(|delta| matches!(delta.upserts[..], [IrResource::SessionKeys(_)]))
        );
        assert!(!delta.config.is_empty());
        let options = Options { session_keys: keys(byte), ..Options::default() };
        assert_eq!(*translator.translation(), translate(translator.resources(), &options));
    }
    let work = translator.work();
    assert_eq!((work.routes, work.backends), (before.routes, before.backends));
    assert!(translator.set_session_keys(keys(2)).is_empty());
}

#[test]
fn a_secret_is_told_to_be_read_by_the_first_gateway_and_not_by_the_last_one() {
    let gateway = |name: &str, secrets: &[&str]| {
        let references: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
        ResourceEvent::Apply(object::<gwapi_model::Gateway>(json!({
            "metadata": { "name": name, "namespace": "ns" },
            "spec": { "gatewayClassName": "gwapi", "listeners": [{
                "name": "https", "port": 443, "protocol": "HTTPS",
                "tls": { "certificateRefs": references },
            }] },
        })))
    };
    let id = |name: &str| ObjectId::new(Kind::Secret, "ns", name);
    let mut translator = translator(0);
    let cert = NamespacedName::new("ns", "cert");
    assert!(translator.refers_to(Kind::Secret, &cert));

    let delta = translator.apply(gateway("other", &["cert", "missing"]));
    assert_eq!(delta.references, [(id("missing"), true)].into());
    let delta = translator.apply(gateway("gw", &[]));
    assert!(delta.references.is_empty(), "{delta:?}");
    let delta = translator.apply(gateway("other", &["missing"]));
    assert_eq!(delta.references, [(id("cert"), false)].into());
    assert!(!translator.refers_to(Kind::Secret, &cert));
    // A foreign class takes its Gateways, and what they read, along.
    let class = ObjectId::new(Kind::GatewayClass, "", "gwapi");
    let delta = translator.apply(ResourceEvent::Delete(class));
    assert_eq!(delta.references, [(id("missing"), false)].into());
}

fn policy(trust: &Value) -> Resource {
    let mut validation = trust.clone();
    validation["hostname"] = json!("web.example.com");
    object::<gwapi_model::BackendTlsPolicy>(json!({
        "metadata": { "name": "web", "namespace": "ns" },
        "spec": {
            "targetRefs": [{ "group": "", "kind": "Service", "name": "web" }],
            "validation": validation,
        },
    }))
}

fn authorities(pem: &str) -> Resource {
    object::<gwapi_model::ConfigMap>(json!({
        "metadata": { "name": "ca", "namespace": "ns" }, "data": { "ca.crt": pem },
    }))
}

/// The reasons of a policy's conditions, for its only Gateway.
fn reasons(translator: &Translator) -> Vec<String> {
    let id = ObjectId::new(Kind::BackendTlsPolicy, "ns", "web");
    match translator.translation().status.get(&id) {
        Some(Status::Policy(status)) => {
            let [ancestor] = &*status.ancestors else { panic!("{status:?}") };
            ancestor.conditions.iter().map(|it| it.reason.to_string()).collect()
        }
        None => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// BT-5, BT-6: a policy costs its Service alone, and a Service port whose endpoints nobody can vouch for
/// is taken out rather than reached in the clear.
#[test]
fn a_policy_and_its_config_map_touch_the_ports_of_its_service_alone() {
    let mut translator = translator(3_000);
    let one_port = Work { backends: 1, ..Work::default() };
    let ca = json!({"caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": "ca" }]});

    let (work, delta) = cost(&mut translator, ResourceEvent::Apply(policy(&ca)));
    assert_eq!(
        (work, keys(&delta)),
        (one_port, vec!["- Backend ns/web:80".to_owned(), "- Endpoints ns/web:80".to_owned(),])
    );
    assert!(delta.references[&ObjectId::new(Kind::ConfigMap, "ns", "ca")]);
    assert_eq!(reasons(&translator), ["NoValidCACertificate", "InvalidCACertificateRef"]);

    let good = authorities(include_str!("../src/testing/pem/one.crt"));
    let (work, delta) = cost(&mut translator, ResourceEvent::Apply(good.clone()));
    assert_eq!(
        (work, keys(&delta)),
        (one_port, vec!["+ Backend ns/web:80".to_owned(), "+ Endpoints ns/web:80".to_owned(),])
    );
    assert_eq!(reasons(&translator), ["Accepted", "ResolvedRefs"]);

    let (work, _) = cost(&mut translator, ResourceEvent::Apply(authorities("")));
    assert_eq!(work, one_port);
    assert_eq!(reasons(&translator), ["NoValidCACertificate", "InvalidCACertificateRef"]);

    let _ = translator.apply(ResourceEvent::Apply(good));
    let gone = ObjectId::new(Kind::BackendTlsPolicy, "ns", "web");
    let (work, delta) = cost(&mut translator, ResourceEvent::Delete(gone.clone()));
    assert_eq!((work, keys(&delta)), (one_port, vec!["+ Backend ns/web:80".to_owned()]));
    assert!(!delta.references[&ObjectId::new(Kind::ConfigMap, "ns", "ca")]);
    assert_eq!(delta.status[&gone], None);
}

/// X-6: one policy holds for a Gateway, and the collector is the Gateway's while it does.
#[test]
fn a_telemetry_policy_touches_its_gateway_alone_and_frees_it_for_the_next() {
    let mut translator = translator(1000);
    let policy = |name: &str, service: &str| {
        ResourceEvent::Apply(object::<gwapi_model::TelemetryPolicy>(json!({
            "metadata": { "name": name, "namespace": "ns" },
            "spec": {
                "targetRefs": [{
                    "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": id().name,
                }],
                "tracing": {
                    "mode": "Enabled",
                    "serviceName": name,
                    "provider": { "backendRef": { "name": service, "port": 4317 } },
                },
            },
        })))
    };
    let service = |port: u16| {
        ResourceEvent::Apply(object::<gwapi_model::Service>(json!({
            "metadata": { "name": "collector", "namespace": "ns" },
            "spec": { "ports": [{ "port": port }] },
        })))
    };
    let policy_id = |name: &str| NamespacedName::new("ns", name).object_id(Kind::TelemetryPolicy);
    let traced = |translator: &Translator| {
        let config = &translator.translation().config[&id()];
        let collectors =
            config.0.keys().filter(|key| key.to_string().contains("collector")).count();
        let service = config.0.values().find_map(|resource| match resource {
            IrResource::Tracing(tracing) => Some(tracing.service_name.to_string()),
            _ => None,
        });
        (service, collectors)
    };
    for (event, name, collectors) in [
        (policy("a", "collector"), None, 0),
        (service(4317), Some("a"), 2),
        (policy("b", "collector"), Some("a"), 2),
        (service(4318), None, 0),
        (service(4317), Some("a"), 2),
        (policy("a", "elsewhere"), None, 0),
        (ResourceEvent::Delete(policy_id("a")), Some("b"), 2),
        (ResourceEvent::Delete(policy_id("b")), None, 0),
    ] {
        let (work, delta) = cost(&mut translator, event);
        assert_eq!((work.gateways, work.routes), (0, 0), "{name:?}");
        assert_eq!(traced(&translator), (name.map(str::to_owned), collectors));
        let others: Vec<_> =
            delta.status.keys().filter(|it| it.kind != Kind::TelemetryPolicy).collect();
        assert!(others.is_empty(), "{others:?}");
    }
    assert_eq!(translator.translation().status.get(&policy_id("b")), None);
}

/// X-1: a bound on retries concerns the ports of its Service, and the policies that are for it as well.
#[test]
fn a_traffic_policy_touches_the_ports_of_its_service_and_frees_it_for_the_next() {
    let mut translator = translator(1000);
    let policy = |name: &str, percent: i32| {
        ResourceEvent::Apply(object::<gwapi_model::BackendTrafficPolicy>(json!({
            "metadata": { "name": name, "namespace": "ns" },
            "spec": {
                "targetRefs": [{ "group": "", "kind": "Service", "name": "web" }],
                "retryConstraint": { "budget": { "percent": percent } },
            },
        })))
    };
    let id = |name: &str| NamespacedName::new("ns", name).object_id(Kind::BackendTrafficPolicy);
    let percent = |translator: &Translator| {
        let config = &translator.translation().config[&self::id()];
        config.0.values().find_map(|resource| match resource {
            IrResource::Backend(backend) => Some(backend.retry_budget.map(|it| it.percent)),
            _ => None,
        })
    };
    for (event, expected) in [
        (policy("a", 5), Some(5)),
        (policy("b", 7), Some(5)),
        (policy("a", 6), Some(6)),
        (ResourceEvent::Delete(id("a")), Some(7)),
        (ResourceEvent::Delete(id("b")), None),
    ] {
        let (work, delta) = cost(&mut translator, event);
        assert_eq!((work.gateways, work.backends, work.routes), (0, 1, 0), "{expected:?}");
        assert_eq!(percent(&translator), Some(expected));
        let others: Vec<_> =
            delta.status.keys().filter(|it| it.kind != Kind::BackendTrafficPolicy).collect();
        assert!(others.is_empty(), "{others:?}");
    }
    assert_eq!(translator.translation().status.get(&id("b")), None);
}

/// BT-9: what no route of ours refers to is none of our business.
#[test]
fn a_policy_has_a_status_while_a_route_sends_requests_to_its_service() {
    let mut translator = translator(0);
    let system = json!({ "wellKnownCACertificates": "System" });
    let _ = translator.apply(ResourceEvent::Apply(policy(&system)));
    assert_eq!(reasons(&translator), Vec::<String>::new());

    let _ = translator.apply(ResourceEvent::Apply(route(0, "/")));
    assert_eq!(reasons(&translator), ["Accepted", "ResolvedRefs"]);
    let _ = translator.apply(ResourceEvent::Apply(route(1, "/1")));
    let route_id = |index| ObjectId::new(Kind::HttpRoute, "ns", format!("r{index}"));
    let _ = translator.apply(ResourceEvent::Delete(route_id(0)));
    assert_eq!(reasons(&translator), ["Accepted", "ResolvedRefs"], "the other one is left");

    let _ = translator.apply(ResourceEvent::Delete(route_id(1)));
    assert_eq!(reasons(&translator), Vec::<String>::new());
}
/// A ConfigMap of another namespace with the CA certificates of clients.
fn client_authorities(pem: &str) -> Resource {
    object::<gwapi_model::ConfigMap>(json!({
        "metadata": { "name": "ca", "namespace": "other" },
        "data": { "ca.crt": pem },
    }))
}

#[test]
fn authorities_of_clients_and_their_grant_are_followed_as_they_come_change_and_go() {
    let mut translator = translator(50);
    let validated = object::<gwapi_model::Gateway>(json!({
        "metadata": { "name": "gw", "namespace": "ns" },
        "spec": {
            "gatewayClassName": "gwapi",
            "listeners": [
                { "name": "http", "port": 80, "protocol": "HTTP" },
                { "name": "https", "port": 443, "protocol": "HTTPS",
                  "tls": { "certificateRefs": [{ "name": "cert" }] } },
            ],
            "tls": { "frontend": { "default": { "validation": { "caCertificateRefs": [
                { "group": "", "kind": "ConfigMap", "name": "ca", "namespace": "other" },
            ] } } } },
        },
    }));
    let _ = translator.apply(ResourceEvent::Apply(validated));
    let grant = object::<gwapi_model::ReferenceGrant>(json!({
        "metadata": { "name": "ca", "namespace": "other" },
        "spec": {
            "from": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway",
                       "namespace": "ns" }],
            "to": [{ "group": "", "kind": "ConfigMap", "name": "ca" }],
        },
    }));
    let (first, second) =
        (include_str!("../src/testing/pem/one.crt"), include_str!("../src/testing/pem/two.crt"));
    let ca = ObjectId::new(Kind::ConfigMap, "other", "ca");
    for (event, expected, is_read) in [
        (ResourceEvent::Apply(client_authorities(first)), "", false),
        (ResourceEvent::Apply(grant.clone()), first, true),
        (ResourceEvent::Apply(client_authorities(second)), second, true),
        (ResourceEvent::Delete(ca.clone()), "", true),
        (ResourceEvent::Apply(client_authorities(first)), first, true),
        (ResourceEvent::Delete(grant.id()), "", false),
    ] {
        let before = translator.work();
        let _ = translator.apply(event.clone());
        let config = &translator.translation().config[&GatewayId::new("ns", "gw")];
        let asked = config.listeners().find_map(|listener| match &listener.protocol {
            ListenerProtocol::Https { client_validation, .. } => client_validation.clone(),
            _ => None,
        });
        let asked = asked.expect("the listener never goes without");
        assert_eq!(&*asked.ca_certificates, expected, "{event:?}");
        assert_eq!(translator.refers_to(Kind::ConfigMap, &ca.namespaced_name()), is_read);
        let after = translator.work();
        assert_eq!(after.routes, before.routes, "{event:?}");
        assert!(after.gateways <= before.gateways + 1, "{event:?}");
    }
}

/// TL-9, BT-13: a trust bundle is followed as it comes, changes and goes, and so is whether there are any.
#[test]
fn trust_bundles_touch_who_refers_to_them_and_are_never_remembered() {
    let mut translator = translator(1000);
    let reference =
        json!({ "group": "certificates.k8s.io", "kind": "ClusterTrustBundle", "name": "ca" });
    let validated = object::<gwapi_model::Gateway>(json!({
        "metadata": { "name": "gw", "namespace": "ns" },
        "spec": {
            "gatewayClassName": "gwapi",
            "listeners": [
                { "name": "http", "port": 80, "protocol": "HTTP" },
                { "name": "https", "port": 443, "protocol": "HTTPS",
                  "tls": { "certificateRefs": [{ "name": "cert" }] } },
            ],
            "tls": { "frontend": { "default": { "validation": {
                "caCertificateRefs": [reference.clone()],
            } } } },
        },
    }));
    let _ = translator.apply(ResourceEvent::Apply(validated));
    let _ = translator.apply(ResourceEvent::Apply(policy(&json!({
        "hostname": "web.example.com", "caCertificateRefs": [reference],
    }))));
    let bundle = |pem: &str| {
        ResourceEvent::Apply(object::<gwapi_model::ClusterTrustBundle>(json!({
            "metadata": { "name": "ca" }, "spec": { "trustBundle": pem },
        })))
    };
    let (first, second) =
        (include_str!("../src/testing/pem/one.crt"), include_str!("../src/testing/pem/two.crt"));
    let gone = ResourceEvent::Delete(ObjectId::new(Kind::ClusterTrustBundle, "", "ca"));
    let asked = |translator: &Translator| {
        let config = &translator.translation().config[&id()];
        let clients = config.listeners().find_map(|listener| match &listener.protocol {
            ListenerProtocol::Https { client_validation, .. } => client_validation.clone(),
            _ => None,
        });
        let of_backend = config.0.values().find_map(|resource| match resource {
            IrResource::Backend(backend) => backend.tls.clone(),
            _ => None,
        });
        let backend = of_backend.map(|tls| match &tls.trust {
            BackendTrust::Certificates(pem) => pem.to_string(),
            BackendTrust::System => "System".to_owned(),
        });
        (clients.expect("it never goes without").ca_certificates.to_string(), backend)
    };
    let both = |pem: &str| (pem.to_owned(), Some(pem.to_owned()));
    let none = (String::new(), None);
    let classes = |delta: &TranslationDelta| {
        delta.status.keys().filter(|it| it.kind == Kind::GatewayClass).count()
    };
    for (event, expected) in [
        (bundle(first), both(first)),
        (bundle(second), both(second)),
        (gone, none.clone()),
        (bundle(first), both(first)),
    ] {
        let (work, delta) = cost(&mut translator, event.clone());
        assert_eq!(asked(&translator), expected, "{event:?}");
        assert_eq!((work.gateways, work.backends, work.routes), (1, 1, 0), "{event:?}");
        assert_eq!((classes(&delta), delta.references.len()), (0, 0), "{event:?}");
    }
    for (are_served, expected) in [(false, none), (true, both(first))] {
        let before = translator.work();
        let delta = translator.set_cluster_trust_bundles(are_served);
        assert_eq!(asked(&translator), expected);
        assert_eq!(classes(&delta), 1, "it claims the feature, or does not");
        let options = Options { cluster_trust_bundles: are_served, ..Options::default() };
        assert_eq!(*translator.translation(), translate(translator.resources(), &options));
        assert_eq!(translator.work().routes, before.routes);
    }
}

/// TL-9, X-2: an XBackend follows a trust bundle as a policy does.
#[test]
fn x_backends_follow_trust_bundles_without_a_look_at_routes() {
    let mut translator = translator(100);
    let group = "gateway.networking.x-k8s.io";
    let _ = translator.apply(ResourceEvent::Apply(object::<gwapi_model::XBackend>(json!({
        "metadata": { "name": "outside", "namespace": "ns" },
        "spec": {
            "type": "ExternalHostname",
            "externalHostname": { "hostname": "api.example.com" },
            "port": { "number": 443 },
            "tls": { "mode": "ServerOnly", "validation": {
                "hostname": "api.example.com",
                "caCertificateRefs": [
                    { "group": "certificates.k8s.io", "kind": "ClusterTrustBundle", "name": "ca" },
                ],
            } },
        },
    }))));
    let _ = translator.apply(ResourceEvent::Apply(object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": "outside", "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw", "sectionName": "http" }],
            "rules": [{
                "backendRefs": [{ "group": group, "kind": "XBackend", "name": "outside" }],
            }],
        },
    }))));
    let trusted = |translator: &Translator| {
        let config = &translator.translation().config[&id()];
        config.0.values().find_map(|resource| match resource {
            IrResource::Backend(backend) => match &backend.tls.as_ref()?.trust {
                BackendTrust::Certificates(pem) => Some(pem.to_string()),
                BackendTrust::System => None,
            },
            _ => None,
        })
    };
    let pem = include_str!("../src/testing/pem/one.crt");
    let bundle = object::<gwapi_model::ClusterTrustBundle>(json!({
        "metadata": { "name": "ca" }, "spec": { "trustBundle": pem },
    }));
    let there = ResourceEvent::Apply(bundle);
    let gone = ResourceEvent::Delete(ObjectId::new(Kind::ClusterTrustBundle, "", "ca"));
    for (event, expected) in [(there.clone(), Some(pem)), (gone, None), (there, Some(pem))] {
        let (work, delta) = cost(&mut translator, event.clone());
        assert_eq!(trusted(&translator).as_deref(), expected, "{event:?}");
        assert_eq!((work.gateways, work.backends), (0, 1), "{event:?}");
        assert!(delta.references.is_empty(), "a bundle is never asked for: {event:?}");
        assert_eq!(
            *translator.translation(),
            translate(translator.resources(), &Options::default())
        );
    }
    for (are_served, expected) in [(false, None), (true, Some(pem))] {
        let _ = translator.set_cluster_trust_bundles(are_served);
        assert_eq!(trusted(&translator).as_deref(), expected);
        let options = Options { cluster_trust_bundles: are_served, ..Options::default() };
        assert_eq!(*translator.translation(), translate(translator.resources(), &options));
    }
}

/// X-2: a certificate that an XBackend shows follows its Secret, the grant for it, and what the data plane says
/// of it; it leaves that of a listener alone, which comes from the same Secret.
#[test]
fn the_certificate_of_an_x_backend_follows_its_secret_its_grant_and_the_data_plane() {
    let mut translator = translator(10);
    let group = "gateway.networking.x-k8s.io";
    let outside = |namespace: &str| {
        object::<gwapi_model::XBackend>(json!({
            "metadata": { "name": "outside", "namespace": "ns" },
            "spec": {
                "type": "ExternalHostname",
                "externalHostname": { "hostname": "api.example.com" },
                "port": { "number": 443 },
                "tls": {
                    "mode": "ClientAndServer",
                    "clientCertificateRef": { "name": "cert", "namespace": namespace },
                    "validation": {
                        "hostname": "api.example.com", "wellKnownCACertificates": "System",
                    },
                },
            },
        }))
    };
    let route = object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": "outside", "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw", "sectionName": "http" }],
            "rules": [{
                "backendRefs": [{ "group": group, "kind": "XBackend", "name": "outside" }],
            }],
        },
    }));
    let _ = translator.apply_all([outside("ns"), route].map(ResourceEvent::Apply));
    let key =
        CertificateKey::of_backend(&BackendKey::x_backend(RouteKind::Http, false, "ns", "outside"));
    let accepted = |translator: &Translator| {
        let id = ObjectId::new(Kind::XBackend, "ns", "outside");
        let Some(Status::Policy(status)) = translator.translation().status.get(&id) else {
            panic!("the XBackend has no status");
        };
        let condition = &status.ancestors[0].conditions[0];
        (condition.reason, condition.message.clone())
    };
    let is_shown = |translator: &Translator| {
        let config = &translator.translation().config[&id()];
        let own = IrKey::Certificate(CertificateKey::secret("ns", "cert"));
        assert!(config.0.contains_key(&own), "that of the listener stays");
        config.0.contains_key(&IrKey::Certificate(key.clone()))
    };
    assert!(is_shown(&translator));

    let rejected = [(key.clone(), "key does not match".to_owned())];
    let feedback = Feedback { rejected_certificates: rejected.into(), ..Feedback::default() };
    let delta = translator.set_feedback(&id(), feedback);
    assert!(delta.config.is_empty(), "{delta:?}");
    let message = "tls.clientCertificateRef: Secret `ns/cert` cannot be used: key does not match";
    let expected = (ConditionReason::InvalidClientCertificateRef, message.to_owned());
    assert_eq!(accepted(&translator), expected);
    let _ = translator.set_feedback(&id(), Feedback::default());
    assert_eq!(accepted(&translator).0, ConditionReason::Accepted);

    let _ = translator.apply(ResourceEvent::Apply(outside("other")));
    assert!(!is_shown(&translator));
    assert_eq!(accepted(&translator).0, ConditionReason::RefNotPermitted);
    let secret = ObjectId::new(Kind::Secret, "other", "cert");
    assert!(!translator.translation().references.contains(&secret), "it must not be read");
    let grant = object::<gwapi_model::ReferenceGrant>(json!({
        "metadata": { "name": "all", "namespace": "other" },
        "spec": {
            "from": [{ "group": group, "kind": "XBackend", "namespace": "ns" }],
            "to": [{ "group": "", "kind": "Secret" }],
        },
    }));
    let (work, delta) = cost(&mut translator, ResourceEvent::Apply(grant));
    assert_eq!(delta.references.get(&secret), Some(&true));
    assert_eq!(
        (work.backends, accepted(&translator).0),
        (1, ConditionReason::InvalidClientCertificateRef)
    );
    let mut there =
        translator.resources().secrets[&NamespacedName::new("ns", "cert")].as_ref().clone();
    there.metadata.namespace = "other".into();
    let _ = translator.apply(ResourceEvent::Apply(there.into()));
    assert_eq!(accepted(&translator).0, ConditionReason::Accepted);
    assert!(is_shown(&translator));
    let _ = translator.apply(ResourceEvent::Delete(secret));
    assert!(!is_shown(&translator));
    assert_eq!(*translator.translation(), translate(translator.resources(), &Options::default()));
}

/// TL-9, BT-13, X-2: what is said of a reference that never leads to authorities does not depend on whether there
/// are trust bundles, which nobody looks up for its sake.
#[test]
fn whoever_refers_to_no_trust_bundle_hears_the_same_whether_there_are_any() {
    let mut translator = translator(1);
    let reference = json!({ "group": "", "kind": "Secret", "name": "cert" });
    let validation =
        json!({ "hostname": "web.example.com", "caCertificateRefs": [reference.clone()] });
    let gateway = object::<gwapi_model::Gateway>(json!({
        "metadata": { "name": "gw", "namespace": "ns" },
        "spec": {
            "gatewayClassName": "gwapi",
            "listeners": [
                { "name": "http", "port": 80, "protocol": "HTTP" },
                { "name": "https", "port": 443, "protocol": "HTTPS",
                  "tls": { "certificateRefs": [{ "name": "cert" }] } },
            ],
            "tls": { "frontend": { "default": { "validation": {
                "caCertificateRefs": [reference],
            } } } },
        },
    }));
    let outside = object::<gwapi_model::XBackend>(json!({
        "metadata": { "name": "outside", "namespace": "ns" },
        "spec": {
            "type": "ExternalHostname",
            "externalHostname": { "hostname": "api.example.com" },
            "port": { "number": 443 },
            "tls": { "mode": "ServerOnly", "validation": validation },
        },
    }));
    let to_outside = object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": "outside", "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw", "sectionName": "http" }],
            "rules": [{ "backendRefs": [
                { "group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": "outside" },
            ] }],
        },
    }));
    let all = [gateway, outside, to_outside, policy(&validation)];
    let _ = translator.apply_all(all.map(ResourceEvent::Apply));
    for are_served in [false, true] {
        let delta = translator.set_cluster_trust_bundles(are_served);
        assert!(delta.status.keys().all(|id| id.kind == Kind::GatewayClass), "{delta:?}");
        let options = Options { cluster_trust_bundles: are_served, ..Options::default() };
        assert_eq!(*translator.translation(), translate(translator.resources(), &options));
    }
}
