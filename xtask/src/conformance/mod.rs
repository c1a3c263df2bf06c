//! `cargo xtask conformance`: the official suite, unmodified, against the project's images and chart
//! on a fresh cluster.

mod events;
mod logs;
mod summary;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::{Args, FromArgMatches as _};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cluster::crds::Channel;
use crate::cluster::deploy::Purpose;
use crate::cluster::golang::{self, SuiteVersion};
use crate::cluster::state::Cluster;
use crate::cluster::tools::{Tools, quiet, retry};
use crate::cluster::{self, deploy, down, host, progress, status, up};
use crate::command::{ending_with_us, first_failure, target_directory};
use crate::machine::Processors;
use crate::{lock, machine};
use events::{Events, Outcome};
use summary::Summary;

/// Options of `cargo xtask conformance`.
#[derive(Args)]
pub(crate) struct ConformanceArgs {
    /// The version of the suite and of the CRDs
    #[arg(long, value_enum, default_value = "v1.7.0")]
    version: SuiteVersion,
    /// The channel of the CRDs [default: standard; experimental for v1.6.3, which tests a field of it]
    #[arg(long, value_enum)]
    channel: Option<Channel>,
    /// Features to test, by commas [default: those that the GatewayClass lists]
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// Profiles to report on, by commas
    #[arg(long, value_delimiter = ',', default_values = PROFILES)]
    profiles: Vec<String>,
    /// Runs this test only
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Tests that run at the same time, of those that may: with more, a busy machine deletes their namespaces
    /// later than the suite waits
    #[arg(long, default_value_t = 2)]
    parallel: u32,
    /// Leaves the cluster running at the end
    #[arg(long)]
    keep: bool,
    /// Installs missing Debian packages by apt-get
    #[arg(long)]
    install: bool,
    /// The name of the cluster, which is started anew
    #[arg(long, default_value = "conformance")]
    name: String,
}

/// The stage of CI: the whole of what is claimed, on the latest version with everything that is tried out,
/// which includes what is stable. One test after the other: the suite's timeouts are the same on a machine
/// that is slow, or that is not ours alone.
pub(crate) fn of_everything(root: &Path) -> anyhow::Result<()> {
    let (channel, parallel) = (Some(Channel::Experimental), 1);
    run(root, &ConformanceArgs { channel, parallel, ..ConformanceArgs::default() })
}

impl ConformanceArgs {
    /// The channel of the CRDs, where none is named that of what the version tests.
    fn channel(&self) -> Channel {
        self.channel.unwrap_or(match self.version {
            SuiteVersion::V1_7_0 => Channel::Standard,
            SuiteVersion::V1_6_3 => Channel::Experimental,
        })
    }
}

/// As without options.
impl Default for ConformanceArgs {
    fn default() -> Self {
        let command = Self::augment_args(clap::Command::new("conformance"));
        Self::from_arg_matches(&command.get_matches_from(["conformance"]))
            .expect("every option has a default")
    }
}

/// The profiles of which every core feature is implemented.
const PROFILES: [&str; 5] =
    ["GATEWAY-HTTP", "GATEWAY-GRPC", "GATEWAY-TLS", "GATEWAY-TCP", "GATEWAY-UDP"];

/// The class that the suite uses; the values of tests name it too.
const CLASS: &str = "gateway-conformance";

/// An address of the load balancer's pool that it gives to nobody who does not ask, and one that is
/// not of the pool.
const USABLE_ADDRESS: &str = "10.245.255.1";
const UNUSABLE_ADDRESS: &str = "192.0.2.1";

/// How long the suite may take as a whole: about four times what it takes on two cores.
const LONGEST_RUN: &str = "-test.timeout=25m";

/// How long the API server may take to be ready, once a test failed, and how long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_ANSWER: &str = "--request-timeout=10s";

/// How many lines of a test that failed are shown.
const LAST_LINES: usize = 6;

/// Where the results go: of one run at a time.
struct Results {
    folder: PathBuf,
    _lock: File,
}

pub(crate) fn run(root: &Path, arguments: &ConformanceArgs) -> anyhow::Result<()> {
    host::check(arguments.install)?;
    // Both are asked for before anything is built or removed.
    let cluster = Cluster::named(root, &arguments.name)?;
    let _lock = cluster::lock(&cluster)?;
    let results = Results::fresh(target_directory(root)?.join("conformance"))?;
    let images = deploy::images(root, Purpose::Tests)?;
    let suite = golang::build(root, &golang::suite(arguments.version))?.join("suite.test");
    down::clear(&cluster)?;
    let mut up = up::up(root, &cluster, false, Some((arguments.version, arguments.channel())))?;
    if arguments.keep {
        // Whoever wants to look at the cluster wants that after an interrupt as well.
        up.release()?;
    }
    let tools = &up.tools;
    let keeper = logs::Keeper::start(cluster.logs().join("pods"), results.path("pods"));
    let judged = install(root, tools, &images)
        .and_then(|()| run_suite(root, arguments, tools, &suite, &results));
    results.describe_cluster(tools);
    drop(keeper);
    println!("results are in {}", results.folder.display());
    let outcome = judged.and_then(|summary| match summary.complaint() {
        Some(complaint) => bail!("{complaint}"),
        None => Ok(()),
    });
    if arguments.keep {
        println!("{}", status::usage(&cluster));
        return outcome;
    }
    down::clear_after(&cluster, outcome)
}

