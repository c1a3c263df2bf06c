//! BackendTLSPolicies: which one holds for a Service port, what it asks of endpoints, and its status
//! (BT-1 to BT-10).
//!
//! A policy never makes traffic less safe than was asked for: one that cannot be honoured takes the
//! Service port down (BT-5), and one that loses against an older policy leaves that one in place.

use std::collections::BTreeSet;
use std::sync::Arc;

use gwapi_model::status::{
    Condition, ConditionReason, ConditionType, PolicyAncestorStatus, PolicyStatus,
};
use gwapi_model::{
    BackendTlsPolicy, BackendTlsValidation, GATEWAY_GROUP, Kind, LocalObjectReference,
    NamespacedName, ObjectId, ParentReference, PolicyTargetReference, Resources,
    SYSTEM_CA_CERTIFICATES, Service, ServicePort as ModelPort, SubjectAltName as WrittenName,
    SubjectAltNameType,
};

use super::conditions::{Problem, summary};
use super::{Options, ca_certificates, created, syntax};
use crate::ir::{BackendTls, BackendTrust, GatewayId, SubjectAltName};

/// The Service that a target names; `None` where it names something else (BT-1).
fn service(policy: &BackendTlsPolicy, target: &PolicyTargetReference) -> Option<NamespacedName> {
    (target.group.is_empty() && target.kind == Kind::Service.as_str())
        .then(|| NamespacedName::new(policy.metadata.namespace.clone(), target.name.as_str()))
}

/// The Services that a policy is for, there or not.
pub(super) fn services(policy: &BackendTlsPolicy) -> impl Iterator<Item = NamespacedName> + '_ {
    policy.spec.target_refs.iter().filter_map(|target| service(policy, target))
}

/// The ConfigMaps that a policy refers to, there or not.
pub(super) fn references(policy: &BackendTlsPolicy) -> impl Iterator<Item = ObjectId> + '_ {
    let references = policy.spec.validation.ca_certificate_refs.iter();
    references
        .filter_map(|reference| config_map(policy, reference))
        .map(|name| name.object_id(Kind::ConfigMap))
}

fn config_map(
    policy: &BackendTlsPolicy,
    reference: &LocalObjectReference,
) -> Option<NamespacedName> {
    let LocalObjectReference { group, kind, name } = reference;
    ca_certificates::target(&policy.metadata.namespace, group, kind, name)
}

fn section(target: &PolicyTargetReference) -> Option<&str> {
    target.section_name.as_deref().filter(|name| !name.is_empty())
}

/// Whether the first policy goes before the second where both are for the same (BT-2).
fn seniority(policy: &BackendTlsPolicy) -> impl Ord + use<> {
    let NamespacedName { namespace, name } = name(policy);
    (created(&policy.metadata), namespace, name)
}

fn name(policy: &BackendTlsPolicy) -> NamespacedName {
    NamespacedName::new(policy.metadata.namespace.clone(), policy.metadata.name.clone())
}

/// The policy that holds for exactly this target: the oldest of those that name it.
fn holder<'a>(
    policies: &[&'a Arc<BackendTlsPolicy>],
    of: &NamespacedName,
    of_section: Option<&str>,
) -> Option<&'a Arc<BackendTlsPolicy>> {
    let names = |policy: &&&Arc<BackendTlsPolicy>| {
        policy.spec.target_refs.iter().any(|target| {
            service(policy, target).as_ref() == Some(of) && section(target) == of_section
        })
    };
    policies.iter().copied().filter(|policy| names(&policy)).min_by_key(|it| seniority(it))
}

/// The policy that holds for a port of a Service, out of those that are for the Service: one that names
/// the port goes before one that does not (BT-2).
pub(super) fn of_port<'a>(
    policies: &[&'a Arc<BackendTlsPolicy>],
    service: &NamespacedName,
    port: &ModelPort,
) -> Option<&'a Arc<BackendTlsPolicy>> {
    let named = port.name.as_deref().filter(|name| !name.is_empty());
    let named = named.and_then(|name| holder(policies, service, Some(name)));
    named.or_else(|| holder(policies, service, None))
}

/// What a policy asks for, as far as it can be told from the policy and its ConfigMaps.
#[derive(Debug, Default)]
struct Verdict {
    tls: Option<BackendTls>,
    /// Why it is not accepted.
    refused: Vec<Problem>,
    /// References that do not resolve.
    unresolved: Vec<Problem>,
}

/// What endpoints have to prove; `None` where the policy cannot be honoured.
pub(super) fn tls(policy: &BackendTlsPolicy, resources: &Resources) -> Option<BackendTls> {
    judge(policy, resources).tls
}

