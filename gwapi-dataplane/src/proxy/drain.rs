//! Stopping gently.
//!
//! ```text
//!  Draining ── no new connection for drain_quiet ──► Closing ── the last one ends ──► done
//!     │         or half of drain_timeout is over                            │
//!     └───────────────────── at most drain_timeout in all ──────────────────┘
//! ```
//!
//! Whoever spreads connections over proxies learns late that this one is leaving. So it goes on
//! accepting, and only tells each client to come back elsewhere. Where connections never cease to
//! come, accepting ends in time for the last of them to be served.

use std::sync::mpsc;
use std::time::Instant;

use super::Drained;
use super::shared::Shared;
use super::worker::{Command, Done, Phase, WorkerHandle, wait_done};

/// Drains all workers; what is left then ends when they are stopped.
pub(super) fn drain(shared: &Shared, workers: &[WorkerHandle], began: Instant) -> Drained {
    let end = began + shared.limits.drain_timeout;
    let last_accept = began + shared.limits.drain_timeout / 2;
    shared.telemetry.drain_began();
    tell(workers, end, |done| Command::Enter { phase: Phase::Draining, done });
    loop {
        let quiet = shared.last_accept().max(began) + shared.limits.drain_quiet;
        let rest = quiet.min(last_accept).saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        std::thread::sleep(rest);
    }
    tell(workers, end, |done| Command::Enter { phase: Phase::Closing, done });
    let idle = tell(workers, end, |done| Command::WaitIdle { done });
    let left = workers.iter().map(WorkerHandle::connections).sum();
    Drained { cut_connections: if idle { 0 } else { left } }
}

fn tell(workers: &[WorkerHandle], end: Instant, command: impl Fn(Done) -> Command) -> bool {
    let (done, finished) = mpsc::channel();
    for worker in workers {
        worker.send(command(done.clone()));
    }
    drop(done);
    wait_done(&finished, Some(end))
}
