//! Matches that take no request, because others take all of them first.
//!
//! A match competes wherever its route is attached: on each listener, and there for each hostname of the
//! route as written. In such a place it wins nothing
//!
//! * where the hosts of the place are all those of a more specific listener of the port (LI-2), or
//! * where another match comes first for all of these hosts (HR-1, HR-2) and
//!   [takes all of its requests](subsumption).
//!
//! What wins in no place at all is found. Rules of TLSRoutes, TCPRoutes and UDPRoutes compete alike, as if
//! each had one match that takes everything (TS-3, L4-3).

mod hosts;
mod subsumption;
#[cfg(test)]
mod tests;
mod why;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use gwapi_model::validate::FieldPath;
use gwapi_model::{Kind, ObjectId, Resources, Route, RouteRule};

use self::hosts::{covering, covers, meet, rank};
use self::subsumption::{Judge, literal_start};
use self::why::Why;
use super::{Finding, Input, Lint, Related, listener_field, route_id, rule_field, spec};
use crate::ir::{
    GatewayConfig, GatewayId, Hostname, HttpMatch, HttpRule, Listener, ListenerKey, PathMatch,
    RuleOrder, StreamRule, TransportProtocol,
};
use crate::table::Precedence;

/// Others that are named for one match.
const MAX_SHADOWS: usize = 3;

pub(super) fn find(input: &Input<'_>, findings: &mut Vec<Finding>) {
    let mut routes: BTreeMap<ObjectId, RouteFates> = BTreeMap::new();
    for (gateway, config) in &input.translation.config {
        for (contender, fate) in fates(gateway, config) {
            let rules = routes.entry(contender.route()).or_default();
            let matches = rules.entry(contender.rule_index()).or_default();
            let match_index = contender.match_index();
            if matches.len() <= match_index {
                matches.resize_with(match_index + 1, Fate::default);
            }
            matches[match_index].add(fate);
        }
    }
    for (id, rules) in routes {
        let Some(route) = input.resources.route_of(&id) else { continue };
        Teller { resources: input.resources, id: &id, findings }.tell(route, &rules);
    }
}

/// What became of the matches of a route, by position of the rule and of the match.
type RouteFates = BTreeMap<u16, Vec<Fate>>;

/// What becomes of a match over all places where it competes.
#[derive(Clone, Debug, Default)]
struct Fate {
    /// It is not known to win nothing.
    is_alive: bool,
    /// What takes its requests, some of that.
    shadows: Vec<Shadow>,
}

impl Fate {
    fn add(&mut self, other: Self) {
        self.is_alive |= other.is_alive;
        other.shadows.into_iter().for_each(|shadow| self.shadow(shadow));
    }

    fn shadow(&mut self, shadow: Shadow) {
        if self.shadows.len() < MAX_SHADOWS && !self.shadows.contains(&shadow) {
            self.shadows.push(shadow);
        }
    }

    /// Whether it takes no request. What competes nowhere is somebody else's to tell.
    fn is_dead(&self) -> bool {
        !self.is_alive && !self.shadows.is_empty()
    }
}

/// What takes requests before a match gets to see them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shadow {
    /// Another match.
    Match { route: ObjectId, rule_index: u16, match_index: usize, why: Why },
    /// A more specific listener.
    Listener { gateway: GatewayId, listener: ListenerKey },
}

