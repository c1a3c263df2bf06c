//! One Gateway on the way from its configuration to what workers read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use gwapi_translate::RouteTable;
use gwapi_translate::ir::{
    Backend, BackendKey, CertificateKey, ConfigDelta, GatewayConfig, GatewayId, IrKey, IrResource,
    Listener, ListenerKey, ListenerProtocol,
};

use super::certificates::Certificates;
use super::client_auth::ClientAuth;
use super::core_state::{Forgotten, address};
use super::sessions::Sealer;
use super::shared::Shared;
use super::snapshot::{BackendEntry, BackendMap, ConfigMap, GatewayState, ListenerState};
use super::tls::{Inside, ListenerTls};
use super::traces::{Exporter, Traced};
use super::upstream::{RetryBudget, UpstreamTlsClients};

/// A Gateway's configuration, and everything that is made of it.
pub(super) struct Gateway {
    /// Without the HTTP rules, which are many: the table has them.
    config: GatewayConfig,
    certificates: Certificates,
    tls: ConfigMap<ListenerKey, ListenerTls>,
    /// By name. The configuration has them too, among everything else.
    listeners: BTreeMap<ListenerKey, Arc<Listener>>,
    counts: Counts,
    traced: Option<Traced>,
    state: Arc<GatewayState>,
}

/// How many resources of a kind a configuration has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) http_rules: usize,
    pub(super) stream_rules: usize,
    pub(super) backends: usize,
}

/// The part of a change that is not about HTTP rules.
fn without_http_rules(delta: &ConfigDelta) -> ConfigDelta {
    let upserts = delta.upserts.iter().filter(|it| !matches!(it, IrResource::HttpRule(_)));
    let removals = delta.removals.iter().filter(|key| !matches!(key, IrKey::HttpRule(_)));
    ConfigDelta { upserts: upserts.cloned().collect(), removals: removals.cloned().collect() }
}

impl Gateway {
    pub(super) fn new(id: GatewayId) -> Self {
        let state = GatewayState {
            id,
            table: RouteTable::default(),
            backends: BackendMap::with_hasher(RandomState::default()),
            tracer: None,
            listeners: Arc::default(),
            sealer: Arc::new(Sealer::random()),
        };
        Self {
            config: GatewayConfig::default(),
            certificates: Certificates::default(),
            tls: ConfigMap::default(),
            listeners: BTreeMap::new(),
            counts: Counts::default(),
            traced: None,
            state: Arc::new(state),
        }
    }

    /// All of the configuration, to show it.
    pub(super) fn config(&self) -> GatewayConfig {
        let rules = self.state.table.http_rules();
        let rules = rules.map(|rule| {
            (IrKey::HttpRule(rule.key.clone()), IrResource::HttpRule(Arc::clone(rule)))
        });
        let mut config = self.config.clone();
        config.0.extend(rules);
        config
    }

