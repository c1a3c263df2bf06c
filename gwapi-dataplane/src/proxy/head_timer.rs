//! The times of an HTTP/1 connection that waits for a request: long for the first byte of the next
//! one, short for that of the very first and for the rest of a head.
//!
//! hyper knows one timeout for all. It asks a timer for it, and this timer shortens it for the first
//! request, and once something of a head has come: from the socket, or behind the request before.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::Unread;
use super::timers::poll_until;
use crate::Limits;

/// Whether a client has sent anything of the request that the connection waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrival(Arc<Came>);

#[derive(Debug, Default)]
struct Came {
    noted: AtomicBool,
    /// Whether hyper asked for more after that, and there was none.
    awaited: AtomicBool,
}

impl Arrival {
    /// Notes that bytes came.
    pub(super) fn note(&self) {
        self.0.noted.store(true, Ordering::Relaxed);
        self.0.awaited.store(false, Ordering::Relaxed);
    }

    /// Notes that hyper asked for bytes, and that none are there.
    fn note_wait(&self) {
        self.0.awaited.store(true, Ordering::Relaxed);
    }

    /// The connection begins to wait for a request. Behind the one before something of it may have come:
    /// only once hyper has made use of all that it read does it ask for more.
    fn begin(&self) {
        if self.0.awaited.load(Ordering::Relaxed) {
            self.0.noted.store(false, Ordering::Relaxed);
        }
    }

    /// What came so far was of no request.
    pub(super) fn forget(&self) {
        self.0.noted.store(false, Ordering::Relaxed);
    }

    /// Whether bytes came since.
    pub(super) fn is_noted(&self) -> bool {
        self.0.noted.load(Ordering::Relaxed)
    }
}

/// The bytes of a connection as hyper asks for them. Inside TLS the socket is asked more often: whether there
/// is more behind a record.
#[derive(Debug)]
pub(super) struct Awaited<I> {
    io: I,
    arrival: Arrival,
}

impl<I> Awaited<I> {
    pub(super) fn new(io: I, arrival: Arrival) -> Self {
        Self { io, arrival }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Awaited<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.arrival.note();
        } else {
            self.arrival.note_wait();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Awaited<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The timer of one connection. hyper asks it for nothing but the timeout of heads, each time that
/// it begins to wait for one.
#[derive(Clone, Debug)]
pub(super) struct HeadTimer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    arrival: Arrival,
    unread: Unread,
    /// Time for a head once it has begun.
    head_timeout: Duration,
    /// Time for the first byte of the first head.
    first_byte_timeout: Duration,
    /// Whether the first head was waited for.
    waited: AtomicBool,
    /// One timer for all heads, which stays set from one to the next.
    sleep: Mutex<Option<Pin<Box<tokio::time::Sleep>>>>,
}

impl HeadTimer {
    pub(super) fn new(arrival: Arrival, unread: Unread, limits: &Limits) -> Self {
        let Limits { head_timeout, first_byte_timeout, .. } = *limits;
        let waited = AtomicBool::new(false);
        let sleep = Mutex::default();
        Self(Arc::new(Shared { arrival, unread, head_timeout, first_byte_timeout, waited, sleep }))
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let first = !self.0.waited.swap(true, Ordering::Relaxed);
        let first = first.then(|| Instant::now() + self.0.first_byte_timeout);
        let deadline = first.map_or(deadline, |first| first.min(deadline)).into();
        self.0.arrival.begin();
        self.0.unread.await_head();
        Box::pin(HeadSleep { shared: Arc::clone(&self.0), begun: false, deadline })
    }
}

struct HeadSleep {
    shared: Arc<Shared>,
    begun: bool,
    deadline: tokio::time::Instant,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.begun && self.shared.arrival.is_noted() {
            self.begun = true;
            self.deadline = tokio::time::Instant::now() + self.shared.head_timeout;
        }
        let deadline = self.deadline;
        let mut sleep = self.shared.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        poll_until(sleep, cx, deadline)
    }
}
