//! The span of a request, from its head to the end of its response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use gwapi_translate::ir::KnownAttribute;
use http::{HeaderMap, HeaderValue};

use super::context::{Context, TRACEPARENT, TRACESTATE};
use super::otlp::Message;
use super::tracer::{Source, Tracer};
use crate::observe::{Ended, RequestRecord};

/// Numbers of the fields of a `Span`, and of some values.
const ATTRIBUTES: u32 = 9;
const KIND_SERVER: u64 = 2;
const STATUS_ERROR: u64 = 2;
/// Whether it is known of the parent where it is, and that it is elsewhere.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Bytes of a span, beyond which it gets no more attributes.
const MAX_SPAN: usize = 32 * 1024;

/// Methods that the conventions know; others might be anything that a client makes up.
const METHODS: [&str; 10] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];

/// Query parameters that are credentials, by the conventions.
const SECRET_PARAMETERS: [&str; 4] = ["AWSAccessKeyId", "Signature", "X-Goog-Signature", "sig"];

/// A request's place in a trace.
pub(in crate::proxy) struct RequestTrace {
    pub(super) context: Context,
    pub(super) state: Option<HeaderValue>,
    /// What its span is made of; none where the request is not sampled.
    pub(super) recording: Option<Recording>,
}

/// What is known of a request before its end.
pub(super) struct Recording {
    pub(super) tracer: Arc<Tracer>,
    pub(super) parent: Option<[u8; 8]>,
    pub(super) user_agent: Option<HeaderValue>,
    /// Values of headers, of the policy's attributes in their order.
    pub(super) values: Box<[Option<HeaderValue>]>,
}

/// What is known of a request at its end.
pub(in crate::proxy) struct Beside<'a> {
    pub(in crate::proxy) record: &'a RequestRecord<'a>,
    pub(in crate::proxy) scheme: &'static str,
    /// Where its connection was accepted, as bound.
    pub(in crate::proxy) local: SocketAddr,
}

impl RequestTrace {
    /// Says to the next hop which trace it is.
    pub(in crate::proxy) fn propagate(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.context.header());
        match &self.state {
            Some(state) => drop(headers.insert(TRACESTATE, state.clone())),
            // 3.3.1: it means nothing without the parent that it came with.
            None => drop(headers.remove(TRACESTATE)),
        }
    }

    /// The response's head is here.
    pub(in crate::proxy) fn answered(&mut self, headers: &HeaderMap) {
        let Some(recording) = &mut self.recording else { return };
        for (value, (_, source)) in recording.values.iter_mut().zip(&recording.tracer.attributes) {
            if value.is_none() {
                *value = source.in_response(headers).cloned();
            }
        }
    }

    /// The request is over: its span, if it has one, is on its way.
    pub(in crate::proxy) fn finish(self, beside: &Beside<'_>) {
        let Some(recording) = &self.recording else { return };
        let span = self.encode(recording, beside, SystemTime::now());
        recording.tracer.queue(span);
    }

    fn encode(&self, recording: &Recording, beside: &Beside<'_>, ended_at: SystemTime) -> Vec<u8> {
        let record = beside.record;
        let settings = &recording.tracer.settings;
        let nanos = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        };
        let known = |method: &str| METHODS.contains(&method);
        let name = settings.span_name.as_deref().unwrap_or(match record.method {
            method if known(method) => method,
            _ => "HTTP",
        });
        let mut span = Message::with_capacity(1024);
        span.bytes(1, &self.context.trace_id);
        span.bytes(2, &self.context.span_id);
        if let Some(state) = &self.state {
            span.bytes(3, state.as_bytes());
        }
        let mut flags = u32::from(self.context.flags()) | HAS_IS_REMOTE;
        if let Some(parent) = &recording.parent {
            span.bytes(4, parent);
            flags |= IS_REMOTE;
        }
        span.bytes(5, name.as_bytes());
        span.number(6, KIND_SERVER);
        span.fixed64(7, nanos(ended_at - record.duration));
        span.fixed64(8, nanos(ended_at));
        let dropped = attributes(&mut span, recording, beside);
        if dropped > 0 {
            span.number(10, dropped);
        }
        if is_error(record) {
            span.message(15, |status| status.number(3, STATUS_ERROR));
        }
        span.fixed32(16, flags);
        span.into_bytes()
    }
}

