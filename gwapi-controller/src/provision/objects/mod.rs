//! What is made for a Gateway: a pure function of what the Gateway asks for.

mod pod;
mod service;
mod workload;

use std::collections::BTreeMap;

use gwapi_translate::infrastructure::{GatewayInfrastructure, label_value};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use serde_json::Value;

use super::assign::ServicePlan;
use super::kind::ManagedKind;
use super::settings::{Bootstrap, ProvisionSettings};
use crate::fingerprint::fingerprint;
pub use pod::ADMIN_PORT;

/// Label that marks what gwapi made.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "gwapi";

/// Label that says which controller made it: [`controller_label`] of its name.
pub const CONTROLLER_LABEL: &str = "gwapi.dev/controller";

/// Label by which pods, and those who select them, name what they were made for.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

/// Label with the name of the Gateway, [cut where it is too long](label_value) (IN-2).
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// Label with the name of the GatewayClass (IN-2).
pub const CLASS_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-class-name";

const NAME_LABEL: &str = "app.kubernetes.io/name";
const NAME: &str = "gwapi-proxy";

/// Key of the CA certificates in the ConfigMap.
const CA_KEY: &str = "ca.crt";

/// One object that has to be in the cluster, in the namespace of its Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Kind.
    pub kind: ManagedKind,
    /// Name.
    pub name: String,
    /// All of it, as it is applied.
    pub object: Value,
}

/// Annotation of pods with the uid of their ServiceAccount. A pod's token is that of the account that
/// was there when the kubelet asked for it: under the same name another account has another token, and
/// pods that were made for the one before are strangers until they are replaced.
pub const ACCOUNT_ANNOTATION: &str = "gwapi.dev/service-account-uid";

/// Annotation of a Service with the routability that its address was asked for with, where that decides what
/// Service it is (AD-9).
pub const ROUTABILITY_ANNOTATION: &str = "gwapi.dev/routability";

/// Everything that has to be there for a Gateway, in the order in which it is made. `account` is the
/// uid of its ServiceAccount, as far as it is there.
///
/// Pod templates depend on parameters and on this account, and not on listeners: a listener that is
/// added or removed changes the Services, and the proxies that run open and close its port. The one
/// exception is a host port that leads to a UDP listener.
pub fn objects(
    wanted: &GatewayInfrastructure,
    services: &[ServicePlan],
    settings: &ProvisionSettings,
    bootstrap: &Bootstrap,
    account: Option<&str>,
) -> Vec<Manifest> {
    let maker = Maker { wanted, settings, bootstrap, account };
    let mut manifests = vec![maker.service_account(), maker.config_map()];
    // No two Services can have one port of the nodes: the first that is reached at nodes has it.
    let at_nodes = services.iter().position(|plan| !plan.is_for_cluster());
    let services = services.iter().enumerate();
    manifests.extend(services.map(|(index, plan)| maker.service(plan, at_nodes == Some(index))));
    manifests.push(maker.workload());
    manifests.extend(maker.autoscaler());
    manifests.extend(maker.disruption_budget());
    manifests
}

/// The one among [`objects`] by which proxies know the controller.
pub(super) fn config_map(
    wanted: &GatewayInfrastructure,
    settings: &ProvisionSettings,
    bootstrap: &Bootstrap,
) -> Manifest {
    Maker { wanted, settings, bootstrap, account: None }.config_map()
}

/// The value of [`CONTROLLER_LABEL`] for a controller's name. No two names have the same one.
pub fn controller_label(controller_name: &str) -> String {
    // Domains have no `_`, so that the first one stands for the slash.
    let label = controller_name.replacen('/', "_", 1);
    if is_label(&label) {
        return label;
    }
    let safe: String = label.chars().map(|c| if is_plain(c) { c } else { '-' }).take(46).collect();
    format!("{}-{}", safe.trim_end_matches(['-', '_', '.']), fingerprint(controller_name))
}

