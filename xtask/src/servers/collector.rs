//! An OpenTelemetry Collector, which has to get the spans of requests as they were.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use anyhow::{Context, ensure};

use super::server::{Server, free_address};
use crate::cluster::golang;
use crate::gateway::{self, Gateway};

/// The trace of a caller, and its span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Sends requests with and without a trace, and compares the spans that the Collector has of them.
pub(super) fn check(root: &Path, folder: &Path) -> anyhow::Result<()> {
    let address = free_address()?;
    let mut collector = start(root, folder, address)?;
    let objects = OBJECTS.replace("PORT", &address.port().to_string());
    let gateway = Gateway::start_beside(root, "servers", &objects, &[])?;

    let traced = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\nx-user-id: u1\r\n");
    let seen = get(gateway.address, "/a?x=1", &traced)?;
    // The second trace begins here, and the third is not wanted by its caller.
    get(gateway.address, "/b", "")?;
    get(gateway.address, "/c", &format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n"))?;
    get(gateway.address, "/last", "")?;
    let spans = spans_until(&mut collector, "/last")?;

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

/// A Collector that prints what it gets.
fn start(root: &Path, folder: &Path, address: SocketAddr) -> anyhow::Result<Server> {
    let program = golang::build(root, &golang::OTELCOL)?.join("otelcol");
    let settings = folder.join("otelcol.yaml");
    fs::write(&settings, SETTINGS.replace("ADDRESS", &address.to_string()))
        .with_context(|| format!("cannot write {}", settings.display()))?;
    let option = format!("--config=file:{}", settings.display());
    let mut collector = Server::start(&program, &[&option], folder)?;
    collector.wait(|_| TcpStream::connect(address).ok())?;
    Ok(collector)
}

/// All spans, once that of the request for `path` has come.
fn spans_until(collector: &mut Server, path: &str) -> anyhow::Result<Vec<Span>> {
    let wanted = format!("Str({path})");
    collector.wait(|printed| {
        let spans = spans(printed);
        spans.iter().any(|span| span.attribute("url.path") == Some(&*wanted)).then_some(spans)
    })
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

/// What the gateway answers, which is what its endpoint saw of the request.
fn get(address: SocketAddr, target: &str, headers: &str) -> anyhow::Result<String> {
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    let answer = gateway::ask(address, &request, gateway::PATIENCE)?;
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
