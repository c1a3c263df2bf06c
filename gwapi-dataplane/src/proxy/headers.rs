//! Fields that belong to one connection, and fields that the proxy itself answers for.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT,
    Entry, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TE, TRANSFER_ENCODING,
    UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Fields that mean the whole way, whatever `Connection` says: a client must not be able to strip
/// what the proxy vouches for.
const END_TO_END: [HeaderName; 7] = [
    HOST,
    CONTENT_LENGTH,
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    X_REAL_IP,
];

/// Whether a message asks for an upgrade to WebSocket, the one protocol that is passed on.
pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).is_some_and(is_websocket);
    upgrade && tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

/// Whether a value of `Upgrade` is `websocket`, and nothing besides.
pub(super) fn is_websocket(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"websocket")
}

/// The words of a list, over all fields of the name.
pub(super) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Removes what belongs to the connection that a request came on (RFC 9110 7.6.1), and what the
/// proxy answers itself. `TE` stays where it says that trailers are welcome.
pub(super) fn strip_request(headers: &mut HeaderMap) {
    let trailers = headers.contains_key(TE)
        && tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    strip_response(headers);
    for name in [HTTP2_SETTINGS, EXPECT] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what belongs to the connection that a response came on.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| !END_TO_END.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    remove_where(headers, |name| name.starts_with("proxy-"));
}

/// Whether a field means nothing, or something else, behind a body (RFC 9110 6.5.1): what frames,
/// routes or vouches for a message has to come before it.
pub(super) fn is_forbidden_in_trailers(name: &HeaderName) -> bool {
    const FORBIDDEN: [HeaderName; 8] = [
        AUTHORIZATION,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_TYPE,
        SET_COOKIE,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    END_TO_END.contains(name)
        || FORBIDDEN.contains(name)
        || *name == KEEP_ALIVE
        || name.as_str().starts_with("proxy-")
}

/// Removes from trailers what may not be in them.
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    let forbidden = trailers.keys().filter(|name| is_forbidden_in_trailers(name));
    for name in forbidden.cloned().collect::<Vec<_>>() {
        trailers.remove(name);
    }
}

/// Removes the fields of these names.
pub(super) fn remove_where(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    if headers.keys().any(|name| goes(name.as_str())) {
        let goes = headers.keys().filter(|name| goes(name.as_str()));
        for name in goes.cloned().collect::<Vec<_>>() {
            headers.remove(name);
        }
    }
}

/// What the proxy knows of a client, as fields of its requests.
#[derive(Debug)]
pub(super) struct ClientFields {
    address: HeaderValue,
    scheme: HeaderValue,
}

impl ClientFields {
    pub(super) fn new(address: IpAddr, tls: bool) -> Self {
        let text = address.to_canonical().to_string();
        Self {
            address: HeaderValue::from_str(&text).expect("an address is visible ASCII"),
            scheme: HeaderValue::from_static(if tls { "https" } else { "http" }),
        }
    }

    /// Overwrites every field by which a client could claim to be another one.
    pub(super) fn set(&self, headers: &mut HeaderMap, authority: &HeaderValue) {
        headers.remove(FORWARDED);
        headers.insert(X_FORWARDED_FOR, self.address.clone());
        headers.insert(X_REAL_IP, self.address.clone());
        headers.insert(X_FORWARDED_PROTO, self.scheme.clone());
        headers.insert(X_FORWARDED_HOST, authority.clone());
    }
}

/// Joins the cookies that HTTP/2 clients send in pieces (RFC 9113 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let Entry::Occupied(entry) = headers.entry(COOKIE) else { return };
    if entry.iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = entry.iter().map(HeaderValue::as_bytes).collect();
    let joined = pieces.join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

/// Leaves one Content-Length of a request, however often it was said, and none where the body's
/// length is not known.
pub(super) fn plain_length(headers: &mut HeaderMap, length: Option<u64>) {
    if let Entry::Occupied(mut entry) = headers.entry(CONTENT_LENGTH) {
        match length {
            Some(length) => {
                if entry.iter().nth(1).is_some() {
                    entry.insert(HeaderValue::from(length));
                }
            }
            None => {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    /// The names, sorted.
    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn fields_of_the_connection_stay_on_it() {
        let mut headers = headers(&[
            ("connection", "close, X-Foo"),
            ("connection", "keep-alive"),
            ("x-foo", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authorization", "Basic x"),
            ("proxy-anything", "x"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("expect", "100-continue"),
            ("x-bar", "2"),
        ]);
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["x-bar"]);
    }

    #[test]
    fn a_client_cannot_strip_what_the_proxy_vouches_for() {
        let mut headers = headers(&[
            ("connection", "x-forwarded-for, host, content-length"),
            ("host", "a"),
            ("content-length", "3"),
            ("x-forwarded-for", "1.2.3.4"),
        ]);
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["content-length", "host", "x-forwarded-for"]);
    }

    #[test]
    fn trailers_stay_welcome() {
        let mut headers = headers(&[("te", "gzip;q=0.5, trailers"), ("connection", "te")]);
        strip_request(&mut headers);
        assert_eq!(headers[TE], "trailers");
    }

    #[test]
    fn a_spoofed_client_is_overwritten() {
        let mut headers = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ]);
        let client = ClientFields::new(IpAddr::from([10, 0, 0, 1]), true);
        client.set(&mut headers, &HeaderValue::from_static("a.example"));
        assert_eq!(headers.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>(), ["10.0.0.1"]);
        assert_eq!(headers[X_REAL_IP], "10.0.0.1");
        assert_eq!(headers[X_FORWARDED_PROTO], "https");
        assert_eq!(headers[X_FORWARDED_HOST], "a.example");
        assert!(!headers.contains_key(FORWARDED));
    }

    #[test]
    fn cookies_in_pieces_become_one() {
        let mut headers = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn websocket_is_the_only_upgrade() {
        let ask = |upgrade, connection| {
            wants_websocket(&headers(&[("upgrade", upgrade), ("connection", connection)]))
        };
        assert!(ask("WebSocket", "keep-alive, Upgrade"));
        assert!(!ask("websocket", "keep-alive"));
        assert!(!ask("h2c", "upgrade"));
        assert!(!ask("websocket, h2c", "upgrade"));
    }

    #[test]
    fn a_length_is_said_once_or_not_at_all() {
        let lengths = |fields: &[(&'static str, &'static str)], length| {
            let mut headers = headers(fields);
            plain_length(&mut headers, length);
            headers.get_all(CONTENT_LENGTH).iter().cloned().collect::<Vec<_>>()
        };
        let field = ("content-length", "10");
        assert_eq!(lengths(&[field], Some(10)), ["10"]);
        assert_eq!(lengths(&[field, field], Some(10)), ["10"]);
        assert_eq!(lengths(&[field, field], None), [""; 0]);
    }
}
