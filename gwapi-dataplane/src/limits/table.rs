//! The table of limits: from it come what the command line takes, what its help says, and
//! `docs/limits.md`.

use super::quantity::Slot;
use super::{LimitError, Limits};

/// What there is to know of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name: that of the field in [`Limits`], with dashes.
    pub name: String,
    /// Its value where nobody sets another.
    pub default: String,
    /// What values look like, with the least and the greatest.
    pub values: String,
    /// What it limits.
    pub about: &'static str,
    /// What happens where it is passed.
    pub beyond: &'static str,
}

/// A limit: its field, and what is said of it.
pub(super) struct Row {
    field: &'static str,
    slot: fn(&mut Limits) -> Slot<'_>,
    least: u64,
    most: u64,
    about: &'static str,
    beyond: &'static str,
}

impl Row {
    pub(super) fn name(&self) -> String {
        self.field.replace('_', "-")
    }

    pub(super) fn set(&self, limits: &mut Limits, text: &str) -> Result<(), LimitError> {
        let mut slot = (self.slot)(limits);
        let value = slot.parse(text).filter(|value| self.allows(&slot, *value));
        slot.put(value.ok_or_else(|| self.refuse(text.to_owned()))?);
        Ok(())
    }

    pub(super) fn check(&self, limits: &Limits) -> Result<(), LimitError> {
        let mut limits = limits.clone();
        let slot = (self.slot)(&mut limits);
        match slot.get().filter(|value| !self.allows(&slot, *value)) {
            Some(value) => Err(self.refuse(slot.show(value))),
            None => Ok(()),
        }
    }

    pub(super) fn describe(&self) -> Limit {
        let mut limits = Limits::default();
        let slot = (self.slot)(&mut limits);
        let none = if slot.zero_is_none() { ", or 0 for none" } else { "" };
        Limit {
            name: self.name(),
            default: slot.get().map_or_else(|| AUTOMATIC.to_owned(), |value| slot.show(value)),
            values: format!(
                "{}, from {} to {}{none}",
                slot.form(),
                slot.show(self.least),
                slot.show(self.most)
            ),
            about: self.about,
            beyond: self.beyond,
        }
    }

    fn allows(&self, slot: &Slot<'_>, value: u64) -> bool {
        (self.least..=self.most).contains(&value) || (value == 0 && slot.zero_is_none())
    }

    fn refuse(&self, value: String) -> LimitError {
        let Limit { name, default, values, .. } = self.describe();
        LimitError::Value { name, value, expected: values, default }
    }
}

/// The default of the memory: only the system knows it.
const AUTOMATIC: &str = "95 % of the cgroup's limit, else none";

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MILLION: u64 = 1_000_000;
/// 99,999 hours in milliseconds, the longest time that a duration of the Gateway API says in one
/// unit: eleven years. Clocks can still add it.
const LONG: u64 = 99_999 * 3_600_000;

/// A row for each field. One that is left out, or said twice, does not compile.
macro_rules! rows {
    ($($field:ident: $kind:ident, $least:expr, $most:expr, $about:literal, $beyond:literal;)*) => {
        pub(super) const ROWS: &[Row] = &[$(Row {
            field: stringify!($field),
            slot: |limits| Slot::$kind(&mut limits.$field),
            least: $least,
            most: $most,
            about: $about,
            beyond: $beyond,
        }),*];

        const _: fn(Limits) = |limits| {
            let Limits { $($field: _),* } = limits;
        };
    };
}

