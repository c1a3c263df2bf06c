//! `cargo xtask crds`: the CRDs of gwapi's own kinds, written from their types to `deploy/crds`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::command::{cargo, output};

/// The folder of the CRDs, below that of the workspace.
const FOLDER: &str = "deploy/crds";

/// Writes the CRDs, or only tells where they are not what the types say.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let folder = root.join(FOLDER);
    let wanted = generate(root)?;
    let found = read(&folder)?;
    let stale = stale(&wanted, &found);
    if stale.is_empty() {
        eprintln!("{} CRDs are as their types say", wanted.len());
        return Ok(());
    }
    if check {
        bail!("{} not as the types say: run `cargo xtask crds`", stale.join(", "));
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {FOLDER}"))?;
    for name in &stale {
        let path = folder.join(name);
        match wanted.get(name) {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        }
        .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("{FOLDER}/{name}");
    }
    Ok(())
}

fn generate(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let flags = ["run", "--locked", "--quiet", "--package", "gwapi-model"];
    let text = output(cargo(root).args(flags).args(["--features", "schema", "--example", "crds"]))?;
    serde_json::from_str(&text).context("the example `crds` printed something else")
}

fn read(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
    };
    for entry in entries {
        let path = entry?.path();
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, text);
    }
    Ok(files)
}

/// Names of the files that are missing, too many, or other than wanted.
fn stale(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<String> = wanted.keys().chain(found.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| wanted.get(name) != found.get(name));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn files_that_are_missing_too_many_or_other_than_wanted_are_stale() {
        let wanted = files(&[("same", "1"), ("missing", "2"), ("other", "3")]);
        let found = files(&[("same", "1"), ("other", "4"), ("extra", "5")]);
        assert_eq!(stale(&wanted, &found), ["extra", "missing", "other"]);
        assert_eq!(stale(&wanted, &wanted), Vec::<String>::new());
    }
}
