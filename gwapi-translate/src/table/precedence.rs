//! Which of two matches comes first.

use std::cmp::Reverse;
use std::sync::Arc;

use gwapi_model::RouteKind;

use crate::ir::{HttpRule, PathMatch, RuleKey, RuleOrder};

/// Precedence of one match among the matches of equally specific hostnames (HR-2, HR-3, GR-8): the
/// derived order is the rule, smaller first. It is the match that competes, not its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence<'r> {
    path: PathRank,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query_params: Reverse<usize>,
    created: i64,
    route: &'r str,
    /// An HTTPRoute and a GRPCRoute may have one name: positions of rules count within a route.
    kind: RouteKind,
    rule_index: u16,
    /// Different rules differ before this; if they ever do not, the order stays total.
    rule: &'r RuleKey,
    match_index: usize,
}

impl<'r> Precedence<'r> {
    /// The precedence of a match of a rule.
    ///
    /// # Panics
    ///
    /// If the rule has no match of that index.
    pub fn of(rule: &'r HttpRule, match_index: usize) -> Self {
        let http_match = &rule.matches[match_index];
        let RuleOrder { created, route, rule_index } = &rule.order;
        Self {
            path: PathRank::of(&http_match.path),
            method: Reverse(http_match.method.is_some()),
            headers: Reverse(http_match.headers.len()),
            query_params: Reverse(http_match.query_params.len()),
            created: *created,
            route,
            kind: rule.route_kind,
            rule_index: *rule_index,
            rule: &rule.key,
            match_index,
        }
    }
}

/// How specific a path is. An exact path is never less specific than a pattern; where regular
/// expressions stand is ours to say (HR-3): before every prefix, and among themselves by the
/// length of the pattern in bytes, for the one that says more tends to take less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathRank {
    /// One path.
    Exact,
    /// A regular expression; the longer pattern first, where those of a gRPC call count together.
    Regex(Reverse<usize>),
    /// A prefix; the longer first. A method of any service stands before what takes every path,
    /// the longer first (GR-2).
    Prefix(Reverse<usize>, Reverse<usize>),
}

impl PathRank {
    /// The rank of a path match.
    pub fn of(path: &PathMatch) -> Self {
        match path {
            PathMatch::Exact(_) => Self::Exact,
            PathMatch::Regex(pattern) => Self::Regex(Reverse(pattern.len())),
            PathMatch::GrpcRegex { service, method } => {
                let length = |pattern: &Option<Arc<str>>| pattern.as_deref().map_or(0, str::len);
                Self::Regex(Reverse(length(service) + length(method)))
            }
            PathMatch::Prefix(prefix) => Self::Prefix(Reverse(prefix.len()), Reverse(0)),
            PathMatch::GrpcMethod(method) => Self::Prefix(Reverse(0), Reverse(method.len())),
        }
    }
}
