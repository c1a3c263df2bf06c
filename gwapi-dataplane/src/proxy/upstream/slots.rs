//! How many connections there may be to an endpoint, and who waits for one.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::Limits;

/// The connections of all cores to each endpoint, by address or name and port.
#[derive(Debug, Default)]
pub(in crate::proxy) struct AllSlots(Mutex<HashMap<String, Weak<Semaphore>>>);

impl AllSlots {
    /// The count that all cores share for an endpoint. Asked for when a core gets to know it.
    fn of(&self, endpoint: String, limit: usize) -> Arc<Semaphore> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = known.get(&endpoint).and_then(Weak::upgrade) {
            return slots;
        }
        known.retain(|_, slots| slots.strong_count() > 0);
        let slots = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        known.insert(endpoint, Arc::downgrade(&slots));
        slots
    }
}

/// The connections of one core to one endpoint.
#[derive(Debug)]
pub(super) struct Slots {
    core: Arc<Semaphore>,
    all: Arc<Semaphore>,
    /// Told when a connection is free for another request.
    freed: Notify,
    waiting: Cell<usize>,
}

/// A connection's place among those that there may be.
#[derive(Debug)]
pub(in crate::proxy) struct Slot {
    _core: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
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
        let core = limits.max_connections_per_endpoint_per_core.min(Semaphore::MAX_PERMITS);
        Rc::new(Self {
            core: Arc::new(Semaphore::new(core)),
            all: all.of(endpoint, limits.max_connections_per_endpoint),
            freed: Notify::new(),
            waiting: Cell::new(0),
        })
    }

    /// A place for one more connection, if there is one now.
    pub(super) fn try_open(&self) -> Option<Slot> {
        let core = Arc::clone(&self.core).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Slot { _core: core, _all: all })
    }

    /// Waits for a place or for a connection that gets free; `None` where `max_waiting` wait already.
    pub(super) async fn wait(&self, max_waiting: usize) -> Option<Turn> {
        if self.waiting.get() >= max_waiting {
            return None;
        }
        self.waiting.set(self.waiting.get() + 1);
        let _one_less = Waiting(&self.waiting);
        let open = async {
            let core = Arc::clone(&self.core).acquire_owned().await;
            let all = Arc::clone(&self.all).acquire_owned().await;
            let slot = core.ok().zip(all.ok()).map(|(core, all)| Slot { _core: core, _all: all });
            slot.map_or(Turn::Look, Turn::Open)
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
}

/// Counts a request as waiting until dropped, however its wait ends.
struct Waiting<'a>(&'a Cell<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
