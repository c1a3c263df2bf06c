//! When an overload begins, and when it ends.

/// Percent of the limit below which an overload is over in any case. Were it over at the limit itself,
/// it would come and go with each request.
pub(super) const PERCENT_TO_END: u64 = 95;

/// Looks at the memory, below the limit, that find no less of it than before: to refuse requests does
/// not make it any less, and it is what was served before. Allocators keep what was freed for a second.
const LOOKS_WITHOUT_GAIN: u32 = 30;

/// The overloads of a process, look by look. It takes what it finds and says whether there is one.
///
/// ```text
///            at the limit, or above what there was without load
///      none ────────────────────────────────────────────────────► overload
///           ◄────────────────────────────────────────────────────
///            without load; below 95 %; or below the limit, and refusing gains nothing
/// ```
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) active: bool,
    /// What there was without load: what the allocator keeps for the next clients, or the
    /// configuration. To refuse requests makes it no less, so load is what comes on top. It is less
    /// once there is less.
    base: u64,
    /// The least of this overload.
    least: u64,
    /// Looks since it became less.
    without_gain: u32,
}

impl Course {
    /// Whether there is an overload now, with so much memory of a limit; `is_loaded` where clients
    /// may be the reason for some of it.
    pub(super) fn go_on(&mut self, used: u64, limit: Option<u64>, is_loaded: bool) -> bool {
        let Some(limit) = limit.filter(|_| is_loaded) else {
            self.base = used;
            self.active = false;
            return false;
        };
        self.base = self.base.min(used);
        if self.active {
            self.note_gain(used, limit);
            self.active = !self.is_over(used, limit);
        } else if used >= self.begins_at(limit) {
            *self = Self { active: true, base: self.base, least: used, without_gain: 0 };
        }
        self.active
    }

    fn begins_at(&self, limit: u64) -> u64 {
        // Neither is that what comes and goes with a few connections.
        if self.base < limit { limit } else { self.base + limit / 100 }
    }

    fn note_gain(&mut self, used: u64, limit: u64) {
        // Less than that is what comes and goes.
        if used + limit / 1000 <= self.least {
            self.least = used;
            self.without_gain = 0;
        } else {
            self.without_gain += 1;
        }
    }

    fn is_over(&self, used: u64, limit: u64) -> bool {
        let is_in_vain = self.without_gain >= LOOKS_WITHOUT_GAIN;
        used < percent(limit, PERCENT_TO_END) || (used < limit && is_in_vain)
    }
}

pub(super) fn percent(of: u64, percent: u64) -> u64 {
    of / 100 * percent
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 100_000;

    /// The overloads that these looks find, with so many thousandths of the limit and load or none.
    fn course(looks: &[(u64, bool)]) -> Vec<bool> {
        let mut course = Course::default();
        let look =
            |(used, is_loaded): &(u64, bool)| course.go_on(used * 100, Some(LIMIT), *is_loaded);
        looks.iter().map(look).collect()
    }

    fn loaded(used: &[u64]) -> Vec<bool> {
        course(&used.iter().map(|used| (*used, true)).collect::<Vec<_>>())
    }

    #[test]
    fn an_overload_ends_well_below_where_it_began() {
        let seen = loaded(&[990, 1000, 1200, 990, 950, 949, 950, 990, 1000]);
        assert_eq!(seen, [false, true, true, true, true, false, false, false, true]);
    }

    #[test]
    fn what_is_left_without_load_is_no_overload_until_load_adds_to_it() {
        let looks = [(1020, true), (1020, false), (1020, true), (1025, true), (1030, true)];
        assert_eq!(course(&looks), [true, false, false, false, true]);
        // The allocator has given some of it back: the limit is what counts again.
        let looks = [(1020, false), (1020, true), (900, true), (999, true), (1000, true)];
        assert_eq!(course(&looks), [false, false, false, false, true]);
    }

    #[test]
    fn an_overload_below_the_limit_ends_where_refusing_gains_nothing() {
        let spike = std::iter::once(1000).chain(std::iter::repeat_n(970, 100));
        let seen = loaded(&spike.collect::<Vec<_>>());
        let looks = seen.iter().take_while(|active| **active).count();
        assert_eq!(looks, 2 + LOOKS_WITHOUT_GAIN as usize - 1);
        assert!(!seen.iter().skip(looks).any(|active| *active), "it does not come back");
    }

    #[test]
    fn an_overload_goes_on_as_long_as_it_helps_or_there_is_more_than_the_limit() {
        let falling: Vec<_> = (0..500).map(|look| 1000 - look / 10).collect();
        assert!(loaded(&falling).iter().all(|active| *active), "it gains a thousandth in a second");
        assert!(loaded(&[1000; 500]).iter().all(|active| *active), "there is too much");
    }

    #[test]
    fn a_limit_that_changes_counts_from_then_on() {
        let mut course = Course::default();
        assert!(course.go_on(900, Some(800), true));
        assert!(!course.go_on(900, Some(1000), true), "it may have more now");
        assert!(course.go_on(900, Some(900), true));
        assert!(!course.go_on(900, None, true));
    }
}
