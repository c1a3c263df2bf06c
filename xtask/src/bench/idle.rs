//! Memory of connections on which nothing happens: each was used for one request.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::peers::Running;
use super::process::{Process, wait_for};
use super::progress::Progress;
use super::report::{Bar, Outcome, megabytes, thousands};
use super::scenario::{KB, Scenario};
use super::setup::{LOAD_CORE, Setup};
use super::site::{Protocol, Routes};

/// Opens connections to one proxy after the other.
pub(crate) fn idle(
    setup: &Setup,
    scenario: &'static Scenario,
    protocol: Protocol,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let count = setup.extent.connections;
    let after = format!("RSS with {}, MB", thousands(count));
    let headers = ["proxy", "RSS without connections, MB", &after, "KB a connection"];
    let mut outcome = Outcome::new(scenario, &headers, "KB a connection");
    for peer in setup.able(protocol) {
        progress.say(&format!("{peer} keeps {count} connections"));
        let mut running = setup.start(peer, protocol, Routes::One, KB)?;
        let before = running.process.resident()?;
        let after = with_connections(&mut running, count)
            .with_context(|| format!("{count} connections to {peer}"))?;
        let each = after.saturating_sub(before) as f64 / 1e3 / count as f64;
        outcome.rows.push(vec![
            peer.to_string(),
            megabytes(before),
            megabytes(after),
            format!("{each:.1}"),
        ]);
        outcome.bars.push(Bar { label: peer.to_string(), value: each });
    }
    Ok(outcome)
}

/// Resident memory when all connections are there and were answered.
fn with_connections(running: &mut Running, count: usize) -> anyhow::Result<u64> {
    let site = &running.site;
    let mut command = Command::new("h2load");
    // Each client asks once, and then not again before the measurement is over.
    command.args(["--h1", "--rps", "0.005", "--duration", "300", "--threads", "1"]);
    command.args(["--clients", &count.to_string()]);
    command.arg(format!("--connect-to=127.0.0.1:{}", site.port));
    command.arg(format!("{}://{}{}", site.protocol.scheme(), site.host(), site.path(KB)));
    let log = std::env::temp_dir().join(format!("gwapi-bench-idle-{}.log", std::process::id()));
    let mut clients = Process::start("h2load", LOAD_CORE, &command, &log)?;
    let port = site.port;
    let limit = Duration::from_secs(60);
    let all = wait_for(limit, || {
        clients.assert_running()?;
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let open: usize = tables.into_iter().flatten().map(|text| established(&text, port)).sum();
        ensure!(open >= count, "{open} connections are open, not {count}");
        Ok(())
    });
    fs::remove_file(&log).context("cannot remove the log of h2load")?;
    all?;
    // Once nothing is done any more, all were answered.
    let mut spent = running.process.cpu_time()?;
    wait_for(limit, || {
        std::thread::sleep(Duration::from_millis(200));
        let now = running.process.cpu_time()?;
        let busy = now.saturating_sub(spent);
        spent = now;
        ensure!(busy < Duration::from_millis(1), "the proxy does not come to rest");
        Ok(())
    })?;
    running.process.assert_running()?;
    clients.assert_running()?;
    running.process.resident()
}

/// Connections of a port in `/proc/net/tcp`, on the side of the one who listens.
fn established(table: &str, port: u16) -> usize {
    let local = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|address| address.ends_with(&local))
            && fields.nth(1) == Some("01")
    };
    table.lines().filter(is_one).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_on_the_side_of_the_listener() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000
   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000
   2: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000
   3: 0100007F:1F90 0100007F:C002 06 00000000:00000000 00:00000000
";
        assert_eq!(established(table, 8080), 1);
    }
}
