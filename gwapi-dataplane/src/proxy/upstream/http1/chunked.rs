//! Bodies in chunks (RFC 9112 7.1), read without a copy.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::{head, take_front};

/// Bytes that chunk extensions of one body may take. They mean nothing to us and are dropped.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// A body that is not what HTTP allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What a body goes on with.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Data(Bytes),
    /// The end; after it nothing of this body comes.
    End(Option<HeaderMap>),
}

/// Where the reader is in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the digits, up to the end of the line.
    Extension {
        size: u64,
    },
    /// The line feed after a size is missing.
    SizeEnd {
        size: u64,
    },
    /// So many bytes of a chunk are to come.
    Data {
        rest: u64,
    },
    /// The line break after a chunk is missing, or the second half of it.
    DataEnd,
    DataLineFeed,
    Trailers,
    Ended,
}

/// Reads a body in chunks, however its bytes are cut.
#[derive(Debug)]
pub(super) struct ChunkedReader {
    state: State,
    extensions: usize,
    max_trailer_bytes: usize,
    /// How far the trailers were searched for their end.
    searched: head::Searched,
}

impl ChunkedReader {
    pub(super) fn new(max_trailer_bytes: usize) -> Self {
        let state = State::Size { size: 0, digits: 0 };
        Self { state, extensions: 0, max_trailer_bytes, searched: head::Searched::default() }
    }

    /// Takes the next piece out of `input`; `None` where more is needed for it.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Malformed> {
        loop {
            match self.state {
                State::Data { rest } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let length = usize::try_from(rest).map_or(input.len(), |r| r.min(input.len()));
                    let rest = rest - length as u64;
                    self.state = if rest == 0 { State::DataEnd } else { State::Data { rest } };
                    return Ok(Some(Piece::Data(take_front(input, length))));
                }
                State::Trailers => return self.trailers(input),
                State::Ended => return Ok(Some(Piece::End(None))),
                _ => {
                    let Some(byte) = input.first().copied() else { return Ok(None) };
                    input.advance(1);
                    self.state = self.step(byte)?;
                }
            }
        }
    }

    /// Follows one byte outside of data.
    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                // Sixteen digits are a number of 64 bits; zeros in front count too.
                if digits == 16 {
                    return Err(Malformed);
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                State::Size { size: (size << 4) | digit, digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Malformed),
            (State::Size { size, .. }, b'\r') => State::SizeEnd { size },
            (State::Size { size, .. }, b';' | b' ' | b'\t') => State::Extension { size },
            (State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { .. }, b'\n' | 0) => return Err(Malformed),
            (State::Extension { size }, _) => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(Malformed);
                }
                State::Extension { size }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailers,
            (State::SizeEnd { size }, b'\n') => State::Data { rest: size },
            (State::DataEnd, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size { size: 0, digits: 0 },
            _ => return Err(Malformed),
        })
    }

    fn trailers(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Malformed> {
        let trailers = match head::trailers(input, &mut self.searched, self.max_trailer_bytes) {
            Ok(Some(trailers)) => trailers,
            Ok(None) => return Ok(None),
            Err(head::Malformed) => return Err(Malformed),
        };
        self.state = State::Ended;
        Ok(Some(Piece::End((!trailers.is_empty()).then_some(trailers))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Content, trailers, whether the body ended, and what came after it.
    type Read = (Vec<u8>, Option<HeaderMap>, bool, Vec<u8>);

    /// Reads a body that comes in these pieces.
    fn read(pieces: &[&[u8]]) -> Result<Read, Malformed> {
        let mut reader = ChunkedReader::new(1024);
        let (mut input, mut content) = (BytesMut::new(), Vec::new());
        for (position, piece) in pieces.iter().enumerate() {
            input.extend_from_slice(piece);
            loop {
                match reader.next(&mut input)? {
                    Some(Piece::Data(data)) => content.extend_from_slice(&data),
                    Some(Piece::End(trailers)) => {
                        let rest = pieces[position + 1..].concat();
                        let rest = [&*input, &*rest].concat();
                        return Ok((content, trailers, true, rest));
                    }
                    None => break,
                }
            }
        }
        Ok((content, None, false, input.to_vec()))
    }

    fn whole(text: &[u8]) -> Result<Read, Malformed> {
        read(&[text])
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        let (content, trailers, ended, rest) =
            whole(b"3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\n\r\nHTTP").expect("it is well formed");
        assert_eq!((&*content, ended, &*rest), (&b"abc0123456789"[..], true, &b"HTTP"[..]));
        assert_eq!(trailers, None);
    }

    #[test]
    fn trailers_are_read() {
        let (_, trailers, ended, _) =
            whole(b"1\r\na\r\n0\r\nx-sum: 42\r\n\r\n").expect("it is well formed");
        assert!(ended);
        assert_eq!(trailers.expect("there are some")["x-sum"], "42");
    }

    #[test]
    fn what_is_odd_is_malformed() {
        let long = format!("1;{}\r\na\r\n", "x".repeat(MAX_EXTENSIONS + 1));
        let trailers = format!("0\r\nx: {}\r\n\r\n", "x".repeat(2000));
        for text in [
            "0x1\r\na\r\n",
            "+1\r\na\r\n",
            "-1\r\na\r\n",
            "\r\na\r\n",
            ";a\r\n",
            " 1\r\na\r\n",
            "g\r\n",
            "1\na\r\n",
            "1\r\na\n",
            "1\r\nab\r\n",
            "1\r\na\rb",
            "1;a\nb\r\na\r\n",
            "10000000000000000\r\n",
            "00000000000000001\r\na",
            "0\r\nbad name: x\r\n\r\n",
            "0\r\nx : y\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            &long,
            &trailers,
        ] {
            assert_eq!(whole(text.as_bytes()), Err(Malformed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_body_reads_the_same_however_it_is_cut(
            chunks in vec(vec(any::<u8>(), 1..40), 0..6),
            cuts in vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend(format!("{:X}\r\n", chunk.len()).bytes());
                text.extend(chunk);
                text.extend(b"\r\n");
            }
            text.extend(b"0\r\nx-a: b\r\n\r\nrest");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let (content, trailers, ended, rest) = read(&pieces).expect("it is well formed");
            prop_assert_eq!(content, chunks.concat());
            prop_assert!(ended);
            prop_assert_eq!(rest, b"rest");
            prop_assert_eq!(&trailers.expect("there is one")["x-a"], "b");
        }

        #[test]
        fn any_bytes_are_read_or_refused_the_same_way_however_they_are_cut(
            text in vec(prop::sample::select(b"0123af;\r\n x:".to_vec()), 0..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(text.len() + 1);
            let (a, b) = text.split_at(cut);
            prop_assert_eq!(read(&[a, b]), whole(&text));
        }
    }
}
