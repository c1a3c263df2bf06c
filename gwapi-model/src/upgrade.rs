//! Protocols that a connection of HTTP/1.1 may switch to.

use std::fmt;

/// A protocol as `Upgrade` names it (RFC 9110 7.8): `websocket`, or one with a version such as `IRC/6.9`.
/// It keeps its spelling; where protocols are compared, upper case is lower case.
///
/// HTTP itself is none: whoever switches to it (`h2c`) has a way past every route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeProtocol(Box<str>);

/// Why a text is no [`UpgradeProtocol`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeProtocolError {
    /// It is no name of a protocol.
    #[error(
        "`{0}` is no protocol: expected a name, with a version or without, such as websocket or IRC/6.9"
    )]
    Malformed(String),
    /// It is a version of HTTP.
    #[error("`{0}` is HTTP itself: requests inside would go past all routes")]
    Http(String),
}

/// The names of HTTP.
const HTTP: [&str; 4] = ["h2c", "h2", "h3", "http"];

impl UpgradeProtocol {
    /// `websocket`.
    pub fn websocket() -> Self {
        Self("websocket".into())
    }

    /// Parses `protocol-name ["/" protocol-version]`.
    pub fn parse(text: &str) -> Result<Self, UpgradeProtocolError> {
        let (name, version) = match text.split_once('/') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        if !is_token(name) || !version.is_none_or(is_token) {
            return Err(UpgradeProtocolError::Malformed(text.to_owned()));
        }
        if HTTP.iter().any(|http| name.eq_ignore_ascii_case(http)) {
            return Err(UpgradeProtocolError::Http(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The protocol as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpgradeProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 9110 5.6.2.
fn is_token(text: &str) -> bool {
    let is_sign = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_sign(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_a_name_with_a_version_or_without() {
        for text in ["websocket", "WebSocket", "IRC/6.9", "SPDY/3.1", "tcp", "x-own_1"] {
            let protocol = UpgradeProtocol::parse(text).expect(text);
            assert_eq!(protocol.as_str(), text);
        }
        for text in ["", "/", "a/", "/1", "a/1/2", "a b", "a,b", " a", "a;q=1", "\u{e4}", "a\r\nb"]
        {
            let malformed = Err(UpgradeProtocolError::Malformed(text.to_owned()));
            assert_eq!(UpgradeProtocol::parse(text), malformed, "{text:?}");
        }
    }

    #[test]
    fn http_is_no_protocol_to_switch_to() {
        for text in ["h2c", "H2C", "h2", "h3", "HTTP/2.0", "http"] {
            let error = UpgradeProtocol::parse(text).expect_err(text);
            assert_eq!(error, UpgradeProtocolError::Http(text.to_owned()));
            assert!(error.to_string().contains("past all routes"), "{error}");
        }
    }
}
