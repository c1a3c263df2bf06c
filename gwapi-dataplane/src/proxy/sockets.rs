//! Sockets that accept connections or receive datagrams: bound once, kept as long as a listener wants
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

use gwapi_translate::ir::TransportProtocol;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::open_files_limit;

/// Connections that wait in the kernel, per socket; the kernel cuts it to its own limit.
const BACKLOG: i32 = 4096;

/// The part of all descriptors that stays free for connections, as a divisor: a quarter. Sockets
/// that listen and have no descriptor left for what they accept would only keep clients waiting.
const LEFT_FOR_CONNECTIONS: usize = 4;

/// Descriptors that stay free beside connections and their endpoints': for the admin port, and for
/// files that are read.
const SPARE: usize = 16;

/// A socket as it is wanted. TCP and UDP have ports of their own (GW-2).
pub(super) type SocketKey = (TransportProtocol, SocketAddr);

/// A socket of one worker.
#[derive(Debug)]
pub(super) enum BoundSocket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// The sockets of a proxy, by transport protocol and address as wanted.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    bound: BTreeSet<SocketKey>,
    failed: BTreeMap<SocketKey, Failure>,
    /// Descriptors that the process had before the first socket: what runtimes, logs and the like
    /// need. Those of connections are none of them.
    others: Option<usize>,
}

/// Why an address is not bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The host does not have the address.
    AddressMissing(&'static str),
    /// Anything else.
    Unbound(String),
}

/// What workers have to do to follow a change of the sockets.
#[derive(Debug, Default)]
pub(super) struct SocketChanges {
    /// New sockets, one for each worker; what comes waits in them until a worker takes it.
    pub(super) added: Vec<(SocketKey, Vec<BoundSocket>)>,
    /// Sockets that nothing wants any more.
    pub(super) removed: Vec<SocketKey>,
}

/// What there are descriptors for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Clients' connections that a worker may hold at a time.
    pub(super) connections: usize,
    /// Flows of datagrams over all workers.
    pub(super) udp_sessions: usize,
}

impl Room {
    /// Flows of datagrams have a quarter at most: a client can make as many as it has ports. Of what is
    /// left half is for connections, since a request may need another one for its endpoint.
    fn of(free: usize, workers: usize, max_udp_sessions: usize) -> Self {
        let udp_sessions = max_udp_sessions.min(free / 4);
        Self { connections: ((free - udp_sessions) / 2 / workers).max(1), udp_sessions }
    }
}

impl SocketChanges {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl Sockets {
    /// Binds what is wanted and not bound yet, lower ports first. Sockets that stay are not touched.
    pub(super) fn follow(&mut self, wanted: &BTreeSet<SocketKey>, workers: usize) -> SocketChanges {
        let mut failed = BTreeMap::new();
        let mut changes = SocketChanges::default();
        let limit = open_files_limit();
        let room = self.room(limit);
        let mut listening = wanted.intersection(&self.bound).count() * workers;
        let mut too_many = Vec::new();
        for keys in self.missing(wanted).into_values() {
            // All addresses of a port or none: half a listener helps nobody.
            if listening + keys.len() * workers > room {
                too_many.extend(keys);
                continue;
            }
            for key in keys {
                let mut ours = self.bound.iter().chain(changes.added.iter().map(|(new, _)| new));
                let shares_port = ours.any(|ours| overlap(*ours, key));
                match bind(key, workers, shares_port) {
                    Ok(sockets) => {
                        listening += sockets.len();
                        changes.added.push((key, sockets));
                    }
                    Err(error) if is_too_many(&error) => too_many.push(key),
                    Err(error) => {
                        failed.insert(key, explain(key, &error, wanted));
                    }
                }
            }
        }
        let why = format!(
            "too many open files: {listening} of {limit} descriptors are listeners, and connections \
             need the rest; raise the limit with `ulimit -n` or use fewer workers"
        );
        failed.extend(too_many.into_iter().map(|a| (a, Some(Failure::Unbound(why.clone())))));
        changes.removed = self.bound.difference(wanted).copied().collect();
        self.bound = wanted.iter().copied().filter(|a| !failed.contains_key(a)).collect();
        self.failed = failed.into_iter().filter_map(|(a, failure)| Some((a, failure?))).collect();
        changes
    }

    /// Descriptors that sockets which listen may have in all.
    fn room(&mut self, limit: usize) -> usize {
        // A new descriptor is the lowest free one, so everything below it is in use.
        let others = *self.others.get_or_insert_with(|| {
            let probe = Socket::new(Domain::IPV4, Type::STREAM, None);
            probe.map_or(limit, |probe| usize::try_from(probe.as_raw_fd()).unwrap_or(limit))
        });
        (limit - limit / LEFT_FOR_CONNECTIONS).saturating_sub(others)
    }

