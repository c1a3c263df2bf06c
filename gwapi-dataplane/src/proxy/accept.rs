//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::connection;
use super::shared::Place;
use super::worker::{Done, Slot, Worker};

/// Pause after the host has run out of something that a connection needs, and in an overload: a loop
/// that asks again at once would take a core.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for an address until told to stop; then takes what waits in the socket, so
/// that closing it refuses nobody who was let in by the kernel.
pub(super) async fn accept(
    worker: Rc<Worker>,
    listener: TcpListener,
    address: SocketAddr,
    mut stop: oneshot::Receiver<Done>,
) {
    let mut held = None;
    let done = loop {
        tokio::select! {
            biased;
            done = &mut stop => break done,
            accepted = next(&worker, &listener, &mut held) => match accepted {
                Ok(place) => {
                    let (stream, peer) = held.take().expect("accepted before it got a place");
                    begin(&worker, stream, peer, address, place);
                }
                Err(error) => recover(&worker, &error, address).await,
            },
        }
    };
    if let Some((stream, peer)) = held {
        begin(&worker, stream, peer, address, worker.shared.place());
    }
    // What is left in the queue is asked of the kernel itself: the runtime only knows what it was
    // told when it last polled.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                begin(&worker, stream, peer, address, worker.shared.place());
            }
        }
    }
    drop(done);
}

/// Accepts a connection into `held`, and gets it a place among all. Dropped in between, it goes on
/// where it was: other sockets may have taken the last place, and what was accepted is refused to
/// nobody.
async fn next(
    worker: &Worker,
    listener: &TcpListener,
    held: &mut Option<(TcpStream, SocketAddr)>,
) -> io::Result<Place> {
    let shared = &worker.shared;
    if held.is_none() {
        worker.has_room().await;
        shared.room().await;
        // In an overload one connection for each of these pauses: that who looks after the gateway
        // gets an answer, if not a good one.
        shared.overload.over(PAUSE).await;
        *held = Some(listener.accept().await?);
    }
    Ok(shared.wait_for_place().await)
}

fn begin(
    worker: &Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    address: SocketAddr,
    place: Place,
) {
    if worker.is_draining() {
        worker.shared.note_accept();
    }
    let slot = Slot::new(worker, place);
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
