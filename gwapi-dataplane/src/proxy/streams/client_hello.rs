//! The server name of a ClientHello, which is looked at and not taken away.

use std::io;

use rustls::server::Acceptor;

use crate::proxy::io::ClientIo;

/// Reads ahead until the ClientHello is whole, over as many records and segments as it comes in, and
/// gives its server name in lower case. What was read is still there to be read: it may have to go on as
/// it came (TS-5).
///
/// # Errors
///
/// What is no ClientHello, is longer than one may be, or ends before it is whole. Nothing is answered.
pub(super) async fn server_name(io: &mut ClientIo) -> io::Result<Option<String>> {
    let mut acceptor = Acceptor::default();
    loop {
        let mut added = io.read_ahead().await?;
        if added.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !added.is_empty() {
            acceptor.read_tls(&mut added)?;
            let accepted = acceptor.accept();
            // The alert that comes with the error is not sent (TS-4).
            if let Some(accepted) = accepted.map_err(|(error, _)| io::Error::other(error))? {
                return Ok(accepted.client_hello().server_name().map(str::to_ascii_lowercase));
            }
        }
    }
}
