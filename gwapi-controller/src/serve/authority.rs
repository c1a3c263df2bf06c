//! The server's certificates: who signs, for how long, and what comes after.
//!
//! ```text
//!  authority   ├──────────────────────────────┤
//!  the next                     ├─ handed out ─┬─ signs ────────────────┤
//!  server       ├────────┤├────────┤├────────┤ ├────────┤
//! ```
//!
//! Proxies trust the authorities that they have been handed; the server shows a certificate of one of
//! them. So an authority is handed out some time before it signs, and stays for some time after its
//! last certificate. Everything here is a function of what there is and of the time.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

use gwapi_model::SecretBytes;
use gwapi_translate::ir::SessionKeys;

use super::session_keys::KeyRing;
use super::settings::ServingCertificate;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Life of an authority, and what is left of it when the next one is made.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(24 * 730);
const AUTHORITY_LEFT: SignedDuration = SignedDuration::from_hours(24 * 365);

/// Life of a certificate of the server, and what is left of it when the next one is made.
const SERVER_LIFE: SignedDuration = SignedDuration::from_hours(24 * 60);
const SERVER_LEFT: SignedDuration = SignedDuration::from_hours(24 * 20);

/// How long an authority is handed out before it signs, and after it has signed its last. Mounted
/// files are renewed within minutes.
const OVERLAP: SignedDuration = DAY;

/// Why certificates cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub(super) struct MakeError(#[from] rcgen::Error);

/// Everything that there is, private keys included: what the replicas share.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Material {
    authority: Authority,
    /// Signs from some time on.
    next: Option<Successor>,
    /// Signs no longer, and is still trusted.
    retired: Vec<Retired>,
    server: ServerCertificate,
    /// Those of sessions, which have nothing to do with certificates but the place where they are kept.
    #[serde(default)]
    sessions: KeyRing,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Authority {
    certificate: String,
    key: String,
    expires: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Successor {
    authority: Authority,
    signs_from: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Retired {
    certificate: String,
    trusted_until: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ServerCertificate {
    certificate: String,
    key: String,
    expires: Timestamp,
    names: Vec<String>,
}

impl Material {
    /// The first of its kind, for a server with these DNS names.
    pub(super) fn new(names: &[String], now: Timestamp) -> Result<Self, MakeError> {
        let authority = Authority::new(now)?;
        let server = authority.sign(names, now)?;
        let sessions = KeyRing::default().renewed(now);
        Ok(Self { authority, next: None, retired: Vec::new(), server, sessions })
    }

    /// What it has become time for; `None` where all can stay as it is.
    pub(super) fn renewed(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<Option<Self>, MakeError> {
        if self.authority.expires <= now {
            // Nobody renewed anything for so long that there is nothing left to be careful with.
            let sessions = self.sessions.renewed(now);
            return Self::new(names, now).map(|new| Some(Self { sessions, ..new }));
        }
        let mut new = self.clone();
        new.sessions = self.sessions.renewed(now);
        new.retired.retain(|retired| retired.trusted_until > now);
        match &self.next {
            Some(next) if next.signs_from <= now => {
                new.authority = next.authority.clone();
                new.next = None;
                let certificate = self.authority.certificate.clone();
                new.retired.push(Retired { certificate, trusted_until: now + OVERLAP });
                new.server = new.authority.sign(names, now)?;
            }
            None if self.authority.expires.duration_since(now) < AUTHORITY_LEFT => {
                let authority = Authority::new(now)?;
                new.next = Some(Successor { authority, signs_from: now + OVERLAP });
            }
            _ => {}
        }
        if new.server.names != names || new.server.expires.duration_since(now) < SERVER_LEFT {
            new.server = new.authority.sign(names, now)?;
        }
        Ok((new != *self).then_some(new))
    }

    /// The certificates that proxies are to trust, PEM.
    pub(super) fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| &next.authority.certificate);
        let retired = self.retired.iter().map(|retired| &retired.certificate);
        std::iter::once(&self.authority.certificate).chain(next).chain(retired).cloned().collect()
    }

    /// The keys of sessions, as proxies get them.
    pub(super) fn session_keys(&self, now: Timestamp) -> SessionKeys {
        self.sessions.keys(now)
    }

    /// What the server shows.
    pub(super) fn serving(&self) -> ServingCertificate {
        ServingCertificate {
            chain: self.server.certificate.clone(),
            key: SecretBytes::new(self.server.key.clone().into_bytes()),
        }
    }
}

impl Authority {
    fn new(now: Timestamp) -> Result<Self, MakeError> {
        let key = KeyPair::generate()?;
        let mut params = Self::params();
        let expires = set_validity(&mut params, now, AUTHORITY_LIFE);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, key: key.serialize_pem(), expires })
    }

    /// What is the same for all authorities. A certificate names its issuer by these and by the key,
    /// so that several of one name can be told apart.
    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "gwapi configuration");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    fn sign(&self, names: &[String], now: Timestamp) -> Result<ServerCertificate, MakeError> {
        let issuer = Issuer::new(Self::params(), KeyPair::from_pem(&self.key)?);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let expires =
            set_validity(&mut params, now, SERVER_LIFE.min(self.expires.duration_since(now)));
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let key = key.serialize_pem();
        Ok(ServerCertificate { certificate, key, expires, names: names.to_vec() })
    }
}

