//! The compiled form of a [`GatewayConfig`]: which listener, which rule.
//!
//! A table is persistent: [`RouteTable::apply`] makes a new one that shares all that did not
//! change with the old one. Lookups allocate nothing.

use std::sync::Arc;

use http::HeaderMap;

use crate::ir::{ConfigDelta, GatewayConfig, HttpMatch, HttpRule, Listener};

/// What routing reads of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Host: lower-case, without port and trailing dot (LI-1).
    pub host: &'a str,
    /// Path in canonical form, without query (see [`crate::path`]).
    pub path: &'a str,
    /// Query without `?`.
    pub query: Option<&'a str>,
    /// Method.
    pub method: &'a str,
    /// Headers.
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
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    _private: (),
}

impl RouteTable {
    /// Compiles a configuration.
    pub fn compile(config: &GatewayConfig) -> Self {
        Self::default().apply(&ConfigDelta {
            upserts: config.0.values().cloned().collect(),
            removals: Vec::new(),
        })
    }

    /// The table after a change; cost grows with the change.
    #[must_use]
    pub fn apply(&self, delta: &ConfigDelta) -> Self {
        let _ = delta;
        self.clone()
    }

    /// The listener of a clear-text port for a host, most specific first (LI-1, LI-2).
    pub fn listener_for_host(&self, port: u16, host: &str) -> Option<&Arc<Listener>> {
        let _ = (port, host);
        None
    }

    /// The listener of a TLS port for a server name; without one, or with an unknown one, the
    /// listener without hostname, if there is one (LI-4).
    pub fn listener_for_sni(&self, port: u16, sni: Option<&str>) -> Option<&Arc<Listener>> {
        let _ = (port, sni);
        None
    }

    /// Whether a connection that was accepted for `listener` by SNI may carry a request for
    /// `host` (LI-5).
    pub fn authority(&self, port: u16, listener: &Listener, host: &str) -> Authority<'_> {
        let _ = (port, listener, host);
        Authority::Unknown
    }

    /// The rule that takes a request on a listener (HR-1, HR-2, HR-4).
    pub fn route(&self, listener: &Listener, request: &RequestHead<'_>) -> Option<RouteMatch<'_>> {
        let _ = (listener, request);
        None
    }
}
