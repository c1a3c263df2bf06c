//! A Gateway: what its spec asks for, what of it is served, and its status.
//!
//! Two steps, because Gateways compete for ports: a [`GatewayDraft`] is made from the Gateway, its
//! class and the options alone and says which ports are claimed; a [`GatewayView`] adds what was
//! won, what certificates there are, and what the data plane reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use gwapi_model::status::{
    Condition, ConditionReason, ConditionStatus, ConditionType, GatewayStatus,
    GatewayStatusAddress, ListenerStatus,
};
use gwapi_model::{AddressType, Gateway, Kind, Protocol, Resources};

use super::addresses::{self, Addresses};
use super::certificates;
use super::class::{self, ClassVerdict};
use super::conditions::{Problem, fails, holds, summary};
use super::conflicts;
use super::listener::{self, Admission, ListenerDraft};
use super::ports::{Claim, Ports, Seniority};
use super::{Feedback, Options, syntax};
use crate::ir::{
    Certificate, GatewayId, Hostname, IrKey, IrResource, Listener, ListenerKey, ListenerProtocol,
};

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
    /// References of the Gateway itself that do not resolve (TL-7).
    unresolved: Vec<Problem>,
    /// What is worth knowing although the Gateway is accepted.
    notes: Vec<String>,
    addresses: Addresses,
    listeners: Vec<ListenerDraft>,
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
    /// Whether HTTPRoutes may attach at all (AR-3).
    pub(super) admits_http_routes: bool,
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
    let class = resources.gateway_classes.get(&GatewayId::new("", class_name.as_str()));
    let class_refused = match class::verdict(class.map(|class| &**class), options) {
        ClassVerdict::Foreign => return None,
        ClassVerdict::Accepted => None,
        ClassVerdict::Refused => Some(class_name.clone()),
    };
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let infrastructure = gateway.spec.infrastructure.as_ref();
    if let Some(reference) = infrastructure.and_then(|it| it.parameters_ref.as_ref()) {
        let place = "spec.infrastructure.parametersRef";
        let (group, kind, name) = (&reference.group, &reference.kind, &reference.name);
        match class::parameters_problem(group, kind, name, options) {
            Some(problem) => problems.push(problem.at(place)),
            None => notes.push(format!(
                "{place} is not read: {} belongs to another implementation",
                syntax::kind_of_group(kind, name, group)
            )),
        }
    }
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
    Some(GatewayDraft {
        id: id.clone(),
        generation: gateway.metadata.generation,
        created: super::created(&gateway.metadata),
        class_refused,
        problems,
        unresolved: backend_tls_problem(gateway).into_iter().collect(),
        notes,
        addresses,
        listeners,
    })
}

/// TL-7: the identity towards backends is not supported, which is as if it did not resolve.
fn backend_tls_problem(gateway: &Gateway) -> Option<Problem> {
    let reference = gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    Some(Problem::new(
        ConditionReason::InvalidClientCertificateRef,
        format!(
            "spec.tls.backend.clientCertificateRef `{}`: client certificates towards backends \
             are not supported",
            reference.name
        ),
    ))
}

impl GatewayDraft {
    /// Whether anything of the Gateway may be served.
    fn is_served(&self) -> bool {
        self.class_refused.is_none() && self.problems.is_empty()
    }

    /// The ports that the Gateway asks for.
    pub(super) fn claim(&self) -> Option<Claim> {
        let sound = self.listeners.iter().filter(|listener| listener.is_sound());
        self.is_served().then(|| Claim {
            seniority: Seniority { created: self.created, gateway: self.id.clone() },
            addresses: self.addresses.usable.clone(),
            ports: sound.filter_map(|listener| listener.bound_port).collect(),
        })
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
        view.status = self.status(judged);
        view
    }

    /// Judges one listener, everything considered.
    fn judge(
        &self,
        draft: &ListenerDraft,
        resources: &Resources,
        ports: &Ports,
        feedback: &Feedback,
    ) -> JudgedListener {
        let mut accepted: Vec<Problem> = draft.problems.clone();
        accepted.extend(draft.conflict.clone());
        accepted.extend(self.lost_port(draft, ports));
        let may_serve =
            accepted.is_empty() && self.is_served() && !self.addresses.usable.is_empty();
        // GW-9; the listener stays in the configuration so that the data plane tries again.
        accepted.extend(feedback.unbound.get(&draft.key).map(|why| {
            let port = draft.bound_port.unwrap_or(draft.port);
            Problem::new(
                ConditionReason::PortUnavailable,
                format!("port {port} cannot be bound: {why}"),
            )
        }));
        let (certificates, unresolved, usable) = self.certificates(draft, resources, feedback);
        let mut config = Vec::new();
        let has_protocol = draft.protocol == Protocol::Http || !certificates.is_empty();
        if let (true, true, Some(port)) = (may_serve, has_protocol, draft.bound_port) {
            let protocol = match draft.protocol {
                Protocol::Http => ListenerProtocol::Http,
                _ => ListenerProtocol::Https {
                    certificates: certificates.iter().map(|it| it.key.clone()).collect(),
                },
            };
            config.push(IrResource::Listener(Arc::new(Listener {
                key: draft.key.clone(),
                addresses: self.addresses.usable.clone(),
                port,
                protocol,
                hostname: draft.hostname.clone(),
            })));
            config.extend(certificates.into_iter().map(IrResource::Certificate));
        }
        let programmed = self.programmed(draft, &accepted, usable);
        JudgedListener {
            name: draft.key.as_str().to_owned(),
            accepted: accepted.first().map(|problem| problem.reason),
            resolved: unresolved.is_empty(),
            programmed: programmed.is_none(),
            status: self.listener_status(draft, &accepted, &unresolved, programmed),
            config,
        }
    }

