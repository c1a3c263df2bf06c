//! Where a request goes: listener, rule, filters of the URL, backend. All of it at once, on one
//! configuration, with nothing to wait for.

use std::borrow::Cow;
use std::rc::Rc;

use gwapi_translate::ir::{Listener, PathMatch};
use gwapi_translate::table::{Authority, RequestHead};
use http::header::{HOST, HeaderMap, LOCATION};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use tokio::time::Instant;

use super::account::RequestAccount;
use super::authorize::{Asked, Guards, ListenerGuards};
use super::connection::Connection;
use super::core_state::{CoreBackend, CoreListener, CoreRule};
use super::cors;
use super::draw::{Draw, Drawn};
use super::filters::{Filters, Redirected, location, rewrite_path};
use super::present::Present;
use super::reply::LocalReply;
use super::request::Target;
use super::service::end_of_request;
use super::sessions::{self, Persistence, Visit};
use super::snapshot::{Carried, GatewayState, Snapshot};
use super::worker::Worker;

/// What to do with a request, once everybody has consented who has to.
pub(super) struct Planned {
    pub(super) plan: Plan,
    /// Those who have to (HF-9).
    pub(super) guards: Option<Box<Guards>>,
}

impl From<Plan> for Planned {
    fn from(plan: Plan) -> Self {
        Self { plan, guards: None }
    }
}

/// What to do with a request.
pub(super) enum Plan {
    /// Answer it without a body: a redirect (HF-2) or a preflight (CO-2), with all of its fields.
    Answer { status: StatusCode, headers: HeaderMap },
    /// Send it to a backend.
    Forward(Forward),
}

/// A request's way to a backend.
pub(super) struct Forward {
    pub(super) rule: Rc<CoreRule>,
    /// Position of the backend in the rule; none of a copy, which goes elsewhere.
    pub(super) choice: Option<usize>,
    pub(super) backend: Rc<CoreBackend>,
    /// The session that it belongs to.
    pub(super) session: Option<Box<Visit>>,
    /// Where copies go (HF-7).
    pub(super) mirrors: Vec<Rc<CoreBackend>>,
    /// Path and query that the backend sees.
    pub(super) target: PathAndQuery,
    /// Host and port that the client asked for.
    pub(super) authority: HeaderValue,
    /// Host that the backend sees, where a filter says another one (HF-5).
    pub(super) host: Option<HeaderValue>,
}

impl Forward {
    pub(super) fn backend_filters(&self) -> Option<&Filters> {
        self.choice.map(|choice| &self.rule.backend_filters[choice])
    }

    /// The way of a copy to one of the mirrors. What filters of the chosen backend do to the headers is
    /// for that backend alone.
    pub(super) fn copy_to(&self, mirror: &Rc<CoreBackend>) -> Self {
        Self {
            rule: Rc::clone(&self.rule),
            choice: None,
            backend: Rc::clone(mirror),
            session: None,
            mirrors: Vec::new(),
            target: self.target.clone(),
            authority: self.authority.clone(),
            host: self.host.clone(),
        }
    }
}

/// Why a request is not planned.
pub(super) enum Unplanned {
    /// It is answered so.
    Answer(LocalReply),
    /// Filters of its listener come first (LF-4).
    Filtered(Box<ListenerGuards>),
}

impl From<LocalReply> for Unplanned {
    fn from(local: LocalReply) -> Self {
        Self::Answer(local)
    }
}

