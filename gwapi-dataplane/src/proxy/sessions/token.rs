//! What a client brings along: sealed, so that it shows nothing and cannot be made up (SP-1).
//!
//! ```text
//!  version   key   nonce   │ backend   since   family   address   port │ ...   tag
//!     1       4      12    │    8        8        1      4 or 16    2  │        16   bytes
//!                          └────────────── enciphered ─────────────────┘
//! ```
//!
//! A token belongs to a scope, and opens in no other. It has an entry for each backend of the scope that
//! the client has been to, so that it finds its endpoint again at each of them (SP-4).

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gwapi_translate::ir::SessionKeys;

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;

/// Entries of a token; a rule has as many backends.
pub(super) const MAX_ENTRIES: usize = 16;

/// Characters of a token: more is none of ours.
const MAX_TOKEN: usize = 1024;

/// Where a client has its session at one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The backend, by a hash of its key: who finds another one of the same hash finds no endpoint there.
    pub(super) backend: u64,
    /// When the session began, in seconds since 1970.
    pub(super) since: u64,
    pub(super) endpoint: SocketAddr,
}

/// Seals tokens, and opens them again: what a Gateway's keys are made into.
pub(in crate::proxy) struct Sealer {
    /// The first one seals. There is one at least.
    keys: Vec<Key>,
}

struct Key {
    /// By which a token says what it was sealed with.
    id: [u8; KEY_ID_BYTES],
    /// One that forgives a nonce that comes twice: random ones may, over months of traffic.
    key: RandomizedNonceKey,
}

impl Key {
    fn new(bytes: &[u8]) -> Option<Self> {
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, bytes).ok()?;
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&digest::digest(&digest::SHA256, bytes).as_ref()[..KEY_ID_BYTES]);
        Some(Self { id, key })
    }
}

impl Sealer {
    /// One with the keys of the configuration; none where they are no keys.
    pub(in crate::proxy) fn new(keys: &SessionKeys) -> Option<Self> {
        let keys: Option<Vec<Key>> = keys.keys.iter().map(|key| Key::new(key.expose())).collect();
        keys.filter(|keys| !keys.is_empty()).map(|keys| Self { keys })
    }

    /// One with a key that nobody else has.
    pub(in crate::proxy) fn random() -> Self {
        let bytes: [u8; SessionKeys::KEY_BYTES] = rand::random();
        Self { keys: vec![Key::new(&bytes).expect("it is as long as a key is")] }
    }

    /// Seals entries, of which there are at most [`MAX_ENTRIES`].
    pub(super) fn seal(&self, scope: &str, entries: &[Entry]) -> Option<String> {
        let Key { id, key } = self.keys.first()?;
        let mut text = entries.iter().fold(Vec::new(), |mut text, entry| {
            entry.write(&mut text);
            text
        });
        let nonce = key.seal_in_place_append_tag(Aad::from(scope.as_bytes()), &mut text).ok()?;
        let mut token = vec![VERSION];
        token.extend_from_slice(id);
        token.extend_from_slice(nonce.as_ref());
        token.append(&mut text);
        Some(URL_SAFE_NO_PAD.encode(token))
    }

    /// What a token says; none where it is not ours, or of another scope.
    pub(super) fn open(&self, scope: &str, token: &[u8]) -> Option<Vec<Entry>> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (version, rest) = token.split_first()?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        if *version != VERSION {
            return None;
        }
        let Key { key, .. } = self.keys.iter().find(|key| key.id == *id)?;
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = key.open_in_place(nonce, Aad::from(scope.as_bytes()), &mut text).ok()?;
        Entry::read_all(text)
    }
}

impl Entry {
    fn write(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(&self.backend.to_be_bytes());
        text.extend_from_slice(&self.since.to_be_bytes());
        match self.endpoint.ip() {
            IpAddr::V4(address) => {
                text.push(4);
                text.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                text.push(6);
                text.extend_from_slice(&address.octets());
            }
        }
        text.extend_from_slice(&self.endpoint.port().to_be_bytes());
    }

