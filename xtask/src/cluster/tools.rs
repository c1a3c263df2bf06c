//! Running programs in a cluster: in its network, or in all of its namespaces.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::components::{Plan, Programs, plan_file};
use super::golang::{self, CLUSTER};
use super::host;
use super::state::{Cluster, Init, read};

/// A running cluster and the programs that speak to it.
pub(crate) struct Tools {
    pub(crate) cluster: Cluster,
    pub(crate) init: Init,
    pub(crate) programs: Programs,
}

/// Builds what is not in the cache.
pub(crate) fn build_programs(root: &Path) -> anyhow::Result<Programs> {
    let mut programs = BTreeMap::new();
    for module in &CLUSTER {
        programs.insert(module.folder.to_owned(), golang::build(root, module)?);
    }
    Ok(Programs(programs))
}

impl Tools {
    /// For a cluster that is up, with the programs that it was started with.
    pub(crate) fn of(cluster: Cluster) -> anyhow::Result<Self> {
        let init = cluster.ready_init()?;
        let plan: Option<Plan> = read(&plan_file(&cluster.folder))?;
        let programs = plan.context("the cluster has no plan")?.programs;
        Ok(Self { cluster, init, programs })
    }

    /// A program in the network of the cluster, with access to its API server. All else is as
    /// outside: files, user, working directory.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.init.namespace("net").display()));
        command.arg("--").arg(program.as_ref());
        command.env("PATH", host::path_with(&self.programs.folders()));
        command.env("KUBECONFIG", self.cluster.kubeconfig());
        // What they keep of a cluster ends with it, and is no file of root in a user's caches.
        command.env("KUBECACHEDIR", self.cluster.cache().join("kubectl"));
        command.env("HELM_CACHE_HOME", self.cluster.cache().join("helm"));
        // Nothing in there is reached by a proxy of the machine.
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
    }

    /// A program in all namespaces of the cluster.
    fn command_inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.pid.to_string()]);
        command.args(["--mount", "--net", "--ipc", "--pid", "--cgroup", "--"]).arg(program);
        command.env("PATH", host::path_with(&self.programs.folders()));
        command
    }

    pub(crate) fn kubectl(&self) -> anyhow::Result<Command> {
        Ok(self.command(self.programs.path("kubernetes", "kubectl")?))
    }

    /// Helm, which no cluster needs, is built when it is asked for.
    pub(crate) fn helm(&self, root: &Path) -> anyhow::Result<Command> {
        Ok(self.command(golang::build(root, &golang::HELM)?.join("helm")))
    }

    /// containerd's own client, with kubelet's namespace.
    pub(crate) fn ctr(&self) -> anyhow::Result<Command> {
        let mut ctr = self.command_inside(&self.programs.path("containerd", "ctr")?);
        ctr.args(["--namespace", "k8s.io"]);
        Ok(ctr)
    }

    /// Applies a manifest, a file or a folder.
    pub(crate) fn apply(&self, path: &Path) -> anyhow::Result<()> {
        let mut kubectl = self.kubectl()?;
        kubectl.args(["apply", "--server-side", "--force-conflicts", "--filename"]).arg(path);
        quiet(&mut kubectl).map(|_| ())
    }

    /// Becomes this program.
    pub(crate) fn become_command(mut command: Command) -> anyhow::Result<()> {
        Err(command.exec()).context("cannot start nsenter")
    }
}

/// Runs a command and returns what it printed. What it said is in the error only.
pub(crate) fn quiet(command: &mut Command) -> anyhow::Result<String> {
    quiet_with(command, "")
}

/// The same, with something to read.
pub(crate) fn quiet_with(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let mut child = spawn(command, Stdio::piped())?;
    let mut pipe = child.stdin.take().context("standard input is no pipe")?;
    // A program that does not read its input says itself what is wrong.
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    printed_by(child, command)
}

/// The same, with a file to read, which the command need not see.
pub(crate) fn quiet_from(command: &mut Command, file: &Path) -> anyhow::Result<String> {
    let input = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let child = spawn(command, input.into())?;
    printed_by(child, command)
}

fn spawn(command: &mut Command, input: Stdio) -> anyhow::Result<Child> {
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().with_context(|| format!("cannot start `{}`", described(command)))
}

fn printed_by(child: Child, command: &Command) -> anyhow::Result<String> {
    let line = described(command);
    let output = child.wait_with_output().with_context(|| format!("cannot wait for `{line}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed with {}: {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}

/// How much of a command line an error shows.
const MOST_WORDS: usize = 12;

/// The command as one would type it, without how it gets into the cluster.
fn described(command: &Command) -> String {
    let mut words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let Some(end) = words.iter().position(|word| word == "--").filter(|_| words[0] == "nsenter")
    {
        words.drain(..=end);
    }
    if let Some(name) =
        words.first().and_then(|word| PathBuf::from(word).file_name().map(ToOwned::to_owned))
    {
        words[0] = name.to_string_lossy().into_owned();
    }
    let shown = words.iter().take(MOST_WORDS).map(String::as_str).collect::<Vec<_>>().join(" ");
    match words.len().checked_sub(MOST_WORDS) {
        Some(more) if more > 0 => format!("{shown} ... ({more} words more)"),
        _ => shown,
    }
}

/// Tries again until it succeeds; after a time its error is ours. `alive` may end it before.
pub(crate) fn retry<T>(
    limit: Duration,
    mut alive: impl FnMut() -> anyhow::Result<()>,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(format!("not after {} s", limit.as_secs())));
            }
            Err(_) => alive()?,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_described_without_the_way_into_the_cluster() {
        let mut command = Command::new("nsenter");
        command.args(["--net=/proc/1/ns/net", "--", "/a/b/kubectl", "get", "--", "pods"]);
        assert_eq!(described(&command), "kubectl get -- pods");
        assert_eq!(described(Command::new("/bin/sh").args(["-c", "--"])), "sh -c --");
        let long = described(Command::new("echo").args(["a"; 13]));
        assert_eq!(long, "echo a a a a a a a a a a a ... (2 words more)");
    }

    #[test]
    fn what_a_command_says_is_in_the_error() {
        let error = quiet(Command::new("sh").args(["-c", "echo no >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo no >&2; exit 3` failed with exit status: 3: no");
        assert_eq!(quiet_with(&mut Command::new("cat"), "said").unwrap(), "said");
    }

    #[test]
    fn a_retry_ends_early_when_there_is_no_hope() {
        let limit = Duration::from_secs(600);
        let dead = || bail!("it is dead");
        let error = retry(limit, dead, || -> anyhow::Result<()> { bail!("not yet") }).unwrap_err();
        assert_eq!(error.to_string(), "it is dead");
    }
}
