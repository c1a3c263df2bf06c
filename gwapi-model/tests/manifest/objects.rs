//! What objects are, and what is wrong with them.

use gwapi_model::Resource;
use gwapi_model::manifest::{Located, Position, Severity, parse};

use super::{GATEWAY, ROUTE, SERVICE, check, help, objects, refused};

#[test]
fn defaults_are_those_of_an_api_server() {
    let manifest = check(GATEWAY, &[]);
    let metadata = manifest.objects[0].resource.metadata();
    assert_eq!((&*metadata.namespace, metadata.generation), ("default", 1));
    let text = GATEWAY.replace("  name: edge", "  name: edge\n  namespace: infra\n  generation: 7");
    let manifest = check(&text, &[]);
    let metadata = manifest.objects[0].resource.metadata();
    assert_eq!((&*metadata.namespace, metadata.generation), ("infra", 7));
}

#[test]
fn the_wrong_type_is_told_with_what_was_expected() {
    for (old, new, problem) in [
        (
            "port: 80",
            "port: 70000",
            "14:13 error: HTTPRoute default/shop: spec.rules[0].backendRefs[0].port: expected a port from 1 to 65535, found integer 70000",
        ),
        (
            "port: 80",
            "port: http",
            "14:13 error: HTTPRoute default/shop: spec.rules[0].backendRefs[0].port: expected a port from 1 to 65535, found string \"http\"",
        ),
        (
            "port: 80",
            "port: 80.5",
            "14:13 error: HTTPRoute default/shop: spec.rules[0].backendRefs[0].port: expected a port from 1 to 65535, found number 80.5",
        ),
        (
            "port: 80",
            "weight: 3000000000",
            "14:15 error: HTTPRoute default/shop: spec.rules[0].backendRefs[0].weight: expected an integer from -2147483648 to 2147483647, found integer 3000000000",
        ),
        (
            "port: 80",
            "weight: [1]",
            "14:15 error: HTTPRoute default/shop: spec.rules[0].backendRefs[0].weight: expected an integer, found a list",
        ),
        (
            "[shop.example.com]",
            "shop.example.com",
            "8:14 error: HTTPRoute default/shop: spec.hostnames: expected a list, found string \"shop.example.com\"",
        ),
        (
            "[shop.example.com]",
            "[8]",
            "8:15 error: HTTPRoute default/shop: spec.hostnames[0]: expected a string, found integer 8",
        ),
        (
            "{type: PathPrefix, value: /cart}",
            "/cart",
            "11:13 error: HTTPRoute default/shop: spec.rules[0].matches[0].path: expected a map, found string \"/cart\"",
        ),
        (
            "  parentRefs:\n  - name: edge\n",
            "  parentRefs:\n    name: edge\n",
            "7:5 error: HTTPRoute default/shop: spec.parentRefs: expected a list, found a map",
        ),
        (
            "  name: shop\n",
            "  name: shop\n  creationTimestamp: yesterday\n",
            "5:22 error: HTTPRoute default/shop: metadata.creationTimestamp: expected a time such as 2024-01-31T12:00:00Z, found string \"yesterday\"",
        ),
    ] {
        let manifest = check(&ROUTE.replacen(old, new, 1), &[problem]);
        assert_eq!(refused(&manifest), ["HTTPRoute default/shop"], "{problem}");
        assert!(!manifest.broken);
    }
}

#[test]
fn help_tells_what_to_write_where_something_is_missing_or_out_of_range() {
    let port = "write the number of the port, such as 8080";
    assert_eq!(help(&ROUTE.replace("port: 80", "port: 70000")), port);
    assert_eq!(help(&ROUTE.replace("port: 80", "port: http")), port);
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\n";
    assert_eq!(help(gateway), "add `spec: ...` here");
    let listeners: String = (0..66)
        .map(|port| format!("  - {{name: l{port}, protocol: HTTP, port: {}}}\n", 8000 + port))
        .collect();
    let spec = format!("{gateway}spec:\n  gatewayClassName: a\n  listeners:\n{listeners}");
    assert_eq!(help(&spec), "move 2 of them to another Gateway");
}

