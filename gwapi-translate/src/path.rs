//! The one canonical form of a request path: matching and forwarding both use it (HM-4).
//!
//! A backend must never read a path otherwise than the route table did: `/a/%2e%2e/admin` that is
//! matched as something below `/a` and answered as `/admin` is how access rules are bypassed. So
//! there is one form, it is a fixed point, and it has no second reading:
//!
//! * escapes of unreserved characters are decoded (`%61` is `a`), all others are kept in upper
//!   case (`%2f` becomes `%2F`: an escaped slash is not a separator, and `%5C` is no slash either);
//! * a raw byte that RFC 3986 does not allow in a path, the backslash and everything that is not
//!   ASCII among them, is escaped: no server behind can take `\` for a separator;
//! * empty segments are merged, then `.` and `..` are resolved, never above the root;
//! * `;` is an ordinary character, no path parameter is cut off;
//! * `%00`, control characters, spaces, `?`, `#` and broken escapes have no canonical form.

use std::borrow::Cow;

/// Why a path has no canonical form; such requests answer 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path does not start with `/`.
    #[error("path does not start with a slash")]
    NoSlash,
    /// A `%` without two hexadecimal digits, or a byte that no path may hold.
    #[error("path holds a malformed escape or a forbidden byte")]
    Malformed,
}

/// The canonical form of a path (no query): unreserved characters decoded, other escapes in upper
/// case, dot segments resolved, slashes merged. Borrowed where the path is canonical already.
///
/// # Errors
///
/// Paths without a leading slash, with broken escapes, or with bytes that no path may hold.
///
/// ```
/// use gwapi_translate::path::canonical;
///
/// assert_eq!(canonical("/shop/%63art")?, "/shop/cart");
/// assert_eq!(canonical("/shop//%2e%2E/admin")?, "/admin");
/// assert_eq!(canonical("/files/a%2fb")?, "/files/a%2Fb");
/// assert!(canonical("/files/%00").is_err());
/// # Ok::<(), gwapi_translate::path::PathError>(())
/// ```
pub fn canonical(path: &str) -> Result<Cow<'_, str>, PathError> {
    if is_simple(path) {
        return Ok(Cow::Borrowed(path));
    }
    let Some(relative) = path.strip_prefix('/') else {
        return Err(PathError::NoSlash);
    };
    if relative.split('/').rev().enumerate().all(|(from_end, segment)| {
        // Only the last segment may be empty: that is a trailing slash.
        is_canonical(segment.as_bytes()) && (from_end == 0 || !segment.is_empty())
    }) {
        return Ok(Cow::Borrowed(path));
    }
    rewrite(relative).map(Cow::Owned)
}

/// Whether a path is seen to be canonical at a glance, as most are: nothing in it is escaped, and no
/// segment is empty or begins with a dot.
fn is_simple(path: &str) -> bool {
    const SIMPLE: [bool; 256] = {
        let mut simple = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            simple[byte] = byte as u8 == b'/' || is_plain(byte as u8);
            byte += 1;
        }
        simple
    };
    let mut before = 0;
    path.starts_with('/')
        && path.bytes().all(|byte| {
            let at_start = before == b'/' && matches!(byte, b'/' | b'.');
            before = byte;
            SIMPLE[usize::from(byte)] && !at_start
        })
}

/// Whether a segment stands for itself, byte for byte.
fn is_canonical(segment: &[u8]) -> bool {
    if matches!(segment, b"." | b"..") {
        return false;
    }
    let mut rest = segment;
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (
                b'%',
                [high @ (b'0'..=b'9' | b'A'..=b'F'), low @ (b'0'..=b'9' | b'A'..=b'F'), tail @ ..],
            ) => match escaped(*high, *low) {
                Some(byte) if byte != 0 && !is_unreserved(byte) => tail,
                _ => return false,
            },
            (byte, tail) if is_plain(*byte) => tail,
            _ => return false,
        };
    }
    true
}

fn rewrite(relative: &str) -> Result<String, PathError> {
    let mut path = String::with_capacity(relative.len() + 1);
    let mut ends_in_slash = false;
    for segment in relative.split('/') {
        let parent = path.len();
        path.push('/');
        push_segment(&mut path, segment.as_bytes())?;
        let written = &path[parent + 1..];
        ends_in_slash = matches!(written, "" | "." | "..");
        if written == ".." {
            let grandparent = path[..parent].rfind('/').unwrap_or(0);
            path.truncate(grandparent);
        } else if ends_in_slash {
            path.truncate(parent);
        }
    }
    if ends_in_slash {
        path.push('/');
    }
    Ok(path)
}

