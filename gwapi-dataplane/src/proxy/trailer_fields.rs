//! Counts the fields of trailers that come over HTTP/2, and what they may unpack to, before the HTTP/2 library
//! unpacks them.
//!
//! The library keeps trailers until the body is read up to them, which may be never. A field of a
//! byte on the wire takes a hundred there. And of what is longer than a head may be it keeps the beginning, and
//! says nothing of it. Where each field ends can be told without HPACK's tables and without Huffman's code
//! (RFC 7541 6), and how long it may be by them as well: what is in the table has room there together.

use super::frames::kind;
use super::headers::MAX_TRAILERS;
use crate::Limits;

const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
const PRIORITY_LENGTH: u32 = 5;

/// What a field counts beside its texts (RFC 9113 6.5.2).
const FIELD: u64 = 32;
/// The last index of the table that is the same for all, and the longest texts there (RFC 7541 A).
const LAST_STATIC: u64 = 61;
const STATIC_TEXT: u64 = 28;
/// Bytes that the table of a connection has, where nobody asks for less (RFC 9113 6.5.2).
const USUAL_TABLE: u32 = 4096;
/// A field out of the table is at most that part of a head.
const TABLES_PER_HEAD: u32 = 16;

/// What the block of a request's trailers may unpack to: up to 8 KiB of text are
/// [answered for](super::headers::are_short_trailers), and what is counted may be twice as much.
const MAX_REQUEST_BLOCK: u32 = 16 * 1024;

/// What trailers may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrailerLimit {
    fields: usize,
    /// They unpack to less than that, with 32 for each field.
    bytes: u64,
    /// Bytes of the table that fields come out of.
    table: u64,
}

impl TrailerLimit {
    /// Of what a client sends.
    pub(super) fn of_requests(limits: &Limits) -> Self {
        let head = u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX);
        Self {
            fields: MAX_TRAILERS,
            bytes: head.min(MAX_REQUEST_BLOCK).into(),
            table: table_of(head).into(),
        }
    }

    /// Of what an endpoint sends. How many fields that has is looked at when it is read.
    pub(super) fn of_responses(limits: &Limits) -> Self {
        let head = u32::try_from(limits.max_response_head_bytes).unwrap_or(u32::MAX);
        Self { fields: usize::MAX, bytes: head.into(), table: table_of(head).into() }
    }
}

/// The table to ask for (SETTINGS_HEADER_TABLE_SIZE) where heads have no more than so many bytes; none where it
/// is as usual.
pub(super) fn header_table_size(max_head_bytes: usize) -> Option<u32> {
    let table = table_of(u32::try_from(max_head_bytes).unwrap_or(u32::MAX));
    (table < USUAL_TABLE).then_some(table)
}

fn table_of(head: u32) -> u32 {
    (head / TABLES_PER_HEAD).min(USUAL_TABLE)
}

/// The block of the trailers of one message, in whatever pieces its frames come.
#[derive(Debug, Default)]
pub(super) struct TrailerFields {
    fields: usize,
    /// What they unpack to but for what is in the table, at the most.
    bytes: u64,
    table: TableReads,
    at: At,
    /// Whether the frame begins with the length of its padding.
    padding_ahead: bool,
    /// Bytes of its priority that are to come before the block.
    priority_left: u32,
    /// Bytes of the block that are left in the frame.
    left: u32,
}

/// Where in a field the next byte is.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// At its first byte.
    #[default]
    Begin,
    /// In an index that goes on, or in a size of the table.
    Number { form: Form, number: u64, shift: u32 },
    /// At the length of a text, of so many.
    Length { texts: u8 },
    /// In a length that goes on.
    LongLength { texts: u8, huffman: bool, length: u64, shift: u32 },
    /// In a text, the first one of so many.
    Text { texts: u8, left: u64 },
}

/// How a field is written (RFC 7541 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Indexed,
    /// A literal that goes into the table.
    Added,
    Literal,
    /// No field, but a new size of the table.
    Resize,
}

/// What was read out of the table of the connection, in tables: what is in there has room in one together.
#[derive(Debug, Default)]
struct TableReads {
    tables: u64,
    /// The entries that were read for the last one of these, by their indices before the block.
    entries: u128,
    /// Entries that the block itself has added: they come before the others.
    added: u64,
}

impl TableReads {
    /// What is read once more counts a whole table more, and so does what the block itself has added.
    fn read(&mut self, index: u64) {
        let before = (index - LAST_STATIC - 1).checked_sub(self.added);
        let entry = before.and_then(|it| 1_u128.checked_shl(u32::try_from(it).ok()?));
        match entry {
            None => self.tables += 1,
            Some(entry) if self.entries == 0 || self.entries & entry != 0 => {
                self.tables += 1;
                self.entries = entry;
            }
            Some(entry) => self.entries |= entry,
        }
    }
}

