//! The filters of a listener, or of a rule and its backend, one after the other, where services have to be
//! asked.

use std::rc::Rc;

use ::http::header::{COOKIE, EXPECT, HOST, HeaderMap, HeaderValue};
use ::http::uri::PathAndQuery;
use hyper::body::Bytes;
use tokio::time::Instant;

use super::answer::{Consent, Denial, Failed, Outcome};
use super::{Authorizer, Question};
use crate::proxy::account::RequestAccount;
use crate::proxy::body::{Gathered, RequestBody};
use crate::proxy::connection::Connection;
use crate::proxy::core_state::{CoreBackend, CoreListener, CoreRule};
use crate::proxy::draw::{Draw, Drawn};
use crate::proxy::filters::Filters;
use crate::proxy::forwarded::Client;
use crate::proxy::headers;
use crate::proxy::present::Present;
use crate::proxy::service::Arrived;

/// The services that have to consent to a request.
pub(in crate::proxy) struct Guards {
    pub(in crate::proxy) rule: Rc<CoreRule>,
    /// Position of the chosen backend, where the request goes to one.
    pub(in crate::proxy) choice: Option<usize>,
    /// The services, in the order in which they are asked; none where a reference leads nowhere.
    pub(in crate::proxy) services: Vec<Option<Rc<CoreBackend>>>,
    pub(in crate::proxy) asked: Asked,
    /// When the time of the rule is over.
    pub(in crate::proxy) deadline: Option<Instant>,
    /// What does not stand before they have consented.
    pub(in crate::proxy) drawn: Drawn,
}

/// What a client asked for.
pub(in crate::proxy) struct Asked {
    /// Host and port.
    pub(in crate::proxy) authority: HeaderValue,
    /// Canonical path, and query.
    pub(in crate::proxy) target: PathAndQuery,
}

/// A request whose fields are as its filters want them.
#[derive(Default)]
pub(in crate::proxy) struct Settled {
    /// The fields of copies, where there are any: what filters of the chosen backend do is for that
    /// backend alone.
    pub(in crate::proxy) for_copies: Option<HeaderMap>,
}

impl Guards {
    /// Changes the fields of a request as its filters ask, and asks the services among them, all in the
    /// order of the filters.
    pub(in crate::proxy) async fn settle(
        &mut self,
        connection: &Rc<Connection>,
        arrived: &mut Arrived,
        copied: bool,
    ) -> Result<Settled, Denial> {
        let Drawn { backend, mirrors } = std::mem::take(&mut self.drawn);
        vouch(connection, arrived, &self.asked.authority);
        let mut services = self.services.iter();
        self.run(&self.rule.filters, &mut services, connection, arrived).await?;
        // What services of the backend deny is of that backend's share.
        backend.into_iter().for_each(Draw::stand);
        let for_copies = copied.then(|| arrived.head.headers.clone());
        if let Some(choice) = self.choice {
            let filters = &self.rule.backend_filters[choice];
            self.run(filters, &mut services, connection, arrived).await?;
        }
        mirrors.into_iter().for_each(Draw::stand);
        let headers = &arrived.head.headers;
        arrived.present = arrived.present.and(Present::of(headers));
        Ok(Settled { for_copies })
    }

    async fn run(
        &self,
        filters: &Filters,
        services: &mut impl Iterator<Item = &Option<Rc<CoreBackend>>>,
        connection: &Rc<Connection>,
        arrived: &mut Arrived,
    ) -> Result<(), Denial> {
        let mut changes = filters.request_headers.iter();
        let mut changed = 0;
        for guard in &filters.auth {
            for change in changes.by_ref().take(guard.after - changed) {
                change.apply(&mut arrived.head.headers);
            }
            changed = guard.after;
            let service = services.next().and_then(Option::as_ref);
            let asking = Asking { connection, asked: &self.asked, deadline: self.deadline };
            let consent = asking.ask(Some(&guard.authorizer), service, None, arrived).await?;
            consent.change_request(&mut arrived.head.headers);
            arrived.body.leave_out(consent.names());
            arrived.account.added.extend(consent.response);
        }
        for change in changes {
            change.apply(&mut arrived.head.headers);
        }
        Ok(())
    }
}

/// What has to consent to every request of a listener, before routes are matched (LF-4).
pub(in crate::proxy) struct ListenerGuards {
    pub(in crate::proxy) listener: Rc<CoreListener>,
    /// The services, in the order in which they are asked; none where a reference leads nowhere.
    pub(in crate::proxy) services: Vec<Option<Rc<CoreBackend>>>,
    pub(in crate::proxy) asked: Asked,
}

