//! What the windows of an HTTP/2 client have room for, as far as its frames tell.
//!
//! The HTTP/2 library takes a piece of a response as soon as there is room for a byte of it, and tells
//! nobody when the client has taken the rest. Before the last piece is handed over like that, it is
//! looked up here whether all of it is sure to have room: for most responses of most clients it is. A
//! client that closes its windows afterwards could still make it stay: so what closes them waits until all
//! of that has been written. Of endpoints the same is read, for the last pieces of requests, and does not wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use super::frames::{ACK, HEAD_LENGTH, kind};

/// What a window has room for that nobody said anything about (RFC 9113 6.9.2).
const INITIAL_WINDOW: u32 = 65_535;

/// The identifier of a stream's initial window among settings.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The windows of one client's connection. They are taken for smaller than they are, where in doubt.
#[derive(Debug)]
pub(super) struct ClientWindows {
    /// What a stream had room for at its beginning, at the least.
    stream: Cell<u32>,
    /// What the connection had room for, all in all.
    connection: Cell<u64>,
    /// Bytes of responses that were handed over, on all streams.
    handed_over: Cell<u64>,
    /// Whether something that nobody watches was handed over, and may not have been written yet.
    trusted: Cell<bool>,
    /// Pieces of that which the HTTP/2 library has not taken: it has enough of their streams.
    untaken: Cell<usize>,
    /// Whether the end of that is waited for.
    awaited: Cell<bool>,
    /// Who waits while there are such pieces.
    waiting: RefCell<Option<Waker>>,
}

impl Default for ClientWindows {
    fn default() -> Self {
        Self {
            stream: Cell::new(INITIAL_WINDOW),
            connection: Cell::new(INITIAL_WINDOW.into()),
            handed_over: Cell::new(0),
            trusted: Cell::new(false),
            untaken: Cell::new(0),
            awaited: Cell::new(false),
            waiting: RefCell::default(),
        }
    }
}

impl ClientWindows {
    pub(super) fn handed_over(&self, bytes: usize) {
        self.handed_over.set(self.handed_over.get() + bytes as u64);
    }

    /// So many of the bytes that were handed over are not written after all.
    pub(super) fn taken_back(&self, bytes: u64) {
        self.handed_over.set(self.handed_over.get() - bytes);
    }

    /// What there is room for is handed over, and nobody watches whether it goes out once it is taken.
    pub(super) fn trust(&self) {
        self.trusted.set(true);
        self.untaken.set(self.untaken.get() + 1);
    }

    /// The library has taken it, or it is gone.
    pub(super) fn taken(&self) {
        self.untaken.set(self.untaken.get() - 1);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// All that was taken has been written.
    pub(super) fn settle(&self, cx: &Context<'_>) {
        if self.untaken.get() > 0 {
            if self.awaited.get() {
                self.waiting.replace(Some(cx.waker().clone()));
            }
            return;
        }
        self.trusted.set(false);
        if self.awaited.take() {
            cx.waker().wake_by_ref();
        }
    }

    /// Whether that is so, and what closes them may pass. Where it is not, the task is woken when it is.
    pub(super) fn are_settled(&self) -> bool {
        self.awaited.set(self.trusted.get());
        !self.trusted.get()
    }

    /// Whether there is room for so many bytes more, on a stream that has had `before`.
    pub(super) fn have_room_for(&self, bytes: usize, before: u64) -> bool {
        let bytes = bytes as u64;
        before + bytes <= self.stream.get().into()
            && self.handed_over.get() + bytes <= self.connection.get()
    }
}

/// Reads what changes the windows, frame by frame and in whatever pieces it comes.
#[derive(Debug, Default)]
pub(super) struct WindowReader {
    windows: Rc<ClientWindows>,
    frame: Option<Frame>,
    entry: [u8; 6],
    length: usize,
}

/// The frames that do.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Settings,
    /// WINDOW_UPDATE of the connection.
    Update,
}

impl WindowReader {
    pub(super) fn windows(&self) -> &Rc<ClientWindows> {
        &self.windows
    }

    /// A frame with this head has begun.
    pub(super) fn begin(&mut self, head: &[u8; HEAD_LENGTH]) {
        let [_, _, _, kind, flags, stream @ ..] = *head;
        self.length = 0;
        self.frame = match kind {
            kind::SETTINGS if flags & ACK == 0 => Some(Frame::Settings),
            kind::WINDOW_UPDATE if stream == [0; 4] => Some(Frame::Update),
            _ => None,
        };
    }

