//! Nobody reads what the gateway prints: it serves, takes edits and drains all the same.

mod support;

use std::process::Command;
use std::time::Instant;

use support::*;

/// Routes with problems, whose report is several times what a pipe holds.
const BAD_ROUTES: usize = 500;

/// A gateway whose answers tell `a` from `b`.
struct Scene {
    port: u16,
    manifests: Manifests,
}

impl Scene {
    fn new() -> Self {
        let port = free_port();
        let bad: Vec<_> = (0..BAD_ROUTES)
            .map(|n| route(&format!("bad-{n}"), &format!("/bad/{n}"), &format!("missing-{n}")))
            .collect();
        let manifests = Manifests::new(&[
            ("gateway.yaml", &gateway(port)),
            ("services.yaml", &stream(&[service("a"), service("b")])),
            ("web.yaml", &route("web", "/", "a")),
            ("bad.yaml", &stream(&bad)),
        ]);
        Self { port, manifests }
    }

    fn command(&self, more: &[&str]) -> Command {
        let path = self.manifests.path().to_str().expect("text");
        let fixed = ["run", path, "--demo", "--admin", "off", "--drain-quiet", "50ms"];
        command(&[&fixed[..], more].concat())
    }

    /// Asks until the Service answers.
    fn until_answered_by(&self, service: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = try_get(local(self.port), "/", &[]);
            if answer.is_ok_and(|it| it.status == 200 && it.json()["service"] == service) {
                return;
            }
            assert!(Instant::now() < deadline, "{service} does not answer");
            std::thread::yield_now();
        }
    }

    /// Whether edits are live and the end is a clean one.
    fn is_served(&self, gwapi: Gwapi) {
        self.until_answered_by("a");
        for service in ["b", "a", "b"] {
            self.manifests.write("web.yaml", &route("web", "/", service));
            self.until_answered_by(service);
        }
        gwapi.terminate();
        assert_eq!(gwapi.end_within(PATIENCE).code(), Some(0));
    }
}

#[test]
fn a_stalled_report_stops_neither_edits_nor_the_drain() {
    let scene = Scene::new();
    let gwapi = Gwapi::unread(&mut scene.command(&["--output", "json"]));
    scene.is_served(gwapi);
}

#[test]
fn a_stalled_report_and_access_log_stop_neither_edits_nor_the_drain() {
    let scene = Scene::new();
    let options = ["--output", "json", "--access-log", "json"];
    let gwapi = Gwapi::unread(&mut scene.command(&options));
    scene.is_served(gwapi);
}

#[test]
fn a_stalled_log_stops_no_request() {
    let scene = Scene::new();
    let gwapi = Gwapi::unread(scene.command(&[]).env("RUST_LOG", "trace"));
    scene.until_answered_by("a");
    // Some kilobytes of log each.
    for _ in 0..200 {
        assert_eq!(get(local(scene.port), "/", &[]).status, 200);
    }
    scene.is_served(gwapi);
}

#[test]
fn a_closed_pipe_stops_neither_edits_nor_the_drain() {
    let scene = Scene::new();
    let mut gwapi = Gwapi::unread(&mut scene.command(&["--output", "json"]));
    gwapi.close_output();
    scene.is_served(gwapi);
}

#[test]
fn a_second_signal_stops_at_once_though_nobody_reads() {
    let scene = Scene::new();
    let options = ["--output", "json", "--drain-quiet", "1h", "--drain-timeout", "1h"];
    let path = scene.manifests.path().to_str().expect("text");
    let fixed = ["run", path, "--demo", "--admin", "off"];
    let gwapi = Gwapi::unread(&mut command(&[&fixed[..], &options].concat()));
    scene.until_answered_by("a");
    gwapi.terminate();
    // Signals of one kind that wait at the same time are one.
    gwapi.signal("INT");
    assert_eq!(gwapi.end_within(PATIENCE).code(), Some(130));
}
