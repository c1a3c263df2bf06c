//! The core kinds that routing depends on, with the fields that it reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base64;
use crate::open_enum::open_enum;
use crate::{ObjectMeta, Port, SecretBytes};

/// A Namespace; its labels decide selectors (AR-5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Metadata; cluster-scoped.
    pub metadata: ObjectMeta,
}

/// Label that every Namespace carries, with its name; the API server sees to it.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A Service (HB-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    #[serde(default)]
    pub spec: ServiceSpec,
}

/// Spec of a [`Service`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Type; absent means `ClusterIP`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub service_type: Option<ServiceType>,
    /// Virtual address; `None` for headless Services.
    #[serde(default, rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<String>,
    /// DNS name of an ExternalName Service (HB-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_name: Option<String>,
    /// Ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// Labels of the pods behind it; none means that its endpoints are written by hand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
}

open_enum! {
    /// Type of a Service.
    pub enum ServiceType {
        /// Virtual address inside the cluster, or headless.
        ClusterIp = "ClusterIP",
        /// Also a port on every node.
        NodePort = "NodePort",
        /// Also an external address.
        LoadBalancer = "LoadBalancer",
        /// A DNS alias; refused by default (HB-7).
        ExternalName = "ExternalName",
    }
}

/// A port of a [`Service`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Name; EndpointSlices refer to the port by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port that backendRefs name.
    pub port: Port,
    /// Port of the pods, number or name; absent means `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
    /// `TCP` (default), `UDP` or `SCTP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Application protocol (HB-8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// A number or a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A name.
    String(String),
}

/// Label by which an EndpointSlice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Addresses behind a Service (HB-7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Metadata; the label [`SERVICE_NAME_LABEL`] names the Service.
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: AddressFamily,
    /// Endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Ports, the same on every endpoint of the slice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
}

open_enum! {
    /// Kind of addresses in an [`EndpointSlice`].
    pub enum AddressFamily {
        /// IPv4.
        Ipv4 = "IPv4",
        /// IPv6.
        Ipv6 = "IPv6",
        /// DNS names; not used for routing.
        Fqdn = "FQDN",
    }
}

/// One endpoint of an [`EndpointSlice`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Addresses; the first one counts.
    pub addresses: Vec<String>,
    /// Readiness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<EndpointConditions>,
    /// What it is, usually a Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<EndpointTarget>,
}

/// Readiness of an [`Endpoint`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointConditions {
    /// Takes new requests; absent means yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Serves, even while it terminates; absent means as `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// Is shutting down; absent means no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

/// The object behind an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointTarget {
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One port of an [`EndpointSlice`] or of [`Endpoints`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPort {
    /// Name of the Service's port; absent or empty for a Service with one unnamed port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port of the endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// `TCP` (default), `UDP` or `SCTP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// Addresses behind the Service of the same name; read where no EndpointSlice speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Metadata; the name is the Service's.
    pub metadata: ObjectMeta,
    /// Groups of addresses and ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses that share ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSubset {
    /// Ready addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<EndpointAddress>,
    /// Addresses that are not ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// Ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
}

/// One address of an [`EndpointSubset`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointAddress {
    /// IP address.
    pub ip: String,
    /// What it is, usually a Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<EndpointTarget>,
}

/// A Secret: `data` in base64 or `stringData` in clear, decoded, redacted in `Debug`.
///
/// It is not `Serialize`: nothing may print it. What a deserializer itself reports of a value that
/// is no text may quote it; both readers of this crate (`manifest` and `kubernetes`) do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Type, such as `kubernetes.io/tls`.
    pub secret_type: Option<String>,
    /// Decoded data; `stringData` wins over `data`.
    pub data: BTreeMap<String, SecretBytes>,
}

/// CA certificates for everybody in a cluster (TL-9, BT-13).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterTrustBundle {
    /// Metadata; it lives in no namespace.
    pub metadata: ObjectMeta,
    /// What it holds.
    pub spec: ClusterTrustBundleSpec,
}

/// Spec of a [`ClusterTrustBundle`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterTrustBundleSpec {
    /// The signer whose certificates these are, if they are those of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer_name: Option<String>,
    /// CA certificates, as PEM.
    #[serde(default)]
    pub trust_bundle: String,
}

/// A ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMap {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Text data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Secret", rename_all = "camelCase")]
        struct Wire {
            metadata: ObjectMeta,
            #[serde(default, rename = "type")]
            secret_type: Option<String>,
            #[serde(default)]
            data: BTreeMap<String, Base64>,
            #[serde(default)]
            string_data: BTreeMap<String, String>,
        }
        let wire = Wire::deserialize(deserializer)?;
        let mut data: BTreeMap<_, _> =
            wire.data.into_iter().map(|(key, value)| (key, value.0)).collect();
        for (key, value) in wire.string_data {
            data.insert(key, SecretBytes::new(value.into_bytes()));
        }
        Ok(Self { metadata: wire.metadata, secret_type: wire.secret_type, data })
    }
}

/// Base64 text of a Secret. The error never repeats the text.
struct Base64(SecretBytes);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        base64::decode(&text).map(|bytes| Self(SecretBytes::new(bytes))).ok_or_else(|| {
            serde::de::Error::custom(
                "not base64: `data` holds base64 text, `stringData` holds clear text",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_data_of_a_secret_is_decoded_and_clear_text_wins() {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n"},
            "type": "Opaque",
            "data": {"a": "AP8K", "b": "b2xk", "empty": ""},
            "stringData": {"b": "new", "c": "clear"},
        }))
        .expect("a Secret");
        assert_eq!(secret.secret_type.as_deref(), Some("Opaque"));
        let data: Vec<_> =
            secret.data.iter().map(|(key, value)| (&**key, value.expose())).collect();
        let expected: [(&str, &[u8]); 4] =
            [("a", &[0, 255, 10]), ("b", b"new"), ("c", b"clear"), ("empty", b"")];
        assert_eq!(data, expected);
    }

    #[test]
    fn a_secret_neither_prints_nor_is_quoted_by_its_parser() {
        let parse = |value: &str| {
            serde_json::from_value::<Secret>(json!({
                "metadata": {"name": "s"}, "data": {"key": value},
            }))
        };
        let secret = parse("aHVudGVyMg==").expect("a Secret");
        assert_eq!(secret.data["key"].expose(), b"hunter2");
        assert!(format!("{secret:?}").contains("\"key\": <7 bytes, redacted>"), "{secret:?}");

        let error = parse("hunter2!").expect_err("no base64").to_string();
        assert_eq!(error, "not base64: `data` holds base64 text, `stringData` holds clear text");
    }

    #[test]
    fn a_target_port_is_a_number_or_a_name() {
        let port = |target| -> ServicePort {
            serde_json::from_value(json!({"port": 80, "targetPort": target})).expect("a port")
        };
        assert_eq!(port(json!(8080)).target_port, Some(IntOrString::Int(8080)));
        assert_eq!(port(json!("web")).target_port, Some(IntOrString::String("web".to_owned())));
    }
}
