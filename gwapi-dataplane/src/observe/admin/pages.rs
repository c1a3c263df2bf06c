//! What the admin server answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;

use super::dump::{self, Served};
use crate::ConfigPage;
use crate::observe::{Readiness, Telemetry};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The longest that a client may have its question about readiness kept.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

const INDEX: &str = "\
gwapi-proxy

/livez    200 while the process runs; /healthz is the same
/readyz   200 while traffic should be sent here: not before the first complete configuration, and
          not while it drains; ?wait=SECONDS waits up to 10 s for the first configuration
/metrics  metrics, as OpenMetrics text
/config   what is served, as JSON; secrets are left out. Some proxies show it to loopback alone
";

/// The pages and what they are made from.
pub(super) struct Pages {
    telemetry: Arc<Telemetry>,
    config_page: ConfigPage,
    served: Arc<dyn Fn() -> Served + Send + Sync>,
}

impl Pages {
    pub(super) fn new(
        telemetry: Arc<Telemetry>,
        config_page: ConfigPage,
        served: Box<dyn Fn() -> Served + Send + Sync>,
    ) -> Self {
        Self { telemetry, config_page, served: served.into() }
    }

    /// Answers a request that came to the address `local`.
    pub(super) async fn answer<B>(
        &self,
        request: &Request<B>,
        local: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let mut response = if !may_ask(request, local) {
            page(
                StatusCode::MISDIRECTED_REQUEST,
                "ask for an IP address or localhost: other names may be a web page's trick\n",
            )
        } else if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = page(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        } else {
            self.page(request.uri(), local).await
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    async fn page(&self, uri: &Uri, local: SocketAddr) -> Response<Full<Bytes>> {
        match uri.path() {
            "/" => page(StatusCode::OK, INDEX),
            "/livez" | "/healthz" => page(StatusCode::OK, "ok\n"),
            "/readyz" => match wait(uri) {
                Some(longest) => self.readiness(longest).await,
                None => page(StatusCode::BAD_REQUEST, "wait is a number of seconds up to 10\n"),
            },
            "/metrics" => {
                let telemetry = self.telemetry.clone();
                made(OPEN_METRICS, move || telemetry.render()).await
            }
            "/config"
                if self.config_page == ConfigPage::Loopback
                    && !local.ip().to_canonical().is_loopback() =>
            {
                page(StatusCode::FORBIDDEN, "ask by a loopback address, say by a forwarded port\n")
            }
            "/config" => {
                let served = self.served.clone();
                made(JSON, move || dump::json(&served())).await
            }
            _ => page(StatusCode::NOT_FOUND, "not found; / lists what there is\n"),
        }
    }

    async fn readiness(&self, longest: Duration) -> Response<Full<Bytes>> {
        let (status, text) = match self.telemetry.readiness_within(longest).await {
            Readiness::Ready => (StatusCode::OK, "ready\n"),
            Readiness::Starting => {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready: no complete configuration yet\n")
            }
            Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "not ready: draining\n"),
        };
        page(status, text)
    }
}

/// How long the first complete configuration is waited for; none where the query makes no sense.
fn wait(uri: &Uri) -> Option<Duration> {
    let query = uri.query().unwrap_or_default();
    let Some(seconds) = query.split('&').find_map(|field| field.strip_prefix("wait=")) else {
        return Some(Duration::ZERO);
    };
    let wait = Duration::try_from_secs_f32(seconds.parse().ok()?).ok()?;
    (wait <= LONGEST_WAIT).then_some(wait)
}

fn page(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    answer(status, TEXT, Bytes::from_static(text.as_bytes()))
}

/// A page that takes a while to make, or waits for a lock: made elsewhere, so that health stays
/// answered.
async fn made(
    content_type: &'static str,
    make: impl FnOnce() -> String + Send + 'static,
) -> Response<Full<Bytes>> {
    match tokio::task::spawn_blocking(make).await {
        Ok(text) => answer(StatusCode::OK, content_type, text.into()),
        Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made\n"),
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Whether the request names this server by address.
///
/// A web page can point a name of its own at a loopback address and then read what a browser on
/// this machine can read (DNS rebinding). It cannot choose an address or `localhost` for a name.
fn may_ask<B>(request: &Request<B>, local: SocketAddr) -> bool {
    if !local.ip().to_canonical().is_loopback() {
        return true;
    }
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => match request.headers().get(HOST) {
            Some(host) => host.to_str().ok(),
            None => return true,
        },
    };
    host.is_some_and(names_an_address)
}

fn names_an_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host();
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let name = name.to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_name_a_loopback_server() {
        for (host, allowed) in [
            ("127.0.0.1:9000", true),
            ("[::1]:9000", true),
            ("LocalHost", true),
            ("admin.localhost:9000", true),
            ("localhost.attacker.example", false),
            ("127.0.0.1.attacker.example", false),
            ("attacker.example:9000", false),
            ("", false),
        ] {
            let request = Request::builder().header(HOST, host).body(()).unwrap();
            assert_eq!(may_ask(&request, "127.0.0.1:9000".parse().unwrap()), allowed, "{host:?}");
            assert!(may_ask(&request, "192.0.2.1:9000".parse().unwrap()), "{host:?}");
        }
    }

    #[tokio::test]
    async fn the_configuration_may_be_for_loopback_alone() {
        for (page, address, expected) in [
            (ConfigPage::Loopback, "192.0.2.1:9000", 403),
            (ConfigPage::Loopback, "127.0.0.1:9000", 200),
            (ConfigPage::Loopback, "[::ffff:127.0.0.1]:9000", 200),
            (ConfigPage::Everybody, "192.0.2.1:9000", 200),
        ] {
            let pages = Pages::new(Telemetry::new(None), page, Box::new(Served::default));
            let request = Request::builder().uri("/config").body(()).unwrap();
            let response = pages.answer(&request, address.parse().unwrap()).await;
            assert_eq!(response.status(), expected, "{page:?} {address}");
        }
    }

    #[test]
    fn the_authority_of_the_target_wins_over_the_host_header() {
        let request = Request::builder()
            .uri("http://attacker.example/config")
            .header(HOST, "127.0.0.1")
            .body(())
            .unwrap();
        assert!(!may_ask(&request, "[::1]:9000".parse().unwrap()));
    }
}
