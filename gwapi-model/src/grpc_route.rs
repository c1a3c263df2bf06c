//! GRPCRoute. What it shares with HTTPRoute (filters, backends, header matches) has the same types.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    HttpBackendRef, HttpHeaderMatch, HttpRouteFilter, ObjectMeta, ParentReference,
    SessionPersistence, ValueMatchType,
};

/// Rules by which gRPC calls to some hostnames reach backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcRoute {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: GrpcRouteSpec,
}

/// Spec of a [`GrpcRoute`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteSpec {
    /// What the route attaches to, up to 32 (RT-1).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub parent_refs: Arc<[ParentReference]>,
    /// Hostnames, up to 16; none means those of the listener (RT-5).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub hostnames: Box<[Arc<str>]>,
    /// Rules, up to 16; none means one that matches everything (GR-4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Box<[GrpcRouteRule]>>,
    /// Experimental: scope of default Gateways (RT-16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<Box<Box<str>>>,
}

/// Matches, filters and backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteRule {
    /// Name, unique in the route; no effect on behaviour (GR-4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Alternatives, up to 64; none means every call (GR-4).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub matches: Box<[GrpcRouteMatch]>,
    /// Filters, up to 16, in the order in which they run: those of [`GrpcRouteRule::FILTERS`].
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub filters: Box<[HttpRouteFilter]>,
    /// Backends, up to 16 (HB-1, HB-5).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub backend_refs: Box<[HttpBackendRef]>,
    /// Experimental: session persistence (SP-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<Box<SessionPersistence>>,
}

impl GrpcRouteRule {
    /// The types of filters that a GRPCRoute may have, of those that an HTTPRoute has (GR-7).
    pub const FILTERS: &'static [&'static str] =
        &["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"];
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteMatch {
    /// Service and method; absent means every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<GrpcMethodMatch>,
    /// Headers, up to 16 (HM-5).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub headers: Box<[HttpHeaderMatch]>,
}

/// How service and method are matched (GR-3). One of them is set at least.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcMethodMatch {
    /// Type; absent means `Exact`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub match_type: Option<ValueMatchType>,
    /// Service, with its package and without slash; absent means every service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Box<str>>,
    /// Method; absent means every method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Box<str>>,
}

impl GrpcMethodMatch {
    /// Whether a text can be the name of a service: `package.Service`, possibly after a dot.
    pub fn is_service(text: &str) -> bool {
        text.strip_prefix('.').unwrap_or(text).split('.').all(Self::is_method)
    }

    /// Whether a text can be the name of a method.
    pub fn is_method(text: &str) -> bool {
        let mut bytes = text.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }
}
