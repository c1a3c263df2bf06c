//! What no status tells: objects that nobody claims, Services that nobody answers for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_dataplane::TranslatedFolder;
use gwapi_model::{
    CONTROLLER_NAME, DEFAULT_SCOPE_ALL, GATEWAY_GROUP, GWAPI_GROUP, Gateway, GatewayParametersSpec,
    Kind, NamespacedName, ObjectId, ParentReference, Resources, Route, RouteKind,
};
use gwapi_translate::ir::{BackendKey, GatewayConfig, IrKey, IrResource};

use crate::overlay::CommandLine;
use crate::report::issue::{Issue, Level};

/// Classes of other controllers: served all the same, or left out by `--controller-name`.
pub(super) fn classes(source: &TranslatedFolder<CommandLine>, all: &mut Vec<Issue>) {
    let options = source.options();
    for (name, class) in &source.files().gateway_classes {
        let controller = &class.spec.controller_name;
        let id = ObjectId::new(Kind::GatewayClass, "", &*name.name);
        if options.any_controller && controller != CONTROLLER_NAME {
            let message =
                format!("its controllerName is {controller}, not {CONTROLLER_NAME}; it is served");
            all.push(Issue::about(Level::Note, id, message).of_sort("other-controller"));
        } else if !options.any_controller && *controller != options.controller_name {
            let message =
                format!("its controllerName is {controller}: not served, by --controller-name");
            all.push(Issue::about(Level::Note, id, message).of_sort("other-controller"));
        }
    }
}

/// Gateways whose class does not exist: nobody else would ever say so.
pub(super) fn gateways(source: &TranslatedFolder<CommandLine>, all: &mut Vec<Issue>) {
    let resources = source.resources();
    for (name, gateway) in &resources.gateways {
        let class = NamespacedName::new("", &*gateway.spec.gateway_class_name);
        if !resources.gateway_classes.contains_key(&class) {
            let id = ObjectId::new(Kind::Gateway, &*name.namespace, &*name.name);
            let message = format!("not served: there is no GatewayClass {}", class.name);
            let mut issue = Issue::about(Level::Error, id, message).of_sort("unknown-class");
            issue.field = Some("spec.gatewayClassName".to_owned());
            all.push(issue);
        }
    }
}

/// Parameters, which say how proxies run in a cluster: here options of the command do.
pub(super) fn parameters(source: &TranslatedFolder<CommandLine>, all: &mut Vec<Issue>) {
    let resources = source.resources();
    for (name, parameters) in &resources.gateway_parameters {
        let set = fields(&parameters.spec);
        if set.is_empty() {
            continue;
        }
        let options: Vec<&str> = OPTIONS
            .iter()
            .filter(|(field, _)| set.iter().any(|set| set == field))
            .map(|(_, option)| *option)
            .collect();
        let id = ObjectId::new(Kind::GatewayParameters, &*name.namespace, &*name.name);
        let message = format!("no effect without a cluster: {}", set.join(", "));
        let mut issue = Issue::about(Level::Warning, id, message).of_sort("no-effect");
        if !options.is_empty() {
            issue.help = Some(format!("set options of gwapi run instead: {}", options.join(", ")));
        }
        all.push(issue);
    }
    let foreign = |group: &str| {
        source.options().any_controller && ![GWAPI_GROUP, GATEWAY_GROUP].contains(&group)
    };
    let classes = resources.gateway_classes.iter().filter_map(|(name, class)| {
        let reference = class.spec.parameters_ref.as_ref()?;
        let id = ObjectId::new(Kind::GatewayClass, "", &*name.name);
        Some((id, "spec.parametersRef", &reference.group, &reference.kind, &reference.name))
    });
    let gateways = resources.gateways.iter().filter_map(|(name, gateway)| {
        let reference = gateway.spec.infrastructure.as_ref()?.parameters_ref.as_ref()?;
        let id = ObjectId::new(Kind::Gateway, &*name.namespace, &*name.name);
        let field = "spec.infrastructure.parametersRef";
        Some((id, field, &reference.group, &reference.kind, &reference.name))
    });
    for (id, field, group, kind, name) in classes.chain(gateways) {
        if foreign(group) {
            let message = format!("{kind} {name} of another implementation is not read");
            let mut issue = Issue::about(Level::Warning, id, message).of_sort("no-effect");
            issue.field = Some(field.to_owned());
            all.push(issue);
        }
    }
}

