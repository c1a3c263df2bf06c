//! The command line, as clap reads it.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use gwapi_controller::ControllerSettings;
use gwapi_controller::provision::ProvisionArgs;

const ABOUT: &str = "\
The Kubernetes Gateway API in a cluster: watches Gateways and routes, runs proxies for them, and \
writes their status";

const AFTER: &str = "\
It finds the API server by KUBECONFIG or ~/.kube/config, and in a pod by its ServiceAccount.

Health and metrics:
  /livez     200 while the process runs
  /readyz    200 when it has read everything; otherwise 503 and what is missing
  /metrics   OpenMetrics

Exit codes:
  0    stopped by SIGTERM or SIGINT, with the Lease let go
  2    wrong usage
  3    could not start, say because an address is in use, or had to stop
  130  stopped at once by a second signal";

/// The controller.
#[derive(Debug, Parser)]
#[command(name = "gwapi-controller", version, about = ABOUT, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    /// Serve GatewayClasses with this spec.controllerName
    #[arg(long, value_name = "NAME", default_value_t = ControllerSettings::default().controller_name)]
    controller_name: String,
    /// Namespace of the controller, where its Service, Lease and certificates are [default: that of
    /// the pod, or of the context]
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Look into these namespaces only, so that Roles there are enough
    ///
    /// GatewayClasses, Namespaces and CustomResourceDefinitions live in no namespace: reading them
    /// takes a ClusterRole all the same. What other namespaces hold does not exist for this
    /// controller.
    #[arg(long, value_name = "NAMESPACE,...", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Name of the Service through which proxies reach this controller; the Lease has the same
    #[arg(long, value_name = "NAME", default_value_t = ControllerSettings::default().config_service)]
    config_service_name: String,
    /// Name of the Secret with the certificates of the configuration server [default: the name of
    /// the Service with -config-tls in place of -controller]
    #[arg(long, value_name = "NAME")]
    config_tls_secret: Option<String>,
    /// Name of this replica, which no other one has [default: the host name]
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Address on which proxies are served
    #[arg(long, value_name = "ADDRESS", default_value_t = ControllerSettings::default().serve)]
    serve: SocketAddr,
    /// Address of /livez, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", default_value_t = ControllerSettings::default().admin)]
    admin: SocketAddr,
    #[command(flatten, next_help_heading = "Proxies")]
    proxies: ProvisionArgs,
    /// What is logged; RUST_LOG, where it is set, says it in more detail
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = "Log")]
    pub(crate) log_level: LogLevel,
    /// How it is logged: for people, or a JSON object per line
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Log")]
    pub(crate) log_format: LogFormat,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Cli {
    /// The settings, for a process whose credentials belong to this namespace.
    pub(crate) fn into_settings(self, namespace: &str) -> ControllerSettings {
        let provision =
            self.proxies.settings(self.controller_name.clone(), self.watch_namespaces.clone());
        ControllerSettings {
            controller_name: self.controller_name,
            namespace: self.namespace.unwrap_or_else(|| namespace.to_owned()),
            identity: self.identity.unwrap_or_else(host_name),
            watch_namespaces: self.watch_namespaces,
            config_service: self.config_service_name,
            config_tls_secret: self.config_tls_secret,
            serve: self.serve,
            admin: self.admin,
            provision,
        }
    }
}

/// The host name, which in a pod is the pod's. It stays when a container starts anew, so that the
/// new one goes on with the Lease of the old one.
fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = read.unwrap_or_default().trim().to_owned();
    if name.is_empty() { format!("process-{}", std::process::id()) } else { name }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn settings(arguments: &[&str]) -> ControllerSettings {
        let arguments = ["gwapi-controller"].iter().chain(arguments);
        Cli::try_parse_from(arguments).expect("arguments that are fine").into_settings("from-pod")
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_flags_the_namespace_is_that_of_the_pod_and_all_are_watched() {
        let settings = settings(&[]);
        assert_eq!(settings.namespace, "from-pod");
        assert_eq!(settings.watch_namespaces, [""; 0]);
        assert!(!settings.identity.is_empty());
    }

    #[test]
    fn namespaces_are_separated_by_commas() {
        let settings = settings(&["--watch-namespaces=a,b", "--namespace=own", "--identity=me"]);
        assert_eq!(settings.watch_namespaces, ["a", "b"]);
        assert_eq!(settings.namespace, "own");
        assert_eq!(settings.identity, "me");
    }
}
