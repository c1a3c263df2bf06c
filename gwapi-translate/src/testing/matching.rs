//! Laws of route matching: the answer is that of the [`oracle`], always.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use gwapi_model::RouteKind;
use http::HeaderMap;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{CounterExample, catching, check_law, oracle};
use crate::ir::*;
use crate::table::{RequestHead, RouteTable};

/// What a matcher answers: the match that takes the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The rule.
    pub rule: RuleKey,
    /// Position of the match in [`HttpRule::matches`].
    pub match_index: usize,
}

/// Something that chooses the rule for a request.
pub trait Matcher {
    /// Takes a configuration in.
    fn build(config: &GatewayConfig) -> Self;

    /// The match that takes a request that came in clear text on a port.
    fn route(&self, port: u16, request: &RequestHead<'_>) -> Option<Chosen>;

    /// Takes a change in; `config` is the configuration after it. A matcher that is built anew on
    /// each change needs no more than this.
    fn apply(&mut self, delta: &ConfigDelta, config: &GatewayConfig)
    where
        Self: Sized,
    {
        let _ = delta;
        *self = Self::build(config);
    }
}

impl Matcher for RouteTable {
    fn build(config: &GatewayConfig) -> Self {
        Self::compile(config)
    }

    fn route(&self, port: u16, request: &RequestHead<'_>) -> Option<Chosen> {
        let listener = self.listener_for_host(port, request.host)?;
        let found = Self::route(self, listener, request)?;
        Some(Chosen { rule: found.rule.key.clone(), match_index: found.match_index })
    }

    fn apply(&mut self, delta: &ConfigDelta, _config: &GatewayConfig) {
        *self = Self::apply(self, delta);
    }
}

/// Which part of the semantics is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What the API says, and every implementation has to do.
    Api,
    /// Besides, what the API leaves to implementations, as this one does it: where regular
    /// expressions stand (HR-3), headers in several lines and `Host` as a header (HM-5), escapes in
    /// the query (HM-6), GRPCRoutes beside HTTPRoutes of their names (GR-8).
    Gwapi,
}

/// Checks all laws of matching, 300 cases each.
///
/// # Panics
///
/// With a counter-example that reads well, if a law is broken.
pub fn laws<M: Matcher>() {
    check_matcher::<M>(Scope::Gwapi, 300).unwrap_or_else(|found| panic!("{found}"));
}

/// Checks all laws of matching.
///
/// # Errors
///
/// The smallest counter-example found, of the first law that is broken.
pub fn check_matcher<M: Matcher>(scope: Scope, cases: u32) -> Result<(), CounterExample> {
    answers_as_the_oracle::<M>(scope, cases)?;
    changes_add_up::<M>(scope, cases)
}

/// The matcher of a configuration answers as the oracle does.
///
/// # Errors
///
/// The smallest counter-example found.
pub fn answers_as_the_oracle<M: Matcher>(scope: Scope, cases: u32) -> Result<(), CounterExample> {
    check_law(
        "a matcher answers as a naive reading of the rules does",
        cases,
        &(config(scope), requests(scope)),
        |(config, _)| show_config(config),
        |(config, requests)| compare(&build::<M>(config)?, config, requests),
    )
}

/// After any sequence of changes the matcher answers as the oracle does for what is left.
///
/// # Errors
///
/// The smallest counter-example found.
pub fn changes_add_up<M: Matcher>(scope: Scope, cases: u32) -> Result<(), CounterExample> {
    check_law(
        "changes add up to a matcher of the final configuration",
        cases,
        &(config(scope), prop::collection::vec(delta(scope), 1..5), requests(scope)),
        |(config, deltas, _)| {
            let deltas = deltas.iter().map(show_delta).collect::<String>();
            format!("{}{deltas}", show_config(config))
        },
        |(start, deltas, requests)| {
            let mut config = start.clone();
            let mut matcher = build::<M>(&config)?;
            for (number, delta) in (1..).zip(deltas) {
                config.apply(delta);
                catching(|| matcher.apply(delta, &config)).map_err(|panic| {
                    format!("expected  change {number} to be taken\ngot       {panic}")
                })?;
                compare(&matcher, &config, requests)?;
            }
            Ok(())
        },
    )
}

