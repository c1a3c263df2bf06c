//! Certificates that an authority signs, and TLS servers that show them.

use std::sync::{Arc, Mutex};

use gwapi_model::SecretBytes;
use gwapi_translate::ir::{self, CertificateKey};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use rustls::{ConfigBuilder, HandshakeKind, RootCertStore, ServerConfig, WantsVerifier};
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

    /// A certificate with these names, and its key.
    fn signed(&self, names: Names<'_>, usage: ExtendedKeyUsagePurpose) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::default();
        let text = |text: &&str| (*text).try_into().expect("it is ASCII");
        let dns = names.dns.iter().map(|name| SanType::DnsName(text(name)));
        let uris = names.uris.iter().map(|uri| SanType::URI(text(uri)));
        params.subject_alt_names = dns.chain(uris).collect();
        params.extended_key_usages = vec![usage];
        if names.expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("there is randomness");
        (params.signed_by(&key, &self.0).expect("the parameters are valid"), key)
    }

    /// A certificate for a client, as configurations have it, under a name of the namespace `default`.
    pub(crate) fn client(&self, name: &str) -> ir::Certificate {
        let names = Names { dns: &["client.internal"], ..Names::default() };
        let (certificate, key) = self.signed(names, ExtendedKeyUsagePurpose::ClientAuth);
        ir::Certificate {
            key: CertificateKey::secret("default", name),
            chain: certificate.pem().into(),
            private_key: SecretBytes::new(key.serialize_pem().into_bytes()),
        }
    }

    /// A server that shows a certificate with these names.
    pub(crate) fn server(&self, names: Names<'_>, alpn: &[&str]) -> TlsServer {
        self.server_that(names, alpn, |builder| builder.with_no_client_auth())
    }

    /// A server with a certificate for this name that takes those clients alone which this authority
    /// vouches for too.
    pub(crate) fn server_for_its_clients(&self, name: &str) -> TlsServer {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("it is a certificate");
        let names = Names { dns: &[name], ..Names::default() };
        self.server_that(names, &["http/1.1"], |builder| {
            let provider = Arc::clone(builder.crypto_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("it has an authority"))
        })
    }

    fn server_that(
        &self,
        names: Names<'_>,
        alpn: &[&str],
        clients: impl FnOnce(
            ConfigBuilder<ServerConfig, WantsVerifier>,
        ) -> ConfigBuilder<ServerConfig, WantsServerCert>,
    ) -> TlsServer {
        let (certificate, key) = self.signed(names, ExtendedKeyUsagePurpose::ServerAuth);
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it is a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them");
        let mut config =
            clients(builder).with_single_cert(chain, key).expect("the key belongs to it");
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
    /// The certificate that the client showed.
    pub(crate) client: Option<Vec<u8>>,
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
            client: session.peer_certificates().map(|shown| shown[0].to_vec()),
        });
        Ok(stream)
    }

    /// Those that went well so far.
    pub(crate) fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().expect("no test panicked").clone()
    }
}
