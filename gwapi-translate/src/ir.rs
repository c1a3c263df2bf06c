//! The intermediate representation: the one currency between translation, proxy and tools.
//!
//! A [`GatewayConfig`] is a flat map from [`IrKey`] to [`IrResource`]. Its cardinality is that of
//! what users edit: one [`HttpRule`] or [`StreamRule`] per rule of a route, one [`Backend`] and one [`Endpoints`] per
//! Service port, one [`Certificate`] per Secret. Children name their parents, keys are stable, and
//! what orders rules are fields of the rule.
//!
//! Its resources serialise to be shown, without private keys. Another process gets them in the form
//! of the module `wire` (a feature), which is the same but for certificates: what is added to a type
//! here has to obey the rules that stand there. Until 1.0 enums get variants and structs get fields
//! with what is supported.

mod backend;
mod listener;
mod session;
mod stream;
mod timeouts;
mod tracing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gwapi_model::{NamespacedName, RouteKind, SecretBytes};
use serde::{Deserialize, Serialize};

pub use backend::*;
pub use listener::*;
pub use session::*;
pub use stream::StreamRule;
pub use tracing::*;

/// Name of a Gateway; every configuration belongs to one.
pub type GatewayId = NamespacedName;

macro_rules! keys {
    ($($(#[$meta:meta])* $name:ident;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub Arc<str>);

        impl $name {
            /// Wraps the text of a key.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of the key.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

keys! {
    /// Key of a [`Listener`] within its Gateway: the listener's name, and `namespace/set/name` for one
    /// that a ListenerSet adds.
    ListenerKey;
    /// Key of an [`HttpRule`]: `namespace/route/rule`, where `rule` is the rule's name, or a hash
    /// of its matches with a counter: never its position alone. Before the rule of a GRPCRoute
    /// stands `~grpc/`, and that of a [`StreamRule`] is `~tls`, `~through`, `~tcp` or `~udp`.
    RuleKey;
    /// Key of a [`Backend`] and of its [`Endpoints`]: `namespace/service:port`, or `namespace/name.xbackend`
    /// of an XBackend. What
    /// other routes than HTTPRoutes refer to is another backend, with `/grpc`, `/tls`, `/through`, `/tcp` or
    /// `/udp` behind.
    BackendKey;
    /// Key of a [`Certificate`]: `namespace/secret`, and for one that is shown to a [`Backend`] alone
    /// `~backend/` with the key of that before it.
    CertificateKey;
}

impl ListenerKey {
    /// The key of a listener that a ListenerSet adds.
    pub fn of_listener_set(set: &NamespacedName, listener: &str) -> Self {
        Self::new(format!("{set}/{listener}"))
    }

    /// The ListenerSet that adds the listener; `None` where it is the Gateway's own.
    pub fn listener_set(&self) -> Option<NamespacedName> {
        let (set, _) = self.0.rsplit_once('/')?;
        let (namespace, name) = set.split_once('/')?;
        Some(NamespacedName::new(namespace, name))
    }

    /// The listener's name in the object that holds it.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }
}

impl BackendKey {
    /// The key of a Service port for HTTPRoutes.
    pub fn service(namespace: &str, name: &str, port: u16) -> Self {
        Self::for_routes(RouteKind::Http, namespace, name, port)
    }

    /// The key of a Service port for routes of a kind, which says what is spoken to it.
    pub fn for_routes(kind: RouteKind, namespace: &str, name: &str, port: u16) -> Self {
        let suffix = Self::suffix(kind);
        Self::new(format!("{namespace}/{name}:{port}{suffix}"))
    }

    /// The key of an XBackend for routes of a kind, whose connections may go through as they are. No Service
    /// has a dot in its name.
    pub fn x_backend(kind: RouteKind, passthrough: bool, namespace: &str, name: &str) -> Self {
        let suffix = if passthrough { "/through" } else { Self::suffix(kind) };
        Self::new(format!("{namespace}/{name}.xbackend{suffix}"))
    }

    /// The XBackend that the key is of, if it is of one.
    pub fn x_backend_name(&self) -> Option<NamespacedName> {
        let (namespace, name) = self.0.split_once('/')?;
        let name = name.split_once('/').map_or(name, |(name, _)| name);
        Some(NamespacedName::new(namespace, name.strip_suffix(".xbackend")?))
    }

    /// A number that stands for the key in tokens: the same in every process and every release.
    pub fn fingerprint(&self) -> u64 {
        crate::hash::fnv1a(self.as_str().as_bytes())
    }

    fn suffix(kind: RouteKind) -> &'static str {
        match kind {
            RouteKind::Http => "",
            RouteKind::Grpc => "/grpc",
            RouteKind::Tls => "/tls",
            RouteKind::Tcp => "/tcp",
            RouteKind::Udp => "/udp",
        }
    }

    /// The key of a Service port for connections of TLSRoutes that go through as they are: no TLS of ours
    /// is put around them (TS-5).
    pub fn for_passthrough(namespace: &str, name: &str, port: u16) -> Self {
        Self::new(format!("{namespace}/{name}:{port}/through"))
    }

    /// The key of a Service port that is asked for authorization by gRPC, whatever the kind of the routes
    /// (EA-3).
    pub fn for_authorization(namespace: &str, name: &str, port: u16) -> Self {
        Self::new(format!("{namespace}/{name}:{port}/authz"))
    }

    /// Namespace and name of the Service, and its port.
    pub fn service_port(&self) -> Option<(&str, &str, &str)> {
        let (service, port) = self.0.rsplit_once(':')?;
        let (namespace, name) = service.split_once('/')?;
        let port = port.split_once('/').map_or(port, |(port, _)| port);
        Some((namespace, name, port))
    }
}

/// What comes before the key of a backend. No namespace begins like that.
const OF_BACKEND: &str = "~backend/";

impl CertificateKey {
    /// The key of a Secret.
    pub fn secret(namespace: &str, name: &str) -> Self {
        Self::new(format!("{namespace}/{name}"))
    }

    /// The key of the certificate that is shown to a backend alone. It comes and goes with the backend,
    /// whoever else uses the same Secret.
    pub fn of_backend(backend: &BackendKey) -> Self {
        Self::new(format!("{OF_BACKEND}{backend}"))
    }

    /// The backend that the certificate is shown to, where it is there for that alone.
    pub fn backend(&self) -> Option<BackendKey> {
        self.0.strip_prefix(OF_BACKEND).map(BackendKey::new)
    }
}

/// Everything that one Gateway serves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatewayConfig(pub BTreeMap<IrKey, IrResource>);

impl GatewayConfig {
    /// Applies a delta.
    pub fn apply(&mut self, delta: &ConfigDelta) {
        if self.0.is_empty() {
            // All at once they take less time and less room.
            let all = delta.upserts.iter().map(|resource| (resource.key(), resource.clone()));
            self.0 = all.collect();
            return;
        }
        for key in &delta.removals {
            self.0.remove(key);
        }
        for resource in &delta.upserts {
            self.0.insert(resource.key(), resource.clone());
        }
    }

    /// The delta that leads from `self` to `target`.
    pub fn delta_to(&self, target: &Self) -> ConfigDelta {
        ConfigDelta {
            upserts: target
                .0
                .iter()
                .filter(|(key, resource)| self.0.get(*key) != Some(*resource))
                .map(|(_, resource)| resource.clone())
                .collect(),
            removals: self.0.keys().filter(|key| !target.0.contains_key(*key)).cloned().collect(),
        }
    }

    /// All listeners.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.0.values().filter_map(|resource| match resource {
            IrResource::Listener(listener) => Some(listener),
            _ => None,
        })
    }

    /// All rules of TLSRoutes, TCPRoutes and UDPRoutes.
    pub fn stream_rules(&self) -> impl Iterator<Item = &Arc<StreamRule>> {
        self.0.values().filter_map(|resource| match resource {
            IrResource::StreamRule(rule) => Some(rule),
            _ => None,
        })
    }

    /// All HTTP rules.
    pub fn http_rules(&self) -> impl Iterator<Item = &Arc<HttpRule>> {
        self.0.values().filter_map(|resource| match resource {
            IrResource::HttpRule(rule) => Some(rule),
            _ => None,
        })
    }
}

/// What changed in a [`GatewayConfig`]. Replacing is one upsert, never a removal and an upsert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigDelta {
    /// New or changed resources.
    pub upserts: Vec<IrResource>,
    /// Keys of resources that are gone.
    pub removals: Vec<IrKey>,
}

