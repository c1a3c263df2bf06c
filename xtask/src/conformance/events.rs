//! What a test says while it runs: events in JSON, one a line, as `go tool test2json` prints them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Event {
    action: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    elapsed: f64,
    #[serde(default)]
    output: String,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Failed,
    /// Begun, and never ended: the suite was killed or ran out of time.
    Unfinished,
    Skipped,
    Passed,
}

/// A test, or a part of one.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
    pub(super) output: String,
}

/// Everything that was said until now.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// By full name: parts of a test stand behind a `/`.
    tests: BTreeMap<String, Test>,
    /// What was said outside of tests.
    outside: String,
}

impl Events {
    /// Takes one line; returns the name of the test of the suite that ended with it.
    pub(super) fn take(&mut self, line: &str) -> Option<String> {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            self.outside.push_str(line);
            self.outside.push('\n');
            return None;
        };
        if event.test.is_empty() {
            self.outside.push_str(&event.output);
            return None;
        }
        let new = || Test { outcome: Outcome::Unfinished, seconds: 0.0, output: String::new() };
        let test = self.tests.entry(event.test.clone()).or_insert_with(new);
        let outcome = match event.action.as_str() {
            "pass" => Outcome::Passed,
            "fail" => Outcome::Failed,
            "skip" => Outcome::Skipped,
            _ => {
                test.output.push_str(&event.output);
                return None;
            }
        };
        test.outcome = outcome;
        test.seconds = event.elapsed;
        name_in_suite(&event.test).map(str::to_owned)
    }

    /// The tests of the suite, by their names in it.
    pub(super) fn of_suite(&self) -> impl Iterator<Item = (&str, &Test)> {
        self.tests.iter().filter_map(|(name, test)| Some((name_in_suite(name)?, test)))
    }

    /// A test of the suite.
    pub(super) fn test(&self, name: &str) -> Option<&Test> {
        self.of_suite().find(|(other, _)| *other == name).map(|(_, test)| test)
    }

    /// Parts of a test that did not pass, as far down as they go.
    pub(super) fn bad_parts(&self, name: &str) -> Vec<&str> {
        let below = |name: &str| format!("/{name}/");
        let parts = self.tests.iter().filter_map(|(full, test)| {
            let (_, part) = full.split_once(&below(name))?;
            matches!(test.outcome, Outcome::Failed | Outcome::Unfinished).then_some(part)
        });
        let parts: Vec<&str> = parts.collect();
        let is_leaf = |part: &&str| {
            let inner = format!("{part}/");
            !parts.iter().any(|other| other.starts_with(&inner))
        };
        parts.iter().copied().filter(is_leaf).collect()
    }

    /// What a test and its parts said, one after the other.
    pub(super) fn output_of(&self, name: &str) -> String {
        let is_of = |full: &str| {
            full.split_once('/').is_some_and(|(_, rest)| {
                rest == name || rest.strip_prefix(name).is_some_and(|part| part.starts_with('/'))
            })
        };
        self.tests.iter().filter(|(full, _)| is_of(full)).map(|(_, test)| &*test.output).collect()
    }

    /// What was said by none of the suite's tests: set-up, clean-up, and a crash.
    pub(super) fn around(&self) -> String {
        let set_up = self.tests.iter().filter(|(full, _)| !full.contains('/'));
        set_up.map(|(_, test)| &*test.output).chain([&*self.outside]).collect()
    }

    /// Whether the whole failed, be it before the first test or after the last.
    pub(super) fn whole_failed(&self) -> bool {
        let mut whole = self.tests.iter().filter(|(full, _)| !full.contains('/')).peekable();
        whole.peek().is_none() || whole.any(|(_, test)| test.outcome != Outcome::Passed)
    }
}

impl Test {
    /// Why it was skipped, as the suite says.
    pub(super) fn skip_reason(&self) -> &str {
        let line = self.output.lines().rev().find_map(|line| line.split_once("Skipping "));
        line.and_then(|(_, text)| text.split_once(": ")).map_or("", |(_, reason)| reason)
    }
}

/// The name of a test in the suite, if it is one: `TestConformance/NAME`.
fn name_in_suite(full: &str) -> Option<&str> {
    full.split_once('/').map(|(_, name)| name).filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"Action":"start"}
{"Action":"run","Test":"TestConformance"}
{"Action":"output","Test":"TestConformance","Output":"set-up\n"}
{"Action":"run","Test":"TestConformance/A"}
{"Action":"run","Test":"TestConformance/A/one_part"}
{"Action":"output","Test":"TestConformance/A/one_part","Output":"expected 200\n"}
{"Action":"fail","Test":"TestConformance/A/one_part","Elapsed":2}
{"Action":"pass","Test":"TestConformance/A/another","Elapsed":1}
{"Action":"fail","Test":"TestConformance/A","Elapsed":3.5}
{"Action":"output","Test":"TestConformance/AB","Output":"    conformance.go:50: Skipping AB: suite does not support Mesh\n"}
{"Action":"skip","Test":"TestConformance/AB","Elapsed":0}
{"Action":"run","Test":"TestConformance/C"}
panic: it broke
"#;

    fn events() -> Events {
        let mut events = Events::default();
        for line in LINES.lines() {
            events.take(line);
        }
        events
    }

    #[test]
    fn tests_of_the_suite_are_told_from_their_parts() {
        let events = events();
        let outcomes: Vec<_> = events.of_suite().map(|(name, test)| (name, test.outcome)).collect();
        let expected =
            [("A", Outcome::Failed), ("AB", Outcome::Skipped), ("C", Outcome::Unfinished)];
        assert_eq!(outcomes, expected);
        assert_eq!(events.bad_parts("A"), ["one_part"]);
        assert_eq!(events.output_of("A"), "expected 200\n");
        assert_eq!(events.test("A").unwrap().seconds, 3.5);
    }

    #[test]
    fn the_end_of_a_test_is_told_when_it_comes() {
        let mut events = Events::default();
        let ended: Vec<_> = LINES.lines().filter_map(|line| events.take(line)).collect();
        assert_eq!(ended, ["A", "AB"]);
    }

    #[test]
    fn a_skipped_test_tells_why() {
        assert_eq!(events().test("AB").unwrap().skip_reason(), "suite does not support Mesh");
    }

    #[test]
    fn what_breaks_outside_of_tests_is_kept() {
        let events = events();
        assert!(events.whole_failed());
        assert_eq!(events.around(), "set-up\npanic: it broke\n");
        assert!(Events::default().whole_failed());
    }
}
