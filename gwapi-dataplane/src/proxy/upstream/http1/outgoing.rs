//! A request on its way out: its head and body as bytes, and how much of them is sent.
//!
//! Bytes are kept until they are known not to be needed again. A connection that was kept open may
//! turn out to be closed, and then the same bytes go out on the next one, provided that the endpoint
//! cannot have seen the request, or that seeing it twice does no harm.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use hyper::body::{Body, Bytes};
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

use crate::proxy::body::{BodyFault, BodyProgress, RequestBody};

/// Bytes that are gathered before they are written. Pieces of a body that are longer are written from
/// where they are.
const GATHER: usize = 8 * 1024;

/// Bytes that nothing has memory for while a body is waited for.
const LONG: usize = 2 * GATHER;

/// Time that an endpoint has to say that it wants a body which its client holds back. Some never say it.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a request could not be sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// The connection does not take it.
    Io(io::Error),
    /// The client's part broke off.
    Client,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// There is none.
    Empty,
    /// So many bytes are to come.
    Length(u64),
    Chunked,
}

/// A request as HTTP/1.1 sends it.
pub(in crate::proxy) struct Outgoing {
    method: Method,
    /// An empty map: its memory is for the fields of the response.
    spare: HeaderMap,
    body: RequestBody,
    framing: Framing,
    /// Head, sizes of chunks, and pieces of the body that are short.
    gathered: Vec<u8>,
    gathered_sent: usize,
    /// A long piece of the body, which comes after what is gathered.
    piece: Bytes,
    /// Whether the line break after that piece is missing yet.
    chunk_open: bool,
    /// Whether all of the body is gathered.
    body_ended: bool,
    /// Whether anything went out on the connection that is in use.
    begun: bool,
    /// While the client holds the body back and the endpoint has not asked for it: until when that is
    /// waited for.
    held_back: Option<Pin<Box<Sleep>>>,
}

/// Writes the head of a request.
pub(in crate::proxy) struct HeadWriter(Vec<u8>);

