//! A Service port as a backend: its protocol, its endpoints, and what is wrong with it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gwapi_model::status::ConditionReason;
use gwapi_model::{
    AddressFamily, BackendTlsPolicy, BackendTrafficPolicy, EndpointPort, EndpointSlice,
    IntOrString, Kind, NamespacedName, Resources, RouteKind, Service, ServicePort as ModelPort,
    ServiceType,
};

use super::conditions::Problem;
use super::{Options, backend_tls, backend_traffic, policy, syntax};
use crate::ir::{
    Backend, BackendKey, BackendProtocol, Certificate, Endpoints, RetryBudget, SessionPersistence,
    TransportProtocol, is_refused_endpoint,
};

/// A port of a Service, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ServicePort {
    /// The Service.
    pub(super) service: NamespacedName,
    /// Its port.
    pub(super) port: u16,
    /// The kind of the routes that refer to it; listeners that do count as HTTPRoutes.
    pub(super) routes: RouteKind,
    /// What they need it for.
    pub(super) purpose: Purpose,
    /// Whether it is an XBackend that has the name of the Service; the port is 0 then.
    pub(super) x_backend: bool,
}

/// What a Service port is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// To be sent what routes take: the kind of the routes says what is spoken where the port does not.
    Traffic,
    /// To be sent connections as they are: no policy is about that (TS-5).
    Passthrough,
    /// To be asked by `ext_authz`, which is gRPC whatever the kind of the route (EA-3).
    Authorization,
}

impl ServicePort {
    /// The key of the backend.
    pub(super) fn key(&self) -> BackendKey {
        let NamespacedName { namespace, name } = &self.service;
        if self.x_backend {
            let passthrough = self.purpose == Purpose::Passthrough;
            return BackendKey::x_backend(self.routes, passthrough, namespace, name);
        }
        match self.purpose {
            Purpose::Traffic => BackendKey::for_routes(self.routes, namespace, name, self.port),
            Purpose::Passthrough => BackendKey::for_passthrough(namespace, name, self.port),
            Purpose::Authorization => BackendKey::for_authorization(namespace, name, self.port),
        }
    }

    /// The kind of routes whose backends speak what this one is spoken to.
    fn spoken(&self) -> RouteKind {
        match self.purpose {
            Purpose::Authorization => RouteKind::Grpc,
            Purpose::Traffic | Purpose::Passthrough => self.routes,
        }
    }

    /// Whether requests are sent to it, which an XBackendTrafficPolicy has a say in.
    pub(super) fn takes_requests(&self) -> bool {
        matches!(self.routes, RouteKind::Http | RouteKind::Grpc)
    }

    /// Whether a BackendTLSPolicy has a say in what is sent to it: TLS of ours is put around requests, and
    /// around what was inside TLS that ended here (BT-8).
    pub(super) fn takes_policies(&self) -> bool {
        !self.x_backend
            && self.purpose != Purpose::Passthrough
            && !matches!(self.routes, RouteKind::Tcp | RouteKind::Udp)
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.x_backend {
            true => write!(f, "{}", self.service),
            false => write!(f, "{}:{}", self.service, self.port),
        }
    }
}

/// What a Service port amounts to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BackendView {
    /// What is served; `None` where it cannot be: requests for it are answered with 500 (HB-3).
    pub(super) served: Option<(Arc<Backend>, Arc<Endpoints>)>,
    /// The certificate that is shown to it alone; what is shown to all that a Gateway sends to is not here.
    pub(super) certificate: Option<Arc<Certificate>>,
    /// What routes have to say about it. Endpoints that come and go do not change it, so that
    /// routes need not be looked at for them.
    pub(super) facts: BackendFacts,
}

/// What a route's status depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BackendFacts {
    /// The key of the backend, shared by all rules that refer to it.
    pub(super) key: Option<BackendKey>,
    /// Why the reference does not resolve (RT-10).
    pub(super) problem: Option<Problem>,
    /// Endpoints that are left out because no backend may live there.
    pub(super) refused: BTreeSet<IpAddr>,
}

impl BackendFacts {
    /// What is worth knowing beside whether the reference to a target resolves.
    pub(super) fn note(&self, target: &ServicePort) -> Option<String> {
        let addresses: Vec<String> = self.refused.iter().map(ToString::to_string).collect();
        let kind = if target.x_backend { Kind::XBackend } else { Kind::Service };
        (!addresses.is_empty()).then(|| {
            format!(
                "endpoints of {kind} `{}` are left out because no backend may live there: {}",
                target.service,
                addresses.join(", ")
            )
        })
    }
}

