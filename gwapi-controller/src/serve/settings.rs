//! What a configuration server is told before it starts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gwapi_model::SecretBytes;
use tokio::sync::watch;

/// Settings of a configuration server.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Where to listen; port 0 picks one.
    pub address: SocketAddr,
    /// What to show to proxies. A new version is used from the next connection on; one that cannot
    /// be used is logged, and the last good one stays.
    pub certificate: watch::Receiver<Arc<ServingCertificate>>,
    /// Name of this replica, for people.
    pub replica: String,
    /// Limits.
    pub limits: ServeLimits,
}

/// The certificate of the server with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingCertificate {
    /// Chain, leaf first, PEM.
    pub chain: String,
    /// Private key, PEM.
    pub key: SecretBytes,
}

/// What a server takes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections.
    pub connections: usize,
    /// Connections whose proxy has not shown yet who it is.
    pub strangers: usize,
    /// How many of them may come from one address.
    pub strangers_of_one_address: usize,
    /// Time for a proxy to show who it is, from the first byte of the connection on; and for a connection
    /// to have no stream any more.
    pub admission_timeout: Duration,
    /// Streams of a Gateway, and connections, so that a proxy that reconnects too often harms its own Gateway alone.
    pub streams_per_gateway: usize,
    /// Streams of a proxy, and connections, of which it needs one, and a second one while the end of the
    /// first has not been noticed yet. With `message_bytes` this is what one proxy can have kept for it.
    pub streams_per_proxy: usize,
    /// Bytes of a message from a proxy. The first one names all that the proxy has, about 100 bytes
    /// for a resource.
    pub message_bytes: usize,
    /// Time until a silent proxy is asked whether it is there.
    pub ping_interval: Duration,
    /// Time for it to answer.
    pub ping_timeout: Duration,
    /// Time for a proxy to answer a batch. Whoever takes longer has to connect anew.
    pub answer_timeout: Duration,
    /// Age of a stream, give or take a tenth: its proxy connects anew then, shows its token again, and
    /// is sent nothing that it has.
    pub stream_age: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 8192,
            strangers: 256,
            strangers_of_one_address: 32,
            admission_timeout: Duration::from_secs(10),
            streams_per_gateway: 1024,
            streams_per_proxy: 4,
            message_bytes: 8 * 1024 * 1024,
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(60),
            stream_age: Duration::from_secs(30 * 60),
        }
    }
}
