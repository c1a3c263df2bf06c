//! One request to a backend: which endpoint, how often, how long.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::UpstreamBody;
use super::connect::ConnectError;
use super::http1::{self, Cause, Outgoing, Unanswered};
use super::http2_upload::UploadBody;
use super::pool::{Checkout, CheckoutError, Endpoint, Lease, Stream};
use super::tls::TlsFailure;
use crate::Limits;
use crate::proxy::body::{BodyFault, BodyProgress, RequestBody};
use crate::proxy::core_state::CoreBackend;
use crate::proxy::timers::Timer;
use crate::proxy::worker::Worker;

/// Endpoints that one request is offered to where they refuse connections, and its rule says nothing of
/// retries.
pub(in crate::proxy) const MAX_ENDPOINTS: usize = 3;

/// How often one request is sent again because its endpoint has not looked at it, where its rule says
/// nothing of retries.
pub(in crate::proxy) const MAX_REFUSALS: usize = 2;

/// How long a request may take, and how much is tried.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Attempt {
    /// End of the whole request (TO-2, `request`).
    pub(in crate::proxy) deadline: Option<Instant>,
    /// Time of one attempt (TO-2, `backendRequest`).
    pub(in crate::proxy) each: Option<Duration>,
    /// Time without progress of the request until the head of the response.
    pub(in crate::proxy) head: Option<Duration>,
    /// When it began, where it is not the first one.
    pub(in crate::proxy) begun: Option<Instant>,
    /// Endpoints that it is offered to where they refuse connections.
    pub(in crate::proxy) endpoints: usize,
    /// How often it is sent again to an endpoint that refuses its stream.
    pub(in crate::proxy) refusals: usize,
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
    /// No endpoint proved who it is over TLS (BT-7); nothing was sent.
    Tls,
    /// As many connections as the limits allow are busy, and too many requests wait for one.
    Overflow,
    /// It failed, and there may be no more retries for now.
    RetryBudget,
    /// A timeout passed.
    Timeout,
    /// The endpoint broke off, or what it sent is not HTTP.
    Upstream,
    /// The endpoint says that it has not looked at it.
    Refused,
    /// The client's part broke off.
    Client(BodyFault),
}

/// What became of a request; with a failure, the endpoint that was asked last.
pub(in crate::proxy) type Sent = Result<Answer, (Failure, Option<Rc<Endpoint>>)>;

/// Sends a request to an endpoint of a backend, which has some beside those to be `avoided`: to the one that
/// is `wanted`, where that is none of them.
///
/// An endpoint that cannot be connected to, or does not prove who it is, is left for another one. A
/// connection that was kept and turns out to be closed is replaced by the next, provided that nothing was
/// sent, or that the request is one that may be sent twice (RFC 9110 9.2.2) and the endpoint was silent. A
/// request whose body is not gone, and which an endpoint over HTTP/2 says it has not looked at, is sent
/// again, whatever it is.
pub(in crate::proxy) async fn send(
    backend: &CoreBackend,
    mut message: Message,
    attempt: Attempt,
    wanted: Option<&Rc<Endpoint>>,
    avoided: &[Rc<Endpoint>],
    worker: &Worker,
) -> Sent {
    let limits = &worker.limits;
    let progress = Rc::clone(message.progress());
    let mut tried: Vec<Rc<Endpoint>> = avoided.to_vec();
    let mut last = Failure::Connect;
    while tried.len() < avoided.len() + attempt.endpoints {
        let is_tried = |it: &Rc<Endpoint>| tried.iter().any(|tried| Rc::ptr_eq(tried, it));
        let wanted = wanted.filter(|wanted| !is_tried(wanted));
        let chosen = wanted.or_else(|| backend.endpoint(&tried));
        let Some(endpoint) = chosen.map(Rc::clone) else { break };
        let lease = Lease::new(&endpoint, limits);
        let each = attempt.each.map(|each| Instant::now() + each);
        let deadline = match (attempt.deadline, each) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let one = One { backend, endpoint: &endpoint, refusals: attempt.refusals, worker };
        let sent = {
            // Pinned here: to hand it on would make room for it once more.
            let sending = pin!(one.send(message));
            let limit = AttemptLimit { deadline, attempt, progress: &progress };
            limit.before(worker.timers.timer(), sending).await
        };
        let failure = match sent {
            Some(Ok(response)) => return Ok(Answer { response, lease, deadline }),
            Some(Err(Unsent::Refused(unsent, failure))) => {
                (message, last) = (unsent, failure);
                tried.push(endpoint);
                continue;
            }
            Some(Err(Unsent::Overflow)) => Failure::Overflow,
            Some(Err(Unsent::Failed)) => Failure::Upstream,
            Some(Err(Unsent::Ignored)) => Failure::Refused,
            None => Failure::Timeout,
        };
        // A broken request body ends the exchange too, and then the client is to blame.
        return Err((progress.fault().map_or(failure, Failure::Client), Some(endpoint)));
    }
    Err((last, tried.pop()))
}

