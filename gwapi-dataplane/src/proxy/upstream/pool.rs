//! Connections of one core to endpoints.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gwapi_translate::ir::BackendProtocol;
use http::Request;
use hyper::client::conn::http2;
use tokio::sync::Notify;

use super::connect::{self, ConnectError, Http2, Place};
use super::http1::Http1;
use super::http2_upload::{Upload, UploadBody, Uploads};
use super::slots::{AllSlots, Slot, Slots, Turn};
use super::tls::{TlsFailure, UpstreamTls};
use crate::Limits;
use crate::proxy::body::RequestBody;
use crate::proxy::core_state::address;
use crate::proxy::snapshot::ConfigMap;

/// Time between two warnings of a core that an endpoint does not prove who it is.
const WARNING_PERIOD: Duration = Duration::from_secs(10);

/// Time that an endpoint which refused datagrams is left alone while there are others.
const REFUSAL: Duration = Duration::from_secs(5);

const SHARED_FAILURE: &str = "the connection that this request waited for failed";

/// What connections are shared by: the place, the protocol that is spoken, and the address of what TLS asks
/// for. None that was verified for one policy is used for another.
type Key = (Place, BackendProtocol, Option<usize>);

/// All endpoints that a core knows of.
pub(in crate::proxy) struct Pool {
    endpoints: RefCell<ConfigMap<Key, Rc<Endpoint>>>,
    all_slots: Arc<AllSlots>,
    limits: Rc<Limits>,
}

impl Pool {
    pub(in crate::proxy) fn new(all_slots: Arc<AllSlots>, limits: Rc<Limits>) -> Self {
        Self { endpoints: RefCell::default(), all_slots, limits }
    }

    /// The endpoint at a place; backends that name the same one and ask the same of it share its
    /// connections.
    pub(in crate::proxy) fn endpoint(
        &self,
        place: Place,
        protocol: BackendProtocol,
        tls: Option<&Arc<UpstreamTls>>,
    ) -> Rc<Endpoint> {
        let mut endpoints = self.endpoints.borrow_mut();
        let key = (place.clone(), protocol, tls.map(address));
        let endpoint = endpoints.entry(key).or_insert_with(|| {
            Rc::new(Endpoint {
                slots: Slots::new(&self.all_slots, place.to_string(), &self.limits),
                place,
                tls: tls.map(Arc::clone),
                in_flight: Cell::new(0),
                idle: RefCell::default(),
                multiplexed: RefCell::default(),
                live: Rc::default(),
                making: Cell::new(false),
                streams: Rc::default(),
                failed: Cell::new(None),
                warned: Cell::new(None),
                refused: Cell::new(None),
            })
        });
        Rc::clone(endpoint)
    }

    /// Closes connections that nobody used for the idle timeout or that the endpoint has closed, and
    /// forgets endpoints that no backend names any more.
    pub(in crate::proxy) fn sweep(&self, now: Instant) {
        self.endpoints.borrow_mut().retain(|_, endpoint| {
            endpoint.sweep(now, &self.limits);
            Rc::strong_count(endpoint) > 1 || endpoint.has_connections() || endpoint.live.get() > 0
        });
    }
}

/// One endpoint as one core sees it.
pub(in crate::proxy) struct Endpoint {
    pub(super) place: Place,
    /// None where connections are in the clear. To hold it keeps its address from becoming another's.
    tls: Option<Arc<UpstreamTls>>,
    in_flight: Cell<usize>,
    slots: Rc<Slots>,
    /// HTTP/1 connections without a request, the last used one at the end.
    idle: RefCell<Vec<Idle>>,
    /// The HTTP/2 connections that take requests.
    multiplexed: RefCell<Vec<Multiplexed>>,
    /// How many HTTP/2 connections are not closed yet, or are being made: those as well that take no more
    /// requests.
    live: Rc<Cell<usize>>,
    /// Whether one more of them is being made: one at a time is.
    making: Cell<bool>,
    /// Requests that wait for one, or for a stream of them.
    streams: Rc<StreamQueue>,
    /// The last one that could not be made.
    failed: Cell<Option<Failed>>,
    /// When there was last a warning of it.
    warned: Cell<Option<Instant>>,
    /// When it last said that it takes no datagrams.
    refused: Cell<Option<Instant>>,
}

