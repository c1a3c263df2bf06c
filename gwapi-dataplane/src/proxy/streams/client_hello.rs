//! The server name of a ClientHello, which is looked at and not taken away.
//!
//! Nothing else of it is judged. What goes through is between client and endpoint, who may well speak
//! something that this proxy does not; where TLS ends here the handshake looks at all of it anyway.

use std::io;

use rustls::pki_types::ServerName;

use crate::proxy::io::ClientIo;

/// Bytes of the longest ClientHello, and of all records that it may come in.
const LONGEST: usize = 64 * 1024;
const LONGEST_RECORDS: usize = 2 * LONGEST;

/// Bytes of the head of a record, and of the most that may be in one (RFC 8446 5.1).
const RECORD_HEAD: usize = 5;
const LONGEST_RECORD: usize = 16 * 1024;

/// Bytes of the head of a handshake message.
const MESSAGE_HEAD: usize = 4;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: usize = 0;
const HOST_NAME: usize = 0;

/// Reads ahead until the ClientHello is whole, over as many records and segments as it comes in, and
/// gives its server name in lower case. What was read is still there to be read: it may have to go on as
/// it came (TS-5).
///
/// # Errors
///
/// What is no ClientHello, is longer than one may be, or ends before it is whole. Nothing is answered.
pub(super) async fn server_name(io: &mut ClientIo) -> io::Result<Option<String>> {
    let mut hello = ClientHello::default();
    loop {
        let added = io.read_ahead().await?;
        if added.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(name) = hello.take(added)? {
            return Ok(name);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ClientHello that can be read")]
struct Malformed;

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// A ClientHello that is on its way: the message, out of its records.
#[derive(Debug, Default)]
struct ClientHello {
    taken: usize,
    /// The head of the next record, as far as it has come.
    head: Vec<u8>,
    /// Bytes of the present record that are to come.
    rest: usize,
    message: Vec<u8>,
}

impl ClientHello {
    /// Takes in what has come; once the message is whole, its server name.
    fn take(&mut self, mut bytes: &[u8]) -> Result<Option<Option<String>>, Malformed> {
        self.taken += bytes.len();
        while !bytes.is_empty() {
            let wanted = if self.rest == 0 { RECORD_HEAD - self.head.len() } else { self.rest };
            let (part, after) = bytes.split_at(wanted.min(bytes.len()));
            bytes = after;
            if self.rest == 0 {
                self.head.extend(part);
                if let [kind, version, _, high, low] = *self.head {
                    self.rest = usize::from(u16::from_be_bytes([high, low]));
                    self.head.clear();
                    // Of handshakes there are no empty ones.
                    let has_length = (1..=LONGEST_RECORD).contains(&self.rest);
                    if kind != HANDSHAKE || version != 3 || !has_length {
                        return Err(Malformed);
                    }
                }
                continue;
            }
            self.rest -= part.len();
            self.message.extend(part);
            if let Some(body) = self.body()? {
                return server_name_of(body).map(Some);
            }
        }
        if self.taken > LONGEST_RECORDS { Err(Malformed) } else { Ok(None) }
    }

    /// What is in the message, once it is whole.
    fn body(&self) -> Result<Option<&[u8]>, Malformed> {
        let Some((&[kind, ref length @ ..], body)) =
            self.message.split_first_chunk::<MESSAGE_HEAD>()
        else {
            return Ok(None);
        };
        let length = number(length);
        if kind != CLIENT_HELLO || length > LONGEST {
            return Err(Malformed);
        }
        Ok(body.get(..length))
    }
}

/// The server name of a ClientHello (RFC 8446 4.1.2, RFC 6066 3); none where it has none, or an address,
/// which is no name. There is one at most: of two it is not known which one the endpoint goes by.
fn server_name_of(body: &[u8]) -> Result<Option<String>, Malformed> {
    let mut hello = Reader(body);
    let _version_and_random = hello.take(2 + 32)?;
    let _session = hello.vector(1)?;
    let _cipher_suites = hello.vector(2)?;
    let _compressions = hello.vector(1)?;
    if hello.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = hello.vector(2)?;
    let mut names = None;
    while !extensions.0.is_empty() {
        let (kind, contents) = (extensions.number(2)?, extensions.vector(2)?);
        if kind == SERVER_NAME && names.replace(contents).is_some() {
            return Err(Malformed);
        }
    }
    let Some(mut names) = names else { return Ok(None) };
    let mut names = names.vector(2)?;
    let (kind, name) = (names.number(1)?, names.vector(2)?);
    if kind != HOST_NAME || !names.0.is_empty() {
        return Err(Malformed);
    }
    match ServerName::try_from(name.0).map_err(|_| Malformed)? {
        ServerName::DnsName(name) => Ok(Some(name.as_ref().to_ascii_lowercase())),
        _ => Ok(None),
    }
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, length: usize) -> Result<usize, Malformed> {
        self.take(length).map(number)
    }

    /// What follows its own length, which has so many bytes.
    fn vector(&mut self, of_length: usize) -> Result<Self, Malformed> {
        let length = self.number(of_length)?;
        self.take(length).map(Reader)
    }
}

/// A number of a few bytes, the highest first.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello with these extensions, as one record.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let length = |length: usize| u16::try_from(length).expect("it is short").to_be_bytes();
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(b"\x00\x00\x02\xc0\x2f\x01\x00");
        body.extend(length(extensions.len()));
        body.extend(extensions);
        let mut record = vec![HANDSHAKE, 3, 1];
        record.extend(length(MESSAGE_HEAD + body.len()));
        record.extend([CLIENT_HELLO, 0]);
        record.extend(length(body.len()));
        record.extend(body);
        record
    }

    fn read(bytes: &[u8]) -> Result<Option<Option<String>>, Malformed> {
        ClientHello::default().take(bytes)
    }

    #[test]
    fn a_server_name_is_a_name_and_there_is_one() {
        let named = |extensions: &[u8]| read(&hello(extensions));
        let name = |name: &str| Ok(Some(Some(name.to_owned())));
        assert_eq!(named(b""), Ok(Some(None)));
        assert_eq!(named(b"\x00\x05\x00\x00"), Ok(Some(None)), "another extension");
        assert_eq!(named(b"\x00\x00\x00\x08\x00\x06\x00\x00\x03A.b"), name("a.b"));
        for broken in [
            &b"\x00\x00\x00\x00"[..],
            b"\x00\x00\x00\x02\x00\x00",
            b"\x00\x00\x00\x08\x00\x06\x01\x00\x03a.b",
            b"\x00\x00\x00\x08\x00\x06\x00\x00\x03a..",
            b"\x00\x00\x00\x08\x00\x06\x00\x00\x03a\x00b",
            b"\x00\x00\x00\x08\x00\x06\x00\x00\x03.ab",
            b"\x00\x00\x00\x08\x00\x06\x00\x00\x04a.b",
            b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x03a.b\x00\x00\x03a.b",
            b"\x00\x00\x00\x08\x00\x06\x00\x00\x03a.b\x00\x00\x00\x08\x00\x06\x00\x00\x03a.b",
        ] {
            assert_eq!(named(broken), Err(Malformed), "{broken:?}");
        }
        assert_eq!(named(b"\x00\x00\x00\x0c\x00\x0a\x00\x00\x071.2.3.4"), Ok(Some(None)));
    }

    #[test]
    fn records_that_say_nothing_do_not_pile_up() {
        assert_eq!(read(b"\x16\x03\x01\x00\x00"), Err(Malformed), "an empty one");
        assert_eq!(read(b"\x16\x03\x01\x40\x01"), Err(Malformed), "one that is too long");
        assert_eq!(read(b"\x16\x03\x01\x00\x04\x01\x01\x00\x01"), Err(Malformed), "too long");
        let mut tiny = b"\x16\x03\x01\x00\x04\x01\x00\xff\xff".to_vec();
        let mut hello = ClientHello::default();
        let mut taken = 0;
        while hello.take(&tiny).is_ok() {
            taken += tiny.len();
            tiny = b"\x16\x03\x01\x00\x01\x00".to_vec();
        }
        assert!((LONGEST_RECORDS - 5..=LONGEST_RECORDS).contains(&taken), "{taken}");
    }

    proptest! {
        #[test]
        fn how_it_is_cut_makes_no_difference(cuts in prop::collection::vec(1..60usize, 1..60)) {
            let whole = hello(b"\x00\x00\x00\x08\x00\x06\x00\x00\x03a.b");
            let (mut hello, mut rest, mut name) = (ClientHello::default(), &whole[..], None);
            for cut in cuts.iter().cycle() {
                prop_assert_eq!(&name, &None);
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                name = hello.take(part).expect("it is well-formed");
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(name, Some(Some("a.b".to_owned())));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            extensions in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = read(&bytes);
            bytes.splice(0..0, hello(&extensions));
            let _ = read(&bytes);
        }
    }
}
