//! The account of one request: opened when its head is read, settled when its response is over.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use super::authorize::{Added, Outcome};
use super::body::{BodyFault, BodyProgress};
use super::congestion::Outlet;
use super::connection::Connection;
use super::core_state::{CoreBackend, CoreListener, CoreRule};
use super::cors::Grant;
use super::forwarded::Client;
use super::grpc;
use super::io::Unread;
use super::relay::Passed;
use super::traces::{Beside, RequestTrace};
use super::upstream::{Http1, Lease};
use crate::observe::{Ended, RequestRecord};

/// Status that is noted where the client went away before any was sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Tells the telemetry about the request when dropped.
pub(super) struct RequestAccount {
    connection: Rc<Connection>,
    started: Instant,
    method: Method,
    uri: Uri,
    version: Version,
    grpc: bool,
    /// Whether it counts among those in flight.
    in_flight: bool,
    host: Option<HeaderValue>,
    pub(super) client: Client,
    pub(super) listener: Option<Rc<CoreListener>>,
    pub(super) rule: Option<Rc<CoreRule>>,
    /// What its answer, whoever gives it, says to other origins.
    pub(super) cors: Option<Grant>,
    /// What came of asking authorization services; the last one counts.
    pub(super) authorization: Option<Outcome>,
    /// What they want of its answer.
    pub(super) added: Added,
    /// Its place in a trace, where its Gateway has one made.
    pub(super) trace: Option<Box<RequestTrace>>,
    pub(super) backend: Option<Rc<CoreBackend>>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) body: Option<Rc<BodyProgress>>,
    upstream: Option<Duration>,
    status: u16,
    /// Beside the request's body.
    received: u64,
    sent: u64,
    ended: Ended,
}

impl RequestAccount {
    /// In a box, as it goes from hand to hand until the response is over.
    pub(super) fn open(connection: &Rc<Connection>, head: &http::request::Parts) -> Box<Self> {
        connection.request_began();
        Box::new(Self {
            connection: Rc::clone(connection),
            started: Instant::now(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            grpc: grpc::is_call(head),
            in_flight: false,
            host: head.headers.get(http::header::HOST).cloned(),
            client: connection.client.peer(),
            listener: None,
            rule: None,
            cors: None,
            authorization: None,
            added: Added::default(),
            trace: None,
            backend: None,
            endpoint: None,
            body: None,
            upstream: None,
            status: CLIENT_CLOSED_REQUEST,
            received: 0,
            sent: 0,
            ended: Ended::ClientGone,
        })
    }

    /// The way of the response's body to its client; none over HTTP/2, which has windows for that.
    pub(super) fn outlet(&self) -> Option<Outlet> {
        let http1 = self.version != Version::HTTP_2;
        http1.then(|| Outlet::new(self.connection.congestion.clone()))
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The proxy answers itself, with so many bytes.
    pub(super) fn local(&mut self, status: StatusCode, sent: u64, ended: Ended) {
        self.status = status.as_u16();
        self.sent = sent;
        self.ended = ended;
    }

    /// The proxy takes it on: from now on it is in flight.
    pub(super) fn taken_on(&mut self) {
        self.in_flight = true;
        self.connection.worker.in_flight.began();
    }

    /// It is over, or a tunnel from now on.
    pub(super) fn no_longer_in_flight(&mut self) {
        if std::mem::take(&mut self.in_flight) {
            self.connection.worker.in_flight.ended();
        }
    }

    /// The proxy does not take the request.
    pub(super) fn rejected(&self, reason: &'static str) {
        let gateway = &self.listener.as_ref().unwrap_or(self.connection.listener()).gateway;
        self.connection.worker.telemetry.request_rejected(gateway, reason);
    }

    /// The head of the endpoint's response is here.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.upstream = Some(self.started.elapsed());
        if self.version == Version::HTTP_10 {
            self.connection.open_end.begin();
        }
        if let Some(body) = &self.body {
            body.response_began();
        }
    }

    /// Whether some of the request's body has not come yet.
    pub(super) fn is_unread(&self) -> bool {
        self.body.as_ref().is_some_and(|body| !body.has_ended())
    }

    /// Whether the client may send more than anybody reads.
    pub(super) fn unread(&self) -> &Unread {
        &self.connection.unread
    }

    /// Changes an answer that no endpoint gave: what it says to other origins, and what authorization
    /// services want of it.
    pub(super) fn change_response(&self, headers: &mut HeaderMap) {
        if let Some(cors) = &self.cors {
            cors.change_response(headers);
        }
        self.added.apply(headers);
        self.name_exposed(headers);
    }

    /// Names the fields of a complete response to a script that can see all of them.
    pub(super) fn name_exposed(&self, headers: &mut HeaderMap) {
        if let Some(cors) = &self.cors {
            cors.name_exposed(headers);
        }
    }

    /// Whether it is a call whose answers are those of gRPC.
    pub(super) fn is_grpc(&self) -> bool {
        self.grpc
    }

    pub(super) fn is_http10(&self) -> bool {
        self.version == Version::HTTP_10
    }

    /// What a tunnel carried: there are no bodies that would have counted it.
    pub(super) fn tunnelled(&mut self, passed: &Passed) {
        self.received = passed.received.get();
        self.sent = passed.sent.get();
    }

    /// How it ended.
    pub(super) fn ended(&mut self, ended: Ended) {
        self.ended = ended;
    }

    /// Tells what only looks as if the client had gone away.
    fn settle_blame(&mut self) {
        if self.connection.worker.is_stopped() {
            self.ended = Ended::Cut;
        } else if self.body.as_ref().is_some_and(|body| body.is_malformed()) {
            self.ended = Ended::ClientError;
            if self.status == CLIENT_CLOSED_REQUEST {
                self.status = StatusCode::BAD_REQUEST.as_u16();
            }
        }
    }

    fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        }
    }
}

