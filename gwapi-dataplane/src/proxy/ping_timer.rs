//! PING over HTTP/2: when a client is asked whether it is still there, and how long its answer may take.
//!
//! hyper asks, and would give every answer the same time. But a client reads in order what it is sent, and
//! may read slowly: megabytes can be in the sockets of both sides before the PING, and the answer is as late
//! as they take. So hyper is told that an answer may take for ever, and this timer says when that is over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

use super::congestion::Congestion;
use crate::Limits;

/// The time that hyper is told an answer may take. No limit is as long.
pub(super) const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The timer of one connection. hyper asks it for nothing but the two times of PING, which are told apart by
/// their length.
#[derive(Clone, Debug)]
pub(super) struct PingTimer(Arc<Answers>);

/// How long answers may take.
#[derive(Debug)]
struct Answers {
    client: Congestion,
    timeout: Duration,
    /// Bytes a second that the client has to read; 0 where it may take its time.
    min_rate: u64,
    /// The longest time that is given for reading.
    most: Duration,
}

impl Answers {
    /// The time for an answer, and for all that the client may have to read before.
    fn time(&self) -> Duration {
        let seconds = self.client.unanswered().checked_div(self.min_rate);
        let reading =
            seconds.map_or(self.most, |seconds| Duration::from_secs(seconds).min(self.most));
        self.timeout.saturating_add(reading)
    }
}

impl PingTimer {
    pub(super) fn new(client: Congestion, limits: &Limits) -> Self {
        Self(Arc::new(Answers {
            client,
            timeout: limits.http2_ping_timeout,
            min_rate: limits.min_rate,
            most: limits.response_idle_timeout,
        }))
    }
}

impl Timer for PingTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        if duration < FOREVER / 2 {
            return Box::pin(PingSleep::new(duration, None));
        }
        self.0.client.take_heard();
        Box::pin(PingSleep::new(self.0.time(), Some(Arc::clone(&self.0))))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(std::time::Instant::now()))
    }
}

struct PingSleep {
    sleep: Pin<Box<tokio::time::Sleep>>,
    /// What decides, where it is an answer that is waited for.
    answers: Option<Arc<Answers>>,
}

impl PingSleep {
    fn new(duration: Duration, answers: Option<Arc<Answers>>) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(duration)), answers }
    }
}

impl Sleep for PingSleep {}

impl Future for PingSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { sleep, answers } = &mut *self;
        loop {
            ready!(sleep.as_mut().poll(cx));
            let Some(answers) = answers else { return Poll::Ready(()) };
            // Whoever sends anything is there. While the socket is full the PING has not even left, and
            // that this ends in time is seen to where it is written.
            if !answers.client.take_heard() && !answers.client.is_full() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(Instant::now() + answers.time());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timer(client: &Congestion, min_rate: u64) -> PingTimer {
        PingTimer::new(client.clone(), &Limits { min_rate, ..Limits::default() })
    }

    /// The seconds until a wait is over.
    async fn takes(mut wait: Pin<Box<dyn Sleep>>) -> u64 {
        let began = Instant::now();
        wait.as_mut().await;
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_be_as_late_as_what_was_sent_before_takes_to_be_read() {
        for (sent, min_rate, seconds) in
            [(0, 240, 10), (239, 240, 10), (2400, 240, 20), (1 << 40, 240, 310), (1, 0, 310)]
        {
            let client = Congestion::default();
            client.took(sent);
            assert_eq!(takes(timer(&client, min_rate).sleep(FOREVER)).await, seconds, "{sent}");
            // What the client has said comes after what it has read.
            client.heard();
            assert_eq!(takes(timer(&client, 240).sleep(FOREVER)).await, 10, "{sent}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_between_pings_is_what_it_is() {
        let client = Congestion::default();
        client.took(1 << 20);
        client.began();
        assert_eq!(takes(timer(&client, 240).sleep(30 * SECOND)).await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_anything_has_its_time_anew() {
        let client = Congestion::default();
        let wait = timer(&client, 240).sleep(FOREVER);
        client.heard();
        assert_eq!(takes(wait).await, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_judged_while_the_socket_is_full() {
        let client = Congestion::default();
        let mut wait = timer(&client, 240).sleep(FOREVER);
        client.began();
        let hour = tokio::time::timeout(3600 * SECOND, wait.as_mut()).await;
        assert!(hour.is_err(), "it goes on");
        client.ended(&Context::from_waker(Waker::noop()));
        assert!(takes(wait).await <= 10);
    }
}
