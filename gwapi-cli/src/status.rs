//! `gwapi status`: what a cluster would say about manifests, without serving them.

use std::sync::Arc;

use comfy_table::Table;
use gwapi_dataplane::TranslatedFolder;
use gwapi_model::manifest::render::{to_json, to_yaml};
use gwapi_model::status::{Condition, ListenerStatus, Status};
use gwapi_model::{
    EXPERIMENTAL_GROUP, GATEWAY_GROUP, Kind, NamespacedName, ObjectId, ObjectMeta, Resource,
    RouteKind,
};
use jiff::Timestamp;
use serde_json::json;

use crate::Exit;
use crate::args::{StatusArgs, StatusOutput};
use crate::overlay::CommandLine;
use crate::paint::Paint;
use crate::problems;
use crate::queue::print;
use crate::report::conditions::{is_good, parent_name};
use crate::report::issue::{Issue, Level, grouped, issues};
use crate::report::table::{coloured, plain};
use crate::report::view::{ListenerView, View};
use crate::report::{count, some_of};
use crate::run::{options, overlay};

pub(crate) fn status(arguments: &StatusArgs) -> anyhow::Result<Exit> {
    let offset = arguments.translation.port_offset.unwrap_or(0);
    let options = options(&arguments.translation, offset, false);
    let overlay = overlay(&arguments.translation, None)?;
    let mut source = TranslatedFolder::open(arguments.paths.clone(), options, overlay);
    source.check_certificates();

    let issues = grouped(&issues(&source));
    match arguments.output {
        StatusOutput::Table => table(&source, &issues, Paint::of_stdout()),
        StatusOutput::Yaml => {
            complain(&issues);
            yaml(&source);
        }
        StatusOutput::Json => {
            complain(&issues);
            list(&source);
        }
    }
    if is_empty(&source) {
        eprintln!("{}: no objects found", Paint::of_stderr().bad("error"));
        return Ok(Exit::Problems);
    }
    let bad = issues.iter().any(|issue| issue.level == Level::Error);
    Ok(if bad { Exit::Problems } else { Exit::Fine })
}

/// Problems of files on standard error, so that they cannot spoil what is piped on.
fn complain(issues: &[Issue]) {
    for issue in issues.iter().filter(|issue| issue.place_told().is_some()) {
        eprintln!("{}", issue.line());
    }
}

/// Every Gateway API object with its status.
fn objects(
    source: &TranslatedFolder<CommandLine>,
) -> impl Iterator<Item = (Resource, Option<Status>)> + '_ {
    let now = now();
    let kinds =
        Kind::ALL.iter().filter(|kind| [GATEWAY_GROUP, EXPERIMENTAL_GROUP].contains(&kind.group()));
    kinds.flat_map(|kind| source.files().ids(*kind)).filter_map(move |id| {
        let resource = source.files().get(&id)?;
        let mut status = source.translation().status.get(&id).cloned();
        if let Some(status) = &mut status {
            fill_in(status, now);
        }
        Some((resource, status))
    })
}

/// The present second: conditions have no finer time (ST-3).
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("the present is in range")
}

fn fill_in(status: &mut Status, now: Timestamp) {
    let fill = |conditions: &mut Vec<Condition>| {
        conditions.iter_mut().for_each(|condition| condition.last_transition_time = Some(now));
    };
    match status {
        Status::GatewayClass(status) => fill(&mut status.conditions),
        Status::Gateway(status) => {
            fill(&mut status.conditions);
            status.listeners.iter_mut().for_each(|listener| fill(&mut listener.conditions));
        }
        Status::ListenerSet(status) => {
            fill(&mut status.conditions);
            status.listeners.iter_mut().for_each(|listener| fill(&mut listener.conditions));
        }
        Status::Route(status) => {
            let parents = Arc::make_mut(&mut status.parents);
            parents.iter_mut().for_each(|parent| fill(&mut parent.conditions));
        }
        Status::Policy(status) => {
            status.ancestors.iter_mut().for_each(|ancestor| fill(&mut ancestor.conditions));
        }
    }
}

fn yaml(source: &TranslatedFolder<CommandLine>) {
    for (index, (resource, status)) in objects(source).enumerate() {
        if index > 0 {
            print("---");
        }
        print(to_yaml(&resource, status.as_ref()).trim_end());
    }
}

