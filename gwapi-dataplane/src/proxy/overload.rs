//! Overload: while the process has more memory than it may, it takes on as little as possible.
//!
//! Requests are answered 503 and their connections closed, and sockets accept slowly; what is in
//! flight goes on. A thread of its own looks at the memory, so that no worker has to.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use super::memory::{self, Resident};
use super::shared::Shared;

/// Time between two looks at the memory.
const PERIOD: Duration = Duration::from_millis(100);

/// Percent of the cgroup's limit that are the default: the kernel ends a process at 100.
const PERCENT_OF_CGROUP: u64 = 95;

/// Percent of the limit below which an overload is over. Were it over at the limit itself, it would
/// come and go with each request.
const PERCENT_TO_END: u64 = 95;

/// Clients' connections that are no load.
const FEW_CONNECTIONS: usize = 8;

/// Bytes of an allocation that every allocator asks the kernel for.
const LARGE: usize = 64 << 20;

/// Whether there is an overload, for those who serve.
#[derive(Debug, Default)]
pub(super) struct Overload {
    active: AtomicBool,
    ended: Notify,
}

impl Overload {
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Waits until there is no overload, at most for `limit`.
    pub(super) async fn over(&self, limit: Duration) {
        let ended = self.ended.notified();
        if self.is_active() {
            let _ = tokio::time::timeout(limit, ended).await;
        }
    }

    fn set(&self, active: bool) {
        self.active.store(active, Ordering::Relaxed);
        if !active {
            self.ended.notify_waiters();
        }
    }
}

/// The thread that looks at the memory. Dropping it stops the thread.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Watches the memory of the process; nothing where it has no limit.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Option<Self>> {
        let asked = shared.limits.max_memory_bytes;
        let limit =
            asked.or_else(|| memory::cgroup_limit().map(|limit| percent(limit, PERCENT_OF_CGROUP)));
        let Some(limit) = limit.filter(|limit| *limit > 0) else { return Ok(None) };
        let resident = match Resident::open() {
            Ok(resident) => resident,
            Err(error) if asked.is_some() => return Err(error),
            // Nobody asked, and nothing can be done: say on a system without /proc.
            Err(_) => return Ok(None),
        };
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new()
            .name("gwapi-memory".to_owned())
            .spawn(move || watch(&shared, &resident, limit, &stopped))?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks at the memory panicked");
        }
    }
}

fn watch(shared: &Shared, resident: &Resident, limit: u64, stopped: &mpsc::Receiver<()>) {
    loop {
        match resident.bytes() {
            Ok(used) => {
                shared.telemetry.memory(used, limit);
                follow(shared, used, limit);
                if shared.overload.is_active() {
                    let_go();
                }
            }
            Err(error) => tracing::debug!(%error, "cannot tell the memory of the process"),
        }
        if stopped.recv_timeout(PERIOD) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn follow(shared: &Shared, used: u64, limit: u64) {
    let before = shared.overload.is_active();
    // With hardly a client there, what the process has is no load: memory that the allocator keeps for
    // the next ones, or the configuration. To refuse requests would not make it any less.
    let now = is_overload(before, used, limit) && shared.open_connections() > FEW_CONNECTIONS;
    if before == now {
        return;
    }
    shared.overload.set(now);
    shared.telemetry.overloaded(now);
    if now {
        tracing::warn!(
            used,
            limit,
            "overload: the process has more memory than it may; requests are answered 503 until it \
             has less"
        );
    } else {
        tracing::info!(used, limit, "the overload is over");
    }
}

/// Makes the allocator look at what it could give back to the kernel. Those that cache freed memory
/// do so as they go along, and in an overload hardly anything goes along: it would last as long as
/// the cache.
fn let_go() {
    // More than allocators take out of what they have; none of it is touched.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

fn is_overload(before: bool, used: u64, limit: u64) -> bool {
    used >= if before { percent(limit, PERCENT_TO_END) } else { limit }
}

fn percent(of: u64, percent: u64) -> u64 {
    of / 100 * percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overload_ends_well_below_where_it_began() {
        let mut active = false;
        let seen = [99, 100, 120, 99, 95, 94, 95, 99, 100].map(|used| {
            active = is_overload(active, used * 1000, 100_000);
            active
        });
        assert_eq!(seen, [false, true, true, true, true, false, false, false, true]);
    }
}
