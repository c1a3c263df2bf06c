//! The metrics: every name, help text and label, and how they are rendered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use gwapi_translate::ir::GatewayId;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::record::Ended;
use super::series::{BOUNDS_MICROS, ConnectionSeries, DurationTotals, RequestTotals};
use super::spans::SpanCounts;
use super::telemetry::{ConfigState, MemoryState};
use super::worker::{
    BackendLabels, ConnectionLabels, FailureLabels, HandshakeLabels, RejectionLabels,
    RequestLabels, Shard, SharedSeries,
};

/// Every name starts with this and an underscore.
const PREFIX: &str = "gwapi";

/// Name and help text of a metric; type, unit and the suffixes that follow from them are said
/// where it is rendered.
struct Name(&'static str, &'static str);

const REQUESTS: Name = Name("http_requests", "Requests that are over, by status sent");
const REQUESTS_INCOMPLETE: Name =
    Name("http_requests_incomplete", "Requests that did not end with a whole response");
const REQUEST_DURATION: Name =
    Name("http_request_duration", "Time from the head of a request to the end of its response");
const UPSTREAM_DURATION: Name =
    Name("http_upstream_duration", "Time from the head of a request to the head of the response");
const REJECTED: Name =
    Name("http_rejected_requests", "Requests that the proxy did not take, by reason");
const RECEIVED: Name = Name("http_received", "Bytes of request bodies");
const SENT: Name = Name("http_sent", "Bytes of response bodies");
const CONNECTIONS: Name = Name("connections", "Connections accepted");
const CONNECTIONS_ACTIVE: Name = Name("connections_active", "Connections open now");
const WORKER_CONNECTIONS: Name =
    Name("worker_connections_active", "Connections open now, by worker");
const HANDSHAKE_FAILURES: Name = Name("tls_handshake_failures", "TLS handshakes that failed");
const CONNECTION_FAILURES: Name =
    Name("connection_failures", "Connections that broke because of their client, by reason");
const UPSTREAM_TLS_FAILURES: Name =
    Name("upstream_tls_failures", "Connections to endpoints on which TLS failed, by reason");
const MIRROR_FAILURES: Name =
    Name("mirror_failures", "Copies of requests that a mirror did not answer, by reason");
const AUTHORIZATIONS: Name =
    Name("authorizations", "Questions to authorization services, by what came of them");
const REFUSED_RETRIES: Name =
    Name("refused_retries", "Retries that a rule wanted and that were not made, by reason");
const REJECTED_CONNECTIONS: Name = Name(
    "rejected_connections",
    "Connections of TLSRoutes and TCPRoutes that were closed without an answer, by reason",
);
const UDP_SESSIONS: Name = Name("udp_sessions", "Flows of datagrams that began");
const UDP_SESSIONS_ACTIVE: Name = Name("udp_sessions_active", "Flows of datagrams now");
const UDP_DROPPED: Name = Name("udp_dropped_datagrams", "Datagrams that went nowhere, by reason");
const CONFIG_GENERATION: Name = Name("config_generation", "Number of the configuration served");
const CONFIG_APPLY: Name =
    Name("config_apply_duration", "Time from an update to the moment when all workers serve it");
const CONFIG_TIME: Name =
    Name("config_last_reload_timestamp", "When the configuration served was applied");
const CONFIG_RESOURCES: Name = Name("config_resources", "Resources served, by kind");
const CONFIG_REJECTED: Name =
    Name("config_rejected_resources", "Resources that could not be served, over all updates");
const MEMORY: Name = Name("memory", "Memory of the process, where it has a limit");
const MEMORY_LIMIT: Name = Name("memory_limit", "Memory at which an overload begins");
const OVERLOADED: Name = Name("overloaded", "Whether requests are answered 503 for want of memory");
const OVERLOADS: Name = Name("overloads", "Times that an overload began");
const ACCESS_LOG_LINES: Name = Name("access_log_lines", "Lines taken by the access log");
const ACCESS_LOG_DROPPED: Name =
    Name("access_log_dropped_lines", "Lines that the access log could not write");
const READY: Name = Name("ready", "Whether traffic should be sent here");
const START_TIME: Name = Name("start_timestamp", "When the proxy started");
const EXPORTED_SPANS: Name = Name("exported_spans", "Spans that a collector took");
const DROPPED_SPANS: Name = Name("dropped_spans", "Spans that no collector took, by reason");
const BUILD: Name = Name("build", "What was built");

const SECONDS: Option<&Unit> = Some(&Unit::Seconds);
const BYTES: Option<&Unit> = Some(&Unit::Bytes);

/// The status label of requests whose status found no place of its own.
const OTHER_CODES: &str = "other";

