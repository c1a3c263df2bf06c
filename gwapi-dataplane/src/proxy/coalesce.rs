//! Fewer, larger writes for HTTP/2.
//!
//! h2 writes and flushes each frame of data by itself, though the frames of many streams are ready at
//! the same moment: a system call, and over TLS a record, for each. So what the connection writes
//! while it is polled is gathered, its flushes are passed over, and all of it goes out at once when
//! the poll is over.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered at most; with more of them, a write waits for those before it.
const GATHER: usize = 64 * 1024;

/// Buffers that a thread keeps for connections that have something to write.
const SPARE_BUFFERS: usize = 16;

thread_local! {
    /// Connections have no buffer of their own while they have nothing to write, which is nearly
    /// always.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A connection's IO, and the way to write out what was gathered. Both are on one thread.
pub(super) fn coalesce<I>(io: I) -> (Coalesced<I>, Flusher<I>) {
    let shared = Rc::new(RefCell::new(Gathered {
        io,
        buffer: Vec::new(),
        sent: 0,
        refused: false,
        failed: None,
    }));
    (Coalesced(Rc::clone(&shared)), Flusher(shared))
}

struct Gathered<I> {
    io: I,
    buffer: Vec<u8>,
    sent: usize,
    /// Whether there was no room for something, which HTTP/2 still has.
    refused: bool,
    /// Why nothing can be written any more. HTTP/2 learns it when it reads or writes next.
    failed: Option<io::ErrorKind>,
}

/// The IO as HTTP/2 sees it.
pub(super) struct Coalesced<I>(Rc<RefCell<Gathered<I>>>);

/// Writes out what was gathered.
pub(super) struct Flusher<I>(Rc<RefCell<Gathered<I>>>);

impl<I: AsyncWrite + Unpin> Gathered<I> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.buffer.len() {
            let rest = &self.buffer[self.sent..];
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        if !self.buffer.is_empty() {
            self.sent = 0;
            give_back(std::mem::take(&mut self.buffer));
        }
        // TLS has a buffer of its own.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_gather(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if self.buffer.len() + bytes.len() > GATHER && !self.buffer.is_empty() {
            self.refused = true;
            ready!(self.poll_send(cx))?;
        }
        self.refused = false;
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        let length = bytes.len().min(GATHER);
        self.buffer.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }
}

fn give_back(mut buffer: Vec<u8>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_BUFFERS {
            buffer.clear();
            spare.push(buffer);
        }
    });
}

impl<I: AsyncWrite + Unpin> Flusher<I> {
    /// Writes out what was gathered. Where there is no room for all of it, or where that fails, the
    /// task is woken to go on. Whether nothing of what HTTP/2 had to write is still to go out: all of it has,
    /// or none of it will.
    pub(super) fn flush(&self, cx: &mut Context<'_>) -> bool {
        let mut gathered = self.0.borrow_mut();
        if gathered.failed.is_some() {
            return true;
        }
        match gathered.poll_send(cx) {
            Poll::Ready(Ok(())) => !gathered.refused,
            Poll::Ready(Err(error)) => {
                gathered.failed = Some(error.kind());
                cx.waker().wake_by_ref();
                true
            }
            Poll::Pending => false,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Coalesced<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        match gathered.failed {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => Pin::new(&mut gathered.io).poll_read(cx, buffer),
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Coalesced<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_gather(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = self.0.borrow_mut();
        let mut length = 0;
        for slice in slices {
            match gathered.poll_gather(cx, slice) {
                Poll::Ready(Ok(taken)) => {
                    length += taken;
                    if taken < slice.len() {
                        break;
                    }
                }
                Poll::Pending if length == 0 => return Poll::Pending,
                Poll::Ready(Err(error)) if length == 0 => return Poll::Ready(Err(error)),
                // The next call tells.
                Poll::Pending | Poll::Ready(Err(_)) => break,
            }
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        ready!(gathered.poll_send(cx))?;
        Pin::new(&mut gathered.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_goes_out_at_once_and_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (mut io, flusher) = coalesce(ours);
        for piece in ["a", "bc", "def"] {
            io.write_all(piece.as_bytes()).await.expect("there is room");
            io.flush().await.expect("it is passed over");
        }
        let mut seen = [0; 16];
        let mut read = Box::pin(theirs.read(&mut seen));
        let pending = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await;
        assert!(pending, "nothing went out yet");
        drop(read);
        poll_fn(|cx| {
            flusher.flush(cx);
            Poll::Ready(())
        })
        .await;
        let length = theirs.read(&mut seen).await.expect("it is open");
        assert_eq!(&seen[..length], b"abcdef");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_bounds_what_is_gathered() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (mut io, flusher) = coalesce(ours);
        let mut taken = 0;
        let piece = vec![7; 10_000];
        poll_fn(|cx| {
            while let Poll::Ready(length) = Pin::new(&mut io).poll_write(cx, &piece) {
                taken += length.expect("it is open");
            }
            Poll::Ready(())
        })
        .await;
        assert!((GATHER - 10_000..=GATHER + 1024).contains(&taken), "{taken}");
        let mut seen = vec![0; taken];
        let mut read = Box::pin(theirs.read_exact(&mut seen));
        let read = poll_fn(|cx| {
            flusher.flush(cx);
            read.as_mut().poll(cx)
        });
        read.await.expect("all came");
    }
}
