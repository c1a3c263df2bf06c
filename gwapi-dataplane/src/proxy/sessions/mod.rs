//! Session persistence: the endpoint that a client was sent to is the one that it is sent to again
//! (SP-1 to SP-6).
//!
//! ```text
//!  request ─► backend, by weight ─► Visit::begin: the client's token names an endpoint of it?
//!                                      yes, and it is there ─► sent to it
//!                                      no ─► sent to any ─► Visit::end: a token for whoever answered
//! ```
//!
//! Nothing is kept here: all there is to a session is in its token, so that any worker and any proxy of
//! the Gateway goes on with it.

mod token;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gwapi_translate::ir::{SessionCarrier, SessionPersistence};
use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

use self::token::{Entry, MAX_ENTRIES};
use super::core_state::CoreBackend;
use super::upstream::Endpoint;

pub(super) use self::token::Sealer;

/// Cookies of one name that are looked at: a browser sends those of several paths and hosts.
const MAX_COOKIES: usize = 8;

/// Session persistence of a rule or a backend, as a worker runs it.
#[derive(Debug)]
pub(super) struct Persistence {
    scope: String,
    timeout: Option<Duration>,
    carrier: Carrier,
}

#[derive(Debug)]
enum Carrier {
    Cookie {
        name: String,
        /// All that comes after the value.
        attributes: String,
    },
    Header(HeaderName),
}

impl Persistence {
    /// None where the carrier has no name that a header can have.
    pub(super) fn new(session: &SessionPersistence) -> Option<Rc<Self>> {
        let SessionPersistence { scope, carrier, absolute_timeout } = session;
        let carrier = match carrier {
            SessionCarrier::Header(name) => Carrier::Header(name.parse().ok()?),
            SessionCarrier::Cookie { name, path, permanent } => {
                // SP-2.
                let max_age = absolute_timeout.filter(|_| *permanent);
                let max_age = max_age.map(|it| format!("; Max-Age={}", it.as_secs()));
                let max_age = max_age.unwrap_or_default();
                // SP-6.
                let attributes =
                    format!("; Path={path}{max_age}; Secure; HttpOnly; SameSite=Strict");
                Carrier::Cookie { name: name.clone(), attributes }
            }
        };
        Some(Rc::new(Self { scope: scope.clone(), timeout: *absolute_timeout, carrier }))
    }

    /// What a token says that can be opened, and the token itself: the first one that leads somewhere, or
    /// else the first. Of several paths a browser sends all cookies, those that nobody renews among them.
    fn read(
        &self,
        sealer: &Sealer,
        headers: &HeaderMap,
        leads: impl Fn(&[Entry]) -> bool,
    ) -> Option<(Vec<Entry>, HeaderValue)> {
        let open = |token: &[u8]| {
            Some((sealer.open(&self.scope, token)?, HeaderValue::from_bytes(token).ok()?))
        };
        match &self.carrier {
            Carrier::Header(name) => {
                let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
                first_or_best(values.take(MAX_COOKIES).filter_map(open), |(it, _)| leads(it))
            }
            Carrier::Cookie { name, .. } => {
                let values = cookies(headers, name).take(MAX_COOKIES);
                first_or_best(values.filter_map(open), |(it, _)| leads(it))
            }
        }
    }

    fn is_over(&self, entry: &Entry, now: u64) -> bool {
        let is_over = |timeout: Duration| now >= entry.since.saturating_add(timeout.as_secs());
        self.timeout.is_some_and(is_over)
    }

    /// Hands a token to the client.
    fn write(&self, token: &str, headers: &mut HeaderMap) {
        match &self.carrier {
            Carrier::Header(name) => {
                if let Ok(value) = HeaderValue::from_str(token) {
                    headers.insert(name, value);
                }
            }
            Carrier::Cookie { name, attributes } => {
                if let Ok(value) = HeaderValue::from_str(&format!("{name}={token}{attributes}")) {
                    headers.append(SET_COOKIE, value);
                }
            }
        }
    }
}

/// The first that is good, or else the first.
fn first_or_best<T>(mut all: impl Iterator<Item = T>, is_good: impl Fn(&T) -> bool) -> Option<T> {
    let first = all.next()?;
    if is_good(&first) {
        return Some(first);
    }
    Some(all.find(is_good).unwrap_or(first))
}

/// The values of the cookies of a name (RFC 6265 5.4), wherever they stand.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let fields = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = fields.flat_map(|field| field.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let (found, value) = pair.split_at_checked(pair.iter().position(|byte| *byte == b'=')?)?;
        (found == name.as_bytes()).then(|| &value[1..])
    })
}

/// A request on its way within a session.
pub(super) struct Visit {
    persistence: Rc<Persistence>,
    sealer: Arc<Sealer>,
    /// What the client brought that still counts.
    known: Vec<Entry>,
    token: Option<HeaderValue>,
    /// The backend that was drawn.
    backend: u64,
    /// The endpoint that has the session.
    endpoint: Option<Rc<Endpoint>>,
}

impl Visit {
    /// Finds the endpoint that has the client's session at a backend.
    pub(super) fn begin(
        persistence: &Rc<Persistence>,
        sealer: &Arc<Sealer>,
        backend: &CoreBackend,
        headers: &HeaderMap,
        now: u64,
    ) -> Self {
        let id = backend.key().fingerprint();
        let endpoint = |known: &[Entry]| {
            let live = |entry: &&Entry| entry.backend == id && !persistence.is_over(entry, now);
            backend.endpoint_at(known.iter().find(live)?.endpoint)
        };
        let read = persistence.read(sealer, headers, |known| endpoint(known).is_some());
        let (mut known, token) =
            read.map_or_else(Default::default, |(known, token)| (known, Some(token)));
        known.retain(|entry| !persistence.is_over(entry, now));
        let endpoint = endpoint(&known).map(Rc::clone);
        Self {
            persistence: Rc::clone(persistence),
            sealer: Arc::clone(sealer),
            known,
            token,
            backend: id,
            endpoint,
        }
    }

    /// The endpoint that has the session; none where there is no session yet, or no endpoint any more.
    pub(super) fn endpoint(&self) -> Option<&Rc<Endpoint>> {
        self.endpoint.as_ref()
    }

    /// Tells the client of its session with the endpoint that answered.
    pub(super) fn end(self, answered: Option<SocketAddr>, headers: &mut HeaderMap, now: u64) {
        let Self { persistence, sealer, mut known, token, backend, endpoint } = self;
        // What a name stands for is not ours to pin.
        let Some(answered) = answered else { return };
        if endpoint.is_some_and(|endpoint| endpoint.address() == Some(answered)) {
            // A cookie stays by itself. A header is told with each response: who keeps it is the client's
            // own affair.
            if let (Carrier::Header(name), Some(token)) = (&persistence.carrier, token) {
                headers.insert(name, token);
            }
            return;
        }
        known.retain(|entry| entry.backend != backend);
        known.insert(0, Entry { backend, since: now, endpoint: answered });
        known.truncate(MAX_ENTRIES);
        if let Some(token) = sealer.seal(&persistence.scope, &known) {
            persistence.write(&token, headers);
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
