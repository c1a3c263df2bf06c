//! Names of hosts, as endpoints of a backend (X-2, HB-7).

use std::sync::Arc;

use gwapi_translate::ir::{HttpRule, IrResource};
use http::StatusCode;

use super::support::*;

/// A rule to a backend whose endpoints are a name, of a host outside or of any.
fn named(port: u16, name: &str, at: u16, outside: bool) -> Vec<IrResource> {
    let rule = HttpRule { backends: to("app"), ..rule("app") };
    let mut resources = backend("app", &[]);
    for resource in &mut resources {
        if let IrResource::Endpoints(endpoints) = resource {
            let endpoints = Arc::make_mut(endpoints);
            let names = if outside { &mut endpoints.external } else { &mut endpoints.hostnames };
            names.push((name.to_owned(), at));
        }
    }
    resources.extend([ir_listener(listener("web", port)), ir(rule)]);
    resources
}

/// The name leads to this machine, which is not public: nobody reaches it by way of the gateway.
#[tokio::test]
async fn a_host_outside_is_not_reached_at_an_address_inside() {
    let echo = Echo::on(([127, 0, 0, 1], 0).into(), "inside", false).await;
    let at = echo.address.port();
    let proxy = serve(|port| named(port, "localhost", at, false));
    assert_eq!(proxy.get("a", "/").await.endpoint(), "inside", "the name leads there");
    let proxy = serve(|port| named(port, "localhost", at, true));
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(echo.requests().len(), 1);
}
