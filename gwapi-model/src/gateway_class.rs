//! GatewayClass.

use serde::{Deserialize, Serialize};

use crate::{ObjectMeta, ParametersReference};

/// Which controller serves the Gateways of a class (GC-1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayClass {
    /// Metadata; cluster-scoped.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: GatewayClassSpec,
}

/// Spec of a [`GatewayClass`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// Domain-prefixed name of the controller.
    pub controller_name: String,
    /// Parameters of the class (GC-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_ref: Option<ParametersReference>,
    /// For humans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
