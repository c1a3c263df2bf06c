//! What a controller does with a real API server.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::Scenario;
use crate::admission::what_the_server_refuses_is_refused_without_one;
use crate::api::{Api, ancestor, class, condition, gateway, is, parent, route};
use crate::controller::{Running, STATUS_REQUESTS, WRITTEN, settings};

macro_rules! scenarios {
    ($($name:ident,)+) => {
        /// All of them, in the order in which they run.
        pub(crate) const ALL: &[Scenario] =
            &[$((stringify!($name), |api| $name(api).boxed()),)+];
    };
}

scenarios! {
    what_the_server_refuses_is_refused_without_one,
    a_class_a_gateway_and_a_route_get_their_status,
    what_others_wrote_into_a_status_survives,
    kinds_that_are_tried_out_have_their_status_as_long_as_the_gateway_is_ours,
    the_pods_of_an_x_backend_have_a_service_as_long_as_they_need_one,
    what_is_told_of_addresses_is_what_the_api_server_stores,
    a_controller_of_a_long_name_writes_status_and_events,
    a_gateway_that_moves_to_another_class_takes_its_routes_along,
    entries_of_a_route_that_was_moved_while_nobody_looked_are_taken_back,
    whatever_takes_the_name_of_another_gets_a_status_of_its_own,
    of_two_replicas_one_writes_and_the_other_takes_over_at_once,
    namespaces_that_are_not_watched_do_not_exist,
    a_broken_object_is_told_of_and_the_rest_goes_on,
    a_gateway_that_cannot_be_read_keeps_what_runs_for_it_over_a_restart,
    a_second_start_over_many_routes_writes_nothing,
    trust_bundles_are_followed_as_they_come_and_go,
    an_api_server_that_is_killed_is_caught_up_with,
    whoever_hears_nothing_stops_to_lead_and_leads_again_afterwards,
    without_crds_the_controller_waits_and_starts_by_itself,
}

const CONTROLLER: &str = "test.gwapi.dev/one";
const OTHER: &str = "test.gwapi.dev/two";

/// Waits until a route is accepted by a controller at its present generation.
async fn accepted(api: &Api, namespace: &str, name: &str, controller: &str) -> Value {
    let holds = |route: Option<&Value>| {
        route.is_some_and(|route| is(route, parent(route, controller), "Accepted", "True"))
    };
    api.until("HTTPRoute", namespace, name, holds).await.expect("it is there")
}

/// Waits until a Gateway is accepted at its present generation.
async fn gateway_accepted(api: &Api, namespace: &str, name: &str) -> Value {
    let holds = |gateway: Option<&Value>| {
        gateway.is_some_and(|gateway| is(gateway, &gateway["status"], "Accepted", "True"))
    };
    api.until("Gateway", namespace, name, holds).await.expect("it is there")
}

async fn a_class_a_gateway_and_a_route_get_their_status(api: Api) {
    let namespace = api.namespace("status").await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(class("theirs", "example.com/other")).await;
    let ours = api
        .until("GatewayClass", "", "one", |class| {
            class.is_some_and(|class| is(class, &class["status"], "Accepted", "True"))
        })
        .await
        .expect("it is there");
    let features = ours["status"]["supportedFeatures"].as_array().expect("features");
    assert!(features.iter().any(|feature| feature["name"] == "HTTPRoute"));

    api.apply(gateway(&namespace, "web", "one")).await;
    let web = gateway_accepted(&api, &namespace, "web").await;
    assert_eq!(web["status"]["listeners"][0]["name"], "http");
    // ST-9: no default of the CRD is left.
    let conditions = web["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().all(|it| !it["lastTransitionTime"].to_string().contains("1970")));

    // ST-8, on a machine that may be busy.
    let started = Instant::now();
    api.apply(route(&namespace, "shop", "web")).await;
    let shop = accepted(&api, &namespace, "shop", CONTROLLER).await;
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(2), "the status took {elapsed:?}");
    let entry = parent(&shop, CONTROLLER);
    assert_eq!(entry["parentRef"]["kind"], "Gateway");
    assert!(is(&shop, entry, "ResolvedRefs", "True"));
    let counted = |gateway: Option<&Value>| {
        gateway.is_some_and(|it| it["status"]["listeners"][0]["attachedRoutes"] == 1)
    };
    api.until("Gateway", &namespace, "web", counted).await;

    let theirs = api.kind("GatewayClass", "").get("theirs").await.expect("it is there");
    let theirs = serde_json::to_value(theirs).expect("JSON");
    assert_eq!(condition(&theirs["status"], "Accepted")["status"], "Unknown");
    running.stop().await;
}

