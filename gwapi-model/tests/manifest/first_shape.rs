//! The API's first shape: refused, with the same object as it is written today.

use gwapi_model::manifest::parse;

use super::{check, objects, refused};

/// One object of each kind, as the first tutorials wrote them.
const FIRST: &str = "\
kind: GatewayClass
apiVersion: networking.x-k8s.io/v1alpha1
metadata:
  name: acme-lb
spec:
  controller: acme.io/gateway-controller
  parametersRef: {name: acme-lb, group: acme.io, kind: Parameters}
---
kind: Gateway
apiVersion: networking.x-k8s.io/v1alpha1
metadata:
  name: my-gateway
spec:
  gatewayClassName: acme-lb
  listeners:
  - protocol: HTTP
    port: 80
    routes:
      kind: HTTPRoute
      selector: {matchLabels: {foo: bar}}
      namespaces: {from: All}
  - protocol: HTTP
    hostname: foo.com
    port: 8080
  - protocol: HTTPS
    hostname: '*'
    port: 443
    tls:
      certificateRef: {kind: Secret, group: core, name: cert}
---
kind: HTTPRoute
apiVersion: networking.x-k8s.io/v1alpha1
metadata:
  name: http-app-1
  labels: {foo: bar}
spec:
  gateways: {allow: All}
  hostnames: ['foo.com']
  rules:
  - matches:
    - path: {type: Prefix, value: /bar}
      headers:
        type: RegularExpression
        values: {magic: fo+}
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {add: {my-header: foo}, remove: [x]}
    - type: RequestMirror
      requestMirror: {serviceName: mirror, port: 8080}
    forwardTo:
    - serviceName: my-service1
      port: 8080
      weight: 3
    - backendRef: {group: acme.io, kind: Bucket, name: b}
";

const MODERN: [&str; 3] = [
    "\
today it is written like this:

apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: acme-lb
spec:
  controllerName: acme.io/gateway-controller
  parametersRef:
    group: acme.io
    kind: Parameters
    name: acme-lb
",
    "\
today it is written like this; which routes attach is now said by the routes, in `parentRefs`:

apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: my-gateway
spec:
  gatewayClassName: acme-lb
  listeners:
  - name: http
    port: 80
    protocol: HTTP
    allowedRoutes:
      namespaces:
        from: All
      kinds:
      - kind: HTTPRoute
  - name: http-2
    hostname: foo.com
    port: 8080
    protocol: HTTP
  - name: https
    port: 443
    protocol: HTTPS
    tls:
      certificateRefs:
      - name: cert
",
    "\
today it is written like this:

apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: http-app-1
  labels:
    foo: bar
spec:
  parentRefs:
  - name: my-gateway
  hostnames:
  - foo.com
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: /bar
      headers:
      - type: RegularExpression
        name: magic
        value: fo+
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        add:
        - name: my-header
          value: foo
        remove:
        - x
    - type: RequestMirror
      requestMirror:
        backendRef:
          name: mirror
          port: 8080
    backendRefs:
    - name: my-service1
      port: 8080
      weight: 3
    - group: acme.io
      kind: Bucket
      name: b
",
];

#[test]
fn each_object_is_shown_as_it_is_written_today() {
    let what = "apiVersion: `networking.x-k8s.io/v1alpha1` is the first shape of the Gateway API, which is no longer read";
    let manifest = check(
        FIRST,
        &[
            &format!("2:13 error: GatewayClass acme-lb: {what}"),
            &format!("10:13 error: Gateway default/my-gateway: {what}"),
            &format!("32:13 error: HTTPRoute default/http-app-1: {what}"),
        ],
    );
    for (problem, modern) in manifest.problems.iter().zip(MODERN) {
        assert_eq!(problem.help.as_deref(), Some(modern));
    }
    assert_eq!(
        refused(&manifest),
        ["GatewayClass acme-lb", "Gateway default/my-gateway", "HTTPRoute default/http-app-1"]
    );
}

#[test]
fn what_is_shown_can_be_read() {
    let text = MODERN.map(|help| help.split_once("\n\n").unwrap().1).join("---\n");
    let manifest = check(&text, &[]);
    assert_eq!(
        objects(&manifest),
        ["GatewayClass acme-lb", "Gateway default/my-gateway", "HTTPRoute default/http-app-1"]
    );
}

#[test]
fn a_route_without_its_gateway_names_the_gateways_that_it_lists_or_a_name_to_fill_in() {
    let route = |spec: &str| {
        let text = format!(
            "kind: HTTPRoute\napiVersion: networking.x-k8s.io/v1alpha1\nmetadata: {{name: a}}\n{spec}\n"
        );
        parse("test.yaml", &text).problems[0].help.clone().unwrap()
    };
    let help = route("spec: {gateways: {gatewayRefs: [{name: g, namespace: infra}]}}");
    assert!(help.ends_with("  parentRefs:\n  - namespace: infra\n    name: g\n"), "{help}");
    let help = route("");
    assert!(
        help.starts_with(
            "today it is written like this, with the name of its Gateway in `parentRefs`:"
        ),
        "{help}"
    );
    assert!(help.ends_with("  - name: name-of-the-gateway\n"), "{help}");
}

#[test]
fn an_object_that_is_there_in_both_shapes_is_there() {
    let text = format!("{FIRST}---\n{}", MODERN[2].split_once("\n\n").unwrap().1);
    let manifest = parse("test.yaml", &text);
    assert_eq!(objects(&manifest), ["HTTPRoute default/http-app-1"]);
    assert_eq!(refused(&manifest), ["GatewayClass acme-lb", "Gateway default/my-gateway"]);
}

#[test]
fn other_kinds_of_the_first_group_are_errors_too() {
    let text = "kind: TcpRoute\napiVersion: networking.x-k8s.io/v1alpha1\nmetadata: {name: a}\n";
    let manifest = check(
        text,
        &[
            "2:13 error: apiVersion: `networking.x-k8s.io/v1alpha1` is the first shape of the Gateway API, which is no longer read",
        ],
    );
    assert!(!manifest.broken);
    assert!(manifest.problems[0].help.as_deref().unwrap().contains("`parentRefs`"));
}