#[test]
fn help_tells_to_add_or_remove_quotes() {
    let config_map = |value: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{x: {value}}}\n")
    };
    assert_eq!(help(&config_map("8080")), "put it in quotes: \"8080\"");
    assert_eq!(help(&config_map("0x1F")), "put it in quotes: \"0x1F\"");
    assert_eq!(help(&config_map("true")), "put it in quotes: \"true\"");
    assert_eq!(help(&config_map("1.10")), "put it in quotes: \"1.10\"");
    assert_eq!(help(&ROUTE.replace("port: 80", "port: \"80\"")), "remove the quotes: 80");
    assert_eq!(
        help(&ROUTE.replace("port: 80", "port: 80\n      weight: '5'")),
        "remove the quotes: 5"
    );
    check(&config_map("yes"), &[]);
    check(&config_map("on"), &[]);
}

#[test]
fn every_wrong_value_of_an_object_is_told() {
    let text = ROUTE
        .replace("port: 80", "port: http\n      weight: heavy")
        .replace("[shop.example.com]", "[1, shop.example.com, 2]")
        .replace("- name: edge", "- nam: edge");
    check(
        &text,
        &[
            "7:5 error: HTTPRoute default/shop: spec.parentRefs[0]: missing field `name`",
            "7:5 error: HTTPRoute default/shop: spec.parentRefs[0]: unknown field `nam`",
            "8:15 error: HTTPRoute default/shop: spec.hostnames[0]: expected a string, found integer 1",
            "8:36 error: HTTPRoute default/shop: spec.hostnames[2]: expected a string, found integer 2",
            "14:13 error: HTTPRoute default/shop: spec.rules[0].backendRefs[0].port: expected a port from 1 to 65535, found string \"http\"",
            "15:15 error: HTTPRoute default/shop: spec.rules[0].backendRefs[0].weight: expected an integer, found string \"heavy\"",
        ],
    );
}

#[test]
fn unknown_fields_of_gateway_kinds_are_errors_that_name_the_known_ones() {
    let text = ROUTE.replace("hostnames:", "hostname:");
    check(&text, &["8:3 error: HTTPRoute default/shop: spec: unknown field `hostname`"]);
    assert_eq!(
        help(&text),
        "did you mean `hostnames`? The fields here are: parentRefs, hostnames, rules, useDefaultGateways"
    );
    let text = ROUTE.replace("backendRefs:", "forwardTo:");
    assert!(
        help(&text).starts_with("did you mean `backendRefs`? The fields here are: name, matches")
    );
    let text = format!("{ROUTE}extra: 1\nstatus: {{parents: [], anything: 1}}\n");
    check(&text, &["15:1 error: HTTPRoute default/shop: unknown field `extra`"]);
    assert_eq!(help(&text), "the fields here are: metadata, spec");
}

/// whoever misspells `tls` is not sent anything in the clear.
#[test]
fn unknown_fields_of_experimental_kinds_are_errors_too() {
    let text = "\
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata:
  name: outside
spec:
  type: ExternalHostname
  externalHostname: {hostname: api.example.com}
  port: {number: 443}
  tsl: {mode: None}
";
    check(text, &["9:3 error: XBackend default/outside: spec: unknown field `tsl`"]);
}

#[test]
fn unknown_fields_of_selectors_are_errors_because_they_would_select_everything() {
    let text = GATEWAY.to_owned()
        + "    allowedRoutes:\n      namespaces:\n        from: Selector\n        selector: {matchLabel: {a: b}}\n";
    check(
        &text,
        &[
            "14:20 error: Gateway default/edge: spec.listeners[0].allowedRoutes.namespaces.selector: unknown field `matchLabel`",
        ],
    );
}

#[test]
fn unknown_metadata_is_a_warning_unless_kubernetes_knows_it() {
    let text = ROUTE
        .replace("  name: shop\n", "  name: shop\n  uid: x\n  managedFields: []\n  lables: {}\n");
    let manifest =
        check(&text, &["7:3 warning: HTTPRoute default/shop: metadata: unknown field `lables`"]);
    assert_eq!(objects(&manifest), ["HTTPRoute default/shop"]);
    assert!(help(&text).starts_with("did you mean `labels`?"));
}

