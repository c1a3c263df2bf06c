//! Object metadata, as far as the Gateway API gives it a meaning.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The part of Kubernetes' `ObjectMeta` that routing and status depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Name, unique per kind and namespace.
    pub name: Arc<str>,
    /// Namespace; empty for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Which of all objects that ever had this name it is. Set by an API server, and kept for
    /// Gateways alone: what is made for them names it as that of its owner (IN-2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Box<str>>,
    /// Labels; those of Namespaces decide `allowedRoutes` with a selector (AR-5).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When the object was made; older routes win ties (HR-2). Absent sorts as the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// Generation of the spec, echoed in every condition (ST-2). 0 where nothing counts it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: i64,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl ObjectMeta {
    /// Metadata of a namespaced object.
    pub fn namespaced(namespace: &str, name: &str) -> Self {
        Self { name: name.into(), namespace: namespace.into(), ..Self::default() }
    }

    /// Metadata of a cluster-scoped object.
    pub fn cluster(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}
