//! From an edit to traffic: one of many prefixes is led from one backend to the other and back,
//! and asked all the while.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::client::ask;
use super::peers::{Peer, Running};
use super::progress::Progress;
use super::report::{Bar, Outcome, Reach, thousands};
use super::scenario::{EDIT_COUNTS, KB, Scenario};
use super::setup::Setup;
use super::site::{Protocol, Routes};
use super::stats::quantile;

/// In milliseconds: what gwapi says that a change took, and how long traffic waits for it.
const COMPILED_IN_AT_MOST: f64 = 2.0;
const LIVE_IN_AT_MOST: f64 = 20.0;

/// An edit that is not live after this never will be.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two questions, so that asking does not take the core from what is asked.
const PAUSE: Duration = Duration::from_micros(200);

/// Between two edits: they come one by one, as people's do.
const REST: Duration = Duration::from_millis(30);

/// What the edits of a proxy brought.
#[derive(Default)]
struct Edits {
    /// Milliseconds to the first answer by each edit.
    live: Vec<f64>,
    /// Answers that were neither the old nor the new one, or none at all.
    wrong: usize,
    /// Answers by the old configuration after one by the new.
    fell_back: usize,
}

/// Edits among few and many routes, all peers.
pub(crate) fn edits(
    setup: &Setup,
    scenario: &'static Scenario,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let headers = [
        "routes",
        "proxy",
        "live after, ms: p50",
        "p99",
        "says it took, ms: p50",
        "p99",
        "wrong answers",
        "old after new",
    ];
    let mut outcome =
        Outcome::new(scenario, &headers, "ms from an edit to the first answer by it, p50");
    for &count in EDIT_COUNTS.iter().filter(|&&count| count <= setup.extent.routes) {
        for &peer in &setup.peers {
            let mut running = setup.start(peer, Protocol::Http1, Routes::Prefixes(count), KB)?;
            let edits = measure(&mut running, setup.extent.edits, peer, progress)
                .with_context(|| format!("edits of {peer} with {count} routes"))?;
            let said = running.compile_times();
            let at = |values: &[f64], share| {
                quantile(values, share).map_or_else(String::new, |value| format!("{value:.2}"))
            };
            outcome.rows.push(vec![
                thousands(count),
                peer.to_string(),
                at(&edits.live, 0.5),
                at(&edits.live, 0.99),
                at(&said, 0.5),
                at(&said, 0.99),
                edits.wrong.to_string(),
                edits.fell_back.to_string(),
            ]);
            let median = quantile(&edits.live, 0.5).context("there was no edit")?;
            outcome
                .bars
                .push(Bar { label: format!("{peer}, {}", thousands(count)), value: median });
            if peer == Peer::Gwapi {
                let bad = edits.wrong + edits.fell_back;
                ensure!(bad == 0, "{bad} answers were neither the old nor the new one in turn");
                outcome.reach.extend(reach(count, &said, &edits.live));
            }
        }
    }
    Ok(outcome)
}

fn reach(count: usize, said: &[f64], live: &[f64]) -> Vec<Reach> {
    let judged = |what: &str, values: &[f64], limit| {
        let value = quantile(values, 0.99)?;
        Some(Reach::at_most(
            &format!("{what}, {} routes, p99", thousands(count)),
            value,
            limit,
            " ms",
        ))
    };
    let compiled = judged("an edit compiled", said, COMPILED_IN_AT_MOST);
    compiled.into_iter().chain(judged("an edit live", live, LIVE_IN_AT_MOST)).collect()
}

fn measure(
    running: &mut Running,
    count: usize,
    peer: Peer,
    progress: &Progress,
) -> anyhow::Result<Edits> {
    let mut edits = Edits::default();
    for number in 1..=count {
        let routes = running.site.routes.count();
        progress.say(&format!("edit {number} of {peer}, routes: {routes}"));
        edit(running, &mut edits)?;
        running.process.assert_running()?;
        std::thread::sleep(REST);
    }
    Ok(edits)
}

/// One edit, and questions until it is answered by.
fn edit(running: &mut Running, edits: &mut Edits) -> anyhow::Result<()> {
    let old = running.site.backend().name;
    let edit = running.prepare_edit()?;
    let new = running.site.backend().name;
    let (port, host, path) = (running.site.port, running.site.host(), running.site.path(KB));
    let start = Instant::now();
    edit.apply()?;
    loop {
        match ask(port, &host, &path) {
            Ok(answer) if answer.is_by(new) => break,
            Ok(answer) if answer.is_by(old) => {}
            Ok(_) | Err(_) => edits.wrong += 1,
        }
        if start.elapsed() > PATIENCE {
            bail!("an edit is not live after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
    edits.live.push(start.elapsed().as_secs_f64() * 1e3);
    for _ in 0..5 {
        match ask(port, &host, &path) {
            Ok(answer) if answer.is_by(new) => {}
            Ok(answer) if answer.is_by(old) => edits.fell_back += 1,
            Ok(_) | Err(_) => edits.wrong += 1,
        }
    }
    Ok(())
}
