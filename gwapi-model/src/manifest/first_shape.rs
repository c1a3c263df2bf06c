//! The API's first shape, group `networking.x-k8s.io`, as it is written today.
//!
//! Gateways selected their routes by labels then, and routes sent requests to a `serviceName`.
//! Today a route names its Gateways, so the names come from the Gateways of the same text.

use std::sync::Arc;

use super::node::{Node, Value};
use super::reader::DEFAULT_NAMESPACE;
use super::render;
use crate::{
    AddressType, AllowedNamespaces, AllowedRoutes, BackendObjectReference, FromNamespaces, Gateway,
    GatewayClass, GatewayClassSpec, GatewaySpec, GatewaySpecAddress, HttpBackendRef, HttpHeader,
    HttpHeaderFilter, HttpHeaderMatch, HttpPathMatch, HttpQueryParamMatch, HttpRequestMirrorFilter,
    HttpRoute, HttpRouteFilter, HttpRouteFilterType, HttpRouteMatch, HttpRouteRule, HttpRouteSpec,
    Kind, LabelSelector, Listener, ListenerTls, LocalObjectReference, NamespacedName, ObjectMeta,
    ParametersReference, ParentReference, PathMatchType, Port, Protocol, Resource, RouteGroupKind,
    SecretObjectReference, TlsMode, ValueMatchType,
};

/// Stands for a Gateway that the text does not hold.
const SOME_GATEWAY: &str = "name-of-the-gateway";

/// How an object of the first shape is written today: a sentence and a manifest. `None` where too
/// little of it can be read.
pub(super) fn today(old: &Node<'_>, kind: Kind, gateways: &[NamespacedName]) -> Option<String> {
    let metadata = metadata(old.get("metadata")?)?;
    let spec = old.get("spec");
    let (resource, note) = match kind {
        Kind::GatewayClass => (gateway_class(metadata, spec?).into(), ""),
        Kind::Gateway => (
            gateway(metadata, spec?).into(),
            "; which routes attach is now said by the routes, in `parentRefs`",
        ),
        Kind::HttpRoute => {
            let route = route(metadata, spec, gateways);
            let is_named = route.spec.parent_refs.iter().all(|parent| parent.name != SOME_GATEWAY);
            let note = match is_named {
                true => "",
                false => ", with the name of its Gateway in `parentRefs`",
            };
            (Resource::from(route), note)
        }
        _ => return None,
    };
    Some(format!("today it is written like this{note}:\n\n{}", render::to_yaml(&resource, None)))
}

fn metadata(old: &Node<'_>) -> Option<ObjectMeta> {
    Some(ObjectMeta {
        name: text(old, "name")?.into(),
        namespace: text(old, "namespace").unwrap_or_default().into(),
        labels: pairs(old.get("labels")).collect(),
        annotations: pairs(old.get("annotations")).collect(),
        ..ObjectMeta::default()
    })
}

fn gateway_class(metadata: ObjectMeta, old: &Node<'_>) -> GatewayClass {
    let parameters = old.get("parametersRef").map(|old| ParametersReference {
        group: text(old, "group").unwrap_or_default(),
        kind: text(old, "kind").unwrap_or_default(),
        name: text(old, "name").unwrap_or_default(),
        namespace: text(old, "namespace"),
    });
    let spec = GatewayClassSpec {
        controller_name: text(old, "controller").unwrap_or_default(),
        parameters_ref: parameters,
        description: None,
    };
    GatewayClass { metadata, spec }
}

fn gateway(metadata: ObjectMeta, old: &Node<'_>) -> Gateway {
    let mut listeners: Vec<Listener> = Vec::new();
    for old in items(old, "listeners") {
        let mut new = listener(old);
        if listeners.iter().any(|listener| listener.name == new.name) {
            new.name = format!("{}-{}", new.name, listeners.len() + 1);
        }
        listeners.push(new);
    }
    let addresses = items(old, "addresses").map(|old| GatewaySpecAddress {
        address_type: text(old, "type").map(|kind| match kind.as_str() {
            // The first shape had names of cloud resources as well; those are hostnames at best.
            "IPAddress" => AddressType::IpAddress,
            _ => AddressType::Hostname,
        }),
        value: text(old, "value"),
        routability: None,
    });
    let spec = GatewaySpec {
        gateway_class_name: text(old, "gatewayClassName").unwrap_or_default(),
        listeners,
        addresses: addresses.collect(),
        infrastructure: None,
        allowed_listeners: None,
        tls: None,
        default_scope: None,
    };
    Gateway { metadata, spec }
}

