//! Listeners of one Gateway and its ListenerSets against each other: clashes (GW-1 to GW-5, LS-5) and
//! overlaps (LI-6).

use std::collections::BTreeMap;

use gwapi_model::Protocol;
use gwapi_model::status::ConditionReason;

use super::conditions::Problem;
use super::holder::Holder;
use super::listener::{self, ListenerDraft};
use crate::ir::{Hostname, ListenerKey, TransportProtocol};

/// Marks every listener that cannot be told apart from another one, and every overlap over TLS. The
/// listeners of an object stand together, and those of the object that comes first stand first (LS-4).
///
/// Between objects the first one wins; between the listeners of one object that are left nobody does
/// (LS-6). Each of them goes through `admit` when its clashes are known, which may refuse it: what it asks for is
/// then left to those that come later.
pub(super) fn mark(listeners: &mut [ListenerDraft], mut admit: impl FnMut(&mut ListenerDraft)) {
    let mut taken = Taken::default();
    let mut start = 0;
    while let Some(first) = listeners.get(start) {
        let rest = &listeners[start..];
        let count = rest.iter().take_while(|listener| listener.holder == first.holder).count();
        let own = start..start + count;
        mark_repeated_names(&mut listeners[own.clone()]);
        for index in own.clone() {
            listeners[index].conflict = taken.conflict(index, listeners);
        }
        let left = own.clone().filter(|&index| listeners[index].conflict.is_none());
        for (port, members) in by_port(left, listeners) {
            for (index, problem) in conflicts_of_port(port, &members, listeners) {
                listeners[index].conflict = Some(problem);
            }
        }
        for index in own {
            admit(&mut listeners[index]);
            taken.take(index, listeners);
        }
        start += count;
    }
    // What a set adds and has no place is not there: neither the Gateway nor another set shows anything of
    // it (LS-5).
    let serves_sets = listener::serves_sets(listeners);
    let is_there = |listener: &ListenerDraft| match listener.holder {
        Holder::Gateway(_) => true,
        Holder::ListenerSet(_) => serves_sets && listener.is_sound(),
    };
    let there = (0..listeners.len()).filter(|&index| is_there(&listeners[index]));
    for members in by_port(there, listeners).into_values() {
        for (index, others) in overlaps_of_port(&members, listeners) {
            listeners[index].overlaps = Some(others);
        }
    }
}

fn by_port(
    indices: impl Iterator<Item = usize>,
    listeners: &[ListenerDraft],
) -> BTreeMap<u16, Vec<usize>> {
    let mut ports: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for index in indices {
        ports.entry(listeners[index].port).or_default().push(index);
    }
    ports
}

/// The places that listeners of earlier objects hold, each with one that holds it.
#[derive(Default)]
struct Taken {
    ports: BTreeMap<(u16, TransportProtocol), (Carried, usize)>,
    hostnames: BTreeMap<(u16, Carried, Option<Hostname>), usize>,
}

impl Taken {
    /// Takes the places of a listener that has some.
    fn take(&mut self, index: usize, listeners: &[ListenerDraft]) {
        let listener = &listeners[index];
        let Some(carried) = Carried::by(listener).filter(|_| listener.is_sound()) else { return };
        let port = (listener.port, listener.transport());
        self.ports.entry(port).or_insert((carried, index));
        let hostname = (listener.port, carried, listener.hostname.clone());
        self.hostnames.entry(hostname).or_insert(index);
    }

    /// The clash of a listener with one of an earlier object, which keeps its place (LS-5).
    fn conflict(&self, index: usize, listeners: &[ListenerDraft]) -> Option<Problem> {
        let listener = &listeners[index];
        let carried = Carried::by(listener)?;
        let (other, first) = self.ports.get(&(listener.port, listener.transport()))?;
        if *other != carried {
            return Some(mixed(listener.port, index, [*first].into_iter(), listeners));
        }
        let hostname = (listener.port, carried, listener.hostname.clone());
        let twin = self.hostnames.get(&hostname)?;
        Some(twin_of(index, &[*twin], listeners))
    }
}

/// A name must be unique in its object, since routes and status entries refer to it (GW-7, LS-4).
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
                listener.key.name()
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

