//! CPU time a request: the peers take turns, and each round of one is compared with the same round
//! of the others.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use super::load::{self, Load};
use super::peers::{Peer, Running};
use super::process::Process;
use super::progress::Progress;
use super::report::{Bar, Outcome, Reach, megabytes, thousands};
use super::scenario::{KB, ROUTE_COUNTS, Scenario, Shape};
use super::setup::{LOAD_CORE, Setup};
use super::site::{Protocol, Routes};
use super::stats::{Spread, quantile, ratios};

/// The last of many routes may cost so much more than the last of few.
const MORE_ROUTES_AT_MOST: f64 = 1.05;
/// All of the most routes fit into so many bytes, and are loaded in such a time.
const RESIDENT_AT_MOST: f64 = 100e6;
const LOADED_IN_AT_MOST: f64 = 0.8;

/// What is added to a round in which nothing was answered.
const LONGER: Duration = Duration::from_secs(5);

/// How the proxies are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) protocol: Protocol,
    pub(crate) load: Load,
    /// Of the bodies, in bytes.
    pub(crate) length: usize,
}

/// One route, all peers.
pub(crate) fn one_route(
    setup: &Setup,
    scenario: &'static Scenario,
    asked: Asked,
    profiles: Option<&Path>,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let mut running = setup.start_all(asked.protocol, Routes::One, asked.length)?;
    let figures = measure(setup, &mut running, asked, progress)?;
    if let Some(folder) = profiles {
        let ours = running.iter_mut().find(|running| running.peer == Peer::Gwapi);
        let file = folder.join(format!("{}.perf", scenario.name));
        profile(ours.context("--profile needs gwapi among the peers")?, asked, setup, &file)?;
    }
    let first = running.first().context("there is no peer")?.peer;
    let headers = ["proxy", "us a request", &format!("{first} against it"), "RSS, MB"];
    let mut outcome = Outcome::new(scenario, &headers, "us a request");
    for (peer, theirs) in running.iter().zip(&figures) {
        let us = Spread::of(theirs).context("there was no round")?;
        let ratio = Spread::of(&ratios(&figures[0], theirs)).context("there was no round")?;
        let is_first = peer.peer == first;
        outcome.rows.push(vec![
            peer.peer.to_string(),
            format!("{:.1} ({:.1}..{:.1})", us.median, us.lower, us.upper),
            if is_first { String::new() } else { ratio.to_string() },
            megabytes(peer.process.resident()?),
        ]);
        outcome.bars.push(Bar { label: peer.peer.to_string(), value: us.median });
        outcome.reach.extend(against(scenario, first, peer.peer, ratio, ""));
    }
    Ok(outcome)
}

/// Few and many routes, all peers, all at once.
pub(crate) fn many_routes(
    setup: &Setup,
    scenario: &'static Scenario,
    shape: Shape,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let counts = ROUTE_COUNTS.iter().filter(|&&count| count <= setup.extent.routes);
    let mut running = Vec::new();
    let mut loaded_in = Vec::new();
    for &count in counts {
        for &peer in &setup.peers {
            progress.say(&format!("{peer} loads {count} routes"));
            let (last, times) = load_times(setup, peer, shape.routes(count))?;
            running.push(last);
            loaded_in.push(quantile(&times, 0.5).context("there was no start")?);
        }
    }
    let asked = Asked { protocol: Protocol::Http1, load: Load::KeepAlive, length: KB };
    let figures = measure(setup, &mut running, asked, progress)?;

    let first = running.first().context("there is no peer")?.peer;
    let against_first = format!("{first} against it");
    let headers = [
        "routes",
        "proxy",
        "us a request",
        &against_first,
        "against 10",
        "RSS, MB",
        "loaded in, s",
    ];
    let mut outcome = Outcome::new(scenario, &headers, "us a request");
    for (at, subject) in running.iter().enumerate() {
        let (peer, count) = (subject.peer, subject.site.routes.count());
        // All peers stand in the same order behind each number of routes.
        let ours = &figures[at - at % setup.peers.len()];
        let few = &figures[at % setup.peers.len()];
        let us = Spread::of(&figures[at]).context("there was no round")?;
        let ratio = Spread::of(&ratios(ours, &figures[at])).context("there was no round")?;
        let growth = Spread::of(&ratios(&figures[at], few)).context("there was no round")?;
        let resident = subject.process.resident()?;
        outcome.rows.push(vec![
            thousands(count),
            peer.to_string(),
            format!("{:.1} ({:.1}..{:.1})", us.median, us.lower, us.upper),
            if peer == first { String::new() } else { ratio.to_string() },
            growth.to_string(),
            megabytes(resident),
            format!("{:.2}", loaded_in[at]),
        ]);
        outcome.bars.push(Bar { label: format!("{peer}, {}", thousands(count)), value: us.median });
        let places = format!(", {} routes", thousands(count));
        outcome.reach.extend(against(scenario, first, peer, ratio, &places));
        if peer == Peer::Gwapi && count == ROUTE_COUNTS[ROUTE_COUNTS.len() - 1] {
            outcome.reach.extend([
                Reach::ratio_at_most(
                    "last of 40,000 against last of 10",
                    growth,
                    MORE_ROUTES_AT_MOST,
                ),
                Reach::at_most(
                    "RSS with 40,000 routes",
                    resident as f64 / 1e6,
                    RESIDENT_AT_MOST / 1e6,
                    " MB",
                ),
                Reach::at_most("40,000 routes loaded", loaded_in[at], LOADED_IN_AT_MOST, " s"),
            ]);
        }
    }
    Ok(outcome)
}

