//! `gwapi demo`: examples from any folder.

mod support;

use support::*;

#[test]
fn demos_are_listed() {
    let output = gwapi(&["demo"]);
    assert_eq!(output.status.code(), Some(0));
    for name in ["canary", "paths", "hostnames", "teams", "from-zero"] {
        assert!(stdout(&output).contains(name), "{name}");
    }
}

#[test]
fn a_demo_shows_commands_that_work_and_cleans_up() {
    // Far from ports in use: listeners of the demo move by as much as a free port asks for.
    let offset = (free_port() - 80).to_string();
    let gwapi = Gwapi::start(&[
        "demo",
        "paths",
        "--admin",
        "off",
        "--port-offset",
        &offset,
        "--drain-quiet",
        "50ms",
    ]);
    let first = gwapi.line(|line| line.starts_with("The manifests are in "));
    let folder = first.trim_start_matches("The manifests are in ");
    let folder = std::path::Path::new(folder.split(": ").next().expect("a path")).to_owned();
    assert!(folder.join("routes.yaml").is_file(), "{first}");
    let command = gwapi.line(|line| line.trim().starts_with("curl") && line.ends_with("/left"));
    let url = command.rsplit(' ').next().expect("a URL").trim_start_matches("http://");
    let (address, path) = url.split_once('/').expect("a path");
    let address: std::net::SocketAddr = address.parse().expect("an address");
    let answer = get(address, &format!("/{path}"), &[]);
    assert!(answer.json()["service"] == "left" || command.contains("turn"), "{answer:?}");
    gwapi.terminate();
    assert_eq!(gwapi.end().code(), Some(0));
    assert!(!folder.exists(), "{} is left behind", folder.display());
}
