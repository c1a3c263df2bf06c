//! Connections that go away.

use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::frames::{ACK, PING, RST_STREAM, RawHttp2, frame, get};
use crate::support::*;

/// An endpoint that answers nothing, and tells of each request and of each connection that ends.
async fn telling() -> (Scripted, UnboundedReceiver<&'static str>) {
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            upstream::read_head(&mut stream).await;
            let _ = sender.send("request");
            // Nothing is answered: what ends this is the end of the connection.
            upstream::read_head(&mut stream).await;
            let _ = sender.send("end");
        }
    })
    .await;
    (endpoint, events)
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let (endpoint, mut events) = telling().await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.expect("open");
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    within(tokio::io::AsyncWriteExt::write_all(&mut stream, request)).await.expect("it reads");
    assert_eq!(within(events.recv()).await, Some("request"));
    drop(stream);
    assert_eq!(within(events.recv()).await, Some("end"));
}

/// HTTP/1 has no other way to say that an answer is not wanted any more.
#[tokio::test]
async fn a_stream_that_its_client_resets_ends_the_connection_of_its_request_to_an_endpoint() {
    let (endpoint, mut events) = telling().await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    for stream in [1, 3] {
        client.send(&get(stream)).await;
        assert_eq!(within(events.recv()).await, Some("request"));
        // CANCEL
        client.send(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
        assert_eq!(within(events.recv()).await, Some("end"));
    }
    client.send(&frame(PING, 0, 0, &[7; 8])).await;
    client.find(|seen| seen.kind == PING && seen.flags == ACK).await.expect("it goes on");
}