impl Drop for RequestAccount {
    fn drop(&mut self) {
        let ended_at = Instant::now();
        self.no_longer_in_flight();
        self.connection.request_ended(ended_at);
        if let Some(body) = &self.body {
            body.response_ended();
        }
        if self.ended == Ended::ClientGone {
            self.settle_blame();
        }
        let trace = self.trace.take();
        // A request that came before its listener was known counts for the first of its port.
        let listener = self.listener.as_ref().unwrap_or(self.connection.listener());
        let host = self.host.as_ref().map(HeaderValue::as_bytes);
        let authority = self.uri.authority().map(|authority| authority.as_str().as_bytes());
        let record = RequestRecord {
            gateway: &listener.gateway,
            listener: &listener.key,
            route: self.rule.as_ref().map(|rule| &rule.rule.route),
            rule: self.rule.as_ref().map(|rule| &rule.rule.key),
            backend: self.backend.as_ref().map(|backend| backend.key()),
            endpoint: self.endpoint,
            peer: self.connection.peer,
            client: self.client.address,
            method: self.method.as_str(),
            host: without_userinfo(authority.or(host).unwrap_or_default()),
            path: self.uri.path_and_query().map_or(b"", |path| path.as_str().as_bytes()),
            protocol: self.protocol(),
            status: self.status,
            duration: ended_at - self.started,
            upstream_duration: self.upstream,
            bytes_received: self.received + self.body.as_ref().map_or(0, |body| body.received()),
            bytes_sent: self.sent,
            authorization: self.authorization.map(Outcome::in_short),
            ended: self.ended,
        };
        let known = self.rule.as_ref().map(|rule| &rule.series);
        self.connection.worker.telemetry.request(&record, known);
        if let Some(trace) = trace {
            let scheme = if self.connection.tls.is_some() { "https" } else { "http" };
            trace.finish(&Beside { record: &record, scheme, local: self.connection.socket });
        }
    }
}

/// A host without what stands before an `@`. Such a request is refused, and its password is not for
/// logs.
fn without_userinfo(authority: &[u8]) -> &[u8] {
    authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default()
}

/// The account of a response body, and the connection that it comes from.
pub(super) struct ResponseAccount {
    request: Box<RequestAccount>,
    lease: Option<Lease>,
}

impl ResponseAccount {
    pub(super) fn new(request: Box<RequestAccount>, lease: Lease) -> Self {
        Self { request, lease: Some(lease) }
    }

    pub(super) fn outlet(&self) -> Option<Outlet> {
        self.request.outlet()
    }

    /// More bytes went to the client.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.request.sent += bytes;
    }

    /// The body is whole: the connection that it came on can take the next request.
    pub(super) fn complete(mut self, connection: Option<Box<Http1>>) {
        self.request.ended = Ended::Complete;
        self.request.connection.open_end.close();
        self.give_back(connection);
    }

    /// The endpoint has sent all of it: the connection can take the next request.
    pub(super) fn give_back(&mut self, connection: Option<Box<Http1>>) {
        if let Some(lease) = self.lease.take() {
            lease.give_back(connection);
        }
    }

    /// The body broke off: by the client's doing, where its own part broke off before.
    pub(super) fn fail(mut self, fault: BodyFault) {
        let of_client = self.request.body.as_ref().and_then(|body| body.fault());
        self.request.ended = match (fault, of_client) {
            (BodyFault::Broken, None) => Ended::UpstreamError,
            // It went, unless it turns out to have sent what is not HTTP.
            (BodyFault::Broken, Some(BodyFault::Broken)) => Ended::ClientGone,
            (BodyFault::Trailers, _) | (BodyFault::Broken, Some(BodyFault::Trailers)) => {
                Ended::ClientError
            }
            (BodyFault::Broken, Some(BodyFault::Stalled | BodyFault::Deadline))
            | (BodyFault::Stalled | BodyFault::Deadline, _) => Ended::Timeout,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_host_is_not_logged() {
        for (authority, host) in
            [("u:secret@a:80", "a:80"), ("u:p@ss@a", "a"), ("a:80", "a:80"), ("u@", ""), ("", "")]
        {
            assert_eq!(without_userinfo(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }
}
