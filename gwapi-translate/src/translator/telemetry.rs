//! XTelemetryPolicies: which one holds for a Gateway, what it has traced, and its status.
//!
//! A policy never touches a request: one that cannot be honoured leaves the Gateway without spans, and
//! its status says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use gwapi_model::status::{Condition, ConditionReason, ConditionType, PolicyStatus};
use gwapi_model::{
    Fraction, GATEWAY_GROUP, HttpHeader, Kind, LocalPolicyTargetReference, NamespacedName,
    ParentBasedSampling, Resources, RouteKind, TelemetryPolicy, TracingAttribute, TracingConfig,
};
use http::{HeaderName, HeaderValue};

use super::backend::{BackendFacts, Purpose, ServicePort};
use super::conditions::{Problem, summary};
use super::grants::Reference;
use super::{Options, policy, syntax};
use crate::ir::{
    AttributeSource, ExportHeader, GatewayId, KnownAttribute, SamplingRate, SpanAttribute, Tracing,
};

const ENABLED: &str = "Enabled";

/// Headers of exports that are the protocol's own: those of a connection, which HTTP/2 has none of
/// (RFC 9113 8.2.2), and those that say how a call is written.
const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-timeout",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The Gateways that a policy is for, there or not.
pub(super) fn gateways(policy: &TelemetryPolicy) -> impl Iterator<Item = GatewayId> + '_ {
    let targets = policy.spec.target_refs.iter().filter(|target| is_gateway(target));
    targets.map(|it| NamespacedName::new(policy.metadata.namespace.clone(), it.name.as_str()))
}

fn is_gateway(target: &LocalPolicyTargetReference) -> bool {
    target.group == GATEWAY_GROUP && target.kind == Kind::Gateway.as_str()
}

/// The one policy that holds of those that are for a Gateway.
pub(super) fn holder<'a>(
    policies: impl Iterator<Item = &'a Arc<TelemetryPolicy>>,
) -> Option<&'a Arc<TelemetryPolicy>> {
    policies.min_by_key(|policy| policy::seniority_of(&policy.metadata))
}

fn enabled(policy: &TelemetryPolicy) -> Option<&TracingConfig> {
    policy.spec.tracing.as_ref().filter(|config| config.mode.as_deref() == Some(ENABLED))
}

/// The Service port that takes the spans of a policy, permitted or not, there or not.
pub(super) fn collector(policy: &TelemetryPolicy) -> Option<ServicePort> {
    let written = &enabled(policy)?.provider.as_ref()?.backend_ref;
    let group = written.group.as_deref().unwrap_or_default();
    let kind = written.kind.as_deref().unwrap_or("Service");
    let own = &policy.metadata.namespace;
    let namespace = written.namespace.as_deref().map_or_else(|| own.clone(), Arc::from);
    (group.is_empty() && kind == "Service").then_some(())?;
    Some(ServicePort {
        service: NamespacedName::new(namespace, written.name.as_str()),
        port: written.port?.get(),
        // OTLP is gRPC.
        routes: RouteKind::Grpc,
        purpose: Purpose::Traffic,
        x_backend: false,
    })
}

/// What is known of a Service port.
type Facts<'a> = &'a dyn Fn(&ServicePort) -> BackendFacts;

