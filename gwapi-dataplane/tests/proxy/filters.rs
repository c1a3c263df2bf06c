//! Filters, as endpoints and clients see them.

use gwapi_translate::ir::{HttpFilter, HttpRule, PathRewrite, Redirect, UrlRewrite};
use http::StatusCode;

use super::support::*;

fn redirect() -> Redirect {
    Redirect { scheme: None, hostname: None, port: None, path: None, status: 302 }
}

#[tokio::test]
async fn request_headers_are_set_added_and_removed() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| {
        simple_with(port, echo.address, |rule| {
            rule.filters = vec![request_headers(changes(
                &[("x-set", "new"), ("x-fresh", "1")],
                &[("x-add", "more")],
                &["x-gone"],
            ))];
            // HB-6: the backend's filters run after the rule's.
            rule.backends[0].filters =
                vec![request_headers(changes(&[("x-fresh", "2")], &[], &["x-none"]))];
        })
    });
    let request = http::Request::get("/")
        .header("host", "a")
        .header("x-set", "old")
        .header("x-set", "older")
        .header("x-add", "some")
        .header("x-gone", "1")
        .body(Default::default());
    proxy.client().await.send(request.expect("a request")).await;
    let seen = echo.only_request();
    assert_eq!(seen.headers("x-set"), ["new"]);
    assert_eq!(seen.headers("x-add"), ["some", "more"]);
    assert_eq!(seen.headers("x-gone"), [""; 0]);
    assert_eq!(seen.headers("x-fresh"), ["2"]);
}

