//! Trains of datagrams, and flows to endpoints with a name, over real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use gwapi_model::{NamespacedName, RouteKind};
use gwapi_translate::ir::{
    Backend, BackendKey, BackendProtocol, BackendTarget, Endpoints, GatewayConfig, GatewayId,
    IrResource, Listener, ListenerKey, ListenerProtocol, RuleKey, RuleOrder, StreamRule,
    WeightedBackend,
};

use super::*;
use crate::proxy::upstream::hold_up_lookups;
use crate::{ConfigUpdate, Limits, ProxyBuilder};

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[test]
fn a_train_is_cut_by_its_stride_and_nothing_is_a_datagram_too() {
    let cut = |train: &'static [u8], stride| datagrams(train, stride).collect::<Vec<_>>();
    assert_eq!(cut(b"aabbc", 2), [&b"aa"[..], b"bb", b"c"]);
    assert_eq!(cut(b"aab", 3), [b"aab"]);
    assert_eq!(cut(b"", 0), [b""]);
}

/// A UDP listener on a port, with a route to an endpoint that has a name.
fn to_a_name(port: u16) -> GatewayConfig {
    let (listener, backend) = (ListenerKey::new("web"), BackendKey::service("default", "app", 80));
    let target = BackendTarget::Backend(backend.clone());
    let resources = [
        IrResource::Listener(Arc::new(Listener {
            key: listener.clone(),
            addresses: vec![LOCAL],
            port,
            protocol: ListenerProtocol::Udp,
            hostname: None,
            filters: Vec::new(),
        })),
        IrResource::StreamRule(Arc::new(StreamRule {
            key: RuleKey::new("default/app/~stream"),
            route: NamespacedName::new("default", "app"),
            route_kind: RouteKind::Udp,
            name: None,
            order: RuleOrder { created: 0, route: "default/app".into(), rule_index: 0 },
            listeners: [listener].into(),
            hostnames: Arc::default(),
            backends: vec![WeightedBackend { weight: 1, target, filters: Vec::new() }],
        })),
        IrResource::Backend(Arc::new(Backend {
            key: backend.clone(),
            protocol: BackendProtocol::Udp,
            tls: None,
            session: None,
            retry_budget: None,
        })),
        IrResource::Endpoints(Arc::new(Endpoints {
            key: backend,
            addresses: Vec::new(),
            hostnames: vec![("localhost".into(), 9)],
            external: Vec::new(),
        })),
    ];
    GatewayConfig(resources.into_iter().map(|it| (it.key(), it)).collect())
}

fn has_line(page: SocketAddr, line: &str) -> bool {
    let mut stream = TcpStream::connect(page).expect("it accepts");
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer.lines().any(|it| it == line)
}

#[tokio::test]
async fn a_flow_ends_whose_endpoint_is_not_found_in_time_and_what_waited_is_counted() {
    let _held_up = hold_up_lookups();
    let limits = Limits { connect_timeout: Duration::from_millis(100), ..Limits::default() };
    let builder = ProxyBuilder::new().workers(1).limits(limits).admin((LOCAL, 0).into());
    let proxy = builder.start().expect("it starts");
    let gateway = GatewayId::new("default", "web");
    // Another test may take the port between its choice and its use.
    let port = (0..20).find_map(|_| {
        let free = std::net::UdpSocket::bind((LOCAL, 0)).expect("a port is free");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let delta = GatewayConfig::default().delta_to(&to_a_name(port));
        let report = proxy.apply(ConfigUpdate {
            gateways: [(gateway.clone(), delta)].into(),
            removed_gateways: Vec::new(),
        });
        report.feedback[&gateway].unbound.is_empty().then_some(port)
    });
    let client = std::net::UdpSocket::bind((LOCAL, 0)).expect("a port is free");
    client.connect((LOCAL, port.expect("a port stays free"))).expect("it is there");
    for _ in 0..3 {
        client.send(b"x").expect("it is sent");
    }
    let labels = r#"gateway="default/web",listener="web",reason="connect""#;
    let line = format!("gwapi_udp_dropped_datagrams_total{{{labels}}} 3");
    let page = proxy.admin_address().expect("it was asked for");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !has_line(page, &line) {
        assert!(std::time::Instant::now() < deadline, "the flow goes on for ever");
    }
}
