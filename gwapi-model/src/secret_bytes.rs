//! Bytes that never print.

use std::fmt;

/// Secret data. `Debug` shows the length alone (invariant: secrets never print); there is no
/// `Serialize`, so that no dump can hold it by accident.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Wraps secret data.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The data itself: for parsers of keys, never for messages.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes, redacted>", self.0.len())
    }
}
