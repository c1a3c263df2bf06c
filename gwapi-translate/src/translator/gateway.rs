//! A Gateway with its ListenerSets: what they ask for, what of it is served, and their status.
//!
//! Two steps, because Gateways compete for ports: a [`GatewayDraft`] is made from the Gateway, its
//! class and the options alone and says which ports are claimed; a [`GatewayView`] adds what was
//! won, what certificates there are, and what the data plane reported. Where each Gateway has proxies
//! of its own there is nothing to win, and the view says what has to run as well.

mod assignment;
mod infrastructure;
mod judge;
mod listener_set;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use gwapi_model::status::{ConditionReason, GatewayStatus, ListenerSetStatus};
use gwapi_model::{
    DEFAULT_SCOPE_ALL, Gateway, GatewayParametersSpec, Kind, NamespacedName, ObjectId, Resources,
    RouteKind, SecretObjectReference, TlsMode,
};

use super::addresses::{self, Addresses};
use super::backend::{BackendFacts, ServicePort};
use super::class::{self, ClassVerdict};
use super::conditions::Problem;
use super::conflicts;
use super::holder::Holder;
use super::listener::{self, Admission, ListenerDraft};
use super::ports::{Claim, PortNumber, Ports};
use super::{Feedback, Options, attachment, certificates, client_validation, parameters};
use crate::infrastructure::GatewayInfrastructure;
use crate::ir::{CertificateKey, GatewayId, Hostname, IrKey, IrResource, ListenerKey, SessionKeys};
use judge::JudgedListener;
pub use listener_set::lets_listener_sets_in;
use listener_set::{Room, SetDraft};

/// What the Gateway, its class and the options say.
#[derive(Clone, Debug)]
pub(super) struct GatewayDraft {
    id: GatewayId,
    generation: i64,
    created: i64,
    /// Whether routes that ask for default Gateways are for it (RT-16).
    is_default: bool,
    /// The class is refused: the Gateway waits (GC-7).
    class_refused: Option<String>,
    /// Why the whole Gateway is not accepted.
    problems: Vec<Problem>,
    /// The Secret with the certificate that is shown to backends (TL-7).
    client_certificate_ref: Option<SecretObjectReference>,
    /// What is worth knowing although the Gateway is accepted.
    notes: Vec<String>,
    /// Where it lets clients in without a valid certificate (TL-6).
    insecure: Vec<String>,
    addresses: Addresses,
    /// Whether its status has room for what the experimental channel adds to it (AD-7, AD-8).
    has_experimental_fields: bool,
    /// Its own listeners, and then those of each ListenerSet that it lets in (LS-4).
    listeners: Vec<ListenerDraft>,
    /// The ListenerSets that name it, in their order (LS-4).
    sets: Vec<SetDraft>,
    /// Whether their listeners may be served (LS-2).
    serves_sets: bool,
    /// What has to run, its ports left open; where Gateways are provisioned.
    infrastructure: Option<GatewayInfrastructure>,
}

/// What a Gateway offers and serves.
#[derive(Clone, Debug, Default)]
pub(super) struct GatewayView {
    /// What routes attach to, by the object that holds it. Routes are looked at again when it changes, and
    /// only then.
    pub(super) listeners: BTreeMap<Holder, Vec<AttachmentPoint>>,
    /// The Gateway's own resources: listeners and certificates.
    pub(super) config: BTreeMap<IrKey, IrResource>,
    /// Status, with no route counted yet.
    pub(super) status: GatewayStatus,
    /// Status of each ListenerSet that names it, with no route counted yet.
    pub(super) sets: BTreeMap<NamespacedName, ListenerSetStatus>,
    /// Its place among default Gateways, if it is one (RT-16): when it was made, and its name.
    pub(super) default_rank: Option<(i64, GatewayId)>,
    /// Secrets and ConfigMaps that it reads, there or not.
    pub(super) references: BTreeSet<ObjectId>,
    /// The certificate that is shown to backends (TL-7).
    pub(super) client_certificate: Option<CertificateKey>,
    /// Service ports that filters of its listeners need.
    pub(super) backends: BTreeSet<ServicePort>,
    /// What has to run for it, where Gateways are provisioned.
    pub(super) infrastructure: Option<Arc<GatewayInfrastructure>>,
}

