//! Trailers of endpoints over HTTP/2 that the HTTP/2 library would cut.
//!
//! Of trailers that unpack to more than a head may have, the library keeps the beginning, and nobody learns that
//! there was more. Whose they are only the library knows, and it has no call to reset the stream of an endpoint.
//! So it is told of a malformed block instead, which it resets the stream for: the block gets a last field that
//! may not be there. That needs the last frame of a block as a whole; where it comes in pieces they wait for
//! each other. All others pass as they come.

use tokio::io::ReadBuf;

use super::http2_io::begins_final_head;
use crate::proxy::frames::{END_HEADERS, END_STREAM, HEAD_LENGTH, kind};
use crate::proxy::trailer_fields::{TrailerFields, TrailerLimit};

/// Where the head of a frame has its flags.
const FLAGS: usize = 4;

/// `:status: 200`, which no block may have behind its fields, nor twice (RFC 9113 8.3), and which leaves HPACK's
/// table as it is.
const MISPLACED: u8 = 0x88;

/// Finds the blocks of trailers, and those among them that are too long. Places are told from the beginning of
/// the bytes at hand; they are negative in those before.
#[derive(Debug)]
pub(super) struct TrailerScanner {
    limit: TrailerLimit,
    /// The block that has begun and not ended.
    block: Option<Block>,
    /// The blocks that are too long: the flags of their last frames, and their ends.
    too_long: Vec<(isize, usize)>,
    /// The flags of a last frame that is not whole yet.
    waiting: Option<isize>,
}

#[derive(Debug, Default)]
struct Block {
    fields: TrailerFields,
    /// The flags of its last frame, once that has begun.
    last: Option<isize>,
}

impl TrailerScanner {
    pub(super) fn new(limit: TrailerLimit) -> Self {
        Self { limit, block: None, too_long: Vec::new(), waiting: None }
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
        let (kind, flags) = (head[FLAGS - 1], head[FLAGS]);
        match kind {
            // The head of a response without a body may be taken for trailers, where its status is written in
            // some other way. What it may have is the same.
            kind::HEADERS if flags & END_STREAM != 0 => {
                let first = payload.first().copied().unwrap_or_default();
                self.block = (!begins_final_head(flags, first)).then(Block::default);
            }
            kind::CONTINUATION => {}
            _ => self.block = None,
        }
        if let Some(block) = &mut self.block {
            block.fields.begin(kind, flags, (payload.len() + left) as u32);
            let begun = at as isize - (HEAD_LENGTH + payload.len()) as isize;
            block.last = (flags & END_HEADERS != 0).then_some(begun + FLAGS as isize);
            self.read(payload, at, left);
        }
    }

    /// More of the frame's payload has come, up to `at`; so many bytes of it are `left`.
    pub(super) fn read(&mut self, payload: &[u8], at: usize, left: usize) {
        let Some(block) = &mut self.block else { return };
        block.fields.read(payload);
        if left == 0
            && let Some(flags) = block.last
        {
            if block.fields.exceed(&self.limit) {
                self.too_long.push((flags, at));
            }
            self.block = None;
        }
    }

    /// These were all of the bytes at hand. Of a frame that has begun in them no more than this `head` has come,
    /// where that is not whole.
    pub(super) fn pause(&mut self, length: usize, head: &[u8]) {
        self.waiting = match (&mut self.block, head) {
            (Some(Block { last: Some(flags), .. }), _) => {
                let waiting = *flags;
                *flags -= length as isize;
                Some(waiting)
            }
            (block, [_, _, _, kind, flags, ..]) => {
                let of_trailers = match *kind {
                    kind::HEADERS => flags & END_STREAM != 0,
                    kind::CONTINUATION => block.is_some(),
                    _ => false,
                };
                let begun = length as isize - head.len() as isize;
                (of_trailers && flags & END_HEADERS != 0).then_some(begun + FLAGS as isize)
            }
            _ => None,
        };
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
        for (flags, end) in trailers.too_long.drain(..).rev() {
            let flags = place(flags);
            self.held[flags] &= !END_HEADERS;
            let [a, b, c, d] = self.held[flags + 1..][..4] else { continue };
            let last = [0, 0, 1, kind::CONTINUATION, END_HEADERS, a, b, c, d, MISPLACED];
            let end = before + end;
            self.held.splice(end..end, last);
            self.passing += last.len();
        }
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