impl ListenerGuards {
    /// Asks one after the other (LF-3); whoever denies is the last one (LF-6). What they do to the fields is
    /// what routes are matched by. What the proxy says of the client they are told, and routes are not.
    pub(in crate::proxy) async fn settle(
        &self,
        connection: &Rc<Connection>,
        arrived: &mut Arrived,
    ) -> Result<(), Denial> {
        for (authorizer, service) in self.listener.filters.iter().zip(&self.services) {
            let mut told = arrived.head.headers.clone();
            let (present, client) = (arrived.present, &arrived.account.client);
            vouch_in(connection, &mut told, present, client, &self.asked.authority);
            let asking = Asking { connection, asked: &self.asked, deadline: None };
            let asked = asking.ask(authorizer.as_ref(), service.as_ref(), Some(&told), arrived);
            let consent = asked.await?;
            consent.change_request(&mut arrived.head.headers);
            arrived.body.leave_out(consent.names());
            arrived.present = arrived.present.and(Present::of(&arrived.head.headers));
            arrived.account.added.extend(consent.response);
        }
        Ok(())
    }
}

/// Leaves of the fields what goes on, and adds what the proxy says of the client.
fn vouch(connection: &Connection, arrived: &mut Arrived, authority: &HeaderValue) {
    let (present, client) = (arrived.present, &arrived.account.client);
    vouch_in(connection, &mut arrived.head.headers, present, client, authority);
}

fn vouch_in(
    connection: &Connection,
    fields: &mut HeaderMap,
    present: Present,
    client: &Client,
    authority: &HeaderValue,
) {
    headers::strip_request(fields, present);
    if fields.contains_key(COOKIE) {
        headers::join_cookies(fields);
    }
    connection.client.set(fields, authority, client);
    fields.insert(HOST, authority.clone());
}

/// One question.
struct Asking<'a> {
    connection: &'a Rc<Connection>,
    asked: &'a Asked,
    deadline: Option<Instant>,
}

impl Asking<'_> {
    /// Asks, with these fields or else those of the request.
    async fn ask(
        &self,
        authorizer: Option<&Authorizer>,
        service: Option<&Rc<CoreBackend>>,
        told: Option<&HeaderMap>,
        arrived: &mut Arrived,
    ) -> Result<Consent, Denial> {
        let asked = self.try_ask(authorizer, service, told, arrived).await;
        let outcome = match &asked {
            Ok(_) => Outcome::Allowed,
            Err(Denial::Relayed(_) | Denial::TooLong) => Outcome::Denied,
            Err(Denial::Failed(failed)) => Outcome::Failed(failed.reason()),
            Err(Denial::Client(_) | Denial::Deadline) => return asked,
        };
        self.note(outcome, authorizer, &mut arrived.account);
        asked
    }

    async fn try_ask(
        &self,
        authorizer: Option<&Authorizer>,
        service: Option<&Rc<CoreBackend>>,
        told: Option<&HeaderMap>,
        arrived: &mut Arrived,
    ) -> Result<Consent, Denial> {
        let (Some(authorizer), Some(service)) = (authorizer, service) else {
            return Err(Failed::NoService.into());
        };
        let shown = match authorizer.max_body(&self.connection.worker) {
            None => None,
            Some(most) => Some(self.gather(&mut arrived.body, most).await?),
        };
        if shown.is_some() {
            // The client was told to go on.
            arrived.head.headers.remove(EXPECT);
            arrived.present = arrived.present.without(Present::EXPECT);
        }
        let question = Question {
            connection: self.connection,
            client: &arrived.account.client,
            head: &arrived.head,
            headers: told.unwrap_or(&arrived.head.headers),
            authority: &self.asked.authority,
            target: &self.asked.target,
            body: shown.as_ref(),
        };
        authorizer.ask(service, question, self.deadline).await
    }

    /// All of the body, which has to be here before the time of the rule is over.
    async fn gather(&self, body: &mut RequestBody, most: usize) -> Result<Bytes, Denial> {
        let gathering = body.gather(most);
        let gathered = match self.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, gathering).await,
            None => Ok(gathering.await),
        };
        match gathered {
            Ok(Gathered::Whole(bytes)) => Ok(bytes),
            Ok(Gathered::TooLong) => Err(Denial::TooLong),
            Ok(Gathered::Broken(fault)) => Err(Denial::Client(fault)),
            Err(_) => Err(Denial::Deadline),
        }
    }

    fn note(
        &self,
        outcome: Outcome,
        authorizer: Option<&Authorizer>,
        account: &mut RequestAccount,
    ) {
        account.authorization = Some(outcome);
        let key = authorizer.and_then(Authorizer::key);
        self.connection.worker.telemetry.authorization(key, outcome.as_str());
        if let (Outcome::Failed(reason), Some(backend)) = (outcome, key) {
            tracing::debug!(%backend, reason, "no answer to a question for authorization");
        }
    }
}
