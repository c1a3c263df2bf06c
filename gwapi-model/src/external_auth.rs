//! External authorization, which filters of HTTPRoutes and of listeners share (EA-5).

use serde::{Deserialize, Serialize};

use crate::BackendObjectReference;
use crate::open_enum::open_enum;

/// Asks a service about each request before it goes on. The member that fits the protocol is set, no
/// other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpExternalAuthFilter {
    /// How the service is asked.
    pub protocol: ExternalAuthProtocol,
    /// The service (EA-1).
    pub backend_ref: BackendObjectReference,
    /// Of `GRPC` (EA-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcAuthConfig>,
    /// Of `HTTP` (EA-2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpAuthConfig>,
    /// How much of a body the service is shown (EA-4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_body: Option<ForwardBodyConfig>,
}

open_enum! {
    /// How a service is asked for authorization.
    pub enum ExternalAuthProtocol {
        /// By a request like the client's: 200 is the only consent (EA-2).
        Http = "HTTP",
        /// By Envoy's `ext_authz` (EA-3).
        Grpc = "GRPC",
    }
}

/// What a service that speaks Envoy's `ext_authz` is told (EA-3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcAuthConfig {
    /// Headers that it is told, up to 64; none means all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
}

/// What a service that speaks HTTP is told, and what of its answer is taken over (EA-2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAuthConfig {
    /// What is put before the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Headers that it is told besides those that it always is, up to 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
    /// Headers of its consent that the request goes on with, up to 64; none means all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_response_headers: Vec<String>,
}

/// How much of a body is shown (EA-4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardBodyConfig {
    /// Bytes of the longest body; 0, or none, means that no body is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<i32>,
}
