//! A client's connection: TLS by server name, HTTP/1 or HTTP/2, until either side ends it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gwapi_translate::ir::{GatewayId, ListenerKey, ListenerProtocol};
use http::Version;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::body::ProxyBody;
use super::client_auth::ClientAuth;
use super::client_windows::ClientWindows;
use super::coalesce::{Flusher, coalesce};
use super::congestion::Congestion;
use super::core_state::CoreListener;
use super::failure;
use super::forwarded::ClientFields;
use super::frame_guard::{FrameGuard, OwnResets, Turn};
use super::frame_joiner::JoinedFrames;
use super::head_timer::{Arrival, Awaited, HeadTimer};
use super::held_heads::HeldHeads;
use super::io::{ClientIo, OpenEnd, Unread};
use super::ping_timer::{FOREVER, PingTimer};
use super::rarely::rarely;
use super::request;
use super::service::{self, StreamReset};
use super::snapshot::{Carried, ListenerState};
use super::stall::StreamExecutor;
use super::streams;
use super::tls::ALPN_H2;
use super::worker::{Phase, Slot, Worker};
use crate::Limits;
use crate::observe::OpenConnection;

/// Flow-control windows of HTTP/2 towards clients: of a stream, and of a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Time that a connection without a request gets once a drain has stopped to accept: a request may
/// be on its way.
const LAST_CALL: Duration = Duration::from_millis(500);

/// What a TLS handshake led to.
pub(super) struct Handshake {
    /// The listener that it chose.
    pub(super) listener: ListenerKey,
    /// What that asked of the client's certificate, or has asked since and would have got.
    client_auth: RefCell<Option<Arc<ClientAuth>>>,
}

impl Handshake {
    /// Whether the client would be let in by what the listener asks now.
    pub(super) fn satisfies(&self, now: Option<&Arc<ClientAuth>>) -> bool {
        let Some(now) = now else { return true };
        let mut then = self.client_auth.borrow_mut();
        match &*then {
            Some(then) if Arc::ptr_eq(then, now) => true,
            Some(before) if now.admits_those_of(before) => {
                *then = Some(Arc::clone(now));
                true
            }
            _ => false,
        }
    }
}

/// What the requests of a connection need to know of it.
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) peer: SocketAddr,
    /// The address that it was accepted on, as bound: its Gateway is found by it.
    pub(super) socket: SocketAddr,
    /// What its TLS handshake led to; none on clear-text ports.
    pub(super) tls: Option<Handshake>,
    pub(super) client: ClientFields,
    /// Whether its client takes what is written.
    pub(super) congestion: Congestion,
    /// Whether its end would be taken for that of a response.
    pub(super) open_end: OpenEnd,
    /// Whether its client may send more than anybody reads.
    pub(super) unread: Unread,
    /// Whether anything has come of the request that it waits for, over HTTP/1.
    arrival: Arrival,
    /// Streams that were reset instead of an answer, over HTTP/2.
    pub(super) own_resets: OwnResets,
    listener: Rc<CoreListener>,
    /// Time until the connection is ended gently.
    lifetime: Duration,
    /// Whether its answers end it.
    leaving: Cell<bool>,
    /// Told when they begin to.
    left: Notify,
    /// Whether a request has come.
    used: Cell<bool>,
    active: Cell<usize>,
    /// The room for the heads of requests that have no response yet, over HTTP/2, and for trailers.
    pub(super) held_heads: HeldHeads,
    last_active: Cell<Instant>,
    _slot: Slot,
    _counted: OpenConnection,
}

impl Connection {
    fn new(
        accepted: Accepted,
        io: &ClientIo,
        listener: Rc<CoreListener>,
        tls: Option<Handshake>,
    ) -> Rc<Self> {
        let Accepted { worker, peer, socket, slot } = accepted;
        let counted = worker.telemetry.connection(&listener.gateway, &listener.key);
        let lifetime = lifetime(worker.limits.max_connection_age, rand::random());
        let held_heads = HeldHeads::new(&worker.limits);
        Rc::new(Self {
            client: ClientFields::new(peer.ip(), tls.is_some(), &worker.shared.trusted_proxies),
            worker,
            peer,
            socket,
            tls,
            congestion: io.congestion().clone(),
            open_end: io.open_end().clone(),
            unread: io.unread().clone(),
            arrival: io.arrival().clone(),
            listener,
            lifetime,
            leaving: Cell::new(false),
            left: Notify::new(),
            used: Cell::new(false),
            active: Cell::new(0),
            held_heads,
            own_resets: OwnResets::default(),
            last_active: Cell::new(Instant::now()),
            _slot: slot,
            _counted: counted,
        })
    }

