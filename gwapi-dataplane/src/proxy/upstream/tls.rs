//! TLS towards endpoints: what a backend asks of them becomes settings of a client, with which they
//! have to prove who they are (BT-3, BT-4).
//!
//! Backends that ask for the same share one client. Every connection begins with a proof, for no session
//! is ever resumed. There is no way around it: what cannot be verified, or cannot even be asked for, is
//! not connected to.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock, Weak};

use gwapi_translate::ir::{BackendProtocol, BackendTls, BackendTrust};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::identity::{AnyOf, WrongNames};
use crate::proxy::certificates::{UsableCertificate, provider};
use crate::proxy::core_state::address;
use crate::proxy::tls::{ALPN_H2, ALPN_HTTP1};

/// The clients of all backends that are served, by what is asked for. They are made where configurations
/// are, and never where requests are.
#[derive(Default)]
pub(in crate::proxy) struct UpstreamTlsClients(HashMap<Asked, Weak<UpstreamTls>>);

/// What a client is for: proofs, the protocol inside, and where the certificate is that it shows. A client
/// keeps that one, so that while it lives no other is there.
type Asked = (Arc<BackendTls>, BackendProtocol, Option<usize>);

impl UpstreamTlsClients {
    /// The client for a backend, with the certificate that is `shown` to endpoints which ask for one
    /// (BT-11); the client that is in use already where one of the same content is.
    pub(in crate::proxy) fn of(
        &mut self,
        asked: &Arc<BackendTls>,
        protocol: BackendProtocol,
        shown: Option<&Arc<UsableCertificate>>,
    ) -> Arc<UpstreamTls> {
        let key = (Arc::clone(asked), protocol, shown.map(address));
        if let Some(known) = self.0.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        self.0.retain(|_, client| client.strong_count() > 0);
        let client = TlsClient::new(asked, protocol, shown);
        if let Err(error) = &client {
            tracing::error!(
                server_name = %asked.hostname, %error,
                "no TLS towards a backend can be made, its requests are answered 502"
            );
        }
        let client = Arc::new(UpstreamTls { client, _shown: shown.cloned() });
        self.0.insert(key, Arc::downgrade(&client));
        client
    }
}

/// What connections to the endpoints of a backend are made with.
pub(in crate::proxy) struct UpstreamTls {
    client: Result<TlsClient, Unusable>,
    _shown: Option<Arc<UsableCertificate>>,
}

impl UpstreamTls {
    /// The client; it does not exist where what is asked for cannot be verified.
    pub(super) fn client(&self) -> Result<&TlsClient, TlsFailure> {
        self.client.as_ref().map_err(|unusable| TlsFailure::Unusable(unusable.clone()))
    }
}

/// Why there is no client.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::proxy) enum Unusable {
    #[error("the server name {0:?} is not a DNS name")]
    Name(Arc<str>),
    #[error("the CA certificates are not PEM: {0}")]
    Pem(Arc<rustls::pki_types::pem::Error>),
    #[error("there are no CA certificates")]
    Empty,
    #[error("a CA certificate cannot be used: {0}")]
    Anchor(rustls::Error),
    #[error(
        "the system has no CA certificates{0}: install some, or name a file of them in \
         SSL_CERT_FILE, and start again"
    )]
    System(Arc<str>),
    #[error("the certificate that it must be shown is not there, or cannot be used")]
    Certificate,
    #[error(transparent)]
    Settings(#[from] rustls::Error),
}

/// The settings of handshakes.
pub(super) struct TlsClient {
    connector: TlsConnector,
    server_name: ServerName<'static>,
    http2: bool,
}

impl TlsClient {
    fn new(
        asked: &BackendTls,
        protocol: BackendProtocol,
        shown: Option<&Arc<UsableCertificate>>,
    ) -> Result<Self, Unusable> {
        let server_name = dns_name(&asked.hostname)?;
        let roots = match &asked.trust {
            BackendTrust::Certificates(pem) => Arc::new(read(pem)?),
            BackendTrust::System => system_roots()?,
        };
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider()))
                .build()
                .map_err(|_| Unusable::Empty)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()?;
        let builder = if asked.subject_alt_names.is_empty() {
            builder.with_webpki_verifier(verifier)
        } else {
            let names =
                AnyOf::new(&asked.subject_alt_names, verifier, roots).map_err(Unusable::Name)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(names))
        };
        let mut config = match shown {
            // where both sides have to prove who they are, nothing is sent without.
            None if asked.mutual => return Err(Unusable::Certificate),
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let shown = SingleCertAndKey::from(Arc::clone(&shown.key));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.alpn_protocols = match protocol {
            BackendProtocol::Http1 => vec![ALPN_HTTP1.to_vec()],
            BackendProtocol::H2c => vec![ALPN_H2.to_vec()],
            // What is inside is the affair of client and endpoint.
            BackendProtocol::Tcp | BackendProtocol::Udp => Vec::new(),
        };
        let http2 = protocol == BackendProtocol::H2c;
        // A session that is resumed proves nothing anew: it would outlive the endpoint's certificate, for
        // as long as each one leads to the next (BT-7).
        config.resumption = Resumption::disabled();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), server_name, http2 })
    }

    /// Shakes hands; the endpoint has proved who it is where this succeeds.
    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, TlsFailure> {
        let stream = self
            .connector
            .connect(self.server_name.clone(), stream)
            .await
            .map_err(TlsFailure::Handshake)?;
        if self.http2 && stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
            return Err(TlsFailure::NoHttp2);
        }
        Ok(stream)
    }
}

