//! What lint finds, and what it leaves alone, of manifests as people write them.

use std::path::Path;

use gwapi_model::{Resources, manifest};
use gwapi_translate::lint::{Finding, Lint, lint};
use gwapi_translate::{Options, translate};

/// A class, and a Gateway `web` with listeners for every host, for `*.example.com` and for
/// `www.example.com`.
const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gwapi}
spec: {controllerName: gwapi.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: gwapi
  listeners:
    - {name: any, port: 80, protocol: HTTP}
    - {name: wild, port: 80, protocol: HTTP, hostname: '*.example.com'}
    - {name: www, port: 80, protocol: HTTP, hostname: www.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{name: http, port: 80, targetPort: 8080}, {name: tls, port: 443}]}
";

fn findings(text: &str) -> Vec<Finding> {
    let manifest = manifest::parse("test.yaml", text);
    let problems: Vec<_> = manifest.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:#?}");
    let resources: Resources = manifest.objects.into_iter().map(|it| it.resource).collect();
    let options = Options::default();
    lint(&resources, &translate(&resources, &options), &options)
}

/// A line for each finding, one for each that it has to do with, and one for the advice.
fn shown(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for it in findings {
        lines.push(format!("{}: {} {}: {}", it.lint.code(), it.object, it.field, it.message));
        lines.extend(
            it.related.iter().map(|it| format!("  {} {}: {}", it.object, it.field, it.message)),
        );
        lines.extend(it.help.iter().map(|help| format!("  help: {help}")));
    }
    lines.join("\n")
}

/// Checks what is found in documents beside [`GATEWAY`].
#[track_caller]
fn check(documents: &[String], expected: &str) {
    let text = format!("{GATEWAY}---\n{}", documents.join("\n---\n"));
    assert_eq!(shown(&findings(&text)), expected.trim());
}

/// A route of `web`; `spec` is flow style without the braces.
fn route(name: &str, section: &str, spec: &str) -> String {
    let section = if section.is_empty() { "" } else { &format!(", sectionName: {section}") };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\n\
         spec: {{parentRefs: [{{name: web{section}}}], {spec}}}"
    )
}

/// A rule with this path match that sends to the Service `a`.
fn rule(path: &str) -> String {
    format!("{{matches: [{{path: {{{path}}}}}], backendRefs: [{{name: a, port: 80}}]}}")
}

const PREFIX_A: &str = "type: PathPrefix, value: /a";

#[test]
fn good_manifests_have_no_findings() {
    let rules = format!("rules: [{}, {}]", rule(PREFIX_A), rule("type: PathPrefix, value: /"));
    check(&[route("good", "any", &rules)], "");
}

/// HR-2
#[test]
fn of_two_routes_for_the_same_path_the_second_one_never_wins() {
    let rules = format!("rules: [{}]", rule(PREFIX_A));
    check(
        &[route("first", "any", &rules), route("second", "any", &rules)],
        "
shadowed-match: HTTPRoute default/second spec.rules[0].matches[0]: this match never takes a request: rules[0].matches[0] of HTTPRoute default/first comes first
  HTTPRoute default/first spec.rules[0].matches[0]: this takes them: its route comes first by namespace and name
  help: remove it, or let it ask for more than the other one: a longer or an exact path, a method, headers, query parameters
",
    );
}

/// HR-2
#[test]
fn a_rule_behind_a_broader_one_is_told_with_what_comes_first() {
    let get = "{matches: [{path: {type: PathPrefix, value: /a}, method: GET}], \
               backendRefs: [{name: a, port: 80}]}";
    let rules = format!("rules: [{}, {}, {get}]", rule(PREFIX_A), rule(PREFIX_A));
    check(
        &[route("web", "any", &rules)],
        "
shadowed-match: HTTPRoute default/web spec.rules[1].matches[0]: this match never takes a request: rules[0].matches[0] comes first
  HTTPRoute default/web spec.rules[0].matches[0]: this takes them: it stands first in the route
  help: remove it, or let it stand first or ask for something that the first one does not
",
    );
}

