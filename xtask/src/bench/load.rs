//! The load generators, wrk and h2load: how they are called, and what they say.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::grpc;
use super::process::run_pinned;
use super::site::{Protocol, Site};

/// Connections that wrk keeps busy.
const WRK_CONNECTIONS: &str = "64";
/// Connections of h2load, and streams on each.
const H2LOAD_CONNECTIONS: usize = 8;
const H2LOAD_STREAMS: usize = 100;

/// How a proxy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Requests one after the other on connections that stay
    KeepAlive,
    /// Streams side by side on connections that stay
    Streams,
    /// A connection for each request
    Connections,
    /// A connection and a full TLS handshake for each request
    Handshakes,
}

/// Sends load for about `time` and returns how many requests were answered as they should be, each
/// with `length` bytes. One that was not is an error; that none was in so short a time is not.
pub(crate) fn run(
    load: Load,
    site: &Site,
    length: usize,
    core: usize,
    time: Duration,
) -> anyhow::Result<u64> {
    let path = site.path(length);
    match load {
        Load::KeepAlive => wrk(site, &path, &[], core, time),
        Load::Connections => wrk(site, &path, &["-H", "Connection: close"], core, time),
        Load::Streams => streams(site, length, core, time),
        Load::Handshakes => handshakes(site, length, core, time),
    }
}

fn wrk(
    site: &Site,
    path: &str,
    extra: &[&str],
    core: usize,
    time: Duration,
) -> anyhow::Result<u64> {
    let scheme = site.protocol.scheme();
    let mut command = Command::new("wrk");
    // wrk takes whole seconds only, so it is told to run for long and interrupted.
    command.args(["--threads", "1", "--connections", WRK_CONNECTIONS, "--duration", "10m"]);
    // Slow is no error here: it is what is measured.
    command.args(["--timeout", "30s"]);
    command.args(["-H", &format!("Host: {}", site.host())]).args(extra);
    // By name, so that there is a server name in the ClientHello.
    command.arg(format!("{scheme}://localhost:{}{path}", site.port));
    completed_by_wrk(&run_pinned(core, &command, Some(time))?)
}

/// h2load cannot be interrupted without losing the requests that are in flight: it is told a
/// number of requests instead, after a short run that shows how many fit into the time.
fn streams(site: &Site, length: usize, core: usize, time: Duration) -> anyhow::Result<u64> {
    let try_out = (H2LOAD_CONNECTIONS * H2LOAD_STREAMS) as u64;
    let rate = h2load(site, length, H2LOAD_CONNECTIONS, H2LOAD_STREAMS, try_out, core)?.rate;
    let requests = ((rate * time.as_secs_f64()) as u64).max(try_out);
    let run = h2load(site, length, H2LOAD_CONNECTIONS, H2LOAD_STREAMS, requests, core)?;
    Ok(try_out + run.succeeded)
}

/// h2load keeps no TLS session, so that each of its connections is a full handshake.
fn handshakes(site: &Site, length: usize, core: usize, time: Duration) -> anyhow::Result<u64> {
    const AT_ONCE: usize = 128;
    let start = std::time::Instant::now();
    let mut succeeded = 0;
    while start.elapsed() < time {
        succeeded += h2load(site, length, AT_ONCE, 1, AT_ONCE as u64, core)?.succeeded;
    }
    Ok(succeeded)
}

fn h2load(
    site: &Site,
    length: usize,
    connections: usize,
    streams: usize,
    requests: u64,
    core: usize,
) -> anyhow::Result<H2load> {
    let mut command = Command::new("h2load");
    command.args(["--threads", "1", "--clients", &connections.to_string()]);
    command.args(["--max-concurrent-streams", &streams.to_string()]);
    command.args(["--requests", &requests.to_string()]);
    command.arg(format!("--connect-to=127.0.0.1:{}", site.port));
    match site.protocol {
        Protocol::Http1Tls | Protocol::Passthrough => {
            command.arg("--h1");
        }
        Protocol::Grpc => {
            command.arg("--header").arg(format!("content-type: {}", grpc::CONTENT_TYPE));
            command.args(["--header", "te: trailers"]).arg("--data").arg(&site.message);
        }
        Protocol::Http1 | Protocol::Http2 | Protocol::Http2Tls | Protocol::Tcp => {}
    }
    command.arg(format!("{}://{}{}", site.protocol.scheme(), site.host(), site.path(length)));
    let output = run_pinned(core, &command, None)?;
    let run = H2load::parse(&output)?;
    ensure!(run.succeeded == requests, "h2load wanted {requests} answers:\n{output}");
    // A call of gRPC that fails has the status 200, and no message.
    let bytes = requests * site.protocol.answer(length).len() as u64;
    ensure!(run.bytes == bytes, "h2load wanted {bytes} bytes in bodies:\n{output}");
    if let Some(version) = &run.tls {
        ensure!(version == "TLSv1.3", "h2load spoke {version}, not TLSv1.3");
    }
    Ok(run)
}

