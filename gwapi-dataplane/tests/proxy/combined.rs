//! What rules can ask for, two and two: whoever claims both of two features is expected to have them together.

use std::collections::BTreeSet;
use std::time::Duration;

use gwapi_translate::ir::{
    BackendKey, BackendTarget, Cors, CorsNames, CorsOrigin, ExternalAuth, ExternalAuthProtocol,
    HeaderNames, HttpFilter, HttpRetry, HttpRule, HttpTimeouts, IrResource, Mirror, PathRewrite,
    SessionCarrier, SessionPersistence, UrlRewrite,
};

use super::support::upstream::Recorded;
use super::support::*;

/// Something that a rule asks for, of which each leaves a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Feature {
    RequestHeaders,
    ResponseHeaders,
    BackendRequestHeaders,
    BackendResponseHeaders,
    Host,
    Path,
    Copies,
    CrossOrigin,
    Authorization,
    Retry,
    Timeouts,
    Session,
    Weights,
}

use Feature::*;

const ALL: [Feature; 13] = [
    RequestHeaders,
    ResponseHeaders,
    BackendRequestHeaders,
    BackendResponseHeaders,
    Host,
    Path,
    Copies,
    CrossOrigin,
    Authorization,
    Retry,
    Timeouts,
    Session,
    Weights,
];

const ORIGIN: &str = "https://www.example.com";

impl Feature {
    fn ask(self, rule: &mut HttpRule) {
        let set = |name| changes(&[(name, "1")], &[], &[]);
        match self {
            RequestHeaders => rule.filters.push(HttpFilter::RequestHeaders(set("x-asked"))),
            ResponseHeaders => rule.filters.push(HttpFilter::ResponseHeaders(set("x-said"))),
            BackendRequestHeaders => {
                let filter = HttpFilter::RequestHeaders(set("x-asked-of-backend"));
                rule.backends[0].filters.push(filter);
            }
            BackendResponseHeaders => {
                let filter = HttpFilter::ResponseHeaders(set("x-said-of-backend"));
                rule.backends[0].filters.push(filter);
            }
            Host => rewrite(rule).hostname = Some("inner.example".to_owned()),
            Path => rewrite(rule).path = Some(PathRewrite::Prefix("/new".to_owned())),
            Copies => rule.filters.push(HttpFilter::Mirror(Mirror {
                backend: key("mirror"),
                numerator: 1,
                denominator: 1,
            })),
            CrossOrigin => rule.filters.push(HttpFilter::Cors(Cors {
                allow_origins: vec![CorsOrigin::Any],
                allow_credentials: true,
                allow_methods: CorsNames::Any,
                allow_headers: CorsNames::Any,
                expose_headers: CorsNames::Only(Vec::new()),
                max_age: 5,
            })),
            Authorization => rule.filters.push(HttpFilter::ExternalAuth(ExternalAuth {
                target: BackendTarget::Backend(BackendKey::service("default", "auth", 80)),
                protocol: ExternalAuthProtocol::Http {
                    path_prefix: String::new(),
                    request_headers: Vec::new(),
                    // What the service says of itself.
                    response_headers: HeaderNames::Only(vec!["x-endpoint".to_owned()]),
                },
                max_body_bytes: 0,
            })),
            Retry => {
                rule.retry =
                    Some(Box::new(HttpRetry { codes: vec![503], attempts: 2, backoff: None }));
            }
            Timeouts => {
                let long = Some(Duration::from_secs(50));
                let timeouts = HttpTimeouts { request: long, backend_request: long };
                rule.timeouts = Some(Box::new(timeouts));
            }
            Session => {
                let name = "session".to_owned();
                rule.session = Some(Box::new(SessionPersistence {
                    scope: rule.key.to_string(),
                    carrier: SessionCarrier::Cookie {
                        name,
                        path: "/".to_owned(),
                        permanent: false,
                    },
                    absolute_timeout: None,
                }));
            }
            Weights => rule.backends.insert(0, weighted("never", 0)),
        }
    }

    /// The trace that it leaves: in the answer, in the request that the endpoint answered, and elsewhere.
    fn shows(self, reply: &Reply, seen: &Recorded, copies: usize, questions: usize) -> bool {
        match self {
            RequestHeaders => seen.header("x-asked") == Some("1"),
            ResponseHeaders => reply.header("x-said") == Some("1"),
            BackendRequestHeaders => seen.header("x-asked-of-backend") == Some("1"),
            BackendResponseHeaders => reply.header("x-said-of-backend") == Some("1"),
            Host => seen.header("host") == Some("inner.example"),
            Path => seen.target == "/new/rest?q=1",
            Copies => copies == 1,
            CrossOrigin => {
                reply.header("access-control-allow-origin") == Some(ORIGIN)
                    && reply.header("access-control-allow-credentials") == Some("true")
            }
            Authorization => questions == 1 && seen.header("x-endpoint") == Some("auth"),
            Session => reply.headers("set-cookie").iter().any(|it| it.starts_with("session=")),
            // That there is an answer at all is what they have to do with it.
            Retry | Timeouts | Weights => true,
        }
    }
}

/// The one rewrite of a rule (a second one would be refused).
fn rewrite(rule: &mut HttpRule) -> &mut UrlRewrite {
    let is_rewrite = |filter: &HttpFilter| matches!(filter, HttpFilter::UrlRewrite(_));
    if !rule.filters.iter().any(is_rewrite) {
        rule.filters.push(HttpFilter::UrlRewrite(UrlRewrite { hostname: None, path: None }));
    }
    let found = rule.filters.iter_mut().find_map(|filter| match filter {
        HttpFilter::UrlRewrite(rewrite) => Some(rewrite),
        _ => None,
    });
    found.expect("it has one")
}

/// ST-11.
#[tokio::test]
async fn each_two_features_of_a_rule_work_together() {
    for (place, one) in ALL.iter().enumerate() {
        // Each stands alone as well.
        for other in &ALL[place..] {
            let features: BTreeSet<Feature> = [*one, *other].into();
            let (app, mirror, auth) =
                (Echo::start("app").await, Echo::start("mirror").await, Echo::start("auth").await);
            if features.contains(&Retry) {
                app.will_answer(&[503]);
            }
            let proxy = serve(|port| -> Vec<IrResource> {
                let mut resources = simple_with(port, app.address, |rule| {
                    rule.matches = prefix("/old");
                    features.iter().for_each(|feature| feature.ask(rule));
                });
                resources.extend(backend("mirror", &[mirror.address]));
                resources.extend(backend("auth", &[auth.address]));
                resources.extend(backend("never", &[mirror.address]));
                resources
            });
            let request = http::Request::get("/old/rest?q=1")
                .header("host", "a.example")
                .header("origin", ORIGIN)
                .body(Default::default());
            let reply = proxy.client().await.send(request.expect("a request")).await;
            assert_eq!(reply.endpoint(), "app", "{features:?}");
            let attempts = if features.contains(&Retry) { 2 } else { 1 };
            let seen = app.requests();
            assert_eq!(seen.len(), attempts, "{features:?}");
            let copies = match features.contains(&Copies) {
                true => mirror.until_requests(1).await.len(),
                false => mirror.requests().len(),
            };
            let questions = auth.requests().len();
            let last = &seen[attempts - 1];
            for feature in ALL {
                let without = [Retry, Timeouts, Weights].contains(&feature);
                let shows = feature.shows(&reply, last, copies, questions);
                let expected = features.contains(&feature) || without;
                assert_eq!(shows, expected, "{feature:?} of {features:?}: {reply:?} {last:?}");
            }
        }
    }
}
