//! The compiled form of a [`GatewayConfig`]: which listener, which rule.
//!
//! A table is persistent: [`RouteTable::apply`] makes a new one that shares all that did not
//! change with the old one, so that one edit among 40,000 rules costs microseconds. Lookups
//! allocate nothing, with two exceptions that cannot be helped: a regular expression makes its
//! scratch space the first time a thread uses it, and a query value that decodes to more than a
//! kilobyte is copied before a regular expression sees it.
//!
//! How a request finds its rule:
//!
//! 1. The listener, by port and host or server name, the most specific first (LI-1). No other
//!    listener is asked, whether or not this one has a route for the request (LI-2).
//! 2. The routes of that listener by hostname as written, the most specific first (HR-1, HR-7):
//!    the exact name, wildcards from the longest suffix on, routes without hostname. What the
//!    matches of one hostname do not take falls to the next (HR-4).
//! 3. In the bucket of one hostname the matches in the order of [`Precedence`] (HR-2, HR-3): those
//!    of the exact path from a hash map, regular expressions one after the other, then the path's
//!    prefixes by element from the longest to the shortest, each one look into a hash map (HM-2).
//!    A match whose method, header or query condition fails gives way to the next (HM-8).
//!
//! What a client sends cannot make a lookup dear: no host suffix longer than the longest wildcard
//! and no path prefix longer or deeper than the bucket's longest and deepest is looked up.

mod hosts;
mod map;
mod precedence;
mod query;
mod routes;
mod rules;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;

use self::hosts::HostMap;
use self::map::Map;
pub use self::precedence::{PathRank, Precedence};
use self::routes::{Edits, Routes};
use self::rules::TableRule;
use self::streams::Streams;
use crate::ir::{
    ConfigDelta, GatewayConfig, HttpMatch, HttpRule, IrKey, IrResource, Listener, ListenerKey,
    RuleKey, StreamRule, TransportProtocol,
};

/// Listeners that share a port and a hostname.
type Listeners = Arc<[Arc<Listener>]>;

/// What routing reads of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Host: lower-case, without port and trailing dot (LI-1).
    pub host: &'a str,
    /// Host and port as the backend gets them in `Host`, filters left aside: what a match on the header
    /// `Host` sees, whatever [`headers`](Self::headers) have there (HM-5).
    pub authority: &'a str,
    /// Path in canonical form, without query (see [`crate::path`]).
    pub path: &'a str,
    /// Query without `?`.
    pub query: Option<&'a str>,
    /// Method.
    pub method: &'a str,
    /// Headers; a `Host` among them does not count.
    pub headers: &'a HeaderMap,
}

/// A match: which rule takes the request, by which of its matches.
#[derive(Clone, Copy, Debug)]
pub struct RouteMatch<'t> {
    /// The rule.
    pub rule: &'t Arc<HttpRule>,
    /// Position of the match in [`HttpRule::matches`].
    pub match_index: usize,
}

impl<'t> RouteMatch<'t> {
    /// The match itself.
    pub fn http_match(&self) -> &'t HttpMatch {
        &self.rule.matches[self.match_index]
    }
}

/// Result of choosing a listener for a request that came over TLS (LI-5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Authority<'t> {
    /// The listener that the connection belongs to serves this authority.
    Serve(&'t Arc<Listener>),
    /// Another listener serves it: 421.
    Misdirected,
    /// No listener serves it: 404.
    Unknown,
}

