//! New connections to endpoints.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use gwapi_translate::ir::{is_public_endpoint, is_refused_endpoint};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::http2_io::EndpointIo;
use super::http2_upload::{UploadBody, Uploads};
use super::lookup::lookup;
use super::pool::Live;
use super::stream::{self, ReadHalf, WriteHalf};
use super::tls::{TlsFailure, UpstreamTls};
use crate::Limits;

/// Requests at once on a connection over HTTP/2, where the endpoint takes as many. Its window has room for
/// all that they may read ahead: clients that take nothing of their responses hold nobody else up.
const MAX_STREAMS: u32 = 100;

/// The least window of a connection. What the library counts for short frames that wait may come to half of
/// it, beyond their bytes, and one more ends the connection. Those that come one by one cannot be joined.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// Streams that were reset on our side and that hyper goes on to remember. Clients that cancel many
/// requests must not bring the connection down that others share.
const MAX_RESET_STREAMS: usize = 16 * 1024;

/// Streams that we reset for what the endpoint sent on them, over the life of a connection. As above:
/// a late frame on a stream that a client cancelled counts here.
const MAX_LOCAL_RESETS: usize = 1 << 20;

/// Time that an address of a name has for itself before the next one is tried beside it (RFC 8305 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) enum Place {
    Address(SocketAddr),
    /// A DNS name and a port: whatever addresses it resolves to when a connection is made, or did last.
    Name(Rc<str>, u16),
    /// The same for a host outside: only such addresses count as are public. Its name has a dot
    /// behind, so that no search list makes another one of it.
    External(Rc<str>, u16),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) | Self::External(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ConnectError {
    /// The endpoint takes none.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It took one, and did not prove in it who it is.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
}

/// A connection to an endpoint, inside TLS where that is asked for: it has proved who it is then. All of
/// that takes no longer than a connection may.
pub(in crate::proxy) async fn connect(
    place: &Place,
    tls: Option<&UpstreamTls>,
    limits: &Limits,
) -> Result<(ReadHalf, WriteHalf), ConnectError> {
    let client = tls.map(UpstreamTls::client).transpose()?;
    let until = Instant::now() + limits.connect_timeout;
    let stream = timeout_at(until, dial(place, limits, until)).await.map_err(io::Error::from)??;
    stream.set_nodelay(true)?;
    let Some(client) = client else { return Ok(stream::plain(stream)) };
    match timeout_at(until, client.handshake(stream)).await {
        Ok(shaken) => Ok(stream::tls(shaken?)),
        Err(_) => Err(TlsFailure::Timeout.into()),
    }
}

impl Place {
    /// Which of its addresses may be used: whoever answers for a name must not reach more through the proxy
    /// than who writes one.
    fn usable(&self) -> fn(IpAddr) -> bool {
        match self {
            Self::Address(_) => |_| true,
            Self::Name(..) => |address| !is_refused_endpoint(address),
            Self::External(..) => is_public_endpoint,
        }
    }
}

/// The addresses of a place that may be used. A name has to be answered for by `until`.
pub(in crate::proxy) async fn resolve(
    place: &Place,
    limits: &Limits,
    until: Instant,
) -> io::Result<impl Iterator<Item = SocketAddr> + use<>> {
    let addresses = match place {
        Place::Address(address) => vec![*address],
        Place::Name(name, port) | Place::External(name, port) => {
            lookup(name, *port, limits, until).await?
        }
    };
    let usable = place.usable();
    Ok(addresses.into_iter().filter(move |address| usable(address.ip())))
}

async fn dial(place: &Place, limits: &Limits, until: Instant) -> io::Result<TcpStream> {
    dial_any(resolve(place, limits, until).await?).await
}

/// Connects to the first address that takes a connection. The next one is tried where those before took none,
/// or have not said anything for a moment.
async fn dial_any(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.peekable();
    let mut attempts = Vec::new();
    let mut last = io::Error::other("the name has no address that may be used");
    loop {
        match addresses.next() {
            Some(address) => attempts.push(Box::pin(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            biased;
            ended = first_ended(&mut attempts) => match ended {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            () = tokio::time::sleep(HEAD_START), if addresses.peek().is_some() => {}
        }
    }
}

/// What comes of the attempt that ends first; the others go on.
async fn first_ended<F: Future + Unpin>(attempts: &mut Vec<F>) -> F::Output {
    poll_fn(|cx| {
        for position in 0..attempts.len() {
            if let Poll::Ready(output) = Pin::new(&mut attempts[position]).poll(cx) {
                drop(attempts.swap_remove(position));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}

/// An HTTP/2 connection, by prior knowledge or agreed on in the handshake, for many requests at once.
///
/// `live` is held until it is closed. `settings` is told whenever the endpoint has said how many streams it
/// takes, and when no more requests are taken. Until it has, that is one: what waits for it can go elsewhere,
/// and what the library holds cannot.
pub(super) async fn http2(
    place: &Place,
    tls: Option<&UpstreamTls>,
    limits: &Limits,
    settings: Rc<Notify>,
    live: Live,
) -> Result<Http2, ConnectError> {
    let halves = connect(place, tls, limits).await?;
    let endpoint = place.clone();
    let (ended, is_settled) = (Rc::clone(&settings), Rc::new(Cell::new(false)));
    let io = EndpointIo::new(halves, settings, Rc::clone(&is_settled), limits, live);
    let window = u32::try_from(limits.max_upstream_stream_bytes).unwrap_or(u32::MAX);
    let uploads = Uploads::new(Rc::clone(io.windows()));
    let (sender, connection) = http2::Builder::new(uploads.clone())
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(window.saturating_mul(MAX_STREAMS).max(CONNECTION_WINDOW))
        .max_header_list_size(u32::try_from(limits.max_response_head_bytes).unwrap_or(u32::MAX))
        .initial_max_send_streams(1)
        .max_concurrent_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .keep_alive_interval(limits.upstream_http2_ping_interval)
        .keep_alive_timeout(limits.upstream_http2_ping_timeout)
        .handshake(TokioIo::new(io))
        .await
        .map_err(io::Error::other)?;
    let connection = Rc::new(RefCell::new(Some(Box::pin(connection))));
    let driven = Rc::clone(&connection);
    tokio::task::spawn_local(async move {
        let driving = poll_fn(|cx| match &mut *driven.borrow_mut() {
            Some(connection) => connection.as_mut().poll(cx),
            None => Poll::Ready(Ok(())),
        });
        if let Err(error) = driving.await {
            tracing::debug!(%endpoint, %error, "upstream connection ended");
        }
        // So that those who send learn of it, and those who wait.
        driven.take();
        ended.notify_waiters();
    });
    Ok(Http2 { sender, uploads, connection, is_settled })
}

/// A connection over HTTP/2, which a task of its own drives.
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<UploadBody>,
    pub(super) uploads: Uploads,
    /// None once it has ended.
    connection: Rc<RefCell<Option<Pin<Box<Driven>>>>>,
    is_settled: Rc<Cell<bool>>,
}

type Driven = http2::Connection<TokioIo<EndpointIo>, UploadBody, Uploads>;

impl Http2 {
    /// How many requests there may be at once.
    pub(super) fn max_streams(&self) -> usize {
        let connection = self.connection.borrow();
        let taken = connection.as_ref().map_or(0, |it| it.current_max_send_streams());
        taken.min(MAX_STREAMS as usize)
    }

    /// Whether the endpoint has said how many it takes.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled.get()
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;

    /// An address at which connections are neither taken nor refused: its queue is full.
    fn deaf() -> (Vec<Socket>, SocketAddr) {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = socket();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        listener.bind(&any.into()).expect("a port is free");
        listener.listen(0).expect("bound");
        let address = listener.local_addr().expect("bound").as_socket().expect("an IP address");
        let waiting = (0..8).map(|_| {
            let waiting = socket();
            waiting.set_nonblocking(true).expect("a socket");
            // Those that find room are connected at once, the others never.
            let _ = waiting.connect(&address.into());
            waiting
        });
        let sockets = waiting.collect::<Vec<_>>().into_iter().chain([listener]).collect();
        (sockets, address)
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_keeps_nobody_from_the_next() {
        let (_full, silent) = deaf();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let open = listener.local_addr().expect("bound");
        let refusing = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        refusing.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
        let refused = refusing.local_addr().expect("bound").as_socket().expect("an IP address");
        for addresses in [vec![open], vec![silent, silent, open], vec![silent, refused, open]] {
            let dialing = dial_any(addresses.iter().copied());
            let stream = tokio::time::timeout(Duration::from_secs(60), dialing).await;
            let stream = stream.expect("one takes it").expect("one takes it");
            assert_eq!(stream.peer_addr().expect("connected"), open, "{addresses:?}");
        }
        let error = dial_any([refused, refused].into_iter()).await.expect_err("none takes it");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(dial_any(std::iter::empty()).await.is_err());
    }

    #[test]
    fn a_name_leads_no_further_than_who_writes_one_may() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (inside, outside) = (Place::Name("a".into(), 80), Place::External("a".into(), 80));
        for (text, to_inside, to_outside) in [
            ("127.0.0.1", true, false),
            ("10.0.0.1", true, false),
            ("::ffff:10.0.0.1", true, false),
            ("fd00::1", true, false),
            ("169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("8.8.8.8", true, true),
            ("2606:4700::1111", true, true),
        ] {
            let usable = (inside.usable()(address(text)), outside.usable()(address(text)));
            assert_eq!(usable, (to_inside, to_outside), "{text}");
        }
    }
}
