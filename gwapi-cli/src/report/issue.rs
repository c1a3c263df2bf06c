//! Everything that is wrong, in one form: problems of files, conditions, notices.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use gwapi_dataplane::TranslatedFolder;
use gwapi_model::manifest::{Position, Severity};
use gwapi_model::status::{Condition, ConditionReason, ConditionStatus, ConditionType, Status};
use gwapi_model::{
    CONTROLLER_NAME, GATEWAY_GROUP, HttpRoute, Kind, NamespacedName, ObjectId, ParentReference,
};
use gwapi_translate::ir::{BackendTarget, IrKey, IrResource};

use crate::overlay::CommandLine;

/// How bad an issue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Something that was asked for is not served.
    Error,
    /// It is served, and probably not what is meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) position: Option<Position>,
    /// Bytes of the text.
    pub(crate) span: Range<usize>,
}

/// A condition that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BadCondition {
    pub(crate) condition_type: ConditionType,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: ConditionReason,
}

/// Something wrong, or worth knowing.
#[derive(Clone, Debug)]
pub(crate) struct Issue {
    pub(crate) level: Level,
    pub(crate) place: Option<Place>,
    pub(crate) object: Option<ObjectId>,
    /// Listener of the Gateway that it is about.
    pub(crate) listener: Option<String>,
    /// Parent of the route that it is about.
    pub(crate) parent: Option<String>,
    pub(crate) field: Option<String>,
    pub(crate) condition: Option<BadCondition>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// What makes two issues the same one: its place does not, because lines move when text above
/// them is edited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IssueKey {
    level: Level,
    file: Option<String>,
    object: Option<ObjectId>,
    part: Option<String>,
    field: Option<String>,
    condition: Option<BadCondition>,
    message: String,
}

impl Issue {
    fn about(level: Level, object: ObjectId, message: impl Into<String>) -> Self {
        Self {
            level,
            place: None,
            object: Some(object),
            listener: None,
            parent: None,
            field: None,
            condition: None,
            message: message.into(),
            help: None,
        }
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn key(&self) -> IssueKey {
        IssueKey {
            level: self.level,
            file: self.place.as_ref().map(|place| place.file.clone()),
            object: self.object.clone(),
            part: self.listener.clone().or_else(|| self.parent.clone()),
            field: self.field.clone(),
            condition: self.condition.clone(),
            message: self.message.clone(),
        }
    }

    /// Object, part and field: `Gateway default/web, listener https`.
    pub(crate) fn subject(&self) -> String {
        let mut subject = self.object.as_ref().map(ToString::to_string).unwrap_or_default();
        for (what, name) in [("listener", &self.listener), ("parent", &self.parent)] {
            if let Some(name) = name {
                subject.push_str(&format!(", {what} {name}"));
            }
        }
        if let Some(field) = &self.field {
            subject.push_str(&format!(", {field}"));
        }
        subject
    }

    /// One line: place, subject, condition and message.
    pub(crate) fn line(&self) -> String {
        let mut parts = Vec::new();
        if let Some(Place { file, position, .. }) = &self.place {
            parts.push(match position {
                Some(at) => format!("{file}:{}:{}", at.line, at.column),
                None => file.clone(),
            });
        }
        if self.object.is_some() {
            parts.push(self.subject());
        }
        if let Some(bad) = &self.condition {
            parts.push(format!("{}={} ({})", bad.condition_type, bad.status, bad.reason));
        }
        parts.push(self.message.clone());
        parts.retain(|part| !part.is_empty());
        parts.join(": ")
    }
}

/// Everything that is wrong now, worst first.
pub(crate) fn issues(source: &TranslatedFolder<CommandLine>) -> Vec<Issue> {
    let mut all: Vec<_> = source.problems().iter().map(of_problem).collect();
    all.extend(source.overlay().notices().iter().map(|notice| Issue {
        help: notice.help.clone(),
        ..Issue::about(
            if notice.harmful { Level::Warning } else { Level::Note },
            notice.object.clone(),
            notice.message.clone(),
        )
    }));
    for (id, status) in &source.translation().status {
        conditions_of(id, status, &mut all);
    }
    classes(source, &mut all);
    gateways(source, &mut all);
    parents(source, &mut all);
    services_without_endpoints(source, &mut all);
    all.sort_by_key(|issue| issue.level);
    all
}

fn of_problem(problem: &gwapi_model::manifest::Problem) -> Issue {
    Issue {
        level: match problem.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
        },
        place: Some(Place {
            file: problem.source.to_string(),
            position: problem.position,
            span: problem.span.clone(),
        }),
        object: problem.object.clone(),
        listener: None,
        parent: None,
        field: problem.field.clone(),
        condition: None,
        message: problem.message.clone(),
        help: problem.help.clone(),
    }
}