/// HR-3
#[test]
fn a_regular_expression_hides_prefixes_however_long_they_are() {
    let rules = format!(
        "rules: [{}, {}, {}]",
        rule("type: PathPrefix, value: /a/b/c"),
        rule("type: RegularExpression, value: /a/.*"),
        rule("type: Exact, value: /a/b"),
    );
    check(
        &[route("web", "any", &rules)],
        "
shadowed-match: HTTPRoute default/web spec.rules[0].matches[0]: this match never takes a request: rules[1].matches[0] comes first
  HTTPRoute default/web spec.rules[1].matches[0]: this takes them: a regular expression comes before every prefix, however long that is
  help: write it as a longer regular expression or as an exact path, or give the other one a prefix
",
    );
}

/// HR-1, RT-5
#[test]
fn a_more_specific_hostname_hides_a_match_where_it_takes_every_host_of_the_listener() {
    let rules = format!("rules: [{}]", rule(PREFIX_A));
    let specific = route("specific", "www", &format!("hostnames: ['*.example.com'], {rules}"));
    let general = route("general", "www", &rules);
    let elsewhere = route("elsewhere", "wild", &rules);
    check(
        &[specific, general, elsewhere],
        "
shadowed-match: HTTPRoute default/general spec.rules[0].matches[0]: this match never takes a request: rules[0].matches[0] of HTTPRoute default/specific comes first
  HTTPRoute default/specific spec.rules[0].matches[0]: this takes them: its hostname is more specific
  help: give this route that hostname as well, or remove it
",
    );
}

/// LI-2
#[test]
fn a_more_specific_listener_hides_routes_of_another_one() {
    let rules = format!("rules: [{}]", rule(PREFIX_A));
    check(
        &[route("web", "wild", &format!("hostnames: [www.example.com], {rules}"))],
        "
shadowed-match: HTTPRoute default/web spec.rules[0].matches[0]: this match never takes a request: listener www of Gateway default/web comes first
  Gateway default/web spec.listeners[2]: this listener takes them: its hostname is more specific, and no request for its hosts goes to another listener of the port
  help: attach the route to that listener as well, or remove the hostname or the route
",
    );
}

#[test]
fn a_match_that_wins_on_one_listener_of_several_is_not_told() {
    let rules = format!("rules: [{}]", rule(PREFIX_A));
    check(&[route("first", "any", &rules), route("second", "", &rules)], "");
}

#[test]
fn a_route_of_which_nothing_ever_wins_is_told_at_once() {
    let rules = format!("rules: [{}, {}]", rule(PREFIX_A), rule("type: Exact, value: /b"));
    let findings = findings(&format!(
        "{GATEWAY}---\n{}\n---\n{}",
        route("first", "any", &rules),
        route("second", "any", &rules)
    ));
    let [finding] = &findings[..] else { panic!("{}", shown(&findings)) };
    assert_eq!(finding.field.to_string(), "spec.rules");
    assert!(finding.message.starts_with("no rule of this route ever takes a request"));
    assert_eq!(finding.related.len(), 2);
}

/// L4-3
#[test]
fn of_two_tcp_routes_of_a_listener_the_second_one_gets_no_connection() {
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: tcp}\n\
         spec: {gatewayClassName: gwapi, listeners: [{name: tcp, port: 5432, protocol: TCP}]}";
    let tcp = |name: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {{name: {name}}}\n\
             spec: {{parentRefs: [{{name: tcp}}], rules: [{{backendRefs: [{{name: a, port: 80}}]}}]}}"
        )
    };
    check(
        &[gateway.to_owned(), tcp("one"), tcp("two")],
        "
shadowed-match: TCPRoute default/two spec.rules[0]: this route never gets a connection: rules[0] of TCPRoute default/one comes first
  TCPRoute default/one spec.rules[0]: this takes them: its route comes first by namespace and name
  help: remove it, or attach it to a listener of its own: of several such routes a listener serves the first
",
    );
}

/// HM-7
#[test]
fn a_match_on_what_no_request_has_is_told() {
    let rules = "rules: [{matches: [{method: CONNECT}, {headers: [{name: a_b, value: c}]}, {method: GET}], \
                 backendRefs: [{name: a, port: 80}]}]";
    check(
        &[route("web", "any", rules)],
        "
impossible-match: HTTPRoute default/web spec.rules[0].matches[0]: no request satisfies this: method CONNECT is always answered with 405
impossible-match: HTTPRoute default/web spec.rules[0].matches[1]: no request satisfies this: headers with `_` in their name do not get as far as matching
",
    );
}

