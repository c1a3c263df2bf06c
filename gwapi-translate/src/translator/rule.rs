//! Rules of a route, from spec to IR.
//!
//! A rule that is broken never takes its route down, and never lets a request through that it
//! should have handled:
//!
//! * What a rule asks for and cannot get (an unsupported filter, retries, ...) makes it answer 500.
//!   It keeps its matches, so that no broader rule takes its requests without, say, the
//!   authorization that was asked for.
//! * A rule whose matches cannot be read is left out: which requests it means is not known.
//!
//! Both count as dropped for the route's conditions (RT-11, RT-12). A route all of whose rules are
//! dropped is not accepted, and its rules of the first sort answer 500 all the same: status takes no
//! check away.
//!
//! References that do not resolve are another matter: their share of requests is answered with
//! 500, and the rule is as good as any (HB-3, RT-10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::status::ConditionReason;
use gwapi_model::{
    BackendName, BackendObjectReference, EXPERIMENTAL_GROUP, GatewayDuration, GrpcRouteRule,
    HttpRouteRule, Kind, NamespacedName, Port, Resources, Route, RouteKind, RouteRule, RuleBackend,
};

use super::backend::{BackendFacts, Purpose, ServicePort};
use super::conditions::Problem;
use super::external_auth::asked;
use super::filters::Asked;
use super::grants::Reference;
use super::{created, filters, matches, sessions, syntax};
use crate::hash::fnv1a;
use crate::ir::{
    BackendKey, BackendTarget, Hostname, HttpFilter, HttpMatch, HttpRetry, HttpRule, HttpTimeouts,
    RuleKey, RuleOrder, SessionPersistence, StreamRule, WeightedBackend,
};

/// A route compiled without regard to what it attaches to.
#[derive(Clone, Debug, Default)]
pub(super) struct CompiledRoute {
    /// Rules, with no listener yet.
    pub(super) rules: Vec<HttpRule>,
    /// The rule of a route that looks into nothing, with no listener yet, for each way that its connections
    /// can go ([`ways`]).
    pub(super) streams: Vec<(bool, StreamRule)>,
    /// Hostnames as written.
    pub(super) hostnames: Arc<[Hostname]>,
    /// Rules that answer 500 or are left out, in the order of the spec.
    pub(super) broken: Vec<Problem>,
    /// Whether every rule is broken.
    pub(super) all_broken: bool,
    /// References that do not resolve (RT-10).
    pub(super) unresolved: Vec<Problem>,
    /// What is worth knowing about references that do.
    pub(super) notes: Vec<String>,
    /// What is worth knowing about rules that are served.
    pub(super) rule_notes: Vec<String>,
    /// Service ports that the rules send requests to.
    pub(super) backends: BTreeSet<ServicePort>,
}

/// What compilation looks up.
pub(super) struct Lookup<'a> {
    /// The ground state, for grants.
    pub(super) resources: &'a Resources,
    /// What is known about a Service port.
    pub(super) facts: &'a dyn Fn(&ServicePort) -> BackendFacts,
    /// Whether headers with `_` in their names are there to be matched.
    pub(super) underscore_headers: bool,
}

