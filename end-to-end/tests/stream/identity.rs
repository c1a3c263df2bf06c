//! Who may have a configuration, and whom proxies believe.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use gwapi_controller::serve::ServeLimits;
use socket2::{Domain, Socket, Type};

use crate::support::{
    Authority, CLASS, Controller, Home, MeanProxy, PATIENCE, Service, Tokens, free_port, gateway,
    get, redirect,
};

fn manifests(port: u16) -> String {
    CLASS.to_owned() + &gateway(port) + &redirect("away", "/", "one.example")
}

#[test]
fn a_token_that_is_wrong_is_refused_and_the_right_one_is_found_in_the_file_later() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("right", "default", "web-gwapi");
    tokens.add("of-another-gateway", "default", "api-gwapi");
    tokens.add("of-another-namespace", "other", "web-gwapi");
    // Names of what is made for two Gateways may clash; the account belongs to one of them.
    tokens.add_of("of-a-namesake", "default", "web-gwapi", "we");
    let mut controller = Controller::start(&authority, &tokens, &manifests(port));
    let service = Service::to(controller.address());
    let home = Home::new(&authority, "unknown");
    let proxy = home.start(&service);
    for token in
        ["unknown", "of-another-gateway", "of-another-namespace", "of-a-namesake", "with space"]
    {
        home.set_token(token);
        // The first of these may have been shown before the file was written.
        controller.wait_for_tokens(controller.asked() + 2);
        assert_eq!(controller.handle.proxies(), [], "{token}");
        assert!(!proxy.is_ready(), "{token}");
    }

    home.set_token("right");
    controller.wait_for_proxies(1);
    assert_eq!(controller.handle.proxies()[0].proxy, "pod-of-right");
    assert_eq!(get(port, "/").0, 302);
}

#[test]
fn a_controller_that_nobody_vouches_for_gets_no_token() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("right", "default", "web-gwapi");
    let mut controller = Controller::start(&Authority::new(), &tokens, &manifests(port));
    let service = Service::to(controller.address());
    let home = Home::new(&authority, "right");
    let proxy = home.start(&service);
    service.wait_for_connections(3);
    assert_eq!(controller.asked(), 0);
    assert!(!proxy.is_ready());

    controller.certify(&authority);
    controller.wait_for_proxies(1);
    assert!(proxy.is_ready());
}

#[test]
fn an_authority_is_replaced_without_a_proxy_noticing() {
    let (old, new, port) = (Authority::new(), Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("right", "default", "web-gwapi");
    let mut controller = Controller::start(&old, &tokens, &manifests(port));
    let service = Service::to(controller.address());
    let home = Home::new(&old, "right");
    let _proxy = home.start(&service);
    controller.wait_for_proxies(1);

    home.trust(&[&old, &new]);
    controller.certify(&new);
    service.cut();
    controller.wait(|report| report.connected == 0);
    controller.wait_for_proxies(1);
    let published = controller.apply(&redirect("away", "/", "two.example"));
    controller.served(&published);
    assert_eq!(get(port, "/").1, Some("http://two.example/".to_owned()));
}

#[test]
fn whoever_says_nothing_is_let_go() {
    let (authority, tokens) = (Authority::new(), Tokens::new());
    let limits =
        ServeLimits { admission_timeout: Duration::from_millis(50), ..ServeLimits::default() };
    let controller = Controller::start_with(&authority, &tokens, limits, CLASS);
    let mut silent = TcpStream::connect(controller.address()).expect("open");
    silent.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).expect("the end");
    assert!(rest.is_empty(), "{rest:?}");
}

/// A connection from an address of this machine.
fn from(own: Ipv4Addr, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((own, 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("open");
    socket
}

#[test]
fn silent_strangers_from_one_address_do_not_keep_a_proxy_out() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("right", "default", "web-gwapi");
    let limits = ServeLimits {
        strangers: 8,
        strangers_of_one_address: 4,
        admission_timeout: 10 * PATIENCE,
        ..ServeLimits::default()
    };
    let mut controller = Controller::start_with(&authority, &tokens, limits, &manifests(port));
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    let _silent: Vec<Socket> = (0..32).map(|_| from(elsewhere, controller.address())).collect();
    let service = Service::to(controller.address());
    let _proxy = Home::new(&authority, "right").start(&service);
    controller.wait_for_proxies(1);
}

#[test]
fn connections_that_break_off_make_room_at_once() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("right", "default", "web-gwapi");
    let limits =
        ServeLimits { strangers: 4, admission_timeout: 10 * PATIENCE, ..ServeLimits::default() };
    let mut controller = Controller::start_with(&authority, &tokens, limits, &manifests(port));
    for _ in 0..64 {
        let mut stream = TcpStream::connect(controller.address()).expect("open");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    }
    let service = Service::to(controller.address());
    let _proxy = Home::new(&authority, "right").start(&service);
    controller.wait_for_proxies(1);
}

