//! What works without a cluster and not in one, or not in every one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gwapi_model::validate::FieldPath;
use gwapi_model::{
    EXPERIMENTAL_GROUP, HttpRouteFilter, HttpRouteFilterType, Listener, NamespacedName, ObjectId,
    Resource, Route,
};

use super::{Finding, Input, Lint, rule_field, spec};

pub(super) fn find(input: &Input<'_>, findings: &mut Vec<Finding>) {
    for resource in input.resources.iter() {
        endpoints(&resource, findings);
        experimental(&resource, findings);
    }
    namespaces(input, findings);
}

/// Endpoints at addresses that an API server refuses, by the first one of an object.
fn endpoints(resource: &Resource, findings: &mut Vec<Finding>) {
    let mut refused = match resource {
        Resource::EndpointSlice(slice) => {
            let lists = slice.endpoints.iter().enumerate().flat_map(|(index, endpoint)| {
                let field = FieldPath::default().field("endpoints").index(index).field("addresses");
                endpoint
                    .addresses
                    .iter()
                    .enumerate()
                    .map(move |(index, it)| (field.index(index), it))
            });
            lists.filter_map(|(field, address)| Some((field, address, special(address)?))).collect()
        }
        Resource::Endpoints(endpoints) => {
            let lists = endpoints.subsets.iter().enumerate().flat_map(|(index, subset)| {
                let subset_field = FieldPath::default().field("subsets").index(index);
                let lists = [
                    ("addresses", &subset.addresses),
                    ("notReadyAddresses", &subset.not_ready_addresses),
                ];
                lists.into_iter().flat_map(move |(name, addresses)| {
                    let field = subset_field.field(name);
                    let fields = move |index| field.index(index).field("ip");
                    addresses.iter().enumerate().map(move |(index, it)| (fields(index), &it.ip))
                })
            });
            lists.filter_map(|(field, address)| Some((field, address, special(address)?))).collect()
        }
        _ => Vec::new(),
    }
    .into_iter();
    let Some((field, address, what)) = refused.next() else { return };
    let more = match refused.len() {
        0 => String::new(),
        more => format!(", nor {more} more of these"),
    };
    let message =
        format!("an API server takes no {what} address as an endpoint: not {address}{more}");
    let help = "in a cluster Services get their endpoints from pods; on this machine alone \
                `gwapi run --backend` names them without a manifest";
    findings
        .push(Finding::new(Lint::RefusedByACluster, resource.id(), field, message).with_help(help));
}

/// What an API server calls an address that no endpoint may have.
fn special(address: &str) -> Option<&'static str> {
    let address: IpAddr = address.parse().ok()?;
    if address.is_unspecified() {
        return Some("unspecified");
    }
    if address.is_loopback() {
        return Some("loopback");
    }
    let is_link_local = match address {
        IpAddr::V4(ip) => ip.is_link_local() || ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.segments()[0] & 0xff0f == 0xff02,
    };
    is_link_local.then_some("link-local")
}

/// Kinds and fields that only the experimental channel has.
fn experimental(resource: &Resource, findings: &mut Vec<Finding>) {
    let mut find = |field: FieldPath, what: &str| {
        let message = format!(
            "{what} is of the experimental channel: a cluster with the CRDs of the standard \
                               channel does not have it"
        );
        findings.push(Finding::new(Lint::ExperimentalChannel, resource.id(), field, message));
    };
    if resource.kind().group() == EXPERIMENTAL_GROUP {
        find(FieldPath::default().field("kind"), resource.kind().as_str());
        return;
    }
    match resource {
        Resource::Gateway(gateway) => {
            if gateway.spec.default_scope.is_some() {
                find(spec().field("defaultScope"), "`defaultScope`");
            }
            for (index, address) in gateway.spec.addresses.iter().enumerate() {
                if address.routability.is_some() {
                    let field = spec().field("addresses").index(index).field("routability");
                    find(field, "`routability`");
                }
            }
            listener_filters(&gateway.spec.listeners, &mut find);
        }
        Resource::ListenerSet(set) => listener_filters(&set.spec.listeners, &mut find),
        _ => {}
    }
    if let Some(route) = Route::of(resource) {
        experimental_of_route(route, &mut find);
    }
}

fn listener_filters(listeners: &[Listener], find: &mut impl FnMut(FieldPath, &str)) {
    for (index, _) in listeners.iter().enumerate().filter(|(_, it)| it.filters.is_some()) {
        find(spec().field("listeners").index(index).field("filters"), "`filters` of listeners");
    }
}

fn experimental_of_route(route: Route<'_>, find: &mut impl FnMut(FieldPath, &str)) {
    if route.use_default_gateways().is_some() {
        find(spec().field("useDefaultGateways"), "`useDefaultGateways`");
    }
    for (index, rule) in route.rules().enumerate() {
        let field = rule_field(index);
        if rule.session_persistence().is_some() {
            find(field.field("sessionPersistence"), "`sessionPersistence`");
        }
        external_auth(rule.filters(), &field, find);
        for (index, backend) in rule.backends().enumerate() {
            external_auth(backend.filters, &field.field("backendRefs").index(index), find);
        }
    }
}

fn external_auth(
    filters: &[HttpRouteFilter],
    field: &FieldPath,
    find: &mut impl FnMut(FieldPath, &str),
) {
    for (index, filter) in filters.iter().enumerate() {
        if filter.filter_type == HttpRouteFilterType::ExternalAuth {
            find(field.field("filters").index(index).field("type"), "the filter `ExternalAuth`");
        }
    }
}

/// Namespaces that every cluster has.
const OF_EVERY_CLUSTER: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Namespaces that objects are in and that are not there. Where no Namespace is there at all, others look
/// after them.
fn namespaces(input: &Input<'_>, findings: &mut Vec<Finding>) {
    let known = &input.resources.namespaces;
    if known.is_empty() {
        return;
    }
    let is_missing = |namespace: &str| {
        !OF_EVERY_CLUSTER.contains(&namespace)
            && !known.contains_key(&NamespacedName::new("", namespace))
    };
    let mut missing: BTreeMap<String, (ObjectId, usize)> = BTreeMap::new();
    for resource in input.resources.iter() {
        let id = resource.id();
        if id.kind.is_namespaced() && is_missing(&id.namespace) {
            let (_, count) = missing.entry(id.namespace.to_string()).or_insert((id, 0));
            *count += 1;
        }
    }
    for (namespace, (first, count)) in missing {
        let field = FieldPath::default().field("metadata").field("namespace");
        let are = if count == 1 { "is" } else { "are" };
        let message = format!(
            "no Namespace `{namespace}` is among those that are here: a cluster has to have it before the \
             objects in it, of which there {are} {count}"
        );
        let help = format!("add the Namespace {namespace}, if nothing else makes it");
        findings.push(Finding::new(Lint::MissingNamespace, first, field, message).with_help(help));
    }
}
