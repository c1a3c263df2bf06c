//! ReferenceGrants: who may refer to what across namespaces (RG-1 to RG-5).

use gwapi_model::{Kind, NamespacedName, Resources};

/// A reference from an object of one kind to an object of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference<'a> {
    /// Kind that refers.
    pub(super) from_kind: Kind,
    /// Namespace of the object that refers.
    pub(super) from_namespace: &'a str,
    /// Kind referred to.
    pub(super) to_kind: Kind,
    /// The object referred to, whether it exists or not.
    pub(super) to: &'a NamespacedName,
}

impl Reference<'_> {
    /// Whether the reference leaves its namespace, so that it needs a grant (RG-2).
    pub(super) fn is_foreign(&self) -> bool {
        *self.from_namespace != *self.to.namespace
    }

    /// Whether the reference may be followed. It never tells whether the target exists (RG-5).
    pub(super) fn is_permitted(&self, resources: &Resources) -> bool {
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
