//! Tickets for sessions of clients that showed certificates.
//!
//! The TLS library resumes a session without another look at the certificate, and each session leads to the
//! next: a client could go on for ever with one that has expired. So the certificates in a ticket are
//! verified before it is taken. One that is not good any more is as good as none, and the handshake goes on
//! in full: a client that has another certificate by now shows it, and one that has none learns why it is
//! refused.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;

use super::client_auth::ClientAuth;

/// Tickets that are good for as long as the certificates in them.
#[derive(Debug)]
pub(super) struct VerifiedTickets {
    tickets: Arc<dyn ProducesTickets>,
    client_auth: Arc<ClientAuth>,
}

impl VerifiedTickets {
    pub(super) fn new(tickets: Arc<dyn ProducesTickets>, client_auth: Arc<ClientAuth>) -> Self {
        Self { tickets, client_auth }
    }
}

impl ProducesTickets for VerifiedTickets {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let session = self.tickets.decrypt(ticket)?;
        let chain = Reader(&session).chain()?;
        self.client_auth.admits(&chain).then_some(session)
    }
}

/// Reads a session as the library writes it. It has no name for that form: were it another one day, there
/// would be no certificates to be found, or none that are good, and no session would be resumed.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The certificates that the client showed, its own first; none that it showed are none.
    fn chain(mut self) -> Option<Vec<CertificateDer<'a>>> {
        if self.number(1)? == 1 {
            let _server_name = self.text(1)?;
        }
        let (_version, _cipher_suite) = (self.number(2)?, self.number(2)?);
        let _secret = self.text(1)?;
        let _extended = self.number(1)?;
        let mut chain = Vec::new();
        if self.number(1)? == 1 {
            let mut certificates = Reader(self.text(3)?);
            while !certificates.0.is_empty() {
                chain.push(CertificateDer::from(certificates.text(3)?));
            }
        }
        Some(chain)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        let bytes = self.bytes(bytes)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What has its length before it, as a number of so many bytes.
    fn text(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.bytes(length)
    }
}
