//! `gwapi status`: what a cluster would say.

mod support;

use support::*;

fn good() -> Manifests {
    Manifests::new(&[
        ("gateway.yaml", &gateway(8080)),
        ("routes.yaml", &route("web", "/", "web")),
        ("service.yaml", &service("web")),
        ("endpoints.yaml", &slice("web", local(3000))),
    ])
}

#[test]
fn good_manifests_are_all_accepted() {
    let manifests = good();
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let expected = "\
GATEWAYCLASS  CONTROLLER                    CONDITIONS
gwapi         gwapi.dev/gateway-controller  Accepted";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.trim_end().ends_with("All accepted"), "{text}");
    let route = text.lines().find(|line| line.starts_with("default/web  default/web"));
    assert!(route.is_some_and(|line| line.contains("Accepted, ResolvedRefs")), "{text}");
}

#[test]
fn problems_come_first_and_make_the_exit_code_1() {
    let manifests = good();
    manifests.write("routes.yaml", &route("web", "/", "no-such-service"));
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let problem = text.find("ResolvedRefs=False (BackendNotFound)").expect("told");
    assert!(problem < text.find("GATEWAYCLASS").expect("a table"), "{text}");
    assert!(text.trim_end().ends_with("1 error"), "{text}");
}

#[test]
fn yaml_holds_every_gateway_api_object_with_its_status() {
    let manifests = good();
    let path = manifests.path().to_str().expect("text");
    let output = gwapi(&["status", path, "-o", "yaml", "--listen", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    insta::assert_snapshot!("status_of_good_manifests", without_times(&text));
    // The stream is a manifest again.
    let again = Manifests::new(&[("again.yaml", &text), ("service.yaml", &service("web"))]);
    let path = again.path().to_str().expect("text");
    let output = gwapi(&["status", path, "-o", "yaml", "--listen", "127.0.0.1"]);
    assert_eq!(stderr(&output), "");
    assert_eq!(without_times(&stdout(&output)), without_times(&text));
}

/// Times replaced: they are those of the run.
fn without_times(text: &str) -> String {
    let mut all = String::new();
    for line in text.lines() {
        let (key, time) = line.split_once("lastTransitionTime: ").unwrap_or((line, ""));
        all.push_str(key);
        if !time.is_empty() {
            // A whole second: `"2026-11-21T10:42:04Z"`.
            assert_eq!((time.len(), time.ends_with("Z\"")), (22, true), "{time}");
            all.push_str("lastTransitionTime: TIME");
        }
        all.push('\n');
    }
    all
}

#[test]
fn json_is_a_list() {
    let manifests = good();
    let output = gwapi(&["status", manifests.path().to_str().expect("text"), "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(list["kind"], "List");
    let gateway = &list["items"][1];
    assert_eq!(gateway["kind"], "Gateway");
    assert_eq!(gateway["status"]["listeners"][0]["attachedRoutes"], 1);
    let route = &list["items"][2];
    assert_eq!(route["status"]["parents"][0]["controllerName"], "gwapi.dev/gateway-controller");
}

#[test]
fn a_missing_path_is_a_problem_with_exit_code_1() {
    let manifests = Manifests::new(&[]);
    let missing = manifests.file("missing");
    let output = gwapi(&["status", missing.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("missing"), "{}", stdout(&output));
    assert!(stdout(&output).contains("`gwapi run` reads it"), "{}", stdout(&output));
}

#[test]
fn a_broken_file_is_shown_with_its_lines() {
    let manifests = good();
    manifests.write("broken.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: [x\n");
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("broken.yaml:"), "{text}");
    assert!(text.contains("name: [x"), "{text}");
}

#[test]
fn kinds_that_are_not_read_are_named_once() {
    let manifests = good();
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: ";
    manifests
        .write("other.yaml", &stream(&[format!("{deployment}a\n"), format!("{deployment}b\n")]));
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.contains("warning: not read: apps/v1/Deployment (2)"), "{text}");
}

#[test]
fn references_that_no_status_tells_of_are_told() {
    let manifests = good();
    let lost = route("lost", "/", "web").replace("- name: web\n  rules", "- name: wbe\n  rules");
    manifests.write("lost.yaml", &lost);
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    let text = stdout(&output);
    assert!(
        text.contains(
            "HTTPRoute default/lost, spec.parentRefs[0]: there is no Gateway default/wbe"
        ),
        "{text}"
    );
    assert!(text.contains("Gateways here: default/web"), "{text}");
    assert!(text.trim_end().ends_with("1 error"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_route_with_one_parent_of_two_is_served_with_a_warning() {
    let manifests = good();
    let half = route("half", "/half", "web").replace("  rules:", "    - name: wbe\n  rules:");
    manifests.write("half.yaml", &half);
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    let text = stdout(&output);
    assert!(text.contains("spec.parentRefs[1]: there is no Gateway default/wbe"), "{text}");
    assert!(text.contains("half.yaml:8:7"), "{text}");
    assert!(text.trim_end().ends_with("All accepted, 1 warning"), "{text}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_route_that_asks_for_default_gateways_is_told_when_there_is_none() {
    let manifests = good();
    let parents = "parentRefs:\n    - name: web\n";
    let asking = route("asking", "/", "web").replace(parents, "useDefaultGateways: All\n");
    manifests.write("asking.yaml", &asking);
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    let text = stdout(&output);
    let told = "spec.useDefaultGateways: it asks for default Gateways, and there is none";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("asking.yaml:6:"), "{text}");

    let default = gateway(8080)
        .replace("spec:\n  gatewayClassName", "spec:\n  defaultScope: All\n  gatewayClassName");
    manifests.write("gateway.yaml", &default);
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    let text = stdout(&output);
    assert!(!text.contains("spec.useDefaultGateways"), "{text}");
    let row = text.lines().find(|line| line.starts_with("default/asking  default/web"));
    assert!(row.is_some_and(|line| line.contains("Accepted, ResolvedRefs")), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn a_telemetry_policy_has_a_row_for_each_gateway() {
    let manifests = good();
    let policy = "\
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XTelemetryPolicy
metadata:
  name: traces
spec:
  targetRefs:
    - {group: gateway.networking.k8s.io, kind: Gateway, name: web}
  tracing:
    mode: Enabled
    provider: {backendRef: {name: web, port: 80}}
    attributes:
      - {name: db, sourceType: Attribute, attributeKey: db.system}
";
    manifests.write("policy.yaml", policy);
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    let text = stdout(&output);
    let row = text.lines().skip_while(|line| !line.starts_with("XTELEMETRYPOLICY")).nth(1);
    let words: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
    let expected = ["default/traces", "web", "Enabled", "default/web", "Accepted,", "ResolvedRefs"];
    assert_eq!(words, expected, "{text}");
    let output = gwapi(&["status", manifests.path().to_str().expect("text"), "-o", "yaml"]);
    assert!(stdout(&output).contains("`db.system` is not supported"), "{}", stdout(&output));
}

#[test]
fn a_budget_of_retries_has_a_row() {
    let manifests = good();
    let policy = "\
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata:
  name: web
spec:
  targetRefs:
    - {group: '', kind: Service, name: web}
  retryConstraint: {}
  sessionPersistence: {type: Cookie, cookie: {name: session}}
";
    manifests.write("policy.yaml", policy);
    let output = gwapi(&["status", manifests.path().to_str().expect("text")]);
    let text = stdout(&output);
    let row = text.lines().skip_while(|line| !line.starts_with("XBACKENDTRAFFICPOLICY")).nth(1);
    let words: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
    assert_eq!(words, ["default/web", "web", "20%", "default/web", "Accepted"], "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn files_without_objects_are_no_success() {
    let manifests = Manifests::new(&[("empty.yaml", "# nothing\n")]);
    for more in [&[][..], &["-o", "yaml"], &["-o", "json"]] {
        let path = manifests.path().to_str().expect("text");
        let output = gwapi(&[&["status", path], more].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("no objects found"), "{output:?}");
        assert!(!stdout(&output).contains("All accepted"), "{output:?}");
    }
}

#[test]
fn a_service_without_endpoints_is_told_with_what_to_do() {
    let manifests = good();
    manifests.remove("endpoints.yaml");
    let path = manifests.path().to_str().expect("text");
    let text = stdout(&gwapi(&["status", path]));
    assert!(text.contains("HTTPRoute default/web answers 503"), "{text}");
    assert!(text.contains("--backend default/web:80=127.0.0.1:3000"), "{text}");
    let text = stdout(&gwapi(&["status", path, "--backend", "default/web:80=127.0.0.1:3000"]));
    assert!(!text.contains("503"), "{text}");
}

/// A route with a regular expression that does not compile, for two Gateways.
fn misspelt_route() -> (Manifests, String) {
    let manifests = good();
    let route = route("re", "'['", "web").replace("PathPrefix", "RegularExpression");
    let route = route.replace("  rules:", "    - name: g\n  rules:");
    let gateways = gateway(8081).replace("name: web", "name: g");
    manifests.write("g.yaml", gateways.split_once("---\n").expect("two documents").1);
    manifests.write("re.yaml", &route);
    let path = manifests.path().to_str().expect("text").to_owned();
    (manifests, path)
}

#[test]
fn what_translation_finds_has_its_place_and_lines_and_names_every_parent() {
    let (_manifests, path) = misspelt_route();
    let output = gwapi(&["status", &path]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("HTTPRoute default/re, parents default/web, default/g:"), "{text}");
    assert!(text.contains("re.yaml:13:20"), "{text}");
    assert!(text.contains("            value: '['\n"), "{text}");
    assert!(text.trim_end().ends_with("1 error"), "{text}");
}

#[test]
fn what_translation_finds_has_its_place_in_json_too() {
    let (_manifests, path) = misspelt_route();
    let output = gwapi(&["run", &path, "--strict", "--output", "json", "--admin", "off"]);
    let text = stdout(&output);
    let problems: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(problems.len(), 2, "one for each parent: {text}");
    for (problem, parent) in problems.iter().zip(["default/web", "default/g"]) {
        assert_eq!(problem["parent"], parent, "{problem}");
        assert!(problem["file"].as_str().is_some_and(|file| file.ends_with("re.yaml")));
        assert_eq!(problem["line"], 13, "{problem}");
        assert_eq!(problem["column"], 20, "{problem}");
        assert_eq!(problem["field"], "spec.rules[0].matches[0].path.value", "{problem}");
    }
}

#[test]
fn a_problem_of_a_listener_shows_the_listener() {
    let manifests = good();
    let second = "    - name: second\n      protocol: example.com/own\n      port: 53\n";
    manifests.write("gateway.yaml", &(gateway(8080) + second));
    let text = stdout(&gwapi(&["status", manifests.path().to_str().expect("text")]));
    assert!(text.contains("gateway.yaml:19:17"), "{text}");
    assert!(text.contains("protocol: example.com/own"), "{text}");
}
