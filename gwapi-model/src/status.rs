//! Status: typed conditions and reasons, and the status objects of each kind.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AddressType, ParentReference, RouteGroupKind};

macro_rules! names {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name as written in a status.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// Types of conditions that gwapi writes.
    pub enum ConditionType {
        /// The object is taken into account.
        Accepted,
        /// The data plane serves it.
        Programmed,
        /// Its references lead somewhere and are permitted.
        ResolvedRefs,
        /// The listener clashes with another (only written when True).
        Conflicted,
        /// The listener's hostname overlaps another TLS listener's (only written when True; LI-6).
        OverlappingTLSConfig,
        /// Some rules were left out (only written when True; RT-11).
        PartiallyInvalid,
        /// Clients without a valid certificate get in where one is asked for (only written when True;
        /// TL-6).
        InsecureFrontendValidationMode,
        /// The Gateway takes routes that ask for default Gateways (only written when True; RT-16).
        DefaultGateway,
        /// The Gateway has all addresses that it asks for (absent until that is known, and where the
        /// CRDs are not those of the experimental channel; AD-8).
        AddressesAssigned,
        /// The class's CRDs are of a version we support (GC-4).
        SupportedVersion,
    }
}

names! {
    /// Reasons of conditions, over all kinds (A2.7, RT-9, RT-10).
    pub enum ConditionReason {
        /// True reason of `Accepted`.
        Accepted,
        /// True reason of `Programmed`.
        Programmed,
        /// True reason of `ResolvedRefs`.
        ResolvedRefs,
        /// Waiting for a controller.
        Pending,
        /// Invalid configuration.
        Invalid,
        /// A `parametersRef` leads nowhere.
        InvalidParameters,
        /// Some or all listeners are not valid (GW-6, LS-3).
        ListenersNotValid,
        /// More listeners than a Gateway can have (LS-12).
        TooManyListeners,
        /// The Gateway does not let the ListenerSet in (LS-1).
        NotAllowed,
        /// The Gateway of the ListenerSet is not accepted (LS-2).
        ParentNotAccepted,
        /// The Gateway of the ListenerSet is not programmed (LS-2).
        ParentNotProgrammed,
        /// An address type that is not supported.
        UnsupportedAddress,
        /// An address that cannot be used.
        AddressNotUsable,
        /// No address could be assigned.
        AddressNotAssigned,
        /// True reason of `AddressesAssigned`.
        AddressesAssigned,
        /// Some of the requested addresses could not be assigned (AD-8).
        PartiallyAssigned,
        /// None of the requested addresses could be assigned (AD-8).
        NotAssigned,
        /// Nothing to run it on.
        NoResources,
        /// Some listeners' references do not resolve (GW-12).
        ListenersNotResolved,
        /// A client certificate that does not resolve (TL-7).
        InvalidClientCertificateRef,
        /// The listener's port cannot be served (GW-9).
        PortUnavailable,
        /// A protocol that is not supported (GW-8).
        UnsupportedProtocol,
        /// A value that is not supported (RT-12).
        UnsupportedValue,
        /// Clashing hostnames (GW-5).
        HostnameConflict,
        /// Clashing protocols (GW-2, GW-3).
        ProtocolConflict,
        /// A certificate that does not resolve or parse (TL-1).
        InvalidCertificateRef,
        /// Kinds that the listener cannot serve (AR-3).
        InvalidRouteKinds,
        /// A reference across namespaces without grant (RG-1).
        RefNotPermitted,
        /// CA certificates that do not resolve (TL-5).
        InvalidCACertificateRef,
        /// CA references of an unknown kind (TL-5).
        InvalidCACertificateKind,
        /// No CA certificate is left (TL-5).
        NoValidCACertificate,
        /// True reason of `InsecureFrontendValidationMode`.
        ConfigurationChanged,
        /// A listener filter that cannot be there (LF-1).
        InvalidListenerFilter,
        /// A listener filter that refers to nothing that it can ask (LF-7).
        InvalidListenerFilterRef,
        /// Hostnames of TLS listeners overlap (LI-6).
        OverlappingHostnames,
        /// No listener allows the route (RT-3).
        NotAllowedByListeners,
        /// No listener's hostname meets the route's (RT-3).
        NoMatchingListenerHostname,
        /// No listener has that name or port (RT-2).
        NoMatchingParent,
        /// Filters that cannot be combined.
        IncompatibleFilters,
        /// A backend of a kind that is not known (RT-10), or CA certificates of one (BT-5).
        InvalidKind,
        /// Another policy holds the target (BT-2).
        Conflicted,
        /// What a policy is for does not exist (BT-9).
        TargetNotFound,
        /// A backend that does not exist (RT-10).
        BackendNotFound,
        /// True reason of `DefaultGateway`.
        DefaultGateway,
        /// True reason of `SupportedVersion`.
        SupportedVersion,
        /// False reason of `SupportedVersion`.
        UnsupportedVersion,
    }
}

