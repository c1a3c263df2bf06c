//! Towards the endpoints: pools of connections, and one request on one of them.
//!
//! ```text
//!  CoreBackend::endpoint ─► Pool ─► Slots ─► idle or new connection ─► Response, Lease
//!          ▲                                      │
//!          └── another endpoint ◄── nothing was sent
//! ```

mod body;
mod budget;
mod connect;
mod discard;
mod http1;
mod http2_io;
mod http2_upload;
mod identity;
mod lookup;
mod pool;
mod raw;
mod retry;
mod send;
mod slots;
mod stream;
mod tls;
mod trailer_gate;

pub(super) use body::UpstreamBody;
pub(super) use budget::RetryBudget;
pub(super) use connect::{ConnectError, Place, connect, resolve};
pub(super) use discard::discard;
pub(super) use http1::{HeadWriter, Http1, Outgoing, Upgraded};
#[cfg(test)]
pub(super) use lookup::hold_up as hold_up_lookups;
pub(super) use pool::{Endpoint, Lease, Pool};
pub(super) use raw::{EndpointTls, Unconnected, connect_stream};
pub(super) use retry::send_with_retries;
pub(super) use send::{
    Answer, Attempt, Failure, MAX_ENDPOINTS, MAX_REFUSALS, Message, Sent, http2_error, send,
};
pub(super) use slots::AllSlots;
pub(super) use tls::{UpstreamTls, UpstreamTlsClients};
