//! Gateway and its listeners.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;
use crate::{
    HttpExternalAuthFilter, LocalObjectReference, ObjectMeta, ObjectReference, Port,
    SecretObjectReference,
};

/// Addresses and listeners through which traffic enters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: GatewaySpec,
}

/// Spec of a [`Gateway`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Name of the GatewayClass.
    pub gateway_class_name: String,
    /// Listeners, 1 to 64 (GW-7).
    pub listeners: Vec<Listener>,
    /// Requested addresses, up to 16 (AD-1); none means that one is assigned (AD-5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewaySpecAddress>,
    /// Metadata and parameters of what is made for the Gateway (IN-1, IN-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure: Option<GatewayInfrastructure>,
    /// Which ListenerSets may add listeners (LS-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_listeners: Option<AllowedListeners>,
    /// TLS settings of the whole Gateway (TL-4, TL-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<GatewayTls>,
    /// Experimental: routes that ask for default Gateways bind here as well (RT-16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_scope: Option<String>,
}

/// A port, a protocol and a hostname on which a Gateway accepts traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Name, unique in the Gateway; routes refer to it as `sectionName`.
    pub name: String,
    /// Exact or wildcard hostname; none means every host (LI-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Port as clients see it.
    pub port: Port,
    /// Protocol.
    pub protocol: Protocol,
    /// Certificates and mode of HTTPS and TLS listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Which routes may attach (AR-1, AR-2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_routes: Option<AllowedRoutes>,
    /// Experimental: filters that run before routing (LF-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<ListenerFilters>,
}

open_enum! {
    /// Protocol of a listener. Other values are legal strings and unsupported (GW-8).
    pub enum Protocol {
        /// Clear-text HTTP/1.1 and HTTP/2 by prior knowledge.
        Http = "HTTP",
        /// HTTP over TLS that ends here.
        Https = "HTTPS",
        /// TLS, passed through or ended here, with opaque bytes inside.
        Tls = "TLS",
        /// Opaque TCP.
        Tcp = "TCP",
        /// UDP.
        Udp = "UDP",
    }
}

/// TLS settings of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// Mode; absent means `Terminate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<TlsMode>,
    /// Secrets with certificates, up to 64 (TL-1, TL-2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_refs: Vec<SecretObjectReference>,
    /// Implementation-specific options (TL-8); gwapi knows none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

open_enum! {
    /// What happens to TLS at a listener.
    pub enum TlsMode {
        /// TLS ends at the Gateway.
        Terminate = "Terminate",
        /// TLS bytes are passed on unread.
        Passthrough = "Passthrough",
    }
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedRoutes {
    /// Namespaces; absent means `Same`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<AllowedNamespaces>,
    /// Kinds, up to 8; none means those that the protocol implies (AR-2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<RouteGroupKind>,
}

/// Namespaces from which something may attach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// Which namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FromNamespaces>,
    /// Labels of the namespaces when `from` is `Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

open_enum! {
    /// A set of namespaces.
    pub enum FromNamespaces {
        /// Every namespace.
        All = "All",
        /// Those whose labels match a selector.
        Selector = "Selector",
        /// That of the object that holds the listener.
        Same = "Same",
        /// None (for `allowedListeners` only).
        None = "None",
    }
}

/// A Kubernetes label selector: every requirement must hold; an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must have these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One requirement of a [`LabelSelector`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    /// Label key.
    pub key: String,
    /// How the values are read.
    pub operator: SelectorOperator,
    /// Values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

open_enum! {
    /// Operator of a [`LabelSelectorRequirement`].
    pub enum SelectorOperator {
        /// The label's value is one of the values.
        In = "In",
        /// The label is absent or its value is none of the values.
        NotIn = "NotIn",
        /// The label is there.
        Exists = "Exists",
        /// The label is absent.
        DoesNotExist = "DoesNotExist",
    }
}

impl LabelSelector {
    /// Whether an object with these labels is selected. An operator that Kubernetes does not
    /// define selects nothing.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| {
                let value = labels.get(&requirement.key);
                let listed = value.is_some_and(|value| requirement.values.contains(value));
                match requirement.operator {
                    SelectorOperator::In => listed,
                    SelectorOperator::NotIn => !listed,
                    SelectorOperator::Exists => value.is_some(),
                    SelectorOperator::DoesNotExist => value.is_none(),
                    SelectorOperator::Other(_) => false,
                }
            })
    }
}