    /// The listener that the connection counts for.
    pub(super) fn listener(&self) -> &Rc<CoreListener> {
        &self.listener
    }

    /// Whether each answer ends the connection.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get() || self.worker.is_draining()
    }

    /// Ends the connection gently: with the next answer, or over HTTP/2 by GOAWAY.
    pub(super) fn leave(&self) {
        self.leaving.set(true);
        self.left.notify_one();
    }

    /// Waits until the connection is to end for reasons of its own.
    async fn leaves(&self) {
        tokio::select! {
            () = tokio::time::sleep(self.lifetime) => self.leaving.set(true),
            () = self.own_resets.are_many_refused() => self.leaving.set(true),
            () = self.left.notified() => {}
        }
    }

    pub(super) fn request_began(&self) {
        self.used.set(true);
        self.active.set(self.active.get() + 1);
    }

    pub(super) fn request_ended(&self, now: std::time::Instant) {
        self.active.set(self.active.get() - 1);
        self.last_active.set(now.into());
    }
}

/// The time after which a connection is ended gently: up to a tenth less than `age`, by `random`.
/// Those that were opened at once would otherwise end, and come again, at once.
fn lifetime(age: Duration, random: u16) -> Duration {
    age - age / 10 / u32::from(u16::MAX) * u32::from(random)
}

/// A connection of which nothing is known yet.
pub(super) struct Accepted {
    pub(super) worker: Rc<Worker>,
    pub(super) peer: SocketAddr,
    pub(super) socket: SocketAddr,
    pub(super) slot: Slot,
}

