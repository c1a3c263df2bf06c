//! HTTP/2 bombs, of the stage `floods`: requests that are a few bytes on the wire and much in memory, by
//! fields out of HPACK's tables, and that wait for an endpoint which does not answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::floods::{HEADERS, OPEN, POST, PREFACE, SETTINGS, WHOLE, frame};
use crate::gateway::Gateway;

const CONNECTIONS: usize = 8;
/// Of a connection: as many as the gateway takes at a time.
const STREAMS: u32 = 100;
/// Memory that a connection may cost, in a binary that is not optimised.
const MOST_EACH: u64 = 1024 * 1024;
/// How long the memory is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// The field that went into the table last.
const NEWEST: u8 = 0x80 | 62;
/// `accept-encoding: gzip, deflate`, which is in the table from the beginning.
const STATIC: u8 = 0x90;
/// `expect: 100-continue`: the gateway does not read on before the endpoint wants the body.
const EXPECT: &[u8] = b"\x0f\x14\x0c100-continue";

/// A bomb: its name, more fields of each head, and the trailers, where there are any.
type Bomb = (&'static str, &'static [u8], &'static [u8]);

const BOMBS: [Bomb; 6] = [
    ("long fields", &[NEWEST; 16], &[]),
    ("long trailers", &[], &[NEWEST; 16]),
    ("many trailers", &[], &[STATIC; 1700]),
    ("trailers not read", EXPECT, &[STATIC; 1700]),
    ("32 long, not read", EXPECT, &[NEWEST; 32]),
    ("12 long, not read", EXPECT, &[NEWEST; 12]),
];

/// Sends each of them to a gateway of its own; what they cost too much.
pub(crate) fn run(root: &Path) -> anyhow::Result<Vec<String>> {
    let endpoint = endpoint()?;
    eprintln!("{:<18} {:>14} {:>14}", "bomb", "bytes sent", "memory each");
    let mut complaints = Vec::new();
    for (name, fields, trailers) in BOMBS {
        let gateway = Gateway::start(root, "bombs", Some(endpoint), &["--workers", "1"])?;
        let before = gateway.resident()?;
        let bomb = bomb(fields, trailers);
        let clients: Vec<TcpStream> =
            (0..CONNECTIONS).map(|_| throw(gateway.address, &bomb)).collect::<Result<_, _>>()?;
        let (began, mut peak) = (Instant::now(), before);
        while began.elapsed() < WATCHED {
            peak = peak.max(gateway.resident()?);
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(clients);
        let each = (peak - before) / CONNECTIONS as u64;
        eprintln!("{name:<18} {:>14} {each:>14}", bomb.len());
        if each > MOST_EACH {
            complaints.push(format!("{name}: a connection costs {each} bytes"));
        }
    }
    Ok(complaints)
}

/// All that a connection sends.
fn bomb(fields: &[u8], trailers: &[u8]) -> Vec<u8> {
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (0..STREAMS).map(|number| number * 2 + 1) {
        let long = if stream == 1 { long_field() } else { Vec::new() };
        bytes.extend(frame(HEADERS, OPEN, stream, &[POST, &long, fields].concat()));
        if !trailers.is_empty() {
            bytes.extend(frame(HEADERS, WHOLE, stream, trailers));
        }
    }
    bytes
}

/// A field of 4,000 bytes that goes into the table.
fn long_field() -> Vec<u8> {
    const LENGTH: usize = 4000;
    let rest = LENGTH - 0x7f;
    let length = [0x7f, rest as u8 | 0x80, (rest >> 7) as u8];
    [b"\x40\x01x", &length[..], &[b'x'; LENGTH]].concat()
}

fn throw(address: SocketAddr, bomb: &[u8]) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).context("a client is not taken")?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    // A gateway that ends the connection before it has all of it does well.
    let _ = stream.write_all(bomb);
    Ok(stream)
}

/// An endpoint that takes all that it is sent, and says nothing.
fn endpoint() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    let address = listener.local_addr().context("the port is not bound")?;
    rustix::net::listen(&listener, 4096).context("the port takes no longer queue")?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let small = std::thread::Builder::new().stack_size(64 * 1024);
            let _ = small.spawn(move || take(stream));
        }
    });
    Ok(address)
}

fn take(mut stream: TcpStream) {
    let mut bytes = [0; 16 * 1024];
    while matches!(stream.read(&mut bytes), Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_short() {
        assert_eq!(long_field().len(), 3 + 3 + 4000);
        for (name, fields, trailers) in BOMBS {
            let length = bomb(fields, trailers).len();
            assert!(length < 200_000, "{name}: {length} bytes");
        }
    }
}