/// What wrk says of a run without errors.
fn completed_by_wrk(output: &str) -> anyhow::Result<u64> {
    for bad in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        if let Some(line) = output.lines().find(|line| line.trim_start().starts_with(bad)) {
            bail!("wrk met errors: {}", line.trim());
        }
    }
    let line = output.lines().find(|line| line.contains(" requests in "));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("wrk does not say its requests:\n{output}"))
}

/// What h2load says of a run.
#[derive(Debug, PartialEq)]
struct H2load {
    succeeded: u64,
    /// In the bodies of all answers.
    bytes: u64,
    /// Requests a second.
    rate: f64,
    tls: Option<String>,
}

impl H2load {
    fn parse(output: &str) -> anyhow::Result<Self> {
        let unexpected = || format!("h2load printed what is not understood:\n{output}");
        let after = |start: &str| output.lines().find_map(|line| line.strip_prefix(start));
        let requests = counts(after("requests: ").with_context(unexpected)?);
        let codes = counts(after("status codes: ").with_context(unexpected)?);
        let count = |counts: &[(u64, &str)], name: &str| {
            counts.iter().find(|(_, what)| *what == name).map(|&(number, _)| number)
        };
        let succeeded = count(&codes, "2xx").with_context(unexpected)?;
        for (number, what) in requests.iter().chain(&codes) {
            let bad = ["failed", "errored", "timeout", "3xx", "4xx", "5xx"].contains(what);
            ensure!(!bad || *number == 0, "h2load met errors: {number} {what}\n{output}");
        }
        let rate = after("finished in ")
            .and_then(|rest| rest.split(',').nth(1)?.trim().strip_suffix(" req/s"))
            .and_then(|rate| rate.parse().ok())
            .with_context(unexpected)?;
        let bytes = after("traffic: ")
            .and_then(|traffic| traffic.strip_suffix(") data")?.rsplit('(').next()?.parse().ok())
            .with_context(unexpected)?;
        Ok(Self { succeeded, bytes, rate, tls: after("TLS Protocol: ").map(str::to_owned) })
    }
}

/// The parts of `10 total, 9 done`.
fn counts(text: &str) -> Vec<(u64, &str)> {
    text.split(',')
        .filter_map(|part| {
            let (number, what) = part.trim().split_once(' ')?;
            Some((number.parse().ok()?, what))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "\
Running 10m test @ http://localhost:8080/api/1024
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.35ms  214.11us   5.70ms   93.14%
    Req/Sec    47.44k     2.19k   49.91k    90.00%
  47219 requests in 1.00s, 54.58MB read
Requests/sec:  47105.32
Transfer/sec:     54.45MB
";

    const H2LOAD: &str = "\
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Application protocol: h2

finished in 123.45ms, 64803.12 req/s, 66.20MB/s
requests: 8000 total, 8000 started, 8000 done, 8000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 8000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 8.17MB (8569128) total, 132.85KB (136040) headers (space savings 92.44%), 7.81MB (8192000) data
";

    #[test]
    fn requests_that_wrk_completed_are_read() {
        assert_eq!(completed_by_wrk(WRK).unwrap(), 47_219);
    }

    #[test]
    fn an_error_that_wrk_met_fails_the_round() {
        for line in [
            "  Non-2xx or 3xx responses: 7\n",
            "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
        ] {
            let error = completed_by_wrk(&format!("{WRK}{line}")).unwrap_err();
            assert_eq!(error.to_string(), format!("wrk met errors: {}", line.trim()));
        }
        assert!(completed_by_wrk("unable to connect\n").is_err());
    }

    #[test]
    fn requests_that_h2load_completed_are_read() {
        let expected = H2load {
            succeeded: 8000,
            bytes: 8_192_000,
            rate: 64_803.12,
            tls: Some("TLSv1.3".to_owned()),
        };
        assert_eq!(H2load::parse(H2LOAD).unwrap(), expected);
    }

    #[test]
    fn an_error_that_h2load_met_fails_the_round() {
        let output = H2LOAD.replace("0 5xx", "1 5xx");
        let error = H2load::parse(&output).unwrap_err();
        assert!(error.to_string().starts_with("h2load met errors: 1 5xx\n"), "{error}");
    }
}
