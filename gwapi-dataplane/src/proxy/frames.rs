//! What an HTTP/2 client sends, by the heads of its frames alone: a few bytes of each are looked at.
//!
//! The HTTP/2 library bounds what costs memory. Four things it leaves to whoever embeds it: frames
//! that make work and are worth nothing (SETTINGS, PING, PRIORITY, WINDOW_UPDATE), requests that are
//! taken back as soon as they are made (rapid reset), heads of requests that come in one go, each of which
//! may be unpacked to a hundred times its size, and trailers that may as well, and wait for whoever reads
//! them. This counts them, and reads what is said of windows. It neither reads sockets nor clocks.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::client_windows::{ClientWindows, WindowReader};
use super::trailer_fields::{FieldReader, TrailerLimit};

/// Heads of requests that are unpacked before those who handle them get their turn.
pub(super) const HEADS_PER_TURN: u32 = 16;

/// What is counted is counted over this time.
const WINDOW: Duration = Duration::from_secs(10);

/// Work that a client may make in a window, in bytes; whatever is written to it is added.
const ALLOWANCE: u64 = 128_000;
/// What a frame costs that asks for work. More than its answer has, which would pay for the next.
const COST: u64 = 64;
/// What WINDOW_UPDATE costs: a client may send two for each small frame that it gets.
const UPDATE_COST: u64 = 8;

/// Requests that may be reset in a window, or refused, whatever the share; beyond, fewer than half of those
/// that were made.
const RESETS: u32 = 500;

pub(super) const PREFACE_LENGTH: u32 = 24;
pub(super) const HEAD_LENGTH: usize = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const ACK: u8 = 1;

pub(super) mod kind {
    pub(in crate::proxy) const DATA: u8 = 0;
    pub(in crate::proxy) const HEADERS: u8 = 1;
    pub(in crate::proxy) const PRIORITY: u8 = 2;
    pub(in crate::proxy) const RST_STREAM: u8 = 3;
    pub(in crate::proxy) const SETTINGS: u8 = 4;
    pub(in crate::proxy) const PUSH_PROMISE: u8 = 5;
    pub(in crate::proxy) const PING: u8 = 6;
    pub(in crate::proxy) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::proxy) const CONTINUATION: u8 = 9;
}

/// Why nothing more of a client is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// Frames that make work and carry nothing.
    Control,
    /// Requests that are taken back.
    Resets,
    /// Requests that are none, which the proxy resets.
    Malformed,
    /// A frame that cannot have its length.
    FrameSize,
    /// A promise to a server.
    PushPromise,
    /// Trailers of too many fields, or such as may unpack to too much.
    Trailers,
    /// HEADERS that depend on their own stream.
    Dependency,
}

/// What the requests come to that there was no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusals {
    Few,
    /// More than a connection should be kept for. It is no breach: the client has done nothing wrong.
    Many,
    /// The same a window later, or more: the client has had time to go.
    Lasting,
}

/// How far one may go with bytes that were scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// All of them pass.
    All,
    /// So many pass, the rest has to wait for the next turn.
    Hold(usize),
    /// So many pass, the rest would close windows that something relies on, and has to wait until it does
    /// not any more.
    Rely(usize),
    /// So many pass, to the border of a frame, and nothing after them.
    Stop(usize, Breach),
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct FrameScanner {
    head: [u8; HEAD_LENGTH],
    /// Bytes of a head that are there; below the length of one between frames.
    head_length: usize,
    payload_left: u32,
    /// Whether a header block has begun and not ended.
    block_open: bool,
    /// Header blocks so far.
    blocks: u64,
    /// The newest stream that was begun. A block of an older one begins no request: it is trailers.
    newest_stream: u32,
    /// Whether the frame at hand ends it.
    ends_block: bool,
    /// What is in it.
    fields: FieldReader,
    /// Whether that is trailers.
    in_trailers: bool,
    trailer_limit: TrailerLimit,
    breach: Option<Breach>,
    window: Window,
    /// When its refused requests were many for the first time.
    crowded: Option<Instant>,
    client: WindowReader,
}

