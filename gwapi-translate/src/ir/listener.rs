//! Listeners, and what they ask of clients.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{BackendKey, BackendTarget, CertificateKey, ExternalAuth, Hostname, ListenerKey};

/// A listener that holds its place on its port. Listeners that have no place there (a clash, a port
/// that another Gateway keeps, a protocol that is not supported) are not in the IR.
///
/// In its serialised form filters make another protocol: who does not know them must not serve the listener
/// without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SerialListener", into = "SerialListener")]
pub struct Listener {
    /// Key; the listener's name, and the ListenerSet that adds it.
    pub key: ListenerKey,
    /// Addresses to accept connections on; the unspecified address means all of that family.
    pub addresses: Vec<IpAddr>,
    /// Port to accept connections on, any offset included.
    pub port: u16,
    /// Protocol.
    pub protocol: ListenerProtocol,
    /// Hostname; none means every host. TCP and UDP have none.
    pub hostname: Option<Hostname>,
    /// What runs on every request before routes are matched, in this order (LF-3, LF-4). HTTP and HTTPS
    /// alone have any.
    pub filters: Vec<ListenerFilter>,
}

impl Listener {
    /// The backends that are asked about its requests.
    pub fn authorizers(&self) -> impl Iterator<Item = &BackendKey> {
        self.filters.iter().filter_map(|filter| match filter {
            ListenerFilter::ExternalAuth(ExternalAuth {
                target: BackendTarget::Backend(key),
                ..
            }) => Some(key),
            _ => None,
        })
    }
}

/// A step before routes are matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerFilter {
    /// Asks a service whether the request may go on.
    ExternalAuth(ExternalAuth),
    /// What was asked for cannot be had: every request is answered with 500. The text says why (LF-2, LF-7).
    Refuse(String),
}

/// A transport protocol. Sockets of one port and of different protocols are different sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TransportProtocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

impl TransportProtocol {
    /// The protocol as Services name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl fmt::Display for TransportProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Protocol of a [`Listener`].
///
/// HTTPS that validates clients is a variant of its own where it is serialised: who does not know it must
/// not serve the listener without the validation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SerialProtocol", into = "SerialProtocol")]
pub enum ListenerProtocol {
    /// Clear-text HTTP/1.1, and HTTP/2 by prior knowledge.
    Http,
    /// HTTP inside TLS that ends here.
    Https {
        /// Certificates, in the order of the listener's references.
        ///
        /// None at all: the listener cannot be served at present, because no certificate of its
        /// is there or TLS was asked for in a way that cannot be honoured. Its hostname stays
        /// reserved all the same: handshakes for it fail, and its hosts never fall to the routes
        /// of a less specific listener (LI-2, LI-4, LI-5).
        certificates: Vec<CertificateKey>,
        /// Whether clients have to show a certificate; none means that they are not asked for one
        /// (TL-4).
        client_validation: Option<ClientValidation>,
    },
    /// TLS that ends here; what is inside is bytes for [`StreamRule`](super::StreamRule)s (TS-5).
    TlsTerminate {
        /// Certificates, as those of HTTPS.
        certificates: Vec<CertificateKey>,
    },
    /// TLS that the backend ends: the server name of the ClientHello alone is read (TS-5).
    TlsPassthrough,
    /// Bytes for [`StreamRule`](super::StreamRule)s.
    Tcp,
    /// Datagrams for [`StreamRule`](super::StreamRule)s.
    Udp,
}

impl ListenerProtocol {
    /// What its socket carries.
    pub fn transport(&self) -> TransportProtocol {
        match self {
            Self::Udp => TransportProtocol::Udp,
            _ => TransportProtocol::Tcp,
        }
    }

    /// Whether connections begin with a ClientHello, whose server name chooses the listener.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Https { .. } | Self::TlsTerminate { .. } | Self::TlsPassthrough)
    }

    /// Certificates that it may show; none where TLS does not end here.
    pub fn certificates(&self) -> &[CertificateKey] {
        match self {
            Self::Https { certificates, .. } | Self::TlsTerminate { certificates } => certificates,
            Self::Http | Self::TlsPassthrough | Self::Tcp | Self::Udp => &[],
        }
    }
}

