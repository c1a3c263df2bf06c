//! Who has the token of a proxy and means no good.

use std::sync::{Arc, Mutex};

use gwapi_translate::wire::METHOD;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::Socket;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::PATIENCE;
use super::controller::{Authority, NAME};

/// Opens a stream on each of its connections, ends it, and keeps the connection.
pub(crate) struct MeanProxy {
    token: String,
    tls: TlsConnector,
    kept: Mutex<JoinSet<()>>,
    runtime: Runtime,
}

impl MeanProxy {
    pub(crate) fn new(authority: &Authority, token: &str) -> Self {
        let mut trusted = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority.certificate.as_bytes());
        trusted.add(certificate.expect("PEM")).expect("a certificate");
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(trusted)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let tls = TlsConnector::from(Arc::new(config));
        Self { token: token.to_owned(), tls, kept: Mutex::default(), runtime }
    }

    /// Opens a stream on this connection and ends it when it is answered. Returns whether it was.
    pub(crate) fn keep_without_stream(&self, socket: Socket) -> bool {
        socket.set_nonblocking(true).expect("it can wait");
        self.runtime.block_on(async {
            timeout(PATIENCE, self.open(socket)).await.expect("an answer in time").is_some()
        })
    }

    async fn open(&self, socket: Socket) -> Option<()> {
        let stream = tokio::net::TcpStream::from_std(socket.into()).ok()?;
        let name = ServerName::try_from(NAME).expect("a name");
        let stream = self.tls.connect(name, stream).await.ok()?;
        let (mut requests, connection) = h2::client::handshake(stream).await.ok()?;
        let keep = requests.clone();
        self.kept.lock().unwrap().spawn_on(
            async move {
                let _keep = keep;
                _ = connection.await;
            },
            self.runtime.handle(),
        );
        let request = http::Request::post(format!("https://{NAME}{METHOD}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("gateway", "default/web")
            .header("authorization", format!("Bearer {}", self.token))
            .body(())
            .expect("a request");
        let (response, mut stream) = requests.send_request(request, false).ok()?;
        let answered = response.await.ok()?;
        stream.send_reset(h2::Reason::CANCEL);
        // Whoever is refused is told so in the head.
        (!answered.headers().contains_key("grpc-status")).then_some(())
    }

    /// Waits until the controller has ended every connection.
    pub(crate) fn wait_until_let_go(&self) {
        let mut kept = std::mem::take(&mut *self.kept.lock().unwrap());
        let all = async { while kept.join_next().await.is_some() {} };
        let waited = self.runtime.block_on(async { timeout(PATIENCE, all).await });
        assert!(waited.is_ok(), "{} connections stay", kept.len());
    }
}
