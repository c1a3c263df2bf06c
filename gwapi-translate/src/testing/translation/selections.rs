//! What holds of the pods that XBackends select in a cluster, and of the Services for them.

use std::collections::{BTreeMap, BTreeSet};

use gwapi_model::{
    AddressFamily, HttpRoute, Kind, NamespacedName, Resources, Service, ServiceType, XBackend,
};

use super::{Step, take, well_formed};
use crate::{Options, Translation, Translator};

/// With proxies of their own for Gateways, a Service is asked for by every XBackend that selects pods and has a
/// status, as it has where a Gateway sends to it, and by no other one. The Services that it has its pods from are
/// all those with its selector.
pub(super) fn selections_are_of_what_is_sent_to(
    resources: &Resources,
    translation: &Translation,
    provisioned: bool,
) -> Result<(), String> {
    for (name, backend) in &resources.x_backends {
        let is_used = translation.status.contains_key(&name.object_id(Kind::XBackend));
        let asked = selected(backend).filter(|_| provisioned && is_used);
        let selection = translation.selections.get(name);
        let given = selection.map(|it| (it.uid.clone(), &it.match_labels));
        ensure!(asked == given, "{name} asks for {asked:?}, and has {given:?}");
        let Some(selection) = selection else { continue };
        let of_namespace =
            resources.services.iter().filter(|(it, _)| it.namespace == name.namespace);
        let with_pods = of_namespace.filter(|(_, service)| selects(backend, service));
        let with_pods: BTreeSet<&str> = with_pods.map(|(service, _)| &*service.name).collect();
        let named: BTreeSet<&str> = selection.services.keys().map(String::as_str).collect();
        ensure!(with_pods == named, "{name} has its pods by {with_pods:?}, and names {named:?}");
    }
    let mut unknown = translation.selections.keys();
    let unknown = unknown.find(|name| !resources.x_backends.contains_key(*name));
    ensure!(unknown.is_none(), "{unknown:?} does not exist");
    Ok(())
}

/// The law of a cluster in which HTTPRoutes of the Gateway `a/g` alone send to XBackends: every translation is
/// well-formed, and a Service has to be made for an XBackend exactly where a route sends to it, it selects
/// something, and no Service of its namespace leads to a pod of it.
///
/// # Errors
///
/// Where it does not hold: the step, and the XBackend.
pub fn services_are_made_where_none_leads_to_the_pods(steps: &[Step]) -> Result<(), String> {
    let mut translator = Translator::new(Options::default());
    for (index, step) in steps.iter().enumerate() {
        let _ = take(&mut translator, step);
        let (resources, translation) = (translator.resources(), translator.translation());
        let after = |why: String| format!("after step {index}: {why}\n{step:?}");
        well_formed(resources, translation, translator.options()).map_err(after)?;
        for (name, backend) in &resources.x_backends {
            let is_sent_to = resources.http_routes.values().any(|route| sends_to(route, name));
            let wanted =
                is_sent_to && selected(backend).is_some() && !is_led_to(backend, resources);
            let selection = translation.selections.get(name);
            let made = selection.is_some_and(|it| !it.services.values().any(|leads| *leads));
            if wanted != made {
                return Err(after(format!(
                    "whether {name} needs a Service: {wanted}, and {selection:?}"
                )));
            }
        }
    }
    Ok(())
}

/// The uid of an XBackend that an API server has, and the labels of the pods that it selects, at least one.
fn selected(backend: &XBackend) -> Option<(String, &BTreeMap<String, String>)> {
    let uid = backend.metadata.uid.as_ref()?.to_string();
    let labels = &backend.spec.endpoint_selector.as_ref()?.match_labels;
    Some((uid, labels)).filter(|(_, labels)| !labels.is_empty())
}

/// Whether a Service selects the pods of an XBackend.
fn selects(backend: &XBackend, service: &Service) -> bool {
    let is_external = service.spec.service_type == Some(ServiceType::ExternalName);
    let selector = &service.spec.selector;
    selected(backend).is_some_and(|(_, labels)| labels == selector) && !is_external
}

/// Whether a route of the Gateway `a/g` names an XBackend.
fn sends_to(route: &HttpRoute, backend: &NamespacedName) -> bool {
    let own = &*route.metadata.namespace;
    let parents = &route.spec.parent_refs;
    let is_ours = parents.iter().any(|it| {
        let namespace = it.namespace.as_deref().unwrap_or(own);
        (namespace, &*it.name) == ("a", "g")
    });
    let mut named = route.spec.rules.iter().flatten().flat_map(|rule| &rule.backend_refs);
    is_ours
        && named.any(|it| {
            let namespace = it.namespace.as_deref().unwrap_or(own);
            it.kind.as_deref() == Some(Kind::XBackend.as_str())
                && (namespace, &*it.name) == (&*backend.namespace, &*backend.name)
        })
}

/// Whether an EndpointSlice says that a Service leads to a pod of an XBackend, by an address that a proxy can use.
fn is_led_to(backend: &XBackend, resources: &Resources) -> bool {
    resources.endpoint_slices.values().any(|slice| {
        let labels = &slice.metadata.labels;
        let service = labels.get("kubernetes.io/service-name").and_then(|name| {
            let name = NamespacedName::new(slice.metadata.namespace.clone(), name.as_str());
            resources.services.get(&name)
        });
        let is_by_address = slice.address_type != AddressFamily::Fqdn;
        slice.metadata.namespace == backend.metadata.namespace
            && service.is_some_and(|service| selects(backend, service))
            && is_by_address
            && !slice.endpoints.is_empty()
    })
}
