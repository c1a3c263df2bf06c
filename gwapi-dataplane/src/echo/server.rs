//! The thread that all echo backends share, and their connections.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Cursor};
use std::net::TcpListener;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot, watch};

use super::EchoIdentity;
use super::answer::{self, Question};

/// Connections of one backend; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;

/// Time for a request's head, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// Time for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a request's body; all are read, none kept.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Time that requests in flight get after their backend was dropped.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause after an accept that failed, say for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What an HTTP/2 connection starts with (RFC 9113, 3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The thread; it ends when nobody holds this any more.
struct SharedThread {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

static SHARED: Mutex<Weak<SharedThread>> = Mutex::new(Weak::new());

fn shared_thread() -> io::Result<Arc<SharedThread>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(thread) = shared.upgrade() {
        return Ok(thread);
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::Builder::new().name("echo".to_owned()).spawn(move || {
        let _ = runtime.block_on(stopped);
    })?;
    let thread = Arc::new(SharedThread { runtime: handle, _stop: stop });
    *shared = Arc::downgrade(&thread);
    Ok(thread)
}

/// Serves until the sender of `stopped` is dropped; then closes the port and drops `closing`.
pub(super) fn spawn(
    identity: EchoIdentity,
    listener: TcpListener,
    stopped: watch::Receiver<()>,
    closing: mpsc::Sender<()>,
) -> io::Result<()> {
    let thread = shared_thread()?;
    let listener = {
        let _context = thread.runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let backend = Arc::new(Backend { identity, _thread: thread.clone() });
    thread.runtime.spawn(async move {
        let mut stop = stopped.clone();
        tokio::select! {
            _ = stop.changed() => {}
            () = accept(&listener, &backend, &stopped) => {}
        }
        drop(listener);
        drop(closing);
    });
    Ok(())
}

/// What the connections of one backend share.
struct Backend {
    identity: EchoIdentity,
    /// Connections that finish after their backend was dropped still need the thread.
    _thread: Arc<SharedThread>,
}

async fn accept(
    listener: &tokio::net::TcpListener,
    backend: &Arc<Backend>,
    stopped: &watch::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
        match listener.accept().await {
            Ok((stream, _)) => {
                let (backend, stopped) = (backend.clone(), stopped.clone());
                tokio::spawn(async move {
                    // A client that breaks off, or is no HTTP client, gets no answer.
                    let _ = connection(stream, backend, stopped).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(
    mut stream: TcpStream,
    backend: Arc<Backend>,
    mut stopped: watch::Receiver<()>,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let start = tokio::select! {
        start = tokio::time::timeout(HEAD_TIMEOUT, read_start(&mut stream)) => start.ok()?.ok()?,
        _ = stopped.changed() => return None,
    };
    let is_h2 = start == H2_PREFACE;
    let (read, write) = stream.into_split();
    let io = TokioIo::new(tokio::io::join(Cursor::new(start).chain(read), write));
    let service = service_fn(move |request| {
        let backend = backend.clone();
        async move { Ok::<_, Infallible>(respond(request, &backend.identity).await) }
    });
    if is_h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_concurrent_streams(256);
        let connection = pin!(builder.serve_connection(io, service));
        finish(connection, stopped, |connection| connection.graceful_shutdown()).await
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(true);
        let connection = pin!(builder.serve_connection(io, service));
        finish(connection, stopped, |connection| connection.graceful_shutdown()).await
    }
}

/// Reads until it is plain which protocol the client speaks.
async fn read_start(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(H2_PREFACE.len());
    while start.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(&start) {
        let missing = (H2_PREFACE.len() - start.len()) as u64;
        if stream.take(missing).read_buf(&mut start).await? == 0 {
            break;
        }
    }
    Ok(start)
}

/// Drives a connection to its end; after a stop it answers what is in flight and closes.
async fn finish<C: Future<Output = hyper::Result<()>>>(
    mut connection: std::pin::Pin<&mut C>,
    mut stopped: watch::Receiver<()>,
    shut_down: impl FnOnce(std::pin::Pin<&mut C>),
) -> Option<()> {
    tokio::select! {
        result = connection.as_mut() => return result.ok(),
        _ = stopped.changed() => {}
    }
    shut_down(connection.as_mut());
    tokio::time::timeout(STOP_TIMEOUT, connection).await.ok()?.ok()
}

async fn respond(request: Request<Incoming>, identity: &EchoIdentity) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIMEOUT, discard(body)).await {
        Ok(Ok(())) => {}
        Ok(Err(response)) => return response,
        Err(_) => return answer::refused(http::StatusCode::REQUEST_TIMEOUT, "body too slow"),
    }
    let question = Question::new(&head, identity);
    match question.delay() {
        Ok(Some(delay)) => tokio::time::sleep(delay).await,
        Ok(None) => {}
        Err(message) => {
            return answer::refused(http::StatusCode::INTERNAL_SERVER_ERROR, &message);
        }
    }
    question.answer()
}

/// Reads a body to its end.
async fn discard(mut body: Incoming) -> Result<(), Response<Full<Bytes>>> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            answer::refused(http::StatusCode::BAD_REQUEST, "the body cannot be read")
        })?;
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > MAX_BODY {
            return Err(answer::refused(
                http::StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too long",
            ));
        }
    }
    Ok(())
}
