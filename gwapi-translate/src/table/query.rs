//! Query parameters, read in place: nothing is collected, decoded or allocated.

use regex::Regex;

use crate::path::escaped;

/// What a value may take once decoded, in bytes, to be matched by a regular expression without
/// allocating.
const SCRATCH: usize = 1024;

/// The first value of a parameter as it stands in the query (HM-6): `?a` and `?a=` have an empty
/// one, and what follows when the name is repeated does not count.
///
/// Names and values are compared as a form sends them: `%XX` stands for a byte, `+` for a space,
/// and an escape that is broken for itself. That is how backends read them, so that a parameter
/// cannot be hidden from the route by escaping a letter of it.
pub(super) fn first_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| equals(key, name))
        .map(|(_, value)| value)
}

/// Whether a name or value, once decoded, is this text.
pub(super) fn equals(raw: &str, text: &str) -> bool {
    decoded(raw).eq(text.bytes())
}

/// Whether a regular expression takes a value once decoded. It takes text only: a value that is
/// not UTF-8 once decoded never matches.
pub(super) fn is_match(regex: &Regex, raw: &str) -> bool {
    if !raw.contains(['%', '+']) {
        return regex.is_match(raw);
    }
    let is_match = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| regex.is_match(text));
    let mut scratch = [0; SCRATCH];
    let mut length = 0;
    for byte in decoded(raw) {
        let Some(slot) = scratch.get_mut(length) else {
            return is_match(&decoded(raw).collect::<Vec<_>>());
        };
        *slot = byte;
        length += 1;
    }
    is_match(&scratch[..length])
}

fn decoded(raw: &str) -> impl Iterator<Item = u8> {
    let mut rest = raw.as_bytes();
    std::iter::from_fn(move || {
        let (first, tail) = rest.split_first()?;
        rest = tail;
        match (first, tail) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, tail @ ..]) => match escaped(*high, *low) {
                Some(byte) => {
                    rest = tail;
                    Some(byte)
                }
                None => Some(b'%'),
            },
            _ => Some(*first),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_value_of_a_name_counts() {
        assert_eq!(first_value("b=0&a=1&a=2", "a"), Some("1"));
        assert_eq!(first_value("aa=1&A=2", "a"), None, "names are compared whole and by case");
        assert_eq!(first_value("", "a"), None);
    }

    #[test]
    fn a_name_alone_has_an_empty_value() {
        for query in ["a", "a=", "b&a", "&&a=&"] {
            assert_eq!(first_value(query, "a"), Some(""), "{query}");
        }
    }

    #[test]
    fn names_and_values_are_compared_decoded() {
        assert_eq!(first_value("%61%20b=x%3D1", "a b"), Some("x%3D1"));
        for raw in ["a b=c", "a+b%3Dc", "a%20b%3dc", "%61+b=c"] {
            assert!(equals(raw, "a b=c"), "{raw}");
        }
        for raw in ["%", "%2", "%zz", "%%"] {
            assert!(equals(raw, raw), "a broken escape stands for itself: {raw}");
        }
    }

    #[test]
    fn regular_expressions_see_the_decoded_value() {
        let regex = crate::pattern::compile("[a-z ]+").expect("it is a valid pattern");
        assert!(is_match(&regex, "abc") && is_match(&regex, "a+b") && is_match(&regex, "%61b"));
        assert!(!is_match(&regex, "a%2Bb") && !is_match(&regex, "%ff"));
        let long = "a+".repeat(SCRATCH);
        assert!(is_match(&regex, &long) && !is_match(&regex, &format!("{long}1")));
    }
}