/// A listener. It had no name then: its protocol gives it one.
fn listener(old: &Node<'_>) -> Listener {
    let protocol = text(old, "protocol").unwrap_or_else(|| "HTTP".to_owned());
    let is_https = protocol == "HTTPS";
    let usual = if is_https { 443 } else { 80 };
    Listener {
        name: protocol.to_lowercase(),
        // `*` meant every host, which is said by naming none today.
        hostname: text(old, "hostname").filter(|hostname| hostname != "*"),
        port: port(old).or(Port::new(usual)).expect("both usual ports are ports"),
        protocol: Protocol::from(&*protocol),
        tls: old.get("tls").map(|old| ListenerTls {
            mode: text(old, "mode").map(|mode| TlsMode::from(&*mode)),
            certificate_refs: old.get("certificateRef").map(certificate).into_iter().collect(),
            options: pairs(old.get("options")).collect(),
        }),
        allowed_routes: old.get("routes").map(allowed_routes),
        filters: None,
    }
}

fn certificate(old: &Node<'_>) -> SecretObjectReference {
    SecretObjectReference {
        group: text(old, "group").filter(|group| !matches!(group.as_str(), "" | "core")),
        kind: text(old, "kind").filter(|kind| kind != "Secret"),
        name: text(old, "name").unwrap_or_default(),
        namespace: None,
    }
}

fn allowed_routes(old: &Node<'_>) -> AllowedRoutes {
    let namespaces = old.get("namespaces").map(|old| AllowedNamespaces {
        from: text(old, "from").map(|from| FromNamespaces::from(&*from)),
        selector: old.get("selector").map(|old| LabelSelector {
            match_labels: pairs(old.get("matchLabels")).collect(),
            ..LabelSelector::default()
        }),
    });
    let kind = text(old, "kind").map(|kind| RouteGroupKind { group: None, kind });
    AllowedRoutes { namespaces, kinds: kind.into_iter().collect() }
}

fn route(metadata: ObjectMeta, old: Option<&Node<'_>>, gateways: &[NamespacedName]) -> HttpRoute {
    let parent_refs = parents(&metadata, old, gateways);
    let rules = old.and_then(|old| old.get("rules")).and_then(Node::items);
    let hostnames = old.into_iter().flat_map(|old| items(old, "hostnames"));
    let spec = HttpRouteSpec {
        parent_refs,
        hostnames: hostnames
            .filter_map(Node::text)
            .filter(|hostname| *hostname != "*")
            .map(Arc::from)
            .collect(),
        rules: rules.map(|rules| rules.iter().map(rule).collect()),
        use_default_gateways: None,
    };
    HttpRoute { metadata, spec }
}

/// The Gateways that the route names, or else the text's first one, or else a name to fill in.
fn parents(
    metadata: &ObjectMeta,
    old: Option<&Node<'_>>,
    gateways: &[NamespacedName],
) -> Arc<[ParentReference]> {
    let namespace = match &*metadata.namespace {
        "" => DEFAULT_NAMESPACE,
        namespace => namespace,
    };
    let parent = |name: &str, of: Option<&str>| ParentReference {
        group: None,
        kind: None,
        namespace: of.filter(|of| *of != namespace).map(str::to_owned),
        name: name.to_owned(),
        section_name: None,
        port: None,
    };
    let named: Arc<[ParentReference]> = old
        .and_then(|old| old.find(&["gateways", "gatewayRefs"]))
        .and_then(Node::items)
        .into_iter()
        .flatten()
        .filter_map(|old| {
            let of = old.get("namespace").and_then(Node::text);
            Some(parent(old.get("name")?.text()?, of))
        })
        .collect();
    if !named.is_empty() {
        return named;
    }
    let neighbour = gateways.iter().find(|gateway| *gateway.namespace == *namespace);
    match neighbour.or(gateways.first()) {
        Some(gateway) => [parent(&gateway.name, Some(&gateway.namespace))].into(),
        None => [parent(SOME_GATEWAY, None)].into(),
    }
}

fn rule(old: &Node<'_>) -> HttpRouteRule {
    HttpRouteRule {
        matches: items(old, "matches").map(route_match).collect(),
        filters: items(old, "filters").filter_map(filter).collect(),
        backend_refs: items(old, "forwardTo").map(backend).collect(),
        ..HttpRouteRule::default()
    }
}