/// All counters at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) requests: BTreeMap<RequestLabels, RequestTotals>,
    pub(super) connections: BTreeMap<ConnectionLabels, (u64, u64)>,
    pub(super) connections_by_worker: Vec<u64>,
    pub(super) handshakes: BTreeMap<HandshakeLabels, u64>,
    pub(super) failures: BTreeMap<FailureLabels, u64>,
    pub(super) rejections: BTreeMap<RejectionLabels, u64>,
    pub(super) upstream_tls: BTreeMap<BackendLabels, u64>,
    pub(super) mirrors: BTreeMap<BackendLabels, u64>,
    pub(super) authorizations: BTreeMap<BackendLabels, u64>,
    pub(super) refused_retries: BTreeMap<BackendLabels, u64>,
    pub(super) rejected_connections: BTreeMap<FailureLabels, u64>,
    pub(super) udp_sessions: BTreeMap<ConnectionLabels, (u64, u64)>,
    pub(super) dropped_datagrams: BTreeMap<FailureLabels, u64>,
    pub(super) memory: MemoryState,
    pub(super) config: ConfigState,
    /// By Gateway, where requests are or were traced.
    pub(super) spans: BTreeMap<GatewayId, Arc<SpanCounts>>,
    /// Lines taken and lines dropped, where there is an access log.
    pub(super) access_log: Option<(u64, u64)>,
    pub(super) ready: bool,
    pub(super) started_at: SystemTime,
}

impl Snapshot {
    /// Adds what one worker counted.
    pub(super) fn add(&mut self, shard: &Shard) {
        for (labels, series) in shard.requests.list() {
            self.requests.entry(labels).or_default().add(&series);
        }
        let active = add_open(&mut self.connections, &shard.connections);
        self.connections_by_worker.push(active);
        add_open(&mut self.udp_sessions, &shard.udp_sessions);
        for (labels, count) in shard.rejected_connections.list() {
            *self.rejected_connections.entry(labels).or_default() += count.value();
        }
        for (labels, count) in shard.dropped_datagrams.list() {
            *self.dropped_datagrams.entry(labels).or_default() += count.value();
        }
        for (labels, count) in shard.handshakes.list() {
            *self.handshakes.entry(labels).or_default() += count.value();
        }
        for (labels, count) in shard.failures.list() {
            *self.failures.entry(labels).or_default() += count.value();
        }
        for (labels, count) in shard.rejections.list() {
            *self.rejections.entry(labels).or_default() += count.value();
        }
        for (labels, count) in shard.upstream_tls.list() {
            *self.upstream_tls.entry(labels).or_default() += count.value();
        }
        for (labels, count) in shard.mirrors.list() {
            *self.mirrors.entry(labels).or_default() += count.value();
        }
        for (labels, count) in shard.authorizations.list() {
            *self.authorizations.entry(labels).or_default() += count.value();
        }
        for (labels, count) in shard.refused_retries.list() {
            *self.refused_retries.entry(labels).or_default() += count.value();
        }
    }
}

/// Adds up what opened and what is open, and tells how much is open on this worker.
fn add_open(
    all: &mut BTreeMap<ConnectionLabels, (u64, u64)>,
    shared: &SharedSeries<ConnectionLabels, ConnectionSeries>,
) -> u64 {
    let mut active = 0;
    for (labels, series) in shared.list() {
        // Closed first: what closes in between counts as open, never as minus one.
        let closed = series.closed.value();
        let opened = series.opened.value();
        let totals = all.entry(labels).or_default();
        totals.0 += opened;
        totals.1 += opened.saturating_sub(closed);
        active += opened.saturating_sub(closed);
    }
    active
}

/// A snapshot as OpenMetrics text.
pub(super) fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(snapshot));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("writing to a String cannot fail");
    out
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.encode_requests(&mut page)?;
        self.encode_durations(&mut page)?;
        self.encode_connections(&mut page)?;
        self.encode_streams(&mut page)?;
        self.encode_spans(&mut page)?;
        self.encode_config(&mut page)?;
        self.encode_process(&mut page)
    }
}

