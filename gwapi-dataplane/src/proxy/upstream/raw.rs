//! A connection to an endpoint that carries somebody else's bytes.

use std::net::SocketAddr;
use std::rc::Rc;

use super::connect::{self, ConnectError};
use super::pool::{CheckoutError, Endpoint, Lease};
use super::send::{MAX_ENDPOINTS, note_tls_failure};
use super::slots::Slot;
use super::stream::{ReadHalf, WriteHalf};
use crate::proxy::core_state::CoreBackend;
use crate::proxy::worker::Worker;

/// Whether TLS of ours is put around the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum EndpointTls {
    /// Where the backend asks for it.
    AsAsked,
    /// Whatever the backend asks for: the bytes are TLS already (TS-5).
    Never,
}

/// A connection to an endpoint, which counts as one of its connections until dropped. Dropped before it has
/// ended it is reset: what the endpoint got is not all there is.
pub(in crate::proxy) struct RawStream {
    read: ReadHalf,
    /// None while it is being dropped.
    write: Option<WriteHalf>,
    has_ended: bool,
    _slot: Slot,
    lease: Lease,
}

impl RawStream {
    pub(in crate::proxy) fn halves(&mut self) -> (&mut ReadHalf, &mut WriteHalf) {
        let write = self.write.as_mut().expect("it is there until dropped");
        (&mut self.read, write)
    }

    /// Where it leads; none where that is known by name.
    pub(in crate::proxy) fn address(&self) -> Option<SocketAddr> {
        self.lease.endpoint().address()
    }

    /// Both ways have ended as they should.
    pub(in crate::proxy) fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        if let Some(write) = self.write.take_if(|_| !self.has_ended) {
            write.abort();
        }
    }
}

/// Why there is no connection to any endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Unconnected {
    Connect,
    Tls,
    Overflow,
}

/// Connects to an endpoint of a backend; where one cannot be connected to or does not prove who it is,
/// to another one.
pub(in crate::proxy) async fn connect_stream(
    backend: &CoreBackend,
    tls: EndpointTls,
    worker: &Worker,
) -> Result<RawStream, Unconnected> {
    let limits = &worker.limits;
    let mut tried: Vec<Rc<Endpoint>> = Vec::new();
    let mut last = Unconnected::Connect;
    while tried.len() < MAX_ENDPOINTS {
        let Some(endpoint) = backend.endpoint(&tried).map(Rc::clone) else { break };
        let lease = Lease::new(&endpoint, limits);
        let slot = match endpoint.place_for_stream(limits).await {
            Ok(slot) => slot,
            Err(CheckoutError::Overflow) => return Err(Unconnected::Overflow),
            Err(CheckoutError::Connect(_)) => return Err(Unconnected::Connect),
        };
        let client = endpoint.tls().filter(|_| tls == EndpointTls::AsAsked);
        match connect::connect(&endpoint.place, client, limits).await {
            Ok((read, write)) => {
                let write = Some(write);
                return Ok(RawStream { read, write, has_ended: false, _slot: slot, lease });
            }
            Err(ConnectError::Tls(failure)) => {
                note_tls_failure(worker, backend, &endpoint, &failure);
                last = Unconnected::Tls;
            }
            Err(ConnectError::Io(error)) => {
                tracing::debug!(endpoint = %endpoint.place, %error, "no connection");
                last = Unconnected::Connect;
            }
        }
        tried.push(endpoint);
    }
    Err(last)
}