    /// In the order of their names.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.values()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    pub(super) fn state(&self) -> &Arc<GatewayState> {
        &self.state
    }

    /// Takes in a change; what it replaces is added to `forgotten`.
    pub(super) fn apply(
        &mut self,
        delta: &ConfigDelta,
        clients: &mut UpstreamTlsClients,
        exporter: &mut Exporter,
        shared: &Shared,
        forgotten: &mut Forgotten,
    ) {
        let upserted = delta.upserts.iter().map(IrResource::key);
        let mut changed: BTreeSet<IrKey> = delta.removals.iter().cloned().chain(upserted).collect();
        let shown_to = self.backends_that_see(&changed);
        changed.extend(shown_to.into_iter().map(IrKey::Backend));
        let before = Arc::clone(&self.state);
        for key in &changed {
            self.forget(key, forgotten);
            self.count(key, &before.table, |count| *count -= 1);
        }
        self.config.apply(&without_http_rules(delta));
        let table = before.table.apply(delta);
        for key in &changed {
            self.count(key, &table, |count| *count += 1);
        }
        let rules_gone = changed.iter().filter(|key| !self.has(key, &table));
        forgotten.rules.extend(rules_gone.filter_map(|key| match key {
            IrKey::HttpRule(rule) | IrKey::StreamRule(rule) => {
                Some((self.state.id.clone(), rule.clone()))
            }
            _ => None,
        }));
        // Certificates come first: some are shown to backends.
        let listeners = self.listener_states(&changed);
        let backends = self.backends(&changed, clients);
        self.trace(&backends, exporter, shared);
        self.state = Arc::new(GatewayState {
            id: self.state.id.clone(),
            table,
            backends,
            tracer: self.traced.as_ref().map(|traced| Arc::clone(&traced.tracer)),
            sealer: self.sealer(&changed),
            listeners,
        });
    }

    /// Traces requests as the configuration says. Spans that wait go where they were meant to.
    fn trace(&mut self, backends: &BackendMap, exporter: &mut Exporter, shared: &Shared) {
        let Some(IrResource::Tracing(settings)) = self.config.0.get(&IrKey::Tracing) else {
            self.traced = None;
            return;
        };
        if self.traced.as_ref().is_none_or(|traced| !traced.is_by(settings)) {
            let counts = shared.telemetry.spans(&self.state.id);
            self.traced = exporter
                .trace(settings, counts, &shared.limits)
                .inspect_err(|error| tracing::error!(gateway = %self.state.id, %error, "no traces"))
                .ok();
        }
        if let Some(traced) = &self.traced {
            traced.lead_to(backends.get(&settings.collector));
        }
    }

    /// The backends that one of these certificates is shown to (BT-11).
    fn backends_that_see(&self, changed: &BTreeSet<IrKey>) -> Vec<BackendKey> {
        if !changed.iter().any(|key| matches!(key, IrKey::Certificate(_))) {
            return Vec::new();
        }
        let sees = |entry: &BackendEntry| {
            let shown = entry.backend.tls.as_ref().and_then(|tls| tls.client_certificate.clone());
            shown.is_some_and(|shown| changed.contains(&IrKey::Certificate(shown)))
        };
        let backends = self.state.backends.iter().filter(|(_, entry)| sees(entry));
        backends.map(|(key, _)| key.clone()).collect()
    }

    /// Whether the configuration has a resource; HTTP rules are those of `table`.
    fn has(&self, key: &IrKey, table: &RouteTable) -> bool {
        match key {
            IrKey::HttpRule(rule) => table.http_rule(rule).is_some(),
            key => self.config.0.contains_key(key),
        }
    }

    /// Changes the count of a resource's kind, if the configuration has the resource.
    fn count(&mut self, key: &IrKey, table: &RouteTable, change: impl Fn(&mut usize)) {
        if self.has(key, table) {
            match key {
                IrKey::HttpRule(_) => change(&mut self.counts.http_rules),
                IrKey::StreamRule(_) => change(&mut self.counts.stream_rules),
                IrKey::Backend(_) => change(&mut self.counts.backends),
                IrKey::Listener(_)
                | IrKey::Endpoints(_)
                | IrKey::Certificate(_)
                | IrKey::Tracing
                | IrKey::SessionKeys => {}
            }
        }
    }

    /// Notes what workers may have made of a resource.
    fn forget(&self, key: &IrKey, forgotten: &mut Forgotten) {
        match (self.config.0.get(key), key) {
            (Some(IrResource::Listener(listener)), _) => forgotten.objects.push(address(listener)),
            (Some(IrResource::StreamRule(rule)), _) => forgotten.objects.push(address(rule)),
            (_, IrKey::HttpRule(rule)) => {
                forgotten.objects.extend(self.state.table.http_rule(rule).map(address));
            }
            (_, IrKey::Backend(backend) | IrKey::Endpoints(backend)) => {
                forgotten.objects.extend(self.state.backends.get(backend).map(address));
            }
            _ => {}
        }
    }

    /// Notes everything that workers may have made of this Gateway.
    pub(super) fn forget_all(&self, forgotten: &mut Forgotten) {
        for key in self.config.0.keys() {
            self.forget(key, forgotten);
        }
        let id = &self.state.id;
        let http_rules = self.state.table.http_rules();
        forgotten.objects.extend(http_rules.map(address));
        let http = self.state.table.http_rules().map(|rule| &rule.key);
        let streams = self.config.stream_rules().map(|rule| &rule.key);
        forgotten.rules.extend(http.chain(streams).map(|rule| (id.clone(), rule.clone())));
    }

    /// What seals the tokens of sessions; without keys that can be used, one that nobody else can read.
    fn sealer(&self, changed: &BTreeSet<IrKey>) -> Arc<Sealer> {
        if !changed.contains(&IrKey::SessionKeys) {
            return Arc::clone(&self.state.sealer);
        }
        let Some(IrResource::SessionKeys(keys)) = self.config.0.get(&IrKey::SessionKeys) else {
            return Arc::new(Sealer::random());
        };
        let sealer = Sealer::new(keys).unwrap_or_else(|| {
            tracing::error!(gateway = %self.state.id, "the keys of sessions cannot be used");
            Sealer::random()
        });
        Arc::new(sealer)
    }

    fn backends(&self, changed: &BTreeSet<IrKey>, clients: &mut UpstreamTlsClients) -> BackendMap {
        let mut backends = self.state.backends.clone();
        for key in changed {
            let (IrKey::Backend(key) | IrKey::Endpoints(key)) = key else { continue };
            match self.backend(key, clients) {
                Some(entry) => drop(backends.insert(key.clone(), Arc::new(entry))),
                None => drop(backends.remove(key)),
            }
        }
        backends
    }

    fn backend(&self, key: &BackendKey, clients: &mut UpstreamTlsClients) -> Option<BackendEntry> {
        let backend = match self.config.0.get(&IrKey::Backend(key.clone()))? {
            IrResource::Backend(backend) => Arc::clone(backend),
            _ => return None,
        };
        let endpoints = match self.config.0.get(&IrKey::Endpoints(key.clone())) {
            Some(IrResource::Endpoints(endpoints)) => Some(Arc::clone(endpoints)),
            _ => None,
        };
        let tls = backend.tls.as_ref().map(|asked| {
            // what has to be shown is the newest version, and not the last that could be used.
            let is_shown =
                |key: &&CertificateKey| !(asked.mutual && self.certificates.is_rejected(key));
            let shown = asked.client_certificate.as_ref().filter(is_shown);
            let shown = shown.and_then(|key| self.certificates.usable(key));
            clients.of(asked, backend.protocol, shown)
        });
        let retry_budget = self.retry_budget(&backend);
        Some(BackendEntry { backend, endpoints, tls, retry_budget })
    }

    /// The budget of a backend. It goes on counting across configurations that hold it to the same.
    fn retry_budget(&self, backend: &Backend) -> Option<Arc<RetryBudget>> {
        let settings = backend.retry_budget?;
        let before = self.state.backends.get(&backend.key);
        let before = before.and_then(|entry| entry.retry_budget.as_ref());
        let same = before.filter(|budget| budget.settings() == settings);
        Some(same.map_or_else(|| Arc::new(RetryBudget::new(settings)), Arc::clone))
    }

    fn listener_states(
        &mut self,
        changed: &BTreeSet<IrKey>,
    ) -> Arc<ConfigMap<ListenerKey, ListenerState>> {
        let mut touched = false;
        for key in changed {
            match (key, self.config.0.get(key)) {
                (IrKey::Certificate(_), Some(IrResource::Certificate(certificate))) => {
                    self.certificates.set(certificate);
                }
                (IrKey::Certificate(key), _) => self.certificates.remove(key),
                (IrKey::Listener(key), Some(IrResource::Listener(listener))) => {
                    self.listeners.insert(key.clone(), Arc::clone(listener));
                }
                (IrKey::Listener(key), _) => drop(self.listeners.remove(key)),
                _ => continue,
            }
            touched = true;
        }
        if !touched {
            return Arc::clone(&self.state.listeners);
        }
        let auths: ConfigMap<_, _> = self
            .listeners
            .values()
            .filter_map(|listener| Some((listener.key.clone(), self.client_auth(listener)?)))
            .collect();
        let tls = self.listeners.values().filter_map(|listener| {
            let tls = self.listener_tls(listener, auths.get(&listener.key))?;
            Some((listener.key.clone(), tls))
        });
        self.tls = tls.collect();
        let listeners = self.listeners.values().map(|listener| {
            let state = ListenerState {
                listener: Arc::clone(listener),
                tls: self.tls.get(&listener.key).map(|tls| Arc::clone(tls.config())),
                client_auth: auths.get(&listener.key).map(Arc::clone),
            };
            (listener.key.clone(), state)
        });
        Arc::new(listeners.collect())
    }

    /// What the listener asks of clients; the same as before where it asks the same.
    fn client_auth(&self, listener: &Listener) -> Option<Arc<ClientAuth>> {
        let ListenerProtocol::Https { client_validation, .. } = &listener.protocol else {
            return None;
        };
        let before = self.state.listeners.get(&listener.key);
        let before = before.and_then(|before| before.client_auth.as_ref());
        client_validation.as_ref().map(|validation| ClientAuth::new(validation, before))
    }

    /// What the listener needs for handshakes; nothing where none of its certificates can be used, or
    /// none of its clients' can be believed (TL-5).
    fn listener_tls(
        &self,
        listener: &Listener,
        client_auth: Option<&Arc<ClientAuth>>,
    ) -> Option<ListenerTls> {
        let usable =
            listener.protocol.certificates().iter().filter_map(|key| self.certificates.usable(key));
        let usable: Vec<_> = usable.map(Arc::clone).collect();
        if usable.is_empty() || client_auth.is_some_and(|it| it.refuses_all()) {
            return None;
        }
        let inside = match listener.protocol {
            ListenerProtocol::TlsTerminate { .. } => Inside::Bytes,
            _ => Inside::Http,
        };
        ListenerTls::new(usable, client_auth, inside, self.tls.get(&listener.key))
            .inspect_err(|error| tracing::error!(listener = %listener.key, %error, "no TLS"))
            .ok()
    }
}