/// An HTTP/2 connection that could not be made.
#[derive(Clone, Copy)]
struct Failed {
    at: Instant,
    /// Whether that was because of TLS.
    in_tls: bool,
    /// Whether it was to be one beside others: an endpoint may have refused it because of those.
    beside: bool,
}

struct Idle {
    connection: Box<Http1>,
    since: Instant,
}

struct Multiplexed {
    http2: Http2,
    made: Instant,
    /// Whether it has had a request.
    used: Cell<bool>,
    usage: Rc<Usage>,
}

/// How an HTTP/2 connection is used.
struct Usage {
    /// Streams that are open.
    open: Cell<usize>,
    last: Cell<Instant>,
}

/// Why there is no connection for a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckoutError {
    /// None could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// As many as the limits allow are busy, and as many requests wait as may wait, or for too long.
    #[error("too many requests wait for a connection")]
    Overflow,
}

impl Endpoint {
    /// Its address; none where it is known by name.
    pub(in crate::proxy) fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Address(address) => Some(address),
            Place::Name(..) | Place::External(..) => None,
        }
    }

    /// Where it is.
    pub(in crate::proxy) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_deref()
    }

    /// Whether to warn of a failure: not more than now and then.
    pub(super) fn is_warning_due(&self) -> bool {
        let now = Instant::now();
        let is_due = self.warned.get().is_none_or(|at| now.duration_since(at) >= WARNING_PERIOD);
        if is_due {
            self.warned.set(Some(now));
        }
        is_due
    }

    /// It has said that it takes no datagrams.
    pub(in crate::proxy) fn note_refusal(&self) {
        self.refused.set(Some(Instant::now()));
    }

    /// Whether it has said so of late.
    pub(in crate::proxy) fn refuses(&self) -> bool {
        self.refused.get().is_some_and(|at| at.elapsed() < REFUSAL)
    }

    /// Requests between choice of the endpoint and the end of the response.
    pub(in crate::proxy) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// The place of a connection that is no request's. One that is free for requests gives way.
    pub(super) async fn place_for_stream(&self, limits: &Limits) -> Result<Slot, CheckoutError> {
        if let Some(slot) = self.slots.try_open() {
            return Ok(slot);
        }
        loop {
            if let Waited::Slot(slot) = self.wait(limits).await? {
                return Ok(slot);
            }
        }
    }

    /// An HTTP/1 connection for one request, and whether it was there before: then the endpoint may
    /// be about to close it. A `new` one is wanted where that has happened to the request; it is one
    /// that was there all the same where there is no room for another.
    pub(super) async fn http1(
        &self,
        limits: &Limits,
        new: bool,
    ) -> Result<(Box<Http1>, bool), CheckoutError> {
        // Those who wait come first.
        if !new
            && !self.slots.has_waiting()
            && let Some(connection) = self.take_idle()
        {
            return Ok((connection, true));
        }
        // In boxes, so that requests which need none of it do not carry the futures along.
        let slot = match self.slots.try_open() {
            Some(slot) => slot,
            None => match Box::pin(self.wait(limits)).await? {
                Waited::Connection(connection) => return Ok((connection, true)),
                Waited::Slot(slot) => slot,
            },
        };
        let halves = Box::pin(connect::connect(&self.place, self.tls(), limits)).await?;
        Ok((Http1::new(halves, slot), false))
    }

    async fn wait(&self, limits: &Limits) -> Result<Waited, CheckoutError> {
        let turn = async {
            loop {
                match self.slots.wait(limits.max_pending_per_endpoint).await {
                    None => return Err(CheckoutError::Overflow),
                    Some(Turn::Open(slot)) => return Ok(Waited::Slot(slot)),
                    Some(Turn::Look) => {
                        if let Some(connection) = self.take_idle() {
                            return Ok(Waited::Connection(connection));
                        }
                    }
                }
            }
        };
        let waited = tokio::time::timeout(limits.pending_timeout, turn).await;
        waited.unwrap_or(Err(CheckoutError::Overflow))
    }

    /// A stream of an HTTP/2 connection, for one request. The endpoint says how many there may be on a
    /// connection; where they are all taken there may be another connection, within the limits. While that
    /// is made, streams that get free are taken.
    pub(super) async fn http2(
        self: &Rc<Self>,
        limits: &Rc<Limits>,
    ) -> Result<Checkout, CheckoutError> {
        let came = Instant::now();
        let mut waits: Option<(Waiting, tokio::time::Instant)> = None;
        loop {
            // Made before there is a look: nothing that happens in between is missed.
            let freed = self.streams.freed.notified();
            // Requests on those that go are answered there; they end with the last of them.
            self.multiplexed.borrow_mut().retain(|it| it.is_usable(limits));
            // Those who wait come first.
            if (waits.is_some() || self.streams.waiting.get() == 0)
                && let Some(checkout) = self.free_stream(came)
            {
                return Ok(checkout);
            }
            // Who may not wait while another one is made beside the others makes it itself.
            let cannot_wait = waits.is_none() && self.streams.is_full(limits);
            match self.place_for_another(came)? {
                Some(place) if cannot_wait || self.has_none() => {
                    let made = Box::pin(self.make(self.begin_to_make(), place, limits)).await;
                    if let Some(checkout) = self.free_stream(came) {
                        return Ok(checkout);
                    }
                    if self.has_none() {
                        made?;
                    }
                }
                Some(place) => self.make_beside(place, limits),
                None => {}
            }
            let until = match &waits {
                Some((_, until)) => *until,
                None => waits.insert(self.streams.wait(limits)?).1,
            };
            if self.making.get() && self.has_none() {
                // The time that this may take is limited where it is made.
                freed.await;
            } else if tokio::time::timeout_at(until, freed).await.is_err() {
                return Err(CheckoutError::Overflow);
            }
        }
    }

    fn has_none(&self) -> bool {
        self.multiplexed.borrow().is_empty()
    }

    /// A stream of a connection that has room for one, for a request that came at `came`.
    fn free_stream(&self, came: Instant) -> Option<Checkout> {
        let multiplexed = self.multiplexed.borrow();
        let open = |it: &Multiplexed| Some(it.checkout(self.streams.open(it)?, came));
        multiplexed.iter().find_map(open)
    }

    fn begin_to_make(self: &Rc<Self>) -> Making {
        self.making.set(true);
        Making { endpoint: Rc::clone(self), beside: !self.has_none() }
    }

    /// Makes a connection, for whoever needs a stream of it. Those who wait learn of its end, however it
    /// comes.
    async fn make(
        &self,
        making: Making,
        place: Option<Slot>,
        limits: &Limits,
    ) -> Result<(), ConnectError> {
        let freed = Rc::clone(&self.streams.freed);
        let live = Live::new(place, &self.live, &freed);
        match connect::http2(&self.place, self.tls(), limits, freed, live).await {
            Ok(http2) => {
                self.multiplexed.borrow_mut().push(Multiplexed::new(http2));
                Ok(())
            }
            Err(error) => {
                let in_tls = matches!(error, ConnectError::Tls(_));
                let (at, beside) = (Instant::now(), making.beside);
                self.failed.set(Some(Failed { at, in_tls, beside }));
                Err(error)
            }
        }
    }

    /// Makes one beside those that there are, on a task of its own: a request for which it is made may have
    /// a stream of another one before.
    fn make_beside(self: &Rc<Self>, place: Option<Slot>, limits: &Rc<Limits>) {
        let (making, limits) = (self.begin_to_make(), Rc::clone(limits));
        let endpoint = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Err(error) = endpoint.make(making, place, &limits).await {
                tracing::debug!(endpoint = %endpoint.place, %error, "no further connection");
            }
        });
    }

    /// The place that one more HTTP/2 connection takes, where one may be made now: a first one, or another one
    /// where those that there are have no room. A request that came at `came` fails with
    /// the attempt that it waited for, unless that was beside connections which are gone since.
    fn place_for_another(&self, came: Instant) -> Result<Option<Option<Slot>>, ConnectError> {
        let multiplexed = self.multiplexed.borrow();
        let failed = self.failed.get().filter(|failed| failed.at >= came);
        if multiplexed.is_empty() {
            return match failed {
                // One after the other they would wait too long.
                Some(Failed { beside: false, in_tls: true, .. }) => Err(TlsFailure::Shared.into()),
                Some(Failed { beside: false, in_tls: false, .. }) => {
                    Err(io::Error::other(SHARED_FAILURE).into())
                }
                _ if self.making.get() => Ok(None),
                _ => Ok(self.place_for_first()),
            };
        }
        if failed.is_some() || self.making.get() {
            return Ok(None);
        }
        let is_full = multiplexed.iter().all(Multiplexed::is_full);
        // RFC 9113 5.1.2: on another one it would say the same.
        let takes_none = multiplexed.iter().any(Multiplexed::takes_none);
        Ok((is_full && !takes_none).then(|| self.slots.try_open()).flatten().map(Some))
    }

    /// The place of a connection where none takes requests. A core that has none at all makes one in any
    /// case: those of other cores last, and would keep it out for ever. While it has some that take no more,
    /// requests wait for the end of those.
    fn place_for_first(&self) -> Option<Option<Slot>> {
        match self.slots.try_open() {
            Some(slot) => Some(Some(slot)),
            None => (self.live.get() == 0).then_some(None),
        }
    }

    /// Uses a connection over HTTP/2 for no more requests.
    pub(super) fn retire(&self, made: Instant) {
        self.multiplexed.borrow_mut().retain(|it| it.made != made);
    }

    /// The idle connection that was used last, closed ones aside.
    fn take_idle(&self) -> Option<Box<Http1>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, .. }) = idle.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    fn put_idle(&self, connection: Box<Http1>, limits: &Limits) {
        let mut idle = self.idle.borrow_mut();
        let since = Instant::now();
        if is_old(&connection, since, limits) || self.slots.is_wanted_elsewhere() {
            return;
        }
        if idle.len() >= limits.max_idle_per_endpoint {
            idle.retain_mut(|idle| idle.connection.is_usable());
        }
        if idle.len() < limits.max_idle_per_endpoint {
            idle.push(Idle { connection, since });
        }
        drop(idle);
        self.slots.note_free();
    }

    fn sweep(&self, now: Instant, limits: &Limits) {
        let idle_timeout = limits.upstream_idle_timeout;
        let expired = |since: Instant| now.saturating_duration_since(since) >= idle_timeout;
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|idle| {
            let Idle { connection, since } = idle;
            !expired(*since) && !is_old(connection, now, limits) && connection.is_usable()
        });
        // Requests of other cores came when these were idle already.
        let wanted = self.slots.waiting_elsewhere().min(idle.len());
        idle.drain(..wanted);
        drop(idle);
        self.multiplexed.borrow_mut().retain(|it| {
            let is_used = it.usage.open.get() > 0 || !expired(it.usage.last.get());
            is_used && !it.http2.sender.is_closed()
        });
    }

    fn has_connections(&self) -> bool {
        !self.idle.borrow().is_empty() || !self.has_none()
    }
}

