//! gRPC without TLS: each unary call is answered with a message and with trailers.

use std::collections::HashMap;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{MAX_BODY, NAME_HEADER, body};
use crate::bench::grpc;

/// Streams of a connection at a time: more than the load generator has in all.
const STREAMS: u32 = 1024;

/// `INVALID_ARGUMENT`: the request did not arrive as it was sent.
const INVALID_ARGUMENT: HeaderValue = HeaderValue::from_static("3");
/// `UNIMPLEMENTED`: there is no such method.
const UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");
const OK: HeaderValue = HeaderValue::from_static("0");

/// Answers calls until the client ends the connection. Each is a task of the `LocalSet` that this runs
/// in.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    name: &str,
) -> anyhow::Result<()> {
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(STREAMS)
        .handshake::<_, Bytes>(stream)
        .await?;
    let name = HeaderValue::from_str(name)?;
    let expected = Bytes::from(grpc::request());
    // Messages that were made already, by their lengths.
    let mut made: HashMap<usize, Bytes> = HashMap::new();
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        let length = grpc::length_of_answer(request.uri().path());
        let message = length.filter(|&length| length <= MAX_BODY).map(|length| {
            made.entry(length).or_insert_with(|| grpc::framed(&body(length)).into()).clone()
        });
        let (name, expected) = (name.clone(), expected.clone());
        tokio::task::spawn_local(async move {
            // A stream that is reset is seen by the proxy, and so by the load generator.
            let _ = answer(request, respond, name, &expected, message).await;
        });
    }
    Ok(())
}

/// Answers a call whose request is as it should be with the message, and any other with a status.
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    name: HeaderValue,
    expected: &Bytes,
    message: Option<Bytes>,
) -> Result<(), h2::Error> {
    let is_expected = is_body(request.into_body(), expected).await?;
    let (status, message) = match message {
        Some(message) if is_expected => (OK, message),
        Some(_) => (INVALID_ARGUMENT, Bytes::new()),
        None => (UNIMPLEMENTED, Bytes::new()),
    };
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(NAME_HEADER, name);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    let mut stream = respond.send_response(response, false)?;
    if !message.is_empty() {
        stream.send_data(message, false)?;
    }
    stream.send_trailers(HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        status,
    )]))
}

/// Reads a body to its end, and tells whether it is this one.
async fn is_body(mut body: RecvStream, expected: &[u8]) -> Result<bool, h2::Error> {
    let mut rest = Some(expected);
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        rest = rest.and_then(|rest| rest.strip_prefix(&*chunk));
    }
    Ok(rest.is_some_and(<[u8]>::is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call is answered with: the backend's name, the message, and the trailer `grpc-status`.
    fn call(path: &str, message: Vec<u8>) -> (String, Vec<u8>, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            tokio::task::spawn_local(async move { serve(theirs, "alpha").await });
            let (mut client, connection) = h2::client::handshake(ours).await.unwrap();
            tokio::task::spawn_local(connection);
            let uri = format!("http://bench.example{path}");
            let request = Request::post(uri).body(()).unwrap();
            let (response, mut body) = client.send_request(request, false).unwrap();
            body.send_data(message.into(), true).unwrap();
            let response = response.await.unwrap();
            let name = response.headers()[NAME_HEADER].to_str().unwrap().to_owned();
            let mut body = response.into_body();
            let mut received = Vec::new();
            while let Some(chunk) = body.data().await {
                received.extend_from_slice(&chunk.unwrap());
            }
            let trailers = body.trailers().await.unwrap().unwrap();
            (name, received, trailers["grpc-status"].to_str().unwrap().to_owned())
        })
    }

    #[test]
    fn a_call_is_answered_with_a_message_of_the_length_in_its_method() {
        let answer = call("/bench.Bench/Bytes3", grpc::request());
        assert_eq!(answer, ("alpha".to_owned(), b"\0\0\0\0\x03abc".to_vec(), "0".to_owned()));
    }

    #[test]
    fn a_call_that_lost_a_byte_or_has_no_such_method_is_answered_with_a_status() {
        let mut short = grpc::request();
        short.pop();
        assert_eq!(call("/bench.Bench/Bytes3", short).2, "3");
        assert_eq!(call("/bench.Bench/Other", grpc::request()).2, "12");
    }
}
