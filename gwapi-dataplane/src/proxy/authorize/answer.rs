//! What a service says of a request, or fails to say.

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRAILER,
};
use ::http::{Response, StatusCode};
use hyper::body::{Body, Bytes};
use std::future::poll_fn;
use std::pin::Pin;

use crate::proxy::body::{BodyFault, ProxyBody};
use crate::proxy::present::Present;
use crate::proxy::reply::LocalReply;
use crate::proxy::upstream::{Answer, Failure};
use crate::proxy::worker::Worker;

/// What came of asking, in a word for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Outcome {
    Allowed,
    Denied,
    /// Nobody answered as asked: the reason.
    Failed(&'static str),
}

impl Outcome {
    /// The word in metrics.
    pub(in crate::proxy) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed(reason) => reason,
        }
    }

    /// The word in the access log.
    pub(in crate::proxy) fn in_short(self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            decided => decided.as_str(),
        }
    }
}

/// Why a request does not go on.
#[derive(Debug)]
pub(in crate::proxy) enum Denial {
    /// The service said so: its answer is the client's, less what belongs to its connection.
    Relayed(Box<Relayed>),
    /// The service did not answer as asked (EA-1).
    Failed(Failed),
    /// The body is longer than what the service may be shown (EA-4).
    TooLong,
    /// The client broke off before the service was asked.
    Client(BodyFault),
    /// The time of the rule was over before the service was asked (TO-2).
    Deadline,
}

/// The answer of a service that denies.
#[derive(Debug)]
pub(in crate::proxy) struct Relayed {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) body: Bytes,
}

impl Relayed {
    pub(in crate::proxy) fn into_response(self) -> Response<ProxyBody> {
        let mut response = Response::new(ProxyBody::bytes(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// Why a service did not answer as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Failed {
    /// The reference leads nowhere.
    NoService,
    NoEndpoints,
    Connect,
    Tls,
    Overflow,
    Timeout,
    /// It broke off, or what it sent is not HTTP.
    Endpoint,
    /// It answered, but not in the protocol that was agreed on, or with more than fits the limit.
    Invalid,
    /// What the client asked for cannot be put into a question.
    Unaskable,
}

impl Failed {
    /// The word in the metrics.
    pub(in crate::proxy) fn reason(self) -> &'static str {
        match self {
            Self::NoService => "no_service",
            Self::NoEndpoints => "no_endpoints",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Overflow => "overflow",
            Self::Timeout => "timeout",
            Self::Endpoint => "endpoint",
            Self::Invalid | Self::Unaskable => "invalid",
        }
    }

    /// EA-1: what a client gets is what it gets of a backend in the same trouble.
    pub(in crate::proxy) fn reply(self) -> LocalReply {
        match self {
            Self::NoService => LocalReply::NoBackend("the authorization service is invalid"),
            Self::NoEndpoints => {
                LocalReply::Unavailable("the authorization service has no endpoints")
            }
            Self::Connect => {
                LocalReply::Unavailable("no endpoint of the authorization service answers")
            }
            Self::Tls => LocalReply::BadGateway("TLS with the authorization service failed"),
            Self::Overflow => {
                LocalReply::Unavailable("too many requests wait for the authorization service")
            }
            Self::Timeout => LocalReply::AuthorizationTimeout,
            Self::Endpoint | Self::Invalid => {
                LocalReply::BadGateway("the authorization service did not answer properly")
            }
            Self::Unaskable => LocalReply::BadRequest("malformed host or path"),
        }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connect => Self::Connect,
            Failure::Tls => Self::Tls,
            Failure::Overflow => Self::Overflow,
            Failure::Timeout => Self::Timeout,
            // The question is whole before it is sent, so that no client has a part in it, and no rule has
            // it sent again.
            Failure::Upstream | Failure::Refused | Failure::Client(_) | Failure::RetryBudget => {
                Self::Endpoint
            }
        }
    }
}

impl From<Failed> for Denial {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// How a field is put among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Overwrite,
    Append,
    IfAbsent,
    IfPresent,
}

/// Fields to put among others, in their order.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Added(pub(super) Vec<(HeaderName, HeaderValue, Put)>);

impl Added {
    pub(in crate::proxy) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value, put) in &self.0 {
            let is_there = headers.contains_key(name);
            match put {
                Put::Append => drop(headers.append(name, value.clone())),
                Put::IfAbsent if is_there => {}
                Put::IfPresent if !is_there => {}
                Put::Overwrite | Put::IfAbsent | Put::IfPresent => {
                    headers.insert(name, value.clone());
                }
            }
        }
    }

    pub(in crate::proxy) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }
}

/// What a service that consents wants of the request, and of its response.
#[derive(Debug, Default)]
pub(super) struct Consent {
    /// Fields that go first: what a client wrote in them is not the service's.
    pub(super) cleared: Vec<HeaderName>,
    pub(super) request: Added,
    /// Fields that go last.
    pub(super) removed: Vec<HeaderName>,
    pub(super) response: Added,
}

impl Consent {
    /// The fields of the request that are the service's, and no trailers of a client.
    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let added = self.request.0.iter().map(|(name, ..)| name);
        self.cleared.iter().chain(added).chain(&self.removed)
    }

    /// Changes the fields of the request.
    pub(super) fn change_request(&self, headers: &mut HeaderMap) {
        for name in &self.cleared {
            headers.remove(name);
        }
        self.request.apply(headers);
        for name in &self.removed {
            headers.remove(name);
        }
    }
}

/// Whether a service may change a field of the request: all but the host, those that frame messages or
/// belong to one connection, and those that the proxy answers for.
pub(super) fn is_changeable(name: &HeaderName) -> bool {
    let kind = Present::named(name.as_str()).without(Present::COOKIE);
    *name != HOST
        && *name != TRAILER
        && kind == Present::default()
        && !crate::proxy::headers::is_disguised(name.as_str())
}

/// Whether a service may set a field of the client's response.
pub(super) fn is_relayed(name: &HeaderName) -> bool {
    let of_one_hop = Present::CONNECTION
        .and(Present::CONTENT_LENGTH)
        .and(Present::TE)
        .and(Present::TRANSFER_ENCODING)
        .and(Present::UPGRADE)
        .and(Present::HOP);
    *name != TRAILER && !Present::named(name.as_str()).any(of_one_hop)
}

/// The fields of an answer that a client gets.
pub(super) fn relayed(mut headers: HeaderMap) -> HeaderMap {
    let present = Present::of(&headers);
    crate::proxy::headers::strip_response(&mut headers, present);
    for name in [CONNECTION, CONTENT_LENGTH, TRAILER] {
        headers.remove(name);
    }
    headers
}

/// Reads the body of an answer up to the limit, with its trailers, and gives its connection back.
pub(super) async fn read_up(
    answer: Answer,
    worker: &Worker,
) -> Result<(Response<Bytes>, Option<HeaderMap>), Failed> {
    let Answer { response, lease, .. } = answer;
    let (head, mut incoming) = response.into_parts();
    let most = worker.limits.max_auth_answer_bytes;
    let (mut bytes, mut trailers) = (bytes::BytesMut::new(), None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        match frame.map_err(|_| Failed::Endpoint)?.into_data() {
            Ok(data) if bytes.len() + data.len() > most => return Err(Failed::Invalid),
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    lease.give_back(incoming.take_reusable());
    Ok((Response::from_parts(head, bytes.freeze()), trailers))
}
