//! The thread that applies configuration, and asks again for ports that were taken.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, mpsc as sync_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gwapi_translate::Feedback;
use gwapi_translate::ir::{ConfigDelta, GatewayId};
use tokio::sync::{mpsc, oneshot};

use super::update;
use crate::ProxyHandle;

/// Time between two attempts at ports that could not be bound.
const RETRY_UNBOUND: Duration = Duration::from_secs(1);

/// Applies changes in the order in which they are given. Dropping it ends the thread.
pub(super) struct Applier {
    changes: Option<sync_mpsc::Sender<ConfigDelta>>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    /// Its sender is with the thread, and never sends.
    death: Option<oneshot::Receiver<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// What became of a change, or of ports in the meantime.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A change is served, apart from what the feedback says.
    Applied(Feedback),
    /// Nothing was applied, and something else can be had or not than before.
    Reconsidered(Feedback),
}

impl Applier {
    pub(super) fn start(gateway: GatewayId, proxy: Arc<ProxyHandle>) -> io::Result<Self> {
        Self::applying(move |delta| {
            let mut report = proxy.apply(update(&gateway, delta));
            report.feedback.remove(&gateway)
        })
    }

    /// `apply` applies a change, and says what became of it unless that is what it said last.
    pub(super) fn applying(
        apply: impl FnMut(ConfigDelta) -> Option<Feedback> + Send + 'static,
    ) -> io::Result<Self> {
        let (changes, received) = sync_mpsc::channel();
        let (sender, outcomes) = mpsc::unbounded_channel();
        let (alive, death) = oneshot::channel();
        let thread = std::thread::Builder::new().name("apply".to_owned()).spawn(move || {
            let _alive: oneshot::Sender<Infallible> = alive;
            Worker { apply, feedback: Feedback::default() }.run(&received, &sender);
        })?;
        let (changes, death, thread) = (Some(changes), Some(death), Some(thread));
        Ok(Self { changes, outcomes, death, thread })
    }

    /// Waits until the thread has died; for one who asks.
    pub(super) fn death(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let death = self.death.take();
        async move {
            match death {
                Some(death) => _ = death.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Gives a change to the thread; its outcome follows.
    pub(super) fn apply(&self, delta: ConfigDelta) {
        if let Some(changes) = &self.changes {
            // That of a thread which died is waited for by whoever waits for its death.
            let _ = changes.send(delta);
        }
    }

    /// The next outcome; there is none when the thread has died.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self.outcomes.recv().await {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    /// Applies a change. Blocks; for a thread without a runtime. Tells whether it was applied: if not, the thread
    /// has died of it.
    pub(super) fn apply_and_wait(&mut self, delta: ConfigDelta) -> bool {
        self.apply(delta);
        loop {
            match self.outcomes.blocking_recv() {
                Some(Outcome::Reconsidered(_)) => {}
                Some(Outcome::Applied(_)) => return true,
                None => return false,
            }
        }
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that applies configuration panicked");
        }
    }
}

struct Worker<F> {
    apply: F,
    feedback: Feedback,
}

impl<F: FnMut(ConfigDelta) -> Option<Feedback>> Worker<F> {
    fn run(
        &mut self,
        changes: &sync_mpsc::Receiver<ConfigDelta>,
        outcomes: &mpsc::UnboundedSender<Outcome>,
    ) {
        let mut retry_at = Instant::now() + RETRY_UNBOUND;
        loop {
            let change = if self.wants_sockets() {
                let rest = retry_at.saturating_duration_since(Instant::now());
                match changes.recv_timeout(rest) {
                    Ok(delta) => Some(delta),
                    Err(sync_mpsc::RecvTimeoutError::Timeout) => None,
                    Err(sync_mpsc::RecvTimeoutError::Disconnected) => return,
                }
            } else {
                match changes.recv() {
                    Ok(delta) => Some(delta),
                    Err(sync_mpsc::RecvError) => return,
                }
            };
            retry_at = Instant::now() + RETRY_UNBOUND;
            let before = self.feedback.clone();
            let outcome = match change {
                Some(delta) => {
                    self.apply(delta);
                    Outcome::Applied(self.feedback.clone())
                }
                None => {
                    self.apply(ConfigDelta::default());
                    if self.feedback == before {
                        continue;
                    }
                    Outcome::Reconsidered(self.feedback.clone())
                }
            };
            if outcomes.send(outcome).is_err() {
                return;
            }
        }
    }

    fn apply(&mut self, delta: ConfigDelta) {
        if let Some(feedback) = (self.apply)(delta) {
            self.feedback = feedback;
        }
    }

    fn wants_sockets(&self) -> bool {
        !self.feedback.unbound.is_empty() || !self.feedback.unusable_addresses.is_empty()
    }
}