/// Where the spans of a policy go, or why they go nowhere (RG-4).
fn resolve(
    policy: &TelemetryPolicy,
    resources: &Resources,
    facts: Facts<'_>,
) -> Result<Option<ServicePort>, Problem> {
    let Some(provider) = enabled(policy).and_then(|config| config.provider.as_ref()) else {
        return Ok(None);
    };
    let place = "tracing.provider.backendRef";
    let written = &provider.backend_ref;
    let Some(target) = collector(policy) else {
        let kind = written.kind.as_deref().unwrap_or("Service");
        let group = written.group.as_deref().unwrap_or_default();
        let problem = if group.is_empty() && kind == "Service" {
            let message = format!("port is not set; name a port of Service `{}`", written.name);
            Problem::new(ConditionReason::BackendNotFound, message)
        } else {
            let what = syntax::kind_of_group(kind, &written.name, group);
            let message = format!("{what} takes no spans; refer to a Service of the core group");
            Problem::new(ConditionReason::InvalidKind, message)
        };
        return Err(problem.at(place));
    };
    let reference = Reference {
        from_kind: Kind::TelemetryPolicy,
        from_namespace: &policy.metadata.namespace,
        to_kind: Kind::Service,
        to: &target.service,
    };
    reference.check(resources).map_err(|problem| problem.at(place))?;
    match facts(&target).problem {
        Some(problem) => Err(problem.at(place)),
        None => Ok(Some(target)),
    }
}

/// What a Gateway has traced by a policy that holds for it, and who takes the spans.
pub(super) fn tracing(
    policy: &TelemetryPolicy,
    gateway: &GatewayId,
    resources: &Resources,
    facts: Facts<'_>,
) -> Option<(Tracing, ServicePort)> {
    let config = enabled(policy)?;
    let target = resolve(policy, resources, facts).ok()??;
    let tracing = compile(config, gateway, &target, &mut Vec::new()).ok()?;
    Some((tracing, target))
}

/// The settings of a policy. What is left out of them is noted.
fn compile(
    config: &TracingConfig,
    gateway: &GatewayId,
    target: &ServicePort,
    notes: &mut Vec<String>,
) -> Result<Tracing, Problem> {
    let headers = config.provider.iter().flat_map(|provider| &provider.headers);
    let default_name = || format!("{}.{}", gateway.name, gateway.namespace);
    let service_name = config.service_name.clone().unwrap_or_else(default_name);
    Ok(Tracing {
        collector: target.key(),
        headers: headers.map(header).collect::<Result<_, _>>()?,
        sampling: rate(config.sampling_rate.as_ref(), "samplingRate")?,
        parent_based: config.parent_based_sampling.as_ref().map_or(Ok(None), parent_based)?,
        service_name: service_name.into(),
        span_name: config.span_name.as_deref().map(Arc::from),
        attributes: attributes(&config.attributes, notes)?,
    })
}

fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(ConditionReason::Invalid, message)
}

/// Whether something is asked for by its mode.
fn is_enabled(mode: Option<&str>, place: &str) -> Result<bool, Problem> {
    match mode {
        Some(ENABLED) => Ok(true),
        None | Some("Disabled" | "ImplementationDefault") => Ok(false),
        Some(other) => Err(invalid(format!("{place} `{other}` is not known"))),
    }
}

/// How much is recorded of what the caller has recorded; none where the caller is not followed.
fn parent_based(written: &ParentBasedSampling) -> Result<Option<SamplingRate>, Problem> {
    let ParentBasedSampling { mode, sampling_rate } = written;
    if !is_enabled(mode.as_deref(), "tracing.parentBasedSampling.mode")? {
        return Ok(None);
    }
    rate(sampling_rate.as_ref(), "parentBasedSampling.samplingRate").map(Some)
}

/// Absent means all.
fn rate(written: Option<&Fraction>, place: &str) -> Result<SamplingRate, Problem> {
    let Some(Fraction { numerator, denominator }) = written else { return Ok(SamplingRate::ALL) };
    let denominator = denominator.unwrap_or(100);
    match (u32::try_from(*numerator), u32::try_from(denominator)) {
        (Ok(numerator), Ok(denominator)) if denominator > 0 && numerator <= denominator => {
            Ok(SamplingRate { numerator, denominator })
        }
        _ => Err(invalid(format!("tracing.{place}: {numerator} of {denominator} is no share"))),
    }
}

