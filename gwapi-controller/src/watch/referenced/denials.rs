//! Objects that are referred to and must not be read: when to ask again, and what is worth a word.

use std::collections::HashMap;
use std::time::Duration;

use gwapi_model::ObjectId;

use crate::trouble::Trouble;

/// Pause after the first denial; each one after that doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Longest pause. A right that is granted shows in nothing that is watched.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The objects that were denied the last time, with the reason and how often in a row.
#[derive(Debug, Default)]
pub(super) struct Denials(HashMap<ObjectId, (Trouble, u32)>);

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denial {
    /// How often in a row it was denied.
    pub(super) times: u32,
    /// How long to wait before it is asked for again.
    pub(super) pause: Duration,
    /// It was not denied before, or for another reason.
    pub(super) is_news: bool,
}

impl Denials {
    /// An object is denied.
    pub(super) fn note(&mut self, id: &ObjectId, reason: &str) -> Denial {
        let (trouble, times) = self.0.entry(id.clone()).or_default();
        *times = times.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << (*times - 1).min(16)).min(LONGEST_PAUSE);
        Denial { times: *times, pause, is_news: trouble.is_news(&reason) }
    }

    /// An object is not denied any more, or is of no interest. Tells whether it was.
    pub(super) fn forget(&mut self, id: &ObjectId) -> bool {
        self.0.remove(id).is_some()
    }

    /// How often in a row an object was denied.
    pub(super) fn times(&self, id: &ObjectId) -> u32 {
        self.0.get(id).map_or(0, |(_, times)| *times)
    }

    /// Whether every denial was repeated: an API server that starts may deny what it allows a moment
    /// later, and a Gateway without its certificates would come of that. One that goes on holds up
    /// nobody else.
    pub(super) fn are_believed(&self) -> bool {
        self.0.values().all(|(_, times)| *times > 1)
    }
}

#[cfg(test)]
mod tests {
    use gwapi_model::Kind;

    use super::*;

    #[test]
    fn pauses_grow_to_five_minutes_and_a_denial_is_news_until_it_is_known() {
        let mut denials = Denials::default();
        let id = ObjectId::new(Kind::Secret, "shop", "cert");
        let noted: Vec<(u64, bool)> = (0..7)
            .map(|_| denials.note(&id, "forbidden"))
            .map(|it| (it.pause.as_secs(), it.is_news))
            .collect();
        let pauses = [30, 60, 120, 240, 300, 300, 300];
        let expected: Vec<(u64, bool)> =
            pauses.iter().enumerate().map(|(index, pause)| (*pause, index == 0)).collect();
        assert_eq!(noted, expected);
        assert!(denials.note(&id, "forbidden in another way").is_news);
        assert!(denials.forget(&id));
        assert!(!denials.forget(&id));
        let again = Denial { times: 1, pause: FIRST_PAUSE, is_news: true };
        assert_eq!(denials.note(&id, "forbidden"), again);
    }

    #[test]
    fn one_denial_is_waited_for_and_the_second_is_believed() {
        let mut denials = Denials::default();
        let [one, other] = ["a", "b"].map(|name| ObjectId::new(Kind::Secret, "shop", name));
        assert!(denials.are_believed());
        denials.note(&one, "forbidden");
        denials.note(&one, "forbidden");
        assert!(denials.are_believed());
        denials.note(&other, "forbidden");
        assert!(!denials.are_believed());
        denials.forget(&other);
        assert!(denials.are_believed());
    }
}
