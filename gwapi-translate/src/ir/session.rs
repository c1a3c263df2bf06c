//! Sessions: what binds a client to an endpoint, and the keys that seal it.

use std::time::Duration;

use gwapi_model::SecretBytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::GatewayId;

/// Binds a client to an endpoint of each backend that its requests are drawn for, by a token that it
/// brings along (SP-1). It never changes which backend that is (SP-4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPersistence {
    /// What sessions belong to; a token of another scope is none.
    pub scope: String,
    /// How the token travels.
    pub carrier: SessionCarrier,
    /// Time after which a session is over, at least a second; none means that it is never (SP-2).
    pub absolute_timeout: Option<Duration>,
}

/// How the token of a session travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionCarrier {
    /// In a cookie.
    Cookie {
        /// A token of RFC 9110.
        name: String,
        /// The attribute `Path` (SP-3): visible ASCII without `;`, and begins with a slash.
        path: String,
        /// Whether the client keeps it for as long as the session has time, and not for as long as it
        /// runs itself (SP-2).
        permanent: bool,
    },
    /// In a header of this name, lower-case, of the response and then of requests.
    Header(String),
}

impl SessionCarrier {
    /// What two carriers have in common that get into each other's way (SP-5).
    pub fn clashes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cookie { name, .. }, Self::Cookie { name: other, .. }) => name == other,
            (Self::Header(name), Self::Header(other)) => name == other,
            _ => false,
        }
    }
}

/// Keys that the tokens of sessions are sealed with. All proxies of a Gateway have the same, so that each
/// can read what another one has sealed.
///
/// They serialise without what they hold, so that a dump can never show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionKeys {
    /// The first one seals, and all of them open.
    #[serde(skip)]
    pub keys: Vec<SecretBytes>,
}

impl SessionKeys {
    /// Bytes of a key.
    pub const KEY_BYTES: usize = 32;

    /// Reads a key of hexadecimal digits; none where it is no key.
    pub fn key_of_digits(digits: &[u8]) -> Option<SecretBytes> {
        if digits.len() != 2 * Self::KEY_BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>().map(SecretBytes::new)
    }

    /// The keys of one Gateway: whoever has them learns nothing of those of another one.
    #[must_use]
    pub fn of_gateway(&self, gateway: &GatewayId) -> Self {
        let info = format!("gwapi session keys of Gateway {gateway}");
        let derive = |key: &SecretBytes| SecretBytes::new(hmac(key.expose(), info.as_bytes()));
        Self { keys: self.keys.iter().map(derive).collect() }
    }
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, 4.3 and 4.7.
    #[test]
    fn the_hmac_is_that_of_the_standard() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|it| format!("{it:02x}")).collect::<String>();
        assert_eq!(
            hex(hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(hmac(&[0xaa; 131], long)),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn each_gateway_has_keys_of_its_own() {
        let all = SessionKeys { keys: vec![SecretBytes::new(vec![7; SessionKeys::KEY_BYTES])] };
        let of = |name: &str| all.of_gateway(&GatewayId::new("default", name));
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert_ne!(of("a"), all);
        assert_eq!(of("a").keys[0].expose().len(), SessionKeys::KEY_BYTES);
    }
}
