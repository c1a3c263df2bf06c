//! Messages of gRPC as HTTP/2 carries them: a unary call whose method says how long its answer is.

use super::responder::body;

/// The service that is called, as in paths.
pub(crate) const SERVICE: &str = "bench.Bench";

/// The media type of requests and responses.
pub(crate) const CONTENT_TYPE: &str = "application/grpc";

/// Methods are named by what they answer with: `Bytes1024`.
const METHOD: &str = "Bytes";

/// The bytes of each request's message.
const REQUEST_LENGTH: usize = 128;

/// The method whose answer is a message of so many bytes.
pub(crate) fn method(length: usize) -> String {
    format!("{METHOD}{length}")
}

/// What the method of a path answers with.
pub(crate) fn length_of_answer(path: &str) -> Option<usize> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let length = method.strip_prefix(METHOD).filter(|_| service == SERVICE)?;
    length.parse().ok()
}

/// The body of each request.
pub(crate) fn request() -> Vec<u8> {
    framed(&body(REQUEST_LENGTH))
}

/// A message with its prefix: that it is not compressed, and its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("messages of a benchmark are short");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_says_the_length_of_its_answer() {
        let length = |path: &str| length_of_answer(path);
        assert_eq!(length(&format!("/{SERVICE}/{}", method(1024))), Some(1024));
        assert_eq!(length("/bench.Other/Bytes1024"), None);
        assert_eq!(length("/bench.Bench/1024"), None);
    }

    #[test]
    fn a_message_stands_behind_its_length() {
        assert_eq!(framed(b"abc"), b"\0\0\0\0\x03abc");
    }
}
