//! Time that passes for a test, told by the proxy itself: nothing sleeps.

use std::time::Duration;

use gwapi_translate::ir::{HttpRule, HttpTimeouts, IrResource};
use http::StatusCode;

use super::{Proxy, Scripted, backend, ir, prefix, rule, to};

pub(crate) const SHORT: Duration = Duration::from_millis(100);

pub(crate) fn timeouts(
    request: Option<Duration>,
    backend_request: Option<Duration>,
) -> Option<Box<HttpTimeouts>> {
    Some(Box::new(HttpTimeouts { request, backend_request }))
}

/// Adds a rule for `/silent` that times out after [`SHORT`], to tell time by.
pub(crate) fn with_clock(mut resources: Vec<IrResource>, silent: &Scripted) -> Vec<IrResource> {
    resources.extend(backend("silent", &[silent.address]));
    resources.push(ir(HttpRule {
        matches: prefix("/silent"),
        backends: to("silent"),
        timeouts: timeouts(Some(SHORT), None),
        ..rule("silent")
    }));
    resources
}

/// Waits for [`SHORT`], by the clock of the proxy.
pub(crate) async fn pass(proxy: &Proxy) {
    assert_eq!(proxy.get("a", "/silent").await.status, StatusCode::GATEWAY_TIMEOUT);
}
