//! How a request looks in the access log.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;

use super::escape::{json, part, quoted, word};
use crate::observe::RequestRecord;

/// Writes one line of text: what the combined format of web servers starts with, then fields.
///
/// ```text
/// 127.0.0.1 - - [2026-01-31T12:00:00.000Z] "GET /a?b=c HTTP/1.1" 200 512 host="example.com"
///   peer=127.0.0.1:40000 duration_ms=1.500 upstream_ms=1.250 received=0 gateway=default/web listener=http
///   route=default/site rule=default/site/api backend=default/api:80 endpoint=10.0.0.1:8080
///   auth=allowed ended=complete
/// ```
pub(super) fn text(out: &mut Vec<u8>, record: &RequestRecord<'_>, at: Timestamp) {
    number(out, format_args!("{} - - [{at:.3}] \"", record.client));
    part(out, record.method.as_bytes());
    out.push(b' ');
    part(out, record.path);
    number(
        out,
        format_args!(" {}\" {} {} host=", record.protocol, record.status, record.bytes_sent),
    );
    quoted(out, record.host);
    number(out, format_args!(" peer={}", record.peer));
    number(out, format_args!(" duration_ms={}", Millis(record.duration)));
    match record.upstream_duration {
        Some(duration) => number(out, format_args!(" upstream_ms={}", Millis(duration))),
        None => out.extend_from_slice(b" upstream_ms=-"),
    }
    number(out, format_args!(" received={}", record.bytes_received));
    text_names(out, names(record));
    let authorization = record.authorization.unwrap_or("-");
    number(out, format_args!(" auth={authorization} ended={}\n", record.ended.as_str()));
}

/// Writes one JSON object and a line break. Its `event` tells it from other lines of a program.
pub(super) fn json_line(out: &mut Vec<u8>, record: &RequestRecord<'_>, at: Timestamp) {
    number(
        out,
        format_args!(
            "{{\"time\":\"{at:.3}\",\"event\":\"request\",\"client\":\"{}\",\"peer\":\"{}\",\"method\":",
            record.client, record.peer
        ),
    );
    json(out, record.method.as_bytes());
    out.extend_from_slice(b",\"host\":");
    json(out, record.host);
    out.extend_from_slice(b",\"path\":");
    json(out, record.path);
    number(
        out,
        format_args!(
            ",\"protocol\":\"{}\",\"status\":{},\"duration_ms\":{}",
            record.protocol,
            record.status,
            Millis(record.duration)
        ),
    );
    match record.upstream_duration {
        Some(duration) => number(out, format_args!(",\"upstream_ms\":{}", Millis(duration))),
        None => out.extend_from_slice(b",\"upstream_ms\":null"),
    }
    number(
        out,
        format_args!(
            ",\"bytes_received\":{},\"bytes_sent\":{}",
            record.bytes_received, record.bytes_sent
        ),
    );
    json_names(out, names(record));
    match record.authorization {
        Some(authorization) => number(out, format_args!(",\"auth\":\"{authorization}\"")),
        None => out.extend_from_slice(b",\"auth\":null"),
    }
    number(out, format_args!(",\"ended\":\"{}\"}}\n", record.ended.as_str()));
}

/// What served something, by name.
pub(super) type Names = [(&'static str, Option<String>); 6];

/// Writes names as fields of a line of text.
pub(super) fn text_names(out: &mut Vec<u8>, names: Names) {
    for (name, value) in names {
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        word(out, value.unwrap_or_default().as_bytes());
    }
}

/// The same in JSON.
pub(super) fn json_names(out: &mut Vec<u8>, names: Names) {
    for (name, value) in names {
        number(out, format_args!(",\"{name}\":"));
        match value {
            Some(value) => json(out, value.as_bytes()),
            None => out.extend_from_slice(b"null"),
        }
    }
}

fn names(record: &RequestRecord<'_>) -> Names {
    [
        ("gateway", Some(record.gateway.to_string())),
        ("listener", Some(record.listener.to_string())),
        ("route", record.route.map(ToString::to_string)),
        ("rule", record.rule.map(ToString::to_string)),
        ("backend", record.backend.map(ToString::to_string)),
        ("endpoint", record.endpoint.map(|endpoint| endpoint.to_string())),
    ]
}

/// Milliseconds with three digits after the point.
pub(super) struct Millis(pub(super) Duration);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0.as_millis(), self.0.as_micros() % 1000)
    }
}

