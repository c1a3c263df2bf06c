//! `cargo xtask servers`: programs that others made, behind `gwapi`.

mod collector;
mod dns;
mod server;

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::command::target_directory;

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let folder = target_directory(root)?.join("servers");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    collector::check(root, &folder).context("with an OpenTelemetry Collector")?;
    dns::check(root, &folder).context("with CoreDNS")
}
