//! Fields of the experimental channel that the model keeps as they were written.

use serde_json::Value;

use super::checker::{Checker, Member};
use crate::{ListenerFilters, Protocol};

/// Scopes of default Gateways (RT-16).
pub(super) const DEFAULT_SCOPES: &[&str] = &["All", "None"];

/// Filters of a listener: at most 16, on HTTP and HTTPS alone, each with the member that fits its
/// type (LF-1, LF-2).
pub(super) fn listener_filters(
    check: &mut Checker,
    filters: &ListenerFilters,
    protocol: &Protocol,
) {
    if !matches!(protocol, Protocol::Http | Protocol::Https) {
        check.report(format!("protocol {protocol} takes no filters: expected HTTP or HTTPS"));
    }
    check.list("requests", &filters.requests, 0..=16, |check, filter| {
        typed_union(
            check,
            filter,
            "type",
            None,
            &[("ExternalAuth", "externalAuth"), ("ExtensionRef", "extensionRef")],
        );
        if let Some(external_auth_filter) = filter.get("externalAuth") {
            check.field("externalAuth", |check| external_auth(check, external_auth_filter));
        }
    });
}

/// ExternalAuth: the settings are those of the protocol (EA-2, EA-3).
pub(super) fn external_auth(check: &mut Checker, filter: &Value) {
    typed_union(check, filter, "protocol", None, &[("HTTP", "http"), ("GRPC", "grpc")]);
    if filter.get("backendRef").is_none() {
        check.report("`backendRef` is missing: it names the authorization service");
    }
    if let Some(size) = filter.pointer("/forwardBody/maxSize").and_then(Value::as_i64) {
        check.field("forwardBody", |check| {
            check.number("maxSize", Some(size), 0..=i64::from(i32::MAX)); // EA-4
        });
    }
}

/// Session persistence of a rule (SP-1, SP-2).
pub(super) fn session_persistence(check: &mut Checker, settings: &Value) {
    let members = [("Cookie", "cookie"), ("Header", "header")];
    typed_union(check, settings, "type", Some("Cookie"), &members);
    let lifetime = settings.pointer("/cookie/lifetimeType").and_then(Value::as_str);
    if lifetime == Some("Permanent") && settings.get("absoluteTimeout").is_none() {
        check.report("`absoluteTimeout` is missing: a permanent cookie needs it");
    }
}

fn typed_union(
    check: &mut Checker,
    value: &Value,
    discriminator: &'static str,
    default: Option<&'static str>,
    members: &[(&'static str, &'static str)],
) {
    let Some(chosen) = value.get(discriminator).map_or(default, Value::as_str) else {
        check.report(format!("`{discriminator}` is missing: expected a text"));
        return;
    };
    let types: Vec<&str> = members.iter().map(|(of_type, _)| *of_type).collect();
    check.one_of(discriminator, chosen, &types);
    let members: Vec<Member> = members
        .iter()
        .map(|&(of_type, field)| Member { of_type, field, is_set: value.get(field).is_some() })
        .collect();
    check.union(chosen, &members);
}
