//! Endpoints.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::authority::TlsServer;
use super::within;

/// A request as an endpoint saw it.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    /// As written: origin-form over HTTP/1.
    pub(crate) target: String,
    pub(crate) version: http::Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Recorded {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("it is text"))
    }

    /// All values of a header.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().expect("it is text")).collect()
    }
}

/// An endpoint that answers 200, unless it is told otherwise, with its name as header `x-endpoint`, the request's body and
/// trailers as its own, and the target as header `x-target`.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Recorded>>>,
    came: Arc<Notify>,
    statuses: Arc<Mutex<VecDeque<u16>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Echo {
    pub(crate) async fn start(name: &str) -> Self {
        Self::on("127.0.0.1:0".parse().expect("an address"), name, false).await
    }

    pub(crate) async fn h2c(name: &str) -> Self {
        Self::on("127.0.0.1:0".parse().expect("an address"), name, true).await
    }

    pub(crate) async fn on(address: SocketAddr, name: &str, http2: bool) -> Self {
        Self::with(address, name, http2, None).await
    }

    /// Inside TLS.
    pub(crate) async fn tls(name: &str, http2: bool, tls: &TlsServer) -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        Self::with(any, name, http2, Some(tls.clone())).await
    }

    async fn with(address: SocketAddr, name: &str, http2: bool, tls: Option<TlsServer>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let came = Arc::new(Notify::new());
        let statuses = Arc::new(Mutex::new(VecDeque::new()));
        let log = Log {
            requests: Arc::clone(&requests),
            came: Arc::clone(&came),
            statuses: Arc::clone(&statuses),
        };
        let name = name.to_owned();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let (name, log, tls) = (name.clone(), log.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, name, log, http2).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, name, log, http2).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, requests, came, statuses, connections, task }
    }

    /// Answers the next requests with these statuses.
    pub(crate) fn will_answer(&self, statuses: &[u16]) {
        self.statuses.lock().expect("no test panicked").extend(statuses);
    }

    /// Connections that came so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().expect("no test panicked").clone()
    }

    /// Waits until so many requests came, and tells of all that have.
    pub(crate) async fn until_requests(&self, count: usize) -> Vec<Recorded> {
        within(async {
            loop {
                let came = self.came.notified();
                let requests = self.requests();
                if requests.len() >= count {
                    return requests;
                }
                came.await;
            }
        })
        .await
    }

    /// The only request that came.
    pub(crate) fn only_request(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

/// Where an endpoint writes down what comes.
#[derive(Clone)]
struct Log {
    requests: Arc<Mutex<Vec<Recorded>>>,
    came: Arc<Notify>,
    statuses: Arc<Mutex<VecDeque<u16>>>,
}

async fn serve<I>(stream: I, name: String, log: Log, http2: bool)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (name, log) = (name.clone(), log.clone());
        async move { Ok::<_, Infallible>(echo(request, &name, &log).await) }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

async fn echo(
    request: Request<Incoming>,
    name: &str,
    log: &Log,
) -> Response<BoxBody<Bytes, Infallible>> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Response::default() };
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    let target = head.uri.to_string();
    log.requests.lock().expect("no test panicked").push(Recorded {
        method: head.method.to_string(),
        target: target.clone(),
        version: head.version,
        headers: head.headers,
        body: body.clone(),
        trailers: trailers.clone(),
    });
    log.came.notify_waiters();
    let body = Full::new(body);
    let body = match trailers {
        Some(trailers) => body.with_trailers(async { Some(Ok(trailers)) }).boxed(),
        None => body.boxed(),
    };
    let status = log.statuses.lock().expect("no test panicked").pop_front().unwrap_or(200);
    Response::builder()
        .status(status)
        .header("x-endpoint", name)
        .header("x-target", target)
        .body(body)
        .expect("it is a response")
}

/// An endpoint that does with each connection what a test says.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// Calls `script` with each connection and its number, counted from 0.
    pub(crate) async fn start<F, R>(script: F) -> Self
    where
        F: Fn(TcpStream, usize) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(script(stream, number));
            }
        });
        Self { address, task }
    }

    /// Answers each request head with these bytes.
    pub(crate) async fn answering(bytes: &'static [u8]) -> Self {
        Self::start(move |mut stream, _| async move {
            while !read_head(&mut stream).await.is_empty() {
                if stream.write_all(bytes).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// Reads requests and answers none.
    pub(crate) async fn silent() -> Self {
        Self::start(
            |mut stream, _| async move { while !read_head(&mut stream).await.is_empty() {} },
        )
        .await
    }
}

/// An endpoint that answers the head at once, and the body when told to.
pub(crate) async fn gated() -> (Scripted, tokio::sync::watch::Sender<bool>) {
    let (go, _) = tokio::sync::watch::channel(false);
    let gate = go.clone();
    let endpoint = Scripted::start(move |mut stream, _| {
        let mut gate = gate.subscribe();
        async move {
            while !read_head(&mut stream).await.is_empty() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await;
                let _ = gate.wait_for(|open| *open).await;
                let _ = stream.write_all(b"done").await;
            }
        }
    })
    .await;
    (endpoint, go)
}

/// An endpoint that tells of each request, and answers it with 200 and nothing else when told to.
pub(crate) struct Held {
    endpoint: Scripted,
    asked: Arc<Notify>,
    go: Arc<Notify>,
}

impl Held {
    pub(crate) async fn start() -> Self {
        let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (Arc::clone(&asked), Arc::clone(&go));
        let endpoint = Scripted::start(move |mut stream, _| {
            let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
            async move {
                while !read_head(&mut stream).await.is_empty() {
                    tell.notify_one();
                    wait.notified().await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            }
        })
        .await;
        Self { endpoint, asked, go }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// Waits for the next request.
    pub(crate) async fn asked(&self) {
        within(self.asked.notified()).await;
    }

    /// Lets it answer.
    pub(crate) fn go(&self) {
        self.go.notify_one();
    }
}

/// Reads to the end of a head; what it read is empty at the end of the connection.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).expect("it is text")
}

/// An endpoint that answers without an end, and says when nobody takes it any more.
pub(crate) async fn endless() -> (Scripted, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let (sender, ended) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
            let _ = sender.send(());
        }
    })
    .await;
    (endpoint, ended)
}

/// An endpoint whose response has so many bytes, and how many of them have left it.
pub(crate) async fn long(bytes: usize) -> (Scripted, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let endpoint = Scripted::start(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let piece = [b'x'; 64 * 1024];
            for _ in 0..bytes / piece.len() {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
                count.fetch_add(piece.len(), Ordering::Relaxed);
            }
            read_head(&mut stream).await;
        }
    })
    .await;
    (endpoint, sent)
}

/// An address at which connections are refused: bound, so that nobody else gets it, and deaf.
pub(crate) fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a port is free");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    (socket, address)
}
