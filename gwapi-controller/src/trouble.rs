//! What goes on being wrong is told once, and what others bring about not without limit.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// For how long what was told is not told again.
const SILENCE: Duration = Duration::from_secs(60);

/// Different things that are told within that time.
const MOST_TOLD: usize = 64;

/// What is wrong at present with something that is tried again and again.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Option<String>);

impl Trouble {
    /// Takes in a failure, and tells whether it is another one than before.
    pub(crate) fn is_news(&mut self, failure: &impl Display) -> bool {
        let text = failure.to_string();
        let is_news = self.0.as_ref() != Some(&text);
        self.0 = Some(text);
        is_news
    }

    /// Takes in a success, and tells whether there was trouble before.
    pub(crate) fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// What was told of late.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    since: Option<Instant>,
    told: BTreeSet<String>,
}

impl Quota {
    /// Whether this is to be told: the same once a minute, and within one only so much in all.
    pub(crate) fn allows(&mut self, text: String, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= SILENCE) {
            self.since = Some(now);
            self.told.clear();
        }
        self.told.len() < MOST_TOLD && self.told.insert(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_a_minute_and_no_flood_of_different_things() {
        let (mut quota, now) = (Quota::default(), Instant::now());
        assert!(quota.allows("refused".to_owned(), now));
        assert!(!quota.allows("refused".to_owned(), now));
        let told = (0..1000).filter(|count| quota.allows(count.to_string(), now)).count();
        assert_eq!(told, MOST_TOLD - 1);
        assert!(quota.allows("refused".to_owned(), now + SILENCE));
    }

    #[test]
    fn a_failure_is_news_once_and_so_is_its_end() {
        let mut trouble = Trouble::default();
        assert!(!trouble.is_over());
        assert!(trouble.is_news(&"refused") && !trouble.is_news(&"refused"));
        assert!(trouble.is_news(&"no answer"));
        assert!(trouble.is_over() && !trouble.is_over());
        assert!(trouble.is_news(&"no answer"));
    }
}
