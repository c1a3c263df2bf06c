//! Copies of requests, for whose answers nobody waits (HF-7).

use std::rc::Rc;

use gwapi_translate::ir::{self, BackendKey};

use super::draw::{Draw, Lot};
use super::plan::Forward;
use super::upstream::{Answer, Attempt, Failure, Message, discard, send};
use super::worker::Worker;

/// A mirror, as a worker counts for it.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) backend: BackendKey,
    /// Requests that are copied, and those that are not.
    lot: Rc<Lot>,
}

/// Position of the requests that are copied.
const COPIED: usize = 0;
const NOT_COPIED: usize = 1;

impl Mirror {
    pub(super) fn new(mirror: &ir::Mirror) -> Self {
        let ir::Mirror { backend, numerator, denominator } = mirror;
        let lot = Lot::new(&[*numerator, denominator.saturating_sub(*numerator)]);
        Self { backend: backend.clone(), lot }
    }

    /// Whether the next request is copied: evenly, and not at random.
    pub(super) fn is_due(&self) -> bool {
        self.lot.draw() == Some(COPIED)
    }

    /// What was drawn.
    pub(super) fn drawn(&self, is_due: bool) -> Draw {
        Draw::of(&self.lot, if is_due { COPIED } else { NOT_COPIED })
    }
}

/// Sends a copy on its way. Whatever becomes of it, the client never learns.
pub(super) fn dispatch(way: Forward, message: Message, attempt: Attempt, worker: &Rc<Worker>) {
    let worker = Rc::clone(worker);
    // What it holds its client has left perhaps.
    let held = worker.in_flight.hold();
    tokio::task::spawn_local(async move {
        let sent = send(&way.backend, message, attempt, None, &[], &worker).await;
        drop(held);
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
        Failure::Upstream | Failure::Refused => "endpoint",
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
