//! Keys that the tokens of sessions are sealed with: when each comes, seals and goes (SP-1).
//!
//! ```text
//!  made ─ 1 day ─► seals ─ 90 days ─► opens what it has sealed ─ 2 years ─► gone
//!                    the next one is made a day before the end of that
//! ```
//!
//! A key is handed out a day before it seals, so that no proxy gets a token that it cannot open yet.

use aws_lc_rs::rand;
use gwapi_model::SecretBytes;
use gwapi_translate::ir::SessionKeys;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// How long a key is handed out before it seals.
const OVERLAP: SignedDuration = DAY;

/// How long a key seals.
const SEALS: SignedDuration = SignedDuration::from_hours(24 * 90);

/// How long a key opens what it has sealed: the longest that sessions last.
const OPENS: SignedDuration = SignedDuration::from_hours(24 * 730);

/// All keys that there are, from the oldest to the newest.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct KeyRing(Vec<Key>);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    /// In hexadecimal digits.
    key: String,
    seals_from: Timestamp,
}

impl Key {
    /// None where the system has no random numbers.
    fn new(seals_from: Timestamp) -> Option<Self> {
        let mut bytes = [0; SessionKeys::KEY_BYTES];
        rand::fill(&mut bytes).ok()?;
        let key = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { key, seals_from })
    }

    fn secret(&self) -> Option<SecretBytes> {
        SessionKeys::key_of_digits(self.key.as_bytes())
    }
}

impl KeyRing {
    /// The keys as they have to be from now on; the same where it is time for nothing.
    pub(super) fn renewed(&self, now: Timestamp) -> Self {
        let mut keys: Vec<Key> =
            self.0.iter().filter(|key| key.secret().is_some()).cloned().collect();
        keys.sort_by_key(|key| key.seals_from);
        // A key goes when all that it has sealed is old: it seals until the next one does.
        let ends: Vec<Option<Timestamp>> =
            (1..=keys.len()).map(|next| keys.get(next).map(|next| next.seals_from)).collect();
        let mut ends = ends.into_iter();
        keys.retain(|_| ends.next().flatten().is_none_or(|end| end + OPENS > now));
        let is_due = |newest: &Key| newest.seals_from + SEALS <= now + OVERLAP;
        match keys.last() {
            None => keys.extend(Key::new(now)),
            Some(newest) if is_due(newest) => keys.extend(Key::new(now + OVERLAP)),
            Some(_) => {}
        }
        Self(keys)
    }

    /// What proxies get: first the one that seals.
    pub(super) fn keys(&self, now: Timestamp) -> SessionKeys {
        let sealing = self.0.iter().rposition(|key| key.seals_from <= now).unwrap_or(0);
        let rest = self.0.iter().enumerate().filter(|(position, _)| *position != sealing);
        let keys = self.0.get(sealing).into_iter().chain(rest.map(|(_, key)| key));
        SessionKeys { keys: keys.filter_map(Key::secret).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        "2026-05-04T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn the_first_key_seals_at_once_and_stays() {
        let ring = KeyRing::default().renewed(start());
        assert_eq!(ring.keys(start()).keys.len(), 1);
        assert!(ring.renewed(start() + DAY * 88) == ring);
    }

    /// Six years, looked at twice a day; a proxy has keys that are half a day old.
    #[test]
    fn over_the_years_every_proxy_opens_what_another_one_sealed_for_two_years() {
        let mut ring = KeyRing::default().renewed(start());
        let (mut now, mut sealed) = (start(), Vec::<(Timestamp, SecretBytes)>::new());
        let mut handed_out = ring.keys(now);
        while now < start() + DAY * (6 * 365) {
            now += DAY / 2;
            ring = ring.renewed(now);
            let fresh = ring.keys(now);
            let sealing = fresh.keys.first().expect("one seals").clone();
            assert!(handed_out.keys.contains(&sealing), "{now}: who is late cannot open it");
            if sealed.last().is_none_or(|(_, last)| *last != sealing) {
                sealed.push((now, sealing.clone()));
            }
            // Each seals until the next one does.
            let ends = sealed.iter().skip(1).map(|(begin, _)| *begin).chain([now]);
            for ((_, key), end) in sealed.iter().zip(ends) {
                let lives = end + DAY * 729 > now;
                assert!(!lives || fresh.keys.contains(key), "{now}: sealed until {end}");
            }
            assert!(fresh.keys.len() <= 11, "{now}: {}", fresh.keys.len());
            handed_out = fresh;
        }
        assert!(sealed.len() > 20, "{}", sealed.len());
    }

    #[test]
    fn what_is_no_key_is_replaced() {
        let broken = Key { key: "zz".to_owned(), seals_from: start() };
        let ring = KeyRing(vec![broken]).renewed(start());
        assert_eq!(ring.keys(start()).keys.len(), 1);
    }
}
