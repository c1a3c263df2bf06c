//! Texts that are no YAML, or YAML of an odd kind.

use gwapi_model::Resource;
use gwapi_model::manifest::{Position, parse};

use super::{ROUTE, SERVICE, check, help, objects, refused};

#[test]
fn json_without_a_comma_is_told_to_have_one() {
    let text = r#"{"apiVersion": "v1", "kind": "Service" "metadata": {"name": "a"}}"#;
    let problem = &parse("text", text).problems[0];
    assert_eq!(problem.message, "more text after the quote that ends a value");
    assert!(problem.help.as_deref().is_some_and(|help| help.starts_with("put a `,`")));
}

#[test]
fn broken_documents_hide_no_other() {
    let text = format!("a: [1, 2\n---\n{SERVICE}---\nfoo: bar: baz\n---\n{ROUTE}---\n'abc\n");
    let manifest = check(
        &text,
        &[
            "1:4 error: `[` is never closed",
            "11:9 error: a `:` that cannot stand here",
            "28:1 error: a quote that is never closed",
        ],
    );
    assert_eq!(objects(&manifest), ["Service default/shop", "HTTPRoute default/shop"]);
    assert_eq!(manifest.objects[0].position, Position { line: 3, column: 1 });
    assert!(manifest.broken);
}

#[test]
fn broken_yaml_is_found_where_it_is() {
    for (text, problem) in [
        ("kind: Gateway\n\tapiVersion: v1\n", "2:1 error: a tab where YAML wants spaces"),
        ("kind: {a: 1\n", "1:7 error: `{` is never closed"),
        ("kind: 'x\n", "1:7 error: a quote that is never closed"),
        ("a: [\"x]\nb: c\n", "1:5 error: a quote that is never closed"),
        ("a: \"x\n---\n# c\n", "1:4 error: a quote that is never closed"),
        ("kind: *x\n", "1:7 error: an alias to an anchor that does not exist"),
        ("kind: @x\n", "1:7 error: a value cannot begin with '@'"),
        ("kind: \"\\q\"\n", "1:7 error: an escape that YAML does not know"),
        ("kind: [a]]\n", "1:10 error: misplaced bracket"),
        ("a: b\n  c: d\n", "2:4 error: a `:` that cannot stand here"),
        ("a:\n  - b\n c\n", "3:2 error: this line's indentation fits no map or list above it"),
        ("? [a, b]\n: c\n", "1:3 error: expected a text as key of a map"),
        ("a: &a [*a]\n", "1:8 error: an alias to the value that it stands in"),
    ] {
        let manifest = check(text, &[problem]);
        assert!(manifest.broken, "{text}");
    }
}

#[test]
fn json_objects_one_after_another_need_a_line_between_them() {
    let text = "{\"kind\": \"a\", \"apiVersion\": \"b/c\"} {}\n";
    check(text, &["1:36 error: more text after the end of the document"]);
    assert_eq!(help(text), "put `---` on a line between documents");
}

#[test]
fn templates_are_recognised() {
    let advice = "this looks like a template: render it first, for example with `helm template`";
    for text in ["kind: {{ .Values.kind }}\n", "{{- if .Values.on }}\nkind: Gateway\n{{- end }}\n"]
    {
        assert_eq!(help(text), advice, "{text}");
    }
}

#[test]
fn json_is_read_with_tabs_escapes_and_on_one_line() {
    let text = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\n\t\t\"name\": \"x\"\n\t},\n\
                \t\"data\": {\"path\": \"a\\/b\", \"face\": \"\\ud83d\\ude00\"}\n}\n";
    let manifest = check(text, &[]);
    let Resource::ConfigMap(map) = &manifest.objects[0].resource else { panic!("{manifest:?}") };
    assert_eq!(map.data["path"], "a/b");
    assert_eq!(map.data["face"], "😀");
    let text = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":0}]}}"#;
    check(
        text,
        &[
            "1:86 error: Service default/a: spec.ports[0].port: expected a port from 1 to 65535, found integer 0",
        ],
    );
}

#[test]
fn texts_without_objects_are_fine() {
    for text in ["", "\n\n", "# nothing\n", "---\n---\n# c\n---\nnull\n...\n", "\u{feff}"] {
        assert_eq!(parse("test.yaml", text), Default::default(), "{text:?}");
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_not_matter() {
    let text = format!("\u{feff}{}", SERVICE.replace('\n', "\r\n"));
    let manifest = check(&text, &[]);
    assert_eq!(objects(&manifest), ["Service default/shop"]);
    assert_eq!(manifest.objects[0].position, Position { line: 1, column: 1 });
}

#[test]
fn the_second_of_two_equal_keys_is_an_error() {
    let service = SERVICE.replace("  name: shop\n", "  name: shop\n  name: other\n");
    let text = format!("{service}---\n{ROUTE}");
    let manifest =
        check(&text, &["5:3 error: Service default/shop: the key `name` stands twice in this map"]);
    assert_eq!(refused(&manifest), ["Service default/shop"]);
    assert_eq!(objects(&manifest), ["HTTPRoute default/shop"]);
    assert!(!manifest.broken);
}

#[test]
fn equal_keys_are_found_in_long_maps_too() {
    let entries: String = (0..50).map(|n| format!("  key-{n}: x\n")).collect();
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n{entries}  key-7: y\n"
    );
    check(&text, &["55:3 error: ConfigMap default/a: the key `key-7` stands twice in this map"]);
}

#[test]
fn aliases_and_merge_keys_are_followed() {
    let text = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  labels: &labels {app: shop, tier: web}
  annotations:
    <<: *labels
    tier: own
data: *labels
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: b
data:
  <<: [{a: first, b: first}, {b: second, c: second}]
";
    let manifest = check(text, &[]);
    let Resource::ConfigMap(map) = &manifest.objects[0].resource else { panic!("{manifest:?}") };
    assert_eq!(map.data, *map.metadata.labels);
    assert_eq!(map.metadata.annotations["app"], "shop");
    assert_eq!(map.metadata.annotations["tier"], "own");
    let Resource::ConfigMap(map) = &manifest.objects[1].resource else { panic!("{manifest:?}") };
    let data: Vec<_> = map.data.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(data, ["a=first", "b=first", "c=second"]);
}

#[test]
fn a_merge_key_takes_maps_alone() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {<<: 5}\n";
    check(
        text,
        &["4:12 error: ConfigMap default/a: a merge key `<<` takes a map or a list of maps"],
    );
}

#[test]
fn tags_of_the_core_schema_decide_and_others_are_refused() {
    let text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: !!str 12, y: ! 13}\n";
    let manifest = check(text, &[]);
    let Resource::ConfigMap(map) = &manifest.objects[0].resource else { panic!("{manifest:?}") };
    assert_eq!((&*map.data["x"], &*map.data["y"]), ("12", "13"));
    for (value, problem) in [
        ("!vault x", "4:11 error: ConfigMap default/a: a tag that has no meaning here"),
        ("!!int x", "4:11 error: ConfigMap default/a: expected a value of the type `int`"),
    ] {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{x: {value}}}\n"
        );
        check(&text, &[problem]);
    }
}

#[test]
fn what_is_odd_in_objects_of_others_is_a_warning() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, name: b}\n";
    let manifest = check(text, &["3:21 warning: the key `name` stands twice in this map"]);
    assert_eq!(manifest.foreign[0].name, "a");
    assert!(!manifest.broken);
}
