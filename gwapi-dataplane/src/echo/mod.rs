//! An HTTP backend that answers with what it was asked: for demos and tests.
//!
//! It speaks HTTP/1.1, and HTTP/2 by prior knowledge, on one port. The answer is JSON with the
//! field names of the Gateway API conformance suite's echo server (`path`, `host`, `method`,
//! `proto`, `headers`, `namespace`, `ingress`, `service`, `pod`), or plain text that starts with
//! `Hostname: POD` where the client accepts `text/plain` rather than JSON.
//!
//! As the suite's server does, it waits for the query parameter `delay` (`?delay=250ms`), and
//! sends the headers that the request header `X-Echo-Set-Header: name:value,name:value` asks for.
//!
//! ```no_run
//! # use gwapi_dataplane::echo::{Echo, EchoIdentity};
//! let identity = EchoIdentity {
//!     namespace: "default".to_owned(),
//!     service: "backend".to_owned(),
//!     pod: "backend-0".to_owned(),
//! };
//! let echo = Echo::start(identity, "127.0.0.1:0".parse().unwrap())?;
//! println!("curl http://{}/", echo.address());
//! # Ok::<(), std::io::Error>(())
//! ```

mod answer;
mod server;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::watch;

/// Time that dropping an [`Echo`] waits for its port to be closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Who an echo backend says it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EchoIdentity {
    /// Namespace.
    pub namespace: String,
    /// Service.
    pub service: String,
    /// Pod.
    pub pod: String,
}

/// A running echo backend.
///
/// Dropping it closes its port; requests in flight are still answered. All backends of a process
/// share one thread, which ends with the last of them.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    stop: Option<watch::Sender<()>>,
    closed: mpsc::Receiver<()>,
}

impl Echo {
    /// Starts one on `address`; port 0 picks one.
    ///
    /// # Errors
    ///
    /// Where the address cannot be bound, or the thread cannot be started.
    pub fn start(identity: EchoIdentity, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(());
        let (closing, closed) = mpsc::channel();
        server::spawn(identity, listener, stopped, closing)?;
        Ok(Self { address, stop: Some(stop), closed })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Nothing is ever sent: the other end goes away together with the port.
        let _ = self.closed.recv_timeout(CLOSE_TIMEOUT);
    }
}