/// Serves a connection that was accepted on `socket`, until it ends.
pub(super) async fn serve(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    socket: SocketAddr,
    slot: Slot,
) {
    let io = ClientIo::new(stream, &worker.limits);
    let accepted = Accepted { worker, peer, socket, slot };
    let Some(first) = accepted.first_listener() else { return };
    let served = match first {
        // In boxes, here and below: each connection has room for what it does, not for all that it
        // could do.
        FirstListener::Tls(gateway, until) => {
            Box::pin(accepted.serve_https(io, &gateway, until)).await
        }
        FirstListener::RoutedTls(gateway, until) => {
            Box::pin(streams::serve_tls(accepted, io, &gateway, until)).await
        }
        FirstListener::Bytes(listener) => {
            Box::pin(streams::serve_bytes(accepted, io, listener)).await
        }
        FirstListener::Clear(listener) => Box::pin(accepted.serve_clear(io, listener)).await,
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

enum FirstListener {
    Clear(Rc<CoreListener>),
    /// With the end of the time that a handshake may take.
    Tls(GatewayId, Instant),
    /// The same where TLSRoutes may have the connection.
    RoutedTls(GatewayId, Instant),
    Bytes(Rc<CoreListener>),
}

impl Accepted {
    /// What is behind the socket now; nothing where it is about to be closed.
    fn first_listener(&self) -> Option<FirstListener> {
        let snapshot = self.worker.snapshot();
        let port = snapshot.ports.get(&self.socket)?;
        let gateway = &port.gateway.id;
        let listener = || self.worker.core.listener(gateway, &port.first_listener);
        let until = || Instant::now() + self.worker.limits.handshake_timeout;
        match port.carried {
            Carried::Http => Some(FirstListener::Clear(listener())),
            Carried::Tls { routed: false } => Some(FirstListener::Tls(gateway.clone(), until())),
            Carried::Tls { routed: true } => {
                Some(FirstListener::RoutedTls(gateway.clone(), until()))
            }
            Carried::Bytes => Some(FirstListener::Bytes(listener())),
            Carried::Datagrams => None,
        }
    }

    async fn serve_clear(self, mut io: ClientIo, listener: Rc<CoreListener>) -> io::Result<()> {
        let limits = Rc::clone(&self.worker.limits);
        let mut phase = self.worker.phase();
        let closing = async {
            let _ = phase.wait_for(|phase| *phase >= Phase::Closing).await;
            tokio::time::sleep(LAST_CALL).await;
        };
        let http2 = tokio::select! {
            biased;
            first = tokio::time::timeout(limits.first_byte_timeout, io.starts_http2()) => first??,
            () = closing => return Ok(()),
        };
        let connection = Connection::new(self, &io, listener, None);
        serve_http(connection, io, http2).await
    }

    /// Serves HTTPS, with a handshake that is over by `until`.
    pub(super) async fn serve_https(
        self,
        io: ClientIo,
        gateway: &GatewayId,
        until: Instant,
    ) -> io::Result<()> {
        let handshake = tokio::time::timeout_at(until, Box::pin(self.handshake(io))).await;
        let (stream, listener, client_auth) = match handshake {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(Unshaken { reason, error })) => {
                self.worker.telemetry.handshake_failed(Some(gateway), reason);
                return Err(error);
            }
            Err(elapsed) => {
                self.worker.telemetry.handshake_failed(Some(gateway), "timeout");
                return Err(elapsed.into());
            }
        };
        let (io, session) = stream.get_ref();
        let http2 = session.alpn_protocol() == Some(ALPN_H2);
        if session.wants_read() {
            // All that has come was the handshake's.
            io.arrival().forget();
        }
        // It may have been edited meanwhile, and what was before is forgotten by now.
        let core = self.listener_now(&listener);
        let core = core.ok_or_else(|| io::Error::other("the listener is gone"))?;
        let client_auth = RefCell::new(client_auth);
        let tls = Some(Handshake { listener, client_auth });
        let connection = Connection::new(self, stream.get_ref().0, core, tls);
        serve_http(connection, stream, http2).await
    }

    /// Reads the ClientHello, lets the listener be chosen by it, and goes on with that listener's
    /// own configuration (LI-4).
    async fn handshake(
        &self,
        io: ClientIo,
    ) -> Result<(TlsStream<ClientIo>, ListenerKey, Option<Arc<ClientAuth>>), Unshaken> {
        let unshaken = |reason| move |error| Unshaken { reason, error };
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), io)
            .await
            .map_err(unshaken("malformed"))?;
        let chosen = self.listener_for(start.client_hello().server_name());
        let Some((state, config)) = chosen else {
            // The client learns why; whether it does is its own affair.
            let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
            let _ = start.io.shutdown().await;
            let error = io::Error::other("no listener for the server name");
            return Err(Unshaken { reason: "unrecognized_name", error });
        };
        let stream = match start.into_stream(config).into_fallible().await {
            Ok(stream) => stream,
            Err((error, mut io)) if blames_client_certificate(&error) => {
                // It may have sent a request already, and is to learn why it is refused.
                io.unread().expect();
                let _ = tokio::time::timeout(LAST_CALL, io.shutdown()).await;
                return Err(Unshaken { reason: "client_certificate", error });
            }
            Err((error, _)) => return Err(Unshaken { reason: "failed", error }),
        };
        Ok((stream, state.listener.key.clone(), state.client_auth))
    }

    /// The listener of this name as it is served now.
    fn listener_now(&self, key: &ListenerKey) -> Option<Rc<CoreListener>> {
        let snapshot = self.worker.snapshot();
        let gateway = &snapshot.ports.get(&self.socket)?.gateway;
        let state = gateway.listeners.get(key)?;
        Some(self.worker.core.listener(&gateway.id, &state.listener))
    }

    fn listener_for(
        &self,
        server_name: Option<&str>,
    ) -> Option<(ListenerState, Arc<ServerConfig>)> {
        let snapshot = self.worker.snapshot();
        let port = snapshot.ports.get(&self.socket)?;
        let server_name = server_name.map(str::to_ascii_lowercase);
        let gateway = &port.gateway;
        let listener =
            gateway.table.listener_for_sni(self.socket.port(), server_name.as_deref())?;
        // It may be for TLSRoutes since the connection came; what is inside then is no HTTP.
        let is_https = matches!(listener.protocol, ListenerProtocol::Https { .. });
        let state = gateway.listeners.get(&listener.key).filter(|_| is_https)?;
        let config = Arc::clone(state.tls.as_ref()?);
        Some((state.clone(), config))
    }
}

