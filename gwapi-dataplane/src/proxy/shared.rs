//! What the workers of one proxy share: a pointer to the configuration, and little else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::snapshot::Snapshot;
use crate::Limits;
use crate::observe::Telemetry;

/// Shared by all workers and the handle of a proxy.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) telemetry: Arc<Telemetry>,
    /// What is served now. A request reads it once.
    pub(super) snapshot: ArcSwap<Snapshot>,
    started: Instant,
    last_accept: AtomicU64,
}

impl Shared {
    pub(super) fn new(limits: Limits, telemetry: Arc<Telemetry>) -> Self {
        Self {
            limits,
            telemetry,
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            started: Instant::now(),
            last_accept: AtomicU64::new(0),
        }
    }

    /// Notes that a connection came while a drain waits for a quiet moment.
    pub(super) fn note_accept(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_accept.fetch_max(elapsed, Ordering::Relaxed);
    }

    /// When the last connection came that [`Shared::note_accept`] was told of.
    pub(super) fn last_accept(&self) -> Instant {
        self.started + Duration::from_nanos(self.last_accept.load(Ordering::Relaxed))
    }
}
