//! What a route table allocates: a lookup nothing, whatever it has to look at, and an edit what it
//! changes, whatever else there is.

use std::sync::Arc;

use gwapi_model::NamespacedName;
use gwapi_translate::RouteTable;
use gwapi_translate::ir::*;
use gwapi_translate::table::{Authority, RequestHead};
use http::{HeaderMap, HeaderValue};

fn listener(key: &str, hostname: Option<&str>) -> IrResource {
    IrResource::Listener(Arc::new(Listener {
        key: ListenerKey::new(key),
        addresses: vec![[127, 0, 0, 1].into()],
        port: 80,
        protocol: ListenerProtocol::Http,
        hostname: hostname.map(Hostname::parse),
        filters: Vec::new(),
    }))
}

fn rule(key: &str, hostnames: &[&str], matches: Vec<HttpMatch>) -> IrResource {
    IrResource::HttpRule(Arc::new(HttpRule {
        key: RuleKey::new(key),
        route: NamespacedName::new("ns", key),
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
    }))
}

fn prefix(prefix: &str) -> HttpMatch {
    HttpMatch { path: PathMatch::Prefix(prefix.into()), ..HttpMatch::default() }
}

/// Rules of every kind; all but the last fail for the request only after a good look at it.
fn table() -> RouteTable {
    let exact = |text: &str| ValueMatch::Exact(text.into());
    let regex = |text: &str| ValueMatch::Regex(text.into());
    let header = |value| HttpMatch {
        headers: vec![HeaderMatch { name: "x-list".into(), value }],
        ..prefix("/a/b")
    };
    let param = |value| HttpMatch {
        query_params: vec![QueryParamMatch { name: "a b".into(), value }],
        ..prefix("/a/b")
    };
    let pattern =
        HttpMatch { path: PathMatch::Regex("/[a-z]+/[a-z]+".into()), ..HttpMatch::default() };
    let method = HttpMatch { method: Some("PUT".to_owned()), ..prefix("/a") };
    RouteTable::default().apply(&ConfigDelta {
        upserts: vec![
            listener("exact", Some("x.y.example.com")),
            listener("web", Some("*.example.com")),
            listener("any", None),
            rule("exact", &["a.b.example.com"], vec![pattern, method, header(exact("1,2,3"))]),
            rule("long", &["*.b.example.com"], vec![header(regex("[7-9]")), param(exact("x y"))]),
            rule("short", &["*.com"], vec![param(regex("[0-9]+")), header(exact("1, 2"))]),
            rule("any", &[], vec![prefix("")]),
        ],
        removals: Vec::new(),
    })
}

#[test]
fn lookups_allocate_nothing() {
    let table = table();
    let mut headers = HeaderMap::new();
    headers.append("x-list", HeaderValue::from_static("1"));
    headers.append("x-list", HeaderValue::from_static("2"));
    let request = |path, query| RequestHead {
        host: "a.b.example.com",
        authority: "a.b.example.com:80",
        path,
        query: Some(query),
        method: "GET",
        headers: &headers,
    };
    let joined = request("/a/b/c/d/e/f/g", "x=1&a+b=%78%20z&a%20b=x+y");
    let nothing = request("/none/of/them", "");

    let lookup = || {
        let listener =
            table.listener_for_host(80, "a.b.example.com").expect("*.example.com takes it");
        let by_sni = table.listener_for_sni(80, None).expect("there is one without hostname");
        assert_eq!((listener.key.as_str(), by_sni.key.as_str()), ("web", "any"));
        assert!(matches!(table.authority(80, listener, "a.b.example.com"), Authority::Serve(_)));
        let found = |request| table.route(listener, request).map(|found| found.rule.key.as_str());
        assert_eq!(
            found(&joined),
            Some("short"),
            "by its second match, which joins the header's lines"
        );
        assert_eq!(found(&nothing), Some("any"));
    };

    // Regular expressions make their scratch space when a thread uses them first.
    lookup();
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| lookup()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// An edit of the last of many rules allocates little, and no more among 10,000 rules than among
/// 1,000: what did not change is shared. (Bytes are counted, for time is not repeatable.)
#[test]
fn an_edit_costs_what_it_changes() {
    type Shape = fn(usize) -> IrResource;
    let shapes: [(&str, Shape); 2] = [
        ("prefixes of one host", |at| {
            rule(&at.to_string(), &["a.test"], vec![prefix(&format!("/p{at}"))])
        }),
        ("a host each", |at| rule(&at.to_string(), &[&format!("h{at}.test")], vec![prefix("")])),
    ];
    for (name, shape) in shapes {
        let cost = |rules: usize| {
            let upserts: Vec<_> = (0..rules).map(shape).chain([listener("web", None)]).collect();
            let table = RouteTable::default().apply(&ConfigDelta { upserts, removals: Vec::new() });
            let IrResource::HttpRule(last) = shape(rules - 1) else { panic!("it makes rules") };
            let matches = [last.matches.clone(), vec![prefix("/new")]].concat();
            let edited = IrResource::HttpRule(Arc::new(HttpRule { matches, ..(*last).clone() }));
            let delta = ConfigDelta { upserts: vec![edited], removals: Vec::new() };
            allocation_counter::measure(|| drop(table.apply(&delta))).bytes_total
        };
        let (few, many) = (cost(1_000), cost(10_000));
        assert!(many < 64 * 1024 && many < 2 * few, "{name}: {few} bytes, then {many}");
    }
}

#[test]
fn allocations_are_counted() {
    let counted = allocation_counter::measure(|| drop(vec![std::hint::black_box(1)]));
    assert_eq!(counted.count_total, 1, "or else the tests above prove nothing");
}
