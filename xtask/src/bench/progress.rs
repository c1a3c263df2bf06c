//! What is being done: a line that is overwritten on a terminal, a line per scenario elsewhere.

use std::io::{IsTerminal, stderr};

/// Where progress goes: to standard error.
pub(crate) struct Progress {
    on_terminal: bool,
    scenario: String,
}

impl Progress {
    /// Begins a scenario.
    pub(crate) fn begin(scenario: &str, about: &str) -> Self {
        eprintln!("== {scenario}: {about}");
        Self { on_terminal: stderr().is_terminal(), scenario: scenario.to_owned() }
    }

    /// Says what happens now; only on a terminal, where it replaces what was said before.
    pub(crate) fn say(&self, text: &str) {
        if self.on_terminal {
            eprint!("\r\x1b[K{}: {text}", self.scenario);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on_terminal {
            eprint!("\r\x1b[K");
        }
    }
}
