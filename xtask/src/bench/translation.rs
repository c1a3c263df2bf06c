//! What the translation of one event costs among few and many routes: a program beside gwapi applies
//! event by event and says how long each took.

use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::process::run_pinned;
use super::progress::Progress;
use super::report::{Bar, Outcome, Reach, thousands};
use super::scenario::{ROUTE_COUNTS, Scenario};
use super::setup::{PROXY_CORE, Setup};
use super::stats::{digits, quantile};

/// In milliseconds.
const EVENT_AT_MOST: f64 = 1.0;

/// The events of a kind.
#[derive(Debug, Deserialize, PartialEq)]
struct Events {
    event: String,
    milliseconds: Vec<f64>,
}

/// All kinds of events, all numbers of routes.
pub(crate) fn translation(
    setup: &Setup,
    scenario: &'static Scenario,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let headers = ["routes", "event", "ms: p50", "p99", "slowest"];
    let mut outcome = Outcome::new(scenario, &headers, "us an event, p50");
    for &count in ROUTE_COUNTS.iter().filter(|&&count| count <= setup.extent.routes) {
        progress.say(&format!("{} events of each kind, routes: {count}", setup.extent.events));
        let mut command = Command::new(&setup.programs.event_bench);
        command.args([count, setup.extent.events].map(|number| number.to_string()));
        let said = run_pinned(PROXY_CORE, &command, None)?;
        for Events { event, milliseconds } in parse(&said)? {
            let at = |share| quantile(&milliseconds, share).context("there was no event");
            let (median, most, slowest) = (at(0.5)?, at(0.99)?, at(1.0)?);
            let count = thousands(count);
            let figures = [median, most, slowest].map(|ms| format!("{ms:.*}", digits(ms)));
            outcome.rows.push([vec![count.clone(), event.clone()], figures.to_vec()].concat());
            outcome.bars.push(Bar { label: format!("{event}, {count}"), value: median * 1e3 });
            let what = format!("{event}, {count} routes, p99");
            outcome.reach.push(Reach::at_most(&what, most, EVENT_AT_MOST, " ms"));
        }
    }
    Ok(outcome)
}

/// A line for each kind of event.
fn parse(said: &str) -> anyhow::Result<Vec<Events>> {
    let events: Vec<Events> = said
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| format!("the times of events are not understood:\n{said}"))?;
    ensure!(!events.is_empty(), "there is no kind of event");
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_times_of_a_kind() {
        let said = "{\"event\":\"HTTPRoute edited\",\"milliseconds\":[0.25,1.0]}\n";
        let expected =
            Events { event: "HTTPRoute edited".to_owned(), milliseconds: vec![0.25, 1.0] };
        assert_eq!(parse(said).unwrap(), [expected]);
        assert!(parse("").is_err());
        assert!(parse("no times\n").is_err());
    }
}
