//! What a user of a cluster waits for.

use std::ffi::OsString;
use std::path::Path;

use super::caller::as_caller;
use super::test::program;
use super::tools::Tools;
use crate::command::{cargo, ending_with_us, output, run};

/// What CI measures: enough to see that a new Gateway and an edit take as long as they did, in half a minute.
/// Of several Gateways the quickest is judged, as the machine may be busy with other things.
const FIGURES_OF_CI: [&str; 8] =
    ["--gateways", "5", "--routes", "10", "--edits", "100", "--within", "1500"];

/// Measures as CI does, and fails where a new Gateway does not answer in time.
pub(super) fn check(root: &Path, tools: &Tools) -> anyhow::Result<()> {
    measure(root, tools, &FIGURES_OF_CI.map(OsString::from))
}

/// Builds the program that measures, and runs it in the network of the cluster.
pub(super) fn measure(root: &Path, tools: &Tools, arguments: &[OsString]) -> anyhow::Result<()> {
    // What it waits for is elsewhere: it need not be fast itself. It is built as it is for the tests of its
    // package, so that nothing is compiled once more with other features.
    let mut build = cargo(root);
    build.args(["test", "--locked", "--workspace", "--all-features", "--no-run"]);
    build.args(["--test", "stream", "--message-format=json-render-diagnostics"]);
    as_caller(&mut build);
    let built = output(&mut build)?;
    let mut command = tools.command(program(&built, "figures", "bin")?);
    run(&mut ending_with_us(command.args(arguments)))
}
