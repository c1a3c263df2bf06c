//! GatewayClasses: whether they are ours, and what we say about them.

use gwapi_model::status::{
    ConditionReason, ConditionType, GatewayClassStatus, Status, SupportedFeature,
};
use gwapi_model::{GATEWAY_GROUP, GatewayClass};

use super::conditions::{Problem, summary};
use super::{Options, syntax};

/// Group of parameters of our own. No kind of it exists yet.
const OWN_GROUP: &str = "gwapi.dev";

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClassVerdict {
    /// Another controller's, or nobody's: its Gateways are none of our business (GC-7).
    Foreign,
    /// Ours and in order.
    Accepted,
    /// Ours, and refused: its Gateways wait (GC-7).
    Refused,
}

/// Judges a class by name; `class` is the object, if there is one.
pub(super) fn verdict(class: Option<&GatewayClass>, options: &Options) -> ClassVerdict {
    match class {
        None if options.serves_any_controller() => ClassVerdict::Accepted,
        None => ClassVerdict::Foreign,
        Some(class) if !is_ours(class, options) => ClassVerdict::Foreign,
        Some(class) if refusal(class, options).is_some() => ClassVerdict::Refused,
        Some(_) => ClassVerdict::Accepted,
    }
}

/// Status of a class; `None` where it is another controller's (GC-1).
///
/// `SupportedVersion` (GC-4) is left out: it compares the version of the cluster's CRDs, which are
/// no part of the ground state.
pub(super) fn status(class: &GatewayClass, options: &Options) -> Option<Status> {
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
    if let Some(reference) = &class.spec.parameters_ref {
        notes.push(format!(
            "spec.parametersRef is not read: {} belongs to another implementation",
            syntax::kind_of_group(&reference.kind, &reference.name, &reference.group)
        ));
    }
    let refusal = refusal(class, options);
    Some(Status::GatewayClass(Box::new(GatewayClassStatus {
        conditions: vec![summary(
            ConditionType::Accepted,
            &refusal,
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

/// GC-3: no kind of parameters is known, so every reference is refused, save for one to another
/// implementation's kind where such manifests are served.
fn refusal(class: &GatewayClass, options: &Options) -> Option<Problem> {
    let reference = class.spec.parameters_ref.as_ref()?;
    parameters_problem(&reference.group, &reference.kind, &reference.name, options)
        .map(|problem| problem.at("spec.parametersRef"))
}

/// What is wrong with a reference to parameters, of a class or of a Gateway (GC-3, IN-3).
pub(super) fn parameters_problem(
    group: &str,
    kind: &str,
    name: &str,
    options: &Options,
) -> Option<Problem> {
    let own = group == OWN_GROUP || group == GATEWAY_GROUP;
    (own || !options.serves_any_controller()).then(|| {
        Problem::new(
            ConditionReason::InvalidParameters,
            format!(
                "{} is no kind of parameters that is supported; remove the reference",
                syntax::kind_of_group(kind, name, group)
            ),
        )
    })
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
