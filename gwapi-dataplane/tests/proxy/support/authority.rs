//! Certificates that an authority signs, and TLS servers that show them.

use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What is in a certificate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Names<'a> {
    pub(crate) dns: &'a [&'a str],
    pub(crate) uris: &'a [&'a str],
    pub(crate) expired: bool,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is randomness");
        Self(CertifiedIssuer::self_signed(params, key).expect("the parameters are valid"))
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server that shows a certificate with these names.
    pub(crate) fn server(&self, names: Names<'_>, alpn: &[&str]) -> TlsServer {
        let mut params = CertificateParams::default();
        let text = |text: &&str| (*text).try_into().expect("it is ASCII");
        let dns = names.dns.iter().map(|name| SanType::DnsName(text(name)));
        let uris = names.uris.iter().map(|uri| SanType::URI(text(uri)));
        params.subject_alt_names = dns.chain(uris).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if names.expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("there is randomness");
        let certificate = params.signed_by(&key, &self.0).expect("the parameters are valid");
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it is a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the key belongs to it");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsServer { config: Arc::new(config), handshakes: Arc::default() }
    }

    /// A server with a certificate for this name.
    pub(crate) fn server_for(&self, name: &str) -> TlsServer {
        self.server(Names { dns: &[name], ..Names::default() }, &["h2", "http/1.1"])
    }
}

/// A handshake as a server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) server_name: Option<String>,
    pub(crate) alpn: Option<String>,
    pub(crate) resumed: bool,
}

/// The server's side of TLS; its sessions are shared by all that clone it.
#[derive(Clone)]
pub(crate) struct TlsServer {
    config: Arc<ServerConfig>,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
}

impl TlsServer {
    /// Shakes hands.
    pub(crate) async fn accept<I>(&self, stream: I) -> std::io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
        let session = stream.get_ref().1;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.handshakes.lock().expect("no test panicked").push(Handshake {
            server_name: session.server_name().map(str::to_owned),
            alpn: session.alpn_protocol().map(text),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        });
        Ok(stream)
    }

    /// Those that went well so far.
    pub(crate) fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().expect("no test panicked").clone()
    }
}
