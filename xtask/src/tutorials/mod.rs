//! `cargo xtask tutorials`: types what the READMEs say, and compares what is printed.
//!
//! Each README runs in a network namespace of its own, in which every port is free, and on a copy
//! of `examples/`, so that it may edit the files. What a README says about clusters runs in the network
//! of a cluster instead.

mod compare;
mod readme;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::cluster::state::Cluster;
use crate::cluster::tools::Tools;
use crate::command::{cargo, ending_with_us, run as run_command, target_directory};
use readme::{Action, Place, Step};
use terminal::{Program, Shell};

/// The name of the project's README among the tutorials.
const PROJECT: &str = "readme";

/// Programs that tutorials need.
const PROGRAMS: [&str; 6] = ["bash", "curl", "ip", "kill", "setpriv", "unshare"];

/// Runs the tutorials of the given names, or all; in the cluster of this name, if there is one, what
/// they say about clusters.
pub(crate) fn run(root: &Path, names: &[String], cluster: Option<&str>) -> anyhow::Result<()> {
    let all = tutorials(root)?;
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        bail!("no tutorial is named {unknown}: there are {}", all.join(", "));
    }
    let named = |name: &&String| names.is_empty() || names.contains(name);
    match cluster {
        Some(cluster) => run_in_cluster(root, all.iter().filter(named), cluster),
        None => run_here(root, all.iter().filter(named)),
    }
}

fn run_here<'a>(root: &Path, names: impl Iterator<Item = &'a String>) -> anyhow::Result<()> {
    let unshare = namespace_command()?;
    // Default features of this crate alone: the binary as users build it.
    run_command(cargo(root).args(["build", "--locked", "--package", "gwapi-cli"]))?;
    let bin = target_directory(root)?.join("debug");
    let xtask = this_program()?;
    for name in names {
        let mut command = Command::new(unshare[0]);
        command.args(&unshare[1..]).arg(&xtask).args(["tutorial-inside", name]).arg(&bin);
        timed(name, &mut ending_with_us(&command))?;
    }
    Ok(())
}

fn run_in_cluster<'a>(
    root: &Path,
    names: impl Iterator<Item = &'a String>,
    cluster: &str,
) -> anyhow::Result<()> {
    let tools = Tools::of(Cluster::named(root, cluster)?)?;
    let xtask = this_program()?;
    for name in names {
        if steps_of(root, name, Place::Cluster)?.is_empty() {
            continue;
        }
        let mut command = tools.command(&xtask);
        command.args(["tutorial-inside", name, "--cluster"]);
        timed(name, &mut ending_with_us(&command))?;
    }
    Ok(())
}

fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot tell where this program is")
}