#[test]
fn fields_of_core_kinds_that_only_kubernetes_reads_are_fine() {
    for text in [
        "apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  sessionAffinity: None
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}
  clusterIPs: [None]
  trafficDistribution: PreferClose
  ports: [{name: http, port: 80, targetPort: web, nodePort: 30080, appProtocol: http}]
status: {loadBalancer: {}}
",
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web}
addressType: IPv4
endpoints:
  - addresses: [10.0.0.1]
    conditions: {ready: true, serving: true, terminating: false}
    hostname: web
    nodeName: one
    zone: here
    deprecatedTopology: {}
    hints: {forZones: [{name: here}]}
    targetRef: {kind: Pod, namespace: default, name: web-0, uid: u}
ports: [{name: http, port: 80, protocol: TCP, appProtocol: http}]
",
        "apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets:
  - addresses: [{ip: 10.0.0.1, hostname: web, nodeName: one, targetRef: {fieldPath: p, name: n}}]
    notReadyAddresses: []
    ports: [{port: 80, appProtocol: http}]
",
        "{apiVersion: v1, kind: Secret, metadata: {name: s}, type: Opaque, immutable: true, data: {}}",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, immutable: true, binaryData: {}}",
        "{apiVersion: v1, kind: Namespace, metadata: {name: n}, spec: {finalizers: [kubernetes]}}",
    ] {
        check(text, &[]);
    }
}

#[test]
fn unknown_fields_of_core_kinds_are_warnings_that_name_the_known_ones() {
    let text = SERVICE.replace("spec:\n", "spec:\n  selctor: {app: web}\n");
    let manifest = parse("test.yaml", &text);
    let [problem] = manifest.problems.as_slice() else { panic!("{:#?}", manifest.problems) };
    assert_eq!(problem.severity, Severity::Warning);
    assert_eq!(problem.message, "unknown field `selctor`");
    assert_eq!(problem.field.as_deref(), Some("spec"));
    assert!(help(&text).starts_with("did you mean `selector`? The fields here are: type, "));
    assert_eq!(manifest.objects.len(), 1);

    check(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web}
addressType: IPv4
endpoints:
  - addresses: [10.0.0.1]
    condition: {ready: false}
",
        &["7:5 warning: EndpointSlice default/web: endpoints[0]: unknown field `condition`"],
    );
    check(
        "apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets:
  - addresses: [{ip: 10.0.0.1, host: web}]
    port: [{port: 80}]
",
        &[
            "5:32 warning: Endpoints default/web: subsets[0].addresses[0]: unknown field `host`",
            "6:5 warning: Endpoints default/web: subsets[0]: unknown field `port`",
        ],
    );
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: s}, stringdata: {key: hunter2}}";
    check(secret, &["1:53 warning: Secret default/s: unknown field `stringdata`"]);
    assert_eq!(
        help(secret),
        "did you mean `stringData`? The fields here are: metadata, type, data, stringData, immutable"
    );
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, dta: {}}",
        &["1:56 warning: ConfigMap default/c: unknown field `dta`"],
    );
    check(
        "{apiVersion: v1, kind: Namespace, metadata: {name: n}, specs: {}}",
        &["1:56 warning: Namespace n: unknown field `specs`"],
    );
}

#[test]
fn a_null_field_counts_as_absent() {
    let text = ROUTE
        .replace("hostnames: [shop.example.com]", "hostnames:")
        .replace("  name: shop\n", "  name: shop\n  creationTimestamp: null\n  labels:\n")
        .replace("- name: edge\n", "- name: edge\n    sectionName: ~\n");
    check(&text, &[]);
    let text = ROUTE.replace("- name: edge\n", "- name:\n");
    check(&text, &["7:5 error: HTTPRoute default/shop: spec.parentRefs[0]: missing field `name`"]);
}

