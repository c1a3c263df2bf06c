//! What developers and CI run: `cargo xtask ci`, `cargo xtask bench`, and parts of the former.

mod bench;
mod bombs;
mod certificate;
mod ci;
mod cluster;
mod command;
mod conformance;
mod crds;
mod deps;
mod examples;
mod floods;
mod gateway;
mod golden;
mod httpwg;
mod links;
mod lock;
mod machine;
mod manifests;
mod namesakes;
mod parameters;
mod rights;
mod rules;
mod servers;
mod slow_clients;
mod tls_scan;
mod tutorials;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// What developers and CI run.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs everything that a change has to pass, and prints the seconds of each stage
    Ci(ci::CiArgs),
    /// Asserts which crate may depend on which, and what must not be in them
    Deps,
    /// Writes the CRDs of gwapi's own kinds to deploy/crds, from their types
    Crds {
        /// Writes nothing, and fails where they are not what the types say
        #[arg(long)]
        check: bool,
    },
    /// Checks that golden files come in pairs and that no snapshot waits for review
    Golden,
    /// Checks that the links of the documentation lead somewhere, rule ids to a rule, and rules to a test
    Links,
    /// Prints each rule of the Gateway API with the test that names it, or why there is none
    Rules {
        /// These only, with all of their tests
        ids: Vec<String>,
    },
    /// Writes what comes of the chart and the CRDs: the chart's copies, and deploy/install.yaml
    Manifests {
        /// Only tells what is not up to date
        #[arg(long)]
        check: bool,
    },
    /// Compiles and runs the examples for embedders
    Examples,
    /// Sends the HTTP/2 frames of httpwg to gwapi and compares what fails with what is listed
    Httpwg,
    /// Attacks gwapi with thousands of slow clients
    SlowClients,
    /// Attacks gwapi with floods of HTTP/2 frames
    Floods,
    /// Looks by sslscan at what a listener for HTTPS offers
    TlsScan,
    /// Has an OpenTelemetry Collector get the spans of requests, and CoreDNS asked through routes
    Servers,
    /// Runs the commands of the tutorials' READMEs and compares what they print
    Tutorials {
        /// Runs these only, by the name of their folder; `readme` is the project's README
        names: Vec<String>,
        /// Runs what they say about clusters, in the cluster of this name
        #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true,
            default_missing_value = cluster::state::DEFAULT_NAME)]
        cluster: Option<String>,
    },
    /// Measures gwapi beside other proxies: CPU time a request
    Bench(bench::BenchArgs),
    /// Runs a real Kubernetes of one node in a network namespace
    Cluster(cluster::ClusterArgs),
    /// Builds the images of controller and proxy as archives, from static binaries
    Images,
    /// Runs the official conformance suite of Gateway API on a fresh cluster
    Conformance(conformance::ConformanceArgs),
    /// Becomes the first process of a cluster
    #[command(hide = true)]
    ClusterEnter {
        stage: cluster::Stage,
        /// The folder of the cluster
        folder: PathBuf,
    },
    /// Answers requests as the backend of a benchmark
    #[command(hide = true)]
    BenchResponder(bench::responder::ResponderArgs),
    /// Runs one README in the network namespace that this process is in
    #[command(hide = true)]
    TutorialInside {
        /// The name of its folder
        name: String,
        /// The folder of the binary gwapi
        #[arg(required_unless_present = "cluster")]
        bin: Option<PathBuf>,
        /// It is that of a cluster
        #[arg(long, conflicts_with = "bin")]
        cluster: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let root = root()?;
    match task {
        Task::Ci(arguments) => ci::run(&root, &arguments),
        Task::Deps => deps::run(&root),
        Task::Crds { check } => crds::run(&root, check),
        Task::Golden => golden::run(&root),
        Task::Links => links::run(&root).and_then(|()| rules::check(&root)),
        Task::Rules { ids } => rules::print(&root, &ids),
        Task::Manifests { check } => manifests::run(&root, check),
        Task::Examples => examples::run(&root),
        Task::Httpwg => httpwg::run(&root),
        Task::SlowClients => slow_clients::run(&root),
        Task::Floods => floods::run(&root),
        Task::Servers => servers::run(&root),
        Task::TlsScan => tls_scan::run(&root),
        Task::Tutorials { names, cluster } => tutorials::run(&root, &names, cluster.as_deref()),
        Task::Bench(arguments) => bench::run(&root, &arguments),
        Task::Cluster(arguments) => cluster::run(&root, &arguments),
        Task::Images => {
            cluster::deploy::images(&root, cluster::deploy::Purpose::Production).map(|images| {
                for image in images {
                    println!("{}  {}", image.names[0], image.archive.display());
                }
            })
        }
        Task::Conformance(arguments) => conformance::run(&root, &arguments),
        Task::ClusterEnter { stage, folder } => cluster::enter(&folder, stage),
        Task::BenchResponder(arguments) => bench::responder::run(&arguments),
        Task::TutorialInside { name, bin, cluster: _ } => {
            tutorials::run_inside(&root, &name, bin.as_deref())
        }
    }
}

/// The folder of the workspace.
fn root() -> anyhow::Result<PathBuf> {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent")?;
    Ok(parent.to_owned())
}