    /// The port went to an older Gateway on the same address.
    fn lost_port(&self, draft: &ListenerDraft, ports: &Ports) -> Option<Problem> {
        let port = draft.bound_port.filter(|_| draft.is_sound() && self.is_served())?;
        let loss = ports.loss(&self.id, port)?;
        Some(Problem::new(
            ConditionReason::PortUnavailable,
            format!(
                "port {port} on {} is taken by Gateway `{}`, which comes first: it is older, or \
                 first by name; give this Gateway an address of its own in spec.addresses or with \
                 --address-pool",
                loss.address, loss.winner
            ),
        ))
    }

    /// The certificates to serve, what does not resolve, and whether one of them is of use as far
    /// as the data plane has said (TL-1, TL-2).
    fn certificates(
        &self,
        draft: &ListenerDraft,
        resources: &Resources,
        feedback: &Feedback,
    ) -> (Vec<Arc<Certificate>>, Vec<Problem>, bool) {
        let mut problems = Vec::new();
        let mut certificates: Vec<Arc<Certificate>> = Vec::new();
        if draft.protocol != Protocol::Https {
            problems.extend(draft.kinds_problem.clone());
            return (certificates, problems, true);
        }
        if draft.certificate_refs.is_empty() {
            // GW-7: upstream leaves it to us.
            problems.push(Problem::new(
                ConditionReason::InvalidCertificateRef,
                "protocol HTTPS needs a certificate; name a Secret in tls.certificateRefs",
            ));
        }
        let mut usable = false;
        for (index, reference) in draft.certificate_refs.iter().enumerate() {
            let place = format!("tls.certificateRefs[{index}]");
            match certificates::resolve(&self.id.namespace, reference, resources) {
                Ok(certificate) => {
                    match feedback.rejected_certificates.get(&certificate.key) {
                        None => usable = true,
                        Some(why) => problems.push(Problem::new(
                            ConditionReason::InvalidCertificateRef,
                            format!("{place}: Secret `{}` cannot be used: {why}", certificate.key),
                        )),
                    }
                    if certificates.iter().all(|other| other.key != certificate.key) {
                        certificates.push(certificate);
                    }
                }
                Err(problem) => problems.push(problem.at(place)),
            }
        }
        problems.extend(draft.kinds_problem.clone());
        (certificates, problems, usable)
    }

    /// Why a listener is not programmed; `None` where it is.
    fn programmed(
        &self,
        draft: &ListenerDraft,
        accepted: &[Problem],
        certificate_usable: bool,
    ) -> Option<Problem> {
        let invalid = |message: &str| Some(Problem::new(ConditionReason::Invalid, message));
        if !accepted.is_empty() {
            return invalid("the listener is not accepted");
        }
        if draft.protocol == Protocol::Https && !certificate_usable {
            return invalid("no certificate of the listener can be used");
        }
        if !self.is_served() {
            let message = "the Gateway is not accepted";
            return Some(Problem::new(ConditionReason::Pending, message));
        }
        if self.addresses.usable.is_empty() {
            let message = "the Gateway has no address";
            return Some(Problem::new(ConditionReason::Pending, message));
        }
        None
    }

    fn listener_status(
        &self,
        draft: &ListenerDraft,
        accepted: &[Problem],
        unresolved: &[Problem],
        programmed: Option<Problem>,
    ) -> ListenerStatus {
        let generation = self.generation;
        let mut conditions = vec![
            summary(ConditionType::Accepted, accepted, &[], generation),
            summary(ConditionType::Programmed, &programmed, &[], generation),
            summary(ConditionType::ResolvedRefs, unresolved, &[], generation),
        ];
        // GW-11, LI-6, ST-4: conditions of negative polarity are written when they hold.
        conditions.extend(draft.conflict.as_ref().map(|conflict| {
            let message = conflict.message.as_str();
            holds(ConditionType::Conflicted, conflict.reason, message, generation)
        }));
        conditions.extend(draft.overlaps.as_ref().map(|others| {
            let reason = ConditionReason::OverlappingHostnames;
            let message = format!(
                "the hostname overlaps that of {others} on the same port; a client that reuses \
                 a connection for the other hostname is answered 421"
            );
            holds(ConditionType::OverlappingTLSConfig, reason, message, generation)
        }));
        ListenerStatus {
            name: draft.key.as_str().to_owned(),
            supported_kinds: draft.supported_kinds.clone(),
            attached_routes: 0,
            conditions,
        }
    }

