//! CA certificates: references to ConfigMaps, and what is inside them (TL-5, BT-5).

use std::sync::Arc;

use gwapi_model::{NamespacedName, Resources};

use super::certificates;

/// Key of a ConfigMap that holds CA certificates.
const KEY: &str = "ca.crt";

/// The ConfigMap that a reference names; `None` where it names something else.
pub(super) fn target(
    namespace: &str,
    group: &str,
    kind: &str,
    name: &str,
) -> Option<NamespacedName> {
    (group.is_empty() && kind == "ConfigMap").then(|| NamespacedName::new(namespace, name))
}

/// The CA certificates of a ConfigMap, as PEM; an error says what is wrong with it and what to do.
pub(super) fn read(name: &NamespacedName, resources: &Resources) -> Result<Arc<str>, String> {
    let Some(config_map) = resources.config_maps.get(name) else {
        return Err(format!("ConfigMap `{name}` does not exist"));
    };
    let Some(pem) = config_map.data.get(KEY).filter(|pem| !pem.trim().is_empty()) else {
        return Err(format!("ConfigMap `{name}` has no key `{KEY}`, which holds CA certificates"));
    };
    certificates::read_authorities(pem.as_bytes())
        .map_err(|what| format!("ConfigMap `{name}` is broken: key `{KEY}` {what}"))
}
