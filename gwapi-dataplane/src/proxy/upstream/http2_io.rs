//! A connection to an endpoint over HTTP/2, as far as its frames tell, mostly by their heads. The library
//! leaves three things to whoever embeds it: informational responses without an end, trailers that it would cut
//! and pass on as if they were whole, to say that the endpoint has changed how many streams it takes, and to say
//! what its windows have room for.

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
use super::trailer_gate::{TrailerGate, TrailerScanner};
use crate::Limits;
use crate::proxy::client_windows::{ClientWindows, WindowReader};
use crate::proxy::frame_joiner::JoinedFrames;
use crate::proxy::trailer_fields::TrailerLimit;

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
    gate: TrailerGate,
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
        limits: &Limits,
        live: Live,
    ) -> Self {
        let read = JoinedFrames::of_server(read);
        let scanner = Scanner::new(TrailerLimit::of_responses(limits));
        let gate = TrailerGate::default();
        Self { read, write, scanner, gate, settings, is_settled, _live: live }
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
        while !this.gate.give(buffer) {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.read).poll_read(cx, buffer))?;
            let read = &buffer.filled()[before..];
            let seen = this.scanner.scan(read);
            if let Some(error) = seen.fault() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
            if seen.settings {
                this.is_settled.set(true);
                this.settings.notify_waiters();
            }
            // Where nothing was read nothing comes any more.
            if read.is_empty() || this.gate.lets_pass(&this.scanner.trailers) {
                break;
            }
            this.gate.take(read, &mut this.scanner.trailers);
            buffer.set_filled(before);
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
    /// Whether nothing behind it can be unpacked.
    lost: bool,
}

impl Seen {
    /// Why the connection has to end.
    fn fault(self) -> Option<&'static str> {
        match self {
            Self { flooded: true, .. } => Some("too many informational responses"),
            Self { lost: true, .. } => Some("a stream that depends on itself"),
            _ => None,
        }
    }
}

/// Where the bytes of frames begin and end.
#[derive(Debug)]
struct Scanner {
    looked_at: [u8; LOOKED_AT],
    length: usize,
    /// What is left of the frame beyond that.
    payload_left: usize,
    /// Heads of responses that may be informational, by stream.
    informational: HashMap<u32, usize>,
    windows: WindowReader,
    trailers: TrailerScanner,
}

impl Scanner {
    fn new(trailers: TrailerLimit) -> Self {
        Self {
            looked_at: [0; LOOKED_AT],
            length: 0,
            payload_left: 0,
            informational: HashMap::new(),
            windows: WindowReader::default(),
            trailers: TrailerScanner::new(trailers),
        }
    }

