//! Laws of the choice among TLSRoutes, TCPRoutes and UDPRoutes: the answer is that of the [`oracle`], always.

use std::fmt;
use std::sync::Arc;

use gwapi_model::{NamespacedName, RouteKind};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{CounterExample, catching, check_law, oracle};
use crate::ir::*;
use crate::table::RouteTable;

/// What a client opens.
#[derive(Clone, Debug)]
pub enum Opening {
    /// A connection to a port of TLS.
    Tls {
        /// The port.
        port: u16,
        /// The server name of its ClientHello, in lower case.
        server_name: Option<String>,
    },
    /// A connection or a flow of datagrams to a listener of TCP or UDP, which has its port for itself.
    Plain(Arc<Listener>),
}

/// Something that chooses the rule for connections and datagrams.
pub trait StreamMatcher {
    /// Takes a configuration in.
    fn build(config: &GatewayConfig) -> Self;

    /// The rule that takes what a client opens.
    fn choose(&self, opening: &Opening) -> Option<RuleKey>;

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

impl StreamMatcher for RouteTable {
    fn build(config: &GatewayConfig) -> Self {
        Self::compile(config)
    }

    fn choose(&self, opening: &Opening) -> Option<RuleKey> {
        let rule = match opening {
            Opening::Tls { port, server_name } => {
                let name = server_name.as_deref();
                self.stream(self.listener_for_sni(*port, name)?, name)
            }
            Opening::Plain(listener) => self.stream(listener, None),
        };
        rule.map(|rule| rule.key.clone())
    }

    fn apply(&mut self, delta: &ConfigDelta, _config: &GatewayConfig) {
        *self = Self::apply(self, delta);
    }
}

/// Checks all laws of the choice among streams, 300 cases each.
///
/// # Panics
///
/// With a counter-example that reads well, if a law is broken.
pub fn laws<M: StreamMatcher>() {
    check_matcher::<M>(300).unwrap_or_else(|found| panic!("{found}"));
}

/// Checks all laws of the choice among streams (TS-3, L4-3).
///
/// # Errors
///
/// The smallest counter-example found, of the first law that is broken.
pub fn check_matcher<M: StreamMatcher>(cases: u32) -> Result<(), CounterExample> {
    answers_as_the_oracle::<M>(cases)?;
    changes_add_up::<M>(cases)
}

/// The matcher of a configuration answers as the oracle does.
///
/// # Errors
///
/// The smallest counter-example found.
pub fn answers_as_the_oracle<M: StreamMatcher>(cases: u32) -> Result<(), CounterExample> {
    check_law(
        "a matcher chooses among streams as a naive reading of the rules does",
        cases,
        &config(),
        show_config,
        |config| compare(&build::<M>(config)?, config),
    )
}

/// After any sequence of changes the matcher answers as the oracle does for what is left.
///
/// # Errors
///
/// The smallest counter-example found.
pub fn changes_add_up<M: StreamMatcher>(cases: u32) -> Result<(), CounterExample> {
    check_law(
        "changes of streams add up to a matcher of the final configuration",
        cases,
        &(config(), prop::collection::vec(delta(), 1..5)),
        |(config, deltas)| {
            let deltas = deltas.iter().map(show_delta).collect::<String>();
            format!("{}{deltas}", show_config(config))
        },
        |(start, deltas)| {
            let mut config = start.clone();
            let mut matcher = build::<M>(&config)?;
            for (number, delta) in (1..).zip(deltas) {
                config.apply(delta);
                catching(|| matcher.apply(delta, &config)).map_err(|panic| {
                    format!("expected  change {number} to be taken\ngot       {panic}")
                })?;
                compare(&matcher, &config)?;
            }
            Ok(())
        },
    )
}

fn build<M: StreamMatcher>(config: &GatewayConfig) -> Result<M, String> {
    catching(|| M::build(config)).map_err(|panic| format!("expected  a matcher\ngot       {panic}"))
}

/// Asks for all that there is to ask for: there are few names.
fn compare<M: StreamMatcher>(matcher: &M, config: &GatewayConfig) -> Result<(), String> {
    let name = |chosen: Option<RuleKey>| chosen.map_or("no rule".to_owned(), |key| key.to_string());
    for opening in openings() {
        let expected = oracle::stream(config, &opening);
        let got = catching(|| matcher.choose(&opening));
        if got.as_ref() != Ok(&expected) {
            return Err(format!(
                "opened    {opening}\nexpected  {}\ngot       {}",
                name(expected),
                got.map_or_else(|panic| panic, name)
            ));
        }
    }
    Ok(())
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls { port, server_name: Some(name) } => write!(f, "port {port} for {name}"),
            Self::Tls { port, server_name: None } => write!(f, "port {port} without a name"),
            Self::Plain(listener) => write!(f, "listener {}", listener.key),
        }
    }
}

