//! Limits of the proxy, set on the command line.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use support::*;

#[test]
fn the_limits_are_listed_with_their_defaults() {
    let output = gwapi(&["run", "--list-limits"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("LIMIT"), "{text}");
    let row = text.lines().find(|line| line.starts_with("max-head-bytes ")).expect("a row");
    assert!(row.contains(" 64KiB "), "{row}");
}

#[test]
fn a_limit_holds_for_what_is_served() {
    let port = free_port();
    let endpoint = Named::start("web");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        (
            "rest.yaml",
            &stream(&[route("web", "/", "web"), service("web"), slice("web", endpoint.address)]),
        ),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--limit", "max-headers=3"]);
    gwapi.event("start");
    assert_eq!(get(local(port), "/", &[("x-one", "1")]).status, 200);
    assert_eq!(get(local(port), "/", &[("x-one", "1"), ("x-two", "2")]).status, 431);
}

#[test]
fn limits_that_make_no_sense_together_are_wrong_usage() {
    let output = gwapi(&["run", ".", "--limit", "max-head-bytes=1KiB"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("`max-uri-bytes` is 16KiB") && text.contains("to less"), "{text}");
}

/// How the line begins that tells of an overload.
const OVERLOAD: &str = "overload: the process has more memory than it may";

/// A connection that makes the gateway keep what it sent: most of a head, and not its end.
fn weigh_on(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(250 * 1024));
    stream.write_all(head.as_bytes()).expect("it reads");
    stream
}

/// The value of a metric, which has no labels or these.
fn metric(admin: SocketAddr, name: &str) -> Option<f64> {
    let page = get(admin, "/metrics", &[]).body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// Asks again and again until the answer is as wanted.
fn until(mut wanted: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "it never comes");
        std::thread::yield_now();
    }
}

#[test]
fn short_of_memory_the_gateway_answers_503_until_it_has_enough_again() {
    let port = free_port();
    let endpoint = Named::start("web");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        (
            "rest.yaml",
            &stream(&[route("web", "/", "web"), service("web"), slice("web", endpoint.address)]),
        ),
    ]);
    let gwapi = Gwapi::run(
        &manifests,
        &[
            "--limit",
            "max-memory-bytes=112MiB",
            "--limit",
            "max-head-bytes=256KiB",
            "--limit",
            "head-timeout=10m",
        ],
    );
    let start = gwapi.event("start");
    let admin = start["admin"].as_str().expect("an address").parse().expect("an address");
    let mut kept = TcpStream::connect(local(port)).expect("it accepts");
    assert_eq!(ask(&mut kept), "web");

    // Those that wait to be accepted weigh nothing yet; in an overload they would come one by one, and be
    // in the way of others even when they are gone.
    let taken = || {
        let name = "gwapi_connections_total{gateway=\"default/web\",listener=\"http\"}";
        metric(admin, name).unwrap_or_default() as usize
    };
    let mut weights = Vec::new();
    until(|| {
        let overloaded = metric(admin, "gwapi_overloaded") == Some(1.0);
        if !overloaded && taken() == weights.len() + 1 {
            // Several at once: most of the time would go by in looks.
            weights.extend((0..4).map(|_| weigh_on(local(port))));
        }
        overloaded
    });
    kept.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("it reads");
    let refused = answer(&mut kept).expect("an answer, and the end of the connection");
    let new = get(local(port), "/", &[]);
    for answer in [&refused, &new] {
        let head = answer.head.to_ascii_lowercase();
        assert_eq!((answer.status, &*answer.body), (503, "overloaded, try again later\n"));
        assert!(head.contains("retry-after: 5") && head.contains("connection: close"), "{head}");
    }
    let rejected =
        "gwapi_http_rejected_requests_total{gateway=\"default/web\",reason=\"overloaded\"}";
    assert_eq!(metric(admin, rejected), Some(2.0));
    gwapi.error_line(|line| line.contains(OVERLOAD));
    manifests.write("more.yaml", &route("more", "/more", "web"));
    gwapi.event("change");

    until(|| taken() == weights.len() + 2);
    drop(weights);
    // Nobody has to ask for anything to make it end, and clients that are gone do not bring it back.
    until(|| metric(admin, "gwapi_overloaded") == Some(0.0));
    until(|| get(local(port), "/more", &[]).status == 200);
    assert_eq!(metric(admin, "gwapi_overloads_total"), Some(1.0));
    let after = gwapi.errors_to_end();
    assert!(!after.iter().any(|line| line.contains(OVERLOAD)), "told once: {after:#?}");
}

