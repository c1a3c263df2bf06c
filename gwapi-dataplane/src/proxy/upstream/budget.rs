//! How many retries there may be towards a backend.
//!
//! All cores share the count of a backend: a bound on retries is one on the traffic as a whole, and must not
//! grow with the machine. They add to it and read it without a lock. Between the look and the step each core
//! may let one retry through, so that there may be as many too many as there are cores, less one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gwapi_translate::ir::RetryBudget as Settings;
use tokio::time::Instant;

/// Parts of a window, each of which ends as a whole.
const SLICES: u64 = 10;

/// What was sent to a backend lately, and what may be sent again.
#[derive(Debug)]
pub(in crate::proxy) struct RetryBudget {
    settings: Settings,
    began: Instant,
    /// Requests within the interval of the budget, retries left out.
    requests: Window,
    /// Retries within it.
    retries: Window,
    /// Retries within the interval of the rate.
    recent: Window,
}

impl RetryBudget {
    pub(in crate::proxy) fn new(settings: Settings) -> Self {
        Self {
            settings,
            began: Instant::now(),
            requests: Window::new(settings.interval),
            retries: Window::new(settings.interval),
            recent: Window::new(settings.min_interval),
        }
    }

    /// What it holds retries to.
    pub(in crate::proxy) fn settings(&self) -> Settings {
        self.settings
    }

    /// A request is sent for the first time.
    pub(in crate::proxy) fn note_request(&self) {
        self.requests.add(self.now());
    }

    /// Whether there may be one retry more; it counts from then on.
    pub(super) fn take_retry(&self) -> bool {
        self.take_retry_at(self.now())
    }

    fn take_retry_at(&self, now: Duration) -> bool {
        let is_allowed = self.has_share(now) || self.is_below_rate(now);
        if is_allowed {
            self.retries.add(now);
            self.recent.add(now);
        }
        is_allowed
    }

    /// Whether the share of retries among all requests stays within the budget with one more.
    fn has_share(&self, now: Duration) -> bool {
        let retries = self.retries.count(now) + 1;
        let all = self.requests.count(now) + retries;
        retries * 100 <= all * u64::from(self.settings.percent)
    }