#[test]
fn missing_fields_are_told_at_the_map_that_lacks_them() {
    for (text, problem) in [
        (
            GATEWAY.replace("    protocol: HTTP\n", ""),
            "8:5 error: Gateway default/edge: spec.listeners[0]: missing field `protocol`",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\n".into(),
            "1:1 error: Gateway default/a: missing field `spec`",
        ),
    ] {
        check(&text, &[problem]);
    }
}

#[test]
fn an_object_without_a_name_breaks_the_file() {
    for (metadata, problem) in [
        ("metadata: {namespace: a}", "3:11 error: metadata: missing field `name`"),
        ("metadata: {name: 5}", "3:18 error: metadata.name: expected a string, found integer 5"),
        ("metadata:", "3:1 error: missing field `metadata`"),
        ("data: {}", "1:1 error: missing field `metadata`"),
        ("metadata: a", "3:11 error: metadata: expected a map, found string \"a\""),
    ] {
        let manifest = check(&format!("apiVersion: v1\nkind: ConfigMap\n{metadata}\n"), &[problem]);
        assert!(manifest.broken, "{metadata}");
        assert!(manifest.objects.is_empty() && manifest.refused.is_empty(), "{metadata}");
    }
}

#[test]
fn a_name_that_an_api_server_would_refuse_is_refused() {
    let manifest = check(
        &SERVICE.replace("name: shop", "name: my_shop"),
        &[
            "4:9 error: Service default/my_shop: metadata.name: `my_shop` is not a name: expected lower-case letters, digits and `-`, with a letter or digit at both ends",
        ],
    );
    assert_eq!(refused(&manifest), ["Service default/my_shop"]);
}

#[test]
fn what_is_no_object_breaks_the_file() {
    for (text, problem) in [
        ("a: 1\n", "1:1 error: missing field `kind`: this is no Kubernetes object"),
        ("kind: Gateway\n", "1:1 error: missing field `apiVersion`: this is no Kubernetes object"),
        ("kind: 1\napiVersion: v1\n", "1:7 error: kind: expected a string"),
        ("- a\n", "1:1 error: expected a Kubernetes object, found a list"),
        ("just text\n", "1:1 error: expected a Kubernetes object, found a single value"),
        ("5\n", "1:1 error: expected a Kubernetes object, found a single value"),
    ] {
        assert!(check(text, &[problem]).broken, "{text}");
    }
}

#[test]
fn a_kind_in_the_wrong_group_is_told_its_group() {
    let text = GATEWAY.replace("gateway.networking.k8s.io/v1", "v1");
    assert!(check(&text, &["1:13 error: apiVersion: there is no Gateway in `v1`"]).broken);
    assert_eq!(help(&text), "write `apiVersion: gateway.networking.k8s.io/v1`");
    let text = ROUTE.replace("HTTPRoute", "HttpRoute");
    check(&text, &["2:7 error: kind: the Gateway API has no kind `HttpRoute`"]);
    assert_eq!(help(&text), "did you mean `HTTPRoute`?");
}

#[test]
fn old_versions_are_read_as_v1_with_a_warning() {
    for (version, gone) in [("v1beta1", ""), ("v1alpha2", " that clusters no longer serve")] {
        let text = GATEWAY.replace("k8s.io/v1", &format!("k8s.io/{version}"));
        let manifest = check(
            &text,
            &[&format!(
                "1:13 warning: Gateway default/edge: apiVersion: `gateway.networking.k8s.io/{version}` is an old version{gone}, read as `gateway.networking.k8s.io/v1`"
            )],
        );
        assert_eq!(objects(&manifest), ["Gateway default/edge"]);
    }
    let text = "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\n";
    let manifest = check(
        text,
        &[
            "1:13 warning: EndpointSlice default/a: apiVersion: `discovery.k8s.io/v1beta1` is an old version that clusters no longer serve, read as `discovery.k8s.io/v1`",
        ],
    );
    assert_eq!(objects(&manifest), ["EndpointSlice default/a"]);
}

#[test]
fn a_namespace_on_a_cluster_scoped_object_is_dropped_with_a_warning() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n";
    let manifest = check(
        text,
        &["3:32 warning: Namespace a: metadata.namespace: a Namespace lives in no namespace"],
    );
    assert_eq!(objects(&manifest), ["Namespace a"]);
    assert_eq!(&*manifest.objects[0].resource.metadata().namespace, "");
}