rows! {
    max_headers: Count, 1, 10_000,
        "header fields of a request", "431, closed";
    max_head_bytes: Bytes, KIB, 256 * KIB,
        "a request's head", "431, closed; over HTTP/2 431, and closed where it unpacks to four times as much";
    max_uri_bytes: Bytes, 64, 64 * KIB - 2,
        "a request target", "414, closed";
    first_byte_timeout: Time, 1, LONG,
        "accept, or the end of a TLS handshake, to the first byte of HTTP", "closed";
    handshake_timeout: Time, 1, LONG,
        "a TLS handshake, the ClientHello included", "closed";
    head_timeout: Time, 1, LONG,
        "a request's head, from its first byte", "closed";
    idle_timeout: Time, 1, LONG,
        "a connection without a request", "closed; over HTTP/2 by GOAWAY";
    body_idle_timeout: Time, 1, LONG,
        "a request body without progress", "408, closed";
    min_rate: Rate, 0, GIB,
        "rate of a request body, and of a client that reads a response, on average; 0 asks for none",
        "408, closed; a response that has begun is reset";
    min_rate_grace: Time, 0, LONG,
        "time before the rate is judged", "the rate counts";
    max_concurrent_streams: Streams, 1, MILLION,
        "concurrent streams of an HTTP/2 connection", "the stream is refused";
    http2_ping_interval: Time, 1, LONG,
        "a client over HTTP/2 that sends no part of a request", "it is sent a PING";
    http2_ping_timeout: Time, 1, LONG,
        "a sign of life after that, once the client has read what it was sent before",
        "closed";
    max_send_buffer_bytes: Bytes, KIB, GIB,
        "what waits of a response for its client, on an HTTP/2 stream", "the endpoint is read no further";
    max_connection_age: Time, 1, LONG,
        "a client's connection, less up to a tenth at random; tunnels do not count",
        "`Connection: close` with the next answer, or GOAWAY; an idle one is closed";
    max_connections: Count, 1, 100 * MILLION,
        "clients' connections over all cores", "wait in the kernel's queue";
    max_connections_per_core: Count, 1, 100 * MILLION,
        "clients' connections of a core; fewer where the limit on open files asks for it",
        "wait in the kernel's queue";
    connect_timeout: Time, 1, LONG,
        "connecting to an endpoint, the lookup of its name and its TLS handshake included",
        "another endpoint, up to three; then 503, or 502 where TLS was at fault";
    lookup_timeout: Time, 1, LONG,
        "the lookup of an endpoint's name",
        "who waits for it, and who asks before it ends, has the last addresses, or as beyond `connect-timeout`";
    max_stale_lookup_age: Time, 0, LONG,
        "age of a name's last addresses, which are used while lookups fail or take too long",
        "as beyond `connect-timeout`";
    response_head_timeout: Time, 1, LONG,
        "end of the request to the head of the response, where the rule sets no timeout", "504";
    response_idle_timeout: Time, 1, LONG,
        "a response body without progress, and a tunnel that is silent both ways, or whose endpoint takes nothing",
        "reset; the tunnel is closed";
    stream_idle_timeout: Time, 1, LONG,
        "a connection of a TLSRoute or TCPRoute that is silent both ways, or whose client or endpoint takes nothing", "reset";
    udp_session_idle_timeout: Time, 1, LONG,
        "a flow of datagrams of a UDPRoute that is silent both ways", "forgotten; the next datagram begins another one";
    max_udp_sessions: Count, 1, 100 * MILLION,
        "flows of datagrams over all cores; fewer where the limit on open files asks for it", "the one of the core that is silent longest is forgotten; each core has one at least";
    write_stall_timeout: Time, 1, LONG,
        "a client that does not read what waits for it", "closed; over HTTP/2 the stream is reset";
    max_response_headers: Count, 1, 256,
        "header fields of a response", "502";
    max_response_head_bytes: Bytes, KIB, 16 * MIB,
        "the head of a response, and its trailers",
        "502; trailers beyond it, or more than 32, cut the response, and beyond four times of it all on their \
         connection to an endpoint over HTTP/2";
    max_upstream_stream_bytes: Bytes, 16 * KIB, 16 * MIB,
        "what is read ahead of a client from an endpoint, on an HTTP/2 stream", "the endpoint waits";
    max_retries: Count, 0, MILLION,
        "retries of a request, whatever `attempts` its rule asks for",
        "what the last attempt came to is the answer";
    max_retry_body_bytes: Bytes, 0, GIB,
        "a request body that is kept for retries of its rule", "not retried";
    max_mirror_behind_bytes: Bytes, 0, GIB,
        "how far a mirror's copy of a request body may be behind", "the copy is given up and counted";
    auth_timeout: Time, 1, LONG,
        "the answer of an authorization service, connecting included; of a consent by HTTP its head", "504";
    max_auth_body_bytes: Bytes, 0, GIB,
        "a request body that an authorization service is shown, whatever `maxSize` says", "413";
    max_auth_answer_bytes: Bytes, KIB, GIB,
        "the body of an authorization service's answer", "502";
    max_tunnel_age: Time, 1, LONG,
        "a tunnel, such as that of a WebSocket", "closed";
    max_connections_per_endpoint_per_core: Count, 1, 100 * MILLION,
        "connections of a core to an endpoint; over HTTP/2 each is for up to 100 requests at once", "requests wait, see `max-pending-per-endpoint`";
    max_connections_per_endpoint: Count, 1, 100 * MILLION,
        "connections to an endpoint over all cores",
        "requests wait, see `max-pending-per-endpoint`";
    max_pending_per_endpoint: Count, 0, 100 * MILLION,
        "requests of a core that wait for a connection to an endpoint, or for a stream of it", "503";
    pending_timeout: Time, 1, LONG,
        "a request that waits for a connection to an endpoint, or for a stream of it", "503";
    max_upstream_connection_age: Time, 1, LONG,
        "a connection to an endpoint; tunnels do not count",
        "closed once what is in flight has ended";
    max_idle_per_endpoint: Count, 0, 100 * MILLION,
        "idle connections that a core keeps to an endpoint", "closed after their request";
    upstream_idle_timeout: Time, 1, LONG,
        "an idle connection to an endpoint", "closed";
    upstream_http2_ping_interval: Time, 1, LONG,
        "an endpoint over HTTP/2 that says nothing while requests are under way", "it is sent a PING";
    upstream_http2_ping_timeout: Time, 1, LONG,
        "its answer to that", "closed; what is under way is answered 502, or reset";
    max_memory_bytes: Memory, 16 * MIB, 1024 * GIB,
        "memory of the process", "503 and closed, and new connections are accepted slowly";
    drain_quiet: Time, 0, LONG,
        "time without a new connection after a drain began", "no more is accepted";
    drain_timeout: Time, 0, LONG,
        "a drain in all", "what is in flight is cut";
}
