//! What the Service of an XBackend has to be.

use std::collections::BTreeMap;

use gwapi_model::Kind;
use gwapi_translate::selection::EndpointSelection;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::drift::sealed;
use super::super::kind::ManagedKind;
use super::super::objects::{
    CONTROLLER_LABEL, MANAGED_BY, MANAGED_BY_LABEL, Manifest, controller_label,
};

/// Label of a Service with the UID of the XBackend that it was made for.
pub const X_BACKEND_LABEL: &str = "gwapi.dev/x-backend-uid";

/// The longest text that an API server puts something behind for a name: names of Services have 63 characters.
const PREFIX_LIMIT: usize = 58;

/// The Service by which the pods of a selection are found: headless and owned, with a name that the API server
/// generates, and the port of the XBackend for that of the pods. Until it is made, its name is what that
/// begins with.
pub(super) fn manifest(selection: &EndpointSelection, controller_name: &str) -> Manifest {
    let labels = [
        (MANAGED_BY_LABEL, MANAGED_BY.to_owned()),
        (CONTROLLER_LABEL, controller_label(controller_name)),
        (X_BACKEND_LABEL, selection.uid.clone()),
    ];
    let metadata = ObjectMeta {
        namespace: Some(selection.backend.namespace.to_string()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        owner_references: Some(vec![owner(selection)]),
        ..ObjectMeta::default()
    };
    let port = i32::from(selection.port);
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        cluster_ip: Some("None".to_owned()),
        selector: Some(selection.match_labels.clone()),
        ports: Some(vec![ServicePort {
            port,
            target_port: Some(IntOrString::Int(port)),
            protocol: Some("TCP".to_owned()),
            ..ServicePort::default()
        }]),
        ..ServiceSpec::default()
    };
    let service = Service { metadata, spec: Some(spec), status: None };
    let object = serde_json::to_value(service).expect("Kubernetes' types are plain data");
    sealed(Manifest { kind: ManagedKind::Service, name: prefix(&selection.backend.name), object })
}

/// The XBackend. It does not wait for its Service when it goes: who asks for that needs a right to its finalizers.
fn owner(selection: &EndpointSelection) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/{}", Kind::XBackend.group(), Kind::XBackend.version()),
        kind: Kind::XBackend.as_str().to_owned(),
        name: selection.backend.name.to_string(),
        uid: selection.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// What the name of the Service begins with. It is a DNS label, which the name of an XBackend need not be.
fn prefix(backend: &str) -> String {
    let starts_with_letter = backend.starts_with(|c: char| c.is_ascii_lowercase());
    let start = if starts_with_letter { "" } else { "x-" };
    let label = backend.chars().map(|c| if c == '.' { '-' } else { c });
    let label: String = start.chars().chain(label).take(PREFIX_LIMIT - 1).collect();
    format!("{}-", label.trim_end_matches('-'))
}

/// Labels by which the Services are found that any gwapi in the cluster made for XBackends.
pub(super) fn selector() -> String {
    format!("{MANAGED_BY_LABEL}={MANAGED_BY},{X_BACKEND_LABEL}")
}

/// Labels by which those are found that are like this one: made by the same controller for the same XBackend.
pub(super) fn selector_of(manifest: &Manifest) -> String {
    let labels = manifest.object["metadata"]["labels"].as_object();
    let labels = labels.into_iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    labels.collect::<Vec<_>>().join(",")
}

/// Whether this controller made an object, as its labels say.
pub(super) fn is_of_controller(
    labels: Option<&BTreeMap<String, String>>,
    controller_name: &str,
) -> bool {
    let label = labels.and_then(|labels| labels.get(CONTROLLER_LABEL));
    label.is_some_and(|label| *label == controller_label(controller_name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::drift::seal;
    use super::super::plan::tests::selection;
    use super::*;

    #[test]
    fn a_service_is_headless_and_owned_and_has_a_generated_name() {
        let mut object = manifest(&selection(&[]), "gwapi.dev/gateway-controller").object;
        object["metadata"]["annotations"] = json!(null);
        let expected = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "namespace": "shop",
                "annotations": null,
                "labels": {
                    "app.kubernetes.io/managed-by": "gwapi",
                    "gwapi.dev/controller": "gwapi.dev_gateway-controller",
                    "gwapi.dev/x-backend-uid": "uid-of-pods",
                },
                "ownerReferences": [{
                    "apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackend",
                    "name": "pods", "uid": "uid-of-pods", "controller": true,
                }],
            },
            "spec": {
                "type": "ClusterIP", "clusterIP": "None", "selector": {"app": "web"},
                "ports": [{"port": 9000, "targetPort": 9000, "protocol": "TCP"}],
            },
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn the_fingerprint_follows_what_is_selected_and_not_who_else_selects_it() {
        let print = |selection: &EndpointSelection| seal(&manifest(selection, "c")).clone();
        let plain = selection(&[]);
        assert_eq!(print(&plain), print(&selection(&[("web", true)])));
        assert_ne!(print(&plain), print(&EndpointSelection { port: 9001, ..plain.clone() }));
    }

    #[test]
    fn a_name_begins_with_a_dns_label_that_leaves_room_for_the_rest() {
        let long = "a".repeat(253);
        for (backend, expected) in [
            ("pods", "pods-"),
            ("shop.v1", "shop-v1-"),
            ("8080", "x-8080-"),
            (&*long, &*format!("{}-", "a".repeat(57))),
            (&format!("{}.b", "a".repeat(56)), &format!("{}-", "a".repeat(56))),
        ] {
            assert_eq!(prefix(backend), expected);
            assert!(expected.len() <= PREFIX_LIMIT);
        }
    }
}