/// When an attempt has to be over.
struct AttemptLimit<'a> {
    deadline: Option<Instant>,
    attempt: Attempt,
    progress: &'a BodyProgress,
}

impl AttemptLimit<'_> {
    /// Waits for `future` until the deadline, or until neither the request's body nor the response
    /// got any further for as long as the head may take; `None` where it took too long.
    async fn before<F: Future>(
        &self,
        mut timer: Timer,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            match self.at() {
                Some(limit) => timer.poll(cx, limit).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn at(&self) -> Option<Instant> {
        let last = self.progress.last();
        let last = self.attempt.begun.map_or(last, |begun| begun.max(last));
        match (self.deadline, self.attempt.head.map(|head| last + head)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// A request in the form that its endpoint reads.
pub(in crate::proxy) enum Message {
    Http1(Box<Outgoing>),
    Http2(Box<Request<RequestBody>>),
}

impl Message {
    pub(super) fn method(&self) -> &Method {
        match self {
            Self::Http1(outgoing) => outgoing.method(),
            Self::Http2(request) => request.method(),
        }
    }

    fn progress(&self) -> &Rc<BodyProgress> {
        match self {
            Self::Http1(outgoing) => outgoing.progress(),
            Self::Http2(request) => request.body().progress(),
        }
    }

    /// Keeps what is read of the body, up to so many bytes, for it to be sent once more.
    pub(super) fn keep_body(&mut self, most: usize) {
        match self {
            Self::Http1(outgoing) => outgoing.keep_body(most),
            Self::Http2(request) => request.body_mut().keep(most),
        }
    }

    /// The same request once more; none where its body is not kept. From now on the body is read for this
    /// one alone: an attempt that is over may not have let go of it.
    pub(super) fn again(&self) -> Option<Self> {
        Some(match self {
            Self::Http1(outgoing) => Self::Http1(outgoing.again()?),
            Self::Http2(request) => {
                let mut twin = Box::new(twin(request)?);
                twin.body_mut().begin();
                Self::Http2(twin)
            }
        })
    }
}

/// Counts that an endpoint did not prove who it is, and says so.
pub(super) fn note_tls_failure(
    worker: &Worker,
    backend: &CoreBackend,
    endpoint: &Endpoint,
    failure: &TlsFailure,
) {
    let (backend, what) = (backend.key(), "TLS with the endpoint failed");
    if let Some(reason) = failure.reason() {
        worker.telemetry.upstream_tls_failed(backend, reason);
    }
    let is_loud = failure.reason().is_some() && endpoint.is_warning_due();
    let endpoint = &endpoint.place;
    if is_loud {
        tracing::warn!(%backend, %endpoint, error = %failure, "{what}");
    } else {
        tracing::debug!(%backend, %endpoint, error = %failure, "{what}");
    }
}

/// A request that got no response from one endpoint.
enum Unsent {
    /// The endpoint takes no connections, or does not prove who it is; the request is as good as new.
    Refused(Message, Failure),
    /// There is no room for it.
    Overflow,
    /// It may have been seen by the endpoint.
    Failed,
    /// The endpoint says that it has not looked at it.
    Ignored,
}

/// One endpoint, to send one request to.
struct One<'a> {
    backend: &'a CoreBackend,
    endpoint: &'a Rc<Endpoint>,
    /// How often it is asked again where it refuses the stream.
    refusals: usize,
    worker: &'a Worker,
}

impl One<'_> {
    async fn send(&self, message: Message) -> Result<Response<UpstreamBody>, Unsent> {
        match message {
            Message::Http1(outgoing) => self.http1(outgoing).await,
            // In a box: its future would make that of every request larger.
            Message::Http2(request) => Box::pin(self.http2(*request)).await,
        }
    }

    fn limits(&self) -> &Rc<Limits> {
        &self.worker.limits
    }

    /// What becomes of a request for which there is no connection.
    #[cold]
    fn unconnected(&self, error: &CheckoutError, message: Message) -> Unsent {
        let endpoint = &self.endpoint.place;
        match error {
            CheckoutError::Connect(ConnectError::Tls(failure)) => {
                note_tls_failure(self.worker, self.backend, self.endpoint, failure);
                Unsent::Refused(message, Failure::Tls)
            }
            CheckoutError::Connect(ConnectError::Io(_)) => {
                tracing::debug!(%endpoint, %error, "no connection");
                Unsent::Refused(message, Failure::Connect)
            }
            CheckoutError::Overflow => {
                tracing::debug!(%endpoint, %error, "no connection");
                Unsent::Overflow
            }
        }
    }

    async fn http1(&self, mut outgoing: Box<Outgoing>) -> Result<Response<UpstreamBody>, Unsent> {
        let mut again = false;
        loop {
            let (connection, reused) = match self.endpoint.http1(self.limits(), again).await {
                Ok(checkout) => checkout,
                Err(error) => return Err(self.unconnected(&error, Message::Http1(outgoing))),
            };
            match http1::exchange(connection, outgoing, self.limits()).await {
                Ok(response) => return Ok(response.map(UpstreamBody::Http1)),
                Err(Unanswered { outgoing: mut unanswered, silent, cause }) => {
                    let client = matches!(cause, Cause::Client);
                    // Once: a request on which the endpoint breaks must not go through the pool.
                    if client || again || !(reused && silent && unanswered.rewind()) {
                        let endpoint = &self.endpoint.place;
                        tracing::debug!(%endpoint, error = %cause, "no response");
                        return Err(Unsent::Failed);
                    }
                    (outgoing, again) = (unanswered, true);
                }
            }
        }
    }

    async fn http2(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<UpstreamBody>, Unsent> {
        let (mut refusals, mut moves, mut again) = (0, 0, false);
        loop {
            let checkout = match self.endpoint.http2(self.limits()).await {
                Ok(checkout) => checkout,
                Err(error) => {
                    return Err(self.unconnected(&error, Message::Http2(Box::new(request))));
                }
            };
            let Checkout { mut sender, stream, reused, made } = checkout;
            let (twin, method) = (twin(&request), request.method().clone());
            let mut error = match sender.try_send_request(stream.carry(request)).await {
                Ok(response) => return self.received(response, &method, stream),
                Err(error) => error,
            };
            let unsent = error.take_message().map(|it| it.map(UploadBody::into_unsent));
            request = match (unsent, twin) {
                (Some(unsent), _) if reused => unsent,
                (Some(unsent), _) => {
                    let unsent = Message::Http2(Box::new(unsent));
                    return Err(Unsent::Refused(unsent, Failure::Connect));
                }
                (None, Some(twin))
                    if refusals < self.refusals && is_reset_unseen(error.error()) =>
                {
                    refusals += 1;
                    twin
                }
                // One that is being closed takes no more.
                (None, Some(twin)) if moves < MAX_REFUSALS && is_going_away(error.error()) => {
                    moves += 1;
                    self.endpoint.retire(made);
                    twin
                }
                (None, Some(twin))
                    if reused && !again && is_safe(&method) && is_silent(error.error()) =>
                {
                    again = true;
                    twin
                }
                _ => {
                    let endpoint = &self.endpoint.place;
                    let error = error.error();
                    tracing::debug!(%endpoint, %error, "no response");
                    let unseen = is_reset_unseen(error) || is_going_away(error);
                    return Err(if unseen { Unsent::Ignored } else { Unsent::Failed });
                }
            };
        }
    }

    /// A response over HTTP/2, held to the rules that hold over HTTP/1.
    fn received(
        &self,
        mut response: Response<Incoming>,
        method: &Method,
        stream: Stream,
    ) -> Result<Response<UpstreamBody>, Unsent> {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        // RFC 9113 8.2.1: no white space around values.
        let padded = |value: &HeaderValue| {
            let value = value.as_bytes();
            is_space(value.first()) || is_space(value.last())
        };
        let headers = response.headers_mut();
        // The library bounds the bytes of a head, not its fields.
        let malformed = headers.len() > self.limits().max_response_headers
            || headers.values().any(padded)
            || http1::length(headers).is_err();
        if malformed {
            let endpoint = &self.endpoint.place;
            tracing::debug!(%endpoint, "the head of the response is malformed or has too many fields");
            return Err(Unsent::Failed);
        }
        let empty = http1::never_has_a_body(method, response.status());
        Ok(response.map(|body| match body {
            // To drop it tells the endpoint that nobody reads it.
            _ if empty => UpstreamBody::Never,
            body => UpstreamBody::Http2 { body, _stream: stream },
        }))
    }
}

/// What the HTTP/2 library says of a request that got no response, or of a body that broke off.
pub(in crate::proxy) fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the endpoint says, of its stream alone, that it has not looked at the request (RFC 9113 8.7).
fn is_reset_unseen(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|error| {
        error.is_remote() && error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
    })
}

/// Whether the endpoint closes the connection and says that it has not looked at the request: the library
/// tells so those whom GOAWAY leaves out.
fn is_going_away(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|error| error.is_remote() && error.is_go_away())
}

/// Whether the endpoint closed while the request was on its way.
fn is_silent(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_canceled() {
        return true;
    }
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
            // The last one is that of a connection inside TLS whose session has not ended.
            return matches!(io.kind(), BrokenPipe | ConnectionReset | UnexpectedEof);
        }
        source = error.source();
    }
    false
}

/// Whether a request may be sent twice (RFC 9110 9.2.2).
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A copy of a request, where it has no body or the body is kept: of any other, something may be gone
/// already.
fn twin(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let mut twin = Request::new(request.body().again()?);
    *twin.method_mut() = request.method().clone();
    *twin.uri_mut() = request.uri().clone();
    *twin.version_mut() = request.version();
    *twin.headers_mut() = request.headers().clone();
    Some(twin)
}
