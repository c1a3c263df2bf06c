//! Responses that nobody reads.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::body::{Body, Bytes};

use super::body::UpstreamBody;
use super::pool::Lease;
use crate::proxy::worker::Worker;

/// Bytes that are read for nobody: to read on would cost more than another connection.
const MOST: usize = 1024 * 1024;

/// Reads a response to its end, so that its connection can take another request; not for longer than a
/// response may stand still, and not much of it.
pub(in crate::proxy) fn discard(mut body: UpstreamBody, lease: Lease, worker: &Rc<Worker>) {
    let longest = worker.limits.response_idle_timeout;
    tokio::task::spawn_local(async move {
        if tokio::time::timeout(longest, read_up(&mut body)).await == Ok(true) {
            lease.give_back(body.take_reusable());
        }
    });
}

/// Whether all of a body was read.
async fn read_up(body: &mut UpstreamBody) -> bool {
    let mut left = MOST;
    poll_fn(|cx| {
        while !body.is_end_stream() {
            let Some(frame) = std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) else { break };
            let length = frame.map(|frame| frame.data_ref().map_or(0, Bytes::len));
            match length.ok().and_then(|length| left.checked_sub(length)) {
                Some(less) => left = less,
                None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    })
    .await
}