/// Fields of parameters that an option of the command stands for.
const OPTIONS: [(&str, &str); 5] = [
    ("proxy.workers", "--workers"),
    ("proxy.logLevel", "the variable RUST_LOG"),
    ("proxy.drain", "--drain-quiet and --drain-timeout"),
    ("proxy.trustedHops", "--trusted-hops"),
    ("proxy.upgrades", "--upgrades"),
];

/// The fields that are set, as `group.field`.
fn fields(spec: &GatewayParametersSpec) -> Vec<String> {
    let value = serde_json::to_value(spec).unwrap_or_default();
    let groups = value.as_object().into_iter().flatten();
    groups
        .flat_map(|(group, fields)| {
            let names = fields.as_object().into_iter().flat_map(|fields| fields.keys());
            names.map(move |name| format!("{group}.{name}"))
        })
        .collect()
}

/// A route's references to parents that do not exist: it has no status for those (RT-6). They
/// depend on the route, and on which Gateways there are.
pub(super) fn parents(
    id: &ObjectId,
    route: Route<'_>,
    source: &TranslatedFolder<CommandLine>,
    all: &mut Vec<Issue>,
) {
    // Most routes refer to one Gateway that is there.
    if let [parent] = route.parent_refs()
        && missing_parent(parent, route, source).is_none()
    {
        return;
    }
    let takes_defaults =
        |gateway: &Arc<Gateway>| gateway.spec.default_scope.as_deref() == Some(DEFAULT_SCOPE_ALL);
    let asks_for_defaults = route.asks_for_default_gateways();
    let has_default = asks_for_defaults && source.resources().gateways.values().any(takes_defaults);
    if asks_for_defaults && !has_default {
        let message = "it asks for default Gateways, and there is none";
        let mut issue =
            Issue::about(Level::Warning, id.clone(), message).of_sort("unattached").with_help(
                "set spec.defaultScope of a Gateway to All, or name a Gateway in spec.parentRefs",
            );
        issue.field = Some("spec.useDefaultGateways".to_owned());
        all.push(issue);
    } else if route.parent_refs().is_empty() && !has_default {
        all.push(
            Issue::about(Level::Warning, id.clone(), "not served: it has no parentRefs")
                .of_sort("unattached")
                .with_help("name the Gateway that is to serve it in spec.parentRefs"),
        );
    }
    // A parent of another kind is somebody else's.
    let is_missing =
        |parent| parent_kind(parent).is_some() && missing_parent(parent, route, source).is_some();
    let all_missing = !has_default && route.parent_refs().iter().all(is_missing);
    for (index, parent) in route.parent_refs().iter().enumerate() {
        let Some(message) = missing_parent(parent, route, source) else { continue };
        let level = if all_missing { Level::Error } else { Level::Warning };
        let mut issue = Issue::about(level, id.clone(), message).of_sort("unknown-parent");
        issue.field = Some(format!("spec.parentRefs[{index}]"));
        issue.help = parents_here(source.resources(), parent_kind(parent));
        all.push(issue);
    }
}

/// ListenerSets whose Gateway does not exist: they have no status (LS-2).
pub(super) fn listener_sets(source: &TranslatedFolder<CommandLine>, all: &mut Vec<Issue>) {
    let resources = source.resources();
    for (name, set) in &resources.listener_sets {
        let message = match set.gateway() {
            Some(gateway) if resources.gateways.contains_key(&gateway) => continue,
            Some(gateway) => format!("not served: there is no Gateway {gateway}"),
            None => "not served: its parentRef is no Gateway".to_owned(),
        };
        let mut issue = Issue::about(Level::Error, name.object_id(Kind::ListenerSet), message)
            .of_sort("unknown-parent");
        issue.field = Some("spec.parentRef".to_owned());
        issue.help = parents_here(resources, Some(Kind::Gateway));
        all.push(issue);
    }
}

/// Names some of the objects that a reference may have meant.
fn parents_here(resources: &Resources, kind: Option<Kind>) -> Option<String> {
    let (kind, names): (_, Vec<_>) = match kind {
        Some(Kind::ListenerSet) if !resources.listener_sets.is_empty() => {
            (Kind::ListenerSet, resources.listener_sets.keys().take(5).collect())
        }
        _ => (Kind::Gateway, resources.gateways.keys().take(5).collect()),
    };
    let names: Vec<_> = names.into_iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| format!("{kind}s here: {}", names.join(", ")))
}

