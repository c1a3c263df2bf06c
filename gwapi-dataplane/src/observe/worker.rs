//! The counters of one worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use gwapi_model::NamespacedName;
use gwapi_translate::ir::{GatewayId, ListenerKey};

use super::access_log::AccessLog;
use super::record::RequestRecord;
use super::series::{ConnectionSeries, Count, RequestSeries};

/// Series of requests that a worker keeps; what goes beyond is counted without its route.
///
/// Routes come and go, series stay: without a bound a configuration that is generated would fill
/// the memory.
const MAX_SERIES: usize = 50_000;

/// Names of a series of requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestLabels {
    pub(super) gateway: GatewayId,
    pub(super) listener: ListenerKey,
    pub(super) route: Option<NamespacedName>,
}

/// Names of a series of connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionLabels {
    pub(super) gateway: GatewayId,
    pub(super) listener: ListenerKey,
}

/// Names of a series of failed handshakes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HandshakeLabels {
    pub(super) gateway: Option<GatewayId>,
    pub(super) reason: &'static str,
}

/// Names of a series of connections that broke.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FailureLabels {
    pub(super) connection: ConnectionLabels,
    pub(super) reason: &'static str,
}

/// Names of a series of requests that were not taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RejectionLabels {
    pub(super) gateway: GatewayId,
    pub(super) reason: &'static str,
}

/// What others read of a worker. The locks are held while a series is made and while the metrics
/// are rendered, never to count.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) requests: SharedSeries<RequestLabels, RequestSeries>,
    pub(super) connections: SharedSeries<ConnectionLabels, ConnectionSeries>,
    pub(super) handshakes: SharedSeries<HandshakeLabels, Count>,
    pub(super) failures: SharedSeries<FailureLabels, Count>,
    pub(super) rejections: SharedSeries<RejectionLabels, Count>,
}

/// All series of one kind, with their names.
#[derive(Debug)]
pub(super) struct SharedSeries<L, S>(Mutex<Vec<(L, Arc<S>)>>);

impl<L, S> Default for SharedSeries<L, S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Clone, S> SharedSeries<L, S> {
    fn push(&self, labels: L, series: Arc<S>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((labels, series));
    }