    /// More of its payload. How much of that may pass: what would close windows does not while something
    /// was handed over that had room in them.
    pub(super) fn read(&mut self, payload: &[u8]) -> usize {
        let Some(frame) = self.frame else { return payload.len() };
        let whole = match frame {
            Frame::Settings => 6,
            Frame::Update => 4,
        };
        for (at, byte) in payload.iter().enumerate() {
            self.entry[self.length] = *byte;
            if self.length + 1 < whole {
                self.length += 1;
            } else if self.take(frame) {
                self.length = 0;
            } else {
                return at;
            }
        }
        payload.len()
    }

    /// Takes note of what a frame says; not where that has to wait.
    fn take(&self, frame: Frame) -> bool {
        let [a, b, c, d, e, f] = self.entry;
        let windows = &self.windows;
        match frame {
            Frame::Settings if u16::from_be_bytes([a, b]) == INITIAL_WINDOW_SIZE => {
                let size = u32::from_be_bytes([c, d, e, f]);
                if size < windows.stream.get() {
                    if !windows.are_settled() {
                        return false;
                    }
                    windows.stream.set(size);
                }
            }
            Frame::Settings => {}
            Frame::Update => {
                // The first bit means nothing (RFC 9113 6.9).
                let more = u32::from_be_bytes([a & 0x7f, b, c, d]);
                windows.connection.set(windows.connection.get() + u64::from(more));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// The windows of a client that has sent these frames, byte by byte.
    fn windows(frames: &[(u8, u8, u8, &[u8])]) -> Rc<ClientWindows> {
        let mut reader = WindowReader::default();
        for (kind, flags, stream, payload) in frames {
            reader.begin(&[0, 0, payload.len() as u8, *kind, *flags, 0, 0, 0, *stream]);
            payload.chunks(1).for_each(|byte| assert_eq!(reader.read(byte), 1));
        }
        Rc::clone(reader.windows())
    }

    #[test]
    fn a_stream_has_room_for_what_it_had_at_the_least() {
        let settings: &[&[u8]] =
            &[&[0, 3, 0, 0, 0, 9, 0, 4, 0, 0, 0, 10], &[0, 4, 0, 1, 0, 0], &[]];
        let frames: Vec<_> = settings.iter().map(|it| (kind::SETTINGS, 0, 0, *it)).collect();
        for (frames, room) in [(&frames[..], 10), (&frames[1..], 65_535), (&[], 65_535)] {
            let windows = windows(frames);
            assert!(windows.have_room_for(room, 0) && windows.have_room_for(room - 4, 4));
            assert!(!windows.have_room_for(room + 1, 0) && !windows.have_room_for(room, 1));
        }
    }

    #[test]
    fn a_connection_has_room_for_what_it_was_opened_for_less_what_was_handed_over() {
        let update: &[u8] = &[0x80, 0, 0, 5];
        let windows = windows(&[
            (kind::WINDOW_UPDATE, 0, 0, update),
            (kind::WINDOW_UPDATE, 0, 1, update),
            (kind::DATA, 0, 0, update),
        ]);
        windows.handed_over(65_000);
        assert!(windows.have_room_for(540, 0));
        assert!(!windows.have_room_for(541, 0));
        windows.taken_back(10);
        assert!(windows.have_room_for(550, 0));
        assert!(!windows.have_room_for(551, 0));
    }

    #[test]
    fn windows_are_not_closed_while_something_relies_on_them() {
        let mut reader = WindowReader::default();
        let windows = Rc::clone(reader.windows());
        windows.trust();
        windows.taken();
        let payload = [0, 3, 0, 0, 0, 9, 0, 4, 0, 1, 0, 0, 0, 4, 0, 0, 0, 10, 0, 1, 0, 0, 0, 0];
        reader.begin(&[0, 0, payload.len() as u8, kind::SETTINGS, 0, 0, 0, 0, 0]);
        assert_eq!(reader.read(&payload), 17);
        assert_eq!(reader.read(&payload[17..]), 0);
        assert!(windows.have_room_for(65_535, 0));
        windows.settle(&Context::from_waker(Waker::noop()));
        assert_eq!(reader.read(&payload[17..]), 7);
        assert!(windows.have_room_for(10, 0) && !windows.have_room_for(11, 0));
    }
}
