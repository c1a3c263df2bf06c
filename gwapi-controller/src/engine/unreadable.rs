//! Status of objects that cannot be read. What they were before goes on being served, where it is
//! known; their conditions say so, under the generation that could not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::status::{
    Condition, ConditionReason, ConditionStatus, ConditionType, GatewayClassStatus, GatewayStatus,
    ListenerSetStatus, ListenerStatus, PolicyAncestorStatus, PolicyStatus, RouteParentStatus,
    RouteStatus, Status,
};
use gwapi_model::{
    EXPERIMENTAL_GROUP, GATEWAY_GROUP, Kind, NamespacedName, ObjectId, ParentReference,
    PolicyTargetReference,
};
use gwapi_translate::Translator;
use gwapi_translate::ir::GatewayId;

use crate::status::{MAX_ANCESTORS, MAX_ANCESTORS_OF_X_BACKEND};
use crate::watch::Unreadable;

/// Status of an object that cannot be read; `None` where it is not ours. `has_stand_in` tells that what is
/// known of it is no earlier version, but what stands in for one that there never was.
pub(super) fn status(
    id: &ObjectId,
    unreadable: &Unreadable,
    has_stand_in: bool,
    translator: &Translator,
) -> Option<Status> {
    let judge = Judge { id, unreadable, translator };
    let before = translator.translation().status.get(id).cloned();
    match id.kind {
        Kind::GatewayClass => judge.class(before),
        Kind::Gateway => judge.gateway(before),
        Kind::ListenerSet => judge.listener_set(before),
        Kind::BackendTlsPolicy => {
            judge.policy(before, has_stand_in, &[ConditionType::ResolvedRefs])
        }
        // Nobody needs to be kept from anything by one that nobody could read yet.
        Kind::BackendTrafficPolicy | Kind::XBackend => judge.policy(before, false, &[]),
        Kind::TelemetryPolicy => judge.policy(before, false, &[ConditionType::ResolvedRefs]),
        kind if kind.route_kind().is_some() => judge.route(before),
        _ => None,
    }
}

/// How many ListenerSets each Gateway counts that cannot be read: they are not accepted (LS-8).
pub(super) fn miscounts<'a>(
    unreadable: impl Iterator<Item = &'a ObjectId>,
    translator: &Translator,
) -> BTreeMap<ObjectId, i32> {
    let mut miscounts = BTreeMap::new();
    for id in unreadable.filter(|id| id.kind == Kind::ListenerSet) {
        let Some(Status::ListenerSet(status)) = translator.translation().status.get(id) else {
            continue;
        };
        let is_counted = status.conditions.iter().any(|condition| {
            condition.condition_type == ConditionType::Accepted
                && condition.status == ConditionStatus::True
        });
        let gateway = translator.gateway_of_listener_set(&id.namespaced_name());
        if let Some(gateway) = gateway.filter(|_| is_counted) {
            *miscounts.entry(gateway.object_id(Kind::Gateway)).or_default() += 1;
        }
    }
    miscounts
}

/// Takes what is miscounted out of the status of a Gateway.
pub(super) fn correct(status: &mut Status, miscount: i32) {
    let Status::Gateway(status) = status else { return };
    if let Some(count) = &mut status.attached_listener_sets {
        *count -= miscount;
    }
}

fn kind_of(parent: &ParentReference) -> &str {
    parent.kind.as_deref().unwrap_or("Gateway")
}

struct Judge<'a> {
    id: &'a ObjectId,
    unreadable: &'a Unreadable,
    translator: &'a Translator,
}

