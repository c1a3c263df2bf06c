//! A route: what it adds to each Gateway, and its status.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::status::{
    Condition, ConditionReason, ConditionType, RouteParentStatus, RouteStatus,
};
use gwapi_model::{DEFAULT_SCOPE_ALL, GATEWAY_GROUP, Kind, NamespacedName, ParentReference, Route};

use super::backend::{Purpose, ServicePort};
use super::conditions::{Problem, holds, summary};
use super::gateway::{AttachmentPoint, GatewayView};
use super::holder::Holder;
use super::rule::{self, CompiledRoute, Lookup};
use super::{HashMap, Options, attachment};
use crate::ir::{GatewayId, HttpFilter, HttpRule, IrResource, ListenerKey};

/// What a route amounts to. There are as many as routes: lists have no room to spare.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteView {
    /// Per Gateway that serves it, each once.
    pub(super) gateways: Box<[Attached]>,
    /// Status.
    pub(super) status: RouteStatus,
}

/// A route at a Gateway.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub(super) attachment: Arc<Attachment>,
    /// Its rules: [`HttpRule`]s, or a [`StreamRule`](crate::ir::StreamRule) for each way of its connections.
    pub(super) rules: Rules,
}

/// Rules of a route, of which there is mostly one.
#[derive(Clone, Debug, Default)]
pub(super) enum Rules {
    #[default]
    None,
    One(IrResource),
    Many(Box<[IrResource]>),
}

impl Rules {
    pub(super) fn as_slice(&self) -> &[IrResource] {
        match self {
            Self::None => &[],
            Self::One(rule) => std::slice::from_ref(rule),
            Self::Many(rules) => rules,
        }
    }
}

impl FromIterator<IrResource> for Rules {
    fn from_iter<I: IntoIterator<Item = IrResource>>(rules: I) -> Self {
        let mut rules: Vec<_> = rules.into_iter().collect();
        match rules.len() {
            0 => Self::None,
            1 => rules.pop().map_or(Self::None, Self::One),
            _ => Self::Many(rules.into()),
        }
    }
}

/// What a route at a Gateway mostly has in common with the route before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) gateway: GatewayId,
    /// Listeners that it is attached to, sorted.
    listeners: Arc<[ListenerKey]>,
    /// Service ports that the Gateway needs for them, each once.
    pub(super) backends: Box<[ServicePort]>,
    is_counted: bool,
}

impl Attachment {
    /// Listeners that count the route as attached, each once (AR-4).
    pub(super) fn counted(&self) -> &[ListenerKey] {
        if self.is_counted { &self.listeners } else { &[] }
    }

    /// The same as one of those `before`, where there is one: it shares that one's room.
    fn shared(self, before: &[Attached]) -> Arc<Self> {
        let same = before.iter().map(|it| &it.attachment).find(|it| ***it == self);
        same.map_or_else(|| Arc::new(self), Arc::clone)
    }
}

/// References of a route that its status has room for (RT-6).
const PARENTS_LIMIT: usize = 32;

/// What a reference of a route leads to.
pub(super) struct Parent<'r> {
    /// As the route has it, or as it could have it (RT-16).
    reference: Cow<'r, ParentReference>,
    holder: Holder,
    /// The Gateway of ours whose listeners the holder holds.
    gateway: GatewayId,
    /// Whether it is meant because it is a default Gateway, and not by its name (RT-16).
    by_default: bool,
}

/// The Gateways of ours and their ListenerSets that a route refers to (RT-8, LS-9), and the default Gateways
/// that it asks for (RT-16); without any it is none of our business.
pub(super) fn parents<'r, 'g>(
    route: Route<'r>,
    gateway_of: impl Fn(&Holder) -> Option<&'g GatewayId>,
    defaults: &BTreeSet<(i64, GatewayId)>,
) -> Vec<Parent<'r>> {
    let mut parents: Vec<Parent<'_>> = Vec::new();
    for reference in route.parent_refs() {
        let Some(holder) = attachment::holder(route, reference) else { continue };
        let Some(gateway) = gateway_of(&holder).cloned() else { continue };
        // RT-6: one entry per reference.
        if parents.iter().all(|other| *other.reference != *reference) {
            let reference = Cow::Borrowed(reference);
            parents.push(Parent { reference, holder, gateway, by_default: false });
        }
    }
    if route.asks_for_default_gateways() {
        add_defaults(&mut parents, defaults);
    }
    parents
}

