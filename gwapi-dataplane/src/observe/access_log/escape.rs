//! Bytes of clients as printable ASCII: no line break, no terminal sequence, no forged field.

/// Bytes of one value that a log line holds; the rest becomes `...`.
const MAX_VALUE: usize = 1024;

/// Writes a value between double quotes: quotes and backslashes get a backslash, what is not
/// printable ASCII becomes `\xNN`.
pub(super) fn quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    escaped(out, value, b"\"\\");
    out.push(b'"');
}

/// Writes a value that ends at the next space, `-` where there is none.
pub(super) fn word(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.push(b'-');
    } else {
        escaped(out, value, b" \"\\");
    }
}

/// Writes a value that stands between quotes with others.
pub(super) fn part(out: &mut Vec<u8>, value: &[u8]) {
    escaped(out, value, b" \"\\");
}

fn escaped(out: &mut Vec<u8>, value: &[u8], special: &[u8]) {
    for &byte in value.iter().take(MAX_VALUE) {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' if !special.contains(&byte) => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\x");
                out.push(hex(byte >> 4));
                out.push(hex(byte));
            }
        }
    }
    if value.len() > MAX_VALUE {
        out.extend_from_slice(b"...");
    }
}

/// Writes a JSON string of ASCII alone; what is not UTF-8 becomes U+FFFD.
pub(super) fn json(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    for chunk in value[..value.len().min(MAX_VALUE)].utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                ' '..='~' => out.push(character as u8),
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        utf16_unit(out, *unit);
                    }
                }
            }
        }
        if !chunk.invalid().is_empty() {
            utf16_unit(out, 0xfffd);
        }
    }
    if value.len() > MAX_VALUE {
        out.extend_from_slice(b"...");
    }
    out.push(b'"');
}

fn utf16_unit(out: &mut Vec<u8>, unit: u16) {
    let [high, low] = unit.to_be_bytes();
    out.extend_from_slice(b"\\u");
    out.extend_from_slice(&[hex(high >> 4), hex(high), hex(low >> 4), hex(low)]);
}

/// The digit of the lower four bits.
fn hex(byte: u8) -> u8 {
    b"0123456789abcdef"[usize::from(byte & 0xf)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(&mut Vec<u8>, &[u8]), value: &[u8]) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_byte_becomes_printable_ascii_without_line_breaks() {
        let all: Vec<u8> = (0..=255).collect();
        for write in [quoted, word, part, json] {
            let out = written(write, &all);
            assert!(out.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{out}");
        }
    }

    #[test]
    fn a_quote_cannot_end_a_quoted_value() {
        assert_eq!(written(quoted, br#"a" 200 \"#), r#""a\" 200 \\""#);
    }

    #[test]
    fn a_space_cannot_end_a_word() {
        assert_eq!(written(word, b"a route=x\n"), r"a\x20route=x\x0a");
        assert_eq!(written(word, b""), "-");
    }

    #[test]
    fn json_reads_back_as_what_was_written() {
        let value = "q\"\\\n\u{1b}[31m\u{2028}\u{1f600}";
        let read: String = serde_json::from_str(&written(json, value.as_bytes())).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn json_of_broken_utf8_is_json() {
        let read: String = serde_json::from_str(&written(json, b"a\xff\xc3(")).unwrap();
        assert_eq!(read, "a\u{fffd}\u{fffd}(");
    }

    #[test]
    fn long_values_are_cut_even_inside_a_character() {
        let value = "\u{20ac}".repeat(1000);
        for write in [quoted, json] {
            let out = written(write, value.as_bytes());
            assert!(out.ends_with("...\""), "{out}");
            assert!(out.len() < 8 * MAX_VALUE);
        }
    }
}
