//! `cargo xtask httpwg`: the cases of httpwg, which send HTTP/2 frames and watch the answers, against
//! `gwapi`. What fails is listed with its reason; neither a new failure nor a new success goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::command::{cargo, run as run_command, target_directory};
use crate::gateway::Gateway;

const VERSION: &str = "0.2.5";
/// The cases that this version has. It goes on to the next where one ends without a word, and one that is not
/// listed as failing would not be missed.
const CASES: usize = 107;
const EXPECTED: &str = "gwapi-dataplane/tests/httpwg.expected";

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let tool = tool(root)?;
    let gateway = Gateway::start(root, "httpwg", None, &["--workers", "1"])?;
    let output = Command::new(tool)
        .args(["--address", &gateway.address.to_string()])
        // One after the other: a busy machine must not make a frame late.
        .env("SEQUENTIAL", "1")
        .env("RUST_LOG", "off")
        .stdin(Stdio::null())
        .output()
        .context("cannot start httpwg")?;
    let seen = Outcomes::parse(&String::from_utf8_lossy(&output.stderr));
    let path = root.join(EXPECTED);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut complaints = seen.compare(&expected(&text)?);
    complaints.extend(seen.incomplete(output.status.code()));
    eprintln!("{} of {} cases pass", seen.passed.len(), seen.count());
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

/// The program, which is installed once into the target folder.
fn tool(root: &Path) -> anyhow::Result<std::path::PathBuf> {
    let folder = target_directory(root)?.join("tools");
    let program = folder.join("bin/httpwg");
    if !program.exists() {
        let version = ["--version", VERSION, "--locked", "--quiet"];
        let mut install = cargo(root);
        install.args(["install", "httpwg-cli"]).args(version);
        install.arg("--root").arg(&folder).arg("--target-dir").arg(folder.join("build"));
        run_command(&mut install)?;
    }
    Ok(program)
}

/// What became of the cases.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcomes {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
}

impl Outcomes {
    /// Reads what httpwg prints: a line per case, and details that nobody asks for here.
    fn parse(text: &str) -> Self {
        let mut outcomes = Self::default();
        for line in text.lines() {
            if let Some((_, case)) = line.split_once("Test passed: ") {
                outcomes.passed.insert(case.trim().to_owned());
            } else if let Some((_, case)) = line.split_once("Test failed: ") {
                outcomes.failed.insert(case.trim().to_owned());
            }
        }
        outcomes
    }

    fn count(&self) -> usize {
        self.passed.len() + self.failed.len()
    }

    /// Why this is not what became of all cases: httpwg ends with 1 where some fail, and with neither that
    /// nor 0 where it breaks off.
    fn incomplete(&self, code: Option<i32>) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.count() != CASES {
            complaints.push(format!("{} cases ran, not {CASES}", self.count()));
        }
        let expected = i32::from(!self.failed.is_empty());
        if code != Some(expected) {
            complaints.push(format!("httpwg ended with {code:?}, not {expected}"));
        }
        complaints
    }

    /// What is not as expected.
    fn compare(&self, expected: &BTreeMap<String, String>) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.passed.is_empty() {
            complaints.push("no case passes at all".to_owned());
        }
        for case in self.failed.iter().filter(|case| !expected.contains_key(*case)) {
            complaints.push(format!("fails, and is not in {EXPECTED}: {case}"));
        }
        for case in expected.keys() {
            if self.passed.contains(case) {
                complaints.push(format!("passes, and is in {EXPECTED}: {case}"));
            } else if !self.failed.contains(case) {
                complaints.push(format!("is in {EXPECTED}, and did not run: {case}"));
            }
        }
        complaints
    }
}

/// The cases that fail, with the reason that stands under each.
fn expected(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut cases = BTreeMap::new();
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    while let Some(case) = lines.next() {
        match lines.next().and_then(|line| line.strip_prefix("    ")) {
            Some(reason) => cases.insert(case.to_owned(), reason.to_owned()),
            None => bail!("{EXPECTED}: a reason, indented by four spaces, must follow `{case}`"),
        };
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
Holding 1 connections
✅ Test passed: RFC 9113 :: 3. starting http2 :: preface
❌ Test failed: RFC 9113 :: 6. frames :: ping
   0: Expected GOAWAY
";

    #[test]
    fn outcomes_are_read_from_what_is_printed() {
        let outcomes = Outcomes::parse(PRINTED);
        assert!(outcomes.passed.contains("RFC 9113 :: 3. starting http2 :: preface"));
        assert!(outcomes.failed.contains("RFC 9113 :: 6. frames :: ping"));
        assert_eq!((outcomes.passed.len(), outcomes.failed.len()), (1, 1));
    }

    #[test]
    fn a_case_must_end_as_it_is_listed() {
        let outcomes = Outcomes::parse(PRINTED);
        let compare = |text| outcomes.compare(&expected(text).unwrap()).len();
        assert_eq!(compare("RFC 9113 :: 6. frames :: ping\n    why\n"), 0);
        assert_eq!(compare(""), 1, "a failure that is not listed");
        assert_eq!(compare("RFC 9113 :: 3. starting http2 :: preface\n    why\n"), 2);
        assert_eq!(compare("RFC 9113 :: 6. frames :: ping\n    why\nunknown\n    why\n"), 1);
    }

    #[test]
    fn all_cases_have_to_run_to_the_end() {
        let cases =
            |range: std::ops::Range<usize>| range.map(|number| number.to_string()).collect();
        let (passed, failed) = (cases(0..CASES - 1), cases(CASES - 1..CASES));
        let all = Outcomes { passed, failed };
        assert!(all.incomplete(Some(1)).is_empty());
        for code in [Some(0), Some(101), None] {
            assert_eq!(all.incomplete(code).len(), 1);
        }
        let fine = Outcomes { passed: cases(0..CASES), failed: BTreeSet::new() };
        assert!(fine.incomplete(Some(0)).is_empty());
        let some = Outcomes { passed: cases(0..CASES - 1), failed: BTreeSet::new() };
        assert_eq!(some.incomplete(Some(0)).len(), 1);
    }

    #[test]
    fn each_case_has_a_reason() {
        assert!(expected("# A comment\n\na case\n    why\n").is_ok());
        assert!(expected("a case\nanother\n    why\n").is_err());
        assert!(expected("a case\n").is_err());
    }
}