/// What was counted since `began`.
#[derive(Debug)]
struct Window {
    began: Instant,
    spent: u64,
    written: u64,
    requests: u32,
    resets: u32,
    refused: u32,
}

impl FrameScanner {
    pub(super) fn new(trailer_limit: TrailerLimit, now: Instant) -> Self {
        Self {
            head: [0; HEAD_LENGTH],
            head_length: 0,
            payload_left: PREFACE_LENGTH,
            block_open: false,
            blocks: 0,
            newest_stream: 0,
            ends_block: false,
            fields: FieldReader::default(),
            in_trailers: false,
            trailer_limit,
            breach: None,
            window: Window::new(now),
            crowded: None,
            client: WindowReader::default(),
        }
    }

    /// What the windows of the client have room for.
    pub(super) fn client_windows(&self) -> &Rc<ClientWindows> {
        self.client.windows()
    }

    /// The number of the header block that is waiting for its end.
    pub(super) fn open_block(&self) -> Option<u64> {
        self.block_open.then_some(self.blocks)
    }

    /// Nothing passes after the frame at hand. Whether there is none.
    pub(super) fn stops(&mut self, breach: Breach) -> bool {
        self.breach = Some(breach);
        self.payload_left == 0 && self.head_length == 0
    }

    /// So many requests were refused for want of room, and what that comes to.
    pub(super) fn refused(&mut self, requests: u32, now: Instant) -> Refusals {
        let window = self.window.at(now);
        window.refused = window.refused.saturating_add(requests);
        if !window.are_many(window.refused) {
            return Refusals::Few;
        }
        let since = *self.crowded.get_or_insert(now);
        if now.duration_since(since) < WINDOW { Refusals::Many } else { Refusals::Lasting }
    }

    /// So many bytes were written to the client.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.window.written += bytes as u64;
    }

    /// Looks at bytes that came. `heads` is how many heads of requests may pass in this turn.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        heads: &mut u32,
        now: impl Fn() -> Instant,
    ) -> Scan {
        let mut at = 0;
        while at < bytes.len() {
            if self.payload_left > 0 {
                let length = (bytes.len() - at).min(self.payload_left as usize);
                let passing = self.client.read(&bytes[at..at + length]);
                self.fields.read(&bytes[at..at + passing]);
                if self.in_trailers && self.fields.exceed(&self.trailer_limit) {
                    self.breach = Some(Breach::Trailers);
                }
                if self.fields.depends_on(self.stream()) {
                    self.breach = Some(Breach::Dependency);
                }
                at += passing;
                self.payload_left -= passing as u32;
                if passing < length {
                    return Scan::Rely(at);
                }
                if self.payload_left > 0 {
                    return Scan::All;
                }
            } else {
                if self.head_length == 0 && *heads == 0 {
                    return Scan::Hold(at);
                }
                let length = (bytes.len() - at).min(HEAD_LENGTH - self.head_length);
                self.head[self.head_length..][..length].copy_from_slice(&bytes[at..at + length]);
                at += length;
                self.head_length += length;
                if self.head_length < HEAD_LENGTH {
                    return Scan::All;
                }
                self.head_length = 0;
                // A head that came in two reads has passed already: the library refuses the frame.
                if let Some(start) = at.checked_sub(HEAD_LENGTH)
                    && let Some(breach) = malformed(&self.head)
                {
                    return Scan::Stop(start, breach);
                }
                self.begin(heads, &now);
                if self.payload_left > 0 {
                    continue;
                }
            }
            if std::mem::take(&mut self.ends_block) {
                self.block_open = false;
                self.in_trailers = false;
            }
            if let Some(breach) = self.breach {
                return Scan::Stop(at, breach);
            }
        }
        Scan::All
    }

    /// The stream of the frame at hand.
    fn stream(&self) -> u32 {
        let [_, _, _, _, _, stream @ ..] = self.head;
        // The first bit means nothing (RFC 9113 4.1).
        u32::from_be_bytes(stream) & 0x7fff_ffff
    }

    /// A frame has begun.
    fn begin(&mut self, heads: &mut u32, now: impl Fn() -> Instant) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.payload_left = u32::from_be_bytes([0, high, middle, low]);
        self.client.begin(&self.head);
        match kind {
            kind::DATA => {}
            kind::HEADERS => {
                *heads = heads.saturating_sub(1);
                let stream = self.stream();
                self.in_trailers = stream <= self.newest_stream;
                if !self.in_trailers {
                    self.newest_stream = stream;
                    self.window.requests = self.window.requests.saturating_add(1);
                }
                self.block_open = true;
                self.blocks += 1;
                self.ends_block = flags & END_HEADERS != 0;
            }
            kind::CONTINUATION => self.ends_block = flags & END_HEADERS != 0,
            kind::RST_STREAM => self.breach = self.window.reset(now()),
            kind::WINDOW_UPDATE => self.breach = self.window.spend(UPDATE_COST, now()),
            _ => self.breach = self.window.spend(COST + u64::from(self.payload_left), now()),
        }
        self.fields.begin(kind, flags, self.payload_left);
    }
}

