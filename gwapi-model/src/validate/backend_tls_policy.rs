//! BackendTLSPolicy (BT-1, BT-3, BT-4).

use super::checker::{Checker, Member};
use super::reference;
use super::syntax::{
    ANNOTATION_VALUE, CA_SET, HOSTNAME, NAME, PRECISE_HOSTNAME, SHORT_QUALIFIED_NAME, URI,
};
use crate::{BackendTlsPolicy, BackendTlsValidation, SubjectAltName, SubjectAltNameType};

pub(super) fn backend_tls_policy(check: &mut Checker, policy: &BackendTlsPolicy) {
    check.field("spec", |check| {
        let spec = &policy.spec;
        check.list("targetRefs", &spec.target_refs, 1..=16, |check, target| {
            reference::object(check, Some(&target.group), Some(&target.kind), &target.name, None);
            check.optional_text("sectionName", target.section_name.as_ref(), &NAME);
        });
        distinct_targets(check, policy);
        check.field("validation", |check| validation(check, &spec.validation));
        check.map("options", &spec.options, 16, &SHORT_QUALIFIED_NAME, &ANNOTATION_VALUE);
    });
}

/// BT-1: what is named twice is told apart by sections.
fn distinct_targets(check: &mut Checker, policy: &BackendTlsPolicy) {
    let targets = &policy.spec.target_refs;
    for (index, target) in targets.iter().enumerate() {
        let same = |it: &&crate::PolicyTargetReference| {
            (&it.group, &it.kind, &it.name) == (&target.group, &target.kind, &target.name)
        };
        let mut earlier = targets[..index].iter().filter(same).peekable();
        let section = |it: &crate::PolicyTargetReference| {
            it.section_name.clone().filter(|name| !name.is_empty())
        };
        if earlier.peek().is_none() {
            continue;
        }
        let clashes = section(target).is_none()
            || earlier.any(|it| section(it).is_none() || section(it) == section(target));
        if clashes {
            check.field("targetRefs", |check| {
                check.index(index, |check| {
                    check.report_with_help(
                        "names the same target as an earlier entry",
                        "give every reference to the target a sectionName of its own, or keep one",
                    );
                });
            });
        }
    }
}

pub(super) fn validation(check: &mut Checker, validation: &BackendTlsValidation) {
    let BackendTlsValidation {
        ca_certificate_refs,
        well_known_ca_certificates,
        hostname,
        subject_alt_names,
    } = validation;
    check.list("caCertificateRefs", ca_certificate_refs, 0..=8, reference::local);
    let well_known = well_known_ca_certificates.as_ref().filter(|name| !name.is_empty());
    check.optional_text("wellKnownCACertificates", well_known, &CA_SET);
    match (ca_certificate_refs.is_empty(), well_known) {
        (true, None) => check.report_with_help(
            "`caCertificateRefs` and `wellKnownCACertificates` are missing: expected one of them",
            "refer to a ConfigMap with the key `ca.crt`, or write `wellKnownCACertificates: System`",
        ),
        (false, Some(_)) => check.report_with_help(
            "has both `caCertificateRefs` and `wellKnownCACertificates`: expected one of them",
            "remove one of the two",
        ),
        _ => {}
    }
    check.text("hostname", hostname, &PRECISE_HOSTNAME);
    check.list("subjectAltNames", subject_alt_names, 0..=5, |check, name| {
        let SubjectAltName { name_type, hostname, uri } = name;
        check.one_of("type", name_type.as_str(), SubjectAltNameType::KNOWN);
        let (hostname, uri) = (set(hostname), set(uri));
        let member = |of_type, field, is_set| Member { of_type, field, is_set };
        check.union(
            name_type.as_str(),
            &[
                member("Hostname", "hostname", hostname.is_some()),
                member("URI", "uri", uri.is_some()),
            ],
        );
        check.optional_text("hostname", hostname, &HOSTNAME);
        check.optional_text("uri", uri, &URI);
    });
}

/// An empty text is as good as none.
fn set(text: &Option<String>) -> Option<&String> {
    text.as_ref().filter(|text| !text.is_empty())
}
