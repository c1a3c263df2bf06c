//! Fields that belong to one connection, or that frame a message.

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, EXPIRES,
    Entry, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, MAX_FORWARDS, PRAGMA,
    RANGE, RETRY_AFTER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
    WWW_AUTHENTICATE,
};

use super::forwarded::{
    X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO, X_REAL_IP,
};
use super::present::Present;

/// Fields that trailers may have, whoever sends them.
pub(super) const MAX_TRAILERS: usize = 32;

/// Bytes that the names and values of a request's trailers may have: they are kept, and written out, for as
/// long as its endpoint takes.
const MAX_TRAILER_BYTES: usize = 8 * 1024;

/// What a field costs beside its name and value, in the map that holds it. RFC 9113 counts 32 bytes.
pub(super) const FIELD_BYTES: usize = 128;

/// Fields that mean the whole way, whatever `Connection` says: a client must not be able to strip
/// what the proxy vouches for.
const END_TO_END: [HeaderName; 8] = [
    HOST,
    CONTENT_LENGTH,
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    X_FORWARDED_PORT,
    X_REAL_IP,
];

/// What `Connection` says of the connection itself, or of fields that are read as such.
const OF_THE_CONNECTION: [&str; 6] =
    ["close", "keep-alive", "upgrade", "te", "transfer-encoding", "connection"];

/// Whether `Connection` says that `Upgrade` is meant (RFC 9110 7.8).
pub(super) fn names_upgrade(headers: &HeaderMap) -> bool {
    tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// The words of a list, over all fields of the name. One that is no text does not hide the others.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Whether a backend that reads `_` for `-` would take a field of this name for one that frames the
/// message, belongs to its connection, or is vouched for by the proxy.
pub(super) fn is_disguised(name: &str) -> bool {
    name.contains('_') && Present::named(&name.replace('_', "-")) != Present::default()
}

/// Removes the fields that `Connection` names, before anything is decided by them: they go no further
/// (RFC 9110 7.6.1). Their names go with them, so that what the proxy, a filter or a service sets by the
/// same name later is not the client's to remove.
pub(super) fn strip_named(headers: &mut HeaderMap, present: Present) {
    if !present.any(Present::CONNECTION) || only_says_how_it_ends(headers) {
        return;
    }
    let is_kept = |token: &[u8]| {
        OF_THE_CONNECTION.iter().any(|known| token.eq_ignore_ascii_case(known.as_bytes()))
    };
    let kept: Vec<&[u8]> = tokens(headers, &CONNECTION).filter(|token| is_kept(token)).collect();
    let kept = HeaderValue::from_bytes(&kept.join(&b", "[..]));
    remove_named(headers, |name| !is_kept(name.as_str().as_bytes()));
    match kept {
        Ok(kept) if !kept.is_empty() => _ = headers.insert(CONNECTION, kept),
        _ => _ = headers.remove(CONNECTION),
    }
}

/// Removes what belongs to the connection that a request came on (RFC 9110 7.6.1), and what the
/// proxy answers itself. `TE` stays where it says that trailers are welcome.
pub(super) fn strip_request(headers: &mut HeaderMap, present: Present) {
    let trailers = present.any(Present::TE)
        && tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
    strip_response(headers, present);
    if present.any(Present::EXPECT) {
        headers.remove(EXPECT);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what belongs to the connection that a response came on.
pub(super) fn strip_response(headers: &mut HeaderMap, present: Present) {
    if present.any(Present::CONNECTION) && only_says_how_it_ends(headers) {
        headers.remove(CONNECTION);
    } else if present.any(Present::CONNECTION) {
        remove_named(headers, |_| true);
        headers.remove(CONNECTION);
    }
    let names = [
        (Present::TE, TE),
        (Present::TRANSFER_ENCODING, TRANSFER_ENCODING),
        (Present::UPGRADE, UPGRADE),
    ];
    for (kind, name) in names {
        if present.any(kind) {
            headers.remove(name);
        }
    }
    if present.any(Present::HOP) {
        remove_where(headers, |name| Present::named(name).any(Present::HOP));
    }
}

/// Removes the fields that `Connection` names and that go, but for those that mean the whole way.
fn remove_named(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !END_TO_END.contains(name) && goes(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Whether `Connection` names no field: the usual case, and a short one.
fn only_says_how_it_ends(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    values.all(|value| {
        value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
    })
}

/// Bytes that fields cost, written out or in the map that holds them.
pub(super) fn cost(fields: &HeaderMap) -> usize {
    text_length(fields) + fields.len() * FIELD_BYTES
}

fn text_length(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Whether the trailers of a request are within what they may have.
pub(super) fn are_short_trailers(trailers: &HeaderMap) -> bool {
    trailers.len() <= MAX_TRAILERS && text_length(trailers) <= MAX_TRAILER_BYTES
}

/// Removes from the trailers of a request what may not be in them. Names with `_` are settled before
/// routes are matched, and trailers come after that.
pub(super) fn strip_request_trailers(trailers: &mut HeaderMap) {
    remove_where(trailers, |name| name.contains('_') || belongs_before_a_body(name));
}

/// Whether a field means nothing, or something else, behind a body (RFC 9110 6.5.1): what frames,
/// routes, guards, describes or vouches for a message has to come before it.
fn belongs_before_a_body(name: &str) -> bool {
    const FORBIDDEN: [HeaderName; 15] = [
        AGE,
        AUTHORIZATION,
        CACHE_CONTROL,
        DATE,
        EXPIRES,
        HOST,
        LOCATION,
        MAX_FORWARDS,
        PRAGMA,
        RANGE,
        RETRY_AFTER,
        SET_COOKIE,
        TRAILER,
        VARY,
        WWW_AUTHENTICATE,
    ];
    Present::named(name) != Present::default()
        || FORBIDDEN.iter().any(|field| field == name)
        || name.starts_with("if-")
        // A digest is what trailers are for.
        || (name.starts_with("content-") && !matches!(name, "content-digest" | "content-md5"))
}

/// Removes from the trailers of a response what may not be in them.
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    remove_where(trailers, belongs_before_a_body);
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
        let present = Present::of(&headers);
        strip_request(&mut headers, present);
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
        let present = Present::of(&headers);
        strip_request(&mut headers, present);
        assert_eq!(names(&headers), ["content-length", "host", "x-forwarded-for"]);
    }

    #[test]
    fn trailers_stay_welcome() {
        let mut headers = headers(&[("te", "gzip;q=0.5, trailers"), ("connection", "te")]);
        let present = Present::of(&headers);
        strip_request(&mut headers, present);
        assert_eq!(headers[TE], "trailers");
    }

    #[test]
    fn cookies_in_pieces_become_one() {
        let mut headers = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
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
