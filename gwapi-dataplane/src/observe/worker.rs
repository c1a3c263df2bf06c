//! The counters of one worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use gwapi_model::NamespacedName;
use gwapi_translate::ir::{BackendKey, GatewayId, ListenerKey};

use super::access_log::AccessLog;
use super::record::{RequestRecord, StreamRecord};
use super::series::{ConnectionSeries, Count, RequestSeries};

/// Series of requests that a worker keeps; what goes beyond is counted without its route.
///
/// Routes come and go, series stay: without a bound a configuration that is generated would fill
/// the memory.
const MAX_SERIES: usize = 50_000;

/// Listeners of a route whose series are known without a look-up.
const MAX_KNOWN: usize = 8;

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

/// Names of a series of what failed at the endpoints of a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BackendLabels {
    /// None where there are more series than are kept.
    pub(super) backend: Option<BackendKey>,
    pub(super) reason: &'static str,
}

/// Names of a series of connections that broke or were closed unanswered, or of datagrams that were
/// dropped.
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
    pub(super) upstream_tls: SharedSeries<BackendLabels, Count>,
    pub(super) mirrors: SharedSeries<BackendLabels, Count>,
    pub(super) authorizations: SharedSeries<BackendLabels, Count>,
    pub(super) refused_retries: SharedSeries<BackendLabels, Count>,
    pub(super) rejected_connections: SharedSeries<FailureLabels, Count>,
    pub(super) udp_sessions: SharedSeries<ConnectionLabels, ConnectionSeries>,
    pub(super) dropped_datagrams: SharedSeries<FailureLabels, Count>,
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
    fn find(&self, hash: u64, same: impl Fn(&L) -> bool) -> Option<&Arc<S>> {
        let bucket = self.by_hash.get(&hash)?;
        bucket.iter().find(|(labels, _)| same(labels)).map(|(_, series)| series)
    }

    fn make(&mut self, hash: u64, labels: L, shared: &SharedSeries<L, S>) -> &Arc<S> {
        let series = Arc::new(S::default());
        shared.push(labels.clone(), series.clone());
        self.len += 1;
        let bucket = self.by_hash.entry(hash).or_default();
        &bucket.push_mut((labels, series)).1
    }
}

/// Series that the requests of one route were counted in before. Kept beside the route it saves them the
/// look-up among all.
#[derive(Debug, Default)]
pub(crate) struct KnownSeries(RefCell<Vec<(ConnectionLabels, Arc<RequestSeries>)>>);

impl KnownSeries {
    fn observe(&self, record: &RequestRecord<'_>, find: impl FnOnce() -> Arc<RequestSeries>) {
        let mut known = self.0.borrow_mut();
        let same = |(labels, _): &&(ConnectionLabels, _)| {
            labels.listener == *record.listener && labels.gateway == *record.gateway
        };
        if let Some((_, series)) = known.iter().find(same) {
            return series.observe(record);
        }
        let series = find();
        series.observe(record);
        if known.len() < MAX_KNOWN {
            let (gateway, listener) = (record.gateway.clone(), record.listener.clone());
            known.push((ConnectionLabels { gateway, listener }, series));
        }
    }
}

/// A connection that counts as open until dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<ConnectionSeries>);