/// The compiled configuration of one Gateway.
///
/// ```
/// use std::sync::Arc;
/// use gwapi_translate::RouteTable;
/// use gwapi_translate::ir::*;
/// use gwapi_translate::table::RequestHead;
///
/// let listener = Listener {
///     key: ListenerKey::new("web"),
///     addresses: vec!["127.0.0.1".parse()?],
///     port: 80,
///     protocol: ListenerProtocol::Http,
///     hostname: Some(Hostname::parse("*.example.com")),
///     filters: Vec::new(),
/// };
/// let rule = HttpRule {
///     key: RuleKey::new("default/shop/cart"),
///     route: gwapi_model::NamespacedName::new("default", "shop"),
///     route_kind: gwapi_model::RouteKind::Http,
///     name: None,
///     order: RuleOrder { created: 0, route: "default/shop".to_owned(), rule_index: 0 },
///     listeners: [listener.key.clone()].into(),
///     hostnames: Arc::default(),
///     matches: vec![HttpMatch { path: PathMatch::Prefix("/cart".into()), ..HttpMatch::default() }],
///     filters: vec![],
///     backends: vec![],
///     timeouts: None,
///     retry: None,
///     session: None,
/// };
/// let table = RouteTable::default().apply(&ConfigDelta {
///     upserts: vec![IrResource::Listener(Arc::new(listener)), IrResource::HttpRule(Arc::new(rule))],
///     removals: vec![],
/// });
///
/// let listener = table.listener_for_host(80, "shop.example.com").ok_or("no listener")?;
/// let headers = http::HeaderMap::new();
/// let request = RequestHead {
///     host: "shop.example.com",
///     authority: "shop.example.com:8080",
///     path: "/cart/items",
///     query: None,
///     method: "GET",
///     headers: &headers,
/// };
/// let found = table.route(listener, &request).ok_or("no rule")?;
/// assert_eq!(found.rule.key.as_str(), "default/shop/cart");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    listeners: Map<ListenerKey, Arc<Listener>>,
    /// Listeners by port and hostname. Listeners that share both are never in one configuration
    /// (GW-1); if they are, the first by key serves, so that the table does not depend on the
    /// order of changes.
    ports: Map<(TransportProtocol, u16), HostMap<Listeners>>,
    rules: Map<TableRule, ()>,
    routes: Routes,
    streams: Streams,
}

impl RouteTable {
    /// Compiles a configuration.
    pub fn compile(config: &GatewayConfig) -> Self {
        Self::default().apply(&ConfigDelta {
            upserts: config.0.values().cloned().collect(),
            removals: Vec::new(),
        })
    }

    /// The table after a change; cost grows with the change, and with the number of matches that
    /// compete for the very paths that change.
    #[must_use]
    pub fn apply(&self, delta: &ConfigDelta) -> Self {
        // Removals first and the last upsert of a key last, as the configuration itself does it.
        let mut listeners = Vec::new();
        let mut rules = Vec::new();
        let mut streams = Vec::new();
        for key in &delta.removals {
            match key {
                IrKey::Listener(key) => listeners.push((key, None)),
                IrKey::HttpRule(key) => rules.push((key, None)),
                IrKey::StreamRule(key) => streams.push((key, None)),
                IrKey::Backend(_)
                | IrKey::Endpoints(_)
                | IrKey::Certificate(_)
                | IrKey::Tracing
                | IrKey::SessionKeys => {}
            }
        }
        for resource in &delta.upserts {
            match resource {
                IrResource::Listener(listener) => listeners.push((&listener.key, Some(listener))),
                IrResource::HttpRule(rule) => rules.push((&rule.key, Some(rule))),
                IrResource::StreamRule(rule) => streams.push((&rule.key, Some(rule))),
                IrResource::Backend(_)
                | IrResource::Endpoints(_)
                | IrResource::Certificate(_)
                | IrResource::Tracing(_)
                | IrResource::SessionKeys(_) => {}
            }
        }
        let listeners: BTreeMap<_, _> = listeners.into_iter().collect();
        let mut table = self.clone();
        for (key, listener) in listeners {
            table.set_listener(key, listener);
        }
        table.set_rules(rules.into_iter().collect());
        table.streams.apply(streams.into_iter().collect());
        table
    }

    fn set_listener(&mut self, key: &ListenerKey, listener: Option<&Arc<Listener>>) {
        let old = match listener {
            Some(listener) => self.listeners.insert(key.clone(), Arc::clone(listener)),
            None => self.listeners.remove(key),
        };
        if let Some(old) = old {
            self.edit_place(&old, |listeners| listeners.retain(|listener| listener.key != old.key));
        }
        if let Some(new) = listener {
            self.edit_place(new, |listeners| {
                listeners.push(Arc::clone(new));
                listeners.sort_by(|a, b| a.key.cmp(&b.key));
            });
        }
    }