/// An HTTP/2 connection, until it is closed.
pub(super) struct Live {
    /// Its place among those that there may be.
    place: Option<Slot>,
    count: Rc<Cell<usize>>,
    /// Told of the end.
    freed: Rc<Notify>,
}

impl Live {
    fn new(place: Option<Slot>, count: &Rc<Cell<usize>>, freed: &Rc<Notify>) -> Self {
        count.set(count.get() + 1);
        Self { place, count: Rc::clone(count), freed: Rc::clone(freed) }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.place.take();
        self.count.set(self.count.get() - 1);
        self.freed.notify_waiters();
    }
}

/// An HTTP/2 connection that is being made, until dropped: then those who wait look again.
struct Making {
    endpoint: Rc<Endpoint>,
    /// Whether there were others when it was begun.
    beside: bool,
}

impl Drop for Making {
    fn drop(&mut self) {
        self.endpoint.making.set(false);
        self.endpoint.streams.freed.notify_waiters();
    }
}

impl Multiplexed {
    fn new(http2: Http2) -> Self {
        let now = Instant::now();
        let usage = Rc::new(Usage { open: Cell::new(0), last: Cell::new(now) });
        Self { http2, made: now, used: Cell::new(false), usage }
    }

    fn is_usable(&self, limits: &Limits) -> bool {
        !self.http2.sender.is_closed() && self.made.elapsed() < limits.max_upstream_connection_age
    }

