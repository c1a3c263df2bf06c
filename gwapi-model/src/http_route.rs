//! HTTPRoute.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;
use crate::{
    BackendObjectReference, GatewayDuration, HttpExternalAuthFilter, LocalObjectReference,
    ObjectMeta, ParentReference, Port, SessionPersistence,
};

/// Rules by which HTTP requests of some hostnames reach backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRoute {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: HttpRouteSpec,
}

/// Spec of an [`HttpRoute`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// What the route attaches to, up to 32 (RT-1).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub parent_refs: Arc<[ParentReference]>,
    /// Hostnames, up to 16; none means those of the listener (RT-5).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub hostnames: Box<[Arc<str>]>,
    /// Rules, 1 to 16; absent means one that matches everything (HR-5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Box<[HttpRouteRule]>>,
    /// Experimental: scope of default Gateways (RT-16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<Box<Box<str>>>,
}

/// Matches, filters and backends. What few rules have is kept elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Name, unique in the route; no effect on behaviour (HR-5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Alternatives, up to 64; none means the path prefix `/` (HR-5).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub matches: Box<[HttpRouteMatch]>,
    /// Filters, up to 16, in the order in which they run.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub filters: Box<[HttpRouteFilter]>,
    /// Backends, up to 16 (HB-1, HB-5).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub backend_refs: Box<[HttpBackendRef]>,
    /// Timeouts (TO-2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Box<HttpRouteTimeouts>>,
    /// Retries (RY-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Box<HttpRouteRetry>>,
    /// Experimental: session persistence (SP-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<Box<SessionPersistence>>,
}

/// Conditions that must all hold (HM-8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteMatch {
    /// Path; absent means the prefix `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathMatch>,
    /// Headers, up to 16 (HM-5).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub headers: Box<[HttpHeaderMatch]>,
    /// Query parameters, up to 16 (HM-6).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub query_params: Box<[HttpQueryParamMatch]>,
    /// Method (HM-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
}

/// How a path is matched (HM-1, HM-2, HR-3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPathMatch {
    /// Type; absent means `PathPrefix`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub match_type: Option<PathMatchType>,
    /// Value; absent means `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<str>>,
}

open_enum! {
    /// Type of a path match.
    pub enum PathMatchType {
        /// Byte-equal.
        Exact = "Exact",
        /// By path element.
        PathPrefix = "PathPrefix",
        /// Regular expression over the whole path.
        RegularExpression = "RegularExpression",
    }
}

open_enum! {
    /// Type of a header or query parameter match.
    pub enum ValueMatchType {
        /// Byte-equal.
        Exact = "Exact",
        /// Regular expression over the whole value.
        RegularExpression = "RegularExpression",
    }
}

/// How a header is matched (HM-5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpHeaderMatch {
    /// Type; absent means `Exact`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub match_type: Option<ValueMatchType>,
    /// Name, compared without regard to case.
    pub name: String,
    /// Value or pattern.
    pub value: String,
}

/// How a query parameter is matched (HM-6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpQueryParamMatch {
    /// Type; absent means `Exact`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub match_type: Option<ValueMatchType>,
    /// Name, compared exactly.
    pub name: String,
    /// Value or pattern.
    pub value: String,
}

open_enum! {
    /// Methods that a match can name.
    pub enum HttpMethod {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// DELETE.
        Delete = "DELETE",
        /// CONNECT.
        Connect = "CONNECT",
        /// OPTIONS.
        Options = "OPTIONS",
        /// TRACE.
        Trace = "TRACE",
        /// PATCH.
        Patch = "PATCH",
    }
}

