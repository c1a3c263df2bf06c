//! Futures that hardly ever have something to say.
//!
//! A connection waits for the end of a drain, for its age and for its requests, all in one task. That
//! task is woken for each request, and would ask all the others each time. So those have a waker of
//! their own, and are asked only when it was used.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Runs a future that is polled again only once something has happened to it.
///
/// What comes of it has to stay in the task that polled it first.
pub(super) async fn rarely<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut signal: Option<(Arc<Signal>, Waker)> = None;
    poll_fn(|cx| {
        let (signal, waker) = signal.get_or_insert_with(|| {
            let task = cx.waker().clone();
            let signal = Arc::new(Signal { used: AtomicBool::new(true), task });
            (Arc::clone(&signal), Waker::from(signal))
        });
        if !signal.used.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Before the future is asked: what happens meanwhile is for the next time.
        signal.used.store(false, Ordering::Release);
        future.as_mut().poll(&mut Context::from_waker(waker))
    })
    .await
}

struct Signal {
    used: AtomicBool,
    task: Waker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.used.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_future_is_asked_once_at_first_and_then_when_something_happened() {
        let (asked, happened, other) = (Cell::new(0), Notify::new(), Notify::new());
        let mut notified = pin!(happened.notified());
        let rare = rarely(poll_fn(|cx| {
            asked.set(asked.get() + 1);
            notified.as_mut().poll(cx)
        }));
        let mut rare = pin!(rare);
        for _ in 0..5 {
            other.notify_one();
            tokio::select! {
                biased;
                () = &mut rare => panic!("nothing happened to it"),
                () = other.notified() => {}
            }
        }
        assert_eq!(asked.get(), 1);
        happened.notify_one();
        rare.await;
        assert_eq!(asked.get(), 2);
    }
}