impl OpenConnection {
    fn new(series: &Arc<ConnectionSeries>) -> Self {
        series.opened.add(1);
        Self(Arc::clone(series))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.closed.add(1);
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
    upstream_tls: RefCell<Index<BackendLabels, Count>>,
    mirrors: RefCell<Index<BackendLabels, Count>>,
    authorizations: RefCell<Index<BackendLabels, Count>>,
    refused_retries: RefCell<Index<BackendLabels, Count>>,
    rejected_connections: RefCell<Index<FailureLabels, Count>>,
    udp_sessions: RefCell<Index<ConnectionLabels, ConnectionSeries>>,
    dropped_datagrams: RefCell<Index<FailureLabels, Count>>,
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
            upstream_tls: RefCell::default(),
            mirrors: RefCell::default(),
            authorizations: RefCell::default(),
            refused_retries: RefCell::default(),
            rejected_connections: RefCell::default(),
            udp_sessions: RefCell::default(),
            dropped_datagrams: RefCell::default(),
            access_log,
        }
    }

    /// Counts a request that is over, and logs it where there is an access log. Without one it
    /// allocates only for the first request of a Gateway, listener and route. `known` is of that
    /// route.
    pub(crate) fn request(&self, record: &RequestRecord<'_>, known: Option<&KnownSeries>) {
        match known {
            Some(known) => known.observe(record, || self.series(record)),
            None => self.series(record).observe(record),
        }
        if let Some(log) = &self.access_log {
            log.request(record);
        }
    }

    /// Logs a connection or a flow of datagrams that is over, where there is an access log. It was counted
    /// when it began.
    pub(crate) fn stream(&self, record: &StreamRecord<'_>) {
        if let Some(log) = &self.access_log {
            log.stream(record);
        }
    }

    fn series(&self, record: &RequestRecord<'_>) -> Arc<RequestSeries> {
        let mut index = self.requests.borrow_mut();
        let route = record.route;
        let hash = index.hasher.hash_one((record.gateway, record.listener, route));
        let same = |labels: &RequestLabels| {
            labels.route.as_ref() == route
                && labels.gateway == *record.gateway
                && labels.listener == *record.listener
        };
        if let Some(series) = index.find(hash, same) {
            return Arc::clone(series);
        }
        if index.len >= MAX_SERIES && route.is_some() {
            drop(index);
            return self.series(&RequestRecord { route: None, ..*record });
        }
        let labels = RequestLabels {
            gateway: record.gateway.clone(),
            listener: record.listener.clone(),
            route: route.cloned(),
        };
        Arc::clone(index.make(hash, labels, &self.shard.requests))
    }

    /// Counts a connection that was accepted, and its end once what this gives is dropped. Where
    /// listeners of a Gateway share a port, the first of them stands for all.
    pub(crate) fn connection(&self, gateway: &GatewayId, listener: &ListenerKey) -> OpenConnection {
        open(&self.connections, &self.shard.connections, gateway, listener)
    }

    /// Counts a flow of datagrams that began, and its end once what this gives is dropped.
    pub(crate) fn udp_session(
        &self,
        gateway: &GatewayId,
        listener: &ListenerKey,
    ) -> OpenConnection {
        open(&self.udp_sessions, &self.shard.udp_sessions, gateway, listener)
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

    /// Counts a connection to an endpoint of a backend on which TLS failed. The reason is one of a fixed
    /// few words.
    pub(crate) fn upstream_tls_failed(&self, backend: &BackendKey, reason: &'static str) {
        count_of_backend(&self.upstream_tls, &self.shard.upstream_tls, Some(backend), reason);
    }

    /// Counts a copy of a request that a mirror did not answer. The reason is one of a fixed few words.
    pub(crate) fn mirror_failed(&self, backend: &BackendKey, reason: &'static str) {
        count_of_backend(&self.mirrors, &self.shard.mirrors, Some(backend), reason);
    }

    /// Counts a question to an authorization service, which is absent where the reference to it leads
    /// nowhere. The outcome is one of a fixed few words.
    pub(crate) fn authorization(&self, backend: Option<&BackendKey>, outcome: &'static str) {
        count_of_backend(&self.authorizations, &self.shard.authorizations, backend, outcome);
    }

    /// Counts a retry that a rule wanted and that the budget of its backend did not let it make.
    pub(crate) fn retry_refused(&self, backend: &BackendKey) {
        let shared = &self.shard.refused_retries;
        count_of_backend(&self.refused_retries, shared, Some(backend), "budget");
    }

    /// Counts a connection that ended because of what its client sent, or did not send or read in
    /// time. The reason is one of a fixed few words.
    pub(crate) fn connection_failed(
        &self,
        gateway: &GatewayId,
        listener: &ListenerKey,
        reason: &'static str,
    ) {
        count_one(&self.failures, &self.shard.failures, (gateway, listener), reason);
    }

    /// Counts a connection of a TLSRoute or TCPRoute that was closed without an answer. The reason is one
    /// of a fixed few words.
    pub(crate) fn connection_rejected(
        &self,
        gateway: &GatewayId,
        listener: &ListenerKey,
        reason: &'static str,
    ) {
        let shared = &self.shard.rejected_connections;
        count_one(&self.rejected_connections, shared, (gateway, listener), reason);
    }

    /// Counts a datagram that went nowhere. The reason is one of a fixed few words.
    pub(crate) fn datagram_dropped(
        &self,
        gateway: &GatewayId,
        listener: &ListenerKey,
        reason: &'static str,
    ) {
        let shared = &self.shard.dropped_datagrams;
        count_one(&self.dropped_datagrams, shared, (gateway, listener), reason);
    }
}

