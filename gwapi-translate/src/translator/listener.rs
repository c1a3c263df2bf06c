//! One listener judged by itself: protocol, hostname, kinds, namespaces, certificates wanted.
//!
//! What depends on its neighbours is in `conflicts`, what depends on other Gateways in `ports`.

use gwapi_model::status::ConditionReason;
use gwapi_model::{
    AllowedNamespaces, FromNamespaces, GATEWAY_GROUP, Gateway, LabelSelector, Listener, ObjectMeta,
    Protocol, RouteGroupKind, RouteKind, SecretObjectReference, SelectorOperator, TlsMode,
};

use super::client_validation::{self, ClientValidationDraft};
use super::conditions::Problem;
use super::holder::Holder;
use super::listener_filters::{self, FilterDraft};
use super::ports::PortNumber;
use super::{Options, syntax};
use crate::ir::{Hostname, ListenerKey, TransportProtocol};

/// A listener as the spec alone lets us judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListenerDraft {
    /// Key.
    pub(super) key: ListenerKey,
    /// The object that holds it: in its name references are followed and routes admitted.
    pub(super) holder: Holder,
    /// Generation of the holder.
    pub(super) generation: i64,
    /// Creation of the holder in seconds since 1970; 0 where it is not known.
    pub(super) created: i64,
    /// Port as clients see it: the one that conflicts and `parentRef.port` are about.
    pub(super) port: u16,
    /// Port to bind, the offset included; `None` above 65535.
    pub(super) bound_port: Option<u16>,
    /// Protocol.
    pub(super) protocol: Protocol,
    /// What becomes of TLS, where the protocol is TLS, which leaves it open (TS-2).
    pub(super) tls_mode: Option<TlsMode>,
    /// Hostname; none means every host.
    pub(super) hostname: Option<Hostname>,
    /// Kinds that may attach (AR-2, AR-3).
    pub(super) supported_kinds: Vec<RouteGroupKind>,
    /// Namespaces whose routes may attach (AR-1).
    pub(super) admission: Admission,
    /// References to certificates, where the protocol has any.
    pub(super) certificate_refs: Vec<SecretObjectReference>,
    /// What is asked of the certificates of clients, where the protocol has any (TL-4).
    pub(super) client_validation: Option<ClientValidationDraft>,
    /// Why the listener is not accepted and has no place on its port: which place it is, or for which hosts,
    /// is not known, or there is no room for it.
    pub(super) problems: Vec<Problem>,
    /// What was asked for and makes every connection end before anything is served: the listener is not
    /// accepted, but keeps its hostname to itself, so that no other listener answers for it without what was
    /// asked for.
    pub(super) tls_problems: Vec<Problem>,
    /// What runs on its requests before routes are matched.
    pub(super) filters: Vec<FilterDraft>,
    /// What was asked for and makes it answer 500 to every request: the listener is not accepted, but keeps
    /// its hostname to itself all the same.
    pub(super) request_problems: Vec<Problem>,
    /// What is wrong with its kinds: a matter of ResolvedRefs (AR-3).
    pub(super) kinds_problem: Option<Problem>,
    /// Clash with other listeners of the same Gateway and its ListenerSets (GW-5, LS-5).
    pub(super) conflict: Option<Problem>,
    /// Listeners whose hostnames overlap this one's over TLS (LI-6).
    pub(super) overlaps: Option<String>,
    /// Whether it is looked into what it refers to.
    pub(super) is_examined: bool,
}

/// Which namespaces a listener admits routes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// All.
    All,
    /// That of the object that holds the listener.
    Same,
    /// Those whose labels are selected.
    Selected(LabelSelector),
    /// None: nothing that is known was asked for.
    Nobody,
}

