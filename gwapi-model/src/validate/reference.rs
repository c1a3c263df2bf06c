//! References between objects.

use std::hash::Hash;

use super::checker::Checker;
use super::syntax::{GROUP, KIND, LABEL_NAME, NAME, REFERRED_NAME};
use crate::{
    BackendName, EXPERIMENTAL_GROUP, GATEWAY_GROUP, LocalObjectReference, ObjectReference,
    ParametersReference, ParentReference, Port, SecretObjectReference,
};

/// `parentRefs` of a route: at most 32, distinct (RT-1).
pub(super) fn parents(check: &mut Checker, parents: &[ParentReference]) {
    check.list("parentRefs", parents, 0..=32, |check, parent| {
        let ParentReference { group, kind, namespace, name, section_name, port: _ } = parent;
        object(check, group.as_deref(), kind.as_deref(), name, namespace.as_deref());
        check.optional_text("sectionName", section_name.as_ref(), &NAME);
    });
    distinct_parents(check, parents);
}

/// References to one parent set the same fields of `sectionName` and `port`, to different values
/// (RT-1). The standard channel looks at `sectionName` alone and the experimental one at both:
/// what satisfies either, as a whole, is let through.
fn distinct_parents(check: &mut Checker, parents: &[ParentReference]) {
    if clashes(parents, |parent| (section(parent), None)).next().is_none() {
        return;
    }
    for (index, message) in clashes(parents, |parent| (section(parent), parent.port)) {
        check.field("parentRefs", |check| {
            check.index(index, |check| {
                check.report_with_help(
                    message,
                    "give every reference to the parent its own sectionName or port, or keep one",
                );
            });
        });
    }
}

/// What tells references to one parent apart.
type Fields<'p> = (Option<&'p str>, Option<Port>);

/// The references that are not told apart from an earlier one, or not by the same fields.
fn clashes<'p>(
    parents: &'p [ParentReference],
    fields: impl Fn(&'p ParentReference) -> Fields<'p>,
) -> impl Iterator<Item = (usize, &'static str)> {
    parents.iter().enumerate().filter_map(move |(index, parent)| {
        let (section, port) = fields(parent);
        let same = parents[..index].iter().filter(|earlier| target(earlier) == target(parent));
        let mut earlier = same.map(&fields);
        earlier.find_map(|earlier| {
            if earlier == (section, port) {
                return Some((index, "names the same parent as an earlier entry"));
            }
            let same_fields =
                section.is_some() == earlier.0.is_some() && port.is_some() == earlier.1.is_some();
            (!same_fields).then_some((
                index,
                "names a parent of an earlier entry, but not by the same fields: expected \
                 sectionName and port to be set in all of them or in none",
            ))
        })
    })
}

fn target(parent: &ParentReference) -> impl Eq + Hash + '_ {
    (
        parent.group.as_deref().unwrap_or(GATEWAY_GROUP),
        parent.kind.as_deref().unwrap_or("Gateway"),
        parent.namespace.as_deref().unwrap_or_default(),
        &*parent.name,
    )
}

fn section(parent: &ParentReference) -> Option<&str> {
    parent.section_name.as_deref().filter(|name| !name.is_empty())
}

/// A backend without weight and filters (HB-1).
pub(super) fn backend(check: &mut Checker, reference: BackendName<'_>) {
    let BackendName { group, kind, name, namespace, port } = reference;
    object(check, group, kind, name, namespace);
    backend_port(check, group, kind, port);
}

/// A Service is named with a port (HB-1), an XBackend without.
pub(super) fn backend_port(
    check: &mut Checker,
    group: Option<&str>,
    kind: Option<&str>,
    port: Option<Port>,
) {
    match (group.unwrap_or_default(), kind.unwrap_or("Service")) {
        ("", "Service") if port.is_none() => check.report_with_help(
            "`port` is missing: a Service is named together with a port",
            "add the port of the Service, such as `port: 80`",
        ),
        (EXPERIMENTAL_GROUP, "XBackend") if port.is_some() => {
            check.field("port", |check| check.report("an XBackend is named without a port"));
        }
        _ => {}
    }
}

/// A Secret, or what an implementation takes instead (TL-1).
pub(super) fn secret(check: &mut Checker, reference: &SecretObjectReference) {
    let SecretObjectReference { group, kind, name, namespace } = reference;
    object(check, group.as_deref(), kind.as_deref(), name, namespace.as_deref());
}

/// CA certificates (TL-5); a ClusterTrustBundle lives in no namespace (TL-9).
pub(super) fn ca_certificate(check: &mut Checker, reference: &ObjectReference) {
    let ObjectReference { group, kind, name, namespace } = reference;
    object(check, Some(group), Some(kind), name, namespace.as_deref());
    if group == "certificates.k8s.io" && kind == "ClusterTrustBundle" && namespace.is_some() {
        check.field("namespace", |check| {
            check.report("a ClusterTrustBundle is named without a namespace");
        });
    }
}

/// An object in the same namespace (IN-3, HF-10).
pub(super) fn local(check: &mut Checker, reference: &LocalObjectReference) {
    object(check, Some(&reference.group), Some(&reference.kind), &reference.name, None);
}

/// Parameters of a class (GC-3).
pub(super) fn parameters(check: &mut Checker, reference: &ParametersReference) {
    let ParametersReference { group, kind, name, namespace } = reference;
    object(check, Some(group), Some(kind), name, namespace.as_deref());
}

pub(super) fn object(
    check: &mut Checker,
    group: Option<&str>,
    kind: Option<&str>,
    name: &str,
    namespace: Option<&str>,
) {
    if let Some(group) = group {
        check.text("group", group, &GROUP);
    }
    if let Some(kind) = kind {
        check.text("kind", kind, &KIND);
    }
    check.text("name", name, &REFERRED_NAME);
    if let Some(namespace) = namespace {
        check.text("namespace", namespace, &LABEL_NAME);
    }
}
