//! A configuration server without a socket, and proxies that are connected to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use gwapi_model::SecretBytes;
use gwapi_translate::Feedback;
use gwapi_translate::infrastructure::GatewayInfrastructure;
use gwapi_translate::wire::{Client, Node, Step};
use tokio::sync::{Notify, watch};

use super::admission::{Peer, Strangers};
use super::authenticate::{Identity, Owner};
use super::gateway::{Gateway, StreamId};
use super::handle::{self, ConfigHandle};
use super::hub::Hub;
use super::settings::{ServeLimits, ServeSettings, ServingCertificate};

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A server that nobody reaches by the network.
pub(crate) fn server() -> ConfigHandle {
    let (chain, key) = (String::new(), SecretBytes::new(Vec::new()));
    let (_, certificate) = watch::channel(Arc::new(ServingCertificate { chain, key }));
    let (replica, limits) = ("replica".to_owned(), ServeLimits::default());
    let settings = ServeSettings { address: ADDRESS, certificate, replica, limits };
    let (_, handle, _) = handle::new(&settings, ADDRESS);
    handle
}

/// A proxy that is connected.
pub(crate) struct Proxy {
    hub: Arc<Hub>,
    gateway: Arc<Gateway>,
    stream: StreamId,
    wake: Arc<Notify>,
    client: Client,
}

impl Proxy {
    /// Connects, with this name, as a proxy of a Gateway whose configuration is published. It serves nothing yet.
    pub(crate) async fn connect(
        server: &ConfigHandle,
        wanted: &GatewayInfrastructure,
        name: &str,
    ) -> Self {
        let (hub, id) = (Arc::clone(&server.hub), &wanted.gateway);
        let owner = Owner { gateway: id.name.to_string(), uid: wanted.uid.clone() };
        let identity = Identity {
            namespace: id.namespace.to_string(),
            service_account: wanted.name.clone(),
            owner: Some(owner),
            pod: Some(name.to_owned()),
        };
        let strangers = Strangers::new(1, 1);
        let peer = Peer::new(ADDRESS, strangers.take_in(ADDRESS.ip(), strangers.place().await));
        let gateway = hub.gateway(id).expect("it is published");
        let stream = hub.new_stream();
        let opened = gateway.open(stream, &identity, identity.proxy(), &peer, &hub.limits);
        let mut client = Client::default();
        let request = client.connect(Node { id: name.to_owned(), ..Node::default() });
        gateway.receive(stream, &request).expect("a request");
        Self { hub, gateway, stream, wake: opened.expect("a stream"), client }
    }

    /// Serves all that it has been told, and says so.
    pub(crate) fn serve(&mut self) {
        while let Some(response) = self.gateway.next_response(self.stream) {
            let answer = match self.client.receive(response).expect("a response") {
                Step::Answer(answer) | Step::Refuse(answer) => Some(answer),
                Step::Apply(batch) => self.client.applied(batch, &Feedback::default()),
            };
            if let Some(answer) = answer {
                self.gateway.receive(self.stream, &answer).expect("an answer");
            }
        }
        self.hub.heard(&self.gateway.id);
    }

    /// Serves whatever it is told, at once.
    pub(crate) async fn serve_all(mut self) {
        loop {
            self.serve();
            self.wake.notified().await;
        }
    }
}