    /// All series as they are now.
    pub(super) fn list(&self) -> Vec<(L, Arc<S>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The series that a worker has made, found by the hash of borrowed names: a look-up allocates
/// nothing.
#[derive(Debug)]
struct Index<L, S> {
    by_hash: HashMap<u64, Vec<(L, Arc<S>)>, RandomState>,
    hasher: RandomState,
    len: usize,
}

impl<L, S> Default for Index<L, S> {
    fn default() -> Self {
        Self { by_hash: HashMap::default(), hasher: RandomState::default(), len: 0 }
    }
}

impl<L: Clone, S: Default> Index<L, S> {
    fn find(&self, hash: u64, same: impl Fn(&L) -> bool) -> Option<&S> {
        let bucket = self.by_hash.get(&hash)?;
        bucket.iter().find(|(labels, _)| same(labels)).map(|(_, series)| &**series)
    }

    fn make(&mut self, hash: u64, labels: L, shared: &SharedSeries<L, S>) -> &S {
        let series = Arc::new(S::default());
        shared.push(labels.clone(), series.clone());
        self.len += 1;
        let bucket = self.by_hash.entry(hash).or_default();
        &bucket.push_mut((labels, series)).1
    }
}

/// What one worker counts. It stays on its worker's thread; [`super::Telemetry`] reads it.
#[derive(Debug)]
pub(crate) struct WorkerTelemetry {
    shard: Arc<Shard>,
    requests: RefCell<Index<RequestLabels, RequestSeries>>,
    connections: RefCell<Index<ConnectionLabels, ConnectionSeries>>,
    handshakes: RefCell<Index<HandshakeLabels, Count>>,
    failures: RefCell<Index<FailureLabels, Count>>,
    rejections: RefCell<Index<RejectionLabels, Count>>,
    access_log: Option<Arc<AccessLog>>,
}

impl WorkerTelemetry {
    pub(super) fn new(shard: Arc<Shard>, access_log: Option<Arc<AccessLog>>) -> Self {
        Self {
            shard,
            requests: RefCell::default(),
            connections: RefCell::default(),
            handshakes: RefCell::default(),
            failures: RefCell::default(),
            rejections: RefCell::default(),
            access_log,
        }
    }

    /// Counts a request that is over, and logs it where there is an access log. Without one it
    /// allocates only for the first request of a Gateway, listener and route.
    pub(crate) fn request(&self, record: &RequestRecord<'_>) {
        self.count(record);
        if let Some(log) = &self.access_log {
            log.request(record);
        }
    }

    fn count(&self, record: &RequestRecord<'_>) {
        let mut index = self.requests.borrow_mut();
        let route = record.route;
        let hash = index.hasher.hash_one((record.gateway, record.listener, route));
        let same = |labels: &RequestLabels| {
            labels.route.as_ref() == route
                && labels.gateway == *record.gateway
                && labels.listener == *record.listener
        };
        if let Some(series) = index.find(hash, same) {
            series.observe(record);
            return;
        }
        if index.len >= MAX_SERIES && route.is_some() {
            drop(index);
            return self.count(&RequestRecord { route: None, ..*record });
        }
        let labels = RequestLabels {
            gateway: record.gateway.clone(),
            listener: record.listener.clone(),
            route: route.cloned(),
        };
        index.make(hash, labels, &self.shard.requests).observe(record);
    }

    /// Counts a connection that was accepted. Where listeners of a Gateway share a port, the first
    /// of them stands for all.
    pub(crate) fn connection_opened(&self, gateway: &GatewayId, listener: &ListenerKey) {
        self.connection(gateway, listener, |series| series.opened.add(1));
    }

    /// Counts the end of a connection; the names are those of [`Self::connection_opened`].
    pub(crate) fn connection_closed(&self, gateway: &GatewayId, listener: &ListenerKey) {
        self.connection(gateway, listener, |series| series.closed.add(1));
    }

    fn connection(
        &self,
        gateway: &GatewayId,
        listener: &ListenerKey,
        count: impl Fn(&ConnectionSeries),
    ) {
        let mut index = self.connections.borrow_mut();
        let hash = index.hasher.hash_one((gateway, listener));
        let same =
            |labels: &ConnectionLabels| labels.gateway == *gateway && labels.listener == *listener;
        if let Some(series) = index.find(hash, same) {
            return count(series);
        }
        let labels = ConnectionLabels { gateway: gateway.clone(), listener: listener.clone() };
        count(index.make(hash, labels, &self.shard.connections));
    }

    /// Counts a request that the proxy did not take. The reason is one of a fixed few words.
    pub(crate) fn request_rejected(&self, gateway: &GatewayId, reason: &'static str) {
        let mut index = self.rejections.borrow_mut();
        let hash = index.hasher.hash_one((gateway, reason));
        let same = |labels: &RejectionLabels| labels.gateway == *gateway && labels.reason == reason;
        if let Some(count) = index.find(hash, same) {
            return count.add(1);
        }
        let labels = RejectionLabels { gateway: gateway.clone(), reason };
        index.make(hash, labels, &self.shard.rejections).add(1);
    }

    /// Counts a TLS handshake that failed. The reason is one of a fixed few words; the Gateway is
    /// absent where a port serves several and the client named none.
    pub(crate) fn handshake_failed(&self, gateway: Option<&GatewayId>, reason: &'static str) {
        let mut index = self.handshakes.borrow_mut();
        let hash = index.hasher.hash_one((gateway, reason));
        let same = |labels: &HandshakeLabels| {
            labels.gateway.as_ref() == gateway && labels.reason == reason
        };
        if let Some(count) = index.find(hash, same) {
            return count.add(1);
        }
        let labels = HandshakeLabels { gateway: gateway.cloned(), reason };
        index.make(hash, labels, &self.shard.handshakes).add(1);
    }

    /// Counts a connection that ended because of what its client sent, or did not send or read in
    /// time. The reason is one of a fixed few words.
    pub(crate) fn connection_failed(
        &self,
        gateway: &GatewayId,
        listener: &ListenerKey,
        reason: &'static str,
    ) {
        let mut index = self.failures.borrow_mut();
        let hash = index.hasher.hash_one((gateway, listener, reason));
        let same = |labels: &FailureLabels| {
            labels.connection.gateway == *gateway
                && labels.connection.listener == *listener
                && labels.reason == reason
        };
        if let Some(count) = index.find(hash, same) {
            return count.add(1);
        }
        let connection = ConnectionLabels { gateway: gateway.clone(), listener: listener.clone() };
        index.make(hash, FailureLabels { connection, reason }, &self.shard.failures).add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Ended;
    use crate::observe::series::RequestTotals;
    use std::time::Duration;

    fn count(worker: &WorkerTelemetry, route: Option<&NamespacedName>) {
        worker.request(&RequestRecord {
            gateway: &NamespacedName::new("default", "web"),
            listener: &ListenerKey::new("http"),
            route,
            rule: None,
            backend: None,
            endpoint: None,
            peer: "127.0.0.1:1".parse().unwrap(),
            client: "127.0.0.1".parse().unwrap(),
            method: "GET",
            host: b"",
            path: b"/",
            protocol: "HTTP/1.1",
            status: 200,
            duration: Duration::ZERO,
            upstream_duration: None,
            bytes_received: 0,
            bytes_sent: 0,
            ended: Ended::Complete,
        });
    }

    #[test]
    fn routes_beyond_the_bound_are_counted_without_their_name() {
        let shard = Arc::new(Shard::default());
        let worker = WorkerTelemetry::new(shard.clone(), None);
        let route = |number: usize| NamespacedName::new("default", format!("route-{number}"));
        for number in 0..MAX_SERIES + 7 {
            count(&worker, Some(&route(number)));
        }
        count(&worker, Some(&route(0)));
        let series = shard.requests.list();
        assert_eq!(series.len(), MAX_SERIES + 1);
        let totals = |route: Option<NamespacedName>| {
            let mut totals = RequestTotals::default();
            for (_, series) in series.iter().filter(|(labels, _)| labels.route == route) {
                totals.add(series);
            }
            totals.codes.get(&200).copied()
        };
        assert_eq!(totals(None), Some(7));
        assert_eq!(totals(Some(route(0))), Some(2));
        assert_eq!(totals(Some(route(MAX_SERIES))), None);
    }

    #[test]
    fn a_series_is_made_once() {
        let shard = Arc::new(Shard::default());
        let worker = WorkerTelemetry::new(shard.clone(), None);
        for _ in 0..3 {
            count(&worker, None);
            worker.handshake_failed(None, "timeout");
        }
        assert_eq!(shard.requests.list().len(), 1);
        assert_eq!(shard.handshakes.list()[0].1.value(), 3);
    }
}