/// Decides where a request goes. What is found on the way is noted in the account. Filters of the listener
/// run once: they have `passed` where it is their listener (LF-5).
pub(super) fn plan(
    connection: &Connection,
    snapshot: &Snapshot,
    head: &Parts,
    present: Present,
    passed: Option<&Rc<CoreListener>>,
    account: &mut RequestAccount,
) -> Result<Planned, Unplanned> {
    let core = &connection.worker.core;
    let target =
        Target::read(head, present, &connection.worker.limits, &connection.worker.shared.upgrades)?;
    let Some(port) = snapshot.ports.get(&connection.socket) else {
        return Err(LocalReply::NotFound("nothing is served here any more").into());
    };
    let is_of_this_kind = match port.carried {
        Carried::Http => connection.tls.is_none(),
        Carried::Tls { .. } => connection.tls.is_some(),
        Carried::Bytes | Carried::Datagrams => false,
    };
    if !is_of_this_kind {
        // The connection came when the listener was of the other kind: what is meant for TLS must not
        // go in the clear.
        connection.leave();
        return Err(LocalReply::Misdirected.into());
    }
    let gateway = &*port.gateway;
    let listener = choose_listener(connection, gateway, &target)?;
    let core_listener = core.listener(&gateway.id, listener);
    account.listener = Some(Rc::clone(&core_listener));
    // It stays in the trace where it is planned again.
    if let (None, Some(tracer)) = (&account.trace, &gateway.tracer) {
        account.trace = Some(tracer.begin(&head.headers));
    }
    let has_passed = passed.is_some_and(|passed| Rc::ptr_eq(passed, &core_listener));
    if !has_passed && !core_listener.filters.is_empty() {
        let guards = listener_guards(connection, gateway, core_listener, head, &target)?;
        return Err(Unplanned::Filtered(guards));
    }
    let request = RequestHead {
        host: &target.host,
        authority: &target.authority,
        path: &target.path,
        query: target.query,
        method: head.method.as_str(),
        headers: &head.headers,
    };
    let asked_method = cors::asked_method(head);
    if let Some(method) = asked_method {
        // CO-2: a preflight belongs to the rule of the request that it asks for.
        let asked = RequestHead { method, ..request };
        let rule = gateway.table.route(listener, &asked);
        let rule = rule.map(|matched| core.rule(&gateway.id, matched.rule));
        if let Some(answer) = rule.and_then(|rule| preflight(rule, head, account)) {
            return Ok(answer.into());
        }
    }
    // HR-6.
    let matched = gateway
        .table
        .route(listener, &request)
        .ok_or(LocalReply::NotFound("no route matches the request"))?;
    let rule = core.rule(&gateway.id, matched.rule);
    account.rule = Some(Rc::clone(&rule));
    if asked_method.is_some()
        && let Some(answer) = preflight(Rc::clone(&rule), head, account)
    {
        return Ok(answer.into());
    }
    let grant = |filters: &Filters| filters.cors.as_ref().map(|cors| cors.grant(&head.headers));
    account.cors = grant(&rule.filters);
    let path_match = &matched.http_match().path;
    let url = Url { connection, target: &target, path_match };
    let started = account.started().into();
    let guards = |choice| guards(connection, gateway, (&rule, choice), head, &target, started);

    if let Some(plan) = url.redirect(&[&rule.filters], account)? {
        return Ok(Planned { plan, guards: guards(None)? });
    }
    let choice = rule.pick().ok_or(LocalReply::NoBackend("the route has no backend"))?;
    let filters = [&rule.filters, &rule.backend_filters[choice]];
    if let Some(own) = grant(filters[1]) {
        account.cors = Some(own);
    }
    if let Some(plan) = url.redirect(&filters, account)? {
        return Ok(Planned { plan, guards: guards(Some(choice))? });
    }
    // HB-3: the share of an invalid backend stays its own.
    let backend = gateway.backend(&rule.rule.backends[choice].target);
    let backend = backend.ok_or(LocalReply::NoBackend("the backend of the route is invalid"))?;
    let backend = core.backend(&connection.worker.pool, backend);
    account.backend = Some(Rc::clone(&backend));
    if backend.endpoint_count() == 0 {
        return Err(LocalReply::Unavailable("the backend has no endpoints").into()); // HB-4
    }
    let mut guards = guards(Some(choice))?;
    let drawn = guards.as_mut().map(|guards| &mut guards.drawn.mirrors);
    let plan = Plan::Forward(Forward {
        target: url.forwarded(head, filters)?,
        authority: authority(head, &target)?,
        host: rewritten_host(filters)?,
        mirrors: mirrors(connection, gateway, filters, drawn),
        session: session(&rule, choice, &backend, gateway).map(|persistence| {
            let (sealer, now) = (&gateway.sealer, sessions::now());
            Box::new(Visit::begin(&persistence, sealer, &backend, &head.headers, now))
        }),
        rule,
        choice: Some(choice),
        backend,
    });
    Ok(Planned { plan, guards })
}

