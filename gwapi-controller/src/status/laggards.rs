//! Conditions that name the proxies that have not taken a change in yet.

use std::collections::{BTreeMap, BTreeSet};

use gwapi_model::status::{Condition, ConditionStatus, ConditionType, Status};
use gwapi_model::{Kind, NamespacedName, ObjectId, ParentReference};
use gwapi_translate::ir::GatewayId;
use gwapi_translate::wire::Refusal;

use crate::serve::Laggard;

/// Proxies that a message names.
const NAMED: usize = 3;

/// The Gateways of ListenerSets.
pub(crate) type Sets = BTreeMap<NamespacedName, GatewayId>;

/// The Gateways whose proxies have to take a change in before the status of an object is true.
pub(super) fn gateways(id: &ObjectId, status: &Status, sets: &Sets) -> BTreeSet<GatewayId> {
    match status {
        Status::GatewayClass(_) => BTreeSet::new(),
        Status::Gateway(_) => BTreeSet::from([id.namespaced_name()]),
        Status::ListenerSet(_) => sets.get(&id.namespaced_name()).cloned().into_iter().collect(),
        Status::Route(route) => {
            route.parents.iter().filter_map(|it| gateway(id, &it.parent_ref, sets)).collect()
        }
        Status::Policy(policy) => {
            policy.ancestors.iter().filter_map(|it| gateway(id, &it.ancestor_ref, sets)).collect()
        }
    }
}

/// The status with a word about the proxies that do not serve it yet.
pub(super) fn annotate(
    id: &ObjectId,
    status: &Status,
    laggards: &[Laggard],
    sets: &Sets,
) -> Status {
    let mut status = status.clone();
    match &mut status {
        Status::GatewayClass(_) => {}
        Status::Gateway(gateway) => {
            let condition_type = ConditionType::Programmed;
            note(&mut gateway.conditions, condition_type, &id.namespaced_name(), laggards);
        }
        Status::ListenerSet(set) => {
            if let Some(gateway) = sets.get(&id.namespaced_name()) {
                note(&mut set.conditions, ConditionType::Programmed, gateway, laggards);
            }
        }
        Status::Route(route) => {
            let mut parents = route.parents.to_vec();
            for parent in &mut parents {
                if let Some(gateway) = gateway(id, &parent.parent_ref, sets) {
                    note(&mut parent.conditions, ConditionType::Accepted, &gateway, laggards);
                }
            }
            route.parents = parents.into();
        }
        Status::Policy(policy) => {
            for ancestor in &mut policy.ancestors {
                if let Some(gateway) = gateway(id, &ancestor.ancestor_ref, sets) {
                    note(&mut ancestor.conditions, ConditionType::Accepted, &gateway, laggards);
                }
            }
        }
    }
    status
}

fn gateway(referrer: &ObjectId, parent: &ParentReference, sets: &Sets) -> Option<GatewayId> {
    let namespace = parent.namespace.as_deref().unwrap_or(&referrer.namespace);
    let named = NamespacedName::new(namespace, &*parent.name);
    match parent.kind.as_deref() == Some(Kind::ListenerSet.as_str()) {
        true => sets.get(&named).cloned(),
        false => Some(named),
    }
}

fn note(
    conditions: &mut [Condition],
    condition_type: ConditionType,
    gateway: &GatewayId,
    laggards: &[Laggard],
) {
    let laggards: Vec<&Laggard> =
        laggards.iter().filter(|laggard| laggard.gateway == *gateway).collect();
    let condition = conditions.iter_mut().find(|condition| {
        condition.condition_type == condition_type && condition.status == ConditionStatus::True
    });
    let Some(condition) = condition.filter(|_| !laggards.is_empty()) else { return };
    let named: Vec<String> = laggards
        .iter()
        .take(NAMED)
        .map(|laggard| match &laggard.refused {
            None => format!("`{}`", laggard.proxy),
            Some(refusal) => format!("`{}` ({})", laggard.proxy, because(refusal)),
        })
        .collect();
    let more = match laggards.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("proxies that do not serve this yet: {}{more}", named.join(", "));
    if !condition.message.is_empty() {
        condition.message.push_str("; ");
    }
    condition.message.push_str(&message);
}

