//! `cargo xtask slow-clients`: thousands of slow clients (slowhttptest) against `gwapi`, with timeouts of
//! a few seconds. Others are served meanwhile, each slow client is let go in time, and costs little.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::gateway::{Gateway, slice};

const CONNECTIONS: u64 = 4000;
/// Connections to the endpoint that may wait until it takes them.
const QUEUE: i32 = 4096;
/// Open files: of gwapi for clients and endpoints, of slowhttptest, of the endpoint here.
const FILES: u64 = 10_000;
/// The limit that lets slow clients go, as set below, and what a busy machine may add: a body is judged
/// when something of it comes, and slowhttptest sends late there.
const LIMIT: Duration = Duration::from_secs(8);
const SLACK: Duration = Duration::from_secs(8);
/// Memory that a slow client may cost, its connection to the endpoint included, in a binary that is not
/// optimised.
const MOST_EACH: u64 = 64 * 1024;
/// Time in which anybody else has to be answered, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(5);
/// Length of a response that no slow reader has room for.
const RESPONSE: usize = 1024 * 1024;

const LIMITS: [&str; 7] = [
    "first-byte-timeout=8s",
    "head-timeout=8s",
    "idle-timeout=8s",
    "body-idle-timeout=8s",
    "write-stall-timeout=8s",
    "min-rate-grace=8s",
    "max-pending-per-endpoint=4000",
];

