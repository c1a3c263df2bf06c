//! One request, from its head to the head of its response.

use std::rc::Rc;
use std::time::Duration;

use gwapi_translate::ir::{BackendProtocol, HttpTimeouts};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::ext::ReasonPhrase;
use tokio::time::Instant;

use super::account::{RequestAccount, ResponseAccount};
use super::authorize::{Denial, Guards, ListenerGuards, Settled};
use super::body::{BodyFault, ProxyBody, RequestBody};
use super::connection::Connection;
use super::core_state::CoreListener;
use super::forward::{Fields, Vouched};
use super::grpc;
use super::headers;
use super::mirror;
use super::plan::{Forward, Plan, Planned, Unplanned, plan};
use super::present::Present;
use super::reply::{self, CONNECT_FAILED, LocalReply};
use super::request;
use super::sessions;
use super::snapshot::Snapshot;
use super::tunnel;
use super::upgrades::Upgrade;
use super::upstream::{
    Answer, Attempt, Failure, MAX_ENDPOINTS, MAX_REFUSALS, Message, Sent, UpstreamBody, send,
    send_with_retries,
};
use super::worker::Worker;
use crate::Limits;
use crate::observe::Ended;

/// Answers a request. Dropping the future, as hyper does when the client goes away, ends the
/// exchange with the endpoint too.
pub(super) async fn handle(
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> Response<ProxyBody> {
    let version = request.version();
    let http1 = version != Version::HTTP_2;
    let begun = match begin(connection, request) {
        Ok(begun) => begun,
        // In a box, like all that few requests need.
        Err(guarded) => Box::pin(settle(*guarded, connection)).await,
    };
    let mut response = match begun {
        Begun::Answered(response) => response,
        Begun::Forwarded(exchange, message) => {
            let Exchange { way, attempt, .. } = &exchange;
            let worker = &connection.worker;
            let wanted = way.session.as_ref().and_then(|session| session.endpoint());
            if let Some(budget) = way.backend.retry_budget() {
                budget.note_request();
            }
            let sent = match &way.rule.rule.retry {
                None => send(&way.backend, message, *attempt, wanted, &[], worker).await,
                // In a box: its future would make that of every request larger.
                Some(retry) => {
                    let sending =
                        send_with_retries(&way.backend, message, *attempt, retry, wanted, worker);
                    Box::pin(sending).await
                }
            };
            exchange.answer(sent, &connection.worker)
        }
    };
    if http1 && connection.is_leaving() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if http1 && response.headers().get(CONNECTION).is_some_and(|value| value == "close") {
        connection.unread.expect();
    }
    if http1 && response.status().canonical_reason().is_none() {
        // hyper would make one up.
        response.extensions_mut().insert(ReasonPhrase::from_static(b""));
    }
    if version == Version::HTTP_10 && response.headers().contains_key(CONNECTION) {
        // hyper would add `keep-alive` to a `close` of HTTP/1.1.
        *response.version_mut() = version;
    }
    response
}

/// What was done with a request before there is an endpoint to wait for.
enum Begun {
    /// The proxy answers itself.
    Answered(Response<ProxyBody>),
    /// It goes to a backend, in this form.
    Forwarded(Exchange, Message),
}

/// A request that came, and what was found out about it.
pub(super) struct Arrived {
    pub(super) head: Parts,
    pub(super) present: Present,
    pub(super) body: RequestBody,
    upgrade: Option<Box<Upgrade>>,
    pub(super) account: Box<RequestAccount>,
    /// Whether it came over HTTP/1.
    http1: bool,
    /// When the last one consented who was asked: until then no endpoint could answer.
    consented: Option<Instant>,
}

/// A request that authorization services have to consent to.
enum Guarded {
    /// Those of its listener, before routes are matched (LF-4).
    Unrouted(Arrived, Box<ListenerGuards>),
    /// Those of its rule (HF-9).
    Routed(Arrived, Plan, Box<Guards>),
}

/// Asks whoever has to consent, and does with the request what they say.
async fn settle(guarded: Guarded, connection: &Rc<Connection>) -> Begun {
    let (mut arrived, plan, mut guards) = match guarded {
        Guarded::Routed(arrived, plan, guards) => (arrived, plan, guards),
        Guarded::Unrouted(mut arrived, mut guards) => loop {
            if let Err(denial) = guards.settle(connection, &mut arrived).await {
                return Begun::Answered(denied(denial, arrived));
            }
            arrived.consented = Some(Instant::now());
            let Arrived { head, present, account, .. } = &mut arrived;
            // What is served may have changed meanwhile. Where the listener has, its services are asked.
            let snapshot = connection.worker.snapshot();
            let passed = Some(&guards.listener);
            match traced_plan(connection, &snapshot, head, *present, passed, account) {
                Ok(Planned { plan, guards: Some(guards) }) => break (arrived, plan, guards),
                Ok(Planned { plan, guards: None }) => {
                    drop(snapshot);
                    return go_on(connection, arrived, plan, None);
                }
                Err(Unplanned::Filtered(others)) => guards = others,
                Err(Unplanned::Answer(local)) => {
                    return Begun::Answered(refused(local, arrived.account, arrived.http1));
                }
            }
        },
    };
    let copied = matches!(&plan, Plan::Forward(way) if !way.mirrors.is_empty());
    match guards.settle(connection, &mut arrived, copied).await {
        Ok(settled) => {
            arrived.consented = Some(Instant::now());
            go_on(connection, arrived, plan, Some(settled))
        }
        Err(denial) => Begun::Answered(denied(denial, arrived)),
    }
}

/// A request on its way to a backend.
struct Exchange {
    way: Forward,
    attempt: Attempt,
    upgrade: Option<Box<Upgrade>>,
    account: Box<RequestAccount>,
    /// Whether it came over HTTP/1.
    http1: bool,
}

/// All that is done with a request before there is anything to wait for. The head is not needed any
/// longer then, so the future of the request neither has room for it nor moves it about. An error where
/// somebody has to consent first.
fn begin(
    connection: &Rc<Connection>,
    mut request: Request<Incoming>,
) -> Result<Begun, Box<Guarded>> {
    let present = Present::of(request.headers());
    let shared = &connection.worker.shared;
    let upgrade = Upgrade::of(&mut request, present, &shared.upgrades);
    let (mut head, body) = request.into_parts();
    let http1 = head.version != Version::HTTP_2;
    let mut account = RequestAccount::open(connection, &head);
    account.client = connection.client.admit(&mut head.headers, present, &shared.trusted_proxies);
    headers::strip_named(&mut head.headers, present);
    let settled =
        request::settle_underscores(&mut head.headers, present, shared.underscore_headers);
    // Matches see what endpoints do, in however many pieces it came (HM-5); too many fields stay too many.
    if present.any(Present::COOKIE) && head.headers.len() <= connection.worker.limits.max_headers {
        headers::join_cookies(&mut head.headers);
    }
    // The one configuration that this request sees.
    let unread = http1 && !body.is_end_stream();
    let planned = if shared.overload.is_active() {
        connection.leave();
        Err(LocalReply::Overloaded.into())
    } else {
        account.taken_on();
        settled.map_err(Unplanned::from).and_then(|()| {
            let snapshot = connection.worker.snapshot();
            traced_plan(connection, &snapshot, &mut head, present, None, &mut account)
        })
    };
    let Planned { plan, guards } = match planned {
        Ok(planned) => planned,
        Err(Unplanned::Answer(local)) => {
            return Ok(Begun::Answered(closing(answer(local, account, http1), unread)));
        }
        Err(Unplanned::Filtered(guards)) => {
            let body = RequestBody::new(body, head.version, connection, account.started().into());
            account.body = Some(Rc::clone(body.progress()));
            let arrived = Arrived { head, present, body, upgrade, account, http1, consented: None };
            return Err(Box::new(Guarded::Unrouted(arrived, guards)));
        }
    };
    let plan = match (plan, &guards) {
        (Plan::Answer { status, headers }, None) => {
            return Ok(Begun::Answered(planned_answer(status, headers, account, unread)));
        }
        (plan, _) => plan,
    };
    let body = RequestBody::new(body, head.version, connection, account.started().into());
    account.body = Some(Rc::clone(body.progress()));
    let arrived = Arrived { head, present, body, upgrade, account, http1, consented: None };
    match guards {
        None => Ok(go_on(connection, arrived, plan, None)),
        Some(guards) => Err(Box::new(Guarded::Routed(arrived, plan, guards))),
    }
}

/// Plans a request, and has it say which span it belongs to where one begins with that: before filters, of
/// which some may say otherwise.
fn traced_plan(
    connection: &Connection,
    snapshot: &Snapshot,
    head: &mut Parts,
    present: Present,
    passed: Option<&Rc<CoreListener>>,
    account: &mut RequestAccount,
) -> Result<Planned, Unplanned> {
    let began_before = account.trace.is_some();
    let planned = plan(connection, snapshot, head, present, passed, account);
    if let (false, Some(trace)) = (began_before, &account.trace) {
        trace.propagate(&mut head.headers);
    }
    planned
}

/// Does with a request what was planned. Where services consented, filters have changed its fields already.
fn go_on(
    connection: &Rc<Connection>,
    arrived: Arrived,
    plan: Plan,
    settled: Option<Settled>,
) -> Begun {
    let Arrived { head, present, mut body, upgrade, account, http1, consented } = arrived;
    let unread = http1 && account.is_unread();
    let way = match plan {
        Plan::Forward(way) => way,
        Plan::Answer { status, headers } => {
            return Begun::Answered(planned_answer(status, headers, account, unread));
        }
    };
    let limits = &connection.worker.limits;
    let upgrade = upgrade.filter(|_| way.backend.protocol() == BackendProtocol::Http1);
    let client = Vouched { connection, client: &account.client };
    let fields = Fields { head, present, way: &way, settled: settled.is_some() };
    let mut attempt = attempt(way.rule.rule.timeouts.as_deref(), account.started().into(), limits);
    attempt.begun = consented;
    if !way.mirrors.is_empty() && upgrade.is_none() {
        let for_copies = settled.as_ref().and_then(|settled| settled.for_copies.as_ref());
        send_copies(&fields, for_copies, &mut body, client, attempt);
    }
    match message(fields, client, body, upgrade.as_ref().map(|it| &it.protocol)) {
        Ok(message) => {
            Begun::Forwarded(Exchange { way, attempt, upgrade, account, http1 }, message)
        }
        Err(local) => Begun::Answered(closing(answer(local, account, http1), unread)),
    }
}

/// A redirect, or the answer to a preflight.
fn planned_answer(
    status: StatusCode,
    mut headers: HeaderMap,
    mut account: Box<RequestAccount>,
    unread: bool,
) -> Response<ProxyBody> {
    account.added.apply(&mut headers);
    account.name_exposed(&mut headers);
    account.local(status, 0, Ended::Complete);
    closing(reply::without_body(status, headers), unread)
}

/// The answer to a request that somebody does not consent to.
fn denied(denial: Denial, arrived: Arrived) -> Response<ProxyBody> {
    let Arrived { mut account, http1, .. } = arrived;
    let local = match denial {
        Denial::Relayed(relayed) => {
            let status = relayed.status;
            let response = match account.is_grpc() {
                true => grpc::denied(status, relayed.headers),
                false => relayed.into_response(),
            };
            let response = own(response, &mut account, status, Ended::Complete);
            return closing(response, http1 && account.is_unread());
        }
        Denial::Failed(failed) => failed.reply(),
        Denial::TooLong => LocalReply::ContentTooLarge,
        Denial::Client(fault) => local_reply(Failure::Client(fault)),
        Denial::Deadline => LocalReply::GatewayTimeout,
    };
    refused(local, account, http1)
}

/// A request in the form that its backend reads.
fn message(
    fields: Fields<'_>,
    client: Vouched<'_>,
    body: RequestBody,
    upgrade: Option<&HeaderValue>,
) -> Result<Message, LocalReply> {
    match fields.way.backend.protocol() {
        BackendProtocol::Http1 => Ok(Message::Http1(fields.http1(client, body, upgrade))),
        BackendProtocol::H2c => fields.http2(client, body).map(Message::Http2),
        // No configuration of ours has it: such backends have keys of their own.
        BackendProtocol::Tcp | BackendProtocol::Udp => {
            Err(LocalReply::NoBackend("the backend does not speak HTTP"))
        }
    }
}

/// Sends copies to the mirrors of the way (HF-7).
#[cold]
fn send_copies(
    fields: &Fields<'_>,
    headers: Option<&HeaderMap>,
    body: &mut RequestBody,
    client: Vouched<'_>,
    attempt: Attempt,
) {
    for mirror in &fields.way.mirrors {
        let way = fields.way.copy_to(mirror);
        let copied = match headers {
            Some(headers) => fields.copy_with(headers, &way),
            None => fields.copy(&way),
        };
        let copy = body.copy(&client.connection.worker.limits, Instant::now());
        // What no backend could read is told where it matters: of the request itself.
        if let Ok(message) = message(copied, client, copy, None) {
            mirror::dispatch(way, message, attempt, &client.connection.worker);
        }
    }
}

/// Why the stream of a request over HTTP/2 is reset instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamReset {
    /// The request is malformed (RFC 9113 8.1.1).
    Malformed,
    /// The connection has no room for it; it may be tried again (RFC 9113 8.7).
    Refused,
}