    fn status(&self, listeners: Vec<JudgedListener>) -> GatewayStatus {
        let accepted = self.accepted_condition(&listeners);
        let programmed = self.programmed_condition(&accepted, &listeners);
        let resolved = self.resolved_condition(&listeners);
        let serves = listeners.iter().any(|listener| !listener.config.is_empty());
        // AD-3: what is not in use is not listed.
        let in_use = if serves { &self.addresses.usable[..] } else { &[] };
        GatewayStatus {
            addresses: in_use
                .iter()
                .map(|address| GatewayStatusAddress {
                    address_type: AddressType::IpAddress,
                    value: address.to_string(),
                })
                .collect(),
            conditions: vec![accepted, programmed, resolved],
            listeners: listeners.into_iter().map(|listener| listener.status).collect(),
        }
    }

    /// GW-6: a listener that is not accepted shows on the Gateway; the last one to fall takes it
    /// along.
    fn accepted_condition(&self, listeners: &[JudgedListener]) -> Condition {
        let condition_type = ConditionType::Accepted;
        if let Some(class) = &self.class_refused {
            let message = format!("waiting for GatewayClass `{class}`, which is not accepted");
            return self.pending(condition_type, message);
        }
        if !self.problems.is_empty() {
            return summary(condition_type, &self.problems, &[], self.generation);
        }
        let bad: Vec<String> = listeners
            .iter()
            .filter_map(|listener| Some(format!("`{}` ({})", listener.name, listener.accepted?)))
            .collect();
        if bad.is_empty() && !listeners.is_empty() {
            return summary(condition_type, [], &self.notes, self.generation);
        }
        let reason = ConditionReason::ListenersNotValid;
        let message = match bad.len() {
            0 => "spec.listeners is empty; add one".to_owned(),
            1 => format!("listener {} is not valid", bad[0]),
            _ => format!("listeners {} are not valid", bad.join(", ")),
        };
        if bad.len() == listeners.len() {
            fails(condition_type, reason, message, self.generation)
        } else {
            let notes = std::iter::once(message).chain(self.notes.iter().cloned());
            let message = notes.collect::<Vec<_>>().join("; ");
            holds(condition_type, reason, message, self.generation)
        }
    }

    /// AD-1, AD-2, AD-4, and the readiness rule: one good listener is enough.
    fn programmed_condition(
        &self,
        accepted: &Condition,
        listeners: &[JudgedListener],
    ) -> Condition {
        let condition_type = ConditionType::Programmed;
        match accepted.status {
            ConditionStatus::True => {}
            ConditionStatus::Unknown => return self.pending(condition_type, &accepted.message),
            ConditionStatus::False => {
                let message = "the Gateway is not accepted";
                return fails(condition_type, ConditionReason::Invalid, message, self.generation);
            }
        }
        if !self.addresses.unmet.is_empty() {
            return summary(condition_type, &self.addresses.unmet, &[], self.generation);
        }
        if listeners.iter().any(|listener| listener.programmed) {
            return summary(condition_type, [], &[], self.generation);
        }
        let message = "no listener is programmed; see the conditions of each";
        fails(condition_type, ConditionReason::Invalid, message, self.generation)
    }

    /// GW-12: the Gateway's own references come before those of its listeners.
    fn resolved_condition(&self, listeners: &[JudgedListener]) -> Condition {
        let condition_type = ConditionType::ResolvedRefs;
        let bad: Vec<String> = listeners
            .iter()
            .filter(|listener| !listener.resolved)
            .map(|listener| format!("`{}`", listener.name))
            .collect();
        let listeners = (!bad.is_empty()).then(|| {
            Problem::new(
                ConditionReason::ListenersNotResolved,
                format!("references of listeners {} do not resolve", bad.join(", ")),
            )
        });
        summary(condition_type, self.unresolved.iter().chain(&listeners), &[], self.generation)
    }

    fn pending(&self, condition_type: ConditionType, message: impl Into<String>) -> Condition {
        let (status, reason) = (ConditionStatus::Unknown, ConditionReason::Pending);
        Condition::new(condition_type, status, reason, message, self.generation)
    }
}

impl ListenerDraft {
    fn attachment_point(&self) -> AttachmentPoint {
        let http_route = Kind::HttpRoute.as_str();
        AttachmentPoint {
            key: self.key.clone(),
            port: self.port,
            hostname: self.hostname.clone(),
            admits_http_routes: self.supported_kinds.iter().any(|it| it.kind == http_route),
            admission: self.admission.clone(),
        }
    }
}

/// A listener with its conditions.
struct JudgedListener {
    name: String,
    /// Reason for which it is not accepted, if it is not.
    accepted: Option<ConditionReason>,
    resolved: bool,
    programmed: bool,
    status: ListenerStatus,
    /// What it brings into the configuration.
    config: Vec<IrResource>,
}
