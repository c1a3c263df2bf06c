//! Law: conditions never claim what traffic contradicts. A route that is accepted by a parent, with its references
//! resolved, answers by its backends what its matches take, unless a match that goes before takes it; one
//! that is refused answers by no backend there.
//!
//! What is claimed is read from the routes as they are written, and asked of the [`RouteTable`] of what was made of
//! them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use gwapi_model::status::{ConditionStatus, ConditionType, RouteParentStatus, Status};
use gwapi_model::{
    GrpcRouteMatch, HttpHeaderMatch, HttpRouteFilterType, HttpRouteMatch, Kind, NamespacedName,
    ObjectId, PathMatchType, Protocol, Resources, Route, RouteKind, RouteRule, RuleBackend,
    ValueMatchType,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{all_hold, attached, has_policy, is_there, listener_statuses};
use crate::Translation;
use crate::ir::{
    BackendKey, BackendTarget, GatewayConfig, GatewayId, Hostname, Listener, ListenerKey,
    ListenerProtocol, PathMatch, RuleKey, WeightedBackend,
};
use crate::table::RouteTable;
use crate::testing::matching::Request;
use crate::testing::oracle;
use crate::testing::streams::{Opening, StreamMatcher};

/// What the conditions of a route claim of one request, connection or flow of datagrams.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The route.
    pub route: ObjectId,
    /// Position of its rule.
    pub rule: usize,
    /// The listener that it comes to.
    pub listener: ListenerKey,
    /// What comes.
    pub sent: Sent,
    /// The backends of the rule that have a share of its traffic, with the weights, sorted.
    pub backends: Vec<(BackendKey, u32)>,
    /// Whether nothing but its backends answers for the rule or changes what they say: it has no filters.
    pub is_plain: bool,
    precedence: Precedence,
}

/// Something that a client sends.
#[derive(Clone, Debug)]
pub enum Sent {
    /// A request.
    Request(Request),
    /// A connection or a flow of datagrams.
    Opening(Opening),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, rule, listener, sent, backends, .. } = self;
        write!(f, "rule {rule} of {route} on {listener} claims by its conditions that ")?;
        match sent {
            Sent::Request(request) => write!(f, "`{request}`")?,
            Sent::Opening(opening) => write!(f, "{opening}")?,
        }
        write!(f, " leads to {backends:?}")
    }
}

/// Precedence of a match; the smaller one goes first (HR-1, HR-2, GR-2, GR-8, TS-3, L4-3).
type Precedence = (
    (u8, Reverse<usize>),
    (u8, Reverse<usize>),
    (Reverse<bool>, Reverse<usize>, Reverse<usize>),
    (i64, String, RouteKind, usize),
);

/// The law.
///
/// # Errors
///
/// Where it does not hold.
pub fn traffic_keeps_what_is_claimed(
    resources: &Resources,
    translation: &Translation,
) -> Result<(), String> {
    for (gateway, config) in &translation.config {
        refused_routes_have_no_traffic(gateway, config, resources, translation)?;
        unresolved_references_lead_nowhere(gateway, config, resources, translation)?;
        let table = RouteTable::compile(config);
        for claim in claims(gateway, resources, translation)? {
            claim.check(&table, config, resources).map_err(|why| format!("{claim}, and {why}"))?;
        }
    }
    Ok(())
}

