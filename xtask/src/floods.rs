//! `cargo xtask floods`: clients that flood `gwapi` with HTTP/2 frames, and how long somebody else waits
//! meanwhile for an answer; and bombs.
//!
//! Whoever floods takes CPU from all that runs on the machine. So the same is asked, in turns, of a second
//! `gwapi` that nobody floods: what waits longer at the first one waits for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bombs;
use crate::gateway::Gateway;

/// How long somebody else asks, before a flood and during it.
const MEASURED: Duration = Duration::from_secs(2);
/// How much longer the slowest but one in a hundred may take than where nobody floods.
const FACTOR: u32 = 2;
/// What is not judged: turns that the system gives two processes on two cores, which those who flood share.
const NOT_JUDGED: Duration = Duration::from_millis(20);
/// How often a flood is measured that makes somebody else wait: what a machine does beside it does not last.
const TRIES: usize = 3;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `GET http://a/`, out of HPACK's table but for the host.
const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 1, b'a'];
/// The same with POST.
pub(crate) const POST: &[u8] = &[0x83, 0x84, 0x86, 0x41, 1, b'a'];
/// `x: y`.
const TRAILERS: &[u8] = &[0, 1, b'x', 1, b'y'];
const CANCEL: [u8; 4] = [0, 0, 0, 8];

pub(crate) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// END_HEADERS.
pub(crate) const OPEN: u8 = 4;
/// END_STREAM and END_HEADERS.
pub(crate) const WHOLE: u8 = 5;

/// A flood: its name, and the frames of which it is made, by number.
type Flood = (&'static str, fn(u32) -> Vec<u8>);

const FLOODS: [Flood; 6] = [
    ("rapid reset", |number| {
        let stream = number * 2 + 1;
        [frame(HEADERS, WHOLE, stream, GET), frame(RST_STREAM, 0, stream, &CANCEL)].concat()
    }),
    ("reset trailers", |number| {
        let stream = number * 2 + 1;
        let request =
            [frame(HEADERS, OPEN, stream, POST), frame(HEADERS, WHOLE, stream, TRAILERS)].concat();
        [request, frame(RST_STREAM, 0, stream, &CANCEL)].concat()
    }),
    ("SETTINGS", |_| frame(SETTINGS, 0, 0, &[])),
    ("PING", |_| frame(PING, 0, 0, &[0; 8])),
    ("PRIORITY", |number| frame(PRIORITY, 0, number * 2 + 1, &[0, 0, 0, 0, 15])),
    ("WINDOW_UPDATE", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
];

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let flooded = Gateway::start(root, "floods", None, &["--workers", "1"])?;
    let quiet = Gateway::start(root, "floods-quiet", None, &["--workers", "1"])?;
    eprintln!(
        "{:<14} {:>12} {:>14} {:>14} {:>16}",
        "flood", "connections", "p99 before", "p99 during it", "p99 elsewhere"
    );
    let mut complaints = Vec::new();
    for (name, piece) in FLOODS {
        complaints.extend(judge(name, piece, [flooded.address, quiet.address])?);
    }
    drop((flooded, quiet));
    complaints.extend(bombs::run(root)?);
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

/// Floods the first of two gateways; what is wrong then.
fn judge(
    name: &str,
    piece: fn(u32) -> Vec<u8>,
    addresses: [SocketAddr; 2],
) -> anyhow::Result<Option<String>> {
    let mut complaint = None;
    for _ in 0..TRIES {
        let [before, _] = p99(addresses)?;
        let flood = Flooding::start(addresses[0], piece);
        let [during, elsewhere] = p99(addresses).with_context(|| format!("during {name}"))?;
        let connections = flood.end();
        eprintln!(
            "{name:<14} {connections:>12} {before:>14.2?} {during:>14.2?} {elsewhere:>16.2?}"
        );
        if connections < 2 {
            return Ok(Some(format!("{name}: the gateway ends no connection that floods it")));
        }
        let most = (elsewhere * FACTOR).max(NOT_JUDGED);
        if during <= most {
            return Ok(None);
        }
        complaint = Some(format!("{name}: somebody else waits {during:.2?}, not {most:.2?}"));
    }
    Ok(complaint)
}

/// A client that floods, on a new connection whenever its last one is ended; it ends with this value.
struct Flooding {
    stop: Arc<AtomicBool>,
    connections: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flooding {
    /// Returns once the first connection was made.
    fn start(address: SocketAddr, piece: fn(u32) -> Vec<u8>) -> Self {
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&connections));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                count.fetch_add(1, Ordering::Relaxed);
                // That it breaks off is what is wanted.
                let _ = flood(address, piece, &stopped);
            }
        });
        while connections.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        Self { stop, connections, thread: Some(thread) }
    }

    /// How many connections it made.
    fn end(self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection of frames, until it is ended.
fn flood(
    address: SocketAddr,
    piece: fn(u32) -> Vec<u8>,
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())?;
    // What comes back is taken, so that it is not the socket that holds the flood back.
    let mut reader = stream.try_clone()?;
    let reading = std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while matches!(reader.read(&mut bytes), Ok(1..)) {}
    });
    let mut numbers = 0..u32::MAX / 4;
    let flooded = loop {
        let pieces: Vec<u8> = numbers.by_ref().take(100).flat_map(piece).collect();
        if stopped.load(Ordering::Relaxed) || pieces.is_empty() {
            break Ok(());
        }
        if let Err(error) = stream.write_all(&pieces) {
            break Err(error);
        }
    };
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = reading.join();
    flooded
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// How long an answer takes of each gateway, but for one of a hundred. They are asked in turns.
fn p99(addresses: [SocketAddr; 2]) -> anyhow::Result<[Duration; 2]> {
    let mut asked = [Asked::connect(addresses[0])?, Asked::connect(addresses[1])?];
    let start = Instant::now();
    while start.elapsed() < MEASURED {
        for gateway in &mut asked {
            gateway.ask()?;
        }
    }
    Ok(asked.map(Asked::p99))
}

/// A gateway that somebody asks, and how long each answer took.
struct Asked {
    stream: TcpStream,
    times: Vec<Duration>,
}

impl Asked {
    fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("somebody else is not taken")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream, times: Vec::new() })
    }

    fn ask(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.stream.write_all(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")?;
        read_head(&mut self.stream).context("somebody else is not served")?;
        self.times.push(began.elapsed());
        Ok(())
    }

    fn p99(mut self) -> Duration {
        self.times.sort();
        self.times[self.times.len() * 99 / 100]
    }
}

/// Reads an answer without a body.
fn read_head(stream: &mut TcpStream) -> anyhow::Result<()> {
    let (mut head, mut bytes) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes)? {
            0 => bail!("the connection was closed"),
            length => head.extend(&bytes[..length]),
        }
    }
    if !head.starts_with(b"HTTP/1.1 204 ") {
        bail!("{}", String::from_utf8_lossy(&head));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_as_the_standard_says() {
        assert_eq!(frame(RST_STREAM, 0, 3, &CANCEL), [0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 8]);
    }
}
