//! Bodies of requests while their responses are on the way.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use gwapi_translate::ir::BackendProtocol;
use http::StatusCode;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use super::support::client::Http2Client;
use super::support::clock::{pass, with_clock};
use super::support::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, block, frame, next,
};
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

/// The body of an upload.
const UPLOAD: usize = 64 << 20;

/// What may be taken of one whose endpoint reads nothing of it: what two connections hold in the kernel, and
/// little more.
const AHEAD: usize = 32 << 20;

/// A piece of one.
const PIECE: &[u8] = &[b'x'; 64 * 1024];

/// Keeps the kernel from taking much for one that does not read.
fn hold_little(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_recv_buffer_size(64 * 1024).expect("a socket");
}

/// Reads a request's head and, once it is told to, all of the body; then it answers.
async fn reads_when_told(gate: watch::Receiver<bool>) -> Scripted {
    Scripted::start(move |mut stream, _| {
        let mut gate = gate.clone();
        async move {
            hold_little(&stream);
            read_head(&mut stream).await;
            let _ = gate.wait_for(|open| *open).await;
            let mut body = (&mut stream).take(UPLOAD as u64);
            tokio::io::copy(&mut body, &mut tokio::io::sink()).await.expect("it is whole");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await
}

/// The same over HTTP/2. Its windows have room for all of the body: only the connection holds it up.
async fn reads_when_told_over_http2(gate: watch::Receiver<bool>) -> Scripted {
    let most = 0x7fff_0000_u32.to_be_bytes();
    let hello =
        [frame(SETTINGS, 0, 0, &[&[0, 4], &most[..]].concat()), frame(WINDOW_UPDATE, 0, 0, &most)]
            .concat();
    Scripted::start(move |mut stream, _| {
        let (mut gate, hello) = (gate.clone(), hello.clone());
        async move {
            hold_little(&stream);
            stream.read_exact(&mut [0; PREFACE.len()]).await.expect("a preface");
            stream.write_all(&hello).await.expect("it reads");
            let head = until(&mut stream, HEADERS).await;
            let _ = gate.wait_for(|open| *open).await;
            let mut left = UPLOAD;
            while left > 0 {
                left -= until(&mut stream, DATA).await.payload.len();
            }
            let answer = block(&[(":status", "200")]);
            let answer = frame(HEADERS, END_HEADERS | END_STREAM, head.stream, &answer);
            stream.write_all(&answer).await.expect("it reads");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await
}

/// The next frame of a kind.
async fn until(stream: &mut (impl AsyncRead + Unpin), kind: u8) -> frames::Seen {
    loop {
        let seen = next(stream).await.expect("it goes on");
        if seen.kind == kind {
            return seen;
        }
    }
}

/// The body of an upload, which counts what was taken of it.
struct Counted(Arc<AtomicUsize>);

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        self.0.fetch_add(PIECE.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UPLOAD
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((UPLOAD - self.0.load(Ordering::Relaxed)) as u64)
    }
}

/// Uploads over HTTP/1, counts what is taken, and waits for the answer.
async fn upload(address: std::net::SocketAddr, taken: Arc<AtomicUsize>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_send_buffer_size(64 * 1024).expect("a socket");
    let mut stream = socket.connect(address).await.expect("it accepts");
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {UPLOAD}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    while taken.load(Ordering::Relaxed) < UPLOAD {
        stream.write_all(PIECE).await.expect("it reads");
        taken.fetch_add(PIECE.len(), Ordering::Relaxed);
    }
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

/// The same over HTTP/2.
async fn upload_over_http2(address: std::net::SocketAddr, taken: Arc<AtomicUsize>) {
    let stream = TcpStream::connect(address).await.expect("it accepts");
    // Each window ends within a segment, which would wait for an acknowledgement.
    stream.set_nodelay(true).expect("a socket");
    let mut client = Http2Client::over(stream).await;
    let request = http::Request::post("http://a/").body(Counted(taken)).expect("a request");
    assert_eq!(client.send(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_endpoint_that_does_not_read_bounds_what_is_taken_of_an_upload() {
    type Upload = Pin<Box<dyn Future<Output = ()> + Send>>;
    let silent = Scripted::silent().await;
    for endpoint_http2 in [false, true] {
        for client_http2 in [false, true] {
            let name = format!("HTTP/2 here {client_http2}, there {endpoint_http2}");
            let (go, gate) = watch::channel(false);
            let (endpoint, protocol) = match endpoint_http2 {
                false => (reads_when_told(gate).await, BackendProtocol::Http1),
                true => (reads_when_told_over_http2(gate).await, BackendProtocol::H2c),
            };
            let proxy = serve(|port| {
                let mut resources = simple(port, endpoint.address);
                resources.extend(backend_speaking(protocol, "app", &[endpoint.address]));
                with_clock(resources, &silent)
            });
            let taken = Arc::new(AtomicUsize::new(0));
            let uploading: Upload = match client_http2 {
                false => Box::pin(upload(proxy.address, Arc::clone(&taken))),
                true => Box::pin(upload_over_http2(proxy.address, Arc::clone(&taken))),
            };
            let uploading = tokio::spawn(uploading);
            // Until nothing is taken any more.
            let (mut before, mut same) = (0, 0);
            while same < 5 {
                pass(&proxy).await;
                let now = taken.load(Ordering::Relaxed);
                same = if now == before && now > 0 { same + 1 } else { 0 };
                before = now;
            }
            assert!(before <= AHEAD, "{name}: {before} bytes");
            go.send_replace(true);
            within(uploading).await.expect(&name);
            assert_eq!(taken.load(Ordering::Relaxed), UPLOAD, "{name}");
        }
    }
}