/// Everything that the conditions of routes claim of the traffic of a Gateway.
///
/// # Errors
///
/// A route that is accepted, and attached to no listener that it means.
pub fn claims(
    gateway: &GatewayId,
    resources: &Resources,
    translation: &Translation,
) -> Result<Vec<Claim>, String> {
    let config = &translation.config[gateway];
    let ports = written_ports(gateway, resources);
    // What has no place in the data plane, or has it without what it needs, says so itself (AR-4).
    let programmed = listener_statuses(gateway, resources, translation)?;
    let programmed = programmed.into_iter().filter(|(_, _, status)| {
        let conditions = &status.conditions;
        conditions.iter().any(|it| {
            (it.condition_type, it.status) == (ConditionType::Programmed, ConditionStatus::True)
        })
    });
    let programmed: BTreeSet<ListenerKey> = programmed.map(|(_, key, _)| key).collect();
    let mut claims = Vec::new();
    for route in resources.routes() {
        let id = id(route);
        for parent in parents(&id, translation) {
            let selected: Vec<&ListenerKey> = ports
                .iter()
                .filter(|port| selects(parent, &id, gateway, *port))
                .map(|(key, _)| key)
                .collect();
            let attached = selected.iter().filter(|key| attached(key, config).contains(&id));
            let attached: Vec<&ListenerKey> = attached.copied().collect();
            if selected.is_empty() || !is_true(parent, ConditionType::Accepted) {
                continue;
            }
            ensure!(!attached.is_empty(), "{id} is accepted by {parent:?}, and attached nowhere");
            let has_place = |key: &ListenerKey| config.listeners().any(|it| it.key == *key);
            let must = selected.iter().filter(|key| has_place(key));
            for key in must.filter(|key| surely_takes(key, gateway, route, resources)) {
                ensure!(
                    attached.contains(key),
                    "{id} is accepted, and {key} takes it for none of its"
                );
            }
            let is_whole = !is_true(parent, ConditionType::PartiallyInvalid);
            if !is_whole || !all_hold(&parent.conditions) {
                continue;
            }
            let served = config
                .listeners()
                .filter(|it| attached.contains(&&it.key) && programmed.contains(&it.key));
            claims.extend(served.flat_map(|listener| wishes(route, listener, config)));
        }
    }
    Ok(claims)
}

impl Claim {
    /// Whether the table and the configuration keep what is claimed.
    fn check(
        &self,
        table: &RouteTable,
        config: &GatewayConfig,
        resources: &Resources,
    ) -> Result<(), String> {
        let Some((winner, backends, precedence)) = self.winner(table, config) else {
            return Err("nothing takes it".to_owned());
        };
        let (route, rule) = &winner;
        if (route, *rule) != (&self.route, self.rule) {
            ensure!(
                precedence < self.precedence,
                "rule {rule} of {route} takes it, which comes later"
            );
            return Ok(());
        }
        ensure!(backends == self.backends, "its backends are {backends:?}");
        for (key, _) in &self.backends {
            ensure!(is_there(key, config) || has_policy(key, resources), "there is no {key}");
        }
        Ok(())
    }

    /// Whether the rule that claims is the one that the oracle says takes what comes.
    pub fn is_first(&self, config: &GatewayConfig) -> bool {
        let taken = match &self.sent {
            Sent::Request(request) => {
                oracle::route(config, request.port, &request.head()).map(|chosen| chosen.rule)
            }
            Sent::Opening(opening) => oracle::stream(config, opening),
        };
        taken.is_some_and(|key| rule_of(&key, config) == Some((self.route.clone(), self.rule)))
    }

    /// The rule that takes it, its backends and its precedence.
    fn winner(&self, table: &RouteTable, config: &GatewayConfig) -> Option<Winner> {
        match &self.sent {
            Sent::Request(request) => {
                let head = request.head();
                let listener = config.listeners().find(|it| it.key == self.listener)?;
                let found = table.route(listener, &head)?;
                let (rule, http_match) = (found.rule, found.http_match());
                let precedence = (
                    rank_of_names(&rule.hostnames, Some(request.host.as_str())),
                    oracle::path_rank(&http_match.path),
                    (
                        Reverse(http_match.method.is_some()),
                        Reverse(http_match.headers.len()),
                        Reverse(http_match.query_params.len()),
                    ),
                    (
                        rule.order.created,
                        rule.order.route.clone(),
                        rule.route_kind,
                        usize::from(rule.order.rule_index),
                    ),
                );
                Some((rule_of(&rule.key, config)?, shares(&rule.backends), precedence))
            }
            Sent::Opening(opening) => {
                let key = StreamMatcher::choose(table, opening)?;
                let rule = config.stream_rules().find(|rule| rule.key == key)?;
                let name = match opening {
                    Opening::Tls { server_name, .. } => server_name.as_deref(),
                    Opening::Plain(_) => None,
                };
                let precedence = (
                    rank_of_names(&rule.hostnames, name),
                    NO_PATH,
                    (Reverse(false), Reverse(0), Reverse(0)),
                    (
                        rule.order.created,
                        rule.order.route.clone(),
                        rule.route_kind,
                        usize::from(rule.order.rule_index),
                    ),
                );
                Some((rule_of(&key, config)?, shares(&rule.backends), precedence))
            }
        }
    }
}

/// A rule by its route and its position there, its backends that get traffic, and what it competes by.
type Winner = ((ObjectId, usize), Vec<(BackendKey, u32)>, Precedence);

