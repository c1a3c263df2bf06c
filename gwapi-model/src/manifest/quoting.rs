//! What users wrote, as it may stand in a message.

use std::fmt::{self, Write};

/// Longer texts are cut in messages.
const MAX_QUOTED: usize = 60;

/// A text between backticks: on one line, and never long.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", excerpt(text))
}

/// Writes without line breaks and other control characters: these are escaped.
pub(super) struct OneLine<'a, W>(pub(super) &'a mut W);

impl<W: Write> Write for OneLine<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c.is_control() {
            true => write!(self.0, "{}", c.escape_debug()),
            false => self.0.write_char(c),
        })
    }
}

/// A text on one line, cut where it is long.
pub(super) fn excerpt(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_QUOTED));
    let end = text.char_indices().nth(MAX_QUOTED).map_or(text.len(), |(end, _)| end);
    OneLine(&mut shown).write_str(&text[..end]).expect("a string takes any text");
    if end < text.len() {
        shown.push('…');
    }
    shown
}
