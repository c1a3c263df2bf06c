//! Connections: accepted within limits, TLS with whatever certificate is current.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use super::admission::{Guarded, Peer, Strangers};
use super::service::Service;
use super::settings::{ServeLimits, ServingCertificate};
use crate::listen::listen;

/// Pause after an accept that failed, say for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Streams of one connection; a proxy has one, and for a moment the next.
const STREAMS_PER_CONNECTION: u32 = 4;

/// Bytes of a request's head: the token is most of it.
const MAX_HEAD: u32 = 64 * 1024;

/// Time for what is in flight when a stream's connection is given up.
const GRACE: Duration = Duration::from_secs(10);

/// Connections that are open and wait for their turn.
const OPENED: usize = 16;

type Connection = Guarded<TlsStream<TcpStream>>;

/// Binds the address, for the current runtime; `::` is both families.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::from_std(listen(address)?)
}

/// TLS with the newest certificate that can be used.
pub(super) struct Acceptor {
    certificate: watch::Receiver<Arc<ServingCertificate>>,
    current: TlsAcceptor,
}

impl Acceptor {
    /// # Errors
    ///
    /// The first certificate cannot be used.
    pub(super) fn new(
        mut certificate: watch::Receiver<Arc<ServingCertificate>>,
    ) -> io::Result<Self> {
        let first = Arc::clone(&certificate.borrow_and_update());
        let current = acceptor(&first).map_err(io::Error::other)?;
        Ok(Self { certificate, current })
    }

    fn current(&mut self) -> TlsAcceptor {
        // Whoever made certificates may be gone; what is there stays.
        if self.certificate.has_changed().unwrap_or(false) {
            let new = Arc::clone(&self.certificate.borrow_and_update());
            match acceptor(&new) {
                Ok(acceptor) => {
                    tracing::info!("proxies see a new certificate from now on");
                    self.current = acceptor;
                }
                Err(error) => {
                    tracing::error!(error, "the new certificate for proxies cannot be used");
                }
            }
        }
        self.current.clone()
    }
}

fn acceptor(certificate: &ServingCertificate) -> Result<TlsAcceptor, String> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the certificate is not PEM: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.expose())
        .map_err(|_| "the private key of the certificate is not PEM".to_owned())?;
    // Both ends are ours, so nothing older has to be spoken.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| format!("the certificate cannot be used: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `stopped` fails.
pub(super) async fn serve(
    listener: TcpListener,
    acceptor: Acceptor,
    limits: ServeLimits,
    service: Service,
    mut stopped: watch::Receiver<()>,
) {
    let (opened, connections) = mpsc::channel(OPENED);
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(MAX_HEAD)
        .http2_keepalive_interval(Some(limits.ping_interval))
        .http2_keepalive_timeout(Some(limits.ping_timeout))
        .max_connection_age(2 * limits.stream_age)
        .max_connection_age_grace(GRACE)
        .add_service(service)
        .serve_with_incoming(ReceiverStream::new(connections));
    tokio::select! {
        () = accept(listener, acceptor, &limits, opened) => {}
        result = server => if let Err(error) = result {
            tracing::error!(%error, "the configuration server stopped");
        },
        _ = stopped.changed() => {}
    }
}

/// Accepts connections, and hands out those that got through the handshake.
async fn accept(
    listener: TcpListener,
    mut acceptor: Acceptor,
    limits: &ServeLimits,
    opened: mpsc::Sender<io::Result<Connection>>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let strangers = Strangers::new(limits.strangers, limits.strangers_of_one_address);
    let mut handshakes = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = next(&listener, &places, &strangers) => {
                let (stream, peer, place) = accepted;
                let tls = acceptor.current();
                let time = limits.admission_timeout;
                handshakes.push(handshake(stream, peer, tls, time, place));
            }
            // One that failed counts as well: what its place is for is over.
            Some(shaken) = handshakes.next() => {
                let Some(connection) = shaken else { continue };
                if opened.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The next connection, once there is a place for it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    strangers: &Strangers,
) -> (TcpStream, Peer, OwnedSemaphorePermit) {
    let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
    let among_strangers = strangers.place().await;
    loop {
        match listener.accept().await {
            Ok((stream, address)) if strangers.has_room_for(address.ip()) => {
                let stranger = strangers.take_in(address.ip(), among_strangers);
                // A socket of both families has those of IPv4 in a form that nobody writes.
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                return (stream, Peer::new(address, stranger), place);
            }
            // It is closed at once, and may come again.
            Ok((_, peer)) => tracing::debug!(%peer, "too many strangers from one address"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    stream: TcpStream,
    peer: Peer,
    tls: TlsAcceptor,
    time: Duration,
    place: OwnedSemaphorePermit,
) -> Option<Connection> {
    // Small messages that are waited for: without this, some of them would wait for an ACK of TCP.
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(time, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Guarded::new(stream, peer, time, place)),
        Ok(Err(error)) => {
            tracing::debug!(peer = %peer.address, %error, "no handshake");
            None
        }
        Err(_) => {
            tracing::debug!(peer = %peer.address, "the handshake took too long");
            None
        }
    }
}
