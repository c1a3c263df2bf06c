//! Objects as text: the other direction.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::status::Status;
use crate::{ObjectMeta, Resource, Secret};

/// What stands in the place of secret values.
const REDACTED: &str = "<redacted>";

/// A manifest as it is written: `apiVersion`, `kind`, `metadata`, the rest, `status`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a, T> {
    api_version: String,
    kind: &'static str,
    #[serde(flatten)]
    object: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a Status>,
}

/// A Secret as it may be shown.
#[derive(Serialize)]
struct RedactedSecret<'a> {
    metadata: &'a ObjectMeta,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    secret_type: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<&'a str, &'static str>,
}

impl<'a> RedactedSecret<'a> {
    fn new(secret: &'a Secret) -> Self {
        Self {
            metadata: &secret.metadata,
            secret_type: secret.secret_type.as_deref(),
            data: secret.data.keys().map(|key| (&**key, REDACTED)).collect(),
        }
    }
}

/// An object as YAML, with its status if there is one. Values of Secrets are redacted.
///
/// [`parse`](super::parse) reads the same object back, Secrets excepted.
pub fn to_yaml(resource: &Resource, status: Option<&Status>) -> String {
    document(resource, status, Yaml)
}

/// An object as JSON, with its status if there is one. Values of Secrets are redacted.
pub fn to_json(resource: &Resource, status: Option<&Status>) -> serde_json::Value {
    document(resource, status, Json)
}

/// Turns a document into text.
trait Format {
    type Output;
    fn write<T: Serialize>(self, document: &T) -> Self::Output;
}

struct Yaml;

impl Format for Yaml {
    type Output = String;
    fn write<T: Serialize>(self, document: &T) -> String {
        serde_saphyr::to_string(document).expect("keys of the model's maps are strings")
    }
}

struct Json;

impl Format for Json {
    type Output = serde_json::Value;
    fn write<T: Serialize>(self, document: &T) -> serde_json::Value {
        serde_json::to_value(document).expect("keys of the model's maps are strings")
    }
}

fn document<F: Format>(resource: &Resource, status: Option<&Status>, format: F) -> F::Output {
    let kind = resource.kind();
    macro_rules! write {
        ($object:expr) => {
            format.write(&Document {
                api_version: kind.api_version(),
                kind: kind.as_str(),
                object: $object,
                status,
            })
        };
    }
    match resource {
        Resource::GatewayClass(object) => write!(&**object),
        Resource::Gateway(object) => write!(&**object),
        Resource::ListenerSet(object) => write!(&**object),
        Resource::HttpRoute(object) => write!(&**object),
        Resource::GrpcRoute(object) => write!(&**object),
        Resource::TlsRoute(object) => write!(&**object),
        Resource::TcpRoute(object) => write!(&**object),
        Resource::UdpRoute(object) => write!(&**object),
        Resource::BackendTlsPolicy(object) => write!(&**object),
        Resource::XBackend(object) => write!(&**object),
        Resource::BackendTrafficPolicy(object) => write!(&**object),
        Resource::TelemetryPolicy(object) => write!(&**object),
        Resource::ReferenceGrant(object) => write!(&**object),
        Resource::GatewayParameters(object) => write!(&**object),
        Resource::Namespace(object) => write!(&**object),
        Resource::Service(object) => write!(&**object),
        Resource::EndpointSlice(object) => write!(&**object),
        Resource::Endpoints(object) => write!(&**object),
        Resource::ConfigMap(object) => write!(&**object),
        Resource::ClusterTrustBundle(object) => write!(&**object),
        Resource::Secret(secret) => write!(&RedactedSecret::new(secret)),
    }
}
