//! XTelemetryPolicy.

use serde::{Deserialize, Serialize};

use crate::{BackendObjectReference, Fraction, HttpHeader, LocalPolicyTargetReference, ObjectMeta};

/// What Gateways tell of their requests, and whom: traces of them. Experimental.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetryPolicy {
    /// Metadata; Gateways of the same namespace alone can be meant.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: TelemetryPolicySpec,
}

/// Spec of a [`TelemetryPolicy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TelemetryPolicySpec {
    /// Gateways, 1 to 16.
    pub target_refs: Vec<LocalPolicyTargetReference>,
    /// Distributed tracing; required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingConfig>,
}

/// Distributed tracing. All but the mode is for the mode `Enabled` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingConfig {
    /// `Enabled`, `Disabled` or `ImplementationDefault`, which absent means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Who takes the spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<TracingProvider>,
    /// The share of new traces that are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling_rate: Option<Fraction>,
    /// Whether what the caller decided is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_based_sampling: Option<ParentBasedSampling>,
    /// `service.name` of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Name of every span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_name: Option<String>,
    /// Attributes of every span, beside those that it has anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<TracingAttribute>,
}

/// Who takes spans by OTLP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingProvider {
    /// A Service.
    pub backend_ref: BackendObjectReference,
    /// Headers of every export, 16 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
}

/// What the sampling decision of a caller means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentBasedSampling {
    /// `Enabled`, `Disabled` or `ImplementationDefault`, which absent means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The share that is recorded of what the caller records; absent means all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling_rate: Option<Fraction>,
}

/// An attribute of every span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingAttribute {
    /// Its key.
    pub name: String,
    /// `Header`, `Literal` or `Attribute`: which of the fields below is set.
    pub source_type: String,
    /// A header of the request, or else of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_name: Option<String>,
    /// A fixed text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub literal_value: Option<String>,
    /// A key of the semantic conventions of OpenTelemetry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute_key: Option<String>,
}
