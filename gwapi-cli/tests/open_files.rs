//! `gwapi run` where it may open only few files.

#[path = "../../gwapi-dataplane/tests/proxy/support/frames.rs"]
mod frames;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use frames::{HEADERS, RawHttp2};
use serde_json::Value;
use support::*;

/// Held by each test here: so many ports that are free at one moment would not stay so beside others.
static PORTS: Mutex<()> = Mutex::new(());

/// Starts `gwapi run --demo` as a shell does that has set a limit first.
fn run_limited(manifests: &Manifests, limit: &str) -> Gwapi {
    let path = manifests.path().to_str().expect("a path is text");
    let script = format!("{limit}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_gwapi"), "run", path, "--demo"]);
    command.args(["--admin", "off", "--output", "json", "--workers", "2"]);
    // Nobody goes for having been silent.
    command.args(["--limit", "idle-timeout=1h"]);
    Gwapi::spawn(&mut command)
}

/// A Gateway with a listener on each port, and a route of all of them.
fn manifests(ports: &[u16]) -> Manifests {
    let listener = |port| format!("    - {{name: p{port}, protocol: HTTP, port: {port}}}\n");
    let more: String = ports[1..].iter().map(listener).collect();
    Manifests::new(&[
        ("gateway.yaml", &(gateway(ports[0]) + &more)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
    ])
}

/// Whether each listener of a start is served, by port.
fn served(start: &Value) -> Vec<bool> {
    let listeners = start["gateways"][0]["listeners"].as_array().expect("listeners");
    let mut listeners: Vec<_> =
        listeners.iter().map(|listener| (listener["port"].as_u64(), &listener["served"])).collect();
    listeners.sort_by_key(|(port, _)| *port);
    listeners.into_iter().map(|(_, served)| served == true).collect()
}

#[test]
fn listeners_leave_descriptors_for_connections_and_the_rest_is_told() {
    let _alone = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = free_ports::<16>();
    ports.sort();
    let manifests = manifests(&ports);
    let gwapi = run_limited(&manifests, "ulimit -n 80");
    let start = gwapi.event("start");
    let served = served(&start);
    let count = served.iter().filter(|served| **served).count();
    assert!((2..12).contains(&count), "{served:?}");
    assert!(served[..count].iter().all(|served| *served), "lower ports first: {served:?}");

    let problems = start["problems"].as_array().expect("problems");
    let told: Vec<_> = problems
        .iter()
        .filter(|problem| {
            let message = problem["message"].as_str().expect("text");
            message.contains("too many open files") && message.matches("`ulimit -n`").count() == 1
        })
        .collect();
    assert_eq!(told.len(), ports.len() - count, "{problems:#?}");

    std::thread::scope(|scope| {
        for port in &ports[..2] {
            scope.spawn(|| assert_eq!(get(local(*port), "/", &[]).status, 200));
        }
    });
    assert!(try_get(local(ports[count]), "/", &[]).is_err(), "nobody listens");
}

#[test]
fn connections_leave_descriptors_for_those_to_endpoints() {
    let _alone = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let [port] = free_ports::<1>();
    let (endpoint, gate) = gated();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("rest.yaml", &stream(&[route("web", "/", "web"), service("web"), slice("web", endpoint)])),
    ]);
    let gwapi = run_limited(&manifests, "ulimit -n 64");
    gwapi.event("start");
    // All of them ask before any is answered, so that as many meet as the gateway lets in.
    let mut clients = [(); 60].map(|()| {
        let mut client = TcpStream::connect(local(port)).expect("the kernel takes it");
        client.write_all(request("/", &[]).as_bytes()).expect("the kernel takes it");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client
    });
    gate.open();
    for client in &mut clients {
        assert_eq!(answer(client).expect("an answer").status, 200);
    }
}

/// Holds up whoever comes before it is open.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().expect("no thread panicked") = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().expect("no thread panicked");
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }
}

/// An endpoint that answers once its gate is open.
fn gated() -> (SocketAddr, Arc<Gate>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("bound");
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let gate = Arc::clone(&held);
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                while stream.read(&mut head).is_ok_and(|read| read > 0) {
                    gate.pass();
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                }
            });
        }
    });
    (address, gate)
}

#[test]
fn a_soft_limit_is_raised() {
    let _alone = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let ports = free_ports::<16>();
    let manifests = manifests(&ports);
    let gwapi = run_limited(&manifests, "ulimit -S -n 64");
    let start = gwapi.event("start");
    assert!(served(&start).iter().all(|served| *served), "{start}");
    assert_eq!(get(local(ports[15]), "/", &[]).status, 200);
}

