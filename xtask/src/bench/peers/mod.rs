//! The proxies: how each is told to serve a [`Site`], and how it is started.
//!
//! All are configured alike: one worker, connections to the backend that stay, no access log,
//! routing by host and prefix, and the four headers that tell the backend of the client. Where the
//! proxy reads no requests, it routes by server name or port, and tells nothing.

mod envoy;
mod gwapi;
mod haproxy;
mod nginx;

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};

use super::answer;
use super::client::ask;
use super::process::{Process, wait_for};
use super::programs::Programs;
use super::setup::PROXY_CORE;
use super::site::{Protocol, Site};

/// A proxy that does not answer after this never will; debug builds with many routes are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// A proxy that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Gwapi,
    /// Another build of gwapi
    #[value(skip)]
    Base,
    Nginx,
    Haproxy,
    Envoy,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gwapi => "gwapi",
            Self::Base => "base",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        })
    }
}

impl Peer {
    /// Why it cannot serve a protocol, where that is so.
    pub(crate) fn obstacle(self, protocol: Protocol) -> Option<&'static str> {
        let is_so = self == Self::Nginx && protocol.is_stream();
        is_so.then_some("Debian's nginx-light, which is measured, has no stream module")
    }

    /// Writes the configuration for a site into a folder and returns the command that serves it.
    fn configure(self, site: &Site, folder: &Path, program: &Path) -> anyhow::Result<Command> {
        match self {
            Self::Gwapi | Self::Base => gwapi::configure(site, folder, program),
            Self::Nginx => nginx::configure(site, folder, program),
            Self::Haproxy => haproxy::configure(site, folder, program),
            Self::Envoy => envoy::configure(site, folder, program),
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
    folder: PathBuf,
    log: PathBuf,
}

impl Running {
    /// Starts a proxy on its core, waits for the first right answer, and asserts one with a body of
    /// that length in every respect.
    pub(crate) fn start(
        peer: Peer,
        site: Site,
        length: usize,
        folder: &Path,
        programs: &Programs,
    ) -> anyhow::Result<Self> {
        let program = programs.of(peer).with_context(|| format!("{peer} is not installed"))?;
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let command = peer.configure(&site, folder, program)?;
        let start = Instant::now();
        let log = folder.join("log");
        let mut process = Process::start(&peer.to_string(), PROXY_CORE, &command, &log)?;
        let answered = wait_for(PATIENCE, || {
            process.assert_running()?;
            first_answer(&site, length, folder)
        });
        let started_in = start.elapsed();
        answered
            .and_then(|_| answer::assert(&site, length, folder))
            .with_context(|| format!("{peer} says: {}", process.last_words()))?;
        let folder = folder.to_owned();
        Ok(Self { peer, site, process, started_in, folder, log })
    }

    /// Leads the last route to the other backend, except for the last step.
    pub(crate) fn prepare_edit(&mut self) -> anyhow::Result<Edit> {
        self.site.edited = !self.site.edited;
        match self.peer {
            Peer::Gwapi | Peer::Base => gwapi::prepare_edit(&self.site, &self.folder),
            Peer::Nginx => nginx::prepare_edit(&self.site, &self.folder, &self.process),
            Peer::Haproxy => Ok(haproxy::prepare_edit(&self.site, &self.folder)),
            Peer::Envoy => envoy::prepare_edit(&self.site, &self.folder),
        }
    }

    /// How long the proxy itself says that it took to take in each edit, in milliseconds. Only
    /// gwapi says it.
    pub(crate) fn compile_times(&self) -> Vec<f64> {
        match self.peer {
            Peer::Gwapi | Peer::Base => {
                gwapi::compile_times(&fs::read_to_string(&self.log).unwrap_or_default())
            }
            Peer::Nginx | Peer::Haproxy | Peer::Envoy => Vec::new(),
        }
    }
}

/// The last step of an edit.
pub(crate) enum Edit {
    /// A file is renamed into place.
    Rename { from: PathBuf, to: PathBuf },
    /// A file is renamed into place, and a process told to read it.
    RenameAndSignal { from: PathBuf, to: PathBuf, process: Pid },
    /// A line is sent to a socket, and nothing comes back.
    Tell { socket: PathBuf, line: String },
}

impl Edit {
    /// Does it.
    pub(crate) fn apply(&self) -> anyhow::Result<()> {
        match self {
            Self::Rename { from, to } => rename(from, to),
            Self::RenameAndSignal { from, to, process } => {
                rename(from, to)?;
                kill_process(*process, Signal::HUP).context("cannot signal the proxy")
            }
            Self::Tell { socket, line } => {
                let mut stream = UnixStream::connect(socket)
                    .with_context(|| format!("cannot connect to {}", socket.display()))?;
                stream.write_all(line.as_bytes()).context("cannot send the edit")?;
                let mut reply = String::new();
                stream.read_to_string(&mut reply).context("cannot read the reply")?;
                ensure!(reply.trim().is_empty(), "the edit was refused: {}", reply.trim());
                Ok(())
            }
        }
    }
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {}", from.display()))
}

/// The first right answer; over TLS and HTTP/2 a program has to be started to ask.
fn first_answer(site: &Site, length: usize, folder: &Path) -> anyhow::Result<()> {
    if matches!(site.protocol, Protocol::Http1 | Protocol::Tcp) {
        let answer = ask(site.port, &site.host(), &site.path(length))?;
        ensure!(answer.is_by(site.backend().name), "answered with {answer:?}");
        return Ok(());
    }
    answer::assert(site, length, folder)
}

/// Writes a file and names it where that fails.
fn write(path: &Path, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
