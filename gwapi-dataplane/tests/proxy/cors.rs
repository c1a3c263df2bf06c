//! Cross-origin resource sharing, as browsers and endpoints see it.

use gwapi_translate::ir::{
    Cors, CorsHost, CorsNames, CorsOrigin, HttpFilter, HttpMatch, HttpRule, SessionCarrier,
    SessionPersistence,
};
use http::{Request, StatusCode};

use super::support::*;

const FOO: &str = "https://www.foo.com";

fn origin(host: CorsHost) -> CorsOrigin {
    CorsOrigin::Of { scheme: "https".to_owned(), host, port: 443 }
}

fn only(names: &[&str]) -> CorsNames {
    CorsNames::Only(names.iter().map(|&name| name.to_owned()).collect())
}

/// Nothing but the origin `FOO`.
fn cors() -> Cors {
    Cors {
        allow_origins: vec![origin(CorsHost::Exact("www.foo.com".to_owned()))],
        allow_credentials: false,
        allow_methods: only(&[]),
        allow_headers: only(&[]),
        expose_headers: only(&[]),
        max_age: 5,
    }
}

/// A request of a script.
fn from(origin: &str, method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "a").header("origin", origin)
}

/// The question whether a script may make a request.
async fn preflight(proxy: &Proxy, origin: &str, method: &str, path: &str) -> Reply {
    let request = from(origin, "OPTIONS", path)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "x-a, x-b")
        .body(Default::default());
    proxy.client().await.send(request.expect("a request")).await
}

async fn ask(proxy: &Proxy, origin: &str, path: &str) -> Reply {
    let request = from(origin, "GET", path).body(Default::default());
    proxy.client().await.send(request.expect("a request")).await
}

/// What a reply says to browsers, name by name.
fn said(reply: &Reply) -> Vec<(&str, &str)> {
    let names = ["allow-origin", "allow-methods", "allow-headers", "expose-headers"];
    let names = names.into_iter().chain(["allow-credentials", "max-age"]);
    let said = |name| Some((name, reply.header(&format!("access-control-{name}"))?));
    names.filter_map(said).collect()
}

fn serve_cors(echo: &Echo, cors: Cors) -> Proxy {
    serve(|port| {
        simple_with(port, echo.address, |rule| rule.filters = vec![HttpFilter::Cors(cors.clone())])
    })
}

/// CO-2.
#[tokio::test]
async fn a_preflight_is_answered_and_never_forwarded() {
    let echo = Echo::start("a").await;
    let proxy = serve_cors(
        &echo,
        Cors {
            allow_credentials: true,
            allow_methods: only(&["GET", "OPTIONS"]),
            allow_headers: only(&["x-header-1", "x-header-2"]),
            expose_headers: only(&["x-header-3"]),
            max_age: 3600,
            ..cors()
        },
    );
    let reply = preflight(&proxy, FOO, "GET", "/").await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert_eq!(
        said(&reply),
        [
            ("allow-origin", FOO),
            ("allow-methods", "GET, OPTIONS"),
            ("allow-headers", "x-header-1, x-header-2"),
            ("expose-headers", "x-header-3"),
            ("allow-credentials", "true"),
            ("max-age", "3600"),
        ]
    );
    assert_eq!(reply.header("vary"), Some("Origin"));
    let refused = preflight(&proxy, "https://foobar.com", "GET", "/").await;
    assert_eq!(refused.status, StatusCode::NO_CONTENT);
    assert_eq!(said(&refused), []);
    assert_eq!(echo.requests().len(), 0);
}

/// CO-2.
#[tokio::test]
async fn options_of_nobody_else_s_script_are_a_request_like_others() {
    let echo = Echo::start("a").await;
    let proxy = serve_cors(&echo, cors());
    let plain = from(FOO, "OPTIONS", "/").body(Default::default());
    let reply = proxy.client().await.send(plain.expect("a request")).await;
    assert_eq!((reply.status, reply.endpoint()), (StatusCode::OK, "a"));
    assert_eq!(said(&reply), [("allow-origin", FOO)]);
}