/// Compiles a route.
pub(super) fn compile(
    name: &NamespacedName,
    route: Route<'_>,
    lookup: &Lookup<'_>,
) -> CompiledRoute {
    let mut compiled = CompiledRoute::default();
    let mut hostnames = Vec::with_capacity(route.hostnames().len());
    for text in route.hostnames().iter().filter(|text| !text.is_empty()) {
        match syntax::shared_hostname(text) {
            Some(hostname) => hostnames.push(hostname),
            // RT-14; without the hostname, which requests the rules mean is not known.
            None => compiled.broken.push(Problem::unsupported(format!(
                "hostname `{text}` is no DNS name; the route is left out"
            ))),
        }
    }
    if !compiled.broken.is_empty() {
        compiled.all_broken = true;
        return compiled;
    }
    compiled.hostnames = hostnames.into();
    if matches!(route.kind(), RouteKind::Tls | RouteKind::Tcp | RouteKind::Udp) {
        compile_stream(name, route, lookup, &mut compiled);
        return compiled;
    }
    let (default_http, default_grpc) = (HttpRouteRule::default(), GrpcRouteRule::default());
    let mut rules: Vec<RouteRule<'_>> = route.rules().collect();
    if rules.is_empty() {
        rules.push(match route.kind() {
            RouteKind::Grpc => RouteRule::Grpc(&default_grpc),
            _ => RouteRule::Http(&default_http),
        });
    }
    let mut keys = KeyMaker::new(name);
    for (index, &rule) in rules.iter().enumerate() {
        let place = match rule.name() {
            Some(name) => format!("rules[{index}] `{name}`"),
            None => format!("rules[{index}]"),
        };
        let matches = match matches::compile(rule) {
            Ok(matches) => matches,
            Err(problem) => {
                let mut problem = problem.at(&place);
                problem.message += "; it is left out, and answers no request";
                compiled.broken.push(problem);
                continue;
            }
        };
        let never = never_taken(&matches, lookup.underscore_headers);
        compiled.rule_notes.extend(never.map(|note| format!("{place}: {note}")));
        let mut compiler = RuleCompiler {
            route,
            place,
            matches: &matches,
            lookup,
            purpose: Purpose::Traffic,
            backends: BTreeSet::new(),
            compiled: &mut compiled,
        };
        let key = keys.make(rule);
        let action = compiler.compile(rule, &key);
        let RuleAction { filters, backends, timeouts, retry, session } = action;
        compiled.rules.push(HttpRule {
            key,
            route: name.clone(),
            route_kind: route.kind(),
            name: rule.name().map(Box::from),
            order: order(name, route, index),
            listeners: Arc::default(),
            hostnames: compiled.hostnames.clone(),
            matches,
            filters,
            backends,
            timeouts,
            retry,
            session,
        });
    }
    compiled.all_broken = compiled.broken.len() == rules.len();
    compiled
}

/// The rule of a TLSRoute, TCPRoute or UDPRoute, which has exactly one (TS-1, L4-1). A share that cannot
/// be sent where it is meant to go is lost to nobody else (TS-4, L4-4).
fn compile_stream(
    name: &NamespacedName,
    route: Route<'_>,
    lookup: &Lookup<'_>,
    compiled: &mut CompiledRoute,
) {
    if route.kind() == RouteKind::Tls && compiled.hostnames.is_empty() {
        compiled.broken.push(Problem::unsupported(
            "hostnames are missing; a TLSRoute names at least one server name",
        ));
    }
    let rules: Vec<RouteRule<'_>> = route.rules().collect();
    let [rule] = *rules else {
        compiled.broken.push(Problem::unsupported(format!(
            "a {} has exactly one rule, and this one has {}",
            route.kind().kind(),
            rules.len()
        )));
        compiled.all_broken = true;
        return;
    };
    compiled.all_broken = !compiled.broken.is_empty();
    for &purpose in ways(route.kind()) {
        let passthrough = purpose == Purpose::Passthrough;
        let mut compiler = RuleCompiler {
            route,
            place: "rules[0]".to_owned(),
            matches: &[],
            lookup,
            purpose,
            backends: BTreeSet::new(),
            compiled,
        };
        let key = match (route.kind(), passthrough) {
            (RouteKind::Udp, _) => "~udp",
            (RouteKind::Tcp, _) => "~tcp",
            (_, false) => "~tls",
            (_, true) => "~through",
        };
        let key = RuleKey::new(format!("{name}/{key}"));
        let RuleAction { backends, .. } = compiler.compile(rule, &key);
        if compiled.all_broken {
            return;
        }
        let rule = StreamRule {
            key,
            route: name.clone(),
            route_kind: route.kind(),
            name: rule.name().map(Box::from),
            order: order(name, route, 0),
            listeners: Arc::default(),
            hostnames: compiled.hostnames.clone(),
            backends,
        };
        compiled.streams.push((passthrough, rule));
    }
}

