//! What a run came to: counts, the slowest tests, and what is wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::events::{Events, Outcome, Test};

/// Features that a Gateway of any use has: tests of them are never left out.
const CORE: [&str; 7] =
    ["Gateway", "GRPCRoute", "HTTPRoute", "ReferenceGrant", "TCPRoute", "TLSRoute", "UDPRoute"];

/// How many of the slowest are shown.
const SLOWEST: usize = 10;

/// A run, judged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) passed: usize,
    /// How many have to pass: all that the suite has for gateways. `None` where the options choose some.
    pub(super) wanted: Option<usize>,
    pub(super) failed: Vec<String>,
    /// Tests that should have run, with the reason why they did not.
    pub(super) skipped: Vec<(String, String)>,
    /// Tests of features that are not claimed, by the feature.
    pub(super) unclaimed: BTreeMap<String, Vec<String>>,
    /// Tests that were not asked for: those of a mesh, which this project is not, and those that
    /// the options exclude.
    pub(super) left_out: usize,
    /// Set-up or clean-up failed, or the suite broke off.
    pub(super) whole_failed: bool,
}

impl Summary {
    /// `wanted`: how many tests have to pass; `None` where the options choose some of them.
    pub(super) fn of(events: &Events, wanted: Option<usize>) -> Self {
        let is_partial = wanted.is_none();
        let whole_failed = events.whole_failed();
        let mut summary = Self { wanted, whole_failed, ..Self::default() };
        for (name, test) in events.of_suite() {
            match test.outcome {
                Outcome::Passed => summary.passed += 1,
                Outcome::Failed | Outcome::Unfinished => summary.failed.push(name.to_owned()),
                Outcome::Skipped if is_partial || needs_a_mesh(name, test) => summary.left_out += 1,
                Outcome::Skipped => match unclaimed_feature(test.skip_reason()) {
                    Some(feature) => {
                        let tests = summary.unclaimed.entry(feature.to_owned()).or_default();
                        tests.push(name.to_owned());
                    }
                    None => summary.skipped.push((name.to_owned(), test.skip_reason().to_owned())),
                },
            }
        }
        summary
    }

    /// Why the run is no success; none if it is one.
    pub(super) fn complaint(&self) -> Option<String> {
        if !self.failed.is_empty() {
            Some(format!("{} tests failed", self.failed.len()))
        } else if self.whole_failed {
            Some("set-up or clean-up of the suite failed, or it broke off".to_owned())
        } else if !self.skipped.is_empty() {
            Some(format!("{} tests were skipped", self.skipped.len()))
        } else if let Some(feature) = CORE.iter().find(|core| self.unclaimed.contains_key(**core)) {
            Some(format!("the GatewayClass does not claim `{feature}`, which is core"))
        } else if self.passed == 0 {
            Some("no test ran".to_owned())
        } else {
            // A feature that is no longer claimed, or a test that never began, makes no noise of its own.
            let wanted = self.wanted.filter(|wanted| self.passed < *wanted)?;
            Some(format!("only {} of the {wanted} tests of gateways ran and passed", self.passed))
        }
    }

    /// The text for people.
    pub(super) fn text(&self, events: &Events, total: Duration) -> String {
        let mut text = String::new();
        let mut line = |line: String| writeln!(text, "{line}").expect("a string takes every write");
        for name in &self.failed {
            line(format!("FAILED   {name}"));
            for part in events.bad_parts(name) {
                line(format!("           {part}"));
            }
        }
        for (name, reason) in &self.skipped {
            line(format!("SKIPPED  {name}: {reason}"));
        }
        for (feature, tests) in &self.unclaimed {
            line(format!("not claimed  {feature}: {} tests", tests.len()));
        }
        line("slowest:".to_owned());
        for (name, seconds) in slowest(events) {
            line(format!("  {seconds:>7.1} s  {name}"));
        }
        let (passed, failed, skipped) = (self.passed, self.failed.len(), self.skipped.len());
        let unclaimed: usize = self.unclaimed.values().map(Vec::len).sum();
        let of_all = self.wanted.map_or(String::new(), |wanted| format!(" of {wanted}"));
        line(format!(
            "{passed}{of_all} passed, {failed} failed, {skipped} skipped, {unclaimed} of features that are \
             not claimed, {} not asked for, in {:.0} s",
            self.left_out,
            total.as_secs_f64()
        ));
        text
    }
}

fn needs_a_mesh(name: &str, test: &Test) -> bool {
    name.starts_with("Mesh") || test.skip_reason().contains("not support Mesh")
}

/// The feature for whose lack a test was skipped, as the suite says.
fn unclaimed_feature(reason: &str) -> Option<&str> {
    reason.trim_end().strip_prefix("suite does not support ")
}

