//! The incremental translator: which units an event makes dirty, and in which order they settle.
//!
//! ```text
//!  event ─► Dirty { classes, gateways, services, routes, policies }
//!
//!  classes ──► gateways ──► ports ──► listeners, certificates ──┐
//!  services ─► backends ─────────────────────────────────► routes ─► counts, policies ─► delta
//! ```
//!
//! Every unit is derived by a pure function from the ground state and from units to its left; the
//! arrows carry only changes that matter to the right. There are no cycles, so one pass settles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::status::{ListenerStatus, RouteStatus, Status};
use gwapi_model::{
    BackendTlsPolicy, BackendTrafficPolicy, Kind, NamespacedName, ObjectId, Resource,
    ResourceEvent, Resources, Route, RouteKind, Service, TelemetryPolicy,
};

use super::backend::{self, BackendFacts, BackendView, ServicePort};
use super::gateway::{self, GatewayDraft, GatewayView};
use super::holder::Holder;
use super::index::{self, Index, Multimap, PerKind};
use super::ports::Ports;
use super::route::{self, RouteView};
use super::rule::{self, Lookup};
use super::translation::{Staged, Translation, TranslationDelta};
use super::{
    Feedback, HashMap, Options, backend_tls, backend_traffic, class, policy, telemetry, x_backend,
};
use crate::features::InstalledBundle;
use crate::ir::{
    Backend, BackendTls, CertificateKey, GatewayId, IrKey, IrResource, ListenerKey, SessionKeys,
};

/// All units, and what they were derived from.
#[derive(Clone, Debug, Default)]
pub(super) struct Engine {
    pub(super) options: Options,
    pub(super) resources: Resources,
    pub(super) translation: Translation,
    feedback: HashMap<GatewayId, Feedback>,
    index: Index,
    drafts: HashMap<GatewayId, GatewayDraft>,
    ports: Ports,
    gateways: HashMap<GatewayId, GatewayView>,
    /// Default Gateways of ours (RT-16), each behind when it was made.
    defaults: BTreeSet<(i64, GatewayId)>,
    /// ListenerSets by name, each with the Gateway of ours that it names.
    pub(super) sets: HashMap<NamespacedName, GatewayId>,
    /// Objects of ours by the Secrets and ConfigMaps that they read.
    readers: Multimap<ObjectId, ObjectId>,
    /// Service ports that routes of ours refer to.
    backends: HashMap<ServicePort, BackendView>,
    /// How many routes and policies make a Gateway need a Service port.
    users: HashMap<ServicePort, BTreeMap<GatewayId, usize>>,
    routes: PerKind<HashMap<NamespacedName, RouteView>>,
    /// Service ports that take the spans of Gateways (X-6).
    collectors: HashMap<GatewayId, ServicePort>,
    /// ConfigMaps that BackendTLSPolicies read, there or not.
    policy_references: HashMap<NamespacedName, BTreeSet<ObjectId>>,
    /// The same of XBackends, and the Secrets that they may refer to.
    x_backend_references: HashMap<NamespacedName, BTreeSet<ObjectId>>,
    /// How many routes of ours refer to an XBackend.
    askers_of_x_backend: HashMap<NamespacedName, usize>,
    /// The XBackends that a route of ours refers to; most refer to none, and are not here.
    asked_by_route: PerKind<HashMap<NamespacedName, BTreeSet<NamespacedName>>>,
    /// The status that was derived last, see [`Engine::share_status`].
    last_status: RouteStatus,
    pub(super) work: Work,
    /// How many routes each listener counts (AR-4).
    counts: HashMap<Holder, HashMap<ListenerKey, i32>>,
}

/// How many units a [`Translator`](super::Translator) has derived since it was made: what its
/// events have cost, in units that do not depend on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Gateways.
    pub gateways: u64,
    /// Service ports.
    pub backends: u64,
    /// Routes.
    pub routes: u64,
}

/// Units to derive again.
#[derive(Default)]
pub(super) struct Dirty {
    classes: BTreeSet<NamespacedName>,
    gateways: BTreeSet<GatewayId>,
    services: BTreeSet<NamespacedName>,
    /// Gateways whose tracing has to be derived again.
    tracing: BTreeSet<GatewayId>,
    /// Policies whose status has to be put together again.
    policies: BTreeSet<ObjectId>,
    x_backends: BTreeSet<NamespacedName>,
    /// XBackends whose status has to be put together again.
    x_statuses: BTreeSet<NamespacedName>,
    /// In any order, and some of them more than once.
    routes: PerKind<Vec<NamespacedName>>,
    /// Gateways and ListenerSets whose status has to be put together again.
    statuses: BTreeSet<Holder>,
    /// Service ports that a route referred to before.
    orphans: BTreeSet<ServicePort>,
}

