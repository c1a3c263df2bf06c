//! Reverse indices: from what is referred to, to who refers to it.
//!
//! They are what keeps the cost of an event to what it touches. Every entry follows from one object
//! alone, so that taking the old object out and the new one in keeps them exact.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::ops::{Index as IndexBy, IndexMut as IndexMutBy};
use std::sync::Arc;

use gwapi_model::{
    EndpointSlice, Gateway, Kind, Listener, NamespacedName, ObjectId, Resource, Route, RouteKind,
    SERVICE_NAME_LABEL, SecretObjectReference, TelemetryPolicy,
};

use super::backend::{Purpose, ServicePort};
use super::holder::Holder;
use super::policy::ServicePolicy;
use super::{
    HashMap, attachment, backend_tls, certificates, client_validation, gateway, listener_filters,
    parameters, policy, rule, telemetry, x_backend,
};
use crate::ir::GatewayId;

/// All indices.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Gateways by the name of their class.
    pub(super) gateways_of_class: Multimap<Arc<str>, GatewayId>,
    /// Classes by the parameters they refer to.
    pub(super) classes_of_parameters: Multimap<NamespacedName, NamespacedName>,
    /// Gateways by the parameters they refer to themselves.
    pub(super) gateways_of_parameters: Multimap<NamespacedName, GatewayId>,
    /// ListenerSets by the Gateways they name.
    pub(super) sets_of_gateway: Multimap<GatewayId, NamespacedName>,
    /// Gateways and ListenerSets by the Secrets and ConfigMaps they refer to.
    pub(super) holders_of_reference: Multimap<ObjectId, Holder>,
    /// Gateways and ListenerSets by the other namespaces they refer into: grants there concern them.
    pub(super) holders_into: Multimap<Arc<str>, Holder>,
    /// Routes by the Gateways and ListenerSets they refer to.
    pub(super) routes_of_holder: PerKind<Multimap<Holder, NamespacedName>>,
    /// Routes that ask for default Gateways (RT-16).
    pub(super) defaulted_routes: PerKind<BTreeSet<NamespacedName>>,
    /// Routes by the Service ports they refer to; of the kind that the Service port names.
    pub(super) routes_of_backend: Multimap<ServicePort, NamespacedName>,
    /// Gateways and ListenerSets by the Service ports that filters of their listeners refer to.
    pub(super) holders_of_backend: Multimap<ServicePort, Holder>,
    /// Ports of a Service that routes, listeners and policies refer to.
    pub(super) ports_of_service: Multimap<NamespacedName, ServicePort>,
    /// What routes refer to of an XBackend, by its name.
    pub(super) targets_of_x_backend: Multimap<NamespacedName, ServicePort>,
    /// XBackends by the ConfigMaps and Secrets they refer to.
    pub(super) x_backends_of_reference: Multimap<ObjectId, NamespacedName>,
    /// XBackends by the other namespaces they refer into: grants there concern them.
    pub(super) x_backends_into: Multimap<Arc<str>, NamespacedName>,
    /// Routes by the other namespaces they refer into: grants there concern them.
    pub(super) routes_into: PerKind<Multimap<Arc<str>, NamespacedName>>,
    /// BackendTLSPolicies by the Services they are for.
    pub(super) policies_of_service: Multimap<NamespacedName, NamespacedName>,
    /// XBackendTrafficPolicies by the Services they are for.
    pub(super) traffic_policies_of_service: Multimap<NamespacedName, NamespacedName>,
    /// BackendTLSPolicies and XBackendTrafficPolicies by the XBackends that they name.
    pub(super) policies_of_x_backend: Multimap<NamespacedName, ObjectId>,
    /// BackendTLSPolicies by the ConfigMaps they refer to.
    pub(super) policies_of_reference: Multimap<ObjectId, NamespacedName>,
    /// XTelemetryPolicies by the Gateways they are for.
    pub(super) telemetry_of_gateway: Multimap<GatewayId, NamespacedName>,
    /// XTelemetryPolicies by the Service ports that take their spans.
    pub(super) telemetry_of_collector: Multimap<ServicePort, NamespacedName>,
    /// XTelemetryPolicies by the other namespaces they refer into: grants there concern them.
    pub(super) telemetry_into: Multimap<Arc<str>, NamespacedName>,
    /// EndpointSlices by their Service.
    pub(super) slices_of_service: Multimap<NamespacedName, NamespacedName>,
}

