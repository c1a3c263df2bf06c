//! The ground state: every object, parsed once, shared by reference.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    ConfigMap, EndpointSlice, Endpoints, Gateway, GatewayClass, HttpRoute, Kind, Namespace,
    NamespacedName, ObjectId, ObjectMeta, ReferenceGrant, Secret, Service,
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
                    $(Kind::$variant => self.$field.keys()
                        .map(|name| ObjectId::new(kind, &*name.namespace, &*name.name)).collect(),)+
                }
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
    HttpRoute, HttpRoute, http_routes, "HTTPRoutes.";
    ReferenceGrant, ReferenceGrant, reference_grants, "ReferenceGrants.";
    Namespace, Namespace, namespaces, "Namespaces.";
    Service, Service, services, "Services.";
    EndpointSlice, EndpointSlice, endpoint_slices, "EndpointSlices.";
    Endpoints, Endpoints, endpoints, "Endpoints.";
    Secret, Secret, secrets, "Secrets.";
    ConfigMap, ConfigMap, config_maps, "ConfigMaps.";
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
