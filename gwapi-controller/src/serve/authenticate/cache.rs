//! Answers about tokens, for a while and up to a number.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Names a token without being one.
type Fingerprint = [u8; 32];

/// Answers by token; the oldest one goes when there are too many.
pub(super) struct Cache<V> {
    entries: HashMap<Fingerprint, (V, Instant)>,
    /// In the order in which they came.
    order: VecDeque<Fingerprint>,
    capacity: usize,
}

impl<V> Cache<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), capacity }
    }

    /// The answer about a token, if it still counts.
    pub(super) fn find(&self, token: &str, now: Instant) -> Option<&V> {
        let (value, ends) = self.entries.get(&fingerprint(token))?;
        (now < *ends).then_some(value)
    }

    pub(super) fn insert(&mut self, token: &str, value: V, now: Instant, counts_for: Duration) {
        let fingerprint = fingerprint(token);
        if self.entries.insert(fingerprint, (value, now + counts_for)).is_none() {
            self.order.push_back(fingerprint);
        }
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }
}

fn fingerprint(token: &str) -> Fingerprint {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_counts_for_its_time() {
        let now = Instant::now();
        let mut cache = Cache::new(10);
        cache.insert("a", 1, now, MINUTE);
        assert_eq!(cache.find("a", now), Some(&1));
        assert_eq!(cache.find("b", now), None);
        assert_eq!(cache.find("a", now + MINUTE), None);
        cache.insert("a", 2, now + MINUTE, MINUTE);
        assert_eq!(cache.find("a", now + MINUTE), Some(&2));
    }

    #[test]
    fn the_oldest_answer_makes_room() {
        let now = Instant::now();
        let mut cache = Cache::new(2);
        for (index, token) in ["a", "b", "a", "c"].into_iter().enumerate() {
            cache.insert(token, index, now, MINUTE);
        }
        assert_eq!(cache.find("a", now), None);
        assert_eq!(cache.find("b", now), Some(&1));
        assert_eq!(cache.find("c", now), Some(&3));
        assert_eq!(cache.entries.len(), 2);
    }
}
