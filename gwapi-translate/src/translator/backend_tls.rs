//! BackendTLSPolicies: what one asks of endpoints, and its status (BT-1 to BT-10).
//!
//! A policy never makes traffic less safe than was asked for: one that cannot be honoured takes the
//! Service port down (BT-5), and one that loses against an older policy leaves that one in place.

use std::sync::Arc;

use gwapi_model::status::{ConditionReason, ConditionType, PolicyStatus};
use gwapi_model::{
    BackendTlsPolicy, BackendTlsValidation, LocalObjectReference, NamespacedName, ObjectId,
    Resources, SYSTEM_CA_CERTIFICATES, ServicePort as ModelPort, SubjectAltName as WrittenName,
    SubjectAltNameType,
};

use super::conditions::{Problem, summary};
use super::{Options, ca_certificates, policy, syntax};
use crate::ir::{BackendTls, BackendTrust, SubjectAltName};

/// The ConfigMaps and ClusterTrustBundles that a policy refers to, there or not.
pub(super) fn references(policy: &BackendTlsPolicy) -> impl Iterator<Item = ObjectId> + '_ {
    authorities(&policy.metadata.namespace, &policy.spec.validation)
}

/// The ConfigMaps and ClusterTrustBundles that a validation of a namespace refers to, there or not.
pub(super) fn authorities<'a>(
    namespace: &'a str,
    validation: &'a BackendTlsValidation,
) -> impl Iterator<Item = ObjectId> + 'a {
    let references = validation.ca_certificate_refs.iter();
    references.filter_map(move |reference| authority(namespace, reference))
}

fn authority(namespace: &str, reference: &LocalObjectReference) -> Option<ObjectId> {
    let LocalObjectReference { group, kind, name } = reference;
    ca_certificates::target(namespace, group, kind, name)
}

/// What a policy asks for, as far as it can be told from the policy and its ConfigMaps.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) tls: Option<BackendTls>,
    /// Why it is not accepted.
    pub(super) refused: Vec<Problem>,
    /// References that do not resolve.
    pub(super) unresolved: Vec<Problem>,
}

/// What endpoints have to prove; `None` where the policy cannot be honoured.
pub(super) fn tls(
    policy: &BackendTlsPolicy,
    resources: &Resources,
    options: &Options,
) -> Option<BackendTls> {
    judge_policy(policy, resources, options).tls
}

fn judge_policy(policy: &BackendTlsPolicy, resources: &Resources, options: &Options) -> Verdict {
    judge(&policy.metadata.namespace, &policy.spec.validation, resources, options)
}

/// Judges what an object of a namespace asks of endpoints.
pub(super) fn judge(
    namespace: &str,
    validation: &BackendTlsValidation,
    resources: &Resources,
    options: &Options,
) -> Verdict {
    let mut verdict = Verdict::default();
    let sources = (resources, options);
    let trust = match trust(namespace, validation, sources, &mut verdict.unresolved) {
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
        mutual: false,
    });
    verdict
}

/// BT-4, BT-5: those references that are good count.
fn trust(
    namespace: &str,
    validation: &BackendTlsValidation,
    (resources, options): (&Resources, &Options),
    unresolved: &mut Vec<Problem>,
) -> Result<BackendTrust, Problem> {
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
        let named = authority(namespace, reference);
        match ca_certificates::served(named, options.cluster_trust_bundles) {
            Err(instead) => {
                let LocalObjectReference { group, kind, name } = reference;
                let what = syntax::kind_of_group(kind, name, group);
                let message = format!("{what} holds no CA certificates; refer to {instead}");
                unresolved.push(Problem::new(ConditionReason::InvalidKind, message).at(place));
            }
            Ok(object) => match ca_certificates::read(&object, resources) {
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

/// What the status of a policy is made of, beside the policy itself.
pub(super) type Surroundings<'a> = policy::Surroundings<'a, BackendTlsPolicy>;

/// The status of a policy: an entry for each Gateway of ours that sends requests to what the policy is
/// for; without any it is none of our business (BT-9).
pub(super) fn status(policy: &BackendTlsPolicy, around: &Surroundings<'_>) -> Option<PolicyStatus> {
    let effects = policy::effects(policy, around);
    if effects.is_empty() {
        return None;
    }
    let judged = judge_policy(policy, around.resources, around.options);
    let Verdict { refused, unresolved, .. } = judged;
    let notes: &[String] = match policy.spec.options.is_empty() {
        true => &[],
        false => &["spec.options are not known, and have no effect".to_owned()],
    };
    let generation = policy.metadata.generation;
    let resolved = summary(ConditionType::ResolvedRefs, &unresolved, &[], generation);
    let ancestors = effects.into_iter().map(|(gateway, effect)| {
        let accepted = effect.accepted(&refused, notes, generation);
        policy::ancestor(&gateway, vec![accepted, resolved.clone()], around.options)
    });
    Some(PolicyStatus { ancestors: ancestors.collect() })
}

/// BT-8: what keeps TLS from being spoken to ports of a Service.
pub(super) fn unfit(service: &NamespacedName, ports: &[&ModelPort]) -> Option<Problem> {
    ports.iter().all(|port| port.protocol.as_deref() == Some("UDP")).then(|| {
        Problem::new(
            ConditionReason::Invalid,
            format!("TLS cannot be spoken to Service `{service}`: the port is a UDP port"),
        )
    })
}