/// Whether a text can be the value of a label, and the name in a qualified name.
pub(super) fn is_label(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.chars().all(is_plain)
        && text.starts_with(is_end)
        && text.ends_with(is_end)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Labels by which the objects of one controller are found.
pub(super) fn selector_of_controller(controller_name: &str) -> String {
    format!(
        "{MANAGED_BY_LABEL}={MANAGED_BY},{CONTROLLER_LABEL}={}",
        controller_label(controller_name)
    )
}

/// What every object is made from.
struct Maker<'a> {
    wanted: &'a GatewayInfrastructure,
    settings: &'a ProvisionSettings,
    bootstrap: &'a Bootstrap,
    account: Option<&'a str>,
}

impl Maker<'_> {
    /// The proxies' identity: the config server believes the tokens of this account alone. It has no
    /// rights, and pods do not get its token for the API server.
    fn service_account(&self) -> Manifest {
        let account = ServiceAccount {
            metadata: self.metadata(&self.wanted.name),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        };
        self.manifest(ManagedKind::ServiceAccount, &self.wanted.name, &account)
    }

    fn config_map(&self) -> Manifest {
        let name = self.config_map_name();
        let config_map = ConfigMap {
            metadata: self.metadata(&name),
            data: Some([(CA_KEY.to_owned(), self.bootstrap.ca_bundle.clone())].into()),
            ..ConfigMap::default()
        };
        self.manifest(ManagedKind::ConfigMap, &name, &config_map)
    }

    fn config_map_name(&self) -> String {
        label_value(&format!("{}-config-ca", self.wanted.name))
    }

    fn manifest(&self, kind: ManagedKind, name: &str, object: &impl Serialize) -> Manifest {
        let object = serde_json::to_value(object).expect("Kubernetes' types are plain data");
        Manifest { kind, name: name.to_owned(), object }
    }

    /// Metadata with labels, annotations and the Gateway as the owner (IN-1, IN-2).
    fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.wanted.gateway.namespace.to_string()),
            labels: Some(self.labels()),
            annotations: some(self.wanted.annotations.clone()),
            owner_references: Some(vec![self.owner()]),
            ..ObjectMeta::default()
        }
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{}/v1", gwapi_model::GATEWAY_GROUP),
            kind: "Gateway".to_owned(),
            name: self.wanted.gateway.name.to_string(),
            uid: self.wanted.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// The Gateway's labels, and ours, which it cannot take the place of.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.wanted.labels.clone();
        labels.extend(self.own_labels());
        labels
    }

    /// The labels by which we find things.
    fn own_labels(&self) -> BTreeMap<String, String> {
        let controller = controller_label(&self.settings.controller_name);
        let ours = [
            (MANAGED_BY_LABEL, MANAGED_BY.to_owned()),
            (CONTROLLER_LABEL, controller),
            (GATEWAY_NAME_LABEL, label_value(&self.wanted.gateway.name)),
            (CLASS_NAME_LABEL, label_value(&self.wanted.class)),
        ];
        let mut labels: BTreeMap<_, _> = ours.map(|(key, value)| (key.to_owned(), value)).into();
        labels.extend(self.selector());
        labels
    }

    /// Labels that the Gateway's pods have and no others.
    fn selector(&self) -> BTreeMap<String, String> {
        [(NAME_LABEL, NAME), (INSTANCE_LABEL, self.wanted.name.as_str())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }
}

/// A map that is not there when it is empty.
fn some<K, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    if map.is_empty() { None } else { Some(map) }
}

/// A port as Kubernetes' types have it.
fn number(port: u16) -> i32 {
    i32::from(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_a_controller_is_its_name_where_it_can_be() {
        assert_eq!(
            controller_label("gwapi.dev/gateway-controller"),
            "gwapi.dev_gateway-controller"
        );
    }

    #[test]
    fn no_two_controllers_share_a_label() {
        let long = format!("example.test/{}", "a".repeat(80));
        let longer = format!("example.test/{}", "a".repeat(81));
        let names = ["a.b/c", "a.b/c/d", "a.b/c-d", "a.b/c_d", "a.b/c~d", "a.b/c-", &long, &longer];
        let labels = names.map(controller_label);
        for (index, label) in labels.iter().enumerate() {
            assert!(label.len() <= 63, "{label}");
            assert!(label.ends_with(|c: char| c.is_ascii_alphanumeric()), "{label}");
            assert!(!labels[..index].contains(label), "{label} stands for two controllers");
        }
    }
}
