//! Running other programs: said before, judged after.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};

/// `cargo` in the folder of the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Says what it runs, runs it, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = describe(command);
    eprintln!("$ {line}");
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed with {status}");
    }
    Ok(())
}

/// Runs it and returns what it printed on standard output.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = describe(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}

/// The same command, whose process ends when the thread that starts it does, be it because this process
/// is killed.
pub(crate) fn ending_with_us(command: &Command) -> Command {
    prefixed(&["setpriv", "--pdeathsig", "KILL"], command)
}

/// The same command, run by another one.
pub(crate) fn prefixed(prefix: &[&str], command: &Command) -> Command {
    let mut prefixed = Command::new(prefix[0]);
    prefixed.args(&prefix[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => prefixed.env(name, value),
            None => prefixed.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        prefixed.current_dir(folder);
    }
    prefixed
}

/// The folder that cargo builds into.
pub(crate) fn target_directory(root: &Path) -> anyhow::Result<PathBuf> {
    let text =
        output(cargo(root).args(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).context("cannot read cargo metadata")?;
    let path = metadata["target_directory"].as_str().context("cargo metadata names no target")?;
    Ok(PathBuf::from(path))
}

/// What came of something and of what was done afterwards, whatever that was. Where both fail, the error
/// has both reasons, in this order.
pub(crate) fn first_failure<T, U>(
    result: anyhow::Result<T>,
    afterwards: anyhow::Result<U>,
) -> anyhow::Result<T> {
    match (result, afterwards) {
        (Ok(value), Ok(_)) => Ok(value),
        (Ok(_), Err(error)) => Err(error),
        (Err(error), Ok(_)) => Err(error),
        (Err(first), Err(second)) => Err(anyhow!("{first:#}; afterwards {second:#}")),
    }
}

/// The command as one would type it.
fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_named_in_the_error() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` failed with exit status: 3");
    }

    #[test]
    fn the_output_of_a_command_is_what_it_printed() {
        assert_eq!(output(Command::new("/bin/sh").args(["-c", "echo said"])).unwrap(), "said\n");
    }

    #[test]
    fn why_a_run_failed_is_said_although_the_clean_up_fails_too() {
        let outcome = |run: Option<&'static str>, clean_up: Option<&'static str>| {
            let result =
                |error: Option<&'static str>| error.map_or(Ok(3), |error| Err(anyhow!(error)));
            first_failure(result(run), result(clean_up)).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(outcome(None, None), Ok(3));
        assert_eq!(outcome(Some("a test failed"), None), Err("a test failed".to_owned()));
        assert_eq!(outcome(None, Some("it is busy")), Err("it is busy".to_owned()));
        let both = outcome(Some("a test failed"), Some("it is busy"));
        assert_eq!(both, Err("a test failed; afterwards it is busy".to_owned()));
    }
}
