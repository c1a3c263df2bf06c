//! What all workers and the thread that applies configurations share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use gwapi_translate::ir::GatewayId;

use super::access_log::AccessLog;
use super::metrics::{self, Snapshot};
use super::series::{DurationTotals, Durations};
use super::spans::SpanCounts;
use tokio::sync::watch;

use super::worker::{Shard, WorkerTelemetry};

/// Whether traffic should be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// No complete configuration yet.
    Starting,
    /// Serving.
    Ready,
    /// Serving still, but about to stop.
    Draining,
}

/// What came of applying a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigApplied {
    /// Number of the configuration.
    pub(crate) generation: u64,
    /// Time from the update to the swap on every worker.
    pub(crate) duration: Duration,
    /// Gateways served.
    pub(crate) gateways: usize,
    /// Listeners served.
    pub(crate) listeners: usize,
    /// Rules for requests served.
    pub(crate) http_rules: usize,
    /// Rules for connections and datagrams served.
    pub(crate) stream_rules: usize,
    /// Backends served.
    pub(crate) backends: usize,
    /// Certificates served.
    pub(crate) certificates: usize,
    /// Resources of this update that were rejected.
    pub(crate) rejected: usize,
}

/// The configuration as metrics show it.
#[derive(Clone, Debug, Default)]
pub(super) struct ConfigState {
    pub(super) applied: ConfigApplied,
    pub(super) applied_at: Option<SystemTime>,
    pub(super) apply_durations: DurationTotals,
    pub(super) rejected_total: u64,
}

/// The memory of the process, where it has a limit.
#[derive(Debug, Default)]
struct Memory {
    used: AtomicU64,
    limit: AtomicU64,
    overloaded: AtomicBool,
    overloads: AtomicU64,
}

/// The memory of the process as metrics show it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemoryState {
    /// Bytes that it has, and bytes that it may have; both 0 where there is no limit.
    pub(super) used: u64,
    pub(super) limit: u64,
    pub(super) overloaded: bool,
    /// Overloads so far.
    pub(super) overloads: u64,
}

/// Counters, readiness and the access log of one proxy.
#[derive(Debug)]
pub(crate) struct Telemetry {
    shards: Mutex<Vec<Arc<Shard>>>,
    config: Mutex<ConfigState>,
    apply_durations: Durations,
    readiness: watch::Sender<Readiness>,
    memory: Memory,
    access_log: Option<Arc<AccessLog>>,
    spans: Mutex<BTreeMap<GatewayId, Arc<SpanCounts>>>,
    started_at: SystemTime,
}

impl Telemetry {
    /// Nothing counted yet; requests are logged where there is an access log.
    pub(crate) fn new(access_log: Option<AccessLog>) -> Arc<Self> {
        Arc::new(Self {
            shards: Mutex::default(),
            config: Mutex::default(),
            apply_durations: Durations::default(),
            readiness: watch::Sender::new(Readiness::Starting),
            memory: Memory::default(),
            access_log: access_log.map(Arc::new),
            spans: Mutex::default(),
            started_at: SystemTime::now(),
        })
    }

    /// The counters of one more worker; move them to the worker's thread.
    pub(crate) fn worker(&self) -> WorkerTelemetry {
        let shard = Arc::new(Shard::default());
        lock(&self.shards).push(shard.clone());
        WorkerTelemetry::new(shard, self.access_log.clone())
    }

    /// Where the spans of a Gateway are counted.
    pub(crate) fn spans(&self, gateway: &GatewayId) -> Arc<SpanCounts> {
        Arc::clone(lock(&self.spans).entry(gateway.clone()).or_default())
    }

    /// Notes that every worker serves a new configuration. The first one makes the proxy ready.
    pub(crate) fn config_applied(&self, applied: &ConfigApplied) {
        let mut config = lock(&self.config);
        // The lock makes this thread the only writer.
        self.apply_durations.observe(applied.duration);
        config.rejected_total += applied.rejected as u64;
        config.applied = applied.clone();
        config.applied_at = Some(SystemTime::now());
        drop(config);
        self.readiness.send_if_modified(|readiness| {
            // A drain that has begun stays one.
            let is_first = *readiness == Readiness::Starting;
            if is_first {
                *readiness = Readiness::Ready;
            }
            is_first
        });
    }

    /// Notes how much memory the process has, and may have.
    pub(crate) fn memory(&self, used: u64, limit: u64) {
        self.memory.used.store(used, Ordering::Relaxed);
        self.memory.limit.store(limit, Ordering::Relaxed);
    }

    /// Notes that an overload began, or ended.
    pub(crate) fn overloaded(&self, overloaded: bool) {
        self.memory.overloaded.store(overloaded, Ordering::Relaxed);
        self.memory.overloads.fetch_add(u64::from(overloaded), Ordering::Relaxed);
    }

    /// Notes that the proxy is about to stop; there is no way back.
    pub(crate) fn drain_began(&self) {
        self.readiness.send_replace(Readiness::Draining);
    }

    /// Whether traffic should be sent here.
    pub(crate) fn readiness(&self) -> Readiness {
        *self.readiness.borrow()
    }

    /// Waits for the first complete configuration, or for the drain, but no longer than `longest`.
    pub(crate) async fn readiness_within(&self, longest: Duration) -> Readiness {
        let mut changes = self.readiness.subscribe();
        let started = changes.wait_for(|readiness| *readiness != Readiness::Starting);
        // Whether time is up or not, what counts is how it is now.
        let _ = tokio::time::timeout(longest, started).await;
        self.readiness()
    }

    /// Waits until the access log is written, at most `timeout`: for the end of the process.
    pub(crate) fn flush(&self, timeout: Duration) {
        if let Some(log) = &self.access_log {
            log.flush(timeout);
        }
    }

    /// All metrics in the OpenMetrics text format.
    pub(crate) fn render(&self) -> String {
        metrics::render(self.snapshot())
    }

    fn snapshot(&self) -> Snapshot {
        let config = ConfigState {
            apply_durations: DurationTotals::of(&self.apply_durations),
            ..lock(&self.config).clone()
        };
        let mut snapshot = Snapshot {
            requests: BTreeMap::new(),
            connections: BTreeMap::new(),
            connections_by_worker: Vec::new(),
            handshakes: BTreeMap::new(),
            failures: BTreeMap::new(),
            rejections: BTreeMap::new(),
            upstream_tls: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            authorizations: BTreeMap::new(),
            refused_retries: BTreeMap::new(),
            rejected_connections: BTreeMap::new(),
            udp_sessions: BTreeMap::new(),
            dropped_datagrams: BTreeMap::new(),
            memory: MemoryState {
                used: self.memory.used.load(Ordering::Relaxed),
                limit: self.memory.limit.load(Ordering::Relaxed),
                overloaded: self.memory.overloaded.load(Ordering::Relaxed),
                overloads: self.memory.overloads.load(Ordering::Relaxed),
            },
            config,
            spans: lock(&self.spans).clone(),
            access_log: self.access_log.as_ref().map(|log| (log.queued(), log.dropped())),
            ready: self.readiness() == Readiness::Ready,
            started_at: self.started_at,
        };
        for shard in lock(&self.shards).clone() {
            snapshot.add(&shard);
        }
        snapshot
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
