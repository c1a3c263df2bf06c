//! What the tests are written with: configurations, endpoints and clients.

pub(crate) mod authority;
pub(crate) mod authorizer;
pub(crate) mod brim;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod collector;
pub(crate) mod config;
pub(crate) mod frames;
pub(crate) mod streams;
pub(crate) mod upstream;

use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use gwapi_dataplane::{ApplyReport, ConfigUpdate, Limits, ProxyBuilder, ProxyHandle};
use gwapi_translate::ir::{GatewayConfig, GatewayId, IrResource};

pub(crate) use client::{Client, Reply};
pub(crate) use config::*;
pub(crate) use upstream::{Echo, Scripted};

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must happen.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

/// A running proxy with one Gateway.
pub(crate) struct Proxy {
    pub(crate) handle: ProxyHandle,
    pub(crate) address: SocketAddr,
    config: GatewayConfig,
}

pub(crate) fn gateway() -> GatewayId {
    GatewayId::new("default", "web")
}

/// A port that nothing listens on at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// A proxy with usual limits that serves what `resources` makes for a port.
pub(crate) fn serve(resources: impl Fn(u16) -> Vec<IrResource>) -> Proxy {
    serve_with(Limits::default(), resources)
}

pub(crate) fn serve_with(limits: Limits, resources: impl Fn(u16) -> Vec<IrResource>) -> Proxy {
    serve_on(IpAddr::from([127, 0, 0, 1]), limits, resources)
}

pub(crate) fn serve_on(
    ip: IpAddr,
    limits: Limits,
    resources: impl Fn(u16) -> Vec<IrResource>,
) -> Proxy {
    serve_built(ip, &ProxyBuilder::new().limits(limits), resources)
}

/// With usual limits, and metrics.
pub(crate) fn serve_with_metrics(resources: impl Fn(u16) -> Vec<IrResource>) -> Proxy {
    let local = IpAddr::from([127, 0, 0, 1]);
    serve_built(local, &ProxyBuilder::new().admin(SocketAddr::new(local, 0)), resources)
}

/// The same with any settings.
pub(crate) fn serve_built(
    ip: IpAddr,
    builder: &ProxyBuilder,
    resources: impl Fn(u16) -> Vec<IrResource>,
) -> Proxy {
    serve_on_cores(2, ip, builder, resources)
}

/// The same on so many cores.
pub(crate) fn serve_on_cores(
    cores: usize,
    ip: IpAddr,
    builder: &ProxyBuilder,
    resources: impl Fn(u16) -> Vec<IrResource>,
) -> Proxy {
    // Another test may take the port between its choice and its use.
    for _ in 0..20 {
        let port = free_port();
        let handle = builder.clone().workers(cores).start().expect("the proxy starts");
        let address = SocketAddr::new(ip, port);
        let mut proxy = Proxy { handle, address, config: GatewayConfig::default() };
        let report = proxy.set(resources(port));
        if report.feedback[&gateway()].unbound.is_empty() {
            return proxy;
        }
    }
    panic!("no port stays free");
}

impl Proxy {
    /// Serves these resources, and no others.
    pub(crate) fn set(&mut self, resources: Vec<IrResource>) -> ApplyReport {
        let target = GatewayConfig(resources.into_iter().map(|r| (r.key(), r)).collect());
        let delta = self.config.delta_to(&target);
        self.config = target;
        self.handle.apply(ConfigUpdate {
            gateways: [(gateway(), delta)].into(),
            removed_gateways: Vec::new(),
        })
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Reply {
        self.client().await.get(host, path).await
    }

    /// Waits until the metrics have this line. A request counts when its connection is done with it,
    /// a moment after the client is.
    pub(crate) async fn until_metric(&self, line: &str) {
        within(async { while !self.metrics().await.lines().any(|it| it == line) {} }).await;
    }

    /// The metrics as they are now.
    pub(crate) async fn metrics(&self) -> String {
        let admin = self.handle.admin_address().expect("it was asked for");
        // A connection of its own each time: one takes no more than a number of requests.
        Client::connect(admin).await.get("localhost", "/metrics").await.text().to_owned()
    }

    /// Drains on a thread that may block.
    pub(crate) fn drain(self) -> tokio::task::JoinHandle<gwapi_dataplane::Drained> {
        tokio::task::spawn_blocking(|| self.handle.drain())
    }
}