/// The ways that connections of a route can go: what comes to a TLSRoute may go through as it is (TS-5),
/// and a listener says whether it does.
pub(super) fn ways(kind: RouteKind) -> &'static [Purpose] {
    match kind {
        RouteKind::Tls => &[Purpose::Traffic, Purpose::Passthrough],
        _ => &[Purpose::Traffic],
    }
}

/// Precedence of a rule among equals (HR-2, TS-3, L4-3).
fn order(name: &NamespacedName, route: Route<'_>, index: usize) -> RuleOrder {
    RuleOrder {
        created: created(route.metadata()),
        route: name.to_string(),
        rule_index: u16::try_from(index).unwrap_or(u16::MAX),
    }
}

/// HM-7: matches that no request ever reaches.
fn never_taken(matches: &[HttpMatch], underscore_headers: bool) -> impl Iterator<Item = String> {
    matches.iter().enumerate().filter_map(move |(index, it)| {
        let why = why_never_taken(it, underscore_headers)?;
        Some(format!("matches[{index}] takes no request, because {why}"))
    })
}

/// Why a match takes no request, because the data plane answers its method itself or drops its header.
pub(crate) fn why_never_taken(it: &HttpMatch, underscore_headers: bool) -> Option<String> {
    let underscore = it.headers.iter().any(|header| header.name.contains('_'));
    if underscore && !underscore_headers {
        return Some("headers with `_` in their name do not get as far as matching".to_owned());
    }
    let method = it.method.as_deref().filter(|it| matches!(*it, "CONNECT" | "TRACE"))?;
    Some(format!("method {method} is always answered with 405"))
}

/// Makes the keys of one route's rules: by name, or by a hash of the matches. A counter tells
/// rules apart that share one.
struct KeyMaker<'a> {
    route: &'a NamespacedName,
    uses: BTreeMap<String, usize>,
}

impl<'a> KeyMaker<'a> {
    fn new(route: &'a NamespacedName) -> Self {
        Self { route, uses: BTreeMap::new() }
    }

    fn make(&mut self, rule: RouteRule<'_>) -> RuleKey {
        let (of_kind, written) = match rule {
            RouteRule::Http(rule) => ("", serde_json::to_vec(&rule.matches)),
            // An HTTPRoute may have the same name; no rule of it has a key that begins so.
            RouteRule::Grpc(rule) => ("~grpc/", serde_json::to_vec(&rule.matches)),
            RouteRule::Stream(_) => ("", Ok(Vec::new())),
        };
        // Names hold no `~`, so that no name is taken for a hash or a counter.
        let base = match rule.name().filter(|name| !name.is_empty()) {
            Some(name) => format!("{of_kind}{}", name.replace('~', "~~")),
            None => format!("{of_kind}~{:016x}", fnv1a(&written.unwrap_or_default())),
        };
        let uses = self.uses.entry(base.clone()).or_default();
        *uses += 1;
        match uses {
            1 => RuleKey::new(format!("{}/{base}", self.route)),
            uses => RuleKey::new(format!("{}/{base}~{uses}", self.route)),
        }
    }
}

/// Compiles one rule with readable matches; problems go to the route.
struct RuleCompiler<'a> {
    route: Route<'a>,
    place: String,
    matches: &'a [HttpMatch],
    lookup: &'a Lookup<'a>,
    /// What its backends are needed for.
    purpose: Purpose,
    /// Service ports that the rule refers to.
    backends: BTreeSet<ServicePort>,
    compiled: &'a mut CompiledRoute,
}

/// What a rule does with its requests.
#[derive(Default)]
struct RuleAction {
    filters: Vec<HttpFilter>,
    backends: Vec<WeightedBackend>,
    timeouts: Option<Box<HttpTimeouts>>,
    retry: Option<Box<HttpRetry>>,
    session: Option<Box<SessionPersistence>>,
}

