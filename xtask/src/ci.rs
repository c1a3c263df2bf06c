//! `cargo xtask ci`: stages in the order of what they cost, with the seconds of each at the end.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::cluster::host;
use crate::command::{cargo, run as run_command};
use crate::machine::Processors;
use crate::{
    bench, cluster, conformance, crds, deps, examples, floods, golden, httpwg, links, machine,
    manifests, rules, servers, slow_clients, tls_scan, tutorials,
};

/// A part of CI that can be run by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Sources are formatted
    Fmt,
    /// Crates depend on each other in one direction only
    Deps,
    /// Golden files come in pairs, no snapshot waits for review, CRDs are as their types say
    Golden,
    /// Links of the documentation lead somewhere, rule ids to a rule, and rules to a test
    Links,
    /// No lint fires, default features
    Clippy,
    /// No lint fires, all features
    ClippyAll,
    /// The libraries and their tests build without default features
    NoDefault,
    /// Unit and integration tests
    Test,
    /// Examples in the documentation
    DocTest,
    /// Documentation builds without warnings
    Doc,
    /// Examples for embedders, inside and outside of the workspace
    Examples,
    /// The commands of the READMEs print what the READMEs show
    Tutorials,
    /// The cases of httpwg that fail over HTTP/2 are those that are listed
    Httpwg,
    /// Thousands of slow clients are let go while others are served
    SlowClients,
    /// Floods of HTTP/2 frames are ended, and others do not wait longer for them
    Floods,
    /// A listener for HTTPS offers nothing that is weak
    TlsScan,
    /// Every benchmark runs for a moment and its answers are right
    BenchSmoke,
    /// An OpenTelemetry Collector and CoreDNS are served
    Servers,
    /// What is written from the chart and the CRDs is as they say
    Manifests,
    /// On a cluster of its own, the controller's tests pass and the tutorials do what they say
    Cluster,
    /// The official conformance suite passes with the CRDs of the experimental channel, on a fresh cluster
    Conformance,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed(Duration),
    Failed(Duration, String),
    Skipped,
}

/// Which stages run.
#[derive(Args)]
pub(crate) struct CiArgs {
    /// Runs this stage only; may be given several times
    #[arg(long = "stage", value_name = "NAME", value_enum)]
    stages: Vec<Stage>,
    /// Leaves out what needs a cluster, and with it root and Go
    #[arg(long, conflicts_with = "stages")]
    no_cluster: bool,
    /// Goes on after a stage that failed
    #[arg(long)]
    keep_going: bool,
}

/// Runs the stages that are asked for; all of them where none is named.
pub(crate) fn run(root: &Path, arguments: &CiArgs) -> anyhow::Result<()> {
    let keep_going = arguments.keep_going;
    let asked = |stage: &Stage| match arguments.stages.as_slice() {
        [] => !(arguments.no_cluster && stage.needs_a_cluster()),
        stages => stages.contains(stage),
    };
    let stages: Vec<Stage> = Stage::value_variants().iter().copied().filter(asked).collect();
    if stages.iter().any(|stage| stage.needs_a_cluster()) {
        // Now, and not after half an hour.
        host::check(false).context("stages that need a cluster are left out by --no-cluster")?;
    }
    let mut outcomes: Vec<(Stage, Outcome)> = Vec::new();
    for stage in stages {
        let failed = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(..)));
        let outcome = if failed && !keep_going {
            Outcome::Skipped
        } else {
            eprintln!("\n== {}", name(stage));
            let (start, processors) = (Instant::now(), Processors::now());
            let outcome = match stage.run(root) {
                Ok(()) => Outcome::Passed(start.elapsed()),
                Err(error) => {
                    eprintln!("{} failed: {error:#}", name(stage));
                    Outcome::Failed(start.elapsed(), format!("{error:#}"))
                }
            };
            eprintln!("after {:.1} s: {}", start.elapsed().as_secs_f64(), machine::state(root));
            eprintln!("{}", processors.since());
            outcome
        };
        outcomes.push((stage, outcome));
    }
    eprintln!("\n{}", summary(&outcomes));
    match first_failure(&outcomes) {
        Some(failure) => bail!("{failure}"),
        None => Ok(()),
    }
}

impl Stage {
    fn needs_a_cluster(self) -> bool {
        // Helm, which reads the chart, and the Collector are built as the programs of a cluster are.
        matches!(self, Self::Servers | Self::Manifests | Self::Cluster | Self::Conformance)
    }

