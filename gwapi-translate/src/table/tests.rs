//! The table rule by rule. That it answers as the rules say in general is a law in
//! [`crate::testing::matching`].

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::ir::*;
use crate::testing::matching::{Request, config};

fn listener(key: &str, port: u16, hostname: Option<&str>) -> IrResource {
    IrResource::Listener(Arc::new(Listener {
        key: ListenerKey::new(key),
        addresses: vec![[127, 0, 0, 1].into()],
        port,
        protocol: ListenerProtocol::Http,
        hostname: hostname.map(Hostname::parse),
        filters: Vec::new(),
    }))
}

/// A rule on the listener `web`; what it is called decides ties.
fn rule(key: &str, hostnames: &[&str], matches: Vec<HttpMatch>) -> HttpRule {
    HttpRule {
        key: RuleKey::new(key),
        route: gwapi_model::NamespacedName::new("ns", key),
        route_kind: gwapi_model::RouteKind::Http,
        name: None,
        order: RuleOrder { created: 0, route: format!("ns/{key}"), rule_index: 0 },
        listeners: [ListenerKey::new("web")].into(),
        hostnames: hostnames.iter().map(|name| Hostname::parse(name)).collect(),
        matches,
        filters: Vec::new(),
        backends: Vec::new(),
        timeouts: None,
        retry: None,
        session: None,
    }
}

fn path(path: PathMatch) -> HttpMatch {
    HttpMatch { path, ..HttpMatch::default() }
}

fn prefix(text: &str) -> HttpMatch {
    path(PathMatch::Prefix(text.into()))
}

fn exact(text: &str) -> HttpMatch {
    path(PathMatch::Exact(text.into()))
}

fn regex(text: &str) -> HttpMatch {
    path(PathMatch::Regex(text.into()))
}

fn with_header(http_match: HttpMatch, name: &str, value: &str) -> HttpMatch {
    let header = HeaderMatch { name: name.into(), value: ValueMatch::Exact(value.into()) };
    HttpMatch { headers: [http_match.headers, vec![header]].concat(), ..http_match }
}

fn with_param(http_match: HttpMatch, name: &str, value: &str) -> HttpMatch {
    let param = QueryParamMatch { name: name.into(), value: ValueMatch::Exact(value.into()) };
    HttpMatch { query_params: [http_match.query_params, vec![param]].concat(), ..http_match }
}

fn with_method(http_match: HttpMatch, method: &str) -> HttpMatch {
    HttpMatch { method: Some(method.to_owned()), ..http_match }
}

fn table(resources: impl IntoIterator<Item = IrResource>) -> RouteTable {
    RouteTable::default()
        .apply(&ConfigDelta { upserts: resources.into_iter().collect(), removals: Vec::new() })
}

/// A table of one listener for every host, and these rules.
fn web(rules: impl IntoIterator<Item = HttpRule>) -> RouteTable {
    let rules = rules.into_iter().map(|rule| IrResource::HttpRule(Arc::new(rule)));
    table([listener("web", 80, None)].into_iter().chain(rules))
}

/// `METHOD host/path?query name=value ...`: the key and the index of the match, or nothing.
fn ask(table: &RouteTable, request: &str) -> String {
    let mut words = request.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (target, query) = match target.split_once('?') {
        Some((target, query)) => (target, Some(query.to_owned())),
        None => (target, None),
    };
    let slash = target.find('/').unwrap_or(target.len());
    let mut headers = HeaderMap::new();
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        let name: HeaderName = name.parse().expect("a header name");
        headers.append(name, HeaderValue::from_str(value).expect("a header value"));
    }
    let (host, path) = (target[..slash].to_owned(), target[slash..].to_owned());
    let request = Request { port: 80, host, method, path, query, headers };
    let listener = table.listener_for_host(80, &request.host);
    match listener.and_then(|listener| table.route(listener, &request.head())) {
        Some(found) => format!("{} {}", found.rule.key, found.match_index),
        None => "none".to_owned(),
    }
}

