//! Towards the endpoints: pools of connections, and one request on one of them.
//!
//! ```text
//!  CoreBackend::endpoint ─► Pool ─► idle or new connection ─► Exchange ─► Response, Lease
//!          ▲                                 │
//!          └── another endpoint ◄── nothing was sent
//! ```

mod connect;
mod exchange;
mod pool;
mod send;

pub(super) use connect::Place;
pub(super) use pool::{Endpoint, Lease, Pool};
pub(super) use send::{Answer, Attempt, Failure, send};
