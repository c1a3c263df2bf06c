//! One listener with everything considered: ports, certificates, what the data plane reported.

use std::sync::Arc;

use gwapi_model::status::{
    Condition, ConditionReason, ConditionStatus, ConditionType, ListenerStatus,
};
use gwapi_model::{Protocol, Resources};

use super::super::backend::{BackendFacts, ServicePort};
use super::super::conditions::{Problem, holds, summary};
use super::super::holder::Holder;
use super::super::listener::ListenerDraft;
use super::super::listener_filters::{self, Resolved};
use super::super::ports::{PortNumber, Ports};
use super::super::{Feedback, certificates};
use super::GatewayDraft;
use crate::ir::{Certificate, IrResource, Listener, ListenerFilter, ListenerProtocol};

/// A listener with its conditions.
pub(super) struct JudgedListener {
    /// Name.
    pub(super) name: String,
    /// Reason for which it is not accepted, if it is not.
    pub(super) accepted: Option<ConditionReason>,
    /// Whether its references resolve.
    pub(super) resolved: bool,
    /// Whether those that do are enough to serve it.
    pub(super) can_serve: bool,
    /// Whether it is served, as far as is known.
    pub(super) programmed: bool,
    /// Status.
    pub(super) status: ListenerStatus,
    /// Whether it answers for its hosts, and does not only keep them from other listeners.
    pub(super) serves: bool,
    /// The port to bind, if it has a place there.
    pub(super) bound_port: Option<PortNumber>,
    /// What it brings into the configuration.
    pub(super) config: Vec<IrResource>,
    /// Service ports that it needs.
    pub(super) backends: Vec<ServicePort>,
}

impl GatewayDraft {
    /// Judges one listener, everything considered.
    pub(super) fn judge(
        &self,
        draft: &ListenerDraft,
        resources: &Resources,
        ports: &Ports,
        feedback: &Feedback,
        facts: &dyn Fn(&ServicePort) -> BackendFacts,
    ) -> JudgedListener {
        // GW-2, GW-5: of several problems a conflict gives the reason.
        let mut accepted: Vec<Problem> = draft.conflict.iter().cloned().collect();
        accepted.extend(draft.problems.iter().cloned());
        accepted.extend(self.lost_port(draft, ports));
        let has_place =
            accepted.is_empty() && self.serves(draft) && !self.addresses.usable.is_empty();
        accepted.extend(draft.tls_problems.iter().cloned());
        accepted.extend(draft.request_problems.iter().cloned());
        // GW-9; the listener stays in the configuration so that the data plane tries again.
        accepted.extend(feedback.unbound.get(&draft.key).map(|why| {
            let port = draft.bound_port.unwrap_or(draft.port);
            Problem::new(
                ConditionReason::PortUnavailable,
                format!("port {port} cannot be bound: {why}"),
            )
        }));
        let validation = draft.client_validation.as_ref().filter(|_| draft.is_examined);
        let validation = validation.map(|it| it.resolve(&self.holder(), resources));
        accepted.extend(validation.iter().filter_map(|it| it.refused.clone()));
        let (mut certificates, mut unresolved, usable) =
            self.certificates(draft, resources, feedback);
        unresolved.extend(validation.iter().flat_map(|it| it.unresolved.iter().cloned()));
        let resolved = listener_filters::resolve(&draft.holder, &draft.filters, resources, facts);
        let Resolved { mut filters, unresolved: unresolved_filters, notes, mut backends } =
            resolved;
        unresolved.extend(unresolved_filters);
        if let Some(problem) = draft.request_problems.first() {
            // LF-3: nobody is asked where anything is missing.
            filters = vec![ListenerFilter::Refuse(problem.message.clone())];
            backends.clear();
        }
        unresolved.extend(draft.kinds_problem.clone());
        if !draft.tls_problems.is_empty() {
            certificates.clear();
        }
        let mut config = Vec::new();
        let refuses_all = validation.as_ref().is_some_and(|it| it.refused.is_some());
        let ends_tls = !certificates.is_empty() && !refuses_all;
        let serves = has_place && (!draft.ends_tls() || ends_tls) && draft.is_honoured();
        let bound_port = draft.port_to_bind().filter(|_| has_place);
        if let Some((_, port)) = bound_port {
            let keys = certificates.iter().map(|it| it.key.clone()).collect();
            let protocol = match draft.protocol {
                Protocol::Http => ListenerProtocol::Http,
                Protocol::Tcp => ListenerProtocol::Tcp,
                Protocol::Udp => ListenerProtocol::Udp,
                // Without a certificate nothing of a connection is answered, nor goes on.
                Protocol::Tls if draft.ends_tls() || !draft.tls_problems.is_empty() => {
                    ListenerProtocol::TlsTerminate { certificates: keys }
                }
                Protocol::Tls => ListenerProtocol::TlsPassthrough,
                Protocol::Https | Protocol::Other(_) => ListenerProtocol::Https {
                    certificates: keys,
                    client_validation: validation.map(|it| it.validation),
                },
            };
            config.push(IrResource::Listener(Arc::new(Listener {
                key: draft.key.clone(),
                addresses: self.addresses.usable.clone(),
                port,
                protocol,
                hostname: draft.hostname.clone(),
                filters,
            })));
            config.extend(certificates.into_iter().map(IrResource::Certificate));
        } else {
            backends.clear();
        }
        let programmed = self.programmed(draft, &accepted, usable, feedback);
        JudgedListener {
            name: draft.key.name().to_owned(),
            accepted: accepted.first().map(|problem| problem.reason),
            resolved: unresolved.is_empty(),
            can_serve: usable && !draft.supported_kinds.is_empty(),
            programmed: programmed.is_none(),
            status: self.listener_status(draft, &accepted, (&unresolved, &notes), programmed),
            serves,
            bound_port,
            config,
            backends,
        }
    }