    fn has_room(&self) -> bool {
        self.usage.open.get() < self.http2.max_streams()
    }

    /// What has not said yet how much it takes is not full.
    fn is_full(&self) -> bool {
        self.http2.is_settled() && !self.has_room()
    }

    /// Whether the endpoint takes no requests at all for now.
    fn takes_none(&self) -> bool {
        self.http2.is_settled() && self.http2.max_streams() == 0
    }

    fn checkout(&self, stream: Stream, came: Instant) -> Checkout {
        let reused = self.used.replace(true) || self.made < came;
        Checkout { sender: self.http2.sender.clone(), stream, reused, made: self.made }
    }
}

/// A stream for a request over HTTP/2.
pub(super) struct Checkout {
    pub(super) sender: http2::SendRequest<UploadBody>,
    pub(super) stream: Stream,
    /// Whether the connection was there before the request, or has had another one: then the endpoint may be
    /// about to close it.
    pub(super) reused: bool,
    /// When it was made, to tell it by.
    pub(super) made: Instant,
}

/// Requests that wait for a stream of an endpoint.
#[derive(Debug, Default)]
struct StreamQueue {
    waiting: Cell<usize>,
    /// Told when there may be a stream for one of them.
    freed: Rc<Notify>,
}

impl StreamQueue {
    /// A stream, where the connection has room for it.
    fn open(self: &Rc<Self>, connection: &Multiplexed) -> Option<Stream> {
        if !connection.has_room() {
            return None;
        }
        let usage = &connection.usage;
        usage.open.set(usage.open.get() + 1);
        let (usage, queue) = (Rc::clone(usage), Rc::clone(self));
        let open = Rc::new(OpenStream { usage, queue, upload: Upload::default() });
        Some(Stream { open, uploads: connection.http2.uploads.clone() })
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.waiting.get() >= limits.max_pending_per_endpoint
    }

