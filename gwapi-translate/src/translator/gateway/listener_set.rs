//! ListenerSets of a Gateway: which it lets in, in which order, and their status (LS-1 to LS-10).

use std::collections::{BTreeMap, BTreeSet};

use gwapi_model::status::{
    Condition, ConditionReason, ConditionStatus, ConditionType, GatewayStatus, ListenerSetStatus,
};
use gwapi_model::{FromNamespaces, Gateway, ListenerSet, Namespace, NamespacedName, Resources};

use super::super::attachment;
use super::super::conditions::{Problem, fails, holds, summary};
use super::super::created;
use super::super::holder::Holder;
use super::super::listener::{self, Admission, ListenerDraft};
use super::super::ports::PortNumber;
use super::GatewayDraft;
use super::judge::JudgedListener;

/// A ListenerSet that names the Gateway.
#[derive(Clone, Debug)]
pub(super) struct SetDraft {
    /// Which.
    pub(super) name: NamespacedName,
    generation: i64,
    /// Whether the Gateway lets it in (LS-1).
    is_let_in: bool,
}

impl SetDraft {
    /// The set as the object that holds its listeners.
    pub(super) fn holder(&self) -> Holder {
        Holder::ListenerSet(self.name.clone())
    }
}

/// Listeners of a Gateway with its ListenerSets. Each change of one has all of them judged again.
const MAX_LISTENERS: usize = 1024;

/// Ports of a Gateway with its ListenerSets: there are only so many for the Services of a cluster, and a
/// Service that asks for more than are left gets none.
const MAX_PORTS: usize = 128;

/// What a Gateway has room for, as its listeners and those of its ListenerSets come in their order (LS-12).
#[derive(Default)]
pub(super) struct Room {
    ports: BTreeSet<PortNumber>,
    listeners: usize,
    /// Listeners that are refused.
    without_place: usize,
}

impl Room {
    /// Takes in a listener whose clashes with those before it are known. One for which there is no room is
    /// refused; one without a place takes none, be it refused for whatever else. The Gateway's own, which stand
    /// first, are never too many.
    pub(super) fn take(&mut self, listener: &mut ListenerDraft) {
        let is_own = matches!(listener.holder, Holder::Gateway(_));
        let port = (listener.transport(), listener.port);
        if !is_own && listener.is_sound() {
            listener.problems.extend(self.surplus(port));
        }
        if listener.is_sound() {
            self.listeners += 1;
            self.ports.insert(port);
        } else if !is_own {
            // Nobody may have any number of listeners looked into that are refused anyway.
            listener.is_examined = self.without_place < MAX_LISTENERS;
            self.without_place += 1;
        }
    }

    fn surplus(&self, port: PortNumber) -> Option<Problem> {
        let what = match () {
            () if self.listeners >= MAX_LISTENERS => format!("{MAX_LISTENERS} listeners"),
            () if self.ports.len() >= MAX_PORTS && !self.ports.contains(&port) => {
                format!("{MAX_PORTS} ports")
            }
            () => return None,
        };
        Some(Problem::new(
            ConditionReason::TooManyListeners,
            format!(
                "the Gateway and ListenerSets that come before this one have {what}, which is as much \
                 as a Gateway can have; use another Gateway"
            ),
        ))
    }
}

/// The ListenerSets that name a Gateway, the oldest first (LS-4).
pub(super) fn in_order<'r>(
    names: impl Iterator<Item = &'r NamespacedName>,
    resources: &'r Resources,
) -> Vec<(&'r NamespacedName, &'r ListenerSet)> {
    let sets = names.filter_map(|name| Some((name, &**resources.listener_sets.get(name)?)));
    let mut sets: Vec<_> = sets.collect();
    sets.sort_by_key(|(name, set)| (created(&set.metadata), *name));
    sets
}

/// The namespaces whose ListenerSets a Gateway lets in; none where it says nothing (LS-1).
pub(super) fn admission(gateway: &Gateway) -> Result<Admission, Problem> {
    let allowed = gateway.spec.allowed_listeners.as_ref();
    match allowed.and_then(|allowed| allowed.namespaces.as_ref()) {
        Some(namespaces) => listener::admission(namespaces, FromNamespaces::None),
        None => Ok(Admission::Nobody),
    }
}

/// Whether a Gateway lets the ListenerSets of a namespace in (LS-1), given what is known of it: what others
/// refer to is none of the Gateway's business, and whoever reads it only where it matters needs this.
pub fn lets_listener_sets_in(
    gateway: &Gateway,
    namespace: &str,
    known: Option<&Namespace>,
) -> bool {
    let own = &gateway.metadata.namespace;
    admission(gateway).is_ok_and(|it| attachment::admits_namespace(&it, own, namespace, || known))
}

