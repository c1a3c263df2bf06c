//! One flow of datagrams: a socket of its own that is connected to an endpoint.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};

use gwapi_translate::ir::{BackendKey, RuleKey};
use rustix::io::Errno;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::sessions::Flow;
use super::{LONGEST, Listening};
use crate::proxy::snapshot::{BackendEntry, Port, Snapshot};
use crate::proxy::streams::Way;
use crate::proxy::upstream::{Lease, Place, resolve};
use crate::proxy::worker::Worker;

/// Datagrams that wait for the socket of their flow.
const MAX_WAITING: usize = 16;

/// Datagrams of an endpoint that are passed on before others have their turn.
const TURN: usize = 32;

thread_local! {
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; LONGEST].into());
}

/// A flow of datagrams, and where it was sent when it began.
pub(in crate::proxy) struct Session {
    pub(super) flow: Flow,
    rule: RuleKey,
    backend: BackendKey,
    lease: Lease,
    /// The last configuration that still had all of these.
    generation: Cell<u64>,
    link: RefCell<Link>,
    last: Cell<Instant>,
    ended: Notify,
}

/// The way to the endpoint.
enum Link {
    /// There is no socket yet; these datagrams wait for it.
    Opening(Vec<Vec<u8>>),
    Open(Rc<UdpSocket>),
}

impl Session {
    /// A flow on its way. Where the endpoint's address is known its socket is there at once: datagrams that
    /// come together with the first one, as many as they are, do not wait for it.
    ///
    /// # Errors
    ///
    /// There is no socket to be had, or no way to the endpoint.
    pub(super) fn begin(flow: Flow, way: &Way, lease: Lease, generation: u64) -> io::Result<Self> {
        let link = match lease.endpoint().place() {
            Place::Address(address) => Link::Open(connect(*address)?),
            Place::Name(..) => Link::Opening(Vec::new()),
        };
        Ok(Self {
            flow,
            rule: way.rule.rule.key.clone(),
            backend: way.backend.key().clone(),
            lease,
            generation: Cell::new(generation),
            link: RefCell::new(link),
            last: Cell::new(Instant::now()),
            ended: Notify::new(),
        })
    }

    /// When something last came, from either side.
    pub(super) fn last(&self) -> Instant {
        self.last.get()
    }

    /// Ends what runs for it.
    pub(super) fn end(&self) {
        self.ended.notify_one();
    }

    /// Whether what is served now still has its rule, its backend and its endpoint.
    pub(super) fn leads_on(&self, now: &Snapshot, port: &Port) -> bool {
        if self.generation.get() == now.generation {
            return true;
        }
        let gateway = &port.gateway;
        let leads_on = gateway.table.stream(&port.first_listener, None).is_some_and(|rule| {
            rule.key == self.rule
                && rule.targets().any(|(key, _)| *key == self.backend)
                && gateway.backends.get(&self.backend).is_some_and(|entry| self.is_at(entry))
        });
        if leads_on {
            self.generation.set(now.generation);
        }
        leads_on
    }

    fn is_at(&self, entry: &BackendEntry) -> bool {
        let Some(endpoints) = &entry.endpoints else { return false };
        match self.lease.endpoint().place() {
            Place::Address(address) => endpoints.addresses.contains(address),
            Place::Name(name, port) => {
                endpoints.hostnames.iter().any(|(known, at)| **known == **name && at == port)
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
            Link::Open(socket) => send(socket, datagram),
            Link::Opening(waiting) if waiting.len() < MAX_WAITING => {
                waiting.push(datagram.to_vec());
                Ok(())
            }
            Link::Opening(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The endpoint has said that it takes nothing.
    pub(super) fn note_refusal(&self) {
        self.lease.endpoint().note_refusal();
    }

    /// The socket, which waits for the endpoint's name to be resolved where it has one.
    async fn socket(&self) -> io::Result<Rc<UdpSocket>> {
        if let Link::Open(socket) = &*self.link.borrow() {
            return Ok(Rc::clone(socket));
        }
        let address = resolve(self.lease.endpoint().place()).await?.next();
        let address = address.ok_or_else(|| io::Error::other("the name has no usable address"))?;
        let socket = connect(address)?;
        let before = self.link.replace(Link::Open(Rc::clone(&socket)));
        if let Link::Opening(waiting) = before {
            waiting.iter().try_for_each(|datagram| send(&socket, datagram))?;
        }
        Ok(socket)
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
        _ => REFUSED,
    }
}

/// The word for those that the endpoint takes none of, or one that was sent before.
pub(super) const REFUSED: &str = "refused";

/// Whether a datagram was not sent because of its length.
fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error())
}

/// Opens the way to the endpoint, and brings back what the endpoint sends, until the flow ends.
pub(super) async fn run(session: Rc<Session>, worker: Rc<Worker>, listening: Weak<Listening>) {
    let run = async {
        let socket = match session.socket().await {
            Ok(socket) => socket,
            Err(error) => {
                worker.drop_datagram(&session.flow.socket, "connect");
                return Err(error);
            }
        };
        let idle_timeout = worker.limits.udp_session_idle_timeout;
        loop {
            let end = session.last() + idle_timeout;
            tokio::select! {
                ready = socket.ready(Interest::READABLE | Interest::ERROR) => {
                    if ready?.is_error() {
                        told(&socket)?;
                    }
                }
                () = tokio::time::sleep_until(end) => {
                    if session.last() + idle_timeout <= Instant::now() {
                        return Ok(());
                    }
                    continue;
                }
            }
            let Some(listening) = listening.upgrade() else { return Ok(()) };
            pass_on(&session, &socket, &listening)?;
            drop(listening);
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::select! {
        biased;
        () = session.ended.notified() => Ok(()),
        ended = run => ended,
    };
    if let Err(error) = ended {
        let endpoint = session.lease.endpoint().place();
        if error.kind() == io::ErrorKind::ConnectionRefused {
            session.note_refusal();
            worker.drop_datagram(&session.flow.socket, REFUSED);
        }
        tracing::debug!(client = %session.flow.client, %endpoint, %error, "flow ended");
    }
    worker.udp_sessions.end(&session);
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
            if let Err(error) = listening.reply(&session.flow, &received[..length]) {
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
