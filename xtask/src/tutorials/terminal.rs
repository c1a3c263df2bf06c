//! The two terminals of a tutorial: a shell that runs one command after the other, and one in
//! which a program keeps running.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use super::compare::{Expectation, Mismatch};
use crate::command::ending_with_us;

/// How long a command, or a line of output, may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Follows the output of each command in the shell, together with its exit code.
const MARK: &str = "--- end of command";

/// A shell that remembers variables and its folder from one command to the next.
pub(crate) struct Shell {
    child: Child,
    stdin: ChildStdin,
    lines: Lines,
}

impl Shell {
    /// Starts one in a folder, with a search path for programs.
    pub(crate) fn start(folder: &Path, path: &str) -> anyhow::Result<Self> {
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc"]).current_dir(folder).env("PATH", path);
        let mut child = ending_with_us(&bash)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start bash")?;
        let mut stdin = child.stdin.take().context("bash has no standard input")?;
        let lines = Lines::of(child.stdout.take().context("bash has no standard output")?);
        writeln!(stdin, "exec 2>&1")?;
        Ok(Self { child, stdin, lines })
    }

    /// Runs a command to its end, and compares what it prints.
    pub(crate) fn run(&mut self, command: &str, expected: &[String]) -> anyhow::Result<()> {
        // Commands read nothing: what they would read are the commands after them.
        writeln!(
            self.stdin,
            "eval \"$(cat <<'__COMMAND__'\n{command}\n__COMMAND__\n)\" </dev/null\n\
             printf '\\n%s %s\\n' '{MARK}' \"$?\""
        )?;
        let mut printed = Vec::new();
        let code = loop {
            let line = self.lines.next(Instant::now() + PATIENCE).map_err(|error| {
                anyhow!("{error} from `{command}`, which printed:\n{}", printed.join("\n"))
            })?;
            match line.strip_prefix(MARK) {
                Some(code) => break code.trim().to_owned(),
                None => printed.push(line),
            }
        };
        // The mark starts on a line of its own, whether or not the output ended with one.
        if printed.last().is_some_and(String::is_empty) {
            printed.pop();
        }
        compare(expected, &printed)?;
        if code != "0" {
            bail!("exit code {code}, after printing:\n{}", printed.join("\n"));
        }
        Ok(())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

/// A terminal in which a program keeps running.
pub(crate) struct Program {
    child: Child,
    lines: Lines,
}

impl Program {
    /// Starts it.
    pub(crate) fn start(command: &str, folder: &Path, path: &str) -> anyhow::Result<Self> {
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-c", &format!("exec 2>&1; exec {command}")]);
        bash.current_dir(folder).env("PATH", path);
        let mut child = ending_with_us(&bash)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start bash")?;
        let lines = Lines::of(child.stdout.take().context("bash has no standard output")?);
        Ok(Self { child, lines })
    }

    /// Waits until it has printed the expected lines.
    pub(crate) fn expect(&mut self, expected: &[String]) -> anyhow::Result<()> {
        let mut expectation = Expectation::new(expected);
        let mut printed = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while let Some(missing) = expectation.missing().map(str::to_owned) {
            let line = self.lines.next(deadline).map_err(|error| {
                anyhow!("{error}, expected `{missing}` after:\n{}", printed.join("\n"))
            })?;
            printed.push(line);
            feed(&mut expectation, &printed)?;
        }
        Ok(())
    }

    /// Presses Ctrl-C, and compares what it prints until it ends, which must be with success.
    pub(crate) fn interrupt(mut self, expected: &[String]) -> anyhow::Result<()> {
        signal(&self.child, "INT")?;
        let mut printed = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.next(deadline) {
                Ok(line) => printed.push(line),
                Err(LineError::End) => break,
                Err(LineError::Silence) => {
                    bail!("still running, and printed:\n{}", printed.join("\n"))
                }
            }
        }
        let status = self.child.wait().context("cannot wait for the program")?;
        if !status.success() {
            bail!("ended with {status}, after printing:\n{}", printed.join("\n"));
        }
        compare(expected, &printed)
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot ask for the program's state")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

/// Compares the whole output of a command.
fn compare(expected: &[String], printed: &[String]) -> anyhow::Result<()> {
    let mut expectation = Expectation::new(expected);
    for position in 0..printed.len() {
        feed(&mut expectation, &printed[..=position])?;
    }
    match expectation.missing() {
        Some(missing) => bail!("expected `{missing}` after:\n{}", printed.join("\n")),
        None => Ok(()),
    }
}

/// Takes the last printed line in; the others are for the message.
fn feed(expectation: &mut Expectation, printed: &[String]) -> anyhow::Result<()> {
    let Some((last, before)) = printed.split_last() else { return Ok(()) };
    expectation.feed(last).map_err(|Mismatch { expected, printed }| {
        let expected = expected.map_or_else(|| "nothing".to_owned(), |line| format!("`{line}`"));
        anyhow!("expected {expected}, but it printed `{printed}`, after:\n{}", before.join("\n"))
    })
}

/// Lines of an output, read on a thread of their own so that waiting for one can end.
struct Lines(Receiver<String>);

/// Why there is no further line.
#[derive(Debug)]
enum LineError {
    End,
    Silence,
}

impl std::fmt::Display for LineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::End => "the output ended",
            Self::Silence => "no further output",
        })
    }
}

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        // The thread ends with the output, which ends with the processes that write it.
        thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while let Ok(1..) = reader.read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line);
                if sender.send(text.trim_end_matches(['\n', '\r']).to_owned()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Self(receiver)
    }

    fn next(&self, deadline: Instant) -> Result<String, LineError> {
        self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(|error| {
            match error {
                RecvTimeoutError::Timeout => LineError::Silence,
                RecvTimeoutError::Disconnected => LineError::End,
            }
        })
    }
}