fn judge(policy: &BackendTlsPolicy, resources: &Resources) -> Verdict {
    let validation = &policy.spec.validation;
    let mut verdict = Verdict::default();
    let trust = match trust(policy, resources, &mut verdict.unresolved) {
        Ok(trust) => Some(trust),
        Err(problem) => {
            verdict.refused.push(problem);
            None
        }
    };
    let names = match identities(validation) {
        Ok(names) => Some(names),
        Err(problem) => {
            verdict.refused.push(problem);
            None
        }
    };
    verdict.tls = trust.zip(names).map(|(trust, (hostname, subject_alt_names))| BackendTls {
        hostname,
        subject_alt_names,
        trust,
        client_certificate: None,
    });
    verdict
}

/// BT-4, BT-5: those references that are good count.
fn trust(
    policy: &BackendTlsPolicy,
    resources: &Resources,
    unresolved: &mut Vec<Problem>,
) -> Result<BackendTrust, Problem> {
    let validation = &policy.spec.validation;
    let invalid = |message: String| Err(Problem::new(ConditionReason::Invalid, message));
    let references = &validation.ca_certificate_refs;
    match validation.well_known_ca_certificates.as_deref().filter(|name| !name.is_empty()) {
        Some(_) if !references.is_empty() => {
            return invalid(
                "validation has both caCertificateRefs and wellKnownCACertificates; remove one"
                    .to_owned(),
            );
        }
        Some(SYSTEM_CA_CERTIFICATES) => return Ok(BackendTrust::System),
        Some(other) => {
            return invalid(format!(
                "wellKnownCACertificates `{other}` is not known; write \
                 `{SYSTEM_CA_CERTIFICATES}`, or refer to a ConfigMap in caCertificateRefs"
            ));
        }
        None if references.is_empty() => {
            return invalid(
                "validation has neither caCertificateRefs nor wellKnownCACertificates; name one"
                    .to_owned(),
            );
        }
        None => {}
    }
    let mut certificates: Vec<Arc<str>> = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        let place = format!("caCertificateRefs[{index}]");
        match config_map(policy, reference) {
            None => {
                let LocalObjectReference { group, kind, name } = reference;
                let what = syntax::kind_of_group(kind, name, group);
                unresolved.push(
                    Problem::new(
                        ConditionReason::InvalidKind,
                        format!("{what} holds no CA certificates; refer to a ConfigMap"),
                    )
                    .at(place),
                );
            }
            Some(name) => match ca_certificates::read(&name, resources) {
                Ok(pem) => certificates.push(pem),
                Err(message) => unresolved.push(
                    Problem::new(ConditionReason::InvalidCACertificateRef, message).at(place),
                ),
            },
        }
    }
    if certificates.is_empty() {
        return Err(Problem::new(
            ConditionReason::NoValidCACertificate,
            "no reference leads to CA certificates, so that no endpoint can be trusted; requests \
             for the Service are answered with 500",
        ));
    }
    Ok(BackendTrust::Certificates(certificates.join("\n").into()))
}

/// BT-3: the server name, and the names that count in its place.
fn identities(
    validation: &BackendTlsValidation,
) -> Result<(Arc<str>, Vec<SubjectAltName>), Problem> {
    let invalid = |message: String| Problem::new(ConditionReason::Invalid, message);
    let hostname = &validation.hostname;
    if !syntax::is_dns_name(hostname) {
        return Err(invalid(format!("validation.hostname `{hostname}` is no DNS name")));
    }
    let mut names = Vec::with_capacity(validation.subject_alt_names.len());
    for (index, written) in validation.subject_alt_names.iter().enumerate() {
        let name = subject_alt_name(written)
            .map_err(|message| invalid(message).at(format!("subjectAltNames[{index}]")))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok((hostname.to_ascii_lowercase().into(), names))
}

fn subject_alt_name(written: &WrittenName) -> Result<SubjectAltName, String> {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match &written.name_type {
        SubjectAltNameType::Hostname => {
            let text = set(&written.hostname).ok_or("hostname is not set")?;
            let hostname = syntax::hostname(&text);
            let hostname = hostname.ok_or_else(|| format!("hostname `{text}` is no DNS name"))?;
            Ok(SubjectAltName::Hostname(hostname))
        }
        SubjectAltNameType::Uri => {
            Ok(SubjectAltName::Uri(set(&written.uri).ok_or("uri is not set")?.into()))
        }
        SubjectAltNameType::Other(other) => Err(format!("type `{other}` is not supported")),
    }
}

/// Tells the Gateways of ours that send requests to some ports of a Service.
type Users<'a> = &'a dyn Fn(&NamespacedName, &dyn Fn(u16) -> bool) -> BTreeSet<GatewayId>;

/// What the status of a policy is made of, beside the policy itself.
pub(super) struct Surroundings<'a> {
    pub(super) resources: &'a Resources,
    pub(super) options: &'a Options,
    /// All policies that are for a Service.
    pub(super) policies: &'a dyn Fn(&NamespacedName) -> Vec<&'a Arc<BackendTlsPolicy>>,
    pub(super) users: Users<'a>,
}