/// Whether a handshake failed for the certificate of the client, or for want of one.
fn blames_client_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(
        cause,
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
    )
}

/// A handshake that failed.
struct Unshaken {
    /// One of a few words, for the metrics.
    reason: &'static str,
    error: io::Error,
}

/// A fatal alert, unrecognized_name (RFC 6066 3), as a TLS record.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

async fn serve_http<I>(connection: Rc<Connection>, io: I, http2: bool) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = if http2 {
        Box::pin(serve_http2(Rc::clone(&connection), io)).await
    } else {
        Box::pin(serve_http1(Rc::clone(&connection), io)).await
    };
    served.map_err(|error| {
        if let Some(reason) = failure::reason(&error, connection.arrival.is_noted()) {
            let listener = &connection.listener;
            let telemetry = &connection.worker.telemetry;
            telemetry.connection_failed(&listener.gateway, &listener.key, reason);
        }
        io::Error::other(error)
    })
}

async fn serve_http1<I>(connection: Rc<Connection>, io: I) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = Rc::clone(&connection.worker.limits);
    let mut phase = connection.worker.phase();
    // What hyper refuses it answers itself, and reads no more.
    connection.unread.look_for();
    let arrival = connection.arrival.clone();
    let io = Awaited::new(io, arrival.clone());
    let served = http1::Builder::new()
        .timer(HeadTimer::new(arrival, connection.unread.clone(), &limits))
        .header_read_timeout(limits.idle_timeout)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_head_bytes)
        // Of what is read and of what is written; hyper would keep 400 KB for a client that does not
        // read. It takes no less than 8 KiB.
        .max_buf_size(limits.max_head_bytes.max(limits.max_send_buffer_bytes).max(8 * 1024))
        .serve_connection(TokioIo::new(io), handler(Rc::clone(&connection)))
        .with_upgrades();
    let mut served = pin!(served);
    let closing = tokio::select! {
        biased;
        ended = &mut served => return ended,
        // Until then each answer closes its connection; those that wait for a request go now.
        _ = rarely(phase.wait_for(|phase| *phase >= Phase::Closing)) => true,
        // Its next answer ends it, or nothing for a while: a request may be on its way.
        () = rarely(connection.leaves()) => false,
    };
    // hyper closes a connection of which it has read nothing, whatever waits in the socket, and one of
    // which it has read a part of a head. What comes is answered, and that ends it.
    if closing && connection.used.get() && !connection.is_head_arriving() {
        served.as_mut().graceful_shutdown();
    }
    // However long it has been idle.
    connection.last_active.set(Instant::now());
    let last_call = async {
        connection.idle(LAST_CALL).await;
        if connection.unread.is_expected() {
            // The last answer is out, and its client has time to take it until all are to go.
            let _ = phase.wait_for(|phase| *phase >= Phase::Closing).await;
        }
    };
    tokio::select! {
        biased;
        ended = served => ended,
        () = last_call => Ok(()),
    }
}

