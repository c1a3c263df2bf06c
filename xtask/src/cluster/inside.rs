//! The inside of a cluster, arranged by its first process: mounts and the network.

use std::fs;
use std::path::{Path, PathBuf};
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

/// Folders of the machine that are others inside, with nothing of the machine in them.
const REPLACED: [&str; 3] = ["/run", "/proc", "/sys"];

/// Folders that are others inside, though what is in them on the machine may be shown.
const COVERED: [&str; 2] = ["/var/lib", "/var/log"];

/// Where folders are held that would be covered.
const HELD: &str = "/run/held";

/// Fails where what is in a folder could not be reached inside.
pub(crate) fn check_is_visible(folder: &Path) -> anyhow::Result<()> {
    match REPLACED.iter().find(|replaced| folder.starts_with(replaced)) {
        Some(replaced) => bail!(
            "{} would be hidden inside of the cluster, where {replaced} is another folder: move it",
            folder.display()
        ),
        None => Ok(()),
    }
}

/// Makes of fresh namespaces the inside of the cluster with this folder, which is [`INSIDE`] from then
/// on. `programs` are folders that stay where they are.
pub(crate) fn furnish(folder: &Path, programs: &[PathBuf]) -> anyhow::Result<()> {
    let hierarchies = cgroups::hierarchies()?;
    // Mounts of containers may spread among the mounts of this cluster; none leaves it.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .context("cannot share mounts")?;
    mount_run(folder, programs)?;
    mount_fresh("proc", "/proc", None)?;
    show_settings()?;
    mount_fresh("sysfs", "/sys", None)?;
    mount_groups(&hierarchies)?;
    network()
}

/// `/run` and `/var/lib` are where programs keep what is theirs: here, in memory. What is needed of the
/// machine is bound before anything covers it, and a mount below `/var/lib` is not in the folder that
/// covers it.
fn mount_run(folder: &Path, programs: &[PathBuf]) -> anyhow::Result<()> {
    mount_fresh("tmpfs", "/run", Some("mode=755"))?;
    bind(folder, Path::new(INSIDE))?;
    let held = hold(programs)?;
    for name in ["lock", "var-lib/upper", "var-lib/work"] {
        create(&Path::new("/run").join(name))?;
    }
    let layers = c"lowerdir=/var/lib,upperdir=/run/var-lib/upper,workdir=/run/var-lib/work";
    mount("overlay", "/var/lib", "overlay", MountFlags::empty(), layers)
        .context("cannot lay a folder in memory over /var/lib")?;
    let logs = Path::new(INSIDE).join("logs/machine");
    create(&logs)?;
    mount_bind(&logs, "/var/log").context("cannot mount /var/log")?;
    held.iter().try_for_each(|(place, program)| bind(place, program))
}

/// Binds what would be covered to a place where it stays: these places, and where it belongs.
fn hold(folders: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let mut held = Vec::new();
    for folder in folders {
        let folder = fs::canonicalize(folder)
            .with_context(|| format!("cannot find {}", folder.display()))?;
        if COVERED.iter().any(|covered| folder.starts_with(covered)) {
            let place = Path::new(HELD).join(held.len().to_string());
            bind(&folder, &place)?;
            held.push((place, folder));
        }
    }
    Ok(held)
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd as _;

    use super::*;

    /// Set in the process of a test that has mounts of its own.
    const OWN_MOUNTS: &str = "GWAPI_TEST_OWN_MOUNTS";

    /// Runs the test of this name again, with mounts of its own. Says so where that is not allowed.
    fn with_own_mounts(test: &str) {
        let unshare = |user: &[&str], program: &Path, arguments: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(user).arg("--mount").arg(program).args(arguments);
            command.env(OWN_MOUNTS, "1").output().unwrap()
        };
        let ways: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
        let is_allowed = |way: &&[&str]| {
            let tried = "mount -t tmpfs tmpfs /run";
            unshare(way, Path::new("sh"), &["-c", tried]).status.success()
        };
        let Some(way) = ways.into_iter().find(is_allowed) else {
            println!("NOT TESTED: this user cannot have mounts of his own");
            return;
        };
        let name = format!("cluster::inside::tests::{test}");
        let this = std::env::current_exe().unwrap();
        let output = unshare(way, &this, &["--exact", &name, "--nocapture"]);
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{complaint}");
    }

    #[test]
    fn a_checkout_on_a_disk_below_var_lib_is_the_same_inside() {
        if std::env::var_os(OWN_MOUNTS).is_none() {
            return with_own_mounts("a_checkout_on_a_disk_below_var_lib_is_the_same_inside");
        }
        mount_fresh("tmpfs", "/var/lib", None).unwrap();
        let disk = "/var/lib/jenkins";
        fs::create_dir(disk).unwrap();
        mount_fresh("tmpfs", disk, None).unwrap();
        let folder = Path::new(disk).join("target/cluster/state/default");
        let program = Path::new(disk).join(".cache/gwapi-cluster/etcd-1");
        for folder in [&folder, &program] {
            create(folder).unwrap();
        }
        fs::write(program.join("etcd"), "a program").unwrap();
        // What the folder is outside.
        let outside = File::open(&folder).unwrap();

        mount_run(&folder, std::slice::from_ref(&program)).unwrap();
        let inside = super::super::state::Cluster::of_folder(&folder).inside();
        fs::write(inside.components_file(), "[]").unwrap();
        let outside = format!("/proc/self/fd/{}", outside.as_raw_fd());
        assert_eq!(fs::read_to_string(format!("{outside}/components.json")).unwrap(), "[]");
        assert_eq!(fs::read_to_string(program.join("etcd")).unwrap(), "a program");
        fs::write("/var/lib/state", "of a program").unwrap();
        assert!(!Path::new(disk).join("state").exists());
        assert!(Path::new("/run/var-lib/upper/state").exists());
        fs::write("/var/log/pods", "of a program").unwrap();
        assert!(Path::new(&outside).join("logs/machine/pods").exists());
    }

    #[test]
    fn a_folder_that_is_another_inside_is_refused() {
        assert!(check_is_visible(Path::new("/var/lib/jenkins/target")).is_ok());
        let error = check_is_visible(Path::new("/run/user/1000/target")).unwrap_err().to_string();
        let expected = "/run/user/1000/target would be hidden inside of the cluster, where /run is \
                        another folder: move it";
        assert_eq!(error, expected);
    }
}
