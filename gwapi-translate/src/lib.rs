//! From Gateway API resources to what a data plane serves: pure, total, incremental.
//!
//! ```text
//!  Resources ──► translate ──► Translation { config per Gateway, status per object }
//!  ResourceEvent ──► Translator::apply ──► TranslationDelta        (adds up to the same)
//!
//!  GatewayConfig ──► RouteTable ──► RouteMatch ──► backend by weight
//! ```
//!
//! ```
//! use gwapi_model::{Resources, manifest};
//! use gwapi_translate::{Options, translate};
//!
//! let manifest = manifest::parse("gateway.yaml", r#"
//! apiVersion: gateway.networking.k8s.io/v1
//! kind: GatewayClass
//! metadata: {name: gwapi}
//! spec: {controllerName: gwapi.dev/gateway-controller}
//! ---
//! apiVersion: gateway.networking.k8s.io/v1
//! kind: Gateway
//! metadata: {name: web}
//! spec:
//!   gatewayClassName: gwapi
//!   listeners: [{name: http, port: 80, protocol: HTTP}]
//! ---
//! apiVersion: gateway.networking.k8s.io/v1
//! kind: HTTPRoute
//! metadata: {name: shop}
//! spec:
//!   parentRefs: [{name: web}]
//!   hostnames: [shop.example.com]
//!   rules:
//!     - filters: [{type: RequestRedirect, requestRedirect: {hostname: www.example.com}}]
//! "#);
//! let resources: Resources = manifest.objects.into_iter().map(|it| it.resource).collect();
//!
//! let translation = translate(&resources, &Options::default());
//! for (gateway, config) in &translation.config {
//!     println!("{gateway}: {} listeners", config.listeners().count());
//!     for rule in config.http_rules() {
//!         println!("  {} for {:?}", rule.key, rule.hostnames);
//!     }
//! }
//! for (object, status) in &translation.status {
//!     println!("{object}: {status:?}");
//! }
//! # assert_eq!(translation.config.values().next().unwrap().http_rules().count(), 1);
//! ```
//!
//! * Total: translation never fails as a whole. A rule that cannot be honoured becomes a rule that
//!   answers 500, together with a condition that says why; everything else is served.
//! * Incremental = full: for any sequence of events the deltas of [`Translator::apply`] add up to
//!   [`translate`] of the final resources.
//! * Table = oracle: a [`RouteTable`] answers as a naive reading of the rules does.
//!
//! No runtime, no clock, no file, and randomness only from an `Rng` that is handed in.
//! The feature `testing` exports the generators, the oracle and the laws behind these sentences.

pub mod features;
mod hash;
pub mod infrastructure;
pub mod ir;
pub mod lint;
pub mod path;
pub mod pattern;
pub mod selection;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod translator;
pub mod weighted;
#[cfg(feature = "wire")]
pub mod wire;

pub use table::RouteTable;
pub use translator::*;
