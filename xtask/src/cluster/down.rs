//! Ending a cluster, and clearing what one left behind that was not ended properly.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroups;
use super::state::{Cluster, Init, read};
use crate::command::first_failure;

/// How long the kernel may take to end the processes of a cluster.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the cluster if it runs and removes everything of it. Says whether there was anything.
pub(crate) fn clear(cluster: &Cluster) -> anyhow::Result<bool> {
    if let Some(init) = cluster.init()? {
        kill(cluster, &init)?;
    }
    // Those that are recorded, and those that it would have where the record is gone.
    let mut groups: Vec<PathBuf> = read(&cluster.cgroups_file())?.unwrap_or_default();
    groups.extend(cgroups::folders(&cluster.group())?);
    let was_there = cluster.folder.exists() || groups.iter().any(|group| group.exists());
    // They are empty when the last process is gone, and with it its mounts and its network.
    cgroups::remove(&groups)?;
    if !cluster.folder.exists() {
        return Ok(was_there);
    }
    assert_not_mounted(&cluster.folder)?;
    fs::remove_dir_all(&cluster.folder)
        .with_context(|| format!("cannot remove {}", cluster.folder.display()))?;
    Ok(true)
}

/// Clears the cluster after `result`, whatever that is. Where both fail, the error says why the former
/// did and then why the latter did.
pub(crate) fn clear_after<T>(cluster: &Cluster, result: anyhow::Result<T>) -> anyhow::Result<T> {
    first_failure(result, clear(cluster).context("the cluster could not be cleared"))
}

/// Kills the first process, and with it all others. The handle makes sure that it is still the
/// process that was looked at.
pub(super) fn kill(cluster: &Cluster, init: &Init) -> anyhow::Result<()> {
    let pid =
        i32::try_from(init.pid).ok().and_then(Pid::from_raw).context("no number of a process")?;
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        handle => handle.context("cannot get hold of the first process")?,
    };
    if cluster.init()?.as_ref() != Some(init) {
        return Ok(());
    }
    match pidfd_send_signal(handle, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error).context("cannot kill the first process"),
    }
    let deadline = Instant::now() + PATIENCE;
    while cluster.init()?.is_some() {
        if Instant::now() > deadline {
            bail!("process {} does not end", init.pid);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A mount of the cluster is invisible here; one that is not was made by somebody else, and what is
/// in it must not be removed.
fn assert_not_mounted(folder: &Path) -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    match below.map(Path::new).find(|mount| mount.starts_with(folder)) {
        Some(mount) => bail!("{} is mounted: unmount it first", mount.display()),
        None => Ok(()),
    }
}
