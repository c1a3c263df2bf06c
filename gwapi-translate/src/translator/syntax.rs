//! Grammar of names, as far as what was never validated must not reach the data plane.

use std::net::IpAddr;
use std::sync::Arc;

use crate::ir::Hostname;

/// Reads a hostname that may start with `*.`; `None` where it is no DNS name, or an IP address
/// (RT-14).
pub(super) fn hostname(text: &str) -> Option<Hostname> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    is_dns_name(name).then(|| Hostname::parse(text))
}

/// The same, which shares the text where it is written as it is held.
pub(super) fn shared_hostname(text: &Arc<str>) -> Option<Hostname> {
    let is_as_held = !text.starts_with("*.")
        && !text.ends_with('.')
        && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match is_as_held {
        true => is_dns_name(text).then(|| Hostname::Exact(Arc::clone(text))),
        false => hostname(text),
    }
}

/// Group and kind of a reference in words.
pub(super) fn kind_of_group(kind: &str, name: &str, group: &str) -> String {
    match group {
        "" => format!("{kind} `{name}` of the core group"),
        group => format!("{kind} `{name}` of group `{group}`"),
    }
}

/// Whether a text is a DNS name: labels of letters, digits and inner hyphens; no IP address.
pub(super) fn is_dns_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(label)
        && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_dns_names_with_at_most_one_leading_wildcard() {
        for good in ["a", "www.example.com", "*.example.com", "WWW.Example.com.", "1a.2b"] {
            assert!(hostname(good).is_some(), "{good:?} was refused");
        }
        let bad =
            ["", "*", "*.", "a..b", "-a.b", "a_b", "*.*.b", "a.*.b", "10.0.0.1", "::1", "a:80"];
        for bad in bad {
            assert_eq!(hostname(bad), None, "{bad:?} was taken");
        }
    }
}
