//! How a connection or a flow of datagrams looks in the access log: as a request, as far as it has the same
//! facts.

use jiff::Timestamp;

use super::escape::{json, quoted};
use super::line::{Millis, Names, json_names, number, text_names};
use crate::observe::StreamRecord;

/// Writes one line of text.
///
/// ```text
/// 127.0.0.1 - - [2026-01-31T12:00:00.000Z] "- - TLS" - 512 host="example.com" peer=127.0.0.1:40000
///   duration_ms=1.500 received=300 gateway=default/web listener=tls route=default/site
///   rule=default/site/~through backend=default/api:443/through endpoint=10.0.0.1:8443 ended=complete
/// ```
pub(super) fn text(out: &mut Vec<u8>, record: &StreamRecord<'_>, at: Timestamp) {
    let (client, protocol, sent) = (record.peer.ip(), record.protocol, record.bytes_sent);
    number(out, format_args!("{client} - - [{at:.3}] \"- - {protocol}\" - {sent} host="));
    quoted(out, record.server_name.unwrap_or_default().as_bytes());
    let (duration, received) = (Millis(record.duration), record.bytes_received);
    let peer = record.peer;
    number(out, format_args!(" peer={peer} duration_ms={duration} received={received}"));
    text_names(out, names(record));
    number(out, format_args!(" ended={}\n", record.ended));
}

/// Writes one JSON object and a line break.
pub(super) fn json_line(out: &mut Vec<u8>, record: &StreamRecord<'_>, at: Timestamp) {
    let (peer, protocol) = (record.peer, record.protocol);
    let event = if protocol == "UDP" { "flow" } else { "connection" };
    number(
        out,
        format_args!(
            "{{\"time\":\"{at:.3}\",\"event\":\"{event}\",\"client\":\"{}\",\"peer\":\"{peer}\",\"host\":",
            peer.ip()
        ),
    );
    match record.server_name {
        Some(name) => json(out, name.as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    number(
        out,
        format_args!(
            ",\"protocol\":\"{protocol}\",\"duration_ms\":{},\"bytes_received\":{},\"bytes_sent\":{}",
            Millis(record.duration),
            record.bytes_received,
            record.bytes_sent
        ),
    );
    json_names(out, names(record));
    number(out, format_args!(",\"ended\":\"{}\"}}\n", record.ended));
}

fn names(record: &StreamRecord<'_>) -> Names {
    [
        ("gateway", Some(record.gateway.to_string())),
        ("listener", Some(record.listener.to_string())),
        ("route", record.route.map(ToString::to_string)),
        ("rule", record.rule.map(ToString::to_string)),
        ("backend", record.backend.map(ToString::to_string)),
        ("endpoint", record.endpoint.map(|endpoint| endpoint.to_string())),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gwapi_model::NamespacedName;
    use gwapi_translate::ir::{BackendKey, ListenerKey, RuleKey};

    use super::*;

    type Writer = fn(&mut Vec<u8>, &StreamRecord<'_>, Timestamp);

    fn line(change: impl FnOnce(&mut StreamRecord<'_>), write: Writer) -> String {
        let mut record = StreamRecord {
            protocol: "TLS",
            gateway: &NamespacedName::new("default", "web"),
            listener: &ListenerKey::new("tls"),
            route: Some(&NamespacedName::new("shop", "site")),
            rule: Some(&RuleKey::new("shop/site/~through")),
            backend: Some(&BackendKey::for_passthrough("shop", "api", 443)),
            endpoint: Some("[::1]:8443".parse().unwrap()),
            peer: "192.0.2.7:40000".parse().unwrap(),
            server_name: Some("example.com"),
            duration: Duration::from_micros(1500),
            bytes_received: 3,
            bytes_sent: 512,
            ended: "complete",
        };
        change(&mut record);
        let mut out = Vec::new();
        write(&mut out, &record, "2026-01-31T12:00:00Z".parse().unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_text_line_has_the_shape_of_that_of_a_request() {
        assert_eq!(
            line(|_| {}, text),
            "192.0.2.7 - - [2026-01-31T12:00:00.000Z] \"- - TLS\" - 512 host=\"example.com\" \
             peer=192.0.2.7:40000 duration_ms=1.500 received=3 gateway=default/web listener=tls \
             route=shop/site rule=shop/site/~through backend=shop/api:443/through \
             endpoint=[::1]:8443 ended=complete\n"
        );
    }

    #[test]
    fn a_json_line_is_an_object_with_the_same_facts() {
        let value: serde_json::Value = serde_json::from_str(&line(|_| {}, json_line)).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "time": "2026-01-31T12:00:00.000Z", "event": "connection",
                "client": "192.0.2.7", "peer": "192.0.2.7:40000", "host": "example.com",
                "protocol": "TLS", "duration_ms": 1.5, "bytes_received": 3, "bytes_sent": 512,
                "gateway": "default/web", "listener": "tls", "route": "shop/site",
                "rule": "shop/site/~through", "backend": "shop/api:443/through",
                "endpoint": "[::1]:8443", "ended": "complete",
            })
        );
        let nothing = |record: &mut StreamRecord<'_>| {
            (record.protocol, record.server_name, record.route) = ("UDP", None, None);
        };
        let value: serde_json::Value = serde_json::from_str(&line(nothing, json_line)).unwrap();
        assert_eq!(value["event"], "flow");
        assert!(value["host"].is_null() && value["route"].is_null(), "{value}");
    }
}
