//! ReferenceGrant.

use serde::{Deserialize, Serialize};

use crate::ObjectMeta;

/// Permission, in the target's namespace, to refer to objects there (RG-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrant {
    /// Metadata; the namespace is that of the targets.
    pub metadata: ObjectMeta,
    /// What is permitted.
    pub spec: ReferenceGrantSpec,
}

/// Spec of a [`ReferenceGrant`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantSpec {
    /// Who may refer, any of these; 1 to 16.
    pub from: Vec<ReferenceGrantFrom>,
    /// To what, any of these; 1 to 16.
    pub to: Vec<ReferenceGrantTo>,
}

/// Objects that may refer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantFrom {
    /// Group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// Objects that may be referred to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrantTo {
    /// Group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name; absent means every object of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