/// The attacks, with what slowhttptest is told.
const ATTACKS: [(&str, &[&str]); 3] = [
    ("slow headers", &["-H", "-i", "1", "-x", "10"]),
    ("slow bodies", &["-B", "-i", "1", "-x", "2", "-s", "8192"]),
    ("slow reading", &["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "1"]),
];

/// Where somebody else asks: a route to an endpoint of its own, a built-in echo. The endpoint of the slow ones
/// has as many connections as it may have.
const OTHERS: &str = "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: others}
spec:
  parentRefs: [{name: web}]
  rules:
    - matches: [{path: {value: /others}}]
      backendRefs: [{name: others, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: others}
spec: {ports: [{port: 80}]}
";

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    if Command::new("slowhttptest").arg("-h").output().is_err() {
        bail!("slowhttptest is missing. Install the Debian package slowhttptest");
    }
    raise_file_limit()?;
    let endpoint = endpoint()?;
    let mut arguments = vec!["--workers", "2"];
    arguments.extend(LIMITS.iter().flat_map(|limit| ["--limit", limit]));
    eprintln!(
        "{:<14} {:>8} {:>10} {:>10} {:>14} {:>14}",
        "attack", "clients", "at a time", "let go in", "bytes a client", "others waited"
    );
    let mut complaints = Vec::new();
    for (name, attacker) in ATTACKS {
        // A gateway of its own: one keeps the memory that an attack before it has made it take.
        let objects = slice(endpoint) + OTHERS;
        let gateway = Gateway::start_beside(root, "slow-clients", &objects, &arguments)?;
        let seen = attack(&gateway, attacker).with_context(|| name.to_owned())?;
        eprintln!(
            "{name:<14} {:>8} {:>10} {:>8.1} s {:>14} {:>11} ms",
            seen.came,
            seen.most,
            seen.let_go.as_secs_f64(),
            seen.bytes_each,
            seen.slowest.as_millis()
        );
        complaints.extend(seen.complaints().map(|complaint| format!("{name}: {complaint}")));
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

/// What an attack did.
#[derive(Debug)]
struct Seen {
    came: u64,
    /// The most of them at a time.
    most: u64,
    /// From the last that came until none was left.
    let_go: Duration,
    bytes_each: u64,
    /// The longest that somebody else waited for an answer.
    slowest: Duration,
}

impl Seen {
    fn complaints(&self) -> impl Iterator<Item = String> {
        let few = (self.most < CONNECTIONS * 9 / 10)
            .then(|| format!("only {} of {} clients were there at a time", self.most, self.came));
        let late = (self.let_go > LIMIT + SLACK)
            .then(|| format!("clients were let go after {:.1} s", self.let_go.as_secs_f64()));
        let dear = (self.bytes_each > MOST_EACH)
            .then(|| format!("a client costs {} bytes", self.bytes_each));
        let slow = (self.slowest > PATIENCE)
            .then(|| format!("somebody else waited {} ms", self.slowest.as_millis()));
        [few, late, dear, slow].into_iter().flatten()
    }
}

fn attack(gateway: &Gateway, arguments: &[&str]) -> anyhow::Result<Seen> {
    let before = gateway.resident()?;
    let _attacker = Attacker::start(gateway.address, arguments)?;
    let began = Instant::now();
    let earlier = gateway.connections()?.accepted;
    let (mut most, mut peak, mut slowest) = (0, before, Duration::ZERO);
    let (mut came, mut last, mut asked) = (0, began, 0);
    loop {
        slowest = slowest.max(ask(gateway.address)?);
        asked += 1;
        peak = peak.max(gateway.resident()?);
        let connections = gateway.connections()?;
        most = most.max(connections.open);
        // Others than those who ask here.
        let now = connections.accepted.saturating_sub(earlier + asked);
        if now > came {
            (came, last) = (now, Instant::now());
        }
        if came > 0 && connections.open == 0 && last.elapsed() > Duration::from_secs(2) {
            break;
        }
        if began.elapsed() > Duration::from_secs(60) {
            bail!("{} of {came} clients are still there after a minute", connections.open);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let bytes_each = peak.saturating_sub(before) / most.max(1);
    Ok(Seen { came, most, let_go: last.elapsed(), bytes_each, slowest })
}

/// A running slowhttptest; it ends with this value.
struct Attacker(Child);

impl Attacker {
    fn start(address: SocketAddr, arguments: &[&str]) -> anyhow::Result<Self> {
        let connections = CONNECTIONS.to_string();
        let child = Command::new("slowhttptest")
            .args(arguments)
            .args(["-c", &connections, "-r", &connections, "-l", "90", "-p", "60"])
            .args(["-u", &format!("http://{address}/")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start slowhttptest")?;
        Ok(Self(child))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks as somebody else does, and is answered by an endpoint; how long it took.
fn ask(address: SocketAddr) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let answer = exchange(address, "GET /others HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .context("somebody else is not served")?;
    if !(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"service\": \"others\"")) {
        bail!("somebody else is not served: {answer}");
    }
    Ok(began.elapsed())
}

fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let wait = Duration::from_secs(20);
    let mut stream = TcpStream::connect_timeout(&address, wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What the endpoint answers with, once for all who ask.
static BODY: [u8; RESPONSE] = [b'x'; RESPONSE];

/// An endpoint whose answers are long, and that answers a POST when its body has come: never.
fn endpoint() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    let address = listener.local_addr().context("the port is not bound")?;
    // By default the kernel keeps 128 for it, and lets the others try again in a second or three.
    rustix::net::listen(&listener, QUEUE).context("the port takes no longer queue")?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Thousands of them do little: a small stack is enough.
            let small = std::thread::Builder::new().stack_size(64 * 1024);
            let _ = small.spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {RESPONSE}\r\n\r\n");
    let mut request = [0; 4096];
    let mut posted = false;
    while let Ok(length @ 1..) = stream.read(&mut request) {
        posted |= request[..length].starts_with(b"POST ");
        if !posted
            && (stream.write_all(head.as_bytes()).is_err() || stream.write_all(&BODY).is_err())
        {
            return;
        }
    }
}

/// As many open files as are needed; the programs that are started inherit it.
fn raise_file_limit() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= FILES) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(FILES), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .with_context(|| format!("cannot open {FILES} files; raise the limit by `ulimit -Hn`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_told() {
        let good = Seen {
            came: CONNECTIONS,
            most: CONNECTIONS,
            let_go: LIMIT,
            bytes_each: 20_000,
            slowest: Duration::from_millis(5),
        };
        assert_eq!(good.complaints().count(), 0);
        let bad = Seen {
            came: CONNECTIONS,
            most: 10,
            let_go: LIMIT + SLACK + Duration::from_secs(1),
            bytes_each: 100_000,
            slowest: Duration::from_secs(19),
        };
        let complaints: Vec<_> = bad.complaints().collect();
        assert_eq!(
            complaints,
            [
                "only 10 of 4000 clients were there at a time",
                "clients were let go after 17.0 s",
                "a client costs 100000 bytes",
                "somebody else waited 19000 ms"
            ]
        );
    }
}
