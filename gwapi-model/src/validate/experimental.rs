//! Fields of the experimental channel.

use super::checker::{Checker, Member};
use super::{external_auth, reference};
use crate::{ListenerFilterType, ListenerFilters, Protocol};

/// Scopes of default Gateways (RT-16).
pub(super) const DEFAULT_SCOPES: &[&str] = &["All", "None"];

/// Filters are on listeners of HTTP and HTTPS alone (LF-1).
pub(super) fn protocol_of_filters(check: &mut Checker, protocol: &Protocol) {
    if !matches!(protocol, Protocol::Http | Protocol::Https) {
        check.report(format!("protocol {protocol} takes no filters: expected HTTP or HTTPS"));
    }
}

/// Filters of a listener: at most 16, each with the member that fits its type (LF-2).
pub(super) fn listener_filters(check: &mut Checker, filters: &ListenerFilters) {
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
