//! A Gateway: what its spec asks for, what of it is served, and its status.
//!
//! Two steps, because Gateways compete for ports: a [`GatewayDraft`] is made from the Gateway, its
//! class and the options alone and says which ports are claimed; a [`GatewayView`] adds what was
//! won, what certificates there are, and what the data plane reported. Where each Gateway has proxies
//! of its own there is nothing to win, and the view says what has to run as well.

mod infrastructure;
mod judge;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use gwapi_model::status::{ConditionReason, GatewayStatus};
use gwapi_model::{
    Gateway, GatewayParametersSpec, Kind, ObjectId, Resources, RouteKind, SecretObjectReference,
};

use super::addresses::{self, Addresses};
use super::class::{self, ClassVerdict};
use super::conditions::Problem;
use super::conflicts;
use super::listener::{self, Admission, ListenerDraft};
use super::ports::{Claim, Ports, Seniority};
use super::{Feedback, Options, certificates, parameters};
use crate::infrastructure::GatewayInfrastructure;
use crate::ir::{CertificateKey, GatewayId, Hostname, IrKey, IrResource, ListenerKey};

/// What the Gateway, its class and the options say.
#[derive(Clone, Debug)]
pub(super) struct GatewayDraft {
    id: GatewayId,
    generation: i64,
    created: i64,
    /// The class is refused: the Gateway waits (GC-7).
    class_refused: Option<String>,
    /// Why the whole Gateway is not accepted.
    problems: Vec<Problem>,
    /// The Secret with the certificate that is shown to backends (TL-7).
    client_certificate_ref: Option<SecretObjectReference>,
    /// What is worth knowing although the Gateway is accepted.
    notes: Vec<String>,
    addresses: Addresses,
    listeners: Vec<ListenerDraft>,
    /// What has to run, its ports left open; where Gateways are provisioned.
    infrastructure: Option<GatewayInfrastructure>,
}

/// What a Gateway offers and serves.
#[derive(Clone, Debug, Default)]
pub(super) struct GatewayView {
    /// What routes attach to. Routes are looked at again when it changes, and only then.
    pub(super) listeners: Vec<AttachmentPoint>,
    /// The Gateway's own resources: listeners and certificates.
    pub(super) config: BTreeMap<IrKey, IrResource>,
    /// Status, with no route counted yet.
    pub(super) status: GatewayStatus,
    /// Secrets and ConfigMaps that it reads, there or not.
    pub(super) references: BTreeSet<ObjectId>,
    /// The certificate that is shown to backends (TL-7).
    pub(super) client_certificate: Option<CertificateKey>,
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
    /// Hostname; none means every host.
    pub(super) hostname: Option<Hostname>,
    /// Kinds of routes that may attach at all (AR-3).
    pub(super) kinds: Vec<RouteKind>,
    /// Whose.
    pub(super) admission: Admission,
}

/// Drafts a Gateway; `None` where it is not ours (GC-7).
pub(super) fn draft(
    id: &GatewayId,
    resources: &Resources,
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
    if gateway.spec.default_scope.as_deref().is_some_and(|scope| scope != "None") {
        notes.push(
            "spec.defaultScope is not supported and has no effect; routes attach by parentRefs"
                .to_owned(),
        );
    }
    let addresses = addresses::resolve(id, gateway, options);
    problems.extend(addresses.unsupported.iter().cloned());
    let mut listeners: Vec<ListenerDraft> = gateway
        .spec
        .listeners
        .iter()
        .map(|listener| listener::draft(gateway, listener, options))
        .collect();
    conflicts::mark(&mut listeners);
    notes.extend(infrastructure::note(gateway).filter(|_| options.provisioned()));
    let refused = class_refused.is_some() || !problems.is_empty();
    let infrastructure = options
        .provisioned()
        .then(|| infrastructure::plan(id, gateway, &addresses, parameters, refused));
    Some(GatewayDraft {
        id: id.clone(),
        generation: gateway.metadata.generation,
        created: super::created(&gateway.metadata),
        class_refused,
        problems,
        client_certificate_ref: client_certificate_ref(gateway).cloned(),
        notes,
        addresses,
        listeners,
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
    /// Whether the Gateway is not accepted as a whole.
    fn is_refused(&self) -> bool {
        self.class_refused.is_some() || !self.problems.is_empty()
    }

    /// Whether anything of the Gateway may be served. Where it has proxies of its own it goes on being
    /// served while it is refused, if there are any: none are made until it is accepted (GC-7).
    fn is_served(&self) -> bool {
        !self.is_refused() || self.infrastructure.is_some()
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
        let sound = self.listeners.iter().filter(|listener| listener.is_sound());
        (self.is_served() && self.infrastructure.is_none()).then(|| Claim {
            seniority: Seniority { created: self.created, gateway: self.id.clone() },
            addresses: self.addresses.usable.clone(),
            ports: sound.filter_map(ListenerDraft::port_to_bind).collect(),
        })
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
        let resolved = certificates::resolve(&self.id.namespace, reference, resources);
        let certificate = resolved.map_err(|problem| {
            let reason = match problem.reason {
                ConditionReason::RefNotPermitted => ConditionReason::RefNotPermitted,
                _ => ConditionReason::InvalidClientCertificateRef,
            };
            Problem { reason, ..problem }.at(place)
        })?;
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
    ) -> GatewayView {
        let mut view = GatewayView::default();
        let mut judged = Vec::with_capacity(self.listeners.len());
        for draft in &self.listeners {
            let listener = self.judge(draft, resources, ports, feedback);
            view.listeners.push(draft.attachment_point());
            for resource in &listener.config {
                view.config.insert(resource.key(), resource.clone());
            }
            judged.push(listener);
        }
        let unresolved = self.client_certificate(resources, feedback, &mut view).err();
        let references = self.listeners.iter().flat_map(|listener| &listener.certificate_refs);
        let references = references.chain(&self.client_certificate_ref);
        view.references = references
            .filter_map(|it| certificates::permitted_target(&self.id.namespace, it, resources))
            .map(|secret| secret.object_id(Kind::Secret))
            .collect();
        let validations = self.listeners.iter().filter_map(|it| it.client_validation.as_ref());
        let config_maps =
            validations.flat_map(|it| it.permitted_targets(&self.id.namespace, resources));
        view.references.extend(config_maps.map(|name| name.object_id(Kind::ConfigMap)));
        view.infrastructure = self.infrastructure.as_ref().map(|plan| {
            let ports = judged.iter().filter_map(|listener| listener.bound_port);
            Arc::new(infrastructure::with_ports(plan, ports))
        });
        view.status = self.status(judged, unresolved, feedback);
        view
    }
}

/// Where a Gateway refers to the certificate that it shows to backends.
pub(super) fn client_certificate_ref(gateway: &Gateway) -> Option<&SecretObjectReference> {
    gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()
}

impl ListenerDraft {
    fn attachment_point(&self) -> AttachmentPoint {
        let is_supported = |kind: &RouteKind| {
            let name = kind.kind().as_str();
            self.supported_kinds.iter().any(|supported| supported.kind == name)
        };
        AttachmentPoint {
            key: self.key.clone(),
            port: self.port,
            hostname: self.hostname.clone(),
            kinds: RouteKind::ALL.into_iter().filter(is_supported).collect(),
            admission: self.admission.clone(),
        }
    }
}
