//! How the engine speaks to the server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gwapi_translate::TranslationDelta;
use gwapi_translate::ir::GatewayId;
use gwapi_translate::wire::{Refusal, ResourceVersions};
use tokio::sync::watch;
use tokio::time::Instant;

use super::gateway::ProxyStatus;
use super::hub::Hub;
use super::settings::ServeSettings;

/// A running configuration server. It stops when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct ConfigHandle {
    pub(super) hub: Arc<Hub>,
    address: SocketAddr,
    _running: Arc<watch::Sender<()>>,
}

/// The states of all Gateways at one time, changed just then or before: what [`ConfigHandle::acknowledged`] waits
/// for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication(BTreeMap<GatewayId, u64>);

impl Publication {
    /// The part of it that concerns these Gateways.
    #[must_use]
    pub fn of(&self, gateways: &[GatewayId]) -> Self {
        let part = gateways.iter().filter_map(|gateway| self.0.get_key_value(gateway));
        Self(part.map(|(gateway, generation)| (gateway.clone(), *generation)).collect())
    }

    /// Whether this Gateway is served.
    pub fn has(&self, gateway: &GatewayId) -> bool {
        self.0.contains_key(gateway)
    }
}

/// A proxy that is connected and does not serve a state that it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Laggard {
    /// Its Gateway.
    pub gateway: GatewayId,
    /// Name of the proxy: that of its pod.
    pub proxy: String,
    /// Why, if it has said so; otherwise it is slow.
    pub refused: Option<Refusal>,
}

/// Makes the handle and what it speaks to. The receiver fails when the last handle is gone.
pub(super) fn new(
    settings: &ServeSettings,
    address: SocketAddr,
) -> (Arc<Hub>, ConfigHandle, watch::Receiver<()>) {
    let hub = Arc::new(Hub::new(settings.replica.clone(), settings.limits.clone()));
    let (running, stopped) = watch::channel(());
    let handle = ConfigHandle { hub: Arc::clone(&hub), address, _running: Arc::new(running) };
    (hub, handle, stopped)
}

impl ConfigHandle {
    /// Hands out a change. `versions` says how far the sources are with it: call this with an empty
    /// delta, too, when only they moved on.
    ///
    /// Costs the encoding of what changed, and waits for nobody.
    pub fn publish(&self, delta: &TranslationDelta, versions: &ResourceVersions) -> Publication {
        Publication(self.hub.publish(delta, versions.clone()))
    }

    /// What has been published so far.
    pub fn published(&self) -> Publication {
        Publication(self.hub.published())
    }

    /// The first complete state is in: every kind that is served has been read. Proxies that connect
    /// earlier wait for this.
    pub fn ready(&self) {
        self.hub.set_ready();
    }

    /// Waits until every connected proxy serves what was published, or something after it; at most
    /// this long. Those that do not are returned. A proxy that has just connected and serves nothing
    /// yet is not waited for, and a Gateway without proxies holds up nothing.
    pub async fn acknowledged(&self, publication: &Publication, within: Duration) -> Vec<Laggard> {
        let deadline = Instant::now() + within;
        let mut words = self.hub.words();
        loop {
            words.mark_unchanged();
            let laggards = self.laggards(publication);
            if laggards.is_empty() {
                return laggards;
            }
            match tokio::time::timeout_at(deadline, words.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return laggards,
            }
        }
    }

    /// Connected proxies that do not serve what was published.
    pub fn laggards(&self, publication: &Publication) -> Vec<Laggard> {
        let mut laggards = Vec::new();
        for (id, generation) in &publication.0 {
            let Some(gateway) = self.hub.gateway(id) else { continue };
            let behind = gateway.laggards(*generation).into_iter();
            laggards.extend(behind.map(|(proxy, refused)| Laggard {
                gateway: id.clone(),
                proxy,
                refused,
            }));
        }
        laggards
    }

    /// Every connected proxy.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        self.hub.proxies()
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