fn show_config(config: &GatewayConfig) -> String {
    config.0.values().map(show_resource).collect()
}

fn show_delta(delta: &ConfigDelta) -> String {
    let removals = delta.removals.iter().map(|key| format!("  - {key}\n"));
    let upserts = delta.upserts.iter().map(|resource| format!("  + {}", show_resource(resource)));
    format!("then\n{}", removals.chain(upserts).collect::<String>())
}

fn show_resource(resource: &IrResource) -> String {
    let names = |hostnames: &[Hostname]| match hostnames {
        [] => "any name".to_owned(),
        _ => hostnames.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    match resource {
        IrResource::Listener(listener) => {
            let hostnames: Vec<_> = listener.hostname.iter().cloned().collect();
            format!("listener {} for {}, port {}\n", listener.key, names(&hostnames), listener.port)
        }
        IrResource::StreamRule(rule) => {
            let listeners: Vec<_> = rule.listeners.iter().map(ToString::to_string).collect();
            let RuleOrder { created, route, rule_index } = &rule.order;
            format!(
                "rule {} of {} {route} (created {created}, position {rule_index}) on {} for {}\n",
                rule.key,
                rule.route_kind.kind(),
                listeners.join(", "),
                names(&rule.hostnames)
            )
        }
        other => format!("{}\n", other.key()),
    }
}

/// Protocol, port and hostname of every listener there may be.
fn all_listeners() -> Vec<Arc<Listener>> {
    let ends = || ListenerProtocol::TlsTerminate { certificates: Vec::new() };
    let through = || ListenerProtocol::TlsPassthrough;
    let listeners = [
        ("any", 443, through(), ""),
        ("exact", 443, through(), "b.a.test"),
        ("wildcard", 443, ends(), "*.a.test"),
        ("wide", 443, ends(), "*.test"),
        ("alone", 444, ends(), "*.a.test"),
        ("tcp", 53, ListenerProtocol::Tcp, ""),
        ("tcp-too", 54, ListenerProtocol::Tcp, ""),
        // TCP has the same port.
        ("udp", 53, ListenerProtocol::Udp, ""),
    ];
    let listener = |(key, port, protocol, hostname): (&'static str, _, _, &str)| {
        Arc::new(Listener {
            key: ListenerKey::new(key),
            addresses: vec![[127, 0, 0, 1].into()],
            port,
            protocol,
            hostname: (!hostname.is_empty()).then(|| Hostname::parse(hostname)),
            filters: Vec::new(),
        })
    };
    listeners.into_iter().map(listener).collect()
}

const HOSTNAMES: [&str; 6] =
    ["b.a.test", "c.b.a.test", "a.test", "*.a.test", "*.b.a.test", "*.test"];
const SERVER_NAMES: [&str; 7] =
    ["a.test", "b.a.test", "c.b.a.test", "x.a.test", "x.y.b.a.test", "test", "other"];

fn openings() -> impl Iterator<Item = Opening> {
    let names = SERVER_NAMES.into_iter().map(|name| Some(name.to_owned())).chain([None]);
    let tls = names.flat_map(|server_name| {
        [443, 444].map(|port| Opening::Tls { port, server_name: server_name.clone() })
    });
    let plain = all_listeners().into_iter().filter(|listener| !listener.protocol.is_tls());
    tls.chain(plain.map(Opening::Plain))
}

/// Namespaces and names: as texts they stand in another order than by namespace and then by name, and that
/// of the keys is none of both.
const ROUTES: [(&str, &str); 6] = [
    ("team-a", "b"),
    ("team", "z"),
    ("team", "a"),
    ("team-a", "a"),
    ("other", "b"),
    ("other", "a-1"),
];

/// Configurations of few words, so that rules meet.
pub fn config() -> impl Strategy<Value = GatewayConfig> {
    let listeners = subsequence(all_listeners(), 1..=all_listeners().len());
    let rules = (0..ROUTES.len())
        .map(|index| prop::option::weighted(0.75, rule(index)))
        .collect::<Vec<_>>();
    (listeners, rules).prop_map(|(listeners, rules)| {
        let listeners = listeners.into_iter().map(IrResource::Listener);
        let rules = rules.into_iter().flatten().map(|rule| IrResource::StreamRule(Arc::new(rule)));
        GatewayConfig(listeners.chain(rules).map(|resource| (resource.key(), resource)).collect())
    })
}

/// Changes of the configurations that [`config`] makes; some remove what is not there.
pub fn delta() -> impl Strategy<Value = ConfigDelta> {
    let listeners: Vec<_> = all_listeners().into_iter().map(IrResource::Listener).collect();
    let keys: Vec<_> = listeners.iter().map(IrResource::key).collect();
    let rule_keys = (0..ROUTES.len()).map(|index| IrKey::StreamRule(rule_key(index)));
    let keys: Vec<_> = keys.into_iter().chain(rule_keys).collect();
    let rules = (0..ROUTES.len()).prop_flat_map(rule);
    let rules = rules.prop_map(|rule| IrResource::StreamRule(Arc::new(rule)));
    let upsert = prop_oneof![1 => select(listeners), 3 => rules];
    (prop::collection::vec(upsert, 0..3), prop::collection::vec(select(keys), 0..3))
        .prop_map(|(upserts, removals)| ConfigDelta { upserts, removals })
}

fn rule_key(index: usize) -> RuleKey {
    RuleKey::new(["f", "e", "d", "c", "b", "a"][index])
}

fn rule(index: usize) -> impl Strategy<Value = StreamRule> {
    let kinds = prop_oneof![3 => Just(RouteKind::Tls), 1 => Just(RouteKind::Tcp), 1 => Just(RouteKind::Udp)];
    let hostnames: Vec<_> = HOSTNAMES.iter().map(|name| Hostname::parse(name)).collect();
    let hostnames =
        prop_oneof![1 => Just(Vec::new()), 5 => subsequence(hostnames, 1..=3).prop_shuffle()];
    // Mostly of one age: then the name decides.
    let created = prop_oneof![3 => Just(1), 1 => Just(0), 1 => Just(2)];
    let listeners = subsequence(all_listeners(), 1..=4);
    (kinds, hostnames, created, listeners).prop_map(
        move |(route_kind, mut hostnames, created, listeners)| {
            let of_kind = |listener: &&Arc<Listener>| match route_kind {
                RouteKind::Tls => listener.protocol.is_tls(),
                RouteKind::Tcp => listener.protocol == ListenerProtocol::Tcp,
                _ => listener.protocol == ListenerProtocol::Udp,
            };
            let mut listeners: Vec<_> =
                listeners.iter().filter(of_kind).map(|listener| listener.key.clone()).collect();
            listeners.sort();
            if route_kind != RouteKind::Tls {
                hostnames.clear();
            }
            let (namespace, name) = ROUTES[index];
            StreamRule {
                key: rule_key(index),
                route: NamespacedName::new(namespace, name),
                route_kind,
                name: None,
                order: RuleOrder { created, route: format!("{namespace}/{name}"), rule_index: 0 },
                listeners: listeners.into(),
                hostnames: hostnames.into(),
                backends: Vec::new(),
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::strategy::ValueTree;

    use super::*;

    /// TS-3, L4-3.
    #[test]
    fn the_route_table_keeps_the_laws_of_streams() {
        laws::<RouteTable>();
    }

    /// A matcher that asks the oracle about another configuration than the one it was given.
    struct Bent<const HOW: u8>(GatewayConfig);

    impl<const HOW: u8> StreamMatcher for Bent<HOW> {
        fn build(config: &GatewayConfig) -> Self {
            let mut config = config.clone();
            for resource in config.0.values_mut() {
                let IrResource::StreamRule(rule) = resource else { continue };
                let rule = Arc::make_mut(rule);
                match HOW {
                    NO_AGE => rule.order.created = 0,
                    // By namespace and then by name, where the text has to decide.
                    BY_PARTS => rule.order.route = rule.order.route.replace('/', "\0"),
                    NO_NAME => rule.order.route.clear(),
                    _ => {}
                }
            }
            Self(config)
        }

        fn choose(&self, opening: &Opening) -> Option<RuleKey> {
            oracle::stream(&self.0, opening)
        }

        fn apply(&mut self, delta: &ConfigDelta, config: &GatewayConfig) {
            match HOW {
                FORGETFUL => self
                    .0
                    .apply(&ConfigDelta { upserts: delta.upserts.clone(), removals: Vec::new() }),
                _ => *self = Self::build(config),
            }
        }
    }

    const STRAIGHT: u8 = 0;
    const NO_AGE: u8 = 1;
    const BY_PARTS: u8 = 2;
    const NO_NAME: u8 = 3;
    const FORGETFUL: u8 = 4;

    /// TS-3, L4-3.
    #[test]
    fn matchers_that_order_streams_otherwise_or_miss_a_change_are_caught() {
        check_matcher::<Bent<STRAIGHT>>(100).expect("it is the oracle itself");
        for found in [
            answers_as_the_oracle::<Bent<NO_AGE>>(3000),
            answers_as_the_oracle::<Bent<BY_PARTS>>(3000),
            answers_as_the_oracle::<Bent<NO_NAME>>(3000),
        ] {
            let found = found.expect_err("age decides, and then the name as one text");
            let rules = found.case.lines().filter(|line| line.starts_with("rule ")).count();
            assert!(rules >= 2, "two rules meet: {found}");
        }
        let found = changes_add_up::<Bent<FORGETFUL>>(3000).expect_err("it forgets removals");
        assert!(found.case.contains("\n  - "), "the removal is shown: {found}");
    }

    #[test]
    fn generated_streams_reach_every_way_of_choosing() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut reached = BTreeSet::new();
        for _ in 0..300 {
            let config = config().new_tree(&mut runner).expect("nothing is filtered").current();
            for opening in openings() {
                let Some(key) = oracle::stream(&config, &opening) else { continue };
                let Some(IrResource::StreamRule(rule)) = config.0.get(&IrKey::StreamRule(key))
                else {
                    panic!("it is a rule of the configuration");
                };
                reached.insert(match &opening {
                    Opening::Plain(listener) if listener.protocol == ListenerProtocol::Udp => "UDP",
                    Opening::Plain(_) => "TCP",
                    Opening::Tls { server_name: None, .. } => "no name",
                    Opening::Tls { server_name: Some(name), .. } => {
                        let mut names = rule.hostnames.iter().filter(|it| it.matches(name));
                        match names.next() {
                            None => "any name",
                            Some(Hostname::Exact(_)) => "exact",
                            Some(Hostname::Wildcard(_)) => "wildcard",
                        }
                    }
                });
            }
        }
        let expected = ["TCP", "UDP", "any name", "exact", "no name", "wildcard"];
        assert_eq!(reached, expected.into());
    }
}
