//! A matcher of Gateway API routes that has nothing to do with gwapi's route table: for every
//! listener one list, sorted once, searched from the top.
//!
//! How a prefix is compared is a parameter, so that the one mistake that every implementation makes
//! once can be made here on purpose.

use std::cmp::Reverse;
use std::marker::PhantomData;
use std::sync::Arc;

use gwapi_translate::ir::{
    GatewayConfig, Hostname, HttpMatch, HttpRule, Listener, PathMatch, ValueMatch,
};
use gwapi_translate::table::RequestHead;

/// How a `PathPrefix` is compared with a path.
pub trait PrefixRule {
    /// Whether a path starts with a prefix; the prefix has no slash at its end.
    fn takes(prefix: &str, path: &str) -> bool;
}

/// As the API says: `/abc` takes `/abc`, `/abc/` and `/abc/d`.
pub struct ByElement;

impl PrefixRule for ByElement {
    fn takes(prefix: &str, path: &str) -> bool {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// A mistake: `/abc` takes `/abcd` too.
pub struct ByByte;

impl PrefixRule for ByByte {
    fn takes(prefix: &str, path: &str) -> bool {
        path.starts_with(prefix)
    }
}

/// The matcher.
pub struct ListMatcher<P> {
    listeners: Vec<ListenerRoutes>,
    prefix_rule: PhantomData<P>,
}

struct ListenerRoutes {
    listener: Arc<Listener>,
    /// The most specific first.
    entries: Vec<Entry>,
}

/// One match of a rule for one of the rule's hostnames.
struct Entry {
    hostname: Option<Hostname>,
    rule: Arc<HttpRule>,
    match_index: usize,
}

impl<P: PrefixRule> ListMatcher<P> {
    /// Sorts the routes of every listener.
    pub fn new(config: &GatewayConfig) -> Self {
        let routes = |listener: &Arc<Listener>| {
            let rules = config.http_rules().filter(|rule| rule.listeners.contains(&listener.key));
            let mut entries: Vec<_> = rules.flat_map(entries).collect();
            entries.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
            ListenerRoutes { listener: Arc::clone(listener), entries }
        };
        let mut listeners: Vec<_> = config.listeners().map(routes).collect();
        listeners.sort_by_key(|routes| specificity(routes.listener.hostname.as_ref()));
        Self { listeners, prefix_rule: PhantomData }
    }

    /// The rule that takes a request, and the position of its match.
    pub fn find(&self, port: u16, request: &RequestHead<'_>) -> Option<(&HttpRule, usize)> {
        let is_meant = |hostname: &Option<Hostname>| {
            hostname.as_ref().is_none_or(|hostname| hostname.matches(request.host))
        };
        let chosen = self
            .listeners
            .iter()
            .find(|routes| routes.listener.port == port && is_meant(&routes.listener.hostname))?;
        let takes = |entry: &&Entry| {
            is_meant(&entry.hostname) && takes::<P>(&entry.rule.matches[entry.match_index], request)
        };
        chosen.entries.iter().find(takes).map(|entry| (&*entry.rule, entry.match_index))
    }
}

fn entries(rule: &Arc<HttpRule>) -> impl Iterator<Item = Entry> {
    let any_host = rule.hostnames.is_empty().then_some(None);
    rule.hostnames.iter().cloned().map(Some).chain(any_host).flat_map(move |hostname| {
        (0..rule.matches.len()).map(move |match_index| Entry {
            hostname: hostname.clone(),
            rule: Arc::clone(rule),
            match_index,
        })
    })
}

impl Entry {
    fn precedence(&self) -> impl Ord {
        let http_match = &self.rule.matches[self.match_index];
        let path = match &http_match.path {
            PathMatch::Exact(_) => (0, Reverse(0)),
            PathMatch::Prefix(prefix) => (1, Reverse(prefix.len())),
            PathMatch::Regex(pattern) => (2, Reverse(pattern.len())),
            PathMatch::GrpcRegex { .. } => (2, Reverse(0)),
            PathMatch::GrpcMethod(method) => (3, Reverse(method.len())),
        };
        let conditions = (
            Reverse(http_match.method.is_some()),
            Reverse(http_match.headers.len()),
            Reverse(http_match.query_params.len()),
        );
        let order = (self.rule.order.clone(), self.match_index);
        (specificity(self.hostname.as_ref()), path, conditions, order)
    }
}

/// Exact names before wildcards before nothing, the longer first.
fn specificity(hostname: Option<&Hostname>) -> (u8, Reverse<usize>) {
    match hostname {
        Some(Hostname::Exact(name)) => (0, Reverse(name.len())),
        Some(Hostname::Wildcard(suffix)) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    }
}

/// This matcher knows no regular expressions and no gRPC, and a header or parameter only by its first value.
fn takes<P: PrefixRule>(http_match: &HttpMatch, request: &RequestHead<'_>) -> bool {
    let is = |expected: &ValueMatch, value: &str| match expected {
        ValueMatch::Exact(text) => **text == *value,
        ValueMatch::Regex(_) => false,
    };
    let header = |name: &str| match name {
        "host" => Some(request.authority),
        _ => request.headers.get(name).and_then(|value| value.to_str().ok()),
    };
    let param = |name: &str| {
        let pairs = request.query.unwrap_or("").split('&');
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let path = match &http_match.path {
        PathMatch::Exact(path) => **path == *request.path,
        PathMatch::Prefix(prefix) => P::takes(prefix, request.path),
        PathMatch::Regex(_) | PathMatch::GrpcMethod(_) | PathMatch::GrpcRegex { .. } => false,
    };
    path && http_match.method.as_deref().is_none_or(|method| method == request.method)
        && http_match
            .headers
            .iter()
            .all(|wanted| header(&wanted.name).is_some_and(|value| is(&wanted.value, value)))
        && http_match
            .query_params
            .iter()
            .all(|wanted| param(&wanted.name).is_some_and(|value| is(&wanted.value, value)))
}
