//! The body of a request on its way over HTTP/2.
//!
//! The library sends it on a task of its own, which goes on when the response is over. For as long as it does
//! the stream is one of those that the endpoint takes at once: a client that never ends its request would hold
//! it for ever. So its task ends with the response, and the stream is reset then.

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Bytes;
use tokio::task::AbortHandle;

use super::pool::OpenStream;
use crate::proxy::body::{BodyError, RequestBody};

/// Runs the tasks of one connection over HTTP/2 on the worker that it was made on, and tells bodies which one
/// is theirs.
#[derive(Clone, Default)]
pub(super) struct Uploads(Rc<Cell<Option<Rc<OpenStream>>>>);

impl<F> hyper::rt::Executor<F> for Uploads
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        // The library asks a body for its first piece, and hands over the task that sends the rest right after.
        if let Some(stream) = self.0.take() {
            stream.upload.runs_in(task.abort_handle());
        }
    }
}

/// Sends the rest of a request, for as long as somebody wants its response.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// None where all is sent at once.
    task: OnceCell<AbortHandle>,
    is_over: Cell<bool>,
}

impl Upload {
    fn runs_in(&self, task: AbortHandle) {
        if self.is_over.get() {
            task.abort();
        } else {
            let _ = self.task.set(task);
        }
    }

    /// Nobody wants the response any more: what has not been sent is not, and the stream is reset.
    pub(super) fn end(&self) {
        self.is_over.set(true);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The body of a request, which holds its stream until it is sent or given up.
pub(super) struct UploadBody {
    body: RequestBody,
    hold: Hold,
}

struct Hold {
    stream: Rc<OpenStream>,
    uploads: Uploads,
    is_begun: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // No task follows where the first piece was all.
        self.uploads.0.take();
    }
}

impl UploadBody {
    pub(super) fn new(body: RequestBody, stream: Rc<OpenStream>, uploads: Uploads) -> Self {
        Self { body, hold: Hold { stream, uploads, is_begun: false } }
    }

    /// The body of a request that was not sent.
    pub(super) fn into_unsent(self) -> RequestBody {
        self.body
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, hold } = &mut *self;
        if !std::mem::replace(&mut hold.is_begun, true) {
            hold.uploads.0.set(Some(Rc::clone(&hold.stream)));
        }
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
