//! What an event makes dirty: the units that read what has changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use gwapi_model::{
    EndpointSlice, Kind, NamespacedName, ObjectId, Resource, Route, RouteKind, Service,
};

use super::super::backend::ServicePort;
use super::super::holder::Holder;
use super::super::index::{self, PerKind};
use super::super::{policy, telemetry, x_backend};
use super::Engine;
use crate::ir::GatewayId;

/// Units to derive again.
#[derive(Default)]
pub(in crate::translator) struct Dirty {
    pub(super) classes: BTreeSet<NamespacedName>,
    pub(super) gateways: BTreeSet<GatewayId>,
    pub(super) services: BTreeSet<NamespacedName>,
    /// Gateways whose tracing has to be derived again.
    pub(super) tracing: BTreeSet<GatewayId>,
    /// Policies whose status has to be put together again.
    pub(super) policies: BTreeSet<ObjectId>,
    pub(super) x_backends: BTreeSet<NamespacedName>,
    /// XBackends whose status has to be put together again.
    pub(super) x_statuses: BTreeSet<NamespacedName>,
    /// In any order, and some of them more than once.
    pub(super) routes: PerKind<Vec<NamespacedName>>,
    /// Gateways and ListenerSets whose status has to be put together again.
    pub(super) statuses: BTreeSet<Holder>,
    /// Service ports that a route referred to before.
    pub(super) orphans: BTreeSet<ServicePort>,
}

impl Engine {
    /// Marks the units that read an object. One of `old` and `new` is there.
    pub(super) fn mark(&self, old: Option<&Resource>, new: Option<&Resource>, dirty: &mut Dirty) {
        let Some(any) = new.or(old) else { return };
        if let Some(route) = old.and_then(Route::of) {
            dirty.orphans.extend(index::backends(route));
        }
        dirty.orphans.extend(old.into_iter().flat_map(index::backends_of_listeners));
        let id = any.id().namespaced_name();
        match any {
            Resource::GatewayClass(_) => {
                dirty.gateways.extend(self.index.gateways_of_class.of(&id.name).cloned());
                dirty.classes.insert(id);
            }
            Resource::Gateway(_) => {
                dirty.gateways.insert(id);
            }
            Resource::ListenerSet(_) => {
                for side in [old, new].into_iter().flatten() {
                    let Resource::ListenerSet(set) = side else { continue };
                    dirty.gateways.extend(set.gateway());
                }
            }
            Resource::HttpRoute(_)
            | Resource::GrpcRoute(_)
            | Resource::TlsRoute(_)
            | Resource::TcpRoute(_)
            | Resource::UdpRoute(_) => {
                if let Some(route) = Route::of(any) {
                    dirty.routes[route.kind()].push(id);
                }
            }
            Resource::BackendTlsPolicy(_) => {
                for side in [old, new].into_iter().flatten() {
                    let Resource::BackendTlsPolicy(policy) = side else { continue };
                    dirty.services.extend(policy::services(&**policy));
                }
                dirty.policies.insert(any.id());
            }
            Resource::BackendTrafficPolicy(_) => {
                for side in [old, new].into_iter().flatten() {
                    let Resource::BackendTrafficPolicy(policy) = side else { continue };
                    dirty.services.extend(policy::services(&**policy));
                }
                dirty.policies.insert(any.id());
            }
            Resource::TelemetryPolicy(_) => {
                for side in [old, new].into_iter().flatten() {
                    let Resource::TelemetryPolicy(policy) = side else { continue };
                    dirty.tracing.extend(telemetry::gateways(policy));
                    dirty.orphans.extend(telemetry::collector(policy));
                }
                dirty.policies.insert(any.id());
            }
            Resource::XBackend(_) => {
                dirty.x_backends.insert(id);
            }
            Resource::ReferenceGrant(_) => self.mark_referring_into(&id.namespace, dirty),
            Resource::GatewayParameters(_) => self.mark_parametrized(&id, dirty),
            Resource::Namespace(_) => self.mark_namespace(&id, old, new, dirty),
            Resource::Service(_) => {
                for side in [old, new].into_iter().flatten() {
                    let Resource::Service(service) = side else { continue };
                    self.mark_x_backends(&id.namespace, service, dirty);
                }
                dirty.services.insert(id);
            }
            Resource::Endpoints(_) => {
                dirty.services.insert(id);
            }
            Resource::EndpointSlice(_) => {
                for side in [old, new].into_iter().flatten() {
                    let Resource::EndpointSlice(slice) = side else { continue };
                    self.mark_slice(slice, dirty);
                }
            }
            Resource::Secret(_) | Resource::ConfigMap(_) | Resource::ClusterTrustBundle(_) => {
                self.mark_readers(&any.id(), dirty);
            }
        }
    }

