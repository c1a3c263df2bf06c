//! Whether a cluster whose first process is killed leaves no more than a folder and empty control groups, as
//! `docs/cluster.md` says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::cgroups;
use super::state::{Cluster, Init, read};
use super::tools::retry;
use super::{down, progress};

/// What a cluster has of its own, and where its processes, mounts and links are.
const NAMESPACES: [&str; 5] = ["net", "mnt", "pid", "ipc", "cgroup"];

/// How long the kernel may take to end what the first process leaves.
const PATIENCE: Duration = Duration::from_secs(20);

/// Kills the first process of a cluster that runs, and fails where anything of it goes on.
pub(super) fn check(cluster: &Cluster) -> anyhow::Result<()> {
    let init = cluster.ready_init()?;
    let namespaces = own_namespaces(&init)?;
    progress::step("killed, it leaves nothing that runs", || {
        down::kill(cluster, &init)?;
        let hopeful = || Ok(());
        retry(PATIENCE, hopeful, || nothing_is_left(cluster, &namespaces))?;
        ensure!(down::clear(cluster)?, "its folder was gone before it was cleared");
        ensure!(!cluster.folder.exists(), "its folder is there after it was cleared");
        let groups = cgroups::folders(&cluster.group())?;
        let group = groups.iter().find(|group| group.exists());
        ensure!(group.is_none(), "there is a control group after it was cleared: {group:?}");
        Ok(())
    })
}

/// The namespaces of a cluster; each has to be another one than ours, or it would change what is outside.
fn own_namespaces(init: &Init) -> anyhow::Result<Vec<PathBuf>> {
    let of = |path: &Path| {
        fs::read_link(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut found = Vec::new();
    for kind in NAMESPACES {
        let its = of(&init.namespace(kind))?;
        let ours = of(&Path::new("/proc/self/ns").join(kind))?;
        ensure!(its != ours, "the cluster shares {} with this system", its.display());
        found.push(its);
    }
    Ok(found)
}

/// A namespace is gone with its last process, and with it the mounts, links and addresses in it.
fn nothing_is_left(cluster: &Cluster, namespaces: &[PathBuf]) -> anyhow::Result<()> {
    if let Some((process, namespace)) = processes_in(namespaces)?.first() {
        bail!("process {process} is left in {}", namespace.display());
    }
    let groups: Vec<PathBuf> = read(&cluster.cgroups_file())?.context("no groups are recorded")?;
    if let Some(group) = groups.iter().find_map(|group| first_with_members(group)) {
        bail!("there are processes in {}", group.display());
    }
    Ok(())
}

/// Processes that are in one of these namespaces.
fn processes_in(namespaces: &[PathBuf]) -> anyhow::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile has none.
        let its = NAMESPACES
            .iter()
            .filter_map(|kind| fs::read_link(entry.path().join("ns").join(kind)).ok());
        found.extend(its.filter(|it| namespaces.contains(it)).map(|it| (process, it)));
    }
    Ok(found)
}

/// The group, or one below it, that has a process.
fn first_with_members(group: &Path) -> Option<PathBuf> {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    if !members.trim().is_empty() {
        return Some(group.to_owned());
    }
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    let mut below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.find_map(|entry| first_with_members(&entry.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_namespaces_and_shares_ours() {
        let ours = fs::read_link("/proc/self/ns/net").expect("there is one");
        let found = processes_in(std::slice::from_ref(&ours)).expect("there is /proc");
        assert!(found.contains(&(std::process::id(), ours)));
        assert!(processes_in(&[PathBuf::from("net:[1]")]).expect("there is /proc").is_empty());
        let error = own_namespaces(&Init::this().expect("this process")).expect_err("it is us");
        assert!(error.to_string().contains("shares net:["), "{error}");
    }
}
