//! The body of a response, whichever version of HTTP it comes by.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};

use super::http1::{Http1, Http1Body};
use super::pool::Stream;
use crate::proxy::headers;

/// The body of a response.
pub(in crate::proxy) enum UpstreamBody {
    Http1(Http1Body),
    Http2 {
        body: Incoming,
        /// Until the body is dropped it counts among those of its connection, and the request goes on.
        _stream: Stream,
    },
    /// None, whatever an endpoint over HTTP/2 sent: the response cannot have one (RFC 9110 6.4.1).
    Never,
}

impl UpstreamBody {
    /// The connection that the body came on, where it is over and another request may follow. One of
    /// HTTP/2 was never taken away.
    pub(in crate::proxy) fn take_reusable(&mut self) -> Option<Box<Http1>> {
        match self {
            Self::Http1(body) => body.take_reusable(),
            Self::Http2 { .. } | Self::Never => None,
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Http1(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|it| it.map_err(Into::into)))
            }
            Self::Http2 { body, .. } => Pin::new(body).poll_frame(cx).map(|frame| {
                frame.map(|it| {
                    let mut frame = it?;
                    if let Some(trailers) = frame.trailers_mut() {
                        // Their bytes are bounded as those of a head, where they come in.
                        if trailers.len() > headers::MAX_TRAILERS {
                            return Err("too many trailers".into());
                        }
                        headers::strip_trailers(trailers);
                    }
                    Ok(frame)
                })
            }),
            Self::Never => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2 { body, .. } => body.is_end_stream(),
            Self::Never => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2 { body, .. } => body.size_hint(),
            Self::Never => SizeHint::with_exact(0),
        }
    }
}