fn build<M: Matcher>(config: &GatewayConfig) -> Result<M, String> {
    catching(|| M::build(config)).map_err(|panic| format!("expected  a matcher\ngot       {panic}"))
}

fn compare<M: Matcher>(
    matcher: &M,
    config: &GatewayConfig,
    requests: &[Request],
) -> Result<(), String> {
    let name = |chosen: Option<Chosen>| match chosen {
        Some(chosen) => format!("{}, match {}", chosen.rule, chosen.match_index),
        None => "no rule".to_owned(),
    };
    for request in requests {
        let expected = oracle::route(config, request.port, &request.head());
        let got = catching(|| matcher.route(request.port, &request.head()));
        if got.as_ref() != Ok(&expected) {
            return Err(format!(
                "request   {request}\nexpected  {}\ngot       {}",
                name(expected),
                got.map_or_else(|panic| panic, name)
            ));
        }
    }
    Ok(())
}

/// A request that owns its parts. It prints as a call of curl.
#[derive(Clone, Debug)]
pub struct Request {
    /// Port that it came in on.
    pub port: u16,
    /// Host, lower-case, without port: with the header `Host` as well, unless [`headers`](Self::headers)
    /// say otherwise, which counts for nothing (HM-5).
    pub host: String,
    /// Method.
    pub method: String,
    /// Canonical path.
    pub path: String,
    /// Query without `?`.
    pub query: Option<String>,
    /// Headers.
    pub headers: HeaderMap,
}

impl Request {
    /// What routing reads of it.
    pub fn head(&self) -> RequestHead<'_> {
        RequestHead {
            host: &self.host,
            authority: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "curl -X {} 'http://{}:{}{}", self.method, self.host, self.port, self.path)?;
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        f.write_char('\'')?;
        for (name, value) in &self.headers {
            write!(f, " -H '{name}: {}'", value.to_str().unwrap_or("(not text)"))?;
        }
        Ok(())
    }
}

/// Listeners and rules, a line each.
pub fn show_config(config: &GatewayConfig) -> String {
    config.0.values().map(show_resource).collect()
}

fn show_delta(delta: &ConfigDelta) -> String {
    let removals = delta.removals.iter().map(|key| format!("  - {key}\n"));
    let upserts = delta.upserts.iter().map(|resource| format!("  + {}", show_resource(resource)));
    format!("then\n{}", removals.chain(upserts).collect::<String>())
}

fn show_resource(resource: &IrResource) -> String {
    match resource {
        IrResource::Listener(listener) => {
            let host =
                listener.hostname.as_ref().map_or("any host".to_owned(), ToString::to_string);
            format!("listener {} for {host}, port {}\n", listener.key, listener.port)
        }
        IrResource::HttpRule(rule) => {
            let texts =
                |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
            let listeners = match rule.listeners.len() {
                count if count == LISTENERS.len() => "every listener".to_owned(),
                _ => texts(&mut rule.listeners.iter().map(ToString::to_string)),
            };
            let hostnames = match rule.hostnames.len() {
                0 => "any host".to_owned(),
                _ => texts(&mut rule.hostnames.iter().map(ToString::to_string)),
            };
            let matches: Vec<_> = rule.matches.iter().map(show_match).collect();
            let kind = match rule.route_kind {
                RouteKind::Http => String::new(),
                other => format!(" of a {}", other.kind()),
            };
            format!(
                "rule {}{kind} (created {}, position {}) on {listeners} for {hostnames}: {}\n",
                rule.key,
                rule.order.created,
                rule.order.rule_index,
                matches.join(" | ")
            )
        }
        other => format!("{}\n", other.key()),
    }
}