/// Takes note of a request whose stream is reset, and tells by which code. In the access log and the
/// metrics a status stands for it.
pub(super) fn note_reset(
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    reset: StreamReset,
) -> h2::Error {
    let (code, reason, status) = match reset {
        StreamReset::Malformed => {
            connection.own_resets.note_malformed();
            (h2::Reason::PROTOCOL_ERROR, "protocol_error", StatusCode::BAD_REQUEST)
        }
        StreamReset::Refused => {
            connection.own_resets.note_refused();
            (h2::Reason::REFUSED_STREAM, "refused_stream", StatusCode::SERVICE_UNAVAILABLE)
        }
    };
    let mut account = RequestAccount::open(connection, &request.into_parts().0);
    account.rejected(reason);
    account.local(status, 0, Ended::ClientError);
    code.into()
}

/// A response that ends its connection where `ends` says so: hyper reads no more of a request whose
/// body nobody wants.
fn closing(mut response: Response<ProxyBody>, ends: bool) -> Response<ProxyBody> {
    if ends {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers without a backend, and ends the connection where some of the body has not been read.
fn refused(local: LocalReply, account: Box<RequestAccount>, http1: bool) -> Response<ProxyBody> {
    let unread = http1 && account.is_unread();
    closing(answer(local, account, http1), unread)
}

/// Answers without a backend.
fn answer(local: LocalReply, mut account: Box<RequestAccount>, http1: bool) -> Response<ProxyBody> {
    if let Some(reason) = local.rejection() {
        account.rejected(reason);
    }
    let response = if account.is_grpc() { grpc::answer(local) } else { local.response(http1) };
    own(response, &mut account, local.status(), local.ended())
}

/// An answer that no endpoint gave, as its client gets it. `status` is what it stands for.
fn own(
    mut response: Response<ProxyBody>,
    account: &mut RequestAccount,
    status: StatusCode,
    ended: Ended,
) -> Response<ProxyBody> {
    account.change_response(response.headers_mut());
    reply::strip_content(&mut response, account.method());
    let length = response.body().size_hint().exact().unwrap_or_default();
    account.local(status, length, ended);
    response
}

impl Exchange {
    /// The response to what was sent.
    fn answer(self, sent: Sent, worker: &Worker) -> Response<ProxyBody> {
        let Self { way, upgrade, mut account, http1, .. } = self;
        let answered = match sent {
            Ok(answered) => answered,
            Err((failure, endpoint)) => {
                account.endpoint = endpoint.and_then(|endpoint| endpoint.address());
                return refused(local_reply(failure), account, http1);
            }
        };
        account.endpoint = answered.lease.endpoint().address();
        let upgrade = match upgrade_of(&answered.response, upgrade) {
            Ok(upgrade) => upgrade,
            Err(local) => return refused(local, account, http1),
        };
        let status = answered.response.status();
        account.answered(status);
        if let Some(trace) = &mut account.trace {
            trace.answered(answered.response.headers());
        }
        let (unread, http10) = (account.is_unread(), account.is_http10());
        let response = downstream_response(answered, way, upgrade, account, worker);
        if !http1 {
            return response;
        }
        // The end of a body without a length is that of the connection, over HTTP/1.0.
        let until_close = http10 && response.body().size_hint().exact().is_none();
        closing(response, unread || until_close)
    }
}

/// The limits in time of a request to a backend (TO-1 to TO-3): where the rule sets none, the
/// proxy's limit on the head of the response holds.
fn attempt(timeouts: Option<&HttpTimeouts>, started: Instant, limits: &Limits) -> Attempt {
    let each = timeouts.and_then(|timeouts| timeouts.backend_request);
    let unset = each.is_none() && timeouts.is_none_or(|timeouts| timeouts.request.is_none());
    Attempt {
        deadline: end_of_request(timeouts, started),
        each: some(each),
        head: unset.then_some(limits.response_head_timeout),
        begun: None,
        endpoints: MAX_ENDPOINTS,
        refusals: MAX_REFUSALS,
    }
}

/// When the time of the whole request is over, where the rule sets one (TO-2): all that happens before,
/// such as questions for authorization, is part of it.
pub(super) fn end_of_request(timeouts: Option<&HttpTimeouts>, started: Instant) -> Option<Instant> {
    some(timeouts?.request).map(|timeout| started + timeout)
}

/// TO-1: zero is none.
fn some(timeout: Option<Duration>) -> Option<Duration> {
    timeout.filter(|timeout| !timeout.is_zero())
}

fn local_reply(failure: Failure) -> LocalReply {
    match failure {
        Failure::Connect => LocalReply::Unavailable(CONNECT_FAILED),
        Failure::Tls => LocalReply::BadGateway("TLS with the backend failed"),
        Failure::Overflow => LocalReply::Unavailable("too many requests wait for the backend"),
        Failure::RetryBudget => LocalReply::Unavailable("the backend has no retries left"),
        Failure::Timeout => LocalReply::GatewayTimeout,
        Failure::Upstream => LocalReply::BadGateway("the backend did not answer properly"),
        Failure::Refused => LocalReply::BadGateway("the backend refused the request"),
        Failure::Client(BodyFault::Stalled) => LocalReply::RequestTimeout,
        Failure::Client(BodyFault::Trailers) => LocalReply::TooManyHeaders,
        Failure::Client(_) => LocalReply::BadRequest("malformed body"),
    }
}

/// The upgrade that an endpoint agreed to, where one was asked for; an answer that the client
/// must not see is an error.
fn upgrade_of(
    response: &Response<UpstreamBody>,
    asked: Option<Box<Upgrade>>,
) -> Result<Option<Box<Upgrade>>, LocalReply> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(None);
    }
    // 101 only as the answer to what was asked.
    match asked {
        Some(asked) if asked.is_agreed(response) => Ok(Some(asked)),
        _ => Err(LocalReply::BadGateway("the backend did not answer properly")),
    }
}

