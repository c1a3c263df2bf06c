//! Processes that are pinned to a core and never outlive the benchmark.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use super::procfs;
use crate::command::prefixed;

/// How long a load generator may take beyond its time.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// A program in a process group of its own, which is killed with this value. Where the benchmark
/// itself is killed, the kernel ends the program: so Ctrl-C leaves nothing behind.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` on a core; what it prints goes to `log`.
    pub(crate) fn start(
        name: &str,
        core: usize,
        command: &Command,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let errors = file.try_clone().context("cannot share the log")?;
        Self::start_with(name, core, command, log, file.into(), errors.into())
    }

    /// Starts `command` on a core and returns the first line that it prints.
    pub(crate) fn start_and_read_line(
        name: &str,
        core: usize,
        command: &Command,
        log: &Path,
    ) -> anyhow::Result<(Self, String)> {
        let errors =
            File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut process =
            Self::start_with(name, core, command, log, Stdio::piped(), errors.into())?;
        let output = process.child.stdout.take().context("standard output is no pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("cannot read its first line")?;
        if line.is_empty() {
            bail!("{name} printed nothing: {}", process.last_words());
        }
        Ok((process, line.trim().to_owned()))
    }

    fn start_with(
        name: &str,
        core: usize,
        command: &Command,
        log: &Path,
        output: Stdio,
        errors: Stdio,
    ) -> anyhow::Result<Self> {
        let child = pinned(core, command)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The number of the process that was started, which is the number of its group too.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Time on the CPU of the program and of what it started.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        procfs::cpu_time(self.id())
    }

    /// Bytes in memory of the program and of what it started.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        procfs::resident(self.id())
    }

    /// Fails when the program has ended.
    pub(crate) fn assert_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("cannot wait for it")? {
            Some(status) => bail!("{} ended with {status}: {}", self.name, self.last_words()),
            None => Ok(()),
        }
    }

    /// Waits for a program that ends by itself, and fails when it failed.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait().context("cannot wait for it")?;
        ensure!(status.success(), "{} ended with {status}: {}", self.name, self.last_words());
        Ok(())
    }

    /// The end of what it printed.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(12)..].join("\n");
        if end.is_empty() { "it printed nothing".to_owned() } else { end }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A group of which nothing is left is what was wanted.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Runs a load generator on a core to its end, or to an interrupt after some time, and returns
/// what it printed.
pub(crate) fn run_pinned(
    core: usize,
    command: &Command,
    interrupt_after: Option<Duration>,
) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = pinned(core, command)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let group = Pid::from_child(&child);
    let start = Instant::now();
    // Before it listens to interrupts, one would end it without a word.
    let mut listens_since = None;
    // What load generators print is shorter than a pipe holds: it can wait until they ended.
    while child.try_wait().context("cannot wait for it")?.is_none() {
        if let Some(time) = interrupt_after {
            if listens_since.is_none() && procfs::catches_interrupts(child.id()) {
                listens_since = Some(Instant::now());
            }
            if listens_since.is_some_and(|since| since.elapsed() >= time) {
                kill_process_group(group, Signal::INT)
                    .with_context(|| format!("cannot interrupt {name}"))?;
            }
        }
        if start.elapsed() > interrupt_after.unwrap_or_default() + LONGEST_RUN {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait();
            bail!("{name} does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {name}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed with {}: {said}{errors}", output.status);
    }
    Ok(said)
}

/// Tries again until it succeeds; after a time its error is ours. Tells how long it took.
pub(crate) fn wait_for<T>(
    limit: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok((value, start.elapsed())),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(format!("not after {} s", limit.as_secs())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The same command on one core. The signal for the death of this process is TERM, on which all of
/// them end and take their children along.
fn pinned(core: usize, command: &Command) -> Command {
    let core = core.to_string();
    prefixed(&["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", &core], command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_process_is_gone_with_its_value() {
        let log = std::env::temp_dir().join(format!("gwapi-bench-{}.log", std::process::id()));
        let script = "sleep 600 & echo $!; wait";
        let (process, line) = Process::start_and_read_line("sh", 0, &shell(script), &log).unwrap();
        let child = PathBuf::from(format!("/proc/{line}/stat"));
        assert!(child.exists());
        drop(process);
        fs::remove_file(&log).unwrap();
        // A killed child may stay as a zombie until the init process looks at it.
        let dead = || match fs::read_to_string(&child) {
            Ok(text) if !text.contains(") Z ") => bail!("still there: {text}"),
            _ => Ok(()),
        };
        wait_for(Duration::from_secs(30), dead).unwrap();
    }

    #[test]
    fn a_load_generator_is_interrupted_and_heard() {
        // It is interrupted until it has ended, and says so once. A shell would not do: it has a handler
        // before its script sets a trap, and that one ends it without a word.
        let script =
            r#"$SIG{INT} = sub { $SIG{INT} = "IGNORE"; print "done\n"; exit 0 }; sleep 600"#;
        let mut generator = Command::new("perl");
        generator.args(["-e", script]);
        let output = run_pinned(0, &generator, Some(Duration::from_millis(1))).unwrap();
        assert_eq!(output, "done\n");
    }

    #[test]
    fn a_load_generator_that_fails_is_an_error_with_its_words() {
        let error = run_pinned(0, &shell("echo no >&2; exit 3"), None).unwrap_err();
        assert_eq!(error.to_string(), "sh failed with exit status: 3: no\n");
    }
}
