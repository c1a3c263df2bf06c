//! Reads the header blocks that come over HTTP/2, to count the fields of trailers, and what they unpack to, before
//! the HTTP/2 library unpacks them.
//!
//! The library keeps trailers until the body is read up to them, which may be never. A field of a
//! byte on the wire takes a hundred there. And of what is longer than a head may be it keeps the beginning, and
//! says nothing of it. Where each field ends can be told without Huffman's code (RFC 7541 6), and how long it may be
//! as well; how long those are that stand in HPACK's table is known from when they were put there, in whatever block.

use std::collections::VecDeque;

use super::frames::kind;
use super::headers::MAX_TRAILERS;
use crate::Limits;

const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
const PRIORITY_LENGTH: u32 = 5;

/// What a field counts beside its texts (RFC 9113 6.5.2).
const FIELD: u64 = 32;
/// Bytes that the table of a connection has (RFC 9113 6.5.2).
const TABLE: u16 = 4096;
/// No more fields have room there.
const MAX_ENTRIES: usize = TABLE as usize / FIELD as usize;

/// What the block of a request's trailers may unpack to. Those that are
/// [short](super::headers::are_short_trailers) count less, whatever their text is: no letter that a field may have
/// is longer than 28 bits in Huffman code, and each 5 of those count as one.
const MAX_REQUEST_BLOCK: usize = 48 * 1024;

/// What trailers may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrailerLimit {
    fields: usize,
    /// They unpack to less than that, with 32 for each field.
    bytes: u64,
}

impl TrailerLimit {
    /// Of what a client sends.
    pub(super) fn of_requests(limits: &Limits) -> Self {
        Self { fields: MAX_TRAILERS, bytes: limits.max_head_bytes.min(MAX_REQUEST_BLOCK) as u64 }
    }

    /// Of what an endpoint sends. How many fields that has is looked at when it is read.
    pub(super) fn of_responses(limits: &Limits) -> Self {
        Self { fields: usize::MAX, bytes: limits.max_response_head_bytes as u64 }
    }
}

/// The header blocks of one direction of a connection, in whatever pieces their frames come. What it says is of the
/// last one.
#[derive(Debug, Default)]
pub(super) struct FieldReader {
    fields: usize,
    /// What they unpack to, at the most.
    bytes: u64,
    /// Whether the block begins with `:status`.
    has_status: bool,
    /// The entries of HPACK's table, the newest first, and older ones that have no room there any more.
    table: VecDeque<Entry>,
    /// The field at hand, as far as it has come.
    field: Entry,
    /// Whether it goes into the table.
    is_added: bool,
    at: At,
    /// Whether the frame begins with the length of its padding.
    padding_ahead: bool,
    /// Bytes of padding that the frame ends with.
    padding: u32,
    /// Bytes of its priority that are to come before the block.
    priority_left: u32,
    /// What has come of that.
    priority: u64,
    /// The stream that it says it depends on.
    dependency: Option<u32>,
    /// Bytes of the block that are left in the frame.
    left: u32,
}

/// The texts of a field, in bytes, at the most.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    name: u16,
    /// Of name and value.
    both: u16,
    is_status: bool,
}

impl Entry {
    /// The longest name, and the longest field, of the table that is the same for all (RFC 7541 A).
    const STATIC: Self = Self { name: 27, both: 28, is_status: false };
    /// Any of the other table.
    const UNKNOWN: Self = Self { name: TABLE, both: TABLE, is_status: false };
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

impl FieldReader {
    /// A frame begins, of whatever kind. HEADERS begin a block.
    pub(super) fn begin(&mut self, frame: u8, flags: u8, length: u32) {
        let has = |flag| frame == kind::HEADERS && flags & flag != 0;
        self.padding_ahead = has(PADDED);
        self.padding = 0;
        self.priority_left = if has(PRIORITY) { PRIORITY_LENGTH } else { 0 };
        (self.priority, self.dependency) = (0, None);
        let before = u32::from(self.padding_ahead) + self.priority_left;
        self.left = match frame {
            kind::HEADERS => {
                (self.fields, self.bytes, self.has_status) = (0, 0, false);
                self.at = At::Begin;
                length.saturating_sub(before)
            }
            kind::CONTINUATION => length,
            _ => 0,
        };
    }

