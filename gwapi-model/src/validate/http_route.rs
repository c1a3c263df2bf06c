//! HTTPRoute: its rules and their matches.

use super::checker::{Checker, quote};
use super::filter::{self, Filters, PrefixReplacement};
use super::syntax::{HEADER_NAME, NAME, QUERY_PARAM_VALUE, any};
use super::{route, session_persistence};
use crate::{
    HttpMethod, HttpPathMatch, HttpQueryParamMatch, HttpRoute, HttpRouteMatch, HttpRouteRetry,
    HttpRouteRule, HttpRouteTimeouts, PathMatchType, Route,
};

pub(super) fn http_route(check: &mut Checker, http_route: &HttpRoute) {
    check.field("spec", |check| {
        route::spec(check, Route::Http(http_route), 0..=16);
        if let Some(rules) = &http_route.spec.rules {
            check.list("rules", rules, 1..=16, rule); // HR-5
            // A rule without matches has the one that the API fills in.
            let matches = |rule: &HttpRouteRule| rule.matches.len().max(1);
            route::rules(check, rules, |rule| rule.name.as_deref(), matches);
        }
    });
}

fn rule(check: &mut Checker, rule: &HttpRouteRule) {
    check.optional_text("name", rule.name.as_ref(), &NAME);
    check.list("matches", &rule.matches, 0..=64, route_match);
    let known = Filters::OfHttp(if replaces_prefix_of_one_match(&rule.matches) {
        PrefixReplacement::Possible
    } else {
        PrefixReplacement::Impossible
    });
    filter::filters(check, &rule.filters, known);
    redirect_stands_alone(check, rule);
    route::backend_refs(check, &rule.backend_refs, known);
    check.optional("timeouts", rule.timeouts.as_deref(), timeouts);
    check.optional("retry", rule.retry.as_deref(), retry);
    let persistence = rule.session_persistence.as_deref();
    check.optional("sessionPersistence", persistence, session_persistence::session_persistence);
}

/// Whether there is exactly one match and it is a prefix, by default or by type: what
/// `ReplacePrefixMatch` needs (HF-6).
fn replaces_prefix_of_one_match(matches: &[HttpRouteMatch]) -> bool {
    match matches {
        [] => true,
        [only] => only
            .path
            .as_ref()
            .and_then(|path| path.match_type.as_ref())
            .is_none_or(|match_type| *match_type == PathMatchType::PathPrefix),
        _ => false,
    }
}

/// A redirect answers by itself: nothing goes to a backend (section A4.4 of the rules).
fn redirect_stands_alone(check: &mut Checker, rule: &HttpRouteRule) {
    let redirects = rule.filters.iter().any(|filter| filter.request_redirect.is_some());
    if redirects && !rule.backend_refs.is_empty() {
        check.field("backendRefs", |check| {
            check.report_with_help(
                "the rule redirects, so that no request reaches a backend",
                "remove backendRefs or the RequestRedirect filter",
            );
        });
    }
}

/// Conditions of one match (HM-5 to HM-7).
fn route_match(check: &mut Checker, route_match: &HttpRouteMatch) {
    let HttpRouteMatch { path, headers, query_params, method } = route_match;
    check.optional("path", path.as_ref(), path_match);
    route::headers(check, headers);
    check.list("queryParams", query_params, 0..=16, |check, param| {
        let HttpQueryParamMatch { match_type, name, value } = param;
        route::value_match_type(check, match_type.as_ref());
        check.text("name", name, &HEADER_NAME);
        check.text("value", value, &QUERY_PARAM_VALUE);
    });
    route::named_once(check, "queryParams", query_params, |param| &param.name, "parameter");
    if let Some(method) = method {
        check.one_of("method", method.as_str(), HttpMethod::KNOWN);
    }
}

fn path_match(check: &mut Checker, path: &HttpPathMatch) {
    let match_type = path.match_type.as_ref().unwrap_or(&PathMatchType::PathPrefix);
    check.one_of("type", match_type.as_str(), PathMatchType::KNOWN);
    check.optional_text("value", path.value.as_ref(), &any("a path", 1024));
    if let (PathMatchType::Exact | PathMatchType::PathPrefix, Some(value)) =
        (match_type, &path.value)
        && let Some((message, help)) = path_problem(value)
    {
        check.field("value", |check| match help {
            Some(help) => check.report_with_help(message, help),
            None => check.report(message),
        });
    }
}

/// What is wrong with a path that is compared as text (HM-3).
fn path_problem(value: &str) -> Option<(String, Option<String>)> {
    let shown = quote(value);
    if !value.starts_with('/') {
        let help = Some(format!("write {}", quote(format!("/{value}"))));
        return Some((format!("{shown} does not start with `/`"), help));
    }
    for part in ["//", "/./", "/../", "%2f", "%2F", "#"] {
        if value.contains(part) {
            return Some((format!("{shown} contains `{part}`, which no path to match has"), None));
        }
    }
    for end in ["/..", "/."] {
        if value.ends_with(end) {
            return Some((format!("{shown} ends in `{end}`, which no path to match does"), None));
        }
    }
    if let Some(character) = first_illegal_in_path(value) {
        let help = (character == '?')
            .then(|| "match the query with queryParams".to_owned())
            .or_else(|| (character != '%').then(|| "percent-encode it".to_owned()));
        return Some((format!("{shown} has {} in it, which no path has", quote(character)), help));
    }
    None
}

/// The first character that is neither legal in a path nor the start of an escape.
fn first_illegal_in_path(value: &str) -> Option<char> {
    let mut rest = value.chars();
    while let Some(character) = rest.next() {
        let legal = match character {
            '%' => {
                let mut digit = || rest.next().is_some_and(|digit| digit.is_ascii_hexdigit());
                digit() && digit()
            }
            _ => character.is_ascii_alphanumeric() || "-/._~!$&'()*+,;=:@".contains(character),
        };
        if !legal {
            return Some(character);
        }
    }
    None
}

/// One attempt ends no later than the whole (TO-2); a zero limits nothing.
fn timeouts(check: &mut Checker, timeouts: &HttpRouteTimeouts) {
    if let (Some(request), Some(attempt)) = (&timeouts.request, &timeouts.backend_request)
        && !request.get().is_zero()
        && attempt.get() > request.get()
    {
        check.field("backendRequest", |check| {
            check.report(format!("{attempt} is longer than the request timeout of {request}"));
        });
    }
}

/// Attempts (RY-1) and codes (RY-2) of retries.
fn retry(check: &mut Checker, retry: &HttpRouteRetry) {
    check.list("codes", &retry.codes, 0..=usize::MAX, |check, code| {
        check.value_within(i64::from(*code), 400..=599);
    });
    check.set("codes", &retry.codes);
    check.number("attempts", retry.attempts.map(i64::from), 0..=i64::from(i32::MAX));
}
