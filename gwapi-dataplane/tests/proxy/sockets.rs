//! Ports: in use, taken, given up, shared.

use std::net::{IpAddr, SocketAddr, TcpListener};

use gwapi_dataplane::{BoundListener, ConfigUpdate, ProxyBuilder};
use gwapi_translate::ir::{
    ConfigDelta, GatewayConfig, GatewayId, Hostname, HttpRule, IrResource, Listener, ListenerKey,
};
use http::StatusCode;
use tokio::net::TcpStream;

use super::support::*;

fn delta(resources: Vec<IrResource>) -> ConfigDelta {
    let config = GatewayConfig(resources.into_iter().map(|r| (r.key(), r)).collect());
    GatewayConfig::default().delta_to(&config)
}

#[tokio::test]
async fn a_port_in_use_is_reported_and_picked_up_when_it_is_free() {
    let echo = Echo::start("a").await;
    let other = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = other.local_addr().expect("it is bound");
    let proxy = ProxyBuilder::new().workers(2).start().expect("it starts");
    let report = proxy.apply(ConfigUpdate {
        gateways: [(gateway(), delta(simple(address.port(), echo.address)))].into(),
        removed_gateways: Vec::new(),
    });
    assert_eq!(report.generation, 1);
    let reason = &report.feedback[&gateway()].unbound[&ListenerKey::new("web")];
    assert_eq!(*reason, format!("{address} is in use by another process"));
    assert_eq!(proxy.bound(), []);

    // Nothing about the Gateway is new; its feedback is.
    drop(other);
    let report = proxy.apply(ConfigUpdate::default());
    assert_eq!(report.generation, 2);
    assert!(report.feedback[&gateway()].unbound.is_empty());
    assert_eq!(proxy.apply(ConfigUpdate::default()).feedback, Default::default());
    let bound = BoundListener { gateway: gateway(), listener: ListenerKey::new("web"), address };
    assert_eq!(proxy.bound(), [bound]);
    assert_eq!(Client::connect(address).await.get("a", "/").await.endpoint(), "a");
}

#[tokio::test]
async fn a_listener_that_is_gone_refuses_connections_and_the_others_stay() {
    let echo = Echo::start("a").await;
    let mut proxy = serve(|port| simple(port, echo.address));
    let mut kept = proxy.client().await;
    assert_eq!(kept.get("a", "/").await.endpoint(), "a");
    let (first, second) = (proxy.address, free_port());
    let mut both = simple(first.port(), echo.address);
    both.push(ir_listener(listener("more", second)));
    proxy.set(both);
    let second = SocketAddr::new(first.ip(), second);
    assert_eq!(Client::connect(second).await.get("a", "/").await.status, StatusCode::NOT_FOUND);
    assert_eq!(kept.get("a", "/").await.endpoint(), "a");

    proxy.set(simple(second.port(), echo.address));
    assert!(within(TcpStream::connect(first)).await.is_err());
    assert_eq!(Client::connect(second).await.get("a", "/").await.endpoint(), "a");
    // A connection that outlived its socket has nothing behind it.
    assert_eq!(kept.get("a", "/").await.status, StatusCode::NOT_FOUND);
}

/// LS-7: a listener takes over the port of another one, again and again, and neither those who are connected nor those
/// who come, there or elsewhere, notice more than who answers.
#[tokio::test]
async fn a_port_that_goes_over_to_another_listener_disturbs_nobody() {
    const TURNS: usize = 40;
    let echoes = [Echo::start("a").await, Echo::start("b").await, Echo::start("other").await];
    let elsewhere = free_port();
    let named = |name: &str, listeners: &[&str]| HttpRule {
        backends: to(name),
        listeners: listeners.iter().map(|it| ListenerKey::new(*it)).collect(),
        ..rule(name)
    };
    // The listener of one set, then that of the other, on the port that a third one has for a host of its own.
    let resources = |port: u16, turn: usize| {
        let winner = ["ns/a/l", "ns/b/l"][turn % 2];
        let mut resources = vec![
            ir_listener(listener(winner, port)),
            ir_listener(Listener {
                hostname: Some(Hostname::parse("other.example")),
                ..listener("of-host", port)
            }),
            ir_listener(listener("of-port", elsewhere)),
            ir(named("a", &["ns/a/l"])),
            ir(named("b", &["ns/b/l"])),
            ir(named("other", &["of-host", "of-port"])),
        ];
        for (name, echo) in ["a", "b", "other"].into_iter().zip(&echoes) {
            resources.extend(backend(name, &[echo.address]));
        }
        resources
    };
    let mut proxy = serve(|port| resources(port, 0));
    let (address, port) = (proxy.address, proxy.address.port());
    let turns: Vec<_> = (1..=TURNS).map(|turn| resources(port, turn)).collect();
    let mut kept = [
        (proxy.client().await, "any.example"),
        (proxy.client().await, "other.example"),
        (Client::connect(SocketAddr::new(address.ip(), elsewhere)).await, "any.example"),
    ];
    let turning = std::thread::spawn(move || {
        for turn in turns {
            let report = proxy.set(turn);
            assert!(report.feedback.values().all(|it| it.unbound.is_empty()), "{report:?}");
        }
        proxy
    });
    let mut asked = 0;
    while !turning.is_finished() || asked < 10 {
        asked += 1;
        for (number, (client, host)) in kept.iter_mut().enumerate() {
            let reply = client.get(host, "/").await;
            let answers = if number == 0 { &["a", "b"][..] } else { &["other"] };
            assert!(answers.contains(&reply.endpoint()), "{host}: {reply:?}");
        }
        // Whoever comes is served, too.
        let mut new = Client::connect(address).await;
        assert!(["a", "b"].contains(&new.get("any.example", "/").await.endpoint()));
        assert_eq!(new.get("other.example", "/").await.endpoint(), "other");
    }
    let proxy = turning.join().expect("each turn is applied");
    let last = ["a", "b"][TURNS % 2];
    assert_eq!(proxy.get("any.example", "/").await.endpoint(), last);
    let (client, host) = &mut kept[0];
    assert_eq!(client.get(host, "/").await.endpoint(), last, "on the connection of before, too");
}