impl ConfigDelta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty()
    }
}

/// Names a resource of a [`GatewayConfig`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IrKey {
    /// A listener.
    Listener(ListenerKey),
    /// An HTTP rule.
    HttpRule(RuleKey),
    /// A rule of a TLSRoute, TCPRoute or UDPRoute.
    StreamRule(RuleKey),
    /// A backend.
    Backend(BackendKey),
    /// The endpoints of a backend.
    Endpoints(BackendKey),
    /// A certificate.
    Certificate(CertificateKey),
    /// What is traced; a Gateway has one such resource at most.
    Tracing,
    /// The keys of sessions.
    SessionKeys,
}

impl fmt::Display for IrKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(key) => write!(f, "Listener {key}"),
            Self::HttpRule(key) => write!(f, "HttpRule {key}"),
            Self::StreamRule(key) => write!(f, "StreamRule {key}"),
            Self::Backend(key) => write!(f, "Backend {key}"),
            Self::Endpoints(key) => write!(f, "Endpoints {key}"),
            Self::Certificate(key) => write!(f, "Certificate {key}"),
            Self::Tracing => f.write_str("Tracing"),
            Self::SessionKeys => f.write_str("SessionKeys"),
        }
    }
}

/// One resource of a [`GatewayConfig`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum IrResource {
    /// A listener.
    Listener(Arc<Listener>),
    /// An HTTP rule.
    HttpRule(Arc<HttpRule>),
    /// A rule of a TLSRoute, TCPRoute or UDPRoute.
    StreamRule(Arc<StreamRule>),
    /// A backend.
    Backend(Arc<Backend>),
    /// The endpoints of a backend.
    Endpoints(Arc<Endpoints>),
    /// A certificate.
    Certificate(Arc<Certificate>),
    /// What is traced.
    Tracing(Arc<Tracing>),
    /// The keys of sessions; without them each process has its own.
    SessionKeys(Arc<SessionKeys>),
}