/// What stands for the path where there is none.
const NO_PATH: (u8, Reverse<usize>) = (0, Reverse(0));

/// The route that a rule is of, and its position there.
fn rule_of(key: &RuleKey, config: &GatewayConfig) -> Option<(ObjectId, usize)> {
    let http =
        config.http_rules().map(|rule| (&rule.key, &rule.route, rule.route_kind, &rule.order));
    let streams =
        config.stream_rules().map(|rule| (&rule.key, &rule.route, rule.route_kind, &rule.order));
    let (_, route, kind, order) = http.chain(streams).find(|(it, ..)| *it == key)?;
    Some((route.object_id(kind.kind()), usize::from(order.rule_index)))
}

/// Backends that get traffic, with weights, sorted.
fn shares(backends: &[WeightedBackend]) -> Vec<(BackendKey, u32)> {
    let leading = backends.iter().filter_map(|backend| match &backend.target {
        BackendTarget::Backend(key) => Some((key.clone(), backend.weight)),
        BackendTarget::Invalid(_) => None,
    });
    let mut shares: Vec<_> = leading.filter(|(_, weight)| *weight > 0).collect();
    shares.sort();
    shares
}

/// HR-1, HR-7, TS-3: of the hostnames as written that take a host the most specific one.
fn rank_of_names(hostnames: &[Hostname], host: Option<&str>) -> (u8, Reverse<usize>) {
    let taking = hostnames.iter().filter(|it| host.is_some_and(|host| it.matches(host)));
    let ranks = taking.map(|it| oracle::hostname_rank(Some(it)));
    ranks.min().unwrap_or_else(|| oracle::hostname_rank(None))
}

fn id(route: Route<'_>) -> ObjectId {
    name(route).object_id(route.kind().kind())
}

fn name(route: Route<'_>) -> NamespacedName {
    NamespacedName::new(route.metadata().namespace.clone(), route.metadata().name.clone())
}

fn parents<'t>(
    route: &ObjectId,
    translation: &'t Translation,
) -> impl Iterator<Item = &'t RouteParentStatus> {
    let status = match translation.status.get(route) {
        Some(Status::Route(status)) => Some(status),
        _ => None,
    };
    status.into_iter().flat_map(|status| status.parents.iter())
}

fn is_true(parent: &RouteParentStatus, condition_type: ConditionType) -> bool {
    parent
        .conditions
        .iter()
        .any(|it| it.condition_type == condition_type && it.status == ConditionStatus::True)
}

/// Listeners of a Gateway and of the ListenerSets that name it, each with its port as it is written.
fn written_ports(gateway: &GatewayId, resources: &Resources) -> BTreeMap<ListenerKey, u16> {
    let own = resources.gateways.get(gateway).into_iter().flat_map(|it| &it.spec.listeners);
    let own = own.map(|listener| (ListenerKey::new(listener.name.as_str()), listener.port.get()));
    let sets = resources.listener_sets.iter();
    let sets = sets.filter(|(_, set)| set.gateway().as_ref() == Some(gateway));
    let added = sets.flat_map(|(name, set)| {
        let key = move |listener: &str| ListenerKey::of_listener_set(name, listener);
        set.spec.listeners.iter().map(move |it| (key(&it.name), it.port.get()))
    });
    own.chain(added).collect()
}

/// Whether the reference of a route means a listener (RT-2, LS-9).
fn selects(
    parent: &RouteParentStatus,
    route: &ObjectId,
    gateway: &GatewayId,
    (listener, port): (&ListenerKey, &u16),
) -> bool {
    let reference = &parent.parent_ref;
    let (kind, holder) = match listener.listener_set() {
        Some(set) => (Kind::ListenerSet, set),
        None => (Kind::Gateway, gateway.clone()),
    };
    let namespace = reference.namespace.as_deref().unwrap_or(&route.namespace);
    reference.kind.as_deref() == Some(kind.as_str())
        && (namespace, &*reference.name) == (&*holder.namespace, &*holder.name)
        && reference.section_name.as_deref().is_none_or(|name| name == listener.name())
        && reference.port.is_none_or(|it| it.get() == *port)
}

