//! XBackendTrafficPolicy.

use serde::{Deserialize, Serialize};

use crate::{GatewayDuration, ObjectMeta, SessionPersistence};

/// How traffic goes to Services: how much of it may be retries. Experimental.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendTrafficPolicy {
    /// Metadata; Services of the same namespace alone can be meant.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: BackendTrafficPolicySpec,
}

/// Spec of a [`BackendTrafficPolicy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTrafficPolicySpec {
    /// Services, 1 to 16.
    pub target_refs: Vec<LocalPolicyTargetReference>,
    /// How many retries there may be; absent means as many as routes ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_constraint: Option<RetryConstraint>,
    /// Session persistence (SP-3); deprecated in favour of other places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<Box<SessionPersistence>>,
}

/// An object in the policy's namespace as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LocalPolicyTargetReference {
    /// Group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// A bound on retries. What is absent has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryConstraint {
    /// The share of requests that may be retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<RetryBudgetDetails>,
    /// Retries that there may be whatever their share is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_retry_rate: Option<RequestRate>,
}

/// A share of the requests of a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryBudgetDetails {
    /// Percent, 0 to 100; 20 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// The while, a second to an hour; 10 seconds by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<GatewayDuration>,
}

/// So many requests in a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRate {
    /// Requests, 1 to 1,000,000; 10 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i32>,
    /// The while, an hour at most; a second by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<GatewayDuration>,
}
