//! New connections to endpoints.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::Limits;
use crate::proxy::body::RequestBody;

/// Flow-control windows of HTTP/2 towards endpoints: of a stream, and of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Bytes of the header block of a response that an endpoint may send over HTTP/2.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// Runs hyper's futures on the worker they were made on.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TokioIo<TcpStream>> {
    let stream = tokio::time::timeout(limit, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// An HTTP/1.1 connection. Its task ends with the connection, and that with the sender.
pub(super) async fn http1(
    address: SocketAddr,
    limits: &Limits,
) -> io::Result<http1::SendRequest<RequestBody>> {
    let io = connect(address, limits.connect_timeout).await?;
    let (sender, connection) = http1::Builder::new()
        .max_header_size(limits.max_head_bytes)
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(sender)
}

/// An HTTP/2 connection by prior knowledge, for many requests at once.
pub(super) async fn http2(
    address: SocketAddr,
    limits: &Limits,
) -> io::Result<http2::SendRequest<RequestBody>> {
    let io = connect(address, limits.connect_timeout).await?;
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(sender)
}
