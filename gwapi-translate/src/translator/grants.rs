//! ReferenceGrants: who may refer to what across namespaces (RG-1 to RG-5).

use gwapi_model::status::ConditionReason;
use gwapi_model::{Kind, NamespacedName, ObjectId, Resources};

use super::conditions::Problem;
use super::holder::Holder;

/// A reference from an object of one kind to an object of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    /// Kind that refers.
    pub(super) from_kind: Kind,
    /// Namespace of the object that refers.
    pub(super) from_namespace: &'a str,
    /// Kind referred to.
    pub(super) to_kind: Kind,
    /// The object referred to, whether it exists or not.
    pub(super) to: &'a NamespacedName,
}

impl<'a> Reference<'a> {
    /// A reference of an object that holds listeners.
    pub(super) fn of_holder(holder: &'a Holder, to_kind: Kind, to: &'a NamespacedName) -> Self {
        let from_namespace = &holder.name().namespace;
        Self { from_kind: holder.kind(), from_namespace, to_kind, to }
    }

    /// A reference of an object.
    pub(crate) fn of(from: &'a ObjectId, to_kind: Kind, to: &'a NamespacedName) -> Self {
        Self { from_kind: from.kind, from_namespace: &from.namespace, to_kind, to }
    }

    /// Says which grant is missing where the reference may not be followed. It comes before every other
    /// check, so that the answer does not tell whether the target exists (RG-5).
    pub(super) fn check(&self, resources: &Resources) -> Result<(), Problem> {
        if self.is_permitted(resources) {
            return Ok(());
        }
        let Self { from_kind, from_namespace, to_kind, to } = self;
        let is_spelt =
            matches!(from_kind, Kind::HttpRoute | Kind::TelemetryPolicy | Kind::XBackend);
        let article = if is_spelt { "an" } else { "a" };
        Err(Problem::new(
            ConditionReason::RefNotPermitted,
            format!(
                "no ReferenceGrant in namespace `{}` lets {article} {from_kind} of namespace \
                 `{from_namespace}` refer to {to_kind} `{}`",
                to.namespace, to.name
            ),
        ))
    }

    /// Whether the reference leaves its namespace, so that it needs a grant (RG-2).
    fn is_foreign(&self) -> bool {
        *self.from_namespace != *self.to.namespace
    }

    /// Whether the reference may be followed. It never tells whether the target exists (RG-5).
    pub(crate) fn is_permitted(&self, resources: &Resources) -> bool {
        if !self.is_foreign() {
            return true;
        }
        let first = NamespacedName::new(self.to.namespace.clone(), "");
        resources
            .reference_grants
            .range(first..)
            .take_while(|(name, _)| name.namespace == self.to.namespace)
            .any(|(_, grant)| {
                let from = grant.spec.from.iter().any(|from| {
                    from.group == self.from_kind.group()
                        && from.kind == self.from_kind.as_str()
                        && from.namespace == self.from_namespace
                });
                let to = grant.spec.to.iter().any(|to| {
                    to.group == self.to_kind.group()
                        && to.kind == self.to_kind.as_str()
                        && to.name.as_ref().is_none_or(|name| **name == *self.to.name)
                });
                from && to
            })
    }
}
