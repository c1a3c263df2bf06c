//! External authorization: a service is asked whether a request may go on (HF-9, EA-1 to EA-4).
//!
//! ```text
//!  plan ─► Guards ─► headers as filters change them ─► Authorizer::ask ─► Consent ─► the request goes on
//!                                                          └─► Denial ─► the client
//! ```
//!
//! Whatever is not the consent of the service denies: nothing goes on that nobody has agreed to (EA-1).

mod answer;
mod check;
mod grpc;
mod guards;
mod http;

use std::rc::Rc;

use ::http::header::{HeaderMap, HeaderName, HeaderValue};
use ::http::request::Parts;
use ::http::uri::PathAndQuery;
use gwapi_translate::ir::{self, BackendKey, BackendTarget, ExternalAuthProtocol, HeaderNames};
use hyper::body::Bytes;
use tokio::time::Instant;

pub(super) use answer::{Added, Denial, Outcome};
pub(super) use guards::{Asked, Guards, ListenerGuards, Settled};

use self::answer::{Consent, Failed};
use super::body::RequestBody;
use super::connection::Connection;
use super::core_state::CoreBackend;
use super::forwarded::Client;
use super::upstream::{Answer, Attempt, MAX_ENDPOINTS, MAX_REFUSALS, Message, send};
use super::worker::Worker;

/// A filter of type ExternalAuth as a worker runs it.
#[derive(Debug)]
pub(super) struct Authorizer {
    /// The service.
    target: BackendTarget,
    protocol: Protocol,
    /// Bytes of the longest body that it is shown; 0 means none (EA-4).
    max_body: usize,
}

#[derive(Debug)]
enum Protocol {
    /// EA-2.
    Http(http::Settings),
    /// EA-3: the headers that are told, none meaning all.
    Grpc(Option<Vec<HeaderName>>),
}

/// What a service is asked about.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    connection: &'a Rc<Connection>,
    client: &'a Client,
    /// Method and version are those of the client.
    head: &'a Parts,
    /// The fields, with what the proxy says of the client among them.
    headers: &'a HeaderMap,
    /// Host and port that the client asked for.
    authority: &'a HeaderValue,
    /// The canonical path that it asked for, with the query: what was matched, and not what a filter makes
    /// of it.
    target: &'a PathAndQuery,
    /// The body, where the service is shown it.
    body: Option<&'a Bytes>,
}

impl Authorizer {
    pub(super) fn new(filter: &ir::ExternalAuth) -> Self {
        let protocol = match &filter.protocol {
            ExternalAuthProtocol::Http { path_prefix, request_headers, response_headers } => {
                Protocol::Http(http::Settings::new(path_prefix, request_headers, response_headers))
            }
            ExternalAuthProtocol::Grpc { request_headers } => Protocol::Grpc(only(request_headers)),
        };
        Self {
            target: filter.target.clone(),
            protocol,
            max_body: usize::try_from(filter.max_body_bytes).unwrap_or(usize::MAX),
        }
    }

    /// The service; none where the reference to it is wrong.
    pub(super) fn key(&self) -> Option<&BackendKey> {
        match &self.target {
            BackendTarget::Backend(key) => Some(key),
            BackendTarget::Invalid(_) => None,
        }
    }

    /// Bytes of the longest body that the service is shown; none where it is not to be shown any. A limit
    /// of 0 is one: what it keeps back must not pass the service.
    fn max_body(&self, worker: &Worker) -> Option<usize> {
        (self.max_body > 0).then(|| self.max_body.min(worker.limits.max_auth_body_bytes))
    }

    /// Asks the service, which has to answer in full before the deadline and within the limit on that.
    async fn ask(
        &self,
        service: &CoreBackend,
        question: Question<'_>,
        deadline: Option<Instant>,
    ) -> Result<Consent, Denial> {
        if service.endpoint_count() == 0 {
            return Err(Failed::NoEndpoints.into());
        }
        let worker = &question.connection.worker;
        let limit = Instant::now() + worker.limits.auth_timeout;
        let deadline = deadline.map_or(limit, |deadline| deadline.min(limit));
        let message = match &self.protocol {
            Protocol::Http(settings) => settings.message(service, question),
            Protocol::Grpc(told) => grpc::message(service, question, told.as_deref(), deadline),
        };
        let answer = exchange(service, message.ok_or(Failed::Unaskable)?, deadline, worker).await?;
        let reading = async {
            match &self.protocol {
                Protocol::Http(settings) => settings.read(answer, worker).await,
                Protocol::Grpc(_) => grpc::read(answer, worker).await,
            }
        };
        match tokio::time::timeout_at(deadline, reading).await {
            Ok(read) => read,
            Err(_) => Err(Failed::Timeout.into()),
        }
    }
}

/// Sends a question to an endpoint of the service; one that refuses connections is left for another.
async fn exchange(
    service: &CoreBackend,
    message: Message,
    deadline: Instant,
    worker: &Rc<Worker>,
) -> Result<Answer, Denial> {
    let attempt = Attempt {
        deadline: Some(deadline),
        each: None,
        head: None,
        begun: None,
        endpoints: MAX_ENDPOINTS,
        refusals: MAX_REFUSALS,
    };
    let sent = send(service, message, attempt, None, &[], worker).await;
    sent.map_err(|(failure, _)| Failed::from(failure).into())
}

/// A body that is known from the beginning.
fn body(bytes: Bytes) -> RequestBody {
    RequestBody::whole(bytes, Instant::now())
}

/// The names of a list; none means all.
fn only(names: &HeaderNames) -> Option<Vec<HeaderName>> {
    match names {
        HeaderNames::All => None,
        HeaderNames::Only(names) => Some(parsed(names)),
    }
}

fn parsed(names: &[String]) -> Vec<HeaderName> {
    names.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
}
