//! What policies for Services have in common: what they are for, which one of several holds, and what their
//! status says of whom (BT-1, BT-2, BT-9, X-1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::status::{Condition, ConditionReason, ConditionType, PolicyAncestorStatus};
use gwapi_model::{
    BackendTlsPolicy, BackendTrafficPolicy, Kind, NamespacedName, ObjectMeta, ParentReference,
    Resources, Service, ServicePort as ModelPort,
};

use super::conditions::{Problem, summary};
use super::{Options, created, syntax};
use crate::ir::GatewayId;

/// What a policy is for: an object in its own namespace, or a part of it.
pub(super) struct Target<'a> {
    group: &'a str,
    kind: &'a str,
    name: &'a str,
    /// Name of a port of the Service; none means all of it.
    section: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn service(&self, namespace: &Arc<str>) -> Option<NamespacedName> {
        (self.group.is_empty() && self.kind == Kind::Service.as_str())
            .then(|| NamespacedName::new(namespace.clone(), self.name))
    }

    fn x_backend(&self, namespace: &Arc<str>) -> Option<NamespacedName> {
        (self.group == Kind::XBackend.group() && self.kind == Kind::XBackend.as_str())
            .then(|| NamespacedName::new(namespace.clone(), self.name))
    }

    /// The ports that are meant: that of the section's name, or all of them.
    fn ports<'s>(&self, service: &'s Service) -> Vec<&'s ModelPort> {
        let is_meant =
            |port: &&ModelPort| self.section.is_none_or(|it| port.name.as_deref() == Some(it));
        service.spec.ports.iter().filter(is_meant).collect()
    }
}

/// A policy that is for Services of its namespace.
pub(super) trait ServicePolicy {
    /// Its kind.
    const KIND: Kind;

    fn metadata(&self) -> &ObjectMeta;

    fn targets(&self) -> impl Iterator<Item = Target<'_>>;
}

impl ServicePolicy for BackendTlsPolicy {
    const KIND: Kind = Kind::BackendTlsPolicy;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        self.spec.target_refs.iter().map(|target| Target {
            group: &target.group,
            kind: &target.kind,
            name: &target.name,
            section: target.section_name.as_deref().filter(|name| !name.is_empty()),
        })
    }
}

impl ServicePolicy for BackendTrafficPolicy {
    const KIND: Kind = Kind::BackendTrafficPolicy;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        self.spec.target_refs.iter().map(|target| Target {
            group: &target.group,
            kind: &target.kind,
            name: &target.name,
            section: None,
        })
    }
}

/// The Services that a policy is for, there or not.
pub(super) fn services<P: ServicePolicy>(policy: &P) -> impl Iterator<Item = NamespacedName> + '_ {
    policy.targets().filter_map(|target| target.service(&policy.metadata().namespace))
}

/// The XBackends that a policy names, on which it has no effect.
pub(super) fn x_backends<P: ServicePolicy>(
    policy: &P,
) -> impl Iterator<Item = NamespacedName> + '_ {
    policy.targets().filter_map(|target| target.x_backend(&policy.metadata().namespace))
}

/// What orders policies that are for the same: the smallest holds (BT-2, X-6).
pub(super) fn seniority_of(metadata: &ObjectMeta) -> (i64, NamespacedName) {
    (created(metadata), name_in(metadata))
}

fn name(policy: &impl ServicePolicy) -> NamespacedName {
    name_in(policy.metadata())
}

fn name_in(metadata: &ObjectMeta) -> NamespacedName {
    NamespacedName::new(metadata.namespace.clone(), metadata.name.clone())
}

/// The policy that holds for exactly this target: the oldest of those that name it.
fn holder<'a, P: ServicePolicy>(
    policies: &[&'a Arc<P>],
    of: &NamespacedName,
    of_section: Option<&str>,
) -> Option<&'a Arc<P>> {
    let names = |policy: &&&Arc<P>| {
        policy.targets().any(|target| {
            target.section == of_section
                && target.service(&policy.metadata().namespace).as_ref() == Some(of)
        })
    };
    policies
        .iter()
        .copied()
        .filter(|policy| names(&policy))
        .min_by_key(|it| seniority_of(it.metadata()))
}

/// The policy that holds for a port of a Service, out of those that are for the Service: one that names
/// the port goes before one that does not (BT-2).
pub(super) fn of_port<'a, P: ServicePolicy>(
    policies: &[&'a Arc<P>],
    service: &NamespacedName,
    port: &ModelPort,
) -> Option<&'a Arc<P>> {
    let named = port.name.as_deref().filter(|name| !name.is_empty());
    let named = named.and_then(|name| holder(policies, service, Some(name)));
    named.or_else(|| holder(policies, service, None))
}

/// Tells the Gateways of ours that send requests to some ports of a Service.
type Users<'a> = &'a dyn Fn(&NamespacedName, &dyn Fn(u16) -> bool) -> BTreeSet<GatewayId>;

