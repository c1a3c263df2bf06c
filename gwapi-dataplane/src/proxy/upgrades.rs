//! Upgrades: what a client of HTTP/1.1 and its endpoint may go on to speak on their connections.

use gwapi_model::{UpgradeProtocol, UpgradeProtocolError};
use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Method, Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;

use super::headers;
use super::present::Present;

/// The protocols that clients and endpoints may switch to by `Upgrade`: `websocket` alone, unless others
/// are named. What asks for another one is answered without the upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrades(Vec<HeaderValue>);

impl Default for Upgrades {
    fn default() -> Self {
        Self::from_iter([UpgradeProtocol::websocket()])
    }
}

impl FromIterator<UpgradeProtocol> for Upgrades {
    fn from_iter<I: IntoIterator<Item = UpgradeProtocol>>(protocols: I) -> Self {
        let value = |protocol: UpgradeProtocol| {
            HeaderValue::from_str(protocol.as_str()).expect("a token is a value")
        };
        Self(protocols.into_iter().map(value).collect())
    }
}

impl Upgrades {
    /// Parses a list with commas, such as `websocket,IRC/6.9`; an empty one is of no protocol.
    pub fn parse(list: &str) -> Result<Self, UpgradeProtocolError> {
        let list = list.trim();
        if list.is_empty() {
            return Ok(Self(Vec::new()));
        }
        list.split(',').map(|protocol| UpgradeProtocol::parse(protocol.trim())).collect()
    }

    /// The protocol that a message asks to switch to, where it is one of these and the only one.
    pub(super) fn asked(&self, headers: &HeaderMap, present: Present) -> Option<&HeaderValue> {
        if !present.any(Present::UPGRADE) {
            return None;
        }
        let mut values = headers.get_all(UPGRADE).iter();
        let (Some(asked), None) = (values.next(), values.next()) else { return None };
        let protocol = self.0.iter().find(|protocol| same(protocol, asked))?;
        headers::names_upgrade(headers).then_some(protocol)
    }
}

fn same(one: &HeaderValue, other: &HeaderValue) -> bool {
    one.as_bytes().eq_ignore_ascii_case(other.as_bytes())
}

/// An upgrade that a client asks for, and may.
pub(super) struct Upgrade {
    /// The client's connection, once it has switched.
    pub(super) client: OnUpgrade,
    pub(super) protocol: HeaderValue,
}

impl Upgrade {
    /// The one that a request asks for. A request with a body asks for none.
    pub(super) fn of(
        request: &mut Request<Incoming>,
        present: Present,
        upgrades: &Upgrades,
    ) -> Option<Box<Self>> {
        if request.version() != Version::HTTP_11 || !request.body().is_end_stream() {
            return None;
        }
        let protocol = upgrades.asked(request.headers(), present)?;
        if !is_method_for(request.method(), protocol) {
            return None;
        }
        let protocol = protocol.clone();
        // Few requests need it.
        Some(Box::new(Self { client: hyper::upgrade::on(request), protocol }))
    }

    /// Whether an endpoint that answers 101 switches to what was asked for.
    pub(super) fn is_agreed<B>(&self, response: &Response<B>) -> bool {
        let mut values = response.headers().get_all(UPGRADE).iter();
        values.next().is_some_and(|value| same(&self.protocol, value)) && values.next().is_none()
    }

    /// Says in the fields of a response what it switches to.
    pub(super) fn tell(&self, fields: &mut HeaderMap) {
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(UPGRADE, self.protocol.clone());
    }
}

/// RFC 6455 4.1: a WebSocket is asked for by GET. Protocols that begin with a command are asked for by POST.
fn is_method_for(method: &Method, protocol: &HeaderValue) -> bool {
    let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    *method == Method::GET || (*method == Method::POST && !is_websocket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(
        upgrades: &'a Upgrades,
        upgrade: &[&'static str],
        connection: &'static str,
    ) -> Option<&'a str> {
        let mut headers = HeaderMap::new();
        for value in upgrade {
            headers.append(UPGRADE, HeaderValue::from_static(value));
        }
        headers.insert(CONNECTION, HeaderValue::from_static(connection));
        let asked = upgrades.asked(&headers, Present::of(&headers));
        asked.map(|protocol| protocol.to_str().expect("it is text"))
    }

    #[test]
    fn websocket_is_the_only_upgrade_unless_others_are_named() {
        let upgrades = Upgrades::default();
        assert_eq!(asked(&upgrades, &["WebSocket"], "keep-alive, Upgrade"), Some("websocket"));
        assert_eq!(asked(&upgrades, &["websocket"], "keep-alive"), None);
        for other in ["h2c", "websocket, h2c", "foo", "websockets", ""] {
            assert_eq!(asked(&upgrades, &[other], "upgrade"), None, "{other}");
        }
        assert_eq!(asked(&upgrades, &["websocket", "foo"], "upgrade"), None);
    }

    #[test]
    fn what_is_named_is_asked_for_whatever_its_case() {
        let upgrades = Upgrades::parse("IRC/6.9, foo").expect("a list");
        assert_eq!(asked(&upgrades, &["irc/6.9"], "upgrade"), Some("IRC/6.9"));
        assert_eq!(asked(&upgrades, &["FOO"], "upgrade"), Some("foo"));
        for other in ["irc", "irc/6", "websocket", "h2c"] {
            assert_eq!(asked(&upgrades, &[other], "upgrade"), None, "{other}");
        }
    }

    #[test]
    fn a_list_may_be_empty_and_has_no_http_in_it() {
        let none = Upgrades::parse("").expect("an empty list");
        assert_eq!(asked(&none, &["websocket"], "upgrade"), None);
        for list in ["websocket,h2c", "HTTP/2.0"] {
            let error = Upgrades::parse(list).expect_err("refused").to_string();
            assert!(error.contains("is HTTP itself"), "{error}");
        }
        for list in [",", "websocket,", "a b"] {
            let error = Upgrades::parse(list).expect_err("refused").to_string();
            assert!(error.contains("such as websocket"), "{error}");
        }
    }
}