fn slowest(events: &Events) -> Vec<(&str, f64)> {
    let mut tests: Vec<(&str, f64)> =
        events.of_suite().map(|(name, test)| (name, test.seconds)).collect();
    tests.sort_by(|one, other| other.1.total_cmp(&one.1));
    tests.truncate(SLOWEST);
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(ends: &[(&str, &str, &str)]) -> Events {
        let mut events = Events::default();
        for (name, action, output) in ends {
            let event = |action: &str| serde_json::json!({"Action": action, "Test": name, "Output": output, "Elapsed": 1});
            events.take(&event("output").to_string());
            events.take(&event(action).to_string());
        }
        events
    }

    /// Some of the events of a run, as `go tool test2json` printed them.
    const RECORDED: &str = include_str!("recorded.jsonl");

    #[test]
    fn the_text_counts_a_recorded_run_and_has_its_slowest_ten() {
        let mut events = Events::default();
        RECORDED.lines().for_each(|line| _ = events.take(line));
        let summary = Summary::of(&events, Some(17));
        assert_eq!(summary.complaint(), None);
        let expected = "\
slowest:
     48.6 s  ListenerSetAllowedRoutesNamespaces
     13.7 s  ListenerSetAllowedNamespaceSelector
     10.4 s  GatewayStaticAddresses
     10.3 s  HTTPRouteMultipleRoutesAttachmentSameHostnameIntersection
      7.6 s  ListenerSetReferenceGrant
      7.0 s  ListenerSetAllowedNamespaceSame
      6.7 s  GatewayHTTPListenerIsolation
      5.1 s  BackendTLSPolicy
      4.7 s  TLSRouteMultipleRoutesAttachmentSameHostnameIntersection
      4.2 s  GRPCRouteMultipleRoutesAttachmentSameHostnameIntersection
17 of 17 passed, 0 failed, 0 skipped, 0 of features that are not claimed, 3 not asked for, in 196 s
";
        assert_eq!(summary.text(&events, Duration::from_millis(195_670)), expected);
    }

    #[test]
    fn the_text_names_what_failed_what_was_skipped_and_what_is_not_claimed() {
        let events = events(&[
            ("TestConformance", "fail", ""),
            ("TestConformance/A", "fail", ""),
            ("TestConformance/A/one_part", "fail", ""),
            ("TestConformance/B", "skip", "Skipping B: test explicitly skipped\n"),
            ("TestConformance/C", "skip", "Skipping C: suite does not support ListenerSet\n"),
        ]);
        let text = Summary::of(&events, Some(3)).text(&events, Duration::from_secs(3));
        let expected = "\
FAILED   A
           one_part
SKIPPED  B: test explicitly skipped
not claimed  ListenerSet: 1 tests
";
        assert!(text.starts_with(expected), "{text}");
        let counts = "0 of 3 passed, 1 failed, 1 skipped, 1 of features that are not claimed, 0 not asked for, in 3 s\n";
        assert!(text.ends_with(counts), "{text}");
    }

    #[test]
    fn a_run_in_which_all_passed_but_the_mesh_is_a_success() {
        let events = events(&[
            ("TestConformance", "pass", ""),
            ("TestConformance/A", "pass", ""),
            ("TestConformance/MeshB", "skip", "Skipping MeshB: suite does not support HTTPRoute\n"),
            ("TestConformance/C", "skip", "Skipping C: suite does not support Mesh\n"),
        ]);
        let summary = Summary::of(&events, Some(1));
        assert_eq!((summary.passed, summary.left_out), (1, 2));
        assert_eq!(summary.complaint(), None);
    }

    #[test]
    fn tests_of_features_that_are_not_claimed_are_listed() {
        let skip_of = |feature: &str| format!("Skipping B: suite does not support {feature}\n");
        let summary_without = |feature: &str| {
            let events = events(&[
                ("TestConformance", "pass", ""),
                ("TestConformance/A", "pass", ""),
                ("TestConformance/B", "skip", &skip_of(feature)),
            ]);
            Summary::of(&events, Some(1))
        };
        let summary = summary_without("ListenerSet");
        assert_eq!(summary.unclaimed["ListenerSet"], ["B"]);
        assert_eq!(summary.complaint(), None);
        let complaint = summary_without("HTTPRoute").complaint();
        let expected = "the GatewayClass does not claim `HTTPRoute`, which is core";
        assert_eq!(complaint.as_deref(), Some(expected));
    }

    #[test]
    fn a_skipped_test_is_a_complaint_unless_it_was_not_asked_for() {
        let events = events(&[
            ("TestConformance", "pass", ""),
            ("TestConformance/A", "pass", ""),
            ("TestConformance/B", "skip", "Skipping B: test explicitly skipped\n"),
        ]);
        let complaint = Summary::of(&events, Some(2)).complaint();
        assert_eq!(complaint.as_deref(), Some("1 tests were skipped"));
        assert_eq!(Summary::of(&events, None).complaint(), None);
    }

    #[test]
    fn fewer_tests_than_the_suite_has_for_gateways_are_a_complaint() {
        let events = events(&[
            ("TestConformance", "pass", ""),
            ("TestConformance/A", "pass", ""),
            ("TestConformance/B", "skip", "Skipping B: suite does not support ListenerSet\n"),
            ("TestConformance/MeshC", "skip", "Skipping MeshC: suite does not support Mesh\n"),
        ]);
        let summary = Summary::of(&events, Some(2));
        let expected = "only 1 of the 2 tests of gateways ran and passed";
        assert_eq!(summary.complaint().as_deref(), Some(expected));
        let text = summary.text(&events, Duration::ZERO);
        assert!(text.contains("\n1 of 2 passed, 0 failed, 0 skipped, 1 of features"), "{text}");
        // More than were known to be there are none.
        assert_eq!(Summary::of(&events, Some(0)).complaint(), None);
    }

    #[test]
    fn a_run_that_broke_off_is_no_success() {
        let passed = ("TestConformance/A", "pass", "");
        let failed = events(&[("TestConformance", "fail", ""), passed]);
        assert!(Summary::of(&failed, Some(1)).complaint().is_some());
        assert!(Summary::of(&events(&[passed]), Some(1)).complaint().is_some());
        assert!(
            Summary::of(&events(&[("TestConformance", "pass", "")]), Some(1)).complaint().is_some()
        );
    }
}
