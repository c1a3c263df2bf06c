//! What a request must look like before it is routed, and what routing reads of it.
//!
//! hyper rejects what breaks the framing of HTTP; this is about what a gateway routes by: exactly
//! one host, a target in a form that fits the method, a path that means one thing only.

use std::borrow::Cow;

use gwapi_translate::path;
use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version};

use super::headers;
use super::present::Present;
use super::reply::LocalReply;
use super::upgrades::Upgrades;
use crate::Limits;

/// What to do with header fields whose names hold `_`. Backends that read `_` for `-` would take
/// them for other fields, such as those that the proxy sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderscoreHeaders {
    /// Drop them before matching.
    #[default]
    Drop,
    /// Keep them, but those that would be taken for a field that the proxy itself answers for.
    Keep,
    /// Answer 400.
    Reject,
}

/// The parts of a request that decide where it goes.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// Host and port as the client wrote them, but for an odd port: what matches on `Host` see, and what is
    /// forwarded.
    pub(super) authority: Cow<'a, str>,
    /// Host in the form that the route table reads: lower-case, no port, no trailing dot.
    pub(super) host: Cow<'a, str>,
    /// Path in canonical form; what is matched is what is forwarded (HM-4).
    pub(super) path: Cow<'a, str>,
    /// Query without `?`.
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads the target of a request, or says how to answer one that has none.
    pub(super) fn read(
        head: &'a Parts,
        present: Present,
        limits: &Limits,
        upgrades: &Upgrades,
    ) -> Result<Self, LocalReply> {
        check_method(&head.method)?;
        check_size(head, limits)?;
        check_framing(&head.headers, present, upgrades)?;
        let authority = authority(head)?;
        let (host, plain_port) = host(authority).ok_or(LocalReply::BadRequest("malformed host"))?;
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        if target == "*" && head.method == Method::OPTIONS {
            return Err(LocalReply::Options);
        }
        // RFC 9113 8.3.1: over HTTP/2 there is no other form whose path could be left out.
        if target.starts_with('?')
            && head.uri.scheme().is_none_or(|_| head.version == Version::HTTP_2)
        {
            return Err(LocalReply::BadRequest("malformed path"));
        }
        let path = path::canonical(head.uri.path())
            .map_err(|_| LocalReply::BadRequest("malformed path"))?;
        let authority = match plain_port {
            true => authority.into(),
            false => with_plain_port(authority),
        };
        Ok(Self { authority, host, path, query: head.uri.query() })
    }
}

/// Bytes that the fields of a request over HTTP/2 cost, unpacked; none where it is malformed in a way that
/// the HTTP/2 library lets pass. Such a request is no request, and resets its stream
/// (RFC 9113 8.1.1).
pub(super) fn http2_head_bytes<B>(request: &http::Request<B>) -> Option<usize> {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let part = |length: Option<usize>| length.unwrap_or_default();
    let uri = request.uri();
    let mut bytes = part(uri.path_and_query().map(|target| target.as_str().len()))
        + part(uri.authority().map(|authority| authority.as_str().len()));
    for (name, value) in request.headers() {
        let value = value.as_bytes();
        // RFC 9113 8.2.1: no white space around values. An endpoint would read another value.
        if is_space(value.first()) || is_space(value.last()) {
            return None;
        }
        bytes += name.as_str().len() + value.len() + headers::FIELD_BYTES;
    }
    match request.uri().authority() {
        // RFC 9113 8.3.1: both name the same host.
        Some(authority) => {
            let same = |host: &http::HeaderValue| {
                host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
            };
            request.headers().get_all(HOST).iter().all(same).then_some(bytes)
        }
        // RFC 9113 8.5: a tunnel to nowhere.
        None => (request.method() != Method::CONNECT).then_some(bytes),
    }
}

fn check_method(method: &Method) -> Result<(), LocalReply> {
    // A tunnel to anywhere, and an echo of credentials: a gateway offers neither.
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        return Err(LocalReply::MethodNotAllowed);
    }
    Ok(())
}

