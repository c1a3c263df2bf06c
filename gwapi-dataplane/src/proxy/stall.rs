//! Responses over HTTP/2 that their client does not read.
//!
//! A client may close the window of a stream and keep the response, its buffers and its endpoint
//! for ever, while the connection itself is alive. Nobody would notice: hyper asks a body for its
//! next piece only once there is room for it. So each stream has a watch. The body tells it when a
//! piece has been handed over and when the next one is asked for. Whatever lies between for too long
//! resets the stream, and so does a client that takes its pieces at less than the minimum rate. After the
//! last piece nothing is asked for, and trailers wait for no window: where the client's windows may not have
//! room for it, the end of the response is held back until the library has let go of the piece.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::client_windows::ClientWindows;
use super::pace::Pace;
use crate::Limits;

thread_local! {
    /// The watch of the stream whose task is being polled: hyper leaves no other way from a
    /// stream's task to its body.
    static CURRENT: RefCell<Option<Rc<StreamWatch>>> = const { RefCell::new(None) };
}

/// How a stream's client takes what it is sent.
#[derive(Debug)]
pub(super) struct StreamWatch {
    /// The last piece, while the client has not taken it: since when, and its bytes.
    piece: Cell<Option<(Instant, usize)>>,
    pace: Cell<Pace>,
    /// Whether the client takes it, but too slowly.
    too_slow: Cell<bool>,
    /// Bytes of the pieces so far.
    bytes: Cell<u64>,
    /// Whether the windows stay open for the last piece, until the library has taken it.
    trusted: Cell<bool>,
    windows: Rc<ClientWindows>,
}

impl StreamWatch {
    fn new(executor: &StreamExecutor) -> Self {
        Self {
            piece: Cell::default(),
            pace: Cell::new(executor.pace),
            too_slow: Cell::new(false),
            bytes: Cell::new(0),
            trusted: Cell::new(false),
            windows: Rc::clone(&executor.windows),
        }
    }

    /// The watch of the stream that is being served; none outside of HTTP/2.
    pub(super) fn current() -> Option<Rc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// A piece of the body, of so many bytes, was handed over.
    pub(super) fn handed_over(&self, bytes: usize) {
        self.piece.set(Some((Instant::now(), bytes)));
        self.bytes.set(self.bytes.get() + bytes as u64);
        self.windows.handed_over(bytes);
    }

    /// Whether so many bytes more are sure to go out, even if nothing is asked for after them. Where they
    /// are, the windows stay open until they have.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let has_room = self.windows.have_room_for(bytes, self.bytes.get());
        if has_room {
            self.taken();
            self.windows.trust();
            self.trusted.set(true);
        }
        has_room
    }

    /// Nothing but the end is left, and that waits for the client to take this piece.
    pub(super) fn waits_for(&self, untaken: &Untaken) {
        if self.piece.get().is_none() {
            self.piece.set(Some((Instant::now(), untaken.bytes)));
        }
    }

    /// The next piece is asked for: the client has taken those before.
    pub(super) fn asked(&self) {
        self.taken();
        if let Some((since, bytes)) = self.piece.take() {
            let mut pace = self.pace.get();
            if !pace.moved(bytes, since.elapsed()) {
                self.too_slow.set(true);
            }
            self.pace.set(pace);
        }
    }

    /// The library has the pieces that were handed over, or nobody has them any more.
    fn taken(&self) {
        if self.trusted.take() {
            self.windows.taken();
        }
    }
}

impl Drop for StreamWatch {
    /// The stream ends as soon as its last piece is taken, or without it.
    fn drop(&mut self) {
        self.taken();
    }
}

/// A piece that was handed over and that its client may not have taken.
#[derive(Debug)]
pub(super) struct Untaken {
    bytes: usize,
    gone: oneshot::Receiver<()>,
}

/// A piece that tells when nobody has it any more: the library drops it once it is written out.
struct Followed {
    data: Bytes,
    _gone: oneshot::Sender<()>,
}

impl AsRef<[u8]> for Followed {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Untaken {
    /// Makes a piece one that is followed.
    pub(super) fn follow(data: Bytes) -> (Bytes, Self) {
        let (tell, gone) = oneshot::channel();
        let untaken = Self { bytes: data.len(), gone };
        (Bytes::from_owner(Followed { data, _gone: tell }), untaken)
    }

    /// Ready once it is taken. Not to be asked after that.
    pub(super) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.gone).poll(cx).map(|_| ())
    }
}

/// Runs the streams of a client's connection on the worker that they came to.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    /// Time that a client may take for a piece.
    stall_timeout: Duration,
    pace: Pace,
    windows: Rc<ClientWindows>,
}

impl StreamExecutor {
    pub(super) fn new(limits: &Limits, windows: &Rc<ClientWindows>) -> Self {
        let stall_timeout = limits.write_stall_timeout;
        let pace = Pace::new(limits, stall_timeout);
        Self { stall_timeout, pace, windows: Rc::clone(windows) }
    }
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        // In a box: the task would have room for it twice, as what it is given and as what it pins.
        let watched = Rc::new(StreamWatch::new(self));
        tokio::task::spawn_local(watch(Box::pin(stream), watched, self.stall_timeout));
    }
}

async fn watch(
    mut stream: Pin<Box<impl Future<Output = ()>>>,
    watch: Rc<StreamWatch>,
    stall_timeout: Duration,
) {
    let mut sleep = None;
    poll_fn(|cx| {
        let outer = CURRENT.replace(Some(Rc::clone(&watch)));
        let polled = stream.as_mut().poll(cx);
        CURRENT.set(outer);
        // A stream that ends here before its time is reset.
        if polled.is_ready() || watch.too_slow.get() {
            return Poll::Ready(());
        }
        let Some((since, _)) = watch.piece.get() else { return Poll::Pending };
        let deadline = since + stall_timeout;
        let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    })
    .await;
}
