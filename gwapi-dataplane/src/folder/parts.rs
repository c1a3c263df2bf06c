//! Documents of a file that an edit did not touch: they need not be read again.
//!
//! A line that begins with `---` ends a YAML document wherever it stands, so a text falls into parts
//! that say alone what they say together. An edit is what lies between the parts that are the same
//! at the beginning and those that are the same at the end.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::quality::FixedState;
use memchr::{memchr_iter, memmem};

/// The parts of a text. Of the text itself nothing is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    list: Box<[Part]>,
    /// The text has no directives, which would reach from one part into the next.
    separable: bool,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    digest: u64,
    /// Where it begins, in bytes.
    start: u32,
    /// Number of the line where it begins, counted from 1.
    line: u32,
}

/// What lies between the parts that two texts share at their beginning and at their end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// The lines that were there, from the first one to the one behind the last one.
    pub(super) before: Range<usize>,
    /// The lines that are there now.
    pub(super) after: Range<usize>,
    /// The bytes that are there now.
    pub(super) bytes: Range<usize>,
}

/// What tells one text from another.
pub(super) fn digest(text: &str) -> u64 {
    FixedState::default().hash_one(text)
}

impl Parts {
    pub(super) fn of(text: &str) -> Self {
        let mut list = Vec::new();
        let (mut start, mut line) = (0, 1);
        for end in separators(text).chain([text.len()]) {
            let part = &text[start..end];
            let to_u32 = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            list.push(Part { digest: digest(part), start: to_u32(start), line: to_u32(line) });
            line += memchr_iter(b'\n', part.as_bytes()).count();
            start = end;
        }
        let has_directives =
            text.starts_with('%') || memmem::find(text.as_bytes(), b"\n%").is_some();
        Self { list: list.into(), separable: !has_directives }
    }

    /// What an edit from a text of `self` to `text`, of which `next` are the parts, touched; `None`
    /// where the parts do not tell.
    pub(super) fn edit(&self, next: &Self, text: &str) -> Option<Edit> {
        if !self.separable || !next.separable || self.list.is_empty() {
            return None;
        }
        let (old, new) = (&self.list, &next.list);
        let same = |(a, b): &(&Part, &Part)| a.digest == b.digest;
        let first = old.iter().zip(new.iter()).take_while(same).count();
        let ends = old[first..].iter().rev().zip(new[first..].iter().rev());
        let last = ends.take_while(same).count();
        let line =
            |list: &[Part], at: usize| list.get(at).map_or(usize::MAX, |part| part.line as usize);
        let start = |at: usize| new.get(at).map_or(text.len(), |part| part.start as usize);
        let (old_end, new_end) = (old.len() - last, new.len() - last);
        Some(Edit {
            before: line(old, first)..line(old, old_end),
            after: line(new, first)..line(new, new_end),
            bytes: start(first)..start(new_end),
        })
    }
}

/// Where lines begin that start a document, save for the first byte of the text.
fn separators(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    memmem::find_iter(bytes, b"\n---")
        .filter(|at| bytes.get(at + 4).is_none_or(u8::is_ascii_whitespace))
        .map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(before: &str, after: &str) -> Option<Edit> {
        let next = Parts::of(after);
        Parts::of(before).edit(&next, after)
    }

    #[test]
    fn an_edit_is_what_lies_between_the_parts_that_stay() {
        let text = "a\n---\nb\n---\nc\n";
        let behind = usize::MAX;
        for (after, expected) in [
            ("a\n---\nB\nB\n---\nc\n", Some((2..4, 2..5, "---\nB\nB\n"))),
            ("a\n---\nc\n", Some((2..4, 2..2, ""))),
            ("a\n---\nb\n---\nc\n---\nd", Some((behind..behind, 6..behind, "---\nd"))),
            ("A\n---\nb\n---\nc\n", Some((1..2, 1..2, "A\n"))),
            ("a\n---\nb\n---\nC\n", Some((4..behind, 4..behind, "---\nC\n"))),
            ("a\n---\nb\n---c\n", Some((2..behind, 2..behind, "---\nb\n---c\n"))),
            ("%TAG ! x\n---\nb\n---\nc\n", None),
        ] {
            let found = edit(text, after);
            let found = found.map(|it| (it.before, it.after, &after[it.bytes]));
            assert_eq!(found, expected, "{after:?}");
        }
    }
}