/// A listener as routes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttachmentPoint {
    /// Key.
    pub(super) key: ListenerKey,
    /// Port as clients see it.
    pub(super) port: u16,
    /// The port that is bound in its place, where that is another one and the listener has a place there.
    pub(super) shifted_port: Option<u16>,
    /// Hostname; none means every host.
    pub(super) hostname: Option<Hostname>,
    /// Whether connections go through as they are (TS-5).
    pub(super) passthrough: bool,
    /// Kinds of routes that may attach at all (AR-3).
    pub(super) kinds: Vec<RouteKind>,
    /// Whose.
    pub(super) admission: Admission,
}

/// Drafts a Gateway and the ListenerSets that name it; `None` where it is not ours (GC-7).
pub(super) fn draft<'a>(
    id: &GatewayId,
    sets: impl Iterator<Item = &'a NamespacedName>,
    resources: &'a Resources,
    options: &Options,
) -> Option<GatewayDraft> {
    let gateway = resources.gateways.get(id)?;
    let class_name = &gateway.spec.gateway_class_name;
    let verdict = class::verdict(class::of_gateway(gateway, resources), resources, options);
    let (class_refused, defaults) = match verdict {
        ClassVerdict::Foreign => return None,
        ClassVerdict::Accepted(parameters) => (None, parameters),
        ClassVerdict::Refused => (Some(class_name.clone()), None),
    };
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let own = parameters::of_gateway(gateway, resources, options);
    problems.extend(own.problem);
    notes.extend(own.note);
    let parameters = parameters::together(defaults.as_deref(), own.found.as_deref());
    let parameters = parameters.unwrap_or_else(|problem| {
        problems.push(problem);
        GatewayParametersSpec::default()
    });
    let default_scope = gateway.spec.default_scope.as_deref().unwrap_or_default();
    if !matches!(default_scope, "" | "None" | DEFAULT_SCOPE_ALL) {
        notes.push(format!(
            "spec.defaultScope: `{default_scope}` is not a scope that is known, and has no effect; \
             expected All or None"
        ));
    }
    let addresses = addresses::resolve(id, gateway, options);
    problems.extend(addresses.unsupported.iter().cloned());
    let holder = Holder::Gateway(id.clone());
    let own = gateway.spec.listeners.iter();
    let own = own.map(|it| listener::draft(gateway, (&holder, &gateway.metadata), it, options));
    let mut listeners: Vec<ListenerDraft> = own.collect();
    let admission = listener_set::admission(gateway).unwrap_or_else(|problem| {
        notes.push(problem.at("spec.allowedListeners.namespaces").message);
        Admission::Nobody
    });
    let mut drafts = Vec::new();
    for (name, set) in listener_set::in_order(sets, resources) {
        let is_let_in = attachment::admits(&admission, &holder, &name.namespace, resources);
        let draft = listener_set::draft(name, set, is_let_in);
        if is_let_in {
            let holder = (&draft.holder(), &set.metadata);
            let entries = set.spec.listeners.iter();
            listeners.extend(entries.map(|it| listener::draft(gateway, holder, it, options)));
        }
        drafts.push(draft);
    }
    let mut room = Room::default();
    conflicts::mark(&mut listeners, |listener| room.take(listener));
    notes.extend(infrastructure::note(gateway).filter(|_| options.provisioned()));
    let refused = class_refused.is_some() || !problems.is_empty();
    let infrastructure = options
        .provisioned()
        .then(|| infrastructure::plan(id, gateway, &addresses, parameters, refused));
    Some(GatewayDraft {
        id: id.clone(),
        generation: gateway.metadata.generation,
        created: super::created(&gateway.metadata),
        is_default: default_scope == DEFAULT_SCOPE_ALL,
        class_refused,
        problems,
        client_certificate_ref: client_certificate_ref(gateway).cloned(),
        notes,
        insecure: client_validation::insecure(gateway),
        addresses,
        has_experimental_fields: options.has_experimental_fields(),
        serves_sets: listener::serves_sets(&listeners),
        listeners,
        sets: drafts,
        infrastructure,
    })
}

