//! CA certificates: references to ConfigMaps and ClusterTrustBundles, and what is inside them (TL-5, TL-9,
//! BT-5, BT-13).

use std::sync::Arc;

use gwapi_model::{Kind, NamespacedName, ObjectId, Resources};

use super::{Options, certificates};

/// Key of a ConfigMap that holds CA certificates.
const KEY: &str = "ca.crt";

/// The object that a reference names, of a kind that holds CA certificates; `None` where it is of another
/// one. `namespace` is that of what lives in one.
pub(super) fn target(namespace: &str, group: &str, kind: &str, name: &str) -> Option<ObjectId> {
    let named = [Kind::ConfigMap, Kind::ClusterTrustBundle].into_iter();
    let kind = named.into_iter().find(|it| it.group() == group && it.as_str() == kind)?;
    Some(ObjectId::new(kind, if kind.is_namespaced() { namespace } else { "" }, name))
}

/// Whether objects of a kind are there to be read: a cluster may not have ClusterTrustBundles (TL-9).
pub(super) fn is_served(kind: Kind, options: &Options) -> bool {
    kind != Kind::ClusterTrustBundle || options.cluster_trust_bundles
}

/// The kinds that a reference may name, in words.
pub(super) fn kinds(options: &Options) -> &'static str {
    match options.cluster_trust_bundles {
        true => "a ConfigMap of the core group, or to a ClusterTrustBundle",
        false => "a ConfigMap of the core group; the cluster has no ClusterTrustBundles",
    }
}

/// The CA certificates of an object, as PEM; an error says what is wrong with it and what to do.
pub(super) fn read(object: &ObjectId, resources: &Resources) -> Result<Arc<str>, String> {
    let name = object.namespaced_name();
    match object.kind {
        Kind::ClusterTrustBundle => of_trust_bundle(&name, resources),
        _ => of_config_map(&name, resources),
    }
}

fn of_trust_bundle(name: &NamespacedName, resources: &Resources) -> Result<Arc<str>, String> {
    let Some(bundle) = resources.cluster_trust_bundles.get(name) else {
        return Err(format!("ClusterTrustBundle `{name}` does not exist"));
    };
    certificates::read_authorities(bundle.spec.trust_bundle.as_bytes())
        .map_err(|what| format!("ClusterTrustBundle `{name}` is broken: spec.trustBundle {what}"))
}

fn of_config_map(name: &NamespacedName, resources: &Resources) -> Result<Arc<str>, String> {
    let Some(config_map) = resources.config_maps.get(name) else {
        return Err(format!("ConfigMap `{name}` does not exist"));
    };
    let Some(pem) = config_map.data.get(KEY).filter(|pem| !pem.trim().is_empty()) else {
        return Err(format!("ConfigMap `{name}` has no key `{KEY}`, which holds CA certificates"));
    };
    certificates::read_authorities(pem.as_bytes())
        .map_err(|what| format!("ConfigMap `{name}` is broken: key `{KEY}` {what}"))
}
