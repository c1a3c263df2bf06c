//! `gwapi run` as people use it: start, edits, backends, the end.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use support::*;

#[test]
fn the_start_shows_where_each_listener_is() {
    let port = free_port();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("echo", "/", "echo"), service("echo")])),
    ]);
    let path = manifests.path().to_str().expect("text");
    let gwapi = Gwapi::start(&["run", path, "--admin", "127.0.0.1:0", "--demo"]);
    gwapi.line(|line| line.contains("serves 1 Gateway, 1 listener, 1 route"));
    gwapi.line(|line| line.starts_with("GATEWAY"));
    let row = gwapi.line(|line| line.starts_with("default/web"));
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells, ["default/web", "http", &format!("http://127.0.0.1:{port}"), "*", "1"]);
    gwapi.line(|line| line.starts_with("Admin: http://127.0.0.1:"));
    gwapi.line(|line| line.trim() == format!("curl -i http://127.0.0.1:{port}/"));
}

#[test]
fn a_demo_answers_for_services_without_endpoints() {
    let port = free_port();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("echo", "/", "echo"), service("echo")])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    gwapi.event("start");
    let answer = get(local(port), "/some/path", &[("host", "example.com"), ("x-probe", "1")]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let echo = answer.json();
    assert_eq!(echo["path"], "/some/path");
    assert_eq!(echo["host"], "example.com");
    assert_eq!(echo["method"], "GET");
    assert_eq!(echo["namespace"], "default");
    assert_eq!(echo["service"], "echo");
    assert_eq!(echo["pod"], "echo-demo-0");
    assert!(echo["headers"].to_string().contains("1"), "{echo}");
}

#[test]
fn header_names_with_an_underscore_are_dropped_kept_or_refused_as_the_option_says() {
    for (option, status, passed) in [
        (None, 200, &[][..]),
        (Some("drop"), 200, &[]),
        (Some("keep"), 200, &["x_user"]),
        (Some("reject"), 400, &[]),
    ] {
        let port = free_port();
        let manifests = Manifests::new(&[
            ("gateway.yaml", &gateway(port)),
            ("routes.yaml", &stream(&[route("echo", "/", "echo"), service("echo")])),
        ]);
        let option = option.map(|option| ["--underscore-headers", option]);
        let arguments: Vec<&str> =
            ["--demo"].into_iter().chain(option.into_iter().flatten()).collect();
        let gwapi = Gwapi::run(&manifests, &arguments);
        gwapi.event("start");
        // Whoever reads `_` for `-` would take the last two for what frames the message.
        let fields = [("x_user", "me"), ("transfer_encoding", "chunked"), ("content_length", "5")];
        let answer = get(local(port), "/", &fields);
        assert_eq!(answer.status, status, "{option:?}: {answer:?}");
        if status != 200 {
            continue;
        }
        let echo = answer.json();
        let names = echo["headers"].as_object().expect("an object").keys();
        let names: Vec<String> = names.map(|name| name.to_ascii_lowercase()).collect();
        let with_underscore: Vec<_> = names.iter().filter(|name| name.contains('_')).collect();
        assert_eq!(with_underscore, passed, "{option:?}");
        let framing = ["transfer-encoding", "content-length"];
        assert!(framing.iter().all(|it| names.iter().all(|name| name != it)), "{names:?}");
    }
}

#[test]
fn upgrades_pass_that_the_option_names() {
    let port = free_port();
    let endpoint = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = endpoint.local_addr().expect("bound");
    // An endpoint that switches to whatever it is asked to.
    std::thread::spawn(move || {
        for mut stream in endpoint.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let Ok(length) = std::io::Read::read(&mut stream, &mut head) else { continue };
            let head = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
            let asked = head.lines().find(|line| line.starts_with("upgrade: "));
            let answer = match asked {
                Some(asked) => format!("101 Switching Protocols\r\nconnection: upgrade\r\n{asked}"),
                None => "200 OK\r\ncontent-length: 0\r\nconnection: close".to_owned(),
            };
            let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes());
        }
    });
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("rest.yaml", &stream(&[route("web", "/", "web"), service("web"), slice("web", address)])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--upgrades", "foo"]);
    gwapi.event("start");
    for (protocol, status) in [("foo", "101"), ("websocket", "200"), ("h2c", "200")] {
        let mut stream = TcpStream::connect(local(port)).expect("it accepts");
        let ask = format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).expect("it reads");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line)
            .expect("a line");
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{protocol}: {line}");
    }
}