/// Drafts a ListenerSet.
pub(super) fn draft(name: &NamespacedName, set: &ListenerSet, is_let_in: bool) -> SetDraft {
    SetDraft { name: name.clone(), generation: set.metadata.generation, is_let_in }
}

/// It tells nothing of the Gateway: whoever may not attach to it may not see it (LS-1).
fn not_allowed() -> Problem {
    Problem::new(
        ConditionReason::NotAllowed,
        "the Gateway does not let ListenerSets of this namespace in; its spec.allowedListeners says which",
    )
}

impl GatewayDraft {
    /// Status of a ListenerSet, from what became of its listeners; no route is counted yet.
    pub(super) fn status_of_set(
        &self,
        set: &SetDraft,
        listeners: Vec<JudgedListener>,
        gateway: &GatewayStatus,
    ) -> ListenerSetStatus {
        let conditions = match self.refusal_of_set(set, &listeners) {
            Some((accepted, programmed)) => vec![
                summary(ConditionType::Accepted, [&accepted], &[], set.generation),
                summary(ConditionType::Programmed, [&programmed], &[], set.generation),
            ],
            None => vec![
                accepted(&listeners, set.generation),
                programmed(&listeners, gateway, set.generation),
            ],
        };
        let listeners = listeners.into_iter().map(|listener| listener.status).collect();
        ListenerSetStatus { conditions, listeners }
    }

    /// Why a ListenerSet is not accepted, and not programmed; `None` where it is accepted.
    fn refusal_of_set(
        &self,
        set: &SetDraft,
        listeners: &[JudgedListener],
    ) -> Option<(Problem, Problem)> {
        let twice = |problem: Problem| (problem.clone(), problem);
        if !set.is_let_in {
            return Some(twice(not_allowed()));
        }
        // LS-2.
        if self.is_refused() || !self.serves_sets {
            let why = format!("Gateway `{}` is not accepted; see its conditions", self.id);
            return Some((
                Problem::new(ConditionReason::ParentNotAccepted, why.as_str()),
                Problem::new(ConditionReason::ParentNotProgrammed, why),
            ));
        }
        // LS-3.
        if listeners.iter().any(is_valid) {
            return None;
        }
        let message = match listeners.is_empty() {
            true => "spec.listeners is empty; add one".to_owned(),
            false => invalid(listeners),
        };
        Some(twice(Problem::new(ConditionReason::ListenersNotValid, message)))
    }

    /// How many ListenerSets are accepted (LS-8); `None` where none names the Gateway.
    pub(super) fn attached_sets(
        &self,
        sets: &BTreeMap<NamespacedName, ListenerSetStatus>,
    ) -> Option<i32> {
        let is_accepted = |set: &&ListenerSetStatus| {
            set.conditions.iter().any(|condition| {
                condition.condition_type == ConditionType::Accepted
                    && condition.status == ConditionStatus::True
            })
        };
        let count = sets.values().filter(is_accepted).count();
        (!sets.is_empty()).then(|| i32::try_from(count).unwrap_or(i32::MAX))
    }
}

/// LS-3, LS-10: unlike a Gateway's, an entry is not valid whose references leave nothing to serve.
fn is_valid(listener: &JudgedListener) -> bool {
    listener.accepted.is_none() && listener.can_serve
}

/// Names the listeners that are not valid.
fn invalid(listeners: &[JudgedListener]) -> String {
    let bad = listeners.iter().filter(|listener| !is_valid(listener));
    let bad: Vec<String> = bad.map(|listener| format!("`{}`", listener.name)).collect();
    format!("not valid: listeners {}; see the conditions of each", bad.join(", "))
}

fn accepted(listeners: &[JudgedListener], generation: i64) -> Condition {
    let condition_type = ConditionType::Accepted;
    match listeners.iter().all(is_valid) {
        true => summary(condition_type, [], &[], generation),
        false => {
            let reason = ConditionReason::ListenersNotValid;
            holds(condition_type, reason, invalid(listeners), generation)
        }
    }
}

fn programmed(listeners: &[JudgedListener], gateway: &GatewayStatus, generation: i64) -> Condition {
    let condition_type = ConditionType::Programmed;
    if listeners.iter().any(|listener| listener.programmed) {
        return summary(condition_type, [], &[], generation);
    }
    let of_gateway = gateway.conditions.iter().find(|it| it.condition_type == condition_type);
    match of_gateway.filter(|condition| condition.status != ConditionStatus::True) {
        Some(condition) => {
            let message = format!("the Gateway is not programmed: {}", condition.message);
            fails(condition_type, ConditionReason::ParentNotProgrammed, message, generation)
        }
        None => {
            let message = "no listener is programmed; see the conditions of each";
            fails(condition_type, ConditionReason::Invalid, message, generation)
        }
    }
}
