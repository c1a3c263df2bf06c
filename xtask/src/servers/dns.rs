//! CoreDNS, which is asked through a UDPRoute and a TCPRoute.

use std::fs;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::server::{Server, free_address};
use crate::cluster::golang;
use crate::gateway::Gateway;

/// Longer than an answer takes on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// A name that it knows, its address, and a name that it does not know.
const KNOWN: &str = "shop.example";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const UNKNOWN: &str = "nobody.example";

/// Clients that ask at the same time.
const CLIENTS: u16 = 50;

/// Codes of answers: no error, and what CoreDNS says of names that its file of hosts does not have.
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;

/// Asks by datagrams of many clients, and over a connection.
pub(super) fn check(root: &Path, folder: &Path) -> anyhow::Result<()> {
    let behind = free_address()?;
    let _server = start(root, folder, behind)?;
    let before = free_address()?;
    let objects = OBJECTS
        .replace("LISTENER", &before.port().to_string())
        .replace("PORT", &behind.port().to_string());
    let _gateway = Gateway::start_beside(root, "servers", &objects, &[])?;

    // All ask before one is answered, so each has a flow of its own.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|id| {
            let socket = socket()?;
            socket.send_to(&query(id, KNOWN), before).context("cannot ask")?;
            Ok((id, socket))
        })
        .collect::<anyhow::Result<_>>()?;
    for (id, socket) in &clients {
        let answer = Answer::read(&receive(socket)?)?;
        ensure!(answer == Answer::of(*id, NO_ERROR, Some(ADDRESS)), "{id} got {answer:?}");
    }
    let (_, socket) = &clients[0];
    socket.send_to(&query(7, UNKNOWN), before).context("cannot ask")?;
    let answer = Answer::read(&receive(socket)?)?;
    ensure!(answer == Answer::of(7, SERVER_FAILURE, None), "for {UNKNOWN} came {answer:?}");

    let mut stream = TcpStream::connect(before).context("the gateway does not listen")?;
    for id in [1, 2] {
        let answer = Answer::read(&ask(&mut stream, &query(id, KNOWN))?)?;
        ensure!(answer == Answer::of(id, NO_ERROR, Some(ADDRESS)), "over TCP came {answer:?}");
    }
    eprintln!("CoreDNS answers {CLIENTS} clients by UDP, and over TCP");
    Ok(())
}

fn start(root: &Path, folder: &Path, address: SocketAddr) -> anyhow::Result<Server> {
    let program = golang::build(root, &golang::COREDNS)?.join("coredns");
    let settings = folder.join("Corefile");
    let text = format!(
        ".:{} {{\n  bind {}\n  hosts {{\n    {ADDRESS} {KNOWN}\n  }}\n}}\n",
        address.port(),
        address.ip()
    );
    fs::write(&settings, text).with_context(|| format!("cannot write {}", settings.display()))?;
    let option = settings.display().to_string();
    let mut server = Server::start(&program, &["-conf", &option], folder)?;
    server.wait(|_| {
        // It listens for connections and for datagrams, one after the other.
        let mut stream = TcpStream::connect(address).ok()?;
        ask(&mut stream, &query(0, KNOWN)).ok()?;
        let socket = socket().ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        socket.send_to(&query(0, KNOWN), address).ok()?;
        socket.recv(&mut [0; 512]).ok()
    })?;
    Ok(server)
}

fn socket() -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("no port is free")?;
    socket.set_read_timeout(Some(PATIENCE)).context("a socket has timeouts")?;
    Ok(socket)
}

fn receive(socket: &UdpSocket) -> anyhow::Result<Vec<u8>> {
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).context("no answer comes")?;
    Ok(answer[..length].to_vec())
}

/// Over a connection, each message has its length before it.
fn ask(stream: &mut TcpStream, query: &[u8]) -> anyhow::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE)).context("a socket has timeouts")?;
    let length = u16::try_from(query.len()).context("a query is short")?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).context("cannot ask")?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).context("no answer comes")?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).context("an answer is cut")?;
    Ok(answer)
}

/// A question for the IPv4 addresses of a name (RFC 1035, 4.1).
fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    // Recursion is desired; one question, and nothing else.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a label is short"));
        message.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    id: u16,
    code: u8,
    address: Option<Ipv4Addr>,
}

impl Answer {
    fn of(id: u16, code: u8, address: Option<Ipv4Addr>) -> Self {
        Self { id, code, address }
    }

    /// Reads the header, and of a message with one answer and nothing behind it, the address at its end.
    fn read(message: &[u8]) -> anyhow::Result<Self> {
        let (header, rest) = message.split_first_chunk::<12>().context("an answer has a header")?;
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        ensure!(header[2] & 0x80 != 0, "what came is no answer");
        let address = if count(6) == 1 && count(8) == 0 && count(10) == 0 {
            rest.last_chunk::<4>().map(|&octets| Ipv4Addr::from(octets))
        } else {
            None
        };
        Ok(Self { id: count(0), code: header[3] & 0x0f, address })
    }
}

const OBJECTS: &str = "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: dns}
spec:
  gatewayClassName: gwapi
  listeners:
    - {name: udp, protocol: UDP, port: LISTENER}
    - {name: tcp, protocol: TCP, port: LISTENER}
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: dns}
spec: {parentRefs: [{name: dns}], rules: [{backendRefs: [{name: dns, port: 53}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: dns}
spec: {parentRefs: [{name: dns}], rules: [{backendRefs: [{name: dns, port: 53}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: dns}
spec: {ports: [{name: udp, port: 53, protocol: UDP}, {name: tcp, port: 53}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
ports: [{name: udp, port: PORT, protocol: UDP}, {name: tcp, port: PORT}]
endpoints: [{addresses: [127.0.0.1]}]
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_of_dns() {
        let name = b"\x04shop\x07example\0";
        let expected = [b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".as_slice(), name, b"\0\x01\0\x01"];
        assert_eq!(query(0x1234, KNOWN), expected.concat());
    }

    #[test]
    fn an_answer_is_read() {
        let mut message = query(9, KNOWN);
        assert!(Answer::read(&message).is_err(), "a question is none");
        message[2] |= 0x80;
        message[3] = SERVER_FAILURE;
        assert_eq!(Answer::read(&message).expect("it is"), Answer::of(9, SERVER_FAILURE, None));
        message[3] = NO_ERROR;
        message[7] = 1;
        message.extend(ADDRESS.octets());
        assert_eq!(Answer::read(&message).expect("it is"), Answer::of(9, NO_ERROR, Some(ADDRESS)));
    }
}
