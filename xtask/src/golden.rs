//! Golden files: each input has its output, each output its input, and nothing waits for review.
//!
//! That an output is up to date is what the golden tests themselves check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Folders that hold no sources.
const SKIPPED: [&str; 2] = [".git", "target"];

/// Checks every golden file below `root`.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let files = source_files(root)?;
    let pairs = files.iter().filter(|file| has_suffix(file, ".in.yaml")).count();
    let complaints = complaints(&files);
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    eprintln!("{pairs} golden pairs, no snapshot waits for review");
    Ok(())
}

/// Every file below `root` that is no build product.
pub(crate) fn source_files(root: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    collect(root, &mut files)?;
    Ok(files)
}

fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.insert(entry.path());
        } else if entry.file_type()?.is_dir()
            && !SKIPPED.iter().any(|name| entry.file_name() == *name)
        {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

/// One sentence for each file that is not as it should be.
fn complaints(files: &BTreeSet<PathBuf>) -> Vec<String> {
    let partner = |file: &Path, from: &str, to: &str| -> Option<PathBuf> {
        let stem = file.to_str()?.strip_suffix(from)?;
        Some(PathBuf::from(format!("{stem}{to}")))
    };
    let mut complaints = Vec::new();
    for file in files {
        if let Some(output) = partner(file, ".in.yaml", ".out.yaml")
            && !files.contains(&output)
        {
            complaints.push(format!("{} has no {}", file.display(), output.display()));
        }
        if let Some(input) = partner(file, ".out.yaml", ".in.yaml")
            && !files.contains(&input)
        {
            complaints.push(format!("{} has no {}", file.display(), input.display()));
        }
        if has_suffix(file, ".snap.new") || has_suffix(file, ".pending-snap") {
            complaints.push(format!("{} waits for review", file.display()));
        }
    }
    complaints
}

fn has_suffix(file: &Path, suffix: &str) -> bool {
    file.to_str().is_some_and(|name| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints_about(files: &[&str]) -> Vec<String> {
        complaints(&files.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn a_pair_is_fine() {
        assert!(complaints_about(&["a/x.in.yaml", "a/x.out.yaml", "a/plain.yaml"]).is_empty());
    }

    #[test]
    fn a_half_of_a_pair_is_named() {
        assert_eq!(complaints_about(&["a/x.in.yaml"]), ["a/x.in.yaml has no a/x.out.yaml"]);
        assert_eq!(complaints_about(&["a/x.out.yaml"]), ["a/x.out.yaml has no a/x.in.yaml"]);
    }

    #[test]
    fn a_pending_snapshot_is_named() {
        assert_eq!(complaints_about(&["a/x.snap.new"]), ["a/x.snap.new waits for review"]);
    }
}