async fn serve_http2<I>(connection: Rc<Connection>, io: I) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (io, flusher) = coalesce(io);
    let limits = Rc::clone(&connection.worker.limits);
    let mut phase = connection.worker.phase();
    let turn = Turn::default();
    let io = JoinedFrames::of_client(io);
    let own_resets = connection.own_resets.clone();
    let held_heads = connection.held_heads.clone();
    let io = FrameGuard::new(io, turn.clone(), own_resets, held_heads, &limits);
    let windows = Rc::clone(io.client_windows());
    let executor = StreamExecutor::new(&limits, &windows);
    let turns = Turns { flusher, turn, windows };
    let served = http2::Builder::new(executor)
        .timer(PingTimer::new(connection.congestion.clone(), &limits))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(limits.max_send_buffer_bytes)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.http2_ping_interval)
        .keep_alive_timeout(FOREVER)
        .serve_connection(TokioIo::new(io), handler(Rc::clone(&connection)));
    let mut served = pin!(served);
    tokio::select! {
        biased;
        ended = turns.serve(served.as_mut()) => return ended,
        // GOAWAY loses nothing: what the client sent before it knew is still answered.
        _ = rarely(phase.wait_for(|phase| *phase >= Phase::Draining)) => {}
        () = rarely(connection.silent(&limits)) => {
            if !connection.used.get() {
                // One turn for the farewell: it had all the time that there is for a first request.
                served.as_mut().graceful_shutdown();
                return tokio::select! {
                    biased;
                    ended = turns.serve(served) => ended,
                    () = std::future::ready(()) => Ok(()),
                };
            }
        }
        () = rarely(connection.leaves()) => {}
    }
    served.as_mut().graceful_shutdown();
    // What was silent for so long gets no more time to take its leave.
    let silence =
        if connection.used.get() { limits.idle_timeout } else { limits.first_byte_timeout };
    connection.last_active.set(Instant::now());
    tokio::select! {
        biased;
        ended = turns.serve(served) => ended,
        // A client that neither answers nor goes, nor opens the windows of its last streams.
        () = connection.idle(limits.write_stall_timeout.min(silence)) => Ok(()),
    }
}

/// What is done at the beginning and at the end of each turn of a connection over HTTP/2.
struct Turns<I> {
    flusher: Flusher<I>,
    turn: Turn,
    windows: Rc<ClientWindows>,
}

impl<I: AsyncWrite + Unpin> Turns<I> {
    /// Serves a connection turn by turn, and writes out what it gathered at the end of each.
    async fn serve(
        &self,
        mut served: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    ) -> hyper::Result<()> {
        poll_fn(|cx| {
            self.turn.renew();
            let polled = served.as_mut().poll(cx);
            if self.flusher.flush(cx) {
                self.windows.settle(cx);
            }
            polled
        })
        .await
    }
}

impl Connection {
    /// Waits until the first request has not come in time, or no request was there for too long.
    async fn silent(&self, limits: &Limits) {
        tokio::time::sleep(limits.first_byte_timeout).await;
        if self.used.get() {
            self.idle(limits.idle_timeout).await;
        }
    }

    /// Whether a part of a request's head is here, over HTTP/1.
    fn is_head_arriving(&self) -> bool {
        self.unread.is_head_awaited() && self.arrival.is_noted()
    }

    /// Waits until no request was there for `limit`, nor a part of one, nor the rest of an answer that its
    /// client is still to take.
    async fn idle(&self, limit: Duration) {
        loop {
            let end = self.last_active.get() + limit;
            tokio::time::sleep_until(end).await;
            // Time for the rest of a head is limited where it is read.
            let is_active =
                self.active.get() > 0 || self.is_head_arriving() || self.congestion.is_full();
            if !is_active && self.last_active.get() + limit <= Instant::now() {
                return;
            }
            if is_active {
                self.last_active.set(Instant::now());
            }
        }
    }
}