#[track_caller]
fn assert_answers(table: &RouteTable, answers: &[(&str, &str)]) {
    for (request, answer) in answers {
        assert_eq!(ask(table, request), *answer, "{request}");
    }
}

#[test]
fn li_1_the_most_specific_listener_is_chosen() {
    let table = table([
        listener("exact", 80, Some("www.example.com")),
        listener("long", 80, Some("*.example.com")),
        listener("short", 80, Some("*.com")),
        listener("any", 80, None),
        listener("other port", 81, Some("www.example.com")),
    ]);
    let chosen = |port, host| table.listener_for_host(port, host).map(|found| found.key.as_str());
    assert_eq!(chosen(80, "www.example.com"), Some("exact"));
    assert_eq!(chosen(80, "a.b.example.com"), Some("long"));
    assert_eq!(chosen(80, "example.com"), Some("short"), "a wildcard never takes its apex");
    assert_eq!(chosen(80, "com"), Some("any"));
    assert_eq!(chosen(81, "www.example.com"), Some("other port"));
    assert_eq!(chosen(81, "example.com"), None);
    assert_eq!(chosen(82, "www.example.com"), None);
}

#[test]
fn li_2_routes_of_a_less_specific_listener_are_not_asked() {
    let mut elsewhere = rule("elsewhere", &[], vec![prefix("")]);
    elsewhere.listeners = [ListenerKey::new("any")].into();
    let table = table([
        listener("any", 80, None),
        listener("web", 80, Some("*.example.com")),
        IrResource::HttpRule(Arc::new(elsewhere)),
        IrResource::HttpRule(Arc::new(rule("here", &[], vec![prefix("/here")]))),
    ]);
    assert_answers(
        &table,
        &[
            ("GET a.example.com/here", "here 0"),
            ("GET a.example.com/", "none"),
            ("GET example.com/", "elsewhere 0"),
        ],
    );
}

#[test]
fn li_4_without_or_with_an_unknown_server_name_the_listener_without_hostname_is_taken() {
    let named = [listener("named", 443, Some("a.test"))];
    let with_any = table(named.iter().cloned().chain([listener("any", 443, None)]));
    let chosen = |table: &RouteTable, sni: Option<&str>| {
        table.listener_for_sni(443, sni).map(|found| found.key.to_string())
    };
    assert_eq!(chosen(&with_any, Some("a.test")).as_deref(), Some("named"));
    assert_eq!(chosen(&with_any, Some("b.test")).as_deref(), Some("any"));
    assert_eq!(chosen(&with_any, None).as_deref(), Some("any"));
    let without_any = table(named);
    assert_eq!(chosen(&without_any, Some("b.test")), None);
    assert_eq!(chosen(&without_any, None), None);
}

#[test]
fn li_5_a_connection_carries_only_requests_that_are_its_listeners() {
    let exact = listener("exact", 443, Some("www.example.com"));
    let wildcard = listener("wildcard", 443, Some("*.example.com"));
    let any = listener("any", 443, None);
    let verdict = |table: &RouteTable, key: &str, host: &str| {
        let all = [&exact, &wildcard, &any];
        let listener = all.into_iter().find_map(|resource| match resource {
            IrResource::Listener(listener) if listener.key.as_str() == key => Some(listener),
            _ => None,
        });
        match table.authority(443, listener.expect("a known key"), host) {
            Authority::Serve(listener) => format!("serve {}", listener.key),
            Authority::Misdirected => "421".to_owned(),
            Authority::Unknown => "404".to_owned(),
        }
    };

    let named = table([exact.clone(), wildcard.clone()]);
    assert_eq!(verdict(&named, "wildcard", "www.example.com"), "421", "(a) a more specific one");
    assert_eq!(verdict(&named, "exact", "b.example.com"), "421", "(b) another one");
    assert_eq!(verdict(&named, "wildcard", "b.example.com"), "serve wildcard", "(c)");
    assert_eq!(verdict(&named, "exact", "example.org"), "404", "(d) no one");

    let all = table([exact.clone(), wildcard.clone(), any.clone()]);
    assert_eq!(verdict(&all, "exact", "example.org"), "421", "(b) the one without hostname");
    assert_eq!(verdict(&all, "any", "www.example.com"), "421", "(a) any gives way to the named");
    assert_eq!(verdict(&all, "any", "example.org"), "serve any", "(c)");
}

