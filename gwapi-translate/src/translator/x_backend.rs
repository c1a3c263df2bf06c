//! XBackends: what routes send to where no Service is named, and their status.
//!
//! An XBackend that cannot be honoured in full is not accepted, and takes nothing: whoever asked for TLS,
//! or for sessions, gets no traffic without.
//!
//! The pods of an `endpointSelector` are those of the Services of its namespace with the very same
//! selector, whose EndpointSlices say which of them are ready. What the Services call their ports does not
//! matter: the port is the XBackend's own. In a cluster somebody makes such a Service, for which
//! [`selection`] says what it has to select.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gwapi_model::status::{ConditionReason, ConditionType, PolicyStatus};
use gwapi_model::{
    BackendTlsValidation, EndpointSlice, Kind, NamespacedName, ObjectId, Resources, RouteKind,
    SecretObjectReference, Service, ServiceType, XBackend, XBackendProtocol, XBackendTlsMode,
    XBackendType,
};

use super::backend::{BackendFacts, BackendView, Found, Purpose, ServicePort, transport};
use super::conditions::{Problem, summary};
use super::{Options, backend_tls, certificates, policy, sessions, syntax};
use crate::ir::{
    Backend, BackendProtocol, BackendTls, Certificate, CertificateKey, Endpoints, GatewayId,
    SessionPersistence, TransportProtocol,
};
use crate::selection::EndpointSelection;

/// Ends of names that lie within a cluster or a machine, wherever they are asked for.
const INTERNAL: [&str; 5] = ["local", "localhost", "svc", "internal", "arpa"];

/// The labels of the pods of an XBackend that is of the type for that, and has the settings of that type alone.
fn match_labels(backend: &XBackend) -> Option<&BTreeMap<String, String>> {
    let spec = &backend.spec;
    match (&spec.backend_type, &spec.endpoint_selector, &spec.external_hostname) {
        (XBackendType::EndpointSelector, Some(selector), None) => Some(&selector.match_labels),
        _ => None,
    }
    .filter(|labels| !labels.is_empty())
}

/// Whether a Service has the pods of an XBackend. The selector of an ExternalName Service means nothing.
pub(super) fn selects(backend: &XBackend, service: &Service) -> bool {
    let selector = backend.spec.endpoint_selector.as_ref();
    let is_external = service.spec.service_type == Some(ServiceType::ExternalName);
    !is_external
        && selector.is_some_and(|selector| {
            !selector.match_labels.is_empty() && selector.match_labels == service.spec.selector
        })
}

/// What an XBackend selects, as far as its spec can be made a Service of. What else keeps it from being accepted
/// does not matter: the Service is there when that is over. `leads_to_pods` tells whether a Service does.
pub(super) fn selection(
    backend: &XBackend,
    leads_to_pods: impl Fn(&NamespacedName) -> bool,
    resources: &Resources,
) -> Option<EndpointSelection> {
    let uid = backend.metadata.uid.as_ref()?.to_string();
    let port = backend.spec.port.number?.get();
    let match_labels = match_labels(backend)?.clone();
    let services = services(backend, resources);
    let services = services.map(|name| (name.name.to_string(), leads_to_pods(name))).collect();
    Some(EndpointSelection { backend: backend.name(), uid, match_labels, port, services })
}

/// All XBackends of a namespace.
pub(super) fn in_namespace<'r>(
    resources: &'r Resources,
    namespace: &str,
) -> impl Iterator<Item = (&'r NamespacedName, &'r Arc<XBackend>)> {
    let namespace: Arc<str> = namespace.into();
    let first = NamespacedName::new(namespace.clone(), "");
    resources.x_backends.range(first..).take_while(move |(name, _)| name.namespace == namespace)
}

/// The ConfigMaps, ClusterTrustBundles and Secrets that an XBackend refers to, there or not, permitted or not.
pub(super) fn references(backend: &XBackend) -> impl Iterator<Item = ObjectId> + '_ {
    let namespace = &backend.metadata.namespace;
    let secret = client_certificate_ref(backend).and_then(|it| certificates::target(namespace, it));
    authorities(backend).chain(secret.map(|it| it.object_id(Kind::Secret)))
}

