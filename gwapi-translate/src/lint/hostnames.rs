//! Hostnames of routes that none of their listeners takes (RT-5).

use std::collections::{BTreeMap, BTreeSet};

use gwapi_model::ObjectId;
use gwapi_model::validate::closest;

use super::{Finding, Input, Lint, route_id, spec};
use crate::ir::{GatewayId, Hostname, Listener, ListenerKey};

/// Listeners that are named for one hostname.
const MAX_LISTENERS: usize = 5;

pub(super) fn find(input: &Input<'_>, findings: &mut Vec<Finding>) {
    for (id, attached) in attached(input) {
        let Some(route) = input.resources.route_of(&id) else { continue };
        let Some(listeners) = attached.into_iter().map(|key| listener(input, key)).collect() else {
            // A listener that is not served at present may take anything.
            continue;
        };
        let listeners: Vec<&Listener> = listeners;
        for (index, text) in route.hostnames().iter().enumerate() {
            let hostname = Hostname::parse(text);
            let is_taken = listeners.iter().any(|listener| {
                listener.hostname.as_ref().is_none_or(|its| its.intersects(&hostname))
            });
            if !is_taken && !text.is_empty() {
                let field = spec().field("hostnames").index(index);
                let message = format!("no listener that this route is attached to takes `{text}`");
                findings.push(
                    Finding::new(Lint::HostnameOutsideListener, id.clone(), field, message)
                        .with_help(help(text, &listeners)),
                );
            }
        }
    }
}

/// The listeners of each route; of one Gateway the rules of a route have the same.
fn attached<'a>(
    input: &Input<'a>,
) -> BTreeMap<ObjectId, BTreeSet<(&'a GatewayId, &'a ListenerKey)>> {
    let mut attached: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (gateway, config) in &input.translation.config {
        let http = config.http_rules().filter(|rule| !rule.hostnames.is_empty());
        let http = http.map(|rule| (rule.route_kind, &rule.route, &rule.listeners));
        let streams = config.stream_rules().filter(|rule| !rule.hostnames.is_empty());
        let streams = streams.map(|rule| (rule.route_kind, &rule.route, &rule.listeners));
        for (kind, name, listeners) in http.chain(streams) {
            let of_route = attached.entry(route_id(kind, name)).or_default();
            of_route.extend(listeners.iter().map(|listener| (gateway, listener)));
        }
    }
    attached
}

fn listener<'a>(
    input: &Input<'a>,
    (gateway, key): (&GatewayId, &ListenerKey),
) -> Option<&'a Listener> {
    let config = input.translation.config.get(gateway)?;
    config.listeners().find(|listener| listener.key == *key).map(|listener| &**listener)
}

fn help(text: &str, listeners: &[&Listener]) -> String {
    let hostnames: BTreeSet<String> = listeners
        .iter()
        .filter_map(|listener| listener.hostname.as_ref())
        .map(ToString::to_string)
        .collect();
    let known: Vec<&str> = hostnames.iter().map(String::as_str).collect();
    let shown = known.iter().take(MAX_LISTENERS).copied().collect::<Vec<_>>().join(", ");
    let more = match known.len().saturating_sub(MAX_LISTENERS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let meant = closest(text, &known).filter(|meant| !meant.starts_with('*'));
    match meant {
        Some(meant) => format!("did you mean `{meant}`? Its listeners take: {shown}{more}"),
        None => format!("its listeners take: {shown}{more}"),
    }
}