#[test]
fn lists_are_taken_apart() {
    let text = format!(
        "apiVersion: v1\nkind: List\nitems:\n{}{}- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {{name: d}}\n",
        item(SERVICE),
        item(ROUTE),
    );
    let manifest = check(&text, &[]);
    assert_eq!(objects(&manifest), ["Service default/shop", "HTTPRoute default/shop"]);
    assert_eq!(manifest.objects[0].position, Position { line: 4, column: 3 });
    assert_eq!(manifest.objects[1].position, Position { line: 11, column: 3 });
    assert_eq!(manifest.foreign[0].name, "d");
    check("apiVersion: v1\nkind: List\n", &[]);
    check("apiVersion: v1\nkind: List\nitems: []\n", &[]);
}

#[test]
fn items_of_typed_lists_need_no_kind() {
    let text = "\
apiVersion: v1
kind: NamespaceList
metadata: {resourceVersion: ''}
items:
- metadata: {name: a}
- metadata: {name: B}
- 7
";
    let manifest = check(
        text,
        &[
            "6:20 error: Namespace B: metadata.name: `B` is not a name: expected lower-case letters, digits and `-`, with a letter or digit at both ends",
            "7:3 error: expected a Kubernetes object, found a single value",
        ],
    );
    assert_eq!(objects(&manifest), ["Namespace a"]);
    assert_eq!(refused(&manifest), ["Namespace B"]);
    assert!(manifest.broken);
}

#[test]
fn a_list_whose_items_are_no_list_breaks_the_file() {
    let text = "apiVersion: v1\nkind: List\nitems: {a: b}\n";
    assert!(check(text, &["3:8 error: items: expected a list of objects"]).broken);
}