impl RuleCompiler<'_> {
    fn compile(&mut self, rule: RouteRule<'_>, key: &RuleKey) -> RuleAction {
        let (kind, matches) = (self.route.kind(), self.matches);
        let filters = filters::compile(rule.filters(), kind, matches, |reference, asked, place| {
            self.referred(reference, asked, place)
        });
        let session = rule.session_persistence().map(|written| {
            sessions::compile(written, key.to_string(), self.lookup.underscore_headers)
        });
        let (session, refused) = match session.transpose() {
            Ok(session) => (session.map(Box::new), None),
            Err(problem) => (None, Some(problem)),
        };
        let mut refused = refused.or(filters.refused);
        let redirects = filters.filters.iter().any(|it| matches!(it, HttpFilter::Redirect(_)));
        if redirects && rule.backends().len() > 0 {
            let message = "RequestRedirect cannot be combined with backendRefs";
            refused = refused.or(Some(Problem::unsupported(message)));
        }
        let mut backends = Vec::with_capacity(rule.backends().len());
        for (index, backend) in rule.backends().enumerate() {
            let place = format!("backendRefs[{index}]");
            match self.backend(backend, &place) {
                Ok(backend) => backends.push(backend),
                Err(problem) => refused = refused.or(Some(problem.at(place))),
            }
        }
        let unknown_extension = filters.unresolved.first().map(|it| it.message.clone());
        for problem in filters.unresolved {
            self.unresolved(problem);
        }
        if let Some(problem) = refused {
            let mut problem = problem.at(&self.place);
            let message = problem.message.clone();
            problem.message += "; its requests are answered with ";
            problem.message += refused_answer(self.route.kind());
            self.compiled.broken.push(problem);
            return answers_500(message);
        }
        if let Some(message) = unknown_extension {
            return answers_500(message);
        }
        self.compiled.backends.append(&mut self.backends);
        let (timeouts, retry) = match rule {
            RouteRule::Http(rule) => (timeouts(rule), retry(rule)),
            RouteRule::Grpc(_) | RouteRule::Stream(_) => Default::default(),
        };
        RuleAction { filters: filters.filters, backends, timeouts, retry, session }
    }

    /// One backend of the rule; an error where one of its filters is refused.
    fn backend(
        &mut self,
        written: RuleBackend<'_>,
        place: &str,
    ) -> Result<WeightedBackend, Problem> {
        let (kind, matches) = (self.route.kind(), self.matches);
        let filters = filters::compile(written.filters, kind, matches, |reference, asked, it| {
            self.referred(reference, asked, &format!("{place}: {it}"))
        });
        if let Some(problem) = filters.refused {
            return Err(problem);
        }
        let extension = filters.unresolved.into_iter().next();
        let target = match (extension, self.target(written.name, Asked::AsTheRoute, place)) {
            (None, Ok(key)) => BackendTarget::Backend(key),
            (Some(problem), _) | (None, Err(problem)) => {
                let message = problem.message.clone();
                self.unresolved(problem.at(place));
                BackendTarget::Invalid(message)
            }
        };
        // HB-2: the schema bounds weights from below by 0.
        let weight = u32::try_from(written.weight.unwrap_or(1)).unwrap_or(0);
        Ok(WeightedBackend { weight, target, filters: filters.filters })
    }

    /// Where a reference leads: an error where it is wrong by itself. A Service that is missing is
    /// not: the rule stays as it is, and finds the backend as soon as there is one.
    fn target(
        &mut self,
        written: BackendName<'_>,
        asked: Asked,
        place: &str,
    ) -> Result<BackendKey, Problem> {
        let named = x_backend(written, self.route);
        if let Some(name) = named.filter(|_| asked == Asked::AsTheRoute) {
            return self.x_backend(name, written.port, place);
        }
        let purpose = match asked {
            Asked::ByGrpc => Purpose::Authorization,
            Asked::ByHttp | Asked::AsTheRoute => self.purpose,
        };
        let Some(service) = service(written, self.route) else {
            let message = match asked {
                Asked::AsTheRoute => format!("{}, or to an XBackend", no_backend(written)),
                Asked::ByHttp | Asked::ByGrpc => no_backend(written),
            };
            return Err(Problem::new(ConditionReason::InvalidKind, message));
        };
        let namespace = &self.route.metadata().namespace;
        let from_kind = self.route.kind().kind();
        let reference = Reference {
            from_kind,
            from_namespace: namespace,
            to_kind: Kind::Service,
            to: &service,
        };
        // RT-10.
        reference.check(self.lookup.resources)?;
        let Some(port) = written.port else {
            return Err(Problem::new(
                ConditionReason::BackendNotFound,
                format!("port is not set; name a port of Service `{service}`"),
            ));
        };
        let target = ServicePort {
            service,
            port: port.get(),
            routes: self.route.kind(),
            purpose,
            x_backend: false,
        };
        Ok(self.refer(target, place))
    }

    /// an XBackend is for routes of its namespace, and has its port itself.
    fn x_backend(
        &mut self,
        name: NamespacedName,
        port: Option<Port>,
        place: &str,
    ) -> Result<BackendKey, Problem> {
        if name.namespace != self.route.metadata().namespace {
            return Err(Problem::new(
                ConditionReason::RefNotPermitted,
                format!("XBackend `{name}` is for routes of its own namespace alone"),
            ));
        }
        if port.is_some() {
            return Err(Problem::new(
                ConditionReason::BackendNotFound,
                format!("port is set, and XBackend `{name}` has a port of its own"),
            ));
        }
        let target = ServicePort {
            service: name,
            port: 0,
            routes: self.route.kind(),
            purpose: self.purpose,
            x_backend: true,
        };
        Ok(self.refer(target, place))
    }

    /// Takes a reference down that is good by itself.
    fn refer(&mut self, target: ServicePort, place: &str) -> BackendKey {
        let facts = (self.lookup.facts)(&target);
        let notes = &mut self.compiled.notes;
        let note = facts.note(&target).filter(|note| !notes.contains(note));
        notes.extend(note);
        if let Some(problem) = facts.problem {
            self.unresolved(problem.at(place));
        }
        let key = facts.key.unwrap_or_else(|| target.key());
        self.backends.insert(target);
        key
    }

    /// Where a filter's reference leads. One that is wrong by itself takes nothing but the copies of a
    /// mirror away (HF-7); nothing goes on that was to be authorized there (EA-1).
    fn referred(
        &mut self,
        written: &BackendObjectReference,
        asked: Asked,
        place: &str,
    ) -> BackendTarget {
        match self.target(BackendName::from(written), asked, place) {
            Ok(key) => BackendTarget::Backend(key),
            Err(problem) => {
                let message = problem.message.clone();
                self.unresolved(problem.at(place));
                BackendTarget::Invalid(message)
            }
        }
    }

    fn unresolved(&mut self, problem: Problem) {
        let problem = problem.at(&self.place);
        if !self.compiled.unresolved.contains(&problem) {
            self.compiled.unresolved.push(problem);
        }
    }
}

