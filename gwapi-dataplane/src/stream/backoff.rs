//! Pauses between attempts: they grow, and no two proxies keep step.

use std::time::Duration;

use rand::{Rng, RngExt};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// The pauses of one proxy.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It went well: the next pause is a short one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next pause: anything from half of what it has come to up to all of it.
    pub(super) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut backoff = Backoff::default();
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let pause = backoff.next(&mut rng).as_millis();
            assert!((expected / 2..=expected).contains(&pause), "{pause} of {expected}");
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= FIRST);
    }
}
