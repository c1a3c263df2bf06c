//! `docs/benchmarks.md`: the part between two marks is written by the benchmark, the rest by hand.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::peers::Peer;
use super::plot;
use super::programs::Programs;
use super::report::Outcome;
use crate::command::output;

const START: &str = "<!-- measured: cargo xtask bench --write replaces what follows -->\n";
const END: &str = "<!-- end of what was measured -->\n";

/// Where and with what was measured.
pub(crate) struct Surroundings {
    versions: Vec<String>,
    date: String,
    kernel: String,
    cpu: String,
    command: String,
    commit: String,
}

impl Surroundings {
    /// Asks the machine and the programs; what does not answer is unknown.
    pub(crate) fn of(programs: &Programs, peers: &[Peer]) -> Self {
        let said = |program: &str, arguments: &[&str]| {
            let text = output(Command::new(program).args(arguments));
            text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
        };
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            versions: programs.versions(peers),
            date: said("date", &["--utc", "+%Y-%m-%d"]),
            kernel: said("uname", &["-srm"]),
            cpu: cpu(&information),
            command: format!("cargo xtask {}", arguments.join(" ")),
            commit: said("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        }
    }
}

impl fmt::Display for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "* `{}`, {}, commit {}", self.command, self.date, self.commit)?;
        writeln!(f, "* {}; {}", self.cpu, self.kernel)?;
        for version in &self.versions {
            writeln!(f, "* {version}")?;
        }
        Ok(())
    }
}

/// Writes the tables into the document and the plots beside it.
pub(crate) fn write(
    root: &Path,
    surroundings: &Surroundings,
    outcomes: &[Outcome],
) -> anyhow::Result<()> {
    let docs = root.join("docs");
    let plots = docs.join("benchmarks");
    fs::create_dir_all(&plots).with_context(|| format!("cannot create {}", plots.display()))?;
    for outcome in outcomes {
        let file = plots.join(format!("{}.svg", outcome.scenario.name));
        fs::write(&file, plot::bars(outcome.scenario.about, outcome.unit, &outcome.bars))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let file = docs.join("benchmarks.md");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = replaced(&text, &measured(surroundings, outcomes))
        .with_context(|| file.display().to_string())?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("wrote {} and {} plots beside it", file.display(), outcomes.len());
    Ok(())
}

/// The part that is measured.
fn measured(surroundings: &Surroundings, outcomes: &[Outcome]) -> String {
    let mut text = format!("\n{surroundings}");
    for outcome in outcomes {
        let name = outcome.scenario.name;
        let about = outcome.scenario.about;
        text.push_str(&format!(
            "\n### {name}: {about}\n\n![{about}](benchmarks/{name}.svg)\n\n{}",
            outcome.markdown()
        ));
    }
    text + "\n"
}

/// The document with another part between the marks.
fn replaced(document: &str, part: &str) -> anyhow::Result<String> {
    let (before, rest) = document.split_once(START).context("the mark of the start is missing")?;
    let (_, after) = rest.split_once(END).context("the mark of the end is missing")?;
    ensure!(!after.contains(START), "the mark of the start stands there twice");
    Ok(format!("{before}{START}{part}{END}{after}"))
}

/// The model in `/proc/cpuinfo` and the number of cores.
fn cpu(information: &str) -> String {
    let values = |name: &str| {
        let lines = information.lines().filter_map(|line| line.split_once(':'));
        let found = lines.filter(|(field, _)| field.trim() == name).map(|(_, value)| value.trim());
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    let model = values("model name").into_iter().next();
    let model = model.unwrap_or_else(|| "a CPU without a name".to_owned());
    format!("{model}, {} cores", values("processor").len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let document = format!("# By hand\n{START}old\n{END}by hand\n");
        let expected = format!("# By hand\n{START}new\n{END}by hand\n");
        assert_eq!(replaced(&document, "new\n").unwrap(), expected);
        let error = replaced("# By hand\n", "new").unwrap_err();
        assert_eq!(error.to_string(), "the mark of the start is missing");
    }

    #[test]
    fn the_document_has_the_marks() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
        let text = fs::read_to_string(file).unwrap();
        assert!(replaced(&text, "").is_ok());
    }

    #[test]
    fn the_cpu_is_named_with_its_cores() {
        let information =
            "processor\t: 0\nmodel name\t: X 9\n\nprocessor\t: 1\nmodel name\t: X 9\n";
        assert_eq!(cpu(information), "X 9, 2 cores");
    }
}
