//! XBackendTrafficPolicies: how many retries one lets there be, what sessions it asks for, and its status
//! (X-1, SP-3).

use std::time::Duration;

use gwapi_model::status::{ConditionReason, PolicyStatus};
use gwapi_model::{
    BackendTrafficPolicy, GatewayDuration, NamespacedName, RetryConstraint, Service, ServiceType,
    SessionPersistence as WrittenSession,
};

use super::conditions::Problem;
use super::{Options, policy, sessions};
use crate::ir::{RetryBudget, SessionPersistence};

const HOUR: Duration = Duration::from_secs(3600);

/// How many retries there may be; `None` where the policy sets no bound, or one that makes no sense.
pub(super) fn retry_budget(policy: &BackendTrafficPolicy) -> Option<RetryBudget> {
    budget(policy.spec.retry_constraint.as_ref()?).ok()
}

fn budget(constraint: &RetryConstraint) -> Result<RetryBudget, Problem> {
    let share = constraint.budget.clone().unwrap_or_default();
    let rate = constraint.min_retry_rate.clone().unwrap_or_default();
    let percent = share.percent.unwrap_or(20);
    let percent = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
    let count = rate.count.unwrap_or(10);
    let count = u32::try_from(count).ok().filter(|count| (1..=1_000_000).contains(count));
    let length = |interval: Option<GatewayDuration>, default: u64| {
        interval.map_or(Duration::from_secs(default), |interval| interval.get())
    };
    let (interval, min_interval) = (length(share.interval, 10), length(rate.interval, 1));
    let invalid = |what: &str| {
        let message = format!("retryConstraint.{what}; the policy has no effect on retries");
        Problem::new(ConditionReason::Invalid, message)
    };
    Ok(RetryBudget {
        percent: percent.ok_or_else(|| invalid("budget.percent is not from 0 to 100"))?,
        interval: Some(interval)
            .filter(|length| (Duration::from_secs(1)..=HOUR).contains(length))
            .ok_or_else(|| invalid("budget.interval is not from 1s to 1h"))?,
        min_count: count.ok_or_else(|| invalid("minRetryRate.count is not from 1 to 1000000"))?,
        min_interval: Some(min_interval)
            .filter(|length| !length.is_zero() && *length <= HOUR)
            .ok_or_else(|| invalid("minRetryRate.interval is zero, or longer than 1h"))?,
    })
}

/// The sessions at a port of a Service that the policy is for; `None` where it asks for none, or for what makes
/// no sense. Each port has sessions of its own, whatever else the policy is for.
pub(super) fn session(
    policy: &BackendTrafficPolicy,
    service: &NamespacedName,
    port: u16,
    options: &Options,
) -> Option<SessionPersistence> {
    let written = policy.spec.session_persistence.as_deref()?;
    compile(written, format!("Service {service}:{port}"), options).ok()
}

/// Whether the endpoints of a Service are ours to choose, so that clients can stay at one (SP-3).
pub(super) fn chooses_endpoints(service: &Service) -> bool {
    service.spec.service_type != Some(ServiceType::ExternalName)
}

fn compile(
    written: &WrittenSession,
    scope: String,
    options: &Options,
) -> Result<SessionPersistence, Problem> {
    sessions::compile(written, scope, options.underscore_headers).map_err(|problem| {
        let message = format!("{}; the policy has no effect on sessions", problem.message);
        Problem::new(ConditionReason::Invalid, message)
    })
}

/// What the status of a policy is made of, beside the policy itself.
pub(super) type Surroundings<'a> = policy::Surroundings<'a, BackendTrafficPolicy>;

/// The status of a policy: an entry for each Gateway of ours that sends requests to what the policy is
/// for; without any it is none of our business (BT-9).
pub(super) fn status(
    policy: &BackendTrafficPolicy,
    around: &Surroundings<'_>,
) -> Option<PolicyStatus> {
    let effects = policy::effects(policy, around);
    let of_retries = policy.spec.retry_constraint.iter().filter_map(|it| budget(it).err());
    let persistence = policy.spec.session_persistence.as_deref();
    let of_sessions = persistence.and_then(|it| compile(it, String::new(), around.options).err());
    let refused: Vec<Problem> = of_retries.chain(of_sessions).collect();
    let notes = persistence.map(|_| without_sessions(policy, around)).unwrap_or_default();
    let generation = policy.metadata.generation;
    let ancestors = effects.into_iter().map(|(gateway, effect)| {
        let accepted = effect.accepted(&refused, &notes, generation);
        policy::ancestor(&gateway, vec![accepted], around.options)
    });
    let ancestors: Vec<_> = ancestors.collect();
    (!ancestors.is_empty()).then_some(PolicyStatus { ancestors })
}

/// Names the Services that the policy is for and that have no sessions: what it asks for must not look granted
/// (SP-3).
fn without_sessions(policy: &BackendTrafficPolicy, around: &Surroundings<'_>) -> Vec<String> {
    let is_name = |service: &NamespacedName| {
        around.resources.services.get(service).is_some_and(|it| !chooses_endpoints(it))
    };
    let told = |service: NamespacedName| {
        format!(
            "sessionPersistence has no effect on Service `{service}`: it is of type ExternalName, whose \
             endpoints are not ours to choose"
        )
    };
    policy::services(policy).filter(is_name).map(told).collect()
}