/// The services that have to consent to a request of a rule, and to the backend that was chosen. Without
/// any nothing is allocated.
fn guards(
    connection: &Connection,
    gateway: &GatewayState,
    (rule, choice): (&Rc<CoreRule>, Option<usize>),
    head: &Parts,
    target: &Target<'_>,
    started: Instant,
) -> Result<Option<Box<Guards>>, LocalReply> {
    let of_backend = choice.map(|choice| &rule.backend_filters[choice]);
    let filters = std::iter::once(&rule.filters).chain(of_backend);
    let mut guards = filters.flat_map(|filters| &filters.auth).peekable();
    if guards.peek().is_none() {
        return Ok(None);
    }
    let Worker { core, pool, .. } = &*connection.worker;
    let service = |key| Some(core.backend(pool, gateway.backends.get(key)?));
    Ok(Some(Box::new(Guards {
        rule: Rc::clone(rule),
        choice,
        services: guards.map(|guard| guard.authorizer.key().and_then(service)).collect(),
        asked: Asked { authority: authority(head, target)?, target: canonical(head, target)? },
        deadline: end_of_request(rule.rule.timeouts.as_deref(), started),
        drawn: Drawn { backend: choice.and_then(|choice| rule.drawn(choice)), ..Drawn::default() },
    })))
}

/// The services that have to consent to every request of a listener.
#[cold]
fn listener_guards(
    connection: &Connection,
    gateway: &GatewayState,
    listener: Rc<CoreListener>,
    head: &Parts,
    target: &Target<'_>,
) -> Result<Box<ListenerGuards>, LocalReply> {
    let Worker { core, pool, .. } = &*connection.worker;
    let service = |key| Some(core.backend(pool, gateway.backends.get(key)?));
    let services = listener.filters.iter().map(|filter| service(filter.as_ref()?.key()?));
    Ok(Box::new(ListenerGuards {
        services: services.collect(),
        asked: Asked { authority: authority(head, target)?, target: canonical(head, target)? },
        listener,
    }))
}

/// Path and query as they were matched.
fn canonical(head: &Parts, target: &Target<'_>) -> Result<PathAndQuery, LocalReply> {
    path_and_query(head, target, Cow::Borrowed(&*target.path))
}

/// The answer to a preflight by the CORS of a rule; none where it has none, and a backend is asked. Which
/// backend the request will go to nobody knows yet: of those that have CORS of their own the first
/// answers.
fn preflight(rule: Rc<CoreRule>, head: &Parts, account: &mut RequestAccount) -> Option<Plan> {
    let filters = std::iter::once(&rule.filters).chain(&rule.backend_filters);
    let cors = filters.filter_map(|filters| filters.cors.as_ref()).next()?;
    let headers = cors.grant(&head.headers).preflight(&head.headers);
    account.rule = Some(rule);
    Some(Plan::Answer { status: StatusCode::NO_CONTENT, headers })
}

fn choose_listener<'a>(
    connection: &Connection,
    gateway: &'a GatewayState,
    target: &Target<'_>,
) -> Result<&'a Arc<Listener>, LocalReply> {
    let port = connection.socket.port();
    let Some(handshake) = &connection.tls else {
        let listener = gateway.table.listener_for_host(port, &target.host);
        return listener.ok_or(LocalReply::NotFound("no listener for the host"));
    };
    // The listener of the handshake as it is now; a client whose listener is gone has to ask again.
    let own = gateway.listeners.get(&handshake.listener).ok_or(LocalReply::Misdirected)?;
    if !handshake.satisfies(own.client_auth.as_ref()) {
        // The client has shown no certificate, or one that is not enough any more (TL-5). On a
        // connection of its own it may.
        connection.leave();
        return Err(LocalReply::Misdirected);
    }
    match gateway.table.authority(port, &own.listener, &target.host) {
        Authority::Serve(listener) => Ok(listener),
        Authority::Misdirected => Err(LocalReply::Misdirected),
        Authority::Unknown => Err(LocalReply::NotFound("no listener for the host")),
    }
}

/// What filters of the URL work on.
struct Url<'a> {
    connection: &'a Connection,
    target: &'a Target<'a>,
    path_match: &'a PathMatch,
}