fn show_match(http_match: &HttpMatch) -> String {
    let value = |value: &ValueMatch| match value {
        ValueMatch::Exact(text) => format!("={text}"),
        ValueMatch::Regex(pattern) => format!("~{pattern}"),
    };
    let path = match &http_match.path {
        PathMatch::Exact(path) => format!("Exact {path}"),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "PathPrefix /".to_owned(),
        PathMatch::Prefix(prefix) => format!("PathPrefix {prefix}"),
        PathMatch::Regex(pattern) => format!("RegularExpression {pattern}"),
        PathMatch::GrpcMethod(method) => format!("method {method} of any service"),
        PathMatch::GrpcRegex { service, method } => {
            let shown = |pattern: &Option<Arc<str>>| pattern.as_deref().unwrap_or("any").to_owned();
            format!("service ~{} method ~{}", shown(service), shown(method))
        }
    };
    let method = http_match.method.iter().map(ToString::to_string);
    let headers =
        http_match.headers.iter().map(|header| format!("{}{}", header.name, value(&header.value)));
    let params = http_match
        .query_params
        .iter()
        .map(|param| format!("?{}{}", param.name, value(&param.value)));
    [path].into_iter().chain(method).chain(headers).chain(params).collect::<Vec<_>>().join(" ")
}

/// Port and hostname of every listener there may be.
const LISTENERS: [(u16, &str); 7] = [
    (80, ""),
    (80, "a.test"),
    (80, "b.a.test"),
    (80, "*.a.test"),
    (80, "*.test"),
    (81, ""),
    (81, "*.b.a.test"),
];
const HOSTNAMES: [&str; 6] =
    ["a.test", "b.a.test", "c.b.a.test", "*.a.test", "*.b.a.test", "*.test"];
const HOSTS: [&str; 6] = ["a.test", "b.a.test", "c.b.a.test", "x.a.test", "x.y.b.a.test", "other"];
const RULES: u16 = 8;

/// Configurations of few words, so that rules meet and requests hit them.
pub fn config(scope: Scope) -> impl Strategy<Value = GatewayConfig> {
    let listeners = subsequence(all_listeners(), 1..=LISTENERS.len());
    let rules = (0..RULES)
        .map(|index| prop::option::weighted(0.75, rule(scope, index)))
        .collect::<Vec<_>>();
    (listeners, rules).prop_map(|(listeners, rules)| {
        let listeners =
            listeners.into_iter().map(|listener| IrResource::Listener(Arc::new(listener)));
        let rules = rules.into_iter().flatten().map(|rule| IrResource::HttpRule(Arc::new(rule)));
        GatewayConfig(listeners.chain(rules).map(|resource| (resource.key(), resource)).collect())
    })
}

/// Changes of the configurations that [`config`] makes; some remove what is not there.
pub fn delta(scope: Scope) -> impl Strategy<Value = ConfigDelta> {
    let listener_keys = all_listeners().into_iter().map(|listener| IrKey::Listener(listener.key));
    let rule_keys = (0..RULES).map(|index| IrKey::HttpRule(rule_key(index)));
    let removals = subsequence(listener_keys.chain(rule_keys).collect::<Vec<_>>(), 0..3);
    let upsert = prop_oneof![
        1 => select(all_listeners()).prop_map(|listener| IrResource::Listener(Arc::new(listener))),
        4 => (0..RULES).prop_flat_map(move |index| rule(scope, index))
            .prop_map(|rule| IrResource::HttpRule(Arc::new(rule))),
    ];
    (removals, prop::collection::vec(upsert, 0..4))
        .prop_map(|(removals, upserts)| ConfigDelta { upserts, removals })
}

/// Requests for the configurations that [`config`] makes.
pub fn requests(scope: Scope) -> impl Strategy<Value = Vec<Request>> {
    prop::collection::vec(request(scope), 1..8)
}

