//! What operators see of a running proxy: metrics, the access log, the admin server.
//!
//! ```text
//!  worker 0: WorkerTelemetry ─► own counters ─┐                     ┌─► /metrics
//!  worker 1: WorkerTelemetry ─► own counters ─┼─► Telemetry::render ┘
//!                  │                          │
//!                  └─► bounded queue ─► writer thread ─► access log
//! ```
//!
//! A worker writes to counters that no other worker writes to: plain loads and stores of relaxed
//! atomics. Whoever renders the metrics reads the counters of all workers and adds them up.

mod access_log;
mod admin;
mod metrics;
mod record;
mod series;
mod spans;
mod telemetry;
mod worker;

pub(crate) use access_log::AccessLog;
pub(crate) use admin::{AdminServer, Served};
pub(crate) use record::{Ended, RequestRecord, StreamRecord};
pub(crate) use spans::SpanCounts;
pub(crate) use telemetry::{ConfigApplied, Readiness, Telemetry};
pub(crate) use worker::{KnownSeries, OpenConnection, WorkerTelemetry};
