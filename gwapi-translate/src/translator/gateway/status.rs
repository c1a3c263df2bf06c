//! Status of a Gateway, from what became of its listeners.

use gwapi_model::status::{
    Condition, ConditionReason, ConditionStatus, ConditionType, GatewayStatus,
};

use super::super::Feedback;
use super::super::conditions::{Problem, fails, holds, summary};
use super::GatewayDraft;
use super::assignment::Assignment;
use super::judge::JudgedListener;
use crate::ir::ClientValidationMode;

impl GatewayDraft {
    /// Puts the status together, from the Gateway's own listeners; no route is counted yet. `serves` tells
    /// whether any listener answers, of the Gateway or of a ListenerSet.
    pub(super) fn status(
        &self,
        listeners: Vec<JudgedListener>,
        unresolved: Option<Problem>,
        serves: bool,
        feedback: &Feedback,
    ) -> GatewayStatus {
        let accepted = self.accepted_condition(&listeners);
        let assignment = self.assignment(serves, feedback);
        let programmed = self.programmed_condition(&accepted, &assignment, &listeners, feedback);
        let resolved = self.resolved_condition(unresolved, &listeners);
        let assigned = self.assigned_condition(&accepted, &assignment);
        let mut conditions = vec![accepted, programmed, resolved];
        conditions.extend(assigned);
        conditions.extend(self.insecure_condition());
        conditions.extend(self.default_condition());
        GatewayStatus {
            addresses: assignment.addresses,
            conditions,
            listeners: listeners.into_iter().map(|listener| listener.status).collect(),
            attached_listener_sets: None,
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

    /// AD-1, AD-2, AD-4, AD-8, and the readiness rule: one good listener is enough.
    fn programmed_condition(
        &self,
        accepted: &Condition,
        assignment: &Assignment,
        listeners: &[JudgedListener],
        feedback: &Feedback,
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
        let mut unmet = assignment.problems.clone();
        let reported =
            feedback.infrastructure.unmet.iter().filter(|_| self.infrastructure.is_some());
        let reported = reported.filter(|(_, message)| !assignment.tells(message));
        unmet.extend(reported.map(|(reason, message)| Problem::new(*reason, message)));
        unmet.extend(unreadable(feedback));
        if !unmet.is_empty() {
            return summary(condition_type, &unmet, &[], self.generation);
        }
        if listeners.iter().any(|listener| listener.programmed) {
            return summary(condition_type, [], &[], self.generation);
        }
        if let Some(message) = self.waits_for(feedback).filter(|_| self.infrastructure.is_some()) {
            return fails(condition_type, ConditionReason::Pending, message, self.generation);
        }
        let message = "no listener is programmed; see the conditions of each";
        fails(condition_type, ConditionReason::Invalid, message, self.generation)
    }

    /// GW-12: the Gateway's own references come before those of its listeners.
    fn resolved_condition(
        &self,
        unresolved: Option<Problem>,
        listeners: &[JudgedListener],
    ) -> Condition {
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
        summary(condition_type, unresolved.iter().chain(&listeners), &[], self.generation)
    }

    /// TL-6: while any setting lets clients in without a valid certificate, whether listeners have it or not.
    fn insecure_condition(&self) -> Option<Condition> {
        let listeners: Vec<String> = self
            .listeners
            .iter()
            .filter(|listener| {
                let validation = listener.client_validation.as_ref();
                validation.is_some_and(|it| it.mode == ClientValidationMode::AllowInsecureFallback)
            })
            .map(|listener| format!("`{}`", listener.key))
            .collect();
        let concerned = match listeners.is_empty() {
            true => "the listeners that it is for; there are none now".to_owned(),
            false => format!("listeners {}", listeners.join(", ")),
        };
        let message = format!(
            "mode AllowInsecureFallback of {} lets clients without a valid certificate use {concerned}",
            self.insecure.join(", ")
        );
        let condition_type = ConditionType::InsecureFrontendValidationMode;
        let reason = ConditionReason::ConfigurationChanged;
        (!self.insecure.is_empty()).then(|| holds(condition_type, reason, message, self.generation))
    }

    /// RT-16: routes that ask for default Gateways need to find which they are.
    fn default_condition(&self) -> Option<Condition> {
        let (condition_type, reason) =
            (ConditionType::DefaultGateway, ConditionReason::DefaultGateway);
        let message = "the Gateway takes routes of scope All, as far as its listeners allow them";
        self.is_default.then(|| holds(condition_type, reason, message, self.generation))
    }

    fn pending(&self, condition_type: ConditionType, message: impl Into<String>) -> Condition {
        let (status, reason) = (ConditionStatus::Unknown, ConditionReason::Pending);
        Condition::new(condition_type, status, reason, message, self.generation)
    }
}

/// What the data plane cannot read, because its release does not know it.
fn unreadable(feedback: &Feedback) -> Option<Problem> {
    let (first, why) = feedback.unreadable.first_key_value()?;
    let what = match feedback.unreadable.len() {
        1 => format!("`{first}` of the configuration"),
        count => format!("{count} parts of the configuration, such as `{first}`,"),
    };
    let message = format!(
        "{what} cannot be used by the proxies, which are of another release than the controller: \
         {why}; the rest is served"
    );
    Some(Problem::new(ConditionReason::Invalid, message))
}
