//! What every measurement needs: programs, a certificate, two backends, cores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::peers::{Peer, Running};
use super::process::Process;
use super::programs::Programs;
use super::site::{Backend, Certificate, Protocol, Routes, Site, free_port};
use crate::certificate::{SelfSigned, self_signed};

/// The core of the proxy, and that of everything else.
pub(crate) const PROXY_CORE: usize = 0;
pub(crate) const LOAD_CORE: usize = 1;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Rounds of each peer.
    pub(crate) rounds: usize,
    /// How long load is sent in a round.
    pub(crate) time: Duration,
    /// Starts of which the time to load is the median.
    pub(crate) starts: usize,
    /// Edits of each peer.
    pub(crate) edits: usize,
    /// Connections on which nothing happens.
    pub(crate) connections: usize,
    /// Larger numbers of routes are left out.
    pub(crate) routes: usize,
}

/// A machine that is ready to measure.
pub(crate) struct Setup {
    pub(crate) extent: Extent,
    pub(crate) programs: Programs,
    pub(crate) peers: Vec<Peer>,
    folder: PathBuf,
    certificate: Certificate,
    backends: [Backend; 2],
    _responders: [Process; 2],
}

impl Setup {
    /// Makes a certificate below `folder` and starts the backends; `xtask` is this program,
    /// built as what is measured is.
    pub(crate) fn new(
        folder: &Path,
        xtask: &Path,
        programs: Programs,
        peers: Vec<Peer>,
        extent: Extent,
    ) -> anyhow::Result<Self> {
        raise_limit_on_files()?;
        leave_the_core_of_the_proxy()?;
        let run = folder.join("run");
        fs::create_dir_all(&run).with_context(|| format!("cannot create {}", run.display()))?;
        let certificate = certificate(&run)?;
        let (one, alpha) = responder(xtask, "alpha", &run)?;
        let (other, beta) = responder(xtask, "beta", &run)?;
        Ok(Self {
            extent,
            programs,
            peers,
            folder: run,
            certificate,
            backends: [alpha, beta],
            _responders: [one, other],
        })
    }

    /// Starts a proxy with routes to the first backend, and asserts its answer.
    pub(crate) fn start(
        &self,
        peer: Peer,
        protocol: Protocol,
        routes: Routes,
        length: usize,
    ) -> anyhow::Result<Running> {
        let site = Site {
            protocol,
            port: free_port()?,
            routes,
            backends: self.backends.clone(),
            edited: false,
            certificate: self.certificate.clone(),
        };
        let folder = self.folder.join(format!("{peer}-{}", routes.count()));
        Running::start(peer, site, length, &folder, &self.programs)
    }

    /// Starts all peers.
    pub(crate) fn start_all(
        &self,
        protocol: Protocol,
        routes: Routes,
        length: usize,
    ) -> anyhow::Result<Vec<Running>> {
        self.peers.iter().map(|&peer| self.start(peer, protocol, routes, length)).collect()
    }
}

/// Starts a backend of a name.
fn responder(
    xtask: &Path,
    name: &'static str,
    folder: &Path,
) -> anyhow::Result<(Process, Backend)> {
    let mut command = Command::new(xtask);
    command.args(["bench-responder", name]);
    let log = folder.join(format!("{name}.log"));
    let (process, line) = Process::start_and_read_line(name, LOAD_CORE, &command, &log)?;
    let address = line.parse().with_context(|| format!("{name} printed no address: {line}"))?;
    Ok((process, Backend { name, address }))
}

/// A certificate for all hosts, made anew.
fn certificate(folder: &Path) -> anyhow::Result<Certificate> {
    let names = ["bench.example", "*.bench.example", "localhost"];
    let SelfSigned { chain, key } = self_signed(folder, &names)?;
    let both = folder.join("both.pem");
    let read = |path: &Path| fs::read(path).context("cannot read what openssl wrote");
    fs::write(&both, [read(&chain)?, read(&key)?].concat()).context("cannot write both.pem")?;
    Ok(Certificate { chain, key, both })
}

/// Thousands of connections need as many descriptors, here and in all that is started.
fn raise_limit_on_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("cannot raise the limit on open files")
}

/// What this program does itself shall not disturb what it measures.
fn leave_the_core_of_the_proxy() -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().context("cannot count the cores")?;
    ensure!(cores.get() >= 2, "two cores are needed: one for the proxy, one for the load");
    let mut set = CpuSet::new();
    set.set(LOAD_CORE);
    sched_setaffinity(None, &set).context("cannot leave the core of the proxy")
}
