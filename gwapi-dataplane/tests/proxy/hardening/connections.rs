//! Connections that go away.

use crate::support::*;

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
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
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut stream = within(tokio::net::TcpStream::connect(proxy.address)).await.expect("open");
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    within(tokio::io::AsyncWriteExt::write_all(&mut stream, request)).await.expect("it reads");
    assert_eq!(within(events.recv()).await, Some("request"));
    drop(stream);
    assert_eq!(within(events.recv()).await, Some("end"));
}
