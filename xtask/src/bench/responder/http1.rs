//! HTTP/1.1: each request head is answered, and its last path element says with how many bytes.

use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{MAX_BODY, NAME_HEADER, body};

/// The longest request head; proxies send far less.
const MAX_HEAD: usize = 64 * 1024;

/// Answers until the client ends the connection or asks for its end.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    name: &str,
) -> io::Result<()> {
    let mut responses = Responses { name, made: HashMap::new() };
    let mut received = Vec::with_capacity(4096);
    let mut sent = Vec::new();
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        sent.clear();
        let mut read = 0;
        let mut ends = false;
        while let Some(length) = head_length(&received[read..]) {
            let head = &received[read..read + length];
            sent.extend_from_slice(responses.to(head));
            ends |= asks_to_close(head);
            read += length;
        }
        received.drain(..read);
        stream.write_all(&sent).await?;
        stream.flush().await?;
        if ends || received.len() > MAX_HEAD {
            return stream.shutdown().await;
        }
    }
}

/// Responses that were made already, by the length of their bodies.
struct Responses<'a> {
    name: &'a str,
    made: HashMap<usize, Vec<u8>>,
}

impl Responses<'_> {
    fn to(&mut self, head: &[u8]) -> &[u8] {
        match body_length(head) {
            Some(length) => {
                let name = self.name;
                self.made.entry(length).or_insert_with(|| response(name, length))
            }
            None => b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        }
    }
}

fn response(name: &str, length: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\n{NAME_HEADER}: {name}\r\ncontent-type: application/octet-stream\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.into_bytes(), body(length)].concat()
}

/// The length of the first request head, where it is there as a whole. Requests have no body.
fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The last element of the path, as a number.
fn body_length(head: &[u8]) -> Option<usize> {
    let path = head.split(|&byte| byte == b' ').nth(1)?;
    let last = path.rsplit(|&byte| byte == b'/').next()?;
    let length: usize = std::str::from_utf8(last).ok()?.parse().ok()?;
    (length <= MAX_BODY).then_some(length)
}

fn asks_to_close(head: &[u8]) -> bool {
    head.split(|&byte| byte == b'\n')
        .any(|line| line.trim_ascii().eq_ignore_ascii_case(b"connection: close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_element_of_the_path_is_the_length_of_the_body() {
        let mut responses = Responses { name: "alpha", made: HashMap::new() };
        let answer = responses.to(b"GET /api/3 HTTP/1.1\r\nhost: a\r\n\r\n").to_vec();
        let expected = "HTTP/1.1 200 OK\r\nx-backend: alpha\r\n\
                        content-type: application/octet-stream\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }

    #[test]
    fn a_path_without_a_length_is_a_bad_request() {
        let mut responses = Responses { name: "alpha", made: HashMap::new() };
        assert!(responses.to(b"GET /api HTTP/1.1\r\n\r\n").starts_with(b"HTTP/1.1 400 "));
        assert!(responses.to(b"GET /9999999 HTTP/1.1\r\n\r\n").starts_with(b"HTTP/1.1 400 "));
    }

    #[test]
    fn a_head_counts_when_it_is_there_as_a_whole() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n\r\nGET"), Some(18));
    }

    #[test]
    fn a_connection_is_closed_where_the_proxy_asks_for_it() {
        assert!(asks_to_close(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert!(!asks_to_close(b"GET /close HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"));
    }
}
