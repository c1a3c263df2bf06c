//! A client of one call: `TraceService/Export`, over a connection that is kept.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gwapi_translate::ir::Tracing;
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, Version};
use tokio::task::JoinHandle;

use super::otlp::rejected_spans;
use crate::Limits;
use crate::proxy::snapshot::BackendEntry;
use crate::proxy::upstream::{ConnectError, Place, connect};

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Time of a call, its connection apart.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a response, of its head and of its body.
const MAX_RESPONSE: usize = 64 * 1024;
/// Bytes that are sent ahead of what the collector takes.
const MAX_SEND_BUFFER: usize = 1024 * 1024;

/// Why spans did not get there.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error("the collector has no endpoints")]
    NoEndpoints,
    #[error("cannot connect to the collector")]
    Connect(#[source] ConnectError),
    #[error("the connection to the collector broke off")]
    Broken(#[from] h2::Error),
    #[error("the collector did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    #[error("the collector answered with status {0} of HTTP")]
    Http(StatusCode),
    #[error("the collector answered with code {code} of gRPC: {message}")]
    Grpc { code: u32, message: String },
    #[error("the collector's answer cannot be read")]
    Malformed,
}

impl ExportError {
    /// Whether the same may be sent again: it did not arrive, or may work later, by OTLP's table of codes
    /// and gRPC's of statuses.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::NoEndpoints | Self::Connect(_) | Self::Broken(_) | Self::Timeout => true,
            Self::Http(status) => matches!(status.as_u16(), 429 | 502..=504),
            // CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, OUT_OF_RANGE, UNAVAILABLE,
            // DATA_LOSS.
            Self::Grpc { code, .. } => matches!(code, 1 | 4 | 8 | 10 | 11 | 14 | 15),
            Self::Malformed => false,
        }
    }
}

/// Sends spans to the endpoints of a collector.
pub(super) struct Client {
    headers: HeaderMap,
    limits: Limits,
    connection: Option<Connection>,
    /// Endpoints take turns.
    next: usize,
}

/// A connection, and whom it was made for.
struct Connection {
    sender: SendRequest<Bytes>,
    collector: Arc<BackendEntry>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    pub(super) fn new(settings: &Tracing, limits: Limits) -> Self {
        let mut headers = HeaderMap::new();
        for header in &settings.headers {
            let name = HeaderName::try_from(&*header.name);
            // The translator lets nothing else through.
            if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(&header.value)) {
                value.set_sensitive(true);
                headers.append(name, value);
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let agent = concat!("gwapi/", env!("CARGO_PKG_VERSION"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(agent));
        Self { headers, limits, connection: None, next: 0 }
    }

    /// Sends a framed request, and tells how many of its spans were refused.
    pub(super) async fn export(
        &mut self,
        request: Bytes,
        collector: Option<&Arc<BackendEntry>>,
    ) -> Result<u64, ExportError> {
        let collector = collector.ok_or(ExportError::NoEndpoints)?;
        let kept = self.connection.take().filter(|kept| Arc::ptr_eq(&kept.collector, collector));
        let connection = match kept.filter(|kept| !kept.driver.is_finished()) {
            Some(kept) => kept,
            None => self.connect(collector).await?,
        };
        let called = self.call(&connection, request);
        let answered = tokio::time::timeout(CALL_TIMEOUT, called).await;
        let answered = answered.unwrap_or(Err(ExportError::Timeout));
        // Where it may work later, another endpoint may do so now.
        if !matches!(&answered, Err(error) if error.is_temporary()) {
            self.connection = Some(connection);
        }
        answered
    }

    async fn connect(&mut self, collector: &Arc<BackendEntry>) -> Result<Connection, ExportError> {
        let endpoints = collector.endpoints.as_deref().ok_or(ExportError::NoEndpoints)?;
        let addresses = endpoints.addresses.iter().map(|address| Place::Address(*address));
        let named = endpoints.hostnames.iter();
        let named = named.map(|(name, port)| Place::Name(Rc::from(name.as_str()), *port));
        let count = endpoints.addresses.len() + endpoints.hostnames.len();
        let place = addresses.chain(named).nth(self.next % count.max(1));
        let place = place.ok_or(ExportError::NoEndpoints)?;
        self.next = self.next.wrapping_add(1);
        let connected = connect(&place, collector.tls.as_deref(), &self.limits);
        let (read, write) = connected.await.map_err(ExportError::Connect)?;
        let handshake = h2::client::Builder::new()
            .enable_push(false)
            .max_header_list_size(MAX_RESPONSE as u32)
            .initial_window_size(MAX_RESPONSE as u32)
            .initial_connection_window_size(MAX_RESPONSE as u32)
            .max_send_buffer_size(MAX_SEND_BUFFER)
            .handshake(tokio::io::join(read, write));
        let shaken = tokio::time::timeout(CALL_TIMEOUT, handshake).await;
        let (sender, connection) = shaken.map_err(|_| ExportError::Timeout)??;
        let driver = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%place, %error, "connection to a collector ended");
            }
        });
        Ok(Connection { sender, collector: Arc::clone(collector), driver })
    }

    async fn call(&self, connection: &Connection, body: Bytes) -> Result<u64, ExportError> {
        let mut sender = connection.sender.clone().ready().await?;
        let request = self.request(&connection.collector);
        let (response, mut stream) = sender.send_request(request, false)?;
        stream.send_data(body, true)?;
        let (head, mut body) = response.await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(ExportError::Http(head.status));
        }
        // An answer without a message has its status in its head.
        if let Some(code) = grpc_status(&head.headers) {
            return verdict(code, &head.headers, &[]);
        }
        let message = read(&mut body).await?;
        let trailers = body.trailers().await?.ok_or(ExportError::Malformed)?;
        let code = grpc_status(&trailers).ok_or(ExportError::Malformed)?;
        verdict(code, &trailers, &message)
    }

    fn request(&self, collector: &BackendEntry) -> Request<()> {
        let backend = &collector.backend;
        let scheme = if backend.tls.is_some() { "https" } else { "http" };
        let named = backend.key.service_port();
        let authority = match &backend.tls {
            Some(tls) => tls.hostname.to_string(),
            None => named.map_or_else(
                || "collector".to_owned(),
                |(namespace, name, port)| format!("{name}.{namespace}:{port}"),
            ),
        };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(METHOD).build();
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri.unwrap_or_else(|_| Uri::from_static("http://collector"));
        *request.headers_mut() = self.headers.clone();
        request
    }
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, ExportError> {
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        if message.len() + data.len() > MAX_RESPONSE {
            return Err(ExportError::Malformed);
        }
        message.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(message)
}

/// The status of a call; what cannot be read is UNKNOWN.
fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    let value = headers.get("grpc-status")?;
    Some(value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(2))
}

fn verdict(code: u32, headers: &HeaderMap, framed: &[u8]) -> Result<u64, ExportError> {
    if code != 0 {
        let message = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
        let message = &message[..message.len().min(200)];
        let message = String::from_utf8_lossy(message).escape_debug().to_string();
        return Err(ExportError::Grpc { code, message });
    }
    match framed {
        [] => Ok(0),
        // Compressed it is not, for nobody said that it may be.
        [0, _, _, _, _, message @ ..] => rejected_spans(message).ok_or(ExportError::Malformed),
        _ => Err(ExportError::Malformed),
    }
}
