//! Fields that do not exist: an API server refuses them when kubectl asks for strict validation,
//! which it does by default, because a field that is not read is a wish that is not granted.

use super::Severity;
use super::finding::Finding;
use super::node::Entry;
use super::quoting::quoted;
use super::trail::Trail;
use crate::validate::suggest::closest;

/// Fields of every object that its own type does not list.
const OF_EVERY_OBJECT: &[&str] = &["apiVersion", "kind", "status"];

/// Fields of Kubernetes' `ObjectMeta` that routing does not read.
const OF_METADATA: &[&str] = &[
    "annotations",
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Fields that Kubernetes gives to structs of core kinds besides those that routing reads, by the
/// name of the type.
const NOT_READ: &[(&str, &[&str])] = &[
    ("ObjectMeta", OF_METADATA),
    ("Namespace", &["spec"]),
    (
        "ServiceSpec",
        &[
            "allocateLoadBalancerNodePorts",
            "clusterIPs",
            "externalIPs",
            "externalTrafficPolicy",
            "healthCheckNodePort",
            "internalTrafficPolicy",
            "ipFamilies",
            "ipFamilyPolicy",
            "loadBalancerClass",
            "loadBalancerIP",
            "loadBalancerSourceRanges",
            "publishNotReadyAddresses",
            "sessionAffinity",
            "sessionAffinityConfig",
            "trafficDistribution",
        ],
    ),
    ("ServicePort", &["nodePort"]),
    ("Endpoint", &["deprecatedTopology", "hints", "hostname", "nodeName", "zone"]),
    ("EndpointPort", &["appProtocol"]),
    ("EndpointAddress", &["hostname", "nodeName"]),
    ("EndpointTarget", &["apiVersion", "fieldPath", "kind", "namespace", "resourceVersion", "uid"]),
    ("Secret", &["immutable"]),
    ("ConfigMap", &["binaryData", "immutable"]),
];

/// Fields of the API's first shape and of Ingress, and what they are called today.
const RENAMED: &[(&str, &str)] = &[
    ("forwardTo", "backendRefs"),
    ("gateways", "parentRefs"),
    ("serviceName", "name"),
    ("servicePort", "port"),
    ("routes", "allowedRoutes"),
    ("controller", "controllerName"),
    ("certificateRef", "certificateRefs"),
    ("host", "hostnames"),
    ("hosts", "hostnames"),
    ("backend", "backendRefs"),
    ("backends", "backendRefs"),
];

/// A finding for each entry that is no field of the type `type_name`: an error where `strict`, a
/// warning otherwise.
pub(super) fn unknown<'a>(
    type_name: &str,
    fields: &'static [&'static str],
    entries: &'a [Entry<'_>],
    trail: &'a Trail<'_>,
    strict: bool,
) -> impl Iterator<Item = Finding> + use<'a> {
    let is_metadata = type_name == "ObjectMeta";
    let read = if is_metadata { &[] } else { fields };
    let not_read = NOT_READ.iter().find(|(name, _)| *name == type_name);
    let not_read = not_read.map_or(&[][..], |(_, fields)| fields);
    // Whatever metadata may hold besides has no effect on routing.
    let severity = if strict && !is_metadata { Severity::Error } else { Severity::Warning };
    entries
        .iter()
        .filter(move |entry| !read.contains(&&*entry.key) && !not_read.contains(&&*entry.key))
        .filter(|entry| !(trail.is_root() && OF_EVERY_OBJECT.contains(&&*entry.key)))
        .map(move |entry| Finding {
            severity,
            span: entry.key_span,
            field: trail.path(),
            message: format!("unknown field {}", quoted(&entry.key)),
            help: Some(help(&entry.key, &[read, not_read].concat())),
        })
}

fn help(key: &str, known: &[&str]) -> String {
    let renamed = RENAMED.iter().find(|(old, _)| *old == key).map(|(_, new)| *new);
    let renamed = renamed.filter(|new| known.contains(new));
    let fields = known.join(", ");
    match renamed.or_else(|| closest(key, known)) {
        Some(meant) => format!("did you mean `{meant}`? The fields here are: {fields}"),
        None => format!("the fields here are: {fields}"),
    }
}
