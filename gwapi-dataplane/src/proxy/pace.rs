//! Whether a client keeps the pace that is asked of it.
//!
//! Who sends or reads a byte now and then makes progress for ever. So a client has credit in time:
//! it begins with some, earns more with each byte, and pays for the time that the proxy waits for it.
//! It is judged when something moves; that nothing moves at all is for the timeouts of stalls.

use std::time::Duration;

use crate::Limits;

/// The credit of one client, in one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Credit of a byte; none where no rate is asked for.
    per_byte: Option<Duration>,
    credit: Duration,
    most: Duration,
    too_slow: bool,
}

impl Pace {
    /// As [`Limits::min_rate`] asks; `stall` is how long nothing at all may move.
    pub(super) fn new(limits: &Limits, stall: Duration) -> Self {
        let per_byte = Duration::from_secs(1).as_nanos().checked_div(limits.min_rate.into());
        let per_byte = per_byte
            .map(|nanos| Duration::from_nanos(u64::try_from(nanos).expect("a second at most")));
        Self {
            per_byte,
            credit: limits.min_rate_grace,
            // One burst must not buy hours of dripping.
            most: limits.min_rate_grace.max(stall),
            too_slow: false,
        }
    }

    /// No rate is asked for.
    pub(super) fn any() -> Self {
        Self { per_byte: None, credit: Duration::ZERO, most: Duration::ZERO, too_slow: false }
    }

    /// Takes note of so many bytes that moved after the proxy had waited for so long; false where
    /// that is too slow by now.
    pub(super) fn moved(&mut self, bytes: usize, waited: Duration) -> bool {
        let Some(per_byte) = self.per_byte else { return true };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = self.credit.saturating_add(per_byte.saturating_mul(bytes));
        self.too_slow |= waited > earned;
        self.credit = earned.saturating_sub(waited).min(self.most);
        !self.too_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(rate: u64) -> Pace {
        let limits = Limits { min_rate: rate, min_rate_grace: 10 * SECOND, ..Limits::default() };
        Pace::new(&limits, 30 * SECOND)
    }

    /// The step, counted from 1, at which a client that moves `bytes` every `wait` is too slow.
    fn ends(mut pace: Pace, bytes: usize, wait: Duration) -> Option<usize> {
        (1..1000).find(|_| !pace.moved(bytes, wait))
    }

    #[test]
    fn a_client_at_the_rate_goes_on_and_a_slower_one_ends_after_the_grace() {
        assert_eq!(ends(pace(100), 100, SECOND), None);
        assert_eq!(ends(pace(100), 101, SECOND), None);
        assert_eq!(ends(pace(100), 50, SECOND), Some(21));
        assert_eq!(ends(pace(100), 1, SECOND), Some(11));
        assert_eq!(ends(pace(100), 1, 10 * SECOND), Some(2));
    }

    #[test]
    fn a_burst_buys_no_more_than_a_stall_may_take() {
        let mut burst = pace(100);
        assert!(burst.moved(usize::MAX, SECOND));
        assert_eq!(ends(burst, 1, SECOND), Some(31));
    }

    #[test]
    fn a_late_client_that_sends_much_is_not_slow() {
        assert!(pace(100).moved(2_000, 25 * SECOND));
        assert!(!pace(100).moved(1_000, 25 * SECOND));
    }

    #[test]
    fn no_rate_is_asked_where_it_is_0() {
        assert_eq!(ends(pace(0), 1, 1000 * SECOND), None);
    }

    #[test]
    fn who_was_too_slow_once_stays_so() {
        let mut pace = pace(100);
        assert!(!pace.moved(1, 20 * SECOND));
        assert!(!pace.moved(1_000_000, Duration::ZERO));
    }
}