#[test]
fn hr_1_hostnames_as_written_come_before_everything_else() {
    let table = web([
        rule("any", &[], vec![exact("/a/b")]),
        rule("short", &["*.com"], vec![exact("/a/b")]),
        rule("long", &["*.example.com"], vec![prefix("/a/b")]),
        rule("exact", &["www.example.com"], vec![prefix("")]),
    ]);
    assert_answers(
        &table,
        &[
            ("GET www.example.com/a/b", "exact 0"),
            ("GET x.example.com/a/b", "long 0"),
            ("GET example.com/a/b", "short 0"),
            ("GET example.org/a/b", "any 0"),
        ],
    );
}

#[test]
fn hr_4_what_one_hostname_does_not_take_falls_to_the_next() {
    let table = web([
        rule("a", &["very.specific.com"], vec![with_header(prefix("/s1"), "x", "1")]),
        rule("c", &["*.specific.com"], vec![prefix("/s3"), prefix("/s1")]),
        rule("any", &[], vec![prefix("")]),
    ]);
    assert_answers(
        &table,
        &[
            ("GET very.specific.com/s1 x=1", "a 0"),
            ("GET very.specific.com/s1", "c 1"),
            ("GET very.specific.com/s3", "c 0"),
            ("GET very.specific.com/s4", "any 0"),
        ],
    );
}

#[test]
fn hr_2_paths_come_before_methods_before_headers_before_query_params() {
    let wide = with_param(with_header(with_method(prefix(""), "GET"), "x", "1"), "q", "1");
    let table = web([
        rule("prefix", &[], vec![wide.clone()]),
        rule("longer", &[], vec![prefix("/a")]),
        rule("method", &[], vec![with_method(prefix("/m"), "GET")]),
        rule("header", &[], vec![with_header(prefix("/m"), "x", "1")]),
        rule("param", &[], vec![with_param(with_param(prefix("/m"), "q", "1"), "r", "1")]),
        rule("regex", &[], vec![regex("/(a|b)/c")]),
        rule("exact", &[], vec![exact("/b/c")]),
        rule("longest", &[], vec![with_method(prefix("/a/c"), "GET")]),
    ]);
    assert_answers(
        &table,
        &[
            ("GET h/a?q=1 x=1", "longer 0"),
            ("GET h/b?q=1 x=1", "prefix 0"),
            ("GET h/a/c", "regex 0"),
            ("GET h/b/c", "exact 0"),
            ("GET h/a/c/d", "longest 0"),
            ("GET h/m?q=1&r=1 x=1", "method 0"),
            ("PUT h/m?q=1&r=1 x=1", "header 0"),
            ("PUT h/m?q=1&r=1", "param 0"),
            ("PUT h/m?q=1", "none"),
        ],
    );
}

/// RT-15: both routes have their place.
#[test]
fn hr_2_ties_go_to_the_older_route_then_by_name_rule_and_match() {
    let aged = |key: &str, created, route: &str, rule_index| HttpRule {
        order: RuleOrder { created, route: route.to_owned(), rule_index },
        ..rule(key, &[], vec![exact("/none"), prefix("/a"), prefix("/a")])
    };
    // Keys run against all of it: they decide nothing here.
    let rules = [
        aged("z oldest", 1, "z/z", 9),
        aged("y first by name", 2, "a/a", 8),
        aged("x first rule", 2, "a/b", 0),
        aged("w second rule", 2, "a/b", 1),
    ];
    for first in 0..rules.len() {
        let table = web(rules[first..].iter().rev().cloned());
        assert_eq!(ask(&table, "GET h/a"), format!("{} 1", rules[first].key));
    }
}