/// What the library refuses with another error than the standard asks for, or not at all.
fn malformed(head: &[u8; HEAD_LENGTH]) -> Option<Breach> {
    let [high, middle, low, kind, flags, ..] = *head;
    let length = u32::from_be_bytes([0, high, middle, low]);
    let fits = match kind {
        kind::PRIORITY => length == 5,
        kind::RST_STREAM | kind::WINDOW_UPDATE => length == 4,
        kind::SETTINGS if flags & ACK != 0 => length == 0,
        kind::SETTINGS => length.is_multiple_of(6),
        kind::PING => length == 8,
        kind::PUSH_PROMISE => return Some(Breach::PushPromise),
        _ => true,
    };
    (!fits).then_some(Breach::FrameSize)
}

impl Window {
    fn new(now: Instant) -> Self {
        Self { began: now, spent: 0, written: 0, requests: 0, resets: 0, refused: 0 }
    }

    fn at(&mut self, now: Instant) -> &mut Self {
        if now.duration_since(self.began) >= WINDOW {
            *self = Self::new(now);
        }
        self
    }

    fn spend(&mut self, cost: u64, now: Instant) -> Option<Breach> {
        let window = self.at(now);
        window.spent += cost;
        (window.spent > ALLOWANCE + window.written).then_some(Breach::Control)
    }

    fn reset(&mut self, now: Instant) -> Option<Breach> {
        let window = self.at(now);
        window.resets = window.resets.saturating_add(1);
        window.are_many(window.resets).then_some(Breach::Resets)
    }

    /// Whether that is too large a part of the requests.
    fn are_many(&self, requests: u32) -> bool {
        requests > RESETS && requests > self.requests / 2
    }
}

