//! How a client takes what it is sent: whether its socket is full, and what it may not have read yet.
//!
//! Of responses over HTTP/1 whose client reads slowly little waits for it, however long they are.
//!
//! hyper takes pieces of a body until it has as many bytes as a head may have, and only then looks
//! whether the socket takes them. For a client that does not read it would keep all of them. So the
//! body gives no more while the socket is full, and a long one lets hyper write before it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

/// Bytes of a response that are handed over as they come: mostly the kernel has room for them.
const AT_ONCE: usize = 128 * 1024;

/// Bytes that are handed over before they are written, beyond that.
const IN_A_ROW: usize = 16 * 1024;

/// Whether the socket of a client is full.
#[derive(Clone, Debug, Default)]
pub(super) struct Congestion(Arc<State>);

#[derive(Debug, Default)]
struct State {
    full: AtomicBool,
    /// Whether a body waits for the end of it.
    awaited: AtomicBool,
    /// Bytes that it took since the client was last heard of.
    unanswered: AtomicU64,
    /// Whether the client was heard of since somebody asked.
    heard: AtomicBool,
}

impl Congestion {
    /// The socket takes no more.
    pub(super) fn began(&self) {
        self.0.full.store(true, Ordering::Relaxed);
    }

    /// Whether something waits for the socket to take it.
    pub(super) fn is_full(&self) -> bool {
        self.0.full.load(Ordering::Relaxed)
    }

    /// The socket took so many bytes.
    pub(super) fn took(&self, bytes: u64) {
        // All of this happens on one thread.
        let before = self.0.unanswered.load(Ordering::Relaxed);
        self.0.unanswered.store(before.saturating_add(bytes), Ordering::Relaxed);
    }

    /// The client sent something.
    pub(super) fn heard(&self) {
        self.0.unanswered.store(0, Ordering::Relaxed);
        self.0.heard.store(true, Ordering::Relaxed);
    }

    /// Whether it has, since this was last asked.
    pub(super) fn take_heard(&self) -> bool {
        let heard = self.0.heard.load(Ordering::Relaxed);
        self.0.heard.store(false, Ordering::Relaxed);
        heard
    }

    /// Bytes that the client may have to read before it gets to what is written now, and answers it.
    pub(super) fn unanswered(&self) -> u64 {
        self.0.unanswered.load(Ordering::Relaxed)
    }

    /// The socket took something. The body is polled by the task that writes.
    pub(super) fn ended(&self, cx: &Context<'_>) {
        // All of this happens on one thread.
        if self.0.full.load(Ordering::Relaxed) {
            self.0.full.store(false, Ordering::Relaxed);
            if self.0.awaited.load(Ordering::Relaxed) {
                self.0.awaited.store(false, Ordering::Relaxed);
                cx.waker().wake_by_ref();
            }
        }
    }
}

/// The way of one response's body to its client.
#[derive(Debug)]
pub(super) struct Outlet {
    congestion: Congestion,
    /// Bytes until it has to be looked after.
    at_once: usize,
}

impl Outlet {
    pub(super) fn new(congestion: Congestion) -> Self {
        Self { congestion, at_once: AT_ONCE }
    }

    /// Ready when another piece may be handed over.
    pub(super) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<()> {
        let state = &self.congestion.0;
        if state.full.load(Ordering::Relaxed) {
            state.awaited.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        if self.at_once == 0 {
            self.at_once = IN_A_ROW;
            // What was handed over is written before the body is asked again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// A piece of so many bytes was handed over.
    pub(super) fn handed_over(&mut self, bytes: usize) {
        self.at_once = self.at_once.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_body_waits_while_the_socket_is_full_and_for_what_it_gave_to_be_written() {
        let congestion = Congestion::default();
        let mut outlet = Outlet::new(congestion.clone());
        let cx = &Context::from_waker(Waker::noop());
        assert!(outlet.poll_room(cx).is_ready());
        congestion.began();
        assert!(outlet.poll_room(cx).is_pending());
        congestion.ended(cx);
        assert!(outlet.poll_room(cx).is_ready());
        outlet.handed_over(AT_ONCE - 1);
        assert!(outlet.poll_room(cx).is_ready());
        for _ in 0..3 {
            outlet.handed_over(IN_A_ROW);
            assert!(outlet.poll_room(cx).is_pending(), "it is written first");
            assert!(outlet.poll_room(cx).is_ready());
        }
    }
}