#[test]
fn gr_8_of_two_routes_of_one_name_and_age_the_http_route_comes_first() {
    let of_kind = |key: &str, route_kind, created, rule_index| HttpRule {
        route_kind,
        order: RuleOrder { created, route: "a/r".to_owned(), rule_index },
        ..rule(key, &[], vec![prefix("/a")])
    };
    // Keys run against all of it.
    let second = of_kind("z", gwapi_model::RouteKind::Http, 2, 1);
    let call = of_kind("y", gwapi_model::RouteKind::Grpc, 2, 0);
    assert_eq!(ask(&web([second.clone(), call.clone()]), "GET h/a"), "z 0");
    let older = of_kind("x", gwapi_model::RouteKind::Grpc, 1, 7);
    assert_eq!(ask(&web([second, call, older]), "GET h/a"), "x 0");
}

#[test]
fn hr_3_the_longer_pattern_comes_first_and_a_broken_one_takes_nothing() {
    let table = web([
        rule("short", &[], vec![regex("/.*")]),
        rule("long", &[], vec![regex("/[a-c]+")]),
        rule("broken", &[], vec![regex("/[a-c]+(((("), exact("/broken")]),
    ]);
    assert_answers(
        &table,
        &[("GET h/abc", "long 0"), ("GET h/abcd", "short 0"), ("GET h/broken", "broken 1")],
    );
}

#[test]
fn gr_3_each_pattern_of_a_call_takes_its_own_element_whole() {
    let call = |service: Option<&str>, method: Option<&str>| {
        let (service, method) = (service.map(Arc::from), method.map(Arc::from));
        path(PathMatch::GrpcRegex { service, method })
    };
    let table = web([
        rule("anchored", &[], vec![call(Some("^com[.].*$"), Some("^Get.*$"))]),
        rule("service", &[], vec![call(Some("org[.].*"), None)]),
        rule("method", &[], vec![call(None, Some("Add|Sub"))]),
        rule("broken", &[], vec![call(Some(".*"), Some("("))]),
    ]);
    assert_answers(
        &table,
        &[
            ("GET h/com.acme.Users/GetUser", "anchored 0"),
            ("GET h/com.acme.Users/SetUser", "none"),
            ("GET h/org.beta.X/Any", "service 0"),
            ("GET h/org.beta.X/a/b", "none"),
            ("GET h/org.beta.X", "none"),
            ("GET h/net.X/Sub", "method 0"),
            ("GET h/net.X/Subtract", "none"),
            ("GET h//Sub", "none"),
        ],
    );
}

#[test]
fn hm_1_and_2_exact_by_byte_and_prefix_by_element() {
    let table = web([
        rule("exact", &[], vec![exact("/exact")]),
        rule("prefix", &[], vec![prefix("/abc")]),
        rule("deep", &[], vec![prefix("/abc/d/e")]),
    ]);
    assert_answers(
        &table,
        &[
            ("GET h/exact", "exact 0"),
            ("GET h/exact/", "none"),
            ("GET h/Exact", "none"),
            ("GET h/abc", "prefix 0"),
            ("GET h/abc/", "prefix 0"),
            ("GET h/abc/d", "prefix 0"),
            ("GET h/abc/d/e", "deep 0"),
            ("GET h/abc/d/ef", "prefix 0"),
            ("GET h/abc/d/e/f/g/h", "deep 0"),
            ("GET h/abcd", "none"),
        ],
    );
}

#[test]
fn hm_5_every_header_must_match_with_one_of_its_values_or_all_joined() {
    let both = with_header(with_header(prefix(""), "a", "1"), "b", "2");
    let table = web([
        rule("both", &[], vec![both]),
        rule("joined", &[], vec![with_header(prefix(""), "list", "1,2")]),
    ]);
    assert_answers(
        &table,
        &[
            ("GET h/ A=1 B=2", "both 0"),
            ("GET h/ a=1", "none"),
            ("GET h/ a=1 b=3", "none"),
            ("GET h/ a=0 a=1 b=2", "both 0"),
            ("GET h/ list=1 list=2", "joined 0"),
            ("GET h/ list=1,2", "joined 0"),
            ("GET h/ list=2 list=1", "none"),
        ],
    );
}

