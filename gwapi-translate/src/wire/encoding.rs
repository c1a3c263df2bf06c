//! IR resources as JSON, with their names and versions.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gwapi_model::SecretBytes;
use prost::bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::ir::{
    Backend, BackendKey, Certificate, CertificateKey, Endpoints, HttpRule, IrKey, IrResource,
    Listener, ListenerKey, RuleKey, SessionKeys, StreamRule, Tracing,
};

/// The name of a resource: its kind and its key, as `HttpRule/default/shop/checkout`.
pub fn name_of(key: &IrKey) -> String {
    match key {
        IrKey::Listener(key) => format!("Listener/{key}"),
        IrKey::HttpRule(key) => format!("HttpRule/{key}"),
        IrKey::StreamRule(key) => format!("StreamRule/{key}"),
        IrKey::Backend(key) => format!("Backend/{key}"),
        IrKey::Endpoints(key) => format!("Endpoints/{key}"),
        IrKey::Certificate(key) => format!("Certificate/{key}"),
        IrKey::Tracing => "Tracing/".to_owned(),
        IrKey::SessionKeys => "SessionKeys/".to_owned(),
    }
}

/// The key that a name stands for; `None` where its kind is not known here.
pub fn key_of(name: &str) -> Option<IrKey> {
    let (kind, key) = name.split_once('/')?;
    Some(match kind {
        "Listener" => IrKey::Listener(ListenerKey::new(key)),
        "HttpRule" => IrKey::HttpRule(RuleKey::new(key)),
        "StreamRule" => IrKey::StreamRule(RuleKey::new(key)),
        "Backend" => IrKey::Backend(BackendKey::new(key)),
        "Endpoints" => IrKey::Endpoints(BackendKey::new(key)),
        "Certificate" => IrKey::Certificate(CertificateKey::new(key)),
        "Tracing" if key.is_empty() => IrKey::Tracing,
        "SessionKeys" if key.is_empty() => IrKey::SessionKeys,
        _ => return None,
    })
}

/// Encodes a resource, private keys included: what comes out is for the proxy of its Gateway alone.
pub fn encode(resource: &IrResource) -> Bytes {
    let json = serde_json::to_vec(&Outgoing::from(resource));
    json.expect("IR resources have text as keys of maps, and writing to memory does not fail")
        .into()
}

/// Decodes the resource of a name. The message of an error shows nothing of a certificate.
pub fn decode(name: &str, bytes: &[u8]) -> Result<IrResource, String> {
    let Some(key) = key_of(name) else {
        let kind = name.split('/').next().unwrap_or_default();
        return Err(format!("resources of the kind {kind} are not known to this version"));
    };
    let resource: Incoming =
        serde_json::from_slice(bytes).map_err(|error| readable(&key, &error))?;
    let resource = IrResource::from(resource);
    if resource.key() != key {
        return Err(format!("it is named {name} and holds {}", resource.key()));
    }
    Ok(resource)
}

/// What is wrong with an encoding. Messages quote what they did not expect, so those about
/// certificates say no more than where it was.
fn readable(key: &IrKey, error: &serde_json::Error) -> String {
    match key {
        IrKey::Certificate(_) | IrKey::SessionKeys => {
            format!("it cannot be read: something unexpected at column {}", error.column())
        }
        _ => format!("it cannot be read: {error}"),
    }
}

/// The version of a resource: a hash of its encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Version([u8; 16]);

