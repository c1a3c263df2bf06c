//! XBackendTrafficPolicy.

use std::time::Duration;

use super::checker::Checker;
use super::reference;
use super::session_persistence::session_persistence;
use crate::{BackendTrafficPolicy, GatewayDuration, RequestRate, RetryBudgetDetails};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn backend_traffic_policy(check: &mut Checker, policy: &BackendTrafficPolicy) {
    check.field("spec", |check| {
        let spec = &policy.spec;
        check.list("targetRefs", &spec.target_refs, 1..=16, |check, target| {
            reference::object(check, Some(&target.group), Some(&target.kind), &target.name, None);
        });
        check.unique("targetRefs", &spec.target_refs, None, Some, |_| {
            "names the same target as an earlier entry".to_owned()
        });
        if let Some(constraint) = &spec.retry_constraint {
            check.field("retryConstraint", |check| {
                if let Some(details) = &constraint.budget {
                    check.field("budget", |check| budget(check, details));
                }
                if let Some(rate) = &constraint.min_retry_rate {
                    check.field("minRetryRate", |check| min_retry_rate(check, rate));
                }
            });
        }
        let persistence = spec.session_persistence.as_deref();
        check.optional("sessionPersistence", persistence, session_persistence);
    });
}

fn budget(check: &mut Checker, details: &RetryBudgetDetails) {
    let RetryBudgetDetails { percent, interval } = details;
    check.number("percent", percent.map(i64::from), 0..=100);
    within(check, interval.as_ref(), |length| (SECOND..=HOUR).contains(&length), "from 1s to 1h");
}

fn min_retry_rate(check: &mut Checker, rate: &RequestRate) {
    let RequestRate { count, interval } = rate;
    check.number("count", count.map(i64::from), 1..=1_000_000);
    let is_good = |length: Duration| !length.is_zero() && length <= HOUR;
    within(check, interval.as_ref(), is_good, "more than 0s, and 1h at most");
}

fn within(
    check: &mut Checker,
    interval: Option<&GatewayDuration>,
    is_good: impl Fn(Duration) -> bool,
    expected: &str,
) {
    if let Some(interval) = interval.filter(|interval| !is_good(interval.get())) {
        check.field("interval", |check| {
            check.report(format!("is {interval}: expected {expected}"));
        });
    }
}
