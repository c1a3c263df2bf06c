//! Distributed tracing: spans of requests, and their way to a collector (X-6, X-7).
//!
//! ```text
//!  request ─► Tracer::begin: whose trace, sampled or not ─► traceparent of the next hop
//!     └─► RequestTrace ─► its end: a span, encoded ─► bounded queue of the Gateway
//!  ───────────────────────────────────────────────────────────────────────────  a thread of its own
//!                          Exporter: batches ─► Client: OTLP over gRPC ─► collector
//! ```
//!
//! Where no policy asks for it nothing is made, read or counted. Where one does, a worker waits for nobody:
//! a queue that is full, in spans or in bytes, drops the span, which a counter tells.

mod client;
mod context;
mod exporter;
mod otlp;
mod span;
mod tracer;

pub(super) use exporter::{Exporter, Traced};
pub(super) use span::{Beside, RequestTrace};
pub(super) use tracer::Tracer;
