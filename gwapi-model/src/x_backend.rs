//! XBackend, of the experimental channel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;
use crate::{
    BackendTlsValidation, NamespacedName, ObjectMeta, Port, SecretObjectReference,
    SessionPersistence,
};

/// Where routes of its namespace can send requests, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XBackend {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: XBackendSpec,
}

impl XBackend {
    /// Its name.
    pub fn name(&self) -> NamespacedName {
        NamespacedName::new(self.metadata.namespace.clone(), self.metadata.name.clone())
    }
}

/// Spec of an [`XBackend`]: the member that `type` names is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XBackendSpec {
    /// Type.
    #[serde(rename = "type")]
    pub backend_type: XBackendType,
    /// Port to connect to.
    pub port: XBackendPort,
    /// The pods behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_selector: Option<XBackendEndpointSelector>,
    /// The host behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_hostname: Option<XBackendExternalHostname>,
    /// Protocol; absent means that of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XBackendProtocol>,
    /// TLS towards it; absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<XBackendTls>,
    /// Session persistence over its endpoints (SP-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<Box<SessionPersistence>>,
}

open_enum! {
    /// Type of an [`XBackend`].
    pub enum XBackendType {
        /// A host outside of the cluster.
        ExternalHostname = "ExternalHostname",
        /// Pods of its namespace.
        EndpointSelector = "EndpointSelector",
    }
}

open_enum! {
    /// Protocol of an [`XBackend`].
    pub enum XBackendProtocol {
        /// Bytes.
        Tcp = "TCP",
        /// HTTP, in a version that is negotiated.
        Http = "HTTP",
        /// HTTP/2 over TLS.
        Http2 = "HTTP2",
        /// HTTP/1.1.
        Http11 = "HTTP11",
        /// HTTP/2 without TLS.
        H2c = "H2C",
        /// The Model Context Protocol, over HTTP.
        Mcp = "MCP",
        /// gRPC.
        Grpc = "GRPC",
        /// WebSocket over TLS.
        Wss = "WSS",
    }
}

/// A port of an [`XBackend`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XBackendPort {
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Port>,
}

/// Pods by their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XBackendEndpointSelector {
    /// Labels that a pod has, all of them; 1 to 64.
    pub match_labels: BTreeMap<String, String>,
}

/// A host by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XBackendExternalHostname {
    /// DNS name.
    pub hostname: String,
}

/// TLS towards an [`XBackend`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XBackendTls {
    /// Mode.
    pub mode: XBackendTlsMode,
    /// What the endpoints have to prove, unless the mode is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Box<BackendTlsValidation>>,
    /// The certificate that is shown to them in mode `ClientAndServer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretObjectReference>,
}

open_enum! {
    /// Mode of an [`XBackendTls`].
    pub enum XBackendTlsMode {
        /// No TLS.
        None = "None",
        /// The endpoints prove who they are.
        ServerOnly = "ServerOnly",
        /// The gateway does, too.
        ClientAndServer = "ClientAndServer",
    }
}