fn install(
    root: &Path,
    tools: &Tools,
    images: &[crate::cluster::images::Image],
) -> anyhow::Result<()> {
    deploy::install(root, tools, images, &[&format!("gatewayClass.name={CLASS}")])?;
    progress::step("GatewayClass is accepted", || {
        let mut kubectl = tools.kubectl()?;
        kubectl
            .args(["wait", "--for=create", "--timeout=60s"])
            .arg(format!("gatewayclass/{CLASS}"));
        quiet(&mut kubectl)?;
        let mut kubectl = tools.kubectl()?;
        kubectl.args(["wait", "--for=condition=Accepted", "--timeout=60s"]);
        quiet(kubectl.arg(format!("gatewayclass/{CLASS}"))).map(|_| ())
    })
}

fn run_suite(
    root: &Path,
    arguments: &ConformanceArgs,
    tools: &Tools,
    suite: &Path,
    results: &Results,
) -> anyhow::Result<Summary> {
    eprintln!("== suite {}", arguments.version.name());
    let start = Instant::now();
    let mut child = command(root, arguments, tools, suite, results)?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the suite")?;
    let output = child.stdout.take().context("standard output is no pipe")?;
    let mut events = Events::default();
    let followed = follow(output, &mut events, results, &Processors::now(), || serves(tools));
    let ended = match &followed {
        // It is judged by its events: its status says no more.
        Ok(()) => child.wait().map(|_| ()).context("cannot wait for the suite"),
        // The rest would fail as well, each after all the time that it may wait.
        Err(_) => end(&mut child),
    };
    let is_partial = arguments.run.is_some() || !arguments.features.is_empty();
    let wanted = (!is_partial).then(|| arguments.version.gateway_tests());
    let summary = Summary::of(&events, wanted);
    results.finish(&events, &summary, start.elapsed(), first_failure(followed, ended))?;
    Ok(summary)
}

/// Takes what the suite says to its end, and says how each test went. Fails where the cluster does not
/// serve when a test failed.
fn follow(
    output: impl Read,
    events: &mut Events,
    results: &Results,
    processors: &Processors,
    serves: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut raw = File::create(results.path("events.jsonl")).context("cannot keep the events")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read the events of the suite")?;
        writeln!(raw, "{line}").context("cannot keep the events")?;
        let Some(name) = events.take(&line) else { continue };
        say(events, &name, processors);
        if events.test(&name).is_some_and(|test| test.outcome == Outcome::Failed) {
            serves()?;
        }
    }
    Ok(())
}

/// The suite in the network of the cluster; its options are flags of its own.
fn command(
    root: &Path,
    arguments: &ConformanceArgs,
    tools: &Tools,
    suite: &Path,
    results: &Results,
) -> anyhow::Result<Command> {
    let module = golang::suite(arguments.version);
    let mut command = tools.command(golang::test2json(root, &module)?);
    command.current_dir(module.folder_in(root));
    command.arg("-t").arg(suite).arg("-test.v=test2json");
    command.args(flags(arguments, &results.path("report.yaml")));
    let mut command = ending_with_us(&command);
    command.process_group(0);
    Ok(command)
}

/// What the suite is told: of the cluster, of this project, and what the options choose.
fn flags(arguments: &ConformanceArgs, report: &Path) -> Vec<String> {
    let parallel = format!("-test.parallel={}", arguments.parallel);
    let mut flags = vec![LONGEST_RUN.to_owned(), parallel];
    let mut flag = |name: &str, value: &str| flags.push(format!("-{name}={value}"));
    flag("gateway-class", CLASS);
    flag("conformance-profiles", &arguments.profiles.join(","));
    flag("usable-address", USABLE_ADDRESS);
    flag("unusable-address", UNUSABLE_ADDRESS);
    flag("report-output", &report.display().to_string());
    flag("organization", "gwapi");
    flag("project", "gwapi");
    flag("url", env!("CARGO_PKG_REPOSITORY"));
    flag("version", concat!("v", env!("CARGO_PKG_VERSION")));
    flag("contact", concat!(env!("CARGO_PKG_REPOSITORY"), "/issues"));
    if arguments.keep {
        flag("cleanup-base-resources", "false");
    }
    if !arguments.features.is_empty() {
        flag("supported-features", &arguments.features.join(","));
    }
    if let Some(name) = &arguments.run {
        flag("run-test", name);
    }
    flags
}

