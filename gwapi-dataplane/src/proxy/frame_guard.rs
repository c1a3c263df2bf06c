//! The byte stream of an HTTP/2 connection, guarded: who floods is asked to calm down, heads come in
//! turns, a header block that was begun has to end in time, and windows close when nothing relies on them.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::client_windows::ClientWindows;
use super::frames::{Breach, FrameScanner, HEADS_PER_TURN, Refusals, Scan};
use super::held_heads::HeldHeads;
use super::trailer_fields::TrailerLimit;
use crate::Limits;

/// Time for a client that is sent away to read why.
const LINGER: Duration = Duration::from_millis(500);

/// Malformed requests that the proxy may have reset, as many as the library allows of those that it resets.
const MOST_MALFORMED: u32 = 1024;

/// How many heads of requests may still be unpacked before other tasks get their turn. The task of
/// a connection renews it each time that it runs.
///
/// The HTTP/2 library unpacks all that a socket holds before the first request is handled. A
/// request of 500 bytes may grow to 50 KiB then, and be refused for it: in turns, those of one turn
/// are there at a time and not those of all streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Rc<Cell<u32>>);

impl Turn {
    pub(super) fn renew(&self) {
        self.0.set(HEADS_PER_TURN);
    }
}

/// Streams of a connection that the proxy has reset instead of an answer. The HTTP/2 library counts those that
/// it resets itself, and does not count these.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnResets(Rc<ResetCounts>);

#[derive(Debug, Default)]
struct ResetCounts {
    malformed: Cell<u32>,
    /// Since they were last judged.
    refused: Cell<u32>,
    /// Told when those are many.
    crowded: Notify,
}

impl OwnResets {
    /// One more whose request was malformed.
    pub(super) fn note_malformed(&self) {
        self.0.malformed.set(self.0.malformed.get().saturating_add(1));
    }

    /// One more whose request there was no room for.
    pub(super) fn note_refused(&self) {
        self.0.refused.set(self.0.refused.get().saturating_add(1));
    }

    /// Waits until so many requests were refused for want of room that another connection serves the client
    /// better.
    pub(super) async fn are_many_refused(&self) {
        self.0.crowded.notified().await;
    }
}

/// A connection's bytes, clear-text or from within TLS.
#[derive(Debug)]
pub(super) struct FrameGuard<I> {
    io: I,
    scanner: FrameScanner,
    turn: Turn,
    own_resets: OwnResets,
    held_heads: HeldHeads,
    /// What was read and waits for the next turn.
    held: Vec<u8>,
    /// Whether it waits for what relies on the windows that it closes. All of that has room in them, so who
    /// takes none of it has a full socket, and is judged for that.
    relied: bool,
    head_timeout: Duration,
    /// The header block that is open, and when it has to be over.
    block: Option<(u64, Pin<Box<Sleep>>)>,
    /// What the library is told instead of what comes, once a client has gone too far, and how much
    /// of it was given.
    verdict: Option<(&'static [u8], usize)>,
    /// Until when what still comes is read and dropped, once nothing more is written.
    linger: Option<Pin<Box<Sleep>>>,
}

impl<I> FrameGuard<I> {
    /// A header block that does not end within [`Limits::head_timeout`] ends the connection.
    pub(super) fn new(
        io: I,
        turn: Turn,
        own_resets: OwnResets,
        held_heads: HeldHeads,
        limits: &Limits,
    ) -> Self {
        let scanner = FrameScanner::new(TrailerLimit::of_requests(limits), Instant::now());
        Self {
            io,
            scanner,
            turn,
            own_resets,
            held_heads,
            held: Vec::new(),
            relied: false,
            head_timeout: limits.head_timeout,
            block: None,
            verdict: None,
            linger: None,
        }
    }

    /// What the windows of the client have room for.
    pub(super) fn client_windows(&self) -> &Rc<ClientWindows> {
        self.scanner.client_windows()
    }

    /// Looks at what was filled in from `start` on, and takes back what must not pass now.
    fn scan(&mut self, buffer: &mut ReadBuf<'_>, start: usize) {
        let mut heads = self.turn.0.get();
        let scan = self.scanner.scan(&buffer.filled()[start..], &mut heads, Instant::now);
        self.turn.0.set(heads);
        match scan {
            Scan::All => {}
            Scan::Hold(at) => self.hold(buffer, start + at),
            Scan::Rely(at) => {
                self.hold(buffer, start + at);
                self.relied = true;
            }
            Scan::Stop(at, breach) => {
                buffer.set_filled(start + at);
                self.stop(breach);
            }
        }
    }

