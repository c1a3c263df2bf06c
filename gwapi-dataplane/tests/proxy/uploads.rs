//! Bodies of requests while their responses are on the way.

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::upstream::read_head;
use super::support::*;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// An endpoint that answers each chunk of a request with a chunk, once it has seen all of it.
async fn chunk_by_chunk() -> Scripted {
    Scripted::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head).await;
        while let Ok(chunk) = chunk(&mut stream).await {
            let _ = stream.write_all(&chunk).await;
        }
    })
    .await
}

/// Reads a chunk, with the line breaks that it ends with.
async fn chunk(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut chunk = Vec::new();
    while !chunk.ends_with(b"\r\n") {
        chunk.push(stream.read_u8().await?);
    }
    let size = std::str::from_utf8(&chunk).expect("it is text").trim_end();
    let size = usize::from_str_radix(size, 16).expect("it is a size");
    let data = chunk.len();
    chunk.resize(data + size + 2, 0);
    stream.read_exact(&mut chunk[data..]).await?;
    Ok(chunk)
}

/// Sends the beginning of a request and a chunk of it, and waits for the answer to that.
async fn ask(proxy: &Proxy, size: usize) -> TcpStream {
    let mut stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
    let piece = [format!("{size:x}\r\n").as_bytes(), &vec![b'x'; size], b"\r\n"].concat();
    within(stream.write_all(&[HEAD, &piece].concat())).await.expect("it reads");
    assert!(within(read_head(&mut stream)).await.starts_with("HTTP/1.1 200 "));
    let mut answered = 0;
    while answered < size {
        let chunk = within(chunk(&mut stream)).await.expect("the answer to the chunk");
        answered += chunk.iter().filter(|byte| **byte == b'x').count();
    }
    stream
}

/// RFC 9112 7.1: a chunk is there when its last line break is.
#[tokio::test]
async fn a_chunk_that_came_whole_goes_on_whole() {
    let endpoint = chunk_by_chunk().await;
    let proxy = serve(|port| simple(port, endpoint.address));
    for size in [5, 20_000, 200_000] {
        drop(ask(&proxy, size).await);
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_within_its_response_is_its_clients_doing() {
    let endpoint = chunk_by_chunk().await;
    for (rest, reason) in [(&b"zz\r\n"[..], "client_error"), (b"", "client_gone")] {
        let proxy = serve_with_metrics(|port| simple(port, endpoint.address));
        let mut stream = ask(&proxy, 5).await;
        within(stream.write_all(rest)).await.expect("it reads");
        within(stream.shutdown()).await.expect("it is open");
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
        drop(stream);
        let labels = r#"gateway="default/web",listener="web",route="default/app""#;
        let all =
            format!("gwapi_http_requests_total{{{labels},code=\"{}\"}} 1", StatusCode::OK.as_u16());
        proxy.until_metric(&all).await;
        let metrics = proxy.metrics().await;
        let incomplete =
            metrics.lines().filter(|it| it.starts_with("gwapi_http_requests_incomplete"));
        let incomplete: Vec<_> = incomplete.collect();
        let expected = format!("reason=\"{reason}\"}} 1");
        assert!(
            incomplete.len() == 1 && incomplete[0].ends_with(&expected),
            "{rest:?}: {incomplete:?}"
        );
    }
}