#[test]
fn a_demo_leaves_services_alone_that_get_endpoints() {
    let port = free_port();
    let backend = Named::start("the real one");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    gwapi.event("start");
    assert_eq!(get(local(port), "/", &[]).json()["service"], "web");
    manifests.write("endpoints.yaml", &slice("web", backend.address));
    gwapi.event("change");
    assert_eq!(get(local(port), "/", &[]).body, "the real one");
    manifests.remove("endpoints.yaml");
    gwapi.event("change");
    assert_eq!(get(local(port), "/", &[]).json()["service"], "web");
}

#[test]
fn no_request_fails_while_services_of_a_demo_come_and_go() {
    let port = free_port();
    let backend = Named::start("the real one");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("fixed.yaml", &stream(&[route("fixed", "/fixed", "fixed"), service("fixed")])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    gwapi.event("start");
    let stop = AtomicBool::new(false);
    let statuses: BTreeSet<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = ["/", "/fixed"]
            .iter()
            .cycle()
            .take(8)
            .map(|path| {
                scope.spawn(|| {
                    let mut seen = BTreeSet::new();
                    while !stop.load(Ordering::Relaxed) {
                        seen.insert((*path, get(local(port), path, &[]).status));
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..20 {
            // The two edits may be one change or two; that of the route is the later one.
            let has_route = |change: &Value| change["objects"].to_string().contains("HTTPRoute");
            manifests.write("endpoints.yaml", &slice("fixed", backend.address));
            manifests.write("web.yaml", &stream(&[route("web", "/", "web"), service("web")]));
            gwapi.event_where("change", has_route);
            manifests.remove("endpoints.yaml");
            manifests.remove("web.yaml");
            gwapi.event_where("change", has_route);
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    assert_eq!(statuses, [("/", 200), ("/", 404), ("/fixed", 200)].into());
}

#[test]
fn an_edit_is_live_when_its_line_is_there() {
    let port = free_port();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("services.yaml", &stream(&[service("a"), service("b")])),
        ("routes.yaml", &route("web", "/", "a")),
    ]);
    let path = manifests.path().to_str().expect("text");
    let gwapi = Gwapi::start(&["run", path, "--admin", "off", "--demo"]);
    gwapi.line(|line| line.trim().starts_with("curl"));
    assert_eq!(get(local(port), "/", &[]).json()["service"], "a");

    manifests.write("routes.yaml", &route("web", "/", "b"));
    let line = gwapi.line(|line| line.contains("routes.yaml"));
    assert!(line.contains("HTTPRoute default/web changed, 1 rule; live in "), "{line}");
    assert_eq!(get(local(port), "/", &[]).json()["service"], "b");

    manifests.remove("routes.yaml");
    let line = gwapi.line(|line| line.contains("routes.yaml"));
    assert!(line.contains("HTTPRoute default/web removed"), "{line}");
    assert_eq!(get(local(port), "/", &[]).status, 404);
}

#[test]
fn an_edit_does_not_touch_connections() {
    let port = free_port();
    let (a, b) = (Named::start("a"), Named::start("b"));
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        (
            "services.yaml",
            &stream(&[service("a"), service("b"), slice("a", a.address), slice("b", b.address)]),
        ),
        ("routes.yaml", &route("web", "/", "a")),
    ]);
    let gwapi = Gwapi::run(&manifests, &[]);
    gwapi.event("start");
    let mut connection = TcpStream::connect(local(port)).expect("listening");
    assert_eq!(ask(&mut connection), "a");
    manifests.write("routes.yaml", &route("web", "/", "b"));
    gwapi.event("change");
    assert_eq!(ask(&mut connection), "b");
}

#[test]
fn a_listener_that_is_added_is_served_at_once() {
    let [first, second] = free_ports();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(first)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    gwapi.event("start");
    let second_listener =
        format!("    - name: second\n      protocol: HTTP\n      port: {second}\n");
    manifests.write("gateway.yaml", &(gateway(first) + &second_listener));
    let change = gwapi.event("change");
    let added = &change["listeners"]["added"][0];
    assert_eq!(added["gateway"], "default/web");
    assert_eq!(added["listener"], "second");
    assert_eq!(added["url"], format!("http://127.0.0.1:{second}"));
    assert_eq!(get(local(second), "/", &[]).status, 200);
    assert_eq!(get(local(first), "/", &[]).status, 200);
}

#[test]
fn backends_on_the_command_line_get_the_requests() {
    let port = free_port();
    let backend = Named::start("by hand");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
    ]);
    let option = format!("default/web:80=localhost:{}", backend.address.port());
    let gwapi = Gwapi::run(&manifests, &["--backend", &option]);
    let start = gwapi.event("start");
    assert_eq!(start["problems"], serde_json::json!([]));
    assert_eq!(get(local(port), "/", &[]).body, "by hand");
}

#[test]
fn json_lines_have_the_documented_fields() {
    let port = free_port();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("other.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n"),
    ]);
    let gwapi = Gwapi::run(&manifests, &[]);
    let start = gwapi.event("start");
    for field in ["time", "version", "generation", "admin", "gateways", "notRead", "problems"] {
        assert!(!start[field].is_null(), "{field}: {start}");
    }
    let listener = &start["gateways"][0]["listeners"][0];
    assert_eq!(start["gateways"][0]["name"], "web");
    assert_eq!(listener["name"], "http");
    assert_eq!(listener["port"], port);
    assert_eq!(listener["served"], true);
    assert_eq!(listener["hostnames"], serde_json::json!(["*"]));
    assert_eq!(listener["attachedRoutes"], 1);
    assert_eq!(listener["urls"][0], format!("http://127.0.0.1:{port}"));
    assert_eq!(start["notRead"], serde_json::json!([{"kind": "apps/v1/Deployment", "objects": 1}]));
    // Nothing gives the Service endpoints.
    assert_eq!(start["problems"][0]["severity"], "warning");
    assert_eq!(start["problems"][0]["object"]["kind"], "Service");

    manifests.write("routes.yaml", &stream(&[route("web", "/", "web"), "kind: [\n".to_owned()]));
    let change = gwapi.event("change");
    for field in ["time", "files", "objects", "listeners", "generation", "milliseconds"] {
        assert!(!change[field].is_null(), "{field}: {change}");
    }
    let problem = gwapi.event_where("problem", |problem| problem["severity"] == "error");
    assert!(
        problem["file"].as_str().is_some_and(|file| file.ends_with("routes.yaml")),
        "{problem}"
    );
    assert!(problem["line"].is_u64() && problem["column"].is_u64(), "{problem}");

    gwapi.terminate();
    assert_eq!(gwapi.event("draining")["signal"], "SIGTERM");
    assert_eq!(gwapi.event("drained")["cutConnections"], 0);
}

