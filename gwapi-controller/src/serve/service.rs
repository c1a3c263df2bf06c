//! The one method of the gRPC service, and who may call it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use gwapi_model::NamespacedName;
use gwapi_translate::ir::GatewayId;
use gwapi_translate::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, METHOD, SERVICE};
use tokio::sync::watch;
use tokio::time::Instant;
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
use crate::trouble::Quota;

type Checked = BoxFuture<Identity, AuthenticationError>;

/// The service; clones are one.
#[derive(Clone)]
pub(super) struct Service {
    hub: Arc<Hub>,
    authenticate: Arc<dyn Fn(String) -> Checked + Send + Sync>,
    stopped: watch::Receiver<()>,
    /// Which refusals are told: whoever has a token of any account can bring about as many as it likes.
    refusals: Arc<Mutex<Quota>>,
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
        Self { hub, authenticate: Arc::new(authenticate), stopped, refusals: Arc::default() }
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
            self.tell_refusal(&id, None, &error.to_string());
            Status::new(code, error.to_string())
        })?;
        // Whether there is such a Gateway is no business of other namespaces.
        if *identity.namespace != *id.namespace {
            return Err(self.refuse(Denied::Account, &id, &identity));
        }
        self.wait_for_state().await?;
        // Whoever may not have a stream stays a stranger, whatever its token: anybody in the cluster
        // can have one.
        let peer = request.extensions().get::<Peer>();
        let peer = peer.ok_or_else(|| Status::internal("the connection has no other side"))?;
        let opened = self.register(&id, &identity, peer)?;
        tracing::info!(gateway = %id, proxy = opened.proxy(), "a proxy connected");
        let stream = stream::serve(opened, request.into_inner(), self.stopped);
        Ok(Response::new(Box::pin(stream)))
    }

    /// Waits for the first complete state, but no longer than a stranger may stay: who waits is told
    /// to try again before its connection ends.
    async fn wait_for_state(&self) -> Result<(), Status> {
        let mut ready = self.hub.ready();
        let time = self.hub.limits.admission_timeout / 2;
        let waited = tokio::time::timeout(time, ready.wait_for(|ready| *ready)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Status::unavailable("the configuration is still being read"))
            }
        }
    }

    fn register(&self, id: &GatewayId, identity: &Identity, peer: &Peer) -> Result<Opened, Status> {
        let refuse = |denied| self.refuse(denied, id, identity);
        let gateway = self.hub.gateway(id).ok_or_else(|| refuse(Denied::Gone))?;
        Opened::new(&self.hub, gateway, identity.clone(), peer).map_err(refuse)
    }

    fn refuse(&self, denied: Denied, id: &GatewayId, identity: &Identity) -> Status {
        let is_over = matches!(denied, Denied::Gone);
        let status = status(denied, id, identity);
        let why = status.message();
        if is_over {
            // Its pods are about to be deleted, and ask until they are.
            tracing::debug!(gateway = %id, %identity, why, "a proxy is not let in");
        } else {
            self.tell_refusal(id, Some(identity), why);
        }
        status
    }

    fn tell_refusal(&self, id: &GatewayId, identity: Option<&Identity>, why: &str) {
        let identity = identity.map(ToString::to_string).unwrap_or_default();
        let told = format!("{id} {identity} {why}");
        let is_told = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            refusals.allows(told, Instant::now())
        };
        if is_told {
            tracing::warn!(gateway = %id, identity, why, "a proxy is not let in");
        } else {
            tracing::debug!(gateway = %id, identity, why, "a proxy is not let in");
        }
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
        Denied::Owner => Status::permission_denied(format!(
            "{identity} has the name that the ServiceAccount of the Gateway {gateway} has to have, and \
             does not belong to this Gateway"
        )),
        Denied::Full => Status::resource_exhausted(format!(
            "the Gateway {gateway} has as many proxies as it may have"
        )),
        Denied::Proxy => Status::resource_exhausted(format!(
            "{} has as many streams or connections as it may have; one that is no longer used ends within a \
             minute",
            identity.proxy()
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
    use std::net::{Ipv4Addr, SocketAddr};

    use gwapi_model::{ResourceEvent, manifest};
    use gwapi_translate::Translator;
    use gwapi_translate::wire::ResourceVersions;
    use tonic::codegen::Service as _;

    use super::super::admission::Strangers;
    use super::super::authenticate::Owner;
    use super::super::settings::ServeLimits;
    use super::*;
    use crate::ControllerSettings;

    const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gwapi}
spec: {controllerName: gwapi.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop, uid: 5f6f}
spec:
  gatewayClassName: gwapi
  listeners: [{name: http, port: 80, protocol: HTTP}]
";

    /// Every token is one of the ServiceAccount that it names, and of a Gateway where it names one as
    /// its owner: `namespace/name` or `namespace/name/gateway/uid`.
    struct Accounts;

    impl Authenticator for Accounts {
        async fn authenticate(&self, token: &str) -> Result<Identity, AuthenticationError> {
            let mut parts = token.split('/').map(str::to_owned);
            let (namespace, account) = (parts.next(), parts.next());
            Ok(Identity {
                namespace: namespace.expect("a namespace"),
                service_account: account.expect("a name"),
                owner: parts.next().zip(parts.next()).map(|(gateway, uid)| Owner { gateway, uid }),
                pod: None,
            })
        }
    }

    #[tokio::test]
    async fn whoever_gets_no_stream_stays_a_stranger_whatever_its_token() {
        let hub = Arc::new(Hub::new("a".to_owned(), ServeLimits::default()));
        let mut translator = Translator::new(ControllerSettings::default().options());
        let objects = manifest::parse("gateway", GATEWAY).objects.into_iter();
        let delta = translator.apply_all(objects.map(|it| ResourceEvent::Apply(it.resource)));
        hub.publish(&delta, ResourceVersions::default());
        hub.set_ready();
        let (_running, stopped) = watch::channel(());
        let mut service = Service::new(hub, Accounts, stopped);
        let strangers = Strangers::new(1, 1);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        for (account, is_let_in) in [
            ("else/web-gwapi/web/5f6f", false),
            ("shop/default", false),
            // Made by hand, before gwapi could.
            ("shop/web-gwapi", false),
            // What is made for another Gateway may need the same name.
            ("shop/web-gwapi/w/6a6a", false),
            ("shop/web-gwapi/w/5f6f", false),
            ("shop/web-gwapi/web/of-a-former-gateway", false),
            ("shop/web-gwapi/web/5f6f", true),
        ] {
            let stranger = strangers.take_in(address.ip(), strangers.place().await);
            let peer = Peer::new(address, stranger);
            let request = http::Request::post(METHOD)
                .header("content-type", "application/grpc")
                .header("gateway", "shop/web")
                .header("authorization", format!("Bearer {account}"))
                .extension(peer.clone())
                .body(tonic::body::Body::empty())
                .expect("a request");
            let response = service.call(request).await.expect("it never fails");
            let refused = Status::from_header_map(response.headers()).map(|it| it.code());
            let expected = (!is_let_in).then_some(Code::PermissionDenied);
            assert_eq!(refused, expected, "{account}");
            let is_stranger = !strangers.has_room_for(address.ip());
            assert_eq!(is_stranger, !is_let_in, "{account}");
        }
    }

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
