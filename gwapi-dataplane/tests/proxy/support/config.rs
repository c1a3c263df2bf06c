//! Configurations in a few words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gwapi_model::{NamespacedName, SecretBytes};
use gwapi_translate::ir::{
    Backend, BackendKey, BackendProtocol, BackendTarget, Certificate, CertificateKey, Endpoints,
    HeaderChanges, Hostname, HttpFilter, HttpMatch, HttpRule, IrResource, Listener, ListenerKey,
    ListenerProtocol, PathMatch, RuleKey, RuleOrder, WeightedBackend,
};

pub(crate) fn listener(name: &str, port: u16) -> Listener {
    Listener {
        key: ListenerKey::new(name),
        addresses: vec![IpAddr::from([127, 0, 0, 1])],
        port,
        protocol: ListenerProtocol::Http,
        hostname: None,
        filters: Vec::new(),
    }
}

pub(crate) fn https_listener(
    name: &str,
    port: u16,
    hostname: Option<&str>,
    certificates: &[&str],
) -> Listener {
    let key = |name: &&str| CertificateKey::secret("default", name);
    Listener {
        protocol: ListenerProtocol::Https {
            certificates: certificates.iter().map(key).collect(),
            client_validation: None,
        },
        hostname: hostname.map(Hostname::parse),
        ..listener(name, port)
    }
}

/// A rule on the listener `web` that takes every request, until told otherwise.
pub(crate) fn rule(name: &str) -> HttpRule {
    HttpRule {
        key: RuleKey::new(format!("default/{name}/0")),
        route: NamespacedName::new("default", name),
        route_kind: gwapi_model::RouteKind::Http,
        name: None,
        order: RuleOrder { created: 0, route: format!("default/{name}"), rule_index: 0 },
        listeners: [ListenerKey::new("web")].into(),
        hostnames: Arc::default(),
        matches: vec![HttpMatch::default()],
        filters: Vec::new(),
        backends: Vec::new(),
        timeouts: None,
        retry: None,
        session: None,
    }
}

pub(crate) fn prefix(path: &str) -> Vec<HttpMatch> {
    let path = PathMatch::Prefix(path.trim_end_matches('/').into());
    vec![HttpMatch { path, ..HttpMatch::default() }]
}

pub(crate) fn key(name: &str) -> BackendKey {
    BackendKey::service("default", name, 80)
}

pub(crate) fn to(name: &str) -> Vec<WeightedBackend> {
    vec![weighted(name, 1)]
}

pub(crate) fn weighted(name: &str, weight: u32) -> WeightedBackend {
    WeightedBackend { weight, target: BackendTarget::Backend(key(name)), filters: Vec::new() }
}

/// A backend and its endpoints.
pub(crate) fn backend(name: &str, addresses: &[SocketAddr]) -> Vec<IrResource> {
    backend_speaking(BackendProtocol::Http1, name, addresses)
}

pub(crate) fn backend_speaking(
    protocol: BackendProtocol,
    name: &str,
    addresses: &[SocketAddr],
) -> Vec<IrResource> {
    let mut addresses = addresses.to_vec();
    addresses.sort();
    vec![
        IrResource::Backend(Arc::new(Backend {
            key: key(name),
            protocol,
            tls: None,
            session: None,
            retry_budget: None,
        })),
        IrResource::Endpoints(Arc::new(Endpoints {
            key: key(name),
            addresses,
            hostnames: Vec::new(),
            external: Vec::new(),
        })),
    ]
}

pub(crate) fn ir(rule: HttpRule) -> IrResource {
    IrResource::HttpRule(Arc::new(rule))
}

pub(crate) fn ir_listener(listener: Listener) -> IrResource {
    IrResource::Listener(Arc::new(listener))
}

/// A listener `web` on the port, a rule for everything, and a backend at `address`.
pub(crate) fn simple(port: u16, address: SocketAddr) -> Vec<IrResource> {
    simple_with(port, address, |_| {})
}

/// The same, with the rule changed.
pub(crate) fn simple_with(
    port: u16,
    address: SocketAddr,
    change: impl Fn(&mut HttpRule),
) -> Vec<IrResource> {
    let mut rule = HttpRule { backends: to("app"), ..rule("app") };
    change(&mut rule);
    let mut resources = backend("app", &[address]);
    resources.extend([ir_listener(listener("web", port)), ir(rule)]);
    resources
}

pub(crate) fn changes(
    set: &[(&str, &str)],
    add: &[(&str, &str)],
    remove: &[&str],
) -> HeaderChanges {
    let fields = |fields: &[(&str, &str)]| {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    HeaderChanges {
        set: fields(set),
        add: fields(add),
        remove: remove.iter().map(|name| (*name).to_owned()).collect(),
    }
}

pub(crate) fn request_headers(changes: HeaderChanges) -> HttpFilter {
    HttpFilter::RequestHeaders(changes)
}

/// A certificate made for a test, that signs itself.
#[derive(Clone)]
pub(crate) struct TestCertificate {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

pub(crate) fn certificate_for(names: &[&str]) -> TestCertificate {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("the names are valid");
    TestCertificate {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().to_vec(),
    }
}

impl TestCertificate {
    /// As the Secret `default/NAME`.
    pub(crate) fn secret(&self, name: &str) -> IrResource {
        IrResource::Certificate(Arc::new(Certificate {
            key: CertificateKey::secret("default", name),
            chain: self.chain.as_str().into(),
            private_key: SecretBytes::new(self.key.clone().into_bytes()),
        }))
    }
}
