//! ListenerSet: listeners that others add to a Gateway.

use serde::{Deserialize, Serialize};

use crate::{GATEWAY_GROUP, Kind, Listener, NamespacedName, ObjectMeta};

/// Listeners that are added to a Gateway by somebody who may not write the Gateway (LS-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSet {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: ListenerSetSpec,
}

/// Spec of a [`ListenerSet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// The Gateway.
    pub parent_ref: ParentGatewayReference,
    /// Listeners, 1 to 64. An entry has the fields of a Gateway's listener.
    pub listeners: Vec<Listener>,
}

/// Reference of a [`ListenerSet`] to its Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentGatewayReference {
    /// Group; absent means the gateway group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind; absent means Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Namespace; absent means that of the ListenerSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ListenerSet {
    /// The Gateway that the set names; `None` where it names something else.
    pub fn gateway(&self) -> Option<NamespacedName> {
        let ParentGatewayReference { group, kind, namespace, name } = &self.spec.parent_ref;
        let is_gateway = group.as_deref().is_none_or(|group| group == GATEWAY_GROUP)
            && kind.as_deref().is_none_or(|kind| kind == Kind::Gateway.as_str());
        is_gateway.then(|| {
            let own = &*self.metadata.namespace;
            NamespacedName::new(namespace.as_deref().unwrap_or(own), name.as_str())
        })
    }
}
