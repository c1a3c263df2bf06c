//! The addresses of names: all that ask for one at the same time share one lookup, on whatever core they are.
//!
//! A lookup takes a thread for as long as it waits, and cannot be called off. So there is one for a name at
//! most, and only so many for names that hang or belong to one domain: others have places left. Who has no
//! answer in time is told the addresses that the name had last.
//!
//! ```text
//!  lookup ─► Names ─► one under way for the name ─► its answer
//!              │            └─► Places ─► a thread, which asks the system
//!              └─► none in time: the last addresses, while they are not too old
//! ```

mod names;
mod places;
mod system;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use self::names::{Names, Unfound};
use crate::Limits;

/// Time that who has an older answer waits for a new one (RFC 8767 5, the client response timer).
const PATIENCE: Duration = Duration::from_millis(1800);

static NAMES: Names = Names::new(&system::look_up, PATIENCE);

/// Why the addresses of a name are not known.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("the name {name:?} was looked up: {reason}")]
    Unfound { name: Box<str>, reason: Unfound },
    #[error("the lookup of the name {name:?} has no answer yet, after {after:?}")]
    Late { name: Box<str>, after: Duration },
    #[error("the lookup of the name {0:?} waits for others, which have no answer yet")]
    Queued(Box<str>),
}

impl LookupError {
    fn new(name: &str, answer: Option<Unfound>, began: Option<std::time::Instant>) -> Self {
        let name = name.into();
        match (answer, began) {
            (Some(reason), _) => Self::Unfound { name, reason },
            (None, Some(began)) => Self::Late { name, after: began.elapsed() },
            (None, None) => Self::Queued(name),
        }
    }
}

impl From<LookupError> for io::Error {
    fn from(error: LookupError) -> Self {
        let kind = match &error {
            LookupError::Unfound { reason: Unfound::NoAddress, .. } => io::ErrorKind::NotFound,
            LookupError::Unfound { reason: Unfound::Failed(_), .. } => io::ErrorKind::Other,
            LookupError::Late { .. } | LookupError::Queued(_) => io::ErrorKind::TimedOut,
        };
        Self::new(kind, error)
    }
}

/// The addresses of a name, with a port: those that a lookup finds, or those that it had last where that
/// fails or takes too long.
///
/// # Errors
///
/// The name has no address; or there is no answer by `until` or within the time that a lookup may take, and
/// none before that is young enough.
pub(super) async fn lookup(
    name: &str,
    port: u16,
    limits: &Limits,
    until: Instant,
) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = lookup_in(&NAMES, name, limits, until).await?;
    addresses.iter_mut().for_each(|address| address.set_port(port));
    Ok(addresses)
}

async fn lookup_in(
    names: &'static Names,
    name: &str,
    limits: &Limits,
    until: Instant,
) -> Result<Vec<SocketAddr>, LookupError> {
    let may_take = limits.lookup_timeout;
    let mut asked = names.ask(name, may_take);
    let last = asked.last.take();
    let last = last.filter(|it| it.found.elapsed() < limits.max_stale_lookup_age);
    let left = match &last {
        Some(_) if asked.ails => Duration::ZERO,
        // Time is left to connect.
        Some(_) => names.patience.min(until.saturating_duration_since(Instant::now()) / 2),
        None => may_take.saturating_sub(asked.began.map_or(Duration::ZERO, |it| it.elapsed())),
    };
    let wait_until = until.min(Instant::now() + left);
    let found = match timeout_at(wait_until, asked.answer.wait_for(Option::is_some)).await {
        Ok(Ok(found)) => found.clone(),
        Ok(Err(_)) | Err(_) => None,
    };
    let unfound = match found {
        Some(Ok(addresses)) => return Ok(addresses.to_vec()),
        Some(Err(unfound)) => Some(unfound),
        None => None,
    };
    let is_answer = unfound == Some(Unfound::NoAddress);
    let error = LookupError::new(name, unfound, asked.began);
    let Some(last) = last.filter(|_| !is_answer) else { return Err(error) };
    if names.note_ailing(name) {
        let age = last.found.elapsed();
        tracing::warn!(name, %error, ?age, "the last addresses of a name are used");
    }
    Ok(last.addresses.to_vec())
}

/// Keeps lookups of the whole process from beginning, as servers do that are silent.
#[cfg(test)]
pub(in crate::proxy) fn hold_up() -> impl Drop {
    NAMES.hold_up()
}

#[cfg(test)]
mod tests;
