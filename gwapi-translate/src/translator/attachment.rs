//! A route's parentRef against the listeners of a Gateway or a ListenerSet (RT-1 to RT-5, AR-1).

use std::collections::BTreeMap;
use std::sync::Arc;

use gwapi_model::status::ConditionReason;
use gwapi_model::{
    GATEWAY_GROUP, Kind, NAMESPACE_NAME_LABEL, Namespace, NamespacedName, ParentReference,
    Resources, Route, RouteKind, StringMap,
};

use super::conditions::Problem;
use super::gateway::AttachmentPoint;
use super::holder::Holder;
use super::listener::Admission;
use crate::ir::{Hostname, ListenerKey};

/// The Gateway or ListenerSet that a parentRef names; `None` where it names something else (RT-1, LS-9).
pub(super) fn holder(route: Route<'_>, parent: &ParentReference) -> Option<Holder> {
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let kind = parent.kind.as_deref().unwrap_or(Kind::Gateway.as_str());
    let named = match kind {
        _ if group != GATEWAY_GROUP => return None,
        "Gateway" => Holder::Gateway,
        "ListenerSet" => Holder::ListenerSet,
        _ => return None,
    };
    let own = &route.metadata().namespace;
    let namespace = parent.namespace.as_deref().map_or_else(|| own.clone(), Arc::from);
    Some(named(NamespacedName::new(namespace, parent.name.as_str())))
}

/// How far a route got with a listener; the furthest one is reported (RT-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    NotSelected,
    KindOrNamespace,
    Hostname,
    Attached,
}

/// The listeners that take a route by a parentRef, each with whether its connections go through as they are, or
/// why none does.
pub(super) fn attach(
    parent: &ParentReference,
    holder: &Holder,
    points: &[AttachmentPoint],
    (kind, route): (RouteKind, &NamespacedName),
    hostnames: &[Hostname],
    resources: &Resources,
) -> Result<BTreeMap<ListenerKey, bool>, Problem> {
    let judge = |point: &AttachmentPoint| -> Stage {
        let section = parent.section_name.as_deref().filter(|name| !name.is_empty());
        let selected = section.is_none_or(|name| name == point.key.name())
            && parent.port.is_none_or(|port| port.get() == point.port);
        if !selected {
            Stage::NotSelected
        } else if !point.kinds.contains(&kind)
            || !admits(&point.admission, holder, &route.namespace, resources)
        {
            Stage::KindOrNamespace
        } else if !hostnames_meet(point.hostname.as_ref(), hostnames) {
            Stage::Hostname
        } else {
            Stage::Attached
        }
    };
    let mut attached = BTreeMap::new();
    let mut furthest = Stage::NotSelected;
    for point in points {
        let stage = judge(point);
        furthest = furthest.max(stage);
        if stage == Stage::Attached {
            attached.insert(point.key.clone(), point.passthrough);
        }
    }
    match furthest {
        Stage::Attached => Ok(attached),
        stage => Err(refusal(stage, parent, holder, points, (kind, route))),
    }
}

fn refusal(
    stage: Stage,
    parent: &ParentReference,
    holder: &Holder,
    points: &[AttachmentPoint],
    (kind, route): (RouteKind, &NamespacedName),
) -> Problem {
    match stage {
        Stage::NotSelected if points.is_empty() => Problem::new(
            ConditionReason::NoMatchingParent,
            format!("{holder} has no listener that routes can attach to; see its status"),
        ),
        Stage::NotSelected => {
            let mut wanted = Vec::new();
            wanted.extend(parent.section_name.as_deref().map(|name| format!("named `{name}`")));
            wanted.extend(parent.port.map(|port| format!("on port {port}")));
            let has: Vec<String> = points
                .iter()
                .map(|point| format!("`{}` ({})", point.key.name(), point.port))
                .collect();
            let message =
                format!("{holder} has no listener {}; it has {}", wanted.join(" "), has.join(", "));
            Problem::new(ConditionReason::NoMatchingParent, message)
        }
        Stage::KindOrNamespace => Problem::new(
            ConditionReason::NotAllowedByListeners,
            format!(
                "no listener of {holder} that the reference means admits {}s of namespace `{}`; see its \
                 allowedRoutes",
                kind.kind(),
                route.namespace
            ),
        ),
        Stage::Hostname | Stage::Attached => Problem::new(
            ConditionReason::NoMatchingListenerHostname,
            format!(
                "no hostname of the route meets that of a listener of {holder} which the reference \
                 means"
            ),
        ),
    }
}

/// Whether what a holder offers is for a namespace (AR-1, LS-1, RT-13).
pub(super) fn admits(
    admission: &Admission,
    holder: &Holder,
    namespace: &str,
    resources: &Resources,
) -> bool {
    let known = || resources.namespaces.get(&NamespacedName::new("", namespace));
    admits_namespace(admission, &holder.name().namespace, namespace, || known().map(Arc::as_ref))
}

/// The same, where the holder is in the namespace `own`.
pub(super) fn admits_namespace<'r>(
    admission: &Admission,
    own: &str,
    namespace: &str,
    known: impl FnOnce() -> Option<&'r Namespace>,
) -> bool {
    match admission {
        Admission::All => true,
        Admission::Same => own == namespace,
        Admission::Selected(selector) => selector.matches(&labels(namespace, known())),
        Admission::Nobody => false,
    }
}

/// Labels of a Namespace. One that is not known has the label that every Namespace has.
fn labels(namespace: &str, known: Option<&Namespace>) -> StringMap {
    let mut labels = known.map(|it| it.metadata.labels.clone()).unwrap_or_default();
    labels.entry(NAMESPACE_NAME_LABEL.to_owned()).or_insert_with(|| namespace.to_owned());
    labels
}

/// RT-5: no hostname on either side means every host.
fn hostnames_meet(listener: Option<&Hostname>, route: &[Hostname]) -> bool {
    listener.is_none_or(|listener| {
        route.is_empty() || route.iter().any(|hostname| hostname.intersects(listener))
    })
}