/// Counts one more that is open, of a listener.
fn open(
    index: &RefCell<Index<ConnectionLabels, ConnectionSeries>>,
    shared: &SharedSeries<ConnectionLabels, ConnectionSeries>,
    gateway: &GatewayId,
    listener: &ListenerKey,
) -> OpenConnection {
    let mut index = index.borrow_mut();
    let hash = index.hasher.hash_one((gateway, listener));
    let same =
        |labels: &ConnectionLabels| labels.gateway == *gateway && labels.listener == *listener;
    if let Some(series) = index.find(hash, same) {
        return OpenConnection::new(series);
    }
    let labels = ConnectionLabels { gateway: gateway.clone(), listener: listener.clone() };
    OpenConnection::new(index.make(hash, labels, shared))
}

/// Counts one more of a listener, by reason.
fn count_one(
    index: &RefCell<Index<FailureLabels, Count>>,
    shared: &SharedSeries<FailureLabels, Count>,
    (gateway, listener): (&GatewayId, &ListenerKey),
    reason: &'static str,
) {
    let mut index = index.borrow_mut();
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
    index.make(hash, FailureLabels { connection, reason }, shared).add(1);
}

/// Adds one to the series of a backend and a reason; where there are too many, to that of all backends.
fn count_of_backend(
    index: &RefCell<Index<BackendLabels, Count>>,
    shared: &SharedSeries<BackendLabels, Count>,
    mut backend: Option<&BackendKey>,
    reason: &'static str,
) {
    let mut index = index.borrow_mut();
    loop {
        let hash = index.hasher.hash_one((backend, reason));
        let same =
            |labels: &BackendLabels| labels.backend.as_ref() == backend && labels.reason == reason;
        if let Some(count) = index.find(hash, same) {
            return count.add(1);
        }
        if index.len < MAX_SERIES || backend.is_none() {
            let labels = BackendLabels { backend: backend.cloned(), reason };
            return index.make(hash, labels, shared).add(1);
        }
        backend = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Ended;
    use crate::observe::series::RequestTotals;
    use std::time::Duration;

    fn count(worker: &WorkerTelemetry, route: Option<&NamespacedName>) {
        count_on(worker, route, "http", None);
    }

    fn count_on(
        worker: &WorkerTelemetry,
        route: Option<&NamespacedName>,
        listener: &str,
        known: Option<&KnownSeries>,
    ) {
        let record = RequestRecord {
            gateway: &NamespacedName::new("default", "web"),
            listener: &ListenerKey::new(listener),
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
            authorization: None,
            ended: Ended::Complete,
        };
        worker.request(&record, known);
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
    fn requests_of_a_route_are_counted_by_listener_whether_their_series_is_known_or_not() {
        let shard = Arc::new(Shard::default());
        let worker = WorkerTelemetry::new(shard.clone(), None);
        let (route, known) = (NamespacedName::new("default", "app"), KnownSeries::default());
        let listeners = MAX_KNOWN + 2;
        for round in 0..3 {
            for listener in 0..listeners {
                let known = (round > 0).then_some(&known);
                count_on(&worker, Some(&route), &format!("http-{listener}"), known);
            }
        }
        let series = shard.requests.list();
        assert_eq!(series.len(), listeners);
        for (labels, series) in series {
            let mut totals = RequestTotals::default();
            totals.add(&series);
            assert_eq!(totals.codes.get(&200), Some(&3), "{labels:?}");
        }
    }

    #[test]
    fn a_connection_is_open_until_it_is_dropped() {
        let shard = Arc::new(Shard::default());
        let worker = WorkerTelemetry::new(shard.clone(), None);
        let (gateway, listener) = (NamespacedName::new("default", "web"), ListenerKey::new("http"));
        let open = [(); 2].map(|()| worker.connection(&gateway, &listener));
        let [(_, series)] = &shard.connections.list()[..] else { panic!("one series") };
        assert_eq!((series.opened.value(), series.closed.value()), (2, 0));
        drop(open);
        assert_eq!((series.opened.value(), series.closed.value()), (2, 2));
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
