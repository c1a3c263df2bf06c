//! `gwapi check`: diagnostics as compilers have them, in four formats.

mod support;

use std::process::Output;

use serde_json::Value;
use support::*;

/// A Service with a port for the pods that is another one, as they mostly are.
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  ports:
    - port: 80
      targetPort: 8080
";

fn good() -> Manifests {
    Manifests::new(&[
        ("gateway.yaml", &gateway(80)),
        ("routes.yaml", &route("web", "/", "web")),
        ("service.yaml", SERVICE),
        ("endpoints.yaml", &slice("web", "10.0.0.1:8080".parse().expect("an address"))),
    ])
}

/// The same with one of each: an error of admission, of a reference, a warning of lint, a note.
fn bad() -> Manifests {
    let manifests = good();
    let port = route("port", "/port", "web").replace("port: 80\n", "port: 8080\n");
    let second = route("web-2", "/", "web");
    manifests.write("routes.yaml", &stream(&[route("web", "/", "web"), second, port]));
    manifests.write("typo.yaml", &service("typo").replace("port: 80\n", "port: 80000\n"));
    let old = route("old", "/old", "web").replace("/v1\n", "/v1alpha2\n");
    manifests
        .write("old.yaml", &old.replace("    - name: web\n  rules", "    - name: wbe\n  rules"));
    manifests
}

/// Runs `gwapi check` in the folder on all that is there.
fn check(manifests: &Manifests, more: &[&str]) -> Output {
    let mut arguments = vec!["check", "."];
    arguments.extend(more);
    command(&arguments).current_dir(manifests.path()).output().expect("the binary starts")
}

/// What it printed, without the version that printed it.
fn without_version(output: &Output) -> String {
    let version = concat!("ersion\": \"", env!("CARGO_PKG_VERSION"), "\"");
    stdout(output).replace(version, "ersion\": \"(version)\"")
}

#[test]
fn of_good_manifests_there_is_nothing_to_say() {
    let output = check(&good(), &["--strict"]);
    let expected = "Checked 6 objects in 4 files: nothing to complain about\n";
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn people_get_lines_codes_advice_and_what_else_it_has_to_do_with() {
    let output = check(&bad(), &[]);
    insta::assert_snapshot!("text", stdout(&output));
    assert_eq!(stderr(&output), "");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn warnings_alone_end_with_0_and_with_strict_with_1() {
    let manifests = good();
    manifests.write("more.yaml", &route("web-2", "/", "web"));
    let output = check(&manifests, &[]);
    let text = stdout(&output);
    assert!(text.contains("warning[shadowed-match]: HTTPRoute default/web-2"), "{text}");
    assert!(text.ends_with(": 1 warning\n"), "{text}");
    assert_eq!(output.status.code(), Some(0));

    let output = check(&manifests, &["--strict"]);
    let text = stdout(&output);
    assert!(text.contains("error[shadowed-match]"), "{text}");
    assert_eq!(output.status.code(), Some(1));

    let output = check(&manifests, &["--strict", "--allow", "shadowed-match"]);
    assert!(stdout(&output).ends_with("nothing to complain about\n"), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(0));

    let output = check(&manifests, &["--deny", "shadowed-match"]);
    assert!(stdout(&output).ends_with(": 1 error\n"), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_code_that_does_not_exist_is_wrong_usage() {
    let output = check(&good(), &["--allow", "shadow-match"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean shadowed-match?"), "{}", stderr(&output));
}

#[test]
fn the_codes_are_listed_without_a_path() {
    let output = gwapi(&["check", "--list-codes"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for code in ["shadowed-match", "refused", "backend-not-found"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{code} "))), "{code}: {text}");
    }
}

#[test]
fn that_pods_are_missing_is_a_note_and_that_endpoints_are_a_warning() {
    let manifests = good();
    manifests.remove("endpoints.yaml");
    let output = check(&manifests, &["--strict"]);
    let text = stdout(&output);
    assert!(text.contains("error[no-endpoints]: Service default/web"), "{text}");
    assert_eq!(output.status.code(), Some(1));

    manifests.write("service.yaml", &SERVICE.replace("spec:", "spec:\n  selector: {app: web}"));
    let output = check(&manifests, &["--strict"]);
    let text = stdout(&output);
    assert!(text.contains("note[no-endpoints]: Service default/web"), "{text}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_empty_folder_is_an_error_in_every_format() {
    let manifests = Manifests::new(&[]);
    for format in ["text", "json", "sarif", "github"] {
        let output = check(&manifests, &["--output", format]);
        assert_eq!(output.status.code(), Some(1), "{format}");
        assert!(stdout(&output).contains("no objects found"), "{format}: {}", stdout(&output));
    }
}

#[test]
fn a_condition_that_lint_tells_better_is_told_once() {
    let output = check(&bad(), &["--output", "json"]);
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let diagnostics = report["diagnostics"].as_array().expect("a list");
    let of_port = diagnostics.iter().filter(|it| it["object"]["name"] == "port");
    let codes: Vec<_> = of_port.map(|it| &it["code"]).collect();
    assert_eq!(codes, ["unknown-backend-port"]);
}

#[test]
fn json_has_every_part_of_a_diagnostic() {
    let output = check(&bad(), &["--output", "json"]);
    insta::assert_snapshot!("json", without_version(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn github_gets_a_command_for_each_diagnostic() {
    let output = check(&bad(), &["--output", "github"]);
    insta::assert_snapshot!("github", stdout(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn sarif_has_what_code_scanning_reads() {
    let output = check(&bad(), &["--output", "sarif"]);
    insta::assert_snapshot!("sarif", without_version(&output));
    let log: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("a list");
    let results = run["results"].as_array().expect("a list");
    assert!(!results.is_empty());
    for result in results {
        let index = result["ruleIndex"].as_u64().expect("a number") as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().expect("text")));
        assert!(!result["message"]["text"].as_str().expect("text").is_empty());
        let all = ["locations", "relatedLocations"].map(|name| result[name].as_array());
        assert!(all[0].is_some_and(|locations| locations.len() == 1), "{result}");
        for location in all.into_iter().flatten().flatten() {
            let place = &location["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().expect("text");
            assert!(uri.ends_with(".yaml") && !uri.starts_with(['/', '.']), "{uri}");
            let region = &place["region"];
            let number = |name: &str| region[name].as_u64().expect("a number");
            assert!(number("startLine") >= 1 && number("startColumn") >= 1);
            assert!(number("endColumn") > number("startColumn"), "{region}");
        }
    }
}

#[test]
fn no_line_of_a_secret_is_shown_in_any_format() {
    let manifests = good();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\n\
                  stringData:\n  tls.key: hunter2hunter2\n  tls.crt: 7\n";
    manifests.write("secret.yaml", secret);
    for format in ["text", "json", "sarif", "github"] {
        let output = check(&manifests, &["--output", format]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{format}: {text}");
        assert!(text.contains("secret.yaml") && !text.contains("hunter2"), "{format}: {text}");
    }
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let manifests = good();
    manifests.write("d.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n");
    let output = check(&manifests, &[]);
    assert!(
        stdout(&output).contains("note: not read: apps/v1/Deployment (1)"),
        "{}",
        stdout(&output)
    );
    let output = check(&manifests, &["-o", "json"]);
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(report["notRead"][0]["kind"], "apps/v1/Deployment");
}
