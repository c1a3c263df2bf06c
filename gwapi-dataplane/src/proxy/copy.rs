//! A body on two ways: what is read of it for one is kept until it is sent on the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http_body::Frame;
use hyper::body::Bytes;

use super::pieces::{self, Pieces};

/// What a copy has not taken yet.
#[derive(Debug)]
struct Queue {
    /// Bytes that the copy may be behind. One that is slower than that is given up: it must hold nobody
    /// back, and memory has an end.
    most: usize,
    pieces: RefCell<Pieces>,
    bytes: Cell<usize>,
    end: Cell<Option<End>>,
    waker: RefCell<Option<Waker>>,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

impl Queue {
    fn new(most: usize) -> Self {
        Self {
            most,
            pieces: RefCell::default(),
            bytes: Cell::new(0),
            end: Cell::new(None),
            waker: RefCell::default(),
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn finish(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
            self.wake();
        }
    }

    fn push(&self, frame: &Frame<Bytes>) {
        if self.end.get().is_some() {
            return;
        }
        let bytes = self.bytes.get() + pieces::cost(frame);
        if bytes > self.most {
            *self.pieces.borrow_mut() = Pieces::default();
            return self.finish(End::Broken);
        }
        self.bytes.set(bytes);
        self.pieces.borrow_mut().push(frame);
        self.wake();
    }
}

/// Those who copy a body; a body that is given up is broken for them, too.
#[derive(Debug, Default)]
pub(super) struct Copies(Vec<Rc<Queue>>);

impl Copies {
    /// One more, of a body of this length, if it is known, that may be so many bytes behind.
    pub(super) fn add(&mut self, length: Option<u64>, most: usize) -> BodyCopy {
        let queue = Rc::new(Queue::new(most));
        self.0.push(Rc::clone(&queue));
        BodyCopy { queue, left: length }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Something was read.
    pub(super) fn push(&self, frame: &Frame<Bytes>) {
        self.0.iter().for_each(|queue| queue.push(frame));
    }

    /// All of it was read.
    pub(super) fn complete(&self) {
        self.0.iter().for_each(|queue| queue.finish(End::Whole));
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.0.iter().for_each(|queue| queue.finish(End::Broken));
    }
}

/// The copy of a body.
#[derive(Debug)]
pub(super) struct BodyCopy {
    queue: Rc<Queue>,
    /// Bytes that have not been taken, where the length is known.
    left: Option<u64>,
}

/// The original was given up, or the copy is too far behind.
#[derive(Debug)]
pub(super) struct BrokenCopy;

impl BodyCopy {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenCopy>>> {
        if let Some(frame) = self.queue.pieces.borrow_mut().pop() {
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.queue.bytes.set(self.queue.bytes.get() - pieces::cost(&frame));
            self.left = self.left.map(|left| left.saturating_sub(length as u64));
            return Poll::Ready(Some(Ok(frame)));
        }
        match self.queue.end.get() {
            Some(End::Whole) => Poll::Ready(None),
            Some(End::Broken) => Poll::Ready(Some(Err(BrokenCopy))),
            None => {
                *self.queue.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.queue.end.get() == Some(End::Whole) && self.queue.pieces.borrow().is_empty()
    }

    /// Bytes that are left, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEHIND: usize = 1024;

    fn data(bytes: usize) -> Frame<Bytes> {
        Frame::data(Bytes::from(vec![b'a'; bytes]))
    }

    fn poll(copy: &mut BodyCopy) -> Poll<Option<Result<usize, BrokenCopy>>> {
        let mut cx = Context::from_waker(Waker::noop());
        let length = |frame: Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len);
        copy.poll(&mut cx).map(|frame| frame.map(|frame| frame.map(length)))
    }

    #[test]
    fn a_copy_gets_what_was_read_and_its_end() {
        let mut copies = Copies::default();
        let mut copy = copies.add(Some(5), BEHIND);
        assert!(poll(&mut copy).is_pending());
        copies.push(&data(2));
        assert!(matches!(poll(&mut copy), Poll::Ready(Some(Ok(2)))));
        copies.push(&data(3));
        assert_eq!(copy.left(), Some(3));
        copies.complete();
        assert!(!copy.is_end_stream());
        assert!(matches!(poll(&mut copy), Poll::Ready(Some(Ok(3)))));
        assert!(copy.is_end_stream() && matches!(poll(&mut copy), Poll::Ready(None)));
    }

    #[test]
    fn a_body_that_is_given_up_is_broken_for_its_copies() {
        let mut copies = Copies::default();
        let mut copy = copies.add(None, BEHIND);
        copies.push(&data(1));
        drop(copies);
        assert!(matches!(poll(&mut copy), Poll::Ready(Some(Ok(1)))));
        assert!(matches!(poll(&mut copy), Poll::Ready(Some(Err(BrokenCopy)))));
    }

    #[test]
    fn a_copy_that_is_too_slow_is_given_up_and_holds_nothing() {
        let mut copies = Copies::default();
        let (mut slow, mut fast) = (copies.add(None, BEHIND), copies.add(None, BEHIND));
        for _ in 0..3 {
            copies.push(&data(BEHIND / 2));
            assert!(matches!(poll(&mut fast), Poll::Ready(Some(Ok(_)))));
        }
        assert!(matches!(poll(&mut slow), Poll::Ready(Some(Err(BrokenCopy)))));
        assert!(slow.queue.pieces.borrow().is_empty());
    }
}