/// Whether a condition says that all is well.
pub(crate) fn is_good(condition: &Condition) -> bool {
    match condition.condition_type {
        ConditionType::Conflicted
        | ConditionType::OverlappingTLSConfig
        | ConditionType::PartiallyInvalid => condition.status == ConditionStatus::False,
        ConditionType::Accepted
        | ConditionType::Programmed
        | ConditionType::ResolvedRefs
        | ConditionType::SupportedVersion => condition.status == ConditionStatus::True,
    }
}

fn conditions_of(id: &ObjectId, status: &Status, all: &mut Vec<Issue>) {
    match status {
        Status::GatewayClass(status) => {
            all.extend(causes(&status.conditions).map(|condition| bad(id, condition)));
        }
        Status::Gateway(status) => {
            let before = all.len();
            for listener in &status.listeners {
                all.extend(causes(&listener.conditions).map(|condition| Issue {
                    listener: Some(listener.name.clone()),
                    ..bad(id, condition)
                }));
            }
            let listeners_told = all.len() > before;
            let own = causes(&status.conditions)
                .filter(|condition| !(listeners_told && is_summary(condition)));
            all.extend(own.map(|condition| bad(id, condition)));
        }
        Status::HttpRoute(status) => {
            for parent in &status.parents {
                let name = parent_name(&parent.parent_ref, &id.namespace);
                all.extend(
                    causes(&parent.conditions).map(|condition| Issue {
                        parent: Some(name.clone()),
                        ..bad(id, condition)
                    }),
                );
            }
        }
    }
}

/// Conditions that are not good, without those that only follow from another one: what is not
/// accepted is not programmed either, and a conflict has two conditions.
fn causes(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    let bad = move || conditions.iter().filter(|condition| !is_good(condition));
    bad().enumerate().filter_map(move |(position, condition)| {
        let told = bad().take(position).any(|earlier| earlier.reason == condition.reason);
        let follows = condition.condition_type == ConditionType::Programmed
            && bad().any(|other| other.condition_type != ConditionType::Programmed);
        (!told && !follows).then_some(condition)
    })
}

/// Whether a Gateway's condition sums up its listeners (GW-6, GW-12).
fn is_summary(condition: &Condition) -> bool {
    condition.condition_type == ConditionType::Programmed
        || matches!(
            condition.reason,
            ConditionReason::ListenersNotValid | ConditionReason::ListenersNotResolved
        )
}

fn bad(id: &ObjectId, condition: &Condition) -> Issue {
    let level = match condition.condition_type {
        ConditionType::OverlappingTLSConfig | ConditionType::SupportedVersion => Level::Warning,
        _ => Level::Error,
    };
    Issue {
        condition: Some(BadCondition {
            condition_type: condition.condition_type,
            status: condition.status,
            reason: condition.reason,
        }),
        help: help_for(condition),
        ..Issue::about(level, id.clone(), condition.message.trim_end_matches('.'))
    }
}

fn help_for(condition: &Condition) -> Option<String> {
    let denied = condition.message.to_ascii_lowercase().contains("permission");
    (condition.reason == ConditionReason::PortUnavailable && denied).then(|| {
        "ports below 1024 need privileges: --port-offset 8000 serves port 80 as 8080".to_owned()
    })
}

