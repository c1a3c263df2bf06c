//! Who an endpoint is, where the policy names subject alternative names: one of them has to be in its
//! certificate, and the server name of the handshake is no proof (BT-3).

use std::fmt;
use std::sync::Arc;

use gwapi_translate::ir::{Hostname, SubjectAltName};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

use super::tls::dns_name;
use crate::proxy::certificates::provider;

/// Verifies certificates as usual but for their names, of which one has to be among these.
#[derive(Debug)]
pub(super) struct AnyOf {
    names: Vec<Name>,
    usual: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
}

#[derive(Debug)]
enum Name {
    /// A DNS name that the certificate is for, by a wildcard of its own too.
    Dns(ServerName<'static>),
    /// What stands behind `*` in a wildcard, with the dot.
    Below(String),
    Uri(Arc<str>),
}

impl AnyOf {
    /// Fails with the name that is not a DNS name.
    pub(super) fn new(
        names: &[SubjectAltName],
        usual: Arc<WebPkiServerVerifier>,
        roots: Arc<RootCertStore>,
    ) -> Result<Self, Arc<str>> {
        let read = |name: &SubjectAltName| -> Result<Name, Arc<str>> {
            Ok(match name {
                SubjectAltName::Hostname(Hostname::Exact(name)) => {
                    Name::Dns(dns_name(name).map_err(|_| Arc::clone(name))?)
                }
                SubjectAltName::Hostname(Hostname::Wildcard(suffix)) => {
                    Name::Below(format!(".{suffix}"))
                }
                SubjectAltName::Uri(uri) => Name::Uri(Arc::clone(uri)),
            })
        };
        let names = names.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { names, usual, roots })
    }
}

impl Name {
    fn is_in(&self, certificate: &EndEntityCert<'_>) -> bool {
        match self {
            Self::Dns(name) => certificate.verify_is_valid_for_subject_name(name).is_ok(),
            Self::Below(suffix) => {
                certificate.valid_dns_names().any(|name| is_one_label_above(name, suffix))
            }
            Self::Uri(uri) => certificate.valid_uri_names().any(|name| name == &**uri),
        }
    }
}

/// Whether a certificate's name is one label, or a wildcard for it, before a suffix.
fn is_one_label_above(name: &str, suffix: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let label = name.strip_suffix(suffix);
    label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

impl ServerCertVerifier for AnyOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            provider().signature_verification_algorithms.all,
        )?;
        let certificate =
            EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if self.names.iter().any(|name| name.is_in(&certificate)) {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = OtherError(Arc::new(WrongNames::of(&certificate)));
        Err(CertificateError::Other(wrong).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// A certificate that is for others than the policy names.
#[derive(Debug)]
pub(super) struct WrongNames(Vec<String>);

impl WrongNames {
    fn of(certificate: &EndEntityCert<'_>) -> Self {
        let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
        Self(names.map(str::to_owned).collect())
    }
}

impl fmt::Display for WrongNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the certificate has none of the subject alternative names of the policy, only ",
        )?;
        match &*self.0 {
            [] => f.write_str("none that can be read"),
            names => write!(f, "{names:?}"),
        }
    }
}

impl std::error::Error for WrongNames {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_of_a_policy_stands_for_one_label() {
        for (name, matches) in [
            ("x.a.example", true),
            ("X.A.Example", true),
            ("*.a.example", true),
            ("a.example", false),
            (".a.example", false),
            ("x.y.a.example", false),
            ("xa.example", false),
            ("x.a.example.org", false),
        ] {
            assert_eq!(is_one_label_above(name, ".a.example"), matches, "{name}");
        }
    }
}