fn header(written: &HttpHeader) -> Result<ExportHeader, Problem> {
    let HttpHeader { name, value } = written;
    let wrong = |what: &str| invalid(format!("tracing.provider.headers: `{name}` {what}"));
    let parsed = HeaderName::try_from(name.as_str()).map_err(|_| wrong("is no header name"))?;
    HeaderValue::from_str(value).map_err(|_| wrong("has a value that no header may have"))?;
    if OWN_HEADERS.contains(&parsed.as_str()) || parsed.as_str().ends_with("-bin") {
        return Err(wrong("cannot be set here"));
    }
    Ok(ExportHeader { name: parsed.as_str().into(), value: value.as_str().into() })
}

/// The attributes of a policy, apart from those whose value is not known here.
fn attributes(
    written: &[TracingAttribute],
    notes: &mut Vec<String>,
) -> Result<Vec<SpanAttribute>, Problem> {
    let mut attributes = Vec::with_capacity(written.len());
    for (index, attribute) in written.iter().enumerate() {
        let TracingAttribute { name, source_type, header_name, literal_value, attribute_key } =
            attribute;
        let place = format!("tracing.attributes[{index}] `{name}`");
        let missing = |field: &str| invalid(format!("{place}: {field} is not set"));
        let source = match source_type.as_str() {
            "Header" => {
                let text = header_name.as_deref().ok_or_else(|| missing("headerName"))?;
                let name = HeaderName::try_from(text);
                let name = name.map_err(|_| invalid(format!("{place}: `{text}` is no header")))?;
                AttributeSource::Header(name.as_str().into())
            }
            "Literal" => {
                let text = literal_value.as_deref().ok_or_else(|| missing("literalValue"))?;
                AttributeSource::Literal(text.into())
            }
            "Attribute" => {
                let key = attribute_key.as_deref().ok_or_else(|| missing("attributeKey"))?;
                let Some(source) = known(key) else {
                    notes.push(format!(
                        "{place}: `{key}` is not supported, and the attribute left out"
                    ));
                    continue;
                };
                source
            }
            other => return Err(invalid(format!("{place}: sourceType `{other}` is not known"))),
        };
        attributes.push(SpanAttribute { name: name.as_str().into(), source });
    }
    Ok(attributes)
}

fn known(key: &str) -> Option<AttributeSource> {
    let name = |text: &str| HeaderName::try_from(text).ok().map(|name| Arc::from(name.as_str()));
    if let Some(header) = key.strip_prefix("http.request.header.") {
        return name(header).map(AttributeSource::RequestHeader);
    }
    if let Some(header) = key.strip_prefix("http.response.header.") {
        return name(header).map(AttributeSource::ResponseHeader);
    }
    KnownAttribute::parse(key).map(AttributeSource::Known)
}

/// What the status of a policy is made of, beside the policy itself.
pub(super) struct Surroundings<'a> {
    pub(super) resources: &'a Resources,
    pub(super) options: &'a Options,
    /// All policies that are for a Gateway.
    pub(super) policies: &'a dyn Fn(&GatewayId) -> Vec<&'a Arc<TelemetryPolicy>>,
    pub(super) is_ours: &'a dyn Fn(&GatewayId) -> bool,
    pub(super) facts: Facts<'a>,
}

/// The status of a policy: an entry for each Gateway that is ours, or that is not there; without any it is
/// none of our business.
pub(super) fn status(policy: &TelemetryPolicy, around: &Surroundings<'_>) -> Option<PolicyStatus> {
    let gateways: BTreeSet<GatewayId> = gateways(policy).collect();
    let concerns_us =
        |id: &GatewayId| !around.resources.gateways.contains_key(id) || (around.is_ours)(id);
    let gateways: Vec<_> = gateways.into_iter().filter(concerns_us).collect();
    let resolved = resolve(policy, around.resources, around.facts);
    let collector = resolved.as_ref().ok().and_then(Option::as_ref);
    let note = collector.and_then(|target| (around.facts)(target).note(target));
    let (problem, generation) = (resolved.as_ref().err(), policy.metadata.generation);
    let resolved_refs = summary(ConditionType::ResolvedRefs, problem, note.as_slice(), generation);
    let ancestors = gateways.into_iter().map(|gateway| {
        let conditions = vec![accepted(policy, &gateway, around), resolved_refs.clone()];
        policy::ancestor(&gateway, conditions, around.options)
    });
    let ancestors: Vec<_> = ancestors.collect();
    (!ancestors.is_empty()).then_some(PolicyStatus { ancestors })
}

