//! A connection to an endpoint over HTTP/2, as far as its frames tell, mostly by their heads. The library
//! leaves three things to whoever embeds it: informational responses without an end, to say that the endpoint
//! has changed how many streams it takes, and to say what its windows have room for.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::http1::MAX_INFORMATIONAL;
use super::pool::Live;
use super::stream::{ReadHalf, WriteHalf};
use crate::proxy::client_windows::{ClientWindows, WindowReader};
use crate::proxy::frame_joiner::JoinedFrames;

/// The head of a frame, and the first byte of what is in it.
const LOOKED_AT: usize = 10;
const HEAD_LENGTH: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
/// Flags of HEADERS after which the block does not begin with the first byte: padding and priority.
const SHIFTED: u8 = 0x08 | 0x20;

/// Streams with informational responses that are remembered. Those which a client takes back are not
/// told apart, so now and then all are forgotten.
const MAX_REMEMBERED: usize = 1024;

/// The socket, with an eye on what comes.
pub(super) struct EndpointIo {
    read: JoinedFrames<ReadHalf>,
    write: WriteHalf,
    scanner: Scanner,
    /// Told when the endpoint has said how many streams it takes.
    settings: Rc<Notify>,
    /// Whether it has.
    is_settled: Rc<Cell<bool>>,
    /// Behind the halves, so that they are closed when it is dropped. The library keeps all of this until the
    /// last stream has ended, whatever became of those who send.
    _live: Live,
}

impl EndpointIo {
    pub(super) fn new(
        (read, write): (ReadHalf, WriteHalf),
        settings: Rc<Notify>,
        is_settled: Rc<Cell<bool>>,
        live: Live,
    ) -> Self {
        let read = JoinedFrames::of_server(read);
        Self { read, write, scanner: Scanner::default(), settings, is_settled, _live: live }
    }

    /// What the windows of the endpoint have room for.
    pub(super) fn windows(&self) -> &Rc<ClientWindows> {
        self.scanner.windows.windows()
    }
}

impl AsyncRead for EndpointIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.read).poll_read(cx, buffer))?;
        let seen = this.scanner.scan(&buffer.filled()[before..]);
        if seen.flooded {
            let error = "too many informational responses";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        if seen.settings {
            this.is_settled.set(true);
            this.settings.notify_waiters();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EndpointIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

/// What was among some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    settings: bool,
    flooded: bool,
}

/// Where the bytes of frames begin and end.
#[derive(Debug, Default)]
struct Scanner {
    looked_at: [u8; LOOKED_AT],
    length: usize,
    /// What is left of the frame beyond that.
    payload_left: usize,
    /// Heads of responses that may be informational, by stream.
    informational: HashMap<u32, usize>,
    windows: WindowReader,
}

impl Scanner {
    fn scan(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while !bytes.is_empty() {
            let skipped = self.payload_left.min(bytes.len());
            self.payload_left -= skipped;
            self.windows.read(&bytes[..skipped]);
            bytes = &bytes[skipped..];
            let wanted = self.wanted().min(bytes.len());
            let (these, rest) = bytes.split_at(wanted);
            self.looked_at[self.length..][..wanted].copy_from_slice(these);
            self.length += wanted;
            bytes = rest;
            if self.wanted() == 0 {
                self.frame(&mut seen);
            }
        }
        seen
    }

    /// Bytes of the frame at hand that have to be looked at yet.
    fn wanted(&self) -> usize {
        if self.length < HEAD_LENGTH {
            return HEAD_LENGTH - self.length;
        }
        LOOKED_AT.min(HEAD_LENGTH + self.payload()) - self.length
    }

    fn payload(&self) -> usize {
        let [high, middle, low, ..] = self.looked_at;
        u32::from_be_bytes([0, high, middle, low]) as usize
    }

    fn frame(&mut self, seen: &mut Seen) {
        let [head @ .., first] = self.looked_at;
        let [_, _, _, kind, flags, a, b, c, d] = head;
        self.windows.begin(&head);
        self.windows.read(&[first][..self.payload().min(1)]);
        let stream = u32::from_be_bytes([a, b, c, d]);
        self.payload_left = (HEAD_LENGTH + self.payload()).saturating_sub(LOOKED_AT);
        self.length = 0;
        match kind {
            SETTINGS => seen.settings = true,
            DATA | HEADERS if flags & END_STREAM != 0 => self.ends(stream),
            RST_STREAM => self.ends(stream),
            // Statuses that have a place in the table of HPACK, and are mostly written by it, are
            // final.
            HEADERS if flags & SHIFTED == 0 && (0x88..=0x8e).contains(&first) => {}
            HEADERS => {
                if self.informational.len() >= MAX_REMEMBERED {
                    self.informational.clear();
                }
                let count = self.informational.entry(stream).or_default();
                *count += 1;
                // One more is the final head.
                seen.flooded |= *count > MAX_INFORMATIONAL + 1;
            }
            _ => {}
        }
    }

    fn ends(&mut self, stream: u32) {
        if !self.informational.is_empty() {
            self.informational.remove(&stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::frames::frame;

    /// A literal `:status: 103`.
    const HINT: &[u8] = &[0x08, 3, b'1', b'0', b'3'];

    #[test]
    fn settings_are_seen_however_the_bytes_are_cut() {
        let bytes = [
            frame(DATA, 0, 1, &[SETTINGS; 40]),
            frame(DATA, 0, 1, &[]),
            frame(SETTINGS, 0, 0, &[0; 6]),
            frame(HEADERS, 4, 1, &[0x88]),
            frame(SETTINGS, 1, 0, &[]),
        ]
        .concat();
        for pieces in 1..=bytes.len() {
            let mut scanner = Scanner::default();
            let seen = bytes.chunks(pieces).filter(|piece| scanner.scan(piece).settings);
            assert!((1..=2).contains(&seen.count()), "in pieces of {pieces}");
            assert_eq!((scanner.length, scanner.payload_left), (0, 0), "in pieces of {pieces}");
        }
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(&frame(DATA, 0, 1, &[SETTINGS; 40])), Seen::default());
    }

    #[test]
    fn informational_heads_are_counted_by_stream() {
        let hint = |stream| frame(HEADERS, 4, stream, HINT);
        let mut scanner = Scanner::default();
        for _ in 0..=MAX_INFORMATIONAL {
            assert!(!scanner.scan(&[hint(1), hint(3)].concat()).flooded);
        }
        assert!(scanner.scan(&hint(1)).flooded);
        scanner.scan(&frame(DATA, END_STREAM, 3, b"x"));
        assert!(!scanner.scan(&hint(3)).flooded, "it is another stream's turn");
        let mut scanner = Scanner::default();
        for stream in 0..100_000 {
            let response = [frame(HEADERS, 4, stream, &[0x88]), frame(DATA, 0, stream, b"x")];
            assert!(!scanner.scan(&response.concat()).flooded);
        }
        assert!(scanner.informational.is_empty());
    }
}