/// RT-16: the default Gateways that a route does not name itself, as far as its status can tell of them. The
/// oldest come first: no new one takes the place of one that serves the route.
fn add_defaults(parents: &mut Vec<Parent<'_>>, defaults: &BTreeSet<(i64, GatewayId)>) {
    for (_, gateway) in defaults {
        if parents.len() >= PARENTS_LIMIT {
            return;
        }
        let holder = Holder::Gateway(gateway.clone());
        let is_whole = |reference: &ParentReference| {
            reference.section_name.is_none() && reference.port.is_none()
        };
        if !parents.iter().any(|it| it.holder == holder && is_whole(&it.reference)) {
            let reference = Cow::Owned(whole_gateway(gateway));
            parents.push(Parent { reference, holder, gateway: gateway.clone(), by_default: true });
        }
    }
}

/// The reference to all listeners of a Gateway.
fn whole_gateway(gateway: &GatewayId) -> ParentReference {
    ParentReference {
        group: None,
        kind: None,
        namespace: Some(gateway.namespace.to_string()),
        name: gateway.name.to_string(),
        section_name: None,
        port: None,
    }
}

/// Derives a route with at least one parent of ours; `before` is the route that was derived last.
pub(super) fn view(
    name: &NamespacedName,
    route: Route<'_>,
    parents: Vec<Parent<'_>>,
    gateways: &HashMap<GatewayId, GatewayView>,
    lookup: &Lookup<'_>,
    options: &Options,
    before: &RouteView,
) -> RouteView {
    let mut compiled = rule::compile(name, route, lookup);
    let mut listeners: BTreeMap<GatewayId, BTreeMap<ListenerKey, bool>> = BTreeMap::new();
    let mut statuses = Vec::with_capacity(parents.len());
    for Parent { reference, holder, gateway, by_default } in parents {
        let points = gateways[&gateway].listeners.get(&holder).map_or(&[][..], Vec::as_slice);
        let hostnames = &compiled.hostnames;
        let id = (route.kind(), name);
        let attached =
            attachment::attach(&reference, &holder, points, id, hostnames, lookup.resources);
        statuses.push(RouteParentStatus {
            parent_ref: written_out(reference.into_owned()),
            controller_name: options.controller_name.clone(),
            conditions: conditions(route, &compiled, attached.as_ref().err(), by_default),
        });
        if let Ok(attached) = attached {
            listeners.entry(gateway).or_default().extend(attached);
        }
    }
    let mut left = listeners.len();
    let serve = |(gateway, listeners): (GatewayId, BTreeMap<ListenerKey, bool>)| {
        left -= 1;
        let (mut rules, mut streams) = match left {
            0 => (std::mem::take(&mut compiled.rules), std::mem::take(&mut compiled.streams)),
            _ => (compiled.rules.clone(), compiled.streams.clone()),
        };
        let has_way = |passthrough: bool| listeners.values().any(|through| *through == passthrough);
        let needed = |target: &&ServicePort| has_way(target.purpose == Purpose::Passthrough);
        let attachment = Attachment {
            listeners: listeners.keys().cloned().collect(),
            backends: compiled.backends.iter().filter(needed).cloned().collect(),
            is_counted: !compiled.all_broken,
            gateway,
        };
        let attachment = attachment.shared(&before.gateways);
        let points = &gateways[&attachment.gateway].listeners;
        for rule in &mut rules {
            rule.listeners.clone_from(&attachment.listeners);
            shift_redirects(rule, points, options.port_offset);
        }
        streams.retain(|(passthrough, _)| has_way(*passthrough));
        for (passthrough, rule) in &mut streams {
            let of_way = listeners.iter().filter(|(_, through)| *through == passthrough);
            rule.listeners = of_way.map(|(key, _)| key.clone()).collect();
        }
        let rules = rules.into_iter().map(|rule| IrResource::HttpRule(Arc::new(rule)));
        let streams = streams.into_iter().map(|(_, rule)| IrResource::StreamRule(Arc::new(rule)));
        Attached { attachment, rules: rules.chain(streams).collect() }
    };
    RouteView {
        gateways: listeners.into_iter().map(serve).collect(),
        status: RouteStatus { parents: statuses.into() },
    }
}