#[test]
fn a_slow_request_outlives_sigterm() {
    let port = free_port();
    let slow = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("endpoints.yaml", &slice("web", slow.local_addr().expect("bound"))),
    ]);
    let gwapi = Gwapi::run(&manifests, &[]);
    gwapi.event("start");
    let mut client = TcpStream::connect(local(port)).expect("listening");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.write_all(request("/", &[]).as_bytes()).expect("sent");
    let (mut upstream, _) = slow.accept().expect("the request reaches the backend");

    gwapi.terminate();
    gwapi.event("draining");
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").expect("sent");
    let answer = answer(&mut client).expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "late"));
    assert_eq!(gwapi.event("drained")["cutConnections"], 0);
    assert_eq!(gwapi.end().code(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let port = free_port();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("endpoints.yaml", &slice("web", silent.local_addr().expect("bound"))),
    ]);
    let gwapi = Gwapi::run(&manifests, &[]);
    gwapi.event("start");
    let mut client = TcpStream::connect(local(port)).expect("listening");
    client.write_all(request("/", &[]).as_bytes()).expect("sent");
    let _upstream = silent.accept().expect("the request reaches the backend");
    gwapi.terminate();
    gwapi.event("draining");
    gwapi.terminate();
    assert_eq!(gwapi.event("stopped")["signal"], "SIGTERM");
    assert_eq!(gwapi.end().code(), Some(130));
}

