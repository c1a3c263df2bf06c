//! What the provisioner is told.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
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
    /// When nodes pull that image.
    pub image_pull_policy: PullPolicy,
    /// CPU and memory of a proxy, where the parameters say nothing.
    pub resources: ResourceRequirements,
}

/// When nodes pull an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// For every container.
    Always,
    /// Where they do not have it.
    IfNotPresent,
    /// It is brought in other ways.
    Never,
}

impl PullPolicy {
    /// The policy as manifests name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Flags of the controller about the proxies that it makes.
#[derive(Args, Clone, Debug)]
pub struct ProvisionArgs {
    /// Image of the proxies, where GatewayParameters name none
    #[arg(long, value_name = "IMAGE", default_value_t = ProvisionSettings::default().image)]
    pub proxy_image: String,
    /// When nodes pull that image
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = PullPolicy::IfNotPresent)]
    pub proxy_image_pull_policy: PullPolicy,
    /// CPU and memory of a proxy as JSON, where GatewayParameters say nothing
    #[arg(
        long,
        value_name = "JSON",
        value_parser = resources,
        default_value = r#"{"requests":{"cpu":"10m","memory":"32Mi"}}"#
    )]
    pub proxy_resources: ResourceRequirements,
}

impl ProvisionArgs {
    /// The settings for a controller that looks into these namespaces; none means all.
    pub fn settings(self, controller_name: String, namespaces: Vec<String>) -> ProvisionSettings {
        ProvisionSettings {
            controller_name,
            namespaces,
            image: self.proxy_image,
            image_pull_policy: self.proxy_image_pull_policy,
            resources: self.proxy_resources,
        }
    }
}

fn resources(text: &str) -> Result<ResourceRequirements, String> {
    let resources: ResourceRequirements =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let amounts = resources.requests.iter().chain(&resources.limits);
    match amounts.into_iter().find(|(_, amount)| !amount.is_valid()) {
        Some((name, amount)) => {
            Err(format!("{name}: `{amount}` is no amount; expected one such as 100m or 64Mi"))
        }
        None => Ok(resources),
    }
}

impl Default for ProvisionSettings {
    fn default() -> Self {
        let request = |(name, amount): (&str, &str)| (name.to_owned(), Quantity::new(amount));
        Self {
            controller_name: CONTROLLER_NAME.to_owned(),
            namespaces: Vec::new(),
            image: format!("gwapi/proxy:{}", env!("CARGO_PKG_VERSION")),
            image_pull_policy: PullPolicy::IfNotPresent,
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        provision: ProvisionArgs,
    }

    fn parse(flags: &[&str]) -> Result<ProvisionSettings, String> {
        let flags = Flags::try_parse_from([&["controller"], flags].concat());
        let settings = flags.map_err(|error| error.to_string())?.provision;
        Ok(settings.settings(CONTROLLER_NAME.to_owned(), Vec::new()))
    }

    #[test]
    fn without_flags_there_are_the_defaults() {
        assert_eq!(parse(&[]), Ok(ProvisionSettings::default()));
    }

    #[test]
    fn the_flags_are_those_that_the_chart_writes() {
        let settings = parse(&[
            "--proxy-image=example.test/proxy:1",
            "--proxy-image-pull-policy=Never",
            r#"--proxy-resources={"limits":{"memory":"1Gi"},"requests":{"cpu":2}}"#,
        ])
        .expect("they are valid");
        assert_eq!(settings.image, "example.test/proxy:1");
        assert_eq!(settings.image_pull_policy, PullPolicy::Never);
        assert_eq!(settings.resources.requests["cpu"].as_str(), "2");
        assert_eq!(settings.resources.limits["memory"].as_str(), "1Gi");
    }

    #[test]
    fn what_is_no_amount_is_told() {
        let error = parse(&[r#"--proxy-resources={"requests":{"cpu":"much"}}"#]).unwrap_err();
        assert!(error.contains("cpu: `much` is no amount"), "{error}");
    }
}