#[test]
fn a_gateway_has_no_more_streams_than_it_may_have() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("one", "default", "web-gwapi");
    tokens.add("two", "default", "web-gwapi");
    let limits = ServeLimits { streams_per_gateway: 1, ..ServeLimits::default() };
    let mut controller = Controller::start_with(&authority, &tokens, limits, &manifests(port));
    let service = Service::to(controller.address());
    let first = Home::new(&authority, "one").start(&service);
    controller.wait_for_proxies(1);
    let second = Home::new(&authority, "two").start(&service);
    controller.wait_for_tokens(controller.asked() + 2);
    assert!(!second.is_ready());
    assert_eq!(controller.handle.proxies().len(), 1);
    drop(first);
    controller.wait(|report| report.connected == 0);
    controller.wait_for_proxies(1);
    assert_eq!(controller.handle.proxies()[0].proxy, "pod-of-two");
}

#[test]
fn a_proxy_has_no_more_streams_than_it_may_have_and_keeps_out_no_other() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("one", "default", "web-gwapi");
    tokens.add("two", "default", "web-gwapi");
    let limits = ServeLimits { streams_per_proxy: 1, ..ServeLimits::default() };
    let mut controller = Controller::start_with(&authority, &tokens, limits, &manifests(port));
    let service = Service::to(controller.address());
    let _first = Home::new(&authority, "one").start(&service);
    controller.wait_for_proxies(1);
    let same = Home::new(&authority, "one").start(&service);
    controller.wait_for_tokens(controller.asked() + 2);
    assert!(!same.is_ready());
    let _other = Home::new(&authority, "two").start(&service);
    controller.wait(|report| report.connected == 2);
    let proxies = controller.handle.proxies().into_iter().map(|it| it.proxy);
    assert_eq!(proxies.collect::<Vec<_>>(), ["pod-of-one", "pod-of-two"]);
}

#[test]
fn a_proxy_that_ends_its_streams_and_keeps_its_connections_keeps_out_no_other() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("mean", "default", "web-gwapi");
    tokens.add("right", "default", "web-gwapi");
    let limits = ServeLimits {
        connections: 8,
        strangers: 8,
        strangers_of_one_address: 4,
        streams_per_proxy: 2,
        admission_timeout: 10 * PATIENCE,
        ..ServeLimits::default()
    };
    let mut controller = Controller::start_with(&authority, &tokens, limits, &manifests(port));
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    let mean = MeanProxy::new(&authority, "mean");
    // Whoever is closed out before it can ask is no longer there either.
    for _ in 0..32 {
        mean.keep_without_stream(from(elsewhere, controller.address()));
    }
    controller.wait(|report| report.connected == 0);
    let service = Service::to(controller.address());
    let _proxy = Home::new(&authority, "right").start(&service);
    controller.wait_for_proxies(1);
    assert_eq!(controller.handle.proxies()[0].proxy, "pod-of-right");
}

#[test]
fn a_connection_whose_streams_have_ended_is_let_go() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("mean", "default", "web-gwapi");
    let limits =
        ServeLimits { admission_timeout: Duration::from_secs(2), ..ServeLimits::default() };
    let controller = Controller::start_with(&authority, &tokens, limits, &manifests(port));
    let mean = MeanProxy::new(&authority, "mean");
    assert!(mean.keep_without_stream(from(Ipv4Addr::LOCALHOST, controller.address())));
    mean.wait_until_let_go();
}

#[test]
fn a_stream_ends_with_its_age_and_the_next_one_brings_nothing_new() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add("right", "default", "web-gwapi");
    let limits = ServeLimits { stream_age: Duration::from_millis(200), ..ServeLimits::default() };
    let mut controller = Controller::start_with(&authority, &tokens, limits, &manifests(port));
    let service = Service::to(controller.address());
    let _proxy = Home::new(&authority, "right").start(&service);
    controller.wait_for_tokens(3);
    let sent = service.sent();
    assert!(sent < 64 * 1024, "{sent} bytes for three streams");

    controller.apply(&redirect("away", "/", "two.example"));
    controller.wait_for_latest();
    assert_eq!(get(port, "/").1, Some("http://two.example/".to_owned()));
}
