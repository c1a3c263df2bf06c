//! `cargo xtask spans`: whether an OpenTelemetry Collector gets the spans of requests as they were.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::cluster::golang;
use crate::command::target_directory;
use crate::gateway::Gateway;

/// Longer than a start of the Collector takes on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the output of the Collector is looked at.
const ROUND: Duration = Duration::from_millis(50);

/// The trace of a caller, and its span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let folder = target_directory(root)?.join("spans");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut collector = Collector::start(root, &folder)?;
    let objects = OBJECTS.replace("PORT", &collector.address.port().to_string());
    let gateway = Gateway::start_beside(root, "spans", &objects)?;

    let traced = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\nx-user-id: u1\r\n");
    let seen = get(gateway.address, "/a?x=1", &traced)?;
    // The second trace begins here, and the third is not wanted by its caller.
    get(gateway.address, "/b", "")?;
    get(gateway.address, "/c", &format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n"))?;
    get(gateway.address, "/last", "")?;
    let spans = collector.spans_until("/last")?;

    let paths: Vec<_> = spans.iter().filter_map(|span| span.attribute("url.path")).collect();
    ensure!(paths == ["Str(/a)", "Str(/b)", "Str(/last)"], "spans came of {paths:?}");
    spans[0].check(&[
        ("Trace ID", TRACE),
        ("Parent ID", PARENT),
        ("Name", "GET"),
        ("Kind", "Server"),
        ("Status code", "Unset"),
        ("DroppedAttributesCount", "0"),
        ("service.name", "Str(web.default)"),
        ("http.request.method", "Str(GET)"),
        ("http.response.status_code", "Int(200)"),
        ("url.scheme", "Str(http)"),
        ("url.query", "Str(x=1)"),
        ("gwapi.route", "Str(default/web)"),
        ("gwapi.backend", "Str(default/web:80)"),
        ("user.id", "Str(u1)"),
    ])?;
    let id = spans[0].field("ID").context("a span has no id")?;
    let forwarded = format!("00-{TRACE}-{id}-01");
    ensure!(seen.contains(&forwarded), "the endpoint was not told {forwarded}:\n{seen}");
    spans[1].check(&[("Parent ID", ""), ("http.response.status_code", "Int(200)")])?;
    ensure!(spans[1].field("Trace ID") != Some(TRACE), "a request without a trace joined another");
    eprintln!("the Collector has the spans of {}", paths.join(", "));
    Ok(())
}

/// A Collector that prints what it gets; it ends with this value.
struct Collector {
    child: Child,
    address: SocketAddr,
    printed: PathBuf,
    log: PathBuf,
}

impl Collector {
    fn start(root: &Path, folder: &Path) -> anyhow::Result<Self> {
        let program = golang::build(root, &golang::OTELCOL)?.join("otelcol");
        let address = free_address()?;
        let settings = folder.join("otelcol.yaml");
        fs::write(&settings, SETTINGS.replace("ADDRESS", &address.to_string()))
            .with_context(|| format!("cannot write {}", settings.display()))?;
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot create {}", path.display()))
        };
        let (printed, log) = (folder.join("otelcol.out"), folder.join("otelcol.log"));
        let child = Command::new(program)
            .arg(format!("--config=file:{}", settings.display()))
            .stdin(Stdio::null())
            .stdout(create(&printed)?)
            .stderr(create(&log)?)
            .spawn()
            .context("cannot start the Collector")?;
        let mut collector = Self { child, address, printed, log };
        collector.wait(|_| TcpStream::connect(address).ok())?;
        Ok(collector)
    }

    /// All spans, once that of the request for `path` has come.
    fn spans_until(&mut self, path: &str) -> anyhow::Result<Vec<Span>> {
        let wanted = format!("Str({path})");
        self.wait(|printed| {
            let spans = spans(printed);
            spans.iter().any(|span| span.attribute("url.path") == Some(&*wanted)).then_some(spans)
        })
    }

    /// Waits until `look` finds something in what was printed.
    fn wait<T>(&mut self, look: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let printed = fs::read_to_string(&self.printed).unwrap_or_default();
            if let Some(found) = look(&printed) {
                return Ok(found);
            }
            let ended = self.child.try_wait().context("cannot wait for the Collector")?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the Collector has not what was sent. It says:\n{said}\n{printed}");
            }
            std::thread::sleep(ROUND);
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A span as the Collector prints it, with the resource that it is of: names and values.
#[derive(Debug, Default)]
struct Span {
    fields: Vec<(String, String)>,
    attributes: Vec<(String, String)>,
}

