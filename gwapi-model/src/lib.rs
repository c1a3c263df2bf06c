//! The resource model of gwapi: what a user wrote, parsed once, in small types of our own.
//!
//! ```text
//!  YAML / JSON text ──► manifest ──┐
//!  API server ──► kubernetes ──────┼──► Resource ──► ResourceEvent ──► Resources (the ground state)
//!  an embedder's own values ───────┘
//! ```
//!
//! Everything here is a value: no clock, no file, no socket, no global state. Parsing is lenient
//! where the API may grow (an unknown enum value becomes `Other(String)`) and [`validate`] applies
//! what the CRDs' schemas and CEL rules would have refused.
//!
//! ```
//! use gwapi_model::{HttpRoute, Kind, ObjectId, Resource, ResourceEvent, Resources};
//! use gwapi_model::validate::validate;
//!
//! let route: HttpRoute = serde_json::from_value(serde_json::json!({
//!     "metadata": {"name": "shop", "namespace": "default"},
//!     "spec": {"rules": [{"backendRefs": [{"name": "shop", "port": 8080}]}]},
//! }))?;
//! let route = Resource::from(route);
//! assert!(validate(&route).is_empty());
//!
//! let mut state = Resources::default();
//! state.apply(ResourceEvent::Apply(route));
//! let id = ObjectId::new(Kind::HttpRoute, "default", "shop");
//! assert_eq!(state.ids(Kind::HttpRoute), [id.clone()]);
//! state.apply(ResourceEvent::Delete(id));
//! assert!(state.http_routes.is_empty());
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! The types follow the API version 1.7 of both channels, field by field, and print as they were
//! read: a field that was absent stays absent, and defaults are applied by whoever needs them. Of
//! the core kinds they hold what routing reads. Objects are shared as [`Arc`](std::sync::Arc)s, so
//! that a copy of the ground state costs no copy of its objects.
//!
//! Features: `manifest` reads YAML and JSON text with positions; `kubernetes` converts from and to
//! the `gateway-api` and `k8s-openapi` crates. Both are on by default; without them the crate
//! depends on serde, serde_json, jiff and thiserror alone. `schema` makes the CRDs of gwapi's own
//! kinds.

mod backend_tls_policy;
mod backend_traffic_policy;
mod base64;
mod core;
mod external_auth;
mod gateway;
mod gateway_class;
mod gateway_parameters;
mod grpc_route;
mod http_route;
mod id;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod listener_set;
#[cfg(feature = "manifest")]
pub mod manifest;
mod meta;
mod open_enum;
mod quantity;
mod reference;
mod reference_grant;
mod resources;
mod route;
mod scalar;
#[cfg(feature = "schema")]
pub mod schema;
mod secret_bytes;
mod session_persistence;
pub mod status;
mod stream_route;
mod telemetry_policy;
mod upgrade;
pub mod validate;
mod x_backend;

pub use crate::core::*;
pub use backend_tls_policy::*;
pub use backend_traffic_policy::*;
pub use external_auth::*;
pub use gateway::*;
pub use gateway_class::*;
pub use gateway_parameters::*;
pub use grpc_route::*;
pub use http_route::*;
pub use id::*;
/// The crate of [`Timestamp`](jiff::Timestamp), in which metadata and status say times.
pub use jiff;
pub use listener_set::*;
pub use meta::*;
pub use quantity::*;
pub use reference::*;
pub use reference_grant::*;
pub use resources::*;
pub use route::*;
pub use scalar::*;
pub use secret_bytes::SecretBytes;
pub use session_persistence::*;
pub use stream_route::*;
pub use telemetry_policy::*;
pub use upgrade::*;
pub use x_backend::*;

/// API group of the Gateway API's kinds.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// API group of kinds that the Gateway API tries out.
pub const EXPERIMENTAL_GROUP: &str = "gateway.networking.x-k8s.io";

/// API group of gwapi's own kinds.
pub const GWAPI_GROUP: &str = "gwapi.dev";

/// The controller name of gwapi, as GatewayClasses name it in `spec.controllerName`.
pub const CONTROLLER_NAME: &str = "gwapi.dev/gateway-controller";
