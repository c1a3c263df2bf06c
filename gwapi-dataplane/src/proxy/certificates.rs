//! Certificates: from PEM to keys that sign, each kept until a better one comes.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use gwapi_translate::ir::{Certificate, CertificateKey};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Why a certificate cannot be used. No variant holds anything of the key.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error("the certificate chain is not PEM: {0}")]
    ChainPem(rustls::pki_types::pem::Error),
    #[error("the certificate chain holds no certificate")]
    ChainEmpty,
    #[error("the certificate cannot be read: {0}")]
    Certificate(webpki::Error),
    #[error("the private key is not a PEM key (PKCS #8, PKCS #1 or SEC 1)")]
    KeyPem,
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    #[error("the private key cannot be used: {0}")]
    Key(rustls::Error),
}

/// Whether a certificate can be used: the chain and the key parse, and belong together.
pub fn check_certificate(certificate: &Certificate) -> Result<(), String> {
    parse(certificate).map(drop).map_err(|error| error.to_string())
}

/// The cryptography of every listener.
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider()))
}

/// A certificate that can be served, with the names that it is for.
#[derive(Debug)]
pub(super) struct UsableCertificate {
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names of the leaf, lower-case.
    pub(super) names: Vec<String>,
}

fn parse(certificate: &Certificate) -> Result<UsableCertificate, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(CertificateError::ChainPem)?;
    let leaf = chain.first().ok_or(CertificateError::ChainEmpty)?;
    let names = webpki::EndEntityCert::try_from(leaf)
        .map_err(CertificateError::Certificate)?
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect();
    let private_key = PrivateKeyDer::from_pem_slice(certificate.private_key.expose())
        .map_err(|_| CertificateError::KeyPem)?;
    let key =
        CertifiedKey::from_der(chain, private_key, provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::KeyMismatch,
            error => CertificateError::Key(error),
        })?;
    Ok(UsableCertificate { key: Arc::new(key), names })
}

/// The certificates of a Gateway. A version that cannot be used does not replace one that can.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    usable: BTreeMap<CertificateKey, (Arc<Certificate>, Arc<UsableCertificate>)>,
    rejected: BTreeMap<CertificateKey, String>,
}

impl Certificates {
    /// Takes in a new version of a certificate.
    pub(super) fn set(&mut self, certificate: &Arc<Certificate>) {
        let key = certificate.key.clone();
        if self.usable.get(&key).is_some_and(|(known, _)| known == certificate) {
            self.rejected.remove(&key);
            return;
        }
        match parse(certificate) {
            Ok(usable) => {
                self.rejected.remove(&key);
                self.usable.insert(key, (Arc::clone(certificate), Arc::new(usable)));
            }
            Err(error) => {
                self.rejected.insert(key, error.to_string());
            }
        }
    }

    /// Forgets a certificate.
    pub(super) fn remove(&mut self, key: &CertificateKey) {
        self.usable.remove(key);
        self.rejected.remove(key);
    }

    /// The last version that could be used.
    pub(super) fn usable(&self, key: &CertificateKey) -> Option<&Arc<UsableCertificate>> {
        self.usable.get(key).map(|(_, usable)| usable)
    }

    /// Whether the newest version of a certificate cannot be used.
    pub(super) fn is_rejected(&self, key: &CertificateKey) -> bool {
        self.rejected.contains_key(key)
    }

    /// Certificates whose newest version cannot be used, with the reason (TL-1).
    pub(super) fn rejected(&self) -> &BTreeMap<CertificateKey, String> {
        &self.rejected
    }

    /// Number of certificates that are served.
    pub(super) fn len(&self) -> usize {
        self.usable.len()
    }
}

#[cfg(test)]
mod tests {
    use gwapi_model::SecretBytes;

    use super::*;

    fn certificate(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("names are valid");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn ir(chain: &str, key: &str) -> Arc<Certificate> {
        Arc::new(Certificate {
            key: CertificateKey::secret("default", "cert"),
            chain: chain.into(),
            private_key: SecretBytes::new(key.as_bytes().to_vec()),
        })
    }

    #[test]
    fn a_chain_with_its_key_is_usable() {
        let (chain, key) = certificate(&["a.example", "*.b.example"]);
        assert_eq!(check_certificate(&ir(&chain, &key)), Ok(()));
        let names = parse(&ir(&chain, &key)).expect("usable").names;
        assert_eq!(names, ["a.example", "*.b.example"]);
    }

    #[test]
    fn what_is_wrong_is_said_without_any_of_the_key() {
        let (chain, key) = certificate(&["a.example"]);
        let (_, other) = certificate(&["a.example"]);
        let half = &key[..key.len() / 2];
        for (chain, key, message) in [
            ("", &*key, "the certificate chain holds no certificate"),
            (&*chain, "", "the private key is not a PEM key (PKCS #8, PKCS #1 or SEC 1)"),
            (&*chain, half, "the private key is not a PEM key (PKCS #8, PKCS #1 or SEC 1)"),
            (&*chain, &*other, "the private key does not belong to the certificate"),
        ] {
            assert_eq!(check_certificate(&ir(chain, key)), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_broken_version_keeps_the_last_good_one() {
        let (chain, key) = certificate(&["a.example"]);
        let good = ir(&chain, &key);
        let mut certificates = Certificates::default();
        certificates.set(&good);
        let before = Arc::clone(certificates.usable(&good.key).expect("usable"));

        certificates.set(&ir(&chain, "no key"));
        assert!(Arc::ptr_eq(certificates.usable(&good.key).expect("usable"), &before));
        assert_eq!(certificates.rejected().len(), 1);

        certificates.set(&good);
        assert!(Arc::ptr_eq(certificates.usable(&good.key).expect("usable"), &before));
        assert!(certificates.rejected().is_empty());
    }
}