/// The same without what must not be followed.
pub(super) fn permitted_references<'a>(
    backend: &'a XBackend,
    resources: &Resources,
) -> impl Iterator<Item = ObjectId> + 'a {
    let from = id(&backend.name());
    let reference = client_certificate_ref(backend);
    let secret = reference.and_then(|it| certificates::permitted_target(&from, it, resources));
    authorities(backend).chain(secret.map(|it| it.object_id(Kind::Secret)))
}

fn authorities(backend: &XBackend) -> impl Iterator<Item = ObjectId> + '_ {
    let tls = backend.spec.tls.iter().filter_map(|tls| tls.validation.as_deref());
    tls.flat_map(|it| backend_tls::authorities(&backend.metadata.namespace, it))
}

/// The namespace of a Secret that an XBackend refers to, where that is another one: grants there concern it.
pub(super) fn referred_namespace(backend: &XBackend) -> Option<Arc<str>> {
    let own = &backend.metadata.namespace;
    let secret = certificates::target(own, client_certificate_ref(backend)?)?;
    Some(secret.namespace).filter(|namespace| namespace != own)
}

fn client_certificate_ref(backend: &XBackend) -> Option<&SecretObjectReference> {
    backend.spec.tls.as_ref()?.client_certificate_ref.as_ref()
}

/// What an XBackend amounts to, for routes of every kind.
#[derive(Default)]
struct Verdict {
    tls: Option<BackendTls>,
    /// What is shown to the endpoints.
    certificate: Option<Arc<Certificate>>,
    session: Option<Box<SessionPersistence>>,
    /// Why it is not accepted.
    refused: Vec<Problem>,
    /// What is worth knowing where it is.
    notes: Vec<String>,
}

fn judge(backend: &XBackend, resources: &Resources, options: &Options) -> Verdict {
    let mut verdict = Verdict::default();
    let spec = &backend.spec;
    let unsupported = |message: String| Problem::unsupported(message);
    match (&spec.backend_type, &spec.endpoint_selector, &spec.external_hostname) {
        (XBackendType::EndpointSelector, Some(selector), None) => {
            if selector.match_labels.is_empty() {
                verdict.refused.push(unsupported("endpointSelector selects nothing".to_owned()));
            }
        }
        (XBackendType::ExternalHostname, None, Some(external)) => {
            verdict.refused.extend(refused_hostname(&external.hostname, options));
            if spec.session_persistence.is_some() {
                verdict.refused.push(unsupported(
                    "sessionPersistence belongs to type EndpointSelector alone".to_owned(),
                ));
            }
        }
        (XBackendType::Other(other), ..) => {
            verdict.refused.push(unsupported(format!("type `{other}` is not known")));
        }
        (known, ..) => verdict.refused.push(unsupported(format!(
            "type {known} needs the settings of its name, and no others"
        ))),
    }
    if spec.port.number.is_none() {
        verdict.refused.push(unsupported("port.number is not set".to_owned()));
    }
    if let Some(XBackendProtocol::Other(other)) = &spec.protocol {
        verdict.refused.push(unsupported(format!("protocol `{other}` is not known")));
    }
    tls(backend, resources, options, &mut verdict);
    let is_over_tls = verdict.tls.is_some();
    match &spec.protocol {
        Some(XBackendProtocol::H2c) if is_over_tls => verdict.refused.push(unsupported(
            "protocol H2C is spoken without TLS, and tls asks for it".to_owned(),
        )),
        Some(protocol @ (XBackendProtocol::Http2 | XBackendProtocol::Wss))
            if !is_over_tls && verdict.refused.is_empty() =>
        {
            let message = format!("protocol {protocol} is spoken over TLS, and tls asks for none");
            verdict.refused.push(unsupported(message));
        }
        _ => {}
    }
    if let Some(written) = &spec.session_persistence {
        let scope = format!("XBackend {}", backend.name());
        match sessions::compile(written, scope, options.underscore_headers) {
            Ok(session) => verdict.session = Some(Box::new(session)),
            Err(problem) => verdict.refused.push(problem),
        }
    }
    verdict
}

