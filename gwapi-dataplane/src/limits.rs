//! Limits and timeouts, all in one place, with their defaults.
//!
//! ```
//! use gwapi_dataplane::Limits;
//!
//! let mut limits = Limits::default();
//! limits.set("head-timeout", "5s")?;
//! limits.set("max-head-bytes", "32KiB")?;
//! limits.check()?;
//!
//! let refused = limits.set("max-connection", "1").expect_err("no such limit");
//! assert_eq!(
//!     refused.to_string(),
//!     "there is no limit `max-connection`; did you mean `max-connections`?",
//! );
//! # Ok::<(), gwapi_dataplane::limits::LimitError>(())
//! ```

mod quantity;
mod table;

use std::time::Duration;

use gwapi_model::validate::closest;

pub use table::Limit;

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
    /// Time after which a client over HTTP/2 that sends no part of a request is asked by a PING whether it is
    /// still there, also while nothing is under way.
    pub http2_ping_interval: Duration,
    /// Time for a sign of life of a client after a PING. What it was sent before and may not have read yet
    /// counts beside it, at [`Limits::min_rate`] and up to [`Limits::response_idle_timeout`].
    pub http2_ping_timeout: Duration,
    /// Bytes of a response that wait for the client, on a stream of HTTP/2.
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
    /// Time to connect to an endpoint, the lookup of its name and the TLS handshake included where there are
    /// such.
    pub connect_timeout: Duration,
    /// Time for the lookup of a name. Nobody can call off one that takes longer: until it ends there is no
    /// other one for the name, and who asks is told its last addresses, or that there is no answer.
    pub lookup_timeout: Duration,
    /// Age of the last addresses of a name, which are used while lookups fail or take too long; 0 uses none.
    pub max_stale_lookup_age: Duration,
    /// Time from the end of the request to the head of the response, where the rule sets none.
    pub response_head_timeout: Duration,
    /// Time a response body may make no progress, a tunnel may be silent both ways, and its endpoint may take
    /// nothing.
    pub response_idle_timeout: Duration,
    /// Time a connection of a TLSRoute or TCPRoute may be silent both ways, and either side may take nothing.
    pub stream_idle_timeout: Duration,
    /// Time a flow of datagrams of a UDPRoute may be silent both ways.
    pub udp_session_idle_timeout: Duration,
    /// Flows of datagrams over all cores, each with a socket of its own. Beyond them, the one of its core
    /// that is silent longest makes room for a new one.
    pub max_udp_sessions: usize,
    /// Time a client may take to read what waits for it before anything more is written.
    pub write_stall_timeout: Duration,
    /// Number of header fields of a response, at most 256; more answer 502.
    pub max_response_headers: usize,
    /// Bytes of a response's head, and of its trailers; more answer 502.
    pub max_response_head_bytes: usize,
    /// Bytes of a response over HTTP/2 that an endpoint may send before its client takes them: the window
    /// of a stream. That of a connection has room for all of its streams.
    pub max_upstream_stream_bytes: usize,
    /// Retries of one request after its first attempt, whatever the number its rule asks for.
    pub max_retries: usize,
    /// Bytes of a request's body that are kept so that a rule's retries can send it once more; a longer
    /// one is sent once.
    pub max_retry_body_bytes: usize,
    /// Bytes that a mirror's copy of a request's body may be behind the original; a copy that is further
    /// behind is given up.
    pub max_mirror_behind_bytes: usize,
    /// Time for the answer of an authorization service, of a consent by HTTP for its head; then the request
    /// is denied with 504.
    pub auth_timeout: Duration,
    /// Bytes of a request's body that an authorization service is shown at most, whatever a filter says;
    /// a longer one answers 413.
    pub max_auth_body_bytes: usize,
    /// Bytes of the body of an authorization service's answer; more answer 502.
    pub max_auth_answer_bytes: usize,
    /// Time after which a tunnel is closed.
    pub max_tunnel_age: Duration,
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
    /// Time after which an endpoint over HTTP/2 that says nothing, while requests are under way, is asked by a
    /// PING whether it is still there.
    pub upstream_http2_ping_interval: Duration,
    /// Time for its answer to a PING; then the connection is given up, with all that is under way on it.
    pub upstream_http2_ping_timeout: Duration,
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
            http2_ping_interval: Duration::from_secs(30),
            http2_ping_timeout: Duration::from_secs(10),
            max_send_buffer_bytes: 64 * 1024,
            max_connection_age: Duration::from_secs(3600),
            max_connections: 65_536,
            max_connections_per_core: 16_384,
            connect_timeout: Duration::from_secs(5),
            lookup_timeout: Duration::from_secs(10),
            max_stale_lookup_age: Duration::from_secs(24 * 3600),
            response_head_timeout: Duration::from_secs(60),
            response_idle_timeout: Duration::from_secs(300),
            stream_idle_timeout: Duration::from_secs(3600),
            udp_session_idle_timeout: Duration::from_secs(60),
            max_udp_sessions: 4096,
            write_stall_timeout: Duration::from_secs(60),
            max_response_headers: 128,
            max_response_head_bytes: 64 * 1024,
            max_upstream_stream_bytes: 64 * 1024,
            max_retries: 500,
            max_retry_body_bytes: 64 * 1024,
            max_mirror_behind_bytes: 1024 * 1024,
            auth_timeout: Duration::from_secs(5),
            max_auth_body_bytes: 1024 * 1024,
            max_auth_answer_bytes: 64 * 1024,
            max_tunnel_age: Duration::from_secs(24 * 3600),
            max_connections_per_endpoint_per_core: 1024,
            max_connections_per_endpoint: 4096,
            max_pending_per_endpoint: 1024,
            pending_timeout: Duration::from_secs(5),
            max_upstream_connection_age: Duration::from_secs(3600),
            max_idle_per_endpoint: 1024,
            upstream_idle_timeout: Duration::from_secs(50),
            upstream_http2_ping_interval: Duration::from_secs(30),
            upstream_http2_ping_timeout: Duration::from_secs(10),
            max_memory_bytes: None,
            drain_quiet: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(60),
        }
    }
}