    /// For what there are descriptors beside the sockets.
    pub(super) fn room_beside(&self, workers: usize, max_udp_sessions: usize) -> Room {
        let used = self.others.unwrap_or_default() + self.bound.len() * workers + SPARE;
        let carries_udp = self.bound.iter().any(|(it, _)| *it == TransportProtocol::Udp);
        let max_udp_sessions = if carries_udp { max_udp_sessions } else { 0 };
        Room::of(open_files_limit().saturating_sub(used), workers, max_udp_sessions)
    }

    /// What is wanted and not bound yet, by port.
    fn missing(
        &self,
        wanted: &BTreeSet<SocketKey>,
    ) -> BTreeMap<(u16, TransportProtocol), Vec<SocketKey>> {
        let mut missing: BTreeMap<_, Vec<SocketKey>> = BTreeMap::new();
        for key @ (transport, address) in wanted.difference(&self.bound) {
            missing.entry((address.port(), *transport)).or_default().push(*key);
        }
        missing
    }

    /// Whether a socket is bound.
    pub(super) fn is_bound(&self, key: &SocketKey) -> bool {
        self.bound.contains(key)
    }

    /// Why a wanted socket is not bound.
    pub(super) fn failure(&self, key: &SocketKey) -> Option<&Failure> {
        self.failed.get(key)
    }
}

/// Whether the address of one socket means that of the other as well, so that they meet on one port.
fn overlap((a_carries, a): SocketKey, (b_carries, b): SocketKey) -> bool {
    a_carries == b_carries
        && a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// Binds one socket per worker.
///
/// The sockets share the port by SO_REUSEPORT, which another process of the same user could join
/// unnoticed, and take part of the connections. So a first socket without it asks whether the port
/// is free; it cannot where another socket of ours (`shares_port`) has the port already.
fn bind(key: SocketKey, workers: usize, shares_port: bool) -> io::Result<Vec<BoundSocket>> {
    let (transport, address) = key;
    if !shares_port {
        let probe = socket(key)?;
        probe.bind(&SockAddr::from(address))?;
    }
    (0..workers)
        .map(|_| {
            let socket = socket(key)?;
            socket.set_reuse_port(true)?;
            socket.bind(&SockAddr::from(address))?;
            socket.set_nonblocking(true)?;
            if transport == TransportProtocol::Tcp {
                // What it accepts inherits these.
                socket.set_tcp_nodelay(true)?;
                socket.set_tcp_notsent_lowat(UNSENT)?;
            }
            Ok(socket)
        })
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .map(|socket| {
            Ok(match transport {
                TransportProtocol::Tcp => {
                    // Only after every bind has worked: a socket that listens takes connections.
                    socket.listen(BACKLOG)?;
                    BoundSocket::Tcp(socket.into())
                }
                TransportProtocol::Udp => BoundSocket::Udp(socket.into()),
            })
        })
        .collect()
}

/// Bytes that the kernel holds for a client beyond what its system has room for. A client that reads
/// slowly is seen to read each time that half of them have gone, and not only after megabytes.
const UNSENT: u32 = 64 * 1024;

fn socket((transport, address): SocketKey) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        TransportProtocol::Tcp => (Type::STREAM, Protocol::TCP),
        TransportProtocol::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // 0.0.0.0 and :: are listeners of their own, side by side.
        socket.set_only_v6(true)?;
    }
    if transport == TransportProtocol::Tcp {
        // Connections of an earlier process that linger in TIME_WAIT do not hold the port. Of UDP this
        // would let two processes have it at once.
        socket.set_reuse_address(true)?;
    }
    Ok(socket)
}

/// Whether the process, or the whole system, can open nothing more.
fn is_too_many(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| number == Some(errno.raw_os_error()))
}

/// The reason as a user reads it; none where there is nothing to complain about: `::` beside
/// `0.0.0.0` on a host without IPv6.
fn explain(
    (transport, address): SocketKey,
    error: &io::Error,
    wanted: &BTreeSet<SocketKey>,
) -> Option<Failure> {
    let port = address.port();
    let v4 = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port);
    let address_missing = error.kind() == io::ErrorKind::AddrNotAvailable
        || error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error() == Some(ADDRESS_FAMILY_NOT_SUPPORTED);
    if address.is_ipv6()
        && address.ip().is_unspecified()
        && address_missing
        && wanted.contains(&(transport, v4))
    {
        return None;
    }
    Some(Failure::Unbound(match error.kind() {
        io::ErrorKind::AddrInUse => format!("{address} is in use by another process"),
        io::ErrorKind::PermissionDenied => {
            format!("{address} needs a permission that the proxy does not have to bind port {port}")
        }
        _ if address_missing => return Some(Failure::AddressMissing("this host does not have it")),
        _ => format!("cannot bind {address}: {error}"),
    }))
}

