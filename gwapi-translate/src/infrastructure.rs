//! What has to run for a Gateway in a cluster: the input of whoever provisions it.
//!
//! With [`AddressPolicy::Provisioned`](crate::AddressPolicy::Provisioned) every Gateway has proxies
//! of its own. What they serve is its configuration; that they run, and how clients reach them, is
//! its [`GatewayInfrastructure`]. Whoever sees to that answers with an [`InfrastructureReport`], which
//! becomes status.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use gwapi_model::GatewayParametersSpec;
use gwapi_model::status::{ConditionReason, GatewayStatusAddress};
use serde::{Deserialize, Serialize};

use crate::ir::GatewayId;
pub use crate::ir::TransportProtocol;

/// What has to run for a Gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayInfrastructure {
    /// The Gateway.
    pub gateway: GatewayId,
    /// Which of all Gateways that ever had this name it is: what is made for it names it as its
    /// owner. Empty where no API server gave it one.
    pub uid: String,
    /// Generation of the Gateway.
    pub generation: i64,
    /// Name of the GatewayClass.
    pub class: String,
    /// Name of what is made for the Gateway: [`name`] of the Gateway and its class.
    pub name: String,
    /// What is asked for is not known, because the Gateway is refused or its class is gone, or cannot be
    /// had, because it is reached by none of the addresses that it demands: what runs already goes on
    /// as it is, and nothing is made, changed or removed until this is over.
    pub hold: bool,
    /// Labels from `spec.infrastructure`, for everything that is made (IN-1).
    pub labels: BTreeMap<String, String>,
    /// Annotations from `spec.infrastructure`, for everything that is made (IN-1).
    pub annotations: BTreeMap<String, String>,
    /// Annotations for Services alone: those that the parameters have, and those of the Gateway that
    /// they ask to copy.
    pub service_annotations: BTreeMap<String, String>,
    /// Ports of the listeners that have a place, each once, in order. Without any there is nothing to
    /// reach, and no Service.
    pub ports: Vec<InfrastructurePort>,
    /// The addresses of `spec.addresses` that can be asked for, each for itself. None means that one is
    /// allocated (AD-5).
    pub addresses: Vec<RequestedAddress>,
    /// How it runs: the defaults of the class, overridden by the Gateway's own parameters.
    pub parameters: GatewayParametersSpec,
}

/// A port at which clients reach a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InfrastructurePort {
    /// Port, the same on the Service and in the pod.
    pub port: u16,
    /// What is spoken below the listener's protocol.
    pub protocol: TransportProtocol,
}

impl InfrastructurePort {
    /// Name of the port, such as `port-80` or `port-53-udp`; a DNS label of at most 15 characters.
    pub fn name(&self) -> String {
        match self.protocol {
            TransportProtocol::Tcp => format!("port-{}", self.port),
            TransportProtocol::Udp => format!("port-{}-udp", self.port),
        }
    }
}

/// An address that a Gateway asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestedAddress {
    /// The address; none leaves the choice to whoever allocates it (AD-2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// From where it has to be reachable.
    #[serde(default, skip_serializing_if = "Routability::is_default")]
    pub routability: Routability,
}

impl RequestedAddress {
    /// Any IP address.
    pub const ANY: Self = Self { ip: None, routability: Routability::Default };

    /// This IP address.
    pub const fn ip(ip: IpAddr) -> Self {
        Self { ip: Some(ip), ..Self::ANY }
    }

    /// The same, reachable from there.
    #[must_use]
    pub const fn with(self, routability: Routability) -> Self {
        Self { routability, ..self }
    }

    /// Whether it has to be an address of the cluster (AD-9).
    pub fn is_for_cluster(self) -> bool {
        self.routability == Routability::Cluster
    }
}

impl fmt::Display for RequestedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => write!(f, "{ip}")?,
            None => f.write_str("an address")?,
        }
        if self.routability.is_default() {
            return Ok(());
        }
        write!(f, " of routability {}", self.routability.as_str())
    }
}

/// From where an address is reachable, of what can be promised (AD-6).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Routability {
    /// Nothing is demanded, or promised.
    #[default]
    Default,
    /// It is the ClusterIP of a Service: reachable inside the cluster (AD-9).
    Cluster,
    /// The one that the conformance suite asks for; it promises nothing, and is told as it is.
    Sentinel,
}

impl Routability {
    /// Reads a value of `routability`; `None` for one that nobody can promise.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Default, Self::Cluster, Self::Sentinel].into_iter().find(|it| it.as_str() == text)
    }

    /// Its value in `routability`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Cluster => "Cluster",
            Self::Sentinel => "testing.x-k8s.io/sentinel",
        }
    }

    /// Whether nothing is demanded, or promised.
    pub const fn is_default(&self) -> bool {
        matches!(self, Self::Default)
    }
}

