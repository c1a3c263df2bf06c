//! What is suspicious about objects that are valid: no API server refuses them, and no status tells.
//!
//! ```
//! use gwapi_model::{Resources, manifest};
//! use gwapi_translate::lint::{Lint, lint};
//! use gwapi_translate::{Options, translate};
//!
//! let manifest = manifest::parse("routes.yaml", r#"
//! apiVersion: gateway.networking.k8s.io/v1
//! kind: HTTPRoute
//! metadata: {name: shop}
//! spec:
//!   rules:
//!     - backendRefs: [{name: cart, port: 8080}]
//! ---
//! apiVersion: v1
//! kind: Service
//! metadata: {name: cart}
//! spec: {ports: [{port: 80}]}
//! "#);
//! let resources: Resources = manifest.objects.into_iter().map(|it| it.resource).collect();
//! let options = Options::default();
//!
//! let findings = lint(&resources, &translate(&resources, &options), &options);
//! assert_eq!(findings[0].lint, Lint::UnknownBackendPort);
//! assert_eq!(findings[0].field.to_string(), "spec.rules[0].backendRefs[0].port");
//! assert_eq!(findings[0].message, "Service default/cart has no port 8080");
//! ```
//!
//! Pure, as translation is: objects and their translation in, findings out, by object and field.
//! What a finding claims is so, as far as the objects go that are known: a
//! [shadowed match](Lint::ShadowedMatch) takes no request at all. That nothing is found proves nothing.

mod backends;
mod certificates;
mod cluster;
mod grants;
mod hostnames;
mod impossible;
mod shadowed;

use gwapi_model::status::ConditionReason;
use gwapi_model::validate::{FieldPath, PathSegment};
use gwapi_model::{Kind, NamespacedName, ObjectId, Resources, RouteKind};

use crate::ir::{GatewayId, ListenerKey};
use crate::{Options, Translation};