fn all_listeners() -> Vec<Listener> {
    let listener = |(port, host): (u16, &str)| Listener {
        key: ListenerKey::new(if host.is_empty() {
            format!("any:{port}")
        } else {
            format!("{host}:{port}")
        }),
        addresses: vec![[127, 0, 0, 1].into()],
        port,
        protocol: ListenerProtocol::Http,
        hostname: (!host.is_empty()).then(|| Hostname::parse(host)),
        filters: Vec::new(),
    };
    LISTENERS.into_iter().map(listener).collect()
}

/// The key of a rule, by its name as keys of named rules are. Within a route names run against
/// positions: an order by key is not taken for the order of the rules (HR-2, 8).
fn rule_key(index: u16) -> RuleKey {
    let route = index % 3;
    RuleKey::new(format!("ns/route-{route}/{}", rule_name(index)))
}

fn rule_name(index: u16) -> &'static str {
    const NAMES: [&str; RULES as usize] = ["h", "g", "f", "e", "d", "c", "b", "a"];
    NAMES[usize::from(index)]
}

fn rule(scope: Scope, index: u16) -> impl Strategy<Value = HttpRule> {
    // Two of the three routes are of the same age: then the name decides.
    let route = index % 3;
    let created = i64::from(route == 0);
    // The last ones are the first of GRPCRoutes that are called as the HTTPRoutes are.
    let (route_kind, rule_index) = match index.checked_sub(6) {
        Some(position) if scope == Scope::Gwapi => (RouteKind::Grpc, position),
        _ => (RouteKind::Http, index),
    };
    let listeners: Vec<_> = all_listeners().into_iter().map(|listener| listener.key).collect();
    let listeners = prop_oneof![2 => Just(listeners.clone()), 1 => subsequence(listeners, 1..4)];
    let hostnames: Vec<_> = HOSTNAMES.iter().map(|name| Hostname::parse(name)).collect();
    let hostnames = prop_oneof![Just(Vec::new()), subsequence(hostnames, 1..=3)];
    let matches = prop::collection::vec(http_match(scope), 1..=3);
    (listeners, hostnames, matches).prop_map(move |(listeners, hostnames, matches)| HttpRule {
        key: rule_key(index),
        route: gwapi_model::NamespacedName::new("ns", format!("route-{route}")),
        route_kind,
        name: Some(rule_name(index).into()),
        order: RuleOrder { created, route: format!("ns/route-{route}"), rule_index },
        listeners: listeners.into(),
        hostnames: hostnames.into(),
        matches,
        filters: Vec::new(),
        backends: Vec::new(),
        timeouts: None,
        retry: None,
        session: None,
    })
}

fn http_match(scope: Scope) -> impl Strategy<Value = HttpMatch> {
    let method = prop::option::weighted(0.2, select(vec!["GET", "POST"]).prop_map(str::to_owned));
    let header = |name: &'static str| {
        let values = header_value(scope);
        values.prop_map(move |value| HeaderMatch { name: name.into(), value })
    };
    let param = |name: &'static str| {
        let values = query_value(scope);
        values.prop_map(move |value| QueryParamMatch { name: name.into(), value })
    };
    let host = select(HOSTS.to_vec()).prop_map(|host| HeaderMatch {
        name: "host".into(),
        value: ValueMatch::Exact(host.into()),
    });
    let own = u32::from(scope == Scope::Gwapi);
    let x_b_or_host = prop_oneof![7 => header("x-b"), own => host];
    let headers =
        (prop::option::weighted(0.2, header("x-a")), prop::option::weighted(0.2, x_b_or_host));
    let params = (prop::option::weighted(0.2, param("q")), prop::option::weighted(0.2, param("r")));
    (path_match(scope), method, headers, params).prop_map(|(path, method, headers, params)| {
        HttpMatch {
            path,
            method,
            headers: [headers.0, headers.1].into_iter().flatten().collect(),
            query_params: [params.0, params.1].into_iter().flatten().collect(),
        }
    })
}