    fn read_all(mut text: &[u8]) -> Option<Vec<Self>> {
        let mut entries = Vec::new();
        while !text.is_empty() {
            let (backend, rest) = text.split_first_chunk()?;
            let (since, rest) = rest.split_first_chunk()?;
            let (address, rest) = match rest.split_first()? {
                (4, rest) => rest.split_first_chunk::<4>().map(|it| (IpAddr::from(*it.0), it.1))?,
                (6, rest) => {
                    rest.split_first_chunk::<16>().map(|it| (IpAddr::from(*it.0), it.1))?
                }
                _ => return None,
            };
            let (port, rest) = rest.split_first_chunk()?;
            entries.push(Self {
                backend: u64::from_be_bytes(*backend),
                since: u64::from_be_bytes(*since),
                endpoint: SocketAddr::new(address, u16::from_be_bytes(*port)),
            });
            text = rest;
        }
        Some(entries)
    }
}

#[cfg(test)]
mod tests {
    use gwapi_model::SecretBytes;
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> SecretBytes {
        SecretBytes::new(vec![byte; SessionKeys::KEY_BYTES])
    }

    fn sealer(keys: &[u8]) -> Sealer {
        let keys = keys.iter().map(|byte| key(*byte)).collect();
        Sealer::new(&SessionKeys { keys }).expect("keys")
    }

    fn entry(endpoint: &str) -> Entry {
        Entry { backend: 7, since: 1_700_000_000, endpoint: endpoint.parse().expect("an address") }
    }

    #[test]
    fn a_token_opens_where_its_key_is_and_in_its_scope_alone() {
        let entries = [entry("10.0.0.1:80"), entry("[2001:db8::1]:8080")];
        let token = sealer(&[1]).seal("a", &entries).expect("sealed");
        let open = |keys: &[u8], scope| sealer(keys).open(scope, token.as_bytes());
        assert_eq!(open(&[1], "a").as_deref(), Some(&entries[..]));
        assert_eq!(open(&[2, 1], "a").as_deref(), Some(&entries[..]), "after a rotation");
        assert_eq!(open(&[2], "a"), None);
        assert_eq!(open(&[1], "b"), None);
        assert_eq!(Sealer::random().open("a", token.as_bytes()), None);
    }

    #[test]
    fn the_fullest_token_is_not_too_long() {
        let entries = [entry("[2001:db8::1]:8080"); MAX_ENTRIES];
        let token = sealer(&[1]).seal("a", &entries).expect("sealed");
        assert!(token.len() <= MAX_TOKEN, "{}", token.len());
        assert_eq!(sealer(&[1]).open("a", token.as_bytes()).map(|it| it.len()), Some(MAX_ENTRIES));
    }

    #[test]
    fn a_token_shows_no_address_and_no_two_are_the_same() {
        let seal = || sealer(&[1]).seal("a", &[entry("10.0.0.1:80")]).expect("sealed");
        let plain = [10, 0, 0, 1, 0, 80];
        let token = URL_SAFE_NO_PAD.decode(seal()).expect("base64");
        assert!(!token.windows(plain.len()).any(|window| window == plain));
        assert_ne!(seal(), seal());
    }

    #[test]
    fn what_is_no_key_makes_no_sealer() {
        let short = SecretBytes::new(vec![1; 5]);
        for keys in [vec![], vec![short.clone()], vec![key(1), short]] {
            assert!(Sealer::new(&SessionKeys { keys }).is_none());
        }
    }

    proptest! {
        #[test]
        fn what_a_client_changes_does_not_open(position in any::<usize>(), bit in 0..8_u32) {
            let sealer = sealer(&[1]);
            let token = sealer.seal("a", &[entry("10.0.0.1:80")]).expect("sealed");
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64");
            let position = position % bytes.len();
            bytes[position] ^= 1 << bit;
            let changed = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(sealer.open("a", changed.as_bytes()), None);
        }

        #[test]
        fn any_text_is_read_without_harm(text in any::<Vec<u8>>()) {
            prop_assert_eq!(sealer(&[1]).open("a", &text), None);
        }
    }
}
