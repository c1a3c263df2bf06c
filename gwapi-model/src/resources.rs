//! The ground state: every object, parsed once, shared by reference.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    BackendTlsPolicy, BackendTrafficPolicy, ClusterTrustBundle, ConfigMap, EndpointSlice,
    Endpoints, Gateway, GatewayClass, GatewayParameters, GrpcRoute, HttpRoute, Kind, ListenerSet,
    Namespace, NamespacedName, ObjectId, ObjectMeta, ReferenceGrant, Secret, Service, TcpRoute,
    TelemetryPolicy, TlsRoute, UdpRoute, XBackend,
};

/// One change of the ground state.
#[derive(Clone, Debug)]
pub enum ResourceEvent {
    /// An object is there, new or changed.
    Apply(Resource),
    /// An object is gone.
    Delete(ObjectId),
    /// These are all objects of a kind: what is not listed is gone. Objects of another kind in
    /// the list are ignored.
    Relist(Kind, Vec<Resource>),
}

macro_rules! resources {
    ($($variant:ident, $type:ident, $field:ident, $doc:literal;)+) => {
        /// An object of a kind that gwapi reads.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Resource {
            $(#[doc = $doc] $variant(Arc<$type>),)+
        }

        impl Resource {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$variant(_) => Kind::$variant,)+ }
            }

            /// Its metadata.
            pub fn metadata(&self) -> &ObjectMeta {
                match self { $(Self::$variant(object) => &object.metadata,)+ }
            }

            /// Whether both are the very same object in memory: true at no cost, where
            /// comparing would walk through both.
            pub fn is_same_object(&self, other: &Self) -> bool {
                match (self, other) {
                    $((Self::$variant(a), Self::$variant(b)) => Arc::ptr_eq(a, b),)+
                    _ => false,
                }
            }

            /// Its metadata, to fill in defaults; copies the object where it is shared.
            pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
                match self { $(Self::$variant(object) => &mut Arc::make_mut(object).metadata,)+ }
            }
        }

        $(impl From<$type> for Resource {
            fn from(object: $type) -> Self { Self::$variant(Arc::new(object)) }
        })+

        /// Every object that is known, by kind.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Resources {
            $(#[doc = $doc] pub $field: BTreeMap<NamespacedName, Arc<$type>>,)+
        }

        impl Resources {
            /// Takes an object in; the one it replaces comes back.
            pub fn insert(&mut self, resource: Resource) -> Option<Resource> {
                let name = resource.id().namespaced_name();
                match resource {
                    $(Resource::$variant(object) =>
                        self.$field.insert(name, object).map(Resource::$variant),)+
                }
            }

            /// Takes an object out.
            pub fn remove(&mut self, id: &ObjectId) -> Option<Resource> {
                let name = id.namespaced_name();
                match id.kind {
                    $(Kind::$variant => self.$field.remove(&name).map(Resource::$variant),)+
                }
            }

            /// Looks an object up.
            pub fn get(&self, id: &ObjectId) -> Option<Resource> {
                let name = id.namespaced_name();
                match id.kind {
                    $(Kind::$variant => self.$field.get(&name).cloned().map(Resource::$variant),)+
                }
            }

            /// Names of all objects of a kind, in order.
            pub fn ids(&self, kind: Kind) -> Vec<ObjectId> {
                match kind {
                    $(Kind::$variant => self.$field.keys().map(|name| name.object_id(kind)).collect(),)+
                }
            }

            /// Gives back the room that maps have to spare once many objects came in order, which
            /// is a third of it.
            pub fn pack(&mut self) {
                $(self.$field = std::mem::take(&mut self.$field).into_iter().collect();)+
            }

            /// Every object, by kind and name.
            pub fn iter(&self) -> impl Iterator<Item = Resource> + '_ {
                std::iter::empty()
                    $(.chain(self.$field.values().cloned().map(Resource::$variant)))+
            }
        }
    };
}

resources! {
    GatewayClass, GatewayClass, gateway_classes, "GatewayClasses.";
    Gateway, Gateway, gateways, "Gateways.";
    ListenerSet, ListenerSet, listener_sets, "ListenerSets.";
    HttpRoute, HttpRoute, http_routes, "HTTPRoutes.";
    GrpcRoute, GrpcRoute, grpc_routes, "GRPCRoutes.";
    TlsRoute, TlsRoute, tls_routes, "TLSRoutes.";
    TcpRoute, TcpRoute, tcp_routes, "TCPRoutes.";
    UdpRoute, UdpRoute, udp_routes, "UDPRoutes.";
    BackendTlsPolicy, BackendTlsPolicy, backend_tls_policies, "BackendTLSPolicies.";
    XBackend, XBackend, x_backends, "XBackends.";
    BackendTrafficPolicy, BackendTrafficPolicy, backend_traffic_policies, "XBackendTrafficPolicies.";
    TelemetryPolicy, TelemetryPolicy, telemetry_policies, "XTelemetryPolicies.";
    ReferenceGrant, ReferenceGrant, reference_grants, "ReferenceGrants.";
    GatewayParameters, GatewayParameters, gateway_parameters, "GatewayParameters.";
    Namespace, Namespace, namespaces, "Namespaces.";
    Service, Service, services, "Services.";
    EndpointSlice, EndpointSlice, endpoint_slices, "EndpointSlices.";
    Endpoints, Endpoints, endpoints, "Endpoints.";
    Secret, Secret, secrets, "Secrets.";
    ConfigMap, ConfigMap, config_maps, "ConfigMaps.";
    ClusterTrustBundle, ClusterTrustBundle, cluster_trust_bundles, "ClusterTrustBundles.";
}