/// A frame, as tests send it.
#[cfg(test)]
pub(in crate::proxy) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::proxy::headers::MAX_TRAILERS;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        super::frame(kind, flags, 1, payload)
    }

    /// A connection whose preface has come.
    fn scanner(now: Instant) -> FrameScanner {
        let limit = TrailerLimit::of_requests(&Limits::default());
        let mut scanner = FrameScanner::new(limit, now);
        assert_eq!(scanner.scan(PREFACE, &mut 1, || now), Scan::All);
        scanner
    }

    /// Feeds a frame again and again; how many pass before the client is stopped.
    fn passing(scanner: &mut FrameScanner, frame: &[u8], now: Instant) -> (usize, Breach) {
        passing_each(scanner, |_| frame.to_vec(), now)
    }

    /// The same with frames that are made for each number, of which the first is 0.
    fn passing_each(
        scanner: &mut FrameScanner,
        frames: impl Fn(u32) -> Vec<u8>,
        now: Instant,
    ) -> (usize, Breach) {
        for count in 0..1_000_000 {
            if let Scan::Stop(_, breach) = scanner.scan(&frames(count), &mut 3, || now) {
                return (count as usize, breach);
            }
        }
        panic!("nobody stops it");
    }

    #[test]
    fn heads_beyond_those_of_a_turn_wait_at_the_border_of_a_frame() {
        let now = Instant::now();
        let request = frame(kind::HEADERS, END_HEADERS, b"head");
        let bytes = request.repeat(3);
        for pieces in 1..bytes.len() {
            let (mut scanner, mut heads, mut passed) = (scanner(now), 2, 0);
            for piece in bytes.chunks(pieces) {
                match scanner.scan(piece, &mut heads, || now) {
                    Scan::All => passed += piece.len(),
                    Scan::Hold(at) => {
                        passed += at;
                        break;
                    }
                    Scan::Rely(..) | Scan::Stop(..) => panic!("nothing is wrong"),
                }
            }
            assert_eq!(passed, request.len() * 2, "in pieces of {pieces}");
            assert_eq!(scanner.open_block(), None);
        }
    }

    #[test]
    fn a_block_is_open_until_the_frame_that_ends_it_has_come() {
        let now = Instant::now();
        let mut scanner = scanner(now);
        let mut feed = |bytes: &[u8]| {
            assert_eq!(scanner.scan(bytes, &mut 9, || now), Scan::All);
            scanner.open_block()
        };
        assert_eq!(feed(&frame(kind::HEADERS, 0, b"a")), Some(1));
        assert_eq!(feed(&frame(kind::CONTINUATION, 0, b"")), Some(1));
        let last = frame(kind::CONTINUATION, END_HEADERS, b"bc");
        assert_eq!(feed(&last[..last.len() - 1]), Some(1));
        assert_eq!(feed(&last[last.len() - 1..]), None);
        assert_eq!(feed(&frame(kind::HEADERS, END_HEADERS, b"")), None);
        assert_eq!(feed(&frame(kind::HEADERS, 0, b"a")), Some(3));
    }

    #[test]
    fn frames_that_carry_nothing_are_stopped_unless_much_is_written() {
        let now = Instant::now();
        let ping = frame(kind::PING, 0, &[0; 8]);
        let mut silent = scanner(now);
        let (count, breach) = passing(&mut silent, &ping, now);
        assert_eq!((count, breach), (1_777, Breach::Control));
        let mut busy = scanner(now);
        busy.wrote(1_000_000);
        assert_eq!(passing(&mut busy, &ping, now).0, 15_666);
        let update = frame(kind::WINDOW_UPDATE, 0, &[0; 4]);
        assert_eq!(passing(&mut scanner(now), &update, now).0, 16_000);
    }

    #[test]
    fn each_window_has_an_allowance_of_its_own() {
        let now = Instant::now();
        let ping = frame(kind::PING, 0, &[0; 8]);
        let mut scanner = scanner(now);
        for seconds in [0, 10, 20] {
            let now = now + Duration::from_secs(seconds);
            for _ in 0..1_777 {
                assert_eq!(scanner.scan(&ping, &mut 1, || now), Scan::All);
            }
        }
    }

    #[test]
    fn resets_are_stopped_where_most_requests_are_taken_back() {
        let now = Instant::now();
        let head = |stream| super::frame(kind::HEADERS, END_HEADERS, stream, b"head");
        let reset = |stream| super::frame(kind::RST_STREAM, 0, stream, &[0; 4]);
        let rapid = |number| [head(number * 2 + 1), reset(number * 2 + 1)].concat();
        assert_eq!(passing_each(&mut scanner(now), rapid, now), (500, Breach::Resets));
        let mut scanner = scanner(now);
        for number in 0..10_000 {
            let (one, other) = (number * 4 + 1, number * 4 + 3);
            let hedging = [head(one), head(other), reset(one)].concat();
            assert_eq!(scanner.scan(&hedging, &mut 3, || now), Scan::All);
        }
    }

    #[test]
    fn requests_that_are_refused_are_many_as_those_that_are_taken_back_and_count_for_themselves() {
        let now = Instant::now();
        let reset = |stream| super::frame(kind::RST_STREAM, 0, stream, &[0; 4]);
        let mut idle = scanner(now);
        assert_eq!(idle.scan(&reset(1), &mut 1, || now), Scan::All);
        assert_eq!(idle.refused(RESETS, now), Refusals::Few);
        assert_eq!(idle.refused(1, now), Refusals::Many);
        assert_eq!(passing(&mut idle, &reset(1), now).0, 499);
        let mut busy = scanner(now);
        for number in 0..10_000 {
            let heads = [number * 4 + 1, number * 4 + 3]
                .map(|stream| super::frame(kind::HEADERS, END_HEADERS, stream, b"head"));
            assert_eq!(busy.scan(&heads.concat(), &mut 3, || now), Scan::All);
            assert_eq!(busy.refused(1, now), Refusals::Few);
        }
    }

    #[test]
    fn refusals_that_are_many_again_when_a_client_had_time_to_go_are_not_taken() {
        let (now, mut scanner) = (Instant::now(), scanner(Instant::now()));
        for (seconds, requests, refusals) in [
            (0, RESETS, Refusals::Few),
            (9, 1, Refusals::Many),
            (11, RESETS + 1, Refusals::Many),
            (18, 1, Refusals::Many),
            (19, 1, Refusals::Lasting),
            (30, RESETS, Refusals::Few),
            (31, 1, Refusals::Lasting),
        ] {
            let now = now + Duration::from_secs(seconds);
            assert_eq!(scanner.refused(requests, now), refusals, "after {seconds} s");
        }
    }

    #[test]
    fn trailers_are_no_requests() {
        let now = Instant::now();
        let rapid = |number| {
            let stream = number * 2 + 1;
            let block = |stream| super::frame(kind::HEADERS, END_HEADERS, stream, b"block");
            let trailers = block(stream | 1 << 31);
            let reset = super::frame(kind::RST_STREAM, 0, stream, &[0; 4]);
            [block(stream), trailers, reset].concat()
        };
        assert_eq!(passing_each(&mut scanner(now), rapid, now), (500, Breach::Resets));
    }

    #[test]
    fn trailers_of_many_fields_are_stopped_and_heads_are_not() {
        let now = Instant::now();
        let block = |fields| vec![0x82; fields];
        let headers =
            |flags, stream, fields| super::frame(kind::HEADERS, flags, stream, &block(fields));
        let request = headers(END_HEADERS, 1, 1000);
        let rest = super::frame(kind::CONTINUATION, END_HEADERS, 1, &block(2));
        let next = headers(END_HEADERS, 3, 1000);
        for (trailers, passes) in [
            (headers(END_HEADERS, 1, MAX_TRAILERS), true),
            (headers(END_HEADERS, 1, MAX_TRAILERS + 1), false),
            ([headers(0, 1, MAX_TRAILERS - 2), rest.clone()].concat(), true),
            ([headers(0, 1, MAX_TRAILERS - 1), rest.clone()].concat(), false),
        ] {
            let scan =
                scanner(now).scan(&[&request[..], &trailers, &next].concat(), &mut 3, || now);
            let end = request.len() + trailers.len();
            let stopped = Scan::Stop(end, Breach::Trailers);
            assert_eq!(scan, if passes { Scan::All } else { stopped });
        }
    }

    #[test]
    fn trailers_that_may_unpack_to_much_are_stopped_and_heads_are_not() {
        let now = Instant::now();
        // Fields of a byte each, out of the table, of 4 KB there.
        let headers =
            |stream, block: &[u8]| super::frame(kind::HEADERS, END_HEADERS, stream, block);
        let added = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
        let request = headers(1, &[&added[..], &[0xbe; 1000]].concat());
        for (fields, passes) in [(12, true), (13, false)] {
            let trailers = headers(1, &vec![0xbe; fields]);
            let scan = scanner(now).scan(&[&request[..], &trailers].concat(), &mut 2, || now);
            let stopped = Scan::Stop(request.len() + trailers.len(), Breach::Trailers);
            assert_eq!(scan, if passes { Scan::All } else { stopped });
        }
    }

    #[test]
    fn headers_that_depend_on_their_own_stream_are_stopped_and_others_are_not() {
        const PRIORITY: u8 = 0x20;
        let now = Instant::now();
        for (dependency, passes) in [(1, true), (3, false)] {
            let payload = [0, 0, 0, dependency, 16, 0x82];
            let first = super::frame(kind::HEADERS, END_HEADERS | PRIORITY, 3, &payload);
            let bytes = [first.clone(), super::frame(kind::HEADERS, END_HEADERS, 5, &[0x82])];
            let scan = scanner(now).scan(&bytes.concat(), &mut 3, || now);
            let stopped = Scan::Stop(first.len(), Breach::Dependency);
            assert_eq!(scan, if passes { Scan::All } else { stopped });
        }
    }

    #[test]
    fn a_client_that_is_to_be_stopped_is_at_the_next_border_of_a_frame() {
        let now = Instant::now();
        let request = frame(kind::HEADERS, END_HEADERS, b"head");
        for at in 1..request.len() {
            let (first, rest) = request.split_at(at);
            let mut scanner = scanner(now);
            assert_eq!(scanner.scan(first, &mut 2, || now), Scan::All);
            assert!(!scanner.stops(Breach::Malformed), "at {at}");
            let scan = scanner.scan(&[rest, &request].concat(), &mut 2, || now);
            assert_eq!(scan, Scan::Stop(rest.len(), Breach::Malformed), "at {at}");
        }
        assert!(scanner(now).stops(Breach::Malformed));
    }

    #[test]
    fn a_frame_that_cannot_have_its_length_does_not_pass() {
        let now = Instant::now();
        let request = frame(kind::HEADERS, END_HEADERS, b"head");
        for (bad, breach) in [
            (frame(kind::PING, 0, &[0; 7]), Breach::FrameSize),
            (frame(kind::PRIORITY, 0, &[0; 4]), Breach::FrameSize),
            (frame(kind::RST_STREAM, 0, &[0; 5]), Breach::FrameSize),
            (frame(kind::WINDOW_UPDATE, 0, &[]), Breach::FrameSize),
            (frame(kind::SETTINGS, 0, &[0; 7]), Breach::FrameSize),
            (frame(kind::SETTINGS, ACK, &[0; 6]), Breach::FrameSize),
            (frame(kind::PUSH_PROMISE, END_HEADERS, &[0; 6]), Breach::PushPromise),
        ] {
            let bytes = [&request[..], &bad].concat();
            let scan = scanner(now).scan(&bytes, &mut 2, || now);
            assert_eq!(scan, Scan::Stop(request.len(), breach));
        }
        for good in [
            frame(kind::SETTINGS, 0, &[0; 12]),
            frame(kind::SETTINGS, ACK, &[]),
            frame(kind::RST_STREAM, 0, &[0; 4]),
            frame(kind::PRIORITY, 0, &[0; 5]),
        ] {
            assert_eq!(scanner(now).scan(&good, &mut 2, || now), Scan::All);
        }
    }

    #[test]
    fn what_is_stopped_is_stopped_at_the_end_of_its_frame() {
        let now = Instant::now();
        let ping = frame(kind::PING, 0, &[0; 8]);
        let mut scanner = scanner(now);
        scanner.window.spent = ALLOWANCE;
        assert_eq!(scanner.scan(&ping[..12], &mut 1, || now), Scan::All);
        let rest = [&ping[12..], &ping].concat();
        assert_eq!(scanner.scan(&rest, &mut 1, || now), Scan::Stop(5, Breach::Control));
    }
}
