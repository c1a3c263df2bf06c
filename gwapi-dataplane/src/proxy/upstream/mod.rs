//! Towards the endpoints: pools of connections, and one request on one of them.
//!
//! ```text
//!  CoreBackend::endpoint ─► Pool ─► Slots ─► idle or new connection ─► Response, Lease
//!          ▲                                      │
//!          └── another endpoint ◄── nothing was sent
//! ```

mod body;
mod connect;
mod http1;
mod http2_io;
mod pool;
mod send;
mod slots;

pub(super) use body::UpstreamBody;
pub(super) use connect::Place;
pub(super) use http1::{HeadWriter, Http1, Outgoing, Upgraded};
pub(super) use pool::{Endpoint, Lease, Pool};
pub(super) use send::{Answer, Attempt, Failure, Message, send};
pub(super) use slots::AllSlots;
