//! What a worker says about a request when it is over.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use gwapi_model::NamespacedName;
use gwapi_translate::ir::{BackendKey, GatewayId, ListenerKey, RuleKey};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The response was sent whole.
    Complete,
    /// The client went away first.
    ClientGone,
    /// The client sent something that is not HTTP, or stopped in the middle of it.
    ClientError,
    /// A timeout of the rule or of the proxy passed.
    Timeout,
    /// No endpoint could be connected to.
    ConnectFailed,
    /// The endpoint broke off, or answered something that is not HTTP.
    UpstreamError,
    /// A drain or a removed listener cut it.
    Cut,
}

impl Ended {
    /// Every way to end, in the order of their positions.
    pub(crate) const ALL: [Self; 7] = [
        Self::Complete,
        Self::ClientGone,
        Self::ClientError,
        Self::Timeout,
        Self::ConnectFailed,
        Self::UpstreamError,
        Self::Cut,
    ];

    /// The word in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::ClientError => "client_error",
            Self::Timeout => "timeout",
            Self::ConnectFailed => "connect_failed",
            Self::UpstreamError => "upstream_error",
            Self::Cut => "cut",
        }
    }
}

/// A connection of a TLSRoute or TCPRoute, or a flow of datagrams of a UDPRoute, from its beginning to its
/// end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamRecord<'a> {
    /// `TLS`, `TCP` or `UDP`.
    pub(crate) protocol: &'static str,
    /// Gateway that it came to.
    pub(crate) gateway: &'a GatewayId,
    /// Listener that it belongs to.
    pub(crate) listener: &'a ListenerKey,
    /// Route that has it.
    pub(crate) route: Option<&'a NamespacedName>,
    /// Rule that has it.
    pub(crate) rule: Option<&'a RuleKey>,
    /// Backend that was chosen.
    pub(crate) backend: Option<&'a BackendKey>,
    /// Endpoint that it led to.
    pub(crate) endpoint: Option<SocketAddr>,
    /// The other side.
    pub(crate) peer: SocketAddr,
    /// Server name that the client asked for, in lower case.
    pub(crate) server_name: Option<&'a str>,
    /// From the moment when it was known what it is.
    pub(crate) duration: Duration,
    /// Bytes that were passed on to the endpoint.
    pub(crate) bytes_received: u64,
    /// Bytes that were passed on to the client.
    pub(crate) bytes_sent: u64,
    /// How it ended: one of a few words.
    pub(crate) ended: &'static str,
}

/// One request, from its head to the end of its response.
///
/// Everything that a client wrote is bytes: it may be anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestRecord<'a> {
    /// Gateway that the connection came to.
    pub(crate) gateway: &'a GatewayId,
    /// Listener that the request belongs to.
    pub(crate) listener: &'a ListenerKey,
    /// Route that matched.
    pub(crate) route: Option<&'a NamespacedName>,
    /// Rule that matched.
    pub(crate) rule: Option<&'a RuleKey>,
    /// Backend that was chosen.
    pub(crate) backend: Option<&'a BackendKey>,
    /// Endpoint that was asked last.
    pub(crate) endpoint: Option<SocketAddr>,
    /// The other side of the connection.
    pub(crate) peer: SocketAddr,
    /// The client: the peer, or whom a trusted one named.
    pub(crate) client: IpAddr,
    /// Method.
    pub(crate) method: &'a str,
    /// Host as the client wrote it, port included; empty where it wrote none.
    pub(crate) host: &'a [u8],
    /// Path and query as the client wrote them.
    pub(crate) path: &'a [u8],
    /// Protocol of the client, such as `HTTP/1.1`.
    pub(crate) protocol: &'static str,
    /// Status that was sent, or would have been.
    pub(crate) status: u16,
    /// From the head of the request to the end of the response.
    pub(crate) duration: Duration,
    /// From the head of the request to the head of the response, where an endpoint sent one.
    pub(crate) upstream_duration: Option<Duration>,
    /// Bytes of the request's body.
    pub(crate) bytes_received: u64,
    /// Bytes of the response's body.
    pub(crate) bytes_sent: u64,
    /// `allowed`, `denied` or `failed`, where an authorization service was asked.
    pub(crate) authorization: Option<&'static str>,
    /// How it ended.
    pub(crate) ended: Ended,
}
