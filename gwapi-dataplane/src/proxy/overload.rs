//! Overload: while the process has more memory than it may, it takes on as little as possible.
//!
//! Requests are answered 503 and their connections closed, and sockets accept slowly; what is in
//! flight goes on. A thread of its own looks at the memory, so that no worker has to; when an overload
//! begins and ends, [`Course`] says.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::course::{Course, PERCENT_TO_END, percent};
use super::memory::{self, Resident};
use super::shared::Shared;

/// Time between two looks at the memory.
const PERIOD: Duration = Duration::from_millis(100);

/// Time between two looks at the limit, which may change while the process runs.
const LIMIT_PERIOD: Duration = Duration::from_secs(1);

/// Percent of the cgroup's limit that are the default: the kernel ends a process at 100.
const PERCENT_OF_CGROUP: u64 = 95;

/// Clients' connections that are no load, as long as nothing is in flight on them.
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
    /// Watches the memory of the process; nothing where it is to have no limit.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Option<Self>> {
        let asked = shared.limits.max_memory_bytes;
        if asked == Some(0) {
            return Ok(None);
        }
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
            .spawn(move || watch(&shared, &resident, &stopped))?;
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

fn watch(shared: &Shared, resident: &Resident, stopped: &mpsc::Receiver<()>) {
    let mut course = Course::default();
    let (mut limit, mut read) = (None, None::<Instant>);
    loop {
        if read.is_none_or(|read| read.elapsed() >= LIMIT_PERIOD) {
            limit = limit_now(shared.limits.max_memory_bytes);
            read = Some(Instant::now());
        }
        match look(resident, limit) {
            Ok(used) => {
                shared.telemetry.memory(used, limit.unwrap_or_default());
                follow(shared, &mut course, used, limit);
            }
            Err(error) => tracing::debug!(%error, "cannot tell the memory of the process"),
        }
        let period = if limit.is_some() { PERIOD } else { LIMIT_PERIOD };
        if stopped.recv_timeout(period) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Bytes that the process may have now: what was asked for, else by its cgroups; none where nothing
/// limits it.
fn limit_now(asked: Option<u64>) -> Option<u64> {
    asked.or_else(|| memory::cgroup_limit().map(|limit| percent(limit, PERCENT_OF_CGROUP)))
}

/// Bytes that the process has now. Where they matter, the allocator has given back before what it can.
fn look(resident: &Resident, limit: Option<u64>) -> io::Result<u64> {
    let used = resident.bytes()?;
    if limit.is_none_or(|limit| used < percent(limit, PERCENT_TO_END)) {
        return Ok(used);
    }
    let_go();
    resident.bytes()
}

fn follow(shared: &Shared, course: &mut Course, used: u64, limit: Option<u64>) {
    let is_loaded = shared.open_connections() > FEW_CONNECTIONS || shared.in_flight.is_any();
    let before = course.active;
    let now = course.go_on(used, limit, is_loaded);
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
/// do so as they go along, and in an overload, or once clients have gone, hardly anything goes along:
/// they would keep it.
fn let_go() {
    // More than allocators take out of what they have; none of it is touched. Where it is refused, there
    // is nothing to be done.
    let mut large = Vec::<u8>::new();
    let _ = std::hint::black_box(&mut large).try_reserve_exact(LARGE);
}