    /// Marks what refers into a namespace, which a ReferenceGrant there may allow.
    fn mark_referring_into(&self, namespace: &Arc<str>, dirty: &mut Dirty) {
        self.note_telemetry(self.index.telemetry_into.of(namespace), dirty);
        dirty.x_backends.extend(self.index.x_backends_into.of(namespace).cloned());
        let holders = self.index.holders_into.of(namespace);
        dirty.gateways.extend(self.gateways_of(holders));
        for kind in RouteKind::ALL {
            let routes = self.index.routes_into[kind].of(namespace);
            dirty.routes[kind].extend(routes.cloned());
        }
    }

    /// Marks the classes and Gateways that have GatewayParameters.
    fn mark_parametrized(&self, parameters: &NamespacedName, dirty: &mut Dirty) {
        for class in self.index.classes_of_parameters.of(parameters) {
            dirty.gateways.extend(self.index.gateways_of_class.of(&class.name).cloned());
            dirty.classes.insert(class.clone());
        }
        dirty.gateways.extend(self.index.gateways_of_parameters.of(parameters).cloned());
    }

    /// Marks what is in a Namespace, if its labels have changed.
    fn mark_namespace(
        &self,
        id: &NamespacedName,
        old: Option<&Resource>,
        new: Option<&Resource>,
        dirty: &mut Dirty,
    ) {
        let labels = |side: Option<&Resource>| side.map(|it| it.metadata().labels.clone());
        if labels(old) != labels(new) {
            let first = NamespacedName::new(id.name.clone(), "");
            let sets = self.resources.listener_sets.range(first.clone()..);
            let sets = sets.take_while(|(name, _)| name.namespace == id.name);
            dirty.gateways.extend(sets.filter_map(|(_, set)| set.gateway()));
            for kind in RouteKind::ALL {
                let names = self.resources.route_names(kind, &first);
                let names = names.take_while(|name| name.namespace == id.name);
                dirty.routes[kind].extend(names.cloned());
            }
        }
    }

    /// Marks the Service of an EndpointSlice.
    fn mark_slice(&self, slice: &EndpointSlice, dirty: &mut Dirty) {
        let Some(name) = index::service_of(slice) else { return };
        if let Some(service) = self.resources.services.get(&name) {
            self.mark_x_backends(&name.namespace, service, dirty);
        }
        dirty.services.insert(name);
    }

    /// Marks the XBackends that have their pods from a Service.
    fn mark_x_backends(&self, namespace: &str, service: &Service, dirty: &mut Dirty) {
        if service.spec.selector.is_empty() {
            return;
        }
        let all = x_backend::in_namespace(&self.resources, namespace);
        let selecting = all.filter(|(_, backend)| x_backend::selects(backend, service));
        dirty.x_backends.extend(selecting.map(|(name, _)| name.clone()));
    }

    /// Marks what reads a Secret, a ConfigMap or a ClusterTrustBundle.
    pub(super) fn mark_readers(&self, object: &ObjectId, dirty: &mut Dirty) {
        let holders = self.index.holders_of_reference.of(object);
        dirty.gateways.extend(self.gateways_of(holders));
        dirty.x_backends.extend(self.index.x_backends_of_reference.of(object).cloned());
        for policy in self.index.policies_of_reference.of(object) {
            // It may be for no Service, and have a status all the same.
            dirty.policies.insert(policy.object_id(Kind::BackendTlsPolicy));
            let known = self.resources.backend_tls_policies.get(policy);
            dirty.services.extend(known.into_iter().flat_map(|it| policy::services(&**it)));
        }
    }

    /// The Gateways whose listeners these objects hold.
    pub(super) fn gateways_of<'a>(
        &'a self,
        holders: impl Iterator<Item = &'a Holder>,
    ) -> impl Iterator<Item = GatewayId> {
        holders.filter_map(|holder| holder.gateway(&self.resources))
    }

    /// Marks XTelemetryPolicies, and the Gateways that they are for.
    pub(super) fn note_telemetry<'a>(
        &self,
        names: impl Iterator<Item = &'a NamespacedName>,
        dirty: &mut Dirty,
    ) {
        for name in names {
            let policy = self.resources.telemetry_policies.get(name);
            dirty.tracing.extend(policy.into_iter().flat_map(|it| telemetry::gateways(it)));
            dirty.policies.insert(name.object_id(Kind::TelemetryPolicy));
        }
    }

    /// Marks the policies that are for a Service: what their status says may have changed.
    pub(super) fn note_policies(&self, service: &NamespacedName, dirty: &mut Dirty) {
        let tls = self.index.policies_of_service.of(service);
        dirty.policies.extend(tls.map(|name| name.object_id(Kind::BackendTlsPolicy)));
        let traffic = self.index.traffic_policies_of_service.of(service);
        dirty.policies.extend(traffic.map(|name| name.object_id(Kind::BackendTrafficPolicy)));
    }

    /// Marks the status of whatever tells who sends to a target.
    pub(super) fn mark_users(&self, target: &ServicePort, dirty: &mut Dirty) {
        if target.x_backend {
            dirty.x_statuses.insert(target.service.clone());
            let policies = self.index.policies_of_x_backend.of(&target.service);
            dirty.policies.extend(policies.cloned());
        } else {
            self.note_policies(&target.service, dirty);
        }
    }
}