/// What has to run for a Gateway whose class is not there: whatever runs already, as it is. A class that
/// is deleted by mistake takes no traffic down, and one of another controller tells us to let go.
pub(super) fn held(
    id: &GatewayId,
    resources: &Resources,
    options: &Options,
) -> Option<GatewayInfrastructure> {
    let gateway = resources.gateways.get(id)?;
    if !options.provisioned() || class::of_gateway(gateway, resources).is_some() {
        return None;
    }
    let addresses = addresses::resolve(id, gateway, options);
    // They may name the Service that it is reached by.
    let own = parameters::of_gateway(gateway, resources, options).found;
    let parameters = own.map(|own| own.spec.clone()).unwrap_or_default();
    Some(infrastructure::plan(id, gateway, &addresses, parameters, true))
}

impl GatewayDraft {
    /// Which of all Gateways of its name it is; known where Gateways are provisioned.
    pub(super) fn uid(&self) -> Option<&str> {
        let uid = self.infrastructure.as_ref().map(|it| it.uid.as_str());
        uid.filter(|uid| !uid.is_empty())
    }

    /// Whether the Gateway is not accepted as a whole.
    fn is_refused(&self) -> bool {
        self.class_refused.is_some() || !self.problems.is_empty()
    }

    /// Whether anything of the Gateway may be served. Where it has proxies of its own it goes on being
    /// served while it is refused, if there are any: none are made until it is accepted (GC-7).
    fn is_served(&self) -> bool {
        !self.is_refused() || self.infrastructure.is_some()
    }

    /// Whether a listener may be served, as far as the object that holds it is concerned.
    fn serves(&self, listener: &ListenerDraft) -> bool {
        self.is_served()
            && match listener.holder {
                Holder::Gateway(_) => true,
                Holder::ListenerSet(_) => self.serves_sets,
            }
    }

