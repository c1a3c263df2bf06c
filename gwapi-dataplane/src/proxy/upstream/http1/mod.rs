//! HTTP/1.1 towards endpoints: one request at a time on a connection, without a task of its own.
//!
//! ```text
//!  Outgoing ─► exchange ─► Response<Http1Body> ─► the connection, for the next request
//!                │                    └─► Upgraded, after a 101
//!                └─► Unanswered: the request comes back, perhaps for another connection
//! ```
//!
//! The future of the request drives its connection: it sends and reads at the same time, and the body
//! of the response goes on with both. Dropping either closes the connection.

mod body;
mod chunked;
mod connection;
mod head;
mod outgoing;
mod upload;

use bytes::{Bytes, BytesMut};

pub(in crate::proxy) use body::Http1Body;
pub(super) use connection::{Cause, MAX_INFORMATIONAL, Unanswered, exchange};
pub(in crate::proxy) use connection::{Http1, Upgraded};
pub(super) use head::{length, never_has_a_body};
pub(in crate::proxy) use outgoing::{HeadWriter, Outgoing};

/// Takes so many bytes off the front. Where those are all, nothing is left that would hold on to the
/// memory which others share.
fn take_front(input: &mut BytesMut, length: usize) -> Bytes {
    if length == input.len() {
        std::mem::take(input).freeze()
    } else {
        input.split_to(length).freeze()
    }
}
