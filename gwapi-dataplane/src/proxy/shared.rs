//! What the workers of one proxy share: a pointer to the configuration, and little else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::in_flight::InFlight;
use super::overload::Overload;
use super::snapshot::Snapshot;
use super::sockets::Room;
use super::upstream::AllSlots;
use super::{TrustedProxies, UnderscoreHeaders, Upgrades};
use crate::Limits;
use crate::observe::Telemetry;

/// Time between two warnings that no connection can be accepted.
const WARNING_PERIOD: Duration = Duration::from_secs(10);

/// Shared by all workers and the handle of a proxy.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) underscore_headers: UnderscoreHeaders,
    pub(super) upgrades: Upgrades,
    pub(super) telemetry: Arc<Telemetry>,
    /// What is served now. A request reads it once.
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// Connections of all workers to endpoints.
    pub(super) upstream_slots: Arc<AllSlots>,
    started: Instant,
    last_accept: AtomicU64,
    last_warning: AtomicU64,
    room: AtomicUsize,
    /// Told when there may be more of it.
    pub(super) room_set: Notify,
    room_for_udp: AtomicUsize,
    pub(super) overload: Overload,
    pub(super) in_flight: InFlight,
    places: Arc<Places>,
    udp_sessions: Arc<AtomicUsize>,
}

/// The place of one flow of datagrams among those of all workers, until dropped.
#[derive(Debug)]
pub(super) struct UdpPlace(Arc<AtomicUsize>);

impl Drop for UdpPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of all workers.
#[derive(Debug)]
struct Places {
    limit: usize,
    taken: AtomicUsize,
    freed: Notify,
}

/// The place of one connection among those of all workers, until dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody waits as long as there is room.
        if self.0.taken.fetch_sub(1, Ordering::SeqCst) >= self.0.limit {
            self.0.freed.notify_waiters();
        }
    }
}

impl Shared {
    pub(super) fn new(limits: Limits, telemetry: Arc<Telemetry>) -> Self {
        let places = Places {
            limit: limits.max_connections,
            taken: AtomicUsize::new(0),
            freed: Notify::new(),
        };
        Self {
            limits,
            trusted_proxies: TrustedProxies::None,
            underscore_headers: UnderscoreHeaders::Drop,
            upgrades: Upgrades::default(),
            telemetry,
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            upstream_slots: Arc::default(),
            started: Instant::now(),
            last_accept: AtomicU64::new(0),
            last_warning: AtomicU64::new(0),
            room: AtomicUsize::new(usize::MAX),
            room_set: Notify::new(),
            room_for_udp: AtomicUsize::new(usize::MAX),
            overload: Overload::default(),
            in_flight: InFlight::default(),
            places: Arc::new(places),
            udp_sessions: Arc::default(),
        }
    }

    /// Clients' connections that are open now, on all workers.
    pub(super) fn open_connections(&self) -> usize {
        self.places.taken.load(Ordering::Relaxed)
    }

    /// Waits until there is a place for another connection, without taking it.
    pub(super) async fn room(&self) {
        let is_full = || self.places.taken.load(Ordering::SeqCst) >= self.places.limit;
        while is_full() {
            let freed = self.places.freed.notified();
            // One that was freed in between told nobody.
            if is_full() {
                freed.await;
            }
        }
    }

    /// Waits for a place for a connection, and takes it.
    pub(super) async fn wait_for_place(&self) -> Place {
        let next = |taken| (taken < self.places.limit).then_some(taken + 1);
        loop {
            let freed = self.places.freed.notified();
            let taken = self.places.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
            if taken.is_ok() {
                return Place(Arc::clone(&self.places));
            }
            freed.await;
        }
    }

    /// A place for a connection that cannot wait, whether there is one or not.
    pub(super) fn place(&self) -> Place {
        self.places.taken.fetch_add(1, Ordering::SeqCst);
        Place(Arc::clone(&self.places))
    }

    /// A place for a flow of datagrams, if there is one.
    pub(super) fn try_udp_place(&self) -> Option<UdpPlace> {
        let room = self.room_for_udp.load(Ordering::Relaxed);
        let limit = self.limits.max_udp_sessions.min(room);
        let next = |taken| (taken < limit).then_some(taken + 1);
        let taken = self.udp_sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.is_ok().then(|| UdpPlace(Arc::clone(&self.udp_sessions)))
    }

    /// The same, whether there is one or not.
    pub(super) fn udp_place(&self) -> UdpPlace {
        self.udp_sessions.fetch_add(1, Ordering::Relaxed);
        UdpPlace(Arc::clone(&self.udp_sessions))
    }

    /// Connections that a worker may hold at a time: what the limits say, or what descriptors there
    /// are.
    pub(super) fn max_connections(&self) -> usize {
        self.limits.max_connections_per_core.min(self.room.load(Ordering::Relaxed))
    }

    /// Sets for what there are descriptors.
    pub(super) fn set_room(&self, room: Room) {
        self.room.store(room.connections, Ordering::Relaxed);
        self.room_for_udp.store(room.udp_sessions, Ordering::Relaxed);
        self.room_set.notify_waiters();
    }

    /// Whether to warn at `now` that no connection can be accepted: once in a while is enough, and a
    /// worker tries again many times in a second.
    pub(super) fn may_warn(&self, now: Instant) -> bool {
        // Counted from 1, so that 0 stands for never.
        let now = nanos(now - self.started).saturating_add(1);
        let due = |last| (last == 0 || now >= last + nanos(WARNING_PERIOD)).then_some(now);
        self.last_warning.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }

    /// Notes that a connection came while a drain waits for a quiet moment.
    pub(super) fn note_accept(&self) {
        self.last_accept.fetch_max(nanos(self.started.elapsed()), Ordering::Relaxed);
    }

    /// When the last connection came that [`Shared::note_accept`] was told of.
    pub(super) fn last_accept(&self) -> Instant {
        self.started + Duration::from_nanos(self.last_accept.load(Ordering::Relaxed))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_once_in_a_while() {
        let shared = Shared::new(Limits::default(), Telemetry::new(None));
        let began = shared.started;
        assert!(shared.may_warn(began));
        assert!(!shared.may_warn(began + WARNING_PERIOD / 2));
        assert!(shared.may_warn(began + WARNING_PERIOD));
        assert!(!shared.may_warn(began + WARNING_PERIOD * 3 / 2));
    }

    #[test]
    fn a_worker_holds_what_both_the_limits_and_the_descriptors_allow() {
        let limits = Limits { max_connections_per_core: 10, ..Limits::default() };
        let shared = Shared::new(limits, Telemetry::new(None));
        assert_eq!(shared.max_connections(), 10);
        shared.set_room(Room { connections: 3, udp_sessions: 0 });
        assert_eq!(shared.max_connections(), 3);
        shared.set_room(Room { connections: 30, udp_sessions: 0 });
        assert_eq!(shared.max_connections(), 10);
    }
}
