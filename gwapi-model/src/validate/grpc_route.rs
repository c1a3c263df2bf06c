//! GRPCRoute: its rules and their matches.

use super::checker::Checker;
use super::filter::{self, Filters};
use super::syntax::{GRPC_METHOD, GRPC_SERVICE, NAME, any};
use super::{route, session_persistence};
use crate::{GrpcMethodMatch, GrpcRoute, GrpcRouteMatch, GrpcRouteRule, Route, ValueMatchType};

pub(super) fn grpc_route(check: &mut Checker, grpc_route: &GrpcRoute) {
    check.field("spec", |check| {
        route::spec(check, Route::Grpc(grpc_route), 0..=16);
        if let Some(rules) = &grpc_route.spec.rules {
            check.list("rules", rules, 0..=16, rule);
            route::rules(check, rules, |rule| rule.name.as_deref(), |rule| rule.matches.len());
        }
    });
}

/// GR-4, GR-7.
fn rule(check: &mut Checker, rule: &GrpcRouteRule) {
    check.optional_text("name", rule.name.as_ref(), &NAME);
    check.list("matches", &rule.matches, 0..=64, |check, route_match| {
        let GrpcRouteMatch { method, headers } = route_match;
        check.optional("method", method.as_ref(), method_match);
        route::headers(check, headers);
    });
    filter::filters(check, &rule.filters, Filters::OfGrpc);
    route::backend_refs(check, &rule.backend_refs, Filters::OfGrpc);
    let persistence = rule.session_persistence.as_deref();
    check.optional("sessionPersistence", persistence, session_persistence::session_persistence);
}

/// GR-3.
fn method_match(check: &mut Checker, written: &GrpcMethodMatch) {
    let GrpcMethodMatch { match_type, service, method } = written;
    route::value_match_type(check, match_type.as_ref());
    if service.is_none() && method.is_none() {
        check.report_with_help(
            "`service` and `method` are missing: expected one of them at least",
            "leave `method` out of the match to take every call",
        );
    }
    if match_type.as_ref().unwrap_or(&ValueMatchType::Exact) == &ValueMatchType::Exact {
        check.optional_text("service", service.as_ref(), &GRPC_SERVICE);
        check.optional_text("method", method.as_ref(), &GRPC_METHOD);
    } else {
        check.optional_text("service", service.as_ref(), &any("a pattern", 1024));
        check.optional_text("method", method.as_ref(), &any("a pattern", 1024));
    }
}
