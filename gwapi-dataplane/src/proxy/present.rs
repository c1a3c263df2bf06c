//! Which of the fields that need care a head has: found out in one look at its names.
//!
//! Most heads have few of them, and to ask a map for each of twenty names costs more than all the rest
//! that is done with a request.

use http::header::HeaderMap;

/// A set of kinds of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Present(u16);

impl Present {
    pub(super) const CONNECTION: Self = Self(1);
    pub(super) const CONTENT_LENGTH: Self = Self(1 << 1);
    pub(super) const COOKIE: Self = Self(1 << 2);
    pub(super) const EXPECT: Self = Self(1 << 3);
    pub(super) const TE: Self = Self(1 << 4);
    pub(super) const TRANSFER_ENCODING: Self = Self(1 << 5);
    pub(super) const UPGRADE: Self = Self(1 << 6);
    /// `Keep-Alive`, `Proxy-*` and `HTTP2-Settings`: nothing in them is read, they only go.
    pub(super) const HOP: Self = Self(1 << 7);
    /// What claims something of a client: `Forwarded`, `X-Forwarded-*`, `X-Real-IP`.
    pub(super) const CLAIM: Self = Self(1 << 8);
    /// A name with `_`.
    pub(super) const UNDERSCORE: Self = Self(1 << 9);

    /// The kinds that a head has.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers
            .keys()
            .fold(Self::default(), |present, name| present.and(Self::named(name.as_str())))
    }

    /// The kind of a field, by its name in lower case.
    pub(super) fn named(name: &str) -> Self {
        let kind = match name.as_bytes() {
            b"connection" => Self::CONNECTION,
            b"content-length" => Self::CONTENT_LENGTH,
            b"cookie" => Self::COOKIE,
            b"expect" => Self::EXPECT,
            b"forwarded" | b"x-real-ip" => Self::CLAIM,
            b"keep-alive" | b"http2-settings" => Self::HOP,
            b"te" => Self::TE,
            b"transfer-encoding" => Self::TRANSFER_ENCODING,
            b"upgrade" => Self::UPGRADE,
            [b'p', b'r', b'o', b'x', b'y', b'-', ..] => Self::HOP,
            // Those of other proxies, such as `x-forwarded-server`, are claims as well.
            name if name.starts_with(b"x-forwarded-") => Self::CLAIM,
            _ => Self::default(),
        };
        if name.as_bytes().contains(&b'_') { kind.and(Self::UNDERSCORE) } else { kind }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is any field of these kinds.
    pub(super) const fn any(self, kinds: Self) -> bool {
        self.0 & kinds.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn each_kind_is_found_among_others() {
        for (name, kind) in [
            ("connection", Present::CONNECTION),
            ("content-length", Present::CONTENT_LENGTH),
            ("cookie", Present::COOKIE),
            ("expect", Present::EXPECT),
            ("te", Present::TE),
            ("transfer-encoding", Present::TRANSFER_ENCODING),
            ("upgrade", Present::UPGRADE),
            ("keep-alive", Present::HOP),
            ("http2-settings", Present::HOP),
            ("proxy-connection", Present::HOP),
            ("forwarded", Present::CLAIM),
            ("x-real-ip", Present::CLAIM),
            ("x-forwarded-server", Present::CLAIM),
            ("x_user", Present::UNDERSCORE),
            ("proxy-x_y", Present::HOP.and(Present::UNDERSCORE)),
            ("accept", Present::default()),
            ("x-forwarded", Present::default()),
        ] {
            let mut headers = HeaderMap::new();
            for name in ["host", name, "user-agent"] {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
            }
            assert_eq!(Present::of(&headers), kind, "{name}");
            assert_eq!(Present::of(&headers).any(kind), kind != Present::default(), "{name}");
        }
    }
}