/// Sets the soft limit of a process that is running.
fn limit(gwapi: &Gwapi, files: u32) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &gwapi.id().to_string(), &format!("--nofile={files}:")]);
    assert!(command.status().expect("prlimit runs").success());
}

#[test]
fn those_who_wait_for_a_descriptor_are_served_when_there_are_more_though_nobody_goes() {
    let _alone = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let [port] = free_ports::<1>();
    let endpoint = Named::start("web");
    let rest = [route("web", "/", "web"), service("web"), slice("web", endpoint.address)];
    let manifests =
        Manifests::new(&[("gateway.yaml", &gateway(port)), ("rest.yaml", &stream(&rest))]);
    let gwapi = run_limited(&manifests, "ulimit -S -n 1024");
    gwapi.event("start");
    limit(&gwapi, 64);
    manifests.write("fewer.yaml", &route("fewer", "/fewer", "web"));
    gwapi.event("change");
    let (tell, answered) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..60 {
            let tell = tell.clone();
            scope.spawn(move || {
                let mut client = TcpStream::connect(local(port)).expect("the kernel takes it");
                let body = ask(&mut client);
                // It stays open, and keeps its place.
                tell.send((body, client)).expect("the test waits for it");
            });
        }
        let next = || answered.recv_timeout(PATIENCE).expect("all are answered in the end");
        let mut kept = vec![next(), next()];
        // Meanwhile those come for whom there is room.
        manifests.write("still.yaml", &route("still", "/still", "web"));
        gwapi.event("change");
        kept.extend(answered.try_iter());
        assert!(kept.len() < 60, "there is no room for all");
        limit(&gwapi, 1024);
        manifests.write("more.yaml", &route("more", "/more", "web"));
        gwapi.event("change");
        while kept.len() < 60 {
            kept.push(next());
        }
        assert!(kept.iter().all(|(body, _)| body == "web"));
    });
}

/// Time that a process has been running on any core, in user code and in the kernel.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // The name of the program is in parentheses and may hold spaces.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // The kernel tells it in hundredths of a second, whatever its clock is.
    Duration::from_millis(ticks * 10)
}

#[test]
fn while_no_descriptor_is_left_it_rests_and_then_serves_those_who_waited() {
    let _alone = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(rests_while_no_descriptor_is_left());
}

async fn rests_while_no_descriptor_is_left() {
    let [port] = free_ports::<1>();
    let named = Named::start("named");
    // The kernel takes connections for it, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let silent = silent.local_addr().map(|address| (silent, address)).expect("bound");
    let holding = route("silent", "/", "silent") + "      timeouts:\n        request: 4s\n";
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("named.yaml", &stream(&[service("named"), slice("named", named.address)])),
        ("silent.yaml", &stream(&[holding, service("silent"), slice("silent", silent.1)])),
        ("route.yaml", &route("named", "/named", "named")),
    ]);
    let gwapi = run_limited(&manifests, "ulimit -n 64");
    gwapi.event("start");

    // A client's connection for requests that take a descriptor each, until their rule's timeout.
    const REQUESTS: u32 = 100;
    let mut holder = RawHttp2::connect(local(port)).await;
    let requests: Vec<u8> = (0..REQUESTS).flat_map(|number| frames::get(number * 2 + 1)).collect();
    holder.send(&requests).await;
    holder.find(|seen| seen.kind == HEADERS).await.expect("one finds no descriptor");
    let mut others = [(); 4].map(|()| {
        let mut client = TcpStream::connect(local(port)).expect("the kernel takes it");
        client.write_all(request("/named", &[]).as_bytes()).expect("the kernel takes it");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client
    });
    gwapi.error_line(|line| line.contains("cannot accept connections"));

    let (began, used) = (Instant::now(), cpu_time(gwapi.id()));
    for _ in 1..REQUESTS {
        holder.find(|seen| seen.kind == HEADERS).await.expect("all are answered in the end");
    }
    let (full, used) = (began.elapsed(), cpu_time(gwapi.id()) - used);
    assert!(full > Duration::from_secs(1), "it was full for {full:?} only");
    assert!(used * 4 < full, "{used:?} of {full:?} on a core");
    for client in &mut others {
        assert_eq!(answer(client).expect("an answer").body, "named");
    }
}
