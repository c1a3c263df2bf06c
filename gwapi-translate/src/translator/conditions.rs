//! Problems, and the conditions that tell of them.

use std::fmt;

use gwapi_model::status::{Condition, ConditionReason, ConditionStatus, ConditionType};

/// Something wrong: a reason for machines, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Reason of the condition.
    pub(super) reason: ConditionReason,
    /// What is wrong and what to do, without a final dot.
    pub(super) message: String,
}

impl Problem {
    /// A problem.
    pub(super) fn new(reason: ConditionReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// An `UnsupportedValue` (RT-12, GW-9).
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ConditionReason::UnsupportedValue, message)
    }

    /// The same problem, with the place where it is in front.
    pub(super) fn at(self, place: impl fmt::Display) -> Self {
        Self { reason: self.reason, message: format!("{place}: {}", self.message) }
    }
}

/// The condition of positive polarity that problems amount to: True without any, else False with
/// the first one's reason and every message. It is always present (ST-4).
pub(super) fn summary<'a>(
    condition_type: ConditionType,
    problems: impl IntoIterator<Item = &'a Problem>,
    notes: &[String],
    generation: i64,
) -> Condition {
    let mut problems = problems.into_iter().peekable();
    match problems.peek() {
        None => holds(condition_type, success(condition_type), notes.join("; "), generation),
        Some(first) => {
            let reason = first.reason;
            let messages: Vec<&str> = problems.map(|problem| problem.message.as_str()).collect();
            fails(condition_type, reason, messages.join("; "), generation)
        }
    }
}

/// A condition that is True.
pub(super) fn holds(
    condition_type: ConditionType,
    reason: ConditionReason,
    message: impl Into<String>,
    generation: i64,
) -> Condition {
    Condition::new(condition_type, ConditionStatus::True, reason, message, generation)
}

/// A condition that is False.
pub(super) fn fails(
    condition_type: ConditionType,
    reason: ConditionReason,
    message: impl Into<String>,
    generation: i64,
) -> Condition {
    Condition::new(condition_type, ConditionStatus::False, reason, message, generation)
}

/// The reason that a condition of positive polarity has when it is True.
fn success(condition_type: ConditionType) -> ConditionReason {
    match condition_type {
        ConditionType::Programmed => ConditionReason::Programmed,
        ConditionType::ResolvedRefs => ConditionReason::ResolvedRefs,
        _ => ConditionReason::Accepted,
    }
}