/// Whether a listener of the Gateway itself takes a route for reasons that are plain: it says nothing of whom it
/// allows, the route is of its namespace and of a kind that its protocol is for, and the route has no hostnames.
fn surely_takes(
    listener: &ListenerKey,
    gateway: &GatewayId,
    route: Route<'_>,
    resources: &Resources,
) -> bool {
    let Some(object) = resources.gateways.get(gateway) else { return false };
    let written = object.spec.listeners.iter().find(|it| *it.name == *listener.as_str());
    let protocols: &[Protocol] = match route.kind() {
        RouteKind::Http | RouteKind::Grpc => &[Protocol::Http, Protocol::Https],
        RouteKind::Tls => &[Protocol::Tls],
        RouteKind::Tcp => &[Protocol::Tcp],
        RouteKind::Udp => &[Protocol::Udp],
    };
    route.hostnames().is_empty()
        && *route.metadata().namespace == *gateway.namespace
        && written.is_some_and(|it| {
            let allowed = it.allowed_routes.as_ref();
            allowed.is_none_or(|it| it.namespaces.is_none() && it.kinds.is_empty())
                && protocols.contains(&it.protocol)
        })
}

/// RT-3: a rule that leads somewhere is on no listener but those that a parent means which accepts its route.
fn refused_routes_have_no_traffic(
    gateway: &GatewayId,
    config: &GatewayConfig,
    resources: &Resources,
    translation: &Translation,
) -> Result<(), String> {
    let ports = written_ports(gateway, resources);
    let http = config.http_rules().map(|rule| (&rule.key, &rule.listeners, shares(&rule.backends)));
    let streams =
        config.stream_rules().map(|rule| (&rule.key, &rule.listeners, shares(&rule.backends)));
    for (key, listeners, shares) in http.chain(streams) {
        let Some((route, _)) = rule_of(key, config) else { continue };
        for listener in listeners.iter() {
            let Some(port) = ports.get(listener) else {
                return Err(format!("{key} is on {listener}, which {gateway} does not have"));
            };
            let means =
                |parent: &&RouteParentStatus| selects(parent, &route, gateway, (listener, port));
            let mut accepting = parents(&route, translation).filter(means);
            let accepted = accepting.any(|it| is_true(it, ConditionType::Accepted));
            ensure!(
                accepted || shares.is_empty(),
                "{route} is not accepted for {listener} of {gateway}, and {key} leads to {shares:?}"
            );
        }
    }
    Ok(())
}

/// RT-10: where a route without filters says that a reference does not resolve, one of its shares leads nowhere.
fn unresolved_references_lead_nowhere(
    gateway: &GatewayId,
    config: &GatewayConfig,
    resources: &Resources,
    translation: &Translation,
) -> Result<(), String> {
    for route in resources.routes() {
        let (id, mut rules) = (id(route), route.rules());
        let has_filters = rules.any(|rule| {
            !rule.filters().is_empty() || rule.backends().any(|it| !it.filters.is_empty())
        });
        let unresolved = parents(&id, translation).any(|it| {
            is_true(it, ConditionType::Accepted) && !is_true(it, ConditionType::ResolvedRefs)
        });
        let http =
            config.http_rules().filter(|rule| rule.route.object_id(rule.route_kind.kind()) == id);
        let http = http.flat_map(|rule| &rule.backends);
        let streams =
            config.stream_rules().filter(|rule| rule.route.object_id(rule.route_kind.kind()) == id);
        let backends: Vec<_> = http.chain(streams.flat_map(|rule| &rule.backends)).collect();
        if has_filters || !unresolved || backends.is_empty() {
            continue;
        }
        let leads = |backend: &&WeightedBackend| match &backend.target {
            BackendTarget::Backend(key) => is_there(key, config) && !has_policy(key, resources),
            BackendTarget::Invalid(_) => false,
        };
        ensure!(
            !backends.iter().all(leads),
            "{id} says that a reference does not resolve, and all are there at {gateway}: {backends:?}"
        );
    }
    Ok(())
}

/// What a route would claim of the traffic of a listener if it were accepted there, with all that it refers to.
pub fn wishes(route: Route<'_>, listener: &Listener, config: &GatewayConfig) -> Vec<Claim> {
    let mut claims = Vec::new();
    for host in hosts(route, listener) {
        for (index, rule) in route.rules().enumerate() {
            let sent = match rule {
                RouteRule::Stream(_) => vec![opening(listener, host.as_deref(), config)],
                _ => requests(rule, listener, host.as_deref().unwrap_or("probe.test"), config),
            };
            let claim = |(sent, (path, counts))| Claim {
                route: id(route),
                rule: index,
                listener: listener.key.clone(),
                sent,
                backends: written_shares(route, rule, listener),
                is_plain: rule.filters().is_empty()
                    && rule.backends().all(|it| it.filters.is_empty()),
                precedence: precedence(route, index, host.as_deref(), path, counts),
            };
            claims.extend(sent.into_iter().flatten().map(claim));
        }
    }
    // One without backends has nothing to answer by, and a redirect answers itself.
    claims.retain(|claim| !claim.backends.is_empty());
    claims
}