async fn what_others_wrote_into_a_status_survives(api: Api) {
    let namespace = api.namespace("foreign").await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    api.apply(route(&namespace, "shop", "web")).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    let shop = accepted(&api, &namespace, "shop", CONTROLLER).await;
    let foreign = json!({
        "type": "example.com/Audited", "status": "True", "reason": "Seen", "message": "by them",
        "observedGeneration": 1, "lastTransitionTime": "2024-01-02T03:04:05Z",
    });
    let entry = json!({
        "controllerName": "example.com/other",
        "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "theirs"},
        "conditions": [foreign],
    });
    // Theirs comes first, and into our own entry they write as well.
    let mut ours = parent(&shop, CONTROLLER).clone();
    ours["conditions"].as_array_mut().expect("conditions").insert(0, foreign.clone());
    let status = json!({"status": {"parents": [entry, ours]}});
    api.patch_status("HTTPRoute", &namespace, "shop", status).await;
    let web = gateway_accepted(&api, &namespace, "web").await;
    let mut status = web["status"].clone();
    for holder in ["", "/listeners/0"] {
        let conditions = status.pointer_mut(&format!("{holder}/conditions"));
        let conditions = conditions.and_then(Value::as_array_mut).expect("conditions");
        conditions.insert(0, foreign.clone());
    }
    let status = json!({"status": {
        "conditions": status["conditions"], "listeners": status["listeners"],
    }});
    api.patch_status("Gateway", &namespace, "web", status).await;

    let hostnames = json!({"spec": {"hostnames": ["new.example.com"]}});
    api.patch("HTTPRoute", &namespace, "shop", hostnames).await;
    let shop = accepted(&api, &namespace, "shop", CONTROLLER).await;
    assert_eq!(shop["status"]["parents"][0], entry);
    assert_eq!(shop["status"]["parents"][1]["conditions"][0], foreign);

    let allowed = json!({"spec": {"listeners": [{
        "name": "http", "port": 80, "protocol": "HTTP", "hostname": "*.example.com",
    }]}});
    api.patch("Gateway", &namespace, "web", allowed).await;
    let web = gateway_accepted(&api, &namespace, "web").await;
    assert_eq!(web["status"]["conditions"][0], foreign);
    assert_eq!(web["status"]["listeners"][0]["conditions"][0], foreign);
    running.stop().await;
}

/// kinds with a version of their own, ST-1 and ST-6 as of all others.
async fn kinds_that_are_tried_out_have_their_status_as_long_as_the_gateway_is_ours(api: Api) {
    let namespace = api.namespace("tried").await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    let named = json!({"namespace": namespace, "name": "shop"});
    api.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": named,
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    }))
    .await;
    api.apply(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": named,
        "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [
            {"name": "shop", "port": 80},
            {"group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": "shop"},
        ]}]},
    }))
    .await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    // Each with a change of its spec.
    let kinds = [
        (
            "XBackend",
            json!({
                "type": "EndpointSelector", "port": {"number": 8080},
                "endpointSelector": {"matchLabels": {"app": "shop"}},
            }),
            json!({"port": {"number": 8081}}),
        ),
        (
            "XBackendTrafficPolicy",
            json!({
                "targetRefs": [{"group": "", "kind": "Service", "name": "shop"}],
                "retryConstraint": {"budget": {"percent": 5}},
            }),
            json!({"retryConstraint": {"budget": {"percent": 6}}}),
        ),
        (
            "XTelemetryPolicy",
            json!({
                "targetRefs": [
                    {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"},
                ],
                "tracing": {"mode": "Enabled", "provider": {"backendRef": {"name": "shop", "port": 80}}},
            }),
            json!({"tracing": {"serviceName": "web"}}),
        ),
    ];
    let theirs = json!({
        "controllerName": "example.com/other",
        "ancestorRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "theirs"},
        "conditions": [{
            "type": "Accepted", "status": "False", "reason": "Invalid", "message": "by them",
            "observedGeneration": 1, "lastTransitionTime": "2024-01-02T03:04:05Z",
        }],
    });
    let accepted = |object: Option<&Value>| {
        object.is_some_and(|it| is(it, ancestor(it, CONTROLLER), "Accepted", "True"))
    };
    for (kind, spec, change) in &kinds {
        api.apply(json!({
            "apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": kind,
            "metadata": named, "spec": spec,
        }))
        .await;
        let object = api.until(kind, &namespace, "shop", accepted).await.expect("it is there");
        assert_eq!(ancestor(&object, CONTROLLER)["ancestorRef"]["name"], "web", "{kind}");

        let both = json!({"status": {"ancestors": [theirs, ancestor(&object, CONTROLLER)]}});
        api.patch_status(kind, &namespace, "shop", both).await;
        api.patch(kind, &namespace, "shop", json!({"spec": change})).await;
        let object = api.until(kind, &namespace, "shop", accepted).await.expect("it is there");
        assert_eq!(object["metadata"]["generation"], 2, "{kind}");
        assert_eq!(object["status"]["ancestors"][0], theirs, "{kind}");
    }

    api.patch("Gateway", &namespace, "web", json!({"spec": {"gatewayClassName": "none"}})).await;
    for (kind, ..) in &kinds {
        let alone =
            |it: Option<&Value>| it.is_some_and(|it| it["status"]["ancestors"] == json!([theirs]));
        api.until(kind, &namespace, "shop", alone).await;
    }
    running.stop().await;
}

