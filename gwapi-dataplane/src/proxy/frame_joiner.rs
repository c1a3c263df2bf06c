//! Short DATA frames of an HTTP/2 connection, joined on their way to the HTTP/2 library.
//!
//! The library keeps what waits to be read of a stream frame by frame, and counts 256 bytes for each that
//! is shorter. Where these come to half of the connection's window it ends the connection with all of its
//! streams, though each of them keeps to its window. Messages of gRPC have a few bytes: one client that
//! does not read them would break the calls of all others on the connection to their endpoint. So the short
//! frames of a stream that come in one go become one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{END_HEADERS, HEAD_LENGTH, PREFACE_LENGTH, kind};

/// Bytes that are read in one go.
const BATCH: usize = 32 * 1024;

/// What the library counts for a frame of DATA that is shorter.
const SHORT: usize = 256;

/// What an empty message of gRPC has. A client that sends less at a time makes work alone, and is for the
/// library to send away.
const SHORTEST_OF_CLIENT: usize = 5;
/// Servers are ours: others would pay for what one of them sends. What is empty is left out: the library
/// takes a hundred of them in the life of a connection.
const SHORTEST_OF_SERVER: usize = 0;

/// What a frame may hold (RFC 9113 4.2): we do not say that it may be more.
const MAX_PAYLOAD: usize = 16 * 1024;

const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

thread_local! {
    /// What is read is passed on before more is read: all connections of a core read into the same place.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; BATCH].into());
    static PARTS: RefCell<Parts> = RefCell::default();
}

/// A connection's bytes, whose short frames of DATA are joined where they come together.
#[derive(Debug)]
pub(super) struct JoinedFrames<I> {
    io: I,
    joiner: FrameJoiner,
    /// What was read and not taken yet.
    left: BytesMut,
}

impl<I> JoinedFrames<I> {
    /// Of a client, which says a preface before its first frame.
    pub(super) fn of_client(io: I) -> Self {
        let mut joiner = FrameJoiner::new(SHORTEST_OF_CLIENT);
        joiner.payload_left = PREFACE_LENGTH as usize;
        Self { io, joiner, left: BytesMut::new() }
    }

    /// Of a server, which begins with a frame.
    pub(super) fn of_server(io: I) -> Self {
        Self { io, joiner: FrameJoiner::new(SHORTEST_OF_SERVER), left: BytesMut::new() }
    }