/// Hosts or server names that a route and a listener both take; `None` where there is none to be told.
fn hosts(route: Route<'_>, listener: &Listener) -> Vec<Option<String>> {
    if matches!(route.kind(), RouteKind::Tcp | RouteKind::Udp) {
        return vec![None];
    }
    let hostnames: Vec<_> = route.hostnames().iter().map(|text| Hostname::parse(text)).collect();
    let one_of = |hostname: &Hostname| match hostname {
        Hostname::Exact(name) => name.to_string(),
        Hostname::Wildcard(suffix) => format!("probe.{suffix}"),
    };
    let taken = |host: &String| {
        let by_route = hostnames.is_empty() || hostnames.iter().any(|it| it.matches(host));
        let by_listener = listener.hostname.as_ref().is_none_or(|it| it.matches(host));
        by_route && by_listener && host.parse::<IpAddr>().is_err()
    };
    let named = hostnames.iter().chain(&listener.hostname).map(one_of);
    named.chain(["probe.test".to_owned()]).filter(taken).map(Some).collect()
}

type Ranks = ((u8, Reverse<usize>), (Reverse<bool>, Reverse<usize>, Reverse<usize>));

/// A connection for a listener; `None` where another listener takes its name.
fn opening(
    listener: &Listener,
    name: Option<&str>,
    config: &GatewayConfig,
) -> Option<(Sent, Ranks)> {
    let opening = match &listener.protocol {
        ListenerProtocol::Tcp | ListenerProtocol::Udp => Opening::Plain(listener.clone().into()),
        _ => {
            let (port, server_name) = (listener.port, name?.to_owned());
            let taking = oracle::listener(config, port, &server_name);
            (taking?.key == listener.key).then_some(())?;
            Opening::Tls { port, server_name: Some(server_name) }
        }
    };
    Some((Sent::Opening(opening), (NO_PATH, (Reverse(false), Reverse(0), Reverse(0)))))
}

/// For each match of a rule a request that it takes, where that is easily said.
fn requests(
    rule: RouteRule<'_>,
    listener: &Listener,
    host: &str,
    config: &GatewayConfig,
) -> Vec<Option<(Sent, Ranks)>> {
    let everything = HttpRouteMatch::default();
    let all = match rule {
        RouteRule::Http(rule) if rule.matches.is_empty() => vec![of_http(&everything)],
        RouteRule::Http(rule) => rule.matches.iter().map(of_http).collect(),
        RouteRule::Grpc(rule) if rule.matches.is_empty() => vec![of_http(&everything)],
        RouteRule::Grpc(rule) => rule.matches.iter().map(of_grpc).collect(),
        RouteRule::Stream(_) => Vec::new(),
    };
    let here =
        oracle::listener(config, listener.port, host).is_some_and(|it| it.key == listener.key);
    let all = all.into_iter().filter(|_| here);
    all.map(|wanted| {
        let Wanted { path, rank, method, headers, query } = wanted?;
        let counts = (
            Reverse(method.is_some()),
            Reverse(headers.keys_len()),
            Reverse(query.as_ref().map_or(0, Vec::len)),
        );
        let request = Request {
            port: listener.port,
            host: host.to_owned(),
            method: method.unwrap_or("POST").to_owned(),
            path,
            query: query.map(|pairs| pairs.join("&")),
            headers,
        };
        Some((Sent::Request(request), (rank, counts)))
    })
    .collect()
}

/// What a match asks for.
struct Wanted<'r> {
    path: String,
    rank: (u8, Reverse<usize>),
    method: Option<&'r str>,
    headers: HeaderMap,
    query: Option<Vec<String>>,
}

