//! The binary at work: started on a folder of its own, read line by line, asked over HTTP.

// Each test file is a program of its own and uses another part of this.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything takes, on a machine with much to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of manifests.
pub struct Manifests {
    folder: tempfile::TempDir,
}

impl Manifests {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let manifests = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        for (name, text) in files {
            manifests.write(name, text);
        }
        manifests
    }

    /// Writes a file as editors do: a new file takes the old one's name.
    pub fn write(&self, name: &str, text: &str) {
        let draft = self.folder.path().join(format!(".{name}.draft"));
        std::fs::write(&draft, text).expect("a temporary folder can be written");
        std::fs::rename(&draft, self.file(name)).expect("a file can be renamed");
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).expect("the file is there");
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A running `gwapi`.
pub struct Gwapi {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Gwapi {
    /// Starts the binary.
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut command(arguments))
    }

    /// Starts a command that ends up as the binary.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = lines_of(child.stdout.take().expect("piped"));
        let errors = lines_of(child.stderr.take().expect("piped"));
        Self { child, lines, errors }
    }

    /// Starts a command whose output nobody reads.
    pub fn unread(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let (_, lines) = channel();
        let (_, errors) = channel();
        Self { child: child.expect("the binary starts"), lines, errors }
    }

    /// Closes the reading end of standard output and standard error that nobody reads.
    pub fn close_output(&mut self) {
        drop((self.child.stdout.take(), self.child.stderr.take()));
    }

    /// Starts `gwapi run` on a folder, with JSON lines and a free admin port.
    pub fn run(manifests: &Manifests, more: &[&str]) -> Self {
        let path = manifests.path().to_str().expect("a path is text").to_owned();
        let mut arguments = vec!["run", &path, "--admin", "127.0.0.1:0", "--output", "json"];
        arguments.extend(["--drain-quiet", "50ms", "--workers", "2"]);
        arguments.extend(more);
        Self::start(&arguments)
    }

    /// The next line that is as wanted; those before it are gone.
    pub fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.line_within(PATIENCE, wanted).unwrap_or_else(|seen| {
            panic!("no such line; seen: {seen:#?}; on standard error: {:#?}", self.errors())
        })
    }

    /// As [`Gwapi::line`]; what came instead where none came in time.
    pub fn line_within(
        &self,
        time: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, Vec<String>> {
        let deadline = Instant::now() + time;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return Ok(line),
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(seen);
                }
            }
        }
    }

    /// The next JSON line of an event.
    pub fn event(&self, event: &str) -> Value {
        self.event_where(event, |_| true)
    }

    /// The next JSON line of an event that is as wanted.
    pub fn event_where(&self, event: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
        let line = self.line(|line| {
            parse(line).is_some_and(|value| value["event"] == event && wanted(&value))
        });
        parse(&line).expect("parsed before")
    }

    /// The next line on standard error that is as wanted.
    pub fn error_line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.errors.recv_timeout(left).expect("such a line on standard error");
            if wanted(&line) {
                return line;
            }
        }
    }

    /// What came on standard error until now.
    pub fn errors(&self) -> Vec<String> {
        self.errors.try_iter().collect()
    }

    /// Asks it to stop; what came on standard error from now to its end.
    pub fn errors_to_end(self) -> Vec<String> {
        self.terminate();
        self.errors.iter().collect()
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill exists");
        assert!(sent.success(), "the process was gone already");
    }

    /// Waits for its end.
    pub fn end(mut self) -> ExitStatus {
        self.child.wait().expect("a child can be waited for")
    }

    /// Waits for its end, which has to come in time.
    pub fn end_within(mut self, time: Duration) -> ExitStatus {
        let deadline = Instant::now() + time;
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::yield_now();
        }
        self.end()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_some()
    }
}

impl Drop for Gwapi {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gwapi"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn gwapi(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary starts")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> u16 {
    free_ports::<1>()[0]
}

/// Different ports that nobody listens on at this moment.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    held.map(|listener| listener.local_addr().expect("bound").port())
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Asks for a path, on a connection of its own.
pub fn get(address: impl Into<SocketAddr>, path: &str, headers: &[(&str, &str)]) -> Answer {
    try_get(address.into(), path, headers).expect("an answer")
}

pub fn try_get(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request(path, headers).as_bytes())?;
    answer(&mut stream)
}

/// A GET request that asks for the connection's end.
pub fn request(path: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("host: localhost\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}

/// Asks on a connection that goes on; the body, which has a length.
pub fn ask(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    String::from_utf8(body).expect("text")
}

/// Reads an answer up to the connection's end.
pub fn answer(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| std::io::Error::other(format!("no HTTP answer: {text:?}")))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok(Answer {
        status: status.ok_or_else(|| std::io::Error::other(format!("no status: {head}")))?,
        head: head.to_owned(),
        body: if chunked { unchunk(body) } else { body.to_owned() },
    })
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}

/// An HTTP backend that answers every request with its name, on a thread that ends with it.
pub struct Named {
    pub address: SocketAddr,
}

impl Named {
    pub fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || serve_name(stream, name));
            }
        });
        Self { address }
    }
}

fn serve_name(mut stream: TcpStream, name: &str) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut lines = BufReader::new(reading).lines();
    loop {
        // Requests have no body, so the empty line ends them.
        match lines.by_ref().map_while(Result::ok).find(String::is_empty) {
            None => return,
            Some(_) => {
                let length = name.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    }
}

/// A GatewayClass of ours and a Gateway `web` with one HTTP listener.
pub fn gateway(port: u16) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: gwapi
spec:
  controllerName: gwapi.dev/gateway-controller
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: web
spec:
  gatewayClassName: gwapi
  listeners:
    - name: http
      protocol: HTTP
      port: {port}
"
    )
}

/// A route of the Gateway `web` that sends a path to a Service.
pub fn route(name: &str, path: &str, service: &str) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {name}
spec:
  parentRefs:
    - name: web
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: {path}
      backendRefs:
        - name: {service}
          port: 80
"
    )
}

/// A Service with port 80.
pub fn service(name: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  ports:
    - port: 80
"
    )
}

/// An EndpointSlice that leads a Service to an address.
pub fn slice(service: &str, address: SocketAddr) -> String {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    format!(
        "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {service}-1
  labels:
    kubernetes.io/service-name: {service}
addressType: {family}
endpoints:
  - addresses: [\"{}\"]
ports:
  - port: {}
",
        address.ip(),
        address.port()
    )
}

/// Documents of one file.
pub fn stream(documents: &[String]) -> String {
    documents.join("---\n")
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