/// `namespace/name`, with section and port where the reference has them.
pub(crate) fn parent_name(parent: &ParentReference, own_namespace: &str) -> String {
    let namespace = parent.namespace.as_deref().unwrap_or(own_namespace);
    let mut name = format!("{namespace}/{}", parent.name);
    if let Some(section) = &parent.section_name {
        name.push_str(&format!("/{section}"));
    }
    if let Some(port) = parent.port {
        name.push_str(&format!(":{port}"));
    }
    name
}

/// Classes of other controllers: served all the same, or left out by `--controller-name`.
fn classes(source: &TranslatedFolder<CommandLine>, all: &mut Vec<Issue>) {
    let options = source.options();
    for (name, class) in &source.files().gateway_classes {
        let controller = &class.spec.controller_name;
        let id = ObjectId::new(Kind::GatewayClass, "", &*name.name);
        if options.any_controller && controller != CONTROLLER_NAME {
            all.push(Issue::about(
                Level::Note,
                id,
                format!("its controllerName is {controller}, not {CONTROLLER_NAME}; it is served"),
            ));
        } else if !options.any_controller && *controller != options.controller_name {
            all.push(Issue::about(
                Level::Note,
                id,
                format!("its controllerName is {controller}: not served, by --controller-name"),
            ));
        }
    }
}

/// Gateways whose class does not exist: nobody else would ever say so.
fn gateways(source: &TranslatedFolder<CommandLine>, all: &mut Vec<Issue>) {
    let resources = source.resources();
    for (name, gateway) in &resources.gateways {
        let class = NamespacedName::new("", &*gateway.spec.gateway_class_name);
        if !resources.gateway_classes.contains_key(&class) {
            let id = ObjectId::new(Kind::Gateway, &*name.namespace, &*name.name);
            let mut issue = Issue::about(
                Level::Error,
                id,
                format!("not served: there is no GatewayClass {}", class.name),
            );
            issue.field = Some("spec.gatewayClassName".to_owned());
            all.push(issue);
        }
    }
}

/// References to parents that do not exist: a route has no status for those (RT-6).
fn parents(source: &TranslatedFolder<CommandLine>, all: &mut Vec<Issue>) {
    let resources = source.resources();
    for (name, route) in &resources.http_routes {
        let id = || ObjectId::new(Kind::HttpRoute, &*name.namespace, &*name.name);
        if route.spec.parent_refs.is_empty() {
            all.push(
                Issue::about(Level::Warning, id(), "not served: it has no parentRefs")
                    .with_help("name the Gateway that is to serve it in spec.parentRefs"),
            );
        }
        for (index, parent) in route.spec.parent_refs.iter().enumerate() {
            let Some(message) = missing_parent(parent, route, source) else { continue };
            let mut issue = Issue::about(Level::Warning, id(), message);
            issue.field = Some(format!("spec.parentRefs[{index}]"));
            if !resources.gateways.is_empty() {
                let known: Vec<_> =
                    resources.gateways.keys().take(5).map(ToString::to_string).collect();
                issue.help = Some(format!("Gateways here: {}", known.join(", ")));
            }
            all.push(issue);
        }
    }
}

fn missing_parent(
    parent: &ParentReference,
    route: &HttpRoute,
    source: &TranslatedFolder<CommandLine>,
) -> Option<String> {
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    if kind != "Gateway" || group != GATEWAY_GROUP {
        return Some(format!("a parent of kind {kind} is not served"));
    }
    let namespace = parent.namespace.as_deref().unwrap_or(&route.metadata.namespace);
    let gateway = NamespacedName::new(namespace, &*parent.name);
    let exists = source.resources().gateways.contains_key(&gateway);
    (!exists).then(|| format!("there is no Gateway {gateway}"))
}