/// Why a host is none that an XBackend may name. What a name resolves to is looked at when a connection is
/// made; this tells those who mean well.
fn refused_hostname(hostname: &str, options: &Options) -> Option<Problem> {
    let refuse = |why: &str| {
        let place = "externalHostname.hostname";
        Some(Problem::unsupported(format!("`{hostname}` {why}")).at(place))
    };
    let name = hostname.trim_end_matches('.').to_ascii_lowercase();
    if name.parse::<IpAddr>().is_ok() || !syntax::is_dns_name(&name) {
        return refuse("is no DNS name");
    }
    if name.ends_with(".cluster.local") {
        return refuse("lies within the cluster: refer to a Service, or select its pods");
    }
    if options.allow_external_name {
        return None;
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if !name.contains('.') || INTERNAL.contains(&last) {
        return refuse(
            "is no name of the public DNS; gwapi run --allow-external-name takes such names too",
        );
    }
    None
}

fn tls(backend: &XBackend, resources: &Resources, options: &Options, verdict: &mut Verdict) {
    let Some(tls) = &backend.spec.tls else { return };
    let place = |problem: Problem| problem.at("tls");
    match (&tls.mode, &tls.validation, &tls.client_certificate_ref) {
        (XBackendTlsMode::None, None, None) => {}
        (XBackendTlsMode::ServerOnly, Some(validation), None) => {
            validate(backend, validation, resources, options, verdict);
        }
        (XBackendTlsMode::ClientAndServer, Some(validation), Some(reference)) => {
            validate(backend, validation, resources, options, verdict);
            let from = id(&backend.name());
            match certificates::resolve_for_backends(&from, reference, resources) {
                Ok(certificate) => verdict.certificate = Some(certificate),
                Err(problem) => verdict.refused.push(problem.at(CLIENT_CERTIFICATE)),
            }
        }
        (XBackendTlsMode::Other(other), ..) => {
            verdict
                .refused
                .push(place(Problem::unsupported(format!("mode `{other}` is not known"))));
        }
        (mode, ..) => verdict.refused.push(place(Problem::unsupported(format!(
            "mode {mode} needs the settings that belong to it, and no others"
        )))),
    }
}

/// Where an XBackend names the certificate that is shown to its endpoints.
const CLIENT_CERTIFICATE: &str = "tls.clientCertificateRef";

/// Takes in what the endpoints have to prove.
fn validate(
    backend: &XBackend,
    validation: &BackendTlsValidation,
    resources: &Resources,
    options: &Options,
    verdict: &mut Verdict,
) {
    let namespace = &backend.metadata.namespace;
    let of_validation = backend_tls::judge(namespace, validation, resources, options);
    verdict.refused.extend(of_validation.refused.into_iter().map(|problem| problem.at("tls")));
    let unresolved = of_validation.unresolved.into_iter();
    verdict.notes.extend(unresolved.map(|problem| format!("tls: {}", problem.message)));
    verdict.tls = of_validation.tls;
}

/// The Services that have the pods of an XBackend.
fn services<'r>(
    backend: &'r XBackend,
    resources: &'r Resources,
) -> impl Iterator<Item = &'r NamespacedName> {
    let namespace = backend.metadata.namespace.clone();
    let first = NamespacedName::new(namespace.clone(), "");
    let services = resources.services.range(first..);
    let services = services.take_while(move |(name, _)| name.namespace == namespace);
    services.filter(|(_, service)| selects(backend, service)).map(|(name, _)| name)
}

/// Who makes a Service for the pods of an XBackend where there is none.
#[derive(Clone, Copy)]
pub(super) enum Making<'a> {
    /// Users.
    ByUsers,
    /// Whoever looks after that in a cluster, and is about to.
    Underway,
    /// The same, who could not, with the reason.
    Failed(&'a str),
}

