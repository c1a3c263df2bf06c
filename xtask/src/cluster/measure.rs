//! What a user of a cluster waits for.

use std::ffi::OsString;
use std::path::Path;

use super::caller::as_caller;
use super::tools::Tools;
use crate::command::{cargo, ending_with_us, run, target_directory};

/// Builds the program that measures, and runs it in the network of the cluster.
pub(super) fn measure(root: &Path, tools: &Tools, arguments: &[OsString]) -> anyhow::Result<()> {
    // What it waits for is elsewhere: it need not be fast itself.
    let mut build = cargo(root);
    build.args(["build", "--locked", "--package", "gwapi-end-to-end", "--bin", "figures"]);
    as_caller(&mut build);
    run(&mut build)?;
    let mut command = tools.command(target_directory(root)?.join("debug/figures"));
    run(&mut ending_with_us(command.args(arguments)))
}
