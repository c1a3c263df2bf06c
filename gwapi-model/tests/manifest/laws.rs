//! What holds for every text.

use gwapi_model::manifest::{parse, render};
use gwapi_model::{
    Gateway, GatewaySpec, HttpBackendRef, HttpHeaderMatch, HttpPathMatch, HttpRoute,
    HttpRouteMatch, HttpRouteRule, HttpRouteSpec, Listener, ObjectMeta, ParentReference,
    PathMatchType, Port, Protocol, Resource,
};
use proptest::prelude::*;

use super::{GATEWAY, ROUTE, SERVICE};

/// Reads a text and checks what must hold whatever it says.
fn check_laws(text: &str) -> Result<(), TestCaseError> {
    let manifest = parse("test.yaml", text);
    let mut before = 0;
    for problem in &manifest.problems {
        prop_assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
        prop_assert!(problem.span.start >= before, "problems are in the order of the text");
        before = problem.span.start;
        let position = problem.position.expect("these texts are short");
        let above = text[..problem.span.start].matches('\n').count();
        prop_assert_eq!(position.line, above + 1);
        prop_assert!(!problem.to_string().contains('\n'), "{}", problem);
        prop_assert!(!problem.message.is_empty());
    }
    for object in &manifest.objects {
        prop_assert!(!manifest.refused.contains(&object.resource.id()));
    }
    if manifest.broken || !manifest.refused.is_empty() {
        prop_assert!(!manifest.problems.is_empty(), "what is refused has a reason");
    }
    Ok(())
}

/// Pieces of which YAML is made.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n"),
        Just("\n  "),
        Just("\n- "),
        Just(": "),
        Just(":"),
        Just("- "),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(", "),
        Just("'"),
        Just("\""),
        Just("\\"),
        Just("#"),
        Just(" #"),
        Just("&a "),
        Just("*a"),
        Just("!!str "),
        Just("!x "),
        Just("!"),
        Just("|\n"),
        Just(">-\n"),
        Just("---\n"),
        Just("...\n"),
        Just("\t"),
        Just("\r\n"),
        Just("? "),
        Just("<<: "),
        Just("%YAML 1.2\n"),
        Just("\0"),
        Just("\u{feff}"),
        Just("ä"),
        Just("~"),
        Just("apiVersion: v1\n"),
        Just("kind: List\n"),
        Just("kind: Service\n"),
        Just("items:\n"),
        Just("metadata: {name: a}\n"),
        Just("spec:\n"),
        Just("apiVersion: networking.x-k8s.io/v1alpha1\n"),
        Just("0x"),
        Just("1e9"),
        Just("a"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Valid manifests with a few bytes replaced, removed or inserted.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0..8usize, "[ -~\n\t\u{e9}]{0,4}");
    (prop::sample::select(vec![SERVICE, GATEWAY, ROUTE]), prop::collection::vec(edit, 1..5))
        .prop_map(|(text, edits)| {
            let mut text = format!("{text}---\n{ROUTE}");
            for (at, removed, inserted) in edits {
                let start = text.floor_char_boundary(at.index(text.len()));
                let end = text.floor_char_boundary((start + removed).min(text.len())).max(start);
                text.replace_range(start..end, &inserted);
            }
            text
        })
}

fn name() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9-]{0,10}[a-z0-9])?"
}

/// Texts that YAML reads as something else unless they are quoted, and any others.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "yes",
            "null",
            "~",
            "1",
            "0x1f",
            "1e3",
            ".5",
            "-",
            "- a",
            "a: b",
            "a #b",
            "'",
            "\"",
            "[a]",
            "{a}",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "?",
            "? a",
            ":",
            "=",
            "<<",
            "2024-01-01",
            "true",
            "0o17",
            "1_000",
            ".inf",
            "---",
            "...",
            "a:",
        ])
        .prop_map(str::to_owned),
        "[!-~]([ -~]{0,100}[!-~])?",
    ]
}

