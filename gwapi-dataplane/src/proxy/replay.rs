//! A body that can be sent once more: what was read of it is kept, up to a limit.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http_body::Frame;
use hyper::body::Bytes;

use super::body::{Arriving, BodyFault, BodyProgress};
use super::copy::twin;

/// What was read so far. It is all of it, or none: where more came than may be kept, there is no
/// second time.
#[derive(Debug)]
struct Kept {
    frames: Vec<Frame<Bytes>>,
    /// Bytes of them.
    bytes: usize,
    most: usize,
    /// Frames that were read, kept or not.
    read: usize,
    is_whole: bool,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self { frames: Vec::new(), bytes: 0, most, read: 0, is_whole: true }
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        self.read += 1;
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        match twin(frame).filter(|_| self.is_whole && self.bytes <= self.most) {
            Some(twin) => self.frames.push(twin),
            None => self.forget(),
        }
    }

    fn forget(&mut self) {
        self.is_whole = false;
        self.frames = Vec::new();
    }

    fn frame(&self, position: usize) -> Option<Frame<Bytes>> {
        self.frames.get(position).and_then(twin)
    }
}

/// A body with what was read of it.
struct Repeatable {
    arriving: Box<Arriving>,
    kept: Kept,
    /// The number of the reader that began last.
    newest: usize,
    /// Wakes the reader that waits.
    waiting: Option<Waker>,
}

/// Why a reader gets nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadError {
    /// The client's part.
    Client(BodyFault),
    /// Another reader began after it.
    Superseded,
}

/// Reads a body from its beginning. The one that began last gets it, and those before nothing more.
pub(super) struct Reader {
    body: Rc<RefCell<Repeatable>>,
    /// None before it begins.
    number: Option<usize>,
    /// Frames that it has read.
    position: usize,
    /// Bytes that it has not read yet, where the length is known.
    left: Option<u64>,
    /// The length of all of it.
    length: Option<u64>,
}

impl Reader {
    /// Of a body that nothing was read of.
    pub(super) fn new(arriving: Box<Arriving>, most: usize) -> Self {
        let length = arriving.left();
        let kept = Kept::new(most);
        let body = Rc::new(RefCell::new(Repeatable { arriving, kept, newest: 0, waiting: None }));
        Self { body, number: None, position: 0, left: length, length }
    }

    /// Another reader, from the beginning; none where that is not kept.
    pub(super) fn again(&self) -> Option<Self> {
        let is_whole = self.body.borrow().kept.is_whole;
        is_whole.then(|| Self {
            body: Rc::clone(&self.body),
            number: None,
            position: 0,
            left: self.length,
            length: self.length,
        })
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        progress: &BodyProgress,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let is_last = Rc::strong_count(&self.body) == 1;
        let Repeatable { arriving, kept, newest, waiting } = &mut *self.body.borrow_mut();
        let number = *self.number.get_or_insert_with(|| {
            *newest += 1;
            if let Some(waiting) = waiting.take() {
                waiting.wake();
            }
            *newest
        });
        if number != *newest {
            return Poll::Ready(Some(Err(ReadError::Superseded)));
        }
        let frame = match kept.frame(self.position) {
            Some(frame) => frame,
            None => match arriving.poll(cx, progress) {
                Poll::Ready(Some(Ok(frame))) => {
                    kept.note(&frame);
                    frame
                }
                Poll::Ready(Some(Err(fault))) => {
                    return Poll::Ready(Some(Err(ReadError::Client(fault))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    *waiting = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            },
        };
        self.position += 1;
        if is_last && self.position == kept.read {
            // Nobody can ask for another one any more.
            kept.forget();
        }
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.map(|left| left.saturating_sub(length));
        Poll::Ready(Some(Ok(frame)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let body = self.body.borrow();
        self.position == body.kept.read && body.arriving.is_end_stream()
    }

    /// Bytes that are left, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(bytes: usize) -> Frame<Bytes> {
        Frame::data(Bytes::from(vec![b'a'; bytes]))
    }

    #[test]
    fn a_body_is_kept_whole_or_not_at_all() {
        let mut kept = Kept::new(10);
        kept.note(&data(6));
        kept.note(&data(4));
        assert_eq!((kept.is_whole, kept.frames.len()), (true, 2));
        assert!(kept.frame(1).is_some() && kept.frame(2).is_none());
        kept.note(&data(1));
        assert_eq!((kept.is_whole, kept.frames.len(), kept.read), (false, 0, 3));
        kept.note(&data(1));
        assert_eq!((kept.is_whole, kept.frames.len(), kept.read), (false, 0, 4));
    }
}
