//! GatewayClasses: whether they are ours, and what we say about them.

use std::sync::Arc;

use gwapi_model::status::{
    Condition, ConditionReason, ConditionType, GatewayClassStatus, Status, SupportedFeature,
};
use gwapi_model::{Gateway, GatewayClass, GatewayParameters, Resources};

use super::Options;
use super::conditions::{fails, holds, summary};
use super::parameters::{self, Parameters};
use crate::features::{self, InstalledBundle, SUPPORTED_BUNDLES};
use crate::ir::GatewayId;

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

/// The class that a Gateway names, if there is one.
pub(super) fn of_gateway<'r>(
    gateway: &Gateway,
    resources: &'r Resources,
) -> Option<&'r GatewayClass> {
    let name = GatewayId::new("", gateway.spec.gateway_class_name.as_str());
    resources.gateway_classes.get(&name).map(|class| &**class)
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
    let generation = class.metadata.generation;
    let accepted = summary(ConditionType::Accepted, &parameters.problem, &notes, generation);
    let version = options.installed_bundle.as_ref().map(|it| supported_version(it, generation));
    let conditions = std::iter::once(accepted).chain(version).collect();
    let features = features::claimed(
        options.installed_bundle.as_ref(),
        options.provisioned(),
        options.cluster_trust_bundles,
    );
    Some(Status::GatewayClass(Box::new(GatewayClassStatus {
        conditions,
        supported_features: features
            .into_iter()
            .map(|name| SupportedFeature { name: name.to_owned() })
            .collect(),
    })))
}

/// GC-4; what is not supported is served as well as it can be.
fn supported_version(bundle: &InstalledBundle, generation: i64) -> Condition {
    let condition_type = ConditionType::SupportedVersion;
    if bundle.is_supported() {
        return holds(condition_type, ConditionReason::SupportedVersion, "", generation);
    }
    let message = format!(
        "the CRDs of the Gateway API are of version {bundle}, and {SUPPORTED_BUNDLES} are supported; \
         what they have in common is served"
    );
    fails(condition_type, ConditionReason::UnsupportedVersion, message, generation)
}

/// GC-1.
fn is_ours(class: &GatewayClass, options: &Options) -> bool {
    options.serves_any_controller() || class.spec.controller_name == options.controller_name
}