fn list(source: &TranslatedFolder<CommandLine>) {
    let items: Vec<_> =
        objects(source).map(|(resource, status)| to_json(&resource, status.as_ref())).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    print(&serde_json::to_string_pretty(&list).expect("a JSON value is text"));
}

fn table(source: &TranslatedFolder<CommandLine>, issues: &[Issue], paint: Paint) {
    for issue in issues {
        let text = issue.place.as_ref().and_then(|place| source.text(&place.file));
        print(&problems::render(issue, text, paint.on));
    }
    if !source.foreign().is_empty() {
        let kinds: Vec<_> =
            source.foreign().iter().map(|(kind, number)| format!("{kind} ({number})")).collect();
        print(&format!("{}: not read: {}", paint.doubtful("warning"), kinds.join(", ")));
    }
    if !issues.is_empty() || !source.foreign().is_empty() {
        print("");
    }
    let routes = RouteKind::ALL.map(|kind| routes(source, kind, paint));
    let tables = [classes(source, paint), listeners(source, paint)].into_iter().chain(routes);
    let tables = tables.chain([policies(source, paint), traffic_policies(source, paint)]);
    let tables = tables.chain([telemetry_policies(source, paint), x_backends(source, paint)]);
    for table in tables.into_iter().flatten() {
        print(&table);
        print("");
    }
    if !is_empty(source) {
        print(&verdict(issues, paint));
    }
}

/// Whether the files hold no object that is read.
fn is_empty(source: &TranslatedFolder<CommandLine>) -> bool {
    Kind::ALL.iter().all(|kind| source.files().ids(*kind).is_empty())
}

/// `All accepted, 2 warnings`, or `1 error`.
fn verdict(issues: &[Issue], paint: Paint) -> String {
    let of = |level| issues.iter().filter(|issue| issue.level == level).count();
    let (errors, warnings) = (of(Level::Error), of(Level::Warning));
    let mut text = match errors {
        0 => paint.good("All accepted"),
        errors => paint.bad(&count(errors, "error")),
    };
    if warnings > 0 {
        text.push_str(&format!(", {}", paint.doubtful(&count(warnings, "warning"))));
    }
    text
}

fn classes(source: &TranslatedFolder<CommandLine>, paint: Paint) -> Option<String> {
    let classes = &source.resources().gateway_classes;
    if classes.is_empty() {
        return None;
    }
    let mut table = plain(["GATEWAYCLASS", "CONTROLLER", "CONDITIONS"], paint);
    for (name, class) in classes {
        let id = gwapi_model::ObjectId::new(Kind::GatewayClass, "", &*name.name);
        let conditions = match source.translation().status.get(&id) {
            Some(Status::GatewayClass(status)) => conditions(&status.conditions),
            _ => "not ours".to_owned(),
        };
        table.add_row(vec![name.name.to_string(), class.spec.controller_name.clone(), conditions]);
    }
    Some(table.trim_fmt())
}

fn listeners(source: &TranslatedFolder<CommandLine>, paint: Paint) -> Option<String> {
    let view = View::of(source, None);
    if view.gateways.is_empty() {
        return None;
    }
    let titles = ["GATEWAY", "LISTENER", "ADDRESS", "HOSTNAMES", "ROUTES", "CONDITIONS"];
    let mut table = plain(titles, paint);
    for gateway in &view.gateways {
        let name = NamespacedName::new(&*gateway.namespace, &*gateway.name);
        let Some(Status::Gateway(status)) = status_of(source, Kind::Gateway, &name) else {
            continue;
        };
        let own = gateway.listeners.iter().filter(|listener| listener.listener_set.is_none());
        add_listeners(&mut table, name.to_string(), &status.conditions, own, &status.listeners);
        let sets = source.resources().listener_sets.iter();
        for (set, _) in sets.filter(|(_, set)| set.gateway().as_ref() == Some(&name)) {
            let status = status_of(source, Kind::ListenerSet, set);
            let Some(Status::ListenerSet(status)) = status else { continue };
            let label = set.to_string();
            let its =
                gateway.listeners.iter().filter(|it| it.listener_set.as_ref() == Some(&label));
            let label = format!("+ ListenerSet {label}");
            add_listeners(&mut table, label, &status.conditions, its, &status.listeners);
        }
    }
    Some(table.trim_fmt())
}

