//! What the provisioner is told.

use std::collections::BTreeMap;
use std::time::Duration;

use gwapi_model::{CONTROLLER_NAME, Quantity, ResourceRequirements};

/// How long a Service may go without an address, where the parameters do not say (AD-1, AD-2).
pub const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// What the provisioner is told before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct ProvisionSettings {
    /// The controller's name: what is made is marked with it, and what another controller made is
    /// left alone.
    pub controller_name: String,
    /// Namespaces to look into; none means all.
    pub namespaces: Vec<String>,
    /// Image of the proxies, where the parameters name none.
    pub image: String,
    /// When nodes pull that image: `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// CPU and memory of a proxy, where the parameters say nothing.
    pub resources: ResourceRequirements,
}

impl Default for ProvisionSettings {
    fn default() -> Self {
        let request = |(name, amount): (&str, &str)| (name.to_owned(), Quantity::new(amount));
        Self {
            controller_name: CONTROLLER_NAME.to_owned(),
            namespaces: Vec::new(),
            image: format!("gwapi-proxy:{}", env!("CARGO_PKG_VERSION")),
            image_pull_policy: "IfNotPresent".to_owned(),
            resources: ResourceRequirements {
                requests: [("cpu", "10m"), ("memory", "32Mi")].map(request).into(),
                limits: BTreeMap::new(),
            },
        }
    }
}

/// How a proxy finds the controller, and how it knows that it is the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// URL of the config server, by address: no name has to be resolved for it.
    pub url: String,
    /// Name that the config server's certificate has to bear.
    pub server_name: String,
    /// Certificates, as PEM, one of which the config server's certificate has to come from.
    pub ca_bundle: String,
}
