//! Parameters of classes and Gateways (GC-3, IN-3).
//!
//! They say how proxies run in a cluster. Without one they are judged all the same, so that a folder of
//! manifests shows what a cluster would say, and a note tells that they have no effect.

use std::sync::Arc;

use gwapi_model::status::ConditionReason;
use gwapi_model::validate::validate;
use gwapi_model::{
    GATEWAY_GROUP, GWAPI_GROUP, Gateway, GatewayClass, GatewayParameters, GatewayParametersSpec,
    Kind, NamespacedName, Resource, Resources,
};

use super::conditions::Problem;
use super::{Options, syntax};

/// What a reference to parameters leads to.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    /// The parameters, if there are any.
    pub(super) found: Option<Arc<GatewayParameters>>,
    /// Why they cannot be had.
    pub(super) problem: Option<Problem>,
    /// What is worth knowing although nothing is wrong.
    pub(super) note: Option<String>,
}

/// Problems of one object that its referrer's condition tells.
const TOLD: usize = 3;

/// The parameters of a class.
pub(super) fn of_class(
    class: &GatewayClass,
    resources: &Resources,
    options: &Options,
) -> Parameters {
    const PLACE: &str = "spec.parametersRef";
    let Some(reference) = &class.spec.parameters_ref else { return Parameters::default() };
    let (group, kind, name) = (&reference.group, &reference.kind, &reference.name);
    if !is_ours(group, kind) {
        return foreign(group, kind, name, options).at(PLACE);
    }
    match &reference.namespace {
        Some(namespace) => {
            find(&NamespacedName::new(namespace.as_str(), name.as_str()), resources, options)
        }
        None => Parameters::invalid(format!(
            "namespace is missing: GatewayParameters `{name}` live in one"
        )),
    }
    .at(PLACE)
}

/// The parameters of a Gateway itself, which live in its namespace.
pub(super) fn of_gateway(
    gateway: &Gateway,
    resources: &Resources,
    options: &Options,
) -> Parameters {
    const PLACE: &str = "spec.infrastructure.parametersRef";
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let Some(reference) = infrastructure.and_then(|it| it.parameters_ref.as_ref()) else {
        return Parameters::default();
    };
    let (group, kind, name) = (&reference.group, &reference.kind, &reference.name);
    if !is_ours(group, kind) {
        return foreign(group, kind, name, options).at(PLACE);
    }
    let namespace = &*gateway.metadata.namespace;
    find(&NamespacedName::new(namespace, name.as_str()), resources, options).at(PLACE)
}

/// What a Gateway runs by: the defaults of its class, and what its own parameters set. Both may be
/// fine, and not together.
pub(super) fn together(
    class: Option<&GatewayParameters>,
    gateway: Option<&GatewayParameters>,
) -> Result<GatewayParametersSpec, Problem> {
    let (Some(class), Some(gateway)) = (class, gateway) else {
        return Ok(class.or(gateway).map(|it| it.spec.clone()).unwrap_or_default());
    };
    let merged = GatewayParameters {
        metadata: gateway.metadata.clone(),
        spec: class.spec.overridden_by(&gateway.spec),
    };
    match violations(&merged) {
        Some(why) => Err(Problem::new(
            ConditionReason::InvalidParameters,
            format!(
                "spec.infrastructure.parametersRef: GatewayParameters `{}` do not go together with \
                 `{}` of the class: {why}",
                gateway.metadata.name, class.metadata.name
            ),
        )),
        None => Ok(merged.spec),
    }
}

/// The parameters that a class refers to, if they are of our kind.
pub(super) fn target_of_class(class: &GatewayClass) -> Option<NamespacedName> {
    let reference = class.spec.parameters_ref.as_ref()?;
    let namespace = reference.namespace.as_deref()?;
    is_ours(&reference.group, &reference.kind)
        .then(|| NamespacedName::new(namespace, reference.name.as_str()))
}

/// The parameters that a Gateway refers to, if they are of our kind.
pub(super) fn target_of_gateway(gateway: &Gateway) -> Option<NamespacedName> {
    let reference = gateway.spec.infrastructure.as_ref()?.parameters_ref.as_ref()?;
    is_ours(&reference.group, &reference.kind)
        .then(|| NamespacedName::new(&*gateway.metadata.namespace, reference.name.as_str()))
}

fn is_ours(group: &str, kind: &str) -> bool {
    group == GWAPI_GROUP && kind == Kind::GatewayParameters.as_str()
}

/// Parameters of another kind: refused, save for those of another implementation where manifests of
/// others are served.
fn foreign(group: &str, kind: &str, name: &str, options: &Options) -> Parameters {
    let named = syntax::kind_of_group(kind, name, group);
    if options.serves_any_controller() && ![GWAPI_GROUP, GATEWAY_GROUP].contains(&group) {
        let note = format!("not read: {named} belongs to another implementation");
        return Parameters { note: Some(note), ..Parameters::default() };
    }
    Parameters::invalid(format!(
        "{named} is no kind of parameters that is supported; name GatewayParameters of group \
         `{GWAPI_GROUP}`, or remove the reference"
    ))
}

fn find(name: &NamespacedName, resources: &Resources, options: &Options) -> Parameters {
    let Some(found) = resources.gateway_parameters.get(name) else {
        return Parameters::invalid(format!("GatewayParameters `{name}` do not exist"));
    };
    let why = violations(found).or_else(|| reserved_host_port(&found.spec, options));
    if let Some(why) = why {
        return Parameters::invalid(format!("GatewayParameters `{name}` are not valid: {why}"));
    }
    let note = || format!("GatewayParameters `{name}` have no effect without a cluster");
    Parameters {
        found: Some(found.clone()),
        problem: None,
        note: (!options.provisioned()).then(note),
    }
}

/// A port that proxies keep to themselves is not opened on nodes.
fn reserved_host_port(spec: &GatewayParametersSpec, options: &Options) -> Option<String> {
    let ports = spec.workload.host_ports.iter().map(|it| it.port.get()).enumerate();
    let (index, port) =
        ports.into_iter().find(|(_, port)| options.reserved_ports.contains(port))?;
    Some(format!(
        "spec.workload.hostPorts[{index}].port: {port} is reserved for the proxies' own use, and no \
         listener can have it; remove the item"
    ))
}

/// What is wrong with parameters, in one line.
fn violations(parameters: &GatewayParameters) -> Option<String> {
    let violations = validate(&Resource::from(parameters.clone()));
    let mut told: Vec<String> = violations
        .iter()
        .take(TOLD)
        .map(|violation| format!("{}: {}", violation.path, violation.message))
        .collect();
    if violations.len() > TOLD {
        told.push(format!("and {} more", violations.len() - TOLD));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

impl Parameters {
    fn invalid(message: String) -> Self {
        let problem = Problem::new(ConditionReason::InvalidParameters, message);
        Self { problem: Some(problem), ..Self::default() }
    }

    fn at(self, place: &str) -> Self {
        Self {
            problem: self.problem.map(|problem| problem.at(place)),
            note: self.note.map(|note| format!("{place}: {note}")),
            ..self
        }
    }
}
