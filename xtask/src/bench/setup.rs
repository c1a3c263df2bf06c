//! What every measurement needs: programs, a certificate, two backends, cores.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::grpc;
use super::peers::{Peer, Running};
use super::process::Process;
use super::programs::Programs;
use super::responder::{self, Speech};
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
    /// Events of each kind that are translated.
    pub(crate) events: usize,
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
    message: PathBuf,
    /// Two for each of what backends speak.
    backends: Vec<(Speech, [Backend; 2])>,
    /// Held for their end alone.
    responders: Vec<Process>,
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
        let message = run.join("message");
        fs::write(&message, grpc::request()).context("cannot write a message")?;
        let mut setup = Self {
            extent,
            programs,
            peers,
            folder: run,
            certificate,
            message,
            backends: Vec::new(),
            responders: Vec::new(),
        };
        for speech in Speech::ALL {
            let backends = [
                setup.start_responder(xtask, "alpha", speech)?,
                setup.start_responder(xtask, "beta", speech)?,
            ];
            setup.backends.push((speech, backends));
        }
        Ok(setup)
    }

    /// Starts a proxy with routes to the first backend, and asserts its answer.
    pub(crate) fn start(
        &self,
        peer: Peer,
        protocol: Protocol,
        routes: Routes,
        length: usize,
    ) -> anyhow::Result<Running> {
        let speech = protocol.of_backends();
        let backends = self.backends.iter().find(|(spoken, _)| *spoken == speech);
        let (_, backends) = backends.context("backends speak all that there is")?;
        let site = Site {
            protocol,
            port: free_port()?,
            routes,
            backends: backends.clone(),
            edited: false,
            certificate: self.certificate.clone(),
            message: self.message.clone(),
        };
        let folder = self.folder.join(format!("{peer}-{}", routes.count()));
        Running::start(peer, site, length, &folder, &self.programs)
    }

    /// The peers that can serve a protocol.
    pub(crate) fn able(&self, protocol: Protocol) -> impl Iterator<Item = Peer> {
        self.peers.iter().copied().filter(move |peer| peer.obstacle(protocol).is_none())
    }

    /// Starts all peers that can serve it.
    pub(crate) fn start_all(
        &self,
        protocol: Protocol,
        routes: Routes,
        length: usize,
    ) -> anyhow::Result<Vec<Running>> {
        self.able(protocol).map(|peer| self.start(peer, protocol, routes, length)).collect()
    }

    /// Starts a backend of a name, which lives as long as this.
    fn start_responder(
        &mut self,
        xtask: &Path,
        name: &'static str,
        speech: Speech,
    ) -> anyhow::Result<Backend> {
        let command = responder::command(xtask, name, speech, &self.certificate);
        let log = self.folder.join(format!("{name}-{}.log", speech.name()));
        let (process, line) = Process::start_and_read_line(name, LOAD_CORE, &command, &log)?;
        let address = line.parse().with_context(|| format!("{name} printed no address: {line}"))?;
        self.responders.push(process);
        Ok(Backend { name, address })
    }
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