/// What the status of a policy is made of, beside the policy itself.
pub(super) struct Surroundings<'a, P> {
    pub(super) resources: &'a Resources,
    pub(super) options: &'a Options,
    /// All policies of the kind that are for a Service.
    pub(super) policies: &'a dyn Fn(&NamespacedName) -> Vec<&'a Arc<P>>,
    pub(super) users: Users<'a>,
    /// Tells the Gateways of ours that send requests to an XBackend.
    pub(super) users_of_x_backend: &'a dyn Fn(&NamespacedName) -> BTreeSet<GatewayId>,
    /// What keeps a policy from ports of a Service that are there.
    pub(super) unfit: &'a dyn Fn(&NamespacedName, &[&ModelPort]) -> Option<Problem>,
}

/// What a policy comes to for a Gateway that sends requests to some of what it is for.
#[derive(Default)]
pub(super) struct Effect {
    /// What keeps it from targets that the Gateway sends requests to.
    problems: Vec<Problem>,
    /// What keeps it from others: worth knowing, and no failure here.
    notes: Vec<String>,
}

impl Effect {
    /// `Accepted`, with whatever else a policy is refused for, and what else is worth knowing of it.
    pub(super) fn accepted(
        &self,
        refused: &[Problem],
        notes: &[String],
        generation: i64,
    ) -> Condition {
        let problems = refused.iter().chain(&self.problems);
        let notes: Vec<String> = notes.iter().chain(&self.notes).cloned().collect();
        summary(ConditionType::Accepted, problems, &notes, generation)
    }
}

/// What a policy comes to for each Gateway of ours that sends requests to what it is for; without any it is none
/// of our business (BT-9).
pub(super) fn effects<P: ServicePolicy>(
    policy: &P,
    around: &Surroundings<'_, P>,
) -> BTreeMap<GatewayId, Effect> {
    let targets: Vec<_> =
        policy.targets().map(|target| self::target(policy, &target, around)).collect();
    let gateways = targets.iter().flat_map(|(gateways, _)| gateways);
    let mut effects: BTreeMap<GatewayId, Effect> =
        gateways.map(|gateway| (gateway.clone(), Effect::default())).collect();
    for (index, (gateways, problem)) in targets.into_iter().enumerate() {
        let Some(problem) = problem.map(|it| it.at(format_args!("targetRefs[{index}]"))) else {
            continue;
        };
        for (gateway, effect) in &mut effects {
            match gateways.contains(gateway) {
                true => effect.problems.push(problem.clone()),
                false => effect.notes.push(problem.message.clone()),
            }
        }
    }
    effects
}

/// What a status says of one Gateway.
pub(super) fn ancestor(
    gateway: &GatewayId,
    conditions: Vec<Condition>,
    options: &Options,
) -> PolicyAncestorStatus {
    PolicyAncestorStatus {
        ancestor_ref: ParentReference::to_gateway(gateway),
        controller_name: options.controller_name.clone(),
        conditions,
    }
}

/// The Gateways that send requests to one of a policy's targets, and what keeps the policy from it.
fn target<P: ServicePolicy>(
    policy: &P,
    target: &Target<'_>,
    around: &Surroundings<'_, P>,
) -> (BTreeSet<GatewayId>, Option<Problem>) {
    let namespace = &policy.metadata().namespace;
    let Some(service) = target.service(namespace) else {
        let named = target.x_backend(namespace);
        let gateways = named.map(|it| (around.users_of_x_backend)(&it)).unwrap_or_default();
        let what = syntax::kind_of_group(target.kind, target.name, target.group);
        let message = format!("{what} is no Service, and the policy has no effect on it");
        return (gateways, Some(Problem::new(ConditionReason::Invalid, message)));
    };
    let not_found = |message: String| {
        let gateways = (around.users)(&service, &|_| true);
        (gateways, Some(Problem::new(ConditionReason::TargetNotFound, message)))
    };
    let Some(object) = around.resources.services.get(&service) else {
        return not_found(format!("Service `{service}` does not exist"));
    };
    let ports = target.ports(object);
    if ports.is_empty() {
        let section = target.section.unwrap_or_default();
        return not_found(format!("Service `{service}` has no port named `{section}`"));
    }
    let is_meant = |number: u16| ports.iter().any(|port| port.port.get() == number);
    let gateways = (around.users)(&service, &is_meant);
    let problem = (around.unfit)(&service, &ports);
    (gateways, problem.or_else(|| lost(policy, &service, target.section, around)))
}

/// What is said of a policy that another one goes before (BT-2).
fn lost<P: ServicePolicy>(
    policy: &P,
    service: &NamespacedName,
    section: Option<&str>,
    around: &Surroundings<'_, P>,
) -> Option<Problem> {
    let holder = name(&**holder(&(around.policies)(service), service, section)?);
    (holder != name(policy)).then(|| {
        let kind = P::KIND;
        Problem::new(
            ConditionReason::Conflicted,
            format!(
                "{kind} `{holder}`, which is older or comes first by name, is for the same; remove \
                 one of the two"
            ),
        )
    })
}
