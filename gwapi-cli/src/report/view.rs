//! What is served where, as plain data.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gwapi_dataplane::{BoundListener, TranslatedFolder};
use gwapi_model::status::{Condition, ConditionType, ListenerStatus, Status};
use gwapi_model::{Gateway, Kind, NamespacedName, Protocol, RouteKind};
use gwapi_translate::ir::{
    ClientValidation, GatewayConfig, GatewayId, Hostname, IrKey, IrResource, Listener,
    ListenerFilter, ListenerKey, ListenerProtocol,
};
use serde::Serialize;

use crate::overlay::CommandLine;
use crate::report::conditions::is_good;

/// Every Gateway that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) gateways: Vec<GatewayView>,
    /// Routes that are attached to some listener.
    pub(crate) routes: usize,
}

/// A Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayView {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) class: String,
    pub(crate) listeners: Vec<ListenerView>,
}

/// A listener of a Gateway, its own or one that a ListenerSet adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListenerView {
    pub(crate) name: String,
    /// The ListenerSet that adds it, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listener_set: Option<String>,
    pub(crate) protocol: String,
    /// Port that is listened on; that of the manifest plus the offset.
    pub(crate) port: u32,
    /// Whether connections are accepted, on all of its addresses.
    pub(crate) served: bool,
    /// Why not.
    pub(crate) reason: Option<String>,
    /// What a client on this machine may ask.
    pub(crate) urls: Vec<String>,
    /// Hostnames that it answers for, by its routes; `*` is every host.
    pub(crate) hostnames: Vec<String>,
    pub(crate) attached_routes: i32,
}

impl ListenerView {
    /// What tells it from the other listeners of its Gateway, as in a [`ListenerKey`].
    pub(crate) fn label(&self) -> String {
        match &self.listener_set {
            Some(set) => format!("{set}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl View {
    /// What is served. `bound` are the sockets of a proxy; without one, what it would listen on.
    pub(crate) fn of(
        source: &TranslatedFolder<CommandLine>,
        bound: Option<&[BoundListener]>,
    ) -> Self {
        Self::build(source, bound, true)
    }

    /// The same without a look at any route, of which there may be many: no listener answers for
    /// more than its own hostname here.
    pub(crate) fn without_routes(
        source: &TranslatedFolder<CommandLine>,
        bound: Option<&[BoundListener]>,
    ) -> Self {
        Self::build(source, bound, false)
    }

    fn build(
        source: &TranslatedFolder<CommandLine>,
        bound: Option<&[BoundListener]>,
        with_routes: bool,
    ) -> Self {
        let mut sockets: BTreeMap<(&GatewayId, &ListenerKey), Vec<SocketAddr>> = BTreeMap::new();
        for socket in bound.into_iter().flatten() {
            sockets.entry((&socket.gateway, &socket.listener)).or_default().push(socket.address);
        }
        let mut view = Self::default();
        let mut routes = HashSet::new();
        let is_alone = source.translation().config.len() == 1;
        let mut last: Option<(RouteKind, &NamespacedName)> = None;
        for (id, config) in &source.translation().config {
            let Some(gateway) = source.resources().gateways.get(id) else { continue };
            let rules = if with_routes { attached(config) } else { Vec::new() };
            // Rules of one route follow each other; it may be attached to another Gateway as well.
            for rule in &rules {
                if last.replace(rule.route) == Some(rule.route) {
                    continue;
                }
                if is_alone {
                    view.routes += 1;
                } else {
                    routes.insert(rule.route);
                }
            }
            let status = |kind: Kind, name: &NamespacedName| match source
                .translation()
                .status
                .get(&name.object_id(kind))
            {
                Some(Status::Gateway(status)) => &*status.listeners,
                Some(Status::ListenerSet(status)) => &*status.listeners,
                _ => &[],
            };
            let own = gateway.spec.listeners.iter();
            let mut listeners: Vec<_> = told(None, own, status(Kind::Gateway, id)).collect();
            let sets = source.resources().listener_sets.iter();
            for (name, set) in sets.filter(|(_, set)| set.gateway().as_ref() == Some(id)) {
                let status = status(Kind::ListenerSet, name);
                // Of one that the Gateway does not let in nothing is said.
                let entries = set.spec.listeners.iter().filter(|_| !status.is_empty());
                listeners.extend(told(Some(name), entries, status));
            }
            let addresses = |listener: &Listener| match bound {
                Some(_) => sockets.get(&(id, &listener.key)).cloned().unwrap_or_default(),
                None => {
                    let of = |ip: &IpAddr| SocketAddr::new(*ip, listener.port);
                    listener.addresses.iter().map(of).collect()
                }
            };
            let offset = source.options().port_offset;
            view.gateways
                .push(gateway_view(gateway, &listeners, config, &rules, offset, addresses));
        }
        view.routes += routes.len();
        view
    }

    /// Every listener with its Gateway.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (&GatewayView, &ListenerView)> {
        self.gateways
            .iter()
            .flat_map(|gateway| gateway.listeners.iter().map(move |listener| (gateway, listener)))
    }
}

/// What listeners are told of a rule, whatever kind of route it is of.
#[derive(Clone, Copy)]
struct AttachedRule<'c> {
    route: (RouteKind, &'c NamespacedName),
    listeners: &'c [ListenerKey],
    hostnames: &'c [Hostname],
}

fn attached(config: &GatewayConfig) -> Vec<AttachedRule<'_>> {
    let http = config.http_rules().map(|rule| AttachedRule {
        route: (rule.route_kind, &rule.route),
        listeners: &rule.listeners,
        hostnames: &rule.hostnames,
    });
    let streams = config.stream_rules().map(|rule| AttachedRule {
        route: (rule.route_kind, &rule.route),
        listeners: &rule.listeners,
        hostnames: &rule.hostnames,
    });
    http.chain(streams).collect()
}

/// A listener as it was asked for, and what is said of it.
struct ToldListener<'s> {
    set: Option<&'s NamespacedName>,
    spec: &'s gwapi_model::Listener,
    status: Option<&'s ListenerStatus>,
}

