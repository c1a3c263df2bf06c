//! One flow of datagrams: a socket of its own that is connected to an endpoint.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::sessions::Flow;
use super::{LONGEST, Listening};
use crate::Limits;
use crate::observe::StreamRecord;
use crate::proxy::core_state::CoreListener;
use crate::proxy::relay::Passed;
use crate::proxy::snapshot::{BackendEntry, Port, Snapshot};
use crate::proxy::streams::Way;
use crate::proxy::upstream::{Lease, Place, resolve};
use crate::proxy::worker::Worker;

/// Datagrams that wait for the socket of their flow, and their bytes; one waits however long it is.
const MAX_WAITING: usize = 16;
const MAX_WAITING_BYTES: usize = 32 * 1024;

/// Datagrams of an endpoint that are passed on before others have their turn.
const TURN: usize = 32;

thread_local! {
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; LONGEST].into());
}

/// A flow of datagrams, and where it was sent when it began.
pub(in crate::proxy) struct Session {
    pub(super) flow: Flow,
    listener: Rc<CoreListener>,
    way: Way,
    lease: Lease,
    /// The last configuration that still had all of these.
    generation: Cell<u64>,
    link: RefCell<Link>,
    began: Instant,
    last: Cell<Instant>,
    passed: Passed,
    ended: Notify,
    /// Why, once it has.
    why: Cell<Option<End>>,
}

/// Why a flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was silent for long enough.
    Idle,
    /// The endpoint takes nothing.
    Refused,
    /// There is no way to the endpoint.
    Connect,
    /// Its place was needed.
    Displaced,
    /// What is served has not its route, backend or endpoint any more.
    Moved,
    /// Its listener is gone, or a drain has come.
    Cut,
}

impl End {
    /// The word in the access log.
    fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Refused => "refused",
            Self::Connect => "connect",
            Self::Displaced => "displaced",
            Self::Moved => "moved",
            Self::Cut => "cut",
        }
    }
}

/// The way to the endpoint.
pub(super) enum Link {
    /// There is no socket yet; these datagrams wait for it.
    Opening(Waiting),
    Open(Rc<UdpSocket>),
}

/// Datagrams that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    datagrams: Vec<Vec<u8>>,
    bytes: usize,
}

impl Waiting {
    /// Whether there was room for one more.
    fn push(&mut self, datagram: &[u8]) -> bool {
        let bytes = self.bytes + datagram.len();
        let has_room = self.datagrams.is_empty()
            || (self.datagrams.len() < MAX_WAITING && bytes <= MAX_WAITING_BYTES);
        if has_room {
            self.datagrams.push(datagram.to_vec());
            self.bytes = bytes;
        }
        has_room
    }
}

impl Link {
    /// Where the endpoint's address is known its socket is there at once: datagrams that come together with
    /// the first one, as many as they are, do not wait for it.
    ///
    /// # Errors
    ///
    /// There is no socket to be had, or no way to the endpoint.
    pub(super) fn to(place: &Place) -> io::Result<Self> {
        match place {
            Place::Address(address) => connect(*address).map(Self::Open),
            Place::Name(..) | Place::External(..) => Ok(Self::Opening(Waiting::default())),
        }
    }
}

impl Session {
    /// A flow on its way.
    pub(super) fn begin(
        flow: Flow,
        listener: Rc<CoreListener>,
        way: Way,
        (lease, link): (Lease, Link),
        generation: u64,
    ) -> Self {
        Self {
            flow,
            listener,
            way,
            lease,
            generation: Cell::new(generation),
            link: RefCell::new(link),
            began: Instant::now(),
            last: Cell::new(Instant::now()),
            passed: Passed::default(),
            ended: Notify::new(),
            why: Cell::new(None),
        }
    }

    /// When something last came, from either side.
    pub(super) fn last(&self) -> Instant {
        self.last.get()
    }

    /// Ends what runs for it. The first reason counts.
    pub(super) fn end(&self, why: End) {
        self.why.set(self.why.get().or(Some(why)));
        self.ended.notify_one();
    }

    /// Whether what is served now still has its rule, its backend and its endpoint.
    pub(super) fn leads_on(&self, now: &Snapshot, port: &Port) -> bool {
        if self.generation.get() == now.generation {
            return true;
        }
        let gateway = &port.gateway;
        let backend = self.way.backend.key();
        let leads_on = gateway.table.stream(&port.first_listener, None).is_some_and(|rule| {
            rule.key == self.way.rule.rule.key
                && rule.targets().any(|(key, _)| key == backend)
                && gateway.backends.get(backend).is_some_and(|entry| self.is_at(entry))
        });
        if leads_on {
            self.generation.set(now.generation);
        }
        leads_on
    }

