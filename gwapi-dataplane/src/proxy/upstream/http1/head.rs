//! Heads of responses: parsed by httparse, judged here.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName,
    HeaderValue, SERVER, TRANSFER_ENCODING, VARY,
};
use http::{Method, StatusCode};
use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};

use super::chunked::ChunkedReader;
use super::take_front;
use crate::Limits;
use crate::proxy::headers;
use crate::proxy::present::Present;
use crate::proxy::request::is_plain_number;

/// The most fields that [`Limits::max_response_headers`] can allow: they are read into a table of this
/// size.
const MAX_FIELDS: usize = 256;

/// A head or trailers that HTTP does not allow, or that are more than the limits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::upstream) struct Malformed;

/// How far bytes were searched for the end of a head. One that comes in drips is not searched from its
/// start with each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Searched(usize);

/// The head of a response, and what it says of the rest.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) present: Present,
    pub(super) framing: Framing,
    /// Whether the connection can take another request after the body.
    pub(super) keep_alive: bool,
}

/// How the end of a body is found (RFC 9112 6.3).
#[derive(Debug)]
pub(super) enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked(ChunkedReader),
    /// Whatever comes until the endpoint closes.
    UntilClose,
}

/// Takes the bytes of the head of a response out of `input`; `None` where more of it is needed.
pub(super) fn take(
    input: &mut BytesMut,
    searched: &mut Searched,
    limits: &Limits,
) -> Result<Option<Bytes>, Malformed> {
    const START: &[u8] = b"HTTP/1.";
    // What is no HTTP at all may never have an end to wait for.
    let known = input.len().min(START.len());
    if input[..known] != START[..known] {
        return Err(Malformed);
    }
    take_head(input, searched, limits.max_response_head_bytes)
}

/// Reads the head of a response to a request with this method, its fields into `map`, which is empty.
pub(super) fn response(
    head: &Bytes,
    map: HeaderMap,
    method: &Method,
    limits: &Limits,
) -> Result<ResponseHead, Malformed> {
    let mut table = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let table = &mut table[..limits.max_response_headers.min(MAX_FIELDS)];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut response, head, table);
    if parsed != Ok(Status::Complete(head.len())) {
        return Err(Malformed);
    }
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
    let http11 = response.version == Some(1);
    let Fields { mut headers, present, connection } = fields(head, response.headers, map)?;
    let framing = framing(&mut headers, present, status, method, http11, limits)?;
    let keep_alive = connection.keeps_alive(http11)
        && !matches!(framing, Framing::UntilClose)
        && !promises_what_it_cannot_have(&headers, present, status);
    Ok(ResponseHead { status, headers, present, framing, keep_alive })
}

/// Takes the trailers of a body out of `input`, the empty line at their end included; `None` where
/// more is needed.
pub(super) fn trailers(
    input: &mut BytesMut,
    searched: &mut Searched,
    max_bytes: usize,
) -> Result<Option<HeaderMap>, Malformed> {
    match **input {
        [b'\r', b'\n', ..] => {
            input.advance(2);
            return Ok(Some(HeaderMap::new()));
        }
        [] | [b'\r'] => return Ok(None),
        _ => {}
    }
    let Some(text) = take_head(input, searched, max_bytes)? else { return Ok(None) };
    let mut table = [EMPTY_HEADER; headers::MAX_TRAILERS];
    match httparse::parse_headers(&text, &mut table) {
        Ok(Status::Complete((length, headers))) if length == text.len() => {
            let mut trailers = fields(&text, headers, HeaderMap::new())?.headers;
            headers::strip_trailers(&mut trailers);
            Ok(Some(trailers))
        }
        _ => Err(Malformed),
    }
}

/// Takes everything up to the first empty line.
fn take_head(
    input: &mut BytesMut,
    searched: &mut Searched,
    max_bytes: usize,
) -> Result<Option<Bytes>, Malformed> {
    // The last two bytes may be the beginning of the end.
    let from = searched.0.saturating_sub(2);
    let mut breaks = memchr::memchr_iter(b'\n', &input[from..]).map(|at| from + at);
    let end = breaks.find_map(|at| match input[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    });
    searched.0 = if end.is_some() { 0 } else { input.len() };
    match end {
        Some(end) if end <= max_bytes => Ok(Some(take_front(input, end))),
        None if input.len() < max_bytes => Ok(None),
        _ => Err(Malformed),
    }
}

/// The name of a field. What nearly every response has is told by how it is mostly written.
fn name(written: &[u8]) -> Result<HeaderName, Malformed> {
    Ok(match written {
        b"Date" | b"date" => DATE,
        b"Server" | b"server" => SERVER,
        b"Content-Type" | b"content-type" => CONTENT_TYPE,
        b"Content-Length" | b"content-length" => CONTENT_LENGTH,
        b"Connection" | b"connection" => CONNECTION,
        b"Transfer-Encoding" | b"transfer-encoding" => TRANSFER_ENCODING,
        b"Cache-Control" | b"cache-control" => CACHE_CONTROL,
        b"Vary" | b"vary" => VARY,
        b"ETag" | b"Etag" | b"etag" => ETAG,
        _ => HeaderName::from_bytes(written).map_err(|_| Malformed)?,
    })
}

