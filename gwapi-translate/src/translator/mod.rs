//! Resources in, configuration and status out.
//!
//! Translation is total: every object gets an answer, and what is wrong with one never reaches
//! another. What a spec asks for and cannot get is refused with a condition, never passed over, and
//! what is refused keeps its requests from what is broader: `rule` tells how a broken rule answers
//! 500, even on a route that is not accepted, and a refused listener keeps its hostname, where it has one
//! that can be read and nobody else has it.
//!
//! It is incremental by construction. `engine` keeps reverse indices and a view of every unit
//! (Gateway, Service port, route); an event marks the units that read the object, and only those
//! are derived again, by the same pure functions that [`translate`] uses. Nothing scans all
//! routes: counts of attached routes and uses of backends are counters.
//!
//! ```text
//!  engine ─┬─ class ────── parameters                GatewayClass
//!          ├─ gateway ─┬─ addresses, parameters      Gateway, and the ListenerSets of it
//!          │           ├─ listener, conflicts        each listener, and all of them together
//!          │           ├─ ports                      Gateways against each other
//!          │           └─ certificates ── grants
//!          ├─ backend ── backend_tls                 Service port, its endpoints, TLS to them
//!          └─ route ───┬─ attachment                 a route against listeners
//!                      └─ rule ── matches, filters   spec to IR
//! ```

mod addresses;
mod attachment;
mod backend;
mod backend_tls;
mod backend_traffic;
mod ca_certificates;
mod certificates;
mod class;
mod client_validation;
mod conditions;
mod conflicts;
mod cors;
mod engine;
mod external_auth;
mod filters;
mod gateway;
mod grants;
mod holder;
mod index;
mod listener;
mod listener_filters;
mod matches;
mod options;
mod parameters;
mod policy;
mod ports;
mod route;
mod rule;
mod sessions;
mod syntax;
mod telemetry;
mod translation;
mod x_backend;

use std::collections::BTreeSet;

use gwapi_model::{Kind, NamespacedName, ObjectId, ObjectMeta, ResourceEvent, Resources};

use crate::features::InstalledBundle;
use crate::ir::{GatewayId, SessionKeys};
pub use engine::Work;
use engine::{Dirty, Engine};
pub use gateway::lets_listener_sets_in;
pub(crate) use grants::Reference;
pub(crate) use index::granted_targets;
pub use index::references;
pub use options::{AddressPolicy, Feedback, Options};
pub(crate) use rule::{refused_answer, service_in, why_never_taken};
pub use translation::{Translation, TranslationDelta};

/// Events after which it is worth going over all maps.
const MANY: usize = 1_000;

/// Maps that are never iterated where order could show.
type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// Translates everything at once: the definition of what translation means.
pub fn translate(resources: &Resources, options: &Options) -> Translation {
    let mut translator = Translator::new(options.clone());
    let _ = translator.apply_all(resources.iter().map(ResourceEvent::Apply));
    translator.engine.translation
}

/// Translates event by event; the cost of an event grows with what it touches.
#[derive(Clone, Debug)]
pub struct Translator {
    engine: Engine,
}

impl Translator {
    /// A translator that knows no resource yet.
    pub fn new(options: Options) -> Self {
        Self { engine: Engine::new(options) }
    }

    /// Applies one event.
    pub fn apply(&mut self, event: ResourceEvent) -> TranslationDelta {
        self.apply_all([event])
    }

    /// Applies several events as one change: nothing in between is ever visible.
    pub fn apply_all(
        &mut self,
        events: impl IntoIterator<Item = ResourceEvent>,
    ) -> TranslationDelta {
        let mut dirty = Dirty::default();
        let mut noted = 0;
        for event in events {
            self.engine.note(event, &mut dirty);
            noted += 1;
        }
        if noted >= MANY {
            self.engine.pack();
        }
        let delta = self.engine.settle(dirty);
        if noted >= MANY {
            self.engine.pack_views();
        }
        delta
    }