/// Starts a proxy several times; the last one goes on.
fn load_times(setup: &Setup, peer: Peer, routes: Routes) -> anyhow::Result<(Running, Vec<f64>)> {
    let mut times = Vec::new();
    loop {
        let running = setup.start(peer, Protocol::Http1, routes, KB)?;
        times.push(running.started_in.as_secs_f64());
        if times.len() >= setup.extent.starts {
            return Ok((running, times));
        }
    }
}

/// Microseconds a request: of each proxy, of each round.
fn measure(
    setup: &Setup,
    running: &mut [Running],
    asked: Asked,
    progress: &Progress,
) -> anyhow::Result<Vec<Vec<f64>>> {
    let time = setup.extent.time;
    // The first requests open the connections to the backend and fill caches.
    for peer in running.iter_mut() {
        progress.say(&format!("{} warms up", peer.peer));
        round(peer, asked, time / 2)
            .with_context(|| format!("{} before the first round", peer.peer))?;
    }
    let mut figures = vec![Vec::new(); running.len()];
    for number in 0..setup.extent.rounds {
        for turn in 0..running.len() {
            let at = (number + turn) % running.len();
            let peer = &mut running[at];
            let count = peer.site.routes.count();
            progress.say(&format!("round {}: {}, routes: {count}", number + 1, peer.peer));
            let figure = round(peer, asked, time)
                .with_context(|| format!("{} in round {}", peer.peer, number + 1))?;
            figures[at].push(figure);
        }
    }
    Ok(figures)
}

/// One round of one proxy. Where nothing was answered in a short time on a busy machine, a longer
/// round takes its place.
fn round(peer: &mut Running, asked: Asked, time: Duration) -> anyhow::Result<f64> {
    for time in [time, time + LONGER] {
        let before = peer.process.cpu_time()?;
        let requests = load::run(asked.load, &peer.site, asked.length, LOAD_CORE, time)?;
        let spent = peer.process.cpu_time()?.saturating_sub(before);
        peer.process.assert_running()?;
        if requests > 0 {
            return Ok(spent.as_secs_f64() * 1e6 / requests as f64);
        }
    }
    bail!("nothing was answered in {} s", (time + LONGER).as_secs())
}

/// A round while `perf` records the proxy.
fn profile(peer: &mut Running, asked: Asked, setup: &Setup, file: &Path) -> anyhow::Result<()> {
    let time = setup.extent.time.max(Duration::from_secs(1));
    let mut perf = Command::new("perf");
    perf.args(["record", "-g", "--pid", &peer.process.id().to_string(), "--output"]).arg(file);
    perf.args(["--", "sleep", &time.as_secs_f64().to_string()]);
    let mut perf = Process::start("perf", LOAD_CORE, &perf, &file.with_extension("log"))?;
    round(peer, asked, time)?;
    perf.wait().context("perf is in the Debian package linux-perf")?;
    eprintln!("perf report --input {}", file.display());
    Ok(())
}

/// What is to be reached against a peer, where that was set. Only gwapi itself is judged.
fn against(
    scenario: &Scenario,
    first: Peer,
    peer: Peer,
    ratio: Spread,
    what: &str,
) -> Option<Reach> {
    let limit = scenario.at_most(peer).filter(|_| first == Peer::Gwapi)?;
    Some(Reach::ratio_at_most(&format!("CPU a request against {peer}{what}"), ratio, limit))
}
