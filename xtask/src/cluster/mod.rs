//! `cargo xtask cluster`: a real Kubernetes of one node, in namespaces of its own, built from the
//! modules that `xtask/cluster/go` pins. Nothing is pulled, and nothing leaves the machine.
//!
//! ```text
//! cargo xtask cluster up ── builds, prepares, waits
//!   └ first process ── mounts and network inside        supervisor, inside
//!       ├ etcd, kube-apiserver, kube-controller-manager, kube-scheduler
//!       ├ containerd, kubelet, kube-proxy ── pods
//!       └ loadbalancer
//! ```

mod caller;
mod cgroups;
mod components;
mod configs;
pub(crate) mod crds;
pub(crate) mod deploy;
pub(crate) mod down;
pub(crate) mod golang;
pub(crate) mod host;
pub(crate) mod images;
mod inside;
mod keys;
mod killed;
mod measure;
pub(crate) mod progress;
mod releases;
pub(crate) mod state;
pub(crate) mod status;
mod supervisor;
mod test;
pub(crate) mod tools;
pub(crate) mod up;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};

use crds::Channel;
use deploy::Purpose;
use golang::SuiteVersion;
use state::{Cluster, DEFAULT_NAME};
pub(crate) use supervisor::{Stage, enter};
use tools::Tools;

use crate::tutorials;

/// Options of `cargo xtask cluster`.
#[derive(Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    task: ClusterTask,
}

