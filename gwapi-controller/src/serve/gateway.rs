//! One Gateway: its state, and the streams of its proxies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gwapi_translate::ir::{ConfigDelta, GatewayId};
use gwapi_translate::wire::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Received, Refusal, ResourceVersions, Served,
    Server, ServerError, Verdict,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::admission::Peer;
use super::authenticate::{Identity, Owner};
use super::report::ProxyReport;
use super::settings::ServeLimits;

/// Number of a stream, never used twice.
pub(super) type StreamId = u64;

/// A Gateway as the server knows it.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) id: GatewayId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    served: Served,
    /// Who its proxies are; nobody, if `None`.
    account: Option<Account>,
    streams: BTreeMap<StreamId, Stream>,
    /// The connections of its proxies: whoever ends its streams and keeps those takes room as well.
    connections: Connections,
    /// Whether the Gateway is served no longer.
    gone: bool,
}

/// Connections, each with the proxy that had a stream on it; some may be over.
#[derive(Debug, Default)]
struct Connections(Vec<(String, Peer)>);

impl Connections {
    /// Takes in one on which a proxy gets a stream.
    fn add(&mut self, proxy: &str, peer: &Peer, limits: &ServeLimits) -> Result<(), Denied> {
        self.0.retain(|(_, known)| known.is_connected());
        if self.0.iter().any(|(owner, known)| owner == proxy && known.is(peer)) {
            return Ok(());
        }
        if self.0.len() >= limits.streams_per_gateway {
            return Err(Denied::Full);
        }
        let own = self.0.iter().filter(|(owner, _)| owner == proxy).count();
        if own >= limits.streams_per_proxy {
            return Err(Denied::Proxy);
        }
        self.0.push((proxy.to_owned(), peer.clone()));
        Ok(())
    }
}

/// The ServiceAccount of a Gateway's proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Its name, in the Gateway's namespace.
    pub(super) name: String,
    /// The Gateway that has to own it. An account that has the name and belongs to another Gateway, or
    /// was made by hand, is not that of these proxies.
    pub(super) owner: Owner,
}

#[derive(Debug)]
struct Stream {
    server: Server,
    proxy: String,
    /// Which of all Gateways of the name the proxy was made for.
    uid: String,
    since: Instant,
    /// Tells the stream to look for something to say, or for a reason to end.
    wake: Arc<Notify>,
}

/// A proxy that is connected.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyStatus {
    /// The Gateway that it serves.
    pub gateway: GatewayId,
    /// Name of the proxy: that of its pod.
    pub proxy: String,
    /// Since when it has been connected.
    pub since: Instant,
    /// Number of the state that it was to serve last.
    pub published: u64,
    /// Number of the last state that it serves, apart from what it rejects.
    pub acknowledged: Option<u64>,
    /// What it last said.
    pub verdict: Verdict,
}

/// Why a stream ends, or cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The Gateway is served no longer.
    Gone,
    /// The Gateway's proxies use another ServiceAccount.
    Account,
    /// The ServiceAccount has the name of that of the Gateway's proxies, and is not the Gateway's.
    Owner,
    /// The Gateway has as many streams as it may have.
    Full,
    /// The proxy has as many streams as it may have.
    Proxy,
}

impl State {
    fn status(&self, gateway: &GatewayId, stream: &Stream) -> ProxyStatus {
        ProxyStatus {
            gateway: gateway.clone(),
            proxy: stream.proxy.clone(),
            since: stream.since,
            published: self.served.generation(),
            acknowledged: stream.server.acknowledged(),
            verdict: stream.server.verdict().clone(),
        }
    }
}

impl Gateway {
    pub(super) fn new(id: GatewayId) -> Self {
        Self { id, state: Mutex::default() }
    }

    /// Takes in a change, if there is one, and how far the sources are. Returns the number of the
    /// state.
    pub(super) fn publish(
        &self,
        delta: Option<&ConfigDelta>,
        versions: &Arc<ResourceVersions>,
    ) -> u64 {
        let mut state = self.lock();
        let nothing = ConfigDelta::default();
        let changed = state.served.apply(delta.unwrap_or(&nothing), versions);
        let state = &mut *state;
        for stream in state.streams.values_mut() {
            stream.server.changed(&changed);
            // Without a change, too: the proxy may have waited for sources to come as far as its own.
            if stream.server.has_news(&state.served) {
                stream.wake.notify_one();
            }
        }
        state.served.generation()
    }

    /// The number of the state.
    pub(super) fn generation(&self) -> u64 {
        self.lock().served.generation()
    }

