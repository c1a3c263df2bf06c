//! The rules of route choice, read naively: every match of every rule in one list, sorted by
//! precedence, and the first that takes the request wins.
//!
//! It shares no code with the route table, only the types of the IR and the compiler of regular
//! expressions. Slow, and short enough to be compared with the rules line by line.

use std::cmp::Reverse;

use super::matching::Chosen;
use super::streams::Opening;
use crate::ir::{
    GatewayConfig, Hostname, HttpMatch, Listener, PathMatch, RuleKey, TransportProtocol, ValueMatch,
};
use crate::pattern;
use crate::table::RequestHead;

/// The listener of a port for a host: exact hostname, then wildcards with more labels, then none
/// (LI-1).
pub fn listener<'c>(config: &'c GatewayConfig, port: u16, host: &str) -> Option<&'c Listener> {
    let taking = |listener: &&'c Listener| {
        listener.port == port
            && listener.protocol.transport() == TransportProtocol::Tcp
            && listener.hostname.as_ref().is_none_or(|name| name.matches(host))
    };
    let listeners = config.listeners().map(|listener| &**listener).filter(taking);
    listeners.min_by_key(|listener| (hostname_rank(listener.hostname.as_ref()), &listener.key))
}

/// The match that takes a request: HR-1 and HR-2 as one key over all matches of the listener's
/// routes (HR-4), routes of other listeners left out (LI-2).
pub fn route(config: &GatewayConfig, port: u16, request: &RequestHead<'_>) -> Option<Chosen> {
    let listener = listener(config, port, request.host)?;
    let mut candidates = Vec::new();
    for rule in config.http_rules().filter(|rule| rule.listeners.contains(&listener.key)) {
        let any_host = rule.hostnames.is_empty().then_some(None);
        let hostnames = rule.hostnames.iter().map(Some).chain(any_host);
        for hostname in hostnames.filter(|name| name.is_none_or(|name| name.matches(request.host)))
        {
            for (match_index, http_match) in rule.matches.iter().enumerate() {
                let precedence = (
                    hostname_rank(hostname),
                    path_rank(&http_match.path),
                    Reverse(http_match.method.is_some()),
                    Reverse(http_match.headers.len()),
                    Reverse(http_match.query_params.len()),
                    // GR-8
                    (rule.order.created, &rule.order.route, rule.route_kind),
                    (rule.order.rule_index, &rule.key, match_index),
                );
                candidates.push((precedence, rule, match_index));
            }
        }
    }
    candidates.sort_by_key(|(precedence, ..)| *precedence);
    let (_, rule, match_index) =
        candidates.into_iter().find(|(_, rule, index)| takes(&rule.matches[*index], request))?;
    Some(Chosen { rule: rule.key.clone(), match_index })
}

/// The rule that takes a connection or a flow of datagrams: of those of its listener the one with the most
/// specific server name, then the oldest route, then the first by `namespace/name` (TS-3, L4-3). All others
/// of that place get nothing. Without a server name there is no choice but among rules without names (LI-4).
pub fn stream(config: &GatewayConfig, opening: &Opening) -> Option<RuleKey> {
    let (listener, name) = match opening {
        Opening::Tls { port, server_name: Some(name) } => {
            (&listener(config, *port, name)?.key, Some(&**name))
        }
        Opening::Tls { port, server_name: None } => {
            let mut unnamed = config.listeners().filter(|listener| {
                let transport = listener.protocol.transport();
                (transport, listener.port, &listener.hostname)
                    == (TransportProtocol::Tcp, *port, &None)
            });
            (&unnamed.next()?.key, None)
        }
        Opening::Plain(listener) => (&listener.key, None),
    };
    let mut candidates = Vec::new();
    for rule in config.stream_rules().filter(|rule| rule.listeners.contains(listener)) {
        let any_name = rule.hostnames.is_empty().then_some(None);
        for hostname in rule.hostnames.iter().map(Some).chain(any_name) {
            let takes = hostname.is_none_or(|it| name.is_some_and(|name| it.matches(name)));
            let order = (rule.order.created, &rule.order.route, rule.order.rule_index, &rule.key);
            candidates.extend(takes.then_some((hostname_rank(hostname), order)));
        }
    }
    let (_, (.., key)) = candidates.into_iter().min()?;
    Some(key.clone())
}