impl TrailerFields {
    /// A frame of the block begins, HEADERS or CONTINUATION.
    pub(super) fn begin(&mut self, frame: u8, flags: u8, length: u32) {
        let has = |flag| frame == kind::HEADERS && flags & flag != 0;
        self.padding_ahead = has(PADDED);
        self.priority_left = if has(PRIORITY) { PRIORITY_LENGTH } else { 0 };
        let before = u32::from(self.padding_ahead) + self.priority_left;
        self.left = length.saturating_sub(before);
    }

    /// More of the frame.
    pub(super) fn read(&mut self, payload: &[u8]) {
        for byte in payload {
            if std::mem::take(&mut self.padding_ahead) {
                self.left = self.left.saturating_sub(u32::from(*byte));
            } else if self.priority_left > 0 {
                self.priority_left -= 1;
            } else if self.left > 0 {
                self.left -= 1;
                self.at = self.step(*byte);
            }
        }
    }

    /// Whether what has come is more than may be. A field counts from its first byte, a text from its length.
    pub(super) fn exceed(&self, limit: &TrailerLimit) -> bool {
        self.fields > limit.fields || self.unpacked(limit.table) >= limit.bytes
    }

    /// What the fields unpack to at the most.
    fn unpacked(&self, table: u64) -> u64 {
        self.bytes.saturating_add(self.table.tables.saturating_mul(table))
    }

    fn step(&mut self, byte: u8) -> At {
        match self.at {
            At::Begin => {
                // How many bits the index has.
                let (form, mask) = match byte {
                    0x80.. => (Form::Indexed, 0x7f),
                    0x40..=0x7f => (Form::Added, 0x3f),
                    0x20..=0x3f => (Form::Resize, 0x1f),
                    _ => (Form::Literal, 0x0f),
                };
                if form != Form::Resize {
                    self.fields += 1;
                    self.bytes = self.bytes.saturating_add(FIELD);
                }
                let number = u64::from(byte & mask);
                if byte & mask == mask {
                    At::Number { form, number, shift: 0 }
                } else {
                    self.after_number(form, number)
                }
            }
            At::Number { form, number, shift } => {
                let number = more(number, byte, shift);
                match byte & 0x80 {
                    0 => self.after_number(form, number),
                    _ => At::Number { form, number, shift: shift.saturating_add(7) },
                }
            }
            At::Length { texts } => {
                let huffman = byte & 0x80 != 0;
                match u64::from(byte & 0x7f) {
                    0x7f => At::LongLength { texts, huffman, length: 0x7f, shift: 0 },
                    length => self.text(texts, huffman, length),
                }
            }
            At::LongLength { texts, huffman, length, shift } => {
                let length = more(length, byte, shift);
                match byte & 0x80 {
                    0 => self.text(texts, huffman, length),
                    _ => At::LongLength { texts, huffman, length, shift: shift.saturating_add(7) },
                }
            }
            At::Text { texts, left } => At::text(texts, left - 1),
        }
    }

    fn after_number(&mut self, form: Form, index: u64) -> At {
        if form == Form::Resize {
            return At::Begin;
        }
        match index {
            0 => {}
            1..=LAST_STATIC => self.bytes = self.bytes.saturating_add(STATIC_TEXT),
            _ => self.table.read(index),
        }
        self.table.added += u64::from(form == Form::Added);
        match form {
            Form::Indexed | Form::Resize => At::Begin,
            Form::Added | Form::Literal => At::Length { texts: 1 + u8::from(index == 0) },
        }
    }

    /// A text of that length begins. The shortest code of Huffman has 5 bits.
    fn text(&mut self, texts: u8, huffman: bool, length: u64) -> At {
        let unpacked = if huffman { length.saturating_mul(8) / 5 } else { length };
        self.bytes = self.bytes.saturating_add(unpacked);
        At::text(texts, length)
    }
}

/// A number with 7 bits more of it (RFC 7541 5.1). The library takes none that goes on for longer.
fn more(number: u64, byte: u8, shift: u32) -> u64 {
    number.saturating_add(u64::from(byte & 0x7f) << shift.min(32))
}