    /// The port went to an older Gateway on the same address.
    fn lost_port(&self, draft: &ListenerDraft, ports: &Ports) -> Option<Problem> {
        let bound_port = draft.port_to_bind().filter(|_| draft.is_sound() && self.serves(draft))?;
        let loss = ports.loss(&self.id, bound_port)?;
        let (_, port) = bound_port;
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
        if !draft.ends_tls() || !draft.is_examined {
            return (certificates, problems, true);
        }
        if draft.certificate_refs.is_empty() {
            // GW-7: upstream leaves it to us.
            problems.push(Problem::new(
                ConditionReason::InvalidCertificateRef,
                format!(
                    "protocol {} needs a certificate; name a Secret in tls.certificateRefs",
                    draft.protocol
                ),
            ));
        }
        let mut usable = false;
        for (index, reference) in draft.certificate_refs.iter().enumerate() {
            let place = format!("tls.certificateRefs[{index}]");
            match certificates::resolve(&draft.holder.object_id(), reference, resources) {
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
        (certificates, problems, usable)
    }

    /// Why a listener is not programmed; `None` where it is.
    fn programmed(
        &self,
        draft: &ListenerDraft,
        accepted: &[Problem],
        certificate_usable: bool,
        feedback: &Feedback,
    ) -> Option<Problem> {
        let because = |reason: ConditionReason, message: &str| Some(Problem::new(reason, message));
        let invalid = |message: &str| because(ConditionReason::Invalid, message);
        match (&draft.holder, &draft.conflict) {
            // LS-5.
            (Holder::ListenerSet(_), Some(conflict)) => {
                return because(conflict.reason, "the listener is not accepted");
            }
            _ if !accepted.is_empty() => return invalid("the listener is not accepted"),
            _ => {}
        }
        if draft.ends_tls() && !certificate_usable {
            return invalid("no certificate of the listener can be used");
        }
        let waits_for = match self.is_refused() || !self.serves(draft) {
            true => Some("the Gateway is not accepted"),
            false => self.waits_for(feedback),
        };
        waits_for.map(|message| Problem::new(ConditionReason::Pending, message))
    }

    fn listener_status(
        &self,
        draft: &ListenerDraft,
        accepted: &[Problem],
        (unresolved, notes): (&[Problem], &[String]),
        programmed: Option<Problem>,
    ) -> ListenerStatus {
        let generation = draft.generation;
        let mut conditions = vec![
            summary(ConditionType::Accepted, accepted, &[], generation),
            summary(ConditionType::Programmed, &programmed, &[], generation),
            match draft.is_examined {
                true => summary(ConditionType::ResolvedRefs, unresolved, notes, generation),
                false => not_examined(generation),
            },
        ];
        // GW-11, LI-6, ST-4: conditions of negative polarity are written when they hold.
        conditions.extend(draft.conflict.as_ref().map(|conflict| {
            let message = conflict.message.as_str();
            holds(ConditionType::Conflicted, conflict.reason, message, generation)
        }));
        conditions.extend(draft.overlaps.as_ref().map(|others| {
            let reason = ConditionReason::OverlappingHostnames;
            // Of what TLSRoutes carry nobody here knows for which hostname it is.
            let outcome = match draft.protocol {
                Protocol::Tls => "reaches the backends of this one",
                _ => "is answered 421",
            };
            let message = format!(
                "the hostname overlaps that of {others} on the same port; a client that reuses \
                 a connection for the other hostname {outcome}"
            );
            holds(ConditionType::OverlappingTLSConfig, reason, message, generation)
        }));
        ListenerStatus {
            name: draft.key.name().to_owned(),
            supported_kinds: draft.supported_kinds.clone(),
            attached_routes: 0,
            conditions,
        }
    }
}

/// What is said of the references of a listener that is refused beside so many others that nobody looks at them
/// (LS-12).
fn not_examined(generation: i64) -> Condition {
    Condition::new(
        ConditionType::ResolvedRefs,
        ConditionStatus::Unknown,
        ConditionReason::Pending,
        "not looked into, because too many listeners of ListenerSets of the Gateway are refused",
        generation,
    )
}
