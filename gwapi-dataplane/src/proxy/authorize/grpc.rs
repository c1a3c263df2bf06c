//! Services that speak Envoy's `ext_authz` (EA-3).
//!
//! One message goes each way, so a client of gRPC is no more than a request over HTTP/2 with five bytes
//! before its message, on the connections that every backend has.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use ::http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TE,
};
use ::http::{Method, Request, StatusCode, Uri, Version};
use bytes::{BufMut, BytesMut};
use gwapi_translate::ir::BackendProtocol;
use hyper::body::Bytes;
use prost::Message as _;
use tokio::time::Instant;

use super::answer::{
    Added, Consent, Denial, Failed, Put, Relayed, is_changeable, is_relayed, read_up,
};
use super::check::{
    Address, AttributeContext, AttributeRequest, CheckRequest, CheckResponse, DeniedHttpResponse,
    Header, HeaderValueOption, HttpRequest, HttpResponse, OkHttpResponse, Peer, SocketAddress,
    Timestamp,
};
use super::{Question, body};
use crate::proxy::core_state::CoreBackend;
use crate::proxy::upstream::{Answer, Message};
use crate::proxy::worker::Worker;

/// The one method of the service.
const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The status of gRPC for success.
const OK: &str = "0";

/// The call that asks; none where it cannot be made.
pub(super) fn message(
    service: &CoreBackend,
    question: Question<'_>,
    told: Option<&[HeaderName]>,
    deadline: Instant,
) -> Option<Message> {
    if service.protocol() != BackendProtocol::H2c {
        return None;
    }
    let check = CheckRequest { attributes: Some(attributes(question, told)) };
    let length = check.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).ok()?);
    check.encode(&mut framed).ok()?;
    let scheme = if service.entry.tls.is_some() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(authority(service)).path_and_query(METHOD);
    let mut request = Box::new(Request::new(body(framed.freeze())));
    *request.uri_mut() = uri.build().ok()?;
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    let fields = request.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(TE, HeaderValue::from_static("trailers"));
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    // Eight digits at most; nobody waits for more than a day.
    let timeout = format!("{}m", left.min(99_999_999));
    fields.insert("grpc-timeout", HeaderValue::try_from(timeout).ok()?);
    Some(Message::Http2(request))
}

/// The service's name in its cluster: endpoints have no other.
fn authority(service: &CoreBackend) -> String {
    match service.key().service_port() {
        Some((namespace, name, port)) => format!("{name}.{namespace}.svc:{port}"),
        None => "authorization".to_owned(),
    }
}

fn attributes(question: Question<'_>, told: Option<&[HeaderName]>) -> AttributeContext {
    let connection = question.connection;
    // A client that others speak for has an address, and no port that anybody knows.
    let is_peer = question.client.address == connection.peer.ip().to_canonical();
    let port = if is_peer { connection.peer.port() } else { 0 };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    AttributeContext {
        source: Some(peer(question.client.address, port)),
        destination: Some(of_socket(connection.socket)),
        request: Some(AttributeRequest {
            time: Some(Timestamp {
                seconds: i64::try_from(now.as_secs()).unwrap_or_default(),
                nanos: i32::try_from(now.subsec_nanos()).unwrap_or_default(),
            }),
            http: Some(http_request(question, told)),
        }),
    }
}

fn of_socket(socket: SocketAddr) -> Peer {
    peer(socket.ip().to_canonical(), socket.port())
}

fn peer(address: IpAddr, port: u16) -> Peer {
    let socket = SocketAddress { address: address.to_string(), port_value: port.into() };
    Peer { address: Some(Address { socket_address: Some(socket) }) }
}

fn http_request(question: Question<'_>, told: Option<&[HeaderName]>) -> HttpRequest {
    let Question { connection, head, headers, authority, target, body, .. } = question;
    let length = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    let size = body.map_or(length, |body| i64::try_from(body.len()).ok());
    let text = body.map(|body| std::str::from_utf8(body).map(str::to_owned));
    let (text, raw_body) = match (text, body) {
        (Some(Ok(text)), _) => (text, Bytes::new()),
        (Some(Err(_)), Some(body)) => (String::new(), body.clone()),
        _ => (String::new(), Bytes::new()),
    };
    let scheme = if connection.tls.is_some() { "https" } else { "http" };
    let host = lossy(authority.as_bytes());
    let mut request = HttpRequest {
        method: head.method.as_str().to_owned(),
        path: target.as_str().to_owned(),
        host: host.clone(),
        scheme: scheme.to_owned(),
        size: size.unwrap_or(-1),
        protocol: match head.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        }
        .to_owned(),
        body: text,
        raw_body,
        ..HttpRequest::default()
    };
    match told {
        Some(names) => {
            for name in names.iter().filter(|name| headers.contains_key(*name)) {
                request.headers.insert(name.as_str().to_owned(), joined(headers, name));
            }
        }
        None => {
            // As Envoy has it, for which these are fields as well.
            let pseudo = [
                (":authority", host),
                (":method", request.method.clone()),
                (":path", request.path.clone()),
                (":scheme", request.scheme.clone()),
            ];
            request.headers.extend(pseudo.map(|(name, value)| (name.to_owned(), value)));
            for name in headers.keys().filter(|name| **name != HOST) {
                request.headers.insert(name.as_str().to_owned(), joined(headers, name));
            }
        }
    }
    request
}