/// RT-6: the reference as written, with group and kind.
fn written_out(mut parent: ParentReference) -> ParentReference {
    parent.group.get_or_insert_with(|| GATEWAY_GROUP.to_owned());
    parent.kind.get_or_insert_with(|| Kind::Gateway.as_str().to_owned());
    parent
}

/// RT-7: Accepted and ResolvedRefs are always there; RT-11: PartiallyInvalid when it holds.
fn conditions(
    route: Route<'_>,
    compiled: &CompiledRoute,
    refusal: Option<&Problem>,
    by_default: bool,
) -> Vec<Condition> {
    let generation = route.metadata().generation;
    let mut notes = Vec::new();
    if by_default {
        notes.push("the route asks for default Gateways, and this is one".to_owned());
    } else if let Some(scope) = route.use_default_gateways()
        && !matches!(scope, "" | "None" | DEFAULT_SCOPE_ALL)
    {
        notes.push(format!(
            "spec.useDefaultGateways: `{scope}` is not a scope that is known, and has no effect; \
             expected All or None"
        ));
    }
    notes.extend(compiled.rule_notes.iter().cloned());
    let problems: Vec<&Problem> = match refusal {
        Some(refusal) => vec![refusal],
        None if compiled.all_broken => compiled.broken.iter().collect(),
        None => Vec::new(),
    };
    let accepted = problems.is_empty();
    let mut conditions = vec![
        summary(ConditionType::Accepted, problems, &notes, generation),
        summary(ConditionType::ResolvedRefs, &compiled.unresolved, &compiled.notes, generation),
    ];
    if let Some(first) = compiled.broken.first().filter(|_| accepted) {
        // RT-11 wants the words in front; what becomes of its requests stands behind each rule.
        let dropped = compiled.broken.iter().map(|it| format!("Dropped Rule {}", it.message));
        let message = dropped.collect::<Vec<_>>().join("; ");
        let reason = match first.reason {
            ConditionReason::IncompatibleFilters => ConditionReason::IncompatibleFilters,
            _ => ConditionReason::UnsupportedValue,
        };
        conditions.push(holds(ConditionType::PartiallyInvalid, reason, message, generation));
    }
    conditions
}

/// Redirects to a port of this Gateway lead to where the offset has put it; without an offset
/// they stay as they are, and so do those to a host that no listener with a place on that port takes: they
/// lead elsewhere. A scheme without port means its well-known port (HF-3).
fn shift_redirects(
    rule: &mut HttpRule,
    points: &BTreeMap<Holder, Vec<AttachmentPoint>>,
    offset: u16,
) {
    if offset == 0 {
        return;
    }
    let filters = rule
        .filters
        .iter_mut()
        .chain(rule.backends.iter_mut().flat_map(|backend| &mut backend.filters));
    for filter in filters {
        let HttpFilter::Redirect(redirect) = filter else { continue };
        let port = redirect.port.or(match redirect.scheme.as_deref() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        });
        let takes_host = |point: &AttachmentPoint| match (&redirect.hostname, &point.hostname) {
            (Some(host), Some(hostname)) => hostname.matches(host),
            _ => true,
        };
        let shifted = port.and_then(|port| {
            let points = points.values().flatten();
            let mut points = points.filter(|point| point.port == port && takes_host(point));
            points.find_map(|point| point.shifted_port)
        });
        if shifted.is_some() {
            redirect.port = shifted;
        }
    }
}
