//! A body that can be sent once more: what was read of it is kept, up to a limit.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http_body::Frame;
use hyper::body::Bytes;

use super::body::{Arriving, BodyFault};
use super::pieces::{self, Pieces};

/// What was read so far. It is all of it, or none: where more came than may be kept, there is no
/// second time.
#[derive(Debug)]
struct Kept {
    pieces: Pieces,
    /// Bytes of them.
    bytes: usize,
    most: usize,
    is_whole: bool,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self { pieces: Pieces::default(), bytes: 0, most, is_whole: true }
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        self.bytes += pieces::cost(frame);
        if self.is_whole && self.bytes <= self.most {
            self.pieces.push(frame);
        } else {
            self.forget();
        }
    }

    /// Whether nothing was read yet.
    fn is_unread(&self) -> bool {
        self.is_whole && self.pieces.is_empty()
    }

    fn forget(&mut self) {
        self.is_whole = false;
        self.pieces = Pieces::default();
    }
}

/// A body with what was read of it.
struct Repeatable {
    arriving: Box<Arriving>,
    kept: Kept,
    /// The number of the reader that began last, from 1.
    newest: usize,
    /// Wakes the reader that waits.
    waiting: Option<Waker>,
}

/// Why a reader gets nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadError {
    /// The client's part.
    Client(BodyFault),
    /// Another reader began after it, or what it would begin with is not kept.
    Superseded,
}

/// The number of a reader that came too late.
const NOBODY: usize = 0;

/// Reads a body from its beginning. The one that began last gets it, and those before nothing more.
pub(super) struct Reader {
    body: Rc<RefCell<Repeatable>>,
    /// None before it begins.
    number: Option<usize>,
    /// What was read before it began, and it has not.
    again: Pieces,
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
        Self { body, number: None, again: Pieces::default(), left: length, length }
    }

    /// Another reader, from the beginning; none where that is not kept.
    pub(super) fn again(&self) -> Option<Self> {
        let is_whole = self.body.borrow().kept.is_whole;
        is_whole.then(|| Self {
            body: Rc::clone(&self.body),
            number: None,
            again: Pieces::default(),
            left: self.length,
            length: self.length,
        })
    }

    /// Begins, so that nobody else reads on: what is kept now is all that was read. Where that is more than
    /// may be kept it is too late.
    pub(super) fn begin(&mut self) -> usize {
        *self.number.get_or_insert_with(|| {
            let Repeatable { kept, newest, waiting, .. } = &mut *self.body.borrow_mut();
            if !kept.is_whole {
                return NOBODY;
            }
            *newest += 1;
            if let Some(waiting) = waiting.take() {
                waiting.wake();
            }
            self.again = kept.pieces.copy();
            *newest
        })
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let number = self.begin();
        let is_last = Rc::strong_count(&self.body) == 1;
        let Repeatable { arriving, kept, newest, waiting } = &mut *self.body.borrow_mut();
        if number != *newest {
            return Poll::Ready(Some(Err(ReadError::Superseded)));
        }
        let frame = match self.again.pop() {
            Some(frame) => frame,
            None => match arriving.poll(cx) {
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
        if is_last {
            // Nobody can ask for another one any more.
            kept.forget();
        }
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.map(|left| left.saturating_sub(length));
        Poll::Ready(Some(Ok(frame)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let body = self.body.borrow();
        let is_read = match self.number {
            Some(_) => self.again.is_empty(),
            None => body.kept.is_unread(),
        };
        is_read && body.arriving.is_end_stream()
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
        let length = |kept: &mut Kept| {
            let frame = kept.pieces.copy().pop();
            frame.and_then(|frame| frame.data_ref().map(Bytes::len))
        };
        let mut kept = Kept::new(10);
        assert!(kept.is_unread());
        kept.note(&data(6));
        kept.note(&data(4));
        assert!(kept.is_whole && !kept.is_unread());
        assert_eq!(length(&mut kept), Some(10));
        for _ in 0..2 {
            kept.note(&data(1));
            assert!(!kept.is_whole && !kept.is_unread());
            assert_eq!(length(&mut kept), None);
        }
    }

    #[test]
    fn trailers_are_of_what_is_kept() {
        let trailers = Frame::trailers(
            [(http::header::ETAG, "x".parse().expect("a value"))].into_iter().collect(),
        );
        let mut kept = Kept::new(pieces::cost(&trailers) + 10);
        kept.note(&data(10));
        kept.note(&trailers);
        assert!(kept.is_whole);
        let mut kept = Kept::new(pieces::cost(&trailers) + 9);
        kept.note(&data(10));
        kept.note(&trailers);
        assert!(!kept.is_whole);
    }
}
