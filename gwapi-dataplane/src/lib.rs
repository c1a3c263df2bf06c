//! The proxy: listeners, routing, filters, upstream connections.
//!
//! ```text
//!  ConfigUpdate ──► ProxyHandle::apply ──► tables, certificates, sockets ──► one swap
//!                                                                            │
//!  core 0: accept ─► TLS by SNI ─► HTTP ─► route ─► filters ─► backend ─► endpoint
//!  core 1: accept ─► ...            (each core: own sockets, tasks, pools, counters)
//! ```
//!
//! A request reads one configuration, once. Compilation of tables, parsing of certificates and
//! binding of sockets happen on the thread that calls [`ProxyHandle::apply`], never on a core that
//! serves traffic.

pub mod limits;
mod observe;
mod proxy;

#[cfg(feature = "echo")]
pub mod echo;
#[cfg(feature = "folder")]
pub mod folder;
#[cfg(feature = "folder")]
pub mod standalone;

pub use limits::Limits;
pub use proxy::*;
#[cfg(feature = "folder")]
pub use standalone::*;