impl Version {
    pub(super) fn of(encoded: &[u8]) -> Self {
        Self(hash(&[encoded]))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The first half of SHA-256 over some pieces, each with its length.
pub(super) fn hash(pieces: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for piece in pieces {
        hasher.update((piece.len() as u64).to_be_bytes());
        hasher.update(piece);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    half
}

/// SHA-256 as text.
pub(super) fn checksum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A resource on its way out. Apart from certificates it looks as it does in dumps.
#[derive(Serialize)]
pub(super) enum Outgoing<'a> {
    Listener(&'a Listener),
    HttpRule(&'a HttpRule),
    StreamRule(&'a StreamRule),
    Backend(&'a Backend),
    Endpoints(&'a Endpoints),
    Certificate(OutgoingCertificate<'a>),
    Tracing(&'a Tracing),
    SessionKeys(OutgoingSessionKeys),
}

#[derive(Serialize)]
pub(super) struct OutgoingSessionKeys {
    /// In base64.
    keys: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct OutgoingCertificate<'a> {
    key: &'a CertificateKey,
    chain: &'a str,
    #[serde(serialize_with = "secret_to_base64")]
    private_key: &'a SecretBytes,
}

impl<'a> From<&'a IrResource> for Outgoing<'a> {
    fn from(resource: &'a IrResource) -> Self {
        match resource {
            IrResource::Listener(listener) => Self::Listener(listener),
            IrResource::HttpRule(rule) => Self::HttpRule(rule),
            IrResource::StreamRule(rule) => Self::StreamRule(rule),
            IrResource::Backend(backend) => Self::Backend(backend),
            IrResource::Endpoints(endpoints) => Self::Endpoints(endpoints),
            IrResource::Certificate(certificate) => Self::Certificate(OutgoingCertificate {
                key: &certificate.key,
                chain: &certificate.chain,
                private_key: &certificate.private_key,
            }),
            IrResource::Tracing(tracing) => Self::Tracing(tracing),
            IrResource::SessionKeys(keys) => Self::SessionKeys(OutgoingSessionKeys {
                keys: keys.keys.iter().map(|key| STANDARD.encode(key.expose())).collect(),
            }),
        }
    }
}

/// A resource on its way in.
#[derive(Deserialize)]
pub(super) enum Incoming {
    Listener(Arc<Listener>),
    HttpRule(Arc<HttpRule>),
    StreamRule(Arc<StreamRule>),
    Backend(Arc<Backend>),
    Endpoints(Arc<Endpoints>),
    Certificate(IncomingCertificate),
    Tracing(Arc<Tracing>),
    SessionKeys(IncomingSessionKeys),
}

#[derive(Deserialize)]
pub(super) struct IncomingSessionKeys {
    keys: Vec<IncomingKey>,
}

#[derive(Deserialize)]
struct IncomingKey(#[serde(deserialize_with = "secret_from_base64")] SecretBytes);

#[derive(Deserialize)]
pub(super) struct IncomingCertificate {
    key: CertificateKey,
    chain: Arc<str>,
    #[serde(deserialize_with = "secret_from_base64")]
    private_key: SecretBytes,
}

impl From<Incoming> for IrResource {
    fn from(resource: Incoming) -> Self {
        match resource {
            Incoming::Listener(listener) => Self::Listener(listener),
            Incoming::HttpRule(rule) => Self::HttpRule(rule),
            Incoming::StreamRule(rule) => Self::StreamRule(rule),
            Incoming::Backend(backend) => Self::Backend(backend),
            Incoming::Endpoints(endpoints) => Self::Endpoints(endpoints),
            Incoming::Certificate(IncomingCertificate { key, chain, private_key }) => {
                Self::Certificate(Arc::new(Certificate { key, chain, private_key }))
            }
            Incoming::Tracing(tracing) => Self::Tracing(tracing),
            Incoming::SessionKeys(IncomingSessionKeys { keys }) => {
                let keys = keys.into_iter().map(|IncomingKey(key)| key).collect();
                Self::SessionKeys(Arc::new(SessionKeys { keys }))
            }
        }
    }
}

fn secret_to_base64<S: Serializer>(
    secret: &&SecretBytes,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(secret.expose()))
}

fn secret_from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretBytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD.decode(text).map_err(|_| serde::de::Error::custom("not base64"))?;
    Ok(SecretBytes::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{
        Backend, BackendKey, BackendProtocol, BackendTls, BackendTrust, ClientValidation,
        ClientValidationMode, ListenerFilter, ListenerProtocol, SessionCarrier, SessionPersistence,
        SubjectAltName,
    };

    fn certificate() -> IrResource {
        IrResource::Certificate(Arc::new(Certificate {
            key: CertificateKey::secret("default", "tls"),
            chain: "CHAIN".into(),
            private_key: SecretBytes::new(b"hunter2\xff".to_vec()),
        }))
    }

    #[test]
    fn every_kind_of_name_stands_for_its_key() {
        for key in [
            IrKey::Listener(ListenerKey::new("http")),
            IrKey::HttpRule(RuleKey::new("default/shop/checkout")),
            IrKey::StreamRule(RuleKey::new("default/shop/~tls")),
            IrKey::Backend(BackendKey::service("default", "shop", 80)),
            IrKey::Endpoints(BackendKey::service("default", "shop", 80)),
            IrKey::Certificate(CertificateKey::secret("default", "tls")),
            IrKey::Tracing,
            IrKey::SessionKeys,
        ] {
            assert_eq!(key_of(&name_of(&key)), Some(key));
        }
        assert_eq!(key_of("UdpRule/default/dns/0"), None);
        assert_eq!(key_of("Listener"), None);
    }

    #[test]
    fn a_private_key_crosses_the_wire_and_no_dump() {
        let certificate = certificate();
        let encoded = encode(&certificate);
        assert_eq!(decode("Certificate/default/tls", &encoded), Ok(certificate.clone()));
        let dump = serde_json::to_string(&certificate).unwrap();
        assert!(!dump.contains("aHVudGVyMv8="), "{dump}");
    }

    #[test]
    fn keys_of_sessions_cross_the_wire_and_no_dump() {
        let key = |byte| SecretBytes::new(vec![byte; SessionKeys::KEY_BYTES]);
        let keys = IrResource::SessionKeys(Arc::new(SessionKeys { keys: vec![key(1), key(2)] }));
        let encoded = encode(&keys);
        assert_eq!(decode("SessionKeys/", &encoded), Ok(keys.clone()));
        let dump = serde_json::to_string(&keys).unwrap();
        assert!(!dump.contains("AQEB"), "{dump}");
        let error = decode("SessionKeys/", br#"{"SessionKeys":{"keys":["hunter2!"]}}"#);
        assert!(!error.unwrap_err().contains("hunter2"));
    }

    /// A proxy that does not know of sessions serves the rule without.
    #[test]
    fn sessions_are_a_field_that_may_be_passed_over() {
        let carrier = SessionCarrier::Header("x-session".to_owned());
        let session = SessionPersistence {
            scope: "shop/web".to_owned(),
            carrier,
            absolute_timeout: Some(std::time::Duration::from_secs(60)),
        };
        let backend = |session| {
            let (key, protocol) = (BackendKey::service("shop", "web", 80), BackendProtocol::Http1);
            IrResource::Backend(Arc::new(Backend {
                key,
                protocol,
                tls: None,
                session,
                retry_budget: None,
            }))
        };
        let with = backend(Some(Box::new(session)));
        assert_eq!(decode("Backend/shop/web:80", &encode(&with)), Ok(with.clone()));
        let without = encode(&backend(None));
        let without = std::str::from_utf8(&without).unwrap();
        assert_eq!(without, r#"{"Backend":{"key":"shop/web:80","protocol":"Http1"}}"#);
    }

    #[test]
    fn an_unreadable_certificate_is_told_without_what_it_held() {
        let encoded = br#"{"Certificate":{"key":"default/tls","chain":7,"private_key":"hunter2"}}"#;
        let error = decode("Certificate/default/tls", encoded).unwrap_err();
        assert_eq!(error, "it cannot be read: something unexpected at column 45");
        let encoded = br#"{"Certificate":"hunter2"}"#;
        let error = decode("Certificate/default/tls", encoded).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_this_version_does_not_know_is_named() {
        assert_eq!(
            decode("UdpRule/default/dns/0", b"{}").unwrap_err(),
            "resources of the kind UdpRule are not known to this version"
        );
        let encoded = br#"{"Backend":{"key":"default/a:80","protocol":"Http9"}}"#;
        let error = decode("Backend/default/a:80", encoded).unwrap_err();
        assert!(error.starts_with("it cannot be read: unknown variant `Http9`"), "{error}");
    }

    fn listener(protocol: ListenerProtocol, filters: Vec<ListenerFilter>) -> Listener {
        let (key, hostname) = (ListenerKey::new("web"), None);
        Listener { key, addresses: Vec::new(), port: 443, protocol, hostname, filters }
    }

    /// The same holds for what a listener asks before it lets anybody in.
    #[test]
    fn filters_of_a_listener_are_a_protocol_of_its_own() {
        let refuses = || vec![ListenerFilter::Refuse("no service".to_owned())];
        let https = ListenerProtocol::Https { certificates: Vec::new(), client_validation: None };
        for (protocol, inside) in
            [(ListenerProtocol::Http, r#""Http""#), (https, r#"{"Https":{"certificates":[]}}"#)]
        {
            let with = IrResource::Listener(Arc::new(listener(protocol, refuses())));
            let encoded = encode(&with);
            let text = std::str::from_utf8(&encoded).unwrap();
            let expected = format!(
                r#""protocol":{{"Filtered":{{"protocol":{inside},"filters":[{{"Refuse":"no service"}}]}}}}"#
            );
            assert!(text.contains(&expected), "{text}");
            assert_eq!(decode("Listener/web", &encoded), Ok(with));
        }
    }

    /// What is not known must not be served without: it is no field that could be passed over.
    #[test]
    fn validation_of_clients_is_a_variant_of_its_own() {
        let listener = |client_validation| {
            let protocol = ListenerProtocol::Https { certificates: Vec::new(), client_validation };
            IrResource::Listener(Arc::new(listener(protocol, Vec::new())))
        };
        let without = encode(&listener(None));
        let text = std::str::from_utf8(&without).unwrap();
        assert!(text.contains(r#""protocol":{"Https":{"certificates":[]}}"#), "{text}");
        let with = listener(Some(ClientValidation {
            ca_certificates: "CA".into(),
            mode: ClientValidationMode::AllowInsecureFallback,
        }));
        let encoded = encode(&with);
        let text = std::str::from_utf8(&encoded).unwrap();
        assert!(text.contains(r#""protocol":{"HttpsValidatingClients":{"#), "{text}");
        assert_eq!(decode("Listener/web", &encoded), Ok(with));
        assert_eq!(decode("Listener/web", &without), Ok(listener(None)));
    }

    /// A proxy that does not know of TLS to backends must not reach them without.
    #[test]
    fn tls_to_backends_is_a_protocol_of_its_own() {
        let backend = |protocol, tls| {
            let key = BackendKey::service("shop", "web", 443);
            IrResource::Backend(Arc::new(Backend {
                key,
                protocol,
                tls,
                session: None,
                retry_budget: None,
            }))
        };
        let tls = Arc::new(BackendTls {
            hostname: "web.internal".into(),
            subject_alt_names: vec![SubjectAltName::Uri("spiffe://shop/web".into())],
            trust: BackendTrust::System,
            client_certificate: Some(CertificateKey::secret("shop", "client")),
            mutual: false,
        });
        for (protocol, clear, over_tls) in [
            (BackendProtocol::Http1, r#""protocol":"Http1""#, r#""protocol":{"Http1OverTls":{"#),
            (BackendProtocol::H2c, r#""protocol":"H2c""#, r#""protocol":{"Http2OverTls":{"#),
        ] {
            for (tls, expected) in [(None, clear), (Some(tls.clone()), over_tls)] {
                let backend = backend(protocol, tls);
                let encoded = encode(&backend);
                let text = std::str::from_utf8(&encoded).unwrap();
                assert!(text.contains(expected), "{text}");
                assert_eq!(decode("Backend/shop/web:443", &encoded), Ok(backend));
            }
        }
    }

    #[test]
    fn a_resource_under_another_name_is_refused() {
        let error = decode("Certificate/default/other", &encode(&certificate())).unwrap_err();
        assert_eq!(
            error,
            "it is named Certificate/default/other and holds Certificate default/tls"
        );
    }

    #[test]
    fn a_version_changes_with_the_contents_alone() {
        let version = |resource: &IrResource| Version::of(&encode(resource)).to_string();
        let IrResource::Certificate(original) = certificate() else { unreachable!() };
        let renewed = Certificate { private_key: SecretBytes::new(vec![1]), ..(*original).clone() };
        assert_eq!(version(&certificate()), version(&certificate()));
        assert_ne!(version(&certificate()), version(&IrResource::Certificate(Arc::new(renewed))));
        assert_eq!(version(&certificate()).len(), 32);
    }
}
