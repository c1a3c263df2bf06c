//! The first process of a cluster. It runs in namespaces of its own, so that everything ends with
//! it: processes, mounts, links, addresses and rules of the firewall. A component that ends is
//! started again.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};

use super::components::{Component, Plan, plan_file};
use super::state::{Cluster, Init, Running, read, write};
use super::{cgroups, inside};

/// How often it looks after its components.
const ROUND: Duration = Duration::from_millis(50);

/// How long a component that ended stays down, so that one that cannot run does not take a core.
const PAUSE: Duration = Duration::from_secs(1);

/// By how many percent the memory of a Go program may grow until it collects garbage. Cores are
/// scarcer here than memory, and collecting took a good part of what the components use of them.
const GARBAGE: &str = "400";

/// What its caller writes to its standard input to let it live on without him.
const RELEASED: &str = "released";

/// The namespaces that a cluster has of its own, beside that of control groups.
const NAMESPACES: [&str; 5] = ["--mount", "--net", "--ipc", "--pid", "--fork"];

/// Becomes the first process of the cluster of this folder, in the control groups that were made
/// for it. Each stage needs what the one before did.
pub(crate) fn enter(folder: &Path, stage: Stage) -> anyhow::Result<()> {
    let cluster = Cluster::of_folder(folder);
    match stage {
        Stage::Groups => {
            let groups: Vec<PathBuf> =
                read(&cluster.cgroups_file())?.context("the control groups are not recorded")?;
            cgroups::join(&groups)?;
            become_stage(folder, &["--cgroup"], "components")
        }
        Stage::Components => {
            let groups: Vec<PathBuf> =
                read(&cluster.cgroups_file())?.context("the control groups are not recorded")?;
            let groups: Vec<_> =
                groups.iter().map(|group| group.join(cgroups::COMPONENTS)).collect();
            cgroups::join(&groups)?;
            let options = [&NAMESPACES[..], &["--kill-child"]].concat();
            become_stage(folder, &options, "init")
        }
        Stage::Init => supervise(&cluster),
    }
}

/// How far this process is on its way into the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Stage {
    /// Outside; enters the control groups of the cluster, which become the roots
    Groups,
    /// Enters the groups of the components, then the other namespaces
    Components,
    /// The first process inside
    Init,
}

fn become_stage(folder: &Path, options: &[&str], stage: &str) -> anyhow::Result<()> {
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    let mut unshare = Command::new("unshare");
    unshare.args(options).arg(this).args(["cluster-enter", stage]).arg(folder);
    Err(unshare.exec()).context("cannot start unshare")
}

fn supervise(cluster: &Cluster) -> anyhow::Result<()> {
    write(&cluster.init_file(), &Init::this()?)?;
    end_with_the_caller();
    let plan: Plan = read(&plan_file(&cluster.folder))?.context("the plan is missing")?;
    inside::furnish(&cluster.folder, &plan.programs.folders())?;
    // Its folder may be covered where it was.
    let cluster = cluster.inside();
    let mut supervisor = Supervisor {
        file: cluster.components_file(),
        logs: cluster.logs(),
        path: plan.path,
        children: plan.components.into_iter().map(Child::new).collect(),
    };
    loop {
        let mut changed = supervisor.bury()?;
        changed |= supervisor.start_due()?;
        if changed {
            supervisor.record()?;
        }
        std::thread::sleep(ROUND);
    }
}

/// Until the cluster is released, it belongs to the process that starts it: if that one is killed,
/// its end of the pipe closes, and everything ends.
fn end_with_the_caller() {
    std::thread::spawn(|| {
        if !is_released(std::io::stdin()) {
            eprintln!("the process that started this cluster has ended, so the cluster ends");
            std::process::exit(1);
        }
    });
}

/// Waits until the cluster is released, or its caller has ended without that.
fn is_released(lifeline: impl Read) -> bool {
    let mut line = String::new();
    BufReader::new(lifeline).read_line(&mut line).is_ok() && line.trim() == RELEASED
}

/// What a cluster hangs on: it ends with this value, or with the process that has it, however that one
/// ends.
pub(crate) struct Lifeline(ChildStdin);

impl Lifeline {
    /// Lets the cluster live on.
    pub(crate) fn release(mut self) -> anyhow::Result<()> {
        writeln!(self.0, "{RELEASED}").context("the cluster has ended")
    }
}

struct Supervisor {
    file: PathBuf,
    logs: PathBuf,
    path: String,
    children: Vec<Child>,
}