/// The fields of a head.
struct Fields {
    headers: HeaderMap,
    /// Which kinds of them there are.
    present: Present,
    connection: Connection,
}

/// What `Connection` says of the connection itself.
#[derive(Clone, Copy, Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
}

impl Connection {
    /// Takes in a value of the field; whether it says anything else, such as the name of a field.
    fn says_more(&mut self, value: &[u8]) -> bool {
        let mut more = false;
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else {
                more = true;
            }
        }
        more
    }

    fn keeps_alive(self, http11: bool) -> bool {
        !self.close && (http11 || self.keep_alive)
    }
}

/// The fields of a head, whose values share its bytes, in a map that was empty. `Connection` is left out
/// where nobody else has to know of it.
fn fields(
    head: &Bytes,
    parsed: &[Header<'_>],
    mut headers: HeaderMap,
) -> Result<Fields, Malformed> {
    headers.reserve(parsed.len());
    let (mut present, mut connection) = (Present::default(), Connection::default());
    for field in parsed {
        let name = name(field.name.as_bytes())?;
        let kind = Present::named(name.as_str());
        if kind == Present::CONNECTION && !connection.says_more(field.value) {
            continue;
        }
        present = present.and(kind);
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value));
        headers.append(name, value.map_err(|_| Malformed)?);
    }
    Ok(Fields { headers, present, connection })
}

fn framing(
    headers: &mut HeaderMap,
    present: Present,
    status: StatusCode,
    method: &Method,
    http11: bool,
    limits: &Limits,
) -> Result<Framing, Malformed> {
    let chunked = present.any(Present::TRANSFER_ENCODING) && is_chunked(headers, http11)?;
    let length = if present.any(Present::CONTENT_LENGTH) { length(headers)? } else { None };
    if chunked && length.is_some() {
        // Two ends: what comes after the first one may be taken for another response.
        return Err(Malformed);
    }
    Ok(match length {
        _ if never_has_a_body(method, status) => Framing::Length(0),
        Some(length) => Framing::Length(length),
        None if chunked => Framing::Chunked(ChunkedReader::new(limits.max_response_head_bytes)),
        None => Framing::UntilClose,
    })
}

/// Whether a response to this method, with this status, has no body whatever its fields say
/// (RFC 9110 6.4.1).
pub(in crate::proxy::upstream) fn never_has_a_body(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether a response that never has a body says that it has one (RFC 9110 8.6). Its endpoint may send
/// that body after all, and late: the next request would take it for its answer. Responses to HEAD and
/// of status 304 say rightly what they would have.
fn promises_what_it_cannot_have(headers: &HeaderMap, present: Present, status: StatusCode) -> bool {
    let never = status.is_informational() || status == StatusCode::NO_CONTENT;
    never
        && (present.any(Present::TRANSFER_ENCODING)
            || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0"))
}

/// Whether a body is in chunks. No other coding is understood, and HTTP/1.0 has none.
fn is_chunked(headers: &HeaderMap, http11: bool) -> Result<bool, Malformed> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(false) };
    let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    (chunked && codings.next().is_none() && http11).then_some(true).ok_or(Malformed)
}