fn because(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Behind { kind, .. } => format!("it knows a newer state of {kind} than we do"),
        Refusal::Other(reason) => format!("it says {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gwapi_model::status::{
        ConditionReason, GatewayStatus, ListenerSetStatus, RouteParentStatus, RouteStatus,
    };

    use super::*;

    fn laggard(gateway: &str, proxy: &str) -> Laggard {
        let gateway = GatewayId::new("default", gateway);
        Laggard { gateway, proxy: proxy.to_owned(), refused: None }
    }

    fn condition(condition_type: ConditionType, message: &str) -> Condition {
        let (status, reason) = (ConditionStatus::True, ConditionReason::Programmed);
        Condition::new(condition_type, status, reason, message, 1)
    }

    #[test]
    fn a_gateway_names_its_slow_proxies_and_no_others() {
        let id = ObjectId::new(Kind::Gateway, "default", "web");
        let status = Status::Gateway(Box::new(GatewayStatus {
            conditions: vec![
                condition(ConditionType::Accepted, ""),
                condition(ConditionType::Programmed, ""),
            ],
            ..GatewayStatus::default()
        }));
        let proxies = ["web-1", "web-2", "web-3", "web-4", "web-5"];
        let mut laggards: Vec<Laggard> = proxies.map(|proxy| laggard("web", proxy)).to_vec();
        laggards.push(laggard("other", "other-1"));
        let Status::Gateway(noted) = annotate(&id, &status, &laggards, &Sets::new()) else {
            panic!("a Gateway")
        };
        assert_eq!(noted.conditions[0].message, "");
        assert_eq!(
            noted.conditions[1].message,
            "proxies that do not serve this yet: `web-1`, `web-2`, `web-3` and 2 more"
        );
        assert_eq!(annotate(&id, &status, &[], &Sets::new()), status);
    }

    #[test]
    fn a_route_names_the_slow_proxies_of_each_of_its_gateways() {
        let id = ObjectId::new(Kind::HttpRoute, "default", "shop");
        let parent = |kind: Option<Kind>, name: &str| RouteParentStatus {
            parent_ref: ParentReference {
                group: None,
                kind: kind.map(|kind| kind.as_str().to_owned()),
                namespace: None,
                name: name.to_owned(),
                section_name: None,
                port: None,
            },
            controller_name: "us".into(),
            conditions: vec![condition(ConditionType::Accepted, "a note")],
        };
        let parents: Arc<[RouteParentStatus]> = Arc::new([
            parent(None, "web"),
            parent(None, "other"),
            parent(Some(Kind::ListenerSet), "more"),
        ]);
        let status = Status::Route(RouteStatus { parents });
        let [web, other, shared] =
            ["web", "other", "shared"].map(|name| GatewayId::new("default", name));
        let sets: Sets = [(NamespacedName::new("default", "more"), shared.clone())].into();
        assert_eq!(gateways(&id, &status, &sets), [web, other, shared].into());

        let laggards = [laggard("other", "other-1"), laggard("shared", "shared-1")];
        let noted = annotate(&id, &status, &laggards, &sets);
        let Status::Route(noted) = noted else { panic!("a route") };
        let messages = noted.parents.iter().map(|parent| parent.conditions[0].message.as_str());
        assert_eq!(
            messages.collect::<Vec<_>>(),
            [
                "a note",
                "a note; proxies that do not serve this yet: `other-1`",
                "a note; proxies that do not serve this yet: `shared-1`",
            ]
        );
    }

    #[test]
    fn a_listener_set_waits_for_the_proxies_of_its_gateway() {
        let id = ObjectId::new(Kind::ListenerSet, "team", "more");
        let status = Status::ListenerSet(Box::new(ListenerSetStatus {
            conditions: vec![condition(ConditionType::Programmed, "")],
            listeners: Vec::new(),
        }));
        let web = GatewayId::new("default", "web");
        let sets: Sets = [(id.namespaced_name(), web.clone())].into();
        assert_eq!(gateways(&id, &status, &sets), [web].into());
        let noted = annotate(&id, &status, &[laggard("web", "web-1")], &sets);
        let Status::ListenerSet(noted) = noted else { panic!("a ListenerSet") };
        assert_eq!(noted.conditions[0].message, "proxies that do not serve this yet: `web-1`");
    }
}
