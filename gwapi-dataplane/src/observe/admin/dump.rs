//! The configuration that is served, as JSON without secrets.

use std::collections::BTreeMap;

use gwapi_translate::ir::{Certificate, GatewayConfig, GatewayId, IrResource, Tracing};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::BoundListener;

/// What stands in place of a secret.
const REDACTED: &str = "<redacted>";

/// Parts of the names of headers and query parameters whose values are not shown.
const SENSITIVE: [&str; 7] =
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey"];

/// What a proxy serves at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    /// Number of the configuration.
    pub(crate) generation: u64,
    /// Configuration by Gateway.
    pub(crate) gateways: BTreeMap<GatewayId, GatewayConfig>,
    /// Sockets that are bound.
    pub(crate) bound: Vec<BoundListener>,
}

/// The JSON text of the page.
pub(super) fn json(served: &Served) -> String {
    let gateways: Map<String, Value> = served
        .gateways
        .iter()
        .map(|(gateway, config)| (gateway.to_string(), gateway_json(config)))
        .collect();
    let sockets: Vec<Value> = served
        .bound
        .iter()
        .map(|bound| {
            json!({
                "gateway": bound.gateway.to_string(),
                "listener": bound.listener.as_str(),
                "address": bound.address.to_string(),
            })
        })
        .collect();
    let page = json!({
        "generation": served.generation,
        "sockets": sockets,
        "gateways": gateways,
    });
    format!("{page:#}\n")
}

fn gateway_json(config: &GatewayConfig) -> Value {
    let mut groups: BTreeMap<&str, Vec<Value>> = [
        "listeners",
        "http_rules",
        "stream_rules",
        "backends",
        "endpoints",
        "certificates",
        "tracing",
    ]
    .map(|name| (name, Vec::new()))
    .into();
    for resource in config.0.values() {
        let (group, value) = match resource {
            IrResource::Listener(listener) => ("listeners", plain(&**listener)),
            IrResource::HttpRule(rule) => ("http_rules", plain(&**rule)),
            IrResource::StreamRule(rule) => ("stream_rules", plain(&**rule)),
            IrResource::Backend(backend) => ("backends", plain(&**backend)),
            IrResource::Endpoints(endpoints) => ("endpoints", plain(&**endpoints)),
            IrResource::Certificate(certificate) => ("certificates", certificate_json(certificate)),
            IrResource::Tracing(tracing) => ("tracing", tracing_json(tracing)),
            IrResource::SessionKeys(keys) => {
                ("session_keys", json!({ "keys": keys.keys.len(), "key": REDACTED }))
            }
        };
        groups.entry(group).or_default().push(value);
    }
    json!(groups)
}

fn plain(resource: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(resource)
        .expect("resources of the IR have keys that are text and no foreign serialisers");
    redact(&mut value);
    value
}

/// A certificate by what is no secret about it. The chain is left out as well: who mixes up the
/// two files of a Secret would find the key there.
fn certificate_json(certificate: &Certificate) -> Value {
    json!({
        "key": certificate.key.as_str(),
        "certificates": certificate.chain.matches("-----BEGIN CERTIFICATE-----").count(),
        "private_key": REDACTED,
    })
}

/// What is traced, without the values of the headers that the collector gets: they are there for
/// credentials.
fn tracing_json(tracing: &Tracing) -> Value {
    let mut value = plain(tracing);
    for header in value["headers"].as_array_mut().into_iter().flatten() {
        header["value"] = REDACTED.into();
    }
    value
}

/// Takes out the values of headers and query parameters that look like credentials: `set` and
/// `add` of filters hold pairs, matches hold objects with a name and a value.
fn redact(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(fields) => {
            if fields.get("name").and_then(Value::as_str).is_some_and(is_sensitive)
                && let Some(value) = fields.get_mut("value")
            {
                *value = REDACTED.into();
            }
            for changes in ["set", "add"] {
                if let Some(Value::Array(pairs)) = fields.get_mut(changes) {
                    pairs.iter_mut().for_each(redact_pair);
                }
            }
            fields.values_mut().for_each(redact);
        }
        _ => {}
    }
}

