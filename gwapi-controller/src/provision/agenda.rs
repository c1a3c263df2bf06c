//! What is to be looked at, now or at a time, by a task that first waits for its lists.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// How long to wait for the first lists. What cannot be listed is then found out object by object.
const LISTS_WAIT: Duration = Duration::from_secs(5);

/// First pause after a failure; each one after that doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Agenda<K> {
    /// What to look at.
    dirty: BTreeSet<K>,
    /// When to look at what again.
    alarms: BTreeSet<(Instant, K)>,
    /// Until when the first lists are waited for; `None` when that is over.
    lists_until: Option<Instant>,
}

impl<K: Ord> Agenda<K> {
    /// Nothing yet; lists are waited for from now on.
    pub(super) fn new() -> Self {
        Self {
            dirty: BTreeSet::new(),
            alarms: BTreeSet::new(),
            lists_until: Some(Instant::now() + LISTS_WAIT),
        }
    }

    /// This is to be looked at.
    pub(super) fn add(&mut self, key: K) {
        self.dirty.insert(key);
    }

    /// This is to be looked at, at that time.
    pub(super) fn add_at(&mut self, at: Instant, key: K) {
        self.alarms.insert((at, key));
    }

    /// When to ring, if ever.
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        let first = self.alarms.first().map(|(at, _)| *at);
        [first, self.lists_until].into_iter().flatten().min()
    }

    /// What has a time that has come is to be looked at.
    pub(super) fn ring(&mut self) {
        let now = Instant::now();
        while let Some((at, key)) = self.alarms.pop_first() {
            if at > now {
                self.alarms.insert((at, key));
                break;
            }
            self.dirty.insert(key);
        }
    }

    /// What is to be looked at; nothing while lists are waited for, of which `are_listed` tells whether all
    /// are there.
    pub(super) fn take(&mut self, are_listed: impl FnOnce() -> bool) -> BTreeSet<K> {
        if let Some(until) = self.lists_until {
            if !are_listed() && Instant::now() < until {
                return BTreeSet::new();
            }
            self.lists_until = None;
        }
        std::mem::take(&mut self.dirty)
    }
}

impl<K: Ord> Extend<K> for Agenda<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        self.dirty.extend(keys);
    }
}

/// How long to wait after this many failures in a row.
pub(super) fn pause(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let pauses = [0, 1, 2, 7, 8, 1000].map(|attempts| pause(attempts).as_millis());
        assert_eq!(pauses, [200, 400, 800, 25_600, 30_000, 30_000]);
    }
}
