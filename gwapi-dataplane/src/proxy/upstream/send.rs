//! One request to a backend: which endpoint, how often, how long.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Body;
use tokio::time::Instant;

use super::body::UpstreamBody;
use super::http1::{self, Cause, Outgoing, Unanswered};
use super::pool::{CheckoutError, Endpoint, Lease};
use crate::Limits;
use crate::proxy::body::{BodyFault, BodyProgress, RequestBody};
use crate::proxy::core_state::CoreBackend;
use crate::proxy::timers::Timer;
use crate::proxy::worker::Worker;

/// Endpoints that one request is offered to where they refuse connections.
const MAX_ENDPOINTS: usize = 3;

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Attempt {
    /// End of the whole request (TO-2, `request`).
    pub(in crate::proxy) deadline: Option<Instant>,
    /// Time of one attempt (TO-2, `backendRequest`).
    pub(in crate::proxy) each: Option<Duration>,
    /// Time without progress of the request until the head of the response.
    pub(in crate::proxy) head: Option<Duration>,
}

/// A response, with the hold on its endpoint.
pub(in crate::proxy) struct Answer {
    pub(in crate::proxy) response: Response<UpstreamBody>,
    pub(in crate::proxy) lease: Lease,
    /// When the rest of the response has to be here.
    pub(in crate::proxy) deadline: Option<Instant>,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Failure {
    /// No endpoint could be connected to; nothing was sent.
    Connect,
    /// As many connections as the limits allow are busy, and too many requests wait for one.
    Overflow,
    /// A timeout passed.
    Timeout,
    /// The endpoint broke off, or what it sent is not HTTP.
    Upstream,
    /// The client's part broke off.
    Client(BodyFault),
}

/// Sends a request to an endpoint of a backend, which has some.
///
/// An endpoint that cannot be connected to is left for another one. A connection that was kept and
/// turns out to be closed is replaced by the next, provided that nothing was sent, or that the
/// request is one that may be sent twice (RFC 9110 9.2.2) and the endpoint was silent.
pub(in crate::proxy) async fn send(
    backend: &CoreBackend,
    mut message: Message,
    attempt: Attempt,
    worker: &Worker,
) -> Result<Answer, (Failure, Option<Rc<Endpoint>>)> {
    let limits = &worker.limits;
    let progress = Rc::clone(match &message {
        Message::Http1(outgoing) => outgoing.progress(),
        Message::Http2(request) => request.body().progress(),
    });
    let mut tried: Vec<Rc<Endpoint>> = Vec::new();
    while tried.len() < MAX_ENDPOINTS.min(backend.endpoint_count()) {
        let Some(endpoint) = backend.endpoint(&tried).map(Rc::clone) else { break };
        let lease = Lease::new(&endpoint, limits);
        let each = attempt.each.map(|each| Instant::now() + each);
        let deadline = match (attempt.deadline, each) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let one = One { endpoint: &endpoint, limits };
        let sent = {
            // Pinned here: to hand it on would make room for it once more.
            let sending = pin!(one.send(message));
            before(deadline, attempt.head, &progress, worker.timers.timer(), sending).await
        };
        let failure = match sent {
            Some(Ok(response)) => return Ok(Answer { response, lease, deadline }),
            Some(Err(Unsent::Refused(unsent))) => {
                message = unsent;
                tried.push(endpoint);
                continue;
            }
            Some(Err(Unsent::Overflow)) => Failure::Overflow,
            Some(Err(Unsent::Failed)) => Failure::Upstream,
            None => Failure::Timeout,
        };
        // A broken request body ends the exchange too, and then the client is to blame.
        return Err((progress.fault().map_or(failure, Failure::Client), Some(endpoint)));
    }
    Err((Failure::Connect, tried.pop()))
}

/// Waits for `future` until the deadline, or until neither the request's body nor the response
/// got any further for `head`; `None` where it took too long.
async fn before<F: Future>(
    deadline: Option<Instant>,
    head: Option<Duration>,
    progress: &BodyProgress,
    mut timer: Timer,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    let limit = || {
        let head = head.map(|head| progress.last() + head);
        match (deadline, head) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    };
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match limit() {
            Some(limit) => timer.poll(cx, limit).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

/// A request in the form that its endpoint reads.
pub(in crate::proxy) enum Message {
    Http1(Box<Outgoing>),
    Http2(Box<Request<RequestBody>>),
}

/// A request that got no response from one endpoint.
enum Unsent {
    /// The endpoint takes no connections; the request is as good as new.
    Refused(Message),
    /// There is no room for it.
    Overflow,
    /// It may have been seen by the endpoint.
    Failed,
}

/// One endpoint, to send one request to.
struct One<'a> {
    endpoint: &'a Endpoint,
    limits: &'a Limits,
}

impl One<'_> {
    async fn send(&self, message: Message) -> Result<Response<UpstreamBody>, Unsent> {
        match message {
            Message::Http1(outgoing) => self.http1(outgoing).await,
            // In a box: its future would make that of every request larger.
            Message::Http2(request) => Box::pin(self.http2(*request)).await,
        }
    }

    async fn http1(&self, mut outgoing: Box<Outgoing>) -> Result<Response<UpstreamBody>, Unsent> {
        loop {
            let (connection, reused) = match self.endpoint.http1(self.limits).await {
                Ok(checkout) => checkout,
                Err(error) => {
                    tracing::debug!(endpoint = %self.endpoint.place, %error, "no connection");
                    return Err(match error {
                        CheckoutError::Connect(_) => Unsent::Refused(Message::Http1(outgoing)),
                        CheckoutError::Overflow => Unsent::Overflow,
                    });
                }
            };
            match http1::exchange(connection, outgoing, self.limits).await {
                Ok(response) => return Ok(response.map(UpstreamBody::Http1)),
                Err(Unanswered { outgoing: mut unanswered, silent, cause }) => {
                    let client = matches!(cause, Cause::Client);
                    if client || !(reused && silent && unanswered.rewind()) {
                        let endpoint = &self.endpoint.place;
                        tracing::debug!(%endpoint, error = %cause, "no response");
                        return Err(Unsent::Failed);
                    }
                    outgoing = unanswered;
                }
            }
        }
    }

    async fn http2(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<UpstreamBody>, Unsent> {
        loop {
            let (mut sender, reused) = match self.endpoint.http2(self.limits).await {
                Ok(checkout) => checkout,
                Err(error) => {
                    tracing::debug!(endpoint = %self.endpoint.place, %error, "no connection");
                    return Err(Unsent::Refused(Message::Http2(Box::new(request))));
                }
            };
            let twin = if reused { twin(&request) } else { None };
            let mut error = match sender.try_send_request(request).await {
                // The library bounds the bytes of a head, not its fields.
                Ok(response) if response.headers().len() > self.limits.max_response_headers => {
                    let endpoint = &self.endpoint.place;
                    tracing::debug!(%endpoint, "too many fields in the head of the response");
                    return Err(Unsent::Failed);
                }
                Ok(response) => return Ok(response.map(UpstreamBody::Http2)),
                Err(error) => error,
            };
            request = match (error.take_message(), twin) {
                (Some(unsent), _) if reused => unsent,
                (Some(unsent), _) => return Err(Unsent::Refused(Message::Http2(Box::new(unsent)))),
                (None, Some(twin)) if is_silent(error.error()) => twin,
                _ => {
                    let endpoint = &self.endpoint.place;
                    tracing::debug!(%endpoint, error = %error.error(), "no response");
                    return Err(Unsent::Failed);
                }
            };
        }
    }
}

/// Whether the endpoint closed while the request was on its way.
fn is_silent(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_canceled() {
        return true;
    }
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

/// A copy of a request that may be sent twice: safe, and without a body.
fn twin(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe || !request.body().is_end_stream() {
        return None;
    }
    let mut twin = Request::new(request.body().empty());
    *twin.method_mut() = request.method().clone();
    *twin.uri_mut() = request.uri().clone();
    *twin.version_mut() = request.version();
    *twin.headers_mut() = request.headers().clone();
    Some(twin)
}