fn timed(name: &str, command: &mut Command) -> anyhow::Result<()> {
    let start = Instant::now();
    run_command(command).with_context(|| format!("tutorial {name}"))?;
    eprintln!("tutorial {name}: ok, {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Runs one README; this process is in a network namespace of its own, or of a cluster, already.
pub(crate) fn run_inside(root: &Path, name: &str, bin: Option<&Path>) -> anyhow::Result<()> {
    let place = if bin.is_some() { Place::Machine } else { Place::Cluster };
    if place == Place::Machine {
        run_command(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    }
    let readme = readme_of(root, name);
    let steps = steps_of(root, name, place)?;
    if steps.is_empty() {
        bail!("{} shows no command", readme.display());
    }
    let copy = Copy::of(root)?;
    // The project's own README starts with cargo, which needs the sources.
    let folder = if name == PROJECT { root } else { &copy.0 };
    let mut path = std::env::var("PATH").unwrap_or_default();
    if let Some(bin) = bin {
        path = format!("{}:{path}", bin.display());
    }
    play(&steps, folder, &path, &readme)
}

fn steps_of(root: &Path, name: &str, place: Place) -> anyhow::Result<Vec<Step>> {
    let readme = readme_of(root, name);
    let text =
        fs::read_to_string(&readme).with_context(|| format!("cannot read {}", readme.display()))?;
    readme::steps(&text, place).with_context(|| readme.display().to_string())
}

/// Does one step after the other.
fn play(steps: &[Step], folder: &Path, path: &str, readme: &Path) -> anyhow::Result<()> {
    let mut shell = Shell::start(folder, path)?;
    let mut program: Option<Program> = None;
    for step in steps {
        let place = || format!("{}:{}", readme.display(), step.line);
        play_step(step, &mut shell, &mut program, folder, path).with_context(place)?;
    }
    match program {
        Some(program) => program
            .interrupt(&["...".to_owned()])
            .with_context(|| format!("{}: at the end, Ctrl-C", readme.display())),
        None => Ok(()),
    }
}

fn play_step(
    step: &Step,
    shell: &mut Shell,
    program: &mut Option<Program>,
    folder: &Path,
    path: &str,
) -> anyhow::Result<()> {
    let running = "nothing runs in the other terminal";
    match &step.action {
        Action::Run(command) => {
            eprintln!("  $ {command}");
            shell.run(command, &step.expected)?;
            match program.as_mut().map(Program::ended).transpose()?.flatten() {
                Some(status) => bail!("the program in the other terminal ended with {status}"),
                None => Ok(()),
            }
        }
        Action::Start(command) => {
            eprintln!("  $ {command} &");
            if program.is_some() {
                bail!("the program before still runs in the other terminal: stop it by ^C");
            }
            program.insert(Program::start(command, folder, path)?).expect(&step.expected)
        }
        Action::Look => program.as_mut().context(running)?.expect(&step.expected),
        Action::Interrupt => {
            eprintln!("  ^C");
            program.take().context(running)?.interrupt(&step.expected)
        }
    }
}

/// Folders below `examples/` with a README and manifests, in order, and the project's README.
fn tutorials(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("examples");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_tutorial = path.join("README.md").is_file() && !path.join("Cargo.toml").exists();
        if let (true, Some(name)) = (is_tutorial, path.file_name()) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    names.push(PROJECT.to_owned());
    Ok(names)
}

fn readme_of(root: &Path, name: &str) -> PathBuf {
    if name == PROJECT {
        return root.join("README.md");
    }
    root.join("examples").join(name).join("README.md")
}

/// How to get a network namespace: as root directly, else by a user namespace where the system
/// allows it. Fails with what is missing.
fn namespace_command() -> anyhow::Result<Vec<&'static str>> {
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !is_installed(name)).collect();
    if !missing.is_empty() {
        bail!(
            "tutorials need {}: install them (Debian: apt-get install bash curl iproute2 procps \
             util-linux)",
            missing.join(", ")
        );
    }
    let candidates =
        [vec!["unshare", "--net"], vec!["unshare", "--user", "--map-root-user", "--net"]];
    for candidate in candidates {
        let mut command = Command::new(candidate[0]);
        command.args(&candidate[1..]).args(["ip", "link", "set", "lo", "up"]);
        let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
        if status.is_ok_and(|status| status.success()) {
            return Ok(candidate);
        }
    }
    bail!(
        "tutorials need a network namespace of their own, and neither `unshare --net` (needs root \
         or CAP_SYS_ADMIN) nor `unshare --user --map-root-user --net` (needs unprivileged user \
         namespaces) works here"
    )
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A copy of `examples/` in a temporary folder, which is removed with this value.
struct Copy(PathBuf);

impl Copy {
    fn of(root: &Path) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("gwapi-tutorial-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let copy = Self(folder);
        let source = root.join("examples");
        run_command(Command::new("cp").arg("-R").arg(source).arg(&copy.0))?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A folder that stays behind in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn play_text(text: &str) -> anyhow::Result<()> {
        let steps = readme::steps(text, Place::Machine)?;
        play(&steps, Path::new("/"), "/usr/bin:/bin", Path::new("README.md"))
    }

    #[test]
    fn a_readme_that_tells_the_truth_passes() {
        play_text("```console\n$ x=1\n$ echo x is $x\nx is ...\n```\n").unwrap();
    }

    #[test]
    fn a_readme_that_does_not_is_named_with_the_line() {
        let error = play_text("Text.\n```console\n$ echo no\nyes\n```\n").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "README.md:3: expected `yes`, but it printed `no`, after:\n"
        );
    }

    #[test]
    fn a_program_that_dies_behind_the_readers_back_is_noticed() {
        let root = Path::new("/");
        let path = "/usr/bin:/bin";
        let mut shell = Shell::start(root, path).unwrap();
        let mut program = Some(Program::start("echo up", root, path).unwrap());
        let step = Step { line: 1, action: Action::Run("true".to_owned()), expected: Vec::new() };
        // The program ends at once, but not at a moment that a test could know.
        let deadline = Instant::now() + Duration::from_secs(30);
        let error = loop {
            match play_step(&step, &mut shell, &mut program, root, path) {
                Ok(()) => assert!(Instant::now() < deadline, "nothing was noticed"),
                Err(error) => break error,
            }
        };
        let expected = "the program in the other terminal ended with exit status: 0";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn looking_at_a_terminal_where_nothing_runs_is_a_mistake() {
        let error = play_text("```console gateway\nready\n```\n").unwrap_err();
        assert_eq!(format!("{error:#}"), "README.md:2: nothing runs in the other terminal");
    }
}