    /// A place among those who wait, and until when.
    fn wait(
        self: &Rc<Self>,
        limits: &Limits,
    ) -> Result<(Waiting, tokio::time::Instant), CheckoutError> {
        if self.is_full(limits) {
            return Err(CheckoutError::Overflow);
        }
        self.waiting.set(self.waiting.get() + 1);
        let until = tokio::time::Instant::now() + limits.pending_timeout;
        Ok((Waiting(Rc::clone(self)), until))
    }

    fn note_free(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }
}

/// A request that waits, until dropped.
struct Waiting(Rc<StreamQueue>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        // There may be more room, and who was told of it may have gone.
        self.0.note_free();
    }
}

/// A stream of a connection over HTTP/2, which the endpoint counts until dropped: while its request is being
/// sent, and while its response is read.
pub(super) struct OpenStream {
    usage: Rc<Usage>,
    queue: Rc<StreamQueue>,
    pub(super) upload: Upload,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.usage.open.set(self.usage.open.get() - 1);
        self.usage.last.set(Instant::now());
        self.queue.note_free();
    }
}

/// A request's stream of a connection over HTTP/2, for whoever reads the response. To drop it ends the
/// request as well.
pub(in crate::proxy) struct Stream {
    open: Rc<OpenStream>,
    uploads: Uploads,
}

