//! Timers that are hardly ever needed.
//!
//! Every request has limits in time, and nearly none reaches them. To set a timer and take it back for
//! each costs more than the rest of the accounting. So a worker keeps timers that are set already, and
//! lends them: one that goes off too early for who has it now is set again, and that is all.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

/// Timers that a worker keeps for the next ones who need any.
const SPARE_TIMERS: usize = 4096;

/// The timers of one worker.
#[derive(Clone, Default)]
pub(super) struct Timers(Rc<RefCell<Vec<Pin<Box<Sleep>>>>>);

/// A limit in time, which may be moved at any time and at no cost.
pub(super) struct Timer {
    timers: Timers,
    /// None before it was waited for.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    /// A timer that waits for nothing yet.
    pub(super) fn timer(&self) -> Timer {
        Timer { timers: self.clone(), sleep: None }
    }

    fn lend(&self, deadline: Instant) -> Pin<Box<Sleep>> {
        let spare = self.0.borrow_mut().pop();
        spare.unwrap_or_else(|| Box::pin(tokio::time::sleep_until(deadline)))
    }
}

impl Timer {
    /// Ready once `deadline` is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        poll_until(self.sleep.get_or_insert_with(|| self.timers.lend(deadline)), cx, deadline)
    }
}

/// Ready once `deadline` is over, whatever the timer was set to before: it is moved only where it is
/// too late, or went off too early.
pub(super) fn poll_until(
    sleep: &mut Pin<Box<Sleep>>,
    cx: &mut Context<'_>,
    deadline: Instant,
) -> Poll<()> {
    if sleep.deadline() > deadline {
        sleep.as_mut().reset(deadline);
    }
    loop {
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if deadline <= Instant::now() {
            return Poll::Ready(());
        }
        sleep.as_mut().reset(deadline);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(sleep) = self.sleep.take() {
            let mut spare = self.timers.0.borrow_mut();
            if spare.len() < SPARE_TIMERS {
                spare.push(sleep);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The time that a timer takes whose deadline is so far away.
    async fn takes(timer: &mut Timer, after: Duration) -> Duration {
        let began = Instant::now();
        poll_fn(|cx| timer.poll(cx, began + after)).await;
        began.elapsed()
    }

    async fn is_pending(timer: &mut Timer, deadline: Instant) -> bool {
        poll_fn(|cx| Poll::Ready(timer.poll(cx, deadline).is_pending())).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_waits_as_long_as_it_is_told_whoever_had_it_before() {
        let timers = Timers::default();
        for (before, after) in [(1, 10), (10, 1), (3, 3)] {
            let mut first = timers.timer();
            assert!(is_pending(&mut first, Instant::now() + before * SECOND).await);
            drop(first);
            assert_eq!(timers.0.borrow().len(), 1);
            let took = takes(&mut timers.timer(), after * SECOND).await;
            assert!(took >= after * SECOND && took < (after + 1) * SECOND, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_may_be_moved() {
        let mut timer = Timers::default().timer();
        let began = Instant::now();
        assert!(is_pending(&mut timer, began + 5 * SECOND).await);
        assert!(is_pending(&mut timer, began + 20 * SECOND).await);
        poll_fn(|cx| timer.poll(cx, began + 10 * SECOND)).await;
        assert!((10 * SECOND..11 * SECOND).contains(&began.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_went_off_can_be_lent_again() {
        let timers = Timers::default();
        takes(&mut timers.timer(), SECOND).await;
        let took = takes(&mut timers.timer(), 2 * SECOND).await;
        assert!((2 * SECOND..3 * SECOND).contains(&took), "{took:?}");
    }
}