/// The one length that all fields agree on, written as everybody writes it. It is said once from here
/// on.
pub(in crate::proxy::upstream) fn length(
    headers: &mut HeaderMap,
) -> Result<Option<u64>, Malformed> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    if !is_plain_number(first.as_bytes()) {
        return Err(Malformed);
    }
    let number = first.to_str().ok().and_then(|text| text.parse().ok()).ok_or(Malformed)?;
    if let Some(second) = lengths.next() {
        if second != first || lengths.any(|other| other != first) {
            return Err(Malformed);
        }
        let first = first.clone();
        headers.insert(CONTENT_LENGTH, first);
    }
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes and reads a head.
    fn begin(input: &mut BytesMut, method: &Method) -> Result<Option<ResponseHead>, Malformed> {
        let limits = Limits::default();
        let head = take(input, &mut Searched::default(), &limits)?;
        head.map(|head| response(&head, HeaderMap::new(), method, &limits)).transpose()
    }

    fn read(text: &str) -> Result<Option<ResponseHead>, Malformed> {
        begin(&mut BytesMut::from(text), &Method::GET)
    }

    fn whole(text: &str) -> ResponseHead {
        read(text).expect("it is well formed").expect("it is whole")
    }

    #[test]
    fn fields_are_read_and_the_body_is_left() {
        let text =
            "HTTP/1.1 200 OK\r\nServer: x\r\nx-a: 1\r\nX-A: 2\r\ncontent-length: 2\r\n\r\nok";
        let mut input = BytesMut::from(text);
        let head = begin(&mut input, &Method::GET);
        let head = head.expect("it is well formed").expect("it is whole");
        assert_eq!((head.status, head.keep_alive), (StatusCode::OK, true));
        assert_eq!(head.headers["server"], "x");
        assert_eq!(head.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(matches!(head.framing, Framing::Length(2)));
        assert_eq!(input, "ok");
    }

    #[test]
    fn a_head_in_parts_is_waited_for() {
        let text = "HTTP/1.1 200 OK\r\nx: y\r\n\r\n";
        for end in 0..text.len() {
            assert!(read(&text[..end]).expect("it is well formed so far").is_none(), "{end}");
        }
        assert!(matches!(whole(text).framing, Framing::UntilClose));
    }

    #[test]
    fn a_head_in_drips_is_searched_once() {
        for end in ["\n\n", "\r\n\r\n", "\n\r\n", "\r\n\n"] {
            let text = format!("HTTP/1.1 200 OK\r\nx: y{end}");
            let (mut input, mut searched) = (BytesMut::new(), Searched::default());
            for (position, byte) in text.bytes().enumerate() {
                input.extend_from_slice(&[byte]);
                let head = take_head(&mut input, &mut searched, 1024).expect("it is not too long");
                let whole = position + 1 == text.len();
                assert_eq!(head.is_some(), whole, "{end:?} {position}");
                assert_eq!(searched.0, if whole { 0 } else { position + 1 });
            }
            assert!(input.is_empty());
        }
    }

    #[test]
    fn names_are_the_same_however_they_are_written() {
        for known in [
            DATE,
            SERVER,
            CONTENT_TYPE,
            CONTENT_LENGTH,
            CONNECTION,
            TRANSFER_ENCODING,
            CACHE_CONTROL,
            VARY,
            ETAG,
            HeaderName::from_static("x-other"),
        ] {
            let lower = known.as_str().to_owned();
            let mut title = lower.clone().into_bytes();
            for at in 0..title.len() {
                if at == 0 || title[at - 1] == b'-' {
                    title[at].make_ascii_uppercase();
                }
            }
            for written in [lower.as_bytes(), &title, lower.to_uppercase().as_bytes()] {
                assert_eq!(name(written), Ok(known.clone()));
            }
        }
        assert_eq!(name(b"ETag"), Ok(ETAG));
        assert_eq!(name(b"a b"), Err(Malformed));
    }

    #[test]
    fn what_is_odd_is_malformed() {
        let many: String = (0..300).map(|n| format!("x-{n}: 1\r\n")).collect();
        let long = format!("x: {}", "y".repeat(100_000));
        for fields in [
            "content-length: 1\r\ncontent-length: 2",
            "content-length: 1, 1",
            "content-length: +2",
            "content-length: -2",
            "content-length: 0x2",
            "content-length: 02",
            "content-length: 00",
            "content-length:",
            "content-length: 99999999999999999999",
            "content-length: 2\r\ntransfer-encoding: chunked",
            "transfer-encoding: gzip",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: xchunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "x: a\r\n folded",
            "x : a",
            ": a",
            "no colon",
            "x: a\rb",
            "x: a\0b",
            many.trim_end(),
            &long,
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert_eq!(read(&text).map(drop), Err(Malformed), "{fields:?}");
        }
        for line in
            ["HTTP/1.1 099 x", "HTTP/1.1 20 x", "HTTP/2.0 200 OK", "hello", "HTTP/1.1 200 a\0b"]
        {
            assert_eq!(read(&format!("{line}\r\n\r\n")).map(drop), Err(Malformed), "{line:?}");
        }
        let old = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(read(old).map(drop), Err(Malformed));
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        let framing = |status: &str, method: Method| {
            let text = format!("HTTP/1.1 {status} x\r\ncontent-length: 5\r\n\r\n");
            let head = begin(&mut BytesMut::from(&*text), &method);
            head.expect("it is well formed").expect("it is whole").framing
        };
        for (status, method) in [
            ("200", Method::HEAD),
            ("204", Method::GET),
            ("304", Method::GET),
            ("103", Method::GET),
        ] {
            assert!(matches!(framing(status, method), Framing::Length(0)), "{status}");
        }
        assert!(matches!(framing("200", Method::GET), Framing::Length(5)));
    }

    #[test]
    fn connections_are_kept_as_their_version_says() {
        let keeps = |version: &str, fields: &str| {
            whole(&format!("HTTP/{version} 200 OK\r\ncontent-length: 0\r\n{fields}\r\n")).keep_alive
        };
        assert!(keeps("1.1", ""));
        assert!(!keeps("1.1", "connection: x, Close\r\n"));
        assert!(!keeps("1.0", ""));
        assert!(keeps("1.0", "connection: Keep-Alive\r\n"));
        assert!(!whole("HTTP/1.1 200 OK\r\n\r\n").keep_alive, "its end is that of the connection");
        for (status, fields, kept) in [
            ("204", "", true),
            ("204", "content-length: 0\r\n", true),
            ("204", "content-length: 5\r\n", false),
            ("204", "transfer-encoding: chunked\r\n", false),
            ("103", "content-length: 5\r\n", false),
            ("304", "content-length: 5\r\n", true),
        ] {
            let head = whole(&format!("HTTP/1.1 {status} x\r\n{fields}\r\n"));
            assert_eq!(head.keep_alive, kept, "{status} {fields:?}");
        }
    }
}
