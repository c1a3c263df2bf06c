//! Which features of the Gateway API this build implements, by the names of the conformance suite
//! (GC-5), and for which versions of the API's CRDs (GC-4, GC-10).
//!
//! `docs/features.md` shows the same table.

use std::fmt;

/// Annotation by which the CRDs of the Gateway API tell their version.
pub const BUNDLE_VERSION_ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";

/// Annotation by which the CRDs of the Gateway API tell their channel.
pub const CHANNEL_ANNOTATION: &str = "gateway.networking.k8s.io/channel";

/// The channel whose CRDs have fields that are tried out.
const EXPERIMENTAL_CHANNEL: &str = "experimental";

/// Versions of the CRDs that are supported, in words.
pub const SUPPORTED_BUNDLES: &str = "v1.6 and v1.7";

/// A feature that is implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// The first version of the CRDs, from v1.6.0 on, that has it by this name.
    pub since: Number,
    /// The names that it, and parts of it, had before.
    pub formerly: &'static [&'static str],
    /// Whether it is about what is made in a cluster, and so there only.
    pub in_clusters: bool,
    /// Whether it is a matter of ClusterTrustBundles, and not claimed where there are none (GC-10).
    pub trust_bundles: bool,
    /// Whether it is a matter of fields that Gateways have in the experimental channel alone.
    pub experimental: bool,
}

/// Major, minor and patch number of a version.
pub type Number = (u16, u16, u16);

/// Every feature that is implemented, sorted by name.
pub const FEATURES: &[Feature] = &[
    everywhere("BackendTLSPolicy"),
    everywhere("BackendTLSPolicySANValidation"),
    Feature { since: (1, 7, 0), trust_bundles: true, ..everywhere("ClusterTrustBundle") },
    everywhere("GRPCRoute"),
    everywhere("GRPCRouteNamedRouteRule"),
    Feature { since: (1, 7, 0), ..everywhere("GRPCRouteRequestHeaderModifier") },
    everywhere("Gateway"),
    everywhere("GatewayAddressEmpty"),
    experimental("GatewayAddressRoutability"),
    Feature { in_clusters: true, ..experimental("GatewayAddressRoutabilityCluster") },
    everywhere("GatewayBackendClientCertificate"),
    everywhere("GatewayFrontendClientCertificateValidation"),
    everywhere("GatewayFrontendClientCertificateValidationInsecureFallback"),
    everywhere("GatewayHTTPListenerIsolation"),
    everywhere("GatewayHTTPSListenerDetectMisdirectedRequests"),
    Feature {
        since: (1, 6, 3),
        formerly: &["GatewayInfrastructurePropagation"],
        in_clusters: true,
        ..everywhere("GatewayInfrastructure")
    },
    experimental("GatewayListenerFilters"),
    everywhere("GatewayPort8080"),
    Feature { since: (1, 7, 0), ..everywhere("GatewayRouteHostnameIntersectionPrecedence") },
    everywhere("GatewayStaticAddresses"),
    everywhere("HTTPRoute"),
    everywhere("HTTPRoute303RedirectStatusCode"),
    everywhere("HTTPRoute307RedirectStatusCode"),
    everywhere("HTTPRoute308RedirectStatusCode"),
    everywhere("HTTPRouteBackendProtocolH2C"),
    everywhere("HTTPRouteBackendProtocolWebSocket"),
    everywhere("HTTPRouteBackendRequestHeaderModification"),
    everywhere("HTTPRouteBackendTimeout"),
    Feature { since: (1, 7, 0), ..everywhere("HTTPRouteBackendURLRewrite") },
    everywhere("HTTPRouteCORS"),
    everywhere("HTTPRouteDestinationPortMatching"),
    everywhere("HTTPRouteHostRewrite"),
    everywhere("HTTPRouteMethodMatching"),
    everywhere("HTTPRouteNamedRouteRule"),
    everywhere("HTTPRouteParentRefPort"),
    everywhere("HTTPRoutePathRedirect"),
    everywhere("HTTPRoutePathRewrite"),
    everywhere("HTTPRoutePortRedirect"),
    everywhere("HTTPRouteQueryParamMatching"),
    everywhere("HTTPRouteRequestMirror"),
    everywhere("HTTPRouteRequestMultipleMirrors"),
    everywhere("HTTPRouteRequestPercentageMirror"),
    everywhere("HTTPRouteRequestTimeout"),
    everywhere("HTTPRouteResponseHeaderModification"),
    Feature {
        since: (1, 7, 0),
        formerly: &["HTTPRouteRetry", "HTTPRouteRetryBackendTimeout"],
        ..everywhere("HTTPRouteRetryCodes")
    },
    everywhere("HTTPRouteRetryConnectionError"),
    everywhere("HTTPRouteSchemeRedirect"),
    everywhere("ListenerSet"),
    everywhere("ReferenceGrant"),
    everywhere("TCPRoute"),
    everywhere("TLSRoute"),
    everywhere("TLSRouteModeMixed"),
    everywhere("TLSRouteModeTerminate"),
    everywhere("UDPRoute"),
];

