//! One request to a backend: which endpoint, how often, how long.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use gwapi_translate::ir::BackendProtocol;
use http::{Method, Request, Response};
use hyper::body::{Body, Incoming};
use tokio::time::Instant;

use super::exchange::{Exchange, ExchangeError};
use super::pool::{Checkout, Endpoint, Lease};
use crate::Limits;
use crate::proxy::body::{BodyFault, BodyProgress, RequestBody};
use crate::proxy::core_state::CoreBackend;

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
    pub(in crate::proxy) response: Response<Incoming>,
    pub(in crate::proxy) lease: Lease,
    /// When the rest of the response has to be here.
    pub(in crate::proxy) deadline: Option<Instant>,
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Failure {
    /// No endpoint could be connected to; nothing was sent.
    Connect,
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
    mut request: Request<RequestBody>,
    attempt: Attempt,
    limits: &Rc<Limits>,
) -> Result<Answer, (Failure, Option<Rc<Endpoint>>)> {
    let progress = Rc::clone(request.body().progress());
    let mut tried: Vec<Rc<Endpoint>> = Vec::new();
    while tried.len() < MAX_ENDPOINTS.min(backend.endpoint_count()) {
        let Some(endpoint) = backend.endpoint(&tried).map(Rc::clone) else { break };
        let lease = Lease::new(&endpoint, limits);
        let each = attempt.each.map(|each| Instant::now() + each);
        let deadline = match (attempt.deadline, each) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let one = One { endpoint: &endpoint, protocol: backend.protocol(), limits };
        let sent = {
            // Pinned here: to hand it on would make room for it once more.
            let sending = pin!(one.send(request, lease));
            before(deadline, attempt.head, &progress, sending).await
        };
        let failure = match sent {
            Some(Ok((response, lease))) => return Ok(Answer { response, lease, deadline }),
            Some(Err(Unsent::Refused(unsent))) => {
                request = *unsent;
                tried.push(endpoint);
                continue;
            }
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
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    let began = Instant::now();
    let limit = || {
        let head = head.map(|head| progress.last().max(began) + head);
        match (deadline, head) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    };
    let Some(first) = limit() else { return Some(future.await) };
    let mut sleep = pin!(tokio::time::sleep_until(first));
    loop {
        tokio::select! {
            biased;
            output = &mut future => return Some(output),
            () = &mut sleep => match limit() {
                Some(limit) if limit > Instant::now() => sleep.as_mut().reset(limit),
                _ => return None,
            },
        }
    }
}

/// A request that got no response from one endpoint.
enum Unsent {
    /// The endpoint takes no connections; the request is as good as new.
    Refused(Box<Request<RequestBody>>),
    /// It may have been seen by the endpoint.
    Failed,
}

/// One endpoint, to send one request to.
struct One<'a> {
    endpoint: &'a Endpoint,
    protocol: BackendProtocol,
    limits: &'a Limits,
}

impl One<'_> {
    async fn send(
        &self,
        mut request: Request<RequestBody>,
        mut lease: Lease,
    ) -> Result<(Response<Incoming>, Lease), Unsent> {
        loop {
            let checkout = self.endpoint.checkout(self.protocol, self.limits).await;
            let (connection, reused) = match checkout {
                Ok(checkout) => checkout,
                Err(error) => {
                    tracing::debug!(endpoint = %self.endpoint.place, %error, "cannot connect");
                    return Err(Unsent::Refused(Box::new(request)));
                }
            };
            let twin = if reused { twin(&request) } else { None };
            let error = match connection {
                Checkout::Http1(mut sender) => match sender.exchange(request).await {
                    Ok(response) => {
                        lease.hold(sender);
                        return Ok((response, lease));
                    }
                    Err(error) => error,
                },
                Checkout::Http2(mut sender) => match sender.exchange(request).await {
                    Ok(response) => return Ok((response, lease)),
                    Err(error) => error,
                },
            };
            request = match error {
                ExchangeError { unsent: Some(unsent), .. } if reused => *unsent,
                ExchangeError { unsent: Some(unsent), .. } => return Err(Unsent::Refused(unsent)),
                ExchangeError { silent, cause, .. } => match twin.filter(|_| silent) {
                    Some(twin) => twin,
                    None => {
                        let endpoint = &self.endpoint.place;
                        tracing::debug!(%endpoint, error = %cause, "no response");
                        return Err(Unsent::Failed);
                    }
                },
            };
        }
    }
}

/// A copy of a request that may be sent twice: safe, and without a body.
fn twin(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe || !request.body().is_end_stream() {
        return None;
    }
    let mut twin = Request::new(RequestBody::empty(Rc::clone(request.body().progress())));
    *twin.method_mut() = request.method().clone();
    *twin.uri_mut() = request.uri().clone();
    *twin.version_mut() = request.version();
    *twin.headers_mut() = request.headers().clone();
    Some(twin)
}
