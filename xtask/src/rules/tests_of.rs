//! Which tests name which rules, read from the sources.
//!
//! Sources are laid out by rustfmt: a function ends at the brace that stands as far in as its head.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ids, is_id};

/// A place where a test begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Test {
    /// Path from the project's folder
    pub(super) file: String,
    pub(super) line: usize,
    /// Name of the function, or of the golden file
    pub(super) name: String,
}

/// The tests of each rule.
pub(super) type Tests = BTreeMap<String, Vec<Test>>;

/// Adds the tests of a file that name rules.
pub(super) fn collect(file: &Path, text: &str, tests: &mut Tests) {
    let path = file.display().to_string();
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // The oracle of the property tests is in a module that other crates use, too.
    let is_of_tests =
        file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "testing");
    if let Some(name) = name.strip_suffix(".yaml") {
        // Outputs quote the messages of conditions.
        if is_of_tests && !name.ends_with(".out") {
            let name = name.trim_end_matches(".in").to_owned();
            for id in named(text) {
                add(tests, id, &Test { file: path.clone(), line: 1, name: name.clone() });
            }
        }
        return;
    }
    if !name.ends_with(".rs") {
        return;
    }
    let functions = functions(text).filter(|function| function.is_test || is_of_tests);
    for Function { line, name, text, .. } in functions {
        let test = Test { file: path.clone(), line, name: name.to_owned() };
        named(&text).into_iter().for_each(|id| add(tests, id, &test));
        of_name(name).for_each(|id| add(tests, &id, &test));
    }
}

/// The ids that a text quotes one by one. A range, `HR-1 to HR-3`, names none, nor its ends: it says what a
/// test is near to, and nobody looks whether each rule in it would make the test fail.
fn named(text: &str) -> Vec<&str> {
    let is_word = |word: &&str| !matches!(*word, "#" | "//" | "///" | "//!");
    let words: Vec<&str> = text.split_whitespace().filter(is_word).collect();
    let has_id = |at: Option<usize>| {
        at.and_then(|at| words.get(at)).is_some_and(|word| ids(word).next().is_some())
    };
    let is_to = |at: Option<usize>| at.and_then(|at| words.get(at)) == Some(&"to");
    let ends_range = |at: usize| {
        let goes_on = is_to(at.checked_add(1)) && has_id(at.checked_add(2));
        goes_on || (is_to(at.checked_sub(1)) && has_id(at.checked_sub(2)))
    };
    let single = (0..words.len()).filter(|at| !ends_range(*at));
    single.flat_map(|at| ids(words[at])).collect()
}

/// The ids in the name of a function: `hr_2_ties_go_to_the_older_route`.
fn of_name(name: &str) -> impl Iterator<Item = String> {
    let words: Vec<&str> = name.split('_').collect();
    let pairs = words.windows(2).map(|pair| format!("{}-{}", pair[0].to_uppercase(), pair[1]));
    pairs.filter(|pair| is_id(pair)).collect::<Vec<_>>().into_iter()
}

fn add(tests: &mut Tests, id: &str, test: &Test) {
    let of_rule = tests.entry(id.to_owned()).or_default();
    if of_rule.last() != Some(test) {
        of_rule.push(test.clone());
    }
}

/// A function with the comments and attributes before it.
struct Function<'t> {
    line: usize,
    name: &'t str,
    is_test: bool,
    text: String,
}

fn functions(text: &str) -> impl Iterator<Item = Function<'_>> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let mut before = Vec::new();
        loop {
            let (number, line) = lines.next()?;
            let trimmed = line.trim_start();
            if trimmed.starts_with("//") || trimmed.starts_with("#[") {
                before.push(line);
                continue;
            }
            let Some(name) = function_name(trimmed).or_else(|| case_name(trimmed)) else {
                before.clear();
                continue;
            };
            let is_test = before.iter().any(|line| is_test_attribute(line.trim_start()));
            let indent = &line[..line.len() - trimmed.len()];
            before.push(line);
            let is_whole = line.ends_with('}') || line.ends_with(';');
            if !is_whole {
                for (_, line) in lines.by_ref() {
                    before.push(line);
                    if line.strip_prefix(indent) == Some("}") {
                        break;
                    }
                }
            }
            return Some(Function { line: number + 1, name, is_test, text: before.join("\n") });
        }
    })
}

fn function_name(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    line.split(|character: char| !character.is_alphanumeric() && character != '_').next()
}

/// A test that a macro makes of a file: `name = "file";`.
fn case_name(line: &str) -> Option<&str> {
    let (name, file) = line.strip_suffix("\";")?.split_once(" = \"")?;
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    (is_name(name) && !file.contains('"')).then_some(name)
}

fn is_test_attribute(line: &str) -> bool {
    line.starts_with("#[test]") || line.starts_with("#[tokio::test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, text: &str) -> Vec<(String, String, usize)> {
        let mut tests = Tests::new();
        collect(Path::new(file), text, &mut tests);
        let rows = tests.into_iter().flat_map(|(id, tests)| {
            tests.into_iter().map(move |test| (id.clone(), test.name, test.line))
        });
        rows.collect()
    }

    fn row(id: &str, name: &str, line: usize) -> (String, String, usize) {
        (id.to_owned(), name.to_owned(), line)
    }

    #[test]
    fn a_test_names_rules_before_it_and_in_it() {
        let text = "\
/// HR-1 stands by itself.

fn helper() {
    // HR-2
}

/// As HR-3 says.
#[tokio::test]
async fn a_test() {
    // HR-4, and once more: HR-4.
    inner(|| {
    });
}

mod inner {
    #[test]
    fn another() {
        assert!(true, \"HR-5\");
    }
}
";
        let all = [row("HR-3", "a_test", 9), row("HR-4", "a_test", 9), row("HR-5", "another", 17)];
        assert_eq!(found("src/lib.rs", text), all);
        assert_eq!(found("tests/it.rs", text)[0], row("HR-2", "helper", 3));
    }

    #[test]
    fn cases_and_names_name_rules() {
        let text = "cases! {\n    /// GW-1, GW-2.\n    listeners = \"listeners\";\n}\n";
        let all = [row("GW-1", "listeners", 3), row("GW-2", "listeners", 3)];
        assert_eq!(found("tests/golden.rs", text), all);
        let text = "#[test]\nfn hr_2_ties() {\n}\n";
        assert_eq!(found("src/lib.rs", text), [row("HR-2", "hr_2_ties", 2)]);
    }

    #[test]
    fn a_range_names_no_rule() {
        let text = "\
/// HR-1 to HR-3, and HR-4 (HR-5 to
/// HR-7). Up to HR-6.
#[test]
fn a_test() {}
";
        let all = [row("HR-4", "a_test", 4), row("HR-6", "a_test", 4)];
        assert_eq!(found("src/lib.rs", text), all);
        let text = "# GR-1 to GR-10: calls. GR-3\nkind: GRPCRoute\n";
        assert_eq!(found("tests/golden/grpc.in.yaml", text), [row("GR-3", "grpc", 1)]);
    }

    #[test]
    fn an_input_of_tests_is_a_test_and_no_other_manifest_is() {
        let text = "# LS-1\nkind: Gateway\n";
        assert_eq!(found("tests/golden/sets.in.yaml", text), [row("LS-1", "sets", 1)]);
        assert_eq!(found("tests/requests/sets.yaml", text), [row("LS-1", "sets", 1)]);
        assert_eq!(found("tests/golden/sets.out.yaml", text), []);
        assert_eq!(found("examples/sets.yaml", text), []);
    }
}
