//! Requests to a Gateway.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::PATIENCE;

/// Between two tries of what is not there yet.
const PAUSE: Duration = Duration::from_millis(2);

/// The longest that a try may take; an answer takes a few milliseconds.
const TRY: Duration = Duration::from_millis(100);

/// A connection that is kept.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    address: String,
}

impl Connection {
    /// Connects to port 80 of an address.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let ip = address.parse().with_context(|| format!("{address} is no IP address"))?;
        let stream = TcpStream::connect(SocketAddr::new(ip, 80)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its end shows in the next request.
        tokio::spawn(connection);
        Ok(Self { sender, address: address.to_owned() })
    }

    /// Connects as soon as somebody listens: a node learns of a ready proxy a moment after the Gateway's status
    /// tells of it.
    pub(crate) async fn first(address: &str) -> anyhow::Result<Self> {
        let start = Instant::now();
        loop {
            match Self::open(address).await {
                Err(_) if start.elapsed() <= PATIENCE => sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
    }

    /// Asks again and again until a pod of the backend answers.
    pub(crate) async fn until(&mut self, host: &str, backend: &str) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let (status, body) = self.get(host).await?;
            let pod = body.split("\"pod\": \"").nth(1).unwrap_or_default();
            if status == StatusCode::OK && pod.starts_with(&format!("{backend}-")) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("{host} is not answered by {backend}, but with {status}: {body}");
            }
            if status != StatusCode::OK {
                sleep(PAUSE).await;
            }
        }
    }

    async fn get(&mut self, host: &str) -> anyhow::Result<(StatusCode, String)> {
        if self.sender.ready().await.is_err() {
            *self = Self::open(&self.address).await?;
        }
        let request = Request::get("/").header("host", host).body(Empty::new())?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Waits for the first answer with 200, a new connection for each try.
///
/// What is sent to an address before the node knows where it leads is lost, and sent again after a second: a try
/// is given up long before that, as it would measure that second.
pub(crate) async fn first_answer(address: &str, host: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let answer = async { Connection::open(address).await?.get(host).await };
        match timeout(TRY, answer).await {
            Ok(Ok((StatusCode::OK, _))) => return Ok(()),
            other if start.elapsed() > PATIENCE => bail!("{address} does not answer: {other:?}"),
            _ => sleep(PAUSE).await,
        }
    }
}