impl IrResource {
    /// The key of the resource.
    pub fn key(&self) -> IrKey {
        match self {
            Self::Listener(listener) => IrKey::Listener(listener.key.clone()),
            Self::HttpRule(rule) => IrKey::HttpRule(rule.key.clone()),
            Self::StreamRule(rule) => IrKey::StreamRule(rule.key.clone()),
            Self::Backend(backend) => IrKey::Backend(backend.key.clone()),
            Self::Endpoints(endpoints) => IrKey::Endpoints(endpoints.key.clone()),
            Self::Certificate(certificate) => IrKey::Certificate(certificate.key.clone()),
            Self::Tracing(_) => IrKey::Tracing,
            Self::SessionKeys(_) => IrKey::SessionKeys,
        }
    }
}

/// A hostname: lower-case, without port and trailing dot; exact, or a wildcard for one or more
/// labels to the left of a suffix (LI-1).
///
/// The order is by text; specificity is the table's business.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Hostname {
    /// `www.example.com`.
    Exact(Arc<str>),
    /// `*.example.com`, held as `example.com`.
    Wildcard(Arc<str>),
}

impl Hostname {
    /// Reads a hostname as written in a manifest.
    pub fn parse(text: &str) -> Self {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        match text.strip_prefix("*.") {
            Some(suffix) => Self::Wildcard(suffix.into()),
            None => Self::Exact(text.as_str().into()),
        }
    }

