//! A connection to an endpoint, and one exchange on it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use http::{Response, StatusCode};
use tokio::io::AsyncReadExt;

use super::body::Http1Body;
use super::head::{self, Framing, ResponseHead};
use super::outgoing::{Outgoing, SendError};
use super::upload::Upload;
use crate::Limits;
use crate::proxy::upstream::slots::Slot;
use crate::proxy::upstream::stream::{ReadHalf, WriteHalf};

/// Bytes that are read at once at first: room for the head of a usual response and a short body.
const READ: usize = 8 * 1024;

/// Bytes of the buffer that all connections of a thread read into where they have none of their own.
const FRESH_BYTES: usize = 16 * 1024;

thread_local! {
    /// Short responses are read, answered and forgotten before the next one is read. So they can all use
    /// the same few kilobytes, which the processor has at hand, instead of some of their own.
    static FRESH: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(FRESH_BYTES));
}

/// Informational responses that an endpoint may send before the one that counts.
pub(in crate::proxy::upstream) const MAX_INFORMATIONAL: usize = 32;

/// A connection on which no request is under way.
pub(in crate::proxy) struct Http1 {
    read: ReadHalf,
    /// Absent while a task of its own sends the rest of a request.
    write: Option<WriteHalf>,
    input: BytesMut,
    made: Instant,
    slot: Slot,
}

/// Why an endpoint gave no response.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy::upstream) enum Cause {
    #[error("the connection was closed before the response")]
    Closed,
    #[error("the connection was closed within the head of the response")]
    Incomplete,
    #[error("the head of the response is malformed or too large")]
    Malformed,
    #[error("too many informational responses")]
    Informational,
    #[error("the body of the request broke off")]
    Client,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<head::Malformed> for Cause {
    fn from(head::Malformed: head::Malformed) -> Self {
        Self::Malformed
    }
}

/// A request that got no response.
pub(in crate::proxy::upstream) struct Unanswered {
    pub(in crate::proxy::upstream) outgoing: Box<Outgoing>,
    /// Whether the connection ended before the first byte of a response.
    pub(in crate::proxy::upstream) silent: bool,
    pub(in crate::proxy::upstream) cause: Cause,
}

/// A connection that has left HTTP.
pub(in crate::proxy) struct Upgraded {
    pub(in crate::proxy) read: ReadHalf,
    pub(in crate::proxy) write: WriteHalf,
    /// What came behind the head already.
    pub(in crate::proxy) read_ahead: BytesMut,
    /// It goes on to count among the connections to the endpoint.
    pub(in crate::proxy) _slot: Slot,
}

impl Http1 {
    /// In a box, as it goes from hand to hand with each request.
    pub(in crate::proxy::upstream) fn new(
        (read, write): (ReadHalf, WriteHalf),
        slot: Slot,
    ) -> Box<Self> {
        let (input, made) = (BytesMut::new(), Instant::now());
        Box::new(Self { read, write: Some(write), input, made, slot })
    }

    /// When it was made.
    pub(in crate::proxy::upstream) fn made(&self) -> Instant {
        self.made
    }

    /// Whether it waits for a request: neither closed by the endpoint, nor has anything come that
    /// nobody asked for and that the next request would take for its answer.
    pub(in crate::proxy::upstream) fn is_usable(&self) -> bool {
        self.read.is_quiet() && self.input.is_empty() && self.write.is_some()
    }

    pub(super) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Takes the half back that a task has sent with.
    pub(super) fn take_back(&mut self, write: WriteHalf) {
        self.write = Some(write);
    }

    /// Reads once, at most `room` bytes or a few more; 0 at the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if self.input.is_empty() && room <= READ {
            return FRESH.with_borrow_mut(|fresh| {
                fresh.reserve(READ);
                let read = pin!(self.read.read_buf(fresh)).poll(cx);
                if !fresh.is_empty() {
                    self.input = fresh.split();
                }
                read
            });
        }
        if self.input.capacity() - self.input.len() < room.min(READ / 4) {
            self.input.reserve(room);
        }
        pin!(self.read.read_buf(&mut self.input)).poll(cx)
    }

    /// Leaves HTTP; `None` where the request is not all sent yet.
    pub(in crate::proxy) fn upgrade(self) -> Option<Upgraded> {
        let Self { read, write, input, slot, .. } = self;
        Some(Upgraded { read, write: write?, read_ahead: input, _slot: slot })
    }
}

