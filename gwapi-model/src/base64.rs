//! Base64, as the data of Secrets is written.

/// Decodes base64 (RFC 4648, padded), white space ignored; `None` where it is malformed.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut quad = 0u32;
    let mut filled = 0;
    let mut padding = 0;
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                0
            }
            _ => return None,
        };
        if padding > 0 && byte != b'=' {
            return None;
        }
        quad = (quad << 6) | u32::from(six);
        filled += 1;
        if filled == 4 {
            out.extend_from_slice(&quad.to_be_bytes()[1..]);
            (quad, filled) = (0, 0);
        }
    }
    if filled != 0 || padding > 2 {
        return None;
    }
    out.truncate(out.len().checked_sub(padding)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_4648_decode() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            (" Zm9v\n YmFy\n", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text:?}");
        }
        assert_eq!(decode("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
    }

    #[test]
    fn malformed_text_does_not_decode() {
        for text in ["Z", "Zg", "Zg=", "Zg===", "====", "=", "Zg==Zg==", "Z=g=", "Zm9v-_==", "Zm9é"]
        {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
