//! Datagrams of UDPRoutes, in flows: what a client sends to one of our addresses goes to one endpoint,
//! and what that sends back comes from the address and port that the client addressed (L4-6).
//!
//! ```text
//!  socket ─► receive ─► Sessions ─┬─ known ───────────────────────► Session ─► endpoint
//!    ▲                            └─ new ─► way ─► open ─► make room ─┘           │
//!    └────────────────────────────────────────────────────────────────── task ◄───┘
//! ```

mod session;
mod sessions;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::snapshot::Port;
use super::streams::{Rejection, Way};
use super::upstream::Lease;
use super::worker::{Done, Worker};
use session::End;
use session::Link;
pub(super) use session::Session;
use sessions::Flow;
pub(super) use sessions::Sessions;

/// Datagrams, or trains of them that the kernel put together, that are received at once.
const BATCH: usize = 8;

/// Bytes of the longest datagram, and of the longest train.
const LONGEST: usize = 64 * 1024;

/// Pause after a socket that cannot be read: a loop that asks again at once would take a core.
const PAUSE: Duration = Duration::from_millis(100);

thread_local! {
    /// What is received is handed on before anything else runs, so that one buffer is enough.
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BATCH * LONGEST].into());
}

/// A socket of ours on one worker.
pub(super) struct Listening {
    worker: Rc<Worker>,
    socket: UdpSocket,
    state: UdpSocketState,
    /// As bound.
    address: SocketAddr,
}

impl Listening {
    /// Takes a socket into use.
    pub(super) fn new(
        worker: Rc<Worker>,
        socket: std::net::UdpSocket,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // That was made for QUIC, which sends no datagram in fragments. What goes through here does not
        // know of it.
        if address.is_ipv4() {
            sockopt::set_ip_mtu_discover(&socket, sockopt::Ipv4PathMtuDiscovery::WANT)?;
        } else {
            sockopt::set_ipv6_mtu_discover(&socket, sockopt::Ipv6PathMtuDiscovery::WANT)?;
        }
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self { worker, socket, state, address })
    }

    /// Sends a datagram to the client of a flow, from the address that it sent to.
    fn reply(&self, flow: &Flow, contents: &[u8]) -> io::Result<()> {
        let transmit = Transmit {
            destination: flow.client,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: Some(flow.local),
        };
        let send = || self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
        self.socket.try_io(Interest::WRITABLE, send)
    }
}

/// Receives datagrams until told to stop; with the socket end its flows.
pub(super) async fn receive(listening: Listening, mut stop: oneshot::Receiver<Done>) {
    let listening = Rc::new(listening);
    let done = loop {
        tokio::select! {
            biased;
            done = &mut stop => break done,
            ready = listening.socket.readable() => {
                if let Err(error) = ready.and_then(|()| take_batch(&listening)) {
                    recover(&listening, &error).await;
                }
                // However much comes, others have their turn.
                tokio::task::yield_now().await;
            }
        }
    };
    listening.worker.udp_sessions.end_all_of(listening.address);
    // Nobody else holds it, so that the socket is closed.
    drop(listening);
    drop(done);
}

async fn recover(listening: &Listening, error: &io::Error) {
    // An error that says what became of a datagram that was sent before says nothing of the next.
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) {
        return;
    }
    let address = listening.address;
    if listening.worker.shared.may_warn(std::time::Instant::now()) {
        tracing::warn!(%address, %error, "cannot receive datagrams");
    }
    tokio::time::sleep(PAUSE).await;
}

/// Takes what has come, up to a number of datagrams.
fn take_batch(listening: &Rc<Listening>) -> io::Result<()> {
    RECEIVED.with_borrow_mut(|received| {
        let mut rest = received.chunks_mut(LONGEST);
        let mut buffers: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
        let mut metas = [RecvMeta::default(); BATCH];
        let count = listening.socket.try_io(Interest::READABLE, || {
            let socket = UdpSockRef::from(&listening.socket);
            listening.state.recv(socket, &mut buffers, &mut metas)
        })?;
        for (meta, buffer) in metas.iter().zip(&buffers).take(count) {
            let local = meta.dst_ip.unwrap_or(listening.address.ip());
            for datagram in datagrams(&buffer[..meta.len], meta.stride) {
                take(listening, meta.addr, local, datagram);
            }
        }
        Ok(())
    })
}