pub(super) fn dns_name(name: &Arc<str>) -> Result<ServerName<'static>, Unusable> {
    let parsed = DnsName::try_from(name.to_string());
    parsed.map(ServerName::DnsName).map_err(|_| Unusable::Name(Arc::clone(name)))
}

fn read(pem: &str) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| Unusable::Pem(Arc::new(error)))?;
        roots.add(certificate).map_err(Unusable::Anchor)?;
    }
    if roots.is_empty() { Err(Unusable::Empty) } else { Ok(roots) }
}

/// The authorities that the system trusts, read once. What cannot be used of them is left out, as others
/// do who read them.
fn system_roots() -> Result<Arc<RootCertStore>, Unusable> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, Unusable>> = OnceLock::new();
    let load = || {
        let loaded = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, unusable) = roots.add_parsable_certificates(loaded.certs);
        for error in &loaded.errors {
            tracing::warn!(%error, "CA certificates of the system cannot be read");
        }
        if usable == 0 {
            let first = loaded.errors.first().map(|error| format!(" ({error})"));
            return Err(Unusable::System(first.unwrap_or_default().into()));
        }
        tracing::info!(usable, unusable, "CA certificates of the system are loaded");
        Ok(Arc::new(roots))
    };
    ROOTS.get_or_init(load).clone()
}

/// Why a connection that TCP made was not taken.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum TlsFailure {
    #[error(transparent)]
    Unusable(Unusable),
    #[error("the handshake took too long")]
    Timeout,
    #[error("the endpoint does not speak HTTP/2 over TLS (ALPN h2)")]
    NoHttp2,
    #[error(transparent)]
    Handshake(io::Error),
    #[error("the connection that this request waited for failed")]
    Shared,
}

impl TlsFailure {
    /// The word for the metrics; none where that connection is counted with another request.
    pub(super) fn reason(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unusable(_) => "configuration",
            Self::Timeout => "timeout",
            Self::NoHttp2 => "alpn",
            Self::Handshake(error) => {
                let error = error.get_ref().and_then(|error| error.downcast_ref());
                error.map_or("closed", rustls_reason)
            }
            Self::Shared => return None,
        })
    }
}

fn rustls_reason(error: &rustls::Error) -> &'static str {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "name",
            Bad::Other(other) if other.0.is::<WrongNames>() => "name",
            // Of another key than that of the authority with this name.
            Bad::UnknownIssuer | Bad::BadSignature => "issuer",
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. } => "expired",
            _ => "certificate",
        },
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => "alpn",
        rustls::Error::AlertReceived(_) => "refused",
        _ => "protocol",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(hostname: &str, pem: &str) -> Arc<BackendTls> {
        Arc::new(BackendTls {
            hostname: hostname.into(),
            subject_alt_names: Vec::new(),
            trust: BackendTrust::Certificates(pem.into()),
            client_certificate: None,
            mutual: false,
        })
    }

    fn authority() -> String {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
        made.expect("the name is valid").cert.pem()
    }

    #[test]
    fn a_client_is_shared_by_what_asks_for_the_same_and_by_nothing_else() {
        let mut clients = UpstreamTlsClients::default();
        let (pem, other) = (authority(), authority());
        let first = clients.of(&asked("a.example", &pem), BackendProtocol::Http1, None);
        assert!(first.client().is_ok());
        let same = clients.of(&asked("a.example", &pem), BackendProtocol::Http1, None);
        assert!(Arc::ptr_eq(&first, &same));
        for (asked, protocol) in [
            (asked("a.example", &other), BackendProtocol::Http1),
            (asked("b.example", &pem), BackendProtocol::Http1),
            (asked("a.example", &pem), BackendProtocol::H2c),
        ] {
            assert!(!Arc::ptr_eq(&first, &clients.of(&asked, protocol, None)));
        }
    }

    #[test]
    fn clients_that_nobody_uses_are_forgotten() {
        let mut clients = UpstreamTlsClients::default();
        let pem = authority();
        drop(clients.of(&asked("a.example", &pem), BackendProtocol::Http1, None));
        drop(clients.of(&asked("b.example", &pem), BackendProtocol::Http1, None));
        assert_eq!(clients.0.len(), 1);
    }

    #[test]
    fn what_cannot_be_verified_has_no_client_and_says_why() {
        let pem = authority();
        let cut = &pem[..pem.len() / 2];
        for (hostname, pem, why) in [
            ("a b", &*pem, "the server name \"a b\" is not a DNS name"),
            ("127.0.0.1", &*pem, "the server name \"127.0.0.1\" is not a DNS name"),
            ("a.example", "", "there are no CA certificates"),
            ("a.example", cut, "the CA certificates are not PEM: "),
            (
                "a.example",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "a CA certificate cannot be used: ",
            ),
        ] {
            let client = UpstreamTlsClients::default().of(
                &asked(hostname, pem),
                BackendProtocol::Http1,
                None,
            );
            let failure = client.client().err().expect("it is unusable");
            assert!(failure.to_string().starts_with(why), "{failure}");
            assert_eq!(failure.reason(), Some("configuration"));
        }
    }
}