#[tokio::test]
async fn a_preflight_belongs_to_the_rule_of_the_request_that_it_asks_for() {
    let echo = Echo::start("a").await;
    let of = |method: &str, cors: Option<Cors>| HttpRule {
        matches: vec![HttpMatch { method: Some(method.to_owned()), ..HttpMatch::default() }],
        filters: cors.map(HttpFilter::Cors).into_iter().collect(),
        backends: to("a"),
        ..rule(method)
    };
    let puts = Cors { allow_methods: only(&["PUT"]), ..cors() };
    let proxy = serve(|port| {
        let mut resources = vec![ir_listener(listener("web", port))];
        resources.extend(backend("a", &[echo.address]));
        resources.push(ir(of("PUT", Some(puts.clone()))));
        resources.push(ir(of("GET", None)));
        resources.push(ir(of("OPTIONS", None)));
        resources
    });
    let reply = preflight(&proxy, FOO, "PUT", "/").await;
    assert_eq!(reply.header("access-control-allow-methods"), Some("PUT"));
    assert_eq!(echo.requests().len(), 0);
    // Where the rule of the request has no CORS, the backend is asked.
    assert_eq!(preflight(&proxy, FOO, "GET", "/").await.endpoint(), "a");
}

/// CO-4, CO-5, CO-6.
#[tokio::test]
async fn what_every_name_means_depends_on_credentials() {
    let echo = Echo::start("a").await;
    let any = |allow_credentials: bool| Cors {
        allow_origins: vec![CorsOrigin::Any],
        allow_credentials,
        allow_methods: CorsNames::Any,
        allow_headers: CorsNames::Any,
        expose_headers: CorsNames::Any,
        max_age: 5,
    };
    let proxy = serve_cors(&echo, any(false));
    let everybody = [
        ("allow-origin", "*"),
        ("allow-methods", "*"),
        ("allow-headers", "x-a, x-b"),
        ("expose-headers", "*"),
        ("max-age", "5"),
    ];
    assert_eq!(said(&preflight(&proxy, FOO, "PUT", "/").await), everybody);
    let expected = [("allow-origin", "*"), ("expose-headers", "*")];
    assert_eq!(said(&ask(&proxy, FOO, "/").await), expected);

    // CO-4: no `*` with credentials.
    let proxy = serve_cors(&echo, any(true));
    let each = [
        ("allow-origin", FOO),
        ("allow-methods", "PUT"),
        ("allow-headers", "x-a, x-b"),
        ("allow-credentials", "true"),
        ("max-age", "5"),
    ];
    assert_eq!(said(&preflight(&proxy, FOO, "PUT", "/").await), each);
    let reply = ask(&proxy, FOO, "/").await;
    let exposed = reply.header("access-control-expose-headers").expect("names");
    assert!(exposed.split(", ").any(|name| name == "x-endpoint"), "{exposed}");
}

/// CO-4: all of them are those of the response that the script gets.
#[tokio::test]
async fn fields_that_the_proxy_adds_are_exposed_as_those_of_the_backend() {
    let echo = Echo::start("a").await;
    let total = changes(&[("x-total", "7")], &[("set-cookie", "a=b")], &[]);
    let session = SessionPersistence {
        scope: "app".to_owned(),
        carrier: SessionCarrier::Header("x-session".to_owned()),
        absolute_timeout: None,
    };
    let cors = Cors { allow_credentials: true, expose_headers: CorsNames::Any, ..cors() };
    let proxy = serve(|port| {
        simple_with(port, echo.address, |rule| {
            rule.filters =
                vec![HttpFilter::Cors(cors.clone()), HttpFilter::ResponseHeaders(total.clone())];
            rule.session = Some(Box::new(session.clone()));
        })
    });
    let reply = ask(&proxy, FOO, "/").await;
    let exposed = reply.header("access-control-expose-headers").expect("names");
    let exposed: Vec<&str> = exposed.split(", ").collect();
    for name in ["x-endpoint", "x-total", "x-session"] {
        assert!(exposed.contains(&name) && reply.header(name).is_some(), "{name}: {exposed:?}");
    }
    let untold = |name: &&str| *name == "set-cookie" || name.starts_with("access-control-");
    assert!(!exposed.iter().any(untold), "{exposed:?}");
}