/// Takes the address space away that a process does not have yet, but for a little.
fn confine(gwapi: &Gwapi) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gwapi.id()));
    let status = status.expect("it is running");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("a size");
    let size: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
    let mut command = Command::new("prlimit");
    let limit = format!("--as={}", (size + 32 * 1024) * 1024);
    command.args(["--pid", &gwapi.id().to_string(), &limit]);
    assert!(command.status().expect("prlimit runs").success());
}

#[test]
fn without_address_space_for_more_the_gateway_looks_after_its_memory_and_serves() {
    let port = free_port();
    let endpoint = Named::start("web");
    let rest = [route("web", "/", "web"), service("web"), slice("web", endpoint.address)];
    let manifests =
        Manifests::new(&[("gateway.yaml", &gateway(port)), ("rest.yaml", &stream(&rest))]);
    let path = manifests.path().to_str().expect("a path is text");
    let mut command = command(&["run", path, "--admin", "off", "--output", "json"]);
    // It has more from the beginning, and asks the allocator at every look what that gives back.
    command.args(["--limit", "max-memory-bytes=16MiB"]);
    // As where address space is short from the beginning: the allocator has set none aside.
    command.env("MIMALLOC_ARENA_RESERVE", "0");
    let mut gwapi = Gwapi::spawn(&mut command);
    gwapi.event("start");
    assert_eq!(get(local(port), "/", &[]).status, 200);
    confine(&gwapi);
    let began = Instant::now();
    // Ten looks.
    while began.elapsed() < Duration::from_secs(1) {
        // What these weigh may come to an overload.
        assert!(matches!(get(local(port), "/", &[]).status, 200 | 503));
    }
    assert!(!gwapi.has_ended());
}

/// A route of the Gateway `web` whose requests a service has to consent to, by what is in their bodies.
fn guarded_route(path: &str, service: &str) -> String {
    let filters = format!(
        "
      filters:
        - type: ExternalAuth
          externalAuth:
            protocol: HTTP
            http: {{}}
            backendRef:
              name: {service}
              port: 80
            forwardBody:
              maxSize: 1000000000
      backendRefs:"
    );
    route("guarded", path, service).replace("\n      backendRefs:", &filters)
}

#[test]
fn what_a_single_request_holds_is_an_overload_too() {
    let port = free_port();
    let endpoint = Named::start("web");
    let rest = [
        route("web", "/", "web"),
        guarded_route("/guarded", "web"),
        service("web"),
        slice("web", endpoint.address),
    ];
    let manifests =
        Manifests::new(&[("gateway.yaml", &gateway(port)), ("rest.yaml", &stream(&rest))]);
    let limits = ["--limit", "max-memory-bytes=112MiB", "--limit", "max-auth-body-bytes=1GiB"];
    let gwapi = Gwapi::run(&manifests, &limits);
    let start = gwapi.event("start");
    let admin = start["admin"].as_str().expect("an address").parse().expect("an address");
    assert_eq!(get(local(port), "/", &[]).status, 200);

    let mut client = TcpStream::connect(local(port)).expect("it accepts");
    let head = "POST /guarded HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900000000\r\n\r\n";
    client.write_all(head.as_bytes()).expect("it reads");
    let piece = vec![b'x'; 1 << 20];
    // So much more that it is one for as long as the client is there.
    until(|| {
        client.write_all(&piece).expect("it reads");
        let value = |name| metric(admin, name).expect("it is told");
        value("gwapi_memory_bytes") >= 1.5 * value("gwapi_memory_limit_bytes")
    });
    gwapi.error_line(|line| line.contains(OVERLOAD));
    assert_eq!(get(local(port), "/", &[]).status, 503);
    drop(client);
    until(|| get(local(port), "/", &[]).status == 200);
}
