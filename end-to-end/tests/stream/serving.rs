//! Configuration on its way to traffic, and what the proxy says of it.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use gwapi_model::status::{ConditionStatus, ConditionType, Status};
use gwapi_model::{Kind, NamespacedName, ObjectId};
use gwapi_translate::ir::{CertificateKey, ListenerKey};

use crate::support::{
    Authority, CLASS, Controller, Home, Service, Tokens, certificate, certificate_of, free_port,
    gateway, get, https_gateway, redirect, secret,
};

const TOKEN: &str = "web";

/// A controller that knows the proxy's token.
fn controller(authority: &Authority, manifests: &str) -> Controller {
    let tokens = Tokens::new();
    tokens.add(TOKEN, "default", "web-gwapi");
    Controller::start(authority, &tokens, &format!("{CLASS}{manifests}"))
}

#[test]
fn a_configuration_reaches_traffic_and_so_does_its_edit() {
    let (authority, port) = (Authority::new(), free_port());
    let manifests = gateway(port) + &redirect("away", "/", "one.example");
    let mut controller = controller(&authority, &manifests);
    let service = Service::to(controller.address());
    let home = Home::new(&authority, TOKEN);

    let proxy = home.start(&service);
    controller.wait_for_proxies(1);
    assert!(proxy.is_ready());
    assert_eq!(get(port, "/a"), (302, Some("http://one.example/a".to_owned())));

    let published = controller.apply(&redirect("away", "/", "two.example"));
    controller.served(&published);
    assert_eq!(get(port, "/a"), (302, Some("http://two.example/a".to_owned())));

    controller.delete(&redirect("away", "/", "two.example"));
    let published = controller.apply(&redirect("other", "/other", "two.example"));
    controller.served(&published);
    assert_eq!(get(port, "/a").0, 404);
    proxy.drain();
    controller.wait(|report| report.connected == 0);
}

#[test]
fn a_gateway_that_comes_after_its_proxy_is_served_as_soon_as_it_is_there() {
    let (authority, port) = (Authority::new(), free_port());
    let mut controller = controller(&authority, "");
    let service = Service::to(controller.address());
    let home = Home::new(&authority, TOKEN);

    let proxy = home.start(&service);
    controller.wait_for_tokens(2);
    assert!(!proxy.is_ready(), "there is nothing to serve");

    controller.apply(&(gateway(port) + &redirect("away", "/", "one.example")));
    controller.wait_for_proxies(1);
    assert!(proxy.is_ready());
    assert_eq!(get(port, "/").0, 302);
}

#[test]
fn a_proxy_is_not_answered_before_everything_was_read() {
    let (authority, port) = (Authority::new(), free_port());
    let tokens = Tokens::new();
    tokens.add(TOKEN, "default", "web-gwapi");
    let mut controller = Controller::start_unready(&authority, &tokens, Default::default());
    let service = Service::to(controller.address());
    let proxy = Home::new(&authority, TOKEN).start(&service);
    controller.wait_for_tokens(1);

    controller.apply(&(CLASS.to_owned() + &gateway(port)));
    assert!(!proxy.is_ready(), "the routes are still missing");
    controller.apply(&redirect("away", "/", "one.example"));
    controller.handle.ready();
    controller.wait_for_proxies(1);
    assert_eq!(get(port, "/").0, 302);
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_and_the_last_good_one_stays() {
    let (authority, port) = (Authority::new(), free_port());
    let ((chain, key), (_, other_key)) = (certificate(), certificate());
    let manifests = https_gateway(port) + &secret(&chain, &key);
    let mut controller = controller(&authority, &manifests);
    let service = Service::to(controller.address());
    let home = Home::new(&authority, TOKEN);
    let proxy = home.start(&service);
    controller.wait_for_proxies(1);
    let shown = certificate_of(port);
    assert!(shown.is_some());

    let published = controller.apply(&secret(&chain, &other_key));
    controller.served(&published);
    let key = CertificateKey::secret("default", "tls");
    let report = controller.wait(|report| !report.feedback.rejected_certificates.is_empty());
    assert_eq!(
        report.feedback.rejected_certificates[&key],
        "the private key does not belong to the certificate"
    );
    assert_eq!(certificate_of(port), shown);
    let gateway = NamespacedName::new("default", "web");
    let delta = controller.translator.set_feedback(&gateway, report.feedback);
    let status = &delta.status[&ObjectId::new(Kind::Gateway, "default", "web")];
    let Some(Status::Gateway(status)) = status else { panic!("{status:?}") };
    let listener = &status.listeners[0].conditions;
    let resolved = listener.iter().find(|it| it.condition_type == ConditionType::ResolvedRefs);
    assert_eq!(resolved.map(|it| it.status), Some(ConditionStatus::False), "{listener:?}");

    // The file holds the good one, so that a proxy that starts again shows it, too.
    proxy.drain();
    service.point_to(None);
    let proxy = home.start(&service);
    assert_eq!(certificate_of(port), shown);
    service.point_to(Some(controller.address()));
    controller.wait(|report| report.connected == 0);
    controller
        .wait(|report| report.serving == 1 && !report.feedback.rejected_certificates.is_empty());

    let (chain, key) = crate::support::certificate();
    controller.apply(&secret(&chain, &key));
    controller.wait(|it| it.serving == 1 && it.feedback.rejected_certificates.is_empty());
    assert_ne!(certificate_of(port), shown);
    proxy.drain();
}

#[test]
fn a_port_that_is_taken_is_told_and_had_as_soon_as_it_is_free() {
    let authority = Authority::new();
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port is free");
    let port = taken.local_addr().expect("bound").port();
    let mut controller =
        controller(&authority, &(gateway(port) + &redirect("away", "/", "one.example")));
    let service = Service::to(controller.address());
    let _proxy = Home::new(&authority, TOKEN).start(&service);

    let report = controller.wait(|report| report.serving == 1);
    let unbound = &report.feedback.unbound;
    assert!(unbound.contains_key(&ListenerKey::new("http")), "{unbound:?}");
    drop(taken);
    controller.wait(|report| report.serving == 1 && report.feedback.unbound.is_empty());
    assert_eq!(get(port, "/").0, 302);
}

#[test]
fn nobody_but_the_owner_can_read_the_saved_configuration() {
    let (authority, port) = (Authority::new(), free_port());
    let mut controller = controller(&authority, &gateway(port));
    let service = Service::to(controller.address());
    let home = Home::new(&authority, TOKEN);
    let proxy = home.start(&service);
    controller.wait_for_proxies(1);
    proxy.drain();
    let metadata = std::fs::metadata(home.snapshot()).expect("it was saved");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let folder = std::fs::read_dir(home.snapshot().parent().expect("a folder"));
    assert_eq!(folder.expect("readable").count(), 1, "no drafts are left");
}
