//! Texts that are large, deep or made to explode.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gwapi_model::manifest::{MAX_TEXT, parse};

use super::{ROUTE, SERVICE, check, objects};

/// Nobody waits longer; a machine that is busy may take a while.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_alias_bomb_is_refused_and_hides_nothing() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let below = format!("*a{}", level - 1);
        writeln!(text, "a{level}: &a{level} [{}]", [below.as_str(); 9].join(", ")).unwrap();
    }
    let text = format!("{text}---\n{SERVICE}");
    let manifest = check(&text, &["4:10 error: aliases stand for more than 1000 values"]);
    assert_eq!(objects(&manifest), ["Service default/shop"]);
    assert!(manifest.broken);
}

#[test]
fn a_chain_of_aliases_cannot_nest_without_limit() {
    let mut text = String::from("a0: &a0 [x]\n");
    for level in 1..100 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    let written: String = (0..500).map(|n| format!("w{n}: x\n")).collect();
    check(
        &format!("{written}{text}"),
        &["564:12 error: maps and lists are nested more than 64 levels deep"],
    );
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let deep = |levels: usize| format!("{}x{}", open.repeat(levels), close.repeat(levels));
        for levels in [65, 1_000, 100_000] {
            let column = 64 * open.len() + 1;
            let problem =
                format!("1:{column} error: maps and lists are nested more than 64 levels deep");
            check(&deep(levels), &[&problem]);
        }
        assert!(!parse("", &deep(64)).problems[0].message.contains("levels"));
    }
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    let text = " ".repeat(MAX_TEXT + 1);
    let manifest = check(
        &text,
        &["- error: the text is 33554433 bytes long, more than the 33554432 that are read"],
    );
    assert!(manifest.broken);
    check(&text[..MAX_TEXT], &[]);
}

#[test]
fn ten_megabytes_in_one_value_are_read() {
    let start = Instant::now();
    let long = "lorem ipsum ".repeat(10 * 1024 * 1024 / 12);
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{x: \"{long}\"}}\n"
    );
    // etcd takes no more than 1 MiB, and neither does validation.
    let manifest = parse("", &text);
    assert_eq!(manifest.objects.len() + manifest.refused.len(), 1);
    assert!(!manifest.broken);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn thousands_of_documents_are_read_in_time_that_grows_with_their_number() {
    let text: String = (0..2_000)
        .map(|n| {
            format!("---\n{}", ROUTE.replace("name: shop\nspec", &format!("name: shop-{n}\nspec")))
        })
        .collect();
    let start = Instant::now();
    let manifest = check(&text, &[]);
    assert_eq!(manifest.objects.len(), 2_000);
    assert_eq!(manifest.objects[1_999].position.line, 1_999 * 15 + 2);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn positions_on_one_long_line_cost_no_more() {
    let items: Vec<String> =
        (0..20_000).map(|n| format!(r#"{{"metadata":{{"name":"n{n}"}}}}"#)).collect();
    let text =
        format!(r#"{{"apiVersion":"v1","kind":"NamespaceList","items":[{}]}}"#, items.join(","));
    let start = Instant::now();
    let manifest = check(&text, &[]);
    assert_eq!(manifest.objects.len(), 20_000);
    let last = manifest.objects[19_999].position;
    assert_eq!((last.line, last.column), (1, text.rfind(r#"{"metadata"#).unwrap() + 1));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn an_object_full_of_errors_tells_some_of_them() {
    let backends: String = (0..1_000).map(|n| format!("    - name: {n}\n")).collect();
    let unknown: String = (0..1_000).map(|n| format!("  field-{n}: x\n")).collect();
    let text = format!("{}{backends}{unknown}", &ROUTE[..ROUTE.find("    - name: shop").unwrap()]);
    let manifest = parse("", &text);
    let count = |part: &str| {
        manifest.problems.iter().filter(|problem| problem.message.contains(part)).count()
    };
    assert_eq!(count("expected a string, found integer"), 20);
    assert_eq!(count("unknown field"), 100);
    assert_eq!(manifest.problems.len(), 120);
}