#[derive(Subcommand)]
enum ClusterTask {
    /// Builds everything that is not built yet, and starts the cluster
    ///
    /// The first build takes about ten minutes on two cores and fills the caches of Go with about
    /// 10 GB; later starts take seconds. What is in a cluster is thrown away when it ends.
    Up {
        #[command(flatten)]
        which: Which,
        /// Installs missing Debian packages by apt-get
        #[arg(long)]
        install: bool,
        /// Installs the CRDs of this version of Gateway API
        #[arg(long, value_name = "VERSION", value_enum)]
        crds: Option<SuiteVersion>,
        /// Which CRDs of the version
        #[arg(long, value_enum, default_value = "experimental")]
        channel: Channel,
    },
    /// Ends the cluster and removes everything of it
    Down {
        #[command(flatten)]
        which: Which,
    },
    /// Shows what runs, how much memory it takes, and how to use it
    Status {
        #[command(flatten)]
        which: Which,
    },
    /// Runs kubectl on the cluster
    Kubectl(Passed),
    /// Runs Helm on the cluster
    Helm(Passed),
    /// Runs a program in the network of the cluster, with KUBECONFIG set
    ///
    /// Files, user and working directory are those outside; addresses of pods, Services and load
    /// balancers answer.
    Exec(Passed),
    /// Installs the CRDs of a version of Gateway API, in place of those that are installed
    Crds {
        #[command(flatten)]
        which: Which,
        #[arg(long, value_enum, default_value = "v1.7.0")]
        version: SuiteVersion,
        #[arg(long, value_enum, default_value = "experimental")]
        channel: Channel,
    },
    /// Puts the project's images into the cluster and installs its chart, or upgrades it
    Install {
        #[command(flatten)]
        which: Which,
    },
    /// Puts archives of images into the cluster, as buildah, docker and podman save them
    Load {
        #[command(flatten)]
        which: Which,
        #[arg(required = true, value_name = "FILE")]
        archives: Vec<PathBuf>,
    },
    /// Runs the controller's tests that need a cluster, and is free with it: CRDs are removed and made
    /// anew, the API server is killed
    Test {
        #[command(flatten)]
        which: Which,
        /// Only those whose names have this in them
        filter: Option<String>,
    },
    /// Installs gwapi in each way that there is, and tries what users do with it; none may be installed
    ///
    /// `deploy/install.yaml` and two releases of the chart beside each other, each with the rights that it
    /// has itself and in namespaces that restrict pods; figures, and what the tutorials say about clusters.
    TestInstalled {
        #[command(flatten)]
        which: Which,
    },
    /// Measures how long new Gateways and edits of routes take; the chart has to be installed
    ///
    /// `cargo xtask cluster measure -- --help` lists the options of the measurement.
    Measure {
        #[command(flatten)]
        which: Which,
        /// Options of the measurement
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Builds everything that clusters and the conformance suite need, and starts nothing
    Build {
        /// Installs missing Debian packages by apt-get
        #[arg(long)]
        install: bool,
    },
}

/// Which cluster is meant.
#[derive(Args)]
struct Which {
    /// The name of the cluster; clusters of different names run beside each other
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
}

/// A command line for a program.
#[derive(Args)]
struct Passed {
    #[command(flatten)]
    which: Which,
    /// The command line, after `--`
    #[arg(last = true, required = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(root: &Path, arguments: &ClusterArgs) -> anyhow::Result<()> {
    host::check_root()?;
    match &arguments.task {
        ClusterTask::Up { which, install, crds, channel } => {
            let cluster = Cluster::named(root, &which.name)?;
            let _lock = lock(&cluster)?;
            let crds = crds.map(|version| (version, *channel));
            up::up(root, &cluster, *install, crds)?.release()?;
            println!("{}", status::usage(&cluster));
            Ok(())
        }
        ClusterTask::Down { which } => {
            let cluster = Cluster::named(root, &which.name)?;
            let _lock = lock(&cluster)?;
            let was_there = down::clear(&cluster)?;
            println!(
                "cluster {} {}",
                which.name,
                if was_there { "is gone" } else { "does not exist" }
            );
            Ok(())
        }
        ClusterTask::Status { which } => {
            status::print(&Tools::of(Cluster::named(root, &which.name)?)?)
        }
        ClusterTask::Kubectl(passed) => {
            let mut kubectl = tools(root, &passed.which)?.kubectl()?;
            kubectl.args(&passed.arguments);
            Tools::become_command(kubectl)
        }
        ClusterTask::Helm(passed) => {
            let mut helm = tools(root, &passed.which)?.helm(root)?;
            helm.args(&passed.arguments);
            Tools::become_command(helm)
        }
        ClusterTask::Exec(passed) => {
            let (program, rest) = passed.arguments.split_first().context("no program is named")?;
            let mut command = tools(root, &passed.which)?.command(program);
            command.args(rest);
            Tools::become_command(command)
        }
        ClusterTask::Crds { which, version, channel } => {
            crds::install(root, &tools(root, which)?, *version, *channel)
        }
        ClusterTask::Install { which } => {
            let tools = tools(root, which)?;
            deploy::install(root, &tools, &deploy::images(root, Purpose::Tests)?, &[])?;
            println!(
                "GatewayClass {} is served: docs/install.md has a first Gateway, and `cargo xtask \
                 tutorials --cluster` more of them",
                deploy::CLASS
            );
            Ok(())
        }
        ClusterTask::Load { which, archives } => {
            let tools = tools(root, which)?;
            for archive in archives {
                let archive = fs::canonicalize(archive)
                    .with_context(|| format!("cannot find {}", archive.display()))?;
                images::load(&tools, &[images::Image { archive, names: Vec::new() }])?;
            }
            Ok(())
        }
        ClusterTask::Test { which, filter } => {
            test::test(root, &tools(root, which)?, filter.as_deref())
        }
        ClusterTask::TestInstalled { which } => check_installed(root, &tools(root, which)?),
        ClusterTask::Measure { which, arguments } => {
            measure::measure(root, &tools(root, which)?, arguments)
        }
        ClusterTask::Build { install } => {
            host::check(*install)?;
            let programs = tools::build_programs(root)?;
            images::of_tests(root, &programs)?;
            for module in SuiteVersion::ALL.map(golang::suite).iter().chain([&golang::HELM]) {
                golang::build(root, module)?;
            }
            Ok(())
        }
    }
}

/// What a change has to pass on a cluster: the controller's tests, what is installed, what the tutorials say
/// about clusters, figures, and the end of a cluster that is killed.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    golang::test(root, &golang::KUBERNETES_MODULE, "./loadbalancer")?;
    let cluster = Cluster::named(root, "ci")?;
    let _lock = lock(&cluster)?;
    down::clear(&cluster)?;
    let crds = Some((SuiteVersion::V1_7_0, Channel::Experimental));
    let up = up::up(root, &cluster, false, crds)?;
    let checked = test::test(root, &up.tools, None)
        .and_then(|()| check_installed(root, &up.tools))
        .and_then(|()| killed::check(&cluster));
    if checked.is_err() {
        up::keep_logs(&cluster);
    }
    down::clear_after(&cluster, checked)
}

/// What is seen of gwapi as users install it, on a cluster that has none.
fn check_installed(root: &Path, tools: &Tools) -> anyhow::Result<()> {
    let images = deploy::images(root, Purpose::Tests)?;
    deploy::load(tools, &images)?;
    releases::check_install_yaml(root, tools)?;
    deploy::install(root, tools, &images, &[releases::LOGS_ALL])?;
    releases::check_two(root, tools, &images)?;
    measure::check(root, tools)?;
    tutorials::run(root, &[], Some(&tools.cluster.name))
}

fn tools(root: &Path, which: &Which) -> anyhow::Result<Tools> {
    Tools::of(Cluster::named(root, &which.name)?)
}

/// Only one process at a time starts or ends a cluster of one name.
pub(crate) fn lock(cluster: &Cluster) -> anyhow::Result<File> {
    let busy = format!("another process starts, tests or ends cluster {}", cluster.name);
    crate::lock::lock(&cluster.folder.with_extension("lock"), &busy)
}
