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
//! Features: `manifest` reads YAML and JSON text with positions; `kubernetes` converts from and to
//! the `gateway-api` and `k8s-openapi` crates. Both are on by default; without them the crate
//! depends on serde, jiff and thiserror alone.

mod core;
mod gateway;
mod gateway_class;
mod http_route;
mod id;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "manifest")]
pub mod manifest;
mod meta;
mod open_enum;
mod reference;
mod reference_grant;
mod resources;
mod scalar;
mod secret_bytes;
pub mod status;
pub mod validate;

pub use crate::core::*;
pub use gateway::*;
pub use gateway_class::*;
pub use http_route::*;
pub use id::*;
pub use meta::*;
pub use reference::*;
pub use reference_grant::*;
pub use resources::*;
pub use scalar::*;
pub use secret_bytes::SecretBytes;

/// API group of the Gateway API's kinds.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// The controller name of gwapi, as GatewayClasses name it in `spec.controllerName`.
pub const CONTROLLER_NAME: &str = "gwapi.dev/gateway-controller";
