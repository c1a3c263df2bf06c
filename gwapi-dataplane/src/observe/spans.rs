//! What became of the spans of a Gateway.

use std::sync::atomic::AtomicU64;

/// Spans by what became of them; several threads count.
#[derive(Debug, Default)]
pub(crate) struct SpanCounts {
    /// The collector took them.
    pub(crate) exported: AtomicU64,
    /// Too many waited.
    pub(crate) overflowed: AtomicU64,
    /// They could not be brought to the collector.
    pub(crate) failed: AtomicU64,
    /// The collector said that it did not want them.
    pub(crate) refused: AtomicU64,
}