/// Valid from the day before `now`, because clocks differ, for about `life`. Returns the end.
fn set_validity(params: &mut CertificateParams, now: Timestamp, life: SignedDuration) -> Timestamp {
    let day = |timestamp: Timestamp| timestamp.to_zoned(TimeZone::UTC).date();
    let number = |value: i8| value.unsigned_abs();
    let date =
        |day: Date| rcgen::date_time_ymd(day.year().into(), number(day.month()), number(day.day()));
    let (begins, ends) = (day(now - DAY), day(now + life));
    params.not_before = date(begins);
    params.not_after = date(ends);
    ends.to_zoned(TimeZone::UTC).map_or(now, |ends| ends.timestamp())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    const NAME: &str = "gwapi-controller.gwapi-system.svc";

    fn names() -> Vec<String> {
        vec![NAME.to_owned()]
    }

    fn start() -> Timestamp {
        "2026-05-04T12:00:00Z".parse().expect("a time")
    }

    /// Whether somebody who was handed `bundle` trusts the server at a time.
    fn trusts(bundle: &str, server: &ServingCertificate, now: Timestamp) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(root.expect("PEM")).expect("an authority");
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let leaf = CertificateDer::from_pem_slice(server.chain.as_bytes()).expect("PEM");
        let name = ServerName::try_from(NAME).expect("a name");
        let seconds = u64::try_from(now.as_second()).expect("after 1970");
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        verifier
            .build()
            .expect("roots")
            .verify_server_cert(&leaf, &[], &name, &[], now)
            .inspect_err(|error| println!("{error}"))
            .is_ok()
    }

    #[test]
    fn what_was_just_made_is_trusted_and_stays() {
        let material = Material::new(&names(), start()).expect("made");
        assert!(trusts(&material.bundle(), &material.serving(), start()));
        assert!(trusts(&material.bundle(), &material.serving(), start() - DAY / 2), "slow clocks");
        assert!(material.renewed(&names(), start() + DAY).expect("made").is_none());
        let other = Material::new(&names(), start()).expect("made");
        assert!(!trusts(&other.bundle(), &material.serving(), start()));
    }

    #[test]
    fn a_server_with_another_name_gets_another_certificate_of_the_same_authority() {
        let material = Material::new(&["other.example".to_owned()], start()).expect("made");
        assert!(!trusts(&material.bundle(), &material.serving(), start()));
        let renewed = material.renewed(&names(), start()).expect("made").expect("another");
        assert_eq!(renewed.bundle(), material.bundle());
        assert!(trusts(&material.bundle(), &renewed.serving(), start()));
    }

    /// Six years, looked at twice a day by a proxy whose bundle is half a day old.
    #[test]
    fn over_the_years_a_proxy_always_trusts_the_server() {
        let mut material = Material::new(&names(), start()).expect("made");
        let mut handed_out = material.bundle();
        let (mut now, mut authorities) = (start(), 1);
        while now < start() + DAY * (6 * 365) {
            now += DAY / 2;
            let renewed = material.renewed(&names(), now).expect("made");
            let before = handed_out;
            handed_out = material.bundle();
            if let Some(renewed) = renewed {
                authorities += usize::from(renewed.authority != material.authority);
                assert!(trusts(&before, &renewed.serving(), now), "{now}");
                material = renewed;
            }
            // A replica that has not looked yet shows what it showed.
            assert!(trusts(&material.bundle(), &material.serving(), now), "{now}");
        }
        assert!(authorities > 3, "{authorities}");
        assert_eq!(material.retired.len(), 0);
    }

    #[test]
    fn a_replica_that_shows_the_last_certificate_of_an_authority_is_still_trusted() {
        let material = Material::new(&names(), start()).expect("made");
        let later = start() + AUTHORITY_LIFE - AUTHORITY_LEFT + DAY;
        let handed_out = material.renewed(&names(), later).expect("made").expect("a successor");
        let switched =
            handed_out.renewed(&names(), later + OVERLAP).expect("made").expect("it signs");
        assert_ne!(switched.authority.certificate, material.authority.certificate);
        let (old, now) = (handed_out.serving(), later + OVERLAP);
        assert!(trusts(&switched.bundle(), &old, now));
        let after = switched.renewed(&names(), now + OVERLAP).expect("made").expect("retired");
        assert!(!trusts(&after.bundle(), &old, now + OVERLAP));
    }

    #[test]
    fn after_years_without_anybody_there_is_a_new_authority_at_once() {
        let material = Material::new(&names(), start()).expect("made");
        let now = start() + AUTHORITY_LIFE + DAY;
        let renewed = material.renewed(&names(), now).expect("made").expect("another");
        assert!(trusts(&renewed.bundle(), &renewed.serving(), now));
    }
}
