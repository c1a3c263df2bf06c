//! What goes on being wrong is told once.

use std::fmt::Display;

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

#[cfg(test)]
mod tests {
    use super::*;

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