    /// Whether a request for `host` (lower-case, no port) is meant: `*.a.b` takes one or more
    /// labels, never `a.b` itself (LI-1).
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => host
                .strip_suffix(&**suffix)
                .and_then(|labels| labels.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
        }
    }

    /// Whether some host is meant by both (RT-5).
    pub fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(name), wildcard @ Self::Wildcard(_))
            | (wildcard @ Self::Wildcard(_), Self::Exact(name)) => wildcard.matches(name),
            (Self::Wildcard(a), Self::Wildcard(b)) => {
                a == b
                    || Self::Wildcard(a.clone()).matches(b)
                    || Self::Wildcard(b.clone()).matches(a)
            }
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

impl From<String> for Hostname {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<Hostname> for String {
    fn from(hostname: Hostname) -> Self {
        hostname.to_string()
    }
}

/// Where a rule stands among rules of one kind of routes whose matches are equally specific (HR-2, 6 to 8):
/// the derived order is the rule of precedence, smaller first. Where kinds compete, the kind comes before
/// the position of the rule (GR-8).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleOrder {
    /// Creation of the route in seconds since 1970; older routes win. 0 where it is not known.
    pub created: i64,
    /// Namespace and name of the route, compared as the text `namespace/name`.
    pub route: String,
    /// Position of the rule in the route.
    pub rule_index: u16,
}

/// One rule of a route as one Gateway serves it. There are as many as rules, and most have little of what
/// they could have: what few have is kept elsewhere, and what many have in common is shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpRule {
    /// Key.
    pub key: RuleKey,
    /// The route it belongs to.
    pub route: NamespacedName,
    /// The kind of that route.
    #[serde(default, skip_serializing_if = "RouteKind::is_http")]
    pub route_kind: RouteKind,
    /// The rule's name, where it has one.
    pub name: Option<Box<str>>,
    /// Precedence among equals.
    pub order: RuleOrder,
    /// Listeners that the route is attached to, sorted. One that is not in the configuration is
    /// not served at present: what breaks a listener does not touch its routes.
    pub listeners: Arc<[ListenerKey]>,
    /// Hostnames as written in the route (HR-1, HR-7); none means every host of the listener.
    pub hostnames: Arc<[Hostname]>,
    /// Alternatives, at least one.
    pub matches: Vec<HttpMatch>,
    /// Filters in the order in which they run, before those of the chosen backend.
    pub filters: Vec<HttpFilter>,
    /// Backends with weights; none, or weights that are all 0, answer 500 (HB-2, HB-5) unless a
    /// filter answers.
    pub backends: Vec<WeightedBackend>,
    /// Timeouts; none means that each of them is the data plane's default.
    #[serde(default, with = "timeouts")]
    pub timeouts: Option<Box<HttpTimeouts>>,
    /// Retries; none means those alone that every data plane makes of requests that nobody has seen.
    pub retry: Option<Box<HttpRetry>>,
    /// Session persistence; goes before that of its backends (SP-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<SessionPersistence>>,
}

impl HttpRule {
    /// The backends that its requests go to, with the weight of each.
    pub fn targets(&self) -> impl Iterator<Item = (&BackendKey, u32)> {
        stream::targets(&self.backends)
    }

    /// The backends that get copies of its requests (HF-7).
    pub fn mirrors(&self) -> impl Iterator<Item = &BackendKey> {
        let of_backends = self.backends.iter().flat_map(|backend| &backend.filters);
        self.filters.iter().chain(of_backends).filter_map(|filter| match filter {
            HttpFilter::Mirror(mirror) => Some(&mirror.backend),
            _ => None,
        })
    }