/// The Service that a reference to a backend names; `None` where it names something else (HB-1).
fn service(written: BackendName<'_>, route: Route<'_>) -> Option<NamespacedName> {
    service_in(written, &route.metadata().namespace)
}

/// The same for a reference of an object in this namespace.
pub(crate) fn service_in(written: BackendName<'_>, own: &str) -> Option<NamespacedName> {
    let group = written.group.unwrap_or_default();
    let kind = written.kind.unwrap_or("Service");
    let namespace = written.namespace.unwrap_or(own);
    (group.is_empty() && kind == "Service").then(|| NamespacedName::new(namespace, written.name))
}

/// What is wrong with a reference to something else.
pub(super) fn no_backend(written: BackendName<'_>) -> String {
    format!(
        "{} is no backend; refer to a Service of the core group",
        syntax::kind_of_group(
            written.kind.unwrap_or("Service"),
            written.name,
            written.group.unwrap_or_default()
        )
    )
}

/// A Service that a route refers to, permitted or not.
pub(super) struct Referred {
    pub(super) service: NamespacedName,
    /// The port that it names.
    pub(super) port: Option<Port>,
    /// Whether it is asked by gRPC for authorization (EA-3).
    pub(super) asked: bool,
}

/// The XBackend that a reference to a backend names; `None` where it names something else.
fn x_backend(written: BackendName<'_>, route: Route<'_>) -> Option<NamespacedName> {
    let is_one =
        written.group == Some(EXPERIMENTAL_GROUP) && written.kind == Some(Kind::XBackend.as_str());
    is_one.then(|| {
        let own = &route.metadata().namespace;
        let namespace = written.namespace.map_or_else(|| own.clone(), Arc::from);
        NamespacedName::new(namespace, written.name)
    })
}

