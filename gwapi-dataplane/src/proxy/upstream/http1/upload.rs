//! The rest of a request whose response has begun.
//!
//! Its sender may want to be done with it before it reads the response, and then nobody asks for the
//! response's body. So a task of its own sends what is left.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::outgoing::{Outgoing, SendError};
use crate::proxy::upstream::stream::WriteHalf;

/// A request that is being sent on; dropping it ends that.
pub(super) struct Upload(JoinHandle<Result<WriteHalf, SendError>>);

impl Upload {
    pub(super) fn start(mut outgoing: Box<Outgoing>, mut write: WriteHalf) -> Self {
        Self(tokio::task::spawn_local(async move {
            poll_fn(|cx| outgoing.poll_send(cx, &mut write)).await.map(|()| write)
        }))
    }

    /// The half of the connection that it was sent with, once all is sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<WriteHalf, SendError>> {
        // The task neither panics nor is ended by anybody else.
        Pin::new(&mut self.0).poll(cx).map(|sent| sent.unwrap_or(Err(SendError::Client)))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}
