//! The body of a response, which reads its connection itself, and gives it back at the end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::chunked::{self, ChunkedReader, Piece};
use super::connection::Http1;
use super::head::Framing;
use super::outgoing::SendError;
use super::take_front;
use super::upload::Upload;
use crate::proxy::present::Present;

/// Bytes of a body that are read at once. More would be held for clients that read slowly.
const READ: usize = 32 * 1024;

/// A chunk that is not copied to be joined with the next.
const SHORT: usize = 2 * 1024;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum BodyError {
    #[error("the connection was closed within the body")]
    Incomplete,
    #[error("malformed chunks")]
    Malformed,
    /// The client's part of the exchange, which was still under way.
    #[error("the body of the request broke off")]
    Client,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The body of a response.
pub(in crate::proxy) struct Http1Body {
    /// Until the end of the body, and after it until it is taken back.
    connection: Option<Box<Http1>>,
    framing: Framing,
    keep_alive: bool,
    ended: bool,
    /// What the head before it holds.
    present: Present,
    /// Why the body broke off, until that is told.
    broken: Option<BodyError>,
    /// The rest of the request, where the endpoint began to answer before its end.
    upload: Option<Upload>,
    /// Trailers that came with the last piece.
    trailers: Option<HeaderMap>,
}

impl Http1Body {
    pub(super) fn new(
        connection: Box<Http1>,
        framing: Framing,
        keep_alive: bool,
        upload: Option<Upload>,
        present: Present,
    ) -> Self {
        let ended = framing.is_empty();
        Self {
            connection: Some(connection),
            framing,
            keep_alive,
            ended,
            present,
            broken: None,
            upload,
            trailers: None,
        }
    }

    /// The kinds of fields in the head before it.
    pub(in crate::proxy) fn present(&self) -> Present {
        self.present
    }

    /// The connection, where the body is over and another request may follow on it.
    pub(in crate::proxy) fn take_reusable(&mut self) -> Option<Box<Http1>> {
        let sent = self.upload.is_none();
        let mut connection = self.connection.take_if(|_| self.ended)?;
        let reusable = self.keep_alive && sent && connection.input().is_empty();
        // While it is idle it holds no memory for what it reads.
        *connection.input() = BytesMut::new();
        reusable.then_some(connection)
    }

    /// The connection, for whatever follows HTTP on it.
    pub(in crate::proxy) fn into_connection(self) -> Option<Box<Http1>> {
        self.connection
    }

    /// Looks after the rest of the request. An endpoint that takes no more of it may still answer in
    /// full.
    fn look_after_upload(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let (Some(upload), Some(connection)) = (&mut self.upload, &mut self.connection) else {
            return Ok(());
        };
        match upload.poll(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(write)) => connection.take_back(write),
            Poll::Ready(Err(SendError::Io(_))) => self.keep_alive = false,
            Poll::Ready(Err(SendError::Client)) => return Err(BodyError::Client),
        }
        self.upload = None;
        Ok(())
    }

    /// Takes the next piece out of what was read; `None` where more has to be read.
    fn take(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let input = connection.input();
        match &mut self.framing {
            Framing::Length(rest) => {
                if input.is_empty() {
                    return Ok(None);
                }
                let length = usize::try_from(*rest).map_or(input.len(), |r| r.min(input.len()));
                *rest -= length as u64;
                self.ended = *rest == 0;
                Ok(Some(Frame::data(take_front(input, length))))
            }
            Framing::UntilClose => {
                Ok((!input.is_empty()).then(|| Frame::data(take_front(input, input.len()))))
            }
            Framing::Chunked(_) if self.trailers.is_some() => Ok(self.take_trailers()),
            Framing::Chunked(reader) => {
                let (data, end) = next_chunks(reader, input)?;
                if let Some(trailers) = end {
                    (self.ended, self.trailers) = (trailers.is_none(), trailers);
                }
                if data.is_empty() { Ok(self.take_trailers()) } else { Ok(Some(Frame::data(data))) }
            }
        }
    }

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        self.look_after_upload(cx)?;
        loop {
            if let Some(frame) = self.take()? {
                return Poll::Ready(Ok(Some(frame)));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            if !ready!(self.poll_more(cx))? {
                let whole = matches!(self.framing, Framing::UntilClose);
                self.ended = whole;
                return Poll::Ready(if whole { Ok(None) } else { Err(BodyError::Incomplete) });
            }
        }
    }

    fn take_trailers(&mut self) -> Option<Frame<Bytes>> {
        let trailers = self.trailers.take()?;
        self.ended = true;
        Some(Frame::trailers(trailers))
    }

    /// Reads more; `false` at the end of the connection.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(false)) };
        let room = match &self.framing {
            Framing::Length(rest) => usize::try_from(*rest).map_or(READ, |rest| rest.min(READ)),
            Framing::Chunked(_) | Framing::UntilClose => READ,
        };
        Poll::Ready(Ok(ready!(connection.poll_read(cx, room))? > 0))
    }
}

/// The data of the chunks that are there, and the end where it is reached. Short ones are joined: each
/// piece costs the same on its way to the client, however short it is.
fn next_chunks(
    reader: &mut ChunkedReader,
    input: &mut BytesMut,
) -> Result<(Bytes, Option<Option<HeaderMap>>), BodyError> {
    let mut joined = BytesMut::new();
    loop {
        match reader.next(input).map_err(|chunked::Malformed| BodyError::Malformed)? {
            None => return Ok((joined.freeze(), None)),
            Some(Piece::End(trailers)) => return Ok((joined.freeze(), Some(trailers))),
            Some(Piece::Data(data)) if joined.is_empty() && data.len() >= SHORT => {
                return Ok((data, None));
            }
            Some(Piece::Data(data)) => {
                joined.extend_from_slice(&data);
                if joined.len() >= READ {
                    return Ok((joined.freeze(), None));
                }
            }
        }
    }
}

impl Body for Http1Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(this.poll_piece(cx)) {
            Ok(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Ok(None) => Poll::Ready(None),
            Err(error) => {
                // Told at once, it would overtake the pieces before it on their way to the client.
                this.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(rest) => SizeHint::with_exact(rest),
            Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_chunks_are_joined_and_the_end_that_comes_with_them_is_not_lost() {
        let mut input = BytesMut::new();
        for _ in 0..20_000 {
            input.extend_from_slice(b"1\r\nx\r\n");
        }
        input.extend_from_slice(b"0\r\nx-sum: 1\r\n\r\n");
        let mut reader = ChunkedReader::new(1024);
        let (first, end) = next_chunks(&mut reader, &mut input).expect("it is well formed");
        assert_eq!(
            (first.len(), end),
            (
                20_000,
                Some(Some(
                    [("x-sum", "1")]
                        .into_iter()
                        .map(|(n, v)| (
                            n.parse::<http::HeaderName>().expect("a name"),
                            v.parse::<http::HeaderValue>().expect("a value")
                        ))
                        .collect()
                ))
            )
        );
    }
}