    /// Says which ServiceAccount the proxies of this Gateway use.
    pub(super) fn set_account(&self, account: Option<Account>) {
        let mut state = self.lock();
        if state.account != account {
            state.account = account;
            state.streams.values().for_each(|stream| stream.wake.notify_one());
        }
    }

    /// The Gateway is served no longer: its streams end.
    pub(super) fn remove(&self) {
        let mut state = self.lock();
        state.gone = true;
        state.streams.values().for_each(|stream| stream.wake.notify_one());
    }

    /// A proxy gets a stream.
    pub(super) fn open(
        &self,
        stream: StreamId,
        identity: &Identity,
        proxy: String,
        peer: &Peer,
        limits: &ServeLimits,
    ) -> Result<Arc<Notify>, Denied> {
        self.permits(identity)?;
        let mut state = self.lock();
        if state.streams.len() >= limits.streams_per_gateway {
            return Err(Denied::Full);
        }
        let own = state.streams.values().filter(|stream| stream.proxy == proxy).count();
        if own >= limits.streams_per_proxy {
            return Err(Denied::Proxy);
        }
        state.connections.add(&proxy, peer, limits)?;
        let wake = Arc::new(Notify::new());
        let entry = Stream {
            server: Server::default(),
            proxy,
            uid: identity.owner.as_ref().map(|owner| owner.uid.clone()).unwrap_or_default(),
            since: Instant::now(),
            wake: Arc::clone(&wake),
        };
        state.streams.insert(stream, entry);
        Ok(wake)
    }

    /// A proxy is no longer connected.
    pub(super) fn close(&self, stream: StreamId) {
        self.lock().streams.remove(&stream);
    }

    /// Whether a proxy may be served.
    pub(super) fn permits(&self, identity: &Identity) -> Result<(), Denied> {
        let state = self.lock();
        if state.gone {
            return Err(Denied::Gone);
        }
        let is_named = |account: &&Account| {
            *identity.namespace == *self.id.namespace && identity.service_account == account.name
        };
        let account = state.account.as_ref().filter(is_named).ok_or(Denied::Account)?;
        if identity.owner.as_ref() == Some(&account.owner) { Ok(()) } else { Err(Denied::Owner) }
    }

    /// A proxy says something.
    pub(super) fn receive(
        &self,
        stream: StreamId,
        request: &DeltaDiscoveryRequest,
    ) -> Result<Received, ServerError> {
        let state = &mut *self.lock();
        match state.streams.get_mut(&stream) {
            Some(stream) => stream.server.receive(request, &state.served),
            None => Ok(Received::Nothing),
        }
    }

    /// The next that a proxy is to be told, if there is something.
    pub(super) fn next_response(&self, stream: StreamId) -> Option<DeltaDiscoveryResponse> {
        let state = &mut *self.lock();
        state.streams.get_mut(&stream)?.server.next_response(&state.served)
    }

    /// Whether a batch of this stream waits for its answer.
    pub(super) fn awaits_answer(&self, stream: StreamId) -> bool {
        let state = self.lock();
        state.streams.get(&stream).is_some_and(|stream| stream.server.awaits_answer())
    }

    /// Connected proxies that serve another state than this one or one after it, each with the reason
    /// that it gave.
    pub(super) fn laggards(&self, generation: u64) -> Vec<(String, Option<Refusal>)> {
        let state = self.lock();
        let behind = |stream: &&Stream| match stream.server.acknowledged() {
            Some(acknowledged) => acknowledged < generation,
            // It has just come and serves nothing yet, unless it prefers what it has from elsewhere.
            None => stream.server.verdict().refused.is_some(),
        };
        let streams = state.streams.values().filter(behind);
        streams.map(|it| (it.proxy.clone(), it.server.verdict().refused.clone())).collect()
    }

    pub(super) fn proxies(&self) -> Vec<ProxyStatus> {
        let state = self.lock();
        state.streams.values().map(|stream| state.status(&self.id, stream)).collect()
    }

    /// What all proxies together say, save for those of a former Gateway of the name, whose streams end.
    pub(super) fn report(&self) -> ProxyReport {
        let state = self.lock();
        let uid = state.account.as_ref().map(|account| account.owner.uid.clone());
        let uid = uid.unwrap_or_default();
        let own = state.streams.values().filter(|stream| stream.uid == uid);
        let proxies: Vec<ProxyStatus> = own.map(|it| state.status(&self.id, it)).collect();
        ProxyReport::merge(self.id.clone(), uid, &proxies)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves a stream whose proxy will connect anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