/// A row for a Gateway or a ListenerSet, and one for each of its listeners.
fn add_listeners<'v>(
    table: &mut Table,
    holder: String,
    of_holder: &[Condition],
    listeners: impl Iterator<Item = &'v ListenerView>,
    statuses: &[ListenerStatus],
) {
    let nothing = String::new;
    let summary = conditions(of_holder);
    table.add_row(vec![holder, nothing(), nothing(), nothing(), nothing(), summary]);
    for listener in listeners {
        let own = statuses.iter().find(|own| own.name == listener.name);
        let address = listener.urls.first().cloned();
        table.add_row(vec![
            nothing(),
            listener.name.clone(),
            address.unwrap_or_else(|| format!("port {}, not served", listener.port)),
            some_of(&listener.hostnames, 3),
            listener.attached_routes.to_string(),
            own.map(|own| conditions(&own.conditions)).unwrap_or_default(),
        ]);
    }
}

fn status_of<'s>(
    source: &'s TranslatedFolder<CommandLine>,
    kind: Kind,
    name: &NamespacedName,
) -> Option<&'s Status> {
    source.translation().status.get(&name.object_id(kind))
}

fn routes(source: &TranslatedFolder<CommandLine>, kind: RouteKind, paint: Paint) -> Option<String> {
    let mut routes = source.resources().routes().filter(|it| it.kind() == kind).peekable();
    routes.peek()?;
    let heading = kind.kind().as_str().to_uppercase();
    let mut table = plain([&heading, "PARENT", "HOSTNAMES", "RULES", "CONDITIONS"], paint);
    for route in routes {
        let ObjectMeta { namespace, name, .. } = route.metadata();
        let name = NamespacedName::new(namespace.clone(), name.clone());
        let id = name.object_id(kind.kind());
        let parents = match source.translation().status.get(&id) {
            Some(Status::Route(status)) => &*status.parents,
            _ => &[],
        };
        let hostnames = match route.hostnames() {
            [] if matches!(kind, RouteKind::Tcp | RouteKind::Udp) => "-".to_owned(),
            [] => "*".to_owned(),
            names => some_of(names, 3),
        };
        let rules = route.rules().count().max(1).to_string();
        if parents.is_empty() {
            let none = coloured("none".into(), comfy_table::Color::Yellow, paint);
            table.add_row(vec![
                name.to_string().into(),
                none,
                hostnames.into(),
                rules.into(),
                "".into(),
            ]);
            continue;
        }
        for (index, parent) in parents.iter().enumerate() {
            let shown = if index == 0 { name.to_string() } else { String::new() };
            table.add_row(vec![
                shown,
                parent_name(&parent.parent_ref, &name.namespace),
                hostnames.clone(),
                rules.clone(),
                conditions(&parent.conditions),
            ]);
        }
    }
    Some(table.trim_fmt())
}

fn policies(source: &TranslatedFolder<CommandLine>, paint: Paint) -> Option<String> {
    let titles = ["BACKENDTLSPOLICY", "TARGETS", "HOSTNAME", "GATEWAY", "CONDITIONS"];
    let policies = source.resources().backend_tls_policies.iter().map(|(name, policy)| {
        let targets = policy.spec.target_refs.iter().map(|target| match &target.section_name {
            Some(section) => format!("{}:{section}", target.name),
            None => target.name.clone(),
        });
        let hostname = policy.spec.validation.hostname.clone();
        PolicyRow {
            id: name.object_id(Kind::BackendTlsPolicy),
            targets: targets.collect(),
            asked: hostname,
        }
    });
    table_of_policies(source, paint, titles, policies)
}

fn traffic_policies(source: &TranslatedFolder<CommandLine>, paint: Paint) -> Option<String> {
    let titles = ["XBACKENDTRAFFICPOLICY", "TARGETS", "RETRIES", "GATEWAY", "CONDITIONS"];
    let policies = source.resources().backend_traffic_policies.iter().map(|(name, policy)| {
        let retries = match &policy.spec.retry_constraint {
            Some(constraint) => {
                let budget = constraint.budget.as_ref();
                format!("{}%", budget.and_then(|budget| budget.percent).unwrap_or(20))
            }
            None => "-".to_owned(),
        };
        PolicyRow {
            id: name.object_id(Kind::BackendTrafficPolicy),
            targets: policy.spec.target_refs.iter().map(|target| target.name.clone()).collect(),
            asked: retries,
        }
    });
    table_of_policies(source, paint, titles, policies)
}