impl ListenerDraft {
    /// Whether the listener has a place on its port as far as its own Gateway can tell.
    pub(super) fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.conflict.is_none()
    }

    /// Whether what it asks for besides its place can be had.
    pub(super) fn is_honoured(&self) -> bool {
        self.tls_problems.is_empty() && self.request_problems.is_empty()
    }

    /// Whether its connections begin with a TLS handshake, whoever ends it.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.protocol, Protocol::Https | Protocol::Tls)
    }

    /// Whether TLS ends here, so that it needs certificates.
    pub(super) fn ends_tls(&self) -> bool {
        self.is_tls() && self.tls_mode != Some(TlsMode::Passthrough)
    }

    /// What its socket carries.
    pub(super) fn transport(&self) -> TransportProtocol {
        match self.protocol {
            Protocol::Udp => TransportProtocol::Udp,
            _ => TransportProtocol::Tcp,
        }
    }

    /// The port to bind, the offset included; `None` above 65535.
    pub(super) fn port_to_bind(&self) -> Option<PortNumber> {
        Some((self.transport(), self.bound_port?))
    }
}

/// Whether the listeners of ListenerSets may be served: those of a Gateway without a sound listener of its own
/// are not (LS-2).
pub(super) fn serves_sets(listeners: &[ListenerDraft]) -> bool {
    let mut own =
        listeners.iter().take_while(|listener| matches!(listener.holder, Holder::Gateway(_)));
    own.any(|listener| listener.is_sound() && listener.is_honoured())
}

/// Judges a listener that an object adds to a Gateway: the Gateway itself, or a ListenerSet of it.
pub(super) fn draft(
    gateway: &Gateway,
    (holder, metadata): (&Holder, &ObjectMeta),
    listener: &Listener,
    options: &Options,
) -> ListenerDraft {
    let mut problems = Vec::new();
    // What cannot be had, although the place of the listener is known.
    let mut unmet = protocol_problems(listener);
    let mut tls_problems = Vec::new();
    let mut client_validation = None;
    let tls_mode = (listener.protocol == Protocol::Tls).then(|| {
        listener.tls.as_ref().and_then(|tls| tls.mode.clone()).unwrap_or(TlsMode::Terminate)
    });
    if tls_mode == Some(TlsMode::Passthrough) {
        // TLS is between client and backend: what was asked of it here cannot be honoured.
        unmet.extend(tls_options(listener));
    } else if tls_mode.is_some() || listener.protocol == Protocol::Https {
        tls_problems = self::tls_problems(listener);
    }
    if listener.protocol == Protocol::Https {
        match client_validation::draft(gateway, listener.port.get(), options).transpose() {
            Ok(draft) => client_validation = draft,
            Err(problem) => tls_problems.push(problem),
        }
    }
    let allowed = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    let admission = match allowed {
        None => Admission::Same,
        Some(namespaces) => admission(namespaces, FromNamespaces::Same).unwrap_or_else(|problem| {
            unmet.push(problem.at("allowedRoutes.namespaces"));
            Admission::Nobody
        }),
    };
    let written = listener.hostname.as_deref().filter(|hostname| !hostname.is_empty());
    let hostname = written.map(|text| {
        syntax::hostname(text).unwrap_or_else(|| {
            problems.push(Problem::unsupported(format!("hostname `{text}` is no DNS name")));
            Hostname::parse(text)
        })
    });
    let port = listener.port.get();
    let bound_port = port.checked_add(options.port_offset);
    if bound_port.is_none() {
        problems.push(Problem::new(
            ConditionReason::PortUnavailable,
            format!(
                "port {port} plus the port offset {} is above 65535; choose a smaller offset",
                options.port_offset
            ),
        ));
    }
    // GW-9: at once, and not only when a proxy fails to bind it.
    if bound_port.is_some_and(|port| options.reserved_ports.contains(&port)) {
        problems.push(Problem::new(
            ConditionReason::PortUnavailable,
            format!("port {port} is reserved for the proxies' own use; choose another port"),
        ));
    }
    let (supported_kinds, kinds_problem) = kinds(listener);
    let mut filters = Vec::new();
    let mut request_problems = Vec::new();
    match listener.protocol {
        Protocol::Http | Protocol::Https => {
            let (drafts, refused) = listener_filters::draft(listener);
            filters = drafts;
            request_problems = unmet;
            request_problems.extend(refused);
        }
        Protocol::Tls => tls_problems.extend(unmet),
        // They have no hostnames: there is nothing broader that could serve what is theirs. That the protocol
        // is none comes before what is wrong with its port (GW-8).
        Protocol::Tcp | Protocol::Udp | Protocol::Other(_) => _ = problems.splice(0..0, unmet),
    }
    ListenerDraft {
        key: holder.key(&listener.name),
        holder: holder.clone(),
        generation: metadata.generation,
        created: super::created(metadata),
        port,
        bound_port,
        protocol: listener.protocol.clone(),
        certificate_refs: match &tls_mode {
            // TS-5: what stands there for Passthrough is passed over.
            Some(TlsMode::Passthrough) => Vec::new(),
            _ => listener.tls.as_ref().map(|tls| tls.certificate_refs.clone()).unwrap_or_default(),
        },
        tls_mode,
        hostname,
        supported_kinds,
        admission,
        client_validation,
        problems,
        tls_problems,
        filters,
        request_problems,
        kinds_problem,
        conflict: None,
        overlaps: None,
        is_examined: true,
    }
}

