//! The controller's tests that need a cluster.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

use super::tools::Tools;
use crate::command::{cargo, output, run};

/// Tests of `gwapi-controller` that `cargo test` leaves out.
const TESTS: [&str; 2] = ["cluster", "api_server"];

/// What tells them that they may do to the cluster what they like.
const KUBECONFIG: &str = "GWAPI_TEST_KUBECONFIG";

/// What is read of a line that cargo prints for what it built.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}

/// Builds the tests and runs those whose names have `filter` in them.
pub(super) fn test(root: &Path, tools: &Tools, filter: Option<&str>) -> anyhow::Result<()> {
    for test in TESTS {
        let mut build = cargo(root);
        build.args(["test", "--package", "gwapi-controller", "--test", test, "--no-run"]);
        let built = output(build.arg("--message-format=json-render-diagnostics"))?;
        let mut command = tools.command(executable(&built)?);
        command.current_dir(root.join("gwapi-controller"));
        command.env(KUBECONFIG, tools.cluster.kubeconfig()).args(filter);
        run(&mut command)?;
    }
    Ok(())
}

/// The program among what cargo built.
fn executable(built: &str) -> anyhow::Result<PathBuf> {
    let artifacts = built.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    artifacts.filter_map(|artifact| artifact.executable).next_back().context("cargo built no test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_one_that_cargo_names() {
        let built = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                     {\"reason\":\"compiler-artifact\",\"executable\":\"/t/deps/cluster-1\"}\n\
                     {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(built).expect("a program"), Path::new("/t/deps/cluster-1"));
        assert!(executable("{\"reason\":\"build-finished\"}").is_err());
    }
}
