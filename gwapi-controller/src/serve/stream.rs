//! One stream: driven by whoever reads its responses, gone when they do not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use gwapi_translate::wire::{
    ControlPlane, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Received,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::admission::{Admitted, Peer};
use super::authenticate::Identity;
use super::gateway::{Denied, Gateway, StreamId};
use super::hub::Hub;

/// A proxy that is connected; dropping it says that it is no longer.
#[derive(Debug)]
pub(super) struct Opened {
    hub: Arc<Hub>,
    gateway: Arc<Gateway>,
    id: StreamId,
    identity: Identity,
    proxy: String,
    wake: Arc<Notify>,
    _admitted: Admitted,
}

impl Opened {
    pub(super) fn new(
        hub: &Arc<Hub>,
        gateway: Arc<Gateway>,
        identity: Identity,
        peer: &Peer,
    ) -> Result<Self, Denied> {
        let proxy = identity.proxy();
        let id = hub.new_stream();
        let wake = gateway.open(id, &identity, proxy.clone(), peer, &hub.limits)?;
        hub.heard(&gateway.id);
        let admitted = peer.admit();
        Ok(Self { hub: Arc::clone(hub), gateway, id, identity, proxy, wake, _admitted: admitted })
    }

    pub(super) fn proxy(&self) -> &str {
        &self.proxy
    }

    /// A share of the stream's age that is its own, so that proxies do not come back all at once.
    fn age(&self) -> Duration {
        let age = self.hub.limits.stream_age;
        // Numbers that follow each other are spread over the whole range.
        let spread = (self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
        age.mul_f64(0.9 + 0.2 * f64::from(spread) / f64::from(u32::MAX))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.gateway.close(self.id);
        self.hub.heard(&self.gateway.id);
        tracing::info!(gateway = %self.gateway.id, proxy = self.proxy, "a proxy disconnected");
    }
}

/// The responses of a stream.
pub(super) fn serve(
    opened: Opened,
    requests: Streaming<DeltaDiscoveryRequest>,
    stopped: watch::Receiver<()>,
) -> impl Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send {
    let ends = Instant::now() + opened.age();
    let session = Session { opened, requests, stopped, ends, answer_by: None };
    stream::unfold(Some(session), |session| async {
        let mut session = session?;
        match session.next().await {
            Ok(Some(response)) => Some((Ok(response), Some(session))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
}

struct Session {
    opened: Opened,
    requests: Streaming<DeltaDiscoveryRequest>,
    stopped: watch::Receiver<()>,
    ends: Instant,
    /// Until when the batch that is in flight has to be answered.
    answer_by: Option<Instant>,
}

impl Session {
    /// The next response; nothing more where the stream has come to its end.
    async fn next(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        let Opened { hub, gateway, id, identity, wake, .. } = &self.opened;
        loop {
            gateway.permits(identity).map_err(|denied| match denied {
                Denied::Gone => Status::not_found("the Gateway is served here no longer"),
                Denied::Account | Denied::Owner | Denied::Full | Denied::Proxy => {
                    Status::permission_denied("the Gateway's proxies use another account now")
                }
            })?;
            if let Some(mut response) = gateway.next_response(*id) {
                if gateway.awaits_answer(*id) {
                    self.answer_by = Some(Instant::now() + hub.limits.answer_timeout);
                }
                response.control_plane = Some(ControlPlane { identifier: hub.replica.clone() });
                return Ok(Some(response));
            }
            let ends = self.answer_by.map_or(self.ends, |answer_by| answer_by.min(self.ends));
            tokio::select! {
                request = self.requests.message() => match request? {
                    None => return Ok(None),
                    Some(request) => {
                        let received = gateway.receive(*id, &request);
                        if received.map_err(|error| Status::invalid_argument(error.to_string()))?
                            == Received::Answered
                        {
                            self.answer_by = None;
                            hub.heard(&gateway.id);
                        }
                    }
                },
                () = wake.notified() => {}
                () = tokio::time::sleep_until(ends) => {
                    return match self.answer_by {
                        Some(answer_by) if answer_by <= self.ends => Err(
                            Status::deadline_exceeded("a configuration was not answered in time")
                        ),
                        _ => Ok(None),
                    };
                }
                _ = self.stopped.changed() => {
                    return Err(Status::unavailable("the controller stops"));
                }
            }
        }
    }
}