/// GW-8, GW-9, LF-1: what the protocol asks for that is not there.
fn protocol_problems(listener: &Listener) -> Vec<Problem> {
    let mut problems = Vec::new();
    match &listener.protocol {
        Protocol::Http if listener.tls.is_some() => problems.push(Problem::unsupported(
            "`tls` is set on a listener of protocol HTTP, which is clear text; use HTTPS",
        )),
        Protocol::Tcp | Protocol::Udp if listener.tls.is_some() => {
            problems.push(Problem::unsupported(format!(
                "`tls` is set on a listener of protocol {}, which looks into nothing; use TLS",
                listener.protocol
            )));
        }
        Protocol::Tcp | Protocol::Udp if has_hostname(listener) => {
            problems.push(Problem::unsupported(format!(
                "`hostname` is set on a listener of protocol {}, which carries none",
                listener.protocol
            )));
        }
        Protocol::Http | Protocol::Https | Protocol::Tls | Protocol::Tcp | Protocol::Udp => {}
        Protocol::Other(other) => {
            problems.push(Problem::new(
                ConditionReason::UnsupportedProtocol,
                format!("protocol `{other}` is not supported; HTTP, HTTPS, TLS, TCP and UDP are"),
            ));
            return problems;
        }
    }
    let is_http = matches!(listener.protocol, Protocol::Http | Protocol::Https);
    if !is_http && listener.filters.as_ref().is_some_and(|filters| !filters.requests.is_empty()) {
        problems.push(Problem::new(
            ConditionReason::InvalidListenerFilter,
            format!(
                "`filters` are set on a listener of protocol {}, which sees no requests; HTTP and \
                 HTTPS have some",
                listener.protocol
            ),
        ));
    }
    problems
}

fn has_hostname(listener: &Listener) -> bool {
    listener.hostname.as_deref().is_some_and(|hostname| !hostname.is_empty())
}

/// Settings of TLS on a listener that ends it. What would weaken TLS if it were passed over refuses the
/// listener: options are how implementations ask for client certificates and for TLS versions (TL-8).
fn tls_problems(listener: &Listener) -> Vec<Problem> {
    let mode = listener.tls.as_ref().and_then(|tls| tls.mode.as_ref());
    let mode = mode.filter(|mode| **mode != TlsMode::Terminate).map(|mode| {
        let known = match listener.protocol {
            Protocol::Tls => "Terminate or Passthrough",
            _ => "Terminate",
        };
        Problem::unsupported(format!(
            "tls.mode `{mode}` is not supported on a listener of protocol {}; use {known}",
            listener.protocol
        ))
    });
    mode.into_iter().chain(tls_options(listener)).collect()
}