    /// Lets nothing more of the client pass.
    fn stop(&mut self, breach: Breach) {
        tracing::debug!(?breach, "a client goes too far");
        self.held = Vec::new();
        // The library has trailers that go too far, and may have cut them.
        self.held_heads.close();
        self.verdict = Some((verdict(breach), 0));
    }

    /// Stops a client whose malformed requests were reset too often, once it is between two frames. One that
    /// asks for more than there is room for is not to blame: its connection ends gently, unless it goes on then.
    fn judge_own_resets(&mut self) {
        if self.verdict.is_some() {
            return;
        }
        let ResetCounts { malformed, refused, crowded } = &*self.own_resets.0;
        // Who has many requests may have some of them refused, and sends them again.
        let refused = refused.take();
        let refusals = match refused {
            0 => Refusals::Few,
            _ => self.scanner.refused(refused, Instant::now()),
        };
        let breach = match refusals {
            _ if malformed.get() > MOST_MALFORMED => Breach::Malformed,
            Refusals::Lasting => Breach::Resets,
            Refusals::Many => return crowded.notify_one(),
            Refusals::Few => return,
        };
        if self.scanner.stops(breach) {
            self.stop(breach);
        }
    }

    /// Keeps what was filled in from `at` on.
    fn hold(&mut self, buffer: &mut ReadBuf<'_>, at: usize) {
        self.held.splice(..0, buffer.filled()[at..].iter().copied());
        buffer.set_filled(at);
    }

    /// Ready once a header block has been open for too long.
    fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(open) = self.scanner.open_block() else {
            self.block = None;
            return Poll::Pending;
        };
        let limit = self.head_timeout;
        let (_, sleep) = match self.block.take_if(|(block, _)| *block == open) {
            Some(same) => self.block.insert(same),
            None => self.block.insert((open, Box::pin(tokio::time::sleep(limit)))),
        };
        sleep.as_mut().poll(cx)
    }
}

/// What a client that goes too far is taken to have said. The HTTP/2 library has no call to end a
/// connection with an error; it does so when it reads what must not be.
fn verdict(breach: Breach) -> &'static [u8] {
    match breach {
        Breach::Control | Breach::Resets | Breach::Malformed | Breach::Trailers => calm_down(),
        // DATA of 16 MiB, which is FRAME_SIZE_ERROR.
        Breach::FrameSize => &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
        // PING of a stream, which is PROTOCOL_ERROR.
        Breach::PushPromise | Breach::Dependency => {
            &[0, 0, 8, 6, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

/// A request whose fields are far beyond any limit, which is ENHANCE_YOUR_CALM.
fn calm_down() -> &'static [u8] {
    const LENGTH: usize = 16_384;
    static BYTES: [u8; 9 + LENGTH] = {
        // `accept-encoding: gzip, deflate`, the longest field that fits a byte.
        let mut frame = [0x90; 9 + LENGTH];
        // HEADERS that end headers and stream, on the last stream that there can be.
        let head = [0, 0x40, 0, 1, 5, 0x7f, 0xff, 0xff, 0xff];
        let mut at = 0;
        while at < head.len() {
            frame[at] = head[at];
            at += 1;
        }
        frame
    };
    &BYTES
}

impl<I: AsyncRead + Unpin> AsyncRead for FrameGuard<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.judge_own_resets();
        if let Some((bytes, given)) = &mut this.verdict {
            let rest = &bytes[*given..];
            if rest.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let length = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..length]);
            *given += length;
            return Poll::Ready(Ok(()));
        }
        if this.relied {
            if !this.scanner.client_windows().are_settled() {
                return Poll::Pending;
            }
            this.relied = false;
        }
        let start = buffer.filled().len();
        if this.held.is_empty() {
            match Pin::new(&mut this.io).poll_read(cx, buffer) {
                Poll::Ready(read) => read?,
                Poll::Pending if this.poll_block(cx).is_ready() => {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending => return Poll::Pending,
            }
        } else if this.turn.0.get() == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        } else {
            let length = buffer.remaining().min(this.held.len());
            buffer.put_slice(&this.held[..length]);
            this.held.drain(..length);
        }
        this.scan(buffer, start);
        if buffer.filled().len() == start && !this.held.is_empty() {
            // All of it has to wait: nothing read would mean the end.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I> FrameGuard<I> {
    fn wrote(&mut self, write: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = write {
            self.scanner.wrote(length);
        }
        write
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FrameGuard<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.wrote(write)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Ends writing, then reads what comes for a moment: a socket that is closed with bytes unread
    /// resets the connection, and a GOAWAY that is on its way may be lost.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if linger.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; 16 * 1024];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut this.io).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                // Others get their turn, whatever it sends.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(Ok(())),
        }
    }
}
