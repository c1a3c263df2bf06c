//! Rules of the routes that carry bytes or datagrams, and look into neither.

use std::sync::Arc;

use gwapi_model::{NamespacedName, RouteKind};
use serde::{Deserialize, Serialize};

use super::{
    BackendKey, BackendTarget, Hostname, ListenerKey, RuleKey, RuleOrder, WeightedBackend,
};

/// The rule of a TLSRoute, TCPRoute or UDPRoute as one Gateway serves it: for a TLSRoute one with the
/// listeners that pass TLS through (TS-5), and one with those that end it.
///
/// Connections whose share has no backend, or none that can be reached, are closed before a byte is
/// answered; datagrams are dropped (TS-4, L4-4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamRule {
    /// Key.
    pub key: RuleKey,
    /// The route it belongs to.
    pub route: NamespacedName,
    /// The kind of that route.
    pub route_kind: RouteKind,
    /// The rule's name, where it has one.
    pub name: Option<Box<str>>,
    /// Precedence among equals: of several rules for one server name, or of one listener without names,
    /// the first alone is served (TS-3, L4-3).
    pub order: RuleOrder,
    /// Listeners that the route is attached to, sorted, as those of an [`HttpRule`](super::HttpRule).
    pub listeners: Arc<[ListenerKey]>,
    /// Server names as written in the route (TS-3); none means every connection of the listener.
    pub hostnames: Arc<[Hostname]>,
    /// Backends with weights and without filters, chosen once for a connection or a flow of datagrams
    /// (L4-5).
    pub backends: Vec<WeightedBackend>,
}

impl StreamRule {
    /// The backends that it leads to, with the weight of each.
    pub fn targets(&self) -> impl Iterator<Item = (&BackendKey, u32)> {
        targets(&self.backends)
    }
}

/// Those of some backends that there may be.
pub(super) fn targets(backends: &[WeightedBackend]) -> impl Iterator<Item = (&BackendKey, u32)> {
    backends.iter().filter_map(|backend| match &backend.target {
        BackendTarget::Backend(key) => Some((key, backend.weight)),
        BackendTarget::Invalid(_) => None,
    })
}