    fn scan(&mut self, bytes: &[u8]) -> Seen {
        let (mut seen, mut at) = (Seen::default(), 0);
        while at < bytes.len() {
            let skipped = self.payload_left.min(bytes.len() - at);
            self.payload_left -= skipped;
            let payload = &bytes[at..at + skipped];
            self.windows.read(payload);
            at += skipped;
            self.trailers.read(payload, at, self.payload_left);
            seen.lost |= self.trailers.are_lost();
            let wanted = self.wanted().min(bytes.len() - at);
            self.looked_at[self.length..][..wanted].copy_from_slice(&bytes[at..at + wanted]);
            self.length += wanted;
            at += wanted;
            if self.wanted() == 0 {
                self.frame(at, &mut seen);
            }
        }
        self.trailers.pause(bytes.len(), &self.looked_at[..self.length]);
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

    /// A frame has begun, of which the bytes up to `at` were looked at.
    fn frame(&mut self, at: usize, seen: &mut Seen) {
        let [head @ .., first] = self.looked_at;
        let [_, _, _, kind, flags, a, b, c, d] = head;
        let payload = &[first][..self.payload().min(1)];
        self.windows.begin(&head);
        self.windows.read(payload);
        let stream = u32::from_be_bytes([a, b, c, d]);
        self.payload_left = (HEAD_LENGTH + self.payload()).saturating_sub(LOOKED_AT);
        self.length = 0;
        self.trailers.begin(&head, payload, at, self.payload_left);
        match kind {
            SETTINGS => seen.settings = true,
            DATA | HEADERS if flags & END_STREAM != 0 => self.ends(stream),
            RST_STREAM => self.ends(stream),
            HEADERS if begins_final_head(flags, first) => {}
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

/// Whether HEADERS with these flags and this first byte are the head of a final response: statuses that have a
/// place in the table of HPACK are mostly written by it, and are final.
fn begins_final_head(flags: u8, first: u8) -> bool {
    flags & SHIFTED == 0 && (0x88..=0x8e).contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::frames::{END_HEADERS, frame};

    const CONTINUATION: u8 = 9;

    fn usual() -> Scanner {
        Scanner::new(TrailerLimit::of_responses(&Limits::default()))
    }

    /// `transfer-encoding` without a value.
    const FORBIDDEN: &[u8] = &[0x0f, 0x2a, 0];

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
            let mut scanner = usual();
            let seen = bytes.chunks(pieces).filter(|piece| scanner.scan(piece).settings);
            assert!((1..=2).contains(&seen.count()), "in pieces of {pieces}");
            assert_eq!((scanner.length, scanner.payload_left), (0, 0), "in pieces of {pieces}");
        }
        let mut scanner = usual();
        assert_eq!(scanner.scan(&frame(DATA, 0, 1, &[SETTINGS; 40])), Seen::default());
    }

    /// What passes of bytes that come in these pieces, in pieces of 100 bytes.
    fn passed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut scanner, mut gate, mut passed) = (usual(), TrailerGate::default(), Vec::new());
        for piece in pieces {
            scanner.scan(piece);
            if gate.lets_pass(&scanner.trailers) {
                passed.extend_from_slice(piece);
                continue;
            }
            gate.take(piece, &mut scanner.trailers);
            let mut bytes = [0; 100];
            let mut buffer = ReadBuf::new(&mut bytes);
            while gate.give(&mut buffer) {
                passed.extend_from_slice(buffer.filled());
                buffer.clear();
            }
        }
        passed
    }

    #[test]
    fn trailers_that_would_be_cut_are_spoiled_and_nothing_else_is_however_the_bytes_are_cut() {
        const WHOLE: u8 = END_STREAM | END_HEADERS;
        // A field out of the table, again and again: of the table's 4 KiB 16 are too much.
        let (short, long) = ([0xbe; 15], [0xbe; 16]);
        // A literal `:status: 302`.
        let found = [&[0x08, 3, b'3', b'0', b'2'][..], &long].concat();
        let bytes = |spoiled: bool| {
            let last = |flags, kind, stream, fields: &[u8], padding: &[u8]| {
                let added: &[u8] = if spoiled { FORBIDDEN } else { &[] };
                frame(kind, flags, stream, &[fields, added, padding].concat())
            };
            [
                frame(HEADERS, END_HEADERS, 1, &[&[0x88][..], &long].concat()),
                frame(DATA, 0, 1, b"data"),
                last(WHOLE, HEADERS, 1, &long, b""),
                frame(HEADERS, WHOLE, 3, &short),
                frame(HEADERS, WHOLE, 5, &[&[0x88][..], &long].concat()),
                frame(HEADERS, WHOLE, 5, &found),
                frame(HEADERS, WHOLE, 5, &[&[0x20][..], &found].concat()),
                frame(HEADERS, END_STREAM, 5, &[0x08]),
                frame(CONTINUATION, END_HEADERS, 5, &found[1..]),
                frame(HEADERS, END_STREAM, 7, &short),
                frame(CONTINUATION, 0, 7, &long),
                last(END_HEADERS, CONTINUATION, 7, b"", b""),
                frame(HEADERS, END_STREAM, 9, b""),
                frame(CONTINUATION, END_HEADERS, 9, &short),
                last(WHOLE | 0x08, HEADERS, 11, &[&[2][..], &long].concat(), b"\0\0"),
                frame(HEADERS, WHOLE, 13, b""),
                frame(DATA, END_STREAM, 15, &long),
            ]
            .concat()
        };
        let (sent, spoiled) = (bytes(false), bytes(true));
        assert_eq!(spoiled.len(), sent.len() + 3 * FORBIDDEN.len());
        for length in 1..=sent.len() {
            assert_eq!(passed(sent.chunks(length)), spoiled, "in pieces of {length}");
            let (first, rest) = sent.split_at(length);
            assert_eq!(passed([first, rest].into_iter()), spoiled, "cut at {length}");
        }
    }

