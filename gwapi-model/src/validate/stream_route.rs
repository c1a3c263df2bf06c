//! TLSRoute, TCPRoute and UDPRoute.

use super::checker::Checker;
use super::syntax::NAME;
use super::{reference, route};
use crate::{Route, StreamRouteRule, TcpRoute, TlsRoute, UdpRoute};

pub(super) fn tls_route(check: &mut Checker, tls_route: &TlsRoute) {
    check.field("spec", |check| {
        route::spec(check, Route::Tls(tls_route), 1..=1024);
        rules(check, &tls_route.spec.rules);
    });
}

pub(super) fn tcp_route(check: &mut Checker, tcp_route: &TcpRoute) {
    check.field("spec", |check| {
        route::spec(check, Route::Tcp(tcp_route), 0..=0);
        rules(check, &tcp_route.spec.rules);
    });
}

pub(super) fn udp_route(check: &mut Checker, udp_route: &UdpRoute) {
    check.field("spec", |check| {
        route::spec(check, Route::Udp(udp_route), 0..=0);
        rules(check, &udp_route.spec.rules);
    });
}

/// TS-1, L4-1.
fn rules(check: &mut Checker, rules: &[StreamRouteRule]) {
    check.list("rules", rules, 1..=1, |check, rule| {
        let StreamRouteRule { name, backend_refs } = rule;
        check.optional_text("name", name.as_ref(), &NAME);
        check.list("backendRefs", backend_refs, 1..=16, |check, backend| {
            reference::backend(check, backend.into());
            route::weight(check, backend.weight);
        });
    });
}