#[test]
fn hm_5_the_host_is_the_one_of_the_request_and_not_of_a_field_beside_it() {
    let by_pattern = HeaderMatch { name: "host".into(), value: ValueMatch::Regex("b[.].*".into()) };
    let by_pattern = HttpMatch { headers: vec![by_pattern], ..prefix("") };
    let table = web([
        rule("exact", &[], vec![with_header(prefix(""), "host", "a.test")]),
        rule("pattern", &[], vec![by_pattern]),
    ]);
    assert_answers(
        &table,
        &[
            ("GET a.test/", "exact 0"),
            ("GET a.test/ host=c.test", "exact 0"),
            ("GET b.test/", "pattern 0"),
            ("GET c.test/", "none"),
            ("GET c.test/ host=a.test", "none"),
            ("GET c.test/ host=b.test", "none"),
        ],
    );
}

#[test]
fn hm_6_the_first_value_of_each_query_param_must_match() {
    let empty = with_param(prefix(""), "empty", "");
    let table = web([
        rule("q", &[], vec![with_param(prefix(""), "q", "a b")]),
        rule("empty", &[], vec![empty]),
    ]);
    assert_answers(
        &table,
        &[
            ("GET h/?x=1&q=a%20b", "q 0"),
            ("GET h/?q=a+b&q=c", "q 0"),
            ("GET h/?q=c&q=a+b", "none"),
            ("GET h/?Q=a+b", "none"),
            ("GET h/?empty", "empty 0"),
            ("GET h/?empty=", "empty 0"),
            ("GET h/?empty=1", "none"),
            ("GET h/", "none"),
        ],
    );
}

#[test]
fn a_table_that_lost_everything_holds_nothing() {
    let rules = [
        rule(
            "a",
            &["a.test", "a.test", "*.test"],
            vec![exact("/a"), prefix("/a"), regex("/a"), regex("(")],
        ),
        rule("b", &[], vec![prefix("/a")]),
    ];
    let full = web(rules);
    let removals = ["a", "b"].map(|key| IrKey::HttpRule(RuleKey::new(key)));
    let removals = removals.into_iter().chain([IrKey::Listener(ListenerKey::new("web"))]);
    let empty = full.apply(&ConfigDelta { upserts: Vec::new(), removals: removals.collect() });
    assert!(empty.rules.is_empty() && empty.listeners.is_empty() && empty.ports.is_empty());
    assert!(empty.routes.is_empty());
    assert_eq!(ask(&full, "GET a.test/a"), "a 0", "the old table is as it was");
}

#[test]
fn the_last_word_on_a_key_counts() {
    let old = IrResource::HttpRule(Arc::new(rule("a", &[], vec![prefix("/old")])));
    let new = IrResource::HttpRule(Arc::new(rule("a", &[], vec![prefix("/new")])));
    let delta = ConfigDelta { removals: vec![old.key()], upserts: vec![old, new] };
    for table in [web([]), web([rule("a", &[], vec![prefix("/oldest")])])] {
        let table = table.apply(&delta);
        assert_answers(
            &table,
            &[("GET h/new", "a 0"), ("GET h/old", "none"), ("GET h/oldest", "none")],
        );
    }
}

#[test]
fn a_table_can_be_handed_to_every_core() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<RouteTable>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// HR-2 and HR-3 as a law: of two different matches one comes first, and there are no circles.
    #[test]
    fn precedence_is_a_total_order(config in config(crate::testing::matching::Scope::Gwapi)) {
        let matches: Vec<_> = config
            .http_rules()
            .flat_map(|rule| (0..rule.matches.len()).map(move |index| (rule, index)))
            .take(12)
            .collect();
        let of = |at: usize| Precedence::of(matches[at].0, matches[at].1);
        for a in 0..matches.len() {
            for b in 0..matches.len() {
                prop_assert_eq!(of(a).cmp(&of(b)), of(b).cmp(&of(a)).reverse());
                prop_assert_eq!(of(a) == of(b), a == b, "only a match itself is its equal");
                for c in 0..matches.len() {
                    prop_assert!(!(of(a) < of(b) && of(b) < of(c)) || of(a) < of(c));
                }
            }
        }
    }
}