    /// What is missing for the Gateway to be reached, as far as has been reported.
    fn waits_for(&self, feedback: &Feedback) -> Option<&'static str> {
        let report = &feedback.infrastructure;
        let has_address = match self.infrastructure {
            Some(_) => !report.addresses.is_empty(),
            None => self.addresses_in_use(feedback).next().is_some(),
        };
        if !has_address {
            return Some("the Gateway has no address");
        }
        (self.infrastructure.is_some() && !report.ready)
            .then_some("no proxy of the Gateway is ready")
    }

    /// The addresses of the Gateway that can be used, as far as the data plane has said.
    fn addresses_in_use<'a>(
        &'a self,
        feedback: &'a Feedback,
    ) -> impl Iterator<Item = &'a IpAddr> + 'a {
        let usable = self.addresses.usable.iter();
        usable.filter(|address| !feedback.unusable_addresses.contains_key(address))
    }

    /// The ports that the Gateway asks for, where it shares them with others.
    pub(super) fn claim(&self) -> Option<Claim> {
        if !self.is_served() || self.infrastructure.is_some() {
            return None;
        }
        let mut ports: BTreeMap<PortNumber, i64> = BTreeMap::new();
        for listener in self.listeners.iter().filter(|it| it.is_sound() && self.serves(it)) {
            let Some(port) = listener.port_to_bind() else { continue };
            // A set takes nothing from a Gateway that is older than it.
            let created = listener.created.max(self.created);
            let oldest = ports.entry(port).or_insert(created);
            *oldest = created.min(*oldest);
        }
        Some(Claim { gateway: self.id.clone(), addresses: self.addresses.usable.clone(), ports })
    }

    /// TL-7: takes in the certificate that is shown to backends. Without it the Gateway is served all
    /// the same: endpoints that want to see one refuse it.
    fn client_certificate(
        &self,
        resources: &Resources,
        feedback: &Feedback,
        view: &mut GatewayView,
    ) -> Result<(), Problem> {
        let Some(reference) = &self.client_certificate_ref else { return Ok(()) };
        let place = "spec.tls.backend.clientCertificateRef";
        let certificate =
            certificates::resolve_for_backends(&self.holder().object_id(), reference, resources)
                .map_err(|problem| problem.at(place))?;
        let key = certificate.key.clone();
        view.client_certificate = Some(key.clone());
        let resource = IrResource::Certificate(certificate);
        view.config.insert(resource.key(), resource);
        match feedback.rejected_certificates.get(&key) {
            None => Ok(()),
            Some(why) => Err(Problem::new(
                ConditionReason::InvalidClientCertificateRef,
                format!("{place}: Secret `{key}` cannot be used: {why}"),
            )),
        }
    }

    /// Completes the draft.
    pub(super) fn complete(
        &self,
        resources: &Resources,
        ports: &Ports,
        feedback: &Feedback,
        facts: &dyn Fn(&ServicePort) -> BackendFacts,
        session_keys: Option<&SessionKeys>,
    ) -> GatewayView {
        let mut view = GatewayView::default();
        if let Some(keys) = session_keys {
            let keys = IrResource::SessionKeys(Arc::new(keys.of_gateway(&self.id)));
            view.config.insert(keys.key(), keys);
        }
        let mut judged: BTreeMap<Holder, Vec<JudgedListener>> = BTreeMap::new();
        let mut bound_ports = Vec::new();
        let mut serves = false;
        let sets = self.sets.iter().map(SetDraft::holder);
        for holder in sets.chain([self.holder()]) {
            view.listeners.entry(holder).or_default();
        }
        for draft in &self.listeners {
            let listener = self.judge(draft, resources, ports, feedback, facts);
            let points = view.listeners.entry(draft.holder.clone()).or_default();
            points.push(self.attachment_point(draft));
            for resource in &listener.config {
                view.config.insert(resource.key(), resource.clone());
            }
            bound_ports.extend(listener.bound_port);
            view.backends.extend(listener.backends.iter().cloned());
            serves |= listener.serves;
            judged.entry(draft.holder.clone()).or_default().push(listener);
        }
        let unresolved = self.client_certificate(resources, feedback, &mut view).err();
        view.references = self.references(resources);
        view.default_rank = self.is_default.then(|| (self.created, self.id.clone()));
        view.infrastructure = self
            .infrastructure
            .as_ref()
            .map(|plan| Arc::new(infrastructure::with_ports(plan, bound_ports.into_iter())));
        let own = judged.remove(&self.holder()).unwrap_or_default();
        view.status = self.status(own, unresolved, serves, feedback);
        for set in &self.sets {
            let listeners = judged.remove(&set.holder()).unwrap_or_default();
            let status = self.status_of_set(set, listeners, &view.status);
            view.sets.insert(set.name.clone(), status);
        }
        view.status.attached_listener_sets = self.attached_sets(&view.sets);
        view
    }

    /// Secrets and ConfigMaps that are read, there or not.
    fn references(&self, resources: &Resources) -> BTreeSet<ObjectId> {
        let own = self.holder();
        let examined = || self.listeners.iter().filter(|listener| listener.is_examined);
        let certificates = examined().flat_map(|listener| {
            listener.certificate_refs.iter().map(|reference| (&listener.holder, reference))
        });
        let client_certificate = self.client_certificate_ref.iter().map(|it| (&own, it));
        let secrets = certificates
            .chain(client_certificate)
            .filter_map(|(holder, it)| {
                certificates::permitted_target(&holder.object_id(), it, resources)
            })
            .map(|secret| secret.object_id(Kind::Secret));
        let validations = examined().filter_map(|it| it.client_validation.as_ref());
        let config_maps = validations
            .flat_map(|it| it.permitted_targets(&own, resources))
            .map(|name| name.object_id(Kind::ConfigMap));
        secrets.chain(config_maps).collect()
    }

    /// A listener as routes see it.
    fn attachment_point(&self, listener: &ListenerDraft) -> AttachmentPoint {
        let is_supported = |kind: &RouteKind| {
            let name = kind.kind().as_str();
            listener.supported_kinds.iter().any(|supported| supported.kind == name)
        };
        let is_bound = listener.is_sound() && self.serves(listener);
        let shifted_port = listener.bound_port.filter(|it| is_bound && *it != listener.port);
        AttachmentPoint {
            key: listener.key.clone(),
            port: listener.port,
            shifted_port,
            hostname: listener.hostname.clone(),
            passthrough: listener.tls_mode == Some(TlsMode::Passthrough),
            kinds: RouteKind::ALL.into_iter().filter(is_supported).collect(),
            admission: listener.admission.clone(),
        }
    }

    /// The Gateway as the object that holds its own listeners.
    fn holder(&self) -> Holder {
        Holder::Gateway(self.id.clone())
    }
}

/// Where a Gateway refers to the certificate that it shows to backends.
pub(super) fn client_certificate_ref(gateway: &Gateway) -> Option<&SecretObjectReference> {
    gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()
}
