//! What conditions tell: an issue for each of their problems, without those that only follow from
//! others.

use gwapi_model::status::{
    Condition, ConditionReason, ConditionStatus, ConditionType, ListenerStatus, Status,
};
use gwapi_model::{Kind, ObjectId, ParentReference};

use crate::report::issue::{BadCondition, Issue, Level};
use crate::report::places;

/// Whether a condition says that all is well.
pub(crate) fn is_good(condition: &Condition) -> bool {
    match condition.condition_type {
        ConditionType::Conflicted
        | ConditionType::OverlappingTLSConfig
        | ConditionType::PartiallyInvalid
        | ConditionType::InsecureFrontendValidationMode => {
            condition.status == ConditionStatus::False
        }
        ConditionType::Accepted
        | ConditionType::Programmed
        | ConditionType::ResolvedRefs
        | ConditionType::DefaultGateway
        | ConditionType::AddressesAssigned
        | ConditionType::SupportedVersion => condition.status == ConditionStatus::True,
    }
}

/// Adds what the conditions of an object tell.
pub(crate) fn conditions_of(id: &ObjectId, status: &Status, all: &mut Vec<Issue>) {
    match status {
        Status::GatewayClass(status) => {
            all.extend(causes(&status.conditions).flat_map(|condition| bad(id, condition)));
        }
        Status::Gateway(status) => {
            conditions_of_holder(id, &status.conditions, &status.listeners, all);
        }
        Status::ListenerSet(status) => {
            conditions_of_holder(id, &status.conditions, &status.listeners, all);
        }
        Status::Route(status) => {
            for parent in status.parents.iter() {
                let name = || Some(parent_name(&parent.parent_ref, &id.namespace));
                let issues = causes(&parent.conditions).flat_map(|it| bad(id, it));
                all.extend(issues.map(|issue| Issue { parent: name(), ..issue }));
            }
        }
        // All ancestors are told the same.
        Status::Policy(status) => {
            let conditions = status.ancestors.first().map_or(&[][..], |it| &it.conditions);
            all.extend(causes(conditions).flat_map(|condition| bad(id, condition)));
        }
    }
}

/// Adds what the conditions of a Gateway or a ListenerSet and of its listeners tell.
fn conditions_of_holder(
    id: &ObjectId,
    conditions: &[Condition],
    listeners: &[ListenerStatus],
    all: &mut Vec<Issue>,
) {
    let before = all.len();
    for listener in listeners {
        let issues = causes(&listener.conditions).flat_map(|it| bad(id, it));
        all.extend(issues.map(|issue| Issue { listener: Some(listener.name.clone()), ..issue }));
    }
    let listeners_told = all.len() > before;
    let own = causes(conditions).filter(|condition| !(listeners_told && is_summary(condition)));
    all.extend(own.flat_map(|condition| bad(id, condition)));
}

/// Conditions that are not good, without those that only follow from another one: what is not
/// accepted is not programmed either, and a conflict has two conditions. That an address is missing may be
/// no reason not to be programmed.
fn causes(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    let bad = move || conditions.iter().filter(|condition| !is_good(condition));
    bad().enumerate().filter_map(move |(position, condition)| {
        let told = bad().take(position).any(|earlier| {
            earlier.reason == condition.reason
                || !condition.message.is_empty() && earlier.message.contains(&condition.message)
        });
        let alone = [ConditionType::Programmed, ConditionType::AddressesAssigned];
        let follows = condition.condition_type == ConditionType::Programmed
            && bad().any(|other| !alone.contains(&other.condition_type));
        (!told && !follows).then_some(condition)
    })
}

/// Whether a condition of a Gateway or a ListenerSet sums up its listeners (GW-6, GW-12, LS-3).
fn is_summary(condition: &Condition) -> bool {
    condition.condition_type == ConditionType::Programmed
        || matches!(
            condition.reason,
            ConditionReason::ListenersNotValid | ConditionReason::ListenersNotResolved
        )
}

/// What a condition tells: an issue for each of its problems.
fn bad(id: &ObjectId, condition: &Condition) -> Vec<Issue> {
    let level = match condition.condition_type {
        ConditionType::OverlappingTLSConfig
        | ConditionType::InsecureFrontendValidationMode
        | ConditionType::SupportedVersion => Level::Warning,
        _ => Level::Error,
    };
    let issue = |message| Issue {
        condition: Some(BadCondition {
            condition_type: condition.condition_type,
            status: condition.status,
            reason: condition.reason,
        }),
        help: help_for(condition),
        ..Issue::about(level, id.clone(), message)
    };
    places::parts(condition.message.trim_end_matches('.')).into_iter().map(issue).collect()
}

fn help_for(condition: &Condition) -> Option<String> {
    let denied = condition.message.to_ascii_lowercase().contains("permission");
    (condition.reason == ConditionReason::PortUnavailable && denied).then(|| {
        "ports below 1024 need privileges: --port-offset 8000 serves port 80 as 8080".to_owned()
    })
}