fn tls_options(listener: &Listener) -> Option<Problem> {
    let options = &listener.tls.as_ref()?.options;
    let keys: Vec<&str> = options.keys().map(String::as_str).collect();
    (!keys.is_empty()).then(|| {
        Problem::unsupported(format!("tls.options are not supported; remove {}", keys.join(", ")))
    })
}

/// Which namespaces are admitted, `default` where nothing is said (AR-1, LS-1); a value that is not known
/// is a problem (GW-9).
pub(super) fn admission(
    namespaces: &AllowedNamespaces,
    default: FromNamespaces,
) -> Result<Admission, Problem> {
    let from = namespaces.from.as_ref().unwrap_or(&default);
    Ok(match from {
        FromNamespaces::All => Admission::All,
        FromNamespaces::Same => Admission::Same,
        // An absent selector selects nothing, an empty one everything.
        FromNamespaces::Selector => match &namespaces.selector {
            None => Admission::Nobody,
            Some(selector) => {
                let unknown = selector.match_expressions.iter().find_map(|requirement| {
                    match &requirement.operator {
                        SelectorOperator::Other(operator) => Some(operator),
                        _ => None,
                    }
                });
                if let Some(operator) = unknown {
                    return Err(Problem::unsupported(format!(
                        "selector has the unknown operator `{operator}`"
                    )));
                }
                Admission::Selected(selector.clone())
            }
        },
        // Only where listeners are allowed, not routes (AR-1).
        FromNamespaces::None if default == FromNamespaces::None => Admission::Nobody,
        other => {
            let none = if default == FromNamespaces::None { "None, " } else { "" };
            return Err(Problem::unsupported(format!(
                "from `{other}` is not supported; use {none}Same, All or Selector"
            )));
        }
    })
}

/// A kind of routes as a status names it.
fn group_kind(kind: RouteKind) -> RouteGroupKind {
    RouteGroupKind { group: Some(GATEWAY_GROUP.to_owned()), kind: kind.kind().as_str().to_owned() }
}

/// AR-2 and AR-3: the kinds that may attach, and what was asked for besides.
fn kinds(listener: &Listener) -> (Vec<RouteGroupKind>, Option<Problem>) {
    let carried: &[RouteKind] = match listener.protocol {
        Protocol::Http | Protocol::Https => &[RouteKind::Http, RouteKind::Grpc],
        Protocol::Tls => &[RouteKind::Tls],
        Protocol::Tcp => &[RouteKind::Tcp],
        Protocol::Udp => &[RouteKind::Udp],
        Protocol::Other(_) => &[],
    };
    let asked = listener.allowed_routes.as_ref().map_or(&[][..], |allowed| &allowed.kinds);
    let is = |asked: &RouteGroupKind, kind: RouteKind| {
        asked.kind == kind.kind().as_str()
            && asked.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP
    };
    let wanted = |kind: RouteKind| asked.is_empty() || asked.iter().any(|asked| is(asked, kind));
    let supported = carried.iter().copied().filter(|kind| wanted(*kind)).map(group_kind).collect();
    let refused: Vec<String> = asked
        .iter()
        .filter(|asked| !carried.iter().any(|kind| is(asked, *kind)))
        .map(|kind| match kind.group.as_deref() {
            None | Some(GATEWAY_GROUP) => kind.kind.clone(),
            Some(group) => format!("{} of group `{group}`", kind.kind),
        })
        .collect();
    let problem = (!refused.is_empty()).then(|| {
        Problem::new(
            ConditionReason::InvalidRouteKinds,
            format!(
                "allowedRoutes.kinds: {} cannot attach to a listener of protocol {}",
                refused.join(", "),
                listener.protocol
            ),
        )
    });
    (supported, problem)
}