/// Writes what is printable by its nature: numbers, addresses, fixed words.
pub(super) fn number(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Ended;
    use gwapi_model::NamespacedName;
    use gwapi_translate::ir::{BackendKey, ListenerKey, RuleKey};

    fn at() -> Timestamp {
        "2026-01-31T12:00:00Z".parse().unwrap()
    }

    fn line(change: impl FnOnce(&mut RequestRecord<'_>), write: Writer) -> String {
        let gateway = NamespacedName::new("default", "web");
        let route = NamespacedName::new("shop", "site");
        let mut record = RequestRecord {
            gateway: &gateway,
            listener: &ListenerKey::new("http"),
            route: Some(&route),
            rule: Some(&RuleKey::new("shop/site/api")),
            backend: Some(&BackendKey::service("shop", "api", 80)),
            endpoint: Some("[::1]:8080".parse().unwrap()),
            peer: "192.0.2.7:40000".parse().unwrap(),
            client: "203.0.113.9".parse().unwrap(),
            method: "GET",
            host: b"example.com",
            path: b"/a?b=c",
            protocol: "HTTP/1.1",
            status: 200,
            duration: Duration::from_micros(1500),
            upstream_duration: Some(Duration::from_micros(1250)),
            bytes_received: 3,
            bytes_sent: 512,
            authorization: Some("allowed"),
            ended: Ended::Complete,
        };
        change(&mut record);
        let mut out = Vec::new();
        write(&mut out, &record, at());
        String::from_utf8(out).unwrap()
    }

    type Writer = fn(&mut Vec<u8>, &RequestRecord<'_>, Timestamp);

    #[test]
    fn a_text_line_starts_as_the_combined_format_and_names_route_and_backend() {
        assert_eq!(
            line(|_| {}, text),
            "203.0.113.9 - - [2026-01-31T12:00:00.000Z] \"GET /a?b=c HTTP/1.1\" 200 512 \
             host=\"example.com\" peer=192.0.2.7:40000 duration_ms=1.500 upstream_ms=1.250 received=3 \
             gateway=default/web listener=http route=shop/site rule=shop/site/api \
             backend=shop/api:80 endpoint=[::1]:8080 auth=allowed ended=complete\n"
        );
    }

    #[test]
    fn a_json_line_is_an_object_with_the_same_facts() {
        let value: serde_json::Value = serde_json::from_str(&line(|_| {}, json_line)).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "time": "2026-01-31T12:00:00.000Z", "event": "request",
                "client": "203.0.113.9", "peer": "192.0.2.7:40000", "method": "GET",
                "host": "example.com", "path": "/a?b=c", "protocol": "HTTP/1.1", "status": 200,
                "duration_ms": 1.5, "upstream_ms": 1.25, "bytes_received": 3, "bytes_sent": 512,
                "gateway": "default/web", "listener": "http", "route": "shop/site",
                "rule": "shop/site/api", "backend": "shop/api:80", "endpoint": "[::1]:8080",
                "auth": "allowed", "ended": "complete",
            })
        );
    }

    #[test]
    fn what_is_absent_is_a_dash_or_null() {
        let nothing = |record: &mut RequestRecord<'_>| {
            record.route = None;
            record.rule = None;
            record.backend = None;
            record.endpoint = None;
            record.upstream_duration = None;
            record.status = 404;
        };
        let text = line(nothing, text);
        assert!(text.contains(" upstream_ms=- "), "{text}");
        assert!(text.contains(" route=- rule=- backend=- endpoint=- "), "{text}");
        let value: serde_json::Value = serde_json::from_str(&line(nothing, json_line)).unwrap();
        assert!(value["route"].is_null() && value["upstream_ms"].is_null(), "{value}");
    }

    #[test]
    fn a_client_cannot_forge_a_line_or_a_field() {
        let forge = |record: &mut RequestRecord<'_>| {
            record.path = b"/ HTTP/1.1\" 200 0 route=admin\r\n127.0.0.1 - - \xff\x1b[2J";
            record.host = b"a\" route=\"b\n";
        };
        for write in [text as Writer, json_line] {
            let line = line(forge, write);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
        }
        assert_eq!(line(forge, text).matches(" route=").count(), 2, "host's and the field");
        let value: serde_json::Value = serde_json::from_str(&line(forge, json_line)).unwrap();
        assert_eq!(value["route"], "shop/site");
    }
}
