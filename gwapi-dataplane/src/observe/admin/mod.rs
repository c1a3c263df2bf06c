//! The admin server: health, metrics and the configuration, on a thread of its own.
//!
//! It reads and never changes anything, so it asks for no credentials; bind it to loopback, or to
//! an address that only operators reach.

mod dump;
mod listen;
mod pages;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;

pub(crate) use dump::Served;
use listen::listen;
use pages::Pages;

use super::Telemetry;
use crate::ConfigPage;

/// Connections at one time. One more takes the place of the oldest that has not asked yet; where all
/// have, it waits.
const MAX_CONNECTIONS: usize = 32;

/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a connection, which takes one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after an accept that failed, say for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running admin server; dropping it stops it.
#[derive(Debug)]
pub(crate) struct AdminServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Binds `address`, port 0 picking one and `::` both families, and serves there. `served` says what is served at the
    /// moment of the call; it may block.
    pub(crate) fn start(
        address: SocketAddr,
        telemetry: Arc<Telemetry>,
        config_page: ConfigPage,
        served: impl Fn() -> Served + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let pages = Arc::new(Pages::new(telemetry, config_page, Box::new(served)));
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    result = serve(listener, pages) => if let Err(error) = result {
                        tracing::error!(%error, "the admin server stopped");
                    }
                }
            });
            // A page that is being made may wait for a lock that the dropping thread holds.
            runtime.shutdown_background();
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, pages: Arc<Pages>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut silent = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        silent.retain(Silent::is_silent);
        if places.available_permits() == 0
            && let Some(oldest) = silent.pop_front()
        {
            oldest.task.abort();
        }
        let place = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
        let asked = Arc::new(AtomicBool::new(false));
        let served = connection(stream, pages.clone(), asked.clone());
        let task = tokio::spawn(async move {
            // A client that breaks off or is too slow is its own problem.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
            drop(place);
        });
        silent.push_back(Silent { asked, task: task.abort_handle() });
    }
}

/// A connection that had not sent the head of a request when last looked at.
struct Silent {
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Silent {
    fn is_silent(&self) -> bool {
        !self.asked.load(Ordering::Relaxed) && !self.task.is_finished()
    }
}

async fn connection(stream: TcpStream, pages: Arc<Pages>, asked: Arc<AtomicBool>) -> Option<()> {
    let local = stream.local_addr().ok()?;
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        let pages = pages.clone();
        async move { Ok::<_, std::convert::Infallible>(pages.answer(&request, local).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok()
}

#[cfg(test)]
mod tests;
