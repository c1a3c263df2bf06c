//! A collector of spans: OTLP over gRPC, with the messages as the protocol defines them.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::authority::TlsServer;
use super::within;

#[derive(Clone, PartialEq, Message)]
struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<WireSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct WireSpan {
    #[prost(bytes, tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes, tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes, tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<SpanStatus>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct SpanStatus {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

#[derive(Clone, PartialEq, Message)]
struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
}

/// A span as it came.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) nanos: u64,
    pub(crate) flags: u32,
    /// 2 is an error.
    pub(crate) status: i32,
    pub(crate) service: String,
    attributes: BTreeMap<String, String>,
}

impl Span {
    /// What stands under a key; numbers as text.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }
}

/// What a collector does with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// Takes all spans but so many.
    Rejects(i64),
    /// Answers with this status of gRPC.
    Fails(u32),
    /// Answers with this status of HTTP.
    Http(u16),
    /// Never answers.
    Hangs,
}

#[derive(Default)]
struct State {
    spans: watch::Sender<Vec<Span>>,
    heads: Mutex<Vec<HeaderMap>>,
    verdicts: Mutex<VecDeque<Verdict>>,
}

/// The server. What it refuses it does not keep.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::with(None).await
    }

    pub(crate) async fn tls(tls: &TlsServer) -> Self {
        Self::with(Some(tls.clone())).await
    }

    async fn with(tls: Option<TlsServer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state }
    }

    /// What is done with the next calls; all others succeed.
    pub(crate) fn will(&self, verdicts: &[Verdict]) {
        self.state.verdicts.lock().expect("no test panicked").extend(verdicts);
    }

    /// Waits until so many spans came, and tells of all that have.
    pub(crate) async fn until_spans(&self, count: usize) -> Vec<Span> {
        let mut spans = self.state.spans.subscribe();
        let came = spans.wait_for(|spans| spans.len() >= count);
        within(async { came.await.expect("the collector is there").clone() }).await
    }

    /// The heads of all calls.
    pub(crate) fn heads(&self) -> Vec<HeaderMap> {
        self.state.heads.lock().expect("no test panicked").clone()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // The proxy may break off.
    let _ = http2.serve_connection(TokioIo::new(stream), service).await;
}

type Answer = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Answer>, hyper::Error> {
    assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let (head, body) = request.into_parts();
    state.heads.lock().expect("no test panicked").push(head.headers);
    let framed = body.collect().await?.to_bytes();
    assert_eq!(framed[0], 0, "it is not compressed");
    let length = u32::from_be_bytes(framed[1..5].try_into().expect("four bytes"));
    assert_eq!(length as usize, framed.len() - 5);
    let export = ExportTraceServiceRequest::decode(&framed[5..]).expect("it is of the protocol");
    let verdict = state.verdicts.lock().expect("no test panicked").pop_front();
    let rejected = match verdict.unwrap_or(Verdict::Rejects(0)) {
        Verdict::Rejects(rejected) => rejected,
        Verdict::Fails(code) => {
            let head = Response::builder().header("grpc-status", code);
            return Ok(head.body(Full::default().boxed()).expect("a response"));
        }
        Verdict::Http(status) => {
            let head = Response::builder().status(status);
            return Ok(head.body(Full::default().boxed()).expect("a response"));
        }
        Verdict::Hangs => std::future::pending().await,
    };
    state.spans.send_modify(|spans| spans.extend(read(export)));
    let partial_success = (rejected > 0).then_some(PartialSuccess { rejected_spans: rejected });
    let message = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).expect("it is short").to_be_bytes());
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    let body = Full::new(Bytes::from(framed));
    let body = body.with_trailers(async move { Some(Ok(trailers)) }).boxed();
    Ok(Response::builder()
        .header("content-type", "application/grpc")
        .body(body)
        .expect("a response"))
}

fn read(export: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in export.resource_spans {
        let resource = texts(of_resource.resource.unwrap_or_default().attributes);
        let service = resource.get("service.name").cloned().unwrap_or_default();
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                state: span.trace_state,
                name: span.name,
                kind: span.kind,
                nanos: span.end_time_unix_nano - span.start_time_unix_nano,
                flags: span.flags,
                status: span.status.unwrap_or_default().code,
                service: service.clone(),
                attributes: texts(span.attributes),
            });
        }
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let count = attributes.len();
    let text = |pair: KeyValue| {
        let value = match pair.value.and_then(|any| any.value) {
            Some(Value::Text(text)) => text,
            Some(Value::Number(number)) => number.to_string(),
            None => panic!("{} has a value of no type that is sent", pair.key),
        };
        (pair.key, value)
    };
    let texts: BTreeMap<_, _> = attributes.into_iter().map(text).collect();
    assert_eq!(texts.len(), count, "no key is there twice");
    texts
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
