//! What an object is, told from its `apiVersion` and `kind`.

use crate::validate::suggest::closest;
use crate::{EXPERIMENTAL_GROUP, GATEWAY_GROUP, GWAPI_GROUP, Kind};

/// Group of the API before it moved to [`GATEWAY_GROUP`].
const FIRST_GROUP: &str = "networking.x-k8s.io";

/// What to do with an object.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// Read it. An old version is read as the present one.
    Served { kind: Kind, is_old: bool },
    /// It is in the API's first shape; the kind is one that can be shown as it is written today.
    FirstShape(Option<Kind>),
    /// Nobody can mean this; `field` is what is wrong.
    Mistake { field: &'static str, message: String, help: String },
    /// It is for somebody else.
    Foreign,
}

/// What the object is.
pub(super) fn meaning(api_version: &str, kind: &str) -> Meaning {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if group == FIRST_GROUP {
        let shown = [Kind::GatewayClass, Kind::Gateway, Kind::HttpRoute];
        return Meaning::FirstShape(shown.into_iter().find(|shown| shown.as_str() == kind));
    }
    let named = Kind::ALL.iter().copied().find(|known| known.as_str() == kind);
    match named {
        Some(named) if named.group() == group => served(named, api_version, version),
        Some(named) if is_ours(group) || api_version == named.group() => Meaning::Mistake {
            field: "apiVersion",
            message: format!("there is no {kind} in `{api_version}`"),
            help: format!("write `apiVersion: {}`", named.api_version()),
        },
        None if group == GATEWAY_GROUP => misspelt(kind, group, "the Gateway API"),
        None if group == EXPERIMENTAL_GROUP => misspelt(kind, group, "the Gateway API"),
        None if group == GWAPI_GROUP => misspelt(kind, group, "gwapi"),
        _ => Meaning::Foreign,
    }
}

/// Whether every kind of the group is known here: the core group holds no kind named Gateway.
fn is_ours(group: &str) -> bool {
    matches!(group, "" | GATEWAY_GROUP | GWAPI_GROUP | "discovery.k8s.io")
}

fn served(kind: Kind, api_version: &str, version: &str) -> Meaning {
    let old: &[&str] = match kind.group() {
        // BT-12.
        GATEWAY_GROUP if kind == Kind::BackendTlsPolicy => &["v1alpha3"],
        GATEWAY_GROUP if kind == Kind::TlsRoute => &["v1alpha3", "v1alpha2"],
        GATEWAY_GROUP if matches!(kind, Kind::TcpRoute | Kind::UdpRoute) => &["v1alpha2"],
        GATEWAY_GROUP if kind == Kind::ListenerSet => &[],
        GATEWAY_GROUP => &["v1beta1", "v1alpha2"],
        "discovery.k8s.io" => &["v1beta1"],
        "certificates.k8s.io" => &["v1beta1", "v1alpha1"],
        _ => &[],
    };
    if version == kind.version() || old.contains(&version) {
        return Meaning::Served { kind, is_old: version != kind.version() };
    }
    Meaning::Mistake {
        field: "apiVersion",
        message: format!("there is no {kind} in `{api_version}`"),
        help: format!("write `apiVersion: {}`", kind.api_version()),
    }
}

/// Whether an old version is one that no cluster of today serves: the CRDs of the standard channel (BT-12),
/// and Kubernetes from 1.25 on.
pub(super) fn is_gone(kind: Kind, api_version: &str) -> bool {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let is_kept =
        matches!(kind, Kind::GatewayClass | Kind::Gateway | Kind::HttpRoute | Kind::ReferenceGrant);
    match group {
        GATEWAY_GROUP => version != kind.version() && !(is_kept && version == "v1beta1"),
        "discovery.k8s.io" => version == "v1beta1",
        _ => false,
    }
}