fn redact_pair(pair: &mut Value) {
    if let Some([Value::String(name), value]) = pair.as_array_mut().map(Vec::as_mut_slice)
        && is_sensitive(name)
    {
        *value = REDACTED.into();
    }
}

fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SENSITIVE.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gwapi_model::{NamespacedName, SecretBytes};
    use gwapi_translate::ir::{
        CertificateKey, HeaderChanges, HeaderMatch, HttpFilter, HttpMatch, HttpRule, Listener,
        ListenerKey, ListenerProtocol, RuleKey, RuleOrder, ValueMatch,
    };

    fn served(resources: impl IntoIterator<Item = IrResource>) -> Served {
        let config = resources.into_iter().map(|resource| (resource.key(), resource)).collect();
        let gateway = NamespacedName::new("default", "web");
        Served {
            generation: 7,
            gateways: [(gateway, GatewayConfig(config))].into(),
            ..Served::default()
        }
    }

    fn rule() -> HttpRule {
        let header = |name: &str, value: &str| HeaderMatch {
            name: name.into(),
            value: ValueMatch::Exact(value.into()),
        };
        HttpRule {
            key: RuleKey::new("default/site/a"),
            route: NamespacedName::new("default", "site"),
            route_kind: gwapi_model::RouteKind::Http,
            name: None,
            order: RuleOrder { created: 0, route: "default/site".to_owned(), rule_index: 0 },
            listeners: [ListenerKey::new("http")].into(),
            hostnames: [].into(),
            matches: vec![HttpMatch {
                headers: vec![header("x-api-key", "swordfish"), header("x-team", "blue")],
                ..HttpMatch::default()
            }],
            filters: vec![HttpFilter::RequestHeaders(HeaderChanges {
                set: vec![("authorization".to_owned(), "Bearer swordfish".to_owned())],
                add: vec![("x-from".to_owned(), "gateway".to_owned())],
                remove: vec!["cookie".to_owned(), "x-kept".to_owned()],
            })],
            backends: Vec::new(),
            timeouts: None,
            retry: None,
            session: None,
        }
    }

    #[test]
    fn resources_are_listed_by_gateway_and_kind() {
        let listener = Listener {
            key: ListenerKey::new("http"),
            addresses: vec!["::1".parse().unwrap()],
            port: 80,
            protocol: ListenerProtocol::Http,
            hostname: None,
            filters: Vec::new(),
        };
        let page = served([IrResource::Listener(listener.into())]);
        let page: Value = serde_json::from_str(&json(&page)).unwrap();
        assert_eq!(page["generation"], 7);
        let gateway = &page["gateways"]["default/web"];
        assert_eq!(gateway["listeners"][0]["key"], "http");
        assert_eq!(gateway["listeners"][0]["port"], 80);
        assert_eq!(gateway["http_rules"], json!([]));
    }

    #[test]
    fn no_pem_and_no_key_is_shown_even_where_a_chain_holds_a_key() {
        let pem = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n\
                   -----BEGIN PRIVATE KEY-----\nc3dvcmRmaXNo\n-----END PRIVATE KEY-----\n";
        let certificate = Certificate {
            key: CertificateKey::secret("default", "tls"),
            chain: pem.into(),
            private_key: SecretBytes::new(pem.as_bytes().to_vec()),
        };
        let page = json(&served([IrResource::Certificate(certificate.into())]));
        for secret in ["BEGIN", "PRIVATE KEY", "TUlJ", "c3dvcmRmaXNo"] {
            assert!(!page.contains(secret), "{page}");
        }
        let page: Value = serde_json::from_str(&page).unwrap();
        assert_eq!(
            page["gateways"]["default/web"]["certificates"],
            json!([{ "key": "default/tls", "certificates": 1, "private_key": "<redacted>" }])
        );
    }

    #[test]
    fn credentials_in_headers_are_redacted_and_other_values_are_shown() {
        let page = json(&served([IrResource::HttpRule(rule().into())]));
        assert!(!page.contains("swordfish"), "{page}");
        for shown in ["authorization", "x-api-key", "blue", "gateway", "x-kept"] {
            assert!(page.contains(shown), "{shown} in {page}");
        }
    }
}
