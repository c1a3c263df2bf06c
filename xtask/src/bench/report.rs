//! Results: tables for people, judged against what is to be reached.

use std::fmt::Write as _;

use super::scenario::Scenario;
use super::stats::{Spread, digits};

/// What a scenario brought.
pub(crate) struct Outcome {
    pub(crate) scenario: &'static Scenario,
    pub(crate) headers: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// What the bars of the plot stand for.
    pub(crate) unit: &'static str,
    pub(crate) bars: Vec<Bar>,
    pub(crate) reach: Vec<Reach>,
}

/// A bar of a plot.
#[derive(Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
}

/// A figure beside the one that is to be reached.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reach {
    pub(crate) what: String,
    pub(crate) target: String,
    pub(crate) measured: String,
    verdict: Verdict,
}

/// What is said of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Met,
    Missed,
    /// Half of the rounds lie on both sides of the limit: the next run may say the other thing.
    WithinNoise,
}

impl Outcome {
    pub(crate) fn new(scenario: &'static Scenario, headers: &[&str], unit: &'static str) -> Self {
        let headers = headers.iter().map(|&header| header.to_owned()).collect();
        Self { scenario, headers, rows: Vec::new(), unit, bars: Vec::new(), reach: Vec::new() }
    }

    /// The tables in Markdown, which a terminal shows well too.
    pub(crate) fn markdown(&self) -> String {
        let mut text = table(&self.headers, &self.rows);
        if !self.reach.is_empty() {
            let headers = ["to reach", "target", "measured", ""].map(str::to_owned);
            let row = |reach: &Reach| {
                let verdict = match reach.verdict {
                    Verdict::Met => "met",
                    Verdict::Missed => "**missed**",
                    Verdict::WithinNoise => "within noise",
                };
                [&reach.what, &reach.target, &reach.measured, verdict].map(str::to_owned).to_vec()
            };
            let rows: Vec<Vec<String>> = self.reach.iter().map(row).collect();
            write!(text, "\n{}", table(&headers, &rows)).expect("a string takes every write");
        }
        text
    }
}

impl Reach {
    pub(crate) fn at_most(what: &str, measured: f64, limit: f64, unit: &str) -> Self {
        Self {
            what: what.to_owned(),
            target: format!("<= {limit:.2}{unit}"),
            measured: format!("{measured:.*}{unit}", digits(measured)),
            verdict: if measured <= limit { Verdict::Met } else { Verdict::Missed },
        }
    }

    /// A ratio, of which the quartiles are known.
    pub(crate) fn ratio_at_most(what: &str, measured: Spread, limit: f64) -> Self {
        let reach = Self::at_most(what, measured.median, limit, "");
        let noise = measured.lower <= limit && measured.upper > limit;
        Self { verdict: if noise { Verdict::WithinNoise } else { reach.verdict }, ..reach }
    }
}

/// Bytes in millions.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// A whole number with its thousands set apart.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let apart = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(apart).collect()
}

/// A table in Markdown with columns as wide as what is in them.
fn table(headers: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(headers.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default().max(3)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!(" {cell:<width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let rule = widths.iter().map(|&width| format!("{}|", "-".repeat(width + 2)));
    let mut text = line(headers) + "|" + &rule.collect::<String>() + "\n";
    text.extend(rows.iter().map(|row| line(row)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::scenario;

    fn outcome() -> Outcome {
        let scenario = scenario::find("h1").unwrap();
        let mut outcome = Outcome::new(scenario, &["proxy", "us"], "us a request");
        outcome.rows.push(vec!["gwapi".to_owned(), "10.0".to_owned()]);
        outcome.reach.push(Reach::at_most("CPU a request against nginx", 1.004, 1.0, ""));
        outcome
    }

    #[test]
    fn what_is_missed_is_shown_as_missed() {
        let expected = "\
| proxy | us   |
|-------|------|
| gwapi | 10.0 |

| to reach                    | target  | measured |            |
|-----------------------------|---------|----------|------------|
| CPU a request against nginx | <= 1.00 | 1.00     | **missed** |
";
        assert_eq!(outcome().markdown(), expected);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([7, 999, 1_000, 40_000].map(thousands), ["7", "999", "1,000", "40,000"]);
    }

    #[test]
    fn a_target_is_met_up_to_the_limit_itself() {
        let reach = Reach::at_most("loaded", 0.8, 0.8, " s");
        assert_eq!(reach.verdict, Verdict::Met);
        assert_eq!((reach.target.as_str(), reach.measured.as_str()), ("<= 0.80 s", "0.80 s"));
        assert_eq!(Reach::at_most("loaded", 0.801, 0.8, " s").verdict, Verdict::Missed);
    }

    #[test]
    fn a_ratio_whose_quartiles_lie_around_the_limit_is_noise() {
        let verdict = |median, lower, upper| {
            Reach::ratio_at_most("last of all", Spread { median, lower, upper }, 1.05).verdict
        };
        assert_eq!(verdict(0.63, 0.59, 1.13), Verdict::WithinNoise);
        assert_eq!(verdict(1.06, 0.88, 1.29), Verdict::WithinNoise);
        assert_eq!(verdict(0.63, 0.59, 0.70), Verdict::Met);
        assert_eq!(verdict(1.20, 1.10, 1.30), Verdict::Missed);
    }

    #[test]
    fn a_small_figure_is_not_rounded_to_nothing() {
        assert_eq!(Reach::at_most("CPU", 0.0022, 0.4, "").measured, "0.0022");
    }
}