/// `namespace/name`, with section and port where the reference has them, and the kind where it is no Gateway.
pub(crate) fn parent_name(parent: &ParentReference, own_namespace: &str) -> String {
    let namespace = parent.namespace.as_deref().unwrap_or(own_namespace);
    let mut name = format!("{namespace}/{}", parent.name);
    if let Some(kind) = parent.kind.as_deref().filter(|kind| *kind != Kind::Gateway.as_str()) {
        name.insert_str(0, &format!("{kind} "));
    }
    if let Some(section) = &parent.section_name {
        name.push_str(&format!("/{section}"));
    }
    if let Some(port) = parent.port {
        name.push_str(&format!(":{port}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use gwapi_model::status::GatewayStatus;

    use super::*;

    fn condition(
        condition_type: ConditionType,
        good: bool,
        reason: ConditionReason,
        message: &str,
    ) -> Condition {
        let status = if good { ConditionStatus::True } else { ConditionStatus::False };
        Condition::new(condition_type, status, reason, message, 1)
    }

    fn gateway(listener: Vec<Condition>, own: Vec<Condition>) -> Vec<String> {
        let status = Status::Gateway(Box::new(GatewayStatus {
            addresses: Vec::new(),
            conditions: own,
            listeners: vec![ListenerStatus {
                name: "http".to_owned(),
                supported_kinds: Vec::new(),
                attached_routes: 0,
                conditions: listener,
            }],
            attached_listener_sets: None,
        }));
        let mut all = Vec::new();
        conditions_of(&ObjectId::new(Kind::Gateway, "default", "web"), &status, &mut all);
        all.iter().map(Issue::line).collect()
    }

    #[test]
    fn what_follows_from_another_condition_is_not_told() {
        use ConditionReason as Reason;
        use ConditionType::{Accepted, Programmed};
        let listener = vec![
            condition(Accepted, false, Reason::PortUnavailable, "port 80 is in use"),
            condition(Programmed, false, Reason::Invalid, "the listener is not accepted"),
        ];
        let own = vec![
            condition(Accepted, false, Reason::ListenersNotValid, "no listener is valid"),
            condition(Programmed, false, Reason::Invalid, "nothing is served"),
        ];
        assert_eq!(
            gateway(listener, own),
            [
                "Gateway default/web, listener http: Accepted=False (PortUnavailable): port 80 is in use"
            ]
        );
    }

    #[test]
    fn a_sentence_is_told_once() {
        use ConditionReason as Reason;
        use ConditionType::{Accepted, Conflicted};
        let clash = "port 80 cannot carry TCP beside listener `web` (HTTP); use another port";
        let both = format!("protocol `TCP` is not supported; {clash}");
        let listener = vec![
            condition(Accepted, false, Reason::UnsupportedProtocol, &both),
            condition(Conflicted, true, Reason::ProtocolConflict, clash),
        ];
        let told = gateway(listener, Vec::new());
        assert_eq!(told.iter().filter(|line| line.contains(clash)).count(), 1, "{told:?}");
    }

    #[test]
    fn what_nothing_else_explains_is_told() {
        use ConditionReason as Reason;
        use ConditionType::{Accepted, Programmed};
        let own = vec![
            condition(Accepted, true, Reason::Accepted, ""),
            condition(Programmed, false, Reason::AddressNotAssigned, "no address is left"),
        ];
        assert_eq!(
            gateway(vec![condition(Accepted, true, Reason::Accepted, "")], own),
            ["Gateway default/web: Programmed=False (AddressNotAssigned): no address is left"]
        );
    }

    /// AD-8
    #[test]
    fn an_address_that_is_missing_is_told_once_whether_or_not_the_gateway_is_programmed() {
        use ConditionReason as Reason;
        use ConditionType::{Accepted, AddressesAssigned, Programmed};
        let why = "no address is left";
        let missing = |programmed, reason| {
            let message = if programmed { "" } else { why };
            let own = vec![
                condition(Programmed, programmed, Reason::AddressNotAssigned, message),
                condition(AddressesAssigned, false, reason, why),
            ];
            gateway(vec![condition(Accepted, true, Reason::Accepted, "")], own)
        };
        assert_eq!(
            missing(false, Reason::NotAssigned),
            [format!("Gateway default/web: Programmed=False (AddressNotAssigned): {why}")]
        );
        assert_eq!(
            missing(true, Reason::PartiallyAssigned),
            [format!("Gateway default/web: AddressesAssigned=False (PartiallyAssigned): {why}")]
        );
    }

    #[test]
    fn every_problem_of_a_condition_is_an_issue_that_stays_when_another_one_goes() {
        use ConditionReason as Reason;
        let issues = |reason, message| {
            let refs = condition(ConditionType::ResolvedRefs, false, reason, message);
            let issues = bad(&ObjectId::new(Kind::HttpRoute, "default", "web"), &refs);
            issues.iter().map(Issue::key).collect::<Vec<_>>()
        };
        let both = issues(Reason::RefNotPermitted, "rules[0]: denied; rules[1]: gone; sorry");
        let one = issues(Reason::BackendNotFound, "rules[1]: gone; sorry");
        assert_eq!(both.len(), 2);
        assert_eq!(both[1..], one);
    }
}
