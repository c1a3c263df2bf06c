//! The proxies: how each is told to serve a [`Site`], and how it is started.
//!
//! All are configured alike: one worker, connections to the backend that stay, no access log,
//! routing by host and prefix, and the four headers that tell the backend of the client.

mod envoy;
mod gwapi;
mod haproxy;
mod nginx;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;

use super::answer;
use super::process::{Process, wait_for};
use super::site::Site;

/// A proxy that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Peer {
    Gwapi,
    Nginx,
    Haproxy,
    Envoy,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gwapi => "gwapi",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        })
    }
}

/// Where programs are that are not in the path.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) gwapi: PathBuf,
    pub(crate) envoy: PathBuf,
}

impl Peer {
    /// Writes the configuration for a site into a folder and returns the command that serves it.
    fn configure(self, site: &Site, folder: &Path, programs: &Programs) -> anyhow::Result<Command> {
        match self {
            Self::Gwapi => gwapi::configure(site, folder, &programs.gwapi),
            Self::Nginx => nginx::configure(site, folder),
            Self::Haproxy => haproxy::configure(site, folder),
            Self::Envoy => envoy::configure(site, folder, &programs.envoy),
        }
    }
}

/// A proxy that serves a site.
pub(crate) struct Running {
    pub(crate) peer: Peer,
    pub(crate) site: Site,
    pub(crate) process: Process,
    /// From its start to the first right answer.
    pub(crate) started_in: Duration,
}

impl Running {
    /// Starts a proxy on a core and waits for a right answer with a body of that length.
    pub(crate) fn start(
        peer: Peer,
        site: Site,
        length: usize,
        core: usize,
        folder: &Path,
        programs: &Programs,
    ) -> anyhow::Result<Self> {
        let folder = folder.join(peer.to_string());
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let command = peer.configure(&site, &folder, programs)?;
        let start = Instant::now();
        let log = folder.join("log");
        let mut process = Process::start(&peer.to_string(), core, &command, &log)?;
        let asked = wait_for(Duration::from_secs(30), || {
            process.assert_running()?;
            answer::assert(&site, length, &folder)
        });
        asked.with_context(|| format!("{peer} says: {}", process.last_words()))?;
        Ok(Self { peer, site, process, started_in: start.elapsed() })
    }
}

/// Writes a file and names it where that fails.
fn write(path: &Path, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
