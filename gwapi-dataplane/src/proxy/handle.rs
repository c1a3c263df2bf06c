//! The proxy as a value: build, start, feed with configuration, drain.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::apply::Applier;
use super::drain;
use super::overload::MemoryWatch;
use super::shared::Shared;
use super::worker::WorkerHandle;
use super::{
    AccessLogFormat, ApplyReport, BoundListener, ConfigPage, ConfigUpdate, Drained, StartError,
    TrustedProxies, UnderscoreHeaders, Upgrades,
};
use crate::Limits;
use crate::observe::{AccessLog, AdminServer, Telemetry};

/// Time that the access log gets at the end to write what it still holds.
const LOG_FLUSH: Duration = Duration::from_secs(1);

/// Settings of a proxy before it starts.
#[derive(Clone, Debug, Default)]
pub struct ProxyBuilder {
    workers: Option<usize>,
    limits: Limits,
    trusted_proxies: TrustedProxies,
    underscore_headers: UnderscoreHeaders,
    upgrades: Upgrades,
    admin: Option<SocketAddr>,
    config_page: ConfigPage,
    access_log: Option<AccessLogFormat>,
}

impl ProxyBuilder {
    /// Defaults: a worker per core, no admin address, no access log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of workers; each has a thread, a runtime and sockets of its own. 0 counts as 1.
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

    /// Proxies in front of this one that are believed about clients; none, unless they are named.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.trusted_proxies = proxies;
        self
    }

    /// What to do with header fields whose names hold `_`; they are dropped, unless something else
    /// is said.
    #[must_use]
    pub fn underscore_headers(mut self, policy: UnderscoreHeaders) -> Self {
        self.underscore_headers = policy;
        self
    }

    /// Protocols that clients and endpoints may switch to; `websocket`, unless something else is said.
    #[must_use]
    pub fn upgrades(mut self, upgrades: Upgrades) -> Self {
        self.upgrades = upgrades;
        self
    }

    /// Serves health, metrics and the configuration on this address; port 0 picks one.
    #[must_use]
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self
    }

    /// Who may see the configuration at the admin address: whoever reaches it, unless something else
    /// is said.
    #[must_use]
    pub fn config_page(mut self, page: ConfigPage) -> Self {
        self.config_page = page;
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
        self.limits.check().map_err(StartError::Limits)?;
        let workers = match self.workers {
            Some(workers) => workers.max(1),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let access_log = self.access_log.map(AccessLog::stdout).transpose();
        let telemetry = Telemetry::new(access_log.map_err(StartError::AccessLog)?);
        let applier = Arc::new(Mutex::new(Applier::default()));
        let admin = match self.admin {
            Some(address) => {
                let applier = Arc::clone(&applier);
                let served = move || lock(&applier).served();
                let telemetry = Arc::clone(&telemetry);
                let server = AdminServer::start(address, telemetry, self.config_page, served);
                Some(server.map_err(|source| StartError::Admin { address, source })?)
            }
            None => None,
        };
        let mut shared = Shared::new(self.limits, telemetry);
        shared.trusted_proxies = self.trusted_proxies;
        shared.underscore_headers = self.underscore_headers;
        shared.upgrades = self.upgrades;
        let shared = Arc::new(shared);
        let memory = MemoryWatch::start(&shared).map_err(StartError::Memory)?;
        let workers = (0..workers)
            .map(|index| WorkerHandle::start(index, Arc::clone(&shared)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Worker)?;
        Ok(ProxyHandle { shared, workers, applier, admin, _memory: memory })
    }
}

/// A running proxy. Dropping it stops the proxy at once; [`ProxyHandle::drain`] stops it gently.
pub struct ProxyHandle {
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    applier: Arc<Mutex<Applier>>,
    admin: Option<AdminServer>,
    _memory: Option<MemoryWatch>,
}

impl ProxyHandle {
    /// Serves a new configuration; returns when every worker serves it.
    ///
    /// Blocks: tables are compiled, certificates parsed and sockets bound on the calling thread.
    /// Valid parts are applied, what is rejected keeps its last good version, and the report says
    /// which parts those are. Ports that could not be bound earlier are tried again.
    pub fn apply(&self, update: ConfigUpdate) -> ApplyReport {
        lock(&self.applier).apply(update, &self.shared, &self.workers)
    }

    /// Every bound socket, once for each listener that it serves.
    pub fn bound(&self) -> Vec<BoundListener> {
        lock(&self.applier).bound()
    }

    /// The address of the admin server.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(AdminServer::address)
    }

    /// Drains and stops: not ready any more, but still accepting, each answer closing its
    /// connection, until no new connection came for [`Limits::drain_quiet`] or half of
    /// [`Limits::drain_timeout`] is over; then what is in flight finishes, at most until
    /// [`Limits::drain_timeout`]. Blocks.
    pub fn drain(self) -> Drained {
        let drained = self.drain_connections();
        self.finish();
        drained
    }

    /// Drains, and still takes in configuration meanwhile: endpoints come and go.
    pub(crate) fn drain_connections(&self) -> Drained {
        drain::drain(&self.shared, &self.workers, Instant::now())
    }

    /// Stops what was drained, and lets the last spans and lines of the access log go out.
    pub(crate) fn finish(self) {
        let Self { shared, workers, admin, applier, .. } = self;
        drop(workers);
        lock(&applier).finish_traces();
        shared.telemetry.flush(LOG_FLUSH);
        drop(admin);
    }
}

fn lock(applier: &Mutex<Applier>) -> MutexGuard<'_, Applier> {
    // A panic in `apply` leaves a configuration that is older than it could be, not a broken one:
    // the swap comes after everything that could go wrong.
    applier.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for ProxyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyHandle")
            .field("workers", &self.workers.len())
            .field("generation", &self.shared.snapshot.load().generation)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_proxy_can_be_handed_to_any_thread() {
        fn shared_by_threads<T: Send + Sync + 'static>() {}
        shared_by_threads::<ProxyHandle>();
    }
}