/// Services that a status names at most.
const NAMED_SERVICES: usize = 4;

/// Where an XBackend has its pods from.
fn resolved_by<'r>(
    mut services: impl Iterator<Item = &'r NamespacedName>,
    making: Making<'_>,
) -> String {
    let named = services.by_ref().take(NAMED_SERVICES).map(|service| format!("`{}`", service.name));
    let named: Vec<String> = named.collect();
    match (&*named, services.count()) {
        ([], _) => {
            let outlook = match making {
                Making::ByUsers => "make one, which may be headless".to_owned(),
                Making::Underway => "one is being made".to_owned(),
                Making::Failed(why) => format!("none can be made for it: {why}"),
            };
            format!(
                "no Service of the namespace has this selector, so that it has no endpoints; {outlook}"
            )
        }
        ([service], _) => format!("its pods are those of the Service {service}"),
        (_, 0) => format!("its pods are those of the Services {}", named.join(", ")),
        (_, more) => {
            format!("its pods are those of the Services {} and {more} more", named.join(", "))
        }
    }
}

/// What is spoken to an XBackend by routes of a kind; none where it speaks something else.
fn protocol(written: Option<&XBackendProtocol>, routes: RouteKind) -> Option<BackendProtocol> {
    use XBackendProtocol::{Grpc, H2c, Http, Http2, Http11, Mcp, Tcp, Wss};
    match (routes, written) {
        (RouteKind::Http, None | Some(Http | Http11 | Mcp | Wss)) => Some(BackendProtocol::Http1),
        (RouteKind::Http | RouteKind::Grpc, Some(Http2 | H2c | Grpc)) => Some(BackendProtocol::H2c),
        (RouteKind::Grpc, None | Some(Http)) => Some(BackendProtocol::H2c),
        // What is inside is not ours to know.
        (RouteKind::Tls | RouteKind::Tcp, None | Some(Tcp)) => Some(BackendProtocol::Tcp),
        (RouteKind::Tls | RouteKind::Tcp, Some(_)) => Some(BackendProtocol::Tcp),
        _ => None,
    }
}

/// Judges an XBackend that routes refer to. `slices` are the EndpointSlices of a Service.
pub(super) fn view<'a, S: Iterator<Item = &'a Arc<EndpointSlice>> + Clone>(
    target: &ServicePort,
    slices: impl Fn(&NamespacedName) -> S,
    resources: &'a Resources,
    options: &Options,
) -> BackendView {
    let key = target.key();
    let unserved = |problem: Problem| BackendView {
        facts: BackendFacts {
            key: Some(key.clone()),
            problem: Some(problem),
            ..BackendFacts::default()
        },
        ..BackendView::default()
    };
    let name = &target.service;
    let Some(backend) = resources.x_backends.get(name) else {
        let message = format!("XBackend `{name}` does not exist");
        return unserved(Problem::new(ConditionReason::BackendNotFound, message));
    };
    let verdict = judge(backend, resources, options);
    if let Some(problem) = verdict.refused.first() {
        let message = format!("XBackend `{name}` is not accepted: {}", problem.message);
        return unserved(Problem::new(ConditionReason::BackendNotFound, message));
    }
    let written = backend.spec.protocol.as_ref();
    let Some(protocol) = protocol(written, target.routes) else {
        let written = written.map_or("TCP", XBackendProtocol::as_str);
        let kind = target.routes.kind();
        return unserved(Problem::new(
            ConditionReason::UnsupportedProtocol,
            format!("XBackend `{name}` speaks {written}, which is nothing for a {kind}"),
        ));
    };
    let port = backend.spec.port.number.map(gwapi_model::Port::get).unwrap_or_default();
    let mut endpoints =
        Endpoints { key: key.clone(), addresses: vec![], hostnames: vec![], external: vec![] };
    let mut found = Found::of(transport(target.routes));
    if let Some(external) = &backend.spec.external_hostname {
        let name = external.hostname.trim_end_matches('.').to_ascii_lowercase();
        match options.allow_external_name {
            true => endpoints.hostnames.push((name, port)),
            false => endpoints.external.push((name, port)),
        }
    } else {
        let services: Vec<_> = services(backend, resources).collect();
        let all = services.iter().flat_map(|service| slices(service)).collect::<Vec<_>>();
        found.pods(all.into_iter(), port);
    }
    endpoints.addresses = found.addresses.into_iter().collect::<Vec<SocketAddr>>();
    // TS-5: what comes by passthrough has TLS of its own.
    let is_passed_through = target.purpose == Purpose::Passthrough;
    let mut tls = verdict.tls.filter(|_| !is_passed_through);
    let certificate = verdict.certificate.filter(|_| !is_passed_through);
    let certificate = certificate.map(|certificate| {
        let key = CertificateKey::of_backend(&key);
        Arc::new(Certificate { key, ..Certificate::clone(&certificate) })
    });
    if let (Some(tls), Some(certificate)) = (&mut tls, &certificate) {
        tls.client_certificate = Some(certificate.key.clone());
        tls.mutual = true;
    }
    let session = verdict.session.filter(|_| transport(target.routes) == TransportProtocol::Tcp);
    let session = session.filter(|_| matches!(target.routes, RouteKind::Http | RouteKind::Grpc));
    BackendView {
        served: Some((
            Arc::new(Backend {
                key: key.clone(),
                protocol,
                tls: tls.map(Arc::new),
                session,
                retry_budget: None,
            }),
            Arc::new(endpoints),
        )),
        certificate,
        facts: BackendFacts { key: Some(key.clone()), problem: None, refused: found.refused },
    }
}

