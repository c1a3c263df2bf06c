//! What a controller is told before it starts.

use std::net::{Ipv6Addr, SocketAddr};

use gwapi_model::CONTROLLER_NAME;
use gwapi_translate::{AddressPolicy, Options};

use crate::provision::{ADMIN_PORT, ProvisionSettings};

/// What a controller is told before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerSettings {
    /// GatewayClasses with this `spec.controllerName` are ours, all others are left alone (GC-1).
    /// Status is written under this name as well.
    pub controller_name: String,
    /// The controller's own namespace, where the Lease and the certificates are.
    pub namespace: String,
    /// Name of this replica: that of its pod.
    pub identity: String,
    /// Namespaces to look into; none means all.
    pub watch_namespaces: Vec<String>,
    /// Name of the Service through which proxies reach the controller; the Lease has the same.
    pub config_service: String,
    /// Name of the Secret with the certificates of the configuration server; none for one that
    /// follows from the name of the Service.
    pub config_tls_secret: Option<String>,
    /// Where proxies are served. `::` is every address of both families.
    pub serve: SocketAddr,
    /// Where health and metrics are served; `::` as above.
    pub admin: SocketAddr,
    /// How proxies are run. The controller's name and the namespaces in it do not count: those here
    /// do.
    pub provision: ProvisionSettings,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            controller_name: CONTROLLER_NAME.to_owned(),
            namespace: "gwapi-system".to_owned(),
            identity: "gwapi-controller".to_owned(),
            watch_namespaces: Vec::new(),
            config_service: "gwapi-controller".to_owned(),
            config_tls_secret: None,
            serve: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 18000)),
            admin: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 19001)),
            provision: ProvisionSettings::default(),
        }
    }
}

impl ControllerSettings {
    /// The options of the translator in a cluster: only classes of ours, every port as written but
    /// for the one of the proxies' admin pages, and proxies of its own for each Gateway.
    pub fn options(&self) -> Options {
        Options {
            controller_name: self.controller_name.clone(),
            addresses: AddressPolicy::Provisioned,
            reserved_ports: [ADMIN_PORT].into(),
            ..Options::default()
        }
    }

    /// Name of the Secret with the certificates of the configuration server.
    pub fn tls_secret(&self) -> String {
        let name = self.config_service.trim_end_matches("-controller");
        self.config_tls_secret.clone().unwrap_or_else(|| format!("{name}-config-tls"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_cluster_only_classes_of_ours_are_served() {
        let settings = ControllerSettings {
            controller_name: "example.test/mine".to_owned(),
            ..ControllerSettings::default()
        };
        let options = settings.options();
        assert_eq!(options.controller_name, "example.test/mine");
        assert!(!options.any_controller);
    }

    #[test]
    fn no_listener_has_the_port_of_the_proxies_admin_pages() {
        let options = ControllerSettings::default().options();
        assert!(options.reserved_ports.contains(&19000));
    }

    #[test]
    fn two_installs_in_one_namespace_have_secrets_of_their_own() {
        let settings = ControllerSettings::default();
        assert_eq!(settings.tls_secret(), "gwapi-config-tls");
        let config_service = "edge-gwapi-controller".to_owned();
        let other = ControllerSettings { config_service, ..settings };
        assert_eq!(other.tls_secret(), "edge-gwapi-config-tls");
    }
}
