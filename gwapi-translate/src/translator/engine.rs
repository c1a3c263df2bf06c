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

mod backends;
mod dirty;
mod gateways;
mod policies;
mod routes;
mod x_backends;

use std::collections::{BTreeMap, BTreeSet};

use gwapi_model::{Kind, NamespacedName, ObjectId, Resource, ResourceEvent, Resources, RouteKind};

use super::backend::{BackendView, ServicePort};
use super::gateway::{GatewayDraft, GatewayView};
use super::holder::Holder;
use super::index::{Index, Multimap, PerKind};
use super::ports::Ports;
use super::route::RouteView;
use super::translation::{Staged, Translation, TranslationDelta};
use super::{Feedback, HashMap, Options, class};
use crate::features::InstalledBundle;
use crate::ir::{GatewayId, ListenerKey, SessionKeys};

pub(super) use dirty::Dirty;
use x_backends::{SelectionProblem, x_backends_without_certificate};

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
    routes: PerKind<BTreeMap<NamespacedName, RouteView>>,
    /// Service ports that take the spans of Gateways (X-6).
    collectors: HashMap<GatewayId, ServicePort>,
    /// ConfigMaps that BackendTLSPolicies read, there or not.
    policy_references: HashMap<NamespacedName, BTreeSet<ObjectId>>,
    /// The same of XBackends, and the Secrets that they may refer to.
    x_backend_references: HashMap<NamespacedName, BTreeSet<ObjectId>>,
    /// Why no Service could be made for the pods of an XBackend, and which of all of its name that is.
    selection_problems: HashMap<NamespacedName, SelectionProblem>,
    /// How many routes of ours refer to an XBackend.
    askers_of_x_backend: HashMap<NamespacedName, usize>,
    /// The XBackends that a route of ours refers to; most refer to none, and are not here.
    asked_by_route: PerKind<HashMap<NamespacedName, BTreeSet<NamespacedName>>>,
    /// The route that was derived last: the next one mostly has the same status, is attached to the same,
    /// and shares it.
    last_route: RouteView,
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

    /// The same for what was derived from them.
    pub(super) fn pack_views(&mut self) {
        for kind in RouteKind::ALL {
            let routes = &mut self.routes[kind];
            *routes = std::mem::take(routes).into_iter().collect();
        }
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

    /// What the data plane said about a Gateway last.
    pub(super) fn feedback(&self, gateway: &GatewayId) -> Option<&Feedback> {
        self.feedback.get(gateway)
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
}