/// RT-5
#[test]
fn a_hostname_that_no_listener_of_the_route_takes_is_told() {
    let rules = format!("rules: [{}]", rule(PREFIX_A));
    let hostnames = "hostnames: [www.example.com, ww.example.com, other.org]";
    check(
        &[route("web", "www", &format!("{hostnames}, {rules}"))],
        "
hostname-outside-listener: HTTPRoute default/web spec.hostnames[1]: no listener that this route is attached to takes `ww.example.com`
  help: did you mean `www.example.com`? Its listeners take: www.example.com
hostname-outside-listener: HTTPRoute default/web spec.hostnames[2]: no listener that this route is attached to takes `other.org`
  help: its listeners take: www.example.com
",
    );
}

/// HB-1, HB-3
#[test]
fn backends_that_do_not_exist_are_told_with_what_does() {
    let rules = "rules: [{backendRefs: [{name: a, port: 81}, {name: a, port: 8080}, {name: aa, port: 80}, \
                 {name: a, port: 443}]}]";
    check(
        &[route("web", "any", rules)],
        "
unknown-backend-port: HTTPRoute default/web spec.rules[0].backendRefs[0].port: Service default/a has no port 81
  Service default/a spec.ports: these are the ports that it has
  help: its ports are: 80, 443
unknown-backend-port: HTTPRoute default/web spec.rules[0].backendRefs[1].port: Service default/a has no port 8080
  Service default/a spec.ports: these are the ports that it has
  help: 8080 is the targetPort of its port 80: routes name the port of the Service
unknown-backend: HTTPRoute default/web spec.rules[0].backendRefs[2].name: there is no Service default/aa
  help: did you mean `a`?
",
    );
}

/// RG-5
#[test]
fn of_a_backend_that_no_grant_permits_nothing_is_told() {
    let rules = "rules: [{backendRefs: [{name: gone, namespace: other, port: 81}]}]";
    check(&[route("web", "any", rules)], "");
}

/// HB-2, HB-5
#[test]
fn rules_that_can_only_answer_500_are_told() {
    let rules = "rules: [\
        {matches: [{path: {value: /a}}], backendRefs: [{name: a, port: 80, weight: 0}]}, \
        {matches: [{path: {value: /b}}]}, \
        {matches: [{path: {value: /c}}], filters: [{type: RequestRedirect, requestRedirect: {statusCode: 301, scheme: https}}]}, \
        {matches: [{path: {value: /d}}], backendRefs: [{name: a, port: 80, weight: 0}, {name: a, port: 443}]}]";
    check(
        &[route("web", "any", rules)],
        "
zero-weights: HTTPRoute default/web spec.rules[0].backendRefs: no backend of this rule has a weight above 0: its requests are answered with 500
  help: give one of them a weight; without a weight it has 1
no-backends: HTTPRoute default/web spec.rules[1]: this rule has neither backends nor a redirect: its requests are answered with 500
  help: name a Service in backendRefs, or add a filter RequestRedirect
",
    );
}

fn grant(name: &str, from: &str, to: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\n\
         metadata: {{name: {name}, namespace: other}}\nspec: {{from: [{from}], to: [{to}]}}"
    )
}

fn from(kind: &str, namespace: &str) -> String {
    format!("{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {namespace}}}")
}

/// RG-1, RG-2
#[test]
fn grants_that_no_reference_needs_are_told() {
    let service = "{group: '', kind: Service}";
    let pod = "{group: '', kind: Pod}";
    let user =
        route("web", "any", "rules: [{backendRefs: [{name: b, namespace: other, port: 80}]}]");
    let b = "apiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: other}\n\
             spec: {ports: [{port: 80}]}";
    let route = from("HTTPRoute", "default");
    check(
        &[
            user,
            b.to_owned(),
            grant("used", &route, service),
            grant("in-part", &format!("{route}, {}", from("GRPCRoute", "default")), service),
            grant("entry", &route, "{group: '', kind: Service, name: b}, {group: '', kind: Secret}"),
            grant("elsewhere", &from("HTTPRoute", "nowhere"), service),
            grant("own", &from("HTTPRoute", "other"), service),
            grant("misspelt", &from("HttpRoute", "default"), service),
            grant("foreign", &route, pod),
        ],
        "
unused-grant: ReferenceGrant other/elsewhere spec: no reference needs this grant
  help: remove it, or check group, kind, namespace and name: each has to be equal
unused-grant: ReferenceGrant other/entry spec.to[1]: no reference to a Secret needs this grant
  help: remove it, or check group, kind, namespace and name: each has to be equal
unused-grant: ReferenceGrant other/in-part spec.from[1]: no GRPCRoute of namespace default needs this grant
  help: remove it, or check group, kind, namespace and name: each has to be equal
unused-grant: ReferenceGrant other/misspelt spec.from[0].kind: the Gateway API has no kind `HttpRoute`
  help: did you mean `HTTPRoute`?
unused-grant: ReferenceGrant other/own spec: it is for its own namespace alone
  help: remove it: references within a namespace need no grant
",
    );
}

