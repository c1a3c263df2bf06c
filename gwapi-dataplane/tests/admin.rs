//! The admin server of a running proxy.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gwapi_dataplane::{ConfigUpdate, Limits, ProxyBuilder, ProxyHandle};
use gwapi_model::{NamespacedName, SecretBytes};
use gwapi_translate::ir::{
    BackendTarget, Certificate, CertificateKey, GatewayConfig, HttpFilter, HttpMatch, HttpRule,
    IrResource, Listener, ListenerKey, ListenerProtocol, Redirect, RuleKey, RuleOrder,
    WeightedBackend,
};

const WAIT: Duration = Duration::from_secs(20);

/// Attempts at a port that another program took in between.
const ATTEMPTS: usize = 20;

fn gateway() -> NamespacedName {
    NamespacedName::new("default", "web")
}

fn listener(port: u16, protocol: ListenerProtocol) -> Listener {
    Listener {
        key: ListenerKey::new("web"),
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        port,
        protocol,
        hostname: None,
        filters: Vec::new(),
    }
}

/// A rule that answers with a redirect: it needs no backend.
fn redirect() -> HttpRule {
    HttpRule {
        key: RuleKey::new("shop/away/0"),
        route: NamespacedName::new("shop", "away"),
        route_kind: gwapi_model::RouteKind::Http,
        name: None,
        order: RuleOrder { created: 0, route: "shop/away".to_owned(), rule_index: 0 },
        listeners: [ListenerKey::new("web")].into(),
        hostnames: ["shop.example.com".to_owned().into()].into(),
        matches: vec![HttpMatch::default()],
        filters: vec![HttpFilter::Redirect(Redirect {
            scheme: None,
            hostname: Some("away.example.com".to_owned()),
            port: None,
            path: None,
            status: 302,
        })],
        backends: vec![WeightedBackend {
            weight: 1,
            target: BackendTarget::Invalid("there is none".to_owned()),
            filters: Vec::new(),
        }],
        timeouts: None,
        retry: None,
        session: None,
    }
}

/// A proxy with an admin server that serves `resources` on a free port.
fn proxy(resources: impl Fn(u16) -> Vec<IrResource>) -> (ProxyHandle, SocketAddr) {
    for _ in 0..ATTEMPTS {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let proxy = ProxyBuilder::new().workers(2).admin((Ipv4Addr::LOCALHOST, 0).into());
        let proxy = proxy.start().unwrap();
        assert_eq!(get(&proxy, "/readyz").0, 503, "nothing is served yet");
        if apply(&proxy, resources(free.port())) {
            return (proxy, free);
        }
    }
    panic!("no port stays free");
}

/// Serves resources; whether every port could be bound.
fn apply(proxy: &ProxyHandle, resources: Vec<IrResource>) -> bool {
    let target = GatewayConfig(resources.into_iter().map(|it| (it.key(), it)).collect());
    let report = proxy.apply(ConfigUpdate {
        gateways: [(gateway(), GatewayConfig::default().delta_to(&target))].into(),
        removed_gateways: Vec::new(),
    });
    report.feedback[&gateway()].unbound.is_empty()
}

/// Asks the admin server.
fn get(proxy: &ProxyHandle, path: &str) -> (u16, String) {
    let address = proxy.admin_address().expect("there is an admin server");
    ask(address, &address.to_string(), path)
}

fn ask(address: SocketAddr, host: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&address, WAIT).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Asks for metrics until all lines are there: a request counts when its connection's task is
/// done with it, a moment after the client is.
fn until_metrics(proxy: &ProxyHandle, lines: &[&str]) {
    let deadline = Instant::now() + WAIT;
    loop {
        let (_, page) = get(proxy, "/metrics");
        let missing = lines.iter().find(|line| page.lines().all(|found| found != **line));
        match missing {
            None => return,
            Some(line) => assert!(Instant::now() < deadline, "{line}\nis not in\n{page}"),
        }
    }
}