fn route() -> impl Strategy<Value = HttpRoute> {
    let header = (name(), value()).prop_map(|(name, value)| HttpHeaderMatch {
        match_type: None,
        name,
        value,
    });
    let matching = (prop::option::of("/[a-z0-9.':~-]{0,12}"), prop::option::of(header)).prop_map(
        |(path, header)| HttpRouteMatch {
            path: path.map(|value| HttpPathMatch {
                match_type: Some(PathMatchType::Exact),
                value: Some(value.replace("//", "/").replace("/.", "/x").into()),
            }),
            headers: header.into_iter().collect(),
            ..HttpRouteMatch::default()
        },
    );
    let backend = (name(), 1..=u16::MAX, prop::option::of(0..1_000_000i32)).prop_map(
        |(name, port, weight)| HttpBackendRef {
            group: None,
            kind: None,
            name: name.into(),
            namespace: None,
            port: Port::new(port),
            weight,
            filters: Box::default(),
        },
    );
    let rule = (prop::collection::vec(matching, 0..3), prop::collection::vec(backend, 0..3))
        .prop_map(|(matches, backend_refs)| HttpRouteRule {
            matches: matches.into(),
            backend_refs: backend_refs.into(),
            ..HttpRouteRule::default()
        });
    let parent = name().prop_map(|name| ParentReference {
        group: None,
        kind: None,
        namespace: None,
        name,
        section_name: None,
        port: None,
    });
    let annotations = prop::collection::btree_map(
        name(),
        prop_oneof![any::<String>().prop_map(printable), "[a-z \\n\\t:#'\"-]{0,300}"],
        0..3,
    );
    (name(), annotations, parent, prop::collection::vec(rule, 1..4)).prop_map(
        |(name, annotations, parent, rules)| HttpRoute {
            metadata: ObjectMeta {
                annotations: annotations.into(),
                generation: 1,
                ..ObjectMeta::namespaced("default", &name)
            },
            spec: HttpRouteSpec {
                parent_refs: [parent].into(),
                rules: Some(rules.into()),
                ..HttpRouteSpec::default()
            },
        },
    )
}

fn gateway() -> impl Strategy<Value = Gateway> {
    let ports = prop::collection::btree_set(1..=u16::MAX, 1..5);
    (name(), name(), ports).prop_map(|(name, class, ports)| Gateway {
        metadata: ObjectMeta { generation: 1, ..ObjectMeta::namespaced("default", &name) },
        spec: GatewaySpec {
            gateway_class_name: class,
            listeners: ports.into_iter().filter_map(Port::new).map(listener).collect(),
            addresses: Vec::new(),
            infrastructure: None,
            allowed_listeners: None,
            tls: None,
            default_scope: None,
        },
    })
}

fn listener(port: Port) -> Listener {
    Listener {
        name: format!("http-{port}"),
        hostname: None,
        port,
        protocol: Protocol::Http,
        tls: None,
        allowed_routes: None,
        filters: None,
    }
}

/// YAML 1.2 has no way to write some control characters, even escaped, that the parser would take.
fn printable(text: String) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn comes_back(resource: Resource) -> Result<(), TestCaseError> {
    for text in [render::to_yaml(&resource, None), render::to_json(&resource, None).to_string()] {
        let manifest = parse("test.yaml", &text);
        prop_assert_eq!(&manifest.problems, &[], "{}", text);
        prop_assert_eq!(&manifest.objects[0].resource, &resource, "{}", text);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_the_reader(text in any::<String>()) {
        check_laws(&text)?;
    }

    #[test]
    fn no_yaml_breaks_the_reader(text in yaml_like()) {
        check_laws(&text)?;
    }

    #[test]
    fn no_edit_of_a_manifest_breaks_the_reader(text in mutated()) {
        check_laws(&text)?;
    }

    #[test]
    fn a_route_that_is_printed_and_read_is_the_same(route in route()) {
        comes_back(route.into())?;
    }

    #[test]
    fn a_gateway_that_is_printed_and_read_is_the_same(gateway in gateway()) {
        comes_back(gateway.into())?;
    }
}