/// What a listener asks of the certificates of its clients (TL-5, TL-6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientValidation {
    /// Certificates of the authorities that may vouch for a client, as PEM.
    ///
    /// None at all: no reference to them leads to any, and every connection is refused, whatever the
    /// mode is.
    pub ca_certificates: Arc<str>,
    /// What becomes of clients without a valid certificate.
    pub mode: ClientValidationMode,
}

/// What becomes of clients without a valid certificate (TL-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientValidationMode {
    /// They are refused.
    AllowValidOnly,
    /// They are asked for one, and let in all the same.
    AllowInsecureFallback,
}

/// [`Listener`] as it is serialised.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Listener")]
struct SerialListener {
    key: ListenerKey,
    addresses: Vec<IpAddr>,
    port: u16,
    protocol: SerialProtocol,
    hostname: Option<Hostname>,
}

impl From<SerialListener> for Listener {
    fn from(serial: SerialListener) -> Self {
        let SerialListener { key, addresses, port, protocol, hostname } = serial;
        let (protocol, filters) = protocol.parts();
        Self { key, addresses, port, protocol, hostname, filters }
    }
}

impl From<Listener> for SerialListener {
    fn from(listener: Listener) -> Self {
        let Listener { key, addresses, port, protocol, hostname, filters } = listener;
        let protocol = SerialProtocol::from(protocol);
        let protocol = match filters.is_empty() {
            true => protocol,
            false => SerialProtocol::Filtered { protocol: Box::new(protocol), filters },
        };
        Self { key, addresses, port, protocol, hostname }
    }
}

/// [`ListenerProtocol`] as it is serialised.
#[derive(Serialize, Deserialize)]
enum SerialProtocol {
    Filtered {
        protocol: Box<SerialProtocol>,
        filters: Vec<ListenerFilter>,
    },
    Http,
    Https {
        certificates: Vec<CertificateKey>,
    },
    HttpsValidatingClients {
        certificates: Vec<CertificateKey>,
        client_validation: ClientValidation,
    },
    TlsTerminate {
        certificates: Vec<CertificateKey>,
    },
    TlsPassthrough,
    Tcp,
    Udp,
}

impl SerialProtocol {
    fn parts(self) -> (ListenerProtocol, Vec<ListenerFilter>) {
        let protocol = match self {
            Self::Filtered { protocol, filters } => {
                let (protocol, mut all) = protocol.parts();
                all.extend(filters);
                return (protocol, all);
            }
            Self::Http => ListenerProtocol::Http,
            Self::Https { certificates } => {
                ListenerProtocol::Https { certificates, client_validation: None }
            }
            Self::HttpsValidatingClients { certificates, client_validation } => {
                ListenerProtocol::Https { certificates, client_validation: Some(client_validation) }
            }
            Self::TlsTerminate { certificates } => ListenerProtocol::TlsTerminate { certificates },
            Self::TlsPassthrough => ListenerProtocol::TlsPassthrough,
            Self::Tcp => ListenerProtocol::Tcp,
            Self::Udp => ListenerProtocol::Udp,
        };
        (protocol, Vec::new())
    }
}

impl TryFrom<SerialProtocol> for ListenerProtocol {
    type Error = &'static str;

    fn try_from(protocol: SerialProtocol) -> Result<Self, Self::Error> {
        match protocol.parts() {
            (protocol, filters) if filters.is_empty() => Ok(protocol),
            _ => Err("a protocol has no filters; a listener has"),
        }
    }
}

impl From<ListenerProtocol> for SerialProtocol {
    fn from(protocol: ListenerProtocol) -> Self {
        match protocol {
            ListenerProtocol::Http => Self::Http,
            ListenerProtocol::Https { certificates, client_validation: None } => {
                Self::Https { certificates }
            }
            ListenerProtocol::Https {
                certificates,
                client_validation: Some(client_validation),
            } => Self::HttpsValidatingClients { certificates, client_validation },
            ListenerProtocol::TlsTerminate { certificates } => Self::TlsTerminate { certificates },
            ListenerProtocol::TlsPassthrough => Self::TlsPassthrough,
            ListenerProtocol::Tcp => Self::Tcp,
            ListenerProtocol::Udp => Self::Udp,
        }
    }
}
