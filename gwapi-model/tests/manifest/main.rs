//! Manifests as text: what is read, what is refused, and where the problem is said to be.

mod first_shape;
mod laws;
mod limits;
mod locating;
mod objects;
mod rendering;
mod syntax;

use gwapi_model::manifest::{Manifest, Problem, Severity, parse};

/// `line:column severity: object: field: message`.
fn line(problem: &Problem) -> String {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = problem
        .position
        .map_or("-".to_owned(), |position| format!("{}:{}", position.line, position.column));
    let shown = Problem { source: severity.into(), position: None, ..problem.clone() };
    format!("{place} {shown}")
}

/// Checks the problems of a text, and gives what was read for more.
#[track_caller]
fn check(text: &str, problems: &[&str]) -> Manifest {
    let manifest = parse("test.yaml", text);
    let found: Vec<String> = manifest.problems.iter().map(line).collect();
    assert_eq!(found, problems, "problems of\n{text}");
    manifest
}

/// Checks that a text has one problem, and gives what it says to do.
#[track_caller]
fn help(text: &str) -> String {
    let manifest = parse("test.yaml", text);
    match manifest.problems.as_slice() {
        [problem] => problem.help.clone().expect("the problem has no help"),
        problems => panic!("expected one problem: {problems:#?}"),
    }
}

/// Names of the objects that were taken in.
fn objects(manifest: &Manifest) -> Vec<String> {
    manifest.objects.iter().map(|object| object.resource.id().to_string()).collect()
}

/// Names of the objects that were refused.
fn refused(manifest: &Manifest) -> Vec<String> {
    manifest.refused.iter().map(ToString::to_string).collect()
}

/// A valid Service.
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: shop
spec:
  ports:
  - port: 80
";

/// A valid Gateway.
const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: edge
spec:
  gatewayClassName: gwapi
  listeners:
  - name: http
    port: 80
    protocol: HTTP
";

/// A valid HTTPRoute.
const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: shop
spec:
  parentRefs:
  - name: edge
  hostnames: [shop.example.com]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /cart}
    backendRefs:
    - name: shop
      port: 80
";
