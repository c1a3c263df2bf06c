//! Bytes both ways between two connections, until either side ends.
//!
//! What is read is written on before more is read, so that whoever is slower sets the pace and nothing
//! piles up here. Who waits holds no buffer: those of a core read into the same one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::timers::poll_until;
use crate::observe::Ended;

/// Bytes that are read at once.
const BUFFER: usize = 32 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into());
}

/// Bytes that were passed on.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// To the endpoint.
    pub(super) received: Cell<u64>,
    /// To the client.
    pub(super) sent: Cell<u64>,
}

/// Who broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the client broke off")]
    Client(#[source] io::Error),
    #[error("the endpoint broke off")]
    Endpoint(#[source] io::Error),
    #[error("both were silent, or one took nothing, for too long")]
    Silence,
}

impl Broken {
    /// What is told of it.
    pub(super) fn ended(&self) -> Ended {
        match self {
            Self::Client(_) => Ended::ClientGone,
            Self::Endpoint(_) => Ended::UpstreamError,
            Self::Silence => Ended::Timeout,
        }
    }
}

/// Copies both ways until both have ended, and counts in `passed`. The end of one way is passed on, and
/// the other way goes on (L4-7). An error ends both, and so does silence both ways for `idle_timeout`, or a
/// side that takes nothing for as long, whatever it sends.
pub(super) async fn relay(
    client_read: impl AsyncRead + Unpin,
    client_write: impl AsyncWrite + Unpin,
    endpoint_read: impl AsyncRead + Unpin,
    endpoint_write: impl AsyncWrite + Unpin,
    idle_timeout: Duration,
    passed: &Passed,
) -> Result<(), Broken> {
    let moved = Notify::new();
    let (client, endpoint): (Blame, Blame) = (Broken::Client, Broken::Endpoint);
    let progress = |passed| Progress { passed, moved: &moved, stall: Stall::new(idle_timeout) };
    let (received, sent) = (progress(&passed.received), progress(&passed.sent));
    let from_client = (client_read, client);
    let from_endpoint = (endpoint_read, endpoint);
    let both = async {
        tokio::try_join!(
            OneWay::new(from_client, (endpoint_write, endpoint), received).copy(),
            OneWay::new(from_endpoint, (client_write, client), sent).copy(),
        )
    };
    let mut both = pin!(both);
    loop {
        tokio::select! {
            biased;
            copied = &mut both => return copied.map(|_| ()),
            waited = tokio::time::timeout(idle_timeout, moved.notified()) => {
                waited.map_err(|_| Broken::Silence)?;
            }
        }
    }
}

/// Puts the blame on a side.
type Blame = fn(io::Error) -> Broken;

/// One of the two ways.
struct OneWay<'a, R, W> {
    from: R,
    blame_from: Blame,
    to: W,
    blame_to: Blame,
    progress: Progress<'a>,
    /// What was read and not taken yet, from `taken` on.
    left: Vec<u8>,
    taken: usize,
    next: Next,
}

/// Who is told of what one way does.
struct Progress<'a> {
    passed: &'a Cell<u64>,
    moved: &'a Notify,
    stall: Stall,
}

/// For how long nothing has been taken of what is to be written.
struct Stall {
    limit: Duration,
    since: Option<Instant>,
    /// Set once something waits, and kept from one time to the next.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn new(limit: Duration) -> Self {
        Self { limit, since: None, sleep: None }
    }

    /// Ready when that is too long; it begins with the first poll.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let Some(until) = since.checked_add(self.limit) else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        poll_until(sleep, cx, until)
    }
}

impl Progress<'_> {
    /// Something was taken.
    fn note(&mut self) {
        self.stall.since = None;
        self.moved.notify_one();
    }
}

#[derive(Clone, Copy)]
enum Next {
    Read,
    Write,
    Flush,
    End,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> OneWay<'a, R, W> {
    fn new(
        (from, blame_from): (R, Blame),
        (to, blame_to): (W, Blame),
        progress: Progress<'a>,
    ) -> Self {
        let (left, taken, next) = (Vec::new(), 0, Next::Read);
        Self { from, blame_from, to, blame_to, progress, left, taken, next }
    }

    /// Copies until the end, which is passed on as the end of writing.
    async fn copy(mut self) -> Result<(), Broken> {
        poll_fn(|cx| match self.poll_copy(cx) {
            Poll::Pending if !matches!(self.next, Next::Read) => {
                self.progress.stall.poll(cx).map(|()| Err(Broken::Silence))
            }
            copied => copied,
        })
        .await
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            self.next = match self.next {
                Next::Read => ready!(READ.with_borrow_mut(|read| self.poll_read(cx, read)))?,
                Next::Write => {
                    while self.taken < self.left.len() {
                        let rest = &self.left[self.taken..];
                        let written = ready!(write(&mut self.to, cx, rest));
                        self.taken += self.count(written)?;
                        self.progress.note();
                    }
                    (self.left, self.taken) = (Vec::new(), 0);
                    Next::Flush
                }
                Next::Flush => {
                    let flushed = ready!(Pin::new(&mut self.to).poll_flush(cx));
                    flushed.map_err(self.blame_to)?;
                    self.progress.note();
                    Next::Read
                }
                Next::End => {
                    return Pin::new(&mut self.to).poll_shutdown(cx).map_err(self.blame_to);
                }
            };
        }
    }

    fn count(&self, written: io::Result<usize>) -> Result<usize, Broken> {
        let written = written.map_err(self.blame_to)?;
        let passed = self.progress.passed;
        passed.set(passed.get() + written as u64);
        Ok(written)
    }

    /// Reads, and writes on what is taken at once.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<Next, Broken>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = ready!(Pin::new(&mut self.from).poll_read(cx, &mut buffer));
        read.map_err(self.blame_from)?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(Next::End));
        }
        let mut taken = 0;
        while taken < read.len() {
            match write(&mut self.to, cx, &read[taken..]) {
                Poll::Ready(written) => taken += self.count(written)?,
                Poll::Pending => {
                    self.left = read[taken..].to_vec();
                    return Poll::Ready(Ok(Next::Write));
                }
            }
        }
        Poll::Ready(Ok(Next::Flush))
    }
}

fn write(
    to: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(Ok(written)),
    }
}
