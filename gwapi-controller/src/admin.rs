//! The admin server: health and metrics. It reads and never changes anything.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::engine::Progress;
use crate::listen::listen;
use crate::metrics::Metrics;

/// Connections at one time. One more takes the place of the oldest that has not asked yet; where all
/// have, it waits.
const MAX_CONNECTIONS: usize = 32;

/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a connection, which takes one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after an accept that failed, say for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the pages say.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    /// How far the controller knows the cluster; none before it has begun to look.
    pub(crate) progress: watch::Receiver<Progress>,
    /// Whether it is about to stop.
    pub(crate) stop: watch::Receiver<bool>,
    /// What is counted.
    pub(crate) metrics: Metrics,
}

/// Binds the address, for the current runtime; port 0 picks one, and `::` is both families.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::from_std(listen(address)?)
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, pages: Pages) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut silent = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        silent.retain(Silent::is_silent);
        if places.available_permits() == 0
            && let Some(oldest) = silent.pop_front()
        {
            oldest.task.abort();
        }
        let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
        let asked = Arc::new(AtomicBool::new(false));
        let served = connection(stream, pages.clone(), asked.clone());
        let task = tokio::spawn(async move {
            // A client that breaks off or is too slow is its own problem.
            let _ = timeout(CONNECTION_TIMEOUT, served).await;
            drop(place);
        });
        silent.push_back(Silent { asked, task: task.abort_handle() });
    }
}

/// A connection that had not sent the head of a request when last looked at.
struct Silent {
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Silent {
    fn is_silent(&self) -> bool {
        !self.asked.load(Ordering::Relaxed) && !self.task.is_finished()
    }
}

async fn connection(stream: TcpStream, pages: Pages, asked: Arc<AtomicBool>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let response = pages.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

impl Pages {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, text, kind) = match path {
            "/livez" => (StatusCode::OK, "ok\n".to_owned(), TEXT),
            "/readyz" => {
                let obstacles = self.obstacles();
                if obstacles.is_empty() {
                    (StatusCode::OK, "ok\n".to_owned(), TEXT)
                } else {
                    let text = obstacles.join("\n") + "\n";
                    (StatusCode::SERVICE_UNAVAILABLE, text, TEXT)
                }
            }
            "/metrics" => (StatusCode::OK, self.metrics.render(), OPEN_METRICS),
            _ => {
                let text = "there are /livez, /readyz and /metrics\n".to_owned();
                (StatusCode::NOT_FOUND, text, TEXT)
            }
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !matches!(*method, Method::GET | Method::HEAD) {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            *response.body_mut() = Full::default();
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    /// Why this controller is not ready.
    fn obstacles(&self) -> Vec<String> {
        if *self.stop.borrow() {
            return vec!["is about to stop".to_owned()];
        }
        self.progress.borrow().obstacles()
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use gwapi_model::Kind;

    use super::*;
    use crate::watch::Source;

    async fn text(response: Response<Full<Bytes>>) -> String {
        let body = response.into_body().collect().await.expect("a body in memory");
        String::from_utf8(body.to_bytes().to_vec()).expect("text")
    }

    #[tokio::test]
    async fn readiness_says_what_is_missing_and_ends_with_the_controller() {
        let source = Source { kind: Kind::Gateway, namespace: None };
        let (_progress, progress) = watch::channel(Progress::new(vec![source]));
        let (stop, stopped) = watch::channel(false);
        let pages = Pages { progress, stop: stopped, metrics: Metrics::new() };
        let ready = pages.answer(&Method::GET, "/readyz");
        assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text(ready).await, "has not listed Gateway\n");
        assert_eq!(pages.answer(&Method::GET, "/livez").status(), StatusCode::OK);
        stop.send_replace(true);
        assert_eq!(text(pages.answer(&Method::GET, "/readyz")).await, "is about to stop\n");
    }

    #[tokio::test]
    async fn clients_that_say_nothing_do_not_keep_out_one_that_asks() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let (_progress, progress) = watch::channel(Progress::new(Vec::new()));
        let (_stop, stop) = watch::channel(false);
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener, Pages { progress, stop, metrics: Metrics::new() }));
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.expect("a connection"));
        }
        let mut asking = TcpStream::connect(address).await.expect("a connection");
        let request = b"GET /livez HTTP/1.1\r\nHost: admin\r\n\r\n";
        asking.write_all(request).await.expect("an open connection");
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused_with_a_way_out() {
        let (_progress, progress) = watch::channel(Progress::new(Vec::new()));
        let (_stop, stop) = watch::channel(false);
        let pages = Pages { progress, stop, metrics: Metrics::new() };
        let missing = pages.answer(&Method::GET, "/");
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
        assert!(text(missing).await.contains("/readyz"));
        let post = pages.answer(&Method::POST, "/metrics");
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(post.headers()[ALLOW], "GET, HEAD");
    }
}