/// CO-3.
#[tokio::test]
async fn responses_say_what_the_route_says_and_not_what_the_backend_says() {
    let talkative = Scripted::answering(
        b"HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\nvary: accept, origin\r\n\
          access-control-allow-credentials: true\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let wildcard = origin(CorsHost::Below("bar.com".to_owned()));
    let cors = Cors { allow_origins: vec![wildcard], ..cors() };
    let proxy = serve(|port| {
        simple_with(port, talkative.address, |rule| {
            rule.filters = vec![HttpFilter::Cors(cors.clone())];
        })
    });
    let reply = ask(&proxy, "https://xpto.www.bar.com", "/").await;
    assert_eq!(said(&reply), [("allow-origin", "https://xpto.www.bar.com")]);
    assert_eq!(reply.headers("vary"), ["accept, origin"]);
    let reply = ask(&proxy, FOO, "/").await;
    assert_eq!((reply.status, said(&reply)), (StatusCode::OK, vec![]));
    // Who asks without an origin is no script.
    assert_eq!(said(&proxy.get("a", "/").await), []);
}

/// CO-8: a browser tells nothing by what it sends along; whether scripts may read what was asked for with
/// credentials is its matter, by `access-control-allow-credentials`.
#[tokio::test]
async fn requests_with_credentials_are_told_what_others_are() {
    let echo = Echo::start("a").await;
    for allow_credentials in [false, true] {
        let proxy = serve_cors(&echo, Cors { allow_credentials, ..cors() });
        let without = ask(&proxy, FOO, "/").await;
        let expected = match allow_credentials {
            false => vec![("allow-origin", FOO)],
            true => vec![("allow-origin", FOO), ("allow-credentials", "true")],
        };
        assert_eq!(said(&without), expected);
        for (name, value) in [("cookie", "session=1"), ("authorization", "Basic YTpi")] {
            let request = from(FOO, "GET", "/").header(name, value).body(Default::default());
            let reply = proxy.client().await.send(request.expect("a request")).await;
            assert_eq!((reply.endpoint(), said(&reply)), ("a", expected.clone()), "{name}");
            assert_eq!(reply.headers("vary"), without.headers("vary"), "{name}");
            let seen = echo.requests().pop().expect("it came");
            assert_eq!(seen.header(name), Some(value), "the backend gets them");

            let question = from(FOO, "OPTIONS", "/").header("access-control-request-method", "GET");
            let question = question.header(name, value).body(Default::default());
            let reply = proxy.client().await.send(question.expect("a request")).await;
            assert_eq!(reply.header("access-control-allow-origin"), Some(FOO), "{name}");
        }
    }
}

#[tokio::test]
async fn answers_of_the_proxy_can_be_read_by_the_scripts_that_are_allowed() {
    let allowed = vec![HttpFilter::Cors(cors())];
    let redirect = gwapi_translate::ir::Redirect {
        scheme: None,
        hostname: None,
        port: None,
        path: None,
        status: 302,
    };
    let proxy = serve(|port| {
        let to_redirect = vec![HttpFilter::Redirect(redirect.clone()), allowed[0].clone()];
        vec![
            ir_listener(listener("web", port)),
            ir(HttpRule { filters: allowed.clone(), ..rule("none") }),
            ir(HttpRule { matches: prefix("/r"), filters: to_redirect, ..rule("redirect") }),
        ]
    });
    let reply = ask(&proxy, FOO, "/").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(said(&reply), [("allow-origin", FOO)]);
    let reply = ask(&proxy, FOO, "/r").await;
    assert_eq!(reply.status, StatusCode::FOUND);
    assert_eq!(said(&reply), [("allow-origin", FOO)]);
}

#[tokio::test]
async fn a_backend_can_have_cors_of_its_own() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| {
        simple_with(port, echo.address, |rule| {
            rule.backends[0].filters = vec![HttpFilter::Cors(cors())];
        })
    });
    assert_eq!(said(&ask(&proxy, FOO, "/").await), [("allow-origin", FOO)]);
    let reply = preflight(&proxy, FOO, "GET", "/").await;
    assert_eq!(said(&reply), [("allow-origin", FOO), ("max-age", "5")]);
    assert_eq!(echo.requests().len(), 1);
}
