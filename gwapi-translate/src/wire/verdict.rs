//! What a client says about the state that it was sent.

use std::net::IpAddr;

use prost::bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::VERDICT_TYPE_URL;
use super::message::{Any, RpcStatus};
use crate::Feedback;
use crate::ir::{CertificateKey, ListenerKey};

/// gRPC's INVALID_ARGUMENT, the code of a NACK.
const INVALID_ARGUMENT: i32 = 3;

/// gRPC's FAILED_PRECONDITION, the code of a NACK that refuses a state as a whole.
const FAILED_PRECONDITION: i32 = 9;

/// Characters of one message in a verdict.
const MAX_MESSAGE: usize = 1024;

/// Rejections in a verdict; what is beyond is not served either, and not named.
const MAX_REJECTIONS: usize = 1000;

/// What came of a state, as a whole: each verdict replaces the one before.
///
/// An ACK says that all is well, and a NACK carries this. A NACK without a refusal is as good an
/// answer as an ACK: the state is served, apart from what is rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Why the state is not served at all; the one before still is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// What of the state is not served, sorted.
    #[serde(default)]
    pub rejected: Vec<Rejection>,
}

/// Why a state is not served at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The server has not seen everything yet that the state in use was made from.
    Behind {
        /// The first kind that it is behind in.
        kind: String,
        /// How far its view of that kind has to reach.
        newest: u64,
    },
    /// Something else, said by another release.
    #[serde(untagged)]
    Other(serde_json::Value),
}

/// What is not served, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "reason")]
pub enum Rejection {
    /// A resource cannot be read, say because it is of a newer release.
    Unreadable {
        /// Name of the resource.
        resource: String,
        /// Why.
        message: String,
    },
    /// A certificate cannot be used.
    UnusableCertificate {
        /// The certificate.
        certificate: CertificateKey,
        /// Why.
        message: String,
    },
    /// A listener's port cannot be bound.
    UnboundListener {
        /// The listener.
        listener: ListenerKey,
        /// Why.
        message: String,
    },
    /// An address is not there.
    UnusableAddress {
        /// The address.
        address: IpAddr,
        /// Why.
        message: String,
    },
    /// Something else, said by another release.
    #[serde(other)]
    Other,
}

impl Verdict {
    /// What of the state cannot be read, and what a proxy said when it applied the rest; what it is
    /// told itself is not in it.
    pub(super) fn new(
        unreadable: impl IntoIterator<Item = (String, String)>,
        feedback: &Feedback,
    ) -> Self {
        let short = |message: &str| match message.char_indices().nth(MAX_MESSAGE) {
            Some((end, _)) => format!("{}...", &message[..end]),
            None => message.to_owned(),
        };
        let unreadable = unreadable.into_iter().map(|(resource, message)| Rejection::Unreadable {
            resource,
            message: short(&message),
        });
        let certificates = feedback.rejected_certificates.iter().map(|(key, message)| {
            Rejection::UnusableCertificate { certificate: key.clone(), message: short(message) }
        });
        let unbound = feedback.unbound.iter().map(|(key, message)| Rejection::UnboundListener {
            listener: key.clone(),
            message: short(message),
        });
        let addresses = feedback.unusable_addresses.iter().map(|(address, message)| {
            Rejection::UnusableAddress { address: *address, message: short(message) }
        });
        let all = certificates.chain(unbound).chain(addresses).chain(unreadable);
        let mut rejected: Vec<_> = all.take(MAX_REJECTIONS).collect();
        rejected.sort();
        Self { refused: None, rejected }
    }

    /// What translation is told.
    pub fn feedback(&self) -> Feedback {
        let mut feedback = Feedback::default();
        for rejection in &self.rejected {
            match rejection.clone() {
                Rejection::UnusableCertificate { certificate, message } => {
                    feedback.rejected_certificates.insert(certificate, message);
                }
                Rejection::UnboundListener { listener, message } => {
                    feedback.unbound.insert(listener, message);
                }
                Rejection::UnusableAddress { address, message } => {
                    feedback.unusable_addresses.insert(address, message);
                }
                Rejection::Unreadable { resource, message } => {
                    feedback.unreadable.insert(resource, message);
                }
                Rejection::Other => {}
            }
        }
        feedback
    }

