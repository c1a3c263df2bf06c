//! Counts the fields of trailers that an HTTP/2 client sends, before the HTTP/2 library unpacks them.
//!
//! The library keeps trailers until the request's body is read up to them, which may be never. A field of a
//! byte on the wire takes a hundred there. Where each field ends can be told without HPACK's tables
//! and without Huffman's code (RFC 7541 6).

use super::frames::kind;

const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
const PRIORITY_LENGTH: u32 = 5;

/// The block of one request's trailers, in whatever pieces its frames come.
#[derive(Debug, Default)]
pub(super) struct TrailerFields {
    fields: usize,
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
    /// In an index that goes on, or in a size of the table; then so many texts follow.
    Number {
        texts: u8,
    },
    /// At the length of a text, of so many.
    Length {
        texts: u8,
    },
    /// In a length that goes on.
    LongLength {
        texts: u8,
        length: u64,
        shift: u32,
    },
    Text {
        texts: u8,
        left: u64,
    },
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

    /// More of the frame. The fields that have begun so far.
    pub(super) fn read(&mut self, payload: &[u8]) -> usize {
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
        self.fields
    }

    fn step(&mut self, byte: u8) -> At {
        match self.at {
            At::Begin => {
                // How many bits the index has, and whether a value follows it, or a name as well.
                let (mask, texts) = match byte {
                    0x80.. => (0x7f, 0),
                    0x40..=0x7f => (0x3f, 1),
                    // No field, but a new size of the table.
                    0x20..=0x3f => (0x1f, 0),
                    _ => (0x0f, 1),
                };
                self.fields += usize::from(mask != 0x1f);
                let index = byte & mask;
                let texts = texts + u8::from(texts > 0 && index == 0);
                if index == mask { At::Number { texts } } else { At::after_number(texts) }
            }
            At::Number { .. } if byte & 0x80 != 0 => self.at,
            At::Number { texts } => At::after_number(texts),
            At::Length { texts } => match byte & 0x7f {
                0x7f => At::LongLength { texts, length: 0x7f, shift: 0 },
                length => At::text(texts, length.into()),
            },
            At::LongLength { texts, length, shift } => {
                // The library takes no number that goes on for longer.
                let more = u64::from(byte & 0x7f) << shift.min(32);
                let length = length.saturating_add(more);
                match byte & 0x80 {
                    0 => At::text(texts, length),
                    _ => At::LongLength { texts, length, shift: shift.saturating_add(7) },
                }
            }
            At::Text { texts, left } => At::text(texts, left - 1),
        }
    }
}

impl At {
    fn after_number(texts: u8) -> Self {
        if texts == 0 { Self::Begin } else { Self::Length { texts } }
    }

    /// In a text of which so much is left, the first one of so many.
    fn text(texts: u8, left: u64) -> Self {
        if left == 0 { Self::after_number(texts - 1) } else { Self::Text { texts, left } }
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
        for (flags, before, behind) in FRAMES {
            for at in 0..=block.len() {
                let (first, second) = block.split_at(at);
                let first = [before, first, behind].concat();
                let mut trailers = TrailerFields::default();
                trailers.begin(kind::HEADERS, flags, first.len() as u32);
                first.chunks(7).for_each(|piece| _ = trailers.read(piece));
                trailers.begin(kind::CONTINUATION, flags, second.len() as u32);
                assert_eq!(trailers.read(second), forms().len(), "cut at {at}");
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
            assert_eq!(trailers.read(&form[..1]), fields);
            assert_eq!(trailers.read(&form[1..]), fields);
        }
    }

    #[test]
    fn what_is_no_block_does_no_harm() {
        let mut trailers = TrailerFields::default();
        // Padding that is longer than its frame, and a number without an end.
        trailers.begin(kind::HEADERS, PADDED, 2);
        assert_eq!(trailers.read(&[0xff, 0x82]), 0);
        let endless = [&[0x00, 0x7f][..], &[0xff; 100]].concat();
        trailers.begin(kind::CONTINUATION, 0, endless.len() as u32);
        assert_eq!(trailers.read(&endless), 1);
    }
}
