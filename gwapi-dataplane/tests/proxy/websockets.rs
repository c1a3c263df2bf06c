//! WebSocket between an implementation of it on either side, with and without TLS: the other end of
//! [`upgrades`](super::upgrades), which looks at bytes.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use gwapi_translate::ir::IrResource;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{accept_hdr_async, client_async};

use super::backend_tls::{asks, inside};
use super::support::authority::Authority;
use super::support::client::tls;
use super::support::*;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Agrees on the protocol `chat`, sends every message back, and tells how the client took its leave.
async fn serve_chat(io: impl Io, ended: mpsc::UnboundedSender<Option<CloseFrame>>) {
    #[expect(clippy::result_large_err, reason = "the signature is that of the library")]
    let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().path(), "/chat");
        assert_eq!(request.headers()["host"], "a.example");
        let asked = request.headers()["sec-websocket-protocol"].clone();
        assert_eq!(asked, "chat");
        response.headers_mut().insert("sec-websocket-protocol", asked);
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(io, choose).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        // The library answers all others.
        if let Message::Close(frame) = message {
            ended.send(frame).expect("somebody waits for it");
        } else if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err()
        {
            return;
        }
    }
    // Inside TLS the end has to be said, or else it is a connection that broke off.
    let _ = socket.get_mut().shutdown().await;
}

/// Talks in messages of every kind, and takes its leave.
async fn talk(io: impl Io, scheme: &str) {
    let request = http::Request::get(format!("{scheme}://a.example/chat"))
        .header("host", "a.example")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "chat")
        .body(())
        .expect("it is a request");
    // The library refuses an answer that does not prove that the key was read.
    let (mut socket, response) = within(client_async(request, io)).await.expect("it is agreed");
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");

    let large: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![0, 255, 13, 10]),
        Message::binary(large),
        Message::text("über"),
    ] {
        within(socket.send(message.clone())).await.expect("it reads");
        let answer = within(socket.next()).await.expect("it is open").expect("it is WebSocket");
        assert!(answer == message, "{} bytes came back as {}", message.len(), answer.len());
    }
    let ping = Bytes::from_static(b"are you there");
    within(socket.send(Message::Ping(ping.clone()))).await.expect("it reads");
    let answer = within(socket.next()).await.expect("it is open").expect("it is WebSocket");
    assert_eq!(answer, Message::Pong(ping));

    let leave = CloseFrame { code: CloseCode::Library(4001), reason: "enough said".into() };
    within(socket.close(Some(leave.clone()))).await.expect("it is open");
    let answer = within(socket.next()).await.expect("the end is said").expect("it is WebSocket");
    assert_eq!(answer, Message::Close(Some(leave)));
    let end = within(socket.next()).await;
    assert!(end.is_none(), "then it is over, and nothing broke off: {end:?}");
}

/// The proxy, between clients and endpoints that have TLS or have it not.
#[tokio::test]
async fn messages_pass_both_ways_over_clear_text_and_over_tls() {
    let certificate = certificate_for(&["a.example"]);
    let authority = Authority::new();
    let server = authority.server_for("app.internal");
    for (tls_of_client, tls_of_endpoint) in
        [(false, false), (true, false), (false, true), (true, true)]
    {
        let (noted, mut ended) = mpsc::unbounded_channel();
        let of_endpoint = server.clone();
        let endpoint = Scripted::start(move |stream, _| {
            let (noted, of_endpoint) = (noted.clone(), of_endpoint.clone());
            async move {
                if !tls_of_endpoint {
                    serve_chat(stream, noted).await;
                } else if let Ok(stream) = of_endpoint.accept(stream).await {
                    serve_chat(stream, noted).await;
                }
            }
        })
        .await;
        let proxy = serve(|port| {
            let mut resources = served(port, endpoint.address, tls_of_client);
            if tls_of_endpoint {
                resources = inside(asks("app.internal", &authority), resources);
            }
            resources.push(certificate.secret("c"));
            resources
        });
        if tls_of_client {
            let stream = tls(proxy.address, "a.example", &[&certificate], &["http/1.1"]).await;
            talk(stream.expect("a handshake"), "wss").await;
        } else {
            let stream = within(TcpStream::connect(proxy.address)).await.expect("it accepts");
            talk(stream, "ws").await;
        }
        let ended = within(ended.recv()).await.flatten().expect("it took its leave");
        assert_eq!((u16::from(ended.code), ended.reason.as_str()), (4001, "enough said"));
    }
}

fn served(port: u16, endpoint: SocketAddr, is_tls: bool) -> Vec<IrResource> {
    let mut resources = simple(port, endpoint);
    if is_tls {
        resources.retain(|it| !matches!(it, IrResource::Listener(_)));
        resources.push(ir_listener(https_listener("web", port, None, &["c"])));
    }
    resources
}