/// What whoever provisions a Gateway says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InfrastructureReport {
    /// The addresses at which the Gateway is reached now, each with its routability; exactly these become
    /// `status.addresses` (AD-3).
    pub addresses: Vec<GatewayStatusAddress>,
    /// What was asked for and is not to be had, with the reason of `Programmed=False`:
    /// `AddressNotUsable`, `AddressNotAssigned`, `NoResources`, `Invalid` or `Pending`. Addresses of
    /// which a routability is demanded are a matter of `assignment` alone.
    pub unmet: Vec<(ConditionReason, String)>,
    /// Which of [`GatewayInfrastructure::addresses`] the Gateway has.
    pub assignment: AddressAssignment,
    /// At least one proxy is ready: it has had a complete configuration and serves.
    pub ready: bool,
}

/// Which of the addresses that a Gateway asks for it has (AD-8). A Gateway that asks for none asks for any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressAssignment {
    /// How many it has.
    pub met: usize,
    /// Why it does not have others, one by one; [`InfrastructureReport::unmet`] tells of them, too.
    pub unmet: Vec<String>,
    /// The same of those of which a routability is demanded.
    pub unmet_routability: Vec<String>,
    /// Whether some are still waited for, so that nothing can be said yet.
    pub pending: bool,
}

/// Names are DNS labels, which end here.
const LIMIT: usize = 63;

/// Name of what is made for a Gateway: `<gateway>-<class>`, a DNS label (IN-2). What is no label as
/// it stands, because it is too long or has dots, is cut and gets a hash (GC-8).
pub fn name(gateway: &GatewayId, class: &str) -> String {
    let plain = format!("{}-{class}", gateway.name);
    let starts_with_letter = plain.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_with_letter && plain.len() <= LIMIT && !plain.contains('.') {
        return plain;
    }
    let label: String = plain.chars().map(|c| if c == '.' { '-' } else { c }).collect();
    let label = if starts_with_letter { label } else { format!("gw-{label}") };
    hashed(&label, &format!("{}/{class}", gateway.name))
}

/// A name as the value of a label: as it is, or cut and hashed where it is too long (GC-8).
pub fn label_value(name: &str) -> String {
    if name.len() <= LIMIT { name.to_owned() } else { hashed(name, name) }
}

/// `text` cut so that a hash of `source` has room behind it.
fn hashed(text: &str, source: &str) -> String {
    let hash = format!("{:016x}", fnv_1a(source));
    let mut head: String = text.chars().take(LIMIT - hash.len() - 1).collect();
    head.truncate(head.trim_end_matches(['-', '.', '_']).len());
    format!("{head}-{hash}")
}

/// FNV-1a with 64 bits: the same for all versions and machines.
fn fnv_1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(gateway: &str, class: &str) -> String {
        name(&GatewayId::new("ns", gateway), class)
    }

    #[test]
    fn a_short_name_is_that_of_the_gateway_and_its_class() {
        assert_eq!(name_of("web", "gwapi"), "web-gwapi");
        assert_eq!(label_value("web"), "web");
    }

    #[test]
    fn what_is_no_dns_label_is_cut_and_hashed_and_stays_apart() {
        let long = "a".repeat(253);
        let longer_class = "b".repeat(253);
        let names = [
            name_of(&long, "gwapi"),
            name_of(&long, "gwapi2"),
            name_of(&"a".repeat(252), "gwapi"),
            name_of("web.shop", "gwapi"),
            name_of("web-shop", "gwapi"),
            name_of("web", &longer_class),
            name_of("8080", "gwapi"),
            name_of(&format!("{}-b", "a".repeat(45)), "gwapi-of-somebody"),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(name.len() <= 63, "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{name}"
            );
            assert!(!names[..index].contains(name), "{name} stands for two Gateways");
        }
        assert_eq!(label_value(&long).len(), 63);
        assert_ne!(label_value(&long), label_value(&"a".repeat(252)));
    }

    #[test]
    fn names_stay_the_same_over_versions() {
        assert_eq!(name_of("web.shop", "gwapi"), "web-shop-gwapi-dbcd37abdfe5bb20");
    }

    #[test]
    fn a_port_has_a_name_of_at_most_fifteen_characters() {
        let port = |port, protocol| InfrastructurePort { port, protocol }.name();
        assert_eq!(port(80, TransportProtocol::Tcp), "port-80");
        assert_eq!(port(65535, TransportProtocol::Udp), "port-65535-udp");
    }
}
