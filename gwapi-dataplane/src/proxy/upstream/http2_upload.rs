//! The body of a request on its way over HTTP/2.
//!
//! The library sends it on a task of its own, which goes on when the response is over. For as long as it does
//! the stream is one of those that the endpoint takes at once: a client that never ends its request would hold
//! it for ever. So its task ends with the response, and the stream is reset then.
//!
//! The task ends by itself when it has handed over the last piece, and the library keeps what the endpoint has
//! no room for. Where that may be, the end of the body, and trailers, wait until it is taken.
//!
//! What the library drops of a stream that is reset takes nothing of the endpoint's window, and is told.

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Bytes;
use tokio::task::AbortHandle;

use super::pool::OpenStream;
use crate::proxy::body::{BodyError, RequestBody};
use crate::proxy::client_windows::ClientWindows;
use crate::proxy::stall::Untaken;

/// Runs the tasks of one connection over HTTP/2 on the worker that it was made on, and tells bodies which one
/// is theirs.
#[derive(Clone)]
pub(super) struct Uploads(Rc<Connection>);

struct Connection {
    /// The stream whose body was asked for its first piece.
    begun: Cell<Option<Rc<OpenStream>>>,
    /// What the endpoint has room for.
    windows: Rc<ClientWindows>,
    /// Bytes that were handed over and dropped since that was last looked at.
    dropped: Arc<AtomicU64>,
}

impl Uploads {
    pub(super) fn new(windows: Rc<ClientWindows>) -> Self {
        let begun = Cell::new(None);
        Self(Rc::new(Connection { begun, windows, dropped: Arc::default() }))
    }
}

impl Connection {
    /// What the endpoint has room for, less what was sent and what is to be.
    fn windows(&self) -> &ClientWindows {
        if self.dropped.load(Ordering::Relaxed) > 0 {
            self.windows.taken_back(self.dropped.swap(0, Ordering::Relaxed));
        }
        &self.windows
    }
}

/// A piece of a body, which tells what of it was not sent. The library wants it to be fit for any thread, and
/// keeps it on the one of its connection.
pub(super) struct Piece {
    data: Bytes,
    dropped: Arc<AtomicU64>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.data.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.data
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if !self.data.is_empty() {
            self.dropped.fetch_add(self.data.len() as u64, Ordering::Relaxed);
        }
    }
}

impl<F> hyper::rt::Executor<F> for Uploads
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        // The library asks a body for its first piece, and hands over the task that sends the rest right after.
        if let Some(stream) = self.0.begun.take() {
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
    /// Bytes that were handed over.
    bytes: u64,
    /// The last piece, where the endpoint may have had no room for it.
    untaken: Option<Untaken>,
    end: End,
}

/// How far the end of a body is.
enum End {
    /// There is more.
    Ahead,
    /// Nothing is left but these trailers, where there are some.
    Trailers(Option<HeaderMap>),
}

struct Hold {
    stream: Rc<OpenStream>,
    uploads: Uploads,
    is_begun: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // No task follows where the first piece was all.
        self.uploads.0.begun.take();
    }
}

impl UploadBody {
    pub(super) fn new(body: RequestBody, stream: Rc<OpenStream>, uploads: Uploads) -> Self {
        let hold = Hold { stream, uploads, is_begun: false };
        Self { body, hold, bytes: 0, untaken: None, end: End::Ahead }
    }

    /// The body of a request that was not sent.
    pub(super) fn into_unsent(self) -> RequestBody {
        self.body
    }

    /// Hands over a piece. Where it may be the last one, and the endpoint have no room for it, it is followed.
    fn hand_over(&mut self, data: Bytes) -> Piece {
        let connection = &self.hold.uploads.0;
        let (windows, length) = (connection.windows(), data.len());
        let may_be_last = self.body.size_hint().exact().is_none_or(|rest| rest == 0);
        let has_room = windows.have_room_for(length, self.bytes);
        windows.handed_over(length);
        self.bytes += length as u64;
        let dropped = Arc::clone(&connection.dropped);
        if !may_be_last || has_room {
            self.untaken = None;
            return Piece { data, dropped };
        }
        if self.body.is_end_stream() {
            self.end = End::Trailers(None);
        }
        let (data, untaken) = Untaken::follow(data);
        self.untaken = Some(untaken);
        Piece { data, dropped }
    }

    /// The end, once all before it is taken.
    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<HeaderMap>,
    ) -> Poll<Option<Result<Frame<Piece>, BodyError>>> {
        if let Some(untaken) = &mut self.untaken
            && untaken.poll_taken(cx).is_pending()
        {
            self.end = End::Trailers(trailers);
            return Poll::Pending;
        }
        self.untaken = None;
        self.end = End::Trailers(None);
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Body for UploadBody {
    type Data = Piece;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BodyError>>> {
        let this = &mut *self;
        let hold = &mut this.hold;
        if !std::mem::replace(&mut hold.is_begun, true) {
            hold.uploads.0.begun.set(Some(Rc::clone(&hold.stream)));
        }
        if let End::Trailers(trailers) = &mut this.end {
            let trailers = trailers.take();
            return this.poll_end(cx, trailers);
        }
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Poll::Ready(Some(Ok(Frame::data(this.hand_over(data))))),
                Err(frame) => this.poll_end(cx, frame.into_trailers().ok()),
            },
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => this.poll_end(cx, None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.end {
            End::Ahead => self.body.is_end_stream(),
            End::Trailers(trailers) => self.untaken.is_none() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