fn of_http(written: &HttpRouteMatch) -> Option<Wanted<'_>> {
    let path = written.path.as_ref();
    let value = path.and_then(|it| it.value.as_deref()).unwrap_or("/");
    let (path, rank) = match path.and_then(|it| it.match_type.as_ref()) {
        None | Some(PathMatchType::PathPrefix) => {
            let prefix = value.trim_end_matches('/');
            (format!("{prefix}/probe"), PathMatch::Prefix(prefix.into()))
        }
        Some(PathMatchType::Exact) => (value.to_owned(), PathMatch::Exact(value.into())),
        Some(PathMatchType::RegularExpression) if value == "/v[0-9]+" => {
            ("/v1".to_owned(), PathMatch::Regex(value.into()))
        }
        Some(_) => return None,
    };
    let pairs = written.query_params.iter().map(|param| match &param.match_type {
        None | Some(ValueMatchType::Exact) => Some(format!("{}={}", param.name, param.value)),
        Some(_) => None,
    });
    let pairs: Vec<_> = pairs.collect::<Option<_>>()?;
    Some(Wanted {
        path,
        rank: oracle::path_rank(&rank),
        method: written.method.as_ref().map(|method| method.as_str()),
        headers: fields(&written.headers)?,
        query: (!pairs.is_empty()).then_some(pairs),
    })
}

fn of_grpc(written: &GrpcRouteMatch) -> Option<Wanted<'_>> {
    let call = written.method.as_ref();
    let (service, method) =
        (call.and_then(|it| it.service.as_deref()), call.and_then(|it| it.method.as_deref()));
    let is_exact =
        call.is_none_or(|it| matches!(it.match_type, None | Some(ValueMatchType::Exact)));
    let (path, rank) = match (is_exact, service, method) {
        (true, Some(service), Some(method)) => {
            let path = format!("/{service}/{method}");
            (path.clone(), PathMatch::Exact(path.into()))
        }
        (true, Some(service), None) => {
            (format!("/{service}/Probe"), PathMatch::Prefix(format!("/{service}").into()))
        }
        (true, None, Some(method)) => {
            (format!("/probe.P/{method}"), PathMatch::GrpcMethod(method.into()))
        }
        (_, None, None) => ("/probe.P/Probe".to_owned(), PathMatch::default()),
        (false, Some("p[.].*"), None) => {
            let pattern = PathMatch::GrpcRegex { service: service.map(Into::into), method: None };
            ("/p.S/M".to_owned(), pattern)
        }
        (false, ..) => return None,
    };
    let headers = fields(&written.headers)?;
    Some(Wanted { path, rank: oracle::path_rank(&rank), method: None, headers, query: None })
}

/// HM-5: the first of a name counts.
fn fields(written: &[HttpHeaderMatch]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for header in written {
        if !matches!(header.match_type, None | Some(ValueMatchType::Exact)) {
            return None;
        }
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_str(&header.value).ok()?;
        headers.entry(name).or_insert(value);
    }
    Some(headers)
}

/// The backends that a rule names, as far as they get traffic, unless a filter answers in their place.
fn written_shares(
    route: Route<'_>,
    rule: RouteRule<'_>,
    listener: &Listener,
) -> Vec<(BackendKey, u32)> {
    let answers = |backend: &RuleBackend<'_>| {
        let filters = backend.filters.iter().chain(rule.filters());
        filters.into_iter().any(|it| it.filter_type == HttpRouteFilterType::RequestRedirect)
    };
    if rule.backends().any(|backend| answers(&backend)) {
        return Vec::new();
    }
    let through = listener.protocol == ListenerProtocol::TlsPassthrough;
    let named = rule.backends().filter_map(|backend| {
        let weight = u32::try_from(backend.weight.unwrap_or(1)).ok().filter(|it| *it > 0)?;
        let own: &str = &route.metadata().namespace;
        let namespace = backend.name.namespace.unwrap_or(own);
        let (kind, name) = (route.kind(), backend.name.name);
        let key = match (backend.name.kind.unwrap_or("Service"), backend.name.port) {
            ("XBackend", _) => BackendKey::x_backend(kind, through, namespace, name),
            (_, Some(port)) if through => BackendKey::for_passthrough(namespace, name, port.get()),
            (_, Some(port)) => BackendKey::for_routes(kind, namespace, name, port.get()),
            (_, None) => return None,
        };
        Some((key, weight))
    });
    let mut named: Vec<_> = named.collect();
    named.sort();
    named
}