    /// Changes the listeners of a listener's port and hostname.
    fn edit_place(&mut self, listener: &Listener, edit: impl FnOnce(&mut Vec<Arc<Listener>>)) {
        let port = (listener.protocol.transport(), listener.port);
        let mut hosts = self.ports.remove(&port).unwrap_or_default();
        let hostname = listener.hostname.as_ref();
        let mut listeners =
            hosts.get(hostname).map_or_else(Vec::new, |listeners| listeners.to_vec());
        edit(&mut listeners);
        hosts.set(hostname, (!listeners.is_empty()).then(|| listeners.into()));
        if !hosts.is_empty() {
            self.ports.insert(port, hosts);
        }
    }

    fn set_rules(&mut self, rules: BTreeMap<&RuleKey, Option<&Arc<HttpRule>>>) {
        // What comes is compared with what was there before any of it.
        let before = self.rules.clone();
        let mut edits = Edits::default();
        for (key, rule) in rules {
            let old = before.get_key(key);
            if let (Some(old), Some(new)) = (old, rule)
                && old.rule() == new
            {
                continue;
            }
            if let Some(old) = old {
                edits.remove(old);
            }
            match rule {
                Some(rule) => {
                    let compiled = TableRule::new(Arc::clone(rule));
                    edits.add(&compiled, rule);
                    self.rules.insert(compiled, ());
                }
                None => drop(self.rules.remove(key)),
            }
        }
        self.routes.apply(edits);
    }

    /// The HTTP rule of a key.
    pub fn http_rule(&self, key: &RuleKey) -> Option<&Arc<HttpRule>> {
        self.rules.get_key(key).map(TableRule::rule)
    }

    /// All HTTP rules, in no order.
    pub fn http_rules(&self) -> impl Iterator<Item = &Arc<HttpRule>> {
        self.rules.keys().into_iter().map(TableRule::rule)
    }

    /// The listener of a clear-text port for a host, most specific first (LI-1, LI-2).
    pub fn listener_for_host(&self, port: u16, host: &str) -> Option<&Arc<Listener>> {
        let ports = self.ports.get(&(TransportProtocol::Tcp, port))?;
        ports.most_specific_first(host).next()?.first()
    }

    /// The listener of a TLS port for a server name; without one, or with an unknown one, the
    /// listener without hostname, if there is one (LI-4). Names are in lower case.
    pub fn listener_for_sni(&self, port: u16, sni: Option<&str>) -> Option<&Arc<Listener>> {
        match sni {
            Some(name) => self.listener_for_host(port, name),
            None => self.ports.get(&(TransportProtocol::Tcp, port))?.any()?.first(),
        }
    }

    /// Whether a connection that was accepted for `listener` by SNI may carry a request for
    /// `host` (LI-5).
    ///
    /// The request belongs to the listener that its host would have chosen. The one that the
    /// connection chose serves it only if that is the same one: a listener without hostname takes
    /// every host, but gives way to each listener that names the host (a); and what no named
    /// listener takes is the business of the listener without hostname, if there is one (b).
    pub fn authority(&self, port: u16, listener: &Listener, host: &str) -> Authority<'_> {
        match self.listener_for_host(port, host) {
            Some(best) if best.key == listener.key => Authority::Serve(best),
            Some(_) => Authority::Misdirected,
            None => Authority::Unknown,
        }
    }

    /// The rule that takes a request on a listener (HR-1, HR-2, HR-4).
    pub fn route(&self, listener: &Listener, request: &RequestHead<'_>) -> Option<RouteMatch<'_>> {
        self.routes.find(&listener.key, request)
    }

    /// The rule for a connection with a server name, or for connections and datagrams without
    /// (TS-3, L4-3). Names are in lower case.
    pub fn stream(&self, listener: &Listener, name: Option<&str>) -> Option<&Arc<StreamRule>> {
        self.streams.find(&listener.key, name)
    }
}
