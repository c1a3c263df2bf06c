//! Backends: what is spoken to them, what they have to prove, and where they are.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BackendKey, CertificateKey, Hostname, SessionPersistence};

/// A Service port that requests, connections or datagrams can be sent to.
///
/// In its serialised form TLS makes other protocols: who does not know it must not go without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SerialBackend", into = "SerialBackend")]
pub struct Backend {
    /// Key.
    pub key: BackendKey,
    /// Protocol that the endpoints speak.
    pub protocol: BackendProtocol,
    /// TLS around it, where the Service port has a BackendTLSPolicy.
    pub tls: Option<Arc<BackendTls>>,
    /// Session persistence over its endpoints, where an XBackend asks for it, or the Service has an
    /// XBackendTrafficPolicy that does (SP-3).
    pub session: Option<Box<SessionPersistence>>,
    /// How many retries there may be, where the Service has an XBackendTrafficPolicy that says so.
    pub retry_budget: Option<RetryBudget>,
}

/// A bound on retries: they are a share of all requests of a while at most, or so many in a while,
/// whichever lets there be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryBudget {
    /// Retries among 100 requests, themselves counted; 100 at most.
    pub percent: u8,
    /// Requests that began this long ago count.
    pub interval: Duration,
    /// Retries that there may be however few requests there are.
    pub min_count: u32,
    /// Within this time.
    pub min_interval: Duration,
}

/// [`Backend`] as it is serialised.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Backend")]
struct SerialBackend {
    key: BackendKey,
    protocol: SerialBackendProtocol,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Box<SessionPersistence>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_budget: Option<RetryBudget>,
}

#[derive(Serialize, Deserialize)]
enum SerialBackendProtocol {
    Http1,
    H2c,
    Http1OverTls(Arc<BackendTls>),
    Http2OverTls(Arc<BackendTls>),
    Tcp,
    TcpOverTls(Arc<BackendTls>),
    Udp,
}

impl From<SerialBackend> for Backend {
    fn from(SerialBackend { key, protocol, session, retry_budget }: SerialBackend) -> Self {
        let (protocol, tls) = match protocol {
            SerialBackendProtocol::Http1 => (BackendProtocol::Http1, None),
            SerialBackendProtocol::H2c => (BackendProtocol::H2c, None),
            SerialBackendProtocol::Http1OverTls(tls) => (BackendProtocol::Http1, Some(tls)),
            SerialBackendProtocol::Http2OverTls(tls) => (BackendProtocol::H2c, Some(tls)),
            SerialBackendProtocol::Tcp => (BackendProtocol::Tcp, None),
            SerialBackendProtocol::TcpOverTls(tls) => (BackendProtocol::Tcp, Some(tls)),
            SerialBackendProtocol::Udp => (BackendProtocol::Udp, None),
        };
        Self { key, protocol, tls, session, retry_budget }
    }
}

impl From<Backend> for SerialBackend {
    fn from(Backend { key, protocol, tls, session, retry_budget }: Backend) -> Self {
        let protocol = match (protocol, tls) {
            (BackendProtocol::Http1, None) => SerialBackendProtocol::Http1,
            (BackendProtocol::H2c, None) => SerialBackendProtocol::H2c,
            (BackendProtocol::Http1, Some(tls)) => SerialBackendProtocol::Http1OverTls(tls),
            (BackendProtocol::H2c, Some(tls)) => SerialBackendProtocol::Http2OverTls(tls),
            (BackendProtocol::Tcp, None) => SerialBackendProtocol::Tcp,
            (BackendProtocol::Tcp, Some(tls)) => SerialBackendProtocol::TcpOverTls(tls),
            // There is no TLS around datagrams.
            (BackendProtocol::Udp, _) => SerialBackendProtocol::Udp,
        };
        Self { key, protocol, session, retry_budget }
    }
}

/// TLS towards a backend: what the endpoints have to prove. There is no way without proof.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackendTls {
    /// Server name of the handshake, lower-case; the name that the endpoint's certificate has to be for
    /// where there are no `subject_alt_names` (BT-3).
    pub hostname: Arc<str>,
    /// Names one of which the certificate has to bear, in place of `hostname`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
    /// Who may vouch for the certificate.
    pub trust: BackendTrust,
    /// The certificate for endpoints that ask for one: the Gateway's own (TL-7, BT-11), or that of the
    /// backend. One that the configuration does not have, or that cannot be used, is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateKey>,
    /// Whether nothing is sent while that certificate cannot be shown: whoever asked for both sides to prove
    /// who they are gets no traffic without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutual: bool,
}

/// A name in a certificate (BT-3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SubjectAltName {
    /// A DNS name; a wildcard stands for exactly one label.
    Hostname(Hostname),
    /// A URI, byte-equal, such as a SPIFFE ID.
    Uri(Arc<str>),
}

/// Authorities whose certificates are trusted (BT-4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BackendTrust {
    /// Those of the system that the data plane runs on.
    System,
    /// These, as PEM; at least one.
    Certificates(Arc<str>),
}

/// Protocol towards a backend (HB-8); inside TLS where the backend has that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BackendProtocol {
    /// HTTP/1.1, WebSocket upgrades included.
    Http1,
    /// HTTP/2: by prior knowledge, or by ALPN inside TLS.
    H2c,
    /// Bytes. What comes by passthrough has TLS of its own, and that of the backend is not put around
    /// it (TS-5).
    Tcp,
    /// Datagrams.
    Udp,
}

/// Where what is sent to a [`Backend`] goes. Requests for one without any are answered with 503 (HB-4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Key, that of the backend.
    pub key: BackendKey,
    /// Ready addresses, sorted, each once.
    pub addresses: Vec<SocketAddr>,
    /// DNS names with ports that stand for whatever addresses they resolve to: Services of type
    /// ExternalName, where those are allowed (HB-7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<(String, u16)>,
    /// The same for hosts outside: addresses that are not public count as none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external: Vec<(String, u16)>,
}

/// Whether an address is one of the public internet. Whoever writes the name of a host outside, or answers
/// for it, shall not reach through the gateway what only the gateway can.
pub fn is_public_endpoint(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let is_special = v4.is_private()
                || v4.is_loopback()
                || v4.is_documentation()
                // Of Azure's hosts, which hands out what their machines start with.
                || v4.octets() == [168, 63, 129, 16]
                || matches!(
                    (a, b, c),
                    (0 | 240.., ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _)
                );
            !is_special && !is_refused_endpoint(address)
        }
        IpAddr::V6(v6) => {
            // Global unicast, but for documentation and for what has an address of IPv4 in it.
            let [a, b, ..] = v6.segments();
            (0x2000..0x4000).contains(&a)
                && !matches!((a, b), (0x2001, 0 | 0xdb8) | (0x2002, _) | (0x3fff, _))
        }
    }
}

/// Whether no backend may live at an address: link-local ones lead to metadata services, the
/// others lead nowhere. It holds for addresses as written and for those that a name resolves to.
pub fn is_refused_endpoint(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_within_a_network_or_a_machine_is_not_public() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for text in [
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "168.63.129.16",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public_endpoint(address(text)), "{text}");
        }
        for text in ["1.1.1.1", "100.63.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1111"] {
            assert!(is_public_endpoint(address(text)), "{text}");
        }
    }
}
