//! The seam between the proxy and whatever speaks HTTP to an endpoint.

use std::future::Future;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};

use crate::proxy::body::RequestBody;

/// A request that got no response.
pub(in crate::proxy) struct ExchangeError {
    /// The request, where nothing of it was sent.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
    /// Whether the connection ended before the first byte of a response.
    pub(super) silent: bool,
    pub(super) cause: hyper::Error,
}

/// A connection that takes a head with a body, and gives back a head with a body.
pub(super) trait Exchange {
    /// Whether a request could be sent now; a guess, as the endpoint may close at any time.
    fn is_usable(&self) -> bool;

    /// Sends one request. Dropping the future closes the connection, or resets the stream.
    fn exchange(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, ExchangeError>>;
}

type TrySendError = hyper::client::conn::TrySendError<Request<RequestBody>>;

fn error(mut error: TrySendError) -> ExchangeError {
    let unsent = error.take_message().map(Box::new);
    let cause = error.into_error();
    let silent = cause.is_incomplete_message() || cause.is_canceled() || broken_pipe(&cause);
    ExchangeError { unsent, silent, cause }
}

/// Whether the endpoint closed while the request was on its way.
fn broken_pipe(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
            return matches!(io.kind(), BrokenPipe | ConnectionReset);
        }
        source = error.source();
    }
    false
}

impl Exchange for http1::SendRequest<RequestBody> {
    fn is_usable(&self) -> bool {
        self.is_ready()
    }

    async fn exchange(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, ExchangeError> {
        self.try_send_request(request).await.map_err(error)
    }
}

impl Exchange for http2::SendRequest<RequestBody> {
    fn is_usable(&self) -> bool {
        !self.is_closed()
    }

    async fn exchange(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, ExchangeError> {
        self.try_send_request(request).await.map_err(error)
    }
}
