//! Plain (unquoted) scalars, as YAML 1.2's core schema reads them: `yes`, `on` and dates are text.

use std::borrow::Cow;

use super::node::Value;

/// What an unquoted scalar stands for.
pub(super) fn resolve(text: Cow<'_, str>) -> Value<'_> {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number => match self::number(number) {
            Some(value) => value,
            None => Value::String(text),
        },
    }
}

/// The number that a text stands for, if it is one.
pub(super) fn number(text: &str) -> Option<Value<'static>> {
    // Most scalars are words: their first byte tells.
    let first = text.bytes().next()?;
    if !matches!(first, b'0'..=b'9' | b'+' | b'-' | b'.') {
        return None;
    }
    integer(text).map(Value::Int).or_else(|| float(text).map(Value::Float))
}

fn integer(text: &str) -> Option<i128> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 16),
        (_, Some(digits)) => (digits, 8),
        _ => (text, 10),
    };
    if radix != 10 && !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    // `from_str_radix` takes one leading sign and digits alone, which is the core schema's grammar.
    let value = i128::from_str_radix(digits, radix).ok()?;
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value).then_some(value)
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    // Rust also reads `inf`, `nan` and `infinity`: in YAML these are words.
    let numeric = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    let begins = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if begins && text.bytes().all(numeric) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value<'_> {
        resolve(Cow::Borrowed(text))
    }

    #[test]
    fn words_of_yaml_1_1_stay_text() {
        for word in ["yes", "no", "on", "off", "y", "N", "tRue", "nUll", "inf", "nan", "2024-01-01"]
        {
            assert_eq!(read(word), Value::String(word.into()));
        }
    }

    #[test]
    fn nulls_and_booleans_have_three_spellings() {
        for null in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(read(null), Value::Null);
        }
        for word in ["true", "True", "TRUE"] {
            assert_eq!(read(word), Value::Bool(true));
        }
        assert_eq!(read("FALSE"), Value::Bool(false));
    }

    #[test]
    fn integers_are_decimal_octal_or_hexadecimal() {
        for (text, value) in
            [("0", 0), ("+12", 12), ("-7", -7), ("0o17", 15), ("0xfF", 255), ("007", 7)]
        {
            assert_eq!(read(text), Value::Int(value), "{text}");
        }
        assert_eq!(read("18446744073709551615"), Value::Int(u64::MAX.into()));
        for text in ["0x", "0o8", "0x+1", "1_000", "+", "-", "--1", "1-2", "0b1"] {
            assert_eq!(read(text), Value::String(text.into()), "{text}");
        }
    }

    #[test]
    fn floats_have_a_point_an_exponent_or_a_name() {
        for (text, value) in [
            ("1.5", 1.5),
            (".5", 0.5),
            ("1.", 1.0),
            ("-1e3", -1000.0),
            ("2E-2", 0.02),
            ("-.inf", f64::NEG_INFINITY),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
        ] {
            assert_eq!(read(text), Value::Float(value), "{text}");
        }
        assert!(matches!(read(".NaN"), Value::Float(value) if value.is_nan()));
        for text in [".", "1.2.3", "10.0.0.1", "1e", "+.", "-.nan", "1.5s"] {
            assert_eq!(read(text), Value::String(text.into()), "{text}");
        }
    }
}
