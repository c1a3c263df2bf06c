//! Counters that one thread writes and any thread reads.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::record::{Ended, RequestRecord};

/// Upper bounds of the buckets of durations, in microseconds; one more bucket has no bound.
pub(super) const BOUNDS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Number of different statuses that a series counts apart; a backend can send any of 900.
const CODES: usize = 15;

/// A counter with a single writer: it needs no read-modify-write instruction.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub(super) struct Durations {
    sum_micros: Count,
    buckets: [Count; BOUNDS_MICROS.len() + 1],
}

impl Durations {
    pub(super) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.add(micros);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].add(1);
    }
}

/// Durations of several series, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DurationTotals {
    pub(super) sum_micros: u64,
    pub(super) buckets: [u64; BOUNDS_MICROS.len() + 1],
}

impl DurationTotals {
    fn add(&mut self, durations: &Durations) {
        self.sum_micros = self.sum_micros.wrapping_add(durations.sum_micros.value());
        for (total, bucket) in self.buckets.iter_mut().zip(&durations.buckets) {
            *total += bucket.value();
        }
    }

    pub(super) fn of(durations: &Durations) -> Self {
        let mut totals = Self::default();
        totals.add(durations);
        totals
    }
}

/// Requests of one Gateway, listener and route on one worker.
#[derive(Debug, Default)]
pub(super) struct RequestSeries {
    /// Statuses in the order in which they first came; 0 is a free place.
    codes: [(AtomicU16, Count); CODES],
    /// Statuses that found no place.
    other_codes: Count,
    ended: [Count; Ended::ALL.len()],
    received: Count,
    sent: Count,
    duration: Durations,
    upstream_duration: Durations,
}

impl RequestSeries {
    pub(super) fn observe(&self, record: &RequestRecord<'_>) {
        self.count_status(record.status);
        self.ended[record.ended as usize].add(1);
        self.received.add(record.bytes_received);
        self.sent.add(record.bytes_sent);
        self.duration.observe(record.duration);
        if let Some(duration) = record.upstream_duration {
            self.upstream_duration.observe(duration);
        }
    }

    fn count_status(&self, status: u16) {
        for (code, count) in &self.codes {
            match code.load(Relaxed) {
                0 => code.store(status, Relaxed),
                known if known != status => continue,
                _ => {}
            }
            count.add(1);
            return;
        }
        self.other_codes.add(1);
    }
}

/// Requests of one Gateway, listener and route on all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestTotals {
    /// By status; 0 stands for all that found no place.
    pub(super) codes: std::collections::BTreeMap<u16, u64>,
    pub(super) ended: [u64; Ended::ALL.len()],
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) duration: DurationTotals,
    pub(super) upstream_duration: DurationTotals,
}

impl RequestTotals {
    pub(super) fn add(&mut self, series: &RequestSeries) {
        for (code, count) in &series.codes {
            let (code, count) = (code.load(Relaxed), count.value());
            if code != 0 {
                *self.codes.entry(code).or_default() += count;
            }
        }
        if series.other_codes.value() > 0 {
            *self.codes.entry(0).or_default() += series.other_codes.value();
        }
        for (total, count) in self.ended.iter_mut().zip(&series.ended) {
            *total += count.value();
        }
        self.received += series.received.value();
        self.sent += series.sent.value();
        self.duration.add(&series.duration);
        self.upstream_duration.add(&series.upstream_duration);
    }
}

/// Connections of one Gateway and listener on one worker.
#[derive(Debug, Default)]
pub(super) struct ConnectionSeries {
    pub(super) opened: Count,
    pub(super) closed: Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_belongs_to_the_bucket_of_that_bound() {
        let durations = Durations::default();
        durations.observe(Duration::from_micros(500));
        durations.observe(Duration::from_micros(501));
        durations.observe(Duration::from_secs(3600));
        let totals = DurationTotals::of(&durations);
        assert_eq!(totals.buckets[0], 1);
        assert_eq!(totals.buckets[1], 1);
        assert_eq!(totals.buckets[BOUNDS_MICROS.len()], 1);
        assert_eq!(totals.sum_micros, 3_600_001_001);
    }

    #[test]
    fn a_backend_that_sends_every_status_makes_no_more_than_16_series() {
        let series = RequestSeries::default();
        for status in 100..1000 {
            series.count_status(status);
        }
        let mut totals = RequestTotals::default();
        totals.add(&series);
        assert_eq!(totals.codes.len(), CODES + 1);
        assert_eq!(totals.codes.values().sum::<u64>(), 900);
        assert_eq!(totals.codes[&100], 1);
        assert_eq!(totals.codes[&0], 900 - CODES as u64);
    }
}
