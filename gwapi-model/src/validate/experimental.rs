//! Fields of the experimental channel.

use serde_json::Value;

use super::checker::{Checker, Member};
use super::{external_auth, reference};
use crate::{ListenerFilterType, ListenerFilters, Protocol};

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
        let of_type = filter.filter_type.as_str();
        check.one_of("type", of_type, ListenerFilterType::KNOWN);
        let member = |of_type, field, is_set| Member { of_type, field, is_set };
        check.union(
            of_type,
            &[
                member("ExternalAuth", "externalAuth", filter.external_auth.is_some()),
                member("ExtensionRef", "extensionRef", filter.extension_ref.is_some()),
            ],
        );
        check.optional("externalAuth", filter.external_auth.as_deref(), external_auth::filter);
        check.optional("extensionRef", filter.extension_ref.as_ref(), reference::local);
    });
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