#[test]
fn objects_of_other_kinds_are_named() {
    let text = "\
apiVersion: gateway.networking.k8s.io/v1alpha1
kind: MeshPolicy
metadata: {name: more}
---
apiVersion: example.com/v1
kind: AllowList
spec: {}
";
    let manifest = check(text, &[]);
    let found: Vec<_> = manifest
        .foreign
        .iter()
        .map(|object| {
            format!(
                "{} {} {:?} {}",
                object.api_version, object.kind, object.name, object.position.line
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            "gateway.networking.k8s.io/v1alpha1 MeshPolicy \"more\" 1",
            "example.com/v1 AllowList \"\" 5"
        ]
    );
}

#[test]
fn the_second_of_two_objects_with_one_name_is_an_error() {
    let text = format!("{SERVICE}---\n{SERVICE}");
    let manifest =
        check(&text, &["12:9 error: Service default/shop: this object stands twice in the text"]);
    assert_eq!(objects(&manifest), ["Service default/shop"]);
    assert!(manifest.refused.is_empty());
    assert_eq!(
        help(&text),
        "remove one of the two: the first one starts at line 1, column 1, and counts"
    );
    let elsewhere = SERVICE.replace("name: shop", "name: shop\n  namespace: other");
    check(&format!("{SERVICE}---\n{elsewhere}"), &[]);
}

#[test]
fn violations_are_told_at_the_innermost_value_that_exists() {
    let text = ROUTE.replace("value: /cart", "value: cart");
    let manifest = super::parse("test.yaml", &text);
    let problem = &manifest.problems[0];
    assert_eq!(problem.field.as_deref(), Some("spec.rules[0].matches[0].path.value"));
    assert_eq!(problem.position, Some(Position { line: 11, column: 39 }));
    assert_eq!(&text[problem.span.clone()], "cart");
    assert_eq!(refused(&manifest), ["HTTPRoute default/shop"]);
}

#[test]
fn a_span_ends_on_its_first_line() {
    let text = GATEWAY.replace("    protocol: HTTP\n", "");
    let manifest = super::parse("test.yaml", &text);
    assert_eq!(&text[manifest.problems[0].span.clone()], "name: http");
}

#[test]
fn secrets_are_decoded_and_never_repeated_in_messages() {
    let secret =
        |data: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\n{data}\n");
    let manifest = check(&secret("data: {x: Z2VoZWlt}\nstringData: {y: geheim}"), &[]);
    let Resource::Secret(found) = &manifest.objects[0].resource else { panic!("{manifest:?}") };
    assert_eq!(found.data["x"].expose(), b"geheim");
    assert_eq!(found.data["x"], found.data["y"]);
    for (data, problem) in [
        (
            "data: {x: geheim}",
            "4:11 error: Secret default/a: data.x: not base64: `data` holds base64 text, `stringData` holds clear text",
        ),
        (
            "data: {x: 1234567}",
            "4:11 error: Secret default/a: data.x: expected a string, found integer",
        ),
        (
            "stringData: geheim",
            "4:13 error: Secret default/a: stringData: expected a map, found string",
        ),
        (
            "stringData: {x: true}",
            "4:17 error: Secret default/a: stringData.x: expected a string, found boolean",
        ),
    ] {
        let manifest = check(&secret(data), &[problem]);
        let shown = format!("{manifest:?}");
        assert!(!shown.contains("geheim") && !shown.contains("1234567"), "{shown}");
    }
}

#[test]
fn a_generated_name_is_no_name() {
    let text = SERVICE.replace("name: shop", "generateName: shop-");
    check(&text, &["4:3 error: metadata: missing field `name`"]);
    assert_eq!(help(&text), "names are not generated here: write `name`");
}

#[test]
fn a_problem_is_one_line_whatever_names_hold() {
    let text = ROUTE.replace("  name: shop\n", "  name: \"a\\nb\"\n  labels: {\"c\\td\": 5}\n");
    check(
        &text,
        &[
            "5:20 error: HTTPRoute default/a\\nb: metadata.labels.c\\td: expected a string, found integer 5",
        ],
    );
}

#[test]
fn numbers_and_names_are_both_target_ports() {
    check(&SERVICE.replace("port: 80", "port: 80\n    targetPort: http"), &[]);
    check(&SERVICE.replace("port: 80", "port: 80\n    targetPort: 8080"), &[]);
    check(
        &SERVICE.replace("port: 80", "port: 80\n    targetPort: [1]"),
        &[
            "8:17 error: Service default/shop: spec.ports[0].targetPort: expected an integer or a string, found a list",
        ],
    );
}

#[test]
fn long_and_odd_texts_are_cut_and_escaped_in_messages() {
    let text = ROUTE.replace("hostnames:", &format!("\"a\\nb{}\":", "x".repeat(100)));
    let shown = format!("a\\nb{}…", "x".repeat(57));
    check(&text, &[&format!("8:3 error: HTTPRoute default/shop: spec: unknown field `{shown}`")]);
}

/// A document as an item of a list.
fn item(document: &str) -> String {
    let mut lines = document.lines();
    let first = lines.next().map(|line| format!("- {line}\n")).unwrap_or_default();
    first + &lines.map(|line| format!("  {line}\n")).collect::<String>()
}

#[test]
fn what_stands_in_for_a_policy_is_as_old_as_it_and_for_the_same_ports() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n\
                metadata: {name: web, namespace: shop, creationTimestamp: '2026-01-31T12:00:00Z'}\n\
                spec:\n  targetRefs:\n  - {group: '', kind: Service, name: web, sectionName: https}\n  \
                - {group: example.com, kind: Service, name: other}\n  - {name: api}\n  validation: 7\n";
    let manifest = parse("policy.yaml", text);
    let [Located { resource: Resource::BackendTlsPolicy(policy), .. }] = &*manifest.stand_ins
    else {
        panic!("one policy: {:?}", manifest.stand_ins)
    };
    assert_eq!((&*policy.metadata.namespace, &*policy.metadata.name), ("shop", "web"));
    assert_eq!(policy.metadata.creation_timestamp, "2026-01-31T12:00:00Z".parse().ok());
    let targets = policy.spec.target_refs.iter();
    let targets: Vec<_> = targets.map(|it| (&*it.name, it.section_name.as_deref())).collect();
    assert_eq!(targets, [("web", Some("https")), ("api", None)]);
}
