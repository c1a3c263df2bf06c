//! A tunnel: bytes both ways, once client and endpoint have agreed to leave HTTP.

use std::io;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;

use super::account::RequestAccount;
use super::relay::{Broken, Passed, relay};
use super::upstream::{Lease, Upgraded};
use crate::observe::Ended;

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
    // The end of the endpoint's side says nothing of what the client still sends.
    account.unread().forget();
    account.no_longer_in_flight();
    tokio::task::spawn_local(async move {
        let mut tunnel = Tunnel { account, passed: Passed::default() };
        let passed = Box::pin(run(client, endpoint, idle_timeout, &tunnel.passed));
        let ended = match tokio::time::timeout(max_age, passed).await {
            Ok(Ok(())) => Ended::Complete,
            Ok(Err(error)) => {
                tracing::debug!(%error, "tunnel ended");
                error.ended()
            }
            Err(_) => {
                tracing::debug!("tunnel ended by its age");
                Ended::Timeout
            }
        };
        tunnel.account.ended(ended);
        drop(tunnel);
        drop(lease);
    });
}

/// An account that knows what went through, however the tunnel ends.
struct Tunnel {
    account: Box<RequestAccount>,
    passed: Passed,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.account.tunnelled(&self.passed);
    }
}

async fn run(
    client: OnUpgrade,
    endpoint: Upgraded,
    idle_timeout: Duration,
    passed: &Passed,
) -> Result<(), Broken> {
    let client = client.await.map_err(io::Error::other).map_err(Broken::Client)?;
    let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
    let Upgraded { read, write: endpoint_write, read_ahead, _slot } = endpoint;
    let endpoint_read = io::Cursor::new(read_ahead).chain(read);
    relay(client_read, client_write, endpoint_read, endpoint_write, idle_timeout, passed).await
}
