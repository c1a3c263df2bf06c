//! Clients that take their requests back, and the connection to an endpoint that they share with others.

use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_translate::ir::BackendProtocol;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::client::Http2Client;
use crate::support::frames::*;
use crate::support::*;

/// What an endpoint has seen.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    /// Requests that were given up, before their response or within it.
    given_up: AtomicUsize,
}

/// Counts what it stands for as given up when it is dropped.
struct GivenUp(Arc<Seen>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Ordering::Relaxed);
    }
}

/// The body of a response: some pieces, then an end or none.
struct Pieces {
    left: usize,
    endless: Option<GivenUp>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return if self.endless.is_some() { Poll::Pending } else { Poll::Ready(None) };
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))))
    }
}

/// Answers GET with four pieces, POST with pieces and no end, and anything else never.
async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
) -> Result<Response<Pieces>, Infallible> {
    let endless = match request.method().as_str() {
        "GET" => None,
        "POST" => Some(GivenUp(seen)),
        _ => {
            let _given_up = GivenUp(seen);
            pending().await
        }
    };
    Ok(Response::new(Pieces { left: 4, endless }))
}

async fn endpoint() -> (SocketAddr, Arc<Seen>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::clone(&shared);
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let serving = builder
                .max_concurrent_streams(None)
                .max_pending_accept_reset_streams(Some(100_000))
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { drop(serving.await) });
        }
    });
    (address, seen, task)
}

/// Sends this many requests and takes them back: half of them before there is a response, half of them
/// within it.
async fn cancel(proxy: &Proxy, requests: usize) {
    const AT_A_TIME: usize = 80;
    let mut client = RawHttp2::connect(proxy.address).await;
    // The window of the connection is none of what this is about.
    client.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes())).await;
    let whole = END_HEADERS | END_STREAM;
    for first in (0..requests).step_by(AT_A_TIME) {
        let streams = (first..requests.min(first + AT_A_TIME)).map(|it| it as u32 * 2 + 1);
        let mut begun = 0;
        let mut bytes = Vec::new();
        for (number, stream) in streams.clone().enumerate() {
            // Those without a response come first: with the responses of the others, they are there.
            let method = if number % 2 == 0 { "PUT" } else { "POST" };
            begun += number % 2;
            bytes.extend(frame(HEADERS, whole, stream, &request(method)));
        }
        client.send(&bytes).await;
        for _ in 0..begun {
            client.find(|seen| seen.kind == HEADERS).await.expect("a response begins");
        }
        let cancel = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        client.send(&streams.flat_map(cancel).collect::<Vec<u8>>()).await;
    }
    // What was sent last is read, too, before the connection ends.
    client.send(&frame(PING, 0, 0, &[7; 8])).await;
    client.find(|seen| seen.kind == PING && seen.flags == ACK).await.expect("it is alive");
}

#[tokio::test]
async fn ten_thousand_requests_that_are_taken_back_harm_no_other_on_the_endpoints_connection() {
    const CLIENTS: usize = 25;
    const EACH: usize = 400;
    let (address, seen, task) = endpoint().await;
    let local = IpAddr::from([127, 0, 0, 1]);
    // At one time there is one connection to the endpoint; another one would be in place of one that
    // broke. Without the limit there are more where requests that were taken back are not gone yet.
    let limits = Limits { max_connections_per_endpoint_per_core: 1, ..Limits::default() };
    let proxy = serve_on_cores(1, local, &ProxyBuilder::new().limits(limits), |port| {
        let mut resources = simple(port, address);
        resources.extend(backend_speaking(BackendProtocol::H2c, "app", &[address]));
        resources
    });
    let mut good: Http2Client = Http2Client::connect(proxy.address).await;
    let mut answered = 0;
    let served = async {
        loop {
            let request = Request::get("http://a/").body(Default::default()).expect("a request");
            let reply = good.send(request).await;
            assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 4096));
            answered += 1;
        }
    };
    let cancelled = async {
        for _ in 0..CLIENTS {
            cancel(&proxy, EACH).await;
        }
        within(async {
            while seen.given_up.load(Ordering::Relaxed) < CLIENTS * EACH {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    tokio::select! {
        () = served => unreachable!("it goes on until all are taken back"),
        () = cancelled => {}
    }
    assert!(answered > CLIENTS, "{answered} others are answered meanwhile");
    assert_eq!(proxy.get("a", "/").await.body.len(), 4096);
    assert_eq!(seen.connections.load(Ordering::Relaxed), 1);
    assert_eq!(seen.given_up.load(Ordering::Relaxed), CLIENTS * EACH);
    task.abort();
}
