//! Trailers of endpoints over HTTP/2 that the HTTP/2 library would cut.
//!
//! Of trailers that unpack to more than a head may have, the library keeps the beginning, and nobody learns that
//! there was more. Whose they are only the library knows, and it has no call to reset the stream of an endpoint.
//! So it is told of a malformed block instead, which it resets the stream for: the block gets a last field that
//! may not be there. That needs the last frame of a block as a whole; where it comes in pieces they wait for
//! each other. All others pass as they come. So do those that the library ends the connection for: frames that are
//! longer than any may be, and blocks that end amid a field.

use tokio::io::ReadBuf;

use crate::proxy::frames::{END_HEADERS, END_STREAM, HEAD_LENGTH, kind};
use crate::proxy::trailer_fields::{FieldReader, TrailerLimit};

/// Where the head of a frame has its flags.
const FLAGS: usize = 4;

/// Bytes that a frame has room for, unless more were allowed (RFC 9113 6.5.2).
const MAX_FRAME: usize = 16_384;

/// `transfer-encoding` without a value, which no block may have (RFC 9113 8.2.2), whatever else is in it. As a
/// literal it leaves HPACK's table as it is.
const FORBIDDEN: [u8; 3] = [0x0f, 57 - 15, 0];

/// Finds the blocks of trailers, and those among them that are too long. Places are told from the beginning of
/// the bytes at hand; they are negative in those before.
#[derive(Debug)]
pub(super) struct TrailerScanner {
    limit: TrailerLimit,
    fields: FieldReader,
    /// The stream of the frame at hand.
    stream: u32,
    /// Whether the block at hand ends its stream.
    ends_stream: bool,
    /// Where the last frame of such a block began, while it is not whole.
    last: Option<isize>,
    /// The last frames of the blocks that are too long.
    too_long: Vec<LastFrame>,
    /// Where a frame begins that is not whole yet, and may be such a one.
    waiting: Option<isize>,
}

#[derive(Debug)]
struct LastFrame {
    begin: isize,
    end: usize,
    /// Bytes before its end that are no fields.
    padding: usize,
}

impl TrailerScanner {
    pub(super) fn new(limit: TrailerLimit) -> Self {
        Self {
            limit,
            fields: FieldReader::default(),
            stream: 0,
            ends_stream: false,
            last: None,
            too_long: Vec::new(),
            waiting: None,
        }
    }

    /// A frame has begun, of which the bytes up to `at` are here: its head, and the first byte of its payload
    /// where it has one. So many are `left`.
    pub(super) fn begin(
        &mut self,
        head: &[u8; HEAD_LENGTH],
        payload: &[u8],
        at: usize,
        left: usize,
    ) {
        let [_, _, _, kind, flags, stream @ ..] = *head;
        self.stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        self.last = self
            .may_end_trailers(payload.len() + left, kind, flags)
            .then_some(at as isize - (HEAD_LENGTH + payload.len()) as isize);
        if kind == kind::HEADERS {
            self.ends_stream = flags & END_STREAM != 0;
        }
        self.fields.begin(kind, flags, (payload.len() + left) as u32);
        self.read(payload, at, left);
    }

    /// Whether HEADERS came that the library leaves unread, so that nothing behind them can be unpacked.
    pub(super) fn are_lost(&self) -> bool {
        self.fields.depends_on(self.stream)
    }

    fn may_end_trailers(&self, length: usize, kind: u8, flags: u8) -> bool {
        let ends_stream = match kind {
            kind::HEADERS => flags & END_STREAM != 0,
            kind::CONTINUATION => self.ends_stream,
            _ => false,
        };
        length <= MAX_FRAME && ends_stream && flags & END_HEADERS != 0
    }

    /// More of the frame's payload has come, up to `at`; so many bytes of it are `left`.
    pub(super) fn read(&mut self, payload: &[u8], at: usize, left: usize) {
        self.fields.read(payload);
        // The head of a response without a body: the library measures that itself.
        if self.fields.is_response_head() {
            self.last = None;
        }
        if left == 0
            && let Some(begin) = self.last.take()
            && self.fields.is_between_fields()
            && self.fields.exceed(&self.limit)
        {
            let padding = self.fields.padding();
            self.too_long.push(LastFrame { begin, end: at, padding });
        }
    }

    /// These were all of the bytes at hand. Of a frame that has begun in them no more than this `head` has come,
    /// where that is not whole.
    pub(super) fn pause(&mut self, length: usize, head: &[u8]) {
        let may_wait = match *head {
            [] => false,
            [high, middle, low, kind, flags, ..] => {
                let length = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.may_end_trailers(length, kind, flags)
            }
            // It may be anything.
            _ => true,
        };
        let begun = length as isize - head.len() as isize;
        self.waiting = self.last.or(may_wait.then_some(begun));
        self.last = self.last.map(|begin| begin - length as isize);
    }
}

/// What waits for the end of a block, or to be passed on behind one that was too long.
#[derive(Debug, Default)]
pub(super) struct TrailerGate {
    held: Vec<u8>,
    /// How many bytes of that may pass.
    passing: usize,
}

impl TrailerGate {
    /// Whether the bytes that were scanned pass as they are, and nothing before them waits.
    pub(super) fn lets_pass(&self, trailers: &TrailerScanner) -> bool {
        self.held.is_empty() && trailers.too_long.is_empty() && trailers.waiting.is_none()
    }

    /// Takes the bytes that were scanned, and spoils the blocks in them that are too long.
    pub(super) fn take(&mut self, scanned: &[u8], trailers: &mut TrailerScanner) {
        let before = self.held.len();
        let place = |at: isize| before.saturating_add_signed(at);
        self.held.extend_from_slice(scanned);
        self.passing = trailers.waiting.take().map_or(self.held.len(), place);
        // From the last one, so that the places of the others stay.
        for LastFrame { begin, end, padding } in trailers.too_long.drain(..).rev() {
            self.passing += self.spoil(place(begin), before + end, padding);
        }
    }

    /// Adds to a frame, or behind it where it has no room; how many bytes.
    fn spoil(&mut self, begin: usize, end: usize, padding: usize) -> usize {
        let length = end - begin - HEAD_LENGTH;
        if length + FORBIDDEN.len() <= MAX_FRAME {
            self.held.splice(end - padding..end - padding, FORBIDDEN);
            let [_, size @ ..] = ((length + FORBIDDEN.len()) as u32).to_be_bytes();
            self.held[begin..][..size.len()].copy_from_slice(&size);
            return FORBIDDEN.len();
        }
        self.held[begin + FLAGS] &= !END_HEADERS;
        let [a, b, c, d] = self.held[begin + FLAGS + 1..][..4] else { return 0 };
        let size = FORBIDDEN.len() as u8;
        let head = [0, 0, size, kind::CONTINUATION, END_HEADERS, a, b, c, d];
        self.held.splice(end..end, head.into_iter().chain(FORBIDDEN));
        HEAD_LENGTH + FORBIDDEN.len()
    }

    /// Passes on what may; whether there was any.
    pub(super) fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        if self.passing == 0 {
            return false;
        }
        let length = self.passing.min(buffer.remaining());
        buffer.put_slice(&self.held[..length]);
        self.held.drain(..length);
        self.passing -= length;
        if self.held.is_empty() {
            // Who waits holds no memory.
            self.held = Vec::new();
        }
        true
    }
}
