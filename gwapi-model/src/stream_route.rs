//! TLSRoute, TCPRoute and UDPRoute: routes that carry bytes or datagrams and look into neither. Their
//! rules have the same fields.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{BackendRef, ObjectMeta, ParentReference};

/// Rules by which TLS connections reach backends by their server name (TS-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsRoute {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: TlsRouteSpec,
}

/// Spec of a [`TlsRoute`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteSpec {
    /// What the route attaches to, up to 32 (RT-1).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub parent_refs: Arc<[ParentReference]>,
    /// Server names, 1 to 1024 (TS-1).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub hostnames: Box<[Arc<str>]>,
    /// Exactly one rule (TS-1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<StreamRouteRule>,
    /// Experimental: scope of default Gateways (RT-16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<Box<Box<str>>>,
}

/// A rule by which connections of a port reach backends (L4-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpRoute {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: StreamRouteSpec,
}

/// A rule by which datagrams to a port reach backends (L4-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpRoute {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: StreamRouteSpec,
}

/// Spec of a [`TcpRoute`] or a [`UdpRoute`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRouteSpec {
    /// What the route attaches to, up to 32 (RT-1).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub parent_refs: Arc<[ParentReference]>,
    /// Exactly one rule (L4-1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<StreamRouteRule>,
    /// Experimental: scope of default Gateways (RT-16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<Box<Box<str>>>,
}

/// A rule of a [`TlsRoute`], [`TcpRoute`] or [`UdpRoute`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRouteRule {
    /// Name; no effect on behaviour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Backends, 1 to 16 (TS-1, L4-1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<BackendRef>,
}
