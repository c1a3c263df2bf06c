//! Colours, for terminals that want them.

use std::io::IsTerminal;

use owo_colors::{OwoColorize, Style};

/// Whether what is printed is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    pub(crate) on: bool,
}

impl Paint {
    /// Coloured where standard output is a terminal and `NO_COLOR` is not set.
    pub(crate) fn of_stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    /// The same for standard error.
    pub(crate) fn of_stderr() -> Self {
        Self::of(&std::io::stderr())
    }

    fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: stream.is_terminal() && !refused && !dumb }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.apply(text, Style::new().bold())
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.apply(text, Style::new().dimmed())
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.apply(text, Style::new().green())
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.apply(text, Style::new().red().bold())
    }

    pub(crate) fn doubtful(self, text: &str) -> String {
        self.apply(text, Style::new().yellow())
    }

    fn apply(self, text: &str, style: Style) -> String {
        if self.on { text.style(style).to_string() } else { text.to_owned() }
    }
}
