//! Limits of the proxy, set on the command line.

mod support;

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