fn push_segment(path: &mut String, segment: &[u8]) -> Result<(), PathError> {
    let mut rest = segment;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'%' => {
                let [high, low, tail @ ..] = tail else { return Err(PathError::Malformed) };
                rest = tail;
                match escaped(*high, *low).ok_or(PathError::Malformed)? {
                    0 => return Err(PathError::Malformed),
                    byte if is_unreserved(byte) => path.push(char::from(byte)),
                    byte => push_escape(path, byte),
                }
            }
            byte if is_plain(*byte) => path.push(char::from(*byte)),
            0..=b' ' | 0x7f | b'?' | b'#' => return Err(PathError::Malformed),
            byte => push_escape(path, *byte),
        }
    }
    Ok(())
}

fn push_escape(path: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    path.push('%');
    path.push(char::from(DIGITS[usize::from(byte >> 4)]));
    path.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// The byte that an escape stands for.
pub(crate) fn escaped(high: u8, low: u8) -> Option<u8> {
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// RFC 3986, `unreserved`: an escape of these means the character itself.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986, `pchar` without escapes: what may stand in a segment as it is.
const fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_have_one_form() {
        for (path, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b/.", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/../../etc", "/etc"),
            ("/a//../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/%2e/b", "/b"),
            ("/%61%2D%7e", "/a-~"),
            ("/a%2fb%5cc", "/a%2Fb%5Cc"),
            ("/..%2fadmin", "/..%2Fadmin"),
            (r"/..\admin", "/..%5Cadmin"),
            ("/..;/admin;v=1", "/..;/admin;v=1"),
            ("/...", "/..."),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/{id}|\"<>^`", "/%7Bid%7D%7C%22%3C%3E%5E%60"),
            ("/%25%32%65", "/%252e"),
            ("/%0d%0a", "/%0D%0A"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn a_canonical_path_is_borrowed() {
        for path in ["/", "/a", "/a/", "/a.b/..c/%2F/%5C;x=1/:@!$&'()*+,="] {
            assert!(matches!(canonical(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn what_has_no_canonical_form_is_refused() {
        for path in ["", "x", "*", "x/y"] {
            assert_eq!(canonical(path), Err(PathError::NoSlash), "{path:?}");
        }
        for path in [
            "/%", "/%2", "/%zz", "/%2g", "/a/%00/b", "/a b", "/\u{0}", "/\u{7f}", "/a?b", "/a#b",
            "/%/../x",
        ] {
            assert_eq!(canonical(path), Err(PathError::Malformed), "{path:?}");
        }
    }

    /// Text in which separators, dots and escapes are much more frequent than by chance.
    fn tricky_path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => Just("/".to_owned()),
            2 => Just(".".to_owned()),
            1 => Just("..".to_owned()),
            2 => "%[0-9a-fA-F]{2}",
            1 => prop::sample::select(vec!["%2e", "%2E", "%2f", "%5c", "\\", ";", "%", "a", "é"]).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point(path in tricky_path()) {
            if let Ok(form) = canonical(&path) {
                prop_assert!(form.starts_with('/'));
                prop_assert!(!form.contains("//"), "{form}");
                prop_assert!(form.split('/').all(|segment| segment != "." && segment != ".."), "{form}");
                prop_assert!(form.bytes().all(|byte| byte == b'/' || byte == b'%' || is_plain(byte)), "{form}");
                prop_assert!(matches!(canonical(&form), Ok(Cow::Borrowed(_))), "{form}");
            }
        }

        #[test]
        fn escaping_an_unreserved_character_changes_nothing(path in tricky_path(), at in any::<prop::sample::Index>()) {
            let Ok(form) = canonical(&path) else { return Ok(()) };
            let at = at.index(form.len());
            let byte = form.as_bytes()[at];
            if is_unreserved(byte) && !form[..at].ends_with('%') && !form[..at.max(1) - 1].ends_with('%') {
                let variant = format!("{}%{byte:02x}{}", &form[..at], &form[at + 1..]);
                prop_assert_eq!(canonical(&variant), Ok(form));
            }
        }
    }
}
