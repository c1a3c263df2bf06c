//! The metrics of the controller: every name, help text and label.

use std::sync::Arc;
use std::time::Duration;

use gwapi_model::Kind;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Every name starts with this and an underscore.
const PREFIX: &str = "gwapi_controller";

/// Upper bounds of the buckets of a step's duration, in seconds.
const STEP_BOUNDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

type ByLabels<const N: usize> = Family<[(&'static str, &'static str); N], Counter>;

/// Counters and gauges; a copy counts into the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    watch_events: ByLabels<2>,
    watch_failures: ByLabels<1>,
    unreadable: Gauge,
    steps: Histogram,
    requests: ByLabels<2>,
    unchanged: Counter,
    proxies: Gauge,
    ready: Gauge,
    leader: Gauge,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            watch_events: Family::default(),
            watch_failures: Family::default(),
            unreadable: Gauge::default(),
            steps: Histogram::new(STEP_BOUNDS),
            requests: Family::default(),
            unchanged: Counter::default(),
            proxies: Gauge::default(),
            ready: Gauge::default(),
            leader: Gauge::default(),
        };
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register(
            "watch_events",
            "What the API server told, by kind and event",
            metrics.watch_events.clone(),
        );
        registry.register(
            "watch_failures",
            "Lists and watches that failed and were tried again, by kind",
            metrics.watch_failures.clone(),
        );
        registry.register(
            "objects_unreadable",
            "Objects that cannot be read; what they were before is served",
            metrics.unreadable.clone(),
        );
        registry.register_with_unit(
            "step_duration",
            "Time to translate a batch of changes and hand it out",
            Unit::Seconds,
            metrics.steps.clone(),
        );
        registry.register(
            "status_requests",
            "Requests to the API server about status, by kind and outcome",
            metrics.requests.clone(),
        );
        registry.register(
            "status_unchanged",
            "Times that a status was looked at and found as it should be",
            metrics.unchanged.clone(),
        );
        registry.register(
            "proxies_connected",
            "Proxies that are connected to this replica",
            metrics.proxies.clone(),
        );
        registry.register(
            "ready",
            "Whether this replica serves configuration",
            metrics.ready.clone(),
        );
        registry.register(
            "leader",
            "Whether this replica writes status and provisions",
            metrics.leader.clone(),
        );
        metrics.registry = Arc::new(registry);
        metrics
    }

    /// Something was seen of a kind.
    pub(crate) fn watch_event(&self, kind: Kind, event: &'static str) {
        self.watch_events.get_or_create(&[("kind", kind.as_str()), ("event", event)]).inc();
    }

    /// A list or watch failed.
    pub(crate) fn watch_failure(&self, kind: Kind) {
        self.watch_failures.get_or_create(&[("kind", kind.as_str())]).inc();
    }

    /// So many objects cannot be read.
    pub(crate) fn unreadable(&self, objects: usize) {
        self.unreadable.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// So many proxies are connected.
    pub(crate) fn proxies(&self, connected: usize) {
        self.proxies.set(i64::try_from(connected).unwrap_or(i64::MAX));
    }

    /// A step took so long.
    pub(crate) fn step(&self, duration: Duration) {
        self.steps.observe(duration.as_secs_f64());
    }

    /// A request about a status was answered.
    pub(crate) fn status_request(&self, kind: Kind, outcome: &'static str) {
        self.requests.get_or_create(&[("kind", kind.as_str()), ("outcome", outcome)]).inc();
    }

    /// So many statuses were as they should be.
    pub(crate) fn status_unchanged(&self, statuses: u64) {
        self.unchanged.inc_by(statuses);
    }

    /// Whether this replica is ready.
    pub(crate) fn ready(&self, is_ready: bool) {
        self.ready.set(i64::from(is_ready));
    }

    /// Whether this replica leads.
    pub(crate) fn leader(&self, is_leading: bool) {
        self.leader.set(i64::from(is_leading));
    }

    /// OpenMetrics text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a String cannot fail");
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names in the manual's table are those that are served.
    #[test]
    fn metrics_are_those_of_the_manual() {
        let metrics = Metrics::new();
        // One of which nothing is counted has no line.
        metrics.watch_event(Kind::Gateway, "listed");
        metrics.watch_failure(Kind::Gateway);
        metrics.status_request(Kind::Gateway, "written");
        let text = metrics.render();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let served: BTreeSet<String> = types
            .filter_map(|line| {
                let (name, kind) = line.split_once(' ')?;
                Some(name.to_owned() + if kind == "counter" { "_total" } else { "" })
            })
            .collect();
        let manual = include_str!("../../docs/controller.md");
        let rows = manual.lines().filter(|line| line.starts_with(&format!("| `{PREFIX}_")));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let named: BTreeSet<String> = cells
            .flat_map(|cell| cell.split(','))
            .map(|name| {
                name.trim().trim_matches('`').split('{').next().unwrap_or_default().to_owned()
            })
            .filter(|name| name.starts_with(PREFIX))
            .collect();
        assert_eq!(served, named);
    }

    #[test]
    fn metrics_are_rendered_with_names_and_labels() {
        let metrics = Metrics::new();
        metrics.status_request(Kind::HttpRoute, "written");
        metrics.status_request(Kind::HttpRoute, "written");
        metrics.step(Duration::from_millis(3));
        metrics.ready(true);
        let text = metrics.render();
        let written =
            "gwapi_controller_status_requests_total{kind=\"HTTPRoute\",outcome=\"written\"} 2\n";
        assert!(text.contains(written), "{text}");
        assert!(text.contains("gwapi_controller_step_duration_seconds_bucket{le=\"0.005\"} 1\n"));
        assert!(text.contains("gwapi_controller_ready 1\n"));
    }
}