/// Sends a request and reads the head of its response, both at once: an endpoint may answer before it
/// has all of the request, and need not read the rest then.
pub(in crate::proxy::upstream) async fn exchange(
    mut connection: Box<Http1>,
    mut outgoing: Box<Outgoing>,
    limits: &Limits,
) -> Result<Response<Http1Body>, Unanswered> {
    let mut sent = Sent::default();
    let mut reading = HeadReader::default();
    let head = poll_fn(|cx| {
        loop {
            sent.poll(cx, &mut connection, &mut outgoing)?;
            let read = reading.poll(cx, &mut connection, &mut outgoing, limits);
            // The body that the endpoint has just asked for is sent at once.
            if read.is_ready() || !std::mem::take(&mut reading.wants_body) {
                return read;
            }
        }
    })
    .await;
    let head = match head {
        Ok(head) => head,
        Err(cause) => {
            let silent = !reading.begun && connection.input.is_empty();
            let cause = sent.instead_of(cause);
            return Err(Unanswered { outgoing, silent, cause });
        }
    };
    // An endpoint that took only a part of the request is asked nothing more on this connection.
    let held_back = outgoing.is_held_back();
    let keep_alive = head.keep_alive && sent.failed.is_none() && !held_back;
    let write = (!sent.all && sent.failed.is_none() && !held_back)
        .then(|| connection.write.take())
        .flatten();
    let upload = write.map(|write| Upload::start(outgoing, write));
    let body = Http1Body::new(connection, head.framing, keep_alive, upload, head.present);
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// How far the sending of a request is.
#[derive(Default)]
struct Sent {
    all: bool,
    /// The endpoint takes no more. It may have said why before, so that is no reason to stop reading.
    failed: Option<io::Error>,
}

impl Sent {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Http1,
        outgoing: &mut Outgoing,
    ) -> Result<(), Cause> {
        if self.all || self.failed.is_some() {
            return Ok(());
        }
        let Some(write) = &mut connection.write else { return Ok(()) };
        match outgoing.poll_send(cx, write) {
            Poll::Ready(Ok(())) => self.all = true,
            Poll::Ready(Err(SendError::Io(error))) => self.failed = Some(error),
            Poll::Ready(Err(SendError::Client)) => return Err(Cause::Client),
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Where sending failed first, that is what happened.
    fn instead_of(self, cause: Cause) -> Cause {
        match (self.failed, cause) {
            (Some(error), Cause::Closed) => Cause::Io(error),
            (_, cause) => cause,
        }
    }
}

/// Reads until a head that counts.
#[derive(Default)]
struct HeadReader {
    informational: usize,
    /// Whether any head has come.
    begun: bool,
    /// Whether the last one asks for a body that is held back.
    wants_body: bool,
    /// Whether one of those that do not count ends the connection.
    ends: bool,
    /// How far the next one was searched for its end.
    searched: head::Searched,
}

impl HeadReader {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Http1,
        outgoing: &mut Outgoing,
        limits: &Limits,
    ) -> Poll<Result<ResponseHead, Cause>> {
        loop {
            while !connection.input.is_empty() {
                let head = head::take(&mut connection.input, &mut self.searched, limits)?;
                let Some(head) = head else { break };
                let spare = outgoing.take_spare();
                let head = head::response(&head, spare, outgoing.method(), limits)?;
                self.begun = true;
                let counts = !head.status.is_informational()
                    || head.status == StatusCode::SWITCHING_PROTOCOLS;
                if counts {
                    let keep_alive = head.keep_alive && !self.ends;
                    return Poll::Ready(Ok(ResponseHead { keep_alive, ..head }));
                }
                self.ends |= !head.keep_alive;
                self.wants_body |= head.status == StatusCode::CONTINUE && outgoing.go_on();
                self.informational += 1;
                if self.informational > MAX_INFORMATIONAL {
                    return Poll::Ready(Err(Cause::Informational));
                }
            }
            if ready!(connection.poll_read(cx, READ))? == 0 {
                let begun = self.begun || !connection.input.is_empty();
                return Poll::Ready(Err(if begun { Cause::Incomplete } else { Cause::Closed }));
            }
        }
    }
}

impl Framing {
    /// Whether nothing is to come.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Length(0))
    }
}