fn precedence(
    route: Route<'_>,
    rule: usize,
    host: Option<&str>,
    path: (u8, Reverse<usize>),
    counts: (Reverse<bool>, Reverse<usize>, Reverse<usize>),
) -> Precedence {
    let hostnames: Vec<_> = route.hostnames().iter().map(|text| Hostname::parse(text)).collect();
    let created = route.metadata().creation_timestamp.map_or(0, |it| it.as_second());
    let order = (created, name(route).to_string(), route.kind(), rule);
    (rank_of_names(&hostnames, host), path, counts, order)
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Strategy, ValueTree};

    use super::super::resources::worlds;
    use super::*;
    use crate::{Options, translate};

    fn laws(
        check: impl Fn(&Resources, &Translation) -> Result<(), String>,
    ) -> Result<(), crate::testing::CounterExample> {
        crate::testing::check_law(
            "conditions never claim what traffic contradicts",
            400,
            &worlds(),
            |resources| {
                resources.iter().map(|it| format!("{}\n", super::super::show(it))).collect()
            },
            |resources| {
                let resources: Resources = resources.iter().cloned().collect();
                check(&resources, &translate(&resources, &Options::default()))
            },
        )
    }

    /// RT-3, RT-7, RT-10, HB-3, TS-4, L4-4.
    #[test]
    fn conditions_never_claim_what_traffic_contradicts()
    -> Result<(), crate::testing::CounterExample> {
        laws(traffic_keeps_what_is_claimed)
    }

    /// What no generated route claims, the law is not tried on.
    #[test]
    fn generated_routes_claim_traffic_of_every_kind() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut claimed: BTreeMap<(Kind, bool), usize> = BTreeMap::new();
        let mut refused = BTreeSet::new();
        for _ in 0..600 {
            let resources = worlds().new_tree(&mut runner).expect("it generates").current();
            let resources: Resources = resources.into_iter().collect();
            let translation = translate(&resources, &Options::default());
            for (gateway, config) in &translation.config {
                for claim in claims(gateway, &resources, &translation).expect("the law holds") {
                    *claimed.entry((claim.route.kind, claim.is_first(config))).or_default() += 1;
                }
            }
            let routes = resources.routes().map(id).filter(|id| {
                let mut parents = parents(id, &translation);
                parents.any(|it| !is_true(it, ConditionType::Accepted))
            });
            refused.extend(routes.map(|id| id.kind));
        }
        let kinds = RouteKind::ALL.map(RouteKind::kind);
        for kind in kinds {
            for is_first in [true, false] {
                let count = claimed.get(&(kind, is_first)).copied().unwrap_or_default();
                assert!(count >= 5, "{kind}, first: {is_first}: {claimed:?}");
            }
        }
        assert_eq!(refused, kinds.into());
    }

    /// Each of them makes a configuration that contradicts the conditions.
    #[test]
    fn configurations_that_contradict_conditions_are_caught() {
        use std::sync::Arc;

        use crate::ir::{IrKey, IrResource};
        type Bend = fn(&mut GatewayConfig);
        let drop_backends: Bend =
            |config| config.0.retain(|key, _| !matches!(key, IrKey::Backend(_)));
        let drop_streams: Bend =
            |config| config.0.retain(|key, _| !matches!(key, IrKey::StreamRule(_)));
        let drop_targets: Bend = |config| {
            for resource in config.0.values_mut() {
                if let IrResource::HttpRule(rule) = resource {
                    Arc::make_mut(rule).backends.clear();
                }
            }
        };
        let serve_everywhere: Bend = |config| {
            let all: Arc<[ListenerKey]> = config.listeners().map(|it| it.key.clone()).collect();
            for resource in config.0.values_mut() {
                if let IrResource::HttpRule(rule) = resource {
                    Arc::make_mut(rule).listeners = all.clone();
                }
            }
        };
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut caught = [0; 4];
        for _ in 0..200 {
            let resources = worlds().new_tree(&mut runner).expect("it generates").current();
            let resources: Resources = resources.into_iter().collect();
            let translation = translate(&resources, &Options::default());
            let bends = [drop_backends, drop_streams, drop_targets, serve_everywhere];
            for (bend, caught) in bends.into_iter().zip(&mut caught) {
                let mut bent = translation.clone();
                bent.config.values_mut().for_each(bend);
                *caught += usize::from(traffic_keeps_what_is_claimed(&resources, &bent).is_err());
            }
        }
        assert!(caught.iter().all(|times| *times > 0), "{caught:?}");
    }
}