fn path_match(scope: Scope) -> impl Strategy<Value = PathMatch> {
    let patterns = vec!["/a.*", "/(a|ab)/b", "/[ab]+", "/a/b", ".*", "/", "("];
    let elements = select(vec!["^a.*$", "a|ab", "[ab]+", ".*", "("]);
    let element = proptest::option::of(elements.prop_map(Arc::from));
    prop_oneof![
        2 => path(2).prop_map(|path| PathMatch::Exact(path.into())),
        4 => path(2).prop_map(|path| PathMatch::Prefix(path.trim_end_matches('/').into())),
        u32::from(scope == Scope::Gwapi) => select(vec!["a", "b"])
            .prop_map(|method| PathMatch::GrpcMethod(method.into())),
        u32::from(scope == Scope::Gwapi) => (element.clone(), element)
            .prop_map(|(service, method)| PathMatch::GrpcRegex { service, method }),
        u32::from(scope == Scope::Gwapi) => select(patterns).prop_map(|text| PathMatch::Regex(text.into())),
    ]
}

fn header_value(scope: Scope) -> impl Strategy<Value = ValueMatch> {
    let own = u32::from(scope == Scope::Gwapi);
    prop_oneof![
        12 => Just("1").prop_map(|text| ValueMatch::Exact(text.into())),
        2 => Just("2").prop_map(|text| ValueMatch::Exact(text.into())),
        own => select(vec!["1,2", "1, 2", ""]).prop_map(|text| ValueMatch::Exact(text.into())),
        own => select(vec!["[0-9]", "1|2|3", "("]).prop_map(|text| ValueMatch::Regex(text.into())),
    ]
}

fn query_value(scope: Scope) -> impl Strategy<Value = ValueMatch> {
    let own = u32::from(scope == Scope::Gwapi);
    prop_oneof![
        12 => Just("1").prop_map(|text| ValueMatch::Exact(text.into())),
        2 => select(vec!["", "2"]).prop_map(|text| ValueMatch::Exact(text.into())),
        own => select(vec!["a b", "%zz"]).prop_map(|text| ValueMatch::Exact(text.into())),
        own => select(vec!["[0-9]", "[a-z ]*", "("]).prop_map(|text| ValueMatch::Regex(text.into())),
    ]
}

fn path(elements: usize) -> impl Strategy<Value = String> {
    let element = prop_oneof![4 => Just("a"), 1 => Just("ab"), 1 => Just("b")];
    let elements = prop::collection::vec(element, 0..=elements);
    (elements, prop::bool::weighted(0.2)).prop_map(|(elements, slash)| {
        let path = format!("/{}", elements.join("/"));
        if slash && !elements.is_empty() { path + "/" } else { path }
    })
}