fn accepted(policy: &TelemetryPolicy, gateway: &GatewayId, around: &Surroundings<'_>) -> Condition {
    let mut problems = Vec::new();
    if !around.resources.gateways.contains_key(gateway) {
        let message = format!("Gateway `{gateway}` does not exist");
        problems.push(Problem::new(ConditionReason::TargetNotFound, message));
    } else if let Some(holder) = holder((around.policies)(gateway).into_iter())
        && holder.metadata.name != policy.metadata.name
    {
        let (kind, name) = (Kind::TelemetryPolicy, &holder.metadata.name);
        let message = format!(
            "{kind} `{}/{name}`, which is older or comes first by name, is for the same Gateway; \
             remove one of the two",
            holder.metadata.namespace
        );
        problems.push(Problem::new(ConditionReason::Conflicted, message));
    }
    let mut notes = notes(policy);
    problems.extend(refused(policy, gateway, &mut notes));
    summary(ConditionType::Accepted, &problems, &notes, policy.metadata.generation)
}

/// Why the settings of a policy cannot be taken, whoever takes the spans.
fn refused(
    policy: &TelemetryPolicy,
    gateway: &GatewayId,
    notes: &mut Vec<String>,
) -> Option<Problem> {
    let Some(config) = &policy.spec.tracing else {
        return Some(invalid("tracing is not set; the policy says nothing without it"));
    };
    match is_enabled(config.mode.as_deref(), "tracing.mode") {
        Ok(true) => {}
        Ok(false) => return None,
        Err(problem) => return Some(problem),
    }
    if config.provider.is_none() {
        return Some(invalid("tracing.provider is not set; mode Enabled needs it"));
    }
    let service = NamespacedName::new(gateway.namespace.clone(), "");
    let nowhere = ServicePort {
        service,
        port: 0,
        routes: RouteKind::Grpc,
        purpose: Purpose::Traffic,
        x_backend: false,
    };
    compile(config, gateway, &nowhere, notes).err()
}

/// What is worth knowing of a policy, whichever Gateway it is for.
fn notes(policy: &TelemetryPolicy) -> Vec<String> {
    let mut notes = Vec::new();
    for (index, target) in policy.spec.target_refs.iter().enumerate() {
        if !is_gateway(target) {
            let what = syntax::kind_of_group(&target.kind, &target.name, &target.group);
            notes.push(format!(
                "targetRefs[{index}]: {what} is no Gateway, and the policy has no effect on it"
            ));
        }
    }
    let mode = policy.spec.tracing.as_ref().map(|config| config.mode.as_deref());
    if let Some(None | Some("ImplementationDefault")) = mode {
        notes.push("nothing is traced where tracing.mode is not Enabled".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_protocol_itself_are_refused_and_others_go_with_every_call() {
        let header = |name: &str| {
            let written = HttpHeader { name: name.to_owned(), value: "1".to_owned() };
            header(&written).map_err(|problem| problem.message)
        };
        for own in [
            "Connection",
            "Content-Length",
            "Content-Type",
            "Grpc-Accept-Encoding",
            "Grpc-Encoding",
            "Grpc-Timeout",
            "Host",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Transfer-Encoding",
            "Upgrade",
            "Trace-Bin",
        ] {
            let message = format!("tracing.provider.headers: `{own}` cannot be set here");
            assert_eq!(header(own).expect_err("it is the protocol's"), message);
        }
        for others in ["Authorization", "User-Agent", "X-Tenant"] {
            assert_eq!(&*header(others).expect("it is free").name, others.to_lowercase());
        }
    }
}
