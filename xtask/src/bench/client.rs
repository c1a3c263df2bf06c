//! A client that is quicker than a program that has to be started: for times of a few milliseconds.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

use super::answer::header;
use super::responder::NAME_HEADER;

/// What a proxy answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The name of the backend, where one answered.
    pub(crate) backend: Option<String>,
}

impl Answer {
    /// Whether this backend answered, and well.
    pub(crate) fn is_by(&self, backend: &str) -> bool {
        self.status == 200 && self.backend.as_deref() == Some(backend)
    }
}

/// Asks once over HTTP/1.1 on a connection of its own.
pub(crate) fn ask(port: u16, host: &str, path: &str) -> anyhow::Result<Answer> {
    let limit = Duration::from_secs(10);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, limit).context("cannot connect")?;
    stream.set_read_timeout(Some(limit)).context("cannot limit the time to read")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("cannot send the request")?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).context("cannot read the answer")?;
    parse(&String::from_utf8_lossy(&received))
}

fn parse(response: &str) -> anyhow::Result<Answer> {
    let (head, _) = response.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Ok(Answer {
        status: status.context("the answer has no status")?,
        backend: header(head, NAME_HEADER).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_by_a_backend_when_it_says_so_and_is_well() {
        let answer = parse("HTTP/1.1 200 OK\r\nx-backend: beta\r\n\r\nbody").unwrap();
        assert!(answer.is_by("beta"));
        assert!(!answer.is_by("alpha"));
        let answer = parse("HTTP/1.1 503 No\r\nx-backend: beta\r\n\r\n").unwrap();
        assert!(!answer.is_by("beta"));
    }

    #[test]
    fn an_answer_that_breaks_off_is_none() {
        assert!(parse("HTTP/1.1 200 OK\r\nx-backend: beta\r\n").is_err());
    }
}