/// Waits until the status of the XBackend `pods` names one Service and it is not this one.
async fn service_of_pods(api: &Api, namespace: &str, before: &str) -> String {
    let named = |backend: &Value| {
        let accepted = condition(ancestor(backend, CONTROLLER), "Accepted");
        let message = accepted["message"].as_str().unwrap_or_default();
        let name = message.split_once("those of the Service `").map(|(_, rest)| rest);
        name.and_then(|name| name.split('`').next()).unwrap_or_default().to_owned()
    };
    let is_another = |backend: Option<&Value>| {
        backend.map(named).is_some_and(|name| !name.is_empty() && name != before)
    };
    let backend = api.until("XBackend", namespace, "pods", is_another).await;
    named(&backend.expect("it is there"))
}

/// with what an API server makes of names, owners and changes.
async fn the_pods_of_an_x_backend_have_a_service_as_long_as_they_need_one(api: Api) {
    let namespace = api.namespace("selected").await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    let backend = api
        .apply(json!({
            "apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackend",
            "metadata": {"namespace": namespace, "name": "pods"},
            "spec": {
                "type": "EndpointSelector", "port": {"number": 8080},
                "endpointSelector": {"matchLabels": {"app": "shop", "tier": "front"}},
            },
        }))
        .await;
    let to_pods = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": namespace, "name": "shop"},
        "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [
            {"group": "gateway.networking.x-k8s.io", "kind": "XBackend", "name": "pods"},
        ]}]},
    });
    api.apply(to_pods.clone()).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    let name = service_of_pods(&api, &namespace, "").await;
    let is_there = |service: Option<&Value>| service.is_some();
    let made = api.until("Service", &namespace, &name, is_there).await.expect("it is there");
    assert_eq!(made["metadata"]["generateName"], "pods-");
    let owners = &made["metadata"]["ownerReferences"];
    assert_eq!(owners[0]["uid"].as_str(), backend.metadata.uid.as_deref());
    assert_eq!(made["spec"]["clusterIP"], "None");

    // What somebody does to it is undone, and what the XBackend asks for is all that is left.
    let selector = json!({"app": "shop", "tier": "front"});
    let edited = json!({"spec": {"selector": {"app": "theirs", "added": "by-hand"}}});
    api.patch("Service", &namespace, &name, edited).await;
    let is_as_before = |it: Option<&Value>| it.is_some_and(|it| it["spec"]["selector"] == selector);
    api.until("Service", &namespace, &name, is_as_before).await;
    let changed = json!({"spec": {"port": {"number": 8081},
        "endpointSelector": {"matchLabels": {"tier": null}}}});
    api.patch("XBackend", &namespace, "pods", changed).await;
    let follows = |it: Option<&Value>| {
        it.is_some_and(|it| {
            let ports = it["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
            let numbers = ports.iter().map(|port| (&port["port"], &port["targetPort"]));
            it["spec"]["selector"] == json!({"app": "shop"})
                && numbers.eq([(&json!(8081), &json!(8081))])
        })
    };
    api.until("Service", &namespace, &name, follows).await;

    // The next controller goes on with it, and makes another one where it is deleted.
    running.stop().await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    running.until_count("gwapi_controller_leader", &[], 1).await;
    assert_eq!(service_of_pods(&api, &namespace, "").await, name);
    api.delete("Service", &namespace, &name).await;
    let second = service_of_pods(&api, &namespace, &name).await;
    let services = api.list("Service").await.into_iter().map(|it| it.metadata);
    let made = services.filter(|it| it.namespace.as_ref() == Some(&namespace));
    let made: Vec<_> = made.filter(|it| it.generate_name.is_some()).map(|it| it.name).collect();
    assert_eq!(made, [Some(second.clone())]);

    // One of the user's takes its place as soon as it leads to a pod.
    let named = json!({"namespace": namespace, "name": "theirs"});
    api.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": named,
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    }))
    .await;
    api.apply(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": namespace, "name": "theirs-by-hand",
            "labels": {"kubernetes.io/service-name": "theirs",
                "endpointslice.kubernetes.io/managed-by": "tests"}},
        "addressType": "IPv4", "ports": [{"port": 8081}],
        "endpoints": [{"addresses": ["192.0.2.1"]}],
    }))
    .await;
    let is_gone = |service: Option<&Value>| service.is_none();
    api.until("Service", &namespace, &second, is_gone).await;
    api.delete("EndpointSlice", &namespace, "theirs-by-hand").await;
    api.delete("Service", &namespace, "theirs").await;
    let third = service_of_pods(&api, &namespace, "theirs").await;

    // Nobody sends there any more.
    api.delete("HTTPRoute", &namespace, "shop").await;
    api.until("Service", &namespace, &third, is_gone).await;
    running.stop().await;
}

