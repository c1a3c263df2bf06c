//! A connection of somebody who has yet to show who it is, and not much time for that.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tonic::transport::server::Connected;

/// A connection that ends at its deadline, unless somebody is admitted on it before.
pub(super) struct Guarded<S> {
    stream: S,
    peer: Peer,
    deadline: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

/// The other side of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The place among strangers; gone when the peer is admitted.
    stranger: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, stranger: OwnedSemaphorePermit) -> Self {
        Self { address, stranger: Arc::new(Mutex::new(Some(stranger))) }
    }

    /// It is known who this is: the connection stays, and another stranger may come.
    pub(super) fn admit(&self) {
        drop(self.lock().take());
    }

    fn is_stranger(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.stranger.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, peer: Peer, time: Duration, place: OwnedSemaphorePermit) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep(time)));
        Self { stream, peer, deadline, _place: place }
    }

    /// Fails once the deadline is over and nobody was admitted.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(deadline) = &mut self.deadline else { return Ok(()) };
        if !self.peer.is_stranger() {
            self.deadline = None;
        } else if deadline.as_mut().poll(context).is_ready() {
            let why = "the peer did not show in time who it is";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(())
    }
}

impl<S> Connected for Guarded<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Semaphore;

    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    async fn guarded(
        strangers: &Arc<Semaphore>,
    ) -> (Guarded<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let places = Arc::new(Semaphore::new(1));
        let place = places.acquire_owned().await.expect("open");
        let stranger = strangers.clone().acquire_owned().await.expect("open");
        let peer = Peer::new(SocketAddr::from(([192, 0, 2, 1], 1)), stranger);
        (Guarded::new(ours, peer, TIME, place), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_nobody_ends_in_time() {
        let strangers = Arc::new(Semaphore::new(1));
        let (mut connection, mut theirs) = guarded(&strangers).await;
        theirs.write_all(b"a").await.expect("room");
        assert_eq!(connection.read_u8().await.expect("in time"), b'a');
        let began = tokio::time::Instant::now();
        let error = connection.read_u8().await.expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_somebody_stays_and_makes_room_for_the_next_stranger() {
        let strangers = Arc::new(Semaphore::new(1));
        let (mut connection, mut theirs) = guarded(&strangers).await;
        assert_eq!(strangers.available_permits(), 0);
        connection.connect_info().admit();
        assert_eq!(strangers.available_permits(), 1);
        let read = tokio::spawn(async move { connection.read_u8().await });
        tokio::time::advance(10 * TIME).await;
        theirs.write_all(b"a").await.expect("room");
        assert_eq!(read.await.expect("no panic").expect("still open"), b'a');
    }
}
