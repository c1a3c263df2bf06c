//! Examples for embedders: those of the crates, and crates outside of the workspace that depend on
//! ours by path, as a user's own would.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::command::{cargo, run as run_command, target_directory};

/// Examples of the crates: each runs to its end and exits with 0.
const INSIDE: [&str; 2] = ["embed_translate", "embed_proxy"];

/// Compiles and runs all of them.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let target = target_directory(root)?;
    let flags = ["--locked", "--workspace", "--all-features", "--examples"];
    run_command(cargo(root).arg("build").args(flags))?;
    for example in INSIDE {
        let binary = target.join("debug/examples").join(example);
        run_command(std::process::Command::new(binary).current_dir(root))?;
    }
    for manifest in outside(root)? {
        seed_lock_file(root, &manifest)?;
        // A program is run; a library is there for its tests.
        let is_program = manifest.with_file_name("src").join("main.rs").exists();
        let mut command = cargo(root);
        command.arg(if is_program { "run" } else { "test" });
        command.arg("--manifest-path").arg(&manifest).args(SAME_PROFILE);
        run_command(command.env("CARGO_TARGET_DIR", &target))?;
    }
    Ok(())
}

/// Checks the formatting of the crates outside of the workspace, which `cargo fmt --all` leaves
/// out.
pub(crate) fn check_format(root: &Path) -> anyhow::Result<()> {
    for manifest in outside(root)? {
        let mut command = cargo(root);
        run_command(command.args(["fmt", "--check", "--manifest-path"]).arg(manifest))?;
    }
    Ok(())
}

/// The profile of the workspace, so that what is compiled already is compiled once.
const SAME_PROFILE: [&str; 4] = [
    "--config",
    "profile.dev.debug='line-tables-only'",
    "--config",
    "profile.dev.package.'*'.debug=false",
];

/// Manifests of the crates below `examples/`, in order.
fn outside(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = root.join("examples");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut manifests = Vec::new();
    for entry in entries {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            manifests.push(manifest);
        }
    }
    manifests.sort();
    Ok(manifests)
}

/// Gives a crate without lock file the versions of the workspace, so that both compile the same.
/// Lock files of examples are not kept: a user's own crate has one of its own.
fn seed_lock_file(root: &Path, manifest: &Path) -> anyhow::Result<()> {
    let lock_file = manifest.with_file_name("Cargo.lock");
    if !lock_file.exists() {
        fs::copy(root.join("Cargo.lock"), &lock_file)
            .with_context(|| format!("cannot write {}", lock_file.display()))?;
    }
    Ok(())
}
