//! A connection of somebody who has yet to show who it is, and not much time for that: neither before its first
//! stream nor after its last one.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

/// A connection that ends at its deadline, unless somebody is admitted on it before; without a stream it has
/// one again.
pub(super) struct Guarded<S> {
    stream: S,
    peer: Peer,
    time: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

/// The other side of a connection; clones are one.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    standing: Arc<Standing>,
}

#[derive(Debug)]
struct Standing {
    /// The place among strangers; gone when the peer is admitted.
    stranger: Mutex<Option<Stranger>>,
    /// Streams that are open.
    streams: AtomicUsize,
    /// Whether the connection is over.
    is_over: AtomicBool,
    /// The connection, which has to hear of the end of its last stream.
    waker: AtomicWaker,
}

/// A stream that is open; dropping it is its end.
#[derive(Debug)]
pub(super) struct Admitted(Arc<Standing>);

/// Room for those who have yet to show who they are: some in all, and fewer from one address, so that
/// nobody can take it all.
pub(super) struct Strangers {
    places: Arc<Semaphore>,
    from: Arc<Mutex<HashMap<IpAddr, usize>>>,
    each: usize,
}

/// A place among strangers.
#[derive(Debug)]
pub(super) struct Stranger {
    address: IpAddr,
    from: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _place: OwnedSemaphorePermit,
}

impl Strangers {
    /// Room for so many, and for so many from one address.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(all)), from: Arc::default(), each }
    }

    /// Waits for a place, whoever will take it.
    pub(super) async fn place(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.places).acquire_owned().await.expect("nobody closes the semaphore")
    }

    /// Whether one more from this address may take a place.
    pub(super) fn has_room_for(&self, address: IpAddr) -> bool {
        lock(&self.from).get(&address.to_canonical()).is_none_or(|count| *count < self.each)
    }

    /// Gives a place to somebody.
    pub(super) fn take_in(&self, address: IpAddr, place: OwnedSemaphorePermit) -> Stranger {
        let (address, from) = (address.to_canonical(), Arc::clone(&self.from));
        *lock(&from).entry(address).or_default() += 1;
        Stranger { address, from, _place: place }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut from = lock(&self.from);
        if let Some(count) = from.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                from.remove(&self.address);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    pub(super) fn new(address: SocketAddr, stranger: Stranger) -> Self {
        let standing = Standing {
            stranger: Mutex::new(Some(stranger)),
            streams: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        };
        Self { address, standing: Arc::new(standing) }
    }

    /// It is known who this is, and it has a stream: the connection stays as long as that, and another
    /// stranger may come.
    pub(super) fn admit(&self) -> Admitted {
        self.standing.streams.fetch_add(1, Ordering::AcqRel);
        drop(lock(&self.standing.stranger).take());
        Admitted(Arc::clone(&self.standing))
    }

    /// Whether its connection is there still, with a stream or without.
    pub(super) fn is_connected(&self) -> bool {
        !self.standing.is_over.load(Ordering::Acquire)
    }

    /// Whether both are the other side of one connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.standing, &other.standing)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.waker.wake();
        }
    }
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, peer: Peer, time: Duration, place: OwnedSemaphorePermit) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep(time)));
        Self { stream, peer, time, deadline, _place: place }
    }

    /// Fails when there was no stream for the whole time.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let standing = &self.peer.standing;
        // Before the look, so that no end of a stream is missed.
        standing.waker.register(context.waker());
        if standing.streams.load(Ordering::Acquire) > 0 {
            self.deadline = None;
            return Ok(());
        }
        let time = self.time;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        if deadline.as_mut().poll(context).is_ready() {
            let why = "the peer did not show in time who it is, or has no stream any more";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(())
    }
}

impl<S> Drop for Guarded<S> {
    fn drop(&mut self) {
        self.peer.standing.is_over.store(true, Ordering::Release);
        // Its task goes now, and not only when nobody counts it any more.
        drop(self.peer.standing.waker.take());
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
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

    /// A connection, and the end of the other side.
    async fn guarded(
        strangers: &Strangers,
    ) -> (Guarded<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let places = Arc::new(Semaphore::new(1));
        let place = places.acquire_owned().await.expect("open");
        let stranger = strangers.take_in(ADDRESS.ip(), strangers.place().await);
        (Guarded::new(ours, Peer::new(ADDRESS, stranger), TIME, place), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_nobody_ends_in_time() {
        let strangers = Strangers::new(1, 1);
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
        let strangers = Strangers::new(1, 1);
        let (mut connection, mut theirs) = guarded(&strangers).await;
        assert_eq!(strangers.places.available_permits(), 0);
        assert!(!strangers.has_room_for(ADDRESS.ip()));
        let _stream = connection.connect_info().admit();
        assert_eq!(strangers.places.available_permits(), 1);
        assert!(strangers.has_room_for(ADDRESS.ip()));
        let read = tokio::spawn(async move { connection.read_u8().await });
        tokio::time::advance(10 * TIME).await;
        theirs.write_all(b"a").await.expect("room");
        assert_eq!(read.await.expect("no panic").expect("still open"), b'a');
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_stream_any_more_ends_in_time() {
        let strangers = Strangers::new(1, 1);
        let (mut connection, _theirs) = guarded(&strangers).await;
        let peer = connection.connect_info();
        let streams = [peer.admit(), peer.admit()];
        let read = tokio::spawn(async move { connection.read_u8().await });
        for stream in streams {
            tokio::time::sleep(10 * TIME).await;
            assert!(!read.is_finished() && peer.is_connected(), "it has a stream");
            drop(stream);
        }
        let ended = tokio::time::Instant::now();
        let error = read.await.expect("no panic").expect_err("it is of no use any more");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(ended.elapsed(), TIME);
        assert!(!peer.is_connected());
    }

    #[tokio::test]
    async fn one_address_cannot_take_all_the_room() {
        let strangers = Strangers::new(3, 2);
        let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
        let first = strangers.take_in(ADDRESS.ip(), strangers.place().await);
        // The same address, as a socket for both families tells it.
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into();
        let _second = strangers.take_in(mapped, strangers.place().await);
        assert!(!strangers.has_room_for(ADDRESS.ip()) && strangers.has_room_for(other));
        drop(first);
        assert!(strangers.has_room_for(ADDRESS.ip()));
    }
}