/// The status of an XBackend: an entry for each Gateway of ours that sends requests to it; without any it
/// is none of our business. Of each Gateway is told why its data plane cannot show the certificate, if it
/// cannot; `making` tells who makes a Service where there is none.
pub(super) fn status(
    backend: &XBackend,
    gateways: BTreeMap<GatewayId, Option<String>>,
    making: Making<'_>,
    resources: &Resources,
    options: &Options,
) -> Option<PolicyStatus> {
    if gateways.is_empty() {
        return None;
    }
    let Verdict { refused, notes, certificate, .. } = judge(backend, resources, options);
    let pods = match_labels(backend).map(|_| resolved_by(services(backend, resources), making));
    let notes: Vec<String> = pods.into_iter().chain(notes).collect();
    let generation = backend.metadata.generation;
    let ancestors = gateways.into_iter().take(MAX_ANCESTORS).map(|(gateway, rejected)| {
        let rejected = certificate.as_ref().zip(rejected).map(|(certificate, why)| {
            let message = format!("Secret `{}` cannot be used: {why}", certificate.key);
            Problem::new(ConditionReason::InvalidClientCertificateRef, message)
                .at(CLIENT_CERTIFICATE)
        });
        let problems = refused.iter().chain(&rejected);
        let accepted = summary(ConditionType::Accepted, problems, &notes, generation);
        policy::ancestor(&gateway, vec![accepted], options)
    });
    Some(PolicyStatus { ancestors: ancestors.collect() })
}

/// Entries of a status.
const MAX_ANCESTORS: usize = 32;

/// The XBackend by its kind.
pub(super) fn id(name: &NamespacedName) -> ObjectId {
    name.object_id(Kind::XBackend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_services_are_named_and_the_others_are_counted() {
        let services = ["a", "b", "c", "d", "e", "f"].map(|name| NamespacedName::new("shop", name));
        let told = |number: usize| resolved_by(services.iter().take(number), Making::ByUsers);
        assert!(told(0).starts_with("no Service of the namespace has this selector"));
        assert_eq!(told(1), "its pods are those of the Service `a`");
        assert_eq!(told(4), "its pods are those of the Services `a`, `b`, `c`, `d`");
        assert_eq!(told(6), "its pods are those of the Services `a`, `b`, `c`, `d` and 2 more");
    }
}
