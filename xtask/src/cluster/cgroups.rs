//! The control groups of a cluster: one in every hierarchy, below which everything of it runs. Inside
//! of the cluster they are the roots, so that two clusters do not see each other.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Where hierarchies are mounted.
const BASE: &str = "/sys/fs/cgroup";

/// The group of the cluster's own programs. With version 2, only groups without processes of their
/// own can share out controllers, so the root of the cluster has none.
pub(crate) const COMPONENTS: &str = "components";

/// How long processes may take to end by themselves, when the first of them was killed.
const GRACE: Duration = Duration::from_secs(2);

/// How long the kernel may take to let go of groups whose processes were killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mount_point: PathBuf,
    /// What to mount it with; none for version 2.
    pub(crate) options: Option<String>,
    /// The group of this process, below the mount point.
    own: PathBuf,
}

/// The hierarchies that are mounted here.
pub(crate) fn hierarchies() -> anyhow::Result<Vec<Hierarchy>> {
    let read = |path| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let found = parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
    if found.is_empty() {
        bail!("no control groups are mounted below {BASE}");
    }
    Ok(found)
}

fn parse(mountinfo: &str, own_groups: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let front: Vec<&str> = front.split(' ').collect();
        let back: Vec<&str> = back.split(' ').collect();
        let (&[_, _, _, mount_root, mount_point, ..], &[kind, _, super_options]) =
            (&front[..], &back[..])
        else {
            continue;
        };
        if !matches!(kind, "cgroup" | "cgroup2") || !mount_point.starts_with(BASE) {
            continue;
        }
        let options = (kind == "cgroup").then(|| controllers(super_options));
        let own = own_group(own_groups, options.as_deref()).unwrap_or("/");
        let own = own.strip_prefix(mount_root.trim_end_matches('/')).unwrap_or("/");
        found.push(Hierarchy {
            mount_point: PathBuf::from(mount_point),
            options,
            own: PathBuf::from(own.trim_start_matches('/')),
        });
    }
    found
}

/// What tells a hierarchy of version 1 from others.
fn controllers(super_options: &str) -> String {
    let is_flag = |option: &&str| {
        matches!(*option, "rw" | "ro" | "xattr" | "clone_children" | "noprefix")
            || option.starts_with("release_agent=")
    };
    let mut names: Vec<&str> = super_options.split(',').filter(|name| !is_flag(name)).collect();
    if names.iter().all(|name| name.starts_with("name=")) {
        names.insert(0, "none");
    }
    names.join(",")
}

/// The group of this process in the hierarchy with these controllers.
fn own_group<'a>(own_groups: &'a str, options: Option<&str>) -> Option<&'a str> {
    let wanted = options.unwrap_or_default().trim_start_matches("none,");
    own_groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        (parts.next()? == wanted).then(|| parts.next())?
    })
}

impl Hierarchy {
    /// The group of a cluster. With version 1 it is below the group of whoever starts it, whose
    /// limits hold; with version 2 that one has processes, so that it cannot share out controllers.
    fn folder(&self, name: &str) -> PathBuf {
        let parent = match self.options {
            Some(_) => self.mount_point.join(&self.own),
            None => self.mount_point.clone(),
        };
        parent.join(name)
    }
}

/// The folders of a cluster whose groups have this name, one in each hierarchy.
pub(crate) fn folders(name: &str) -> anyhow::Result<Vec<PathBuf>> {
    Ok(hierarchies()?.iter().map(|hierarchy| hierarchy.folder(name)).collect())
}

/// Makes the groups of a cluster, each with one for its programs.
pub(crate) fn create(folders: &[PathBuf]) -> anyhow::Result<()> {
    for folder in folders {
        if let Some(parent) = folder.parent() {
            share_controllers(parent);
        }
        for folder in [folder.clone(), folder.join(COMPONENTS)] {
            fs::create_dir(&folder)
                .with_context(|| format!("cannot create the control group {}", folder.display()))?;
            inherit_cpuset(&folder)?;
        }
    }
    Ok(())
}

/// With version 2, a group has the controllers that its parent shares out. Which of them exist
/// depends on the system; kubelet names those that it misses.
pub(crate) fn share_controllers(folder: &Path) {
    let file = folder.join("cgroup.subtree_control");
    if file.exists() {
        for controller in ["cpuset", "cpu", "io", "memory", "pids"] {
            let _ = fs::write(&file, format!("+{controller}"));
        }
    }
}

/// With version 1, a new group has no processor and no memory node, and takes no process.
fn inherit_cpuset(folder: &Path) -> anyhow::Result<()> {
    let is_version_1 =
        folder.join("cpuset.cpus").exists() && !folder.join("cgroup.controllers").exists();
    if !is_version_1 {
        return Ok(());
    }
    let parent = folder.parent().context("a control group has no parent")?;
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let value = fs::read(parent.join(name)).with_context(|| format!("cannot read {name}"))?;
        fs::write(folder.join(name), value).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Moves this process into groups.
pub(crate) fn join(folders: &[PathBuf]) -> anyhow::Result<()> {
    for folder in folders {
        let file = folder.join("cgroup.procs");
        fs::write(&file, std::process::id().to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Removes groups and what is below them, as soon as their processes are gone. Processes that are
/// still there are of a cluster whose record was removed behind its back, and are killed.
pub(crate) fn remove(folders: &[PathBuf]) -> anyhow::Result<()> {
    let start = Instant::now();
    for folder in folders {
        while let Err(error) = remove_tree(folder) {
            if start.elapsed() > PATIENCE {
                return Err(error).context(format!("cannot remove {}", folder.display()));
            }
            if start.elapsed() > GRACE {
                kill_members(folder);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Kills what is in a group and below it: whoever is there is of the cluster. One that ends meanwhile
/// is what was wanted.
fn kill_members(folder: &Path) {
    let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_members(&entry.path());
        }
    }
}

/// The files of a group are the kernel's: only folders are removed, from below.
fn remove_tree(folder: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const GROUPS: &str = "\
9:name=systemd:/user.slice
4:memory:/a/b
1:cpu,cpuacct:/
0::/user.slice
";

    #[test]
    fn hierarchies_of_both_versions_are_found_with_the_own_group() {
        let found = parse(MOUNTS, GROUPS);
        let folders: Vec<_> = found.iter().map(|found| found.folder("gwapi-x")).collect();
        let expected = [
            "/sys/fs/cgroup/memory/a/b/gwapi-x",
            "/sys/fs/cgroup/cpu,cpuacct/gwapi-x",
            "/sys/fs/cgroup/systemd/user.slice/gwapi-x",
            "/sys/fs/cgroup/unified/gwapi-x",
        ];
        assert_eq!(folders, expected.map(PathBuf::from));
        let options: Vec<_> = found.iter().map(|found| found.options.as_deref()).collect();
        let expected = [Some("memory"), Some("cpu,cpuacct"), Some("none,name=systemd"), None];
        assert_eq!(options, expected);
    }

    #[test]
    fn in_a_container_the_own_group_is_below_what_is_mounted() {
        let mounts = MOUNTS.replace("0:32 / ", "0:32 /a ");
        assert_eq!(parse(&mounts, GROUPS)[0].own, Path::new("b"));
    }
}