/// What hyper calls for each request. Over HTTP/2 an error resets the stream.
fn handler(
    connection: Rc<Connection>,
) -> impl Service<Request<Incoming>, Response = Response<ProxyBody>, Error = h2::Error, Future: 'static>
{
    service_fn(move |request| {
        let connection = Rc::clone(&connection);
        connection.unread.take_head();
        async move {
            let _held = if request.version() == Version::HTTP_2 {
                let Some(bytes) = request::http2_head_bytes(&request) else {
                    return Err(service::note_reset(&connection, request, StreamReset::Malformed));
                };
                let Some(held) = connection.held_heads.hold(bytes) else {
                    return Err(service::note_reset(&connection, request, StreamReset::Refused));
                };
                Some(held)
            } else {
                None
            };
            // In a box: a connection would have room for it even while it waits for a request.
            Ok(Box::pin(service::handle(&connection, request)).await)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use hyper::body::{Body, Bytes, Frame};
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::proxy::frames::{frame, kind};
    use crate::proxy::stall::StreamWatch;

    #[test]
    fn connections_that_began_at_once_do_not_end_at_once() {
        let age = Duration::from_secs(3600);
        assert_eq!(lifetime(age, 0), age);
        assert!(lifetime(age, u16::MAX / 2) < lifetime(age, u16::MAX / 4));
        let shortest = lifetime(age, u16::MAX);
        assert!((Duration::from_secs(3240)..Duration::from_secs(3241)).contains(&shortest));
    }

    const INITIAL_WINDOW_SIZE: u8 = 4;

    fn initial_window(size: u32) -> Vec<u8> {
        let payload = [&[0, INITIAL_WINDOW_SIZE][..], &size.to_be_bytes()].concat();
        frame(kind::SETTINGS, 0, 0, &payload)
    }

    /// A body in two pieces, of which the last one is handed over as that of a response is.
    struct TwoPieces(Vec<Bytes>, Rc<StreamWatch>, Rc<Notify>);

    impl Body for TwoPieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.1.asked();
            let Some(piece) = self.0.pop() else { return Poll::Ready(None) };
            assert!(!self.0.is_empty() || self.1.has_room_for(piece.len()));
            self.1.handed_over(piece.len());
            self.2.notify_one();
            Poll::Ready(Some(Ok(Frame::data(piece))))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_last_piece_that_the_library_has_not_taken_keeps_the_windows_open() {
        const LENGTH: usize = 16 * 1024;
        const HOUR: Duration = Duration::from_secs(3600);
        let limits =
            Limits { write_stall_timeout: 2 * HOUR, head_timeout: HOUR, ..Limits::default() };
        let (ours, mut theirs) = tokio::io::duplex(4 * LENGTH);
        let handed_over = Rc::new(Notify::new());
        let (io, flusher) = coalesce(ours);
        let turn = Turn::default();
        let io = JoinedFrames::of_client(io);
        let heads = HeldHeads::new(&limits);
        let io = FrameGuard::new(io, turn.clone(), OwnResets::default(), heads, &limits);
        let windows = Rc::clone(io.client_windows());
        let executor = StreamExecutor::new(&limits, &windows);
        let turns = Turns { flusher, turn, windows };
        let told = Rc::clone(&handed_over);
        let service = service_fn(move |_: Request<Incoming>| {
            let told = Rc::clone(&told);
            async move {
                let watch = StreamWatch::current().expect("it is that of a stream");
                let pieces = [&b"end"[..], &[b'x'; LENGTH]].map(Bytes::from_static);
                Ok::<_, h2::Error>(Response::new(TwoPieces(pieces.into(), watch, told)))
            }
        });
        let served = http2::Builder::new(executor)
            .max_send_buf_size(LENGTH)
            .serve_connection(TokioIo::new(io), service);
        let client = async {
            let get = [0x82, 0x84, 0x86, 0x41, 1, b'a'];
            let hello = [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                frame(kind::SETTINGS, 0, 0, &[]),
                frame(kind::HEADERS, 5, 1, &get),
            ];
            theirs.write_all(&hello.concat()).await.expect("it reads");
            // Both pieces are handed over at once, and the library takes the last one when the first is out.
            handed_over.notified().await;
            theirs.write_all(&initial_window(0)).await.expect("it reads");
            let (mut length, mut ended) = (0, false);
            while !ended {
                let mut head = [0; 9];
                theirs.read_exact(&mut head).await.expect("it is open");
                let [_, a, b, c, ..] = *[&[0], &head[..]].concat() else { unreachable!() };
                let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
                theirs.read_exact(&mut payload).await.expect("it is open");
                if head[3] == 0 {
                    length += payload.len();
                    ended = head[4] & 1 == 1;
                }
            }
            length
        };
        let test = async {
            let (served, client) = (pin!(served), pin!(tokio::time::timeout(HOUR, client)));
            let (mut serving, mut client) = (pin!(turns.serve(served)), client);
            tokio::select! {
                biased;
                length = &mut client => length.expect("the last piece goes out"),
                ended = &mut serving => panic!("it ended: {ended:?}"),
            }
        };
        let length = tokio::task::LocalSet::new().run_until(test).await;
        assert_eq!(length, LENGTH + 3);
    }
}
