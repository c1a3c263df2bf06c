//! Copies of requests, for whose answers nobody waits (HF-7).

use std::cell::Cell;
use std::rc::Rc;

use gwapi_translate::ir::{self, BackendKey};

use super::plan::Forward;
use super::upstream::{Answer, Attempt, Failure, Message, discard, send};
use super::worker::Worker;

/// A mirror, as a worker counts for it.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) backend: BackendKey,
    numerator: u32,
    denominator: u32,
    /// What is left over of the requests so far: a copy is due when it comes to a whole.
    rest: Cell<u64>,
}

impl Mirror {
    /// One that starts anywhere in its turn: workers that all started alike would copy their first
    /// requests together.
    pub(super) fn new(mirror: &ir::Mirror) -> Self {
        let denominator = mirror.denominator.max(1);
        Self {
            backend: mirror.backend.clone(),
            numerator: mirror.numerator,
            denominator,
            rest: Cell::new(u64::from(rand::random_range(0..denominator))),
        }
    }

    /// Whether the next request is copied: evenly, and not at random.
    pub(super) fn is_due(&self) -> bool {
        let (sum, whole) =
            (self.rest.get() + u64::from(self.numerator), u64::from(self.denominator));
        let is_due = sum >= whole;
        self.rest.set(if is_due { sum - whole } else { sum });
        is_due
    }
}

/// Sends a copy on its way. Whatever becomes of it, the client never learns.
pub(super) fn dispatch(way: Forward, message: Message, attempt: Attempt, worker: &Rc<Worker>) {
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let sent = send(&way.backend, message, attempt, None, &[], &worker).await;
        match sent {
            Ok(Answer { response, lease, .. }) => discard(response.into_body(), lease, &worker),
            Err((failure, _)) => {
                worker.telemetry.mirror_failed(way.backend.key(), reason(failure));
            }
        }
    });
}

/// Why a mirror did not answer, for the metrics.
fn reason(failure: Failure) -> &'static str {
    match failure {
        Failure::Connect => "connect",
        Failure::Tls => "tls",
        // Copies are not sent again.
        Failure::Overflow | Failure::RetryBudget => "overflow",
        Failure::Timeout => "timeout",
        Failure::Upstream => "endpoint",
        // The copy is too far behind, or the client broke off.
        Failure::Client(_) => "incomplete",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_spread_evenly_over_requests() {
        for (numerator, denominator, requests, copies) in
            [(1, 1, 10, 10), (25, 100, 400, 100), (1, 3, 300, 100), (2, 1_000_000, 1_000, 0)]
        {
            let backend = BackendKey::service("default", "a", 80);
            let mirror = Mirror::new(&ir::Mirror { backend, numerator, denominator });
            let due = (0..requests).filter(|_| mirror.is_due()).count();
            assert!(due.abs_diff(copies) <= 1, "{numerator}/{denominator}: {due}");
        }
    }
}
