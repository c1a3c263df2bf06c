//! What a Gateway tells of its requests, and whom.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::BackendKey;

/// Distributed tracing of a Gateway's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracing {
    /// Who takes the spans, by OTLP over gRPC.
    pub collector: BackendKey,
    /// What every export carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ExportHeader>,
    /// The share of traces that begin here, and of those whose caller is not followed.
    pub sampling: SamplingRate,
    /// The share of what a caller records, where the caller is followed; none where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_based: Option<SamplingRate>,
    /// `service.name` of the resource.
    pub service_name: Arc<str>,
    /// Name of every span; absent means the method of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_name: Option<Arc<str>>,
    /// Attributes of every span, beside those that it has anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<SpanAttribute>,
}

/// A header of exports. Its value may be a credential, which `Debug` does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportHeader {
    /// Name, lower-case.
    pub name: Arc<str>,
    /// Value.
    pub value: Arc<str>,
}

impl fmt::Debug for ExportHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportHeader").field("name", &self.name).finish_non_exhaustive()
    }
}

/// So many of so many; never more than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplingRate {
    /// Not more than the denominator.
    pub numerator: u32,
    /// Not zero.
    pub denominator: u32,
}

impl SamplingRate {
    /// All of them.
    pub const ALL: Self = Self { numerator: 1, denominator: 1 };
}

/// An attribute of every span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanAttribute {
    /// Its key.
    pub name: Arc<str>,
    /// Where its value comes from.
    pub source: AttributeSource,
}

/// Where the value of an attribute comes from. What is not there leaves the attribute out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeSource {
    /// A header of the request, or else of the response.
    Header(Arc<str>),
    /// A header of the request alone.
    RequestHeader(Arc<str>),
    /// A header of the response alone.
    ResponseHeader(Arc<str>),
    /// A fixed text.
    Literal(Arc<str>),
    /// What the request has under a key of the semantic conventions.
    Known(KnownAttribute),
}

macro_rules! known_attributes {
    ($($variant:ident $key:literal,)+) => {
        /// Stable keys of OpenTelemetry's semantic conventions that a proxy knows the value of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum KnownAttribute {
            $(#[doc = concat!("`", $key, "`.")] $variant,)+
        }

        impl KnownAttribute {
            /// Every key.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The key as the conventions spell it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $key,)+ }
            }

            /// The key of a text; `None` where no value of it is known.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|key| key.as_str() == text)
            }
        }
    };
}

known_attributes! {
    ClientAddress "client.address",
    ClientPort "client.port",
    ErrorType "error.type",
    RequestMethod "http.request.method",
    RequestMethodOriginal "http.request.method_original",
    ResponseStatusCode "http.response.status_code",
    LocalAddress "network.local.address",
    LocalPort "network.local.port",
    PeerAddress "network.peer.address",
    PeerPort "network.peer.port",
    ProtocolName "network.protocol.name",
    ProtocolVersion "network.protocol.version",
    Transport "network.transport",
    NetworkType "network.type",
    ServerAddress "server.address",
    ServerPort "server.port",
    UrlFull "url.full",
    UrlPath "url.path",
    UrlQuery "url.query",
    UrlScheme "url.scheme",
    UserAgent "user_agent.original",
}
