//! Listeners of one Gateway against each other: clashes (GW-1 to GW-5) and overlaps (LI-6).

use std::collections::BTreeMap;

use gwapi_model::Protocol;
use gwapi_model::status::ConditionReason;

use super::conditions::Problem;
use super::listener::ListenerDraft;
use crate::ir::{Hostname, ListenerKey};

/// Marks every listener that cannot be told apart from another one, and every overlap over TLS.
pub(super) fn mark(listeners: &mut [ListenerDraft]) {
    mark_repeated_names(listeners);
    let mut ports: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        ports.entry(listener.port).or_default().push(index);
    }
    for (port, members) in ports {
        let conflicts = conflicts_of_port(port, &members, listeners);
        for (index, problem) in conflicts {
            listeners[index].conflict = Some(problem);
        }
        for (index, others) in overlaps_of_port(&members, listeners) {
            listeners[index].overlaps = Some(others);
        }
    }
}

/// A name must be unique, since routes and status entries refer to it (GW-7).
fn mark_repeated_names(listeners: &mut [ListenerDraft]) {
    let mut uses: BTreeMap<ListenerKey, usize> = BTreeMap::new();
    for listener in listeners.iter() {
        *uses.entry(listener.key.clone()).or_default() += 1;
    }
    for listener in listeners {
        let uses = uses[&listener.key];
        if uses > 1 {
            listener.problems.push(Problem::unsupported(format!(
                "{uses} listeners are named `{}`; names must be unique",
                listener.key
            )));
        }
    }
}

/// Whether listeners of a protocol share the TCP port space in which protocols clash. Protocols
/// that are not the API's own are left alone: what they are is not known.
fn shares_tcp(protocol: &Protocol) -> bool {
    matches!(protocol, Protocol::Http | Protocol::Https | Protocol::Tls | Protocol::Tcp)
}

/// The clashes on one port. There is no winner: every listener that clashes is named (GW-5).
fn conflicts_of_port(
    port: u16,
    members: &[usize],
    listeners: &[ListenerDraft],
) -> Vec<(usize, Problem)> {
    let on_tcp: Vec<usize> =
        members.iter().copied().filter(|&index| shares_tcp(&listeners[index].protocol)).collect();
    let carries = |index: usize| (&listeners[index].protocol, &listeners[index].tls_mode);
    let mixed = on_tcp.windows(2).any(|pair| carries(pair[0]) != carries(pair[1]));
    let mut conflicts = Vec::new();
    if mixed {
        // GW-2 to GW-4: protocols, or modes of TLS, that cannot be told apart on one port.
        for &index in &on_tcp {
            let others = on_tcp
                .iter()
                .filter(|&&other| carries(other) != carries(index))
                .map(|&other| describe(&listeners[other]));
            conflicts.push((
                index,
                Problem::new(
                    ConditionReason::ProtocolConflict,
                    format!(
                        "port {port} cannot carry {} beside {}; use another port",
                        protocol(&listeners[index]),
                        shorten(others)
                    ),
                ),
            ));
        }
    }
    let mut twins: BTreeMap<(&Protocol, Option<&Hostname>), Vec<usize>> = BTreeMap::new();
    for &index in members {
        let listener = &listeners[index];
        let clashes_already = mixed && shares_tcp(&listener.protocol);
        if !clashes_already && !matches!(listener.protocol, Protocol::Other(_)) {
            let key = (&listener.protocol, listener.hostname.as_ref());
            twins.entry(key).or_default().push(index);
        }
    }
    // GW-1: same port, protocol and hostname.
    for ((_, hostname), twins) in twins.into_iter().filter(|(_, twins)| twins.len() > 1) {
        for &index in &twins {
            let others =
                twins.iter().filter(|&&other| other != index).map(|&o| describe(&listeners[o]));
            let hostname = match hostname {
                Some(hostname) => format!("hostname `{hostname}`"),
                None => "every hostname".to_owned(),
            };
            conflicts.push((
                index,
                Problem::new(
                    ConditionReason::HostnameConflict,
                    format!(
                        "port {port} with {hostname} is also asked for by {}; use another port \
                         or hostname",
                        shorten(others)
                    ),
                ),
            ));
        }
    }
    conflicts
}

fn describe(listener: &ListenerDraft) -> String {
    format!("listener `{}` ({})", listener.key, protocol(listener))
}

/// The protocol in words, with the mode where that tells listeners apart.
fn protocol(listener: &ListenerDraft) -> String {
    match &listener.tls_mode {
        Some(mode) => format!("{} {mode}", listener.protocol),
        None => listener.protocol.to_string(),
    }
}

/// The first few of a list in words.
fn shorten(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let names: Vec<String> = names.collect();
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

/// The TLS listeners of a port whose hostnames overlap another one's, each with a few of those it
/// overlaps (LI-6). A client may reuse a connection that it opened for one of them for another.
fn overlaps_of_port(members: &[usize], listeners: &[ListenerDraft]) -> Vec<(usize, String)> {
    let tls: Vec<usize> =
        members.iter().copied().filter(|&index| listeners[index].is_tls()).collect();
    let mut by_hostname: BTreeMap<Option<Hostname>, Vec<usize>> = BTreeMap::new();
    for &index in &tls {
        by_hostname.entry(listeners[index].hostname.clone()).or_default().push(index);
    }
    let mut partners: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &index in &tls {
        for hostname in covering(listeners[index].hostname.as_ref()) {
            for &other in by_hostname.get(&hostname).into_iter().flatten() {
                if other != index {
                    partners.entry(index).or_default().push(other);
                    partners.entry(other).or_default().push(index);
                }
            }
        }
    }
    partners
        .into_iter()
        .map(|(index, mut others)| {
            others.sort_unstable();
            others.dedup();
            (index, shorten(others.into_iter().map(|other| describe(&listeners[other]))))
        })
        .collect()
}

/// The hostnames of listeners that mean every host that `hostname` means: itself, the wildcards
/// above it, and none at all.
fn covering(hostname: Option<&Hostname>) -> Vec<Option<Hostname>> {
    let mut covering = vec![None];
    let Some(hostname) = hostname else { return covering };
    covering.push(Some(hostname.clone()));
    let (Hostname::Exact(name) | Hostname::Wildcard(name)) = hostname;
    let mut rest = &**name;
    while let Some((_, suffix)) = rest.split_once('.') {
        covering.push(Some(Hostname::Wildcard(suffix.into())));
        rest = suffix;
    }
    covering
}
