//! External authorization, of routes and of listeners alike (EA-5).

use super::checker::{Checker, Member};
use super::reference;
use super::syntax::{AUTH_PATH, any};
use crate::{ExternalAuthProtocol, HttpExternalAuthFilter};

/// The settings are those of the protocol (EA-2, EA-3), and no list names anything twice.
pub(super) fn filter(check: &mut Checker, filter: &HttpExternalAuthFilter) {
    let protocol = filter.protocol.as_str();
    check.one_of("protocol", protocol, ExternalAuthProtocol::KNOWN);
    let member = |of_type, field, is_set| Member { of_type, field, is_set };
    check.union(
        protocol,
        &[
            member("HTTP", "http", filter.http.is_some()),
            member("GRPC", "grpc", filter.grpc.is_some()),
        ],
    );
    check.field("backendRef", |check| reference::backend(check, (&filter.backend_ref).into()));
    check.optional("grpc", filter.grpc.as_ref(), |check, grpc| {
        names(check, "allowedHeaders", &grpc.allowed_headers);
    });
    check.optional("http", filter.http.as_ref(), |check, http| {
        check.optional_text("path", http.path.as_ref(), &AUTH_PATH);
        names(check, "allowedHeaders", &http.allowed_headers);
        names(check, "allowedResponseHeaders", &http.allowed_response_headers);
    });
    check.optional("forwardBody", filter.forward_body.as_ref(), |check, body| {
        check.number("maxSize", body.max_size.map(i64::from), 0..=i64::from(i32::MAX)); // EA-4
    });
}

/// The schema knows no grammar for them: what is no name of a header is told by the translation.
fn names(check: &mut Checker, list: &'static str, names: &[String]) {
    check.list(list, names, 0..=64, |check, name| check.value(name, &any("a name", usize::MAX)));
    check.set(list, names);
}