/// AD-6 to AD-9, GC-10: with CRDs of the experimental channel, which have the field.
async fn what_is_told_of_addresses_is_what_the_api_server_stores(api: Api) {
    let namespace = api.namespace("routability").await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    api.apply(class("one", CONTROLLER)).await;
    let claims = |class: Option<&Value>| {
        let features = class.and_then(|class| class["status"]["supportedFeatures"].as_array());
        let features = features.into_iter().flatten();
        let names: Vec<_> = features.filter_map(|feature| feature["name"].as_str()).collect();
        ["GatewayAddressRoutability", "GatewayAddressRoutabilityCluster", "GatewayListenerFilters"]
            .iter()
            .all(|name| names.contains(name))
    };
    api.until("GatewayClass", "", "one", claims).await;
    let mut web = gateway(&namespace, "web", "one");
    web["spec"]["addresses"] = json!([
        {"type": "IPAddress", "routability": "Cluster"},
        {"type": "IPAddress", "routability": "example.com/corp-wan"},
    ]);
    api.apply(web).await;
    let is_told = |gateway: Option<&Value>| {
        gateway.is_some_and(|gateway| {
            let assigned = condition(&gateway["status"], "AddressesAssigned");
            assigned["reason"] == "PartiallyAssigned"
        })
    };
    let web = api.until("Gateway", &namespace, "web", is_told).await.expect("it is there");
    let addresses = web["status"]["addresses"].as_array().expect("addresses");
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    assert_eq!(addresses[0]["routability"], "Cluster");
    let assigned = condition(&web["status"], "AddressesAssigned");
    let message = assigned["message"].as_str().unwrap_or_default();
    assert!(message.contains("spec.addresses[1]: routability `example.com/corp-wan`"), "{message}");
    running.stop().await;
}

/// A name has up to 253 characters. The API server takes fewer for whoever writes a field, and
/// events want one slash at most.
async fn a_controller_of_a_long_name_writes_status_and_events(api: Api) {
    let namespace = api.namespace("long").await;
    let controller =
        format!("test.gwapi.dev/{}", "teams/of/many/".repeat(17).trim_end_matches('/'));
    assert_eq!(controller.len(), 252);
    // Somebody else has what would be made for the Gateway.
    api.apply(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": "web-long"}, "spec": {"ports": [{"port": 80}]},
    }))
    .await;
    api.apply(class("long", &controller)).await;
    api.apply(gateway(&namespace, "web", "long")).await;
    api.apply(route(&namespace, "shop", "web")).await;
    let running = Running::ready(&api, settings(&controller, &namespace, "a")).await;
    accepted(&api, &namespace, "shop", &controller).await;
    gateway_accepted(&api, &namespace, "web").await;
    let of_the_gateway = |event: &DynamicObject| event.data["regarding"]["name"] == "web";
    api.until_any("Event", &namespace, of_the_gateway).await;

    // What was written under a name that was cut is known for ours.
    api.patch("Gateway", &namespace, "web", json!({"spec": {"gatewayClassName": "none"}})).await;
    let unknown = |gateway: Option<&Value>| {
        gateway.is_some_and(|it| condition(&it["status"], "Accepted")["status"] == "Unknown")
    };
    api.until("Gateway", &namespace, "web", unknown).await;
    api.delete("GatewayClass", "", "long").await;
    running.stop().await;
}