names! {
    /// Status of a condition.
    pub enum ConditionStatus {
        /// It holds.
        True,
        /// It does not.
        False,
        /// Not known yet.
        Unknown,
    }
}

/// A condition, as Kubernetes' `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type.
    #[serde(rename = "type")]
    pub condition_type: ConditionType,
    /// Status.
    pub status: ConditionStatus,
    /// Generation of the spec that was judged (ST-2).
    pub observed_generation: i64,
    /// When the status last moved (ST-3). Translation has no clock: whoever writes fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// Reason.
    pub reason: ConditionReason,
    /// For humans: what is wrong and what to do; empty when all is well.
    pub message: String,
}

impl Condition {
    /// A condition of the given generation.
    pub fn new(
        condition_type: ConditionType,
        status: ConditionStatus,
        reason: ConditionReason,
        message: impl Into<String>,
        observed_generation: i64,
    ) -> Self {
        Self {
            condition_type,
            status,
            observed_generation,
            last_transition_time: None,
            reason,
            message: message.into(),
        }
    }
}

/// Status of an object, by kind. There are thousands of routes: what the others say, which is
/// more, takes no room in theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Status {
    /// Of a GatewayClass.
    GatewayClass(Box<GatewayClassStatus>),
    /// Of a Gateway.
    Gateway(Box<GatewayStatus>),
    /// Of a ListenerSet.
    ListenerSet(Box<ListenerSetStatus>),
    /// Of a route of any kind.
    Route(RouteStatus),
    /// Of a policy.
    Policy(PolicyStatus),
}

/// Status of a GatewayClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Features that gwapi supports, sorted (GC-5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supported_features: Vec<SupportedFeature>,
}

/// A feature of the Gateway API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SupportedFeature {
    /// Name of the feature, such as `HTTPRoutePathRewrite`.
    pub name: String,
}

/// Status of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Addresses in use (AD-3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewayStatusAddress>,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// One entry per listener of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerStatus>,
    /// Number of ListenerSets that are accepted (LS-8); absent where the Gateway has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_listener_sets: Option<i32>,
}

/// Status of a ListenerSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// One entry per listener of the spec (LS-13); none where the Gateway does not let the set in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerStatus>,
}

/// An address in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatusAddress {
    /// Type.
    #[serde(rename = "type")]
    pub address_type: AddressType,
    /// Value.
    pub value: String,
    /// Experimental: from where the address is reachable; empty where nothing is promised, absent where
    /// the CRD does not have the field (AD-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routability: Option<String>,
}

/// Status of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Name of the listener.
    pub name: String,
    /// Kinds that may attach (AR-3).
    pub supported_kinds: Vec<RouteGroupKind>,
    /// Number of routes attached (AR-4).
    pub attached_routes: i32,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// Status of a route: one entry per parent that is ours (RT-6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Entries. Thousands of routes may have the same ones: they can share them.
    pub parents: Arc<[RouteParentStatus]>,
}

/// What a parent made of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The route's reference, with group and kind written out (RT-6).
    pub parent_ref: ParentReference,
    /// Who wrote the entry.
    pub controller_name: String,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// Status of a policy: one entry per Gateway of ours through which it takes effect (BT-9).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Entries.
    pub ancestors: Vec<PolicyAncestorStatus>,
}