impl Stream {
    /// The request in the form that goes over the stream.
    pub(super) fn carry(&self, request: Request<RequestBody>) -> Request<UploadBody> {
        request.map(|body| UploadBody::new(body, Rc::clone(&self.open), self.uploads.clone()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.upload.end();
    }
}

/// Whether a connection has to take no more requests.
fn is_old(connection: &Http1, now: Instant, limits: &Limits) -> bool {
    now.saturating_duration_since(connection.made()) >= limits.max_upstream_connection_age
}

/// What a request waited for.
enum Waited {
    Connection(Box<Http1>),
    Slot(Slot),
}

/// A request's hold on an endpoint: counts as in flight until dropped.
pub(in crate::proxy) struct Lease {
    endpoint: Rc<Endpoint>,
    limits: Rc<Limits>,
}

impl Lease {
    pub(in crate::proxy) fn new(endpoint: &Rc<Endpoint>, limits: &Rc<Limits>) -> Self {
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        Self { endpoint: Rc::clone(endpoint), limits: Rc::clone(limits) }
    }

    /// The endpoint.
    pub(in crate::proxy) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn shared_endpoint(&self) -> Rc<Endpoint> {
        Rc::clone(&self.endpoint)
    }

    /// The response is whole: its connection can take the next request.
    pub(in crate::proxy) fn give_back(self, connection: Option<Box<Http1>>) {
        if let Some(connection) = connection {
            self.endpoint.put_idle(connection, &self.limits);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.in_flight.set(self.endpoint.in_flight.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(50);

    /// A pool with one endpoint, which takes connections and says nothing.
    async fn silent(
        protocol: BackendProtocol,
        limits: &Limits,
    ) -> (TcpListener, Pool, Rc<Endpoint>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let limits = Limits { upstream_idle_timeout: LIMIT, ..limits.clone() };
        let pool = Pool::new(Arc::default(), Rc::new(limits));
        let address = listener.local_addr().expect("it is bound");
        let endpoint = pool.endpoint(Place::Address(address), protocol, None);
        (listener, pool, endpoint)
    }

    /// A connection that was not there before.
    async fn connection(endpoint: &Endpoint, limits: &Limits) -> Box<Http1> {
        let idle = std::mem::take(&mut *endpoint.idle.borrow_mut());
        let (connection, reused) =
            endpoint.http1(limits, false).await.expect("it takes connections");
        assert!(!reused);
        *endpoint.idle.borrow_mut() = idle;
        connection
    }

    /// Waits for something that the kernel has to tell the runtime first.
    async fn until(happened: impl Fn() -> bool) {
        let wait = async {
            while !happened() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it happens");
    }

    #[tokio::test]
    async fn no_more_idle_connections_are_kept_than_allowed_and_closed_ones_do_not_count() {
        let limits = Limits { max_idle_per_endpoint: 2, ..Limits::default() };
        let (listener, _pool, endpoint) = silent(BackendProtocol::Http1, &limits).await;
        let mut peers = Vec::new();
        for kept in [1, 2, 2] {
            let connection = connection(&endpoint, &limits).await;
            peers.push(listener.accept().await.expect("a connection").0);
            endpoint.put_idle(connection, &limits);
            assert_eq!(endpoint.idle.borrow().len(), kept);
        }
        peers.clear();
        until(|| !endpoint.idle.borrow_mut().iter_mut().any(|it| it.connection.is_usable())).await;
        let connection = connection(&endpoint, &limits).await;
        endpoint.put_idle(connection, &limits);
        let idle = endpoint.idle.borrow();
        assert_eq!(idle.len(), 1, "closed ones make room");
        assert!(idle[0].connection.is_usable());
    }

    #[tokio::test]
    async fn connections_are_kept_until_the_idle_timeout_and_not_longer() {
        let limits = Limits::default();
        let (_listener, pool, endpoint) = silent(BackendProtocol::Http1, &limits).await;
        for _ in 0..2 {
            let connection = connection(&endpoint, &limits).await;
            endpoint.put_idle(connection, &limits);
        }
        let start = Instant::now();
        endpoint.idle.borrow_mut()[0].since = start;
        endpoint.idle.borrow_mut()[1].since = start + LIMIT / 2;
        for (after, kept) in [(LIMIT - LIMIT / 10, 2), (LIMIT, 1), (LIMIT * 3 / 2, 0)] {
            pool.sweep(start + after);
            assert_eq!(endpoint.idle.borrow().len(), kept, "after {after:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_on_which_something_came_unasked_is_not_used_again() {
        use tokio::io::AsyncWriteExt;

        let limits = Limits::default();
        let (listener, _pool, endpoint) = silent(BackendProtocol::Http1, &limits).await;
        let connection = connection(&endpoint, &limits).await;
        let (mut peer, _) = listener.accept().await.expect("a connection");
        endpoint.put_idle(connection, &limits);
        peer.write_all(b"HTTP/1.1 200 OK\r\n").await.expect("it is open");
        until(|| {
            let idle = endpoint.take_idle();
            let gone = idle.is_none();
            idle.into_iter().for_each(|connection| endpoint.put_idle(connection, &limits));
            gone
        })
        .await;
    }

    #[tokio::test]
    async fn a_connection_that_is_too_old_is_not_used_again() {
        let limits = Limits { max_upstream_connection_age: Duration::ZERO, ..Limits::default() };
        let (_listener, _pool, endpoint) = silent(BackendProtocol::Http1, &limits).await;
        let connection = connection(&endpoint, &limits).await;
        endpoint.put_idle(connection, &limits);
        assert!(endpoint.take_idle().is_none());
    }

    #[tokio::test]
    async fn requests_beyond_the_limit_on_connections_wait_and_those_beyond_that_are_refused() {
        let limits = Limits {
            max_connections_per_endpoint_per_core: 2,
            max_pending_per_endpoint: 1,
            ..Limits::default()
        };
        let (_listener, _pool, endpoint) = silent(BackendProtocol::Http1, &limits).await;
        let first = connection(&endpoint, &limits).await;
        let second = connection(&endpoint, &limits).await;

        let mut waiting = Box::pin(endpoint.http1(&limits, false));
        assert!(futures_pending(&mut waiting).await);
        assert!(matches!(endpoint.http1(&limits, false).await, Err(CheckoutError::Overflow)));
        endpoint.put_idle(first, &limits);
        let (first, reused) = waiting.await.expect("one is free");
        assert!(reused);

        let mut waiting = Box::pin(endpoint.http1(&limits, false));
        assert!(futures_pending(&mut waiting).await);
        drop(second);
        let (second, reused) = waiting.await.expect("there is room for one");
        assert!(!reused);
        drop((first, second));
    }

    #[tokio::test]
    async fn cores_share_a_limit_on_connections_to_an_endpoint() {
        let limits = Limits { max_connections_per_endpoint: 1, ..Limits::default() };
        let (_listener, pool, endpoint) = silent(BackendProtocol::Http1, &limits).await;
        let other_core = Pool::new(Arc::clone(&pool.all_slots), Rc::clone(&pool.limits));
        let there = other_core.endpoint(endpoint.place.clone(), BackendProtocol::Http1, None);
        let only = connection(&endpoint, &limits).await;
        let mut waiting = Box::pin(there.http1(&limits, false));
        assert!(futures_pending(&mut waiting).await);
        drop(only);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_for_a_connection_than_the_limit_says() {
        let limits = Limits { max_connections_per_endpoint_per_core: 0, ..Limits::default() };
        let (_listener, _pool, endpoint) = silent(BackendProtocol::Http1, &limits).await;
        let began = tokio::time::Instant::now();
        assert!(matches!(endpoint.http1(&limits, false).await, Err(CheckoutError::Overflow)));
        let waited = began.elapsed();
        assert!(waited >= limits.pending_timeout && waited < 2 * limits.pending_timeout);
    }

    /// Whether a future has to wait, once it was asked.
    async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
        })
        .await
    }

    #[tokio::test]
    async fn an_http2_connection_is_kept_while_it_is_used_and_for_the_idle_timeout_after() {
        let limits = Rc::new(Limits::default());
        let test = async {
            let (_listener, pool, endpoint) = silent(BackendProtocol::H2c, &limits).await;
            let first = endpoint.http2(&limits).await.expect("it takes connections");
            assert!(!first.reused);
            drop(first);
            let second = endpoint.http2(&limits).await.expect("it takes connections");
            assert!(second.reused);
            let usage = Rc::clone(&second.stream.open.usage);
            pool.sweep(Instant::now() + 2 * LIMIT);
            assert!(endpoint.has_connections(), "a request is in flight");
            drop(second);
            pool.sweep(usage.last.get() + LIMIT / 2);
            assert!(endpoint.has_connections(), "it was used a moment ago");
            pool.sweep(usage.last.get() + LIMIT);
            assert!(!endpoint.has_connections());
        };
        LocalSet::new().run_until(test).await;
    }

    /// Takes one connection over HTTP/2, and one stream at a time on it.
    async fn accept_one_stream(listener: &TcpListener) -> TcpStream {
        use tokio::io::AsyncWriteExt;

        let (mut peer, _) = listener.accept().await.expect("a connection");
        // SETTINGS with MAX_CONCURRENT_STREAMS of one.
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];
        peer.write_all(&settings).await.expect("it is open");
        peer
    }

    #[tokio::test]
    async fn who_has_no_connection_left_makes_one_though_another_beside_it_failed() {
        let limits = Rc::new(Limits::default());
        let test = async {
            // At an address of its own, where nobody else takes the port meanwhile.
            let listener = TcpListener::bind("127.87.43.21:0").await.expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            let pool = Pool::new(Arc::default(), Rc::clone(&limits));
            let endpoint = pool.endpoint(Place::Address(address), BackendProtocol::H2c, None);
            let busy = endpoint.http2(&limits).await.expect("it takes connections");
            let peer = accept_one_stream(&listener).await;
            until(|| endpoint.multiplexed.borrow().iter().all(Multiplexed::is_full)).await;
            drop(listener);

            let mut waiting = Box::pin(endpoint.http2(&limits));
            assert!(futures_pending(&mut waiting).await);
            until(|| endpoint.failed.get().is_some()).await;
            assert!(futures_pending(&mut waiting).await, "it waits for the other one's stream");
            let _listener = TcpListener::bind(address).await.expect("nobody else has it");
            drop(peer);
            let made = waiting.await.expect("it takes connections again");
            assert!(!made.reused);
            drop(busy);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn an_endpoint_is_forgotten_when_no_backend_names_it_and_no_connection_is_left() {
        let limits = Limits::default();
        let (_listener, pool, endpoint) = silent(BackendProtocol::Http1, &limits).await;
        let connection = connection(&endpoint, &limits).await;
        endpoint.put_idle(connection, &limits);
        let since = endpoint.idle.borrow()[0].since;
        drop(endpoint);
        pool.sweep(since);
        assert_eq!(pool.endpoints.borrow().len(), 1, "it has a connection");
        pool.sweep(since + LIMIT);
        assert!(pool.endpoints.borrow().is_empty());
    }
}