    /// Why it ends now, where what is served does not have all of that any more.
    fn lost(&self, worker: &Worker) -> Option<End> {
        let snapshot = worker.snapshot();
        match snapshot.udp_ports.get(&self.flow.socket) {
            Some(port) if self.leads_on(&snapshot, port) => None,
            Some(_) => Some(End::Moved),
            // The socket is about to be closed.
            None => Some(End::Cut),
        }
    }

    fn is_at(&self, entry: &BackendEntry) -> bool {
        let Some(endpoints) = &entry.endpoints else { return false };
        match self.lease.endpoint().place() {
            Place::Address(address) => endpoints.addresses.contains(address),
            Place::Name(name, port) => {
                endpoints.hostnames.iter().any(|(known, at)| **known == **name && at == port)
            }
            Place::External(name, port) => {
                let name = name.trim_end_matches('.');
                endpoints.external.iter().any(|(known, at)| known == name && at == port)
            }
        }
    }

    /// Sends a datagram to the endpoint.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where the kernel takes no more of them at present. Any other one says that the
    /// endpoint took none of those before (ICMP), or that this one is too long.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.last.set(Instant::now());
        match &mut *self.link.borrow_mut() {
            Link::Open(socket) => {
                send(socket, datagram)?;
                add(&self.passed.received, datagram);
                Ok(())
            }
            Link::Opening(waiting) => {
                let has_room = waiting.push(datagram);
                has_room.then_some(()).ok_or_else(|| io::ErrorKind::WouldBlock.into())
            }
        }
    }

    /// The endpoint has said that it takes nothing.
    pub(super) fn note_refusal(&self) {
        self.lease.endpoint().note_refusal();
    }

    /// The socket, and what has waited for it: for the endpoint's name to be resolved where it has one.
    async fn socket(&self, limits: &Limits) -> io::Result<(Rc<UdpSocket>, Vec<Vec<u8>>)> {
        if let Link::Open(socket) = &*self.link.borrow() {
            return Ok((Rc::clone(socket), Vec::new()));
        }
        let mut socket = Err(io::Error::other("the name has no usable address"));
        let until = Instant::now() + limits.connect_timeout;
        for address in resolve(self.lease.endpoint().place(), limits, until).await? {
            socket = connect(address);
            if socket.is_ok() {
                break;
            }
        }
        let socket = socket?;
        let waiting = match self.link.replace(Link::Open(Rc::clone(&socket))) {
            Link::Opening(waiting) => waiting.datagrams,
            Link::Open(_) => Vec::new(),
        };
        Ok((socket, waiting))
    }

    /// Sends what has waited for the socket, in order.
    ///
    /// # Errors
    ///
    /// The endpoint takes none.
    fn send_what_waited(
        &self,
        socket: &UdpSocket,
        waiting: Vec<Vec<u8>>,
        worker: &Worker,
    ) -> io::Result<()> {
        let mut waiting = waiting.into_iter();
        while let Some(datagram) = waiting.next() {
            match send(socket, &datagram) {
                Ok(()) => add(&self.passed.received, &datagram),
                Err(error) => self.bear(error, worker).inspect_err(|_| {
                    waiting.by_ref().for_each(|_| worker.drop_datagram(&self.flow.socket, REFUSED));
                })?,
            }
        }
        Ok(())
    }

    /// Goes on where a datagram was dropped for what it is, or what the kernel has room for.
    ///
    /// # Errors
    ///
    /// The endpoint takes none.
    fn bear(&self, error: io::Error, worker: &Worker) -> io::Result<()> {
        match unsent(&error) {
            REFUSED => Err(error),
            reason => {
                worker.drop_datagram(&self.flow.socket, reason);
                Ok(())
            }
        }
    }
}

/// A socket that is connected to an endpoint.
fn connect(address: SocketAddr) -> io::Result<Rc<UdpSocket>> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    Ok(Rc::new(UdpSocket::from_std(socket)?))
}

/// Sends past the runtime, which does not know of a new socket yet that it takes datagrams. Nobody waits
/// for that: what is not taken at once is dropped.
fn send(socket: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    SockRef::from(socket).send(datagram).map(|_| ())
}

/// The word for the metrics of a datagram that was not sent to an endpoint.
pub(super) fn unsent(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::WouldBlock => "congested",
        _ if is_too_long(error) => "too_long",
        _ if is_shortage(error) => "congested",
        _ => REFUSED,
    }
}

/// Whether it is this machine that is short of something: another endpoint would be no better.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let short =
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRINUSE, Errno::AGAIN];
    short.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The word for those that the endpoint takes none of, or one that was sent before.
pub(super) const REFUSED: &str = "refused";

fn add(passed: &Cell<u64>, datagram: &[u8]) {
    passed.set(passed.get() + datagram.len() as u64);
}

/// Whether a datagram was not sent because of its length.
fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error())
}