    /// Takes in what the data plane said about a Gateway. It replaces what was said before, and is
    /// forgotten when the Gateway is no longer served, or is another one of the name. Status follows; the
    /// configuration never does, so that the data plane's answer cannot change its own question.
    pub fn set_feedback(&mut self, gateway: &GatewayId, feedback: Feedback) -> TranslationDelta {
        let dirty = self.engine.set_feedback(gateway, feedback);
        self.engine.settle(dirty)
    }

    /// What the data plane said about a Gateway last; `None` where that was nothing.
    pub fn feedback(&self, gateway: &GatewayId) -> Option<&Feedback> {
        self.engine.feedback(gateway)
    }

    /// Takes in why no Service could be made for the pods of the XBackend that has this `uid`; `None` where
    /// nothing is wrong. It replaces what was said before, and is forgotten when [nothing has to be
    /// selected](Translation::selections) for that XBackend any more; of a former one of the name nothing is
    /// taken in. The status of the XBackend follows, as long as there is no such Service.
    pub fn set_selection_problem(
        &mut self,
        backend: &NamespacedName,
        uid: &str,
        problem: Option<String>,
    ) -> TranslationDelta {
        let dirty = self.engine.set_selection_problem(backend, uid, problem);
        self.engine.settle(dirty)
    }

    /// Replaces the options.
    pub fn set_options(&mut self, options: Options) -> TranslationDelta {
        let dirty = self.engine.set_options(options);
        self.engine.settle(dirty)
    }

    /// Replaces one option, the installed CRDs, at the cost of the classes; of the Gateways as well, where
    /// they have other fields now.
    pub fn set_installed_bundle(&mut self, bundle: Option<InstalledBundle>) -> TranslationDelta {
        let dirty = self.engine.set_installed_bundle(bundle);
        self.engine.settle(dirty)
    }

    /// Replaces one option, the keys of sessions, at the cost of the Gateways alone.
    pub fn set_session_keys(&mut self, keys: Option<SessionKeys>) -> TranslationDelta {
        let dirty = self.engine.set_session_keys(keys);
        self.engine.settle(dirty)
    }

    /// Replaces one option, whether there are ClusterTrustBundles, at the cost of the classes and of what
    /// refers to one.
    pub fn set_cluster_trust_bundles(&mut self, are_served: bool) -> TranslationDelta {
        let dirty = self.engine.set_cluster_trust_bundles(are_served);
        self.engine.settle(dirty)
    }

    /// Whether a Secret or ConfigMap is read; all others need not be kept.
    pub fn refers_to(&self, kind: Kind, name: &NamespacedName) -> bool {
        self.engine.translation.references.contains(&name.object_id(kind))
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.engine.options
    }

    /// The ground state.
    pub fn resources(&self) -> &Resources {
        &self.engine.resources
    }

    /// The Gateway of ours that a ListenerSet names, whether it lets the set in or not (LS-1).
    pub fn gateway_of_listener_set(&self, set: &NamespacedName) -> Option<&GatewayId> {
        self.engine.sets.get(set)
    }

    /// The Gateways of ours that send requests to a Service, or anything to an XBackend, of routes that are
    /// known, whether it is there or not; none for objects of other kinds.
    pub fn gateways_that_send_to(&self, target: &ObjectId) -> BTreeSet<GatewayId> {
        let name = target.namespaced_name();
        match target.kind {
            Kind::Service => self.engine.senders_of_requests(&name, &|_| true),
            Kind::XBackend => self.engine.users_of_x_backend(&name),
            _ => BTreeSet::new(),
        }
    }

    /// How many units have been derived so far.
    pub fn work(&self) -> Work {
        self.engine.work
    }

    /// The current result.
    pub fn translation(&self) -> &Translation {
        &self.engine.translation
    }
}

/// Creation of an object in seconds since 1970; 0, the oldest, where it is not known.
fn created(metadata: &ObjectMeta) -> i64 {
    metadata.creation_timestamp.map(|timestamp| timestamp.as_second()).unwrap_or_default()
}
