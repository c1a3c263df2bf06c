//! Clients.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TestCertificate, within};

/// A whole response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Reply {
    async fn read(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await.expect("the body is whole");
        let trailers = body.trailers().cloned();
        Self { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("it is text"))
    }

    /// All values of a header, in their order.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().expect("it is text")).collect()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("it is text")
    }

    /// The name of the endpoint that answered.
    pub(crate) fn endpoint(&self) -> &str {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self.header("x-endpoint").expect("an echo endpoint answered")
    }
}

pub(crate) type Body = Full<Bytes>;

/// A GET without a body.
pub(crate) fn get(host: &str, path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", host).body(Full::default());
    request.expect("it is a request")
}

/// A client with one HTTP/1 connection.
pub(crate) struct Client {
    sender: http1::SendRequest<Body>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(within(TcpStream::connect(address)).await.expect("it accepts")).await
    }

    pub(crate) async fn over<I>(io: I) -> Self
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.expect("it is new");
        Self { sender, connection: tokio::spawn(connection) }
    }

    pub(crate) async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Reply> {
        Ok(Reply::read(self.try_begin(request).await?).await)
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Reply {
        self.try_send(request).await.expect("there is a response")
    }

    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Reply {
        self.send(get(host, path)).await
    }

    /// The response before its body is there.
    pub(crate) async fn begin(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.try_begin(request).await.expect("there is a response")
    }

    pub(crate) async fn try_begin(
        &mut self,
        request: Request<Body>,
    ) -> hyper::Result<Response<Incoming>> {
        within(self.sender.ready()).await?;
        within(self.sender.send_request(request)).await
    }

    /// Waits until the proxy closes the connection.
    pub(crate) async fn closed_by_peer(&mut self) {
        let _ = within(&mut self.connection).await.expect("no panic");
    }
}

/// A client with one HTTP/2 connection.
pub(crate) struct Http2Client<B: hyper::body::Body + 'static = Body>(
    pub(crate) http2::SendRequest<B>,
);

impl<B> Http2Client<B>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// By prior knowledge.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(within(TcpStream::connect(address)).await.expect("it accepts")).await
    }

    pub(crate) async fn over<I>(io: I) -> Self
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // Whatever the proxy sends, it is not the client that drops it.
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let handshake = builder.max_header_list_size(1024 * 1024).handshake(TokioIo::new(io));
        let (sender, connection) = within(handshake).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<B>) -> Reply {
        let response = within(self.0.send_request(request)).await.expect("there is a response");
        Reply::read(response).await
    }
}

/// Connects with TLS; trusts these certificates alone.
pub(crate) async fn tls(
    address: SocketAddr,
    server_name: &str,
    trusted: &[&TestCertificate],
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_with(tls_config(trusted, alpn), address, server_name).await
}

/// The settings of a TLS client; connections that share them share its sessions.
pub(crate) fn tls_config(trusted: &[&TestCertificate], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(CertificateDer::from(certificate.der.clone())).expect("it is a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) async fn tls_with(
    config: Arc<ClientConfig>,
    address: SocketAddr,
    server_name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = within(TcpStream::connect(address)).await.expect("it accepts");
    let name = ServerName::try_from(server_name.to_owned()).expect("it is a name");
    within(TlsConnector::from(config).connect(name, stream)).await
}

/// The certificate that the server showed.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let certificates = stream.get_ref().1.peer_certificates().expect("the handshake is over");
    certificates[0].to_vec()
}

/// Sends bytes as they are, and reads until the proxy closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = within(TcpStream::connect(address)).await.expect("it accepts");
    within(stream.write_all(bytes)).await.expect("it reads");
    let mut answer = Vec::new();
    // A proxy that closes with bytes unread resets the connection: what came before counts.
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}
