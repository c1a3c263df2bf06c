//! Certificates of listeners, and those that are shown to backends: references to Secrets, and what is inside them (TL-1 to TL-3).

use std::sync::Arc;

use gwapi_model::status::ConditionReason;
use gwapi_model::{
    Kind, NamespacedName, ObjectId, Resources, Secret, SecretBytes, SecretObjectReference,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::conditions::Problem;
use super::grants::Reference;
use super::syntax;
use crate::ir::{Certificate, CertificateKey};

/// Type of Secrets that hold a certificate.
const TLS_SECRET: &str = "kubernetes.io/tls";

/// The Secret that a reference of an object in a namespace names; `None` where it names something else.
pub(super) fn target(
    own_namespace: &str,
    reference: &SecretObjectReference,
) -> Option<NamespacedName> {
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Secret");
    (group.is_empty() && kind == "Secret").then(|| {
        NamespacedName::new(
            reference.namespace.as_deref().unwrap_or(own_namespace),
            reference.name.as_str(),
        )
    })
}

/// The Secret that a reference leads to, there or not; `None` where it leads nowhere, or must not be
/// followed.
pub(super) fn permitted_target(
    from: &ObjectId,
    reference: &SecretObjectReference,
    resources: &Resources,
) -> Option<NamespacedName> {
    target(&from.namespace, reference)
        .filter(|to| Reference::of(from, Kind::Secret, to).is_permitted(resources))
}

/// Follows the reference of an object to a certificate. A grant for a Gateway is none for its ListenerSets, and the other
/// way round (LS-10).
///
/// Whether it is granted comes first, so that the answer does not tell whether an ungranted Secret
/// exists (TL-1, RG-5).
pub(super) fn resolve(
    from: &ObjectId,
    reference: &SecretObjectReference,
    resources: &Resources,
) -> Result<Arc<Certificate>, Problem> {
    let invalid = |message: String| Problem::new(ConditionReason::InvalidCertificateRef, message);
    let Some(name) = target(&from.namespace, reference) else {
        let what = syntax::kind_of_group(
            reference.kind.as_deref().unwrap_or("Secret"),
            &reference.name,
            reference.group.as_deref().unwrap_or_default(),
        );
        return Err(invalid(format!(
            "{what} cannot hold a certificate; refer to a Secret of the core group"
        )));
    };
    Reference::of(from, Kind::Secret, &name).check(resources)?;
    let secret = resources
        .secrets
        .get(&name)
        .ok_or_else(|| invalid(format!("Secret `{name}` does not exist")))?;
    read(&name, secret)
        .map(Arc::new)
        .map_err(|message| invalid(format!("Secret `{name}` {message}")))
}

/// Follows a reference to the certificate that is shown to backends (TL-7, X-2).
pub(super) fn resolve_for_backends(
    from: &ObjectId,
    reference: &SecretObjectReference,
    resources: &Resources,
) -> Result<Arc<Certificate>, Problem> {
    resolve(from, reference, resources).map_err(|problem| match problem.reason {
        ConditionReason::RefNotPermitted => problem,
        _ => Problem { reason: ConditionReason::InvalidClientCertificateRef, ..problem },
    })
}

/// Reads a Secret. What is wrong with it is told without a byte of what it holds.
fn read(name: &NamespacedName, secret: &Secret) -> Result<Certificate, String> {
    if secret.secret_type.as_deref() != Some(TLS_SECRET) {
        let found = secret.secret_type.as_deref().unwrap_or("Opaque");
        return Err(format!("is of type `{found}`, not `{TLS_SECRET}`"));
    }
    let data = |key: &str| -> Result<&SecretBytes, String> {
        secret
            .data
            .get(key)
            .filter(|bytes| !bytes.expose().is_empty())
            .ok_or_else(|| format!("has no key `{key}`"))
    };
    let chain = read_chain(data("tls.crt")?.expose())
        .map_err(|message| format!("is broken: key `tls.crt` {message}"))?;
    let private_key = data("tls.key")?;
    check_private_key(private_key.expose())
        .map_err(|message| format!("is broken: key `tls.key` {message}"))?;
    Ok(Certificate {
        key: CertificateKey::secret(&name.namespace, &name.name),
        chain,
        private_key: private_key.clone(),
    })
}

/// The chain as text: PEM with at least one certificate, each of them one DER sequence.
fn read_chain(pem: &[u8]) -> Result<Arc<str>, String> {
    read_certificates(pem, |certificate| is_der_sequence(certificate))
}

/// Certificates to trust as text: PEM with at least one, each of which names a subject and a key.
///
/// Whoever sees the configuration sees them: whatever else the text holds stays behind, such as a private
/// key that somebody has put beside them.
pub(super) fn read_authorities(pem: &[u8]) -> Result<Arc<str>, String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let text = read_certificates(pem, |certificate| {
        webpki::anchor_from_trusted_cert(certificate).is_ok()
    })?;
    if !text.contains("PRIVATE KEY") {
        return Ok(text);
    }
    let blocks = text.split(BEGIN).skip(1).filter_map(|block| block.split_once(END));
    Ok(blocks.map(|(block, _)| format!("{BEGIN}{block}{END}\n")).collect::<String>().into())
}

fn read_certificates(
    pem: &[u8],
    is_certificate: impl Fn(&CertificateDer<'_>) -> bool,
) -> Result<Arc<str>, String> {
    let text = std::str::from_utf8(pem).map_err(|_| "is not PEM text".to_owned())?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| "is not valid PEM".to_owned())?;
        count += 1;
        if !is_certificate(&certificate) {
            return Err(format!("holds no X.509 certificate in block {count}"));
        }
    }
    if count == 0 {
        return Err("holds no block `CERTIFICATE`".to_owned());
    }
    Ok(text.into())
}

/// Exactly one private key.
fn check_private_key(pem: &[u8]) -> Result<(), String> {
    let mut keys = 0;
    for key in PrivateKeyDer::pem_slice_iter(pem) {
        let key = key.map_err(|_| "is not valid PEM".to_owned())?;
        if !is_der_sequence(key.secret_der()) {
            return Err("holds a block that is no private key".to_owned());
        }
        keys += 1;
    }
    match keys {
        0 => Err("holds no private key".to_owned()),
        1 => Ok(()),
        _ => Err(format!("holds {keys} private keys instead of one")),
    }
}

/// Whether bytes are one DER `SEQUENCE`, as certificates and keys are. It tells text in a PEM
/// frame from a certificate; whether the certificate is any good is for the data plane to say.
fn is_der_sequence(der: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = der else { return false };
    let (expected, body) = match *length {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let octets = usize::from(long & 0x7f);
            if octets == 0 || octets > 4 || rest.len() < octets {
                return false;
            }
            let (length, body) = rest.split_at(octets);
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), body)
        }
    };
    body.len() == expected && expected > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_beside_authorities_stays_behind() {
        let (one, two) =
            (include_str!("../testing/pem/one.crt"), include_str!("../testing/pem/two.crt"));
        let key = include_str!("../testing/pem/one.key");
        let read = read_authorities(format!("{one}{key}# two\n{two}").as_bytes());
        assert_eq!(read.as_deref(), Ok(&*format!("{one}{two}")));
        let read = read_authorities(format!("# one\n{one}").as_bytes());
        assert_eq!(read.as_deref(), Ok(&*format!("# one\n{one}")));
    }
}
