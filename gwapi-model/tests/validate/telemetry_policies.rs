use gwapi_model::TelemetryPolicy;
use serde_json::{Value, json};

use super::{case, check, times};

fn valid() -> Value {
    json!({
        "metadata": {"name": "traces", "namespace": "shop"},
        "spec": {
            "targetRefs": [
                {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"},
            ],
            "tracing": {
                "mode": "Enabled",
                "provider": {
                    "backendRef": {"name": "collector", "port": 4317},
                    "headers": [{"name": "x-token", "value": "t"}],
                },
                "samplingRate": {"numerator": 5},
                "parentBasedSampling": {"mode": "Enabled", "samplingRate": {"numerator": 1}},
                "serviceName": "shop",
                "spanName": "ingress request",
                "attributes": [
                    {"name": "user", "sourceType": "Header", "headerName": "X-User"},
                    {"name": "env", "sourceType": "Literal", "literalValue": "test"},
                    {"name": "m", "sourceType": "Attribute", "attributeKey": "http.request.method"},
                ],
            },
        },
    })
}

#[test]
fn a_telemetry_policy_names_one_to_sixteen_targets_and_says_something() {
    //
    let gateway = |index| json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": format!("g{index}")});
    check::<TelemetryPolicy>(
        &valid(),
        vec![
            case(
                "no target",
                "/spec/targetRefs",
                json!([]),
                &["spec.targetRefs: is empty: expected at least 1"],
            ),
            case("sixteen targets", "/spec/targetRefs", times(16, gateway), &[]),
            case(
                "too many targets",
                "/spec/targetRefs",
                times(17, gateway),
                &["spec.targetRefs: has 17 entries: expected at most 16"],
            ),
            case(
                "nothing asked for",
                "/spec/tracing",
                Value::Null,
                &["spec: `tracing` is missing: the policy says nothing without it"],
            ),
        ],
    );
}

#[test]
fn all_but_the_mode_is_for_the_mode_enabled() {
    //
    check::<TelemetryPolicy>(
        &valid(),
        vec![
            case("disabled", "/spec/tracing", json!({"mode": "Disabled"}), &[]),
            case("the default", "/spec/tracing", json!({}), &[]),
            case(
                "enabled without a provider",
                "/spec/tracing",
                json!({"mode": "Enabled"}),
                &["spec.tracing: `provider` is missing: mode Enabled needs it"],
            ),
            case(
                "a mode that is not known",
                "/spec/tracing",
                json!({"mode": "enabled"}),
                &["spec.tracing.mode: `enabled` is not known here: expected Enabled, Disabled or \
                   ImplementationDefault [did you mean Enabled?]"],
            ),
            case(
                "a rate of what is disabled",
                "/spec/tracing",
                json!({"mode": "Disabled", "samplingRate": {"numerator": 1}}),
                &["spec.tracing.samplingRate: belongs to mode Enabled, but the mode is Disabled \
                   [remove `samplingRate` or set the mode to Enabled]"],
            ),
            case(
                "a rate of callers that are not followed",
                "/spec/tracing/parentBasedSampling/mode",
                json!("Disabled"),
                &[
                    "spec.tracing.parentBasedSampling.samplingRate: belongs to mode Enabled, but the \
                   mode is Disabled [remove `samplingRate` or set the mode to Enabled]",
                ],
            ),
        ],
    );
}

#[test]
fn shares_are_no_more_than_everything() {
    //
    const RATE: &str = "/spec/tracing/samplingRate";
    check::<TelemetryPolicy>(
        &valid(),
        vec![
            case("all", RATE, json!({"numerator": 7, "denominator": 7}), &[]),
            case(
                "more than all",
                RATE,
                json!({"numerator": 101}),
                &["spec.tracing.samplingRate: 101 of 100 is more than everything"],
            ),
            case(
                "of nothing",
                RATE,
                json!({"numerator": 0, "denominator": 0}),
                &["spec.tracing.samplingRate.denominator: 0 is too small: expected 1 or more"],
            ),
        ],
    );
}

#[test]
fn an_attribute_has_the_source_that_it_says() {
    //
    const FIRST: &str = "/spec/tracing/attributes/0";
    check::<TelemetryPolicy>(
        &valid(),
        vec![
            case(
                "no source",
                FIRST,
                json!({"name": "a", "sourceType": "Header"}),
                &["spec.tracing.attributes[0]: `headerName` is missing: type Header needs it"],
            ),
            case(
                "another source",
                FIRST,
                json!({"name": "a", "sourceType": "Literal", "literalValue": "x", "headerName": "y"}),
                &[
                    "spec.tracing.attributes[0].headerName: belongs to type Header, but the type is \
                   Literal [remove `headerName` or set the type to Header]",
                ],
            ),
            case(
                "the same name",
                "/spec/tracing/attributes/1/name",
                json!("user"),
                &["spec.tracing.attributes[1].name: `user` is set before"],
            ),
            case(
                "a key of no convention",
                "/spec/tracing/attributes/2/attributeKey",
                json!("%REQ(x)%"),
                &["spec.tracing.attributes[2].attributeKey: `%REQ(x)%` is not a key: expected \
                   lower-case letters, digits, `_`, `.` and `-`"],
            ),
        ],
    );
}

#[test]
fn a_collector_is_a_service_port() {
    //
    const BACKEND: &str = "/spec/tracing/provider/backendRef";
    check::<TelemetryPolicy>(
        &valid(),
        vec![
            case(
                "no port",
                BACKEND,
                json!({"name": "collector"}),
                &[
                    "spec.tracing.provider.backendRef: `port` is missing: a Service is named together \
                   with a port [add the port of the Service, such as `port: 80`]",
                ],
            ),
            case(
                "the same header",
                "/spec/tracing/provider/headers",
                json!([{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]),
                &["spec.tracing.provider.headers[1].name: `a` is set before"],
            ),
            case(
                "a service of no name",
                "/spec/tracing/serviceName",
                json!("my shop"),
                &[
                    "spec.tracing.serviceName: `my shop` is not a name: expected letters, digits, `-`, \
                   `_`, `.`, `:` and `/`",
                ],
            ),
            case(
                "two spaces",
                "/spec/tracing/spanName",
                json!("a  b"),
                &[
                    "spec.tracing.spanName: `a  b` is not a name: expected words of letters, digits, \
                   `-`, `_`, `.`, `:` and `/`, with one space between them",
                ],
            ),
        ],
    );
}
