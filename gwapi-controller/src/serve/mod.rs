//! The configuration server: each proxy gets what its Gateway is to serve, and says what came of it.
//!
//! ```text
//!  engine ── ConfigHandle::publish ──► hub ─► gateway ─┬─ stream ◄── TLS, token ──► proxy
//!         ◄── ProxyReport ─────────────┘               └─ stream ◄── TLS, token ──► proxy
//! ```
//!
//! * The protocol is that of [`gwapi_translate::wire`], over gRPC and TLS.
//! * A proxy proves who it is with the token of its ServiceAccount ([`Authenticator`]) and gets the
//!   resources of the Gateway that owns this account, private keys included, and nothing else.
//! * A stream has one batch in flight. What changes before its answer becomes the next batch: the
//!   first change goes out at once, and a proxy that is slow holds up nobody, itself included.
//! * What is known of proxies goes to whoever holds the receiver of [`ProxyReport`]s, one report per
//!   Gateway and change; a receiver that is slow gets the latest.
//!
//! Without an API server everything here works with another [`Authenticator`].

mod admission;
mod authenticate;
mod authority;
mod gateway;
mod handle;
mod hub;
mod keeper;
mod listen;
mod report;
mod service;
mod session_keys;
mod settings;
mod stream;
#[cfg(test)]
pub(crate) mod testing;

use std::io;

use tokio::sync::mpsc;

pub use authenticate::{
    AuthenticationError, Authenticator, Identity, Owner, TOKEN_AUDIENCE, TokenReviewer,
};
pub use gateway::ProxyStatus;
pub use handle::{ConfigHandle, Laggard, Publication};
pub use keeper::{CertificateSettings, Certificates, keep_certificates};
pub use report::ProxyReport;
pub use settings::{ServeLimits, ServeSettings, ServingCertificate};

/// The configuration server.
#[derive(Debug)]
pub struct ConfigServer;

impl ConfigServer {
    /// Binds the address and serves on the current tokio runtime, until the last [`ConfigHandle`]
    /// is dropped.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or the certificate cannot be used.
    pub fn start(
        settings: ServeSettings,
        authenticator: impl Authenticator,
    ) -> io::Result<(ConfigHandle, mpsc::Receiver<ProxyReport>)> {
        let acceptor = listen::Acceptor::new(settings.certificate.clone())?;
        let listener = listen::bind(settings.address)?;
        let address = listener.local_addr()?;
        let (hub, handle, stopped) = handle::new(&settings, address);
        let reports = report::start(&hub, stopped.clone());
        let service = service::Service::new(hub, authenticator, stopped.clone());
        tokio::spawn(listen::serve(listener, acceptor, settings.limits, service, stopped));
        Ok((handle, reports))
    }
}