/// A feature that every supported version has, with a cluster or without.
const fn everywhere(name: &'static str) -> Feature {
    Feature {
        name,
        since: (1, 6, 0),
        formerly: &[],
        in_clusters: false,
        trust_bundles: false,
        experimental: false,
    }
}

/// A feature of fields that Gateways have in the experimental channel of v1.7.
const fn experimental(name: &'static str) -> Feature {
    Feature { since: EXPERIMENTAL_FIELDS_SINCE, experimental: true, ..everywhere(name) }
}

/// The version that brought the experimental fields of Gateways that are served: filters of listeners and
/// the routability of addresses.
const EXPERIMENTAL_FIELDS_SINCE: Number = (1, 7, 0);

/// Names of the features that a class claims, sorted: those that the installed CRDs know, by the names that
/// they have there. Without CRDs all of them, unless there is a cluster: what its CRDs are is not known
/// then, and no field is promised that they may not have.
pub fn claimed(
    bundle: Option<&InstalledBundle>,
    in_cluster: bool,
    trust_bundles: bool,
) -> Vec<&'static str> {
    let number = bundle.and_then(InstalledBundle::number);
    let has_experimental_fields = has_experimental_fields(bundle, in_cluster);
    let mut names = Vec::with_capacity(FEATURES.len());
    let is_claimed = |feature: &&Feature| {
        (in_cluster || !feature.in_clusters)
            && (trust_bundles || !feature.trust_bundles)
            && (has_experimental_fields || !feature.experimental)
    };
    for feature in FEATURES.iter().filter(is_claimed) {
        match number {
            Some(number) if number < feature.since => names.extend(feature.formerly),
            _ => names.push(feature.name),
        }
    }
    names.sort_unstable();
    names
}

/// Whether Gateways have the fields of [`InstalledBundle::has_experimental_fields`]: manifests without a
/// cluster do.
pub(crate) fn has_experimental_fields(bundle: Option<&InstalledBundle>, in_cluster: bool) -> bool {
    bundle.map_or(!in_cluster, InstalledBundle::has_experimental_fields)
}

/// What the installed CRDs of the Gateway API say of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledBundle {
    version: String,
    has_experimental_fields: bool,
}

impl InstalledBundle {
    /// CRDs of a version as it is written, such as `v1.7.0`, and of the standard channel.
    pub fn new(version: impl Into<String>) -> Self {
        Self { version: version.into(), has_experimental_fields: false }
    }

    /// The same with what the CRD of Gateways says of itself, which alone decides on the fields that
    /// Gateways have: the CRDs of other kinds may be of another channel.
    #[must_use]
    pub fn with_gateways_of(self, version: &str, channel: &str) -> Self {
        let number = number(version);
        let has_experimental_fields = channel == EXPERIMENTAL_CHANNEL
            && number.is_some_and(|number| number >= EXPERIMENTAL_FIELDS_SINCE);
        Self { has_experimental_fields, ..self }
    }

    /// Major, minor and patch number; what follows them is left out.
    pub fn number(&self) -> Option<Number> {
        number(&self.version)
    }

    /// Whether CRDs of this version are supported (GC-4). Those of other versions are served as well as
    /// they can be.
    pub fn is_supported(&self) -> bool {
        matches!(self.number(), Some((1, 6 | 7, _)))
    }

    /// Whether Gateways have the fields that v1.7 brought to the experimental channel: filters of listeners
    /// (LF-1) and the routability of addresses, asked for and reported (AD-6, AD-7).
    pub fn has_experimental_fields(&self) -> bool {
        self.has_experimental_fields
    }
}

