//! UDPRoutes: datagrams in flows.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_model::RouteKind;
use gwapi_translate::ir::{
    BackendProtocol, Endpoints, IrResource, Listener, ListenerKey, StreamRule, WeightedBackend,
};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::support::streams::*;
use super::support::*;

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An endpoint that answers each datagram with its name, the port that it came from and the datagram.
struct UdpEcho {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl UdpEcho {
    async fn start(name: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let address = socket.local_addr().expect("it is bound");
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let mut answer = format!("{name}:{}:", from.port()).into_bytes();
                answer.extend(&buffer[..length]);
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Self { address, task }
    }
}

fn udp_backend(name: &str, addresses: &[SocketAddr]) -> Vec<IrResource> {
    backend_speaking(BackendProtocol::Udp, name, addresses)
}

/// A listener `web` on the port, and a rule for it.
fn udp(port: u16, backends: Vec<WeightedBackend>, mut more: Vec<IrResource>) -> Vec<IrResource> {
    more.push(ir_listener(udp_listener(port)));
    more.push(ir_stream(stream_rule(RouteKind::Udp, "app", &[], backends)));
    more
}

/// A client of the proxy, which hears nobody else.
async fn client_of(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    socket.connect(address).await.expect("it is there");
    socket
}

/// Sends datagrams of 100 bytes as a train, which the kernel may leave together on its way to the proxy,
/// and which begins a flow.
async fn send_train(client: &UdpSocket, destination: SocketAddr, train: &[u8]) {
    let state = quinn_udp::UdpSocketState::new(client.into()).expect("it is a socket");
    let (contents, segment_size) = (train, Some(100));
    let transmit =
        quinn_udp::Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
    within(client.writable()).await.expect("it is a socket");
    state.try_send(client.into(), &transmit).expect("loopback takes it");
}

async fn send(client: &UdpSocket, datagram: &[u8]) {
    within(client.send(datagram)).await.expect("it is sent");
}

/// The next answer: who gave it, from which port it was asked, and to what.
async fn answer(client: &UdpSocket) -> (String, String, Vec<u8>) {
    let mut buffer = vec![0; 65_536];
    let length = within(client.recv(&mut buffer)).await.expect("it comes");
    let mut parts = buffer[..length].splitn(3, |byte| *byte == b':');
    let mut text = || String::from_utf8(parts.next().expect("a part").to_vec()).expect("text");
    let (name, port) = (text(), text());
    (name, port, parts.next().expect("a part").to_vec())
}

async fn ask(client: &UdpSocket, datagram: &[u8]) -> (String, String, Vec<u8>) {
    send(client, datagram).await;
    answer(client).await
}

/// Waits until the metric of the listener has this value.
async fn until(proxy: &Proxy, name: &str, reason: Option<&str>, value: usize) {
    let reason = reason.map(|reason| format!(r#",reason="{reason}""#)).unwrap_or_default();
    let of = format!(r#"gateway="default/web",listener="web"{reason}"#);
    proxy.until_metric(&format!("{name}{{{of}}} {value}")).await;
}

fn with_metrics(limits: Limits) -> ProxyBuilder {
    ProxyBuilder::new().limits(limits).admin(SocketAddr::new(LOCAL, 0))
}

/// L4-6
#[tokio::test]
async fn each_client_has_a_flow_of_its_own_that_stays_where_it_is() {
    let endpoint = UdpEcho::start("a").await;
    let proxy = serve(|port| udp(port, to("app"), udp_backend("app", &[endpoint.address])));
    let (one, two) = (client_of(proxy.address).await, client_of(proxy.address).await);
    let (name, from_one, text) = ask(&one, b"one").await;
    assert_eq!((&*name, &*text), ("a", &b"one"[..]));
    let (_, from_two, text) = ask(&two, b"two").await;
    assert_eq!(text, b"two");
    assert_ne!(from_one, from_two);
    for _ in 0..10 {
        assert_eq!(ask(&one, b"again").await.1, from_one);
        assert_eq!(ask(&two, b"again").await.1, from_two);
    }
}

/// L4-6.
#[tokio::test]
async fn empty_and_long_datagrams_go_through_as_they_are() {
    let endpoint = UdpEcho::start("a").await;
    let proxy = serve(|port| udp(port, to("app"), udp_backend("app", &[endpoint.address])));
    let client = client_of(proxy.address).await;
    for length in [0, 1, 0, 1200, 1472, 1473, 9000, 60_000, 0] {
        let sent: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        assert!(ask(&client, &sent).await.2 == sent, "{length} bytes");
    }
}

#[tokio::test]
async fn datagrams_that_come_together_stay_apart() {
    let endpoint = UdpEcho::start("a").await;
    let proxy = serve(|port| udp(port, to("app"), udp_backend("app", &[endpoint.address])));
    let client = client_of(proxy.address).await;
    let train: Vec<u8> = (0..60u8).flat_map(|number| [number; 100]).chain([60; 40]).collect();
    send_train(&client, proxy.address, &train).await;
    for number in 0..60u8 {
        assert_eq!(answer(&client).await.2, [number; 100]);
    }
    assert_eq!(answer(&client).await.2, [60; 40]);
}

/// L4-6
#[tokio::test]
async fn answers_come_from_the_address_that_was_asked() {
    let endpoint = UdpEcho::start("a").await;
    let everywhere =
        |port: u16| ir_listener(Listener { addresses: vec![ANY], ..udp_listener(port) });
    let proxy = serve(|port| {
        let mut resources = udp(port, to("app"), udp_backend("app", &[endpoint.address]));
        resources.push(everywhere(port));
        resources
    });
    // A socket that is not connected shows who answers.
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    let mut flows = BTreeMap::new();
    for _ in 0..3 {
        for ip in ["127.0.0.2", "127.0.0.1", "127.0.0.3"] {
            let asked = SocketAddr::new(ip.parse().expect("an address"), proxy.address.port());
            within(client.send_to(b"x", asked)).await.expect("it is sent");
            let mut buffer = [0; 64];
            let (length, from) = within(client.recv_from(&mut buffer)).await.expect("it comes");
            assert_eq!(from, asked);
            let answer = buffer[..length].to_vec();
            assert_eq!(*flows.entry(ip).or_insert(answer.clone()), answer, "one flow each");
        }
    }
    let mut distinct: Vec<_> = flows.into_values().collect();
    distinct.dedup();
    assert_eq!(distinct.len(), 3);
}

/// L4-5.
#[tokio::test]
async fn flows_are_spread_by_weight() {
    let (a, b) = (UdpEcho::start("a").await, UdpEcho::start("b").await);
    let none = UdpEcho::start("none").await;
    let proxy = serve(|port| {
        let mut more = udp_backend("a", &[a.address]);
        more.extend(udp_backend("b", &[b.address]));
        more.extend(udp_backend("none", &[none.address]));
        udp(port, vec![weighted("none", 0), weighted("a", 70), weighted("b", 30)], more)
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..500 {
        let client = client_of(proxy.address).await;
        *counts.entry(ask(&client, b"x").await.0).or_default() += 1;
    }
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!((325..=375).contains(&counts["a"]), "{counts:?}");
}

/// LI-3, L4-4.
#[tokio::test]
async fn what_leads_nowhere_is_dropped_and_counted() {
    for (reason, backends, more) in [
        ("no_backend", to("app"), vec![]),
        ("no_backend", vec![weighted("app", 0)], udp_backend("app", &[])),
        ("no_endpoint", to("app"), udp_backend("app", &[])),
    ] {
        let proxy = serve_with_metrics(|port| udp(port, backends.clone(), more.clone()));
        let client = client_of(proxy.address).await;
        send(&client, b"1").await;
        send(&client, b"2").await;
        until(&proxy, "gwapi_udp_dropped_datagrams_total", Some(reason), 2).await;
    }
    let proxy = serve_with_metrics(|port| vec![ir_listener(udp_listener(port))]);
    send(&client_of(proxy.address).await, b"1").await;
    until(&proxy, "gwapi_udp_dropped_datagrams_total", Some("no_route"), 1).await;
}

#[tokio::test]
async fn a_flow_that_is_silent_is_forgotten() {
    let endpoint = UdpEcho::start("a").await;
    // Longer than a loaded machine takes for an answer, after which none would come.
    let limits = Limits { udp_session_idle_timeout: Duration::from_secs(2), ..Limits::default() };
    let proxy = serve_built(LOCAL, &with_metrics(limits), |port| {
        udp(port, to("app"), udp_backend("app", &[endpoint.address]))
    });
    let client = client_of(proxy.address).await;
    ask(&client, b"x").await;
    until(&proxy, "gwapi_udp_sessions_total", None, 1).await;
    until(&proxy, "gwapi_udp_sessions_active", None, 0).await;
    ask(&client, b"x").await;
    until(&proxy, "gwapi_udp_sessions_total", None, 2).await;
}

#[tokio::test]
async fn beyond_the_limit_the_flow_that_is_silent_longest_makes_room() {
    let endpoint = UdpEcho::start("a").await;
    let limits = Limits { max_udp_sessions: 2, ..Limits::default() };
    let proxy = serve_on_cores(1, LOCAL, &with_metrics(limits), |port| {
        udp(port, to("app"), udp_backend("app", &[endpoint.address]))
    });
    let [one, two, three] =
        [client_of(proxy.address), client_of(proxy.address), client_of(proxy.address)];
    let (one, two, three) = (one.await, two.await, three.await);
    let port_of_one = ask(&one, b"x").await.1;
    let port_of_two = ask(&two, b"x").await.1;
    assert_eq!(ask(&one, b"x").await.1, port_of_one);
    let port_of_three = ask(&three, b"x").await.1;
    assert_eq!(ask(&one, b"x").await.1, port_of_one, "it spoke after the second one");
    assert_eq!(ask(&three, b"x").await.1, port_of_three);
    until(&proxy, "gwapi_udp_sessions_active", None, 2).await;
    assert_ne!(ask(&two, b"x").await.1, port_of_two, "it begins anew");
    until(&proxy, "gwapi_udp_sessions_total", None, 4).await;
    until(&proxy, "gwapi_udp_sessions_active", None, 2).await;
}

#[tokio::test]
async fn a_flow_that_leads_nowhere_takes_the_room_of_no_other() {
    let endpoint = UdpEcho::start("a").await;
    // The kernel connects no socket to it that was not meant to broadcast.
    let nowhere = SocketAddr::from(([255, 255, 255, 255], 9));
    let limits = Limits { max_udp_sessions: 1, ..Limits::default() };
    let mut proxy = serve_on_cores(1, LOCAL, &with_metrics(limits), |port| {
        udp(port, to("app"), udp_backend("app", &[endpoint.address]))
    });
    let port = proxy.address.port();
    let client = client_of(proxy.address).await;
    let asked_from = ask(&client, b"x").await.1;
    let other = free_port();
    let mut resources = udp(port, to("app"), udp_backend("app", &[endpoint.address]));
    resources.extend(udp_backend("nowhere", &[nowhere]));
    resources.push(ir_listener(Listener { key: ListenerKey::new("other"), ..udp_listener(other) }));
    let rule = stream_rule(RouteKind::Udp, "nowhere", &[], to("nowhere"));
    resources.push(ir_stream(StreamRule { listeners: [ListenerKey::new("other")].into(), ..rule }));
    proxy.set(resources);
    let lost = client_of(SocketAddr::new(LOCAL, other)).await;
    send(&lost, b"x").await;
    let of = r#"gateway="default/web",listener="other",reason="connect""#;
    proxy.until_metric(&format!("gwapi_udp_dropped_datagrams_total{{{of}}} 1")).await;
    assert_eq!(ask(&client, b"x").await.1, asked_from, "its flow goes on");
}

#[tokio::test]
async fn a_flow_goes_on_while_its_endpoint_is_there_and_moves_when_it_is_gone() {
    let (a, b) = (UdpEcho::start("a").await, UdpEcho::start("b").await);
    let with = |port, addresses: &[SocketAddr]| udp(port, to("app"), udp_backend("app", addresses));
    let mut proxy = serve(|port| with(port, &[a.address]));
    let port = proxy.address.port();
    let client = client_of(proxy.address).await;
    let (_, from, _) = ask(&client, b"x").await;
    proxy.set(with(port, &[a.address, b.address]));
    let (name, still_from, _) = ask(&client, b"x").await;
    assert_eq!((&*name, still_from), ("a", from));
    proxy.set(with(port, &[b.address]));
    assert_eq!(ask(&client, b"x").await.0, "b");
}

#[tokio::test]
async fn a_flow_moves_when_its_route_or_its_backend_is_another() {
    let (a, b) = (UdpEcho::start("a").await, UdpEcho::start("b").await);
    let resources = |port, name: &str, backend: &str| {
        let mut resources = udp_backend("a", &[a.address]);
        resources.extend(udp_backend("b", &[b.address]));
        resources.push(ir_listener(udp_listener(port)));
        resources.push(ir_stream(stream_rule(RouteKind::Udp, name, &[], to(backend))));
        resources
    };
    let mut proxy = serve(|port| resources(port, "one", "a"));
    let port = proxy.address.port();
    let client = client_of(proxy.address).await;
    let (name, first, _) = ask(&client, b"x").await;
    assert_eq!(name, "a");
    proxy.set(resources(port, "other", "a"));
    let (name, second, _) = ask(&client, b"x").await;
    assert_eq!(name, "a");
    assert_ne!(first, second, "another route, another flow");
    proxy.set(resources(port, "other", "b"));
    assert_eq!(ask(&client, b"x").await.0, "b");
}

/// A flow that goes on as long as its endpoint talks would outlive what allowed it.
#[tokio::test]
async fn nothing_comes_of_an_endpoint_whose_flow_leads_there_no_more() {
    let local: SocketAddr = (LOCAL, 0).into();
    let endpoint = UdpSocket::bind(local).await.expect("a port is free");
    let address = endpoint.local_addr().expect("it is bound");
    let other = UdpEcho::start("other").await;
    let listener = |port| vec![ir_listener(udp_listener(port))];
    let app = || udp_backend("app", &[address]);
    type Edited<'a> = &'a dyn Fn(u16) -> Vec<IrResource>;
    let edits: [(&str, Edited<'_>); 5] = [
        ("no route", &|port| [listener(port), app()].concat()),
        ("no backend", &|port| udp(port, to("app"), Vec::new())),
        ("another backend", &|port| udp(port, to("b"), udp_backend("b", &[other.address]))),
        ("no endpoint", &|port| udp(port, to("app"), udp_backend("app", &[]))),
        ("another endpoint", &|port| udp(port, to("app"), udp_backend("app", &[other.address]))),
    ];
    for (name, edited) in edits {
        let mut proxy = serve_built(LOCAL, &with_metrics(Limits::default()), |port| {
            udp(port, to("app"), app())
        });
        let client = client_of(proxy.address).await;
        send(&client, b"x").await;
        let mut buffer = [0; 64];
        let (_, flow) = within(endpoint.recv_from(&mut buffer)).await.expect("it comes");
        within(endpoint.send_to(b"before", flow)).await.expect("it is sent");
        let length = within(client.recv(&mut buffer)).await.expect("it comes");
        assert_eq!(&buffer[..length], b"before", "{name}");
        proxy.set(edited(proxy.address.port()));
        within(endpoint.send_to(b"after", flow)).await.expect("it is sent");
        until(&proxy, "gwapi_udp_sessions_active", None, 0).await;
        let nothing = client.try_recv(&mut buffer).expect_err("nothing comes");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "{name}");
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_ends_its_flow_and_no_other() {
    let (a, b) = (UdpEcho::start("a").await, UdpEcho::start("b").await);
    let proxy = serve_built(LOCAL, &with_metrics(Limits::default()), |port| {
        udp(port, to("app"), udp_backend("app", &[a.address, b.address]))
    });
    // Both endpoints have flows: whoever has fewer gets the next one on its core.
    let mut clients = Vec::new();
    for _ in 0..8 {
        let client = client_of(proxy.address).await;
        let (name, port, _) = ask(&client, b"x").await;
        clients.push((client, name, port));
    }
    let (of_a, of_b): (Vec<_>, Vec<_>) = clients.into_iter().partition(|(_, name, _)| name == "a");
    assert!(!of_a.is_empty() && !of_b.is_empty());
    a.task.abort();
    // Whoever is asked while the socket is still there answers nothing, and that is no refusal.
    while UdpSocket::bind(a.address).await.is_err() {
        tokio::task::yield_now().await;
    }
    for (client, _, _) in &of_a {
        send(client, b"gone").await;
    }
    until(&proxy, "gwapi_udp_sessions_active", None, of_b.len()).await;
    for (client, name, port) in &of_b {
        let (still, still_port, _) = ask(client, b"x").await;
        assert_eq!((&still, &still_port), (name, port));
    }
}

/// An address that refuses datagrams: bound, so that nobody else gets it, and with an ear for one peer.
async fn refusing() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    socket.connect("127.0.0.1:9").await.expect("it need not be there");
    (socket, address)
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_left_for_another() {
    let ((_deaf, deaf), endpoint) = (refusing().await, UdpEcho::start("a").await);
    let proxy = serve_on_cores(1, LOCAL, &with_metrics(Limits::default()), |port| {
        udp(port, to("app"), udp_backend("app", &[deaf, endpoint.address]))
    });
    // Each of the two gets one of the first flows.
    let first = [client_of(proxy.address).await, client_of(proxy.address).await];
    send(&first[0], b"x").await;
    send(&first[1], b"x").await;
    until(&proxy, "gwapi_udp_dropped_datagrams_total", Some("refused"), 1).await;
    for _ in 0..20 {
        assert_eq!(ask(&client_of(proxy.address).await, b"x").await.0, "a");
    }
    until(&proxy, "gwapi_udp_dropped_datagrams_total", Some("refused"), 1).await;
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_left_for_another() {
    let endpoint = UdpEcho::start("a").await;
    // The kernel connects no socket to it that was not made for it.
    let unreachable = "255.255.255.255:9".parse().expect("an address");
    let proxy = serve_on_cores(1, LOCAL, &with_metrics(Limits::default()), |port| {
        udp(port, to("app"), udp_backend("app", &[unreachable, endpoint.address]))
    });
    for _ in 0..20 {
        assert_eq!(ask(&client_of(proxy.address).await, b"x").await.0, "a");
    }
    let proxy = serve_on_cores(1, LOCAL, &with_metrics(Limits::default()), |port| {
        udp(port, to("app"), udp_backend("app", &[unreachable]))
    });
    for dropped in 1..=3 {
        send(&client_of(proxy.address).await, b"x").await;
        until(&proxy, "gwapi_udp_dropped_datagrams_total", Some("connect"), dropped).await;
    }
}

#[tokio::test]
async fn each_datagram_that_waits_for_a_name_in_vain_is_counted() {
    let proxy = serve_on_cores(1, LOCAL, &with_metrics(Limits::default()), |port| {
        let mut backend = udp_backend("app", &[]);
        backend.pop();
        // Addresses that no name may lead to.
        let hostnames = vec![("169.254.169.254".to_owned(), 9)];
        let endpoints =
            Endpoints { key: key("app"), addresses: Vec::new(), hostnames, external: Vec::new() };
        backend.push(IrResource::Endpoints(endpoints.into()));
        udp(port, to("app"), backend)
    });
    send_train(&client_of(proxy.address).await, proxy.address, &[b'x'; 1000]).await;
    until(&proxy, "gwapi_udp_dropped_datagrams_total", Some("connect"), 10).await;
}

#[tokio::test]
async fn where_every_endpoint_refuses_it_is_asked_all_the_same() {
    let (_deaf, deaf) = refusing().await;
    let proxy = serve_on_cores(1, LOCAL, &with_metrics(Limits::default()), |port| {
        udp(port, to("app"), udp_backend("app", &[deaf]))
    });
    for refused in 1..=3 {
        send(&client_of(proxy.address).await, b"x").await;
        until(&proxy, "gwapi_udp_dropped_datagrams_total", Some("refused"), refused).await;
    }
}

#[tokio::test]
async fn a_listener_that_is_gone_takes_its_flows_with_it_and_frees_its_port() {
    let endpoint = UdpEcho::start("a").await;
    let resources = |port| udp(port, to("app"), udp_backend("app", &[endpoint.address]));
    let mut proxy = serve(resources);
    let client = client_of(proxy.address).await;
    ask(&client, b"x").await;
    proxy.set(Vec::new());
    let other = UdpSocket::bind(proxy.address).await.expect("the port is free");
    drop(other);
    proxy.set(resources(proxy.address.port()));
    let client = client_of(proxy.address).await;
    assert_eq!(ask(&client, b"x").await.0, "a");
}

#[tokio::test]
async fn tcp_and_udp_share_a_number() {
    let (tcp, udp_echo) = (greeting("t").await, UdpEcho::start("u").await);
    let proxy = serve(|port| {
        let mut resources = udp(port, to("udp"), udp_backend("udp", &[udp_echo.address]));
        resources.extend(tcp_backend("tcp", &[tcp.address]));
        let name = gwapi_translate::ir::ListenerKey::new("tcp");
        resources.push(ir_listener(Listener { key: name.clone(), ..tcp_listener(port) }));
        let mut rule = stream_rule(RouteKind::Tcp, "tcp", &[], to("tcp"));
        rule.listeners = [name].into();
        resources.push(ir_stream(rule));
        resources
    });
    assert_eq!(ask(&client_of(proxy.address).await, b"x").await.0, "u");
    assert_eq!(read(&mut connect(proxy.address).await, 1).await, b"t");
    assert_eq!(proxy.handle.bound().len(), 2);
}