impl Resource {
    /// Kind, namespace and name.
    pub fn id(&self) -> ObjectId {
        let metadata = self.metadata();
        ObjectId::new(self.kind(), metadata.namespace.clone(), metadata.name.clone())
    }
}

impl Resources {
    /// Applies one event.
    pub fn apply(&mut self, event: ResourceEvent) {
        match event {
            ResourceEvent::Apply(resource) => {
                self.insert(resource);
            }
            ResourceEvent::Delete(id) => {
                self.remove(&id);
            }
            ResourceEvent::Relist(kind, list) => {
                for id in self.ids(kind) {
                    self.remove(&id);
                }
                for resource in list.into_iter().filter(|resource| resource.kind() == kind) {
                    self.insert(resource);
                }
            }
        }
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(iter: I) -> Self {
        let mut resources = Self::default();
        for resource in iter {
            resources.insert(resource);
        }
        resources
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConfigMap;

    fn config_map(name: &str, text: &str) -> Resource {
        let data = [("text".to_owned(), text.to_owned())].into();
        ConfigMap { metadata: ObjectMeta::namespaced("n", name), data }.into()
    }

    fn namespace(name: &str) -> Resource {
        Namespace { metadata: ObjectMeta::cluster(name) }.into()
    }

    fn ids(resources: &Resources) -> Vec<String> {
        resources.iter().map(|resource| resource.id().to_string()).collect()
    }

    #[test]
    fn applying_adds_and_replaces_and_deleting_removes() {
        let mut resources = Resources::default();
        resources.apply(ResourceEvent::Apply(config_map("a", "old")));
        resources.apply(ResourceEvent::Apply(config_map("b", "b")));
        resources.apply(ResourceEvent::Apply(config_map("a", "new")));
        assert_eq!(ids(&resources), ["ConfigMap n/a", "ConfigMap n/b"]);
        let a = ObjectId::new(Kind::ConfigMap, "n", "a");
        assert_eq!(resources.get(&a), Some(config_map("a", "new")));

        resources.apply(ResourceEvent::Delete(a.clone()));
        resources.apply(ResourceEvent::Delete(a.clone()));
        assert_eq!(resources.get(&a), None);
        assert_eq!(ids(&resources), ["ConfigMap n/b"]);
    }

    #[test]
    fn a_relist_replaces_one_kind_and_ignores_others_in_its_list() {
        let mut resources: Resources =
            [namespace("kept"), config_map("gone", "g"), config_map("changed", "old")]
                .into_iter()
                .collect();
        resources.apply(ResourceEvent::Relist(
            Kind::ConfigMap,
            vec![config_map("changed", "new"), config_map("added", "a"), namespace("ignored")],
        ));
        assert_eq!(ids(&resources), ["Namespace kept", "ConfigMap n/added", "ConfigMap n/changed"]);
        let changed = ObjectId::new(Kind::ConfigMap, "n", "changed");
        assert_eq!(resources.get(&changed), Some(config_map("changed", "new")));

        resources.apply(ResourceEvent::Relist(Kind::ConfigMap, Vec::new()));
        assert_eq!(ids(&resources), ["Namespace kept"]);
    }

    #[test]
    fn inserting_and_removing_hand_back_what_was_there() {
        let mut resources = Resources::default();
        assert_eq!(resources.insert(config_map("a", "old")), None);
        assert_eq!(resources.insert(config_map("a", "new")), Some(config_map("a", "old")));
        let a = ObjectId::new(Kind::ConfigMap, "n", "a");
        assert_eq!(resources.remove(&a), Some(config_map("a", "new")));
        assert_eq!(resources.remove(&a), None);
    }

    #[test]
    fn a_change_of_metadata_leaves_shared_copies_alone() {
        let mut resource = namespace("shared");
        let copy = resource.clone();
        resource.metadata_mut().generation = 7;
        assert_eq!(resource.metadata().generation, 7);
        assert_eq!(copy.metadata().generation, 0);
    }
}