#[tokio::test]
async fn response_headers_of_backends_are_changed_and_those_of_the_proxy_are_not() {
    let echo = Echo::start("a").await;
    let filter = HttpFilter::ResponseHeaders(changes(
        &[("x-endpoint", "hidden")],
        &[("x-added", "1")],
        &["x-target"],
    ));
    let proxy = serve(|port| {
        let mut resources = simple_with(port, echo.address, |rule| {
            rule.filters = vec![filter.clone()];
        });
        resources.push(ir(HttpRule {
            matches: prefix("/none"),
            filters: vec![filter.clone()],
            ..rule("none")
        }));
        resources
    });
    let reply = proxy.get("a", "/").await;
    assert_eq!(reply.header("x-endpoint"), Some("hidden"));
    assert_eq!(reply.header("x-added"), Some("1"));
    assert_eq!(reply.header("x-target"), None);
    let own = proxy.get("a", "/none").await;
    assert_eq!(own.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(own.header("x-added"), None);
}

#[tokio::test]
async fn response_headers_are_changed_by_the_backend_that_answered_after_the_rule() {
    let first = Echo::start("first").await;
    let second = Echo::start("second").await;
    let filter = |value: &str, remove: &[&str]| {
        let changes = changes(&[("x-last", value)], &[("x-added", value)], remove);
        vec![HttpFilter::ResponseHeaders(changes)]
    };
    let proxy = serve(|port| {
        let mut resources = simple_with(port, first.address, |rule| {
            rule.filters = filter("rule", &[]);
            rule.backends[0].filters = filter("backend", &["x-target"]);
            rule.backends.push(weighted("second", 1));
        });
        resources.extend(backend("second", &[second.address]));
        resources
    });
    let mut client = proxy.client().await;
    let mut endpoints = Vec::new();
    for _ in 0..2 {
        let reply = client.get("a", "/").await;
        // HB-6: the backend's filters run after the rule's, and for its own responses alone.
        let (added, last, target) = match reply.endpoint() {
            "first" => (&["rule", "backend"][..], "backend", None),
            _ => (&["rule"][..], "rule", Some("/")),
        };
        assert_eq!(reply.headers("x-added"), added, "{}", reply.endpoint());
        assert_eq!(reply.header("x-last"), Some(last), "{}", reply.endpoint());
        assert_eq!(reply.header("x-target"), target, "{}", reply.endpoint());
        endpoints.push(reply.endpoint().to_owned());
    }
    endpoints.sort();
    assert_eq!(endpoints, ["first", "second"]);
}

#[tokio::test]
async fn redirects_say_where_to() {
    let echo = Echo::start("a").await;
    let scheme = |scheme: &str| Some(scheme.to_owned());
    let filters = [
        ("/plain", redirect(), 302, "http://a.example:PORT/plain/x?q=1"),
        (
            "/https",
            Redirect { scheme: scheme("https"), status: 301, ..redirect() },
            301,
            "https://a.example/https/x?q=1",
        ),
        (
            "/port",
            Redirect { port: Some(8080), hostname: Some("b.example".to_owned()), ..redirect() },
            302,
            "http://b.example:8080/port/x?q=1",
        ),
        (
            "/full",
            Redirect {
                scheme: scheme("http"),
                path: Some(PathRewrite::Full("/else".to_owned())),
                status: 308,
                ..redirect()
            },
            308,
            "http://a.example/else?q=1",
        ),
        (
            "/prefix",
            Redirect {
                port: Some(80),
                path: Some(PathRewrite::Prefix("/new".to_owned())),
                ..redirect()
            },
            302,
            "http://a.example/new/x?q=1",
        ),
    ];
    let proxy = serve(|port| {
        let mut resources = simple(port, echo.address);
        for (path, redirect, ..) in &filters {
            let filters = vec![HttpFilter::Redirect(redirect.clone())];
            resources.push(ir(HttpRule { matches: prefix(path), filters, ..rule(&path[1..]) }));
        }
        resources
    });
    let port = proxy.address.port().to_string();
    for (path, _, status, location) in filters {
        // The port that a client writes in Host is not the one of Location (HF-3).
        let reply = proxy.get("A.example:1234", &format!("{path}/x?q=1")).await;
        assert_eq!(reply.status.as_u16(), status, "{path}");
        assert_eq!(reply.header("location"), Some(&*location.replace("PORT", &port)), "{path}");
    }
    assert!(echo.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_of_a_backend_answers_in_its_share_alone() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| {
        simple_with(port, echo.address, |rule| {
            rule.backends.push(weighted("app", 1));
            rule.backends[1].filters = vec![HttpFilter::Redirect(redirect())];
        })
    });
    let mut client = proxy.client().await;
    let mut redirected = 0;
    for _ in 0..10 {
        redirected += usize::from(client.get("a", "/").await.status == StatusCode::FOUND);
    }
    assert_eq!(redirected, 5);
    assert_eq!(echo.requests().len(), 5);
}

#[tokio::test]
async fn a_redirect_carries_the_changes_of_response_headers_beside_it() {
    let echo = Echo::start("a").await;
    let added = |value: &str| {
        HttpFilter::ResponseHeaders(changes(&[("x-last", value)], &[("x-added", value)], &[]))
    };
    let proxy = serve(|port| {
        let mut resources = simple_with(port, echo.address, |rule| {
            rule.filters = vec![added("rule")];
            // Whatever stands first in the list.
            rule.backends[0].filters = vec![HttpFilter::Redirect(redirect()), added("backend")];
        });
        let filters = vec![added("rule"), HttpFilter::Redirect(redirect())];
        resources.push(ir(HttpRule { matches: prefix("/rule"), filters, ..rule("rule") }));
        resources
    });
    for (path, added, last) in
        [("/rule", &["rule"][..], "rule"), ("/", &["rule", "backend"], "backend")]
    {
        let reply = proxy.get("a", path).await;
        assert_eq!(reply.status, StatusCode::FOUND, "{path}");
        assert!(reply.header("location").is_some(), "{path}");
        assert_eq!(reply.headers("x-added"), added, "{path}");
        assert_eq!(reply.header("x-last"), Some(last), "{path}");
    }
}

#[tokio::test]
async fn urls_are_rewritten_for_the_backend() {
    let echo = Echo::start("a").await;
    let rewrite = |hostname: Option<&str>, path| {
        let hostname = hostname.map(str::to_owned);
        vec![HttpFilter::UrlRewrite(UrlRewrite { hostname, path })]
    };
    let prefix_to = |to: &str| Some(PathRewrite::Prefix(to.to_owned()));
    let cases = [
        ("/full", rewrite(None, Some(PathRewrite::Full("/one".to_owned()))), "/one?q=1", "a"),
        ("/prefix", rewrite(None, prefix_to("/new")), "/new/x?q=1", "a"),
        ("/strip", rewrite(None, prefix_to("")), "/x?q=1", "a"),
        ("/host", rewrite(Some("b.example"), None), "/host/x?q=1", "b.example"),
        ("/both", rewrite(Some("b.example"), prefix_to("/new")), "/new/x?q=1", "b.example"),
    ];
    let proxy = serve(|port| {
        let mut resources = simple(port, echo.address);
        for (path, filters, ..) in &cases {
            resources.push(ir(HttpRule {
                matches: prefix(path),
                filters: filters.clone(),
                backends: to("app"),
                ..rule(&path[1..])
            }));
        }
        resources
    });
    for (path, _, target, host) in &cases {
        proxy.get("a", &format!("{path}/x?q=1")).await;
        let seen = echo.requests().pop().expect("a request");
        assert_eq!((&*seen.target, seen.header("host")), (*target, Some(*host)), "{path}");
        assert_eq!(seen.header("x-forwarded-host"), Some("a"), "{path}");
    }
}

#[tokio::test]
async fn a_backends_rewrite_starts_from_the_path_that_the_rule_matched() {
    let echo = Echo::start("a").await;
    let rewrite = |to: &str| {
        let path = Some(PathRewrite::Prefix(to.to_owned()));
        vec![HttpFilter::UrlRewrite(UrlRewrite { hostname: None, path })]
    };
    let proxy = serve(|port| {
        simple_with(port, echo.address, |rule| {
            rule.matches = prefix("/v1");
            rule.filters = rewrite("/rule");
            rule.backends[0].filters = rewrite("/backend");
        })
    });
    proxy.get("a", "/v1/x").await;
    assert_eq!(echo.only_request().target, "/backend/x");
}

/// HM-4.
#[tokio::test]
async fn what_is_forwarded_is_the_path_that_was_matched() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple_with(port, echo.address, |rule| rule.matches = prefix("/ok")));
    for (path, forwarded) in [
        ("/ok/%7euser?a=%7e", Some("/ok/~user?a=%7e")),
        ("/x/../ok/./y", Some("/ok/y")),
        ("//ok//y", Some("/ok/y")),
        ("/ok/../secret", None),
        ("/ok/%2e%2e/secret", None),
    ] {
        let reply = proxy.get("a", path).await;
        match forwarded {
            Some(forwarded) => assert_eq!(reply.header("x-target"), Some(forwarded), "{path}"),
            None => assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}"),
        }
    }
}
