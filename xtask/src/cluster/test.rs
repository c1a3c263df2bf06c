//! The controller's tests that need a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::caller::as_caller;
use super::tools::Tools;
use crate::command::{cargo, ending_with_us, output, run};

/// Tests of `gwapi-controller` that `cargo test` leaves out.
const TESTS: [&str; 2] = ["cluster", "api_server"];

/// What tells them that they may do to the cluster what they like.
const KUBECONFIG: &str = "GWAPI_TEST_KUBECONFIG";

/// What is read of a line that cargo prints for what it built.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

/// What was built.
#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds the tests and runs those whose names have `filter` in them.
pub(super) fn test(root: &Path, tools: &Tools, filter: Option<&str>) -> anyhow::Result<()> {
    let mut build = cargo(root);
    // As the other tests are built, so that nothing is compiled once more with other features.
    build.args(["test", "--locked", "--workspace", "--all-features", "--no-run"]);
    build.args(TESTS.iter().flat_map(|test| ["--test", test]));
    build.arg("--message-format=json-render-diagnostics");
    as_caller(&mut build);
    let built = output(&mut build)?;
    let programs = TESTS.map(|test| program(&built, test, "test"));
    let programs = programs.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    for program in with_tests(programs, filter)? {
        let mut command = tools.command(program);
        command.current_dir(root.join("gwapi-controller"));
        command.env(KUBECONFIG, tools.cluster.kubeconfig()).args(filter);
        run(&mut ending_with_us(&command))?;
    }
    Ok(())
}

/// Those of the programs which have a test with `filter` in its name; at least one has to.
fn with_tests(programs: Vec<PathBuf>, filter: Option<&str>) -> anyhow::Result<Vec<PathBuf>> {
    let Some(filter) = filter else { return Ok(programs) };
    let mut found = Vec::new();
    for program in programs {
        let names = output(Command::new(&program).args(["--list", filter]))?;
        if names.lines().any(|line| line.ends_with(": test")) {
            found.push(program);
        }
    }
    ensure!(!found.is_empty(), "no test has `{filter}` in its name");
    Ok(found)
}

/// The program of a kind, `test` or `bin`, among what cargo built.
pub(super) fn program(built: &str, name: &str, kind: &str) -> anyhow::Result<PathBuf> {
    let artifacts = built.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let is_it = |target: &Target| target.name == name && target.kind.iter().any(|its| its == kind);
    let mut found = artifacts.filter(|artifact| is_it(&artifact.target));
    let path = found.find_map(|artifact| artifact.executable);
    path.with_context(|| format!("cargo built no {kind} `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_leaves_out_programs_without_a_test_of_that_name() {
        let this = std::env::current_exe().expect("it runs");
        let all = || vec![PathBuf::from("/bin/echo"), this.clone()];
        let chosen = |filter| with_tests(all(), filter);
        assert_eq!(
            chosen(Some("leaves_out_programs")).expect("one has it"),
            std::slice::from_ref(&this)
        );
        assert_eq!(chosen(None).expect("no name is asked for"), all());
        let error = chosen(Some("NO TEST")).expect_err("none has it").to_string();
        assert_eq!(error, "no test has `NO TEST` in its name");
    }

    #[test]
    fn the_program_is_the_one_that_cargo_names() {
        let line = |name: &str, kind: &str, path: &str| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "target": {"name": name, "kind": [kind]},
                "executable": path,
            })
            .to_string()
        };
        let built = [
            "{\"reason\":\"compiler-artifact\",\"executable\":null}".to_owned(),
            line("cluster", "test", "/t/deps/cluster-1"),
            line("gwapi-controller", "bin", "/t/gwapi-controller"),
            "{\"reason\":\"build-finished\",\"success\":true}".to_owned(),
        ];
        let built = built.join("\n");
        let test = program(&built, "cluster", "test").expect("it is there");
        assert_eq!(test, Path::new("/t/deps/cluster-1"));
        let bin = program(&built, "gwapi-controller", "bin").expect("it is there");
        assert_eq!(bin, Path::new("/t/gwapi-controller"));
        let error = program(&built, "gwapi-controller", "test").expect_err("it is none");
        assert_eq!(error.to_string(), "cargo built no test `gwapi-controller`");
    }
}
