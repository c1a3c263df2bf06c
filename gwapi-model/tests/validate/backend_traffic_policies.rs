use gwapi_model::BackendTrafficPolicy;
use serde_json::{Value, json};

use super::{case, check, times};

fn valid() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "targetRefs": [
                {"group": "", "kind": "Service", "name": "web"},
                {"group": "", "kind": "Service", "name": "cart"},
            ],
            "retryConstraint": {
                "budget": {"percent": 20, "interval": "10s"},
                "minRetryRate": {"count": 3, "interval": "500ms"},
            },
            "sessionPersistence": {"type": "Cookie", "cookie": {"name": "session"}},
        },
    })
}

#[test]
fn a_traffic_policy_names_one_to_sixteen_targets_and_none_twice() {
    //
    let service = |index| json!({"group": "", "kind": "Service", "name": format!("s{index}")});
    check::<BackendTrafficPolicy>(
        &valid(),
        vec![
            case(
                "no target",
                "/spec/targetRefs",
                json!([]),
                &["spec.targetRefs: is empty: expected at least 1"],
            ),
            case("sixteen targets", "/spec/targetRefs", times(16, service), &[]),
            case(
                "too many targets",
                "/spec/targetRefs",
                times(17, service),
                &["spec.targetRefs: has 17 entries: expected at most 16"],
            ),
            case(
                "the same target",
                "/spec/targetRefs/1/name",
                json!("web"),
                &["spec.targetRefs[1]: names the same target as an earlier entry"],
            ),
        ],
    );
}

#[test]
fn bounds_of_retries_are_within_theirs() {
    //
    const INTERVAL: &str = "/spec/retryConstraint/budget/interval";
    const RATE: &str = "/spec/retryConstraint/minRetryRate/interval";
    check::<BackendTrafficPolicy>(
        &valid(),
        vec![
            case("all by default", "/spec/retryConstraint", json!({}), &[]),
            case("none", "/spec/retryConstraint/budget/percent", json!(0), &[]),
            case(
                "more than all",
                "/spec/retryConstraint/budget/percent",
                json!(101),
                &["spec.retryConstraint.budget.percent: 101 is out of range: expected 0 to 100"],
            ),
            case("an hour", INTERVAL, json!("1h"), &[]),
            case(
                "less than a second",
                INTERVAL,
                json!("999ms"),
                &["spec.retryConstraint.budget.interval: is 999ms: expected from 1s to 1h"],
            ),
            case(
                "no rate",
                "/spec/retryConstraint/minRetryRate/count",
                json!(0),
                &[
                    "spec.retryConstraint.minRetryRate.count: 0 is out of range: expected 1 to 1000000",
                ],
            ),
            case(
                "no time",
                RATE,
                json!("0s"),
                &[
                    "spec.retryConstraint.minRetryRate.interval: is 0s: expected more than 0s, and 1h \
                   at most",
                ],
            ),
            case(
                "more than an hour",
                RATE,
                json!("1h1s"),
                &[
                    "spec.retryConstraint.minRetryRate.interval: is 1h1s: expected more than 0s, and \
                   1h at most",
                ],
            ),
        ],
    );
}

#[test]
fn sessions_of_a_traffic_policy_are_held_to_what_holds_elsewhere() {
    // SP-1, SP-2.
    check::<BackendTrafficPolicy>(
        &valid(),
        vec![case(
            "the member of another type",
            "/spec/sessionPersistence/type",
            json!("Header"),
            &[
                "spec.sessionPersistence.cookie: belongs to type Cookie, but the type is Header \
                 [remove `cookie` or set the type to Cookie]",
                "spec.sessionPersistence: `header` is missing: type Header needs it",
            ],
        )],
    );
}