#[test]
fn a_hang_up_changes_nothing() {
    let port = free_port();
    let manifests = Manifests::new(&[("gateway.yaml", &gateway(port))]);
    let gwapi = Gwapi::run(&manifests, &[]);
    gwapi.event("start");
    gwapi.signal("HUP");
    assert_eq!(gwapi.event("ignored")["signal"], "SIGHUP");
    assert_eq!(get(local(port), "/", &[]).status, 404);
    gwapi.terminate();
    gwapi.event("drained");
    assert_eq!(gwapi.end().code(), Some(0));
}

#[test]
fn every_line_of_standard_output_has_an_event() {
    let port = free_port();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo", "--access-log", "json"]);
    gwapi.event("start");
    assert_eq!(get(local(port), "/x", &[]).status, 200);
    let mut seen = Value::Null;
    while seen["event"] != "request" {
        seen = serde_json::from_str(&gwapi.line(|_| true)).expect("JSON");
        assert!(seen["event"].is_string(), "{seen}");
    }
    let request = seen;
    assert_eq!((&request["path"], &request["status"]), (&"/x".into(), &200.into()));
}

#[test]
fn a_listener_that_is_renamed_is_no_outage() {
    let port = free_port();
    let manifests = Manifests::new(&[("gateway.yaml", &gateway(port))]);
    let path = manifests.path().to_str().expect("text");
    let gwapi = Gwapi::start(&["run", path, "--admin", "off", "--listen", "127.0.0.1"]);
    gwapi.line(|line| line.starts_with("default/web"));
    manifests.write("gateway.yaml", &gateway(port).replace("- name: http", "- name: plain"));
    let line = gwapi.line(|line| line.contains("listener http"));
    assert!(line.contains("renamed: Gateway default/web, listener http is now plain"), "{line}");
}