    /// The backends that are asked about its requests (HF-9).
    pub fn authorizers(&self) -> impl Iterator<Item = &BackendKey> {
        let of_backends = self.backends.iter().flat_map(|backend| &backend.filters);
        self.filters.iter().chain(of_backends).filter_map(|filter| match filter {
            HttpFilter::ExternalAuth(ExternalAuth {
                target: BackendTarget::Backend(key), ..
            }) => Some(key),
            _ => None,
        })
    }
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpMatch {
    /// Path.
    pub path: PathMatch,
    /// Method (HM-7).
    pub method: Option<String>,
    /// Headers; names lower-case and unique (HM-5).
    pub headers: Vec<HeaderMatch>,
    /// Query parameters; names unique (HM-6).
    pub query_params: Vec<QueryParamMatch>,
}

/// How a path is matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathMatch {
    /// Byte-equal (HM-1).
    Exact(Arc<str>),
    /// By path element; without trailing slash, so that `/` is held as the empty text (HM-2).
    Prefix(Arc<str>),
    /// Regular expression over the whole path (HR-3).
    Regex(Arc<str>),
    /// `/service/method` with this method, whatever the service (GR-3).
    GrpcMethod(Arc<str>),
    /// `/service/method`, of which either is taken whole by a regular expression, or is whatever it is (GR-3).
    GrpcRegex {
        /// Of services.
        service: Option<Arc<str>>,
        /// Of methods.
        method: Option<Arc<str>>,
    },
}

impl PathMatch {
    /// Service and method that a path names, if it is that of a gRPC call: `/service/method`.
    pub fn grpc_call(path: &str) -> Option<(&str, &str)> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        (!service.is_empty() && !method.contains('/')).then_some((service, method))
    }
}

impl Default for PathMatch {
    fn default() -> Self {
        Self::Prefix("".into())
    }
}

/// A header's name and value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Lower-case name.
    pub name: Arc<str>,
    /// Value.
    pub value: ValueMatch,
}

/// A query parameter's name and value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QueryParamMatch {
    /// Name.
    pub name: Arc<str>,
    /// Value.
    pub value: ValueMatch,
}

/// How a value is matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueMatch {
    /// Byte-equal.
    Exact(Arc<str>),
    /// Regular expression over the whole value.
    Regex(Arc<str>),
}

/// A step between match and backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpFilter {
    /// Changes request headers (HF-1).
    RequestHeaders(HeaderChanges),
    /// Changes response headers (HF-1).
    ResponseHeaders(HeaderChanges),
    /// Answers with a redirect (HF-2 to HF-4).
    Redirect(Redirect),
    /// Changes host and path of the request (HF-5).
    UrlRewrite(UrlRewrite),
    /// Answers preflights, and tells browsers which origins may read responses (HF-8).
    Cors(Cors),
    /// Sends a copy of the request to one endpoint more, and nobody waits for the answer (HF-7).
    Mirror(Mirror),
    /// Asks a service whether the request may go on (HF-9).
    ExternalAuth(ExternalAuth),
}

/// External authorization: a service is asked about each request, and whatever is not its consent denies
/// the request (EA-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAuth {
    /// The service. Where it leads nowhere requests are answered with 500, as those for a backend.
    pub target: BackendTarget,
    /// What it is asked, and how.
    pub protocol: ExternalAuthProtocol,
    /// Bytes of the longest body that it is shown; a request with a longer one is denied (EA-4). 0 means
    /// that it is shown none.
    pub max_body_bytes: u32,
}

/// How a service is asked for authorization. Names of headers are valid and lower-case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExternalAuthProtocol {
    /// By a request with the method, the host and the path of the client's; 200 is its only consent (EA-2).
    Http {
        /// What is put before the path: canonical, and without trailing slash.
        path_prefix: String,
        /// Headers that it is told besides those that it always is.
        request_headers: Vec<String>,
        /// Headers of its consent that the request goes on with.
        response_headers: HeaderNames,
    },
    /// By Envoy's `ext_authz` (EA-3).
    Grpc {
        /// Headers that it is told.
        request_headers: HeaderNames,
    },
}

/// Some names of headers, or all that may be passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeaderNames {
    /// All.
    All,
    /// These.
    Only(Vec<String>),
}

/// Where copies of requests go, and of how many of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// A [`Backend`] of the same configuration; nothing is copied where the configuration has none of
    /// that key.
    pub backend: BackendKey,
    /// Of `denominator` requests so many are copied: at least 1, and at most all.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