macro_rules! lints {
    ($($(#[$meta:meta])* $variant:ident, $code:literal, $level:ident, $title:literal;)+) => {
        /// A sort of finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Lint {
            $($(#[$meta])* $variant,)+
        }

        impl Lint {
            /// Every lint.
            pub const ALL: &'static [Lint] = &[$(Lint::$variant),+];

            /// What it is called: words in lower case with `-` between them. It does not change.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// How bad it is, unless somebody sees it otherwise.
            pub fn level(self) -> LintLevel {
                match self { $(Self::$variant => LintLevel::$level,)+ }
            }

            /// What it finds, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }
        }
    };
}

lints! {
    /// A backend that refers to a Service which is not there (HB-3). Its share answers 500.
    UnknownBackend, "unknown-backend", Error, "a backend whose Service does not exist";
    /// A backend that refers to a port which its Service does not have (HB-1). Its share answers 500.
    UnknownBackendPort, "unknown-backend-port", Error,
        "a backend with a port that its Service does not have";
    /// A match, a rule or a route that takes no request, because others take all of them first (HR-1,
    /// HR-2, LI-2, TS-3, L4-3).
    ShadowedMatch, "shadowed-match", Warning,
        "a match, rule or route whose requests are all taken by others";
    /// A match on something that no request has when it is matched (HM-7).
    ImpossibleMatch, "impossible-match", Warning, "a match that no request can satisfy";
    /// A hostname of a route that none of its listeners takes (RT-5), while they take another one.
    HostnameOutsideListener, "hostname-outside-listener", Warning,
        "a hostname that no listener of the route takes";
    /// Backends whose weights are all 0: requests are answered with 500 (HB-2).
    ZeroWeights, "zero-weights", Warning, "backends whose weights are all 0";
    /// A rule without backends that does not redirect either: requests are answered with 500 (HB-5).
    NoBackends, "no-backends", Warning, "a rule with neither backends nor a redirect";
    /// A ReferenceGrant, or an entry of one, that no reference needs (RG-1, RG-2).
    UnusedGrant, "unused-grant", Warning, "a ReferenceGrant that no reference needs";
    /// A listener's certificate that is good for the hosts of another one on its port: clients use
    /// connections again for the hosts of a certificate, and get 421 (LI-5).
    OverlappingCertificates, "overlapping-certificates", Warning,
        "a certificate that is good for hosts of another listener on its port";
    /// What an API server refuses although it can be served without one.
    RefusedByACluster, "refused-by-a-cluster", Warning,
        "what an API server refuses, although it works without a cluster";
    /// An object or field that only the experimental channel of the CRDs has.
    ExperimentalChannel, "experimental-channel", Note,
        "what only the experimental channel of the Gateway API's CRDs has";
    /// Objects of a namespace that is not among the Namespaces that are there.
    MissingNamespace, "missing-namespace", Note,
        "objects of a namespace that is not among the Namespaces of the files";
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintLevel {
    /// Something that was asked for is not served.
    Error,
    /// It is served, and probably not what is meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// Something suspicious about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which sort of finding.
    pub lint: Lint,
    /// The object.
    pub object: ObjectId,
    /// The field of it.
    pub field: FieldPath,
    /// What is suspicious, without a final dot.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What else it has to do with, such as what takes the requests.
    pub related: Vec<Related>,
    /// The reason of a condition that tells the same with less of the field or no advice, where the object
    /// has a status.
    pub condition: Option<ConditionReason>,
}

/// What a [`Finding`] has to do with besides its own object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// The object.
    pub object: ObjectId,
    /// The field of it.
    pub field: FieldPath,
    /// What it does.
    pub message: String,
}

/// What is judged.
struct Input<'a> {
    resources: &'a Resources,
    translation: &'a Translation,
    options: &'a Options,
}

/// All findings, by object and field.
///
/// `translation` is that of these very resources by these options. Where something was added to what
/// people wrote before it was translated, such as a class that is only referred to, `resources` may be
/// without that: nothing is found about it then.
pub fn lint(resources: &Resources, translation: &Translation, options: &Options) -> Vec<Finding> {
    let input = Input { resources, translation, options };
    let mut findings = Vec::new();
    backends::find(&input, &mut findings);
    certificates::find(&input, &mut findings);
    cluster::find(&input, &mut findings);
    grants::find(&input, &mut findings);
    hostnames::find(&input, &mut findings);
    impossible::find(&input, &mut findings);
    shadowed::find(&input, &mut findings);
    findings.sort_by(|a, b| {
        (&a.object, steps(&a.field), a.lint).cmp(&(&b.object, steps(&b.field), b.lint))
    });
    findings
}

/// Fields in an order in which the tenth entry of a list comes after the second.
fn steps(field: &FieldPath) -> Vec<(&str, usize)> {
    let step = |segment| match segment {
        &PathSegment::Index(index) => ("", index),
        PathSegment::Field(name) => (name.as_str(), 0),
    };
    field.0.iter().map(step).collect()
}

impl Finding {
    fn new(lint: Lint, object: ObjectId, field: FieldPath, message: impl Into<String>) -> Self {
        let (message, related) = (message.into(), Vec::new());
        Self { lint, object, field, message, help: None, related, condition: None }
    }

    fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// The field `spec`.
fn spec() -> FieldPath {
    FieldPath::default().field("spec")
}

/// The field of a rule.
fn rule_field(rule: usize) -> FieldPath {
    spec().field("rules").index(rule)
}

/// The object that a rule of the IR comes from.
fn route_id(kind: RouteKind, name: &NamespacedName) -> ObjectId {
    name.object_id(kind.kind())
}

/// The object that holds a listener, and the field of the listener there.
fn listener_field(
    resources: &Resources,
    gateway: &GatewayId,
    key: &ListenerKey,
) -> (ObjectId, FieldPath) {
    let listeners = spec().field("listeners");
    let (object, written) = match key.listener_set() {
        Some(set) => {
            let written = resources.listener_sets.get(&set).map(|set| &set.spec.listeners);
            (set.object_id(Kind::ListenerSet), written)
        }
        None => {
            let written = resources.gateways.get(gateway).map(|gateway| &gateway.spec.listeners);
            (gateway.object_id(Kind::Gateway), written)
        }
    };
    let mut written = written.into_iter().flatten();
    let field = match written.position(|listener| listener.name == key.name()) {
        Some(index) => listeners.index(index),
        None => listeners,
    };
    (object, field)
}