/// LI-5
#[test]
fn a_certificate_that_is_good_for_another_listener_of_the_port_is_told() {
    // one.crt is for `one.example.com`, and wild.crt for `*.example.com`.
    let pem = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint").join(name);
        let text = std::fs::read_to_string(path).expect("it is there");
        text.lines().map(|line| format!("    {line}\n")).collect::<String>()
    };
    let secret = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\n\
             stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
            pem(&format!("{name}.crt")),
            pem(&format!("{name}.key"))
        )
    };
    let listener = |name: &str, secret: &str, port: u16| {
        format!(
            "{{name: {name}, port: {port}, protocol: HTTPS, hostname: {name}.example.com, \
             tls: {{certificateRefs: [{{name: {secret}}}]}}}}"
        )
    };
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: tls}}\n\
         spec: {{gatewayClassName: gwapi, listeners: [{}, {}, {}]}}",
        listener("one", "one", 443),
        listener("two", "wild", 443),
        listener("three", "wild", 444),
    );
    check(
        &[secret("one"), secret("wild"), gateway],
        "
overlapping-certificates: Gateway default/tls spec.listeners[1].tls: the certificate of listener two is good for `*.example.com`, and so for hosts of listener one on the same port: clients that use a connection again for those get 421
  Gateway default/tls spec.listeners[0].hostname: these hosts belong to this listener
  help: give each listener a certificate for its own hostnames alone, or serve all of them by one listener
",
    );
}

#[test]
fn what_a_cluster_would_refuse_is_told() {
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {name: a-1, labels: {kubernetes.io/service-name: a}}\naddressType: IPv4\n\
         endpoints: [{addresses: [10.0.0.1]}, {addresses: [127.0.0.1]}, {addresses: [0.0.0.0]}]\n\
         ports: [{port: 8080}]";
    let endpoints = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: b}\n\
         subsets: [{addresses: [{ip: 'fe80::1'}], ports: [{port: 80}]}]";
    let help = "  help: in a cluster Services get their endpoints from pods; on this machine alone \
                `gwapi run --backend` names them without a manifest";
    check(
        &[slice.to_owned(), endpoints.to_owned()],
        &format!(
            "
refused-by-a-cluster: EndpointSlice default/a-1 endpoints[1].addresses[0]: an API server takes no loopback address as an endpoint: not 127.0.0.1, nor 1 more of these
{help}
refused-by-a-cluster: Endpoints default/b subsets[0].addresses[0].ip: an API server takes no link-local address as an endpoint: not fe80::1
{help}
"
        ),
    );
}

#[test]
fn what_only_the_experimental_channel_has_is_noted() {
    let session = "{sessionPersistence: {cookie: {name: s}}, backendRefs: [{name: a, port: 80}]}";
    let findings = findings(&format!(
        "{GATEWAY}---\n{}",
        route("web", "any", &format!("useDefaultGateways: All, rules: [{session}]"))
    ));
    let fields: Vec<_> = findings.iter().map(|it| (it.lint, it.field.to_string())).collect();
    let expected = ["spec.rules[0].sessionPersistence", "spec.useDefaultGateways"];
    assert_eq!(fields, expected.map(|field| (Lint::ExperimentalChannel, field.to_owned())));
}

#[test]
fn a_namespace_that_is_missing_among_others_is_noted_once() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}";
    let service = |name: &str, namespace: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{ports: [{{port: 80}}]}}"
        )
    };
    let services =
        [service("a", "shop"), service("b", "shpo"), service("c", "shpo"), service("d", "default")];
    check(&services, "");
    check(
        &[namespace.to_owned()].into_iter().chain(services).collect::<Vec<_>>(),
        "
missing-namespace: Service shpo/b metadata.namespace: no Namespace `shpo` is among those that are here: a cluster has to have it before the objects in it, of which there are 2
  help: add the Namespace shpo, if nothing else makes it
",
    );
}
