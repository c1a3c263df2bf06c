//! XTelemetryPolicy.

use super::checker::{Checker, Member};
use super::reference;
use super::syntax::{
    ATTRIBUTE_KEY, ATTRIBUTE_NAME, HEADER_NAME, HEADER_VALUE, LITERAL_VALUE, SERVICE_NAME,
    SPAN_NAME,
};
use crate::{
    BackendName, Fraction, ParentBasedSampling, TelemetryPolicy, TracingAttribute, TracingConfig,
    TracingProvider,
};

const MODES: &[&str] = &["Enabled", "Disabled", "ImplementationDefault"];

pub(super) fn telemetry_policy(check: &mut Checker, policy: &TelemetryPolicy) {
    check.field("spec", |check| {
        let spec = &policy.spec;
        check.list("targetRefs", &spec.target_refs, 1..=16, |check, target| {
            reference::object(check, Some(&target.group), Some(&target.kind), &target.name, None);
        });
        match &spec.tracing {
            Some(config) => check.field("tracing", |check| tracing(check, config)),
            None => check.report("`tracing` is missing: the policy says nothing without it"),
        }
    });
}

fn tracing(check: &mut Checker, config: &TracingConfig) {
    let mode = config.mode.as_deref().unwrap_or("ImplementationDefault");
    check.one_of("mode", mode, MODES);
    if MODES.contains(&mode) {
        of_mode(check, mode, config);
    }
    check.optional("provider", config.provider.as_ref(), provider);
    check.optional("samplingRate", config.sampling_rate.as_ref(), fraction);
    check.optional("parentBasedSampling", config.parent_based_sampling.as_ref(), parent_based);
    check.optional_text("serviceName", config.service_name.as_ref(), &SERVICE_NAME);
    check.optional_text("spanName", config.span_name.as_ref(), &SPAN_NAME);
    check.list("attributes", &config.attributes, 0..=usize::MAX, attribute);
    let name = |attribute: &TracingAttribute| format!("`{}` is set before", attribute.name);
    check.unique("attributes", &config.attributes, Some("name"), |it| Some(&it.name), name);
}

/// What is for the mode `Enabled` alone, and needed there.
fn of_mode(check: &mut Checker, mode: &str, config: &TracingConfig) {
    if mode == "Enabled" {
        if config.provider.is_none() {
            check.report("`provider` is missing: mode Enabled needs it");
        }
        return;
    }
    let of_enabled = [
        ("provider", config.provider.is_some()),
        ("samplingRate", config.sampling_rate.is_some()),
        ("parentBasedSampling", config.parent_based_sampling.is_some()),
        ("serviceName", config.service_name.is_some()),
        ("spanName", config.span_name.is_some()),
        ("attributes", !config.attributes.is_empty()),
    ];
    for (field, _) in of_enabled.into_iter().filter(|(_, is_set)| *is_set) {
        only_enabled(check, field, mode);
    }
}

fn only_enabled(check: &mut Checker, field: &'static str, mode: &str) {
    check.field(field, |check| {
        check.report_with_help(
            format!("belongs to mode Enabled, but the mode is {mode}"),
            format!("remove `{field}` or set the mode to Enabled"),
        );
    });
}

fn provider(check: &mut Checker, provider: &TracingProvider) {
    check.field("backendRef", |check| {
        reference::backend(check, BackendName::from(&provider.backend_ref));
    });
    check.list("headers", &provider.headers, 0..=16, |check, header| {
        check.text("name", &header.name, &HEADER_NAME);
        check.text("value", &header.value, &HEADER_VALUE);
    });
    check.unique(
        "headers",
        &provider.headers,
        Some("name"),
        |header| Some(&header.name),
        |header| format!("`{}` is set before", header.name),
    );
}

fn parent_based(check: &mut Checker, sampling: &ParentBasedSampling) {
    let mode = sampling.mode.as_deref().unwrap_or("ImplementationDefault");
    check.one_of("mode", mode, MODES);
    check.optional("samplingRate", sampling.sampling_rate.as_ref(), fraction);
    if sampling.sampling_rate.is_some() && mode != "Enabled" && MODES.contains(&mode) {
        only_enabled(check, "samplingRate", mode);
    }
}

fn fraction(check: &mut Checker, fraction: &Fraction) {
    let natural = i64::from(i32::MAX);
    let denominator = fraction.denominator.unwrap_or(100);
    check.number("numerator", Some(fraction.numerator.into()), 0..=natural);
    check.number("denominator", Some(denominator.into()), 1..=natural);
    if fraction.numerator > denominator {
        check.report(format!("{} of {denominator} is more than everything", fraction.numerator));
    }
}

fn attribute(check: &mut Checker, attribute: &TracingAttribute) {
    let TracingAttribute { name, source_type, header_name, literal_value, attribute_key } =
        attribute;
    check.text("name", name, &ATTRIBUTE_NAME);
    check.one_of("sourceType", source_type, &["Header", "Literal", "Attribute"]);
    let member = |of_type, field, is_set| Member { of_type, field, is_set };
    check.union(
        source_type,
        &[
            member("Header", "headerName", header_name.is_some()),
            member("Literal", "literalValue", literal_value.is_some()),
            member("Attribute", "attributeKey", attribute_key.is_some()),
        ],
    );
    check.optional_text("headerName", header_name.as_ref(), &HEADER_NAME);
    check.optional_text("literalValue", literal_value.as_ref(), &LITERAL_VALUE);
    check.optional_text("attributeKey", attribute_key.as_ref(), &ATTRIBUTE_KEY);
}
