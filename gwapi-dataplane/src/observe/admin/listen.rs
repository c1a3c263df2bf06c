//! The socket of the admin server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Binds the address, port 0 picking one. `::` is every address of both families, whatever the host takes it for,
/// and on a host without IPv6 every one that there is: kubelet's probes come by the family of the pod's first
/// address.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    in_either_family(address, bind)
}

fn in_either_family<T>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    match bind(address) {
        Err(error)
            if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into()).map_err(|_| error)
        }
        outcome => outcome,
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of an earlier process that linger in TIME_WAIT do not hold the port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const EVERY: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 7);

    #[test]
    fn every_address_is_one_of_both_families() {
        let listener = listen(SocketAddr::new(EVERY.ip(), 0)).expect("a port is free");
        let port = listener.local_addr().expect("bound").port();
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            if TcpListener::bind((ip, 0)).is_ok() {
                assert!(TcpStream::connect((ip, port)).is_ok(), "{ip}");
            }
        }
    }

    #[test]
    fn a_host_without_ipv6_has_those_of_ipv4() {
        let bind = |address: SocketAddr| match address.ip() {
            IpAddr::V4(_) => Ok(address),
            IpAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        let bound = in_either_family(EVERY, bind).expect("an address of IPv4");
        assert_eq!(bound, SocketAddr::from(([0, 0, 0, 0], 7)));
        let loopback = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 7);
        assert!(in_either_family(loopback, bind).is_err(), "nobody asked for another address");
    }

    #[test]
    fn a_port_that_is_taken_is_taken_in_both_families() {
        let bind = |address: SocketAddr| match address.ip() {
            IpAddr::V4(_) => Ok(address),
            IpAddr::V6(_) => Err(io::ErrorKind::AddrInUse.into()),
        };
        assert!(in_either_family(EVERY, bind).is_err());
    }
}