/// All values of a field, as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<String> =
        headers.get_all(name).iter().map(|value| lossy(value.as_bytes())).collect();
    values.join(if *name == COOKIE { "; " } else { "," })
}

/// Texts of protocol buffers are UTF-8; what is none cannot be told.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads the answer: consent is a status of 0 and nothing that speaks against it.
pub(super) async fn read(answer: Answer, worker: &Worker) -> Result<Consent, Denial> {
    let (response, trailers) = read_up(answer, worker).await?;
    let (head, body) = response.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if head.status != StatusCode::OK
        || !content_type.is_some_and(|it| it.starts_with(b"application/grpc"))
        || trailers.as_ref().and_then(|it| it.get("grpc-status")).is_none_or(|it| it != OK)
    {
        return Err(Failed::Invalid.into());
    }
    let response = unframed(&body).ok_or(Failed::Invalid)?;
    let status = response.status.as_ref().map(|status| status.code);
    match (status, response.http_response) {
        // Nothing at all is no consent, though 0 is what nothing stands for.
        (None, None) => Err(Failed::Invalid.into()),
        (_, Some(HttpResponse::Denied(denied))) => Err(self::denied(denied).into()),
        (None | Some(0), Some(HttpResponse::Ok(ok))) => Ok(consent(ok)?),
        (Some(0), None) => Ok(Consent::default()),
        (Some(_), _) => Err(self::denied(DeniedHttpResponse::default()).into()),
    }
}

/// The one message of an answer.
fn unframed(body: &Bytes) -> Option<CheckResponse> {
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    let is_whole = prefix[0] == 0 && usize::try_from(length) == Ok(message.len());
    is_whole.then(|| CheckResponse::decode(message).ok()).flatten()
}

impl From<Relayed> for Denial {
    fn from(relayed: Relayed) -> Self {
        Self::Relayed(Box::new(relayed))
    }
}

/// What the client gets: 403 where the service says no status that is one of an answer.
fn denied(denied: DeniedHttpResponse) -> Relayed {
    let code = denied.status.map(|status| status.code).unwrap_or_default();
    let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| !status.is_informational() && status.as_u16() < 600);
    // However a field is to be put: among those of an answer that begins with it, each adds to the others.
    let fields = denied.headers.into_iter().filter_map(|option| named(option.header?));
    let headers = fields.filter(|(name, _)| is_relayed(name)).collect();
    let status = status.unwrap_or(StatusCode::FORBIDDEN);
    Relayed { status, headers, body: denied.body.into() }
}

/// What the request goes on with. A service that wants what cannot be done must not be taken to have its
/// way.
fn consent(ok: OkHttpResponse) -> Result<Consent, Failed> {
    if !ok.query_parameters_to_set.is_empty() || !ok.query_parameters_to_remove.is_empty() {
        tracing::debug!(
            "an authorization service wants to change the query, which is not supported"
        );
        return Err(Failed::Invalid);
    }
    let fields = |fields: Vec<HeaderValueOption>, unsaid: Put| -> Result<Vec<_>, Failed> {
        let fields = fields.into_iter().filter(is_no_pseudo);
        fields.map(|it| field(it, unsaid).ok_or(Failed::Invalid)).collect()
    };
    // What holds where a service does not say how a field is put is not the same for both, as Envoy has it.
    let mut request = fields(ok.headers, Put::Overwrite)?;
    request.retain(|(name, ..)| is_changeable(name));
    let mut response = fields(ok.response_headers_to_add, Put::Append)?;
    response.retain(|(name, ..)| is_relayed(name));
    let removed = ok.headers_to_remove.iter().filter(|name| !name.starts_with(':'));
    let removed: Result<Vec<HeaderName>, _> =
        removed.map(|name| HeaderName::from_bytes(name.as_bytes())).collect();
    let mut removed = removed.map_err(|_| Failed::Invalid)?;
    removed.retain(is_changeable);
    Ok(Consent { cleared: Vec::new(), request: Added(request), removed, response: Added(response) })
}

/// LF-5: the host is the client's, and so are method and path.
fn is_no_pseudo(field: &HeaderValueOption) -> bool {
    field.header.as_ref().is_none_or(|header| !header.key.starts_with(':'))
}

/// A field as the service wants it, or as `unsaid` where it does not say how.
fn field(option: HeaderValueOption, unsaid: Put) -> Option<(HeaderName, HeaderValue, Put)> {
    let put = match (option.append, option.append_action) {
        (Some(append), _) if append.value => Put::Append,
        (None, 0) => unsaid,
        (None, 1) => Put::IfAbsent,
        (Some(_), _) | (None, 2) => Put::Overwrite,
        (None, 3) => Put::IfPresent,
        (None, _) => return None,
    };
    let (name, value) = named(option.header?)?;
    Some((name, value, put))
}

/// Name and value, where a field can have them.
fn named(header: Header) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(header.key.as_bytes()).ok()?;
    let value = if header.raw_value.is_empty() { header.value.into() } else { header.raw_value };
    Some((name, HeaderValue::from_maybe_shared(value).ok()?))
}