/// Services that routes send requests to and that have no endpoint: they answer 503 (HB-4).
fn services_without_endpoints(source: &TranslatedFolder<CommandLine>, all: &mut Vec<Issue>) {
    let mut empty: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for config in source.translation().config.values() {
        for rule in config.http_rules() {
            for backend in rule.backends.iter().filter(|backend| backend.weight > 0) {
                let BackendTarget::Backend(key) = &backend.target else { continue };
                let has_endpoints = match config.0.get(&IrKey::Endpoints(key.clone())) {
                    Some(IrResource::Endpoints(endpoints)) => {
                        !endpoints.addresses.is_empty() || !endpoints.hostnames.is_empty()
                    }
                    _ => false,
                };
                if config.0.contains_key(&IrKey::Backend(key.clone())) && !has_endpoints {
                    empty.entry(key.to_string()).or_default().insert(rule.route.to_string());
                }
            }
        }
    }
    for (backend, routes) in empty {
        // The key is `namespace/service:port`.
        let Some((service, port)) = backend.rsplit_once(':') else { continue };
        let Some((namespace, name)) = service.split_once('/') else { continue };
        let routes: Vec<_> = routes.into_iter().take(3).collect();
        let help = format!(
            "give it addresses: --backend {backend}=127.0.0.1:3000; or let --demo answer for it"
        );
        all.push(
            Issue::about(
                Level::Warning,
                ObjectId::new(Kind::Service, namespace, name),
                format!(
                    "no endpoints for port {port}: HTTPRoute {} answers 503",
                    routes.join(", ")
                ),
            )
            .with_help(help),
        );
    }
}

#[cfg(test)]
mod tests {
    use gwapi_model::status::{GatewayStatus, ListenerStatus};

    use super::*;

    fn condition(
        condition_type: ConditionType,
        good: bool,
        reason: ConditionReason,
        message: &str,
    ) -> Condition {
        let status = if good { ConditionStatus::True } else { ConditionStatus::False };
        Condition::new(condition_type, status, reason, message, 1)
    }

    fn gateway(listener: Vec<Condition>, own: Vec<Condition>) -> Vec<String> {
        let status = Status::Gateway(GatewayStatus {
            addresses: Vec::new(),
            conditions: own,
            listeners: vec![ListenerStatus {
                name: "http".to_owned(),
                supported_kinds: Vec::new(),
                attached_routes: 0,
                conditions: listener,
            }],
        });
        let mut all = Vec::new();
        conditions_of(&ObjectId::new(Kind::Gateway, "default", "web"), &status, &mut all);
        all.iter().map(Issue::line).collect()
    }

    #[test]
    fn what_follows_from_another_condition_is_not_told() {
        use ConditionReason as Reason;
        use ConditionType::{Accepted, Programmed};
        let listener = vec![
            condition(Accepted, false, Reason::PortUnavailable, "port 80 is in use"),
            condition(Programmed, false, Reason::Invalid, "the listener is not accepted"),
        ];
        let own = vec![
            condition(Accepted, false, Reason::ListenersNotValid, "no listener is valid"),
            condition(Programmed, false, Reason::Invalid, "nothing is served"),
        ];
        assert_eq!(
            gateway(listener, own),
            [
                "Gateway default/web, listener http: Accepted=False (PortUnavailable): port 80 is in use"
            ]
        );
    }

    #[test]
    fn what_nothing_else_explains_is_told() {
        use ConditionReason as Reason;
        use ConditionType::{Accepted, Programmed};
        let own = vec![
            condition(Accepted, true, Reason::Accepted, ""),
            condition(Programmed, false, Reason::AddressNotAssigned, "no address is left"),
        ];
        assert_eq!(
            gateway(vec![condition(Accepted, true, Reason::Accepted, "")], own),
            ["Gateway default/web: Programmed=False (AddressNotAssigned): no address is left"]
        );
    }

    #[test]
    fn a_problem_that_moved_by_a_line_is_the_same_one() {
        let at = |line| {
            let mut issue = Issue::about(
                Level::Error,
                ObjectId::new(Kind::HttpRoute, "default", "web"),
                "a list is expected",
            );
            issue.place = Some(Place {
                file: "routes.yaml".to_owned(),
                position: Some(Position { line, column: 3 }),
                span: line * 10..line * 10 + 1,
            });
            issue
        };
        assert_eq!(at(7).key(), at(8).key());
        assert_eq!(at(7).line(), "routes.yaml:7:3: HTTPRoute default/web: a list is expected");
    }
}