impl Span {
    fn field(&self, name: &str) -> Option<&str> {
        value(&self.fields, name)
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        value(&self.attributes, name)
    }

    /// Whether it has these fields and attributes.
    fn check(&self, expected: &[(&str, &str)]) -> anyhow::Result<()> {
        for (name, wanted) in expected {
            let found = self.field(name).or_else(|| self.attribute(name));
            ensure!(found == Some(wanted), "{name} is {found:?}, not {wanted:?}:\n{self:#?}");
        }
        Ok(())
    }
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
}

/// The spans in what the exporter `debug` prints. A last one that is not whole yet may lack some of
/// its attributes, so one that was printed to its end is followed by an empty line or by another.
fn spans(printed: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut resource = Vec::new();
    let mut is_whole = true;
    for line in printed.lines() {
        if line.starts_with("ResourceSpans #") {
            resource.clear();
            is_whole = true;
        } else if line.starts_with("Span #") {
            spans.push(Span { attributes: resource.clone(), ..Span::default() });
            is_whole = false;
        } else if line.is_empty() {
            is_whole = true;
        } else if let Some(pair) = line.trim().strip_prefix("-> ").and_then(pair) {
            match spans.last_mut().filter(|_| !is_whole) {
                Some(span) => span.attributes.push(pair),
                None => resource.push(pair),
            }
        } else if let (Some(span), Some(pair)) = (spans.last_mut(), pair(line)) {
            span.fields.push(pair);
        }
    }
    if !is_whole {
        spans.pop();
    }
    spans
}

/// A name and a value.
fn pair(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

/// An address that nobody listens on at this moment.
fn free_address() -> anyhow::Result<SocketAddr> {
    let held = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    held.local_addr().context("the port is not bound")
}

/// What the gateway answers, which is what its endpoint saw of the request.
fn get(address: SocketAddr, target: &str, headers: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).context("the gateway does not listen")?;
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).context("the gateway does not read")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the gateway does not answer")?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{target} is answered by {answer}");
    Ok(answer)
}

const SETTINGS: &str = "\
receivers: {otlp: {protocols: {grpc: {endpoint: \"ADDRESS\"}}}}
exporters: {debug: {verbosity: detailed, use_internal_logger: false}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}
";

const OBJECTS: &str = "\
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XTelemetryPolicy
metadata: {name: traces}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]
  tracing:
    mode: Enabled
    provider: {backendRef: {name: otelcol, port: 4317}}
    parentBasedSampling: {mode: Enabled}
    attributes: [{name: user.id, sourceType: Header, headerName: x-user-id}]
---
apiVersion: v1
kind: Service
metadata: {name: otelcol}
spec: {ports: [{name: otlp, port: 4317}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: otelcol, labels: {kubernetes.io/service-name: otelcol}}
addressType: IPv4
ports: [{name: otlp, port: PORT}]
endpoints: [{addresses: [127.0.0.1]}]
";

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
Traces\t{\"resource spans\": 1, \"spans\": 2}
ResourceSpans #0
Resource attributes:
     -> service.name: Str(web.default)
InstrumentationScope gwapi 0.1.0
Span #0
    Trace ID       : 0af7
    Parent ID      : 
    Start time     : 2026-11-27 22:42:19 +0000 UTC
Attributes:
     -> url.path: Str(/a)
Span #1
    Trace ID       : 8776
Attributes:
     -> url.path: Str(/b)

";

    #[test]
    fn spans_are_read_with_their_resource() {
        let spans = spans(PRINTED);
        assert_eq!(spans.len(), 2);
        assert_eq!(spans[0].field("Trace ID"), Some("0af7"));
        assert_eq!(spans[0].field("Parent ID"), Some(""));
        assert_eq!(spans[0].field("Start time"), Some("2026-11-27 22:42:19 +0000 UTC"));
        assert_eq!(spans[1].attribute("url.path"), Some("Str(/b)"));
        assert!(spans.iter().all(|span| {
            span.check(&[("service.name", "Str(web.default)")]).is_ok()
                && span.check(&[("service.name", "Str(other)")]).is_err()
        }));
    }

    #[test]
    fn a_span_that_is_half_printed_has_not_come() {
        let cut = PRINTED.strip_suffix("\n\n").expect("it ends so");
        assert_eq!(spans(cut).len(), 1);
    }
}
