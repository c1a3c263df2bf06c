//! What users wrote, as it may stand in a message.

/// Longer texts are cut in messages.
const MAX_QUOTED: usize = 60;

/// A text between backticks: on one line, and never long.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", excerpt(text))
}

/// A text on one line, cut where it is long.
pub(super) fn excerpt(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_QUOTED));
    for (position, c) in text.chars().enumerate() {
        if position == MAX_QUOTED {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    shown
}
