//! ReferenceGrants that no reference needs (RG-1, RG-2, RG-4).

use std::collections::BTreeSet;
use std::sync::Arc;

use gwapi_model::validate::{FieldPath, closest};
use gwapi_model::{
    EXPERIMENTAL_GROUP, GATEWAY_GROUP, Kind, ObjectId, ReferenceGrant, ReferenceGrantFrom,
    ReferenceGrantTo,
};

use super::{Finding, Input, Lint, spec};
use crate::granted_targets;

pub(super) fn find(input: &Input<'_>, findings: &mut Vec<Finding>) {
    if input.resources.reference_grants.is_empty() {
        return;
    }
    let references = References::of(input);
    for (name, grant) in &input.resources.reference_grants {
        let id = name.object_id(Kind::ReferenceGrant);
        judge(&id, grant, &references, findings);
    }
}

/// Who refers to what across namespaces: kind and namespace of the object that refers, and the target.
struct References(BTreeSet<(Kind, Arc<str>, ObjectId)>);

impl References {
    fn of(input: &Input<'_>) -> Self {
        let all = input.resources.iter().flat_map(|resource| {
            let (kind, namespace) = (resource.kind(), resource.metadata().namespace.clone());
            let targets = granted_targets(&resource).into_iter();
            targets.map(move |target| (kind, namespace.clone(), target))
        });
        Self(all.collect())
    }

    /// Whether an entry for who may refer and one for what to are needed together.
    fn need(
        &self,
        grant: &ReferenceGrant,
        from: &ReferenceGrantFrom,
        to: &ReferenceGrantTo,
    ) -> bool {
        let (Some(from_kind), Some(to_kind)) =
            (known(&from.group, &from.kind), known(&to.group, &to.kind))
        else {
            // Who reads objects of that kind may need it.
            return true;
        };
        self.0.iter().any(|(kind, namespace, target)| {
            *kind == from_kind
                && **namespace == *from.namespace
                && target.kind == to_kind
                && target.namespace == grant.metadata.namespace
                && to.name.as_deref().is_none_or(|name| *name == *target.name)
        })
    }
}

fn known(group: &str, kind: &str) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|known| known.group() == group && known.as_str() == kind)
}

fn judge(
    id: &ObjectId,
    grant: &ReferenceGrant,
    references: &References,
    findings: &mut Vec<Finding>,
) {
    let ReferenceGrant { spec: written, .. } = grant;
    let mut find = |field: FieldPath, message: String, help: &str| {
        let finding = Finding::new(Lint::UnusedGrant, id.clone(), field, message);
        findings.push(finding.with_help(help));
    };
    // What nobody can be is told first: it may be why nothing needs the grant.
    let mut misspelt = false;
    for (index, from) in written.from.iter().enumerate() {
        if let Some(meant) = misspelling(from) {
            misspelt = true;
            let field = spec().field("from").index(index).field("kind");
            let message = format!("the Gateway API has no kind `{}`", from.kind);
            find(field, message, &format!("did you mean `{meant}`?"));
        }
    }
    if misspelt {
        return;
    }
    let need = |from, to| references.need(grant, from, to);
    if !written.from.iter().any(|from| written.to.iter().any(|to| need(from, to))) {
        let local = written.from.iter().all(|from| *from.namespace == *id.namespace);
        let (message, help) = match local {
            true => (
                "it is for its own namespace alone",
                "remove it: references within a namespace need no grant",
            ),
            false => ("no reference needs this grant", HELP),
        };
        return find(spec(), message.to_owned(), help);
    }
    for (index, from) in written.from.iter().enumerate() {
        if !written.to.iter().any(|to| need(from, to)) {
            let field = spec().field("from").index(index);
            let ReferenceGrantFrom { kind, namespace, .. } = from;
            find(field, format!("no {kind} of namespace {namespace} needs this grant"), HELP);
        }
    }
    for (index, to) in written.to.iter().enumerate() {
        if !written.from.iter().any(|from| need(from, to)) {
            let field = spec().field("to").index(index);
            let what = match &to.name {
                Some(name) => format!("{} {name}", to.kind),
                None => format!("a {}", to.kind),
            };
            find(field, format!("no reference to {what} needs this grant"), HELP);
        }
    }
}

const HELP: &str = "remove it, or check group, kind, namespace and name: each has to be equal";

/// What a kind was meant to be that the Gateway API does not have.
fn misspelling(from: &ReferenceGrantFrom) -> Option<&'static str> {
    let is_ours = [GATEWAY_GROUP, EXPERIMENTAL_GROUP].contains(&&*from.group);
    if !is_ours || known(&from.group, &from.kind).is_some() {
        return None;
    }
    let kinds = Kind::ALL.iter().filter(|kind| kind.group() == from.group);
    let kinds: Vec<&'static str> = kinds.map(|kind| kind.as_str()).collect();
    closest(&from.kind, &kinds)
}
