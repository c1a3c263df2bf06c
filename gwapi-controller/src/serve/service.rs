//! The one method of the gRPC service, and who may call it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use gwapi_model::NamespacedName;
use gwapi_translate::ir::GatewayId;
use gwapi_translate::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, METHOD, SERVICE};
use tokio::sync::watch;
use tonic::codegen::{BoxFuture, BoxStream, http};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::admission::Peer;
use super::authenticate::{AuthenticationError, Authenticator, Identity, MAX_TOKEN};
use super::gateway::Denied;
use super::hub::Hub;
use super::stream::{self, Opened};

/// How long a proxy waits for the first complete state before it is sent away to try again.
const WAIT_FOR_STATE: Duration = Duration::from_secs(60);

type Checked = BoxFuture<Identity, AuthenticationError>;

/// The service; clones are one.
#[derive(Clone)]
pub(super) struct Service {
    hub: Arc<Hub>,
    authenticate: Arc<dyn Fn(String) -> Checked + Send + Sync>,
    stopped: watch::Receiver<()>,
}

impl Service {
    pub(super) fn new(
        hub: Arc<Hub>,
        authenticator: impl Authenticator,
        stopped: watch::Receiver<()>,
    ) -> Self {
        let authenticator = Arc::new(authenticator);
        let authenticate = move |token: String| -> Checked {
            let authenticator = Arc::clone(&authenticator);
            Box::pin(async move { authenticator.authenticate(&token).await })
        };
        Self { hub, authenticate: Arc::new(authenticate), stopped }
    }

    /// Opens a stream for whoever shows a token.
    async fn open(
        self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<BoxStream<DeltaDiscoveryResponse>>, Status> {
        let id = gateway(request.metadata())?;
        let token = token(request.metadata())?;
        let identity = (self.authenticate)(token).await.map_err(|error| {
            let code = match error {
                AuthenticationError::Refused(_) => Code::Unauthenticated,
                AuthenticationError::Unavailable(_) => Code::Unavailable,
            };
            tracing::warn!(gateway = %id, %error, "a proxy is not let in");
            Status::new(code, error.to_string())
        })?;
        if let Some(peer) = request.extensions().get::<Peer>() {
            peer.admit();
        }
        self.wait_for_state().await?;
        let opened = self.register(&id, &identity)?;
        tracing::info!(gateway = %id, proxy = opened.proxy(), "a proxy connected");
        let stream = stream::serve(opened, request.into_inner(), self.stopped);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn wait_for_state(&self) -> Result<(), Status> {
        let mut ready = self.hub.ready();
        let waited = tokio::time::timeout(WAIT_FOR_STATE, ready.wait_for(|ready| *ready)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Status::unavailable("the configuration is still being read"))
            }
        }
    }

    fn register(&self, id: &GatewayId, identity: &Identity) -> Result<Opened, Status> {
        let refuse = |denied| {
            let is_over = matches!(denied, Denied::Gone);
            let status = status(denied, id, identity);
            let why = status.message();
            if is_over {
                // Its pods are about to be deleted, and ask until they are.
                tracing::debug!(gateway = %id, %identity, why, "a proxy is not let in");
            } else {
                tracing::warn!(gateway = %id, %identity, why, "a proxy is not let in");
            }
            status
        };
        // Whether there is such a Gateway is no business of other namespaces.
        if *identity.namespace != *id.namespace {
            return Err(refuse(Denied::Account));
        }
        let gateway = self.hub.gateway(id).ok_or_else(|| refuse(Denied::Gone))?;
        let account = &identity.service_account;
        let proxy = identity.pod.clone().unwrap_or_else(|| identity.to_string());
        Opened::new(&self.hub, gateway, account.clone(), proxy).map_err(refuse)
    }
}

/// What a proxy is told.
pub(super) fn status(denied: Denied, gateway: &GatewayId, identity: &Identity) -> Status {
    match denied {
        Denied::Gone => Status::not_found(format!(
            "the Gateway {gateway} is not there, or its class is that of another controller"
        )),
        Denied::Account => Status::permission_denied(format!(
            "the configuration of the Gateway {gateway} is not for {identity}"
        )),
        Denied::Full => Status::resource_exhausted(format!(
            "the Gateway {gateway} has as many proxies as it may have"
        )),
    }
}

/// The Gateway that a proxy asks for: `namespace/name`.
fn gateway(metadata: &MetadataMap) -> Result<GatewayId, Status> {
    let named = metadata.get("gateway").and_then(|value| value.to_str().ok());
    let named = named.and_then(|text| text.split_once('/'));
    named.map(|(namespace, name)| NamespacedName::new(namespace, name)).ok_or_else(|| {
        Status::invalid_argument("the metadata `gateway` says no Gateway, as in `namespace/name`")
    })
}

fn token(metadata: &MetadataMap) -> Result<String, Status> {
    let value = metadata.get("authorization").and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    match token.len() {
        0 => Err(Status::unauthenticated("the metadata `authorization` has no bearer token")),
        1..=MAX_TOKEN => Ok(token.to_owned()),
        _ => Err(Status::unauthenticated("the bearer token is too long to be one")),
    }
}

impl NamedService for Service {
    const NAME: &'static str = SERVICE;
}

impl tonic::codegen::Service<http::Request<tonic::body::Body>> for Service {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("there is no such method").into_http());
            }
            let codec = ProstCodec::<DeltaDiscoveryResponse, DeltaDiscoveryRequest>::default();
            let limit = service.hub.limits.message_bytes;
            let mut grpc = Grpc::new(codec).max_decoding_message_size(limit);
            Ok(grpc.streaming(Method(service), request).await)
        })
    }
}

/// `DeltaAggregatedResources`.
struct Method(Service);

impl StreamingService<DeltaDiscoveryRequest> for Method {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = BoxStream<DeltaDiscoveryResponse>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        Box::pin(self.0.clone().open(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_in_a_request_is_named() {
        let mut metadata = MetadataMap::new();
        assert_eq!(gateway(&metadata).expect_err("none").code(), Code::InvalidArgument);
        assert_eq!(token(&metadata).expect_err("none").code(), Code::Unauthenticated);
        metadata.insert("gateway", "web".parse().expect("text"));
        metadata.insert("authorization", "Basic abc".parse().expect("text"));
        assert!(gateway(&metadata).expect_err("none").message().contains("namespace/name"));
        assert!(token(&metadata).expect_err("none").message().contains("bearer token"));
        metadata.insert("gateway", "shop/web".parse().expect("text"));
        metadata.insert("authorization", "Bearer abc".parse().expect("text"));
        assert_eq!(gateway(&metadata).expect("one"), NamespacedName::new("shop", "web"));
        assert_eq!(token(&metadata).expect("one"), "abc");
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        metadata.insert("authorization", long.parse().expect("text"));
        assert!(token(&metadata).is_err());
    }
}
