//! Rule ids: each one that a source or a page quotes is a row of `docs/rules.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::golden::source_files;

/// Where rules are defined.
const PAGE: &str = "docs/rules.md";

/// Checks every Rust source, page and manifest below `root`.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let page = read(&root.join(PAGE))?;
    let defined: Vec<&str> = defined(&page).collect();
    let rules: BTreeSet<&str> = defined.iter().copied().collect();
    if rules.len() < defined.len() {
        bail!("{PAGE} defines a rule twice");
    }
    let mut quoted: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in source_files(root)?.into_iter().filter(|file| is_searched(file)) {
        for id in unknown(&read(&file)?, &rules) {
            quoted.entry(id.to_owned()).or_insert_with(|| file.clone());
        }
    }
    if !quoted.is_empty() {
        let complaints: Vec<String> = quoted
            .iter()
            .map(|(id, file)| format!("{}: {id} is not in {PAGE}", file.display()))
            .collect();
        bail!("{}", complaints.join("\n"));
    }
    eprintln!("{} rules, every quoted id is one of them", rules.len());
    Ok(())
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

/// Ids in a text that no rule has.
fn unknown<'t>(text: &'t str, rules: &BTreeSet<&str>) -> impl Iterator<Item = &'t str> {
    ids(text).filter(|id| !rules.contains(id))
}

/// Ids in a text, as words of their own: `HR-2`, not the end of `SHR-2` or the start of `HR-2-a`.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '-')
        .filter(|word| is_id(word))
}

/// Two capital letters, a dash, a number of at most three digits.
fn is_id(word: &str) -> bool {
    let Some((group, number)) = word.split_once('-') else { return false };
    group.len() == 2
        && group.bytes().all(|byte| byte.is_ascii_uppercase())
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
    fn an_id_without_a_rule_is_found() {
        let rules = BTreeSet::from(["HR-1"]);
        assert_eq!(unknown("HR-1 and HR-2", &rules).collect::<Vec<_>>(), ["HR-2"]);
    }

    #[test]
    fn ids_are_words_of_their_own() {
        let text = "(HR-2, RT-14): HR-2a, SHR-3, HR-, HR-4-x, and `HR-5`.";
        assert_eq!(ids(text).collect::<Vec<_>>(), ["HR-2", "RT-14", "HR-5"]);
    }
}