/// A line for a test that ended; those that were skipped are counted at the end.
fn say(events: &Events, name: &str, processors: &Processors) {
    let Some(test) = events.test(name) else { return };
    let outcome = match test.outcome {
        Outcome::Passed => "ok    ",
        Outcome::Failed | Outcome::Unfinished => "FAILED",
        Outcome::Skipped => return,
    };
    eprintln!("  {outcome} {:>7.1} s  {name}", test.seconds);
    if test.outcome == Outcome::Passed {
        return;
    }
    for part in events.bad_parts(name) {
        eprintln!("                      {part}");
    }
    for line in last_lines(&events.output_of(name)) {
        eprintln!("      | {line}");
    }
    eprintln!("      {}", machine::state(Path::new(".")));
    eprintln!("      {}", processors.since());
}

/// Whether the cluster that the suite runs on serves at all, if not at once: a component that ended is
/// started again.
fn serves(tools: &Tools) -> anyhow::Result<()> {
    let alive = || match tools.cluster.init()? {
        Some(_) => Ok(()),
        None => bail!("it has ended"),
    };
    let ready = || quiet(tools.kubectl()?.args(["get", "--raw=/readyz", LONGEST_ANSWER]));
    let served = retry(PATIENCE, alive, ready);
    served.map(|_| ()).map_err(|error| anyhow!(last_words(tools, &error)))
}

/// Ends the suite, with the program that reads what it says.
fn end(suite: &mut Child) -> anyhow::Result<()> {
    kill_process_group(Pid::from_child(suite), Signal::KILL).context("cannot end the suite")?;
    suite.wait().context("cannot wait for the suite")?;
    Ok(())
}

/// Why a cluster serves no more, as far as its components say.
fn last_words(tools: &Tools, error: &anyhow::Error) -> String {
    let mut text = format!("the API server of the cluster does not answer: {error:#}\n");
    for component in ["etcd", "kube-apiserver"] {
        let said = golang::tail(&tools.cluster.log_of(component));
        writeln!(text, "{component} says:\n{said}").expect("a string takes every write");
    }
    text + &machine::state(&tools.cluster.folder)
}

/// The end of a text, without lines that say nothing.
fn last_lines(text: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines.into_iter().skip(first)
}

