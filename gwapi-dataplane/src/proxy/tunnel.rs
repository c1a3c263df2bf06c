//! A tunnel: bytes both ways, once client and endpoint have agreed to leave HTTP.

use std::io;
use std::pin::pin;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::account::RequestAccount;
use super::upstream::{Lease, Upgraded};

/// Bytes that are read at once, each way.
const BUFFER: usize = 8 * 1024;

/// Starts the tunnel. It ends when either side closes, when both are silent for `idle_timeout`, or when
/// it is as old as a tunnel may be; with it end the request's account and its hold on the endpoint.
pub(super) fn spawn(
    client: OnUpgrade,
    endpoint: Upgraded,
    mut account: Box<RequestAccount>,
    lease: Lease,
    idle_timeout: Duration,
    max_age: Duration,
) {
    tokio::task::spawn_local(async move {
        let tunnel = Box::pin(run(client, endpoint, idle_timeout));
        match tokio::time::timeout(max_age, tunnel).await {
            Ok(Ok(sent)) => account.tunnelled(sent),
            Ok(Err(error)) => tracing::debug!(%error, "tunnel ended"),
            Err(_) => tracing::debug!("tunnel ended by its age"),
        }
        drop(lease);
    });
}

async fn run(client: OnUpgrade, endpoint: Upgraded, idle_timeout: Duration) -> io::Result<u64> {
    let client = client.await.map_err(io::Error::other)?;
    let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
    let Upgraded { read, write: endpoint_write, read_ahead, _slot } = endpoint;
    let endpoint_read = io::Cursor::new(read_ahead).chain(read);
    let moved = Notify::new();
    let both = async {
        tokio::try_join!(
            copy(client_read, endpoint_write, &moved),
            copy(endpoint_read, client_write, &moved),
        )
    };
    let mut both = pin!(both);
    loop {
        tokio::select! {
            biased;
            copied = &mut both => return copied.map(|(_, sent)| sent),
            waited = tokio::time::timeout(idle_timeout, moved.notified()) => waited?,
        }
    }
}

/// Copies until the end, which is passed on as the end of writing.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Notify,
) -> io::Result<u64> {
    let mut buffer = [0; BUFFER];
    let mut copied = 0;
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            to.shutdown().await?;
            return Ok(copied);
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
        copied += length as u64;
        moved.notify_one();
    }
}
