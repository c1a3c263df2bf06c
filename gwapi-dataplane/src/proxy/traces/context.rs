//! The context of a trace between hops, as W3C Trace Context has it.

use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of a `traceparent` of version 00: `00-<32 digits>-<16 digits>-<2 digits>`.
const LENGTH: usize = 55;
/// Entries that a `tracestate` may have (3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Bytes of a `tracestate` that are passed on; 512 have to be.
const MAX_STATE: usize = 4096;

const SAMPLED: u8 = 1;

/// Which trace something belongs to, and which span of it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) sampled: bool,
}

impl Context {
    /// What the caller says; `None` where it says nothing that can be read. Whoever sends the field twice
    /// has said nothing.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        Self::parse(only.as_bytes())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let [version] = digits::<1>(&known[..2])?;
        // Later versions may go on behind another dash (4.3); 255 is none.
        let ends_well = match version {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        if !ends_well || [2, 35, 52].iter().any(|at| known[*at] != b'-') {
            return None;
        }
        let trace_id = digits::<16>(&known[3..35])?;
        let span_id = digits::<8>(&known[36..52])?;
        let [flags] = digits::<1>(&known[53..])?;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }

    /// The field for the next hop. Flags that are not known here are not passed on (3.2.2.5.2).
    pub(super) fn header(&self) -> HeaderValue {
        let mut text = [b'-'; LENGTH];
        text[..2].copy_from_slice(b"00");
        hex(&self.trace_id, &mut text[3..35]);
        hex(&self.span_id, &mut text[36..52]);
        hex(&[self.flags()], &mut text[53..]);
        HeaderValue::from_bytes(&text).expect("digits and dashes are a value")
    }

    pub(super) fn flags(&self) -> u8 {
        if self.sampled { SAMPLED } else { 0 }
    }
}

/// What vendors say of the trace, in one field; `None` where nobody does or it cannot be read, and with it
/// none of it is passed on.
pub(super) fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(TRACESTATE).iter();
    let first = values.next()?;
    let joined = match values.next() {
        None => first.clone(),
        Some(second) => {
            let mut all = first.as_bytes().to_vec();
            for value in std::iter::once(second).chain(values) {
                all.push(b',');
                all.extend_from_slice(value.as_bytes());
                if all.len() > MAX_STATE {
                    return None;
                }
            }
            HeaderValue::from_bytes(&all).ok()?
        }
    };
    let text = joined.to_str().ok().filter(|text| text.len() <= MAX_STATE)?;
    let members = || text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let is_member = |member: &str| {
        member.split_once('=').is_some_and(|(key, value)| is_key(key) && !value.contains('='))
    };
    let count = members().count();
    ((1..=MAX_MEMBERS).contains(&count) && members().all(is_member)).then_some(joined)
}

/// 3.3.1.3.1.
fn is_key(key: &str) -> bool {
    let known = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    !key.is_empty() && key.len() <= 256 && key.bytes().all(known)
}

/// Bytes of lower-case digits; upper-case ones are not allowed.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_read_is_what_is_written() {
        let context = Context::of(&headers(&[(TRACEPARENT, PARENT)])).unwrap();
        assert!(context.sampled);
        assert_eq!(context.header(), PARENT);
        let unsampled = PARENT.replace("-01", "-02");
        let context = Context::parse(unsampled.as_bytes()).unwrap();
        assert!(!context.sampled);
        assert_eq!(context.header(), PARENT.replace("-01", "-00"), "a flag that nobody knows");
    }

    #[test]
    fn what_is_no_parent_is_nobodys() {
        for (text, is_one) in [
            (PARENT.to_owned(), true),
            (format!("{PARENT}-more"), false),
            (format!("cc{}", &PARENT[2..]), true),
            (format!("cc{}-more", &PARENT[2..]), true),
            (format!("cc{}.more", &PARENT[2..]), false),
            (format!("ff{}", &PARENT[2..]), false),
            (PARENT.to_uppercase(), false),
            (PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)), false),
            (PARENT.replace("b7ad6b7169203331", &"0".repeat(16)), false),
            (PARENT.replace('-', "_"), false),
            (PARENT[..54].to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(Context::parse(text.as_bytes()).is_some(), is_one, "{text}");
        }
        let twice = headers(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)]);
        assert_eq!(Context::of(&twice), None);
    }

    #[test]
    fn states_are_joined_and_passed_on_whole_or_not_at_all() {
        let many: String = (0..33).map(|n| format!("k{n}=v,")).collect();
        for (values, expected) in [
            (&["a=1"][..], Some("a=1")),
            (&["a=1", "t@b=2,c=3"], Some("a=1,t@b=2,c=3")),
            (&["a=1,,"], Some("a=1,,")),
            (&[""], None),
            (&["a"], None),
            (&["A=1"], None),
            (&["a=1=2"], None),
            (&[&many], None),
            (&[], None),
        ] {
            let fields: Vec<_> = values.iter().map(|value| (TRACESTATE, *value)).collect();
            let state = state(&headers(&fields));
            assert_eq!(state.as_ref().map(|it| it.to_str().unwrap()), expected, "{values:?}");
        }
    }
}