/// The policies that are for a Service.
pub(super) struct Policies<'a, 'p> {
    pub(super) tls: &'a [&'p Arc<BackendTlsPolicy>],
    pub(super) traffic: &'a [&'p Arc<BackendTrafficPolicy>],
}

impl Policies<'_, '_> {
    /// routes of HTTP alone ask for retries.
    fn retry_budget(&self, target: &ServicePort, port: &ModelPort) -> Option<RetryBudget> {
        let policy = policy::of_port(self.traffic, &target.service, port)?;
        backend_traffic::retry_budget(policy).filter(|_| target.routes.is_http())
    }

    /// SP-3: requests alone have sessions, and those at endpoints that are ours to choose.
    fn session(
        &self,
        target: &ServicePort,
        service: &Service,
        port: &ModelPort,
        options: &Options,
    ) -> Option<Box<SessionPersistence>> {
        let is_chosen = target.takes_requests()
            && target.purpose == Purpose::Traffic
            && backend_traffic::chooses_endpoints(service);
        let policy = policy::of_port(self.traffic, &target.service, port).filter(|_| is_chosen)?;
        backend_traffic::session(policy, &target.service, target.port, options).map(Box::new)
    }
}

/// Judges a Service port. `slices` are the EndpointSlices of the Service, and `policies` those that are
/// for it.
pub(super) fn view<'a>(
    target: &ServicePort,
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>> + Clone,
    policies: &Policies<'_, '_>,
    resources: &'a Resources,
    options: &Options,
) -> BackendView {
    match judge(target, policies.tls, resources, options) {
        Err(problem) => BackendView {
            facts: BackendFacts {
                key: Some(target.key()),
                problem: Some(problem),
                ..BackendFacts::default()
            },
            ..BackendView::default()
        },
        Ok(Judged { service, port, protocol, policy }) => {
            let tls =
                policy.map(|policy| backend_tls::tls(policy, resources, options).map(Arc::new));
            let retry_budget = policies.retry_budget(target, port);
            let session = policies.session(target, service, port, options);
            let mut found = Found::of(transport(target.spoken()));
            if service.spec.service_type == Some(ServiceType::ExternalName) {
                found.external_name(service, port);
            } else {
                found.endpoints(port.name.as_deref().unwrap_or_default(), slices, || {
                    resources.endpoints.get(&target.service)
                });
            }
            let key = target.key();
            let endpoints = Endpoints {
                key: key.clone(),
                addresses: found.addresses.into_iter().collect(),
                hostnames: found.hostnames,
                external: Vec::new(),
            };
            BackendView {
                facts: BackendFacts {
                    key: Some(key.clone()),
                    problem: None,
                    refused: found.refused,
                },
                // BT-5: a policy that cannot be honoured is no reason to go without.
                served: tls.map_or(Some(None), |tls| tls.map(Some)).map(|tls| {
                    let backend = Backend { key, protocol, tls, session, retry_budget };
                    (Arc::new(backend), Arc::new(endpoints))
                }),
                certificate: None,
            }
        }
    }
}

/// A port that can be a backend.
struct Judged<'r, 'p> {
    service: &'r Service,
    port: &'r ModelPort,
    protocol: BackendProtocol,
    /// The policy that holds for it.
    policy: Option<&'p Arc<BackendTlsPolicy>>,
}

