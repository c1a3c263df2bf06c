//! What a cluster needs of the machine: Linux, root, and programs of its distribution.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::command::run;

/// A program with the Debian package that has it.
struct Needed {
    program: &'static str,
    package: &'static str,
}

/// Go is looked for separately: a distribution's may be too old to fetch a newer one.
const NEEDED: [Needed; 9] = [
    Needed { program: "buildah", package: "buildah" },
    Needed { program: "conntrack", package: "conntrack" },
    Needed { program: "ip", package: "iproute2" },
    Needed { program: "iptables", package: "iptables" },
    Needed { program: "nft", package: "nftables" },
    Needed { program: "nsenter", package: "util-linux" },
    Needed { program: "openssl", package: "openssl" },
    Needed { program: "runc", package: "runc" },
    Needed { program: "unshare", package: "util-linux" },
];

/// Where distributions and hand-made installations keep the network plugins.
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
const CNI_PLUGINS: [&str; 4] = ["host-local", "loopback", "portmap", "ptp"];
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// The oldest Go that fetches the toolchain which a module asks for.
const OLDEST_GO: (u32, u32) = (1, 21);

/// Fails with everything that is missing and how to get it; with `install`, gets Debian's packages.
pub(crate) fn check(install: bool) -> anyhow::Result<()> {
    check_root()?;
    let packages = missing_packages();
    if !packages.is_empty() {
        let line = format!("apt-get install --no-install-recommends {}", packages.join(" "));
        if !install {
            bail!(
                "a cluster needs programs that are missing here: run `{line}`, or add --install; \
                 elsewhere than on Debian the packages may have other names"
            );
        }
        if find("apt-get").is_none() {
            bail!("--install knows Debian's apt-get only: install {}", packages.join(", "));
        }
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt.args(["install", "--yes", "--no-install-recommends"]).args(&packages);
        run(&mut apt).with_context(|| {
            "packages cannot be installed; if the lists of packages are old, `apt-get update` helps"
        })?;
        let packages = missing_packages();
        if !packages.is_empty() {
            bail!("still missing after the installation: {}", packages.join(", "));
        }
    }
    go().map(|_| ())
}

/// Namespaces, mounts and control groups belong to root.
pub(crate) fn check_root() -> anyhow::Result<()> {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("xtask"));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_root = rustix::process::geteuid().is_root();
    check_system(std::env::consts::OS, is_root, &program, &arguments)
}

/// Whether this can be done on a system of this name, by this user; the program and its arguments are how
/// to try again.
fn check_system(
    system: &str,
    is_root: bool,
    program: &Path,
    arguments: &[String],
) -> anyhow::Result<()> {
    if system != "linux" {
        bail!("a cluster needs Linux: its nodes are network namespaces and control groups");
    }
    if !is_root {
        bail!(
            "a cluster needs root, for namespaces, mounts and control groups: run \
             `sudo --preserve-env=PATH,HOME {} {}`",
            program.display(),
            arguments.join(" ")
        );
    }
    Ok(())
}

/// Packages of which a program is missing, each once.
fn missing_packages() -> Vec<&'static str> {
    let programs = NEEDED.iter().filter(|needed| find(needed.program).is_none());
    let mut packages: Vec<_> = programs.map(|needed| needed.package).collect();
    if cni_folder().is_err() {
        packages.push(CNI_PACKAGE);
    }
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// The folder of the network plugins.
pub(crate) fn cni_folder() -> anyhow::Result<&'static str> {
    let has_all =
        |folder: &&str| CNI_PLUGINS.iter().all(|name| Path::new(folder).join(name).exists());
    CNI_FOLDERS.into_iter().find(has_all).with_context(|| {
        format!("no network plugins in {}: install {CNI_PACKAGE}", CNI_FOLDERS.join(" or "))
    })
}

/// The Go command. Which toolchain a module is built with, its go.mod says.
pub(crate) fn go() -> anyhow::Result<PathBuf> {
    let usual = Path::new("/usr/local/go/bin/go");
    let go = found_go(find("go").or_else(|| usual.exists().then(|| usual.to_owned())))?;
    let output = Command::new(&go)
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", go.display()))?;
    check_go(&go, String::from_utf8_lossy(&output.stdout).trim())?;
    Ok(go)
}

fn found_go(found: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    found.context("Go is missing: install it from https://go.dev/dl, any since 1.21")
}

/// Whether Go is new enough, of which this is the version.
fn check_go(go: &Path, version: &str) -> anyhow::Result<()> {
    match go_version(version) {
        Some(version) if version >= OLDEST_GO => Ok(()),
        _ => bail!(
            "{} is Go {version:?}, too old to fetch the toolchain that Kubernetes needs: install one \
             from https://go.dev/dl, any since 1.21",
            go.display(),
        ),
    }
}

/// Major and minor number of `go1.26.8`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `PATH` with the folders of servers, where not every user looks.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for folder in servers.map(PathBuf::from) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// `PATH` that begins with the given folders.
pub(crate) fn path_with(first: &[PathBuf]) -> OsString {
    let folders = first.iter().cloned().chain(search_path());
    std::env::join_paths(folders).expect("a folder of PATH has no colon")
}

fn find(program: &str) -> Option<PathBuf> {
    search_path().into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_than_on_linux_and_without_root_it_is_said_what_is_needed() {
        let check = |system, is_root| {
            let arguments = ["cluster", "up"].map(str::to_owned);
            check_system(system, is_root, Path::new("/t/xtask"), &arguments)
                .map_err(|error| error.to_string())
        };
        assert_eq!(check("linux", true), Ok(()));
        let error = check("macos", true).expect_err("it is no Linux");
        assert!(error.starts_with("a cluster needs Linux: "), "{error}");
        let error = check("linux", false).expect_err("it is not root");
        assert!(error.starts_with("a cluster needs root, "), "{error}");
        let again = "run `sudo --preserve-env=PATH,HOME /t/xtask cluster up`";
        assert!(error.ends_with(again), "{error}");
    }

    #[test]
    fn without_go_and_with_an_old_one_it_is_said_where_there_is_one() {
        let error = found_go(None).expect_err("there is none").to_string();
        assert_eq!(error, "Go is missing: install it from https://go.dev/dl, any since 1.21");
        let check = |version| check_go(Path::new("/usr/bin/go"), version);
        assert!(check("go1.21.0").is_ok() && check("go1.26.8").is_ok());
        let error = check("go1.19.8").expect_err("it is old").to_string();
        let expected = "/usr/bin/go is Go \"go1.19.8\", too old to fetch the toolchain that Kubernetes needs: \
                        install one from https://go.dev/dl, any since 1.21";
        assert_eq!(error, expected);
        assert!(check("").is_err(), "it does not run");
    }

    #[test]
    fn the_version_of_go_is_read() {
        assert_eq!(go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert_eq!(go_version("devel"), None);
        assert!(go_version("go1.9.2").unwrap() < OLDEST_GO);
    }
}
