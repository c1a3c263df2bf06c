//! `cargo xtask deps`: which crate may depend on which, and what must not be in them.
//!
//! ```text
//! gwapi-model <- gwapi-translate <- { gwapi-dataplane, gwapi-controller } <- gwapi-cli      xtask
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::command::{cargo, output};

/// Each crate of the workspace with the crates of the workspace that it may depend on, for
/// whatever purpose: tests and build scripts obey the same direction.
const DIRECTION: [(&str, &[&str]); 7] = [
    ("gwapi-model", &[]),
    ("gwapi-translate", &["gwapi-model"]),
    ("gwapi-dataplane", &["gwapi-model", "gwapi-translate"]),
    ("gwapi-controller", &["gwapi-model", "gwapi-translate"]),
    ("gwapi-cli", &["gwapi-model", "gwapi-translate", "gwapi-dataplane", "gwapi-controller"]),
    // Tests alone, of parts that do not know each other.
    (
        "gwapi-end-to-end",
        &["gwapi-model", "gwapi-translate", "gwapi-dataplane", "gwapi-controller"],
    ),
    ("xtask", &[]),
];

/// The parts of a Kubernetes client.
const KUBE: &[&str] = &["kube", "kube-*", "k8s-openapi"];

/// What a pure crate must not contain.
const IMPURE: &[&str] = &["tokio", "hyper", "kube", "kube-*", "k8s-openapi"];

/// What must not be in a crate that is built with given flags, directly or indirectly.
struct Contents {
    package: &'static str,
    flags: &'static [&'static str],
    forbidden: &'static [&'static str],
}

const CONTENTS: [Contents; 7] = [
    Contents { package: "gwapi-model", flags: &["--no-default-features"], forbidden: IMPURE },
    Contents {
        package: "gwapi-model",
        flags: &["--no-default-features", "--features", "manifest"],
        forbidden: IMPURE,
    },
    Contents { package: "gwapi-translate", flags: &["--no-default-features"], forbidden: IMPURE },
    Contents { package: "gwapi-translate", flags: &["--all-features"], forbidden: IMPURE },
    Contents { package: "gwapi-dataplane", flags: &["--all-features"], forbidden: KUBE },
    Contents { package: "gwapi-cli", flags: &[], forbidden: KUBE },
    Contents { package: "xtask", flags: &[], forbidden: KUBE },
];

/// Packages with versions that are not used any more, because of what they let through: the first that is, and
/// why.
const NOT_BEFORE: [(&str, Version, &str); 4] = [
    ("rustls-webpki", [0, 103, 13], "four advisories of 2026 stand against it"),
    ("rustls", [0, 23, 18], "a ClientHello in pieces ends the process"),
    ("hyper", [1, 11, 0], "Content-Length stays beside Transfer-Encoding"),
    ("h2", [0, 4, 16], "DATA without content is not bounded"),
];

/// Major, minor and patch.
type Version = [u32; 3];

/// What is read of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Set for dependencies by path: those of the workspace.
    path: Option<String>,
}

/// Checks the workspace at `root`, and prints what it checked.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let text =
        output(cargo(root).args(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cannot read cargo metadata")?;
    for (package, allowed) in DIRECTION {
        let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
        eprintln!("{package:<18} of our crates at most: {allowed}");
    }
    let mut violations = wrong_directions(&metadata.packages);
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    for (package, [major, minor, patch], why) in NOT_BEFORE {
        eprintln!("{package:<18} from {major}.{minor}.{patch} on: before, {why}");
    }
    violations.extend(known_faults(&lock)?);

    for contents in &CONTENTS {
        let flags = ["tree", "--locked", "--edges", "normal,build", "--prefix", "none"];
        let tree = output(
            cargo(root)
                .args(flags)
                .args(["--format", "{p}", "--package", contents.package])
                .args(contents.flags),
        )?;
        let packages = package_names(&tree);
        eprintln!(
            "{:<18} {:<42} {:>3} packages, none of {}",
            contents.package,
            contents.flags.join(" "),
            packages.len(),
            contents.forbidden.join(", "),
        );
        violations.extend(forbidden_contents(contents, &packages));
    }
    if !violations.is_empty() {
        bail!("{}", violations.join("\n"));
    }
    Ok(())
}

/// One sentence for each dependency that [`DIRECTION`] does not allow.
fn wrong_directions(packages: &[Package]) -> Vec<String> {
    let mut violations = Vec::new();
    for package in packages {
        let Some((_, allowed)) = DIRECTION.iter().find(|(name, _)| *name == package.name) else {
            violations.push(format!("{} has no place in the table of directions", package.name));
            continue;
        };
        let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
        for dependency in ours.filter(|dependency| !allowed.contains(&dependency.name.as_str())) {
            violations.push(format!("{} must not depend on {}", package.name, dependency.name));
        }
    }
    violations
}

/// One sentence for each package of a `Cargo.lock` at a version before the first that is used. A package that
/// is in the table and not in the file is an error: nobody would look at it any more.
fn known_faults(lock: &str) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for (package, first, why) in NOT_BEFORE {
        let mut versions = locked_versions(lock, package).peekable();
        versions.peek().with_context(|| format!("Cargo.lock has no {package}"))?;
        for version in versions {
            let parsed = parse_version(version)
                .with_context(|| format!("{package} has the odd version {version}"))?;
            if parsed < first {
                faults.push(format!("{package} {version}: {why}"));
            }
        }
    }
    Ok(faults)
}