fn check_size(head: &Parts, limits: &Limits) -> Result<(), LocalReply> {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = head.uri.authority().map_or(0, |authority| authority.as_str().len());
    if target + authority > limits.max_uri_bytes {
        return Err(LocalReply::UriTooLong);
    }
    // Over HTTP/1 hyper counts; over HTTP/2 nobody does, and a field costs a client one byte.
    if head.headers.len() > limits.max_headers {
        return Err(LocalReply::TooManyHeaders);
    }
    Ok(())
}

fn check_framing(
    headers: &HeaderMap,
    present: Present,
    upgrades: &Upgrades,
) -> Result<(), LocalReply> {
    const FRAMING: Present =
        Present::CONTENT_LENGTH.and(Present::TRANSFER_ENCODING).and(Present::EXPECT);
    if !present.any(FRAMING) {
        return Ok(());
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Err(LocalReply::BadRequest("transfer-encoding must be chunked"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next()
        && !(is_plain_number(length.as_bytes()) && lengths.all(|other| other == length))
    {
        return Err(LocalReply::BadRequest("content-length must be one plain number"));
    }
    // What follows the head of an upgrade is either its body or the new protocol: never both.
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body && upgrades.asked(headers, present).is_some() {
        return Err(LocalReply::BadRequest("an upgrade has no body"));
    }
    let mut expectations = headers.get_all(EXPECT).iter();
    if expectations.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(LocalReply::ExpectationFailed);
    }
    Ok(())
}

/// Whether a length is written as everybody writes it. `05` or `+5` is 5 to us, and may be anything
/// to whoever reads it next.
pub(super) fn is_plain_number(text: &[u8]) -> bool {
    text == b"0"
        || (text.iter().all(u8::is_ascii_digit) && text.first().is_some_and(|first| *first != b'0'))
}

/// Host and port: the target's where it has them (RFC 9112 3.2.2), else those of the one Host.
fn authority(head: &Parts) -> Result<&str, LocalReply> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            Some(host.to_str().map_err(|_| LocalReply::BadRequest("malformed host"))?)
        }
        (None, _) => None,
        (Some(_), Some(_)) => return Err(LocalReply::BadRequest("more than one host")),
    };
    let http2 = head.version == Version::HTTP_2;
    match head.uri.authority().map(Authority::as_str) {
        Some(authority) if http2 => {
            // RFC 9113 8.3.1: both mean the same, or the request is malformed.
            if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
                return Err(LocalReply::BadRequest("host and :authority differ"));
            }
            Ok(authority)
        }
        Some(authority) => {
            if !matches!(head.uri.scheme_str(), Some("http" | "https")) {
                return Err(LocalReply::BadRequest("malformed request target"));
            }
            match host {
                // RFC 9112 3.2: it does not count, and has to be one all the same.
                Some(host) if !is_authority(host) => Err(LocalReply::BadRequest("malformed host")),
                None if head.version == Version::HTTP_11 => Err(LocalReply::BadRequest("no host")),
                _ => Ok(authority),
            }
        }
        None => host.ok_or(LocalReply::BadRequest("no host")),
    }
}

/// The host of `uri-host [ ":" port ]`, in the form that the table reads (LI-1), and whether its port is
/// a plain one; `None` where it is none.
fn host(authority: &str) -> Option<(Cow<'_, str>, bool)> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (
                &authority[..address.len() + 2],
                rest.strip_prefix(':').or(rest.is_empty().then_some(""))?,
            )
        }
        None => match authority.bytes().position(|byte| byte == b':') {
            Some(colon) => (&authority[..colon], &authority[colon + 1..]),
            None => (authority, ""),
        },
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (!port.is_empty() && port.parse::<u16>().is_err()) {
        return None;
    }
    let plain_port = host.len() == authority.len() || !matches!(port.as_bytes(), [] | [b'0', ..]);
    let host = host.strip_suffix('.').unwrap_or(host);
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if host.is_empty() || !(host.starts_with('[') || host.bytes().all(name)) {
        return None;
    }
    let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    };
    Some((host, plain_port))
}