/// Sends a signal to a terminal's processes, as a key would.
fn signal(child: &Child, name: &str) -> anyhow::Result<()> {
    let group = format!("-{}", child.id());
    let status = Command::new("kill")
        .args(["-s", name, "--", &group])
        .stderr(Stdio::null())
        .status()
        .context("cannot start kill")?;
    if status.success() { Ok(()) } else { Err(anyhow!("no process is left to stop")) }
}

fn kill_group(child: &mut Child) {
    // The processes may be gone already: then there is nothing to do.
    let _ = signal(child, "KILL");
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn shell() -> Shell {
        Shell::start(Path::new("/"), "/usr/bin:/bin").unwrap()
    }

    #[test]
    fn the_shell_remembers_from_one_command_to_the_next() {
        let mut shell = shell();
        shell.run("name=world", &[]).unwrap();
        shell.run("echo hello $name; echo oops >&2", &lines("hello world\noops")).unwrap();
    }

    #[test]
    fn output_without_a_last_newline_is_compared_too() {
        shell().run("printf 'a\\nb'", &lines("a\nb")).unwrap();
    }

    #[test]
    fn output_that_differs_fails_with_both_texts() {
        let error = shell().run("echo one; echo two", &lines("one\nthree")).unwrap_err();
        assert_eq!(error.to_string(), "expected `three`, but it printed `two`, after:\none");
    }

    #[test]
    fn a_command_that_fails_fails_the_step() {
        let error = shell().run("echo said; false", &lines("said")).unwrap_err();
        assert_eq!(error.to_string(), "exit code 1, after printing:\nsaid");
    }

    #[test]
    fn a_program_is_started_looked_at_and_interrupted() {
        let path = "/usr/bin:/bin";
        // Not a shell: where it is about to start a program, that may be all that hears the interrupt.
        let script = "perl -e '$| = 1; $SIG{INT} = sub { print qq(bye\\n); exit }; \
                      print qq(up\\n); sleep 1 while 1'";
        let mut program = Program::start(script, Path::new("/"), path).unwrap();
        program.expect(&lines("up")).unwrap();
        assert!(program.ended().unwrap().is_none());
        program.interrupt(&lines("bye")).unwrap();
    }

    #[test]
    fn a_program_ends_with_the_thread_that_started_it() {
        let mut program = thread::spawn(|| {
            let script = "bash -c 'echo up; exec sleep 600'";
            let mut program = Program::start(script, Path::new("/"), "/usr/bin:/bin").unwrap();
            program.expect(&lines("up")).unwrap();
            program
        })
        .join()
        .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        assert!(matches!(program.lines.next(deadline), Err(LineError::End)));
        assert!(!program.child.wait().unwrap().success());
    }

    #[test]
    fn a_program_that_ends_too_early_fails_what_is_expected_of_it() {
        let mut program = Program::start("echo up", Path::new("/"), "/usr/bin:/bin").unwrap();
        let error = program.expect(&lines("up\nready")).unwrap_err();
        assert_eq!(error.to_string(), "the output ended, expected `ready` after:\nup");
    }
}