    /// Reads once, and tells how much; what of it has no room in `buffer` is left.
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut [u8],
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>>
    where
        I: AsyncRead + Unpin,
    {
        let mut batch = ReadBuf::new(batch);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut batch))?;
        let read = batch.filled().len();
        match PARTS.with_borrow_mut(|parts| self.joiner.join(batch.filled(), parts)) {
            Some(joined) => self.left = joined,
            None => {
                let (now, later) =
                    batch.filled().split_at(buffer.remaining().min(batch.filled().len()));
                buffer.put_slice(now);
                self.left.extend_from_slice(later);
            }
        }
        Poll::Ready(Ok(read))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for JoinedFrames<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        // What was read may have meant nothing, and is not the end.
        while this.left.is_empty() && buffer.filled().len() == before {
            if ready!(READ.with_borrow_mut(|batch| this.poll_batch(cx, batch, buffer)))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let length = buffer.remaining().min(this.left.len());
        buffer.put_slice(&this.left[..length]);
        this.left.advance(length);
        if this.left.is_empty() {
            // Who waits holds no memory.
            this.left = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for JoinedFrames<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Where the frames of a connection begin and end. It neither reads sockets nor clocks.
#[derive(Debug)]
struct FrameJoiner {
    /// Bytes of the shortest frame that is joined.
    shortest: usize,
    /// Bytes of the frame at hand, or of the preface, that are to come.
    payload_left: usize,
    /// The head of a frame that came in two pieces, of which the first was passed on.
    head: [u8; HEAD_LENGTH],
    head_length: usize,
    /// Whether a header block has begun and not ended: nothing may come between its frames, and what
    /// does is for the library to refuse.
    block_open: bool,
}

/// What bytes consist of: short frames of DATA, and anything else.
#[derive(Debug, Default)]
struct Parts {
    all: Vec<Part>,
    /// The frames that go on where a stream has them: the first and the last of them.
    open: HashMap<u32, (usize, usize)>,
    joined: bool,
}

#[derive(Debug)]
struct Part {
    /// Where its bytes are: of a frame of DATA what is in it, and otherwise all.
    start: usize,
    end: usize,
    frame: Option<ShortFrame>,
}

#[derive(Debug)]
struct ShortFrame {
    stream: u32,
    /// Of all that are joined with the first one.
    length: usize,
    flags: u8,
    next: Option<usize>,
    /// Whether it belongs to one before it.
    follows: bool,
}

impl FrameJoiner {
    fn new(shortest: usize) -> Self {
        let head = [0; HEAD_LENGTH];
        Self { shortest, payload_left: 0, head, head_length: 0, block_open: false }
    }

    /// The bytes with their short frames joined; none where there is nothing to join.
    fn join(&mut self, bytes: &[u8], parts: &mut Parts) -> Option<BytesMut> {
        parts.clear();
        let (mut at, mut other) = (0, 0);
        while at < bytes.len() {
            if self.payload_left > 0 {
                let length = self.payload_left.min(bytes.len() - at);
                self.payload_left -= length;
                at += length;
            } else if self.head_length > 0 || bytes.len() - at < HEAD_LENGTH {
                let length = (HEAD_LENGTH - self.head_length).min(bytes.len() - at);
                self.head[self.head_length..][..length].copy_from_slice(&bytes[at..at + length]);
                self.head_length += length;
                at += length;
                if self.head_length == HEAD_LENGTH {
                    self.head_length = 0;
                    self.begin(Head::read(&self.head), parts);
                }
            } else {
                let head = Head::read(&bytes[at..]);
                let end = at + HEAD_LENGTH + head.length;
                if self.block_open || !head.is_short_data(self.shortest) || end > bytes.len() {
                    self.begin(head, parts);
                    at += HEAD_LENGTH;
                    continue;
                }
                parts.other(other, at);
                if head.is_nothing() {
                    parts.joined = true;
                } else {
                    parts.data(&head, end);
                }
                (at, other) = (end, end);
            }
        }
        parts.other(other, bytes.len());
        parts.joined.then(|| parts.write(bytes))
    }

    /// A frame begins that stays as it is.
    fn begin(&mut self, head: Head, parts: &mut Parts) {
        self.payload_left = head.length;
        if matches!(head.kind, kind::HEADERS | kind::CONTINUATION) {
            self.block_open = head.flags & END_HEADERS == 0;
        }
        // What comes after it in its stream stays after it.
        parts.open.remove(&head.stream);
    }
}

/// The head of a frame.
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn read(bytes: &[u8]) -> Self {
        let [high, middle, low, kind, flags, a, b, c, d] =
            *bytes.first_chunk::<HEAD_LENGTH>().expect("there is a whole head");
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        // The first bit means nothing (RFC 9113 4.1).
        let stream = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
        Self { length, kind, flags, stream }
    }

    /// Whether it is one of those that are joined. Padding counts for the windows and has to stay.
    fn is_short_data(&self, shortest: usize) -> bool {
        let is_short = (shortest..SHORT).contains(&self.length);
        self.kind == kind::DATA && self.flags & PADDED == 0 && is_short
    }

    /// Whether that has no meaning.
    fn is_nothing(&self) -> bool {
        self.length == 0 && self.flags & END_STREAM == 0 && self.stream != 0
    }
}

impl Parts {
    fn clear(&mut self) {
        self.all.clear();
        self.open.clear();
        self.joined = false;
    }

    fn other(&mut self, start: usize, end: usize) {
        if start < end {
            self.all.push(Part { start, end, frame: None });
        }
    }

    /// Adds a short frame of DATA that ends at `end`.
    fn data(&mut self, head: &Head, end: usize) {
        let Head { length, flags, stream, .. } = *head;
        let position = self.all.len();
        let first = self.open.get(&stream).copied().filter(|(first, last)| {
            let Some(frame) = &mut self.all[*first].frame else { return false };
            if frame.length + length > MAX_PAYLOAD {
                return false;
            }
            frame.length += length;
            frame.flags |= flags;
            if let Some(last) = &mut self.all[*last].frame {
                last.next = Some(position);
            }
            true
        });
        let follows = first.is_some();
        self.joined |= follows;
        let frame = Some(ShortFrame { stream, length, flags, next: None, follows });
        self.all.push(Part { start: end - length, end, frame });
        if flags & END_STREAM == 0 {
            self.open.insert(stream, (first.map_or(position, |(first, _)| first), position));
        } else {
            self.open.remove(&stream);
        }
    }

    fn write(&self, bytes: &[u8]) -> BytesMut {
        let mut joined = BytesMut::with_capacity(bytes.len());
        for part in &self.all {
            let Some(frame) = &part.frame else {
                joined.extend_from_slice(&bytes[part.start..part.end]);
                continue;
            };
            if frame.follows {
                continue;
            }
            let [_, length @ ..] = (frame.length as u32).to_be_bytes();
            joined.extend_from_slice(&length);
            joined.extend_from_slice(&[kind::DATA, frame.flags]);
            joined.extend_from_slice(&frame.stream.to_be_bytes());
            let mut next = Some(part);
            while let Some(Part { start, end, frame }) = next {
                joined.extend_from_slice(&bytes[*start..*end]);
                let frame = frame.as_ref();
                next = frame.and_then(|frame| frame.next).map(|position| &self.all[position]);
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::frame;
    use super::*;

    fn data(stream: u32, payload: &[u8]) -> Vec<u8> {
        frame(kind::DATA, 0, stream, payload)
    }

    fn join(joiner: &mut FrameJoiner, bytes: &[u8]) -> Vec<u8> {
        let joined = joiner.join(bytes, &mut Parts::default());
        joined.map_or_else(|| bytes.to_vec(), |joined| joined.to_vec())
    }

    #[test]
    fn short_frames_of_a_stream_become_one() {
        let last = frame(kind::DATA, END_STREAM, 1, b"third");
        let bytes =
            [data(1, b"first"), data(3, b"other"), data(1, b"second"), data(3, b"more."), last];
        let expected =
            [frame(kind::DATA, END_STREAM, 1, b"firstsecondthird"), data(3, b"othermore.")];
        let (bytes, expected) = (bytes.concat(), expected.concat());
        assert_eq!(join(&mut FrameJoiner::new(SHORTEST_OF_CLIENT), &bytes), expected);
    }

    #[test]
    fn servers_may_send_less_at_a_time_than_clients() {
        let bytes = [data(1, b"a"), data(1 << 31 | 1, b"b"), data(1, b"")].concat();
        assert_eq!(join(&mut FrameJoiner::new(SHORTEST_OF_CLIENT), &bytes), bytes);
        assert_eq!(join(&mut FrameJoiner::new(SHORTEST_OF_SERVER), &bytes), data(1, b"ab"));
        let end = frame(kind::DATA, END_STREAM, 1, b"");
        assert_eq!(join(&mut FrameJoiner::new(SHORTEST_OF_SERVER), &end), end);
    }

    #[test]
    fn what_has_a_meaning_of_its_own_stays_as_it_is() {
        for (name, between) in [
            ("another frame of the stream", frame(kind::RST_STREAM, 0, 1, &[0; 4])),
            ("trailers", frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, b"t")),
            ("a block that is open", frame(kind::HEADERS, 0, 3, b"t")),
            ("the end", frame(kind::DATA, END_STREAM, 1, b"short")),
            ("padding", frame(kind::DATA, PADDED, 1, b"\x01short\0")),
            ("nothing", data(1, b"")),
            ("next to nothing", data(1, b"x")),
            ("a long one", data(1, &[b'x'; SHORT])),
        ] {
            let bytes = [data(1, b"short"), between, data(1, b"short")].concat();
            let joined = join(&mut FrameJoiner::new(SHORTEST_OF_CLIENT), &bytes);
            // The end of a stream may join what comes before it, and nothing joins the end.
            let expected = match name {
                "the end" => {
                    [frame(kind::DATA, END_STREAM, 1, b"shortshort"), data(1, b"short")].concat()
                }
                _ => bytes,
            };
            assert_eq!(joined, expected, "{name}");
        }
    }

    #[test]
    fn no_frame_gets_longer_than_it_may_be() {
        let bytes = data(1, &[b'x'; 200]).repeat(100);
        let joined = join(&mut FrameJoiner::new(SHORTEST_OF_CLIENT), &bytes);
        let first = Head::read(&joined);
        assert!(first.length <= MAX_PAYLOAD && first.length > MAX_PAYLOAD - 200);
        let second = Head::read(&joined[HEAD_LENGTH + first.length..]);
        assert_eq!(first.length + second.length, 20_000);
    }

    /// What each stream gets, and the other frames in their order.
    fn meaning(bytes: &[u8]) -> (HashMap<u32, Vec<u8>>, Vec<Vec<u8>>) {
        let (mut streams, mut others, mut at) = (HashMap::<u32, Vec<u8>>::new(), Vec::new(), 0);
        while at < bytes.len() {
            let head = Head::read(&bytes[at..]);
            let end = at + HEAD_LENGTH + head.length;
            match head.kind {
                kind::DATA => {
                    let payload = &bytes[at + HEAD_LENGTH..end];
                    streams.entry(head.stream).or_default().extend(payload);
                }
                _ => others.push(bytes[at..end].to_vec()),
            }
            at = end;
        }
        (streams, others)
    }

    #[test]
    fn all_comes_through_however_the_bytes_are_cut() {
        let block =
            [frame(kind::HEADERS, 0, 5, b"h"), frame(kind::CONTINUATION, END_HEADERS, 5, b"c")];
        let bytes = [
            data(1, b"one.."),
            data(3, b"two.."),
            data(1, b"three.."),
            block.concat(),
            data(1, &[b'x'; 300]),
            data(3, b"four.."),
            data(1, b"five.."),
            frame(kind::PING, 0, 0, &[0; 8]),
            data(1, b"six.."),
        ]
        .concat();
        for pieces in 1..=bytes.len() {
            let mut joiner = FrameJoiner::new(SHORTEST_OF_CLIENT);
            let joined: Vec<u8> =
                bytes.chunks(pieces).flat_map(|piece| join(&mut joiner, piece)).collect();
            assert_eq!(meaning(&joined), meaning(&bytes), "in pieces of {pieces}");
        }
    }
}
