//! What the CRDs' schemas and CEL rules refuse, as typed checks: for resources that no API server
//! has validated. Each check names the rule it stands for.
//!
//! ```
//! use gwapi_model::{HttpRoute, Resource, validate};
//!
//! let route: HttpRoute = serde_json::from_value(serde_json::json!({
//!     "metadata": {"name": "shop", "namespace": "default"},
//!     "spec": {"hostnames": ["shop.example.com:8080"]},
//! }))?;
//! let violations = validate::validate(&Resource::from(route));
//!
//! assert_eq!(violations[0].path.to_string(), "spec.hostnames[0]");
//! assert!(violations[0].message.starts_with("`shop.example.com:8080` is not a hostname"));
//! assert_eq!(
//!     violations[0].help.as_deref(),
//!     Some("leave the port out; it belongs to the listener"),
//! );
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! What takes more than one object to see (a reference that leads nowhere, a listener that no
//! route may use) is not checked here: that is for a status. What takes the former version of an
//! object (a field that never changes) is not checked either.
//!
//! Where the channels of the Gateway API differ over a field that both have, the more permissive
//! one is applied; what only the experimental channel has is held to its rules. Four checks go
//! beyond both: a hostname that is an IP address (RT-14, prose alone), a label selector that
//! Kubernetes could not apply, a header value with control characters, which no message can
//! carry, and a type of address or a protocol with more around it, which the patterns of the CRDs let
//! through.

mod backend_tls_policy;
mod backend_traffic_policy;
mod checker;
mod core;
mod experimental;
mod external_auth;
mod filter;
mod gateway;
mod gateway_parameters;
mod grpc_route;
mod http_route;
mod reference;
mod reference_grant;
mod route;
mod session_persistence;
mod stream_route;
pub(crate) mod suggest;
mod syntax;
mod telemetry_policy;
mod x_backend;

use std::fmt;

use checker::Checker;
pub use suggest::closest;

use crate::Resource;

/// One step from an object to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// A field, as written in manifests.
    Field(String),
    /// A position in a list, from 0.
    Index(usize),
}

/// The way from an object to a field: `spec.rules[0].matches[1].path.value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(pub Vec<PathSegment>);

impl FieldPath {
    /// The path one field further down.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let mut path = self.clone();
        path.0.push(PathSegment::Field(name.to_owned()));
        path
    }

    /// The path one list position further down.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(PathSegment::Index(index));
        path
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                PathSegment::Field(name) if position == 0 => f.write_str(name)?,
                PathSegment::Field(name) => write!(f, ".{name}")?,
                PathSegment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Something that an API server would have refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub path: FieldPath,
    /// What is wrong, in one sentence without a final dot.
    pub message: String,
    /// What to do about it, where that is not plain from the message.
    pub help: Option<String>,
}

/// Everything that an API server would refuse in `resource`; empty when it is valid.
pub fn validate(resource: &Resource) -> Vec<Violation> {
    let mut check = Checker::default();
    core::metadata(&mut check, resource.kind(), resource.metadata());
    match resource {
        Resource::GatewayClass(class) => gateway::gateway_class(&mut check, class),
        Resource::Gateway(gateway) => gateway::gateway(&mut check, gateway),
        Resource::ListenerSet(set) => gateway::listener_set(&mut check, set),
        Resource::HttpRoute(route) => http_route::http_route(&mut check, route),
        Resource::GrpcRoute(route) => grpc_route::grpc_route(&mut check, route),
        Resource::TlsRoute(route) => stream_route::tls_route(&mut check, route),
        Resource::TcpRoute(route) => stream_route::tcp_route(&mut check, route),
        Resource::UdpRoute(route) => stream_route::udp_route(&mut check, route),
        Resource::BackendTlsPolicy(policy) => {
            backend_tls_policy::backend_tls_policy(&mut check, policy);
        }
        Resource::XBackend(backend) => x_backend::x_backend(&mut check, backend),
        Resource::BackendTrafficPolicy(policy) => {
            backend_traffic_policy::backend_traffic_policy(&mut check, policy);
        }
        Resource::TelemetryPolicy(policy) => {
            telemetry_policy::telemetry_policy(&mut check, policy);
        }
        Resource::ReferenceGrant(grant) => reference_grant::reference_grant(&mut check, grant),
        Resource::GatewayParameters(parameters) => {
            gateway_parameters::gateway_parameters(&mut check, &parameters.spec);
        }
        Resource::Namespace(_) => {}
        Resource::Service(service) => core::service(&mut check, service),
        Resource::EndpointSlice(slice) => core::endpoint_slice(&mut check, slice),
        Resource::Endpoints(endpoints) => core::endpoints(&mut check, endpoints),
        Resource::Secret(secret) => core::secret(&mut check, secret),
        Resource::ClusterTrustBundle(bundle) => core::cluster_trust_bundle(&mut check, bundle),
        Resource::ConfigMap(config_map) => core::config_map(&mut check, config_map),
    }
    check.finish()
}
