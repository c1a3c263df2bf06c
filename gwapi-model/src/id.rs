//! Names of objects.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// `namespace/name`. The order is the one that breaks ties (HR-2, 7; LS-4; GW-10): that of the text, in which
/// `team-a/b` comes before `team/z`. The names of a namespace stand together in it, the empty one first.
///
/// A copy shares the text: the same names stand in many places.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamespacedName {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl NamespacedName {
    /// Names an object.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The same with a kind.
    pub fn object_id(&self, kind: Kind) -> ObjectId {
        ObjectId::new(kind, self.namespace.clone(), self.name.clone())
    }
}

impl Ord for NamespacedName {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.namespace == other.namespace {
            return self.name.cmp(&other.name);
        }
        // The names decide only within a namespace: no other text goes on after the same slash.
        fn with_slash(namespace: &str) -> impl Iterator<Item = u8> {
            namespace.bytes().chain(*b"/")
        }
        with_slash(&self.namespace).cmp(with_slash(&other.namespace))
    }
}

impl PartialOrd for NamespacedName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// The kinds that gwapi reads, in the order in which listings show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// `gateway.networking.k8s.io` GatewayClass, cluster-scoped.
    GatewayClass,
    /// `gateway.networking.k8s.io` Gateway.
    Gateway,
    /// `gateway.networking.k8s.io` ListenerSet.
    ListenerSet,
    /// `gateway.networking.k8s.io` HTTPRoute.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// `gateway.networking.k8s.io` GRPCRoute.
    #[serde(rename = "GRPCRoute")]
    GrpcRoute,
    /// `gateway.networking.k8s.io` TLSRoute.
    #[serde(rename = "TLSRoute")]
    TlsRoute,
    /// `gateway.networking.k8s.io` TCPRoute.
    #[serde(rename = "TCPRoute")]
    TcpRoute,
    /// `gateway.networking.k8s.io` UDPRoute.
    #[serde(rename = "UDPRoute")]
    UdpRoute,
    /// `gateway.networking.k8s.io` BackendTLSPolicy.
    #[serde(rename = "BackendTLSPolicy")]
    BackendTlsPolicy,
    /// `gateway.networking.x-k8s.io` XBackend.
    XBackend,
    /// `gateway.networking.x-k8s.io` XBackendTrafficPolicy.
    #[serde(rename = "XBackendTrafficPolicy")]
    BackendTrafficPolicy,
    /// `gateway.networking.x-k8s.io` XTelemetryPolicy.
    #[serde(rename = "XTelemetryPolicy")]
    TelemetryPolicy,
    /// `gateway.networking.k8s.io` ReferenceGrant.
    ReferenceGrant,
    /// `gwapi.dev` GatewayParameters.
    GatewayParameters,
    /// Core Namespace, cluster-scoped.
    Namespace,
    /// Core Service.
    Service,
    /// `discovery.k8s.io` EndpointSlice.
    EndpointSlice,
    /// Core Endpoints, the predecessor of EndpointSlices.
    Endpoints,
    /// Core Secret.
    Secret,
    /// Core ConfigMap.
    ConfigMap,
    /// `certificates.k8s.io` ClusterTrustBundle, cluster-scoped.
    ClusterTrustBundle,
}