struct Child {
    component: Component,
    running: Running,
    /// When it may be started, while it does not run.
    due: Instant,
}

impl Child {
    fn new(component: Component) -> Self {
        let name = component.name.clone();
        let running = Running { name, pid: None, restarts: 0, ended: None };
        Self { component, running, due: Instant::now() }
    }
}

impl Supervisor {
    /// Waits for what ended: components, and processes of containers that nobody else waits for.
    fn bury(&mut self) -> anyhow::Result<bool> {
        let mut changed = false;
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) | Err(Errno::CHILD) => return Ok(changed),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error).context("cannot wait for processes"),
            };
            let pid = pid.as_raw_pid();
            let child = self.children.iter_mut().find(|child| child.running.pid == Some(pid));
            if let Some(child) = child {
                let ended = describe(status);
                eprintln!("{} ended: {ended}", child.component.name);
                child.running.pid = None;
                child.running.ended = Some(ended);
                child.running.restarts += 1;
                child.due = Instant::now() + PAUSE;
                changed = true;
            }
        }
    }

    /// Starts what does not run, and whose time has come.
    fn start_due(&mut self) -> anyhow::Result<bool> {
        let mut changed = false;
        for child in &mut self.children {
            let component = &child.component;
            let waits = child.running.pid.is_some() || Instant::now() < child.due;
            if waits || component.after.is_some_and(|address| !listens(address)) {
                continue;
            }
            let log = self.logs.join(format!("{}.log", component.name));
            child.running.pid = Some(start(component, &self.path, &log)?);
            changed = true;
        }
        Ok(changed)
    }

    fn record(&self) -> anyhow::Result<()> {
        let all: Vec<&Running> = self.children.iter().map(|child| &child.running).collect();
        write(&self.file, &all)
    }
}

fn start(component: &Component, path: &str, log: &Path) -> anyhow::Result<i32> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    let output: File = open().with_context(|| format!("cannot open {}", log.display()))?;
    let errors = output.try_clone().context("cannot share the log")?;
    let child = Command::new(&component.program)
        .args(&component.arguments)
        .current_dir("/")
        // What the caller's environment says of proxies or Go is nothing to a cluster.
        .env_clear()
        .env("PATH", path)
        .env("GOGC", GARBAGE)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {}", component.name))?;
    i32::try_from(child.id()).context("the number of a process is too large")
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "for a reason unknown".to_owned(),
    }
}

/// Starts the first process of a cluster in the background, on a lifeline.
pub(crate) fn spawn(cluster: &Cluster) -> anyhow::Result<(std::process::Child, Lifeline)> {
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    let log = cluster.log_of("supervisor");
    let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let errors = output.try_clone().context("cannot share the log")?;
    let mut command = Command::new(this);
    command.args(["cluster-enter", "groups"]).arg(&cluster.folder);
    // Ctrl-C is for the caller: the cluster notices by the pipe, and in the background not at all.
    command.process_group(0).stdin(Stdio::piped()).stdout(output).stderr(errors);
    let mut child = command.spawn().context("cannot start the first process of the cluster")?;
    let lifeline = child.stdin.take().map(Lifeline).context("standard input is no pipe")?;
    Ok((child, lifeline))
}

/// The number of the first process, as soon as it says so.
pub(crate) fn wait_for_init(
    cluster: &Cluster,
    child: &mut std::process::Child,
) -> anyhow::Result<Init> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(init) = cluster.init()? {
            return Ok(init);
        }
        if let Some(status) = child.try_wait().context("cannot wait for the cluster")? {
            let log = fs::read_to_string(cluster.log_of("supervisor")).unwrap_or_default();
            bail!("the cluster ended with {status}: {}", log.trim());
        }
        if Instant::now() > deadline {
            bail!("the first process of the cluster does not start");
        }
        std::thread::sleep(ROUND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a first process reads of its lifeline while `caller` has the other end.
    fn read_of(caller: impl FnOnce(Lifeline)) -> Vec<u8> {
        let mut first = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat starts");
        caller(Lifeline(first.stdin.take().expect("it is a pipe")));
        first.wait_with_output().expect("it ends with its input").stdout
    }

    #[test]
    fn a_cluster_ends_with_its_caller_unless_it_was_released() {
        assert!(!is_released(&*read_of(drop)));
        assert!(is_released(&*read_of(|lifeline| lifeline.release().expect("somebody reads"))));
    }
}