#[test]
fn ipv6_is_served_as_ipv4() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let port = free_port();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let urls = &start["gateways"][0]["listeners"][0]["urls"];
    assert_eq!(urls[1], format!("http://[::1]:{port}"));
    let address: SocketAddr = format!("[::1]:{port}").parse().expect("an address");
    assert_eq!(get(address, "/", &[]).status, 200);
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn gateways_of_a_pool_share_a_port() {
    let port = free_port();
    let second = gateway(port).replace("name: web", "name: second");
    let second = second.split_once("---\n").expect("class and Gateway").1.to_owned();
    let to_second = route("second", "/", "b").replace("name: web", "name: second");
    let manifests = Manifests::new(&[
        ("gateways.yaml", &stream(&[gateway(port), second])),
        ("routes.yaml", &stream(&[route("web", "/", "a"), to_second, service("a"), service("b")])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo", "--address-pool", "127.1.0.0/16"]);
    let start = gwapi.event("start");
    assert_eq!(start["problems"], serde_json::json!([]));
    // By namespace and name: `second` comes before `web`.
    let of = |last| SocketAddr::from(([127, 1, 0, last], port));
    assert_eq!(get(of(1), "/", &[]).json()["service"], "b");
    assert_eq!(get(of(2), "/", &[]).json()["service"], "a");
}

#[test]
fn the_admin_address_says_what_is_served() {
    let port = free_port();
    let manifests = Manifests::new(&[("gateway.yaml", &gateway(port))]);
    let gwapi = Gwapi::run(&manifests, &[]);
    let admin = gwapi.event("start")["admin"].as_str().expect("an address").to_owned();
    let admin: SocketAddr = admin.parse().expect("an address");
    assert_eq!(get(admin, "/readyz", &[]).status, 200);
    assert_eq!(get(admin, "/healthz", &[]).status, 200);
    assert!(get(admin, "/config", &[]).body.contains("default/web"));
}

#[test]
fn an_admin_address_that_others_can_reach_is_warned_of_and_is_no_endpoint() {
    let [port, admin] = free_ports();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("endpoints.yaml", &slice("web", SocketAddr::from(([127, 0, 0, 2], admin)))),
    ]);
    let gwapi = Gwapi::run(&manifests, &[]);
    gwapi.event("start");
    assert_eq!(gwapi.errors(), Vec::<String>::new());
    drop(gwapi);

    let path = manifests.path().to_str().expect("text");
    let address = format!("0.0.0.0:{admin}");
    let gwapi = Gwapi::start(&["run", path, "--admin", &address, "--output", "json"]);
    let warning = gwapi.error_line(|line| line.starts_with("warning: "));
    assert!(warning.contains(&format!("{address} can be reached")), "{warning}");
    let start = gwapi.event("start");
    assert!(start["problems"].to_string().contains("admin port of this gateway"), "{start}");
    assert_eq!(get(local(port), "/healthz", &[]).status, 503);
}

#[test]
fn the_log_has_no_colours_in_a_file() {
    let manifests = Manifests::new(&[]);
    let path = manifests.path().to_str().expect("text");
    let mut command = command(&["run", path, "--admin", "127.0.0.1:0"]);
    let gwapi = Gwapi::spawn(command.env("RUST_LOG", "debug").env_remove("NO_COLOR"));
    let line = gwapi.error_line(|line| line.contains("configuration applied"));
    assert!(line.contains("DEBUG") && !line.contains('\u{1b}'), "{line:?}");
}

#[test]
fn an_admin_address_in_use_is_told_and_nothing_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("bound").to_string();
    let manifests = Manifests::new(&[]);
    let path = manifests.path().to_str().expect("text");
    let output = gwapi(&["run", path, "--admin", &address]);
    assert_eq!(output.status.code(), Some(3));
    let errors = stderr(&output);
    assert!(errors.contains(&address) && errors.contains("--admin off"), "{errors}");
}

#[test]
fn a_named_controller_restricts_what_is_served() {
    let port = free_port();
    let manifests = Manifests::new(&[("gateway.yaml", &gateway(port))]);
    let gwapi = Gwapi::run(&manifests, &["--controller-name", "example.com/other"]);
    let start = gwapi.event("start");
    assert_eq!(start["gateways"], serde_json::json!([]));
    assert_eq!(start["problems"][0]["severity"], "note");
}

#[test]
fn strict_refuses_what_has_errors() {
    let port = free_port();
    let manifests =
        Manifests::new(&[("gateway.yaml", &gateway(port)), ("broken.yaml", "kind: [\n")]);
    let path = manifests.path().to_str().expect("text");
    let output = gwapi(&["run", path, "--admin", "off", "--strict"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("broken.yaml:"), "{}", stdout(&output));
}

#[test]
fn wrong_usage_exits_with_2_and_an_example() {
    for (arguments, expected) in [
        (&["run"][..], "PATH"),
        (&["run", ".", "--backend", "web=127.0.0.1:1"], "default/web:80=127.0.0.1:3000"),
        (&["run", ".", "--address-pool", "127.0.0.1"], "127.1.0.0/16"),
        (&["demo", "no-such-demo"], "canary"),
    ] {
        let output = gwapi(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn every_option_is_documented() {
    let help = stdout(&gwapi(&["run", "--help"]));
    let options: Vec<&str> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--")?.split(' ').next())
        .collect();
    assert!(options.contains(&"limit"), "{help}");
    let pages = ["standalone", "limits", "http"].map(|page| {
        let file = format!("{}/../docs/{page}.md", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(file).expect("the documentation is there")
    });
    for option in options {
        let option = format!("--{option}");
        assert!(pages.iter().any(|page| page.contains(&option)), "{option} is on no page");
    }
}
