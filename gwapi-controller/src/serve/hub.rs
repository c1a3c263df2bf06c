//! What all parts of the server share: the Gateways, and what there is to report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gwapi_translate::TranslationDelta;
use gwapi_translate::ir::GatewayId;
use gwapi_translate::wire::ResourceVersions;
use tokio::sync::{Notify, watch};

use super::authenticate::Owner;
use super::gateway::{Account, Gateway, ProxyStatus, StreamId};
use super::settings::ServeLimits;

/// The middle of the server.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) replica: String,
    pub(super) limits: ServeLimits,
    gateways: Mutex<BTreeMap<GatewayId, Arc<Gateway>>>,
    ready: watch::Sender<bool>,
    /// Moves with every word of a proxy.
    words: watch::Sender<u64>,
    touched: Mutex<BTreeSet<GatewayId>>,
    touch: Notify,
    streams: AtomicU64,
}

impl Hub {
    pub(super) fn new(replica: String, limits: ServeLimits) -> Self {
        Self {
            replica,
            limits,
            gateways: Mutex::default(),
            ready: watch::Sender::new(false),
            words: watch::Sender::new(0),
            touched: Mutex::default(),
            touch: Notify::new(),
            streams: AtomicU64::new(0),
        }
    }

    /// Takes in a change, and how far the sources are. Returns the state of each Gateway.
    pub(super) fn publish(
        &self,
        delta: &TranslationDelta,
        versions: ResourceVersions,
    ) -> BTreeMap<GatewayId, u64> {
        let versions = Arc::new(versions);
        for id in &delta.removed_gateways {
            if let Some(gateway) = lock(&self.gateways).remove(id) {
                gateway.remove();
                self.heard(id);
            }
        }
        for id in delta.config.keys() {
            let new = || Arc::new(Gateway::new(id.clone()));
            lock(&self.gateways).entry(id.clone()).or_insert_with(new);
        }
        let gateways = lock(&self.gateways).clone();
        let mut published = BTreeMap::new();
        for (id, gateway) in gateways {
            if let Some(infrastructure) = delta.infrastructure.get(&id) {
                let account = infrastructure.as_ref().map(|it| Account {
                    name: it.name.clone(),
                    owner: Owner { gateway: id.name.to_string(), uid: it.uid.clone() },
                });
                gateway.set_account(account);
            }
            let generation = gateway.publish(delta.config.get(&id), &versions);
            published.insert(id, generation);
        }
        published
    }

    /// The state of each Gateway.
    pub(super) fn published(&self) -> BTreeMap<GatewayId, u64> {
        let gateways = lock(&self.gateways).clone();
        gateways.iter().map(|(id, gateway)| (id.clone(), gateway.generation())).collect()
    }

    pub(super) fn gateway(&self, id: &GatewayId) -> Option<Arc<Gateway>> {
        lock(&self.gateways).get(id).cloned()
    }

    pub(super) fn proxies(&self) -> Vec<ProxyStatus> {
        let gateways = lock(&self.gateways).clone();
        gateways.values().flat_map(|gateway| gateway.proxies()).collect()
    }

    pub(super) fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Whether the first complete state is in, to wait for it.
    pub(super) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    pub(super) fn new_stream(&self) -> StreamId {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// A proxy of this Gateway came, went, or said something.
    pub(super) fn heard(&self, gateway: &GatewayId) {
        self.words.send_modify(|words| *words = words.wrapping_add(1));
        lock(&self.touched).insert(gateway.clone());
        self.touch.notify_one();
    }

    /// Moves whenever a proxy says something.
    pub(super) fn words(&self) -> watch::Receiver<u64> {
        self.words.subscribe()
    }

    /// Waits for Gateways whose proxies were heard of since the last call.
    pub(super) async fn touched(&self) -> BTreeSet<GatewayId> {
        loop {
            let touched = std::mem::take(&mut *lock(&self.touched));
            if !touched.is_empty() {
                return touched;
            }
            self.touch.notified().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change below a lock is one call of a map, which leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
