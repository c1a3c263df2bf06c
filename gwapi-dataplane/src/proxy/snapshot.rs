//! What is served at one moment: the tables of all Gateways, and which socket leads to which.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use gwapi_translate::RouteTable;
use gwapi_translate::ir::{
    Backend, BackendKey, BackendTarget, Endpoints, GatewayId, Listener, ListenerKey,
};
use rustls::ServerConfig;

use super::client_auth::ClientAuth;
use super::sessions::Sealer;
use super::traces::Tracer;
use super::upstream::{RetryBudget, UpstreamTls};

/// A map whose keys come from the configuration, never from clients.
pub(super) type ConfigMap<K, V> = HashMap<K, V, RandomState>;

/// The backends of a Gateway; one change among many shares the rest with the map before it.
pub(super) type BackendMap = imbl::GenericHashMap<
    BackendKey,
    Arc<BackendEntry>,
    RandomState,
    imbl::shared_ptr::DefaultSharedPtr,
>;

/// Everything that a request needs of the configuration; immutable.
#[derive(Default)]
pub(super) struct Snapshot {
    /// Counted from 1; 0 is the empty one that a proxy starts with.
    pub(super) generation: u64,
    /// Of TCP, by address as bound.
    pub(super) ports: ConfigMap<SocketAddr, Port>,
    /// Of UDP, by address as bound.
    pub(super) udp_ports: ConfigMap<SocketAddr, Port>,
}

/// What a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// HTTP in the clear.
    Http,
    /// What begins with a ClientHello: HTTPS, and TLS for TLSRoutes where some listener has them
    /// (GW-4).
    Tls { routed: bool },
    /// Bytes.
    Bytes,
    /// Datagrams.
    Datagrams,
}

/// What is behind a socket.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) gateway: Arc<GatewayState>,
    pub(super) carried: Carried,
    /// Stands for all listeners of the socket where none is chosen yet.
    pub(super) first_listener: Arc<Listener>,
}

/// What one Gateway serves.
pub(super) struct GatewayState {
    pub(super) id: GatewayId,
    pub(super) table: RouteTable,
    pub(super) backends: BackendMap,
    /// What its requests are traced by; none where nobody asks for it.
    pub(super) tracer: Option<Arc<Tracer>>,
    /// Seals the tokens of sessions.
    pub(super) sealer: Arc<Sealer>,
    /// Shared with the configurations before that had the same listeners and certificates.
    pub(super) listeners: Arc<ConfigMap<ListenerKey, ListenerState>>,
}

impl GatewayState {
    /// The backend that a share leads to; none where it is invalid.
    pub(super) fn backend(&self, target: &BackendTarget) -> Option<&Arc<BackendEntry>> {
        match target {
            BackendTarget::Backend(key) => self.backends.get(key),
            BackendTarget::Invalid(_) => None,
        }
    }
}

/// A listener with what is made of its certificates.
#[derive(Clone)]
pub(super) struct ListenerState {
    pub(super) listener: Arc<Listener>,
    /// Absent on clear-text listeners, and where no certificate could be used.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// What is asked of the certificates of clients.
    pub(super) client_auth: Option<Arc<ClientAuth>>,
}

/// A backend with its endpoints; made anew when either changes.
pub(super) struct BackendEntry {
    pub(super) backend: Arc<Backend>,
    /// None where no endpoint is known (HB-4).
    pub(super) endpoints: Option<Arc<Endpoints>>,
    /// What connections to them are made with; none where those are in the clear.
    pub(super) tls: Option<Arc<UpstreamTls>>,
    /// How many retries there may be, by what there was; none where nothing bounds them.
    pub(super) retry_budget: Option<Arc<RetryBudget>>,
}