/// Something that wants requests or connections.
#[derive(Clone, Copy, Debug)]
enum Contender<'c> {
    /// A match of a rule.
    Match(&'c HttpRule, usize),
    /// The rule of a route that looks into nothing.
    Stream(&'c StreamRule),
}

impl<'c> Contender<'c> {
    fn all(config: &'c GatewayConfig) -> impl Iterator<Item = Self> {
        let matches = config.http_rules().flat_map(|rule| {
            (0..rule.matches.len()).map(move |match_index| Self::Match(rule, match_index))
        });
        matches.chain(config.stream_rules().map(|rule| Self::Stream(rule)))
    }

    fn route(self) -> ObjectId {
        match self {
            Self::Match(rule, _) => route_id(rule.route_kind, &rule.route),
            Self::Stream(rule) => route_id(rule.route_kind, &rule.route),
        }
    }

    fn rule_index(self) -> u16 {
        self.order().rule_index
    }

    fn order(self) -> &'c RuleOrder {
        match self {
            Self::Match(rule, _) => &rule.order,
            Self::Stream(rule) => &rule.order,
        }
    }

    fn match_index(self) -> usize {
        match self {
            Self::Match(_, match_index) => match_index,
            Self::Stream(_) => 0,
        }
    }

    fn listeners(self) -> &'c [ListenerKey] {
        match self {
            Self::Match(rule, _) => &rule.listeners,
            Self::Stream(rule) => &rule.listeners,
        }
    }

    /// The hostnames under which it competes: those of the route, or none at all.
    fn hostnames(self) -> impl Iterator<Item = Option<&'c Hostname>> {
        let hostnames = match self {
            Self::Match(rule, _) => &rule.hostnames,
            Self::Stream(rule) => &rule.hostnames,
        };
        hostnames.iter().map(Some).chain(hostnames.is_empty().then_some(None))
    }

    fn http_match(self) -> Option<&'c HttpMatch> {
        match self {
            Self::Match(rule, match_index) => Some(&rule.matches[match_index]),
            Self::Stream(_) => None,
        }
    }

    /// Which comes first of two under one hostname.
    fn cmp(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Match(one, index), Self::Match(other, other_index)) => {
                Precedence::of(one, index).cmp(&Precedence::of(other, other_index))
            }
            (Self::Stream(one), Self::Stream(other)) => {
                (&one.order, &one.key).cmp(&(&other.order, &other.key))
            }
            // No listener has both.
            _ => Ordering::Equal,
        }
    }

    fn takes_all_of(self, narrow: Self, judge: &Judge) -> bool {
        match (self.http_match(), narrow.http_match()) {
            (Some(wide), Some(narrow)) => judge.takes_all_of(wide, narrow),
            (None, None) => true,
            _ => false,
        }
    }

    /// The text under which prefixes that may take all of it are found.
    fn anchor(self) -> &'c str {
        match self.http_match().map(|it| &it.path) {
            Some(PathMatch::Exact(path) | PathMatch::Prefix(path)) => path,
            Some(PathMatch::Regex(pattern)) => literal_start(pattern),
            Some(PathMatch::GrpcMethod(_) | PathMatch::GrpcRegex { .. }) | None => "",
        }
    }
}

/// What becomes of every match of a configuration.
fn fates<'c>(
    gateway: &'c GatewayId,
    config: &'c GatewayConfig,
) -> impl Iterator<Item = (Contender<'c>, Fate)> {
    let arena = Arena::new(gateway, config);
    Contender::all(config).map(move |contender| (contender, arena.fate(contender)))
}

/// The places of one configuration, and who competes there.
struct Arena<'c> {
    gateway: &'c GatewayId,
    listeners: HashMap<&'c ListenerKey, &'c Listener>,
    ports: HashMap<(TransportProtocol, u16), Vec<&'c Listener>>,
    /// By listener and hostname as written.
    buckets: HashMap<(&'c ListenerKey, Option<Hostname>), Bucket<'c>>,
    judge: Judge,
}

/// Who competes under one hostname of a listener.
#[derive(Default)]
struct Bucket<'c> {
    exact: HashMap<&'c str, Vec<Contender<'c>>>,
    prefixes: HashMap<&'c str, Vec<Contender<'c>>>,
    others: Vec<Contender<'c>>,
}

impl<'c> Bucket<'c> {
    fn add(&mut self, contender: Contender<'c>) {
        let contenders = match contender.http_match().map(|it| &it.path) {
            Some(PathMatch::Exact(path)) => self.exact.entry(path).or_default(),
            Some(PathMatch::Prefix(path)) => self.prefixes.entry(path).or_default(),
            Some(PathMatch::Regex(_) | PathMatch::GrpcMethod(_) | PathMatch::GrpcRegex { .. })
            | None => &mut self.others,
        };
        contenders.push(contender);
    }

    fn sort(&mut self) {
        let lists = self.exact.values_mut().chain(self.prefixes.values_mut());
        for contenders in lists.chain([&mut self.others]) {
            contenders.sort_by(|one, other| one.cmp(*other));
        }
    }