/// A step between match and backend. The member that fits the type is set, no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteFilter {
    /// Type.
    #[serde(rename = "type")]
    pub filter_type: HttpRouteFilterType,
    /// Of `RequestHeaderModifier` (HF-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HttpHeaderFilter>,
    /// Of `ResponseHeaderModifier` (HF-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HttpHeaderFilter>,
    /// Of `RequestMirror` (HF-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_mirror: Option<HttpRequestMirrorFilter>,
    /// Of `RequestRedirect` (HF-2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<HttpRequestRedirectFilter>,
    /// Of `URLRewrite` (HF-5).
    #[serde(default, rename = "urlRewrite", skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<HttpUrlRewriteFilter>,
    /// Of `CORS` (HF-8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<HttpCorsFilter>,
    /// Of `ExternalAuth`, experimental (HF-9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<Box<HttpExternalAuthFilter>>,
    /// Of `ExtensionRef` (HF-10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension_ref: Option<LocalObjectReference>,
}

open_enum! {
    /// Type of a filter.
    pub enum HttpRouteFilterType {
        /// Changes request headers.
        RequestHeaderModifier = "RequestHeaderModifier",
        /// Changes response headers.
        ResponseHeaderModifier = "ResponseHeaderModifier",
        /// Answers with a redirect.
        RequestRedirect = "RequestRedirect",
        /// Changes host and path of the request.
        UrlRewrite = "URLRewrite",
        /// Sends a copy of the request elsewhere.
        RequestMirror = "RequestMirror",
        /// Cross-origin resource sharing.
        Cors = "CORS",
        /// Asks an authorization service (experimental).
        ExternalAuth = "ExternalAuth",
        /// An implementation's own filter.
        ExtensionRef = "ExtensionRef",
    }
}

/// Changes of headers: `set`, then `add`, then `remove` (HF-1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpHeaderFilter {
    /// Replaces all values of these headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HttpHeader>,
    /// Appends values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HttpHeader>,
    /// Removes these headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// A header with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Name.
    pub name: String,
    /// Value, taken literally.
    pub value: String,
}

/// Sends a copy of requests to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestMirrorFilter {
    /// Where to.
    pub backend_ref: BackendObjectReference,
    /// Share in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// Share as a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
}

/// A share of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fraction {
    /// Numerator.
    pub numerator: i32,
    /// Denominator; absent means 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denominator: Option<i32>,
}

/// Answers with a redirect (HF-2 to HF-4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestRedirectFilter {
    /// `http` or `https`; absent means that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Host; absent means that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Path; absent means that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathModifier>,
    /// Port (HF-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// 301, 302 (default), 303, 307 or 308.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<i64>,
}

/// Changes the host and path that a backend sees (HF-5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpUrlRewriteFilter {
    /// Host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathModifier>,
}

/// How a path is replaced (HF-4, HF-6). The member that fits the type is set, no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPathModifier {
    /// Type.
    #[serde(rename = "type")]
    pub modifier_type: PathModifierType,
    /// Of `ReplaceFullPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_full_path: Option<String>,
    /// Of `ReplacePrefixMatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_prefix_match: Option<String>,
}

open_enum! {
    /// Type of a path modifier.
    pub enum PathModifierType {
        /// The whole path is replaced.
        ReplaceFullPath = "ReplaceFullPath",
        /// The matched prefix is replaced.
        ReplacePrefixMatch = "ReplacePrefixMatch",
    }
}

/// Cross-origin resource sharing (CO-1 to CO-7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpCorsFilter {
    /// Origins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_origins: Vec<String>,
    /// Whether credentials are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// Request headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    /// Response headers that scripts may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// Seconds for which a preflight may be cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<i32>,
}

/// A backend with its weight and its own filters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpBackendRef {
    /// Group; absent means core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Box<str>>,
    /// Kind; absent means `Service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Box<str>>,
    /// Name.
    pub name: Box<str>,
    /// Namespace; absent means the route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Box<str>>,
    /// Port of the Service; required for Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Weight, 0 to 1,000,000; absent means 1 (HB-2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// Filters that run when this backend was chosen (HB-6).
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub filters: Box<[HttpRouteFilter]>,
}

/// Timeouts of a rule (TO-1, TO-2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// From the request to the end of its response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<GatewayDuration>,
    /// One attempt at a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<GatewayDuration>,
}

/// Retries of a rule (RY-1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRetry {
    /// Status codes that are retried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<i32>,
    /// Retries after the first try; absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,
    /// Base interval between tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<GatewayDuration>,
}
