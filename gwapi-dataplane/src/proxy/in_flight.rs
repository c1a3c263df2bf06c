//! What is in flight, counted core by core: no request waits for the count of another core.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is in flight on all cores: requests that the proxy took on, and copies of requests. One that
/// was refused in an overload is not, nor is a tunnel: what it was asked for by is over.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<Vec<Arc<CoreInFlight>>>);

impl InFlight {
    /// The count of one more core.
    pub(super) fn core(&self) -> Arc<CoreInFlight> {
        let core = Arc::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&core));
        core
    }

    /// Whether there is anything.
    pub(super) fn is_any(&self) -> bool {
        let cores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cores.iter().any(|core| core.0.load(Ordering::Relaxed) > 0)
    }
}

/// What is in flight on one core, which alone writes it; others read. No other core's count is in the
/// same line of a cache.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct CoreInFlight(AtomicUsize);

impl CoreInFlight {
    pub(super) fn began(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    /// Something that is in flight until dropped.
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        self.began();
        Held(Arc::clone(self))
    }
}

/// Something in flight, until dropped.
#[derive(Debug)]
pub(super) struct Held(Arc<CoreInFlight>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_any_core_has_is_in_flight_until_it_is_over() {
        let all = InFlight::default();
        let (one, other) = (all.core(), all.core());
        assert!(!all.is_any());
        let held = [one.hold(), other.hold(), other.hold()];
        assert!(all.is_any());
        let [first, second, third] = held;
        drop((first, third));
        assert!(all.is_any());
        drop(second);
        assert!(!all.is_any());
    }
}
