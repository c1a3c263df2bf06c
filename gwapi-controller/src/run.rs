//! The controller as a whole: what is started, in which order, and how it stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admin::{self, Pages};
use crate::engine::{self, Progress, Surroundings};
use crate::lease::{LeaseSettings, campaign};
use crate::metrics::Metrics;
use crate::provision::{ConfigService, ProvisionSettings, keep_bootstrap};
use crate::serve::{
    CertificateSettings, ConfigServer, ServeLimits, ServeSettings, TokenReviewer, keep_certificates,
};
use crate::settings::ControllerSettings;
use crate::status;
use crate::watch::Watches;

/// Time to write what is under way and to let the Lease go.
const LAST_WORDS: Duration = Duration::from_secs(8);

/// Why a controller could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no way to the API server.
    #[error("cannot make a client for the API server")]
    Client(#[source] kube::Error),
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A part ended that must not end: a bug.
    #[error("the controller's {part} ended unexpectedly")]
    Ended {
        /// The part.
        part: &'static str,
    },
}

/// A controller that is about to run.
pub struct Controller {
    settings: ControllerSettings,
    client: Client,
    admin: TcpListener,
}

impl Controller {
    /// Makes a client, and binds the admin address. The API server is not asked for anything yet.
    ///
    /// # Errors
    ///
    /// The address is taken, or the client's settings are unusable.
    pub async fn bind(settings: ControllerSettings, mut config: Config) -> Result<Self, RunError> {
        // Whoever asks has pauses of its own, which tell of what goes wrong.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(RunError::Client)?;
        let address = settings.admin;
        let admin = admin::bind(address);
        let admin = admin.map_err(|source| RunError::Bind { address, source })?;
        Ok(Self { settings, client, admin })
    }

    /// Where health and metrics are served.
    ///
    /// # Errors
    ///
    /// The socket has no address.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Runs until `shutdown` resolves, and then lets go of what others wait for.
    ///
    /// It needs no cluster that is in order: without an API server, without permissions and without
    /// the Gateway API it is up, says on `/readyz` and in its log what is missing, and goes on by
    /// itself when that is put right. Dropping the future stops it at once; then the Lease is held
    /// until its time is over.
    ///
    /// # Errors
    ///
    /// The address for proxies is taken, or a part ended that must not end.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { settings, client, admin } = self;
        let metrics = Metrics::new();
        let (stop, stopped) = watch::channel(false);
        let (progress, seen) = watch::channel(Progress::starting());
        let pages = Pages { progress: seen, stop: stopped.clone(), metrics: metrics.clone() };
        let mut parts = JoinSet::new();
        parts.spawn(named("admin server", admin::serve(admin, pages)));
        tokio::pin!(shutdown);
        let mut last = tokio::select! {
            last = start(&settings, client, metrics, progress, stopped, &mut parts) => last?,
            () = &mut shutdown => return Ok(()),
        };
        let outcome = tokio::select! {
            () = &mut shutdown => Ok(()),
            Some(ended) = parts.join_next() => Err(unexpected(ended)),
            Some(ended) = last.join_next() => Err(unexpected(ended)),
        };
        tracing::info!("stopping");
        stop.send_replace(true);
        let rest = async { while last.join_next().await.is_some() {} };
        if timeout(LAST_WORDS, rest).await.is_err() {
            tracing::warn!("not everything that was under way has ended in time");
        }
        outcome
    }
}

/// Binds a [`Controller`] and runs it.
///
/// # Errors
///
/// An address is taken, the client's settings are unusable, or a part ended that must not end.
pub async fn run(
    settings: ControllerSettings,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    Controller::bind(settings, config).await?.run(shutdown).await
}

/// Starts everything. What it returns ends by itself when `stop` changes; what it adds to `parts`
/// does not.
async fn start(
    settings: &ControllerSettings,
    client: Client,
    metrics: Metrics,
    progress: watch::Sender<Progress>,
    stop: watch::Receiver<bool>,
    parts: &mut JoinSet<&'static str>,
) -> Result<JoinSet<&'static str>, RunError> {
    let service = &settings.config_service;
    let certificates = CertificateSettings {
        namespace: settings.namespace.clone(),
        secret: settings.tls_secret(),
        names: vec![
            format!("{service}.{}.svc", settings.namespace),
            format!("{service}.{}", settings.namespace),
        ],
    };
    // Watches run while there is no certificate yet: they are what takes longest.
    let manager = status::field_manager(&settings.controller_name);
    let watches = Watches::start(&client, &settings.watch_namespaces, &manager);
    let certificates = keep_certificates(client.clone(), certificates).await;
    let serve = ServeSettings {
        address: settings.serve,
        certificate: certificates.serving,
        replica: settings.identity.clone(),
        limits: ServeLimits::default(),
    };
    let (config, proxies) = ConfigServer::start(serve, TokenReviewer::new(client.clone()))
        .map_err(|source| RunError::Bind { address: settings.serve, source })?;
    tracing::info!(address = %config.address(), "proxies are served here");

    let (bootstrap_sender, bootstrap) = watch::channel(None);
    let config_service = ConfigService {
        namespace: settings.namespace.clone(),
        name: service.clone(),
        port: settings.serve.port(),
    };
    parts.spawn(named(
        "look-out for its Service",
        keep_bootstrap(client.clone(), config_service, certificates.bundle, bootstrap_sender),
    ));

    let (status, writer) =
        status::start(client.clone(), &settings.controller_name, config.clone(), metrics.clone());
    let (leading, is_leading) = watch::channel(false);
    let lease = LeaseSettings {
        namespace: settings.namespace.clone(),
        name: service.clone(),
        identity: settings.identity.clone(),
    };
    let mut last = JoinSet::new();
    last.spawn(named("election", campaign(client.clone(), lease, leading, stop.clone())));
    last.spawn(named("status writer", async {
        let _ = writer.await;
    }));
    let surroundings = Surroundings {
        client,
        watches,
        config,
        proxies,
        status,
        is_leading,
        provision: provision(settings),
        bootstrap,
        session_keys: certificates.session_keys,
        progress,
        metrics,
    };
    last.spawn(named("engine", engine::run(settings.options(), surroundings, stop)));
    Ok(last)
}

fn provision(settings: &ControllerSettings) -> ProvisionSettings {
    ProvisionSettings {
        controller_name: settings.controller_name.clone(),
        namespaces: settings.watch_namespaces.clone(),
        ..settings.provision.clone()
    }
}

async fn named(name: &'static str, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    name
}

fn unexpected(ended: Result<&'static str, tokio::task::JoinError>) -> RunError {
    match ended {
        Ok(part) => RunError::Ended { part },
        Err(error) => {
            tracing::error!(%error, "a part of the controller panicked");
            RunError::Ended { part: "part that panicked" }
        }
    }
}