impl Snapshot {
    fn encode_requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut requests = page.metric(REQUESTS, None, MetricType::Counter)?;
        for (labels, totals) in &self.requests {
            for (code, count) in &totals.codes {
                let code = if *code == 0 { OTHER_CODES.to_owned() } else { code.to_string() };
                counter(&mut requests, &with(labels, "code", code), *count)?;
            }
        }
        let mut incomplete = page.metric(REQUESTS_INCOMPLETE, None, MetricType::Counter)?;
        for (labels, totals) in &self.requests {
            for (ended, count) in Ended::ALL.into_iter().zip(totals.ended) {
                if ended != Ended::Complete && count > 0 {
                    let labels = with(labels, "reason", ended.as_str().to_owned());
                    counter(&mut incomplete, &labels, count)?;
                }
            }
        }
        let mut rejected = page.metric(REJECTED, None, MetricType::Counter)?;
        for (RejectionLabels { gateway, reason }, count) in &self.rejections {
            let labels = vec![("gateway", gateway.to_string()), ("reason", (*reason).to_owned())];
            counter(&mut rejected, &labels, *count)?;
        }
        let mut received = page.metric(RECEIVED, BYTES, MetricType::Counter)?;
        for (labels, totals) in &self.requests {
            counter(&mut received, &names(labels), totals.received)?;
        }
        let mut sent = page.metric(SENT, BYTES, MetricType::Counter)?;
        for (labels, totals) in &self.requests {
            counter(&mut sent, &names(labels), totals.sent)?;
        }
        Ok(())
    }

    fn encode_durations(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut durations = page.metric(REQUEST_DURATION, SECONDS, MetricType::Histogram)?;
        for (labels, totals) in &self.requests {
            histogram(&mut durations.encode_family(&names(labels))?, &totals.duration)?;
        }
        let mut upstream = page.metric(UPSTREAM_DURATION, SECONDS, MetricType::Histogram)?;
        for (labels, totals) in &self.requests {
            histogram(&mut upstream.encode_family(&names(labels))?, &totals.upstream_duration)?;
        }
        Ok(())
    }

    fn encode_connections(&self, page: &mut Page<'_>) -> fmt::Result {
        let names = listener_names;
        let mut opened = page.metric(CONNECTIONS, None, MetricType::Counter)?;
        for (labels, (count, _)) in &self.connections {
            counter(&mut opened, &names(labels), *count)?;
        }
        let mut active = page.metric(CONNECTIONS_ACTIVE, None, MetricType::Gauge)?;
        for (labels, (_, count)) in &self.connections {
            active.encode_family(&names(labels))?.encode_gauge(count)?;
        }
        let mut by_worker = page.metric(WORKER_CONNECTIONS, None, MetricType::Gauge)?;
        for (worker, count) in self.connections_by_worker.iter().enumerate() {
            by_worker.encode_family(&[("worker", worker)])?.encode_gauge(count)?;
        }
        let mut failures = page.metric(HANDSHAKE_FAILURES, None, MetricType::Counter)?;
        for (labels, count) in &self.handshakes {
            let gateway = labels.gateway.as_ref().map(ToString::to_string).unwrap_or_default();
            let labels = vec![("gateway", gateway), ("reason", labels.reason.to_owned())];
            counter(&mut failures, &labels, *count)?;
        }
        let mut failures = page.metric(CONNECTION_FAILURES, None, MetricType::Counter)?;
        for (labels, count) in &self.failures {
            let mut names = names(&labels.connection);
            names.push(("reason", labels.reason.to_owned()));
            counter(&mut failures, &names, *count)?;
        }
        for (name, label, series) in [
            (UPSTREAM_TLS_FAILURES, "reason", &self.upstream_tls),
            (MIRROR_FAILURES, "reason", &self.mirrors),
            (AUTHORIZATIONS, "outcome", &self.authorizations),
            (REFUSED_RETRIES, "reason", &self.refused_retries),
        ] {
            let mut failures = page.metric(name, None, MetricType::Counter)?;
            for (labels, count) in series {
                let backend = labels.backend.as_ref().map(ToString::to_string).unwrap_or_default();
                let labels = vec![("backend", backend), (label, labels.reason.to_owned())];
                counter(&mut failures, &labels, *count)?;
            }
        }
        Ok(())
    }

    fn encode_spans(&self, page: &mut Page<'_>) -> fmt::Result {
        let gateway = |id: &GatewayId| ("gateway", id.to_string());
        let mut exported = page.metric(EXPORTED_SPANS, None, MetricType::Counter)?;
        for (id, counts) in &self.spans {
            counter(&mut exported, &vec![gateway(id)], counts.exported.load(Relaxed))?;
        }
        let mut dropped = page.metric(DROPPED_SPANS, None, MetricType::Counter)?;
        for (id, counts) in &self.spans {
            for (reason, count) in [
                ("overflow", &counts.overflowed),
                ("export", &counts.failed),
                ("refused", &counts.refused),
            ] {
                let labels = vec![gateway(id), ("reason", reason.to_owned())];
                counter(&mut dropped, &labels, count.load(Relaxed))?;
            }
        }
        Ok(())
    }

    /// What carries bytes and datagrams.
    fn encode_streams(&self, page: &mut Page<'_>) -> fmt::Result {
        let by_reason = |labels: &FailureLabels| {
            let mut names = listener_names(&labels.connection);
            names.push(("reason", labels.reason.to_owned()));
            names
        };
        let mut rejected = page.metric(REJECTED_CONNECTIONS, None, MetricType::Counter)?;
        for (labels, count) in &self.rejected_connections {
            counter(&mut rejected, &by_reason(labels), *count)?;
        }
        let mut begun = page.metric(UDP_SESSIONS, None, MetricType::Counter)?;
        for (labels, (count, _)) in &self.udp_sessions {
            counter(&mut begun, &listener_names(labels), *count)?;
        }
        let mut active = page.metric(UDP_SESSIONS_ACTIVE, None, MetricType::Gauge)?;
        for (labels, (_, count)) in &self.udp_sessions {
            active.encode_family(&listener_names(labels))?.encode_gauge(count)?;
        }
        let mut dropped = page.metric(UDP_DROPPED, None, MetricType::Counter)?;
        for (labels, count) in &self.dropped_datagrams {
            counter(&mut dropped, &by_reason(labels), *count)?;
        }
        Ok(())
    }

    fn encode_config(&self, page: &mut Page<'_>) -> fmt::Result {
        let ConfigState { applied, applied_at, apply_durations, rejected_total } = &self.config;
        page.gauge(CONFIG_GENERATION, None, applied.generation as f64)?;
        let mut durations = page.metric(CONFIG_APPLY, SECONDS, MetricType::Histogram)?;
        histogram(&mut durations, apply_durations)?;
        if let Some(time) = applied_at {
            page.gauge(CONFIG_TIME, SECONDS, seconds_since_1970(*time))?;
        }
        let mut resources = page.metric(CONFIG_RESOURCES, None, MetricType::Gauge)?;
        for (kind, count) in [
            ("Gateway", applied.gateways),
            ("Listener", applied.listeners),
            ("HttpRule", applied.http_rules),
            ("StreamRule", applied.stream_rules),
            ("Backend", applied.backends),
            ("Certificate", applied.certificates),
        ] {
            resources.encode_family(&[("kind", kind)])?.encode_gauge(&count)?;
        }
        page.counter(CONFIG_REJECTED, *rejected_total)
    }

    fn encode_process(&self, page: &mut Page<'_>) -> fmt::Result {
        let MemoryState { used, limit, overloaded, overloads } = self.memory;
        if limit > 0 {
            page.gauge(MEMORY, BYTES, used as f64)?;
            page.gauge(MEMORY_LIMIT, BYTES, limit as f64)?;
        }
        page.gauge(OVERLOADED, None, if overloaded { 1.0 } else { 0.0 })?;
        page.counter(OVERLOADS, overloads)?;
        let (taken, dropped) = self.access_log.unwrap_or_default();
        page.counter(ACCESS_LOG_LINES, taken)?;
        page.counter(ACCESS_LOG_DROPPED, dropped)?;
        page.gauge(READY, None, if self.ready { 1.0 } else { 0.0 })?;
        page.gauge(START_TIME, SECONDS, seconds_since_1970(self.started_at))?;
        page.metric(BUILD, None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

type Labels = Vec<(&'static str, String)>;

fn names(labels: &RequestLabels) -> Labels {
    let route = labels.route.as_ref().map(ToString::to_string).unwrap_or_default();
    vec![
        ("gateway", labels.gateway.to_string()),
        ("listener", labels.listener.to_string()),
        ("route", route),
    ]
}

fn listener_names(labels: &ConnectionLabels) -> Labels {
    vec![("gateway", labels.gateway.to_string()), ("listener", labels.listener.to_string())]
}

fn with(labels: &RequestLabels, name: &'static str, value: String) -> Labels {
    let mut labels = names(labels);
    labels.push((name, value));
    labels
}

/// The page that is being rendered.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn metric(
        &mut self,
        name: Name,
        unit: Option<&'static Unit>,
        metric_type: MetricType,
    ) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(name.0, name.1, unit, metric_type)
    }

    fn gauge(&mut self, name: Name, unit: Option<&'static Unit>, value: f64) -> fmt::Result {
        self.metric(name, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: Name, value: u64) -> fmt::Result {
        self.metric(name, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&value, None)
    }
}

fn counter(metric: &mut MetricEncoder<'_>, labels: &Labels, value: u64) -> fmt::Result {
    metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn histogram(metric: &mut MetricEncoder<'_>, totals: &DurationTotals) -> fmt::Result {
    let bounds = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(totals.buckets).collect();
    let count = totals.buckets.iter().sum();
    metric.encode_histogram::<NoLabelSet>(totals.sum_micros as f64 / 1e6, count, &buckets, None)
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
