//! How a Gateway's configuration gets to another process: encoding, protocol, and both ends of it.
//!
//! ```text
//!  TranslationDelta ─► Served ─► Server ── DeltaDiscoveryResponse ──► Client ─► ConfigDelta
//!                                  ▲                                    │
//!                                  └────── DeltaDiscoveryRequest ───────┘   (Feedback)
//! ```
//!
//! The protocol is delta xDS (`DeltaAggregatedResources`) with one type of resource of our own, an
//! IR resource as JSON. Everything here is a state machine over messages: no socket, no clock, no
//! runtime. Whoever carries the messages may lose them with their stream, and begins a new one with
//! [`Client::connect`] and [`Server::default`].
//!
//! * **Versions are hashes of contents**, so that every replica of the server that runs the same
//!   release says the same one, and a client that reconnects is sent only what differs.
//! * **A snapshot ends each batch.** Delta xDS has no boundaries, so the resource [`SNAPSHOT`] says:
//!   with this, you have the state as a whole. It names how many resources there are, a hash over all
//!   of them, and how far the server's sources were. The client hands out nothing before it, and one
//!   batch is answered before the next begins.
//! * **No step back.** A replica that has not seen yet what the client's configuration was made from
//!   is not followed ([`ResourceVersions`]).
//! * **One bad resource is its own problem.** What cannot be read is rejected by name, the rest is
//!   taken in, and the last version that was good stays.
//!
//! # Between releases
//!
//! A controller serves proxies of the release before and after its own. Unknown fields are ignored
//! and an unknown variant rejects its resource, so: a new field must have a default and may be left
//! out by whoever does not know it; whatever must not be passed over (a filter, a way to match) is a
//! new variant. `tests/wire/` holds the encodings of releases, which must stay readable.

mod client;
mod encoding;
mod file;
mod message;
mod server;
mod snapshot;
mod verdict;

pub use client::{Batch, Client, ClientError, Step};
pub use encoding::{decode, encode, key_of, name_of};
pub use file::RestoreError;
pub use message::{
    Any, ControlPlane, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource, RpcStatus,
};
pub use server::{Received, Served, Server, ServerError};
pub use snapshot::{Progress, ResourceVersions, Root, SnapshotMark};
pub use verdict::{Refusal, Rejection, Verdict};

/// The type of every resource of the protocol.
pub const TYPE_URL: &str = "type.gwapi.dev/gwapi.v1.Resource";

/// The type of what a NACK carries, see [`Verdict`].
pub const VERDICT_TYPE_URL: &str = "type.gwapi.dev/gwapi.v1.Verdict";

/// Name of the resource that ends a batch, see [`SnapshotMark`].
pub const SNAPSHOT: &str = "Snapshot";

/// Path of the one method of the service.
pub const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Name of the service.
pub const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// Bytes of a response. A resource that is larger by itself comes alone.
pub const MAX_RESPONSE: usize = 1024 * 1024;