/// Group and kind of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteGroupKind {
    /// Group; absent means the gateway group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind.
    pub kind: String,
}

/// A requested address (AD-1, AD-2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpecAddress {
    /// Type; absent means `IPAddress`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub address_type: Option<AddressType>,
    /// Value; absent or empty asks for one of that type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Experimental: from where the address must be reachable (AD-6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routability: Option<String>,
}

open_enum! {
    /// Type of an address.
    pub enum AddressType {
        /// IPv4 or IPv6.
        IpAddress = "IPAddress",
        /// DNS name.
        Hostname = "Hostname",
    }
}

/// Metadata and parameters of the objects that are made for a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayInfrastructure {
    /// Labels, up to 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations, up to 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Parameters, in the Gateway's namespace (IN-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_ref: Option<LocalObjectReference>,
}

/// Which ListenerSets may attach to a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedListeners {
    /// Namespaces; absent means `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<AllowedNamespaces>,
}

/// TLS settings of a whole Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTls {
    /// Towards backends (TL-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<GatewayBackendTls>,
    /// Towards clients (TL-4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<FrontendTls>,
}

/// Identity that a Gateway shows to backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayBackendTls {
    /// Secret with the client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretObjectReference>,
}

/// Validation of client certificates, by port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTls {
    /// For every port that `per_port` does not name.
    pub default: FrontendTlsConfig,
    /// Replaces `default` for a port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_port: Vec<FrontendTlsPort>,
}

/// [`FrontendTlsConfig`] of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTlsPort {
    /// Port.
    pub port: Port,
    /// Settings.
    pub tls: FrontendTlsConfig,
}

/// Settings of TLS towards clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTlsConfig {
    /// Validation of client certificates; absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<FrontendTlsValidation>,
}

/// How client certificates are validated (TL-5, TL-6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTlsValidation {
    /// CA certificates, 1 to 16 references.
    pub ca_certificate_refs: Vec<ObjectReference>,
    /// `AllowValidOnly` (default) or `AllowInsecureFallback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// Experimental filters of a listener, which run before routes are matched (LF-4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerFilters {
    /// Filters on requests, up to 16, in the order in which they run (LF-1, LF-3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<ListenerFilter>,
}

/// A step before routes are matched. The member that fits the type is set, no other (LF-2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerFilter {
    /// Type.
    #[serde(rename = "type")]
    pub filter_type: ListenerFilterType,
    /// Of `ExternalAuth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_auth: Option<Box<HttpExternalAuthFilter>>,
    /// Of `ExtensionRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension_ref: Option<LocalObjectReference>,
}

open_enum! {
    /// Type of a filter of a listener.
    pub enum ListenerFilterType {
        /// Asks an authorization service.
        ExternalAuth = "ExternalAuth",
        /// An implementation's own filter.
        ExtensionRef = "ExtensionRef",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_matches_when_every_requirement_holds() {
        let labels: BTreeMap<String, String> =
            [("team", "shop"), ("tier", "edge")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let requirement = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, selected) in [
            (json!({}), true),
            (json!({"matchLabels": {"team": "shop"}}), true),
            (json!({"matchLabels": {"team": "shop", "tier": "edge"}}), true),
            (json!({"matchLabels": {"team": "shop", "tier": "core"}}), false),
            (json!({"matchLabels": {"absent": ""}}), false),
            (requirement("team", "In", &["web", "shop"]), true),
            (requirement("team", "In", &["web"]), false),
            (requirement("absent", "In", &["web"]), false),
            (requirement("team", "NotIn", &["web"]), true),
            (requirement("team", "NotIn", &["shop"]), false),
            (requirement("absent", "NotIn", &["web"]), true),
            (requirement("team", "Exists", &[]), true),
            (requirement("absent", "Exists", &[]), false),
            (requirement("absent", "DoesNotExist", &[]), true),
            (requirement("team", "DoesNotExist", &[]), false),
            (requirement("team", "Gt", &["1"]), false),
            (
                json!({
                    "matchLabels": {"team": "shop"},
                    "matchExpressions": [{"key": "tier", "operator": "Exists"}],
                }),
                true,
            ),
            (
                json!({
                    "matchLabels": {"team": "web"},
                    "matchExpressions": [{"key": "tier", "operator": "Exists"}],
                }),
                false,
            ),
        ] {
            let parsed: LabelSelector =
                serde_json::from_value(selector.clone()).expect("a selector");
            assert_eq!(parsed.matches(&labels), selected, "{selector}");
        }
    }
}
