//! The socket of a client: what was read ahead comes first, writes neither stall nor drip for ever,
//! and a response that broke off does not look whole.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::congestion::Congestion;
use super::head_timer::Arrival;
use super::pace::Pace;
use crate::Limits;

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes read ahead to tell the protocol: enough for the head of a usual request.
const READ_AHEAD: usize = 2048;

/// Bytes that are read at once to be dropped.
const DROPPED: usize = 16 * 1024;

/// Bytes that are copied into one piece to be written.
const SHORT: usize = 4096;

thread_local! {
    static TOGETHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Time for a client to take the last answer and close, while it may be sending what nobody reads.
const LINGER: Duration = Duration::from_secs(10);

/// A client's socket.
#[derive(Debug)]
pub(super) struct ClientIo {
    socket: TcpStream,
    read_ahead: Vec<u8>,
    arrival: Arrival,
    congestion: Congestion,
    open_end: OpenEnd,
    unread: Unread,
    /// Until when what still comes is read and dropped, once nothing more is written.
    linger: Option<Pin<Box<Sleep>>>,
    is_shut: bool,
    /// None where a write may wait for ever.
    stall_timeout: Option<Duration>,
    pace: Pace,
    stalled: Option<Stall>,
    /// Whether a client that takes too little is given up.
    is_given_up: bool,
}

/// Whether a response is under way to an HTTP/1.0 client, which may take the end of the connection for
/// that of the body.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenEnd(Arc<AtomicBool>);

impl OpenEnd {
    /// Such a response begins.
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// There is none, or it is whole.
    pub(super) fn close(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Whether the client may send more than anybody reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<UnreadState>);

#[derive(Debug, Default)]
struct UnreadState {
    expected: AtomicBool,
    looked_for: AtomicBool,
    head_awaited: AtomicBool,
}

impl Unread {
    /// It may.
    pub(super) fn expect(&self) {
        self.0.expected.store(true, Ordering::Relaxed);
    }

    /// It does where something waits to be read at the end.
    pub(super) fn look_for(&self) {
        self.0.looked_for.store(true, Ordering::Relaxed);
    }

    /// The head of a request is waited for, and what ends the connection while it comes refuses it.
    pub(super) fn await_head(&self) {
        self.0.head_awaited.store(true, Ordering::Relaxed);
    }

    /// The head is whole, and has become a request.
    pub(super) fn take_head(&self) {
        self.0.head_awaited.store(false, Ordering::Relaxed);
    }

    /// Whether a head is waited for, over HTTP/1.
    pub(super) fn is_head_awaited(&self) -> bool {
        self.0.head_awaited.load(Ordering::Relaxed)
    }

    /// It is HTTP no more: whatever comes is read.
    pub(super) fn forget(&self) {
        self.0.expected.store(false, Ordering::Relaxed);
        self.0.looked_for.store(false, Ordering::Relaxed);
    }

    /// Whether it may.
    pub(super) fn is_expected(&self) -> bool {
        self.0.expected.load(Ordering::Relaxed)
    }

    fn is_possible(&self) -> bool {
        self.is_expected() || self.0.looked_for.load(Ordering::Relaxed)
    }
}

/// A write that cannot go on.
#[derive(Debug)]
struct Stall {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl ClientIo {
    pub(super) fn new(socket: TcpStream, limits: &Limits) -> Self {
        Self {
            socket,
            read_ahead: Vec::new(),
            arrival: Arrival::default(),
            congestion: Congestion::default(),
            open_end: OpenEnd::default(),
            unread: Unread::default(),
            linger: None,
            is_shut: false,
            stall_timeout: Some(limits.write_stall_timeout),
            pace: Pace::new(limits, limits.write_stall_timeout),
            stalled: None,
            is_given_up: false,
        }
    }

    /// Where it is noted that bytes came.
    pub(super) fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    /// Where it is noted whether the client takes what is written.
    pub(super) fn congestion(&self) -> &Congestion {
        &self.congestion
    }

    /// Where it is noted whether an end now would be taken for that of a response.
    pub(super) fn open_end(&self) -> &OpenEnd {
        &self.open_end
    }

    /// Where it is noted whether the client may send what nobody reads.
    pub(super) fn unread(&self) -> &Unread {
        &self.unread
    }

    /// Waits for the first bytes and tells whether they begin HTTP/2. Nothing is consumed.
    pub(super) async fn starts_http2(&mut self) -> io::Result<bool> {
        loop {
            if poll_fn(|cx| self.poll_read_ahead(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let known = self.read_ahead.len().min(HTTP2_PREFACE.len());
            let http2 = self.read_ahead[..known] == HTTP2_PREFACE[..known];
            if !http2 || known == HTTP2_PREFACE.len() {
                return Ok(http2);
            }
        }
    }

    /// Reads ahead once more, and gives what that added: nothing at the end. Nothing is consumed.
    pub(super) async fn read_ahead(&mut self) -> io::Result<&[u8]> {
        let added = poll_fn(|cx| self.poll_read_ahead(cx)).await?;
        Ok(&self.read_ahead[self.read_ahead.len() - added..])
    }

    /// From now on the client may take what it is sent as slowly as it likes: whoever carries its bytes
    /// judges silence.
    pub(super) fn take_any_pace(&mut self) {
        self.stall_timeout = None;
        self.pace = Pace::any();
    }

    /// Reads ahead once. A connection that waits for it holds no memory for what may come.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = [const { MaybeUninit::uninit() }; READ_AHEAD];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        self.read_ahead.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Turns a write into an error once the client has read nothing, or too little, for too long.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        write: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = &write {
            self.congestion.ended(cx);
            let waited = self.stalled.take().map_or(Duration::ZERO, |stall| stall.since.elapsed());
            let written = written.as_ref().map_or(0, |written| *written);
            self.congestion.took(written as u64);
            if !self.pace.moved(written, waited) {
                self.is_given_up = true;
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            return write;
        }
        self.congestion.began();
        let Some(limit) = self.stall_timeout else { return Poll::Pending };
        let stalled = self.stalled.get_or_insert_with(|| {
            let since = Instant::now();
            Stall { since, end: Box::pin(tokio::time::sleep_until(since + limit)) }
        });
        if stalled.end.as_mut().poll(cx).is_ready() {
            // Nobody waits for it any more.
            self.congestion.ended(cx);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        let waits = self.stalled.is_some() || self.is_given_up;
        if waits || self.open_end.0.load(Ordering::Relaxed) {
            // To close resets the connection then. Where that cannot be had, it closes all the same.
            let _ = self.socket.set_zero_linger();
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_ahead.is_empty() {
            let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
            if read.is_ready() {
                self.arrival.note();
                self.congestion.heard();
            }
            return read;
        }
        self.arrival.note();
        let length = buffer.remaining().min(self.read_ahead.len());
        buffer.put_slice(&self.read_ahead[..length]);
        if length == self.read_ahead.len() {
            self.read_ahead = Vec::new();
        } else {
            self.read_ahead.drain(..length);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watch(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let write = if length <= SHORT {
            // To put a short answer together costs less than to let the kernel do it.
            TOGETHER.with_borrow_mut(|bytes| {
                bytes.clear();
                slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
                Pin::new(&mut self.socket).poll_write(cx, bytes)
            })
        } else {
            Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
        };
        self.watch(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Ends writing. A client that is still sending gets time to read what was written: a socket that is
    /// closed with bytes unread resets the connection, and the answer is lost (RFC 9112 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_shut {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            this.is_shut = true;
        }
        if !this.unread.is_possible() {
            return Poll::Ready(Ok(()));
        }
        if this.unread.is_head_awaited() && this.arrival.is_noted() {
            // What is refused before it is whole: the rest may be on its way.
            this.unread.expect();
        }
        let mut bytes = [const { MaybeUninit::uninit() }; DROPPED];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        match Pin::new(&mut this.socket).poll_read(cx, &mut buffer) {
            Poll::Pending if !this.unread.is_expected() => return Poll::Ready(Ok(())),
            Poll::Pending => {}
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                this.unread.expect();
                // Others get their turn, whatever it sends.
                cx.waker().wake_by_ref();
            }
            Poll::Ready(_) => return Poll::Ready(Ok(())),
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        linger.as_mut().poll(cx).map(Ok)
    }
}
