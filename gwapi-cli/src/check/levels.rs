//! What the command line makes of how bad problems are.

use crate::report::issue::Level;

/// `--strict`, `--allow` and `--deny`.
#[derive(Debug, Default)]
pub(super) struct Levels {
    pub(super) strict: bool,
    pub(super) allowed: Vec<String>,
    pub(super) denied: Vec<String>,
}

impl Levels {
    /// How bad a problem with this code is; `None` where nothing is to be said of it. What is denied is
    /// denied, allowed or not.
    pub(super) fn of(&self, code: &str, level: Level) -> Option<Level> {
        let names = |codes: &[String]| codes.iter().any(|named| named == code);
        if names(&self.denied) {
            return Some(Level::Error);
        }
        match level {
            _ if names(&self.allowed) => None,
            Level::Warning if self.strict => Some(Level::Error),
            level => Some(level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_changes_levels_by_code() {
        let levels = |strict| Levels {
            strict,
            allowed: vec!["a".to_owned(), "both".to_owned()],
            denied: vec!["d".to_owned(), "both".to_owned()],
        };
        use Level::{Error, Note, Warning};
        for (code, level, strict, expected) in [
            ("x", Warning, false, Some(Warning)),
            ("x", Warning, true, Some(Error)),
            ("x", Note, true, Some(Note)),
            ("a", Warning, true, None),
            ("a", Error, false, None),
            ("d", Note, false, Some(Error)),
            ("both", Warning, false, Some(Error)),
        ] {
            assert_eq!(levels(strict).of(code, level), expected, "{code} {level:?} {strict}");
        }
    }
}