/// The versions at which a `Cargo.lock` has a package.
fn locked_versions<'a>(lock: &'a str, package: &str) -> impl Iterator<Item = &'a str> {
    let name = format!("name = \"{package}\"");
    let packages = lock.split("[[package]]").filter(move |it| it.lines().any(|line| line == name));
    packages.filter_map(|it| {
        let mut lines = it.lines();
        lines.find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
    })
}

/// A version; what marks a pre-release or a build does not count.
fn parse_version(text: &str) -> Option<Version> {
    let plain = text.split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

/// Names of the packages in what `cargo tree --prefix none --format {p}` prints.
fn package_names(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

/// One sentence for each package that must not be there. A name that ends in `*` stands for all
/// that start so.
fn forbidden_contents(contents: &Contents, packages: &BTreeSet<&str>) -> Vec<String> {
    let is_forbidden = |package: &str| {
        contents.forbidden.iter().any(|name| match name.strip_suffix('*') {
            Some(start) => package.starts_with(start),
            None => package == *name,
        })
    };
    packages
        .iter()
        .filter(|package| is_forbidden(package))
        .map(|package| {
            let flags = contents.flags.join(" ");
            format!("{} {flags} contains {package}", contents.package)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(json: &str) -> Vec<Package> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn dependencies_in_the_direction_of_the_table_pass() {
        let packages = packages(
            r#"[
                {"name": "gwapi-translate", "dependencies": [
                    {"name": "gwapi-model", "path": "/x"}, {"name": "http", "path": null}]},
                {"name": "gwapi-cli", "dependencies": [{"name": "gwapi-dataplane", "path": "/x"}]}
            ]"#,
        );
        assert_eq!(wrong_directions(&packages), Vec::<String>::new());
    }

    #[test]
    fn a_dependency_against_the_direction_is_named() {
        let packages = packages(
            r#"[
                {"name": "gwapi-model", "dependencies": [{"name": "gwapi-translate", "path": "/x"}]},
                {"name": "gwapi-dataplane", "dependencies": [
                    {"name": "gwapi-controller", "path": "/x"}]},
                {"name": "xtask", "dependencies": [{"name": "gwapi-cli", "path": "/x"}]}
            ]"#,
        );
        assert_eq!(
            wrong_directions(&packages),
            [
                "gwapi-model must not depend on gwapi-translate",
                "gwapi-dataplane must not depend on gwapi-controller",
                "xtask must not depend on gwapi-cli",
            ]
        );
    }

    /// A `Cargo.lock` with these versions, and with the first good one of what else is in the table.
    fn lock(versions: &[(&str, &str)]) -> String {
        let others = NOT_BEFORE.iter().filter(|row| versions.iter().all(|it| it.0 != row.0));
        let good = others.map(|(name, [a, b, c], _)| (*name, format!("{a}.{b}.{c}")));
        let given = versions.iter().map(|(name, version)| (*name, (*version).to_owned()));
        given
            .chain(good)
            .map(|(name, version)| {
                format!(
                    "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\
                     dependencies = [\n \"rustls-webpki\",\n]\n\n"
                )
            })
            .collect()
    }

    #[test]
    fn a_version_with_a_known_fault_is_named() {
        assert_eq!(known_faults(&lock(&[])).expect("a lock"), Vec::<String>::new());
        for good in ["0.103.13", "0.103.100", "0.104.0-alpha.7", "1.0.0"] {
            let faults = known_faults(&lock(&[("rustls-webpki", good)])).expect("a lock");
            assert_eq!(faults, Vec::<String>::new(), "{good}");
        }
        for bad in ["0.103.12", "0.102.99"] {
            let lock = lock(&[("rustls-webpki", "0.103.16"), ("rustls-webpki", bad)]);
            let faults = known_faults(&lock).expect("a lock");
            let [fault] = &*faults else { panic!("{faults:?}") };
            assert!(fault.starts_with(&format!("rustls-webpki {bad}: ")), "{fault}");
        }
    }

    #[test]
    fn a_package_that_is_gone_is_looked_for_no_more() {
        let without = lock(&[]).replace("name = \"h2\"", "name = \"h2-next\"");
        let error = known_faults(&without).expect_err("the table is stale").to_string();
        assert_eq!(error, "Cargo.lock has no h2");
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_is_named() {
        let packages = packages(r#"[{"name": "gwapi-extra", "dependencies": []}]"#);
        assert_eq!(
            wrong_directions(&packages),
            ["gwapi-extra has no place in the table of directions"]
        );
    }

    #[test]
    fn a_forbidden_package_is_found_by_name_and_by_start_of_name() {
        let contents = Contents { package: "gwapi-cli", flags: &["--flag"], forbidden: KUBE };
        let tree = "gwapi-cli v0.1.0 (/x)\ntokio v1.0.0\nkube-client v4.2.0\nk8s-openapi v0.28.0\n\
                    kubernetes-names v1.0.0\nkube-client v4.2.0 (*)\n";
        assert_eq!(
            forbidden_contents(&contents, &package_names(tree)),
            ["gwapi-cli --flag contains k8s-openapi", "gwapi-cli --flag contains kube-client"]
        );
    }

    #[test]
    fn an_innocent_tree_passes() {
        let contents = Contents { package: "gwapi-model", flags: &[], forbidden: IMPURE };
        let tree = "gwapi-model v0.1.0 (/x)\nserde v1.0.0\ntokio-like v1.0.0\n";
        assert_eq!(forbidden_contents(&contents, &package_names(tree)), Vec::<String>::new());
    }
}
