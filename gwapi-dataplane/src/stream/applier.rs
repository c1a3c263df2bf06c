//! The thread that applies configuration, and asks again for ports that were taken.

use std::io;
use std::sync::{Arc, mpsc as sync_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gwapi_translate::Feedback;
use gwapi_translate::ir::{ConfigDelta, GatewayId};
use tokio::sync::mpsc;

use super::update;
use crate::ProxyHandle;

/// Time between two attempts at ports that could not be bound.
const RETRY_UNBOUND: Duration = Duration::from_secs(1);

/// Applies changes in the order in which they are given. Dropping it ends the thread.
pub(super) struct Applier {
    changes: Option<sync_mpsc::Sender<ConfigDelta>>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
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
        let (changes, received) = sync_mpsc::channel();
        let (sender, outcomes) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("apply".to_owned()).spawn(move || {
            let mut worker = Worker { gateway, proxy, feedback: Feedback::default() };
            worker.run(&received, &sender);
        })?;
        Ok(Self { changes: Some(changes), outcomes, thread: Some(thread) })
    }

    /// Gives a change to the thread; its outcome follows.
    pub(super) fn apply(&self, delta: ConfigDelta) {
        if let Some(changes) = &self.changes {
            // A thread that died has no outcome either, and that is what its owner waits for.
            let _ = changes.send(delta);
        }
    }

    /// The next outcome; none when the thread has died.
    pub(super) async fn outcome(&mut self) -> Option<Outcome> {
        self.outcomes.recv().await
    }

    /// Applies a change. Blocks; for a thread without a runtime.
    pub(super) fn apply_and_wait(&mut self, delta: ConfigDelta) {
        self.apply(delta);
        while let Some(Outcome::Reconsidered(_)) = self.outcomes.blocking_recv() {}
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

struct Worker {
    gateway: GatewayId,
    proxy: Arc<ProxyHandle>,
    feedback: Feedback,
}

impl Worker {
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
        let report = self.proxy.apply(update(&self.gateway, delta));
        if let Some(feedback) = report.feedback.get(&self.gateway) {
            self.feedback = feedback.clone();
        }
    }

    fn wants_sockets(&self) -> bool {
        !self.feedback.unbound.is_empty() || !self.feedback.unusable_addresses.is_empty()
    }
}
