//! How many connections there may be to an endpoint, and who waits for one.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::Limits;

/// The connections of all cores to each endpoint, by address or name and port.
#[derive(Debug, Default)]
pub(in crate::proxy) struct AllSlots(Mutex<HashMap<String, Weak<AllCores>>>);

impl AllSlots {
    /// The count that all cores share for an endpoint. Asked for when a core gets to know it.
    fn of(&self, endpoint: String, limit: usize) -> Arc<AllCores> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.get(&endpoint).and_then(Weak::upgrade) {
            return shared;
        }
        known.retain(|_, shared| shared.strong_count() > 0);
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let shared = Arc::new(AllCores {
            limit,
            places: Arc::new(Semaphore::new(limit)),
            cores: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        });
        known.insert(endpoint, Arc::downgrade(&shared));
        shared
    }
}

/// The connections of all cores to one endpoint.
#[derive(Debug)]
struct AllCores {
    limit: usize,
    places: Arc<Semaphore>,
    /// Cores that know the endpoint.
    cores: AtomicUsize,
    /// Requests of all cores that wait for a connection of any core to end.
    waiting: AtomicUsize,
}

/// The connections of one core to one endpoint.
#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    core: Arc<Semaphore>,
    all: Arc<AllCores>,
    /// Told when a connection is free for another request.
    freed: Notify,
    waiting: Cell<usize>,
    /// Those of them that wait for a connection of any core to end.
    waiting_for_all: Cell<usize>,
}

/// A connection's place among those that there may be.
#[derive(Debug)]
pub(in crate::proxy) struct Slot {
    _core: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
    /// Known for as long as there is a connection that counts.
    _shared: Arc<AllCores>,
}

/// What a request that waited can go on with.
#[derive(Debug)]
pub(super) enum Turn {
    /// It may open a connection.
    Open(Slot),
    /// A connection may be free.
    Look,
}

impl Slots {
    pub(super) fn new(all: &AllSlots, endpoint: String, limits: &Limits) -> Rc<Self> {
        let limit = limits.max_connections_per_endpoint_per_core.min(Semaphore::MAX_PERMITS);
        let all = all.of(endpoint, limits.max_connections_per_endpoint);
        all.cores.fetch_add(1, Ordering::Relaxed);
        Rc::new(Self {
            limit,
            core: Arc::new(Semaphore::new(limit)),
            all,
            freed: Notify::new(),
            waiting: Cell::new(0),
            waiting_for_all: Cell::new(0),
        })
    }

    /// A place for one more connection, if there is one now.
    pub(super) fn try_open(&self) -> Option<Slot> {
        let core = Arc::clone(&self.core).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all.places).try_acquire_owned().ok()?;
        Some(self.slot(core, all))
    }

    fn slot(&self, core: OwnedSemaphorePermit, all: OwnedSemaphorePermit) -> Slot {
        Slot { _core: core, _all: all, _shared: Arc::clone(&self.all) }
    }

    /// Whether requests wait on this core.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Waits for a place or for a connection that gets free; `None` where `max_waiting` wait already.
    pub(super) async fn wait(&self, max_waiting: usize) -> Option<Turn> {
        if self.waiting.get() >= max_waiting {
            return None;
        }
        let _one_less = Waiting::new(&self.waiting);
        let open = async {
            let core = Arc::clone(&self.core).acquire_owned().await;
            let _one_less = WaitingForAll::new(self);
            let all = Arc::clone(&self.all.places).acquire_owned().await;
            core.ok()
                .zip(all.ok())
                .map_or(Turn::Look, |(core, all)| Turn::Open(self.slot(core, all)))
        };
        tokio::select! {
            biased;
            () = self.freed.notified() => Some(Turn::Look),
            turn = open => Some(turn),
        }
    }

    /// A connection is free for another request.
    pub(super) fn note_free(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }

    /// Whether a connection that is free should rather end, because another core waits for its place:
    /// nobody needs it here, or this core has more than its share of them.
    pub(super) fn is_wanted_elsewhere(&self) -> bool {
        if self.waiting_elsewhere() == 0 {
            return false;
        }
        let ours = self.limit - self.core.available_permits();
        let cores = self.all.cores.load(Ordering::Relaxed);
        self.waiting.get() == 0 || ours.saturating_mul(cores) > self.all.limit
    }

    /// Requests of other cores that wait for a connection of any core to end.
    pub(super) fn waiting_elsewhere(&self) -> usize {
        self.all.waiting.load(Ordering::Relaxed).saturating_sub(self.waiting_for_all.get())
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.all.cores.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a request as waiting until dropped, however its wait ends.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The same for a request that waits for a connection of any core to end.
struct WaitingForAll<'a> {
    all: &'a AtomicUsize,
    _here: Waiting<'a>,
}

impl<'a> WaitingForAll<'a> {
    fn new(slots: &'a Slots) -> Self {
        slots.all.waiting.fetch_add(1, Ordering::Relaxed);
        Self { all: &slots.all.waiting, _here: Waiting::new(&slots.waiting_for_all) }
    }
}

impl Drop for WaitingForAll<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}
