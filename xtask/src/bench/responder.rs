//! The backend of every benchmark: answers each request head with a fixed response, and names
//! itself, so that a proxy's answer can be told from one that the proxy made up.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::{collections::HashMap, io};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The header by which a backend names itself.
pub(crate) const NAME_HEADER: &str = "x-backend";

/// The longest body that a path may ask for.
const MAX_BODY: usize = 1 << 20;

/// The longest request head; proxies send far less.
const MAX_HEAD: usize = 64 * 1024;

/// Serves until it is killed. Prints its address as the only line on standard output.
pub(crate) fn run(name: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    let name: Rc<str> = name.into();
    local.block_on(&runtime, async move {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen")?;
        let address = listener.local_addr().context("cannot tell the address")?;
        println!("{address}");
        io::stdout().flush().context("nobody reads the address")?;
        loop {
            let (stream, _) = listener.accept().await.context("cannot accept")?;
            let name = Rc::clone(&name);
            tokio::task::spawn_local(async move {
                // A connection that breaks is seen by the proxy, and so by the load generator.
                let _ = serve(stream, &name).await;
            });
        }
    })
}

/// The body that a path asks for: every proxy has to bring these bytes and no others.
pub(crate) fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + ((at + at / 26) % 26) as u8).collect()
}

async fn serve(mut stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
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
        if ends || received.len() > MAX_HEAD {
            return Ok(());
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