/// Something for each kind of route, which have names of their own. Several maps take less room than
/// one with the kind in its keys.
#[derive(Clone, Debug, Default)]
pub(super) struct PerKind<T>([T; RouteKind::ALL.len()]);

impl<T> IndexBy<RouteKind> for PerKind<T> {
    type Output = T;

    fn index(&self, kind: RouteKind) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> IndexMutBy<RouteKind> for PerKind<T> {
    fn index_mut(&mut self, kind: RouteKind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

/// A map from a key to a set that is never empty.
#[derive(Clone, Debug)]
pub(super) struct Multimap<K, V>(HashMap<K, BTreeSet<V>>);

impl<K, V> Default for Multimap<K, V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Eq, V: Ord> Multimap<K, V> {
    /// The values of a key, in order.
    pub(super) fn of<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a V> + Clone + use<'a, K, V> {
        self.0.get(key).into_iter().flatten()
    }

    /// The keys that have values, in no order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// Whether a key has any value.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    fn pack(&mut self) {
        for values in self.0.values_mut() {
            *values = std::mem::take(values).into_iter().collect();
        }
    }

    fn insert(&mut self, key: K, value: V) {
        self.0.entry(key).or_default().insert(value);
    }

    fn remove(&mut self, key: &K, value: &V) {
        if let Some(values) = self.0.get_mut(key) {
            values.remove(value);
            if values.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// Puts a value in (`present`) or takes it out.
    pub(super) fn set(&mut self, key: K, value: V, present: bool) {
        if present { self.insert(key, value) } else { self.remove(&key, &value) }
    }
}

impl Index {
    /// Gives back the room that sets have to spare once many objects came in order.
    pub(super) fn pack(&mut self) {
        for kind in RouteKind::ALL {
            self.routes_of_holder[kind].pack();
            self.routes_into[kind].pack();
        }
        self.routes_of_backend.pack();
        self.slices_of_service.pack();
    }

    /// Takes an object in (`present`) or out.
    pub(super) fn update(&mut self, resource: &Resource, present: bool) {
        let id = resource.id().namespaced_name();
        if let Some(route) = Route::of(resource) {
            return self.update_route(&id, route, present);
        }
        match resource {
            Resource::GatewayClass(class) => {
                if let Some(parameters) = parameters::target_of_class(class) {
                    self.classes_of_parameters.set(parameters, id, present);
                }
            }
            Resource::Gateway(gateway) => self.update_gateway(id, gateway, present),
            Resource::ListenerSet(set) => {
                if let Some(gateway) = set.gateway() {
                    self.sets_of_gateway.set(gateway, id.clone(), present);
                }
                let holder = Holder::ListenerSet(id);
                self.update_references(&holder, certificate_refs(&set.spec.listeners), present);
                self.update_filters(&holder, &set.spec.listeners, present);
            }
            Resource::BackendTlsPolicy(policy) => {
                for service in policy::services(&**policy) {
                    self.policies_of_service.set(service, id.clone(), present);
                }
                self.update_x_backends(&**policy, resource.id(), present);
                for reference in backend_tls::references(policy) {
                    self.policies_of_reference.set(reference, id.clone(), present);
                }
            }
            Resource::XBackend(backend) => {
                for reference in x_backend::references(backend) {
                    self.x_backends_of_reference.set(reference, id.clone(), present);
                }
                if let Some(namespace) = x_backend::referred_namespace(backend) {
                    self.x_backends_into.set(namespace, id, present);
                }
            }
            Resource::BackendTrafficPolicy(policy) => {
                for service in policy::services(&**policy) {
                    self.traffic_policies_of_service.set(service, id.clone(), present);
                }
                self.update_x_backends(&**policy, resource.id(), present);
            }
            Resource::TelemetryPolicy(policy) => self.update_telemetry(&id, policy, present),
            Resource::EndpointSlice(slice) => {
                if let Some(service) = service_of(slice) {
                    self.slices_of_service.set(service, id, present);
                }
            }
            _ => {}
        }
    }

    fn update_gateway(&mut self, id: GatewayId, gateway: &Gateway, present: bool) {
        let holder = Holder::Gateway(id.clone());
        let certificates = certificate_refs(&gateway.spec.listeners)
            .chain(gateway::client_certificate_ref(gateway));
        self.update_references(&holder, certificates, present);
        self.update_filters(&holder, &gateway.spec.listeners, present);
        for object in client_validation::targets(gateway) {
            self.update_reference(&holder, object, present);
        }
        if let Some(parameters) = parameters::target_of_gateway(gateway) {
            self.gateways_of_parameters.set(parameters, id.clone(), present);
        }
        let class = gateway.spec.gateway_class_name.as_str();
        self.gateways_of_class.set(class.into(), id, present);
    }

    fn update_references<'r>(
        &mut self,
        holder: &Holder,
        certificates: impl Iterator<Item = &'r SecretObjectReference>,
        present: bool,
    ) {
        let own_namespace = &holder.name().namespace;
        for secret in certificates.filter_map(|it| certificates::target(own_namespace, it)) {
            self.update_reference(holder, secret.object_id(Kind::Secret), present);
        }
    }

    fn update_reference(&mut self, holder: &Holder, object: ObjectId, present: bool) {
        // What lives in no namespace needs no grant (RG-4).
        if object.kind.is_namespaced() && object.namespace != holder.name().namespace {
            self.holders_into.set(object.namespace.clone(), holder.clone(), present);
        }
        self.holders_of_reference.set(object, holder.clone(), present);
    }

    fn update_x_backends(&mut self, policy: &impl ServicePolicy, id: ObjectId, present: bool) {
        for backend in policy::x_backends(policy) {
            self.policies_of_x_backend.set(backend, id.clone(), present);
        }
    }

    fn update_telemetry(&mut self, id: &NamespacedName, policy: &TelemetryPolicy, present: bool) {
        for gateway in telemetry::gateways(policy) {
            self.telemetry_of_gateway.set(gateway, id.clone(), present);
        }
        let Some(target) = telemetry::collector(policy) else { return };
        let namespace = &target.service.namespace;
        if *namespace != id.namespace {
            self.telemetry_into.set(namespace.clone(), id.clone(), present);
        }
        self.telemetry_of_collector.set(target.clone(), id.clone(), present);
        self.update_port(target);
    }

    fn update_route(&mut self, id: &NamespacedName, route: Route<'_>, present: bool) {
        let kind = route.kind();
        for parent in route.parent_refs() {
            if let Some(holder) = attachment::holder(route, parent) {
                self.routes_of_holder[kind].set(holder, id.clone(), present);
            }
        }
        if route.asks_for_default_gateways() {
            let routes = &mut self.defaulted_routes[kind];
            let _ = if present { routes.insert(id.clone()) } else { routes.remove(id) };
        }
        for rule::Referred { service, .. } in rule::services(route) {
            if service.namespace != id.namespace {
                self.routes_into[kind].set(service.namespace, id.clone(), present);
            }
        }
        for target in backends(route) {
            self.routes_of_backend.set(target.clone(), id.clone(), present);
            self.update_port(target);
        }
    }

    fn update_filters(&mut self, holder: &Holder, listeners: &[Listener], present: bool) {
        let own = &holder.name().namespace;
        for (service, ..) in listener_filters::services(listeners, own) {
            if service.namespace != *own {
                self.holders_into.set(service.namespace, holder.clone(), present);
            }
        }
        for target in listener_filters::backends(listeners, own) {
            self.holders_of_backend.set(target.clone(), holder.clone(), present);
            self.update_port(target);
        }
    }

    fn update_port(&mut self, target: ServicePort) {
        let is_referred_to = self.refers_to(&target);
        let targets = match target.x_backend {
            true => &mut self.targets_of_x_backend,
            false => &mut self.ports_of_service,
        };
        targets.set(target.service.clone(), target, is_referred_to);
    }

    /// Whether anything refers to a Service port.
    pub(super) fn refers_to(&self, target: &ServicePort) -> bool {
        self.routes_of_backend.contains(target)
            || self.holders_of_backend.contains(target)
            || self.telemetry_of_collector.contains(target)
    }
}

/// The Service ports that filters of an object's listeners refer to, permitted or not.
pub(super) fn backends_of_listeners(resource: &Resource) -> Vec<ServicePort> {
    let own = &resource.metadata().namespace;
    let listeners = match resource {
        Resource::Gateway(gateway) => &gateway.spec.listeners,
        Resource::ListenerSet(set) => &set.spec.listeners,
        _ => return Vec::new(),
    };
    listener_filters::backends(listeners, own).collect()
}

/// The Service ports that a route refers to, permitted or not.
pub(super) fn backends(route: Route<'_>) -> impl Iterator<Item = ServicePort> {
    let routes = route.kind();
    let named = rule::services(route).filter_map(move |it| {
        let ways = if it.asked { &[Purpose::Authorization] } else { rule::ways(routes) };
        Some((it.service, it.port?.get(), false, ways))
    });
    let x_backends = rule::x_backends(route).map(move |name| (name, 0, true, rule::ways(routes)));
    named.chain(x_backends).flat_map(move |(service, port, x_backend, ways)| {
        ways.iter().map(move |&purpose| {
            let service = service.clone();
            ServicePort { service, port, routes, purpose, x_backend }
        })
    })
}

/// The Service that an EndpointSlice belongs to.
pub(super) fn service_of(slice: &EndpointSlice) -> Option<NamespacedName> {
    let name = slice.metadata.labels.get(SERVICE_NAME_LABEL)?;
    Some(NamespacedName::new(slice.metadata.namespace.clone(), name.as_str()))
}

/// The references of listeners to certificates.
fn certificate_refs(listeners: &[Listener]) -> impl Iterator<Item = &SecretObjectReference> {
    listeners.iter().filter_map(|it| it.tls.as_ref()).flat_map(|tls| &tls.certificate_refs)
}

/// Whether objects of the kind are read one by one, by those who do not hold all of them in memory.
/// ClusterTrustBundles are few, and hold no secrets.
pub(super) fn is_read_alone(object: &ObjectId) -> bool {
    matches!(object.kind, Kind::Secret | Kind::ConfigMap)
}

/// The Secrets and ConfigMaps that an object refers to, permitted or not: whoever does not hold all
/// of them in memory needs these.
pub fn references(resource: &Resource) -> Vec<ObjectId> {
    let own_namespace = &resource.metadata().namespace;
    let secret = |reference| {
        certificates::target(own_namespace, reference).map(|it| it.object_id(Kind::Secret))
    };
    match resource {
        Resource::Gateway(gateway) => certificate_refs(&gateway.spec.listeners)
            .chain(gateway::client_certificate_ref(gateway))
            .filter_map(secret)
            .chain(client_validation::targets(gateway).filter(is_read_alone))
            .collect(),
        Resource::ListenerSet(set) => {
            certificate_refs(&set.spec.listeners).filter_map(secret).collect()
        }
        Resource::BackendTlsPolicy(policy) => {
            backend_tls::references(policy).filter(is_read_alone).collect()
        }
        Resource::XBackend(backend) => {
            x_backend::references(backend).filter(is_read_alone).collect()
        }
        _ => Vec::new(),
    }
}

/// The objects of other namespaces that an object refers to where that takes a grant (RG-4), permitted or
/// not, there or not.
pub(crate) fn granted_targets(resource: &Resource) -> Vec<ObjectId> {
    let own = &resource.metadata().namespace;
    let service = |name: NamespacedName| name.object_id(Kind::Service);
    let asked = |listeners: &[Listener]| -> Vec<ObjectId> {
        listener_filters::services(listeners, own).map(|(name, ..)| service(name)).collect()
    };
    let mut targets = match resource {
        Resource::TelemetryPolicy(policy) => {
            telemetry::collector(policy).map(|it| service(it.service)).into_iter().collect()
        }
        Resource::Gateway(gateway) => asked(&gateway.spec.listeners),
        Resource::ListenerSet(set) => asked(&set.spec.listeners),
        _ => Route::of(resource)
            .map(|route| rule::services(route).map(|it| service(it.service)).collect())
            .unwrap_or_default(),
    };
    targets.extend(references(resource));
    targets.retain(|target| target.namespace != *own && target.kind.is_namespaced());
    targets
}
