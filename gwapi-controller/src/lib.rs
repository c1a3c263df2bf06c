//! The in-cluster half of gwapi: watches, status, provisioning, and configuration for its proxies.
//!
//! ```text
//!  API server ──► watch ──► engine (owns the Translator) ─┬─► status ──► API server
//!                             ▲  ▲                        ├─► serve ───► proxies
//!                             │  └─── what proxies say ───┤
//!                             └────── what runs ──────────┴─► provision ──► API server
//! ```
//!
//! [`run`] is all of it. One task owns the translator and hears of everything; the others ask it
//! nothing and share nothing with it but channels. Every replica serves configuration; the one that
//! holds the Lease writes status and provisions.
//!
//! What can be a function of values is one: [`status::merge`] puts our part into a status,
//! [`provision::objects`] says what has to run.

mod admin;
mod engine;
mod fingerprint;
mod lease;
mod listen;
mod metrics;
pub mod provision;
mod request;
mod run;
pub mod serve;
mod settings;
pub mod status;
mod trouble;
mod watch;

pub use run::{Controller, RunError, run};
pub use settings::ControllerSettings;