impl Kind {
    /// Every kind, in listing order.
    pub const ALL: &'static [Kind] = &[
        Kind::GatewayClass,
        Kind::Gateway,
        Kind::ListenerSet,
        Kind::HttpRoute,
        Kind::GrpcRoute,
        Kind::TlsRoute,
        Kind::TcpRoute,
        Kind::UdpRoute,
        Kind::BackendTlsPolicy,
        Kind::XBackend,
        Kind::BackendTrafficPolicy,
        Kind::TelemetryPolicy,
        Kind::ReferenceGrant,
        Kind::GatewayParameters,
        Kind::Namespace,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Endpoints,
        Kind::Secret,
        Kind::ConfigMap,
        Kind::ClusterTrustBundle,
    ];

    /// The kind as written in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::GatewayClass => "GatewayClass",
            Kind::Gateway => "Gateway",
            Kind::ListenerSet => "ListenerSet",
            Kind::HttpRoute => "HTTPRoute",
            Kind::GrpcRoute => "GRPCRoute",
            Kind::TlsRoute => "TLSRoute",
            Kind::TcpRoute => "TCPRoute",
            Kind::UdpRoute => "UDPRoute",
            Kind::BackendTlsPolicy => "BackendTLSPolicy",
            Kind::XBackend => "XBackend",
            Kind::BackendTrafficPolicy => "XBackendTrafficPolicy",
            Kind::TelemetryPolicy => "XTelemetryPolicy",
            Kind::ReferenceGrant => "ReferenceGrant",
            Kind::GatewayParameters => "GatewayParameters",
            Kind::Namespace => "Namespace",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Endpoints => "Endpoints",
            Kind::Secret => "Secret",
            Kind::ConfigMap => "ConfigMap",
            Kind::ClusterTrustBundle => "ClusterTrustBundle",
        }
    }

    /// API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Kind::GatewayClass
            | Kind::Gateway
            | Kind::ListenerSet
            | Kind::HttpRoute
            | Kind::GrpcRoute
            | Kind::TlsRoute
            | Kind::TcpRoute
            | Kind::UdpRoute
            | Kind::BackendTlsPolicy
            | Kind::ReferenceGrant => crate::GATEWAY_GROUP,
            Kind::BackendTrafficPolicy | Kind::TelemetryPolicy | Kind::XBackend => {
                crate::EXPERIMENTAL_GROUP
            }
            Kind::GatewayParameters => crate::GWAPI_GROUP,
            Kind::EndpointSlice => "discovery.k8s.io",
            Kind::ClusterTrustBundle => "certificates.k8s.io",
            _ => "",
        }
    }

    /// Version that gwapi reads and prints.
    pub fn version(self) -> &'static str {
        match self {
            Kind::GatewayParameters
            | Kind::BackendTrafficPolicy
            | Kind::TelemetryPolicy
            | Kind::XBackend => "v1alpha1",
            _ => "v1",
        }
    }

    /// `group/version`, or `version` for the core group.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Kind::GatewayClass | Kind::Namespace | Kind::ClusterTrustBundle)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kind, namespace and name of an object that gwapi reads. A copy shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectId {
    /// Names an object.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// Namespace and name without the kind.
    pub fn namespaced_name(&self) -> NamespacedName {
        NamespacedName::new(self.namespace.clone(), self.name.clone())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once_in_its_order() {
        assert!(Kind::ALL.is_sorted_by(|a, b| a < b), "{:?}", Kind::ALL);
        for kind in Kind::ALL {
            let written = serde_json::to_value(kind).expect("JSON");
            assert_eq!(written, kind.as_str());
        }
    }

    #[test]
    fn api_versions_have_a_group_except_in_core() {
        let versions =
            [Kind::HttpRoute, Kind::EndpointSlice, Kind::GatewayParameters, Kind::Secret]
                .map(|kind| kind.api_version());
        let expected =
            ["gateway.networking.k8s.io/v1", "discovery.k8s.io/v1", "gwapi.dev/v1alpha1", "v1"];
        assert_eq!(versions, expected);
    }

    #[test]
    fn ids_show_a_namespace_where_there_is_one() {
        assert_eq!(ObjectId::new(Kind::HttpRoute, "n", "r").to_string(), "HTTPRoute n/r");
        assert_eq!(ObjectId::new(Kind::GatewayClass, "", "c").to_string(), "GatewayClass c");
    }

    #[test]
    fn names_sort_as_their_text_does() {
        let mut names: Vec<NamespacedName> = ["team", "team-a", "team.b", "team0", "tea", "b", ""]
            .iter()
            .flat_map(|namespace| {
                ["z", "a", "a-b"].map(|name| NamespacedName::new(*namespace, name))
            })
            .collect();
        names.sort();
        // Of the cluster's own objects the text has no namespace; none of them competes with others.
        let (of_cluster, of_namespaces) = names.split_at(3);
        for names in [of_cluster, of_namespaces] {
            let texts: Vec<String> = names.iter().map(ToString::to_string).collect();
            assert!(texts.is_sorted(), "{texts:?}");
        }
        // '-' and '.' come before '/'.
        assert!(NamespacedName::new("team-a", "b") < NamespacedName::new("team", "z"));
    }

    #[test]
    fn names_of_a_namespace_stand_together_whatever_it_is_called() {
        let mut names = [("a", "x/y"), ("a/x", "y"), ("a", "x"), ("a/x", "b"), ("a", "")]
            .map(|(namespace, name)| NamespacedName::new(namespace, name));
        names.sort();
        let namespaces = names.each_ref().map(|name| &*name.namespace);
        assert_eq!(namespaces, ["a", "a", "a", "a/x", "a/x"]);
        assert_eq!(&*names[0].name, "", "a range begins with it");
        assert_ne!(names[1], names[2], "{names:?}");
    }
}