impl Url<'_> {
    /// The redirect among the filters, if there is one. The changes of response headers that stand
    /// beside it apply to it: no filter is passed over.
    fn redirect(
        &self,
        filters: &[&Filters],
        account: &RequestAccount,
    ) -> Result<Option<Plan>, LocalReply> {
        let mut redirects = filters.iter().filter_map(|filters| filters.redirect.as_ref());
        let Some(redirect) = redirects.next() else { return Ok(None) };
        let request = Redirected {
            scheme: if self.connection.tls.is_some() { "https" } else { "http" },
            host: &self.target.host,
            listener_port: self.connection.socket.port(),
            path: &self.target.path,
            query: self.target.query,
        };
        let location = HeaderValue::from_str(&location(redirect, self.path_match, request))
            .map_err(|_| LocalReply::BadRequest("malformed request target"))?;
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location);
        if let Some(cors) = &account.cors {
            cors.change_response(&mut headers);
        }
        for filters in filters {
            filters.change_response(&mut headers);
        }
        let status = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
        Ok(Some(Plan::Answer { status, headers }))
    }

    /// Path and query for the backend. A backend's rewrite replaces the rule's: both start from
    /// the path that was matched (HB-6).
    fn forwarded(&self, head: &Parts, filters: [&Filters; 2]) -> Result<PathAndQuery, LocalReply> {
        let rewrites = filters.iter().filter_map(|filters| filters.rewrite.as_ref());
        let path = match rewrites.filter_map(|rewrite| rewrite.path.as_ref()).next_back() {
            Some(rewrite) => Cow::Owned(rewrite_path(rewrite, self.path_match, &self.target.path)),
            None => Cow::Borrowed(&*self.target.path),
        };
        path_and_query(head, self.target, path)
    }
}

/// A path with the query of the request.
fn path_and_query(
    head: &Parts,
    target: &Target<'_>,
    path: Cow<'_, str>,
) -> Result<PathAndQuery, LocalReply> {
    // A target without a path, such as `http://a?q`, has one here: the slash is added.
    let same = |it: &&PathAndQuery| it.as_str().starts_with('/') && it.path() == path;
    if let Some(unchanged) = head.uri.path_and_query().filter(same) {
        return Ok(unchanged.clone());
    }
    let text = match target.query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    PathAndQuery::try_from(text).map_err(|_| LocalReply::BadRequest("malformed path"))
}

/// The mirrors whose turn it is and that have endpoints (HF-7). What is drawn for it is noted where somebody
/// has to consent first. Without any of them nothing is allocated.
fn mirrors(
    connection: &Connection,
    gateway: &GatewayState,
    filters: [&Filters; 2],
    mut drawn: Option<&mut Vec<Draw>>,
) -> Vec<Rc<CoreBackend>> {
    let Worker { core, pool, .. } = &*connection.worker;
    let due = filters.into_iter().flat_map(|filters| &filters.mirrors).filter(|mirror| {
        let is_due = mirror.is_due();
        if let Some(drawn) = &mut drawn {
            drawn.push(mirror.drawn(is_due));
        }
        is_due
    });
    let backends = due.filter_map(|mirror| gateway.backends.get(&mirror.backend));
    let backends = backends.map(|backend| core.backend(pool, backend));
    backends.filter(|backend| backend.endpoint_count() > 0).collect()
}

/// What binds a client to an endpoint of the backend that was drawn (SP-4). The rule has its say first
/// (SP-3). Of several backends of the rule whose tokens would travel under one name, the first has it, and
/// the others are balanced as if they had none (SP-5).
fn session(
    rule: &CoreRule,
    choice: usize,
    backend: &CoreBackend,
    gateway: &GatewayState,
) -> Option<Rc<Persistence>> {
    if let Some(of_rule) = &rule.session {
        return Some(Rc::clone(of_rule));
    }
    let own = backend.session.as_ref()?;
    let carrier = &backend.entry.backend.session.as_ref()?.carrier;
    let earlier = rule.rule.backends[..choice].iter().filter(|it| it.weight > 0);
    let is_taken = earlier.filter_map(|it| gateway.backend(&it.target)).any(|earlier| {
        let theirs = earlier.backend.session.as_ref();
        earlier.backend.key != *backend.key()
            && theirs.is_some_and(|theirs| theirs.carrier.clashes_with(carrier))
    });
    (!is_taken).then(|| Rc::clone(own))
}

fn rewritten_host(filters: [&Filters; 2]) -> Result<Option<HeaderValue>, LocalReply> {
    let rewrites = filters.iter().filter_map(|filters| filters.rewrite.as_ref());
    let Some(host) = rewrites.filter_map(|rewrite| rewrite.hostname.as_ref()).next_back() else {
        return Ok(None);
    };
    let host = HeaderValue::from_str(host);
    host.map(Some).map_err(|_| LocalReply::NoBackend("the route rewrites to an invalid host"))
}

/// Host and port as the endpoint gets them.
fn authority(head: &Parts, target: &Target<'_>) -> Result<HeaderValue, LocalReply> {
    match head.headers.get(HOST) {
        // As nearly always: nothing is copied.
        Some(host) if *host == *target.authority => Ok(host.clone()),
        _ => HeaderValue::from_str(&target.authority)
            .map_err(|_| LocalReply::BadRequest("malformed host")),
    }
}
