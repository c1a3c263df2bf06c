//! What a TLS listener needs: one `ServerConfig` of its own, and the choice of a certificate.
//!
//! Every listener has a ticketer and a session store of its own: a session that was made with one
//! listener can never be resumed with another, whatever that one asks of its clients. Nor can one that was
//! made before the listener asked for something else.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};

use super::certificates::{UsableCertificate, provider};
use super::client_auth::ClientAuth;
use super::verified_tickets::VerifiedTickets;

/// ALPN of HTTP/2.
pub(super) const ALPN_H2: &[u8] = b"h2";
/// ALPN of HTTP/1.1.
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Sessions that a listener remembers for clients that resume by identifier (TLS 1.2).
const SESSIONS: usize = 1024;

/// Why a listener cannot be configured.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the cryptography fails: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("certificates of clients cannot be checked: {0}")]
    ClientAuth(#[from] rustls::server::VerifierBuilderError),
}

/// The configuration of a listener, with what it was made of: it is made anew only when that
/// changes, so that sessions outlive edits that do not concern them.
#[derive(Clone, Debug)]
pub(super) struct ListenerTls {
    certificates: Vec<Arc<UsableCertificate>>,
    client_auth: Option<Arc<ClientAuth>>,
    inside: Inside,
    config: Arc<ServerConfig>,
}

/// What is inside the TLS of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// HTTP, of which version the handshake says (ALPN).
    Http,
    /// Bytes, of which nothing is known: no protocol is agreed on (TS-5).
    Bytes,
}

impl ListenerTls {
    /// The configuration for `certificates`, which are in the order of the listener's references
    /// and not empty; `before` is taken where it was made of the same ones.
    pub(super) fn new(
        certificates: Vec<Arc<UsableCertificate>>,
        client_auth: Option<&Arc<ClientAuth>>,
        inside: Inside,
        before: Option<&Self>,
    ) -> Result<Self, TlsError> {
        let same = |before: &&Self| {
            before.client_auth.as_ref() == client_auth
                && before.inside == inside
                && before.certificates.len() == certificates.len()
                && before.certificates.iter().zip(&certificates).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        if let Some(before) = before.filter(same) {
            return Ok(before.clone());
        }
        let verifier = match client_auth {
            Some(client_auth) => client_auth.verifier()?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(BySni(certificates.clone())));
        if inside == Inside::Http {
            config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        }
        let tickets = Ticketer::new()?;
        match client_auth {
            Some(client_auth) => {
                config.ticketer = Arc::new(VerifiedTickets::new(tickets, Arc::clone(client_auth)));
                // Tickets are looked at before they are taken, what is remembered here is not.
                config.session_storage = Arc::new(NoServerSessionStorage {});
            }
            None => {
                config.ticketer = tickets;
                config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
            }
        }
        let client_auth = client_auth.map(Arc::clone);
        Ok(Self { certificates, client_auth, inside, config: Arc::new(config) })
    }

    pub(super) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

/// Chooses the certificate whose name matches the server name most specifically (LI-4); among
/// equals the first whose key the client can check, and the first of all where no name matches.
#[derive(Debug)]
struct BySni(Vec<Arc<UsableCertificate>>);

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        choose(&self.0, hello.server_name(), hello.signature_schemes())
            .map(|certificate| Arc::clone(&certificate.key))
    }
}

fn choose<'a>(
    certificates: &'a [Arc<UsableCertificate>],
    server_name: Option<&str>,
    schemes: &[SignatureScheme],
) -> Option<&'a Arc<UsableCertificate>> {
    let server_name = server_name.unwrap_or_default().to_ascii_lowercase();
    let rank = |certificate: &UsableCertificate| {
        let specificity =
            certificate.names.iter().filter_map(|name| specificity(name, &server_name)).max();
        (specificity, certificate.key.key.choose_scheme(schemes).is_some())
    };
    // `max_by_key` takes the last of equals, and the first reference is to win.
    certificates.iter().rev().max_by_key(|certificate| rank(certificate))
}

/// How specifically a certificate's name is meant for a server name: exact names before wildcards,
/// which take exactly one label (RFC 6125), long ones before short ones.
fn specificity(name: &str, server_name: &str) -> Option<(bool, usize)> {
    if name == server_name {
        return Some((true, name.len()));
    }
    let suffix = name.strip_prefix('*')?;
    let label = server_name.strip_suffix(suffix)?;
    (!label.is_empty() && !label.contains('.')).then_some((false, name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_are_more_specific_than_wildcards() {
        assert_eq!(specificity("a.example", "a.example"), Some((true, 9)));
        assert_eq!(specificity("*.example", "a.example"), Some((false, 9)));
        assert!(specificity("a.example", "a.example") > specificity("*.example", "a.example"));
    }

    #[test]
    fn a_wildcard_in_a_certificate_takes_one_label() {
        assert_eq!(specificity("*.example", "example"), None);
        assert_eq!(specificity("*.example", ".example"), None);
        assert_eq!(specificity("*.example", "a.b.example"), None);
        assert_eq!(specificity("b.example", "ab.example"), None);
    }
}
