//! New connections to endpoints.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use gwapi_translate::ir::is_refused_endpoint;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::Limits;
use crate::proxy::body::RequestBody;

/// Flow-control windows of HTTP/2 towards endpoints: of a stream, and of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Streams that were reset on our side and that hyper goes on to remember. Clients that cancel many
/// requests must not bring the connection down that others share.
const MAX_RESET_STREAMS: usize = 16 * 1024;

/// Streams that we reset for what the endpoint sent on them, over the life of a connection. As above:
/// a late frame on a stream that a client cancelled counts here.
const MAX_LOCAL_RESETS: usize = 1 << 20;

/// Runs hyper's futures on the worker they were made on.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) enum Place {
    Address(SocketAddr),
    /// A DNS name and a port: whatever addresses it resolves to when a connection is made.
    Name(Rc<str>, u16),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// A TCP connection to an endpoint.
pub(super) async fn connect(place: &Place, limits: &Limits) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(limits.connect_timeout, dial(place)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn dial(place: &Place) -> io::Result<TcpStream> {
    let (name, port) = match place {
        Place::Address(address) => return TcpStream::connect(address).await,
        Place::Name(name, port) => (name, *port),
    };
    // The name is resolved on a thread that may block.
    let mut last = io::Error::other("the name has no address that may be used");
    for address in tokio::net::lookup_host((&**name, port)).await? {
        // Whoever answers for a name must not reach more through the proxy than who writes one.
        if is_refused_endpoint(address.ip()) {
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// An HTTP/2 connection by prior knowledge, for many requests at once.
pub(super) async fn http2(
    place: &Place,
    limits: &Limits,
) -> io::Result<http2::SendRequest<RequestBody>> {
    let stream = connect(place, limits).await?;
    let address = stream.peer_addr()?;
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.max_response_head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(sender)
}
