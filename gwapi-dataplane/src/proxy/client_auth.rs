//! What a listener asks of the certificates of its clients, and what that means for those who came
//! before it changed (TL-4 to TL-6).

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use gwapi_translate::ir::{ClientValidation, ClientValidationMode};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::certificates::provider;

/// Bytes of the names of authorities that clients are told of, to choose a certificate by. With more they
/// are told of none, and choose by themselves: the names would fill the handshake.
const HINTS: usize = 16 * 1024;

/// What is asked of clients. Two that ask for the same are one, however their PEM is written.
#[derive(Debug)]
pub(super) struct ClientAuth {
    /// Certificates of the authorities, DER; none means that nobody gets in.
    authorities: BTreeSet<Vec<u8>>,
    mode: ClientValidationMode,
    /// What checks certificates, once there was one to check.
    verifier: OnceLock<Arc<dyn ClientCertVerifier>>,
}

impl PartialEq for ClientAuth {
    fn eq(&self, other: &Self) -> bool {
        self.mode == other.mode && self.authorities == other.authorities
    }
}

impl ClientAuth {
    /// What a listener asks; `before` is taken where it asks the same. Of authorities that cannot be
    /// read nobody is believed.
    pub(super) fn new(validation: &ClientValidation, before: Option<&Arc<Self>>) -> Arc<Self> {
        let authorities = CertificateDer::pem_slice_iter(validation.ca_certificates.as_bytes())
            .map(|certificate| certificate.map(|der| der.to_vec()))
            .collect::<Result<BTreeSet<_>, _>>()
            .inspect_err(|error| tracing::error!(%error, "no CA certificates"))
            .unwrap_or_default();
        let new = Self { authorities, mode: validation.mode, verifier: OnceLock::new() };
        match before {
            Some(before) if **before == new => Arc::clone(before),
            _ => Arc::new(new),
        }
    }

    /// Whether nobody gets in.
    pub(super) fn refuses_all(&self) -> bool {
        self.authorities.is_empty()
    }

    /// Whether everybody who was let in by `then` would be now: the authorities of then are still there,
    /// and who needed no certificate needs none now.
    pub(super) fn admits_those_of(&self, then: &Self) -> bool {
        let as_strict = then.mode == self.mode || then.mode == ClientValidationMode::AllowValidOnly;
        as_strict && !self.refuses_all() && self.authorities.is_superset(&then.authorities)
    }

    /// Whether a client that showed these certificates, its own first, would be let in by a handshake now.
    pub(super) fn admits(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Ok(verifier) = self.verifier() else { return false };
        match chain {
            [own, intermediates @ ..] => {
                verifier.verify_client_cert(own, intermediates, UnixTime::now()).is_ok()
            }
            [] => !verifier.client_auth_mandatory(),
        }
    }

    /// What checks the certificates in handshakes.
    pub(super) fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        if let Some(verifier) = self.verifier.get() {
            return Ok(Arc::clone(verifier));
        }
        let verifier = self.new_verifier()?;
        Ok(Arc::clone(self.verifier.get_or_init(|| verifier)))
    }

    fn new_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(
            self.authorities.iter().map(|der| CertificateDer::from(der.as_slice())),
        );
        let hints: usize = roots.subjects().iter().map(|name| name.as_ref().len()).sum();
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider()));
        if hints > HINTS {
            builder = builder.clear_root_hint_subjects();
        }
        Ok(match self.mode {
            ClientValidationMode::AllowValidOnly => builder.build()?,
            ClientValidationMode::AllowInsecureFallback => {
                Arc::new(InsecureFallback(builder.allow_unauthenticated().build()?))
            }
        })
    }
}

/// Asks for a certificate and believes every one, and none (TL-6). That its key is the client's is
/// checked all the same, where the certificate can be read.
#[derive(Debug)]
struct InsecureFallback(Arc<dyn ClientCertVerifier>);

impl InsecureFallback {
    fn checked(
        certificate: &CertificateDer<'_>,
        check: impl Fn() -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match webpki::EndEntityCert::try_from(certificate) {
            Ok(_) => check(),
            // Such as one of X.509 version 1: it is as good as none.
            Err(_) => Ok(HandshakeSignatureValid::assertion()),
        }
    }
}

impl ClientCertVerifier for InsecureFallback {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::checked(cert, || self.0.verify_tls12_signature(message, cert, dss))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::checked(cert, || self.0.verify_tls13_signature(message, cert, dss))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use ClientValidationMode::{AllowInsecureFallback, AllowValidOnly};

    use super::*;

    fn authority() -> String {
        let made = rcgen::generate_simple_self_signed(["ca.example".to_owned()]);
        made.expect("the name is valid").cert.pem()
    }

    fn auth(pem: &str, mode: ClientValidationMode) -> Arc<ClientAuth> {
        ClientAuth::new(&ClientValidation { ca_certificates: pem.into(), mode }, None)
    }

    #[test]
    fn how_the_authorities_are_written_makes_no_difference() {
        let (a, b) = (authority(), authority());
        let before = auth(&format!("{a}{b}"), AllowValidOnly);
        let ca_certificates = format!("# b\n{b}\n{a}{b}").into();
        let validation = ClientValidation { ca_certificates, mode: AllowValidOnly };
        assert!(Arc::ptr_eq(&ClientAuth::new(&validation, Some(&before)), &before));
    }

    #[test]
    fn those_of_before_stay_where_they_would_be_let_in_now() {
        let (a, b) = (authority(), authority());
        let both = format!("{a}{b}");
        for (then, now, stay) in [
            ((&*a, AllowValidOnly), (&*both, AllowValidOnly), true),
            ((&*both, AllowValidOnly), (&*a, AllowValidOnly), false),
            ((&*a, AllowValidOnly), (&*b, AllowValidOnly), false),
            ((&*a, AllowValidOnly), (&*a, AllowInsecureFallback), true),
            ((&*a, AllowInsecureFallback), (&*a, AllowValidOnly), false),
            ((&*a, AllowInsecureFallback), (&*both, AllowInsecureFallback), true),
            ((&*a, AllowInsecureFallback), ("", AllowInsecureFallback), false),
            ((&*a, AllowValidOnly), ("no PEM at all", AllowValidOnly), false),
        ] {
            let admitted = auth(now.0, now.1).admits_those_of(&auth(then.0, then.1));
            assert_eq!(admitted, stay, "{then:?} to {now:?}");
        }
    }

    #[test]
    fn names_of_authorities_do_not_fill_the_handshake() {
        let few = auth(&authority(), AllowValidOnly).verifier().expect("a verifier");
        assert_eq!(few.root_hint_subjects().len(), 1);
        let many: String = (0..700).map(|_| authority()).collect();
        let many = auth(&many, AllowValidOnly).verifier().expect("a verifier");
        assert!(many.root_hint_subjects().is_empty());
    }
}