/// Host and port with the port as everybody writes it, or without one where it is empty: the next to
/// read them may not know that `00080` is 80.
#[cold]
fn with_plain_port(authority: &str) -> Cow<'_, str> {
    match authority.rsplit_once(':') {
        Some((host, "")) => host.into(),
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) => format!("{host}:{port}").into(),
            Err(_) => authority.into(),
        },
        None => authority.into(),
    }
}

/// Does with fields whose names hold an underscore what the policy says.
pub(super) fn settle_underscores(
    headers: &mut HeaderMap,
    present: Present,
    policy: UnderscoreHeaders,
) -> Result<(), LocalReply> {
    if !present.any(Present::UNDERSCORE) {
        return Ok(());
    }
    match policy {
        UnderscoreHeaders::Drop => headers::remove_where(headers, |name| name.contains('_')),
        UnderscoreHeaders::Keep => headers::remove_where(headers, headers::is_disguised),
        UnderscoreHeaders::Reject => {
            return Err(LocalReply::BadRequest("the name of a header field holds `_`"));
        }
    }
    Ok(())
}

/// Whether a text is a host with a port or without.
pub(super) fn is_authority(text: &str) -> bool {
    host(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(request: http::request::Builder) -> Parts {
        request.body(()).expect("a request").into_parts().0
    }

    fn get() -> http::request::Builder {
        http::Request::get("/x?q").header("host", "a.example")
    }

    fn read(head: &Parts) -> Result<Target<'_>, LocalReply> {
        let (limits, upgrades) = (Limits::default(), Upgrades::default());
        Target::read(head, Present::of(&head.headers), &limits, &upgrades)
    }

    fn reply(request: http::request::Builder) -> LocalReply {
        read(&head(request)).expect_err("a reply")
    }

    #[test]
    fn hosts_are_read_as_the_table_wants_them() {
        for (text, expected) in [
            ("a.example", Some("a.example")),
            ("A.Example.:8080", Some("a.example")),
            ("a.example:", Some("a.example")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("127.0.0.1:1", Some("127.0.0.1")),
            ("", None),
            (".", None),
            (":80", None),
            ("a/evil", None),
            ("u@a", None),
            ("a, b", None),
            ("a:99999", None),
            ("a:b", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[a]", None),
            ("a b", None),
        ] {
            assert_eq!(host(text).map(|(host, _)| host).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn ports_are_written_as_everybody_writes_them() {
        for (text, plain) in [
            ("a:", "a"),
            ("a:00080", "a:80"),
            ("a:080", "a:80"),
            ("[::1]:", "[::1]"),
            ("[::1]:00080", "[::1]:80"),
            ("a:0", "a:0"),
        ] {
            assert!(host(text).is_some_and(|(_, plain)| !plain), "{text}");
            assert_eq!(with_plain_port(text), plain, "{text}");
        }
        for text in ["a", "a:80", "[::1]", "[::1]:80", "a.", "A.:8080"] {
            assert!(host(text).is_some_and(|(_, plain)| plain), "{text}");
        }
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        let none = http::Request::get("/");
        assert_eq!(reply(none), LocalReply::BadRequest("no host"));
        assert_eq!(reply(get().header("host", "b")), LocalReply::BadRequest("more than one host"));
    }

    #[test]
    fn an_absolute_target_wins_over_the_host() {
        let head = head(get().uri("http://B.example:81/p"));
        let target = read(&head).expect("a target");
        assert_eq!((&*target.authority, &*target.host), ("B.example:81", "b.example"));
        let ftp = get().uri("ftp://a.example/");
        assert_eq!(reply(ftp), LocalReply::BadRequest("malformed request target"));
        assert_eq!(
            reply(get().uri("a.example:80")),
            LocalReply::BadRequest("malformed request target")
        );
    }

    #[test]
    fn over_http2_host_and_authority_must_agree() {
        let request = |host: &str| {
            let request = http::Request::get("https://a.example/").version(Version::HTTP_2);
            request.header("host", host)
        };
        assert!(read(&head(request("A.example"))).is_ok());
        assert_eq!(reply(request("evil")), LocalReply::BadRequest("host and :authority differ"));
    }

    #[test]
    fn only_options_may_mean_the_proxy_itself() {
        assert_eq!(reply(get().uri("*").method("OPTIONS")), LocalReply::Options);
        assert_eq!(reply(get().uri("*")), LocalReply::BadRequest("malformed path"));
        assert_eq!(reply(get().method("TRACE")), LocalReply::MethodNotAllowed);
        assert_eq!(reply(get().method("CONNECT")), LocalReply::MethodNotAllowed);
    }

    #[test]
    fn framing_and_expectations_are_plain() {
        let te = |value: &str| get().header("transfer-encoding", value);
        assert!(read(&head(te("Chunked"))).is_ok());
        let refused = LocalReply::BadRequest("transfer-encoding must be chunked");
        assert_eq!(reply(te("gzip, chunked")), refused);
        assert_eq!(reply(te("chunked").header("transfer-encoding", "chunked")), refused);
        let length = |text: &str| get().header("content-length", text);
        for plain in ["0", "5", "10"] {
            let twice = length(plain).header("content-length", plain);
            assert!(read(&head(twice)).is_ok(), "{plain:?}");
        }
        let refused = LocalReply::BadRequest("content-length must be one plain number");
        for odd in ["", "05", "00", "+5", "5, 5", "0x5"] {
            assert_eq!(reply(length(odd)), refused, "{odd:?}");
        }
        assert_eq!(reply(length("5").header("content-length", "05")), refused);
        assert_eq!(reply(length("5").header("content-length", "6")), refused);
        assert_eq!(reply(get().header("expect", "200-ok")), LocalReply::ExpectationFailed);
    }

    #[test]
    fn limits_hold_on_targets_and_fields() {
        let long = format!("/{}", "a".repeat(20_000));
        assert_eq!(reply(get().uri(long)), LocalReply::UriTooLong);
        let many = (0..100).fold(get(), |request, n| request.header(format!("x-{n}"), "1"));
        assert_eq!(reply(many), LocalReply::TooManyHeaders);
    }

    #[test]
    fn all_of_a_head_counts_over_http2() {
        let request = http::Request::get("http://a.example/path?query").header("x", "value");
        let bytes = http2_head_bytes(&request.body(()).expect("a request"));
        let expected =
            "a.example".len() + "/path?query".len() + "xvalue".len() + headers::FIELD_BYTES;
        assert_eq!(bytes, Some(expected));
    }

    #[test]
    fn fields_with_underscores_are_dropped_kept_or_refused() {
        let fields = || {
            let request = get().header("x_user", "root").header("x-user", "me");
            let request =
                request.header("x_forwarded-for", "6.6.6.6").header("x_real_ip", "6.6.6.6");
            let request = request.header("content_length", "1").header("proxy_x", "1");
            let request = request.header("client_cert", ":x:").header("client-cert_chain", ":x:");
            head(request).headers
        };
        let names = |policy| {
            let mut headers = fields();
            settle_underscores(&mut headers, Present::UNDERSCORE, policy)
                .expect("they are not refused");
            let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(UnderscoreHeaders::Drop), ["host", "x-user"]);
        assert_eq!(names(UnderscoreHeaders::Keep), ["host", "x-user", "x_user"]);
        let refused =
            settle_underscores(&mut fields(), Present::UNDERSCORE, UnderscoreHeaders::Reject);
        assert_eq!(refused, Err(LocalReply::BadRequest("the name of a header field holds `_`")));
        let mut plain = head(get()).headers;
        let present = Present::of(&plain);
        assert_eq!(settle_underscores(&mut plain, present, UnderscoreHeaders::Reject), Ok(()));
    }
}
