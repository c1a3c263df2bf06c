//! Lines and columns for byte offsets.

use super::Position;

/// Bytes between two places whose line and column are remembered.
const STEP: usize = 1024;

/// Finds lines and columns in one text: it is read once, and each answer then costs a look at one
/// kibibyte, also where a whole file stands on one line.
pub(super) struct Positions<'t> {
    text: &'t str,
    /// At each multiple of [`STEP`] (or the next border of a character): offset and position.
    marks: Vec<(usize, Position)>,
}

impl<'t> Positions<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        // A byte order mark is no character that anybody sees.
        let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut mark = (start, Position { line: 1, column: 1 });
        let mut marks = Vec::with_capacity(text.len() / STEP + 1);
        loop {
            marks.push(mark);
            let next = text.ceil_char_boundary(mark.0 + STEP);
            if next >= text.len() {
                return Self { text, marks };
            }
            mark = (next, advance(mark.1, &text[mark.0..next]));
        }
    }

    /// The position of a byte offset.
    pub(super) fn at(&self, offset: u32) -> Position {
        let offset = self.text.floor_char_boundary(offset as usize);
        let after = self.marks.partition_point(|(mark, _)| *mark <= offset);
        let (mark, position) = self.marks[after.saturating_sub(1)];
        advance(position, self.text.get(mark..offset).unwrap_or_default())
    }
}

/// The position behind `text`, when it starts at `position`.
fn advance(position: Position, text: &str) -> Position {
    match text.rfind('\n') {
        None => Position { column: position.column + text.chars().count(), ..position },
        Some(last) => Position {
            line: position.line + text.bytes().filter(|byte| *byte == b'\n').count(),
            column: 1 + text[last + 1..].chars().count(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_has_the_position_that_counting_from_the_start_gives() {
        let line = "gänsefüßchen: ☃ und so weiter, und so fort\n";
        let long = "ü".repeat(3 * STEP);
        let text = format!("{}{long}\n{}", line.repeat(70), line.repeat(3));
        let positions = Positions::new(&text);
        for (offset, _) in text.char_indices() {
            let before = &text[..offset];
            let expected = Position {
                line: 1 + before.matches('\n').count(),
                column: 1 + before.rsplit('\n').next().unwrap_or_default().chars().count(),
            };
            assert_eq!(positions.at(offset as u32), expected, "offset {offset}");
        }
    }

    #[test]
    fn a_byte_order_mark_takes_no_column() {
        let positions = Positions::new("\u{feff}kind: Gateway");
        assert_eq!(positions.at(3), Position { line: 1, column: 1 });
        assert_eq!(positions.at(0), Position { line: 1, column: 1 });
    }

    #[test]
    fn an_offset_behind_the_text_is_its_end() {
        assert_eq!(Positions::new("a\nbc").at(99), Position { line: 2, column: 3 });
        assert_eq!(Positions::new("").at(0), Position { line: 1, column: 1 });
    }
}
