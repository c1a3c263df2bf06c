//! Which of the fields that need care a head has: found out in one look at its names.
//!
//! Most heads have few of them, and to ask a map for each of twenty names costs more than all the rest
//! that is done with a request.

use http::header::{HeaderMap, HeaderName};

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
    /// What claims something of a client: `Forwarded`, `X-Forwarded-*`, `X-Real-IP`, and the
    /// `Client-Cert` and `Client-Cert-Chain` of RFC 9440.
    pub(super) const CLAIM: Self = Self(1 << 8);
    /// A name with `_`.
    pub(super) const UNDERSCORE: Self = Self(1 << 9);

    /// The kinds that a head has.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers.keys().map(HeaderName::as_str).fold(Self::default(), |present, name| {
            let underscore = name.as_bytes().contains(&b'_');
            let underscore = if underscore { Self::UNDERSCORE } else { Self::default() };
            present.and(Self::named(name)).and(underscore)
        })
    }

    /// The kind of a field, by its name in lower case.
    pub(super) fn named(name: &str) -> Self {
        let name = name.as_bytes();
        match name {
            // One letter tells most names apart from all of these.
            [b'c', rest @ ..] => match rest {
                b"lient-cert" | b"lient-cert-chain" => Self::CLAIM,
                b"onnection" => Self::CONNECTION,
                b"ontent-length" => Self::CONTENT_LENGTH,
                b"ookie" => Self::COOKIE,
                _ => Self::default(),
            },
            [b't', rest @ ..] => match rest {
                b"e" => Self::TE,
                b"ransfer-encoding" => Self::TRANSFER_ENCODING,
                _ => Self::default(),
            },
            // Those of other proxies, such as `x-forwarded-server`, are claims as well.
            [b'x', rest @ ..] if rest.starts_with(b"-forwarded-") || rest == b"-real-ip" => {
                Self::CLAIM
            }
            [b'p', rest @ ..] if rest.starts_with(b"roxy-") => Self::HOP,
            [b'e', rest @ ..] if rest == b"xpect" => Self::EXPECT,
            [b'f', rest @ ..] if rest == b"orwarded" => Self::CLAIM,
            [b'h', rest @ ..] if rest == b"ttp2-settings" => Self::HOP,
            [b'k', rest @ ..] if rest == b"eep-alive" => Self::HOP,
            [b'u', rest @ ..] if rest == b"pgrade" => Self::UPGRADE,
            _ => Self::default(),
        }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is any field of these kinds.
    pub(super) const fn any(self, kinds: Self) -> bool {
        self.0 & kinds.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

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
            ("x-forwarded-client-cert", Present::CLAIM),
            ("client-cert", Present::CLAIM),
            ("client-cert-chain", Present::CLAIM),
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
