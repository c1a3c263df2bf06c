//! ReferenceGrant (RG-1).

use super::checker::Checker;
use super::syntax::{GROUP, KIND, LABEL_NAME, REFERRED_NAME};
use crate::ReferenceGrant;

pub(super) fn reference_grant(check: &mut Checker, grant: &ReferenceGrant) {
    check.field("spec", |check| {
        check.list("from", &grant.spec.from, 1..=16, |check, from| {
            check.text("group", &from.group, &GROUP);
            check.text("kind", &from.kind, &KIND);
            check.text("namespace", &from.namespace, &LABEL_NAME);
        });
        check.list("to", &grant.spec.to, 1..=16, |check, to| {
            check.text("group", &to.group, &GROUP);
            check.text("kind", &to.kind, &KIND);
            check.optional_text("name", to.name.as_ref(), &REFERRED_NAME);
        });
    });
}
