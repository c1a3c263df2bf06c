//! The admin server, asked over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use gwapi_model::NamespacedName;
use gwapi_translate::ir::ListenerKey;

use super::*;
use crate::observe::{ConfigApplied, Ended, RequestRecord};

const WAIT: Duration = Duration::from_secs(20);

fn server(address: &str) -> (AdminServer, Arc<Telemetry>) {
    let telemetry = Telemetry::new(None);
    let served = || Served { generation: 3, ..Served::default() };
    let address = address.parse().unwrap();
    let page = ConfigPage::Everybody;
    let server = AdminServer::start(address, telemetry.clone(), page, served).unwrap();
    (server, telemetry)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, WAIT).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream
}

/// Sends bytes and reads to the end: status, head, body.
fn send(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn ask(server: &AdminServer, method: &str, path: &str) -> (u16, String, String) {
    let address = server.address();
    send(address, &format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

#[test]
fn readiness_follows_the_first_configuration_and_the_drain() {
    let (server, telemetry) = server("127.0.0.1:0");
    assert_eq!(ask(&server, "GET", "/healthz").0, 200);
    assert_eq!(ask(&server, "GET", "/livez").0, 200);
    let (status, _, body) = ask(&server, "GET", "/readyz");
    assert_eq!((status, body.as_str()), (503, "not ready: no complete configuration yet\n"));
    telemetry.config_applied(&ConfigApplied { generation: 1, ..ConfigApplied::default() });
    assert_eq!(ask(&server, "GET", "/readyz").0, 200);
    telemetry.drain_began();
    telemetry.config_applied(&ConfigApplied { generation: 2, ..ConfigApplied::default() });
    let (status, _, body) = ask(&server, "GET", "/readyz");
    assert_eq!((status, body.as_str()), (503, "not ready: draining\n"));
    assert_eq!(ask(&server, "GET", "/healthz").0, 200);
}

#[test]
fn who_waits_for_readiness_is_told_at_once() {
    let (server, telemetry) = server("127.0.0.1:0");
    assert_eq!(ask(&server, "GET", "/readyz?wait=0.01").0, 503);
    let address = server.address();
    let mut waiting = connect(address);
    waiting.write_all(b"GET /readyz?wait=10 HTTP/1.0\r\n\r\n").unwrap();
    // Whoever asks meanwhile is answered.
    assert_eq!(ask(&server, "GET", "/readyz").0, 503);
    let began = std::time::Instant::now();
    telemetry.config_applied(&ConfigApplied { generation: 1, ..ConfigApplied::default() });
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5));
    telemetry.drain_began();
    assert_eq!(ask(&server, "GET", "/readyz?wait=10").0, 503);
    for wait in ["", "x", "-1", "10.1", "NaN", "inf"] {
        assert_eq!(ask(&server, "GET", &format!("/readyz?wait={wait}")).0, 400, "{wait}");
    }
}

#[test]
fn connections_that_say_nothing_make_room_for_those_that_ask() {
    let (server, _) = server("127.0.0.1:0");
    let address = server.address();
    let mut silent: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect(address)).collect();
    for stream in &mut silent {
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    }
    assert_eq!(ask(&server, "GET", "/healthz").0, 200);
    // The oldest had to go, and the others go on.
    let mut answers = silent.into_iter().map(|mut stream| {
        let _ = stream.write_all(format!("Host: {address}\r\n\r\n").as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    assert_eq!(answers.next().as_deref(), Some(""));
    assert!(answers.all(|answer| answer.starts_with("HTTP/1.1 200 ")));
}

#[test]
fn pages_have_types_and_are_neither_cached_nor_sniffed() {
    let (server, _) = server("[::1]:0");
    for (path, content_type) in [
        ("/", "text/plain; charset=utf-8"),
        ("/metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("/config?pretty", "application/json"),
    ] {
        let (status, head, body) = ask(&server, "GET", path);
        assert_eq!(status, 200, "{path}");
        assert!(head.contains(&format!("content-type: {content_type}\r\n")), "{path}: {head}");
        for line in ["cache-control: no-store", "x-content-type-options: nosniff"] {
            assert!(head.contains(line), "{path}: {head}");
        }
        assert!(!body.is_empty(), "{path}");
    }
    let (_, _, index) = ask(&server, "GET", "/");
    for path in ["/healthz", "/readyz", "/metrics", "/config"] {
        assert!(index.contains(path), "{index}");
    }
    let config: serde_json::Value =
        serde_json::from_str(&ask(&server, "GET", "/config").2).unwrap();
    assert_eq!(config["generation"], 3);
}

#[test]
fn only_get_and_head_of_known_pages_are_answered() {
    let (server, _) = server("127.0.0.1:0");
    let (status, head, body) = ask(&server, "HEAD", "/metrics");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-length: ") && !head.contains("content-length: 0"), "{head}");
    for path in ["/nothing", "/metrics/", "//metrics", "/config/../metrics"] {
        assert_eq!(ask(&server, "GET", path).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let (status, head, _) = ask(&server, method, "/metrics");
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: get, head\r\n"), "{head}");
    }
}

#[test]
fn a_name_that_a_web_page_could_choose_is_refused() {
    let (server, _) = server("127.0.0.1:0");
    let address = server.address();
    let (status, _, body) =
        send(address, "GET /config HTTP/1.1\r\nHost: rebind.attacker.example\r\n\r\n");
    assert_eq!(status, 421);
    assert!(!body.contains("generation"), "{body}");
    assert_eq!(send(address, "GET /healthz HTTP/1.1\r\nHost: localhost:9\r\n\r\n").0, 200);
}

#[test]
fn a_head_that_is_too_long_is_refused_and_the_server_goes_on() {
    let (server, _) = server("127.0.0.1:0");
    let mut stream = connect(server.address());
    let _ = stream.write_all(format!("GET /{} HTTP/1.1\r\n", "x".repeat(2 * MAX_HEAD)).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(ask(&server, "GET", "/healthz").0, 200);
}

#[test]
fn health_is_answered_while_a_page_waits_for_the_configuration() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let served = move || {
        let _ = released.lock().unwrap().recv_timeout(WAIT);
        Served::default()
    };
    let address = "127.0.0.1:0".parse().unwrap();
    let page = ConfigPage::Everybody;
    let server = AdminServer::start(address, Telemetry::new(None), page, served).unwrap();
    let mut slow = connect(server.address());
    slow.write_all(b"GET /config HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(ask(&server, "GET", "/healthz").0, 200);
    release.send(()).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[test]
fn a_dropped_server_frees_its_address() {
    let (server, _) = server("127.0.0.1:0");
    let address = server.address();
    let page = ConfigPage::Everybody;
    assert!(AdminServer::start(address, Telemetry::new(None), page, Served::default).is_err());
    drop(server);
    assert!(TcpStream::connect_timeout(&address, WAIT).is_err());
}

#[test]
fn metrics_add_up_over_workers_and_are_well_formed() {
    let (server, telemetry) = server("127.0.0.1:0");
    let gateway = NamespacedName::new("default", "web");
    let route = NamespacedName::new("shop", "site");
    let listener = ListenerKey::new("http");
    let record = RequestRecord {
        gateway: &gateway,
        listener: &listener,
        route: Some(&route),
        rule: None,
        backend: None,
        endpoint: None,
        peer: "127.0.0.1:1".parse().unwrap(),
        client: "127.0.0.1".parse().unwrap(),
        method: "GET",
        host: b"",
        path: b"/",
        protocol: "HTTP/1.1",
        status: 200,
        duration: Duration::from_millis(3),
        upstream_duration: None,
        bytes_received: 5,
        bytes_sent: 7,
        authorization: None,
        ended: Ended::Complete,
    };
    let workers = [telemetry.worker(), telemetry.worker()];
    let [first, _second] = workers.each_ref().map(|worker| {
        worker.request(&record, None);
        worker.request(&RequestRecord { route: None, status: 404, ..record }, None);
        worker.connection(&gateway, &listener)
    });
    workers[0].request(&RequestRecord { status: 503, ended: Ended::ConnectFailed, ..record }, None);
    drop(first);
    workers[1].handshake_failed(Some(&gateway), "timeout");
    workers[0].connection_rejected(&gateway, &listener, "no_route");
    workers[1].datagram_dropped(&gateway, &listener, "no_endpoint");
    let sessions = workers.each_ref().map(|worker| worker.udp_session(&gateway, &listener));
    let [_open, ended] = sessions;
    drop(ended);
    telemetry.config_applied(&ConfigApplied {
        generation: 4,
        duration: Duration::from_millis(2),
        http_rules: 6,
        stream_rules: 1,
        rejected: 1,
        ..ConfigApplied::default()
    });

    let (_, _, page) = ask(&server, "GET", "/metrics");
    let of = r#"gateway="default/web",listener="http",route="shop/site""#;
    let none = r#"gateway="default/web",listener="http",route="""#;
    let port = r#"gateway="default/web",listener="http""#;
    for line in [
        format!(r#"gwapi_http_requests_total{{{of},code="200"}} 2"#),
        format!(r#"gwapi_http_requests_total{{{of},code="503"}} 1"#),
        format!(r#"gwapi_http_requests_total{{{none},code="404"}} 2"#),
        format!(r#"gwapi_http_requests_incomplete_total{{{of},reason="connect_failed"}} 1"#),
        format!("gwapi_http_sent_bytes_total{{{of}}} 21"),
        format!("gwapi_http_request_duration_seconds_count{{{of}}} 3"),
        format!(r#"gwapi_http_request_duration_seconds_bucket{{le="0.005",{of}}} 3"#),
        format!(r#"gwapi_http_request_duration_seconds_bucket{{le="0.0025",{of}}} 0"#),
        format!("gwapi_http_upstream_duration_seconds_count{{{of}}} 0"),
        format!("gwapi_connections_total{{{port}}} 2"),
        format!("gwapi_connections_active{{{port}}} 1"),
        r#"gwapi_worker_connections_active{worker="0"} 0"#.to_owned(),
        r#"gwapi_worker_connections_active{worker="1"} 1"#.to_owned(),
        r#"gwapi_tls_handshake_failures_total{gateway="default/web",reason="timeout"} 1"#
            .to_owned(),
        "gwapi_config_generation 4.0".to_owned(),
        "gwapi_config_apply_duration_seconds_sum 0.002".to_owned(),
        r#"gwapi_config_resources{kind="HttpRule"} 6"#.to_owned(),
        r#"gwapi_config_resources{kind="StreamRule"} 1"#.to_owned(),
        format!(r#"gwapi_rejected_connections_total{{{port},reason="no_route"}} 1"#),
        format!(r#"gwapi_udp_dropped_datagrams_total{{{port},reason="no_endpoint"}} 1"#),
        format!("gwapi_udp_sessions_total{{{port}}} 2"),
        format!("gwapi_udp_sessions_active{{{port}}} 1"),
        "gwapi_config_rejected_resources_total 1".to_owned(),
        "gwapi_access_log_dropped_lines_total 0".to_owned(),
        "gwapi_ready 1.0".to_owned(),
        format!(r#"gwapi_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")),
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\nis not in\n{page}");
    }
    assert!(page.contains("\ngwapi_config_last_reload_timestamp_seconds 1"), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
    }
}