/// HR-1: characters of an exact name, characters of a wildcard, nothing.
pub(super) fn hostname_rank(hostname: Option<&Hostname>) -> (u8, Reverse<usize>) {
    match hostname {
        Some(Hostname::Exact(name)) => (0, Reverse(name.len())),
        Some(Hostname::Wildcard(suffix)) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    }
}

/// HR-2 (1) and (2), with regular expressions in between (HR-3); a gRPC method without service
/// says less than any prefix but the empty one (GR-2).
pub(super) fn path_rank(path: &PathMatch) -> (u8, Reverse<usize>) {
    match path {
        PathMatch::Exact(_) => (0, Reverse(0)),
        PathMatch::Regex(pattern) => (1, Reverse(pattern.len())),
        PathMatch::GrpcRegex { service, method } => {
            (1, Reverse([service, method].into_iter().flatten().map(|it| it.len()).sum()))
        }
        PathMatch::Prefix(prefix) if prefix.is_empty() => (4, Reverse(0)),
        PathMatch::Prefix(prefix) => (2, Reverse(prefix.len())),
        PathMatch::GrpcMethod(method) => (3, Reverse(method.len())),
    }
}

/// Whether all conditions of a match hold (HM-8); a broken one never does.
fn takes(http_match: &HttpMatch, request: &RequestHead<'_>) -> bool {
    path_takes(&http_match.path, request.path)
        && http_match.method.as_deref().is_none_or(|method| method == request.method)
        && http_match.headers.iter().all(|header| {
            let all = request.headers.get_all(&*header.name);
            let values: Vec<_> = match &*header.name {
                // HM-5: the one that counts, not what a client writes there.
                "host" => vec![request.authority],
                _ => all.iter().filter_map(|value| value.to_str().ok()).collect(),
            };
            let joined = [values.join(","), values.join(", ")];
            match &header.value {
                // HM-5
                ValueMatch::Exact(_) if values.is_empty() => false,
                ValueMatch::Exact(text) => {
                    values.contains(&&**text) || joined.iter().any(|all| *all == **text)
                }
                ValueMatch::Regex(pattern) => {
                    values.iter().any(|value| whole_match(pattern, value))
                }
            }
        })
        && http_match.query_params.iter().all(|param| {
            let pairs = request.query.unwrap_or("").split('&');
            let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            // HM-6: the first of that name.
            let first = pairs.find(|(name, _)| form_decoded(name) == param.name.as_bytes());
            first.is_some_and(|(_, value)| match (&param.value, form_decoded(value)) {
                (ValueMatch::Exact(text), value) => value == text.as_bytes(),
                (ValueMatch::Regex(pattern), value) => {
                    String::from_utf8(value).is_ok_and(|value| whole_match(pattern, &value))
                }
            })
        })
}

fn path_takes(path: &PathMatch, requested: &str) -> bool {
    match path {
        PathMatch::Exact(path) => **path == *requested,
        PathMatch::Prefix(prefix) => requested
            .strip_prefix(&**prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        PathMatch::Regex(pattern) => whole_match(pattern, requested),
        PathMatch::GrpcMethod(method) => call(requested).is_some_and(|[_, it]| *it == **method),
        PathMatch::GrpcRegex { service, method } => call(requested).is_some_and(|elements| {
            [service, method].into_iter().zip(elements).all(|(pattern, element)| {
                pattern.as_deref().is_none_or(|pattern| whole_match(pattern, element))
            })
        }),
    }
}

/// Service and method of a gRPC call.
fn call(requested: &str) -> Option<[&str; 2]> {
    match requested.split('/').collect::<Vec<_>>()[..] {
        ["", service, method] if !service.is_empty() => Some([service, method]),
        _ => None,
    }
}

fn whole_match(pattern: &str, text: &str) -> bool {
    pattern::compile(pattern).is_ok_and(|regex| regex.is_match(text))
}

/// `%XX` as its byte, `+` as a space, anything else as it is.
fn form_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escape = rest.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, escape) {
            ('%', Some(byte)) => {
                bytes.push(byte);
                rest = &rest[3..];
                continue;
            }
            ('+', _) => bytes.push(b' '),
            _ => bytes.extend_from_slice(first.to_string().as_bytes()),
        }
        rest = &rest[first.len_utf8()..];
    }
    bytes
}