/// The clashes on one port between listeners of one object. There is no winner: every listener that clashes
/// is named (GW-5).
fn conflicts_of_port(
    port: u16,
    members: &[usize],
    listeners: &[ListenerDraft],
) -> Vec<(usize, Problem)> {
    let carried = members.iter().filter_map(|&it| Some((it, Carried::by(&listeners[it])?)));
    // GW-2: UDP shares no port with anything else.
    let (on_udp, on_tcp): (Vec<_>, Vec<_>) = carried.partition(|(_, it)| *it == Carried::Udp);
    let is_mixed = on_tcp.windows(2).any(|pair| pair[0].1 != pair[1].1);
    if is_mixed {
        let conflict = |&(index, carried): &(usize, Carried)| {
            let others = on_tcp.iter().filter(|(_, other)| *other != carried);
            (index, mixed(port, index, others.map(|(other, _)| *other), listeners))
        };
        return on_tcp.iter().map(conflict).chain(twins(&on_udp, listeners)).collect();
    }
    twins(&on_tcp, listeners).chain(twins(&on_udp, listeners)).collect()
}

/// Protocols that cannot be told apart on one port (GW-2, GW-3).
fn mixed(
    port: u16,
    index: usize,
    others: impl Iterator<Item = usize>,
    listeners: &[ListenerDraft],
) -> Problem {
    let listener = &listeners[index];
    let message = format!(
        "port {port} cannot carry {} beside {}; use another port",
        protocol(listener),
        shorten(others.map(|other| describe(&listeners[other], listener)))
    );
    Problem::new(ConditionReason::ProtocolConflict, message)
}

/// Listeners that a port cannot tell apart, because they share the hostname or have none (GW-1).
fn twins<'l>(
    members: &[(usize, Carried)],
    listeners: &'l [ListenerDraft],
) -> impl Iterator<Item = (usize, Problem)> + use<'l> {
    let mut by_hostname: BTreeMap<Option<&Hostname>, Vec<usize>> = BTreeMap::new();
    for &(index, _) in members {
        by_hostname.entry(listeners[index].hostname.as_ref()).or_default().push(index);
    }
    let clashes = by_hostname.into_values().filter(|twins| twins.len() > 1);
    clashes.flat_map(move |twins| {
        let conflict = |&index: &usize| {
            let others: Vec<usize> = twins.iter().copied().filter(|it| *it != index).collect();
            (index, twin_of(index, &others, listeners))
        };
        twins.iter().map(conflict).collect::<Vec<_>>()
    })
}

/// The clash of a listener with others that a port cannot tell from it.
fn twin_of(index: usize, others: &[usize], listeners: &[ListenerDraft]) -> Problem {
    let ListenerDraft { protocol, port, hostname, .. } = &listeners[index];
    let reason = match others.iter().all(|&other| listeners[other].protocol == *protocol) {
        true => ConditionReason::HostnameConflict,
        false => ConditionReason::ProtocolConflict,
    };
    let what = match (protocol, hostname) {
        (Protocol::Tcp | Protocol::Udp, _) => format!("{protocol} port {port}"),
        (_, Some(hostname)) => format!("port {port} with hostname `{hostname}`"),
        (_, None) => format!("port {port} with every hostname"),
    };
    let help = match protocol {
        Protocol::Tcp | Protocol::Udp => "use another port",
        _ => "use another port or hostname",
    };
    let others = others.iter().map(|&other| describe(&listeners[other], &listeners[index]));
    let message = format!("{what} is also asked for by {}; {help}", shorten(others));
    Problem::new(reason, message)
}

/// A listener in words, as seen from another one.
fn describe(listener: &ListenerDraft, seen_from: &ListenerDraft) -> String {
    let (name, protocol) = (listener.key.name(), protocol(listener));
    match listener.holder == seen_from.holder {
        true => format!("listener `{name}` ({protocol})"),
        false => format!("listener `{name}` ({protocol}) of {}", listener.holder),
    }
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
            let others = others.into_iter();
            let others = others.map(|other| describe(&listeners[other], &listeners[index]));
            (index, shorten(others))
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
