//! What the translation of one event costs among many routes: `cargo run --release -p gwapi-translate
//! --example event_bench -- ROUTES EVENTS`.
//!
//! All routes are prefixes of one host, and all lead to one Service. For each kind of event a line of
//! JSON is printed, with the milliseconds of so many of them; `cargo xtask bench translation` makes a
//! table of it. That an event changes what it should and nothing else is checked of each one.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use gwapi_model::{Kind, ObjectId, Resource, ResourceEvent};
use gwapi_translate::{Options, TranslationDelta, Translator};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let (Some(routes), Some(events)) = (arguments.next(), arguments.next()) else {
        return Err("the numbers of routes and of events are expected".into());
    };
    let (routes, events) = (routes?.max(1), events?);
    let mut translator = Translator::new(Options::default());
    let objects = base().into_iter().chain((0..routes).map(|index| route(index, "web")));
    let _ = translator.apply_all(objects.map(ResourceEvent::Apply));

    // Spread over all of them, so that none is found where the last one was.
    let one = |number: usize| number * 7_919 % routes;
    let new = |number: usize| ObjectId::new(Kind::HttpRoute, "ns", name(routes + number));
    let edits = (0..events).map(|number| {
        let index = one(number);
        // The other backend, and back where the same route is edited again.
        let backend = if number / routes % 2 == 0 { "other" } else { "web" };
        let expected = format!("+ HttpRule ns/{}/one", name(index));
        (ResourceEvent::Apply(route(index, backend)), expected)
    });
    measure(&mut translator, "HTTPRoute edited", edits)?;
    let creations = (0..events).map(|number| {
        let expected = format!("+ HttpRule ns/{}/one", name(routes + number));
        (ResourceEvent::Apply(route(routes + number, "web")), expected)
    });
    measure(&mut translator, "HTTPRoute created", creations)?;
    let deletions = (0..events).map(|number| {
        let expected = format!("- HttpRule ns/{}/one", name(routes + number));
        (ResourceEvent::Delete(new(number)), expected)
    });
    measure(&mut translator, "HTTPRoute deleted", deletions)?;
    let endpoints = (0..events).map(|number| {
        (ResourceEvent::Apply(endpoint_slice(number)), "+ Endpoints ns/web:80".to_owned())
    });
    measure(&mut translator, "EndpointSlice edited", endpoints)?;
    Ok(())
}

/// Applies events, each with the one change of configuration that it has to bring, and prints how long
/// each took.
fn measure(
    translator: &mut Translator,
    what: &str,
    events: impl Iterator<Item = (ResourceEvent, String)>,
) -> Result<(), Box<dyn Error>> {
    let mut milliseconds = Vec::new();
    for (event, expected) in events {
        let start = Instant::now();
        let delta = black_box(translator.apply(event));
        let took = start.elapsed().as_secs_f64() * 1e3;
        let changes = changes(&delta);
        if changes != [expected.as_str()] {
            return Err(format!("{what}: {changes:?} instead of {expected}").into());
        }
        // Nanoseconds, and no more than the clock says.
        milliseconds.push((took * 1e6).round() / 1e6);
    }
    println!("{}", json!({ "event": what, "milliseconds": milliseconds }));
    Ok(())
}

/// What a delta does to the configuration of Gateways.
fn changes(delta: &TranslationDelta) -> Vec<String> {
    let of = delta.config.values();
    let upserts = of.clone().flat_map(|change| &change.upserts);
    let removals = of.flat_map(|change| &change.removals);
    let upserts = upserts.map(|resource| format!("+ {}", resource.key()));
    upserts.chain(removals.map(|key| format!("- {key}"))).collect()
}

fn object<T: serde::de::DeserializeOwned + Into<Resource>>(value: Value) -> Resource {
    serde_json::from_value::<T>(value).expect("it fits the type").into()
}

/// A Gateway, and the Services that routes lead to.
fn base() -> Vec<Resource> {
    let service = |name: &str| {
        object::<gwapi_model::Service>(json!({
            "metadata": { "name": name, "namespace": "ns" },
            "spec": { "ports": [{ "port": 80 }] },
        }))
    };
    vec![
        object::<gwapi_model::GatewayClass>(json!({
            "metadata": { "name": "gwapi" },
            "spec": { "controllerName": "gwapi.dev/gateway-controller" },
        })),
        object::<gwapi_model::Gateway>(json!({
            "metadata": { "name": "gw", "namespace": "ns" },
            "spec": {
                "gatewayClassName": "gwapi",
                "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
            },
        })),
        service("web"),
        service("other"),
        endpoint_slice(1),
        anchor("web"),
        anchor("other"),
    ]
}

/// A route that leads to a backend whatever the others do: so no edit makes the first use of it, or ends
/// the last one.
fn anchor(backend: &str) -> Resource {
    object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": backend, "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw" }],
            "hostnames": [format!("{backend}.example.com")],
            "rules": [{ "backendRefs": [{ "name": backend, "port": 80 }] }],
        },
    }))
}

fn name(index: usize) -> String {
    format!("route-{index:05}")
}

fn route(index: usize, backend: &str) -> Resource {
    object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": name(index), "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw" }],
            "hostnames": ["shop.example.com"],
            "rules": [{
                "name": "one",
                "matches": [{ "path": { "value": format!("/prefix-{index:05}") } }],
                "backendRefs": [{ "name": backend, "port": 80 }],
            }],
        },
    }))
}

/// Three endpoints, of which one differs from number to number.
fn endpoint_slice(number: usize) -> Resource {
    let other = format!("10.1.{}.{}", number / 250 % 250, number % 250);
    let endpoint = |address: &str| json!({ "addresses": [address] });
    object::<gwapi_model::EndpointSlice>(json!({
        "metadata": {
            "name": "web-1",
            "namespace": "ns",
            "labels": { "kubernetes.io/service-name": "web" },
        },
        "addressType": "IPv4",
        "ports": [{ "port": 8080 }],
        "endpoints": [endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint(&other)],
    }))
}
