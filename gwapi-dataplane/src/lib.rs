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
//!
//! What the proxy answers itself, in one line of text that says nothing about what is behind it:
//!
//! | status | why |
//! |---|---|
//! | 204 | `OPTIONS *` |
//! | 400 | what breaks HTTP, or could be read in two ways: hosts, targets, paths, framing, bodies |
//! | 404 | no listener for the host, or no route for the request (LI-3, HR-6) |
//! | 405 | CONNECT and TRACE |
//! | 408 | a body that stopped on its way |
//! | 414, 431 | more than the [`Limits`] allow |
//! | 417 | an expectation other than `100-continue` |
//! | 421 | another listener of the port serves the host of a request over TLS (LI-5) |
//! | 500 | the rule has no backend, or the chosen one is invalid (HB-2, HB-3, HB-5) |
//! | 502 | the endpoint broke off, or what it sent is not HTTP |
//! | 503 | the backend has no endpoints (HB-4), or none takes connections; or the process is short of memory |
//! | 504 | a timeout of the rule or of the proxy passed before the response began (TO-2); later ones reset it |
//!
//! Changes of response headers apply to what backends answer, not to these, nor to redirects.
//! A request goes to another endpoint, three in all, as long as nothing of it was sent. A GET, HEAD
//! or OPTIONS without a body is sent again where an endpoint closed a connection that had been kept
//! open, instead of answering on it.
//!
//! Requests leave as HTTP/1.1 (or HTTP/2 where the backend speaks it) with the path in the
//! canonical form that was matched ([`gwapi_translate::path`]). `X-Forwarded-For`, `-Proto`,
//! `-Host` and `X-Real-IP` are overwritten, unless [`TrustedProxies`] says otherwise; `Forwarded` is
//! dropped, and so are fields with `_` in their names, unless [`UnderscoreHeaders`] says otherwise. Of upgrades only `websocket` is
//! passed on, unless [`Upgrades`] says otherwise.

pub mod limits;
mod observe;
mod open_files;
mod proxy;

#[cfg(feature = "echo")]
pub mod echo;
#[cfg(feature = "folder")]
pub mod folder;
#[cfg(feature = "folder")]
pub mod standalone;
#[cfg(feature = "stream")]
pub mod stream;

pub use limits::Limits;
pub use open_files::{open_files_limit, raise_open_files_limit};
pub use proxy::*;
#[cfg(feature = "folder")]
pub use standalone::*;
