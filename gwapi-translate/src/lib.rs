//! From Gateway API resources to what a data plane serves: pure, total, incremental.
//!
//! ```text
//!  Resources ──► translate ──► Translation { config per Gateway, status per object }
//!  ResourceEvent ──► Translator::apply ──► TranslationDelta        (adds up to the same)
//!
//!  GatewayConfig ──► RouteTable ──► RouteMatch ──► backend by weight
//! ```
//!
//! * Total: translation never fails as a whole. A rule that cannot be honoured becomes a rule that
//!   answers 500, together with a condition that says why; everything else is served.
//! * Incremental = full: for any sequence of events the deltas of [`Translator::apply`] add up to
//!   [`translate`] of the final resources.
//! * Table = oracle: a [`RouteTable`] answers as a naive reading of the rules does.
//!
//! No runtime, no clock, no file, and randomness only from an `Rng` that is handed in.
//! The feature `testing` exports the generators, the oracle and the laws behind these sentences.

pub mod ir;
pub mod path;
pub mod pattern;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod translator;
pub mod weighted;

pub use table::RouteTable;
pub use translator::*;
