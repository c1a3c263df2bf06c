//! Budgets of retries, as clients and endpoints see them (X-1).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gwapi_dataplane::ProxyBuilder;
use gwapi_translate::ir::{Backend, HttpRetry, HttpRule, IrResource, RetryBudget};
use http::StatusCode;

use super::support::*;

const HOUR: Duration = Duration::from_secs(3600);

/// So many retries in an hour, and no share beside them.
fn at_most(retries: u32) -> RetryBudget {
    RetryBudget { percent: 0, interval: HOUR, min_count: retries, min_interval: HOUR }
}

/// Backends whose endpoint is this one, and which are held to the budget.
fn held_to(budget: RetryBudget, name: &str, endpoint: SocketAddr) -> Vec<IrResource> {
    let mut resources = backend(name, &[endpoint]);
    let IrResource::Backend(backend) = &mut resources[0] else { unreachable!("it comes first") };
    *backend = Arc::new(Backend { retry_budget: Some(budget), ..(**backend).clone() });
    resources
}

/// A rule for a path that has each request sent five times more where it is answered 500.
fn retrying(name: &str, path: &str) -> IrResource {
    let backoff = Some(Duration::from_millis(1));
    let retry = Some(Box::new(HttpRetry { attempts: 5, codes: vec![500], backoff }));
    ir(HttpRule { backends: to(name), matches: prefix(path), retry, ..rule(name) })
}

/// An endpoint that answers 500 to every request of a test.
async fn failing() -> Echo {
    let echo = Echo::start("echo").await;
    echo.will_answer(&[500; 100]);
    echo
}

#[tokio::test]
async fn beyond_the_budget_a_retry_becomes_503_on_whatever_core_it_is() {
    let app = failing().await;
    let local = IpAddr::from([127, 0, 0, 1]);
    let builder = ProxyBuilder::new().admin(SocketAddr::new(local, 0));
    let proxy = serve_on_cores(4, local, &builder, |port| {
        let mut resources = held_to(at_most(7), "app", app.address);
        resources.extend([ir_listener(listener("web", port)), retrying("app", "/")]);
        resources
    });
    // Each on a connection of its own, and so on any of the cores.
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(proxy.get("a", "/").await.status.as_u16());
    }
    assert_eq!(statuses[0], 500, "five retries, and the answer to the last of them");
    assert_eq!(statuses[1..], [503; 11], "two more, and then none");
    assert_eq!(app.requests().len(), 12 + 7);
    let line = r#"gwapi_refused_retries_total{backend="default/app:80",reason="budget"} 11"#;
    proxy.until_metric(line).await;
}

#[tokio::test]
async fn requests_of_rules_without_retries_make_room_for_retries() {
    let (app, fine) = (failing().await, Echo::start("echo").await);
    let budget = RetryBudget { percent: 50, min_count: 1, ..at_most(1) };
    let proxy = serve(|port| {
        let mut resources = held_to(budget, "app", app.address);
        resources.extend(held_to(at_most(1), "fine", fine.address));
        let plain = HttpRule {
            key: gwapi_translate::ir::RuleKey::new("default/plain/0"),
            backends: to("app"),
            matches: prefix("/plain"),
            ..rule("plain")
        };
        resources.extend([
            ir_listener(listener("web", port)),
            ir(plain),
            retrying("app", "/again"),
        ]);
        resources
    });
    for _ in 0..3 {
        assert_eq!(proxy.get("a", "/plain").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    // Four requests with this one, and as many retries may there be.
    assert_eq!(proxy.get("a", "/again").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(app.requests().len(), 4 + 4);
}

#[tokio::test]
async fn a_budget_is_that_of_its_backend_and_outlives_edits_that_leave_it_alone() {
    let (app, other) = (failing().await, failing().await);
    let with = |port: u16, budget: RetryBudget, endpoints: &[SocketAddr]| {
        let mut resources = held_to(budget, "app", endpoints[0]);
        if let IrResource::Endpoints(all) = &mut resources[1] {
            Arc::make_mut(all).addresses = endpoints.to_vec();
        }
        resources.extend(backend("other", &[other.address]));
        resources.extend([ir_listener(listener("web", port)), retrying("app", "/app")]);
        resources.push(retrying("other", "/other"));
        resources
    };
    let mut proxy = serve(|port| with(port, at_most(5), &[app.address]));
    assert_eq!(proxy.get("a", "/app").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(proxy.get("a", "/app").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(app.requests().len(), 7);
    // Nobody bounds the other one.
    for _ in 0..3 {
        assert_eq!(proxy.get("a", "/other").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(other.requests().len(), 18);

    let port = proxy.address.port();
    proxy.set(with(port, at_most(5), &[app.address, other.address]));
    assert_eq!(proxy.get("a", "/app").await.status, StatusCode::SERVICE_UNAVAILABLE, "as before");
    proxy.set(with(port, at_most(6), &[app.address]));
    assert_eq!(proxy.get("a", "/app").await.status, StatusCode::INTERNAL_SERVER_ERROR, "anew");
    assert_eq!(proxy.get("a", "/app").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
