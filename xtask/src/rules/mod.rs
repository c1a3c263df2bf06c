//! Rule ids: each one that a source or a page quotes is a row of `docs/rules.md`, and each row there is
//! named by a test, or says why there is none.

mod tests_of;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::golden::source_files;
use tests_of::{Test, Tests};

/// Where rules are defined.
const PAGE: &str = "docs/rules.md";

/// The heading on that page below which it says why a rule has no test.
const UNTESTED: &str = "## Rules without a test";

/// Checks every Rust source, page and manifest below `root`.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let page = read(&root.join(PAGE))?;
    let (rules, reasons) = (rules(&page)?, reasons(&page));
    let mut complaints = BTreeSet::new();
    for file in source_files(root)?.into_iter().filter(|file| is_searched(file)) {
        for id in ids(&read(&file)?).filter(|id| !rules.contains(id)) {
            complaints.insert(format!("{}: {id} is not in {PAGE}", file.display()));
        }
    }
    let tests = tests(root)?;
    for rule in rules.iter().filter(|rule| !tests.contains_key(**rule)) {
        if !reasons.contains_key(rule) {
            complaints.insert(format!(
                "{rule}: no test names it; name it in one, or say below \"{UNTESTED}\" why not"
            ));
        }
    }
    for rule in reasons.keys().filter(|rule| tests.contains_key(**rule)) {
        complaints.insert(format!("{rule}: {PAGE} says that it has no test, and it has one"));
    }
    if !complaints.is_empty() {
        bail!("{}", Vec::from_iter(complaints).join("\n"));
    }
    let tested = rules.len() - reasons.len();
    eprintln!(
        "{} rules: {tested} are named by tests, of the others a reason is given",
        rules.len()
    );
    Ok(())
}

/// Prints each rule with the tests that name it, or the reason why there is none.
pub(crate) fn print(root: &Path, only: &[String]) -> anyhow::Result<()> {
    let page = read(&root.join(PAGE))?;
    let (rules, reasons, tests) = (rules(&page)?, reasons(&page), tests(root)?);
    if let Some(unknown) = only.iter().find(|id| !rules.contains(id.as_str())) {
        bail!("{PAGE} has no rule {unknown}");
    }
    let mut without = Vec::new();
    for rule in page_order(&page) {
        if !only.is_empty() && !only.iter().any(|id| id == rule) {
            continue;
        }
        match (tests.get(rule), reasons.get(rule)) {
            (Some(tests), _) => print_tests(rule, tests, !only.is_empty()),
            (None, Some(reason)) => println!("{rule:<7} no test: {reason}"),
            (None, None) => without.push(rule),
        }
    }
    if !without.is_empty() {
        bail!("neither a test nor a reason: {}", without.join(" "));
    }
    Ok(())
}

fn print_tests(rule: &str, tests: &[Test], all: bool) {
    let shown = if all { tests } else { &tests[..1] };
    let mut label = rule;
    for Test { file, line, name } in shown {
        let more = tests.len() - shown.len();
        let more = if more > 0 { format!(" (+{more})") } else { String::new() };
        println!("{label:<7} {name}{more}  {file}:{line}");
        label = "";
    }
}

/// The tests of all rules.
fn tests(root: &Path) -> anyhow::Result<Tests> {
    let mut tests = Tests::new();
    for file in source_files(root)?.into_iter().filter(|file| is_searched(file)) {
        let inside = file.strip_prefix(root).unwrap_or(&file);
        // What checks the ids names some that are examples.
        if !inside.starts_with("xtask/src/rules") {
            tests_of::collect(inside, &read(&file)?, &mut tests);
        }
    }
    Ok(tests)
}

/// The rules of the page.
fn rules(page: &str) -> anyhow::Result<BTreeSet<&str>> {
    let mut rules = BTreeSet::new();
    for id in page_order(page) {
        if !rules.insert(id) {
            bail!("{PAGE} defines {id} twice");
        }
    }
    Ok(rules)
}

fn page_order(page: &str) -> impl Iterator<Item = &str> {
    defined(page.split(UNTESTED).next().unwrap_or_default())
}

/// Why rules have no test.
fn reasons(page: &str) -> BTreeMap<&str, &str> {
    let (_, table) = page.split_once(UNTESTED).unwrap_or_default();
    let rows = table.lines().filter_map(|line| {
        let (id, reason) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        is_id(id).then_some((id, reason))
    });
    rows.collect()
}

fn is_searched(file: &Path) -> bool {
    file.extension().is_some_and(|extension| ["rs", "md", "yaml"].iter().any(|it| extension == *it))
}

/// The ids that a page defines: the first cells of the rows of its tables.
fn defined(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .filter_map(|line| Some(line.strip_prefix("| ")?.split_once(" |")?.0))
        .filter(|cell| is_id(cell))
}

/// Ids in a text, as words of their own: `HR-2`, not the end of `SHR-2` or the start of `HR-2-a`.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '-')
        .filter(|word| is_id(word))
}

/// Two capital letters, or `L4` or `X`, a dash, a number of at most three digits.
fn is_id(word: &str) -> bool {
    let Some((group, number)) = word.split_once('-') else { return false };
    let is_group = group.len() == 2 && group.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_group || matches!(group, "L4" | "X"))
        && (1..=3).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_the_first_cells_of_rows() {
        let page = "| id | rule |\n|---|---|\n| HR-1 | as HR-2 |\nnot HR-3\n";
        assert_eq!(defined(page).collect::<Vec<_>>(), ["HR-1"]);
    }

    #[test]
    fn reasons_are_no_rules() {
        let page =
            format!("| HR-1 | x | y |\n{UNTESTED}\n\n| id | why |\n|---|---|\n| HR-1 | no |\n");
        assert_eq!(page_order(&page).collect::<Vec<_>>(), ["HR-1"]);
        assert_eq!(reasons(&page), BTreeMap::from([("HR-1", "no")]));
    }

    #[test]
    fn ids_are_words_of_their_own() {
        let text = "(HR-2, RT-14): HR-2a, SHR-3, HR-, HR-4-x, L5-1, and `HR-5`, L4-6, X-1.";
        assert_eq!(ids(text).collect::<Vec<_>>(), ["HR-2", "RT-14", "HR-5", "L4-6", "X-1"]);
    }
}
