//! The proxy as a value: build, start, feed with configuration, drain.
//!
//! ```text
//!  handle ─► apply ─► gateway ─► certificates, tls          the caller's thread
//!              └────► sockets, snapshot
//!  ───────────────────────────────────────────────────────────────────────────
//!  worker ─► accept ─► connection ─► service ─► plan ─► upstream      a core
//!                                       └─► reply, body, tunnel
//!                    └─► streams ─► relay
//!         └► datagrams
//! ```

mod accept;
mod account;
mod apply;
mod authorize;
mod body;
mod certificates;
mod client_auth;
mod client_windows;
mod coalesce;
mod congestion;
mod connection;
mod copy;
mod core_state;
mod cors;
mod course;
mod datagrams;
mod drain;
mod draw;
mod failure;
mod filters;
mod forward;
mod forwarded;
mod frame_guard;
mod frame_joiner;
mod frames;
mod gateway;
mod grpc;
mod handle;
mod head_timer;
mod headers;
mod held_heads;
mod in_flight;
mod io;
mod memory;
mod mirror;
mod overload;
mod pace;
mod pieces;
mod ping_timer;
mod plan;
mod present;
mod rarely;
mod relay;
mod replay;
mod reply;
mod request;
mod service;
mod sessions;
mod shared;
mod snapshot;
mod sockets;
mod stall;
mod streams;
mod timers;
mod tls;
mod traces;
mod trailer_fields;
mod tunnel;
mod upgrades;
mod upstream;
mod verified_tickets;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use gwapi_translate::ir::{ConfigDelta, GatewayId, ListenerKey};
use gwapi_translate::{Feedback, TranslationDelta};

use crate::limits::LimitError;

pub use certificates::check_certificate;
pub use forwarded::TrustedProxies;
pub use handle::{ProxyBuilder, ProxyHandle};
/// The crate of [`IpNet`](ipnet::IpNet), in which [`TrustedProxies`] says networks.
pub use ipnet;
pub use request::UnderscoreHeaders;
pub use upgrades::Upgrades;

/// A change of what is served, applied as one: no request sees half of it.
#[derive(Clone, Debug, Default)]
pub struct ConfigUpdate {
    /// Changes by Gateway.
    pub gateways: BTreeMap<GatewayId, ConfigDelta>,
    /// Gateways that are no longer served.
    pub removed_gateways: Vec<GatewayId>,
}

impl From<&TranslationDelta> for ConfigUpdate {
    fn from(delta: &TranslationDelta) -> Self {
        Self { gateways: delta.config.clone(), removed_gateways: delta.removed_gateways.clone() }
    }
}

/// A socket that accepts connections for a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoundListener {
    /// Gateway.
    pub gateway: GatewayId,
    /// Listener.
    pub listener: ListenerKey,
    /// Address as bound.
    pub address: SocketAddr,
}

/// What came of a [`ConfigUpdate`].
#[derive(Clone, Debug, Default)]
pub struct ApplyReport {
    /// Number of the configuration that is served now, counted from 1.
    pub generation: u64,
    /// What could not be done, for every Gateway that the update named: empty feedback where all
    /// is well.
    pub feedback: BTreeMap<GatewayId, Feedback>,
}

/// Where access logs go and how they look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// One line of text per request.
    Text,
    /// One JSON object per line.
    Json,
}

/// Who may see the configuration that is served, without its private keys, at the admin address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfigPage {
    /// Whoever reaches the address.
    #[default]
    Everybody,
    /// Whoever comes by a loopback address: from the same machine or pod, or forwarded to it.
    Loopback,
}

/// Why a proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A limit has a value that it cannot have.
    #[error("the limits do not fit")]
    Limits(#[source] LimitError),
    /// The admin address could not be bound.
    #[error("cannot listen on the admin address {address}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The memory of the process is to be limited, and cannot be told.
    #[error(
        "cannot tell how much memory the process has; `max-memory-bytes` 0 goes without a limit"
    )]
    Memory(#[source] std::io::Error),
    /// A worker could not be started.
    #[error("cannot start a worker")]
    Worker(#[source] std::io::Error),
    /// The access log could not be started.
    #[error("cannot start the access log")]
    AccessLog(#[source] std::io::Error),
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because the drain timeout passed.
    pub cut_connections: usize,
}