fn telemetry_policies(source: &TranslatedFolder<CommandLine>, paint: Paint) -> Option<String> {
    let titles = ["XTELEMETRYPOLICY", "TARGETS", "TRACING", "GATEWAY", "CONDITIONS"];
    let policies = source.resources().telemetry_policies.iter().map(|(name, policy)| {
        let mode = policy.spec.tracing.as_ref().and_then(|tracing| tracing.mode.clone());
        PolicyRow {
            id: name.object_id(Kind::TelemetryPolicy),
            targets: policy.spec.target_refs.iter().map(|target| target.name.clone()).collect(),
            asked: mode.unwrap_or_else(|| "-".to_owned()),
        }
    });
    table_of_policies(source, paint, titles, policies)
}

/// What a table shows of a policy.
struct PolicyRow {
    id: ObjectId,
    targets: Vec<String>,
    /// What it asks for, in a word.
    asked: String,
}

/// Policies of a kind, with a line for each Gateway that they have a status for.
fn table_of_policies(
    source: &TranslatedFolder<CommandLine>,
    paint: Paint,
    titles: [&'static str; 5],
    policies: impl Iterator<Item = PolicyRow>,
) -> Option<String> {
    let mut policies = policies.peekable();
    policies.peek()?;
    let mut table = plain(titles, paint);
    for PolicyRow { id, targets, asked } in policies {
        let (name, targets) = (id.namespaced_name(), some_of(&targets, 3));
        let ancestors = match source.translation().status.get(&id) {
            Some(Status::Policy(status)) => &*status.ancestors,
            _ => &[],
        };
        if ancestors.is_empty() {
            let none = coloured("none".into(), comfy_table::Color::Yellow, paint);
            table.add_row(vec![
                name.to_string().into(),
                targets.into(),
                asked.into(),
                none,
                "".into(),
            ]);
            continue;
        }
        for (index, ancestor) in ancestors.iter().enumerate() {
            let first = |text: &str| if index == 0 { text.to_owned() } else { String::new() };
            table.add_row(vec![
                first(&name.to_string()),
                first(&targets),
                first(&asked),
                parent_name(&ancestor.ancestor_ref, &name.namespace),
                conditions(&ancestor.conditions),
            ]);
        }
    }
    Some(table.trim_fmt())
}

fn x_backends(source: &TranslatedFolder<CommandLine>, paint: Paint) -> Option<String> {
    let backends = &source.resources().x_backends;
    if backends.is_empty() {
        return None;
    }
    let mut table = plain(["XBACKEND", "LEADS TO", "PORT", "GATEWAY", "CONDITIONS"], paint);
    for (name, backend) in backends {
        let spec = &backend.spec;
        let target = match (&spec.external_hostname, &spec.endpoint_selector) {
            (Some(external), _) => external.hostname.clone(),
            (None, selector) => {
                let labels = selector.iter().flat_map(|selector| &selector.match_labels);
                some_of(&labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(), 3)
            }
        };
        let port = spec.port.number.map(|port| port.get().to_string()).unwrap_or_default();
        let ancestors = match source.translation().status.get(&name.object_id(Kind::XBackend)) {
            Some(Status::Policy(status)) => &*status.ancestors,
            _ => &[],
        };
        if ancestors.is_empty() {
            let none = coloured("none".into(), comfy_table::Color::Yellow, paint);
            let name = name.to_string();
            table.add_row(vec![name.into(), target.into(), port.into(), none, "".into()]);
            continue;
        }
        for (index, ancestor) in ancestors.iter().enumerate() {
            let first = |text: &str| if index == 0 { text.to_owned() } else { String::new() };
            table.add_row(vec![
                first(&name.to_string()),
                first(&target),
                first(&port),
                parent_name(&ancestor.ancestor_ref, &name.namespace),
                conditions(&ancestor.conditions),
            ]);
        }
    }
    Some(table.trim_fmt())
}

/// Good conditions by name, others with status and reason.
fn conditions(conditions: &[Condition]) -> String {
    let mut words: Vec<_> = conditions
        .iter()
        .filter(|condition| !is_good(condition))
        .map(|bad| format!("{}={} ({})", bad.condition_type, bad.status, bad.reason))
        .collect();
    let negative = |condition: &&Condition| {
        is_good(condition) && condition.status == gwapi_model::status::ConditionStatus::True
    };
    words.extend(conditions.iter().filter(negative).map(|good| good.condition_type.to_string()));
    words.join(", ")
}
