//! Services that are asked for authorization: by requests, and by Envoy's `ext_authz`.
//!
//! The messages are written down here once more, from Envoy's definitions: a test must not read what the
//! proxy's own types say.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::upstream::Recorded;

type Body = BoxBody<Bytes, Infallible>;

/// A service that answers questions as a test says.
pub(crate) struct Authorizer {
    pub(crate) address: SocketAddr,
    questions: Arc<Mutex<Vec<Recorded>>>,
    task: JoinHandle<()>,
}

impl Drop for Authorizer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer without a body.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)]) -> Response<Bytes> {
    let response = Response::builder().status(status);
    let response =
        headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(Bytes::new()).expect("a response")
}

impl Authorizer {
    /// Asked by requests over HTTP/1.1.
    pub(crate) async fn http(
        answers: impl Fn(&Recorded) -> Response<Bytes> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::start(false, move |question| answers(question).map(|body| Full::new(body).boxed()))
            .await
    }

    /// Asked by requests over HTTP/2.
    pub(crate) async fn h2c(
        answers: impl Fn(&Recorded) -> Response<Bytes> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::start(true, move |question| answers(question).map(|body| Full::new(body).boxed()))
            .await
    }

    /// Asked by `ext_authz`.
    pub(crate) async fn grpc(
        answers: impl Fn(&HttpRequest) -> CheckResponse + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::start(true, move |question| framed(&answers(&checked(question)).encode_to_vec(), "0"))
            .await
    }

    /// The same, with whatever comes back.
    pub(crate) async fn grpc_answering(message: &'static [u8], status: &'static str) -> Self {
        Self::start(true, move |_| framed(message, status)).await
    }

    async fn start(
        http2: bool,
        answers: impl Fn(&Recorded) -> Response<Body> + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let questions = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&questions);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answers) = (Arc::clone(&log), answers.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (log, answers) = (Arc::clone(&log), answers.clone());
                    async move {
                        let question = recorded(request).await;
                        let answer = answers(&question);
                        log.lock().expect("no test panicked").push(question);
                        Ok::<_, Infallible>(answer)
                    }
                });
                let io = TokioIo::new(stream);
                if http2 {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    tokio::spawn(builder.serve_connection(io, service));
                } else {
                    let builder = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(builder.serve_connection(io, service));
                }
            }
        });
        Self { address, questions, task }
    }

    /// The questions so far.
    pub(crate) fn questions(&self) -> Vec<Recorded> {
        self.questions.lock().expect("no test panicked").clone()
    }

    /// The only one.
    pub(crate) fn only_question(&self) -> Recorded {
        let mut questions = self.questions();
        assert_eq!(questions.len(), 1, "{questions:?}");
        questions.remove(0)
    }
}

async fn recorded(request: Request<Incoming>) -> Recorded {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("the question is whole");
    Recorded {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        version: head.version,
        headers: head.headers,
        trailers: body.trailers().cloned(),
        body: body.to_bytes(),
    }
}

/// The request that an `ext_authz` question is about.
pub(crate) fn checked(question: &Recorded) -> HttpRequest {
    let check = CheckRequest::decode(&question.body[5..]).expect("a question");
    check.attributes.expect("attributes").request.expect("a request").http.expect("of HTTP")
}

/// The peers that an `ext_authz` question names: source and destination.
pub(crate) fn peers(question: &Recorded) -> [(String, u32); 2] {
    let check = CheckRequest::decode(&question.body[5..]).expect("a question");
    let attributes = check.attributes.expect("attributes");
    [attributes.source, attributes.destination].map(|peer| {
        let address = peer.expect("a peer").address.expect("an address");
        let socket = address.socket_address.expect("of a socket");
        (socket.address, socket.port)
    })
}

fn framed(message: &[u8], status: &'static str) -> Response<Body> {
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).expect("it is short").to_be_bytes());
    body.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().expect("a number"));
    let body = Full::new(Bytes::from(body)).with_trailers(async { Some(Ok(trailers)) });
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body.boxed()).expect("a response")
}

/// An answer of `ext_authz` with a status and nothing else.
pub(crate) fn status(code: i32) -> CheckResponse {
    CheckResponse { status: Some(Status { code }), ..CheckResponse::default() }
}

/// Consent that changes fields.
pub(crate) fn allowed(ok: OkResponse) -> CheckResponse {
    CheckResponse { ok: Some(ok), ..status(0) }
}

/// A field of which nothing is said but its name and its value.
pub(crate) fn field(name: &str, value: &str) -> HeaderValueOption {
    let header = Header { key: name.to_owned(), value: value.to_owned() };
    HeaderValueOption { header: Some(header), ..HeaderValueOption::default() }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attributes {
    #[prost(message, optional, tag = "1")]
    pub(crate) source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    pub(crate) destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub(crate) request: Option<AttributesRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Peer {
    #[prost(message, optional, tag = "1")]
    pub(crate) address: Option<Address>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Address {
    #[prost(message, optional, tag = "1")]
    pub(crate) socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SocketAddress {
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    #[prost(uint32, tag = "3")]
    pub(crate) port: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttributesRequest {
    #[prost(message, optional, tag = "2")]
    pub(crate) http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpRequest {
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) headers: std::collections::BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    pub(crate) path: String,
    #[prost(string, tag = "5")]
    pub(crate) host: String,
    #[prost(string, tag = "6")]
    pub(crate) scheme: String,
    #[prost(int64, tag = "9")]
    pub(crate) size: i64,
    #[prost(string, tag = "10")]
    pub(crate) protocol: String,
    #[prost(string, tag = "11")]
    pub(crate) body: String,
    #[prost(bytes = "vec", tag = "12")]
    pub(crate) raw_body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub(crate) denied: Option<DeniedResponse>,
    #[prost(message, optional, tag = "3")]
    pub(crate) ok: Option<OkResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeniedResponse {
    /// With the number of the status as field 1, as `google.rpc.Status` has it.
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<HeaderValueOption>,
    #[prost(string, tag = "3")]
    pub(crate) body: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OkResponse {
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) response_headers_to_add: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "8")]
    pub(crate) query_parameters_to_remove: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    pub(crate) append: Option<Bool>,
    /// 0 appends or adds, 1 adds where there is none, 2 overwrites or adds, 3 overwrites what is there.
    #[prost(int32, tag = "3")]
    pub(crate) append_action: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bool {
    #[prost(bool, tag = "1")]
    pub(crate) value: bool,
}
