//! Pieces of a body that wait to be sent on, or once more.

use std::collections::VecDeque;

use bytes::BytesMut;
use http_body::Frame;
use hyper::body::Bytes;

use super::headers;

/// A piece that is shorter is copied: as a piece of its own it takes a hundred bytes and more, and keeps
/// all that was read with it. A client decides how long its pieces are.
const SHORT: usize = 2 * 1024;

/// Short pieces are joined up to this.
const JOINED: usize = 32 * 1024;

/// Pieces in their order. What they take is little more than their bytes, however short they are.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    whole: VecDeque<Frame<Bytes>>,
    /// Short ones, which come after those.
    joined: BytesMut,
}

impl Pieces {
    /// Adds a piece; its bytes are shared where it is long.
    pub(super) fn push(&mut self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            Some(data) if data.len() < SHORT => {
                self.joined.extend_from_slice(data);
                if self.joined.len() >= JOINED {
                    self.close();
                }
            }
            _ => {
                self.close();
                self.whole.extend(twin(frame));
            }
        }
    }

    fn close(&mut self) {
        if !self.joined.is_empty() {
            self.whole.push_back(Frame::data(std::mem::take(&mut self.joined).freeze()));
        }
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<Frame<Bytes>> {
        if self.whole.is_empty() {
            self.close();
        }
        self.whole.pop_front()
    }

    /// The same once more.
    pub(super) fn copy(&mut self) -> Self {
        self.close();
        Self { whole: self.whole.iter().filter_map(twin).collect(), joined: BytesMut::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.joined.is_empty()
    }
}

/// Bytes that a piece takes where it waits, and on its way.
pub(super) fn cost(frame: &Frame<Bytes>) -> usize {
    match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => data.len(),
        (None, Some(trailers)) => headers::cost(trailers),
        (None, None) => 0,
    }
}

/// The same frame once more; its bytes are shared.
fn twin(frame: &Frame<Bytes>) -> Option<Frame<Bytes>> {
    match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => Some(Frame::data(data.clone())),
        (None, Some(trailers)) => Some(Frame::trailers(trailers.clone())),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_take_no_more_than_a_long_one() {
        let mut pieces = Pieces::default();
        for byte in 0..=u8::MAX {
            pieces.push(&Frame::data(vec![byte].into()));
        }
        pieces.push(&Frame::data(vec![b'x'; SHORT].into()));
        pieces.push(&Frame::data(vec![b'y'].into()));
        pieces.push(&Frame::trailers(http::HeaderMap::new()));
        let mut copy = pieces.copy();
        for pieces in [&mut pieces, &mut copy] {
            let data = |frame: Frame<Bytes>| frame.into_data().expect("data");
            assert_eq!(pieces.pop().map(data), Some((0..=u8::MAX).collect()));
            assert_eq!(pieces.pop().map(data), Some(vec![b'x'; SHORT].into()));
            assert_eq!(pieces.pop().map(data), Some(vec![b'y'].into()));
            assert!(pieces.pop().is_some_and(|frame| frame.is_trailers()));
            assert!(pieces.is_empty() && pieces.pop().is_none());
        }
    }

    #[test]
    fn joined_pieces_do_not_grow_without_end() {
        let mut pieces = Pieces::default();
        for _ in 0..100 * 1024 {
            pieces.push(&Frame::data(Bytes::from_static(b"x")));
        }
        assert_eq!(pieces.whole.len(), 3);
    }
}