fn request(scope: Scope) -> impl Strategy<Value = Request> {
    let own = u32::from(scope == Scope::Gwapi);
    let pair = prop_oneof![
        12 => select(vec!["q=1", "r=1"]),
        6 => select(vec!["q", "q=", "q=2", "r=2", "Q=1", ""]),
        own * 3 => select(vec!["q=a+b", "q=a%20b", "%71=1", "q=%31", "q=%zz", "r=%ff"]),
    ];
    let query = prop::option::weighted(0.8, prop::collection::vec(pair, 1..4));
    let values = || prop_oneof![6 => Just("1"), 2 => select(vec!["2", "3", "1, 2", ""])];
    // Lines beyond the first are for the scope in which they have a meaning.
    let lines = move || prop::collection::vec(values(), 0..=1 + own as usize);
    // As a client writes it beside a target with another host.
    let host = prop_oneof![7 => Just(None), own => select(HOSTS.to_vec()).prop_map(Some)];
    let headers = (lines(), lines(), host).prop_map(|(x_a, x_b, host)| {
        let lines = x_a.into_iter().map(|value| ("x-a", value));
        let lines = lines.chain(x_b.into_iter().map(|value| ("x-b", value)));
        let mut headers = HeaderMap::new();
        for (name, value) in lines.chain(host.map(|host| ("host", host))) {
            headers.append(name, http::HeaderValue::from_static(value));
        }
        headers
    });
    let port = prop_oneof![4 => Just(80), 1 => Just(81)];
    let methods = select(vec!["GET", "POST"]);
    (port, select(HOSTS.to_vec()), methods, path(3), query, headers).prop_map(
        |(port, host, method, path, query, headers)| Request {
            port,
            host: host.to_owned(),
            method: method.to_owned(),
            path,
            query: query.map(|pairs| pairs.join("&")),
            headers,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_table_keeps_the_laws() {
        laws::<RouteTable>();
    }

    /// A matcher that asks the oracle.
    struct Naive(GatewayConfig);

    impl Matcher for Naive {
        fn build(config: &GatewayConfig) -> Self {
            Self(config.clone())
        }

        fn route(&self, port: u16, request: &RequestHead<'_>) -> Option<Chosen> {
            oracle::route(&self.0, port, request)
        }
    }

    /// A matcher that forgets removals.
    struct Hoarder(GatewayConfig);

    impl Matcher for Hoarder {
        fn build(config: &GatewayConfig) -> Self {
            Self(config.clone())
        }

        fn route(&self, port: u16, request: &RequestHead<'_>) -> Option<Chosen> {
            oracle::route(&self.0, port, request)
        }

        fn apply(&mut self, delta: &ConfigDelta, _config: &GatewayConfig) {
            self.0.apply(&ConfigDelta { upserts: delta.upserts.clone(), removals: Vec::new() });
        }
    }

    #[test]
    fn a_matcher_that_misses_a_change_is_caught() {
        check_matcher::<Naive>(Scope::Api, 16).expect("it is the oracle itself");
        answers_as_the_oracle::<Hoarder>(Scope::Gwapi, 16).expect("it is built right");
        let found = changes_add_up::<Hoarder>(Scope::Gwapi, 1000).expect_err("it forgets removals");
        assert!(found.to_string().contains("  - "), "the removal is shown: {found}");
    }

    /// A matcher that does not know where a rule stands in its route.
    struct Unordered(GatewayConfig);

    impl Matcher for Unordered {
        fn build(config: &GatewayConfig) -> Self {
            let mut config = config.clone();
            for resource in config.0.values_mut() {
                if let IrResource::HttpRule(rule) = resource {
                    Arc::make_mut(rule).order.rule_index = 0;
                }
            }
            Self(config)
        }

        fn route(&self, port: u16, request: &RequestHead<'_>) -> Option<Chosen> {
            oracle::route(&self.0, port, request)
        }
    }

    #[test]
    fn hr_2_a_matcher_that_orders_the_rules_of_a_route_by_key_is_caught() {
        for scope in [Scope::Api, Scope::Gwapi] {
            let search = |_| {
                let found = answers_as_the_oracle::<Unordered>(scope, 3000)
                    .expect_err("the first rule of a route wins, whatever it is called");
                found.case.lines().filter(|line| line.starts_with("rule ")).count()
            };
            // A search tries to leave rules out before it makes the others simpler, and not again
            // after it: now and then one is left that was needed only before.
            let fewest = (0..4).map(search).min();
            assert_eq!(fewest, Some(2), "two rules of a route are enough");
        }
    }

    /// A matcher that panics where it takes a request by host.
    struct Fragile(GatewayConfig);

    impl Matcher for Fragile {
        fn build(config: &GatewayConfig) -> Self {
            Self(config.clone())
        }

        fn route(&self, port: u16, request: &RequestHead<'_>) -> Option<Chosen> {
            let chosen = oracle::route(&self.0, port, request);
            assert!(chosen.is_none() || request.host != "a.test", "not prepared for {port}");
            chosen
        }
    }

    /// A matcher that cannot be built for a listener of port 81, nor take a change in.
    struct Stubborn;

    impl Matcher for Stubborn {
        fn build(config: &GatewayConfig) -> Self {
            assert!(config.listeners().all(|listener| listener.port != 81), "no port 81");
            Self
        }

        fn route(&self, _port: u16, _request: &RequestHead<'_>) -> Option<Chosen> {
            None
        }

        fn apply(&mut self, _delta: &ConfigDelta, _config: &GatewayConfig) {
            panic!("no change");
        }
    }

    #[test]
    fn a_matcher_that_panics_is_shown_with_the_configuration_and_the_request() {
        let found = answers_as_the_oracle::<Fragile>(Scope::Api, 1000).expect_err("it panics");
        let found = found.to_string();
        for part in [
            "rule ns/",
            "request   curl ",
            "expected  ns/",
            "got       a panic: not prepared for 8",
        ] {
            assert!(found.contains(part), "{part:?} is missing: {found}");
        }
    }

    #[test]
    fn a_matcher_that_panics_over_a_configuration_is_shown_with_it() {
        let config = GatewayConfig(
            all_listeners()
                .into_iter()
                .map(|listener| IrResource::Listener(Arc::new(listener)))
                .map(|resource| (resource.key(), resource))
                .collect(),
        );
        let why = build::<Stubborn>(&config).err().expect("it panics");
        assert_eq!(why, "expected  a matcher\ngot       a panic: no port 81");
        let found = changes_add_up::<Stubborn>(Scope::Api, 1000).expect_err("it panics");
        assert!(found.case.contains("\ngot       a panic: no "), "{found}");
    }

    #[test]
    fn most_generated_requests_find_a_rule() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let strategy = (config(Scope::Gwapi), requests(Scope::Gwapi));
        let (mut hits, mut all) = (0, 0);
        for _ in 0..200 {
            let tree = strategy.new_tree(&mut runner).expect("nothing is filtered");
            let (config, requests) = proptest::strategy::ValueTree::current(&tree);
            all += requests.len();
            hits += requests
                .iter()
                .filter(|request| oracle::route(&config, request.port, &request.head()).is_some())
                .count();
        }
        assert!(hits * 2 > all, "of {all} requests only {hits} find a rule");
    }

    #[test]
    fn requests_and_configurations_read_well() {
        let rule = HttpRule {
            key: RuleKey::new("ns/shop/0"),
            route: gwapi_model::NamespacedName::new("ns", "shop"),
            route_kind: gwapi_model::RouteKind::Http,
            name: None,
            order: RuleOrder { created: 7, route: "ns/shop".to_owned(), rule_index: 0 },
            listeners: [ListenerKey::new("web")].into(),
            hostnames: [Hostname::parse("*.a.test")].into(),
            matches: vec![
                HttpMatch {
                    path: PathMatch::Prefix("/a".into()),
                    method: Some("GET".to_owned()),
                    headers: vec![HeaderMatch {
                        name: "x-a".into(),
                        value: ValueMatch::Exact("1".into()),
                    }],
                    query_params: vec![QueryParamMatch {
                        name: "q".into(),
                        value: ValueMatch::Regex("[0-9]".into()),
                    }],
                },
                HttpMatch { path: PathMatch::Exact("/b".into()), ..HttpMatch::default() },
            ],
            filters: Vec::new(),
            backends: Vec::new(),
            timeouts: None,
            retry: None,
            session: None,
        };
        let resource = IrResource::HttpRule(Arc::new(rule));
        let config = GatewayConfig([(resource.key(), resource)].into());
        assert_eq!(
            show_config(&config),
            "rule ns/shop/0 (created 7, position 0) on web for *.a.test: PathPrefix /a GET x-a=1 ?q~[0-9] | Exact /b\n"
        );

        let request = Request {
            port: 80,
            host: "b.a.test".to_owned(),
            method: "POST".to_owned(),
            path: "/a/b".to_owned(),
            query: Some("q=1".to_owned()),
            headers: [(http::HeaderName::from_static("x-a"), http::HeaderValue::from_static("1"))]
                .into_iter()
                .collect(),
        };
        assert_eq!(request.to_string(), "curl -X POST 'http://b.a.test:80/a/b?q=1' -H 'x-a: 1'");
    }
}
