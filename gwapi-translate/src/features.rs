//! Which features of the Gateway API this build implements, by the names of the conformance suite
//! (GC-5), and for which versions of the API's CRDs (GC-4, GC-10).
//!
//! `docs/features.md` shows the same table.

use std::fmt;

/// Annotation by which the CRDs of the Gateway API tell their version.
pub const BUNDLE_VERSION_ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";

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
    Feature { name, since: (1, 6, 0), formerly: &[], in_clusters: false, trust_bundles: false }
}

/// Names of the features that a class claims, sorted: those that the CRDs of this version know, by
/// the names that they have there. Without a version all of them.
pub fn claimed(
    bundle: Option<&BundleVersion>,
    in_cluster: bool,
    trust_bundles: bool,
) -> Vec<&'static str> {
    let number = bundle.and_then(BundleVersion::number);
    let mut names = Vec::with_capacity(FEATURES.len());
    let is_claimed = |feature: &&Feature| {
        (in_cluster || !feature.in_clusters) && (trust_bundles || !feature.trust_bundles)
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

/// The version that installed CRDs tell, such as `v1.7.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleVersion(String);

impl BundleVersion {
    /// Takes a version as it is written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Major, minor and patch number; what follows them is left out.
    pub fn number(&self) -> Option<Number> {
        let text = self.0.strip_prefix('v')?;
        let mut parts = text.split(['-', '+']).next()?.split('.').map(str::parse::<u16>);
        let number = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        parts.next().is_none().then_some(number)
    }

    /// Whether CRDs of this version are supported (GC-4). Those of other versions are served as well as
    /// they can be.
    pub fn is_supported(&self) -> bool {
        matches!(self.number(), Some((1, 6 | 7, _)))
    }
}

impl fmt::Display for BundleVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_sorted_and_within_the_limit() {
        for bundle in [None, Some(BundleVersion::new("v1.6.1"))] {
            let names = claimed(bundle.as_ref(), true, true);
            assert!(names.is_sorted(), "{names:?}");
            assert!(names.len() <= 64);
            assert!(!names.iter().any(|name| name.starts_with("Mesh")));
        }
    }

    #[test]
    fn features_have_the_names_that_the_installed_version_knows() {
        let claimed = |version: &str| claimed(Some(&BundleVersion::new(version)), true, true);
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

    #[test]
    fn versions_are_read_as_crds_tell_them() {
        let number = |text: &str| BundleVersion::new(text).number();
        assert_eq!(number("v1.7.0"), Some((1, 7, 0)));
        assert_eq!(number("v1.7.0-rc.1"), Some((1, 7, 0)));
        for bad in ["1.7.0", "v1.7", "v1.7.0.1", "", "latest"] {
            assert_eq!(number(bad), None, "{bad:?}");
            assert!(!BundleVersion::new(bad).is_supported(), "{bad:?}");
        }
        for (text, supported) in [("v1.5.1", false), ("v1.6.3", true), ("v0.0.0-dev", false)] {
            assert_eq!(BundleVersion::new(text).is_supported(), supported, "{text}");
        }
    }
}