impl At {
    /// In a text of which so much is left, the first one of so many.
    fn text(texts: u8, left: u64) -> Self {
        match left {
            0 if texts > 1 => Self::Length { texts: texts - 1 },
            0 => Self::Begin,
            _ => Self::Text { texts, left },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text as HPACK writes it, plain.
    fn text(text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.len();
        if rest < 0x7f {
            bytes.push(rest as u8);
        } else {
            bytes.push(0x7f);
            rest -= 0x7f;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
        bytes.extend(text);
        bytes
    }

    /// Fields of every form; each has bytes in it that could begin another one.
    fn forms() -> Vec<Vec<u8>> {
        let value = text(&[0x82; 300]);
        vec![
            vec![0x82],
            vec![0xff, 0x80, 0x01],
            [&[0x40][..], &text(b"name"), &text(&[0x82; 126])].concat(),
            [&[0x7f, 0x81, 0x00][..], &value].concat(),
            [&[0x0f, 0x05][..], &text(&[0x82; 127])].concat(),
            [&[0x14][..], &value].concat(),
            [&[0x10][..], &text(&[b'n'; 128]), &text(b"")].concat(),
            [&[0x00][..], &text(b"n"), &text(b"")].concat(),
        ]
    }

    /// A frame's payload, of which the block is the middle: its flags, what is before it and behind it.
    const FRAMES: [(u8, &[u8], &[u8]); 4] = [
        (0, &[], &[]),
        (PADDED, &[3], &[0x82; 3]),
        (PRIORITY, &[0x82; 5], &[]),
        (PADDED | PRIORITY, &[2, 0x82, 0x82, 0x82, 0x82, 0x82], &[0x82; 2]),
    ];

    #[test]
    fn fields_of_every_form_are_counted_however_they_are_cut() {
        let resized: [&[u8]; 2] = [&[0x3f, 0xe1, 0x1f], &[0x20]];
        let block = [resized.concat(), forms().concat()].concat();
        let texts = 28 + (4 + 126) + 300 + (28 + 127) + (28 + 300) + 128 + 1;
        // Of the two that are out of the table one is beyond what fits there.
        let unpacked = forms().len() as u64 * 32 + texts + 2 * 10_000;
        for (flags, before, behind) in FRAMES {
            for at in 0..=block.len() {
                let (first, second) = block.split_at(at);
                let first = [before, first, behind].concat();
                let mut trailers = TrailerFields::default();
                trailers.begin(kind::HEADERS, flags, first.len() as u32);
                first.chunks(7).for_each(|piece| trailers.read(piece));
                trailers.begin(kind::CONTINUATION, flags, second.len() as u32);
                trailers.read(second);
                assert_eq!(trailers.fields, forms().len(), "cut at {at}");
                assert_eq!(trailers.unpacked(10_000), unpacked, "cut at {at}");
            }
        }
    }

    #[test]
    fn a_field_counts_from_its_first_byte() {
        let mut fields = 0;
        let mut trailers = TrailerFields::default();
        for form in forms() {
            trailers.begin(kind::CONTINUATION, 0, form.len() as u32);
            fields += 1;
            trailers.read(&form[..1]);
            assert_eq!(trailers.fields, fields);
            trailers.read(&form[1..]);
            assert_eq!(trailers.fields, fields);
        }
    }

    #[test]
    fn what_is_no_block_does_no_harm() {
        let mut trailers = TrailerFields::default();
        // Padding that is longer than its frame, and a number without an end.
        trailers.begin(kind::HEADERS, PADDED, 2);
        trailers.read(&[0xff, 0x82]);
        assert_eq!(trailers.fields, 0);
        let endless = [&[0x00, 0x7f][..], &[0xff; 100]].concat();
        trailers.begin(kind::CONTINUATION, 0, endless.len() as u32);
        trailers.read(&endless);
        assert_eq!(trailers.fields, 1);
    }

    /// What a block counts, with tables of so many bytes.
    fn unpacked(block: &[u8], table: u64) -> u64 {
        let mut trailers = TrailerFields::default();
        trailers.begin(kind::HEADERS, 0, block.len() as u32);
        trailers.read(block);
        trailers.unpacked(table)
    }

    #[test]
    fn what_is_in_the_table_counts_once_where_each_entry_is_read_once() {
        let entries = |entries: std::ops::Range<u8>| entries.map(|it| 0x80 | (62 + it));
        let each = entries(0..60).collect::<Vec<_>>();
        assert_eq!(unpacked(&each, 1000), 60 * 32 + 1000);
        let twice = [&each[..], &each].concat();
        assert_eq!(unpacked(&twice, 1000), 120 * 32 + 2000);
        assert_eq!(unpacked(&[0x80 | 62; 10], 1000), 10 * 32 + 10_000);
        // A name out of the table, of a field that goes there: all indices are one more then.
        let renamed = [0x40 | 62, 1, b'a'];
        let next = [&renamed[..], &[0x80 | 64]].concat();
        assert_eq!(unpacked(&next, 1000), 2 * 32 + 1 + 1000);
        let same = [&renamed[..], &[0x80 | 63]].concat();
        assert_eq!(unpacked(&same, 1000), 2 * 32 + 1 + 2000);
        let added = [&renamed[..], &[0x80 | 62]].concat();
        assert_eq!(unpacked(&added, 1000), 2 * 32 + 1 + 2000);
        // More than a table holds.
        assert_eq!(unpacked(&[0xff, 0x80, 0x7f], 1000), 32 + 1000);
    }

    #[test]
    fn what_is_in_huffman_code_counts_as_much_as_that_may_hold() {
        let coded = [&[0x00, 0x85][..], &[0; 5], &[0x8a], &[0; 10]].concat();
        assert_eq!(unpacked(&coded, 1000), 32 + 8 + 16);
    }

    #[test]
    fn the_table_has_its_part_of_a_head() {
        assert_eq!(header_table_size(64 * 1024), None);
        assert_eq!(header_table_size(usize::MAX), None);
        assert_eq!(header_table_size(16 * 1024), Some(1024));
        let small = Limits { max_head_bytes: 1024, ..Limits::default() };
        let limit = TrailerLimit::of_requests(&small);
        assert_eq!((limit.bytes, limit.table), (1024, 64));
    }
}
