//! Limits and timeouts, all in one place, with their defaults.

use std::time::Duration;

/// Limits on everything that a client or an upstream controls.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Number of header fields of a request; more answer 431.
    pub max_headers: usize,
    /// Bytes of a request's head; more answer 431.
    pub max_head_bytes: usize,
    /// Bytes of a request target; more answer 414.
    pub max_uri_bytes: usize,
    /// Time from accept, or from the end of a TLS handshake, to the first byte of HTTP.
    pub first_byte_timeout: Duration,
    /// Time for a TLS handshake, the ClientHello included.
    pub handshake_timeout: Duration,
    /// Time for a request's head.
    pub head_timeout: Duration,
    /// Time an HTTP/1 connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Time a request body may make no progress.
    pub body_idle_timeout: Duration,
    /// Bytes per second that a request body has to arrive with, and a client has to read with what
    /// waits for it, on average after [`Limits::min_rate_grace`]; 0 asks for none. A body counts
    /// until the response begins, and only the time that is spent waiting for the client.
    pub min_rate: u64,
    /// Time that a slow body is not judged for [`Limits::min_rate`].
    pub min_rate_grace: Duration,
    /// Concurrent streams of an HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Bytes of a response that wait for the window of an HTTP/2 stream.
    pub max_send_buffer_bytes: usize,
    /// Time after which a client's connection is ended gently: by `Connection: close` with its next
    /// answer, or by GOAWAY. Up to a tenth is taken off at random, so that connections which were
    /// made at once do not end at once. Tunnels do not count.
    pub max_connection_age: Duration,
    /// Clients' connections in all; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Connections per core; more wait in the kernel's queue. Where the limit on open files leaves
    /// room for fewer, and for one to an endpoint beside each, those few are the limit.
    pub max_connections_per_core: usize,
    /// Time to connect to an endpoint.
    pub connect_timeout: Duration,
    /// Time from the end of the request to the head of the response, where the rule sets none.
    pub response_head_timeout: Duration,
    /// Time a response body may make no progress, and a tunnel may be silent both ways.
    pub response_idle_timeout: Duration,
    /// Time a client may take to read what waits for it before anything more is written.
    pub write_stall_timeout: Duration,
    /// Number of header fields of a response, at most 256; more answer 502.
    pub max_response_headers: usize,
    /// Bytes of a response's head, and of its trailers; more answer 502.
    pub max_response_head_bytes: usize,
    /// Connections to an endpoint, per core. Requests beyond wait for one that gets free.
    pub max_connections_per_endpoint_per_core: usize,
    /// Connections to an endpoint over all cores.
    pub max_connections_per_endpoint: usize,
    /// Requests that wait for a connection to an endpoint, per core; more answer 503.
    pub max_pending_per_endpoint: usize,
    /// Time that a request waits for a connection to an endpoint to get free; then it answers 503.
    pub pending_timeout: Duration,
    /// Time after which a connection to an endpoint takes no more requests. Tunnels do not count.
    pub max_upstream_connection_age: Duration,
    /// Idle connections kept per endpoint and core. Fewer than requests at a time would make
    /// connections come and go under load; those that nobody needs are closed in time.
    pub max_idle_per_endpoint: usize,
    /// Time an idle upstream connection is kept.
    pub upstream_idle_timeout: Duration,
    /// Memory of the process at which requests are answered 503 and connections wait in the kernel's
    /// queue, until it is below again; 0 means none. Where the system limits the memory of the
    /// process (cgroup), the default is 95 % of that.
    pub max_memory_bytes: Option<u64>,
    /// After a drain began: no new connection for this long ends accepting. Where they keep coming,
    /// it ends when half of `drain_timeout` is over, so that the last ones are served too.
    pub drain_quiet: Duration,
    /// After a drain began: what is still in flight then is cut.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_headers: 100,
            max_head_bytes: 64 * 1024,
            max_uri_bytes: 16 * 1024,
            first_byte_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(30),
            min_rate: 240,
            min_rate_grace: Duration::from_secs(10),
            max_concurrent_streams: 100,
            max_send_buffer_bytes: 64 * 1024,
            max_connection_age: Duration::from_secs(3600),
            max_connections: 65_536,
            max_connections_per_core: 16_384,
            connect_timeout: Duration::from_secs(5),
            response_head_timeout: Duration::from_secs(60),
            response_idle_timeout: Duration::from_secs(300),
            write_stall_timeout: Duration::from_secs(60),
            max_response_headers: 128,
            max_response_head_bytes: 64 * 1024,
            max_connections_per_endpoint_per_core: 1024,
            max_connections_per_endpoint: 4096,
            max_pending_per_endpoint: 1024,
            pending_timeout: Duration::from_secs(5),
            max_upstream_connection_age: Duration::from_secs(3600),
            max_idle_per_endpoint: 1024,
            upstream_idle_timeout: Duration::from_secs(50),
            max_memory_bytes: None,
            drain_quiet: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(60),
        }
    }
}
