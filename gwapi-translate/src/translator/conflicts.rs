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

/// What a port can carry without its listeners being mixed up: HTTPS and both modes of TLS are told apart
/// by server names (GW-3, GW-4). Protocols that are not the API's own are left alone: what they are is
/// not known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Carried {
    Http,
    Tls,
    Tcp,
    Udp,
}

impl Carried {
    fn by(listener: &ListenerDraft) -> Option<Self> {
        match listener.protocol {
            Protocol::Http => Some(Self::Http),
            Protocol::Https | Protocol::Tls => Some(Self::Tls),
            Protocol::Tcp => Some(Self::Tcp),
            Protocol::Udp => Some(Self::Udp),
            Protocol::Other(_) => None,
        }
    }
}

/// The clashes on one port. There is no winner: every listener that clashes is named (GW-5).
fn conflicts_of_port(
    port: u16,
    members: &[usize],
    listeners: &[ListenerDraft],
) -> Vec<(usize, Problem)> {
    let carried = members.iter().filter_map(|&it| Some((it, Carried::by(&listeners[it])?)));
    // GW-2: UDP shares no port with anything else.
    let (on_udp, on_tcp): (Vec<_>, Vec<_>) = carried.partition(|(_, it)| *it == Carried::Udp);
    let mixed = on_tcp.windows(2).any(|pair| pair[0].1 != pair[1].1);
    if mixed {
        // GW-2, GW-3: protocols that cannot be told apart on one port.
        let conflict = |&(index, carried): &(usize, Carried)| {
            let others = on_tcp.iter().filter(|(_, other)| *other != carried);
            let others = others.map(|&(other, _)| describe(&listeners[other]));
            let message = format!(
                "port {port} cannot carry {} beside {}; use another port",
                protocol(&listeners[index]),
                shorten(others)
            );
            (index, Problem::new(ConditionReason::ProtocolConflict, message))
        };
        return on_tcp.iter().map(conflict).chain(twins(port, &on_udp, listeners)).collect();
    }
    twins(port, &on_tcp, listeners).chain(twins(port, &on_udp, listeners)).collect()
}

/// Listeners that a port cannot tell apart, because they share the hostname or have none (GW-1).
fn twins<'l>(
    port: u16,
    members: &[(usize, Carried)],
    listeners: &'l [ListenerDraft],
) -> impl Iterator<Item = (usize, Problem)> + use<'l> {
    let mut by_hostname: BTreeMap<Option<&Hostname>, Vec<usize>> = BTreeMap::new();
    for &(index, _) in members {
        by_hostname.entry(listeners[index].hostname.as_ref()).or_default().push(index);
    }
    let clashes = by_hostname.into_iter().filter(|(_, twins)| twins.len() > 1);
    clashes.flat_map(move |(hostname, twins)| {
        let first = &listeners[twins[0]].protocol;
        let reason = match twins.iter().all(|&index| listeners[index].protocol == *first) {
            true => ConditionReason::HostnameConflict,
            false => ConditionReason::ProtocolConflict,
        };
        let what = match (first, hostname) {
            (Protocol::Tcp | Protocol::Udp, _) => format!("{first} port {port}"),
            (_, Some(hostname)) => format!("port {port} with hostname `{hostname}`"),
            (_, None) => format!("port {port} with every hostname"),
        };
        let help = match first {
            Protocol::Tcp | Protocol::Udp => "use another port",
            _ => "use another port or hostname",
        };
        let conflict = |&index: &usize| {
            let others = twins.iter().filter(|other| **other != index);
            let others = shorten(others.map(|&other| describe(&listeners[other])));
            let message = format!("{what} is also asked for by {others}; {help}");
            (index, Problem::new(reason, message))
        };
        twins.iter().map(conflict).collect::<Vec<_>>()
    })
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