/// Cross-origin resource sharing. Lists are in the order in which they were written, without repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins whose scripts may read responses (CO-1).
    pub allow_origins: Vec<CorsOrigin>,
    /// Whether requests may carry credentials (CO-4).
    pub allow_credentials: bool,
    /// Methods of requests (CO-5).
    pub allow_methods: CorsNames,
    /// Headers of requests (CO-6).
    pub allow_headers: CorsNames,
    /// Headers of responses that scripts may read.
    pub expose_headers: CorsNames,
    /// Seconds for which the answer to a preflight may be kept (CO-7).
    pub max_age: u32,
}

/// An origin that is allowed (CO-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CorsOrigin {
    /// Every origin, `null` among them.
    Any,
    /// Those of a scheme, a host and a port.
    Of {
        /// `http` or `https`.
        scheme: String,
        /// Lower-case host.
        host: CorsHost,
        /// Port.
        port: u16,
    },
}

/// The host of an origin that is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CorsHost {
    /// Every host.
    Any,
    /// This one.
    Exact(String),
    /// Every host that ends with a dot and this, with any number of labels before.
    Below(String),
}

/// Names that are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CorsNames {
    /// `*`.
    Any,
    /// These.
    Only(Vec<String>),
}

/// Changes of headers: `set`, then `add`, then `remove`. Names are valid and lower-case, values
/// are valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderChanges {
    /// Replaces all values.
    pub set: Vec<(String, String)>,
    /// Appends a value.
    pub add: Vec<(String, String)>,
    /// Removes all values.
    pub remove: Vec<String>,
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// `http` or `https`; none means that of the request.
    pub scheme: Option<String>,
    /// Host; none means that of the request without its port.
    pub hostname: Option<String>,
    /// Port; none means the scheme's where `scheme` is set, else the listener's (HF-3).
    pub port: Option<u16>,
    /// Path; none means that of the request.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// Changes of host and path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlRewrite {
    /// Host that the backend sees.
    pub hostname: Option<String>,
    /// Path that the backend sees.
    pub path: Option<PathRewrite>,
}

/// How a path is replaced; the query stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathRewrite {
    /// By this path.
    Full(String),
    /// The prefix that the rule matched by this one (HF-6); without trailing slash.
    Prefix(String),
}

/// A backend with its weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedBackend {
    /// Share of the sum of weights; 0 gets nothing (HB-2).
    pub weight: u32,
    /// Where to.
    pub target: BackendTarget,
    /// Filters of this backend alone (HB-6).
    pub filters: Vec<HttpFilter>,
}

/// What a weighted share leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendTarget {
    /// A [`Backend`] of the same configuration. Where the configuration has none of that key, the
    /// Service or its port does not exist: 500 (HB-3).
    Backend(BackendKey),
    /// A reference that is wrong by itself (kind unknown, not granted, ...): 500 (HB-3). The text
    /// says why.
    Invalid(String),
}

/// Timeouts of a rule; `None` means the data plane's default, zero means none (TO-1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpTimeouts {
    /// From the request to the end of its response.
    pub request: Option<Duration>,
    /// One attempt at a backend.
    pub backend_request: Option<Duration>,
}

/// When a request is sent again, within the timeouts of its rule (RY-1 to RY-4). What certainly was not
/// processed is sent again whatever the codes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRetry {
    /// Status codes that are retried, sorted and without repeats.
    pub codes: Vec<u16>,
    /// Retries after the first attempt; 0 switches every retry off.
    pub attempts: u32,
    /// Time before the first retry, from which later ones grow; none means the data plane's default.
    pub backoff: Option<Duration>,
}

/// A certificate chain and its private key, as PEM.
///
/// It serialises without the key, so that a dump can never hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Key.
    pub key: CertificateKey,
    /// Certificate chain, leaf first, PEM.
    pub chain: Arc<str>,
    /// Private key, PEM.
    #[serde(skip)]
    pub private_key: SecretBytes,
}