    /// More of the frame.
    pub(super) fn read(&mut self, mut payload: &[u8]) {
        while let [byte, rest @ ..] = payload {
            payload = rest;
            if std::mem::take(&mut self.padding_ahead) {
                self.padding = u32::from(*byte).min(self.left);
                self.left -= self.padding;
            } else if self.priority_left > 0 {
                self.priority_left -= 1;
                self.priority = (self.priority << 8) | u64::from(*byte);
                if self.priority_left == 0 {
                    // A weight comes last, and first a bit that says something else (RFC 7540 6.2).
                    self.dependency = Some((self.priority >> 8) as u32 & 0x7fff_ffff);
                }
            } else if self.left == 0 {
                return;
            } else {
                self.left -= 1;
                self.at = self.step(*byte);
                payload = self.skip_text(payload);
            }
        }
    }

    /// Leaves the last byte of a text to be read.
    fn skip_text<'a>(&mut self, payload: &'a [u8]) -> &'a [u8] {
        let At::Text { left, .. } = &mut self.at else { return payload };
        let skipped = (*left - 1).min(self.left.into()).min(payload.len() as u64);
        *left -= skipped;
        self.left -= skipped as u32;
        &payload[skipped as usize..]
    }

    /// Bytes of padding that the frame at hand ends with.
    pub(super) fn padding(&self) -> usize {
        self.padding as usize
    }

    /// Whether the frame at hand is HEADERS of this stream that say they depend on it. The library resets the
    /// stream for it (RFC 7540 5.3.1) and leaves the block unread, so that HPACK's table is another one from then on.
    pub(super) fn depends_on(&self, stream: u32) -> bool {
        self.dependency == Some(stream)
    }

    /// Whether the last field has come as a whole.
    pub(super) fn is_between_fields(&self) -> bool {
        matches!(self.at, At::Begin)
    }

    /// Whether the block is the head of a response: no trailers begin like that (RFC 9113 8.1).
    pub(super) fn is_response_head(&self) -> bool {
        self.has_status
    }

    /// Whether what has come is more than may be. A field counts from its first byte, a text from its length.
    pub(super) fn exceed(&self, limit: &TrailerLimit) -> bool {
        self.fields > limit.fields || self.bytes >= limit.bytes
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
        let entry = self.entry(index);
        if self.fields == 1 {
            self.has_status = entry.is_status;
        }
        if form == Form::Indexed {
            self.bytes = self.bytes.saturating_add(entry.both.into());
            return At::Begin;
        }
        self.bytes = self.bytes.saturating_add(entry.name.into());
        self.field = Entry { both: entry.name, ..entry };
        self.is_added = form == Form::Added;
        At::Length { texts: 1 + u8::from(index == 0) }
    }

    fn entry(&self, index: u64) -> Entry {
        match index {
            0 => Entry::default(),
            8..=14 => Entry { is_status: true, ..Entry::STATIC },
            1..=61 => Entry::STATIC,
            // What is not there the library refuses.
            _ => {
                let entry = usize::try_from(index - 62).ok().and_then(|it| self.table.get(it));
                entry.copied().unwrap_or(Entry::UNKNOWN)
            }
        }
    }

    /// A text of that length begins. The shortest code of Huffman has 5 bits.
    fn text(&mut self, texts: u8, huffman: bool, length: u64) -> At {
        let unpacked = if huffman { length.saturating_mul(8) / 5 } else { length };
        self.bytes = self.bytes.saturating_add(unpacked);
        // What is longer than that has no room in the table, nor has anything before it then.
        let unpacked = u16::try_from(unpacked).unwrap_or(u16::MAX);
        self.field.both = self.field.both.saturating_add(unpacked);
        if texts > 1 {
            self.field.name = unpacked;
        } else if self.is_added {
            self.table.truncate(MAX_ENTRIES - 1);
            self.table.push_front(self.field);
        }
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
        // One has its name, and one all of it, out of the table, where nothing is.
        let texts = 28 + 4096 + (4 + 126) + (4096 + 300) + (27 + 127) + (27 + 300) + 128 + 1;
        let unpacked = forms().len() as u64 * 32 + texts;
        for (flags, before, behind) in FRAMES {
            for at in 0..=block.len() {
                let (first, second) = block.split_at(at);
                let first = [before, first, behind].concat();
                let mut trailers = FieldReader::default();
                trailers.begin(kind::HEADERS, flags, first.len() as u32);
                first.chunks(7).for_each(|piece| trailers.read(piece));
                trailers.begin(kind::CONTINUATION, flags, second.len() as u32);
                trailers.read(second);
                assert_eq!(trailers.fields, forms().len(), "cut at {at}");
                assert_eq!(trailers.bytes, unpacked, "cut at {at}");
            }
        }
    }

    #[test]
    fn a_field_counts_from_its_first_byte() {
        let mut fields = 0;
        let mut trailers = FieldReader::default();
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
        let mut trailers = FieldReader::default();
        // Padding that is longer than its frame, and a number without an end.
        trailers.begin(kind::HEADERS, PADDED, 2);
        trailers.read(&[0xff, 0x82]);
        assert_eq!(trailers.fields, 0);
        let endless = [&[0x00, 0x7f][..], &[0xff; 100]].concat();
        trailers.begin(kind::CONTINUATION, 0, endless.len() as u32);
        trailers.read(&endless);
        assert_eq!(trailers.fields, 1);
    }

    /// What blocks count that come one after the other.
    fn unpacked<const BLOCKS: usize>(blocks: [&[u8]; BLOCKS]) -> [u64; BLOCKS] {
        let mut fields = FieldReader::default();
        blocks.map(|block| {
            fields.begin(kind::HEADERS, 0, block.len() as u32);
            fields.read(block);
            fields.bytes
        })
    }

    #[test]
    fn what_is_in_the_table_counts_as_when_it_was_put_there() {
        let added = [&[0x40][..], &text(b"name"), &text(&[b'v'; 1000])].concat();
        assert_eq!(unpacked([&added, &[0xbe; 3]]), [32 + 1004, 3 * (32 + 1004)]);
        // In the same block.
        assert_eq!(unpacked([&[&added[..], &[0xbe; 3]].concat()]), [4 * (32 + 1004)]);
        // Its name alone, for fields that go there as well and such as do not.
        let renamed = [0x40 | 62, 1, b'a'];
        let literal = [0x0f, 62 - 15, 2, b'a', b'b'];
        let [_, bytes] = unpacked([&added, &[&renamed[..], &literal, &[0xbe, 0xbf]].concat()]);
        assert_eq!(bytes, 4 * 32 + 5 + 6 + 5 + 1004);
        // A literal that goes nowhere, and a new size, move nothing.
        let others = [&[0x00, 1, b'x', 1, b'y', 0x10, 1, b'x', 1, b'y', 0x3f, 0x00][..], &[0xbe]];
        assert_eq!(unpacked([&added, &others.concat()])[1], 2 * (32 + 2) + 32 + 1004);
        // What is in no table counts as all of one.
        assert_eq!(unpacked([&[0xbe], &[0xff, 0x80, 0x7f]]), [32 + 4096; 2]);
    }

    #[test]
    fn as_many_entries_are_known_as_have_room_in_the_table() {
        let mut fields = FieldReader::default();
        for _ in 0..1000 {
            fields.begin(kind::HEADERS, 0, 5);
            fields.read(&[0x40, 1, b'x', 1, b'y']);
        }
        assert_eq!(fields.table.len(), 128);
        // Longer than anything there can be.
        let long = [&[0x40, 1, b'x'][..], &text(&[b'y'; 100_000])].concat();
        fields.begin(kind::HEADERS, 0, long.len() as u32);
        fields.read(&long);
        assert_eq!(fields.table.len(), 128);
    }

    #[test]
    fn what_is_in_huffman_code_counts_as_much_as_that_may_hold() {
        let coded = [&[0x40, 0x85][..], &[0; 5], &[0x8a], &[0; 10]].concat();
        assert_eq!(unpacked([&coded, &[0xbe]]), [32 + 8 + 16; 2]);
    }

    #[test]
    fn the_head_of_a_response_is_known_by_its_status() {
        let mut fields = FieldReader::default();
        let mut is_head = |block: &[u8]| {
            fields.begin(kind::HEADERS, 0, block.len() as u32);
            fields.read(block);
            fields.is_response_head()
        };
        assert!(is_head(&[0x88, 0xbe]));
        assert!(!is_head(&[0x90, 0x88]));
        // Behind a new size of the table, into the table and out of it, and without it.
        assert!(is_head(&[0x3f, 0x00, 0x48, 3, b'3', b'0', b'2']));
        assert!(is_head(&[0xbe]));
        assert!(is_head(&[0x08, 3, b'3', b'0', b'2']));
        assert!(!is_head(&[]));
    }

    #[test]
    fn headers_that_depend_on_their_own_stream_are_known() {
        let mut fields = FieldReader::default();
        for (flags, payload, stream, depends) in [
            (PRIORITY, &[0x80, 0, 1, 3, 16, 0x82][..], 259, true),
            (PRIORITY | PADDED, &[0, 0, 0, 0, 1, 16, 0x82], 1, true),
            (PRIORITY, &[0, 0, 0, 3, 1, 0x82], 1, false),
            (PRIORITY, &[0, 0, 0, 1], 1, false),
            (0, &[0, 0, 0, 1, 16], 1, false),
        ] {
            fields.begin(kind::HEADERS, flags, payload.len() as u32);
            payload.chunks(2).for_each(|piece| fields.read(piece));
            assert_eq!(fields.depends_on(stream), depends, "{payload:?}");
        }
        fields.begin(kind::HEADERS, PRIORITY, 5);
        fields.read(&[0, 0, 0, 1, 16]);
        fields.begin(kind::CONTINUATION, 0, 0);
        assert!(!fields.depends_on(1));
    }

    #[test]
    fn trailers_as_long_as_a_request_may_have_are_within_the_limit() {
        let limit = TrailerLimit::of_requests(&Limits::default());
        let mut fields = FieldReader::default();
        // 8 KiB of text: names of 4 letters that have 5 bits, and values that have 5 bits a letter, or 28.
        for bits in [5, 28] {
            let value = (252 * bits as usize).div_ceil(8);
            let length = value - 0x7f;
            let length = [0xff, (length as u8 & 0x7f) | 0x80, (length >> 7) as u8];
            let field = [&[0x00, 0x80 | 3][..], &[0; 3], &length, &vec![0; value]].concat();
            fields.begin(kind::HEADERS, 0, (field.len() * MAX_TRAILERS) as u32);
            fields.read(&field.repeat(MAX_TRAILERS));
            assert_eq!(fields.fields, MAX_TRAILERS, "{bits} bits");
            assert!(fields.is_between_fields(), "{bits} bits");
            assert!(!fields.exceed(&limit), "{bits} bits: {}", fields.bytes);
        }
        let small = Limits { max_head_bytes: 1024, ..Limits::default() };
        assert!(fields.exceed(&TrailerLimit::of_requests(&small)));
    }
}
