//! Links of the documentation: each relative one leads to a file, each anchor to a heading.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::golden::source_files;

/// Checks the links of every Markdown file below `root`.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut complaints = Vec::new();
    let mut count = 0;
    for file in source_files(root)?.iter().filter(|file| file.extension() == Some("md".as_ref())) {
        let text = read(file)?;
        for link in relative_links(&text) {
            count += 1;
            if let Some(why) = broken(file, link)? {
                complaints.push(format!("{}: {link}: {why}", file.display()));
            }
        }
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    eprintln!("{count} links lead somewhere");
    Ok(())
}

/// Targets of `[text](target)` that are not addresses on the web.
fn relative_links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.filter(|target| !target.contains("://")).collect()
}

/// Why a link leads nowhere.
fn broken(file: &Path, link: &str) -> anyhow::Result<Option<&'static str>> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { file.to_owned() } else { beside(file, path) };
    if !target.exists() {
        return Ok(Some("no such file"));
    }
    let has_anchor = anchor.is_empty() || anchors(&read(&target)?).any(|it| it == anchor);
    Ok((!has_anchor).then_some("no such heading"))
}

fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new(".")).join(path)
}

/// The anchors that headings get: lower case, blanks as dashes, no punctuation.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| line.strip_prefix('#')).map(|heading| {
        heading
            .trim_start_matches('#')
            .trim()
            .chars()
            .filter_map(|character| match character {
                ' ' => Some('-'),
                '-' | '_' => Some(character),
                _ => character.is_alphanumeric().then(|| character.to_ascii_lowercase()),
            })
            .collect()
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_addresses_on_the_web_are_not() {
        let text = "See [a](a.md#one) and [b](https://example.com), or [c](#here).";
        assert_eq!(relative_links(text), ["a.md#one", "#here"]);
    }

    #[test]
    fn headings_become_anchors_as_on_the_web() {
        let text = "# One `word` & more\ntext\n## HTTP/2, in short\n";
        let anchors: Vec<String> = anchors(text).collect();
        assert_eq!(anchors, ["one-word--more", "http2-in-short"]);
    }

    #[test]
    fn a_link_to_nothing_is_broken() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        assert_eq!(broken(&here, "CONTRIBUTING.md").unwrap(), None);
        assert_eq!(broken(&here, "CONTRIBUTING.md#style").unwrap(), None);
        assert_eq!(broken(&here, "CONTRIBUTING.md#nothing").unwrap(), Some("no such heading"));
        assert_eq!(broken(&here, "nothing.md").unwrap(), Some("no such file"));
    }
}
