//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::connection;
use super::worker::{Done, Slot, Worker};

/// Pause after the host has run out of something that a connection needs: a loop that asks again
/// at once would take a core.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for an address until told to stop; then takes what waits in the socket, so
/// that closing it refuses nobody who was let in by the kernel.
pub(super) async fn accept(
    worker: Rc<Worker>,
    listener: TcpListener,
    address: SocketAddr,
    mut stop: oneshot::Receiver<Done>,
) {
    let done = loop {
        let next = async {
            worker.below(worker.shared.max_connections()).await;
            listener.accept().await
        };
        tokio::select! {
            biased;
            done = &mut stop => break done,
            accepted = next => match accepted {
                Ok((stream, peer)) => begin(&worker, stream, peer, address),
                Err(error) => recover(&worker, &error, address).await,
            },
        }
    };
    // What is left in the queue is asked of the kernel itself: the runtime only knows what it was
    // told when it last polled.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                begin(&worker, stream, peer, address);
            }
        }
    }
    drop(done);
}

fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, address: SocketAddr) {
    if worker.is_draining() {
        worker.shared.note_accept();
    }
    let slot = Slot::new(worker);
    tokio::task::spawn_local(connection::serve(Rc::clone(worker), stream, peer, address, slot));
}

async fn recover(worker: &Worker, error: &io::Error, address: SocketAddr) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied};
    // The client went away between its handshake and here, or a firewall took it.
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied)
    {
        return;
    }
    if worker.shared.may_warn(Instant::now()) {
        tracing::warn!(%address, %error, "cannot accept connections");
    }
    tokio::time::sleep(PAUSE).await;
}