#[tokio::test]
async fn gateways_share_a_port_on_addresses_of_their_own() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let (one, two) = (IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 3]));
    let on = |ip: IpAddr, port: u16, echo: &Echo| {
        let mut resources = simple(port, echo.address);
        resources.retain(|resource| !matches!(resource, IrResource::Listener(_)));
        let web = Listener { addresses: vec![ip], ..listener("web", port) };
        resources.push(ir_listener(web));
        delta(resources)
    };
    let other = GatewayId::new("default", "other");
    let proxy = ProxyBuilder::new().workers(1).start().expect("it starts");
    let port = free_port();
    proxy.apply(ConfigUpdate {
        gateways: [(gateway(), on(one, port, &a)), (other.clone(), on(two, port, &b))].into(),
        removed_gateways: Vec::new(),
    });
    for (ip, endpoint) in [(one, "a"), (two, "b")] {
        let mut client = Client::connect(SocketAddr::new(ip, port)).await;
        assert_eq!(client.get("a", "/").await.endpoint(), endpoint);
    }
    let removed_gateways = vec![other];
    proxy.apply(ConfigUpdate { removed_gateways, ..ConfigUpdate::default() });
    assert!(within(TcpStream::connect(SocketAddr::new(two, port))).await.is_err());
    let mut client = Client::connect(SocketAddr::new(one, port)).await;
    assert_eq!(client.get("a", "/").await.endpoint(), "a");
}

#[tokio::test]
async fn two_gateways_on_one_address_are_one_too_many() {
    let echo = Echo::start("a").await;
    let other = GatewayId::new("default", "xother");
    let mut proxy = serve(|port| simple(port, echo.address));
    let web = ir_listener(listener("web", proxy.address.port()));
    let report = proxy.handle.apply(ConfigUpdate {
        gateways: [(other.clone(), delta(vec![web]))].into(),
        removed_gateways: Vec::new(),
    });
    let reason = &report.feedback[&other].unbound[&ListenerKey::new("web")];
    assert_eq!(*reason, format!("{} is in use by Gateway default/web", proxy.address));
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    proxy.set(Vec::new());
    // What was in the way is gone, and what waited has its turn.
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::NOT_FOUND);
    assert_eq!(proxy.handle.bound().len(), 1);
}

#[tokio::test]
async fn both_unspecified_addresses_stand_side_by_side() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| {
        let mut resources = simple(port, echo.address);
        resources.retain(|resource| !matches!(resource, IrResource::Listener(_)));
        let addresses = vec![IpAddr::from([0, 0, 0, 0]), IpAddr::from([0u16; 8])];
        resources.push(ir_listener(Listener { addresses, ..listener("web", port) }));
        resources
    });
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    let six = proxy.handle.bound().iter().any(|bound| bound.address.is_ipv6());
    if six {
        let loopback = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
        let mut client = Client::connect(SocketAddr::new(loopback, proxy.address.port())).await;
        assert_eq!(client.get("a", "/").await.endpoint(), "a");
    }
}

#[tokio::test]
async fn an_address_that_the_host_does_not_have_is_told_apart_from_a_port_in_use() {
    let echo = Echo::start("a").await;
    // TEST-NET-1: no host has it (RFC 5737).
    let missing = IpAddr::from([192, 0, 2, 1]);
    let resources = |port, addresses: &[IpAddr]| {
        let mut resources = simple(port, echo.address);
        resources.retain(|resource| !matches!(resource, IrResource::Listener(_)));
        let addresses = addresses.to_vec();
        resources.push(ir_listener(Listener { addresses, ..listener("web", port) }));
        resources
    };
    let mut proxy = serve(|port| resources(port, &[missing, IpAddr::from([127, 0, 0, 1])]));
    let port = proxy.address.port();
    let report = proxy.handle.apply(ConfigUpdate {
        gateways: [(gateway(), ConfigDelta::default())].into(),
        removed_gateways: Vec::new(),
    });
    let feedback = &report.feedback[&gateway()];
    assert_eq!(
        feedback.unusable_addresses,
        [(missing, "this host does not have it".to_owned())].into()
    );
    assert!(feedback.unbound.is_empty(), "{feedback:?}");
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");

    let report = proxy.set(resources(port, &[missing]));
    assert_eq!(report.feedback[&gateway()].unusable_addresses.len(), 1);
    assert!(report.feedback[&gateway()].unbound.is_empty());
    let report = proxy.set(simple(port, echo.address));
    assert!(report.feedback[&gateway()].unusable_addresses.is_empty());
}