fn route_match(old: &Node<'_>) -> HttpRouteMatch {
    let path = old.get("path").map(|old| HttpPathMatch {
        match_type: text(old, "type").map(|kind| match kind.as_str() {
            "Exact" => PathMatchType::Exact,
            "RegularExpression" => PathMatchType::RegularExpression,
            _ => PathMatchType::PathPrefix,
        }),
        value: text(old, "value").map(Box::from),
    });
    let headers = values(old, "headers").map(|(match_type, name, value)| HttpHeaderMatch {
        match_type,
        name,
        value,
    });
    let query_params = values(old, "queryParams")
        .map(|(match_type, name, value)| HttpQueryParamMatch { match_type, name, value });
    HttpRouteMatch {
        path,
        headers: headers.collect(),
        query_params: query_params.collect(),
        method: None,
    }
}

/// Matches of headers or parameters: one type for a map of values then, a list of matches today.
fn values<'a>(
    old: &'a Node<'_>,
    key: &str,
) -> impl Iterator<Item = (Option<ValueMatchType>, String, String)> + 'a {
    let old = old.get(key);
    let is_pattern =
        old.and_then(|old| text(old, "type")).is_some_and(|kind| kind == "RegularExpression");
    let match_type = is_pattern.then_some(ValueMatchType::RegularExpression);
    pairs(old.and_then(|old| old.get("values")))
        .map(move |(name, value)| (match_type.clone(), name, value))
}

fn filter(old: &Node<'_>) -> Option<HttpRouteFilter> {
    let mut new = HttpRouteFilter {
        filter_type: HttpRouteFilterType::from(&*text(old, "type")?),
        request_header_modifier: None,
        response_header_modifier: None,
        request_mirror: None,
        request_redirect: None,
        url_rewrite: None,
        cors: None,
        external_auth: None,
        extension_ref: None,
    };
    match new.filter_type {
        HttpRouteFilterType::RequestHeaderModifier => {
            let old = old.get("requestHeaderModifier")?;
            let headers =
                |key| pairs(old.get(key)).map(|(name, value)| HttpHeader { name, value }).collect();
            let remove = items(old, "remove").filter_map(Node::text).map(str::to_owned);
            new.request_header_modifier = Some(HttpHeaderFilter {
                set: headers("set"),
                add: headers("add"),
                remove: remove.collect(),
            });
        }
        HttpRouteFilterType::RequestMirror => {
            let HttpBackendRef { group, kind, name, port, .. } = backend(old.get("requestMirror")?);
            let backend_ref = BackendObjectReference {
                group: group.map(String::from),
                kind: kind.map(String::from),
                name: name.into(),
                namespace: None,
                port,
            };
            new.request_mirror =
                Some(HttpRequestMirrorFilter { backend_ref, percent: None, fraction: None });
        }
        _ => {
            let old = old.get("extensionRef")?;
            new.extension_ref = Some(LocalObjectReference {
                group: text(old, "group").unwrap_or_default(),
                kind: text(old, "kind").unwrap_or_default(),
                name: text(old, "name")?,
            });
        }
    }
    Some(new)
}

fn backend(old: &Node<'_>) -> HttpBackendRef {
    let reference = old.get("backendRef");
    let of_reference = |key| reference.and_then(|old| text(old, key));
    let weight = old.get("weight").and_then(integer);
    HttpBackendRef {
        group: of_reference("group").filter(|group| group != "core").map(Box::from),
        kind: of_reference("kind").filter(|kind| kind != "Service").map(Box::from),
        name: text(old, "serviceName").or(of_reference("name")).unwrap_or_default().into(),
        namespace: None,
        port: port(old),
        weight: weight.and_then(|weight| i32::try_from(weight).ok()),
        filters: items(old, "filters").filter_map(filter).collect(),
    }
}

fn text(node: &Node<'_>, key: &str) -> Option<String> {
    node.get(key)?.text().map(str::to_owned)
}

fn port(node: &Node<'_>) -> Option<Port> {
    Port::new(u16::try_from(integer(node.get("port")?)?).ok()?)
}

fn integer(node: &Node<'_>) -> Option<i128> {
    match node.value {
        Value::Int(value) => Some(value),
        _ => None,
    }
}

fn items<'a, 't>(
    node: &'a Node<'t>,
    key: &str,
) -> impl Iterator<Item = &'a Node<'t>> + use<'a, 't> {
    node.get(key).and_then(Node::items).into_iter().flatten()
}

/// The entries of a map whose values are texts.
fn pairs<'a>(node: Option<&'a Node<'_>>) -> impl Iterator<Item = (String, String)> + use<'a> {
    node.and_then(Node::entries)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((entry.key.to_string(), entry.value.text()?.to_owned())))
}
