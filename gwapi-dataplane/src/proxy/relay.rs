//! Bytes both ways between two connections, until either side ends.
//!
//! What is read is written on before more is read, so that whoever is slower sets the pace and nothing
//! piles up here. Who waits holds no buffer: those of a core read into the same one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Bytes that are read at once.
const BUFFER: usize = 32 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into());
}

/// Copies both ways until both have ended, and tells how many bytes went to the client. The end of one
/// way is passed on, and the other way goes on (L4-7). An error ends both, and so does silence both ways
/// for `idle_timeout`.
pub(super) async fn relay(
    client_read: impl AsyncRead + Unpin,
    client_write: impl AsyncWrite + Unpin,
    endpoint_read: impl AsyncRead + Unpin,
    endpoint_write: impl AsyncWrite + Unpin,
    idle_timeout: Duration,
) -> io::Result<u64> {
    let moved = Notify::new();
    let both = async {
        tokio::try_join!(
            OneWay::new(client_read, endpoint_write, &moved).copy(),
            OneWay::new(endpoint_read, client_write, &moved).copy(),
        )
    };
    let mut both = pin!(both);
    loop {
        tokio::select! {
            biased;
            copied = &mut both => return copied.map(|(_, sent)| sent),
            waited = tokio::time::timeout(idle_timeout, moved.notified()) => waited?,
        }
    }
}

/// One of the two ways.
struct OneWay<'a, R, W> {
    from: R,
    to: W,
    moved: &'a Notify,
    copied: u64,
    /// What was read and not taken yet, from `taken` on.
    left: Vec<u8>,
    taken: usize,
    next: Next,
}

#[derive(Clone, Copy)]
enum Next {
    Read,
    Write,
    Flush,
    End,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> OneWay<'a, R, W> {
    fn new(from: R, to: W, moved: &'a Notify) -> Self {
        Self { from, to, moved, copied: 0, left: Vec::new(), taken: 0, next: Next::Read }
    }

    /// Copies until the end, which is passed on as the end of writing.
    async fn copy(mut self) -> io::Result<u64> {
        poll_fn(|cx| self.poll_copy(cx)).await?;
        Ok(self.copied)
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.next = match self.next {
                Next::Read => ready!(READ.with_borrow_mut(|read| self.poll_read(cx, read)))?,
                Next::Write => {
                    while self.taken < self.left.len() {
                        let rest = &self.left[self.taken..];
                        self.taken += ready!(write(&mut self.to, cx, rest))?;
                        self.moved.notify_one();
                    }
                    (self.left, self.taken) = (Vec::new(), 0);
                    Next::Flush
                }
                Next::Flush => {
                    ready!(Pin::new(&mut self.to).poll_flush(cx))?;
                    self.moved.notify_one();
                    Next::Read
                }
                Next::End => return Pin::new(&mut self.to).poll_shutdown(cx),
            };
        }
    }

    /// Reads, and writes on what is taken at once.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Next>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.from).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(Next::End));
        }
        self.copied += read.len() as u64;
        let mut taken = 0;
        while taken < read.len() {
            match write(&mut self.to, cx, &read[taken..]) {
                Poll::Ready(written) => taken += written?,
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