impl Results {
    /// Empties the folder, unless another run writes to it.
    fn fresh(folder: PathBuf) -> anyhow::Result<Self> {
        let busy = format!("another run writes to {}", folder.display());
        let lock = lock::lock(&folder.with_extension("lock"), &busy)?;
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(folder.join("failed"))
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder, _lock: lock })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes what the tests said and what that comes to, and then fails where `run` did: what there is
    /// of a run that broke off is what tells why.
    fn finish(
        &self,
        events: &Events,
        summary: &Summary,
        total: Duration,
        run: anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        first_failure(run, self.record(events, summary, total))
    }

    /// The summary is printed as well.
    fn record(&self, events: &Events, summary: &Summary, total: Duration) -> anyhow::Result<()> {
        let text = summary.text(events, total);
        print!("{text}");
        self.write("summary.txt", &text)?;
        self.write("around.log", &events.around())?;
        for name in &summary.failed {
            self.write(&format!("failed/{name}.log"), &events.output_of(name))?;
        }
        Ok(())
    }

    /// What the cluster looks like at the end. It may be what failed, so nothing here is an error.
    fn describe_cluster(&self, tools: &Tools) {
        let lists: [(&str, &[&str]); 3] = [
            ("pods.txt", &["get", "pods", "--all-namespaces", "--output=wide"]),
            ("events.txt", &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]),
            (
                "classes-and-gateways.yaml",
                &["get", "gatewayclasses,gateways", "--all-namespaces", "--output=yaml"],
            ),
        ];
        for (name, list) in lists {
            let text = tools.kubectl().and_then(|mut kubectl| quiet(kubectl.args(list)));
            let _ = self.write(name, &text.unwrap_or_else(|error| format!("{error:#}\n")));
        }
        let _ = fs::create_dir_all(self.path("components"));
        for entry in fs::read_dir(tools.cluster.logs()).into_iter().flatten().flatten() {
            if entry.path().is_file() {
                let _ = fs::copy(entry.path(), self.path("components").join(entry.file_name()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_failed_the_end_is_shown() {
        let text = "1\n2\n3\n\n4\n5\n6\n  \n7\n";
        assert_eq!(last_lines(text).collect::<Vec<_>>(), ["2", "3", "4", "5", "6", "7"]);
        assert_eq!(last_lines("one").collect::<Vec<_>>(), ["one"]);
    }

    /// The options of a command line.
    fn options(line: &str) -> ConformanceArgs {
        let command = ConformanceArgs::augment_args(clap::Command::new("conformance"));
        let words = ["conformance"].into_iter().chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).expect("they are options");
        ConformanceArgs::from_arg_matches(&matches).expect("they are complete")
    }

    #[test]
    fn options_choose_the_suite_the_crds_and_the_tests() {
        let chosen = options(
            "--version v1.6.3 --channel standard --features HTTPRoute,Gateway --run HTTPRouteWeight",
        );
        assert_eq!((chosen.version, chosen.channel()), (SuiteVersion::V1_6_3, Channel::Standard));
        let flags = flags(&chosen, Path::new("/r/report.yaml"));
        for flag in [
            "-gateway-class=gateway-conformance",
            "-supported-features=HTTPRoute,Gateway",
            "-run-test=HTTPRouteWeight",
            "-report-output=/r/report.yaml",
            "-test.parallel=2",
            "-conformance-profiles=GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP",
        ] {
            assert!(flags.iter().any(|it| it == flag), "{flag} is not in {flags:?}");
        }
    }

    /// The suite asks the GatewayClass what to test, and waits as long as it does by itself.
    #[test]
    fn without_options_all_that_is_claimed_is_tested_with_default_timeouts() {
        let plain = options("");
        assert_eq!((plain.version, plain.channel()), (SuiteVersion::V1_7_0, Channel::Standard));
        assert_eq!(options("--version v1.6.3").channel(), Channel::Experimental);
        let told = [
            "supported-features",
            "exempt-features",
            "run-test",
            "skip-tests",
            "conformance-options-file",
        ];
        for flag in flags(&plain, Path::new("report.yaml")) {
            let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
            assert!(!told.contains(&name), "{flag}");
        }
    }

    /// A path in the folder for temporary files that nothing has.
    fn nowhere(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("gwapi-conformance-{name}-{}", std::process::id()))
    }

    #[test]
    fn of_two_runs_the_second_leaves_the_results_of_the_first_alone() {
        let folder = nowhere("two");
        let first = Results::fresh(folder.clone()).unwrap();
        first.write("summary.txt", "of the first").unwrap();
        let Err(error) = Results::fresh(folder.clone()) else { panic!("it took the folder") };
        assert!(error.to_string().starts_with("another run"), "{error}");
        assert_eq!(fs::read_to_string(folder.join("summary.txt")).unwrap(), "of the first");
        drop(first);
        Results::fresh(folder.clone()).unwrap();
        assert!(!folder.join("summary.txt").exists());
        fs::remove_dir_all(&folder).unwrap();
        fs::remove_file(folder.with_extension("lock")).unwrap();
    }

    #[test]
    fn a_run_on_a_cluster_that_dies_keeps_what_was_said() {
        let folder = nowhere("dead");
        let results = Results::fresh(folder.clone()).unwrap();
        let said = r#"{"Action":"output","Test":"TestConformance","Output":"set-up\n"}
{"Action":"pass","Test":"TestConformance/A","Elapsed":1}
{"Action":"output","Test":"TestConformance/B","Output":"connection refused\n"}
{"Action":"fail","Test":"TestConformance/B","Elapsed":2}
{"Action":"fail","Test":"TestConformance/C","Elapsed":60}
"#;
        let dead = || bail!("the API server does not answer");
        let mut events = Events::default();
        let followed = follow(said.as_bytes(), &mut events, &results, &Processors::now(), dead);
        let summary = Summary::of(&events, Some(2));
        let finished = results.finish(&events, &summary, Duration::from_secs(3), followed);
        assert_eq!(finished.unwrap_err().to_string(), "the API server does not answer");

        let read = |name| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("failed/B.log"), "connection refused\n");
        assert_eq!(read("around.log"), "set-up\n");
        assert_eq!(read("events.jsonl").lines().count(), 4);
        assert!(read("summary.txt").starts_with("FAILED   B\n"));
        assert!(!folder.join("failed/C.log").exists());
        drop(results);
        fs::remove_dir_all(&folder).unwrap();
        fs::remove_file(folder.with_extension("lock")).unwrap();
    }

    #[test]
    fn without_options_everything_that_is_claimed_runs() {
        let arguments = ConformanceArgs::default();
        assert_eq!(arguments.profiles, PROFILES);
        assert_eq!((arguments.parallel, &*arguments.name), (2, "conformance"));
        assert!(arguments.features.is_empty() && arguments.run.is_none() && !arguments.keep);
    }
}
