//! A request whose rule says when it is sent again (RY-1 to RY-6).

use std::rc::Rc;
use std::time::Duration;

use gwapi_translate::ir::HttpRetry;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use tokio::time::Instant;

use super::body::UpstreamBody;
use super::discard::discard;
use super::pool::Endpoint;
use super::send::{Answer, Attempt, Failure, Message, Sent, is_safe, send};
use crate::proxy::core_state::CoreBackend;
use crate::proxy::worker::Worker;

/// Time before the first retry, where the rule sets none.
const BACKOFF: Duration = Duration::from_millis(25);

/// Times that the base of the backoff goes into the longest one.
const LONGEST_BACKOFF: u32 = 10;

/// Retries before there is a pause whatever the rule says: an endpoint that fails at once must not be asked as
/// fast as a core can.
const UNPAUSED_RETRIES: u32 = 3;

/// The least pause before the retry after those.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// What the least pause grows to.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Sends a request to an endpoint of a backend, which has some, and again as `retry` says.
///
/// There are as many retries as the rule says, up to [`Limits::max_retries`](crate::Limits::max_retries).
///
/// A retry goes to another endpoint than those that failed, as long as there are any. What is kept of a
/// body to be sent once more is bounded: a longer one is sent once.
pub(in crate::proxy) async fn send_with_retries(
    backend: &CoreBackend,
    mut message: Message,
    mut attempt: Attempt,
    retry: &HttpRetry,
    wanted: Option<&Rc<Endpoint>>,
    worker: &Rc<Worker>,
) -> Sent {
    // Each endpoint that is asked counts as an attempt, and each time that it is.
    (attempt.endpoints, attempt.refusals) = (1, 0);
    if retry.attempts == 0 {
        return send(backend, message, attempt, wanted, &[], worker).await;
    }
    message.keep_body(worker.limits.max_retry_body_bytes);
    let original = message;
    let mut failed: Vec<Rc<Endpoint>> = Vec::new();
    let mut backoff = Backoff::new(retry);
    let most = u32::try_from(worker.limits.max_retries).unwrap_or(u32::MAX);
    let mut left = retry.attempts.min(most);
    // None where the client broke its body off before the first attempt.
    let mut message = original.again().ok_or((Failure::Upstream, None))?;
    loop {
        if failed.len() >= backend.endpoint_count() {
            failed.clear();
        }
        let sent = send(backend, message, attempt, wanted, &failed, worker).await;
        if left == 0 || !is_retried(&sent, retry, original.method(), attempt) {
            return sent;
        }
        match original.again() {
            Some(again) => (message, left) = (again, left - 1),
            None => return sent,
        }
        failed.extend(end(sent, worker));
        let resumed = Instant::now() + backoff.next();
        if let Some(deadline) = attempt.deadline.filter(|deadline| *deadline <= resumed) {
            // RY-4.
            tokio::time::sleep_until(deadline).await;
            return Err((Failure::Timeout, failed.pop()));
        }
        // whatever the attempt came to, what its client gets is 503.
        if let Some(budget) = backend.retry_budget().filter(|budget| !budget.take_retry()) {
            let percent = budget.settings().percent;
            tracing::debug!(backend = %backend.key(), percent, "no retry is left");
            worker.telemetry.retry_refused(backend.key());
            return Err((Failure::RetryBudget, failed.pop()));
        }
        tokio::time::sleep_until(resumed).await;
        attempt.begun = Some(Instant::now());
    }
}

