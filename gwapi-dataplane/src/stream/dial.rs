//! A connection to the controller, made from files as they are now.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gwapi_translate::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, METHOD};
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataValue, errors::InvalidMetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::StreamSettings;

/// Time for TCP, and then for TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the controller to let this proxy in. It may have to read a whole cluster first.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(90);

/// Time until a silent controller is asked whether it is there, and for its answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a response. They are kept to 1 MiB, but for a resource that is larger by itself.
const MAX_RESPONSE: usize = 64 * 1024 * 1024;

/// Bytes that may be under way: a response or two.
const WINDOW: u32 = 2 * 1024 * 1024;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot read {}", .file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the token in {} has characters that no token has", .file.display())]
    Token {
        file: PathBuf,
        #[source]
        source: InvalidMetadataValue,
    },
    #[error("the address of the controller, or what is to be trusted there, cannot be used")]
    Settings(#[source] tonic::transport::Error),
    #[error("cannot connect to the controller")]
    Connect(#[source] tonic::transport::Error),
    #[error("the controller did not let this proxy in within {} s", ADMISSION_TIMEOUT.as_secs())]
    Admission,
    #[error("the controller says {:?}: {}", .0.code(), .0.message())]
    Refused(Status),
}

/// Opens a stream that says `requests`.
pub(super) async fn dial(
    settings: &StreamSettings,
    requests: impl Stream<Item = DeltaDiscoveryRequest> + Send + 'static,
) -> Result<Streaming<DeltaDiscoveryResponse>, DialError> {
    let ca = read(&settings.ca).await?;
    let token = read(&settings.token).await?;
    let token = String::from_utf8_lossy(&token);
    let mut authorization: AsciiMetadataValue =
        format!("Bearer {}", token.trim()).parse().map_err(|source| {
            let file = settings.token.clone();
            DialError::Token { file, source }
        })?;
    authorization.set_sensitive(true);
    let gateway = settings.gateway.to_string().parse::<AsciiMetadataValue>();
    let gateway = gateway.expect("names of objects are DNS names");

    let channel = connect(settings, ca).await?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE);
    grpc.ready().await.map_err(DialError::Connect)?;
    let mut request = Request::new(requests);
    request.metadata_mut().insert("authorization", authorization);
    request.metadata_mut().insert("gateway", gateway);
    let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
    let opened = grpc.streaming(request, PathAndQuery::from_static(METHOD), codec);
    let opened = tokio::time::timeout(ADMISSION_TIMEOUT, opened).await;
    let response = opened.map_err(|_| DialError::Admission)?.map_err(DialError::Refused)?;
    Ok(response.into_inner())
}

async fn connect(settings: &StreamSettings, ca: Vec<u8>) -> Result<Channel, DialError> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .domain_name(&settings.server_name)
        .timeout(CONNECT_TIMEOUT);
    let endpoint = Endpoint::from_shared(settings.server.clone())
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(DialError::Settings)?;
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect()
        .await
        .map_err(DialError::Connect)
}

async fn read(file: &Path) -> Result<Vec<u8>, DialError> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    let read = read.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    read.map_err(|source| DialError::Read { file: file.to_owned(), source })
}
