//! One stream after the other, for as long as the proxy lives.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use gwapi_translate::wire::{
    Batch, ClientError, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Step,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

use super::applier::{Applier, Outcome};
use super::backoff::Backoff;
use super::dial::{DialError, dial};
use super::saved::Saver;
use super::{Shared, StreamSettings};

/// How long a controller may be behind what is served here before another one is sought.
const BEHIND: Duration = Duration::from_secs(10);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the stream broke: {:?}: {}", .0.code(), .0.message())]
    Broken(Status),
    #[error("what came by the stream cannot be used")]
    Unusable(#[from] ClientError),
    #[error("the controller is behind what is served here for more than {} s", BEHIND.as_secs())]
    Behind,
}

/// Why nobody follows the controller any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It was told to.
    Stopped,
    /// Nothing can be applied any more.
    Failed,
}

/// Follows the controller until it is told to stop, or there is no use in it.
pub(super) async fn run(
    settings: StreamSettings,
    client: Shared,
    mut applier: Applier,
    saver: Option<Saver>,
    mut stopped: watch::Receiver<bool>,
) -> Over {
    let death = applier.death();
    let mut follower = Follower {
        settings,
        client,
        applier,
        saver,
        backoff: Backoff::default(),
        applying: None,
        told: None,
    };
    tokio::select! {
        never = follower.follow() => match never {},
        // Whoever could say so may be gone, which says the same.
        _ = stopped.wait_for(|stopped| *stopped) => Over::Stopped,
        () = death => Over::Failed,
    }
}

struct Follower {
    settings: StreamSettings,
    client: Shared,
    applier: Applier,
    saver: Option<Saver>,
    backoff: Backoff,
    /// What is being applied. It outlives a stream: what has begun is finished.
    applying: Option<Batch>,
    /// The last problem that was logged, so that a controller that is away for hours fills no log.
    told: Option<String>,
}

impl Follower {
    async fn follow(&mut self) -> Infallible {
        loop {
            match self.stream().await {
                Ok(()) => {
                    tracing::debug!("the controller ended the stream; connecting anew");
                    self.backoff.reset();
                }
                Err(error) => {
                    if let EndError::Unusable(_) = error {
                        self.client.lock().mistrust();
                    }
                    self.tell(&error);
                }
            }
            let pause = self.backoff.next(&mut rand::rng());
            tokio::time::sleep(pause).await;
        }
    }

    fn tell(&mut self, error: &EndError) {
        let text = chain(error);
        let server = &self.settings.server;
        if self.told.as_ref() == Some(&text) {
            tracing::debug!(server, error = text, "still no configuration from the controller");
        } else {
            tracing::warn!(server, error = text, "no configuration from the controller");
            self.told = Some(text);
        }
    }

    /// Follows one stream to its end.
    async fn stream(&mut self) -> Result<(), EndError> {
        let (requests, sent) = mpsc::unbounded_channel();
        let first = self.client.lock().connect(self.node());
        // The receiver is in this function.
        let _ = requests.send(first);
        let mut responses = dial(&self.settings, UnboundedReceiverStream::new(sent)).await?;
        let mut behind_since: Option<Instant> = None;
        loop {
            let patience = async {
                match behind_since {
                    Some(since) => tokio::time::sleep_until(since + BEHIND).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                outcome = self.applier.outcome() => {
                    if let Some(answer) = self.applied(outcome) {
                        let _ = requests.send(answer);
                    }
                }
                // One state after the other: the next is answered after this one.
                response = next(&mut responses), if self.applying.is_none() => {
                    let Some(response) = response? else { return Ok(()) };
                    let step = self.client.lock().receive(response)?;
                    let refused = matches!(step, Step::Refuse(_));
                    let since = behind_since.unwrap_or_else(Instant::now);
                    behind_since = refused.then_some(since);
                    self.take(step, &requests);
                }
                () = patience => return Err(EndError::Behind),
            }
        }
    }

    fn take(&mut self, step: Step, requests: &mpsc::UnboundedSender<DeltaDiscoveryRequest>) {
        // A stream that broke meanwhile is noticed when its next response is awaited.
        match step {
            Step::Answer(answer) => drop(requests.send(answer)),
            Step::Refuse(answer) => {
                tracing::warn!("the controller is behind what is served here; waiting for it");
                drop(requests.send(answer));
            }
            Step::Apply(batch) => {
                self.applier.apply(batch.delta.clone());
                self.applying = Some(batch);
            }
        }
    }

    /// Something was applied; what there is to say about it.
    fn applied(&mut self, outcome: Outcome) -> Option<DeltaDiscoveryRequest> {
        let mut client = self.client.lock();
        match outcome {
            Outcome::Reconsidered(feedback) => client.reconsidered(&feedback),
            Outcome::Applied(feedback) => {
                let batch = self.applying.take()?;
                let generation = batch.generation;
                let (changed, removed) = (batch.delta.upserts.len(), batch.delta.removals.len());
                let answer = client.applied(batch, &feedback);
                let rejected = client.verdict().rejected.len();
                drop(client);
                tracing::info!(generation, changed, removed, rejected, "serving a configuration");
                self.told = None;
                self.backoff.reset();
                if let Some(saver) = &self.saver {
                    saver.changed();
                }
                answer
            }
        }
    }

    fn node(&self) -> Node {
        Node {
            id: self.settings.proxy_name.clone(),
            user_agent_name: env!("CARGO_PKG_NAME").to_owned(),
            user_agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

async fn next(
    responses: &mut Streaming<DeltaDiscoveryResponse>,
) -> Result<Option<DeltaDiscoveryResponse>, EndError> {
    responses.message().await.map_err(EndError::Broken)
}

/// An error with its causes, in a line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use gwapi_model::NamespacedName;
    use gwapi_translate::Feedback;
    use gwapi_translate::ir::ConfigDelta;
    use gwapi_translate::wire::Client;
    use tokio::time::timeout;

    use super::*;

    /// What no controller answers.
    fn settings() -> StreamSettings {
        let missing = std::env::temp_dir().join("gwapi-no-such-file");
        StreamSettings {
            server: "https://127.0.0.1:1".to_owned(),
            server_name: "gwapi-controller.test".to_owned(),
            ca: missing.clone(),
            token: missing,
            gateway: NamespacedName::new("shop", "web"),
            proxy_name: "web-1".to_owned(),
            snapshot_dir: None,
        }
    }

    /// A proxy that serves what it had for ever would be ready all the time.
    #[tokio::test]
    async fn who_can_apply_nothing_any_more_follows_no_controller_either() {
        let client = || Shared(Arc::new(Mutex::new(Client::default())));
        for panics in [true, false] {
            let apply = move |_| {
                assert!(!panics, "a bug");
                Some(Feedback::default())
            };
            let applier = Applier::applying(apply).expect("a thread");
            applier.apply(ConfigDelta::default());
            let (stop, stopped) = watch::channel(false);
            let running = run(settings(), client(), applier, None, stopped);
            let over = timeout(Duration::from_secs(60), async {
                let applied = async {
                    if !panics {
                        stop.send_replace(true);
                    }
                };
                tokio::join!(running, applied).0
            });
            let expected = if panics { Over::Failed } else { Over::Stopped };
            assert_eq!(over.await, Ok(expected));
        }
    }
}
