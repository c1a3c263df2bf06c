//! Connections of one core to endpoints.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use gwapi_translate::ir::BackendProtocol;
use hyper::client::conn::{http1, http2};

use super::connect::{self, Place};
use super::exchange::Exchange;
use crate::Limits;
use crate::proxy::body::RequestBody;
use crate::proxy::snapshot::ConfigMap;

/// All endpoints that a core knows of.
#[derive(Default)]
pub(in crate::proxy) struct Pool {
    endpoints: RefCell<ConfigMap<(Place, bool), Rc<Endpoint>>>,
}

impl Pool {
    /// The endpoint at a place; backends that name the same one share its connections.
    pub(in crate::proxy) fn endpoint(
        &self,
        place: Place,
        protocol: BackendProtocol,
    ) -> Rc<Endpoint> {
        let h2c = protocol == BackendProtocol::H2c;
        let mut endpoints = self.endpoints.borrow_mut();
        let endpoint = endpoints.entry((place.clone(), h2c)).or_insert_with(|| {
            Rc::new(Endpoint {
                place,
                in_flight: Cell::new(0),
                idle: RefCell::default(),
                multiplexed: tokio::sync::Mutex::default(),
                last_used: Cell::new(Instant::now()),
            })
        });
        Rc::clone(endpoint)
    }

    /// Closes connections that nobody used for `idle_timeout`, and forgets endpoints that no
    /// backend names any more.
    pub(in crate::proxy) fn sweep(&self, now: Instant, idle_timeout: Duration) {
        self.endpoints.borrow_mut().retain(|_, endpoint| {
            endpoint.sweep(now, idle_timeout);
            Rc::strong_count(endpoint) > 1 || endpoint.has_connections()
        });
    }
}

/// One endpoint as one core sees it.
pub(in crate::proxy) struct Endpoint {
    pub(super) place: Place,
    in_flight: Cell<usize>,
    /// HTTP/1 connections without a request, the last used one at the end.
    idle: RefCell<Vec<Idle>>,
    /// The HTTP/2 connection; the lock is held while it is made, so that it is made once.
    multiplexed: tokio::sync::Mutex<Option<http2::SendRequest<RequestBody>>>,
    last_used: Cell<Instant>,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// A connection on which one request may be sent.
pub(super) enum Checkout {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Endpoint {
    /// Its address; none where it is known by name.
    pub(in crate::proxy) fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Address(address) => Some(address),
            Place::Name(..) => None,
        }
    }

    /// Requests between choice of the endpoint and the end of the response.
    pub(in crate::proxy) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// A connection for one request, and whether it was there before: then the endpoint may be
    /// about to close it.
    pub(super) async fn checkout(
        &self,
        protocol: BackendProtocol,
        limits: &Limits,
    ) -> io::Result<(Checkout, bool)> {
        match protocol {
            BackendProtocol::Http1 => match self.take_idle() {
                Some(sender) => Ok((Checkout::Http1(sender), true)),
                // In a box, so that requests which need none do not carry its future along.
                None => {
                    let sender = Box::pin(connect::http1(&self.place, limits)).await?;
                    Ok((Checkout::Http1(sender), false))
                }
            },
            BackendProtocol::H2c => {
                let mut multiplexed = self.multiplexed.lock().await;
                if let Some(sender) = multiplexed.as_ref().filter(|sender| sender.is_usable()) {
                    return Ok((Checkout::Http2(sender.clone()), true));
                }
                let sender = Box::pin(connect::http2(&self.place, limits)).await?;
                *multiplexed = Some(sender.clone());
                Ok((Checkout::Http2(sender), false))
            }
        }
    }

    fn take_idle(&self) -> Option<http1::SendRequest<RequestBody>> {
        // The last used one that is ready: one that is not may still be busy with the end of its
        // request, and one that is closed is left to the sweep.
        let mut idle = self.idle.borrow_mut();
        let position = idle.iter().rposition(|idle| idle.sender.is_usable())?;
        Some(idle.remove(position).sender)
    }

    fn put_idle(&self, sender: http1::SendRequest<RequestBody>, limits: &Limits) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= limits.max_idle_per_endpoint {
            idle.retain(|idle| !idle.sender.is_closed());
        }
        if idle.len() < limits.max_idle_per_endpoint && !sender.is_closed() {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    fn sweep(&self, now: Instant, idle_timeout: Duration) {
        let expired = |since: Instant| now.saturating_duration_since(since) >= idle_timeout;
        self.idle.borrow_mut().retain(|idle| !idle.sender.is_closed() && !expired(idle.since));
        if self.in_flight.get() == 0
            && let Ok(mut multiplexed) = self.multiplexed.try_lock()
            && multiplexed.as_ref().is_some_and(|c| c.is_closed() || expired(self.last_used.get()))
        {
            *multiplexed = None;
        }
    }

    fn has_connections(&self) -> bool {
        let multiplexed = self.multiplexed.try_lock().map_or(true, |sender| sender.is_some());
        !self.idle.borrow().is_empty() || multiplexed
    }
}

/// A request's hold on an endpoint: counts as in flight until dropped.
pub(in crate::proxy) struct Lease {
    endpoint: Rc<Endpoint>,
    sender: Option<http1::SendRequest<RequestBody>>,
    limits: Rc<Limits>,
}

impl Lease {
    pub(in crate::proxy) fn new(endpoint: &Rc<Endpoint>, limits: &Rc<Limits>) -> Self {
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        Self { endpoint: Rc::clone(endpoint), sender: None, limits: Rc::clone(limits) }
    }