/// Whether the rule wants another attempt after this one.
fn is_retried(sent: &Sent, retry: &HttpRetry, method: &Method, attempt: Attempt) -> bool {
    let lists = |status: StatusCode| retry.codes.contains(&status.as_u16());
    match sent {
        Ok(answer) => lists(answer.response.status()) || is_unavailable(&answer.response),
        // RY-2: nothing was sent, or nobody has looked at it.
        Err((Failure::Connect | Failure::Tls | Failure::Refused, _)) => true,
        // RY-6: by the timeout of an attempt, not by that of the request.
        Err((Failure::Timeout, _)) => {
            let is_over = attempt.deadline.is_some_and(|deadline| deadline <= Instant::now());
            let may = is_idempotent(method) || lists(StatusCode::GATEWAY_TIMEOUT);
            attempt.each.is_some() && !is_over && may
        }
        // It may have been processed; and more of it would only add to what is too much already.
        Err((
            Failure::Upstream | Failure::Overflow | Failure::RetryBudget | Failure::Client(_),
            _,
        )) => false,
    }
}

/// Whether a call of gRPC was turned away by the status UNAVAILABLE before there was a message (RY-2): in the
/// head of the response.
fn is_unavailable(response: &Response<UpstreamBody>) -> bool {
    const UNAVAILABLE: &[u8] = b"14";
    let headers = response.headers();
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    headers.get("grpc-status").is_some_and(|status| status.as_bytes() == UNAVAILABLE)
        && headers.get(CONTENT_TYPE).is_some_and(is_grpc)
}

/// RFC 9110 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    is_safe(method) || matches!(*method, Method::PUT | Method::DELETE | Method::TRACE)
}

/// Lets go of what came of an attempt; the endpoint that failed.
fn end(sent: Sent, worker: &Rc<Worker>) -> Option<Rc<Endpoint>> {
    match sent {
        Ok(Answer { response, lease, .. }) => {
            let endpoint = lease.shared_endpoint();
            discard(response.into_body(), lease, worker);
            Some(endpoint)
        }
        Err((_, endpoint)) => endpoint,
    }
}

/// Times between attempts (RY-3): each twice the one before, up to ten times the first, less up to a
/// half at random, so that requests that failed together do not come again together. After a few of them
/// each is at least so long.
struct Backoff {
    next: Duration,
    longest: Duration,
    /// Retries that may come sooner than the least pause.
    unpaused: u32,
    least: Duration,
}

impl Backoff {
    fn new(retry: &HttpRetry) -> Self {
        let base = retry.backoff.unwrap_or(BACKOFF);
        Self {
            next: base,
            longest: base.saturating_mul(LONGEST_BACKOFF),
            unpaused: UNPAUSED_RETRIES,
            least: FIRST_PAUSE,
        }
    }

    fn next(&mut self) -> Duration {
        let wanted = self.next;
        self.next = wanted.saturating_mul(2).min(self.longest);
        let whole = wanted.max(self.least());
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }

    fn least(&mut self) -> Duration {
        if let Some(left) = self.unpaused.checked_sub(1) {
            self.unpaused = left;
            return Duration::ZERO;
        }
        let least = self.least;
        self.least = least.saturating_mul(2).min(LONGEST_PAUSE);
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RY-3.
    #[test]
    fn the_backoff_doubles_up_to_ten_times_its_base() {
        check(100, &[100, 200, 400, 800, 1000, 1000, 1000, 1000, 1000, 1000, 1000]);
        check(1, &[1, 2, 4]);
    }

    #[test]
    fn after_a_few_retries_there_is_a_pause_whatever_the_rule_says() {
        check(0, &[0, 0, 0, 5, 10, 20, 40, 80, 160, 250, 250, 250]);
        check(2, &[2, 4, 8, 16, 20, 20, 40, 80, 160, 250, 250, 250]);
    }

    /// The pauses of a rule with this backoff, of which up to a half is left out, in milliseconds.
    fn check(backoff: u64, pauses: &[u64]) {
        let backoff = Some(Duration::from_millis(backoff));
        let retry = HttpRetry { codes: Vec::new(), attempts: 1, backoff };
        let mut backoff = Backoff::new(&retry);
        for whole in pauses.iter().copied().map(Duration::from_millis) {
            let time = backoff.next();
            assert!(whole / 2 <= time && time <= whole, "{time:?} of {whole:?}");
        }
    }
}
