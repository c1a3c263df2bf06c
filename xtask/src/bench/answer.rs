//! What a proxy answers, asserted before it is measured: a benchmark of wrong answers says nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::grpc;
use super::responder::NAME_HEADER;
use super::site::{Protocol, Site};

/// Asks once by curl and checks the status, the protocol, who answered, and each byte of the body.
pub(crate) fn assert(site: &Site, length: usize, folder: &Path) -> anyhow::Result<()> {
    let (headers, content) = (folder.join("answer.head"), folder.join("answer.body"));
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "10", "--noproxy", "*"]);
    command.args(["--write-out", "%{http_code} HTTP/%{http_version}"]);
    command.arg("--dump-header").arg(&headers).arg("--output").arg(&content);
    command.arg("--cacert").arg(&site.certificate.chain);
    command.arg("--connect-to").arg(format!("::127.0.0.1:{}", site.port));
    command.arg(match site.protocol {
        Protocol::Http1 | Protocol::Http1Tls | Protocol::Passthrough | Protocol::Tcp => "--http1.1",
        Protocol::Http2 | Protocol::Grpc => "--http2-prior-knowledge",
        Protocol::Http2Tls => "--http2",
    });
    if site.protocol == Protocol::Grpc {
        let content_type = format!("Content-Type: {}", grpc::CONTENT_TYPE);
        command.args(["--header", &content_type, "--header", "TE: trailers"]);
        command.arg("--data-binary").arg(format!("@{}", site.message.display()));
    }
    let path = site.path(length);
    command.arg(format!("{}://{}{path}", site.protocol.scheme(), site.host()));

    let output = command.output().context("cannot start curl")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "no answer for {path}: {}", complaint.trim());
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = format!("200 HTTP/{}", site.protocol.version());
    ensure!(said == expected, "{path} was answered by {said}, not by {expected}");
    let head = fs::read_to_string(&headers).context("cannot read the answer's headers")?;
    let who = header(&head, NAME_HEADER);
    let name = site.backend().name;
    ensure!(who == Some(name), "{path} was answered by the backend {who:?}, not by {name}");
    let content = fs::read(&content).context("cannot read the answer's body")?;
    ensure!(
        content == site.protocol.answer(length),
        "{path} was answered with {} bytes that are not the {length} bytes of the backend",
        content.len()
    );
    if site.protocol == Protocol::Grpc {
        let status = trailer(&head, "grpc-status");
        ensure!(status == Some("0"), "{path} was answered with the status {status:?} of gRPC");
    }
    Ok(())
}

/// The value of a trailer, which stands behind the blank line that ends the headers.
fn trailer<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.split_once("\r\n\r\n").and_then(|(_, trailers)| header(trailers, name))
}

/// The value of a header in a response head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_in_any_case() {
        let head = "HTTP/1.1 200 OK\r\nX-Backend: alpha\r\n\r\n";
        assert_eq!(header(head, NAME_HEADER), Some("alpha"));
        assert_eq!(header(head, "x-other"), None);
    }

    #[test]
    fn a_trailer_stands_behind_the_headers() {
        let answer = "HTTP/2 200 \r\nx-backend: alpha\r\n\r\ngrpc-status: 0\r\n";
        assert_eq!(trailer(answer, "grpc-status"), Some("0"));
        assert_eq!(trailer("HTTP/2 200 \r\ngrpc-status: 0\r\n\r\n", "grpc-status"), None);
    }
}
