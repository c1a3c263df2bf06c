//! Configuration from a controller: a stream, what came by it last, and the proxy that serves it.
//!
//! ```text
//!  controller ──► session ──► wire::Client ──► applier ──► ProxyHandle
//!             ◄── ack, nack ─────┘    │           │
//!                                     ▼           └── Feedback ──► nack
//!                                 saved file
//! ```
//!
//! Three threads: one speaks with the controller, one applies what came of it, and one writes the
//! last good configuration to a file. None of them serves traffic, and the loss of the controller
//! changes nothing for it. What is lost for good with the one that applies is told
//! ([`Stream::failed`]).
//!
//! ```no_run
//! use gwapi_dataplane::ProxyBuilder;
//! use gwapi_dataplane::stream::{Stream, StreamSettings};
//! use gwapi_model::NamespacedName;
//!
//! let settings = StreamSettings {
//!     server: "https://10.96.0.7:18000".to_owned(),
//!     server_name: "gwapi-controller.gwapi-system.svc".to_owned(),
//!     ca: "/etc/gwapi/ca/ca.crt".into(),
//!     token: "/var/run/secrets/gwapi.dev/token".into(),
//!     gateway: NamespacedName::new("shop", "web"),
//!     proxy_name: "web-gwapi-5d8f".to_owned(),
//!     snapshot_dir: Some("/var/lib/gwapi".into()),
//! };
//! let stream = Stream::start(settings, ProxyBuilder::new().start()?)?;
//! // ... until it is told to end ...
//! stream.drain();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod applier;
mod backoff;
mod dial;
mod saved;
mod session;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use gwapi_translate::ir::{GatewayConfig, GatewayId};
use gwapi_translate::wire::Client;
use tokio::sync::watch;

use crate::{ConfigUpdate, Drained, ProxyHandle};
use applier::Applier;
use saved::{SavedFile, Saver};
use session::Over;

/// Where configuration comes from, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Address of the controller, as `https://10.96.0.7:18000`.
    pub server: String,
    /// DNS name that the controller's certificate has to be for.
    pub server_name: String,
    /// File with the certificates, PEM, of which one has to have signed the controller's. Read anew
    /// for each connection.
    pub ca: PathBuf,
    /// File with the token that says who this proxy is. Read anew for each connection.
    pub token: PathBuf,
    /// The Gateway to serve.
    pub gateway: GatewayId,
    /// Name of this proxy, for people.
    pub proxy_name: String,
    /// Folder for the last good configuration, private keys included; none keeps nothing.
    pub snapshot_dir: Option<PathBuf>,
}

/// A proxy that serves what a controller says.
///
/// Dropping it stops the proxy at once; [`Stream::drain`] stops it gently.
pub struct Stream {
    /// There until it is drained.
    proxy: Option<Arc<ProxyHandle>>,
    stop: watch::Sender<bool>,
    failed: watch::Receiver<bool>,
    session: Option<JoinHandle<()>>,
}

impl Stream {
    /// Serves the last good configuration, if there is one, and goes on with what the controller says.
    /// Returns when every worker serves the former, whether or not the controller answers.
    ///
    /// # Errors
    ///
    /// A thread cannot be started; or what was saved cannot be applied for a bug, and is removed: the next start is
    /// one without it.
    pub fn start(settings: StreamSettings, proxy: ProxyHandle) -> io::Result<Self> {
        let proxy = Arc::new(proxy);
        let file = settings.snapshot_dir.as_deref().map(SavedFile::new);
        let (client, saved) = match file.as_ref().and_then(|file| file.read(&settings.gateway)) {
            Some(client) => (client, true),
            None => (Client::default(), false),
        };
        let config = client.config();
        let client = Shared(Arc::new(Mutex::new(client)));
        let mut applier = Applier::start(settings.gateway.clone(), Arc::clone(&proxy))?;
        if saved {
            let delta = GatewayConfig::default().delta_to(&config);
            let resources = delta.upserts.len();
            if !applier.apply_and_wait(delta) {
                file.iter().for_each(SavedFile::discard);
                return Err(io::Error::other("the saved configuration cannot be applied"));
            }
            tracing::info!(resources, "serving the configuration that was saved");
        }
        let saver = file
            .map(|file| Saver::start(file, settings.gateway.clone(), client.clone()))
            .transpose()?;
        let (stop, stopped) = watch::channel(false);
        let (failure, failed) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("config".to_owned()).spawn(move || {
            let over = runtime.block_on(session::run(settings, client, applier, saver, stopped));
            failure.send_replace(over == Over::Failed);
        })?;
        Ok(Self { proxy: Some(proxy), stop, failed, session: Some(thread) })
    }

    /// Waits until configuration cannot be followed or applied any more, for a bug. Until it is dropped the proxy
    /// serves what it has, which nothing will change: drain it, and start another one.
    ///
    /// Dropping the future changes nothing, and it does not end when the stream is drained.
    pub fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut failed, stop) = (self.failed.clone(), self.stop.subscribe());
        async move {
            // A thread that panicked says nothing.
            let is_told = failed.wait_for(|failed| *failed).await.is_ok();
            if !is_told && *stop.borrow() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The proxy.
    pub fn proxy(&self) -> &ProxyHandle {
        self.proxy.as_deref().expect("whoever drains it has it no longer")
    }

    /// Drains the proxy and stops, see [`ProxyHandle::drain`]. Configuration is followed meanwhile,
    /// because endpoints come and go. Blocks.
    pub fn drain(mut self) -> Drained {
        let drained = self.proxy().drain_connections();
        self.end_session();
        // The thread that applied configuration had the other one, and has ended.
        if let Some(proxy) = self.proxy.take().and_then(Arc::into_inner) {
            proxy.finish();
        }
        drained
    }

    fn end_session(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.session.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for configuration panicked");
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end_session();
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("proxy", &self.proxy()).finish_non_exhaustive()
    }
}

/// What the proxy has, for the thread that changes it and for the one that writes it to a file.
#[derive(Clone)]
struct Shared(Arc<Mutex<Client>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Client> {
        // A panic while a response was taken in leaves versions that the next stream sets right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change of the one Gateway that is served.
fn update(gateway: &GatewayId, delta: gwapi_translate::ir::ConfigDelta) -> ConfigUpdate {
    ConfigUpdate { gateways: [(gateway.clone(), delta)].into(), removed_gateways: Vec::new() }
}