    /// Whether there are fewer than there may be in any case.
    fn is_below_rate(&self, now: Duration) -> bool {
        self.recent.count(now) < u64::from(self.settings.min_count)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A count of what happened within some time, to a tenth of that time: what is older does not count, nor
/// does, of what is not, the oldest tenth in part.
#[derive(Debug)]
struct Window {
    /// Nanoseconds of a slice.
    slice: u64,
    /// The number of a slice since the beginning, cut to its lower half, and what was counted in it. The
    /// places go round.
    counts: [AtomicU64; SLICES as usize],
}

impl Window {
    fn new(length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self { slice: (nanos / SLICES).max(1), counts: Default::default() }
    }

    fn slice(&self, now: Duration) -> u64 {
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) / self.slice
    }

    fn add(&self, now: Duration) {
        let slice = self.slice(now);
        let place = &self.counts[(slice % SLICES) as usize];
        let one_more = |held: u64| {
            let (number, count) = parts(held);
            let count = if number == lower_half(slice) { count } else { 0 };
            Some(whole(lower_half(slice), count.saturating_add(1)))
        };
        // It always says what to store.
        let _ = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }

    fn count(&self, now: Duration) -> u64 {
        let slice = lower_half(self.slice(now));
        let held = self.counts.iter().map(|place| parts(place.load(Ordering::Relaxed)));
        let counted = held.filter(|(number, _)| u64::from(slice.wrapping_sub(*number)) < SLICES);
        counted.map(|(_, count)| u64::from(count)).sum()
    }
}

fn lower_half(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}

fn parts(held: u64) -> (u32, u32) {
    (lower_half(held >> 32), lower_half(held))
}

fn whole(number: u32, count: u32) -> u64 {
    u64::from(number) << 32 | u64::from(count)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn budget(percent: u8, min_count: u32, min_interval: Duration) -> RetryBudget {
        let interval = Duration::from_secs(10);
        RetryBudget::new(Settings { percent, interval, min_count, min_interval })
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn retries_are_a_share_of_all_requests() {
        let budget = budget(20, 1, Duration::from_secs(3600));
        let now = SECOND;
        for _ in 0..800 {
            budget.requests.add(now);
        }
        let allowed = (0..1000).filter(|_| budget.take_retry_at(now)).count();
        assert_eq!(allowed, 200, "of 1000 requests in all");
        let later = now + Duration::from_secs(10);
        assert!(!budget.take_retry_at(later), "none of the requests is of these ten seconds");
    }

    #[test]
    fn the_rate_is_free_whatever_the_share_is() {
        let budget = budget(0, 3, SECOND);
        for second in 1..5 {
            let now = SECOND * second;
            let allowed = (0..10).filter(|_| budget.take_retry_at(now)).count();
            assert_eq!(allowed, 3, "in second {second}");
        }
    }

    #[test]
    fn all_may_be_retries_with_a_hundred_percent() {
        let budget = budget(100, 1, Duration::from_secs(3600));
        assert!((0..1000).all(|_| budget.take_retry_at(SECOND)));
    }

    proptest! {
        /// What is as old as nine tenths of the window counts, and what is older than it does not.
        #[test]
        fn a_window_counts_what_happened_within_it(
            millis in 1..5_000_u64,
            steps in vec((0..3_000_u64, any::<bool>()), 1..200),
        ) {
            let length = Duration::from_millis(millis);
            let window = Window::new(length);
            let mut happened: Vec<Duration> = Vec::new();
            let mut now = Duration::ZERO;
            for (step, add) in steps {
                now += Duration::from_millis(step) / 2;
                if add {
                    window.add(now);
                    happened.push(now);
                }
                let within = |age: Duration| {
                    happened.iter().filter(|then| now - **then < age).count() as u64
                };
                let count = window.count(now);
                prop_assert!(within(length * 9 / 10) <= count, "{count} at {now:?}");
                prop_assert!(count <= within(length), "{count} at {now:?}");
            }
        }

        /// X-1, by a list of everything that happened: what is let through is free or within the share of
        /// the interval, and what is not let through is neither; to a tenth of the interval.
        #[test]
        fn a_retry_is_let_through_by_rate_or_share_and_else_refused(
            percent in 0..=100_u8,
            min_count in 1..5_usize,
            steps in vec((0..2_000_u64, any::<bool>()), 1..200),
        ) {
            let budget = budget(percent, min_count as u32, SECOND);
            let (mut requests, mut retries): (Vec<Duration>, Vec<Duration>) = Default::default();
            let mut now = Duration::ZERO;
            for (step, is_retry) in steps {
                now += Duration::from_millis(step);
                if !is_retry {
                    budget.requests.add(now);
                    requests.push(now);
                    continue;
                }
                let (whole, most) = (SECOND * 10, SECOND * 9);
                let count = |all: &[Duration], age| all.iter().filter(|then| now - **then < age).count();
                let share = |retries: usize, requests: usize| {
                    (retries + 1) * 100 <= (retries + 1 + requests) * usize::from(percent)
                };
                let is_allowed = budget.take_retry_at(now);
                if is_allowed {
                    let is_free = count(&retries, SECOND * 9 / 10) < min_count;
                    prop_assert!(is_free || share(count(&retries, most), count(&requests, whole)));
                    retries.push(now);
                } else {
                    prop_assert!(count(&retries, SECOND) >= min_count);
                    prop_assert!(!share(count(&retries, whole), count(&requests, most)));
                }
            }
        }
    }

    #[test]
    fn cores_that_count_at_once_lose_nothing() {
        let budget = budget(50, 1, Duration::from_secs(3600));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| budget.requests.add(SECOND)));
            }
        });
        assert_eq!(budget.requests.count(SECOND), 4000);
    }
}