/// The response as the client gets it.
fn downstream_response(
    answered: Answer,
    way: Forward,
    upgrade: Option<Box<Upgrade>>,
    account: Box<RequestAccount>,
    worker: &Worker,
) -> Response<ProxyBody> {
    let idle_timeout = worker.limits.response_idle_timeout;
    let Answer { response, lease, deadline } = answered;
    let (head, incoming) = response.into_parts();
    let mut fields = head.headers;
    let present = match &incoming {
        UpstreamBody::Http1(body) => body.present(),
        UpstreamBody::Http2 { .. } | UpstreamBody::Never => Present::of(&fields),
    };
    headers::strip_response(&mut fields, present);
    if head.status.is_informational() || head.status == StatusCode::NO_CONTENT {
        // RFC 9110 8.6: they have none. HTTP/2 clients would wait for what it promises.
        fields.remove(CONTENT_LENGTH);
    }
    if let Some(cors) = &account.cors {
        cors.change_response(&mut fields);
    }
    way.rule.filters.change_response(&mut fields);
    if let Some(filters) = way.backend_filters() {
        filters.change_response(&mut fields);
    }
    account.added.apply(&mut fields);
    // After the filters: whoever drops the cookies of an endpoint does not mean ours.
    if let Some(session) = way.session {
        session.end(lease.endpoint().address(), &mut fields, sessions::now());
    }
    account.name_exposed(&mut fields);
    let body = match (upgrade, incoming) {
        (Some(upgrade), UpstreamBody::Http1(endpoint)) => {
            upgrade.tell(&mut fields);
            // An upgrade has no body, so all of the request is sent.
            if let Some(endpoint) = endpoint.into_connection().and_then(|it| it.upgrade()) {
                let max_age = worker.limits.max_tunnel_age;
                tunnel::spawn(upgrade.client, endpoint, account, lease, idle_timeout, max_age);
            }
            ProxyBody::empty()
        }
        (_, incoming) => {
            let account = ResponseAccount::new(account, lease);
            ProxyBody::upstream(incoming, idle_timeout, deadline, &worker.timers, account)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = fields;
    response
}