/// Why a reference of a route leads nowhere; `None` where it leads to an object that is here.
fn missing_parent(
    parent: &ParentReference,
    route: Route<'_>,
    source: &TranslatedFolder<CommandLine>,
) -> Option<String> {
    let name = NamespacedName::new(namespace_of(parent, route), &*parent.name);
    let resources = source.resources();
    let (kind, is_here) = match parent_kind(parent) {
        Some(Kind::Gateway) => (Kind::Gateway, resources.gateways.contains_key(&name)),
        Some(Kind::ListenerSet) => (Kind::ListenerSet, resources.listener_sets.contains_key(&name)),
        _ => {
            let kind = parent.kind.as_deref().unwrap_or_default();
            return Some(format!("a parent of kind {kind} is not served"));
        }
    };
    (!is_here).then(|| format!("there is no {kind} {name}"))
}

fn backends_without_endpoints(config: &GatewayConfig) -> BTreeSet<&BackendKey> {
    let backends = config.0.range(IrKey::Backend(BackendKey::new(""))..);
    let keys = backends.map_while(|(key, _)| match key {
        IrKey::Backend(key) => Some(key),
        _ => None,
    });
    keys.filter(|key| match config.0.get(&IrKey::Endpoints((*key).clone())) {
        Some(IrResource::Endpoints(endpoints)) => {
            endpoints.addresses.is_empty() && endpoints.hostnames.is_empty()
        }
        _ => true,
    })
    .collect()
}

/// The kind that a reference of a route names, if that can be a parent.
fn parent_kind(parent: &ParentReference) -> Option<Kind> {
    let is_ours = parent.group.as_deref().is_none_or(|group| group == GATEWAY_GROUP);
    let kind = parent.kind.as_deref().unwrap_or(Kind::Gateway.as_str());
    let kinds = [Kind::Gateway, Kind::ListenerSet];
    kinds.into_iter().find(|known| is_ours && known.as_str() == kind)
}

fn namespace_of<'r>(parent: &'r ParentReference, route: Route<'r>) -> &'r str {
    parent.namespace.as_deref().unwrap_or(&route.metadata().namespace)
}

/// Services that routes send something to and that have no endpoint: requests are answered 503 (HB-4),
/// and copies of them are not sent (HF-7); nobody consents to any (EA-1); connections are closed, and datagrams dropped (TS-4, L4-4).
pub(super) fn services_without_endpoints(
    source: &TranslatedFolder<CommandLine>,
    all: &mut Vec<Issue>,
) {
    const DROPS: &str = "drops its datagrams";
    let mut empty: BTreeMap<_, BTreeSet<ObjectId>> = BTreeMap::new();
    for (gateway, config) in &source.translation().config {
        let bare = backends_without_endpoints(config);
        // This is asked after every edit: as long as all is well, no rule is looked at.
        if bare.is_empty() {
            continue;
        }
        for rule in config.http_rules() {
            let served = rule.targets().filter(|(_, weight)| *weight > 0);
            let served = served.map(|(key, _)| (key, "answers 503"));
            let copied = rule.mirrors().map(|key| (key, "sends no copies there"));
            let asked =
                rule.authorizers().map(|key| (key, "asks it for authorization, and answers 503"));
            let named = served.chain(copied).chain(asked);
            for (key, effect) in named.filter(|(key, _)| bare.contains(*key)) {
                let routes = empty.entry((key.service_port(), effect)).or_default();
                routes.insert(rule.route.object_id(rule.route_kind.kind()));
            }
        }
        for listener in config.listeners() {
            for key in listener.authorizers().filter(|key| bare.contains(*key)) {
                let effect = "asks it for authorization, and answers 503";
                let routes = empty.entry((key.service_port(), effect)).or_default();
                routes.insert(gateway.object_id(Kind::Gateway));
            }
        }
        for rule in config.stream_rules() {
            let effect = match rule.route_kind {
                RouteKind::Udp => DROPS,
                _ => "closes its connections",
            };
            let served = rule.targets().filter(|(key, weight)| *weight > 0 && bare.contains(*key));
            for (key, _) in served {
                let routes = empty.entry((key.service_port(), effect)).or_default();
                routes.insert(rule.route.object_id(rule.route_kind.kind()));
            }
        }
    }
    for ((service_port, effect), routes) in empty {
        let Some((namespace, name, port)) = service_port else { continue };
        let routes: Vec<_> = routes.iter().take(3).map(ToString::to_string).collect();
        let mut help =
            format!("give it addresses: --backend {namespace}/{name}:{port}=127.0.0.1:3000");
        if !source.overlay().has_echoes() && effect != DROPS {
            help.push_str("; or let --demo answer for it");
        }
        all.push(
            Issue::about(
                Level::Warning,
                ObjectId::new(Kind::Service, namespace, name),
                format!("no endpoints for port {port}: {} {effect}", routes.join(", ")),
            )
            .of_sort("no-endpoints")
            .with_help(help),
        );
    }
}