/// A server's error: what a client does wrong is none.
fn is_error(record: &RequestRecord<'_>) -> bool {
    record.status >= 500
        || matches!(record.ended, Ended::Timeout | Ended::UpstreamError | Ended::Cut)
}

/// What every span has, by the conventions for servers, and what helps to find what served it.
const OWN: [KnownAttribute; 15] = [
    KnownAttribute::RequestMethod,
    KnownAttribute::RequestMethodOriginal,
    KnownAttribute::UrlScheme,
    KnownAttribute::UrlPath,
    KnownAttribute::UrlQuery,
    KnownAttribute::ResponseStatusCode,
    KnownAttribute::ErrorType,
    KnownAttribute::ServerAddress,
    KnownAttribute::ServerPort,
    KnownAttribute::ClientAddress,
    KnownAttribute::ClientPort,
    KnownAttribute::PeerAddress,
    KnownAttribute::PeerPort,
    KnownAttribute::ProtocolVersion,
    KnownAttribute::UserAgent,
];

/// Writes the attributes, and tells how many there was no room for. A key that the policy sets is the
/// policy's.
fn attributes(span: &mut Message, recording: &Recording, beside: &Beside<'_>) -> u64 {
    let of_policy = &recording.tracer.attributes;
    let is_own = |key: &str| of_policy.iter().all(|(name, _)| **name != *key);
    for key in OWN.into_iter().filter(|key| is_own(key.as_str())) {
        if let Some(value) = known(key, recording, beside) {
            value.write(span, key.as_str());
        }
    }
    let record = beside.record;
    let served_by = [
        ("gwapi.gateway", Some(record.gateway.to_string())),
        ("gwapi.listener", Some(record.listener.to_string())),
        ("gwapi.route", record.route.map(ToString::to_string)),
        ("gwapi.backend", record.backend.map(ToString::to_string)),
    ];
    for (key, value) in served_by.into_iter().filter(|(key, _)| is_own(key)) {
        if let Some(value) = value {
            span.text_attribute(ATTRIBUTES, key, value.as_bytes());
        }
    }
    let mut dropped = 0;
    for ((name, source), header) in of_policy.iter().zip(&recording.values) {
        let value = match source {
            Source::Header(_) | Source::RequestHeader(_) | Source::ResponseHeader(_) => {
                header.as_ref().map(|value| Value::Text(value.as_bytes().to_vec()))
            }
            Source::Literal(text) => Some(Value::Text(text.as_bytes().to_vec())),
            Source::Known(key) => known(*key, recording, beside),
        };
        match value {
            Some(_) if span.len() > MAX_SPAN => dropped += 1,
            Some(value) => value.write(span, name),
            None => {}
        }
    }
    dropped
}

enum Value {
    Text(Vec<u8>),
    Number(u64),
}

impl Value {
    fn text(text: impl AsRef<[u8]>) -> Option<Self> {
        let text = text.as_ref();
        (!text.is_empty()).then(|| Self::Text(text.to_vec()))
    }

    fn number(number: impl Into<u64>) -> Option<Self> {
        Some(Self::Number(number.into()))
    }

    fn write(self, span: &mut Message, key: &str) {
        match self {
            Self::Text(text) => span.text_attribute(ATTRIBUTES, key, &text),
            Self::Number(number) => span.number_attribute(ATTRIBUTES, key, number),
        }
    }
}