/// Finds the port, its protocol and its policy, or says why it cannot be a backend (HB-1, HB-7, HB-8).
fn judge<'r, 'p>(
    target: &ServicePort,
    policies: &[&'p Arc<BackendTlsPolicy>],
    resources: &'r Resources,
    options: &Options,
) -> Result<Judged<'r, 'p>, Problem> {
    let name = &target.service;
    let not_found = |message: String| Problem::new(ConditionReason::BackendNotFound, message);
    let unsupported = |message: String| Problem::new(ConditionReason::UnsupportedProtocol, message);
    let service = resources
        .services
        .get(name)
        .ok_or_else(|| not_found(format!("Service `{name}` does not exist")))?;
    if service.spec.service_type == Some(ServiceType::ExternalName) {
        if !options.allow_external_name {
            return Err(Problem::new(
                ConditionReason::InvalidKind,
                format!(
                    "Service `{name}` is of type ExternalName, which is not routed to: it could \
                     lead anywhere; use EndpointSlices, or allow it with --allow-external-name"
                ),
            ));
        }
        let external = service.spec.external_name.as_deref().unwrap_or_default();
        if external.parse::<IpAddr>().is_err() && !syntax::is_dns_name(external) {
            return Err(not_found(format!(
                "Service `{name}` has the externalName `{external}`, which is no DNS name"
            )));
        }
    }
    let mut same_number =
        service.spec.ports.iter().filter(|port| port.port.get() == target.port).peekable();
    if same_number.peek().is_none() {
        let ports: BTreeSet<u16> = service.spec.ports.iter().map(|port| port.port.get()).collect();
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let has = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        return Err(not_found(format!(
            "Service `{name}` has no port {}; its ports: {has}",
            target.port
        )));
    }
    let transport = transport(target.spoken());
    let port =
        same_number.find(|port| is_of(transport, port.protocol.as_deref())).ok_or_else(|| {
            unsupported(format!(
                "port {} of Service `{name}` is not a {transport} port",
                target.port
            ))
        })?;
    let written = port.app_protocol.as_deref().unwrap_or_default();
    let policy = target.takes_policies().then(|| policy::of_port(policies, name, port));
    let policy = policy.flatten();
    let protocol = protocol(written, target.spoken(), policy.is_some()).ok_or_else(|| {
        if is_over_tls(written, target.spoken()) {
            return unsupported(format!(
                "port {} of Service `{name}` has the appProtocol `{written}`, and no \
                 BackendTLSPolicy says whom to trust there",
                target.port
            ));
        }
        let supported = match target.spoken() {
            _ if target.purpose == Purpose::Authorization => {
                "authorization by gRPC takes http, grpc and kubernetes.io/h2c"
            }
            RouteKind::Http => "http, kubernetes.io/h2c and kubernetes.io/ws are",
            _ => "a GRPCRoute takes http, grpc and kubernetes.io/h2c",
        };
        unsupported(format!(
            "port {} of Service `{name}` has the appProtocol `{written}`, which is not supported; \
             {supported}",
            target.port
        ))
    })?;
    Ok(Judged { service, port, protocol, policy })
}

/// HB-8. gRPC is HTTP/2, so that is spoken unless the port is for something else.
fn protocol(app_protocol: &str, routes: RouteKind, has_policy: bool) -> Option<BackendProtocol> {
    let spoken = match routes {
        RouteKind::Http => BackendProtocol::Http1,
        RouteKind::Grpc => BackendProtocol::H2c,
        // What is inside is not ours to know, whatever the port is for.
        RouteKind::Tls | RouteKind::Tcp => return Some(BackendProtocol::Tcp),
        RouteKind::Udp => return Some(BackendProtocol::Udp),
    };
    // The names that IANA keeps are the same in any case (RFC 6335 5.1).
    let is_named = |name: &str| app_protocol.eq_ignore_ascii_case(name);
    match (app_protocol, routes) {
        ("kubernetes.io/h2c", _) => Some(BackendProtocol::H2c),
        ("", _) | ("kubernetes.io/ws", RouteKind::Http) => Some(spoken),
        (_, RouteKind::Grpc) if is_named("grpc") => Some(spoken),
        _ if is_named("http") => Some(spoken),
        _ if has_policy && is_over_tls(app_protocol, routes) => Some(spoken),
        _ => None,
    }
}

/// Whether the protocol is one that is spoken inside TLS alone.
fn is_over_tls(app_protocol: &str, routes: RouteKind) -> bool {
    app_protocol.eq_ignore_ascii_case("https")
        || routes.is_http() && app_protocol == "kubernetes.io/wss"
}

/// The transport that routes of a kind need.
pub(super) fn transport(routes: RouteKind) -> TransportProtocol {
    match routes {
        RouteKind::Udp => TransportProtocol::Udp,
        _ => TransportProtocol::Tcp,
    }
}

/// Whether a port as written is of a transport protocol; absent means TCP.
fn is_of(transport: TransportProtocol, written: Option<&str>) -> bool {
    written.unwrap_or("TCP") == transport.as_str()
}

/// Whether an EndpointSlice has addresses that a proxy connects to, and not names.
pub(super) fn is_of_addresses(slice: &EndpointSlice) -> bool {
    matches!(slice.address_type, AddressFamily::Ipv4 | AddressFamily::Ipv6)
}

/// Addresses on their way into [`Endpoints`].
pub(super) struct Found {
    transport: TransportProtocol,
    pub(super) addresses: BTreeSet<SocketAddr>,
    hostnames: Vec<(String, u16)>,
    pub(super) refused: BTreeSet<IpAddr>,
}

impl Found {
    pub(super) fn of(transport: TransportProtocol) -> Self {
        Self {
            transport,
            addresses: BTreeSet::new(),
            hostnames: Vec::new(),
            refused: BTreeSet::new(),
        }
    }

    /// EndpointSlices of every family and number, else the Endpoints object (HB-7).
    fn endpoints<'a>(
        &mut self,
        port_name: &'a str,
        slices: impl Iterator<Item = &'a Arc<EndpointSlice>> + Clone,
        endpoints: impl FnOnce() -> Option<&'a Arc<gwapi_model::Endpoints>>,
    ) {
        if slices.clone().next().is_some() {
            self.slices(port_name, slices);
        } else if let Some(endpoints) = endpoints() {
            for subset in &endpoints.subsets {
                for port in matching_ports(self.transport, port_name, &subset.ports) {
                    for address in &subset.addresses {
                        self.add(&address.ip, port);
                    }
                }
            }
        }
    }

    /// The ready endpoints of all slices; where there is none at all, those that still serve while
    /// they terminate, as kube-proxy does it.
    fn slices<'a>(
        &mut self,
        port_name: &'a str,
        slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
    ) {
        let transport = self.transport;
        let ports = |slice: &'a EndpointSlice| matching_ports(transport, port_name, &slice.ports);
        self.endpoints_of(slices, ports);
    }

    /// The same with one port for all of them, whatever the slices say.
    pub(super) fn pods<'a>(
        &mut self,
        slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
        port: u16,
    ) {
        self.endpoints_of(slices, |_| std::iter::once(port));
    }

    fn endpoints_of<'a, P: Iterator<Item = u16>>(
        &mut self,
        slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
        ports: impl Fn(&'a EndpointSlice) -> P,
    ) {
        let mut terminating = Vec::new();
        let mut any_ready = false;
        for slice in slices {
            if !is_of_addresses(slice) {
                continue;
            }
            for port in ports(slice) {
                for endpoint in &slice.endpoints {
                    let Some(address) = endpoint.addresses.first() else { continue };
                    let conditions = endpoint.conditions.clone().unwrap_or_default();
                    let ready = conditions.ready.unwrap_or(true);
                    if ready {
                        any_ready = true;
                        self.add(address, port);
                    } else if conditions.serving == Some(true)
                        && conditions.terminating == Some(true)
                    {
                        terminating.push((address, port));
                    }
                }
            }
        }
        if !any_ready {
            for (address, port) in terminating {
                self.add(address, port);
            }
        }
    }

    /// The name of an ExternalName Service, or the address that stands in its place. The port is
    /// the Service's target port, if it is a number.
    fn external_name(&mut self, service: &Service, port: &ModelPort) {
        let name = service.spec.external_name.as_deref().unwrap_or_default();
        let target = match port.target_port {
            Some(IntOrString::Int(number)) => u16::try_from(number).ok().filter(|port| *port != 0),
            _ => None,
        };
        let port = target.unwrap_or_else(|| port.port.get());
        if name.parse::<IpAddr>().is_ok() {
            self.add(name, port);
        } else {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            self.hostnames.push((name, port));
        }
    }

    fn add(&mut self, address: &str, port: u16) {
        let Ok(address) = address.parse::<IpAddr>() else { return };
        if is_refused_endpoint(address) {
            self.refused.insert(address);
        } else {
            self.addresses.insert(SocketAddr::new(address, port));
        }
    }
}

/// The ports of that name; a Service's unnamed port goes with unnamed ports.
fn matching_ports<'a>(
    transport: TransportProtocol,
    name: &'a str,
    ports: &'a [EndpointPort],
) -> impl Iterator<Item = u16> + 'a {
    ports
        .iter()
        .filter(move |port| port.name.as_deref().unwrap_or_default() == name)
        .filter(move |port| is_of(transport, port.protocol.as_deref()))
        .filter_map(|port| port.port.map(gwapi_model::Port::get))
}
