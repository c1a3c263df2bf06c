//! Session persistence (SP-1, SP-2, SP-5).

use super::checker::{Checker, Member};
use super::syntax::{HEADER_NAME, any};
use crate::{CookieLifetimeType, SessionPersistence, SessionPersistenceType};

pub(super) fn session_persistence(check: &mut Checker, settings: &SessionPersistence) {
    let SessionPersistence { persistence_type, absolute_timeout, cookie, header } = settings;
    let chosen = persistence_type.as_ref().unwrap_or(&SessionPersistenceType::Cookie);
    check.one_of("type", chosen.as_str(), SessionPersistenceType::KNOWN);
    let member = |of_type, field, is_set| Member { of_type, field, is_set };
    check.union(
        chosen.as_str(),
        &[
            member("Cookie", "cookie", cookie.is_some()),
            member("Header", "header", header.is_some()),
        ],
    );
    let lifetime = cookie.as_ref().and_then(|cookie| cookie.lifetime_type.as_ref());
    if lifetime == Some(&CookieLifetimeType::Permanent) && absolute_timeout.is_none() {
        check.report("`absoluteTimeout` is missing: a permanent cookie needs it");
    }
    check.optional("cookie", cookie.as_ref(), |check, cookie| {
        check.optional_text("name", cookie.name.as_ref(), &HEADER_NAME);
        check.optional_text("path", cookie.path.as_ref(), &any("a path", 1024));
        if let Some(lifetime) = &cookie.lifetime_type {
            check.one_of("lifetimeType", lifetime.as_str(), CookieLifetimeType::KNOWN);
        }
    });
    check.optional("header", header.as_ref(), |check, header| {
        check.text("name", &header.name, &HEADER_NAME);
    });
}
