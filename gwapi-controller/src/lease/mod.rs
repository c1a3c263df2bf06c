//! Which replica leads: the one that holds the Lease writes status and provisions, all of them serve
//! configuration.
//!
//! The Lease is taken at once where nobody holds it, and where its holder has let it go. A holder that
//! has gone without a word is waited for as long as the Lease says. Times in the Lease are never
//! compared with our clock: what counts is how long it has not changed before our eyes.

mod decide;

use std::time::{Duration, Instant};

use gwapi_model::jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};

use decide::{Action, Seen, decide};

use crate::trouble::Trouble;

/// How long the others wait for a holder that says nothing.
const DURATION: Duration = Duration::from_secs(15);

/// How long a holder that cannot renew the Lease goes on as if it had: well before the others take
/// it, so that no two ever lead.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often the Lease is renewed, and looked at by the others.
const INTERVAL: Duration = Duration::from_secs(2);

/// Where the Lease is, and who wants it.
#[derive(Clone, Debug)]
pub(crate) struct LeaseSettings {
    /// Namespace of the controller.
    pub(crate) namespace: String,
    /// Name of the Lease.
    pub(crate) name: String,
    /// Name of this replica: that of its pod, so that a container that starts anew goes on with the
    /// Lease that its predecessor held.
    pub(crate) identity: String,
}

/// Takes the Lease whenever it is to be had, and tells `is_leading`. When `stop` changes, it is let
/// go, for the next one to take at once.
pub(crate) async fn campaign(
    client: Client,
    settings: LeaseSettings,
    is_leading: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let leases: Api<Lease> = Api::namespaced(client, &settings.namespace);
    let mut campaign =
        Campaign { leases, settings, seen: None, renewed: None, trouble: Trouble::default() };
    loop {
        let started = Instant::now();
        let held = tokio::select! {
            held = campaign.hold() => held,
            _ = stop.changed() => break,
        };
        is_leading.send_if_modified(|leading| {
            let changed = *leading != held;
            *leading = held;
            if changed {
                tracing::info!(identity = campaign.settings.identity, leading = held, "the Lease");
            }
            changed
        });
        tokio::select! {
            () = sleep_until((started + INTERVAL).into()) => {}
            _ = stop.changed() => break,
        }
    }
    is_leading.send_replace(false);
    if let Err(error) = campaign.release().await {
        tracing::debug!(%error, "cannot let the Lease go");
    }
}

struct Campaign {
    leases: Api<Lease>,
    settings: LeaseSettings,
    /// The Lease as it last was, and since when.
    seen: Option<Seen>,
    /// When we last took or renewed it.
    renewed: Option<Instant>,
    trouble: Trouble,
}

impl Campaign {
    /// Takes or renews the Lease, and tells whether we lead. A holder who gets no answer leads until
    /// its time is over, and no longer.
    async fn hold(&mut self) -> bool {
        let limit = self.renewed.unwrap_or_else(Instant::now) + DEADLINE;
        let held = match timeout_at(limit.into(), self.attempt()).await {
            Ok(Ok(held)) => {
                if self.trouble.is_over() {
                    tracing::info!("the Lease can be asked for again");
                }
                held
            }
            Ok(Err(error)) => {
                if self.trouble.is_news(&error) {
                    tracing::warn!(%error, "cannot take or renew the Lease; trying again");
                }
                self.is_held(Instant::now())
            }
            Err(_) => {
                if self.trouble.is_news(&"no answer") {
                    tracing::warn!("the API server gives no answer about the Lease; trying again");
                }
                false
            }
        };
        if !held {
            self.renewed = None;
        }
        held
    }

    /// Whether we may go on leading although nothing new is known.
    fn is_held(&self, now: Instant) -> bool {
        self.renewed.is_some_and(|renewed| now.duration_since(renewed) < DEADLINE)
    }

    /// Looks at the Lease, and takes or renews it where that is right. Tells whether we hold it.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let asked = Instant::now();
        let lease = self.leases.get_opt(&self.settings.name).await?;
        let now = Instant::now();
        self.seen = Seen::next(self.seen.take(), lease.as_ref(), now);
        let written = match decide(self.seen.as_ref(), &self.settings.identity, now) {
            Action::Wait => return Ok(false),
            Action::Create => {
                let lease = self.lease(None);
                self.leases.create(&PostParams::default(), &lease).await
            }
            Action::Take | Action::Renew => {
                let lease = self.lease(lease);
                self.leases.replace(&self.settings.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(lease) => {
                self.seen = Seen::next(self.seen.take(), Some(&lease), Instant::now());
                self.renewed = Some(asked);
                Ok(true)
            }
            // Somebody else was faster: whether it was us in an earlier attempt shows next time.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(self.is_held(now)),
            Err(error) => Err(error),
        }
    }

    /// The Lease as it should be with us as its holder.
    fn lease(&self, lease: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_ref() != Some(&self.settings.identity) {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |times| times + 1));
        }
        spec.holder_identity = Some(self.settings.identity.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }

    /// Lets the Lease go, if it is ours.
    async fn release(&mut self) -> kube::Result<()> {
        let Some(mut lease) = self.leases.get_opt(&self.settings.name).await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_ref() == Some(&self.settings.identity) {
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            self.leases.replace(&self.settings.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}