impl Engine {
    /// An engine that knows no resource.
    pub(super) fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Takes an event into the ground state and marks what it touches.
    pub(super) fn note(&mut self, event: ResourceEvent, dirty: &mut Dirty) {
        match event {
            ResourceEvent::Apply(resource) => self.insert(resource, dirty),
            ResourceEvent::Delete(id) => self.remove(&id, dirty),
            ResourceEvent::Relist(kind, list) => {
                let list: BTreeMap<ObjectId, Resource> = list
                    .into_iter()
                    .filter(|resource| resource.kind() == kind)
                    .map(|resource| (resource.id(), resource))
                    .collect();
                for id in self.resources.ids(kind) {
                    if !list.contains_key(&id) {
                        self.remove(&id, dirty);
                    }
                }
                for resource in list.into_values() {
                    self.insert(resource, dirty);
                }
            }
        }
    }

    /// Gives back the room that maps have to spare once many objects came in order.
    pub(super) fn pack(&mut self) {
        self.resources.pack();
        self.index.pack();
    }

    fn insert(&mut self, resource: Resource, dirty: &mut Dirty) {
        let old = self.resources.insert(resource.clone());
        if old.as_ref() == Some(&resource) {
            return;
        }
        if let Some(old) = &old {
            self.index.update(old, false);
        }
        self.index.update(&resource, true);
        self.mark(old.as_ref(), Some(&resource), dirty);
    }

    fn remove(&mut self, id: &ObjectId, dirty: &mut Dirty) {
        if let Some(old) = self.resources.remove(id) {
            self.index.update(&old, false);
            self.mark(Some(&old), None, dirty);
        }
    }