impl fmt::Display for InstalledBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)
    }
}

fn number(version: &str) -> Option<Number> {
    let text = version.strip_prefix('v')?;
    let mut parts = text.split(['-', '+']).next()?.split('.').map(str::parse::<u16>);
    let number = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    parts.next().is_none().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_sorted_and_within_the_limit() {
        for bundle in [None, Some(InstalledBundle::new("v1.6.1"))] {
            let names = claimed(bundle.as_ref(), true, true);
            assert!(names.is_sorted(), "{names:?}");
            assert!(names.len() <= 64);
            assert!(!names.iter().any(|name| name.starts_with("Mesh")));
        }
    }

    #[test]
    fn features_have_the_names_that_the_installed_version_knows() {
        let claimed = |version: &str| claimed(Some(&InstalledBundle::new(version)), true, true);
        let has = |version: &str, name: &str| claimed(version).contains(&name);
        assert!(has("v1.7.0", "HTTPRouteBackendURLRewrite"));
        assert!(!has("v1.6.3", "HTTPRouteBackendURLRewrite"));
        assert!(has("v1.6.3", "GatewayInfrastructure"));
        assert!(!has("v1.6.3", "GatewayInfrastructurePropagation"));
        assert!(has("v1.6.1", "GatewayInfrastructurePropagation"));
        assert!(!has("v1.6.1", "GatewayInfrastructure"));
        assert!(has("v1.6.3", "HTTPRouteRetry") && has("v1.6.3", "HTTPRouteRetryBackendTimeout"));
        assert!(has("v1.7.0", "HTTPRouteRetryCodes") && !has("v1.7.0", "HTTPRouteRetry"));
        let without_cluster = super::claimed(None, false, true);
        assert!(!without_cluster.contains(&"GatewayInfrastructure"));
        assert!(without_cluster.contains(&"ClusterTrustBundle"));
        assert!(!super::claimed(None, true, false).contains(&"ClusterTrustBundle"));
        assert!(!has("v1.6.3", "ClusterTrustBundle"));
    }

    /// GC-10: `GatewayAddressRoutabilityCluster` never comes without `GatewayAddressRoutability`.
    #[test]
    fn features_of_experimental_fields_are_claimed_where_gateways_have_them() {
        let names = [
            "GatewayAddressRoutability",
            "GatewayAddressRoutabilityCluster",
            "GatewayListenerFilters",
        ];
        let found = |bundle: Option<&InstalledBundle>, in_cluster| -> Vec<&str> {
            let claimed = claimed(bundle, in_cluster, true);
            names.into_iter().filter(|name| claimed.contains(name)).collect()
        };
        let bundle = |version: &str, channel: &str| {
            InstalledBundle::new(version).with_gateways_of(version, channel)
        };
        assert_eq!(found(Some(&bundle("v1.7.0", "experimental")), true), names);
        for none in [
            bundle("v1.7.0", "standard"),
            bundle("v1.6.3", "experimental"),
            bundle("monthly-2026.01", "experimental"),
            InstalledBundle::new("v1.7.0"),
        ] {
            assert_eq!(found(Some(&none), true), [""; 0], "{none:?}");
        }
        assert_eq!(found(None, true), [""; 0], "nobody knows what the cluster has");
        assert_eq!(found(None, false), [names[0], names[2]], "manifests have every field");
        let mixed = InstalledBundle::new("v1.6.3 and v1.7.0");
        let mixed = mixed.with_gateways_of("v1.7.0", "experimental");
        assert!(mixed.has_experimental_fields(), "Gateways have them");
    }

    #[test]
    fn versions_are_read_as_crds_tell_them() {
        let number = |text: &str| InstalledBundle::new(text).number();
        assert_eq!(number("v1.7.0"), Some((1, 7, 0)));
        assert_eq!(number("v1.7.0-rc.1"), Some((1, 7, 0)));
        for bad in ["1.7.0", "v1.7", "v1.7.0.1", "", "latest"] {
            assert_eq!(number(bad), None, "{bad:?}");
            assert!(!InstalledBundle::new(bad).is_supported(), "{bad:?}");
        }
        for (text, supported) in [("v1.5.1", false), ("v1.6.3", true), ("v0.0.0-dev", false)] {
            assert_eq!(InstalledBundle::new(text).is_supported(), supported, "{text}");
        }
    }
}
