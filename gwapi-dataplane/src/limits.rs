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
    /// Concurrent streams of an HTTP/2 connection.
    pub max_concurrent_streams: u32,
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
    /// Idle connections kept per endpoint and core. Fewer than requests at a time would make
    /// connections come and go under load; those that nobody needs are closed in time.
    pub max_idle_per_endpoint: usize,
    /// Time an idle upstream connection is kept.
    pub upstream_idle_timeout: Duration,
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
            max_concurrent_streams: 100,
            max_connections_per_core: 16_384,
            connect_timeout: Duration::from_secs(5),
            response_head_timeout: Duration::from_secs(60),
            response_idle_timeout: Duration::from_secs(300),
            write_stall_timeout: Duration::from_secs(60),
            max_idle_per_endpoint: 1024,
            upstream_idle_timeout: Duration::from_secs(50),
            drain_quiet: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(60),
        }
    }
}