    /// Marks the units that read an object. One of `old` and `new` is there.
    fn mark(&self, old: Option<&Resource>, new: Option<&Resource>, dirty: &mut Dirty) {
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
            Resource::ReferenceGrant(_) => {
                self.note_telemetry(self.index.telemetry_into.of(&id.namespace), dirty);
                dirty.x_backends.extend(self.index.x_backends_into.of(&id.namespace).cloned());
                let holders = self.index.holders_into.of(&id.namespace);
                dirty.gateways.extend(self.gateways_of(holders));
                for kind in RouteKind::ALL {
                    let routes = self.index.routes_into[kind].of(&id.namespace);
                    dirty.routes[kind].extend(routes.cloned());
                }
            }
            Resource::GatewayParameters(_) => {
                for class in self.index.classes_of_parameters.of(&id) {
                    dirty.gateways.extend(self.index.gateways_of_class.of(&class.name).cloned());
                    dirty.classes.insert(class.clone());
                }
                dirty.gateways.extend(self.index.gateways_of_parameters.of(&id).cloned());
            }
            Resource::Namespace(_) => {
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
                    let Some(name) = index::service_of(slice) else { continue };
                    if let Some(service) = self.resources.services.get(&name) {
                        self.mark_x_backends(&name.namespace, service, dirty);
                    }
                    dirty.services.insert(name);
                }
            }
            Resource::Secret(_) | Resource::ConfigMap(_) | Resource::ClusterTrustBundle(_) => {
                self.mark_readers(&any.id(), dirty);
            }
        }
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
    fn mark_readers(&self, object: &ObjectId, dirty: &mut Dirty) {
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
    fn gateways_of<'a>(
        &'a self,
        holders: impl Iterator<Item = &'a Holder>,
    ) -> impl Iterator<Item = GatewayId> {
        holders.filter_map(|holder| holder.gateway(&self.resources))
    }

    /// Replaces what the data plane said about a Gateway. Nothing is kept about Gateways that are
    /// not ours.
    pub(super) fn set_feedback(&mut self, gateway: &GatewayId, feedback: Feedback) -> Dirty {
        let mut dirty = Dirty::default();
        if self.gateways.contains_key(gateway) {
            dirty.gateways.insert(gateway.clone());
            let rejected =
                |said: &Feedback| x_backends_without_certificate(said).collect::<Vec<_>>();
            let before = self.feedback.get(gateway).map(rejected).unwrap_or_default();
            dirty.x_statuses.extend(before.into_iter().chain(rejected(&feedback)));
            if feedback == Feedback::default() {
                self.feedback.remove(gateway);
            } else {
                self.feedback.insert(gateway.clone(), feedback);
            }
        }
        dirty
    }

    /// Replaces the options; everything depends on them.
    pub(super) fn set_options(&mut self, options: Options) -> Dirty {
        if self.options == options {
            return Dirty::default();
        }
        self.options = options;
        let mut routes = PerKind::default();
        for kind in RouteKind::ALL {
            let names = self.resources.route_names(kind, &NamespacedName::new("", ""));
            routes[kind] = names.cloned().collect();
        }
        // Some are for Gateways that do not exist, or for no Service.
        let policies = [Kind::BackendTlsPolicy, Kind::BackendTrafficPolicy, Kind::TelemetryPolicy];
        let policies = policies.into_iter().flat_map(|kind| self.resources.ids(kind));
        Dirty {
            classes: self.resources.gateway_classes.keys().cloned().collect(),
            gateways: self.resources.gateways.keys().cloned().collect(),
            services: self.backends.keys().map(|target| target.service.clone()).collect(),
            policies: policies.collect(),
            x_backends: self.resources.x_backends.keys().cloned().collect(),
            routes,
            ..Dirty::default()
        }
    }

    /// Replaces the installed CRDs: classes depend on them, and Gateways on which fields they have.
    pub(super) fn set_installed_bundle(&mut self, bundle: Option<InstalledBundle>) -> Dirty {
        let mut dirty = Dirty::default();
        if self.options.installed_bundle != bundle {
            let before = self.options.has_experimental_fields();
            self.options.installed_bundle = bundle;
            dirty.classes = self.resources.gateway_classes.keys().cloned().collect();
            if self.options.has_experimental_fields() != before {
                dirty.gateways = self.resources.gateways.keys().cloned().collect();
            }
        }
        dirty
    }

    /// Replaces the keys of sessions; Gateways alone depend on them.
    pub(super) fn set_session_keys(&mut self, keys: Option<SessionKeys>) -> Dirty {
        let mut dirty = Dirty::default();
        if self.options.session_keys != keys {
            self.options.session_keys = keys;
            dirty.gateways = self.resources.gateways.keys().cloned().collect();
        }
        dirty
    }

    /// Replaces whether there are ClusterTrustBundles: classes claim it, and who refers to one hears of it
    /// (TL-9, BT-13, GC-10).
    pub(super) fn set_cluster_trust_bundles(&mut self, are_served: bool) -> Dirty {
        let mut dirty = Dirty::default();
        if self.options.cluster_trust_bundles != are_served {
            self.options.cluster_trust_bundles = are_served;
            dirty.classes = self.resources.gateway_classes.keys().cloned().collect();
            let index = &self.index;
            let of_holders = index.holders_of_reference.keys();
            let of_policies = index.policies_of_reference.keys();
            let of_x_backends = index.x_backends_of_reference.keys();
            let bundles = of_holders.chain(of_policies).chain(of_x_backends);
            for object in bundles.filter(|it| it.kind == Kind::ClusterTrustBundle) {
                self.mark_readers(object, &mut dirty);
            }
        }
        dirty
    }

    /// Derives everything that is dirty, and says what came of it.
    pub(super) fn settle(&mut self, mut dirty: Dirty) -> TranslationDelta {
        let mut staged = Staged::default();
        for name in std::mem::take(&mut dirty.classes) {
            let object = self.resources.gateway_classes.get(&name);
            let status =
                object.and_then(|object| class::status(object, &self.resources, &self.options));
            staged.status(ObjectId::new(Kind::GatewayClass, "", name.name), status);
        }
        self.settle_gateways(&mut dirty, &mut staged);
        for service in std::mem::take(&mut dirty.services) {
            self.settle_service(&service, &mut dirty, &mut staged);
        }
        for backend in std::mem::take(&mut dirty.x_backends) {
            let targets = self.index.targets_of_x_backend.of(&backend).cloned().collect();
            self.settle_backends(targets, &mut dirty, &mut staged);
            dirty.x_statuses.insert(backend);
        }
        // Those whose listeners have something to say about a Service port that has changed.
        self.settle_gateways(&mut dirty, &mut staged);
        for kind in RouteKind::ALL {
            let mut routes = std::mem::take(&mut dirty.routes[kind]);
            routes.sort_unstable();
            routes.dedup();
            for name in routes {
                self.settle_route(kind, &name, &mut dirty, &mut staged);
            }
        }
        for gateway in std::mem::take(&mut dirty.tracing) {
            self.settle_tracing(&gateway, &mut dirty, &mut staged);
        }
        for policy in std::mem::take(&mut dirty.policies) {
            match policy.kind {
                Kind::TelemetryPolicy => self.settle_telemetry_policy(policy, &mut staged),
                Kind::BackendTrafficPolicy => self.settle_traffic_policy(policy, &mut staged),
                _ => self.settle_policy(&policy.namespaced_name(), &mut staged),
            }
        }
        for backend in std::mem::take(&mut dirty.x_statuses) {
            self.settle_x_backend(&backend, &mut staged);
        }
        for holder in std::mem::take(&mut dirty.statuses) {
            self.settle_status(&holder, &mut staged);
        }
        // Only now: a Service port may have changed hands between routes.
        for target in dirty.orphans {
            if !self.index.refers_to(&target) {
                self.backends.remove(&target);
            }
        }
        let gateways = &self.gateways;
        let delta = staged.into_delta(&self.translation, |id| gateways.contains_key(id));
        self.translation.apply(&delta);
        delta
    }

    fn settle_gateways(&mut self, dirty: &mut Dirty, staged: &mut Staged) {
        let mut gateways = std::mem::take(&mut dirty.gateways);
        for id in &gateways {
            let sets = self.index.sets_of_gateway.of(id);
            let draft = gateway::draft(id, sets, &self.resources, &self.options);
            self.ports.claim(id, draft.as_ref().and_then(GatewayDraft::claim));
            match draft {
                Some(draft) => self.drafts.insert(id.clone(), draft),
                None => {
                    // The data plane lets the Gateway go, and will say anew what it finds.
                    self.feedback.remove(id);
                    self.drafts.remove(id)
                }
            };
        }
        gateways.extend(self.ports.settle());
        let no_feedback = Feedback::default();
        for id in gateways {
            self.work.gateways += 1;
            if self.drafts.contains_key(&id) {
                self.derive_asked(&id);
            }
            let feedback = self.feedback.get(&id).unwrap_or(&no_feedback);
            let facts = |target: &ServicePort| {
                self.backends.get(target).map(|view| view.facts.clone()).unwrap_or_default()
            };
            let draft = self.drafts.get(&id);
            let new = draft.map(|draft| {
                let keys = self.options.session_keys.as_ref();
                draft.complete(&self.resources, &self.ports, feedback, &facts, keys)
            });
            let old = self.gateways.remove(&id);
            let backends = |view: Option<&GatewayView>| {
                view.map(|view| view.backends.clone()).unwrap_or_default()
            };
            let (needed, needless) = (backends(new.as_ref()), backends(old.as_ref()));
            self.note_listeners(&id, old.as_ref(), new.as_ref(), dirty);
            let references = |view: Option<&GatewayView>| {
                view.map(|view| view.references.clone()).unwrap_or_default()
            };
            let reader = id.object_id(Kind::Gateway);
            self.follow(&reader, &references(old.as_ref()), &references(new.as_ref()), staged);
            let certificate = |view: &Option<GatewayView>| {
                view.as_ref().and_then(|view| view.client_certificate.clone())
            };
            let has_other_certificate = certificate(&old) != certificate(&new);
            for key in old.into_iter().flat_map(|old| old.config.into_keys()) {
                staged.remove(&id, key);
            }
            let infrastructure = match &new {
                Some(view) => view.infrastructure.clone(),
                None => gateway::held(&id, &self.resources, &self.options).map(Arc::new),
            };
            staged.infrastructure(&id, infrastructure);
            if let Some(new) = new {
                for resource in new.config.values() {
                    staged.upsert(&id, resource.clone());
                }
                self.gateways.insert(id.clone(), new);
            }
            for target in needed.difference(&needless) {
                self.acquire(&id, target, dirty, staged);
            }
            for target in needless.difference(&needed) {
                self.release(&id, target, dirty, staged);
            }
            if has_other_certificate {
                self.stage_backends_over_tls(&id, staged);
            }
            staged.gateway(&id);
            dirty.tracing.insert(id.clone());
            dirty.statuses.insert(Holder::Gateway(id));
        }
    }

    /// Derives the Service ports that filters of a Gateway's listeners may need.
    fn derive_asked(&mut self, gateway: &GatewayId) {
        let sets = self.index.sets_of_gateway.of(gateway).cloned().map(Holder::ListenerSet);
        let holders = sets.chain([Holder::Gateway(gateway.clone())]);
        let objects = holders.filter_map(|holder| self.resources.get(&holder.object_id()));
        let targets: Vec<_> =
            objects.flat_map(|object| index::backends_of_listeners(&object)).collect();
        for target in targets {
            if !self.backends.contains_key(&target) {
                let view = self.backend(&target);
                self.backends.insert(target, view);
            }
        }
    }

    /// Marks the routes and the status of whatever holds listeners of a Gateway, and takes down which
    /// ListenerSets are the Gateway's.
    fn note_listeners(
        &mut self,
        gateway: &GatewayId,
        old: Option<&GatewayView>,
        new: Option<&GatewayView>,
        dirty: &mut Dirty,
    ) {
        let old_rank = old.and_then(|view| view.default_rank.as_ref());
        let new_rank = new.and_then(|view| view.default_rank.as_ref());
        let is_default = old_rank.is_some() || new_rank.is_some();
        let mut defaults_changed = old_rank != new_rank;
        if defaults_changed {
            old_rank.map(|rank| self.defaults.remove(rank));
            self.defaults.extend(new_rank.cloned());
        }
        let empty = BTreeMap::new();
        let old = old.map_or(&empty, |view| &view.listeners);
        let new = new.map_or(&empty, |view| &view.listeners);
        let holders: BTreeSet<&Holder> = old.keys().chain(new.keys()).collect();
        // Where ports are shifted, redirects lead to what any listener of the Gateway offers.
        let concerns_all = self.options.port_offset != 0 && old != new;
        for holder in holders {
            if concerns_all || old.get(holder) != new.get(holder) {
                for kind in RouteKind::ALL {
                    let routes = self.index.routes_of_holder[kind].of(holder);
                    dirty.routes[kind].extend(routes.cloned());
                }
                defaults_changed |= is_default && matches!(holder, Holder::Gateway(_));
            }
            let Holder::ListenerSet(set) = holder else { continue };
            if new.contains_key(holder) {
                self.sets.insert(set.clone(), gateway.clone());
            } else if self.sets.get(set) == Some(gateway) {
                self.sets.remove(set);
            }
            dirty.statuses.insert(holder.clone());
        }
        if defaults_changed {
            for kind in RouteKind::ALL {
                dirty.routes[kind].extend(self.index.defaulted_routes[kind].iter().cloned());
            }
        }
    }

    /// Notes which Secrets and ConfigMaps an object reads.
    fn follow(
        &mut self,
        reader: &ObjectId,
        before: &BTreeSet<ObjectId>,
        now: &BTreeSet<ObjectId>,
        staged: &mut Staged,
    ) {
        for object in before.symmetric_difference(now) {
            self.readers.set(object.clone(), reader.clone(), now.contains(object));
            staged.reference(object.clone(), self.readers.contains(object));
        }
    }

    /// Marks XTelemetryPolicies, and the Gateways that they are for.
    fn note_telemetry<'a>(
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

    /// The XTelemetryPolicies that are for a Gateway.
    fn telemetry_of(&self, gateway: &GatewayId) -> Vec<&Arc<TelemetryPolicy>> {
        let names = self.index.telemetry_of_gateway.of(gateway);
        names.filter_map(|name| self.resources.telemetry_policies.get(name)).collect()
    }

    /// Derives what a Gateway has traced, and marks the policies that are for it (X-6).
    fn settle_tracing(&mut self, gateway: &GatewayId, dirty: &mut Dirty, staged: &mut Staged) {
        let policies = self.index.telemetry_of_gateway.of(gateway);
        dirty.policies.extend(policies.map(|name| name.object_id(Kind::TelemetryPolicy)));
        let is_ours = self.gateways.contains_key(gateway);
        let holder = telemetry::holder(self.telemetry_of(gateway).into_iter()).cloned();
        let holder = holder.filter(|_| is_ours);
        if let Some(target) = holder.as_ref().and_then(|policy| telemetry::collector(policy)) {
            self.know(&target);
        }
        let traced = holder.and_then(|policy| {
            telemetry::tracing(&policy, gateway, &self.resources, &|target| self.facts(target))
        });
        let before = self.collectors.remove(gateway);
        match traced {
            Some((tracing, target)) => {
                self.acquire(gateway, &target, dirty, staged);
                self.collectors.insert(gateway.clone(), target);
                staged.upsert(gateway, IrResource::Tracing(Arc::new(tracing)));
            }
            None => staged.remove(gateway, IrKey::Tracing),
        }
        if let Some(target) = before {
            self.release(gateway, &target, dirty, staged);
        }
    }

    /// Puts the status of an XTelemetryPolicy together.
    fn settle_telemetry_policy(&mut self, id: ObjectId, staged: &mut Staged) {
        let object = self.resources.telemetry_policies.get(&id.namespaced_name()).cloned();
        if let Some(target) = object.as_ref().and_then(|policy| telemetry::collector(policy)) {
            self.know(&target);
        }
        let around = telemetry::Surroundings {
            resources: &self.resources,
            options: &self.options,
            policies: &|gateway| self.telemetry_of(gateway),
            is_ours: &|gateway| self.gateways.contains_key(gateway),
            facts: &|target| self.facts(target),
        };
        let status = object.as_ref().and_then(|policy| telemetry::status(policy, &around));
        staged.status(id, status.map(Status::Policy));
    }

    /// What is known of a Service port.
    fn facts(&self, target: &ServicePort) -> BackendFacts {
        self.backends.get(target).map(|view| view.facts.clone()).unwrap_or_default()
    }

    /// Looks at every port of a Service that routes of ours refer to.
    fn settle_service(&mut self, service: &NamespacedName, dirty: &mut Dirty, staged: &mut Staged) {
        self.note_policies(service, dirty);
        let ports = self.index.ports_of_service.of(service).cloned().collect();
        self.settle_backends(ports, dirty, staged);
    }

    fn settle_backends(
        &mut self,
        targets: Vec<ServicePort>,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        for target in targets {
            if !self.backends.contains_key(&target) {
                continue;
            }
            let view = self.backend(&target);
            if self.backends[&target].facts != view.facts {
                let names = self.index.routes_of_backend.of(&target);
                dirty.routes[target.routes].extend(names.cloned());
                let holders = self.index.holders_of_backend.of(&target);
                dirty.gateways.extend(self.gateways_of(holders));
                self.note_telemetry(self.index.telemetry_of_collector.of(&target), dirty);
            }
            self.backends.insert(target.clone(), view);
            let users = self.users.get(&target).into_iter().flat_map(BTreeMap::keys);
            for gateway in users {
                self.stage_backend(staged, gateway, &target, self.backends.get(&target));
            }
        }
    }

    /// Derives a Service port.
    fn backend(&mut self, target: &ServicePort) -> BackendView {
        self.work.backends += 1;
        let slices = |service: &NamespacedName| {
            let names = self.index.slices_of_service.of(service);
            names.filter_map(|name| self.resources.endpoint_slices.get(name))
        };
        if target.x_backend {
            return x_backend::view(target, slices, &self.resources, &self.options);
        }
        let slices = slices(&target.service);
        let policies = self.policies_of(&target.service);
        let traffic_policies = self.traffic_policies_of(&target.service);
        let policies = backend::Policies { tls: &policies, traffic: &traffic_policies };
        backend::view(target, slices, &policies, &self.resources, &self.options)
    }

    /// Marks the policies that are for a Service: what their status says may have changed.
    fn note_policies(&self, service: &NamespacedName, dirty: &mut Dirty) {
        let tls = self.index.policies_of_service.of(service);
        dirty.policies.extend(tls.map(|name| name.object_id(Kind::BackendTlsPolicy)));
        let traffic = self.index.traffic_policies_of_service.of(service);
        dirty.policies.extend(traffic.map(|name| name.object_id(Kind::BackendTrafficPolicy)));
    }

    /// The BackendTLSPolicies that are for a Service.
    fn policies_of(&self, service: &NamespacedName) -> Vec<&Arc<BackendTlsPolicy>> {
        let names = self.index.policies_of_service.of(service);
        names.filter_map(|name| self.resources.backend_tls_policies.get(name)).collect()
    }

    /// Notes which XBackends a route refers to, and counts the routes of ours that refer to each: what is wrong
    /// with them is told whether a Gateway sends to them or not.
    fn note_asked(
        &mut self,
        kind: RouteKind,
        name: &NamespacedName,
        is_ours: bool,
        dirty: &mut Dirty,
    ) {
        let object = self.resources.get(&name.object_id(kind.kind())).filter(|_| is_ours);
        let route = object.as_ref().and_then(Route::of);
        let new: BTreeSet<_> = route.into_iter().flat_map(rule::x_backends).collect();
        let old = self.asked_by_route[kind].remove(name).unwrap_or_default();
        for asked in &new {
            let askers = self.askers_of_x_backend.entry(asked.clone()).or_default();
            *askers += 1;
            if *askers == 1 {
                dirty.x_statuses.insert(asked.clone());
            }
        }
        for asked in old {
            let Some(askers) = self.askers_of_x_backend.get_mut(&asked) else { continue };
            *askers -= 1;
            if *askers == 0 {
                self.askers_of_x_backend.remove(&asked);
                dirty.x_statuses.insert(asked);
            }
        }
        if !new.is_empty() {
            self.asked_by_route[kind].insert(name.clone(), new);
        }
    }

    /// Puts the status of an XBackend together. One that routes of ours refer to reads its ConfigMaps and its
    /// Secret: they say what is wrong with it.
    fn settle_x_backend(&mut self, name: &NamespacedName, staged: &mut Staged) {
        let users = self.users_of_x_backend(name);
        let users: BTreeMap<_, _> = users
            .into_iter()
            .map(|gateway| {
                let rejected = self.rejected_certificate(&gateway, name);
                (gateway, rejected)
            })
            .collect();
        let object = self.resources.x_backends.get(name);
        let asked = object.filter(|_| self.askers_of_x_backend.contains_key(name));
        let references =
            asked.into_iter().flat_map(|it| x_backend::permitted_references(it, &self.resources));
        let references: BTreeSet<_> = references.filter(index::is_read_alone).collect();
        let status =
            object.and_then(|it| x_backend::status(it, users, &self.resources, &self.options));
        let reader = x_backend::id(name);
        staged.status(reader.clone(), status.map(Status::Policy));
        let before = self.x_backend_references.remove(name).unwrap_or_default();
        self.follow(&reader, &before, &references, staged);
        if !references.is_empty() {
            self.x_backend_references.insert(name.clone(), references);
        }
    }

    /// The XBackendTrafficPolicies that are for a Service.
    fn traffic_policies_of(&self, service: &NamespacedName) -> Vec<&Arc<BackendTrafficPolicy>> {
        let names = self.index.traffic_policies_of_service.of(service);
        names.filter_map(|name| self.resources.backend_traffic_policies.get(name)).collect()
    }

    /// Puts the status of an XBackendTrafficPolicy together.
    fn settle_traffic_policy(&self, id: ObjectId, staged: &mut Staged) {
        let object = self.resources.backend_traffic_policies.get(&id.namespaced_name());
        let around = backend_traffic::Surroundings {
            resources: &self.resources,
            options: &self.options,
            policies: &|service| self.traffic_policies_of(service),
            users: &|service, is_meant| self.senders_of_requests(service, is_meant),
            users_of_x_backend: &|name| self.users_of_x_backend(name),
            unfit: &|_, _| None,
        };
        let status = object.and_then(|policy| backend_traffic::status(policy, &around));
        staged.status(id, status.map(Status::Policy));
    }

    /// Puts the status of a BackendTLSPolicy together. One that has an effect reads its ConfigMaps.
    fn settle_policy(&mut self, name: &NamespacedName, staged: &mut Staged) {
        let object = self.resources.backend_tls_policies.get(name).cloned();
        let around = backend_tls::Surroundings {
            resources: &self.resources,
            options: &self.options,
            policies: &|service| self.policies_of(service),
            users: &|service, is_meant| {
                self.users_of(service, &|target| target.takes_policies() && is_meant(target.port))
            },
            users_of_x_backend: &|name| self.users_of_x_backend(name),
            unfit: &backend_tls::unfit,
        };
        let status = object.as_ref().and_then(|policy| backend_tls::status(policy, &around));
        let reader = name.object_id(Kind::BackendTlsPolicy);
        let references = match (&object, &status) {
            (Some(policy), Some(_)) => {
                backend_tls::references(policy).filter(index::is_read_alone).collect()
            }
            _ => BTreeSet::new(),
        };
        staged.status(reader.clone(), status.map(Status::Policy));
        let before = self.policy_references.remove(name).unwrap_or_default();
        self.follow(&reader, &before, &references, staged);
        if !references.is_empty() {
            self.policy_references.insert(name.clone(), references);
        }
    }

    /// The Gateways that send something to some ports of a Service.
    fn users_of(
        &self,
        service: &NamespacedName,
        is_meant: &dyn Fn(&ServicePort) -> bool,
    ) -> BTreeSet<GatewayId> {
        let ports = self.index.ports_of_service.of(service);
        let ports = ports.filter(|target| is_meant(target));
        let users = ports.filter_map(|target| self.users.get(target));
        users.flat_map(BTreeMap::keys).cloned().collect()
    }

    /// The Gateways that send requests to some ports of a Service.
    pub(super) fn senders_of_requests(
        &self,
        service: &NamespacedName,
        is_meant: &dyn Fn(u16) -> bool,
    ) -> BTreeSet<GatewayId> {
        self.users_of(service, &|target| target.takes_requests() && is_meant(target.port))
    }

    /// Why a Gateway cannot show the certificate of an XBackend, as far as its data plane has said.
    fn rejected_certificate(&self, gateway: &GatewayId, name: &NamespacedName) -> Option<String> {
        let rejected = &self.feedback.get(gateway)?.rejected_certificates;
        let keys = self.index.targets_of_x_backend.of(name);
        let mut keys = keys.map(|target| CertificateKey::of_backend(&target.key()));
        keys.find_map(|key| rejected.get(&key)).cloned()
    }

    /// The Gateways that send something to an XBackend.
    pub(super) fn users_of_x_backend(&self, name: &NamespacedName) -> BTreeSet<GatewayId> {
        let targets = self.index.targets_of_x_backend.of(name);
        let users = targets.filter_map(|target| self.users.get(target));
        users.flat_map(BTreeMap::keys).cloned().collect()
    }

    fn settle_route(
        &mut self,
        kind: RouteKind,
        name: &NamespacedName,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        let mut new = self.derive_route(kind, name).unwrap_or_default();
        // Taken out of its place and not out of the map: an edit must not make the map rehash.
        let old = self.routes[kind].get_mut(name).map(std::mem::take).unwrap_or_default();
        // What is needed from now on comes first, so that nothing is let go that is still needed.
        for (gateway, attached) in &new.gateways {
            for target in &attached.backends {
                self.acquire(gateway, target, dirty, staged);
            }
        }
        for (gateway, attached) in &old.gateways {
            for target in &attached.backends {
                self.release(gateway, target, dirty, staged);
            }
        }
        self.note_asked(kind, name, !new.status.parents.is_empty(), dirty);
        for (gateway, attached) in &old.gateways {
            for rule in &attached.rules {
                staged.remove(gateway, rule.key());
            }
            self.count(gateway, &attached.counted, -1, dirty);
        }
        for (gateway, attached) in &new.gateways {
            for rule in &attached.rules {
                staged.upsert(gateway, rule.clone());
            }
            self.count(gateway, &attached.counted, 1, dirty);
        }
        let id = name.object_id(kind.kind());
        if new.status.parents.is_empty() {
            staged.status(id, None);
            self.routes[kind].remove(name);
        } else {
            self.share_status(&mut new.status);
            staged.status(id, Some(Status::Route(new.status.clone())));
            self.routes[kind].insert(name.clone(), new);
        }
    }

    /// Routes that follow each other mostly have the same status: they share it.
    fn share_status(&mut self, status: &mut RouteStatus) {
        if self.last_status == *status {
            status.clone_from(&self.last_status);
        } else {
            self.last_status.clone_from(status);
        }
    }

    /// Derives a route; `None` where it does not exist or refers to no Gateway of ours.
    fn derive_route(&mut self, kind: RouteKind, name: &NamespacedName) -> Option<RouteView> {
        let object = self.resources.get(&name.object_id(kind.kind()))?;
        self.work.routes += 1;
        let object = Route::of(&object)?;
        let parents = route::parents(object, |holder| self.gateway_of(holder), &self.defaults);
        if parents.is_empty() {
            return None;
        }
        for target in index::backends(object) {
            self.know(&target);
        }
        let facts = |target: &ServicePort| self.facts(target);
        let lookup = Lookup {
            resources: &self.resources,
            facts: &facts,
            underscore_headers: self.options.underscore_headers,
        };
        Some(route::view(name, object, parents, &self.gateways, &lookup, &self.options))
    }

    /// Derives a Service port that was not asked for before.
    fn know(&mut self, target: &ServicePort) {
        if !self.backends.contains_key(target) {
            let view = self.backend(target);
            self.backends.insert(target.clone(), view);
        }
    }

    /// The Gateway of ours whose listeners an object holds.
    fn gateway_of(&self, holder: &Holder) -> Option<&GatewayId> {
        match holder {
            Holder::Gateway(id) => self.gateways.get_key_value(id).map(|(id, _)| id),
            Holder::ListenerSet(set) => self.sets.get(set),
        }
    }

    fn acquire(
        &mut self,
        gateway: &GatewayId,
        target: &ServicePort,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        let users = self.users.entry(target.clone()).or_default();
        let uses = users.entry(gateway.clone()).or_default();
        *uses += 1;
        if *uses == 1 {
            self.mark_users(target, dirty);
            self.stage_backend(staged, gateway, target, self.backends.get(target));
        }
    }

    fn release(
        &mut self,
        gateway: &GatewayId,
        target: &ServicePort,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        let Some(users) = self.users.get_mut(target) else { return };
        let Some(uses) = users.get_mut(gateway) else { return };
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        users.remove(gateway);
        if users.is_empty() {
            self.users.remove(target);
        }
        self.mark_users(target, dirty);
        self.stage_backend(staged, gateway, target, None);
    }

    /// Marks the status of whatever tells who sends to a target.
    fn mark_users(&self, target: &ServicePort, dirty: &mut Dirty) {
        if target.x_backend {
            dirty.x_statuses.insert(target.service.clone());
            let policies = self.index.policies_of_x_backend.of(&target.service);
            dirty.policies.extend(policies.cloned());
        } else {
            self.note_policies(&target.service, dirty);
        }
    }

    /// A Gateway needs a Service port (`Some`, which may be unable to serve) or no longer (`None`).
    fn stage_backend(
        &self,
        staged: &mut Staged,
        gateway: &GatewayId,
        target: &ServicePort,
        view: Option<&BackendView>,
    ) {
        match view.and_then(|view| view.certificate.clone()) {
            Some(certificate) => staged.upsert(gateway, IrResource::Certificate(certificate)),
            None if target.x_backend => {
                let key = CertificateKey::of_backend(&target.key());
                staged.remove(gateway, IrKey::Certificate(key));
            }
            None => {}
        }
        let Some((backend, endpoints)) = view.and_then(|view| view.served.as_ref()) else {
            staged.remove(gateway, IrKey::Backend(target.key()));
            staged.remove(gateway, IrKey::Endpoints(target.key()));
            return;
        };
        let view = self.gateways.get(gateway);
        let certificate = view.and_then(|view| view.client_certificate.as_ref());
        let backend = match (&backend.tls, certificate) {
            // BT-11: each Gateway shows its own; an XBackend says itself whether one is shown.
            (Some(tls), Some(certificate)) if !target.x_backend => {
                let mut tls = BackendTls::clone(tls);
                tls.client_certificate = Some(certificate.clone());
                Arc::new(Backend { tls: Some(Arc::new(tls)), ..Backend::clone(backend) })
            }
            _ => backend.clone(),
        };
        staged.upsert(gateway, IrResource::Backend(backend));
        staged.upsert(gateway, IrResource::Endpoints(endpoints.clone()));
    }

    /// Stages the Service ports anew to which a Gateway shows its certificate.
    fn stage_backends_over_tls(&self, gateway: &GatewayId, staged: &mut Staged) {
        for (target, users) in &self.users {
            let view = self.backends.get(target);
            let served = view.and_then(|view| view.served.as_ref());
            let is_over_tls = served.is_some_and(|(backend, _)| backend.tls.is_some());
            if is_over_tls && users.contains_key(gateway) {
                self.stage_backend(staged, gateway, target, view);
            }
        }
    }

    /// Counts routes on listeners, up or down.
    fn count(
        &mut self,
        gateway: &GatewayId,
        listeners: &[ListenerKey],
        step: i32,
        dirty: &mut Dirty,
    ) {
        for listener in listeners {
            let holder = Holder::of_listener(gateway, listener);
            let counts = self.counts.entry(holder.clone()).or_default();
            let count = counts.entry(listener.clone()).or_default();
            *count += step;
            if *count == 0 {
                counts.remove(listener);
                if counts.is_empty() {
                    self.counts.remove(&holder);
                }
            }
            dirty.statuses.insert(holder);
        }
    }

    fn settle_status(&self, holder: &Holder, staged: &mut Staged) {
        let counts = self.counts.get(holder);
        let count = |listeners: &mut Vec<ListenerStatus>| {
            for listener in listeners {
                let count = counts.and_then(|counts| counts.get(&holder.key(&listener.name)));
                listener.attached_routes = count.copied().unwrap_or_default();
            }
        };
        let view = self.gateway_of(holder).and_then(|gateway| self.gateways.get(gateway));
        let status = view.and_then(|view| match holder {
            Holder::Gateway(_) => {
                let mut status = view.status.clone();
                count(&mut status.listeners);
                Some(Status::Gateway(Box::new(status)))
            }
            Holder::ListenerSet(set) => {
                let mut status = view.sets.get(set)?.clone();
                count(&mut status.listeners);
                Some(Status::ListenerSet(Box::new(status)))
            }
        });
        staged.status(holder.object_id(), status);
    }
}

/// The XBackends whose certificates cannot be shown, by what the data plane of a Gateway has said.
fn x_backends_without_certificate(said: &Feedback) -> impl Iterator<Item = NamespacedName> + '_ {
    let backends = said.rejected_certificates.keys().filter_map(CertificateKey::backend);
    backends.filter_map(|backend| backend.x_backend_name())
}