/// The XBackends that a route refers to as it may, there or not.
pub(super) fn x_backends(route: Route<'_>) -> impl Iterator<Item = NamespacedName> + use<'_> {
    let named =
        names(route).filter(|(name, asked)| name.port.is_none() && *asked == Asked::AsTheRoute);
    let named = named.filter_map(move |(name, _)| x_backend(name, route));
    named.filter(move |name| name.namespace == route.metadata().namespace)
}

/// The Services that a route refers to, permitted or not.
pub(super) fn services(route: Route<'_>) -> impl Iterator<Item = Referred> + use<'_> {
    names(route).filter_map(move |(name, asked)| {
        let service = service(name, route)?;
        Some(Referred { service, port: name.port, asked: asked == Asked::ByGrpc })
    })
}

/// What a route names as a backend, and how it is spoken to.
fn names(route: Route<'_>) -> impl Iterator<Item = (BackendName<'_>, Asked)> + use<'_> {
    let backends = route.rules().flat_map(RouteRule::backends);
    let backends = backends.map(|backend| (backend.name, Asked::AsTheRoute));
    let filters = route.rules().flat_map(|rule| {
        let of_backends = rule.backends().flat_map(|backend| backend.filters);
        rule.filters().iter().chain(of_backends)
    });
    let referred = filters.flat_map(|filter| {
        let mirror = filter.request_mirror.as_ref();
        let mirror = mirror.map(|it| (&it.backend_ref, Asked::AsTheRoute));
        let authorizer = filter.external_auth.as_ref().map(|it| (&it.backend_ref, asked(it)));
        mirror.into_iter().chain(authorizer)
    });
    backends.chain(referred.map(|(reference, asked)| (BackendName::from(reference), asked)))
}

/// What clients get whose requests cannot be sent where they were meant to go (HB-3, GR-5).
pub(crate) fn refused_answer(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Http => "500",
        RouteKind::Grpc => "UNAVAILABLE",
        RouteKind::Tls | RouteKind::Tcp => "the end of the connection",
        RouteKind::Udp => "nothing",
    }
}

/// What a rule answers that cannot be honoured.
fn answers_500(why: String) -> RuleAction {
    let backend =
        WeightedBackend { weight: 1, target: BackendTarget::Invalid(why), filters: Vec::new() };
    RuleAction { backends: vec![backend], ..RuleAction::default() }
}

/// RY-1: without a number there is one retry. The schema bounds codes and attempts from below.
fn retry(rule: &HttpRouteRule) -> Option<Box<HttpRetry>> {
    let written = rule.retry.as_ref()?;
    let codes: BTreeSet<u16> =
        written.codes.iter().filter_map(|code| u16::try_from(*code).ok()).collect();
    Some(Box::new(HttpRetry {
        codes: codes.into_iter().collect(),
        attempts: written.attempts.map_or(1, |attempts| u32::try_from(attempts).unwrap_or(0)),
        backoff: written.backoff.as_ref().map(GatewayDuration::get),
    }))
}

/// TO-1: zero is passed on; it disables the timeout.
fn timeouts(rule: &HttpRouteRule) -> Option<Box<HttpTimeouts>> {
    let written = rule.timeouts.as_deref()?;
    let length = |duration: Option<&GatewayDuration>| duration.map(GatewayDuration::get);
    let timeouts = HttpTimeouts {
        request: length(written.request.as_ref()),
        backend_request: length(written.backend_request.as_ref()),
    };
    (timeouts != HttpTimeouts::default()).then(|| Box::new(timeouts))
}