/// A kind of a group that is not known: a newer one, or a typing error.
fn misspelt(kind: &str, group: &str, owner: &str) -> Meaning {
    let ours = Kind::ALL.iter().filter(|known| known.group() == group);
    let known: Vec<&str> = ours.map(|known| known.as_str()).collect();
    // A much shorter or longer word is a kind of its own, not a typing error.
    let near = closest(kind, &known).filter(|near| near.len().abs_diff(kind.len()) <= 2);
    match near {
        Some(near) => Meaning::Mistake {
            field: "kind",
            message: format!("{owner} has no kind `{kind}`"),
            help: format!("did you mean `{near}`?"),
        },
        None => Meaning::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BT-12
    #[test]
    fn present_and_old_versions_of_our_kinds_are_served() {
        for (api_version, kind, expected, is_old) in [
            ("gateway.networking.k8s.io/v1", "HTTPRoute", Kind::HttpRoute, false),
            ("gateway.networking.k8s.io/v1", "GRPCRoute", Kind::GrpcRoute, false),
            ("gateway.networking.k8s.io/v1beta1", "Gateway", Kind::Gateway, true),
            ("gateway.networking.k8s.io/v1alpha2", "ReferenceGrant", Kind::ReferenceGrant, true),
            (
                "gateway.networking.k8s.io/v1alpha3",
                "BackendTLSPolicy",
                Kind::BackendTlsPolicy,
                true,
            ),
            (
                "gateway.networking.x-k8s.io/v1alpha1",
                "XBackendTrafficPolicy",
                Kind::BackendTrafficPolicy,
                false,
            ),
            (
                "gateway.networking.x-k8s.io/v1alpha1",
                "XTelemetryPolicy",
                Kind::TelemetryPolicy,
                false,
            ),
            ("v1", "Service", Kind::Service, false),
            ("certificates.k8s.io/v1", "ClusterTrustBundle", Kind::ClusterTrustBundle, false),
            ("certificates.k8s.io/v1beta1", "ClusterTrustBundle", Kind::ClusterTrustBundle, true),
            ("discovery.k8s.io/v1beta1", "EndpointSlice", Kind::EndpointSlice, true),
            ("gwapi.dev/v1alpha1", "GatewayParameters", Kind::GatewayParameters, false),
        ] {
            let served = Meaning::Served { kind: expected, is_old };
            assert_eq!(meaning(api_version, kind), served, "{api_version} {kind}");
        }
    }

    /// BT-12
    #[test]
    fn versions_that_clusters_no_longer_serve_are_told_from_those_that_they_do() {
        for (api_version, kind, gone) in [
            ("gateway.networking.k8s.io/v1", Kind::HttpRoute, false),
            ("gateway.networking.k8s.io/v1beta1", Kind::HttpRoute, false),
            ("gateway.networking.k8s.io/v1alpha2", Kind::HttpRoute, true),
            ("gateway.networking.k8s.io/v1beta1", Kind::ReferenceGrant, false),
            ("gateway.networking.k8s.io/v1alpha2", Kind::GrpcRoute, true),
            ("gateway.networking.k8s.io/v1alpha3", Kind::BackendTlsPolicy, true),
            ("discovery.k8s.io/v1beta1", Kind::EndpointSlice, true),
            ("certificates.k8s.io/v1beta1", Kind::ClusterTrustBundle, false),
            ("gateway.networking.x-k8s.io/v1alpha1", Kind::XBackend, false),
        ] {
            assert_eq!(is_gone(kind, api_version), gone, "{api_version} {kind}");
        }
    }

    #[test]
    fn kinds_of_others_are_foreign() {
        for (api_version, kind) in [
            ("apps/v1", "Deployment"),
            ("v1", "Pod"),
            ("certificates.k8s.io/v1", "CertificateSigningRequest"),
            ("networking.istio.io/v1", "Gateway"),
            ("serving.knative.dev/v1", "Service"),
            ("gateway.networking.k8s.io/v1alpha1", "MeshPolicy"),
            ("gateway.networking.x-k8s.io/v1alpha1", "XMesh"),
        ] {
            assert_eq!(meaning(api_version, kind), Meaning::Foreign, "{api_version} {kind}");
        }
    }

    #[test]
    fn what_nobody_can_mean_is_a_mistake_with_a_way_out() {
        for (api_version, kind, way_out) in [
            ("gateway.networking.k8s.io/v1", "HttpRoute", "did you mean `HTTPRoute`?"),
            ("gateway.networking.k8s.io/v1", "Gatway", "did you mean `Gateway`?"),
            ("gateway.networking.k8s.io/v1", "GrpcRoute", "did you mean `GRPCRoute`?"),
            ("v1", "Gateway", "write `apiVersion: gateway.networking.k8s.io/v1`"),
            (
                "gateway.networking.k8s.io/v2",
                "Gateway",
                "write `apiVersion: gateway.networking.k8s.io/v1`",
            ),
            (
                "gateway.networking.k8s.io",
                "Gateway",
                "write `apiVersion: gateway.networking.k8s.io/v1`",
            ),
            ("v1beta1", "Service", "write `apiVersion: v1`"),
            (
                "gateway.networking.k8s.io/v1",
                "XBackendTrafficPolicy",
                "write `apiVersion: gateway.networking.x-k8s.io/v1alpha1`",
            ),
            (
                "gateway.networking.x-k8s.io/v1alpha1",
                "BackendTrafficPolicy",
                "did you mean `XBackendTrafficPolicy`?",
            ),
            ("gwapi.dev/v1alpha1", "GatewayParameter", "did you mean `GatewayParameters`?"),
            ("gwapi.dev/v1", "GatewayParameters", "write `apiVersion: gwapi.dev/v1alpha1`"),
        ] {
            match meaning(api_version, kind) {
                Meaning::Mistake { help, .. } => assert_eq!(help, way_out),
                other => panic!("{api_version} {kind}: {other:?}"),
            }
        }
    }
}