async fn a_gateway_that_moves_to_another_class_takes_its_routes_along(api: Api) {
    let namespaces = [api.namespace("move-one").await, api.namespace("move-two").await];
    let one = Running::ready(&api, settings(CONTROLLER, &namespaces[0], "a")).await;
    let two = Running::ready(&api, settings(OTHER, &namespaces[1], "b")).await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(class("two", OTHER)).await;
    let namespace = &namespaces[0];
    api.apply(gateway(namespace, "web", "one")).await;
    api.apply(route(namespace, "shop", "web")).await;
    accepted(&api, namespace, "shop", CONTROLLER).await;
    gateway_accepted(&api, namespace, "web").await;

    api.apply(gateway(namespace, "web", "two")).await;
    accepted(&api, namespace, "shop", OTHER).await;
    let gone = |route: Option<&Value>| {
        route.is_some_and(|route| {
            parent(route, CONTROLLER).is_null() && !parent(route, OTHER).is_null()
        })
    };
    api.until("HTTPRoute", namespace, "shop", gone).await;
    let web = gateway_accepted(&api, namespace, "web").await;
    let types: Vec<&str> = web["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .filter_map(|condition| condition["type"].as_str())
        .collect();
    let once: BTreeSet<&str> = types.iter().copied().collect();
    assert_eq!(types.len(), once.len(), "one of each: {types:?}");
    // Whoever has it writes it, and the other one keeps still.
    let writes = (
        one.writes_so_far(&api, class("one-more", CONTROLLER)).await,
        two.writes_so_far(&api, class("two-more", OTHER)).await,
    );
    api.patch("Gateway", namespace, "web", json!({"metadata": {"labels": {"a": "b"}}})).await;
    let hostnames = json!({"spec": {"hostnames": ["new.example.com"]}});
    api.patch("HTTPRoute", namespace, "shop", hostnames).await;
    accepted(&api, namespace, "shop", OTHER).await;
    assert_eq!(one.writes().await, writes.0);
    two.until_count(STATUS_REQUESTS, WRITTEN, writes.1 + 1).await;

    // Without a class nobody has it: the CRD's default is back.
    api.patch("Gateway", namespace, "web", json!({"spec": {"gatewayClassName": "none"}})).await;
    let unknown = |gateway: Option<&Value>| {
        gateway.is_some_and(|it| condition(&it["status"], "Accepted")["status"] == "Unknown")
    };
    api.until("Gateway", namespace, "web", unknown).await;
    let nobody = |route: Option<&Value>| {
        route.is_some_and(|route| route["status"]["parents"].as_array().is_some_and(Vec::is_empty))
    };
    api.until("HTTPRoute", namespace, "shop", nobody).await;
    one.stop().await;
    two.stop().await;
}

async fn entries_of_a_route_that_was_moved_while_nobody_looked_are_taken_back(api: Api) {
    let namespace = api.namespace("moved").await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    api.apply(route(&namespace, "shop", "web")).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    accepted(&api, &namespace, "shop", CONTROLLER).await;
    gateway_accepted(&api, &namespace, "web").await;
    running.stop().await;

    api.patch("Gateway", &namespace, "web", json!({"spec": {"gatewayClassName": "none"}})).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    let nobody = |route: Option<&Value>| {
        route.is_some_and(|route| route["status"]["parents"].as_array().is_some_and(Vec::is_empty))
    };
    api.until("HTTPRoute", &namespace, "shop", nobody).await;
    let unknown = |gateway: Option<&Value>| {
        gateway.is_some_and(|it| condition(&it["status"], "Accepted")["status"] == "Unknown")
    };
    api.until("Gateway", &namespace, "web", unknown).await;
    running.stop().await;
}

/// Made anew at once, with the same spec or with another, so that end and beginning may come in one step.
async fn whatever_takes_the_name_of_another_gets_a_status_of_its_own(api: Api) {
    let namespace = api.namespace("anew").await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    gateway_accepted(&api, &namespace, "web").await;
    for name in ["web", "web", "none", "web", "none", "none", "web"] {
        api.delete("HTTPRoute", &namespace, "shop").await;
        api.apply(route(&namespace, "shop", name)).await;
        if name == "web" {
            accepted(&api, &namespace, "shop", CONTROLLER).await;
        }
    }
    for _ in 0..3 {
        api.delete("Gateway", &namespace, "web").await;
        api.apply(gateway(&namespace, "web", "one")).await;
        gateway_accepted(&api, &namespace, "web").await;
    }
    running.until_written().await;
    running.stop().await;
}

async fn of_two_replicas_one_writes_and_the_other_takes_over_at_once(api: Api) {
    let namespace = api.namespace("lease").await;
    api.apply(class("one", CONTROLLER)).await;
    let first = Running::ready(&api, settings(CONTROLLER, &namespace, "first")).await;
    first.until_count("gwapi_controller_leader", &[], 1).await;
    let second = Running::ready(&api, settings(CONTROLLER, &namespace, "second")).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    gateway_accepted(&api, &namespace, "web").await;
    first.until_written().await;
    assert_eq!(second.count("gwapi_controller_leader", &[]).await, 0);
    assert_eq!(second.writes().await, 0);

    let started = Instant::now();
    first.stop().await;
    second.until_count("gwapi_controller_leader", &[], 1).await;
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(8), "the Lease was let go, and taken after {elapsed:?}");
    api.apply(route(&namespace, "shop", "web")).await;
    accepted(&api, &namespace, "shop", CONTROLLER).await;
    second.until_written().await;
    let lease = api.kind("Lease", &namespace).get("gwapi-controller").await.expect("a Lease");
    assert_eq!(lease.data["spec"]["holderIdentity"], "second");
    second.stop().await;
}

async fn namespaces_that_are_not_watched_do_not_exist(api: Api) {
    let [watched, other] = [api.namespace("watched").await, api.namespace("other").await];
    api.apply(class("one", CONTROLLER)).await;
    for namespace in [&other, &watched] {
        api.apply(gateway(namespace, "web", "one")).await;
        api.apply(route(namespace, "shop", "web")).await;
    }
    let mut settings = settings(CONTROLLER, &watched, "a");
    settings.watch_namespaces = vec![watched.clone()];
    let running = Running::ready(&api, settings).await;
    accepted(&api, &watched, "shop", CONTROLLER).await;
    gateway_accepted(&api, &watched, "web").await;
    let theirs = api.kind("HTTPRoute", &other).get("shop").await.expect("it is there");
    assert_eq!(theirs.data["status"], Value::Null);
    running.stop().await;
}

