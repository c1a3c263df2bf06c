//! CA certificates: references to ConfigMaps and ClusterTrustBundles, and what is inside them (TL-5, TL-9,
//! BT-5, BT-13).

use std::sync::Arc;

use gwapi_model::{Kind, NamespacedName, ObjectId, Resources};

use super::certificates;

/// Key of a ConfigMap that holds CA certificates.
const KEY: &str = "ca.crt";

/// The object that a reference names, of a kind that holds CA certificates; `None` where it is of another
/// one. `namespace` is that of what lives in one.
pub(super) fn target(namespace: &str, group: &str, kind: &str, name: &str) -> Option<ObjectId> {
    let named = [Kind::ConfigMap, Kind::ClusterTrustBundle].into_iter();
    let kind = named.into_iter().find(|it| it.group() == group && it.as_str() == kind)?;
    Some(ObjectId::new(kind, if kind.is_namespaced() { namespace } else { "" }, name))
}

/// The same if objects of the kind are there to be read: a cluster may not have ClusterTrustBundles (TL-9). An
/// error says what else to refer to. It tells whether there are any to those alone who refer to one: nobody
/// else is looked at when they come or go.
pub(super) fn served(
    target: Option<ObjectId>,
    has_trust_bundles: bool,
) -> Result<ObjectId, &'static str> {
    match target {
        Some(object) if object.kind == Kind::ClusterTrustBundle && !has_trust_bundles => {
            Err("a ConfigMap of the core group; the cluster has no ClusterTrustBundles")
        }
        Some(object) => Ok(object),
        None => {
            Err("a ConfigMap of the core group, or to a ClusterTrustBundle where there are any")
        }
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