/// What a request has under a key; `None` where it has nothing there.
fn known(key: KnownAttribute, recording: &Recording, beside: &Beside<'_>) -> Option<Value> {
    use KnownAttribute as Key;
    let Beside { record, scheme, local } = beside;
    let (path, query) = match record.path.iter().position(|byte| *byte == b'?') {
        Some(at) => (&record.path[..at], Some(&record.path[at + 1..])),
        None => (record.path, None),
    };
    let (host, port) = host_and_port(record.host);
    let is_known = METHODS.contains(&record.method);
    match key {
        Key::ClientAddress => Value::text(record.client.to_string()),
        // Of whom a trusted proxy names no port is known.
        Key::ClientPort if record.peer.ip().to_canonical() == record.client.to_canonical() => {
            Value::number(record.peer.port())
        }
        Key::ClientPort => None,
        Key::ErrorType if !is_error(record) => None,
        Key::ErrorType if record.ended == Ended::Complete => Value::text(record.status.to_string()),
        Key::ErrorType => Value::text(record.ended.as_str()),
        Key::RequestMethod if is_known => Value::text(record.method),
        Key::RequestMethod => Value::text("_OTHER"),
        Key::RequestMethodOriginal if is_known => None,
        Key::RequestMethodOriginal => Value::text(record.method),
        // Nobody got it.
        Key::ResponseStatusCode if record.status == 499 => None,
        Key::ResponseStatusCode => Value::number(record.status),
        Key::LocalAddress if local.ip().is_unspecified() => None,
        Key::LocalAddress => Value::text(local.ip().to_string()),
        Key::LocalPort => Value::number(local.port()),
        Key::PeerAddress => Value::text(record.peer.ip().to_canonical().to_string()),
        Key::PeerPort => Value::number(record.peer.port()),
        Key::ProtocolName => Value::text("http"),
        Key::ProtocolVersion => Value::text(record.protocol.trim_start_matches("HTTP/")),
        Key::Transport => Value::text("tcp"),
        Key::NetworkType => {
            Value::text(if record.peer.ip().to_canonical().is_ipv4() { "ipv4" } else { "ipv6" })
        }
        Key::ServerAddress => Value::text(host),
        Key::ServerPort => Value::number(port.unwrap_or(local.port())),
        Key::UrlFull if record.host.is_empty() => None,
        Key::UrlFull => {
            let mut url = [scheme.as_bytes(), b"://", record.host, path].concat();
            if let Some(query) = query {
                url.push(b'?');
                url.extend(without_secrets(query));
            }
            Value::text(url)
        }
        Key::UrlPath => Value::text(path),
        Key::UrlQuery => query.and_then(|query| Value::text(without_secrets(query))),
        Key::UrlScheme => Value::text(scheme),
        Key::UserAgent => recording.user_agent.as_ref().and_then(Value::text),
    }
}

/// A host as clients write it, without brackets, and its port.
fn host_and_port(host: &[u8]) -> (&[u8], Option<u16>) {
    let colon = host.iter().rposition(|byte| *byte == b':');
    let is_after_brackets =
        |at: &usize| host.first() != Some(&b'[') || host.get(at - 1) == Some(&b']');
    let (name, port) = match colon.filter(|at| *at > 0).filter(is_after_brackets) {
        Some(at) => (&host[..at], std::str::from_utf8(&host[at + 1..]).ok()),
        None => (host, None),
    };
    let name = name.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]")).unwrap_or(name);
    (name, port.and_then(|port| port.parse().ok()))
}

/// A query without the values of parameters that are credentials.
fn without_secrets(query: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(query.len());
    for (index, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            kept.push(b'&');
        }
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        if SECRET_PARAMETERS.iter().any(|secret| secret.as_bytes() == name) {
            kept.extend_from_slice(name);
            kept.extend_from_slice(b"=REDACTED");
        } else {
            kept.extend_from_slice(pair);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (written, host, port) in [
            ("a.example", "a.example", None),
            ("a.example:8080", "a.example", Some(8080)),
            ("a.example:", "a.example", None),
            ("[::1]:80", "::1", Some(80)),
            ("[::1]", "::1", None),
            ("", "", None),
            (":80", ":80", None),
        ] {
            assert_eq!(host_and_port(written.as_bytes()), (host.as_bytes(), port), "{written}");
        }
    }

    #[test]
    fn credentials_in_a_query_are_not_told() {
        for (query, told) in [
            ("a=1&b", "a=1&b"),
            ("sig=x&a=1&Signature=y=z", "sig=REDACTED&a=1&Signature=REDACTED"),
            ("signal=1", "signal=1"),
        ] {
            assert_eq!(without_secrets(query.as_bytes()), told.as_bytes(), "{query}");
        }
    }
}