impl HeadWriter {
    /// A head with this request line.
    pub(in crate::proxy) fn new(method: &Method, target: &PathAndQuery) -> Self {
        let mut head = Vec::with_capacity(1024);
        head.extend_from_slice(method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(target.as_str().as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\n");
        Self(head)
    }

    /// Adds a field.
    pub(in crate::proxy) fn field(&mut self, name: &str, value: &[u8]) {
        field(&mut self.0, name, value);
    }

    /// Adds fields that are written already, with their line breaks.
    pub(in crate::proxy) fn raw(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    /// Adds the fields of a map, but for those of one name.
    pub(in crate::proxy) fn fields(&mut self, fields: &HeaderMap, without: Option<&HeaderName>) {
        for (name, value) in fields {
            if without != Some(name) {
                self.field(name.as_str(), value.as_bytes());
            }
        }
    }
}

impl Outgoing {
    /// A request with this head. What `fields` do not say of the body's length is added to it.
    pub(in crate::proxy) fn new(
        HeadWriter(mut gathered): HeadWriter,
        method: Method,
        mut fields: HeaderMap,
        body: RequestBody,
    ) -> Self {
        let framing = match body.size_hint().exact() {
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        describe(&mut gathered, framing, &method, &fields);
        gathered.extend_from_slice(b"\r\n");
        fields.clear();
        Self {
            method,
            spare: fields,
            body,
            framing,
            gathered,
            gathered_sent: 0,
            piece: Bytes::new(),
            chunk_open: false,
            body_ended: framing == Framing::Empty,
            begun: false,
            held_back: None,
        }
    }

    /// The same request once more, for another attempt; of one that was not begun. None where its body
    /// is not kept.
    pub(in crate::proxy::upstream) fn again(&self) -> Option<Box<Self>> {
        let mut body = self.body.again()?;
        body.begin();
        let mut again = Box::new(Self {
            method: self.method.clone(),
            spare: HeaderMap::new(),
            body,
            framing: self.framing,
            gathered: self.gathered.clone(),
            gathered_sent: 0,
            piece: Bytes::new(),
            chunk_open: false,
            body_ended: self.framing == Framing::Empty,
            begun: false,
            held_back: None,
        });
        if self.held_back.is_some() {
            again.hold_back();
        }
        Some(again)
    }

    pub(in crate::proxy::upstream) fn keep_body(&mut self, most: usize) {
        self.body.keep(most);
    }

    /// Asks for the body only once the endpoint wants it (RFC 9110 10.1.1): the client learns with the
    /// first question for it that it is wanted.
    #[cold]
    pub(in crate::proxy) fn hold_back(&mut self) {
        self.held_back = Some(Box::pin(tokio::time::sleep(CONTINUE_TIMEOUT)));
    }

    /// The endpoint wants the body; whether it was held back.
    pub(super) fn go_on(&mut self) -> bool {
        self.held_back.take().is_some()
    }

    pub(super) fn is_held_back(&self) -> bool {
        self.held_back.is_some()
    }

    #[cold]
    fn poll_wanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(until) = &mut self.held_back {
            ready!(until.as_mut().poll(cx));
            self.held_back = None;
        }
        Poll::Ready(())
    }

    pub(in crate::proxy::upstream) fn progress(&self) -> &Rc<BodyProgress> {
        self.body.progress()
    }

    pub(in crate::proxy::upstream) fn method(&self) -> &Method {
        &self.method
    }

    /// A map for the fields of the response.
    pub(super) fn take_spare(&mut self) -> HeaderMap {
        std::mem::take(&mut self.spare)
    }

    /// Makes the request as good as new, for another connection. Not possible where an endpoint may
    /// have seen something of it that it must not see twice.
    pub(in crate::proxy::upstream) fn rewind(&mut self) -> bool {
        let safe = matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let broken = self.body.progress().fault().is_some();
        let again = !broken && (!self.begun || (safe && self.framing == Framing::Empty));
        if again {
            self.gathered_sent = 0;
            self.begun = false;
        }
        again
    }

    /// Sends what is left; ready when all is sent, the end of the body included.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), SendError>> {
        loop {
            let waits = match self.poll_gather(cx) {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => true,
            };
            if self.is_flushed() {
                // Inside TLS some of it may be encrypted and not sent yet.
                self.forget_sent();
                let flushed = Pin::new(&mut *io).poll_flush(cx).map_err(SendError::Io)?;
                if self.body_ended {
                    return flushed.map(Ok);
                }
                if waits {
                    return Poll::Pending;
                }
            } else {
                ready!(self.poll_write(cx, io)).map_err(SendError::Io)?;
            }
        }
    }

    /// Lets go of what is sent, all that is gathered, and not sent again. The exchange may go on for long.
    fn forget_sent(&mut self) {
        if self.framing != Framing::Empty && (self.body_ended || self.gathered.capacity() > LONG) {
            (self.gathered, self.gathered_sent) = (Vec::new(), 0);
        }
    }

    /// Whether all that is gathered is sent.
    fn is_flushed(&self) -> bool {
        self.gathered_sent == self.gathered.len() && self.piece.is_empty()
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        let gathered = &self.gathered[self.gathered_sent..];
        let written = if self.piece.is_empty() {
            ready!(Pin::new(io).poll_write(cx, gathered))?
        } else {
            let slices = [IoSlice::new(gathered), IoSlice::new(&self.piece)];
            ready!(Pin::new(io).poll_write_vectored(cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.begun = true;
        let of_gathered = written.min(gathered.len());
        self.gathered_sent += of_gathered;
        let of_piece = written - of_gathered;
        let _ = self.piece.split_to(of_piece);
        Poll::Ready(Ok(()))
    }

    /// Takes pieces of the body for as long as there is room for them; ready when there is no more
    /// room, or nothing more to come.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.held_back.is_some() {
            ready!(self.poll_wanted(cx));
        }
        while !self.body_ended && self.piece.is_empty() {
            if self.gathered.len() - self.gathered_sent >= GATHER {
                break;
            }
            // Whoever waits for the whole of a chunk is not to wait for the next one.
            self.close_chunk();
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => Some(frame),
                Some(Err(_)) => return Poll::Ready(Err(SendError::Client)),
                None => None,
            };
            if self.gathered_sent == self.gathered.len() || self.gathered_sent >= GATHER {
                // What was sent of a request with a body is never sent again.
                self.gathered.drain(..self.gathered_sent);
                self.gathered_sent = 0;
            }
            match frame.map(http_body::Frame::into_data) {
                Some(Ok(data)) => self.gather(data)?,
                Some(Err(frame)) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.end(&trailers)?;
                }
                None => self.end(&HeaderMap::new())?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn gather(&mut self, data: Bytes) -> Result<(), SendError> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            // hyper tells the length and what comes from one field, so this is a fault of ours; the
            // endpoint must not take what is too much for another request.
            Framing::Empty => return Err(self.fault()),
            Framing::Length(rest) => match rest.checked_sub(data.len() as u64) {
                Some(less) => *rest = less,
                None => return Err(self.fault()),
            },
            Framing::Chunked => {
                let _ = write!(self.gathered, "{:x}\r\n", data.len());
                self.chunk_open = true;
            }
        }
        if data.len() <= GATHER {
            self.gathered.extend_from_slice(&data);
        } else {
            self.piece = data;
        }
        self.body_ended = self.framing == Framing::Length(0);
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> Result<(), SendError> {
        match self.framing {
            Framing::Length(1..) => return Err(self.fault()),
            Framing::Empty | Framing::Length(0) => {}
            Framing::Chunked => {
                self.gathered.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    field(&mut self.gathered, name.as_str(), value.as_bytes());
                }
                self.gathered.extend_from_slice(b"\r\n");
            }
        }
        self.body_ended = true;
        Ok(())
    }

    /// Ends the chunk whose data were handed over last, if it has no end yet.
    fn close_chunk(&mut self) {
        if std::mem::take(&mut self.chunk_open) {
            self.gathered.extend_from_slice(b"\r\n");
        }
    }

    /// A body that is not as long as its fields say.
    fn fault(&self) -> SendError {
        self.body.progress().set_fault(BodyFault::Broken);
        SendError::Client
    }
}

/// Adds the field that tells how long the body is, where the request's own do not.
fn describe(head: &mut Vec<u8>, framing: Framing, method: &Method, headers: &HeaderMap) {
    match framing {
        // A method that is expected to have a body says that it has none (RFC 9110 8.6).
        Framing::Empty => {
            let usual = matches!(
                *method,
                Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS | Method::TRACE
            );
            if !usual && !headers.contains_key(CONTENT_LENGTH) {
                head.extend_from_slice(b"content-length: 0\r\n");
            }
        }
        Framing::Length(length) => {
            if !headers.contains_key(CONTENT_LENGTH) {
                let _ = write!(head, "content-length: {length}\r\n");
            }
        }
        Framing::Chunked => {
            if !headers.contains_key(TRANSFER_ENCODING) {
                head.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
        }
    }
}

fn field(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::time::Instant;

    use super::*;

    /// A request that is all sent.
    fn sent(method: Method, body: Bytes) -> Outgoing {
        let head = HeadWriter::new(&method, &PathAndQuery::from_static("/"));
        let body = RequestBody::whole(body, Instant::now());
        let mut outgoing = Outgoing::new(head, method, HeaderMap::new(), body);
        let cx = &mut Context::from_waker(Waker::noop());
        let sent = outgoing.poll_send(cx, &mut tokio::io::sink());
        assert!(matches!(sent, Poll::Ready(Ok(()))));
        outgoing
    }

    #[tokio::test]
    async fn what_is_sent_is_kept_only_where_it_may_be_sent_again() {
        let mut get = sent(Method::GET, Bytes::new());
        assert!(!get.gathered.is_empty() && get.rewind());
        let mut post = sent(Method::POST, Bytes::from_static(b"content"));
        assert!(post.gathered.capacity() == 0 && !post.rewind());
    }
}