    #[test]
    fn trailers_whose_last_frame_has_no_room_are_spoiled_by_one_more() {
        for length in [16_382, 16_384] {
            let whole = |flags| frame(HEADERS, flags, 1, &vec![0xbe; length]);
            let sent = whole(END_STREAM | END_HEADERS);
            let added = frame(CONTINUATION, END_HEADERS, 1, FORBIDDEN);
            let spoiled = [whole(END_STREAM), added].concat();
            assert_eq!(passed([&sent[..]].into_iter()), spoiled);
            assert_eq!(passed(sent.chunks(1000)), spoiled);
        }
        let whole = |fields: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 1, fields);
        let spoiled = whole(&[&[0xbe; 16_381][..], FORBIDDEN].concat());
        assert_eq!(passed(whole(&[0xbe; 16_381]).chunks(1000)), spoiled);
    }

    /// The library ends the connection for them.
    #[test]
    fn trailers_that_end_amid_a_field_pass_as_they_are() {
        for cut in [&[0x00][..], &[0x0f], &[0x00, 1], &[0x00, 1, b'x', 2, b'y'], &[0xff]] {
            let sent =
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&[0xbe; 16][..], cut].concat());
            assert_eq!(passed([&sent[..]].into_iter()), sent, "{cut:?}");
        }
    }

    /// The library ends the connection once it has their heads.
    #[test]
    fn frames_that_are_too_long_are_not_waited_for() {
        let head = frame(HEADERS, END_STREAM | END_HEADERS, 1, &vec![0xbe; 16_385])[..9].to_vec();
        for bytes in [&head[..5], &head[..], &[&head[..], &[0xbe; 1000]].concat()[..]] {
            for size in 1..=bytes.len().min(30) {
                let (mut scanner, mut gate) = (usual(), TrailerGate::default());
                for piece in bytes.chunks(size) {
                    scanner.scan(piece);
                    gate.take(piece, &mut scanner.trailers);
                }
                let mut given = vec![0; bytes.len()];
                let mut buffer = ReadBuf::new(&mut given);
                while gate.give(&mut buffer) {}
                assert_eq!(buffer.filled(), bytes, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn headers_that_depend_on_their_own_stream_end_the_connection() {
        for (stream, is_lost) in [(3, true), (5, false)] {
            let head = frame(HEADERS, END_HEADERS | 0x20, stream, &[0, 0, 0, 3, 16, 0x88]);
            let bytes = [head, frame(DATA, 0, stream, b"data")].concat();
            for pieces in 1..=bytes.len() {
                let mut scanner = usual();
                let mut faults = bytes.chunks(pieces).map(|piece| scanner.scan(piece).fault());
                assert_eq!(faults.any(|fault| fault.is_some()), is_lost, "in pieces of {pieces}");
            }
        }
    }

    #[test]
    fn informational_heads_are_counted_by_stream() {
        let hint = |stream| frame(HEADERS, 4, stream, HINT);
        let mut scanner = usual();
        for _ in 0..=MAX_INFORMATIONAL {
            assert!(!scanner.scan(&[hint(1), hint(3)].concat()).flooded);
        }
        assert!(scanner.scan(&hint(1)).flooded);
        scanner.scan(&frame(DATA, END_STREAM, 3, b"x"));
        assert!(!scanner.scan(&hint(3)).flooded, "it is another stream's turn");
        let mut scanner = usual();
        for stream in 0..100_000 {
            let response = [frame(HEADERS, 4, stream, &[0x88]), frame(DATA, 0, stream, b"x")];
            assert!(!scanner.scan(&response.concat()).flooded);
        }
        assert!(scanner.informational.is_empty());
    }
}