async fn a_broken_object_is_told_of_and_the_rest_goes_on(api: Api) {
    let namespace = api.namespace("broken").await;
    let name = "httproutes.gateway.networking.k8s.io";
    let (strict, loose) = strict_and_loose(&api, name).await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    api.apply(route(&namespace, "shop", "web")).await;
    accepted(&api, &namespace, "shop", CONTROLLER).await;
    api.patch("CustomResourceDefinition", "", name, loose).await;

    let broken = json!({"spec": {"rules": "many"}});
    api.patch_when_valid("HTTPRoute", &namespace, "shop", broken).await;
    let refused = |route: Option<&Value>| {
        route.is_some_and(|route| is(route, parent(route, CONTROLLER), "Accepted", "False"))
    };
    let shop = api.until("HTTPRoute", &namespace, "shop", refused).await.expect("it is there");
    let told = condition(parent(&shop, CONTROLLER), "Accepted")["message"].to_string();
    assert!(told.contains("generation 1 is served"), "{told}");
    api.apply(route(&namespace, "more", "web")).await;
    accepted(&api, &namespace, "more", CONTROLLER).await;
    running.until_count("gwapi_controller_objects_unreadable", &[], 1).await;

    // A controller that never knew it otherwise starts, and tells of it as well.
    running.stop().await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    running.until_count("gwapi_controller_objects_unreadable", &[], 1).await;
    api.delete("HTTPRoute", &namespace, "shop").await;
    running.until("/metrics", |_, body| body.contains("objects_unreadable 0")).await;
    api.patch("CustomResourceDefinition", "", name, strict).await;
    running.stop().await;
}