/// Opens the way to the endpoint, and brings back what the endpoint sends, until the flow ends.
pub(super) async fn run(session: Rc<Session>, worker: Rc<Worker>, listening: Weak<Listening>) {
    let _told = Told { session: &session, worker: &worker };
    let run = async {
        let (socket, waiting) = match session.socket(&worker.limits).await {
            Ok(opened) => opened,
            Err(error) => {
                let endpoint = session.lease.endpoint().place();
                tracing::debug!(client = %session.flow.client, %endpoint, %error, "no flow");
                if !is_shortage(&error) {
                    session.note_refusal();
                }
                return Ok(End::Connect);
            }
        };
        if let Some(end) = session.lost(&worker) {
            waiting.iter().for_each(|_| worker.drop_datagram(&session.flow.socket, "connect"));
            return Ok(end);
        }
        session.send_what_waited(&socket, waiting, &worker)?;
        let idle_timeout = worker.limits.udp_session_idle_timeout;
        loop {
            let end = session.last() + idle_timeout;
            tokio::select! {
                ready = socket.ready(Interest::READABLE | Interest::ERROR) => {
                    if ready?.is_error() {
                        told(&socket).or_else(|error| session.bear(error, &worker))?;
                    }
                }
                () = tokio::time::sleep_until(end) => {
                    if session.last() + idle_timeout <= Instant::now() {
                        return Ok(End::Idle);
                    }
                    continue;
                }
            }
            let Some(listening) = listening.upgrade() else { return Ok(End::Cut) };
            if let Some(end) = session.lost(&worker) {
                return Ok(end);
            }
            let passed_on = pass_on(&session, &socket, &listening);
            passed_on.or_else(|error| session.bear(error, &worker))?;
            drop(listening);
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::select! {
        biased;
        () = session.ended.notified() => Ok(End::Cut),
        ended = run => ended,
    };
    let end = ended.unwrap_or_else(|error: io::Error| {
        let endpoint = session.lease.endpoint().place();
        tracing::debug!(client = %session.flow.client, %endpoint, %error, "flow ended");
        session.note_refusal();
        worker.drop_datagram(&session.flow.socket, REFUSED);
        End::Refused
    });
    worker.udp_sessions.end(&session, end);
}

/// A flow of which is told once nothing runs for it any more.
struct Told<'a> {
    session: &'a Session,
    worker: &'a Worker,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let Session { flow, listener, way, lease, passed, .. } = self.session;
        if let Link::Opening(waiting) = &*self.session.link.borrow() {
            // There was no socket in time, for whatever reason.
            waiting
                .datagrams
                .iter()
                .for_each(|_| self.worker.drop_datagram(&flow.socket, "connect"));
        }
        self.worker.telemetry.stream(&StreamRecord {
            protocol: "UDP",
            gateway: &listener.gateway,
            listener: &listener.key,
            route: Some(&way.rule.rule.route),
            rule: Some(&way.rule.rule.key),
            backend: Some(way.backend.key()),
            endpoint: lease.endpoint().address(),
            peer: flow.client,
            server_name: None,
            duration: self.session.began.elapsed(),
            bytes_received: passed.received.get(),
            bytes_sent: passed.sent.get(),
            ended: self.session.why.get().unwrap_or(End::Cut).as_str(),
        });
    }
}

/// The error that the kernel was told by others (ICMP), if there is one still.
fn told(socket: &UdpSocket) -> io::Result<()> {
    let told = socket.try_io(Interest::ERROR, || match socket.take_error()? {
        Some(error) => Err(error),
        None => Err(io::ErrorKind::WouldBlock.into()),
    });
    match told {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        told => told,
    }
}

/// Passes on what has come from the endpoint.
fn pass_on(session: &Session, socket: &UdpSocket, listening: &Listening) -> io::Result<()> {
    RECEIVED.with_borrow_mut(|received| {
        for _ in 0..TURN {
            let length = match socket.try_recv(received) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            session.last.set(Instant::now());
            let sent = listening.reply(&session.flow, &received[..length]);
            if sent.is_ok() {
                add(&session.passed.sent, &received[..length]);
            }
            if let Err(error) = sent {
                let reason = match error.kind() {
                    io::ErrorKind::WouldBlock => "congested",
                    _ if is_too_long(&error) => "too_long",
                    _ => "unsent",
                };
                tracing::debug!(client = %session.flow.client, %error, "a datagram is dropped");
                listening.worker.drop_datagram(&session.flow.socket, reason);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_wait_within_limits_on_their_number_and_bytes() {
        let taken = |length: usize| {
            let mut waiting = Waiting::default();
            (0..2 * MAX_WAITING).filter(|_| waiting.push(&vec![0; length])).count()
        };
        assert_eq!(taken(0), MAX_WAITING);
        assert_eq!(taken(MAX_WAITING_BYTES / MAX_WAITING), MAX_WAITING);
        assert_eq!(taken(MAX_WAITING_BYTES / 4), 4);
        assert_eq!(taken(LONGEST), 1, "a single one has room in any case");
    }
}