/// The status of a policy: an entry for each Gateway of ours that sends requests to what the policy is
/// for; without any it is none of our business (BT-9).
pub(super) fn status(policy: &BackendTlsPolicy, around: &Surroundings<'_>) -> Option<PolicyStatus> {
    let mut gateways = BTreeSet::new();
    let Verdict { mut refused, unresolved, .. } = judge(policy, around.resources);
    for (index, target) in policy.spec.target_refs.iter().enumerate() {
        let of_target = self::target(policy, target, around, &mut gateways);
        refused.extend(of_target.map(|problem| problem.at(format!("targetRefs[{index}]"))));
    }
    if gateways.is_empty() {
        return None;
    }
    let notes: &[String] = match policy.spec.options.is_empty() {
        true => &[],
        false => &["spec.options are not known, and have no effect".to_owned()],
    };
    let generation = policy.metadata.generation;
    let conditions: Vec<Condition> = vec![
        summary(ConditionType::Accepted, &refused, notes, generation),
        summary(ConditionType::ResolvedRefs, &unresolved, &[], generation),
    ];
    let ancestors = gateways.into_iter().map(|gateway| PolicyAncestorStatus {
        ancestor_ref: ParentReference {
            group: Some(GATEWAY_GROUP.to_owned()),
            kind: Some(Kind::Gateway.as_str().to_owned()),
            namespace: Some(gateway.namespace.to_string()),
            name: gateway.name.to_string(),
            section_name: None,
            port: None,
        },
        controller_name: around.options.controller_name.clone(),
        conditions: conditions.clone(),
    });
    Some(PolicyStatus { ancestors: ancestors.collect() })
}

/// What keeps a policy from one of its targets, and the Gateways that send requests there.
fn target(
    policy: &BackendTlsPolicy,
    target: &PolicyTargetReference,
    around: &Surroundings<'_>,
    gateways: &mut BTreeSet<GatewayId>,
) -> Option<Problem> {
    let Some(service) = service(policy, target) else {
        let what = syntax::kind_of_group(&target.kind, &target.name, &target.group);
        return Some(Problem::new(
            ConditionReason::Invalid,
            format!("{what} is no Service, and the policy has no effect on it"),
        ));
    };
    let not_found = |message: String| Some(Problem::new(ConditionReason::TargetNotFound, message));
    let Some(object) = around.resources.services.get(&service) else {
        gateways.extend((around.users)(&service, &|_| true));
        return not_found(format!("Service `{service}` does not exist"));
    };
    let ports = ports(object, section(target));
    if ports.is_empty() {
        gateways.extend((around.users)(&service, &|_| true));
        let section = section(target).unwrap_or_default();
        return not_found(format!("Service `{service}` has no port named `{section}`"));
    }
    let is_meant = |number: u16| ports.iter().any(|port| port.port.get() == number);
    gateways.extend((around.users)(&service, &is_meant));
    // BT-8.
    if ports.iter().all(|port| port.protocol.as_deref() == Some("UDP")) {
        return Some(Problem::new(
            ConditionReason::Invalid,
            format!("TLS cannot be spoken to Service `{service}`: the port is a UDP port"),
        ));
    }
    let holder = holder(&(around.policies)(&service), &service, section(target))?;
    (name(holder) != name(policy)).then(|| {
        let holder = name(holder);
        Problem::new(
            ConditionReason::Conflicted,
            format!(
                "BackendTLSPolicy `{holder}`, which is older or comes first by name, is for the \
                 same; remove one of the two"
            ),
        )
    })
}

/// The ports that a section means: that of its name, or all of them.
fn ports<'s>(service: &'s Service, section: Option<&str>) -> Vec<&'s ModelPort> {
    let is_meant = |port: &&ModelPort| section.is_none_or(|it| port.name.as_deref() == Some(it));
    service.spec.ports.iter().filter(is_meant).collect()
}
