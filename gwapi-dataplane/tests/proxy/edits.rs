//! Configuration that changes while traffic runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gwapi_translate::ir::{HttpFilter, HttpRule, PathRewrite, UrlRewrite};
use http::Request;
use http_body_util::Full;

use super::support::client::Http2Client;
use super::support::*;

#[tokio::test]
async fn edits_under_load_drop_nothing() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let mut proxy = serve(|port| simple(port, a.address));
    let address = proxy.address;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let kept = (0..4).map(|_| {
        let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            while !stop.load(Ordering::Relaxed) {
                client.get("a", "/").await.endpoint();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let fresh = (0..2).map(|_| {
        let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                Client::connect(address).await.get("a", "/").await.endpoint();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let two = (0..2).map(|_| {
        let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
        tokio::spawn(async move {
            let mut client: Http2Client = Http2Client::connect(address).await;
            while !stop.load(Ordering::Relaxed) {
                let request = Request::get("http://a/").body(Full::default());
                client.send(request.expect("a request")).await.endpoint();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let clients: Vec<_> = kept.chain(fresh).chain(two).collect();

    for edit in 0..50 {
        // Backend, endpoints, rule and listeners, each in turn another way.
        let target = if edit % 2 == 0 { &b } else { &a };
        let mut resources = simple_with(address.port(), target.address, |rule| {
            rule.matches = prefix(if edit % 3 == 0 { "/" } else { "" });
            if edit % 5 == 0 {
                rule.backends.push(weighted("more", 1));
            }
        });
        resources.extend(backend("more", &[a.address]));
        if edit % 7 == 0 {
            resources.push(ir_listener(listener("extra", free_port())));
        }
        proxy.set(resources);
        let before = answered.load(Ordering::Relaxed);
        while answered.load(Ordering::Relaxed) < before + 40 {
            if let Some(failed) = clients.iter().position(|client| client.is_finished()) {
                panic!("client {failed} got something else than 200 after edit {edit}");
            }
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        within(client).await.expect("every answer was 200");
    }
    assert!(answered.load(Ordering::Relaxed) >= 2000);
}

#[tokio::test]
async fn an_edit_is_served_when_apply_returns() {
    let echo = Echo::start("a").await;
    let mut proxy = serve(|port| simple(port, echo.address));
    let port = proxy.address.port();
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(proxy.client().await);
    }
    for edit in 0..20 {
        let path = format!("/{edit}");
        let rewrite = UrlRewrite { hostname: None, path: Some(PathRewrite::Full(path.clone())) };
        proxy.set(simple_with(port, echo.address, |rule| {
            rule.filters = vec![HttpFilter::UrlRewrite(rewrite.clone())];
        }));
        for client in &mut clients {
            assert_eq!(client.get("a", "/").await.header("x-target"), Some(&*path));
        }
    }
}

#[tokio::test]
async fn a_weighted_choice_goes_on_while_its_backends_stay_the_same() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let resources = |port, edit: usize| {
        let mut resources = simple_with(port, a.address, |rule| {
            rule.backends = vec![weighted("app", 1), weighted("b", 1)];
            let filter = changes(&[("x-edit", &edit.to_string())], &[], &[]);
            rule.filters = vec![request_headers(filter)];
        });
        resources.extend(backend("b", &[b.address]));
        resources
    };
    let mut proxy = serve(|port| resources(port, 0));
    let port = proxy.address.port();
    // One connection is one worker. A choice that began anew with an edit would begin anywhere.
    let mut client = proxy.client().await;
    let mut last = client.get("a", "/").await.endpoint().to_owned();
    for edit in 1..=50 {
        proxy.set(resources(port, edit));
        let next = client.get("a", "/").await.endpoint().to_owned();
        assert_ne!(next, last, "after edit {edit}");
        last = next;
    }
    let seen = a.requests().pop().expect("a request");
    assert!(seen.header("x-edit").is_some_and(|edit| edit != "0"), "the edits were served");
}

#[tokio::test]
async fn what_is_removed_is_gone_and_what_comes_is_there() {
    let echo = Echo::start("a").await;
    let mut proxy = serve(|port| simple(port, echo.address));
    let port = proxy.address.port();
    let mut client = proxy.client().await;
    for _ in 0..5 {
        proxy.set(vec![ir_listener(listener("web", port))]);
        assert_eq!(client.get("a", "/").await.status, 404);
        let dangling = HttpRule { backends: to("app"), ..rule("app") };
        proxy.set(vec![ir_listener(listener("web", port)), ir(dangling)]);
        assert_eq!(client.get("a", "/").await.status, 500);
        proxy.set(simple(port, echo.address));
        assert_eq!(client.get("a", "/").await.endpoint(), "a");
    }
}