    fn run(self, root: &Path) -> anyhow::Result<()> {
        match self {
            Self::Fmt => {
                run_command(cargo(root).args(["fmt", "--all", "--check"]))?;
                examples::check_format(root)
            }
            Self::Deps => deps::run(root),
            Self::Golden => golden::run(root).and_then(|()| crds::run(root, true)),
            Self::Links => links::run(root).and_then(|()| rules::check(root)),
            Self::Clippy => clippy(root, &[]),
            Self::ClippyAll => clippy(root, &["--all-features"]),
            Self::NoDefault => {
                for package in ["gwapi-model", "gwapi-translate", "gwapi-dataplane"] {
                    check_without_features(root, package, &[])?;
                    // Beside it: what tests depend on may switch features of other crates on.
                    check_without_features(root, package, &["--all-targets"])?;
                }
                Ok(())
            }
            Self::Test => test(root, &["--lib", "--bins", "--tests"]),
            Self::DocTest => test(root, &["--doc"]),
            Self::Doc => run_command(
                cargo(root)
                    .args(["doc", "--locked", "--workspace", "--no-deps", "--all-features"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ),
            Self::Examples => examples::run(root),
            Self::Tutorials => tutorials::run(root, &[], None),
            Self::Httpwg => httpwg::run(root),
            Self::SlowClients => slow_clients::run(root),
            Self::Floods => floods::run(root),
            Self::TlsScan => tls_scan::run(root),
            Self::BenchSmoke => bench::smoke(root),
            Self::Servers => servers::run(root),
            Self::Manifests => manifests::run(root, true),
            Self::Cluster => cluster::check(root),
            Self::Conformance => conformance::of_everything(root),
        }
    }
}

fn check_without_features(root: &Path, package: &str, targets: &[&str]) -> anyhow::Result<()> {
    let flags = ["check", "--locked", "--no-default-features", "--package", package];
    run_command(cargo(root).args(flags).args(targets))
}

fn clippy(root: &Path, features: &[&str]) -> anyhow::Result<()> {
    let mut command = cargo(root);
    command.args(["clippy", "--locked", "--workspace", "--all-targets"]).args(features);
    // Tests that `cargo test` leaves out, because they need a cluster.
    command.args(["--test", "cluster"]);
    run_command(command.args(["--", "-D", "warnings"]))
}

/// All features in one build: the crates that are heavy to compile are compiled once.
fn test(root: &Path, targets: &[&str]) -> anyhow::Result<()> {
    let mut command = cargo(root);
    let flags = ["test", "--locked", "--no-fail-fast", "--workspace", "--all-features"];
    command.args(flags).args(targets);
    // A golden test compares; it never accepts what it sees.
    run_command(command.env("INSTA_UPDATE", "no").env_remove("UPDATE_GOLDEN"))
}

/// A table: stage, outcome, seconds.
fn summary(outcomes: &[(Stage, Outcome)]) -> String {
    let mut text = format!("{:<12} {:<8} {:>8}\n", "stage", "result", "seconds");
    let mut total = Duration::ZERO;
    for (stage, outcome) in outcomes {
        let (result, seconds) = match outcome {
            Outcome::Passed(time) => ("ok", Some(*time)),
            Outcome::Failed(time, _) => ("FAILED", Some(*time)),
            Outcome::Skipped => ("skipped", None),
        };
        let shown =
            seconds.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()));
        writeln!(text, "{:<12} {result:<8} {shown:>8}", name(*stage))
            .expect("a string takes every write");
        total += seconds.unwrap_or_default();
    }
    writeln!(text, "{:<12} {:<8} {:>8.1}", "all", "", total.as_secs_f64())
        .expect("a string takes every write");
    text
}

/// What to say at the very end: the first stage that failed, and why.
fn first_failure(outcomes: &[(Stage, Outcome)]) -> Option<String> {
    outcomes.iter().find_map(|(stage, outcome)| match outcome {
        Outcome::Failed(_, why) => Some(format!("stage {} failed: {why}", name(*stage))),
        _ => None,
    })
}

/// The name of a stage as `--stage` takes it.
fn name(stage: Stage) -> String {
    let value = stage.to_possible_value().expect("no stage is hidden");
    value.get_name().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes() -> Vec<(Stage, Outcome)> {
        vec![
            (Stage::Fmt, Outcome::Passed(Duration::from_millis(1_250))),
            (Stage::ClippyAll, Outcome::Failed(Duration::from_secs(20), "a lint".to_owned())),
            (Stage::Test, Outcome::Skipped),
        ]
    }

    #[test]
    fn the_summary_shows_the_seconds_of_each_stage() {
        let expected = "\
stage        result    seconds
fmt          ok            1.2
clippy-all   FAILED       20.0
test         skipped         -
all                       21.2
";
        assert_eq!(summary(&outcomes()), expected);
    }

    #[test]
    fn the_first_failure_is_named() {
        let failure = first_failure(&outcomes());
        assert_eq!(failure.as_deref(), Some("stage clippy-all failed: a lint"));
        assert_eq!(first_failure(&outcomes()[..1]), None);
    }
}
