//! Controllers that go, come back, and are not as far as others.

use std::fs;

use crate::support::{
    Authority, CLASS, Controller, Home, Service, Tokens, free_port, gateway, get, redirect,
};

const TOKEN: &str = "web";

fn tokens() -> Tokens {
    let tokens = Tokens::new();
    tokens.add(TOKEN, "default", "web-gwapi");
    tokens
}

fn to(host: &str) -> (u16, Option<String>) {
    (302, Some(format!("http://{host}/")))
}

#[test]
fn ten_thousand_rules_arrive_and_a_proxy_that_reconnects_is_sent_none_of_them() {
    let (authority, port) = (Authority::new(), free_port());
    let routes = (0..10_000).map(|it| redirect(&format!("r{it}"), &format!("/p{it}"), "a.example"));
    let manifests = CLASS.to_owned() + &gateway(port) + &routes.collect::<String>();
    let mut controller = Controller::start(&authority, &tokens(), &manifests);
    let service = Service::to(controller.address());
    let _proxy = Home::new(&authority, TOKEN).start(&service);
    controller.wait_for_proxies(1);
    assert_eq!(get(port, "/p9999").0, 302);
    let all = service.sent();
    assert!(all > 4 * 1024 * 1024, "more than one message may hold: {all} bytes");

    service.cut();
    controller.wait(|report| report.connected == 0);
    controller.wait_for_proxies(1);
    let again = service.sent() - all;
    assert!(again < 16 * 1024, "{again} bytes for nothing new");

    let published = controller.apply(&redirect("r0", "/p0", "b.example"));
    controller.served(&published);
    assert_eq!(get(port, "/p0").1, Some("http://b.example/p0".to_owned()));
    let edit = service.sent() - all - again;
    assert!(edit < 16 * 1024, "{edit} bytes for one rule");
}

#[test]
fn traffic_goes_on_without_a_controller_and_the_next_one_is_followed() {
    let (authority, port) = (Authority::new(), free_port());
    let manifests = |host| CLASS.to_owned() + &gateway(port) + &redirect("away", "/", host);
    let mut first = Controller::start(&authority, &tokens(), &manifests("one.example"));
    let service = Service::to(first.address());
    let proxy = Home::new(&authority, TOKEN).start(&service);
    first.wait_for_proxies(1);

    drop(first);
    assert_eq!(get(port, "/"), to("one.example"));
    assert!(proxy.is_ready());

    let mut second = Controller::start(&authority, &tokens(), &manifests("two.example"));
    service.point_to(Some(second.address()));
    second.wait_for_proxies(1);
    assert_eq!(get(port, "/"), to("two.example"));
}

#[test]
fn a_proxy_starts_with_what_it_had_when_there_is_no_controller() {
    let (authority, port) = (Authority::new(), free_port());
    let manifests = CLASS.to_owned() + &gateway(port) + &redirect("away", "/", "one.example");
    let mut controller = Controller::start(&authority, &tokens(), &manifests);
    let service = Service::to(controller.address());
    let home = Home::new(&authority, TOKEN);
    let proxy = home.start(&service);
    controller.wait_for_proxies(1);
    proxy.drain();
    drop(controller);

    let proxy = home.start(&Service::new());
    assert!(proxy.is_ready());
    assert_eq!(get(port, "/"), to("one.example"));
    proxy.drain();

    let mut damaged = fs::read(home.snapshot()).expect("saved");
    damaged[100] ^= 1;
    fs::write(home.snapshot(), damaged).expect("written");
    let proxy = home.start(&Service::new());
    assert!(!proxy.is_ready(), "what is damaged is not served");
}

#[test]
fn a_replica_that_lags_behind_is_not_followed_until_it_has_caught_up() {
    let (authority, port) = (Authority::new(), free_port());
    let manifests = |host| CLASS.to_owned() + &gateway(port) + &redirect("away", "/", host);
    let mut ahead = Controller::start(&authority, &tokens(), &manifests("new.example"));
    let mut behind = Controller::start(&authority, &tokens(), &manifests("old.example"));
    ahead.has_seen("HTTPRoute", 20);
    behind.has_seen("HTTPRoute", 10);
    let service = Service::to(ahead.address());
    let proxy = Home::new(&authority, TOKEN).start(&service);
    ahead.wait_for_proxies(1);

    service.point_to(Some(behind.address()));
    behind.wait(|report| report.refusing == 1);
    assert_eq!(get(port, "/"), to("new.example"));
    assert!(proxy.is_ready());

    behind.has_seen("HTTPRoute", 15);
    behind.apply(&redirect("away", "/", "newest.example"));
    assert_eq!(get(port, "/"), to("new.example"));
    behind.has_seen("HTTPRoute", 25);
    behind.wait(|report| report.refusing == 0 && report.serving == 1);
    assert_eq!(get(port, "/"), to("newest.example"));
}

#[test]
fn a_gateway_that_is_deleted_ends_its_streams_and_its_proxy_serves_on() {
    let (authority, port) = (Authority::new(), free_port());
    let manifests = CLASS.to_owned() + &gateway(port) + &redirect("away", "/", "one.example");
    let mut controller = Controller::start(&authority, &tokens(), &manifests);
    let service = Service::to(controller.address());
    let _proxy = Home::new(&authority, TOKEN).start(&service);
    controller.wait_for_proxies(1);
    let asked = controller.asked();
    controller.delete(&gateway(port));
    controller.wait_for_tokens(asked + 2);
    assert_eq!(controller.handle.proxies(), []);
    assert_eq!(get(port, "/"), to("one.example"));
}