/// What a policy means for an ancestor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    /// The ancestor.
    pub ancestor_ref: ParentReference,
    /// Who wrote the entry.
    pub controller_name: String,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition() -> Condition {
        Condition::new(
            ConditionType::OverlappingTLSConfig,
            ConditionStatus::True,
            ConditionReason::OverlappingHostnames,
            "listeners a and b overlap",
            3,
        )
    }

    #[test]
    fn a_condition_is_written_as_kubernetes_writes_it() {
        let mut condition = condition();
        let mut written = json!({
            "type": "OverlappingTLSConfig",
            "status": "True",
            "reason": "OverlappingHostnames",
            "message": "listeners a and b overlap",
            "observedGeneration": 3,
        });
        assert_eq!(serde_json::to_value(&condition).expect("JSON"), written);

        condition.last_transition_time = "2024-05-06T07:08:09Z".parse().ok();
        written["lastTransitionTime"] = json!("2024-05-06T07:08:09Z");
        assert_eq!(serde_json::to_value(&condition).expect("JSON"), written);
        assert_eq!(serde_json::from_value::<Condition>(written).expect("a condition"), condition);
    }

    #[test]
    fn names_are_written_as_they_display() {
        let reason = ConditionReason::InvalidCACertificateRef;
        assert_eq!(reason.to_string(), "InvalidCACertificateRef");
        assert_eq!(serde_json::to_value(reason).expect("JSON"), json!(reason.as_str()));
        assert_eq!(ConditionType::ResolvedRefs.to_string(), "ResolvedRefs");
        assert_eq!(ConditionStatus::Unknown.to_string(), "Unknown");
    }

    #[test]
    fn each_status_is_written_with_the_fields_of_its_kind() {
        let conditions = json!([serde_json::to_value(condition()).expect("JSON")]);
        let class = GatewayClassStatus {
            conditions: vec![condition()],
            supported_features: vec![SupportedFeature { name: "Gateway".to_owned() }],
        };
        let gateway = GatewayStatus {
            addresses: vec![GatewayStatusAddress {
                address_type: AddressType::IpAddress,
                value: "192.0.2.1".to_owned(),
                routability: Some(String::new()),
            }],
            conditions: vec![condition()],
            listeners: vec![ListenerStatus {
                name: "http".to_owned(),
                supported_kinds: vec![RouteGroupKind {
                    group: Some(crate::GATEWAY_GROUP.to_owned()),
                    kind: "HTTPRoute".to_owned(),
                }],
                attached_routes: 2,
                conditions: Vec::new(),
            }],
            attached_listener_sets: Some(1),
        };
        let route = RouteStatus {
            parents: Arc::new([RouteParentStatus {
                parent_ref: ParentReference {
                    group: None,
                    kind: None,
                    namespace: None,
                    name: "edge".to_owned(),
                    section_name: Some("http".to_owned()),
                    port: None,
                },
                controller_name: crate::CONTROLLER_NAME.to_owned(),
                conditions: vec![condition()],
            }]),
        };
        for (status, written) in [
            (
                Status::GatewayClass(Box::new(class)),
                json!({"conditions": conditions, "supportedFeatures": [{"name": "Gateway"}]}),
            ),
            (
                Status::Gateway(Box::new(gateway)),
                json!({
                    "addresses": [{"type": "IPAddress", "value": "192.0.2.1", "routability": ""}],
                    "conditions": conditions,
                    "listeners": [{
                        "name": "http",
                        "supportedKinds": [
                            {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"},
                        ],
                        "attachedRoutes": 2,
                        "conditions": [],
                    }],
                    "attachedListenerSets": 1,
                }),
            ),
            (
                Status::Route(route),
                json!({"parents": [{
                    "parentRef": {"name": "edge", "sectionName": "http"},
                    "controllerName": "gwapi.dev/gateway-controller",
                    "conditions": conditions,
                }]}),
            ),
        ] {
            assert_eq!(serde_json::to_value(&status).expect("JSON"), written);
        }
    }
}