    /// The first one that takes all that `narrow` takes, of those before it where it is here itself.
    fn first_that_takes_all_of(
        &self,
        narrow: Contender<'c>,
        is_here: bool,
        judge: &Judge,
    ) -> Option<Contender<'c>> {
        let anchor = narrow.anchor();
        let is_exact =
            matches!(narrow.http_match(), Some(HttpMatch { path: PathMatch::Exact(_), .. }));
        let exact = self.exact.get(anchor).filter(|_| is_exact);
        let paths =
            std::iter::successors(Some(anchor), |path| path.rfind('/').map(|slash| &path[..slash]));
        let prefixes = paths.filter_map(|path| self.prefixes.get(path));
        let lists = exact.into_iter().chain(prefixes).chain([&self.others]);
        let firsts = lists.filter_map(|list| {
            let mut before =
                list.iter().take_while(|it| !is_here || it.cmp(narrow) == Ordering::Less);
            before.find(|wide| wide.takes_all_of(narrow, judge))
        });
        firsts.copied().min_by(|one, other| one.cmp(*other))
    }
}

impl<'c> Arena<'c> {
    fn new(gateway: &'c GatewayId, config: &'c GatewayConfig) -> Self {
        let mut arena = Self {
            gateway,
            listeners: HashMap::new(),
            ports: HashMap::new(),
            buckets: HashMap::new(),
            judge: Judge::default(),
        };
        for listener in config.listeners() {
            arena.listeners.insert(&listener.key, listener);
            let port = (listener.protocol.transport(), listener.port);
            arena.ports.entry(port).or_default().push(listener);
        }
        for contender in Contender::all(config) {
            for listener in contender.listeners() {
                for hostname in contender.hostnames() {
                    let bucket = arena.buckets.entry((listener, hostname.cloned())).or_default();
                    bucket.add(contender);
                }
            }
        }
        arena.buckets.values_mut().for_each(Bucket::sort);
        arena
    }

    /// What becomes of a match over all its places, as far as that matters: one that may win is alive.
    fn fate(&self, contender: Contender<'c>) -> Fate {
        let mut fate = Fate::default();
        // A listener that is not served at present says so itself.
        let listeners = contender.listeners().iter().filter_map(|key| self.listeners.get(key));
        for listener in listeners {
            for hostname in contender.hostnames() {
                let Some(hosts) = meet(listener.hostname.as_ref(), hostname) else { continue };
                match self.shadow(contender, listener, hostname, hosts) {
                    Some(shadow) => fate.shadow(shadow),
                    None => return Fate { is_alive: true, shadows: Vec::new() },
                }
            }
        }
        fate
    }

    /// What takes all requests of a match on a listener under a hostname, which means these hosts there.
    fn shadow(
        &self,
        contender: Contender<'c>,
        listener: &Listener,
        hostname: Option<&Hostname>,
        hosts: Option<&Hostname>,
    ) -> Option<Shadow> {
        if let Some(better) = self.better_listener(listener, hosts) {
            let (gateway, listener) = (self.gateway.clone(), better.key.clone());
            return Some(Shadow::Listener { gateway, listener });
        }
        let buckets = covering(hosts).take_while(|it| rank(it.as_ref()) <= rank(hostname));
        let mut shadows = buckets.filter_map(|bucket_hostname| {
            let is_here = bucket_hostname.as_ref() == hostname;
            let bucket = self.buckets.get(&(&listener.key, bucket_hostname))?;
            let wide = bucket.first_that_takes_all_of(contender, is_here, &self.judge)?;
            Some(Shadow::Match {
                route: wide.route(),
                rule_index: wide.rule_index(),
                match_index: wide.match_index(),
                why: if is_here { Why::of(wide, contender) } else { Why::Hostname },
            })
        });
        shadows.next()
    }

    /// A listener of the same port that all of these hosts belong to.
    fn better_listener(
        &self,
        listener: &Listener,
        hosts: Option<&Hostname>,
    ) -> Option<&'c Listener> {
        let port = (listener.protocol.transport(), listener.port);
        let others = self.ports.get(&port)?.iter().copied();
        let mut better = others.filter(|other| {
            covers(other.hostname.as_ref(), hosts)
                && rank(other.hostname.as_ref()) < rank(listener.hostname.as_ref())
        });
        better.next()
    }
}

/// Tells of one route.
struct Teller<'t> {
    resources: &'t Resources,
    id: &'t ObjectId,
    findings: &'t mut Vec<Finding>,
}

