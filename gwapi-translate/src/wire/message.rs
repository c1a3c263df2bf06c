//! The messages of delta xDS, as far as they are used here.
//!
//! Field numbers are those of `envoy/service/discovery/v3/discovery.proto`, `google/rpc/status.proto`
//! and `google/protobuf/any.proto`. Fields that are not here are skipped when they are read.

use std::collections::BTreeMap;

use prost::bytes::Bytes;

/// What the client sends: first what it has, then an answer to each response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryRequest {
    /// Who asks; in the first request of a stream.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// [`TYPE_URL`](super::TYPE_URL).
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// `*`, in the first request of a stream.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Never used: a proxy wants everything of its Gateway.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// What the client has, in the first request of a stream.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// Nonce of the response that is answered.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Set in a NACK.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<RpcStatus>,
}

/// What the server sends.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryResponse {
    /// The generation of the server's state, for people.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// New and changed resources.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<Resource>,
    /// [`TYPE_URL`](super::TYPE_URL).
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Names this response.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names of resources that are gone.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
    /// Who answers, for people.
    #[prost(message, optional, tag = "7")]
    pub control_plane: Option<ControlPlane>,
}

/// A resource with its name and version.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    /// Version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Contents.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// Name.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// A value of some type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// Type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// Value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Who asks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// Name of the proxy: that of its pod.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Name of the program.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
    /// Version of the program.
    #[prost(string, tag = "7")]
    pub user_agent_version: String,
}

/// Who answers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ControlPlane {
    /// Name of the replica.
    #[prost(string, tag = "1")]
    pub identifier: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// For programs.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}