fn told<'s>(
    set: Option<&'s NamespacedName>,
    listeners: impl Iterator<Item = &'s gwapi_model::Listener>,
    statuses: &'s [ListenerStatus],
) -> impl Iterator<Item = ToldListener<'s>> {
    listeners.map(move |spec| {
        let status = statuses.iter().find(|status| status.name == spec.name);
        ToldListener { set, spec, status }
    })
}

fn gateway_view(
    gateway: &Gateway,
    listeners: &[ToldListener<'_>],
    config: &GatewayConfig,
    all_rules: &[AttachedRule<'_>],
    offset: u16,
    addresses: impl Fn(&Listener) -> Vec<SocketAddr>,
) -> GatewayView {
    let mut rules: BTreeMap<&ListenerKey, Vec<AttachedRule<'_>>> = BTreeMap::new();
    for &rule in all_rules {
        for listener in rule.listeners {
            rules.entry(listener).or_default().push(rule);
        }
    }
    let listeners = listeners.iter().map(|&ToldListener { set, spec, status: own }| {
        let key = match set {
            Some(set) => ListenerKey::of_listener_set(set, &spec.name),
            None => ListenerKey::new(spec.name.as_str()),
        };
        let served = match config.0.get(&IrKey::Listener(key.clone())) {
            Some(IrResource::Listener(listener)) if can_answer(listener) => Some(listener),
            _ => None,
        };
        let addresses = served.map(|listener| addresses(listener)).unwrap_or_default();
        // Without a word from translation nothing serves it.
        let reason = match own {
            Some(own) => reason(&own.conditions),
            None => Some("Pending".to_owned()),
        };
        let scheme = match spec.protocol {
            Protocol::Https => "https",
            Protocol::Tls => "tls",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Http | Protocol::Other(_) => "http",
        };
        let hostname = spec.hostname.as_deref().map(Hostname::parse);
        // A port of bytes or datagrams knows no hosts.
        let names_hosts = !matches!(spec.protocol, Protocol::Tcp | Protocol::Udp);
        let rules = rules.get(&key).filter(|_| names_hosts);
        ListenerView {
            name: spec.name.clone(),
            listener_set: set.map(ToString::to_string),
            protocol: spec.protocol.as_str().to_owned(),
            port: u32::from(spec.port.get()) + u32::from(offset),
            served: reason.is_none(),
            reason,
            urls: urls(scheme, &addresses),
            hostnames: hostnames(hostname.as_ref(), rules.map(Vec::as_slice).unwrap_or_default()),
            attached_routes: own.map_or(0, |own| own.attached_routes),
        }
    });
    GatewayView {
        namespace: gateway.metadata.namespace.to_string(),
        name: gateway.metadata.name.to_string(),
        class: gateway.spec.gateway_class_name.clone(),
        listeners: listeners.collect(),
    }
}

/// Whether a listener does more than keep its hostname from the others: without a certificate, or an
/// authority for those of its clients, it ends every handshake, and refused it answers each request with 500.
fn can_answer(listener: &Listener) -> bool {
    let is_refused = |filter: &ListenerFilter| matches!(filter, ListenerFilter::Refuse(_));
    if listener.filters.iter().any(is_refused) {
        return false;
    }
    match &listener.protocol {
        ListenerProtocol::Http
        | ListenerProtocol::TlsPassthrough
        | ListenerProtocol::Tcp
        | ListenerProtocol::Udp => true,
        ListenerProtocol::TlsTerminate { certificates } => !certificates.is_empty(),
        ListenerProtocol::Https { certificates, client_validation } => {
            let refuses_all = |it: &ClientValidation| it.ca_certificates.is_empty();
            !certificates.is_empty() && !client_validation.as_ref().is_some_and(refuses_all)
        }
    }
}

/// Why a listener is not served as it should be, in a word; `None` where it is.
fn reason(conditions: &[Condition]) -> Option<String> {
    let bad = |wanted| conditions.iter().find(|c| c.condition_type == wanted && !is_good(c));
    let not_programmed = bad(ConditionType::Programmed)?;
    let causes = [ConditionType::Accepted, ConditionType::ResolvedRefs];
    let cause = causes.into_iter().find_map(bad).unwrap_or(not_programmed);
    Some(cause.reason.to_string())
}

/// Addresses that reach these sockets from this machine, IPv4 first.
fn urls(scheme: &str, addresses: &[SocketAddr]) -> Vec<String> {
    let mut addresses: Vec<_> = addresses
        .iter()
        .map(|address| match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
            _ => *address,
        })
        .collect();
    addresses.sort();
    addresses.dedup();
    let default_port = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let url = |address: SocketAddr| {
        let host = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        if Some(address.port()) == default_port {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", address.port())
        }
    };
    addresses.into_iter().map(url).collect()
}

/// Hostnames that a listener with these rules answers for (RT-5).
fn hostnames(listener: Option<&Hostname>, rules: &[AttachedRule<'_>]) -> Vec<String> {
    let mut names = BTreeSet::new();
    // Of thousands of rules most have the hostnames of the one before.
    let mut last: Option<&[Hostname]> = None;
    for rule in rules {
        if last.replace(rule.hostnames) != Some(rule.hostnames) {
            names.extend(effective_hostnames(listener, rule.hostnames));
        }
    }
    if rules.is_empty() {
        names.extend(listener.map(ToString::to_string));
    }
    names.into_iter().collect()
}

/// Hostnames of a rule on a listener; `*` where both take every host.
pub(crate) fn effective_hostnames(listener: Option<&Hostname>, rule: &[Hostname]) -> Vec<String> {
    let Some(listener) = listener else {
        if rule.is_empty() {
            return vec!["*".to_owned()];
        }
        return rule.iter().map(ToString::to_string).collect();
    };
    if rule.is_empty() {
        return vec![listener.to_string()];
    }
    rule.iter()
        .filter(|own| own.intersects(listener))
        .map(|own| narrower(own, listener).to_string())
        .collect()
}

/// The one of two intersecting hostnames that takes fewer hosts.
fn narrower<'a>(a: &'a Hostname, b: &'a Hostname) -> &'a Hostname {
    match (a, b) {
        (Hostname::Exact(_), _) => a,
        (_, Hostname::Exact(_)) => b,
        (Hostname::Wildcard(left), Hostname::Wildcard(right)) => {
            if left.len() >= right.len() {
                a
            } else {
                b
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_addresses_are_shown_as_loopback() {
        let addresses = ["[::]:8080", "0.0.0.0:8080", "127.0.0.1:8080"]
            .map(|address| address.parse().expect("an address"));
        assert_eq!(urls("http", &addresses), ["http://127.0.0.1:8080", "http://[::1]:8080"]);
    }

    #[test]
    fn the_default_port_of_a_scheme_is_left_out() {
        let address = ["127.0.0.1:443".parse().expect("an address")];
        assert_eq!(urls("https", &address), ["https://127.0.0.1"]);
        assert_eq!(urls("http", &address), ["http://127.0.0.1:443"]);
    }

    #[test]
    fn the_narrower_hostname_is_shown() {
        let name = |text| Hostname::parse(text);
        for (a, b, expected) in [
            ("www.example.com", "*.example.com", "www.example.com"),
            ("*.example.com", "www.example.com", "www.example.com"),
            ("*.a.example.com", "*.example.com", "*.a.example.com"),
            ("*.example.com", "*.a.example.com", "*.a.example.com"),
        ] {
            assert_eq!(narrower(&name(a), &name(b)).to_string(), expected);
        }
    }
}