#[test]
fn requests_are_counted_by_route_and_what_is_served_can_be_read_back() {
    let (proxy, address) = proxy(|port| {
        let listener = listener(port, ListenerProtocol::Http);
        vec![IrResource::Listener(listener.into()), IrResource::HttpRule(Arc::new(redirect()))]
    });
    assert_eq!(get(&proxy, "/readyz").0, 200);
    for _ in 0..3 {
        assert_eq!(ask(address, "shop.example.com", "/").0, 302);
    }
    assert_eq!(ask(address, "unknown.example.com", "/").0, 404);
    let labels = r#"gateway="default/web",listener="web""#;
    until_metrics(
        &proxy,
        &[
            &format!(r#"gwapi_http_requests_total{{{labels},route="shop/away",code="302"}} 3"#),
            &format!(r#"gwapi_http_requests_total{{{labels},route="",code="404"}} 1"#),
            &format!("gwapi_connections_total{{{labels}}} 4"),
            &format!("gwapi_connections_active{{{labels}}} 0"),
            r#"gwapi_config_resources{kind="HttpRule"} 1"#,
            "gwapi_config_generation 1.0",
        ],
    );

    let (_, config) = get(&proxy, "/config");
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["generation"], 1);
    assert_eq!(config["sockets"][0]["address"], address.to_string());
    let served = &config["gateways"]["default/web"];
    assert_eq!(served["listeners"][0]["port"], address.port());
    assert_eq!(served["http_rules"][0]["hostnames"][0], "shop.example.com");
}

#[test]
fn connections_that_break_because_of_their_client_are_counted_by_reason() {
    let (proxy, address) =
        proxy(|port| vec![IrResource::Listener(listener(port, ListenerProtocol::Http).into())]);
    let bad_preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 64]].concat();
    let big = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    for bytes in [b"this is not HTTP\r\n\r\n", &bad_preface[..], big.as_bytes()] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        // It ends when the proxy closes; with something unread that is a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let labels = r#"gateway="default/web",listener="web""#;
    let failed =
        |reason| format!(r#"gwapi_connection_failures_total{{{labels},reason="{reason}"}} 1"#);
    until_metrics(
        &proxy,
        &[&failed("malformed"), &failed("frame_size"), &failed("head_too_large")],
    );
}

/// The metrics of a page in the OpenMetrics format, with their types, each by the name of its series.
fn metrics(page: &str) -> BTreeSet<(String, String)> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let name = |(name, kind): (&str, &str)| match kind {
        "counter" => (format!("{name}_total"), kind.to_owned()),
        "info" => (format!("{name}_info"), kind.to_owned()),
        _ => (name.to_owned(), kind.to_owned()),
    };
    types.map(name).collect()
}

#[test]
fn the_metrics_are_those_of_the_documentation() {
    let limits = Limits { max_memory_bytes: Some(1 << 40), ..Limits::default() };
    let proxy =
        ProxyBuilder::new().workers(1).limits(limits).admin((Ipv4Addr::LOCALHOST, 0).into());
    let proxy = proxy.start().unwrap();
    // Some are there once there is a configuration.
    proxy.apply(ConfigUpdate::default());
    // Memory is looked after by a thread of its own.
    let of_memory = ["gwapi_memory_bytes", "gwapi_memory_limit_bytes"];
    let of_memory = of_memory.map(|name| format!("# TYPE {name} gauge"));
    until_metrics(&proxy, &of_memory.each_ref().map(String::as_str));
    let (_, page) = get(&proxy, "/metrics");
    let documentation = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/standalone.md");
    let documentation = std::fs::read_to_string(documentation).unwrap();
    let mut documented = BTreeSet::new();
    for row in documentation.lines().filter(|line| line.starts_with("| `gwapi_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        // Two of one type, or of two types in the same order.
        let names: Vec<&str> = cells[1].split(", ").collect();
        let types: Vec<&str> = cells[2].split(", ").collect();
        for (position, name) in names.into_iter().enumerate() {
            let kind = types.get(position).unwrap_or(&types[0]);
            documented.insert((name.trim_matches('`').to_owned(), (*kind).to_owned()));
        }
    }
    assert_eq!(metrics(&page), documented);
}

#[test]
fn keys_are_on_no_page() {
    let made = rcgen::generate_simple_self_signed(["shop.example.com".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let certificate = Arc::new(Certificate {
        key: CertificateKey::secret("default", "tls"),
        chain: made.cert.pem().into(),
        private_key: SecretBytes::new(key.clone().into_bytes()),
    });
    let (proxy, _) = proxy(|port| {
        let protocol = ListenerProtocol::Https {
            certificates: vec![certificate.key.clone()],
            client_validation: None,
        };
        let listener = IrResource::Listener(listener(port, protocol).into());
        vec![listener, IrResource::Certificate(certificate.clone())]
    });
    for path in ["/config", "/metrics", "/", "/readyz"] {
        let (_, page) = get(&proxy, path);
        assert!(!page.contains("-----BEGIN"), "{path}: {page}");
        for line in key.lines().chain(certificate.chain.lines()) {
            assert!(!page.contains(line), "{path}: {page}");
        }
    }
    assert!(get(&proxy, "/config").1.contains("default/tls"));
}

#[test]
fn an_admin_address_in_use_is_an_error_that_names_it() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let error = ProxyBuilder::new().workers(1).admin(address).start().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on the admin address {address}"));
}