impl Teller<'_> {
    /// Tells of the matches of a route that take no request: of a whole rule at once, and of a whole route.
    fn tell(&mut self, route: Route<'_>, rules: &RouteFates) {
        let is_dead = |matches: &Vec<Fate>| matches.iter().all(Fate::is_dead);
        if rules.len() > 1 && rules.values().all(is_dead) {
            let (field, fates) = (spec().field("rules"), rules.values().flatten());
            return self.add(field, "no rule of this route ever takes a request", fates);
        }
        for (&rule_index, matches) in rules {
            let rule = rule_field(rule_index.into());
            let written = route.rules().nth(rule_index.into()).map_or(0, written_matches);
            if matches.len() > 1 && is_dead(matches) {
                self.add(rule, "no match of this rule ever takes a request", matches);
                continue;
            }
            for (match_index, fate) in matches.iter().enumerate().filter(|(_, it)| it.is_dead()) {
                let (field, message) = match (written, self.id.kind) {
                    (0, Kind::HttpRoute | Kind::GrpcRoute) => {
                        (rule.clone(), "this rule never takes a request")
                    }
                    (0, Kind::UdpRoute) => (rule.clone(), "this route never gets a datagram"),
                    (0, _) => (rule.clone(), "this route never gets a connection"),
                    _ => (match_field(&rule, match_index), "this match never takes a request"),
                };
                self.add(field, message, [fate]);
            }
        }
    }

    fn add<'f>(
        &mut self,
        field: FieldPath,
        message: &str,
        fates: impl IntoIterator<Item = &'f Fate>,
    ) {
        let mut all = Fate::default();
        for shadow in fates.into_iter().flat_map(|fate| &fate.shadows) {
            all.shadow(shadow.clone());
        }
        let Some(first) = all.shadows.first() else { return };
        let message = format!("{message}: {} comes first", first.name(self.id));
        let finding = Finding::new(Lint::ShadowedMatch, self.id.clone(), field, message);
        let related = all.shadows.iter().map(|shadow| shadow.related(self.resources)).collect();
        let finding = finding.with_help(first.help(self.id));
        self.findings.push(Finding { related, ..finding });
    }
}

/// How many matches somebody wrote; a rule without any takes everything.
fn written_matches(rule: RouteRule<'_>) -> usize {
    match rule {
        RouteRule::Http(rule) => rule.matches.len(),
        RouteRule::Grpc(rule) => rule.matches.len(),
        RouteRule::Stream(_) => 0,
    }
}

fn match_field(rule: &FieldPath, match_index: usize) -> FieldPath {
    rule.field("matches").index(match_index)
}

impl Shadow {
    /// Who it is, as seen from a route.
    fn name(&self, from: &ObjectId) -> String {
        match self {
            Self::Match { route, rule_index, match_index, .. } => {
                let place = match route.kind {
                    Kind::HttpRoute | Kind::GrpcRoute => {
                        format!("rules[{rule_index}].matches[{match_index}]")
                    }
                    _ => format!("rules[{rule_index}]"),
                };
                match route == from {
                    true => place,
                    false => format!("{place} of {route}"),
                }
            }
            Self::Listener { gateway, listener } => match listener.listener_set() {
                None => format!("listener {} of Gateway {gateway}", listener.name()),
                Some(set) => format!("listener {} of ListenerSet {set}", listener.name()),
            },
        }
    }

    fn related(&self, resources: &Resources) -> Related {
        match self {
            Self::Match { route, rule_index, match_index, why } => {
                let rule = rule_field((*rule_index).into());
                let field = match route.kind {
                    Kind::HttpRoute | Kind::GrpcRoute => match_field(&rule, *match_index),
                    _ => rule,
                };
                let message = format!("this takes them: {}", why.sentence());
                Related { object: route.clone(), field, message }
            }
            Self::Listener { gateway, listener } => {
                let (object, field) = listener_field(resources, gateway, listener);
                let message = "this listener takes them: its hostname is more specific, and no request \
                               for its hosts goes to another listener of the port";
                Related { object, field, message: message.to_owned() }
            }
        }
    }

    fn help(&self, from: &ObjectId) -> &'static str {
        match self {
            Self::Match { route, why, .. } => match from.kind {
                Kind::HttpRoute | Kind::GrpcRoute => why.help(route == from),
                Kind::TlsRoute => "remove it, or give it other hostnames",
                _ => {
                    "remove it, or attach it to a listener of its own: of several such routes a listener \
                     serves the first"
                }
            },
            Self::Listener { .. } => {
                "attach the route to that listener as well, or remove the hostname or the route"
            }
        }
    }
}