/// EAFNOSUPPORT on Linux.
const ADDRESS_FAMILY_NOT_SUPPORTED: i32 = 97;

#[cfg(test)]
mod tests {
    use super::*;

    fn free_port() -> SocketKey {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        tcp(listener.local_addr().expect("bound"))
    }

    fn tcp(address: SocketAddr) -> SocketKey {
        (TransportProtocol::Tcp, address)
    }

    #[test]
    fn a_port_in_use_is_reported_and_taken_when_it_is_free() {
        let other = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = other.local_addr().expect("bound");
        let wanted = BTreeSet::from([tcp(address)]);
        let mut sockets = Sockets::default();

        assert!(sockets.follow(&wanted, 2).added.is_empty());
        let reason = format!("{address} is in use by another process");
        assert_eq!(sockets.failure(&tcp(address)), Some(&Failure::Unbound(reason)));

        drop(other);
        let added = sockets.follow(&wanted, 2).added;
        assert_eq!(added.iter().map(|(_, sockets)| sockets.len()).collect::<Vec<_>>(), [2]);
        assert_eq!(sockets.failure(&tcp(address)), None);
    }

    #[test]
    fn sockets_that_stay_are_left_alone() {
        let (a, b) = (free_port(), free_port());
        let mut sockets = Sockets::default();
        let first = sockets.follow(&BTreeSet::from([a]), 1);
        let second = sockets.follow(&BTreeSet::from([a, b]), 1);
        assert_eq!(second.added.iter().map(|(a, _)| *a).collect::<Vec<_>>(), [b]);
        assert!(second.removed.is_empty());
        let third = sockets.follow(&BTreeSet::from([b]), 1);
        assert_eq!(third.removed, [a]);
        assert!(third.added.is_empty());
        drop((first, second));
    }

    #[test]
    fn a_host_without_ipv6_is_no_fault_beside_ipv4() {
        let v4: SocketAddr = "0.0.0.0:80".parse().expect("an address");
        let v6: SocketAddr = "[::]:80".parse().expect("an address");
        let error = io::Error::from_raw_os_error(ADDRESS_FAMILY_NOT_SUPPORTED);
        assert_eq!(explain(tcp(v6), &error, &BTreeSet::from([tcp(v4), tcp(v6)])), None);
        let told = explain(tcp(v6), &error, &BTreeSet::from([tcp(v6)]));
        assert!(matches!(told, Some(Failure::AddressMissing(_))), "{told:?}");
    }

    #[test]
    fn a_wildcard_and_an_address_of_ours_share_a_port() {
        let address = free_port();
        let any = tcp(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), address.1.port()));
        let mut sockets = Sockets::default();
        let first = sockets.follow(&BTreeSet::from([any]), 2);
        let second = sockets.follow(&BTreeSet::from([any, address]), 2);
        assert_eq!((first.added.len(), second.added.len()), (1, 1));
        drop((first, second));
        let both = Sockets::default().follow(&BTreeSet::from([any, address]), 2);
        assert_eq!(both.added.len(), 2);
    }

    #[test]
    fn tcp_and_udp_have_ports_of_their_own() {
        let (transport, address) = free_port();
        let keys = BTreeSet::from([(transport, address), (TransportProtocol::Udp, address)]);
        let mut sockets = Sockets::default();
        let added = sockets.follow(&keys, 2).added;
        assert_eq!(added.len(), 2, "{sockets:?}");
        // Another process would be told that the port is taken.
        let error = UdpSocket::bind(address).expect_err("it is bound");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn flows_of_datagrams_leave_descriptors_for_connections() {
        let room = |connections, udp_sessions| Room { connections, udp_sessions };
        assert_eq!(Room::of(1000, 2, 0), room(250, 0));
        assert_eq!(Room::of(1000, 2, 100), room(225, 100));
        assert_eq!(Room::of(1000, 2, 4096), room(187, 250));
        assert_eq!(Room::of(0, 2, 4096), room(1, 0));
    }

    #[test]
    fn a_udp_port_in_use_is_reported() {
        let other = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = other.local_addr().expect("bound");
        let key = (TransportProtocol::Udp, address);
        let mut sockets = Sockets::default();
        assert!(sockets.follow(&BTreeSet::from([key]), 2).added.is_empty());
        let reason = format!("{address} is in use by another process");
        assert_eq!(sockets.failure(&key), Some(&Failure::Unbound(reason)));
    }
}