    /// The endpoint.
    pub(in crate::proxy) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Takes the connection along that the response comes from.
    pub(super) fn hold(&mut self, sender: http1::SendRequest<RequestBody>) {
        self.sender = Some(sender);
    }

    /// The response is whole: the connection can take the next request.
    pub(in crate::proxy) fn give_back(mut self) {
        if let Some(sender) = self.sender.take() {
            self.endpoint.put_idle(sender, &self.limits);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.in_flight.set(self.endpoint.in_flight.get() - 1);
        self.endpoint.last_used.set(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(50);

    /// A pool with one endpoint, which takes connections and says nothing.
    async fn silent(protocol: BackendProtocol) -> (TcpListener, Pool, Rc<Endpoint>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let pool = Pool::default();
        let address = listener.local_addr().expect("it is bound");
        let endpoint = pool.endpoint(Place::Address(address), protocol);
        (listener, pool, endpoint)
    }

    async fn connection(endpoint: &Endpoint, limits: &Limits) -> http1::SendRequest<RequestBody> {
        match connect::http1(&endpoint.place, limits).await {
            Ok(sender) => sender,
            Err(error) => panic!("it takes connections: {error}"),
        }
    }

    #[tokio::test]
    async fn no_more_idle_connections_are_kept_than_allowed_and_closed_ones_do_not_count() {
        let limits = Limits { max_idle_per_endpoint: 2, ..Limits::default() };
        let test = async {
            let (listener, _pool, endpoint) = silent(BackendProtocol::Http1).await;
            let mut peers = Vec::new();
            for kept in [1, 2, 2] {
                let sender = connection(&endpoint, &limits).await;
                peers.push(listener.accept().await.expect("a connection").0);
                endpoint.put_idle(sender, &limits);
                assert_eq!(endpoint.idle.borrow().len(), kept);
            }
            peers.clear();
            let all_closed = async {
                while !endpoint.idle.borrow().iter().all(|idle| idle.sender.is_closed()) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), all_closed).await.expect("they close");
            let sender = connection(&endpoint, &limits).await;
            endpoint.put_idle(sender, &limits);
            let idle = endpoint.idle.borrow();
            assert_eq!(idle.len(), 1, "closed ones make room");
            assert!(!idle[0].sender.is_closed());
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn connections_are_kept_until_the_idle_timeout_and_not_longer() {
        let limits = Limits::default();
        let test = async {
            let (_listener, pool, endpoint) = silent(BackendProtocol::Http1).await;
            for _ in 0..2 {
                let sender = connection(&endpoint, &limits).await;
                endpoint.put_idle(sender, &limits);
            }
            let start = Instant::now();
            endpoint.idle.borrow_mut()[0].since = start;
            endpoint.idle.borrow_mut()[1].since = start + LIMIT / 2;
            for (after, kept) in [(LIMIT - LIMIT / 10, 2), (LIMIT, 1), (LIMIT * 3 / 2, 0)] {
                pool.sweep(start + after, LIMIT);
                assert_eq!(endpoint.idle.borrow().len(), kept, "after {after:?}");
            }
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn an_http2_connection_is_kept_while_it_is_used_and_for_the_idle_timeout_after() {
        let limits = Rc::new(Limits::default());
        let test = async {
            let (_listener, pool, endpoint) = silent(BackendProtocol::H2c).await;
            let lease = Lease::new(&endpoint, &limits);
            let made = endpoint.checkout(BackendProtocol::H2c, &limits).await;
            assert!(matches!(made, Ok((Checkout::Http2(_), false))), "it takes connections");
            pool.sweep(Instant::now() + 2 * LIMIT, LIMIT);
            assert!(endpoint.has_connections(), "a request is in flight");
            drop(lease);
            pool.sweep(endpoint.last_used.get() + LIMIT / 2, LIMIT);
            assert!(endpoint.has_connections(), "it was used a moment ago");
            pool.sweep(endpoint.last_used.get() + LIMIT, LIMIT);
            assert!(!endpoint.has_connections());
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn an_endpoint_is_forgotten_when_no_backend_names_it_and_no_connection_is_left() {
        let limits = Limits::default();
        let test = async {
            let (_listener, pool, endpoint) = silent(BackendProtocol::Http1).await;
            let sender = connection(&endpoint, &limits).await;
            endpoint.put_idle(sender, &limits);
            let since = endpoint.idle.borrow()[0].since;
            drop(endpoint);
            pool.sweep(since, LIMIT);
            assert_eq!(pool.endpoints.borrow().len(), 1, "it has a connection");
            pool.sweep(since + LIMIT, LIMIT);
            assert!(pool.endpoints.borrow().is_empty());
        };
        LocalSet::new().run_until(test).await;
    }
}
