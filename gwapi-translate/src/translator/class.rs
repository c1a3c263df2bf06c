//! GatewayClasses: whether they are ours, and what we say about them.

use std::sync::Arc;

use gwapi_model::status::{ConditionType, GatewayClassStatus, Status, SupportedFeature};
use gwapi_model::{GatewayClass, GatewayParameters, Resources};

use super::Options;
use super::conditions::summary;
use super::parameters::{self, Parameters};

/// What we serve, by the names of the conformance suite, sorted (GC-5).
const FEATURES: &[&str] = &[
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
    "GatewayRouteHostnameIntersectionPrecedence",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
];

/// What a class means for its Gateways.
#[derive(Clone, Debug)]
pub(super) enum ClassVerdict {
    /// Another controller's, or nobody's: its Gateways are none of our business (GC-7).
    Foreign,
    /// Ours and in order, with the parameters of the class.
    Accepted(Option<Arc<GatewayParameters>>),
    /// Ours, and refused: its Gateways wait (GC-7).
    Refused,
}

/// Judges a class by name; `class` is the object, if there is one.
pub(super) fn verdict(
    class: Option<&GatewayClass>,
    resources: &Resources,
    options: &Options,
) -> ClassVerdict {
    match class {
        None if options.serves_any_controller() => ClassVerdict::Accepted(None),
        None => ClassVerdict::Foreign,
        Some(class) if !is_ours(class, options) => ClassVerdict::Foreign,
        Some(class) => match parameters::of_class(class, resources, options) {
            Parameters { problem: Some(_), .. } => ClassVerdict::Refused,
            parameters => ClassVerdict::Accepted(parameters.found),
        },
    }
}

/// Status of a class; `None` where it is another controller's (GC-1).
///
/// `SupportedVersion` (GC-4) is left out: it compares the version of the cluster's CRDs, which are
/// no part of the ground state.
pub(super) fn status(
    class: &GatewayClass,
    resources: &Resources,
    options: &Options,
) -> Option<Status> {
    if !is_ours(class, options) {
        return None;
    }
    let mut notes = Vec::new();
    if class.spec.controller_name != options.controller_name {
        notes.push(format!(
            "served although spec.controllerName names another controller, `{}`",
            class.spec.controller_name
        ));
    }
    let parameters = parameters::of_class(class, resources, options);
    notes.extend(parameters.note);
    Some(Status::GatewayClass(Box::new(GatewayClassStatus {
        conditions: vec![summary(
            ConditionType::Accepted,
            &parameters.problem,
            &notes,
            class.metadata.generation,
        )],
        supported_features: FEATURES
            .iter()
            .map(|name| SupportedFeature { name: (*name).to_owned() })
            .collect(),
    })))
}

/// GC-1.
fn is_ours(class: &GatewayClass, options: &Options) -> bool {
    options.serves_any_controller() || class.spec.controller_name == options.controller_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_sorted_and_within_the_limit() {
        assert!(FEATURES.is_sorted());
        assert!(FEATURES.len() <= 64);
        assert!(!FEATURES.iter().any(|name| name.starts_with("Mesh")));
    }
}
