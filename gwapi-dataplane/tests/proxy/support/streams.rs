//! Listeners and rules that carry bytes or datagrams, and endpoints that know no HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gwapi_model::{NamespacedName, RouteKind};
use gwapi_translate::ir::{
    BackendProtocol, CertificateKey, Hostname, IrResource, Listener, ListenerKey, ListenerProtocol,
    RuleKey, RuleOrder, StreamRule, WeightedBackend,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Scripted, backend_speaking, listener, within};

pub(crate) fn tcp_listener(port: u16) -> Listener {
    Listener { protocol: ListenerProtocol::Tcp, ..listener("web", port) }
}

pub(crate) fn udp_listener(port: u16) -> Listener {
    Listener { protocol: ListenerProtocol::Udp, ..listener("web", port) }
}

pub(crate) fn passthrough_listener(name: &str, port: u16, hostname: Option<&str>) -> Listener {
    Listener {
        protocol: ListenerProtocol::TlsPassthrough,
        hostname: hostname.map(Hostname::parse),
        ..listener(name, port)
    }
}

pub(crate) fn terminate_listener(
    name: &str,
    port: u16,
    hostname: Option<&str>,
    certificate: &str,
) -> Listener {
    Listener {
        protocol: ListenerProtocol::TlsTerminate {
            certificates: vec![CertificateKey::secret("default", certificate)],
        },
        hostname: hostname.map(Hostname::parse),
        ..listener(name, port)
    }
}

/// A rule on the listener `web`, until told otherwise.
pub(crate) fn stream_rule(
    kind: RouteKind,
    name: &str,
    hostnames: &[&str],
    backends: Vec<WeightedBackend>,
) -> StreamRule {
    StreamRule {
        key: RuleKey::new(format!("default/{name}/~stream")),
        route: NamespacedName::new("default", name),
        route_kind: kind,
        name: None,
        order: RuleOrder { created: 0, route: format!("default/{name}"), rule_index: 0 },
        listeners: [ListenerKey::new("web")].into(),
        hostnames: hostnames.iter().map(|name| Hostname::parse(name)).collect(),
        backends,
    }
}

pub(crate) fn ir_stream(rule: StreamRule) -> IrResource {
    IrResource::StreamRule(Arc::new(rule))
}

/// A backend that takes bytes, with its endpoints.
pub(crate) fn tcp_backend(name: &str, addresses: &[SocketAddr]) -> Vec<IrResource> {
    backend_speaking(BackendProtocol::Tcp, name, addresses)
}

/// An endpoint that says its name and then sends everything back.
pub(crate) async fn greeting(name: &'static str) -> Scripted {
    Scripted::start(move |mut stream, _| async move {
        let _ = stream.write_all(name.as_bytes()).await;
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

/// The same, and how many connections it had.
pub(crate) async fn counting(name: &'static str) -> (Scripted, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let endpoint = Scripted::start(move |mut stream, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let _ = stream.write_all(name.as_bytes()).await;
            let _ = stream.read_u8().await;
        }
    })
    .await;
    (endpoint, connections)
}

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    within(TcpStream::connect(address)).await.expect("it accepts")
}

/// Reads so many bytes.
pub(crate) async fn read(stream: &mut (impl AsyncReadExt + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    within(stream.read_exact(&mut bytes)).await.expect("it comes");
    bytes
}

/// What comes until the connection is closed or reset.
pub(crate) async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = within(stream.read_to_end(&mut bytes)).await;
    bytes
}