/// The datagrams of a train, of which each but the last one is as long as `stride`. One without contents
/// is one, too.
fn datagrams(train: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = train.is_empty().then_some(train);
    empty.into_iter().chain(train.chunks(stride.max(1)))
}

fn take(listening: &Rc<Listening>, client: SocketAddr, local: IpAddr, datagram: &[u8]) {
    let worker = &listening.worker;
    let flow = Flow { socket: listening.address, local, client };
    let snapshot = worker.snapshot();
    // A socket that nothing wants any more is about to be closed.
    let Some(port) = snapshot.udp_ports.get(&listening.address) else { return };
    let dropped = |reason| {
        let (gateway, listener) = (&port.gateway.id, &port.first_listener.key);
        worker.telemetry.datagram_dropped(gateway, listener, reason);
    };
    if let Some(session) = worker.udp_sessions.find(&flow) {
        let mut end = End::Moved;
        if session.leads_on(&snapshot, port) {
            let Err(error) = session.send(datagram) else { return };
            dropped(session::unsent(&error));
            if session::unsent(&error) != session::REFUSED {
                return;
            }
            // That is told of one that was sent before; this one has not been.
            session.note_refusal();
            end = End::Refused;
        }
        // What comes now begins a flow by what is served now.
        worker.udp_sessions.end(&session, end);
    }
    match begin(listening, flow, port, snapshot.generation) {
        Ok(session) => {
            if let Err(error) = session.send(datagram) {
                dropped(session::unsent(&error));
                if session::unsent(&error) == session::REFUSED {
                    session.note_refusal();
                }
            }
        }
        Err(rejection) => dropped(rejection.reason()),
    }
}

/// Begins a flow.
fn begin(
    listening: &Rc<Listening>,
    flow: Flow,
    port: &Port,
    generation: u64,
) -> Result<Rc<Session>, Rejection> {
    let worker = &listening.worker;
    let way = Way::find(worker, &port.gateway, &port.first_listener, None);
    let way = way.map_err(|lost| lost.rejection)?;
    if way.backend.endpoint_count() == 0 {
        return Err(Rejection::NoEndpoint);
    }
    // First of all: no other flow makes room for one that leads nowhere.
    let link = open(worker, &way, &flow)?;
    let counted = worker.telemetry.udp_session(&port.gateway.id, &port.first_listener.key);
    let place = worker.udp_sessions.make_room(&worker.shared);
    let listener = worker.core.listener(&port.gateway.id, &port.first_listener);
    let session = Session::begin(flow, listener, way, link, generation);
    let session = worker.udp_sessions.add(session, place, counted);
    let run = session::run(Rc::clone(&session), Rc::clone(worker), Rc::downgrade(listening));
    tokio::task::spawn_local(run);
    Ok(session)
}

/// Chooses an endpoint and opens the way to it. Where there is none to the first one, another is asked.
fn open(worker: &Worker, way: &Way, flow: &Flow) -> Result<(Lease, Link), Rejection> {
    for _ in 0..2 {
        let endpoint = way.backend.endpoint_for_flow().ok_or(Rejection::NoEndpoint)?;
        let lease = Lease::new(endpoint, &worker.limits);
        let error = match Link::to(endpoint.place()) {
            Ok(link) => return Ok((lease, link)),
            Err(error) => error,
        };
        tracing::debug!(client = %flow.client, endpoint = %endpoint.place(), %error, "no flow");
        if session::is_shortage(&error) {
            break;
        }
        endpoint.note_refusal();
    }
    Err(Rejection::Connect)
}
