//! What routes of every kind are held to: parents, hostnames, names of rules, headers, backends.

use std::hash::Hash;
use std::ops::RangeInclusive;

use super::checker::{Checker, quote};
use super::filter::{self, Filters};
use super::syntax::{HEADER_MATCH_VALUE, HEADER_NAME, HOSTNAME};
use super::{experimental, reference};
use crate::{HttpBackendRef, HttpHeaderMatch, Route, ValueMatchType};

/// A route, its rules left out.
/// A route may have so many hostnames as `hostnames` says (RT-14, TS-1).
pub(super) fn spec(check: &mut Checker, route: Route<'_>, hostnames: RangeInclusive<usize>) {
    reference::parents(check, route.parent_refs());
    check.list("hostnames", route.hostnames(), hostnames, |check, hostname| {
        check.value(hostname, &HOSTNAME);
    });
    if let Some(scope) = route.use_default_gateways() {
        check.one_of("useDefaultGateways", scope, experimental::DEFAULT_SCOPES); // RT-16
    }
}

/// Names used once (HR-5, GR-4), at most 128 matches in all.
pub(super) fn rules<R>(
    check: &mut Checker,
    rules: &[R],
    name: impl Fn(&R) -> Option<&str>,
    matches: impl Fn(&R) -> usize,
) {
    check.unique("rules", rules, Some("name"), &name, |rule| {
        format!("an earlier rule is named `{}` too", name(rule).unwrap_or_default())
    });
    let matches: usize = rules.iter().map(matches).sum();
    if matches > 128 {
        check.field("rules", |check| {
            check.report(format!("have {matches} matches in all: expected at most 128"));
        });
    }
}

/// Headers of a match (HM-5).
pub(super) fn headers(check: &mut Checker, headers: &[HttpHeaderMatch]) {
    check.list("headers", headers, 0..=16, |check, header| {
        let HttpHeaderMatch { match_type, name, value } = header;
        value_match_type(check, match_type.as_ref());
        check.text("name", name, &HEADER_NAME);
        check.text("value", value, &HEADER_MATCH_VALUE);
    });
    // The list is keyed by the name as it is written: `foo` beside `Foo` passes (HM-5).
    named_once(check, "headers", headers, |header| &header.name, "header");
}

/// Entries of a list that is keyed by their names.
pub(super) fn named_once<T, K: Eq + Hash + std::fmt::Display>(
    check: &mut Checker,
    list: &'static str,
    entries: &[T],
    name: impl Fn(&T) -> &K,
    what: &str,
) {
    check.unique(
        list,
        entries,
        Some("name"),
        |entry| Some(name(entry)),
        |entry| format!("an earlier entry is for {what} {} too", quote(name(entry))),
    );
}

pub(super) fn value_match_type(check: &mut Checker, match_type: Option<&ValueMatchType>) {
    if let Some(match_type) = match_type {
        check.one_of("type", match_type.as_str(), ValueMatchType::KNOWN);
    }
}

/// Backends of a rule, with weights (HB-2) and filters of their own (HB-6).
pub(super) fn backend_refs(check: &mut Checker, backends: &[HttpBackendRef], known: Filters) {
    check.list("backendRefs", backends, 0..=16, |check, backend| {
        reference::backend(check, backend.into());
        weight(check, backend.weight);
        filter::filters(check, &backend.filters, known);
    });
}

/// Weight of a backend (HB-2).
pub(super) fn weight(check: &mut Checker, weight: Option<i32>) {
    check.number("weight", weight.map(i64::from), 0..=1_000_000);
}