impl Judge<'_> {
    fn class(&self, before: Option<Status>) -> Option<Status> {
        let options = self.translator.options();
        let is_ours = before.is_some() || self.unreadable.claim.name == options.controller_name;
        let mut status = match before {
            Some(Status::GatewayClass(status)) => status,
            _ => Box::<GatewayClassStatus>::default(),
        };
        status.conditions =
            self.refused(status.conditions, &[], ConditionReason::InvalidParameters);
        is_ours.then_some(Status::GatewayClass(status))
    }

    fn gateway(&self, before: Option<Status>) -> Option<Status> {
        let class = ObjectId::new(Kind::GatewayClass, "", &*self.unreadable.claim.name);
        let is_ours = self.translator.translation().status.contains_key(&class);
        let mut status = match before {
            Some(Status::Gateway(status)) => status,
            _ if !is_ours => return None,
            _ => Box::<GatewayStatus>::default(),
        };
        let others = [ConditionType::Programmed, ConditionType::ResolvedRefs];
        status.conditions = self.refused(status.conditions, &others, ConditionReason::Invalid);
        self.observe(&mut status.listeners);
        Some(Status::Gateway(status))
    }

    fn listener_set(&self, before: Option<Status>) -> Option<Status> {
        let mut status = match before {
            Some(Status::ListenerSet(status)) => status,
            _ if !self.unreadable.claim.parents.iter().any(|it| self.is_ours(it)) => return None,
            _ => Box::<ListenerSetStatus>::default(),
        };
        let others = [ConditionType::Programmed];
        status.conditions = self.refused(status.conditions, &others, ConditionReason::Invalid);
        self.observe(&mut status.listeners);
        Some(Status::ListenerSet(status))
    }

    /// What is said of listeners is said of the generation that cannot be read.
    fn observe(&self, listeners: &mut [ListenerStatus]) {
        for condition in listeners.iter_mut().flat_map(|listener| &mut listener.conditions) {
            condition.observed_generation = self.unreadable.generation;
        }
    }

    fn route(&self, before: Option<Status>) -> Option<Status> {
        let before = match before {
            Some(Status::Route(status)) => status.parents.to_vec(),
            _ => self.claimed_parents(),
        };
        let others = [ConditionType::ResolvedRefs];
        let parents: Arc<[RouteParentStatus]> = before
            .into_iter()
            .map(|mut parent| {
                let reason = ConditionReason::UnsupportedValue;
                parent.conditions = self.refused(parent.conditions, &others, reason);
                parent
            })
            .collect();
        (!parents.is_empty()).then_some(Status::Route(RouteStatus { parents }))
    }

    /// A policy that nobody could read yet has something to stand in for it, which has a status where the
    /// policy would have one; what is said there of its references is not said of the policy's.
    fn policy(
        &self,
        before: Option<Status>,
        has_stand_in: bool,
        others: &[ConditionType],
    ) -> Option<Status> {
        let mut status = match before {
            Some(Status::Policy(status)) => status,
            _ => PolicyStatus { ancestors: self.claimed_ancestors() },
        };
        let reason = ConditionReason::Invalid;
        for ancestor in &mut status.ancestors {
            let conditions = std::mem::take(&mut ancestor.conditions);
            ancestor.conditions = match has_stand_in {
                true => {
                    let outcome = "requests of its Services fail until this is put right";
                    self.conditions(&[], Some(outcome), others, reason)
                }
                false => self.refused(conditions, others, reason),
            };
        }
        (!status.ancestors.is_empty()).then_some(Status::Policy(status))
    }

    /// Entries for the Gateways of ours that a policy or an XBackend of which no version could be read
    /// concerns, as far as it can be told. For a BackendTLSPolicy that is told of what stands in for it.
    fn claimed_ancestors(&self) -> Vec<PolicyAncestorStatus> {
        let targets = self.unreadable.claim.targets.iter();
        let gateways: BTreeSet<GatewayId> = match self.id.kind {
            Kind::XBackend => self.translator.gateways_that_send_to(self.id),
            Kind::TelemetryPolicy => targets.filter_map(|it| self.claimed_gateway(it)).collect(),
            Kind::BackendTrafficPolicy => targets
                .filter_map(|it| self.claimed_backend(it))
                .flat_map(|backend| self.translator.gateways_that_send_to(&backend))
                .collect(),
            _ => BTreeSet::new(),
        };
        let room = match self.id.kind {
            Kind::XBackend => MAX_ANCESTORS_OF_X_BACKEND,
            _ => MAX_ANCESTORS,
        };
        let entry = |gateway: GatewayId| PolicyAncestorStatus {
            ancestor_ref: ParentReference::to_gateway(&gateway),
            controller_name: self.translator.options().controller_name.clone(),
            conditions: Vec::new(),
        };
        gateways.into_iter().take(room).map(entry).collect()
    }

    /// The Gateway of ours that a target names.
    fn claimed_gateway(&self, target: &PolicyTargetReference) -> Option<GatewayId> {
        let name = NamespacedName::new(self.id.namespace.clone(), &*target.name);
        let is_gateway = target.group == GATEWAY_GROUP && target.kind == Kind::Gateway.as_str();
        let is_ours = self.translator.translation().config.contains_key(&name);
        (is_gateway && is_ours).then_some(name)
    }

    /// The Service or the XBackend that a target names.
    fn claimed_backend(&self, target: &PolicyTargetReference) -> Option<ObjectId> {
        let kind = match (&*target.group, &*target.kind) {
            ("", "Service") => Kind::Service,
            (EXPERIMENTAL_GROUP, "XBackend") => Kind::XBackend,
            _ => return None,
        };
        Some(ObjectId::new(kind, self.id.namespace.clone(), &*target.name))
    }

    /// Entries for the parents that the route names as far as it can be read, if they are ours.
    fn claimed_parents(&self) -> Vec<RouteParentStatus> {
        let controller_name = &self.translator.options().controller_name;
        let parents = self.unreadable.claim.parents.iter();
        parents
            .filter(|parent| self.is_ours(parent))
            .map(|parent| RouteParentStatus {
                parent_ref: ParentReference {
                    group: Some(GATEWAY_GROUP.to_owned()),
                    kind: Some(kind_of(parent).to_owned()),
                    ..parent.clone()
                },
                controller_name: controller_name.clone(),
                conditions: Vec::new(),
            })
            .collect()
    }

    /// Whether a reference leads to a Gateway of ours, or to a ListenerSet of one.
    fn is_ours(&self, parent: &ParentReference) -> bool {
        let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let namespace = parent.namespace.as_deref().unwrap_or(&self.id.namespace);
        let name = NamespacedName::new(namespace, &*parent.name);
        match kind_of(parent) {
            _ if group != GATEWAY_GROUP => false,
            "Gateway" => self.translator.translation().config.contains_key(&name),
            "ListenerSet" => self.translator.gateway_of_listener_set(&name).is_some(),
            _ => false,
        }
    }

    /// `Accepted=False`, and of the other types what was known before, for this generation.
    fn refused(
        &self,
        before: Vec<Condition>,
        others: &[ConditionType],
        reason: ConditionReason,
    ) -> Vec<Condition> {
        let last_good = before.first().map(|condition| condition.observed_generation);
        let outcome =
            last_good.map(|it| format!("generation {it} is served until this is put right"));
        self.conditions(&before, outcome.as_deref(), others, reason)
    }

    /// The same with what comes of it, if that can be told.
    fn conditions(
        &self,
        before: &[Condition],
        outcome: Option<&str>,
        others: &[ConditionType],
        reason: ConditionReason,
    ) -> Vec<Condition> {
        let generation = self.unreadable.generation;
        let outcome = outcome.map(|outcome| format!("; {outcome}")).unwrap_or_default();
        let message = format!("cannot be read: {}{outcome}", self.unreadable.message);
        let accepted = Condition::new(
            ConditionType::Accepted,
            ConditionStatus::False,
            reason,
            message,
            generation,
        );
        let others = others.iter().map(|condition_type| {
            let known = before.iter().find(|known| known.condition_type == *condition_type);
            match known {
                // What is programmed is not this generation.
                Some(_) if *condition_type == ConditionType::Programmed => Condition::new(
                    ConditionType::Programmed,
                    ConditionStatus::False,
                    ConditionReason::Invalid,
                    format!("the {} is not accepted", self.id.kind),
                    generation,
                ),
                Some(known) => Condition { observed_generation: generation, ..known.clone() },
                None => Condition::new(
                    *condition_type,
                    ConditionStatus::Unknown,
                    ConditionReason::Pending,
                    "cannot be told before the object can be read",
                    generation,
                ),
            }
        });
        std::iter::once(accepted).chain(others).collect()
    }
}
