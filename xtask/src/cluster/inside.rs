//! The inside of a cluster, arranged by its first process: mounts and the network.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

use super::cgroups::{self, Hierarchy};
use super::components::{LOAD_BALANCERS, NODE_ADDRESS, SERVICES};
use super::state::INSIDE;

/// Settings of the whole machine that kubelet insists on. It is shown files with these values
/// instead: a test cluster has no business in changing what the machine does when it panics.
const SHOWN_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Makes of fresh namespaces the inside of the cluster with this folder.
pub(crate) fn furnish(folder: &Path) -> anyhow::Result<()> {
    let hierarchies = cgroups::hierarchies()?;
    // Mounts of containers may spread among the mounts of this cluster; none leaves it.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .context("cannot share mounts")?;
    mount_run(folder)?;
    mount_fresh("proc", "/proc", None)?;
    show_settings()?;
    mount_fresh("sysfs", "/sys", None)?;
    mount_groups(&hierarchies)?;
    network()
}

/// `/run` and `/var/lib` are where programs keep what is theirs: here, in memory.
fn mount_run(folder: &Path) -> anyhow::Result<()> {
    mount_fresh("tmpfs", "/run", Some("mode=755"))?;
    for name in ["lock", "var-lib/upper", "var-lib/work"] {
        create(&Path::new("/run").join(name))?;
    }
    let layers = c"lowerdir=/var/lib,upperdir=/run/var-lib/upper,workdir=/run/var-lib/work";
    mount("overlay", "/var/lib", "overlay", MountFlags::empty(), layers)
        .context("cannot lay a folder in memory over /var/lib")?;
    bind(folder, Path::new(INSIDE))?;
    let logs = Path::new(INSIDE).join("logs/machine");
    create(&logs)?;
    mount_bind(&logs, "/var/log").context("cannot mount /var/log")
}

fn show_settings() -> anyhow::Result<()> {
    let folder = Path::new("/run/settings");
    create(folder)?;
    for (name, value) in SHOWN_SETTINGS {
        let file = folder.join(name.replace('/', "."));
        fs::write(&file, format!("{value}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let target = Path::new("/proc/sys").join(name);
        if target.exists() {
            mount_bind(&file, &target)
                .with_context(|| format!("cannot mount {}", target.display()))?;
        }
    }
    Ok(())
}

/// The same hierarchies at the same places, with the groups of the cluster as roots.
fn mount_groups(hierarchies: &[Hierarchy]) -> anyhow::Result<()> {
    let base = Path::new("/sys/fs/cgroup");
    if hierarchies.iter().all(|hierarchy| hierarchy.mount_point != base) {
        mount_fresh("tmpfs", "/sys/fs/cgroup", Some("mode=755"))?;
    }
    for Hierarchy { mount_point, options, .. } in hierarchies {
        let target = mount_point.to_str().context("a control group is not named in UTF-8")?;
        if mount_point != base {
            create(mount_point)?;
        }
        match options {
            Some(options) => mount_fresh("cgroup", target, Some(options))?,
            None => mount_fresh("cgroup2", target, None)?,
        }
        cgroups::share_controllers(mount_point);
    }
    Ok(())
}

/// The node's address, and routes that lead nowhere: what is sent to an address of a Service that
/// does not exist stays here. There is no route to anywhere else.
fn network() -> anyhow::Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch forwarding on")?;
    ip("link set lo up")?;
    // A bridge without ports does what a dummy device would, and every kernel has it.
    for name in ["node0", "sink0"] {
        ip(&format!("link add {name} type bridge"))?;
        ip(&format!("link set {name} up"))?;
    }
    ip(&format!("address add {NODE_ADDRESS}/32 dev node0"))?;
    for range in [SERVICES, LOAD_BALANCERS] {
        ip(&format!("route add {range} dev sink0 src {NODE_ADDRESS}"))?;
    }
    Ok(())
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    let output = command.args(arguments.split(' ')).stdin(Stdio::null()).output();
    let output = output.context("cannot start ip")?;
    if !output.status.success() {
        bail!("`ip {arguments}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn mount_fresh(kind: &str, target: &str, options: Option<&str>) -> anyhow::Result<()> {
    let options = options.map(std::ffi::CString::new).transpose().context("options with a NUL")?;
    mount(kind, target, kind, MountFlags::empty(), options.as_deref())
        .with_context(|| format!("cannot mount {target}"))
}

fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    create(target)?;
    mount_bind(source, target).with_context(|| format!("cannot mount {}", target.display()))
}

fn create(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