/// A CRD as it is, and as one that lets everything pass, which one of a later version may.
async fn strict_and_loose(api: &Api, name: &str) -> (Value, Value) {
    let crd = api.kind("CustomResourceDefinition", "").get(name).await.expect("a CRD");
    let strict = json!({"spec": crd.data["spec"]});
    let mut loose = strict.clone();
    for version in loose["spec"]["versions"].as_array_mut().expect("versions") {
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    (strict, loose)
}

async fn a_gateway_that_cannot_be_read_keeps_what_runs_for_it_over_a_restart(api: Api) {
    let namespace = api.namespace("unread").await;
    let name = "gateways.gateway.networking.k8s.io";
    let (strict, loose) = strict_and_loose(&api, name).await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    let is_made = |deployment: Option<&Value>| deployment.is_some();
    let made = api.until("Deployment", &namespace, "web-one", is_made).await;
    running.stop().await;

    api.patch("CustomResourceDefinition", "", name, loose).await;
    let broken = json!({"spec": {"listeners": "many"}});
    api.patch_when_valid("Gateway", &namespace, "web", broken).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    running.until_count("gwapi_controller_objects_unreadable", &[], 1).await;
    // What is made for this one comes after what had to go.
    api.apply(gateway(&namespace, "more", "one")).await;
    api.until("Deployment", &namespace, "more-one", is_made).await;
    let now = api.until("Deployment", &namespace, "web-one", is_made).await;
    let uid = |it: &Option<Value>| it.as_ref().map(|it| it["metadata"]["uid"].clone());
    assert_eq!(uid(&now), uid(&made));
    assert_eq!(now.expect("it is there")["metadata"]["deletionTimestamp"], Value::Null);

    api.delete("Gateway", &namespace, "web").await;
    api.until("Deployment", &namespace, "web-one", |it| it.is_none()).await;
    api.patch("CustomResourceDefinition", "", name, strict).await;
    running.stop().await;
}

async fn a_second_start_over_many_routes_writes_nothing(api: Api) {
    let namespace = api.namespace("many").await;
    let count = std::env::var("GWAPI_TEST_ROUTES").map_or(5000, |it| it.parse().expect("a number"));
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    let routes = (0..count).map(|n| route(&namespace, &format!("route-{n}"), "web"));
    api.apply_all(routes.collect()).await;
    let started = Instant::now();
    let first = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    let written = ["kind=\"HTTPRoute\"", "outcome=\"written\""];
    first.until_count(STATUS_REQUESTS, &written, count).await;
    let last = format!("route-{}", count - 1);
    accepted(&api, &namespace, &last, CONTROLLER).await;
    let elapsed = started.elapsed();
    println!("  {count} routes had their status after {:.1} s", elapsed.as_secs_f32());
    let settled = |gateway: Option<&Value>| {
        gateway.is_some_and(|it| it["status"]["listeners"][0]["attachedRoutes"] == count)
    };
    api.until("Gateway", &namespace, "web", settled).await;
    first.stop().await;

    let started = Instant::now();
    let second = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    let ready = started.elapsed();
    second.until_count("gwapi_controller_status_unchanged_total", &[], count + 1).await;
    // What runs for the Gateway may change at any time, and its status with it.
    for kind in ["kind=\"HTTPRoute\"", "kind=\"GatewayClass\""] {
        let requests = second.count(STATUS_REQUESTS, &[kind]).await;
        assert_eq!(requests, 0, "{}", second.get("/metrics").await.1);
    }
    let elapsed = started.elapsed();
    println!(
        "  a second start was ready after {:.1} s and had looked at all after {:.1} s",
        ready.as_secs_f32(),
        elapsed.as_secs_f32(),
    );
    second.stop().await;
    api.delete_all("HTTPRoute", &namespace).await;
}

/// Set where the API server is on another machine: what needs signals sent to it is left out.
const FAR_AWAY: &str = "GWAPI_TEST_API_SERVER_IS_FAR_AWAY";

/// The API server of the cluster that we are in the network of; none where we were told that it is far
/// away. A test that finds none and was not told so has tested nothing, and fails.
fn api_server() -> Option<u32> {
    let found = process_named("kube-apiserver");
    let is_far_away = std::env::var_os(FAR_AWAY).is_some();
    assert!(
        found.is_some() || is_far_away,
        "no kube-apiserver is in the network of this process; set {FAR_AWAY} to leave out what needs one"
    );
    found.filter(|_| !is_far_away)
}

/// A process of this name in the same network as we.
fn process_named(name: &str) -> Option<u32> {
    let network = std::fs::read_link("/proc/self/ns/net").ok()?;
    let processes = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes
        .filter(|process| {
            let command = std::fs::read_to_string(process.path().join("comm"));
            command.is_ok_and(|command| command.trim() == name)
                && std::fs::read_link(process.path().join("ns/net")).is_ok_and(|it| it == network)
        })
        .find_map(|process| process.file_name().to_str()?.parse().ok())
}

fn signal(process: u32, signal: &str) {
    assert!(is_signalled(process, signal), "kill -{signal} {process}");
}

fn is_signalled(process: u32, signal: &str) -> bool {
    let mut kill = std::process::Command::new("kill");
    let sent = kill.args([&format!("-{signal}"), &process.to_string()]).status();
    sent.is_ok_and(|status| status.success())
}

/// A process that does nothing until this is dropped, be it because a test fails meanwhile.
struct Stopped(u32);

impl Stopped {
    fn new(process: u32) -> Self {
        signal(process, "STOP");
        Self(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // What it should have done next is missed by the test; a panic here would end all tests.
        is_signalled(self.0, "CONT");
    }
}

/// TL-9: by the version that the API server has, which may be a beta.
async fn trust_bundles_are_followed_as_they_come_and_go(api: Api) {
    const NAME: &str = "gwapi-test-clients";
    let namespace = api.namespace("trust").await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    api.apply(class("one", CONTROLLER)).await;
    let mut web = gateway(&namespace, "web", "one");
    web["spec"]["listeners"] = json!([{
        "name": "https", "port": 443, "protocol": "HTTPS",
        "tls": {"certificateRefs": [{"name": "none"}]},
    }]);
    web["spec"]["tls"] = json!({"frontend": {"default": {"validation": {"caCertificateRefs": [
        {"group": "certificates.k8s.io", "kind": "ClusterTrustBundle", "name": NAME},
    ]}}}});
    api.apply(web).await;
    let is_missing = |gateway: Option<&Value>, expected: bool| {
        let listener = gateway.map(|it| &it["status"]["listeners"][0]);
        let resolved = listener.map(|it| condition(it, "ResolvedRefs")).filter(|it| !it.is_null());
        resolved.is_some_and(|resolved| {
            let message = resolved["message"].as_str().unwrap_or_default();
            message.contains(&format!("ClusterTrustBundle `{NAME}` does not exist")) == expected
        })
    };
    api.until("Gateway", &namespace, "web", |it| is_missing(it, true)).await;
    for _ in 0..2 {
        let pem = include_str!("../../../gwapi-translate/src/testing/pem/one.crt");
        api.apply(json!({
            "apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle",
            "metadata": {"name": NAME},
            "spec": {"trustBundle": pem},
        }))
        .await;
        api.until("Gateway", &namespace, "web", |it| is_missing(it, false)).await;
        api.delete("ClusterTrustBundle", "", NAME).await;
        api.until("Gateway", &namespace, "web", |it| is_missing(it, true)).await;
    }
    let ours = api.kind("GatewayClass", "").get("one").await.expect("it is there");
    let ours = serde_json::to_value(ours).expect("JSON");
    let features = ours["status"]["supportedFeatures"].as_array().expect("features");
    assert!(features.iter().any(|feature| feature["name"] == "ClusterTrustBundle"));
    running.stop().await;
}

async fn an_api_server_that_is_killed_is_caught_up_with(api: Api) {
    let namespace = api.namespace("outage").await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    api.apply(route(&namespace, "before", "web")).await;
    accepted(&api, &namespace, "before", CONTROLLER).await;
    let Some(process) = api_server() else {
        println!("  NOT KILLED: {FAR_AWAY} is set");
        return running.stop().await;
    };
    let lists = running.count("gwapi_controller_watch_events_total", &["event=\"listed\""]).await;
    signal(process, "KILL");
    running.until_count("gwapi_controller_watch_failures_total", &[], 1).await;
    assert_eq!(running.get("/readyz").await.0, 200, "what is known is served on");

    // The new server has forgotten what came before it: watches answer 410, and lists follow.
    api.until("HTTPRoute", &namespace, "before", |route| route.is_some()).await;
    let patch = json!({"spec": {"hostnames": ["after.example.com"]}});
    api.patch("HTTPRoute", &namespace, "before", patch).await;
    accepted(&api, &namespace, "before", CONTROLLER).await;
    let listed = &["event=\"listed\""];
    running.until_count("gwapi_controller_watch_events_total", listed, lists + 1).await;
    gateway_accepted(&api, &namespace, "web").await;
    running.stop().await;
}

async fn whoever_hears_nothing_stops_to_lead_and_leads_again_afterwards(api: Api) {
    let namespace = api.namespace("silent").await;
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    let running = Running::ready(&api, settings(CONTROLLER, &namespace, "a")).await;
    running.until_count("gwapi_controller_leader", &[], 1).await;
    let Some(process) = api_server() else {
        println!("  NOT STOPPED: {FAR_AWAY} is set");
        return running.stop().await;
    };
    let started = Instant::now();
    let stopped = Stopped::new(process);
    running.until("/metrics", |_, body| body.contains("gwapi_controller_leader 0\n")).await;
    let elapsed = started.elapsed();
    drop(stopped);
    assert!(elapsed < Duration::from_secs(15), "it led for {elapsed:?}, others may lead by then");
    running.until_count("gwapi_controller_leader", &[], 1).await;
    api.apply(route(&namespace, "shop", "web")).await;
    accepted(&api, &namespace, "shop", CONTROLLER).await;
    running.stop().await;
}

async fn without_crds_the_controller_waits_and_starts_by_itself(api: Api) {
    let namespace = api.namespace("crds").await;
    let crds = api.list("CustomResourceDefinition").await.into_iter().filter(|crd| {
        crd.metadata.name.as_deref().is_some_and(|it| it.ends_with("gateway.networking.k8s.io"))
    });
    let crds: Vec<DynamicObject> = crds.map(fresh).collect();
    assert!(!crds.is_empty(), "the tests need the CRDs of the Gateway API");
    for crd in &crds {
        let name = crd.metadata.name.as_deref().expect("a name");
        api.delete("CustomResourceDefinition", "", name).await;
    }
    let running = Running::start(&api, settings(CONTROLLER, &namespace, "a")).await;
    let told = |status: u16, body: &str| {
        status == 503 && body.contains("kubectl apply --server-side -f https://")
    };
    running.until("/readyz", told).await;
    assert_eq!(running.get("/livez").await.0, 200);

    let started = Instant::now();
    for crd in &crds {
        api.create(crd, "CustomResourceDefinition").await;
    }
    running.until("/readyz", |status, _| status == 200).await;
    println!("  ready {:.1} s after the CRDs came", started.elapsed().as_secs_f32());
    api.apply(class("one", CONTROLLER)).await;
    api.apply(gateway(&namespace, "web", "one")).await;
    api.apply(route(&namespace, "shop", "web")).await;
    accepted(&api, &namespace, "shop", CONTROLLER).await;

    // They go again under a controller that runs.
    let name = "httproutes.gateway.networking.k8s.io";
    api.delete("CustomResourceDefinition", "", name).await;
    let none = |gateway: Option<&Value>| {
        gateway.is_some_and(|it| it["status"]["listeners"][0]["attachedRoutes"] == 0)
    };
    api.until("Gateway", &namespace, "web", none).await;
    let crd = crds.iter().find(|crd| crd.metadata.name.as_deref() == Some(name));
    api.create(crd.expect("it was there"), "CustomResourceDefinition").await;
    let established = |crd: Option<&Value>| {
        crd.is_some_and(|crd| condition(&crd["status"], "Established")["status"] == "True")
    };
    api.until("CustomResourceDefinition", "", name, established).await;
    api.apply(route(&namespace, "shop", "web")).await;
    accepted(&api, &namespace, "shop", CONTROLLER).await;
    running.stop().await;
}

/// The object as it can be made anew.
fn fresh(mut object: DynamicObject) -> DynamicObject {
    let metadata = &mut object.metadata;
    metadata.uid = None;
    metadata.resource_version = None;
    metadata.creation_timestamp = None;
    metadata.generation = None;
    metadata.managed_fields = None;
    object.data["status"] = Value::Null;
    object
}