    /// The `error_detail` of the answer: none where all is well.
    pub(super) fn to_status(&self) -> Option<RpcStatus> {
        let (code, message) = match &self.refused {
            None if self.rejected.is_empty() => return None,
            None => (INVALID_ARGUMENT, format!("{} parts are not served", self.rejected.len())),
            Some(Refusal::Behind { kind, .. }) => (
                FAILED_PRECONDITION,
                format!("this is older than what is served: it lacks changes of the kind {kind}"),
            ),
            Some(Refusal::Other(why)) => (FAILED_PRECONDITION, why.to_string()),
        };
        let value = serde_json::to_vec(self)
            .expect("a verdict has text as keys of maps, and writing to memory does not fail");
        let detail = Any { type_url: VERDICT_TYPE_URL.to_owned(), value: Bytes::from(value) };
        Some(RpcStatus { code, message, details: vec![detail] })
    }

    /// Reads the `error_detail` of an answer. Where it is not one of ours, the state as a whole
    /// counts as refused.
    pub(super) fn from_status(status: Option<&RpcStatus>) -> Self {
        let Some(status) = status else { return Self::default() };
        let ours = status.details.iter().find(|detail| detail.type_url == VERDICT_TYPE_URL);
        let verdict = ours.and_then(|detail| serde_json::from_slice(&detail.value).ok());
        verdict.unwrap_or_else(|| Self {
            refused: Some(Refusal::Other(status.message.as_str().into())),
            rejected: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback() -> Feedback {
        let mut feedback = Feedback::default();
        feedback.unbound.insert(ListenerKey::new("http"), "in use".to_owned());
        feedback.unusable_addresses.insert(IpAddr::from([192, 0, 2, 1]), "not here".to_owned());
        feedback
            .rejected_certificates
            .insert(CertificateKey::secret("default", "tls"), "no key".to_owned());
        feedback
    }

    #[test]
    fn feedback_crosses_the_wire() {
        let unreadable = [("UdpRule/a".to_owned(), "unknown".to_owned())];
        let verdict = Verdict::new(unreadable.clone(), &feedback());
        let read = Verdict::from_status(verdict.to_status().as_ref());
        assert_eq!(read, verdict);
        assert_eq!(read.feedback(), Feedback { unreadable: unreadable.into(), ..feedback() });
    }

    #[test]
    fn a_verdict_without_complaints_is_an_ack() {
        assert_eq!(Verdict::new([], &Feedback::default()).to_status(), None);
        assert_eq!(Verdict::from_status(None), Verdict::default());
    }

    #[test]
    fn what_a_newer_release_complains_of_is_not_lost() {
        let value = br#"{"refused":{"TooLarge":{"limit":5}},"rejected":[{"reason":"Tired"},
            {"reason":"Unreadable","resource":"a","message":"b","since":3}]}"#;
        let detail =
            Any { type_url: VERDICT_TYPE_URL.to_owned(), value: Bytes::from_static(value) };
        let status = RpcStatus { code: 9, message: "no".to_owned(), details: vec![detail] };
        let verdict = Verdict::from_status(Some(&status));
        assert!(matches!(verdict.refused, Some(Refusal::Other(_))), "{verdict:?}");
        assert_eq!(verdict.rejected.len(), 2);
        assert_eq!(verdict.feedback().unreadable.len(), 1);
    }

    #[test]
    fn a_nack_of_another_client_refuses_the_state() {
        let status = RpcStatus { code: 3, message: "no".to_owned(), details: Vec::new() };
        let refused = Verdict::from_status(Some(&status)).refused;
        assert_eq!(refused, Some(Refusal::Other("no".into())));
    }

    #[test]
    fn long_messages_are_cut() {
        let mut feedback = Feedback::default();
        feedback.unbound.insert(ListenerKey::new("http"), "ä".repeat(5000));
        let verdict = Verdict::new([], &feedback);
        let message = &verdict.feedback().unbound[&ListenerKey::new("http")];
        assert_eq!(message.chars().count(), MAX_MESSAGE + 3);
    }
}