/// Why a limit is not what somebody wants it to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No limit has this name.
    #[error("there is no limit `{name}`{}", suggestion(.nearest.as_deref()))]
    Unknown {
        /// The name.
        name: String,
        /// A limit whose name is like it.
        nearest: Option<String>,
    },
    /// The value is not one that the limit can have.
    #[error("`{value}` is no value for `{name}`: expected {expected}; the default is {default}")]
    Value {
        /// The limit.
        name: String,
        /// What was to become its value.
        value: String,
        /// What values look like, with the least and the greatest.
        expected: String,
        /// The value that it has where nobody says another.
        default: String,
    },
    /// A limit can never be reached, because another one is in the way.
    #[error("`{name}` is {value}, which `{other}` never lets happen: it is {other_value}; {help}")]
    Unreachable {
        /// The limit.
        name: &'static str,
        /// Its value.
        value: String,
        /// The limit in its way.
        other: &'static str,
        /// The value of that.
        other_value: String,
        /// What to do.
        help: &'static str,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

impl Limits {
    /// Sets a limit by its name, the field's with dashes, to a value as people write it: `10s`,
    /// `64KiB`, `100`.
    ///
    /// # Errors
    ///
    /// [`LimitError::Unknown`] and [`LimitError::Value`]. What limits have to do with each other is
    /// for [`Limits::check`] to say, once all are set.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), LimitError> {
        let Some(row) = table::ROWS.iter().find(|row| row.name() == name) else {
            let names: Vec<String> = table::ROWS.iter().map(table::Row::name).collect();
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let nearest = closest(name, &known).map(str::to_owned);
            return Err(LimitError::Unknown { name: name.to_owned(), nearest });
        };
        row.set(self, value)
    }

    /// Every limit, with its default, in the order of the fields.
    pub fn describe() -> Vec<Limit> {
        table::ROWS.iter().map(table::Row::describe).collect()
    }

    /// Whether every limit has a value that it can have, and all make sense together.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), LimitError> {
        for row in table::ROWS {
            row.check(self)?;
        }
        if self.max_uri_bytes > self.max_head_bytes {
            return Err(LimitError::Unreachable {
                name: "max-uri-bytes",
                value: quantity::bytes(self.max_uri_bytes as u64),
                other: "max-head-bytes",
                other_value: quantity::bytes(self.max_head_bytes as u64),
                help: "a head holds its target, so set `max-uri-bytes` to less",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str, value: &str) -> String {
        Limits::default().set(name, value).expect_err("refused").to_string()
    }

    #[test]
    fn limits_are_set_as_people_write_them() {
        let mut limits = Limits::default();
        for (name, value) in [
            ("head-timeout", "1500ms"),
            ("max-connection-age", "1h30m"),
            ("max-head-bytes", "32KiB"),
            ("max-uri-bytes", "4096"),
            ("max-send-buffer-bytes", "1Mi"),
            ("max-concurrent-streams", "7"),
            ("max-memory-bytes", "1GiB"),
            ("drain-quiet", "0s"),
            ("min-rate", "1KiB"),
        ] {
            assert_eq!(limits.set(name, value), Ok(()), "{name}");
        }
        let expected = Limits {
            head_timeout: Duration::from_millis(1500),
            max_connection_age: Duration::from_secs(5400),
            max_head_bytes: 32 * 1024,
            max_uri_bytes: 4096,
            max_send_buffer_bytes: 1024 * 1024,
            max_concurrent_streams: 7,
            max_memory_bytes: Some(1024 * 1024 * 1024),
            drain_quiet: Duration::ZERO,
            min_rate: 1024,
            ..Limits::default()
        };
        assert_eq!(limits, expected);
        assert_eq!(limits.check(), Ok(()));
    }

    #[test]
    fn every_default_can_be_written_and_read_back() {
        for limit in Limits::describe() {
            let mut limits = Limits::default();
            // Where the system decides there is nothing to write.
            if limit.name != "max-memory-bytes" {
                assert_eq!(limits.set(&limit.name, &limit.default), Ok(()), "{limit:?}");
            }
            assert_eq!(limits, Limits::default(), "{limit:?}");
        }
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_wrong_name_leads_to_the_nearest_one() {
        assert!(error("max_headers", "1").contains("did you mean `max-headers`?"));
        assert_eq!(error("zebra", "1"), "there is no limit `zebra`");
    }

    #[test]
    fn a_wrong_value_is_answered_with_the_form_the_bounds_and_the_default() {
        assert_eq!(
            error("head-timeout", "10"),
            "`10` is no value for `head-timeout`: expected a duration such as 10s or 500ms, from \
             1ms to 99999h; the default is 10s"
        );
        assert_eq!(
            error("max-head-bytes", "512"),
            "`512` is no value for `max-head-bytes`: expected a size such as 65536 or 64KiB, from \
             1KiB to 256KiB; the default is 64KiB"
        );
        for value in ["0", "-1", "1.5", "", "10s", "99999999999999999999"] {
            assert!(error("max-connections", value).contains(" from 1 to "), "{value:?}");
        }
        for value in ["64kb", "KiB", "99999999999GiB", "1 MiB"] {
            assert!(error("max-head-bytes", value).contains("64KiB"), "{value:?}");
        }
    }

    #[test]
    fn no_memory_limit_is_0_and_one_that_nothing_fits_in_is_refused() {
        let mut limits = Limits::default();
        assert_eq!(limits.set("max-memory-bytes", "0"), Ok(()));
        assert_eq!((limits.max_memory_bytes, limits.check()), (Some(0), Ok(())));
        assert!(error("max-memory-bytes", "1MiB").contains("or 0 for none"));
    }

    #[test]
    fn limits_that_were_set_in_code_are_checked_too() {
        let none = Limits { max_connections: 0, ..Limits::default() };
        let Err(LimitError::Value { name, value, .. }) = none.check() else { panic!("refused") };
        assert_eq!((&*name, &*value), ("max-connections", "0"));
        let endless = Limits { idle_timeout: Duration::MAX, ..Limits::default() };
        assert!(endless.check().is_err());
    }

    #[test]
    fn a_target_has_to_fit_into_its_head() {
        let small = Limits { max_head_bytes: 8 * 1024, ..Limits::default() };
        assert_eq!(
            small.check().expect_err("refused").to_string(),
            "`max-uri-bytes` is 16KiB, which `max-head-bytes` never lets happen: it is 8KiB; a head \
             holds its target, so set `max-uri-bytes` to less"
        );
    }
}
