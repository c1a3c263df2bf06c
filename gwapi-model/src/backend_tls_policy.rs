//! BackendTLSPolicy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;
use crate::{LocalObjectReference, ObjectMeta};

/// TLS towards Services: what their endpoints have to prove (BT-1 to BT-5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendTlsPolicy {
    /// Metadata; Services of the same namespace alone can be meant (BT-10).
    pub metadata: ObjectMeta,
    /// What the user asks for.
    pub spec: BackendTlsPolicySpec,
}

const SERVICE: &str = "Service";

impl BackendTlsPolicy {
    /// A policy that no endpoint satisfies, in place of one that cannot be read: whoever asked for TLS
    /// gets no plaintext (BT-5). It is for the Services among `targets`; `None` where there is none. By
    /// `metadata` it is as old as the one that it stands in for, and goes before none that is older (BT-2).
    pub fn unsatisfiable(
        metadata: ObjectMeta,
        targets: impl IntoIterator<Item = PolicyTargetReference>,
    ) -> Option<Self> {
        let mut target_refs: Vec<PolicyTargetReference> = Vec::new();
        for target in targets {
            let is_service = target.group.is_empty() && target.kind == SERVICE;
            if is_service && !target_refs.contains(&target) {
                target_refs.push(target);
            }
        }
        let validation = BackendTlsValidation {
            ca_certificate_refs: Vec::new(),
            well_known_ca_certificates: None,
            hostname: String::new(),
            subject_alt_names: Vec::new(),
        };
        let spec = BackendTlsPolicySpec { target_refs, validation, options: BTreeMap::new() };
        (!spec.target_refs.is_empty()).then_some(Self { metadata, spec })
    }
}

/// Spec of a [`BackendTlsPolicy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    /// Services and ports of them, 1 to 16 (BT-1).
    pub target_refs: Vec<PolicyTargetReference>,
    /// What the endpoints have to prove.
    pub validation: BackendTlsValidation,
    /// Implementation-specific options; gwapi knows none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// An object in the policy's namespace, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTargetReference {
    /// Group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Name of a port of the Service; absent means every port (BT-2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

impl PolicyTargetReference {
    /// As much of a target as can be read, by the texts of its fields: one whose kind is none is taken for
    /// a Service, and one whose section is none for all of it.
    pub fn legible(text: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            group: text("group").unwrap_or_default(),
            kind: text("kind").unwrap_or_else(|| SERVICE.to_owned()),
            name: text("name")?,
            section_name: text("sectionName"),
        })
    }
}

/// What endpoints have to prove (BT-3, BT-4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsValidation {
    /// CA certificates, up to 8: exactly one of this and `well_known_ca_certificates` (BT-4).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    /// `System`, or a set that an implementation knows under a name with a domain in front.
    #[serde(default, rename = "wellKnownCACertificates", skip_serializing_if = "Option::is_none")]
    pub well_known_ca_certificates: Option<String>,
    /// Server name, and the identity to prove where there are no `subject_alt_names`.
    pub hostname: String,
    /// Identities to prove in place of the hostname, any one of up to 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// The value of `wellKnownCACertificates` that means the authorities of the system.
pub const SYSTEM_CA_CERTIFICATES: &str = "System";

/// A name in a certificate: the member that `type` names is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectAltName {
    /// Type.
    #[serde(rename = "type")]
    pub name_type: SubjectAltNameType,
    /// DNS name, exact or with a wildcard label in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// URI, such as a SPIFFE ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

open_enum! {
    /// Type of a [`SubjectAltName`].
    pub enum SubjectAltNameType {
        /// A DNS name.
        Hostname = "Hostname",
        /// A URI.
        Uri = "URI",
    }
}
