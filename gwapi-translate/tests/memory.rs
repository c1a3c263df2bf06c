//! What routes cost for as long as they are served: a gateway with 40,000 of them is to stay small.

use gwapi_model::{Resource, ResourceEvent};
use gwapi_translate::ir::GatewayId;
use gwapi_translate::{Options, RouteTable, Translator};
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
            "spec": {
                "gatewayClassName": "gwapi",
                "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
            },
        })),
        object::<gwapi_model::Service>(json!({
            "metadata": { "name": "web", "namespace": "ns" },
            "spec": { "ports": [{ "port": 80 }] },
        })),
    ]
}

fn route(index: usize) -> Resource {
    object::<gwapi_model::HttpRoute>(json!({
        "metadata": { "name": format!("route-{index:05}"), "namespace": "ns" },
        "spec": {
            "parentRefs": [{ "name": "gw" }],
            "hostnames": ["shop.example.com"],
            "rules": [{
                "matches": [{ "path": { "value": format!("/prefix-{index:05}") } }],
                "backendRefs": [{ "name": "web", "port": 80 }],
            }],
        },
    }))
}

/// Bytes of the heap that one of many routes takes: as an object, translated, and in the table.
/// Bytes are those asked for; the seeds of maps move them by a few.
#[test]
fn a_route_takes_no_more_than_its_share() {
    const ROUTES: usize = 5_000;
    const BYTES_PER_ROUTE: i64 = 1_750;
    let mut served = None;
    let counted = allocation_counter::measure(|| {
        let mut translator = Translator::new(Options::default());
        let objects = base().into_iter().chain((0..ROUTES).map(route));
        translator.apply_all(objects.map(ResourceEvent::Apply));
        let config = &translator.translation().config[&GatewayId::new("ns", "gw")];
        assert_eq!(config.http_rules().count(), ROUTES);
        let table = RouteTable::compile(config);
        served = Some((translator, table));
    });
    let per_route = counted.bytes_current / ROUTES as i64;
    assert!(per_route <= BYTES_PER_ROUTE, "{per_route} bytes for each route");
    drop(served);
}
